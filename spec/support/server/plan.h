#ifndef TEST_SERVER_PLAN_H
#define TEST_SERVER_PLAN_H

#include "bytes.h"

#include <stdbool.h>

/* A response is a plan: what is written, where it waits, how it ends. Handlers make plans, connections play them. */
enum step_kind {
    STEP_SEND,   /* length bytes of the data, from `at`, by a write of their own */
    STEP_WAIT,   /* count milliseconds after the step before was due, so that pacing does not drift */
    STEP_REPEAT, /* the `back` steps before this one, count times more; 0: for ever. Does not nest */
    STEP_CLOSE,  /* orderly: TLS close_notify, then FIN */
    STEP_DROP,   /* FIN without close_notify: what a killed process leaves */
    STEP_RESET,  /* RST */
    STEP_STALL   /* nothing more, until the client closes */
};

struct step {
    enum step_kind kind;
    size_t at, length, back;
    unsigned long count;
};

struct plan {
    struct bytes data;
    struct step *steps;
    size_t count, capacity;
    bool close_after; /* after the last step; else the connection waits for its next request */
};

void plan_step(struct plan *p, enum step_kind kind, unsigned long count, size_t back);
void plan_send(struct plan *p, const void *data, size_t length);
/* One write of all that was added to p->data since it had `at` bytes. */
void plan_sent_since(struct plan *p, size_t at);
void plan_wait(struct plan *p, unsigned long ms);
void plan_chunk(struct plan *p, const void *data, size_t length); /* one HTTP chunk, one write */
void plan_free(struct plan *p);

#endif
