/* Arguments from a JSON Schema: constants and enumerations first, then what the prompt offers, then something plain.
 * It knows type, const, enum, properties, required, items, minimum; depth 16. Text as Python's json.dumps writes it.
 */
#define _GNU_SOURCE
#include "model.h"

#include <string.h>

enum { SCHEMA_DEPTH = 16 };

struct filler {
    const char *prompt, *numbers;
    size_t turn;
    int depth;
};

static void fill(struct bytes *out, const struct json *schema, const char *name, struct filler *f);

/* The values of an enumeration of strings that the prompt mentions, in the order of the prompt. */
static size_t find_enumerated(const struct json *schema, const char *prompt, struct slice *found, size_t room) {
    const struct json *values = json_member(schema, "enum");
    size_t count = 0;
    for (const struct json *at = json_is(values, JSON_ARRAY) ? values->child : NULL; at != NULL; at = at->next) {
        const char *place = json_string(at) != NULL && at->text.length > 0 ? strcasestr(prompt, at->text.data) : NULL;
        if (place == NULL || count == room) continue;
        size_t slot = count++;
        for (; slot > 0 && strcasestr(prompt, found[slot - 1].data) > place; slot--) found[slot] = found[slot - 1];
        found[slot] = (struct slice){at->text.data, at->text.length};
    }
    return count;
}

static const char *schema_type(const struct json *schema) {
    const struct json *type = json_member(schema, "type");
    if (json_is(type, JSON_ARRAY)) type = type->child;
    if (json_string(type) != NULL) return json_string(type);
    return json_member(schema, "properties") != NULL ? "object" : "string";
}

static size_t find_strings(const struct json *schema, const char *prompt, struct slice *found) {
    if (json_member(schema, "enum") != NULL) return find_enumerated(schema, prompt, found, MAX_CALLS);
    if (strcmp(schema_type(schema), "string") != 0) return 0;
    return find_names(prompt, found, MAX_CALLS);
}

static void fill_string(struct bytes *out, const struct json *schema, const char *name, struct filler *f) {
    struct slice found[MAX_CALLS];
    if (mentions(name, "expression formula calculation", 4) && find_sum(f->prompt, found)) {
        json_quote(out, found[0].data, found[0].length);
        return;
    }
    size_t count = find_strings(schema, f->prompt, found);
    if (count > 0) json_quote(out, found[f->turn % count].data, found[f->turn % count].length);
    else json_quote(out, f->prompt, strnlen(f->prompt, 200));
}

static void fill_number(struct bytes *out, const struct json *schema, struct filler *f) {
    struct slice found;
    const struct json *minimum = json_member(schema, "minimum");
    if (find_number(&f->numbers, &found)) bytes_add(out, found.data, found.length);
    else if (json_is(minimum, JSON_NUMBER)) json_write(out, minimum);
    else bytes_text(out, "1");
}

static bool is_required(const struct json *schema, const struct json *property) {
    const struct json *required = json_member(schema, "required");
    if (!json_is(required, JSON_ARRAY)) return required == NULL;
    for (const struct json *at = required->child; at != NULL; at = at->next)
        if (json_string(at) != NULL && strcmp(at->text.data, property->key.data) == 0) return true;
    return false;
}

static void fill_object(struct bytes *out, const struct json *schema, struct filler *f) {
    const struct json *properties = json_member(schema, "properties");
    bool first = true;
    bytes_text(out, "{");
    for (const struct json *at = json_is(properties, JSON_OBJECT) ? properties->child : NULL; at != NULL; at = at->next) {
        struct slice found[1];
        if (!is_required(schema, at) && find_enumerated(at, f->prompt, found, 1) == 0) continue;
        if (!first) bytes_text(out, ", ");
        first = false;
        json_quote(out, at->key.data, at->key.length);
        bytes_text(out, ": ");
        fill(out, at, at->key.data, f);
    }
    bytes_text(out, "}");
}

static void fill_array(struct bytes *out, const struct json *schema, const char *name, struct filler *f) {
    const struct json *items = json_member(schema, "items");
    struct slice found[MAX_CALLS];
    size_t count = items == NULL ? 0 : find_strings(items, f->prompt, found), turn = f->turn;
    bytes_text(out, "[");
    for (size_t i = 0; items != NULL && i < (count > 0 ? count : 1); i++) {
        f->turn = i;
        if (i > 0) bytes_text(out, ", ");
        fill(out, items, name, f);
    }
    f->turn = turn;
    bytes_text(out, "]");
}

static void fill(struct bytes *out, const struct json *schema, const char *name, struct filler *f) {
    const struct json *constant = json_member(schema, "const"), *values = json_member(schema, "enum");
    const char *type = schema_type(schema);
    struct slice found[MAX_CALLS];
    bool enumerated = json_is(values, JSON_ARRAY) && values->child != NULL;
    if (++f->depth > SCHEMA_DEPTH) bytes_text(out, "null");
    else if (constant != NULL) json_write(out, constant);
    else if (enumerated && find_enumerated(schema, f->prompt, found, MAX_CALLS) == 0) json_write(out, values->child);
    else if (enumerated || strcmp(type, "string") == 0) fill_string(out, schema, name, f);
    else if (strcmp(type, "object") == 0) fill_object(out, schema, f);
    else if (strcmp(type, "array") == 0) fill_array(out, schema, name, f);
    else if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0) fill_number(out, schema, f);
    else bytes_text(out, strcmp(type, "boolean") == 0 ? "true" : "null");
    f->depth--;
}

void schema_value(struct bytes *out, const struct json *schema, const char *prompt, size_t turn) {
    struct filler f = {prompt, prompt, turn, 0};
    if (json_is(schema, JSON_OBJECT)) fill(out, schema, "", &f);
    else bytes_text(out, "{}");
}

size_t schema_turns(const struct json *schema, const char *prompt) {
    const struct json *properties = json_member(schema, "properties");
    struct slice found[MAX_CALLS];
    for (const struct json *at = json_is(properties, JSON_OBJECT) ? properties->child : NULL; at != NULL; at = at->next) {
        if (!is_required(schema, at) || strcmp(schema_type(at), "string") != 0) continue;
        size_t count = find_strings(at, prompt, found);
        return count > 0 ? count : 1;
    }
    return 1;
}

bool schema_is_mentioned(const struct json *schema, const char *prompt) {
    const struct json *properties = json_member(schema, "properties");
    struct slice found[1];
    for (const struct json *at = json_is(properties, JSON_OBJECT) ? properties->child : NULL; at != NULL; at = at->next)
        if (find_enumerated(at, prompt, found, 1) > 0) return true;
    return false;
}
