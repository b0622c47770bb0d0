/* What differs between systems, and their clock. VLLM_NET_PORTABLE builds the engine as if the system had no epoll,
 * eventfd and timerfd. */
#ifndef VLLM_PLATFORM_H
#define VLLM_PLATFORM_H

#include <stdint.h>
#include <time.h>

#if defined(__linux__) && !defined(VLLM_NET_PORTABLE)
#define VLLM_NET_EPOLL 1
#else
#define VLLM_NET_EPOLL 0
#endif

/* CLOCK_MONOTONIC */
static inline int64_t vllm_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif
