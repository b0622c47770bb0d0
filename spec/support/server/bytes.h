#ifndef TEST_SERVER_BYTES_H
#define TEST_SERVER_BYTES_H

#include <stddef.h>

/* Growable bytes. A server for tests may end itself when memory does: nothing here returns a failure.
 * `data` is followed by a NUL that `length` does not count, once anything was added. All zero is an empty one. */
struct bytes {
    char *data;
    size_t length, capacity;
};

void bytes_add(struct bytes *b, const void *data, size_t length);
void bytes_text(struct bytes *b, const char *text);
void bytes_format(struct bytes *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bytes_drop(struct bytes *b, size_t length); /* from the front */
void bytes_clear(struct bytes *b);               /* keeps the memory */
void bytes_free(struct bytes *b);

/* realloc of count × size bytes, and zeroed memory; both end the process when there is none. */
void *must_resize(void *old, size_t count, size_t size);
void *must_zero(size_t size);
void die(const char *what);

#endif
