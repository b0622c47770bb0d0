/* Bytes of a stream, or one whole completion → events, one at a time; the answer grows on the way.
 *
 * Nothing is queued: `next` looks at the delta at hand and does the first thing that is still to be done for it (start the decoder, close
 * a part, open a part, deliver), so a delta is visited until all its events are out. Order and ends:
 *  - A text part ends when a part of another kind begins in its choice; tool parts end with their choice.
 *  - A choice ends when a delta of another choice follows its finish reason, or with the turn. Until then it takes what still comes
 *    (some servers send text or arguments behind the finish reason, or the finish reason twice: the first one counts).
 *  - What comes for a choice that has ended is delivered in new parts, which end with the decoder; arguments for a call that has ended
 *    are an error, since the call may be running.
 *  - The turn ends at `[DONE]`, whose event must be exactly that but for white space, or where the bytes end, if every choice seen
 *    has a finish reason. Everything behind `[DONE]` is ignored. An answer without any choice is no answer, and one that the server says
 *    it broke off is an error, once all of it has come; one that ends in `[DONE]` alone is whole, unless an object was not understood.
 *  - Lines that are no field, and objects that are no chunk, are evidence: where no answer came, the lines may be one (servers send a whole
 *    completion, or the JSON of an error, as an event stream), else they say why there is none.
 *  - An event cut off by the end of the bytes is passed over if it cannot be read: that is truncation, not bad syntax.
 *  - Events of a type other than "message" and "error" count only when their data is an object (LiteLLM and others send "ping").
 * Bounds: those of the options. After an error nothing but that error comes out. */
#include "decoder.h"

#include <string.h>

#include "part_events.h"
#include "slice.h"
#include "sse.h"

#define MAX_CHUNK_DELTAS 65536
#define NO_MEMORY        "no memory"
#define NO_CHOICES       "the answer has no choices"

enum step { STEP_EVENT, STEP_AGAIN, STEP_STOP }; /* an event is set; something was done; `status` says why not */

struct vllm_decoder {
    struct vllm_alloc alloc;
    struct vllm_decoder_options options;
    struct vllm_sse *sse;
    struct vllm_chunk *chunk;
    struct vllm_answer answer;
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

void vllm_decoder_options_default(struct vllm_decoder_options *options) {
    memset(options, 0, sizeof *options);
    options->max_event_bytes = (size_t)16 << 20;
    options->max_message_bytes = (size_t)64 << 20;
    options->max_tool_calls = 128;
    options->max_choices = 128;
    options->max_depth = VLLM_JSON_MAX_DEPTH;
}

struct vllm_decoder *vllm_decoder_new(const struct vllm_alloc *alloc, const struct vllm_decoder_options *options) {
    struct vllm_decoder *decoder = alloc->fn(alloc->ud, NULL, 0, sizeof *decoder);
    if (!decoder) {
        return NULL;
    }
    memset(decoder, 0, sizeof *decoder);
    decoder->alloc = *alloc;
    decoder->options = *options;
    enum vllm_status status = vllm_answer_init(&decoder->answer, &decoder->alloc, options);
    vllm_buf_init(&decoder->body, &decoder->alloc, options->max_event_bytes);
    vllm_buf_init(&decoder->evidence, &decoder->alloc, SIZE_MAX / 2);
    size_t event = options->max_event_bytes;
    struct vllm_chunk_limits limits = {options->max_depth, MAX_CHUNK_DELTAS, event > SIZE_MAX / 3 ? SIZE_MAX : event * 3};
    decoder->sse = vllm_sse_new(&decoder->alloc, event, true);
    decoder->chunk = vllm_chunk_new(&decoder->alloc, &limits);
    if (!decoder->sse || !decoder->chunk || status != VLLM_OK) {
        vllm_decoder_free(decoder);
        return NULL;
    }
    vllm_sse_keep_strays(decoder->sse);
    return decoder;
}

void vllm_decoder_free(struct vllm_decoder *decoder) {
    if (!decoder) {
        return;
    }
    struct vllm_alloc alloc = decoder->alloc;
    vllm_sse_free(decoder->sse);
    vllm_chunk_free(decoder->chunk);
    vllm_answer_free(&decoder->answer);
    vllm_buf_free(&decoder->body);
    vllm_buf_free(&decoder->evidence);
    alloc.fn(alloc.ud, decoder, sizeof *decoder, 0);
}

static enum step fail(struct vllm_decoder *decoder, enum vllm_status status, const char *why) {
    decoder->status = status;
    decoder->why = why;
    return STEP_STOP;
}

static enum step fail_by_answer(struct vllm_decoder *decoder, enum vllm_status status) {
    return fail(decoder, status, decoder->answer.why);
}

static enum vllm_status keep_evidence(struct vllm_decoder *decoder, struct vllm_slice bytes) {
    vllm_buf_clear(&decoder->evidence);
    return vllm_buf_append(&decoder->evidence, bytes.ptr, bytes.len);
}

static enum step fail_with(struct vllm_decoder *decoder, enum vllm_status status, const char *why, struct vllm_slice bytes) {
    enum vllm_status kept = keep_evidence(decoder, bytes);
    return kept == VLLM_OK ? fail(decoder, status, why) : fail(decoder, kept, NO_MEMORY);
}

static enum vllm_status fail_input(struct vllm_decoder *decoder, enum vllm_status status, const char *limit) {
    if (status != VLLM_OK) {
        fail(decoder, status, status == VLLM_ENOMEM ? NO_MEMORY : limit);
    }
    return status;
}

/* Ends --------------------------------------------------------------------------------------------------------------- */

static enum step start_turn(struct vllm_decoder *decoder, struct vllm_event *event) {
    decoder->started = true;
    vllm_part_event(event, VLLM_EVENT_TURN_START, NULL);
    event->id = vllm_answer_view(&decoder->answer.id);
    event->model = vllm_answer_view(&decoder->answer.model);
    return STEP_EVENT;
}

static enum step close_text(struct vllm_decoder *decoder, struct vllm_event *event, struct vllm_choice *choice) {
    enum vllm_status status = vllm_part_close(&decoder->answer, choice, event);
    return status == VLLM_OK ? STEP_EVENT : fail_by_answer(decoder, status);
}

static enum step end_choice(struct vllm_decoder *decoder, struct vllm_event *event) {
    enum vllm_status status = vllm_part_end(&decoder->answer, decoder->ending, event);
    if (status == VLLM_END) {
        decoder->ending = NULL;
        return STEP_AGAIN;
    }
    return status == VLLM_OK ? STEP_EVENT : fail_by_answer(decoder, status);
}

/* The last choice to finish ends first, then the others in their order. */
static enum step close_turn(struct vllm_decoder *decoder, struct vllm_event *event) {
    if (!decoder->started) {
        return start_turn(decoder, event);
    }
    if (decoder->last_finished) {
        decoder->ending = decoder->last_finished;
        decoder->last_finished = NULL;
        return STEP_AGAIN;
    }
    if (decoder->end_at < decoder->answer.count) {
        decoder->ending = decoder->answer.choices[decoder->end_at++];
        return STEP_AGAIN;
    }
    if (!decoder->usage_sent && decoder->answer.usage.len > 0) {
        decoder->usage_sent = true;
        vllm_part_event(event, VLLM_EVENT_USAGE, NULL);
        vllm_answer_read_usage(&decoder->answer, &event->usage);
        return STEP_EVENT;
    }
    decoder->phase = CLOSED;
    vllm_part_event(event, VLLM_EVENT_TURN_END, NULL);
    return STEP_EVENT;
}

/* Deltas ------------------------------------------------------------------------------------------------------------- */

static enum step advance(struct vllm_decoder *decoder) {
    decoder->delta_at++;
    decoder->half_done = false;
    return STEP_AGAIN;
}

static enum step step_text(struct vllm_decoder *decoder, struct vllm_event *event, struct vllm_choice *choice,
                           const struct vllm_delta *delta, enum vllm_part_kind kind) {
    struct vllm_slice text = delta->text;
    if (delta->whole) {
        text = vllm_answer_news(&choice->texts[kind], delta->index > 0 ? (size_t)delta->index : 0, text);
        if (text.len == 0) {
            return advance(decoder);
        }
    }
    if (!choice->open || choice->open_kind != kind) {
        if (choice->open) {
            return close_text(decoder, event, choice);
        }
        vllm_part_open(choice, kind, event);
        return STEP_EVENT;
    }
    size_t from = choice->texts[kind].len;
    enum vllm_status status = vllm_answer_text(&decoder->answer, choice, kind, text);
    if (status != VLLM_OK) {
        return fail_by_answer(decoder, status);
    }
    advance(decoder);
    if (choice->texts[kind].len == from) {
        return STEP_AGAIN; /* half a character, which waits */
    }
    vllm_part_text(choice, from, event);
    return STEP_EVENT;
}

static enum step step_media(struct vllm_decoder *decoder, struct vllm_event *event, struct vllm_choice *choice,
                            const struct vllm_delta *delta) {
    if (choice->open) {
        return close_text(decoder, event, choice);
    }
    if (decoder->half_done) {
        vllm_part_media(choice, VLLM_EVENT_PART_END, delta->raw, event);
        advance(decoder);
        return STEP_EVENT;
    }
    enum vllm_status status = vllm_answer_media(&decoder->answer, choice, delta->raw);
    if (status != VLLM_OK) {
        return fail_by_answer(decoder, status);
    }
    decoder->half_done = true;
    vllm_part_media(choice, VLLM_EVENT_PART_START, delta->raw, event);
    return STEP_EVENT;
}

static enum step step_tool(struct vllm_decoder *decoder, struct vllm_event *event, struct vllm_choice *choice,
                           const struct vllm_delta *delta) {
    struct vllm_call_change change;
    const struct vllm_slice absent = {NULL, 0};
    if (choice->open) {
        return close_text(decoder, event, choice);
    }
    if (decoder->half_done) { /* the part of a new call was started */
        advance(decoder);
        vllm_part_call(choice, decoder->call_place, VLLM_EVENT_TOOL_CALL_DELTA, 0, event);
        return STEP_EVENT;
    }
    enum vllm_status status = vllm_answer_call(&decoder->answer, choice, delta, &change);
    if (status != VLLM_OK) {
        return fail_by_answer(decoder, status);
    }
    if (change.is_new) {
        decoder->half_done = true;
        decoder->call_place = change.place;
        vllm_part_call(choice, change.place, VLLM_EVENT_PART_START, change.from, event);
        event->text = absent;
        return STEP_EVENT;
    }
    advance(decoder);
    if (!change.news) {
        return STEP_AGAIN;
    }
    vllm_part_call(choice, change.place, VLLM_EVENT_TOOL_CALL_DELTA, change.from, event);
    return STEP_EVENT;
}

static enum step step_tokens(struct vllm_decoder *decoder, struct vllm_event *event, struct vllm_choice *choice,
                             const struct vllm_delta *delta) {
    enum vllm_status status = vllm_answer_tokens(&decoder->answer, choice, delta);
    if (status != VLLM_OK) {
        return fail_by_answer(decoder, status);
    }
    vllm_part_event(event, VLLM_EVENT_TOKENS, choice);
    event->raw = delta->raw;
    event->token_ids = delta->token_ids;
    advance(decoder);
    return STEP_EVENT;
}

static enum step step_finish(struct vllm_decoder *decoder, struct vllm_choice *choice, const struct vllm_delta *delta) {
    if (!choice->finished) {
        enum vllm_status status = vllm_answer_finish(&decoder->answer, choice, delta);
        if (status != VLLM_OK) {
            return fail_by_answer(decoder, status);
        }
        decoder->last_finished = choice;
    }
    return advance(decoder);
}

static enum step step_error(struct vllm_decoder *decoder, const struct vllm_delta *delta) {
    return fail_with(decoder, delta->of_answer ? VLLM_EFAILED : VLLM_ESERVER, "the server reported an error", delta->raw);
}

static enum step step_foreign(struct vllm_decoder *decoder, const struct vllm_delta *delta) {
    enum vllm_status status = keep_evidence(decoder, delta->raw);
    return status == VLLM_OK ? advance(decoder) : fail(decoder, status, NO_MEMORY);
}

/* A delta that belongs to a choice. */
static enum step step_choice(struct vllm_decoder *decoder, struct vllm_event *event, const struct vllm_delta *delta) {
    if (!decoder->choice || decoder->choice->number != delta->choice) {
        enum vllm_status status = vllm_answer_choice(&decoder->answer, delta->choice, &decoder->choice);
        if (status != VLLM_OK) {
            decoder->choice = NULL;
            return fail_by_answer(decoder, status);
        }
    }
    struct vllm_choice *choice = decoder->choice;
    if (decoder->last_finished && decoder->last_finished != choice) {
        decoder->ending = decoder->last_finished;
        decoder->last_finished = NULL;
        return STEP_AGAIN;
    }
    if (delta->kind == VLLM_DELTA_CHOICE) {
        return advance(decoder);
    }
    if (!decoder->started) {
        return start_turn(decoder, event);
    }
    switch (delta->kind) {
    case VLLM_DELTA_TEXT: return step_text(decoder, event, choice, delta, VLLM_PART_TEXT);
    case VLLM_DELTA_REASONING: return step_text(decoder, event, choice, delta, VLLM_PART_REASONING);
    case VLLM_DELTA_REFUSAL: return step_text(decoder, event, choice, delta, VLLM_PART_REFUSAL);
    case VLLM_DELTA_MEDIA: return step_media(decoder, event, choice, delta);
    case VLLM_DELTA_TOOL: return step_tool(decoder, event, choice, delta);
    case VLLM_DELTA_TOKENS: return step_tokens(decoder, event, choice, delta);
    default: return step_finish(decoder, choice, delta);
    }
}

static enum step step_delta(struct vllm_decoder *decoder, struct vllm_event *event, const struct vllm_delta *delta) {
    enum vllm_status status;
    switch (delta->kind) {
    case VLLM_DELTA_ERROR: return step_error(decoder, delta);
    case VLLM_DELTA_FOREIGN: return step_foreign(decoder, delta);
    case VLLM_DELTA_ENVELOPE:
        status = vllm_answer_envelope(&decoder->answer, delta);
        return status == VLLM_OK ? advance(decoder) : fail_by_answer(decoder, status);
    case VLLM_DELTA_USAGE:
        status = vllm_answer_usage(&decoder->answer, delta->raw);
        return status == VLLM_OK ? advance(decoder) : fail_by_answer(decoder, status);
    case VLLM_DELTA_MEMBERS:
    case VLLM_DELTA_CHOICE_MEMBERS:
    case VLLM_DELTA_EXTRA: /* none of them says where a choice stands, so they start and end nothing */
        status = vllm_answer_extra(&decoder->answer, delta);
        return status == VLLM_OK ? advance(decoder) : fail_by_answer(decoder, status);
    default: return step_choice(decoder, event, delta);
    }
}

/* Chunks ------------------------------------------------------------------------------------------------------------- */

static enum vllm_status read_chunk(struct vllm_decoder *decoder, struct vllm_slice json, struct vllm_slice type, const char **why) {
    enum vllm_status status = vllm_chunk_read(decoder->chunk, json, type, why);
    if (status == VLLM_OK) {
        decoder->deltas = vllm_chunk_deltas(decoder->chunk, &decoder->delta_count);
        decoder->delta_at = 0;
        bool is_error = decoder->delta_count > 0 && decoder->deltas[decoder->delta_count - 1].kind == VLLM_DELTA_ERROR;
        decoder->raw_chunk.ptr = decoder->options.want_chunks && !is_error ? json.ptr : NULL;
        decoder->raw_chunk.len = json.len;
    }
    return status;
}

static void begin_body(struct vllm_decoder *decoder) {
    decoder->has_body = true;
    vllm_json_init(&decoder->list, decoder->body.data, decoder->body.len, decoder->options.max_depth);
    decoder->is_list = vllm_json_peek(&decoder->list) == VLLM_JSON_ARRAY && vllm_json_enter(&decoder->list);
}

/* Is this the JSON of an error? Then it is the chunk at hand. */
static bool read_error(struct vllm_decoder *decoder, struct vllm_slice json) {
    static const struct vllm_slice no_type = {"", 0};
    const char *why = NULL;
    if (vllm_chunk_read(decoder->chunk, json, no_type, &why) != VLLM_OK) {
        return false;
    }
    decoder->deltas = vllm_chunk_deltas(decoder->chunk, &decoder->delta_count);
    bool is_error = decoder->delta_count > 0 && decoder->deltas[decoder->delta_count - 1].kind == VLLM_DELTA_ERROR;
    decoder->delta_count = is_error ? decoder->delta_count : 0;
    decoder->delta_at = 0;
    return is_error;
}

/* The stream is over without a whole answer, and had lines that are no field. True: they are an answer of their own or an error, which is to be
 * read now; or that failed. */
static bool read_strays(struct vllm_decoder *decoder, struct vllm_slice strays) {
    decoder->strays_read = true;
    if (decoder->answer.count > 0 && read_error(decoder, strays)) {
        return true;
    }
    bool is_body = decoder->answer.count == 0;
    enum vllm_status status = is_body ? vllm_buf_append(&decoder->body, strays.ptr, strays.len) : keep_evidence(decoder, strays);
    if (status != VLLM_OK) {
        fail(decoder, status, NO_MEMORY);
    } else if (is_body) {
        begin_body(decoder);
    }
    return is_body || status != VLLM_OK;
}

static enum step close_stream(struct vllm_decoder *decoder) {
    const char *failure = vllm_answer_failure(&decoder->answer);
    bool complete = vllm_answer_finished(&decoder->answer) > 0, empty = decoder->answer.count == 0, is_whole = decoder->evidence.len == 0;
    struct vllm_slice strays = vllm_sse_strays(decoder->sse);
    if (!complete && strays.len > 0 && !decoder->strays_read && read_strays(decoder, strays)) {
        return decoder->status == VLLM_OK ? STEP_AGAIN : STEP_STOP;
    }
    if (failure) {
        vllm_buf_clear(&decoder->evidence);
        return fail(decoder, VLLM_EFAILED, failure);
    }
    if (empty && decoder->evidence.len == 0 && decoder->has_body) {
        return fail_with(decoder, VLLM_ESYNTAX, NO_CHOICES, vllm_buf_view(&decoder->body));
    }
    if (empty && (decoder->done || decoder->evidence.len > 0)) {
        return fail(decoder, VLLM_ESYNTAX, NO_CHOICES);
    }
    if (!complete && !(decoder->done && is_whole)) {
        return fail(decoder, VLLM_ETRUNCATED, "the stream ended before the answer did");
    }
    decoder->phase = CLOSING;
    return STEP_AGAIN;
}

/* One event of the stream. */
static enum step step_sse(struct vllm_decoder *decoder, const struct vllm_sse_event *sse) {
    struct vllm_slice data = vllm_sse_unwrap(sse);
    const char *why = NULL;
    if (data.len == 0) {
        return STEP_AGAIN;
    }
    decoder->events++;
    if (vllm_slice_is(data, "[DONE]")) {
        decoder->done = true;
        return close_stream(decoder);
    }
    bool known = sse->type.len == 0 || vllm_slice_is(sse->type, "message") || vllm_slice_is(sse->type, "error");
    if (!known && data.ptr[0] != '{') {
        return STEP_AGAIN;
    }
    enum vllm_status status = read_chunk(decoder, data, sse->type, &why);
    if (status == VLLM_ESYNTAX && sse->cut) {
        bool is_begun = data.ptr[0] == '{' || data.ptr[0] == '['; /* a chunk or `[DONE]`, of which a part says nothing */
        status = is_begun ? VLLM_OK : keep_evidence(decoder, data);
        why = NO_MEMORY;
    }
    return status == VLLM_OK ? STEP_AGAIN : fail_with(decoder, status, why, data);
}

static enum step step_stream(struct vllm_decoder *decoder) {
    struct vllm_sse_event sse;
    enum vllm_status status = vllm_sse_next(decoder->sse, &sse);
    switch (status) {
    case VLLM_OK: return step_sse(decoder, &sse);
    case VLLM_MORE: return STEP_STOP;
    case VLLM_END: return close_stream(decoder);
    default: return fail(decoder, status, status == VLLM_ENOMEM ? NO_MEMORY : "an event is larger than max_event_bytes");
    }
}

static enum step close_body(struct vllm_decoder *decoder) {
    decoder->done = true;
    return close_stream(decoder);
}

/* The whole completion, or the next chunk of a list of them. */
static enum step step_body(struct vllm_decoder *decoder) {
    static const struct vllm_slice no_type = {"", 0};
    const char *why = NULL;
    struct vllm_slice json = vllm_buf_view(&decoder->body);
    if (decoder->is_list) {
        struct vllm_json *list = &decoder->list;
        if (!vllm_json_element(list) || !vllm_json_skip(list, &json)) {
            bool whole = list->status == VLLM_OK && vllm_json_end(list);
            return whole ? close_body(decoder) : fail_with(decoder, list->status, list->why, json);
        }
    } else if (decoder->body_read) {
        return close_body(decoder);
    }
    decoder->body_read = true;
    decoder->events++;
    enum vllm_status status = read_chunk(decoder, json, no_type, &why);
    return status == VLLM_OK ? STEP_AGAIN : fail_with(decoder, status, why, json);
}

enum vllm_status vllm_decoder_feed(struct vllm_decoder *decoder, const char *bytes, size_t len) {
    if (decoder->status != VLLM_OK) {
        return decoder->status;
    }
    if ((decoder->has_body && !decoder->strays_read) || decoder->finished) {
        return VLLM_EINVALID;
    }
    decoder->bytes += len;
    return decoder->done ? VLLM_OK : fail_input(decoder, vllm_sse_feed(decoder->sse, bytes, len), NO_MEMORY);
}

enum vllm_status vllm_decoder_body(struct vllm_decoder *decoder, const char *json, size_t len) {
    if (decoder->status != VLLM_OK) {
        return decoder->status;
    }
    if (decoder->has_body || decoder->finished || decoder->bytes > 0) {
        return VLLM_EINVALID;
    }
    decoder->has_body = true;
    decoder->bytes = len;
    enum vllm_status status = vllm_buf_append(&decoder->body, json, len);
    if (status == VLLM_OK) {
        begin_body(decoder);
    }
    return fail_input(decoder, status, "the answer is larger than max_event_bytes");
}

enum vllm_status vllm_decoder_finish(struct vllm_decoder *decoder) {
    decoder->finished = true;
    return decoder->status == VLLM_OK ? vllm_sse_finish(decoder->sse) : decoder->status;
}

static enum step step(struct vllm_decoder *decoder, struct vllm_event *event) {
    if (decoder->ending) {
        return end_choice(decoder, event);
    }
    if (decoder->raw_chunk.ptr) {
        vllm_part_event(event, VLLM_EVENT_CHUNK, NULL);
        event->raw = decoder->raw_chunk;
        decoder->raw_chunk.ptr = NULL;
        return STEP_EVENT;
    }
    if (decoder->delta_at < decoder->delta_count) {
        return step_delta(decoder, event, &decoder->deltas[decoder->delta_at]);
    }
    if (decoder->phase == CLOSING) {
        return close_turn(decoder, event);
    }
    return decoder->has_body ? step_body(decoder) : step_stream(decoder);
}

enum vllm_status vllm_decoder_next(struct vllm_decoder *decoder, struct vllm_event *event) {
    enum step result = STEP_AGAIN;
    if (decoder->status != VLLM_OK) {
        return decoder->status;
    }
    if (decoder->phase == CLOSED) {
        return VLLM_END;
    }
    while (result == STEP_AGAIN) {
        result = step(decoder, event);
    }
    if (result == STEP_EVENT) {
        return VLLM_OK;
    }
    return decoder->status == VLLM_OK ? VLLM_MORE : decoder->status;
}

/* Reading ------------------------------------------------------------------------------------------------------------ */

const char *vllm_decoder_why(const struct vllm_decoder *decoder) {
    return decoder->why ? decoder->why : "";
}

struct vllm_slice vllm_decoder_evidence(const struct vllm_decoder *decoder) {
    return vllm_answer_view(&decoder->evidence);
}

void vllm_decoder_state(const struct vllm_decoder *decoder, struct vllm_decoder_state *out) {
    memset(out, 0, sizeof *out);
    out->id = vllm_answer_view(&decoder->answer.id);
    out->model = vllm_answer_view(&decoder->answer.model);
    vllm_answer_read_usage(&decoder->answer, &out->usage);
    out->choice_count = decoder->answer.count;
    out->extras = &decoder->answer.extras;
    out->finished_count = vllm_answer_finished(&decoder->answer);
    out->complete = out->finished_count > 0 && !vllm_answer_failure(&decoder->answer);
    out->done = decoder->done;
    out->started = decoder->started;
    out->bytes = decoder->bytes;
    out->events = decoder->events;
}

void vllm_decoder_choice(const struct vllm_decoder *decoder, size_t position, struct vllm_decoder_choice *out) {
    const struct vllm_choice *choice = decoder->answer.choices[position];
    out->choice = choice->number;
    out->text = vllm_answer_view(&choice->texts[VLLM_PART_TEXT]);
    out->reasoning = vllm_answer_view(&choice->texts[VLLM_PART_REASONING]);
    out->refusal = vllm_answer_view(&choice->texts[VLLM_PART_REFUSAL]);
    out->finish_reason = vllm_answer_view(&choice->finish_reason);
    out->stop_reason = vllm_answer_view(&choice->stop_reason);
    out->media = vllm_answer_view(&choice->media);
    out->logprobs = vllm_answer_view(&choice->logprobs);
    out->token_ids = vllm_answer_view(&choice->token_ids);
    out->call_count = choice->calls.count;
    out->extras = &choice->extras;
    out->message_extras = &choice->message_extras;
}

void vllm_decoder_call(const struct vllm_decoder *decoder, size_t position, size_t call, struct vllm_decoder_call *out) {
    const struct vllm_choice *choice = decoder->answer.choices[position];
    const struct vllm_call *found = &choice->calls.items[call];
    out->id = vllm_answer_call_id(&decoder->answer, choice, call, out->made);
    out->name = vllm_answer_view(&found->name);
    out->arguments = vllm_buf_view(&found->arguments);
    out->invalid = found->invalid;
    out->extras = &found->extras;
}
