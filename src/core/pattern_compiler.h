/* What the files of the compiler share: the place in the source, and the program so far. */
#ifndef VLLM_PATTERN_COMPILER_H
#define VLLM_PATTERN_COMPILER_H

#include "pattern.h"
#include "pattern_program.h"

#include <string.h>

#define STEP sizeof(struct vllm_pattern_step)

struct vllm_pattern_compiler {
    const char *start, *at, *end;
    struct vllm_buf *out;
    unsigned depth;
    enum vllm_status status;
    struct vllm_pattern_fault *fault;
};

/* Both note a fault that begins at `from`, and return false. The second one gives the words that are meant, too: up to
 * `c->at`. */
bool vllm_pattern_fail(struct vllm_pattern_compiler *c, const char *from, const char *why);
bool vllm_pattern_fail_with(struct vllm_pattern_compiler *c, const char *from, const char *why);

/* Each adds to the program: a step; a step before those from `index` on; steps that were written before. False: it
 * failed. */
bool vllm_pattern_emit(struct vllm_pattern_compiler *c, enum vllm_pattern_op op, size_t a, size_t b);
bool vllm_pattern_insert(struct vllm_pattern_compiler *c, size_t index, enum vllm_pattern_op op, size_t a);
bool vllm_pattern_copy(struct vllm_pattern_compiler *c, size_t from, size_t len);

/* Sets, classes, escapes: each compiles what begins at `c->at`. */
bool vllm_pattern_set_follows(const struct vllm_pattern_compiler *c); /* `\d` and the like */
bool vllm_pattern_compile_set(struct vllm_pattern_compiler *c);       /* that, or `.` */
bool vllm_pattern_compile_class(struct vllm_pattern_compiler *c);
bool vllm_pattern_compile_character(struct vllm_pattern_compiler *c); /* written as itself or as an escape */

static inline size_t written(const struct vllm_pattern_compiler *c) {
    return c->out->len / STEP;
}

static inline struct vllm_pattern_step *step_at(const struct vllm_pattern_compiler *c, size_t index) {
    return (struct vllm_pattern_step *)(void *)c->out->data + index;
}

static inline bool follows(const struct vllm_pattern_compiler *c, const char *text) {
    size_t len = strlen(text);
    return (size_t)(c->end - c->at) >= len && memcmp(c->at, text, len) == 0;
}

static inline bool take(struct vllm_pattern_compiler *c, const char *text) {
    bool is_there = follows(c, text);
    c->at += is_there ? strlen(text) : 0;
    return is_there;
}

/* The byte `ahead` of the next one; '\0' after the end. */
static inline char peek(const struct vllm_pattern_compiler *c, size_t ahead) {
    return (size_t)(c->end - c->at) > ahead ? c->at[ahead] : '\0';
}

static inline bool is_one_of(char byte, const char *bytes) {
    return byte != '\0' && strchr(bytes, byte) != NULL;
}

static inline bool is_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

static inline bool is_letter(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

static inline uint32_t read_character(struct vllm_pattern_compiler *c) {
    size_t length;
    uint32_t character = vllm_pattern_read(c->at, c->end, &length);
    c->at += length;
    return character;
}

#endif
