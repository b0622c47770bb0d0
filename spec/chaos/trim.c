/* For endurance.lua: gives what is free back to the system, so that resident memory tells what is in use and not what malloc keeps.
 * A Lua function that takes and returns nothing needs no header of Lua. */
#include <malloc.h>

int trim(void *state);

int trim(void *state) {
    (void)state;
    (void)malloc_trim(0);
    return 0;
}
