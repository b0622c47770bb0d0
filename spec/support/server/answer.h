#ifndef TEST_SERVER_ANSWER_H
#define TEST_SERVER_ANSWER_H

#include "http.h"
#include "model.h"
#include "plan.h"

/* How an answer goes on the wire: a stream of chunks, or one completion, shaped as vLLM 0.32 shapes them. */
void answer_stream(const struct ask *ask, struct answer *answers, const struct request *r, struct plan *p);
void answer_whole(const struct ask *ask, struct answer *answers, const struct request *r, struct plan *p);

/* Pieces of an answer in the order in which a model would make them; max_tokens ends them with finish "length". */
struct cursor {
    const struct answer *answer;
    enum stage { IN_REASONING, IN_TEXT, IN_CALLS, AT_FINISH, AT_NOTHING } stage;
    size_t at, call;
    bool in_arguments;
    unsigned long tokens, reasoning_tokens, max_tokens;
    const char *finish;
};

enum piece_kind { PIECE_REASONING, PIECE_TEXT, PIECE_CALL, PIECE_ARGUMENTS, PIECE_NONE };

struct piece {
    enum piece_kind kind;
    struct slice text;
    size_t call;
};

struct piece cursor_next(struct cursor *cursor);
void add_logprobs(struct bytes *out, const struct ask *ask, struct slice text); /* the entries for one token */
void add_call_id(struct bytes *out, const struct ask *ask, unsigned long choice, size_t call);

#endif
