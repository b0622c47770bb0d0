/* What the system has. VLLM_NET_PORTABLE builds the engine for a system without epoll, eventfd and timerfd, on any. */
#ifndef VLLM_PLATFORM_H
#define VLLM_PLATFORM_H

#if defined(__linux__) && !defined(VLLM_NET_PORTABLE)
#define VLLM_NET_EPOLL 1
#else
#define VLLM_NET_EPOLL 0
#endif

#endif
