/* The smallest parts of an HTTP/1.x head (RFC 9110 5.6): no memory, no state, no locale. */
#ifndef VLLM_HTTP1_WORDS_H
#define VLLM_HTTP1_WORDS_H

#include "core.h"

static inline char vllm_http1_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static inline bool vllm_http1_is_digit(char c) {
    return c >= '0' && c <= '9';
}

static inline bool vllm_http1_is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* -1: not a digit. */
static inline int vllm_http1_hex_value(char c) {
    char low = vllm_http1_lower(c);
    if (vllm_http1_is_digit(c)) {
        return c - '0';
    }
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

size_t vllm_http1_token_len(const char *bytes, size_t len);       /* of the token they begin with; 0: none */
struct vllm_slice vllm_http1_trim(const char *bytes, size_t len); /* without blanks at both ends; may be empty */
/* `word` is lower-case; letters of the text may be of either case. */
bool vllm_http1_is_word(struct vllm_slice text, const char *word);
bool vllm_http1_has_word(struct vllm_slice list, const char *word); /* a list with commas has it */

#endif
