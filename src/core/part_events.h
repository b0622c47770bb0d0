/* The parts of a choice as events: how they are named, begin, continue and end. Each call fills one event. */
#ifndef VLLM_PART_EVENTS_H
#define VLLM_PART_EVENTS_H

#include "answer.h"

void vllm_part_event(struct vllm_event *event, enum vllm_event_type type,
                     const struct vllm_choice *choice); /* everything else zero */

/* Text kinds. At most one part is open; `from` is where in the choice's text the delta begins. */
void vllm_part_open(struct vllm_choice *choice, enum vllm_part_kind kind, struct vllm_event *event);
void vllm_part_text(const struct vllm_choice *choice, size_t from, struct vllm_event *event);
/* The delta of a half that waited, or the part's end. */
VLLM_NODISCARD enum vllm_status vllm_part_close(struct vllm_answer *answer, struct vllm_choice *choice,
                                                struct vllm_event *event);

/* Calls: `type` is PART_START or TOOL_CALL_DELTA. Media: PART_START, then PART_END. */
void vllm_part_call(struct vllm_choice *choice, size_t place, enum vllm_event_type type, size_t from,
                    struct vllm_event *event);
void vllm_part_media(struct vllm_choice *choice, enum vllm_event_type type, struct vllm_slice raw,
                     struct vllm_event *event);

/* The next event that ends the choice: its text part, each call and its part, itself. VLLM_END: nothing is left to
 * end. */
VLLM_NODISCARD enum vllm_status vllm_part_end(struct vllm_answer *answer, struct vllm_choice *choice,
                                              struct vllm_event *event);

#endif
