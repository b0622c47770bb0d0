/* JSON: a strict on-demand reader over one buffer, and a writer that appends to a vllm_buf.
 *
 * The reader is a cursor. It builds nothing: the caller walks members and elements, takes what it knows and skips the
 * rest. It checks what it passes over. Strings come as raw slices; `plain` says that the slice already is the value.
 * This is the only place in the program that repairs UTF-8: each maximal malformed subpart, and each lone surrogate
 * escape, becomes U+FFFD. NaN, comments, hex, trailing commas and unescaped control characters are errors. Source: RFC
 * 8259; Unicode 15 section 3.9 (substitution of maximal subparts). */
#ifndef VLLM_JSON_H
#define VLLM_JSON_H

#include "buf.h"
#include "number.h"

enum vllm_json_type {
    VLLM_JSON_INVALID, /* no value here, or an earlier error */
    VLLM_JSON_NULL,
    VLLM_JSON_BOOL,
    VLLM_JSON_NUMBER,
    VLLM_JSON_STRING,
    VLLM_JSON_ARRAY,
    VLLM_JSON_OBJECT
};

struct vllm_json {
    const char *start, *at, *end;
    unsigned depth, max_depth;
    bool first;              /* the composite just entered has given nothing yet */
    enum vllm_status status; /* sticky: VLLM_OK, VLLM_ESYNTAX, VLLM_ELIMIT (depth, number range) */
    const char *why;         /* constant sentence of the first error; its place is `at - start` */
};

struct vllm_json_string {
    struct vllm_slice raw; /* between the quotes, as sent */
    bool plain;            /* no escapes and well-formed UTF-8: raw is the value */
};

#define VLLM_JSON_MAX_DEPTH 128 /* what the program uses unless it is told otherwise */

/* `text` is borrowed until the last use. More than 1024 levels are never allowed, whatever `max_depth` says. */
void vllm_json_init(struct vllm_json *j, const char *text, size_t len, unsigned max_depth);

/* The type of the value at the cursor, by its first byte; moves over white space only. */
enum vllm_json_type vllm_json_peek(struct vllm_json *j);

/* Into the object or array at the cursor (false: it is neither, or too deep). Then member/element until they return
 * false, which means the closing bracket was consumed, or an error: look at `status`. Each value must be consumed (by
 * any of the calls below, or by entering and leaving it) before the next one is asked for. */
bool vllm_json_enter(struct vllm_json *j);
bool vllm_json_member(struct vllm_json *j, struct vllm_json_string *key);
bool vllm_json_element(struct vllm_json *j);

/* Consume the value at the cursor. `raw` (may be NULL) receives its bytes. False: wrong type or malformed; status is
 * set. */
bool vllm_json_skip(struct vllm_json *j, struct vllm_slice *raw);
bool vllm_json_string(struct vllm_json *j, struct vllm_json_string *out);
bool vllm_json_number(struct vllm_json *j, struct vllm_number *out);
bool vllm_json_bool(struct vllm_json *j, bool *out);
bool vllm_json_null(struct vllm_json *j);

/* After the outermost value: true when only white space remains. */
bool vllm_json_end(struct vllm_json *j);

/* Is this one valid JSON value and nothing else? Reports place and reason through `j` (may be NULL). */
bool vllm_json_check(const char *text, size_t len, unsigned max_depth, struct vllm_json *j);

/* Does the string equal `terminated`, escapes decoded? */
bool vllm_json_string_is(const struct vllm_json_string *s, const char *terminated);

/* Appends the string's value. With `keep_halves`, a lone low surrogate at the very start or a lone high surrogate at
 * the very end is appended as its three generalised UTF-8 bytes (ED A0..BF xx): the caller holds the other half. */
VLLM_NODISCARD enum vllm_status vllm_json_string_value(const struct vllm_json_string *s, bool keep_halves,
                                                       struct vllm_buf *out);

/* Append one JSON token. A string that is not UTF-8 gives VLLM_EUTF8, a NaN or infinity VLLM_EINVALID; then nothing was
 * appended. */
VLLM_NODISCARD enum vllm_status vllm_json_write_string(struct vllm_buf *out, const char *text, size_t len);
VLLM_NODISCARD enum vllm_status vllm_json_write_integer(struct vllm_buf *out, int64_t value);
VLLM_NODISCARD enum vllm_status vllm_json_write_real(struct vllm_buf *out, double value);

#endif
