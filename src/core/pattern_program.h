/* The program that a pattern is compiled to. Every jump is relative, so that a piece of it can be moved and copied. */
#ifndef VLLM_PATTERN_PROGRAM_H
#define VLLM_PATTERN_PROGRAM_H

#include "utf8.h"

enum vllm_pattern_op {
    VLLM_PATTERN_CHARACTER,   /* `a` is next: read it */
    VLLM_PATTERN_CLASS,       /* one of the next `a` steps has the character, or `b` and none has: read it */
    VLLM_PATTERN_RANGE,       /* of a class: from `a` to `b` */
    VLLM_PATTERN_CATEGORY,    /* of a class: the character's general category is one of the bits of `a` */
    VLLM_PATTERN_NO_CATEGORY, /* of a class: it is none of them */
    VLLM_PATTERN_JUMP,        /* go to the step `a` from here, which may be before this one */
    VLLM_PATTERN_SPLIT,       /* go there, and to the next one */
    VLLM_PATTERN_START,       /* the assertions */
    VLLM_PATTERN_END,
    VLLM_PATTERN_EDGE, /* of a word */
    VLLM_PATTERN_NO_EDGE,
    VLLM_PATTERN_FOUND
};

struct vllm_pattern_step {
    enum vllm_pattern_op op;
    uint32_t a, b; /* distances wrap around */
};

/* Above all code points: a byte that is not UTF-8, and what is before and after the text. */
#define VLLM_PATTERN_BAD  ((uint32_t)0x110000)
#define VLLM_PATTERN_NONE ((uint32_t)0x110001)

/* The character at `at` (at < end), and its length. */
static inline uint32_t vllm_pattern_read(const char *at, const char *end, size_t *length) {
    static const unsigned char lead_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    bool well_formed;
    *length = vllm_utf8_step(at, end, &well_formed);
    if (!well_formed) {
        *length = 1;
        return VLLM_PATTERN_BAD;
    }
    uint32_t character = (unsigned char)at[0] & lead_bits[*length];
    for (size_t i = 1; i < *length; i++) {
        character = character << 6 | ((unsigned char)at[i] & 0x3F);
    }
    return character;
}

/* The bits of a general category by its name, short or long (`Lu`, `Uppercase_Letter`, `gc=Lu`); 0: not one. */
uint32_t vllm_pattern_category(struct vllm_slice name);
/* The bit of a character's; none for VLLM_PATTERN_BAD. */
uint32_t vllm_pattern_category_of(uint32_t character);

#endif
