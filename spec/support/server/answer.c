/* Pieces of an answer, and the whole answer as one completion.
 */
#include "answer.h"

#include <string.h>
#include <time.h>

static const struct piece no_piece = {PIECE_NONE, {NULL, 0}, 0};

static struct piece text_piece(struct cursor *c, enum piece_kind kind, const struct bytes *text, enum stage next_stage) {
    size_t length = c->at < text->length ? piece_length(text->data + c->at, text->length - c->at) : 0;
    struct piece piece = {kind, {NULL, 0}, c->call};
    if (length == 0) {
        c->stage = next_stage;
        c->at = 0;
        return no_piece;
    }
    piece.text = (struct slice){text->data + c->at, length};
    c->at += length;
    return piece;
}

static struct piece call_piece(struct cursor *c) {
    const struct call *call = &c->answer->calls[c->call];
    struct piece piece = {PIECE_CALL, {NULL, 0}, c->call};
    if (c->call >= c->answer->call_count) {
        c->stage = AT_FINISH;
        return no_piece;
    }
    if (!c->in_arguments) {
        c->in_arguments = true;
        piece.text = (struct slice){call->name.data, call->name.length};
        return piece;
    }
    piece = text_piece(c, PIECE_ARGUMENTS, &call->arguments, IN_CALLS);
    if (piece.kind == PIECE_NONE) {
        c->call++;
        c->in_arguments = false;
    }
    return piece;
}

struct piece cursor_next(struct cursor *c) {
    struct piece piece = no_piece;
    c->finish = c->answer->finish;
    while (piece.kind == PIECE_NONE && c->stage < AT_FINISH) {
        if (c->stage == IN_REASONING) piece = text_piece(c, PIECE_REASONING, &c->answer->reasoning, IN_TEXT);
        else if (c->stage == IN_TEXT) piece = text_piece(c, PIECE_TEXT, &c->answer->text, IN_CALLS);
        else piece = call_piece(c);
    }
    if (piece.kind == PIECE_NONE) return piece;
    if (c->tokens == c->max_tokens) {
        c->stage = AT_FINISH;
        c->finish = "length";
        return no_piece;
    }
    c->tokens++;
    if (piece.kind == PIECE_REASONING) c->reasoning_tokens++;
    return piece;
}

void add_call_id(struct bytes *out, const struct ask *ask, unsigned long choice, size_t call) {
    bytes_format(out, "\"chatcmpl-tool-%08lx%04lx%04zx\"", ask->id, choice, call);
}

static void add_token(struct bytes *out, struct slice text) {
    bytes_text(out, "\"token\":");
    json_quote(out, text.data, text.length);
    bytes_text(out, ",\"logprob\":-0.5,\"bytes\":[");
    for (size_t i = 0; i < text.length; i++) bytes_format(out, i > 0 ? ",%u" : "%u", (unsigned char)text.data[i]);
    bytes_text(out, "]");
}

void add_logprobs(struct bytes *out, const struct ask *ask, struct slice text) {
    bytes_text(out, "{");
    add_token(out, text);
    bytes_text(out, ",\"top_logprobs\":[");
    for (unsigned long i = 0; i < ask->top_logprobs; i++) {
        char other[2] = {(char)('a' + i % 26), '\0'};
        bytes_text(out, i > 0 ? ",{" : "{");
        add_token(out, i == 0 ? text : (struct slice){other, 1});
        bytes_text(out, "}");
    }
    bytes_text(out, "]}");
}

/* One completion ---------------------------------------------------------------------------------------------------*/

/* A message as far as max_tokens lets it come. */
struct message {
    struct bytes reasoning, text, calls, logprobs;
};

static void add_piece(struct message *m, const struct ask *ask, unsigned long choice, const struct piece *piece) {
    switch (piece->kind) {
    case PIECE_REASONING: bytes_add(&m->reasoning, piece->text.data, piece->text.length); break;
    case PIECE_TEXT:
        bytes_add(&m->text, piece->text.data, piece->text.length);
        if (m->logprobs.length > 0) bytes_text(&m->logprobs, ",");
        add_logprobs(&m->logprobs, ask, piece->text);
        break;
    case PIECE_CALL:
        bytes_text(&m->calls, m->calls.length > 0 ? "\"}},{\"id\":" : "{\"id\":");
        add_call_id(&m->calls, ask, choice, piece->call);
        bytes_text(&m->calls, ",\"type\":\"function\",\"function\":{\"name\":");
        json_quote(&m->calls, piece->text.data, piece->text.length);
        bytes_text(&m->calls, ",\"arguments\":\"");
        break;
    case PIECE_ARGUMENTS: { /* inside a string that stays open until the next call or the end */
        struct bytes quoted = {0};
        json_quote(&quoted, piece->text.data, piece->text.length);
        bytes_add(&m->calls, quoted.data + 1, quoted.length - 2);
        bytes_free(&quoted);
        break;
    }
    case PIECE_NONE: break;
    }
}

static void add_text_or_null(struct bytes *out, const struct bytes *text, bool is_null) {
    if (is_null) bytes_text(out, "null");
    else json_quote(out, text->data, text->length);
}

static void add_choice(struct bytes *out, const struct ask *ask, unsigned long index, struct cursor *cursor) {
    struct message m = {{0}, {0}, {0}, {0}};
    for (struct piece piece; (piece = cursor_next(cursor)).kind != PIECE_NONE;) add_piece(&m, ask, index, &piece);
    bytes_format(out, "%s{\"index\":%lu,\"message\":{\"role\":\"assistant\",\"content\":", index > 0 ? "," : "", index);
    add_text_or_null(out, &m.text, m.calls.length > 0);
    bytes_text(out, ",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null");
    if (m.calls.length > 0) bytes_format(out, ",\"tool_calls\":[%s\"}}]", m.calls.data);
    bytes_text(out, ",\"reasoning\":");
    add_text_or_null(out, &m.reasoning, m.reasoning.length == 0);
    bytes_text(out, "},\"logprobs\":");
    if (ask->logprobs) bytes_format(out, "{\"content\":[%s]}", m.logprobs.length > 0 ? m.logprobs.data : "");
    else bytes_text(out, "null");
    bool stopped = cursor->answer->stop_reason.length > 0 && strcmp(cursor->finish, "stop") == 0;
    bytes_format(out, ",\"finish_reason\":\"%s\",\"stop_reason\":%s,\"token_ids\":null,\"routed_experts\":null}",
                 cursor->finish, stopped ? cursor->answer->stop_reason.data : "null");
    bytes_free(&m.reasoning);
    bytes_free(&m.text);
    bytes_free(&m.calls);
    bytes_free(&m.logprobs);
}

void answer_whole(const struct ask *ask, struct answer *answers, const struct request *r, struct plan *p) {
    struct bytes out = {0};
    unsigned long tokens = 0, reasoning = 0;
    bytes_format(&out, "{\"id\":\"chatcmpl-%016lx\",\"object\":\"chat.completion\",\"created\":%ld,\"model\":", ask->id,
                 (long)time(NULL));
    json_quote(&out, ask->model, strlen(ask->model));
    bytes_text(&out, ",\"choices\":[");
    for (unsigned long i = 0; i < ask->n; i++) {
        struct cursor cursor = {.answer = &answers[i], .max_tokens = ask->max_tokens};
        add_choice(&out, ask, i, &cursor);
        tokens += cursor.tokens;
        reasoning += cursor.reasoning_tokens;
    }
    bytes_format(&out,
                 "],\"service_tier\":null,\"system_fingerprint\":\"vllm-0.32.0-test\",\"usage\":{\"prompt_tokens\":%lu,"
                 "\"total_tokens\":%lu,\"completion_tokens\":%lu,\"prompt_tokens_details\":{\"cached_tokens\":0},"
                 "\"completion_tokens_details\":",
                 ask->prompt_tokens, ask->prompt_tokens + tokens, tokens);
    if (reasoning > 0) bytes_format(&out, "{\"reasoning_tokens\":%lu}", reasoning);
    else bytes_text(&out, "null");
    bytes_text(&out, "},\"prompt_logprobs\":null,\"prompt_token_ids\":null,\"kv_transfer_params\":null}");
    reply(p, r, 200, "application/json", NULL, &out);
    bytes_free(&out);
}
