/* The driving side: the caller's orders come in; libcurl's work, readiness and ends of transfers come out.
 *
 * A round of work serves what is readable first, then resumes and starts requests. So the connection of a response that
 * just ended is free for the next request. libcurl's callbacks only write C memory and never call libcurl back. Bounds:
 * one round starts at most `max_starts` requests and serves at most VLLM_EVENT_BATCH events; DRAIN_* limit what a
 * closed request may still receive.
 *
 * Sources: libcurl's documentation of curl_multi_remove_handle, curl_multi_info_read, curl_easy_pause. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <string.h>

#define MAX_POOLED_CONNECTIONS 32L
#define DRAIN_NS               ((int64_t)1000000000)
#define DRAIN_BYTES            ((size_t)64 * 1024)

/* Ends of transfers ------------------------------------------------------------------------------------------------ */

/* Did it fail because this process may open no more descriptors? A lookup needs several at once, the files of TLS one
 * at a time. libcurl's code does not say. */
static bool lacked_descriptors(const struct vllm_request *request, CURLcode result) {
    switch (result) {
    case CURLE_COULDNT_CONNECT: return request->lacked_descriptor;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_FAILED_INIT: return !vllm_descriptors_left(VLLM_MAX_PROBED);
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM: return !vllm_descriptors_left(1);
    default: return false;
    }
}

static void publish_end(struct vllm_request *request, CURLcode result) {
    struct vllm_engine *engine = request->engine;
    struct vllm_request_info info;
    if (result != CURLE_OK) {
        (void)curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &request->os_errno);
        (void)curl_easy_getinfo(request->easy, CURLINFO_SSL_VERIFYRESULT, &request->verify_result);
        if (lacked_descriptors(request, result)) request->os_errno = EMFILE;
    }
    if (engine->threaded) vllm_transfer_measure(request, &info);
    request->result = result;
    vllm_engine_lock(engine);
    if (engine->threaded) request->info = info;
    request->done = true;
    vllm_transfer_mark_ready(request);
    vllm_engine_unlock(engine);
}

/* Takes a waiting or running request out of the multi. One that drained is freed. */
static void stop(struct vllm_request *request, CURLcode result) {
    if (request->phase == VLLM_PHASE_RUNNING) {
        (void)curl_multi_remove_handle(request->engine->multi, request->easy);
    }
    vllm_link_remove(&request->work);
    vllm_link_remove(&request->resume);
    request->phase = VLLM_PHASE_DONE;
    if (request->draining) {
        request->engine->drains--;
        vllm_transfer_discard(request);
    } else {
        publish_end(request, result);
    }
}

/* If the multi stops working, its requests fail. Otherwise they would hang. */
static void fail_running(struct vllm_engine *engine, CURLMcode code) {
    engine->multi_failed = true;
    while (!vllm_link_is_alone(&engine->running)) {
        struct vllm_request *request = VLLM_REQUEST_OF(engine->running.next, work);
        const char *sentence = curl_multi_strerror(code);
        size_t len = strlen(sentence);
        if (len >= sizeof request->error_text) len = sizeof request->error_text - 1;
        memcpy(request->error_text, sentence, len);
        request->error_text[len] = '\0';
        stop(request, code == CURLM_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_FAILED_INIT);
    }
}

static void check(struct vllm_engine *engine, CURLMcode code) {
    if (code != CURLM_OK && code != CURLM_BAD_SOCKET) fail_running(engine, code);
}

static void end_late_drains(struct vllm_engine *engine, int64_t now) {
    struct vllm_link *next;
    if (engine->drains == 0) return;
    for (struct vllm_link *at = engine->running.next; at != &engine->running; at = next) {
        struct vllm_request *request = VLLM_REQUEST_OF(at, work);
        next = at->next;
        if (request->draining && request->drain_until_ns <= now) stop(request, CURLE_ABORTED_BY_CALLBACK);
    }
}

static void collect_ends(struct vllm_engine *engine) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(engine->multi, &left)) != NULL) {
        char *request = NULL;
        CURLcode result = message->data.result;
        if (message->msg == CURLMSG_DONE &&
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request) == CURLE_OK && request) {
            stop((struct vllm_request *)(void *)request, result);
        }
    }
}

/* Orders ----------------------------------------------------------------------------------------------------------- */

static void drain(struct vllm_request *request) {
    struct vllm_engine *engine = request->engine;
    request->draining = true;
    request->drain_left = DRAIN_BYTES;
    request->drain_until_ns = vllm_now_ns() + DRAIN_NS;
    engine->drains++;
    if (request->paused) vllm_link_append(&engine->resumes, &request->resume);
}

void vllm_driver_obey(struct vllm_request *request, unsigned orders) {
    struct vllm_engine *engine = request->engine;
    if ((orders & VLLM_ORDER_DRAIN) != 0 && request->phase == VLLM_PHASE_RUNNING && request->head_done) {
        drain(request);
    } else if ((orders & VLLM_ORDER_CLOSE) != 0) {
        if (request->phase == VLLM_PHASE_WAITING || request->phase == VLLM_PHASE_RUNNING)
            stop(request, CURLE_ABORTED_BY_CALLBACK);
        vllm_transfer_discard(request);
    } else if ((orders & VLLM_ORDER_START) != 0) {
        request->phase = VLLM_PHASE_WAITING;
        vllm_link_append(&engine->starts, &request->work);
    } else if (request->phase == VLLM_PHASE_RUNNING) {
        vllm_link_append(&engine->resumes, &request->resume);
    }
}

/* Carries out each order without the lock, because libcurl may take a while. */
bool vllm_driver_take_orders(struct vllm_engine *engine) {
    vllm_engine_lock(engine);
    engine->wake_asked = false;
    while (!vllm_link_is_alone(&engine->orders)) {
        struct vllm_request *request = VLLM_REQUEST_OF(engine->orders.next, order);
        unsigned orders = request->orders;
        request->orders = 0;
        vllm_link_remove(&request->order);
        vllm_engine_unlock(engine);
        vllm_driver_obey(request, orders);
        vllm_engine_lock(engine);
    }
    bool stopping = engine->stopping;
    vllm_engine_unlock(engine);
    return !stopping;
}

static bool unpause(struct vllm_request *request) {
    vllm_engine_lock(request->engine);
    bool paused = request->paused;
    request->paused = false;
    vllm_engine_unlock(request->engine);
    return paused;
}

static bool resume_paused(struct vllm_engine *engine) {
    bool any = false;
    while (!vllm_link_is_alone(&engine->resumes)) {
        struct vllm_request *request = VLLM_REQUEST_OF(engine->resumes.next, resume);
        vllm_link_remove(&request->resume);
        if (!unpause(request)) continue;
        any = true;
        /* This call delivers the bytes that libcurl kept; the callback may pause again. */
        CURLcode code = curl_easy_pause(request->easy, CURLPAUSE_CONT);
        if (code != CURLE_OK) stop(request, code);
    }
    return any;
}

static CURLM *new_multi(struct vllm_engine *engine) {
    CURLM *multi = curl_multi_init();
    if (multi && vllm_watch_attach(engine, multi) &&
        curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) == CURLM_OK &&
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, MAX_POOLED_CONNECTIONS) == CURLM_OK)
        return multi;
    if (multi) (void)curl_multi_cleanup(multi);
    return NULL;
}

/* After running out of memory, libcurl 7.88 may keep an entry for a socket, and end the process when the socket's
 * number is used again. So a multi that failed is replaced; it has no requests left. The lock: the caller may be waking
 * it. */
static bool replace_failed_multi(struct vllm_engine *engine) {
    CURLM *failed = engine->multi, *multi = engine->multi_failed ? new_multi(engine) : NULL;
    if (!multi) return !engine->multi_failed;
    vllm_engine_lock(engine);
    engine->multi = multi;
    vllm_engine_unlock(engine);
    engine->multi_failed = false;
    (void)curl_multi_cleanup(failed);
    return true;
}

static void start_waiting(struct vllm_engine *engine) {
    for (size_t left = engine->max_starts; left > 0 && !vllm_link_is_alone(&engine->starts); left--) {
        struct vllm_request *request = VLLM_REQUEST_OF(engine->starts.next, work);
        vllm_link_append(&engine->running, &request->work);
        CURLMcode code =
            replace_failed_multi(engine) ? curl_multi_add_handle(engine->multi, request->easy) : CURLM_OUT_OF_MEMORY;
        if (code == CURLM_OK) {
            request->phase = VLLM_PHASE_RUNNING;
        } else {
            stop(request, code == CURLM_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_FAILED_INIT);
        }
    }
}

/* A round ---------------------------------------------------------------------------------------------------------- */

void vllm_driver_work(struct vllm_engine *engine) {
    check(engine, vllm_watch_serve(engine));
    collect_ends(engine); /* frees connections for the requests that start now */
    bool resumed = resume_paused(engine);
    start_waiting(engine);
    check(engine, vllm_watch_kick(engine, resumed));
    end_late_drains(engine, vllm_now_ns());
    collect_ends(engine);
}

int64_t vllm_driver_due(const struct vllm_engine *engine) {
    if (!vllm_link_is_alone(&engine->starts) || !vllm_link_is_alone(&engine->resumes)) return 0;
    int64_t due = vllm_watch_due(engine);
    if (engine->drains > 0) {
        for (const struct vllm_link *at = engine->running.next; at != &engine->running; at = at->next) {
            const struct vllm_request *request = VLLM_REQUEST_OF(at, work);
            if (request->draining && request->drain_until_ns < due) due = request->drain_until_ns;
        }
    }
    return due;
}

/* Birth and end ---------------------------------------------------------------------------------------------------- */

bool vllm_driver_open(struct vllm_engine *engine) {
    if (!vllm_watch_open(engine)) return false;
    engine->multi = new_multi(engine);
    return engine->multi != NULL;
}

void vllm_driver_close(struct vllm_engine *engine) {
    struct vllm_link *rings[] = {&engine->starts, &engine->running};
    for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
        while (!vllm_link_is_alone(rings[i])) {
            stop(VLLM_REQUEST_OF(rings[i]->next, work), CURLE_ABORTED_BY_CALLBACK);
        }
    }
    while (!vllm_link_is_alone(&engine->pool)) {
        struct vllm_request *request = VLLM_REQUEST_OF(engine->pool.next, order);
        vllm_link_remove(&request->order);
        vllm_transfer_free(request);
    }
    engine->pool_len = 0;
    if (engine->multi) curl_multi_cleanup(engine->multi);
    engine->multi = NULL;
}
