/* A transcript → the JSON array that goes into a request as `messages`: conversion by kind of message, and role
 * merging.
 *
 * Collect first (begin, then its pieces, message after message), then write once. Collecting copies no text: every
 * slice is borrowed until the write is over. Writing is one pass over the pieces and depends on nothing but them and
 * the options, so the same transcript gives the same bytes in every process (the server's prefix cache lives on that).
 * The rules stand at the top of messages.c. */
#ifndef VLLM_MESSAGES_H
#define VLLM_MESSAGES_H

#include "buf.h"

enum vllm_message_kind {
    VLLM_MESSAGE_SYSTEM,
    VLLM_MESSAGE_CONTEXT, /* goes out as system */
    VLLM_MESSAGE_DEVELOPER,
    VLLM_MESSAGE_USER,
    VLLM_MESSAGE_NOTIFICATION, /* goes out as user, wrapped */
    VLLM_MESSAGE_ASSISTANT,
    VLLM_MESSAGE_TOOL,
    VLLM_MESSAGE_OTHER /* a role that only the server's template knows */
};

struct vllm_message {
    enum vllm_message_kind kind;
    bool is_error;             /* tool: the result is a failure, and says so to the model */
    size_t tag;                /* the caller's number for it; comes back in a fault */
    struct vllm_slice name;    /* ptr NULL: none */
    struct vllm_slice call_id; /* tool */
    struct vllm_slice role;    /* other */
};

enum vllm_piece_type {
    VLLM_PIECE_TEXT,        /* text */
    VLLM_PIECE_FILE,        /* text = contents, extra = heading: one text */
    VLLM_PIECE_REASONING,   /* text; assistant only */
    VLLM_PIECE_CALL,        /* text = raw arguments, name, extra = id; assistant only */
    VLLM_PIECE_IMAGE,       /* text = url, extra = detail (may be absent); this and the following: user, tool, other */
    VLLM_PIECE_IMAGE_BYTES, /* text = bytes, name = mime, extra = detail */
    VLLM_PIECE_AUDIO,       /* text = url */
    VLLM_PIECE_AUDIO_DATA,  /* text = base64, name = format */
    VLLM_PIECE_AUDIO_BYTES, /* text = bytes, name = format */
    VLLM_PIECE_VIDEO,       /* text = url */
    VLLM_PIECE_VIDEO_BYTES, /* text = bytes, name = mime */
    VLLM_PIECE_JSON,        /* text = a checked JSON object: a wire part passed on as it is; not in a notification */
    /* Members that are not known here: name, text = checked JSON. Before all other pieces they are of the message;
     * after a call, those of its function first, of the call. Each run sorted by bytes, without names that are written
     * anyway. */
    VLLM_PIECE_FUNCTION_MEMBER,
    VLLM_PIECE_MEMBER
};

struct vllm_piece {
    enum vllm_piece_type type;
    struct vllm_slice text, name, extra;
};

struct vllm_messages_options {
    bool merge_users;     /* adjacent user messages become one, its content always an array */
    bool fold_system;     /* the text of all system, context and developer messages: one system message at the front */
    bool join_assistants; /* adjacent assistant messages become one, their texts one string */
    struct vllm_slice filler; /* ptr NULL: none; otherwise the user message put before a leading assistant message */
    struct vllm_slice reasoning_field; /* the key of an assistant's reasoning */
};

/* What could not be written: the message's tag, the text at fault and the place of its first malformed byte. */
struct vllm_messages_fault {
    size_t tag, offset;
    struct vllm_slice text;
};

struct vllm_messages {
    const struct vllm_alloc *alloc;
    struct vllm_messages_entry *entries;
    size_t entry_count, entry_cap;
    struct vllm_piece *pieces;
    size_t piece_count, piece_cap;
};

void vllm_messages_init(struct vllm_messages *m, const struct vllm_alloc *alloc);
void vllm_messages_free(struct vllm_messages *m); /* may run twice */

/* VLLM_OK, VLLM_ENOMEM, VLLM_ELIMIT; VLLM_EINVALID for a piece that its message cannot hold, or that has no message. */
VLLM_NODISCARD enum vllm_status vllm_messages_begin(struct vllm_messages *m, const struct vllm_message *message);
VLLM_NODISCARD enum vllm_status vllm_messages_piece(struct vllm_messages *m, const struct vllm_piece *piece);

/* Appends the array. VLLM_OK; VLLM_EUTF8 with `fault` set; VLLM_ELIMIT, VLLM_ENOMEM. On failure `out` holds an
 * unfinished array. */
VLLM_NODISCARD enum vllm_status vllm_messages_write(const struct vllm_messages *m,
                                                    const struct vllm_messages_options *options, struct vllm_buf *out,
                                                    struct vllm_messages_fault *fault);

#endif
