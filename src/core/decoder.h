/* Bytes of an event stream (or one whole completion) → events and the growing answer.
 * Owns the sse, chunk and calls stages. No I/O, no clock. What each event means: docs/events.md. */
#ifndef VLLM_DECODER_H
#define VLLM_DECODER_H

#include "chunk.h"
#include "event.h"

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

struct vllm_decoder *vllm_decoder_new(const struct vllm_alloc *alloc,
                                      const struct vllm_decoder_options *options); /* NULL: no memory */
void vllm_decoder_free(struct vllm_decoder *decoder);

/* Bytes of an event stream. Copies. */
VLLM_NODISCARD enum vllm_status vllm_decoder_feed(struct vllm_decoder *decoder, const char *bytes, size_t len);
/* One whole completion instead (a JSON list of chunks is fine, too). VLLM_EINVALID after bytes were fed. Then call next
 * until VLLM_END. */
VLLM_NODISCARD enum vllm_status vllm_decoder_body(struct vllm_decoder *decoder, const char *json, size_t len);
/* The bytes have ended. Without a finish reason or `[DONE]` next will then return VLLM_ETRUNCATED. */
VLLM_NODISCARD enum vllm_status vllm_decoder_finish(struct vllm_decoder *decoder);

/* VLLM_OK with `event` (slices valid until the next call on `decoder`), VLLM_MORE, VLLM_END (after TURN_END), or the
 * sticky error: VLLM_ESERVER, VLLM_EFAILED, VLLM_ESYNTAX, VLLM_ELIMIT, VLLM_ETRUNCATED, VLLM_ENOMEM. Events that came
 * before the error are delivered first. */
VLLM_NODISCARD enum vllm_status vllm_decoder_next(struct vllm_decoder *decoder, struct vllm_event *event);

/* After an error: which bound or what fault (constant; never NULL), and its evidence: for VLLM_ESERVER the error
 * event's data; for VLLM_EFAILED that of the chunk or the choice, if it had an error; for VLLM_ESYNTAX and
 * VLLM_ETRUNCATED the bytes that were not understood, if there were any. */
const char *vllm_decoder_why(const struct vllm_decoder *decoder);
struct vllm_slice vllm_decoder_evidence(const struct vllm_decoder *decoder);

/* The answer so far, at any time (after an error too). Slices are valid until the next call that changes `decoder`. */
struct vllm_decoder_call {
    struct vllm_slice id, name,
        arguments;       /* raw; "{}" where the call is complete and had none. An id may lie in `made` */
    const char *invalid; /* NULL, or why it must not be run; while a choice is unfinished: "unfinished" */
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
    struct vllm_usage usage; /* raw.ptr NULL: none */
    size_t choice_count;     /* ascending by choice */
    const struct vllm_extras
        *extras;            /* top-level members of chunks and completions: the last value that was not null */
    size_t finished_count;  /* of the choices, if every one seen has a finish reason; else 0 */
    bool complete;          /* finished_count > 0, and none of these reasons is a failure */
    bool done;              /* `[DONE]` was seen, or a whole completion was read */
    bool started;           /* TURN_START was handed out */
    uint64_t bytes, events; /* fed so far */
};
void vllm_decoder_state(const struct vllm_decoder *decoder, struct vllm_decoder_state *out);
void vllm_decoder_choice(const struct vllm_decoder *decoder, size_t position, struct vllm_decoder_choice *out);
void vllm_decoder_call(const struct vllm_decoder *decoder, size_t position, size_t call, struct vllm_decoder_call *out);

#endif
