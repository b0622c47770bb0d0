/* The caller's side of an engine: requests go in, readiness comes out. request.c has the caller's side of each request.
 * The contract is engine.h.
 *
 * Inline, an order is carried out at once, and all other work happens in vllm_engine_step. In thread mode, an order is
 * left for the engine's thread (thread.c), and a step only learns what the thread reports. Systems without epoll always
 * use a thread. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>

#include "signals.h"

void vllm_engine_release(struct vllm_engine *engine) {
    if (!engine || --engine->holds > 0 || vllm_is_forked(engine)) return;
    if (vllm_thread_stop(engine)) vllm_engine_destroy(engine);
}

/* Orders ----------------------------------------------------------------------------------------------------------- */

/* Inline: makes the descriptor readable when a step is due. */
static void arm(struct vllm_engine *engine) {
    int64_t due = vllm_driver_due(engine);
    vllm_watch_set_due(engine, engine->alarm_ns < due ? engine->alarm_ns : due);
}

/* Under the lock. One wake is enough until the thread has looked. */
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

enum vllm_net_status vllm_engine_add(struct vllm_engine *engine, const struct vllm_request_options *options,
                                     struct vllm_request **out, const char **why) {
    *out = NULL;
    *why = NULL;
    if (vllm_is_forked(engine)) return VLLM_NET_FORKED;
    struct vllm_request *request = vllm_transfer_obtain(engine);
    if (!request) return VLLM_NET_NOMEM;
    enum vllm_net_status status = vllm_options_apply(request, options, why);
    if (status == VLLM_NET_OK && engine->threaded && !vllm_thread_start(engine)) status = VLLM_NET_NOMEM;
    if (status != VLLM_NET_OK) {
        vllm_transfer_discard(request);
        return status;
    }
    engine->holds++;
    vllm_engine_order(request, VLLM_ORDER_START);
    *out = request;
    return VLLM_NET_OK;
}

/* Readiness -------------------------------------------------------------------------------------------------------- */

int vllm_engine_fd(const struct vllm_engine *engine) {
    if (vllm_is_forked(engine)) return -1;
#if VLLM_NET_EPOLL
    if (!engine->threaded) return engine->poller.epoll_fd;
#endif
    return engine->bell.read_fd;
}

struct vllm_request *vllm_engine_ready(struct vllm_engine *engine) {
    struct vllm_request *first = NULL;
    if (engine->threaded && vllm_is_forked(engine)) return NULL;
    vllm_engine_lock(engine);
    if (!vllm_link_is_alone(&engine->ready)) {
        first = VLLM_REQUEST_OF(engine->ready.next, ready);
        vllm_link_remove(&first->ready);
    }
    vllm_engine_unlock(engine);
    return first;
}

void vllm_engine_alarm(struct vllm_engine *engine, int64_t at_ns) {
    if (vllm_is_forked(engine)) return; /* the parent uses the same timer */
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
    if (vllm_is_forked(engine)) return 0;
    return engine->holds - 1 + (engine->threaded ? 0 : engine->drains);
}

/* A step ----------------------------------------------------------------------------------------------------------- */

static enum vllm_net_status step_inline(struct vllm_engine *engine, int timeout_ms) {
    struct vllm_sigpipe guard;
    /* Work that is due already has set the timer, so the wait ends at once. */
    if (vllm_watch_wait(engine, timeout_ms) < 0 && errno == EINTR) return VLLM_NET_INTERRUPTED;
    vllm_sigpipe_hold(&guard);
    vllm_driver_work(engine);
    vllm_sigpipe_restore(&guard);
    if (engine->alarm_ns != VLLM_ENGINE_NO_ALARM && engine->alarm_ns <= vllm_now_ns())
        engine->alarm_ns = VLLM_ENGINE_NO_ALARM;
    arm(engine);
    return VLLM_NET_OK;
}

static enum vllm_net_status step_threaded(struct vllm_engine *engine, int timeout_ms) {
    if (timeout_ms != 0 && vllm_notifier_wait(&engine->bell, timeout_ms) < 0 && errno == EINTR)
        return VLLM_NET_INTERRUPTED;
    vllm_notifier_drain(&engine->bell);
    vllm_engine_lock(engine);
    engine->told = false; /* the caller looks now; it must hear of whatever comes later */
    vllm_engine_unlock(engine);
    return VLLM_NET_OK;
}

enum vllm_net_status vllm_engine_step(struct vllm_engine *engine, int timeout_ms) {
    if (vllm_is_forked(engine)) return VLLM_NET_FORKED;
    if (timeout_ms != 0 && vllm_sigint_pending()) return VLLM_NET_INTERRUPTED; /* it came before the wait */
    return engine->threaded ? step_threaded(engine, timeout_ms) : step_inline(engine, timeout_ms);
}
