#ifndef TEST_SERVER_LOG_H
#define TEST_SERVER_LOG_H

#include "bytes.h"
#include "http.h"

#include <stdbool.h>
#include <stdint.h>

/* What the server saw, oldest first. Bounds: 100,000 records, 256 MiB of bodies; older ones go. */
struct log_record {
    const char *event; /* "request", "close" */
    unsigned long connection;
    const char *via; /* "tcp", "unix", "tls", "mtls" */
    int64_t at_ms;   /* CLOCK_MONOTONIC */
    /* request */
    struct bytes method, target, head, body;
    /* close */
    const char *by; /* "client", "server", "handshake" */
    bool midway;    /* a response was not finished */
    unsigned long requests;
    uint64_t bytes_sent;
    int64_t wrote_ms;
    struct log_record *next;
};

struct log {
    struct log_record *first, **end;
    size_t count, bytes;
    struct bytes last_body; /* of the last request that was not a GET */
};

void log_start(struct log *log);
struct log_record *log_new(struct log *log, const char *event);
void log_request(struct log *log, struct log_record *record, const struct request *r);
void log_write(const struct log *log, struct bytes *out, bool as_lua);
void log_clear(struct log *log);
void log_free(struct log *log);

#endif
