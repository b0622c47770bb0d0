#include "store.h"

#define TOO_LARGE "the answer exceeds max_message_bytes"

enum vllm_status vllm_store_fail(struct vllm_store *store, enum vllm_status status, const char *limit) {
    if (status != VLLM_OK) {
        store->why = status == VLLM_ENOMEM ? "no memory" : limit;
    }
    return status;
}

enum vllm_status vllm_store_spend(struct vllm_store *store, size_t len) {
    if (len > store->max - store->used) {
        return vllm_store_fail(store, VLLM_ELIMIT, TOO_LARGE);
    }
    store->used += len;
    return VLLM_OK;
}

enum vllm_status vllm_store_keep(struct vllm_store *store, struct vllm_buf *buf, struct vllm_slice text) {
    enum vllm_status status = vllm_store_spend(store, text.len);
    return status == VLLM_OK ? vllm_store_fail(store, vllm_buf_append(buf, text.ptr, text.len), TOO_LARGE) : status;
}

struct vllm_slice vllm_store_view(const struct vllm_buf *buf) {
    struct vllm_slice view = {buf->len > 0 ? buf->data : NULL, buf->len};
    return view;
}
