/* Tokens, words and lists of an HTTP/1.x head. Source: RFC 9110, 5.6 (common rules). Each looks at a byte once. */
#include "http1_words.h"

#include <string.h>

static bool is_token_char(char c) {
    char low = vllm_http1_lower(c);
    return vllm_http1_is_digit(c) || (low >= 'a' && low <= 'z') || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

size_t vllm_http1_token_len(const char *bytes, size_t len) {
    size_t good = 0;
    while (good < len && is_token_char(bytes[good])) {
        good++;
    }
    return good;
}

struct vllm_slice vllm_http1_trim(const char *bytes, size_t len) {
    while (len > 0 && vllm_http1_is_blank(bytes[len - 1])) {
        len--;
    }
    while (len > 0 && vllm_http1_is_blank(*bytes)) {
        bytes++;
        len--;
    }
    struct vllm_slice text = {bytes, len};
    return text;
}

bool vllm_http1_is_word(struct vllm_slice text, const char *word) {
    if (text.len != strlen(word)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (vllm_http1_lower(text.ptr[i]) != word[i]) {
            return false;
        }
    }
    return true;
}

bool vllm_http1_has_word(struct vllm_slice list, const char *word) {
    for (;;) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t len = comma ? (size_t)(comma - list.ptr) : list.len;
        if (vllm_http1_is_word(vllm_http1_trim(list.ptr, len), word)) {
            return true;
        }
        if (!comma) {
            return false;
        }
        list.ptr += len + 1;
        list.len -= len + 1;
    }
}
