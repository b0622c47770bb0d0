/* core.decoder{ max_event_bytes, max_message_bytes, max_tool_calls, max_choices, max_depth, chunks,
 * max_completion_tokens, taken_ids }: the decoder for Lua. taken_ids: one string, a NUL between two ids.
 *   :feed(bytes) :body(json) :finish() → true | nil, failure
 *   :next() → event table · false (feed more) · nil (end) · nil, failure
 *   :next_text() → the next text of choice 0, same other returns
 *   :result() → the result so far     :state() → bytes, events, complete, done, started, finished
 * `finished`: how many choices, if all that were seen have a finish reason; else 0.
 * A failure is { kind = "stream" | "server" | "protocol" | "limit" | "truncated", detail, body (the server's error, or
 * the bytes that were not understood) }. Calls in an impossible order and lack of memory raise. Everything it holds
 * hangs on its userdata, so any raise is safe. */
#include "../core/decoder.h"

#include "events.h"
#include "lender.h"

#define CLASS      "vllm.decoder"
#define MOST_COUNT ((size_t)1 << 20)

static int l_decoder_release(lua_State *L) {
    vllm_decoder_free(bind_take_back(L, CLASS));
    return 0;
}

static struct bind_lender *check_decoder(lua_State *L) {
    return bind_check_lender(L, CLASS, "decoder");
}

#define EVENT_STRINGS (BIND_METATABLE + 1) /* the first of those of `next` */

static const char *kind_of(enum vllm_status status) {
    switch (status) {
    case VLLM_ESERVER: return "stream";
    case VLLM_EFAILED: return "server";
    case VLLM_ELIMIT: return "limit";
    case VLLM_ETRUNCATED: return "truncated";
    default: return "protocol";
    }
}

/* What a method returns that has no event to give. */
static int push_status(lua_State *L, struct bind_lender *decoder, enum vllm_status status) {
    const struct vllm_decoder *core = decoder->core;
    if (bind_push_status(L, status)) {
        return 1;
    }
    if (status == VLLM_EINVALID) {
        return luaL_error(L, "a decoder takes either one body or bytes, and nothing after finish()");
    }
    decoder->lending = true;
    lua_pushnil(L);
    lua_createtable(L, 0, 3);
    bind_set_text(L, "kind", kind_of(status));
    bind_set_text(L, "detail", vllm_decoder_why(core));
    bind_set_slice(L, "body", vllm_decoder_evidence(core));
    decoder->lending = false;
    return 2;
}

static int l_decoder_feed(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len); /* first: a number becomes a string, and a finalizer may run */
    struct bind_lender *decoder = check_decoder(L);
    return push_status(L, decoder, vllm_decoder_feed(decoder->core, bytes, len));
}

static int l_decoder_body(lua_State *L) {
    size_t len;
    const char *json = luaL_checklstring(L, 2, &len); /* first: a number becomes a string, and a finalizer may run */
    struct bind_lender *decoder = check_decoder(L);
    return push_status(L, decoder, vllm_decoder_body(decoder->core, json, len));
}

static int l_decoder_finish(lua_State *L) {
    struct bind_lender *decoder = check_decoder(L);
    return push_status(L, decoder, vllm_decoder_finish(decoder->core));
}

static int l_decoder_next(lua_State *L) {
    struct bind_lender *decoder = check_decoder(L);
    struct vllm_decoder *core = decoder->core;
    struct vllm_event event;
    enum vllm_status status = vllm_decoder_next(core, &event);
    if (status != VLLM_OK) {
        return push_status(L, decoder, status);
    }
    decoder->lending = true;
    bind_push_event(L, &event, core, EVENT_STRINGS);
    decoder->lending = false;
    return 1;
}

static int l_decoder_next_text(lua_State *L) {
    struct bind_lender *decoder = check_decoder(L);
    struct vllm_decoder *core = decoder->core;
    struct vllm_event event;
    enum vllm_status status = vllm_decoder_next(core, &event);
    while (status == VLLM_OK && (event.type != VLLM_EVENT_TEXT_DELTA || event.choice != 0)) {
        status = vllm_decoder_next(core, &event);
    }
    if (status != VLLM_OK) {
        return push_status(L, decoder, status);
    }
    decoder->lending = true;
    lua_pushlstring(L, event.text.ptr, event.text.len);
    decoder->lending = false;
    return 1;
}

static int l_decoder_result(lua_State *L) {
    struct bind_lender *decoder = check_decoder(L);
    decoder->lending = true;
    bind_push_result(L, decoder->core);
    decoder->lending = false;
    return 1;
}

static int l_decoder_state(lua_State *L) {
    struct vllm_decoder_state state;
    vllm_decoder_state(check_decoder(L)->core, &state);
    bind_push_integer(L, (int64_t)state.bytes);
    bind_push_integer(L, (int64_t)state.events);
    lua_pushboolean(L, state.complete);
    lua_pushboolean(L, state.done);
    lua_pushboolean(L, state.started);
    bind_push_integer(L, (int64_t)state.finished_count);
    return 6;
}

static int l_decoder(lua_State *L) {
    struct vllm_decoder_options options;
    lua_settop(L, 1);
    vllm_decoder_options_default(&options);
    options.max_event_bytes = bind_option_size(L, 1, "max_event_bytes", options.max_event_bytes, 1, BIND_MOST_BYTES);
    options.max_message_bytes =
        bind_option_size(L, 1, "max_message_bytes", options.max_message_bytes, 1, BIND_MOST_BYTES);
    options.max_tool_calls = bind_option_size(L, 1, "max_tool_calls", options.max_tool_calls, 0, MOST_COUNT);
    options.max_choices = bind_option_size(L, 1, "max_choices", options.max_choices, 1, MOST_COUNT);
    options.max_depth = (unsigned)bind_option_size(L, 1, "max_depth", options.max_depth, 1, VLLM_JSON_MAX_DEPTH);
    options.want_chunks = bind_option_bool(L, 1, "chunks", false);
    options.max_completion_tokens = (int64_t)bind_option_size(L, 1, "max_completion_tokens", 0, 0, BIND_MOST_BYTES);
    options.taken_ids = bind_option_text(L, 1, "taken_ids");
    struct bind_lender *decoder = bind_new_object(L, CLASS, sizeof *decoder);
    struct vllm_alloc alloc = bind_alloc(L);
    decoder->core = vllm_decoder_new(&alloc, &options);
    return decoder->core ? 1 : bind_no_memory(L);
}

void bind_open_decoder(lua_State *L) {
    static const luaL_Reg methods[] = {{"feed", l_decoder_feed},
                                       {"body", l_decoder_body},
                                       {"finish", l_decoder_finish},
                                       {"next_text", l_decoder_next_text},
                                       {"result", l_decoder_result},
                                       {"state", l_decoder_state},
                                       {NULL, NULL}};
    bind_lender_class(L, CLASS, methods, l_decoder_release);
    luaL_getmetatable(L, CLASS);
    lua_getfield(L, -1, "__index");
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, l_decoder_next, BIND_METATABLE + bind_push_event_strings(L));
    lua_setfield(L, -2, "next");
    lua_pop(L, 2);
    bind_set_function(L, "decoder", l_decoder);
}
