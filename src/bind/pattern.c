/* core.pattern(source) → pattern, or nil, message: a regular expression of ECMA-262 that cannot be made to run for long.
 *   :find(text) → boolean: does it match somewhere in the text? Or nil, message: to find out would take too long
 * Lack of memory raises. */
#include "../core/pattern.h"

#include "bind.h"

#define CLASS "vllm.pattern"

static int l_pattern_release(lua_State *L) {
    vllm_pattern_free(luaL_checkudata(L, 1, CLASS));
    return 0;
}

static int l_pattern_find(lua_State *L) {
    struct vllm_slice text;
    bool found;
    struct vllm_pattern *pattern = luaL_checkudata(L, 1, CLASS);
    text.ptr = luaL_checklstring(L, 2, &text.len);
    if (pattern->count == 0) {
        return luaL_error(L, "this pattern is closed");
    }
    if (vllm_pattern_find(pattern, text, &found) != VLLM_OK) {
        return bind_fail(L, "the pattern takes too long for this text");
    }
    lua_pushboolean(L, found);
    return 1;
}

static int push_fault(lua_State *L, const struct vllm_pattern_fault *fault) {
    lua_pushnil(L);
    if (fault->given.ptr) {
        lua_pushfstring(L, "%s: `", fault->why);
        bind_push_slice(L, fault->given);
        lua_pushfstring(L, "` at offset %d", (int)fault->offset);
        lua_concat(L, 3);
    } else {
        lua_pushfstring(L, "%s at offset %d", fault->why, (int)fault->offset);
    }
    return 2;
}

static int l_pattern(lua_State *L) {
    struct vllm_slice source;
    struct vllm_pattern_fault fault = {"", {NULL, 0}, 0};
    source.ptr = luaL_checklstring(L, 1, &source.len);
    struct vllm_pattern *pattern = bind_new_object(L, CLASS, sizeof *pattern);
    struct vllm_alloc alloc = bind_alloc(L);
    switch (vllm_pattern_compile(pattern, &alloc, source, &fault)) {
    case VLLM_OK: return 1;
    case VLLM_ENOMEM: return bind_no_memory(L);
    default: return push_fault(L, &fault);
    }
}

void bind_open_pattern(lua_State *L) {
    static const luaL_Reg methods[] = {{"find", l_pattern_find}, {NULL, NULL}};
    bind_class(L, CLASS, methods, l_pattern_release);
    lua_pushcfunction(L, l_pattern);
    lua_setfield(L, -2, "pattern");
}
