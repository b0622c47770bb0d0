/* A Lua table in, struct vllm_request_options out; see the header. Bounds: MAX_HEADERS header lines; sizes up to
 * MAX_BYTES. Headers keep their order and bytes. Nothing is allocated outside Lua. */
#include "curl_options.h"

#include <limits.h>
#include <string.h>

#define MAX_HEADERS 1000
#define MAX_BYTES   ((size_t)1 << 30)

static const char *const NAMES[] = {"url",         "method", "headers",  "body", "connect_s",        "max_buffer_bytes",
                                    "unix_socket", "proxy",  "no_proxy", "tls",  "max_header_bytes", NULL};
static const char *const TLS_NAMES[] = {"ca_file", "ca_path", "verify", "cert", "key", "key_password", NULL};

struct option_table {
    lua_State *L;
    int index;          /* of the table that is read */
    const char *prefix; /* for messages: "", "tls." */
    const char *why;    /* the first string with a NUL */
};

static void check_names(const struct option_table *reader, const char *const *names) {
    lua_State *L = reader->L;
    lua_pushnil(L);
    while (lua_next(L, reader->index)) {
        size_t len = 1;
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &len) : "?";
        const char *const *known = names;
        while (*known && (strlen(*known) != len || memcmp(*known, name, len) != 0)) {
            known++;
        }
        if (!*known) {
            luaL_error(L, "unknown option `%s%s`", reader->prefix, name);
        }
        lua_pop(L, 1);
    }
}

/* Leaves the value on the stack. */
static const char *read_bytes(const struct option_table *reader, const char *name, size_t *len) {
    lua_getfield(reader->L, reader->index, name);
    int type = lua_type(reader->L, -1);
    *len = 0;
    if (type == LUA_TNIL) {
        return NULL;
    }
    if (type != LUA_TSTRING) {
        luaL_error(reader->L, "%s%s: expected a string, got %s", reader->prefix, name, lua_typename(reader->L, type));
    }
    return lua_tolstring(reader->L, -1, len);
}

static const char *read_text(struct option_table *reader, const char *name) {
    size_t len;
    const char *text = read_bytes(reader, name, &len);
    if (text && strlen(text) != len && !reader->why) {
        reader->why = name;
    }
    return text;
}

static long read_milliseconds(const struct option_table *reader, const char *name) {
    lua_State *L = reader->L;
    lua_getfield(L, reader->index, name);
    lua_Number seconds = lua_tonumber(L, -1);
    bool given = !lua_isnil(L, -1);
    if (given && (lua_type(L, -1) != LUA_TNUMBER || !(seconds >= 0))) {
        luaL_error(L, "%s: expected seconds, 0 or more", name);
    }
    lua_pop(L, 1);
    if (!given || seconds * 1000 >= (lua_Number)INT_MAX) {
        return 0;
    }
    long milliseconds = (long)(seconds * 1000);
    return milliseconds > 0 ? milliseconds : 1; /* 0 would mean no limit */
}

/* Pushes "Name: value", or "Name;", which is how libcurl wants an empty value. The entry { name, value } is at the
 * top. */
static bool push_line(lua_State *L, int number) {
    size_t name_len, value_len;
    bool is_table = lua_istable(L, -1);
    if (is_table) {
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
    }
    if (!is_table || lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) {
        luaL_error(L, "headers[%d]: expected { name, value }, two strings", number);
    }
    const char *name = lua_tolstring(L, -2, &name_len), *value = lua_tolstring(L, -1, &value_len);
    bool fine = strlen(name) == name_len && strlen(value) == value_len;
    if (value[strspn(value, " \t")] == '\0') {
        lua_pushfstring(L, "%s;", name);
    } else {
        lua_pushfstring(L, "%s: %s", name, value);
    }
    return fine;
}

/* Leaves the array of pointers and the table that keeps the lines on the stack. */
static const char *const *read_headers(struct option_table *reader) {
    lua_State *L = reader->L;
    lua_getfield(L, reader->index, "headers");
    if (lua_isnil(L, -1)) {
        return NULL;
    }
    if (!lua_istable(L, -1) || lua_rawlen(L, -1) > MAX_HEADERS) {
        luaL_error(L, "headers: expected a list of { name, value }, at most %d", MAX_HEADERS);
    }
    int list = lua_gettop(L), count = (int)lua_rawlen(L, -1);
    const char **lines = lua_newuserdata(L, ((size_t)count + 1) * sizeof *lines);
    lua_newtable(L);
    int kept = lua_gettop(L);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        if (!push_line(L, i) && !reader->why) {
            reader->why = "headers";
        }
        lines[i - 1] = lua_tostring(L, -1);
        lua_rawseti(L, kept, i);
        lua_settop(L, kept);
    }
    lines[count] = NULL;
    return lines;
}

static const char *read_tls(lua_State *L, int index, struct vllm_request_options *options) {
    lua_getfield(L, index, "tls");
    if (lua_isnil(L, -1)) {
        return NULL;
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "tls: expected a table, got %s", luaL_typename(L, -1));
    }
    struct option_table reader = {L, lua_gettop(L), "tls.", NULL};
    check_names(&reader, TLS_NAMES);
    options->ca_file = read_text(&reader, "ca_file");
    options->ca_path = read_text(&reader, "ca_path");
    options->cert = read_text(&reader, "cert");
    options->key = read_text(&reader, "key");
    options->key_password = read_text(&reader, "key_password");
    options->insecure = !bind_option_bool(L, reader.index, "verify", true);
    return reader.why;
}

bool bind_curl_options(lua_State *L, int index, struct vllm_request_options *options, const char **why) {
    struct option_table reader = {L, lua_absindex(L, index), "", NULL};
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, 40, "options of a request");
    memset(options, 0, sizeof *options);
    check_names(&reader, NAMES);
    options->url = read_text(&reader, "url");
    options->method = read_text(&reader, "method");
    options->body = read_bytes(&reader, "body", &options->body_len);
    options->unix_socket = read_text(&reader, "unix_socket");
    options->proxy = read_text(&reader, "proxy");
    options->no_proxy = read_text(&reader, "no_proxy");
    options->headers = read_headers(&reader);
    options->connect_timeout_ms = read_milliseconds(&reader, "connect_s");
    options->max_buffer = bind_option_size(L, reader.index, "max_buffer_bytes", 0, 1, MAX_BYTES);
    options->max_header_bytes = bind_option_size(L, reader.index, "max_header_bytes", 0, 1, MAX_BYTES);
    const char *tls_why = read_tls(L, reader.index, options);
    *why = reader.why ? reader.why : tls_why;
    return *why == NULL;
}
