/* UTF-8 one sequence at a time: the edges of every row of Unicode's table 3-7, and what is malformed. */
#include "../../src/core/utf8.h"
#include "check.h"

static void check_step(const char *bytes, size_t len, size_t expected, bool expected_well_formed) {
    bool well_formed;
    size_t step = vllm_utf8_step(bytes, bytes + len, &well_formed);
    CHECK(step == expected && well_formed == expected_well_formed);
    if (step != expected || well_formed != expected_well_formed) {
        printf("  %02x… of %d bytes: a step of %d\n", (unsigned)(unsigned char)bytes[0], (int)len, (int)step);
    }
}

static void sequences(void) {
    static const struct {
        const char *bytes;
        size_t len, step;
        bool well_formed;
    } cases[] = {
        {"\0", 1, 1, true},
        {"\x7F", 1, 1, true},
        {"\xC2\x80", 2, 2, true},
        {"\xDF\xBF", 2, 2, true},
        {"\xE0\xA0\x80", 3, 3, true},
        {"\xED\x9F\xBF", 3, 3, true},
        {"\xEE\x80\x80", 3, 3, true},
        {"\xF0\x90\x80\x80", 4, 4, true},
        {"\xF4\x8F\xBF\xBF", 4, 4, true},
        /* Alone, overlong, a surrogate, beyond U+10FFFF: one byte each. */
        {"\x80", 1, 1, false},
        {"\xC0\x80", 2, 1, false},
        {"\xC1\xBF", 2, 1, false},
        {"\xE0\x9F\xBF", 3, 1, false},
        {"\xED\xA0\x80", 3, 1, false},
        {"\xF0\x8F\xBF\xBF", 4, 1, false},
        {"\xF4\x90\x80\x80", 4, 1, false},
        {"\xF5\x80\x80\x80", 4, 1, false},
        {"\xFF", 1, 1, false},
        /* Cut short, by the end or by another character: as far as it was well begun. */
        {"\xC2", 1, 1, false},
        {"\xC2x", 2, 1, false},
        {"\xE2\x82", 2, 2, false},
        {"\xE2\x82x", 3, 2, false},
        {"\xF0\x9F\x98", 3, 3, false},
        {"\xF0\x9F\x98x", 4, 3, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_step(cases[i].bytes, cases[i].len, cases[i].step, cases[i].well_formed);
    }
}

/* What is written is read as one sequence of that length; of the surrogates, each byte is malformed. */
static void every_code_point(void) {
    for (uint32_t code_point = 0; code_point <= 0x10FFFF; code_point++) {
        char bytes[4];
        bool well_formed, surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
        size_t len = vllm_utf8_write(code_point, bytes);
        size_t expected = code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
        size_t step = vllm_utf8_step(bytes, bytes + len, &well_formed);
        if (len != expected || step != (surrogate ? 1 : len) || well_formed == surrogate) {
            CHECK(false);
            printf("  U+%04X\n", (unsigned)code_point);
        }
    }
}

int main(void) {
    sequences();
    every_code_point();
    return check_report("utf8");
}
