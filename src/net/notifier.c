/* Signals in, readability out; contract in the header. Bounds: an eventfd counts, and a full pipe is readable already.
 * Sources: eventfd(2), pipe(2), poll(2). */
#define _GNU_SOURCE
#include "notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#include "platform.h"

#if VLLM_NET_EPOLL
#include <sys/eventfd.h>
#endif

#if VLLM_NET_EPOLL

bool vllm_notifier_open(struct vllm_notifier *notifier) {
    notifier->read_fd = notifier->write_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return notifier->read_fd >= 0;
}

#else

static bool prepare(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

bool vllm_notifier_open(struct vllm_notifier *notifier) {
    int ends[2];
    notifier->read_fd = notifier->write_fd = -1;
    if (pipe(ends) != 0) return false;
    notifier->read_fd = ends[0];
    notifier->write_fd = ends[1];
    if (prepare(ends[0]) && prepare(ends[1])) return true;
    int saved = errno;
    vllm_notifier_close(notifier);
    errno = saved;
    return false;
}

#endif

void vllm_notifier_close(struct vllm_notifier *notifier) {
    if (notifier->read_fd >= 0) close(notifier->read_fd);
    if (notifier->write_fd >= 0 && notifier->write_fd != notifier->read_fd) close(notifier->write_fd);
    notifier->read_fd = notifier->write_fd = -1;
}

void vllm_notifier_signal(struct vllm_notifier *notifier) {
    static const uint64_t one = 1; /* eventfd wants eight bytes; in a pipe eight do as well as one */
    ssize_t done;
    do {
        done = write(notifier->write_fd, &one, sizeof one);
    } while (done < 0 && errno == EINTR);
}

void vllm_notifier_drain(struct vllm_notifier *notifier) {
    uint64_t bytes[16];
    ssize_t done;
    do {
        done = read(notifier->read_fd, bytes, sizeof bytes);
    } while (done == (ssize_t)sizeof bytes || (done < 0 && errno == EINTR));
}

int vllm_notifier_wait(struct vllm_notifier *notifier, int timeout_ms) {
    struct pollfd ready = {notifier->read_fd, POLLIN, 0};
    return poll(&ready, 1, timeout_ms);
}
