/* Unknown members of objects → what is kept of them.
 *
 * The rules:
 *  1. A value that is null, false or empty says nothing. A name must be written without escapes, as servers do.
 *  2. In a `delta` strings and lists are increments, as its other members are: they join what came before. A string
 *     that is the whole of what came before is the same one, sent again (Groq repeats `channel`). Everything else,
 *     there and elsewhere: the last value of a name stays.
 *  3. Of duplicate names in one object the last one counts; what came before stays only if all of them can join it.
 * Bounds: VLLM_MAX_EXTRAS names of an object; names and values count for max_message_bytes. */
#include "extras.h"

#include <string.h>

#include "delta.h"

/* The values as they were before the object at hand, for rule 3. */
struct before {
    bool seen[VLLM_MAX_EXTRAS];
    size_t len[VLLM_MAX_EXTRAS];
};

void vllm_extras_free(struct vllm_extras *extras, const struct vllm_alloc *alloc) {
    for (size_t i = 0; i < extras->count; i++) {
        vllm_buf_free(&extras->items[i].name);
        vllm_buf_free(&extras->items[i].value);
    }
    vllm_list_free(alloc, extras->items, extras->cap, sizeof *extras->items);
    memset(extras, 0, sizeof *extras);
}

void vllm_extras_at(const struct vllm_extras *extras, size_t position, struct vllm_slice *name,
                    struct vllm_slice *json) {
    *name = vllm_buf_view(&extras->items[position].name);
    *json = vllm_store_view(&extras->items[position].value);
}

/* The place of this name, perhaps a new one; VLLM_MAX_EXTRAS: there are enough. */
static enum vllm_status find(struct vllm_extras *extras, struct vllm_store *store, struct vllm_slice name,
                             size_t *place) {
    for (*place = 0; *place < extras->count; ++*place) {
        if (vllm_buf_is(&extras->items[*place].name, name)) {
            return VLLM_OK;
        }
    }
    if (extras->count == VLLM_MAX_EXTRAS) {
        return VLLM_OK;
    }
    struct vllm_extra *items = vllm_list_room(&store->alloc, extras->items, extras->count, &extras->cap, sizeof *items);
    if (!items) {
        return vllm_store_fail(store, VLLM_ENOMEM, NULL);
    }
    extras->items = items;
    struct vllm_extra *extra = &extras->items[extras->count];
    vllm_buf_init(&extra->name, &store->alloc, store->max);
    vllm_buf_init(&extra->value, &store->alloc, store->max);
    enum vllm_status status = vllm_store_keep(store, &extra->name, name);
    extras->count += status == VLLM_OK;
    return status;
}

static enum vllm_status replace(struct vllm_store *store, struct vllm_buf *value, struct vllm_slice json) {
    if (vllm_buf_is(value, json)) {
        return VLLM_OK;
    }
    store->used -= value->len;
    vllm_buf_clear(value);
    return vllm_store_keep(store, value, json);
}

static bool is_empty_list(struct vllm_slice json) {
    struct vllm_json j;
    vllm_json_init(&j, json.ptr, json.len, VLLM_JSON_MAX_DEPTH);
    return json.ptr[0] == '[' && vllm_json_enter(&j) && !vllm_json_element(&j);
}

/* Both are strings (an escape of one text may continue in the other, and so may a surrogate pair), or lists with
 * something in them. */
static enum vllm_status append(struct vllm_store *store, struct vllm_buf *value, struct vllm_slice json) {
    bool is_list = json.ptr[0] == '[';
    struct vllm_slice rest = {json.ptr + !is_list, json.len - !is_list};
    value->len--; /* the closing bracket or quote */
    store->used--;
    size_t at = value->len;
    enum vllm_status status = vllm_store_keep(store, value, rest);
    if (status != VLLM_OK) {
        value->len++;
        store->used++;
    } else if (is_list) {
        value->data[at] = ',';
    }
    return status;
}

static bool may_join(const struct vllm_buf *value, struct vllm_slice json) {
    return value->len > 0 && value->data[0] == json.ptr[0] && (json.ptr[0] == '[' || json.ptr[0] == '"');
}

static enum vllm_status join(struct vllm_store *store, struct vllm_buf *value, struct vllm_slice json) {
    if (is_empty_list(json) || (json.ptr[0] == '"' && vllm_buf_is(value, json))) {
        return VLLM_OK;
    }
    return may_join(value, json) ? append(store, value, json) : replace(store, value, json);
}

/* Takes back what a duplicate added. */
static void restore(struct vllm_store *store, struct vllm_buf *value, size_t len) {
    store->used -= value->len - len;
    value->len = len;
    if (len > 0) {
        value->data[len - 1] = value->data[0] == '[' ? ']' : '"';
    }
}

static enum vllm_status join_once(struct vllm_extras *extras, struct vllm_store *store, size_t place,
                                  struct vllm_slice json, struct before *before) {
    struct vllm_buf *value = &extras->items[place].value;
    if (before->seen[place]) {
        restore(store, value, before->len[place]);
    } else {
        before->seen[place] = true;
        before->len[place] = value->len;
    }
    if (!may_join(value, json)) {
        before->len[place] = 0; /* what was there is gone with this one */
    }
    return join(store, value, json);
}

static enum vllm_status put(struct vllm_extras *extras, struct vllm_store *store, struct vllm_slice name,
                            struct vllm_slice json, struct before *before) {
    size_t place;
    enum vllm_status status = find(extras, store, name, &place);
    if (status != VLLM_OK || place == VLLM_MAX_EXTRAS) {
        return status;
    }
    return before ? join_once(extras, store, place, json, before) : replace(store, &extras->items[place].value, json);
}

enum vllm_status vllm_extras_put(struct vllm_extras *extras, struct vllm_store *store, struct vllm_slice name,
                                 struct vllm_slice json) {
    return put(extras, store, name, json, NULL);
}

enum vllm_status vllm_extras_read(struct vllm_extras *extras, struct vllm_store *store, struct vllm_slice object,
                                  enum vllm_level level, bool joins, unsigned max_depth) {
    struct vllm_json j;
    struct vllm_json_string key;
    struct before before;
    enum vllm_status status = VLLM_OK;
    memset(before.seen, 0, sizeof before.seen);
    vllm_json_init(&j, object.ptr, object.len, max_depth);
    bool more = vllm_json_peek(&j) == VLLM_JSON_OBJECT && vllm_json_enter(&j);
    while (more && status == VLLM_OK && vllm_json_member(&j, &key)) {
        struct vllm_value value;
        vllm_value_read(&j, &value);
        bool is_extra = !vllm_key_is_known(level, vllm_key_of(&key)) && vllm_value_is_given(&value);
        if (is_extra && key.plain && key.raw.len > 0) {
            status = put(extras, store, key.raw, value.raw, joins ? &before : NULL);
        }
    }
    return status;
}
