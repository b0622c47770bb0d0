/* Base64 without line breaks, with padding. Source: RFC 4648 section 4. */
#ifndef VLLM_BASE64_H
#define VLLM_BASE64_H

#include "buf.h"

/* Appends the encoding of `len` bytes, all of it or nothing: VLLM_OK, VLLM_ENOMEM, VLLM_ELIMIT. */
VLLM_NODISCARD enum vllm_status vllm_base64_append(struct vllm_buf *out, const char *bytes, size_t len);

#endif
