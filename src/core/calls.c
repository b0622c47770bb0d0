/* Fragments of tool calls → calls. What servers send is not what the API describes, so identity is a matter of rules:
 *  1. A fragment with an id that is known belongs to that call, whatever its index (LocalAI sends one call under several).
 *  2. A fragment with a new id begins a call, even under an index that is taken (Ollama, Dynamo and old vLLM give 0 to every call), unless
 *     the call at its index still lacks an id.
 *  3. Without an id the index decides: the newest call under it, or a new one. Indexes may be sparse and in any order; they
 *     name calls, they do not sort them.
 *  4. With neither, it belongs to the latest call.
 *  5. Under rules 2 to 4, a name begins another call if the call found has a name already and its arguments are a complete object or array;
 *     the same name without further arguments is a repetition.
 *  6. A call that came without an index takes the first index that is sent for it without id and name.
 *  7. Names come whole. A second, different one is appended only while there are no arguments (old servers cut names); else it is
 *     passed over. The first id stays.
 *  8. In a whole message the calls are counted: the fragment's index is the place.
 * Observed: vLLM with speculative decoding puts two fragments of one index in one chunk; LiteLLM continues with an empty name.
 * Bounds: the number of calls and the bytes of each text. Argument text is never judged here. */
#include "calls.h"

#include <string.h>

void vllm_calls_init(struct vllm_calls *calls, const struct vllm_alloc *alloc, size_t max_calls, size_t max_bytes) {
    memset(calls, 0, sizeof *calls);
    calls->alloc = alloc;
    calls->max = max_calls;
    calls->max_bytes = max_bytes;
}

void vllm_calls_free(struct vllm_calls *calls) {
    for (size_t i = 0; i < calls->count; i++) {
        vllm_buf_free(&calls->items[i].id);
        vllm_buf_free(&calls->items[i].name);
        vllm_buf_free(&calls->items[i].arguments);
    }
    if (calls->items) {
        calls->alloc->fn(calls->alloc->ud, calls->items, calls->cap * sizeof *calls->items, 0);
    }
    calls->items = NULL;
    calls->count = 0;
    calls->cap = 0;
}

static bool equals(const struct vllm_buf *buf, struct vllm_slice text) {
    return buf->len == text.len && (text.len == 0 || memcmp(buf->data, text.ptr, text.len) == 0);
}

static bool is_blank(struct vllm_slice text) {
    size_t i = 0;
    while (i < text.len && (text.ptr[i] == ' ' || text.ptr[i] == '\t' || text.ptr[i] == '\r' || text.ptr[i] == '\n')) {
        i++;
    }
    return i == text.len;
}

/* Brackets outside strings are counted, from where the last question ended. */
static bool arguments_complete(struct vllm_call *call) {
    struct vllm_call_scan *scan = &call->scan;
    for (; scan->at < call->arguments.len && !scan->complete; scan->at++) {
        char byte = call->arguments.data[scan->at];
        if (scan->in_string) {
            scan->in_string = scan->escaped || byte != '"';
            scan->escaped = !scan->escaped && byte == '\\';
        } else if (byte == '"') {
            scan->in_string = true;
        } else if (byte == '{' || byte == '[') {
            scan->depth++;
        } else if ((byte == '}' || byte == ']') && scan->depth > 0) {
            scan->depth--;
            scan->complete = scan->depth == 0;
        }
    }
    return scan->complete;
}

/* Rule 5. */
static bool begins_another(struct vllm_call *call, const struct vllm_delta *fragment) {
    if (fragment->name.len == 0 || call->name.len == 0 || !arguments_complete(call)) {
        return false;
    }
    return !equals(&call->name, fragment->name) || !is_blank(fragment->text);
}

static struct vllm_call *with_id(struct vllm_calls *calls, struct vllm_slice id) {
    if (calls->count > 0 && equals(&calls->items[calls->latest].id, id)) {
        return &calls->items[calls->latest];
    }
    for (size_t i = calls->count; i > 0; i--) {
        if (equals(&calls->items[i - 1].id, id)) {
            return &calls->items[i - 1];
        }
    }
    return NULL;
}

static struct vllm_call *at_index(struct vllm_calls *calls, int64_t index) {
    for (size_t i = calls->count; i > 0; i--) {
        if (calls->items[i - 1].wire_index == index) {
            return &calls->items[i - 1];
        }
    }
    return NULL;
}

/* Rules 2 to 6, as far as an existing call goes. */
static struct vllm_call *candidate(struct vllm_calls *calls, const struct vllm_delta *fragment) {
    struct vllm_call *latest = calls->count > 0 ? &calls->items[calls->latest] : NULL;
    if (fragment->index < 0) {
        return fragment->id.len > 0 ? NULL : latest;
    }
    struct vllm_call *call = at_index(calls, fragment->index);
    bool bare = fragment->id.len == 0 && fragment->name.len == 0;
    return !call && bare && latest && latest->wire_index < 0 ? latest : call;
}

static struct vllm_call *existing(struct vllm_calls *calls, const struct vllm_delta *fragment) {
    if (fragment->whole) {
        return (uint64_t)fragment->index < calls->count ? &calls->items[fragment->index] : NULL;
    }
    struct vllm_call *call = fragment->id.len > 0 ? with_id(calls, fragment->id) : NULL;
    if (call) {
        return call;
    }
    call = candidate(calls, fragment);
    bool another = call && ((fragment->id.len > 0 && call->id.len > 0) || begins_another(call, fragment));
    return another ? NULL : call;
}

static enum vllm_status grow(struct vllm_calls *calls) {
    size_t cap = calls->cap ? calls->cap * 2 : 4, size = sizeof *calls->items;
    if (cap > SIZE_MAX / size) {
        return VLLM_ENOMEM;
    }
    void *grown = calls->alloc->fn(calls->alloc->ud, calls->items, calls->cap * size, cap * size);
    if (!grown) {
        return VLLM_ENOMEM;
    }
    calls->items = grown;
    calls->cap = cap;
    return VLLM_OK;
}

static enum vllm_status open_call(struct vllm_calls *calls) {
    if (calls->count >= calls->max) {
        return VLLM_ELIMIT;
    }
    enum vllm_status status = calls->count == calls->cap ? grow(calls) : VLLM_OK;
    if (status == VLLM_OK) {
        struct vllm_call *call = &calls->items[calls->count++];
        memset(call, 0, sizeof *call);
        vllm_buf_init(&call->id, calls->alloc, calls->max_bytes);
        vllm_buf_init(&call->name, calls->alloc, calls->max_bytes);
        vllm_buf_init(&call->arguments, calls->alloc, calls->max_bytes);
        call->wire_index = -1;
        call->invalid = "unfinished";
    }
    return status;
}

enum vllm_status vllm_calls_route(struct vllm_calls *calls, const struct vllm_delta *fragment, size_t *place, bool *is_new) {
    struct vllm_call *call = existing(calls, fragment);
    *is_new = call == NULL;
    if (!call) {
        enum vllm_status status = open_call(calls);
        if (status != VLLM_OK) {
            return status;
        }
        call = &calls->items[calls->count - 1];
    }
    if (fragment->index >= 0) {
        call->wire_index = fragment->index;
    }
    *place = (size_t)(call - calls->items);
    calls->latest = *place;
    return VLLM_OK;
}

struct vllm_slice vllm_call_id(const struct vllm_call *call) {
    struct vllm_slice id = {NULL, 0};
    if (call->id.len > 0) {
        id = vllm_buf_view(&call->id);
    } else if (call->made_id[0]) {
        id.ptr = call->made_id;
        id.len = sizeof call->made_id;
    }
    return id;
}

enum vllm_status vllm_call_name(struct vllm_call *call, const struct vllm_delta *fragment, bool *news) {
    enum vllm_status status = VLLM_OK;
    *news = false;
    if (fragment->id.len > 0 && call->id.len == 0) {
        *news = true;
        status = vllm_buf_append(&call->id, fragment->id.ptr, fragment->id.len);
    }
    bool fits = call->name.len == 0 || (call->arguments.len == 0 && !fragment->whole);
    if (status == VLLM_OK && fragment->name.len > 0 && fits && !equals(&call->name, fragment->name)) {
        *news = true;
        status = vllm_buf_append(&call->name, fragment->name.ptr, fragment->name.len);
    }
    return status;
}
