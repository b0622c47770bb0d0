/* JSON (RFC 8259) into a tree and back, for request bodies. Bounds: depth 200; the size is the request's.
 * Malformed UTF-8 in strings passes as it is; a lone surrogate becomes U+FFFD.
 */
#define _GNU_SOURCE
#include "json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 200 };

struct reader {
    const char *at, *end;
    int depth;
};

static struct json *read_value(struct reader *r);

static void skip_space(struct reader *r) {
    while (r->at < r->end && memchr(" \t\r\n", *r->at, 4) != NULL) r->at++;
}

static bool take(struct reader *r, char c) {
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static struct json *json_new(enum json_kind kind) {
    struct json *value = must_zero(sizeof *value);
    value->kind = kind;
    bytes_add(&value->text, "", 0);
    return value;
}

void json_free(struct json *value) {
    while (value != NULL) {
        struct json *next = value->next;
        json_free(value->child);
        bytes_free(&value->text);
        bytes_free(&value->key);
        free(value);
        value = next;
    }
}

void json_add_code_point(struct bytes *out, unsigned c) {
    char text[4];
    size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, c >>= 6) text[i] = (char)(0x80 | (c & 0x3f));
    text[0] = (char)(length == 1 ? c : (0xf00u >> length & 0xf0u) | c);
    bytes_add(out, text, length);
}

static bool read_hex(struct reader *r, unsigned *unit) {
    *unit = 0;
    if (r->end - r->at < 4) return false;
    for (int i = 0; i < 4; i++, r->at++) {
        const char *digits = "0123456789abcdefABCDEF", *digit = memchr(digits, *r->at, 22);
        if (digit == NULL) return false;
        unsigned value = (unsigned)(digit - digits);
        *unit = *unit * 16 + (value < 16 ? value : value - 6);
    }
    return true;
}

static bool read_code_unit(struct reader *r, struct bytes *out) {
    unsigned unit = 0, low = 0;
    if (!read_hex(r, &unit)) return false;
    if (unit >= 0xd800 && unit < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
        struct reader ahead = {r->at + 2, r->end, 0};
        if (read_hex(&ahead, &low) && low >= 0xdc00 && low < 0xe000) {
            r->at = ahead.at;
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    json_add_code_point(out, unit >= 0xd800 && unit < 0xe000 ? 0xfffd : unit);
    return true;
}

static bool read_string(struct reader *r, struct bytes *out) {
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    bytes_add(out, "", 0);
    while (r->at < r->end) {
        const char *run = r->at;
        while (r->at < r->end && *r->at != '"' && *r->at != '\\' && (unsigned char)*r->at >= ' ') r->at++;
        bytes_add(out, run, (size_t)(r->at - run));
        if (take(r, '"')) return true;
        if (!take(r, '\\') || r->at == r->end) return false;
        char c = *r->at;
        const char *escape = memchr(escapes, c, sizeof escapes - 1);
        if (escape == NULL && c != 'u') return false;
        r->at++;
        if (escape != NULL) bytes_add(out, &meanings[escape - escapes], 1);
        else if (!read_code_unit(r, out)) return false;
    }
    return false;
}

static bool read_digits(struct reader *r) {
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    return r->at > from;
}

static bool read_number(struct reader *r, struct bytes *out) {
    const char *from = r->at;
    take(r, '-');
    if (!take(r, '0') && !read_digits(r)) return false;
    if (take(r, '.') && !read_digits(r)) return false;
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+')) take(r, '-');
        if (!read_digits(r)) return false;
    }
    bytes_add(out, from, (size_t)(r->at - from));
    return true;
}

/* The members of an array or object, after its bracket. */
static bool read_members(struct reader *r, struct json *owner, char close) {
    struct json **end = &owner->child;
    skip_space(r);
    if (take(r, close)) return true;
    do {
        struct bytes key = {0};
        bool ok = true;
        skip_space(r);
        if (close == '}') {
            ok = take(r, '"') && read_string(r, &key);
            skip_space(r);
            ok = ok && take(r, ':');
        }
        struct json *value = ok ? read_value(r) : NULL;
        if (value == NULL) {
            bytes_free(&key);
            return false;
        }
        value->key = key;
        *end = value;
        end = &value->next;
        skip_space(r);
    } while (take(r, ','));
    return take(r, close);
}

static bool read_word(struct reader *r, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0) return false;
    r->at += length;
    return true;
}

static enum json_kind kind_of(char c) {
    switch (c) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case '"': return JSON_STRING;
    case 't': return JSON_TRUE;
    case 'f': return JSON_FALSE;
    case 'n': return JSON_NULL;
    default: return JSON_NUMBER;
    }
}

static bool read_inside(struct reader *r, struct json *value) {
    switch (value->kind) {
    case JSON_OBJECT: return take(r, '{') && read_members(r, value, '}');
    case JSON_ARRAY: return take(r, '[') && read_members(r, value, ']');
    case JSON_STRING: return take(r, '"') && read_string(r, &value->text);
    case JSON_TRUE: return read_word(r, "true");
    case JSON_FALSE: return read_word(r, "false");
    case JSON_NULL: return read_word(r, "null");
    case JSON_NUMBER: return read_number(r, &value->text);
    }
    return false;
}

static struct json *read_value(struct reader *r) {
    skip_space(r);
    if (r->at == r->end || r->depth >= MAX_DEPTH) return NULL;
    struct json *value = json_new(kind_of(*r->at));
    r->depth++;
    bool ok = read_inside(r, value);
    r->depth--;
    if (ok) return value;
    json_free(value);
    return NULL;
}

struct json *json_parse(const char *text, size_t length, size_t *wrong_at) {
    *wrong_at = 0;
    if (length == 0) return NULL;
    struct reader r = {text, text + length, 0};
    struct json *value = read_value(&r);
    if (value != NULL) skip_space(&r);
    *wrong_at = (size_t)(r.at - text);
    if (value != NULL && r.at == r.end) return value;
    json_free(value);
    return NULL;
}

bool json_is(const struct json *value, enum json_kind kind) { return value != NULL && value->kind == kind; }

const struct json *json_member(const struct json *object, const char *key) {
    const struct json *found = NULL;
    if (!json_is(object, JSON_OBJECT)) return NULL;
    for (const struct json *at = object->child; at != NULL; at = at->next)
        if (at->key.length == strlen(key) && memcmp(at->key.data, key, at->key.length) == 0) found = at;
    return json_is(found, JSON_NULL) ? NULL : found;
}

const char *json_string(const struct json *value) { return json_is(value, JSON_STRING) ? value->text.data : NULL; }

unsigned long json_count(const struct json *value, unsigned long otherwise) {
    if (!json_is(value, JSON_NUMBER) || value->text.length > 9) return otherwise;
    if (strspn(value->text.data, "0123456789") != value->text.length) return otherwise;
    return strtoul(value->text.data, NULL, 10);
}

void json_quote(struct bytes *out, const char *text, size_t length) {
    bytes_text(out, "\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') bytes_format(out, "\\%c", c);
        else if (c == '\n') bytes_text(out, "\\n");
        else if (c < ' ') bytes_format(out, "\\u%04x", c);
        else bytes_add(out, &text[i], 1);
    }
    bytes_text(out, "\"");
}

void json_write(struct bytes *out, const struct json *value) {
    static const char *const words[] = {"null", "false", "true"};
    bool object = value->kind == JSON_OBJECT;
    switch (value->kind) {
    case JSON_STRING: json_quote(out, value->text.data, value->text.length); return;
    case JSON_NUMBER: bytes_add(out, value->text.data, value->text.length); return;
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE: bytes_text(out, words[value->kind]); return;
    default: break;
    }
    bytes_text(out, object ? "{" : "[");
    for (const struct json *at = value->child; at != NULL; at = at->next) {
        if (at != value->child) bytes_text(out, ", ");
        if (object) {
            json_quote(out, at->key.data, at->key.length);
            bytes_text(out, ": ");
        }
        json_write(out, at);
    }
    bytes_text(out, object ? "}" : "]");
}

bool json_is_utf8(const char *text, size_t length) {
    for (size_t i = 0; i < length;) {
        unsigned char c = (unsigned char)text[i];
        size_t size = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
        if (size == 0 || size > length - i) return false;
        for (size_t k = 1; k < size; k++)
            if (((unsigned char)text[i + k] & 0xc0) != 0x80) return false;
        unsigned char second = size > 1 ? (unsigned char)text[i + 1] : 0;
        if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f)) return false;
        if ((c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f)) return false;
        i += size;
    }
    return true;
}
