/* One HTTP/1.x response: bytes in; status, fields and body bytes out. Sources: RFC 9112, sections 2 to 7 and 9; RFC
 * 9110.
 *
 * Lines of the head are collected in `head`, and each is packed where it lies as soon as it is whole: name, NUL, value,
 * NUL. Body bytes go from the feed to `body`. Where two readers could come to different ends of a message, the answer
 * is refused:
 *  - Status line (9112 4): HTTP/1.0 or HTTP/1.1, one space, three digits from 100 to 999, then a space or the end (many
 *    leave the last space out with the reason). The first byte that cannot be HTTP ends it. Empty lines before it are
 *    for requests only (2.2).
 *  - Up to 16 interim answers (9110 15.2) are passed over, whatever their fields say; 101 is a switch that was not
 *    asked for.
 *  - Lines end in CRLF. 2.2 allows a reader to take a bare LF; this one does not, since a server or a proxy that lets a
 *    LF through within a value would give us fields and bodies that it did not mean. No NUL, no other CR. Other
 *    controls may stay in values (9110 5.5).
 *  - Fields (9112 5): the name is a token right before its colon; no line is folded; at most 512.
 *  - Framing (6.3), checked in every final answer: not both codings and length; Transfer-Encoding once, exactly
 *    `chunked`, not in HTTP/1.0; Content-Length once, decimal digits, below 2^64. HEAD, 204 and 304 have no body; then
 *    chunks, then the length, else the body lasts as long as the connection.
 *  - Chunks (7.1): 1 to 16 hexadecimal digits; blanks, as some servers pad; extensions are passed over, 1024 bytes at
 *    most; CRLF; the data; CRLF. Trailers obey the rules of fields and are dropped.
 *  - Reuse (9.3): HTTP/1.1 without the option `close`, HTTP/1.0 with `keep-alive`; nothing after the end, which would
 *    be an answer to no request (6.3). */
#include "http1.h"

#include <string.h>

#include "http1_words.h"

#define MAX_INTERIM         16
#define MAX_FIELDS          512
#define MAX_SIZE_DIGITS     16
#define SHORT_SIZE_DIGITS   7 /* below 2^28: fits in any size_t */
#define MAX_EXTENSION_BYTES 1024
#define MAX_GIVEN_BYTES     40
#define CUT_MARK            "\xE2\x80\xA6" /* an ellipsis: redacting looks before it for the beginning of a secret */

static const char BEGINNING[] = "HTTP/1.";

enum state {
    BEGIN, /* up to the version's second digit */
    STATUS,
    FIELDS,
    LENGTH,    /* a body of known length */
    TO_CLOSE,  /* a body that lasts as long as the connection */
    SIZE,      /* the digits of a chunk size */
    EXTENSION, /* after them, to the CR */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILERS,
    ENDED
};

struct vllm_http1 {
    struct vllm_alloc alloc;
    struct vllm_http1_options options;
    struct vllm_buf head; /* packed fields, then the line that is not whole yet */
    struct vllm_buf body;
    enum state state;
    size_t matched;    /* bytes of BEGINNING */
    size_t line_at;    /* where the current line begins, in `head` */
    size_t fields_end; /* once the head is whole: the end of its fields */
    size_t head_bytes, fields, interim;
    uint64_t left; /* of the body, or of the chunk */
    uint64_t body_bytes;
    size_t size_digits, extension_bytes;
    int code;
    bool old; /* HTTP/1.0 */
    bool has_length, is_chunked, has_close, has_keep_alive;
    bool in_extension;
    bool has_head, has_left_over, finished, fresh;
    enum vllm_status status;
    const char *why;
    char given[MAX_GIVEN_BYTES + sizeof CUT_MARK];
};

void vllm_http1_options_default(struct vllm_http1_options *options) {
    options->max_header_bytes = 65536;
    options->max_buffer_bytes = 262144;
    options->head_only = false;
}

struct vllm_http1 *vllm_http1_new(const struct vllm_alloc *alloc, const struct vllm_http1_options *options) {
    struct vllm_http1 *http1 = alloc->fn(alloc->ud, NULL, 0, sizeof *http1);
    if (!http1) {
        return NULL;
    }
    memset(http1, 0, sizeof *http1);
    http1->alloc = *alloc;
    http1->options = *options;
    http1->why = "";
    http1->fresh = true;
    vllm_buf_init(&http1->head, &http1->alloc, VLLM_BUF_MAX);
    vllm_buf_init(&http1->body, &http1->alloc, VLLM_BUF_MAX);
    return http1;
}

void vllm_http1_free(struct vllm_http1 *http1) {
    if (!http1) {
        return;
    }
    struct vllm_alloc alloc = http1->alloc;
    vllm_buf_free(&http1->head);
    vllm_buf_free(&http1->body);
    alloc.fn(alloc.ud, http1, sizeof *http1, 0);
}

/* Errors ----------------------------------------------------------------------------------------------------------- */

static enum vllm_status fail(struct vllm_http1 *http1, enum vllm_status status, const char *why) {
    http1->status = status;
    http1->why = why;
    return status;
}

static enum vllm_status refuse(struct vllm_http1 *http1, const char *why) {
    return fail(http1, VLLM_ESYNTAX, why);
}

/* With the bytes at fault, as they may stand in a message: framing and names only, never a value that could be
 * secret. */
static enum vllm_status refuse_given(struct vllm_http1 *http1, const char *why, const char *bytes, size_t len) {
    size_t shown = len < MAX_GIVEN_BYTES ? len : MAX_GIVEN_BYTES;
    for (size_t i = 0; i < shown; i++) {
        http1->given[i] = bytes[i] >= 0x20 && bytes[i] < 0x7F ? bytes[i] : '?';
    }
    memcpy(http1->given + shown, shown < len ? CUT_MARK : "", shown < len ? sizeof CUT_MARK : 1);
    return refuse(http1, why);
}

static enum vllm_status append(struct vllm_http1 *http1, struct vllm_buf *buf, const char *bytes, size_t len) {
    enum vllm_status status = vllm_buf_append(buf, bytes, len);
    return status == VLLM_OK ? VLLM_OK : fail(http1, status, "no memory");
}

static void advance(struct vllm_slice *in, size_t len) {
    in->ptr += len;
    in->len -= len;
}

/* The head --------------------------------------------------------------------------------------------------------- */

static enum vllm_status set_length(struct vllm_http1 *http1, struct vllm_slice value) {
    uint64_t length = 0;
    if (http1->has_length) {
        return refuse(http1, "the answer has two Content-Length headers");
    }
    for (size_t i = 0; i < value.len; i++) {
        if (!vllm_http1_is_digit(value.ptr[i])) {
            return refuse_given(http1, "Content-Length is not one decimal number", value.ptr, value.len);
        }
        uint64_t digit = (uint64_t)(value.ptr[i] - '0');
        if (length > (UINT64_MAX - digit) / 10) {
            return refuse_given(http1, "Content-Length is too large a number", value.ptr, value.len);
        }
        length = length * 10 + digit;
    }
    if (value.len == 0) {
        return refuse(http1, "Content-Length is empty");
    }
    http1->has_length = true;
    http1->left = length;
    return VLLM_OK;
}

static enum vllm_status set_coding(struct vllm_http1 *http1, struct vllm_slice value) {
    if (http1->is_chunked) {
        return refuse(http1, "the answer has two Transfer-Encoding headers");
    }
    if (!vllm_http1_is_word(value, "chunked")) {
        return refuse_given(http1, "Transfer-Encoding is not exactly \"chunked\"", value.ptr, value.len);
    }
    http1->is_chunked = true;
    return VLLM_OK;
}

static enum vllm_status heed(struct vllm_http1 *http1, struct vllm_slice name, struct vllm_slice value) {
    if (vllm_http1_is_word(name, "content-length")) {
        return set_length(http1, value);
    }
    if (vllm_http1_is_word(name, "transfer-encoding")) {
        return set_coding(http1, value);
    }
    if (vllm_http1_is_word(name, "connection")) {
        http1->has_close = http1->has_close || vllm_http1_has_word(value, "close");
        http1->has_keep_alive = http1->has_keep_alive || vllm_http1_has_word(value, "keep-alive");
    }
    return VLLM_OK;
}

static enum vllm_status check_name(struct vllm_http1 *http1, const char *name, size_t len) {
    size_t good = vllm_http1_token_len(name, len);
    if (good == len && len > 0) {
        return VLLM_OK;
    }
    if (len > 0 && vllm_http1_trim(name, len).len == good) {
        return refuse_given(http1, "there is white space between a header's name and its colon", name, good);
    }
    return refuse_given(http1, "a header's name is not a token", name, len);
}

/* A whole line of fields, which is not empty, becomes "name NUL value NUL"; never longer than the line was. */
static enum vllm_status pack_field(struct vllm_http1 *http1, char *line, size_t len) {
    const char *colon = memchr(line, ':', len);
    if (vllm_http1_is_blank(*line)) {
        return refuse(http1, "a header line begins with white space (a folded header)");
    }
    if (!colon) {
        return refuse(http1, "a header line has no colon");
    }
    if (++http1->fields > MAX_FIELDS) {
        return fail(http1, VLLM_ELIMIT, "the answer has more than 512 header lines");
    }
    struct vllm_slice name = {line, (size_t)(colon - line)};
    if (check_name(http1, name.ptr, name.len) != VLLM_OK) {
        return http1->status;
    }
    for (size_t i = 0; i < name.len; i++) {
        line[i] = vllm_http1_lower(line[i]);
    }
    struct vllm_slice value = vllm_http1_trim(colon + 1, len - name.len - 1);
    bool is_final = http1->code >= 200 && !http1->has_head;
    if (is_final && heed(http1, name, value) != VLLM_OK) {
        return http1->status;
    }
    char *packed = line + name.len + 1;
    memmove(packed, value.ptr, value.len);
    packed[-1] = '\0';
    packed[value.len] = '\0';
    http1->head.len = (size_t)(packed - http1->head.data) + value.len + 1;
    return VLLM_OK;
}

/* Collects the current line. VLLM_OK: it is whole, in `line` without its end; VLLM_MORE. */
static enum vllm_status take_line(struct vllm_http1 *http1, struct vllm_slice *in, char **line, size_t *len) {
    const char *lf = memchr(in->ptr, '\n', in->len);
    size_t taken = lf ? (size_t)(lf - in->ptr) + 1 : in->len;
    size_t max = http1->options.max_header_bytes;
    if (http1->head_bytes > max || taken > max - http1->head_bytes) {
        return fail(http1, VLLM_ELIMIT, "the head of the answer exceeds max_header_bytes");
    }
    http1->head_bytes += taken;
    if (append(http1, &http1->head, in->ptr, taken) != VLLM_OK) {
        return http1->status;
    }
    advance(in, taken);
    if (!lf) {
        return VLLM_MORE;
    }
    *line = http1->head.data + http1->line_at;
    *len = http1->head.len - http1->line_at - 1;
    if (*len == 0 || (*line)[*len - 1] != '\r') {
        return refuse(http1, "a line of the head ends in LF without CR");
    }
    *len -= 1;
    if (memchr(*line, '\r', *len) || memchr(*line, '\0', *len)) {
        return refuse(http1, "a line of the head holds a NUL or a stray CR");
    }
    return VLLM_OK;
}

static void end_line(struct vllm_http1 *http1, size_t head_len) {
    http1->head.len = head_len;
    http1->line_at = head_len;
}

/* The first byte that cannot be HTTP/1 decides, so that the end of what is not a line is not waited for. */
static enum vllm_status step_begin(struct vllm_http1 *http1, struct vllm_slice *in) {
    size_t wanted = sizeof BEGINNING - 1;
    while (in->len > 0 && http1->matched < wanted) {
        if (*in->ptr == BEGINNING[http1->matched]) {
            http1->matched++;
            advance(in, 1);
        } else if (http1->matched >= strlen("HTTP/")) {
            return refuse(http1, "the answer is in another version of HTTP than 1.0 and 1.1");
        } else {
            return refuse(http1, "the answer is not HTTP");
        }
    }
    if (http1->matched < wanted) {
        return VLLM_OK;
    }
    http1->matched = 0;
    http1->state = STATUS;
    http1->head_bytes += wanted;
    return append(http1, &http1->head, BEGINNING, wanted);
}

static enum vllm_status step_status(struct vllm_http1 *http1, struct vllm_slice *in) {
    char *line;
    size_t len;
    enum vllm_status status = take_line(http1, in, &line, &len);
    if (status != VLLM_OK) {
        return status;
    }
    bool fits = len >= 12 && (line[7] == '0' || line[7] == '1') && line[8] == ' ' && vllm_http1_is_digit(line[9]) &&
                line[9] != '0' && vllm_http1_is_digit(line[10]) && vllm_http1_is_digit(line[11]) &&
                (len == 12 || line[12] == ' ');
    if (!fits) {
        return refuse_given(http1, "the status line is not one of HTTP/1.0 or HTTP/1.1", line, len);
    }
    http1->old = line[7] == '0';
    http1->code = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    if (http1->code == 101) {
        return refuse(http1, "the server switched to another protocol, which was not requested");
    }
    http1->fields = 0;
    http1->has_length = http1->is_chunked = http1->has_close = http1->has_keep_alive = false;
    http1->state = FIELDS;
    end_line(http1, 0);
    return VLLM_OK;
}

static enum vllm_status end_interim(struct vllm_http1 *http1) {
    if (++http1->interim > MAX_INTERIM) {
        return fail(http1, VLLM_ELIMIT, "more than 16 interim (1xx) answers came");
    }
    http1->state = BEGIN;
    end_line(http1, 0);
    return VLLM_OK;
}

static enum vllm_status end_head(struct vllm_http1 *http1) {
    if (http1->is_chunked && http1->has_length) {
        return refuse(http1, "the answer has both Transfer-Encoding and Content-Length");
    }
    if (http1->is_chunked && http1->old) {
        return refuse(http1, "the answer is HTTP/1.0 with Transfer-Encoding");
    }
    http1->has_head = true;
    http1->fields_end = http1->line_at;
    if (http1->options.head_only || http1->code == 204 || http1->code == 304) {
        http1->state = ENDED;
    } else if (http1->is_chunked) {
        http1->left = 0;
        http1->state = SIZE;
    } else if (http1->has_length) {
        http1->state = http1->left > 0 ? LENGTH : ENDED;
    } else {
        http1->state = TO_CLOSE;
    }
    return VLLM_OK;
}

static enum vllm_status step_field(struct vllm_http1 *http1, struct vllm_slice *in) {
    char *line;
    size_t len;
    enum vllm_status status = take_line(http1, in, &line, &len);
    if (status != VLLM_OK) {
        return status;
    }
    if (len > 0) {
        status = pack_field(http1, line, len);
        http1->line_at = http1->head.len;
        return status;
    }
    end_line(http1, http1->line_at);
    return http1->code < 200 ? end_interim(http1) : end_head(http1);
}

/* The body --------------------------------------------------------------------------------------------------------- */

static enum vllm_status step_trailer(struct vllm_http1 *http1, struct vllm_slice *in) {
    char *line;
    size_t len;
    enum vllm_status status = take_line(http1, in, &line, &len);
    if (status == VLLM_OK && len == 0) {
        http1->state = ENDED;
    } else if (status == VLLM_OK) {
        status = pack_field(http1, line, len);
    }
    if (status == VLLM_OK) {
        end_line(http1, http1->fields_end);
    }
    return status;
}

static enum vllm_status add_body(struct vllm_http1 *http1, struct vllm_slice *in, size_t len) {
    const char *bytes = in->ptr;
    advance(in, len);
    http1->body_bytes += len;
    return append(http1, &http1->body, bytes, len);
}

/* Body bytes of which the number is known; then comes `next`. */
static enum vllm_status step_counted(struct vllm_http1 *http1, struct vllm_slice *in, enum state next) {
    size_t len = in->len < http1->left ? in->len : (size_t)http1->left;
    http1->left -= len;
    if (http1->left == 0) {
        http1->state = next;
    }
    return add_body(http1, in, len);
}

/* A whole chunk without extensions at the beginning of `in`, as a server writes an event: one look, one copy. False:
 * nothing was taken. */
static bool take_chunk(struct vllm_http1 *http1, struct vllm_slice *in) {
    size_t at = 0, size = 0;
    for (int value; at < in->len && at < SHORT_SIZE_DIGITS && (value = vllm_http1_hex_value(in->ptr[at])) >= 0; at++) {
        size = size << 4 | (size_t)value;
    }
    if (size == 0 || in->len < at + 4 || size > in->len - at - 4) {
        return false;
    }
    const char *data = in->ptr + at + 2;
    if (data[-2] != '\r' || data[-1] != '\n' || data[size] != '\r' || data[size + 1] != '\n') {
        return false;
    }
    http1->body_bytes += size;
    advance(in, at + size + 4);
    (void)append(http1, &http1->body, data, size); /* what fails is kept in `status` */
    return true;
}

static enum vllm_status step_size(struct vllm_http1 *http1, struct vllm_slice *in) {
    int value = -1;
    if (http1->size_digits == 0 && take_chunk(http1, in)) {
        return http1->status;
    }
    while (in->len > 0 && (value = vllm_http1_hex_value(*in->ptr)) >= 0) {
        if (++http1->size_digits > MAX_SIZE_DIGITS) {
            return refuse(http1, "a chunk size has more than 16 digits");
        }
        http1->left = http1->left << 4 | (uint64_t)value;
        advance(in, 1);
    }
    if (in->len == 0) {
        return VLLM_OK;
    }
    if (http1->size_digits == 0) {
        return refuse(http1, "a chunk size is not a hexadecimal number");
    }
    http1->size_digits = 0;
    http1->extension_bytes = 0;
    http1->in_extension = false;
    http1->state = EXTENSION;
    return VLLM_OK;
}

/* From the last digit of a chunk size to the CR. */
static enum vllm_status step_extension(struct vllm_http1 *http1, struct vllm_slice *in) {
    for (; in->len > 0; advance(in, 1)) {
        unsigned char c = (unsigned char)*in->ptr;
        if (c == '\r') {
            http1->state = SIZE_LF;
            advance(in, 1);
            return VLLM_OK;
        }
        http1->in_extension = http1->in_extension || c == ';';
        if (c == '\n' || !(vllm_http1_is_blank((char)c) || (http1->in_extension && c >= 0x20 && c != 0x7F))) {
            return refuse(http1, c == '\n' ? "the line of a chunk size ends in LF without CR"
                                           : "a chunk size is not a hexadecimal number");
        }
        if (++http1->extension_bytes > MAX_EXTENSION_BYTES) {
            return fail(http1, VLLM_ELIMIT, "the extension of a chunk is longer than 1024 bytes");
        }
    }
    return VLLM_OK;
}

static enum vllm_status expect(struct vllm_http1 *http1, struct vllm_slice *in, char wanted, enum state next,
                               const char *why) {
    if (*in->ptr != wanted) {
        return refuse(http1, why);
    }
    advance(in, 1);
    http1->state = next;
    return VLLM_OK;
}

#define DATA_WITHOUT_END "the data of a chunk is not followed by CRLF"

/* Takes at least one byte of `in`, or changes the state. */
static enum vllm_status step(struct vllm_http1 *http1, struct vllm_slice *in) {
    switch (http1->state) {
    case BEGIN: return step_begin(http1, in);
    case STATUS: return step_status(http1, in);
    case FIELDS: return step_field(http1, in);
    case LENGTH: return step_counted(http1, in, ENDED);
    case TO_CLOSE: return add_body(http1, in, in->len);
    case SIZE: return step_size(http1, in);
    case EXTENSION: return step_extension(http1, in);
    case SIZE_LF:
        return expect(http1, in, '\n', http1->left > 0 ? DATA : TRAILERS,
                      "a CR in the line of a chunk size is not followed by LF");
    case DATA: return step_counted(http1, in, DATA_CR);
    case DATA_CR: return expect(http1, in, '\r', DATA_LF, DATA_WITHOUT_END);
    case DATA_LF: return expect(http1, in, '\n', SIZE, DATA_WITHOUT_END);
    case TRAILERS: return step_trailer(http1, in);
    case ENDED: break;
    }
    http1->has_left_over = true;
    advance(in, in->len);
    return VLLM_OK;
}

/* The caller's side ------------------------------------------------------------------------------------------------ */

enum vllm_status vllm_http1_feed(struct vllm_http1 *http1, const char *bytes, size_t len) {
    struct vllm_slice in = {bytes, len};
    if (http1->status != VLLM_OK) {
        return http1->status;
    }
    if (http1->finished) {
        return VLLM_EINVALID;
    }
    http1->fresh = http1->fresh && len == 0;
    size_t held = http1->body.len, max = http1->options.max_buffer_bytes;
    if (held > 0 && (held > max || len > max - held)) {
        return fail(http1, VLLM_ELIMIT, "more than max_buffer_bytes of the body were not read in time");
    }
    while (in.len > 0 && http1->status == VLLM_OK) {
        (void)step(http1, &in); /* what fails is kept in `status` */
    }
    return http1->status;
}

enum vllm_status vllm_http1_head(const struct vllm_http1 *http1, int *status) {
    if (!http1->has_head) {
        return http1->status == VLLM_OK ? VLLM_MORE : http1->status;
    }
    *status = http1->code;
    return VLLM_OK;
}

bool vllm_http1_field(const struct vllm_http1 *http1, size_t *at, struct vllm_slice *name, struct vllm_slice *value) {
    if (*at >= http1->fields_end) {
        return false;
    }
    name->ptr = http1->head.data + *at;
    name->len = strlen(name->ptr);
    value->ptr = name->ptr + name->len + 1;
    value->len = strlen(value->ptr);
    *at += name->len + value->len + 2;
    return true;
}

enum vllm_status vllm_http1_read(struct vllm_http1 *http1, struct vllm_slice *bytes) {
    if (http1->body.len > 0) {
        *bytes = vllm_buf_view(&http1->body);
        vllm_buf_clear(&http1->body);
        return VLLM_OK;
    }
    if (http1->status == VLLM_OK && http1->state != ENDED) {
        return VLLM_MORE;
    }
    vllm_buf_free(&http1->body); /* a collector may leave the reader lying for long */
    return http1->status == VLLM_OK ? VLLM_END : http1->status;
}

enum vllm_status vllm_http1_finish(struct vllm_http1 *http1) {
    http1->finished = true;
    if (http1->status != VLLM_OK) {
        return http1->status;
    }
    if (http1->state == TO_CLOSE) {
        http1->state = ENDED;
    }
    if (http1->state == ENDED) {
        return VLLM_OK;
    }
    const char *within = http1->has_head ? "the connection was closed in the middle of the body"
                                         : "the connection was closed in the middle of the answer's head";
    return fail(http1, VLLM_ETRUNCATED, http1->fresh ? "the connection was closed without an answer" : within);
}

bool vllm_http1_reusable(const struct vllm_http1 *http1) {
    bool lives = !http1->has_close && (!http1->old || http1->has_keep_alive);
    return http1->state == ENDED && http1->status == VLLM_OK && lives && !http1->has_left_over && !http1->finished;
}

bool vllm_http1_fresh(const struct vllm_http1 *http1) {
    return http1->fresh;
}

uint64_t vllm_http1_body_bytes(const struct vllm_http1 *http1) {
    return http1->body_bytes;
}

const char *vllm_http1_why(const struct vllm_http1 *http1) {
    return http1->why;
}

const char *vllm_http1_given(const struct vllm_http1 *http1) {
    return http1->given;
}
