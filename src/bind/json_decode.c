/* JSON text → Lua values: nil never, null as a value that the caller chooses, arrays marked by a metatable, integers
 * exact where Lua has them. Of duplicate members the last one wins. Bounds: VLLM_JSON_MAX_DEPTH levels of C recursion
 * and Lua stack; the scratch buffer for strings with escapes is at most three times the text. */
#include "bind.h"

struct json_values {
    lua_State *L;
    struct vllm_json *j;
    int scratch, array_mt, null; /* stack indices; scratch holds nil until it is needed */
    struct vllm_buf *buf;
    size_t max_scratch;
    bool drop_nulls, mark_arrays;
};

static bool push_value(struct json_values *d);

static bool stop(struct json_values *d, const char *why) {
    if (d->j->status == VLLM_OK) {
        d->j->status = VLLM_ELIMIT;
        d->j->why = why;
    }
    return false;
}

static bool push_string(struct json_values *d, const struct vllm_json_string *string) {
    if (string->plain) {
        lua_pushlstring(d->L, string->raw.ptr, string->raw.len);
        return true;
    }
    if (!d->buf) {
        d->buf = bind_new_buf(d->L, d->max_scratch);
        lua_replace(d->L, d->scratch);
    }
    vllm_buf_clear(d->buf);
    if (vllm_json_string_value(string, false, d->buf) != VLLM_OK) {
        return bind_no_memory(d->L) != 0;
    }
    struct vllm_slice value = vllm_buf_view(d->buf);
    lua_pushlstring(d->L, value.ptr, value.len);
    return true;
}

static bool push_number(struct json_values *d) {
    struct vllm_number number;
    if (!vllm_json_number(d->j, &number)) {
        return false;
    }
    if (COMPAT_INTEGERS && number.is_integer) {
        bind_push_integer(d->L, number.integer);
    } else {
        lua_pushnumber(d->L, (lua_Number)number.real);
    }
    return true;
}

static bool push_array(struct json_values *d) {
    int index = 0;
    if (!vllm_json_enter(d->j)) {
        return false;
    }
    lua_newtable(d->L);
    while (vllm_json_element(d->j)) {
        if (index == INT32_MAX || !push_value(d)) {
            return stop(d, "array too long"); /* or the reason that is there */
        }
        lua_rawseti(d->L, -2, ++index);
    }
    if (d->mark_arrays) {
        lua_pushvalue(d->L, d->array_mt);
        lua_setmetatable(d->L, -2);
    }
    return d->j->status == VLLM_OK;
}

static bool push_object(struct json_values *d) {
    struct vllm_json_string key;
    if (!vllm_json_enter(d->j)) {
        return false;
    }
    lua_newtable(d->L);
    while (vllm_json_member(d->j, &key)) {
        if (!push_string(d, &key)) {
            return false;
        }
        if (d->drop_nulls && vllm_json_peek(d->j) == VLLM_JSON_NULL) {
            if (!vllm_json_null(d->j)) {
                return false;
            }
            lua_pushnil(d->L); /* also removes what an earlier duplicate left */
        } else if (!push_value(d)) {
            return false;
        }
        lua_rawset(d->L, -3);
    }
    return d->j->status == VLLM_OK;
}

/* False leaves rubbish above what was there; bind_json_decode removes it. */
static bool push_value(struct json_values *d) {
    struct vllm_json_string string;
    bool truth;
    luaL_checkstack(d->L, 8, "decoding JSON");
    switch (vllm_json_peek(d->j)) {
    case VLLM_JSON_OBJECT: return push_object(d);
    case VLLM_JSON_ARRAY: return push_array(d);
    case VLLM_JSON_STRING: return vllm_json_string(d->j, &string) && push_string(d, &string);
    case VLLM_JSON_NUMBER: return push_number(d);
    case VLLM_JSON_BOOL:
        if (!vllm_json_bool(d->j, &truth)) {
            return false;
        }
        lua_pushboolean(d->L, truth);
        return true;
    default:
        if (!vllm_json_null(d->j)) {
            return false;
        }
        lua_pushvalue(d->L, d->null);
        return true;
    }
}

bool bind_json_decode(lua_State *L, struct vllm_slice text, const struct bind_decode_options *options,
                      struct vllm_json *j) {
    static const struct bind_decode_options defaults;
    options = options ? options : &defaults;
    unsigned max_depth = options->max_depth ? options->max_depth : VLLM_JSON_MAX_DEPTH;
    int base = lua_gettop(L);
    struct json_values d;
    luaL_checkstack(L, 8, "decoding JSON");
    vllm_json_init(j, text.ptr, text.len, max_depth < VLLM_JSON_MAX_DEPTH ? max_depth : VLLM_JSON_MAX_DEPTH);
    d.L = L;
    d.j = j;
    d.buf = NULL;
    d.max_scratch = text.len < SIZE_MAX / 3 ? text.len * 3 : SIZE_MAX;
    d.drop_nulls = options->drop_nulls;
    d.mark_arrays = !options->plain_arrays;
    d.scratch = base + 1;
    d.array_mt = base + 2;
    d.null = options->null_index ? options->null_index : base + 3;
    lua_pushnil(L);
    bind_push_array_mt(L);
    bind_push_null(L);
    if (!push_value(&d) || !vllm_json_end(j)) {
        lua_settop(L, base);
        return false;
    }
    if (d.buf) {
        vllm_buf_free(d.buf);
    }
    lua_replace(L, base + 1);
    lua_settop(L, base + 1);
    return true;
}

int bind_push_json_failure(lua_State *L, const struct vllm_json *j) {
    lua_pushnil(L);
    bind_push_integer(L, (int64_t)(j->at - j->start) + 1);
    lua_pushvalue(L, -1);
    lua_pushfstring(L, "%s at byte %s", j->why, lua_tostring(L, -1));
    lua_replace(L, -2);
    lua_insert(L, -2);
    return 3;
}

static struct vllm_slice check_text(lua_State *L, int index) {
    struct vllm_slice text;
    luaL_checktype(L, index, LUA_TSTRING);
    text.ptr = lua_tolstring(L, index, &text.len);
    return text;
}

static int l_json_decode(lua_State *L) {
    struct vllm_slice text = check_text(L, 1);
    struct bind_decode_options options = {0, false, false, 0};
    struct vllm_json j;
    lua_settop(L, 2);
    options.drop_nulls = bind_option_bool(L, 2, "drop_nulls", false);
    options.plain_arrays = !bind_option_bool(L, 2, "array_mt", true);
    options.max_depth = (unsigned)bind_option_size(L, 2, "max_depth", VLLM_JSON_MAX_DEPTH, 1, VLLM_JSON_MAX_DEPTH);
    if (!lua_isnil(L, 2)) {
        lua_getfield(L, 2, "null");
        options.null_index = lua_isnil(L, 3) ? 0 : 3;
    }
    return bind_json_decode(L, text, &options, &j) ? 1 : bind_push_json_failure(L, &j);
}

static int l_json_check(lua_State *L) {
    struct vllm_slice text = check_text(L, 1);
    struct vllm_json j;
    if (!vllm_json_check(text.ptr, text.len, VLLM_JSON_MAX_DEPTH, &j)) {
        return bind_push_json_failure(L, &j);
    }
    lua_pushboolean(L, 1);
    return 1;
}

void bind_open_json_decode(lua_State *L) {
    static const luaL_Reg functions[] = {{"json_decode", l_json_decode}, {"json_check", l_json_check}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
