/* Requests in; libcurl's work, readiness and ends out. The multi, the clock and the rings of requests; the contract is
 * engine.h.
 *
 * All of libcurl's work happens in vllm_engine_step, but for taking a request out (close, release). A step first serves
 * what is readable, then resumes and starts requests: so a connection whose answer just ended is free for the request
 * that follows. libcurl's callbacks write C memory only and never come back into libcurl. Bounds: `max_starts` requests
 * enter the multi in one step, EVENT_BATCH events are served in one, DRAIN_* limit what a closed request may still
 * receive.
 *
 * A forked child shares the parent's connections: libcurl would say goodbye on them (TLS close_notify) and wait for
 * resolver threads that a fork does not copy. So the child never calls libcurl with this engine again: it closes its
 * copies of the descriptors, frees what is ours, and leaves libcurl's memory alone, on purpose.
 *
 * curl_global_init is counted inside libcurl, thread-safe since 7.84, and never undone: other users of libcurl in the
 * host are not ours. Sources: libcurl's documentation of curl_multi_socket_action, CURLMOPT_TIMERFUNCTION,
 * curl_multi_remove_handle. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "signals.h"

#define EVENT_BATCH 64
#define MAX_STARTS_DEFAULT 16
#define MAX_POOLED_CONNECTIONS 32L
#define NS_PER_MS 1000000
#define DRAIN_NS ((int64_t)1000 * NS_PER_MS)
#define DRAIN_BYTES ((size_t)64 * 1024)

#define REQUEST_OF(link, member) ((struct vllm_request *)(void *)((char *)(link)-offsetof(struct vllm_request, member)))

/* Rings ------------------------------------------------------------------------------------------------------------ */

void vllm_link_init(struct vllm_link *link) {
    link->prev = link->next = link;
}

static bool ring_is_empty(const struct vllm_link *ring) {
    return ring->next == ring;
}

void vllm_link_remove(struct vllm_link *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    vllm_link_init(link);
}

void vllm_link_append(struct vllm_link *ring, struct vllm_link *link) {
    vllm_link_remove(link);
    link->prev = ring->prev;
    link->next = ring;
    ring->prev->next = link;
    ring->prev = link;
}

bool vllm_engine_forked(const struct vllm_engine *engine) {
    return engine->pid != getpid();
}

void vllm_engine_mark_ready(struct vllm_request *request) {
    if (!request->draining && request->ready.next == &request->ready) {
        vllm_link_append(&request->engine->ready, &request->ready);
    }
}

/* What libcurl asks for -------------------------------------------------------------------------------------------- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ud, void *socket_ud) {
    struct vllm_engine *engine = ud;
    (void)easy;
    (void)socket_ud;
    if (what == CURL_POLL_REMOVE || what == CURL_POLL_NONE) {
        vllm_poller_forget(&engine->poller, fd);
        return 0;
    }
    bool readable = what == CURL_POLL_IN || what == CURL_POLL_INOUT;
    bool writable = what == CURL_POLL_OUT || what == CURL_POLL_INOUT;
    return vllm_poller_watch(&engine->poller, fd, readable, writable) ? 0 : -1;
}

static int on_timer(CURLM *multi, long timeout_ms, void *ud) {
    struct vllm_engine *engine = ud;
    (void)multi;
    engine->curl_due_ns = timeout_ms < 0 ? VLLM_POLLER_NEVER : vllm_poller_now_ns() + (int64_t)timeout_ms * NS_PER_MS;
    return 0;
}

/* The descriptor must become readable when a step is due: for libcurl's clock, for work that waits for the next step,
 * for a drain's end, for the caller's alarm. */
void vllm_engine_arm(struct vllm_engine *engine) {
    int64_t due = engine->alarm_ns < engine->curl_due_ns ? engine->alarm_ns : engine->curl_due_ns;
    if (!ring_is_empty(&engine->starts) || !ring_is_empty(&engine->resumes)) {
        due = 0;
    } else if (engine->drains > 0) {
        for (struct vllm_link *at = engine->running.next; at != &engine->running; at = at->next) {
            const struct vllm_request *request = REQUEST_OF(at, work);
            if (request->draining && request->drain_until_ns < due)
                due = request->drain_until_ns;
        }
    }
    vllm_poller_set_timer(&engine->poller, due);
}

/* Birth and end ---------------------------------------------------------------------------------------------------- */

static bool set_up_multi(struct vllm_engine *engine) {
    engine->multi = curl_multi_init();
    return engine->multi && curl_multi_setopt(engine->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
           curl_multi_setopt(engine->multi, CURLMOPT_SOCKETDATA, engine) == CURLM_OK &&
           curl_multi_setopt(engine->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
           curl_multi_setopt(engine->multi, CURLMOPT_TIMERDATA, engine) == CURLM_OK &&
           curl_multi_setopt(engine->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) == CURLM_OK &&
           curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, MAX_POOLED_CONNECTIONS) == CURLM_OK;
}

struct vllm_engine *vllm_engine_new(const struct vllm_engine_options *options) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return NULL;
    struct vllm_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return NULL;
    if (!vllm_poller_open(&engine->poller)) {
        free(engine);
        return NULL;
    }
    engine->pid = getpid();
    engine->holds = 1;
    engine->max_idle_age_s = options->max_idle_age_s;
    engine->max_starts = options->max_starts ? options->max_starts : MAX_STARTS_DEFAULT;
    engine->curl_due_ns = VLLM_POLLER_NEVER;
    engine->alarm_ns = VLLM_ENGINE_NO_ALARM;
    vllm_link_init(&engine->starts);
    vllm_link_init(&engine->running);
    vllm_link_init(&engine->resumes);
    vllm_link_init(&engine->ready);
    vllm_link_init(&engine->pool);
    if (set_up_multi(engine))
        return engine;
    vllm_engine_release(engine);
    errno = ENOMEM;
    return NULL;
}

static void engine_free(struct vllm_engine *engine) {
    bool forked = vllm_engine_forked(engine);
    struct vllm_link *rings[] = {&engine->starts, &engine->running, &engine->pool}; /* only drains can still run */
    struct vllm_sigpipe guard;
    vllm_sigpipe_hold(&guard);
    for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
        while (!ring_is_empty(rings[i])) {
            vllm_request_free(REQUEST_OF(rings[i]->next, work));
        }
    }
    if (forked) {
        vllm_sockets_abandon(engine);
    } else {
        curl_multi_cleanup(engine->multi);
    }
    vllm_sigpipe_restore(&guard);
    vllm_poller_close(&engine->poller);
    free(engine->sockets);
    free(engine);
}

void vllm_engine_drop_hold(struct vllm_engine *engine) {
    if (--engine->holds == 0)
        engine_free(engine);
}

void vllm_engine_release(struct vllm_engine *engine) {
    if (engine)
        vllm_engine_drop_hold(engine);
}

int vllm_engine_fd(const struct vllm_engine *engine) {
    return vllm_engine_forked(engine) ? -1 : engine->poller.epoll_fd;
}

/* Requests --------------------------------------------------------------------------------------------------------- */

enum vllm_net_status vllm_engine_add(struct vllm_engine *engine, const struct vllm_request_options *options,
                                     struct vllm_request **out, const char **why) {
    *out = NULL;
    *why = NULL;
    if (vllm_engine_forked(engine))
        return VLLM_NET_FORKED;
    struct vllm_request *request = vllm_request_obtain(engine);
    if (!request)
        return VLLM_NET_NOMEM;
    enum vllm_net_status status = vllm_options_apply(request, options, why);
    if (status != VLLM_NET_OK) {
        vllm_request_discard(request);
        return status;
    }
    request->phase = VLLM_PHASE_WAITING;
    vllm_link_append(&engine->starts, &request->work);
    engine->holds++;
    vllm_engine_arm(engine);
    *out = request;
    return VLLM_NET_OK;
}

void vllm_engine_stop(struct vllm_request *request, CURLcode result) {
    struct vllm_engine *engine = request->engine;
    if (request->phase == VLLM_PHASE_RUNNING) {
        (void)curl_multi_remove_handle(engine->multi, request->easy);
    }
    vllm_link_remove(&request->work);
    vllm_link_remove(&request->resume);
    request->phase = VLLM_PHASE_DONE;
    request->result = result;
    if (request->draining) {
        engine->drains--;
        vllm_request_discard(request);
    } else {
        vllm_engine_mark_ready(request);
    }
}

void vllm_request_close(struct vllm_request *request, bool drain) {
    struct vllm_engine *engine = request->engine;
    vllm_link_remove(&request->ready);
    if (vllm_engine_forked(engine)) {
        vllm_request_free(request);
    } else if (drain && request->phase == VLLM_PHASE_RUNNING && request->head_done) {
        request->draining = true;
        request->drain_left = DRAIN_BYTES;
        request->drain_until_ns = vllm_poller_now_ns() + DRAIN_NS;
        engine->drains++;
        if (request->paused)
            vllm_link_append(&engine->resumes, &request->resume);
        vllm_engine_arm(engine);
    } else {
        struct vllm_sigpipe guard;
        vllm_sigpipe_hold(&guard);
        if (request->phase != VLLM_PHASE_DONE)
            vllm_engine_stop(request, CURLE_ABORTED_BY_CALLBACK);
        vllm_link_remove(&request->ready);
        vllm_sigpipe_restore(&guard);
        vllm_request_discard(request);
        vllm_engine_arm(engine);
    }
    vllm_engine_drop_hold(engine);
}

struct vllm_request *vllm_engine_ready(struct vllm_engine *engine) {
    if (ring_is_empty(&engine->ready))
        return NULL;
    struct vllm_link *first = engine->ready.next;
    vllm_link_remove(first);
    return REQUEST_OF(first, ready);
}

void vllm_engine_alarm(struct vllm_engine *engine, int64_t at_ns) {
    if (vllm_engine_forked(engine))
        return; /* the timer is the parent's, too */
    engine->alarm_ns = at_ns;
    vllm_engine_arm(engine);
}

size_t vllm_engine_live(const struct vllm_engine *engine) {
    return vllm_engine_forked(engine) ? 0 : engine->holds - 1 + engine->drains;
}

/* A step ----------------------------------------------------------------------------------------------------------- */

/* A multi that refuses to work would leave its requests hanging: they fail instead. */
static void fail_running(struct vllm_engine *engine, CURLMcode code) {
    while (!ring_is_empty(&engine->running)) {
        struct vllm_request *request = REQUEST_OF(engine->running.next, work);
        const char *sentence = curl_multi_strerror(code);
        size_t len = strlen(sentence);
        if (len >= sizeof request->error_text)
            len = sizeof request->error_text - 1;
        memcpy(request->error_text, sentence, len);
        request->error_text[len] = '\0';
        vllm_engine_stop(request, code == CURLM_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_FAILED_INIT);
    }
}

static void act(struct vllm_engine *engine, curl_socket_t fd, int what) {
    int still_running;
    CURLMcode code = curl_multi_socket_action(engine->multi, fd, what, &still_running);
    if (code != CURLM_OK && code != CURLM_BAD_SOCKET)
        fail_running(engine, code);
}

static bool resume_paused(struct vllm_engine *engine) {
    bool any = !ring_is_empty(&engine->resumes);
    while (!ring_is_empty(&engine->resumes)) {
        struct vllm_request *request = REQUEST_OF(engine->resumes.next, resume);
        vllm_link_remove(&request->resume);
        request->paused = false;
        /* libcurl hands over the bytes that it kept, within this call; the callback may pause again. */
        CURLcode code = curl_easy_pause(request->easy, CURLPAUSE_CONT);
        if (code != CURLE_OK)
            vllm_engine_stop(request, code);
    }
    return any;
}

static void start_waiting(struct vllm_engine *engine) {
    for (size_t left = engine->max_starts; left > 0 && !ring_is_empty(&engine->starts); left--) {
        struct vllm_request *request = REQUEST_OF(engine->starts.next, work);
        vllm_link_append(&engine->running, &request->work);
        CURLMcode code = curl_multi_add_handle(engine->multi, request->easy);
        if (code == CURLM_OK) {
            request->phase = VLLM_PHASE_RUNNING;
        } else {
            vllm_engine_stop(request, code == CURLM_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_FAILED_INIT);
        }
    }
}

static void end_late_drains(struct vllm_engine *engine, int64_t now) {
    struct vllm_link *next;
    if (engine->drains == 0)
        return;
    for (struct vllm_link *at = engine->running.next; at != &engine->running; at = next) {
        struct vllm_request *request = REQUEST_OF(at, work);
        next = at->next;
        if (request->draining && request->drain_until_ns <= now)
            vllm_engine_stop(request, CURLE_ABORTED_BY_CALLBACK);
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
            vllm_engine_stop((struct vllm_request *)(void *)request, result);
        }
    }
}

static void serve(struct vllm_engine *engine, const struct vllm_poller_event *events, int count) {
    for (int i = 0; i < count; i++) {
        if (events[i].fd < 0)
            continue;
        act(engine, events[i].fd,
            (events[i].readable ? CURL_CSELECT_IN : 0) | (events[i].writable ? CURL_CSELECT_OUT : 0));
    }
    collect_ends(engine); /* frees connections for what starts now */
    bool resumed = resume_paused(engine);
    start_waiting(engine);
    int64_t now = vllm_poller_now_ns();
    if (resumed || engine->curl_due_ns <= now) { /* versions differ in whether a resumed transfer sets the timer */
        engine->curl_due_ns = VLLM_POLLER_NEVER;
        act(engine, CURL_SOCKET_TIMEOUT, 0);
    }
    end_late_drains(engine, now);
    collect_ends(engine);
    if (engine->alarm_ns <= now)
        engine->alarm_ns = VLLM_ENGINE_NO_ALARM;
}

enum vllm_net_status vllm_engine_step(struct vllm_engine *engine, int timeout_ms) {
    struct vllm_poller_event events[EVENT_BATCH];
    struct vllm_sigpipe guard;
    if (vllm_engine_forked(engine))
        return VLLM_NET_FORKED;
    if (timeout_ms != 0 && vllm_sigint_pending())
        return VLLM_NET_INTERRUPTED; /* it came before the wait began */
    /* Whatever is due already has armed the timer, which ends the wait at once. */
    int count = vllm_poller_wait(&engine->poller, events, EVENT_BATCH, timeout_ms);
    if (count < 0 && errno == EINTR)
        return VLLM_NET_INTERRUPTED;
    vllm_sigpipe_hold(&guard);
    serve(engine, events, count);
    vllm_sigpipe_restore(&guard);
    vllm_engine_arm(engine);
    return VLLM_NET_OK;
}
