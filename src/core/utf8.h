/* One UTF-8 sequence at a time. Source: Unicode 15, table 3-7 and section 3.9 (maximal subparts). */
#ifndef VLLM_UTF8_H
#define VLLM_UTF8_H

#include "core.h"

/* The sequence at `at` (at < end). Returns its length in bytes, at least 1; `*well_formed` says whether it is a code
 * point. If it is not, the length is that of the maximal malformed subpart: what one U+FFFD stands for. */
size_t vllm_utf8_step(const char *at, const char *end, bool *well_formed);

/* Writes a code point up to U+10FFFF; surrogates come out as their three generalised bytes. Returns 1 to 4. */
size_t vllm_utf8_write(uint32_t code_point, char out[4]);

#endif
