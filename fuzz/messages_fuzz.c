/* Messages: whatever is collected, what is written is one JSON array of messages that have a role, no more of them than
 * were given and a filler, all of it UTF-8; a text that is called malformed is, and at that place; what a bound cuts
 * off is refused. The first byte of the input chooses the options, the second the bound; then come operations: its
 * kind, a length, so many bytes. */
#include "../src/core/json.h"
#include "../src/core/messages.h"
#include "../src/core/utf8.h"
#include "fuzz.h"

struct input {
    const char *at, *end;
};

static struct vllm_slice take_text(struct input *in) {
    struct vllm_slice text = {in->at, 0};
    if (in->at == in->end) return text;
    size_t len = (unsigned char)*in->at++, left = (size_t)(in->end - in->at);
    text.ptr = in->at;
    text.len = len < left ? len : left;
    in->at += text.len;
    return text;
}

static size_t first_fault(struct vllm_slice text) {
    for (size_t i = 0; i < text.len;) {
        bool well_formed;
        size_t step = vllm_utf8_step(text.ptr + i, text.ptr + text.len, &well_formed);
        if (!well_formed) return i;
        i += step;
    }
    return text.len;
}

static bool is_object(struct vllm_slice json) {
    struct vllm_json j;
    if (!vllm_json_check(json.ptr, json.len, VLLM_JSON_MAX_DEPTH - 8, NULL) || first_fault(json) < json.len) return false;
    vllm_json_init(&j, json.ptr, json.len, VLLM_JSON_MAX_DEPTH);
    return vllm_json_peek(&j) == VLLM_JSON_OBJECT;
}

static bool is_role(struct vllm_slice name) {
    return name.len == 4 && memcmp(name.ptr, "role", 4) == 0;
}

static bool begin(struct vllm_messages *messages, struct input *in, size_t kind, size_t tag) {
    struct vllm_message message = {(enum vllm_message_kind)kind, (tag & 1) != 0, tag, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    if (kind == VLLM_MESSAGE_USER && (tag & 2)) message.name = take_text(in);
    if (kind == VLLM_MESSAGE_TOOL) message.call_id = take_text(in);
    if (kind == VLLM_MESSAGE_OTHER) message.role = take_text(in);
    return vllm_messages_begin(messages, &message) == VLLM_OK;
}

static void add(struct vllm_messages *messages, struct input *in, size_t type) {
    struct vllm_piece piece = {(enum vllm_piece_type)type, take_text(in), {NULL, 0}, {NULL, 0}};
    bool named = type == VLLM_PIECE_CALL || type == VLLM_PIECE_IMAGE_BYTES || type == VLLM_PIECE_AUDIO_DATA ||
                 type == VLLM_PIECE_AUDIO_BYTES || type == VLLM_PIECE_VIDEO_BYTES;
    bool is_member = type == VLLM_PIECE_MEMBER || type == VLLM_PIECE_FUNCTION_MEMBER;
    if ((type == VLLM_PIECE_JSON || is_member) && !is_object(piece.text)) return;
    if (named || is_member) piece.name = take_text(in);
    if (is_member && is_role(piece.name)) return;
    if (type == VLLM_PIECE_CALL || type == VLLM_PIECE_FILE) piece.extra = take_text(in);
    enum vllm_status status = vllm_messages_piece(messages, &piece);
    CLAIM(status == VLLM_OK || status == VLLM_EINVALID); /* a piece that its message cannot hold */
}

static size_t collect(struct vllm_messages *messages, struct input *in) {
    size_t count = 0;
    while (in->at < in->end) {
        size_t op = (unsigned char)*in->at++ % 22;
        if (op <= VLLM_MESSAGE_OTHER) {
            CLAIM(begin(messages, in, op, ++count));
        } else if (count > 0) {
            add(messages, in, op - VLLM_MESSAGE_OTHER - 1);
        }
    }
    return count;
}

/* How many messages the array has, each an object that says its role once. */
static size_t count_messages(const struct vllm_buf *out) {
    struct vllm_json j;
    size_t count = 0;
    vllm_json_init(&j, out->data, out->len, VLLM_JSON_MAX_DEPTH);
    CLAIM(vllm_json_peek(&j) == VLLM_JSON_ARRAY && vllm_json_enter(&j));
    for (; vllm_json_element(&j); count++) {
        struct vllm_json_string key;
        int roles = 0;
        CLAIM(vllm_json_peek(&j) == VLLM_JSON_OBJECT && vllm_json_enter(&j));
        while (vllm_json_member(&j, &key)) {
            roles += vllm_json_string_is(&key, "role");
            CLAIM(vllm_json_skip(&j, NULL));
        }
        CLAIM(roles == 1);
    }
    CLAIM(vllm_json_end(&j));
    return count;
}

static struct vllm_messages_options options_of(unsigned char byte) {
    struct vllm_messages_options options = {(byte & 1) != 0, (byte & 2) != 0, (byte & 4) != 0, {NULL, 0}, {"reasoning", 9}};
    if (byte & 8) options.filler = (struct vllm_slice){"go on", 5};
    if (byte & 16) options.reasoning_field = (struct vllm_slice){"a", 1};
    return options;
}

static void check_bound(const struct vllm_messages *messages, const struct vllm_messages_options *options, size_t max) {
    struct vllm_messages_fault fault;
    struct vllm_buf out;
    vllm_buf_init(&out, &fuzz_alloc, max);
    CLAIM(vllm_messages_write(messages, options, &out, &fault) == VLLM_ELIMIT);
    CLAIM(out.len <= max);
    vllm_buf_free(&out);
}

static void check_written(const struct vllm_messages *messages, const struct vllm_messages_options *options, size_t count, size_t cut) {
    struct vllm_messages_fault fault = {0, 0, {NULL, 0}};
    struct vllm_buf out;
    vllm_buf_init(&out, &fuzz_alloc, SIZE_MAX / 4);
    enum vllm_status status = vllm_messages_write(messages, options, &out, &fault);
    CLAIM(status == VLLM_OK || status == VLLM_EUTF8);
    if (status == VLLM_OK) {
        struct vllm_slice text = vllm_buf_view(&out);
        CLAIM(vllm_json_check(text.ptr, text.len, VLLM_JSON_MAX_DEPTH, NULL) && first_fault(text) == text.len);
        CLAIM(count_messages(&out) <= count + 1);
        check_bound(messages, options, cut % out.len);
    } else {
        CLAIM(fault.text.ptr && fault.offset < fault.text.len && fault.offset == first_fault(fault.text));
        CLAIM(fault.tag <= count);
    }
    vllm_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct vllm_messages messages;
    if (size < 2) return 0;
    struct input in = {(const char *)data + 2, (const char *)data + size};
    struct vllm_messages_options options = options_of(data[0]);
    vllm_messages_init(&messages, &fuzz_alloc);
    size_t count = collect(&messages, &in);
    check_written(&messages, &options, count, data[1]);
    vllm_messages_free(&messages);
    return 0;
}
