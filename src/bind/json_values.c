/* What stands in Lua for the JSON values that Lua does not have: core.null, core.array_mt (of arrays; core.use_array_mt
 * takes another library's, so that both have one), and the mark of raw JSON. */
#include "bind.h"

#define ARRAY_MT "vllm.array_mt"
#define RAW_MT   "vllm.raw_mt"
#define NULL_KEY "vllm.null"

void bind_step(lua_State *L, const char *field) {
    if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        lua_pushnil(L);
        return;
    }
    lua_pushstring(L, field);
    lua_rawget(L, -2);
    lua_remove(L, -2);
}

void bind_push_array_mt(lua_State *L) {
    luaL_getmetatable(L, ARRAY_MT);
}

void bind_push_raw_mt(lua_State *L) {
    luaL_getmetatable(L, RAW_MT);
}

void bind_push_null(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, NULL_KEY);
}

/* Neovim's own where there is one, so that its API takes what we decoded. */
static void choose_null(lua_State *L) {
    compat_push_globals(L);
    bind_step(L, "vim");
    bind_step(L, "NIL");
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushlightuserdata(L, NULL);
    }
    lua_setfield(L, LUA_REGISTRYINDEX, NULL_KEY);
}

/* Upvalue 1: the module. What was marked before keeps its old mark and is not an array any more: for the time of
 * loading. */
static int l_use_array_mt(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, ARRAY_MT);
    lua_setfield(L, lua_upvalueindex(1), "array_mt");
    return 0;
}

void bind_open_json_values(lua_State *L) {
    luaL_newmetatable(L, ARRAY_MT);
    lua_setfield(L, -2, "array_mt");
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, l_use_array_mt, 1);
    lua_setfield(L, -2, "use_array_mt");
    luaL_newmetatable(L, RAW_MT);
    lua_pop(L, 1);
    choose_null(L);
    bind_push_null(L);
    lua_setfield(L, -2, "null");
}
