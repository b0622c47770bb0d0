/* Fragments of tool calls → calls. What servers send is not what the API describes, so identity is a matter of rules:
 *  1. A fragment with an id that is known belongs to that call, whatever its index (LocalAI sends one call under
 *     several); where several calls have that id, to the one under its index, else to the newest.
 *  2. A fragment without a name, under an index that is taken, continues the newest call there, whatever its id (there
 *     are servers that make an id for every fragment), as long as the arguments of that call are not complete.
 *  3. A new id with a name begins a call, even under an index that is taken (Ollama, Dynamo and old vLLM give 0 to
 *     every call), unless the call there still lacks an id, or is of the same name in the middle of its arguments.
 *  4. Without an id the index decides: the newest call under it, or a new one. Indexes may be sparse and in any order;
 *     they name calls, they do not sort them.
 *  5. With neither id nor index, or with arguments and an id that is new but no index, it belongs to the latest call. A
 *     call that came without an index takes the first index that is sent for it without a name.
 *  6. Under all of these, a name begins another call if the call found has a name already and its arguments are
 *     complete; or if it is another name, sent with an id, and stands under another index or before any arguments. The
 *     same name without further arguments is a repetition; under another index it may announce a call with the same id,
 *     which begins with arguments that are not a repetition.
 *  7. Complete arguments that come again, for a call with the same id or for no other call, are a repetition (vLLM's
 *     xlam parser sent all twice).
 *  8. Names come whole. A second, different one is appended only while there are no arguments (old servers cut names);
 *     else it is passed over. The first id stays.
 *  9. An id that another call has, here or in the transcript, does not name this one: it finds its fragments, and
 *     another id is made.
 * 10. In a whole message the calls are counted: the fragment's index is the place. One that says again what another of
 *     its id says is that one; of another name than the call at its place, it begins a call.
 * 11. A call without arguments is trusted to have none, unless arguments stand beside it that may be its own: those of
 *     a call without a name, or, in a stream, of one that shares two of id, index (or the lack of it) and name with it,
 *     or that only a whole message brought.
 * Observed: vLLM with speculative decoding puts two fragments of one index in one chunk; LiteLLM continues with an
 * empty name. Bounds: the number of calls and the bytes of each text. Argument text is never judged here. */
#include "calls.h"

#include <string.h>

#include "slice.h"

void vllm_calls_init(struct vllm_calls *calls, const struct vllm_alloc *alloc, size_t max_calls, size_t max_bytes,
                     const struct vllm_buf *taken_ids) {
    memset(calls, 0, sizeof *calls);
    calls->alloc = alloc;
    calls->taken_ids = taken_ids;
    calls->max = max_calls;
    calls->max_bytes = max_bytes;
}

void vllm_calls_free(struct vllm_calls *calls) {
    for (size_t i = 0; i < calls->count; i++) {
        vllm_buf_free(&calls->items[i].id);
        vllm_buf_free(&calls->items[i].name);
        vllm_buf_free(&calls->items[i].arguments);
        vllm_extras_free(&calls->items[i].extras, calls->alloc);
    }
    vllm_list_free(calls->alloc, calls->items, calls->cap, sizeof *calls->items);
    calls->items = NULL;
    calls->count = 0;
    calls->cap = 0;
}

static bool is_blank(struct vllm_slice text) {
    return vllm_slice_trim_start(text).len == 0;
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

/* As above: no blank is looked at twice. */
bool vllm_call_has_arguments(struct vllm_call *call) {
    size_t *blank = &call->scan.blank;
    while (!call->filled && *blank < call->arguments.len && vllm_is_blank(call->arguments.data[*blank])) {
        ++*blank;
    }
    return !call->filled && *blank < call->arguments.len;
}

static bool under_index(const struct vllm_call *call, const struct vllm_delta *fragment) {
    return fragment->index >= 0 && call->wire_index == fragment->index;
}

/* Rule 6. */
static bool begins_another(struct vllm_call *call, const struct vllm_delta *fragment) {
    if (fragment->name.len == 0 || call->name.len == 0) {
        return false;
    }
    bool is_same = vllm_buf_is(&call->name, fragment->name),
         is_known = fragment->id.len > 0 && vllm_buf_is(&call->id, fragment->id);
    if (!arguments_complete(call)) {
        bool elsewhere = fragment->index >= 0 && call->wire_index >= 0 && !under_index(call, fragment);
        return !is_same && fragment->id.len > 0 && (elsewhere || !vllm_call_has_arguments(call));
    }
    return !is_same || !(is_blank(fragment->text) || (is_known && vllm_buf_is(&call->arguments, fragment->text)));
}

/* Rules 2, 3 and 5: does a fragment with another id continue the call? */
static bool goes_on(struct vllm_call *call, const struct vllm_delta *fragment) {
    if (arguments_complete(call)) {
        return fragment->name.len == 0 && (is_blank(fragment->text) || vllm_buf_is(&call->arguments, fragment->text));
    }
    return fragment->name.len == 0 || (vllm_buf_is(&call->name, fragment->name) && vllm_call_has_arguments(call));
}

/* Rule 1. */
static struct vllm_call *with_id(struct vllm_calls *calls, const struct vllm_delta *fragment) {
    struct vllm_call *latest = calls->count > 0 ? &calls->items[calls->latest] : NULL, *found = NULL;
    if (latest && vllm_buf_is(&latest->id, fragment->id) && under_index(latest, fragment)) {
        return latest;
    }
    for (size_t i = calls->count; i > 0; i--) {
        struct vllm_call *call = &calls->items[i - 1];
        if (vllm_buf_is(&call->id, fragment->id)) {
            if (under_index(call, fragment)) {
                return call;
            }
            found = found ? found : call;
        }
    }
    return found;
}

static struct vllm_call *at_index(struct vllm_calls *calls, const struct vllm_delta *fragment) {
    for (size_t i = calls->count; i > 0; i--) {
        if (under_index(&calls->items[i - 1], fragment)) {
            return &calls->items[i - 1];
        }
    }
    return NULL;
}

/* Where a fragment may belong that has no id, or a new one. */
static struct vllm_call *candidate(struct vllm_calls *calls, const struct vllm_delta *fragment) {
    struct vllm_call *latest = calls->count > 0 ? &calls->items[calls->latest] : NULL;
    bool announces = fragment->id.len > 0 && (fragment->name.len > 0 || is_blank(fragment->text));
    if (fragment->index < 0) {
        return announces ? NULL : latest;
    }
    struct vllm_call *call = at_index(calls, fragment);
    bool bare = fragment->name.len == 0 && !announces;
    return !call && bare && latest && latest->wire_index < 0 ? latest : call;
}

static bool says_the_same(const struct vllm_call *call, const struct vllm_delta *fragment) {
    return fragment->id.len > 0 && vllm_buf_is(&call->id, fragment->id) && vllm_buf_is(&call->name, fragment->name) &&
           vllm_buf_is(&call->arguments, fragment->text);
}

/* Rule 10, for a call in another order or of another name than the one at its place. */
static struct vllm_call *misplaced(struct vllm_calls *calls, const struct vllm_delta *fragment, size_t place) {
    struct vllm_call *call = &calls->items[place];
    bool is_other_id = fragment->id.len > 0 && call->id.len > 0 && !vllm_buf_is(&call->id, fragment->id);
    bool is_other_name = fragment->name.len > 0 && call->name.len > 0 && !vllm_buf_is(&call->name, fragment->name);
    for (size_t i = place + 1; (is_other_id || is_other_name) && i < calls->count; i++) {
        if (says_the_same(&calls->items[i], fragment)) {
            return &calls->items[i];
        }
    }
    return is_other_name ? NULL : call;
}

/* Rule 10. */
static struct vllm_call *at_place(struct vllm_calls *calls, const struct vllm_delta *fragment) {
    calls->repeated = fragment->index == 0 ? 0 : calls->repeated;
    size_t place = (size_t)fragment->index - calls->repeated;
    for (size_t i = 0; i < place && i < calls->count; i++) {
        if (says_the_same(&calls->items[i], fragment)) {
            calls->repeated++;
            return &calls->items[i];
        }
    }
    return place < calls->count ? misplaced(calls, fragment, place) : NULL;
}

/* How far the complete arguments have come again with `text`; 0: it is something else. */
static size_t comes_again(struct vllm_call *call, struct vllm_slice text) {
    size_t again = call->again;
    for (size_t i = 0; i < text.len; i++) {
        if (again == call->arguments.len || call->arguments.data[again] != text.ptr[i]) {
            return 0;
        }
        again++;
    }
    return arguments_complete(call) ? again : 0;
}

/* Rule 6, the announcement: does the fragment begin the call that the same name announced? */
static bool begins_announced(struct vllm_call *call, const struct vllm_delta *fragment) {
    return call->announces && fragment->name.len == 0 && !is_blank(fragment->text) &&
           comes_again(call, fragment->text) == 0;
}

static void note_announcement(struct vllm_call *call, const struct vllm_delta *fragment) {
    bool elsewhere = fragment->index >= 0 && !under_index(call, fragment);
    bool is_known =
        fragment->id.len > 0 && vllm_buf_is(&call->id, fragment->id) && vllm_buf_is(&call->name, fragment->name);
    call->announces =
        call->announces || (is_known && elsewhere && is_blank(fragment->text) && arguments_complete(call));
}

static struct vllm_call *existing(struct vllm_calls *calls, const struct vllm_delta *fragment) {
    if (fragment->whole) {
        return at_place(calls, fragment);
    }
    struct vllm_call *call = fragment->id.len > 0 ? with_id(calls, fragment) : NULL;
    bool is_known = call != NULL;
    call = is_known ? call : candidate(calls, fragment);
    if (!call || begins_another(call, fragment)) {
        return NULL;
    }
    bool is_foreign = !is_known && fragment->id.len > 0 && call->id.len > 0;
    return is_foreign && !goes_on(call, fragment) ? NULL : call;
}

static enum vllm_status open_call(struct vllm_calls *calls) {
    if (calls->count >= calls->max) {
        return VLLM_ELIMIT;
    }
    struct vllm_call *items = vllm_list_room(calls->alloc, calls->items, calls->count, &calls->cap, sizeof *items);
    if (!items) {
        return VLLM_ENOMEM;
    }
    calls->items = items;
    struct vllm_call *call = &calls->items[calls->count++];
    memset(call, 0, sizeof *call);
    vllm_buf_init(&call->id, calls->alloc, calls->max_bytes);
    vllm_buf_init(&call->name, calls->alloc, calls->max_bytes);
    vllm_buf_init(&call->arguments, calls->alloc, calls->max_bytes);
    call->wire_index = -1;
    call->invalid = "unfinished";
    return VLLM_OK;
}

/* The last call takes id and name of the one that announced it, and what was taken for a repetition of its
 * arguments. */
static enum vllm_status take_over(struct vllm_calls *calls, size_t place) {
    struct vllm_call *from = &calls->items[place], *call = &calls->items[calls->count - 1];
    enum vllm_status status = vllm_buf_append(&call->id, from->id.data, from->id.len);
    if (status == VLLM_OK) {
        status = vllm_buf_append(&call->name, from->name.data, from->name.len);
    }
    if (status == VLLM_OK) {
        status = vllm_buf_append(&call->arguments, from->arguments.data, from->again);
    }
    call->id_is_taken = true;
    from->again = 0;
    from->announces = false;
    return status;
}

enum vllm_status vllm_calls_route(struct vllm_calls *calls, const struct vllm_delta *fragment, size_t *place,
                                  bool *is_new) {
    struct vllm_call *call = existing(calls, fragment);
    bool is_announced = call && !fragment->whole && begins_announced(call, fragment);
    size_t announcer = is_announced ? (size_t)(call - calls->items) : 0;
    *is_new = !call || is_announced;
    if (*is_new) {
        enum vllm_status status = open_call(calls);
        if (status == VLLM_OK && is_announced) {
            status = take_over(calls, announcer);
        }
        if (status != VLLM_OK) {
            return status;
        }
        call = &calls->items[calls->count - 1];
        call->whole = fragment->whole;
    } else {
        note_announcement(call, fragment);
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
    if (call->made_id[0]) {
        id.ptr = call->made_id;
        id.len = sizeof call->made_id;
    } else if (call->id.len > 0) {
        id = vllm_buf_view(&call->id);
    }
    return id;
}

/* Texts with a NUL between them. */
static bool holds(const struct vllm_buf *list, struct vllm_slice text) {
    if (list->len == 0) {
        return false;
    }
    const char *at = list->data, *end = list->data + list->len;
    while (at <= end) {
        const char *stop = memchr(at, '\0', (size_t)(end - at));
        stop = stop ? stop : end;
        if ((size_t)(stop - at) == text.len && memcmp(at, text.ptr, text.len) == 0) {
            return true;
        }
        at = stop + 1;
    }
    return false;
}

bool vllm_calls_have_id(const struct vllm_calls *calls, const struct vllm_call *but, struct vllm_slice id) {
    for (size_t i = 0; i < calls->count; i++) {
        const struct vllm_call *call = &calls->items[i];
        struct vllm_slice shown = vllm_call_id(call);
        bool is_made = shown.len == id.len && id.len > 0 && memcmp(shown.ptr, id.ptr, id.len) == 0;
        if (call != but && (is_made || vllm_buf_is(&call->id, id))) {
            return true;
        }
    }
    return holds(calls->taken_ids, id);
}

enum vllm_status vllm_call_name(const struct vllm_calls *calls, struct vllm_call *call,
                                const struct vllm_delta *fragment, bool *news) {
    enum vllm_status status = VLLM_OK;
    *news = false;
    if (fragment->id.len > 0 && call->id.len == 0) {
        *news = true;
        call->id_is_taken = vllm_calls_have_id(calls, call, fragment->id);
        status = vllm_buf_append(&call->id, fragment->id.ptr, fragment->id.len);
    }
    bool fits = call->name.len == 0 || (!vllm_call_has_arguments(call) && !fragment->whole);
    if (status == VLLM_OK && fragment->name.len > 0 && fits && !vllm_buf_is(&call->name, fragment->name)) {
        *news = true;
        status = vllm_buf_append(&call->name, fragment->name.ptr, fragment->name.len);
    }
    return status;
}

bool vllm_call_repeats(struct vllm_call *call, struct vllm_slice text) {
    size_t again = comes_again(call, text);
    if (again > 0) {
        call->again = again == call->arguments.len ? 0 : again;
    }
    return again > 0;
}

bool vllm_calls_may_lack_arguments(const struct vllm_calls *calls, const struct vllm_call *call) {
    for (size_t i = 0; i < calls->count; i++) {
        struct vllm_call *other = &calls->items[i];
        if (other == call || !vllm_call_has_arguments(other)) {
            continue;
        }
        int shared = (call->id.len > 0 && vllm_buf_is(&other->id, vllm_buf_view(&call->id))) +
                     (other->wire_index == call->wire_index) + vllm_buf_is(&other->name, vllm_buf_view(&call->name));
        if (other->name.len == 0 || (!call->whole && (shared >= 2 || other->whole))) {
            return true;
        }
    }
    return false;
}
