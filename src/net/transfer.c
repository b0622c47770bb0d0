/* One transfer's memory, as the driver sees it: libcurl's header lines and body bytes come in, and request.c hands them
 * to the caller.
 *
 * There are two buffers. libcurl fills one while the caller holds the other; a read swaps them. So nothing is copied
 * twice, and later requests use the same memory. Bounds:
 *
 *   - `max_buffer` for each of the two. An empty one always takes one piece of libcurl's, at most CURL_MAX_WRITE_SIZE.
 *   - `max_header_bytes` for the header block.
 *   - POOL_MAX requests are kept for later use, with at most KEPT_BYTES in each buffer.
 *   - While a transfer is paused, libcurl may hold what one read of 16 KB of a compressed body expands to: 17 MB at
 *     most, in a buffer that doubles.
 *
 * The callbacks run on the driver's side. The only function of libcurl that they call is getinfo, which is allowed
 * there. Sources: RFC 9112 sections 4 and 5, RFC 9110 section 15.2 (1xx); CURLOPT_WRITEFUNCTION,
 * CURLOPT_HEADERFUNCTION. */
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

static void enter_no_ring(struct vllm_request *request) {
    struct vllm_link *links[] = {&request->work, &request->resume, &request->ready, &request->order};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        vllm_link_init(links[i]);
    }
}

static struct vllm_request *request_new(struct vllm_engine *engine) {
    struct vllm_request *request = calloc(1, sizeof *request);
    if (!request) return NULL;
    request->engine = engine;
    enter_no_ring(request);
    request->easy = curl_easy_init();
    if (request->easy) return request;
    free(request);
    return NULL;
}

struct vllm_request *vllm_transfer_obtain(struct vllm_engine *engine) {
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

void vllm_transfer_free(struct vllm_request *request) {
    curl_easy_cleanup(request->easy);
    curl_slist_free_all(request->headers);
    bytes_free(&request->head);
    bytes_free(&request->filling);
    bytes_free(&request->lent);
    free(request);
}

/* As new, except that the handle and the memory of the buffers stay. */
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
    enter_no_ring(request);
}

/* Asks libcurl's allocator, which need not be ours. */
static bool is_short_of_memory(void) {
    struct curl_slist *probe = curl_slist_append(NULL, "?");
    curl_slist_free_all(probe);
    return !probe;
}

/* curl_easy_reset does not report that it had no memory for the defaults. Such a handle never reads, so it is not
 * kept. */
void vllm_transfer_discard(struct vllm_request *request) {
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
    if (!kept) vllm_transfer_free(request);
}

void vllm_transfer_mark_ready(struct vllm_request *request) {
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
    if (request->engine->threaded) vllm_transfer_measure(request, &info);
    vllm_engine_lock(request->engine);
    if (request->engine->threaded) request->info = info;
    request->head_done = true;
    vllm_transfer_mark_ready(request);
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

/* A single gzip or deflate is decoded: it expands about a thousandfold at most. Other codings, or several, have no such
 * bound. Sources: RFC 9110 section 8.4.1; RFC 1951. */
static void note_coding(struct vllm_request *request, const char *line, size_t len) {
    static const char *const none[] = {"", "identity", NULL}, *const decoded[] = {"gzip", "x-gzip", "deflate", NULL};
    const char *value = value_of(line, &len, "content-encoding:");
    if (!value || is_one_of(value, len, none)) return;
    request->codings += is_one_of(value, len, decoded) ? 1 : MAX_CODINGS + 1;
}

/* The end of a head. False: end the transfer. */
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

/* One line at a time. A response may have several heads (1xx); only the final one is kept. Trailers are ignored. */
size_t vllm_transfer_on_header(char *line, size_t size, size_t count, void *ud) {
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

/* Under the lock, because the caller may swap the buffers. */
static size_t take_body(struct vllm_request *request, const char *bytes, size_t len) {
    struct vllm_bytes *filling = &request->filling;
    if (filling->len > 0 && (len > request->max_buffer || filling->len > request->max_buffer - len)) {
        request->paused = true;
        return CURL_WRITEFUNC_PAUSE; /* libcurl keeps the piece and delivers it again */
    }
    if (!bytes_append(filling, bytes, len)) {
        request->broken = VLLM_BROKEN_MEMORY;
        return 0;
    }
    request->body_bytes += len;
    vllm_transfer_mark_ready(request);
    return len;
}

size_t vllm_transfer_on_body(char *bytes, size_t size, size_t count, void *ud) {
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

/* Of a request that was started; everything but `body_bytes`. */
void vllm_transfer_measure(const struct vllm_request *request, struct vllm_request_info *out) {
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
