/* One entry of `choices` → its deltas: rules 3 to 9 of chunk.c. Everything is walked the first time that it is passed:
 * the fragments of calls and the entries of other lists wait, since the keys come in any order and the deltas in
 * one. */
#include <string.h>

#include "delta.h"
#include "slice.h"

/* Deltas of a list that was read, in `waiting` of the gathering. */
struct range {
    size_t from, count;
};

/* What a `delta` or a `message` says. */
struct body {
    struct vllm_value content, reasoning, reasoning_content, refusal, images, audio;
    struct vllm_value name, arguments; /* of function_call */
    struct range tools, content_parts, image_list;
    struct vllm_slice object; /* all of it, if it has members that are not known here */
};

struct entry {
    struct body delta, message;
    struct vllm_value index, text, finish_reason, stop_reason, logprobs, token_ids, error, usage;
    struct vllm_value tokens; /* the list in logprobs */
    struct vllm_slice object; /* as in struct body */
};

/* What the deltas being added have in common. */
struct target {
    struct vllm_gather *gather;
    int64_t choice;
    bool whole;
};

static struct vllm_delta *mark(const struct target *target, struct vllm_delta *delta) {
    if (delta) {
        delta->choice = target->choice;
        delta->whole = target->whole;
    }
    return delta;
}

static struct vllm_delta *add(const struct target *target, enum vllm_delta_kind kind) {
    return mark(target, vllm_gather_add(target->gather, &target->gather->deltas, kind));
}

/* An object's unknown members are noticed while it is walked; what they are is read again later, since most answers
 * have none. `begin`: where the object began. */
static void notice(enum vllm_level level, enum vllm_key key, const struct vllm_value *value, const char *begin,
                   struct vllm_slice *object) {
    if (!vllm_key_is_known(level, key) && vllm_value_is_given(value)) {
        object->ptr = begin;
    }
}

static void close_object(const struct vllm_json *j, struct vllm_slice *object) {
    if (object->ptr) {
        object->len = (size_t)(j->at - object->ptr);
    }
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

/* Into an object; a value of another type is passed over. */
static bool enter_object(struct vllm_json *j) {
    struct vllm_value other;
    if (vllm_json_peek(j) == VLLM_JSON_OBJECT) {
        return vllm_json_enter(j);
    }
    vllm_value_read(j, &other);
    return false;
}

static void read_function(struct vllm_json *j, struct vllm_value *name, struct vllm_value *arguments) {
    struct vllm_json_string key;
    struct vllm_value other;
    memset(name, 0, sizeof *name);
    memset(arguments, 0, sizeof *arguments);
    bool more = enter_object(j);
    while (more && vllm_json_member(j, &key)) {
        enum vllm_key known = vllm_key_of(&key);
        vllm_value_read(j, known == VLLM_KEY_NAME ? name : known == VLLM_KEY_ARGUMENTS ? arguments : &other);
    }
}

/* Some servers write a text where they have nothing to say. */
static struct vllm_slice gather_word(struct vllm_gather *gather, const struct vllm_value *value) {
    static const struct vllm_slice absent = {NULL, 0};
    struct vllm_slice word = vllm_gather_name(gather, value);
    return word.ptr && (vllm_slice_is(word, "null") || vllm_slice_is(word, "None")) ? absent : word;
}

static void set_arguments(struct vllm_gather *gather, const struct vllm_value *arguments, struct vllm_delta *delta) {
    if (arguments->type == VLLM_JSON_STRING) {
        delta->text = vllm_gather_text(gather, arguments);
        delta->raw = arguments->string.raw;
    } else if (arguments->type != VLLM_JSON_INVALID && arguments->type != VLLM_JSON_NULL) {
        delta->text = vllm_gather_json(gather, arguments);
    }
}

/* One entry of tool_calls; it is nothing when it has neither id nor name nor arguments. */
static void read_tool_call(struct vllm_gather *gather, struct vllm_json *j) {
    struct vllm_json_string key;
    struct vllm_value id, index, name, arguments, other;
    struct vllm_delta fragment;
    memset(&fragment, 0, sizeof fragment);
    memset(&id, 0, sizeof id);
    memset(&index, 0, sizeof index);
    memset(&name, 0, sizeof name);
    memset(&arguments, 0, sizeof arguments);
    bool more = enter_object(j);
    const char *begin = j->at - 1;
    while (more && vllm_json_member(j, &key)) {
        enum vllm_key known = vllm_key_of(&key);
        if (known == VLLM_KEY_FUNCTION) {
            read_function(j, &name, &arguments);
        } else {
            struct vllm_value *value = known == VLLM_KEY_ID ? &id : known == VLLM_KEY_INDEX ? &index : &other;
            vllm_value_read(j, value);
            notice(VLLM_LEVEL_CALL, known, value, begin, &fragment.object);
        }
    }
    close_object(j, &fragment.object);
    fragment.kind = VLLM_DELTA_TOOL;
    fragment.index = vllm_value_index(&index, -1);
    fragment.id = vllm_gather_name(gather, &id);
    fragment.name = gather_word(gather, &name);
    set_arguments(gather, &arguments, &fragment);
    if (fragment.id.ptr || fragment.name.ptr || fragment.text.ptr) {
        struct vllm_delta *delta = vllm_gather_add(gather, &gather->waiting, VLLM_DELTA_TOOL);
        if (delta) {
            *delta = fragment;
        }
    }
}

/* The entries of the list at the cursor. */
static struct range read_list(struct vllm_gather *gather, struct vllm_json *j,
                              void (*read)(struct vllm_gather *, struct vllm_json *)) {
    struct range range = {gather->waiting.count, 0};
    bool more = vllm_json_enter(j);
    while (more && gather->status == VLLM_OK && vllm_json_element(j)) {
        read(gather, j);
    }
    range.count = gather->waiting.count - range.from;
    return range;
}

static void read_tool_calls(struct vllm_gather *gather, struct vllm_json *j, struct body *body) {
    if (vllm_json_peek(j) == VLLM_JSON_ARRAY) {
        body->tools = read_list(gather, j, read_tool_call);
        return;
    }
    body->tools.from = gather->waiting.count;
    read_tool_call(gather, j);
    body->tools.count = gather->waiting.count - body->tools.from;
}

static struct vllm_delta *put_text(struct vllm_gather *gather, struct vllm_deltas *deltas, enum vllm_delta_kind kind,
                                   const struct vllm_value *value) {
    struct vllm_slice text = vllm_gather_text(gather, value);
    struct vllm_delta *delta = text.ptr ? vllm_gather_raw(gather, deltas, kind, value->string.raw) : NULL;
    if (delta) {
        delta->text = text;
    }
    return delta;
}

static void keep_text(struct vllm_gather *gather, enum vllm_delta_kind kind, const struct vllm_value *value) {
    (void)put_text(gather, &gather->waiting, kind, value);
}

static struct vllm_delta *put_media(struct vllm_gather *gather, struct vllm_deltas *deltas,
                                    const struct vllm_value *value) {
    return vllm_value_is_given(value) ? vllm_gather_raw(gather, deltas, VLLM_DELTA_MEDIA, value->raw) : NULL;
}

/* The members of a content part that may hold what it says. */
struct content {
    struct vllm_value whole, type, text, refusal, thinking, reasoning, summary;
};

static void read_thought(struct vllm_gather *gather, struct vllm_json *j) {
    struct vllm_json_string key;
    struct vllm_value text, other;
    memset(&text, 0, sizeof text);
    if (vllm_json_peek(j) == VLLM_JSON_STRING) {
        vllm_value_read(j, &text);
    } else {
        bool more = enter_object(j);
        while (more && vllm_json_member(j, &key)) {
            vllm_value_read(j, vllm_key_of(&key) == VLLM_KEY_TEXT ? &text : &other);
        }
    }
    keep_text(gather, VLLM_DELTA_REASONING, &text);
}

static bool is_thought(const struct content *part) {
    static const char *const types[] = {"thinking", "reasoning", "reasoning_text", "reasoning_content", "thought"};
    if (part->thinking.type != VLLM_JSON_INVALID) {
        return true;
    }
    for (size_t i = 0; part->type.type == VLLM_JSON_STRING && i < sizeof types / sizeof types[0]; i++) {
        if (vllm_json_string_is(&part->type.string, types[i])) {
            return true;
        }
    }
    return false;
}

/* A thought in words, in an object with a text, or in a list of either. False: there is none to be read. */
static bool keep_thought_value(struct vllm_gather *gather, const struct vllm_value *value) {
    struct vllm_json j;
    if (value->type == VLLM_JSON_STRING) {
        keep_text(gather, VLLM_DELTA_REASONING, value);
        return true;
    }
    if (value->type != VLLM_JSON_ARRAY && value->type != VLLM_JSON_OBJECT) {
        return false;
    }
    vllm_json_init(&j, value->raw.ptr, value->raw.len, gather->limits.max_depth);
    if (value->type == VLLM_JSON_OBJECT) {
        read_thought(gather, &j);
        return true;
    }
    bool more = vllm_json_enter(&j);
    while (more && gather->status == VLLM_OK && vllm_json_element(&j)) {
        read_thought(gather, &j);
    }
    return true;
}

static bool keep_thought(struct vllm_gather *gather, const struct content *part) {
    return keep_thought_value(gather, &part->thinking) || keep_thought_value(gather, &part->reasoning) ||
           keep_thought_value(gather, &part->text) || keep_thought_value(gather, &part->summary);
}

static struct vllm_value *part_slot(struct content *part, enum vllm_key key, struct vllm_value *other) {
    switch (key) {
    case VLLM_KEY_TYPE: return &part->type;
    case VLLM_KEY_TEXT: return &part->text;
    case VLLM_KEY_REFUSAL: return &part->refusal;
    case VLLM_KEY_THINKING: return &part->thinking;
    case VLLM_KEY_REASONING: return &part->reasoning;
    case VLLM_KEY_SUMMARY: return &part->summary;
    default: return other;
    }
}

/* One content part: thinking, a text (or a plain string), a refusal, or else media. */
static void read_part(struct vllm_gather *gather, struct vllm_json *j) {
    struct vllm_json_string key;
    struct vllm_value other;
    struct content part;
    memset(&part, 0, sizeof part);
    part.whole.type = vllm_json_peek(j);
    if (part.whole.type == VLLM_JSON_OBJECT) {
        part.whole.raw.ptr = j->at;
        bool more = vllm_json_enter(j);
        while (more && vllm_json_member(j, &key)) {
            vllm_value_read(j, part_slot(&part, vllm_key_of(&key), &other));
        }
        part.whole.raw.len = (size_t)(j->at - part.whole.raw.ptr);
    } else {
        vllm_value_read(j, &part.whole);
    }
    if (is_thought(&part) && keep_thought(gather, &part)) {
        return;
    }
    if (part.whole.type == VLLM_JSON_STRING) {
        keep_text(gather, VLLM_DELTA_TEXT, &part.whole);
    } else if (part.text.type == VLLM_JSON_STRING) {
        keep_text(gather, VLLM_DELTA_TEXT, &part.text);
    } else if (part.refusal.type == VLLM_JSON_STRING) {
        keep_text(gather, VLLM_DELTA_REFUSAL, &part.refusal);
    } else {
        put_media(gather, &gather->waiting, &part.whole);
    }
}

static void read_image(struct vllm_gather *gather, struct vllm_json *j) {
    struct vllm_value image;
    vllm_value_read(j, &image);
    put_media(gather, &gather->waiting, &image);
}

/* A list, or one value: what is there of the other is of a duplicate key, which does not count. */
static void read_list_or_value(struct vllm_gather *gather, struct vllm_json *j, struct range *range,
                               struct vllm_value *value, void (*read)(struct vllm_gather *, struct vllm_json *)) {
    memset(range, 0, sizeof *range);
    memset(value, 0, sizeof *value);
    if (vllm_json_peek(j) == VLLM_JSON_ARRAY) {
        *range = read_list(gather, j, read);
    } else {
        vllm_value_read(j, value);
    }
}

static struct vllm_value *body_slot(struct body *body, enum vllm_key key, struct vllm_value *other) {
    switch (key) {
    case VLLM_KEY_REASONING: return &body->reasoning;
    case VLLM_KEY_REASONING_CONTENT: return &body->reasoning_content;
    case VLLM_KEY_REFUSAL: return &body->refusal;
    case VLLM_KEY_AUDIO: return &body->audio;
    default: return other;
    }
}

static void read_body(struct vllm_gather *gather, struct vllm_json *j, struct body *body) {
    struct vllm_json_string key;
    struct vllm_value other;
    memset(body, 0, sizeof *body);
    bool more = enter_object(j);
    const char *begin = j->at - 1;
    while (more && gather->status == VLLM_OK && vllm_json_member(j, &key)) {
        enum vllm_key known = vllm_key_of(&key);
        if (known == VLLM_KEY_CONTENT) {
            read_list_or_value(gather, j, &body->content_parts, &body->content, read_part);
        } else if (known == VLLM_KEY_IMAGES) {
            read_list_or_value(gather, j, &body->image_list, &body->images, read_image);
        } else if (known == VLLM_KEY_TOOL_CALLS) {
            read_tool_calls(gather, j, body);
        } else if (known == VLLM_KEY_FUNCTION_CALL) {
            read_function(j, &body->name, &body->arguments);
        } else {
            struct vllm_value *value = body_slot(body, known, &other);
            vllm_value_read(j, value);
            notice(VLLM_LEVEL_MESSAGE, known, value, begin, &body->object);
        }
    }
    close_object(j, &body->object);
}

static struct vllm_value *entry_slot(struct entry *entry, enum vllm_key key, struct vllm_value *other) {
    switch (key) {
    case VLLM_KEY_INDEX: return &entry->index;
    case VLLM_KEY_TEXT: return &entry->text;
    case VLLM_KEY_FINISH_REASON: return &entry->finish_reason;
    case VLLM_KEY_STOP_REASON: return &entry->stop_reason;
    case VLLM_KEY_TOKEN_IDS: return &entry->token_ids;
    case VLLM_KEY_ERROR: return &entry->error;
    case VLLM_KEY_USAGE: return &entry->usage;
    default: return other;
    }
}

/* logprobs of chat answers are an object with the list in `content`. */
static void read_logprobs(struct vllm_json *j, struct entry *entry) {
    struct vllm_json_string key;
    struct vllm_value other;
    memset(&entry->tokens, 0, sizeof entry->tokens);
    entry->logprobs.type = vllm_json_peek(j);
    if (entry->logprobs.type != VLLM_JSON_OBJECT) {
        vllm_value_read(j, &entry->logprobs);
        return;
    }
    const char *begin = j->at;
    bool more = vllm_json_enter(j);
    while (more && vllm_json_member(j, &key)) {
        vllm_value_read(j, vllm_key_of(&key) == VLLM_KEY_CONTENT ? &entry->tokens : &other);
    }
    entry->logprobs.raw.ptr = begin;
    entry->logprobs.raw.len = (size_t)(j->at - begin);
}

/* Adding ----------------------------------------------------------------------------------------------------------- */

static void add_text(const struct target *target, enum vllm_delta_kind kind, const struct vllm_value *value) {
    mark(target, put_text(target->gather, &target->gather->deltas, kind, value));
}

static void add_media(const struct target *target, const struct vllm_value *value) {
    mark(target, put_media(target->gather, &target->gather->deltas, value));
}

/* What waits of `kind`. In a whole message, calls are counted, and of texts the bytes before them. */
static void add_waiting(const struct target *target, struct range range, enum vllm_delta_kind kind) {
    const struct vllm_deltas *waiting = &target->gather->waiting;
    size_t before = 0;
    for (size_t i = 0; i < range.count; i++) {
        const struct vllm_delta *item = &waiting->items[range.from + i];
        struct vllm_delta *delta = item->kind == kind ? add(target, kind) : NULL;
        if (delta) {
            *delta = *item;
            delta->choice = target->choice;
            delta->whole = target->whole;
            if (target->whole) {
                delta->index = (int64_t)(kind == VLLM_DELTA_TOOL ? i : before);
            }
            before += item->text.len;
        } else if (target->gather->status != VLLM_OK) {
            return;
        }
    }
}

static void add_function_call(const struct target *target, const struct body *body) {
    struct vllm_delta call;
    memset(&call, 0, sizeof call);
    call.kind = VLLM_DELTA_TOOL;
    call.choice = target->choice;
    call.whole = target->whole;
    call.index = target->whole ? 0 : -1;
    call.name = gather_word(target->gather, &body->name);
    set_arguments(target->gather, &body->arguments, &call);
    struct vllm_delta *delta = call.name.ptr || call.text.ptr ? add(target, VLLM_DELTA_TOOL) : NULL;
    if (delta) {
        *delta = call;
    }
}

static void add_thought(const struct target *target, const struct vllm_value *value) {
    struct range range = {target->gather->waiting.count, 0};
    if (value->type == VLLM_JSON_STRING) {
        add_text(target, VLLM_DELTA_REASONING, value);
    } else if (keep_thought_value(target->gather, value)) {
        range.count = target->gather->waiting.count - range.from;
        add_waiting(target, range, VLLM_DELTA_REASONING);
    }
}

/* Whichever of the three there is first. */
static void add_reasoning(const struct target *target, const struct body *body) {
    size_t before = target->gather->deltas.count;
    add_thought(target, &body->reasoning);
    if (target->gather->deltas.count == before) {
        add_thought(target, &body->reasoning_content);
    }
    if (target->gather->deltas.count == before) {
        add_waiting(target, body->content_parts, VLLM_DELTA_REASONING);
    }
}

static void add_body(const struct target *target, const struct body *body) {
    add_reasoning(target, body);
    add_text(target, VLLM_DELTA_TEXT, &body->content);
    add_waiting(target, body->content_parts, VLLM_DELTA_TEXT);
    add_text(target, VLLM_DELTA_REFUSAL, &body->refusal);
    add_waiting(target, body->content_parts, VLLM_DELTA_REFUSAL);
    add_waiting(target, body->content_parts, VLLM_DELTA_MEDIA);
    add_waiting(target, body->image_list, VLLM_DELTA_MEDIA);
    add_media(target, &body->images);
    add_media(target, &body->audio);
    add_waiting(target, body->tools, VLLM_DELTA_TOOL);
    if (body->tools.count == 0) {
        add_function_call(target, body);
    }
}

static void add_tokens(const struct target *target, const struct entry *entry) {
    bool logprobs = vllm_value_is_given(&entry->logprobs), token_ids = vllm_value_is_given(&entry->token_ids);
    struct vllm_delta *delta = logprobs || token_ids ? add(target, VLLM_DELTA_TOKENS) : NULL;
    if (delta && logprobs) {
        delta->raw = entry->logprobs.raw;
        delta->text = entry->tokens.raw;
    }
    if (delta && token_ids) {
        delta->token_ids = entry->token_ids.raw;
    }
}

static void add_finish(const struct target *target, const struct entry *entry) {
    struct vllm_slice reason = gather_word(target->gather, &entry->finish_reason);
    struct vllm_delta *delta = reason.ptr ? add(target, VLLM_DELTA_FINISH) : NULL;
    if (delta) {
        delta->text = reason;
        if (entry->stop_reason.type != VLLM_JSON_INVALID && entry->stop_reason.type != VLLM_JSON_NULL) {
            delta->raw = entry->stop_reason.raw;
        }
    }
}

static void add_members(const struct target *target, struct vllm_slice object, bool whole) {
    struct vllm_gather *gather = target->gather;
    struct vllm_delta *delta = mark(target, vllm_gather_raw(gather, &gather->deltas, VLLM_DELTA_MEMBERS, object));
    if (delta) {
        delta->whole = whole;
    }
}

static void add_entry(struct vllm_gather *gather, const struct entry *entry) {
    struct target target = {gather, vllm_value_index(&entry->index, 0), false};
    size_t before = gather->deltas.count;
    add_body(&target, &entry->delta);
    if (gather->deltas.count == before) {
        target.whole = true;
        add_body(&target, &entry->message);
    }
    target.whole = false;
    if (gather->deltas.count == before) {
        add_text(&target, VLLM_DELTA_TEXT, &entry->text);
    }
    add_members(&target, entry->delta.object, false);
    add_members(&target, entry->message.object, true);
    add_tokens(&target, entry);
    add_finish(&target, entry);
    if (gather->deltas.count == before) {
        add(&target, VLLM_DELTA_CHOICE);
    }
    mark(&target, vllm_gather_raw(gather, &gather->extras, VLLM_DELTA_CHOICE_MEMBERS, entry->object));
}

void vllm_choice_read(struct vllm_gather *gather, struct vllm_json *j) {
    struct vllm_json_string key;
    struct vllm_value other;
    struct entry entry;
    if (vllm_json_peek(j) != VLLM_JSON_OBJECT) {
        vllm_value_read(j, &other);
        return;
    }
    memset(&entry, 0, sizeof entry);
    const char *begin = j->at;
    bool more = vllm_json_enter(j);
    while (more && gather->status == VLLM_OK && vllm_json_member(j, &key)) {
        enum vllm_key known = vllm_key_of(&key);
        if (known == VLLM_KEY_DELTA || known == VLLM_KEY_MESSAGE) {
            read_body(gather, j, known == VLLM_KEY_DELTA ? &entry.delta : &entry.message);
        } else if (known == VLLM_KEY_LOGPROBS) {
            read_logprobs(j, &entry);
        } else {
            struct vllm_value *value = entry_slot(&entry, known, &other);
            vllm_value_read(j, value);
            notice(VLLM_LEVEL_CHOICE, known, value, begin, &entry.object);
        }
    }
    close_object(j, &entry.object);
    if (j->status == VLLM_OK) {
        add_entry(gather, &entry);
        if (vllm_value_is_given(&entry.error)) {
            gather->error.ptr = begin;
            gather->error.len = (size_t)(j->at - begin);
        }
        if (entry.usage.type == VLLM_JSON_OBJECT && vllm_value_is_given(&entry.usage)) {
            gather->usage = entry.usage.raw;
        }
    }
    gather->waiting.count = 0;
}
