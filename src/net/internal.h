/* What the files of the engine share. Nothing outside src/net includes this. Each file calls only those below it:
 *
 *   request.c     the caller's side of one request: takes what transfer.c received
 *   engine.c      the caller's side of an engine, in both modes
 *   thread.c      the life of the engine's thread, in thread mode
 *   life.c        an engine's birth and end
 *   fork.c        what a forked child does with its copies
 *   driver.c      the driving side: takes orders; starts, resumes, drains and ends transfers
 *   options.c     what libcurl is told
 *   transfer.c    one transfer's memory, which libcurl's callbacks fill
 *   sockets.c     the sockets that libcurl opens
 *   watch_epoll.c, watch_poll.c   how the driver waits, on Linux (poller.c) and elsewhere
 *   notifier.c, poller.c, signals.c   one concept of the system each
 *
 * An engine has two sides. The CALLER calls the functions of engine.h, from one thread at a time. The DRIVER is the
 * only one that calls libcurl with the multi, or with a handle it has taken over. Inline, the driver is the caller
 * inside a call; in thread mode, it is the engine's thread. Every member below belongs to the caller, to the driver, or
 * to whoever holds the lock; "constant" members are written before the driver first sees them. Nothing waits under the
 * lock: no Lua, and of libcurl nothing but a wakeup. Inline there is one thread and no lock. */
#ifndef VLLM_NET_INTERNAL_H
#define VLLM_NET_INTERNAL_H

#if defined(__has_include)
#if !__has_include(<curl/curl.h>)
#error "no libcurl headers: install libcurl4-openssl-dev (Debian, Ubuntu), libcurl-devel (Fedora) or curl-dev (Alpine)"
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
#error "libcurl 7.68 or newer is needed on systems without epoll"
#endif

#define VLLM_EVENT_BATCH 64

struct vllm_bytes {
    char *data;
    size_t len, cap;
};

enum vllm_phase {
    VLLM_PHASE_NEW,     /* the caller's, or in the pool; the driver does not know it yet */
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
}; /* why one of our callbacks ended the transfer */

/* What the caller asks of the driver. */
enum vllm_order {
    VLLM_ORDER_START = 1,
    VLLM_ORDER_RESUME = 2,
    VLLM_ORDER_CLOSE = 4, /* the last one: the driver frees the request */
    VLLM_ORDER_DRAIN = 8  /* with CLOSE: let it finish */
};

struct vllm_request {
    /* Constant while the request is open. */
    struct vllm_engine *engine;
    struct curl_slist *headers;
    size_t max_buffer, max_header_bytes;

    /* The caller's. */
    void *tag;
    struct vllm_bytes lent; /* what the caller reads; swapped with `filling` */

    /* The driver's; the caller prepares `easy` before it orders the start. */
    CURL *easy;
    enum vllm_phase phase;
    struct vllm_link work, resume; /* in starts or running; in resumes */
    bool in_head;                  /* between a status line and its empty line */
    unsigned codings;              /* of the body, named in this head */
    bool draining;                 /* closed by the caller; the driver lets it finish */
    int64_t drain_until_ns;
    size_t drain_left;

    /* The driver's until `head_done` or `done` is set, then constant: the caller may read it without the lock. */
    struct vllm_bytes head; /* header lines of the latest response head */
    long status;
    enum vllm_broken broken;
    CURLcode result;
    long os_errno, verify_result;
    bool lacked_descriptor;           /* when it opened a socket */
    char error_text[CURL_ERROR_SIZE]; /* libcurl writes it */

    /* Under the lock. */
    struct vllm_link ready, order; /* in engine->ready; in engine->orders, or in the pool */
    unsigned orders;               /* bits of enum vllm_order, not carried out yet */
    bool head_done;                /* the empty line after the final response's head was seen */
    bool done;                     /* out of the multi; `result` holds */
    bool closed;                   /* by the caller, who must not be told of it again */
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
    size_t holds; /* the caller's own, and one for each request that is not closed */
    bool has_thread;
    pthread_t thread;

    /* The driver's. */
    CURLM *multi;
    bool multi_failed; /* replace it before the next request */
    struct vllm_link starts, running, resumes;
    size_t drains; /* requests in `running` that only drain */
    int *sockets;  /* open ones, which a forked child must close */
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
    int64_t sleeps_until_ns;        /* when the thread's wait ends */
    bool wake_asked;                /* the thread's wait has been ended already */
    bool news, told;                /* there is something for the caller; the bell rang since the caller's last step */
    bool stopping, ended, orphaned; /* the thread must end; has ended its work; frees the engine itself */

    /* Thread mode: the caller's descriptor. The thread signals it; the caller drains it. */
    struct vllm_notifier bell;
    struct vllm_link exits; /* these two: under thread.c's own lock */
    bool joined;
    struct vllm_link forks; /* under fork.c's own lock */
};

#define VLLM_REQUEST_OF(link, member) \
    ((struct vllm_request *)(void *)((char *)(link)-offsetof(struct vllm_request, member)))

#define VLLM_ENGINE_OF(link, member) \
    ((struct vllm_engine *)(void *)((char *)(link)-offsetof(struct vllm_engine, member)))

static inline void vllm_engine_lock(struct vllm_engine *engine) {
    if (engine->threaded) (void)pthread_mutex_lock(&engine->lock);
}

static inline void vllm_engine_unlock(struct vllm_engine *engine) {
    if (engine->threaded) (void)pthread_mutex_unlock(&engine->lock);
}

/* engine.c */
void vllm_engine_order(struct vllm_request *request,
                       unsigned orders); /* from the caller; inline it is carried out at once */

/* life.c */
void vllm_engine_destroy(struct vllm_engine *engine); /* no driver may be at work */

/* transfer.c */
struct vllm_request *vllm_transfer_obtain(struct vllm_engine *engine); /* from the pool or new; NULL: no memory */
void vllm_transfer_discard(struct vllm_request *request); /* back to the pool, or freed; it is not in the multi */
void vllm_transfer_free(struct vllm_request *request);
void vllm_transfer_mark_ready(struct vllm_request *request);                                   /* under the lock */
void vllm_transfer_measure(const struct vllm_request *request, struct vllm_request_info *out); /* the driver's */
size_t vllm_transfer_on_header(char *line, size_t size, size_t count, void *ud);
size_t vllm_transfer_on_body(char *bytes, size_t size, size_t count, void *ud);

/* options.c */
enum vllm_net_status vllm_options_apply(struct vllm_request *request, const struct vllm_request_options *options,
                                        const char **why);

/* driver.c */
bool vllm_driver_open(struct vllm_engine *engine);
void vllm_driver_close(struct vllm_engine *engine); /* ends all transfers, frees closed requests; may run twice */
void vllm_driver_obey(struct vllm_request *request, unsigned orders); /* after CLOSE the request may be gone */
bool vllm_driver_take_orders(
    struct vllm_engine *engine);                   /* carries out the caller's orders; false: the thread must stop */
void vllm_driver_work(struct vllm_engine *engine); /* does what the last wait found, and what is due */
int64_t vllm_driver_due(const struct vllm_engine *engine); /* when there is work again */

/* watch_epoll.c, watch_poll.c */
bool vllm_watch_open(struct vllm_engine *engine);                    /* close it, whatever this returns */
bool vllm_watch_attach(struct vllm_engine *engine, CURLM *multi);    /* watches what this multi wants */
void vllm_watch_close(struct vllm_engine *engine);                   /* the multi is gone; may run twice */
int64_t vllm_watch_due(const struct vllm_engine *engine);            /* when libcurl wants to be called */
void vllm_watch_set_due(struct vllm_engine *engine, int64_t due_ns); /* ends a wait then */
int vllm_watch_wait(struct vllm_engine *engine, int timeout_ms);     /* -1: errno (EINTR: a signal) */
CURLMcode vllm_watch_serve(struct vllm_engine *engine);              /* libcurl works on what the wait found */
CURLMcode vllm_watch_kick(struct vllm_engine *engine, bool resumed); /* libcurl works on what is due by its clock */
void vllm_watch_wake(struct vllm_engine *engine); /* ends the thread's wait; from any thread, under the lock */

/* thread.c */
bool vllm_thread_start(struct vllm_engine *engine); /* unless it runs; false: the system has no thread for us */
bool vllm_thread_stop(struct vllm_engine *engine);  /* false: it is stuck, and will free the engine itself */

/* fork.c: a child forked between enter and leave closes its copies */
void vllm_fork_enter(struct vllm_engine *engine);
void vllm_fork_leave(struct vllm_engine *engine);
bool vllm_is_forked(const struct vllm_engine *engine); /* this process is such a child */

/* sockets.c. `ud` of socket_open is the request; `ud` of socket_close is the engine, since the socket may outlive the
 * request. */
#define VLLM_MAX_PROBED 4
bool vllm_descriptors_left(size_t count); /* could this process open `count` more? At most VLLM_MAX_PROBED are tried. */
curl_socket_t vllm_socket_open(void *ud, curlsocktype purpose, struct curl_sockaddr *address);
int vllm_socket_close(void *ud, curl_socket_t fd);
void vllm_sockets_abandon(struct vllm_engine *engine); /* in a forked child: closes this process's copies */

#endif
