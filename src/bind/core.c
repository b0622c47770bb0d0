/* require "vllm.core": one table with the functions of every part of the core. Needs the C library and nothing else. */
#define _GNU_SOURCE /* dladdr */

#include "bind.h"
#include "stay.h"
#include "version.h"

BIND_EXPORT int luaopen_vllm_core(lua_State *L);

BIND_EXPORT int luaopen_vllm_core(lua_State *L) {
    bind_stay_loaded();
    lua_newtable(L);
    bind_set_text(L, "version", VLLM_VERSION);
    bind_open_ending(L);
    bind_open_buf(L);
    bind_open_json_values(L);
    bind_open_json_encode(L);
    bind_open_json_decode(L);
    bind_open_json_text(L);
    bind_open_base64(L);
    bind_open_text(L);
    bind_open_sse(L);
    bind_open_decoder(L);
    bind_open_http1(L);
    bind_open_messages(L);
    bind_open_pattern(L);
    bind_open_wait(L);
    return 1;
}
