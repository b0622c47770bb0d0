/* Turn events and results as Lua tables. */
#ifndef VLLM_BIND_EVENTS_H
#define VLLM_BIND_EVENTS_H

#include "../core/turn.h"
#include "bind.h"

/* Each pushes one table. `turn` is the one the event came from. They raise only when Lua has no memory. */
void bind_push_event(lua_State *L, const struct vllm_event *event, const struct vllm_turn *turn);
void bind_push_result(lua_State *L, const struct vllm_turn *turn);

#endif
