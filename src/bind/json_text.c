/* JSON texts that pass through Lua as they are: core.raw checks one and marks it, core.splice exchanges members of an
 * object and keeps every other byte. Nothing is ever written that was not checked first, or written by us. */
#include <string.h>

#include "json_encode.h"

#define MAX_TEXT ((size_t)1 << 30)

/* A true second argument: we wrote the text, so there is no need to check it. */
static int l_raw(lua_State *L) {
    size_t len;
    luaL_checktype(L, 1, LUA_TSTRING);
    const char *text = lua_tolstring(L, 1, &len);
    struct vllm_json j;
    if (!lua_toboolean(L, 2) && !vllm_json_check(text, len, VLLM_JSON_MAX_DEPTH, &j)) {
        return bind_push_json_failure(L, &j);
    }
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    bind_push_raw_mt(L);
    lua_setmetatable(L, -2);
    return 1;
}

/* nil for everything that core.raw did not make. */
static int l_raw_text(lua_State *L) {
    luaL_checkany(L, 1);
    if (!lua_istable(L, 1) || !lua_getmetatable(L, 1)) {
        return 0;
    }
    bind_push_raw_mt(L);
    if (!lua_rawequal(L, -1, -2)) {
        return 0;
    }
    lua_rawgeti(L, 1, 1);
    return lua_type(L, -1) == LUA_TSTRING ? 1 : 0;
}

/* Stack of l_splice: the two texts, what hangs on userdata, and the names that must stay alive. SET: name → JSON text
 * of the new member. SEEN: name → true for the members of the body. */
enum { BODY = 1, NEW, OUT, NAME, KEYS, SET, SEEN };

struct splice {
    lua_State *L;
    struct vllm_buf *out, *name, *keys; /* name: scratch for names with escapes; keys: struct encode_key, sorted */
    struct vllm_json j;
    const char *copied;  /* up to here the body is in `out` */
    const char *message; /* why it failed, if it did */
};

static bool splice_fail(struct splice *s, const char *message) {
    s->message = message;
    return false;
}

static bool put(struct splice *s, enum vllm_status status) {
    if (status == VLLM_ENOMEM) {
        bind_no_memory(s->L);
    }
    return status == VLLM_OK || splice_fail(s, "the JSON text becomes too long");
}

/* Pushes the member's name. */
static bool push_name(struct splice *s, const struct vllm_json_string *name) {
    vllm_buf_clear(s->name);
    if (!put(s, vllm_json_string_value(name, false, s->name))) {
        return false;
    }
    struct vllm_slice value = vllm_buf_view(s->name);
    lua_pushlstring(s->L, value.ptr, value.len);
    return true;
}

/* One new member, whose name was just read: its name is put into `keys`, its text into SET. */
static bool collect_member(struct splice *s, struct vllm_json *j, const struct vllm_json_string *name) {
    struct encode_key key = {NULL, 0, 0};
    struct vllm_slice text;
    if (!push_name(s, name)) {
        return false;
    }
    key.ptr = lua_tolstring(s->L, -1, &key.len);
    if (!vllm_json_skip(j, &text) || !put(s, vllm_buf_append(s->keys, &key, sizeof key))) {
        return false;
    }
    lua_pushlstring(s->L, text.ptr, text.len);
    lua_rawset(s->L, SET);
    return true;
}

/* The new members, their names sorted. */
static bool collect_set(struct splice *s) {
    struct vllm_json j;
    struct vllm_json_string name;
    size_t len;
    const char *text = lua_tolstring(s->L, NEW, &len);
    vllm_json_init(&j, text, len, VLLM_JSON_MAX_DEPTH);
    bool done = vllm_json_peek(&j) == VLLM_JSON_OBJECT && vllm_json_enter(&j);
    while (done && vllm_json_member(&j, &name)) {
        done = collect_member(s, &j, &name);
    }
    encode_sort_keys(s->keys, 0);
    return (done && vllm_json_end(&j)) || splice_fail(s, "the members to set are not a JSON object");
}

/* The member whose name was just read: marks it as seen; if it is to be set, the body up to its value and the new value
 * go out. */
static bool splice_member(struct splice *s, const struct vllm_json_string *name) {
    lua_State *L = s->L;
    struct vllm_slice old;
    if (!push_name(s, name)) {
        return false;
    }
    lua_pushvalue(L, -1);
    lua_rawget(L, SEEN);
    if (!lua_isnil(L, -1)) {
        return splice_fail(s, "a member occurs twice");
    }
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, SEEN);
    lua_rawget(L, SET);
    if (!vllm_json_skip(&s->j, &old)) {
        return false;
    }
    if (!lua_isnil(L, -1)) {
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        if (!put(s, vllm_buf_append(s->out, s->copied, (size_t)(old.ptr - s->copied))) ||
            !put(s, vllm_buf_append(s->out, text, len))) {
            return false;
        }
        s->copied = old.ptr + old.len;
    }
    lua_pop(L, 1);
    return true;
}

static bool append_member(struct splice *s, const struct encode_key *key, bool is_first) {
    size_t len;
    lua_pushlstring(s->L, key->ptr, key->len);
    lua_rawget(s->L, SET);
    const char *text = lua_tolstring(s->L, -1, &len);
    if (!is_first && !put(s, vllm_buf_byte(s->out, ','))) {
        return false;
    }
    bool done = put(s, vllm_json_write_string(s->out, key->ptr, key->len)) && put(s, vllm_buf_byte(s->out, ':')) &&
                put(s, vllm_buf_append(s->out, text, len));
    lua_pop(s->L, 1);
    return done;
}

/* The members that the body did not have. */
static bool append_rest(struct splice *s, bool is_first) {
    size_t count = s->keys->len / sizeof(struct encode_key);
    for (size_t i = 0; i < count; i++) {
        struct encode_key key;
        memcpy(&key, s->keys->data + i * sizeof key, sizeof key);
        lua_pushlstring(s->L, key.ptr, key.len);
        lua_rawget(s->L, SEEN);
        bool is_new = lua_isnil(s->L, -1);
        lua_pop(s->L, 1);
        if (is_new && !append_member(s, &key, is_first)) {
            return false;
        }
        is_first = is_first && !is_new;
    }
    return true;
}

static bool splice(struct splice *s) {
    struct vllm_json_string name;
    bool is_empty = true;
    if (!collect_set(s)) {
        return false;
    }
    enum vllm_json_type type = vllm_json_peek(&s->j);
    if (type != VLLM_JSON_OBJECT && type != VLLM_JSON_INVALID) {
        return splice_fail(s, "not a JSON object");
    }
    if (!vllm_json_enter(&s->j)) {
        return false;
    }
    for (; vllm_json_member(&s->j, &name); is_empty = false) {
        if (!splice_member(s, &name)) {
            return false;
        }
    }
    const char *closing = s->j.at - 1;
    if (!vllm_json_end(&s->j)) {
        return false;
    }
    return put(s, vllm_buf_append(s->out, s->copied, (size_t)(closing - s->copied))) && append_rest(s, is_empty) &&
           put(s, vllm_buf_append(s->out, closing, (size_t)(s->j.end - closing)));
}

static int l_splice(lua_State *L) {
    struct splice s;
    size_t len;
    luaL_checktype(L, BODY, LUA_TSTRING);
    luaL_checktype(L, NEW, LUA_TSTRING);
    lua_settop(L, NEW);
    const char *body = lua_tolstring(L, BODY, &len);
    s.L = L;
    s.out = bind_new_buf(L, MAX_TEXT);
    s.name = bind_new_buf(L, MAX_TEXT);
    s.keys = bind_new_buf(L, MAX_TEXT);
    s.copied = body;
    s.message = NULL;
    lua_newtable(L);
    lua_newtable(L);
    vllm_json_init(&s.j, body, len, VLLM_JSON_MAX_DEPTH);
    bool done = splice(&s);
    vllm_buf_free(s.name);
    vllm_buf_free(s.keys);
    if (done) {
        struct vllm_slice text = vllm_buf_view(s.out);
        lua_pushlstring(L, text.ptr, text.len);
    }
    vllm_buf_free(s.out);
    return done ? 1 : s.message ? bind_fail(L, s.message) : bind_push_json_failure(L, &s.j);
}

void bind_open_json_text(lua_State *L) {
    static const luaL_Reg functions[] = {{"raw", l_raw}, {"raw_text", l_raw_text}, {"splice", l_splice}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
