/* What the files of the engine share. Nothing outside src/net includes this.
 *
 *   engine.c    the caller's side: the contract of engine.h, in both modes
 *   request.c   one transfer's memory: libcurl's callbacks fill it, the caller takes from it
 *   options.c   what libcurl is told
 *   driver.c    the driving side: orders in; starts, resumes, drains and ends of transfers
 *   watch_epoll.c, watch_poll.c   how the driver waits, on Linux (poller.c) and elsewhere
 *   thread.c    a driver of its own: its thread's life
 *   fork.c      what a forked child does with its copies
 *
 * Two sides share an engine. The CALLER calls the functions of engine.h, in one thread at a time. The DRIVER is the only
 * one that calls libcurl with the multi, or with a handle that it has taken over: inline it is the caller inside a
 * call, in thread mode it is the engine's thread. Every member below belongs to the caller, to the driver, or to
 * whoever holds the lock; what is "constant" is written before the driver first sees it. Under the lock nothing waits:
 * no Lua, and nothing of libcurl but a wakeup. Inline there is one thread and no lock. */
#ifndef VLLM_NET_INTERNAL_H
#define VLLM_NET_INTERNAL_H

#if defined(__has_include)
#if !__has_include(<curl/curl.h>)
#error "libcurl's headers are missing: install libcurl4-openssl-dev (Debian, Ubuntu), libcurl-devel (Fedora) or curl-dev (Alpine)"
#endif
#endif
#include <curl/curl.h>
#include <pthread.h>
#include <sys/types.h>

#include "engine.h"
#include "notifier.h"
#include "platform.h"
#include "poller.h"
#include "ring.h"

#if LIBCURL_VERSION_NUM < 0x074100
#error "libcurl 7.65 or newer is needed"
#elif !VLLM_NET_EPOLL && LIBCURL_VERSION_NUM < 0x074400
#error "libcurl 7.68 or newer is needed here"
#endif

#define VLLM_EVENT_BATCH 64

struct vllm_bytes {
    char *data;
    size_t len, cap;
};

enum vllm_phase {
    VLLM_PHASE_NEW,     /* the caller's, or in the pool; no driver knows it yet */
    VLLM_PHASE_WAITING, /* in engine->starts */
    VLLM_PHASE_RUNNING, /* in the multi and in engine->running */
    VLLM_PHASE_DONE     /* out of the multi */
};

enum vllm_broken {
    VLLM_BROKEN_NOT,
    VLLM_BROKEN_HEAD,
    VLLM_BROKEN_SWITCH,
    VLLM_BROKEN_CODING,
    VLLM_BROKEN_MEMORY
}; /* why a callback of ours ended the transfer */

/* What the caller asks of the driver. */
enum vllm_order {
    VLLM_ORDER_START = 1,
    VLLM_ORDER_RESUME = 2,
    VLLM_ORDER_CLOSE = 4, /* the last one: the driver frees the request */
    VLLM_ORDER_DRAIN = 8  /* with CLOSE: let it end */
};

struct vllm_request {
    /* Constant while the request is open. */
    struct vllm_engine *engine;
    struct curl_slist *headers;
    size_t max_buffer, max_header_bytes;

    /* The caller's. */
    void *tag;
    struct vllm_bytes lent; /* takes turns with `filling` */

    /* The driver's; the caller prepares `easy` before it orders the start. */
    CURL *easy;
    enum vllm_phase phase;
    struct vllm_link work, resume; /* in starts or running; in resumes */
    bool in_head;                  /* between a status line and its empty line */
    unsigned codings;              /* of the body, named in this head */
    bool draining;                 /* closed by the caller; the driver lets it end */
    int64_t drain_until_ns;
    size_t drain_left;

    /* The driver's until `head_done` or `done` is set, then constant: the caller may read it without the lock. */
    struct vllm_bytes head; /* header lines of the latest response head */
    long status;
    enum vllm_broken broken;
    CURLcode result;
    long os_errno, verify_result;
    bool lacked_descriptor;           /* for a socket */
    char error_text[CURL_ERROR_SIZE]; /* libcurl writes it */

    /* Under the lock. */
    struct vllm_link ready, order; /* in engine->ready; in engine->orders, or in the pool */
    unsigned orders;               /* bits of enum vllm_order, not obeyed yet */
    bool head_done;                /* the final response's empty line was seen */
    bool done;                     /* out of the multi; `result` holds */
    bool closed;                   /* by the caller, who must not hear of it again */
    bool paused;
    struct vllm_bytes filling;
    uint64_t body_bytes;
    struct vllm_request_info info; /* thread mode: as of the head, then as of the end */
};

struct vllm_engine {
    /* Constant. */
    pid_t pid;
    bool threaded;
    long max_idle_age_s;
    size_t max_starts;

    /* The caller's. */
    size_t holds; /* its own and one for each request that is not closed */
    bool has_thread;
    pthread_t thread;

    /* The driver's. */
    CURLM *multi;
    bool multi_failed; /* it is to be replaced before it gets another request */
    struct vllm_link starts, running, resumes;
    size_t drains; /* requests in `running` that only drain */
    int *sockets;  /* open ones, for a forked child, which must let go of them */
    size_t sockets_len, sockets_cap;
#if VLLM_NET_EPOLL
    struct vllm_poller poller;
    struct vllm_notifier waker;                        /* ends the thread's wait */
    struct vllm_poller_event events[VLLM_EVENT_BATCH]; /* what the last wait found */
    int events_len;
    int64_t curl_due_ns; /* when libcurl wants to be called */
#else
    int64_t due_ns; /* the next wait ends then */
#endif

    /* Under the lock. */
    pthread_mutex_t lock;
    struct vllm_link ready, pool, orders;
    size_t pool_len;
    int64_t alarm_ns;               /* when the caller wants to be woken */
    int64_t sleeps_until_ns;        /* thread: its wait ends then */
    bool wake_asked;                /* the thread's wait is ended already */
    bool news, told;                /* something for the caller; `bell` was signalled since the caller's last step */
    bool stopping, ended, orphaned; /* the thread: is to end; has ended its work; frees the engine itself */

    /* Thread mode: the caller's descriptor. The thread signals it, the caller drains it. */
    struct vllm_notifier bell;
    struct vllm_link exits; /* these two: under thread.c's own lock */
    bool joined;
    struct vllm_link forks; /* under fork.c's own lock */
};

#define VLLM_REQUEST_OF(link, member) ((struct vllm_request *)(void *)((char *)(link)-offsetof(struct vllm_request, member)))

#define VLLM_ENGINE_OF(link, member) ((struct vllm_engine *)(void *)((char *)(link)-offsetof(struct vllm_engine, member)))

static inline void vllm_engine_lock(struct vllm_engine *engine) {
    if (engine->threaded) (void)pthread_mutex_lock(&engine->lock);
}

static inline void vllm_engine_unlock(struct vllm_engine *engine) {
    if (engine->threaded) (void)pthread_mutex_unlock(&engine->lock);
}

/* engine.c */
bool vllm_engine_forked(const struct vllm_engine *engine);
void vllm_engine_order(struct vllm_request *request, unsigned orders); /* the caller's; inline it is obeyed at once */
void vllm_engine_destroy(struct vllm_engine *engine);                  /* when nobody drives it */
void vllm_engine_abandon(struct vllm_engine *engine);                  /* in a forked child: closes this process's copies */

/* request.c */
struct vllm_request *vllm_request_obtain(struct vllm_engine *engine); /* from the pool or new; NULL: no memory */
void vllm_request_discard(struct vllm_request *request);              /* into the pool, or freed; it is not in the multi */
void vllm_request_free(struct vllm_request *request);
void vllm_request_mark_ready(struct vllm_request *request);                                   /* under the lock */
void vllm_request_measure(const struct vllm_request *request, struct vllm_request_info *out); /* the driver's */
size_t vllm_request_on_header(char *line, size_t size, size_t count, void *ud);
size_t vllm_request_on_body(char *bytes, size_t size, size_t count, void *ud);

/* options.c */
enum vllm_net_status vllm_options_apply(struct vllm_request *request, const struct vllm_request_options *options, const char **why);

/* driver.c */
int64_t vllm_now_ns(void); /* CLOCK_MONOTONIC */
bool vllm_driver_open(struct vllm_engine *engine);
void vllm_driver_close(struct vllm_engine *engine);                   /* ends all transfers and frees what is closed; may run twice */
void vllm_driver_obey(struct vllm_request *request, unsigned orders); /* after CLOSE the request may be gone */
bool vllm_driver_take_orders(struct vllm_engine *engine);             /* obeys what the caller left; false: the last one is to stop */
void vllm_driver_work(struct vllm_engine *engine);                    /* what the last wait found, and what is due */
int64_t vllm_driver_due(const struct vllm_engine *engine);            /* when there is work again */

/* watch_epoll.c, watch_poll.c */
bool vllm_watch_open(struct vllm_engine *engine);                    /* whatever it returns, close it */
bool vllm_watch_attach(struct vllm_engine *engine, CURLM *multi);    /* what this multi wants is waited for */
void vllm_watch_close(struct vllm_engine *engine);                   /* the multi is gone; may run twice */
int64_t vllm_watch_due(const struct vllm_engine *engine);            /* when libcurl wants to be called */
void vllm_watch_set_due(struct vllm_engine *engine, int64_t due_ns); /* ends a wait then */
int vllm_watch_wait(struct vllm_engine *engine, int timeout_ms);     /* -1: errno (EINTR: a signal) */
CURLMcode vllm_watch_serve(struct vllm_engine *engine);              /* libcurl works on what the wait found */
CURLMcode vllm_watch_kick(struct vllm_engine *engine, bool resumed); /* libcurl works on what is due by its clock */
void vllm_watch_wake(struct vllm_engine *engine);                    /* ends the thread's wait; from any thread, under the lock */

/* thread.c */
bool vllm_thread_start(struct vllm_engine *engine); /* unless it runs; false: the system has no thread for us */
bool vllm_thread_stop(struct vllm_engine *engine);  /* false: it is stuck, and frees the engine when it is not */

/* fork.c: between the two a forked child abandons it */
void vllm_fork_enter(struct vllm_engine *engine);
void vllm_fork_leave(struct vllm_engine *engine);

/* sockets.c; `ud` of the first is the request, of the second, which may outlive it, the engine */
#define VLLM_MAX_PROBED 4
bool vllm_descriptors_left(size_t count); /* could this process open so many more, VLLM_MAX_PROBED at the most? */
curl_socket_t vllm_socket_open(void *ud, curlsocktype purpose, struct curl_sockaddr *address);
int vllm_socket_close(void *ud, curl_socket_t fd);
void vllm_sockets_abandon(struct vllm_engine *engine); /* in a forked child: closes this process's copies */

#endif
