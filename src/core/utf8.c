/* Bytes → UTF-8 sequences, well-formed or not; code points → bytes. Keeps nothing, allocates nothing.
 * Source: Unicode 15, table 3-7 (which second byte may follow which lead) and section 3.9 (maximal subparts). */
#include "utf8.h"

struct lead {
    size_t length;           /* of the whole sequence; 0: no lead byte */
    unsigned char low, high; /* range of the second byte */
};

static struct lead lead_of(unsigned char byte) {
    struct lead lead = {0, 0x80, 0xBF};
    if (byte >= 0xC2 && byte <= 0xDF) {
        lead.length = 2;
    } else if (byte >= 0xE0 && byte <= 0xEF) {
        lead.length = 3;
        lead.low = byte == 0xE0 ? 0xA0 : 0x80;  /* shorter forms exist below */
        lead.high = byte == 0xED ? 0x9F : 0xBF; /* surrogates above */
    } else if (byte >= 0xF0 && byte <= 0xF4) {
        lead.length = 4;
        lead.low = byte == 0xF0 ? 0x90 : 0x80;
        lead.high = byte == 0xF4 ? 0x8F : 0xBF; /* beyond U+10FFFF above */
    }
    return lead;
}

size_t vllm_utf8_step(const char *at, const char *end, bool *well_formed) {
    const unsigned char *p = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    *well_formed = p[0] < 0x80;
    if (*well_formed) {
        return 1;
    }
    struct lead lead = lead_of(p[0]);
    if (lead.length == 0 || left < 2 || p[1] < lead.low || p[1] > lead.high) {
        return 1;
    }
    for (size_t i = 2; i < lead.length; i++) {
        if (i >= left || (p[i] & 0xC0) != 0x80) {
            return i;
        }
    }
    *well_formed = true;
    return lead.length;
}

size_t vllm_utf8_write(uint32_t code_point, char out[4]) {
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xC0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (char)(0xE0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}
