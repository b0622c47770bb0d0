/* HTTP/1.x responses: every case whole, byte by byte, and cut in two at every place, must give the same answer and the
 * same end. */
#include "../../src/core/http1.h"

#include "check.h"

#define MAX_HEADER 400

struct trace {
    char text[8192];
    size_t len;
    bool has_head;
};

static void note(struct trace *trace, const char *bytes, size_t len) {
    for (size_t i = 0; i < len && trace->len + 2 < sizeof trace->text; i++) {
        trace->text[trace->len++] = bytes[i] == '\0' ? '0' : bytes[i];
    }
    trace->text[trace->len] = '\0';
}

static void note_text(struct trace *trace, const char *text) {
    note(trace, text, strlen(text));
}

/* "200 name=value;name=value; [", once. */
static void note_head(const struct vllm_http1 *http1, struct trace *trace) {
    struct vllm_slice name, value;
    size_t at = 0;
    int status = 0;
    if (trace->has_head || vllm_http1_head(http1, &status) != VLLM_OK) {
        return;
    }
    trace->has_head = true;
    char digits[4] = {(char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10), (char)('0' + status % 10), '\0'};
    note_text(trace, digits);
    note_text(trace, " ");
    while (vllm_http1_field(http1, &at, &name, &value)) {
        CHECK(name.ptr[name.len] == '\0' && value.ptr[value.len] == '\0');
        note(trace, name.ptr, name.len);
        note_text(trace, "=");
        note(trace, value.ptr, value.len);
        note_text(trace, ";");
    }
    note_text(trace, "[");
}

static enum vllm_status drain(struct vllm_http1 *http1, struct trace *trace) {
    struct vllm_slice bytes;
    enum vllm_status status;
    note_head(http1, trace);
    while ((status = vllm_http1_read(http1, &bytes)) == VLLM_OK) {
        CHECK(trace->has_head && bytes.len > 0);
        note(trace, bytes.ptr, bytes.len);
    }
    return status;
}

/* Behind the body: "]=" the end, "]~" an end that the connection's end made, "!kind why `given`"; "+" the connection
 * lives. */
static void note_end(struct vllm_http1 *http1, enum vllm_status status, struct trace *trace) {
    static const char *const kinds[] = {[VLLM_ELIMIT] = "!limit ", [VLLM_ESYNTAX] = "!syntax ", [VLLM_ETRUNCATED] = "!closed "};
    bool reusable = vllm_http1_reusable(http1), waits = status == VLLM_MORE;
    note_text(trace, trace->has_head ? "]" : "");
    enum vllm_status finished = vllm_http1_finish(http1);
    CHECK(!vllm_http1_reusable(http1));
    if (finished == VLLM_OK) {
        CHECK_STATUS(drain(http1, trace), VLLM_END);
        note_text(trace, waits ? "~" : "=");
        CHECK(vllm_http1_feed(http1, "x", 1) == VLLM_EINVALID);
    } else {
        CHECK_STATUS(drain(http1, trace), finished);
        CHECK_STATUS(vllm_http1_feed(http1, "x", 1), finished);
        note_text(trace, kinds[finished]);
        note_text(trace, vllm_http1_why(http1));
        note_text(trace, vllm_http1_given(http1)[0] ? " `" : "");
        note_text(trace, vllm_http1_given(http1));
        note_text(trace, vllm_http1_given(http1)[0] ? "`" : "");
    }
    CHECK_STATUS(vllm_http1_finish(http1), finished);
    note_text(trace, reusable ? "+" : "");
}

/* From a block of just this size, so that sanitizers see a look too far. */
static enum vllm_status feed_copy(struct vllm_http1 *http1, const char *bytes, size_t len) {
    char *copy = malloc(len);
    CHECK(copy != NULL);
    memcpy(copy, bytes, len);
    enum vllm_status status = vllm_http1_feed(http1, copy, len);
    free(copy);
    return status;
}

static void run(struct vllm_slice bytes, size_t cut, size_t step, const struct vllm_http1_options *options, struct trace *trace) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_http1 *http1 = vllm_http1_new(&alloc, options);
    enum vllm_status status = VLLM_MORE;
    memset(trace, 0, sizeof *trace);
    for (size_t at = 0; at < bytes.len && (status == VLLM_MORE || status == VLLM_END);) {
        size_t piece = step ? step : at < cut ? cut : bytes.len - at;
        piece = piece > bytes.len - at ? bytes.len - at : piece;
        enum vllm_status fed = feed_copy(http1, bytes.ptr + at, piece);
        status = drain(http1, trace);
        CHECK(fed == VLLM_OK ? status == VLLM_MORE || status == VLLM_END : status == fed);
        CHECK(!vllm_http1_fresh(http1));
        at += piece;
    }
    note_end(http1, status, trace);
    vllm_http1_free(http1);
    CHECK(memory.live == 0);
}

static void check_run(const struct trace *trace, const char *expected, int line, const char *how, size_t cut) {
    if (strcmp(trace->text, expected) != 0) {
        printf("line %d, %s %lu: got\n  %s\nexpected\n  %s\n", line, how, (unsigned long)cut, trace->text, expected);
    }
    CHECK(strcmp(trace->text, expected) == 0);
}

static void check_with(const char *text, size_t len, const struct vllm_http1_options *options, const char *expected, int line) {
    static struct trace trace;
    struct vllm_slice bytes = {text, len};
    run(bytes, len, 0, options, &trace);
    check_run(&trace, expected, line, "whole", len);
    run(bytes, 0, 1, options, &trace);
    check_run(&trace, expected, line, "bytes", 1);
    for (size_t cut = 1; cut < len; cut++) {
        run(bytes, cut, 0, options, &trace);
        check_run(&trace, expected, line, "cut at", cut);
    }
}

static void check_case(const char *text, size_t len, bool head_only, const char *expected, int line) {
    struct vllm_http1_options options;
    vllm_http1_options_default(&options);
    options.max_header_bytes = MAX_HEADER;
    options.head_only = head_only;
    check_with(text, len, &options, expected, line);
}

#define CASE(bytes, expected) check_case(bytes, sizeof(bytes) - 1, false, expected, __LINE__)
#define HEAD(bytes, expected) check_case(bytes, sizeof(bytes) - 1, true, expected, __LINE__)

#define OK_LINE   "HTTP/1.1 200 OK\r\n"
#define CHUNKED   OK_LINE "Transfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_1 "200 transfer-encoding=chunked;["
#define EMPTY     "Content-Length: 0\r\n\r\n"
#define EMPTY_1   "content-length=0;[]="

static void test_status_line(void) {
    CASE("HTTP/1.1 200 OK\r\n" EMPTY, "200 " EMPTY_1 "+");
    CASE("HTTP/1.1 200 \r\n" EMPTY, "200 " EMPTY_1 "+");
    CASE("HTTP/1.1 200\r\n" EMPTY, "200 " EMPTY_1 "+");
    CASE("HTTP/1.1 503 No\tway \xE4\xF6: at all\r\n" EMPTY, "503 " EMPTY_1 "+");
    CASE("HTTP/1.1 999 \r\n" EMPTY, "999 " EMPTY_1 "+");
    CASE("HTTP/1.0 404 Not Found\r\n" EMPTY, "404 " EMPTY_1);

    CASE("HTTP/1.2 200 OK\r\n" EMPTY, "!syntax the status line is not one of HTTP/1.0 or HTTP/1.1 `HTTP/1.2 200 OK`");
    CASE("HTTP/1.10 200 OK\r\n" EMPTY, "!syntax the status line is not one of HTTP/1.0 or HTTP/1.1 `HTTP/1.10 200 OK`");
    CASE("HTTP/1.1  200 OK\r\n" EMPTY, "!syntax the status line is not one of HTTP/1.0 or HTTP/1.1 `HTTP/1.1  200 OK`");
    CASE("HTTP/1.1\t200 OK\r\n" EMPTY, "!syntax the status line is not one of HTTP/1.0 or HTTP/1.1 `HTTP/1.1?200 OK`");
    CASE("HTTP/1.1 20\r\n" EMPTY, "!syntax the status line is not one of HTTP/1.0 or HTTP/1.1 `HTTP/1.1 20`");
    CASE("HTTP/1.1 2000\r\n" EMPTY, "!syntax the status line is not one of HTTP/1.0 or HTTP/1.1 `HTTP/1.1 2000`");
    CASE("HTTP/1.1 099 x\r\n" EMPTY, "!syntax the status line is not one of HTTP/1.0 or HTTP/1.1 `HTTP/1.1 099 x`");
    CASE("HTTP/1.1 +20 x\r\n" EMPTY, "!syntax the status line is not one of HTTP/1.0 or HTTP/1.1 `HTTP/1.1 +20 x`");
    CASE("HTTP/1.1 2\x1B[1m0123456789012345678901234567890123456789\r\n",
         "!syntax the status line is not one of HTTP/1.0 or HTTP/1.1 `HTTP/1.1 2?[1m01234567890123456789012345…`");
    CASE("HTTP/1.1", "!closed the connection was closed in the middle of the answer's head");

    CASE("HTTP/2 200\r\n", "!syntax the answer is in another version of HTTP than 1.0 and 1.1");
    CASE("HTTP/0.9 200 OK\r\n", "!syntax the answer is in another version of HTTP than 1.0 and 1.1");
    CASE("HTTP/1,1 200 OK\r\n", "!syntax the answer is in another version of HTTP than 1.0 and 1.1");
    CASE("http/1.1 200 OK\r\n" EMPTY, "!syntax the answer is not HTTP");
    CASE("\r\nHTTP/1.1 200 OK\r\n" EMPTY, "!syntax the answer is not HTTP");
    CASE("\nHTTP/1.1 200 OK\r\n" EMPTY, "!syntax the answer is not HTTP");
    CASE(" HTTP/1.1 200 OK\r\n" EMPTY, "!syntax the answer is not HTTP");
    CASE("SSH-2.0-OpenSSH\r\n", "!syntax the answer is not HTTP");
    CASE("\x15\x03\x01\0\x02\x02\x16", "!syntax the answer is not HTTP");
    CASE("HTTQ", "!syntax the answer is not HTTP");
}

static void test_interim(void) {
    CASE("HTTP/1.1 100 Continue\r\n\r\n" OK_LINE EMPTY, "200 " EMPTY_1 "+");
    CASE("HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 5\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
         "HTTP/1.1 102 \r\n\r\n" OK_LINE "A: b\r\n" EMPTY, "200 a=b;" EMPTY_1 "+");
    CASE("HTTP/1.1 100 \r\nContent-Length: x\r\nTransfer-Encoding: y\r\n\r\n" OK_LINE EMPTY, "200 " EMPTY_1 "+");
    CASE("HTTP/1.1 100 \r\nA : x\r\n\r\n" OK_LINE EMPTY, "!syntax there is white space between a header's name and its colon `A`");
    CASE("HTTP/1.1 100 Continue\r\n\r\n", "!closed the connection was closed in the middle of the answer's head");
    CASE("HTTP/1.1 100 Continue\r\n\r\nhello", "!syntax the answer is not HTTP");
    CASE("HTTP/1.1 100 Continue\r\n\r\n\r\n", "!syntax the answer is not HTTP");
    CASE("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "!syntax the server switched to another protocol, which was not requested");
}

static void test_fields(void) {
    CASE(OK_LINE "A:b\r\nLONG-Name.1~:  \t b \t c \t\r\nc:\r\nd: \t \r\na: again:\r\n" EMPTY,
         "200 a=b;long-name.1~=b \t c;c=;d=;a=again:;" EMPTY_1 "+");
    CASE(OK_LINE "A: \xE4\x01\x1B\x7F\r\n" EMPTY, "200 a=\xE4\x01\x1B\x7F;" EMPTY_1 "+");
    CASE(OK_LINE "!#$%&'*+-.^_`|~09azAZ: x\r\n" EMPTY, "200 !#$%&'*+-.^_`|~09azaz=x;" EMPTY_1 "+");

    CASE(OK_LINE "Xontent-Length: a\r\nContent-Lengtx: b\r\nXransfer-Encoding: c\r\nTransfer-Encodinx: d\r\nConnectiox: close\r\n" EMPTY,
         "200 xontent-length=a;content-lengtx=b;xransfer-encoding=c;transfer-encodinx=d;connectiox=close;" EMPTY_1 "+");

    CASE(OK_LINE "A : b\r\n", "!syntax there is white space between a header's name and its colon `A`");
    CASE(OK_LINE "Content-Length\t: 5\r\n", "!syntax there is white space between a header's name and its colon `Content-Length`");
    CASE(OK_LINE "A b: c\r\n", "!syntax a header's name is not a token `A b`");
    CASE(OK_LINE ": c\r\n", "!syntax a header's name is not a token");
    CASE(OK_LINE "\xE4: c\r\n", "!syntax a header's name is not a token `?`");
    CASE(OK_LINE "A\x01: c\r\n", "!syntax a header's name is not a token `A?`");
    CASE(OK_LINE "(A): c\r\n", "!syntax a header's name is not a token `(A)`");
    CASE(OK_LINE "A\r\n", "!syntax a header line has no colon");
    CASE(OK_LINE "A: b\r\n c\r\n\r\n", "!syntax a header line begins with white space (a folded header)");
    CASE(OK_LINE "A: b\r\n\tc: d\r\n\r\n", "!syntax a header line begins with white space (a folded header)");
    CASE(OK_LINE " A: b\r\n\r\n", "!syntax a header line begins with white space (a folded header)");
    CASE(OK_LINE "A: b\0c\r\n", "!syntax a line of the head holds a NUL or a stray CR");
    CASE(OK_LINE "A: b\rc: d\r\n", "!syntax a line of the head holds a NUL or a stray CR");
    CASE(OK_LINE "A: b\r\r\n", "!syntax a line of the head holds a NUL or a stray CR");
    CASE("HTTP/1.1 200 O\rK\r\n", "!syntax a line of the head holds a NUL or a stray CR");
    CASE("HTTP/1.1 200 O\0K\r\n", "!syntax a line of the head holds a NUL or a stray CR");
    CASE("HTTP/1.1 200 OK\nA: b\r\n\r\n", "!syntax a line of the head ends in LF without CR");
    CASE(OK_LINE "A: b\n\r\n", "!syntax a line of the head ends in LF without CR");
    CASE(OK_LINE "A: b\r\n\n", "!syntax a line of the head ends in LF without CR");
    CASE(OK_LINE "\n", "!syntax a line of the head ends in LF without CR");
}

static void test_length(void) {
    CASE(OK_LINE "Content-Length: 5\r\n\r\nab\0\xFF" "e", "200 content-length=5;[ab0\xFF" "e]=+");
    CASE(OK_LINE "content-LENGTH:\t005 \r\n\r\nabcde", "200 content-length=005;[abcde]=+");
    CASE(OK_LINE EMPTY, "200 " EMPTY_1 "+");
    CASE(OK_LINE "Content-Length: 5\r\n\r\nabcdefg", "200 content-length=5;[abcde]=");
    CASE(OK_LINE EMPTY "\r\n", "200 " EMPTY_1);
    CASE(OK_LINE "Content-Length: 5\r\n\r\nabcd",
         "200 content-length=5;[abcd]!closed the connection was closed in the middle of the body");
    CASE(OK_LINE "Content-Length: 18446744073709551615\r\n\r\nabcd",
         "200 content-length=18446744073709551615;[abcd]!closed the connection was closed in the middle of the body");

    CASE(OK_LINE "Content-Length: 18446744073709551616\r\n\r\n",
         "!syntax Content-Length is too large a number `18446744073709551616`");
    CASE(OK_LINE "Content-Length: 99999999999999999999999999999999999999999999\r\n\r\n",
         "!syntax Content-Length is too large a number `9999999999999999999999999999999999999999…`");
    CASE(OK_LINE "Content-Length: +5\r\n\r\n", "!syntax Content-Length is not one decimal number `+5`");
    CASE(OK_LINE "Content-Length: -5\r\n\r\n", "!syntax Content-Length is not one decimal number `-5`");
    CASE(OK_LINE "Content-Length: 5 5\r\n\r\n", "!syntax Content-Length is not one decimal number `5 5`");
    CASE(OK_LINE "Content-Length: 0x5\r\n\r\n", "!syntax Content-Length is not one decimal number `0x5`");
    CASE(OK_LINE "Content-Length: \x1F ~\x7F\r\n\r\n", "!syntax Content-Length is not one decimal number `? ~?`");
    CASE(OK_LINE "Content-Length: 5.0\r\n\r\n", "!syntax Content-Length is not one decimal number `5.0`");
    CASE(OK_LINE "Content-Length: 5, 5\r\n\r\n", "!syntax Content-Length is not one decimal number `5, 5`");
    CASE(OK_LINE "Content-Length: 5,6\r\n\r\n", "!syntax Content-Length is not one decimal number `5,6`");
    CASE(OK_LINE "Content-Length: \xD9\xA5\r\n\r\n", "!syntax Content-Length is not one decimal number `??`");
    CASE(OK_LINE "Content-Length:\r\n\r\n", "!syntax Content-Length is empty");
    CASE(OK_LINE "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "!syntax the answer has two Content-Length headers");
    CASE(OK_LINE "Content-Length: 5\r\nA: b\r\ncontent-length: 5\r\n\r\n", "!syntax the answer has two Content-Length headers");
}

static void test_no_body(void) {
    CASE("HTTP/1.1 204 No Content\r\n\r\n", "204 []=+");
    CASE("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "304 content-length=5;[]=+");
    CASE("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "204 transfer-encoding=chunked;[]=+");
    CASE("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nabcde", "204 content-length=5;[]=");
    CASE("HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n", "!syntax Content-Length is not one decimal number `x`");
    HEAD(OK_LINE "Content-Length: 5\r\n\r\n", "200 content-length=5;[]=+");
    HEAD(CHUNKED, CHUNKED_1 "]=+");
    HEAD(OK_LINE "\r\n", "200 []=+");
    HEAD(OK_LINE "Content-Length: 5\r\n\r\nabcde", "200 content-length=5;[]=");
    HEAD("HTTP/1.1 100 Continue\r\n\r\n" OK_LINE "\r\n", "200 []=+");
    HEAD(OK_LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
         "!syntax the answer has both Transfer-Encoding and Content-Length");
}

static void test_to_close(void) {
    CASE(OK_LINE "\r\nabc\r\n\r\ndef", "200 [abc\r\n\r\ndef]~");
    CASE(OK_LINE "\r\n", "200 []~");
    CASE("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nabc", "200 connection=keep-alive;[abc]~");
}

static void test_chunks(void) {
    CASE(CHUNKED "5\r\nabcde\r\n0\r\n\r\n", CHUNKED_1 "abcde]=+");
    CASE(CHUNKED "0\r\n\r\n", CHUNKED_1 "]=+");
    CASE(CHUNKED "1\r\na\r\n00A\r\n0123456789\r\nb\r\n0123456789a\r\n000\r\n\r\n", CHUNKED_1 "a01234567890123456789a]=+");
    CASE(CHUNKED "3\r\n\r\n0\r\n2\r\n\r\n\r\n0\r\n\r\n", CHUNKED_1 "\r\n0\r\n]=+");
    CASE(CHUNKED "3\r\na0\0\r\n0\r\n\r\n", CHUNKED_1 "a00]=+");
    CASE(CHUNKED "1A\r\n0123456789abcdef0123456789\r\n010\r\n0123456789abcdef\r\n0\r\n\r\n",
         CHUNKED_1 "0123456789abcdef01234567890123456789abcdef]=+");
    CASE(CHUNKED "0000000000000001\r\na\r\n0000000000000000\r\n\r\n", CHUNKED_1 "a]=+");
    CASE(CHUNKED "ffffFFFFffffFFFF\r\nabc", CHUNKED_1 "abc]!closed the connection was closed in the middle of the body");
    CASE(OK_LINE "TRANSFER-encoding: \tChunKED \r\n\r\n1\r\na\r\n0\r\n\r\n", "200 transfer-encoding=ChunKED;[a]=+");
    CASE(CHUNKED "1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", CHUNKED_1 "a]=");
    CASE(CHUNKED "1\r\na\r\n0\r\n\r", CHUNKED_1 "a]!closed the connection was closed in the middle of the body");
    CASE(CHUNKED "1\r\na\r\n", CHUNKED_1 "a]!closed the connection was closed in the middle of the body");

    CASE(CHUNKED "1;x\r\na\r\n1 ; x=\"y; \xE4\" ;z\t=1\r\nb\r\n1  \t\r\nc\r\n0;\r\n\r\n", CHUNKED_1 "abc]=+");
    CASE(CHUNKED "1\r\na\r\n0\r\nA: b\r\nContent-Length: 7\r\nConnection: close\r\nA: b\r\n\r\n", CHUNKED_1 "a]=+");
}

#define NOT_HEX  "!syntax a chunk size is not a hexadecimal number"
#define NOT_CRLF "!syntax the data of a chunk is not followed by CRLF"

static void test_bad_chunks(void) {
    CASE(CHUNKED "\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED ";x\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED " 1\r\na\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED "-1\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED "+1\r\na\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED "0x1\r\na\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED "1 1\r\na\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED "g\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED "1\r\na\r\n5_0\r\n", CHUNKED_1 "a]" NOT_HEX);
    CASE(CHUNKED "1;a\0b\r\na\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED "1;a\x7F\r\na\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED "10000000000000000\r\n", CHUNKED_1 "]!syntax a chunk size has more than 16 digits");
    CASE(CHUNKED "00000000000000001\r\n", CHUNKED_1 "]!syntax a chunk size has more than 16 digits");
    CASE(CHUNKED "1\na\r\n", CHUNKED_1 "]!syntax the line of a chunk size ends in LF without CR");
    CASE(CHUNKED "1;a\nb\r\n", CHUNKED_1 "]!syntax the line of a chunk size ends in LF without CR");
    CASE(CHUNKED "1\ra\r\n", CHUNKED_1 "]!syntax a CR in the line of a chunk size is not followed by LF");
    CASE(CHUNKED "1;a\r\r\n", CHUNKED_1 "]!syntax a CR in the line of a chunk size is not followed by LF");
    CASE(CHUNKED "1x\na\r\n0\r\n\r\n", CHUNKED_1 "]" NOT_HEX);
    CASE(CHUNKED "1\rxa\r\n0\r\n\r\n", CHUNKED_1 "]!syntax a CR in the line of a chunk size is not followed by LF");
    CASE(CHUNKED "1\r\nax\n0\r\n\r\n", CHUNKED_1 "a]" NOT_CRLF);
    CASE(CHUNKED "1\r\na\rx0\r\n\r\n", CHUNKED_1 "a]" NOT_CRLF);
    CASE(CHUNKED "1\r\na0\r\n\r\n", CHUNKED_1 "a]" NOT_CRLF);
    CASE(CHUNKED "1\r\nab\r\n", CHUNKED_1 "a]" NOT_CRLF);
    CASE(CHUNKED "1\r\na\n0\r\n\r\n", CHUNKED_1 "a]" NOT_CRLF);
    CASE(CHUNKED "1\r\na\r0\r\n\r\n", CHUNKED_1 "a]" NOT_CRLF);
    CASE(CHUNKED "1\r\na\r\n0\r\nA : b\r\n\r\n",
         CHUNKED_1 "a]!syntax there is white space between a header's name and its colon `A`");
    CASE(CHUNKED "0\r\nA\r\n\r\n", CHUNKED_1 "]!syntax a header line has no colon");
    CASE(CHUNKED "0\r\nA: b\n\r\n", CHUNKED_1 "]!syntax a line of the head ends in LF without CR");
    CASE(CHUNKED "0\r\nA: b\r\n c\r\n\r\n", CHUNKED_1 "]!syntax a header line begins with white space (a folded header)");
}

#define NOT_CHUNKED(value) "!syntax Transfer-Encoding is not exactly \"chunked\" `" value "`"

static void test_codings(void) {
    CASE(OK_LINE "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
         "!syntax the answer has both Transfer-Encoding and Content-Length");
    CASE(OK_LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
         "!syntax the answer has both Transfer-Encoding and Content-Length");
    CASE(OK_LINE "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
         "!syntax the answer has two Transfer-Encoding headers");
    CASE(OK_LINE "Transfer-Encoding: gzip, chunked\r\n\r\n", NOT_CHUNKED("gzip, chunked"));
    CASE(OK_LINE "Transfer-Encoding: chunked, chunked\r\n\r\n", NOT_CHUNKED("chunked, chunked"));
    CASE(OK_LINE "Transfer-Encoding: , chunked\r\n\r\n", NOT_CHUNKED(", chunked"));
    CASE(OK_LINE "Transfer-Encoding: identity\r\n\r\n", NOT_CHUNKED("identity"));
    CASE(OK_LINE "Transfer-Encoding: xhunked\r\n\r\n", NOT_CHUNKED("xhunked"));
    CASE(OK_LINE "Transfer-Encoding: chunkex\r\n\r\n", NOT_CHUNKED("chunkex"));
    CASE(OK_LINE "Transfer-Encoding: xchunked\r\n\r\n", NOT_CHUNKED("xchunked"));
    CASE(OK_LINE "Transfer-Encoding: \x0B" "chunked\r\n\r\n", NOT_CHUNKED("?chunked"));
    CASE(OK_LINE "Transfer-Encoding: chunked;q=1\r\n\r\n", NOT_CHUNKED("chunked;q=1"));
    CASE(OK_LINE "Transfer-Encoding:\r\n\r\n", "!syntax Transfer-Encoding is not exactly \"chunked\"");
    CASE("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "!syntax the answer is HTTP/1.0 with Transfer-Encoding");
}

static void test_reuse(void) {
    CASE(OK_LINE "Connection: close\r\n" EMPTY, "200 connection=close;" EMPTY_1);
    CASE(OK_LINE "Connection: keep-alive, CLOSE ,x\r\n" EMPTY, "200 connection=keep-alive, CLOSE ,x;" EMPTY_1);
    CASE(OK_LINE "Connection: x\r\nConnection: Close\r\n" EMPTY, "200 connection=x;connection=Close;" EMPTY_1);
    CASE(OK_LINE "Connection:\r\n" EMPTY, "200 connection=;" EMPTY_1 "+");
    CASE(OK_LINE "Connection: closed, clos, clozz, zlose\r\n" EMPTY, "200 connection=closed, clos, clozz, zlose;" EMPTY_1 "+");
    CASE(OK_LINE "Connection: keep-alive\r\n" EMPTY, "200 connection=keep-alive;" EMPTY_1 "+");
    CASE("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" EMPTY, "200 connection=Keep-Alive;" EMPTY_1 "+");
    CASE("HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n" EMPTY, "200 connection=keep-alive, close;" EMPTY_1);
    CASE("HTTP/1.0 200 OK\r\n" EMPTY, "200 " EMPTY_1);
}

#define TEN   "0123456789"
#define FIFTY TEN TEN TEN TEN TEN

static void test_header_limit(void) {
    /* 17 + 3 + 357 + 2 + 21: 400 bytes. */
    CASE(OK_LINE "A: " FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY "0123456\r\nContent-Length: 0\r\n\r\n",
         "200 a=" FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY "0123456;" EMPTY_1 "+");
    CASE(OK_LINE "A: " FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY "01234567\r\nContent-Length: 0\r\n\r\n",
         "!limit the head of the answer exceeds max_header_bytes");
    CASE("HTTP/1.1 100 " FIFTY FIFTY FIFTY FIFTY "\r\n\r\nHTTP/1.1 100 " FIFTY FIFTY FIFTY FIFTY "\r\n\r\n",
         "!limit the head of the answer exceeds max_header_bytes");
    CASE(CHUNKED "1\r\na\r\n0\r\nA: " FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY "\r\n\r\n",
         CHUNKED_1 "a]!limit the head of the answer exceeds max_header_bytes");
    struct vllm_http1_options options;
    vllm_http1_options_default(&options);
    for (options.max_header_bytes = 1; options.max_header_bytes < 8; options.max_header_bytes++) {
        check_with("HTTX", 4, &options, "!syntax the answer is not HTTP", __LINE__);
        check_with("HTTP/1.1 200", 12, &options, "!limit the head of the answer exceeds max_header_bytes", __LINE__);
    }
}

/* `unit` so many times between two texts. */
static struct vllm_slice repeated(struct vllm_buf *buf, const char *before, const char *unit, size_t count, const char *after) {
    vllm_buf_clear(buf);
    CHECK_STATUS(vllm_buf_text(buf, before), VLLM_OK);
    for (size_t i = 0; i < count; i++) {
        CHECK_STATUS(vllm_buf_text(buf, unit), VLLM_OK);
    }
    CHECK_STATUS(vllm_buf_text(buf, after), VLLM_OK);
    return vllm_buf_view(buf);
}

static void check_repeated(struct vllm_slice bytes, const char *beginning, const char *end) {
    static struct trace trace;
    struct vllm_http1_options options;
    vllm_http1_options_default(&options);
    for (size_t step = 0; step < 40; step++) {
        run(bytes, bytes.len, step, &options, &trace);
        CHECK(strncmp(trace.text, beginning, strlen(beginning)) == 0);
        CHECK(trace.len >= strlen(end) && strcmp(trace.text + trace.len - strlen(end), end) == 0);
    }
}

static void test_counts(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_buf buf;
    vllm_buf_init(&buf, &alloc, SIZE_MAX / 2);
    static const char interim[] = "HTTP/1.1 100 \r\n\r\n";
    check_repeated(repeated(&buf, "", interim, 16, OK_LINE EMPTY), "200 ", EMPTY_1 "+");
    check_repeated(repeated(&buf, "", interim, 17, OK_LINE EMPTY), "", "!limit more than 16 interim (1xx) answers came");
    check_repeated(repeated(&buf, OK_LINE, "a: b\r\n", 511, EMPTY), "200 a=b;", EMPTY_1 "+");
    check_repeated(repeated(&buf, OK_LINE, "a: b\r\n", 512, EMPTY), "", "!limit the answer has more than 512 header lines");
    check_repeated(repeated(&buf, interim, "", 0, ""), "", "!closed the connection was closed in the middle of the answer's head");
    check_repeated(repeated(&buf, CHUNKED "0\r\n", "a: b\r\n", 511, "\r\n"), CHUNKED_1, "]=+");
    check_repeated(repeated(&buf, CHUNKED "0\r\n", "a: b\r\n", 512, "\r\n"), CHUNKED_1, "]!limit the answer has more than 512 header lines");
    check_repeated(repeated(&buf, CHUNKED "1;", "x", 1023, "\r\na\r\n0\r\n\r\n"), CHUNKED_1, "a]=+");
    check_repeated(repeated(&buf, CHUNKED "1;", "x", 1024, "\r\na\r\n0\r\n\r\n"), CHUNKED_1, "]!limit the extension of a chunk is longer than 1024 bytes");
    check_repeated(repeated(&buf, CHUNKED "1", " ", 5000, ""), CHUNKED_1, "]!limit the extension of a chunk is longer than 1024 bytes");
    check_repeated(repeated(&buf, CHUNKED, "1\r\nx\r\n", 2000, "0\r\n\r\n"), CHUNKED_1 "xxx", "xxx]=+");
    vllm_buf_free(&buf);
    CHECK(memory.live == 0);
}

static void test_order_of_calls(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_http1_options options;
    vllm_http1_options_default(&options);
    struct vllm_http1 *http1 = vllm_http1_new(&alloc, &options);
    struct vllm_slice bytes, name, value;
    size_t at = 0;
    int status = 7;
    CHECK_STATUS(vllm_http1_feed(http1, NULL, 0), VLLM_OK);
    CHECK(vllm_http1_fresh(http1) && !vllm_http1_reusable(http1));
    CHECK_STATUS(vllm_http1_head(http1, &status), VLLM_MORE);
    CHECK_STATUS(vllm_http1_read(http1, &bytes), VLLM_MORE);
    CHECK(!vllm_http1_field(http1, &at, &name, &value) && status == 7);
    CHECK_STATUS(vllm_http1_finish(http1), VLLM_ETRUNCATED);
    CHECK(vllm_http1_fresh(http1) && strcmp(vllm_http1_why(http1), "the connection was closed without an answer") == 0);
    CHECK_STATUS(vllm_http1_head(http1, &status), VLLM_ETRUNCATED);
    CHECK_STATUS(vllm_http1_read(http1, &bytes), VLLM_ETRUNCATED);
    CHECK_STATUS(vllm_http1_feed(http1, "H", 1), VLLM_ETRUNCATED);
    CHECK(vllm_http1_fresh(http1));
    vllm_http1_free(http1);
    vllm_http1_free(NULL);
    CHECK(memory.live == 0);
}

/* Unread bytes are bounded, but one feed is always taken; the body and the head outlive the error. */
static void test_bytes_that_are_not_read(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_http1_options options = {MAX_HEADER, 10, false};
    struct vllm_http1 *http1 = vllm_http1_new(&alloc, &options);
    struct vllm_slice bytes;
    int status = 0;
    CHECK_STATUS(vllm_http1_feed(http1, OK_LINE "\r\n" FIFTY, 19 + 50), VLLM_OK);
    CHECK_STATUS(vllm_http1_read(http1, &bytes), VLLM_OK);
    CHECK_BYTES(bytes, FIFTY);
    CHECK_STATUS(vllm_http1_feed(http1, "abcde", 5), VLLM_OK);
    CHECK_STATUS(vllm_http1_feed(http1, "fghij", 5), VLLM_OK);
    CHECK_STATUS(vllm_http1_feed(http1, "", 0), VLLM_OK);
    CHECK_STATUS(vllm_http1_feed(http1, "k", 1), VLLM_ELIMIT);
    CHECK(strstr(vllm_http1_why(http1), "max_buffer_bytes") != NULL);
    CHECK_STATUS(vllm_http1_head(http1, &status), VLLM_OK);
    CHECK(status == 200 && vllm_http1_body_bytes(http1) == 60);
    CHECK_STATUS(vllm_http1_read(http1, &bytes), VLLM_OK);
    CHECK_BYTES(bytes, "abcdefghij");
    CHECK_STATUS(vllm_http1_read(http1, &bytes), VLLM_ELIMIT);
    CHECK_STATUS(vllm_http1_finish(http1), VLLM_ELIMIT);
    vllm_http1_free(http1);
    CHECK(memory.live == 0);
}

/* A long body and a head in small reads cost no more memory than one read and one head. */
static void test_memory_of_a_long_body(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_http1_options options;
    vllm_http1_options_default(&options);
    struct vllm_http1 *http1 = vllm_http1_new(&alloc, &options);
    struct vllm_slice bytes;
    char chunk[6 + 1400 + 2] = "0578\r\n";
    memset(chunk + 6, 'x', 1400);
    memcpy(chunk + 6 + 1400, "\r\n", 2);
    CHECK_STATUS(vllm_http1_feed(http1, CHUNKED, sizeof CHUNKED - 1), VLLM_OK);
    for (size_t i = 0; i < 2000; i++) {
        CHECK_STATUS(vllm_http1_feed(http1, chunk, sizeof chunk), VLLM_OK);
        CHECK_STATUS(vllm_http1_read(http1, &bytes), VLLM_OK);
        CHECK(bytes.len == 1400);
    }
    CHECK(memory.peak < 8192);
    CHECK(vllm_http1_body_bytes(http1) == 2000 * 1400);
    size_t held = memory.live;
    CHECK_STATUS(vllm_http1_feed(http1, "0\r\n\r\n", 5), VLLM_OK);
    CHECK_STATUS(vllm_http1_read(http1, &bytes), VLLM_END);
    CHECK(memory.live <= held - 1400);
    CHECK_STATUS(vllm_http1_read(http1, &bytes), VLLM_END);
    vllm_http1_free(http1);
    CHECK(memory.live == 0);
}

static void test_failing_memory(void) {
    static const char bytes[] = "HTTP/1.1 100 \r\n\r\n" OK_LINE "A: " FIFTY FIFTY "\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "64\r\n" FIFTY FIFTY "\r\n64\r\n" FIFTY FIFTY "\r\n0\r\nB: " FIFTY FIFTY "\r\n\r\n";
    struct vllm_http1_options options;
    vllm_http1_options_default(&options);
    for (long left = 0, done = 0; !done; left++) {
        struct check_memory memory;
        struct vllm_alloc alloc = check_alloc(&memory);
        static struct trace trace;
        memset(&trace, 0, sizeof trace);
        memory.left = left;
        struct vllm_http1 *http1 = vllm_http1_new(&alloc, &options);
        enum vllm_status status = http1 ? vllm_http1_feed(http1, bytes, sizeof bytes - 1) : VLLM_ENOMEM;
        CHECK(status == VLLM_OK || status == VLLM_ENOMEM);
        if (http1) {
            CHECK_STATUS(drain(http1, &trace), status == VLLM_OK ? VLLM_END : VLLM_ENOMEM);
            CHECK_STATUS(vllm_http1_finish(http1), status);
            CHECK_STATUS(vllm_http1_feed(http1, "x", 1), status == VLLM_OK ? VLLM_EINVALID : VLLM_ENOMEM);
        }
        vllm_http1_free(http1);
        CHECK(memory.live == 0);
        done = status == VLLM_OK;
        CHECK(!done || left > 4);
        CHECK(!done || strcmp(trace.text, "200 a=" FIFTY FIFTY ";transfer-encoding=chunked;[" FIFTY FIFTY FIFTY FIFTY) == 0);
    }
}

int main(void) {
    test_status_line();
    test_interim();
    test_fields();
    test_length();
    test_no_body();
    test_to_close();
    test_chunks();
    test_bad_chunks();
    test_codings();
    test_reuse();
    test_header_limit();
    test_counts();
    test_order_of_calls();
    test_bytes_that_are_not_read();
    test_memory_of_a_long_body();
    test_failing_memory();
    return check_report("http1");
}
