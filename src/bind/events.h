/* Turn events and results as Lua tables. */
#ifndef VLLM_BIND_EVENTS_H
#define VLLM_BIND_EVENTS_H

#include "../core/decoder.h"
#include "bind.h"

/* Pushes strings that bind_push_event needs as upvalues of the function that calls it, and returns their number. */
int bind_push_event_strings(lua_State *L);

/* Each pushes one table. `decoder` is the one the event came from, `strings` the number of the first of those upvalues.
 * They raise only when Lua has no memory. */
void bind_push_event(lua_State *L, const struct vllm_event *event, const struct vllm_decoder *decoder, int strings);
void bind_push_result(lua_State *L, const struct vllm_decoder *decoder);

#endif
