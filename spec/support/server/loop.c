/* One epoll, one heap of timers. Ends by a signal, when whoever reads our output is gone (a test run that ended,
 * however it did), when the parent changes, or after idle_s without a connection.
 */
#define _GNU_SOURCE
#include "server.h"

#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 500, EVENTS = 256 };

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void server_watch(struct server *s, struct source *source, uint32_t interest) {
    struct epoll_event event = {.events = interest, .data.ptr = source};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, source->fd, &event) != 0) die("cannot watch a descriptor");
}

/* Timers -----------------------------------------------------------------------------------------------------------*/

static void timer_put(struct server *s, struct connection *c, size_t at) {
    s->timers[at] = c;
    c->timer = at;
}

static void timer_sift(struct server *s, size_t at) {
    struct connection *c = s->timers[at];
    for (; at > 1 && s->timers[at / 2]->wake_ms > c->wake_ms; at /= 2) timer_put(s, s->timers[at / 2], at);
    for (size_t child; (child = at * 2) <= s->timer_count; at = child) {
        if (child < s->timer_count && s->timers[child + 1]->wake_ms < s->timers[child]->wake_ms) child++;
        if (s->timers[child]->wake_ms >= c->wake_ms) break;
        timer_put(s, s->timers[child], at);
    }
    timer_put(s, c, at);
}

void timer_clear(struct connection *c) {
    struct server *s = c->server;
    size_t at = c->timer;
    if (at == 0) return;
    c->timer = 0;
    struct connection *last = s->timers[s->timer_count--];
    if (last == c) return;
    timer_put(s, last, at);
    timer_sift(s, at);
}

void timer_set(struct connection *c, int64_t wake_ms) {
    struct server *s = c->server;
    c->wake_ms = wake_ms;
    if (c->timer == 0) {
        if (s->timer_count + 2 > s->timer_capacity) {
            s->timer_capacity = s->timer_capacity * 2 + 64;
            s->timers = must_resize(s->timers, s->timer_capacity, sizeof *s->timers);
        }
        timer_put(s, c, ++s->timer_count);
    }
    timer_sift(s, c->timer);
}

/* Timers set meanwhile wait for the next round: a fast stream must not keep epoll from being asked. */
static void run_timers(struct server *s) {
    int64_t now = now_ms();
    for (size_t left = s->timer_count; left > 0 && s->timer_count > 0 && s->timers[1]->wake_ms <= now; left--) {
        struct connection *c = s->timers[1];
        timer_clear(c);
        connection_run(c);
    }
}

/* The loop ---------------------------------------------------------------------------------------------------------*/

static void run_event(struct server *s, const struct epoll_event *event) {
    struct source *source = event->data.ptr;
    switch (source->kind) {
    case SOURCE_SIGNAL:
    case SOURCE_OUTPUT: s->ended = true; break;
    case SOURCE_CONNECTION: connection_event((struct connection *)source, event->events); break;
    default: connection_open(s, source); s->busy_ms = now_ms();
    }
}

static int next_timeout(const struct server *s) {
    if (s->timer_count == 0) return TICK_MS;
    int64_t left = s->timers[1]->wake_ms - now_ms();
    return left <= 0 ? 0 : left < TICK_MS ? (int)left : TICK_MS;
}

void server_run(struct server *s) {
    struct epoll_event events[EVENTS];
    pid_t parent = getppid();
    s->busy_ms = now_ms();
    while (!s->ended) {
        int count = epoll_wait(s->epoll, events, EVENTS, next_timeout(s));
        for (int i = 0; i < count; i++) run_event(s, &events[i]);
        run_timers(s);
        if (getppid() != parent) s->ended = true;
        if (s->connections != NULL && s->timer_count > 0) s->busy_ms = now_ms();
        if (now_ms() - s->busy_ms > (int64_t)s->options.idle_s * 1000) s->ended = true;
    }
}
