/* For LD_PRELOAD: a name that ends in ".slow" is looked up for 3 s, without a packet, and then unknown. As with a name
 * server that does not answer, the thread that asks cannot be ended. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <time.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
    static const char suffix[] = ".slow";
    size_t length = name == NULL ? 0 : strlen(name);
    if (length >= sizeof suffix && strcmp(name + length - (sizeof suffix - 1), suffix) == 0) {
        struct timespec left = {.tv_sec = 3};
        while (nanosleep(&left, &left) != 0) continue;
        return EAI_NONAME;
    }
    union {
        void *object;
        lookup *function;
    } next = {.object = dlsym(RTLD_NEXT, "getaddrinfo")};
    return next.function(name, service, hints, result);
}
