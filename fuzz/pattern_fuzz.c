/* Patterns: whatever is compiled and searched for, nothing is read beyond the text, no more states are looked at than
 * the bound says, and what must not matter does not: a search before, a group around the pattern, an alternative that is
 * the same, a repetition of the whole. The first byte of the input is the length of the pattern; the text follows it. */
#include "../src/core/pattern.h"
#include "fuzz.h"

static bool compile(struct vllm_pattern *pattern, struct vllm_slice source) {
    struct vllm_pattern_fault fault;
    enum vllm_status status = vllm_pattern_compile(pattern, &fuzz_alloc, source, &fault);
    if (status == VLLM_OK) {
        CLAIM(pattern->count <= VLLM_PATTERN_MAX_STATES);
        return true;
    }
    CLAIM(status == VLLM_ESYNTAX || status == VLLM_ELIMIT);
    CLAIM(fault.why && fault.offset <= source.len);
    if (fault.given.ptr) CLAIM(fault.given.len <= source.len - fault.offset);
    return false;
}

static bool find(struct vllm_pattern *pattern, struct vllm_slice text) {
    bool found, again;
    CLAIM(vllm_pattern_find(pattern, text, &found) == VLLM_OK);
    CLAIM(pattern->steps <= pattern->count * (text.len + 1));
    CLAIM(vllm_pattern_find(pattern, text, &again) == VLLM_OK && again == found);
    return found;
}

/* The pattern within others, which may be too long, too deep or too large where it was not. */
static void is_the_same(const char *before, struct vllm_slice source, const char *between, const char *after,
                        struct vllm_slice text, bool expected) {
    struct vllm_buf buf;
    struct vllm_pattern pattern;
    vllm_buf_init(&buf, &fuzz_alloc, SIZE_MAX / 4);
    CLAIM(vllm_buf_text(&buf, before) == VLLM_OK);
    CLAIM(vllm_buf_append(&buf, source.ptr, source.len) == VLLM_OK);
    if (between) {
        CLAIM(vllm_buf_text(&buf, between) == VLLM_OK);
        CLAIM(vllm_buf_append(&buf, source.ptr, source.len) == VLLM_OK);
    }
    CLAIM(vllm_buf_text(&buf, after) == VLLM_OK);
    if (compile(&pattern, vllm_buf_view(&buf))) {
        CLAIM(find(&pattern, text) == expected);
        vllm_pattern_free(&pattern);
    }
    vllm_buf_free(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    size_t len = data[0] < size - 1 ? data[0] : size - 1;
    /* Each in memory of its own, so that a byte too far is seen. */
    char *bytes = malloc(size), *rest = malloc(size);
    CLAIM(bytes && rest);
    memcpy(bytes + (size - len), data + 1, len);
    memcpy(rest + (len + 1), data + 1 + len, size - 1 - len);
    struct vllm_slice source = {bytes + (size - len), len}, text = {rest + (len + 1), size - 1 - len};
    if (text.len > 500) text.len = 500;
    struct vllm_pattern pattern;
    if (compile(&pattern, source)) {
        bool found = find(&pattern, text);
        vllm_pattern_free(&pattern);
        is_the_same("(", source, NULL, ")", text, found);
        is_the_same("(?:", source, NULL, ")+", text, found);
        is_the_same("(?:", source, NULL, "){1,3}", text, found);
        is_the_same("(?:", source, ")|(", ")", text, found);
        is_the_same("(?:(?:", source, ")?){0}(", "){1}", text, found);
        is_the_same("(?:", source, NULL, ")*", text, true);
    }
    free(bytes);
    free(rest);
    return 0;
}
