/* A choice's parts → their events. Slices of the events lie in the answer and live until it changes. Allocates nothing
 * but the three bytes of a half that never found its other half, and what the verdict on a call needs. */
#include "part_events.h"

#include <string.h>

#include "halves.h"

void vllm_part_event(struct vllm_event *event, enum vllm_event_type type, const struct vllm_choice *choice) {
    static const struct vllm_event nothing;
    *event = nothing; /* a memset of this size becomes one slow instruction */
    event->type = type;
    event->choice = choice ? choice->number : 0;
}

/* "part-<choice>-<kind>-<n>" */
static size_t write_part_id(char out[VLLM_PART_ID_MAX], int64_t choice, enum vllm_part_kind kind, size_t n) {
    static const char *const names[VLLM_PART_KINDS] = {[VLLM_PART_TEXT] = "text",
                                                       [VLLM_PART_REASONING] = "reasoning",
                                                       [VLLM_PART_REFUSAL] = "refusal",
                                                       [VLLM_PART_TOOL_CALL] = "tool",
                                                       [VLLM_PART_MEDIA] = "media"};
    char *p = out;
    memcpy(p, "part-", 5);
    p += 5;
    p += vllm_number_write_integer(choice, p);
    *p++ = '-';
    size_t len = strlen(names[kind]);
    memcpy(p, names[kind], len);
    p += len;
    *p++ = '-';
    p += vllm_number_write_integer((int64_t)n, p);
    return (size_t)(p - out);
}

static void set_part(struct vllm_event *event, enum vllm_part_kind kind, const char *id, size_t len) {
    event->kind = kind;
    event->part.ptr = id;
    event->part.len = len;
}

static struct vllm_slice text_from(const struct vllm_buf *buf, size_t at) {
    struct vllm_slice text = {buf->len > at ? buf->data + at : "", buf->len - at};
    return text;
}

/* Text ------------------------------------------------------------------------------------------------------------- */

void vllm_part_open(struct vllm_choice *choice, enum vllm_part_kind kind, struct vllm_event *event) {
    choice->open = true;
    choice->open_kind = kind;
    choice->open_at = choice->texts[kind].len;
    choice->part_len = write_part_id(choice->part, choice->number, kind, choice->parts[kind]++);
    vllm_part_event(event, VLLM_EVENT_PART_START, choice);
    set_part(event, kind, choice->part, choice->part_len);
}

void vllm_part_text(const struct vllm_choice *choice, size_t from, struct vllm_event *event) {
    static const enum vllm_event_type types[VLLM_TEXT_KINDS] = {[VLLM_PART_TEXT] = VLLM_EVENT_TEXT_DELTA,
                                                                [VLLM_PART_REASONING] = VLLM_EVENT_REASONING_DELTA,
                                                                [VLLM_PART_REFUSAL] = VLLM_EVENT_REFUSAL_DELTA};
    vllm_part_event(event, types[choice->open_kind], choice);
    set_part(event, choice->open_kind, choice->part, choice->part_len);
    event->text = text_from(&choice->texts[choice->open_kind], from);
}

enum vllm_status vllm_part_close(struct vllm_answer *answer, struct vllm_choice *choice, struct vllm_event *event) {
    struct vllm_buf *text = &choice->texts[choice->open_kind];
    if (choice->half) {
        size_t from = text->len;
        enum vllm_status status = vllm_halves_finish(text, &choice->half);
        answer->store.why = "no memory";
        vllm_part_text(choice, from, event);
        return status;
    }
    choice->open = false;
    vllm_part_event(event, VLLM_EVENT_PART_END, choice);
    set_part(event, choice->open_kind, choice->part, choice->part_len);
    event->text = text_from(text, choice->open_at);
    return VLLM_OK;
}

/* Calls and media -------------------------------------------------------------------------------------------------- */

void vllm_part_call(struct vllm_choice *choice, size_t place, enum vllm_event_type type, size_t from,
                    struct vllm_event *event) {
    const struct vllm_call *call = &choice->calls.items[place];
    size_t len = write_part_id(choice->other_part, choice->number, VLLM_PART_TOOL_CALL, place);
    vllm_part_event(event, type, choice);
    set_part(event, VLLM_PART_TOOL_CALL, choice->other_part, len);
    event->index = (int64_t)place;
    event->id = vllm_call_id(call);
    event->name = vllm_store_view(&call->name);
    event->text = text_from(&call->arguments, from);
}

void vllm_part_media(struct vllm_choice *choice, enum vllm_event_type type, struct vllm_slice raw,
                     struct vllm_event *event) {
    size_t len = write_part_id(choice->other_part, choice->number, VLLM_PART_MEDIA, choice->parts[VLLM_PART_MEDIA]);
    vllm_part_event(event, type, choice);
    set_part(event, VLLM_PART_MEDIA, choice->other_part, len);
    if (type == VLLM_EVENT_PART_END) {
        event->raw = raw;
        choice->parts[VLLM_PART_MEDIA]++;
    }
}

/* Ends ------------------------------------------------------------------------------------------------------------- */

/* The next call that has not ended: its waiting half, the call, the end of its part. */
static enum vllm_status end_call(struct vllm_answer *answer, struct vllm_choice *choice, struct vllm_event *event) {
    size_t place = choice->calls_ended;
    struct vllm_call *call = &choice->calls.items[place];
    enum vllm_status status = VLLM_OK;
    if (call->half) {
        size_t from = call->arguments.len;
        status = vllm_halves_finish(&call->arguments, &call->half);
        answer->store.why = "no memory";
        vllm_part_call(choice, place, VLLM_EVENT_TOOL_CALL_DELTA, from, event);
    } else if (!call->ended) {
        status = vllm_answer_judge(answer, choice, place);
        call->ended = true;
        vllm_part_call(choice, place, VLLM_EVENT_TOOL_CALL, 0, event);
        event->invalid = call->invalid;
        event->extras = &call->extras;
    } else {
        choice->calls_ended++;
        vllm_part_call(choice, place, VLLM_EVENT_PART_END, 0, event);
    }
    return status;
}

enum vllm_status vllm_part_end(struct vllm_answer *answer, struct vllm_choice *choice, struct vllm_event *event) {
    if (choice->open) {
        return vllm_part_close(answer, choice, event);
    }
    if (choice->calls_ended < choice->calls.count) {
        return end_call(answer, choice, event);
    }
    if (choice->ended) {
        return VLLM_END;
    }
    choice->ended = true;
    vllm_part_event(event, VLLM_EVENT_CHOICE_END, choice);
    event->text = vllm_store_view(&choice->finish_reason);
    event->raw = vllm_store_view(&choice->stop_reason);
    return VLLM_OK;
}
