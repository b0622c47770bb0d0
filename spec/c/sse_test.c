/* Server-sent events: every case whole, byte by byte, and cut in two at every place, must give the same events. */
#include "../../src/core/sse.h"

#include "check.h"

#define MAX_EVENT 64

struct trace {
    char text[4096];
    size_t len;
};

static void note(struct trace *trace, const char *bytes, size_t len) {
    for (size_t i = 0; i < len && trace->len + 5 < sizeof trace->text; i++) {
        trace->text[trace->len++] = bytes[i] == '\0' ? '0' : bytes[i] == '\n' ? '~' : bytes[i];
    }
    trace->text[trace->len] = '\0';
}

/* [type|data|id] for each event, then = end, ! limit, or . more. */
static enum vllm_status drain(struct vllm_sse *sse, struct trace *trace) {
    struct vllm_sse_event event;
    enum vllm_status status;
    while ((status = vllm_sse_next(sse, &event)) == VLLM_OK) {
        note(trace, "[", 1);
        note(trace, event.type.ptr, event.type.len);
        note(trace, "|", 1);
        note(trace, event.data.ptr, event.data.len);
        note(trace, "|", 1);
        note(trace, event.id.ptr, event.id.len);
        note(trace, event.cut ? "]cut" : "]", event.cut ? 4 : 1);
    }
    return status;
}

/* Feeds in pieces that end at `cuts`, or everywhere when step is 1. */
static void run(const char *bytes, size_t len, size_t cut, size_t step, bool lenient, struct trace *trace) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_sse *sse = vllm_sse_new(&alloc, MAX_EVENT, lenient);
    enum vllm_status status = VLLM_MORE;
    trace->len = 0;
    trace->text[0] = '\0';
    for (size_t at = 0; at < len && status == VLLM_MORE;) {
        size_t piece = step ? step : at < cut ? cut : len - at;
        piece = piece > len - at ? len - at : piece;
        CHECK(vllm_sse_feed(sse, bytes + at, piece) == VLLM_OK);
        at += piece;
        status = drain(sse, trace);
    }
    if (status == VLLM_MORE) {
        CHECK(vllm_sse_finish(sse) == VLLM_OK);
        status = drain(sse, trace);
        CHECK(status == VLLM_END || status == VLLM_ELIMIT);
        CHECK(vllm_sse_next(sse, &(struct vllm_sse_event){{NULL, 0}, {NULL, 0}, {NULL, 0}, false}) == status);
    }
    note(trace, status == VLLM_END ? "=" : "!", 1);
    vllm_sse_free(sse);
    CHECK(memory.live == 0);
}

static void check_case(const char *bytes, size_t len, bool lenient, const char *expected, int line) {
    struct trace trace;
    run(bytes, len, len, 0, lenient, &trace);
    if (strcmp(trace.text, expected) != 0) {
        printf("line %d: got %s, expected %s\n", line, trace.text, expected);
    }
    CHECK(strcmp(trace.text, expected) == 0);
    run(bytes, len, 0, 1, lenient, &trace);
    CHECK(strcmp(trace.text, expected) == 0);
    for (size_t cut = 1; cut < len; cut++) {
        run(bytes, len, cut, 0, lenient, &trace);
        if (strcmp(trace.text, expected) != 0) {
            printf("line %d, cut at %lu: got %s\n", line, (unsigned long)cut, trace.text);
        }
        CHECK(strcmp(trace.text, expected) == 0);
    }
}

#define STRICT(bytes, expected)  check_case(bytes, sizeof(bytes) - 1, false, expected, __LINE__)
#define LENIENT(bytes, expected) check_case(bytes, sizeof(bytes) - 1, true, expected, __LINE__)

static void test_lines(void) {
    STRICT("", "=");
    STRICT("data: a\n\n", "[|a|]=");
    STRICT("data: a\r\n\r\n", "[|a|]=");
    STRICT("data: a\r\r", "[|a|]=");
    STRICT("data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\n\r\ndata: e\r\n\n", "[|a|][|b|][|c|][|d|][|e|]=");
    STRICT("data: a\r\n\ndata: b\n\n", "[|a|][|b|]=");
    STRICT("\n\n\r\r\ndata: a\n\n\n\n", "[|a|]=");
    STRICT("data: a\xE2\x80\xA8" "b\xC2\x85" "c\x0B" "d\n\n", "[|a\xE2\x80\xA8" "b\xC2\x85" "c\x0B" "d|]=");
    STRICT("data: \xFF\xC3\n\n", "[|\xFF\xC3|]=");
    STRICT("data: a\0b\n\n", "[|a0b|]=");
}

static void test_mark(void) {
    STRICT("\xEF\xBB\xBF" "data: a\n\n", "[|a|]=");
    STRICT("\xEF\xBB\xBF\n\xEF\xBB\xBF" "data: a\n\n", "=");
    STRICT("\xEF\xBB\xBF\xEF\xBB\xBF" "data: a\n\ndata: b\n\n", "[|b|]=");
    STRICT("\xEF\xBB" "data: a\n\ndata: b\n\n", "[|b|]=");
    STRICT("\xEF\xBB", "=");
    STRICT("\xEF", "=");
}

static void test_fields(void) {
    STRICT("data:a\n\n", "[|a|]=");
    STRICT("data:  a \n\n", "[| a |]=");
    STRICT("data\n\n", "[||]=");
    STRICT("data:\n\n", "[||]=");
    STRICT("data: \ndata\ndata:\n\n", "[|~~|]=");
    STRICT("data: a\ndata: b\ndata:c\n\n", "[|a~b~c|]=");
    STRICT("data: a\n: comment\ndata: b\n\n", "[|a~b|]=");
    STRICT(": keep-alive\n\n: keep-alive\n\ndata: a\n\n", "[|a|]=");
    STRICT("Data: a\ndatas: b\n data: c\ndat: d\ndata : e\n\n", "=");
    STRICT("event: ping\n\ndata: a\n\n", "[|a|]=");
    STRICT("event: x\nevent: y\ndata: a\n\ndata: b\n\n", "[y|a|][|b|]=");
    STRICT("event: x\nevent:\ndata: a\n\n", "[|a|]=");
    STRICT("id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", "[|a|7][|b|7][|c|]=");
    STRICT("id: 7\n\ndata: b\n\n", "[|b|7]=");
    STRICT("id: 7\nid: 8\0\ndata: b\n\n", "[|b|7]=");
    STRICT("data: a:b: c\n\n", "[|a:b: c|]=");
}

static void test_end(void) {
    STRICT("data: a\n\ndata: b\n", "[|a|]=");
    STRICT("data: a\n\ndata: b", "[|a|]=");
    LENIENT("data: a\n\ndata: b\n", "[|a|][|b|]cut=");
    LENIENT("data: a\n\ndata: b", "[|a|][|b|]cut=");
    LENIENT("data: a\r\n\r\ndata: [DONE]\r", "[|a|][|[DONE]|]cut=");
    LENIENT("event: x\n\nid: 1", "=");
    LENIENT("data: a\ndata: b", "[|a~b|]cut=");
    LENIENT("event: x\ndata: a\nid: 3", "[x|a|3]cut=");
}

#define TEN "0123456789"

static void test_limits(void) {
    STRICT("data: " TEN TEN TEN TEN TEN TEN "0123\n\n", "[|" TEN TEN TEN TEN TEN TEN "0123|]=");
    STRICT("data: a\n\ndata: " TEN TEN TEN TEN TEN TEN "01234\n\ndata: b\n\n", "[|a|]!");
    STRICT("data:" TEN TEN TEN TEN TEN TEN "01234\n\n", "!");
    STRICT("data: " TEN TEN TEN "\ndata: " TEN TEN TEN "012\n\n", "[|" TEN TEN TEN "~" TEN TEN TEN "012|]=");
    STRICT("data: " TEN TEN TEN "\ndata: " TEN TEN TEN "0123\n\n", "!");
    STRICT(":" TEN TEN TEN TEN TEN TEN TEN "\ndata: a\n\n", "!");
    LENIENT("data: a\n\n" TEN TEN TEN TEN TEN TEN TEN, "[|a|]=");
    LENIENT("data: a\n\n" TEN TEN TEN TEN TEN TEN TEN "0", "[|a|]!");
}

/* A known field, though nothing here reconnects. */
static void test_retry(void) {
    static const char *const cases[] = {"retry: 3000\n\n", "retry:0\n", "retry: 3s\n", "retry\n", "retry: 10\nretry: x\n"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct check_memory memory;
        struct vllm_alloc alloc = check_alloc(&memory);
        struct vllm_sse *sse = vllm_sse_new(&alloc, MAX_EVENT, false);
        struct vllm_sse_event event;
        vllm_sse_keep_strays(sse);
        CHECK(vllm_sse_feed(sse, cases[i], strlen(cases[i])) == VLLM_OK);
        CHECK(vllm_sse_next(sse, &event) == VLLM_MORE);
        CHECK(vllm_sse_strays(sse).len == 0);
        vllm_sse_free(sse);
    }
}

static void test_order_of_calls(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_sse *sse = vllm_sse_new(&alloc, MAX_EVENT, false);
    struct vllm_sse_event event;
    CHECK(vllm_sse_feed(sse, NULL, 0) == VLLM_OK);
    CHECK(vllm_sse_next(sse, &event) == VLLM_MORE);
    CHECK(vllm_sse_finish(sse) == VLLM_OK);
    CHECK(vllm_sse_finish(sse) == VLLM_OK);
    CHECK(vllm_sse_next(sse, &event) == VLLM_END);
    CHECK(vllm_sse_feed(sse, "data", 4) == VLLM_EINVALID);
    vllm_sse_free(sse);
    vllm_sse_free(NULL);
    CHECK(memory.live == 0);
}

/* An event whose bytes come in many reads must not be moved or searched again and again: the allocator sees how much is
 * copied. */
static void test_memory_of_a_large_event(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    size_t size = (size_t)1 << 20, read = 1400;
    struct vllm_sse *sse = vllm_sse_new(&alloc, size, false);
    struct vllm_sse_event event;
    char bytes[1400];
    memset(bytes, 'x', sizeof bytes);
    CHECK(vllm_sse_feed(sse, "data: ", 6) == VLLM_OK);
    for (size_t at = 0; at < size; at += read) {
        CHECK(vllm_sse_feed(sse, bytes, size - at < read ? size - at : read) == VLLM_OK);
        CHECK(vllm_sse_next(sse, &event) == VLLM_MORE);
    }
    CHECK(vllm_sse_feed(sse, "\n", 1) == VLLM_OK);
    CHECK(vllm_sse_next(sse, &event) == VLLM_MORE);
    CHECK(vllm_sse_feed(sse, "\n", 1) == VLLM_OK);
    CHECK(vllm_sse_next(sse, &event) == VLLM_OK);
    CHECK(event.data.len == size);
    CHECK(memory.peak < 2 * size + 4096); /* one buffer, doubled: the blank line moves nothing either */
    vllm_sse_free(sse);
    CHECK(memory.live == 0);
}

static void test_failing_memory(void) {
    static const char bytes[] = "id: 4\nevent: x\ndata: a\ndata: b\n\ndata: c";
    for (long left = 0;; left++) {
        struct check_memory memory;
        struct vllm_alloc alloc = check_alloc(&memory);
        struct trace trace = {"", 0};
        memory.left = left;
        struct vllm_sse *sse = vllm_sse_new(&alloc, MAX_EVENT, true);
        enum vllm_status status = sse ? vllm_sse_feed(sse, bytes, sizeof bytes - 1) : VLLM_ENOMEM;
        if (status == VLLM_OK) {
            status = drain(sse, &trace);
        }
        if (status == VLLM_MORE) {
            CHECK(vllm_sse_finish(sse) == VLLM_OK);
            status = drain(sse, &trace);
        }
        CHECK(status == VLLM_END || status == VLLM_ENOMEM);
        vllm_sse_free(sse);
        CHECK(memory.live == 0);
        if (status == VLLM_END) {
            CHECK(strcmp(trace.text, "[x|a~b|4][|c|4]cut") == 0);
            return;
        }
    }
}

/* Whoever feeds before all events were taken must not lose the one in hand. */
static void test_feeding_while_an_event_is_in_hand(void) {
    static const char first[] = "id: 1\nevent: a\ndata: in place\n\ndata: two\ndata: lines\n\ndata: c";
    static const char more[] = "ut\n\n: and a comment that is longer than what was there at first, so that memory moves\n";
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_sse *sse = vllm_sse_new(&alloc, 100, false);
    struct vllm_sse_event event;
    struct trace trace = {"", 0};
    CHECK_STATUS(vllm_sse_feed(sse, first, sizeof first - 1), VLLM_OK);
    CHECK_STATUS(vllm_sse_next(sse, &event), VLLM_OK);
    CHECK_STATUS(vllm_sse_feed(sse, more, sizeof more - 1), VLLM_OK);
    CHECK_STATUS(vllm_sse_feed(sse, "data: last\n\n", 12), VLLM_OK);
    CHECK_BYTES(event.data, "in place");
    CHECK_BYTES(event.type, "a");
    CHECK_BYTES(event.id, "1");
    CHECK_STATUS(vllm_sse_next(sse, &event), VLLM_OK);
    CHECK_STATUS(vllm_sse_feed(sse, more, 0), VLLM_OK);
    CHECK_BYTES(event.data, "two\nlines");
    CHECK_STATUS(drain(sse, &trace), VLLM_MORE);
    CHECK(strcmp(trace.text, "[|cut|1][|last|1]") == 0);
    vllm_sse_free(sse);
    CHECK(memory.live == 0);
}

int main(void) {
    test_lines();
    test_mark();
    test_fields();
    test_end();
    test_limits();
    test_retry();
    test_order_of_calls();
    test_memory_of_a_large_event();
    test_feeding_while_an_event_is_in_hand();
    test_failing_memory();
    return check_report("sse");
}
