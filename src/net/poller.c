/* Descriptors and one due time in, readiness out. Bounds: at most POLLER_BATCH events a call. It never reads or writes
 * a watched descriptor, and never closes one that it did not open. Sources: epoll(7), timerfd_create(2). */
#define _GNU_SOURCE
#include "poller.h"

#include "platform.h"

#if VLLM_NET_EPOLL

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define POLLER_BATCH 64
#define NS_PER_S     1000000000

bool vllm_poller_open(struct vllm_poller *poller) {
    struct epoll_event event;
    poller->armed_ns = VLLM_POLLER_NEVER;
    poller->timer_fd = -1;
    poller->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poller->epoll_fd < 0) return false;
    poller->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = poller->timer_fd;
    if (poller->timer_fd >= 0 && epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, poller->timer_fd, &event) == 0) return true;
    int saved = errno;
    vllm_poller_close(poller);
    errno = saved;
    return false;
}

void vllm_poller_close(struct vllm_poller *poller) {
    if (poller->timer_fd >= 0) close(poller->timer_fd);
    if (poller->epoll_fd >= 0) close(poller->epoll_fd);
    poller->timer_fd = poller->epoll_fd = -1;
}

bool vllm_poller_watch(struct vllm_poller *poller, int fd, bool readable, bool writable) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = (readable ? (uint32_t)EPOLLIN : 0u) | (writable ? (uint32_t)EPOLLOUT : 0u);
    event.data.fd = fd;
    if (epoll_ctl(poller->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0) return true;
    return errno == ENOENT && epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

void vllm_poller_forget(struct vllm_poller *poller, int fd) {
    struct epoll_event unused; /* kernels before 2.6.9 want a pointer */
    memset(&unused, 0, sizeof unused);
    (void)epoll_ctl(poller->epoll_fd, EPOLL_CTL_DEL, fd, &unused);
}

void vllm_poller_set_timer(struct vllm_poller *poller, int64_t due_ns) {
    struct itimerspec when;
    if (due_ns == poller->armed_ns) return;
    memset(&when, 0, sizeof when);
    if (due_ns != VLLM_POLLER_NEVER) {
        int64_t at = due_ns < 1 ? 1 : due_ns; /* all zero would disarm */
        when.it_value.tv_sec = (time_t)(at / NS_PER_S);
        when.it_value.tv_nsec = (long)(at % NS_PER_S);
    }
    if (timerfd_settime(poller->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0) poller->armed_ns = due_ns;
}

int vllm_poller_wait(struct vllm_poller *poller, struct vllm_poller_event *events, int max, int timeout_ms) {
    struct epoll_event raw[POLLER_BATCH];
    int count = epoll_wait(poller->epoll_fd, raw, max < POLLER_BATCH ? max : POLLER_BATCH, timeout_ms);
    for (int i = 0; i < count; i++) {
        bool timer = raw[i].data.fd == poller->timer_fd;
        events[i].fd = timer ? -1 : raw[i].data.fd;
        events[i].readable = (raw[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
        events[i].writable = (raw[i].events & EPOLLOUT) != 0;
        /* An expired timer stays readable until it is set again. Forget its time, so that the next set is not
         * skipped. */
        if (timer) poller->armed_ns = INT64_MIN;
    }
    return count;
}

#endif
