/* What the tests of the engine share: a server that the test program plays itself, by hand and in the same thread. It
 * accepts, reads and answers between the engine's steps, so every order of events is the test's choice and no clock
 * decides anything. */
#ifndef VLLM_ENGINE_PEER_H
#define VLLM_ENGINE_PEER_H

#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../src/net/engine.h"

#define PATIENCE 2000 /* steps of at most 5 ms before a test gives up */
#define HEAD     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

/* The server by hand ----------------------------------------------------------------------------------------------- */

struct server {
    struct vllm_engine *engine;
    enum vllm_engine_mode mode;
    int listener;
    char url[64];
    char request[65536]; /* what the last read_request saw */
};

static inline int listen_on(const struct sockaddr *address, socklen_t len) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, address, len) != 0 || listen(fd, 128) != 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static inline void server_open(struct server *server) {
    struct vllm_engine_options options = {server->mode, 4, 0};
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listener = listen_on((struct sockaddr *)&address, sizeof address);
    getsockname(server->listener, (struct sockaddr *)&address, &len);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d/v1", ntohs(address.sin_port));
    server->engine = vllm_engine_new(&options);
    CHECK(server->engine != NULL);
    if (!server->engine) exit(1);
}

/* Whether the engine's work needs the caller's steps. */
static inline bool is_inline(const struct server *server) {
#if defined(__linux__) && !defined(VLLM_NET_PORTABLE)
    return server->mode == VLLM_ENGINE_INLINE;
#else
    return server == NULL;
#endif
}

static inline void server_close(struct server *server) {
    vllm_engine_release(server->engine);
    close(server->listener);
}

/* Steps the engine until `fd` is readable. */
static inline bool await(struct server *server, int fd) {
    for (int i = 0; i < PATIENCE; i++) {
        struct pollfd ready = {fd, POLLIN, 0};
        if (poll(&ready, 1, 0) == 1) return true;
        (void)vllm_engine_step(server->engine, 5);
    }
    return false;
}

/* Some steps without a wait: what is on its way arrives. */
static inline void settle(struct server *server) {
    for (int i = 0; i < 20; i++) {
        (void)vllm_engine_step(server->engine, 5);
    }
}

static inline int server_accept(struct server *server) {
    int fd = await(server, server->listener) ? accept(server->listener, NULL, NULL) : -1;
    CHECK(fd >= 0);
    if (fd < 0) {
        exit(check_report("engine: no connection came"));
    }
    return fd;
}

/* Reads up to the empty line and `body_len` bytes more. */
static inline bool read_request(struct server *server, int fd, size_t body_len) {
    size_t len = 0;
    while (len < sizeof server->request - 1 && await(server, fd)) {
        ssize_t got = recv(fd, server->request + len, sizeof server->request - 1 - len, 0);
        if (got <= 0) break;
        len += (size_t)got;
        server->request[len] = '\0';
        const char *end = strstr(server->request, "\r\n\r\n");
        if (end && len - (size_t)(end + 4 - server->request) >= body_len) return true;
    }
    return false;
}

static inline bool request_begins(const struct server *server, const char *text) {
    return strncmp(server->request, text, strlen(text)) == 0;
}

static inline void send_text(int fd, const char *text) {
    size_t len = strlen(text);
    CHECK(send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len);
}

/* The peer's end comes: an orderly close or a reset, but no byte. */
static inline bool sees_close(struct server *server, int fd) {
    char byte;
    return await(server, fd) && recv(fd, &byte, 1, 0) <= 0;
}

/* Requests --------------------------------------------------------------------------------------------------------- */

static inline struct vllm_request_options get_options(const struct server *server) {
    struct vllm_request_options options;
    memset(&options, 0, sizeof options);
    options.url = server->url;
    options.method = "GET";
    options.proxy = ""; /* whatever the environment says */
    return options;
}

static inline struct vllm_request *add(struct server *server, const struct vllm_request_options *options) {
    struct vllm_request *request = NULL;
    const char *why = NULL;
    CHECK_STATUS(vllm_engine_add(server->engine, options, &request, &why), VLLM_NET_OK);
    if (!request) {
        printf("refused: %s\n", why ? why : "?");
        exit(1);
    }
    return request;
}

static inline struct vllm_request *get(struct server *server) {
    struct vllm_request_options options = get_options(server);
    return add(server, &options);
}

/* The status, or 0 when the request failed. `headers` (may be NULL) gets the header block. */
static inline long await_head(struct server *server, struct vllm_request *request, struct vllm_slice *headers) {
    struct vllm_slice block = {NULL, 0};
    long status = 0;
    enum vllm_net_status got = VLLM_NET_WAIT;
    for (int i = 0; i < PATIENCE && got == VLLM_NET_WAIT; i++) {
        got = vllm_request_head(request, &status, &block.ptr, &block.len);
        if (got == VLLM_NET_WAIT) (void)vllm_engine_step(server->engine, 5);
    }
    CHECK(got != VLLM_NET_WAIT);
    if (headers) *headers = block;
    return got == VLLM_NET_OK ? status : 0;
}

/* Reads to the end; what came goes to `text`. END, FAILED, or WAIT when patience ran out. */
static inline enum vllm_net_status read_all(struct server *server, struct vllm_request *request, char *text,
                                            size_t size) {
    size_t used = 0;
    enum vllm_net_status got = VLLM_NET_WAIT;
    for (int i = 0; i < PATIENCE && (got == VLLM_NET_WAIT || got == VLLM_NET_OK); i++) {
        const char *bytes;
        size_t len;
        got = vllm_request_read(request, &bytes, &len);
        if (got == VLLM_NET_WAIT) (void)vllm_engine_step(server->engine, 5);
        if (got == VLLM_NET_OK && len < size - used) {
            memcpy(text + used, bytes, len);
            used += len;
        }
    }
    text[used] = '\0';
    return got;
}

static inline int error_code(struct vllm_request *request, struct vllm_request_error *error) {
    vllm_request_error(request, error);
    CHECK(error->text[0] != '\0');
    return error->curl_code;
}

typedef void engine_test(struct server *);

/* A request that a test closed at once may have come this far on the thread: the next test must not take it for its
 * own. */
static inline void drop_connections(struct server *server) {
    int fd;
    settle(server);
    while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
        close(fd);
    }
}

/* Every test in every mode. */
static inline void run_tests(engine_test *const *tests, size_t count) {
    static const enum vllm_engine_mode modes[] = {VLLM_ENGINE_INLINE, VLLM_ENGINE_THREAD};
    static struct server server;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a test that hangs must still say what failed before */
    for (size_t mode = 0; mode < sizeof modes / sizeof *modes; mode++) {
        memset(&server, 0, sizeof server);
        server.mode = modes[mode];
        server_open(&server);
        for (size_t i = 0; i < count; i++) {
            tests[i](&server);
            drop_connections(&server);
        }
        server_close(&server);
    }
}

#endif
