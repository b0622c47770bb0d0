/* What comes out of the decoder: events, and the words in which they are told. What each means: docs/events.md. */
#ifndef VLLM_EVENT_H
#define VLLM_EVENT_H

#include "extras.h"

enum vllm_event_type {
    VLLM_EVENT_TURN_START, /* id, model */
    VLLM_EVENT_PART_START, /* choice, part, kind */
    VLLM_EVENT_TEXT_DELTA, /* choice, part, text; whole code points */
    VLLM_EVENT_REASONING_DELTA,
    VLLM_EVENT_REFUSAL_DELTA,
    VLLM_EVENT_TOOL_CALL_DELTA, /* choice, part, index, id, name, text = raw fragment */
    VLLM_EVENT_PART_END,  /* choice, part, kind, text = whole value (text kinds), raw JSON (media), or the raw arguments
                             (tool call) */
    VLLM_EVENT_TOOL_CALL, /* choice, index, id, name, text = raw arguments, invalid = why or NULL */
    VLLM_EVENT_TOKENS,    /* choice, raw = logprobs, token_ids (JSON) */
    VLLM_EVENT_CHOICE_END, /* choice, text = finish reason (may be absent), raw = stop_reason (JSON) */
    VLLM_EVENT_USAGE,      /* usage */
    VLLM_EVENT_CHUNK,      /* raw = the chunk's JSON; only when asked for */
    VLLM_EVENT_TURN_END
};

enum vllm_part_kind { VLLM_PART_TEXT, VLLM_PART_REASONING, VLLM_PART_REFUSAL, VLLM_PART_TOOL_CALL, VLLM_PART_MEDIA };

/* -1: the server did not say. */
struct vllm_usage {
    int64_t prompt_tokens, completion_tokens, total_tokens, cached_tokens, reasoning_tokens;
    struct vllm_slice raw;
};

struct vllm_event {
    enum vllm_event_type type;
    enum vllm_part_kind kind;
    int64_t choice;
    int64_t index; /* tool calls: order of arrival within the choice, 0-based */
    struct vllm_slice part, id, name, model, text, raw, token_ids;
    const char *invalid;              /* constant sentence */
    const struct vllm_extras *extras; /* of a tool call */
    struct vllm_usage usage;
};

#endif
