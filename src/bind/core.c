/* require "vllm.core": one table with the functions of every part of the core. Holds what they share: the buffer that
 * hangs on a userdata, and the metatables that mark arrays and raw JSON. Needs the C library and nothing else. */
#include "bind.h"
#include "version.h"

#define ARRAY_MT "vllm.array_mt"
#define RAW_MT   "vllm.raw_mt"
#define BUF_MT   "vllm.buf"

struct bind_buf {
    struct vllm_buf buf; /* first: the userdata's address is the buffer's */
    struct vllm_alloc alloc;
};

static int l_buf_release(lua_State *L) {
    struct bind_buf *holder = luaL_checkudata(L, 1, BUF_MT);
    vllm_buf_free(&holder->buf);
    return 0;
}

struct vllm_buf *bind_new_buf(lua_State *L, size_t max) {
    struct bind_buf *holder = bind_new(L, BUF_MT, sizeof *holder);
    holder->alloc = bind_alloc(L);
    vllm_buf_init(&holder->buf, &holder->alloc, max);
    return &holder->buf;
}

void bind_push_array_mt(lua_State *L) {
    luaL_getmetatable(L, ARRAY_MT);
}

void bind_push_raw_mt(lua_State *L) {
    luaL_getmetatable(L, RAW_MT);
}

static void add_constants(lua_State *L) {
    lua_pushliteral(L, VLLM_VERSION);
    lua_setfield(L, -2, "version");
    bind_push_null(L);
    lua_setfield(L, -2, "null");
    bind_push_array_mt(L);
    lua_setfield(L, -2, "array_mt");
}

BIND_EXPORT int luaopen_vllm_core(lua_State *L);

BIND_EXPORT int luaopen_vllm_core(lua_State *L) {
    static const luaL_Reg no_methods[] = {{NULL, NULL}};
    bind_class(L, BUF_MT, no_methods, l_buf_release);
    luaL_newmetatable(L, ARRAY_MT);
    luaL_newmetatable(L, RAW_MT);
    lua_pop(L, 2);
    bind_open_null(L);
    lua_newtable(L);
    add_constants(L);
    bind_open_json_encode(L);
    bind_open_json_decode(L);
    bind_open_json_text(L);
    bind_open_sse(L);
    bind_open_decoder(L);
    bind_open_http1(L);
    bind_open_messages(L);
    bind_open_wait(L);
    return 1;
}
