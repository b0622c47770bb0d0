/* Plans: the steps of one response, made by handlers and played by connection.c. Bound: 4 million steps.
 */
#include "plan.h"

#include <stdlib.h>

#define MAX_STEPS ((size_t)4 << 20)

static struct step *plan_new_step(struct plan *p, enum step_kind kind) {
    if (p->count >= MAX_STEPS) die("a response has too many steps");
    if (p->count == p->capacity) {
        p->capacity = p->capacity == 0 ? 16 : p->capacity * 2;
        p->steps = must_resize(p->steps, p->capacity, sizeof *p->steps);
    }
    struct step *step = &p->steps[p->count++];
    step->kind = kind;
    step->at = step->length = step->back = 0;
    step->count = 0;
    return step;
}

void plan_step(struct plan *p, enum step_kind kind, unsigned long count, size_t back) {
    struct step *step = plan_new_step(p, kind);
    step->count = count;
    step->back = back;
}

void plan_sent_since(struct plan *p, size_t at) {
    if (p->data.length == at) return;
    struct step *step = plan_new_step(p, STEP_SEND);
    step->at = at;
    step->length = p->data.length - at;
}

void plan_send(struct plan *p, const void *data, size_t length) {
    size_t at = p->data.length;
    bytes_add(&p->data, data, length);
    plan_sent_since(p, at);
}

void plan_wait(struct plan *p, unsigned long ms) {
    if (ms > 0) plan_step(p, STEP_WAIT, ms, 0);
}

void plan_chunk(struct plan *p, const void *data, size_t length) {
    size_t at = p->data.length;
    bytes_format(&p->data, "%zx\r\n", length);
    bytes_add(&p->data, data, length);
    bytes_text(&p->data, "\r\n");
    plan_sent_since(p, at);
}

void plan_free(struct plan *p) {
    bytes_free(&p->data);
    free(p->steps);
    p->steps = NULL;
    p->count = p->capacity = 0;
    p->close_after = false;
}
