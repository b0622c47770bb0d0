/* The deltas of one chunk after another → events, and the answer, which grows on the way. One call gives one event. */
#ifndef VLLM_DELTA_EVENTS_H
#define VLLM_DELTA_EVENTS_H

#include "answer.h"

struct vllm_delta_events {
    const struct vllm_delta *deltas; /* of the chunk at hand */
    size_t at, count;
    bool half_done;                    /* the first of two events of this delta is out (media, new calls) */
    size_t call_place;                 /* of the tool fragment at hand */
    struct vllm_choice *choice;        /* the last one, most likely the next */
    struct vllm_choice *last_finished; /* its end is due when another choice continues */
    struct vllm_choice *ending;
    size_t end_at; /* choices before this one were ended */
    bool started;  /* TURN_START is out */
    bool usage_sent, ended;
    struct vllm_answer answer;
};

/* VLLM_OK with `event`; VLLM_MORE: all that `deltas` hold is told; or VLLM_ENOMEM, VLLM_ELIMIT, VLLM_ESYNTAX with the
 * answer's `why`. */
VLLM_NODISCARD enum vllm_status vllm_delta_events_next(struct vllm_delta_events *events, struct vllm_event *event);
/* No more deltas will come: VLLM_OK with the next event of the end, VLLM_END after the last; or a failure as above. */
VLLM_NODISCARD enum vllm_status vllm_delta_events_close(struct vllm_delta_events *events, struct vllm_event *event);

#endif
