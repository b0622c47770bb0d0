/* An answer as server-sent events: a role chunk per choice, the choices' pieces in turn, a finish chunk each, usage
 * where it was asked for, [DONE]. One event is one HTTP chunk and one write.
 */
#include "answer.h"

#include <string.h>
#include <time.h>

struct stream {
    const struct ask *ask;
    struct plan *plan;
    struct bytes begin; /* every chunk's beginning */
    unsigned long tokens, reasoning_tokens;
    bool paced;
};

static void send_event(struct stream *s, struct bytes *json) {
    struct bytes event = {0};
    bytes_format(&event, "data: %s\n\n", json->data);
    if (s->paced) plan_wait(s->plan, s->ask->pace_ms);
    s->paced = true;
    plan_chunk(s->plan, event.data, event.length);
    bytes_free(&event);
    bytes_clear(json);
}

static void add_usage(struct bytes *out, const struct stream *s, unsigned long tokens) {
    bytes_format(out, ",\"usage\":{\"prompt_tokens\":%lu,\"total_tokens\":%lu,\"completion_tokens\":%lu", s->ask->prompt_tokens,
                 s->ask->prompt_tokens + tokens, tokens);
    if (s->reasoning_tokens > 0)
        bytes_format(out, ",\"completion_tokens_details\":{\"reasoning_tokens\":%lu}", s->reasoning_tokens);
    bytes_text(out, "}");
}

static void begin_chunk(struct bytes *out, const struct stream *s, unsigned long choice) {
    bytes_add(out, s->begin.data, s->begin.length);
    bytes_format(out, "[{\"index\":%lu,\"delta\":", choice);
}

static void add_delta(struct bytes *out, const struct stream *s, unsigned long choice, const struct piece *piece) {
    bool start = piece->kind == PIECE_CALL;
    switch (piece->kind) {
    case PIECE_REASONING: bytes_text(out, "{\"reasoning\":"); break;
    case PIECE_TEXT: bytes_text(out, "{\"content\":"); break;
    default:
        bytes_text(out, "{\"content\":null,\"tool_calls\":[{");
        if (start) {
            bytes_text(out, "\"id\":");
            add_call_id(out, s->ask, choice, piece->call);
            bytes_text(out, ",\"type\":\"function\",");
        }
        bytes_format(out, "\"index\":%zu,\"function\":{\"%s\":", piece->call, start ? "name" : "arguments");
    }
    json_quote(out, piece->text.data, piece->text.length);
    bytes_text(out, piece->kind == PIECE_REASONING || piece->kind == PIECE_TEXT ? "}" : "}}]}");
}

static void send_role(struct stream *s, unsigned long choice) {
    struct bytes out = {0};
    begin_chunk(&out, s, choice);
    bytes_text(&out, "{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]"
                     ",\"prompt_token_ids\":null,\"prompt_text\":null");
    if (s->ask->usage_always) add_usage(&out, s, 0);
    bytes_text(&out, "}");
    send_event(s, &out);
    bytes_free(&out);
}

static void send_piece(struct stream *s, unsigned long choice, const struct piece *piece, const struct cursor *cursor) {
    struct bytes out = {0};
    begin_chunk(&out, s, choice);
    add_delta(&out, s, choice, piece);
    bytes_text(&out, ",\"logprobs\":");
    if (s->ask->logprobs && piece->kind == PIECE_TEXT) {
        bytes_text(&out, "{\"content\":[");
        add_logprobs(&out, s->ask, piece->text);
        bytes_text(&out, "]}");
    } else {
        bytes_text(&out, "null");
    }
    bytes_text(&out, ",\"finish_reason\":null,\"token_ids\":null}]");
    if (s->ask->usage_always) add_usage(&out, s, cursor->tokens);
    bytes_text(&out, "}");
    send_event(s, &out);
    bytes_free(&out);
}

static void send_finish(struct stream *s, unsigned long choice, const struct cursor *cursor) {
    struct bytes out = {0};
    const struct bytes *reason = &cursor->answer->stop_reason;
    bool stopped = reason->length > 0 && strcmp(cursor->finish, "stop") == 0;
    begin_chunk(&out, s, choice);
    bytes_format(&out, "{},\"logprobs\":null,\"finish_reason\":\"%s\",\"stop_reason\":%s,\"token_ids\":null}]", cursor->finish,
                 stopped ? reason->data : "null");
    if (s->ask->usage_always) add_usage(&out, s, cursor->tokens);
    bytes_text(&out, "}");
    send_event(s, &out);
    bytes_free(&out);
    s->tokens += cursor->tokens;
    s->reasoning_tokens += cursor->reasoning_tokens;
}

/* One move of one choice; false where it has nothing more. */
static bool send_next(struct stream *s, unsigned long choice, struct cursor *cursor) {
    if (cursor->stage == AT_NOTHING) return false;
    struct piece piece = cursor_next(cursor);
    if (piece.kind != PIECE_NONE) {
        send_piece(s, choice, &piece, cursor);
        return true;
    }
    send_finish(s, choice, cursor);
    cursor->stage = AT_NOTHING;
    return true;
}

static void send_end(struct stream *s) {
    struct bytes out = {0};
    if (s->ask->usage) {
        bytes_add(&out, s->begin.data, s->begin.length);
        bytes_text(&out, "[]");
        add_usage(&out, s, s->tokens);
        bytes_text(&out, ",\"system_fingerprint\":\"vllm-0.32.0-test\"}");
        send_event(s, &out);
    }
    bytes_text(&out, "[DONE]");
    send_event(s, &out);
    plan_send(s->plan, "0\r\n\r\n", 5);
    bytes_free(&out);
}

void answer_stream(const struct ask *ask, struct answer *answers, const struct request *r, struct plan *p) {
    struct stream s = {.ask = ask, .plan = p};
    struct cursor cursors[MAX_CHOICES] = {{0}};
    bool more = true;
    bytes_format(&s.begin, "{\"id\":\"chatcmpl-%016lx\",\"object\":\"chat.completion.chunk\",\"created\":%ld,\"model\":",
                 ask->id, (long)time(NULL));
    json_quote(&s.begin, ask->model, strlen(ask->model));
    bytes_text(&s.begin, ",\"choices\":");
    reply_stream(p, r);
    for (unsigned long i = 0; i < ask->n; i++) {
        cursors[i].answer = &answers[i];
        cursors[i].max_tokens = ask->max_tokens;
        send_role(&s, i);
    }
    while (more) {
        more = false;
        for (unsigned long i = 0; i < ask->n; i++) more = send_next(&s, i, &cursors[i]) || more;
    }
    send_end(&s);
    bytes_free(&s.begin);
}
