/* JSON text: a text that is refused is refused at a place inside of it and with a reason; a text that is taken, written
 * again and read again gives the same bytes (so every value survives, and the writer writes nothing that the reader
 * refuses). */
#include "../src/core/json.h"
#include "fuzz.h"

#define MAX_DEPTH 64

static void rewrite(struct vllm_json *j, struct vllm_buf *out);

static void text(struct vllm_buf *out, const char *terminated) {
    CLAIM(vllm_buf_text(out, terminated) == VLLM_OK);
}

static void rewrite_string(const struct vllm_json_string *string, struct vllm_buf *out) {
    struct vllm_buf value;
    vllm_buf_init(&value, &fuzz_alloc, SIZE_MAX / 4);
    CLAIM(vllm_json_string_value(string, false, &value) == VLLM_OK);
    if (string->plain) {
        CLAIM(value.len == string->raw.len && (value.len == 0 || memcmp(value.data, string->raw.ptr, value.len) == 0));
    }
    struct vllm_slice view = vllm_buf_view(&value);
    CLAIM(vllm_json_write_string(out, view.ptr, view.len) == VLLM_OK); /* what was read is UTF-8, always */
    vllm_buf_free(&value);
}

static void rewrite_composite(struct vllm_json *j, struct vllm_buf *out, bool is_object) {
    const char *between = "";
    struct vllm_json_string key;
    CLAIM(vllm_json_enter(j));
    text(out, is_object ? "{" : "[");
    while (is_object ? vllm_json_member(j, &key) : vllm_json_element(j)) {
        text(out, between);
        between = ",";
        if (is_object) {
            rewrite_string(&key, out);
            text(out, ":");
        }
        rewrite(j, out);
    }
    text(out, is_object ? "}" : "]");
}

static void rewrite_number(struct vllm_json *j, struct vllm_buf *out) {
    struct vllm_number number;
    CLAIM(vllm_json_number(j, &number));
    CLAIM((number.is_integer ? vllm_json_write_integer(out, number.integer) : vllm_json_write_real(out, number.real)) ==
          VLLM_OK);
}

static void rewrite(struct vllm_json *j, struct vllm_buf *out) {
    struct vllm_json_string string;
    bool truth;
    switch (vllm_json_peek(j)) {
    case VLLM_JSON_OBJECT: rewrite_composite(j, out, true); break;
    case VLLM_JSON_ARRAY: rewrite_composite(j, out, false); break;
    case VLLM_JSON_NUMBER: rewrite_number(j, out); break;
    case VLLM_JSON_STRING:
        CLAIM(vllm_json_string(j, &string));
        rewrite_string(&string, out);
        break;
    case VLLM_JSON_BOOL:
        CLAIM(vllm_json_bool(j, &truth));
        text(out, truth ? "true" : "false");
        break;
    case VLLM_JSON_NULL:
        CLAIM(vllm_json_null(j));
        text(out, "null");
        break;
    case VLLM_JSON_INVALID: CLAIM(j->status == VLLM_OK && false); /* a checked text has a value here */
    }
}

/* A number too large for a double passes the grammar, and is refused when its value is taken. */
static bool has_huge_number(const char *bytes, size_t size) {
    for (size_t i = 0; i < size;) {
        struct vllm_number number;
        size_t len = vllm_number_scan(bytes + i, size - i);
        if (len > 0 && vllm_number_read(bytes + i, len, &number) == VLLM_ELIMIT) return true;
        i += len > 0 ? len : 1;
    }
    return false;
}

static void rewrite_text(const char *bytes, size_t size, struct vllm_buf *out) {
    struct vllm_json j;
    vllm_json_init(&j, bytes, size, MAX_DEPTH);
    rewrite(&j, out);
    CLAIM(vllm_json_end(&j) && j.status == VLLM_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *bytes = (const char *)data;
    struct vllm_json j;
    if (!vllm_json_check(bytes, size, MAX_DEPTH, &j)) {
        CLAIM(j.status != VLLM_OK && j.why != NULL && j.at >= j.start && j.at <= j.end);
        return 0;
    }
    if (has_huge_number(bytes, size)) return 0;
    struct vllm_buf once, twice;
    vllm_buf_init(&once, &fuzz_alloc, SIZE_MAX / 4);
    vllm_buf_init(&twice, &fuzz_alloc, SIZE_MAX / 4);
    rewrite_text(bytes, size, &once);
    CLAIM(vllm_json_check(once.data, once.len, MAX_DEPTH, NULL));
    rewrite_text(once.data, once.len, &twice);
    CLAIM(same_notes(&once, &twice));
    vllm_buf_free(&once);
    vllm_buf_free(&twice);
    return 0;
}
