/* Bytes in, bytes out: the one growable buffer of the core, and the growth of its lists.
 * Bound: `max` bytes, given at birth. Capacity doubles, so n appended bytes cost O(n) copies. Every size is checked for
 * overflow here and nowhere else. It never shrinks by itself and never frees what it did not allocate. */
#include "buf.h"

#include <string.h>

#define FIRST_CAPACITY 64
#define FIRST_ITEMS    4

void vllm_buf_init(struct vllm_buf *buf, const struct vllm_alloc *alloc, size_t max) {
    buf->data = NULL;
    buf->len = 0;
    buf->cap = 0;
    buf->max = max;
    buf->alloc = alloc;
}

void vllm_buf_free(struct vllm_buf *buf) {
    if (buf->data) {
        buf->alloc->fn(buf->alloc->ud, buf->data, buf->cap, 0);
    }
    buf->data = NULL;
    buf->len = 0;
    buf->cap = 0;
}

void vllm_buf_clear(struct vllm_buf *buf) {
    buf->len = 0;
}

enum vllm_status vllm_buf_reserve(struct vllm_buf *buf, size_t more) {
    if (more <= buf->cap - buf->len) {
        return VLLM_OK;
    }
    if (buf->len > buf->max || more > buf->max - buf->len) {
        return VLLM_ELIMIT;
    }
    size_t needed = buf->len + more;
    size_t cap = buf->cap ? buf->cap : FIRST_CAPACITY;
    while (cap < needed) {
        cap = cap > buf->max / 2 ? buf->max : cap * 2;
    }
    if (cap > buf->max) {
        cap = buf->max;
    }
    char *data = buf->alloc->fn(buf->alloc->ud, buf->data, buf->cap, cap);
    if (!data) {
        return VLLM_ENOMEM;
    }
    buf->data = data;
    buf->cap = cap;
    return VLLM_OK;
}

enum vllm_status vllm_buf_append(struct vllm_buf *buf, const void *bytes, size_t len) {
    if (len == 0) {
        return VLLM_OK;
    }
    enum vllm_status status = vllm_buf_reserve(buf, len);
    if (status == VLLM_OK) {
        memcpy(buf->data + buf->len, bytes, len);
        buf->len += len;
    }
    return status;
}

enum vllm_status vllm_buf_byte(struct vllm_buf *buf, char byte) {
    return vllm_buf_append(buf, &byte, 1);
}

enum vllm_status vllm_buf_text(struct vllm_buf *buf, const char *terminated) {
    return vllm_buf_append(buf, terminated, strlen(terminated));
}

void vllm_buf_consume(struct vllm_buf *buf, size_t len) {
    if (len >= buf->len) {
        buf->len = 0;
    } else if (len > 0) {
        memmove(buf->data, buf->data + len, buf->len - len);
        buf->len -= len;
    }
}

struct vllm_slice vllm_buf_view(const struct vllm_buf *buf) {
    struct vllm_slice view = {buf->data ? buf->data : "", buf->len};
    return view;
}

bool vllm_buf_is(const struct vllm_buf *buf, struct vllm_slice text) {
    return buf->len == text.len && (text.len == 0 || memcmp(buf->data, text.ptr, text.len) == 0);
}

void *vllm_list_grow(const struct vllm_alloc *alloc, void *items, size_t *cap, size_t size) {
    size_t wanted = *cap ? *cap * 2 : FIRST_ITEMS;
    if (*cap > SIZE_MAX / 2 / size) {
        return NULL;
    }
    void *grown = alloc->fn(alloc->ud, items, *cap * size, wanted * size);
    *cap = grown ? wanted : *cap;
    return grown;
}

void vllm_list_free(const struct vllm_alloc *alloc, void *items, size_t cap, size_t size) {
    if (items) {
        alloc->fn(alloc->ud, items, cap * size, 0);
    }
}
