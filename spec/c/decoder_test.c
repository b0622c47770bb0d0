/* The decoder. Every stream is fed whole, byte by byte, and cut in two at every place, and must give the same trace of
 * events; a stream is also run with the allocation failing at every point. */
#include "../../src/core/decoder.h"

#include "check.h"

#define MAX_TRACE 8192

struct trace {
    char text[MAX_TRACE];
    size_t len;
};

static void put(struct trace *trace, const char *format, ...) __attribute__((format(printf, 2, 3)));

#include <stdarg.h>

static void put(struct trace *trace, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(trace->text + trace->len, MAX_TRACE - trace->len, format, arguments);
    va_end(arguments);
    trace->len += len > 0 && (size_t)len < MAX_TRACE - trace->len ? (size_t)len : 0;
}

#define TEXT(slice) (slice).ptr ? (int)(slice).len : 1, (slice).ptr ? (slice).ptr : "-"

/* One line per event. */
static void render(struct trace *trace, const struct vllm_event *e) {
    switch (e->type) {
    case VLLM_EVENT_TURN_START:
        put(trace, "start %.*s %.*s\n", TEXT(e->id), TEXT(e->model));
        break;
    case VLLM_EVENT_PART_START:
        put(trace, "+ %.*s\n", TEXT(e->part));
        break;
    case VLLM_EVENT_TEXT_DELTA:
    case VLLM_EVENT_REASONING_DELTA:
    case VLLM_EVENT_REFUSAL_DELTA:
        put(trace, "%.*s: %.*s\n", TEXT(e->part), TEXT(e->text));
        break;
    case VLLM_EVENT_TOOL_CALL_DELTA:
        put(trace, "%.*s #%ld %.*s %.*s: %.*s\n", TEXT(e->part), (long)e->index, TEXT(e->id), TEXT(e->name), TEXT(e->text));
        break;
    case VLLM_EVENT_PART_END:
        put(trace, "- %.*s: %.*s\n", TEXT(e->part), e->kind == VLLM_PART_MEDIA ? (int)e->raw.len : (int)e->text.len,
            e->kind == VLLM_PART_MEDIA ? e->raw.ptr : e->text.ptr);
        break;
    case VLLM_EVENT_TOOL_CALL:
        put(trace, "call %ld #%ld %.*s %.*s: %.*s%s%s\n", (long)e->choice, (long)e->index, TEXT(e->id), TEXT(e->name), TEXT(e->text),
            e->invalid ? " ! " : "", e->invalid ? e->invalid : "");
        break;
    case VLLM_EVENT_TOKENS:
        put(trace, "tokens %ld %.*s %.*s\n", (long)e->choice, TEXT(e->raw), TEXT(e->token_ids));
        break;
    case VLLM_EVENT_CHOICE_END:
        put(trace, "end %ld %.*s %.*s\n", (long)e->choice, TEXT(e->text), TEXT(e->raw));
        break;
    case VLLM_EVENT_USAGE:
        put(trace, "usage %ld %ld %ld %ld %ld\n", (long)e->usage.prompt_tokens, (long)e->usage.completion_tokens,
            (long)e->usage.total_tokens, (long)e->usage.cached_tokens, (long)e->usage.reasoning_tokens);
        break;
    case VLLM_EVENT_CHUNK:
        put(trace, "chunk %.*s\n", TEXT(e->raw));
        break;
    case VLLM_EVENT_TURN_END:
        put(trace, "turn end\n");
        break;
    }
}

static enum vllm_status drain(struct vllm_decoder *decoder, struct trace *trace) {
    struct vllm_event event;
    enum vllm_status status;
    while ((status = vllm_decoder_next(decoder, &event)) == VLLM_OK) {
        render(trace, &event);
    }
    if (status != VLLM_MORE && status != VLLM_END && status != VLLM_ENOMEM) {
        struct vllm_slice error = vllm_decoder_evidence(decoder);
        put(trace, "! %s%s%.*s\n", vllm_decoder_why(decoder), error.ptr ? ": " : "", error.ptr ? (int)error.len : 0, error.ptr ? error.ptr : "");
    }
    return status;
}

static void check_extras(const struct vllm_extras *extras) {
    for (size_t i = 0; i < extras->count; i++) {
        struct vllm_slice name, json;
        vllm_extras_at(extras, i, &name, &json);
        CHECK(name.len > 0 && (!json.ptr || vllm_json_check(json.ptr, json.len, 64, NULL)));
    }
}

/* What has come is always readable, whatever happened. */
static void touch_state(const struct vllm_decoder *decoder) {
    struct vllm_decoder_state state;
    vllm_decoder_state(decoder, &state);
    for (size_t i = 0; i < state.choice_count; i++) {
        struct vllm_decoder_choice choice;
        vllm_decoder_choice(decoder, i, &choice);
        for (size_t k = 0; k < choice.call_count; k++) {
            struct vllm_decoder_call call;
            vllm_decoder_call(decoder, i, k, &call);
            CHECK(call.arguments.ptr != NULL);
            check_extras(call.extras);
        }
        check_extras(choice.extras);
        check_extras(choice.message_extras);
        CHECK(!choice.logprobs.ptr || vllm_json_check(choice.logprobs.ptr, choice.logprobs.len, 64, NULL));
        CHECK(!choice.token_ids.ptr || vllm_json_check(choice.token_ids.ptr, choice.token_ids.len, 64, NULL));
        CHECK(!choice.media.ptr || vllm_json_check(choice.media.ptr, choice.media.len, 64, NULL));
    }
    check_extras(state.extras);
}

static enum vllm_status run(struct vllm_decoder *decoder, const char *bytes, size_t len, size_t cut, size_t step, struct trace *trace) {
    enum vllm_status status = VLLM_MORE;
    for (size_t at = 0; at < len && status == VLLM_MORE;) {
        size_t piece = step ? step : at < cut ? cut : len - at;
        piece = piece > len - at ? len - at : piece;
        status = vllm_decoder_feed(decoder, bytes + at, piece);
        at += piece;
        status = status == VLLM_OK ? drain(decoder, trace) : status;
    }
    if (status == VLLM_MORE) {
        status = vllm_decoder_finish(decoder);
        status = status == VLLM_OK ? drain(decoder, trace) : status;
    }
    touch_state(decoder);
    return status;
}

static void options_of(struct vllm_decoder_options *options) {
    vllm_decoder_options_default(options);
    options->max_event_bytes = 4096;
    options->max_message_bytes = 4096;
    options->max_tool_calls = 4;
    options->max_choices = 4;
}

static void check_trace(const struct trace *trace, const char *expected, int line, size_t cut) {
    if (strcmp(trace->text, expected) != 0) {
        printf("line %d, cut %lu:\n--- got\n%s--- expected\n%s", line, (unsigned long)cut, trace->text, expected);
    }
    CHECK(strcmp(trace->text, expected) == 0);
}

static void run_cut(const char *bytes, const char *expected, int line, size_t cut, size_t step) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_decoder_options options;
    struct trace trace = {"", 0};
    struct vllm_event event;
    options_of(&options);
    struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
    enum vllm_status status = run(decoder, bytes, strlen(bytes), cut, step, &trace);
    CHECK(status != VLLM_MORE);
    CHECK(vllm_decoder_next(decoder, &event) == status); /* it sticks */
    check_trace(&trace, expected, line, cut);
    vllm_decoder_free(decoder);
    CHECK(memory.live == 0);
}

static void fail_everywhere(const char *bytes, const char *expected, int line) {
    enum vllm_status status = VLLM_ENOMEM;
    for (long left = 0; status == VLLM_ENOMEM; left++) {
        struct check_memory memory;
        struct vllm_alloc alloc = check_alloc(&memory);
        struct vllm_decoder_options options;
        struct trace trace = {"", 0};
        options_of(&options);
        memory.left = left;
        struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
        status = decoder ? run(decoder, bytes, strlen(bytes), strlen(bytes), 0, &trace) : VLLM_ENOMEM;
        if (status == VLLM_ENOMEM) {
            CHECK(strncmp(trace.text, expected, trace.len) == 0); /* what came before is right */
        } else {
            check_trace(&trace, expected, line, 0);
        }
        vllm_decoder_free(decoder);
        CHECK(memory.live == 0);
    }
}

static void check_stream(const char *bytes, const char *expected, int line) {
    size_t len = strlen(bytes);
    run_cut(bytes, expected, line, len, 0);
    run_cut(bytes, expected, line, 0, 1);
    run_cut(bytes, expected, line, 0, 7);
    for (size_t cut = 1; cut < len; cut++) {
        run_cut(bytes, expected, line, cut, 0);
    }
    fail_everywhere(bytes, expected, line);
}

#define STREAM(bytes, expected) check_stream(bytes, expected, __LINE__)
#define EVENT(json)             "data: " json "\n\n"
#define CHUNK(choice)           EVENT("{\"id\":\"r\",\"model\":\"m\",\"choices\":[" choice "]}")
#define DELTA(delta)            CHUNK("{\"index\":0,\"delta\":{" delta "}}")
#define DELTA1(delta)           CHUNK("{\"index\":1,\"delta\":{" delta "}}")
#define SAY(text)               DELTA("\"content\":\"" text "\"")
#define SAY1(text)              DELTA1("\"content\":\"" text "\"")
#define CALL(fields)            DELTA("\"tool_calls\":[{" fields "}]")
#define ARGS(i, text)           CALL("\"index\":" i ",\"function\":{\"arguments\":\"" text "\"}")
#define FINISH(reason)          CHUNK("{\"index\":0,\"delta\":{},\"finish_reason\":\"" reason "\"}")
#define FINISH1(reason)         CHUNK("{\"index\":1,\"delta\":{},\"finish_reason\":\"" reason "\"}")
#define LINE(choice)            "data: {\"id\":\"r\",\"model\":\"m\",\"choices\":[" choice "]}\n"
#define DONE                    EVENT("[DONE]")
#define ROLE                    DELTA("\"role\":\"assistant\",\"content\":\"\"")
#define START                   "start r m\n"
#define CLOSE(reason)           "end 0 " reason " -\nturn end\n"
#define WEATHER                 "\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\""

static void test_text(void) {
    STREAM(ROLE SAY("he") SAY("llo") FINISH("stop") DONE,
           START "+ part-0-text-0\npart-0-text-0: he\npart-0-text-0: llo\n- part-0-text-0: hello\n" CLOSE("stop"));
    STREAM(SAY("a") CHUNK("{\"index\":0,\"delta\":{\"content\":\"b\"},\"finish_reason\":\"length\",\"stop_reason\":7}") DONE,
           START "+ part-0-text-0\npart-0-text-0: a\npart-0-text-0: b\n- part-0-text-0: ab\nend 0 length 7\nturn end\n");
    STREAM(DELTA("\"content\":\"x\",\"reasoning\":\"r\"") DELTA("\"reasoning_content\":\"s\"") SAY(" ") FINISH("stop") DONE,
           START "+ part-0-reasoning-0\npart-0-reasoning-0: r\n- part-0-reasoning-0: r\n+ part-0-text-0\npart-0-text-0: x\n"
                 "- part-0-text-0: x\n+ part-0-reasoning-1\npart-0-reasoning-1: s\n- part-0-reasoning-1: s\n+ part-0-text-1\n"
                 "part-0-text-1:  \n- part-0-text-1:  \n" CLOSE("stop"));
    STREAM(DELTA("\"refusal\":\"no\"") FINISH("stop") DONE,
           START "+ part-0-refusal-0\npart-0-refusal-0: no\n- part-0-refusal-0: no\n" CLOSE("stop"));
    STREAM(SAY("a") DELTA("\"images\":[{\"u\":1},{\"u\":2}]") SAY("b") FINISH("stop") DONE,
           START "+ part-0-text-0\npart-0-text-0: a\n- part-0-text-0: a\n+ part-0-media-0\n- part-0-media-0: {\"u\":1}\n+ part-0-media-1\n"
                 "- part-0-media-1: {\"u\":2}\n+ part-0-text-1\npart-0-text-1: b\n- part-0-text-1: b\n" CLOSE("stop"));
    STREAM(ROLE FINISH("stop") DONE, START CLOSE("stop"));
    STREAM(CHUNK("{\"index\":0,\"text\":\"a\"}") FINISH("stop") DONE,
           START "+ part-0-text-0\npart-0-text-0: a\n- part-0-text-0: a\n" CLOSE("stop"));
}

#define TEXT_EVENTS(first, rest, value) START "+ part-0-text-0\n" first rest "- part-0-text-0: " value "\n" CLOSE("stop")
#define SAID(text)                      "part-0-text-0: " text "\n"
#define SMILE                           "\xF0\x9F\x98\x80"
#define BAD                             "\xEF\xBF\xBD"

static void test_halves(void) {
    STREAM(SAY("a\\ud83d") SAY("\\ude00b") FINISH("stop") DONE, TEXT_EVENTS(SAID("a"), SAID(SMILE "b"), "a" SMILE "b"));
    STREAM(SAY("\\ud83d") SAY("\\ude00") FINISH("stop") DONE, TEXT_EVENTS(SAID(SMILE), "", SMILE));
    STREAM(SAY("\\ud83d") SAY("x") FINISH("stop") DONE, TEXT_EVENTS(SAID(BAD "x"), "", BAD "x"));
    STREAM(SAY("a\\ud83d") FINISH("stop") DONE, TEXT_EVENTS(SAID("a"), SAID(BAD), "a" BAD));
    STREAM(SAY("\\ude00a") FINISH("stop") DONE, TEXT_EVENTS(SAID(BAD "a"), "", BAD "a"));
    STREAM(SAY("\\ud83d") SAY("\\ud83d") SAY("\\ude00") FINISH("stop") DONE, TEXT_EVENTS(SAID(BAD), SAID(SMILE), BAD SMILE));
    STREAM(SAY("\\ud83d") DELTA("\"reasoning\":\"\\ude00\"") FINISH("stop") DONE,
           START "+ part-0-text-0\n" SAID(BAD) "- part-0-text-0: " BAD "\n+ part-0-reasoning-0\npart-0-reasoning-0: " BAD
                 "\n- part-0-reasoning-0: " BAD "\n" CLOSE("stop"));
    STREAM(CALL(WEATHER "}") ARGS("0", "{\\\"e\\\":\\\"\\ud83d") ARGS("0", "\\ude00\\\"}") FINISH("tool_calls") DONE,
           START "+ part-0-tool-0\npart-0-tool-0 #0 a f: \npart-0-tool-0 #0 a f: {\"e\":\"\npart-0-tool-0 #0 a f: " SMILE "\"}\n"
                 "call 0 #0 a f: {\"e\":\"" SMILE "\"}\n- part-0-tool-0: {\"e\":\"" SMILE "\"}\n" CLOSE("tool_calls"));
    STREAM(CALL(WEATHER "}") ARGS("0", "\\ud83d") FINISH("length") DONE,
           START "+ part-0-tool-0\npart-0-tool-0 #0 a f: \npart-0-tool-0 #0 a f: " BAD "\ncall 0 #0 a f: " BAD
                 " ! the answer was cut off at its length limit\n- part-0-tool-0: " BAD "\n" CLOSE("length"));
}

#define ONE_CALL(pieces, text, verdict, reason) \
    START "+ part-0-tool-0\npart-0-tool-0 #0 a f: \n" pieces "call 0 #0 a f: " text verdict "\n- part-0-tool-0: " text "\n" CLOSE(reason)
#define PIECE(text) "part-0-tool-0 #0 a f: " text "\n"

static void test_calls(void) {
    STREAM(CALL(WEATHER "}") ARGS("0", "{\\\"x\\\"") ARGS("0", ":1}") FINISH("tool_calls") DONE,
           ONE_CALL(PIECE("{\"x\"") PIECE(":1}"), "{\"x\":1}", "", "tool_calls"));
    STREAM(CALL(WEATHER "}") FINISH("stop") DONE, ONE_CALL("", "{}", "", "stop"));
    STREAM(CALL(WEATHER "}") ARGS("0", " ") FINISH("stop") DONE, ONE_CALL(PIECE(" "), "{}", "", "stop"));
    STREAM(CALL(WEATHER "}") FINISH("length") DONE, ONE_CALL("", "", " ! the answer was cut off at its length limit", "length"));
    STREAM(CALL(WEATHER "}") ARGS("0", "{}") FINISH("content_filter") DONE,
           ONE_CALL(PIECE("{}"), "{}", " ! the answer was stopped by a content filter", "content_filter"));
    STREAM(CALL(WEATHER "}") ARGS("0", "{}") FINISH("model_length") DONE,
           ONE_CALL(PIECE("{}"), "{}", " ! the answer's finish reason is not that of a whole answer", "model_length"));
    STREAM(CALL(WEATHER "}") ARGS("0", "{}") FINISH("TOOL_CALL") DONE, ONE_CALL(PIECE("{}"), "{}", "", "TOOL_CALL"));
    STREAM(CALL(WEATHER "}") ARGS("0", "{}") DONE, ONE_CALL(PIECE("{}"), "{}", " ! the answer ended without a finish reason", "-"));
    STREAM(CALL(WEATHER "}") ARGS("0", "{\\\"a\\\":") FINISH("tool_calls") DONE,
           ONE_CALL(PIECE("{\"a\":"), "{\"a\":", " ! the arguments are not valid JSON", "tool_calls"));
    STREAM(CALL(WEATHER "}") ARGS("0", "[1]") FINISH("tool_calls") DONE,
           ONE_CALL(PIECE("[1]"), "[1]", " ! the arguments are not a JSON object", "tool_calls"));
    STREAM(CALL(WEATHER ",\"arguments\":{\"b\":null}}") FINISH("stop") DONE,
           START "+ part-0-tool-0\n" PIECE("{\"b\":null}") "call 0 #0 a f: {\"b\":null}\n- part-0-tool-0: {\"b\":null}\n" CLOSE("stop"));
    STREAM(SAY("t") CALL("\"index\":5,\"id\":\"a\",\"function\":{\"name\":\"f\"}") SAY("u")
               CALL("\"index\":2,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}") ARGS("5", "{}") FINISH("stop") DONE,
           START "+ part-0-text-0\npart-0-text-0: t\n- part-0-text-0: t\n+ part-0-tool-0\npart-0-tool-0 #0 a f: \n"
                 "+ part-0-text-1\npart-0-text-1: u\n- part-0-text-1: u\n+ part-0-tool-1\npart-0-tool-1 #1 b g: {}\n"
                 "part-0-tool-0 #0 a f: {}\ncall 0 #0 a f: {}\n- part-0-tool-0: {}\ncall 0 #1 b g: {}\n- part-0-tool-1: {}\n" CLOSE("stop"));
    STREAM(CALL("\"index\":0,\"id\":\"a\",\"function\":{\"arguments\":\"{}\"}") FINISH("stop") DONE,
           START "+ part-0-tool-0\npart-0-tool-0 #0 a -: {}\ncall 0 #0 a -: {} ! the call names no tool\n- part-0-tool-0: {}\n" CLOSE("stop"));
    STREAM(DELTA("\"function_call\":{\"name\":\"f\"}") DELTA("\"function_call\":{\"arguments\":\"{}\"}") FINISH("function_call") DONE,
           START "+ part-0-tool-0\npart-0-tool-0 #0 - f: \npart-0-tool-0 #0 - f: {}\ncall 0 #0 zumBKgekW f: {}\n- part-0-tool-0: {}\n" CLOSE(
               "function_call"));
}

#define HI "+ part-0-text-0\npart-0-text-0: hi\n- part-0-text-0: hi\n"

static void test_ends(void) {
    STREAM(SAY("hi") FINISH("stop"), START HI CLOSE("stop"));
    STREAM(SAY("hi") FINISH("stop") "data: [DONE]", START HI CLOSE("stop"));
    STREAM(SAY("hi") FINISH("stop") "data: {\"choi", START HI CLOSE("stop"));
    STREAM(SAY("hi") FINISH("stop") "data:  [DONE] \n\n" SAY("late") EVENT("{") , START HI CLOSE("stop"));
    STREAM(SAY("hi") FINISH("stop") FINISH("length") DONE, START HI CLOSE("stop"));
    STREAM(SAY("hi") FINISH("stop") CHUNK("{\"index\":0,\"delta\":{},\"finish_reason\":null}") DONE, START HI CLOSE("stop"));
    STREAM(SAY("h") FINISH("stop") SAY("i") DONE, START "+ part-0-text-0\npart-0-text-0: h\npart-0-text-0: i\n- part-0-text-0: hi\n" CLOSE("stop"));
    STREAM(CALL(WEATHER "}") FINISH("stop") ARGS("0", "{}") DONE, ONE_CALL(PIECE("{}"), "{}", "", "stop"));
    STREAM(SAY("hi") DONE, START HI CLOSE("-"));
    STREAM(DONE, "! the answer has no choices\n");
    STREAM("data: {\"usage\":{\"total_tokens\":1},\"choices\":[]}\n\n" DONE, "! the answer has no choices\n");
    STREAM(SAY("hi"), START "+ part-0-text-0\npart-0-text-0: hi\n! the stream ended before the answer did\n");
    STREAM(SAY("hi") "data: {\"choices\":[{\"index\":0,\"delta\":{\"con",
           START "+ part-0-text-0\npart-0-text-0: hi\n! the stream ended before the answer did\n");
    STREAM(SAY("hi") "data: [DONE", START "+ part-0-text-0\npart-0-text-0: hi\n! the stream ended before the answer did\n");
    STREAM("", "! the stream ended before the answer did\n");
    STREAM(": ping\n\ndata:\n\ndata:  \n\nevent: ping\ndata: now\n\n" SAY("hi") FINISH("stop") DONE, START HI CLOSE("stop"));
    STREAM(SAY("hi") EVENT("{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}")
               EVENT("{\"usage\":{\"prompt_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":5},\"completion_tokens_details\":"
                     "{\"reasoning_tokens\":6}}}") EVENT("{\"usage\":null}") FINISH("stop") DONE,
           START HI "end 0 stop -\nusage 4 -1 -1 5 6\nturn end\n");
    STREAM(CHUNK("{\"index\":0,\"delta\":{\"content\":\"hi\"},\"logprobs\":{\"content\":[{\"t\":1}]},\"token_ids\":[7]}") FINISH("stop") DONE,
           START "+ part-0-text-0\npart-0-text-0: hi\ntokens 0 {\"content\":[{\"t\":1}]} [7]\n- part-0-text-0: hi\n" CLOSE("stop"));
}

static void test_choices(void) {
    STREAM(SAY("a") SAY1("x") FINISH1("stop") SAY("b") FINISH("length") DONE,
           START "+ part-0-text-0\npart-0-text-0: a\n+ part-1-text-0\npart-1-text-0: x\n- part-1-text-0: x\nend 1 stop -\n"
                 "part-0-text-0: b\n- part-0-text-0: ab\nend 0 length -\nturn end\n");
    STREAM(SAY1("x") SAY("a") FINISH("stop") DONE,
           START "+ part-1-text-0\npart-1-text-0: x\n+ part-0-text-0\npart-0-text-0: a\n- part-0-text-0: a\nend 0 stop -\n"
                 "- part-1-text-0: x\nend 1 - -\nturn end\n");
    STREAM(SAY("a") FINISH("stop") SAY1("x") SAY("b") FINISH1("stop") DONE,
           START "+ part-0-text-0\npart-0-text-0: a\n- part-0-text-0: a\nend 0 stop -\n+ part-1-text-0\npart-1-text-0: x\n"
                 "+ part-0-text-1\npart-0-text-1: b\n- part-1-text-0: x\nend 1 stop -\n- part-0-text-1: b\nturn end\n");
    STREAM(CALL(WEATHER ",\"arguments\":\"{}\"}") FINISH("stop") SAY1("x") ARGS("0", " "),
           START "+ part-0-tool-0\n" PIECE("{}") "call 0 #0 a f: {}\n- part-0-tool-0: {}\nend 0 stop -\n+ part-1-text-0\npart-1-text-0: x\n"
                 "! arguments came for a tool call that had ended\n");
    STREAM(CHUNK("{\"index\":1,\"delta\":{\"role\":\"assistant\"}}") SAY("hi") FINISH("stop") DONE,
           START HI "end 0 stop -\nend 1 - -\nturn end\n");
}

static void test_errors(void) {
    STREAM(SAY("hi") EVENT("{\"error\":{\"code\":500}}") DONE,
           START "+ part-0-text-0\npart-0-text-0: hi\n! the server reported an error: {\"error\":{\"code\":500}}\n");
    STREAM(EVENT("{\"error\":\"boom\"}") DONE, "! the server reported an error: {\"error\":\"boom\"}\n");
    STREAM(SAY("h") CHUNK("{\"index\":0,\"delta\":{\"content\":\"i\"},\"finish_reason\":\"error\",\"error\":{\"code\":502}}") DONE,
           START "+ part-0-text-0\npart-0-text-0: h\npart-0-text-0: i\n! the server reported an error: "
                 "{\"index\":0,\"delta\":{\"content\":\"i\"},\"finish_reason\":\"error\",\"error\":{\"code\":502}}\n");
    STREAM(CALL(WEATHER "}") FINISH("abort") SAY("late") DONE,
           START "+ part-0-tool-0\npart-0-tool-0 #0 a f: \n+ part-0-text-0\npart-0-text-0: late\n! the server aborted the answer\n");
    STREAM(SAY("hi") FINISH("Error"), START "+ part-0-text-0\npart-0-text-0: hi\n! the server failed during the answer\n");
    STREAM("event: error\n" EVENT("overloaded"), "! the server reported an error: overloaded\n");
    STREAM(SAY("hi") EVENT("nonsense") SAY("x"), START "+ part-0-text-0\npart-0-text-0: hi\n! a chunk is not a JSON object: nonsense\n");
    STREAM(EVENT("\"hi\""), "! a chunk is not a JSON object: \"hi\"\n");
    STREAM(CALL("\"index\":0,\"id\":\"a\"") CALL("\"index\":1,\"id\":\"b\"") CALL("\"index\":2,\"id\":\"c\"") CALL("\"index\":3,\"id\":\"d\"")
               CALL("\"index\":4,\"id\":\"e\""),
           START "+ part-0-tool-0\npart-0-tool-0 #0 a -: \n+ part-0-tool-1\npart-0-tool-1 #1 b -: \n+ part-0-tool-2\npart-0-tool-2 #2 c -: \n"
                 "+ part-0-tool-3\npart-0-tool-3 #3 d -: \n! a choice has more tool calls than max_tool_calls\n");
    STREAM(CHUNK("{},{\"index\":1},{\"index\":2},{\"index\":3},{\"index\":4}"), "! the answer has more choices than max_choices\n");
}

static void run_body(const char *json, const char *expected, int line) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_decoder_options options;
    struct trace trace = {"", 0};
    options_of(&options);
    struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
    enum vllm_status status = vllm_decoder_body(decoder, json, strlen(json));
    if (status == VLLM_OK) {
        CHECK(vllm_decoder_feed(decoder, "x", 1) == VLLM_EINVALID);
        CHECK(vllm_decoder_body(decoder, "x", 1) == VLLM_EINVALID);
        drain(decoder, &trace);
    }
    touch_state(decoder);
    check_trace(&trace, expected, line, 0);
    vllm_decoder_free(decoder);
    CHECK(memory.live == 0);
}

/* What is not an event stream, though it is called one; and lines between the events. */
static void test_strays(void) {
#define WHOLE "{\"id\":\"r\",\"model\":\"m\",\n\n \"choices\": [{\r\n\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}"
    STREAM(WHOLE, START HI CLOSE("stop"));
    STREAM(WHOLE "\n\n" DONE, START HI CLOSE("stop"));
    STREAM("[" WHOLE "]", START HI CLOSE("stop"));
    STREAM("{\"error\":\n{\"code\":500}}", "! the server reported an error: {\"error\":\n{\"code\":500}}\n\n");
    STREAM("[{\"error\":1}]\n" DONE, "! the server reported an error: {\"error\":1}\n");
    STREAM("{\"detail\":\"no\"}", "! the answer has no choices: {\"detail\":\"no\"}\n\n");
    STREAM("<html>\n</html>", "! expected a JSON value: <html>\n</html>\n\n");
    STREAM("Bad Gateway", "! expected a JSON value: Bad Gateway\n\n");
    STREAM("error: boom\n\n", "! the server reported an error: boom\n");
    STREAM(SAY("hi") "error: {\"code\":500}\n\n" DONE, START "+ part-0-text-0\npart-0-text-0: hi\n! the server reported an error: {\"code\":500}\n");
    STREAM(SAY("hi") "{\"error\":{\"code\":500}}\n" DONE,
           START "+ part-0-text-0\npart-0-text-0: hi\n! the server reported an error: {\"error\":{\"code\":500}}\n\n");
    STREAM(SAY("hi") "upstream died\n", START "+ part-0-text-0\npart-0-text-0: hi\n! the stream ended before the answer did: upstream died\n\n");
    STREAM(SAY("hi") "upstream died\n" DONE SAY("late"), START HI CLOSE("-"));
    STREAM("x-trace: 1\n" SAY("hi") "x-trace: 2\n" FINISH("stop") DONE, START HI CLOSE("stop"));
    STREAM(EVENT("{\"detail\":\"no\"}") DONE, "! the answer has no choices: {\"detail\":\"no\"}\n");
    STREAM(EVENT("[{\"error\":1}]"), "! a chunk is not a JSON object: [{\"error\":1}]\n");
    STREAM(SAY("hi") EVENT("{\"detail\":\"no\"}"), START "+ part-0-text-0\npart-0-text-0: hi\n! the stream ended before the answer did: {\"detail\":\"no\"}\n");
    STREAM(SAY("hi") EVENT("{\"type\":\"ping\"}") FINISH("stop"), START HI CLOSE("stop"));
    STREAM(SAY("hi") EVENT("{\"detail\":\"no\"}") DONE,
           START "+ part-0-text-0\npart-0-text-0: hi\n! the stream ended before the answer did: {\"detail\":\"no\"}\n");
    STREAM(EVENT(": ping") SAY("hi") EVENT("null") "data: " FINISH("stop") "data:data:[DONE]\n\n" SAY("late"), START HI CLOSE("stop"));
    STREAM(LINE("{\"delta\":{\"content\":\"hi\"}}") LINE("{\"delta\":{},\"finish_reason\":\"stop\"}") "data: [DONE]", START HI CLOSE("stop"));
    STREAM(LINE("{\"delta\":{\"content\":\"hi\"}}") "data:\ndata\n" LINE("{\"delta\":{},\"finish_reason\":\"stop\"}"), START HI CLOSE("stop"));
    STREAM(LINE("{\"delta\":{\"content\":\"hi\"}}") "data: x\n" LINE("{\"delta\":{}}") "\n",
           "! more text after the value: {\"id\":\"r\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\nx\n"
           "{\"id\":\"r\",\"model\":\"m\",\"choices\":[{\"delta\":{}}]}\n");
    STREAM("data: {\"id\":\"r\",\"model\":\"m\",\"choices\":\ndata: [{\"message\":{\"content\":\"hi\"},\ndata: \"finish_reason\":\"stop\"}\ndata: ]\ndata: }\n\n",
           START HI CLOSE("stop"));
    STREAM("event: error\ndata: : no\n\n", "! the server reported an error: : no\n");
    STREAM("event: error\ndata: null\n\n", "! the server reported an error: null\n");
    STREAM("dat", "! the stream ended before the answer did\n");
    STREAM("data: Bad Gate", "! the answer has no choices: Bad Gate\n");
}

static void test_bodies(void) {
    run_body("{\"id\":\"r\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":"
             "\"stop\"},{\"index\":1,\"message\":{\"content\":null,\"reasoning\":\"r\",\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\","
             "\"arguments\":\"\"}},{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}],"
             "\"usage\":{\"prompt_tokens\":1}}",
             START HI "end 0 stop -\n+ part-1-reasoning-0\npart-1-reasoning-0: r\n- part-1-reasoning-0: r\n+ part-1-tool-0\n"
                      "part-1-tool-0 #0 a f: \n+ part-1-tool-1\npart-1-tool-1 #1 jllshJSH1 f: {}\ncall 1 #0 a f: {}\n- part-1-tool-0: {}\n"
                      "call 1 #1 jllshJSH1 f: {}\n- part-1-tool-1: {}\nend 1 tool_calls -\nusage 1 -1 -1 -1 -1\nturn end\n",
             __LINE__);
    run_body("{\"choices\":[{\"message\":{\"content\":\"hi\"}}]}", "start - -\n" HI CLOSE("-"), __LINE__);
    run_body(" [{\"id\":\"r\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"h\"}}]},{\"choices\":[{\"delta\":{\"content\":\"i\"},"
             "\"finish_reason\":\"stop\"}]}] ",
             START "+ part-0-text-0\npart-0-text-0: h\npart-0-text-0: i\n- part-0-text-0: hi\n" CLOSE("stop"), __LINE__);
    run_body("{\"error\":{\"code\":400}}", "! the server reported an error: {\"error\":{\"code\":400}}\n", __LINE__);
    run_body("{\"detail\":\"Not Found\"}", "! the answer has no choices: {\"detail\":\"Not Found\"}\n", __LINE__);
    run_body("[]", "! the answer has no choices: []\n", __LINE__);
    run_body("[{\"choices\":[{\"text\":\"hi\"}]}", "start - -\n+ part-0-text-0\npart-0-text-0: hi\n! the text ends inside an object or array: [{\"choices\":[{\"text\":\"hi\"}]}\n",
             __LINE__);
    run_body("<html>", "! expected a JSON value: <html>\n", __LINE__);
    run_body("", "! the text ends where a value should be\n", __LINE__);
}

/* Deltas and then the whole message, or the message so far in every chunk: nothing twice, nothing lost. */
static void test_whole_after_deltas(void) {
    STREAM(SAY("h") CHUNK("{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}") DONE,
           START "+ part-0-text-0\npart-0-text-0: h\npart-0-text-0: i\n- part-0-text-0: hi\n" CLOSE("stop"));
    STREAM(SAY("hi") CHUNK("{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}") DONE, START HI CLOSE("stop"));
    STREAM(CALL(WEATHER "}") ARGS("0", "{") CHUNK("{\"message\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
                                                  "\"finish_reason\":\"stop\"}") DONE,
           ONE_CALL(PIECE("{") PIECE("}"), "{}", "", "stop"));
}

static void test_limits(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_decoder_options options;
    struct vllm_decoder_state state;
    struct trace trace = {"", 0};
    options_of(&options);
    options.max_message_bytes = 5;
    struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
    static const char bytes[] = SAY("abc") SAY("d");
    CHECK(run(decoder, bytes, sizeof bytes - 1, sizeof bytes - 1, 0, &trace) == VLLM_ELIMIT);
    CHECK(strstr(trace.text, "text-0: abc\n! the answer exceeds max_message_bytes") != NULL);
    CHECK(vllm_decoder_feed(decoder, "x", 1) == VLLM_ELIMIT);
    vllm_decoder_state(decoder, &state);
    CHECK(state.started && !state.done && !state.complete && state.events == 2 && state.bytes == sizeof bytes - 1);
    vllm_decoder_free(decoder);

    options_of(&options);
    options.max_event_bytes = 16;
    decoder = vllm_decoder_new(&alloc, &options);
    trace.len = 0;
    CHECK(run(decoder, bytes, sizeof bytes - 1, sizeof bytes - 1, 0, &trace) == VLLM_ELIMIT);
    CHECK(strcmp(trace.text, "! an event exceeds max_event_bytes\n") == 0);
    vllm_decoder_free(decoder);
    decoder = vllm_decoder_new(&alloc, &options);
    CHECK(vllm_decoder_body(decoder, bytes, 17) == VLLM_ELIMIT);
    vllm_decoder_free(decoder);
    vllm_decoder_free(NULL);
    CHECK(memory.live == 0);
}

static void test_chunks_on_request(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_decoder_options options;
    struct trace trace = {"", 0};
    static const char bytes[] = EVENT("{\"x\":1}") EVENT("{\"choices\":[{\"finish_reason\":\"stop\"}]}") DONE;
    options_of(&options);
    options.want_chunks = true;
    struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
    CHECK(run(decoder, bytes, sizeof bytes - 1, 0, 1, &trace) == VLLM_END);
    CHECK(strcmp(trace.text, "chunk {\"x\":1}\nchunk {\"choices\":[{\"finish_reason\":\"stop\"}]}\nstart - -\nend 0 stop -\nturn end\n") == 0);
    CHECK(vllm_decoder_feed(decoder, "anything", 8) == VLLM_OK);
    vllm_decoder_free(decoder);
}

/* In steady state a token costs no allocation but the text's doubling. */
/* The parts of a whole message are one text, also where one begins like the other, and where the message is sent
 * again. */
static void test_parts_of_a_whole(void) {
#define IN_PARTS CHUNK("{\"message\":{\"content\":[{\"text\":\"ab\"},{\"text\":\"abc\"}]}}")
    STREAM(IN_PARTS IN_PARTS FINISH("stop") DONE,
           "start r m\n+ part-0-text-0\npart-0-text-0: ab\npart-0-text-0: abc\n- part-0-text-0: ababc\n" CLOSE("stop"));
}

static void test_steady_state(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_decoder_options options;
    struct vllm_event event;
    static const char bytes[] = SAY("word");
    vllm_decoder_options_default(&options);
    struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
    for (int i = 0; i < 600; i++) {
        memory.left = i == 520 ? 0 : memory.left; /* 4 × 512 bytes of text filled its buffer, and it has grown */
        CHECK(vllm_decoder_feed(decoder, bytes, sizeof bytes - 1) == VLLM_OK);
        enum vllm_status status;
        while ((status = vllm_decoder_next(decoder, &event)) == VLLM_OK) {
        }
        CHECK(status == VLLM_MORE);
    }
    vllm_decoder_free(decoder);
    CHECK(memory.live == 0);
}

static void test_made_ids(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_decoder_options options;
    struct trace trace = {"", 0};
    static const char bytes[] = DELTA("\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\"}},{\"index\":1,\"function\":{\"name\":\"f\"}}]")
        DELTA1("\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\"}}]") DONE;
    options_of(&options);
    struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
    struct vllm_decoder_call calls[3];
    CHECK(run(decoder, bytes, sizeof bytes - 1, 0, 1, &trace) == VLLM_END);
    vllm_decoder_call(decoder, 0, 0, &calls[0]);
    vllm_decoder_call(decoder, 0, 1, &calls[1]);
    vllm_decoder_call(decoder, 1, 0, &calls[2]);
    for (int i = 0; i < 3; i++) {
        CHECK(calls[i].id.len == 9);
        CHECK(memcmp(calls[i].id.ptr, calls[(i + 1) % 3].id.ptr, 9) != 0);
    }
    vllm_decoder_free(decoder);
}

int main(void) {
    test_text();
    test_halves();
    test_calls();
    test_ends();
    test_choices();
    test_errors();
    test_strays();
    test_bodies();
    test_whole_after_deltas();
    test_limits();
    test_chunks_on_request();
    test_parts_of_a_whole();
    test_steady_state();
    test_made_ids();
    return check_report("decoder");
}
