/* One JSON text of a chat completion stream, or one whole completion → deltas. The place where dialects end.
 *
 * The rules, and who made them necessary:
 *  1. An error is looked for before choices: a key `error` with something in it (a string, an object, a list; null,
 *     false and empty values are not errors), `object` = "error" (older vLLM, SGLang), or an event of type "error" (LM
 *     Studio), whatever it holds. It comes out raw: codes are numbers in vLLM and strings in LiteLLM. An `error` in a
 *     choice is one, too (OpenRouter). What such a chunk brings of the answer comes before its error; a finish reason
 *     beside an error does not count.
 *  2. `choices` may be missing, null or empty (usage chunks); a choice without `index` is choice 0.
 *  3. `delta` may be missing, null or `{}`; `message` takes its place in whole completions and in some last chunks.
 *  4. Content is a string, null, or a list of parts: parts with text join, a refusal part is a refusal, a part whose
 *     type speaks of thinking or reasoning is reasoning (its text, or the texts of a list in it: Mistral; of its
 *     summary: Databricks), any other part is media.
 *  5. Reasoning is `reasoning` (vLLM since 0.11.1) or `reasoning_content` (before; llama.cpp, SGLang): whichever is a
 *     non-empty string, never both, and before thinking in the content. Either may be null, or an object with a text,
 *     or a list (Envoy's Bedrock).
 *  6. `tool_calls` may be null, a list, or one object (old TGI); `function` may be null; an index may be a text; an
 *     empty id or name is absent, and so is the name "null" (LiteLLM); arguments are a string, or any other value,
 *     which then counts as its own JSON text (TGI). `function_call` is a call without id and index.
 *  7. The finish reason is a string that is not empty, nor "null" (DashScope) or "None". stop_reason, logprobs,
 *     token_ids and usage count when they are not null; usage may stand in a choice (Moonshot), but that of the top
 *     level goes before.
 *  8. `choices[].text` of the older completions endpoint is text.
 *  9. Of duplicate keys the last one wins, as in every JSON library of the servers; known keys with a value of a wrong
 *     type are passed over.
 * 10. What is not known at the top level is an extra (system_fingerprint, service_tier, timings of llama.cpp,
 *     prompt_token_ids, …), unless it is null, or its name is empty or written with escapes, which no server does. What
 *     is not known in an entry of `choices`, in a message or in a call is kept, too, but for nulls and empty values:
 *     extras.c.
 * 11. An object with neither a list of choices nor usage is foreign: a ping, or the words of a server or a proxy
 *     ({"detail":…}, {"code":…,"msg":…}).
 * Bounds: depth, deltas and decoded bytes of one chunk. Memory is kept from chunk to chunk, so a stream in steady state
 * allocates nothing. */
#include <string.h>

#include "delta.h"
#include "extras.h"
#include "slice.h"

#define MAX_TEMPLATE_BYTES 4096

/* Everything around the text of the last chunk that was nothing but one fragment of text, of reasoning or of a call's
 * arguments. While the next chunk has the same bytes around its text, only the text is read. */
struct template {
    struct vllm_buf bytes; /* what stood before the text, opening quote included, then what stood after it, from the
                              closing quote */
    size_t prefix_len;
    bool usable;
    size_t first;                /* as in struct vllm_chunk */
    struct vllm_delta deltas[2]; /* their slices but `text` and `raw` point into `bytes` */
};

struct vllm_chunk {
    struct vllm_gather gather;
    struct template template;
    size_t first;       /* 0 when the chunk has an envelope, else 1 */
    size_t extra_count; /* of the top level */
    bool has_choices;
};

struct envelope {
    struct vllm_value id, model, object, created, error, usage;
};

struct vllm_chunk *vllm_chunk_new(const struct vllm_alloc *alloc, const struct vllm_chunk_limits *limits) {
    struct vllm_chunk *chunk = alloc->fn(alloc->ud, NULL, 0, sizeof *chunk);
    if (!chunk) {
        return NULL;
    }
    memset(chunk, 0, sizeof *chunk);
    vllm_gather_init(&chunk->gather, alloc, limits);
    vllm_buf_init(&chunk->template.bytes, &chunk->gather.alloc, MAX_TEMPLATE_BYTES);
    return chunk;
}

void vllm_chunk_free(struct vllm_chunk *chunk) {
    if (!chunk) {
        return;
    }
    struct vllm_alloc alloc = chunk->gather.alloc;
    vllm_buf_free(&chunk->template.bytes);
    vllm_gather_free(&chunk->gather);
    alloc.fn(alloc.ud, chunk, sizeof *chunk, 0);
}

/* Speculation ------------------------------------------------------------------------------------------------------ */

static bool lies_in(struct vllm_slice slice, struct vllm_slice json) {
    uintptr_t at = (uintptr_t)slice.ptr, from = (uintptr_t)json.ptr;
    return !slice.ptr || (at >= from && at - from <= json.len);
}

/* A slice of `json` becomes one of `bytes`, which is `json` without the text. */
static void rebase(struct vllm_slice *slice, struct vllm_slice json, const char *bytes, struct vllm_slice text) {
    if (slice->ptr) {
        size_t at = (size_t)(slice->ptr - json.ptr);
        slice->ptr = bytes + (slice->ptr < text.ptr ? at : at - text.len);
    }
}

/* Is this chunk one text, or one fragment of arguments, and neither unknown members nor a decoded string besides? */
static bool is_text_alone(const struct vllm_chunk *chunk, struct vllm_slice json) {
    const struct vllm_delta *deltas = chunk->gather.deltas.items, *text = &deltas[1];
    bool is_text =
        chunk->gather.deltas.count == 2 && !text->whole && text->text.ptr && text->raw.ptr && !text->object.ptr &&
        (text->kind == VLLM_DELTA_TEXT || text->kind == VLLM_DELTA_REASONING || text->kind == VLLM_DELTA_TOOL);
    return is_text && lies_in(deltas[0].id, json) && lies_in(deltas[0].model, json) && lies_in(text->id, json) &&
           lies_in(text->name, json);
}

/* Remembers the chunk just read. Failing to is not an error: the next chunk is read in full. */
static void learn(struct vllm_chunk *chunk, struct vllm_slice json) {
    struct template *template = &chunk->template;
    const struct vllm_delta *deltas = chunk->gather.deltas.items;
    template->usable = false;
    if (!is_text_alone(chunk, json)) {
        return;
    }
    struct vllm_slice text = deltas[1].raw;
    size_t prefix = (size_t)(text.ptr - json.ptr), suffix = json.len - prefix - text.len;
    vllm_buf_clear(&template->bytes);
    if (vllm_buf_append(&template->bytes, json.ptr, prefix) != VLLM_OK ||
        vllm_buf_append(&template->bytes, text.ptr + text.len, suffix) != VLLM_OK) {
        return;
    }
    memcpy(template->deltas, deltas, sizeof template->deltas);
    for (size_t i = 0; i < 2; i++) {
        struct vllm_delta *delta = &template->deltas[i];
        rebase(&delta->id, json, template->bytes.data, text);
        rebase(&delta->name, json, template->bytes.data, text);
        rebase(&delta->model, json, template->bytes.data, text);
    }
    template->prefix_len = prefix;
    template->first = chunk->first;
    template->usable = true;
}

/* Reads `json` as one more chunk like the last. False: it is another one, or its text is empty; nothing has
 * happened. */
static bool repeat(struct vllm_chunk *chunk, struct vllm_slice json) {
    struct template *template = &chunk->template;
    struct vllm_json j;
    struct vllm_value text = {VLLM_JSON_STRING, {{NULL, 0}, false}, {NULL, 0}};
    size_t prefix = template->prefix_len, suffix = template->bytes.len - prefix;
    if (!template->usable || json.len <= prefix + suffix || memcmp(json.ptr, template->bytes.data, prefix) != 0 ||
        memcmp(json.ptr + json.len - suffix, template->bytes.data + prefix, suffix) != 0) {
        return false;
    }
    vllm_json_init(&j, json.ptr + prefix - 1, json.len - prefix - suffix + 2, 1);
    if (!vllm_json_string(&j, &text.string) || j.at != j.end) {
        return false;
    }
    struct vllm_deltas *deltas = &chunk->gather.deltas;
    memcpy(deltas->items, template->deltas, sizeof template->deltas);
    deltas->count = 2;
    deltas->items[1].text = vllm_gather_text(&chunk->gather, &text);
    deltas->items[1].raw = text.string.raw;
    chunk->first = template->first;
    return true;
}

/* Reading in full -------------------------------------------------------------------------------------------------- */

/* Drops all deltas of two kinds. */
static void drop(struct vllm_deltas *deltas, enum vllm_delta_kind one, enum vllm_delta_kind other) {
    size_t kept = 0;
    for (size_t i = 0; i < deltas->count; i++) {
        if (deltas->items[i].kind != one && deltas->items[i].kind != other) {
            deltas->items[kept++] = deltas->items[i];
        }
    }
    deltas->count = kept;
}

static void read_choices(struct vllm_chunk *chunk, struct vllm_json *j) {
    struct vllm_value other;
    drop(&chunk->gather.extras, VLLM_DELTA_CHOICE_MEMBERS, VLLM_DELTA_CHOICE_MEMBERS);
    chunk->gather.deltas.count = 1; /* a second list of choices replaces the first */
    chunk->gather.error.ptr = NULL;
    chunk->gather.usage.ptr = NULL;
    chunk->has_choices = vllm_json_peek(j) == VLLM_JSON_ARRAY;
    if (!chunk->has_choices) {
        vllm_value_read(j, &other);
        return;
    }
    bool more = vllm_json_enter(j);
    while (more && chunk->gather.status == VLLM_OK && vllm_json_element(j)) {
        vllm_choice_read(&chunk->gather, j);
    }
}

/* The member's place in the envelope, or NULL. `created` is known and not used. */
static struct vllm_value *envelope_slot(struct envelope *envelope, enum vllm_key key) {
    switch (key) {
    case VLLM_KEY_ID: return &envelope->id;
    case VLLM_KEY_MODEL: return &envelope->model;
    case VLLM_KEY_OBJECT: return &envelope->object;
    case VLLM_KEY_ERROR: return &envelope->error;
    case VLLM_KEY_USAGE: return &envelope->usage;
    case VLLM_KEY_CREATED: return &envelope->created;
    default: return NULL;
    }
}

static void read_extra(struct vllm_chunk *chunk, struct vllm_json *j, const struct vllm_json_string *name) {
    struct vllm_gather *gather = &chunk->gather;
    struct vllm_value value;
    vllm_value_read(j, &value);
    bool given = value.type != VLLM_JSON_INVALID && value.type != VLLM_JSON_NULL;
    if (!given || !name->plain || name->raw.len == 0 || chunk->extra_count == VLLM_MAX_EXTRAS) {
        return;
    }
    chunk->extra_count++;
    struct vllm_delta *delta = vllm_gather_raw(gather, &gather->extras, VLLM_DELTA_EXTRA, value.raw);
    if (delta) {
        delta->name = name->raw;
    }
}

static void read_members(struct vllm_chunk *chunk, struct vllm_json *j, struct envelope *envelope) {
    struct vllm_json_string key;
    chunk->extra_count = 0;
    bool more = vllm_json_enter(j);
    while (more && chunk->gather.status == VLLM_OK && vllm_json_member(j, &key)) {
        enum vllm_key known = vllm_key_of(&key);
        struct vllm_value *slot = envelope_slot(envelope, known);
        if (known == VLLM_KEY_CHOICES) {
            read_choices(chunk, j);
        } else if (slot) {
            vllm_value_read(j, slot);
        } else {
            read_extra(chunk, j, &key);
        }
    }
    if (chunk->gather.status == VLLM_OK && j->status == VLLM_OK) {
        (void)vllm_json_end(j);
    }
    if (j->status == VLLM_ELIMIT) {
        vllm_gather_fail(&chunk->gather, VLLM_ELIMIT, "a chunk is nested deeper than max_depth");
    } else if (j->status != VLLM_OK) {
        vllm_gather_fail(&chunk->gather, j->status, j->why);
    }
}

static void add_error(struct vllm_chunk *chunk, struct vllm_slice json, bool of_answer) {
    struct vllm_delta *delta = vllm_gather_raw(&chunk->gather, &chunk->gather.deltas, VLLM_DELTA_ERROR, json);
    if (delta) {
        delta->of_answer = of_answer;
    }
}

static void set_error_alone(struct vllm_chunk *chunk, struct vllm_slice json) {
    chunk->first = 0;
    chunk->gather.deltas.count = 0;
    add_error(chunk, json, false);
}

static void set_envelope(struct vllm_chunk *chunk, const struct envelope *envelope) {
    struct vllm_slice id = vllm_gather_name(&chunk->gather, &envelope->id);
    struct vllm_slice model = vllm_gather_name(&chunk->gather, &envelope->model);
    chunk->first = id.ptr || model.ptr ? 0 : 1;
    chunk->gather.deltas.items[0].id = id;
    chunk->gather.deltas.items[0].model = model;
}

static void set_usage(struct vllm_chunk *chunk, const struct vllm_value *usage) {
    bool is_usage = usage->type == VLLM_JSON_OBJECT && vllm_value_is_given(usage);
    struct vllm_slice json = is_usage ? usage->raw : chunk->gather.usage;
    (void)vllm_gather_raw(&chunk->gather, &chunk->gather.deltas, VLLM_DELTA_USAGE, json);
}

static void set_extras(struct vllm_chunk *chunk) {
    const struct vllm_deltas *extras = &chunk->gather.extras;
    for (size_t i = 0; i < extras->count; i++) {
        struct vllm_delta *delta = vllm_gather_add(&chunk->gather, &chunk->gather.deltas, VLLM_DELTA_EXTRA);
        if (!delta) {
            return;
        }
        *delta = extras->items[i];
    }
}

static void set_all(struct vllm_chunk *chunk, struct vllm_slice json, const struct envelope *envelope, bool is_error) {
    struct vllm_gather *gather = &chunk->gather;
    bool of_answer = gather->deltas.count > 1;
    is_error = is_error ||
               (envelope->object.type == VLLM_JSON_STRING && vllm_json_string_is(&envelope->object.string, "error")) ||
               vllm_value_is_given(&envelope->error);
    if (is_error && !of_answer) {
        set_error_alone(chunk, json);
        return;
    }
    is_error = is_error || gather->error.ptr;
    if (is_error) {
        drop(&gather->deltas, VLLM_DELTA_FINISH, VLLM_DELTA_CHOICE); /* ends do not count */
    }
    set_envelope(chunk, envelope);
    set_usage(chunk, &envelope->usage);
    if (is_error) {
        add_error(chunk, gather->error.ptr ? gather->error : json, true);
        return;
    }
    learn(chunk, json); /* before the extras: a chunk that repeats them has nothing new to say */
    set_extras(chunk);
    if (!chunk->has_choices && envelope->usage.type != VLLM_JSON_OBJECT) {
        (void)vllm_gather_raw(gather, &gather->deltas, VLLM_DELTA_FOREIGN, json);
    }
}

static void read_object(struct vllm_chunk *chunk, struct vllm_slice json, bool is_error) {
    struct vllm_json j;
    struct envelope envelope;
    memset(&envelope, 0, sizeof envelope);
    chunk->has_choices = false;
    vllm_json_init(&j, json.ptr, json.len, chunk->gather.limits.max_depth);
    enum vllm_json_type type = vllm_json_peek(&j);
    if (type != VLLM_JSON_OBJECT && type != VLLM_JSON_INVALID) {
        vllm_gather_fail(&chunk->gather, VLLM_ESYNTAX, "a chunk is not a JSON object");
        return;
    }
    if (!vllm_gather_add(&chunk->gather, &chunk->gather.deltas, VLLM_DELTA_ENVELOPE)) {
        return;
    }
    read_members(chunk, &j, &envelope);
    if (chunk->gather.status == VLLM_OK) {
        set_all(chunk, json, &envelope, is_error);
    }
}

/* The data of an event of type "error", which may be anything. */
static void read_error(struct vllm_chunk *chunk, struct vllm_slice json) {
    read_object(chunk, json, true);
    if (chunk->gather.status != VLLM_OK && chunk->gather.status != VLLM_ENOMEM) {
        vllm_gather_begin(&chunk->gather, json.len);
        set_error_alone(chunk, json);
    }
}

enum vllm_status vllm_chunk_read(struct vllm_chunk *chunk, struct vllm_slice json, struct vllm_slice event_type,
                                 const char **why) {
    bool is_error = vllm_slice_is(event_type, "error");
    vllm_gather_begin(&chunk->gather, json.len);
    if (is_error) {
        read_error(chunk, json);
    } else if (!repeat(chunk, json)) {
        read_object(chunk, json, false);
    }
    if (chunk->gather.status != VLLM_OK) {
        chunk->first = 0;
        chunk->gather.deltas.count = 0;
        *why = chunk->gather.why;
    }
    return chunk->gather.status;
}

const struct vllm_delta *vllm_chunk_deltas(const struct vllm_chunk *chunk, size_t *count) {
    *count = chunk->gather.deltas.count - chunk->first;
    return chunk->gather.deltas.items ? chunk->gather.deltas.items + chunk->first : NULL;
}
