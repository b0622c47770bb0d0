/* The caller's side of one request: what transfer.c has received, and the order to close. The contract is engine.h. */
#define _GNU_SOURCE
#include "internal.h"

#include <stdio.h>
#include <string.h>

#include "signals.h"

/* In a forked child, a thread of the parent may hold the lock for ever. */
static bool is_out_of_reach(const struct vllm_request *request) {
    return request->engine->threaded && vllm_is_forked(request->engine);
}

enum vllm_net_status vllm_request_head(struct vllm_request *request, long *status, const char **headers,
                                       size_t *headers_len) {
    *status = 0;
    *headers = "";
    *headers_len = 0;
    if (is_out_of_reach(request)) return VLLM_NET_WAIT;
    vllm_engine_lock(request->engine);
    bool head_done = request->head_done, done = request->done;
    vllm_engine_unlock(request->engine);
    if (!head_done) return done ? VLLM_NET_FAILED : VLLM_NET_WAIT;
    *status = request->status;
    if (request->head.len > 0) *headers = request->head.data;
    *headers_len = request->head.len;
    return VLLM_NET_OK;
}

/* Moves what has come to `lent`. True: the transfer was paused until now. */
static bool swap_buffers(struct vllm_request *request) {
    struct vllm_bytes filled = request->filling;
    if (filled.len == 0) return false;
    request->filling = request->lent;
    request->lent = filled;
    return request->paused && !request->done;
}

enum vllm_net_status vllm_request_read(struct vllm_request *request, const char **bytes, size_t *len) {
    *bytes = "";
    *len = 0;
    request->lent.len = 0;
    if (is_out_of_reach(request)) return VLLM_NET_WAIT;
    vllm_engine_lock(request->engine);
    bool resume = swap_buffers(request), done = request->done, head_done = request->head_done;
    vllm_engine_unlock(request->engine);
    if (resume && !vllm_is_forked(request->engine)) vllm_engine_order(request, VLLM_ORDER_RESUME);
    if (request->lent.len > 0) {
        *bytes = request->lent.data;
        *len = request->lent.len;
        return VLLM_NET_OK;
    }
    if (!done) return VLLM_NET_WAIT;
    return request->result == CURLE_OK && head_done ? VLLM_NET_END : VLLM_NET_FAILED;
}

static CURLcode result_of(const struct vllm_request *request) {
    if (request->broken == VLLM_BROKEN_MEMORY) return CURLE_OUT_OF_MEMORY;
    if (request->broken == VLLM_BROKEN_SWITCH) return CURLE_WEIRD_SERVER_REPLY;
    if (request->broken == VLLM_BROKEN_CODING) return CURLE_BAD_CONTENT_ENCODING;
    if (request->result == CURLE_OK && !request->head_done) return CURLE_GOT_NOTHING;
    return request->result;
}

/* Of a request that is done: only the caller uses it now, so no lock is needed. */
static void describe(const struct vllm_request *request, CURLcode result, struct vllm_request_error *out) {
    bool has_own = request->error_text[0] != '\0' && result == request->result;
    const char *text = has_own ? request->error_text : curl_easy_strerror(result);
    out->curl_code = (int)result;
    out->os_errno = request->os_errno;
    out->verify_result = request->verify_result;
    if (request->broken == VLLM_BROKEN_HEAD) {
        (void)snprintf(out->text, sizeof out->text, "the response headers exceed %lu bytes",
                       (unsigned long)request->max_header_bytes);
        return;
    }
    if (result == CURLE_OUT_OF_MEMORY && request->in_head) {
        text = "a response header line is longer than libcurl accepts, or memory ran out";
    } else if (request->broken == VLLM_BROKEN_CODING) {
        text = "the response uses an unsupported compression";
    } else if (request->broken == VLLM_BROKEN_SWITCH) {
        text = "the server switched to another protocol without being asked";
    } else if (strncmp(text, "Unsupported proxy", 17) == 0) {
        text = "unsupported proxy"; /* libcurl's text quotes the URL, with its password */
    }
    (void)snprintf(out->text, sizeof out->text, "%s", text);
}

void vllm_request_error(const struct vllm_request *request, struct vllm_request_error *out) {
    memset(out, 0, sizeof *out);
    if (is_out_of_reach(request)) return;
    vllm_engine_lock(request->engine);
    bool done = request->done;
    out->body_bytes = request->body_bytes;
    vllm_engine_unlock(request->engine);
    CURLcode result = done ? result_of(request) : CURLE_OK;
    if (result != CURLE_OK) describe(request, result, out);
}

void vllm_request_info(const struct vllm_request *request, struct vllm_request_info *out) {
    memset(out, 0, sizeof *out);
    if (is_out_of_reach(request)) return;
    if (!request->engine->threaded && request->phase >= VLLM_PHASE_RUNNING) vllm_transfer_measure(request, out);
    vllm_engine_lock(request->engine);
    if (request->engine->threaded) *out = request->info;
    out->body_bytes = request->body_bytes;
    vllm_engine_unlock(request->engine);
}

void *vllm_request_tag(const struct vllm_request *request) {
    return request->tag;
}

void vllm_request_set_tag(struct vllm_request *request, void *tag) {
    request->tag = tag;
}

static void order_close(struct vllm_request *request, bool drain) {
    struct vllm_engine *engine = request->engine;
    struct vllm_sigpipe guard;
    vllm_engine_lock(engine);
    request->closed = true;
    vllm_link_remove(&request->ready);
    vllm_engine_unlock(engine);
    if (!engine->threaded) vllm_sigpipe_hold(&guard);
    vllm_engine_order(request, VLLM_ORDER_CLOSE | (drain ? (unsigned)VLLM_ORDER_DRAIN : 0u));
    if (!engine->threaded) vllm_sigpipe_restore(&guard);
}

void vllm_request_close(struct vllm_request *request, bool drain) {
    struct vllm_engine *engine = request->engine;
    if (!vllm_is_forked(engine)) order_close(request, drain);
    vllm_engine_release(engine);
}
