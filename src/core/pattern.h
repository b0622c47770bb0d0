/* Regular expressions of ECMA-262, as `pattern` and `patternProperties` of JSON Schema have them: does one occur in a
 * text? They come from strangers, so nothing here backtracks: a search looks at most at `count` states for each character of
 * the text, whatever the pattern (Thompson, 1968). Lookaround and backreferences cannot be had so and are refused, by
 * name.
 *
 * Patterns and texts are UTF-8; a character is a code point, as with the flag `u`. A byte of the text that is not UTF-8
 * is a character of its own, which only `.` and what excludes (`\D`, `\P{L}`, `[^a]`) match. Of what is an error with
 * `u`, but has one meaning without, three things are taken, since servers write them: `\-` and the like outside of
 * classes, a bracket or brace that stands alone, and `[\w-.]`. Bounds: VLLM_PATTERN_MAX_…. */
#ifndef VLLM_PATTERN_H
#define VLLM_PATTERN_H

#include "buf.h"

#define VLLM_PATTERN_MAX_BYTES  4096
#define VLLM_PATTERN_MAX_STATES 10000 /* after x{9} was written out as nine x */
#define VLLM_PATTERN_MAX_DEPTH  100   /* groups within groups */
/* What a search may cost: 32 states for each byte, which common patterns do not need, and so many more, about half a
 * second. */
#define VLLM_PATTERN_MAX_STEPS 50000000

struct vllm_pattern {
    struct vllm_alloc alloc;
    struct vllm_buf memory; /* the program, then the two sets of states of a search */
    size_t count;           /* states: steps of the program */
    size_t steps;           /* states that the last search looked at */
};

struct vllm_pattern_fault {
    const char *why;         /* a sentence */
    struct vllm_slice given; /* the words of the pattern that are meant; may be absent */
    size_t offset;           /* of the first wrong byte */
};

/* VLLM_OK, and the pattern is to be freed; or VLLM_ESYNTAX (`fault` says what it is), VLLM_ELIMIT (the same),
 * VLLM_ENOMEM, and there is nothing to free. It keeps nothing of `source`, and must not be moved. */
VLLM_NODISCARD enum vllm_status vllm_pattern_compile(struct vllm_pattern *pattern, const struct vllm_alloc *alloc,
                                                     struct vllm_slice source, struct vllm_pattern_fault *fault);
void vllm_pattern_free(struct vllm_pattern *pattern); /* may run twice; a zeroed pattern is fine */

/* Does it match somewhere in the text? VLLM_OK and the answer, or VLLM_ELIMIT: finding out costs more than
 * VLLM_PATTERN_MAX_STEPS allow. Allocates nothing. */
VLLM_NODISCARD enum vllm_status vllm_pattern_find(struct vllm_pattern *pattern, struct vllm_slice text, bool *found);

#endif
