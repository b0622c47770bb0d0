/* Bytes of an event stream (or one whole completion) → events and the growing answer.
 * Owns the sse, chunk and calls stages. No I/O, no clock. What each event means: docs/events.md. */
#ifndef VLLM_DECODER_H
#define VLLM_DECODER_H

#include "chunk.h"
#include "extras.h"

enum vllm_event_type {
    VLLM_EVENT_TURN_START, /* id, model */
    VLLM_EVENT_PART_START, /* choice, part, kind */
    VLLM_EVENT_TEXT_DELTA, /* choice, part, text; whole code points */
    VLLM_EVENT_REASONING_DELTA,
    VLLM_EVENT_REFUSAL_DELTA,
    VLLM_EVENT_TOOL_CALL_DELTA, /* choice, part, index, id, name, text = raw fragment */
    VLLM_EVENT_PART_END,   /* choice, part, kind, text = whole value (text kinds), raw JSON (media), or the raw arguments (tool call) */
    VLLM_EVENT_TOOL_CALL,  /* choice, index, id, name, text = raw arguments, invalid = why or NULL */
    VLLM_EVENT_TOKENS,     /* choice, raw = logprobs, token_ids (JSON) */
    VLLM_EVENT_CHOICE_END, /* choice, text = finish reason (may be absent), raw = stop_reason (JSON) */
    VLLM_EVENT_USAGE,      /* usage */
    VLLM_EVENT_CHUNK,      /* raw = the chunk's JSON; only when asked for */
    VLLM_EVENT_TURN_END
};

enum vllm_part_kind { VLLM_PART_TEXT, VLLM_PART_REASONING, VLLM_PART_REFUSAL, VLLM_PART_TOOL_CALL, VLLM_PART_MEDIA };

/* -1: the server did not say. */
struct vllm_usage {
    int64_t prompt_tokens, completion_tokens, total_tokens, cached_tokens, reasoning_tokens;
    struct vllm_slice raw;
};

struct vllm_event {
    enum vllm_event_type type;
    enum vllm_part_kind kind;
    int64_t choice;
    int64_t index; /* tool calls: order of arrival within the choice, 0-based */
    struct vllm_slice part, id, name, model, text, raw, token_ids;
    const char *invalid;              /* constant sentence */
    const struct vllm_extras *extras; /* tool call: see below */
    struct vllm_usage usage;
};

struct vllm_decoder_options {
    size_t max_event_bytes;   /* one event, or one whole completion */
    size_t max_message_bytes; /* all texts, arguments, token data and extras of the answer together */
    size_t max_tool_calls;    /* of one choice */
    size_t max_choices;
    unsigned max_depth;
    bool want_chunks;              /* VLLM_EVENT_CHUNK */
    int64_t max_completion_tokens; /* what the request allows; an answer of so many was cut. 0: not known */
    struct vllm_slice taken_ids;   /* ids of calls that the transcript has, a NUL between two; copied */
};
void vllm_decoder_options_default(struct vllm_decoder_options *options); /* 16 MiB, 64 MiB, 128, 128, 128, nothing */

struct vllm_decoder; /* opaque */

struct vllm_decoder *vllm_decoder_new(const struct vllm_alloc *alloc, const struct vllm_decoder_options *options); /* NULL: no memory */
void vllm_decoder_free(struct vllm_decoder *decoder);

/* Bytes of an event stream. Copies. */
VLLM_NODISCARD enum vllm_status vllm_decoder_feed(struct vllm_decoder *decoder, const char *bytes, size_t len);
/* One whole completion instead (a JSON list of chunks is fine, too). VLLM_EINVALID after bytes were fed. Then call next until VLLM_END. */
VLLM_NODISCARD enum vllm_status vllm_decoder_body(struct vllm_decoder *decoder, const char *json, size_t len);
/* The bytes have ended. Without a finish reason or `[DONE]` next will then return VLLM_ETRUNCATED. */
VLLM_NODISCARD enum vllm_status vllm_decoder_finish(struct vllm_decoder *decoder);

/* VLLM_OK with `event` (slices valid until the next call on `decoder`), VLLM_MORE, VLLM_END (after TURN_END), or the sticky error: VLLM_ESERVER,
 * VLLM_EFAILED, VLLM_ESYNTAX, VLLM_ELIMIT, VLLM_ETRUNCATED, VLLM_ENOMEM. Events that came before the error are delivered first. */
VLLM_NODISCARD enum vllm_status vllm_decoder_next(struct vllm_decoder *decoder, struct vllm_event *event);

/* After an error: which bound or what fault (constant; never NULL), and its evidence: for VLLM_ESERVER the error event's data; for VLLM_EFAILED that
 * of the chunk or the choice, if it had an error; for VLLM_ESYNTAX and VLLM_ETRUNCATED the bytes that were not understood, if there were any. */
const char *vllm_decoder_why(const struct vllm_decoder *decoder);
struct vllm_slice vllm_decoder_evidence(const struct vllm_decoder *decoder);

/* The answer so far, at any time (after an error too). Slices are valid until the next call that changes `decoder`. */
struct vllm_decoder_call {
    struct vllm_slice id, name, arguments; /* raw; "{}" where the call is complete and had none. An id may lie in `made` */
    const char *invalid;                   /* NULL, or why it must not be run; while a choice is unfinished: "unfinished" */
    const struct vllm_extras *extras;
    char made[VLLM_MADE_ID];
};
struct vllm_decoder_choice {
    int64_t choice;
    struct vllm_slice text, reasoning, refusal; /* ptr NULL when there was none */
    struct vllm_slice finish_reason;            /* absent: not seen */
    struct vllm_slice stop_reason;              /* JSON */
    struct vllm_slice media;                    /* JSON array; absent when none */
    struct vllm_slice logprobs, token_ids;      /* JSON arrays, concatenated over chunks; absent when none */
    size_t call_count;
    const struct vllm_extras *extras, *message_extras; /* of the entry of `choices`, and of its message */
};
struct vllm_decoder_state {
    struct vllm_slice id, model;
    struct vllm_usage usage;          /* raw.ptr NULL: none */
    size_t choice_count;              /* ascending by choice */
    const struct vllm_extras *extras; /* top-level members of chunks and completions: the last value that was not null */
    size_t finished_count;            /* of the choices, if every one seen has a finish reason; else 0 */
    bool complete;                    /* finished_count > 0, and none of these reasons is a failure */
    bool done;                        /* `[DONE]` was seen, or a whole completion was read */
    bool started;                     /* TURN_START was handed out */
    uint64_t bytes, events;           /* fed so far */
};
void vllm_decoder_state(const struct vllm_decoder *decoder, struct vllm_decoder_state *out);
void vllm_decoder_choice(const struct vllm_decoder *decoder, size_t position, struct vllm_decoder_choice *out);
void vllm_decoder_call(const struct vllm_decoder *decoder, size_t position, size_t call, struct vllm_decoder_call *out);

#endif
