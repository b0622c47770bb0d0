/* Responses step by step, as the client says. POST /script with lines of text → {"id":N,"path":"/run/N"}; requests to
 * /run/N[/anything] play it. The k-th request plays the k-th part; the last part is played for all that follow.
 *
 *   send BYTES      one write; \r \n \t \\ \xHH are escapes
 *   wait MS
 *   repeat N K      the K steps before this, N times more; N 0: for ever. Does not nest
 *   close | drop | reset | stall    as in plan.h; without one of them the connection waits for its next request
 *   next            ends a part
 *   use TARGET      alone in a part: answers as TARGET would, "/fault/reset" or "/replay/vllm/text?cut=9"
 * Bounds: 1,000 scripts, 100,000 steps each.
 */
#define _GNU_SOURCE
#include "server.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SCRIPTS = 1000, MAX_STEPS = 100000, MAX_PARTS = 1000 };

struct script {
    unsigned long id;
    struct bytes text;
    size_t parts[MAX_PARTS + 1]; /* where each begins in the text, and the end */
    size_t count, played;
    struct script *next;
};

static int hex_value(char c) {
    const char *digits = "0123456789abcdef0123456789ABCDEF", *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)((at - digits) % 16);
}

static bool unescape(struct bytes *out, const char *at, const char *end) {
    static const char names[] = "rnt\\", values[] = "\r\n\t\\";
    while (at < end) {
        const char *run = memchr(at, '\\', (size_t)(end - at));
        if (run == NULL) run = end;
        bytes_add(out, at, (size_t)(run - at));
        at = run;
        if (at == end) break;
        if (end - at < 2) return false;
        const char *name = memchr(names, at[1], sizeof names - 1);
        if (name != NULL) {
            bytes_add(out, &values[name - names], 1);
            at += 2;
            continue;
        }
        if (at[1] != 'x' || end - at < 4 || hex_value(at[2]) < 0 || hex_value(at[3]) < 0) return false;
        char byte = (char)(hex_value(at[2]) * 16 + hex_value(at[3]));
        bytes_add(out, &byte, 1);
        at += 4;
    }
    return true;
}

static bool is_word(const char *line, size_t length, const char *word) {
    return length == strlen(word) && strncmp(line, word, length) == 0;
}

/* One line → a step. */
static bool add_step(struct plan *p, const char *line, const char *end) {
    static const struct {
        const char *word;
        enum step_kind kind;
    } ends[] = {{"close", STEP_CLOSE}, {"drop", STEP_DROP}, {"reset", STEP_RESET}, {"stall", STEP_STALL}};
    size_t length = (size_t)(end - line), word = strcspn(line, " \n");
    char *after = NULL;
    if (p->count >= MAX_STEPS) return false;
    if (is_word(line, word, "send")) {
        size_t at = p->data.length;
        bool ok = length > 5 && unescape(&p->data, line + 5, end);
        plan_sent_since(p, at);
        return ok;
    }
    if (is_word(line, word, "wait")) {
        plan_step(p, STEP_WAIT, strtoul(line + 4, &after, 10), 0);
        return length > 5 && after == end;
    }
    if (is_word(line, word, "repeat")) {
        unsigned long count = strtoul(line + 6, &after, 10);
        size_t back = strtoul(after, &after, 10);
        if (after != end || back == 0 || back > p->count) return false;
        plan_step(p, STEP_REPEAT, count, back);
        return true;
    }
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (is_word(line, length, ends[i].word)) {
            plan_step(p, ends[i].kind, 0, 0);
            return true;
        }
    return false;
}

/* Plays lines [at, end) of a script into the plan; a `use` goes to the other rooms. */
static bool play_part(struct server *s, struct request *r, struct plan *p, const char *at, const char *end) {
    if (end - at > 5 && strncmp(at, "use /", 5) == 0 && s != NULL) {
        struct bytes target = {0}, method = {0};
        bytes_add(&target, at + 4, strcspn(at + 4, "\n"));
        bytes_text(&method, r->method);
        request_aim(r, method.data, target.data);
        bool loops = strncmp(r->path, "/run/", 5) == 0;
        if (!loops) route(s, r, p);
        bytes_free(&method);
        bytes_free(&target);
        return !loops;
    }
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (line_end == NULL) line_end = end;
        bool use = strncmp(at, "use /", 5) == 0; /* checked when it is played */
        if (line_end > at && !use && !add_step(p, at, line_end)) return false;
        at = line_end + 1;
    }
    return true;
}

/* Where the parts begin; false: too many. */
static bool find_parts(struct script *script) {
    const char *text = script->text.data;
    script->parts[script->count++] = 0;
    for (const char *at = text; *at != '\0';) {
        size_t length = strcspn(at, "\n");
        const char *after = at + length + (at[length] == '\n');
        if (is_word(at, length, "next")) {
            if (script->count == MAX_PARTS) return false;
            script->parts[script->count++] = (size_t)(after - text);
        }
        at = after;
    }
    script->parts[script->count] = script->text.length;
    return true;
}

/* A part's end is before its "next" line. */
static const char *part_end(const struct script *script, size_t part) {
    const char *end = script->text.data + script->parts[part + 1];
    return part + 1 == script->count ? end : end - strlen("next\n");
}

static void script_free(struct script *script) {
    bytes_free(&script->text);
    free(script);
}

static bool script_is_right(struct script *script) {
    bool ok = script->text.length > 1 && memchr(script->text.data, '\0', script->text.length) == NULL && find_parts(script);
    for (size_t i = 0; ok && i < script->count; i++) {
        struct plan trial = {{0}, NULL, 0, 0, false};
        ok = play_part(NULL, NULL, &trial, script->text.data + script->parts[i], part_end(script, i));
        plan_free(&trial);
    }
    return ok;
}

static void take_script(struct server *s, struct request *r, struct plan *p) {
    struct script *script = must_zero(sizeof *script);
    struct bytes body = {0};
    bytes_add(&script->text, r->body.data, r->body.length);
    bytes_text(&script->text, "\n");
    if (s->last_script >= MAX_SCRIPTS || !script_is_right(script)) {
        script_free(script);
        reply_text(p, r, 400, "text/plain", "this script has a wrong line, or there are too many\n");
        return;
    }
    script->id = ++s->last_script;
    script->next = s->scripts;
    s->scripts = script;
    bytes_format(&body, "{\"id\":%lu,\"path\":\"/run/%lu\"}", script->id, script->id);
    reply(p, r, 200, "application/json", NULL, &body);
    bytes_free(&body);
}

bool script_route(struct server *s, struct request *r, struct plan *p) {
    if (strcmp(r->path, "/script") == 0) {
        take_script(s, r, p);
        return true;
    }
    if (strncmp(r->path, "/run/", 5) != 0) return false;
    unsigned long id = strtoul(r->path + 5, NULL, 10);
    struct script *script = s->scripts;
    while (script != NULL && script->id != id) script = script->next;
    if (script == NULL) return false;
    size_t part = script->played < script->count - 1 ? script->played++ : script->count - 1;
    if (!play_part(s, r, p, script->text.data + script->parts[part], part_end(script, part)))
        reply_text(p, r, 500, "text/plain", "this script uses itself\n");
    return true;
}

void scripts_free(struct server *s) {
    while (s->scripts != NULL) {
        struct script *next = s->scripts->next;
        script_free(s->scripts);
        s->scripts = next;
    }
}
