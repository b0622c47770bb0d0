/* One JSON text of a chat completion stream, or one whole completion → deltas. The place where dialects end.
 *
 * The rules, and who made them necessary:
 *  1. An error is looked for before choices: a key `error` with something in it (a string, an object, a list; null, false and empty values
 *     are no error), `object` = "error" (older vLLM, SGLang), or an event of type "error" (LM Studio), whatever it holds. It comes out raw:
 *     codes are numbers in vLLM and strings in LiteLLM.
 *  2. `choices` may be missing, null or empty (usage chunks); a choice without `index` is choice 0.
 *  3. `delta` may be missing, null or `{}`; `message` takes its place in whole completions and in some last chunks.
 *  4. Content is a string, null, or a list of parts: parts with text join, a refusal part is a refusal, any other part is media.
 *  5. Reasoning is `reasoning` (vLLM since 0.11.1) or `reasoning_content` (before; llama.cpp, SGLang): whichever is a non-empty string,
 *     never both. Either may be null.
 *  6. `tool_calls` may be null, a list, or one object (old TGI); `function` may be null; an empty id or name is absent; arguments
 *     are a string, or any other value, which then counts as its own JSON text (TGI). `function_call` is a call without id and index.
 *  7. The finish reason is a string that is not empty. stop_reason, logprobs, token_ids and usage count when they are not null.
 *  8. `choices[].text` of the older completions endpoint is text.
 *  9. Of duplicate keys the last one wins, as in every JSON library of the servers; unknown keys, and known keys with a value of
 *     a wrong type, are passed over.
 * Bounds: depth, deltas and decoded bytes of one chunk. Memory is kept from chunk to chunk, so a stream in steady state allocates nothing. */
#include <string.h>

#include "delta.h"

#define MAX_TEMPLATE_BYTES 4096

/* Everything around the text of the last chunk that was nothing but one piece of text or reasoning. While the next chunk has the same bytes
 * around its text, only the text is read. */
struct template {
    struct vllm_buf bytes; /* what stood before the text, opening quote included, then what stood after it, from the closing quote */
    size_t prefix_len;
    bool usable;
    size_t count;                /* 1, or 2 when there was an envelope */
    struct vllm_delta deltas[2]; /* the envelope's slices point into `bytes` */
};

struct vllm_chunk {
    struct vllm_gather gather;
    struct template template;
    size_t first; /* 0 when the chunk has an envelope, else 1 */
};

struct envelope {
    struct vllm_value id, model, object, error, usage;
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

/* Speculation -------------------------------------------------------------------------------------------------------- */

static void rebase(struct vllm_slice *slice, struct vllm_slice json, const char *bytes, size_t gap_at, size_t gap_len) {
    if (slice->ptr) {
        size_t at = (size_t)(slice->ptr - json.ptr);
        slice->ptr = bytes + (at < gap_at ? at : at - gap_len);
    }
}

static bool lies_in(struct vllm_slice slice, struct vllm_slice json) {
    uintptr_t at = (uintptr_t)slice.ptr, from = (uintptr_t)json.ptr;
    return !slice.ptr || (at >= from && at - from <= json.len);
}

/* Remembers the chunk just read, if it was text alone. Failing to is no error: the next chunk is read in full. */
static void learn(struct vllm_chunk *chunk, struct vllm_slice json) {
    struct template *template = &chunk->template;
    const struct vllm_delta *deltas = chunk->gather.deltas.items + chunk->first;
    size_t count = chunk->gather.deltas.count - chunk->first;
    size_t text_len = chunk->gather.text_raw.len;
    template->usable = false;
    if (count == 0 || count > 2 || (count == 2) != (chunk->first == 0) || json.len - text_len > MAX_TEMPLATE_BYTES) {
        return;
    }
    const struct vllm_delta *text = &deltas[count - 1];
    bool plain_text = (text->kind == VLLM_DELTA_TEXT || text->kind == VLLM_DELTA_REASONING) && !text->whole;
    if (!plain_text || !lies_in(deltas[0].id, json) || !lies_in(deltas[0].model, json)) {
        return;
    }
    size_t text_at = (size_t)(chunk->gather.text_raw.ptr - json.ptr);
    size_t text_end = text_at + text_len;
    vllm_buf_clear(&template->bytes);
    if (vllm_buf_append(&template->bytes, json.ptr, text_at) != VLLM_OK ||
        vllm_buf_append(&template->bytes, json.ptr + text_end, json.len - text_end) != VLLM_OK) {
        return;
    }
    memcpy(template->deltas, deltas, count * sizeof *deltas);
    rebase(&template->deltas[0].id, json, template->bytes.data, text_at, text_len);
    rebase(&template->deltas[0].model, json, template->bytes.data, text_at, text_len);
    template->prefix_len = text_at;
    template->count = count;
    template->usable = true;
}

/* Reads `json` as one more chunk like the last. False: it is another one, or its text is empty; nothing has happened. */
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
    chunk->first = 2 - template->count;
    memcpy(deltas->items + chunk->first, template->deltas, template->count * sizeof *deltas->items);
    deltas->count = 2;
    deltas->items[1].text = vllm_gather_text(&chunk->gather, &text);
    return true;
}

/* Reading in full ---------------------------------------------------------------------------------------------------- */

static void read_choices(struct vllm_chunk *chunk, struct vllm_json *j) {
    struct vllm_value other;
    chunk->gather.deltas.count = 1; /* a second list of choices replaces the first */
    if (vllm_json_peek(j) != VLLM_JSON_ARRAY) {
        vllm_value_read(j, &other);
        return;
    }
    bool more = vllm_json_enter(j);
    while (more && chunk->gather.status == VLLM_OK && vllm_json_element(j)) {
        vllm_choice_read(&chunk->gather, j);
    }
}

static struct vllm_value *envelope_slot(struct envelope *envelope, enum vllm_key key, struct vllm_value *other) {
    switch (key) {
    case VLLM_KEY_ID:
        return &envelope->id;
    case VLLM_KEY_MODEL:
        return &envelope->model;
    case VLLM_KEY_OBJECT:
        return &envelope->object;
    case VLLM_KEY_ERROR:
        return &envelope->error;
    case VLLM_KEY_USAGE:
        return &envelope->usage;
    default:
        return other;
    }
}

static void read_members(struct vllm_chunk *chunk, struct vllm_json *j, struct envelope *envelope) {
    struct vllm_json_string key;
    struct vllm_value other;
    bool more = vllm_json_enter(j);
    while (more && chunk->gather.status == VLLM_OK && vllm_json_member(j, &key)) {
        enum vllm_key known = vllm_key_of(&key);
        if (known == VLLM_KEY_CHOICES) {
            read_choices(chunk, j);
        } else {
            vllm_value_read(j, envelope_slot(envelope, known, &other));
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

static void set_error(struct vllm_chunk *chunk, struct vllm_slice json) {
    chunk->first = 0;
    chunk->gather.deltas.count = 0;
    struct vllm_delta *delta = vllm_gather_add(&chunk->gather, &chunk->gather.deltas, VLLM_DELTA_ERROR);
    if (delta) {
        delta->raw = json;
    }
}

static void set_envelope(struct vllm_chunk *chunk, const struct envelope *envelope) {
    struct vllm_slice id = vllm_gather_text(&chunk->gather, &envelope->id);
    struct vllm_slice model = vllm_gather_text(&chunk->gather, &envelope->model);
    chunk->first = id.ptr || model.ptr ? 0 : 1;
    chunk->gather.deltas.items[0].id = id;
    chunk->gather.deltas.items[0].model = model;
}

static void set_usage(struct vllm_chunk *chunk, const struct vllm_value *usage) {
    bool is_usage = usage->type == VLLM_JSON_OBJECT && vllm_value_is_given(usage);
    struct vllm_delta *delta = is_usage ? vllm_gather_add(&chunk->gather, &chunk->gather.deltas, VLLM_DELTA_USAGE) : NULL;
    if (delta) {
        delta->raw = usage->raw;
    }
}

static void read_object(struct vllm_chunk *chunk, struct vllm_slice json) {
    struct vllm_json j;
    struct envelope envelope;
    memset(&envelope, 0, sizeof envelope);
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
    if (chunk->gather.status != VLLM_OK) {
        return;
    }
    bool flat = envelope.object.type == VLLM_JSON_STRING && vllm_json_string_is(&envelope.object.string, "error");
    if (flat || vllm_value_is_given(&envelope.error)) {
        set_error(chunk, json);
        return;
    }
    set_envelope(chunk, &envelope);
    set_usage(chunk, &envelope.usage);
    learn(chunk, json);
}

enum vllm_status vllm_chunk_read(struct vllm_chunk *chunk, struct vllm_slice json, struct vllm_slice event_type, const char **why) {
    static const char error[] = "error";
    bool is_error = event_type.len == sizeof error - 1 && memcmp(event_type.ptr, error, event_type.len) == 0;
    vllm_gather_begin(&chunk->gather, json.len);
    if (is_error) {
        set_error(chunk, json);
    } else if (!repeat(chunk, json)) {
        read_object(chunk, json);
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
