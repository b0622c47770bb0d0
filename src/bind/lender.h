/* Objects that lend parts of themselves (events, bytes) to be made into Lua values. Making one can run a finalizer,
 * which must leave the object alone until the loan is over. Lack of memory can end a loan early: then the part is lost,
 * and the object is of no use but to be collected. */
#ifndef VLLM_BIND_LENDER_H
#define VLLM_BIND_LENDER_H

#include "bind.h"

/* The most of an option that counts bytes. */
#define BIND_MOST_BYTES ((size_t)1 << 40 < SIZE_MAX / 4 ? (size_t)1 << 40 : SIZE_MAX / 4)

struct bind_lender {
    void *core; /* NULL: closed */
    bool lending;
};

/* Each method has the metatable as its first upvalue: luaL_checkudata would look it up by name, for each token. */
#define BIND_METATABLE 1

/* As bind_class, for bind_check_lender. */
static inline void bind_lender_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction release) {
    bind_class(L, name, NULL, release);
    luaL_getmetatable(L, name);
    lua_newtable(L);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, methods, BIND_METATABLE);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

/* The object that a method was called with; raises where it cannot be used. `what`: how messages name it. */
static inline struct bind_lender *bind_check_lender(lua_State *L, const char *name, const char *what) {
    struct bind_lender *lender = lua_touserdata(L, 1);
    const void *metatable = lua_topointer(L, lua_upvalueindex(BIND_METATABLE));
    if (!lender || !lua_getmetatable(L, 1) || lua_topointer(L, -1) != metatable) {
        lender = luaL_checkudata(L, 1, name); /* raises */
    }
    lua_pop(L, 1);
    if (!lender->core) {
        luaL_error(L, "this %s is closed", what);
    }
    if (lender->lending) {
        luaL_error(L, "this %s is handing out a part of what it has, or lost one for lack of memory", what);
    }
    return lender;
}

/* For `release`, which is __gc (one argument) and __close (two). A collected object lends nothing any more. */
static inline void *bind_take_back(lua_State *L, const char *name) {
    struct bind_lender *lender = luaL_checkudata(L, 1, name);
    void *core = lender->lending && lua_gettop(L) > 1 ? NULL : lender->core;
    if (core) {
        lender->core = NULL;
    }
    return core;
}

/* Pushes what stands for a status without a part: true, done; false, feed more; nil, the end. False: it is a failure,
 * and nothing was pushed. Lack of memory raises. */
static inline bool bind_push_status(lua_State *L, enum vllm_status status) {
    switch (status) {
    case VLLM_OK:
    case VLLM_MORE: lua_pushboolean(L, status == VLLM_OK); return true;
    case VLLM_END: lua_pushnil(L); return true;
    case VLLM_ENOMEM: return bind_no_memory(L) != 0;
    default: return false;
    }
}

#endif
