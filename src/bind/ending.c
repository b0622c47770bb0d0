/* What finalizers make at the end of a program. While lua_close runs them, Lua calls no finalizer for what is new
 * (LuaJIT does): a turn begun there would leak its engine, its connection and the memory of its decoder. So each state
 * has a list of our objects, with weak keys, and a guard, made first and therefore finalized late, which releases what
 * is in it. What comes later still, from guards that are older than this library, is refused. Source: the manuals of
 * Lua, `__gc` and lua_close. */
#include "bind.h"

#define OBJECTS "vllm.objects" /* in the registry: the list; false after the end */
#define GUARD   "vllm.ending"  /* its class */
#define KEPT    "vllm.guard"   /* in the registry: it */

void *bind_new_object(lua_State *L, const char *name, size_t size) {
    lua_getfield(L, LUA_REGISTRYINDEX, OBJECTS);
    if (!lua_istable(L, -1)) {
        luaL_error(L, "vllm cannot be used any more: its Lua state is closed");
    }
    void *object = bind_new(L, name, size);
    lua_pushvalue(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, -4);
    lua_remove(L, -2);
    return object;
}

/* As by __close, and not by __gc: an object may be lending, in the call of a finalizer that this one came into. */
static int l_end(lua_State *L) {
    luaL_checkudata(L, 1, GUARD);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, OBJECTS);
    lua_pushboolean(L, 0);
    lua_setfield(L, LUA_REGISTRYINDEX, OBJECTS);
    if (!lua_istable(L, 2)) {
        return 0;
    }
    for (lua_pushnil(L); lua_next(L, 2); lua_settop(L, 3)) {
        if (luaL_getmetafield(L, 3, "__close")) {
            lua_pushvalue(L, 3);
            lua_pushnil(L);
            lua_call(L, 2, 0);
        }
    }
    return 0;
}

void bind_open_ending(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, OBJECTS);
    bool is_open = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (is_open) {
        return;
    }
    bind_class(L, GUARD, NULL, l_end);
    (void)bind_new(L, GUARD, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, KEPT);
    bind_push_weak_table(L, "k");
    lua_setfield(L, LUA_REGISTRYINDEX, OBJECTS);
}
