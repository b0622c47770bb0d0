/* Bytes of a stream, or one whole completion → turn events, one at a time; the message grows on the way.
 *
 * Nothing is queued: `next` looks at the delta at hand and does the first thing that is still to be done for it (start the turn, close
 * a part, open a part, deliver), so a delta is visited until all its events are out. Order and ends:
 *  - A text part ends when a part of another kind begins in its choice; tool parts end with their choice.
 *  - A choice ends when a delta of another choice follows its finish reason, or with the turn. Until then it takes what still comes
 *    (some servers send text or arguments behind the finish reason, or the finish reason twice: the first one counts).
 *  - What comes for a choice that has ended is delivered in new parts, which end with the turn; arguments for a call that has ended
 *    are an error, since the call may be running.
 *  - The turn ends at `[DONE]`, whose event must be exactly that but for white space, or where the bytes end, if every choice seen
 *    has a finish reason. Everything behind `[DONE]` is ignored. An answer without any choice is no answer, and one that the server says
 *    it broke off is an error, once all of it has come; one that ends in `[DONE]` alone is whole, unless an object was not understood.
 *  - Lines that are no field, and objects that are no chunk, are evidence: where no answer came, the lines may be one (servers send a whole
 *    completion, or the JSON of an error, as an event stream), else they say why there is none.
 *  - An event cut off by the end of the bytes is passed over if it cannot be read: that is truncation, not bad syntax.
 *  - Events of a type other than "message" and "error" count only when their data is an object (LiteLLM and others send "ping").
 * Bounds: those of the options. After an error nothing but that error comes out. */
#include "turn.h"

#include <string.h>

#include "parts.h"
#include "slice.h"
#include "sse.h"

#define MAX_CHUNK_DELTAS 65536
#define NO_MEMORY        "no memory"
#define NO_CHOICES       "the answer has no choices"

enum step { STEP_EVENT, STEP_AGAIN, STEP_STOP }; /* an event is set; something was done; `status` says why not */

struct vllm_turn {
    struct vllm_alloc alloc;
    struct vllm_turn_options options;
    struct vllm_sse *sse;
    struct vllm_chunk *chunk;
    struct vllm_message message;
    struct vllm_buf body;            /* a whole completion */
    struct vllm_json list;           /* over `body`, when it is a list of chunks */
    struct vllm_buf evidence;        /* of the error; until there is one, what was not understood last */
    const struct vllm_delta *deltas; /* of the chunk at hand */
    size_t delta_at, delta_count;
    bool half_done;                    /* the first of two events of this delta is out (media, new calls) */
    size_t call_place;                 /* of the tool fragment at hand */
    struct vllm_choice *choice;        /* the last one, most likely the next */
    struct vllm_choice *last_finished; /* its end is due when another choice goes on */
    struct vllm_choice *ending;
    size_t end_at;               /* choices before this one were ended */
    struct vllm_slice raw_chunk; /* to be handed out */
    enum { READING, CLOSING, CLOSED } phase;
    bool started, done, has_body, is_list, body_read, strays_read, finished, usage_sent;
    uint64_t bytes, events;
    enum vllm_status status;
    const char *why;
};

void vllm_turn_options_default(struct vllm_turn_options *options) {
    memset(options, 0, sizeof *options);
    options->max_event_bytes = (size_t)16 << 20;
    options->max_message_bytes = (size_t)64 << 20;
    options->max_tool_calls = 128;
    options->max_choices = 128;
    options->max_depth = VLLM_JSON_MAX_DEPTH;
}

struct vllm_turn *vllm_turn_new(const struct vllm_alloc *alloc, const struct vllm_turn_options *options) {
    struct vllm_turn *turn = alloc->fn(alloc->ud, NULL, 0, sizeof *turn);
    if (!turn) {
        return NULL;
    }
    memset(turn, 0, sizeof *turn);
    turn->alloc = *alloc;
    turn->options = *options;
    enum vllm_status status = vllm_message_init(&turn->message, &turn->alloc, options);
    vllm_buf_init(&turn->body, &turn->alloc, options->max_event_bytes);
    vllm_buf_init(&turn->evidence, &turn->alloc, SIZE_MAX / 2);
    size_t event = options->max_event_bytes;
    struct vllm_chunk_limits limits = {options->max_depth, MAX_CHUNK_DELTAS, event > SIZE_MAX / 3 ? SIZE_MAX : event * 3};
    turn->sse = vllm_sse_new(&turn->alloc, event, true);
    turn->chunk = vllm_chunk_new(&turn->alloc, &limits);
    if (!turn->sse || !turn->chunk || status != VLLM_OK) {
        vllm_turn_free(turn);
        return NULL;
    }
    vllm_sse_keep_strays(turn->sse);
    return turn;
}

void vllm_turn_free(struct vllm_turn *turn) {
    if (!turn) {
        return;
    }
    struct vllm_alloc alloc = turn->alloc;
    vllm_sse_free(turn->sse);
    vllm_chunk_free(turn->chunk);
    vllm_message_free(&turn->message);
    vllm_buf_free(&turn->body);
    vllm_buf_free(&turn->evidence);
    alloc.fn(alloc.ud, turn, sizeof *turn, 0);
}

static enum step fail(struct vllm_turn *turn, enum vllm_status status, const char *why) {
    turn->status = status;
    turn->why = why;
    return STEP_STOP;
}

static enum step fail_by_message(struct vllm_turn *turn, enum vllm_status status) {
    return fail(turn, status, turn->message.why);
}

static enum vllm_status keep_evidence(struct vllm_turn *turn, struct vllm_slice bytes) {
    vllm_buf_clear(&turn->evidence);
    return vllm_buf_append(&turn->evidence, bytes.ptr, bytes.len);
}

static enum step fail_with(struct vllm_turn *turn, enum vllm_status status, const char *why, struct vllm_slice bytes) {
    enum vllm_status kept = keep_evidence(turn, bytes);
    return kept == VLLM_OK ? fail(turn, status, why) : fail(turn, kept, NO_MEMORY);
}

static enum vllm_status fail_input(struct vllm_turn *turn, enum vllm_status status, const char *limit) {
    if (status != VLLM_OK) {
        fail(turn, status, status == VLLM_ENOMEM ? NO_MEMORY : limit);
    }
    return status;
}

/* Ends --------------------------------------------------------------------------------------------------------------- */

static enum step start_turn(struct vllm_turn *turn, struct vllm_event *event) {
    turn->started = true;
    vllm_parts_event(event, VLLM_EVENT_TURN_START, NULL);
    event->id = vllm_message_view(&turn->message.id);
    event->model = vllm_message_view(&turn->message.model);
    return STEP_EVENT;
}

static enum step close_text(struct vllm_turn *turn, struct vllm_event *event, struct vllm_choice *choice) {
    enum vllm_status status = vllm_parts_close(&turn->message, choice, event);
    return status == VLLM_OK ? STEP_EVENT : fail_by_message(turn, status);
}

static enum step end_choice(struct vllm_turn *turn, struct vllm_event *event) {
    enum vllm_status status = vllm_parts_end(&turn->message, turn->ending, event);
    if (status == VLLM_END) {
        turn->ending = NULL;
        return STEP_AGAIN;
    }
    return status == VLLM_OK ? STEP_EVENT : fail_by_message(turn, status);
}

/* The last choice to finish ends first, then the others in their order. */
static enum step close_turn(struct vllm_turn *turn, struct vllm_event *event) {
    if (!turn->started) {
        return start_turn(turn, event);
    }
    if (turn->last_finished) {
        turn->ending = turn->last_finished;
        turn->last_finished = NULL;
        return STEP_AGAIN;
    }
    if (turn->end_at < turn->message.count) {
        turn->ending = turn->message.choices[turn->end_at++];
        return STEP_AGAIN;
    }
    if (!turn->usage_sent && turn->message.usage.len > 0) {
        turn->usage_sent = true;
        vllm_parts_event(event, VLLM_EVENT_USAGE, NULL);
        vllm_message_read_usage(&turn->message, &event->usage);
        return STEP_EVENT;
    }
    turn->phase = CLOSED;
    vllm_parts_event(event, VLLM_EVENT_TURN_END, NULL);
    return STEP_EVENT;
}

/* Deltas ------------------------------------------------------------------------------------------------------------- */

static enum step advance(struct vllm_turn *turn) {
    turn->delta_at++;
    turn->half_done = false;
    return STEP_AGAIN;
}

static enum step step_text(struct vllm_turn *turn, struct vllm_event *event, struct vllm_choice *choice, const struct vllm_delta *delta,
                           enum vllm_part_kind kind) {
    struct vllm_slice text = delta->text;
    if (delta->whole) {
        text = vllm_message_news(&choice->texts[kind], delta->index > 0 ? (size_t)delta->index : 0, text);
        if (text.len == 0) {
            return advance(turn);
        }
    }
    if (!choice->open || choice->open_kind != kind) {
        if (choice->open) {
            return close_text(turn, event, choice);
        }
        vllm_parts_open(choice, kind, event);
        return STEP_EVENT;
    }
    size_t from = choice->texts[kind].len;
    enum vllm_status status = vllm_message_text(&turn->message, choice, kind, text);
    if (status != VLLM_OK) {
        return fail_by_message(turn, status);
    }
    advance(turn);
    if (choice->texts[kind].len == from) {
        return STEP_AGAIN; /* half a character, which waits */
    }
    vllm_parts_text(choice, from, event);
    return STEP_EVENT;
}

static enum step step_media(struct vllm_turn *turn, struct vllm_event *event, struct vllm_choice *choice, const struct vllm_delta *delta) {
    if (choice->open) {
        return close_text(turn, event, choice);
    }
    if (turn->half_done) {
        vllm_parts_media(choice, VLLM_EVENT_PART_END, delta->raw, event);
        advance(turn);
        return STEP_EVENT;
    }
    enum vllm_status status = vllm_message_media(&turn->message, choice, delta->raw);
    if (status != VLLM_OK) {
        return fail_by_message(turn, status);
    }
    turn->half_done = true;
    vllm_parts_media(choice, VLLM_EVENT_PART_START, delta->raw, event);
    return STEP_EVENT;
}

static enum step step_tool(struct vllm_turn *turn, struct vllm_event *event, struct vllm_choice *choice, const struct vllm_delta *delta) {
    struct vllm_call_change change;
    const struct vllm_slice absent = {NULL, 0};
    if (choice->open) {
        return close_text(turn, event, choice);
    }
    if (turn->half_done) { /* the part of a new call was started */
        advance(turn);
        vllm_parts_call(choice, turn->call_place, VLLM_EVENT_TOOL_CALL_DELTA, 0, event);
        return STEP_EVENT;
    }
    enum vllm_status status = vllm_message_call(&turn->message, choice, delta, &change);
    if (status != VLLM_OK) {
        return fail_by_message(turn, status);
    }
    if (change.is_new) {
        turn->half_done = true;
        turn->call_place = change.place;
        vllm_parts_call(choice, change.place, VLLM_EVENT_PART_START, change.from, event);
        event->text = absent;
        return STEP_EVENT;
    }
    advance(turn);
    if (!change.news) {
        return STEP_AGAIN;
    }
    vllm_parts_call(choice, change.place, VLLM_EVENT_TOOL_CALL_DELTA, change.from, event);
    return STEP_EVENT;
}

static enum step step_tokens(struct vllm_turn *turn, struct vllm_event *event, struct vllm_choice *choice, const struct vllm_delta *delta) {
    enum vllm_status status = vllm_message_tokens(&turn->message, choice, delta);
    if (status != VLLM_OK) {
        return fail_by_message(turn, status);
    }
    vllm_parts_event(event, VLLM_EVENT_TOKENS, choice);
    event->raw = delta->raw;
    event->token_ids = delta->token_ids;
    advance(turn);
    return STEP_EVENT;
}

static enum step step_finish(struct vllm_turn *turn, struct vllm_choice *choice, const struct vllm_delta *delta) {
    if (!choice->finished) {
        enum vllm_status status = vllm_message_finish(&turn->message, choice, delta);
        if (status != VLLM_OK) {
            return fail_by_message(turn, status);
        }
        turn->last_finished = choice;
    }
    return advance(turn);
}

static enum step step_error(struct vllm_turn *turn, const struct vllm_delta *delta) {
    return fail_with(turn, delta->of_answer ? VLLM_EFAILED : VLLM_ESERVER, "the server reported an error", delta->raw);
}

static enum step step_foreign(struct vllm_turn *turn, const struct vllm_delta *delta) {
    enum vllm_status status = keep_evidence(turn, delta->raw);
    return status == VLLM_OK ? advance(turn) : fail(turn, status, NO_MEMORY);
}

/* A delta that belongs to a choice. */
static enum step step_choice(struct vllm_turn *turn, struct vllm_event *event, const struct vllm_delta *delta) {
    if (!turn->choice || turn->choice->number != delta->choice) {
        enum vllm_status status = vllm_message_choice(&turn->message, delta->choice, &turn->choice);
        if (status != VLLM_OK) {
            turn->choice = NULL;
            return fail_by_message(turn, status);
        }
    }
    struct vllm_choice *choice = turn->choice;
    if (turn->last_finished && turn->last_finished != choice) {
        turn->ending = turn->last_finished;
        turn->last_finished = NULL;
        return STEP_AGAIN;
    }
    if (delta->kind == VLLM_DELTA_CHOICE) {
        return advance(turn);
    }
    if (!turn->started) {
        return start_turn(turn, event);
    }
    switch (delta->kind) {
    case VLLM_DELTA_TEXT: return step_text(turn, event, choice, delta, VLLM_PART_TEXT);
    case VLLM_DELTA_REASONING: return step_text(turn, event, choice, delta, VLLM_PART_REASONING);
    case VLLM_DELTA_REFUSAL: return step_text(turn, event, choice, delta, VLLM_PART_REFUSAL);
    case VLLM_DELTA_MEDIA: return step_media(turn, event, choice, delta);
    case VLLM_DELTA_TOOL: return step_tool(turn, event, choice, delta);
    case VLLM_DELTA_TOKENS: return step_tokens(turn, event, choice, delta);
    default: return step_finish(turn, choice, delta);
    }
}

static enum step step_delta(struct vllm_turn *turn, struct vllm_event *event, const struct vllm_delta *delta) {
    enum vllm_status status;
    switch (delta->kind) {
    case VLLM_DELTA_ERROR: return step_error(turn, delta);
    case VLLM_DELTA_FOREIGN: return step_foreign(turn, delta);
    case VLLM_DELTA_ENVELOPE:
        status = vllm_message_envelope(&turn->message, delta);
        return status == VLLM_OK ? advance(turn) : fail_by_message(turn, status);
    case VLLM_DELTA_USAGE:
        status = vllm_message_usage(&turn->message, delta->raw);
        return status == VLLM_OK ? advance(turn) : fail_by_message(turn, status);
    case VLLM_DELTA_MEMBERS:
    case VLLM_DELTA_CHOICE_MEMBERS:
    case VLLM_DELTA_EXTRA: /* none of them says where a choice stands, so they start and end nothing */
        status = vllm_message_extra(&turn->message, delta);
        return status == VLLM_OK ? advance(turn) : fail_by_message(turn, status);
    default: return step_choice(turn, event, delta);
    }
}

/* Chunks ------------------------------------------------------------------------------------------------------------- */

static enum vllm_status read_chunk(struct vllm_turn *turn, struct vllm_slice json, struct vllm_slice type, const char **why) {
    enum vllm_status status = vllm_chunk_read(turn->chunk, json, type, why);
    if (status == VLLM_OK) {
        turn->deltas = vllm_chunk_deltas(turn->chunk, &turn->delta_count);
        turn->delta_at = 0;
        bool is_error = turn->delta_count > 0 && turn->deltas[turn->delta_count - 1].kind == VLLM_DELTA_ERROR;
        turn->raw_chunk.ptr = turn->options.want_chunks && !is_error ? json.ptr : NULL;
        turn->raw_chunk.len = json.len;
    }
    return status;
}

static void begin_body(struct vllm_turn *turn) {
    turn->has_body = true;
    vllm_json_init(&turn->list, turn->body.data, turn->body.len, turn->options.max_depth);
    turn->is_list = vllm_json_peek(&turn->list) == VLLM_JSON_ARRAY && vllm_json_enter(&turn->list);
}

/* Is this the JSON of an error? Then it is the chunk at hand. */
static bool read_error(struct vllm_turn *turn, struct vllm_slice json) {
    static const struct vllm_slice no_type = {"", 0};
    const char *why = NULL;
    if (vllm_chunk_read(turn->chunk, json, no_type, &why) != VLLM_OK) {
        return false;
    }
    turn->deltas = vllm_chunk_deltas(turn->chunk, &turn->delta_count);
    bool is_error = turn->delta_count > 0 && turn->deltas[turn->delta_count - 1].kind == VLLM_DELTA_ERROR;
    turn->delta_count = is_error ? turn->delta_count : 0;
    turn->delta_at = 0;
    return is_error;
}

/* The stream is over without a whole answer, and had lines that are no field. True: they are an answer of their own or an error, which is to be
 * read now; or that failed. */
static bool read_strays(struct vllm_turn *turn, struct vllm_slice strays) {
    turn->strays_read = true;
    if (turn->message.count > 0 && read_error(turn, strays)) {
        return true;
    }
    bool is_body = turn->message.count == 0;
    enum vllm_status status = is_body ? vllm_buf_append(&turn->body, strays.ptr, strays.len) : keep_evidence(turn, strays);
    if (status != VLLM_OK) {
        fail(turn, status, NO_MEMORY);
    } else if (is_body) {
        begin_body(turn);
    }
    return is_body || status != VLLM_OK;
}

static enum step close_stream(struct vllm_turn *turn) {
    const char *failure = vllm_message_failure(&turn->message);
    bool complete = vllm_message_finished(&turn->message) > 0, empty = turn->message.count == 0, is_whole = turn->evidence.len == 0;
    struct vllm_slice strays = vllm_sse_strays(turn->sse);
    if (!complete && strays.len > 0 && !turn->strays_read && read_strays(turn, strays)) {
        return turn->status == VLLM_OK ? STEP_AGAIN : STEP_STOP;
    }
    if (failure) {
        vllm_buf_clear(&turn->evidence);
        return fail(turn, VLLM_EFAILED, failure);
    }
    if (empty && turn->evidence.len == 0 && turn->has_body) {
        return fail_with(turn, VLLM_ESYNTAX, NO_CHOICES, vllm_buf_view(&turn->body));
    }
    if (empty && (turn->done || turn->evidence.len > 0)) {
        return fail(turn, VLLM_ESYNTAX, NO_CHOICES);
    }
    if (!complete && !(turn->done && is_whole)) {
        return fail(turn, VLLM_ETRUNCATED, "the stream ended before the answer did");
    }
    turn->phase = CLOSING;
    return STEP_AGAIN;
}

/* One event of the stream. */
static enum step step_sse(struct vllm_turn *turn, const struct vllm_sse_event *sse) {
    struct vllm_slice data = vllm_sse_unwrap(sse);
    const char *why = NULL;
    if (data.len == 0) {
        return STEP_AGAIN;
    }
    turn->events++;
    if (vllm_slice_is(data, "[DONE]")) {
        turn->done = true;
        return close_stream(turn);
    }
    bool known = sse->type.len == 0 || vllm_slice_is(sse->type, "message") || vllm_slice_is(sse->type, "error");
    if (!known && data.ptr[0] != '{') {
        return STEP_AGAIN;
    }
    enum vllm_status status = read_chunk(turn, data, sse->type, &why);
    if (status == VLLM_ESYNTAX && sse->cut) {
        bool is_begun = data.ptr[0] == '{' || data.ptr[0] == '['; /* a chunk or `[DONE]`, of which a part says nothing */
        status = is_begun ? VLLM_OK : keep_evidence(turn, data);
        why = NO_MEMORY;
    }
    return status == VLLM_OK ? STEP_AGAIN : fail_with(turn, status, why, data);
}

static enum step step_stream(struct vllm_turn *turn) {
    struct vllm_sse_event sse;
    enum vllm_status status = vllm_sse_next(turn->sse, &sse);
    switch (status) {
    case VLLM_OK: return step_sse(turn, &sse);
    case VLLM_MORE: return STEP_STOP;
    case VLLM_END: return close_stream(turn);
    default: return fail(turn, status, status == VLLM_ENOMEM ? NO_MEMORY : "an event is larger than max_event_bytes");
    }
}

static enum step close_body(struct vllm_turn *turn) {
    turn->done = true;
    return close_stream(turn);
}

/* The whole completion, or the next chunk of a list of them. */
static enum step step_body(struct vllm_turn *turn) {
    static const struct vllm_slice no_type = {"", 0};
    const char *why = NULL;
    struct vllm_slice json = vllm_buf_view(&turn->body);
    if (turn->is_list) {
        struct vllm_json *list = &turn->list;
        if (!vllm_json_element(list) || !vllm_json_skip(list, &json)) {
            bool whole = list->status == VLLM_OK && vllm_json_end(list);
            return whole ? close_body(turn) : fail_with(turn, list->status, list->why, json);
        }
    } else if (turn->body_read) {
        return close_body(turn);
    }
    turn->body_read = true;
    turn->events++;
    enum vllm_status status = read_chunk(turn, json, no_type, &why);
    return status == VLLM_OK ? STEP_AGAIN : fail_with(turn, status, why, json);
}

enum vllm_status vllm_turn_feed(struct vllm_turn *turn, const char *bytes, size_t len) {
    if (turn->status != VLLM_OK) {
        return turn->status;
    }
    if ((turn->has_body && !turn->strays_read) || turn->finished) {
        return VLLM_EINVALID;
    }
    turn->bytes += len;
    return turn->done ? VLLM_OK : fail_input(turn, vllm_sse_feed(turn->sse, bytes, len), NO_MEMORY);
}

enum vllm_status vllm_turn_body(struct vllm_turn *turn, const char *json, size_t len) {
    if (turn->status != VLLM_OK) {
        return turn->status;
    }
    if (turn->has_body || turn->finished || turn->bytes > 0) {
        return VLLM_EINVALID;
    }
    turn->has_body = true;
    turn->bytes = len;
    enum vllm_status status = vllm_buf_append(&turn->body, json, len);
    if (status == VLLM_OK) {
        begin_body(turn);
    }
    return fail_input(turn, status, "the answer is larger than max_event_bytes");
}

enum vllm_status vllm_turn_finish(struct vllm_turn *turn) {
    turn->finished = true;
    return turn->status == VLLM_OK ? vllm_sse_finish(turn->sse) : turn->status;
}

static enum step step(struct vllm_turn *turn, struct vllm_event *event) {
    if (turn->ending) {
        return end_choice(turn, event);
    }
    if (turn->raw_chunk.ptr) {
        vllm_parts_event(event, VLLM_EVENT_CHUNK, NULL);
        event->raw = turn->raw_chunk;
        turn->raw_chunk.ptr = NULL;
        return STEP_EVENT;
    }
    if (turn->delta_at < turn->delta_count) {
        return step_delta(turn, event, &turn->deltas[turn->delta_at]);
    }
    if (turn->phase == CLOSING) {
        return close_turn(turn, event);
    }
    return turn->has_body ? step_body(turn) : step_stream(turn);
}

enum vllm_status vllm_turn_next(struct vllm_turn *turn, struct vllm_event *event) {
    enum step result = STEP_AGAIN;
    if (turn->status != VLLM_OK) {
        return turn->status;
    }
    if (turn->phase == CLOSED) {
        return VLLM_END;
    }
    while (result == STEP_AGAIN) {
        result = step(turn, event);
    }
    if (result == STEP_EVENT) {
        return VLLM_OK;
    }
    return turn->status == VLLM_OK ? VLLM_MORE : turn->status;
}

/* Reading ------------------------------------------------------------------------------------------------------------ */

const char *vllm_turn_why(const struct vllm_turn *turn) {
    return turn->why ? turn->why : "";
}

struct vllm_slice vllm_turn_evidence(const struct vllm_turn *turn) {
    return vllm_message_view(&turn->evidence);
}

void vllm_turn_state(const struct vllm_turn *turn, struct vllm_turn_state *out) {
    memset(out, 0, sizeof *out);
    out->id = vllm_message_view(&turn->message.id);
    out->model = vllm_message_view(&turn->message.model);
    vllm_message_read_usage(&turn->message, &out->usage);
    out->choice_count = turn->message.count;
    out->extras = &turn->message.extras;
    out->finished_count = vllm_message_finished(&turn->message);
    out->complete = out->finished_count > 0 && !vllm_message_failure(&turn->message);
    out->done = turn->done;
    out->started = turn->started;
    out->bytes = turn->bytes;
    out->events = turn->events;
}

void vllm_turn_choice(const struct vllm_turn *turn, size_t position, struct vllm_turn_choice *out) {
    const struct vllm_choice *choice = turn->message.choices[position];
    out->choice = choice->number;
    out->text = vllm_message_view(&choice->texts[VLLM_PART_TEXT]);
    out->reasoning = vllm_message_view(&choice->texts[VLLM_PART_REASONING]);
    out->refusal = vllm_message_view(&choice->texts[VLLM_PART_REFUSAL]);
    out->finish_reason = vllm_message_view(&choice->finish_reason);
    out->stop_reason = vllm_message_view(&choice->stop_reason);
    out->media = vllm_message_view(&choice->media);
    out->logprobs = vllm_message_view(&choice->logprobs);
    out->token_ids = vllm_message_view(&choice->token_ids);
    out->call_count = choice->calls.count;
    out->extras = &choice->extras;
    out->message_extras = &choice->message_extras;
}

void vllm_turn_call(const struct vllm_turn *turn, size_t position, size_t call, struct vllm_turn_call *out) {
    const struct vllm_choice *choice = turn->message.choices[position];
    const struct vllm_call *found = &choice->calls.items[call];
    out->id = vllm_message_call_id(&turn->message, choice, call, out->made);
    out->name = vllm_message_view(&found->name);
    out->arguments = vllm_buf_view(&found->arguments);
    out->invalid = found->invalid;
    out->extras = &found->extras;
}
