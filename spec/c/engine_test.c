/* The engine against a server that this program plays itself, by hand and in the same thread: it accepts, reads and answers between
 * the engine's steps, so every order of events is the test's choice and no clock decides anything. */
#define _GNU_SOURCE
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/net/engine.h"
#include "../../src/net/signals.h"

#define PATIENCE 2000 /* steps of at most 5 ms before a test gives up */
#define HEAD     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

/* The server by hand ----------------------------------------------------------------------------------------------- */

struct server {
    struct vllm_engine *engine;
    int listener;
    char url[64];
    char request[65536]; /* what the last read_request saw */
};

static int listen_on(const struct sockaddr *address, socklen_t len) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, address, len) != 0 || listen(fd, 128) != 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static void server_open(struct server *server) {
    struct vllm_engine_options options = {VLLM_ENGINE_INLINE, 4, 0};
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

static void server_close(struct server *server) {
    vllm_engine_release(server->engine);
    close(server->listener);
}

/* Steps the engine until `fd` is readable. */
static bool await(struct server *server, int fd) {
    for (int i = 0; i < PATIENCE; i++) {
        struct pollfd ready = {fd, POLLIN, 0};
        if (poll(&ready, 1, 0) == 1) return true;
        (void)vllm_engine_step(server->engine, 5);
    }
    return false;
}

/* Some steps with nobody waiting: what is on its way arrives. */
static void settle(struct server *server) {
    for (int i = 0; i < 20; i++) {
        (void)vllm_engine_step(server->engine, 5);
    }
}

static int server_accept(struct server *server) {
    int fd = await(server, server->listener) ? accept(server->listener, NULL, NULL) : -1;
    CHECK(fd >= 0);
    if (fd < 0) {
        exit(check_report("engine: no connection came"));
    }
    return fd;
}

/* Reads up to the empty line and `body_len` bytes more. */
static bool read_request(struct server *server, int fd, size_t body_len) {
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

static bool request_begins(const struct server *server, const char *text) {
    return strncmp(server->request, text, strlen(text)) == 0;
}

static void send_text(int fd, const char *text) {
    size_t len = strlen(text);
    CHECK(send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len);
}

/* The peer's end comes: an orderly close or a reset, but no byte. */
static bool sees_close(struct server *server, int fd) {
    char byte;
    return await(server, fd) && recv(fd, &byte, 1, 0) <= 0;
}

/* Requests --------------------------------------------------------------------------------------------------------- */

static struct vllm_request_options get_options(const struct server *server) {
    struct vllm_request_options options;
    memset(&options, 0, sizeof options);
    options.url = server->url;
    options.method = "GET";
    options.proxy = ""; /* whatever the environment says */
    return options;
}

static struct vllm_request *add(struct server *server, const struct vllm_request_options *options) {
    struct vllm_request *request = NULL;
    const char *why = NULL;
    CHECK_STATUS(vllm_engine_add(server->engine, options, &request, &why), VLLM_NET_OK);
    if (!request) {
        printf("refused: %s\n", why ? why : "?");
        exit(1);
    }
    return request;
}

static struct vllm_request *get(struct server *server) {
    struct vllm_request_options options = get_options(server);
    return add(server, &options);
}

/* The status, or 0 when the request failed. `headers` (may be NULL) gets the header block. */
static long await_head(struct server *server, struct vllm_request *request, struct vllm_slice *headers) {
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
static enum vllm_net_status read_all(struct server *server, struct vllm_request *request, char *text, size_t size) {
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

static int error_code(struct vllm_request *request, struct vllm_request_error *error) {
    vllm_request_error(request, error);
    CHECK(error->text[0] != '\0');
    return error->curl_code;
}

/* Tests ------------------------------------------------------------------------------------------------------------ */

static void test_what_the_server_sees(struct server *server) {
    const char *headers[] = {"Content-Type: application/json", "X-Empty;", "Authorization: Bearer k", NULL};
    struct vllm_request_options options = get_options(server);
    char text[64];
    options.method = "POST";
    options.headers = headers;
    options.body = "{\"a\":1}\n";
    options.body_len = 8;
    struct vllm_request *request = add(server, &options);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 8));
    CHECK(request_begins(server, "POST /v1 HTTP/1.1\r\n"));
    CHECK(strstr(server->request, "\r\nContent-Type: application/json\r\n") != NULL);
    CHECK(strstr(server->request, "\r\nX-Empty:\r\n") != NULL);
    CHECK(strstr(server->request, "\r\nAuthorization: Bearer k\r\n") != NULL);
    CHECK(strstr(server->request, "\r\nContent-Length: 8\r\n") != NULL);
    CHECK(strstr(server->request, "\r\n\r\n{\"a\":1}\n") != NULL);
    CHECK(strstr(server->request, "Expect") == NULL);
    CHECK(strstr(server->request, "Accept-Encoding") == NULL);
    CHECK(strstr(server->request, "User-Agent") == NULL);
    send_text(fd, HEAD "Content-Length: 5\r\n\r\nhello");
    struct vllm_slice block;
    CHECK(await_head(server, request, &block) == 200);
    CHECK_BYTES(block, "Content-Type: text/event-stream\r\nContent-Length: 5\r\n");
    CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_END);
    CHECK(strcmp(text, "hello") == 0);
    struct vllm_request_info info;
    vllm_request_info(request, &info);
    CHECK(!info.reused && info.http_version == 11 && info.upload_bytes == 8 && info.body_bytes == 5);
    CHECK(strcmp(info.remote_ip, "127.0.0.1") == 0 && info.remote_port > 0);
    CHECK(info.total_s > 0 && info.start_transfer_s > 0);
    vllm_request_close(request, false);
    close(fd);
}

static void test_no_body_claims_no_type(struct server *server) {
    struct vllm_request_options options = get_options(server);
    options.method = "POST";
    struct vllm_request *request = add(server, &options);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    CHECK(strstr(server->request, "\r\nContent-Length: 0\r\n") != NULL);
    CHECK(strstr(server->request, "Content-Type") == NULL);
    vllm_request_close(request, false);
    CHECK(sees_close(server, fd));
    close(fd);
}

/* One connection serves request after request, whether the end was read or only drained. */
static void test_keep_alive(struct server *server) {
    struct vllm_request *request = get(server);
    int fd = server_accept(server);
    char text[64];
    for (int round = 0; round < 6; round++) {
        bool drain = round % 2 == 0, last = round == 5;
        if (round > 0) request = get(server);
        CHECK(read_request(server, fd, 0));
        send_text(fd, HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        CHECK(await_head(server, request, NULL) == 200);
        struct vllm_request_info info;
        vllm_request_info(request, &info);
        CHECK(info.reused == (round > 0));
        if (drain) {
            vllm_request_close(request, true); /* the last chunk is still to come */
            send_text(fd, "0\r\n\r\n");
            settle(server);
        } else {
            send_text(fd, "0\r\nX-Trailer: passed-over\r\n\r\n");
            CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_END);
            CHECK(strcmp(text, "hello") == 0);
            struct vllm_slice block;
            CHECK(await_head(server, request, &block) == 200);
            CHECK(memmem(block.ptr, block.len, "X-Trailer", 9) == NULL);
            vllm_request_close(request, last);
        }
    }
    close(fd);
}

/* A drain is bounded: a server that goes on talking is cut off. */
static void test_drain_is_bounded(struct server *server) {
    static char flood[16384];
    struct vllm_request *request = get(server);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "\r\nx");
    CHECK(await_head(server, request, NULL) == 200);
    vllm_request_close(request, true);
    memset(flood, 'x', sizeof flood);
    bool cut = false;
    for (int i = 0; i < 64 && !cut; i++) {
        cut = send(fd, flood, sizeof flood, MSG_NOSIGNAL) < 0;
        for (int j = 0; j < 4; j++) {
            (void)vllm_engine_step(server->engine, 5);
        }
    }
    CHECK(cut);
    close(fd);
}

static void test_silent_drain_ends(struct server *server) {
    struct vllm_request *request = get(server);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "\r\nx");
    CHECK(await_head(server, request, NULL) == 200);
    vllm_request_close(request, true);
    CHECK(sees_close(server, fd)); /* after DRAIN_NS */
    close(fd);
}

/* uvicorn closes idle connections; the request that meets such a corpse is sent again on a fresh one. */
static void test_dead_pooled_connection(struct server *server) {
    char text[64];
    struct vllm_request_options options = get_options(server);
    options.method = "POST";
    options.body = "again";
    options.body_len = 5;
    struct vllm_request *request = add(server, &options);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 5));
    send_text(fd, HEAD "Content-Length: 1\r\n\r\na");
    CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_END);
    vllm_request_close(request, true);
    request = add(server, &options);
    CHECK(read_request(server, fd, 5)); /* reused; and now it dies without a byte */
    close(fd);
    fd = server_accept(server);
    CHECK(read_request(server, fd, 5));
    CHECK(strstr(server->request, "\r\n\r\nagain") != NULL);
    send_text(fd, HEAD "Content-Length: 1\r\n\r\nb");
    CHECK(await_head(server, request, NULL) == 200);
    CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_END);
    CHECK(strcmp(text, "b") == 0);
    vllm_request_close(request, true);
    close(fd);
}

static void test_close_is_seen_at_once(struct server *server) {
    struct vllm_request *request = get(server);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "\r\ndata: 1\n\n");
    CHECK(await_head(server, request, NULL) == 200);
    vllm_request_close(request, false);
    struct pollfd ready = {fd, POLLIN, 0}; /* without a step: the close itself closes */
    CHECK(poll(&ready, 1, 1000) == 1);
    CHECK(sees_close(server, fd));
    close(fd);
}

/* More than the buffer holds: libcurl is paused, the socket fills, nothing is lost. */
static void test_pause_and_resume(struct server *server) {
    enum { TOTAL = 1 << 20, BUFFER = 65536 };
    struct vllm_request_options options = get_options(server);
    options.max_buffer = BUFFER;
    struct vllm_request *request = add(server, &options);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "Content-Length: 1048576\r\n\r\n");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    size_t sent = 0, got = 0, largest = 0;
    bool right = true;
    for (int i = 0; i < PATIENCE && got < TOTAL; i++) {
        static char piece[65536];
        for (int burst = 0; burst < 8 && sent < TOTAL; burst++) {
            size_t want = TOTAL - sent < sizeof piece ? TOTAL - sent : sizeof piece;
            for (size_t k = 0; k < want; k++) {
                piece[k] = (char)((sent + k) % 251);
            }
            ssize_t done = send(fd, piece, want, MSG_NOSIGNAL);
            sent += done > 0 ? (size_t)done : 0;
        }
        for (int j = 0; j < 8; j++) {
            (void)vllm_engine_step(server->engine, 1); /* more often than is read: the buffer must fill */
        }
        const char *bytes;
        size_t len;
        if (vllm_request_read(request, &bytes, &len) != VLLM_NET_OK) continue;
        for (size_t k = 0; k < len; k++) {
            right = right && bytes[k] == (char)((got + k) % 251);
        }
        got += len;
        largest = len > largest ? len : largest;
    }
    CHECK(right);
    CHECK(got == TOTAL);
    CHECK(largest > BUFFER / 2 && largest <= BUFFER);
    char rest[8];
    CHECK_STATUS(read_all(server, request, rest, sizeof rest), VLLM_NET_END);
    vllm_request_close(request, true);
    close(fd);
}

/* A paused request can be closed, drained, and outlived by its engine's handle. */
static void test_close_while_paused(struct server *server) {
    static char flood[40000];
    for (int drain = 0; drain < 2; drain++) {
        struct vllm_request_options options = get_options(server);
        options.max_buffer = 1;
        struct vllm_request *request = add(server, &options);
        int fd = server_accept(server);
        CHECK(read_request(server, fd, 0));
        memset(flood, 'x', sizeof flood - 1);
        send_text(fd, HEAD "Content-Length: 39999\r\n\r\n");
        CHECK(await_head(server, request, NULL) == 200);
        send_text(fd, flood);
        settle(server);
        const char *bytes;
        size_t len;
        CHECK_STATUS(vllm_request_read(request, &bytes, &len), VLLM_NET_OK);
        CHECK(len > 0 && len <= 16384);
        vllm_request_close(request, drain != 0);
        if (drain) {
            settle(server);
            struct vllm_request *next = get(server); /* on the same connection: the drain ended it */
            CHECK(read_request(server, fd, 0));
            vllm_request_close(next, false);
        }
        CHECK(sees_close(server, fd));
        close(fd);
    }
}

static void test_informational_heads(struct server *server) {
    struct vllm_request *request = get(server);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, "HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    settle(server);
    long status;
    const char *headers;
    size_t len;
    CHECK_STATUS(vllm_request_head(request, &status, &headers, &len), VLLM_NET_WAIT);
    send_text(fd, "HTTP/1.1 404 Not Found\r\nX-Late: 2\r\nContent-Length: 0\r\n\r\n");
    struct vllm_slice block;
    CHECK(await_head(server, request, &block) == 404);
    CHECK_BYTES(block, "X-Late: 2\r\nContent-Length: 0\r\n");
    vllm_request_close(request, false);
    close(fd);
}

/* What a server can do wrong: each row's answer, libcurl's code, and how many body bytes are still delivered. */
static void test_broken_answers(struct server *server) {
    static const struct {
        const char *answer;
        int code;
        const char *body;
    } rows[] = {
        {"", 52, ""},
        {"SSH-2.0-OpenSSH_9.2\r\n", 1, ""},
        {HEAD "Content-Length: 100\r\n\r\nhello", 18, "hello"},
        {HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 18, "hello"},
        {HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n", 56, "hello"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vllm_request *request = get(server);
        int fd = server_accept(server);
        char text[64];
        struct vllm_request_error error;
        CHECK(read_request(server, fd, 0));
        send_text(fd, rows[i].answer);
        close(fd);
        CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_FAILED);
        CHECK(strcmp(text, rows[i].body) == 0);
        CHECK_STATUS(error_code(request, &error), rows[i].code);
        CHECK(error.body_bytes == strlen(rows[i].body));
        vllm_request_close(request, false);
    }
}

static void test_header_limit(struct server *server) {
    char line[900];
    memset(line, 'a', sizeof line);
    memcpy(line, "X-Long: ", 8);
    memcpy(line + sizeof line - 3, "\r\n", 3);
    for (int lines = 1; lines <= 2; lines++) {
        struct vllm_request_options options = get_options(server);
        options.max_header_bytes = 1000;
        struct vllm_request *request = add(server, &options);
        int fd = server_accept(server);
        struct vllm_request_error error;
        CHECK(read_request(server, fd, 0));
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
        for (int i = 0; i < lines; i++) {
            send_text(fd, line);
        }
        send_text(fd, "\r\n");
        CHECK(await_head(server, request, NULL) == (lines == 1 ? 200 : 0));
        if (lines == 2) {
            CHECK_STATUS(error_code(request, &error), 23);
            CHECK(strcmp(error.text, "the response's header block is longer than 1000 bytes") == 0);
        }
        vllm_request_close(request, false);
        close(fd);
    }
}

static void test_redirects_are_not_followed(struct server *server) {
    struct vllm_request *request = get(server);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    char text[8];
    CHECK(await_head(server, request, NULL) == 307);
    CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_END);
    vllm_request_close(request, false);
    close(fd);
}

static void test_refused_connection(struct server *server) {
    struct vllm_request_options options = get_options(server);
    struct server nobody;
    struct vllm_request_error error;
    char text[8];
    server_open(&nobody); /* a port that was free a moment ago */
    server_close(&nobody);
    options.url = nobody.url;
    struct vllm_request *request = add(server, &options);
    CHECK(await_head(server, request, NULL) == 0);
    CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_FAILED);
    CHECK_STATUS(error_code(request, &error), 7);
    CHECK(error.os_errno == ECONNREFUSED);
    vllm_request_close(request, false);
}

static void test_refused_options(struct server *server) {
    static const char *const split[] = {"X-A: b\r\nX-Injected: 1", NULL}, *const nameless[] = {": b", NULL},
                             *const spaced[] = {"X A: b", NULL}, *const bare[] = {"X-A", NULL},
                             *const semi[] = {"X-A; b", NULL};
    static const struct {
        const char *url, *method;
        const char *const *headers;
        const char *why;
    } rows[] = {
        {NULL, "GET", NULL, "url"},
        {"ftp://127.0.0.1/", "GET", NULL, "url"},
        {"file:///etc/passwd", "GET", NULL, "url"},
        {"127.0.0.1", "GET", NULL, "url"},
        {"http://127.0.0.1/a b", "GET", NULL, "url"},
        {"http://127.0.0.1/\r\nX: 1", "GET", NULL, "url"},
        {"http://127.0.0.1/", NULL, NULL, "method"},
        {"http://127.0.0.1/", "", NULL, "method"},
        {"http://127.0.0.1/", "GET / HTTP/1.1\r\nX: 1", NULL, "method"},
        {"http://127.0.0.1/", "A234567890123456789012345678901234", NULL, "method"},
        {"http://127.0.0.1/", "GET", split, "headers"},
        {"http://127.0.0.1/", "GET", nameless, "headers"},
        {"http://127.0.0.1/", "GET", spaced, "headers"},
        {"http://127.0.0.1/", "GET", bare, "headers"},
        {"http://127.0.0.1/", "GET", semi, "headers"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vllm_request_options options;
        struct vllm_request *request = NULL;
        const char *why = NULL;
        memset(&options, 0, sizeof options);
        options.url = rows[i].url;
        options.method = rows[i].method;
        options.headers = rows[i].headers;
        CHECK_STATUS(vllm_engine_add(server->engine, &options, &request, &why), VLLM_NET_INVALID);
        CHECK(request == NULL && why != NULL && strcmp(why, rows[i].why) == 0);
    }
}

static void test_unix_socket(struct server *server) {
    struct sockaddr_un address;
    struct server local = *server;
    struct vllm_request_options options = get_options(server);
    char text[8], directory[] = "/tmp/vllm-engine-XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", directory);
    local.listener = listen_on((struct sockaddr *)&address, sizeof address);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* not meant for a unix socket */
    options.url = "http://vllm.local/v1";
    options.proxy = NULL;
    options.unix_socket = address.sun_path;
    struct vllm_request *request = add(server, &options);
    int fd = server_accept(&local);
    CHECK(read_request(&local, fd, 0));
    CHECK(request_begins(&local, "GET /v1 HTTP/1.1\r\nHost: vllm.local\r\n"));
    send_text(fd, HEAD "Content-Length: 2\r\n\r\nok");
    CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_END);
    CHECK(strcmp(text, "ok") == 0);
    vllm_request_close(request, true);
    unsetenv("http_proxy");
    close(fd);
    close(local.listener);
    unlink(address.sun_path);
    rmdir(directory);
}

/* The server plays the proxy; its CONNECT answer must not be taken for the server's. */
static void test_proxy(struct server *server) {
    struct vllm_request_options options = get_options(server);
    struct vllm_request_error error;
    options.proxy = server->url;
    options.url = "http://elsewhere.test/v1";
    struct vllm_request *request = add(server, &options);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    CHECK(request_begins(server, "GET http://elsewhere.test/v1 HTTP/1.1\r\n"));
    send_text(fd, HEAD "Content-Length: 0\r\n\r\n");
    CHECK(await_head(server, request, NULL) == 200);
    vllm_request_close(request, false);
    close(fd);

    options.url = "https://elsewhere.test/v1";
    request = add(server, &options);
    fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    CHECK(request_begins(server, "CONNECT elsewhere.test:443 HTTP/1.1\r\n"));
    send_text(fd, "HTTP/1.1 403 Forbidden\r\nX-Proxy: no\r\nContent-Length: 0\r\n\r\n");
    CHECK(await_head(server, request, NULL) == 0);
    CHECK_STATUS(error_code(request, &error), 56);
    CHECK(strstr(error.text, "403") != NULL);
    vllm_request_close(request, false);
    close(fd);

    options.no_proxy = "127.0.0.1";
    options.url = server->url;
    options.proxy = "http://127.0.0.1:1";
    request = add(server, &options);
    fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    CHECK(request_begins(server, "GET /v1 "));
    vllm_request_close(request, false);
    close(fd);
}

static void test_many_at_once(struct server *server) {
    enum { COUNT = 50 };
    struct vllm_request *requests[COUNT];
    int fds[COUNT];
    char text[16], expected[16];
    for (int i = 0; i < COUNT; i++) {
        char url[96];
        struct vllm_request_options options = get_options(server);
        snprintf(url, sizeof url, "%s/%02d", server->url, i);
        options.url = url;
        requests[i] = add(server, &options);
        vllm_request_set_tag(requests[i], &fds[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        fds[i] = server_accept(server); /* no answer before the last came: none can use another's connection */
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK(read_request(server, fds[i], 0));
        char answer[128];
        snprintf(answer, sizeof answer, HEAD "Content-Length: 2\r\n\r\n%.2s", server->request + 8);
        send_text(fds[i], answer);
    }
    int seen = 0;
    for (int i = 0; i < COUNT; i++) {
        CHECK_STATUS(read_all(server, requests[i], text, sizeof text), VLLM_NET_END);
        snprintf(expected, sizeof expected, "%02d", i);
        CHECK(strcmp(text, expected) == 0);
    }
    for (struct vllm_request *ready; (ready = vllm_engine_ready(server->engine)) != NULL; seen++) {
        int *tag = vllm_request_tag(ready);
        CHECK(tag >= fds && tag < fds + COUNT);
    }
    CHECK(seen == COUNT);
    for (int i = 0; i < COUNT; i++) {
        vllm_request_close(requests[i], false);
        close(fds[i]);
    }
}

/* No more than max_starts requests connect within one step. */
static void test_starts_are_spread(struct server *server) {
    struct vllm_engine_options options = {VLLM_ENGINE_INLINE, 4, 2};
    struct vllm_engine *usual = server->engine;
    struct vllm_request *requests[5];
    server->engine = vllm_engine_new(&options);
    CHECK(server->engine != NULL);
    for (int i = 0; i < 5; i++) {
        requests[i] = get(server);
    }
    int arrived = 0;
    for (int step = 1; step <= 3; step++) {
        struct pollfd ready = {vllm_engine_fd(server->engine), POLLIN, 0};
        CHECK(poll(&ready, 1, 1000) == 1); /* the descriptor asks for the step */
        CHECK_STATUS(vllm_engine_step(server->engine, 0), VLLM_NET_OK);
        int fd;
        while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
            arrived++;
            close(fd);
        }
        CHECK(arrived <= 2 * step);
    }
    CHECK(arrived == 5);
    for (int i = 0; i < 5; i++) {
        vllm_request_close(requests[i], false);
    }
    vllm_engine_release(server->engine);
    server->engine = usual;
}

/* The caller may let go of the engine first. */
static void test_release_before_close(struct server *server) {
    struct server other;
    server_open(&other);
    struct vllm_request *live = get(&other), *done = get(&other), *waiting;
    int fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = server_accept(&other);
        CHECK(read_request(&other, fds[i], 0));
        send_text(fds[i], HEAD "\r\nx");
    }
    CHECK(await_head(&other, live, NULL) == 200);
    CHECK(await_head(&other, done, NULL) == 200);
    waiting = get(&other);
    server_close(&other);
    vllm_request_close(done, true); /* drains into nothing */
    vllm_request_close(waiting, true);
    vllm_request_close(live, false);
    for (int i = 0; i < 2; i++) {
        CHECK(sees_close(server, fds[i]));
        close(fds[i]);
    }
}

static void on_alarm(int number) {
    (void)number;
}

static void test_signal_ends_a_wait(struct server *server) {
    struct sigaction action, old;
    struct itimerval soon;
    memset(&action, 0, sizeof action);
    memset(&soon, 0, sizeof soon);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, &old);
    soon.it_value.tv_usec = soon.it_interval.tv_usec = 20000; /* again and again: one may come before the wait */
    setitimer(ITIMER_REAL, &soon, NULL);
    enum vllm_net_status status = VLLM_NET_OK;
    while (status == VLLM_NET_OK) {
        status = vllm_engine_step(server->engine, -1);
    }
    CHECK_STATUS(status, VLLM_NET_INTERRUPTED);
    memset(&soon, 0, sizeof soon);
    setitimer(ITIMER_REAL, &soon, NULL);
    sigaction(SIGALRM, &old, NULL);
}

static void test_sigint_trap(struct server *server) {
    struct sigaction ours, old, after;
    memset(&ours, 0, sizeof ours);
    ours.sa_handler = on_alarm;
    sigaction(SIGINT, &ours, &old);
    CHECK(vllm_sigint_trap() && vllm_sigint_trap());
    for (int round = 0; round < 3; round++) { /* not only the first time */
        CHECK(!vllm_sigint_caught());
        raise(SIGINT);
        CHECK(vllm_sigint_pending());
        CHECK_STATUS(vllm_engine_step(server->engine, -1), VLLM_NET_INTERRUPTED); /* it came before the wait */
        CHECK_STATUS(vllm_engine_step(server->engine, 0), VLLM_NET_OK);
        CHECK(vllm_sigint_caught() && !vllm_sigint_caught());
    }
    vllm_sigint_release();
    sigaction(SIGINT, NULL, &after);
    CHECK(after.sa_handler != on_alarm);
    vllm_sigint_release();
    vllm_sigint_release(); /* one too many */
    sigaction(SIGINT, &old, &after);
    CHECK(after.sa_handler == on_alarm);
}

/* A write to a closed pipe inside the guard is no signal, and the process's own rules come back. */
static void test_sigpipe_guard(void) {
    int ends[2];
    sigset_t mask;
    struct vllm_sigpipe guard;
    CHECK(pipe(ends) == 0);
    close(ends[0]);
    vllm_sigpipe_hold(&guard);
    CHECK(write(ends[1], "x", 1) == -1 && errno == EPIPE);
    vllm_sigpipe_restore(&guard); /* with the default action, a leak would end this program here */
    close(ends[1]);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, SIGPIPE) == 0);
}

/* Ends a forked child through an exec, since a leak check at its exit would find what it leaves to libcurl on purpose. */
static void leave(int status) {
    execl("/bin/sh", "sh", "-c", status == 0 ? "exit 0" : "exit 1", (char *)NULL);
    _exit(2);
}

static int in_the_child(struct server *server, struct vllm_request *live, struct vllm_request *done) {
    struct vllm_request_options options = get_options(server);
    struct vllm_request *request = NULL;
    const char *why;
    if (vllm_engine_fd(server->engine) != -1) return 1;
    if (vllm_engine_step(server->engine, -1) != VLLM_NET_FORKED) return 2;
    if (vllm_engine_add(server->engine, &options, &request, &why) != VLLM_NET_FORKED || request) return 3;
    vllm_request_close(done, true);
    vllm_request_close(live, false);
    vllm_engine_release(server->engine);
    return 0;
}

/* The child's clean-up neither breaks nor keeps open what the parent has. */
static void test_fork(struct server *server) {
    struct vllm_request *done = get(server);
    int status = -1;
    char text[16];
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "Content-Length: 4\r\n\r\ndone");
    CHECK(await_head(server, done, NULL) == 200);
    struct vllm_request *live = get(server); /* on the same connection */
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "Content-Length: 4\r\n\r\nab");
    CHECK(await_head(server, live, NULL) == 200);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) leave(in_the_child(server, live, done));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    send_text(fd, "cd");
    CHECK_STATUS(read_all(server, live, text, sizeof text), VLLM_NET_END);
    CHECK(strcmp(text, "abcd") == 0);

    int hold[2]; /* a child that lives on, and holds copies of everything, delays no close */
    CHECK(pipe(hold) == 0);
    vllm_request_close(done, false);
    struct vllm_request *third = get(server);
    CHECK(read_request(server, fd, 0));
    child = fork();
    if (child == 0) {
        char byte;
        close(hold[1]);
        leave(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(hold[0]);
    vllm_request_close(third, false);
    CHECK(sees_close(server, fd));
    close(hold[1]);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    vllm_request_close(live, false);
    close(fd);
}

/* Nothing that the engine opens survives an exec. */
static void test_descriptors_are_close_on_exec(struct server *server) {
    struct vllm_request *request = get(server);
    int fd = server_accept(server), checked = 0;
    for (int i = 3; i < 256; i++) {
        int flags = fcntl(i, F_GETFD);
        if (flags < 0 || i == fd || i == server->listener) continue;
        struct sockaddr_in peer;
        socklen_t len = sizeof peer;
        bool ours = i == vllm_engine_fd(server->engine) ||
                    (getpeername(i, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET);
        if (!ours) continue;
        checked++;
        CHECK((flags & FD_CLOEXEC) != 0);
    }
    CHECK(checked >= 2);
    vllm_request_close(request, false);
    close(fd);
}

int main(void) {
    struct server server;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a test that hangs must still say what failed before */
    memset(&server, 0, sizeof server);
    server_open(&server);
    void (*const tests[])(struct server *) = {
        test_what_the_server_sees,
        test_no_body_claims_no_type,
        test_dead_pooled_connection,
        test_close_is_seen_at_once,
        test_pause_and_resume,
        test_close_while_paused,
        test_informational_heads,
        test_broken_answers,
        test_header_limit,
        test_redirects_are_not_followed,
        test_refused_connection,
        test_refused_options,
        test_unix_socket,
        test_proxy,
        test_many_at_once,
        test_starts_are_spread,
        test_release_before_close,
        test_signal_ends_a_wait,
        test_sigint_trap,
        test_fork,
        test_descriptors_are_close_on_exec,
        test_drain_is_bounded,
        test_silent_drain_ends,
        test_keep_alive,
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        tests[i](&server);
    }
    test_sigpipe_guard();
    server_close(&server);
    return check_report("engine");
}
