/* Numbers both ways. The C library is the oracle here, and only here. */
#include "check.h"

#include <math.h>

#include "../../src/core/number.h"

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t xorshift(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static enum vllm_status read_text(const char *text, struct vllm_number *out) {
    return vllm_number_read(text, strlen(text), out);
}

static void check_real(const char *text) {
    struct vllm_number number;
    int before = (int)check_failures;
    CHECK_STATUS(read_text(text, &number), VLLM_OK);
    CHECK(bits_of(number.real) == bits_of(strtod(text, NULL)));
    if ((int)check_failures != before) {
        printf("  %.60s read as %.17g, should be %.17g\n", text, number.real, strtod(text, NULL));
    }
}

static void check_written(double value, const char *expected) {
    char text[VLLM_NUMBER_MAX];
    struct vllm_slice got = {text, vllm_number_write_real(value, text)};
    CHECK_BYTES(got, expected);
}

static void integers(void) {
    static const struct {
        const char *text;
        int64_t value;
    } exact[] = {{"0", 0},
                 {"7", 7},
                 {"-1", -1},
                 {"9007199254740993", INT64_C(9007199254740993)},
                 {"9223372036854775807", INT64_MAX},
                 {"-9223372036854775807", -INT64_MAX},
                 {"-9223372036854775808", INT64_MIN}};
    char text[VLLM_NUMBER_MAX];
    struct vllm_number number;
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        CHECK_STATUS(read_text(exact[i].text, &number), VLLM_OK);
        CHECK(number.is_integer && number.integer == exact[i].value && number.real == (double)exact[i].value);
        struct vllm_slice got = {text, vllm_number_write_integer(exact[i].value, text)};
        CHECK_BYTES(got, exact[i].text);
    }
    static const char *const reals[] = {"9223372036854775808",
                                        "-9223372036854775809",
                                        "18446744073709551615",
                                        "18446744073709551616",
                                        "99999999999999999999",
                                        "-0",
                                        "1.0",
                                        "1e2",
                                        "123456789012345678901234567890"};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        check_real(reals[i]);
        CHECK(read_text(reals[i], &number) == VLLM_OK && !number.is_integer);
    }
    CHECK(read_text("-0", &number) == VLLM_OK && signbit(number.real));
}

static void grammar(void) {
    static const char *const bad[] = {"",    "-",    "+1",    "01",  "-01",  "1.",       ".5", "1.e5",
                                      "1e",  "1e+",  "0x10",  "nan", "NaN",  "inf",      "1 ", " 1",
                                      "1_0", "--1",  "1e5.5", "1,5", "0e",   "Infinity", "1f", "0x1p3",
                                      "٣",   "1.5.", "1e--5", "-e5", "1e5e5"};
    struct vllm_number number;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(read_text(bad[i], &number), VLLM_ESYNTAX);
    }
    CHECK_STATUS(vllm_number_read("1\0", 2, &number), VLLM_ESYNTAX);
    CHECK(vllm_number_scan("12.5e3]", 7) == 6);
    CHECK(vllm_number_scan("012", 3) == 1);
    CHECK(vllm_number_scan("1.x", 3) == 0);
    CHECK(vllm_number_scan("1e400,", 6) == 5);
}

static void edges_of_reading(void) {
    static const char *const texts[] = {
        "0.1",
        "0.7",
        "-0.0",
        "1e22",
        "1e23",
        "123456789012345678",
        "9007199254740993.0",
        "9007199254740992.5",
        "1e308",
        "1.7976931348623157e308",
        "17976931348623157e292",
        "1.7976931348623158e308",
        "4.9e-324",
        "5e-324",
        "2.4703282292062328e-324",
        "2.4703282292062327e-324",
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "2.2250738585072012e-308",
        "1e-400",
        "1e-99999999999999999999",
        "0e99999999999999999999",
        "0.000e-5",
        "8.5e-5",
        "7.2057594037927933e16",
        "1.5e-5",
        "9007199254740991.499999999999999999999999999999999999999",
        "3.518437208883201171875e13",
        "6.9294956446009195e15",
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126",
        "179769313486231580793728971405301e276",
        "0.00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001e101"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        check_real(texts[i]);
    }
    static const char *const huge[] = {"1e309", "-1e309", "1.7976931348623159e308", "1e99999999999999999999", "2e308"};
    struct vllm_number number;
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        CHECK_STATUS(read_text(huge[i], &number), VLLM_ELIMIT);
    }
}

/* The point halfway between two doubles in all its digits, and with one digit long after them. */
static void halfway(void) {
    static char text[2000];
    uint64_t state = 7;
    for (int i = 0; i < 2000; i++) {
        uint64_t low = xorshift(&state) % (UINT64_C(0x7FF) << 52);
        if (i < 50) {
            low = (uint64_t)i; /* the smallest denormals: the longest expansions */
        }
        long double between = ((long double)from_bits(low) + (long double)from_bits(low + 1)) / 2;
        int len = snprintf(text, sizeof text - 300, "%.1080Lf", between);
        if (len < 0 || (size_t)len >= sizeof text - 300 || from_bits(low + 1) > 1e300) {
            continue;
        }
        check_real(text);
        for (int zeros = 0; zeros < 200; zeros++) {
            text[len++] = '0';
        }
        memcpy(text + len, "1", 2);
        check_real(text);
    }
}

static void hostile_digits(void) {
    size_t len = 1 << 20;
    char *text = malloc(len + 32);
    struct vllm_number number;
    CHECK(text != NULL);
    if (!text) {
        return;
    }
    memset(text, '9', len);
    CHECK_STATUS(vllm_number_read(text, len, &number), VLLM_ELIMIT);
    text[1] = '.';
    CHECK_STATUS(vllm_number_read(text, len, &number), VLLM_OK);
    CHECK(number.real == 10.0);
    memset(text, '0', len);
    text[1] = '.';
    memcpy(text + len, "125e1048574", 12);
    CHECK_STATUS(vllm_number_read(text, strlen(text), &number), VLLM_OK);
    CHECK(number.real == 0.125);
    memset(text, '0', len);
    text[0] = '5';
    memcpy(text + len, "e-1048575", 10);
    CHECK_STATUS(vllm_number_read(text, strlen(text), &number), VLLM_OK);
    CHECK(number.real == 5.0);
    memset(text + 1, 'e', len);
    CHECK_STATUS(vllm_number_read(text, len, &number), VLLM_ESYNTAX);
    free(text);
}

static void writing(void) {
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {-100, "-100"},
                 {0.7, "0.7"},
                 {0.1, "0.1"},
                 {12.25, "12.25"},
                 {-2.5, "-2.5"},
                 {9007199254740991.0, "9007199254740991"},
                 {9007199254740992.0, "9.007199254740992e15"},
                 {1e16, "1e16"},
                 {1e22, "1e22"},
                 {1e23, "1e23"},
                 {0.001, "0.001"},
                 {0.000001, "0.000001"},
                 {0.0000001, "1e-7"},
                 {1.5e-7, "1.5e-7"},
                 {0.3, "0.3"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {1.0 / 3, "0.3333333333333333"},
                 {4503599627370495.5, "4503599627370495.5"},
                 {123456.789, "123456.789"},
                 {5e-324, "5e-324"},
                 {2.2250738585072014e-308, "2.2250738585072014e-308"},
                 {1.7976931348623157e308, "1.7976931348623157e308"},
                 {-1.2345678901234567e-6, "-0.0000012345678901234567"},
                 {9.5367431640625e-7, "9.5367431640625e-7"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_written(cases[i].value, cases[i].text);
    }
    char text[VLLM_NUMBER_MAX];
    CHECK(vllm_number_write_real(HUGE_VAL, text) == 0);
    CHECK(vllm_number_write_real(-HUGE_VAL, text) == 0);
    CHECK(vllm_number_write_real((double)NAN, text) == 0);
}

/* Significant digits that the number is written with. */
static int digits_of(const char *text, size_t len) {
    int count = 0, zeros = 0;
    for (size_t i = 0; i < len && text[i] != 'e'; i++) {
        if (text[i] >= '0' && text[i] <= '9' && (count > 0 || text[i] != '0')) {
            zeros = text[i] == '0' ? zeros + 1 : 0;
            count++;
        }
    }
    return count - zeros;
}

/* What was written reads back bit for bit; asked thoroughly, by the oracle too, and no shorter text does. */
static void check_round_trip(double value, bool thoroughly) {
    char text[VLLM_NUMBER_MAX + 1], shorter[64];
    size_t len = vllm_number_write_real(value, text);
    struct vllm_number number;
    bool read = vllm_number_read(text, len, &number) == VLLM_OK && bits_of(number.real) == bits_of(value);
    text[len] = '\0';
    bool same = read && (!thoroughly || bits_of(strtod(text, NULL)) == bits_of(value));
    int digits = digits_of(text, len);
    bool shortest;
    if (digits > 1 && thoroughly) {
        snprintf(shorter, sizeof shorter, "%.*e", digits - 2, value);
        shortest = strtod(shorter, NULL) != value;
    } else {
        shortest = digits <= 17;
    }
    CHECK(len > 0 && len < VLLM_NUMBER_MAX && same && shortest);
    if (!same || !shortest) {
        printf("  %.17g was written as %s\n", value, text);
    }
}

static void random_doubles(void) {
    uint64_t state = UINT64_C(0x9E3779B97F4A7C15);
    char seventeen[64];
    for (int i = 0; i < 300000;) {
        double value = from_bits(xorshift(&state));
        if (!isfinite(value)) {
            continue;
        }
        i++;
        check_round_trip(value, i % 8 == 0);
        if (i % 16 == 0) {
            snprintf(seventeen, sizeof seventeen, "%.17g", value);
            check_real(seventeen);
        }
    }
    for (int i = 0; i < 200000; i++) { /* decimals as people write them, and powers of two */
        uint64_t r = xorshift(&state);
        check_round_trip((double)(r % 100000000) / (double)((r >> 40 & 0xFFFF) + 1), i % 4 == 0);
        snprintf(seventeen, sizeof seventeen, "%d.%de%d", (int)(r % 1000), (int)(r >> 20 & 0xFFFFF),
                 (int)(r >> 50) % 60 - 30);
        check_real(seventeen);
    }
    for (int exponent = 1; exponent < 2047; exponent++) {
        check_round_trip(from_bits((uint64_t)exponent << 52), true);
        check_round_trip(from_bits(((uint64_t)exponent << 52) - 1), true);
    }
}

int main(void) {
    integers();
    grammar();
    edges_of_reading();
    halfway();
    hostile_digits();
    writing();
    random_doubles();
    return check_report("number");
}
