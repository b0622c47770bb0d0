/* The SIGPIPE guard and the SIGINT trap; contract in signals.h. The trap's three variables are mutable statics, since a
 * signal handler has no other way to report. Sources: POSIX.1-2008, "Signal Concepts", sigaction, pthread_sigmask. */
#define _GNU_SOURCE
#include "signals.h"

#include <stddef.h>
#include <string.h>

void vllm_sigpipe_hold(struct vllm_sigpipe *guard) {
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    guard->held = pthread_sigmask(SIG_BLOCK, &pipe_only, &guard->old) == 0 && sigismember(&guard->old, SIGPIPE) == 0;
}

void vllm_sigpipe_restore(struct vllm_sigpipe *guard) {
    sigset_t pending, pipe_only;
    int number;
    if (!guard->held) return; /* the host had blocked it already, and keeps its own rules */
    /* It was not blocked before, so a pending one was raised since the hold, by a write of this thread. */
    sigemptyset(&pending);
    if (sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1) {
        sigemptyset(&pipe_only);
        sigaddset(&pipe_only, SIGPIPE);
        (void)sigwait(&pipe_only, &number);
    }
    (void)pthread_sigmask(SIG_SETMASK, &guard->old, NULL);
    guard->held = false;
}

static volatile sig_atomic_t sigint_flag;
static unsigned sigint_traps;
static struct sigaction sigint_old;

static void on_sigint(int number) {
    (void)number;
    sigint_flag = 1;
}

bool vllm_sigint_trap(void) {
    struct sigaction action;
    if (sigint_traps == 0) {
        memset(&action, 0, sizeof action);
        sigemptyset(&action.sa_mask);
        action.sa_handler = on_sigint; /* no SA_RESTART: a blocked wait or read must end */
        sigint_flag = 0;
        if (sigaction(SIGINT, &action, &sigint_old) != 0) return false;
    }
    sigint_traps++;
    return true;
}

void vllm_sigint_release(void) {
    if (sigint_traps == 0 || --sigint_traps > 0) return;
    (void)sigaction(SIGINT, &sigint_old, NULL);
    sigint_flag = 0;
}

bool vllm_sigint_caught(void) {
    bool caught = sigint_flag != 0;
    sigint_flag = 0;
    return caught;
}

bool vllm_sigint_pending(void) {
    return sigint_flag != 0;
}
