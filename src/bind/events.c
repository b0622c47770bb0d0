/* Events of the core → the tables of docs/events.md; the message so far → the result table. Absent values are absent
 * fields. JSON inside them is decoded with its null members left out. */
#include "events.h"

#include <string.h>

/* Those of the deltas stand among STRINGS. */
static const char *const TYPES[] = {
    [VLLM_EVENT_TURN_START] = "turn_start", [VLLM_EVENT_PART_START] = "part_start",
    [VLLM_EVENT_PART_END] = "part_end",     [VLLM_EVENT_TOOL_CALL] = "tool_call",
    [VLLM_EVENT_TOKENS] = "tokens",         [VLLM_EVENT_CHOICE_END] = "choice_end",
    [VLLM_EVENT_USAGE] = "usage",           [VLLM_EVENT_CHUNK] = "chunk",
    [VLLM_EVENT_TURN_END] = "turn_end",
};
static const char *const KINDS[] = {
    [VLLM_PART_TEXT] = "text",           [VLLM_PART_REASONING] = "reasoning", [VLLM_PART_REFUSAL] = "refusal",
    [VLLM_PART_TOOL_CALL] = "tool_call", [VLLM_PART_MEDIA] = "media",
};

/* Field setters: the table is at the top of the stack. */
static void set_count(lua_State *L, const char *name, int64_t value) {
    if (value >= 0) {
        bind_set_integer(L, name, value);
    }
}

/* False, and nothing is set: it is absent, or cannot be decoded. */
static bool set_json(lua_State *L, const char *name, struct vllm_slice json) {
    static const struct bind_decode_options options = {.drop_nulls = true};
    struct vllm_json j;
    bool decoded = json.ptr && bind_json_decode(L, json, &options, &j);
    if (decoded) {
        lua_setfield(L, -2, name);
    }
    return decoded;
}

/* Either `input` or `invalid`. */
static void set_input(lua_State *L, struct vllm_slice arguments, const char *invalid) {
    if (!invalid && !set_json(L, "input", arguments)) {
        invalid = "the arguments cannot be decoded";
    }
    bind_set_text(L, "invalid", invalid);
}

/* `extra`, if there is any. What goes back with a message keeps its nulls. */
static void set_extras(lua_State *L, const struct vllm_extras *extras, bool keeps_nulls) {
    static const struct bind_decode_options exact = {.drop_nulls = false}, without = {.drop_nulls = true};
    if (extras->count == 0) {
        return;
    }
    lua_createtable(L, 0, (int)extras->count);
    for (size_t i = 0; i < extras->count; i++) {
        struct vllm_slice name, json;
        struct vllm_json j;
        vllm_extras_at(extras, i, &name, &json);
        lua_pushlstring(L, name.ptr, name.len);
        if (json.ptr && bind_json_decode(L, json, keeps_nulls ? &exact : &without, &j)) {
            lua_rawset(L, -3);
        } else {
            lua_pop(L, 1);
        }
    }
    lua_setfield(L, -2, "extra");
}

static void set_usage_fields(lua_State *L, const struct vllm_usage *usage) {
    set_count(L, "prompt_tokens", usage->prompt_tokens);
    set_count(L, "completion_tokens", usage->completion_tokens);
    set_count(L, "total_tokens", usage->total_tokens);
    set_count(L, "cached_tokens", usage->cached_tokens);
    set_count(L, "reasoning_tokens", usage->reasoning_tokens);
    set_json(L, "raw", usage->raw);
}

#define NO_NAME "(no name)" /* no tool can be called so: names have neither blanks nor brackets */

static void set_name(lua_State *L, struct vllm_slice name) {
    static const struct vllm_slice none = {NO_NAME, sizeof NO_NAME - 1};
    bind_set_slice(L, "name", name.ptr ? name : none);
}

/* Events ----------------------------------------------------------------------------------------------------------- */

static void set_part_fields(lua_State *L, const struct vllm_event *event) {
    bind_set_slice(L, "part", event->part);
    bind_set_text(L, "kind", KINDS[event->kind]);
}

/* The events that belong to a choice. */
static void set_choice_fields(lua_State *L, const struct vllm_event *event) {
    bind_set_integer(L, "choice", event->choice);
    switch (event->type) {
    case VLLM_EVENT_PART_START: set_part_fields(L, event); break;
    case VLLM_EVENT_PART_END:
        set_part_fields(L, event);
        if (event->kind == VLLM_PART_MEDIA) {
            set_json(L, "value", event->raw);
        } else {
            bind_set_slice(L, "value", event->text);
        }
        break;
    case VLLM_EVENT_TOOL_CALL:
        bind_set_integer(L, "index", event->index);
        bind_set_slice(L, "id", event->id);
        set_name(L, event->name);
        bind_set_slice(L, "arguments", event->text);
        set_input(L, event->text, event->invalid);
        set_extras(L, event->extras, true);
        break;
    case VLLM_EVENT_TOKENS:
        set_json(L, "logprobs", event->raw);
        set_json(L, "token_ids", event->token_ids);
        break;
    default: /* VLLM_EVENT_CHOICE_END */
        bind_set_slice(L, "finish_reason", event->text);
        set_json(L, "stop_reason", event->raw);
        break;
    }
}

/* Deltas ----------------------------------------------------------------------------------------------------------- */

/* The strings of the events that come with every token, in the order of enum string: upvalues of the function that
 * pushes events, so that none is looked up again. The last three hold what was pushed last. */
static const char *const STRINGS[] = {
    "type",          "choice",          "part", "text", "index", "id", "name", "json", "text_delta", "reasoning_delta",
    "refusal_delta", "tool_call_delta", "",     "",     ""};
enum string {
    TYPE,
    CHOICE,
    PART,
    TEXT,
    INDEX,
    ID,
    NAME,
    JSON,
    TEXT_DELTA,
    LAST_PART = TEXT_DELTA + 4,
    LAST_ID,
    LAST_NAME,
    STRING_COUNT
};
#define IS_NTH_DELTA(event, n) (VLLM_EVENT_##event##_DELTA == VLLM_EVENT_TEXT_DELTA + n)
VLLM_ASSERT(deltas_are_in_order, IS_NTH_DELTA(REASONING, 1) && IS_NTH_DELTA(REFUSAL, 2) && IS_NTH_DELTA(TOOL_CALL, 3));
VLLM_ASSERT(each_string_has_a_name, sizeof STRINGS / sizeof *STRINGS == STRING_COUNT);
#define LONGEST_KEPT 256 /* an id may be as long as the server likes */

int bind_push_event_strings(lua_State *L) {
    luaL_checkstack(L, STRING_COUNT, "the strings of events");
    for (size_t i = 0; i < STRING_COUNT; i++) {
        lua_pushstring(L, STRINGS[i]);
    }
    return STRING_COUNT;
}

/* The string in `upvalue` if it is the same, else a new one, which goes there if it is short. */
static void push_again(lua_State *L, struct vllm_slice slice, int upvalue) {
    size_t len;
    const char *last = lua_tolstring(L, upvalue, &len);
    if (len == slice.len && memcmp(last, slice.ptr, len) == 0) {
        lua_pushvalue(L, upvalue);
        return;
    }
    lua_pushlstring(L, slice.ptr, slice.len);
    if (slice.len <= LONGEST_KEPT) {
        lua_pushvalue(L, -1);
        lua_replace(L, upvalue);
    }
}

static void set_again(lua_State *L, int key, struct vllm_slice slice, int upvalue) {
    if (slice.ptr) {
        lua_pushvalue(L, key);
        push_again(L, slice, upvalue);
        lua_rawset(L, -3);
    }
}

static void push_delta(lua_State *L, const struct vllm_event *event, int strings) {
    bool is_call = event->type == VLLM_EVENT_TOOL_CALL_DELTA;
    int type = TEXT_DELTA + (int)(event->type - VLLM_EVENT_TEXT_DELTA);
    lua_createtable(L, 0, is_call ? 7 : 4);
    lua_pushvalue(L, lua_upvalueindex(strings + TYPE));
    lua_pushvalue(L, lua_upvalueindex(strings + type));
    lua_rawset(L, -3);
    lua_pushvalue(L, lua_upvalueindex(strings + CHOICE));
    bind_push_integer(L, event->choice);
    lua_rawset(L, -3);
    set_again(L, lua_upvalueindex(strings + PART), event->part, lua_upvalueindex(strings + LAST_PART));
    if (is_call) {
        lua_pushvalue(L, lua_upvalueindex(strings + INDEX));
        bind_push_integer(L, event->index);
        lua_rawset(L, -3);
        set_again(L, lua_upvalueindex(strings + ID), event->id, lua_upvalueindex(strings + LAST_ID));
        set_again(L, lua_upvalueindex(strings + NAME), event->name, lua_upvalueindex(strings + LAST_NAME));
    }
    lua_pushvalue(L, lua_upvalueindex(strings + (is_call ? JSON : TEXT)));
    lua_pushlstring(L, event->text.ptr, event->text.len);
    lua_rawset(L, -3);
}

static void push_other(lua_State *L, const struct vllm_event *event, const struct vllm_decoder *decoder) {
    luaL_checkstack(L, 8, "an event");
    lua_createtable(L, 0, event->type == VLLM_EVENT_TOOL_CALL ? 8 : 4);
    bind_set_text(L, "type", TYPES[event->type]);
    switch (event->type) {
    case VLLM_EVENT_TURN_START:
        bind_set_slice(L, "id", event->id);
        bind_set_slice(L, "model", event->model);
        break;
    case VLLM_EVENT_USAGE: set_usage_fields(L, &event->usage); break;
    case VLLM_EVENT_CHUNK: bind_set_slice(L, "raw", event->raw); break;
    case VLLM_EVENT_TURN_END:
        bind_push_result(L, decoder);
        lua_setfield(L, -2, "result");
        break;
    default: set_choice_fields(L, event); break;
    }
}

void bind_push_event(lua_State *L, const struct vllm_event *event, const struct vllm_decoder *decoder, int strings) {
    if (event->type >= VLLM_EVENT_TEXT_DELTA && event->type <= VLLM_EVENT_TOOL_CALL_DELTA) {
        push_delta(L, event, strings);
    } else {
        push_other(L, event, decoder);
    }
}

/* Results ---------------------------------------------------------------------------------------------------------- */

/* The table at the top has the same value as the one at `index`: the same string, not one like it. */
static void share(lua_State *L, int index, const char *field, const char *name) {
    lua_getfield(L, index, field);
    lua_setfield(L, -2, name);
}

/* A list that is [] in JSON, should it stay empty. */
static void push_list(lua_State *L, size_t count) {
    lua_createtable(L, count < 1024 ? (int)count : 1024, 0);
    bind_push_array_mt(L);
    lua_setmetatable(L, -2);
}

static void push_call(lua_State *L, const struct vllm_decoder_call *call, int64_t choice, size_t index) {
    lua_createtable(L, 0, 7);
    bind_set_slice(L, "id", call->id);
    set_name(L, call->name);
    bind_set_slice(L, "arguments", call->arguments);
    set_input(L, call->arguments, call->invalid);
    bind_set_integer(L, "choice", choice);
    bind_set_integer(L, "index", (int64_t)index);
    set_extras(L, call->extras, true);
}

/* { id, type = "function", function = { name, arguments } } of the call at the top */
static void push_wire_call(lua_State *L, const struct vllm_decoder_call *call) {
    struct vllm_slice name = {call->name.ptr ? call->name.ptr : "", call->name.len};
    int known = lua_gettop(L);
    lua_createtable(L, 0, 3);
    share(L, known, "id", "id");
    share(L, known, "extra", "extra");
    bind_set_text(L, "type", "function");
    lua_createtable(L, 0, 2);
    bind_set_slice(L, "name", name);
    share(L, known, "arguments", "arguments");
    lua_setfield(L, -2, "function");
}

/* The lists of calls, one for the program and one for the wire, into `result` and `message`, the two tables at the
 * top. */
static void set_calls(lua_State *L, const struct vllm_decoder *decoder, size_t position,
                      const struct vllm_decoder_choice *choice) {
    struct vllm_decoder_call call;
    push_list(L, choice->call_count);
    push_list(L, choice->call_count);
    for (size_t i = 0; i < choice->call_count; i++) {
        vllm_decoder_call(decoder, position, i, &call);
        push_call(L, &call, choice->choice, i);
        push_wire_call(L, &call);
        lua_rawseti(L, -3, (int)i + 1);
        lua_rawseti(L, -3, (int)i + 1);
    }
    if (choice->call_count > 0) {
        lua_setfield(L, -3, "tool_calls");
    } else {
        lua_pop(L, 1);
    }
    lua_setfield(L, -3, "tool_calls");
}

static void push_choice(lua_State *L, const struct vllm_decoder *decoder, size_t position) {
    struct vllm_decoder_choice choice;
    int known = lua_gettop(L) + 1;
    vllm_decoder_choice(decoder, position, &choice);
    lua_createtable(L, 0, 12);
    bind_set_integer(L, "choice", choice.choice);
    bind_set_slice(L, "text", choice.text);
    bind_set_slice(L, "reasoning", choice.reasoning);
    bind_set_slice(L, "refusal", choice.refusal);
    bind_set_slice(L, "finish_reason", choice.finish_reason);
    set_json(L, "stop_reason", choice.stop_reason);
    set_json(L, "media", choice.media);
    set_json(L, "logprobs", choice.logprobs);
    set_json(L, "token_ids", choice.token_ids);
    set_extras(L, choice.extras, false);
    lua_createtable(L, 0, 6);
    bind_set_text(L, "role", "assistant");
    share(L, known, "text", "content");
    share(L, known, "reasoning", "reasoning");
    share(L, known, "refusal", "refusal");
    set_extras(L, choice.message_extras, true);
    set_calls(L, decoder, position, &choice);
    lua_setfield(L, -2, "message");
}

/* The result is below the top, its first choice at the top: what the choice has, the result has. */
static void mirror_choice(lua_State *L) {
    static const char *const names[] = {"message",       "text",        "reasoning", "refusal",  "tool_calls",
                                        "finish_reason", "stop_reason", "media",     "logprobs", "token_ids"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        lua_getfield(L, -1, names[i]);
        lua_setfield(L, -3, names[i]);
    }
}

void bind_push_result(lua_State *L, const struct vllm_decoder *decoder) {
    struct vllm_decoder_state state;
    luaL_checkstack(L, 16, "a result");
    vllm_decoder_state(decoder, &state);
    lua_createtable(L, 0, 16);
    bind_set_slice(L, "id", state.id);
    bind_set_slice(L, "model", state.model);
    bind_set_bool(L, "complete", state.complete);
    if (state.usage.raw.ptr) {
        lua_createtable(L, 0, 6);
        set_usage_fields(L, &state.usage);
        lua_setfield(L, -2, "usage");
    }
    set_extras(L, state.extras, false);
    if (state.extras->count == 0) { /* a table, even when it is empty */
        lua_newtable(L);
        lua_setfield(L, -2, "extra");
    }
    int choices = lua_gettop(L) + 1;
    push_list(L, state.choice_count);
    for (size_t i = 0; i < state.choice_count; i++) {
        push_choice(L, decoder, i);
        if (i == 0) {
            lua_pushvalue(L, choices - 1);
            lua_insert(L, -2);
            mirror_choice(L);
            lua_remove(L, -2);
        }
        lua_rawseti(L, choices, (int)i + 1);
    }
    lua_setfield(L, choices - 1, "choices");
}
