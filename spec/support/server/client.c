/* `test-server --send TARGET [options]`: sends the bytes of standard input (or of --file FILE) as they are and prints
 * what comes back, until the other side closes. Ends with 0, or with 1 and a sentence on standard error.
 *
 *   TARGET           a port of 127.0.0.1, or the path of a Unix socket (with a slash)
 *   --ca FILE        over TLS, with this authority; --cert FILE --key FILE: with this identity
 *   --sizes          prints the size of each read, one a line, instead of the bytes
 *   --read N         closes after N bytes
 *   --limit-ms N     gives up after N ms of silence (10,000); then it ends with 2
 */
#define _GNU_SOURCE
#include "server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <errno.h>
#include <unistd.h>

#include <openssl/x509v3.h>

struct client {
    const char *target, *file, *ca, *cert, *key;
    unsigned long read_limit, limit_ms;
    bool sizes;
    int fd;
    SSL_CTX *context;
    SSL *tls;
};

static void read_client_options(struct client *c, int count, char **arguments) {
    if (count < 1) die("--send wants a port or a path");
    c->target = arguments[0];
    c->limit_ms = 10000;
    for (int i = 1; i < count; i++) {
        const char *name = arguments[i];
        if (strcmp(name, "--sizes") == 0) {
            c->sizes = true;
            continue;
        }
        const char *value = ++i < count ? arguments[i] : NULL;
        if (value == NULL) die("unknown option, or one without its value");
        if (strcmp(name, "--file") == 0) c->file = value;
        else if (strcmp(name, "--ca") == 0) c->ca = value;
        else if (strcmp(name, "--cert") == 0) c->cert = value;
        else if (strcmp(name, "--key") == 0) c->key = value;
        else if (strcmp(name, "--read") == 0) c->read_limit = strtoul(value, NULL, 10);
        else if (strcmp(name, "--limit-ms") == 0) c->limit_ms = strtoul(value, NULL, 10);
        else die("unknown option");
    }
}

static void open_socket(struct client *c) {
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET};
    struct timeval limit = {.tv_sec = (time_t)(c->limit_ms / 1000), .tv_usec = (suseconds_t)(c->limit_ms % 1000) * 1000};
    bool local = strchr(c->target, '/') != NULL;
    snprintf(path.sun_path, sizeof path.sun_path, "%s", c->target);
    port.sin_port = htons((uint16_t)strtoul(c->target, NULL, 10));
    port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = local ? connect(c->fd, (struct sockaddr *)&path, sizeof path)
                       : connect(c->fd, (struct sockaddr *)&port, sizeof port);
    if (result != 0) die("cannot connect");
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static void open_tls(struct client *c) {
    c->context = SSL_CTX_new(TLS_client_method());
    if (c->context == NULL || SSL_CTX_load_verify_locations(c->context, c->ca, NULL) != 1) die("cannot read --ca");
    if (c->cert != NULL && (SSL_CTX_use_certificate_file(c->context, c->cert, SSL_FILETYPE_PEM) != 1 || c->key == NULL ||
                            SSL_CTX_use_PrivateKey_file(c->context, c->key, SSL_FILETYPE_PEM) != 1))
        die("cannot read --cert and --key");
    SSL_CTX_set_verify(c->context, SSL_VERIFY_PEER, NULL);
    c->tls = SSL_new(c->context);
    if (c->tls == NULL || SSL_set1_host(c->tls, "localhost") != 1 || SSL_set_fd(c->tls, c->fd) != 1) die("no TLS");
    if (SSL_connect(c->tls) != 1) die("the TLS handshake failed");
}

/* The server may answer and close before it has read everything: that is not a failure. */
static void send_all(struct client *c) {
    char data[65536];
    FILE *file = c->file == NULL ? stdin : fopen(c->file, "rb");
    if (file == NULL) die("cannot read --file");
    for (size_t got; (got = fread(data, 1, sizeof data, file)) > 0;) {
        for (size_t at = 0; at < got;) {
            ssize_t sent = c->tls != NULL ? SSL_write(c->tls, data + at, (int)(got - at))
                                          : send(c->fd, data + at, got - at, MSG_NOSIGNAL);
            if (sent <= 0) break;
            at += (size_t)sent;
        }
    }
    if (file != stdin) fclose(file);
}

static int receive_all(struct client *c) {
    char data[65536];
    unsigned long total = 0;
    for (;;) {
        size_t room = c->read_limit > 0 && c->read_limit - total < sizeof data ? c->read_limit - total : sizeof data;
        errno = 0;
        ssize_t got = c->tls != NULL ? SSL_read(c->tls, data, (int)room) : recv(c->fd, data, room, 0);
        bool ended = c->tls != NULL && got <= 0 ? SSL_get_error(c->tls, (int)got) == SSL_ERROR_ZERO_RETURN : got == 0;
        if (ended) return 0;
        if (got <= 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 2;
        if (got <= 0) {
            fprintf(stderr, "test-server: the connection broke: %s\n", errno != 0 ? strerror(errno) : "TLS");
            return 1;
        }
        if (c->sizes) printf("%zd\n", got);
        else fwrite(data, 1, (size_t)got, stdout);
        fflush(stdout);
        total += (unsigned long)got;
        if (c->read_limit > 0 && total >= c->read_limit) return 0;
    }
}

int client_main(int count, char **arguments) {
    struct client c = {0};
    signal(SIGPIPE, SIG_IGN);
    read_client_options(&c, count, arguments);
    open_socket(&c);
    if (c.ca != NULL) open_tls(&c);
    send_all(&c);
    int result = receive_all(&c);
    SSL_free(c.tls);
    SSL_CTX_free(c.context);
    close(c.fd);
    return result;
}
