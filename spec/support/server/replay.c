/* Replays a recorded response: FIXTURES/SET/NAME.http as it came off the socket; NAME.json has the sizes of the reads.
 *
 *   /replay/SET/NAME[/anything]?split=whole|reads|N  one write, the recorded reads, or N bytes per write (whole)
 *     rechunk=1   the body framed anew, one chunk per N bytes of it (or one for all); also where a length was recorded
 *     keep=1      without `connection: close`, and the connection stays open
 *     cut=K       only the first K bytes of all that
 *     end=close|drop|reset|stall|keep   how it ends after the last byte (close; keep where keep=1 and nothing is cut)
 *     pace_ms=P   between two writes
 * Bound: files of 16 MiB.
 */
#include "server.h"
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)16 << 20)
#define NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

/* What will be written, and in which sizes. */
struct recording {
    struct bytes wire;
    size_t *sizes, count, capacity;
};

static void add_size(struct recording *rec, size_t size) {
    if (size == 0) return;
    if (rec->count == rec->capacity) {
        rec->capacity = rec->capacity * 2 + 64;
        rec->sizes = must_resize(rec->sizes, rec->capacity, sizeof *rec->sizes);
    }
    rec->sizes[rec->count++] = size;
}

static bool read_file(struct bytes *out, const char *directory, const char *name, size_t length, const char *end) {
    struct bytes path = {0};
    char data[16384];
    bytes_format(&path, "%s/%.*s%s", directory, (int)length, name, end);
    FILE *file = fopen(path.data, "rb");
    bytes_free(&path);
    if (file == NULL) return false;
    for (size_t got; out->length < MAX_FILE && (got = fread(data, 1, sizeof data, file)) > 0;) bytes_add(out, data, got);
    bool ok = ferror(file) == 0 && out->length > 0;
    fclose(file);
    return ok;
}

static size_t head_size(const struct bytes *wire) {
    const char *end = strstr(wire->data, "\r\n\r\n");
    return end == NULL ? wire->length : (size_t)(end - wire->data) + 4;
}

/* Removes a line of the head; returns its size. */
static size_t drop_line(struct bytes *wire, const char *name) {
    char *line = strstr(wire->data, name);
    if (line == NULL || line > wire->data + head_size(wire)) return 0;
    size_t size = (size_t)(strstr(line + 2, "\r\n") - line);
    memmove(line, line + size, wire->length - (size_t)(line - wire->data) - size + 1);
    wire->length -= size;
    return size;
}

static void split_by_reads(struct recording *rec, const struct json *reads, size_t dropped) {
    size_t total = 0;
    for (const struct json *at = json_is(reads, JSON_ARRAY) ? reads->child : NULL; at != NULL; at = at->next) {
        size_t size = json_count(at, 0);
        if (dropped < size) size -= dropped, dropped = 0;
        if (size > rec->wire.length - total) size = rec->wire.length - total;
        add_size(rec, size);
        total += size;
    }
    add_size(rec, rec->wire.length - total);
}

static void split_by_size(struct recording *rec, size_t size) {
    for (size_t at = 0; at < rec->wire.length; at += size)
        add_size(rec, size < rec->wire.length - at ? size : rec->wire.length - at);
}

/* The payload of a chunked body. A recording that ends early ends early here, too. */
static void unchunk(struct bytes *payload, const char *at, const char *end) {
    while (at < end) {
        char *data = NULL;
        size_t size = strtoul(at, &data, 16);
        if (size == 0 || data + 2 > end) return;
        data += 2;
        if (size > (size_t)(end - data)) size = (size_t)(end - data);
        bytes_add(payload, data, size);
        at = data + size + 2;
    }
}

static void rechunk(struct recording *rec, size_t size) {
    struct bytes payload = {0}, wire = {0};
    if (drop_line(&rec->wire, "\r\ntransfer-encoding: chunked") > 0)
        unchunk(&payload, rec->wire.data + head_size(&rec->wire), rec->wire.data + rec->wire.length);
    else bytes_add(&payload, rec->wire.data + head_size(&rec->wire), rec->wire.length - head_size(&rec->wire));
    drop_line(&rec->wire, "\r\ncontent-length:");
    bytes_add(&wire, rec->wire.data, head_size(&rec->wire) - 2);
    bytes_text(&wire, "transfer-encoding: chunked\r\n\r\n");
    add_size(rec, wire.length);
    if (size == 0) size = payload.length;
    for (size_t at = 0; at < payload.length; at += size) {
        size_t part = size < payload.length - at ? size : payload.length - at, before = wire.length;
        bytes_format(&wire, "%zx\r\n", part);
        bytes_add(&wire, payload.data + at, part);
        bytes_text(&wire, "\r\n");
        add_size(rec, wire.length - before);
    }
    bytes_text(&wire, "0\r\n\r\n");
    add_size(rec, 5);
    bytes_free(&rec->wire);
    bytes_free(&payload);
    rec->wire = wire;
}

static bool load(struct recording *rec, struct json **about, const char *directory, const char *name, size_t length) {
    struct bytes text = {0};
    size_t wrong_at = 0;
    if (!read_file(&rec->wire, directory, name, length, ".http")) return false;
    if (read_file(&text, directory, name, length, ".json")) *about = json_parse(text.data, text.length, &wrong_at);
    bytes_free(&text);
    return true;
}

static void split(struct recording *rec, const struct request *r, const struct json *about) {
    struct bytes how = {0};
    size_t size = request_number(r, "split", 0), dropped = 0;
    if (request_number(r, "keep", 0) == 1) dropped = drop_line(&rec->wire, "\r\nconnection: close");
    bool by_reads = request_param(r, "split", &how) && strcmp(how.data, "reads") == 0;
    if (request_number(r, "rechunk", 0) == 1) rechunk(rec, size);
    else if (by_reads && about != NULL) split_by_reads(rec, json_member(about, "reads"), dropped);
    else split_by_size(rec, size > 0 ? size : rec->wire.length);
    bytes_free(&how);
}

static void write_plan(struct plan *p, const struct recording *rec, size_t left, unsigned long pace_ms) {
    const char *at = rec->wire.data;
    for (size_t i = 0; i < rec->count && left > 0; i++) {
        size_t size = rec->sizes[i] < left ? rec->sizes[i] : left;
        if (i > 0) plan_wait(p, pace_ms);
        plan_send(p, at, size);
        at += size;
        left -= size;
    }
}

static void end_plan(struct plan *p, const struct request *r, bool whole) {
    struct bytes how = {0};
    if (!request_param(r, "end", &how)) bytes_text(&how, whole && request_number(r, "keep", 0) == 1 ? "keep" : "close");
    if (strcmp(how.data, "close") == 0) plan_step(p, STEP_CLOSE, 0, 0);
    else if (strcmp(how.data, "drop") == 0) plan_step(p, STEP_DROP, 0, 0);
    else if (strcmp(how.data, "reset") == 0) plan_step(p, STEP_RESET, 0, 0);
    else if (strcmp(how.data, "stall") == 0) plan_step(p, STEP_STALL, 0, 0);
    bytes_free(&how);
}

bool replay_route(struct server *s, struct request *r, struct plan *p) {
    static const char prefix[] = "/replay/";
    if (strncmp(r->path, prefix, sizeof prefix - 1) != 0) return false;
    const char *name = r->path + sizeof prefix - 1;
    size_t set = strspn(name, NAME_BYTES), length = set;
    if (name[set] == '/') length += 1 + strspn(name + set + 1, NAME_BYTES);
    struct recording rec = {0};
    struct json *about = NULL;
    if (strstr(name, "..") != NULL || !load(&rec, &about, s->options.fixtures, name, length)) {
        reply_text(p, r, 404, "text/plain", "no such recording\n");
    } else {
        split(&rec, r, about);
        size_t cut = request_number(r, "cut", rec.wire.length);
        bool whole = cut >= rec.wire.length;
        write_plan(p, &rec, whole ? rec.wire.length : cut, request_number(r, "pace_ms", 0));
        end_plan(p, r, whole);
    }
    json_free(about);
    bytes_free(&rec.wire);
    free(rec.sizes);
    return true;
}
