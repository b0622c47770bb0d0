/* Lua values → JSON text, the same bytes in every process.
 * In: any value; out: text appended to a buffer, or a sentence and the path of what cannot be written
 * (`tools[1].function.parameters`). Keys exactly 1..n make an array, all strings an object sorted by bytes
 * (json_order.c), anything else is an error; an empty table is an object but where the schema of a request wants an
 * array (json_names.c). Tables are read raw and no metamethod is called; but a finalizer may run at any push, so
 * nothing is borrowed from a table that the caller can reach. Bounds: VLLM_JSON_MAX_DEPTH levels, MAX_TEXT bytes. All
 * memory hangs on userdata, since Lua can raise at any push. */
#include "json_encode.h"

#include <string.h>

#define MAX_TEXT             ((size_t)1 << 30)
#define MAX_KEYS             ((size_t)INT32_MAX) /* bytes of them, so that their number fits an int */
#define LONG_TEXT            ((size_t)1 << 15)   /* from here on a raw text is not copied into the buffer */
#define MAX_PIECES           32
#define MAX_SHOWN_NAME       60
#define LUA_TCDATA_OF_LUAJIT 10

/* A name in a path: bare where it looks like an identifier, else as ["name"], shortened and printable. */
static void add_name(luaL_Buffer *b, const char *name, size_t len, bool is_first) {
    bool bare = len > 0;
    for (size_t i = 0; i < len && bare; i++) {
        char c = name[i];
        bare =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || (i > 0 && c >= '0' && c <= '9');
    }
    if (bare && len <= MAX_SHOWN_NAME) {
        luaL_addlstring(b, ".", is_first ? 0 : 1);
        luaL_addlstring(b, name, len);
        return;
    }
    luaL_addlstring(b, "[\"", 2);
    for (size_t i = 0; i < len && i < MAX_SHOWN_NAME; i++) {
        luaL_addchar(b, (name[i] >= ' ' && name[i] <= '~') ? name[i] : '?');
    }
    luaL_addlstring(b, len > MAX_SHOWN_NAME ? "...\"]" : "\"]", len > MAX_SHOWN_NAME ? 5 : 2);
}

static void add_index(luaL_Buffer *b, size_t index) {
    char digits[VLLM_NUMBER_MAX];
    luaL_addlstring(b, "[", 1);
    luaL_addlstring(b, digits, vllm_number_write_integer((int64_t)index, digits));
    luaL_addlstring(b, "]", 1);
}

static void push_path(const struct encoder *e, const struct encode_frame *frame) {
    const struct encode_frame *chain[VLLM_JSON_MAX_DEPTH + 2];
    size_t count = 0;
    for (; frame->parent && count < sizeof chain / sizeof chain[0]; frame = frame->parent) {
        chain[count++] = frame;
    }
    luaL_Buffer b;
    luaL_buffinit(e->L, &b);
    for (bool is_first = true; count > 0; count--, is_first = false) {
        if (chain[count - 1]->name) {
            add_name(&b, chain[count - 1]->name, chain[count - 1]->name_len, is_first);
        } else {
            add_index(&b, chain[count - 1]->index);
        }
    }
    luaL_pushresult(&b);
}

bool encode_fail(struct encoder *e, const struct encode_frame *frame, const char *message) {
    luaL_checkstack(e->L, 20, "encoding JSON");
    lua_pushstring(e->L, message);
    push_path(e, frame);
    return false;
}

static bool put(struct encoder *e, const struct encode_frame *frame, enum vllm_status status) {
    switch (status) {
    case VLLM_OK: return true;
    case VLLM_EUTF8: return encode_fail(e, frame, "text that is not UTF-8 (vllm.text(bytes) repairs it)");
    case VLLM_EINVALID: return encode_fail(e, frame, "JSON has no NaN and no infinity");
    case VLLM_ELIMIT: return encode_fail(e, frame, "the JSON text becomes too long");
    default: return bind_no_memory(e->L) != 0;
    }
}

static enum vllm_status write_break(struct encoder *e, unsigned depth) {
    static const char spaces[] = "                ";
    if (e->options->indent == 0) {
        return VLLM_OK;
    }
    enum vllm_status status = vllm_buf_byte(e->out, '\n');
    for (size_t left = (size_t)e->options->indent * depth; left > 0 && status == VLLM_OK;) {
        size_t some = left < sizeof spaces - 1 ? left : sizeof spaces - 1;
        status = vllm_buf_append(e->out, spaces, some);
        left -= some;
    }
    return status;
}

/* What stands before an item: a comma, and a new line if asked for. */
static enum vllm_status begin_item(struct encoder *e, unsigned depth, bool is_first) {
    enum vllm_status status = is_first ? VLLM_OK : vllm_buf_byte(e->out, ',');
    return status == VLLM_OK ? write_break(e, depth) : status;
}

static enum vllm_status end_items(struct encoder *e, unsigned depth, char bracket) {
    enum vllm_status status = write_break(e, depth);
    return status == VLLM_OK ? vllm_buf_byte(e->out, bracket) : status;
}

/* The elements 1..n of the table at `frame->at`. */
static bool encode_array(struct encoder *e, const struct encode_frame *frame, size_t n) {
    if (n == 0) {
        return put(e, frame, vllm_buf_text(e->out, "[]"));
    }
    if (!put(e, frame, vllm_buf_byte(e->out, '['))) {
        return false;
    }
    for (size_t i = 1; i <= n; i++) {
        struct encode_frame element = {frame, NULL, 0, i, 0, frame->depth + 1, false};
        lua_rawgeti(e->L, frame->at, (int)i);
        if (!put(e, &element, begin_item(e, element.depth, i == 1)) || !encode_value(e, &element)) {
            return false;
        }
        lua_pop(e->L, 1);
    }
    return put(e, frame, end_items(e, frame->depth, ']'));
}

static enum vllm_status write_name(struct encoder *e, const struct encode_key *key) {
    enum vllm_status status = vllm_json_write_string(e->out, key->ptr, key->len);
    if (status == VLLM_OK) {
        status = vllm_buf_byte(e->out, ':');
    }
    return status == VLLM_OK && e->options->indent ? vllm_buf_byte(e->out, ' ') : status;
}

/* The members of the table at `frame->at`, whose keys are all strings. The keys of all open objects share one buffer,
 * as a stack. */
static bool encode_object(struct encoder *e, const struct encode_frame *frame) {
    size_t first = e->keys->len / sizeof(struct encode_key), count;
    if (!put(e, frame, encode_sorted_keys(e, frame, &count))) {
        return false;
    }
    if (count == 0) {
        return put(e, frame, vllm_buf_text(e->out, "{}"));
    }
    if (!put(e, frame, vllm_buf_byte(e->out, '{'))) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct encode_key key;
        memcpy(&key, e->keys->data + (first + i) * sizeof key,
               sizeof key); /* the buffer may move while a value is written */
        struct encode_frame member = {frame, key.ptr, key.len, 0, 0, frame->depth + 1, encode_names_things(frame)};
        if (!put(e, &member, begin_item(e, member.depth, i == 0)) || !put(e, &member, write_name(e, &key))) {
            return false;
        }
        lua_pushlstring(e->L, key.ptr, key.len);
        lua_rawget(e->L, frame->at);
        if (!encode_value(e, &member)) {
            return false;
        }
        lua_pop(e->L, 1);
    }
    e->keys->len = first * sizeof(struct encode_key);
    return put(e, frame, end_items(e, frame->depth, '}'));
}

/* What the keys of a table are. */
struct shape {
    size_t names, indices; /* how many; `__jsonorder` is not counted */
    size_t highest;        /* of the indices */
    bool others;           /* any other key */
};

static void count_key(lua_State *L, int key, int value, struct shape *shape) {
    if (lua_type(L, key) == LUA_TSTRING) {
        shape->names += !encode_is_order(L, key, value);
        return;
    }
    lua_Number number = lua_type(L, key) == LUA_TNUMBER ? lua_tonumber(L, key) : 0;
    if (number >= 1 && number <= INT32_MAX && (lua_Number)(size_t)number == number) {
        shape->indices++;
        shape->highest = (size_t)number > shape->highest ? (size_t)number : shape->highest;
    } else {
        shape->others = true;
    }
}

static struct shape shape_of(lua_State *L, int table) {
    struct shape shape = {0, 0, 0, false};
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        count_key(L, -2, -1, &shape);
    }
    return shape;
}

/* { [50256] = -100 }: the keys become text, in a copy that takes the table's place on the stack. */
static bool copy_with_names(struct encoder *e, const struct encode_frame *frame) {
    lua_State *L = e->L;
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, frame->at);) {
        char digits[VLLM_NUMBER_MAX];
        lua_pushvalue(L, -2);
        if (lua_type(L, -1) == LUA_TNUMBER) {
            lua_Number number = lua_tonumber(L, -1);
            int64_t integer = number >= -9e15 && number <= 9e15 ? (int64_t)number : 0;
            if ((lua_Number)integer != number) {
                return encode_fail(e, frame, "a key is not a token id");
            }
            lua_pushlstring(L, digits, vllm_number_write_integer(integer, digits));
            lua_replace(L, -2);
        } else if (lua_type(L, -1) != LUA_TSTRING) {
            return encode_fail(e, frame, "a key is not a token id");
        }
        lua_pushvalue(L, -1);
        lua_rawget(L, -5);
        if (!lua_isnil(L, -1)) {
            return encode_fail(e, frame, "the same token id stands there as a number and as a string");
        }
        lua_pop(L, 1);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_replace(L, frame->at);
    return true;
}

static bool encode_plain_table(struct encoder *e, const struct encode_frame *frame, enum encode_mark mark) {
    struct shape shape = shape_of(e->L, frame->at);
    bool is_list = shape.names == 0 && !shape.others && shape.highest == shape.indices;
    if (mark == ENCODE_ARRAY) {
        return is_list ? encode_array(e, frame, shape.indices)
                       : encode_fail(e, frame, "an array whose keys are not 1 to n");
    }
    if (encode_is_named(frame, "logit_bias") && mark == ENCODE_UNMARKED && (shape.indices > 0 || shape.others)) {
        return copy_with_names(e, frame) && encode_object(e, frame);
    }
    if (is_list && shape.indices > 0 && mark == ENCODE_UNMARKED) {
        return encode_array(e, frame, shape.indices);
    }
    if (shape.indices > 0 || shape.others) {
        return encode_fail(e, frame, "a table whose keys are neither 1 to n nor all strings");
    }
    bool is_empty = shape.names == 0 && mark == ENCODE_UNMARKED;
    return is_empty && encode_wants_array(e, frame) ? encode_array(e, frame, 0) : encode_object(e, frame);
}

static void add_piece(struct encoder *e, size_t len) {
    e->written += len;
    lua_rawseti(e->L, e->pieces, ++e->count);
}

/* The raw text at the top of the stack becomes a piece of its own: all others are joined with it once, at the end. */
static bool put_long(struct encoder *e, const struct encode_frame *frame, size_t len) {
    struct vllm_slice before = vllm_buf_view(e->out);
    lua_pushlstring(e->L, before.ptr, before.len);
    add_piece(e, before.len);
    vllm_buf_clear(e->out);
    lua_pushvalue(e->L, -1);
    add_piece(e, len);
    return e->written <= MAX_TEXT || put(e, frame, VLLM_ELIMIT);
}

/* Pushes all that was written. */
static bool push_text(struct encoder *e, const struct encode_frame *root) {
    struct vllm_slice rest = vllm_buf_view(e->out);
    if (rest.len > MAX_TEXT - e->written) {
        return put(e, root, VLLM_ELIMIT);
    }
    luaL_checkstack(e->L, e->count + 1, "encoding JSON");
    for (int i = 1; i <= e->count; i++) {
        lua_rawgeti(e->L, e->pieces, i);
    }
    lua_pushlstring(e->L, rest.ptr, rest.len);
    lua_concat(e->L, e->count + 1);
    return true;
}

static bool encode_raw(struct encoder *e, const struct encode_frame *frame) {
    lua_rawgeti(e->L, frame->at, 1);
    size_t len = 0;
    const char *text = lua_type(e->L, -1) == LUA_TSTRING ? lua_tolstring(e->L, -1, &len) : NULL;
    if (!text) {
        return encode_fail(e, frame, "raw JSON without its text");
    }
    bool is_long = len >= LONG_TEXT && e->count < MAX_PIECES;
    if (is_long ? !put_long(e, frame, len) : !put(e, frame, vllm_buf_append(e->out, text, len))) {
        return false;
    }
    lua_pop(e->L, 1);
    return true;
}

static bool encode_table(struct encoder *e, const struct encode_frame *frame) {
    if (frame->depth >= VLLM_JSON_MAX_DEPTH) {
        return encode_fail(e, frame, "nested too deeply");
    }
    for (const struct encode_frame *above = frame->parent; above; above = above->parent) {
        if (lua_rawequal(e->L, frame->at, above->at)) {
            return encode_fail(e, frame, "a table that contains itself");
        }
    }
    enum encode_mark mark = encode_mark_of(e->L, frame->at);
    return mark == ENCODE_RAW ? encode_raw(e, frame) : encode_plain_table(e, frame, mark);
}

static bool encode_number(struct encoder *e, const struct encode_frame *frame) {
#if COMPAT_INTEGERS
    if (lua_isinteger(e->L, frame->at)) {
        return put(e, frame, vllm_json_write_integer(e->out, (int64_t)lua_tointeger(e->L, frame->at)));
    }
#endif
    return put(e, frame, vllm_json_write_real(e->out, (double)lua_tonumber(e->L, frame->at)));
}

static bool encode_text(struct encoder *e, const struct encode_frame *frame) {
    size_t len;
    const char *text = lua_tolstring(e->L, frame->at, &len);
    return put(e, frame, vllm_json_write_string(e->out, text, len));
}

static bool encode_foreign(struct encoder *e, const struct encode_frame *frame) {
    switch (encode_constant_of(e->L, frame->at)) {
    case ENCODE_NULL: return put(e, frame, vllm_buf_text(e->out, "null"));
    case ENCODE_EMPTY_ARRAY: return put(e, frame, vllm_buf_text(e->out, "[]"));
    default: return encode_fail(e, frame, "a userdata is not a JSON value");
    }
}

bool encode_value(struct encoder *e, struct encode_frame *frame) {
    frame->at = lua_gettop(e->L);
    luaL_checkstack(e->L, 20, "encoding JSON");
    switch (lua_type(e->L, frame->at)) {
    case LUA_TNIL: return put(e, frame, vllm_buf_text(e->out, "null"));
    case LUA_TBOOLEAN: return put(e, frame, vllm_buf_text(e->out, lua_toboolean(e->L, frame->at) ? "true" : "false"));
    case LUA_TNUMBER: return encode_number(e, frame);
    case LUA_TSTRING: return encode_text(e, frame);
    case LUA_TTABLE: return encode_table(e, frame);
    case LUA_TLIGHTUSERDATA:
    case LUA_TUSERDATA: return encode_foreign(e, frame);
    case LUA_TFUNCTION: return encode_fail(e, frame, "a function is not a JSON value");
    case LUA_TTHREAD: return encode_fail(e, frame, "a coroutine is not a JSON value");
    case LUA_TCDATA_OF_LUAJIT:
        return encode_fail(
            e, frame, "a cdata is not a JSON value; tonumber() makes it a number, vllm.raw() takes its exact digits");
    default: return encode_fail(e, frame, "not a JSON value");
    }
}

static int l_json_encode(lua_State *L) {
    struct encode_options options;
    luaL_checkany(L, 1);
    lua_settop(L, 2);
    options.request = bind_option_bool(L, 2, "request", false);
    options.indent = (unsigned)bind_option_size(L, 2, "indent", 0, 0, 16);
    luaL_checkstack(L, 20, "encoding JSON");
    struct encoder e = {L, bind_new_buf(L, MAX_TEXT), NULL, 0, &options, 0, 0, 0};
    e.keys = bind_new_buf(L, MAX_KEYS);
    lua_newtable(L);
    e.names = lua_gettop(L);
    lua_newtable(L);
    e.pieces = lua_gettop(L);
    struct encode_frame root = {NULL, NULL, 0, 0, 0, 0, false};
    lua_pushvalue(L, 1);
    bool done = encode_value(&e, &root) && push_text(&e, &root);
    if (!done) {
        lua_pushnil(L);
        lua_insert(L, -3);
    }
    vllm_buf_free(e.keys);
    vllm_buf_free(e.out);
    return done ? 1 : 3;
}

static int l_is_marked_array(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_pushboolean(L, encode_mark_of(L, 1) == ENCODE_ARRAY);
    return 1;
}

static int is_constant(lua_State *L, enum encode_constant constant) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, lua_isuserdata(L, 1) && encode_constant_of(L, 1) == constant);
    return 1;
}

/* A JSON null of this program, of lua-cjson, Neovim or nginx. */
static int l_is_null(lua_State *L) {
    return is_constant(L, ENCODE_NULL);
}

/* lua-cjson's mark for []. */
static int l_is_empty_array(lua_State *L) {
    return is_constant(L, ENCODE_EMPTY_ARRAY);
}

void bind_open_json_encode(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"json_encode", l_json_encode},
        {"is_marked_array", l_is_marked_array},
        {"is_null", l_is_null},
        {"is_empty_array", l_is_empty_array},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
