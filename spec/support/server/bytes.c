/* Growable bytes for the test server. Bound: 512 MiB each, then the process ends with a message.
 */
#include "bytes.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)512 << 20)

void die(const char *what) {
    fprintf(stderr, "test-server: %s\n", what);
    exit(1);
}

void *must_resize(void *old, size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / size) die("too much memory asked for");
    void *memory = realloc(old, count * size > 0 ? count * size : 1);
    if (memory == NULL) die("out of memory");
    return memory;
}

void *must_zero(size_t size) {
    void *memory = calloc(1, size);
    if (memory == NULL) die("out of memory");
    return memory;
}

static void bytes_reserve(struct bytes *b, size_t more) {
    if (more >= MAX_BYTES || b->length + more >= MAX_BYTES) die("a buffer outgrew its bound");
    size_t need = b->length + more + 1;
    if (need <= b->capacity) return;
    size_t capacity = b->capacity < 32 ? 32 : b->capacity;
    while (capacity < need) capacity *= 2;
    b->data = must_resize(b->data, capacity, 1);
    b->capacity = capacity;
}

void bytes_add(struct bytes *b, const void *data, size_t length) {
    bytes_reserve(b, length);
    if (length > 0) memcpy(b->data + b->length, data, length);
    b->length += length;
    b->data[b->length] = '\0';
}

void bytes_text(struct bytes *b, const char *text) { bytes_add(b, text, strlen(text)); }

void bytes_format(struct bytes *b, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int length = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (length < 0) die("cannot format");
    bytes_reserve(b, (size_t)length);
    va_start(list, format);
    vsnprintf(b->data + b->length, (size_t)length + 1, format, list);
    va_end(list);
    b->length += (size_t)length;
}

void bytes_drop(struct bytes *b, size_t length) {
    if (length == 0) return;
    b->length -= length;
    memmove(b->data, b->data + length, b->length);
    b->data[b->length] = '\0';
}

void bytes_clear(struct bytes *b) {
    b->length = 0;
    if (b->data != NULL) b->data[0] = '\0';
}

void bytes_free(struct bytes *b) {
    free(b->data);
    b->data = NULL;
    b->length = b->capacity = 0;
}
