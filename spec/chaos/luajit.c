/* For endurance.lua: LuaJIT with the C library's allocator. Its own one keeps what a thousand turns at once needed, in pieces that
 * differ from one time to the next, so that resident memory would tell of it and not of what is in use.
 * usage: endurance-luajit FILE.lua */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static void *allocate(void *ud, void *ptr, size_t old_size, size_t new_size) {
    (void)ud;
    (void)old_size;
    if (new_size > 0) return realloc(ptr, new_size);
    free(ptr);
    return NULL;
}

int main(int argc, char **argv) {
    lua_State *L = lua_newstate(allocate, NULL);
    if (!L || argc != 2) {
        fprintf(stderr, "usage: endurance-luajit FILE.lua\n");
        return 1;
    }
    luaL_openlibs(L);
    if (luaL_loadfile(L, argv[1]) != 0 || lua_pcall(L, 0, 0, 0) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    lua_close(L);
    return 0;
}
