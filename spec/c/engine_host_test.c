/* The engine and the process around it: unix sockets, proxies, signals, forks, descriptors. */
#define _GNU_SOURCE
#include "engine_peer.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "../../src/net/signals.h"

static void test_unix_socket(struct server *server) {
    struct sockaddr_un address;
    struct server local = *server;
    struct vllm_request_options options = get_options(server);
    char text[8], directory[] = "/tmp/vllm-engine-XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", directory);
    local.listener = listen_on((struct sockaddr *)&address, sizeof address);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* not meant for a unix socket */
    options.url = "http://vllm.local/v1";
    options.proxy = NULL;
    options.unix_socket = address.sun_path;
    struct vllm_request *request = add(server, &options);
    int fd = server_accept(&local);
    CHECK(read_request(&local, fd, 0));
    CHECK(request_begins(&local, "GET /v1 HTTP/1.1\r\nHost: vllm.local\r\n"));
    send_text(fd, HEAD "Content-Length: 2\r\n\r\nok");
    CHECK_STATUS(read_all(server, request, text, sizeof text), VLLM_NET_END);
    CHECK(strcmp(text, "ok") == 0);
    vllm_request_close(request, true);
    unsetenv("http_proxy");
    close(fd);
    close(local.listener);
    unlink(address.sun_path);
    rmdir(directory);
}

/* The server plays the proxy; its CONNECT answer must not be taken for the server's. */
static void test_proxy(struct server *server) {
    struct vllm_request_options options = get_options(server);
    struct vllm_request_error error;
    options.proxy = server->url;
    options.url = "http://elsewhere.test/v1";
    struct vllm_request *request = add(server, &options);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    CHECK(request_begins(server, "GET http://elsewhere.test/v1 HTTP/1.1\r\n"));
    send_text(fd, HEAD "Content-Length: 0\r\n\r\n");
    CHECK(await_head(server, request, NULL) == 200);
    vllm_request_close(request, false);
    close(fd);

    options.url = "https://elsewhere.test/v1";
    request = add(server, &options);
    fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    CHECK(request_begins(server, "CONNECT elsewhere.test:443 HTTP/1.1\r\n"));
    send_text(fd, "HTTP/1.1 403 Forbidden\r\nX-Proxy: no\r\nContent-Length: 0\r\n\r\n");
    CHECK(await_head(server, request, NULL) == 0);
    CHECK_STATUS(error_code(request, &error), 56);
    CHECK(strstr(error.text, "403") != NULL);
    vllm_request_close(request, false);
    close(fd);

    options.no_proxy = "127.0.0.1";
    options.url = server->url;
    options.proxy = "http://127.0.0.1:1";
    request = add(server, &options);
    fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    CHECK(request_begins(server, "GET /v1 "));
    vllm_request_close(request, false);
    close(fd);
}

static bool asks_for_a_step(struct server *server, int timeout_ms) {
    struct pollfd ready = {vllm_engine_fd(server->engine), POLLIN, 0};
    return poll(&ready, 1, timeout_ms) == 1;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void test_alarm(struct server *server) {
    settle(server);
    CHECK(!asks_for_a_step(server, 0));
    int64_t at = now_ns() + 20000000;
    vllm_engine_alarm(server->engine, at);
    CHECK(asks_for_a_step(server, 10000)); /* the descriptor says so, and stays readable until the step */
    CHECK(now_ns() >= at);
    CHECK_STATUS(vllm_engine_step(server->engine, 0), VLLM_NET_OK);
    CHECK(!asks_for_a_step(server, 0)); /* once */

    at = now_ns() + 20000000;
    vllm_engine_alarm(server->engine, at);
    while (now_ns() < at) {
        CHECK_STATUS(vllm_engine_step(server->engine, -1), VLLM_NET_OK); /* a wait without end ends */
    }
    vllm_engine_alarm(server->engine, 0); /* long past */
    CHECK(asks_for_a_step(server, 10000));
    vllm_engine_alarm(server->engine, VLLM_ENGINE_NO_ALARM);
    (void)vllm_engine_step(server->engine, 0);
    vllm_engine_alarm(server->engine, now_ns() + (int64_t)1000000000000);
    vllm_engine_alarm(server->engine, now_ns() + 1000000); /* the last one counts */
    CHECK(asks_for_a_step(server, 10000));
    CHECK_STATUS(vllm_engine_step(server->engine, 0), VLLM_NET_OK);
}

/* Who still needs the descriptor watched; and that it is readable whenever a step is due. */
static void test_live(struct server *server) {
    CHECK(vllm_engine_live(server->engine) == 0);
    struct vllm_request *first = get(server), *second = get(server);
    if (is_inline(server)) CHECK(asks_for_a_step(server, 1000));
    CHECK(vllm_engine_live(server->engine) == 2);
    vllm_request_close(second, false);
    CHECK(vllm_engine_live(server->engine) == 1);
    if (is_inline(server)) CHECK(asks_for_a_step(server, 1000)); /* the other one is still to start */
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "Content-Length: 4\r\n\r\nab");
    CHECK(await_head(server, first, NULL) == 200);
    vllm_request_close(first, true);
    CHECK(vllm_engine_live(server->engine) == (is_inline(server) ? 1 : 0)); /* it drains, and a thread needs no help */
    send_text(fd, "cd");
    if (is_inline(server)) CHECK(asks_for_a_step(server, 10000));
    for (int i = 0; i < PATIENCE && vllm_engine_live(server->engine) > 0; i++) {
        (void)vllm_engine_step(server->engine, 5);
    }
    CHECK(vllm_engine_live(server->engine) == 0);
    first = get(server); /* on the same connection */
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "Content-Length: 4\r\n\r\nab");
    CHECK(await_head(server, first, NULL) == 200);
    vllm_request_close(first, true);
    if (is_inline(server))
        CHECK(asks_for_a_step(server, 10000)); /* a drain that does not end asks for the step that ends it */
    vllm_request_close(get(server), false);
    CHECK(sees_close(server, fd));
    close(fd);
}

static void on_alarm(int number) {
    (void)number;
}

static void test_signal_ends_a_wait(struct server *server) {
    struct sigaction action, old;
    struct itimerval soon;
    memset(&action, 0, sizeof action);
    memset(&soon, 0, sizeof soon);
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, &old);
    soon.it_value.tv_usec = soon.it_interval.tv_usec = 20000; /* again and again: one may come before the wait */
    setitimer(ITIMER_REAL, &soon, NULL);
    enum vllm_net_status status = VLLM_NET_OK;
    while (status == VLLM_NET_OK) {
        status = vllm_engine_step(server->engine, -1);
    }
    CHECK_STATUS(status, VLLM_NET_INTERRUPTED);
    memset(&soon, 0, sizeof soon);
    setitimer(ITIMER_REAL, &soon, NULL);
    sigaction(SIGALRM, &old, NULL);
}

static void test_sigint_trap(struct server *server) {
    struct sigaction ours, old, after;
    memset(&ours, 0, sizeof ours);
    ours.sa_handler = on_alarm;
    sigaction(SIGINT, &ours, &old);
    CHECK(vllm_sigint_trap() && vllm_sigint_trap());
    for (int round = 0; round < 3; round++) { /* not only the first time */
        CHECK(!vllm_sigint_caught());
        raise(SIGINT);
        CHECK(vllm_sigint_pending());
        CHECK_STATUS(vllm_engine_step(server->engine, -1), VLLM_NET_INTERRUPTED); /* it came before the wait */
        CHECK_STATUS(vllm_engine_step(server->engine, 0), VLLM_NET_OK);
        CHECK(vllm_sigint_caught() && !vllm_sigint_caught());
    }
    vllm_sigint_release();
    sigaction(SIGINT, NULL, &after);
    CHECK(after.sa_handler != on_alarm);
    vllm_sigint_release();
    vllm_sigint_release(); /* one too many */
    sigaction(SIGINT, &old, &after);
    CHECK(after.sa_handler == on_alarm);
}

/* A write to a closed pipe inside the guard raises no signal, and the process's own rules come back. */
static void test_sigpipe_guard(void) {
    int ends[2];
    sigset_t mask;
    struct vllm_sigpipe guard;
    CHECK(pipe(ends) == 0);
    close(ends[0]);
    vllm_sigpipe_hold(&guard);
    CHECK(write(ends[1], "x", 1) == -1 && errno == EPIPE);
    vllm_sigpipe_restore(&guard); /* with the default action, a leak would end this program here */
    close(ends[1]);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, SIGPIPE) == 0);
}

/* Ends a forked child through an exec, since a leak check at its exit would find what it leaves to libcurl on
 * purpose. */
static void leave(int status) {
    execl("/bin/sh", "sh", "-c", status == 0 ? "exit 0" : "exit 1", (char *)NULL);
    _exit(2);
}

static int in_the_child(struct server *server, struct vllm_request *live, struct vllm_request *done) {
    struct vllm_request_options options = get_options(server);
    struct vllm_request *request = NULL;
    const char *why;
    if (vllm_engine_fd(server->engine) != -1 || vllm_engine_live(server->engine) != 0) return 1;
    vllm_engine_alarm(server->engine, 0); /* must not touch the parent's timer */
    if (vllm_engine_step(server->engine, -1) != VLLM_NET_FORKED) return 2;
    if (vllm_engine_add(server->engine, &options, &request, &why) != VLLM_NET_FORKED || request) return 3;
    vllm_request_close(done, true);
    vllm_request_close(live, false);
    vllm_engine_release(server->engine);
    return 0;
}

/* The child's clean-up neither breaks nor keeps open what the parent has. */
static void test_fork(struct server *server) {
    struct vllm_request *done = get(server);
    int status = -1;
    char text[16];
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "Content-Length: 4\r\n\r\ndone");
    CHECK(await_head(server, done, NULL) == 200);
    struct vllm_request *live = get(server); /* on the same connection */
    CHECK(read_request(server, fd, 0));
    send_text(fd, HEAD "Content-Length: 4\r\n\r\nab");
    CHECK(await_head(server, live, NULL) == 200);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) leave(in_the_child(server, live, done));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    send_text(fd, "cd");
    CHECK_STATUS(read_all(server, live, text, sizeof text), VLLM_NET_END);
    CHECK(strcmp(text, "abcd") == 0);

    int hold[2]; /* a child that lives on, and holds copies of everything, delays no close */
    CHECK(pipe(hold) == 0);
    vllm_request_close(done, false);
    struct vllm_request *third = get(server);
    CHECK(read_request(server, fd, 0));
    child = fork();
    if (child == 0) {
        char byte;
        close(hold[1]);
        leave(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(hold[0]);
    vllm_request_close(third, false);
    CHECK(sees_close(server, fd));
    close(hold[1]);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    vllm_request_close(live, false);
    close(fd);
}

/* What a daemon does: everything is closed, and its own files and another engine take the numbers. */
static int be_a_daemon(struct server *server, struct vllm_request *live) {
    enum { COUNT = 64 };
    for (int i = 3; i < COUNT; i++) {
        close(i);
    }
    struct vllm_engine *own = vllm_engine_new(&(struct vllm_engine_options){server->mode, 4, 0});
    if (!own) return 1;
    for (int fd = 0; fd < COUNT - 1;) {
        fd = dup(2);
        if (fd < 0) return 2;
    }
    vllm_request_close(live, false);
    vllm_engine_release(server->engine);
    for (int i = 3; i < COUNT; i++) {
        if (fcntl(i, F_GETFD) < 0) return 3;
    }
    vllm_engine_release(own);
    return 0;
}

static void test_a_daemon_keeps_its_own(struct server *server) {
    int status = -1;
    struct vllm_request *live = get(server);
    int fd = server_accept(server);
    CHECK(read_request(server, fd, 0));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        leave(be_a_daemon(server, live));
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    vllm_request_close(live, false);
    close(fd);
}

/* Connections, epoll sets and timers: libcurl has pairs of sockets of its own. */
static int count_of_engines(int but) {
    int count = 0;
    for (int i = 3; i < 256; i++) {
        struct sockaddr_in peer;
        socklen_t len = sizeof peer;
        char path[64], name[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", i);
        bool found = readlink(path, name, sizeof name - 1) > 0 && i != but;
        count += found && (strcmp(name, "anon_inode:[eventpoll]") == 0 || strcmp(name, "anon_inode:[timerfd]") == 0 ||
                           (getpeername(i, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET));
    }
    return count;
}

static void test_a_child_holds_no_copies(struct server *server) {
    int status = -1;
    struct vllm_request *live = get(server);
    int fd = server_accept(server), bell = vllm_engine_fd(server->engine);
    CHECK(read_request(server, fd, 0) && count_of_engines(fd) > 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) leave(count_of_engines(fd) + (fcntl(bell, F_GETFD) >= 0));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    vllm_request_close(live, false);
    close(fd);
}

/* Nothing that the engine opens survives an exec. */
static void test_descriptors_are_close_on_exec(struct server *server) {
    struct vllm_request *request = get(server);
    int fd = server_accept(server), checked = 0;
    for (int i = 3; i < 256; i++) {
        int flags = fcntl(i, F_GETFD);
        if (flags < 0 || i == fd || i == server->listener) continue;
        struct sockaddr_in peer;
        socklen_t len = sizeof peer;
        char path[64], name[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", i);
        bool ours = (readlink(path, name, sizeof name - 1) > 0 && strncmp(name, "anon_inode:", 11) == 0) ||
                    i == vllm_engine_fd(server->engine) ||
                    (getpeername(i, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET);
        if (!ours) continue;
        checked++;
        CHECK((flags & FD_CLOEXEC) != 0);
    }
    CHECK(checked >= 2);
    vllm_request_close(request, false);
    close(fd);
}

int main(void) {
    engine_test *const tests[] = {
        test_unix_socket,        test_proxy,       test_alarm, test_live,
        test_signal_ends_a_wait, test_sigint_trap, test_fork,  test_descriptors_are_close_on_exec,
        test_a_daemon_keeps_its_own, test_a_child_holds_no_copies,
    };
    run_tests(tests, sizeof tests / sizeof *tests);
    test_sigpipe_guard();
    return check_report("engine and host");
}
