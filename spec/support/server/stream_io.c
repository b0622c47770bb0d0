/* Reading and writing one connection, plain or through OpenSSL, never blocking.
 */
#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

void connection_wants(struct connection *c, uint32_t interest) {
    struct epoll_event event = {.events = interest | EPOLLRDHUP, .data.ptr = c};
    if (c->interest == event.events) return;
    c->interest = event.events;
    epoll_ctl(c->server->epoll, EPOLL_CTL_MOD, c->source.fd, &event);
}

static long tls_outcome(struct connection *c, int result) {
    switch (SSL_get_error(c->tls, result)) {
    case SSL_ERROR_WANT_READ: connection_wants(c, EPOLLIN); return IO_AGAIN;
    case SSL_ERROR_WANT_WRITE: connection_wants(c, EPOLLOUT); return IO_AGAIN;
    default: ERR_clear_error(); return IO_END;
    }
}

static long plain_outcome(struct connection *c, ssize_t result, uint32_t interest) {
    if (result > 0) return (long)result;
    if (result < 0 && errno == EINTR) return 0;
    if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        connection_wants(c, interest);
        return IO_AGAIN;
    }
    return IO_END;
}

long connection_handshake(struct connection *c) {
    ERR_clear_error();
    int result = SSL_accept(c->tls);
    return result == 1 ? 1 : tls_outcome(c, result);
}

long connection_read(struct connection *c, char *data, size_t capacity) {
    if (c->tls == NULL) return plain_outcome(c, recv(c->source.fd, data, capacity, 0), EPOLLIN);
    ERR_clear_error();
    int result = SSL_read(c->tls, data, capacity > INT_MAX ? INT_MAX : (int)capacity);
    return result > 0 ? result : tls_outcome(c, result);
}

long connection_write(struct connection *c, const char *data, size_t length) {
    if (c->tls == NULL) return plain_outcome(c, send(c->source.fd, data, length, MSG_NOSIGNAL), EPOLLOUT);
    ERR_clear_error();
    int result = SSL_write(c->tls, data, length > INT_MAX ? INT_MAX : (int)length);
    return result > 0 ? result : tls_outcome(c, result);
}

void connection_end_writing(struct connection *c, bool notify) {
    if (c->tls != NULL && notify) {
        ERR_clear_error();
        SSL_shutdown(c->tls);
    }
    shutdown(c->source.fd, SHUT_WR);
}
