/* Bounded growable bytes. The bound is given at birth; growth doubles; a failed append leaves the contents as they
 * were. */
#ifndef VLLM_BUF_H
#define VLLM_BUF_H

#include "core.h"

struct vllm_buf {
    char *data; /* NULL while nothing was appended */
    size_t len, cap, max;
    const struct vllm_alloc *alloc; /* must outlive the buffer */
};

/* For a buffer that takes what has a bound already. */
#define VLLM_BUF_MAX (SIZE_MAX / 2)

void vllm_buf_init(struct vllm_buf *buf, const struct vllm_alloc *alloc, size_t max);
void vllm_buf_free(struct vllm_buf *buf);  /* may run twice; the buffer is empty and usable afterwards */
void vllm_buf_clear(struct vllm_buf *buf); /* keeps the memory */

/* VLLM_OK, VLLM_ENOMEM, or VLLM_ELIMIT when the length would pass `max`. */
VLLM_NODISCARD enum vllm_status vllm_buf_append(struct vllm_buf *buf, const void *bytes, size_t len);
VLLM_NODISCARD enum vllm_status vllm_buf_byte(struct vllm_buf *buf, char byte);
VLLM_NODISCARD enum vllm_status vllm_buf_text(struct vllm_buf *buf, const char *terminated);
/* Room for `more` bytes after `len`; the caller may write there and then add to `len`. */
VLLM_NODISCARD enum vllm_status vllm_buf_reserve(struct vllm_buf *buf, size_t more);
/* Drops the first `len` bytes (one memmove: call it once per read, not once per line). */
void vllm_buf_consume(struct vllm_buf *buf, size_t len);
struct vllm_slice vllm_buf_view(const struct vllm_buf *buf); /* valid until the next change; never NULL ptr */
bool vllm_buf_is(const struct vllm_buf *buf, struct vllm_slice text);

/* Lists: `*cap` items of `size` bytes in one block. Room for twice as many: the block, which took the place of `items`,
 * and `*cap` is raised; or NULL, and nothing is changed. */
void *vllm_list_grow(const struct vllm_alloc *alloc, void *items, size_t *cap, size_t size);
/* Room for one more than `count`, likewise. */
static inline void *vllm_list_room(const struct vllm_alloc *alloc, void *items, size_t count, size_t *cap,
                                   size_t size) {
    return count < *cap ? items : vllm_list_grow(alloc, items, cap, size);
}
void vllm_list_free(const struct vllm_alloc *alloc, void *items, size_t cap, size_t size); /* NULL is fine */

#endif
