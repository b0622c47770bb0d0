/* A test program: CHECKs, then `return check_report("name")` from main. Prints each failure with its place, and one
 * line at the end. */
#ifndef VLLM_CHECK_H
#define VLLM_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/core.h"

static unsigned long check_count, check_failures;

#define CHECK(cond)                  check_that((cond) ? 1 : 0, #cond, __FILE__, __LINE__)
#define CHECK_BYTES(slice, text)     check_bytes((slice), (text), strlen(text), #slice, __FILE__, __LINE__)
#define CHECK_STATUS(expr, expected) check_status((int)(expr), (int)(expected), #expr, __FILE__, __LINE__)

static inline void check_that(int ok, const char *what, const char *file, int line) {
    check_count++;
    if (!ok) {
        check_failures++;
        printf("%s:%d: failed: %s\n", file, line, what);
    }
}

static inline void check_status(int got, int expected, const char *what, const char *file, int line) {
    check_count++;
    if (got != expected) {
        check_failures++;
        printf("%s:%d: %s is %d, expected %d\n", file, line, what, got, expected);
    }
}

static inline void check_bytes(struct vllm_slice got, const char *text, size_t len, const char *what, const char *file,
                               int line) {
    check_count++;
    if (got.ptr == NULL || got.len != len || memcmp(got.ptr, text, len) != 0) {
        check_failures++;
        printf("%s:%d: %s is \"%.*s\" (%lu bytes), expected \"%s\"\n", file, line, what, got.ptr ? (int)got.len : 0,
               got.ptr ? got.ptr : "", (unsigned long)got.len, text);
    }
}

static inline int check_report(const char *name) {
    printf("%s: %lu checks, %lu failed\n", name, check_count, check_failures);
    return check_failures == 0 ? 0 : 1;
}

/* The allocator of the tests: counts live bytes by the sizes it is told, and fails on purpose when `left`
 * allocations were made: from then on, or just once. */
struct check_memory {
    size_t live, peak;
    long left; /* -1: never fails */
    long made; /* allocations so far */
    bool once;
};

static inline void *check_memory_fn(void *ud, void *ptr, size_t old_size, size_t new_size) {
    struct check_memory *memory = (struct check_memory *)ud;
    if (new_size == 0) {
        memory->live -= ptr ? old_size : 0;
        free(ptr);
        return NULL;
    }
    if (memory->left == 0) {
        memory->left = memory->once ? -1 : 0;
        return NULL;
    }
    memory->left -= memory->left > 0;
    memory->made++;
    void *moved = realloc(ptr, new_size);
    if (moved) {
        memory->live += new_size - (ptr ? old_size : 0);
        memory->peak = memory->live > memory->peak ? memory->live : memory->peak;
    }
    return moved;
}

static inline struct vllm_alloc check_alloc(struct check_memory *memory) {
    struct vllm_alloc alloc = {check_memory_fn, memory};
    memory->live = 0;
    memory->peak = 0;
    memory->left = -1;
    memory->made = 0;
    memory->once = false;
    return alloc;
}

#endif
