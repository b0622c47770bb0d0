/* Deltas → events.
 *
 * Nothing is queued: `next` looks at the delta at hand and does the first thing that is still to be done for it (start
 * the turn, close a part, open a part, deliver), so a delta is visited until all its events are out. Order and ends:
 *  - A text part ends when a part of another kind begins in its choice; tool parts end with their choice.
 *  - A choice ends when a delta of another choice follows its finish reason, or with the turn. Until then it takes what
 *    still comes (some servers send text or arguments after the finish reason, or the finish reason twice: the first
 *    one counts).
 *  - What comes for a choice that has ended is delivered in new parts, which end with the turn; arguments for a call
 *    that has ended are an error, since the call may be running. */
#include "delta_events.h"

#include "part_events.h"

/* Ends ------------------------------------------------------------------------------------------------------------- */

static enum vllm_status start_turn(struct vllm_delta_events *events, struct vllm_event *event) {
    events->started = true;
    vllm_part_event(event, VLLM_EVENT_TURN_START, NULL);
    event->id = vllm_store_view(&events->answer.id);
    event->model = vllm_store_view(&events->answer.model);
    return VLLM_OK;
}

static enum vllm_status end_choice(struct vllm_delta_events *events, struct vllm_event *event) {
    enum vllm_status status = vllm_part_end(&events->answer, events->ending, event);
    if (status == VLLM_END) {
        events->ending = NULL;
        status = VLLM_MORE;
    }
    return status;
}

/* The last choice to finish ends first, then the others in their order. */
static enum vllm_status close_turn(struct vllm_delta_events *events, struct vllm_event *event) {
    if (!events->started) {
        return start_turn(events, event);
    }
    if (events->last_finished) {
        events->ending = events->last_finished;
        events->last_finished = NULL;
        return VLLM_MORE;
    }
    if (events->end_at < events->answer.count) {
        events->ending = events->answer.choices[events->end_at++];
        return VLLM_MORE;
    }
    if (!events->usage_sent && events->answer.usage.len > 0) {
        events->usage_sent = true;
        vllm_part_event(event, VLLM_EVENT_USAGE, NULL);
        vllm_answer_read_usage(&events->answer, &event->usage);
        return VLLM_OK;
    }
    if (events->ended) {
        return VLLM_END;
    }
    events->ended = true;
    vllm_part_event(event, VLLM_EVENT_TURN_END, NULL);
    return VLLM_OK;
}

/* Deltas ----------------------------------------------------------------------------------------------------------- */

static enum vllm_status advance(struct vllm_delta_events *events) {
    events->at++;
    events->half_done = false;
    return VLLM_MORE;
}

static enum vllm_status step_text(struct vllm_delta_events *events, struct vllm_event *event,
                                  struct vllm_choice *choice, const struct vllm_delta *delta,
                                  enum vllm_part_kind kind) {
    struct vllm_slice text = delta->text;
    if (delta->whole) {
        text = vllm_answer_news(&choice->texts[kind], delta->index > 0 ? (size_t)delta->index : 0, text);
        if (text.len == 0) {
            return advance(events);
        }
    }
    if (!choice->open || choice->open_kind != kind) {
        if (choice->open) {
            return vllm_part_close(&events->answer, choice, event);
        }
        vllm_part_open(choice, kind, event);
        return VLLM_OK;
    }
    size_t from = choice->texts[kind].len;
    enum vllm_status status = vllm_answer_text(&events->answer, choice, kind, text);
    if (status != VLLM_OK) {
        return status;
    }
    advance(events);
    if (choice->texts[kind].len == from) {
        return VLLM_MORE; /* half a character, which waits */
    }
    vllm_part_text(choice, from, event);
    return VLLM_OK;
}

static enum vllm_status step_media(struct vllm_delta_events *events, struct vllm_event *event,
                                   struct vllm_choice *choice, const struct vllm_delta *delta) {
    if (choice->open) {
        return vllm_part_close(&events->answer, choice, event);
    }
    if (events->half_done) {
        vllm_part_media(choice, VLLM_EVENT_PART_END, delta->raw, event);
        advance(events);
        return VLLM_OK;
    }
    enum vllm_status status = vllm_answer_media(&events->answer, choice, delta->raw);
    if (status != VLLM_OK) {
        return status;
    }
    events->half_done = true;
    vllm_part_media(choice, VLLM_EVENT_PART_START, delta->raw, event);
    return VLLM_OK;
}

static enum vllm_status step_tool(struct vllm_delta_events *events, struct vllm_event *event,
                                  struct vllm_choice *choice, const struct vllm_delta *delta) {
    struct vllm_call_change change;
    const struct vllm_slice absent = {NULL, 0};
    if (choice->open) {
        return vllm_part_close(&events->answer, choice, event);
    }
    if (events->half_done) { /* the part of a new call was started */
        advance(events);
        vllm_part_call(choice, events->call_place, VLLM_EVENT_TOOL_CALL_DELTA, 0, event);
        return VLLM_OK;
    }
    enum vllm_status status = vllm_answer_call(&events->answer, choice, delta, &change);
    if (status != VLLM_OK) {
        return status;
    }
    if (change.is_new) {
        events->half_done = true;
        events->call_place = change.place;
        vllm_part_call(choice, change.place, VLLM_EVENT_PART_START, change.from, event);
        event->text = absent;
        return VLLM_OK;
    }
    advance(events);
    if (!change.news) {
        return VLLM_MORE;
    }
    vllm_part_call(choice, change.place, VLLM_EVENT_TOOL_CALL_DELTA, change.from, event);
    return VLLM_OK;
}

static enum vllm_status step_tokens(struct vllm_delta_events *events, struct vllm_event *event,
                                    struct vllm_choice *choice, const struct vllm_delta *delta) {
    enum vllm_status status = vllm_answer_tokens(&events->answer, choice, delta);
    if (status != VLLM_OK) {
        return status;
    }
    vllm_part_event(event, VLLM_EVENT_TOKENS, choice);
    event->raw = delta->raw;
    event->token_ids = delta->token_ids;
    advance(events);
    return VLLM_OK;
}

static enum vllm_status step_finish(struct vllm_delta_events *events, struct vllm_choice *choice,
                                    const struct vllm_delta *delta) {
    if (!choice->finished) {
        enum vllm_status status = vllm_answer_finish(&events->answer, choice, delta);
        if (status != VLLM_OK) {
            return status;
        }
        events->last_finished = choice;
    }
    return advance(events);
}

/* A delta that belongs to a choice. */
static enum vllm_status step_choice(struct vllm_delta_events *events, struct vllm_event *event,
                                    const struct vllm_delta *delta) {
    if (!events->choice || events->choice->number != delta->choice) {
        enum vllm_status status = vllm_answer_choice(&events->answer, delta->choice, &events->choice);
        if (status != VLLM_OK) {
            events->choice = NULL;
            return status;
        }
    }
    struct vllm_choice *choice = events->choice;
    if (events->last_finished && events->last_finished != choice) {
        events->ending = events->last_finished;
        events->last_finished = NULL;
        return VLLM_MORE;
    }
    if (delta->kind == VLLM_DELTA_CHOICE) {
        return advance(events);
    }
    if (!events->started) {
        return start_turn(events, event);
    }
    switch (delta->kind) {
    case VLLM_DELTA_TEXT: return step_text(events, event, choice, delta, VLLM_PART_TEXT);
    case VLLM_DELTA_REASONING: return step_text(events, event, choice, delta, VLLM_PART_REASONING);
    case VLLM_DELTA_REFUSAL: return step_text(events, event, choice, delta, VLLM_PART_REFUSAL);
    case VLLM_DELTA_MEDIA: return step_media(events, event, choice, delta);
    case VLLM_DELTA_TOOL: return step_tool(events, event, choice, delta);
    case VLLM_DELTA_TOKENS: return step_tokens(events, event, choice, delta);
    default: return step_finish(events, choice, delta);
    }
}

static enum vllm_status step_delta(struct vllm_delta_events *events, struct vllm_event *event,
                                   const struct vllm_delta *delta) {
    enum vllm_status status;
    switch (delta->kind) {
    case VLLM_DELTA_ENVELOPE: status = vllm_answer_envelope(&events->answer, delta); break;
    case VLLM_DELTA_USAGE: status = vllm_answer_usage(&events->answer, delta->raw); break;
    case VLLM_DELTA_MEMBERS:
    case VLLM_DELTA_CHOICE_MEMBERS:
    case VLLM_DELTA_EXTRA: status = vllm_answer_extra(&events->answer, delta); break;
    default: return step_choice(events, event, delta);
    }
    return status == VLLM_OK ? advance(events) : status;
}

enum vllm_status vllm_delta_events_next(struct vllm_delta_events *events, struct vllm_event *event) {
    enum vllm_status status = VLLM_MORE;
    while (status == VLLM_MORE && events->at < events->count) {
        status = events->ending ? end_choice(events, event) : step_delta(events, event, &events->deltas[events->at]);
    }
    return status;
}

enum vllm_status vllm_delta_events_close(struct vllm_delta_events *events, struct vllm_event *event) {
    enum vllm_status status = VLLM_MORE;
    while (status == VLLM_MORE) {
        status = events->ending ? end_choice(events, event) : close_turn(events, event);
    }
    return status;
}
