/* The engine without memory, in every mode: two requests over one connection, each done again and again while one allocation fails, of ours
 * or of libcurl's, the first, the second, … : once alone, and once with all that follow. A request is refused for lack of memory, or
 * fails and says why, or comes through whole; the next one on the same engine works; and no block is left behind.
 * Linked with --wrap: what src/net asks the C library for comes here first. */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <pthread.h>

#include "engine_peer.h"

/* Memory ----------------------------------------------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *ptr, size_t size);
void __real_free(void *ptr);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *ptr, size_t size);
void __wrap_free(void *ptr);

/* As check_memory's, under a lock: the engine may have a thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long blocks, made, left = -1;
static bool once;

static bool may_have(void) {
    pthread_mutex_lock(&lock);
    bool may = left != 0;
    made++;
    left -= left > 0 || (left == 0 && once);
    pthread_mutex_unlock(&lock);
    return may;
}

static void tally(bool more, bool less) {
    pthread_mutex_lock(&lock);
    blocks += more - less;
    pthread_mutex_unlock(&lock);
}

static long read_counter(const long *counter) {
    pthread_mutex_lock(&lock);
    long value = *counter;
    pthread_mutex_unlock(&lock);
    return value;
}

void *__wrap_malloc(size_t size) {
    void *ptr = may_have() ? __real_malloc(size) : NULL;
    tally(ptr != NULL, false);
    return ptr;
}

void *__wrap_calloc(size_t count, size_t size) {
    void *ptr = may_have() ? __real_calloc(count, size) : NULL;
    tally(ptr != NULL, false);
    return ptr;
}

void *__wrap_realloc(void *ptr, size_t size) {
    void *moved = may_have() ? __real_realloc(ptr, size) : NULL;
    tally(moved && !ptr, false);
    return moved;
}

void __wrap_free(void *ptr) {
    tally(false, ptr != NULL);
    __real_free(ptr);
}

static char *copy_text(const char *text) {
    char *copy = __wrap_malloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

static void fail_at(long number, bool just_once) {
    pthread_mutex_lock(&lock);
    left = number;
    once = just_once;
    made = 0;
    pthread_mutex_unlock(&lock);
}

/* The server, which needs no memory ---------------------------------------------------------------------------------- */

#define ANSWER                                                                                                        \
    HEAD "Transfer-Encoding: chunked\r\nX-Request-Id: 7\r\n\r\n"                                                      \
         "5\r\nhello\r\n8\r\n, world!\r\n0\r\n\r\n"

struct peer {
    int listener, fd;
    size_t len;
    char url[64], request[4096];
};

static void peer_open(struct peer *peer) {
    struct server server;
    memset(&server, 0, sizeof server);
    server.mode = VLLM_ENGINE_INLINE;
    server_open(&server);
    vllm_engine_release(server.engine);
    peer->listener = server.listener;
    peer->fd = -1;
    peer->len = 0;
    memcpy(peer->url, server.url, sizeof peer->url);
}

static void peer_hang_up(struct peer *peer) {
    if (peer->fd >= 0) close(peer->fd);
    peer->fd = -1;
    peer->len = 0;
}

/* A newer connection replaces the older one. Each whole request is answered. */
static void peer_turn(struct peer *peer) {
    int fd = accept4(peer->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        peer_hang_up(peer);
        peer->fd = fd;
    }
    ssize_t got = peer->fd < 0 ? 0 : recv(peer->fd, peer->request + peer->len, sizeof peer->request - 1 - peer->len, 0);
    if (got <= 0) return;
    peer->len += (size_t)got;
    peer->request[peer->len] = '\0';
    if (strstr(peer->request, "\r\n\r\n{\"a\":1}")) {
        (void)!send(peer->fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL);
        peer->len = 0;
    }
}

/* Requests --------------------------------------------------------------------------------------------------------- */

enum outcome { REFUSED, FAILED, WHOLE, STUCK };

static enum outcome read_answer(struct vllm_engine *engine, struct vllm_request *request, struct peer *peer) {
    char text[64];
    size_t used = 0, len;
    const char *bytes;
    enum vllm_net_status got = VLLM_NET_WAIT;
    for (int i = 0; i < PATIENCE && (got == VLLM_NET_WAIT || got == VLLM_NET_OK); i++) {
        peer_turn(peer);
        (void)vllm_engine_step(engine, i < 20 ? 0 : 1);
        (void)vllm_engine_ready(engine);
        got = vllm_request_read(request, &bytes, &len);
        if (got == VLLM_NET_OK && len < sizeof text - used) {
            memcpy(text + used, bytes, len);
            used += len;
        }
    }
    if (got == VLLM_NET_END) CHECK(used == 13 && memcmp(text, "hello, world!", 13) == 0);
    return got == VLLM_NET_END ? WHOLE : got == VLLM_NET_FAILED ? FAILED : STUCK;
}

static void check_error(struct vllm_request *request) {
    struct vllm_request_error error;
    vllm_request_error(request, &error);
    CHECK(error.curl_code != 0 && error.text[0] != '\0');
    if (getenv("MEMORY_CODES")) printf("code %d: %s\n", error.curl_code, error.text);
}

static enum outcome ask(struct vllm_engine *engine, struct peer *peer) {
    static const char *const headers[] = {"Content-Type: application/json", "Authorization: Bearer k", "X-Empty;", NULL};
    struct vllm_request_options options;
    struct vllm_request *request = NULL;
    const char *why = NULL;
    memset(&options, 0, sizeof options);
    options.url = peer->url;
    options.method = "POST";
    options.headers = headers;
    options.body = "{\"a\":1}";
    options.body_len = 7;
    options.proxy = "";
    options.no_proxy = "example.com";
    options.ca_file = options.cert = options.key = "/nowhere.pem"; /* for https: only kept here */
    enum vllm_net_status status = vllm_engine_add(engine, &options, &request, &why);
    if (status != VLLM_NET_OK) {
        CHECK_STATUS(status, VLLM_NET_NOMEM);
        CHECK(request == NULL);
        return REFUSED;
    }
    enum outcome outcome = read_answer(engine, request, peer);
    if (outcome == FAILED) check_error(request);
    if (outcome == WHOLE) {
        struct vllm_slice head;
        long code;
        CHECK_STATUS(vllm_request_head(request, &code, &head.ptr, &head.len), VLLM_NET_OK);
        CHECK(code == 200);
        CHECK_BYTES(head, "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nX-Request-Id: 7\r\n");
    }
    vllm_request_close(request, outcome == WHOLE);
    return outcome;
}

/* One failure after the other -------------------------------------------------------------------------------------- */

struct failure {
    enum vllm_engine_mode mode;
    long number; /* -1: none */
    bool once;
};

static void expect(const struct failure *failure, const char *which, bool holds, enum outcome outcome) {
    static const char *const names[] = {"refused", "failed", "whole", "stuck"};
    if (!holds) {
        printf("%s, without allocation %ld%s: the %s request: %s\n", failure->mode == VLLM_ENGINE_THREAD ? "thread" : "inline",
               failure->number, failure->once ? "" : " and what follows", which, names[outcome]);
    }
    CHECK(holds);
}

/* What lacks memory inside of curl_easy_reset is not told, and its handle fails once more. Only if nothing else lacked it at that
 * moment is the handle used again; it has RESET_TEXTS texts to make, and two requests came before. */
#define RESET_TEXTS 4
static int unlucky;

static void ask_again(const struct failure *failure, struct vllm_engine *engine, struct peer *peer) {
    enum outcome outcome = ask(engine, peer);
    if (outcome == FAILED && failure->once) {
        unlucky++;
        outcome = ask(engine, peer);
    }
    expect(failure, "next", outcome == WHOLE, outcome);
}

/* Two requests while memory lacks, then one with all of it. Returns how many allocations the first part asked for. */
static long run(struct peer *peer, struct failure failure) {
    struct vllm_engine_options options = {failure.mode, 4, 0};
    enum outcome first = REFUSED, second = REFUSED;
    fail_at(failure.number, failure.once);
    struct vllm_engine *engine = vllm_engine_new(&options);
    if (engine) {
        first = ask(engine, peer);
        second = ask(engine, peer);
    }
    long asked = read_counter(&made);
    bool failed = failure.number >= 0 && failure.number < asked;
    fail_at(-1, false);
    expect(&failure, "first", first == WHOLE || (failed && first != STUCK), first);
    expect(&failure, "second", second == WHOLE || (failed && second != STUCK), second);
    if (!engine) engine = vllm_engine_new(&options);
    CHECK(engine != NULL);
    ask_again(&failure, engine, peer);
    CHECK(vllm_engine_live(engine) <= 1); /* it may drain */
    vllm_engine_release(engine);
    peer_hang_up(peer);
    return asked;
}

static void run_mode(struct peer *peer, enum vllm_engine_mode mode) {
    const struct failure none = {mode, -1, false};
    (void)run(peer, none);
    long before = read_counter(&blocks), asked = run(peer, none);
    CHECK(read_counter(&blocks) == before && asked > 50);
    unlucky = 0;
    for (int just_once = 0; just_once < 2; just_once++) {
        for (long number = 0; number < asked; number++) {
            struct failure failure = {mode, number, just_once != 0};
            (void)run(peer, failure);
            CHECK(read_counter(&blocks) == before);
            before = read_counter(&blocks);
        }
    }
    CHECK(unlucky <= 2 * RESET_TEXTS);
}

int main(void) {
    struct peer peer;
    setvbuf(stdout, NULL, _IOLBF, 0);
    CHECK(curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, __wrap_free, __wrap_realloc, copy_text, __wrap_calloc) == CURLE_OK);
    peer_open(&peer);
    run_mode(&peer, VLLM_ENGINE_INLINE);
    run_mode(&peer, VLLM_ENGINE_THREAD);
    close(peer.listener);
    return check_report("the engine without memory");
}
