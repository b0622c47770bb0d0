/* Canonical messages in, the JSON array of wire messages out.
 *
 * Conversion. System, context, developer: one string, texts joined by a blank line; context goes out as role system.
 * Notification: the same, as role user, wrapped in <system-reminder> lines. User: a string when it is one text,
 * otherwise an array of parts; a message without parts is an empty string. Assistant: no text, no `content` (never
 * null); one text, a string; more, an array; calls keep their raw arguments byte for byte, and arguments that are not a
 * JSON object go out as {} (the transcript keeps them); an assistant message with nothing to send is left out, and
 * separates no messages. Tool: one string, or an array where there are media; a failure begins with "Error: ". Other
 * roles: as a user, but without content there is none. A part that is JSON makes an array of any content.
 *
 * Merging (all off by default). Users: adjacent ones of the same name become one message whose content is an array.
 * System: all system-like text moves to one message at the front, in order, under the first one's name. Assistants:
 * adjacent ones of the same name join, unless the first has calls (its results must follow it). Filler: a user message
 * before a leading assistant message. No part is ever lost, and only the fold changes an order: a message with members
 * of its own, and one whose parts would have to become a string, stand for themselves.
 *
 * Object keys are sorted by bytes. Bounds: the output buffer's, and MAX_ITEMS below. Never: copies a text, looks at a
 * clock, repairs UTF-8. Sources: OpenAI chat completions; vLLM's chat utilities, which drop unknown keys and turn
 * arguments into objects. */
#include "messages.h"

#include <string.h>

#include "json.h"
#include "wire.h"

#define MAX_ITEMS ((size_t)1 << 24)

struct vllm_messages_entry {
    struct vllm_message message;
    size_t first, count; /* its pieces */
    size_t members;      /* members of its own, right before its pieces */
    size_t texts, calls, reasonings;
    size_t rich; /* parts that are not text */
};

/* ---- collecting ---- */

void vllm_messages_init(struct vllm_messages *m, const struct vllm_alloc *alloc) {
    memset(m, 0, sizeof *m);
    m->alloc = alloc;
}

void vllm_messages_free(struct vllm_messages *m) {
    vllm_list_free(m->alloc, m->entries, m->entry_cap, sizeof *m->entries);
    vllm_list_free(m->alloc, m->pieces, m->piece_cap, sizeof *m->pieces);
    vllm_messages_init(m, m->alloc);
}

enum vllm_status vllm_messages_begin(struct vllm_messages *m, const struct vllm_message *message) {
    if (m->entry_count == MAX_ITEMS) {
        return VLLM_ELIMIT;
    }
    struct vllm_messages_entry *entries =
        vllm_list_room(m->alloc, m->entries, m->entry_count, &m->entry_cap, sizeof *entries);
    if (!entries) {
        return VLLM_ENOMEM;
    }
    m->entries = entries;
    struct vllm_messages_entry *entry = &entries[m->entry_count++];
    memset(entry, 0, sizeof *entry);
    entry->message = *message;
    entry->first = m->piece_count;
    return VLLM_OK;
}

static bool is_text(const struct vllm_piece *piece) {
    return piece->type == VLLM_PIECE_TEXT || piece->type == VLLM_PIECE_FILE;
}

static bool is_part(const struct vllm_piece *piece) {
    return piece->type != VLLM_PIECE_REASONING && piece->type != VLLM_PIECE_CALL &&
           piece->type < VLLM_PIECE_FUNCTION_MEMBER;
}

static bool fits(const struct vllm_messages_entry *entry, const struct vllm_piece *piece) {
    enum vllm_message_kind kind = entry->message.kind;
    switch (piece->type) {
    case VLLM_PIECE_TEXT: return true;
    case VLLM_PIECE_JSON: return kind != VLLM_MESSAGE_NOTIFICATION;
    case VLLM_PIECE_FILE: return kind < VLLM_MESSAGE_ASSISTANT || kind == VLLM_MESSAGE_OTHER;
    case VLLM_PIECE_REASONING:
    case VLLM_PIECE_CALL: return kind == VLLM_MESSAGE_ASSISTANT;
    case VLLM_PIECE_FUNCTION_MEMBER: return entry->calls > 0;
    case VLLM_PIECE_MEMBER: return entry->count == 0 || entry->calls > 0;
    default: return kind == VLLM_MESSAGE_USER || kind >= VLLM_MESSAGE_TOOL;
    }
}

static void count_piece(struct vllm_messages_entry *entry, const struct vllm_piece *piece) {
    if (piece->type == VLLM_PIECE_MEMBER && entry->count == 0) {
        entry->members++;
        entry->first++;
        return;
    }
    entry->count++;
    entry->texts += is_text(piece);
    entry->calls += piece->type == VLLM_PIECE_CALL;
    entry->reasonings += piece->type == VLLM_PIECE_REASONING;
    entry->rich += is_part(piece) && !is_text(piece);
}

enum vllm_status vllm_messages_piece(struct vllm_messages *m, const struct vllm_piece *piece) {
    struct vllm_messages_entry *entry = m->entry_count ? &m->entries[m->entry_count - 1] : NULL;
    if (!entry || !fits(entry, piece)) {
        return VLLM_EINVALID;
    }
    bool empty_matters = entry->message.kind != VLLM_MESSAGE_ASSISTANT || piece->type == VLLM_PIECE_CALL;
    if (piece->text.len == 0 && !empty_matters) {
        return VLLM_OK;
    }
    if (m->piece_count == MAX_ITEMS) {
        return VLLM_ELIMIT;
    }
    struct vllm_piece *pieces = vllm_list_room(m->alloc, m->pieces, m->piece_count, &m->piece_cap, sizeof *pieces);
    if (!pieces) {
        return VLLM_ENOMEM;
    }
    m->pieces = pieces;
    pieces[m->piece_count++] = *piece;
    count_piece(entry, piece);
    return VLLM_OK;
}

/* ---- writing: groups of messages ----
 * A group is a range of entries that goes out as one message; entries that are left out may lie within it. */

struct group {
    const struct vllm_messages_entry *from, *to;
    size_t size;  /* entries that are not left out */
    size_t parts; /* of a user's content: pieces, and notifications */
    size_t texts, calls, reasonings;
};

static void put_name(struct vllm_wire *w, struct vllm_slice name) {
    if (name.ptr) {
        vllm_wire_sorted_key(w, "\"name\":");
        vllm_wire_string(w, name);
    }
}

static bool is_system(const struct vllm_messages_entry *entry) {
    return entry->message.kind <= VLLM_MESSAGE_DEVELOPER;
}

static bool is_user(const struct vllm_messages_entry *entry) {
    return entry->message.kind == VLLM_MESSAGE_USER || entry->message.kind == VLLM_MESSAGE_NOTIFICATION;
}

/* Is there something in it that would be lost in another message? */
static bool stands_alone(const struct vllm_messages_entry *entry) {
    return entry->members > 0 || (entry->rich > 0 && !is_user(entry));
}

static bool is_folded(const struct vllm_wire *w, const struct vllm_messages_entry *entry) {
    return w->options->fold_system && is_system(entry) && !stands_alone(entry);
}

static bool is_left_out(const struct vllm_wire *w, const struct vllm_messages_entry *entry) {
    return entry->message.kind == VLLM_MESSAGE_ASSISTANT ? entry->count == 0 : is_folded(w, entry);
}

static bool same_name(struct vllm_slice a, struct vllm_slice b) {
    return a.len == b.len && !a.ptr == !b.ptr && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static bool merges(const struct vllm_wire *w, const struct group *group, const struct vllm_messages_entry *next) {
    const struct vllm_messages_entry *first = group->from;
    if (stands_alone(first) || stands_alone(next) || !same_name(first->message.name, next->message.name)) {
        return false;
    }
    if (is_user(first)) {
        return w->options->merge_users && is_user(next);
    }
    return w->options->join_assistants && first->message.kind == VLLM_MESSAGE_ASSISTANT &&
           next->message.kind == VLLM_MESSAGE_ASSISTANT && group->calls == 0;
}

static void admit(struct group *group, const struct vllm_messages_entry *entry) {
    group->to = entry + 1;
    group->size++;
    group->parts += entry->message.kind == VLLM_MESSAGE_NOTIFICATION ? 1 : entry->count;
    group->texts += entry->texts;
    group->calls += entry->calls;
    group->reasonings += entry->reasonings;
}

static struct group group_at(const struct vllm_wire *w, const struct vllm_messages_entry *from) {
    const struct vllm_messages_entry *end = w->m->entries + w->m->entry_count;
    struct group group = {from, from, 0, 0, 0, 0, 0};
    admit(&group, from);
    for (const struct vllm_messages_entry *next = from + 1; next < end; next++) {
        if (is_left_out(w, next)) {
            continue;
        }
        if (!merges(w, &group, next)) {
            break;
        }
        admit(&group, next);
    }
    return group;
}

/* All texts (or reasonings) of the entry, each after the first following a blank line. `lead` comes before the first;
 * returns the next lead. */
static const char *compose_entry(struct vllm_wire *w, const struct vllm_messages_entry *entry, bool reasoning,
                                 const char *lead) {
    w->tag = entry->message.tag;
    for (size_t i = 0; i < entry->count; i++) {
        const struct vllm_piece *piece = &w->m->pieces[entry->first + i];
        if (reasoning ? piece->type != VLLM_PIECE_REASONING : !is_text(piece)) {
            continue;
        }
        if (piece->type == VLLM_PIECE_FILE) {
            vllm_wire_extend(w, lead, piece->extra);
            lead = VLLM_WIRE_BLANK_LINE;
        }
        vllm_wire_extend(w, lead, piece->text);
        lead = VLLM_WIRE_BLANK_LINE;
    }
    return lead;
}

static void compose_group(struct vllm_wire *w, const struct group *group, bool reasoning) {
    const char *lead = "\"";
    w->composing = false;
    for (const struct vllm_messages_entry *entry = group->from; entry < group->to; entry++) {
        lead = is_left_out(w, entry) ? lead : compose_entry(w, entry, reasoning, lead);
    }
}

/* One string out of one entry's texts, between an opening (which begins with the quote) and a closing. */
static void compose_wrapped(struct vllm_wire *w, const struct vllm_messages_entry *entry, const char *opening,
                            const char *closing) {
    w->composing = false;
    if (entry->texts == 0) {
        vllm_wire_extend(w, opening, (struct vllm_slice){"", 0});
    } else {
        compose_entry(w, entry, false, opening);
    }
    if (*closing) {
        vllm_wire_close(w, closing);
    }
}

/* ---- writing: user ---- */

static void put_notification(struct vllm_wire *w, const struct vllm_messages_entry *entry) {
    compose_wrapped(w, entry, "\"<system-reminder>\\n", "\\n</system-reminder>");
}

static void put_entry_parts(struct vllm_wire *w, const struct vllm_messages_entry *entry) {
    w->tag = entry->message.tag;
    if (entry->message.kind == VLLM_MESSAGE_NOTIFICATION) {
        vllm_wire_separate(w);
        vllm_wire_put(w, "{\"text\":");
        put_notification(w, entry);
        vllm_wire_put(w, ",\"type\":\"text\"}");
        return;
    }
    for (size_t i = 0; i < entry->count; i++) {
        const struct vllm_piece *piece = &w->m->pieces[entry->first + i];
        if (is_part(piece)) {
            vllm_wire_separate(w);
            vllm_wire_part(w, piece);
        }
    }
}

/* The parts of all entries as an array. */
static void put_parts(struct vllm_wire *w, const struct group *group) {
    vllm_wire_open(w, "[");
    for (const struct vllm_messages_entry *entry = group->from; entry < group->to; entry++) {
        if (!is_left_out(w, entry)) {
            put_entry_parts(w, entry);
        }
    }
    vllm_wire_shut(w, "]");
}

static void put_user(struct vllm_wire *w, const struct group *group) {
    const struct vllm_messages_entry *entry = group->from;
    vllm_wire_sorted_key(w, "\"content\":");
    if (group->parts == 0) {
        vllm_wire_put(w, "\"\"");
    } else if (group->size == 1 && entry->message.kind == VLLM_MESSAGE_NOTIFICATION) {
        put_notification(w, entry);
    } else if (group->size == 1 && entry->count == 1 && entry->texts == 1) {
        compose_wrapped(w, entry, "\"", "");
    } else {
        put_parts(w, group);
    }
    put_name(w, entry->message.name);
    vllm_wire_sorted_key(w, "\"role\":\"user\"");
}

/* ---- writing: the other kinds ---- */

static void put_content(struct vllm_wire *w, const struct group *group, bool as_list) {
    vllm_wire_sorted_key(w, "\"content\":");
    if (as_list) {
        put_parts(w, group);
    } else {
        compose_wrapped(w, group->from, "\"", "");
    }
}

static void put_system(struct vllm_wire *w, const struct group *group) {
    const struct vllm_message *message = &group->from->message;
    put_content(w, group, group->from->rich > 0);
    put_name(w, message->name);
    vllm_wire_sorted_key(w, message->kind == VLLM_MESSAGE_DEVELOPER ? "\"role\":\"developer\"" : "\"role\":\"system\"");
}

static void put_other(struct vllm_wire *w, const struct group *group) {
    const struct vllm_messages_entry *entry = group->from;
    if (entry->count > 0) {
        put_content(w, group, entry->count > 1 || entry->rich > 0);
    }
    put_name(w, entry->message.name);
    vllm_wire_sorted_key(w, "\"role\":");
    vllm_wire_string(w, entry->message.role);
}

static void put_arguments(struct vllm_wire *w, struct vllm_slice raw) {
    size_t at = 0;
    while (at < raw.len && memchr(" \t\r\n", raw.ptr[at], 4)) {
        at++;
    }
    bool is_object = at < raw.len && raw.ptr[at] == '{' && vllm_json_check(raw.ptr, raw.len, VLLM_JSON_MAX_DEPTH, NULL);
    vllm_wire_string(w, is_object ? raw : (struct vllm_slice){"{}", 2});
}

/* The members of `type` from `at` are those of the object that begins. */
static void begin_members(struct vllm_wire *w, const struct vllm_piece *at, const struct vllm_piece *end,
                          enum vllm_piece_type type) {
    w->member = at;
    while (at < end && at->type == type) {
        at++;
    }
    w->members_end = at;
    w->comma = false;
}

static void put_function(struct vllm_wire *w, const struct vllm_piece *call) {
    vllm_wire_sorted_key(w, "\"arguments\":");
    put_arguments(w, call->text);
    vllm_wire_sorted_key(w, "\"name\":");
    vllm_wire_string(w, call->name);
    vllm_wire_rest(w);
    vllm_wire_shut(w, "}");
}

/* A call without members of its own is most of them. */
static void put_call(struct vllm_wire *w, const struct vllm_piece *call, const struct vllm_piece *end) {
    const struct vllm_piece *own = call + 1;
    while (own < end && own->type == VLLM_PIECE_FUNCTION_MEMBER) {
        own++;
    }
    vllm_wire_key(w, "{");
    begin_members(w, own, end, VLLM_PIECE_MEMBER);
    vllm_wire_sorted_key(w, "\"function\":{");
    const struct vllm_piece *member = w->member, *members_end = w->members_end;
    begin_members(w, call + 1, end, VLLM_PIECE_FUNCTION_MEMBER);
    put_function(w, call);
    w->member = member;
    w->members_end = members_end;
    vllm_wire_sorted_key(w, "\"id\":");
    vllm_wire_string(w, call->extra);
    vllm_wire_sorted_key(w, "\"type\":\"function\"");
    vllm_wire_rest(w);
    vllm_wire_shut(w, "}");
}

static void put_calls(struct vllm_wire *w, const struct group *group) {
    if (group->calls == 0) {
        return;
    }
    vllm_wire_sorted_key(w, "\"tool_calls\":[");
    const struct vllm_piece *member = w->member, *members_end = w->members_end;
    w->comma = false;
    for (const struct vllm_messages_entry *entry = group->from; entry < group->to; entry++) {
        w->tag = entry->message.tag;
        for (size_t i = 0; i < entry->count; i++) {
            const struct vllm_piece *piece = &w->m->pieces[entry->first + i];
            if (piece->type == VLLM_PIECE_CALL) {
                put_call(w, piece, &w->m->pieces[entry->first + entry->count]);
            }
        }
    }
    vllm_wire_shut(w, "]");
    w->member = member;
    w->members_end = members_end;
}

static void put_assistant_content(struct vllm_wire *w, const struct group *group) {
    if (group->texts == 0 && group->from->rich == 0) {
        return;
    }
    vllm_wire_sorted_key(w, "\"content\":");
    if ((group->texts > 1 || group->from->rich > 0) && group->size == 1) {
        put_parts(w, group);
    } else {
        compose_group(w, group, false);
    }
}

static void put_reasoning(struct vllm_wire *w, const struct group *group) {
    vllm_wire_members(w, w->options->reasoning_field);
    vllm_wire_separate(w);
    vllm_wire_string(w, w->options->reasoning_field);
    vllm_wire_put(w, ":");
    compose_group(w, group, true);
}

/* The name of the reasoning's key is the user's, so its place among the sorted keys is looked for. */
static void put_assistant(struct vllm_wire *w, const struct group *group) {
    static const char *const keys[] = {"content", "name", "role", "tool_calls"};
    bool reasoning = group->reasonings > 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct vllm_slice key = {keys[i], strlen(keys[i])};
        if (reasoning && vllm_wire_comes_before(w->options->reasoning_field, key)) {
            put_reasoning(w, group);
            reasoning = false;
        }
        switch (i) {
        case 0: put_assistant_content(w, group); break;
        case 1: put_name(w, group->from->message.name); break;
        case 2: vllm_wire_sorted_key(w, "\"role\":\"assistant\""); break;
        default: put_calls(w, group);
        }
    }
    if (reasoning) {
        put_reasoning(w, group);
    }
}

static bool says_error(struct vllm_slice text) {
    return text.len >= 6 && (text.ptr[0] == 'E' || text.ptr[0] == 'e') && memcmp(text.ptr + 1, "rror:", 5) == 0;
}

static void put_result_text(struct vllm_wire *w, const struct vllm_messages_entry *entry) {
    const struct vllm_piece *piece = entry->count ? &w->m->pieces[entry->first] : NULL;
    if (!entry->message.is_error || (piece && says_error(piece->text))) {
        compose_wrapped(w, entry, "\"", "");
    } else if (!piece || (entry->count == 1 && piece->text.len == 0)) {
        vllm_wire_put(w, "\"Error: the tool gave no details\"");
    } else {
        compose_wrapped(w, entry, "\"Error: ", "");
    }
}

/* A failure with media says so in a part of its own. */
static void put_result_parts(struct vllm_wire *w, const struct group *group) {
    const struct vllm_messages_entry *entry = group->from;
    const struct vllm_piece *piece = &w->m->pieces[entry->first];
    bool says = piece->type == VLLM_PIECE_TEXT && says_error(piece->text);
    vllm_wire_open(w, "[");
    if (entry->message.is_error && !says) {
        vllm_wire_key(w, "{\"text\":\"Error:\",\"type\":\"text\"}");
    }
    put_entry_parts(w, entry);
    vllm_wire_shut(w, "]");
}

static void put_result(struct vllm_wire *w, const struct group *group) {
    const struct vllm_messages_entry *entry = group->from;
    vllm_wire_sorted_key(w, "\"content\":");
    if (entry->rich > 0) {
        put_result_parts(w, group);
    } else {
        put_result_text(w, entry);
    }
    put_name(w, entry->message.name);
    vllm_wire_sorted_key(w, "\"role\":\"tool\"");
    vllm_wire_sorted_key(w, "\"tool_call_id\":");
    vllm_wire_string(w, entry->message.call_id);
}

/* ---- writing: the whole ---- */

static void put_group(struct vllm_wire *w, const struct group *group) {
    const struct vllm_messages_entry *entry = group->from;
    vllm_wire_separate(w);
    vllm_wire_open(w, "{");
    w->tag = entry->message.tag;
    if (entry->members > 0) {
        w->member = &w->m->pieces[entry->first - entry->members];
        w->members_end = w->member + entry->members;
    }
    switch (entry->message.kind) {
    case VLLM_MESSAGE_USER:
    case VLLM_MESSAGE_NOTIFICATION: put_user(w, group); break;
    case VLLM_MESSAGE_ASSISTANT: put_assistant(w, group); break;
    case VLLM_MESSAGE_TOOL: put_result(w, group); break;
    case VLLM_MESSAGE_OTHER: put_other(w, group); break;
    default: put_system(w, group);
    }
    vllm_wire_rest(w);
    vllm_wire_shut(w, "}");
}

/* One system message at the front that holds the text of all of them. */
static void put_folded(struct vllm_wire *w) {
    const struct vllm_messages_entry *first = NULL;
    const char *lead = "\"";
    for (size_t i = 0; i < w->m->entry_count; i++) {
        const struct vllm_messages_entry *entry = &w->m->entries[i];
        if (is_folded(w, entry) && !first) {
            first = entry;
            vllm_wire_key(w, "{\"content\":");
        }
        if (is_folded(w, entry)) {
            lead = compose_entry(w, entry, false, lead);
        }
    }
    if (first) {
        vllm_wire_put(w, *lead == '"' ? "\"\"" : "");
        put_name(w, first->message.name);
        vllm_wire_put(w, ",\"role\":\"system\"}");
    }
}

static void put_filler(struct vllm_wire *w) {
    vllm_wire_key(w, "{\"content\":");
    vllm_wire_string(w, w->options->filler);
    vllm_wire_put(w, ",\"role\":\"user\"}");
}

static void put_all(struct vllm_wire *w) {
    bool leading = w->options->filler.ptr != NULL;
    const struct vllm_messages_entry *entry = w->m->entries, *end = entry + w->m->entry_count;
    while (entry < end && w->status == VLLM_OK) {
        if (is_left_out(w, entry)) {
            entry++;
            continue;
        }
        struct group group = group_at(w, entry);
        if (leading && !is_system(entry)) {
            leading = false;
            if (entry->message.kind == VLLM_MESSAGE_ASSISTANT) {
                put_filler(w);
            }
        }
        put_group(w, &group);
        entry = group.to;
    }
}

enum vllm_status vllm_messages_write(const struct vllm_messages *m, const struct vllm_messages_options *options,
                                     struct vllm_buf *out, struct vllm_messages_fault *fault) {
    struct vllm_wire w = {m, options, out, fault, VLLM_OK, 0, false, false, NULL, NULL};
    vllm_wire_put(&w, "[");
    if (options->fold_system) {
        put_folded(&w);
    }
    if (m->entry_count > 0) {
        put_all(&w);
    }
    vllm_wire_put(&w, "]");
    return w.status;
}
