/* The compiler: one descent through the source, which writes the program as it goes. What follows an expression and
 * changes it (`*`, `|`) moves or copies the steps written for it. Recursion is bounded by
 * VLLM_PATTERN_MAX_DEPTH. Source: ECMA-262, 22.2.1 (grammar) and 22.2.2 (meaning). */
#include "pattern_compiler.h"

#define ENDLESS UINT32_MAX    /* the most of `x*` */
#define MANY    (ENDLESS - 1) /* numbers end here: more than any limit */

/* Repetition ------------------------------------------------------------------------------------------------------- */

struct bounds {
    uint32_t least, most;
};

static bool read_number(struct vllm_pattern_compiler *c, uint32_t *number) {
    bool is_there = is_digit(peek(c, 0));
    *number = 0;
    for (; is_digit(peek(c, 0)); c->at++) {
        uint32_t digit = (uint32_t)(c->at[0] - '0');
        *number = *number > (MANY - digit) / 10 ? MANY : *number * 10 + digit;
    }
    return is_there;
}

/* `{3}`, `{3,}`, `{3,5}`; what else begins with a brace is text. */
static bool read_braces(struct vllm_pattern_compiler *c, struct bounds *bounds) {
    const char *from = c->at;
    if (take(c, "{") && read_number(c, &bounds->least)) {
        bounds->most = bounds->least;
        if (take(c, ",") && !read_number(c, &bounds->most)) {
            bounds->most = ENDLESS;
        }
        if (take(c, "}")) {
            return true;
        }
    }
    c->at = from;
    return false;
}

static bool read_bounds(struct vllm_pattern_compiler *c, struct bounds *bounds) {
    bounds->least = take(c, "+");
    if (bounds->least == 1 || take(c, "*")) {
        bounds->most = ENDLESS;
        return true;
    }
    bounds->most = 1;
    return take(c, "?") || read_braces(c, bounds);
}

/* `x*`, when one x was written at `start`; `x{3,}`, when three were, the last at `start`. */
static bool repeat_last(struct vllm_pattern_compiler *c, size_t start, uint32_t least) {
    size_t len = written(c) - start;
    if (least > 0) {
        return vllm_pattern_emit(c, VLLM_PATTERN_SPLIT, 0 - len, 0);
    }
    return vllm_pattern_insert(c, start, VLLM_PATTERN_SPLIT, len + 2) &&
           vllm_pattern_emit(c, VLLM_PATTERN_JUMP, 0 - (len + 1), 0);
}

/* `x{least,most}`: x so many times; before each that need not be there, a split that leads to the end of all. */
static bool repeat(struct vllm_pattern_compiler *c, size_t start, const struct bounds *bounds) {
    size_t len = written(c) - start, first = start;
    uint32_t copies = bounds->most != ENDLESS ? bounds->most : bounds->least > 0 ? bounds->least : 1;
    bool is_endless = bounds->most == ENDLESS;
    if (!is_endless && bounds->least == 0) {
        if (!vllm_pattern_insert(c, first++, VLLM_PATTERN_SPLIT, copies * (len + 1))) {
            return false;
        }
    }
    for (uint32_t i = 1; i < copies; i++) {
        bool is_optional = i >= bounds->least;
        if (is_optional && !vllm_pattern_emit(c, VLLM_PATTERN_SPLIT, (copies - i) * (len + 1), 0)) {
            return false;
        }
        if (!vllm_pattern_copy(c, first, len)) {
            return false;
        }
    }
    return !is_endless || repeat_last(c, written(c) - len, bounds->least);
}

/* What was written from `start` on, for the source from `from` on, as often as the source now says. */
static bool compile_repetition(struct vllm_pattern_compiler *c, size_t start, const char *from) {
    struct bounds bounds;
    if (!read_bounds(c, &bounds)) {
        return true;
    }
    if (bounds.most < bounds.least) {
        return vllm_pattern_fail_with(c, from, "the numbers of a repetition are out of order");
    }
    take(c, "?"); /* lazy: the same for the question whether it matches */
    if (bounds.most == 0) {
        c->out->len = start * STEP;
    }
    return written(c) == start || repeat(c, start, &bounds);
}

/* Expressions ------------------------------------------------------------------------------------------------------ */

static bool compile_alternatives(struct vllm_pattern_compiler *c);

/* `(?<name>`: what is captured is of no interest. */
static bool skip_name(struct vllm_pattern_compiler *c, const char *from) {
    const char *name = c->at;
    while (is_letter(peek(c, 0)) || is_digit(peek(c, 0)) || is_one_of(peek(c, 0), "_$") ||
           (unsigned char)peek(c, 0) >= 0x80) {
        c->at++;
    }
    return (c->at > name && take(c, ">")) || vllm_pattern_fail_with(c, from, "not the name of a group");
}

/* What stands after the parenthesis. */
static bool read_kind_of_group(struct vllm_pattern_compiler *c, const char *from) {
    if (take(c, "?=") || take(c, "?!")) {
        return vllm_pattern_fail_with(c, from, "lookahead is not supported");
    }
    if (take(c, "?<=") || take(c, "?<!")) {
        return vllm_pattern_fail_with(c, from, "lookbehind is not supported");
    }
    if (take(c, "?<")) {
        return skip_name(c, from);
    }
    if (take(c, "?:") || !take(c, "?")) {
        return true;
    }
    c->at += is_letter(peek(c, 0));
    return vllm_pattern_fail_with(c, from, "not a group of ECMA-262 that is supported");
}

static bool compile_group(struct vllm_pattern_compiler *c) {
    const char *from = c->at++;
    if (c->depth == VLLM_PATTERN_MAX_DEPTH) {
        return vllm_pattern_fail(c, from, "groups are nested deeper than 100");
    }
    c->depth++;
    if (!read_kind_of_group(c, from) || !compile_alternatives(c)) {
        return false;
    }
    c->depth--;
    return take(c, ")") || vllm_pattern_fail(c, from, "a group is not closed");
}

/* False without a failure: what follows is not an assertion. */
static bool compile_assertion(struct vllm_pattern_compiler *c) {
    if (take(c, "^")) return vllm_pattern_emit(c, VLLM_PATTERN_START, 0, 0);
    if (take(c, "$")) return vllm_pattern_emit(c, VLLM_PATTERN_END, 0, 0);
    if (take(c, "\\b")) return vllm_pattern_emit(c, VLLM_PATTERN_EDGE, 0, 0);
    return take(c, "\\B") && vllm_pattern_emit(c, VLLM_PATTERN_NO_EDGE, 0, 0);
}

static bool compile_atom(struct vllm_pattern_compiler *c) {
    if (vllm_pattern_set_follows(c)) {
        return vllm_pattern_compile_set(c);
    }
    switch (*c->at) {
    case '.': return vllm_pattern_compile_set(c);
    case '[': return vllm_pattern_compile_class(c);
    case '(': return compile_group(c);
    default: return vllm_pattern_compile_character(c);
    }
}

static bool compile_term(struct vllm_pattern_compiler *c) {
    const char *from = c->at;
    size_t start = written(c);
    struct bounds ignored;
    if (read_bounds(c, &ignored)) {
        return vllm_pattern_fail_with(c, from, "nothing to repeat");
    }
    if (follows(c, "{,") && is_digit(peek(c, 2))) { /* five at most, in other dialects; here it would be text */
        c->at += 2;
        return vllm_pattern_fail_with(c, from, "a repetition without its least number");
    }
    if (compile_assertion(c)) {
        return true;
    }
    return c->status == VLLM_OK && compile_atom(c) && compile_repetition(c, start, from);
}

/* Points the jumps of a chain, each of which leads back to the one before it, to the end of the program. */
static void join(struct vllm_pattern_compiler *c, size_t last) {
    while (last > 0) {
        struct vllm_pattern_step *jump = step_at(c, last);
        size_t before = jump->a > 0 ? last - jump->a : 0;
        jump->a = (uint32_t)(written(c) - last);
        last = before;
    }
}

/* `a|b`: a split to a and b; after a, a jump to the end. A split is before each jump, so none is at 0. */
static bool compile_alternatives(struct vllm_pattern_compiler *c) {
    size_t branch = written(c), last = 0;
    for (;;) {
        while (c->at < c->end && !is_one_of(*c->at, "|)")) {
            if (!compile_term(c)) {
                return false;
            }
        }
        if (!take(c, "|")) {
            join(c, last);
            return true;
        }
        size_t jump = written(c) + 1;
        if (!vllm_pattern_insert(c, branch, VLLM_PATTERN_SPLIT, jump + 1 - branch) ||
            !vllm_pattern_emit(c, VLLM_PATTERN_JUMP, last > 0 ? jump - last : 0, 0)) {
            return false;
        }
        last = jump;
        branch = written(c);
    }
}

/* Patterns --------------------------------------------------------------------------------------------------------- */

static bool check_source(struct vllm_pattern_compiler *c) {
    if (c->end - c->start > VLLM_PATTERN_MAX_BYTES) {
        return vllm_pattern_fail(c, c->start + VLLM_PATTERN_MAX_BYTES, "the pattern is longer than 4096 bytes");
    }
    for (const char *from = c->at; c->at < c->end; from = c->at) {
        if (read_character(c) == VLLM_PATTERN_BAD) {
            return vllm_pattern_fail(c, from, "the pattern is not valid UTF-8");
        }
    }
    c->at = c->start;
    return true;
}

static bool compile(struct vllm_pattern_compiler *c) {
    if (!check_source(c) || !compile_alternatives(c)) {
        return false;
    }
    if (c->at < c->end) {
        return vllm_pattern_fail(c, c->at, "a parenthesis that closes no group");
    }
    return vllm_pattern_emit(c, VLLM_PATTERN_FOUND, 0, 0);
}

/* Room for the sets of a search, after the program. */
static enum vllm_status add_sets(struct vllm_pattern *pattern) {
    size_t bytes = 4 * pattern->count * sizeof(uint16_t);
    pattern->memory.max = VLLM_BUF_MAX;
    enum vllm_status status = vllm_buf_reserve(&pattern->memory, bytes);
    if (status == VLLM_OK) {
        memset(pattern->memory.data + pattern->memory.len, 0, bytes);
        pattern->memory.len += bytes;
    }
    return status;
}

enum vllm_status vllm_pattern_compile(struct vllm_pattern *pattern, const struct vllm_alloc *alloc,
                                      struct vllm_slice source, struct vllm_pattern_fault *fault) {
    const char *start = source.ptr ? source.ptr : "";
    pattern->alloc = *alloc;
    pattern->steps = 0;
    vllm_buf_init(&pattern->memory, &pattern->alloc, VLLM_PATTERN_MAX_STATES * STEP);
    struct vllm_pattern_compiler c = {start, start, start + source.len, &pattern->memory, 0, VLLM_OK, fault};
    compile(&c);
    pattern->count = written(&c);
    enum vllm_status status = c.status == VLLM_OK ? add_sets(pattern) : c.status;
    if (status != VLLM_OK) {
        vllm_pattern_free(pattern);
    }
    return status;
}

void vllm_pattern_free(struct vllm_pattern *pattern) {
    if (pattern->memory.alloc) {
        vllm_buf_free(&pattern->memory);
    }
    pattern->count = 0;
}
