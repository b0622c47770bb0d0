/* Bytes of a response body, in any pieces → server-sent events. Source: WHATWG HTML, 9.2.5 (parsing) and 9.2.6
 * (interpreting).
 *
 * Input is copied once into `input` (by way of `late` while the caller still reads an event that lies there); a line is
 * found there by memchr, once for LF and once for CR, and never searched again. The data of an event with one data line
 * stays where it lies; further lines are joined in `joined`. Bounds: the data of one event, and one line (the data and
 * its field name), by max_event_bytes. What was passed over is dropped when it is more than what is left, so each byte
 * is moved a bounded number of times. Lines that are not fields are copied to `strays`, where they are wanted, up to
 * the bounds of the header.
 * It never judges the bytes: malformed UTF-8 and NUL pass through in data. Where strays are wanted, and only there, it
 * is not a parser of the standard but one of what model servers send: an `error` field, and chunks that one line break
 * parts (GLM and Kimi through gateways). */
#include "sse.h"

#include <string.h>

#include "slice.h"

#define DATA_FIELD  "data: "
#define ERROR_FIELD "error"

static const char BYTE_ORDER_MARK[] = "\xEF\xBB\xBF";

struct vllm_sse {
    struct vllm_alloc alloc;
    struct vllm_buf input;
    struct vllm_buf late; /* fed after an event was handed out, which may lie in `input`: next joins the two */
    size_t at;            /* where the current line begins */
    size_t cr;            /* no CR lies between `at` and here */
    size_t lf;            /* no LF lies between `at` and here */
    bool lf_found;        /* and one lies exactly here */
    struct vllm_buf joined;
    size_t data_at, data_len; /* while in_place: the only data line, in `input` */
    struct vllm_buf type, id;
    struct vllm_buf strays;
    size_t max_event_bytes, max_line_bytes;
    enum vllm_status status;
    bool has_data, in_place;
    bool delivered; /* the event above was handed out: the next call begins another */
    bool begun;     /* the question of a byte order mark is settled */
    bool skip_lf;   /* the last line ended in CR: an LF right after it belongs to it */
    bool finished, lenient_end;
    bool keeps_strays;
    bool had_event;
};

struct vllm_sse *vllm_sse_new(const struct vllm_alloc *alloc, size_t max_event_bytes, bool lenient_end) {
    struct vllm_sse *sse = alloc->fn(alloc->ud, NULL, 0, sizeof *sse);
    if (!sse) {
        return NULL;
    }
    memset(sse, 0, sizeof *sse);
    size_t field = sizeof DATA_FIELD - 1;
    sse->alloc = *alloc;
    sse->max_event_bytes = max_event_bytes;
    sse->max_line_bytes = max_event_bytes > SIZE_MAX - field ? SIZE_MAX : max_event_bytes + field;
    sse->lenient_end = lenient_end;
    vllm_buf_init(&sse->input, &sse->alloc, VLLM_BUF_MAX);
    vllm_buf_init(&sse->late, &sse->alloc, VLLM_BUF_MAX);
    vllm_buf_init(&sse->joined, &sse->alloc, max_event_bytes);
    vllm_buf_init(&sse->type, &sse->alloc, VLLM_BUF_MAX);
    vllm_buf_init(&sse->id, &sse->alloc, VLLM_BUF_MAX);
    vllm_buf_init(&sse->strays, &sse->alloc, max_event_bytes);
    return sse;
}

void vllm_sse_free(struct vllm_sse *sse) {
    if (!sse) {
        return;
    }
    struct vllm_alloc alloc = sse->alloc;
    vllm_buf_free(&sse->input);
    vllm_buf_free(&sse->late);
    vllm_buf_free(&sse->joined);
    vllm_buf_free(&sse->type);
    vllm_buf_free(&sse->id);
    vllm_buf_free(&sse->strays);
    alloc.fn(alloc.ud, sse, sizeof *sse, 0);
}

void vllm_sse_keep_strays(struct vllm_sse *sse) {
    sse->keeps_strays = true;
}

static enum vllm_status fail(struct vllm_sse *sse, enum vllm_status status) {
    if (status != VLLM_OK && sse->status == VLLM_OK) {
        sse->status = status;
    }
    return sse->status;
}

static void begin_event(struct vllm_sse *sse) {
    vllm_buf_clear(&sse->joined);
    vllm_buf_clear(&sse->type);
    sse->has_data = false;
    sse->in_place = false;
    sse->delivered = false;
}

/* Before a second data line: the first one moves into `joined`. */
static enum vllm_status leave_place(struct vllm_sse *sse) {
    if (!sse->in_place) {
        return VLLM_OK;
    }
    sse->in_place = false;
    return vllm_buf_append(&sse->joined, sse->input.data + sse->data_at, sse->data_len);
}

/* What lies before the current line is done, but for the data of an event that is not over. */
static void drop_passed(struct vllm_sse *sse) {
    size_t passed = sse->in_place ? sse->data_at : sse->at;
    if (passed > sse->input.len - passed) {
        vllm_buf_consume(&sse->input, passed);
        sse->data_at -= sse->in_place ? passed : 0;
        sse->cr -= passed;
        sse->lf -= passed;
        sse->at -= passed;
    }
}

static enum vllm_status add_input(struct vllm_sse *sse, const char *bytes, size_t len) {
    drop_passed(sse);
    return vllm_buf_append(&sse->input, bytes, len);
}

enum vllm_status vllm_sse_feed(struct vllm_sse *sse, const char *bytes, size_t len) {
    if (sse->status != VLLM_OK) {
        return sse->status;
    }
    if (sse->finished) {
        return VLLM_EINVALID;
    }
    return fail(sse, sse->delivered ? vllm_buf_append(&sse->late, bytes, len) : add_input(sse, bytes, len));
}

/* The caller is done with the event in hand. */
static enum vllm_status leave_event(struct vllm_sse *sse) {
    if (!sse->delivered) {
        return VLLM_OK;
    }
    begin_event(sse);
    if (sse->late.len == 0) {
        return VLLM_OK;
    }
    enum vllm_status status = add_input(sse, sse->late.data, sse->late.len);
    vllm_buf_free(&sse->late);
    return status;
}

enum vllm_status vllm_sse_finish(struct vllm_sse *sse) {
    sse->finished = true;
    return sse->status;
}

static void begin_line(struct vllm_sse *sse, size_t at) {
    sse->at = at;
    sse->cr = at;
    if (sse->lf < at) {
        sse->lf = at;
        sse->lf_found = false;
    }
}

/* True when the stream's first bytes are known to be a byte order mark (dropped) or not. */
static bool settle_mark(struct vllm_sse *sse) {
    size_t have = sse->input.len < 3 ? sse->input.len : 3;
    bool matches = have > 0 && memcmp(sse->input.data, BYTE_ORDER_MARK, have) == 0;
    if (have == 0 || (matches && have < 3 && !sse->finished)) {
        return false;
    }
    if (matches && have == 3) {
        begin_line(sse, 3);
    }
    sse->begun = true;
    return true;
}

/* The offset of the CR or LF that ends the current line. */
static bool find_end(struct vllm_sse *sse, size_t *end) {
    const char *bytes = sse->input.data;
    if (!sse->lf_found && sse->lf < sse->input.len) {
        const char *found = memchr(bytes + sse->lf, '\n', sse->input.len - sse->lf);
        sse->lf_found = found != NULL;
        sse->lf = found ? (size_t)(found - bytes) : sse->input.len;
    }
    if (sse->cr < sse->lf) {
        const char *found = memchr(bytes + sse->cr, '\r', sse->lf - sse->cr);
        sse->cr = found ? (size_t)(found - bytes) : sse->lf;
        if (found) {
            *end = sse->cr;
            return true;
        }
    }
    *end = sse->lf;
    return sse->lf_found;
}

static enum vllm_status add_data(struct vllm_sse *sse, size_t at, size_t len) {
    if (!sse->has_data) {
        if (len > sse->max_event_bytes) {
            return VLLM_ELIMIT;
        }
        sse->has_data = true;
        sse->in_place = true;
        sse->data_at = at;
        sse->data_len = len;
        return VLLM_OK;
    }
    enum vllm_status status = leave_place(sse);
    if (status == VLLM_OK) {
        status = vllm_buf_byte(&sse->joined, '\n');
    }
    return status == VLLM_OK ? vllm_buf_append(&sse->joined, sse->input.data + at, len) : status;
}

static enum vllm_status set_text(struct vllm_buf *buf, const char *value, size_t len) {
    vllm_buf_clear(buf);
    return vllm_buf_append(buf, value, len);
}

/* A line whose field is not known. What finds no room is passed over, as the standard passes over all of it. */
static enum vllm_status read_stray(struct vllm_sse *sse, const char *line, size_t len) {
    size_t room = sse->had_event ? VLLM_SSE_LATE_STRAYS : sse->max_event_bytes;
    if (sse->strays.len >= room || room - sse->strays.len <= len) {
        return VLLM_OK;
    }
    enum vllm_status status = vllm_buf_append(&sse->strays, line, len);
    return status == VLLM_OK ? vllm_buf_byte(&sse->strays, '\n') : status;
}

static enum vllm_status read_error(struct vllm_sse *sse, size_t at, size_t len) {
    enum vllm_status status = set_text(&sse->type, ERROR_FIELD, sizeof ERROR_FIELD - 1);
    return status == VLLM_OK ? add_data(sse, at, len) : status;
}

/* A line that is not empty. */
static enum vllm_status read_field(struct vllm_sse *sse, size_t at, size_t len) {
    const char *line = sse->input.data + at;
    const char *colon = memchr(line, ':', len);
    struct vllm_slice name = {line, colon ? (size_t)(colon - line) : len};
    size_t skip = colon ? name.len + 1 : len;
    if (skip < len && line[skip] == ' ') {
        skip++;
    }
    const char *value = line + skip;
    size_t value_len = len - skip;
    if (vllm_slice_is(name, "data")) {
        return add_data(sse, at + skip, value_len);
    }
    if (vllm_slice_is(name, "event")) {
        return set_text(&sse->type, value, value_len);
    }
    if (vllm_slice_is(name, "id")) {
        return memchr(value, '\0', value_len) ? VLLM_OK : set_text(&sse->id, value, value_len);
    }
    if (name.len == 0 || !sse->keeps_strays || vllm_slice_is(name, "retry")) {
        return VLLM_OK; /* a comment, an unknown field, or the one for those who reconnect */
    }
    return vllm_slice_is(name, ERROR_FIELD) ? read_error(sse, at + skip, value_len) : read_stray(sse, line, len);
}

static struct vllm_slice data_of(const struct vllm_sse *sse) {
    struct vllm_slice data = vllm_buf_view(&sse->joined);
    if (sse->in_place) {
        data.ptr = sse->input.data + sse->data_at;
        data.len = sse->data_len;
    }
    return data;
}

/* A bracket that opens on the line after one that closed does not continue any JSON: the blank line between two events
 * is missing. The data is looked at from its end, and only for such a line, which ends what the next one looks at:
 * blanks are not read again and again. */
static bool begins_another(const struct vllm_sse *sse, size_t at, size_t len) {
    const size_t name_len = sizeof DATA_FIELD - 2; /* without the blank */
    if (!sse->keeps_strays || !sse->has_data || len <= name_len ||
        memcmp(sse->input.data + at, DATA_FIELD, name_len) != 0) {
        return false;
    }
    struct vllm_slice next = {sse->input.data + at + name_len, len - name_len}, data = data_of(sse);
    next = vllm_slice_trim_start(next);
    if (next.len == 0 || (next.ptr[0] != '{' && next.ptr[0] != '[')) {
        return false;
    }
    data = vllm_slice_trim_end(data);
    return data.len > 0 && data.ptr[data.len - 1] == '}';
}

static enum vllm_status deliver(struct vllm_sse *sse, struct vllm_sse_event *event, bool cut) {
    event->data = data_of(sse);
    event->type = vllm_buf_view(&sse->type);
    event->id = vllm_buf_view(&sse->id);
    event->cut = cut;
    sse->delivered = true;
    sse->had_event = true;
    return VLLM_OK;
}

/* Are these the first letters of a field's name? */
static bool is_begun_name(const char *line, size_t len) {
    static const char *const names[] = {"data", "event", "id", "retry", ERROR_FIELD};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (len < strlen(names[i]) && memcmp(line, names[i], len) == 0) {
            return true;
        }
    }
    return false;
}

/* The bytes have ended: what follows the last blank line is not an event, unless we were asked to be lenient. */
static enum vllm_status last_event(struct vllm_sse *sse, struct vllm_sse_event *event) {
    size_t at = sse->at, len = sse->input.len - at;
    if (!sse->lenient_end) {
        return VLLM_END;
    }
    if (begins_another(sse, at, len)) {
        return deliver(sse, event, false);
    }
    begin_line(sse, sse->input.len);
    if (len > 0 && !is_begun_name(sse->input.data + at, len) && fail(sse, read_field(sse, at, len)) != VLLM_OK) {
        return sse->status;
    }
    return sse->has_data ? deliver(sse, event, true) : VLLM_END;
}

/* No whole line is there. */
static enum vllm_status starve(struct vllm_sse *sse, struct vllm_sse_event *event) {
    if (sse->input.len - sse->at > sse->max_line_bytes) {
        return fail(sse, VLLM_ELIMIT);
    }
    return sse->finished ? last_event(sse, event) : VLLM_MORE;
}

enum vllm_status vllm_sse_next(struct vllm_sse *sse, struct vllm_sse_event *event) {
    size_t end;
    if (sse->status != VLLM_OK) {
        return sse->status;
    }
    if (fail(sse, leave_event(sse)) != VLLM_OK) {
        return sse->status;
    }
    if (!sse->begun && !settle_mark(sse)) {
        return starve(sse, event);
    }
    for (;;) {
        size_t at = sse->at;
        if (sse->skip_lf && at < sse->input.len) {
            sse->skip_lf = false;
            if (sse->input.data[at] == '\n') {
                begin_line(sse, ++at);
            }
        }
        if (!find_end(sse, &end)) {
            return starve(sse, event);
        }
        size_t len = end - at;
        if (len > sse->max_line_bytes) {
            return fail(sse, VLLM_ELIMIT);
        }
        if (begins_another(sse, at, len)) {
            return deliver(sse, event, false);
        }
        sse->skip_lf = sse->input.data[end] == '\r';
        begin_line(sse, end + 1);
        if (len > 0) {
            if (fail(sse, read_field(sse, at, len)) != VLLM_OK) {
                return sse->status;
            }
        } else if (sse->has_data) {
            return deliver(sse, event, false);
        } else {
            vllm_buf_clear(&sse->type);
        }
    }
}

struct vllm_slice vllm_sse_unwrap(const struct vllm_sse_event *event) {
    static const char field[] = "data:";
    struct vllm_slice data = vllm_slice_trim(event->data);
    if (vllm_slice_is(event->type, ERROR_FIELD)) {
        return data;
    }
    while (data.len >= sizeof field - 1 && memcmp(data.ptr, field, sizeof field - 1) == 0) {
        data.ptr += sizeof field - 1;
        data.len -= sizeof field - 1;
        data = vllm_slice_trim(data);
    }
    bool is_nothing = (data.len > 0 && data.ptr[0] == ':') || vllm_slice_is(data, "null");
    data.len = is_nothing ? 0 : data.len;
    return data;
}

struct vllm_slice vllm_sse_strays(const struct vllm_sse *sse) {
    return vllm_buf_view(&sse->strays);
}
