/* Heads and whole responses, in the shape in which uvicorn sends them.
 */
#include "http.h"

#include <string.h>

const char *status_phrase(int status) {
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {
        {100, "Continue"}, {200, "OK"}, {204, "No Content"}, {301, "Moved Permanently"}, {302, "Found"},
        {304, "Not Modified"}, {307, "Temporary Redirect"}, {308, "Permanent Redirect"}, {400, "Bad Request"},
        {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
        {408, "Request Timeout"}, {409, "Conflict"}, {413, "Content Too Large"}, {422, "Unprocessable Entity"},
        {429, "Too Many Requests"}, {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
        {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"}, {529, "Overloaded"},
    };
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (phrases[i].status == status) return phrases[i].phrase;
    return "Unknown";
}

static void begin_head(struct plan *p, const struct request *r, int status) {
    size_t length = 0;
    const char *id = request_header(r, "x-request-id", &length);
    bytes_format(&p->data, "HTTP/1.1 %d %s\r\nserver: uvicorn\r\n", status, status_phrase(status));
    if (id != NULL && length < 256) bytes_format(&p->data, "x-request-id: %.*s\r\n", (int)length, id);
    if (!r->keep_alive) {
        bytes_text(&p->data, "connection: close\r\n");
        p->close_after = true;
    }
}

void reply(struct plan *p, const struct request *r, int status, const char *type, const char *headers,
           const struct bytes *body) {
    size_t at = p->data.length;
    begin_head(p, r, status);
    if (type != NULL) bytes_format(&p->data, "content-type: %s\r\n", type);
    if (headers != NULL) bytes_text(&p->data, headers);
    bytes_format(&p->data, "content-length: %zu\r\n\r\n", body->length);
    if (strcmp(r->method, "HEAD") != 0) bytes_add(&p->data, body->data, body->length);
    plan_sent_since(p, at);
}

void reply_text(struct plan *p, const struct request *r, int status, const char *type, const char *body) {
    struct bytes text = {0};
    bytes_text(&text, body);
    reply(p, r, status, type, NULL, &text);
    bytes_free(&text);
}

void reply_stream(struct plan *p, const struct request *r) {
    size_t at = p->data.length;
    begin_head(p, r, 200);
    bytes_text(&p->data, "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n");
    plan_sent_since(p, at);
}
