/* Text that arrives in pieces, any of which may end in the high half of a surrogate pair and the next begin with the low one. The pieces
 * come from vllm_json_string_value with keep_halves; what is appended is always well-formed UTF-8. */
#ifndef VLLM_PIECES_H
#define VLLM_PIECES_H

#include "buf.h"

/* `*half` is 0, or the high surrogate that waits; it belongs to `text`. A half without its other half becomes U+FFFD. */
VLLM_NODISCARD enum vllm_status vllm_pieces_append(struct vllm_buf *text, uint32_t *half, struct vllm_slice piece);
/* No more pieces will come. */
VLLM_NODISCARD enum vllm_status vllm_pieces_finish(struct vllm_buf *text, uint32_t *half);

#endif
