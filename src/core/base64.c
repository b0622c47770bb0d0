/* Raw bytes in, base64 text appended to a buffer: media on its way into a request.
 * One reservation, one pass, no copy in between. Bound: the buffer's own. Source: RFC 4648 section 4. */
#include "base64.h"

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t byte_at(const char *bytes, size_t i) { return (unsigned char)bytes[i]; }

enum vllm_status vllm_base64_append(struct vllm_buf *out, const char *bytes, size_t len) {
    if (len > SIZE_MAX / 4 * 3 - 3) {
        return VLLM_ELIMIT;
    }
    size_t encoded = (len + 2) / 3 * 4;
    enum vllm_status status = vllm_buf_reserve(out, encoded);
    if (status != VLLM_OK || len == 0) {
        return status;
    }
    char *to = out->data + out->len;
    size_t i = 0;
    for (; len - i >= 3; i += 3) {
        uint32_t three = byte_at(bytes, i) << 16 | byte_at(bytes, i + 1) << 8 | byte_at(bytes, i + 2);
        *to++ = DIGITS[three >> 18];
        *to++ = DIGITS[three >> 12 & 63];
        *to++ = DIGITS[three >> 6 & 63];
        *to++ = DIGITS[three & 63];
    }
    if (i < len) {
        uint32_t rest = byte_at(bytes, i) << 16 | (len - i == 2 ? byte_at(bytes, i + 1) << 8 : 0);
        *to++ = DIGITS[rest >> 18];
        *to++ = DIGITS[rest >> 12 & 63];
        *to++ = len - i == 2 ? DIGITS[rest >> 6 & 63] : '=';
        *to = '=';
    }
    out->len += encoded;
    return VLLM_OK;
}
