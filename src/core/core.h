/* What every stage of the core shares: statuses, slices, the allocator, the word "limit".
 *
 * The core is C99 on libc alone. It knows no Lua, no socket, no clock, no locale, and keeps no mutable static: every
 * object can be used from any thread, one thread at a time. All memory comes through a `struct vllm_alloc`, which has
 * the shape of lua_Alloc, so that a host's allocator (or a test's failing one) sees every byte.
 *
 * Stages share three verbs: feed (bytes in), next (one result out, or VLLM_MORE, or VLLM_END), finish (no more bytes).
 * The first error sticks: every later call returns it again. */
#ifndef VLLM_CORE_H
#define VLLM_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vllm_status {
    VLLM_OK = 0,
    VLLM_MORE,       /* nothing to return until the next feed */
    VLLM_END,        /* the end; nothing will follow */
    VLLM_ENOMEM,     /* the allocator said no */
    VLLM_ELIMIT,     /* a limit was exceeded; the object can name it */
    VLLM_ESYNTAX,    /* the bytes break the format */
    VLLM_EUTF8,      /* text to be written is not UTF-8 */
    VLLM_ESERVER,    /* the server reported an error in its stream */
    VLLM_EFAILED,    /* the server broke the answer off, and says so in the answer */
    VLLM_ETRUNCATED, /* the stream ended before the answer did */
    VLLM_EINVALID    /* the caller broke the contract (wrong order of calls, unacceptable value) */
};

#if defined(__GNUC__)
#define VLLM_NODISCARD __attribute__((warn_unused_result))
#else
#define VLLM_NODISCARD
#endif

/* Refuses to compile where `holds`, a constant, is false. */
#define VLLM_ASSERT(name, holds) typedef char vllm_assert_##name[(holds) ? 1 : -1]

/* Bytes that belong to somebody else; not terminated. `ptr` NULL means absent, which is not the same as empty. */
struct vllm_slice {
    const char *ptr;
    size_t len;
};

/* As lua_Alloc: `new_size` 0 frees and returns NULL; otherwise (re)allocates, NULL on failure with `ptr` untouched. */
struct vllm_alloc {
    void *(*fn)(void *ud, void *ptr, size_t old_size, size_t new_size);
    void *ud;
};

#endif
