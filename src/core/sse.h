/* Server-sent events: bytes in, events out, at any split. Source: WHATWG HTML, 9.2.5 and 9.2.6.
 *
 * One leading BOM is dropped; lines end at CRLF, LF or CR; comments and unknown fields are passed over; several data
 * lines join with LF; an event without data is not an event; a NUL in `id` voids it. The bytes themselves are not
 * judged: malformed UTF-8, U+2028 and NUL pass through in data. Where the standard drops an unterminated last block,
 * `lenient_end` keeps it (servers are cut off right after `[DONE]`), and where it passes over lines that are not
 * fields, `vllm_sse_keep_strays` keeps them for a caller who wants to say what came instead of events. Each byte is
 * looked at once, however the reads fall; memory is bounded by max_event_bytes plus one read. */
#ifndef VLLM_SSE_H
#define VLLM_SSE_H

#include "buf.h"

struct vllm_sse_event {
    struct vllm_slice data; /* joined data lines */
    struct vllm_slice type; /* empty: "message" */
    struct vllm_slice id;   /* the last id in force; empty when none */
    bool cut;               /* the bytes ended before its blank line; only with lenient_end */
};

struct vllm_sse; /* opaque */

struct vllm_sse *vllm_sse_new(const struct vllm_alloc *alloc, size_t max_event_bytes,
                              bool lenient_end); /* NULL: no memory */
void vllm_sse_free(struct vllm_sse *sse);        /* NULL is fine */
/* Of lines with an unknown field, `error` (of old llama.cpp) becomes the data of an event of that type; the others are
 * kept: as many as max_event_bytes hold before the first event, VLLM_SSE_LATE_STRAYS bytes after it. A line of data
 * that begins a JSON value after one that ended an object begins another event, too: JSON does not continue like this.
 * Call it before the first feed. */
void vllm_sse_keep_strays(struct vllm_sse *sse);
#define VLLM_SSE_LATE_STRAYS 4096

/* Copies `bytes`. Drain with next before feeding again, so that memory stays bounded. VLLM_OK, VLLM_ENOMEM, or the
 * sticky error. */
VLLM_NODISCARD enum vllm_status vllm_sse_feed(struct vllm_sse *sse, const char *bytes, size_t len);
/* No more bytes will come. May be called twice. */
VLLM_NODISCARD enum vllm_status vllm_sse_finish(struct vllm_sse *sse);
/* VLLM_OK: `event` is set; its slices stay valid until the next call of this function, whatever is fed before it.
 * VLLM_MORE, VLLM_END (after finish), VLLM_ELIMIT (an event larger than max_event_bytes; nothing is delivered any
 * more), VLLM_ENOMEM. */
VLLM_NODISCARD enum vllm_status vllm_sse_next(struct vllm_sse *sse, struct vllm_sse_event *event);
/* What an event says: its data without white space around, and without what gateways make of the lines of another
 * stream: `data:` wrapped in data is the data, a comment is nothing, and so is `null`. An error's data stay as they
 * are. May be empty. */
struct vllm_slice vllm_sse_unwrap(const struct vllm_sse_event *event);
/* What was kept, each line with an LF after it. Valid until the next call of vllm_sse_next. */
struct vllm_slice vllm_sse_strays(const struct vllm_sse *sse);

#endif
