/* One HTTP/1.x response: bytes of a connection in; status, header fields and body bytes out, at any split. Sources:
 * RFC 9112 (framing), RFC 9110 (semantics). The rules, and what is refused, stand at the top of http1.c.
 *
 * For a client that sends one request at a time: nothing of the request is known but whether it was HEAD. Each byte is
 * looked at once per layer, body bytes are copied once. Memory: max_header_bytes, and the body bytes that were not read
 * yet. Content codings are not undone. */
#ifndef VLLM_HTTP1_H
#define VLLM_HTTP1_H

#include "buf.h"

struct vllm_http1_options {
    size_t max_header_bytes; /* of interim answers, head and trailers together */
    size_t max_buffer_bytes; /* of body not read yet; a feed that finds nothing unread is always taken */
    bool head_only;          /* the request was HEAD: there is no body, whatever the head says */
};

struct vllm_http1; /* opaque */

void vllm_http1_options_default(struct vllm_http1_options *options);
struct vllm_http1 *vllm_http1_new(const struct vllm_alloc *alloc,
                                  const struct vllm_http1_options *options); /* NULL: no memory */
void vllm_http1_free(struct vllm_http1 *http1);                              /* NULL is fine */

/* VLLM_OK, VLLM_ESYNTAX, VLLM_ELIMIT, VLLM_ENOMEM: sticky. VLLM_EINVALID: after finish. What came before the fault can
 * still be had: head and read give the same error in its place, after the last good byte, so a caller may leave it to
 * them. Bytes after the end of the answer are dropped; the connection is not reusable then. */
VLLM_NODISCARD enum vllm_status vllm_http1_feed(struct vllm_http1 *http1, const char *bytes, size_t len);
/* VLLM_OK once the final answer's head is there, and for ever after; VLLM_MORE; the sticky error. */
VLLM_NODISCARD enum vllm_status vllm_http1_head(const struct vllm_http1 *http1, int *status);
/* The header fields in order, repeated ones each: start with `*at` 0, while it returns true. Names are lower-case,
 * values trimmed; both end in NUL and are valid until the next feed. None before VLLM_OK of head. */
bool vllm_http1_field(const struct vllm_http1 *http1, size_t *at, struct vllm_slice *name, struct vllm_slice *value);
/* VLLM_OK: all body bytes that are there, at least one, valid until the next feed or read. VLLM_MORE; VLLM_END; the
 * sticky error. */
VLLM_NODISCARD enum vllm_status vllm_http1_read(struct vllm_http1 *http1, struct vllm_slice *bytes);
/* The connection has ended, in order: VLLM_OK, the answer is complete (for a body without a length, this is its end);
 * VLLM_ETRUNCATED, sticky; an earlier error. May be called again. */
VLLM_NODISCARD enum vllm_status vllm_http1_finish(struct vllm_http1 *http1);

/* Whether the connection can carry another request: the answer is complete, nothing came after it, neither side
 * ends. */
bool vllm_http1_reusable(const struct vllm_http1 *http1);
bool vllm_http1_fresh(const struct vllm_http1 *http1); /* not a byte was fed */
uint64_t vllm_http1_body_bytes(const struct vllm_http1 *http1);
/* A sentence about the sticky error; what was found in its place, printable, short (cut: after an
 * ellipsis), or "". */
const char *vllm_http1_why(const struct vllm_http1 *http1);
const char *vllm_http1_given(const struct vllm_http1 *http1);

#endif
