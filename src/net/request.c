/* One transfer's memory: libcurl's header lines and body bytes in; status, header block, body bytes, error and timings
 * out.
 *
 * Two buffers take turns: libcurl fills one, the caller holds the other; read swaps them, so nothing is copied twice
 * and the memory is used again, by this request and by later ones. Bounds: `max_buffer` for each of the two (a single
 * piece of libcurl's, at most CURL_MAX_WRITE_SIZE, is always taken by an empty one), `max_header_bytes` for the header
 * block, POOL_MAX requests kept for their next use with at most KEPT_BYTES in each buffer; and of a compressed body, while
 * the transfer is paused, what one read of libcurl's, 16 KB, stands for: 17 MB at the most, in a buffer that doubles. The
 * callbacks run on the driver; of libcurl they call getinfo at the most, which may be called there. Sources: RFC 9112
 * sections 4 and 5, RFC 9110 section 15.2 (1xx); CURLOPT_WRITEFUNCTION, CURLOPT_HEADERFUNCTION. */
#define _GNU_SOURCE
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL_MAX    8
#define KEPT_BYTES  ((size_t)256 * 1024)
#define FIRST_CAP   ((size_t)512)
#define MAX_CODINGS 1U

/* Bytes ------------------------------------------------------------------------------------------------------------ */

static bool bytes_append(struct vllm_bytes *bytes, const char *more, size_t len) {
    if (len > bytes->cap - bytes->len) {
        if (len > SIZE_MAX / 2 - bytes->len) return false;
        size_t needed = bytes->len + len, cap = bytes->cap ? bytes->cap : FIRST_CAP;
        while (cap < needed) {
            cap *= 2; /* needed is below SIZE_MAX / 2 */
        }
        char *grown = realloc(bytes->data, cap);
        if (!grown) return false;
        bytes->data = grown;
        bytes->cap = cap;
    }
    if (len > 0) memcpy(bytes->data + bytes->len, more, len);
    bytes->len += len;
    return true;
}

static void bytes_free(struct vllm_bytes *bytes) {
    free(bytes->data);
    memset(bytes, 0, sizeof *bytes);
}

static void bytes_reuse(struct vllm_bytes *bytes) {
    if (bytes->cap > KEPT_BYTES) {
        bytes_free(bytes);
    } else {
        bytes->len = 0;
    }
}

/* Life ------------------------------------------------------------------------------------------------------------- */

static struct vllm_request *request_new(struct vllm_engine *engine) {
    struct vllm_request *request = calloc(1, sizeof *request);
    if (!request) return NULL;
    request->engine = engine;
    vllm_link_init(&request->work);
    vllm_link_init(&request->resume);
    vllm_link_init(&request->ready);
    vllm_link_init(&request->order);
    request->easy = curl_easy_init();
    if (request->easy) return request;
    free(request);
    return NULL;
}

struct vllm_request *vllm_request_obtain(struct vllm_engine *engine) {
    struct vllm_request *request = NULL;
    vllm_engine_lock(engine);
    if (engine->pool_len > 0) {
        request = VLLM_REQUEST_OF(engine->pool.prev, order);
        vllm_link_remove(&request->order);
        engine->pool_len--;
    }
    vllm_engine_unlock(engine);
    return request ? request : request_new(engine);
}

void vllm_request_free(struct vllm_request *request) {
    curl_easy_cleanup(request->easy);
    curl_slist_free_all(request->headers);
    bytes_free(&request->head);
    bytes_free(&request->filling);
    bytes_free(&request->lent);
    free(request);
}

/* As new, but for the handle and the memory of the buffers. */
static void request_reset(struct vllm_request *request) {
    curl_easy_reset(request->easy); /* drops the body and every option; the handle keeps nothing of the request */
    curl_slist_free_all(request->headers);
    struct vllm_request kept = *request;
    bytes_reuse(&kept.head);
    bytes_reuse(&kept.filling);
    bytes_reuse(&kept.lent);
    memset(request, 0, sizeof *request);
    request->engine = kept.engine;
    request->easy = kept.easy;
    request->head = kept.head;
    request->filling = kept.filling;
    request->lent = kept.lent;
    vllm_link_init(&request->work);
    vllm_link_init(&request->resume);
    vllm_link_init(&request->ready);
    vllm_link_init(&request->order);
}

/* Asked of libcurl's allocator, which need not be ours. */
static bool is_short_of_memory(void) {
    struct curl_slist *probe = curl_slist_append(NULL, "?");
    curl_slist_free_all(probe);
    return !probe;
}

/* curl_easy_reset does not say when it lacked memory for the defaults; such a handle reads nothing, and is not kept. */
void vllm_request_discard(struct vllm_request *request) {
    struct vllm_engine *engine = request->engine;
    request_reset(request);
    bool is_fit = !is_short_of_memory();
    vllm_engine_lock(engine);
    bool kept = is_fit && engine->pool_len < POOL_MAX;
    if (kept) {
        vllm_link_append(&engine->pool, &request->order);
        engine->pool_len++;
    }
    vllm_engine_unlock(engine);
    if (!kept) vllm_request_free(request);
}

void vllm_request_mark_ready(struct vllm_request *request) {
    if (request->closed) return;
    request->engine->news = true;
    if (vllm_link_is_alone(&request->ready)) vllm_link_append(&request->engine->ready, &request->ready);
}

/* libcurl's callbacks ---------------------------------------------------------------------------------------------- */

static long status_of_line(const char *line, size_t len) {
    const char *space = memchr(line, ' ', len);
    size_t left = space ? len - (size_t)(space - line) : 0;
    long status = 0;
    for (size_t i = 1; i < left && i <= 3 && space[i] >= '0' && space[i] <= '9'; i++) {
        status = status * 10 + (space[i] - '0');
    }
    return status;
}

static void publish_head(struct vllm_request *request) {
    struct vllm_request_info info;
    if (request->engine->threaded) vllm_request_measure(request, &info);
    vllm_engine_lock(request->engine);
    if (request->engine->threaded) request->info = info;
    request->head_done = true;
    vllm_request_mark_ready(request);
    vllm_engine_unlock(request->engine);
}

/* The value of a header line if it has this name (lower case, with its colon), without blanks around it; else NULL. */
static const char *value_of(const char *line, size_t *len, const char *name) {
    size_t at = strlen(name);
    if (*len < at || !curl_strnequal(line, name, at)) return NULL;
    while (at < *len && (line[at] == ' ' || line[at] == '\t')) at++;
    while (*len > at && (unsigned char)line[*len - 1] <= ' ') (*len)--;
    *len -= at;
    return line + at;
}

static bool is_one_of(const char *value, size_t len, const char *const *words) {
    for (; *words; words++) {
        if (len == strlen(*words) && curl_strnequal(value, *words, len)) return true;
    }
    return false;
}

/* One gzip or deflate is undone: it stands for a thousand times as much at the most. With others, or several, there is no
 * such bound. RFC 9110, section 8.4.1; RFC 1951. */
static void note_coding(struct vllm_request *request, const char *line, size_t len) {
    static const char *const none[] = {"", "identity", NULL}, *const undone[] = {"gzip", "x-gzip", "deflate", NULL};
    const char *value = value_of(line, &len, "content-encoding:");
    if (!value || is_one_of(value, len, none)) return;
    request->codings += is_one_of(value, len, undone) ? 1 : MAX_CODINGS + 1;
}

/* The end of a head. False: the transfer must not go on. */
static bool end_head(struct vllm_request *request) {
    request->in_head = false;
    if (request->status == 101) {
        request->broken = VLLM_BROKEN_SWITCH;
        return false;
    }
    if (request->status < 200) return true;
    if (request->codings > MAX_CODINGS) request->broken = VLLM_BROKEN_CODING;
    publish_head(request);
    return request->broken != VLLM_BROKEN_CODING;
}

/* One line at a time. A response may have several heads (1xx); only the final one is kept. Trailers after it are passed
 * over. */
size_t vllm_request_on_header(char *line, size_t size, size_t count, void *ud) {
    struct vllm_request *request = ud;
    size_t len = size * count; /* size is 1 */
    if (request->head_done) return len;
    if (!request->in_head) {
        request->in_head = true;
        request->head.len = 0;
        request->codings = 0;
        request->status = status_of_line(line, len);
        return len;
    }
    if (len == 0 || line[0] == '\r' || line[0] == '\n') return end_head(request) ? len : 0;
    if (len > request->max_header_bytes || request->head.len > request->max_header_bytes - len) {
        request->broken = VLLM_BROKEN_HEAD;
        return 0;
    }
    note_coding(request, line, len);
    if (bytes_append(&request->head, line, len)) return len;
    request->broken = VLLM_BROKEN_MEMORY;
    return 0;
}

/* Under the lock, since the caller may swap the buffers. */
static size_t take_body(struct vllm_request *request, const char *bytes, size_t len) {
    struct vllm_bytes *filling = &request->filling;
    if (filling->len > 0 && (len > request->max_buffer || filling->len > request->max_buffer - len)) {
        request->paused = true;
        return CURL_WRITEFUNC_PAUSE; /* libcurl keeps the piece and brings it again */
    }
    if (!bytes_append(filling, bytes, len)) {
        request->broken = VLLM_BROKEN_MEMORY;
        return 0;
    }
    request->body_bytes += len;
    vllm_request_mark_ready(request);
    return len;
}

size_t vllm_request_on_body(char *bytes, size_t size, size_t count, void *ud) {
    struct vllm_request *request = ud;
    size_t len = size * count; /* size is 1 */
    if (request->draining) {
        if (len > request->drain_left) return 0;
        request->drain_left -= len;
        return len;
    }
    vllm_engine_lock(request->engine);
    size_t taken = take_body(request, bytes, len);
    vllm_engine_unlock(request->engine);
    return taken;
}

static double seconds_of(CURL *easy, CURLINFO info) {
    double seconds = 0;
    return curl_easy_getinfo(easy, info, &seconds) == CURLE_OK ? seconds : 0;
}

static long long_of(CURL *easy, CURLINFO info) {
    long value = 0;
    return curl_easy_getinfo(easy, info, &value) == CURLE_OK ? value : 0;
}

/* Of a request that was started. All but `body_bytes`. */
void vllm_request_measure(const struct vllm_request *request, struct vllm_request_info *out) {
    CURL *easy = request->easy;
    curl_off_t uploaded = 0;
    char *ip = NULL;
    memset(out, 0, sizeof *out);
    out->name_lookup_s = seconds_of(easy, CURLINFO_NAMELOOKUP_TIME);
    out->connect_s = seconds_of(easy, CURLINFO_CONNECT_TIME);
    out->tls_s = seconds_of(easy, CURLINFO_APPCONNECT_TIME);
    out->start_transfer_s = seconds_of(easy, CURLINFO_STARTTRANSFER_TIME);
    out->total_s = seconds_of(easy, CURLINFO_TOTAL_TIME);
    out->reused = request->status >= 200 && !request->in_head && long_of(easy, CURLINFO_NUM_CONNECTS) == 0;
    switch (long_of(easy, CURLINFO_HTTP_VERSION)) {
    case CURL_HTTP_VERSION_1_0: out->http_version = 10; break;
    case CURL_HTTP_VERSION_1_1: out->http_version = 11; break;
    default: break;
    }
    if (curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &uploaded) == CURLE_OK && uploaded > 0) {
        out->upload_bytes = (uint64_t)uploaded;
    }
    if (curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &ip) == CURLE_OK && ip) {
        (void)snprintf(out->remote_ip, sizeof out->remote_ip, "%s", ip);
    }
    out->remote_port = long_of(easy, CURLINFO_PRIMARY_PORT);
}

/* The caller's side ------------------------------------------------------------------------------------------------ */

/* In a forked child a thread of the parent's may hold the lock, and for ever. */
static bool is_out_of_reach(const struct vllm_request *request) {
    return request->engine->threaded && vllm_engine_forked(request->engine);
}

enum vllm_net_status vllm_request_head(struct vllm_request *request, long *status, const char **headers, size_t *headers_len) {
    *status = 0;
    *headers = "";
    *headers_len = 0;
    if (is_out_of_reach(request)) return VLLM_NET_WAIT;
    vllm_engine_lock(request->engine);
    bool head_done = request->head_done, done = request->done;
    vllm_engine_unlock(request->engine);
    if (!head_done) return done ? VLLM_NET_FAILED : VLLM_NET_WAIT;
    *status = request->status;
    if (request->head.len > 0) *headers = request->head.data;
    *headers_len = request->head.len;
    return VLLM_NET_OK;
}

/* Takes what there is into `lent`; true: and the transfer waits for that. */
static bool swap_buffers(struct vllm_request *request) {
    struct vllm_bytes filled = request->filling;
    if (filled.len == 0) return false;
    request->filling = request->lent;
    request->lent = filled;
    return request->paused && !request->done;
}

enum vllm_net_status vllm_request_read(struct vllm_request *request, const char **bytes, size_t *len) {
    *bytes = "";
    *len = 0;
    request->lent.len = 0;
    if (is_out_of_reach(request)) return VLLM_NET_WAIT;
    vllm_engine_lock(request->engine);
    bool resume = swap_buffers(request), done = request->done, head_done = request->head_done;
    vllm_engine_unlock(request->engine);
    if (resume && !vllm_engine_forked(request->engine)) vllm_engine_order(request, VLLM_ORDER_RESUME);
    if (request->lent.len > 0) {
        *bytes = request->lent.data;
        *len = request->lent.len;
        return VLLM_NET_OK;
    }
    if (!done) return VLLM_NET_WAIT;
    return request->result == CURLE_OK && head_done ? VLLM_NET_END : VLLM_NET_FAILED;
}

static CURLcode result_of(const struct vllm_request *request) {
    if (request->broken == VLLM_BROKEN_MEMORY) return CURLE_OUT_OF_MEMORY;
    if (request->broken == VLLM_BROKEN_SWITCH) return CURLE_WEIRD_SERVER_REPLY;
    if (request->broken == VLLM_BROKEN_CODING) return CURLE_BAD_CONTENT_ENCODING;
    if (request->result == CURLE_OK && !request->head_done) return CURLE_GOT_NOTHING;
    return request->result;
}

/* Of a request that is done: nobody but the caller has it. */
static void describe(const struct vllm_request *request, CURLcode result, struct vllm_request_error *out) {
    bool has_own = request->error_text[0] != '\0' && result == request->result;
    const char *text = has_own ? request->error_text : curl_easy_strerror(result);
    out->curl_code = (int)result;
    out->os_errno = request->os_errno;
    out->verify_result = request->verify_result;
    if (request->broken == VLLM_BROKEN_HEAD) {
        (void)snprintf(out->text, sizeof out->text, "the response's header block is longer than %lu bytes",
                       (unsigned long)request->max_header_bytes);
        return;
    }
    if (result == CURLE_OUT_OF_MEMORY && request->in_head) {
        text = "a line of the response's head is longer than libcurl takes, or memory is short";
    } else if (request->broken == VLLM_BROKEN_CODING) {
        text = "the answer is compressed in a way that is not undone";
    } else if (request->broken == VLLM_BROKEN_SWITCH) {
        text = "the server switched to another protocol, unasked";
    } else if (strncmp(text, "Unsupported proxy", 17) == 0) {
        text = "unsupported proxy"; /* libcurl goes on to quote it, with its password */
    }
    (void)snprintf(out->text, sizeof out->text, "%s", text);
}

void vllm_request_error(const struct vllm_request *request, struct vllm_request_error *out) {
    memset(out, 0, sizeof *out);
    if (is_out_of_reach(request)) return;
    vllm_engine_lock(request->engine);
    bool done = request->done;
    out->body_bytes = request->body_bytes;
    vllm_engine_unlock(request->engine);
    CURLcode result = done ? result_of(request) : CURLE_OK;
    if (result != CURLE_OK) describe(request, result, out);
}

void vllm_request_info(const struct vllm_request *request, struct vllm_request_info *out) {
    memset(out, 0, sizeof *out);
    if (is_out_of_reach(request)) return;
    if (!request->engine->threaded && request->phase >= VLLM_PHASE_RUNNING) vllm_request_measure(request, out);
    vllm_engine_lock(request->engine);
    if (request->engine->threaded) *out = request->info;
    out->body_bytes = request->body_bytes;
    vllm_engine_unlock(request->engine);
}

void *vllm_request_tag(const struct vllm_request *request) {
    return request->tag;
}

void vllm_request_set_tag(struct vllm_request *request, void *tag) {
    request->tag = tag;
}
