/* Base64. Source: RFC 4648 section 4. */
#ifndef VLLM_BASE64_H
#define VLLM_BASE64_H

#include "buf.h"

/* Appends the encoding of `len` bytes, without line breaks and with padding, all of it or nothing: VLLM_OK,
 * VLLM_ENOMEM, VLLM_ELIMIT. */
VLLM_NODISCARD enum vllm_status vllm_base64_append(struct vllm_buf *out, const char *bytes, size_t len);
/* Appends the bytes that `text` encodes, all of them or nothing: VLLM_OK, VLLM_ESYNTAX, VLLM_ENOMEM, VLLM_ELIMIT.
 * Blanks do not count, and the padding may be missing, all of it; else a text is taken only if it is what
 * vllm_base64_append writes for those bytes. */
VLLM_NODISCARD enum vllm_status vllm_base64_decode(struct vllm_buf *out, const char *text, size_t len);

#endif
