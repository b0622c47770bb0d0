/* /load?events=N&interval_ms=M&bytes=B&chunk=C: a stream of N text chunks in vLLM's shape, then finish, usage, [DONE].
 * B bytes of text in each (5), C events in an HTTP chunk (1). With an interval one HTTP chunk is one write, the first
 * at once; without one, as many as fit 64 KiB. The bytes are made once and repeated, so a thousand streams cost little.
 * For a whole completion instead: whole=1, with N × B bytes of content.
 */
#include "server.h"

#include <string.h>

#define FRAME                                                                                                            \
    "\"id\":\"chatcmpl-bfdbf4d61b1a7bf9\",\"object\":\"chat.completion.chunk\",\"created\":1795379231,\"model\":\"test-model\","

enum { WRITE_BYTES = 65536, MAX_TEXT = 1 << 20 };

struct load {
    unsigned long events, interval_ms, bytes, group;
};

/* " word word …", exactly `count` bytes */
static void add_words(struct bytes *out, size_t count) {
    static const char words[] = " word";
    for (; count >= 5; count -= 5) bytes_add(out, words, 5);
    bytes_add(out, words, count);
}

static void add_text_event(struct bytes *out, const struct load *load) {
    bytes_text(out, "data: {" FRAME "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
    add_words(out, load->bytes);
    bytes_text(out, "\"},\"logprobs\":null,\"finish_reason\":null,\"token_ids\":null}]}\n\n");
}

static void send_text_chunk(struct plan *p, const struct load *load, unsigned long events) {
    struct bytes chunk = {0};
    for (unsigned long i = 0; i < events; i++) add_text_event(&chunk, load);
    plan_chunk(p, chunk.data, chunk.length);
    bytes_free(&chunk);
}

/* `chunks` HTTP chunks, with as few steps as can be. */
static void send_chunks(struct plan *p, const struct load *load, unsigned long chunks) {
    size_t at = p->data.length;
    if (chunks == 0) return;
    if (load->interval_ms > 0) {
        send_text_chunk(p, load, load->group);
        plan_wait(p, load->interval_ms);
        if (chunks > 1) plan_step(p, STEP_REPEAT, chunks - 1, 2);
        return;
    }
    send_text_chunk(p, load, load->group);
    size_t size = p->data.length - at, batch = size < WRITE_BYTES ? WRITE_BYTES / size : 1;
    struct bytes one = {0};
    bytes_add(&one, p->data.data + at, size);
    p->data.length = at;
    p->count--;
    if (batch > chunks) batch = chunks;
    for (size_t i = 0; i < batch; i++) bytes_add(&p->data, one.data, size);
    plan_sent_since(p, at);
    if (chunks / batch > 1) plan_step(p, STEP_REPEAT, chunks / batch - 1, 1);
    at = p->data.length;
    for (size_t i = 0; i < chunks % batch; i++) bytes_add(&p->data, one.data, size);
    plan_sent_since(p, at);
    bytes_free(&one);
}

static void send_end(struct plan *p, const struct load *load) {
    struct bytes usage = {0};
    static const char finish[] = "data: {" FRAME "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                                 "\"finish_reason\":\"stop\",\"stop_reason\":null,\"token_ids\":null}]}\n\n";
    size_t at = p->data.length, steps = p->count;
    bytes_format(&usage, "data: {" FRAME "\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"total_tokens\":%lu,"
                         "\"completion_tokens\":%lu}}\n\n", load->events + 8, load->events);
    plan_chunk(p, finish, sizeof finish - 1);
    plan_chunk(p, usage.data, usage.length);
    plan_chunk(p, "data: [DONE]\n\n", 14);
    bytes_text(&p->data, "0\r\n\r\n");
    p->count = steps;
    plan_sent_since(p, at);
    bytes_free(&usage);
}

static void send_whole(struct request *r, struct plan *p, const struct load *load) {
    struct bytes body = {0};
    bytes_text(&body, "{\"id\":\"chatcmpl-load\",\"object\":\"chat.completion\",\"created\":1795379231,\"model\":\"test-model\","
                      "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    for (unsigned long i = 0; i < load->events; i++) add_words(&body, load->bytes);
    bytes_format(&body, "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":8,"
                        "\"total_tokens\":%lu,\"completion_tokens\":%lu}}", load->events + 8, load->events);
    reply(p, r, 200, "application/json", NULL, &body);
    bytes_free(&body);
}

bool load_route(struct request *r, struct plan *p) {
    if (strncmp(r->path, "/load", 5) != 0 || (r->path[5] != '\0' && r->path[5] != '/')) return false;
    struct load load = {request_number(r, "events", 100), request_number(r, "interval_ms", 0),
                        request_number(r, "bytes", 5), request_number(r, "chunk", 1)};
    if (load.group == 0) load.group = 1;
    if (load.bytes > 16 * MAX_TEXT) load.bytes = 16 * MAX_TEXT;
    if (load.group > 1024 || load.group * load.bytes > 16 * MAX_TEXT) load.group = 1;
    if (request_number(r, "whole", 0) == 1) {
        if (load.events > 0 && load.bytes > 256ul * MAX_TEXT / load.events) load.events = 1;
        send_whole(r, p, &load);
        return true;
    }
    reply_stream(p, r);
    send_chunks(p, &load, load.events / load.group);
    if (load.events % load.group > 0) {
        send_text_chunk(p, &load, load.events % load.group);
        plan_wait(p, load.interval_ms);
    }
    send_end(p, &load);
    return true;
}
