#ifndef TEST_SERVER_H
#define TEST_SERVER_H

#include "bytes.h"
#include "http.h"
#include "log.h"
#include "plan.h"

#include <stdbool.h>
#include <stdint.h>

#include <openssl/ssl.h>

struct options {
    unsigned long port, idle_s;
    const char *unix_path, *fixtures, *key; /* NULL: no Unix socket, spec/fixtures, no key */
    bool tls, mtls, deaf;
};

enum source_kind { SOURCE_SIGNAL, SOURCE_OUTPUT, SOURCE_TCP, SOURCE_UNIX, SOURCE_TLS, SOURCE_MTLS, SOURCE_CONNECTION };

/* What an epoll event points to. */
struct source {
    enum source_kind kind;
    int fd;
};

enum { MAX_LISTENERS = 4 };

/* The certificates made at the start, as files for clients. */
struct tls_files {
    char ca[128], cert[128], key[128];
};

struct script;

struct server {
    struct options options;
    int epoll;
    struct source signals, output, listeners[MAX_LISTENERS];
    int listener_count;
    SSL_CTX *tls, *mtls;
    struct tls_files files;
    struct connection *connections;
    struct connection **timers; /* a binary heap by wake_ms, [1] first */
    size_t timer_count, timer_capacity;
    unsigned long last_connection, last_completion;
    int64_t busy_ms; /* when somebody last was here */
    struct log log;
    struct script *scripts;
    unsigned long last_script;
    bool ended;
};

struct connection {
    struct source source;
    struct server *server;
    enum source_kind via;
    SSL *tls;
    uint32_t interest; /* what epoll watches for */
    unsigned long id;
    enum { HANDSHAKING, READING, PLAYING, DRAINING } phase;
    struct bytes in;
    struct request request;
    struct plan plan;
    size_t step, sent; /* the step being played, and how much of it is written */
    unsigned long loops;
    int64_t due_ms;
    int64_t wake_ms;
    size_t timer; /* index in the heap; 0: none */
    bool control; /* its last request was about the log or a script: not logged */
    unsigned long requests;
    uint64_t bytes_sent;
    int64_t opened_ms, wrote_ms;
    struct connection *next, **link;
};

int64_t now_ms(void); /* monotonic */

/* loop.c */
void server_run(struct server *s);
void server_watch(struct server *s, struct source *source, uint32_t interest);
void timer_set(struct connection *c, int64_t wake_ms);
void timer_clear(struct connection *c);

/* connection.c */
void connection_open(struct server *s, const struct source *listener);
void connection_event(struct connection *c, uint32_t events);
void connection_run(struct connection *c); /* goes on as far as it can; may free c */
void connection_free(struct connection *c);

/* stream_io.c: bytes moved, IO_AGAIN (then c->interest says what to wait for) or IO_END. */
enum { IO_AGAIN = -1, IO_END = -2 };
long connection_handshake(struct connection *c);
long connection_read(struct connection *c, char *data, size_t capacity);
long connection_write(struct connection *c, const char *data, size_t length);
void connection_end_writing(struct connection *c, bool notify);
void connection_wants(struct connection *c, uint32_t interest);

/* tls.c */
void tls_start(struct server *s);
void tls_stop(struct server *s);

/* client.c: `test-server --send …` */
int client_main(int count, char **arguments);

/* routes.c: the plan that answers a request. */
void route(struct server *s, struct request *r, struct plan *p);
bool route_is_control(const struct request *r);

/* The rooms behind it. Each returns false where the path is not its own. */
bool replay_route(struct server *s, struct request *r, struct plan *p);
bool fault_route(struct request *r, struct plan *p);
bool load_route(struct request *r, struct plan *p);
bool script_route(struct server *s, struct request *r, struct plan *p);
void scripts_free(struct server *s);
void chat_route(struct server *s, struct request *r, struct plan *p);

#endif
