/* Engines and forks: a child lets go of its copies of every engine's descriptors while fork is still at work. Later it
 * may not: what runs on in a child may have closed everything and given the numbers to files of its own, and nothing
 * tells one epoll set, timer or eventfd from another. A child made without the handlers of fork (by a bare clone) keeps
 * its copies instead. The list is process-wide, under a lock that nobody holds for long. Source: POSIX.1-2008,
 * pthread_atfork. */
#define _GNU_SOURCE
#include "internal.h"

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t fork_lock = PTHREAD_MUTEX_INITIALIZER;
static struct vllm_link fork_ring = {&fork_ring, &fork_ring}; /* engines of this process, by `forks` */

static void before_fork(void) {
    (void)pthread_mutex_lock(&fork_lock);
}

static void after_fork(void) {
    (void)pthread_mutex_unlock(&fork_lock);
}

/* As at the moment of the fork an engine's thread left them: see sockets.c. */
static void in_the_child(void) {
    for (struct vllm_link *at = fork_ring.next; at != &fork_ring; at = at->next) {
        vllm_engine_abandon(VLLM_ENGINE_OF(at, forks));
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
