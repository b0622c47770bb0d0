/* How the driver waits on Linux. libcurl says which sockets to watch and when to call it, the poller waits for that,
 * and libcurl is told what happened. A wake costs the same with a thousand streams as with one. Sources: libcurl's
 * documentation of curl_multi_socket_action, CURLMOPT_SOCKETFUNCTION, CURLMOPT_TIMERFUNCTION. */
#define _GNU_SOURCE
#include "internal.h"

#if VLLM_NET_EPOLL

#define NS_PER_MS 1000000

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
    engine->curl_due_ns = timeout_ms < 0 ? VLLM_POLLER_NEVER : vllm_now_ns() + (int64_t)timeout_ms * NS_PER_MS;
    return 0;
}

bool vllm_watch_open(struct vllm_engine *engine) {
    engine->poller.epoll_fd = engine->poller.timer_fd = engine->waker.read_fd = engine->waker.write_fd = -1;
    engine->curl_due_ns = VLLM_POLLER_NEVER;
    return vllm_poller_open(&engine->poller) &&
           (!engine->threaded || (vllm_notifier_open(&engine->waker) &&
                                  vllm_poller_watch(&engine->poller, engine->waker.read_fd, true, false)));
}

bool vllm_watch_attach(struct vllm_engine *engine, CURLM *multi) {
    return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, engine) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERDATA, engine) == CURLM_OK;
}

void vllm_watch_close(struct vllm_engine *engine) {
    vllm_poller_close(&engine->poller);
    vllm_notifier_close(&engine->waker);
}

int64_t vllm_watch_due(const struct vllm_engine *engine) {
    return engine->curl_due_ns;
}

void vllm_watch_set_due(struct vllm_engine *engine, int64_t due_ns) {
    vllm_poller_set_timer(&engine->poller, due_ns);
}

/* Runs before the driver takes orders. So an order that comes meanwhile ends the next wait. */
static void drain_waker(struct vllm_engine *engine) {
    for (int i = 0; i < engine->events_len; i++) {
        if (engine->events[i].fd == engine->waker.read_fd) {
            engine->events[i].fd = -1;
            vllm_notifier_drain(&engine->waker);
        }
    }
}

int vllm_watch_wait(struct vllm_engine *engine, int timeout_ms) {
    int count = vllm_poller_wait(&engine->poller, engine->events, VLLM_EVENT_BATCH, timeout_ms);
    engine->events_len = count < 0 ? 0 : count;
    if (engine->threaded) drain_waker(engine);
    return count;
}

CURLMcode vllm_watch_serve(struct vllm_engine *engine) {
    CURLMcode code = CURLM_OK;
    int still_running;
    for (int i = 0; i < engine->events_len && (code == CURLM_OK || code == CURLM_BAD_SOCKET); i++) {
        const struct vllm_poller_event *event = &engine->events[i];
        int what = (event->readable ? CURL_CSELECT_IN : 0) | (event->writable ? CURL_CSELECT_OUT : 0);
        if (event->fd >= 0) /* else: the timer, or a wake */
            code = curl_multi_socket_action(engine->multi, event->fd, what, &still_running);
    }
    engine->events_len = 0;
    return code;
}

CURLMcode vllm_watch_kick(struct vllm_engine *engine, bool resumed) {
    int still_running;
    if (!resumed && engine->curl_due_ns > vllm_now_ns()) return CURLM_OK;
    engine->curl_due_ns = VLLM_POLLER_NEVER; /* not every version sets the timer for a resumed transfer */
    return curl_multi_socket_action(engine->multi, CURL_SOCKET_TIMEOUT, 0, &still_running);
}

void vllm_watch_wake(struct vllm_engine *engine) {
    vllm_notifier_signal(&engine->waker);
}

#endif
