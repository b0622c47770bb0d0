/* Text that arrives in fragments, any of which may end in the high half of a surrogate pair and the next begin with the
 * low one. The fragments come from vllm_json_string_value with keep_halves; what is appended is always well-formed
 * UTF-8. */
#ifndef VLLM_HALVES_H
#define VLLM_HALVES_H

#include "buf.h"

/* `*half` is 0, or the high surrogate that waits; it belongs to `text`. A half without its other half becomes
 * U+FFFD. */
VLLM_NODISCARD enum vllm_status vllm_halves_append(struct vllm_buf *text, uint32_t *half, struct vllm_slice fragment);
/* No more fragments will come. */
VLLM_NODISCARD enum vllm_status vllm_halves_finish(struct vllm_buf *text, uint32_t *half);

#endif
