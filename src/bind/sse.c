/* core.sse{ max_event_bytes, lenient_end }: bytes in, server-sent events out.
 *   :feed(bytes), :finish() → true | nil, why
 *   :next() → data, type, id · false (feed more) · nil (end) · nil, why
 * Feeding a stream that was finished or closed raises: that is the caller's mistake. */
#include "../core/sse.h"

#include "bind.h"

#define CLASS      "vllm.sse"
#define MAX_EVENT  ((size_t)16 << 20)
#define MOST_EVENT ((size_t)1 << 40 < SIZE_MAX / 4 ? (size_t)1 << 40 : SIZE_MAX / 4)

struct reader {
    struct vllm_sse *sse;
    bool lending; /* an event becomes strings: a finalizer that runs meanwhile must leave it alone */
};

static int l_sse_release(lua_State *L) {
    struct reader *reader = luaL_checkudata(L, 1, CLASS);
    bool is_gc = lua_gettop(L) == 1; /* __close has a second argument */
    if (is_gc || !reader->lending) {
        vllm_sse_free(reader->sse);
        reader->sse = NULL;
    }
    return 0;
}

static struct reader *check_reader(lua_State *L) {
    struct reader *reader = luaL_checkudata(L, 1, CLASS);
    if (!reader->sse) {
        luaL_error(L, "this event reader is closed");
    }
    if (reader->lending) {
        luaL_error(L, "this event reader is handing out an event, or lost one for lack of memory");
    }
    return reader;
}

static struct vllm_sse *check_sse(lua_State *L) {
    return check_reader(L)->sse;
}

static int push_status(lua_State *L, enum vllm_status status) {
    switch (status) {
    case VLLM_OK: lua_pushboolean(L, 1); return 1;
    case VLLM_ELIMIT: return bind_fail(L, "an event exceeds max_event_bytes");
    case VLLM_EINVALID: return luaL_error(L, "bytes were fed after finish()");
    default: return bind_no_memory(L);
    }
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
    struct reader *reader = check_reader(L);
    struct vllm_sse_event event;
    enum vllm_status status = vllm_sse_next(reader->sse, &event);
    switch (status) {
    case VLLM_OK:
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
    case VLLM_MORE: lua_pushboolean(L, 0); return 1;
    case VLLM_END: lua_pushnil(L); return 1;
    default: return push_status(L, status);
    }
}

static int l_sse(lua_State *L) {
    size_t max_event_bytes = bind_option_size(L, 1, "max_event_bytes", MAX_EVENT, 1, MOST_EVENT);
    bool lenient_end = bind_option_bool(L, 1, "lenient_end", false);
    struct reader *reader = bind_new_object(L, CLASS, sizeof *reader);
    struct vllm_alloc alloc = bind_alloc(L);
    reader->sse = vllm_sse_new(&alloc, max_event_bytes, lenient_end);
    return reader->sse ? 1 : bind_no_memory(L);
}

void bind_open_sse(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"feed", l_sse_feed}, {"finish", l_sse_finish}, {"next", l_sse_next}, {NULL, NULL}};
    bind_class(L, CLASS, methods, l_sse_release);
    lua_pushcfunction(L, l_sse);
    lua_setfield(L, -2, "sse");
}
