#ifndef TEST_SERVER_HTTP_H
#define TEST_SERVER_HTTP_H

#include "bytes.h"
#include "plan.h"

#include <stdbool.h>
#include <stdint.h>

struct request {
    enum request_state { AT_HEAD, AT_BODY, AT_CHUNK, AT_CHUNK_DATA, AT_CHUNK_END, AT_TRAILER, AT_END } state;
    struct bytes head;  /* header lines, each "name: value\n", names as they came */
    struct bytes body;  /* decoded */
    struct bytes where; /* method NUL path NUL query NUL */
    const char *method, *path, *query;
    size_t scanned; /* bytes of the input already searched for the end of a line or of the head */
    uint64_t left;
    bool keep_alive, expects_continue;
};

/* Takes what it can of `in`. 0: more is needed; 1: complete; 2: the head is complete (once); else the status of a
 * refusal. */
int request_take(struct request *r, struct bytes *in);
void request_clear(struct request *r);
void request_free(struct request *r);
void request_aim(struct request *r, const char *method, const char *target); /* sets method, path, query */

const char *request_header(const struct request *r, const char *name, size_t *length); /* NULL: none */
bool request_param(const struct request *r, const char *name, struct bytes *value);    /* percent-decoded */
unsigned long request_number(const struct request *r, const char *name, unsigned long otherwise);
bool path_ends(const struct request *r, const char *end);

/* A whole response, one write. `headers`: further lines, each ended by CRLF, or NULL. */
void reply(struct plan *p, const struct request *r, int status, const char *type, const char *headers,
           const struct bytes *body);
void reply_text(struct plan *p, const struct request *r, int status, const char *type, const char *body);
/* The head of a chunked event stream, one write. */
void reply_stream(struct plan *p, const struct request *r);
const char *status_phrase(int status);

#endif
