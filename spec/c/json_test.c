/* The JSON cursor, the values of strings, the token writer. */
#include "check.h"

#include "../../src/core/json.h"
#include "../../src/core/utf8.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define FFFD        "\xEF\xBF\xBD"

struct bytes {
    const char *text;
    size_t len;
};
#define BYTES(literal)                                                                                                 \
    { literal, sizeof(literal) - 1 }

static void validity(void) {
    static const struct bytes good[] = {BYTES("0"),
                                        BYTES(" \t\r\n1 \t\r\n"),
                                        BYTES("-0"),
                                        BYTES("1e400"),
                                        BYTES("\"\""),
                                        BYTES("\"\\u0000\\ud800\""),
                                        BYTES("[]"),
                                        BYTES("{}"),
                                        BYTES("[ ]"),
                                        BYTES("{ }"),
                                        BYTES("[1,[2],{\"a\":{\"b\":[]}},null]"),
                                        BYTES(" { \"a\" : 1 , \"a\" : [ true , false ] } "),
                                        BYTES("\"\xFF\xC0\xE2\x82\""),
                                        BYTES("\"\x7F\""),
                                        BYTES("\"12345678\\\"12345678\""),
                                        BYTES("[-1.5E+3,0.0,1e-9]"),
                                        BYTES("null")};
    static const struct bytes bad[] = {BYTES(""),
                                       BYTES(" "),
                                       BYTES("nul"),
                                       BYTES("nulL"),
                                       BYTES("nullx"),
                                       BYTES("True"),
                                       BYTES("NaN"),
                                       BYTES("-Infinity"),
                                       BYTES("01"),
                                       BYTES("1."),
                                       BYTES(".5"),
                                       BYTES("0x1"),
                                       BYTES("+1"),
                                       BYTES("-"),
                                       BYTES("1e"),
                                       BYTES("1 2"),
                                       BYTES("[1,]"),
                                       BYTES("[,]"),
                                       BYTES("[1 2]"),
                                       BYTES("[1"),
                                       BYTES("["),
                                       BYTES("]"),
                                       BYTES("[}"),
                                       BYTES("{]"),
                                       BYTES("{\"a\":1]"),
                                       BYTES("[1}"),
                                       BYTES("{,}"),
                                       BYTES("{\"a\"}"),
                                       BYTES("{\"a\":}"),
                                       BYTES("{\"a\":1,}"),
                                       BYTES("{\"a\" 1}"),
                                       BYTES("{1:1}"),
                                       BYTES("{\"a\":1 \"b\":2}"),
                                       BYTES("\""),
                                       BYTES("\"\\\""),
                                       BYTES("\"\\x\""),
                                       BYTES("\"\\u123\""),
                                       BYTES("\"\\u12G4\""),
                                       BYTES("\"\\u"),
                                       BYTES("\"\n\""),
                                       BYTES("\"\x1F\""),
                                       BYTES("\"\0\""),
                                       BYTES("1\0"),
                                       BYTES("\0"),
                                       BYTES("[\0]"),
                                       BYTES("\xEF\xBB\xBF"
                                             "1"),
                                       BYTES("//x\n1"),
                                       BYTES("[1]/**/"),
                                       BYTES("\f1"),
                                       BYTES("\xC2\xA0"
                                             "1"),
                                       BYTES("'a'"),
                                       BYTES("{\"a\":1}}"),
                                       BYTES("1,"),
                                       BYTES("\"1234567890\x01"
                                             "234567890\""),
                                       BYTES("\"abcdefgh\\'\"")};
    for (size_t i = 0; i < COUNT(good); i++) {
        struct vllm_json j;
        CHECK(vllm_json_check(good[i].text, good[i].len, 8, &j));
        CHECK(j.status == VLLM_OK && j.at == good[i].text + good[i].len && j.depth == 0);
        CHECK(vllm_json_check(good[i].text, good[i].len, 8, NULL));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct vllm_json j;
        bool accepted = vllm_json_check(bad[i].text, bad[i].len, 8, &j);
        CHECK(!accepted);
        if (accepted) {
            printf("  accepted: %s\n", bad[i].text);
        }
        CHECK(j.status == VLLM_ESYNTAX && j.why != NULL && j.at >= j.start && j.at <= j.end);
    }
}

/* Every prefix of a text is invalid, with no readable memory after its end (valgrind and ASan watch). */
static void truncation(void) {
    static const char text[] =
        "{\"a\\u00e9\":[1.5e-3,true,\"\xF0\x9F\x98\x80\\n\"],\"long enough to be scanned by words\":{\"x\":null}}";
    for (size_t len = 0; len < sizeof text - 1; len++) {
        char *copy = malloc(len ? len : 1);
        if (copy) {
            memcpy(copy, text, len);
            CHECK(!vllm_json_check(copy, len, 8, NULL));
        }
        free(copy);
    }
    CHECK(vllm_json_check(text, sizeof text - 1, 8, NULL));
}

static void depth(void) {
    static char text[20001];
    struct vllm_json j;
    for (unsigned max = 1; max < 70; max++) {
        memset(text, '[', max + 1);
        memset(text + max + 1, ']', max + 1);
        CHECK(vllm_json_check(text + 1, 2 * (size_t)max, max, NULL));
        CHECK(!vllm_json_check(text, 2 * ((size_t)max + 1), max, &j));
        CHECK(j.status == VLLM_ELIMIT && j.at - j.start == (long)max);
    }
    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    CHECK(!vllm_json_check(text, 20000, 1000000, &j) && j.status == VLLM_ELIMIT);
    CHECK(vllm_json_check(text + 10000 - 1024, 2048, 1000000, &j));
    CHECK(!vllm_json_check("[]", 2, 0, &j) && j.status == VLLM_ELIMIT);
    CHECK(vllm_json_check("1", 1, 0, &j));
    vllm_json_init(&j, "[[[1]]]", 7, 2);
    CHECK(vllm_json_enter(&j) && vllm_json_element(&j) && vllm_json_enter(&j) && vllm_json_element(&j));
    CHECK(!vllm_json_enter(&j) && j.status == VLLM_ELIMIT);
}

static void walking(void) {
    static const char text[] = " { \"n\" : -12 , \"s\":\"a\\nb\", \"list\" : [ 1.5 , [ ] , { } , \"x\" ] "
                               ",\"t\":true,\"z\":null,\"o\":{\"k\":[0]} } ";
    struct vllm_json j;
    struct vllm_json_string key, string;
    struct vllm_number number;
    struct vllm_slice raw = {NULL, 0};
    bool truth = false;
    vllm_json_init(&j, text, sizeof text - 1, 8);
    CHECK(vllm_json_peek(&j) == VLLM_JSON_OBJECT && vllm_json_enter(&j));
    CHECK(vllm_json_member(&j, &key) && vllm_json_string_is(&key, "n") && vllm_json_peek(&j) == VLLM_JSON_NUMBER);
    CHECK(vllm_json_number(&j, &number) && number.is_integer && number.integer == -12);
    CHECK(vllm_json_member(&j, &key) && vllm_json_string_is(&key, "s") && vllm_json_peek(&j) == VLLM_JSON_STRING);
    CHECK(vllm_json_string(&j, &string) && !string.plain && vllm_json_string_is(&string, "a\nb"));
    CHECK_BYTES(string.raw, "a\\nb");
    CHECK(vllm_json_member(&j, &key) && vllm_json_peek(&j) == VLLM_JSON_ARRAY && vllm_json_enter(&j));
    CHECK(vllm_json_element(&j) && vllm_json_number(&j, &number) && !number.is_integer && number.real == 1.5);
    CHECK(vllm_json_element(&j) && vllm_json_enter(&j) && !vllm_json_element(&j) && j.status == VLLM_OK);
    CHECK(vllm_json_element(&j) && vllm_json_enter(&j) && !vllm_json_member(&j, &key) && j.status == VLLM_OK);
    CHECK(vllm_json_element(&j) && vllm_json_skip(&j, &raw));
    CHECK_BYTES(raw, "\"x\"");
    CHECK(!vllm_json_element(&j) && j.status == VLLM_OK && j.depth == 1);
    CHECK(vllm_json_member(&j, &key) && vllm_json_peek(&j) == VLLM_JSON_BOOL && vllm_json_bool(&j, &truth) && truth);
    CHECK(vllm_json_member(&j, &key) && vllm_json_peek(&j) == VLLM_JSON_NULL && vllm_json_null(&j));
    CHECK(vllm_json_member(&j, &key) && vllm_json_skip(&j, &raw));
    CHECK_BYTES(raw, "{\"k\":[0]}");
    CHECK(!vllm_json_member(&j, &key) && j.status == VLLM_OK && vllm_json_end(&j));
}

static void wrong_types(void) {
    struct vllm_json j;
    struct vllm_json_string string;
    struct vllm_number number;
    bool truth;
    vllm_json_init(&j, "1", 1, 8);
    CHECK(!vllm_json_string(&j, &string) && j.status == VLLM_ESYNTAX && strcmp(j.why, "string expected") == 0);
    CHECK(!vllm_json_number(&j, &number) && !vllm_json_skip(&j, NULL) && !vllm_json_end(&j)); /* it sticks */
    CHECK(vllm_json_peek(&j) == VLLM_JSON_INVALID && j.at == j.start);
    vllm_json_init(&j, "\"1\"", 3, 8);
    CHECK(!vllm_json_number(&j, &number) && j.status == VLLM_ESYNTAX);
    vllm_json_init(&j, "null", 4, 8);
    CHECK(!vllm_json_bool(&j, &truth) && j.status == VLLM_ESYNTAX);
    vllm_json_init(&j, "0", 1, 8);
    CHECK(!vllm_json_null(&j) && j.status == VLLM_ESYNTAX);
    vllm_json_init(&j, "\"\"", 2, 8);
    CHECK(!vllm_json_enter(&j) && j.status == VLLM_ESYNTAX);
    vllm_json_init(&j, "[1e999]", 7, 8);
    CHECK(vllm_json_enter(&j) && vllm_json_element(&j) && !vllm_json_number(&j, &number));
    CHECK(j.status == VLLM_ELIMIT && j.at - j.start == 1 && !vllm_json_element(&j));
    vllm_json_init(&j, NULL, 5, 8);
    CHECK(vllm_json_peek(&j) == VLLM_JSON_INVALID && !vllm_json_skip(&j, NULL) && j.status == VLLM_ESYNTAX);
    vllm_json_init(&j, "{\"a\":1}", 7, 8); /* walked as what it is not */
    CHECK(vllm_json_enter(&j) && vllm_json_element(&j) && vllm_json_skip(&j, NULL) && !vllm_json_element(&j) &&
          j.status == VLLM_ESYNTAX);
}

static struct vllm_json_string string_of(const char *text, size_t len) {
    struct vllm_json j;
    struct vllm_json_string string = {{NULL, 0}, false};
    vllm_json_init(&j, text, len, 8);
    CHECK(vllm_json_string(&j, &string) && vllm_json_end(&j));
    return string;
}

/* The value must come out the same wherever the room that the buffer has at first ends. */
static void check_value(const struct vllm_json_string *string, bool halves, struct bytes expected) {
    static const char filler[64] = "before";
    for (size_t room = 0; room <= sizeof filler; room++) {
        struct check_memory memory;
        struct vllm_alloc alloc = check_alloc(&memory);
        struct vllm_buf buf;
        size_t before = sizeof filler - room;
        vllm_buf_init(&buf, &alloc, 1000);
        CHECK_STATUS(vllm_buf_append(&buf, filler, before), VLLM_OK);
        CHECK(before == 0 || buf.cap == sizeof filler);
        CHECK_STATUS(vllm_json_string_value(string, halves, &buf), VLLM_OK);
        bool same = buf.len == before + expected.len && (buf.len == 0 || (memcmp(buf.data, filler, before) == 0 &&
                                                                          memcmp(buf.data + before, expected.text, expected.len) == 0));
        CHECK(same);
        if (!same) {
            printf("  value of %.*s, room for %lu bytes\n", (int)string->raw.len, string->raw.ptr, (unsigned long)room);
        }
        vllm_buf_free(&buf);
        CHECK(memory.live == 0);
    }
}

static void string_values(void) {
    static const struct {
        struct bytes json;
        bool plain;
        struct bytes value, with_halves;
    } cases[] = {
        {BYTES("\"\""), true, BYTES(""), BYTES("")},
        {BYTES("\"plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \xF4\x8F\xBF\xBF\""), true,
         BYTES("plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \xF4\x8F\xBF\xBF"),
         BYTES("plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \xF4\x8F\xBF\xBF")},
        {BYTES("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), false, BYTES("\"\\/\b\f\n\r\t"), BYTES("\"\\/\b\f\n\r\t")},
        {BYTES("\"code = \\\"a\\\";\\n\\n\\n\\tnext\\u4e16\\ud83d\\ude00 \xE4\xB8\x96\xC3\xA9\xF0\x9F\x98\x80 \\u00e9 and more\""), false,
         BYTES("code = \"a\";\n\n\n\tnext\xE4\xB8\x96\xF0\x9F\x98\x80 \xE4\xB8\x96\xC3\xA9\xF0\x9F\x98\x80 \xC3\xA9 and more"),
         BYTES("code = \"a\";\n\n\n\tnext\xE4\xB8\x96\xF0\x9F\x98\x80 \xE4\xB8\x96\xC3\xA9\xF0\x9F\x98\x80 \xC3\xA9 and more")},
        {BYTES("\"\\u0041\\u00e9\\u20AC\\uFFFF\\u0000\""), false, BYTES("A\xC3\xA9\xE2\x82\xAC\xEF\xBF\xBF\0"),
         BYTES("A\xC3\xA9\xE2\x82\xAC\xEF\xBF\xBF\0")},
        {BYTES("\"\\ud83d\\ude00\""), false, BYTES("\xF0\x9F\x98\x80"), BYTES("\xF0\x9F\x98\x80")},
        {BYTES("\"\\uD800\\uDC00\\uDBFF\\uDFFF\""), false, BYTES("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"),
         BYTES("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF")},
        {BYTES("\"\\ud83d\""), false, BYTES(FFFD), BYTES("\xED\xA0\xBD")},
        {BYTES("\"\\ude00\""), false, BYTES(FFFD), BYTES("\xED\xB8\x80")},
        {BYTES("\"\\ude00x\\ud83d\""), false, BYTES(FFFD "x" FFFD),
         BYTES("\xED\xB8\x80"
               "x\xED\xA0\xBD")},
        {BYTES("\"x\\ude00\\ud83dy\""), false, BYTES("x" FFFD FFFD "y"), BYTES("x" FFFD FFFD "y")},
        {BYTES("\"\\ud83d\\ud83d\\ude00\""), false, BYTES(FFFD "\xF0\x9F\x98\x80"), BYTES(FFFD "\xF0\x9F\x98\x80")},
        {BYTES("\"\\ud83d\\u0041\""), false, BYTES(FFFD "A"), BYTES(FFFD "A")},
        {BYTES("\"\\ud83d\\n\""), false, BYTES(FFFD "\n"), BYTES(FFFD "\n")},
        {BYTES("\"\\ud83d\xF0\x9F\x98\x80\""), false, BYTES(FFFD "\xF0\x9F\x98\x80"), BYTES(FFFD "\xF0\x9F\x98\x80")},
        {BYTES("\"\xFF\""), false, BYTES(FFFD), BYTES(FFFD)},
        {BYTES("\"a\x80z\""), false, BYTES("a" FFFD "z"), BYTES("a" FFFD "z")},
        {BYTES("\"\xC0\x80\""), false, BYTES(FFFD FFFD), BYTES(FFFD FFFD)},
        {BYTES("\"\xE2\x82z\""), false, BYTES(FFFD "z"), BYTES(FFFD "z")},
        {BYTES("\"\xE2\x82\""), false, BYTES(FFFD), BYTES(FFFD)},
        {BYTES("\"\xF0\x9F\x98\""), false, BYTES(FFFD), BYTES(FFFD)},
        {BYTES("\"\xF0\x80\x80\x80\""), false, BYTES(FFFD FFFD FFFD FFFD), BYTES(FFFD FFFD FFFD FFFD)},
        {BYTES("\"\xED\xA0\x80\""), false, BYTES(FFFD FFFD FFFD),
         BYTES(FFFD FFFD FFFD)}, /* raw halves are never kept */
        {BYTES("\"\xE0\x9F\xBF\xF4\x90\x80\x80\xF5\""), false, BYTES(FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD),
         BYTES(FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD)}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct vllm_json_string string = string_of(cases[i].json.text, cases[i].json.len);
        CHECK(string.plain == cases[i].plain);
        check_value(&string, false, cases[i].value);
        check_value(&string, true, cases[i].with_halves);
        if (strlen(cases[i].value.text) == cases[i].value.len) {
            CHECK(vllm_json_string_is(&string, cases[i].value.text));
        }
        CHECK(!vllm_json_string_is(&string, "something else"));
    }
}

static void comparing_strings(void) {
    struct vllm_json_string string = string_of("\"\\u0063ontent\"", 14), nul = string_of("\"a\\u0000b\"", 10),
                            empty = string_of("\"\"", 2);
    CHECK(vllm_json_string_is(&string, "content") && !vllm_json_string_is(&string, "conten") &&
          !vllm_json_string_is(&string, "contents"));
    CHECK(!vllm_json_string_is(&string, "") && !vllm_json_string_is(&string, "Content"));
    CHECK(!vllm_json_string_is(&nul, "a") && !vllm_json_string_is(&nul, "ab"));
    CHECK(vllm_json_string_is(&empty, "") && !vllm_json_string_is(&empty, "a"));
}

/* A value that does not fit, or finds no memory, leaves the buffer as it was. */
static void failing_values(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_json_string string = string_of("\"0123456789\\n0123456789\xFF\"", 25);
    for (size_t max = 0; max < 26; max++) {
        struct vllm_buf buf;
        vllm_buf_init(&buf, &alloc, max);
        bool has_room = vllm_buf_byte(&buf, 'k') == VLLM_OK;
        CHECK(has_room == (max > 0));
        size_t before = buf.len;
        enum vllm_status status = vllm_json_string_value(&string, false, &buf);
        CHECK_STATUS(status, max >= 25 ? VLLM_OK : VLLM_ELIMIT);
        CHECK(buf.len == (status == VLLM_OK ? 25 : before));
        buf.len = before;
        status = vllm_json_write_string(&buf, "abcdefghi\n\x01", 11);
        CHECK_STATUS(status, max >= 20 ? VLLM_OK : VLLM_ELIMIT);
        CHECK(buf.len == (status == VLLM_OK ? 20 : before));
        vllm_buf_free(&buf);
    }
    struct vllm_buf buf;
    vllm_buf_init(&buf, &alloc, 100);
    memory.left = 0;
    CHECK_STATUS(vllm_json_string_value(&string, false, &buf), VLLM_ENOMEM);
    CHECK_STATUS(vllm_json_write_string(&buf, "a", 1), VLLM_ENOMEM);
    CHECK_STATUS(vllm_json_write_integer(&buf, 1), VLLM_ENOMEM);
    CHECK_STATUS(vllm_json_write_real(&buf, 0.5), VLLM_ENOMEM);
    CHECK(buf.len == 0 && memory.live == 0);
}

static void writing(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_buf buf;
    vllm_buf_init(&buf, &alloc, 1000);
    CHECK_STATUS(vllm_json_write_string(&buf, "\"\\/\b\f\n\r\t\0\x1F\x7F\xE2\x80\xA8", 14), VLLM_OK);
    CHECK_BYTES(vllm_buf_view(&buf), "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7F\xE2\x80\xA8\"");
    static const struct bytes bad[] = {BYTES("\x80"),
                                       BYTES("ok\xFF"),
                                       BYTES("\xC1\xBF"),
                                       BYTES("\xED\xA0\x80"),
                                       BYTES("\xF4\x90\x80\x80"),
                                       BYTES("\xE2\x82"),
                                       BYTES("\xC3"),
                                       BYTES("\n\xF8\x88\x80\x80\x80")};
    size_t before = buf.len;
    for (size_t i = 0; i < COUNT(bad); i++) {
        CHECK_STATUS(vllm_json_write_string(&buf, bad[i].text, bad[i].len), VLLM_EUTF8);
        CHECK(buf.len == before);
    }
    double zero = 0;
    CHECK_STATUS(vllm_json_write_real(&buf, 1 / zero), VLLM_EINVALID);
    CHECK_STATUS(vllm_json_write_real(&buf, zero / zero), VLLM_EINVALID);
    CHECK(buf.len == before);
    vllm_buf_clear(&buf);
    CHECK_STATUS(vllm_json_write_integer(&buf, INT64_MIN), VLLM_OK);
    CHECK_STATUS(vllm_json_write_real(&buf, 0.7), VLLM_OK);
    CHECK_STATUS(vllm_json_write_string(&buf, "", 0), VLLM_OK);
    CHECK_STATUS(vllm_json_write_string(&buf, NULL, 0), VLLM_OK);
    CHECK_BYTES(vllm_buf_view(&buf), "-92233720368547758080.7\"\"\"\"");
    vllm_buf_free(&buf);
}

/* All one-, two- and three-byte sequences against the definition: a code point is well-formed if writing it gives the
 * same bytes. */
static void utf8(void) {
    char bytes[4], again[4];
    unsigned long well_formed_count = 0;
    for (uint32_t code_point = 0; code_point <= 0x10FFFF; code_point++) {
        bool well_formed;
        size_t len = vllm_utf8_write(code_point, bytes);
        size_t step = vllm_utf8_step(bytes, bytes + len, &well_formed);
        bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
        if (well_formed == surrogate || (well_formed && step != len) ||
            (len > 1 && vllm_utf8_step(bytes, bytes + len - 1, &well_formed) > len - 1)) {
            CHECK(code_point == UINT32_MAX);
        }
        well_formed_count += !surrogate;
    }
    CHECK(well_formed_count == 0x110000 - 0x800);
    unsigned long found = 0;
    for (unsigned i = 0; i < 0x1000000; i++) {
        bool well_formed;
        bytes[0] = (char)(i >> 16);
        bytes[1] = (char)(i >> 8);
        bytes[2] = (char)i;
        found += vllm_utf8_step(bytes, bytes + 3, &well_formed) == 3 && well_formed;
    }
    CHECK(found == 0xF800 - 0x800); /* U+0800 to U+FFFF without the surrogates */
    CHECK(vllm_utf8_write(0xE9, again) == 2 && memcmp(again, "\xC3\xA9", 2) == 0);
}

/* A special byte at every place of a word, with every neighbour: the scan by words must see exactly the special ones.
 */
static void scan_by_words(void) {
    char text[40];
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 1; at < 30; at++) {
            for (int fill = 0; fill < 3; fill++) {
                struct vllm_json_string string;
                struct vllm_json j;
                memset(text,
                       fill == 0   ? 'a'
                       : fill == 1 ? '!'
                                   : '#',
                       sizeof text); /* neighbours of the quote in the code table */
                text[0] = '"';
                text[at] = (char)byte;
                text[35] = '"';
                vllm_json_init(&j, text, 36, 1);
                bool is_string = vllm_json_string(&j, &string);
                if (byte == '"') {
                    CHECK(is_string && string.plain && string.raw.len == at - 1);
                } else if (byte < 0x20 || byte == '\\') {
                    CHECK(!is_string);
                } else {
                    CHECK(is_string && string.plain == (byte < 0x80) && string.raw.len == 34);
                }
            }
        }
    }
}

int main(void) {
    validity();
    truncation();
    depth();
    walking();
    wrong_types();
    string_values();
    comparing_strings();
    failing_values();
    writing();
    utf8();
    scan_by_words();
    return check_report("json");
}
