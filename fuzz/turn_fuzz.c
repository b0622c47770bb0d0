/* A whole turn: any bytes give events or one sticky error, the same ones however the reads fall; the message that is left equals the sum
 * of its deltas; every part that begins ends once, before the turn does; texts are UTF-8 and JSON is JSON; the memory held is bounded by the
 * limits and all of it comes back. The first byte of the input chooses the reads, the second the bounds; bit 2 of it takes the rest as a completion. */
#include "../src/core/turn.h"
#include "../src/core/utf8.h"
#include "fuzz.h"

struct sums {
    struct vllm_buf text, reasoning; /* of choice 0 */
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

static void note_event(struct vllm_buf *notes, const struct vllm_event *event) {
    const struct vllm_slice slices[] = {event->part, event->id,  event->name,     event->model,
                                        event->text, event->raw, event->token_ids};
    note_number(notes, event->type);
    note_number(notes, event->choice);
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) note_bytes(notes, slices[i]);
    note_number(notes, event->invalid != NULL);
}

static enum vllm_status drain(struct vllm_turn *turn, struct vllm_buf *notes, struct sums *sums) {
    struct vllm_event event;
    enum vllm_status status;
    memset(&event, 0, sizeof event);
    while ((status = vllm_turn_next(turn, &event)) == VLLM_OK) {
        check_event(sums, &event);
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

static void check_message(const struct vllm_turn *turn, const struct sums *sums) {
    struct vllm_turn_state state;
    vllm_turn_state(turn, &state);
    for (size_t i = 0; i < state.choice_count; i++) {
        struct vllm_turn_choice choice;
        vllm_turn_choice(turn, i, &choice);
        check_json(choice.media);
        check_json(choice.logprobs);
        check_json(choice.token_ids);
        if (choice.choice == 0) {
            check_sum(&sums->text, choice.text);
            check_sum(&sums->reasoning, choice.reasoning);
        }
        for (size_t k = 0; k < choice.call_count; k++) {
            struct vllm_turn_call call;
            vllm_turn_call(turn, i, k, &call);
            CLAIM(call.arguments.ptr != NULL);
            check_utf8(call.arguments);
        }
    }
}

static enum vllm_status feed_all(struct vllm_turn *turn, const char *bytes, size_t size, unsigned seed, struct vllm_buf *notes,
                                 struct sums *sums) {
    enum vllm_status status = VLLM_MORE;
    while (size > 0 && status == VLLM_MORE) {
        size_t len = next_read(&seed, size);
        (void)!vllm_turn_feed(turn, bytes, len); /* next reports the same failure, after the events that came before it */
        status = drain(turn, notes, sums);
        bytes += len;
        size -= len;
    }
    return status;
}

static void run(const uint8_t *data, size_t size, unsigned seed, struct vllm_buf *notes) {
    struct vllm_turn_options options;
    struct sums sums = {.open_parts = 0};
    struct meter meter = {0, 0};
    struct vllm_alloc alloc = {metered, &meter};
    vllm_turn_options_default(&options);
    if (data[1] & 1) {
        options.max_event_bytes = 512;
        options.max_message_bytes = 256;
        options.max_tool_calls = 2;
        options.max_choices = 2;
        options.max_depth = 8;
    }
    options.want_chunks = data[1] & 2;
    vllm_buf_init(&sums.text, &fuzz_alloc, SIZE_MAX / 4);
    vllm_buf_init(&sums.reasoning, &fuzz_alloc, SIZE_MAX / 4);
    struct vllm_turn *turn = vllm_turn_new(&alloc, &options);
    CLAIM(turn != NULL);
    enum vllm_status status = VLLM_MORE;
    if (data[1] & 4) {
        (void)!vllm_turn_body(turn, (const char *)data + 2, size - 2);
        status = drain(turn, notes, &sums);
    } else {
        status = feed_all(turn, (const char *)data + 2, size - 2, seed, notes, &sums);
    }
    if (status == VLLM_MORE) {
        (void)!vllm_turn_finish(turn);
        status = drain(turn, notes, &sums);
    }
    struct vllm_event event;
    CLAIM(status != VLLM_OK && status != VLLM_MORE && status != VLLM_ENOMEM && status != VLLM_EINVALID);
    CLAIM(vllm_turn_next(turn, &event) == status);
    CLAIM(vllm_turn_why(turn) != NULL);
    note_number(notes, status);
    check_message(turn, &sums);
    vllm_turn_free(turn);
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
