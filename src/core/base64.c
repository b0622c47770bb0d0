/* Bytes to base64 text and back: media on its way into a request, texts that came as a data URL, credentials.
 * One reservation, one pass, no copy in between. Bound: the buffer's own. Source: RFC 4648 section 4. */
#include "base64.h"

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t byte_at(const char *bytes, size_t i) {
    return (unsigned char)bytes[i];
}

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

enum { NOT_A_DIGIT = 64 }; /* above the values of the digits */

static uint32_t value_of(char digit) {
    if (digit >= 'A' && digit <= 'Z') return (uint32_t)(digit - 'A');
    if (digit >= 'a' && digit <= 'z') return (uint32_t)(digit - 'a') + 26;
    if (digit >= '0' && digit <= '9') return (uint32_t)(digit - '0') + 52;
    return digit == '+' ? 62 : digit == '/' ? 63 : NOT_A_DIGIT;
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Is what follows the digits only blanks, with or without the padding? `text` may be NULL when nothing does. */
static bool is_padding(const char *text, size_t from, size_t len, size_t padding) {
    size_t signs = 0;
    for (size_t i = from; i < len; i++) {
        if (text[i] == '=') {
            signs++;
        } else if (!is_blank(text[i])) {
            return false;
        }
    }
    return signs == 0 || signs == padding;
}

/* Two digits hold a byte and four bits, three hold two bytes and two bits, which must be zero; a single one holds
 * none. */
static bool is_whole(size_t digits, uint32_t bits) {
    static const uint32_t unused[] = {0, 63, 15, 3};
    return digits % 4 != 1 && (bits & unused[digits % 4]) == 0;
}

enum vllm_status vllm_base64_decode(struct vllm_buf *out, const char *text, size_t len) {
    enum vllm_status status = vllm_buf_reserve(out, len / 4 * 3 + 3);
    if (status != VLLM_OK) {
        return status;
    }
    char *start = out->data + out->len, *to = start;
    uint32_t bits = 0;
    size_t i = 0, digits = 0;
    for (; i < len && text[i] != '='; i++) {
        uint32_t six = value_of(text[i]);
        if (six == NOT_A_DIGIT) {
            if (!is_blank(text[i])) {
                return VLLM_ESYNTAX;
            }
            continue;
        }
        bits = bits << 6 | six;
        if (digits++ % 4 != 0) {
            *to++ = (char)(bits >> (6 - 2 * ((digits - 1) % 4)) & 255);
        }
    }
    if (!is_whole(digits, bits) || !is_padding(text, i, len, (4 - digits % 4) % 4)) {
        return VLLM_ESYNTAX;
    }
    out->len += (size_t)(to - start);
    return VLLM_OK;
}
