/* JSON numbers both ways, without strtod, printf or a locale.
 * Reading: an integer without fraction or exponent that fits 64 bits stays an integer, exactly (but -0, which is the
 * double); everything else becomes the nearest double (ties to even), exactly as IEEE 754 asks; overflow is an error,
 * underflow gives zero. Writing: integers in full; doubles in the shortest form that reads back to the same bits;
 * integral doubles below 2^53 without fraction, larger ones with an exponent, so that they stay doubles. Source: RFC
 * 8259 section 6; Clinger 1990 (reading), Steele & White 1990 (writing). */
#ifndef VLLM_NUMBER_H
#define VLLM_NUMBER_H

#include "core.h"

struct vllm_number {
    bool is_integer;
    int64_t integer; /* when is_integer */
    double real;     /* always set: the nearest double */
};

#define VLLM_NUMBER_MAX 32 /* bytes that a written number can need */

/* Length of the JSON number that `text` begins with, 0 when it begins with none. Judges the grammar only. */
size_t vllm_number_scan(const char *text, size_t len);
/* `text` must be one whole JSON number: VLLM_OK, VLLM_ESYNTAX (grammar), VLLM_ELIMIT (beyond the range of a double). */
VLLM_NODISCARD enum vllm_status vllm_number_read(const char *text, size_t len, struct vllm_number *out);
size_t vllm_number_write_integer(int64_t value, char out[VLLM_NUMBER_MAX]);
/* 0 when `value` is NaN or infinite: JSON has no such numbers. */
size_t vllm_number_write_real(double value, char out[VLLM_NUMBER_MAX]);

#endif
