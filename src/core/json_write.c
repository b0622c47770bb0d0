/* One value → one JSON token at the end of a buffer. Compact, escapes only what JSON demands (quote, backslash, bytes
 * below 0x20), so the same value always gives the same bytes. Never repairs: text that is not UTF-8 is refused, and
 * then, as with every failure, the buffer is as it was. Source: RFC 8259 section 7. */
#include "json.h"

#include "json_scan.h"
#include "utf8.h"

/* What follows the backslash, by byte; 0: \u00XX. */
static const char short_escapes['\\' + 1] = {
    ['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};

static enum vllm_status write_escape(struct vllm_buf *out, unsigned char byte) {
    static const char hex[] = "0123456789abcdef";
    char escape[6] = {'\\', short_escapes[byte], '0', '0', hex[byte >> 4], hex[byte & 15]};
    if (escape[1]) {
        return vllm_buf_append(out, escape, 2);
    }
    escape[1] = 'u';
    return vllm_buf_append(out, escape, 6);
}

/* End of the run that can be copied as it is; NULL where the text is not UTF-8. */
static const char *skip_copied(const char *p, const char *end) {
    for (;;) {
        bool well_formed;
        p = json_skip_plain(p, end);
        if (p == end || (unsigned char)*p < 0x80) {
            return p;
        }
        p += vllm_utf8_step(p, end, &well_formed);
        if (!well_formed) {
            return NULL;
        }
    }
}

static enum vllm_status write_content(struct vllm_buf *out, const char *p, const char *end) {
    enum vllm_status status = VLLM_OK;
    while (p < end && status == VLLM_OK) {
        const char *stop = skip_copied(p, end);
        if (!stop) {
            return VLLM_EUTF8;
        }
        status = vllm_buf_append(out, p, (size_t)(stop - p));
        p = stop;
        if (status == VLLM_OK && p < end) {
            status = write_escape(out, (unsigned char)*p++);
        }
    }
    return status;
}

enum vllm_status vllm_json_write_string(struct vllm_buf *out, const char *text, size_t len) {
    size_t before = out->len;
    enum vllm_status status = len <= SIZE_MAX - 2 ? vllm_buf_reserve(out, len + 2) : VLLM_ELIMIT;
    if (status == VLLM_OK) {
        status = vllm_buf_byte(out, '"');
    }
    if (status == VLLM_OK) {
        status = write_content(out, text, len > 0 ? text + len : text); /* an absent text is NULL */
    }
    if (status == VLLM_OK) {
        status = vllm_buf_byte(out, '"');
    }
    if (status != VLLM_OK) {
        out->len = before;
    }
    return status;
}

enum vllm_status vllm_json_write_integer(struct vllm_buf *out, int64_t value) {
    char text[VLLM_NUMBER_MAX];
    return vllm_buf_append(out, text, vllm_number_write_integer(value, text));
}

enum vllm_status vllm_json_write_real(struct vllm_buf *out, double value) {
    char text[VLLM_NUMBER_MAX];
    size_t len = vllm_number_write_real(value, text);
    return len > 0 ? vllm_buf_append(out, text, len) : VLLM_EINVALID;
}
