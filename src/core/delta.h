/* What chunk.c and chunk_choice.c share: the JSON values of one chunk as they are passed over, and the list of deltas
 * they become. */
#ifndef VLLM_DELTA_H
#define VLLM_DELTA_H

#include "chunk.h"

/* The names that mean something anywhere in a chunk, the short ones first: vllm_key_of relies on it. */
/* clang-format off */
#define VLLM_KEYS(X, n) \
    X(ID, "id", n) X(NAME, "name", n) X(ROLE, "role", n) X(TEXT, "text", n) X(TYPE, "type", n) X(AUDIO, "audio", n) \
    X(DELTA, "delta", n) X(ERROR, "error", n) X(INDEX, "index", n) X(MODEL, "model", n) X(USAGE, "usage", n) \
    X(IMAGES, "images", n) X(OBJECT, "object", n) X(CHOICES, "choices", n) X(CONTENT, "content", n) \
    X(CREATED, "created", n) X(MESSAGE, "message", n) X(REFUSAL, "refusal", n) X(SUMMARY, "summary", n) \
    X(FUNCTION, "function", n) X(LOGPROBS, "logprobs", n) X(THINKING, "thinking", n) X(ARGUMENTS, "arguments", n) \
    X(REASONING, "reasoning", n) X(TOKEN_IDS, "token_ids", n) X(TOOL_CALLS, "tool_calls", n) \
    X(STOP_REASON, "stop_reason", n) X(FINISH_REASON, "finish_reason", n) X(FUNCTION_CALL, "function_call", n) \
    X(REASONING_CONTENT, "reasoning_content", n)
/* clang-format on */
#define VLLM_KEY_ENUMERATOR(key, text, n) VLLM_KEY_##key,
enum vllm_key { VLLM_KEY_OTHER, VLLM_KEYS(VLLM_KEY_ENUMERATOR, 0) VLLM_KEY_COUNT };
enum vllm_key vllm_key_of(const struct vllm_json_string *name);
/* Does it mean something in an object of this level? */
bool vllm_key_is_known(enum vllm_level level, enum vllm_key key);

/* One value; all zero: absent. */
struct vllm_value {
    enum vllm_json_type type;
    struct vllm_json_string string; /* when it is one */
    struct vllm_slice raw;          /* its JSON text */
};
/* Consumes the value at the cursor. After a fault it is absent, and the cursor knows. */
void vllm_value_read(struct vllm_json *j, struct vllm_value *value);
bool vllm_value_is_given(const struct vllm_value *value); /* there, and neither null nor false nor empty */
int64_t vllm_value_index(const struct vllm_value *value, int64_t fallback); /* a whole number from 0, or its text */

struct vllm_deltas {
    struct vllm_delta *items;
    size_t count, cap;
};

/* Where the deltas of one chunk are gathered. The first failure sticks. */
struct vllm_gather {
    struct vllm_alloc alloc;
    struct vllm_chunk_limits limits;
    struct vllm_deltas deltas;
    struct vllm_deltas waiting; /* parts and fragments of calls, until the rest of their choice is known */
    struct vllm_deltas extras;  /* unknown members that wait until the rest of the chunk is known */
    struct vllm_slice error;    /* the entry of `choices` that has an error */
    struct vllm_slice usage;    /* the last one in an entry of `choices` */
    struct vllm_buf scratch;    /* decoded strings; never moves while a chunk is read */
    size_t json_len;            /* of the chunk */
    enum vllm_status status;
    const char *why;
};
void vllm_gather_init(struct vllm_gather *gather, const struct vllm_alloc *alloc,
                      const struct vllm_chunk_limits *limits);
void vllm_gather_free(struct vllm_gather *gather);
void vllm_gather_begin(struct vllm_gather *gather, size_t json_len);
/* False. `why`: unless it is lack of memory. */
bool vllm_gather_fail(struct vllm_gather *gather, enum vllm_status status, const char *why);
/* A new delta, empty but for `kind` and index -1; or NULL, and the gathering has failed. */
struct vllm_delta *vllm_gather_add(struct vllm_gather *gather, struct vllm_deltas *deltas, enum vllm_delta_kind kind);
/* The same with the JSON of what it is made of; NULL as well where that is absent. */
struct vllm_delta *vllm_gather_raw(struct vllm_gather *gather, struct vllm_deltas *deltas, enum vllm_delta_kind kind,
                                   struct vllm_slice raw);

/* The text of a string that is not empty (halves of surrogate pairs kept at its ends); absent for every other value. */
struct vllm_slice vllm_gather_text(struct vllm_gather *gather, const struct vllm_value *value);
/* As vllm_gather_text, of a string that no other fragment continues: halves are lone, and malformed. */
struct vllm_slice vllm_gather_name(struct vllm_gather *gather, const struct vllm_value *value);
/* The JSON text of a value, its UTF-8 repaired, for what will be sent back as it is. */
struct vllm_slice vllm_gather_json(struct vllm_gather *gather, const struct vllm_value *value);

/* Reads the entry of `choices` at the cursor and adds its deltas. */
void vllm_choice_read(struct vllm_gather *gather, struct vllm_json *j);

#endif
