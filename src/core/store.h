/* The memory of one answer: all that is kept of it counts for one bound. */
#ifndef VLLM_STORE_H
#define VLLM_STORE_H

#include "buf.h"

struct vllm_store {
    struct vllm_alloc alloc;
    size_t used, max; /* max_message_bytes */
    const char *why;  /* after a failure: which bound */
};

/* Gives the status back; a failure has its reason then: no memory, or `limit`. */
enum vllm_status vllm_store_fail(struct vllm_store *store, enum vllm_status status, const char *limit);
/* Before `len` bytes more are kept. */
VLLM_NODISCARD enum vllm_status vllm_store_spend(struct vllm_store *store, size_t len);
/* Appends to one of its buffers. */
VLLM_NODISCARD enum vllm_status vllm_store_keep(struct vllm_store *store, struct vllm_buf *buf, struct vllm_slice text);
/* What a buffer holds; absent when it is empty. */
struct vllm_slice vllm_store_view(const struct vllm_buf *buf);

#endif
