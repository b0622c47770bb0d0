/* Messages: conversion, merging and writing, by tables; then malformed text, every bound and a failing allocator. */
#include "check.h"

#include "../../src/core/messages.h"

static struct vllm_slice text_of(const char *terminated) {
    struct vllm_slice s = {terminated, terminated ? strlen(terminated) : 0};
    return s;
}

/* A transcript in a line: "KIND piece piece | KIND …". Kinds: s c d u n a t (t=id, e=id for a failed one), o=role; a
 * name as "u@ann". Pieces: 'text, r:reasoning, k:id:name:args, f:heading:text, i:url, I:bytes, l:url (low detail),
 * w:base64, W:bytes, h:audio url, v:url, V:bytes, j:json, m:name:json (a member), g:name:json (one of a call's
 * function); "_" stands for a space in them. */
struct script {
    char bytes[2048];
    struct vllm_messages messages;
    enum vllm_status status;
};

static char *cut(char **at, char stop) {
    char *begin = *at, *end = strchr(begin, stop);
    if (end) {
        *end = 0;
        *at = end + 1;
    } else {
        *at = begin + strlen(begin);
    }
    return begin;
}

static void script_message(struct script *s, char *word, size_t tag) {
    static const char kinds[] = "scdunato";
    struct vllm_message message = {VLLM_MESSAGE_TOOL, word[0] == 'e', tag, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    const char *kind = strchr(kinds, word[0]);
    if (kind) {
        message.kind = (enum vllm_message_kind)(kind - kinds);
    }
    char *rest = word + 1;
    if (*rest == '@') {
        rest++;
        message.name = text_of(rest);
    } else if (*rest == '=') {
        rest++;
        *(word[0] == 'o' ? &message.role : &message.call_id) = text_of(rest);
    }
    s->status = vllm_messages_begin(&s->messages, &message);
}

static void script_piece(struct script *s, char *word) {
    static const struct {
        char letter;
        enum vllm_piece_type type;
        const char *name;
    } media[] = {{'i', VLLM_PIECE_IMAGE, NULL},
                 {'l', VLLM_PIECE_IMAGE, NULL},
                 {'I', VLLM_PIECE_IMAGE_BYTES, "image/png"},
                 {'w', VLLM_PIECE_AUDIO_DATA, "wav"},
                 {'W', VLLM_PIECE_AUDIO_BYTES, "mp3"},
                 {'h', VLLM_PIECE_AUDIO, NULL},
                 {'v', VLLM_PIECE_VIDEO, NULL},
                 {'V', VLLM_PIECE_VIDEO_BYTES, "video/mp4"},
                 {'j', VLLM_PIECE_JSON, NULL},
                 {'r', VLLM_PIECE_REASONING, NULL}};
    struct vllm_piece piece = {VLLM_PIECE_TEXT, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    char letter = *word++;
    word += letter != '\'';
    if (letter == 'k') {
        piece.type = VLLM_PIECE_CALL;
        piece.extra = text_of(cut(&word, ':'));
        piece.name = text_of(cut(&word, ':'));
    } else if (letter == 'm' || letter == 'g') {
        piece.type = letter == 'm' ? VLLM_PIECE_MEMBER : VLLM_PIECE_FUNCTION_MEMBER;
        piece.name = text_of(cut(&word, ':'));
    } else if (letter == 'f') {
        piece.type = VLLM_PIECE_FILE;
        piece.extra = text_of(cut(&word, ':'));
    }
    for (size_t i = 0; i < sizeof media / sizeof *media; i++) {
        if (media[i].letter == letter) {
            piece.type = media[i].type;
            piece.name = text_of(media[i].name);
        }
    }
    if (letter == 'l') {
        piece.extra = text_of("low");
    }
    for (char *c = word; *c; c++) {
        *c = *c == '_' ? ' ' : *c;
    }
    piece.text = text_of(word);
    s->status = vllm_messages_piece(&s->messages, &piece);
}

static enum vllm_status script_read(struct script *s, const struct vllm_alloc *alloc, const char *source) {
    bool begin = true;
    size_t tag = 1;
    vllm_messages_init(&s->messages, alloc);
    s->status = VLLM_OK;
    strcpy(s->bytes, source);
    for (char *at = s->bytes; *at && s->status == VLLM_OK;) {
        char *word = cut(&at, ' ');
        if (strcmp(word, "|") == 0) {
            begin = true;
        } else if (begin) {
            script_message(s, word, tag++);
            begin = false;
        } else {
            script_piece(s, word);
        }
    }
    return s->status;
}

/* Options by letter: m merge users, f fold, j join, F filler. */
static struct vllm_messages_options options_of(const char *letters) {
    struct vllm_messages_options options = {false, false, false, {NULL, 0}, {"reasoning", 9}};
    options.merge_users = strchr(letters, 'm') != NULL;
    options.fold_system = strchr(letters, 'f') != NULL;
    options.join_assistants = strchr(letters, 'j') != NULL;
    options.filler = text_of(strchr(letters, 'F') ? "." : NULL);
    return options;
}

static void check_script(const char *letters, const char *field, const char *source, const char *expected) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct script s;
    struct vllm_buf out;
    struct vllm_messages_fault fault;
    struct vllm_messages_options options = options_of(letters);
    if (field) {
        options.reasoning_field = text_of(field);
    }
    vllm_buf_init(&out, &alloc, 1 << 20);
    CHECK_STATUS(script_read(&s, &alloc, source), VLLM_OK);
    CHECK_STATUS(vllm_messages_write(&s.messages, &options, &out, &fault), VLLM_OK);
    struct vllm_slice got = vllm_buf_view(&out);
    CHECK_BYTES(got, expected);
    vllm_messages_free(&s.messages);
    vllm_messages_free(&s.messages);
    vllm_buf_free(&out);
    CHECK(memory.live == 0);
}

#define USER(content) "{\"content\":" content ",\"role\":\"user\"}"
#define SYSTEM(content) "{\"content\":" content ",\"role\":\"system\"}"
#define SAID(content) "{\"content\":" content ",\"role\":\"assistant\"}"
#define PART(text) "{\"text\":\"" text "\",\"type\":\"text\"}"
#define CALLED(arguments)                                                                                  \
    "\"tool_calls\":[{\"function\":{\"arguments\":" arguments ",\"name\":\"now\"},\"id\":\"c1\",\"type\":" \
                                                              "\"function\"}]"
#define RESULT(content) "{\"content\":" content ",\"role\":\"tool\",\"tool_call_id\":\"c1\"}"
#define REMINDER(text) "<system-reminder>\\n" text "\\n</system-reminder>"

static void conversion(void) {
    static const struct {
        const char *source, *expected;
    } cases[] = {
        {"", "[]"},
        {"u 'hi", "[" USER("\"hi\"") "]"},
        {"u", "[" USER("\"\"") "]"},
        {"u '", "[" USER("\"\"") "]"},
        {"u 'a 'b", "[" USER("[" PART("a") "," PART("b") "]") "]"},
        {"s 'a 'b", "[" SYSTEM("\"a\\n\\nb\"") "]"},
        {"s", "[" SYSTEM("\"\"") "]"},
        {"s 'a | c 'b", "[" SYSTEM("\"a\"") "," SYSTEM("\"b\"") "]"},
        {"d 'a", "[{\"content\":\"a\",\"role\":\"developer\"}]"},
        {"n 'a 'b", "[" USER("\"" REMINDER("a\\n\\nb") "\"") "]"},
        {"n", "[" USER("\"" REMINDER("") "\"") "]"},
        {"u@ann 'hi", "[{\"content\":\"hi\",\"name\":\"ann\",\"role\":\"user\"}]"},
        {"a 'x", "[" SAID("\"x\"") "]"},
        {"a 'x ' 'y", "[" SAID("[" PART("x") "," PART("y") "]") "]"},
        {"u 'x | a ' r: | u 'y", "[" USER("\"x\"") "," USER("\"y\"") "]"},
        {"a k:c1:now:{}", "[{\"role\":\"assistant\"," CALLED("\"{}\"") "}]"},
        {"a k:c1:now:{\"b\":1e2,\"a\":12345678901234567890123}",
         "[{\"role\":\"assistant\"," CALLED("\"{\\\"b\\\":1e2,\\\"a\\\":12345678901234567890123}\"") "}]"},
        {"a k:c1:now:", "[{\"role\":\"assistant\"," CALLED("\"{}\"") "}]"},
        {"a k:c1:now:{\"city\":", "[{\"role\":\"assistant\"," CALLED("\"{}\"") "}]"},
        {"a k:c1:now:[1]", "[{\"role\":\"assistant\"," CALLED("\"{}\"") "}]"},
        {"a k:c1:now:null", "[{\"role\":\"assistant\"," CALLED("\"{}\"") "}]"},
        {"a k:c1:now:_{}_", "[{\"role\":\"assistant\"," CALLED("\" {} \"") "}]"},
        {"a r:why_not 'x r:so", "[{\"content\":\"x\",\"reasoning\":\"why not\\n\\nso\",\"role\":\"assistant\"}]"},
        {"t=c1 'ok", "[" RESULT("\"ok\"") "]"},
        {"t=c1 'a 'b", "[" RESULT("\"a\\n\\nb\"") "]"},
        {"t=c1", "[" RESULT("\"\"") "]"},
        {"e=c1 'no_disk", "[" RESULT("\"Error: no disk\"") "]"},
        {"e=c1 'Error:_no_disk", "[" RESULT("\"Error: no disk\"") "]"},
        {"e=c1 'error:_no_disk", "[" RESULT("\"error: no disk\"") "]"},
        {"e=c1 'Error", "[" RESULT("\"Error: Error\"") "]"},
        {"e=c1", "[" RESULT("\"Error: the tool gave no details\"") "]"},
        {"e=c1 '", "[" RESULT("\"Error: the tool gave no details\"") "]"},
        {"u f:Attached:a\"b", "[" USER("\"Attached\\n\\na\\\"b\"") "]"},
        {"c 'x f:Attached:y", "[" SYSTEM("\"x\\n\\nAttached\\n\\ny\"") "]"},
        {"u i:http://x/a", "[" USER("[{\"image_url\":{\"url\":\"http://x/a\"},\"type\":\"image_url\"}]") "]"},
        {"u l:http://x/a",
         "[" USER("[{\"image_url\":{\"detail\":\"low\",\"url\":\"http://x/a\"},\"type\":\"image_url\"}]") "]"},
        {"u 'a I:any",
         "[" USER(
             "[" PART("a") ",{\"image_url\":{\"url\":\"data:image/png;base64,YW55\"},\"type\":\"image_url\"}]") "]"},
        {"u w:YQ==",
         "[" USER("[{\"input_audio\":{\"data\":\"YQ==\",\"format\":\"wav\"},\"type\":\"input_audio\"}]") "]"},
        {"u W:a", "[" USER("[{\"input_audio\":{\"data\":\"YQ==\",\"format\":\"mp3\"},\"type\":\"input_audio\"}]") "]"},
        {"u h:http://x/a", "[" USER("[{\"audio_url\":{\"url\":\"http://x/a\"},\"type\":\"audio_url\"}]") "]"},
        {"u v:http://x/a", "[" USER("[{\"type\":\"video_url\",\"video_url\":{\"url\":\"http://x/a\"}}]") "]"},
        {"u V:ab", "[" USER("[{\"type\":\"video_url\",\"video_url\":{\"url\":\"data:video/mp4;base64,YWI=\"}}]") "]"},
        {"u j:{\"a\":1} 'x", "[" USER("[{\"a\":1}," PART("x") "]") "]"},
        /* a part as it is makes an array of any content */
        {"s 'a j:{} 'b", "[" SYSTEM("[" PART("a") ",{}," PART("b") "]") "]"},
        {"a 'a j:{}", "[" SAID("[" PART("a") ",{}]") "]"},
        {"a j:{}", "[" SAID("[{}]") "]"},
        {"t=c1 'a i:http://x/a", "[" RESULT("[" PART("a") ",{\"image_url\":{\"url\":\"http://x/a\"},\"type\":\"image_url\"}]") "]"},
        {"e=c1 'a j:{}", "[" RESULT("[" PART("Error:") "," PART("a") ",{}]") "]"},
        {"e=c1 'Error:_a j:{}", "[" RESULT("[" PART("Error: a") ",{}]") "]"},
        {"e=c1 j:{}", "[" RESULT("[" PART("Error:") ",{}]") "]"},
        /* roles of the template */
        {"o=observation 'x", "[{\"content\":\"x\",\"role\":\"observation\"}]"},
        {"o=observation 'x j:{}", "[{\"content\":[" PART("x") ",{}],\"role\":\"observation\"}]"},
        {"o=a\"b", "[{\"role\":\"a\\\"b\"}]"},
        /* unknown members, at their places among the keys */
        {"u m:cache:1 m:nam:2 m:prefix:true m:z:[3] 'x",
         "[{\"cache\":1,\"content\":\"x\",\"nam\":2,\"prefix\":true,\"role\":\"user\",\"z\":[3]}]"},
        {"u@n m:names:1 'x", "[{\"content\":\"x\",\"name\":\"n\",\"names\":1,\"role\":\"user\"}]"},
        {"d m:tools:[] 'x", "[{\"content\":\"x\",\"role\":\"developer\",\"tools\":[]}]"},
        {"t=c1 m:s:1 m:tool:2 m:u:3 'x",
         "[{\"content\":\"x\",\"role\":\"tool\",\"s\":1,\"tool\":2,\"tool_call_id\":\"c1\",\"u\":3}]"},
        {"o=x m:a:1", "[{\"a\":1,\"role\":\"x\"}]"},
        {"a m:quite:1 m:t:2 m:u:3 r:p k:c1:now:{} m:extra_content:4 m:z:5 k:c2:now:{}",
         "[{\"quite\":1,\"reasoning\":\"p\",\"role\":\"assistant\",\"t\":2,\"tool_calls\":["
         "{\"extra_content\":4,\"function\":{\"arguments\":\"{}\",\"name\":\"now\"},\"id\":\"c1\",\"type\":\"function\",\"z\":5},"
         "{\"function\":{\"arguments\":\"{}\",\"name\":\"now\"},\"id\":\"c2\",\"type\":\"function\"}],\"u\":3}]"},
        {"a k:c1:now:{} g:a:1 g:b:2 g:z:3 m:a:4",
         "[{\"role\":\"assistant\",\"tool_calls\":[{\"a\":4,\"function\":{\"a\":1,\"arguments\":\"{}\",\"b\":2,\"name\":\"now\",\"z\":3},"
         "\"id\":\"c1\",\"type\":\"function\"}]}]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_script("", NULL, cases[i].source, cases[i].expected);
    }
}

static void merging(void) {
    static const struct {
        const char *letters, *source, *expected;
    } cases[] = {
        /* the seed's rule: users alone, an array whenever two met */
        {"m", "u 'x", "[" USER("\"x\"") "]"},
        {"m", "u 'x | u 'y", "[" USER("[" PART("x") "," PART("y") "]") "]"},
        {"m", "u 'x | a | u 'y", "[" USER("[" PART("x") "," PART("y") "]") "]"},
        {"m", "u 'x | a ' | u 'y | n 'z", "[" USER("[" PART("x") "," PART("y") "," PART(REMINDER("z")) "]") "]"},
        {"m", "u | u", "[" USER("\"\"") "]"},
        {"m", "u | u 'x", "[" USER("[" PART("x") "]") "]"},
        {"m", "n 'x | n 'y", "[" USER("[" PART(REMINDER("x")) "," PART(REMINDER("y")) "]") "]"},
        {"m", "u 'x | c 'c | u 'y", "[" USER("\"x\"") "," SYSTEM("\"c\"") "," USER("\"y\"") "]"},
        {"m", "a 'a | a 'b", "[" SAID("\"a\"") "," SAID("\"b\"") "]"},
        {"m", "t=c1 'r | u 'y | n 'n", "[" RESULT("\"r\"") "," USER("[" PART("y") "," PART(REMINDER("n")) "]") "]"},
        {"m", "u@ann 'x | u@bob 'y",
         "[{\"content\":\"x\",\"name\":\"ann\",\"role\":\"user\"},{\"content\":\"y\",\"name\":\"bob\",\"role\":"
         "\"user\"}]"},
        {"m", "u@ann 'x | u@ann 'y",
         "[{\"content\":[" PART("x") "," PART("y") "],\"name\":\"ann\",\"role\":\"user\"}]"},
        {"m", "u i:http://x/a | u 'y",
         "[" USER("[{\"image_url\":{\"url\":\"http://x/a\"},\"type\":\"image_url\"}," PART("y") "]") "]"},
        /* folding */
        {"f", "u 'x | c 'c", "[" SYSTEM("\"c\"") "," USER("\"x\"") "]"},
        {"f", "s 'a | u 'x | d 'b 'c", "[" SYSTEM("\"a\\n\\nb\\n\\nc\"") "," USER("\"x\"") "]"},
        {"mf", "s 'a | u 'x | c 'b | u 'y", "[" SYSTEM("\"a\\n\\nb\"") "," USER("[" PART("x") "," PART("y") "]") "]"},
        {"f", "u 'x", "[" USER("\"x\"") "]"},
        {"f", "s", "[" SYSTEM("\"\"") "]"},
        {"f", "s@rules 'a | s 'b", "[{\"content\":\"a\\n\\nb\",\"name\":\"rules\",\"role\":\"system\"}]"},
        /* what would be lost in another message stands for itself */
        {"m", "u 'x | u m:a:1 'y | u 'z", "[" USER("\"x\"") ",{\"a\":1,\"content\":\"y\",\"role\":\"user\"}," USER("\"z\"") "]"},
        {"m", "o=x 'x | o=x 'y | u 'u", "[{\"content\":\"x\",\"role\":\"x\"},{\"content\":\"y\",\"role\":\"x\"}," USER("\"u\"") "]"},
        {"f", "s m:a:1 'x | u 'u | s 'y", "[" SYSTEM("\"y\"") ",{\"a\":1,\"content\":\"x\",\"role\":\"system\"}," USER("\"u\"") "]"},
        {"f", "s j:{} | s 'y", "[" SYSTEM("\"y\"") "," SYSTEM("[{}]") "]"},
        {"j", "a 'x | a j:{}", "[" SAID("\"x\"") "," SAID("[{}]") "]"},
        /* joining */
        {"j", "a 'x | a 'y", "[" SAID("\"x\\n\\ny\"") "]"},
        {"j", "a 'x | a | a 'y 'z", "[" SAID("\"x\\n\\ny\\n\\nz\"") "]"},
        {"j", "a 'x 'y", "[" SAID("[" PART("x") "," PART("y") "]") "]"},
        {"j", "a 'x r:p | a r:q k:c1:now:{}",
         "[{\"content\":\"x\",\"reasoning\":\"p\\n\\nq\",\"role\":\"assistant\"," CALLED("\"{}\"") "}]"},
        {"j", "a k:c1:now:{} | a 'y", "[{\"role\":\"assistant\"," CALLED("\"{}\"") "}," SAID("\"y\"") "]"},
        {"j", "a 'x | u 'u | a 'y", "[" SAID("\"x\"") "," USER("\"u\"") "," SAID("\"y\"") "]"},
        {"fj", "a 'x | c 'c | a 'y", "[" SYSTEM("\"c\"") "," SAID("\"x\\n\\ny\"") "]"},
        /* the filler */
        {"F", "a 'x", "[" USER("\".\"") "," SAID("\"x\"") "]"},
        {"F", "s 's | a 'x | u 'y", "[" SYSTEM("\"s\"") "," USER("\".\"") "," SAID("\"x\"") "," USER("\"y\"") "]"},
        {"F", "s 's | a | u 'y", "[" SYSTEM("\"s\"") "," USER("\"y\"") "]"},
        {"F", "u 'y | a 'x", "[" USER("\"y\"") "," SAID("\"x\"") "]"},
        {"Ff", "a 'x | c 'c", "[" SYSTEM("\"c\"") "," USER("\".\"") "," SAID("\"x\"") "]"},
        {"F", "s 's", "[" SYSTEM("\"s\"") "]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_script(cases[i].letters, NULL, cases[i].source, cases[i].expected);
    }
}

/* The key of reasoning may sort anywhere among the others. */
static void reasoning_field(void) {
    static const struct {
        const char *field, *expected;
    } cases[] = {
        {"a", "[{\"a\":\"r\",\"content\":\"x\",\"name\":\"n\",\"role\":\"assistant\"," CALLED("\"{}\"") "}]"},
        {"reasoning_content",
         "[{\"content\":\"x\",\"name\":\"n\",\"reasoning_content\":\"r\",\"role\":\"assistant\"," CALLED(
             "\"{}\"") "}]"},
        {"thinking",
         "[{\"content\":\"x\",\"name\":\"n\",\"role\":\"assistant\",\"thinking\":\"r\"," CALLED("\"{}\"") "}]"},
        {"tool_calls_why",
         "[{\"content\":\"x\",\"name\":\"n\",\"role\":\"assistant\"," CALLED("\"{}\"") ",\"tool_calls_why\":\"r\"}]"},
        {"names", "[{\"content\":\"x\",\"name\":\"n\",\"names\":\"r\",\"role\":\"assistant\"," CALLED("\"{}\"") "}]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_script("", cases[i].field, "a@n 'x r:r k:c1:now:{}", cases[i].expected);
    }
}

/* A longer history begins with the bytes of the shorter one, but for the message that is merged into. */
static void stable_prefix(void) {
    static const char *const growing[] = {"u 'a", "u 'a | a 'b k:c1:now:{}", "u 'a | a 'b k:c1:now:{} | t=c1 'r",
                                          "u 'a | a 'b k:c1:now:{} | t=c1 'r | a 'c",
                                          "u 'a | a 'b k:c1:now:{} | t=c1 'r | a 'c | u 'd"};
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_messages_options options = options_of("mfjF");
    char last[4096] = "";
    for (size_t i = 0; i < sizeof growing / sizeof *growing; i++) {
        struct script s;
        struct vllm_buf out;
        struct vllm_messages_fault fault;
        vllm_buf_init(&out, &alloc, sizeof last);
        CHECK_STATUS(script_read(&s, &alloc, growing[i]), VLLM_OK);
        CHECK_STATUS(vllm_messages_write(&s.messages, &options, &out, &fault), VLLM_OK);
        size_t kept = last[0] ? strlen(last) - 1 : 0; /* but the closing bracket */
        CHECK(out.len > kept && memcmp(out.data, last, kept) == 0);
        memcpy(last, out.data, out.len);
        last[out.len] = 0;
        vllm_messages_free(&s.messages);
        vllm_buf_free(&out);
    }
    CHECK(memory.live == 0);
}

static void malformed_text(void) {
    static const struct {
        const char *source;
        size_t tag, offset;
    } cases[] = {
        {"u 'fine | u 'ab\xff", 2, 2},
        {"s 'a\xc3", 1, 1},
        {"s 'ok | s 'ok | s 'x '\x80", 3, 0},
        {"a 'x r:a\xed\xa0\x80", 1, 1},
        {"u 'x | o=a\xff 'x", 2, 1},
        {"u 'x | u m:a\xff:1 'x", 2, 1},
        {"u 'x | n '\xf5", 2, 0},
        {"t=\xff 'x", 1, 0},
        {"u@\xff 'x", 1, 0},
        {"a k:c1:now:{\"a\":\"\xfe\"}", 1, 6},
        {"u f:Attached:abc\xf0\x9f\x98", 1, 3},
    };
    for (int merge = 0; merge < 2; merge++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct check_memory memory;
            struct vllm_alloc alloc = check_alloc(&memory);
            struct script s;
            struct vllm_buf out;
            struct vllm_messages_fault fault = {0, 99, {NULL, 0}};
            struct vllm_messages_options options = options_of(merge ? "mfj" : "");
            vllm_buf_init(&out, &alloc, 1 << 16);
            CHECK_STATUS(script_read(&s, &alloc, cases[i].source), VLLM_OK);
            CHECK_STATUS(vllm_messages_write(&s.messages, &options, &out, &fault), VLLM_EUTF8);
            CHECK(fault.tag == cases[i].tag);
            CHECK(fault.offset == cases[i].offset);
            CHECK(fault.text.ptr != NULL);
            vllm_messages_free(&s.messages);
            vllm_buf_free(&out);
        }
    }
}

static void wrong_pieces(void) {
    static const char *const cases[] = {"u r:x",   "u k:c1:now:{}", "s i:http://x", "a i:http://x",
                                        "a f:h:x", "n V:x", "t=c1 f:h:x", "n j:{}", "u 'x m:a:1", "a 'x m:a:1", "u g:a:1"};
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_piece piece = {VLLM_PIECE_TEXT, {"x", 1}, {NULL, 0}, {NULL, 0}};
    struct script s;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_STATUS(script_read(&s, &alloc, cases[i]), VLLM_EINVALID);
        vllm_messages_free(&s.messages);
    }
    vllm_messages_init(&s.messages, &alloc);
    CHECK_STATUS(vllm_messages_piece(&s.messages, &piece), VLLM_EINVALID);
    vllm_messages_free(&s.messages);
}

#define LONG "s 'a | u 'x I:abcdef 'y | a 'z r:r k:c1:now:{} | e=c1 'no | n 'm | u 'x | a 'a | u f:h:t"

/* Every bound and every allocation may fail; the answer is a status, and nothing leaks. */
static void bounds(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_messages_options options = options_of("mj");
    struct vllm_messages_fault fault;
    struct vllm_buf out;
    struct script s;
    size_t whole = 0;
    for (size_t max = 1 << 16; max > 0; max = max == 1 << 16 ? whole - 1 : max - 1) {
        vllm_buf_init(&out, &alloc, max);
        CHECK_STATUS(script_read(&s, &alloc, LONG), VLLM_OK);
        enum vllm_status status = vllm_messages_write(&s.messages, &options, &out, &fault);
        CHECK_STATUS(status, max == 1 << 16 ? VLLM_OK : VLLM_ELIMIT);
        whole = max == 1 << 16 ? out.len : whole;
        vllm_messages_free(&s.messages);
        vllm_buf_free(&out);
    }
    for (long left = 0; left < 16; left++) {
        memory.left = left;
        vllm_buf_init(&out, &alloc, 1 << 16);
        enum vllm_status status = script_read(&s, &alloc, LONG);
        if (status == VLLM_OK) {
            status = vllm_messages_write(&s.messages, &options, &out, &fault);
        }
        CHECK(status == VLLM_ENOMEM || (status == VLLM_OK && out.len == whole));
        CHECK(left > 0 || status == VLLM_ENOMEM);
        vllm_messages_free(&s.messages);
        vllm_buf_free(&out);
    }
    CHECK(memory.live == 0);
}

int main(void) {
    conversion();
    merging();
    reasoning_field();
    stable_prefix();
    malformed_text();
    wrong_pieces();
    bounds();
    return check_report("messages");
}
