/* Patterns: what matches and what does not, what is refused and where, the bounds, and how many states a search looks
 * at: that, not time, is what must stay linear. */
#include "../../src/core/pattern.h"
#include "../../src/core/pattern_program.h"
#include "../../src/core/pattern_ranges.h"
#include "check.h"

static struct vllm_slice slice(const char *text) { return (struct vllm_slice){text, strlen(text)}; }

static struct check_memory memory;

static void make(struct vllm_pattern *pattern, const char *source) {
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_pattern_fault fault = {"", {NULL, 0}, 0};
    enum vllm_status status = vllm_pattern_compile(pattern, &alloc, slice(source), &fault);
    CHECK_STATUS(status, VLLM_OK);
    if (status != VLLM_OK) {
        printf("  `%s`: %s\n", source, fault.why);
        exit(1);
    }
}

static bool find(struct vllm_pattern *pattern, struct vllm_slice text) {
    bool found = false;
    CHECK_STATUS(vllm_pattern_find(pattern, text, &found), VLLM_OK);
    return found;
}

static void check_find(const char *source, struct vllm_slice text, bool expected) {
    struct vllm_pattern pattern;
    make(&pattern, source);
    bool found = find(&pattern, text);
    CHECK(found == expected);
    if (found != expected) printf("  `%s` in `%.*s`\n", source, (int)text.len, text.ptr);
    CHECK(find(&pattern, text) == found); /* a search leaves nothing behind */
    vllm_pattern_free(&pattern);
    vllm_pattern_free(&pattern);
    CHECK(memory.live == 0);
}

struct example {
    const char *source, *yes, *no; /* texts, with `;` between them; NULL: none */
};

static void check_texts(const char *source, const char *texts, bool expected) {
    for (const char *at = texts; at; at = strchr(at, ';') ? strchr(at, ';') + 1 : NULL) {
        const char *end = strchr(at, ';');
        check_find(source, (struct vllm_slice){at, end ? (size_t)(end - at) : strlen(at)}, expected);
    }
}

static void examples(void) {
    static const struct example list[] = {
        /* Literals, and where they stand. */
        {"", ";a", NULL},
        {"abc", "abc;xabcx;ababc", ";ab;acb;abC"},
        {"^abc$", "abc", "xabc;abcx;abc\n"},
        {"^", ";x", NULL},
        {"a^", NULL, "a;aa"},
        {"^$", "", "a;\n"},
        {"^a|b$", "ax;xb", "xa;bx"},
        {"(^a)b", "ab", "xab"},
        {".", "a;\t;é;\xF0\x9F\x90\xB2;\x80", ";\n;\r;\xE2\x80\xA8;\xE2\x80\xA9"},
        {"^.$", "é;\xF0\x9F\x90\xB2;\xFF", "ab;\xFF\xFF;\xC3\xA9x;\xE2\x82"},
        {"]}{,a{b{2{2,{2,b", "]}{,a{b{2{2,{2,b", "a"},
        /* Classes. */
        {"^[abc]$", "a;b;c", "d;;ab"},
        {"^[a-cx-z]$", "a;b;c;x;z", "d;w"},
        {"^[^a-c]$", "d;é;\n;\xFF", "a;b;c;"},
        {"^[]$", NULL, ";a"},
        {"[]", NULL, ";a"},
        {"^[^]$", "a;\n;\xFF", ";ab"},
        {"^[-a]$", "-;a", "b"},
        {"^[a-]$", "-;a", "b"},
        {"^[\\]\\^\\-\\\\]$", "];^;-;\\", "a"},
        {"^[\\w-.]+$", "a-b.c;_", "a b;,"},
        {"^[a-\\d]+$", "a-9", "b"},
        {"^[\\d\\s]$", "1; ;\t", "a"},
        {"^[^\\d\\s]$", "a;\xFF", "1; ;\t"},
        {"^[^\\D]$", "1", "a;\xFF"},
        {"^[\\b]$", "\b", "b"},
        {"^[é-ü\xF0\x9F\x90\xB2]$", "é;ö;\xF0\x9F\x90\xB2", "z;ý;\xC3"},
        {"^[\\x41-\\u0043\\u{1F432}\\ud83d\\ude00]$", "A;B;C;\xF0\x9F\x90\xB2;\xF0\x9F\x98\x80", "D;\\"},
        {"^[(|)*.$]+$", "(|)*.$", "a"},
        /* Escapes. */
        {"^\\d\\D$", "1a;1\xD9\xA1;1\xFF", "11;a1;\xD9\xA1x"},
        {"^\\w\\W$", "_ ;aé;Z-", "a_;é "},
        {"^\\s$", " ;\t;\n;\v;\f;\r;\xC2\xA0;\xE1\x9A\x80;\xE2\x80\x80;\xE2\x80\x8A;\xE2\x80\xA8;\xE2\x80\xA9;\xE2\x80\xAF;"
                  "\xE2\x81\x9F;\xE3\x80\x80;\xEF\xBB\xBF", "\x01;\xE2\x80\x8B;\xC2\x85;\xE1\xA0\x8E"},
        {"^\\S$", "a;\x01;\xE2\x80\x8B;\xFF", " ;\xC2\xA0;"},
        {"^\\t\\n\\v\\f\\r$", "\t\n\v\f\r", "tnvfr"},
        {"^\\cC\\cj$", "\x03\n", "CJ"},
        {"^\\x41\\u0042\\u{43}\\u{000044}$", "ABCD", "abcd"},
        {"^\\ud83d\\udc32$", "\xF0\x9F\x90\xB2", "\xED\xA0\xBD\xED\xB0\xB2"},
        {"\\ud83d", NULL, "\xF0\x9F\x90\xB2;\xED\xA0\xBD"},
        {"^\\ud83d\\u0041", NULL, "A"},
        {"^\\^\\$\\\\\\.\\*\\+\\?\\(\\)\\[\\]\\{\\}\\|\\/$", "^$\\.*+?()[]{}|/", "a"},
        {"^\\-\\@\\ \\_\\:$", "-@ _:", "a"},
        {"\\bcat\\b", "cat;a cat.;é" "cat", "cats;concat;_cat"},
        {"\\Bat\\B", "cats", "at;cat;ats"},
        {"\\b", "a; a", "; ;é"},
        {"a\\b ", "xa b", "aa"},
        {"^\\p{L}\\P{L}$", "é1;a\xFF", "1a;ab"},
        {"^\\p{Letter}+$", "é\xCF\x80\xD0\x96\xE4\xB8\xAD", "a1"},
        {"^\\p{digit}+\\p{Nd}\\p{gc=Nd}\\p{General_Category=Decimal_Number}$", "12\xD9\xA1" "4", "1234\xC2\xBD"},
        {"^\\p{Lu}\\p{Ll}$", "Aa;\xC4\x80\xC4\x81;\xC4\xB9\xC4\xBA", "aA;\xC4\x81\xC4\x80;\xC4\xBA\xC4\xB9"},
        {"^[\\p{Lu}\\p{N}_]+$", "A1_\xC3\x89", "a"},
        {"^[^\\P{Lu}]$", "A", "a"},
        {"^\\p{Cn}$", "\xF4\x8F\xBF\xBF", "a"},
        /* Groups and alternatives. */
        {"^(a|bc|)d$", "ad;bcd;d", "abcd;bd"},
        {"^(?:a|b)(?<first_1>c|d)$", "ac;bd", "ab;cd"},
        {"^(?<é>a)$", "a", "b"},
        {"^(|a|b|c|d)$", ";a;b;c;d", "e"},
        {"^((a|b)|(c|(d|e)))f$", "af;bf;cf;df;ef", "f;g"},
        {"a||b", ";z", NULL},
        {"()", ";a", NULL},
        /* Repetition. */
        {"^a*$", ";a;aaa", "b;ab"},
        {"^a+$", "a;aaa", ";b;ab"},
        {"^a?$", ";a", "aa;b"},
        {"^a*?b+?c??$", "b;aabbc", "a;bcc"},
        {"^a{3}$", "aaa", "aa;aaaa;"},
        {"^a{2,}$", "aa;aaaaa", "a;"},
        {"^a{2,4}$", "aa;aaa;aaaa", "a;aaaaa"},
        {"^a{0,2}$", ";a;aa", "aaa"},
        {"^a{0,}$", ";aaa", "b"},
        {"^a{1,}$", "a;aaa", ";b"},
        {"^a{0}b{0,0}$", "", "a;b"},
        {"^a{1}?b{1,1}$", "ab", "aab"},
        {"^(ab|c){2,3}$", "abc;cc;ababab", "ab;cccc"},
        {"^(a{2}){2,3}$", "aaaa;aaaaaa", "aaa;aaaaa"},
        {"^(a*)*$", ";aaa", "b"},
        {"^(a*)+b$", "b;aab", "a"},
        {"^(?:){9}()*(|a){3}$", ";aaa", "aaaa"},
        {"^(?:a|b{2}){2}c$", "abbc;bbbbc", "abc"},
        {"^(?:(a|b)|c)*d{1,2}e$", "acbde;dde", "acdb"},
        {"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "123e4567-e89b-12d3-a456-426614174000",
         "123e4567-e89b-12d3-a456-42661417400"},
        {"^.{3}$", "\xF0\x9F\x90\xB2\xF0\x9F\x90\xB2\xF0\x9F\x90\xB2", "\xF0\x9F\x90\xB2"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        check_texts(list[i].source, list[i].yes, true);
        check_texts(list[i].source, list[i].no, false);
    }
}

static void nul_is_a_character(void) {
    check_find("^a\\0b$", (struct vllm_slice){"a\0b", 3}, true);
    check_find("^a\\x00b$", (struct vllm_slice){"a\0b", 3}, true);
    check_find("^a.b$", (struct vllm_slice){"a\0b", 3}, true);
    check_find("b", (struct vllm_slice){"a\0b", 3}, true);
    check_find("^$", (struct vllm_slice){NULL, 0}, true);
}

static void check_refused(struct vllm_slice source, enum vllm_status expected, const char *why, const char *given,
                          size_t offset) {
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_pattern pattern;
    struct vllm_pattern_fault fault = {"nothing", {NULL, 0}, 0};
    CHECK_STATUS(vllm_pattern_compile(&pattern, &alloc, source, &fault), expected);
    CHECK(strcmp(fault.why, why) == 0 && fault.offset == offset);
    if (strcmp(fault.why, why) != 0 || fault.offset != offset) {
        printf("  `%.*s`: %s at %d\n", (int)(source.len < 60 ? source.len : 60), source.ptr, fault.why, (int)fault.offset);
    }
    if (given) CHECK_BYTES(fault.given, given);
    CHECK(given || !fault.given.ptr);
    CHECK(memory.live == 0);
}

static void refusals(void) {
    static const struct {
        const char *source, *why, *given;
        size_t offset;
    } list[] = {
        {"a(?=b)", "lookahead is not supported", "(?=", 1},
        {"a(?!b)", "lookahead is not supported", "(?!", 1},
        {"(?<=a)b", "lookbehind is not supported", "(?<=", 0},
        {"(?<!a)b", "lookbehind is not supported", "(?<!", 0},
        {"(a)\\1", "backreferences are not supported", "\\1", 3},
        {"(?<a>b)\\k<a>", "backreferences are not supported", "\\k", 7},
        {"(?i)a", "not a group of ECMA-262 that is supported", "(?i", 0},
        {"(?P<a>b)", "not a group of ECMA-262 that is supported", "(?P", 0},
        {"(?", "not a group of ECMA-262 that is supported", "(?", 0},
        {"(?<>a)", "not the name of a group", "(?<", 0},
        {"(?<a", "not the name of a group", "(?<a", 0},
        {"a(b", "a group is not closed", NULL, 1},
        {"a)b", "a parenthesis that closes no group", NULL, 1},
        {"[a", "a class is not closed", NULL, 0},
        {"x[^", "a class is not closed", NULL, 1},
        {"[a-", "a class is not closed", NULL, 0},
        {"[z-a]", "the ends of a range are out of order", "z-a", 1},
        {"[\\1]", "unknown escape", "\\1", 1},
        {"[\\B]", "unknown escape", "\\B", 1},
        {"*", "nothing to repeat", "*", 0},
        {"a**", "nothing to repeat", "*", 2},
        {"a+{2}", "nothing to repeat", "{2}", 2},
        {"(|?)", "nothing to repeat", "?", 2},
        {"^*", "nothing to repeat", "*", 1},
        {"\\b+", "nothing to repeat", "+", 2},
        {"a{3,2}", "the numbers of a repetition are out of order", "a{3,2}", 0},
        {"a{,3}", "a repetition without its least number", "{,", 1},
        {"\\a", "unknown escape", "\\a", 0},
        {"^\\Z", "unknown escape", "\\Z", 1},
        {"\\é", "unknown escape", "\\é", 0},
        {"\\\n", "unknown escape", "\\\n", 0},
        {"\\01", "unknown escape", "\\0", 0},
        {"\\c1", "unknown escape", "\\c", 0},
        {"\\x4g", "unknown escape", "\\x4", 0},
        {"\\u123", "unknown escape", "\\u123", 0},
        {"\\u{}", "unknown escape", "\\u{", 0},
        {"\\u{110000}", "unknown escape", "\\u{110000", 0},
        {"\\u{41", "unknown escape", "\\u{41", 0},
        {"\\", "the pattern ends with a backslash", NULL, 0},
        {"[\\", "the pattern ends with a backslash", NULL, 1},
        {"\\p", "`\\p` without a name in braces", NULL, 0},
        {"\\pL", "`\\p` without a name in braces", NULL, 0},
        {"\\p{L", "`\\p{` is not closed", NULL, 0},
        {"\\p{}", "not a general category", "\\p{}", 0},
        {"a\\p{Script=Greek}", "not a general category", "\\p{Script=Greek}", 1},
        {"[\\P{lu}]", "not a general category", "\\P{lu}", 1},
        {"ab\xC3", "the pattern is not valid UTF-8", NULL, 2},
        {"ééééééééééééééééééé{a(?:éééé){2,1}", "the numbers of a repetition are out of order", "(?:éééé){2,1}", 40},
        {"(?:aééééééééééééééééééééééééééé){2,1}", "the numbers of a repetition are out of order",
         "(?:aéééééééééééééééééé", 0},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        check_refused(slice(list[i].source), VLLM_ESYNTAX, list[i].why, list[i].given, list[i].offset);
    }
}

/* `times` of a text, and an end. */
static char *many(const char *text, size_t times, const char *end) {
    size_t len = strlen(text), end_len = strlen(end);
    char *out = malloc(len * times + end_len + 1);
    if (!out) exit(1);
    for (size_t i = 0; i < times; i++) memcpy(out + i * len, text, len);
    memcpy(out + len * times, end, end_len + 1);
    return out;
}

static void limits(void) {
    char *longest = many("a", VLLM_PATTERN_MAX_BYTES, ""), *longer = many("a", VLLM_PATTERN_MAX_BYTES + 1, "");
    check_find(longest, slice(longest), true);
    check_refused(slice(longer), VLLM_ESYNTAX, "the pattern is longer than 4096 bytes", NULL, 4096);
    char *deep = many("(", VLLM_PATTERN_MAX_DEPTH, "a"), *closing = many(")", VLLM_PATTERN_MAX_DEPTH, "");
    char *deepest = many(deep, 1, closing), *deeper = many("(", VLLM_PATTERN_MAX_DEPTH + 1, "");
    check_find(deepest, slice("a"), true);
    check_refused(slice(deeper), VLLM_ESYNTAX, "groups are nested deeper than 100", NULL, 100);
    /* One state more ends a pattern. */
    char *most = many("a", VLLM_PATTERN_MAX_STATES - 1, "");
    check_find("^a{9998}", slice(most), true);
    check_find("^a{9998}", slice(longest), false);
    check_refused(slice("^a{9999}"), VLLM_ELIMIT, "the pattern needs more than 10000 states", NULL, 8);
    check_refused(slice("a{10000}"), VLLM_ELIMIT, "the pattern needs more than 10000 states", NULL, 8);
    check_refused(slice("a{99999999999999999999}"), VLLM_ELIMIT, "the pattern needs more than 10000 states", NULL, 23);
    check_refused(slice("a{1,99999999999999999999}"), VLLM_ELIMIT, "the pattern needs more than 10000 states", NULL, 25);
    check_refused(slice("a{0,99999999999999999999}"), VLLM_ELIMIT, "the pattern needs more than 10000 states", NULL, 25);
    check_refused(slice("a{99999999999999999999,}"), VLLM_ELIMIT, "the pattern needs more than 10000 states", NULL, 24);
    check_refused(slice("(((a{100}){100}){100}){100}"), VLLM_ELIMIT, "the pattern needs more than 10000 states", NULL, 21);
    check_find("^(?:){99999999999999999999}$", slice(""), true);
    free(longest);
    free(longer);
    free(deep);
    free(closing);
    free(deepest);
    free(deeper);
    free(most);
}

/* The classics: each takes a backtracking matcher years, and here so many states a character. */
static void steps_are_linear(void) {
    static const struct {
        const char *source, *text, *end;
        size_t most; /* states a character */
        bool found;
    } list[] = {
        {"(a+)+$", "a", "b", 5, false},
        {"^(a+)+$", "a", "b", 4, false},
        {"^(a|a)*b", "a", "", 7, false},
        {"(a|a)*b", "a", "", 7, false},
        {"(.*)*x", "a", "", 10, false},
        {"^(([a-z])+.)+[A-Z]([a-z])+$", "a", "", 9, false},
        {"^(a?){50}a{50}$", "a", "", 200, false},
        {"(x+x+)+y", "x", "", 6, false},
        {"^(.*?,){11}P", "1,", "", 90, false},
        {"literal", "literally", "", 8, true},
        {"literal", "lateral ", "", 1, false},
    };
    const size_t times = 100 * 1000;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct vllm_pattern pattern;
        char *text = many(list[i].text, times, list[i].end);
        make(&pattern, list[i].source);
        CHECK(find(&pattern, slice(text)) == list[i].found);
        CHECK(pattern.steps <= list[i].most * (strlen(text) + 1));
        if (pattern.steps > list[i].most * (strlen(text) + 1)) {
            printf("  `%s`: %lu states\n", list[i].source, (unsigned long)pattern.steps);
        }
        vllm_pattern_free(&pattern);
        free(text);
    }
}

/* A search that cannot match any more, or that has matched, reads no further. */
static void ends_early(void) {
    struct vllm_pattern pattern;
    char *text = many("ab", 1000, "");
    make(&pattern, "^b");
    CHECK(!find(&pattern, slice(text)) && pattern.steps == 2);
    vllm_pattern_free(&pattern);
    make(&pattern, "^ab");
    CHECK(find(&pattern, slice(text)) && pattern.steps == 4);
    vllm_pattern_free(&pattern);
    free(text);
}

/* The dearest pattern on a long text: given up, and the next search is as if it had not been. */
static void effort_is_bounded(void) {
    struct vllm_pattern pattern;
    bool found;
    char *text = many("x", 100 * 1000, "");
    size_t most = VLLM_PATTERN_MAX_STEPS + 32 * strlen(text);
    make(&pattern, "(x?){4990}y");
    CHECK_STATUS(vllm_pattern_find(&pattern, slice(text), &found), VLLM_ELIMIT);
    CHECK(pattern.steps > most && pattern.steps <= most + pattern.count);
    CHECK(find(&pattern, slice("xxy")));
    vllm_pattern_free(&pattern);
    free(text);
}

/* The members of a class count, too, as far as they were looked at. */
static void classes_have_their_price(void) {
    struct vllm_pattern pattern;
    make(&pattern, "^[a-cx\\d]$");
    CHECK(find(&pattern, slice("a")));
    size_t first = pattern.steps;
    CHECK(find(&pattern, slice("1")));
    CHECK(pattern.steps == first + 2);
    vllm_pattern_free(&pattern);
}

static void without_memory(void) {
    static const char source[] = "^(?:[a-z]+|\\p{L}{2,40}|x?){3}$";
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_pattern pattern;
    struct vllm_pattern_fault fault;
    enum vllm_status status = VLLM_ENOMEM;
    long left = 0;
    for (; status == VLLM_ENOMEM; left++) {
        memory.left = left;
        status = vllm_pattern_compile(&pattern, &alloc, slice(source), &fault);
        CHECK(status == VLLM_OK || memory.live == 0);
    }
    CHECK_STATUS(status, VLLM_OK);
    CHECK(left > 3);
    CHECK(find(&pattern, slice("abc")));
    vllm_pattern_free(&pattern);
    CHECK(memory.live == 0);
}

/* Every code point has one category, and each run another than the one before it. */
static void categories(void) {
    size_t counts[32] = {0}, letters = 0;
    uint32_t all_letters = vllm_pattern_category(slice("L"));
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        uint32_t bits = vllm_pattern_category_of(c);
        if (bits == 0 || (bits & (bits - 1)) != 0) {
            CHECK(false);
            printf("  U+%04X\n", (unsigned)c);
        }
        for (int i = 0; i < 32; i++) counts[i] += bits >> i & 1;
        letters += (bits & all_letters) != 0;
    }
    /* Of Unicode 14. */
    CHECK(counts[VLLM_CATEGORY_LU] == 1831 && counts[VLLM_CATEGORY_LL] == 2227 && counts[VLLM_CATEGORY_LT] == 31);
    CHECK(counts[VLLM_CATEGORY_ND] == 660 && counts[VLLM_CATEGORY_CC] == 65 && counts[VLLM_CATEGORY_CS] == 2048);
    CHECK(letters == 131756);
    CHECK(vllm_pattern_category_of(VLLM_PATTERN_BAD) == 0 && vllm_pattern_category_of(VLLM_PATTERN_NONE) == 0);
    size_t runs = sizeof vllm_pattern_runs / sizeof *vllm_pattern_runs;
    CHECK(vllm_pattern_runs[0] >> 8 == 0);
    for (size_t i = 1; i < runs; i++) {
        CHECK(vllm_pattern_runs[i] >> 8 > vllm_pattern_runs[i - 1] >> 8);
        CHECK((vllm_pattern_runs[i] & 0xFF) != (vllm_pattern_runs[i - 1] & 0xFF));
    }
}

int main(void) {
    examples();
    nul_is_a_character();
    refusals();
    limits();
    steps_are_linear();
    ends_early();
    effort_is_bounded();
    classes_have_their_price();
    without_memory();
    categories();
    return check_report("pattern");
}
