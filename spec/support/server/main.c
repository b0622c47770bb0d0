/* The server of specs, demo and benchmarks: one process, one thread, on 127.0.0.1 only.
 *
 *   test-server [--port N] [--unix PATH|auto] [--tls] [--mtls] [--deaf] [--fixtures DIR] [--key KEY] [--idle-s N]
 *     prints one line: port N [tls N ca FILE] [mtls N cert FILE key FILE] [deaf N full N] [unix PATH]
 *     --tls: a certificate authority made on the spot (FILE, removed at the end) vouches for localhost and 127.0.0.1;
 *     --mtls: a port that also wants the client certificate it made. --key: asked for on every path that begins with
 *     /v1. --deaf: two ports where no answer comes: deaf takes connections, so a TLS handshake waits; full takes none,
 *     so a connect does.
 *   test-server --send …   a raw client, see client.c
 *
 * What it answers is chosen by path and query, so that a client's base URL can carry it; see routes.c.
 */
#define _GNU_SOURCE
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static unsigned long option_number(const char *text) {
    char *end = NULL;
    unsigned long number = text == NULL ? 0 : strtoul(text, &end, 10);
    if (text == NULL || *text == '\0' || *end != '\0') die("an option wants a number");
    return number;
}

static void read_options(struct options *options, int count, char **arguments) {
    options->fixtures = "spec/fixtures";
    options->idle_s = 600;
    for (int i = 1; i < count; i++) {
        const char *name = arguments[i];
        const char *value = i + 1 < count ? arguments[i + 1] : NULL;
        if (strcmp(name, "--tls") == 0) {
            options->tls = true;
            continue;
        }
        if (strcmp(name, "--mtls") == 0) {
            options->mtls = true;
            continue;
        }
        if (strcmp(name, "--deaf") == 0) {
            options->deaf = true;
            continue;
        }
        if (value == NULL) die("unknown option, or one without its value");
        if (strcmp(name, "--port") == 0) options->port = option_number(value);
        else if (strcmp(name, "--idle-s") == 0) options->idle_s = option_number(value);
        else if (strcmp(name, "--unix") == 0) options->unix_path = value;
        else if (strcmp(name, "--fixtures") == 0) options->fixtures = value;
        else if (strcmp(name, "--key") == 0) options->key = value;
        else die("unknown option");
        i++;
    }
}

static void add_listener(struct server *s, enum source_kind kind, int fd) {
    if (listen(fd, 1024) != 0) die("cannot listen");
    struct source *listener = &s->listeners[s->listener_count++];
    listener->kind = kind;
    listener->fd = fd;
    server_watch(s, listener, EPOLLIN);
}

static unsigned listen_tcp(struct server *s, enum source_kind kind, unsigned long port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0 && port != 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (fd < 0 || port > 65535 || bind(fd, (struct sockaddr *)&address, size) != 0) die("cannot bind a port");
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) die("cannot name a port");
    add_listener(s, kind, fd);
    return ntohs(address.sin_port);
}

/* A port whose connections are never taken. A queue of `backlog` 0 is full after one, and the kernel drops what comes
 * then. */
static unsigned listen_deaf(int backlog, int connections) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0) die("cannot bind a deaf port");
    if (listen(fd, backlog) != 0 || getsockname(fd, (struct sockaddr *)&address, &size) != 0) die("cannot listen deaf");
    for (int i = 0; i < connections; i++) {
        int filler = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (filler < 0) die("cannot fill a queue");
        (void)connect(filler, (struct sockaddr *)&address, size);
    }
    return ntohs(address.sin_port); /* all of them live as long as the process */
}

static void listen_unix(struct server *s, struct sockaddr_un *address) {
    const char *directory = getenv("TMPDIR");
    int length = 0;
    address->sun_family = AF_UNIX;
    if (strcmp(s->options.unix_path, "auto") != 0)
        length = snprintf(address->sun_path, sizeof address->sun_path, "%s", s->options.unix_path);
    else
        length = snprintf(address->sun_path, sizeof address->sun_path, "%s/test-server-%ld.sock",
                          directory != NULL ? directory : "/tmp", (long)getpid());
    if (length <= 0 || (size_t)length >= sizeof address->sun_path) die("the path of the Unix socket is too long");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(address->sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof *address) != 0) die("cannot bind the Unix socket");
    add_listener(s, SOURCE_UNIX, fd);
}

/* Output that is a pipe reports EPOLLERR when its reader is gone; a file or a terminal cannot be watched like that. */
static void watch_output_and_signals(struct server *s) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    s->signals.kind = SOURCE_SIGNAL;
    s->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    server_watch(s, &s->signals, EPOLLIN);
    struct epoll_event event = {.events = 0, .data.ptr = &s->output};
    s->output.kind = SOURCE_OUTPUT;
    s->output.fd = STDOUT_FILENO;
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, STDOUT_FILENO, &event) != 0 && errno != EPERM) die("cannot watch the output");
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void server_free(struct server *s) {
    while (s->connections != NULL) connection_free(s->connections);
    for (int i = 0; i < s->listener_count; i++) close(s->listeners[i].fd);
    tls_stop(s);
    scripts_free(s);
    log_free(&s->log);
    free(s->timers);
    close(s->signals.fd);
    close(s->epoll);
}

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "--send") == 0) return client_main(count - 2, arguments + 2);
    struct server s = {0};
    struct sockaddr_un unix_address = {0};
    read_options(&s.options, count, arguments);
    log_start(&s.log);
    raise_descriptor_limit();
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s.epoll < 0) die("no epoll");
    watch_output_and_signals(&s);
    if (s.options.tls || s.options.mtls) tls_start(&s);
    unsigned port = listen_tcp(&s, SOURCE_TCP, s.options.port);
    unsigned tls = s.options.tls ? listen_tcp(&s, SOURCE_TLS, 0) : 0;
    unsigned mtls = s.options.mtls ? listen_tcp(&s, SOURCE_MTLS, 0) : 0;
    unsigned deaf = s.options.deaf ? listen_deaf(1024, 0) : 0;
    unsigned full = s.options.deaf ? listen_deaf(0, 3) : 0;
    if (s.options.unix_path != NULL) listen_unix(&s, &unix_address);
    printf("port %u", port);
    if (s.options.tls) printf(" tls %u ca %s", tls, s.files.ca);
    if (s.options.mtls) printf(" mtls %u cert %s key %s", mtls, s.files.cert, s.files.key);
    if (s.options.deaf) printf(" deaf %u full %u", deaf, full);
    if (s.options.unix_path != NULL) printf(" unix %s", unix_address.sun_path);
    printf("\n");
    fflush(stdout);
    server_run(&s);
    if (s.options.unix_path != NULL) unlink(unix_address.sun_path);
    server_free(&s);
    return 0;
}
