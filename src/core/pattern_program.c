/* Failing, and writing the program of a pattern. */
#include "pattern_compiler.h"

#define MOST_GIVEN ((size_t)40) /* bytes of a pattern in a message */

bool vllm_pattern_fail(struct vllm_pattern_compiler *c, const char *from, const char *why) {
    c->status = VLLM_ESYNTAX;
    c->fault->why = why;
    c->fault->given = (struct vllm_slice){NULL, 0};
    c->fault->offset = (size_t)(from - c->start);
    return false;
}

bool vllm_pattern_fail_with(struct vllm_pattern_compiler *c, const char *from, const char *why) {
    size_t len = (size_t)(c->at - from);
    if (len > MOST_GIVEN) {
        for (len = MOST_GIVEN; ((unsigned char)from[len] & 0xC0) == 0x80; len--) {
        }
    }
    vllm_pattern_fail(c, from, why);
    c->fault->given = (struct vllm_slice){from, len};
    return false;
}

/* Notes what became of a growth of the program. */
static bool grown(struct vllm_pattern_compiler *c, enum vllm_status status) {
    if (status == VLLM_ELIMIT) {
        vllm_pattern_fail(c, c->at, "the pattern needs more than 10000 states");
    }
    c->status = status;
    return status == VLLM_OK;
}

bool vllm_pattern_emit(struct vllm_pattern_compiler *c, enum vllm_pattern_op op, size_t a, size_t b) {
    const struct vllm_pattern_step step = {op, (uint32_t)a, (uint32_t)b};
    return grown(c, vllm_buf_append(c->out, &step, sizeof step));
}

bool vllm_pattern_insert(struct vllm_pattern_compiler *c, size_t index, enum vllm_pattern_op op, size_t a) {
    size_t moved = written(c) - index;
    if (!vllm_pattern_emit(c, op, a, 0)) {
        return false;
    }
    struct vllm_pattern_step *place = step_at(c, index), last = place[moved];
    memmove(place + 1, place, moved * STEP);
    *place = last;
    return true;
}

bool vllm_pattern_copy(struct vllm_pattern_compiler *c, size_t from, size_t len) {
    if (!grown(c, vllm_buf_reserve(c->out, len * STEP))) {
        return false;
    }
    memcpy(step_at(c, written(c)), step_at(c, from), len * STEP);
    c->out->len += len * STEP;
    return true;
}
