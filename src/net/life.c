/* The birth and end of an engine. Either side may end it: the caller with its last release, or a thread that was stuck
 * when the caller stopped waiting for it.
 *
 * curl_global_init is counted inside libcurl (thread-safe since 7.84) and never undone: others in this process may use
 * libcurl, too. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "signals.h"

#define MAX_STARTS_DEFAULT 16

static struct vllm_engine *engine_alloc(const struct vllm_engine_options *options) {
    struct vllm_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return NULL;
    struct vllm_link *rings[] = {&engine->starts, &engine->running, &engine->resumes, &engine->ready,
                                 &engine->pool,   &engine->orders,  &engine->exits,   &engine->forks};
    for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
        vllm_link_init(rings[i]);
    }
    engine->pid = getpid();
    engine->threaded = options->mode == VLLM_ENGINE_THREAD || !VLLM_NET_EPOLL;
    engine->holds = 1;
    engine->max_idle_age_s = options->max_idle_age_s;
    engine->max_starts = options->max_starts ? options->max_starts : MAX_STARTS_DEFAULT;
    engine->alarm_ns = VLLM_ENGINE_NO_ALARM;
    engine->sleeps_until_ns = VLLM_ENGINE_NO_ALARM;
    engine->bell.read_fd = engine->bell.write_fd = -1;
    if (!engine->threaded || pthread_mutex_init(&engine->lock, NULL) == 0) return engine;
    free(engine);
    return NULL;
}

struct vllm_engine *vllm_engine_new(const struct vllm_engine_options *options) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return NULL;
    struct vllm_engine *engine = engine_alloc(options);
    if (!engine) return NULL;
    if (vllm_driver_open(engine) && (!engine->threaded || vllm_notifier_open(&engine->bell))) {
        vllm_fork_enter(engine);
        return engine;
    }
    int saved = errno;
    vllm_engine_destroy(engine);
    errno = saved ? saved : ENOMEM;
    return NULL;
}

void vllm_engine_destroy(struct vllm_engine *engine) {
    struct vllm_sigpipe guard;
    vllm_fork_leave(engine);
    vllm_sigpipe_hold(&guard);
    (void)vllm_driver_take_orders(engine);
    vllm_driver_close(engine);
    vllm_sigpipe_restore(&guard);
    vllm_watch_close(engine);
    vllm_notifier_close(&engine->bell);
    if (engine->threaded) (void)pthread_mutex_destroy(&engine->lock);
    free(engine->sockets);
    free(engine);
}
