/* Keeps a module in memory for the life of the process. lua_close unloads modules, in Lua 5.1 and LuaJIT before the
 * finalizers of what is older than they are, which may still call them; and libcurl with its module, under the feet of
 * a resolver thread that is still at work. The linker's -z nodelete is the same; not every linker has it, and LuaRocks
 * passes no flags. The file that includes this defines _GNU_SOURCE first. */
#ifndef VLLM_STAY_H
#define VLLM_STAY_H

#include <dlfcn.h>

/* Without success nothing is lost but that safety. */
static inline void bind_stay_loaded(void) {
    static const char here;
    Dl_info info;
    if (dladdr(&here, &info) != 0 && info.dli_fname) {
        (void)dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
}

#endif
