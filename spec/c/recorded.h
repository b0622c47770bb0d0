/* The recorded answers of spec/fixtures, for the tests that replay them. */
#ifndef VLLM_RECORDED_H
#define VLLM_RECORDED_H

#include "check.h"

#define RECORDED_MAX (256 * 1024)

/* Reads a whole file into `text` (RECORDED_MAX bytes) and ends it with NUL. False: it cannot, and a check has
 * failed. */
static inline bool recorded_read(const char *path, char *text, size_t *len) {
    FILE *file = fopen(path, "rb");
    *len = 0;
    if (file) {
        *len = fread(text, 1, RECORDED_MAX - 1, file);
        fclose(file);
    } else {
        perror(path);
    }
    text[*len] = '\0';
    CHECK(*len > 0 && *len < RECORDED_MAX - 1);
    return *len > 0;
}

/* In place: chunked framing away. Returns the body's length. */
static inline size_t recorded_unchunk(char *body) {
    size_t len = 0;
    char *at = body;
    for (;;) {
        char *end;
        unsigned long size = strtoul(at, &end, 16);
        char *line = strstr(end, "\r\n");
        if (size == 0 || !line) {
            return len;
        }
        memmove(body + len, line + 2, size);
        len += size;
        at = line + 2 + size + 2;
    }
}

/* The body of a response, in place; `*is_stream`: it is a stream of events. */
static inline char *recorded_body(char *text, size_t *len, bool *is_stream) {
    char *body = strstr(text, "\r\n\r\n");
    CHECK(body != NULL);
    if (!body) {
        return NULL;
    }
    *body = '\0';
    body += 4;
    *is_stream = strstr(text, "text/event-stream") != NULL;
    *len = strstr(text, "hunked") ? recorded_unchunk(body) : strlen(body);
    return body;
}

#endif
