/* Words over borrowed bytes. */
#ifndef VLLM_SLICE_H
#define VLLM_SLICE_H

#include <string.h>

#include "core.h"

static inline bool vllm_slice_is(struct vllm_slice text, const char *terminated) {
    return text.len == strlen(terminated) && memcmp(text.ptr, terminated, text.len) == 0;
}

static inline bool vllm_is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Without the white space of JSON at its start, its end, or both; may be empty. */
static inline struct vllm_slice vllm_slice_trim_start(struct vllm_slice text) {
    while (text.len > 0 && vllm_is_blank(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    return text;
}

static inline struct vllm_slice vllm_slice_trim_end(struct vllm_slice text) {
    while (text.len > 0 && vllm_is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

static inline struct vllm_slice vllm_slice_trim(struct vllm_slice text) {
    return vllm_slice_trim_end(vllm_slice_trim_start(text));
}

#endif
