/* The core without memory: whole turns, requests and answers, each done again and again while one allocation fails, the
 * first, the second, … : once alone, as when another part of the host gave memory back, and once with all that follow.
 * What came before is right, the failure says what it is and stays, what is left can be read and freed, nothing leaks,
 * and the next one is as if nothing had been. (The other stages are run so in their own tests.) */
#include "../../src/core/base64.h"
#include "../../src/core/http1.h"
#include "../../src/core/messages.h"
#include "../../src/core/sse.h"
#include "../../src/core/decoder.h"
#include "recorded.h"

#define MAX_NOTES (1024 * 1024)

/* What came out, field by field, each with its length. */
struct notes {
    size_t len;
    char bytes[MAX_NOTES];
};

static void note_bytes(struct notes *notes, const void *bytes, size_t len) {
    bool fits = len <= MAX_NOTES - notes->len;
    CHECK(fits);
    if (fits && len > 0) {
        memcpy(notes->bytes + notes->len, bytes, len);
        notes->len += len;
    }
}

static void note(struct notes *notes, struct vllm_slice slice) {
    int64_t len = slice.ptr ? (int64_t)slice.len : -1;
    note_bytes(notes, &len, sizeof len);
    if (slice.ptr) note_bytes(notes, slice.ptr, slice.len);
}

/* A job: what is done with the text, and in which pieces it comes. Failures are ENOMEM, or the job's own end. */
struct job {
    const char *name; /* a recorded answer, or the text itself */
    enum vllm_status (*run)(const struct job *job, const struct vllm_alloc *alloc, struct notes *notes);
    size_t step;
    const char *text;
    size_t len;
};

/* Turns ------------------------------------------------------------------------------------------------------------ */

static enum vllm_status note_events(struct vllm_decoder *decoder, struct notes *notes) {
    struct vllm_event event;
    enum vllm_status status;
    while ((status = vllm_decoder_next(decoder, &event)) == VLLM_OK) {
        const struct vllm_slice slices[] = {event.part, event.id,  event.name,      event.model,
                                            event.text, event.raw, event.token_ids, event.usage.raw};
        note_bytes(notes, &event.type, sizeof event.type);
        for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) {
            note(notes, slices[i]);
        }
    }
    return status;
}

static void note_extras(const struct vllm_extras *extras, struct notes *notes) {
    for (size_t i = 0; i < extras->count; i++) {
        struct vllm_slice name, json;
        vllm_extras_at(extras, i, &name, &json);
        note(notes, name);
        note(notes, json);
    }
}

static void note_choice(const struct vllm_decoder *decoder, size_t position, struct notes *notes) {
    struct vllm_decoder_choice choice;
    vllm_decoder_choice(decoder, position, &choice);
    const struct vllm_slice slices[] = {choice.text,  choice.reasoning, choice.refusal,  choice.finish_reason, choice.stop_reason,
                                        choice.media, choice.logprobs,  choice.token_ids};
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) {
        note(notes, slices[i]);
    }
    for (size_t i = 0; i < choice.call_count; i++) {
        struct vllm_decoder_call call;
        vllm_decoder_call(decoder, position, i, &call);
        CHECK(call.arguments.ptr != NULL);
        note(notes, call.id);
        note(notes, call.name);
        note(notes, call.arguments);
        note_extras(call.extras, notes);
    }
    note_extras(choice.extras, notes);
    note_extras(choice.message_extras, notes);
}

static void note_result(const struct vllm_decoder *decoder, struct notes *notes) {
    struct vllm_decoder_state state;
    vllm_decoder_state(decoder, &state);
    note(notes, state.id);
    note(notes, state.usage.raw);
    note(notes, vllm_decoder_evidence(decoder));
    for (size_t i = 0; i < state.choice_count; i++) {
        note_choice(decoder, i, notes);
    }
    note_extras(state.extras, notes);
}

/* Lack of memory is the end, whatever is asked of the decoder then; what it has is there to be read. */
static void check_dead(struct vllm_decoder *decoder) {
    static struct notes unused;
    struct vllm_event event;
    unused.len = 0;
    CHECK_STATUS(vllm_decoder_next(decoder, &event), VLLM_ENOMEM);
    CHECK_STATUS(vllm_decoder_feed(decoder, "data: {}\n\n", 10), VLLM_ENOMEM);
    CHECK_STATUS(vllm_decoder_body(decoder, "{}", 2), VLLM_ENOMEM);
    CHECK_STATUS(vllm_decoder_finish(decoder), VLLM_ENOMEM);
    CHECK_STATUS(vllm_decoder_next(decoder, &event), VLLM_ENOMEM);
    CHECK(vllm_decoder_why(decoder)[0] != '\0');
    note_result(decoder, &unused);
}

static enum vllm_status feed(const struct job *job, struct vllm_decoder *decoder, struct notes *notes) {
    enum vllm_status status = VLLM_MORE;
    for (size_t at = 0; at < job->len && status == VLLM_MORE; at += job->step) {
        size_t piece = job->step < job->len - at ? job->step : job->len - at;
        status = vllm_decoder_feed(decoder, job->text + at, piece);
        status = status == VLLM_OK ? note_events(decoder, notes) : status;
    }
    if (status == VLLM_MORE) {
        status = vllm_decoder_finish(decoder);
        status = status == VLLM_OK ? note_events(decoder, notes) : status;
    }
    return status;
}

/* A step of 0: the text is one whole completion. */
static enum vllm_status run_decoder_with(const struct job *job, const struct vllm_decoder_options *options, const struct vllm_alloc *alloc,
                                      struct notes *notes) {
    struct vllm_decoder *decoder = vllm_decoder_new(alloc, options);
    enum vllm_status status = VLLM_ENOMEM;
    if (decoder && job->step > 0) {
        status = feed(job, decoder, notes);
    } else if (decoder) {
        status = vllm_decoder_body(decoder, job->text, job->len);
        status = status == VLLM_OK ? note_events(decoder, notes) : status;
    }
    if (decoder && status == VLLM_ENOMEM) {
        check_dead(decoder);
    } else if (decoder) {
        note_result(decoder, notes);
    }
    vllm_decoder_free(decoder);
    return status;
}

static enum vllm_status run_decoder(const struct job *job, const struct vllm_alloc *alloc, struct notes *notes) {
    struct vllm_decoder_options options;
    vllm_decoder_options_default(&options);
    options.want_chunks = job->step == 64;
    if (options.want_chunks) {
        options.taken_ids = (struct vllm_slice){"call_0\0c1", 9};
    }
    return run_decoder_with(job, &options, alloc, notes);
}

/* An event is larger than it may be. */
static enum vllm_status run_large_event(const struct job *job, const struct vllm_alloc *alloc, struct notes *notes) {
    struct vllm_decoder_options options;
    vllm_decoder_options_default(&options);
    options.max_event_bytes = 500;
    enum vllm_status status = run_decoder_with(job, &options, alloc, notes);
    CHECK(status == VLLM_ELIMIT || status == VLLM_ENOMEM);
    return status;
}

/* A message is larger than it may be. */
static enum vllm_status run_large_message(const struct job *job, const struct vllm_alloc *alloc, struct notes *notes) {
    struct vllm_decoder_options options;
    vllm_decoder_options_default(&options);
    options.max_message_bytes = 60;
    enum vllm_status status = run_decoder_with(job, &options, alloc, notes);
    CHECK(status == VLLM_ELIMIT || status == VLLM_ENOMEM);
    return status;
}

/* Stages alone ----------------------------------------------------------------------------------------------------- */

static enum vllm_status note_sse(struct vllm_sse *sse, struct notes *notes) {
    struct vllm_sse_event event;
    enum vllm_status status;
    while ((status = vllm_sse_next(sse, &event)) == VLLM_OK) {
        note(notes, event.data);
        note(notes, event.type);
        note(notes, event.id);
    }
    return status;
}

static enum vllm_status run_sse(const struct job *job, const struct vllm_alloc *alloc, struct notes *notes) {
    struct vllm_sse *sse = vllm_sse_new(alloc, 1 << 20, true);
    enum vllm_status status = sse ? VLLM_MORE : VLLM_ENOMEM;
    for (size_t at = 0; at < job->len && status == VLLM_MORE; at += job->step) {
        size_t piece = job->step < job->len - at ? job->step : job->len - at;
        status = vllm_sse_feed(sse, job->text + at, piece);
        status = status == VLLM_OK ? note_sse(sse, notes) : status;
    }
    if (status == VLLM_MORE) {
        status = vllm_sse_finish(sse);
        status = status == VLLM_OK ? note_sse(sse, notes) : status;
    }
    if (sse && status == VLLM_ENOMEM) {
        struct vllm_sse_event event;
        CHECK_STATUS(vllm_sse_next(sse, &event), VLLM_ENOMEM);
        CHECK_STATUS(vllm_sse_feed(sse, "data: x\n\n", 9), VLLM_ENOMEM);
        CHECK_STATUS(vllm_sse_next(sse, &event), VLLM_ENOMEM);
    }
    vllm_sse_free(sse);
    return status;
}

static enum vllm_status note_http1(struct vllm_http1 *http1, struct notes *notes) {
    struct vllm_slice bytes;
    enum vllm_status status;
    while ((status = vllm_http1_read(http1, &bytes)) == VLLM_OK) {
        note_bytes(notes, bytes.ptr, bytes.len);
    }
    return status;
}

static enum vllm_status run_http1(const struct job *job, const struct vllm_alloc *alloc, struct notes *notes) {
    struct vllm_http1_options options;
    vllm_http1_options_default(&options);
    struct vllm_http1 *http1 = vllm_http1_new(alloc, &options);
    enum vllm_status status = http1 ? VLLM_MORE : VLLM_ENOMEM;
    for (size_t at = 0; at < job->len && status == VLLM_MORE; at += job->step) {
        size_t piece = job->step < job->len - at ? job->step : job->len - at;
        status = vllm_http1_feed(http1, job->text + at, piece);
        enum vllm_status read = note_http1(http1, notes); /* what came before the failure is still there */
        CHECK(status == VLLM_OK || read == status);
        status = read;
    }
    if (http1 && status == VLLM_ENOMEM) {
        int unused;
        CHECK_STATUS(vllm_http1_feed(http1, "x", 1), VLLM_ENOMEM);
        CHECK_STATUS(vllm_http1_finish(http1), VLLM_ENOMEM);
        CHECK(vllm_http1_head(http1, &unused) == VLLM_OK || vllm_http1_head(http1, &unused) == VLLM_ENOMEM);
        CHECK(!vllm_http1_reusable(http1));
        CHECK(vllm_http1_why(http1)[0] != '\0');
    }
    vllm_http1_free(http1);
    return status;
}

/* JSON ------------------------------------------------------------------------------------------------------------- */

static enum vllm_status copy_value(struct vllm_json *j, struct vllm_buf *scratch, struct vllm_buf *out);

static enum vllm_status copy_string(const struct vllm_json_string *string, struct vllm_buf *scratch, struct vllm_buf *out) {
    vllm_buf_clear(scratch);
    enum vllm_status status = vllm_json_string_value(string, false, scratch);
    struct vllm_slice view = vllm_buf_view(scratch);
    return status == VLLM_OK ? vllm_json_write_string(out, view.ptr, view.len) : status;
}

static enum vllm_status copy_composite(struct vllm_json *j, struct vllm_buf *scratch, struct vllm_buf *out, bool is_object) {
    struct vllm_json_string key;
    const char *between = "";
    CHECK(vllm_json_enter(j));
    enum vllm_status status = vllm_buf_byte(out, is_object ? '{' : '[');
    while (status == VLLM_OK && (is_object ? vllm_json_member(j, &key) : vllm_json_element(j))) {
        status = vllm_buf_text(out, between);
        between = ",";
        if (is_object && status == VLLM_OK) status = copy_string(&key, scratch, out);
        if (is_object && status == VLLM_OK) status = vllm_buf_byte(out, ':');
        if (status == VLLM_OK) status = copy_value(j, scratch, out);
    }
    return status == VLLM_OK ? vllm_buf_byte(out, is_object ? '}' : ']') : status;
}

static enum vllm_status copy_value(struct vllm_json *j, struct vllm_buf *scratch, struct vllm_buf *out) {
    struct vllm_json_string string;
    struct vllm_number number;
    struct vllm_slice raw = {NULL, 0};
    switch (vllm_json_peek(j)) {
    case VLLM_JSON_OBJECT:
    case VLLM_JSON_ARRAY: return copy_composite(j, scratch, out, vllm_json_peek(j) == VLLM_JSON_OBJECT);
    case VLLM_JSON_STRING: CHECK(vllm_json_string(j, &string)); return copy_string(&string, scratch, out);
    case VLLM_JSON_NUMBER:
        CHECK(vllm_json_number(j, &number));
        return number.is_integer ? vllm_json_write_integer(out, number.integer) : vllm_json_write_real(out, number.real);
    default: CHECK(vllm_json_skip(j, &raw)); return vllm_buf_append(out, raw.ptr, raw.len);
    }
}

static enum vllm_status run_json(const struct job *job, const struct vllm_alloc *alloc, struct notes *notes) {
    struct vllm_buf scratch, out;
    struct vllm_json j;
    vllm_buf_init(&scratch, alloc, 1 << 20);
    vllm_buf_init(&out, alloc, 1 << 20);
    vllm_json_init(&j, job->text, job->len, 32);
    enum vllm_status status = copy_value(&j, &scratch, &out);
    CHECK_STATUS(j.status, VLLM_OK); /* the reader needs no memory */
    if (status == VLLM_OK) note(notes, vllm_buf_view(&out));
    vllm_buf_free(&scratch);
    vllm_buf_free(&out);
    return status == VLLM_OK ? VLLM_END : status;
}

/* Requests --------------------------------------------------------------------------------------------------------- */

static struct vllm_slice slice(const char *text) {
    struct vllm_slice made = {text, strlen(text)};
    return made;
}

static enum vllm_status add_message(struct vllm_messages *messages, enum vllm_message_kind kind, const char *text) {
    struct vllm_message message = {kind, false, 7, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    struct vllm_piece piece = {VLLM_PIECE_TEXT, slice(text), {NULL, 0}, {NULL, 0}};
    if (kind == VLLM_MESSAGE_TOOL) message.call_id = slice("call-1");
    enum vllm_status status = vllm_messages_begin(messages, &message);
    return status == VLLM_OK ? vllm_messages_piece(messages, &piece) : status;
}

static enum vllm_status add_piece(struct vllm_messages *messages, enum vllm_piece_type type, const char *text, const char *name) {
    struct vllm_piece piece = {type, slice(text), slice(name), {NULL, 0}};
    if (type == VLLM_PIECE_CALL) piece.extra = slice("call-1");
    return vllm_messages_piece(messages, &piece);
}

/* A transcript of eight turns, each with the job's text. */
static enum vllm_status collect(const struct job *job, struct vllm_messages *messages) {
    enum vllm_status status = add_message(messages, VLLM_MESSAGE_SYSTEM, "Be \"brief\".");
    for (int round = 0; round < 8 && status == VLLM_OK; round++) {
        status = add_message(messages, VLLM_MESSAGE_USER, job->text);
        if (status == VLLM_OK) status = add_piece(messages, VLLM_PIECE_IMAGE_BYTES, job->text, "image/png");
        if (status == VLLM_OK) status = add_message(messages, VLLM_MESSAGE_NOTIFICATION, "a file\nchanged");
        if (status == VLLM_OK) status = add_message(messages, VLLM_MESSAGE_ASSISTANT, "\xC3\xA9");
        if (status == VLLM_OK) status = add_piece(messages, VLLM_PIECE_REASONING, job->text, "");
        if (status == VLLM_OK) status = add_piece(messages, VLLM_PIECE_CALL, "{\"a\":1}", "look");
        if (status == VLLM_OK) status = add_message(messages, VLLM_MESSAGE_TOOL, job->text);
    }
    return status;
}

static enum vllm_status run_messages(const struct job *job, const struct vllm_alloc *alloc, struct notes *notes) {
    struct vllm_messages_options options = {job->step == 1, job->step == 1, job->step == 1, {".", 1}, {"reasoning", 9}};
    struct vllm_messages_fault fault;
    struct vllm_messages messages;
    struct vllm_buf out;
    vllm_messages_init(&messages, alloc);
    vllm_buf_init(&out, alloc, 1 << 20);
    enum vllm_status status = collect(job, &messages);
    if (status == VLLM_OK) status = vllm_messages_write(&messages, &options, &out, &fault);
    if (status == VLLM_OK) note(notes, vllm_buf_view(&out));
    vllm_messages_free(&messages);
    vllm_messages_free(&messages); /* may run twice */
    vllm_buf_free(&out);
    return status == VLLM_OK ? VLLM_END : status;
}

static enum vllm_status run_base64(const struct job *job, const struct vllm_alloc *alloc, struct notes *notes) {
    struct vllm_buf out;
    vllm_buf_init(&out, alloc, 1 << 20);
    enum vllm_status status = vllm_buf_text(&out, "data:;base64,");
    size_t before = out.len;
    if (status == VLLM_OK) status = vllm_base64_append(&out, job->text, job->len);
    CHECK(status == VLLM_OK || out.len == before || out.len == 0); /* all of it or nothing */
    if (status == VLLM_OK) note(notes, vllm_buf_view(&out));
    vllm_buf_free(&out);
    return status == VLLM_OK ? VLLM_END : status;
}

/* One failure after the other -------------------------------------------------------------------------------------- */

static enum vllm_status run_with(const struct job *job, long left, bool once, struct notes *notes, long *made) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    memory.left = left;
    memory.once = once;
    notes->len = 0;
    enum vllm_status status = job->run(job, &alloc, notes);
    CHECK(memory.live == 0);
    *made = memory.made;
    return status;
}

static bool begins_with(const struct notes *whole, const struct notes *part) {
    return part->len <= whole->len && memcmp(part->bytes, whole->bytes, part->len) == 0;
}

static void fail_once(const struct job *job, long left, bool once, const struct notes *whole, enum vllm_status end) {
    static struct notes got;
    long made;
    enum vllm_status status = run_with(job, left, once, &got, &made);
    bool survived = status == end && got.len == whole->len;
    if ((status != VLLM_ENOMEM && !survived) || !begins_with(whole, &got)) {
        printf("%s, without allocation %ld%s: status %d\n", job->name, left, once ? "" : " and what follows", (int)status);
        CHECK(false);
    }
    if (!once) CHECK_STATUS(status, VLLM_ENOMEM);
    CHECK_STATUS(run_with(job, -1, false, &got, &made), end);
    CHECK(got.len == whole->len && begins_with(whole, &got));
}

static void fail_everywhere(const struct job *job) {
    static struct notes whole;
    long made;
    enum vllm_status end = run_with(job, -1, false, &whole, &made);
    CHECK(end != VLLM_ENOMEM && end != VLLM_MORE);
    CHECK(made > 1 && whole.len > 0);
    for (long left = 0; left < made; left++) {
        fail_once(job, left, true, &whole, end);
        fail_once(job, left, false, &whole, end);
    }
}

/* Jobs ------------------------------------------------------------------------------------------------------------- */

#define RARE                                                                                                              \
    "data: {\"id\":\"r\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"refusal\":\"no\\ud83d\"}}],\"new\":[1]}\n\n" \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"images\":[{\"u\":1}]}}],\"other\":{}}\n\n"                              \
    "data: {\"choices\":[{\"index\":2,\"delta\":{\"function_call\":{\"name\":\"f\",\"arguments\":\"{\"}}}]}\n\n"           \
    "data: {\"choices\":[{\"index\":2,\"delta\":{\"content\":\"\\ude00\\n\"},\"finish_reason\":\"stop\",\"stop_reason\":7}]}\n\n" \
    "data: {\"error\":{\"message\":\"gone\",\"code\":500}}\n\n"
#define LIST "[{\"choices\":[{\"delta\":{\"content\":\"a\\n\"}}]},{\"choices\":[{\"finish_reason\":\"stop\"}]}]"
#define EVENTS ": hi\n\nid: 4\nevent: x\ndata: a\ndata: b\n\nretry: 7\ndata: c"
#define VALUE  "{\"a\\n\":[1,-2.5e300,true,null,\"\\ud83d\\ude00\",{}],\"b\":\"a long string, to make the buffer grow: \\u0000\"}"

static const struct job recorded[] = {
    {"vllm/text", run_decoder, 100, NULL, 0},
    {"vllm/reasoning-two-tools", run_decoder, 64, NULL, 0},
    {"vllm/tool-auto-two", run_decoder, 4096, NULL, 0},
    {"vllm/tool-named-nested", run_decoder, 1400, NULL, 0},
    {"vllm/text-two-choices", run_decoder, 1400, NULL, 0},
    {"vllm/text-logprobs", run_decoder, 1400, NULL, 0},
    {"vllm/text-token-ids", run_decoder, 1400, NULL, 0},
    {"vllm/text-unicode", run_decoder, 7, NULL, 0},
    {"vllm/engine-death", run_decoder, 1400, NULL, 0},
    {"vllm/json-schema-cut", run_decoder, 1400, NULL, 0},
    {"llama-server/tool-auto", run_decoder, 1400, NULL, 0},
    {"llama-server/text-logprobs", run_decoder, 1400, NULL, 0},
    {"vllm/text-logprobs-buffered", run_decoder, 0, NULL, 0},
    {"vllm/tool-auto-two-buffered", run_decoder, 0, NULL, 0},
    {"vllm/reasoning-tool-buffered", run_decoder, 0, NULL, 0},
    {"vllm/text-two-choices-buffered", run_decoder, 0, NULL, 0},
    {"vllm/error-context-buffered", run_decoder, 0, NULL, 0},
    {"vllm/text-logprobs", run_large_event, 1400, NULL, 0},
    {"vllm/text-long", run_large_message, 1400, NULL, 0},
    {"vllm/text-unicode", run_sse, 100, NULL, 0},
    {"vllm/tool-auto", run_messages, 0, NULL, 0},
    {"vllm/tool-auto", run_base64, 0, NULL, 0},
};

static const struct job written[] = {
    {"all that is rare", run_decoder, 30, RARE, sizeof RARE - 1},
    {"a list of chunks", run_decoder, 0, LIST, sizeof LIST - 1},
    {"events", run_sse, 3, EVENTS, sizeof EVENTS - 1},
    {"a value", run_json, 0, VALUE, sizeof VALUE - 1},
    {"a transcript", run_messages, 0, "What is \"this\"?\n", 16},
    {"a merged transcript", run_messages, 1, "What is \"this\"?\n", 16},
};

static char text[RECORDED_MAX];

static void run_recorded(struct job job) {
    char path[256];
    bool is_stream;
    snprintf(path, sizeof path, "spec/fixtures/%s.http", job.name);
    if (!recorded_read(path, text, &job.len)) return;
    job.text = recorded_body(text, &job.len, &is_stream);
    if (!job.text) return;
    text[(size_t)(job.text - text) + job.len] = '\0';
    fail_everywhere(&job);
}

/* Whole answers as they came over the wire, and the requests that they answer. */
static void run_files(void) {
    static const char *const names[] = {"vllm/tool-auto-two", "vllm/text-buffered", "llama-server/tool-required"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct job answer = {names[i], run_http1, 1000, text, 0}, request = {names[i], run_json, 0, text, 0};
        char path[256];
        snprintf(path, sizeof path, "spec/fixtures/%s.http", names[i]);
        if (recorded_read(path, text, &answer.len)) fail_everywhere(&answer);
        snprintf(path, sizeof path, "spec/fixtures/%s.json", names[i]);
        if (recorded_read(path, text, &request.len)) fail_everywhere(&request);
    }
}

int main(void) {
    for (size_t i = 0; i < sizeof recorded / sizeof *recorded; i++) {
        run_recorded(recorded[i]);
    }
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        fail_everywhere(&written[i]);
    }
    run_files();
    return check_report("memory");
}
