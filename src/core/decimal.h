/* Exact conversion between decimal digits and doubles, with big integers on the stack: no allocation, bounded work. */
#ifndef VLLM_DECIMAL_H
#define VLLM_DECIMAL_H

#include "core.h"

/* A double, and a point halfway between two, has at most 767 significant digits. What comes after 800 can only matter
 * by being nonzero: who drops such digits appends one more digit, 1. */
#define VLLM_DECIMAL_KEPT 800

/* 0.d1d2d3… × 10^point; no leading zeros. */
struct vllm_decimal {
    unsigned char digits[VLLM_DECIMAL_KEPT + 1]; /* 0 to 9 each */
    unsigned count;
    int point;
};

/* The nearest double, ties to even; infinite when it is too large. Needs count ≥ 1, |point| ≤ VLLM_DECIMAL_KEPT. */
double vllm_decimal_to_double(const struct vllm_decimal *decimal);
/* The fewest digits that read back as `value`, and among those the nearest. `value` is finite and above zero. */
void vllm_decimal_shortest(double value, struct vllm_decimal *out);

#endif
