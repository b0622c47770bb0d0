/* What the files of the engine share. engine.c owns the multi and the clock, request.c one transfer's memory and
 * callbacks, options.c what libcurl is told. Nothing outside src/net includes this. */
#ifndef VLLM_NET_INTERNAL_H
#define VLLM_NET_INTERNAL_H

#if defined(__has_include)
#if !__has_include(<curl/curl.h>)
#error \
    "libcurl's headers are missing: install libcurl4-openssl-dev (Debian, Ubuntu), libcurl-devel (Fedora) or curl-dev (Alpine)"
#endif
#endif
#include <curl/curl.h>
#include <sys/types.h>

#include "engine.h"
#include "poller.h"

#if LIBCURL_VERSION_NUM < 0x074100
#error "libcurl 7.65 or newer is needed"
#endif

/* A ring of requests; a request is in at most one ring per link. */
struct vllm_link {
    struct vllm_link *prev, *next;
};

struct vllm_bytes {
    char *data;
    size_t len, cap;
};

enum vllm_phase {
    VLLM_PHASE_POOLED, /* nobody's; waits for its next use */
    VLLM_PHASE_WAITING, /* in engine->starts */
    VLLM_PHASE_RUNNING, /* in the multi and in engine->running */
    VLLM_PHASE_DONE /* out of the multi; `result` holds */
};

enum vllm_broken {
    VLLM_BROKEN_NOT,
    VLLM_BROKEN_HEAD,
    VLLM_BROKEN_SWITCH,
    VLLM_BROKEN_MEMORY
}; /* why a callback of ours ended the transfer */

struct vllm_request {
    struct vllm_engine *engine;
    CURL *easy;
    enum vllm_phase phase;
    struct vllm_link work, resume, ready; /* engine->starts, ->running or ->pool; ->resumes; ->ready */
    void *tag;
    struct curl_slist *headers;
    size_t max_buffer, max_header_bytes;

    struct vllm_bytes head; /* header lines of the latest response head */
    long status;
    bool in_head, head_done; /* between a status line and its empty line; the final one's empty line was seen */
    enum vllm_broken broken;

    struct vllm_bytes filling, lent; /* swapped by read: libcurl fills one while the caller holds the other */
    bool paused;
    uint64_t body_bytes;

    bool draining; /* closed by the caller; the engine lets it end */
    int64_t drain_until_ns;
    size_t drain_left;

    CURLcode result;
    char error_text[CURL_ERROR_SIZE];
};

struct vllm_engine {
    CURLM *multi;
    struct vllm_poller poller;
    pid_t pid;
    size_t holds; /* the caller's and one for each request that is not closed */
    long max_idle_age_s;
    size_t max_starts;
    int64_t curl_due_ns; /* when libcurl wants to be called */
    int64_t alarm_ns; /* when the caller wants to be woken */
    size_t drains; /* requests in `running` that only drain */
    size_t pool_len;
    struct vllm_link starts, running, resumes, ready, pool;
    int *sockets; /* open ones, for a forked child, which must let go of them */
    size_t sockets_len, sockets_cap;
};

/* engine.c */
bool vllm_engine_forked(const struct vllm_engine *engine);
void vllm_engine_mark_ready(struct vllm_request *request);
void vllm_link_init(struct vllm_link *link);
void vllm_link_append(struct vllm_link *ring, struct vllm_link *link); /* takes it out of its ring first */
void vllm_link_remove(struct vllm_link *link); /* may run twice */
void vllm_engine_stop(struct vllm_request *request, CURLcode result); /* takes a running request out of the multi */
void vllm_engine_arm(struct vllm_engine *engine);
void vllm_engine_drop_hold(struct vllm_engine *engine);

/* request.c */
struct vllm_request *vllm_request_obtain(struct vllm_engine *engine); /* from the pool or new; NULL: no memory */
void vllm_request_discard(struct vllm_request *request); /* into the pool, or freed */
void vllm_request_free(struct vllm_request *request);
size_t vllm_request_on_header(char *line, size_t size, size_t count, void *ud);
size_t vllm_request_on_body(char *bytes, size_t size, size_t count, void *ud);

/* options.c */
enum vllm_net_status vllm_options_apply(struct vllm_request *request, const struct vllm_request_options *options,
                                        const char **why);

/* sockets.c */
curl_socket_t vllm_socket_open(void *ud, curlsocktype purpose, struct curl_sockaddr *address);
int vllm_socket_close(void *ud, curl_socket_t fd);
void vllm_sockets_abandon(struct vllm_engine *engine); /* in a forked child: closes this process's copies */

#endif
