/* The core's buffer as a userdata of Lua. */
#include "bind.h"

#define CLASS "vllm.buf"

struct bind_buf {
    struct vllm_buf buf; /* first: the userdata's address is the buffer's */
    struct vllm_alloc alloc;
};

static int l_buf_release(lua_State *L) {
    struct bind_buf *holder = luaL_checkudata(L, 1, CLASS);
    vllm_buf_free(&holder->buf);
    return 0;
}

struct vllm_buf *bind_new_buf(lua_State *L, size_t max) {
    struct bind_buf *holder = bind_new(L, CLASS, sizeof *holder);
    holder->alloc = bind_alloc(L);
    vllm_buf_init(&holder->buf, &holder->alloc, max);
    return &holder->buf;
}

int bind_return_buf(lua_State *L, struct vllm_buf *buf, enum vllm_status status) {
    if (status != VLLM_OK) {
        return status == VLLM_ELIMIT ? luaL_argerror(L, 1, "too long") : bind_no_memory(L);
    }
    struct vllm_slice bytes = vllm_buf_view(buf);
    lua_pushlstring(L, bytes.ptr, bytes.len);
    vllm_buf_free(buf);
    return 1;
}

void bind_open_buf(lua_State *L) {
    bind_class(L, CLASS, NULL, l_buf_release);
}
