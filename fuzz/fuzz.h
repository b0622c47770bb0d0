/* Shared by the fuzz targets: the allocator, a place to write down what came out, and the claim that must hold.
 * A target runs its input through the code twice, in two ways that must not matter, and compares. */
#ifndef VLLM_FUZZ_H
#define VLLM_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/core/buf.h"

#define CLAIM(cond)                                                                                                    \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond);                                  \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static void *fuzz_realloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
    (void)ud;
    (void)old_size;
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, new_size);
}

static const struct vllm_alloc fuzz_alloc = {fuzz_realloc, NULL};

/* Notes: what came out, field by field, each with its length, so that two runs can be compared as bytes. */
static inline void note_bytes(struct vllm_buf *notes, struct vllm_slice bytes) {
    long length = bytes.ptr ? (long)bytes.len : -1;
    CLAIM(vllm_buf_append(notes, &length, sizeof length) == VLLM_OK);
    if (bytes.ptr) CLAIM(vllm_buf_append(notes, bytes.ptr, bytes.len) == VLLM_OK);
}

static inline void note_number(struct vllm_buf *notes, int64_t number) {
    CLAIM(vllm_buf_append(notes, &number, sizeof number) == VLLM_OK);
}

static inline bool same_notes(const struct vllm_buf *a, const struct vllm_buf *b) {
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* The next read's size: 1 to 64 bytes, the same sequence for the same seed; seed 0: everything at once; seed 1: a byte
 * at a time. */
static inline size_t next_read(unsigned *seed, size_t left) {
    if (*seed == 0) return left;
    if (*seed == 1) return 1;
    *seed = *seed * 1103515245u + 12345u;
    size_t size = 1 + (*seed >> 16) % ((*seed >> 24) % 64 + 1);
    if (*seed <= 1) *seed = 2;
    return size < left ? size : left;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
