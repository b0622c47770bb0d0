/* core.sse{ max_event_bytes, lenient_end }: bytes in, server-sent events out.
 *   :feed(bytes), :finish() → true | nil, why
 *   :next() → data, type, id · false (feed more) · nil (end) · nil, why
 * Feeding a stream that was finished or closed raises: that is the caller's mistake. */
#include "../core/sse.h"

#include "lender.h"

#define CLASS     "vllm.sse"
#define MAX_EVENT ((size_t)16 << 20)

static int l_sse_release(lua_State *L) {
    vllm_sse_free(bind_take_back(L, CLASS));
    return 0;
}

static struct bind_lender *check_reader(lua_State *L) {
    return bind_check_lender(L, CLASS, "event reader");
}

static struct vllm_sse *check_sse(lua_State *L) {
    return check_reader(L)->core;
}

static int push_status(lua_State *L, enum vllm_status status) {
    if (bind_push_status(L, status)) {
        return 1;
    }
    return status == VLLM_ELIMIT ? bind_fail(L, "an event exceeds max_event_bytes")
                                 : luaL_error(L, "bytes were fed after finish()");
}

static int l_sse_feed(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len); /* first: a number becomes a string, and a finalizer may run */
    struct vllm_sse *sse = check_sse(L);
    return push_status(L, vllm_sse_feed(sse, bytes, len));
}

static int l_sse_finish(lua_State *L) {
    return push_status(L, vllm_sse_finish(check_sse(L)));
}

static int l_sse_next(lua_State *L) {
    struct bind_lender *reader = check_reader(L);
    struct vllm_sse_event event;
    enum vllm_status status = vllm_sse_next(reader->core, &event);
    if (status != VLLM_OK) {
        return push_status(L, status);
    }
    reader->lending = true;
    bind_push_slice(L, event.data);
    if (event.type.len > 0) {
        bind_push_slice(L, event.type);
    } else {
        lua_pushliteral(L, "message");
    }
    bind_push_slice(L, event.id);
    reader->lending = false;
    return 3;
}

static int l_sse(lua_State *L) {
    size_t max_event_bytes = bind_option_size(L, 1, "max_event_bytes", MAX_EVENT, 1, BIND_MOST_BYTES);
    bool lenient_end = bind_option_bool(L, 1, "lenient_end", false);
    struct bind_lender *reader = bind_new_object(L, CLASS, sizeof *reader);
    struct vllm_alloc alloc = bind_alloc(L);
    reader->core = vllm_sse_new(&alloc, max_event_bytes, lenient_end);
    return reader->core ? 1 : bind_no_memory(L);
}

void bind_open_sse(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"feed", l_sse_feed}, {"finish", l_sse_finish}, {"next", l_sse_next}, {NULL, NULL}};
    bind_lender_class(L, CLASS, methods, l_sse_release);
    bind_set_function(L, "sse", l_sse);
}
