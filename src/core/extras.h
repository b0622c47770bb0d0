/* Members of the server's objects that are not known here: kept as JSON under their names, so that none is lost, and so
 * that what belongs to a message can go back with it. What of an object is known: vllm_key_is_known. The first unknown
 * members of an answer cost one more walk over their object; an answer without any costs nothing. */
#ifndef VLLM_EXTRAS_H
#define VLLM_EXTRAS_H

#include "store.h"
#include "chunk.h"

#define VLLM_MAX_EXTRAS 32 /* of one object: further ones are dropped */

struct vllm_extra {
    struct vllm_buf name, value; /* the value as JSON */
};

/* All zero: none. */
struct vllm_extras {
    struct vllm_extra *items; /* in the order of arrival */
    size_t count, cap;
};

void vllm_extras_free(struct vllm_extras *extras, const struct vllm_alloc *alloc);
/* One member; the last value of a name stays. */
VLLM_NODISCARD enum vllm_status vllm_extras_put(struct vllm_extras *extras, struct vllm_store *store,
                                                struct vllm_slice name, struct vllm_slice json);
/* Those members of an object that are not known at its level; `joins`: its strings and lists are increments. */
VLLM_NODISCARD enum vllm_status vllm_extras_read(struct vllm_extras *extras, struct vllm_store *store,
                                                 struct vllm_slice object, enum vllm_level level, bool joins,
                                                 unsigned max_depth);
/* Valid as long as the answer is not changed; `json` may be absent after a failure. */
void vllm_extras_at(const struct vllm_extras *extras, size_t position, struct vllm_slice *name,
                    struct vllm_slice *json);

#endif
