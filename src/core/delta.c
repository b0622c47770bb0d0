/* JSON values of one chunk → slices and deltas. Strings without escapes stay where they lie; others are decoded into
 * one scratch buffer. Bounds: the number of deltas and the decoded bytes of a chunk. Memory is kept for the next chunk,
 * unless it is much. */
#include "delta.h"

#include <string.h>

#include "json_scan.h"

#define KEPT_SCRATCH_BYTES 65536
#define SCRATCH_LIMIT      "the texts of a chunk exceed max_event_bytes"

#define TEXT(key, text, n) text,
static const char *const KEYS[] = {"", VLLM_KEYS(TEXT, 0)};

/* The first key that is at least so long: as many are shorter. */
#define IS_SHORTER(key, text, n) +(sizeof text - 1 < n)
#define FIRST(n)                 1 VLLM_KEYS(IS_SHORTER, n)
static const unsigned char FIRST_OF_LENGTH[] = {
    FIRST(0),  FIRST(1),  FIRST(2),  FIRST(3),  FIRST(4),  FIRST(5),  FIRST(6),  FIRST(7),  FIRST(8), FIRST(9),
    FIRST(10), FIRST(11), FIRST(12), FIRST(13), FIRST(14), FIRST(15), FIRST(16), FIRST(17), FIRST(18)};
#define LENGTHS (sizeof FIRST_OF_LENGTH - 1)
VLLM_ASSERT(no_key_is_longer, (FIRST(18)) == (int)VLLM_KEY_COUNT);

#define BIT(key) (UINT64_C(1) << (key))
VLLM_ASSERT(each_key_has_a_bit, VLLM_KEY_COUNT <= 64);

bool vllm_key_is_known(enum vllm_level level, enum vllm_key key) {
    static const uint64_t known[] = {
        [VLLM_LEVEL_CHOICE] = BIT(VLLM_KEY_INDEX) | BIT(VLLM_KEY_DELTA) | BIT(VLLM_KEY_MESSAGE) | BIT(VLLM_KEY_TEXT) |
                              BIT(VLLM_KEY_LOGPROBS) | BIT(VLLM_KEY_TOKEN_IDS) | BIT(VLLM_KEY_STOP_REASON) |
                              BIT(VLLM_KEY_FINISH_REASON) | BIT(VLLM_KEY_ERROR) | BIT(VLLM_KEY_USAGE),
        [VLLM_LEVEL_MESSAGE] = BIT(VLLM_KEY_ROLE) | BIT(VLLM_KEY_NAME) | BIT(VLLM_KEY_CONTENT) |
                               BIT(VLLM_KEY_REASONING) | BIT(VLLM_KEY_REASONING_CONTENT) | BIT(VLLM_KEY_REFUSAL) |
                               BIT(VLLM_KEY_IMAGES) | BIT(VLLM_KEY_AUDIO) | BIT(VLLM_KEY_TOOL_CALLS) |
                               BIT(VLLM_KEY_FUNCTION_CALL),
        [VLLM_LEVEL_CALL] = BIT(VLLM_KEY_ID) | BIT(VLLM_KEY_TYPE) | BIT(VLLM_KEY_INDEX) | BIT(VLLM_KEY_FUNCTION),
    };
    return (known[level] & BIT(key)) != 0;
}

enum vllm_key vllm_key_of(const struct vllm_json_string *name) {
    size_t len = name->raw.len;
    if (!name->plain) {
        for (size_t i = 1; i < VLLM_KEY_COUNT; i++) {
            if (vllm_json_string_is(name, KEYS[i])) {
                return (enum vllm_key)i;
            }
        }
        return VLLM_KEY_OTHER;
    }
    if (len < LENGTHS) {
        for (size_t i = FIRST_OF_LENGTH[len]; i < FIRST_OF_LENGTH[len + 1]; i++) {
            if (KEYS[i][0] == name->raw.ptr[0] && strncmp(name->raw.ptr, KEYS[i], len) == 0) {
                return (enum vllm_key)i;
            }
        }
    }
    return VLLM_KEY_OTHER;
}

void vllm_value_read(struct vllm_json *j, struct vllm_value *value) {
    value->type = vllm_json_peek(j);
    if (value->type != VLLM_JSON_STRING) {
        if (!vllm_json_skip(j, &value->raw)) {
            value->type = VLLM_JSON_INVALID;
        }
    } else if (vllm_json_string(j, &value->string)) {
        value->raw.ptr = value->string.raw.ptr - 1;
        value->raw.len = value->string.raw.len + 2;
    } else {
        value->type = VLLM_JSON_INVALID;
    }
}

bool vllm_value_is_given(const struct vllm_value *value) {
    switch (value->type) {
    case VLLM_JSON_INVALID:
    case VLLM_JSON_NULL: return false;
    case VLLM_JSON_BOOL: return value->raw.ptr[0] == 't';
    case VLLM_JSON_NUMBER: return true;
    default: return value->raw.len > 2;
    }
}

int64_t vllm_value_index(const struct vllm_value *value, int64_t fallback) {
    struct vllm_number number;
    bool is_text = value->type == VLLM_JSON_STRING, is_number = value->type == VLLM_JSON_NUMBER;
    struct vllm_slice digits = is_text ? value->string.raw : value->raw;
    bool good = (is_text || is_number) && vllm_number_read(digits.ptr, digits.len, &number) == VLLM_OK &&
                number.is_integer && number.integer >= 0;
    return good ? number.integer : fallback;
}

void vllm_gather_init(struct vllm_gather *gather, const struct vllm_alloc *alloc,
                      const struct vllm_chunk_limits *limits) {
    memset(gather, 0, sizeof *gather);
    gather->alloc = *alloc;
    gather->limits = *limits;
    vllm_buf_init(&gather->scratch, &gather->alloc, VLLM_BUF_MAX);
}

static void free_deltas(struct vllm_gather *gather, struct vllm_deltas *deltas) {
    vllm_list_free(&gather->alloc, deltas->items, deltas->cap, sizeof *deltas->items);
}

void vllm_gather_free(struct vllm_gather *gather) {
    vllm_buf_free(&gather->scratch);
    free_deltas(gather, &gather->deltas);
    free_deltas(gather, &gather->waiting);
    free_deltas(gather, &gather->extras);
}

void vllm_gather_begin(struct vllm_gather *gather, size_t json_len) {
    if (gather->scratch.cap > KEPT_SCRATCH_BYTES) {
        vllm_buf_free(&gather->scratch);
    }
    vllm_buf_clear(&gather->scratch);
    gather->deltas.count = 0;
    gather->waiting.count = 0;
    gather->extras.count = 0;
    gather->json_len = json_len;
    gather->error.ptr = NULL;
    gather->usage.ptr = NULL;
    gather->status = VLLM_OK;
    gather->why = NULL;
}

bool vllm_gather_fail(struct vllm_gather *gather, enum vllm_status status, const char *why) {
    if (gather->status == VLLM_OK) {
        gather->status = status;
        gather->why = status == VLLM_ENOMEM ? "no memory" : why;
    }
    return false;
}

struct vllm_delta *vllm_gather_add(struct vllm_gather *gather, struct vllm_deltas *deltas, enum vllm_delta_kind kind) {
    if (deltas->count >= gather->limits.max_deltas) {
        vllm_gather_fail(gather, VLLM_ELIMIT, "a chunk has too many parts");
        return NULL;
    }
    static const struct vllm_delta nothing;
    struct vllm_delta *items =
        vllm_list_room(&gather->alloc, deltas->items, deltas->count, &deltas->cap, sizeof *items);
    if (!items) {
        vllm_gather_fail(gather, VLLM_ENOMEM, NULL);
        return NULL;
    }
    deltas->items = items;
    struct vllm_delta *delta = &deltas->items[deltas->count++];
    *delta = nothing;
    delta->kind = kind;
    delta->index = -1;
    return delta;
}

struct vllm_delta *vllm_gather_raw(struct vllm_gather *gather, struct vllm_deltas *deltas, enum vllm_delta_kind kind,
                                   struct vllm_slice raw) {
    struct vllm_delta *delta = raw.ptr ? vllm_gather_add(gather, deltas, kind) : NULL;
    if (delta) {
        delta->raw = raw;
    }
    return delta;
}

/* Room for all that a chunk can decode to is made at its first decoded string, so that earlier slices stay valid:
 * repair makes at most three bytes of one, and each byte of the chunk is decoded at most once. */
static bool reserve_scratch(struct vllm_gather *gather) {
    enum vllm_status status = VLLM_ELIMIT;
    if (gather->json_len <= SIZE_MAX / 6) {
        status = gather->scratch.len > 0 ? VLLM_OK : vllm_buf_reserve(&gather->scratch, gather->json_len * 3);
    }
    return status == VLLM_OK || vllm_gather_fail(gather, status, SCRATCH_LIMIT);
}

static struct vllm_slice take_scratch(struct vllm_gather *gather, size_t before, enum vllm_status status) {
    struct vllm_slice value = {NULL, 0};
    if (status == VLLM_OK && gather->scratch.len > gather->limits.max_scratch) {
        status = VLLM_ELIMIT;
    }
    if (status == VLLM_OK) {
        value.ptr = gather->scratch.data + before;
        value.len = gather->scratch.len - before;
    } else {
        vllm_gather_fail(gather, status, SCRATCH_LIMIT);
    }
    return value;
}

static struct vllm_slice string_of(struct vllm_gather *gather, const struct vllm_value *value, bool keep_halves) {
    struct vllm_slice absent = {NULL, 0};
    if (value->type != VLLM_JSON_STRING || value->string.raw.len == 0) {
        return absent;
    }
    if (value->string.plain) {
        return value->string.raw;
    }
    if (!reserve_scratch(gather)) {
        return absent;
    }
    size_t before = gather->scratch.len;
    return take_scratch(gather, before, vllm_json_string_value(&value->string, keep_halves, &gather->scratch));
}

struct vllm_slice vllm_gather_text(struct vllm_gather *gather, const struct vllm_value *value) {
    return string_of(gather, value, true);
}

struct vllm_slice vllm_gather_name(struct vllm_gather *gather, const struct vllm_value *value) {
    return string_of(gather, value, false);
}

struct vllm_slice vllm_gather_json(struct vllm_gather *gather, const struct vllm_value *value) {
    const char *p = value->raw.ptr, *end = p + value->raw.len;
    struct vllm_slice absent = {NULL, 0};
    bool well_formed = true;
    while (p < end && well_formed) {
        p += json_utf8_step(p, end, &well_formed);
        p = json_skip_plain(p, end);
    }
    if (well_formed) {
        return value->raw;
    }
    if (!reserve_scratch(gather)) {
        return absent;
    }
    size_t before = gather->scratch.len;
    enum vllm_status status = VLLM_OK;
    for (p = value->raw.ptr; p < end && status == VLLM_OK;) {
        size_t len = vllm_utf8_step(p, end, &well_formed);
        status =
            well_formed ? vllm_buf_append(&gather->scratch, p, len) : vllm_buf_text(&gather->scratch, "\xEF\xBF\xBD");
        p += len;
    }
    return take_scratch(gather, before, status);
}
