/* How the driver waits on systems without epoll: in curl_multi_poll, on the engine's thread. A wake costs a look at
 * every stream. VLLM_NET_PORTABLE builds this on any system. Sources: libcurl's documentation of curl_multi_poll,
 * curl_multi_wakeup, curl_multi_perform. */
#define _GNU_SOURCE
#include "internal.h"

#if !VLLM_NET_EPOLL

#include <errno.h>

#define NS_PER_MS   1000000
#define MAX_WAIT_MS 60000

bool vllm_watch_open(struct vllm_engine *engine) {
    engine->due_ns = VLLM_POLLER_NEVER;
    return true;
}

bool vllm_watch_attach(struct vllm_engine *engine, CURLM *multi) {
    (void)engine;
    (void)multi;
    return true;
}

void vllm_watch_close(struct vllm_engine *engine) {
    (void)engine;
}

/* curl_multi_poll ends by itself when libcurl's own clock is due. */
int64_t vllm_watch_due(const struct vllm_engine *engine) {
    (void)engine;
    return VLLM_POLLER_NEVER;
}

void vllm_watch_set_due(struct vllm_engine *engine, int64_t due_ns) {
    engine->due_ns = due_ns;
}

static int milliseconds_until(int64_t due_ns) {
    int64_t left = due_ns == VLLM_POLLER_NEVER ? VLLM_POLLER_NEVER : due_ns - vllm_now_ns();
    if (left <= 0) return 0;
    return left < (int64_t)MAX_WAIT_MS * NS_PER_MS ? (int)(left / NS_PER_MS) + 1 : MAX_WAIT_MS;
}

int vllm_watch_wait(struct vllm_engine *engine, int timeout_ms) {
    int until_due_ms = milliseconds_until(engine->due_ns);
    if (timeout_ms < 0 || timeout_ms > until_due_ms) timeout_ms = until_due_ms;
    if (curl_multi_poll(engine->multi, NULL, 0, timeout_ms, NULL) == CURLM_OK) return 0;
    errno = EIO;
    return -1;
}

CURLMcode vllm_watch_serve(struct vllm_engine *engine) {
    int still_running;
    return curl_multi_perform(engine->multi, &still_running);
}

/* Started and resumed transfers are due at once by libcurl's clock, so the next wait ends at once. */
CURLMcode vllm_watch_kick(struct vllm_engine *engine, bool resumed) {
    (void)engine;
    (void)resumed;
    return CURLM_OK;
}

void vllm_watch_wake(struct vllm_engine *engine) {
    (void)curl_multi_wakeup(engine->multi);
}

#endif
