/* The caller's side of an engine: requests in; readiness, and what requests.c holds, out. The contract is engine.h.
 *
 * Inline, an order is obeyed at once and all other work happens in vllm_engine_step. In thread mode an order is left for
 * the engine's thread (thread.c), and a step only learns what the thread has to tell. Elsewhere than on Linux every
 * engine has a thread, since only that needs no epoll.
 *
 * A forked child shares the parent's connections: libcurl would say goodbye on them (TLS close_notify) and wait for
 * threads that a fork does not copy, and memory may be as a thread of the parent's left it in the middle of a change. So
 * the child never calls libcurl with this engine again and takes no lock of it: it has closed its copies of the
 * descriptors when fork returns (fork.c), and leaves the memory alone, on purpose.
 *
 * curl_global_init is counted inside libcurl, thread-safe since 7.84, and never undone: other users of libcurl in the
 * host are not ours. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "signals.h"

#define MAX_STARTS_DEFAULT 16

bool vllm_engine_forked(const struct vllm_engine *engine) {
    return engine->pid != getpid();
}

/* Birth and end ---------------------------------------------------------------------------------------------------- */

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

void vllm_engine_abandon(struct vllm_engine *engine) {
    vllm_sockets_abandon(engine);
    vllm_watch_close(engine);
    vllm_notifier_close(&engine->bell);
}

static void drop_hold(struct vllm_engine *engine) {
    if (--engine->holds > 0 || vllm_engine_forked(engine)) return;
    if (vllm_thread_stop(engine)) vllm_engine_destroy(engine);
}

void vllm_engine_release(struct vllm_engine *engine) {
    if (engine) drop_hold(engine);
}

/* Orders ----------------------------------------------------------------------------------------------------------- */

/* Inline: the descriptor must become readable when a step is due. */
static void arm(struct vllm_engine *engine) {
    int64_t due = vllm_driver_due(engine);
    vllm_watch_set_due(engine, engine->alarm_ns < due ? engine->alarm_ns : due);
}

/* Under the lock. Once is enough until the thread has looked. */
static void wake_thread(struct vllm_engine *engine) {
    if (engine->wake_asked || engine->stopping) return;
    engine->wake_asked = true;
    vllm_watch_wake(engine);
}

void vllm_engine_order(struct vllm_request *request, unsigned orders) {
    struct vllm_engine *engine = request->engine;
    if (!engine->threaded) {
        vllm_driver_obey(request, orders);
        arm(engine);
        return;
    }
    vllm_engine_lock(engine);
    request->orders |= orders;
    vllm_link_append(&engine->orders, &request->order);
    wake_thread(engine);
    vllm_engine_unlock(engine);
}

enum vllm_net_status vllm_engine_add(struct vllm_engine *engine, const struct vllm_request_options *options, struct vllm_request **out,
                                     const char **why) {
    *out = NULL;
    *why = NULL;
    if (vllm_engine_forked(engine)) return VLLM_NET_FORKED;
    struct vllm_request *request = vllm_request_obtain(engine);
    if (!request) return VLLM_NET_NOMEM;
    enum vllm_net_status status = vllm_options_apply(request, options, why);
    if (status == VLLM_NET_OK && engine->threaded && !vllm_thread_start(engine)) status = VLLM_NET_NOMEM;
    if (status != VLLM_NET_OK) {
        vllm_request_discard(request);
        return status;
    }
    engine->holds++;
    vllm_engine_order(request, VLLM_ORDER_START);
    *out = request;
    return VLLM_NET_OK;
}

static void close_now(struct vllm_request *request, bool drain) {
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
    if (!vllm_engine_forked(engine)) close_now(request, drain);
    drop_hold(engine);
}

/* Readiness -------------------------------------------------------------------------------------------------------- */

int vllm_engine_fd(const struct vllm_engine *engine) {
    if (vllm_engine_forked(engine)) return -1;
#if VLLM_NET_EPOLL
    if (!engine->threaded) return engine->poller.epoll_fd;
#endif
    return engine->bell.read_fd;
}

struct vllm_request *vllm_engine_ready(struct vllm_engine *engine) {
    struct vllm_request *first = NULL;
    if (engine->threaded && vllm_engine_forked(engine)) return NULL;
    vllm_engine_lock(engine);
    if (!vllm_link_is_alone(&engine->ready)) {
        first = VLLM_REQUEST_OF(engine->ready.next, ready);
        vllm_link_remove(&first->ready);
    }
    vllm_engine_unlock(engine);
    return first;
}

void vllm_engine_alarm(struct vllm_engine *engine, int64_t at_ns) {
    if (vllm_engine_forked(engine)) return; /* the timer is the parent's, too */
    vllm_engine_lock(engine);
    engine->alarm_ns = at_ns;
    if (engine->threaded && at_ns < engine->sleeps_until_ns) wake_thread(engine);
    vllm_engine_unlock(engine);
    if (!engine->threaded) {
        arm(engine);
    } else if (at_ns != VLLM_ENGINE_NO_ALARM && !vllm_thread_start(engine)) {
        vllm_notifier_signal(&engine->bell); /* too early is better than never */
    }
}

size_t vllm_engine_live(const struct vllm_engine *engine) {
    if (vllm_engine_forked(engine)) return 0;
    return engine->holds - 1 + (engine->threaded ? 0 : engine->drains);
}

/* A step ----------------------------------------------------------------------------------------------------------- */

static enum vllm_net_status step_inline(struct vllm_engine *engine, int timeout_ms) {
    struct vllm_sigpipe guard;
    /* Whatever is due already has armed the timer, which ends the wait at once. */
    if (vllm_watch_wait(engine, timeout_ms) < 0 && errno == EINTR) return VLLM_NET_INTERRUPTED;
    vllm_sigpipe_hold(&guard);
    vllm_driver_work(engine);
    vllm_sigpipe_restore(&guard);
    if (engine->alarm_ns != VLLM_ENGINE_NO_ALARM && engine->alarm_ns <= vllm_now_ns()) engine->alarm_ns = VLLM_ENGINE_NO_ALARM;
    arm(engine);
    return VLLM_NET_OK;
}

static enum vllm_net_status step_threaded(struct vllm_engine *engine, int timeout_ms) {
    if (timeout_ms != 0 && vllm_notifier_wait(&engine->bell, timeout_ms) < 0 && errno == EINTR) return VLLM_NET_INTERRUPTED;
    vllm_notifier_drain(&engine->bell);
    vllm_engine_lock(engine);
    engine->told = false; /* the caller looks now: what comes after is told again */
    vllm_engine_unlock(engine);
    return VLLM_NET_OK;
}

enum vllm_net_status vllm_engine_step(struct vllm_engine *engine, int timeout_ms) {
    if (vllm_engine_forked(engine)) return VLLM_NET_FORKED;
    if (timeout_ms != 0 && vllm_sigint_pending()) return VLLM_NET_INTERRUPTED; /* it came before the wait began */
    return engine->threaded ? step_threaded(engine, timeout_ms) : step_inline(engine, timeout_ms);
}
