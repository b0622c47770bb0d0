/* Ready-made faults, by path. Where a response comes at all it is a stream of the text "Hello there", or an error.
 *
 *   /fault/refuse         RST before any byte          /fault/hangup       FIN before any byte
 *   /fault/silence        no byte ever                 /fault/stall        a head and an event, then nothing
 *   /fault/reset          a head, an event, RST        /fault/early-close  a head, an event, close within a chunk
 *   /fault/slow-headers   the head byte by byte (pace_ms=20), then a whole stream
 *   /fault/endless-head   header lines for ever        /fault/comments     a role chunk, then only comments (pace_ms=20)
 *   /fault/wrong-length   a body shorter than its content-length, close
 *   /fault/bad-chunk      a chunk size that is none    /fault/garbage      bytes that are no HTTP
 *   /fault/informational  103 before the stream        /fault/redirect     307 to /v1/chat/completions
 *   /fault/html           502 with a page              /fault/html-ok      200 with a page
 *   /fault/no-finish      a whole body without finish and [DONE]
 *   /fault/status/CODE?retry_after=TEXT   an error in vLLM's shape
 */
#include "server.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK(delta, finish)                                                                                             \
    "data: {\"id\":\"chatcmpl-fault\",\"object\":\"chat.completion.chunk\",\"created\":1795379231,"                        \
    "\"model\":\"test-model\",\"choices\":[{\"index\":0,\"delta\":" delta ",\"logprobs\":null,\"finish_reason\":" finish   \
    "}]}\n\n"

static const char role_event[] = CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null");
static const char hello_event[] = CHUNK("{\"content\":\"Hello\"}", "null");
static const char there_event[] = CHUNK("{\"content\":\" there\"}", "null");
static const char finish_event[] = CHUNK("{}", "\"stop\"");

static void send_event(struct plan *p, const char *event) { plan_chunk(p, event, strlen(event)); }

static void send_text(struct plan *p, const char *text) { plan_send(p, text, strlen(text)); }

static void begin_stream(struct request *r, struct plan *p) {
    reply_stream(p, r);
    send_event(p, role_event);
    send_event(p, hello_event);
}

static void end_stream(struct plan *p) {
    send_event(p, there_event);
    send_event(p, finish_event);
    send_event(p, "data: [DONE]\n\n");
    send_text(p, "0\r\n\r\n");
}

static void begin_and(struct request *r, struct plan *p, enum step_kind kind) {
    begin_stream(r, p);
    plan_step(p, kind, 0, 0);
}

static void fault_refuse(struct request *r, struct plan *p) { (void)r, plan_step(p, STEP_RESET, 0, 0); }
static void fault_hangup(struct request *r, struct plan *p) { (void)r, plan_step(p, STEP_CLOSE, 0, 0); }
static void fault_silence(struct request *r, struct plan *p) { (void)r, plan_step(p, STEP_STALL, 0, 0); }
static void fault_stall(struct request *r, struct plan *p) { begin_and(r, p, STEP_STALL); }
static void fault_reset(struct request *r, struct plan *p) { begin_and(r, p, STEP_RESET); }
static void fault_early_close(struct request *r, struct plan *p) { begin_and(r, p, STEP_CLOSE); }

static void fault_slow_headers(struct request *r, struct plan *p) {
    struct plan head = {{0}, NULL, 0, 0, false};
    reply_stream(&head, r);
    for (size_t i = 0; i < head.data.length; i++) {
        plan_send(p, head.data.data + i, 1);
        plan_wait(p, request_number(r, "pace_ms", 20));
    }
    plan_free(&head);
    send_event(p, role_event);
    send_event(p, hello_event);
    end_stream(p);
}

static void fault_endless_head(struct request *r, struct plan *p) {
    (void)r;
    send_text(p, "HTTP/1.1 200 OK\r\n");
    send_text(p, "x-more: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n");
    plan_step(p, STEP_REPEAT, 0, 1);
}

static void fault_comments(struct request *r, struct plan *p) {
    reply_stream(p, r);
    send_event(p, role_event);
    plan_wait(p, request_number(r, "pace_ms", 20));
    size_t steps = p->count;
    plan_wait(p, request_number(r, "pace_ms", 20));
    send_event(p, ": keep-alive\n\n");
    plan_step(p, STEP_REPEAT, 0, p->count - steps);
}

static void fault_wrong_length(struct request *r, struct plan *p) {
    (void)r;
    send_text(p, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"id\":");
    plan_step(p, STEP_CLOSE, 0, 0);
}

static void fault_bad_chunk(struct request *r, struct plan *p) {
    begin_stream(r, p);
    send_text(p, "zz\r\nno chunk\r\n");
    plan_step(p, STEP_CLOSE, 0, 0);
}

static void fault_garbage(struct request *r, struct plan *p) {
    static const char bytes[] = "\x16\x03\x01\x00\xff not HTTP at all\r\n\r\n";
    (void)r;
    plan_send(p, bytes, sizeof bytes - 1);
    plan_step(p, STEP_CLOSE, 0, 0);
}

static void fault_informational(struct request *r, struct plan *p) {
    send_text(p, "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
    begin_stream(r, p);
    end_stream(p);
}

static void fault_redirect(struct request *r, struct plan *p) {
    struct bytes empty = {0};
    reply(p, r, 307, NULL, "location: /v1/chat/completions\r\n", &empty);
}

static void fault_html(struct request *r, struct plan *p) {
    reply_text(p, r, 502, "text/html", "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n");
}

static void fault_html_ok(struct request *r, struct plan *p) {
    reply_text(p, r, 200, "text/html; charset=utf-8", "<html><body>Please sign in.</body></html>\n");
}

static void fault_no_finish(struct request *r, struct plan *p) {
    begin_stream(r, p);
    send_event(p, there_event);
    send_text(p, "0\r\n\r\n");
}

static void fault_status(struct request *r, struct plan *p, const char *digits) {
    struct bytes text = {0}, body = {0}, headers = {0};
    int status = (int)(strtoul(digits, NULL, 10) % 1000);
    if (status < 200) status = 500;
    if (request_param(r, "retry_after", &text) && strpbrk(text.data, "\r\n") == NULL)
        bytes_format(&headers, "retry-after: %s\r\n", text.data);
    bytes_format(&body, "{\"error\":{\"message\":\"Test error %d.\",\"type\":\"%s\",\"param\":null,\"code\":%d}}", status,
                 status_phrase(status), status);
    reply(p, r, status, "application/json", headers.data, &body);
    bytes_free(&text);
    bytes_free(&body);
    bytes_free(&headers);
}

bool fault_route(struct request *r, struct plan *p) {
    static const struct {
        const char *name;
        void (*answer)(struct request *, struct plan *);
    } faults[] = {
        {"refuse", fault_refuse}, {"hangup", fault_hangup}, {"silence", fault_silence}, {"stall", fault_stall},
        {"reset", fault_reset}, {"early-close", fault_early_close}, {"slow-headers", fault_slow_headers},
        {"endless-head", fault_endless_head}, {"comments", fault_comments}, {"wrong-length", fault_wrong_length},
        {"bad-chunk", fault_bad_chunk}, {"garbage", fault_garbage}, {"informational", fault_informational},
        {"redirect", fault_redirect}, {"html", fault_html}, {"html-ok", fault_html_ok}, {"no-finish", fault_no_finish},
    };
    const char *name = r->path + 7;
    if (strncmp(r->path, "/fault/", 7) != 0) return false;
    size_t length = strcspn(name, "/");
    if (strncmp(name, "status/", 7) == 0) {
        fault_status(r, p, name + 7);
        return true;
    }
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (strlen(faults[i].name) == length && strncmp(name, faults[i].name, length) == 0) {
            faults[i].answer(r, p);
            return true;
        }
    return false;
}
