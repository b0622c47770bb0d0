/* Base64: any bytes come back from their text; a text that is taken gives no more bytes than it has room for, and the text of those is
 * taken again and gives the same; a text that is refused leaves nothing behind. */
#include "../src/core/base64.h"
#include "fuzz.h"

static void round_trip(struct vllm_slice bytes) {
    struct vllm_buf text, back;
    vllm_buf_init(&text, &fuzz_alloc, SIZE_MAX / 4);
    vllm_buf_init(&back, &fuzz_alloc, SIZE_MAX / 4);
    CLAIM(vllm_base64_append(&text, bytes.ptr, bytes.len) == VLLM_OK);
    CLAIM(text.len == (bytes.len + 2) / 3 * 4);
    CLAIM(vllm_base64_decode(&back, text.data, text.len) == VLLM_OK);
    CLAIM(back.len == bytes.len && (back.len == 0 || memcmp(back.data, bytes.ptr, back.len) == 0));
    vllm_buf_free(&text);
    vllm_buf_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct vllm_slice input = {(const char *)data, size};
    struct vllm_buf bytes;
    vllm_buf_init(&bytes, &fuzz_alloc, SIZE_MAX / 4);
    enum vllm_status status = vllm_base64_decode(&bytes, input.ptr, input.len);
    CLAIM(status == VLLM_OK || (status == VLLM_ESYNTAX && bytes.len == 0));
    CLAIM(bytes.len <= size / 4 * 3 + 3);
    round_trip(vllm_buf_view(&bytes));
    round_trip(input);
    vllm_buf_free(&bytes);
    return 0;
}
