/* The life of a connection: handshake, read a request, play its plan, read the next one or drain and close.
 * Each turn is bounded (TURN_STEPS), so that a fast stream does not starve the others. A client that closes, even only
 * its sending half, ends the response: the log then says when, and that it was midway.
 */
#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TURN_STEPS = 64, DRAIN_MS = 2000, READ_BYTES = 65536 };

static const char *via_name(enum source_kind kind) {
    switch (kind) {
    case SOURCE_UNIX: return "unix";
    case SOURCE_TLS: return "tls";
    case SOURCE_MTLS: return "mtls";
    default: return "tcp";
    }
}

void connection_open(struct server *s, const struct source *listener) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (listener->kind != SOURCE_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct connection *c = must_zero(sizeof *c);
    c->source.kind = SOURCE_CONNECTION;
    c->source.fd = fd;
    c->server = s;
    c->via = listener->kind;
    c->id = ++s->last_connection;
    c->opened_ms = c->wrote_ms = now_ms();
    c->phase = READING;
    request_clear(&c->request);
    if (listener->kind == SOURCE_TLS || listener->kind == SOURCE_MTLS) {
        c->tls = SSL_new(listener->kind == SOURCE_TLS ? s->tls : s->mtls);
        if (c->tls == NULL || SSL_set_fd(c->tls, fd) != 1) die("cannot start TLS on a connection");
        c->phase = HANDSHAKING;
    }
    c->next = s->connections;
    if (c->next != NULL) c->next->link = &c->next;
    c->link = &s->connections;
    s->connections = c;
    c->interest = EPOLLIN | EPOLLRDHUP;
    server_watch(s, &c->source, c->interest);
}

void connection_free(struct connection *c) {
    timer_clear(c);
    *c->link = c->next;
    if (c->next != NULL) c->next->link = c->link;
    SSL_free(c->tls);
    close(c->source.fd);
    bytes_free(&c->in);
    request_free(&c->request);
    plan_free(&c->plan);
    free(c);
}

static struct log_record *connection_log(struct connection *c, const char *event) {
    struct log_record *record = log_new(&c->server->log, event);
    record->connection = c->id;
    record->via = via_name(c->via);
    record->at_ms = now_ms();
    return record;
}

/* Connections that only looked at the log, or never asked anything, are not logged. */
static void log_close(struct connection *c, const char *by) {
    if (c->phase == DRAINING || (c->requests == 0 && c->phase != HANDSHAKING)) return;
    struct log_record *record = connection_log(c, "close");
    record->by = by;
    record->midway = c->phase == PLAYING && !c->control && c->step < c->plan.count && *by == 'c';
    record->requests = c->requests;
    record->bytes_sent = c->bytes_sent;
    record->wrote_ms = c->wrote_ms;
}

static void end_by_client(struct connection *c) {
    log_close(c, c->phase == HANDSHAKING ? "handshake" : "client");
    connection_free(c);
}

/* An orderly end: what the client still sends is read and thrown away, since closing over unread bytes is a reset. */
static bool end_by_server(struct connection *c, bool notify) {
    log_close(c, "server");
    connection_end_writing(c, notify);
    c->phase = DRAINING;
    timer_set(c, now_ms() + DRAIN_MS);
    return true;
}

static bool end_by_reset(struct connection *c) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    log_close(c, "server");
    setsockopt(c->source.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    connection_free(c);
    return false;
}

static void begin_plan(struct connection *c, int refusal) {
    struct request *r = &c->request;
    c->control = refusal == 0 && route_is_control(r);
    if (!c->control) {
        c->requests++;
        log_request(&c->server->log, connection_log(c, "request"), r);
    }
    if (refusal != 0) {
        r->keep_alive = false;
        reply_text(&c->plan, r, refusal, "text/plain", "the test server cannot read this request\n");
    } else {
        route(c->server, r, &c->plan);
    }
    c->step = c->sent = 0;
    c->loops = 0;
    c->due_ms = now_ms();
    c->phase = PLAYING;
}

/* `early=1`: answered before the body is read, and then closed. */
static bool is_early(const struct request *r) { return request_number(r, "early", 0) == 1; }

static bool read_more(struct connection *c) {
    char data[READ_BYTES];
    long got = connection_read(c, data, sizeof data);
    if (got == IO_END) end_by_client(c);
    if (got < 0) return false;
    bytes_add(&c->in, data, (size_t)got);
    return true;
}

/* Each of these makes one move and says whether there may be another now; false also when c is gone. */
static bool move_reading(struct connection *c) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    int outcome = request_take(&c->request, &c->in);
    if (outcome == 0) return read_more(c);
    if (outcome == 2 && is_early(&c->request)) {
        c->request.keep_alive = false;
        outcome = 1;
    } else if (outcome == 2) {
        if (c->request.expects_continue) return connection_write(c, go_on, sizeof go_on - 1) > 0;
        return true;
    }
    begin_plan(c, outcome == 1 ? 0 : outcome);
    return true;
}

static bool end_plan(struct connection *c) {
    if (c->plan.close_after || !c->request.keep_alive) return end_by_server(c, true);
    plan_free(&c->plan);
    request_clear(&c->request);
    c->phase = READING;
    return true;
}

static bool move_sending(struct connection *c, const struct step *step) {
    long sent = connection_write(c, c->plan.data.data + step->at + c->sent, step->length - c->sent);
    if (sent == IO_END) end_by_client(c);
    if (sent < 0) return false;
    c->wrote_ms = now_ms();
    c->bytes_sent += (uint64_t)sent;
    c->sent += (size_t)sent;
    if (c->sent == step->length) {
        c->sent = 0;
        c->step++;
    }
    return true;
}

static bool move_waiting(struct connection *c, const struct step *step) {
    c->due_ms += (int64_t)step->count;
    c->step++;
    if (c->due_ms <= now_ms()) return true;
    timer_set(c, c->due_ms);
    connection_wants(c, 0);
    return false;
}

static bool move_playing(struct connection *c) {
    if (c->step == c->plan.count) return end_plan(c);
    const struct step *step = &c->plan.steps[c->step];
    switch (step->kind) {
    case STEP_SEND: return move_sending(c, step);
    case STEP_WAIT: return move_waiting(c, step);
    case STEP_REPEAT:
        if (step->count == 0 || c->loops < step->count) {
            c->loops++;
            c->step -= step->back;
        } else {
            c->loops = 0;
            c->step++;
        }
        return true;
    case STEP_CLOSE: return end_by_server(c, true);
    case STEP_DROP: return end_by_server(c, false);
    case STEP_RESET: return end_by_reset(c);
    case STEP_STALL: connection_wants(c, 0); return false;
    }
    return false;
}

static bool move_draining(struct connection *c) {
    char data[READ_BYTES];
    ssize_t got = recv(c->source.fd, data, sizeof data, 0); /* below TLS: it is not looked at */
    if (got > 0 && now_ms() < c->wake_ms) return true;
    if (got < 0 && (errno == EAGAIN || errno == EINTR) && now_ms() < c->wake_ms) {
        connection_wants(c, EPOLLIN);
        return false;
    }
    connection_free(c);
    return false;
}

void connection_run(struct connection *c) {
    bool more = true;
    for (int i = 0; more && i < TURN_STEPS; i++) {
        switch (c->phase) {
        case HANDSHAKING: {
            long done = connection_handshake(c);
            if (done == IO_END) end_by_client(c);
            more = done > 0;
            if (more) c->phase = READING;
            break;
        }
        case READING: more = move_reading(c); break;
        case PLAYING: more = move_playing(c); break;
        case DRAINING: more = move_draining(c); break;
        }
    }
    if (more && c->phase != DRAINING) timer_set(c, now_ms());
    else if (more) connection_wants(c, EPOLLIN);
}

void connection_event(struct connection *c, uint32_t events) {
    c->server->busy_ms = now_ms();
    if (c->phase == PLAYING && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        end_by_client(c);
        return;
    }
    connection_run(c);
}
