/* HTTP/1.x responses: the same bytes give the same answer and the same end, however the reads fall; a body is never
 * longer than what came; an answer that leaves the connection alive needed its last byte.
 * The first byte of the input chooses the reads, the second the bound of the head, whether a body is expected, and
 * where the answer begins. */
#include "../src/core/http1.h"
#include "fuzz.h"

static void note_head(const struct vllm_http1 *http1, bool *has_head, struct vllm_buf *notes) {
    struct vllm_slice name, value;
    size_t at = 0;
    int status;
    if (*has_head || vllm_http1_head(http1, &status) != VLLM_OK) return;
    CLAIM(status >= 200 && status <= 999);
    *has_head = true;
    note_number(notes, status);
    while (vllm_http1_field(http1, &at, &name, &value)) {
        CLAIM(name.len > 0 && strcspn(name.ptr, " \t\r\n:ABCXYZ") == name.len);
        CLAIM(strcspn(value.ptr, "\r\n") == value.len);
        note_bytes(notes, name);
        note_bytes(notes, value);
    }
}

static enum vllm_status drain(struct vllm_http1 *http1, bool *has_head, struct vllm_buf *notes, struct vllm_buf *body) {
    struct vllm_slice bytes;
    enum vllm_status status;
    note_head(http1, has_head, notes);
    while ((status = vllm_http1_read(http1, &bytes)) == VLLM_OK) {
        CLAIM(*has_head && bytes.len > 0);
        CLAIM(vllm_buf_append(body, bytes.ptr, bytes.len) == VLLM_OK);
    }
    return status;
}

static void note_end(struct vllm_http1 *http1, struct vllm_buf *notes) {
    enum vllm_status finished = vllm_http1_finish(http1);
    CLAIM(vllm_http1_finish(http1) == finished && !vllm_http1_reusable(http1));
    CLAIM(vllm_http1_feed(http1, "x", 1) == (finished == VLLM_OK ? VLLM_EINVALID : finished));
    CLAIM(finished == VLLM_OK || finished == VLLM_ESYNTAX || finished == VLLM_ELIMIT || finished == VLLM_ETRUNCATED);
    CLAIM((finished == VLLM_OK) == (*vllm_http1_why(http1) == '\0'));
    note_number(notes, finished);
    note_number(notes, vllm_http1_fresh(http1));
    note_number(notes, (int64_t)vllm_http1_body_bytes(http1));
    struct vllm_slice why = {vllm_http1_why(http1), strlen(vllm_http1_why(http1))};
    struct vllm_slice given = {vllm_http1_given(http1), strlen(vllm_http1_given(http1))};
    CLAIM(given.len <= 40 + 3); /* an ellipsis where it was cut */
    note_bytes(notes, why);
    note_bytes(notes, given);
}

/* Whether the connection could be used again. */
static bool run(const char *bytes, size_t size, unsigned seed, const struct vllm_http1_options *options, struct vllm_buf *notes) {
    struct vllm_http1 *http1 = vllm_http1_new(&fuzz_alloc, options);
    struct vllm_buf body;
    enum vllm_status status = VLLM_MORE;
    size_t total = size;
    bool has_head = false;
    CLAIM(http1 != NULL);
    vllm_buf_init(&body, &fuzz_alloc, SIZE_MAX / 4);
    while (size > 0) {
        size_t len = next_read(&seed, size);
        enum vllm_status fed = vllm_http1_feed(http1, bytes, len);
        status = drain(http1, &has_head, notes, &body);
        CLAIM(fed == VLLM_OK ? status == VLLM_MORE || status == VLLM_END : fed == status);
        bytes += len;
        size -= len;
    }
    CLAIM(body.len == vllm_http1_body_bytes(http1) && body.len <= total);
    note_bytes(notes, vllm_buf_view(&body));
    bool reusable = vllm_http1_reusable(http1);
    note_end(http1, notes);
    enum vllm_status last = drain(http1, &has_head, notes, &body);
    CLAIM(last != VLLM_MORE && (status == VLLM_MORE || last == status));
    vllm_buf_free(&body);
    vllm_http1_free(http1);
    return reusable;
}

/* Many inputs begin after a good head, so that chunks are reached without luck. */
static const char *const heads[] = {
    "", "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    struct vllm_http1_options options;
    struct vllm_buf whole, cut, input;
    vllm_http1_options_default(&options);
    if (data[1] & 1) options.max_header_bytes = data[1];
    options.head_only = (data[1] & 30) == 30;
    vllm_buf_init(&whole, &fuzz_alloc, SIZE_MAX / 4);
    vllm_buf_init(&cut, &fuzz_alloc, SIZE_MAX / 4);
    vllm_buf_init(&input, &fuzz_alloc, SIZE_MAX / 4);
    CLAIM(vllm_buf_text(&input, heads[data[1] >> 6]) == VLLM_OK);
    CLAIM(vllm_buf_append(&input, data + 2, size - 2) == VLLM_OK);
    struct vllm_slice bytes = vllm_buf_view(&input);
    bool reusable = run(bytes.ptr, bytes.len, 0, &options, &whole);
    CLAIM(run(bytes.ptr, bytes.len, 1u + data[0], &options, &cut) == reusable);
    CLAIM(same_notes(&whole, &cut));
    CLAIM(!reusable || !run(bytes.ptr, bytes.len - 1, 0, &options, &cut));
    vllm_buf_free(&whole);
    vllm_buf_free(&cut);
    vllm_buf_free(&input);
    return 0;
}
