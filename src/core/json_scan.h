/* The inner loops of the reader and of the writer: over the bytes of a string that stand for themselves. */
#ifndef VLLM_JSON_SCAN_H
#define VLLM_JSON_SCAN_H

#include <string.h>

#include "utf8.h"

/* A byte that ends a run: a quote, a backslash, a control character, or a part of a multibyte sequence. */
static inline bool json_is_special(unsigned char byte) {
    return byte < 0x20 || byte == '"' || byte == '\\' || byte >= 0x80;
}

/* Eight bytes at once: nonzero when one of them is special. A borrow can mark a plain byte above a special one as well,
 * never one alone. */
static inline uint64_t json_special_bytes(const char *p) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);
    uint64_t word;
    memcpy(&word, p, sizeof word);
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    return (word | (word - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops;
}

/* The first special byte, or `end`. */
static inline const char *json_skip_plain(const char *p, const char *end) {
    while (end - p >= 8) {
        uint64_t special = json_special_bytes(p);
        if (special) {
#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return p + __builtin_ctzll(special) / 8; /* the lowest mark is never a borrow's */
#else
            break;
#endif
        }
        p += 8;
    }
    while (p < end && !json_is_special((unsigned char)*p)) {
        p++;
    }
    return p;
}

/* As vllm_utf8_step; the common sequences of two and three bytes without a call. */
static inline size_t json_utf8_step(const char *at, const char *end, bool *well_formed) {
    const unsigned char *p = (const unsigned char *)at;
    *well_formed = true;
    if (end - at >= 3 && (p[1] & 0xC0) == 0x80) {
        if (p[0] >= 0xC2 && p[0] <= 0xDF) {
            return 2;
        }
        if (p[0] > 0xE0 && p[0] < 0xED && (p[2] & 0xC0) == 0x80) {
            return 3;
        }
    }
    return vllm_utf8_step(at, end, well_formed);
}

#endif
