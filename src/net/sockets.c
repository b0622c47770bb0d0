/* The sockets that libcurl opens for an engine. They are close-on-exec from the start, and listed, so that a forked
 * child can close its copies. A fork may come at any moment of the engine's thread, and the child finds the list as it
 * was at that moment. So the list is valid after every store here, and never names a closed descriptor. Bounds: one int
 * for each open socket. Sources: CURLOPT_OPENSOCKETFUNCTION, CURLOPT_CLOSESOCKETFUNCTION. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool grow(struct vllm_engine *engine) {
    size_t cap = engine->sockets_cap ? engine->sockets_cap * 2 : 16;
    int *grown = cap > SIZE_MAX / sizeof *grown ? NULL : malloc(cap * sizeof *grown), *old = engine->sockets;
    if (!grown) return false;
    if (engine->sockets_len > 0) memcpy(grown, old, engine->sockets_len * sizeof *grown);
    engine->sockets = grown;
    engine->sockets_cap = cap;
    free(old);
    return true;
}

static bool remember(struct vllm_engine *engine, int fd) {
    if (engine->sockets_len == engine->sockets_cap && !grow(engine)) return false;
    engine->sockets[engine->sockets_len] = fd;
    engine->sockets_len++;
    return true;
}

static void forget(struct vllm_engine *engine, int fd) {
    for (size_t i = engine->sockets_len; i-- > 0;) {
        if (engine->sockets[i] == fd) {
            engine->sockets[i] = engine->sockets[engine->sockets_len - 1];
            engine->sockets_len--;
            return;
        }
    }
}

static int open_socket(const struct curl_sockaddr *address) {
#ifdef SOCK_CLOEXEC
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
    int fd = socket(address->family, address->socktype, address->protocol);
    if (fd >= 0) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
#endif
}

static bool is_for_lack_of_descriptors(int error) {
    return error == EMFILE || error == ENFILE;
}

bool vllm_descriptors_left(size_t count) {
    int fds[VLLM_MAX_PROBED], error = 0;
    size_t opened = 0;
    while (opened < count && opened < VLLM_MAX_PROBED && error == 0) {
        fds[opened] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fds[opened] >= 0) {
            opened++;
        } else {
            error = errno;
        }
    }
    while (opened > 0) {
        opened--;
        close(fds[opened]);
    }
    return !is_for_lack_of_descriptors(error);
}

curl_socket_t vllm_socket_open(void *ud, curlsocktype purpose, struct curl_sockaddr *address) {
    struct vllm_request *request = ud;
    (void)purpose;
    int fd = open_socket(address);
    if (fd < 0) {
        request->lacked_descriptor = request->lacked_descriptor || is_for_lack_of_descriptors(errno);
        return CURL_SOCKET_BAD;
    }
    if (!remember(request->engine, fd)) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    return fd;
}

int vllm_socket_close(void *ud, curl_socket_t fd) {
    struct vllm_engine *engine = ud;
    forget(engine, fd);
    /* The peer must see the end now, even if a forked process still has a copy of the descriptor. */
    (void)shutdown(fd, SHUT_RDWR);
    return close(fd);
}

void vllm_sockets_abandon(struct vllm_engine *engine) {
    for (size_t i = 0; i < engine->sockets_len; i++) {
        close(engine->sockets[i]);
    }
    engine->sockets_len = 0;
}
