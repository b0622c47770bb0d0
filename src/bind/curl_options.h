/* The options of one request, from a Lua table to what the engine takes. */
#ifndef VLLM_BIND_CURL_OPTIONS_H
#define VLLM_BIND_CURL_OPTIONS_H

#include "../net/engine.h"
#include "bind.h"

/* Reads the table at `index`. Everything that `options` points to stays on the Lua stack: use it before you return.
 * Wrong types and unknown names raise, naming the field. False: a string has a NUL where C allows none, and `*why`
 * names it. */
bool bind_curl_options(lua_State *L, int index, struct vllm_request_options *options, const char **why);

#endif
