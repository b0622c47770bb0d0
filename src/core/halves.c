/* Fragments of text → one text. Only the first and the last three bytes of a fragment are looked at. Source: Unicode
 * 15, section 3.8. */
#include "halves.h"

#include "utf8.h"

#define REPLACEMENT "\xEF\xBF\xBD"
#define HALF_BYTES  3

/* The surrogate that the three bytes at `p` spell, or 0. */
static uint32_t surrogate_at(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    bool is_half = b[0] == 0xED && b[1] >= 0xA0 && b[1] <= 0xBF && (b[2] & 0xC0) == 0x80;
    return is_half ? 0xD000u | (uint32_t)(b[1] & 0x3F) << 6 | (b[2] & 0x3Fu) : 0;
}

enum vllm_status vllm_halves_finish(struct vllm_buf *text, uint32_t *half) {
    bool waiting = *half != 0;
    *half = 0;
    return waiting ? vllm_buf_text(text, REPLACEMENT) : VLLM_OK;
}

/* A low half opens the fragment: with the one that waits it is a code point, alone it is nothing. */
static enum vllm_status append_low(struct vllm_buf *text, uint32_t *half, uint32_t low) {
    char bytes[4];
    if (*half == 0) {
        return vllm_buf_text(text, REPLACEMENT);
    }
    size_t len = vllm_utf8_write(0x10000 + ((*half - 0xD800) << 10) + (low - 0xDC00), bytes);
    *half = 0;
    return vllm_buf_append(text, bytes, len);
}

enum vllm_status vllm_halves_append(struct vllm_buf *text, uint32_t *half, struct vllm_slice fragment) {
    enum vllm_status status = VLLM_OK;
    if (fragment.len >= HALF_BYTES) {
        uint32_t low = surrogate_at(fragment.ptr);
        if (low >= 0xDC00) {
            status = append_low(text, half, low);
            fragment.ptr += HALF_BYTES;
            fragment.len -= HALF_BYTES;
        }
    }
    if (status != VLLM_OK || fragment.len == 0) {
        return status;
    }
    status = vllm_halves_finish(text, half);
    if (status == VLLM_OK && fragment.len >= HALF_BYTES) {
        uint32_t high = surrogate_at(fragment.ptr + fragment.len - HALF_BYTES);
        if (high != 0) {
            *half = high;
            fragment.len -= HALF_BYTES;
        }
    }
    return status == VLLM_OK ? vllm_buf_append(text, fragment.ptr, fragment.len) : status;
}
