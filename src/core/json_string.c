/* The raw bytes of a JSON string, as the reader found them → its value in UTF-8.
 * Escapes are decoded; each malformed subpart and each lone surrogate escape becomes U+FFFD. The value is never longer
 * than three times the raw bytes; the output buffer's own bound holds. The reader has checked the escapes before.
 * Source: RFC 8259 section 7; Unicode 15 section 3.9. */
#include "json.h"

#include <string.h>

#include "json_scan.h"
#include "utf8.h"

#define REPLACEMENT 0xFFFD

/* What the short escapes stand for, by the byte after the backslash. */
static const char short_escapes[256] = {
    ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};

static uint32_t hex4(const char *p) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static bool is_high_half(uint32_t unit) {
    return unit >= 0xD800 && unit <= 0xDBFF;
}

static bool is_low_half(uint32_t unit) {
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

/* `p` stands on the u of \uXXXX. A pair is read as one; a lone half comes back as it is. Returns what follows. */
static const char *decode_unicode(const char *p, const char *end, uint32_t *code_point) {
    if (end - p < 5) {
        *code_point = REPLACEMENT;
        return end;
    }
    uint32_t unit = hex4(p + 1);
    p += 5;
    if (is_high_half(unit) && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        uint32_t low = hex4(p + 2);
        if (is_low_half(low)) {
            *code_point = 0x10000 + ((unit - 0xD800) << 10 | (low - 0xDC00));
            return p + 6;
        }
    }
    *code_point = unit;
    return p;
}

/* `p` is after a backslash. */
static const char *decode_escape(const char *p, const char *end, uint32_t *code_point) {
    if (p == end) {
        *code_point = REPLACEMENT;
        return end;
    }
    if (*p == 'u') {
        return decode_unicode(p, end, code_point);
    }
    *code_point = (unsigned char)short_escapes[(unsigned char)*p];
    return p + 1;
}

/* The piece of the value that begins at `p`: one escape, or one UTF-8 sequence, well-formed or not. Returns what
 * follows. */
static const char *next_piece(const struct vllm_json_string *s, const char *p, bool keep_halves,
                              struct vllm_slice *piece, char bytes[4]) {
    const char *end = s->raw.ptr + s->raw.len, *begin = p;
    uint32_t code_point = REPLACEMENT;
    if (*p == '\\') {
        p = decode_escape(p + 1, end, &code_point);
        bool kept =
            keep_halves && ((is_low_half(code_point) && begin == s->raw.ptr) || (is_high_half(code_point) && p == end));
        if (code_point >= 0xD800 && code_point <= 0xDFFF && !kept) {
            code_point = REPLACEMENT;
        }
    } else {
        bool well_formed;
        p += vllm_utf8_step(p, end, &well_formed);
        if (well_formed) {
            piece->ptr = begin;
            piece->len = (size_t)(p - begin);
            return p;
        }
    }
    piece->ptr = bytes;
    piece->len = vllm_utf8_write(code_point, bytes);
    return p;
}

bool vllm_json_string_is(const struct vllm_json_string *s, const char *terminated) {
    size_t len = strlen(terminated);
    if (s->plain) {
        return s->raw.len == len && memcmp(s->raw.ptr, terminated, len) == 0;
    }
    char bytes[4];
    struct vllm_slice piece;
    const char *p = s->raw.ptr, *end = s->raw.ptr + s->raw.len;
    while (p < end) {
        p = next_piece(s, p, false, &piece, bytes);
        if (piece.len > len || memcmp(piece.ptr, terminated, piece.len) != 0) {
            return false;
        }
        terminated += piece.len;
        len -= piece.len;
    }
    return len == 0;
}

/* `p` is at a backslash. Returns what follows the escape, whose value is at `*to` then; or `p`, if it is cut off or
 * half of a pair. */
static inline const char *copy_escape(const char *p, const char *end, char **to) {
    size_t left = (size_t)(end - p);
    char value = left >= 2 ? short_escapes[(unsigned char)p[1]] : '\0';
    if (value) {
        *(*to)++ = value;
        return p + 2;
    }
    uint32_t unit = left >= 6 && p[1] == 'u' ? hex4(p + 2) : 0xD800;
    if (is_high_half(unit) || is_low_half(unit)) {
        return p;
    }
    *to += vllm_utf8_write(unit, *to);
    return p + 6;
}

/* `p` is at a byte from 0x80. Returns what follows the sequence; or `p`, if it is not well-formed. */
static inline const char *copy_sequence(const char *p, const char *end, char **to) {
    bool well_formed;
    size_t len = json_utf8_step(p, end, &well_formed);
    if (!well_formed) {
        return p;
    }
    for (size_t i = 0; i < len; i++) {
        *(*to)++ = p[i];
    }
    return p + len;
}

/* Copies the value of what lies between `p` and `end` to `*to`, which has room for so many bytes. Returns the first
 * place that next_piece must look at, or `end`. */
static const char *copy_value(const char *p, const char *end, char **to) {
    while (p < end) {
        const char *begin = p;
        if (!json_is_special((unsigned char)*p)) {
            p = json_skip_plain(p, end);
            memcpy(*to, begin, (size_t)(p - begin));
            *to += p - begin;
        } else {
            p = *p == '\\' ? copy_escape(p, end, to) : copy_sequence(p, end, to);
        }
        if (p == begin) {
            break;
        }
    }
    return p;
}

enum vllm_status vllm_json_string_value(const struct vllm_json_string *s, bool keep_halves, struct vllm_buf *out) {
    if (s->plain) {
        return vllm_buf_append(out, s->raw.ptr, s->raw.len);
    }
    size_t before = out->len;
    enum vllm_status status = VLLM_OK;
    char bytes[4];
    struct vllm_slice piece;
    const char *p = s->raw.ptr, *end = s->raw.ptr + s->raw.len;
    while (p < end && status == VLLM_OK) {
        size_t room = out->cap - out->len, left = (size_t)(end - p);
        if (room > 0) {
            char *to = out->data + out->len;
            p = copy_value(p, room < left ? p + room : end, &to);
            out->len = (size_t)(to - out->data);
        }
        if (p < end) {
            p = next_piece(s, p, keep_halves, &piece, bytes);
            status = vllm_buf_append(out, piece.ptr, piece.len);
        }
    }
    if (status != VLLM_OK) {
        out->len = before;
    }
    return status;
}
