/* What the scripted model answers. Deterministic; the same request gives the same answer.
 *
 *   last message is a tool's    a text that uses every result since the last assistant message
 *   tools, and one fits         calls of it: one per name in the prompt ("Paris and Rome"), or one after the other with
 *                               parallel_tool_calls false. It fits if chosen, or if its name, description or an
 *                               enumerated value of its parameters occurs in the prompt; "required" takes the first
 *   response_format, structured_outputs   JSON that fits the schema; the first choice
 *   else                        a text that repeats the prompt
 * A model whose name has "reason" in it thinks first.
 */
#define _GNU_SOURCE
#include "model.h"

#include <string.h>

#define ECHO_BYTES 2000

void message_text(struct bytes *out, const struct json *message) {
    const struct json *content = json_member(message, "content");
    bytes_add(out, "", 0);
    if (json_string(content) != NULL) bytes_add(out, content->text.data, content->text.length);
    for (const struct json *at = json_is(content, JSON_ARRAY) ? content->child : NULL; at != NULL; at = at->next) {
        const struct json *text = json_member(at, "text");
        if (json_string(text) != NULL) bytes_add(out, text->text.data, text->text.length);
    }
}

static bool has_role(const struct json *message, const char *role) {
    const char *found = json_string(json_member(message, "role"));
    return found != NULL && strcmp(found, role) == 0;
}

const struct json *tool_function(const struct json *tool, const char **name) {
    const struct json *function = json_member(tool, "function");
    *name = json_string(json_member(function, "name"));
    return *name != NULL ? function : NULL;
}

static const struct json *members(const struct json *owner, const char *key) {
    const struct json *list = json_member(owner, key);
    return json_is(list, JSON_ARRAY) ? list->child : NULL;
}

/* Using results ----------------------------------------------------------------------------------------------------*/

/* The call that a result answers: the last one with its id. */
static const struct json *find_call(const struct ask *ask, const struct json *result) {
    const char *id = json_string(json_member(result, "tool_call_id"));
    const struct json *found = NULL;
    for (const struct json *at = ask->messages->child; id != NULL && at != result; at = at->next)
        for (const struct json *call = members(at, "tool_calls"); call != NULL; call = call->next) {
            const char *other = json_string(json_member(call, "id"));
            if (other != NULL && strcmp(other, id) == 0) found = call;
        }
    return found;
}

/* "Paris, 18" for {"city": "Paris", "celsius": 18}, or with the keys: "city Paris, celsius 18". False: no such JSON. */
static bool add_values(struct bytes *out, const char *text, bool keys) {
    size_t wrong_at = 0;
    struct json *values = text == NULL ? NULL : json_parse(text, strlen(text), &wrong_at);
    bool some = json_is(values, JSON_OBJECT) && values->child != NULL;
    for (const struct json *at = some ? values->child : NULL; at != NULL; at = at->next) {
        if (at != values->child) bytes_text(out, ", ");
        if (keys) bytes_format(out, "%s ", at->key.data);
        if (json_string(at) != NULL) bytes_add(out, at->text.data, at->text.length);
        else json_write(out, at);
    }
    json_free(values);
    return some;
}

static void use_result(struct bytes *out, const struct ask *ask, const struct json *result) {
    const char *name = NULL;
    const struct json *function = tool_function(find_call(ask, result), &name);
    struct bytes values = {0}, text = {0};
    add_values(&values, json_string(json_member(function, "arguments")), false);
    message_text(&text, result);
    if (out->length > 0) bytes_text(out, " ");
    bytes_format(out, "%s", name != NULL ? name : "The tool");
    if (values.length > 0) bytes_format(out, "(%s)", values.data);
    bytes_text(out, " says: ");
    if (!add_values(out, text.data, true)) bytes_add(out, text.data, text.length);
    if (out->data[out->length - 1] != '.') bytes_text(out, ".");
    bytes_free(&values);
    bytes_free(&text);
}

static void use_results(struct bytes *out, const struct ask *ask) {
    const struct json *first = ask->messages->child;
    for (const struct json *at = first; at != NULL; at = at->next)
        if (has_role(at, "assistant") || has_role(at, "user")) first = at->next;
    for (; first != NULL; first = first->next)
        if (has_role(first, "tool")) use_result(out, ask, first);
}

/* Calling tools ----------------------------------------------------------------------------------------------------*/

static bool fits(const struct json *function, const char *name, const char *prompt) {
    const char *description = json_string(json_member(function, "description"));
    return mentions(prompt, name, 4) || (description != NULL && mentions(prompt, description, 5)) ||
           schema_is_mentioned(json_member(function, "parameters"), prompt);
}

/* The tool to call, and its name; NULL: none. */
static const struct json *choose_tool(const struct ask *ask, bool after_tool, const char **name) {
    const struct json *choice = json_member(ask->body, "tool_choice"), *tools = ask->tools;
    const char *word = json_string(choice), *wanted = json_string(json_member(json_member(choice, "function"), "name"));
    const struct json *first = tools == NULL ? NULL : tools->child;
    if (word != NULL && strcmp(word, "none") == 0) return NULL;
    for (const struct json *at = first; at != NULL; at = at->next) {
        const struct json *function = tool_function(at, name);
        if (function == NULL) continue;
        if (wanted != NULL ? strcmp(*name, wanted) == 0 : fits(function, *name, ask->prompt.data)) return function;
    }
    if (first == NULL || after_tool || word == NULL || strcmp(word, "required") != 0) return NULL;
    return tool_function(first, name);
}

/* How many calls were made since the last user message. */
static size_t calls_made(const struct ask *ask) {
    size_t count = 0;
    for (const struct json *at = ask->messages->child; at != NULL; at = at->next) {
        if (has_role(at, "user")) count = 0;
        for (const struct json *call = members(at, "tool_calls"); call != NULL; call = call->next) count++;
    }
    return count;
}

static bool call_tools(struct answer *answer, const struct ask *ask, bool after_tool) {
    const char *name = NULL;
    bool one = json_is(json_member(ask->body, "parallel_tool_calls"), JSON_FALSE);
    const struct json *function = choose_tool(ask, after_tool, &name);
    if (function == NULL || (after_tool && !one)) return false;
    const struct json *parameters = json_member(function, "parameters");
    size_t turns = schema_turns(parameters, ask->prompt.data), done = after_tool ? calls_made(ask) : 0;
    for (size_t turn = done; turn < turns && answer->call_count < (one ? 1 : MAX_CALLS); turn++) {
        struct call *call = &answer->calls[answer->call_count++];
        bytes_text(&call->name, name);
        schema_value(&call->arguments, parameters, ask->prompt.data, turn);
    }
    bool named = json_is(json_member(ask->body, "tool_choice"), JSON_OBJECT);
    if (answer->call_count > 0 && !named) answer->finish = "tool_calls";
    return answer->call_count > 0;
}

/* Text -------------------------------------------------------------------------------------------------------------*/

static bool shaped_text(struct bytes *out, const struct ask *ask) {
    size_t before = out->length;
    const struct json *format = json_member(ask->body, "response_format");
    const struct json *outputs = json_member(ask->body, "structured_outputs");
    const struct json *schema = json_member(json_member(format, "json_schema"), "schema");
    const struct json *choice = members(outputs, "choice");
    const char *type = json_string(json_member(format, "type"));
    if (schema == NULL) schema = json_member(outputs, "json");
    if (schema != NULL) schema_value(out, schema, ask->prompt.data, 0);
    else if (type != NULL && strcmp(type, "json_object") == 0) bytes_text(out, "{\"answer\": \"yes\"}");
    else if (json_string(choice) != NULL) bytes_add(out, choice->text.data, choice->text.length);
    return out->length > before;
}

static void echo(struct bytes *out, const struct ask *ask) {
    size_t length = ask->prompt.length;
    if (length > ECHO_BYTES) {
        for (length = ECHO_BYTES; length > 0 && ((unsigned char)ask->prompt.data[length] & 0xc0) == 0x80;) length--;
    }
    bytes_text(out, "You said: ");
    bytes_add(out, ask->prompt.data, length);
    if (length < ask->prompt.length) bytes_text(out, " …");
}

static void think(struct bytes *out, const struct ask *ask) {
    if (ask->model == NULL || strcasestr(ask->model, "reason") == NULL) return;
    bytes_format(out, "\nThe user wrote %lu words. I answer them.\n", piece_count(ask->prompt.data, ask->prompt.length));
}

static void stop_at(struct answer *answer, const struct json *stop) {
    const char *place = json_string(stop) != NULL && stop->text.length > 0 && answer->text.length > 0
                            ? memmem(answer->text.data, answer->text.length, stop->text.data, stop->text.length)
                            : NULL;
    if (place == NULL) return;
    answer->text.length = (size_t)(place - answer->text.data);
    answer->text.data[answer->text.length] = '\0';
    bytes_clear(&answer->stop_reason);
    json_quote(&answer->stop_reason, stop->text.data, stop->text.length);
}

void answer_make(struct answer *answer, const struct ask *ask, unsigned long choice) {
    const struct json *last = ask->messages->child, *stop = json_member(ask->body, "stop");
    while (last->next != NULL) last = last->next;
    bool after_tool = has_role(last, "tool");
    memset(answer, 0, sizeof *answer);
    answer->finish = "stop";
    think(&answer->reasoning, ask);
    if (ask->tools != NULL && call_tools(answer, ask, after_tool)) return;
    if (choice > 0) bytes_format(&answer->text, "(%lu) ", choice);
    if (after_tool) use_results(&answer->text, ask);
    else if (!shaped_text(&answer->text, ask)) echo(&answer->text, ask);
    if (json_is(stop, JSON_STRING)) stop_at(answer, stop);
    for (const struct json *at = json_is(stop, JSON_ARRAY) ? stop->child : NULL; at != NULL; at = at->next)
        stop_at(answer, at);
}

void answer_free(struct answer *answer) {
    bytes_free(&answer->reasoning);
    bytes_free(&answer->text);
    bytes_free(&answer->stop_reason);
    for (size_t i = 0; i < answer->call_count; i++) {
        bytes_free(&answer->calls[i].name);
        bytes_free(&answer->calls[i].arguments);
    }
}
