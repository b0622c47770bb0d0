/* core.now, core.sleep, core.poll: the clock and the waits of our own scheduler. A wait blocks this thread; a signal
 * ends it early, so that a handler which Lua runs is not kept waiting. Sources: clock_gettime(2), poll(2). */
#define _POSIX_C_SOURCE 200112L

#include "bind.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#define MAX_POLLED 65536 /* the kernel has its own bound: as many as a process may open */

static int l_now(lua_State *L) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        return luaL_error(L, "no monotonic clock");
    }
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec * 1e-9);
    return 1;
}

/* Pushes true: the wait took its course; false: a signal ended it. */
static int push_waited(lua_State *L, int count) {
    if (count < 0 && errno != EINTR) {
        return luaL_error(L, "poll failed (errno %d)", errno);
    }
    lua_pushboolean(L, count >= 0);
    return 1;
}

static int l_sleep(lua_State *L) {
    luaL_checknumber(L, 1);
    return push_waited(L, poll(NULL, 0, bind_timeout_ms(L, 1)));
}

/* core.poll(fds, seconds): the descriptors that can be read are told by readable[fd] = true in a new table. */
static int l_poll(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t count = lua_rawlen(L, 1);
    luaL_argcheck(L, count <= MAX_POLLED, 1, "too many descriptors");
    int timeout_ms = bind_timeout_ms(L, 2);
    struct pollfd *polled = lua_newuserdata(L, count * sizeof *polled);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (int)i + 1);
        polled[i].fd = (int)luaL_checkinteger(L, -1);
        polled[i].events = POLLIN;
        polled[i].revents = 0;
        lua_pop(L, 1);
    }
    int ready = poll(polled, (nfds_t)count, timeout_ms);
    push_waited(L, ready);
    lua_newtable(L);
    for (size_t i = 0; ready > 0 && i < count; i++) {
        if (polled[i].revents != 0) {
            lua_pushboolean(L, 1);
            lua_rawseti(L, -2, polled[i].fd);
        }
    }
    return 2;
}

void bind_open_wait(lua_State *L) {
    bind_set_function(L, "now", l_now);
    bind_set_function(L, "sleep", l_sleep);
    bind_set_function(L, "poll", l_poll);
}
