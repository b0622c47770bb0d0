/* Server-sent events: the same bytes give the same events and the same end, however the reads fall; no event is larger
 * than its bound. The first byte of the input chooses the reads (even: a byte at a time), the second the bound and the
 * treatment of an unterminated block. */
#include "../src/core/sse.h"
#include "fuzz.h"

static enum vllm_status drain(struct vllm_sse *sse, size_t max_event_bytes, struct vllm_buf *notes) {
    struct vllm_sse_event event;
    enum vllm_status status;
    while ((status = vllm_sse_next(sse, &event)) == VLLM_OK) {
        CLAIM(event.data.ptr != NULL && event.data.len <= max_event_bytes);
        note_bytes(notes, event.data);
        note_bytes(notes, event.type);
        note_bytes(notes, event.id);
        note_number(notes, event.cut);
    }
    return status;
}

static void run(const char *bytes, size_t size, unsigned seed, uint8_t flags, struct vllm_buf *notes) {
    size_t max_event_bytes = flags & 1 ? 65536 : 64;
    struct vllm_sse *sse = vllm_sse_new(&fuzz_alloc, max_event_bytes, flags & 2);
    enum vllm_status status = VLLM_MORE;
    CLAIM(sse != NULL);
    if (flags & 4) vllm_sse_keep_strays(sse);
    while (size > 0 && status == VLLM_MORE) {
        size_t len = next_read(&seed, size);
        enum vllm_status fed = vllm_sse_feed(sse, bytes, len);
        status = drain(sse, max_event_bytes, notes);
        CLAIM(fed == VLLM_OK || (fed == VLLM_ELIMIT && status == VLLM_ELIMIT));
        bytes += len;
        size -= len;
    }
    if (status == VLLM_MORE) {
        enum vllm_status finished = vllm_sse_finish(sse);
        status = drain(sse, max_event_bytes, notes);
        CLAIM(finished == VLLM_OK || finished == status);
    }
    CLAIM(status == VLLM_END || status == VLLM_ELIMIT);
    struct vllm_sse_event event;
    CLAIM(vllm_sse_next(sse, &event) == status); /* the end and the first error stick */
    note_number(notes, status);
    struct vllm_slice strays = vllm_sse_strays(sse);
    CLAIM(strays.len <= max_event_bytes || strays.len <= VLLM_SSE_LATE_STRAYS);
    note_bytes(notes, strays);
    vllm_sse_free(sse);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    struct vllm_buf whole, cut;
    vllm_buf_init(&whole, &fuzz_alloc, SIZE_MAX / 4);
    vllm_buf_init(&cut, &fuzz_alloc, SIZE_MAX / 4);
    run((const char *)data + 2, size - 2, 0, data[1], &whole);
    run((const char *)data + 2, size - 2, data[0] % 2 ? 1u + data[0] : 1, data[1], &cut);
    CLAIM(same_notes(&whole, &cut));
    vllm_buf_free(&whole);
    vllm_buf_free(&cut);
    return 0;
}
