/* The thread of an engine in thread mode. Orders come in by the engine's ring and a wakeup; the engine's bell tells the
 * caller that there is something to look at.
 *
 * It runs the same driver and the same poller as inline mode: epoll on Linux, where a wake costs what is ready and not
 * what is open, and curl_multi_poll elsewhere. It begins with the first request or alarm, with all signals blocked. It
 * rings the bell once for everything that happened since the caller's last step. Bounds: the caller waits STOP_NS for
 * the thread to end. A thread that is still stuck in libcurl (a resolver that hangs, before 7.87) is left alone, and
 * frees the engine itself.
 *
 * Process exit: handlers of exit, OpenSSL's among them, free what a working thread still uses. So the first thread
 * registers a handler that stops all threads; it runs before the handlers of libraries that were set up earlier. The
 * list of threads is the only process-wide state here. Sources: POSIX.1-2008, atexit, pthread_atfork,
 * pthread_sigmask. */
#define _GNU_SOURCE
#include "internal.h"

#include <signal.h>
#include <stdlib.h>

#define NS_PER_MS 1000000
#define STOP_NS   ((int64_t)1000 * NS_PER_MS)
#define LOOK_MS   20 /* meanwhile the caller's own thread may drain the bell */

static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t exit_lock = PTHREAD_MUTEX_INITIALIZER;
static struct vllm_link exit_ring = {&exit_ring, &exit_ring}; /* engines with a thread, by `exits` */

/* The thread ------------------------------------------------------------------------------------------------------- */

/* Before the wait: rings for the caller, and sets how long to wait. */
static void settle(struct vllm_engine *engine) {
    int64_t due = vllm_driver_due(engine), now = vllm_now_ns();
    vllm_engine_lock(engine);
    if (engine->alarm_ns <= now) {
        engine->alarm_ns = VLLM_ENGINE_NO_ALARM;
        engine->news = true;
    }
    if (engine->alarm_ns < due) due = engine->alarm_ns;
    engine->sleeps_until_ns = due;
    bool tell = engine->news && !engine->told;
    engine->told = engine->told || engine->news;
    engine->news = false;
    vllm_engine_unlock(engine);
    if (tell) vllm_notifier_signal(&engine->bell);
    vllm_watch_set_due(engine, due);
}

static void end(struct vllm_engine *engine) {
    vllm_driver_close(engine);
    vllm_engine_lock(engine);
    engine->ended = true;
    bool orphaned = engine->orphaned;
    vllm_engine_unlock(engine);
    vllm_notifier_signal(&engine->bell); /* the engine still exists: whoever frees it joins this thread first */
    if (!orphaned) return;
    (void)pthread_mutex_lock(&exit_lock);
    vllm_link_remove(&engine->exits);
    (void)pthread_mutex_unlock(&exit_lock);
    vllm_engine_destroy(engine);
}

static void *run(void *ud) {
    struct vllm_engine *engine = ud;
    while (vllm_driver_take_orders(engine)) {
        vllm_driver_work(engine);
        settle(engine);
        (void)vllm_watch_wait(engine, -1);
    }
    end(engine);
    return NULL;
}

/* Its end ---------------------------------------------------------------------------------------------------------- */

static void ask_to_stop(struct vllm_engine *engine) {
    vllm_engine_lock(engine);
    if (!engine->stopping) {
        engine->stopping = true;
        vllm_watch_wake(engine);
    }
    vllm_engine_unlock(engine);
}

static bool wait_for_end(struct vllm_engine *engine, int64_t until_ns) {
    for (;;) {
        vllm_notifier_drain(&engine->bell);
        vllm_engine_lock(engine);
        bool ended = engine->ended;
        vllm_engine_unlock(engine);
        if (ended || vllm_now_ns() >= until_ns) return ended;
        (void)vllm_notifier_wait(&engine->bell, LOOK_MS);
    }
}

/* Under exit_lock. */
static void join(struct vllm_engine *engine) {
    if (!engine->joined) (void)pthread_join(engine->thread, NULL);
    engine->joined = true;
}

bool vllm_thread_stop(struct vllm_engine *engine) {
    if (!engine->has_thread) return true;
    ask_to_stop(engine);
    (void)wait_for_end(engine, vllm_now_ns() + STOP_NS);
    (void)pthread_mutex_lock(&exit_lock);
    vllm_engine_lock(engine);
    bool ended = engine->ended;
    engine->orphaned = !ended;
    vllm_engine_unlock(engine);
    if (ended) {
        join(engine);
        vllm_link_remove(&engine->exits);
    } else {
        (void)pthread_detach(engine->thread);
    }
    (void)pthread_mutex_unlock(&exit_lock);
    return ended;
}

static void stop_all(void) {
    int64_t until_ns = vllm_now_ns() + STOP_NS;
    (void)pthread_mutex_lock(&exit_lock);
    for (struct vllm_link *at = exit_ring.next; at != &exit_ring; at = at->next) {
        ask_to_stop(VLLM_ENGINE_OF(at, exits));
    }
    for (struct vllm_link *at = exit_ring.next; at != &exit_ring; at = at->next) {
        struct vllm_engine *engine = VLLM_ENGINE_OF(at, exits);
        if (wait_for_end(engine, until_ns) && !engine->orphaned) join(engine);
    }
    (void)pthread_mutex_unlock(&exit_lock);
}

/* Its beginning ---------------------------------------------------------------------------------------------------- */

static void before_fork(void) {
    (void)pthread_mutex_lock(&exit_lock);
}

static void after_fork(void) {
    (void)pthread_mutex_unlock(&exit_lock);
}

static void in_the_child(void) {
    vllm_link_init(&exit_ring); /* the threads are the parent's */
    (void)pthread_mutex_unlock(&exit_lock);
}

static void prepare_exit(void) {
    (void)pthread_atfork(before_fork, after_fork, in_the_child);
    (void)atexit(stop_all);
}

bool vllm_thread_start(struct vllm_engine *engine) {
    sigset_t all, old;
    if (engine->has_thread) return true;
    (void)pthread_once(&exit_once, prepare_exit);
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &old) != 0) return false;
    engine->has_thread = pthread_create(&engine->thread, NULL, run, engine) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (engine->has_thread) {
        (void)pthread_mutex_lock(&exit_lock);
        vllm_link_append(&exit_ring, &engine->exits);
        (void)pthread_mutex_unlock(&exit_lock);
    }
    return engine->has_thread;
}
