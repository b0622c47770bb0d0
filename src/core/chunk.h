/* One chat completion chunk, or one whole completion, as JSON text → typed deltas. The one place that knows the
 * dialects of servers; its rules stand at the top of chunk.c with their sources. It keeps no memory of earlier chunks,
 * but for the speculation that a chunk of text or arguments repeats the bytes around them. A text may begin with a low
 * surrogate and end with a high one (three generalised UTF-8 bytes each) whose other half is in a neighbouring chunk.
 * Within one choice the deltas come in canonical order, whatever the order of the keys: reasoning, text, refusal,
 * media, tool fragments, unknown members, tokens, finish. Usage and extras follow the choices. */
#ifndef VLLM_CHUNK_H
#define VLLM_CHUNK_H

#include "json.h"

enum vllm_delta_kind {
    VLLM_DELTA_ENVELOPE,  /* id, model: only when the chunk has either */
    VLLM_DELTA_CHOICE,    /* the choice was named and has nothing new */
    VLLM_DELTA_TEXT,      /* text; raw = as it stands in the chunk, between the quotes */
    VLLM_DELTA_REASONING, /* the same */
    VLLM_DELTA_REFUSAL,   /* the same */
    VLLM_DELTA_MEDIA,     /* raw: one generated image, or the audio object */
    VLLM_DELTA_TOOL, /* index (or -1), id, name, text = fragment of the arguments (each may be absent); raw, if that was
                        a string */
    VLLM_DELTA_TOKENS,  /* raw = logprobs, token_ids (JSON; each may be absent); text = `content` of logprobs (JSON; may
                           be absent) */
    VLLM_DELTA_MEMBERS, /* raw = a `delta` or `message` with members that are not known here: see vllm_key_is_known */
    VLLM_DELTA_FINISH,  /* text = finish reason; raw = stop_reason (JSON; absent when null) */
    VLLM_DELTA_USAGE,   /* raw = the usage object */
    VLLM_DELTA_CHOICE_MEMBERS, /* choice, raw = an entry of `choices` with such members; perhaps left out */
    VLLM_DELTA_EXTRA, /* name, raw = an unknown top-level member; perhaps left out where the last chunk had the same */
    VLLM_DELTA_FOREIGN, /* raw = the whole JSON: it has neither choices nor usage, and other deltas tell little of it;
                           the last one */
    VLLM_DELTA_ERROR    /* raw = the whole event's JSON, or that of the choice; the last delta of its chunk */
};

struct vllm_delta {
    enum vllm_delta_kind kind;
    int64_t choice; /* 0-based; where the chunk does not say, 0 */
    int64_t index;  /* the wire's index of a tool fragment, -1 when absent */
    bool whole; /* came from a `message`, not a `delta`: the value is complete; `index` counts its tool calls from 0,
                 * and the bytes of the parts of a content before this one of the same kind */
    bool of_answer; /* an error that stood beside a choice or in it */
    struct vllm_slice text, id, name, model, raw, token_ids;
    struct vllm_slice object; /* tool fragments: the whole entry, where it has members that are not known here */
};

#define VLLM_MADE_ID 9 /* bytes of the id of a call that was made here */

/* The objects whose unknown members are kept, below the top level. */
enum vllm_level { VLLM_LEVEL_CHOICE, VLLM_LEVEL_MESSAGE, VLLM_LEVEL_CALL };

struct vllm_chunk_limits {
    unsigned max_depth;
    size_t max_deltas;  /* deltas that one chunk may give, and entries of the lists of one choice */
    size_t max_scratch; /* bytes of decoded strings of one chunk */
};

struct vllm_chunk; /* opaque */

struct vllm_chunk *vllm_chunk_new(const struct vllm_alloc *alloc, const struct vllm_chunk_limits *limits);
void vllm_chunk_free(struct vllm_chunk *chunk);

/* Reads one JSON text. `event_type` is the SSE event's ("error" makes it an error whatever it holds). VLLM_OK and then
 * the deltas below; VLLM_ESYNTAX (`*why` names the fault, a constant), VLLM_ELIMIT (`*why` names the bound),
 * VLLM_ENOMEM. `json` must stay valid while the deltas are used. */
VLLM_NODISCARD enum vllm_status vllm_chunk_read(struct vllm_chunk *chunk, struct vllm_slice json,
                                                struct vllm_slice event_type, const char **why);
/* The deltas of the last read; valid until the next one. */
const struct vllm_delta *vllm_chunk_deltas(const struct vllm_chunk *chunk, size_t *count);

#endif
