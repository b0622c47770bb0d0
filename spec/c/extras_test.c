/* Members that only the server knows: what is kept of them at each level, and their bounds. */
#include "check.h"

#include "../../src/core/decoder.h"

#define MAX_TRACE 4096
#define TEXT(slice) (slice).ptr ? (int)(slice).len : 1, (slice).ptr ? (slice).ptr : "-"
#define EVENT(json) "data: " json "\n\n"
#define DONE        EVENT("[DONE]")
#define STOP        BARE("{\"finish_reason\":\"stop\"}")

struct trace {
    char text[MAX_TRACE];
};

static void put(struct trace *trace, const char *level, struct vllm_slice name, struct vllm_slice json) {
    size_t used = strlen(trace->text);
    snprintf(trace->text + used, MAX_TRACE - used, "%s%.*s=%.*s;", level, TEXT(name), TEXT(json));
}

static void put_extras(struct trace *trace, const char *level, const struct vllm_extras *extras) {
    for (size_t i = 0; i < extras->count; i++) {
        struct vllm_slice name, json;
        vllm_extras_at(extras, i, &name, &json);
        put(trace, level, name, json);
    }
}

static void put_choice_extras(struct trace *trace, const struct vllm_decoder *decoder, size_t position) {
    struct vllm_decoder_choice choice;
    vllm_decoder_choice(decoder, position, &choice);
    put_extras(trace, "choice ", choice.extras);
    put_extras(trace, "message ", choice.message_extras);
    for (size_t k = 0; k < choice.call_count; k++) {
        struct vllm_decoder_call call;
        vllm_decoder_call(decoder, position, k, &call);
        put_extras(trace, "call ", call.extras);
    }
}

static enum vllm_status feed(struct vllm_decoder *decoder, const char *bytes, size_t *events) {
    struct vllm_event event;
    enum vllm_status status = bytes[0] == '{' ? vllm_decoder_body(decoder, bytes, strlen(bytes)) : vllm_decoder_feed(decoder, bytes, strlen(bytes));
    for (*events = 0; status == VLLM_OK || status == VLLM_MORE;) {
        enum vllm_status ended = status == VLLM_MORE ? vllm_decoder_finish(decoder) : VLLM_OK;
        status = ended == VLLM_OK ? vllm_decoder_next(decoder, &event) : ended;
        *events += status == VLLM_OK;
    }
    return status;
}

/* The extras after the stream, or the completion: "name=json;", below the top level with the level before. */
static enum vllm_status read_all(const char *bytes, size_t max_message_bytes, char out[MAX_TRACE], size_t *events) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_decoder_options options;
    struct vllm_decoder_state state;
    struct trace extras = {""};
    vllm_decoder_options_default(&options);
    options.max_message_bytes = max_message_bytes;
    struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
    enum vllm_status status = feed(decoder, bytes, events);
    vllm_decoder_state(decoder, &state);
    put_extras(&extras, "", state.extras);
    for (size_t i = 0; i < state.choice_count; i++) {
        put_choice_extras(&extras, decoder, i);
    }
    memcpy(out, extras.text, sizeof extras.text);
    vllm_decoder_free(decoder);
    CHECK(memory.live == 0);
    return status;
}

static enum vllm_status read_extras(const char *bytes, size_t max_message_bytes, char out[MAX_TRACE]) {
    size_t events;
    return read_all(bytes, max_message_bytes, out, &events);
}

static size_t count_events(const char *bytes) {
    char out[MAX_TRACE];
    size_t events;
    CHECK(read_all(bytes, 4096, out, &events) == VLLM_END);
    return events;
}

#define BARE(choice) EVENT("{\"choices\":[" choice "]}")
#define EXTRA(fields) EVENT("{" fields ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}")

static void test_extras(void) {
    char out[MAX_TRACE], many[MAX_TRACE] = "";
    CHECK(count_events(EXTRA("\"f\":1") EXTRA("\"f\":1") EXTRA("\"g\":[null],\"f\":null") STOP DONE) == 8);
    CHECK(read_extras(BARE("{\"delta\":{\"content\":\"a\"}}") STOP DONE, 4096, out) == VLLM_END);
    CHECK(strcmp(out, "") == 0);
    /* the last value that is not null, the first place */
    CHECK(read_extras(EXTRA("\"f\":\"x\",\"created\":1") EXTRA("\"f\":\"x\"") EXTRA("\"g\":[null]") EXTRA("\"f\":{\"n\":1}") EXTRA("\"f\":null")
                          EXTRA("\"f\":{\"n\":1}") EXTRA("\"f\":{\"n\":1},\"g\":null") STOP DONE,
                      4096, out) == VLLM_END);
    CHECK(strcmp(out, "f={\"n\":1};g=[null];") == 0);
    /* a value that is replaced costs no room: 1 for the name, 2 for the value, the texts and the finish */
    const char *replaced = EXTRA("\"f\":10") EXTRA("\"f\":11") EXTRA("\"f\":12") STOP DONE;
    CHECK(read_extras(replaced, 10, out) == VLLM_END);
    CHECK(strcmp(out, "f=12;") == 0);
    CHECK(read_extras(replaced, 9, out) == VLLM_ELIMIT);
    CHECK(read_extras(EXTRA("\"f\":1234567890"), 4, out) == VLLM_ELIMIT);
    /* 32 names and no more, in one chunk or in many */
    for (int i = 0; i < 40; i++) {
        size_t used = strlen(many);
        snprintf(many + used, sizeof many - used, "data: {\"k%d\":%d,\"k0\":%d}\n\n", i, i, i);
    }
    CHECK(read_extras(many, 4096, out) == VLLM_ESYNTAX);
    CHECK(strncmp(out, "k0=39;k1=1;k2=2;", 16) == 0);
    CHECK(strstr(out, "k31=31;") != NULL && strstr(out, "k32=") == NULL);
}

static void check_members(const char *bytes, const char *expected) {
    char out[MAX_TRACE];
    enum vllm_status status = read_extras(bytes, 4096, out);
    CHECK(status == VLLM_END);
    if (strcmp(out, expected) != 0) {
        printf("gave     %s\nexpected %s\n", out, expected);
    }
    CHECK(strcmp(out, expected) == 0);
}

#define MEMBERS(fields) BARE("{\"delta\":{" fields "}}")
#define TOOL(fields) MEMBERS("\"tool_calls\":[{\"index\":0," fields "}]")

static void test_unknown_members(void) {
    char out[MAX_TRACE];
    /* at each level, streamed and whole alike */
    const char *levels = "choice weight=\"w\";message signature=\"s\";message details=[{\"a\":1},{\"b\":2}];call extra_content={\"g\":\"x\"};";
    check_members(MEMBERS("\"signature\":\"s\",\"details\":[{\"a\":1}]") TOOL("\"id\":\"c\",\"extra_content\":{\"g\":\"x\"},\"function\":{\"name\":\"f\"}")
                      MEMBERS("\"details\":[ {\"b\":2} ]") BARE("{\"finish_reason\":\"tool_calls\",\"weight\":\"w\"}") DONE,
                  "choice weight=\"w\";message signature=\"s\";message details=[{\"a\":1}, {\"b\":2} ];call extra_content={\"g\":\"x\"};");
    check_members("{\"choices\":[{\"finish_reason\":\"tool_calls\",\"weight\":\"w\",\"message\":{\"signature\":\"s\",\"details\":[{\"a\":1},{\"b\":2}],"
                  "\"tool_calls\":[{\"id\":\"c\",\"extra_content\":{\"g\":\"x\"},\"function\":{\"name\":\"f\"}}]}}]}",
                  levels);
    /* strings of deltas join, halves of a pair, too; one that is sent again whole does not */
    check_members(MEMBERS("\"x\":\"a\\ud83d\"") MEMBERS("\"x\":\"\\ude00\"") MEMBERS("\"x\":\"b\"") STOP DONE, "message x=\"a\\ud83d\\ude00b\";");
    check_members(MEMBERS("\"x\":\"final\"") MEMBERS("\"x\":\"final\"") STOP DONE, "message x=\"final\";");
    /* of everything else the last one stays, and of another type */
    check_members(MEMBERS("\"x\":1") MEMBERS("\"x\":{\"a\":2}") MEMBERS("\"x\":null") STOP DONE, "message x={\"a\":2};");
    check_members(MEMBERS("\"x\":\"a\"") MEMBERS("\"x\":[1]") MEMBERS("\"x\":[ ]") MEMBERS("\"x\":[2]") STOP DONE, "message x=[1,2];");
    check_members(MEMBERS("\"x\":[1]") MEMBERS("\"x\":\"a\"") STOP DONE, "message x=\"a\";");
    check_members(MEMBERS("\"x\":[ ]") STOP DONE, "message x=-;");
    /* of duplicates in one delta the last one counts */
    check_members(MEMBERS("\"x\":\"a\"") MEMBERS("\"x\":\"b\",\"x\":\"c\"") STOP DONE, "message x=\"ac\";");
    check_members(MEMBERS("\"x\":[1]") MEMBERS("\"x\":[2],\"x\":[3,4]") STOP DONE, "message x=[1,3,4];");
    check_members(MEMBERS("\"x\":[2],\"x\":\"b\",\"x\":\"c\"") STOP DONE, "message x=\"c\";");
    check_members(MEMBERS("\"x\":\"a\"") MEMBERS("\"x\":\"bcd\",\"x\":[\"1234\",5],\"x\":[3]") STOP DONE, "message x=[3];");
    check_members(MEMBERS("\"x\":\"a\"") MEMBERS("\"x\":\"bcd\",\"x\":5,\"x\":\"c\"") STOP DONE, "message x=\"c\";");
    /* a whole message after its deltas */
    check_members(MEMBERS("\"x\":\"a\"") MEMBERS("\"x\":\"b\"") BARE("{\"message\":{\"x\":\"ab\"}}") STOP DONE, "message x=\"ab\";");
    /* members of a call: the last value */
    check_members(TOOL("\"id\":\"c\",\"x\":\"a\",\"function\":{\"name\":\"f\"}") TOOL("\"x\":\"b\",\"function\":{\"arguments\":\"{}\"}") BARE("{\"finish_reason\":\"tool_calls\"}") DONE,
                  "call x=\"b\";");
    /* they start and end nothing */
    CHECK(count_events(MEMBERS("\"x\":1") MEMBERS("\"content\":\"a\",\"x\":2") BARE("{\"y\":1}") STOP DONE) == 6);
    /* they count for the bound: x, its value; the text of the finish */
    CHECK(read_extras(MEMBERS("\"x\":\"abc\"") MEMBERS("\"x\":\"de\"") STOP DONE, 12, out) == VLLM_END);
    CHECK(read_extras(MEMBERS("\"x\":\"abc\"") MEMBERS("\"x\":\"de\"") STOP DONE, 7, out) == VLLM_ELIMIT);
    CHECK(strcmp(out, "message x=\"abc\";") == 0);
    CHECK(read_extras(MEMBERS("\"x\":[1]") MEMBERS("\"x\":[2]") STOP DONE, 5, out) == VLLM_ELIMIT);
    CHECK(strcmp(out, "message x=[1];") == 0);
}

int main(void) {
    test_extras();
    test_unknown_members();
    return check_report("extras");
}
