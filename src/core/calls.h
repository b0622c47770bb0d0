/* The tool calls of one choice, and the question to which of them a fragment belongs. The rules stand at the top of
 * calls.c. */
#ifndef VLLM_CALLS_H
#define VLLM_CALLS_H

#include "chunk.h"
#include "extras.h"

/* How far into its arguments it is known whether they are one complete object or array. */
struct vllm_call_scan {
    size_t at;
    size_t blank; /* so many bytes at their beginning */
    size_t depth;
    bool in_string, escaped, complete;
};

struct vllm_call {
    struct vllm_buf id, name, arguments; /* empty: not seen */
    char made_id[VLLM_MADE_ID];          /* stands in for an id that is missing or taken; all zero: not made */
    bool whole;                          /* it began in a whole message */
    bool id_is_taken;                    /* by another call, here or in the transcript */
    int64_t wire_index;                  /* the last one it was sent under, or -1 */
    uint32_t half;                       /* see halves.h */
    struct vllm_call_scan scan;
    bool announces;      /* its name came again, alone and under another index */
    size_t again;        /* so many bytes of its complete arguments have come again */
    const char *invalid; /* why it must not be run, or NULL */
    bool filled;         /* none came, and "{}" stands in for them */
    bool ended;          /* it was handed out */
    struct vllm_extras extras;
};

struct vllm_calls {
    struct vllm_call *items; /* in order of arrival */
    size_t count, cap, max, latest;
    size_t max_bytes; /* of one id, name or argument text */
    size_t repeated;  /* calls of the whole message at hand that were repetitions */
    const struct vllm_buf *taken_ids;
    const struct vllm_alloc *alloc;
};

void vllm_calls_init(struct vllm_calls *calls, const struct vllm_alloc *alloc, size_t max_calls, size_t max_bytes,
                     const struct vllm_buf *taken_ids); /* of the transcript, a NUL between two; kept by the caller */
void vllm_calls_free(struct vllm_calls *calls);

/* The place of the call that `fragment` belongs to; `*is_new` when it begins one. Nothing is taken from the fragment
 * but its index. VLLM_ELIMIT: more than max_calls. Cost: a walk over the calls of the choice; reading what came of the
 * arguments since the last question, when a name is repeated. */
VLLM_NODISCARD enum vllm_status vllm_calls_route(struct vllm_calls *calls, const struct vllm_delta *fragment,
                                                 size_t *place, bool *is_new);
struct vllm_slice vllm_call_id(const struct vllm_call *call); /* the server's, or the one made; absent: none yet */
/* Has a call other than `but`, or the transcript, this id? */
bool vllm_calls_have_id(const struct vllm_calls *calls, const struct vllm_call *but, struct vllm_slice id);
/* Takes id and name as far as they are news; `*news` says whether they were. */
VLLM_NODISCARD enum vllm_status vllm_call_name(const struct vllm_calls *calls, struct vllm_call *call,
                                               const struct vllm_delta *fragment, bool *news);
bool vllm_call_has_arguments(struct vllm_call *call); /* did more than blanks come? */
/* Is `text` the call's complete arguments once more, or the next fragment of them? Then `again` has moved on. */
bool vllm_call_repeats(struct vllm_call *call, struct vllm_slice text);
/* Rule 11, for a call without arguments: may some that stand beside it be its own? */
bool vllm_calls_may_lack_arguments(const struct vllm_calls *calls, const struct vllm_call *call);

#endif
