/* Requests of the engine, one and many: what the server sees, what the caller gets, reuse, bounds, broken answers. */
#define _GNU_SOURCE
#include "engine_peer.h"

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

/* Nobody asked for another protocol: the request fails, and at once, though the server says nothing more. */
static void test_switched_protocols(struct server *server) {
    struct vllm_request *request = get(server);
    struct vllm_request_error error;
    const char *bytes;
    size_t len;
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\nbytes of the other");
    CHECK(await_head(server, request, NULL) == 0);
    CHECK_STATUS(vllm_request_read(request, &bytes, &len), VLLM_NET_FAILED);
    CHECK_STATUS(error_code(request, &error), 8);
    CHECK(strcmp(error.text, "the server switched to another protocol without being asked") == 0);
    vllm_request_close(request, false);
    close(fd);
}

/* libcurl quotes a proxy that it does not understand, with the password in it. */
static void test_a_proxy_is_not_quoted(struct server *server) {
    static const char *const proxies[] = {"ftp://user:secret@127.0.0.1:1", "http://user:secret@127.0.0.1:port"};
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++) {
        struct vllm_request_options options = get_options(server);
        struct vllm_request_error error;
        options.proxy = proxies[i];
        struct vllm_request *request = add(server, &options);
        CHECK(await_head(server, request, NULL) == 0);
        CHECK(error_code(request, &error) != 0);
        CHECK(strstr(error.text, "secret") == NULL);
        CHECK(strstr(error.text, "proxy") != NULL);
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
            CHECK(strcmp(error.text, "the response headers exceed 1000 bytes") == 0);
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
    struct server nobody = {.mode = server->mode};
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

/* A peer that takes the connection and never says a word of TLS. */
static void test_connect_timeout(struct server *server) {
    struct vllm_request_options options = get_options(server);
    struct vllm_request_error error;
    char url[80];
    snprintf(url, sizeof url, "https%s", server->url + 4);
    options.url = url;
    options.connect_timeout_ms = 50;
    struct vllm_request *request = add(server, &options);
    CHECK(await_head(server, request, NULL) == 0);
    CHECK_STATUS(error_code(request, &error), 28);
    vllm_request_close(request, false);
    close(server_accept(server));
}

/* The answer to HEAD says how long a body it does not have; the connection carries the next request. */
static void test_head_has_no_body(struct server *server) {
    struct vllm_request_options options = get_options(server);
    char text[16];
    options.method = "HEAD";
    struct vllm_request *request = add(server, &options);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    CHECK(request_begins(server, "HEAD /v1 HTTP/1.1\r\n"));
    send_text(fd, HEAD "Content-Length: 5\r\n\r\n");
    CHECK(await_head(server, request, NULL) == 200);
    CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_END);
    CHECK(text[0] == '\0');
    vllm_request_close(request, false);
    request = get(server);
    CHECK(read_request(server, fd, 0));
    vllm_request_close(request, false);
    close(fd);
}

/* HTTP/1.0: the end of the connection is the end of the body. */
static void test_old_answer(struct server *server) {
    struct vllm_request_info info;
    struct vllm_request *request = get(server);
    char text[16];
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold");
    close(fd);
    CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_END);
    CHECK(strcmp(text, "old") == 0);
    vllm_request_info(request, &info);
    CHECK(info.http_version == 10 && info.body_bytes == 3);
    vllm_request_close(request, false);
}

static void check_refused(struct server *server, const struct vllm_request_options *options, const char *expected) {
    struct vllm_request *request = NULL;
    const char *why = NULL;
    CHECK_STATUS(vllm_engine_add(server->engine, options, &request, &why), VLLM_NET_INVALID);
    CHECK(request == NULL && why && strcmp(why, expected) == 0);
}

static void test_refused_numbers(struct server *server) {
    struct vllm_request_options options = get_options(server);
    options.connect_timeout_ms = -1;
    check_refused(server, &options, "connect_timeout_ms");
    options.connect_timeout_ms = 0;
    options.body_len = 1;
    check_refused(server, &options, "body");
}

static void test_refused_options(struct server *server) {
    static const char *const split[] = {"X-A: b\r\nX-Injected: 1", NULL}, *const nameless[] = {": b", NULL},
                             *const spaced[] = {"X A: b", NULL}, *const bare[] = {"X-A", NULL},
                             *const semi[] = {"X-A; b", NULL}, *const length[] = {"content-length: 1", NULL},
                             *const coding[] = {"Transfer-Encoding: chunked", NULL},
                             *const no_length[] = {"Content-Length;", NULL};
    static const struct {
        const char *url, *method;
        const char *const *headers;
        const char *why, *proxy;
    } rows[] = {
        {NULL, "GET", NULL, "url", NULL},
        {"ftp://127.0.0.1/", "GET", NULL, "url", NULL},
        {"file:///etc/passwd", "GET", NULL, "url", NULL},
        {"127.0.0.1", "GET", NULL, "url", NULL},
        {"http://127.0.0.1/a b", "GET", NULL, "url", NULL},
        {"http://127.0.0.1/\r\nX: 1", "GET", NULL, "url", NULL},
        {"http://127.0.0.1/", NULL, NULL, "method", NULL},
        {"http://127.0.0.1/", "", NULL, "method", NULL},
        {"http://127.0.0.1/", "GET / HTTP/1.1\r\nX: 1", NULL, "method", NULL},
        {"http://127.0.0.1/", "A234567890123456789012345678901234", NULL, "method", NULL},
        {"http://127.0.0.1/", "GET", split, "headers", NULL},
        {"http://127.0.0.1/", "GET", nameless, "headers", NULL},
        {"http://127.0.0.1/", "GET", spaced, "headers", NULL},
        {"http://127.0.0.1/", "GET", bare, "headers", NULL},
        {"http://127.0.0.1/", "GET", semi, "headers", NULL},
        {"http://127.0.0.1/", "POST", length, "headers", NULL},
        {"http://127.0.0.1/", "POST", coding, "headers", NULL},
        {"http://127.0.0.1/", "POST", no_length, "headers", NULL},
        {"http://127.0.0.1/", "GET", NULL, "proxy", "http://u:p\r\nX: 1@127.0.0.1:1"},
        {"http://127.0.0.1/", "GET", NULL, "proxy", "http://u%0d%0aX:p@127.0.0.1:1"},
        {"http://127.0.0.1/", "GET", NULL, "proxy", "http://u:p%1F@127.0.0.1:1"},
        {"http://127.0.0.1/", "GET", NULL, "proxy", "http://u:p%7f@127.0.0.1:1"},
        {"http://127.0.0.1/", "GET", NULL, "proxy", "http://a b@127.0.0.1:1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vllm_request_options options;
        struct vllm_request *request = NULL;
        const char *why = NULL;
        memset(&options, 0, sizeof options);
        options.url = rows[i].url;
        options.method = rows[i].method;
        options.headers = rows[i].headers;
        options.proxy = rows[i].proxy;
        CHECK_STATUS(vllm_engine_add(server->engine, &options, &request, &why), VLLM_NET_INVALID);
        CHECK(request == NULL && why != NULL && strcmp(why, rows[i].why) == 0);
    }
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
    if (!is_inline(server)) return; /* a thread's steps cannot be counted from here */
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
    struct server other = {.mode = server->mode};
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

int main(void) {
    engine_test *const tests[] = {
        test_what_the_server_sees,  test_no_body_claims_no_type, test_dead_pooled_connection,
        test_close_is_seen_at_once, test_pause_and_resume,       test_close_while_paused,
        test_informational_heads,   test_broken_answers,         test_switched_protocols,
        test_a_proxy_is_not_quoted, test_header_limit,           test_redirects_are_not_followed,
        test_refused_connection,    test_refused_options,        test_connect_timeout,
        test_many_at_once,          test_starts_are_spread,      test_release_before_close,
        test_drain_is_bounded,      test_silent_drain_ends,      test_keep_alive,
        test_head_has_no_body,      test_old_answer,             test_refused_numbers,
    };
    run_tests(tests, sizeof tests / sizeof *tests);
    return check_report("engine");
}
