/* What the files of the binding share. Rules: a userdata is made first and its resource second; nothing that can raise
 * runs while a resource is not rooted in one; close, __gc and __close go through one release function that may run
 * twice. */
#ifndef VLLM_BIND_H
#define VLLM_BIND_H

#include <limits.h>

#include "../core/json.h"
#include "compat.h"

/* The only symbols that a module shows: luaopen_*. */
#if defined(__GNUC__)
#define BIND_EXPORT __attribute__((visibility("default")))
#else
#define BIND_EXPORT
#endif

/* Each adds its functions to the table at the top of the stack and leaves the stack as it was; the first three come
 * first. */
void bind_open_ending(lua_State *L); /* for bind_new_object; the first of all, in each module */
void bind_open_buf(lua_State *L);
void bind_open_json_values(lua_State *L); /* decides, once, what null is: vim.NIL in Neovim, else light userdata NULL */
void bind_open_json_encode(lua_State *L);
void bind_open_json_decode(lua_State *L);
void bind_open_json_text(lua_State *L);
void bind_open_base64(lua_State *L);
void bind_open_text(lua_State *L);
void bind_open_sse(lua_State *L);
void bind_open_decoder(lua_State *L);
void bind_open_http1(lua_State *L);
void bind_open_messages(lua_State *L);
void bind_open_pattern(lua_State *L);
void bind_open_wait(lua_State *L);

/* A 64-bit integer as the host's best number: exact on 5.3 and later, a double elsewhere. */
static inline void bind_push_integer(lua_State *L, int64_t value) {
#if COMPAT_INTEGERS
    lua_pushinteger(L, (lua_Integer)value);
#else
    lua_pushnumber(L, (lua_Number)value);
#endif
}

/* Each sets a field of the table at the top of the stack; what is absent (NULL) sets none. They can raise (no
 * memory). */
static inline void bind_set_function(lua_State *L, const char *name, lua_CFunction function) {
    lua_pushcfunction(L, function);
    lua_setfield(L, -2, name);
}

static inline void bind_set_integer(lua_State *L, const char *name, int64_t value) {
    bind_push_integer(L, value);
    lua_setfield(L, -2, name);
}

static inline void bind_set_bool(lua_State *L, const char *name, bool value) {
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static inline void bind_set_text(lua_State *L, const char *name, const char *text) {
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static inline void bind_set_slice(lua_State *L, const char *name, struct vllm_slice slice) {
    if (slice.ptr) {
        lua_pushlstring(L, slice.ptr, slice.len);
        lua_setfield(L, -2, name);
    }
}

/* Pushes a new table whose keys ("k") or values ("v") are weak. */
static inline void bind_push_weak_table(lua_State *L, const char *mode) {
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    bind_set_text(L, "__mode", mode);
    lua_setmetatable(L, -2);
}

/* Makes the metatable `name` for userdata: `methods` (NULL: none) are its __index, `release` its __gc and __close. */
static inline void bind_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction release) {
    luaL_newmetatable(L, name);
    if (methods) {
        lua_newtable(L);
        luaL_setfuncs(L, methods, 0);
        lua_setfield(L, -2, "__index");
    }
    bind_set_function(L, "__gc", release);
    bind_set_function(L, "__close", release);
    bind_set_text(L, "__metatable", "protected");
    lua_pop(L, 1);
}

/* A zeroed userdata of the class, at the top of the stack. Fill it afterwards; `release` must accept it as it is. */
static inline void *bind_new(lua_State *L, const char *name, size_t size) {
    char *object = lua_newuserdata(L, size);
    for (size_t i = 0; i < size; i++) {
        object[i] = 0;
    }
    luaL_setmetatable(L, name);
    return object;
}

/* The same for what outlives the call that makes it: released at the end of the state in any case (ending.c). */
void *bind_new_object(lua_State *L, const char *name, size_t size);

/* The host's allocator in the core's shape. Keep the result inside the userdata that owns the memory. */
static inline struct vllm_alloc bind_alloc(lua_State *L) {
    struct vllm_alloc alloc;
    alloc.fn = lua_getallocf(L, &alloc.ud);
    return alloc;
}

/* nil when the slice is absent. Can raise (no memory). */
static inline void bind_push_slice(lua_State *L, struct vllm_slice slice) {
    if (slice.ptr) {
        lua_pushlstring(L, slice.ptr, slice.len);
    } else {
        lua_pushnil(L);
    }
}

/* Lack of memory raises, as it does in Lua itself: it is not a failure of what was asked. */
static inline int bind_no_memory(lua_State *L) {
    return luaL_error(L, "not enough memory");
}

/* Returns nil, message to Lua. */
static inline int bind_fail(lua_State *L, const char *message) {
    lua_pushnil(L);
    lua_pushstring(L, message);
    return 2;
}

/* Field `name` of the options table at `index` (or none: nil): a whole number from `least` to `most`, itself at most
 * 2^48. Raises naming the field. */
static inline size_t bind_option_size(lua_State *L, int index, const char *name, size_t fallback, size_t least,
                                      size_t most) {
    if (lua_isnoneornil(L, index)) {
        return fallback;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, name);
    size_t value = fallback;
    if (!lua_isnil(L, -1)) {
        lua_Number number = lua_tonumber(L, -1), low = (lua_Number)least, high = (lua_Number)most;
        bool in_range = lua_type(L, -1) == LUA_TNUMBER && number >= low && number <= high;
        value = in_range ? (size_t)number : 0;
        if (!in_range || (lua_Number)value != number) {
            bind_push_integer(L, (int64_t)least);
            bind_push_integer(L, (int64_t)most);
            luaL_error(L, "%s: expected a whole number from %s to %s", name, lua_tostring(L, -2), lua_tostring(L, -1));
        }
    }
    lua_pop(L, 1);
    return value;
}

/* The seconds at `index` as a time-out of poll(2), in milliseconds; none: -1, for ever. Rounded up: a wait that ends a
 * little early would be made again, at once and for nothing. */
static inline int bind_timeout_ms(lua_State *L, int index) {
    if (lua_isnoneornil(L, index)) {
        return -1;
    }
    lua_Number milliseconds = luaL_checknumber(L, index) * 1000;
    if (!(milliseconds > 0)) {
        return 0;
    }
    if (milliseconds >= INT_MAX) {
        return INT_MAX;
    }
    int whole = (int)milliseconds;
    return whole + (whole < milliseconds);
}

static inline bool bind_option_bool(lua_State *L, int index, const char *name, bool fallback) {
    if (lua_isnoneornil(L, index)) {
        return fallback;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, name);
    bool value = lua_isnil(L, -1) ? fallback : lua_toboolean(L, -1) != 0;
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1)) {
        luaL_error(L, "%s: expected a boolean", name);
    }
    lua_pop(L, 1);
    return value;
}

/* A string of the options table at `index` (or none: absent). It is pushed on the stack, and stays there: an __index
 * may have made it just now, and a finalizer may take it out of the table. */
static inline struct vllm_slice bind_option_text(lua_State *L, int index, const char *name) {
    struct vllm_slice text = {NULL, 0};
    if (lua_isnoneornil(L, index)) {
        return text;
    }
    lua_getfield(L, index, name);
    if (lua_type(L, -1) == LUA_TSTRING) {
        text.ptr = lua_tolstring(L, -1, &text.len);
    } else if (!lua_isnil(L, -1)) {
        luaL_error(L, "%s: expected a string", name);
    }
    return text;
}

/* A vllm_buf that hangs on a userdata, pushed on the stack: whatever raises, its memory is freed. vllm_buf_free frees
 * it early. */
struct vllm_buf *bind_new_buf(lua_State *L, size_t max);
/* What a function returns that wrote all of the buffer: its bytes, and frees it. Raises where `status` says that there
 * was no memory, or that argument 1 made it too long. */
int bind_return_buf(lua_State *L, struct vllm_buf *buf, enum vllm_status status);

/* The metatables and constants of the JSON values; each pushes one value. */
void bind_push_array_mt(lua_State *L);
void bind_push_null(lua_State *L);
void bind_push_raw_mt(lua_State *L);
/* Pushes the raw field of the table at the top in its place; nil when that is not a table. */
void bind_step(lua_State *L, const char *field);

/* JSON → Lua values. */
struct bind_decode_options {
    int null_index;     /* absolute stack index of the value that stands for null; 0: core.null */
    bool drop_nulls;    /* members that are null are absent */
    bool plain_arrays;  /* arrays get no metatable */
    unsigned max_depth; /* 0: VLLM_JSON_MAX_DEPTH, which is also the most */
};
/* Pushes the value of a whole JSON text and returns true; or pushes nothing, returns false, and `j` says why and where
 * (`j->why`, `j->at - j->start`). Raises only when memory or Lua's stack is full. `options` may be NULL. */
bool bind_json_decode(lua_State *L, struct vllm_slice text, const struct bind_decode_options *options,
                      struct vllm_json *j);

/* Returns nil, message, position (of the first wrong byte, from 1) to Lua. */
int bind_push_json_failure(lua_State *L, const struct vllm_json *j);

#endif
