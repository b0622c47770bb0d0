/* A Lua state without memory: the jobs of jobs.lua, from the decoder alone to whole turns of a client, each done again
 * and again while allocations fail, whether Lua asked or the core: one alone, two in a row (Lua 5.3 and later collect
 * garbage and ask once more), or all from there on until the error is caught. An error says "not enough memory" and
 * nothing else; the same work in the same state then gives what it always gave; and when the state is closed, nothing
 * is left. Then those of meddled.lua. Linked with one Lua each. TRIES failures of each kind are spread over each job;
 * MEMORY_TRIES in the environment says how many, and 0 means every one. */
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <lualib.h>

#include "../c/check.h"

#define TRIES    12
#define FOR_EVER LONG_MAX
#define NEVER    LONG_MAX

int luaopen_vllm_core(lua_State *L);

/* The allocator. Only growth fails: Lua counts on getting less when it asks for less. */
struct heap {
    size_t blocks; /* not bytes: when memory lacks, LuaJIT gives other sizes back than it took */
    bool armed;
    bool moves;     /* blocks that grow or shrink move, and what is freed holds rubbish */
    long made;      /* while armed */
    long at, until; /* allocations from `at` to before `until` fail */
};

static void *(*volatile fill)(void *, int, size_t) = memset; /* a compiler leaves out what is freed next */

static void *moved_to(size_t new_size, void *ptr, size_t old_size) {
    void *moved = malloc(new_size);
    if (moved && ptr) {
        memcpy(moved, ptr, old_size < new_size ? old_size : new_size);
        fill(ptr, 0xa5, old_size);
        free(ptr);
    }
    return moved;
}

static void *heap_fn(void *ud, void *ptr, size_t old_size, size_t new_size) {
    struct heap *heap = ud;
    size_t had = ptr ? old_size : 0;
    if (new_size == 0) {
        heap->blocks -= ptr != NULL;
        if (ptr && heap->moves) fill(ptr, 0xa5, old_size);
        free(ptr);
        return NULL;
    }
    if (heap->armed && new_size > had) {
        long number = heap->made++;
        if (number >= heap->at && number < heap->until) return NULL;
    }
    void *moved = heap->moves ? moved_to(new_size, ptr, old_size) : realloc(ptr, new_size);
    heap->blocks += moved && !ptr;
    return moved;
}

static void arm(struct heap *heap, long at, long width) {
    heap->armed = true;
    heap->made = 0;
    heap->at = at;
    heap->until = width > LONG_MAX - at ? LONG_MAX : at + width;
}

/* States ----------------------------------------------------------------------------------------------------------- */

static void die(const char *what, lua_State *L) {
    const char *why = L ? lua_tostring(L, -1) : NULL;
    printf("%s: %s\n", what, why ? why : "?");
    exit(1);
}

/* LuaJIT's compiled code does not survive lack of memory by itself (2.1 before November 2023), so that it is switched
 * off here. */
static void switch_compiler_off(lua_State *L) {
    lua_getglobal(L, "jit");
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "off");
        lua_call(L, 0, 0);
    }
}

static int open_all(lua_State *L) {
    luaL_openlibs(L);
    switch_compiler_off(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_vllm_core);
    lua_setfield(L, -2, "vllm.core");
    lua_settop(L, 0);
    return 0;
}

static const char LOAD_JOBS[] = "package.path = 'lua/?.lua;lua/?/init.lua;./?.lua'; return require 'spec.bind.jobs'";

static lua_State *new_state(struct heap *heap) {
    memset(heap, 0, sizeof *heap);
    lua_State *L = lua_newstate(heap_fn, heap);
    if (!L) die("lua_newstate", NULL);
    lua_pushcfunction(L, open_all);
    if (lua_pcall(L, 0, 0, 0) != 0) die("libraries", L);
    return L;
}

static void load_jobs(lua_State *L) {
    if (luaL_loadstring(L, LOAD_JOBS) != 0 || lua_pcall(L, 0, 1, 0) != 0) die("jobs", L);
}

static void close_state(lua_State *L, const struct heap *heap) {
    lua_close(L);
    CHECK(heap->blocks == 0);
}

/* The stack of every state: the list of jobs, then the job at hand, then what it is to give. */
enum { JOBS = 1, JOB, EXPECTED };

static bool is_lack_of_memory(lua_State *L) {
    const char *why = lua_tostring(L, -1);
    /* The second is Lua's word for a stack that cannot grow. */
    return why && (strstr(why, "not enough memory") || strstr(why, "stack overflow ("));
}

/* Calls a copy of the function at `index`, which must be there already: outside of the call nothing may ask for
 * memory. */
static int call(lua_State *L, int index, int results) {
    lua_pushvalue(L, index);
    return lua_pcall(L, 0, results, 0);
}

static void tidy(lua_State *L) {
    lua_gc(L, LUA_GCCOLLECT, 0);
    lua_gc(L, LUA_GCCOLLECT, 0);
}

static bool is_expected(lua_State *L) {
    return lua_type(L, -1) == LUA_TSTRING && lua_rawequal(L, -1, EXPECTED);
}

static void complain(lua_State *L, const char *name, long at, long width, const char *what) {
    const char *got = lua_tostring(L, -1);
    printf("%s, allocations from %ld (%ld): %s: %.300s\n", name, at, width, what, got ? got : "?");
    CHECK(false);
}

static void fail_one(lua_State *L, struct heap *heap, const char *name, long at, long width) {
    tidy(L);
    arm(heap, at, width);
    int status = call(L, JOB, 1);
    heap->armed = false;
    check_count++;
    if (status != 0 ? !is_lack_of_memory(L) : !is_expected(L)) complain(L, name, at, width, "gave");
    lua_pop(L, 1);
    status = call(L, JOB, 1);
    check_count++;
    if (status != 0 || !is_expected(L)) complain(L, name, at, width, "and then");
    lua_pop(L, 1);
}

/* How many allocations the job makes, once it needs no more modules and tables of its own. Leaves what it gives. */
static long count_allocations(lua_State *L, struct heap *heap, const char *name) {
    for (int round = 0; round < 3; round++) {
        lua_settop(L, JOB);
        tidy(L);
        arm(heap, NEVER, 1);
        int status = call(L, JOB, 1);
        heap->armed = false;
        if (status != 0) die(name, L);
    }
    CHECK(lua_type(L, EXPECTED) == LUA_TSTRING && lua_tostring(L, EXPECTED)[0] != '\0');
    CHECK(heap->made > 5);
    return heap->made;
}

static const long widths[] = {1, 2, FOR_EVER};

/* The steps of a walk over `made` allocations. */
static long stride_of(long made) {
    const char *asked = getenv("MEMORY_TRIES");
    long tries = asked ? atol(asked) : TRIES;
    return tries > 0 && made > tries ? made / tries : 1;
}

static void run_job(lua_State *L, struct heap *heap, int number) {
    lua_settop(L, JOBS);
    lua_rawgeti(L, JOBS, number);
    lua_rawgeti(L, -1, 1);
    const char *name = lua_tostring(L, -1); /* the list keeps it */
    lua_rawgeti(L, -2, 2);
    lua_replace(L, JOB);
    long made = count_allocations(L, heap, name), stride = stride_of(made);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        for (long at = (long)i * stride / 3; at < made; at += stride) {
            fail_one(L, heap, name, at, widths[i]);
        }
    }
}

static void run_jobs(void) {
    struct heap heap;
    lua_State *L = new_state(&heap);
    int count = 0;
    load_jobs(L);
    for (lua_pushnil(L); lua_next(L, JOBS); lua_pop(L, 1)) {
        count++;
    }
    CHECK(count > 20);
    for (int i = 1; i <= count; i++) {
        run_job(L, &heap, i);
    }
    close_state(L, &heap);
}

/* Loading, in a state of its own each time, since a Lua may remember that a module could not be loaded. */
static bool load_without(const char *chunk, long at, long width, long *made) {
    struct heap heap;
    lua_State *L = new_state(&heap);
    if (luaL_loadstring(L, chunk) != 0) die("chunk", L);
    tidy(L);
    arm(&heap, at, width);
    int status = lua_pcall(L, 0, 0, 0);
    heap.armed = false;
    *made = heap.made;
    check_count++;
    if (status != 0 && !is_lack_of_memory(L)) complain(L, "loading", at, width, "gave");
    close_state(L, &heap);
    return status == 0;
}

static void run_loading(void) {
    static const char *const chunks[] = {"require 'vllm.core'",
                                         "package.path = 'lua/?.lua;lua/?/init.lua'; require 'vllm'; require 'vllm.testing'"};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        long made, count;
        CHECK(load_without(chunks[i], NEVER, 1, &made));
        for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
            for (long at = 0, stride = stride_of(made); at < made; at += stride) {
                bool loaded = load_without(chunks[i], at, widths[k], &count);
                CHECK(!loaded || widths[k] != FOR_EVER || count <= at); /* LuaJIT may come to make fewer than before */
            }
        }
    }
}

/* The module's own open function does not mind being called again. */
static void run_open_again(void) {
    struct heap heap;
    lua_State *L = new_state(&heap);
    lua_pushcfunction(L, luaopen_vllm_core);
    for (long at = 0, status = 1; status != 0; at++) {
        lua_settop(L, 1);
        tidy(L);
        arm(&heap, at, FOR_EVER);
        status = call(L, 1, 1);
        heap.armed = false;
        check_count++;
        if (status != 0 && !is_lack_of_memory(L)) complain(L, "opening", at, FOR_EVER, "gave");
        CHECK(at < 10000);
    }
    lua_getfield(L, -1, "json_encode");
    lua_pushliteral(L, "a");
    CHECK(lua_pcall(L, 1, 1, 0) == 0 && strcmp(lua_tostring(L, -1), "\"a\"") == 0);
    close_state(L, &heap);
}

/* Lua's stack full: a value nested 100 levels deep is decoded whole, or not at all. (Lua 5.1 bounds the stack of each C
 * function alone, so that it never is.) */
static void run_full_stack(void) {
    struct heap heap;
    lua_State *L = new_state(&heap);
    char text[200];
    memset(text, '[', 100);
    memset(text + 100, ']', 100);
    if (luaL_loadstring(L, "return require('vllm.core').json_decode") != 0 || lua_pcall(L, 0, 1, 0) != 0) die("core", L);
    for (int more = 1000; more > 0; more = more == 1000 ? 1 : 0) {
        while (lua_checkstack(L, more)) {
            lua_settop(L, lua_gettop(L) + more);
        }
    }
    int full = lua_gettop(L), taken = 0, refused = 0;
    for (int room = 40; room < 1000; room += 20) {
        lua_settop(L, full - room);
        lua_pushvalue(L, 1);
        lua_pushlstring(L, text, sizeof text);
        int status = lua_pcall(L, 1, 1, 0);
        const char *why = status == 0 ? NULL : lua_tostring(L, -1);
        CHECK(status == 0 ? lua_istable(L, -1) : why && strstr(why, "stack overflow"));
        taken += status == 0;
        refused += status != 0;
    }
    CHECK(taken > 0 && (refused > 0 || LUA_VERSION_NUM == 501));
    lua_settop(L, 1);
    close_state(L, &heap);
}

/* The jobs of meddled.lua, where memory that is freed holds rubbish. */
static void run_meddled(void) {
    struct heap heap;
    lua_State *L = new_state(&heap);
    heap.moves = true;
    if (luaL_loadstring(L, "package.path = './?.lua'; return require 'spec.bind.meddled'") != 0 || lua_pcall(L, 0, 1, 0) != 0) {
        die("meddled", L);
    }
    int count = 0;
    for (lua_pushnil(L); lua_next(L, JOBS); lua_settop(L, JOBS + 1)) {
        count++;
        lua_rawgeti(L, -1, 2);
        bool fine = lua_pcall(L, 0, 0, 0) == 0;
        CHECK(fine);
        if (!fine) printf("%s\n", lua_tostring(L, -1));
    }
    CHECK(count > 40);
    close_state(L, &heap);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    run_full_stack();
    run_meddled();
    run_open_again();
    run_loading();
    run_jobs();
    return check_report("a Lua state without memory");
}
