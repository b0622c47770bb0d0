/* Base64: any bytes come back from their text, with its padding and without; a text that is taken is, but for blanks,
 * the one that its bytes are written as, with the padding or without; a text that is refused leaves nothing. */
#include "../src/core/base64.h"
#include "fuzz.h"

static size_t len_without_padding(struct vllm_slice text) {
    size_t len = text.len;
    while (len > 0 && text.ptr[len - 1] == '=') len--;
    return len;
}

static void encode(struct vllm_buf *out, struct vllm_slice bytes) {
    vllm_buf_init(out, &fuzz_alloc, SIZE_MAX / 4);
    CLAIM(vllm_base64_append(out, bytes.ptr, bytes.len) == VLLM_OK);
    CLAIM(out->len == (bytes.len + 2) / 3 * 4);
}

static void comes_back(const char *text, size_t len, struct vllm_slice bytes) {
    struct vllm_buf back;
    vllm_buf_init(&back, &fuzz_alloc, SIZE_MAX / 4);
    CLAIM(vllm_base64_decode(&back, text, len) == VLLM_OK);
    CLAIM(back.len == bytes.len && (back.len == 0 || memcmp(back.data, bytes.ptr, back.len) == 0));
    vllm_buf_free(&back);
}

static void round_trip(struct vllm_slice bytes) {
    struct vllm_buf text;
    encode(&text, bytes);
    comes_back(text.data, text.len, bytes);
    comes_back(text.data, len_without_padding(vllm_buf_view(&text)), bytes);
    vllm_buf_free(&text);
}

static bool is_blank(char c) { return c != '\0' && strchr(" \t\n\v\f\r", c) != NULL; }

static void is_unique(struct vllm_slice given, struct vllm_slice bytes) {
    struct vllm_buf buf;
    encode(&buf, bytes);
    struct vllm_slice text = vllm_buf_view(&buf);
    size_t same = 0;
    for (size_t i = 0; i < given.len; i++) {
        if (is_blank(given.ptr[i])) continue;
        CLAIM(same < text.len && text.ptr[same] == given.ptr[i]);
        same++;
    }
    CLAIM(same == text.len || same == len_without_padding(text));
    vllm_buf_free(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct vllm_slice input = {(const char *)data, size};
    struct vllm_buf bytes;
    vllm_buf_init(&bytes, &fuzz_alloc, SIZE_MAX / 4);
    enum vllm_status status = vllm_base64_decode(&bytes, input.ptr, input.len);
    CLAIM(status == VLLM_OK || (status == VLLM_ESYNTAX && bytes.len == 0));
    if (status == VLLM_OK) is_unique(input, vllm_buf_view(&bytes));
    round_trip(input);
    vllm_buf_free(&bytes);
    return 0;
}
