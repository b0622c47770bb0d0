/* JSON text → a cursor over it. One pass: every byte is looked at once by the scanner, and a second time only where the
 * caller asks for the value of a string or number (json_string.c, number.c). Bounds: `max_depth` nested composites, at
 * most DEPTH_CEILING whatever the caller says; no allocation, no recursion. Malformed UTF-8 inside a string is not an
 * error here: the string is not `plain`, and its value is repaired when it is taken. A NUL is a byte like any other: an
 * error wherever JSON has no place for it. Source: RFC 8259. */
#include "json.h"

#include <string.h>

#include "json_scan.h"
#include "utf8.h"

#define DEPTH_CEILING 1024 /* bits that skip_nested keeps on the stack */

static bool fail(struct vllm_json *j, enum vllm_status status, const char *why) {
    if (j->status == VLLM_OK) {
        j->status = status;
        j->why = why;
    }
    return false;
}

static inline void skip_space(struct vllm_json *j) {
    const char *p = j->at;
    while (p < j->end && (unsigned char)*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }
    j->at = p;
}

void vllm_json_init(struct vllm_json *j, const char *text, size_t len, unsigned max_depth) {
    j->start = text ? text : "";
    j->at = j->start;
    j->end = j->start + (text ? len : 0);
    j->depth = 0;
    j->max_depth = max_depth < DEPTH_CEILING ? max_depth : DEPTH_CEILING;
    j->first = false;
    j->status = VLLM_OK;
    j->why = NULL;
}

/* The type of a value by its first byte. */
static const unsigned char types[256] = {
    ['"'] = VLLM_JSON_STRING, ['{'] = VLLM_JSON_OBJECT, ['['] = VLLM_JSON_ARRAY,  ['t'] = VLLM_JSON_BOOL,
    ['f'] = VLLM_JSON_BOOL,   ['n'] = VLLM_JSON_NULL,   ['-'] = VLLM_JSON_NUMBER, ['0'] = VLLM_JSON_NUMBER,
    ['1'] = VLLM_JSON_NUMBER, ['2'] = VLLM_JSON_NUMBER, ['3'] = VLLM_JSON_NUMBER, ['4'] = VLLM_JSON_NUMBER,
    ['5'] = VLLM_JSON_NUMBER, ['6'] = VLLM_JSON_NUMBER, ['7'] = VLLM_JSON_NUMBER, ['8'] = VLLM_JSON_NUMBER,
    ['9'] = VLLM_JSON_NUMBER};

static inline enum vllm_json_type peek(struct vllm_json *j) {
    if (j->status != VLLM_OK) {
        return VLLM_JSON_INVALID;
    }
    skip_space(j);
    return j->at == j->end ? VLLM_JSON_INVALID : (enum vllm_json_type)types[(unsigned char)*j->at];
}

enum vllm_json_type vllm_json_peek(struct vllm_json *j) {
    return peek(j);
}

/* As peek, but no value here is an error. */
static inline enum vllm_json_type expect_value(struct vllm_json *j) {
    enum vllm_json_type type = peek(j);
    if (type == VLLM_JSON_INVALID) {
        fail(j, VLLM_ESYNTAX, j->at == j->end ? "the text ends where a value should be" : "expected a JSON value");
    }
    return type;
}

static bool expect_type(struct vllm_json *j, enum vllm_json_type type, const char *why) {
    enum vllm_json_type found = expect_value(j);
    return found == type || (found != VLLM_JSON_INVALID && fail(j, VLLM_ESYNTAX, why));
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* `p` is after a backslash. Returns what follows the escape, or NULL. */
static const char *scan_escape(const char *p, const char *end) {
    if (p == end) {
        return NULL;
    }
    switch (*p) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': return p + 1;
    case 'u': return end - p > 4 && is_hex(p[1]) && is_hex(p[2]) && is_hex(p[3]) && is_hex(p[4]) ? p + 5 : NULL;
    default: return NULL;
    }
}

/* The rest of a string from `p`, the first byte that does not stand for itself; its raw bytes begin at `begin`. */
static bool scan_special(struct vllm_json *j, const char *begin, const char *p, struct vllm_json_string *out) {
    const char *end = j->end;
    bool plain = true;
    while (p < end && *p != '"') {
        if (*p == '\\') {
            const char *next = scan_escape(p + 1, end);
            if (!next) {
                j->at = p;
                return fail(j, VLLM_ESYNTAX, "unknown escape in a string");
            }
            plain = false;
            p = next;
        } else if ((unsigned char)*p < 0x20) {
            j->at = p;
            return fail(j, VLLM_ESYNTAX, "unescaped control character in a string");
        } else {
            bool well_formed;
            p += json_utf8_step(p, end, &well_formed);
            plain = plain && well_formed;
        }
        if (p < end && !json_is_special((unsigned char)*p)) {
            p = json_skip_plain(p, end);
        }
    }
    if (p == end) {
        return fail(j, VLLM_ESYNTAX, "a string has no end");
    }
    out->raw.ptr = begin;
    out->raw.len = (size_t)(p - begin);
    out->plain = plain;
    j->at = p + 1;
    return true;
}

/* The cursor stands on the opening quote. */
static inline bool scan_string(struct vllm_json *j, struct vllm_json_string *out) {
    const char *begin = j->at + 1, *p = json_skip_plain(begin, j->end);
    if (p == j->end || *p != '"') {
        return scan_special(j, begin, p, out);
    }
    out->raw.ptr = begin;
    out->raw.len = (size_t)(p - begin);
    out->plain = true;
    j->at = p + 1;
    return true;
}

static bool scan_number(struct vllm_json *j, struct vllm_slice *out) {
    out->ptr = j->at;
    out->len = vllm_number_scan(j->at, (size_t)(j->end - j->at));
    if (out->len == 0) {
        return fail(j, VLLM_ESYNTAX, "malformed number");
    }
    j->at += out->len;
    return true;
}

static bool scan_word(struct vllm_json *j, const char *word, size_t len) {
    if ((size_t)(j->end - j->at) < len || memcmp(j->at, word, len) != 0) {
        return fail(j, VLLM_ESYNTAX, "expected a JSON value");
    }
    j->at += len;
    return true;
}

bool vllm_json_string(struct vllm_json *j, struct vllm_json_string *out) {
    return expect_type(j, VLLM_JSON_STRING, "string expected") && scan_string(j, out);
}

bool vllm_json_number(struct vllm_json *j, struct vllm_number *out) {
    struct vllm_slice raw;
    if (!expect_type(j, VLLM_JSON_NUMBER, "number expected") || !scan_number(j, &raw)) {
        return false;
    }
    enum vllm_status status = vllm_number_read(raw.ptr, raw.len, out);
    if (status != VLLM_OK) {
        j->at = raw.ptr;
        return fail(j, status, status == VLLM_ELIMIT ? "number out of range" : "malformed number");
    }
    return true;
}

bool vllm_json_bool(struct vllm_json *j, bool *out) {
    if (!expect_type(j, VLLM_JSON_BOOL, "expected true or false")) {
        return false;
    }
    *out = *j->at == 't';
    return *out ? scan_word(j, "true", 4) : scan_word(j, "false", 5);
}

bool vllm_json_null(struct vllm_json *j) {
    return expect_type(j, VLLM_JSON_NULL, "null expected") && scan_word(j, "null", 4);
}

bool vllm_json_enter(struct vllm_json *j) {
    enum vllm_json_type type = expect_value(j);
    if (type == VLLM_JSON_INVALID) {
        return false;
    }
    if (type != VLLM_JSON_OBJECT && type != VLLM_JSON_ARRAY) {
        return fail(j, VLLM_ESYNTAX, "expected an object or array");
    }
    if (j->depth >= j->max_depth) {
        return fail(j, VLLM_ELIMIT, "nested too deeply");
    }
    j->at++;
    j->depth++;
    j->first = true;
    return true;
}

/* True when something follows in the composite that `closing` ends; the comma before it is consumed. */
static bool next_item(struct vllm_json *j, char closing, const char *why) {
    if (j->status != VLLM_OK) {
        return false;
    }
    skip_space(j);
    if (j->at == j->end) {
        return fail(j, VLLM_ESYNTAX, "the text ends inside an object or array");
    }
    if (*j->at == closing) {
        j->at++;
        j->depth--;
        j->first = false;
        return false;
    }
    if (j->first) {
        j->first = false;
        return true;
    }
    if (*j->at != ',') {
        return fail(j, VLLM_ESYNTAX, why);
    }
    j->at++;
    skip_space(j);
    return true;
}

bool vllm_json_member(struct vllm_json *j, struct vllm_json_string *key) {
    if (!next_item(j, '}', "',' or '}' expected")) {
        return false;
    }
    if (j->at == j->end || *j->at != '"') {
        return fail(j, VLLM_ESYNTAX, "expected a name in quotes");
    }
    if (!scan_string(j, key)) {
        return false;
    }
    skip_space(j);
    if (j->at == j->end || *j->at != ':') {
        return fail(j, VLLM_ESYNTAX, "':' expected");
    }
    j->at++;
    return true;
}

bool vllm_json_element(struct vllm_json *j) {
    return next_item(j, ']', "',' or ']' expected") && expect_value(j) != VLLM_JSON_INVALID;
}

static bool skip_scalar(struct vllm_json *j, enum vllm_json_type type) {
    struct vllm_json_string string;
    struct vllm_slice raw;
    switch (type) {
    case VLLM_JSON_STRING: return scan_string(j, &string);
    case VLLM_JSON_NUMBER: return scan_number(j, &raw);
    case VLLM_JSON_NULL: return scan_word(j, "null", 4);
    case VLLM_JSON_BOOL: return *j->at == 't' ? scan_word(j, "true", 4) : scan_word(j, "false", 5);
    default: return false;
    }
}

/* Passes over the value at the cursor. A bit per level remembers what is open, so that no input can make it recurse. */
static bool skip_nested(struct vllm_json *j) {
    uint64_t objects[DEPTH_CEILING / 64 + 1] = {0};
    unsigned base = j->depth;
    struct vllm_json_string key;
    for (;;) {
        enum vllm_json_type type = expect_value(j);
        if (type == VLLM_JSON_OBJECT || type == VLLM_JSON_ARRAY) {
            if (!vllm_json_enter(j)) {
                return false;
            }
            uint64_t bit = UINT64_C(1) << j->depth % 64;
            uint64_t *word = &objects[j->depth / 64];
            *word = type == VLLM_JSON_OBJECT ? *word | bit : *word & ~bit;
        } else if (!skip_scalar(j, type)) {
            return false;
        }
        for (;;) {
            if (j->depth == base) {
                return true;
            }
            bool in_object = objects[j->depth / 64] >> j->depth % 64 & 1;
            if (in_object ? vllm_json_member(j, &key) : vllm_json_element(j)) {
                break;
            }
            if (j->status != VLLM_OK) {
                return false;
            }
        }
    }
}

bool vllm_json_skip(struct vllm_json *j, struct vllm_slice *raw) {
    enum vllm_json_type type = expect_value(j);
    const char *begin = j->at;
    bool nested = type == VLLM_JSON_OBJECT || type == VLLM_JSON_ARRAY;
    if (!(nested ? skip_nested(j) : skip_scalar(j, type))) {
        return false;
    }
    if (raw) {
        raw->ptr = begin;
        raw->len = (size_t)(j->at - begin);
    }
    return true;
}

bool vllm_json_end(struct vllm_json *j) {
    if (j->status != VLLM_OK) {
        return false;
    }
    skip_space(j);
    return j->at == j->end || fail(j, VLLM_ESYNTAX, "more text after the value");
}

bool vllm_json_check(const char *text, size_t len, unsigned max_depth, struct vllm_json *j) {
    struct vllm_json own;
    struct vllm_json *cursor = j ? j : &own;
    vllm_json_init(cursor, text, len, max_depth);
    return vllm_json_skip(cursor, NULL) && vllm_json_end(cursor);
}
