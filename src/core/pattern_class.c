/* Characters of a pattern and sets of them: escapes, `\d` and its like, classes. Source: ECMA-262, 22.2.1. */
#include "pattern_compiler.h"

#define NOT_CHAR UINT32_MAX /* a member of a class that is a set */

/* Sets of characters ----------------------------------------------------------------------------------------------- */

struct set {
    size_t count;
    uint32_t ranges[10][2];
};

static const struct set digits = {1, {{'0', '9'}}};
static const struct set word = {4, {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}};
static const struct set space = {10,
                                 {{'\t', '\r'},
                                  {' ', ' '},
                                  {0xA0, 0xA0},
                                  {0x1680, 0x1680},
                                  {0x2000, 0x200A},
                                  {0x2028, 0x2029},
                                  {0x202F, 0x202F},
                                  {0x205F, 0x205F},
                                  {0x3000, 0x3000},
                                  {0xFEFF, 0xFEFF}}};
static const struct set line_ends = {3, {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}};

static bool emit_set(struct vllm_pattern_compiler *c, const struct set *set) {
    for (size_t i = 0; i < set->count; i++) {
        if (!vllm_pattern_emit(c, VLLM_PATTERN_RANGE, set->ranges[i][0], set->ranges[i][1])) {
            return false;
        }
    }
    return true;
}

/* What is between its ranges. None of the sets begins at 0. */
static bool emit_others(struct vllm_pattern_compiler *c, const struct set *set) {
    uint32_t from = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (!vllm_pattern_emit(c, VLLM_PATTERN_RANGE, from, set->ranges[i][0] - 1)) {
            return false;
        }
        from = set->ranges[i][1] + 1;
    }
    return vllm_pattern_emit(c, VLLM_PATTERN_RANGE, from, VLLM_PATTERN_BAD);
}

/* `\p{…}`, of which the letter was read. */
static bool emit_property(struct vllm_pattern_compiler *c, const char *from, bool is_negated) {
    if (!take(c, "{")) {
        return vllm_pattern_fail(c, from, "`\\p` without a name in braces");
    }
    const char *name = c->at;
    while (is_letter(peek(c, 0)) || is_digit(peek(c, 0)) || is_one_of(peek(c, 0), "_=")) {
        c->at++;
    }
    uint32_t bits = vllm_pattern_category((struct vllm_slice){name, (size_t)(c->at - name)});
    if (!take(c, "}")) {
        return vllm_pattern_fail(c, from, "`\\p{` is not closed");
    }
    if (bits == 0) {
        return vllm_pattern_fail_with(c, from, "not a general category");
    }
    return vllm_pattern_emit(c, is_negated ? VLLM_PATTERN_NO_CATEGORY : VLLM_PATTERN_CATEGORY, bits, 0);
}

bool vllm_pattern_set_follows(const struct vllm_pattern_compiler *c) {
    return peek(c, 0) == '\\' && is_one_of(peek(c, 1), "dDwWsSpP");
}

/* An escape that is a set, as steps of a class. */
static bool emit_set_escape(struct vllm_pattern_compiler *c) {
    const char *from = c->at;
    char letter = from[1];
    c->at += 2;
    switch (letter) {
    case 'd': return emit_set(c, &digits);
    case 'D': return emit_others(c, &digits);
    case 'w': return emit_set(c, &word);
    case 'W': return emit_others(c, &word);
    case 's': return emit_set(c, &space);
    case 'S': return emit_others(c, &space);
    default: return emit_property(c, from, letter == 'P');
    }
}

/* Escapes ---------------------------------------------------------------------------------------------------------- */

static bool read_hex_digit(struct vllm_pattern_compiler *c, uint32_t *value) {
    char digit = peek(c, 0);
    uint32_t low = (unsigned char)digit | 0x20u;
    if (!is_digit(digit) && !(is_letter(digit) && low <= 'f')) {
        return false;
    }
    *value = *value << 4 | (is_digit(digit) ? (uint32_t)(digit - '0') : low - 'a' + 10);
    c->at++;
    return true;
}

static bool read_hex(struct vllm_pattern_compiler *c, size_t count, uint32_t *value) {
    *value = 0;
    for (size_t i = 0; i < count; i++) {
        if (!read_hex_digit(c, value)) {
            return false;
        }
    }
    return true;
}

static bool read_braced_hex(struct vllm_pattern_compiler *c, uint32_t *value) {
    *value = 0;
    if (!read_hex_digit(c, value)) {
        return false;
    }
    while (*value <= 0x10FFFF && read_hex_digit(c, value)) {
    }
    return *value <= 0x10FFFF && take(c, "}");
}

/* The second half of a surrogate pair, when it follows the first. */
static void read_second_half(struct vllm_pattern_compiler *c, uint32_t *character) {
    const char *from = c->at;
    uint32_t low;
    if (take(c, "\\u") && read_hex(c, 4, &low) && low >= 0xDC00 && low <= 0xDFFF) {
        *character = 0x10000 + ((*character - 0xD800) << 10) + (low - 0xDC00);
    } else {
        c->at = from;
    }
}

/* After `\u`. A half of a pair alone is a character that no text has. */
static bool read_unicode(struct vllm_pattern_compiler *c, uint32_t *character) {
    if (take(c, "{")) {
        return read_braced_hex(c, character);
    }
    if (!read_hex(c, 4, character)) {
        return false;
    }
    if (*character >= 0xD800 && *character <= 0xDBFF) {
        read_second_half(c, character);
    }
    return true;
}

static bool read_control(struct vllm_pattern_compiler *c, uint32_t *character) {
    *character = (unsigned char)peek(c, 0) & 0x1Fu;
    bool is_right = is_letter(peek(c, 0));
    c->at += is_right;
    return is_right;
}

/* The letters that stand for one character, and these. */
static bool read_letter_escape(struct vllm_pattern_compiler *c, char letter, uint32_t *character) {
    static const char letters[] = "nrtvf", meant[] = "\n\r\t\v\f";
    if (is_one_of(letter, letters)) {
        *character = (unsigned char)meant[strchr(letters, letter) - letters];
        return true;
    }
    switch (letter) {
    case '0': *character = 0; return !is_digit(peek(c, 0));
    case 'c': return read_control(c, character);
    case 'x': return read_hex(c, 2, character);
    case 'u': return read_unicode(c, character);
    default: return false;
    }
}

/* An escape that is one character. */
static bool read_escape(struct vllm_pattern_compiler *c, uint32_t *character, bool is_in_class) {
    const char *from = c->at++;
    if (c->at == c->end) {
        return vllm_pattern_fail(c, from, "the pattern ends with a backslash");
    }
    *character = read_character(c);
    bool is_plain = *character < 0x80 && !is_letter((char)*character) && !is_digit((char)*character);
    if (is_plain && *character >= ' ') {
        return true; /* itself */
    }
    if (is_in_class && *character == 'b') {
        *character = '\b';
        return true;
    }
    if (!is_in_class && ((*character >= '1' && *character <= '9') || *character == 'k')) {
        return vllm_pattern_fail_with(c, from, "backreferences are not supported");
    }
    bool is_ascii = *character < 0x80;
    return (is_ascii && read_letter_escape(c, (char)*character, character)) ||
           vllm_pattern_fail_with(c, from, "unknown escape");
}

bool vllm_pattern_compile_character(struct vllm_pattern_compiler *c) {
    uint32_t character;
    if (peek(c, 0) != '\\') {
        character = read_character(c);
    } else if (!read_escape(c, &character, false)) {
        return false;
    }
    return vllm_pattern_emit(c, VLLM_PATTERN_CHARACTER, character, 0);
}

/* Classes ---------------------------------------------------------------------------------------------------------- */

/* One character, or NOT_CHAR when it was a set and is written already. */
static bool read_member(struct vllm_pattern_compiler *c, uint32_t *character) {
    *character = NOT_CHAR;
    if (vllm_pattern_set_follows(c)) {
        return emit_set_escape(c);
    }
    if (peek(c, 0) == '\\') {
        return read_escape(c, character, true);
    }
    *character = read_character(c);
    return true;
}

static bool emit_member(struct vllm_pattern_compiler *c, uint32_t character) {
    return character == NOT_CHAR || vllm_pattern_emit(c, VLLM_PATTERN_RANGE, character, character);
}

/* `a`, `\d`, `a-z`, or `\d-z`, which is three members. */
static bool compile_members(struct vllm_pattern_compiler *c) {
    const char *from = c->at;
    uint32_t low, high;
    if (!read_member(c, &low)) {
        return false;
    }
    if (peek(c, 0) != '-' || c->end - c->at < 2 || c->at[1] == ']') {
        return emit_member(c, low);
    }
    c->at++;
    if (!read_member(c, &high)) {
        return false;
    }
    if (low == NOT_CHAR || high == NOT_CHAR) {
        return emit_member(c, low) && emit_member(c, '-') && emit_member(c, high);
    }
    return high < low ? vllm_pattern_fail_with(c, from, "the ends of a range are out of order")
                      : vllm_pattern_emit(c, VLLM_PATTERN_RANGE, low, high);
}

bool vllm_pattern_compile_class(struct vllm_pattern_compiler *c) {
    const char *from = c->at++;
    size_t head = written(c);
    if (!vllm_pattern_emit(c, VLLM_PATTERN_CLASS, 0, take(c, "^"))) {
        return false;
    }
    while (!take(c, "]")) {
        if (c->at == c->end) {
            return vllm_pattern_fail(c, from, "a class is not closed");
        }
        if (!compile_members(c)) {
            return false;
        }
    }
    step_at(c, head)->a = (uint32_t)(written(c) - head - 1);
    return true;
}

/* A set outside of brackets. */
bool vllm_pattern_compile_set(struct vllm_pattern_compiler *c) {
    size_t head = written(c);
    bool is_any = peek(c, 0) == '.';
    if (!vllm_pattern_emit(c, VLLM_PATTERN_CLASS, 0, is_any)) {
        return false;
    }
    c->at += is_any;
    if (!(is_any ? emit_set(c, &line_ends) : emit_set_escape(c))) {
        return false;
    }
    step_at(c, head)->a = (uint32_t)(written(c) - head - 1);
    return true;
}
