/* JSON numbers ↔ 64-bit integers and doubles. The short cuts stand here; decimal.c has the exact way for the rest.
 * Bounds: reading is one pass for the grammar and one for the digits, linear however long the number is; 801 digits are
 * the most that is kept. Writing gives at most VLLM_NUMBER_MAX bytes. Source: RFC 8259 section 6; Clinger 1990 (two
 * exact operands give a correctly rounded quotient or product). */
#include "number.h"

#include <float.h>
#include <string.h>

#include "decimal.h"

#define EXACT_INTEGERS   9007199254740992.0 /* 2^53: up to here every integer is a double */
#define EXPONENT_CEILING 1000000000000000   /* more digits than memory holds cannot bring such an exponent back */

/* The powers of ten that are doubles exactly. */
static const double exact_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define EXACT_POWERS_MAX 22

struct split_number {
    bool negative, integral;
    const char *whole, *fraction; /* digits */
    size_t whole_len, fraction_len;
    int64_t exponent; /* as written */
};

static size_t count_digits(const char *p, const char *end) {
    const char *begin = p;
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return (size_t)(p - begin);
}

/* `p` is after the e. Returns the end of the exponent, NULL without digits. */
static const char *split_exponent(const char *p, const char *end, int64_t *exponent) {
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) {
        p++;
    }
    size_t len = count_digits(p, end);
    int64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        value = value < EXPONENT_CEILING ? value * 10 + (p[i] - '0') : value;
    }
    *exponent = negative ? -value : value;
    return len ? p + len : NULL;
}

/* Returns the length of the number at `text`, 0 when there is none. */
static size_t split(const char *text, size_t len, struct split_number *out) {
    const char *p = text, *end = text + len;
    out->negative = p < end && *p == '-';
    p += out->negative;
    out->whole = p;
    out->whole_len = p < end && *p == '0' ? 1 : count_digits(p, end);
    p += out->whole_len;
    if (out->whole_len == 0) {
        return 0;
    }
    out->integral = true;
    out->fraction = p;
    out->fraction_len = 0;
    out->exponent = 0;
    if (p < end && *p == '.') {
        out->integral = false;
        out->fraction = p + 1;
        out->fraction_len = count_digits(p + 1, end);
        p += 1 + out->fraction_len;
        if (out->fraction_len == 0) {
            return 0;
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        out->integral = false;
        p = split_exponent(p + 1, end, &out->exponent);
    }
    return p ? (size_t)(p - text) : 0;
}

size_t vllm_number_scan(const char *text, size_t len) {
    struct split_number parts;
    return split(text, len, &parts);
}

/* Digits of one part, leading zeros of the whole number passed over. */
static void collect(struct vllm_decimal *decimal, int64_t *point, bool *more, const char *digits, size_t len,
                    bool whole) {
    for (size_t i = 0; i < len; i++) {
        unsigned char digit = (unsigned char)(digits[i] - '0');
        if (decimal->count == 0 && digit == 0) {
            *point -= !whole;
            continue;
        }
        *point += whole;
        if (decimal->count < VLLM_DECIMAL_KEPT) {
            decimal->digits[decimal->count++] = digit;
        } else {
            *more = *more || digit != 0;
        }
    }
}

/* False: beyond the range. */
static bool read_exactly(const struct split_number *parts, double *out) {
    struct vllm_decimal decimal;
    decimal.count = 0;
    int64_t point = parts->exponent;
    bool more = false;
    collect(&decimal, &point, &more, parts->whole, parts->whole_len, true);
    collect(&decimal, &point, &more, parts->fraction, parts->fraction_len, false);
    *out = 0;
    if (decimal.count == 0 || point < -330) {
        return true;
    }
    if (point > 310) {
        return false;
    }
    if (more) {
        decimal.digits[decimal.count++] = 1;
    }
    decimal.point = (int)point;
    *out = vllm_decimal_to_double(&decimal);
    return *out <= DBL_MAX;
}

/* All digits as one integer. False: more than 19 of them, which could overflow. */
static bool read_digits(const struct split_number *parts, uint64_t *out) {
    uint64_t value = 0;
    if (parts->whole_len > 19 || parts->fraction_len > 19 - parts->whole_len) {
        return false;
    }
    for (size_t i = 0; i < parts->whole_len; i++) {
        value = value * 10 + (uint64_t)(parts->whole[i] - '0');
    }
    for (size_t i = 0; i < parts->fraction_len; i++) {
        value = value * 10 + (uint64_t)(parts->fraction[i] - '0');
    }
    *out = value;
    return true;
}

/* Where mantissa and power of ten are doubles exactly, one operation rounds once, which is right by IEEE 754. Not where
 * the processor computes in a wider format. */
static bool read_quickly(const struct split_number *parts, uint64_t digits, double *out) {
    int64_t exponent = parts->exponent - (int64_t)parts->fraction_len;
    if (FLT_EVAL_METHOD != 0 || digits > (uint64_t)EXACT_INTEGERS || exponent < -EXACT_POWERS_MAX ||
        exponent > EXACT_POWERS_MAX) {
        return false;
    }
    double mantissa = (double)digits;
    *out = exponent < 0 ? mantissa / exact_powers[-exponent] : mantissa * exact_powers[exponent];
    return true;
}

enum vllm_status vllm_number_read(const char *text, size_t len, struct vllm_number *out) {
    struct split_number parts;
    if (len == 0 || split(text, len, &parts) != len) {
        return VLLM_ESYNTAX;
    }
    uint64_t digits = 0;
    bool few = read_digits(&parts, &digits);
    out->is_integer = false;
    out->integer = 0;
    if (few && parts.integral && digits <= (uint64_t)INT64_MAX + parts.negative && !(parts.negative && digits == 0)) {
        out->is_integer = true;
        out->integer = parts.negative ? -(int64_t)(digits - 1) - 1 : (int64_t)digits;
        out->real = (double)out->integer;
        return VLLM_OK;
    }
    if (!(few && read_quickly(&parts, digits, &out->real)) && !read_exactly(&parts, &out->real)) {
        return VLLM_ELIMIT;
    }
    if (parts.negative) {
        out->real = -out->real;
    }
    return VLLM_OK;
}

size_t vllm_number_write_integer(int64_t value, char out[VLLM_NUMBER_MAX]) {
    char reversed[VLLM_NUMBER_MAX];
    uint64_t rest = value < 0 ? (uint64_t) - (value + 1) + 1 : (uint64_t)value;
    size_t count = 0, len = 0;
    do {
        reversed[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0) {
        out[len++] = '-';
    }
    while (count > 0) {
        out[len++] = reversed[--count];
    }
    return len;
}

/* The decimals that people write: 0.7, 12.25. A number of at most 15 digits that reads back as `value` is the only one
 * of its length, so the first that does is the shortest. */
static bool find_short_decimal(double value, struct vllm_decimal *out) {
    if (FLT_EVAL_METHOD != 0 || value < 1e-5 || value >= 1e15) {
        return false;
    }
    for (int places = 0; places <= EXACT_POWERS_MAX; places++) {
        double scaled = value * exact_powers[places];
        if (scaled >= 1e15) {
            return false;
        }
        int64_t digits = (int64_t)(scaled + 0.5);
        if ((double)digits / exact_powers[places] == value) {
            char text[VLLM_NUMBER_MAX];
            out->count = (unsigned)vllm_number_write_integer(digits, text);
            out->point = (int)out->count - places;
            for (unsigned i = 0; i < out->count; i++) {
                out->digits[i] = (unsigned char)(text[i] - '0');
            }
            return true;
        }
    }
    return false;
}

/* Plain notation, point between digits or before them: 0.00012, 12.5. The caller has seen to it that a digit follows
 * the point. */
static size_t format_plain(const struct vllm_decimal *decimal, char *out) {
    size_t len = 0;
    int at = decimal->point < 0 ? decimal->point : 0;
    if (decimal->point <= 0) {
        out[len++] = '0';
        out[len++] = '.';
        for (; at < 0; at++) {
            out[len++] = '0';
        }
    }
    for (unsigned i = 0; i < decimal->count; i++) {
        if (i > 0 && (int)i == decimal->point) {
            out[len++] = '.';
        }
        out[len++] = (char)('0' + decimal->digits[i]);
    }
    return len;
}

static size_t format_exponent(const struct vllm_decimal *decimal, char *out) {
    size_t len = 0;
    for (unsigned i = 0; i < decimal->count; i++) {
        if (i == 1) {
            out[len++] = '.';
        }
        out[len++] = (char)('0' + decimal->digits[i]);
    }
    out[len++] = 'e';
    return len + vllm_number_write_integer(decimal->point - 1, out + len);
}

size_t vllm_number_write_real(double value, char out[VLLM_NUMBER_MAX]) {
    if (!(value >= -DBL_MAX && value <= DBL_MAX)) {
        return 0;
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bool negative = bits >> 63;
    double magnitude = negative ? -value : value;
    size_t len = negative;
    if (negative) {
        out[0] = '-';
    }
    char text[VLLM_NUMBER_MAX];
    size_t text_len;
    if (magnitude < EXACT_INTEGERS && (double)(int64_t)magnitude == magnitude) {
        text_len = vllm_number_write_integer((int64_t)magnitude, text);
    } else {
        struct vllm_decimal decimal;
        if (!find_short_decimal(magnitude, &decimal)) {
            vllm_decimal_shortest(magnitude, &decimal);
        }
        bool plain = decimal.point > -6 && decimal.point < (int)decimal.count;
        text_len = plain ? format_plain(&decimal, text) : format_exponent(&decimal, text);
    }
    memcpy(out + len, text, text_len);
    return len + text_len;
}
