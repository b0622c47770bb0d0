/* HTTP requests over libcurl with ONE pollable descriptor. No Lua, nothing of the core, no idea of chat: status,
 * headers, bytes, end.
 *
 * An engine drives one `curl_multi` from an epoll set and a timerfd. Inline, the caller does so in vllm_engine_step. In
 * thread mode, a thread of the engine does; it begins with the first request or alarm and takes no signals. (Systems
 * without epoll use such a thread in curl_multi_poll.) The functions and their meaning are the same. libcurl's
 * callbacks only write C memory. Only one thread may call an engine at a time, beside its own. Only the last release
 * waits for that thread, for a second at most. An engine lives until its last request is closed.
 *
 * After a fork, the child's engine refuses everything: statuses are VLLM_NET_FORKED, or VLLM_NET_WAIT in thread mode
 * where a function has no FORKED. The child's copies of the descriptors are closed when fork returns. Its release sends
 * nothing on the parent's connections, waits for no thread, and leaves the memory alone. No function exits, aborts,
 * prints, or has an unbounded buffer. */
#ifndef VLLM_ENGINE_H
#define VLLM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vllm_net_status {
    VLLM_NET_OK = 0,
    VLLM_NET_WAIT,   /* nothing yet: step the engine, or wait until its descriptor is readable */
    VLLM_NET_END,    /* the body is complete */
    VLLM_NET_FAILED, /* the request failed: vllm_request_error */
    VLLM_NET_NOMEM,
    VLLM_NET_INVALID, /* an option that cannot be honoured: `why` of vllm_engine_add */
    VLLM_NET_FORKED,
    VLLM_NET_INTERRUPTED /* a signal ended the wait */
};

enum vllm_engine_mode {
    VLLM_ENGINE_INLINE, /* the caller's thread does the work, in vllm_engine_step; without epoll: as THREAD */
    VLLM_ENGINE_THREAD  /* a thread of the engine does */
};

struct vllm_engine;
struct vllm_request;

struct vllm_engine_options {
    enum vllm_engine_mode mode;
    long max_idle_age_s; /* a pooled connection that was idle for longer is not reused */
    size_t max_starts;   /* requests started in one step; 0: 16. The rest follow in later steps */
};

struct vllm_request_options {
    const char *url;            /* http or https only */
    const char *method;         /* "POST", "GET", … */
    const char *const *headers; /* "Name: value" lines, NULL at the end; not Content-Length, not Transfer-Encoding */
    const char *body;           /* copied; NULL: none */
    size_t body_len;
    long connect_timeout_ms; /* 0: none */
    size_t max_buffer;       /* body bytes held before the transfer is paused, besides those lent; 0: 256 KiB */
    size_t max_header_bytes; /* of the final response's header block; 0: 64 KiB */
    const char *unix_socket, *proxy, *no_proxy, *ca_file, *ca_path, *cert, *key; /* NULL: the default */
    const char *key_password; /* NULL: the key has none. Nothing ever prompts for it */
    bool insecure;            /* do not verify TLS: only if the user says so explicitly */
};

struct vllm_request_error {
    int curl_code;       /* CURLcode */
    long os_errno;       /* 0 when unknown */
    long verify_result;  /* OpenSSL's X509 verify result; 0 when fine or unknown */
    char text[256];      /* libcurl's own sentence; contains no header and no key */
    uint64_t body_bytes; /* received before */
};

struct vllm_request_info {
    double name_lookup_s, connect_s, tls_s, start_transfer_s, total_s;
    bool reused;       /* an existing connection was used */
    long http_version; /* 10, 11; 0: unknown */
    uint64_t upload_bytes, body_bytes;
    char remote_ip[64];
    long remote_port;
};

/* NULL: no memory or no descriptor (errno). No thread and no descriptor exists before this call. */
struct vllm_engine *vllm_engine_new(const struct vllm_engine_options *options);
/* Drops the caller's hold. Requests that are not closed keep the engine alive. NULL: does nothing. */
void vllm_engine_release(struct vllm_engine *engine);

int vllm_engine_fd(const struct vllm_engine *engine); /* readable: call step(0). -1 in a forked child */
/* Waits up to timeout_ms (-1: for ever; 0: not at all) and does what is due; in thread mode, learns what was done. OK,
 * INTERRUPTED (also at once, while a trapped SIGINT has not been taken: signals.h), FORKED. */
enum vllm_net_status vllm_engine_step(struct vllm_engine *engine, int timeout_ms);
/* The next request on which something happened since it was last returned here; NULL: none. Borrowed. */
struct vllm_request *vllm_engine_ready(struct vllm_engine *engine);

#define VLLM_ENGINE_NO_ALARM INT64_MAX
/* Makes the descriptor readable, and ends a waiting step, at `at_ns` of CLOCK_MONOTONIC; in the past: at once. There is
 * one alarm, and a new one replaces it. The first step after its time clears it. VLLM_ENGINE_NO_ALARM: none. */
void vllm_engine_alarm(struct vllm_engine *engine, int64_t at_ns);
/* Requests that are not closed and, inline, closed ones that still drain. 0: only an alarm needs the descriptor
 * watched. 0 in a forked child. */
size_t vllm_engine_live(const struct vllm_engine *engine);

/* Starts a request; all options are copied. On INVALID, `why` (constant) names the option. */
enum vllm_net_status vllm_engine_add(struct vllm_engine *engine, const struct vllm_request_options *options,
                                     struct vllm_request **out, const char **why);

/* OK once the final response's head is in: `status` and `headers` ("Name: value\r\n" lines, borrowed until close).
 * WAIT, FAILED. */
enum vllm_net_status vllm_request_head(struct vllm_request *request, long *status, const char **headers,
                                       size_t *headers_len);
/* OK: `*bytes` is borrowed until the next call on the engine; the caller has taken all of it. WAIT, END, FAILED (only
 * after all bytes that did arrive were taken). */
enum vllm_net_status vllm_request_read(struct vllm_request *request, const char **bytes, size_t *len);
void vllm_request_error(const struct vllm_request *request, struct vllm_request_error *out);
/* As of now. In thread mode: as of the head, later as of the end; only body_bytes is as of now. */
void vllm_request_info(const struct vllm_request *request, struct vllm_request_info *out);
void *vllm_request_tag(const struct vllm_request *request); /* the caller's own value */
void vllm_request_set_tag(struct vllm_request *request, void *tag);
/* Ends it now: the server sees the close at once, or as soon as the engine's thread gets to it. With `drain`, a
 * response that only lacks its end may still finish later (a bounded number of bytes and a second at most), so that its
 * connection can be reused. Frees `request`. */
void vllm_request_close(struct vllm_request *request, bool drain);

#endif
