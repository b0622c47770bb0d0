/* Bytes of a stream, or one whole completion → one chunk at a time, whose deltas delta_events.c makes events of.
 *
 * How an answer ends:
 *  - At `[DONE]`, whose event must be exactly that but for white space, or where the bytes end, if every choice seen
 *    has a finish reason. Everything after `[DONE]` is ignored. An answer without any choice is not an answer, and one
 *    that the server says it broke off is an error, once all of it has come; one that ends in `[DONE]` alone is whole,
 *    unless an object was not understood.
 *  - Lines that are not fields, and objects that are not chunks, are evidence: where no answer came, the lines may be
 *    one (servers send a whole completion, or the JSON of an error, as an event stream), else they say why there is
 *    none.
 *  - An event cut off by the end of the bytes is passed over if it cannot be read: that is truncation, not bad syntax.
 *  - Events of a type other than "message" and "error" count only when their data is an object (LiteLLM and others send
 *    "ping").
 * Bounds: those of the options. After an error nothing but that error comes out. */
#include "decoder.h"

#include <string.h>

#include "delta_events.h"
#include "part_events.h"
#include "slice.h"
#include "sse.h"

#define MAX_CHUNK_DELTAS 65536
#define NO_CHOICES       "the answer has no choices"

struct vllm_decoder {
    enum vllm_status status;
    struct vllm_sse *sse;
    struct vllm_chunk *chunk;
    struct vllm_delta_events events;
    const struct vllm_delta *last; /* of the chunk at hand, if it is an error or an object that is not a chunk */
    struct vllm_slice raw_chunk;   /* to be handed out */
    struct vllm_buf body;          /* a whole completion */
    struct vllm_json list;         /* over `body`, when it is a list of chunks */
    struct vllm_buf evidence;      /* of the error; until there is one, what was not understood last */
    bool done, has_body, is_list, body_read, strays_read, finished, closing;
    uint64_t byte_count, event_count;
    const char *why;
    struct vllm_alloc alloc;
    struct vllm_decoder_options options;
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
    struct vllm_answer_limits limits = {options->max_message_bytes, options->max_tool_calls, options->max_choices,
                                        options->max_depth, options->max_completion_tokens};
    enum vllm_status status = vllm_answer_init(&decoder->events.answer, &decoder->alloc, &limits, options->taken_ids);
    vllm_buf_init(&decoder->body, &decoder->alloc, options->max_event_bytes);
    vllm_buf_init(&decoder->evidence, &decoder->alloc, VLLM_BUF_MAX);
    size_t event = options->max_event_bytes;
    struct vllm_chunk_limits chunk = {options->max_depth, MAX_CHUNK_DELTAS,
                                      event > SIZE_MAX / 3 ? SIZE_MAX : event * 3};
    decoder->sse = vllm_sse_new(&decoder->alloc, event, true);
    decoder->chunk = vllm_chunk_new(&decoder->alloc, &chunk);
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
    vllm_answer_free(&decoder->events.answer);
    vllm_buf_free(&decoder->body);
    vllm_buf_free(&decoder->evidence);
    alloc.fn(alloc.ud, decoder, sizeof *decoder, 0);
}

static enum vllm_status fail(struct vllm_decoder *decoder, enum vllm_status status, const char *why) {
    decoder->status = status;
    decoder->why = status == VLLM_ENOMEM ? "no memory" : why;
    return status;
}

static enum vllm_status keep_evidence(struct vllm_decoder *decoder, struct vllm_slice bytes) {
    vllm_buf_clear(&decoder->evidence);
    return vllm_buf_append(&decoder->evidence, bytes.ptr, bytes.len);
}

static enum vllm_status fail_with(struct vllm_decoder *decoder, enum vllm_status status, const char *why,
                                  struct vllm_slice bytes) {
    enum vllm_status kept = keep_evidence(decoder, bytes);
    return fail(decoder, kept == VLLM_OK ? status : kept, why);
}

static enum vllm_status fail_input(struct vllm_decoder *decoder, enum vllm_status status, const char *limit) {
    return status == VLLM_OK ? VLLM_OK : fail(decoder, status, limit);
}

/* Chunks ----------------------------------------------------------------------------------------------------------- */

static bool is_error(const struct vllm_delta *last) {
    return last && last->kind == VLLM_DELTA_ERROR;
}

/* The next chunk, whose deltas are to be told. */
static enum vllm_status read_chunk(struct vllm_decoder *decoder, struct vllm_slice json, struct vllm_slice type,
                                   const char **why) {
    enum vllm_status status = vllm_chunk_read(decoder->chunk, json, type, why);
    if (status != VLLM_OK) {
        return status;
    }
    struct vllm_delta_events *events = &decoder->events;
    size_t count;
    events->deltas = vllm_chunk_deltas(decoder->chunk, &count);
    const struct vllm_delta *last = count > 0 ? &events->deltas[count - 1] : NULL;
    decoder->last = last && (last->kind == VLLM_DELTA_FOREIGN || is_error(last)) ? last : NULL;
    events->count = decoder->last ? count - 1 : count;
    events->at = 0;
    decoder->raw_chunk.ptr = decoder->options.want_chunks && !is_error(last) ? json.ptr : NULL;
    decoder->raw_chunk.len = json.len;
    return VLLM_OK;
}

/* What was not told by events. */
static enum vllm_status take_last(struct vllm_decoder *decoder) {
    const struct vllm_delta *last = decoder->last;
    decoder->last = NULL;
    if (is_error(last)) {
        return fail_with(decoder, last->of_answer ? VLLM_EFAILED : VLLM_ESERVER, "the server reported an error",
                         last->raw);
    }
    return fail_input(decoder, keep_evidence(decoder, last->raw), NULL);
}

static void begin_body(struct vllm_decoder *decoder) {
    decoder->has_body = true;
    vllm_json_init(&decoder->list, decoder->body.data, decoder->body.len, decoder->options.max_depth);
    decoder->is_list = vllm_json_peek(&decoder->list) == VLLM_JSON_ARRAY && vllm_json_enter(&decoder->list);
}

/* Is this the JSON of an error? Then it is the chunk at hand. */
static bool read_error(struct vllm_decoder *decoder, struct vllm_slice json) {
    static const struct vllm_slice no_type = {"", 0};
    const char *why;
    if (read_chunk(decoder, json, no_type, &why) == VLLM_OK && is_error(decoder->last)) {
        return true;
    }
    decoder->last = NULL;
    decoder->raw_chunk.ptr = NULL;
    decoder->events.count = decoder->events.at;
    return false;
}

/* The stream is over without a whole answer, and had lines that are not fields. True: they are an answer of their own
 * or an error, which is to be read now; or that failed. */
static bool read_strays(struct vllm_decoder *decoder, struct vllm_slice strays) {
    decoder->strays_read = true;
    if (decoder->events.answer.count > 0 && read_error(decoder, strays)) {
        return true;
    }
    bool is_body = decoder->events.answer.count == 0;
    enum vllm_status status =
        is_body ? vllm_buf_append(&decoder->body, strays.ptr, strays.len) : keep_evidence(decoder, strays);
    if (status != VLLM_OK) {
        fail(decoder, status, NULL);
    } else if (is_body) {
        begin_body(decoder);
    }
    return is_body || status != VLLM_OK;
}

static enum vllm_status close_stream(struct vllm_decoder *decoder) {
    const char *failure = vllm_answer_failure(&decoder->events.answer);
    bool complete = vllm_answer_finished(&decoder->events.answer) > 0, empty = decoder->events.answer.count == 0,
         is_whole = decoder->evidence.len == 0;
    struct vllm_slice strays = vllm_sse_strays(decoder->sse);
    if (!complete && strays.len > 0 && !decoder->strays_read && read_strays(decoder, strays)) {
        return decoder->status;
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
    decoder->closing = true;
    return VLLM_OK;
}

/* One event of the stream. */
static enum vllm_status step_sse(struct vllm_decoder *decoder, const struct vllm_sse_event *sse) {
    struct vllm_slice data = vllm_sse_unwrap(sse);
    const char *why = NULL;
    if (data.len == 0) {
        return VLLM_OK;
    }
    decoder->event_count++;
    if (vllm_slice_is(data, "[DONE]")) {
        decoder->done = true;
        return close_stream(decoder);
    }
    bool known = sse->type.len == 0 || vllm_slice_is(sse->type, "message") || vllm_slice_is(sse->type, "error");
    if (!known && data.ptr[0] != '{') {
        return VLLM_OK;
    }
    enum vllm_status status = read_chunk(decoder, data, sse->type, &why);
    if (status == VLLM_ESYNTAX && sse->cut) {
        bool is_begun =
            data.ptr[0] == '{' || data.ptr[0] == '['; /* a chunk or `[DONE]`, of which a part says nothing */
        status = is_begun ? VLLM_OK : keep_evidence(decoder, data);
    }
    return status == VLLM_OK ? status : fail_with(decoder, status, why, data);
}

static enum vllm_status step_stream(struct vllm_decoder *decoder) {
    struct vllm_sse_event sse;
    enum vllm_status status = vllm_sse_next(decoder->sse, &sse);
    switch (status) {
    case VLLM_OK: return step_sse(decoder, &sse);
    case VLLM_MORE: return VLLM_MORE;
    case VLLM_END: return close_stream(decoder);
    default: return fail(decoder, status, "an event exceeds max_event_bytes");
    }
}

static enum vllm_status close_body(struct vllm_decoder *decoder) {
    decoder->done = true;
    return close_stream(decoder);
}

/* The whole completion, or the next chunk of a list of them. */
static enum vllm_status step_body(struct vllm_decoder *decoder) {
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
    decoder->event_count++;
    enum vllm_status status = read_chunk(decoder, json, no_type, &why);
    return status == VLLM_OK ? status : fail_with(decoder, status, why, json);
}

enum vllm_status vllm_decoder_feed(struct vllm_decoder *decoder, const char *bytes, size_t len) {
    if (decoder->status != VLLM_OK) {
        return decoder->status;
    }
    if ((decoder->has_body && !decoder->strays_read) || decoder->finished) {
        return VLLM_EINVALID;
    }
    decoder->byte_count += len;
    return decoder->done ? VLLM_OK : fail_input(decoder, vllm_sse_feed(decoder->sse, bytes, len), NULL);
}

enum vllm_status vllm_decoder_body(struct vllm_decoder *decoder, const char *json, size_t len) {
    if (decoder->status != VLLM_OK) {
        return decoder->status;
    }
    if (decoder->has_body || decoder->finished || decoder->byte_count > 0) {
        return VLLM_EINVALID;
    }
    decoder->has_body = true;
    decoder->byte_count = len;
    enum vllm_status status = vllm_buf_append(&decoder->body, json, len);
    if (status == VLLM_OK) {
        begin_body(decoder);
    }
    return fail_input(decoder, status, "the answer exceeds max_event_bytes");
}

enum vllm_status vllm_decoder_finish(struct vllm_decoder *decoder) {
    decoder->finished = true;
    return decoder->status == VLLM_OK ? vllm_sse_finish(decoder->sse) : decoder->status;
}

/* VLLM_OK with an event, VLLM_MORE: all that was read is told; VLLM_END or a failure. */
static enum vllm_status tell(struct vllm_decoder *decoder, struct vllm_event *event) {
    struct vllm_delta_events *events = &decoder->events;
    if (decoder->raw_chunk.ptr) {
        vllm_part_event(event, VLLM_EVENT_CHUNK, NULL);
        event->raw = decoder->raw_chunk;
        decoder->raw_chunk.ptr = NULL;
        return VLLM_OK;
    }
    if (events->at == events->count && !decoder->closing) {
        return VLLM_MORE;
    }
    enum vllm_status status =
        decoder->closing ? vllm_delta_events_close(events, event) : vllm_delta_events_next(events, event);
    bool is_failure = status != VLLM_OK && status != VLLM_MORE && status != VLLM_END;
    return is_failure ? fail(decoder, status, events->answer.store.why) : status;
}

enum vllm_status vllm_decoder_next(struct vllm_decoder *decoder, struct vllm_event *event) {
    enum vllm_status status = decoder->status;
    while (status == VLLM_OK) {
        status = tell(decoder, event);
        if (status != VLLM_MORE) {
            return status;
        }
        status = decoder->last ? take_last(decoder) : decoder->has_body ? step_body(decoder) : step_stream(decoder);
    }
    return status;
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

const char *vllm_decoder_why(const struct vllm_decoder *decoder) {
    return decoder->why ? decoder->why : "";
}

struct vllm_slice vllm_decoder_evidence(const struct vllm_decoder *decoder) {
    return vllm_store_view(&decoder->evidence);
}

void vllm_decoder_state(const struct vllm_decoder *decoder, struct vllm_decoder_state *out) {
    memset(out, 0, sizeof *out);
    out->id = vllm_store_view(&decoder->events.answer.id);
    out->model = vllm_store_view(&decoder->events.answer.model);
    vllm_answer_read_usage(&decoder->events.answer, &out->usage);
    out->choice_count = decoder->events.answer.count;
    out->extras = &decoder->events.answer.extras;
    out->finished_count = vllm_answer_finished(&decoder->events.answer);
    out->complete = out->finished_count > 0 && !vllm_answer_failure(&decoder->events.answer);
    out->done = decoder->done;
    out->started = decoder->events.started;
    out->bytes = decoder->byte_count;
    out->events = decoder->event_count;
}

void vllm_decoder_choice(const struct vllm_decoder *decoder, size_t position, struct vllm_decoder_choice *out) {
    const struct vllm_choice *choice = decoder->events.answer.choices[position];
    out->choice = choice->number;
    out->text = vllm_store_view(&choice->texts[VLLM_PART_TEXT]);
    out->reasoning = vllm_store_view(&choice->texts[VLLM_PART_REASONING]);
    out->refusal = vllm_store_view(&choice->texts[VLLM_PART_REFUSAL]);
    out->finish_reason = vllm_store_view(&choice->finish_reason);
    out->stop_reason = vllm_store_view(&choice->stop_reason);
    out->media = vllm_store_view(&choice->media);
    out->logprobs = vllm_store_view(&choice->logprobs);
    out->token_ids = vllm_store_view(&choice->token_ids);
    out->call_count = choice->calls.count;
    out->extras = &choice->extras;
    out->message_extras = &choice->message_extras;
}

void vllm_decoder_call(const struct vllm_decoder *decoder, size_t position, size_t call,
                       struct vllm_decoder_call *out) {
    const struct vllm_choice *choice = decoder->events.answer.choices[position];
    const struct vllm_call *found = &choice->calls.items[call];
    out->id = vllm_answer_call_id(&decoder->events.answer, choice, call, out->made);
    out->name = vllm_store_view(&found->name);
    out->arguments = vllm_buf_view(&found->arguments);
    out->invalid = found->invalid;
    out->extras = &found->extras;
}
