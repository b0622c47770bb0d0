/* The tokens and parts that wire messages are made of, appended to one buffer. Used by messages.c alone.
 * The first failure sticks, and every later call does nothing; so a writer of a whole message needs no checks of its
 * own. */
#ifndef VLLM_WIRE_H
#define VLLM_WIRE_H

#include "messages.h"

struct vllm_wire {
    const struct vllm_messages *m;
    const struct vllm_messages_options *options;
    struct vllm_buf *out;
    struct vllm_messages_fault *fault; /* set with VLLM_EUTF8 */
    enum vllm_status status;
    size_t tag;                                    /* of the message being written, for the fault */
    bool comma;                                    /* the object or array at hand already has a member */
    bool composing;                                /* the last thing written is a string that may be extended */
    const struct vllm_piece *member, *members_end; /* of the object at hand, still to be written among its keys */
};

#define VLLM_WIRE_BLANK_LINE "\\n\\n" /* a lead for vllm_wire_extend */

void vllm_wire_put(struct vllm_wire *w, const char *json);     /* as it is */
void vllm_wire_separate(struct vllm_wire *w);                  /* a comma, unless nothing was written at this level */
void vllm_wire_key(struct vllm_wire *w, const char *literal);  /* separate, then put */
void vllm_wire_open(struct vllm_wire *w, const char *bracket); /* put: a level without members begins */
void vllm_wire_shut(struct vllm_wire *w, const char *bracket); /* put: it ends, and is a member of the one around it */
bool vllm_wire_comes_before(struct vllm_slice a, struct vllm_slice b); /* by bytes */
/* The same at the level of a message or a call, whose own members come in between: those whose names sort before the
 * literal's key. */
void vllm_wire_sorted_key(struct vllm_wire *w, const char *literal);
void vllm_wire_members(struct vllm_wire *w,
                       struct vllm_slice before); /* the members whose names sort before this one */
void vllm_wire_rest(struct vllm_wire *w);         /* all that are left */
void vllm_wire_string(struct vllm_wire *w, struct vllm_slice text);
/* Adds text to the string just written, or (composing false) begins one. `lead` is JSON-escaped, at least a byte long,
 * and goes between; where it begins a string, its first byte is the quote. */
void vllm_wire_extend(struct vllm_wire *w, const char *lead, struct vllm_slice text);
/* Adds `json` (escaped, no quote) to the string just written and ends it. */
void vllm_wire_close(struct vllm_wire *w, const char *json);
/* One part of a content list. */
void vllm_wire_part(struct vllm_wire *w, const struct vllm_piece *piece);

#endif
