/* require "vllm.curl": the engine for Lua.
 *
 *   curl.version                              libcurl's version string
 *   curl.engine{ mode, max_idle_age_s, max_starts }
 *     :fd()                                   the descriptor to watch · nil in a forked child
 *     :step([seconds])                        true · nil, "interrupted" · nil, "forked"; no seconds: waits for ever
 *     :add(options)                           request · nil, "invalid", option · nil, "forked" · nil, "memory"
 *     :ready()                                a request on which something happened · nil
 *     :alarm([at])                            the descriptor becomes readable then, once; seconds of core.now(); nil:
 *                                             never
 *     :live()                                 how many requests are not closed, or still drain
 *     :close()                                lets go; requests that are not closed yet keep it alive
 *   request:head()                            status, raw header lines · false (nothing yet) · nil, failure
 *   request:read()                            bytes · false (nothing yet) · nil (end) · nil, failure
 *   request:info(), request:close([drain])
 *   curl.sigint_pending()                     a trapped SIGINT has not been taken yet
 *   curl.sigint_trap()                        a trap, which ends when it is released or collected
 *     :caught()                               whether one came since the last call
 *     :release()
 *
 * libcurl never calls into Lua; Lua reads what it left in memory. A userdata holds one pointer, NULL once released. The
 * engine counts its requests, so both may be collected in any order. */
#define _GNU_SOURCE /* dladdr */

#include "../net/engine.h"
#include "../net/signals.h"

#include <errno.h>
#include <limits.h>
#include <curl/curl.h>

#include "bind.h"
#include "curl_options.h"
#include "stay.h"

#define ENGINE         "vllm.curl.engine"
#define REQUEST        "vllm.curl.request"
#define SIGINT_TRAP    "vllm.curl.sigint_trap"
#define IDLE_AGE_S     4 /* uvicorn silently closes an idle connection after 5 s */
#define MAX_IDLE_AGE_S 86400
#define MAX_STARTS     10000
#define MAX_ALARM_NS   ((int64_t)1 << 62) /* later than that means never */

struct engine_box {
    struct vllm_engine *engine;
    int last_id; /* the engine's uservalue, a table with weak values, finds requests by number */
};

struct request_box {
    struct vllm_request *request;
    /* While bytes of the request become a string, a finalizer may run and try to close the request. */
    const char *lent; /* NULL: none do */
    size_t lent_len;
    bool close_asked;
};

/* Requests --------------------------------------------------------------------------------------------------------- */

static void close_box(struct request_box *box, bool drain) {
    struct vllm_request *request = box->request;
    if (box->lent) {
        box->close_asked = true;
        return;
    }
    box->request = NULL;
    if (request) {
        vllm_request_close(request, drain);
    }
}

static int l_request_release(lua_State *L) {
    close_box(luaL_checkudata(L, 1, REQUEST), false);
    return 0;
}

static int l_request_close(lua_State *L) {
    close_box(luaL_checkudata(L, 1, REQUEST), lua_toboolean(L, 2) != 0);
    return 0;
}

static struct request_box *check_box(lua_State *L) {
    struct request_box *box = luaL_checkudata(L, 1, REQUEST);
    if (!box->request) {
        luaL_error(L, "this request is closed");
    }
    if (box->lent) {
        luaL_error(L, "this request is being read");
    }
    return box;
}

static struct vllm_request *check_request(lua_State *L) {
    return check_box(L)->request;
}

static int l_request_lent(lua_State *L) {
    const struct request_box *box = lua_touserdata(L, 1);
    lua_pushlstring(L, box->lent, box->lent_len);
    return 1;
}

/* Pushes what push_lent needs. This comes first: a finalizer may run here, and close what we are about to read. */
static struct request_box *begin_lent(lua_State *L) {
    luaL_checkudata(L, 1, REQUEST);
    lua_settop(L, 1);
    lua_pushcfunction(L, l_request_lent);
    lua_pushvalue(L, 1);
    return check_box(L);
}

/* Without memory for the string its bytes are lost. So the request is closed: what follows would look complete. */
static void push_lent(lua_State *L, struct request_box *box, const char *bytes, size_t len) {
    box->lent = bytes;
    box->lent_len = len;
    int status = lua_pcall(L, 1, 1, 0);
    box->lent = NULL;
    if (status != 0 || box->close_asked) {
        close_box(box, false);
    }
    if (status != 0) {
        lua_error(L);
    }
}

/* Numbers differ between systems; names do not. */
static const char *name_of_errno(long number) {
    static const struct {
        int number;
        const char *name;
    } names[] = {
        {ECONNREFUSED, "refused"}, {ECONNRESET, "reset"},    {EPIPE, "reset"},        {ETIMEDOUT, "timeout"},
        {EHOSTUNREACH, "noroute"}, {ENETUNREACH, "noroute"}, {ENOENT, "absent"},      {EACCES, "denied"},
        {EPERM, "denied"},         {EMFILE, "descriptors"},  {ENFILE, "descriptors"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].number == number) {
            return names[i].name;
        }
    }
    return NULL;
}

static int push_failure(lua_State *L, const struct vllm_request *request) {
    struct vllm_request_error error;
    vllm_request_error(request, &error);
    lua_pushnil(L);
    lua_createtable(L, 0, 6);
    bind_set_integer(L, "code", error.curl_code);
    bind_set_integer(L, "errno", error.os_errno);
    bind_set_text(L, "reason", name_of_errno(error.os_errno));
    bind_set_integer(L, "verify", error.verify_result);
    bind_set_text(L, "text", error.text);
    bind_set_integer(L, "bytes", (int64_t)error.body_bytes);
    return 2;
}

/* false: any string could be bytes of a body. */
static int push_wait(lua_State *L) {
    lua_pushboolean(L, 0);
    return 1;
}

static int l_request_head(lua_State *L) {
    struct request_box *box = begin_lent(L);
    long status;
    const char *headers;
    size_t len;
    switch (vllm_request_head(box->request, &status, &headers, &len)) {
    case VLLM_NET_OK:
        push_lent(L, box, headers, len);
        lua_pushinteger(L, (lua_Integer)status);
        lua_insert(L, -2);
        return 2;
    case VLLM_NET_WAIT: return push_wait(L);
    default: return push_failure(L, box->request);
    }
}

static int l_request_read(lua_State *L) {
    struct request_box *box = begin_lent(L);
    const char *bytes;
    size_t len;
    switch (vllm_request_read(box->request, &bytes, &len)) {
    case VLLM_NET_OK: push_lent(L, box, bytes, len); return 1;
    case VLLM_NET_WAIT: return push_wait(L);
    case VLLM_NET_END: lua_pushnil(L); return 1;
    default: return push_failure(L, box->request);
    }
}

static void set_seconds(lua_State *L, const char *name, double seconds) {
    if (seconds > 0) {
        lua_pushnumber(L, seconds);
        lua_setfield(L, -2, name);
    }
}

static int l_request_info(lua_State *L) {
    struct vllm_request_info info;
    vllm_request_info(check_request(L), &info);
    lua_createtable(L, 0, 10);
    set_seconds(L, "name_lookup_s", info.name_lookup_s);
    set_seconds(L, "connect_s", info.connect_s);
    set_seconds(L, "tls_s", info.tls_s);
    set_seconds(L, "start_transfer_s", info.start_transfer_s);
    set_seconds(L, "total_s", info.total_s);
    bind_set_bool(L, "reused", info.reused);
    bind_set_integer(L, "upload_bytes", (int64_t)info.upload_bytes);
    bind_set_integer(L, "body_bytes", (int64_t)info.body_bytes);
    if (info.remote_ip[0] != '\0') {
        bind_set_text(L, "remote_ip", info.remote_ip);
        bind_set_integer(L, "remote_port", info.remote_port);
    }
    return 1;
}

/* Engines ---------------------------------------------------------------------------------------------------------- */

static int l_engine_release(lua_State *L) {
    struct engine_box *box = luaL_checkudata(L, 1, ENGINE);
    struct vllm_engine *engine = box->engine;
    box->engine = NULL;
    vllm_engine_release(engine);
    return 0;
}

static struct engine_box *check_engine(lua_State *L) {
    struct engine_box *box = luaL_checkudata(L, 1, ENGINE);
    if (!box->engine) {
        luaL_error(L, "this engine is closed");
    }
    return box;
}

static int l_engine_fd(lua_State *L) {
    int fd = vllm_engine_fd(check_engine(L)->engine);
    if (fd < 0) {
        lua_pushnil(L);
    } else {
        lua_pushinteger(L, fd);
    }
    return 1;
}

static int l_engine_step(lua_State *L) {
    struct engine_box *box = check_engine(L);
    switch (vllm_engine_step(box->engine, bind_timeout_ms(L, 2))) {
    case VLLM_NET_INTERRUPTED: return bind_fail(L, "interrupted");
    case VLLM_NET_FORKED: return bind_fail(L, "forked");
    default: lua_pushboolean(L, 1); return 1;
    }
}

static int refuse(lua_State *L, enum vllm_net_status status, const char *why) {
    lua_pushnil(L);
    lua_pushstring(L, status == VLLM_NET_FORKED ? "forked" : status == VLLM_NET_NOMEM ? "memory" : "invalid");
    lua_pushstring(L, why);
    return 3;
}

static int l_engine_add(lua_State *L) {
    struct engine_box *engine = check_engine(L);
    struct vllm_request_options options;
    const char *why;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    struct request_box *box = bind_new_object(L, REQUEST, sizeof *box);
    if (!bind_curl_options(L, 2, &options, &why)) {
        return refuse(L, VLLM_NET_INVALID, why);
    }
    (void)check_engine(L); /* again: an __index of the options, or a finalizer, may have closed it */
    enum vllm_net_status status = vllm_engine_add(engine->engine, &options, &box->request, &why);
    if (status != VLLM_NET_OK) {
        return refuse(L, status, why);
    }
    engine->last_id = engine->last_id < INT_MAX ? engine->last_id + 1 : 1;
    vllm_request_set_tag(box->request, (void *)(intptr_t)engine->last_id);
    lua_getuservalue(L, 1);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, engine->last_id);
    lua_settop(L, 3);
    return 1;
}

static int l_engine_ready(lua_State *L) {
    struct engine_box *box = check_engine(L);
    struct vllm_request *request;
    lua_settop(L, 1);
    lua_getuservalue(L, 1);
    while ((request = vllm_engine_ready(box->engine)) != NULL) {
        lua_rawgeti(L, 2, (int)(intptr_t)vllm_request_tag(request));
        if (!lua_isnil(L, -1)) {
            return 1;
        }
        lua_pop(L, 1); /* collected, but its finalizer has not run */
    }
    lua_pushnil(L);
    return 1;
}

/* Rounded up, so that whoever is woken for a deadline finds that it has passed. */
static int l_engine_alarm(lua_State *L) {
    struct engine_box *box = check_engine(L);
    int64_t at_ns = VLLM_ENGINE_NO_ALARM;
    if (!lua_isnoneornil(L, 2)) {
        lua_Number at = luaL_checknumber(L, 2) * 1e9;
        luaL_argcheck(L, at == at, 2, "expected a time, got NaN");
        if (at < (lua_Number)MAX_ALARM_NS) {
            at_ns = at > 0 ? (int64_t)at + 1 : 0;
        }
    }
    vllm_engine_alarm(box->engine, at_ns);
    return 0;
}

static int l_engine_live(lua_State *L) {
    bind_push_integer(L, (int64_t)vllm_engine_live(check_engine(L)->engine));
    return 1;
}

static enum vllm_engine_mode read_mode(lua_State *L) {
    static const char *const names[] = {"inline", "thread", NULL};
    static const enum vllm_engine_mode modes[] = {VLLM_ENGINE_INLINE, VLLM_ENGINE_THREAD};
    int chosen = 0;
    if (lua_istable(L, 1)) {
        lua_getfield(L, 1, "mode");
        chosen = luaL_checkoption(L, -1, "inline", names);
        lua_pop(L, 1);
    }
    return modes[chosen];
}

static int l_engine(lua_State *L) {
    struct vllm_engine_options options = {VLLM_ENGINE_INLINE, IDLE_AGE_S, 0};
    options.max_idle_age_s = (long)bind_option_size(L, 1, "max_idle_age_s", IDLE_AGE_S, 1, MAX_IDLE_AGE_S);
    options.max_starts = bind_option_size(L, 1, "max_starts", 0, 1, MAX_STARTS);
    options.mode = read_mode(L);
    struct engine_box *box = bind_new_object(L, ENGINE, sizeof *box);
    bind_push_weak_table(L, "v");
    lua_setuservalue(L, -2);
    errno = 0;
    box->engine = vllm_engine_new(&options);
    bool lacks_descriptors = errno == EMFILE || errno == ENFILE;
    return box->engine ? 1 : bind_fail(L, lacks_descriptors ? "descriptors" : "memory");
}

/* Signals and the module ------------------------------------------------------------------------------------------- */

static int l_sigint_release(lua_State *L) {
    bool *held = luaL_checkudata(L, 1, SIGINT_TRAP);
    if (*held) {
        *held = false;
        vllm_sigint_release();
    }
    return 0;
}

static int l_sigint_caught(lua_State *L) {
    const bool *held = luaL_checkudata(L, 1, SIGINT_TRAP);
    lua_pushboolean(L, *held && vllm_sigint_caught());
    return 1;
}

static int l_sigint_trap(lua_State *L) {
    bool *held = bind_new_object(L, SIGINT_TRAP, sizeof *held);
    *held = vllm_sigint_trap();
    return *held ? 1 : bind_fail(L, "cannot trap SIGINT");
}

static int l_sigint_pending(lua_State *L) {
    lua_pushboolean(L, vllm_sigint_pending());
    return 1;
}

BIND_EXPORT int luaopen_vllm_curl(lua_State *L);

BIND_EXPORT int luaopen_vllm_curl(lua_State *L) {
    static const luaL_Reg engine_methods[] = {
        {"fd", l_engine_fd},       {"step", l_engine_step}, {"add", l_engine_add},       {"ready", l_engine_ready},
        {"alarm", l_engine_alarm}, {"live", l_engine_live}, {"close", l_engine_release}, {NULL, NULL}};
    static const luaL_Reg request_methods[] = {{"head", l_request_head},
                                               {"read", l_request_read},
                                               {"info", l_request_info},
                                               {"close", l_request_close},
                                               {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"engine", l_engine}, {"sigint_trap", l_sigint_trap}, {"sigint_pending", l_sigint_pending}, {NULL, NULL}};
    static const luaL_Reg trap_methods[] = {{"caught", l_sigint_caught}, {"release", l_sigint_release}, {NULL, NULL}};
    bind_stay_loaded();
    bind_open_ending(L);
    bind_class(L, ENGINE, engine_methods, l_engine_release);
    bind_class(L, REQUEST, request_methods, l_request_release);
    bind_class(L, SIGINT_TRAP, trap_methods, l_sigint_release);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_pushstring(L, curl_version_info(CURLVERSION_NOW)->version);
    lua_setfield(L, -2, "version");
    return 1;
}
