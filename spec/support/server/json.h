#ifndef TEST_SERVER_JSON_H
#define TEST_SERVER_JSON_H

#include "bytes.h"

#include <stdbool.h>

/* A small strict JSON reader, on purpose not the library's own: the two check each other. */
struct json {
    enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } kind;
    struct bytes text; /* a string's bytes, a number's text */
    struct bytes key;  /* of a member of an object */
    struct json *child, *next;
};

struct json *json_parse(const char *text, size_t length, size_t *wrong_at); /* NULL: not JSON, from wrong_at */
void json_free(struct json *value);
const struct json *json_member(const struct json *object, const char *key); /* the last such; NULL: none, or null */
const char *json_string(const struct json *value);                          /* NULL: not a string */
bool json_is(const struct json *value, enum json_kind kind);
unsigned long json_count(const struct json *value, unsigned long otherwise); /* a small number without a sign */

void json_quote(struct bytes *out, const char *text, size_t length);
void json_write(struct bytes *out, const struct json *value); /* with ", " and ": ", as Python does */
void json_add_code_point(struct bytes *out, unsigned code_point);
bool json_is_utf8(const char *text, size_t length);

#endif
