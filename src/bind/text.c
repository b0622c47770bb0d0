/* core.repair_utf8(bytes) → text: the same string where it is UTF-8, else with U+FFFD for each maximal malformed
 * subpart (Unicode 15, section 3.9), which is at most three times as long. Lack of memory raises. */
#include "../core/utf8.h"

#include "bind.h"

#define MAX_BYTES ((size_t)1 << 30)

/* Where the first sequence that is not well-formed begins, or `end`; `*next`: what follows it. */
static const char *next_fault(const char *at, const char *end, const char **next) {
    bool well_formed = true;
    for (; at < end; at = *next) {
        *next = at + vllm_utf8_step(at, end, &well_formed);
        if (!well_formed) {
            break;
        }
    }
    return at;
}

static enum vllm_status repair(struct vllm_buf *out, const char *at, const char *end) {
    enum vllm_status status = VLLM_OK;
    while (at < end && status == VLLM_OK) {
        const char *next = end, *fault = next_fault(at, end, &next);
        status = vllm_buf_append(out, at, (size_t)(fault - at));
        if (fault < end && status == VLLM_OK) {
            status = vllm_buf_text(out, "\xEF\xBF\xBD");
        }
        at = fault < end ? next : end;
    }
    return status;
}

static int l_repair_utf8(lua_State *L) {
    size_t len;
    const char *next, *text = luaL_checklstring(L, 1, &len);
    if (next_fault(text, text + len, &next) == text + len) {
        lua_settop(L, 1);
        return 1;
    }
    struct vllm_buf *out = bind_new_buf(L, MAX_BYTES);
    return bind_return_buf(L, out, repair(out, text, text + len));
}

void bind_open_text(lua_State *L) {
    bind_set_function(L, "repair_utf8", l_repair_utf8);
}
