/* core.messages(list, options): the flat list of messages.lua in, the JSON text of the wire messages out.
 * core.message_codes: name → number, of `kinds` and `pieces` below.
 *
 * The list is flat, so that a transcript costs no table a message: a number says what follows, then come its operands.
 *   a kind    a message: its number in the caller's list, and its name or false; of a tool message also its call's id
 *             and whether it is an error; of another also its role
 *   a piece   a piece of the last message: the operands that its row of `pieces` names
 * Returns the text, or nil, message, the number of the message at fault (or nil), the text at fault (or nil). Texts are
 * borrowed from the list, which keeps them alive. A malformed list raises: only messages.lua writes one. */
#include "bind.h"

#include "../core/messages.h"

#define CLASS     "vllm.messages"
#define MAX_BODY  ((size_t)256 << 20)
#define MOST_BODY ((size_t)1 << 40 < SIZE_MAX / 4 ? (size_t)1 << 40 : SIZE_MAX / 4)

static const char *const kinds[] = {
    [VLLM_MESSAGE_SYSTEM] = "system",
    [VLLM_MESSAGE_CONTEXT] = "context",
    [VLLM_MESSAGE_DEVELOPER] = "developer",
    [VLLM_MESSAGE_USER] = "user",
    [VLLM_MESSAGE_NOTIFICATION] = "notification",
    [VLLM_MESSAGE_ASSISTANT] = "assistant",
    [VLLM_MESSAGE_TOOL] = "tool",
    [VLLM_MESSAGE_OTHER] = "other",
};

static const struct {
    const char *name, *operands; /* t text, n name, e extra */
} pieces[] = {
    [VLLM_PIECE_TEXT] = {"text", "t"},
    [VLLM_PIECE_FILE] = {"file", "te"},
    [VLLM_PIECE_REASONING] = {"reasoning", "t"},
    [VLLM_PIECE_CALL] = {"call", "tne"},
    [VLLM_PIECE_IMAGE] = {"image", "te"},
    [VLLM_PIECE_IMAGE_BYTES] = {"image_bytes", "tne"},
    [VLLM_PIECE_AUDIO] = {"audio", "t"},
    [VLLM_PIECE_AUDIO_DATA] = {"audio_data", "tn"},
    [VLLM_PIECE_AUDIO_BYTES] = {"audio_bytes", "tn"},
    [VLLM_PIECE_VIDEO] = {"video", "t"},
    [VLLM_PIECE_VIDEO_BYTES] = {"video_bytes", "tn"},
    [VLLM_PIECE_JSON] = {"json", "t"},
    [VLLM_PIECE_FUNCTION_MEMBER] = {"function_member", "tn"},
    [VLLM_PIECE_MEMBER] = {"member", "tn"},
};

/* The number of a kind is its place in `kinds`, from 1 on; the pieces follow. */
#define KINDS  (sizeof kinds / sizeof *kinds)
#define PIECES (sizeof pieces / sizeof *pieces)

struct messages_box {
    struct vllm_alloc alloc;
    struct vllm_messages messages;
};

static int l_messages_release(lua_State *L) {
    struct messages_box *box = luaL_checkudata(L, 1, CLASS);
    if (box->messages.alloc) {
        vllm_messages_free(&box->messages);
    }
    return 0;
}

struct operands {
    lua_State *L;
    lua_Integer at; /* the next operand */
};

/* A string of the list, borrowed; false is an absent one. */
static struct vllm_slice read_text(struct operands *r) {
    struct vllm_slice text = {NULL, 0};
    lua_rawgeti(r->L, 1, (int)r->at++);
    if (lua_type(r->L, -1) == LUA_TSTRING) {
        text.ptr = lua_tolstring(r->L, -1, &text.len);
    } else if (!lua_isboolean(r->L, -1) || lua_toboolean(r->L, -1)) {
        luaL_error(r->L, "core.messages: operand %d is not a text", (int)(r->at - 1));
    }
    lua_pop(r->L, 1);
    return text;
}

static size_t read_number(struct operands *r) {
    lua_rawgeti(r->L, 1, (int)r->at++);
    lua_Integer number = lua_tointeger(r->L, -1);
    if (lua_type(r->L, -1) != LUA_TNUMBER || number < 0) {
        luaL_error(r->L, "core.messages: operand %d is not a number", (int)(r->at - 1));
    }
    lua_pop(r->L, 1);
    return (size_t)number;
}

static enum vllm_status read_message(struct operands *r, struct vllm_messages *messages, size_t op) {
    struct vllm_message message = {VLLM_MESSAGE_SYSTEM, false, 0, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    message.kind = (enum vllm_message_kind)(op - 1);
    message.tag = read_number(r);
    message.name = read_text(r);
    if (message.kind == VLLM_MESSAGE_TOOL) {
        message.call_id = read_text(r);
        lua_rawgeti(r->L, 1, (int)r->at++);
        message.is_error = lua_toboolean(r->L, -1);
        lua_pop(r->L, 1);
    }
    if (message.kind == VLLM_MESSAGE_OTHER) {
        message.role = read_text(r);
    }
    return vllm_messages_begin(messages, &message);
}

static enum vllm_status read_piece(struct operands *r, struct vllm_messages *messages, size_t type) {
    struct vllm_piece piece = {(enum vllm_piece_type)type, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    for (const char *operand = pieces[type].operands; *operand; operand++) {
        struct vllm_slice text = read_text(r);
        *(*operand == 't' ? &piece.text : *operand == 'n' ? &piece.name : &piece.extra) = text;
    }
    return vllm_messages_piece(messages, &piece);
}

static enum vllm_status read_list(lua_State *L, struct vllm_messages *messages) {
    struct operands r = {L, 1};
    size_t length = lua_rawlen(L, 1);
    enum vllm_status status = length < INT32_MAX - 8 ? VLLM_OK : VLLM_ELIMIT;
    while (status == VLLM_OK && (size_t)r.at <= length) {
        size_t op = read_number(&r);
        if (op < 1 || op > KINDS + PIECES) {
            luaL_error(L, "core.messages: unknown operation at %d", (int)(r.at - 1));
        }
        status = op <= KINDS ? read_message(&r, messages, op) : read_piece(&r, messages, op - KINDS - 1);
    }
    return status;
}

/* The text at fault, which is a whole string of the list, or stands in the options. First of all, and without asking
 * for memory: a finalizer could empty the list. */
static void push_text(lua_State *L, struct vllm_slice text) {
    size_t length = lua_rawlen(L, 1);
    for (size_t i = 1; i <= length; i++) {
        lua_rawgeti(L, 1, (int)i);
        if (lua_type(L, -1) == LUA_TSTRING && lua_tolstring(L, -1, NULL) == text.ptr) {
            return;
        }
        lua_pop(L, 1);
    }
    lua_pushlstring(L, text.ptr, text.len); /* bind_option_text keeps it on the stack */
}

static int push_failure(lua_State *L, enum vllm_status status, const struct vllm_messages_fault *fault) {
    switch (status) {
    case VLLM_EUTF8:
        push_text(L, fault->text);
        lua_pushnil(L);
        lua_pushfstring(L, "not valid UTF-8 at byte %d",
                        (int)(fault->offset < INT32_MAX ? fault->offset + 1 : INT32_MAX));
        lua_pushinteger(L, (lua_Integer)fault->tag);
        lua_pushvalue(L, -4);
        return 4;
    case VLLM_ENOMEM: return bind_no_memory(L);
    case VLLM_EINVALID: return luaL_error(L, "core.messages: a piece that its message cannot hold");
    default: return bind_fail(L, "exceeds max_body_bytes");
    }
}

static int l_messages(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    struct vllm_messages_options options = {false, false, false, {NULL, 0}, {NULL, 0}};
    options.merge_users = bind_option_bool(L, 2, "merge_users", false);
    options.fold_system = bind_option_bool(L, 2, "fold_system", false);
    options.join_assistants = bind_option_bool(L, 2, "join_assistants", false);
    options.filler = bind_option_text(L, 2, "filler");
    options.reasoning_field = bind_option_text(L, 2, "reasoning_field");
    if (!options.reasoning_field.ptr) {
        options.reasoning_field = (struct vllm_slice){"reasoning", 9};
    }
    size_t max_bytes = bind_option_size(L, 2, "max_body_bytes", MAX_BODY, 1, MOST_BODY);
    struct messages_box *box = bind_new(L, CLASS, sizeof *box);
    box->alloc = bind_alloc(L);
    vllm_messages_init(&box->messages, &box->alloc);
    struct vllm_buf *out = bind_new_buf(L, max_bytes);
    struct vllm_messages_fault fault = {0, 0, {NULL, 0}};
    enum vllm_status status = read_list(L, &box->messages);
    if (status == VLLM_OK) {
        status = vllm_messages_write(&box->messages, &options, out, &fault);
    }
    vllm_messages_free(&box->messages);
    return status == VLLM_OK ? bind_return_buf(L, out, status) : push_failure(L, status, &fault);
}

void bind_open_messages(lua_State *L) {
    bind_class(L, CLASS, NULL, l_messages_release);
    bind_set_function(L, "messages", l_messages);
    lua_createtable(L, 0, (int)(KINDS + PIECES));
    for (size_t i = 0; i < KINDS + PIECES; i++) {
        bind_set_integer(L, i < KINDS ? kinds[i] : pieces[i - KINDS].name, (int64_t)i + 1);
    }
    lua_setfield(L, -2, "message_codes");
}
