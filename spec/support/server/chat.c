/* POST …/v1/chat/completions of the scripted model: checks the request as vLLM does, in vLLM's words, and answers it.
 * pace_ms=P in the query waits between two chunks. Whatever the model is called, it answers, but "nope" is not served.
 */
#include "server.h"
#include "answer.h"

#include <string.h>

/* {"error":{"message":…,"type":…,"param":…,"code":…}} */
static bool refuse(struct plan *p, const struct request *r, int status, const char *type, const char *param,
                   const char *message) {
    struct bytes body = {0};
    bytes_text(&body, "{\"error\":{\"message\":");
    json_quote(&body, message, strlen(message));
    bytes_format(&body, ",\"type\":\"%s\",\"param\":", type);
    if (param != NULL) json_quote(&body, param, strlen(param));
    else bytes_text(&body, "null");
    bytes_format(&body, ",\"code\":%d}}", status);
    reply(p, r, status, "application/json", NULL, &body);
    bytes_free(&body);
    return false;
}

static bool refuse_body(struct plan *p, const struct request *r, size_t wrong_at) {
    struct bytes message = {0}, param = {0};
    bytes_format(&param, "body.%zu", wrong_at);
    bytes_format(&message,
                 "1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.%zu', 'msg': 'JSON decode error', "
                 "'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}",
                 wrong_at);
    refuse(p, r, 400, "Bad Request", param.data, message.data);
    bytes_free(&message);
    bytes_free(&param);
    return false;
}

static bool tool_is_offered(const struct json *tools, const char *wanted) {
    const char *name = NULL;
    for (const struct json *at = tools->child; at != NULL; at = at->next)
        if (tool_function(at, &name) != NULL && wanted != NULL && strcmp(name, wanted) == 0) return true;
    return false;
}

static bool check_tools(struct plan *p, const struct request *r, struct ask *ask) {
    const struct json *tools = json_member(ask->body, "tools"), *choice = json_member(ask->body, "tool_choice");
    if (json_is(tools, JSON_ARRAY) && tools->child == NULL)
        return refuse(p, r, 400, "BadRequestError", "tools",
                      "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely. "
                      "(parameter=tools)");
    if (tools == NULL && choice != NULL && (json_string(choice) == NULL || strcmp(json_string(choice), "none") != 0))
        return refuse(p, r, 400, "BadRequestError", "tool_choice",
                      "When using `tool_choice`, `tools` must be set. (parameter=tool_choice)");
    if (json_is(choice, JSON_OBJECT) &&
        !tool_is_offered(tools, json_string(json_member(json_member(choice, "function"), "name"))))
        return refuse(p, r, 400, "BadRequestError", "tool_choice",
                      "The tool specified in `tool_choice` does not match any of the specified `tools` "
                      "(parameter=tool_choice)");
    ask->tools = json_is(tools, JSON_ARRAY) ? tools : NULL;
    return true;
}

static bool check(struct plan *p, const struct request *r, struct ask *ask) {
    const struct json *body = ask->body;
    size_t length = 0;
    const char *type = request_header(r, "content-type", &length);
    if (type == NULL || strncmp(type, "application/json", 16) != 0)
        return refuse(p, r, 400, "Bad Request", NULL,
                      "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed");
    ask->messages = json_member(body, "messages");
    if (!json_is(ask->messages, JSON_ARRAY))
        return refuse(p, r, 400, "Bad Request", "body.messages",
                      "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', "
                      "'input': '<dict of 1 items>'}");
    if (ask->messages->child == NULL)
        return refuse(p, r, 400, "BadRequestError", NULL,
                      "Cannot apply chat template to an empty conversation. Provide at least one message.");
    if (ask->model != NULL && strcmp(ask->model, "nope") == 0)
        return refuse(p, r, 404, "NotFoundError", "model",
                      "The model `nope` does not exist. Valid aliases: test-model.");
    if (json_member(body, "stream_options") != NULL && !ask->stream)
        return refuse(p, r, 400, "BadRequestError", "stream_options",
                      "Stream options can only be defined when `stream=True`. (parameter=stream_options)");
    if (ask->n < 1 || ask->n > MAX_CHOICES)
        return refuse(p, r, 400, "BadRequestError", "n", "n must be between 1 and 16. (parameter=n)");
    if (ask->max_tokens == 0)
        return refuse(p, r, 400, "BadRequestError", "max_completion_tokens",
                      "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)");
    if (ask->top_logprobs > 20)
        return refuse(p, r, 400, "BadRequestError", "top_logprobs",
                      "Requested sample logprobs exceeds the maximum of 20. (parameter=top_logprobs)");
    return check_tools(p, r, ask);
}

static void read_ask(struct ask *ask, const struct request *r, const struct json *body) {
    const struct json *options = json_member(body, "stream_options"), *messages = json_member(body, "messages");
    struct bytes text = {0};
    ask->body = body;
    ask->model = json_string(json_member(body, "model"));
    ask->stream = json_is(json_member(body, "stream"), JSON_TRUE);
    ask->usage = json_is(json_member(options, "include_usage"), JSON_TRUE);
    ask->usage_always = json_is(json_member(options, "continuous_usage_stats"), JSON_TRUE);
    ask->logprobs = json_is(json_member(body, "logprobs"), JSON_TRUE);
    ask->top_logprobs = json_count(json_member(body, "top_logprobs"), 0);
    ask->n = json_count(json_member(body, "n"), 1);
    ask->max_tokens = json_count(json_member(body, "max_tokens"), 100000);
    ask->max_tokens = json_count(json_member(body, "max_completion_tokens"), ask->max_tokens);
    ask->pace_ms = request_number(r, "pace_ms", 0);
    bytes_add(&ask->prompt, "", 0);
    for (const struct json *at = json_is(messages, JSON_ARRAY) ? messages->child : NULL; at != NULL; at = at->next) {
        const char *role = json_string(json_member(at, "role"));
        bytes_clear(&text);
        message_text(&text, at);
        ask->prompt_tokens += 4 + piece_count(text.data, text.length);
        if (role == NULL || strcmp(role, "user") != 0) continue;
        bytes_clear(&ask->prompt);
        bytes_add(&ask->prompt, text.data, text.length);
    }
    bytes_free(&text);
}

void chat_route(struct server *s, struct request *r, struct plan *p) {
    struct ask ask = {0};
    size_t wrong_at = 0;
    struct json *body = json_parse(r->body.data, r->body.length, &wrong_at);
    if (!json_is(body, JSON_OBJECT)) {
        refuse_body(p, r, wrong_at);
        json_free(body);
        return;
    }
    read_ask(&ask, r, body);
    if (check(p, r, &ask)) {
        struct answer answers[MAX_CHOICES];
        ask.id = ++s->last_completion;
        if (ask.model == NULL) ask.model = "test-model";
        for (unsigned long i = 0; i < ask.n; i++) answer_make(&answers[i], &ask, i);
        if (ask.stream) answer_stream(&ask, answers, r, p);
        else answer_whole(&ask, answers, r, p);
        for (unsigned long i = 0; i < ask.n; i++) answer_free(&answers[i]);
    }
    bytes_free(&ask.prompt);
    json_free(body);
}
