/* Path and query → plan. Everything is stateless but the log and the scripts.
 *
 *   …/v1/chat/completions   the scripted model (chat.c); also /v1/models, /health, /version, /metrics, /tokenize
 *   /replay/SET/NAME        a recorded response (replay.c)
 *   /fault/NAME             a ready-made fault (fault.c)
 *   /load                   a long stream for benchmarks (load.c)
 *   /script, /run/ID        steps chosen by the client (script.c)
 *   /log, /log/last, /log/clear   what the server saw, as JSON (/log?as=lua: as Lua); the last body that was sent
 *   CONNECT status-NNN.…    a proxy that refuses a tunnel with that status (http.c)
 * On all of them: delay_ms=N before the first byte; early=1: answered before the body is read, then closed.
 */
#include "server.h"

#include <stdio.h>
#include <string.h>

static bool log_route(struct server *s, struct request *r, struct plan *p) {
    struct bytes text = {0};
    if (strncmp(r->path, "/log", 4) != 0) return false;
    if (strcmp(r->path, "/log/last") == 0) {
        reply(p, r, 200, "application/octet-stream", NULL, &s->log.last_body);
    } else if (strcmp(r->path, "/log/clear") == 0) {
        log_clear(&s->log);
        reply_text(p, r, 200, "text/plain", "");
    } else {
        bool as_lua = strcmp(r->query, "as=lua") == 0;
        log_write(&s->log, &text, as_lua);
        reply(p, r, 200, as_lua ? "text/plain" : "application/json", NULL, &text);
    }
    bytes_free(&text);
    return true;
}

bool route_is_control(const struct request *r) {
    return strncmp(r->path, "/log", 4) == 0 || strcmp(r->path, "/script") == 0 || strcmp(r->path, "/metrics") == 0;
}

static unsigned long running(const struct server *s) {
    unsigned long count = 0;
    for (const struct connection *c = s->connections; c != NULL; c = c->next)
        if (c->phase == PLAYING && !c->control) count++;
    return count;
}

static void models_reply(struct request *r, struct plan *p) {
    reply_text(p, r, 200, "application/json",
               "{\"object\":\"list\",\"data\":[{\"id\":\"test-model\",\"object\":\"model\",\"created\":1795379430,"
               "\"owned_by\":\"vllm\",\"root\":\"test-model\",\"parent\":null,\"max_model_len\":2048,\"permission\":[]}]}");
}

static void metrics_reply(struct server *s, struct request *r, struct plan *p) {
    struct bytes text = {0};
    bytes_format(&text,
                 "# TYPE vllm:num_requests_running gauge\n"
                 "vllm:num_requests_running{engine=\"0\",model_name=\"test-model\"} %lu.0\n",
                 running(s));
    reply(p, r, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, &text);
    bytes_free(&text);
}

/* One token per word, numbered by its place. */
static void tokenize_reply(struct request *r, struct plan *p) {
    struct bytes text = {0};
    unsigned long count = 0;
    for (const char *at = r->body.data; at != NULL && *(at += strspn(at, " \t\r\n")) != '\0'; count++)
        at += strcspn(at, " \t\r\n");
    bytes_format(&text, "{\"count\":%lu,\"max_model_len\":2048,\"tokens\":[", count);
    for (unsigned long i = 0; i < count; i++) bytes_format(&text, i > 0 ? ",%lu" : "%lu", i + 1);
    bytes_text(&text, "],\"token_strs\":null}");
    reply(p, r, 200, "application/json", NULL, &text);
    bytes_free(&text);
}

static bool key_is_right(const struct server *s, const struct request *r) {
    size_t length = 0;
    if (s->options.key == NULL || strncmp(r->path, "/v1", 3) != 0) return true;
    const char *value = request_header(r, "authorization", &length), *key = s->options.key;
    return value != NULL && length == 7 + strlen(key) && strncmp(value, "Bearer ", 7) == 0 &&
           strncmp(value + 7, key, length - 7) == 0;
}

static void model_server_route(struct server *s, struct request *r, struct plan *p) {
    bool get = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
    bool chat = path_ends(r, "/v1/chat/completions");
    if (!key_is_right(s, r)) reply_text(p, r, 401, "application/json", "{\"error\":\"Unauthorized\"}");
    else if (chat && !get) chat_route(s, r, p);
    else if (chat) reply_text(p, r, 405, "application/json", "{\"detail\":\"Method Not Allowed\"}");
    else if (get && path_ends(r, "/v1/models")) models_reply(r, p);
    else if (get && strcmp(r->path, "/health") == 0) reply_text(p, r, 200, NULL, "");
    else if (get && strcmp(r->path, "/version") == 0)
        reply_text(p, r, 200, "application/json", "{\"version\":\"0.32.0\"}");
    else if (get && strcmp(r->path, "/metrics") == 0) metrics_reply(s, r, p);
    else if (!get && strcmp(r->path, "/tokenize") == 0) tokenize_reply(r, p);
    else reply_text(p, r, 404, "application/json", "{\"detail\":\"Not Found\"}");
}

void route(struct server *s, struct request *r, struct plan *p) {
    plan_wait(p, request_number(r, "delay_ms", 0));
    if (log_route(s, r, p) || replay_route(s, r, p) || fault_route(r, p) || load_route(r, p) || script_route(s, r, p))
        return;
    model_server_route(s, r, p);
}
