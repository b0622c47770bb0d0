/* Engines and forks.
 *
 * A forked child shares the parent's connections. libcurl would say goodbye on them (TLS close_notify) and wait for
 * threads that a fork does not copy, and a thread of the parent may have left memory in the middle of a change. So the
 * child never calls libcurl with this engine again, takes no lock of it, and leaves its memory alone on purpose.
 *
 * It only closes its copies of the descriptors, and does so before fork returns. Later would be too late: code in the
 * child may have closed everything already and reused the numbers, and one epoll set, timer or eventfd looks like any
 * other. A child made without the handlers of fork (by a bare clone) keeps its copies instead.
 *
 * The list is process-wide, under a lock that is only held for moments. Source: POSIX.1-2008, pthread_atfork. */
#define _GNU_SOURCE
#include "internal.h"

#include <unistd.h>

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t fork_lock = PTHREAD_MUTEX_INITIALIZER;
static struct vllm_link fork_ring = {&fork_ring, &fork_ring}; /* engines of this process, by `forks` */

bool vllm_is_forked(const struct vllm_engine *engine) {
    return engine->pid != getpid();
}

static void before_fork(void) {
    (void)pthread_mutex_lock(&fork_lock);
}

static void after_fork(void) {
    (void)pthread_mutex_unlock(&fork_lock);
}

static void close_copies(struct vllm_engine *engine) {
    vllm_sockets_abandon(engine);
    vllm_watch_close(engine);
    vllm_notifier_close(&engine->bell);
}

/* The lists are as the engines' threads left them at the moment of the fork: see sockets.c. */
static void in_the_child(void) {
    for (struct vllm_link *at = fork_ring.next; at != &fork_ring; at = at->next) {
        close_copies(VLLM_ENGINE_OF(at, forks));
    }
    vllm_link_init(&fork_ring);
    (void)pthread_mutex_unlock(&fork_lock);
}

static void prepare_fork(void) {
    (void)pthread_atfork(before_fork, after_fork, in_the_child);
}

void vllm_fork_enter(struct vllm_engine *engine) {
    (void)pthread_once(&fork_once, prepare_fork);
    (void)pthread_mutex_lock(&fork_lock);
    vllm_link_append(&fork_ring, &engine->forks);
    (void)pthread_mutex_unlock(&fork_lock);
}

void vllm_fork_leave(struct vllm_engine *engine) {
    (void)pthread_mutex_lock(&fork_lock);
    vllm_link_remove(&engine->forks);
    (void)pthread_mutex_unlock(&fork_lock);
}
