/* What names, metatables and constants mean when a Lua value becomes JSON: the request's schema, and the marks of other
 * libraries. Of those it looks only at what is loaded already (package.loaded, the global vim), raw, and loads nothing.
 */
#include "json_encode.h"

#include <string.h>

/* Members of a request whose value is an array wherever it may be empty. From vLLM's ChatCompletionRequest and its
 * neighbours (completions, embeddings, rerank, responses), the structural tags, and JSON Schema. A new list among the
 * wire fields of fields.lua goes here as well: spec/fields_spec.lua compares the two. */
static const char *const array_names[] = {"messages", "tools", "stop", "stop_token_ids", "bad_words",
                                          "allowed_token_ids", "logprob_token_ids", "documents", "modalities",
                                          "include", "prompt", "input", "prompt_token_ids",
                                          /* in messages */
                                          "content", "tool_calls", "annotations",
                                          /* in structured_outputs and structural tags */
                                          "choice", "structures", "triggers", "tags", "elements", "excludes",
                                          /* in JSON Schema */
                                          "required", "enum", "anyOf", "oneOf", "allOf", "prefixItems", "examples"};

/* Members whose own members the user has named. */
static const char *const thing_names[] = {"properties",  "patternProperties", "$defs",
                                          "definitions", "dependentSchemas",  "dependentRequired"};

static bool is_one_of(const struct encode_frame *frame, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (encode_is_named(frame, names[i])) {
            return true;
        }
    }
    return false;
}

bool encode_is_named(const struct encode_frame *frame, const char *name) {
    return frame->name && !frame->is_thing && frame->name_len == strlen(name) &&
           memcmp(frame->name, name, frame->name_len) == 0;
}

bool encode_names_things(const struct encode_frame *frame) {
    return is_one_of(frame, thing_names, sizeof thing_names / sizeof thing_names[0]);
}

bool encode_wants_array(const struct encoder *e, const struct encode_frame *frame) {
    if (!e->options->request) {
        return false;
    }
    if (frame->is_thing) {
        return encode_is_named(frame->parent, "dependentRequired");
    }
    return is_one_of(frame, array_names, sizeof array_names / sizeof array_names[0]);
}

/* Takes the value at the top away: was it there, and the same as the one below? */
static bool was_same(lua_State *L) {
    bool same = !lua_isnil(L, -1) && lua_rawequal(L, -1, -2);
    lua_pop(L, 1);
    return same;
}

/* Is the value at the top what package.loaded[module][field] holds? */
static bool is_loaded(lua_State *L, const char *module, const char *field) {
    lua_pushvalue(L, LUA_REGISTRYINDEX);
    bind_step(L, "_LOADED");
    bind_step(L, module);
    bind_step(L, field);
    return was_same(L);
}

/* Neovim has a lua-cjson of its own under vim.json. */
static bool is_of_vim_json(lua_State *L, const char *field) {
    compat_push_globals(L);
    bind_step(L, "vim");
    bind_step(L, "json");
    bind_step(L, field);
    return was_same(L);
}

static bool is_of_cjson(lua_State *L, const char *field) {
    return is_loaded(L, "cjson", field) || is_loaded(L, "cjson.safe", field) || is_of_vim_json(L, field);
}

static bool is_of_vim(lua_State *L, const char *field) {
    compat_push_globals(L);
    bind_step(L, "vim");
    bind_step(L, field);
    return was_same(L) || is_loaded(L, "vim", field);
}

static bool is_of_ours(lua_State *L, void (*push)(lua_State *)) {
    push(L);
    return was_same(L);
}

static bool is_empty(lua_State *L, int table) {
    lua_pushnil(L);
    if (!lua_next(L, table)) {
        return true;
    }
    lua_pop(L, 2);
    return false;
}

enum encode_mark encode_mark_of(lua_State *L, int table) {
    enum encode_mark mark = ENCODE_UNMARKED;
    if (!lua_getmetatable(L, table)) {
        return mark;
    }
    if (is_of_ours(L, bind_push_array_mt)) {
        mark = ENCODE_ARRAY;
    } else if (is_of_ours(L, bind_push_raw_mt)) {
        mark = ENCODE_RAW;
    } else if (is_of_cjson(L, "array_mt")) {
        mark = ENCODE_ARRAY;
    } else if (is_of_vim(L, "_empty_dict_mt")) {
        mark = ENCODE_OBJECT;
    } else if (is_of_cjson(L, "empty_array_mt")) { /* says something about the empty table only */
        mark = is_empty(L, table) ? ENCODE_ARRAY : ENCODE_UNMARKED;
    }
    lua_pop(L, 1);
    return mark;
}

enum encode_constant encode_constant_of(lua_State *L, int index) {
    enum encode_constant constant = ENCODE_UNKNOWN;
    bool is_light = lua_islightuserdata(L, index);
    lua_pushvalue(L, index);
    if ((is_light && !lua_touserdata(L, index)) || is_of_vim(L, "NIL") || is_of_cjson(L, "null") ||
        is_loaded(L, "ngx", "null")) {
        constant = ENCODE_NULL;
    } else if (is_of_cjson(L, "empty_array")) {
        constant = ENCODE_EMPTY_ARRAY;
    }
    lua_pop(L, 1);
    return constant;
}
