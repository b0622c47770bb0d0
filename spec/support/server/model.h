#ifndef TEST_SERVER_MODEL_H
#define TEST_SERVER_MODEL_H

#include "bytes.h"
#include "json.h"

#include <stdbool.h>

/* The scripted model: what is asked, and what it answers. */
enum { MAX_CALLS = 8, MAX_CHOICES = 16 };

struct slice {
    const char *data;
    size_t length;
};

/* A checked request. Everything points into `body`, but the prompt: the text of the last user message. */
struct ask {
    const struct json *body, *messages, *tools;
    const char *model;
    struct bytes prompt;
    bool stream, usage, usage_always, logprobs;
    unsigned long n, max_tokens, top_logprobs, prompt_tokens, id, pace_ms;
};

struct call {
    struct bytes name, arguments;
};

struct answer {
    struct bytes reasoning, text;
    struct call calls[MAX_CALLS];
    size_t call_count;
    const char *finish;       /* "stop", "tool_calls" */
    struct bytes stop_reason; /* JSON; empty: null */
};

/* model.c */
void answer_make(struct answer *answer, const struct ask *ask, unsigned long choice);
void answer_free(struct answer *answer);
void message_text(struct bytes *out, const struct json *message);
const struct json *tool_function(const struct json *tool, const char **name); /* NULL: it has no name */

/* words.c */
size_t piece_length(const char *text, size_t length); /* of the token at the front of the text; 0: it is empty */
unsigned long piece_count(const char *text, size_t length);
/* The strings of a prompt that an argument may stand for: quoted ones, else names. At most `room`. */
size_t find_names(const char *prompt, struct slice *found, size_t room);
bool find_number(const char **prompt, struct slice *found); /* the next one */
bool find_sum(const char *prompt, struct slice *found);     /* an arithmetic expression */
bool mentions(const char *prompt, const char *words, size_t shortest);

/* schema.c: a JSON value that fits the schema, built from the prompt. `turn`: which of several strings to take. */
void schema_value(struct bytes *out, const struct json *schema, const char *prompt, size_t turn);
size_t schema_turns(const struct json *schema, const char *prompt);       /* how many calls the prompt asks for; ≥ 1 */
bool schema_is_mentioned(const struct json *schema, const char *prompt); /* by a value of an enumeration */

#endif
