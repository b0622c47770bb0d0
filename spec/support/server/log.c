/* The log: requests with their exact bytes, and how connections ended. It is written as JSON (an array; a body that is
 * not UTF-8 as "body_latin1", one code point per byte) or as a Lua table constructor, which holds any bytes.
 */
#include "log.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_RECORDS 100000u
#define MAX_BODIES  ((size_t)256 << 20)

void log_start(struct log *log) { log->end = &log->first; }

static void log_drop_first(struct log *log) {
    struct log_record *record = log->first;
    log->first = record->next;
    if (log->first == NULL) log->end = &log->first;
    log->count--;
    log->bytes -= record->body.length;
    bytes_free(&record->method);
    bytes_free(&record->target);
    bytes_free(&record->head);
    bytes_free(&record->body);
    free(record);
}

struct log_record *log_new(struct log *log, const char *event) {
    struct log_record *record = must_zero(sizeof *record);
    record->event = event;
    *log->end = record;
    log->end = &record->next;
    log->count++;
    while (log->count > MAX_RECORDS) log_drop_first(log);
    return record;
}

void log_request(struct log *log, struct log_record *record, const struct request *r) {
    bytes_text(&record->method, r->method);
    bytes_text(&record->target, r->path);
    if (*r->query != '\0') bytes_format(&record->target, "?%s", r->query);
    bytes_add(&record->head, r->head.data, r->head.length);
    bytes_add(&record->body, r->body.data, r->body.length);
    if (strcmp(r->method, "GET") != 0) {
        bytes_clear(&log->last_body);
        bytes_add(&log->last_body, r->body.data, r->body.length);
    }
    log->bytes += r->body.length;
    while (log->bytes > MAX_BODIES && log->first != record) log_drop_first(log);
}

void log_clear(struct log *log) {
    while (log->first != NULL) log_drop_first(log);
    bytes_clear(&log->last_body);
}

void log_free(struct log *log) {
    log_clear(log);
    bytes_free(&log->last_body);
}

/* Writing ----------------------------------------------------------------------------------------------------------*/

static void write_string(struct bytes *out, bool as_lua, const char *data, size_t length) {
    if (!as_lua) {
        json_quote(out, data, length);
        return;
    }
    bytes_text(out, "\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c < ' ' || c > '~' || c == '"' || c == '\\') bytes_format(out, "\\%03u", c);
        else bytes_add(out, &data[i], 1);
    }
    bytes_text(out, "\"");
}

static void write_key(struct bytes *out, bool as_lua, const char *key) {
    char last = out->data[out->length - 1];
    if (last != '{' && last != '[') bytes_text(out, ",");
    bytes_format(out, as_lua ? "%s=" : "\"%s\":", key);
}

static void write_text(struct bytes *out, bool as_lua, const char *key, const char *text, size_t length) {
    write_key(out, as_lua, key);
    write_string(out, as_lua, text, length);
}

static void write_number(struct bytes *out, bool as_lua, const char *key, long long number) {
    write_key(out, as_lua, key);
    bytes_format(out, "%lld", number);
}

/* [{"name":…,"value":…},…] in the order of arrival, names as they came. */
static void write_headers(struct bytes *out, bool as_lua, const struct bytes *head) {
    write_key(out, as_lua, "headers");
    bytes_text(out, as_lua ? "{" : "[");
    for (const char *line = head->data; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n'), *colon = strchr(line, ':');
        if (line != head->data) bytes_text(out, ",");
        bytes_text(out, "{");
        write_text(out, as_lua, "name", line, (size_t)(colon - line));
        write_text(out, as_lua, "value", colon + 2, (size_t)(end - colon) - 2);
        bytes_text(out, "}");
        line = end + 1;
    }
    bytes_text(out, as_lua ? "}" : "]");
}

static void write_body(struct bytes *out, bool as_lua, const struct bytes *body) {
    if (as_lua || json_is_utf8(body->data, body->length)) {
        write_text(out, as_lua, "body", body->data, body->length);
        return;
    }
    struct bytes wide = {0};
    for (size_t i = 0; i < body->length; i++) json_add_code_point(&wide, (unsigned char)body->data[i]);
    write_text(out, as_lua, "body_latin1", wide.data, wide.length);
    bytes_free(&wide);
}

static void write_record(struct bytes *out, bool as_lua, const struct log_record *record) {
    bytes_text(out, "{");
    write_text(out, as_lua, "event", record->event, strlen(record->event));
    write_number(out, as_lua, "connection", (long long)record->connection);
    write_text(out, as_lua, "via", record->via, strlen(record->via));
    write_number(out, as_lua, "at_ms", record->at_ms);
    if (strcmp(record->event, "request") == 0) {
        write_text(out, as_lua, "method", record->method.data, record->method.length);
        write_text(out, as_lua, "path", record->target.data, record->target.length);
        write_headers(out, as_lua, &record->head);
        write_body(out, as_lua, &record->body);
    } else {
        write_text(out, as_lua, "by", record->by, strlen(record->by));
        write_key(out, as_lua, "midway");
        bytes_text(out, record->midway ? "true" : "false");
        write_number(out, as_lua, "requests", (long long)record->requests);
        write_number(out, as_lua, "bytes_sent", (long long)record->bytes_sent);
        write_number(out, as_lua, "wrote_ms", record->wrote_ms);
    }
    bytes_text(out, "}");
}

void log_write(const struct log *log, struct bytes *out, bool as_lua) {
    bytes_text(out, as_lua ? "return {" : "[");
    for (const struct log_record *record = log->first; record != NULL; record = record->next) {
        write_record(out, as_lua, record);
        if (record->next != NULL) bytes_text(out, ",\n");
    }
    bytes_text(out, as_lua ? "}" : "]\n");
}
