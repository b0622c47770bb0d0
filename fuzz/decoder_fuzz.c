/* The decoder: any bytes give events or one sticky error, the same ones however the reads fall; the message that is
 * left equals the sum of its deltas; every part that begins ends once, before the answer does; texts are UTF-8 and JSON
 * is JSON; the calls of a choice have ids of their own, and none that may be run has no arguments while some came for a
 * call without a name; the memory held is bounded by the limits and all of it comes back. The first byte of the input
 * chooses the reads, the second the bounds; bit 2 of it takes the rest as a completion, which must give what it gives
 * as the one event of a stream; bit 3 has a transcript and a limit of tokens before it. */
#include "../src/core/decoder.h"
#include "../src/core/utf8.h"
#include "fuzz.h"

#define WATCHED_CALLS 16
#define TAKEN         "a\0call_0"

struct sums {
    struct vllm_buf text, reasoning;    /* of choice 0 */
    size_t call_bytes[WATCHED_CALLS]; /* of its first calls, in pieces that are not blank */
    long open_parts;
    bool started, ended;
};

struct meter {
    size_t live, peak;
};

static void *metered(void *ud, void *ptr, size_t old_size, size_t new_size) {
    struct meter *meter = ud;
    meter->live += new_size;
    meter->live -= ptr ? old_size : 0;
    meter->peak = meter->live > meter->peak ? meter->live : meter->peak;
    return fuzz_realloc(NULL, ptr, old_size, new_size);
}

static void add(struct vllm_buf *sum, const struct vllm_event *event) {
    if (event->choice == 0) CLAIM(vllm_buf_append(sum, event->text.ptr, event->text.len) == VLLM_OK);
}

static void check_utf8(struct vllm_slice text) {
    for (size_t i = 0; i < text.len;) {
        bool well_formed;
        i += vllm_utf8_step(text.ptr + i, text.ptr + text.len, &well_formed);
        CLAIM(well_formed);
    }
}

static void check_json(struct vllm_slice json) {
    CLAIM(!json.ptr || vllm_json_check(json.ptr, json.len, VLLM_JSON_MAX_DEPTH, NULL));
}

static void check_event(struct sums *sums, const struct vllm_event *event) {
    bool is_delta = event->type >= VLLM_EVENT_TEXT_DELTA && event->type <= VLLM_EVENT_TOOL_CALL_DELTA;
    CLAIM(!sums->ended);
    CLAIM(event->type == VLLM_EVENT_CHUNK || sums->started == (event->type != VLLM_EVENT_TURN_START));
    sums->started = sums->started || event->type == VLLM_EVENT_TURN_START;
    sums->ended = event->type == VLLM_EVENT_TURN_END;
    sums->open_parts += event->type == VLLM_EVENT_PART_START;
    sums->open_parts -= event->type == VLLM_EVENT_PART_END;
    CLAIM(sums->open_parts >= 0 && (!is_delta || sums->open_parts > 0) && (!sums->ended || sums->open_parts == 0));
    check_utf8(event->text);
    check_json(event->raw);
    check_json(event->token_ids);
    if (event->type == VLLM_EVENT_TOOL_CALL) {
        CLAIM(event->id.len > 0);
        if (!event->invalid) check_json(event->text);
    }
}

static bool is_blank(struct vllm_slice text) {
    for (size_t i = 0; i < text.len; i++) {
        if (!strchr(" \t\r\n", text.ptr[i]) || text.ptr[i] == '\0') return false;
    }
    return true;
}

/* A call of choice 0 is handed out: if it never had arguments, no call beside it has any to give away. */
static void check_empty_call(const struct vllm_decoder *decoder, const struct sums *sums, const struct vllm_event *event) {
    struct vllm_decoder_choice choice;
    struct vllm_decoder_call call;
    if (event->invalid || event->index >= WATCHED_CALLS || sums->call_bytes[event->index] > 0) return;
    vllm_decoder_choice(decoder, 0, &choice);
    for (size_t i = 0; choice.choice == 0 && i < choice.call_count; i++) {
        vllm_decoder_call(decoder, 0, i, &call);
        bool has_none = i < WATCHED_CALLS && sums->call_bytes[i] == 0; /* then they are "{}", if it has ended */
        CLAIM(call.name.len > 0 || has_none || is_blank(call.arguments));
    }
}

static void watch_calls(const struct vllm_decoder *decoder, struct sums *sums, const struct vllm_event *event) {
    if (event->choice != 0) return;
    bool is_piece = event->type == VLLM_EVENT_TOOL_CALL_DELTA && event->index < WATCHED_CALLS && !is_blank(event->text);
    if (is_piece) sums->call_bytes[event->index] += event->text.len;
    if (event->type == VLLM_EVENT_TOOL_CALL) check_empty_call(decoder, sums, event);
}

static void note_event(struct vllm_buf *notes, const struct vllm_event *event) {
    const struct vllm_slice slices[] = {event->part, event->id,  event->name,     event->model,
                                        event->text, event->raw, event->token_ids};
    note_number(notes, event->type);
    note_number(notes, event->choice);
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) note_bytes(notes, slices[i]);
    note_number(notes, event->invalid != NULL);
}

static enum vllm_status drain(struct vllm_decoder *decoder, struct vllm_buf *notes, struct sums *sums) {
    struct vllm_event event;
    enum vllm_status status;
    memset(&event, 0, sizeof event);
    while ((status = vllm_decoder_next(decoder, &event)) == VLLM_OK) {
        check_event(sums, &event);
        watch_calls(decoder, sums, &event);
        note_event(notes, &event);
        if (event.type == VLLM_EVENT_TEXT_DELTA) add(&sums->text, &event);
        if (event.type == VLLM_EVENT_REASONING_DELTA) add(&sums->reasoning, &event);
        memset(&event, 0, sizeof event);
    }
    return status;
}

static void check_sum(const struct vllm_buf *sum, struct vllm_slice value) {
    CLAIM(sum->len == value.len && (sum->len == 0 || memcmp(sum->data, value.ptr, sum->len) == 0));
}

static bool same(struct vllm_slice a, struct vllm_slice b) {
    return a.ptr && b.ptr && a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static void check_ids(const struct vllm_decoder *decoder, size_t choice, size_t count, bool taken) {
    struct vllm_decoder_call call, other;
    for (size_t i = 0; i < count; i++) {
        vllm_decoder_call(decoder, choice, i, &call);
        CLAIM(!taken || !call.id.ptr || (!same(call.id, (struct vllm_slice){"a", 1}) && !same(call.id, (struct vllm_slice){"call_0", 6})));
        for (size_t k = 0; k < i; k++) {
            vllm_decoder_call(decoder, choice, k, &other);
            CLAIM(!same(call.id, other.id));
        }
    }
}

static void check_extras(const struct vllm_extras *extras, struct vllm_buf *notes) {
    CLAIM(extras->count <= VLLM_MAX_EXTRAS);
    for (size_t i = 0; i < extras->count; i++) {
        struct vllm_slice name, json;
        vllm_extras_at(extras, i, &name, &json);
        CLAIM(name.len > 0);
        check_json(json);
        note_bytes(notes, name);
        note_bytes(notes, json);
    }
}

static void check_message(const struct vllm_decoder *decoder, const struct sums *sums, bool taken, struct vllm_buf *notes) {
    struct vllm_decoder_state state;
    vllm_decoder_state(decoder, &state);
    check_extras(state.extras, notes);
    for (size_t i = 0; i < state.choice_count; i++) {
        struct vllm_decoder_choice choice;
        vllm_decoder_choice(decoder, i, &choice);
        check_json(choice.media);
        check_json(choice.logprobs);
        check_json(choice.token_ids);
        check_extras(choice.extras, notes);
        check_extras(choice.message_extras, notes);
        if (choice.choice == 0) {
            check_sum(&sums->text, choice.text);
            check_sum(&sums->reasoning, choice.reasoning);
        }
        check_ids(decoder, i, choice.call_count, taken);
        for (size_t k = 0; k < choice.call_count; k++) {
            struct vllm_decoder_call call;
            vllm_decoder_call(decoder, i, k, &call);
            CLAIM(call.arguments.ptr != NULL);
            check_utf8(call.arguments);
            check_extras(call.extras, notes);
        }
    }
}

static enum vllm_status feed_all(struct vllm_decoder *decoder, const char *bytes, size_t size, unsigned seed, struct vllm_buf *notes,
                                 struct sums *sums) {
    enum vllm_status status = VLLM_MORE;
    while (size > 0 && status == VLLM_MORE) {
        size_t len = next_read(&seed, size);
        /* What fails is reported by next, after the events that came before it. */
        (void)!vllm_decoder_feed(decoder, bytes, len);
        status = drain(decoder, notes, sums);
        bytes += len;
        size -= len;
    }
    return status;
}

/* A completion as the one event of a stream; false: it cannot be one. */
static bool as_event(struct vllm_buf *out, const char *json, size_t size) {
    size_t at = 0;
    while (at < size && (json[at] == ' ' || json[at] == '\t')) at++;
    if (at == size || json[at] != '{' || memchr(json, '\r', size) || memchr(json, '\n', size)) return false;
    CLAIM(vllm_buf_text(out, "data: ") == VLLM_OK && vllm_buf_append(out, json, size) == VLLM_OK);
    CLAIM(vllm_buf_text(out, "\n\ndata: [DONE]\n\n") == VLLM_OK);
    return true;
}

static void run(const uint8_t *data, size_t size, unsigned seed, struct vllm_buf *notes) {
    struct vllm_decoder_options options;
    struct sums sums = {.open_parts = 0};
    struct meter meter = {0, 0};
    struct vllm_alloc alloc = {metered, &meter};
    vllm_decoder_options_default(&options);
    if (data[1] & 1) {
        options.max_event_bytes = 512;
        options.max_message_bytes = 256;
        options.max_tool_calls = 2;
        options.max_choices = 2;
        options.max_depth = 8;
    }
    options.want_chunks = data[1] & 2;
    if (data[1] & 8) {
        options.max_completion_tokens = 9;
        options.taken_ids = (struct vllm_slice){TAKEN, sizeof TAKEN - 1};
    }
    vllm_buf_init(&sums.text, &fuzz_alloc, SIZE_MAX / 4);
    vllm_buf_init(&sums.reasoning, &fuzz_alloc, SIZE_MAX / 4);
    struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
    CLAIM(decoder != NULL);
    enum vllm_status status = VLLM_MORE;
    struct vllm_buf event_bytes;
    vllm_buf_init(&event_bytes, &fuzz_alloc, SIZE_MAX / 4);
    if ((data[1] & 5) == 4 && seed > 0 && as_event(&event_bytes, (const char *)data + 2, size - 2)) {
        status = feed_all(decoder, event_bytes.data, event_bytes.len, seed, notes, &sums);
    } else if (data[1] & 4) {
        (void)!vllm_decoder_body(decoder, (const char *)data + 2, size - 2);
        status = drain(decoder, notes, &sums);
    } else {
        status = feed_all(decoder, (const char *)data + 2, size - 2, seed, notes, &sums);
    }
    if (status == VLLM_MORE) {
        (void)!vllm_decoder_finish(decoder);
        status = drain(decoder, notes, &sums);
    }
    struct vllm_event event;
    CLAIM(status != VLLM_OK && status != VLLM_MORE && status != VLLM_ENOMEM && status != VLLM_EINVALID);
    CLAIM(vllm_decoder_next(decoder, &event) == status);
    CLAIM(vllm_decoder_why(decoder) != NULL);
    note_number(notes, status);
    check_message(decoder, &sums, data[1] & 8, notes);
    vllm_buf_free(&event_bytes);
    vllm_decoder_free(decoder);
    CLAIM(meter.live == 0);
    CLAIM(!(data[1] & 1) || meter.peak < 65536 + 256 * size);
    vllm_buf_free(&sums.text);
    vllm_buf_free(&sums.reasoning);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct vllm_buf whole, cut;
    if (size < 2) return 0;
    vllm_buf_init(&whole, &fuzz_alloc, SIZE_MAX / 4);
    vllm_buf_init(&cut, &fuzz_alloc, SIZE_MAX / 4);
    run(data, size, 0, &whole);
    run(data, size, 1u + data[0], &cut);
    CLAIM(same_notes(&whole, &cut));
    vllm_buf_free(&whole);
    vllm_buf_free(&cut);
    return 0;
}
