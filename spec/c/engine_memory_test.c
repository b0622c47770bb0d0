/* The engine without memory, in every mode: turns of every sort, each done again and again while one allocation fails,
 * of ours or of libcurl's, the first, the second, … : once alone, and once with all that follow. A request is refused
 * for lack of memory, or fails and says why, or ends as it ends with memory; the next one on the same engine works; and
 * no block is left. Linked with --wrap: what src/net asks the C library for, curl_easy_reset and
 * vllm_options_apply come here first. */
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
void __real_curl_easy_reset(CURL *easy);
void __wrap_curl_easy_reset(CURL *easy);
enum vllm_net_status __real_vllm_options_apply(struct vllm_request *request, const struct vllm_request_options *options,
                                               const char **why);
enum vllm_net_status __wrap_vllm_options_apply(struct vllm_request *request, const struct vllm_request_options *options,
                                               const char **why);

/* As check_memory's, under a lock: the engine may have a thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long blocks, made, left = -1;
static bool once;

/* What lacks memory inside of curl_easy_reset is not told. If memory still lacks right after it, the engine does not
 * use the handle again; else the handle's next request fails, with an empty reply. */
static __thread bool in_reset;
static bool reset_lacked;

/* In this thread, since vllm_options_apply began. */
static __thread bool options_lacked;

static bool may_have(void) {
    pthread_mutex_lock(&lock);
    bool may = left != 0;
    reset_lacked = reset_lacked || (in_reset && !may);
    options_lacked = options_lacked || !may;
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

void __wrap_curl_easy_reset(CURL *easy) {
    in_reset = true;
    __real_curl_easy_reset(easy);
    in_reset = false;
}

/* A request without one of its options must not be sent: who trusts an authority of his own means no other one. */
enum vllm_net_status __wrap_vllm_options_apply(struct vllm_request *request, const struct vllm_request_options *options,
                                               const char **why) {
    options_lacked = false;
    enum vllm_net_status status = __real_vllm_options_apply(request, options, why);
    CHECK_STATUS(status, options_lacked ? VLLM_NET_NOMEM : VLLM_NET_OK);
    return status;
}

static char *copy_text(const char *text) {
    char *copy = __wrap_malloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

static bool has_reset_lacked(void) {
    pthread_mutex_lock(&lock);
    bool lacked = reset_lacked;
    pthread_mutex_unlock(&lock);
    return lacked;
}

/* -1: no longer. */
static void fail_at(long number, bool just_once) {
    pthread_mutex_lock(&lock);
    left = number;
    once = just_once;
    made = 0;
    reset_lacked = reset_lacked && number < 0;
    pthread_mutex_unlock(&lock);
}

/* Turns ------------------------------------------------------------------------------------------------------------ */

struct turn {
    const char *name, *answer;
    size_t body_len; /* of the answer; it is `letters` */
    long status;
    const char *method;
    size_t max_buffer;
    bool hangs_up; /* the server, after its answer */
    enum { STAYS, LEAVES, LEAVES_QUIETLY } manner; /* the client, after the first bytes: it closes, or lets drain */
    int curl_code; /* how it ends by itself */
};

#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define CHUNKS  "5\r\nabcde\r\n8\r\nfghijklm\r\n0\r\n\r\n"
#define INTERIM "HTTP/1.1 103 Soon\r\nLink: </a>\r\n\r\n"
#define LONG    5000

static const char letters[] = "abcdefghijklm";
static char long_head[LONG + 2000], long_body[LONG + 100];

static const struct turn turns[] = {
    {"a stream", HEAD CHUNKED "X-Request-Id: 7\r\n\r\n" CHUNKS, 13, 200, "POST", 0, false, STAYS, 0},
    {"a completion", HEAD "Content-Length: 13\r\n\r\nabcdefghijklm", 13, 200, "POST", 0, false, STAYS, 0},
    {"an error", "HTTP/1.1 400 No\r\nContent-Length: 5\r\n\r\nabcde", 5, 400, "POST", 0, false, STAYS, 0},
    {"a slow reader", HEAD CHUNKED "\r\n" CHUNKS, 13, 200, "POST", 6, false, STAYS, 0},
    {"interim answers", INTERIM HEAD CHUNKED "\r\n" CHUNKS, 13, 200, "POST", 0, false, STAYS, 0},
    {"an end by closing", HEAD "\r\nabcdefghijklm", 13, 200, "POST", 0, true, STAYS, 0},
    {"a long head", long_head, 13, 200, "POST", 0, false, STAYS, 0},
    {"a long body", long_body, LONG, 200, "POST", 0, false, STAYS, 0},
    {"a query", HEAD "Content-Length: 5\r\n\r\nabcde", 5, 200, "GET", 0, false, STAYS, 0},
    {"a cut stream", HEAD CHUNKED "\r\n5\r\nabcde\r\n8\r\nfgh", 8, 200, "POST", 0, true, STAYS, CURLE_PARTIAL_FILE},
    {"a short completion", HEAD "Content-Length: 99\r\n\r\nabcde", 5, 200, "POST", 0, true, STAYS, CURLE_PARTIAL_FILE},
    {"no answer", "", 0, 0, "POST", 0, true, STAYS, CURLE_GOT_NOTHING},
    {"a cancelled stream", HEAD CHUNKED "\r\n5\r\nabcde\r\n", 5, 200, "POST", 0, false, LEAVES, 0},
    {"a drained stream", HEAD CHUNKED "\r\n" CHUNKS, 13, 200, "POST", 0, false, LEAVES_QUIETLY, 0},
};

static void make_long_answers(void) {
    size_t len = (size_t)snprintf(long_head, sizeof long_head, "%s", HEAD);
    while (len < LONG) {
        len += (size_t)snprintf(long_head + len, sizeof long_head - len, "X-Line-%zu: %0999d\r\n", len, 7);
    }
    (void)snprintf(long_head + len, sizeof long_head - len, "Content-Length: 13\r\n\r\n%s", letters);
    len = (size_t)snprintf(long_body, sizeof long_body, HEAD "Content-Length: %d\r\n\r\n", LONG);
    for (size_t i = 0; i < LONG; i++) {
        long_body[len + i] = letters[i % 13];
    }
}

/* The server, which needs no memory -------------------------------------------------------------------------------- */

struct peer {
    int listener, fd;
    size_t len;
    char url[64], request[4096];
    const struct turn *turn;
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
    bool has_body = strcmp(peer->turn->method, "POST") == 0;
    if (strstr(peer->request, has_body ? "\r\n\r\n{\"a\":1}" : "\r\n\r\n")) {
        (void)!send(peer->fd, peer->turn->answer, strlen(peer->turn->answer), MSG_NOSIGNAL);
        peer->len = 0;
        if (peer->turn->hangs_up) peer_hang_up(peer);
    }
}

/* Requests --------------------------------------------------------------------------------------------------------- */

enum outcome { REFUSED, FAILED, ENDED, STUCK }; /* ended: as it does with memory */

static size_t check_letters(const char *bytes, size_t len, size_t before) {
    size_t right = 0;
    while (right < len && bytes[right] == letters[(before + right) % 13]) right++;
    CHECK(right == len);
    return before + len;
}

static enum outcome read_answer(struct vllm_engine *engine, struct vllm_request *request, struct peer *peer) {
    size_t used = 0, len;
    const char *bytes;
    bool left_early = false;
    enum vllm_net_status got = VLLM_NET_WAIT;
    for (int i = 0; i < PATIENCE && !left_early && (got == VLLM_NET_WAIT || got == VLLM_NET_OK); i++) {
        peer_turn(peer);
        (void)vllm_engine_step(engine, i < 100 ? 0 : 1);
        (void)vllm_engine_ready(engine);
        got = vllm_request_read(request, &bytes, &len);
        if (got == VLLM_NET_OK) used = check_letters(bytes, len, used);
        left_early = used > 0 && peer->turn->manner != STAYS;
    }
    if (got == VLLM_NET_END) CHECK(used == peer->turn->body_len);
    return got == VLLM_NET_END || left_early ? ENDED : got == VLLM_NET_FAILED ? FAILED : STUCK;
}

/* Lack of memory is said to be one, but where libcurl says only what could not be done. */
static enum outcome judge_error(struct vllm_request *request, const struct turn *turn) {
    struct vllm_request_error error;
    vllm_request_error(request, &error);
    CHECK(error.text[0] != '\0');
    if (getenv("MEMORY_CODES")) printf("%s: code %d: %s\n", turn->name, error.curl_code, error.text);
    if (error.curl_code == turn->curl_code) return ENDED;
    CHECK(error.curl_code == CURLE_OUT_OF_MEMORY || error.curl_code == CURLE_COULDNT_RESOLVE_HOST ||
          error.curl_code == CURLE_COULDNT_CONNECT || (error.curl_code == CURLE_GOT_NOTHING && has_reset_lacked()));
    return FAILED;
}

static void check_head(struct vllm_request *request, const struct turn *turn) {
    struct vllm_slice head;
    long status;
    CHECK_STATUS(vllm_request_head(request, &status, &head.ptr, &head.len), VLLM_NET_OK);
    CHECK(status == turn->status);
    size_t interim = strncmp(turn->answer, INTERIM, sizeof INTERIM - 1) == 0 ? sizeof INTERIM - 1 : 0;
    const char *begin = turn->answer + interim;
    const char *fields = strchr(begin, '\n') + 1, *end = strstr(begin, "\r\n\r\n") + 2;
    CHECK(head.len == (size_t)(end - fields) && memcmp(head.ptr, fields, head.len) == 0);
}

static void set_options(struct vllm_request_options *options, const struct peer *peer) {
    static const char *const headers[] = {"Content-Type: application/json", "Authorization: Bearer k", "X-Empty;", NULL};
    memset(options, 0, sizeof *options);
    options->url = peer->url;
    options->method = peer->turn->method;
    options->headers = headers;
    if (strcmp(options->method, "POST") == 0) {
        options->body = "{\"a\":1}";
        options->body_len = 7;
    }
    options->max_buffer = peer->turn->max_buffer;
    options->proxy = "";
    options->no_proxy = "example.com";
    options->ca_file = options->ca_path = options->cert = options->key = "/nowhere.pem"; /* for https: only kept here */
}

static enum outcome ask(struct vllm_engine *engine, struct peer *peer, const struct turn *turn) {
    struct vllm_request_options options;
    struct vllm_request *request = NULL;
    const char *why = NULL;
    peer->turn = turn;
    set_options(&options, peer);
    enum vllm_net_status status = vllm_engine_add(engine, &options, &request, &why);
    if (status != VLLM_NET_OK) {
        CHECK_STATUS(status, VLLM_NET_NOMEM);
        CHECK(request == NULL);
        return REFUSED;
    }
    enum outcome outcome = read_answer(engine, request, peer);
    if (outcome == ENDED) check_head(request, turn);
    if (outcome == FAILED) outcome = judge_error(request, turn);
    vllm_request_close(request, outcome == ENDED && turn->manner != LEAVES);
    return outcome;
}

/* One failure after the other -------------------------------------------------------------------------------------- */

struct failure {
    enum vllm_engine_mode mode;
    long number; /* -1: none */
    bool once;
};

static void expect(const struct failure *failure, const struct turn *turn, const char *which, bool holds,
                   enum outcome outcome) {
    static const char *const names[] = {"refused", "failed", "ended", "stuck"};
    if (!holds) {
        printf("%s, without allocation %ld%s: %s, the %s request: %s\n",
               failure->mode == VLLM_ENGINE_THREAD ? "thread" : "inline", failure->number,
               failure->once ? "" : " and what follows", turn->name, which, names[outcome]);
    }
    CHECK(holds);
}

/* Two requests while memory lacks, then one with all of it. Returns how many allocations the first part asked for. */
static long run(struct peer *peer, const struct turn *turn, struct failure failure) {
    struct vllm_engine_options options = {failure.mode, 4, 0};
    enum outcome first = REFUSED, second = REFUSED;
    fail_at(failure.number, failure.once);
    struct vllm_engine *engine = vllm_engine_new(&options);
    if (engine) {
        first = ask(engine, peer, turn);
        second = ask(engine, peer, turn);
    }
    long asked = read_counter(&made);
    bool failed = failure.number >= 0 && failure.number < asked;
    fail_at(-1, false);
    expect(&failure, turn, "first", first == ENDED || (failed && first != STUCK), first);
    expect(&failure, turn, "second", second == ENDED || (failed && second != STUCK), second);
    if (!engine) engine = vllm_engine_new(&options);
    CHECK(engine != NULL);
    enum outcome next = ask(engine, peer, &turns[0]);
    if (next == FAILED && has_reset_lacked()) next = ask(engine, peer, &turns[0]);
    expect(&failure, turn, "next", next == ENDED, next);
    CHECK(vllm_engine_live(engine) <= 1); /* it may drain */
    vllm_engine_release(engine);
    peer_hang_up(peer);
    return asked;
}

static void run_turn(struct peer *peer, const struct turn *turn, enum vllm_engine_mode mode) {
    const struct failure none = {mode, -1, false};
    (void)run(peer, turn, none);
    long before = read_counter(&blocks), asked = run(peer, turn, none);
    CHECK(read_counter(&blocks) == before && asked > 50);
    for (int just_once = 0; just_once < 2; just_once++) {
        for (long number = 0; number < asked; number++) {
            struct failure failure = {mode, number, just_once != 0};
            (void)run(peer, turn, failure);
            CHECK(read_counter(&blocks) == before);
            before = read_counter(&blocks);
        }
    }
}

/* To the thread the turns differ only by the orders that it gets. */
static bool is_for_thread(const struct turn *turn) {
    return turn == turns || turn->max_buffer > 0 || turn->manner != STAYS;
}

int main(void) {
    struct peer peer;
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_long_answers();
    CHECK(curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, __wrap_free, __wrap_realloc, copy_text,
                               __wrap_calloc) == CURLE_OK);
    peer_open(&peer);
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        run_turn(&peer, &turns[i], VLLM_ENGINE_INLINE);
        if (is_for_thread(&turns[i])) run_turn(&peer, &turns[i], VLLM_ENGINE_THREAD);
    }
    close(peer.listener);
    return check_report("the engine without memory");
}
