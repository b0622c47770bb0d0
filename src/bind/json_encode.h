/* The inside of the encoder: json_encode.c writes, json_names.c knows which names and marks mean something,
 * json_order.c sorts. */
#ifndef VLLM_JSON_ENCODE_H
#define VLLM_JSON_ENCODE_H

#include "bind.h"

#define ENCODE_ORDER "__jsonorder" /* a field of a table or its metatable: names that are written first */

/* One value on the way down. */
struct encode_frame {
    const struct encode_frame *parent;
    const char *name; /* of the member, borrowed from `names`; NULL: an element, or the root */
    size_t name_len;
    size_t index;   /* of the element, from 1 */
    int at;         /* stack index of the value */
    unsigned depth; /* composites around it */
    bool is_thing;  /* the name was chosen by the user (a property, a definition), so it means nothing to us */
};

/* A member's name; the buffers hold these one after the other. */
struct encode_key {
    const char *ptr; /* of a string that `names` of the encoder holds, or the caller otherwise */
    size_t len, rank;
};

struct encode_options {
    bool request;    /* bare {} is an array under the member names that a request's schema says so */
    unsigned indent; /* spaces a level; 0: compact */
};

struct encoder {
    lua_State *L;
    struct vllm_buf *out;
    struct vllm_buf *keys; /* of all open objects: struct encode_key, one after the other */
    int names;             /* stack index of a list of the same names: a finalizer may empty the object meanwhile */
    const struct encode_options *options;
    int pieces;     /* stack index of a list: what is written already, where long raw texts are in it */
    int count;      /* of them */
    size_t written; /* bytes in them */
};

/* The value at the top of the stack. False: message and path were pushed. */
bool encode_value(struct encoder *e, struct encode_frame *frame);
bool encode_fail(struct encoder *e, const struct encode_frame *frame, const char *message);

/* json_names.c: what names, metatables and constants mean. json_order.c: which member comes first. */
enum encode_mark { ENCODE_UNMARKED, ENCODE_ARRAY, ENCODE_OBJECT, ENCODE_RAW };
enum encode_constant { ENCODE_UNKNOWN, ENCODE_NULL, ENCODE_EMPTY_ARRAY };
/* What the metatable of the table says. */
enum encode_mark encode_mark_of(lua_State *L, int table);
/* What the userdata, light or full, stands for. */
enum encode_constant encode_constant_of(lua_State *L, int index);
/* Has the value this name, and does the name mean something? */
bool encode_is_named(const struct encode_frame *frame, const char *name);
/* Are the members of this object named by the user? */
bool encode_names_things(const struct encode_frame *frame);
/* Is an empty table an array here? */
bool encode_wants_array(const struct encoder *e, const struct encode_frame *frame);

/* Is this member (a string key and its value) the `__jsonorder` list? Any other value under that name is plain data. */
bool encode_is_order(lua_State *L, int key, int value);
/* Sorts the keys from the one at `first` on: by rank, then by bytes. */
void encode_sort_keys(struct vllm_buf *keys, size_t first);
/* Appends the names of the object at `frame->at` to `e->keys`, in the order in which they are written. */
VLLM_NODISCARD enum vllm_status encode_sorted_keys(struct encoder *e, const struct encode_frame *frame, size_t *count);

#endif
