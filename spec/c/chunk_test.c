/* One chunk's JSON → deltas: each dialect as a case. Every case is read three times by one reader, so that speculation
 * on repeated bytes is tried on all of them, and once more between two other chunks. */
#include "../../src/core/delta.h"

#include "check.h"

#define MAX_OUT 2048

struct chunk_case {
    const char *json, *expected; /* deltas as render() writes them; or "! " and the reason */
};

static const struct chunk_case CASES[] = {
    /* the envelope, and choices that say nothing */
    {"{}", "foreign;"},
    {"{\"id\":\"r\",\"model\":\"m\",\"choices\":[]}", "envelope r m;"},
    {"{\"id\":\"r\",\"model\":null}", "envelope r -;foreign;"},
    {"{\"id\":\"\",\"choices\":null}", "foreign;"},
    {"{\"choices\":\"none\"}", "foreign;"},
    {"{\"choices\":{\"index\":0}}", "foreign;"},
    {"{\"choices\":[1,null,\"x\",[]]}", ""},
    {"{\"choices\":[{}]}", "0 choice;"},
    {"{\"choices\":[{\"index\":2,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}", "2 choice;"},
    {"{\"choices\":[{\"index\":0,\"delta\":null}]}", "0 choice;"},
    {"{\"choices\":[{\"index\":0,\"delta\":[]}]}", "0 choice;"},
    {"{\"choices\":[{\"index\":-1,\"delta\":{\"content\":\"a\"}}]}", "0 text a;"},
    {"{\"choices\":[{\"index\":\"1\",\"delta\":{\"content\":\"a\"}}]}", "1 text a;"},
    {"{\"choices\":[{\"index\":\"one\",\"delta\":{\"content\":\"a\"}}]}", "0 text a;"},
    {"{\"choices\":[{\"index\":1.5,\"delta\":{\"content\":\"a\"}}]}", "0 text a;"},
    {"{\"choices\":[{\"index\":1e999,\"delta\":{\"content\":\"a\"}}]}", "0 text a;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "0 text a;"},
    /* text */
    {"{\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}", "envelope r -;0 text a;"},
    {"{\"choices\":[{\"index\":1,\"delta\":{\"role\":null,\"content\":\"a\\\"\\u00e9\\n\"}}]}", "1 text a\"\xC3\xA9\n;"},
    {"{\"choices\":[{\"index\":0,\"delta\":{\"content\":null}}]}", "0 choice;"},
    {"{\"choices\":[{\"index\":0,\"delta\":{\"content\":7}}]}", "0 choice;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"\\ud83d\"}}]}", "0 text \xED\xA0\xBD;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"\\ude00\"}}]}", "0 text \xED\xB8\x80;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\\ud83db\"}}]}", "0 text a\xEF\xBF\xBD" "b;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\xFF\"}}]}", "0 text a\xEF\xBF\xBD;"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},\"b\",{\"type\":\"refusal\",\"refusal\":\"no\"},"
     "{\"type\":\"image_url\",\"image_url\":{\"url\":\"u\"}},null]}}]}",
     "0 text a;0 text b;0 refusal no;0 media {\"type\":\"image_url\",\"image_url\":{\"url\":\"u\"}};"},
    {"{\"choices\":[{\"delta\":{\"images\":[1,[2],null,{}],\"content\":[{\"refusal\":\"no\"}, {\"x\":[1]} ,{\"text\":\"\\n\"},{\"text\":\"\"},false,\"\"],"
     "\"refusal\":\"never\",\"audio\":2}}]}",
     "0 text \n;0 refusal never;0 refusal no;0 media {\"x\":[1]};0 media 1;0 media [2];0 media 2;"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"text\":1,\"text\":\"a\",\"refusal\":\"no\"},{\"text\":\"b\",\"text\":null,\"refusal\":\"c\"}]}}]}",
     "0 text a;0 refusal c;"},
    {"{\"choices\":[{\"message\":{\"content\":[{\"text\":\"a\"}],\"images\":[7]}}]}", "0 text a whole;0 media 7 whole;"},
    {"{\"choices\":[{\"message\":{\"content\":[\"m\"]},\"delta\":{\"content\":[\"d\"]}},{\"delta\":{\"content\":[\"e\"]},\"index\":1}]}",
     "0 text d;1 text e;"},
    {"{\"choices\":[{\"index\":0,\"text\":\"a\",\"logprobs\":null}]}", "0 text a;"},
    {"{\"choices\":[{\"text\":\"old\",\"delta\":{\"content\":\"new\"}}]}", "0 text new;"},
    {"{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"finish_reason\":\"stop\"}]}",
     "0 text a whole;0 finish stop -;"},
    {"{\"choices\":[{\"delta\":{},\"message\":{\"content\":\"a\"}}]}", "0 text a whole;"},
    {"{\"choices\":[{\"message\":{\"content\":\"a\"},\"delta\":null}]}", "0 text a whole;"},
    {"{\"choices\":[{\"message\":{\"content\":\"all\"},\"delta\":{\"content\":\"a\"}}]}", "0 text a;"},
    /* reasoning, refusal, media */
    {"{\"choices\":[{\"delta\":{\"reasoning\":\"r\"}}]}", "0 reasoning r;"},
    {"{\"choices\":[{\"delta\":{\"reasoning_content\":\"r\"}}]}", "0 reasoning r;"},
    {"{\"choices\":[{\"delta\":{\"reasoning\":null,\"reasoning_content\":\"r\"}}]}", "0 reasoning r;"},
    {"{\"choices\":[{\"delta\":{\"reasoning\":\"\",\"reasoning_content\":\"r\"}}]}", "0 reasoning r;"},
    {"{\"choices\":[{\"delta\":{\"reasoning_content\":\"r\",\"reasoning\":\"r\"}}]}", "0 reasoning r;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\",\"reasoning\":\"r\",\"refusal\":\"no\"}}]}", "0 reasoning r;0 text a;0 refusal no;"},
    {"{\"choices\":[{\"delta\":{\"images\":[{\"u\":1},{\"u\":2}],\"audio\":{\"id\":\"x\"},\"content\":\"a\"}}]}",
     "0 text a;0 media {\"u\":1};0 media {\"u\":2};0 media {\"id\":\"x\"};"},
    {"{\"choices\":[{\"delta\":{\"images\":null,\"audio\":null,\"refusal\":null}}]}", "0 choice;"},
    /* tool calls */
    {"{\"choices\":[{\"delta\":{\"tool_calls\":null}}]}", "0 choice;"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[]}}]}", "0 choice;"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[null,7,{},{\"index\":1}]}}]}", "0 choice;"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}",
     "0 tool 0 a f -;"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":null,\"function\":{\"name\":null,\"arguments\":\"{\\\"a\\\"\"}}]}}]}",
     "0 tool 0 - - {\"a\";"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":null},{\"function\":{\"name\":\"g\",\"arguments\":null}}]}}]}",
     "0 tool -1 a - -;0 tool -1 - g -;"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":3,\"function\":{\"arguments\":{\"a\": [1, null]},\"name\":\"f\"}}]}}]}",
     "0 tool 3 - f {\"a\": [1, null]};"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":{\"a\":\"\xC3\"}}}]}}]}", "0 tool -1 - - {\"a\":\"\xEF\xBF\xBD\"};"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":{\"index\":0,\"function\":{\"name\":\"f\"}}}}]}", "0 tool 0 - f -;"},
    {"{\"choices\":[{\"delta\":{\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}}}]}", "0 tool -1 - f {};"},
    {"{\"choices\":[{\"delta\":{\"function_call\":null}}]}", "0 choice;"},
    {"{\"choices\":[{\"finish_reason\":\"tool_calls\",\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\"}],\"content\":\"t\"},\"index\":1}]}",
     "1 text t;1 tool 0 a - -;1 finish tool_calls -;"},
    {"{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"index\":9,\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
     "{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}}]}",
     "0 tool 0 a f {} whole;0 tool 1 b g {} whole;"},
    {"{\"choices\":[{\"message\":{\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"},\"tool_calls\":null}}]}", "0 tool 0 - f {} whole;"},
    /* ends */
    {"{\"choices\":[{\"delta\":{},\"finish_reason\":\"\"}]}", "0 choice;"},
    {"{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"stop_reason\":null}]}", "0 finish stop -;"},
    {"{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"stop_reason\":\"END\"}]}", "0 finish stop \"END\";"},
    {"{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"stop_reason\":128009}]}", "0 finish stop 128009;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[]},\"token_ids\":[1,2]}]}",
     "0 text a;0 tokens {\"content\":[]} [1,2]=[];"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"logprobs\":{},\"token_ids\":[]}]}", "0 text a;"},
    {"{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", "usage {\"prompt_tokens\":1};"},
    {"{\"usage\":null,\"choices\":[]}", ""},
    {"{\"usage\":{\"n\":1},\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "0 text a;usage {\"n\":1};"},
    {"{\"choices\":[{\"delta\":{},\"usage\":{\"n\":1}}]}", "0 choice;usage {\"n\":1};"},
    {"{\"usage\":{\"n\":2},\"choices\":[{\"delta\":{\"content\":\"a\"},\"usage\":{\"n\":1}}]}", "0 text a;usage {\"n\":2};"},
    {"{\"choices\":[{\"usage\":{\"n\":1}},{\"index\":1,\"usage\":{}}],\"usage\":{}}", "0 choice;1 choice;usage {\"n\":1};"},
    {"{\"choices\":[{\"usage\":{\"n\":1}}],\"choices\":[{\"usage\":7}]}", "0 choice;"},
    {"{\"choices\":[{\"delta\":{\"reasoning_content\":{\"text\":\"a\"}}}]}", "0 reasoning a;"},
    {"{\"choices\":[{\"delta\":{\"reasoning\":{\"effort\":\"low\"},\"reasoning_content\":[\"a\",{\"text\":\"b\"}]}}]}", "0 reasoning a;0 reasoning b;"},
    {"{\"choices\":[{\"delta\":{\"reasoning\":true,\"reasoning_content\":\"a\"}}]}", "0 reasoning a;"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"a\"}]},{\"type\":\"text\",\"text\":\"b\"}]}}]}", "0 reasoning a;0 text b;"},
    {"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}},{\"index\":0,\"delta\":{\"content\":\"a\"}}]}", "1 text b;0 text a;"},
    /* duplicate and unknown keys */
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"choices\":[{\"delta\":{\"content\":\"b\"}}]}", "0 text b;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\",\"content\":\"b\"}}]}", "0 text b;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"delta\":{\"content\":\"b\"}}]}", "0 text b;"},
    {"{\"choices\":[{\"delta\":{\"content\":[\"a\"],\"content\":\"b\"}}]}", "0 text b;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\",\"content\":[\"b\",7]}}]}", "0 text b;0 media 7;"},
    {"{\"choices\":[{\"delta\":{\"content\":[\"a\",7],\"content\":[\"b\"]}}]}", "0 text b;"},
    {"{\"choices\":[{\"delta\":{\"content\":[\"a\"],\"content\":null}}]}", "0 choice;"},
    {"{\"choices\":[{\"delta\":{\"content\":[\"a\"]},\"delta\":{\"content\":[\"b\"]}}]}", "0 text b;"},
    {"{\"choices\":[{\"delta\":{\"images\":[1],\"images\":2}}]}", "0 media 2;"},
    {"{\"choices\":[{\"delta\":{\"images\":1,\"images\":[2]}}]}", "0 media 2;"},
    {"{\"choices\":[{\"logprobs\":{\"content\":[1]},\"logprobs\":{\"content\":[2],\"content\":[3],\"x\":0}}]}",
     "0 tokens {\"content\":[2],\"content\":[3],\"x\":0} -=[3];"},
    {"{\"choices\":[{\"logprobs\":{\"content\":[1]},\"logprobs\":[2]}]}", "0 tokens [2] -;"},
    {"{\"choices\":[{\"logprobs\":{\"content\":[1]},\"logprobs\":null}]}", "0 choice;"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\"}],\"tool_calls\":[{\"id\":\"b\"}]}}]}", "0 tool -1 b - -;"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\"},\"function\":{\"arguments\":\"{}\"}}]}}]}",
     "0 tool -1 a - {};"},
    {"{\"id\":\"a\",\"id\":\"b\"}", "envelope b -;foreign;"},
    {"{\"created\":1,\"choices\":[{\"delta\":{\"content\":\"a\",\"y\":{\"content\":\"z\"}},\"z\":1}]}",
     "0 text a;0 members {\"content\":\"a\",\"y\":{\"content\":\"z\"}};"
     "of choice {\"delta\":{\"content\":\"a\",\"y\":{\"content\":\"z\"}},\"z\":1};"},
    /* unknown members of choices, messages and calls */
    {"{\"choices\":[ { \"delta\" : {\"x\":1} , \"index\":1} ]}", "1 members {\"x\":1};"},
    {"{\"choices\":[{\"delta\":{\"x\":null,\"y\":[],\"z\":\"\",\"role\":\"assistant\",\"name\":\"n\"},\"w\":false}]}", "0 choice;"},
    {"{\"choices\":[{\"message\":{\"content\":\"a\",\"x\":1},\"finish_reason\":\"stop\"}]}",
     "0 text a whole;0 members {\"content\":\"a\",\"x\":1} whole;0 finish stop -;"},
    {"{\"choices\":[{\"delta\":{\"x\":1},\"message\":{\"content\":\"a\"}}]}", "0 text a whole;0 members {\"x\":1};"},
    {"{\"choices\":[{\"delta\":{\"x\":1},\"delta\":{}}]}", "0 choice;"},
    {"{\"choices\":[{\"w\":1}],\"choices\":[{}],\"x\":1}", "0 choice;extra x 1;"},
    {"{\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"x\":1},{\"id\":\"b\",\"type\":\"function\"}]}}]}",
     "0 tool -1 a - - of {\"id\":\"a\",\"x\":1};0 tool -1 b - -;"},
    /* thinking in the content */
    {"{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"r\"},\"s\",7]},{\"text\":\"a\"}]}}]}",
     "0 reasoning r;0 reasoning s;0 text a;"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"text\":\"a\"},{\"type\":\"thinking\",\"thinking\":\"r\",\"signature\":\"x\"}]}}]}",
     "0 reasoning r;0 text a;"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"reasoning\",\"text\":\"r\"},{\"type\":\"reasoning\",\"reasoning\":\"s\"},"
     "{\"type\":\"thinking\",\"thinking\":\"\"},{\"type\":\"reason\",\"text\":\"a\"}]}}]}",
     "0 reasoning r;0 reasoning s;0 text a;"},
    {"{\"choices\":[{\"delta\":{\"reasoning_content\":\"q\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"r\"}]}}]}", "0 reasoning q;"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"redacted_thinking\",\"data\":\"x\"}]}}]}",
     "0 media {\"type\":\"redacted_thinking\",\"data\":\"x\"};"},
    {"{\"x\":[{\"choices\":[1]}],\"text\":\"t\",\"choices\":[]}", "extra x [{\"choices\":[1]}];extra text \"t\";"},
    {"{\"x\":null,\"\":1,\"\\u0079\":2,\"z\":false,\"choices\":null}", "extra z false;foreign;"},
    {"{\"x\":1,\"usage\":{\"n\":1},\"x\":{},\"choices\":[{}]}", "0 choice;usage {\"n\":1};extra x 1;extra x {};"},
    {"{\"error\":\"boom\",\"x\":1}", "error {\"error\":\"boom\",\"x\":1};"},
    {"{\"\\u0063hoices\":[{\"delta\":{\"cont\\u0065nt\":\"a\"}}]}", "0 text a;"},
    {"{\"model\":\"m\\u00e9\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "envelope - m\xC3\xA9;0 text a;"},
    /* errors */
    {"{\"error\":null,\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "0 text a;"},
    {"{\"error\":\"\",\"choices\":[]}", ""},
    {"{\"error\":false}", "foreign;"},
    {"{\"error\":\"boom\"}", "error {\"error\":\"boom\"};"},
    {"{\"error\":[{\"message\":\"boom\"}]}", "error {\"error\":[{\"message\":\"boom\"}]};"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"error\":{\"code\":\"500\"}}",
     "0 text a;error {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"error\":{\"code\":\"500\"}};"},
    {"{\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}],\"error\":1}",
     "error {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}],\"error\":1};"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\",\"error\":\"e\"},{\"index\":1,\"delta\":{\"content\":\"b\"}}]}",
     "0 text a;1 text b;error {\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\",\"error\":\"e\"};"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"error\":null}]}", "0 text a;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"null\"}]}", "0 text a;"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"None\"}]}", "0 text a;"},
    {"{\"object\":\"error\",\"message\":\"boom\",\"code\":400}", "error {\"object\":\"error\",\"message\":\"boom\",\"code\":400};"},
    {"{\"object\":\"chat.completion.chunk\"}", "foreign;"},
    /* not a chunk */
    {"", "! the text ends where a value should be"},
    {"\"error\"", "! a chunk is not a JSON object"},
    {"42", "! a chunk is not a JSON object"},
    {"[]", "! a chunk is not a JSON object"},
    {"{\"choices\":[{\"delta\":{\"content\":\"a\"}}]} x", "! more text after the value"},
    {"{\"a\":[[[[[[[[[]]]]]]]]]}", "! a chunk is nested deeper than max_depth"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"x\":[[{}]]}]}}]}", "0 media {\"x\":[[{}]]};"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"x\":[[[[]]]]}]}}]}", "! a chunk is nested deeper than max_depth"},
    {"{\"choices\":[{\"delta\":{\"images\":[[[[[[]]]]]]}}]}", "! a chunk is nested deeper than max_depth"},
    {"{\"choices\":[{\"logprobs\":{\"content\":[[[[[[]]]]]]}}]}", "! a chunk is nested deeper than max_depth"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"text\":\"a\"},{\"text\":\"\\x\"}]}}]}", "! unknown escape in a string"},
    {"{\"choices\":[{\"delta\":{\"content\":[{\"text\":\"a\"]}}]}", "! ',' or '}' expected"},
    {"{\"choices\":[{\"delta\":{\"content\":[\"a\" \"b\"]}}]}", "! ',' or ']' expected"},
    {"{\"choices\":[{\"delta\":{\"images\":[tru]}}]}", "! expected a JSON value"},
    {"{\"choices\":[{\"logprobs\":{\"content\" 1}}]}", "! ':' expected"},
};

static const char *const NAMES[] = {
    [VLLM_DELTA_ENVELOPE] = "envelope",
    [VLLM_DELTA_CHOICE] = "choice",
    [VLLM_DELTA_TEXT] = "text",
    [VLLM_DELTA_REASONING] = "reasoning",
    [VLLM_DELTA_REFUSAL] = "refusal",
    [VLLM_DELTA_MEDIA] = "media",
    [VLLM_DELTA_TOOL] = "tool",
    [VLLM_DELTA_TOKENS] = "tokens",
    [VLLM_DELTA_MEMBERS] = "members",
    [VLLM_DELTA_FINISH] = "finish",
    [VLLM_DELTA_USAGE] = "usage",
    [VLLM_DELTA_CHOICE_MEMBERS] = "of choice",
    [VLLM_DELTA_EXTRA] = "extra",
    [VLLM_DELTA_FOREIGN] = "foreign",
    [VLLM_DELTA_ERROR] = "error",
};

static void put(char *out, const char *before, struct vllm_slice text) {
    size_t used = strlen(out);
    snprintf(out + used, MAX_OUT - used, "%s%.*s", before, text.ptr ? (int)text.len : 1, text.ptr ? text.ptr : "-");
}

static void render_delta(const struct vllm_delta *delta, char *out) {
    size_t used = strlen(out);
    bool of_choice = delta->kind != VLLM_DELTA_ENVELOPE && delta->kind < VLLM_DELTA_USAGE;
    if (of_choice) {
        used += (size_t)snprintf(out + used, MAX_OUT - used, "%ld ", (long)delta->choice);
    }
    used += (size_t)snprintf(out + used, MAX_OUT - used, "%s", NAMES[delta->kind]);
    switch (delta->kind) {
    case VLLM_DELTA_ENVELOPE:
        put(out, " ", delta->id);
        put(out, " ", delta->model);
        break;
    case VLLM_DELTA_CHOICE:
        break;
    case VLLM_DELTA_TOOL:
        snprintf(out + used, MAX_OUT - used, " %ld", (long)delta->index);
        put(out, " ", delta->id);
        put(out, " ", delta->name);
        put(out, " ", delta->text);
        if (delta->object.ptr) {
            put(out, " of ", delta->object);
        }
        break;
    case VLLM_DELTA_TOKENS:
        put(out, " ", delta->raw);
        put(out, " ", delta->token_ids);
        if (delta->text.ptr) {
            put(out, "=", delta->text);
        }
        break;
    case VLLM_DELTA_FINISH:
        put(out, " ", delta->text);
        put(out, " ", delta->raw);
        break;
    case VLLM_DELTA_EXTRA:
        put(out, " ", delta->name);
        put(out, " ", delta->raw);
        break;
    case VLLM_DELTA_FOREIGN: break;
    case VLLM_DELTA_MEDIA:
    case VLLM_DELTA_MEMBERS:
    case VLLM_DELTA_CHOICE_MEMBERS:
    case VLLM_DELTA_USAGE:
    case VLLM_DELTA_ERROR:
        put(out, " ", delta->raw);
        break;
    default:
        put(out, " ", delta->text);
        break;
    }
    used = strlen(out);
    snprintf(out + used, MAX_OUT - used, "%s;", delta->whole && delta->kind != VLLM_DELTA_CHOICE ? " whole" : "");
}

static enum vllm_status read_copy(struct vllm_chunk *chunk, const char *json, const char *type, char *out) {
    size_t len = strlen(json), count = 0;
    const char *why = "";
    char *copy = malloc(len + 1); /* exactly as long as the text: a read past its end is seen */
    memcpy(copy, json, len + 1);
    char *exact = realloc(copy, len > 0 ? len : 1);
    struct vllm_slice text = {exact, len}, event_type = {type, strlen(type)};
    enum vllm_status status = vllm_chunk_read(chunk, text, event_type, &why);
    const struct vllm_delta *deltas = vllm_chunk_deltas(chunk, &count);
    out[0] = '\0';
    if (status != VLLM_OK) {
        CHECK(count == 0);
        snprintf(out, MAX_OUT, "! %s", why);
    }
    for (size_t i = 0; i < count; i++) {
        render_delta(&deltas[i], out);
    }
    memset(exact, '?', len); /* nothing of it is looked at again */
    free(exact);
    return status;
}

static struct vllm_chunk *new_chunk(struct check_memory *memory, const struct vllm_alloc *alloc) {
    struct vllm_chunk_limits limits = {9, 16, 4096};
    (void)memory;
    return vllm_chunk_new(alloc, &limits);
}

static void expect(struct vllm_chunk *chunk, const struct chunk_case *c) {
    char out[MAX_OUT];
    read_copy(chunk, c->json, "", out);
    if (strcmp(out, c->expected) != 0) {
        printf("%s\n    gave %s\nexpected %s\n", c->json, out, c->expected);
    }
    CHECK(strcmp(out, c->expected) == 0);
}

static void test_cases(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_chunk *chunk = new_chunk(&memory, &alloc);
    size_t count = sizeof CASES / sizeof CASES[0];
    for (size_t i = 0; i < count; i++) {
        for (int times = 0; times < 3; times++) {
            expect(chunk, &CASES[i]);
        }
        expect(chunk, &CASES[(i * 7 + 3) % count]);
        expect(chunk, &CASES[i]);
    }
    vllm_chunk_free(chunk);
    vllm_chunk_free(NULL);
    CHECK(memory.live == 0);
}

/* The same bytes around another text; each line follows the one before it. */
static void test_speculation(void) {
#define AROUND(text) "{\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"},\"finish_reason\":null}]}"
#define CALL(fields, text)                                                                                                                            \
    "{\"id\":\"r\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{" fields ",\"function\":{\"arguments\":\"" text "\"}}]}}]}"
    static const struct chunk_case lines[] = {
        {AROUND("a"), "envelope r -;0 text a;"},
        {AROUND("bc d"), "envelope r -;0 text bc d;"},
        {AROUND("\\\"\\u00e9"), "envelope r -;0 text \"\xC3\xA9;"},
        {AROUND(""), "envelope r -;0 choice;"},
        {AROUND("a"), "envelope r -;0 text a;"},
        {AROUND("\xC3\xA9\xFF"), "envelope r -;0 text \xC3\xA9\xEF\xBF\xBD;"},
        {AROUND("x\",\"refusal\":\"no"), "envelope r -;0 text x;0 refusal no;"},
        {AROUND("a"), "envelope r -;0 text a;"},
        {AROUND("x\",\"content\":\"y"), "envelope r -;0 text y;"},
        {AROUND("x\",\"content\":\"z"), "envelope r -;0 text z;"},
        {AROUND("a\\"), "! ',' or '}' expected"},
        {AROUND("a\n"), "! unescaped control character in a string"},
        {AROUND("a"), "envelope r -;0 text a;"},
        {CALL("\"index\":1", "a"), "envelope r -;0 tool 1 - - a;"},
        {CALL("\"index\":1", "{\\\"b\\\""), "envelope r -;0 tool 1 - - {\"b\";"},
        {CALL("\"index\":1", "\\ud83d"), "envelope r -;0 tool 1 - - \xED\xA0\xBD;"},
        {CALL("\"index\":1", ""), "envelope r -;0 choice;"},
        {CALL("\"index\":1", "a\",\"name\":\"f"), "envelope r -;0 tool 1 - f a;"},
        {CALL("\"index\":1", "b\",\"name\":\"f"), "envelope r -;0 tool 1 - f b;"},
        {CALL("\"index\":2", "a"), "envelope r -;0 tool 2 - - a;"},
        {CALL("\"id\":\"x\"", "a"), "envelope r -;0 tool -1 x - a;"},
        {CALL("\"id\":\"x\"", "bc"), "envelope r -;0 tool -1 x - bc;"},
        {CALL("\"id\":\"\\u0078\"", "a"), "envelope r -;0 tool -1 x - a;"},
        {CALL("\"id\":\"\\u0078\"", "bc"), "envelope r -;0 tool -1 x - bc;"},
        {CALL("\"x\":1", "a"), "envelope r -;0 tool -1 - - a of {\"x\":1,\"function\":{\"arguments\":\"a\"}};"},
        {CALL("\"x\":1", "bc"), "envelope r -;0 tool -1 - - bc of {\"x\":1,\"function\":{\"arguments\":\"bc\"}};"},
        {CALL("\"id\":\"x\"", "a\"}},{\"function\":{\"arguments\":\"b"), "envelope r -;0 tool -1 x - a;0 tool -1 - - b;"},
        {CALL("\"id\":\"x\"", "c\"}},{\"function\":{\"arguments\":\"d"), "envelope r -;0 tool -1 x - c;0 tool -1 - - d;"},
        {AROUND("a\"},\"message\":{\"content\":\"b"), "envelope r -;0 text a;"},
        {AROUND("c\"},\"message\":{\"content\":\"d"), "envelope r -;0 text c;"},
        {AROUND("a\"},\"message\":{\"content\":\"e"), "envelope r -;0 text a;"},
        {AROUND("a"), "envelope r -;0 text a;"},
    };
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_chunk *chunk = new_chunk(&memory, &alloc);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        expect(chunk, &lines[i]);
    }
    size_t settled = memory.live;
    memory.left = 0; /* from here on there is no memory, and none is needed */
    for (int i = 0; i < 100; i++) {
        expect(chunk, &lines[i % 2]);
        expect(chunk, &lines[i % 2 + 13]);
    }
    CHECK(memory.live == settled);
    vllm_chunk_free(chunk);
    CHECK(memory.live == 0);
}

/* Extras do not come in the way of speculation, and a chunk that has the same ones as the last need not tell. */
static void test_extras(void) {
#define WITH(text, value) "{\"f\":" value ",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}],\"g\":null}"
    static const struct chunk_case lines[] = {
        {WITH("a", "\"x\""), "0 text a;extra f \"x\";"},
        {WITH("b", "\"x\""), "0 text b;"},
        {WITH("c", "\"y\""), "0 text c;extra f \"y\";"},
        {WITH("d", "\"x\""), "0 text d;extra f \"x\";"},
        {WITH("e", "\"x\""), "0 text e;"},
        {WITH("", "\"x\""), "0 choice;extra f \"x\";"},
        {WITH("g", "null"), "0 text g;"},
    };
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_chunk *chunk = new_chunk(&memory, &alloc);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        expect(chunk, &lines[i]);
    }
    vllm_chunk_free(chunk);
    CHECK(memory.live == 0);
}

static void test_event_type(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_chunk *chunk = new_chunk(&memory, &alloc);
    char out[MAX_OUT];
    CHECK(read_copy(chunk, "{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "error", out) == VLLM_OK);
    CHECK(strncmp(out, "0 text a;error {", 16) == 0);
    CHECK(read_copy(chunk, "upstream died", "error", out) == VLLM_OK);
    CHECK(strcmp(out, "error upstream died;") == 0);
    CHECK(read_copy(chunk, "{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "message", out) == VLLM_OK);
    CHECK(strcmp(out, "0 text a;") == 0);
    vllm_chunk_free(chunk);
}

static void test_limits(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_chunk_limits limits = {8, 4, 8};
    struct vllm_chunk *chunk = vllm_chunk_new(&alloc, &limits);
    char out[MAX_OUT];
    CHECK(read_copy(chunk, "{\"choices\":[{},{},{},{}]}", "", out) == VLLM_ELIMIT);
    CHECK(strcmp(out, "! a chunk has too many parts") == 0);
    CHECK(read_copy(chunk, "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\"},{\"id\":\"a\"},{\"id\":\"a\"},{\"id\":\"a\"},{\"id\":\"a\"}]}}]}", "",
                    out) == VLLM_ELIMIT);
    CHECK(read_copy(chunk, "{\"choices\":[{\"delta\":{\"content\":[1,2,3,4,5]}}]}", "", out) == VLLM_ELIMIT);
    CHECK(strcmp(out, "! a chunk has too many parts") == 0);
    CHECK(read_copy(chunk, "{\"choices\":[{\"delta\":{\"content\":\"\\n23456789\"}}]}", "", out) == VLLM_ELIMIT);
    CHECK(strstr(out, "max_event_bytes") != NULL);
    CHECK(read_copy(chunk, "{\"choices\":[{\"delta\":{\"content\":\"\\n2345678\"}}]}", "", out) == VLLM_OK);
    vllm_chunk_free(chunk);
    CHECK(memory.live == 0);
}

static void test_failing_memory(void) {
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        enum vllm_status status = VLLM_ENOMEM;
        for (long left = 0; status == VLLM_ENOMEM && left < 100; left++) {
            struct check_memory memory;
            struct vllm_alloc alloc = check_alloc(&memory);
            char out[MAX_OUT];
            memory.left = left;
            struct vllm_chunk *chunk = new_chunk(&memory, &alloc);
            status = chunk ? read_copy(chunk, CASES[i].json, "", out) : VLLM_ENOMEM;
            vllm_chunk_free(chunk);
            CHECK(memory.live == 0);
        }
        CHECK(status != VLLM_ENOMEM);
    }
}

static enum vllm_key key_of(const char *json) {
    struct vllm_json j;
    struct vllm_json_string name;
    vllm_json_init(&j, json, strlen(json), 1);
    return vllm_json_string(&j, &name) ? vllm_key_of(&name) : VLLM_KEY_COUNT;
}

/* Each name is found, and only as it is written; with an escape, too. */
static void test_keys(void) {
#define CHECK_KEY(key, text, n) \
    CHECK(key_of("\"" text "\"") == VLLM_KEY_##key); \
    CHECK(key_of("\"" text "\\u0061\"") == VLLM_KEY_OTHER); \
    CHECK(key_of("\"" text "_and_what_is_no_longer_a_key\"") == VLLM_KEY_OTHER);
    VLLM_KEYS(CHECK_KEY, 0)
    CHECK(key_of("\"\"") == VLLM_KEY_OTHER);
    CHECK(key_of("\"i\\u0064\"") == VLLM_KEY_ID);
}

int main(void) {
    test_cases();
    test_keys();
    test_speculation();
    test_extras();
    test_event_type();
    test_limits();
    test_failing_memory();
    return check_report("chunk");
}
