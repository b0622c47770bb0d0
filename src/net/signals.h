/* Signals, as far as a network client cannot avoid them. */
#ifndef VLLM_SIGNALS_H
#define VLLM_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* SIGPIPE. libcurl sends with MSG_NOSIGNAL, but a TLS library may write by itself, and CURLOPT_NOSIGNAL turns off
 * libcurl's own protection. Between hold and restore, a SIGPIPE of this thread is swallowed. The process's disposition
 * never changes. */
struct vllm_sigpipe {
    sigset_t old;
    bool held;
};
void vllm_sigpipe_hold(struct vllm_sigpipe *guard);
void vllm_sigpipe_restore(struct vllm_sigpipe *guard);

/* SIGINT as a flag, for programs in which Ctrl-C stops an answer instead of the program, any number of times. Opt-in,
 * counted, process-wide. The first trap saves the old action, the last release restores it. Not for two threads at
 * once. */
bool vllm_sigint_trap(void);    /* false: the action could not be set */
void vllm_sigint_release(void); /* without a trap: does nothing */
bool vllm_sigint_caught(void);  /* since the last call; clears the flag */
bool vllm_sigint_pending(void); /* does not clear it */

#endif
