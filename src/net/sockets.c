/* The sockets that libcurl opens for an engine: close-on-exec from birth, and known, so that a forked child can let go
 * of its copies. Bounds: one int for each open socket. It never reads or writes one. Source:
 * CURLOPT_OPENSOCKETFUNCTION, CURLOPT_CLOSESOCKETFUNCTION. */
#define _GNU_SOURCE
#include "internal.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static bool remember(struct vllm_engine *engine, int fd) {
    if (engine->sockets_len == engine->sockets_cap) {
        size_t cap = engine->sockets_cap ? engine->sockets_cap * 2 : 16;
        int *grown = cap > SIZE_MAX / sizeof *grown ? NULL : realloc(engine->sockets, cap * sizeof *grown);
        if (!grown)
            return false;
        engine->sockets = grown;
        engine->sockets_cap = cap;
    }
    engine->sockets[engine->sockets_len++] = fd;
    return true;
}

static void forget(struct vllm_engine *engine, int fd) {
    for (size_t i = engine->sockets_len; i-- > 0;) {
        if (engine->sockets[i] == fd) {
            engine->sockets[i] = engine->sockets[--engine->sockets_len];
            return;
        }
    }
}

curl_socket_t vllm_socket_open(void *ud, curlsocktype purpose, struct curl_sockaddr *address) {
    struct vllm_engine *engine = ud;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    if (!remember(engine, fd)) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    return fd;
}

int vllm_socket_close(void *ud, curl_socket_t fd) {
    struct vllm_engine *engine = ud;
    forget(engine, fd);
    /* The peer must see the end now, even while a forked process still holds a copy of the descriptor. */
    (void)shutdown(fd, SHUT_RDWR);
    return close(fd);
}

void vllm_sockets_abandon(struct vllm_engine *engine) {
    for (size_t i = 0; i < engine->sockets_len; i++) {
        close(engine->sockets[i]);
    }
    engine->sockets_len = 0;
}
