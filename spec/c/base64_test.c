/* Base64: the examples of RFC 4648, every end that a text can have, and what is not base64. */
#include "../../src/core/base64.h"
#include "check.h"

static struct check_memory memory;
static struct vllm_alloc alloc;

/* `out` is a fresh buffer with the bytes of the text, or empty. */
static enum vllm_status decode(struct vllm_buf *out, const char *text, size_t len) {
    vllm_buf_init(out, &alloc, 64);
    enum vllm_status status = vllm_base64_decode(out, text, len);
    CHECK(status == VLLM_OK || (status == VLLM_ESYNTAX && out->len == 0));
    return status;
}

static void encode(struct vllm_buf *out, const char *bytes, size_t len) {
    vllm_buf_init(out, &alloc, 64);
    CHECK_STATUS(vllm_base64_append(out, bytes, len), VLLM_OK);
}

static void check_decoded(const char *text, size_t text_len, const char *bytes, size_t len) {
    struct vllm_buf out;
    CHECK_STATUS(decode(&out, text, text_len), VLLM_OK);
    CHECK(out.len == len && (len == 0 || memcmp(out.data, bytes, len) == 0));
    vllm_buf_free(&out);
}

static size_t len_without_padding(const char *text, size_t len) {
    while (len > 0 && text[len - 1] == '=') len--;
    return len;
}

static void check_round_trip(const char *bytes, size_t len) {
    struct vllm_buf text;
    encode(&text, bytes, len);
    check_decoded(text.data, text.len, bytes, len);
    check_decoded(text.data, len_without_padding(text.data, text.len), bytes, len);
    vllm_buf_free(&text);
}

static void examples(void) {
    /* RFC 4648 section 10, and all high bits */
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfd", "//79"},
                                           {"\xfb\xef", "++8="}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vllm_buf out;
        encode(&out, cases[i][0], strlen(cases[i][0]));
        struct vllm_slice got = vllm_buf_view(&out);
        CHECK_BYTES(got, cases[i][1]);
        vllm_buf_free(&out);
        check_round_trip(cases[i][0], strlen(cases[i][0]));
    }
    check_decoded("\tZm9v\r\n Yg =\v=\f ", 16, "foob", 4);
    check_decoded(" \n", 2, "", 0);
}

static void refused(void) {
    static const char *const cases[] = {
        "Z",        "Zm9vZ",   "Z===",  "Zm9vZ===",                                 /* a digit alone */
        "=",        "====",    "QUJD=", "QUJD==",   "QUJD====", "QUI==",   "QQ===", /* too much padding */
        "QQ=",      "QUJDQQ=", "QQ = ",                                             /* too little */
        "QQ==QQ==", "Q=Q=",    "=QQ=",  "QQ=Q",     "QUI=QQ==",                     /* padding inside */
        "QR==",     "Qf==",    "QUJ=",  "QUL=",     "QR",       "QUJDQUJ",          /* bits that no byte holds */
        "QUJ!",     "QU-D",    "QU_D",  "QU.D",     "QQ==.",    "QQ=.",    "QUJD\x80", "QUJD\xc2\xa0", "%51%51",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vllm_buf out;
        enum vllm_status status = decode(&out, cases[i], strlen(cases[i]));
        if (status == VLLM_OK) printf("taken: \"%s\"\n", cases[i]);
        CHECK_STATUS(status, VLLM_ESYNTAX);
        vllm_buf_free(&out);
    }
}

/* What is taken is, but for blanks, what its bytes are written as, with the padding or without. */
static void check_unique(const char *text, size_t len) {
    struct vllm_buf bytes, again;
    if (decode(&bytes, text, len) == VLLM_OK) {
        char plain[8];
        size_t plain_len = 0;
        for (size_t i = 0; i < len; i++) {
            if (text[i] != ' ') plain[plain_len++] = text[i];
        }
        encode(&again, bytes.data, bytes.len);
        bool is_whole = plain_len == again.len || plain_len == len_without_padding(again.data, again.len);
        CHECK(is_whole && (plain_len == 0 || memcmp(plain, again.data, plain_len) == 0));
        vllm_buf_free(&again);
    }
    vllm_buf_free(&bytes);
}

/* Each text of up to 6 of these, whose low 6, 4, 2 and no bits are zero. */
static void short_texts(void) {
    static const char letters[] = "AQEB= ";
    const unsigned count = sizeof letters - 1;
    unsigned texts = 1;
    for (size_t len = 0; len <= 6; len++, texts *= count) {
        for (unsigned number = 0; number < texts; number++) {
            char text[8];
            unsigned rest = number;
            for (size_t i = 0; i < len; i++, rest /= count) text[i] = letters[rest % count];
            check_unique(text, len);
        }
    }
}

static void short_bytes(void) {
    for (unsigned number = 0; number < 0x10000; number++) {
        const char bytes[] = {(char)(number >> 8), (char)number};
        check_round_trip(bytes, 2);
        if (number < 0x100) check_round_trip(bytes + 1, 1);
    }
}

/* The 64 digits; six blanks and the padding, after which nothing is missing. */
static void alphabet(void) {
    unsigned taken = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        const char text[] = {'A', 'A', 'A', (char)byte};
        struct vllm_buf out;
        taken += decode(&out, text, sizeof text) == VLLM_OK;
        vllm_buf_free(&out);
    }
    CHECK(taken == 64 + 6 + 1);
}

static void bounds(void) {
    struct vllm_buf out;
    vllm_buf_init(&out, &alloc, 7);
    CHECK_STATUS(vllm_base64_append(&out, "abcd", 4), VLLM_ELIMIT);
    CHECK_STATUS(vllm_base64_append(&out, "", SIZE_MAX), VLLM_ELIMIT);
    CHECK_STATUS(vllm_base64_decode(&out, "YWJjZGVmZ2hpag==", 16), VLLM_ELIMIT);
    CHECK(out.len == 0);
    CHECK_STATUS(vllm_base64_decode(&out, "YWI=", 4), VLLM_OK);
    CHECK_STATUS(vllm_base64_decode(&out, "!", 1), VLLM_ESYNTAX);
    CHECK(out.len == 2 && memcmp(out.data, "ab", 2) == 0); /* what was there stays */
    vllm_buf_free(&out);
}

int main(void) {
    alloc = check_alloc(&memory);
    examples();
    refused();
    short_texts();
    short_bytes();
    alphabet();
    bounds();
    CHECK(memory.live == 0);
    return check_report("base64");
}
