/* A descriptor that one thread makes readable for another: an eventfd where the system has it, else a pipe. */
#ifndef VLLM_NOTIFIER_H
#define VLLM_NOTIFIER_H

#include <stdbool.h>

struct vllm_notifier {
    int read_fd, write_fd; /* an eventfd is both */
};

/* false: errno says why, and nothing stays open. Both ends are close-on-exec and never block. */
bool vllm_notifier_open(struct vllm_notifier *notifier);
void vllm_notifier_close(struct vllm_notifier *notifier);  /* may run twice */
void vllm_notifier_signal(struct vllm_notifier *notifier); /* from any thread */
void vllm_notifier_drain(struct vllm_notifier *notifier);  /* not readable until the next signal */
/* 1: readable; 0: not within `timeout_ms` (-1: no limit); -1: errno (EINTR: a signal). */
int vllm_notifier_wait(struct vllm_notifier *notifier, int timeout_ms);

#endif
