/* Decimal digits → the nearest double; a double → its shortest digits. Both by exact integer arithmetic, so that
 * nothing depends on the C library, the locale or the rounding mode. number.c comes here only when its short cuts do
 * not apply. Bounds: at most 801 digits and exponents down to 10^-330 (number.c sees to it) need 3900 bits, MAX_LIMBS
 * gives 4224; work is quadratic in those constants, never in the input. Source: Clinger 1990 (what correct reading is);
 * Steele & White 1990, with the exponent estimate of Burger & Dybvig 1996 (writing); Knuth 4.3.1 D (division). */
#include "decimal.h"

#include <string.h>

#define MAX_LIMBS 132

/* An unsigned integer, least significant limb first; no leading zero limbs, so zero has none. */
struct big {
    unsigned len;
    uint32_t limb[MAX_LIMBS];
};

static void big_set(struct big *b, uint64_t value) {
    b->len = 0;
    for (; value; value >>= 32) {
        b->limb[b->len++] = (uint32_t)value;
    }
}

/* b = b * factor + add */
static void big_multiply(struct big *b, uint32_t factor, uint32_t add) {
    uint64_t carry = add;
    for (unsigned i = 0; i < b->len; i++) {
        carry += (uint64_t)b->limb[i] * factor;
        b->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry && b->len < MAX_LIMBS) {
        b->limb[b->len++] = (uint32_t)carry;
    }
}

static void big_multiply_power5(struct big *b, unsigned power) {
    for (; power >= 13; power -= 13) {
        big_multiply(b, 1220703125, 0); /* 5^13, the largest that fits a limb */
    }
    uint32_t rest = 1;
    for (; power > 0; power--) {
        rest *= 5;
    }
    big_multiply(b, rest, 0);
}

static void big_shift_left(struct big *b, unsigned bits) {
    unsigned limbs = bits / 32;
    if (b->len == 0 || b->len + limbs > MAX_LIMBS) {
        return;
    }
    memmove(b->limb + limbs, b->limb, b->len * sizeof b->limb[0]);
    memset(b->limb, 0, limbs * sizeof b->limb[0]);
    b->len += limbs;
    big_multiply(b, UINT32_C(1) << bits % 32, 0);
}

static unsigned bit_length(uint32_t limb) {
    unsigned bits = 0;
    for (; limb; limb >>= 1) {
        bits++;
    }
    return bits;
}

static unsigned big_bits(const struct big *b) {
    return b->len == 0 ? 0 : (b->len - 1) * 32 + bit_length(b->limb[b->len - 1]);
}

static void big_trim(struct big *b) {
    while (b->len > 0 && b->limb[b->len - 1] == 0) {
        b->len--;
    }
}

static int big_compare(const struct big *a, const struct big *b) {
    if (a->len != b->len) {
        return a->len < b->len ? -1 : 1;
    }
    for (unsigned i = a->len; i-- > 0;) {
        if (a->limb[i] != b->limb[i]) {
            return a->limb[i] < b->limb[i] ? -1 : 1;
        }
    }
    return 0;
}

static uint32_t limb_at(const struct big *b, unsigned i) {
    return i < b->len ? b->limb[i] : 0;
}

/* Compares a + b with c. */
static int big_compare_sum(const struct big *a, const struct big *b, const struct big *c) {
    struct big sum;
    unsigned len = a->len > b->len ? a->len : b->len;
    uint64_t carry = 0;
    for (unsigned i = 0; i < len; i++) {
        carry += (uint64_t)limb_at(a, i) + limb_at(b, i);
        sum.limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry && len < MAX_LIMBS) {
        sum.limb[len++] = (uint32_t)carry;
    }
    sum.len = len;
    return big_compare(&sum, c);
}

/* r -= q * s over s->len + 1 limbs; returns what could not be subtracted: 0 or 1. */
static uint64_t subtract_product(struct big *r, const struct big *s, uint64_t q) {
    uint64_t carry = 0;
    for (unsigned i = 0; i <= s->len; i++) {
        carry += q * limb_at(s, i);
        uint32_t low = (uint32_t)carry;
        carry >>= 32;
        carry += r->limb[i] < low;
        r->limb[i] -= low;
    }
    return carry;
}

/* r %= s; returns the quotient. Needs r < s * 2^32, and the top bit of the top limb of s set: then the estimate from
 * the leading limbs is at most two too high. */
static uint32_t big_divide(struct big *r, const struct big *s) {
    unsigned n = s->len;
    if (r->len < n) {
        return 0;
    }
    for (; r->len <= n; r->len++) {
        r->limb[r->len] = 0;
    }
    uint64_t q = ((uint64_t)r->limb[n] << 32 | r->limb[n - 1]) / s->limb[n - 1];
    q = q > UINT32_MAX ? UINT32_MAX : q;
    for (uint64_t below = subtract_product(r, s, q); below > 0; q--) {
        uint64_t carry = 0;
        for (unsigned i = 0; i <= n; i++) {
            carry += (uint64_t)r->limb[i] + limb_at(s, i);
            r->limb[i] = (uint32_t)carry;
            carry >>= 32;
        }
        below -= carry;
    }
    big_trim(r);
    return (uint32_t)q;
}

static double double_from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The nearest double to (q + something below 1 if sticky) * 2^exponent; the top or second bit of q is set. */
static double round_to_double(uint64_t q, bool sticky, int exponent) {
    if (!(q >> 63)) {
        q <<= 1; /* what is shifted in belongs to the sticky part: far below the rounding bit */
        exponent--;
    }
    int drop = 11; /* 64 bits to 53; more for a subnormal, whose last bit is worth 2^-1074 */
    if (exponent + drop < -1074) {
        drop = -1074 - exponent;
    }
    if (drop > 64) {
        return 0;
    }
    uint64_t kept = drop == 64 ? 0 : q >> drop;
    uint64_t half = UINT64_C(1) << (drop - 1), rest = drop == 64 ? q : q & (half * 2 - 1);
    if (rest > half || (rest == half && (sticky || (kept & 1)))) {
        kept++;
    }
    /* Added, not joined: a carry, or the leading bit of a normal number, walks into the exponent. */
    int above_least = exponent + drop + 1074;
    uint64_t infinity = UINT64_C(0x7FF) << 52;
    return double_from_bits(above_least > 2045 ? infinity : ((uint64_t)above_least << 52) + kept);
}

double vllm_decimal_to_double(const struct vllm_decimal *decimal) {
    struct big n, m;
    big_set(&n, 0);
    for (unsigned i = 0; i < decimal->count;) {
        uint32_t factor = 1, group = 0;
        for (; i < decimal->count && factor < 1000000000; i++) {
            group = group * 10 + decimal->digits[i];
            factor *= 10;
        }
        big_multiply(&n, factor, group);
    }
    big_set(&m, 1);
    int exponent = decimal->point - (int)decimal->count; /* the value is n * 5^exponent * 2^exponent */
    if (exponent >= 0) {
        big_multiply_power5(&n, (unsigned)exponent);
    } else {
        big_multiply_power5(&m, (unsigned)-exponent);
    }
    /* Shift m to fill its top limb and n to 31 bits above it: the quotient has 31 or 32 bits, and 32 more are divided
     * out of the rest. */
    unsigned shift_m = (32 - big_bits(&m) % 32) % 32;
    while (big_bits(&m) + shift_m + 31 < big_bits(&n)) {
        shift_m += 32;
    }
    big_shift_left(&m, shift_m);
    unsigned shift_n = big_bits(&m) + 31 - big_bits(&n);
    big_shift_left(&n, shift_n);
    uint64_t q = (uint64_t)big_divide(&n, &m) << 32;
    big_shift_left(&n, 32);
    q |= big_divide(&n, &m);
    return round_to_double(q, n.len > 0, exponent + (int)shift_m - (int)shift_n - 32);
}

/* v = r / s; the neighbours of v that still round to it are at (r - below) / s and (r + above) / s. */
struct shortest {
    struct big r, s, below, above;
    bool closed; /* the ends themselves round to v: its fraction is even */
};

/* Returns floor(log2 v). */
static int shortest_begin(struct shortest *state, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    int biased = (int)(bits >> 52 & 0x7FF);
    bool uneven = fraction == 0 && biased > 1; /* the gap below a power of two is half of the gap above */
    uint64_t f = biased ? fraction | UINT64_C(1) << 52 : fraction;
    int e = (biased ? biased : 1) - 1075;
    big_set(&state->r, f);
    big_set(&state->s, 1);
    big_set(&state->below, 1);
    big_set(&state->above, uneven ? 2 : 1);
    unsigned up = e > 0 ? (unsigned)e : 0, down = e < 0 ? (unsigned)-e : 0;
    big_shift_left(&state->r, up + (uneven ? 2 : 1));
    big_shift_left(&state->below, up);
    big_shift_left(&state->above, up);
    big_shift_left(&state->s, down + (uneven ? 2 : 1));
    state->closed = (f & 1) == 0;
    struct big whole;
    big_set(&whole, f);
    return e + (int)big_bits(&whole) - 1;
}

static void multiply_fractions(struct shortest *state, uint32_t factor) {
    big_multiply(&state->r, factor, 0);
    big_multiply(&state->below, factor, 0);
    big_multiply(&state->above, factor, 0);
}

/* Divides by 10^point, so that v is in [0.1, 1). Returns point. */
static int shortest_scale(struct shortest *state, int log2) {
    int product = log2 * 315653; /* log10(2) * 2^20: the floor is exact for every exponent of a double */
    int point = (product >= 0 ? product >> 20 : -((-product + (1 << 20) - 1) >> 20)) + 1;
    unsigned power = (unsigned)(point < 0 ? -point : point);
    struct big *scaled[3] = {&state->r, &state->below, &state->above};
    for (int i = 0; i < (point < 0 ? 3 : 1); i++) {
        struct big *b = point < 0 ? scaled[i] : &state->s;
        big_multiply_power5(b, power);
        big_shift_left(b, power);
    }
    int order = big_compare_sum(&state->r, &state->above, &state->s);
    if (order > 0 || (order == 0 && state->closed)) { /* the estimate was one too low */
        big_multiply(&state->s, 10, 0);
        point++;
    }
    unsigned fill = (32 - big_bits(&state->s) % 32) % 32;
    big_shift_left(&state->s, fill);
    for (int i = 0; i < 3; i++) {
        big_shift_left(scaled[i], fill);
    }
    return point;
}

void vllm_decimal_shortest(double value, struct vllm_decimal *out) {
    struct shortest state;
    int log2 = shortest_begin(&state, value);
    out->point = shortest_scale(&state, log2);
    out->count = 0;
    for (;;) {
        multiply_fractions(&state, 10);
        unsigned digit = big_divide(&state.r, &state.s);
        int low = big_compare(&state.r, &state.below), high = big_compare_sum(&state.r, &state.above, &state.s);
        bool may_stop = low < 0 || (low == 0 && state.closed);
        bool may_round_up = high > 0 || (high == 0 && state.closed);
        if (may_round_up && (!may_stop || big_compare_sum(&state.r, &state.r, &state.s) >= 0)) {
            digit++;
        }
        out->digits[out->count++] = (unsigned char)digit;
        if (may_stop || may_round_up) {
            return;
        }
    }
}
