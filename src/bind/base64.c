/* core.base64_encode(bytes) → text; core.base64_decode(text) → bytes, or nil where it is not base64. Lack of memory
 * raises. */
#include "../core/base64.h"

#include "bind.h"

#define MAX_BYTES ((size_t)1 << 30)

static int convert(lua_State *L, enum vllm_status (*conversion)(struct vllm_buf *, const char *, size_t)) {
    size_t len;
    const char *given = luaL_checklstring(L, 1, &len);
    struct vllm_buf *out = bind_new_buf(L, MAX_BYTES);
    enum vllm_status status = conversion(out, given, len);
    return status == VLLM_ESYNTAX ? 0 : bind_return_buf(L, out, status);
}

static int l_base64_encode(lua_State *L) {
    return convert(L, vllm_base64_append);
}

static int l_base64_decode(lua_State *L) {
    return convert(L, vllm_base64_decode);
}

void bind_open_base64(lua_State *L) {
    bind_set_function(L, "base64_encode", l_base64_encode);
    bind_set_function(L, "base64_decode", l_base64_decode);
}
