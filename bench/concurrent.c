/* The bound for bench/concurrent.lua: many paced streams with libcurl and epoll, as the engine drives them and with its
 * options (src/net/options.c), but the bytes are only counted; with `decode`, each stream also has our decoder, and its
 * events are.
 * usage: concurrent URL STREAMS SAMPLE_MS [decode] → CPU microseconds, KB resident before and SAMPLE_MS after the start,
 * bytes or events */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "../src/core/decoder.h"

enum { BATCH = 64, STARTS = 16, MAX_STREAMS = 20000 };

static int epoll_fd;
static long due_ms = -1; /* libcurl's clock */
static unsigned long long seen;
static struct vllm_decoder_options decoding;

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ud, void *socket_ud) {
    struct epoll_event event;
    (void)easy;
    (void)ud;
    (void)socket_ud;
    memset(&event, 0, sizeof event);
    event.data.fd = fd;
    if (what == CURL_POLL_REMOVE) return epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, &event) & 0;
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0u) | (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0u);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0) return 0;
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int on_timer(CURLM *multi, long timeout_ms, void *ud) {
    (void)multi;
    (void)ud;
    due_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    return 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ud) {
    (void)bytes;
    (void)ud;
    seen += size * count;
    return size * count;
}

static void *grow(void *ud, void *block, size_t old_size, size_t new_size) {
    (void)ud;
    (void)old_size;
    if (new_size > 0) return realloc(block, new_size);
    free(block);
    return NULL;
}

static const struct vllm_alloc heap = {grow, NULL};

static size_t on_decoded_body(char *bytes, size_t size, size_t count, void *ud) {
    struct vllm_event event;
    if (vllm_decoder_feed(ud, bytes, size * count) != VLLM_OK) return 0;
    while (vllm_decoder_next(ud, &event) == VLLM_OK) {
        seen++;
    }
    return size * count;
}

static CURL *new_request(const char *url, struct curl_slist *headers, bool decodes) {
    CURL *easy = curl_easy_init();
    if (!easy) return NULL;
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":true}");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, decodes ? on_decoded_body : on_body);
    struct vllm_decoder *decoder = decodes ? vllm_decoder_new(&heap, &decoding) : NULL;
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, decoder);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, decoder);
    return easy;
}

static long resident_kb(void) {
    char line[128];
    long kb = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "VmRSS:", 6) == 0) kb = strtol(line + 6, NULL, 10);
    }
    if (file) fclose(file);
    return kb;
}

static long cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (long)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static int take_ends(CURLM *multi) {
    CURLMsg *message;
    int left, ended = 0;
    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) continue;
        CURL *easy = message->easy_handle;
        if (message->data.result != CURLE_OK) fprintf(stderr, "%s\n", curl_easy_strerror(message->data.result));
        char *decoder = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &decoder);
        curl_multi_remove_handle(multi, easy);
        curl_easy_cleanup(easy);
        vllm_decoder_free((struct vllm_decoder *)(void *)decoder);
        ended++;
    }
    return ended;
}

static int wait_ms(int is_starting) {
    if (is_starting) return 0;
    if (due_ms < 0) return 1000;
    long left = due_ms - now_ms();
    return left < 0 ? 0 : left > 1000 ? 1000 : (int)left;
}

int main(int argc, char **argv) {
    int streams = argc > 3 ? atoi(argv[2]) : 0, started = 0, ended = 0, running;
    if (streams < 1 || streams > MAX_STREAMS) return 2;
    bool decodes = argc > 4 && strcmp(argv[4], "decode") == 0;
    vllm_decoder_options_default(&decoding);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CURLM *multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    long kb_before = resident_kb(), kb_then = 0, cpu_before = cpu_us(), sample_at = now_ms() + atol(argv[3]);
    while (ended < streams) {
        struct epoll_event events[BATCH];
        int count = epoll_wait(epoll_fd, events, BATCH, wait_ms(started < streams));
        for (int i = 0; i < count; i++) {
            int what = (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                       (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0);
            curl_multi_socket_action(multi, events[i].data.fd, what, &running);
        }
        for (int i = 0; i < STARTS && started < streams; i++, started++) {
            curl_multi_add_handle(multi, new_request(argv[1], headers, decodes));
        }
        if (due_ms >= 0 && due_ms <= now_ms()) {
            due_ms = -1;
            curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        ended += take_ends(multi);
        if (kb_then == 0 && now_ms() >= sample_at) kb_then = resident_kb();
    }
    printf("%ld %ld %ld %llu\n", cpu_us() - cpu_before, kb_before, kb_then, seen);
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    return 0;
}
