/* The differences between Lua 5.1, LuaJIT, 5.3 and 5.4 that the binding meets, and no others: the names of 5.3 work
 * everywhere. LuaJIT 2.1 has some of them itself; a macro of ours hides its own, so that both 5.1s behave alike. */
#ifndef VLLM_COMPAT_H
#define VLLM_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 502

#define lua_rawlen                 lua_objlen
#define lua_absindex               compat_absindex
#define luaL_setfuncs              compat_setfuncs
#define luaL_testudata             compat_testudata
#define lua_setuservalue           lua_setfenv
#define lua_getuservalue           lua_getfenv
#define luaL_setmetatable(L, name) (luaL_getmetatable(L, name), lua_setmetatable(L, -2))

static inline int compat_absindex(lua_State *L, int index) {
    return index > 0 || index <= LUA_REGISTRYINDEX ? index : lua_gettop(L) + index + 1;
}

static inline void compat_setfuncs(lua_State *L, const luaL_Reg *list, int upvalues) {
    for (; list->name; list++) {
        for (int i = 0; i < upvalues; i++) {
            lua_pushvalue(L, -upvalues);
        }
        lua_pushcclosure(L, list->func, upvalues);
        lua_setfield(L, -(upvalues + 2), list->name);
    }
    lua_pop(L, upvalues);
}

static inline void *compat_testudata(lua_State *L, int index, const char *name) {
    void *found = lua_touserdata(L, index);
    if (!found || !lua_getmetatable(L, index)) {
        return NULL;
    }
    luaL_getmetatable(L, name);
    int same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? found : NULL;
}

#define compat_push_globals(L) lua_pushvalue(L, LUA_GLOBALSINDEX)

#else

#define compat_push_globals(L) lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS)

#endif

#if LUA_VERSION_NUM < 503

/* No integers but those inside a double. */
#define lua_isinteger(L, index) ((void)(L), (void)(index), 0)
#define COMPAT_INTEGERS         0

#else

#define COMPAT_INTEGERS 1

#endif

#endif
