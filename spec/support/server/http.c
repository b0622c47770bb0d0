/* HTTP/1.1 requests out of bytes (RFC 9112), and the heads of responses. Bounds: 64 KiB of head, 64 MiB of body,
 * 4 KiB for a line of chunk framing. It does no I/O.
 */
#define _GNU_SOURCE
#include "http.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_HEAD  ((size_t)64 << 10)
#define MAX_BODY  ((uint64_t)64 << 20)
#define MAX_CHUNK 4096

static char *find_bytes(const char *data, size_t length, const char *what) {
    return length == 0 ? NULL : memmem(data, length, what, strlen(what));
}

void request_aim(struct request *r, const char *method, const char *target) {
    struct bytes where = {0};
    size_t path = strcspn(target, "?#");
    bytes_text(&where, method);
    bytes_add(&where, "", 1);
    bytes_add(&where, target, path);
    bytes_add(&where, "", 1);
    if (target[path] == '?') bytes_text(&where, target + path + 1);
    bytes_free(&r->where);
    r->where = where;
    r->method = where.data;
    r->path = r->method + strlen(r->method) + 1;
    r->query = r->path + path + 1;
}

/* A proxy's, whose every tunnel is refused: "status-403.invalid:443" is answered as /fault/status/403 is. */
static bool take_tunnel(struct request *r, const char *method, const char *host) {
    static const char first[] = "status-";
    char path[32];
    if (strcmp(method, "CONNECT") != 0 || strncmp(host, first, sizeof first - 1) != 0) return false;
    snprintf(path, sizeof path, "/fault/status/%.3s", host + sizeof first - 1);
    request_aim(r, "CONNECT", path);
    return true;
}

/* "POST /path?query HTTP/1.1" */
static int take_request_line(struct request *r, char *line) {
    char *target = strchr(line, ' ');
    if (target == NULL || target == line) return 400;
    *target++ = '\0';
    /* As to a proxy; we are the host, too. */
    if (strncmp(target, "http://", 7) == 0) target += 7 + strcspn(target + 7, "/ ");
    char *version = strchr(target, ' ');
    if (version == NULL) return 400;
    *version++ = '\0';
    if (strncmp(version, "HTTP/1.", 7) != 0) return 505;
    r->keep_alive = strcmp(version, "HTTP/1.1") == 0;
    if (take_tunnel(r, line, target)) return 0;
    if (*target != '/') return 400;
    request_aim(r, line, target);
    return 0;
}

static int take_header_line(struct request *r, const char *line) {
    size_t name = strcspn(line, ":");
    if (name == 0 || line[name] != ':' || strcspn(line, " \t") < name || strpbrk(line, "\r\n") != NULL) return 400;
    const char *value = line + name + 1;
    value += strspn(value, " \t");
    bytes_add(&r->head, line, name);
    bytes_format(&r->head, ": %s\n", value);
    return 0;
}

const char *request_header(const struct request *r, const char *name, size_t *length) {
    size_t wanted = strlen(name);
    const char *line = r->head.data;
    while (line != NULL && *line != '\0') {
        const char *end = strchr(line, '\n');
        if (strncasecmp(line, name, wanted) == 0 && line[wanted] == ':') {
            *length = (size_t)(end - line) - wanted - 2;
            return line + wanted + 2;
        }
        line = end + 1;
    }
    return NULL;
}

static bool header_is(const struct request *r, const char *name, const char *value) {
    size_t length = 0;
    const char *found = request_header(r, name, &length);
    return found != NULL && length == strlen(value) && strncasecmp(found, value, length) == 0;
}

/* What the header lines say about the body. */
static int take_framing(struct request *r) {
    size_t length = 0;
    if (header_is(r, "connection", "close")) r->keep_alive = false;
    r->expects_continue = header_is(r, "expect", "100-continue");
    r->state = AT_END;
    const char *text = request_header(r, "content-length", &length);
    if (request_header(r, "transfer-encoding", &(size_t){0}) != NULL) {
        if (!header_is(r, "transfer-encoding", "chunked") || text != NULL) return 400;
        r->state = AT_CHUNK;
        return 0;
    }
    if (text == NULL) return 0;
    if (length == 0 || length > 18 || strspn(text, "0123456789") < length) return 400;
    r->left = strtoull(text, NULL, 10);
    if (r->left > MAX_BODY) return 413;
    if (r->left > 0) r->state = AT_BODY;
    return 0;
}

static int take_head(struct request *r, struct bytes *in) {
    if (in->length > 0 && in->data[0] == 0x16) return 400; /* a TLS hello, which never ends a line */
    size_t from = r->scanned > 3 ? r->scanned - 3 : 0;
    char *end = find_bytes(in->data + from, in->length - from, "\r\n\r\n");
    if (end == NULL) {
        r->scanned = in->length;
        return in->length > MAX_HEAD ? 431 : 0;
    }
    size_t size = (size_t)(end - in->data) + 4;
    if (size > MAX_HEAD) return 431;
    if (memchr(in->data, '\0', size) != NULL) return 400;
    char *line = in->data;
    for (int first = 1; line < end; first = 0) {
        char *next = strstr(line, "\r\n");
        *next = '\0';
        int refused = first ? take_request_line(r, line) : take_header_line(r, line);
        if (refused) return refused;
        line = next + 2;
    }
    bytes_drop(in, size);
    r->scanned = 0;
    int refused = take_framing(r);
    return refused ? refused : 2;
}

/* A line of chunk framing, without its end; NULL: not there yet, or *refused. It is dropped by the caller. */
static char *framing_line(struct bytes *in, size_t *size, int *refused) {
    char *end = find_bytes(in->data, in->length, "\r\n");
    if (end == NULL) {
        *refused = in->length > MAX_CHUNK ? 400 : 0;
        return NULL;
    }
    *end = '\0';
    *size = (size_t)(end - in->data) + 2;
    return in->data;
}

static int take_chunk_size(struct request *r, struct bytes *in) {
    size_t size = 0;
    int refused = 0;
    char *line = framing_line(in, &size, &refused);
    if (line == NULL) return refused;
    size_t digits = strspn(line, "0123456789abcdefABCDEF");
    if (digits == 0 || digits > 15 || (line[digits] != '\0' && line[digits] != ';' && line[digits] != ' ')) return 400;
    r->left = strtoull(line, NULL, 16);
    bytes_drop(in, size);
    if (r->left > MAX_BODY || r->body.length + r->left > MAX_BODY) return 413;
    r->state = r->left > 0 ? AT_CHUNK_DATA : AT_TRAILER;
    return 0;
}

static void take_data(struct request *r, struct bytes *in, enum request_state after) {
    size_t size = in->length < r->left ? in->length : (size_t)r->left;
    bytes_add(&r->body, in->data, size);
    bytes_drop(in, size);
    r->left -= size;
    if (r->left == 0) r->state = after;
}

static int take_chunk_end(struct request *r, struct bytes *in) {
    if (in->length < 2) return 0;
    if (memcmp(in->data, "\r\n", 2) != 0) return 400;
    bytes_drop(in, 2);
    r->state = AT_CHUNK;
    return 0;
}

static int take_trailer(struct request *r, struct bytes *in) {
    size_t size = 0;
    int refused = 0;
    char *line = framing_line(in, &size, &refused);
    if (line == NULL) return refused;
    if (size == 2) r->state = AT_END;
    bytes_drop(in, size);
    return 0;
}

int request_take(struct request *r, struct bytes *in) {
    while (r->state != AT_END) {
        size_t before = in->length;
        int result = 0;
        if (before == 0) return 0;
        switch (r->state) {
        case AT_HEAD: result = take_head(r, in); break;
        case AT_BODY: take_data(r, in, AT_END); break;
        case AT_CHUNK: result = take_chunk_size(r, in); break;
        case AT_CHUNK_DATA: take_data(r, in, AT_CHUNK_END); break;
        case AT_CHUNK_END: result = take_chunk_end(r, in); break;
        case AT_TRAILER: result = take_trailer(r, in); break;
        case AT_END: break;
        }
        if (result != 0) return result;
        if (in->length == before) return 0;
    }
    return 1;
}

void request_clear(struct request *r) {
    bytes_clear(&r->head);
    bytes_free(&r->body);
    bytes_clear(&r->where);
    r->state = AT_HEAD;
    r->method = r->path = r->query = "";
    r->scanned = 0;
    r->left = 0;
    r->keep_alive = r->expects_continue = false;
}

void request_free(struct request *r) {
    request_clear(r);
    bytes_free(&r->head);
    bytes_free(&r->where);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static void percent_decode(struct bytes *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        char c = text[i] == '+' ? ' ' : text[i];
        if (c == '%' && i + 2 < length && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
            c = (char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
            i += 2;
        }
        bytes_add(out, &c, 1);
    }
}

bool request_param(const struct request *r, const char *name, struct bytes *value) {
    size_t wanted = strlen(name);
    for (const char *at = r->query; *at != '\0';) {
        size_t length = strcspn(at, "&");
        if (length > wanted && strncmp(at, name, wanted) == 0 && at[wanted] == '=') {
            bytes_clear(value);
            bytes_add(value, "", 0);
            percent_decode(value, at + wanted + 1, length - wanted - 1);
            return true;
        }
        at += length + (at[length] == '&');
    }
    return false;
}

unsigned long request_number(const struct request *r, const char *name, unsigned long otherwise) {
    struct bytes text = {0};
    unsigned long number = otherwise;
    if (request_param(r, name, &text) && text.length > 0 && text.length < 10 &&
        strspn(text.data, "0123456789") == text.length)
        number = strtoul(text.data, NULL, 10);
    bytes_free(&text);
    return number;
}

bool path_ends(const struct request *r, const char *end) {
    size_t length = strlen(r->path), wanted = strlen(end);
    return length >= wanted && strcmp(r->path + length - wanted, end) == 0;
}
