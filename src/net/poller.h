/* The one descriptor that stands for all of libcurl's sockets and its timer: an epoll set with a timerfd in it. For
 * Linux only; watch_poll.c is for other systems. Owned by its engine; one thread. */
#ifndef VLLM_POLLER_H
#define VLLM_POLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VLLM_POLLER_NEVER INT64_MAX

struct vllm_poller {
    int epoll_fd, timer_fd;
    int64_t armed_ns; /* what the timer is set to; VLLM_POLLER_NEVER: nothing */
};

struct vllm_poller_event {
    int fd;                  /* -1: the timer */
    bool readable, writable; /* an error or a hangup counts as readable: the next read tells */
};

/* false: errno says why, and nothing stays open. Both descriptors are close-on-exec. */
bool vllm_poller_open(struct vllm_poller *poller);
void vllm_poller_close(struct vllm_poller *poller);

/* Starts to watch `fd`, or changes what it is watched for. false: the kernel refuses. */
bool vllm_poller_watch(struct vllm_poller *poller, int fd, bool readable, bool writable);
void vllm_poller_forget(struct vllm_poller *poller, int fd);

/* The descriptor becomes readable at `due_ns` of CLOCK_MONOTONIC (in the past: at once). Costs no system call when
 * nothing changes. */
void vllm_poller_set_timer(struct vllm_poller *poller, int64_t due_ns);

/* Up to `max` events; 0 after `timeout_ms` (-1: none); -1: errno (EINTR: a signal). */
int vllm_poller_wait(struct vllm_poller *poller, struct vllm_poller_event *events, int max, int timeout_ms);

#endif
