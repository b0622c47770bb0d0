/* core.http1{ max_header_bytes, max_buffer_bytes, head_only }: bytes of a connection in, one HTTP/1.x response out.
 *   :feed(bytes) → true | nil, failure
 *   :head() → status, headers (lower-case name → value; repeated ones joined by ", ") · false (feed more) · nil,
 *     failure
 *   :read() → bytes · false (feed more) · nil (end) · nil, failure
 *   :finish() → true | nil, failure      :reusable() → boolean
 * A failure is { kind = "protocol" | "limit" | "closed", detail, body_bytes, fresh }: body bytes that had come; not a
 * byte had come. Feeding after finish() and lack of memory raise. */
#include "../core/http1.h"

#include "lender.h"

#define CLASS "vllm.http1"

static int l_http1_release(lua_State *L) {
    vllm_http1_free(bind_take_back(L, CLASS));
    return 0;
}

static struct bind_lender *check_reader(lua_State *L) {
    return bind_check_lender(L, CLASS, "response reader");
}

static void push_detail(lua_State *L, const struct vllm_http1 *http1) {
    const char *why = vllm_http1_why(http1), *given = vllm_http1_given(http1);
    if (given[0] != '\0') {
        lua_pushfstring(L, "%s: `%s`", why, given);
    } else {
        lua_pushstring(L, why);
    }
}

/* What a method returns that has nothing else to give. */
static int push_status(lua_State *L, struct bind_lender *reader, enum vllm_status status) {
    const struct vllm_http1 *http1 = reader->core;
    if (bind_push_status(L, status)) {
        return 1;
    }
    if (status == VLLM_EINVALID) {
        return luaL_error(L, "bytes were fed after finish()");
    }
    reader->lending = true;
    lua_pushnil(L);
    lua_createtable(L, 0, 4);
    bind_set_text(L, "kind", status == VLLM_ELIMIT ? "limit" : status == VLLM_ETRUNCATED ? "closed" : "protocol");
    push_detail(L, http1);
    lua_setfield(L, -2, "detail");
    bind_set_integer(L, "body_bytes", (int64_t)vllm_http1_body_bytes(http1));
    bind_set_bool(L, "fresh", vllm_http1_fresh(http1));
    reader->lending = false;
    return 2;
}

static int l_http1_feed(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len); /* first: a number becomes a string, and a finalizer may run */
    struct bind_lender *reader = check_reader(L);
    return push_status(L, reader, vllm_http1_feed(reader->core, bytes, len));
}

/* Into the table at the top: the value, after those of the same name that came before (RFC 9110 5.3). */
static void add_field(lua_State *L, struct vllm_slice name, struct vllm_slice value) {
    bind_push_slice(L, name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        bind_push_slice(L, value);
    } else {
        lua_pushliteral(L, ", ");
        bind_push_slice(L, value);
        lua_concat(L, 3);
    }
    lua_rawset(L, -3);
}

static int l_http1_head(lua_State *L) {
    struct bind_lender *reader = check_reader(L);
    struct vllm_slice name, value;
    size_t at = 0;
    int code = 0;
    enum vllm_status status = vllm_http1_head(reader->core, &code);
    if (status != VLLM_OK) {
        return push_status(L, reader, status);
    }
    reader->lending = true;
    lua_pushinteger(L, code);
    lua_newtable(L);
    while (vllm_http1_field(reader->core, &at, &name, &value)) {
        add_field(L, name, value);
    }
    reader->lending = false;
    return 2;
}

static int l_http1_read(lua_State *L) {
    struct bind_lender *reader = check_reader(L);
    struct vllm_slice bytes;
    enum vllm_status status = vllm_http1_read(reader->core, &bytes);
    if (status != VLLM_OK) {
        return push_status(L, reader, status);
    }
    reader->lending = true;
    lua_pushlstring(L, bytes.ptr, bytes.len);
    reader->lending = false;
    return 1;
}

static int l_http1_finish(lua_State *L) {
    struct bind_lender *reader = check_reader(L);
    return push_status(L, reader, vllm_http1_finish(reader->core));
}

static int l_http1_reusable(lua_State *L) {
    lua_pushboolean(L, vllm_http1_reusable(check_reader(L)->core));
    return 1;
}

static int l_http1(lua_State *L) {
    struct vllm_http1_options options;
    vllm_http1_options_default(&options);
    options.max_header_bytes = bind_option_size(L, 1, "max_header_bytes", options.max_header_bytes, 1, BIND_MOST_BYTES);
    options.max_buffer_bytes = bind_option_size(L, 1, "max_buffer_bytes", options.max_buffer_bytes, 1, BIND_MOST_BYTES);
    options.head_only = bind_option_bool(L, 1, "head_only", false);
    struct bind_lender *reader = bind_new_object(L, CLASS, sizeof *reader);
    struct vllm_alloc alloc = bind_alloc(L);
    reader->core = vllm_http1_new(&alloc, &options);
    return reader->core ? 1 : bind_no_memory(L);
}

void bind_open_http1(lua_State *L) {
    static const luaL_Reg methods[] = {{"feed", l_http1_feed},         {"head", l_http1_head},
                                       {"read", l_http1_read},         {"finish", l_http1_finish},
                                       {"reusable", l_http1_reusable}, {NULL, NULL}};
    bind_lender_class(L, CLASS, methods, l_http1_release);
    bind_set_function(L, "http1", l_http1);
}
