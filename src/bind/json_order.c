/* The order in which the members of an object are written: those that a list names first, in its order, then the rest
 * by the bytes of their names. The list is `__jsonorder` (of the table or its metatable); for `properties` it is the
 * `required` beside it, since servers generate fields in the order of the schema. */
#include <stdlib.h>
#include <string.h>

#include "json_encode.h"

static int compare_keys(const void *left, const void *right) {
    const struct encode_key *a = left, *b = right;
    if (a->rank != b->rank) {
        return a->rank < b->rank ? -1 : 1;
    }
    int order = memcmp(a->ptr, b->ptr, a->len < b->len ? a->len : b->len);
    if (order != 0) {
        return order;
    }
    return a->len < b->len ? -1 : a->len > b->len;
}

void encode_sort_keys(struct vllm_buf *keys, size_t first) {
    size_t count = keys->len / sizeof(struct encode_key) - first;
    if (count > 1) {
        qsort(keys->data + first * sizeof(struct encode_key), count, sizeof(struct encode_key), compare_keys);
    }
}

/* Pushes the raw field of the table, or nil. */
static void push_field(lua_State *L, int table, const char *name) {
    lua_pushstring(L, name);
    lua_rawget(L, table);
}

/* Pushes the list that orders the object, or something that is not a table. */
static void push_order(struct encoder *e, const struct encode_frame *frame) {
    lua_State *L = e->L;
    push_field(L, frame->at, ENCODE_ORDER);
    if (lua_isnil(L, -1) && lua_getmetatable(L, frame->at)) {
        push_field(L, lua_gettop(L), ENCODE_ORDER);
        lua_replace(L, -3);
        lua_pop(L, 1);
    }
    if (lua_isnil(L, -1) && frame->parent && encode_is_named(frame, "properties")) {
        push_field(L, frame->parent->at, "required");
        lua_replace(L, -2);
    }
}

/* Replaces the list at the top by a table of name → place in it. What is not a string orders nothing; of a repeated
 * name the first counts. */
static void rank_names(lua_State *L) {
    int list = lua_gettop(L);
    lua_newtable(L);
    for (size_t i = lua_rawlen(L, list); i > 0; i--) {
        lua_rawgeti(L, list, (int)i);
        if (lua_type(L, -1) == LUA_TSTRING) {
            lua_pushnumber(L, (lua_Number)i);
            lua_rawset(L, list + 1);
        } else {
            lua_pop(L, 1);
        }
    }
    lua_replace(L, list);
}

/* The name at the top of the stack, which stays. */
static size_t rank_of(lua_State *L, int ranks) {
    if (!lua_istable(L, ranks)) {
        return SIZE_MAX;
    }
    lua_pushvalue(L, -1);
    lua_rawget(L, ranks);
    size_t rank = lua_isnil(L, -1) ? SIZE_MAX : (size_t)lua_tonumber(L, -1);
    lua_pop(L, 1);
    return rank;
}

bool encode_is_order(lua_State *L, int key, int value) {
    size_t len;
    const char *name = lua_tolstring(L, key, &len);
    return lua_istable(L, value) && len == strlen(ENCODE_ORDER) && memcmp(name, ENCODE_ORDER, len) == 0;
}

enum vllm_status encode_sorted_keys(struct encoder *e, const struct encode_frame *frame, size_t *count) {
    lua_State *L = e->L;
    size_t before = e->keys->len;
    push_order(e, frame);
    int ranks = lua_gettop(L);
    if (lua_istable(L, ranks)) {
        rank_names(L);
    }
    for (lua_pushnil(L); lua_next(L, frame->at);) {
        struct encode_key key;
        /* That all keys are names is known, but a finalizer may have added others. */
        bool is_member = lua_type(L, -2) == LUA_TSTRING && !encode_is_order(L, -2, -1);
        lua_pop(L, 1);
        if (!is_member) {
            continue;
        }
        key.ptr = lua_tolstring(L, -1, &key.len);
        key.rank = rank_of(L, ranks);
        enum vllm_status status = vllm_buf_append(e->keys, &key, sizeof key);
        if (status != VLLM_OK) {
            return status;
        }
        lua_pushvalue(L, -1);
        lua_rawseti(L, e->names, (int)(e->keys->len / sizeof key));
    }
    lua_pop(L, 1);
    *count = (e->keys->len - before) / sizeof(struct encode_key);
    encode_sort_keys(e->keys, before / sizeof(struct encode_key));
    return VLLM_OK;
}
