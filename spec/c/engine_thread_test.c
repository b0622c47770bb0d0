/* Thread mode: when the thread is there, what it never makes the caller wait for, and how it ends. The program has
 * socket and getaddrinfo of its own, which the linker finds first, so that what the thread or a resolver of libcurl's
 * calls can hang for as long as a test wants. */
#define _GNU_SOURCE
#include "engine_peer.h"

#include <curl/curl.h>
#include <dirent.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* Calls that hang -------------------------------------------------------------------------------------------------- */

static pthread_mutex_t hang_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hang_ended = PTHREAD_COND_INITIALIZER;
static bool hang_wanted;
static int hanging;

static void hang_while_wanted(void) {
    pthread_mutex_lock(&hang_lock);
    hanging++;
    while (hang_wanted) {
        pthread_cond_wait(&hang_ended, &hang_lock);
    }
    hanging--;
    pthread_mutex_unlock(&hang_lock);
}

static void want_hangs(bool yes) {
    pthread_mutex_lock(&hang_lock);
    hang_wanted = yes;
    pthread_cond_broadcast(&hang_ended);
    pthread_mutex_unlock(&hang_lock);
}

static int count_hanging(void) {
    pthread_mutex_lock(&hang_lock);
    int count = hanging;
    pthread_mutex_unlock(&hang_lock);
    return count;
}

/* Visible to libcurl, unlike the rest of this program. */
__attribute__((visibility("default"))) int getaddrinfo(const char *name, const char *service,
                                                       const struct addrinfo *hints, struct addrinfo **out) {
    (void)name;
    (void)service;
    (void)hints;
    *out = NULL;
    hang_while_wanted();
    return EAI_NONAME;
}

int socket(int family, int type, int protocol) {
    hang_while_wanted();
    return (int)syscall(SYS_socket, family, type, protocol);
}

/* Threads ---------------------------------------------------------------------------------------------------------- */

/* The threads of this process. */
static int thread_count(void) {
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;
    for (struct dirent *entry; tasks && (entry = readdir(tasks)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    if (tasks) closedir(tasks);
    return count;
}

static int descriptor_count(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

static bool await_threads(int count) {
    struct timespec pause = {0, 5000000};
    for (int i = 0; i < PATIENCE && thread_count() != count; i++) {
        nanosleep(&pause, NULL);
    }
    return thread_count() == count;
}

static bool await_hanging(int count) {
    struct timespec pause = {0, 5000000};
    for (int i = 0; i < PATIENCE && count_hanging() != count; i++) {
        nanosleep(&pause, NULL);
    }
    return count_hanging() == count;
}

static struct vllm_engine *new_engine(void) {
    struct vllm_engine_options options = {VLLM_ENGINE_THREAD, 4, 0};
    struct vllm_engine *engine = vllm_engine_new(&options);
    CHECK(engine != NULL);
    if (!engine) exit(1);
    return engine;
}

/* A request that reaches no server, given up at once: the engine's thread runs then, and wakes. */
static void stir(struct server *server) {
    struct vllm_request_options options = get_options(server);
    options.url = "http://127.0.0.1:1/";
    vllm_request_close(add(server, &options), false);
}

static void test_thread_comes_late_and_goes(struct server *server) {
    stir(server); /* with the first thread, a sanitizer's own may come */
    int before = thread_count();
    struct vllm_engine *engine = new_engine(), *usual = server->engine;
    CHECK(thread_count() == before);
    CHECK_STATUS(vllm_engine_step(engine, 0), VLLM_NET_OK);
    CHECK(thread_count() == before);
    server->engine = engine;
    struct vllm_request *request = get(server);
    server->engine = usual;
    CHECK(thread_count() == before + 1);
    vllm_engine_release(engine);
    CHECK(thread_count() == before + 1); /* a request keeps it */
    vllm_request_close(request, false);
    CHECK(await_threads(before));
    int fd = accept(server->listener, NULL, NULL);
    if (fd >= 0) close(fd);
}

static volatile sig_atomic_t signals_seen;

static void on_signal(int number) {
    (void)number;
    signals_seen++;
}

/* The host's signals go to the host's threads: one that they all block stays pending. */
static void test_signals_are_the_hosts(struct server *server) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGCHLD, SIGALRM, SIGPIPE, SIGUSR1, SIGWINCH};
    stir(server);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action, old;
        sigset_t one, before;
        memset(&action, 0, sizeof action);
        action.sa_handler = on_signal;
        sigaction(numbers[i], &action, &old);
        sigemptyset(&one);
        sigaddset(&one, numbers[i]);
        pthread_sigmask(SIG_BLOCK, &one, &before);
        signals_seen = 0;
        CHECK(kill(getpid(), numbers[i]) == 0);
        stir(server); /* the thread wakes, and could take it */
        settle(server);
        CHECK(signals_seen == 0);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        CHECK(signals_seen == 1);
        sigaction(numbers[i], &old, NULL);
    }
}

/* Many things, one wakeup, until the caller has looked. */
static void test_one_wakeup_for_many_events(struct server *server) {
    struct vllm_request *request = get(server);
    struct vllm_request_info info;
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "\r\n");
    CHECK(await_head(server, request, NULL) == 200);
    settle(server);
    for (uint64_t sent = 1; sent <= 20; sent++) {
        send_text(fd, "x");
        for (int looks = 0; looks < PATIENCE; looks++) { /* each is a round of the thread's */
            struct pollfd nothing = {-1, 0, 0};
            vllm_request_info(request, &info);
            if (info.body_bytes >= sent) break;
            (void)poll(&nothing, 1, 1);
        }
        CHECK(info.body_bytes == sent);
    }
    uint64_t counter = 0;
    struct pollfd ready = {vllm_engine_fd(server->engine), POLLIN, 0};
    CHECK(poll(&ready, 1, 10000) == 1);
    ssize_t got = read(vllm_engine_fd(server->engine), &counter, sizeof counter);
    CHECK(got == sizeof counter && counter == 1);
    got = read(vllm_engine_fd(server->engine), &counter, sizeof counter);
    CHECK(got < 0 && errno == EAGAIN);
    CHECK_STATUS(vllm_engine_step(server->engine, 0), VLLM_NET_OK);
    send_text(fd, "x");
    CHECK(poll(&ready, 1, 10000) == 1); /* it has looked: so it is told again */
    vllm_request_close(request, false);
    close(fd);
}

/* The thread obeys in order: once it has sent this request it has done with all before, and opens no socket of
 * theirs. */
static void catch_up(struct server *server) {
    struct vllm_request *request = get(server);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    vllm_request_close(request, false);
    close(fd);
}

/* What happened to a request is not told once it is closed, however the thread and the caller interleave. */
static void test_closed_requests_are_never_ready(struct server *server) {
    for (int i = 0; i < 200; i++) {
        struct vllm_request_options options = get_options(server);
        options.url = "http://127.0.0.1:1/"; /* refused at once */
        struct vllm_request *request = add(server, &options);
        if (i % 2 == 0) (void)vllm_engine_step(server->engine, 1);
        vllm_request_close(request, i % 3 == 0);
        CHECK(vllm_engine_ready(server->engine) == NULL);
    }
    CHECK(vllm_engine_live(server->engine) == 0);
    catch_up(server);
}

/* A lookup that hangs delays neither close nor release; and the thread is joined. */
static void test_hanging_lookup(struct server *server) {
    int before = thread_count();
    struct vllm_engine *engine = new_engine();
    struct vllm_request_options options = get_options(server);
    struct vllm_request *request = NULL;
    const char *why;
    options.url = "http://hangs.test/";
    want_hangs(true);
    CHECK_STATUS(vllm_engine_add(engine, &options, &request, &why), VLLM_NET_OK);
    CHECK(await_hanging(1));
    CHECK(thread_count() == before + 2); /* the engine's and the resolver's */
    vllm_request_close(request, false);
    vllm_engine_release(engine);
    CHECK(count_hanging() == 1); /* still */
#if LIBCURL_VERSION_NUM >= 0x075700
    CHECK(await_threads(before + 1)); /* the engine's is gone, the resolver's is not */
#endif
    want_hangs(false);
    CHECK(await_threads(before));
}

/* The thread itself is stuck inside libcurl: close returns at once, release after a bounded wait; and the thread cleans
 * up when it can. */
static void test_stuck_thread(struct server *server) {
    int before = thread_count(), descriptors = descriptor_count();
    struct vllm_engine *engine = new_engine(), *usual = server->engine;
    want_hangs(true);
    server->engine = engine;
    struct vllm_request *request = get(server), *second = get(server);
    CHECK(await_hanging(1));
    vllm_request_close(request, false);
    vllm_request_close(second, true);
    CHECK_STATUS(vllm_engine_step(engine, 0), VLLM_NET_OK);
    vllm_engine_release(engine);
    server->engine = usual;
    CHECK(count_hanging() == 1);
    CHECK(thread_count() == before + 1);
    want_hangs(false);
    CHECK(await_threads(before));
    for (int fd; (fd = accept(server->listener, NULL, NULL)) >= 0;) {
        close(fd);
    }
    CHECK(descriptor_count() == descriptors); /* the engine is freed, by its thread */
}

/* Several states of a host, each in a thread of its own, each with an engine. */
static void *use_an_engine(void *ud) {
    bool *fine = ud;
    struct vllm_engine_options engine_options = {VLLM_ENGINE_THREAD, 4, 0};
    struct vllm_request_options options;
    memset(&options, 0, sizeof options);
    options.url = "http://127.0.0.1:1/";
    options.method = "GET";
    options.proxy = "";
    *fine = true;
    for (int round = 0; round < 5; round++) {
        struct vllm_engine *engine = vllm_engine_new(&engine_options);
        struct vllm_request *requests[8];
        const char *why;
        int failed = 0;
        for (int i = 0; i < 8; i++) {
            *fine = *fine && vllm_engine_add(engine, &options, &requests[i], &why) == VLLM_NET_OK;
        }
        for (int i = 0; i < PATIENCE && failed < 8; i++) {
            (void)vllm_engine_step(engine, 5);
            while (vllm_engine_ready(engine)) {
                failed++;
            }
        }
        *fine = *fine && failed == 8;
        for (int i = 0; i < 8; i++) {
            vllm_request_close(requests[i], i % 2 == 0);
        }
        vllm_engine_release(engine);
    }
    return NULL;
}

static void test_engines_side_by_side(struct server *server) {
    enum { COUNT = 4 };
    pthread_t threads[COUNT];
    bool fine[COUNT];
    (void)server;
    for (int i = 0; i < COUNT; i++) {
        CHECK(pthread_create(&threads[i], NULL, use_an_engine, &fine[i]) == 0);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0 && fine[i]);
    }
}

/* Whatever the parent's thread holds or changes at the moment of a fork, the child never waits and never crashes. */
static int busy_child(struct server *server, struct vllm_request *live) {
    long status;
    const char *bytes;
    size_t len;
    struct vllm_request_info info;
    struct vllm_request_error error;
    if (vllm_request_head(live, &status, &bytes, &len) != VLLM_NET_WAIT) return 1;
    if (vllm_request_read(live, &bytes, &len) != VLLM_NET_WAIT) return 2;
    if (vllm_engine_ready(server->engine) || vllm_engine_live(server->engine) != 0) return 3;
    if (vllm_engine_step(server->engine, -1) != VLLM_NET_FORKED) return 4;
    vllm_engine_alarm(server->engine, 0);
    vllm_request_info(live, &info);
    vllm_request_error(live, &error);
    vllm_request_close(live, true);
    vllm_engine_release(server->engine);
    return 0;
}

static void test_fork_while_busy(struct server *server) {
    static char flood[16384];
    struct vllm_request *live = get(server);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "\r\n");
    CHECK(await_head(server, live, NULL) == 200);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    memset(flood, 'x', sizeof flood);
    size_t sent = 0, got = 0, len;
    const char *bytes;
    for (int i = 0; i < 20; i++) {
        for (int burst = 0; burst < 8; burst++) {
            ssize_t done = send(fd, flood, sizeof flood, MSG_NOSIGNAL);
            sent += done > 0 ? (size_t)done : 0;
        }
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            int bad = busy_child(server, live);
            execl("/bin/sh", "sh", "-c", bad == 0 ? "exit 0" : "exit 1",
                  (char *)NULL); /* no leak check: memory stays */
            _exit(2);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        while (vllm_request_read(live, &bytes, &len) == VLLM_NET_OK) {
            got += len;
        }
    }
    for (int i = 0; i < PATIENCE && got < sent; i++) {
        (void)vllm_engine_step(server->engine, 5);
        while (vllm_request_read(live, &bytes, &len) == VLLM_NET_OK) {
            got += len;
        }
    }
    CHECK(sent > 0 && got == sent);
    vllm_request_close(live, false);
    CHECK(sees_close(server, fd));
    close(fd);
}

static const char *program;

/* exit() with live streams: the handlers of exit find no thread at work, and the server sees the streams end. */
static int exit_while_busy(const char *url) {
    struct server server = {.engine = new_engine()};
    snprintf(server.url, sizeof server.url, "%s", url);
    for (int i = 0; i < 8; i++) {
        (void)get(&server);
    }
    for (;;) {
        (void)vllm_engine_step(server.engine, -1);
        for (struct vllm_request *ready; (ready = vllm_engine_ready(server.engine)) != NULL;) {
            const char *bytes;
            size_t len;
            if (vllm_request_read(ready, &bytes, &len) == VLLM_NET_OK && bytes[len - 1] == 'q') exit(7);
        }
    }
}

static void test_exit_while_busy(struct server *server) {
    int fds[8], status = -1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        execl(program, program, server->url, (char *)NULL);
        _exit(2);
    }
    for (int i = 0; i < 8; i++) {
        fds[i] = server_accept(server);
        CHECK(read_request(server, fds[i], 0));
        send_text(fds[i], HEAD "\r\nx");
    }
    send_text(fds[7], "q");
    for (int i = 0; i < 8; i++) {
        CHECK(sees_close(server, fds[i]));
        close(fds[i]);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

int main(int argc, char **argv) {
    static struct server server;
    engine_test *const tests[] = {
        test_thread_comes_late_and_goes,
        test_signals_are_the_hosts,
        test_one_wakeup_for_many_events,
        test_closed_requests_are_never_ready,
        test_hanging_lookup,
        test_stuck_thread,
        test_engines_side_by_side,
        test_fork_while_busy,
        test_exit_while_busy,
    };
    program = argv[0];
    if (argc == 2) return exit_while_busy(argv[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    server.mode = VLLM_ENGINE_THREAD;
    server_open(&server);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        tests[i](&server);
    }
    server_close(&server);
    return check_report("the engine's thread");
}
