/* Which call does a fragment belong to? Each case lists fragments and the calls they must become. */
#include "../../src/core/calls.h"

#include "check.h"

#define MAX_FRAGMENTS 6

struct fragment {
    int index; /* -1: absent */
    const char *id, *name, *arguments;
};

struct call_case {
    const char *title;
    struct fragment fragments[MAX_FRAGMENTS]; /* ends where all three texts are NULL */
    const char *expected;                     /* id name arguments; … */
};

static const struct vllm_buf NONE_TAKEN;

static const struct call_case CASES[] = {
    {"one call in pieces", {{0, "a", "f", NULL}, {0, NULL, NULL, "{\"x\""}, {0, NULL, NULL, ":1}"}}, "a f {\"x\":1};"},
    {"interleaved", {{0, "a", "f", "{"}, {1, "b", "g", "{"}, {0, NULL, NULL, "}"}, {1, NULL, NULL, "}"}}, "a f {};b g {};"},
    {"every call has index 0, with ids", {{0, "a", "f", "{}"}, {0, "b", "f", "{}"}, {0, NULL, NULL, " "}}, "a f {};b f {} ;"},
    {"every call has index 0, no ids, whole arguments", {{0, NULL, "f", "{}"}, {0, NULL, "g", "[1]"}, {0, NULL, "g", "{}"}},
     "- f {};- g [1];- g {};"},
    {"no index, with ids", {{-1, "a", "f", "{"}, {-1, NULL, NULL, "}"}, {-1, "b", "g", "{}"}}, "a f {};b g {};"},
    {"no index, no ids", {{-1, NULL, "f", "{\"a\":"}, {-1, NULL, NULL, "\"}\"}"}, {-1, NULL, "g", "{}"}}, "- f {\"a\":\"}\"};- g {};"},
    {"sparse indexes, out of order", {{7, "a", "f", "{"}, {3, "b", "g", "{"}, {7, NULL, NULL, "}"}}, "a f {};b g {;"},
    {"the id is repeated in every fragment", {{0, "a", "f", "{"}, {0, "a", NULL, "1"}, {0, "a", NULL, "}"}}, "a f {1};"},
    {"one id under several indexes", {{0, "a", "f", "{"}, {1, "a", NULL, "1"}, {2, "a", NULL, "}"}}, "a f {1};"},
    {"the name is repeated in every fragment", {{0, "a", "f", NULL}, {0, NULL, "f", "{"}, {0, NULL, "f", "}"}}, "a f {};"},
    {"the name is repeated after the arguments", {{0, NULL, "f", "{}"}, {0, NULL, "f", NULL}, {0, NULL, "f", " "}}, "- f {} ;"},
    {"the same tool twice, no ids", {{0, NULL, "f", "{}"}, {0, NULL, "f", "{}"}}, "- f {};- f {};"},
    {"a name in pieces", {{0, "a", "get_", NULL}, {0, NULL, "weather", NULL}, {0, NULL, NULL, "{}"}}, "a get_weather {};"},
    {"another name within the arguments is passed over", {{0, "a", "f", "{"}, {0, NULL, "g", "}"}}, "a f {};"},
    {"the id comes late", {{0, NULL, "f", NULL}, {0, "a", NULL, "{}"}}, "a f {};"},
    {"the name comes late", {{0, "a", NULL, NULL}, {0, NULL, NULL, "{"}, {0, NULL, "f", "}"}}, "a f {};"},
    {"a late id that belongs to another call", {{0, NULL, "f", "{}"}, {0, "b", "g", "{}"}}, "- f {};b g {};"},
    {"an index that comes late", {{-1, "a", "f", NULL}, {0, NULL, NULL, "{"}, {0, NULL, NULL, "}"}}, "a f {};"},
    {"arguments first", {{1, NULL, NULL, "{"}, {1, "a", "f", "}"}}, "a f {};"},
    {"neither id nor index goes to the latest, not the newest", {{0, "a", "f", "{"}, {1, "b", "g", "{}"}, {0, NULL, NULL, "1"}, {-1, NULL, NULL, "}"}},
     "a f {1};b g {};"},
    {"a brace in a string ends nothing", {{0, NULL, "f", "{\"a\":\"\\\"}"}, {0, NULL, "g", "\"}"}}, "- f {\"a\":\"\\\"}\"};"},
    {"a backslash before the end of a string", {{0, NULL, "f", "{\"a\":\"\\\\\"}"}, {0, NULL, "g", "{}"}}, "- f {\"a\":\"\\\\\"};- g {};"},
    {"two fragments of one index at once", {{0, "a", "f", "{"}, {0, NULL, NULL, "}"}, {0, "b", "g", "{}"}}, "a f {};b g {};"},
    {"an id of its own in every fragment", {{0, "a", "f", ""}, {0, "b", NULL, "{\"x\""}, {0, "c", NULL, ":1}"}}, "a f {\"x\":1};"},
    {"an id of its own in every fragment, no index", {{-1, "a", "f", ""}, {-1, "b", NULL, "{"}, {-1, "c", NULL, "}"}}, "a f {};"},
    {"an id and the name in every fragment", {{0, "a", "f", "{\"x\""}, {0, "b", "f", ":1}"}}, "a f {\"x\":1};"},
    {"an index and another id that come late", {{-1, "a", "f", NULL}, {0, "b", NULL, "{}"}}, "a f {};"},
    {"a new id after complete arguments", {{0, "a", "f", "{}"}, {0, "b", NULL, "{1}"}, {0, "b", "g", NULL}}, "a f {};b g {1};"},
    {"no index, and a new id before its name", {{-1, "a", "f", "{}"}, {-1, "b", NULL, NULL}, {-1, NULL, "g", "{}"}}, "a f {};b g {};"},
    {"one id under two indexes with names of their own", {{0, "x", "f", ""}, {1, "x", "g", ""}, {0, "x", NULL, "{}"}, {1, "x", NULL, "[]"}},
     "x f {};x g [];"},
    {"one id and one index for two names", {{0, "x", "f", ""}, {0, "x", "g", "{}"}}, "x f ;x g {};"},
    {"one id for every call, whole arguments", {{0, "x", "f", "{1}"}, {0, "x", "f", "{2}"}, {1, "x", "f", "{3}"}}, "x f {1};x f {2};x f {3};"},
    {"a late id with another name", {{0, NULL, "f", NULL}, {0, "a", "g", "{}"}}, "- f ;a g {};"},
    {"whole arguments twice", {{0, "a", "f", "{}"}, {0, "a", "f", "{}"}, {1, "a", "f", "{}"}, {1, NULL, NULL, "{}"}}, "a f {};"},
    {"whole arguments twice, in pieces", {{0, "a", "f", "{\"x\":"}, {0, NULL, NULL, "1}"}, {0, NULL, NULL, "{\"x"}, {0, NULL, NULL, "\":1}"}},
     "a f {\"x\":1};"},
    {"the name alone under another index, then other arguments",
     {{0, "x", "f", "{\"x\":1}"}, {1, "x", "f", ""}, {1, NULL, NULL, "{\"x\""}, {1, NULL, NULL, ":2}"}}, "x f {\"x\":1};x f {\"x\":2};"},
    {"the name alone under another index, then the same arguments",
     {{0, "x", "f", "{1}"}, {1, "x", "f", ""}, {1, NULL, NULL, "{"}, {1, NULL, NULL, "1}"}}, "x f {1};"},
    {"whole arguments twice, the second time under another id", {{0, "a", "f", "{}"}, {0, "b", NULL, "{}"}}, "a f {};"},
    {"an empty id and name are nothing", {{0, "a", "f", "{"}, {0, "", "", "}"}}, "a f {};"},
};

static struct vllm_slice slice(const char *text) {
    struct vllm_slice out = {text, text ? strlen(text) : 0};
    return out;
}

static enum vllm_status take(struct vllm_calls *calls, const struct fragment *fragment) {
    struct vllm_delta delta;
    size_t place;
    bool is_new, news;
    size_t before = calls->count;
    memset(&delta, 0, sizeof delta);
    delta.kind = VLLM_DELTA_TOOL;
    delta.index = fragment->index;
    delta.id = slice(fragment->id);
    delta.name = slice(fragment->name);
    delta.text = slice(fragment->arguments);
    enum vllm_status status = vllm_calls_route(calls, &delta, &place, &is_new);
    if (status != VLLM_OK) {
        return status;
    }
    CHECK(place < calls->count);
    CHECK(is_new == (calls->count == before + 1));
    status = vllm_call_name(calls, &calls->items[place], &delta, &news);
    bool again = delta.text.len > 0 && vllm_call_repeats(&calls->items[place], delta.text);
    return status == VLLM_OK && !again ? vllm_buf_append(&calls->items[place].arguments, delta.text.ptr, delta.text.len) : status;
}

static void render(const struct vllm_calls *calls, char *out, size_t size) {
    out[0] = '\0';
    for (size_t i = 0; i < calls->count; i++) {
        const struct vllm_call *call = &calls->items[i];
        size_t used = strlen(out);
        struct vllm_slice id = vllm_call_id(call);
        snprintf(out + used, size - used, "%.*s %.*s %.*s;", id.ptr ? (int)id.len : 1, id.ptr ? id.ptr : "-", (int)call->name.len,
                 call->name.len ? call->name.data : "", (int)call->arguments.len, call->arguments.len ? call->arguments.data : "");
    }
}

static enum vllm_status take_all(struct vllm_calls *calls, const struct call_case *c) {
    enum vllm_status status = VLLM_OK;
    for (size_t i = 0; i < MAX_FRAGMENTS && status == VLLM_OK; i++) {
        const struct fragment *fragment = &c->fragments[i];
        if (!fragment->id && !fragment->name && !fragment->arguments) {
            break;
        }
        status = take(calls, fragment);
    }
    return status;
}

static void test_case(const struct call_case *c) {
    for (long left = -1;; left++) { /* first with all memory, then with ever more */
        struct check_memory memory;
        struct vllm_alloc alloc = check_alloc(&memory);
        struct vllm_calls calls;
        char got[512];
        memory.left = left;
        vllm_calls_init(&calls, &alloc, 16, 4096, &NONE_TAKEN);
        enum vllm_status status = take_all(&calls, c);
        render(&calls, got, sizeof got);
        vllm_calls_free(&calls);
        CHECK(memory.live == 0);
        CHECK(status == VLLM_OK || (left >= 0 && status == VLLM_ENOMEM));
        if (status == VLLM_OK && strcmp(got, c->expected) != 0) {
            printf("%s: got %s, expected %s\n", c->title, got, c->expected);
        }
        CHECK(status != VLLM_OK || strcmp(got, c->expected) == 0);
        if (left >= 0 && status == VLLM_OK) {
            return;
        }
    }
}

static void test_bound(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_calls calls;
    struct fragment fragment = {0, NULL, "f", "{}"};
    vllm_calls_init(&calls, &alloc, 3, 4096, &NONE_TAKEN);
    for (int i = 0; i < 3; i++) {
        fragment.index = i;
        CHECK(take(&calls, &fragment) == VLLM_OK);
    }
    fragment.index = 3;
    CHECK(take(&calls, &fragment) == VLLM_ELIMIT);
    CHECK(calls.count == 3);
    vllm_calls_free(&calls);
    vllm_calls_free(&calls);
    CHECK(memory.live == 0);
}

/* In a whole message the index is the place, and ids decide nothing. */
static void test_whole(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_calls calls;
    struct vllm_delta delta;
    size_t place;
    bool is_new;
    vllm_calls_init(&calls, &alloc, 4, 4096, &NONE_TAKEN);
    memset(&delta, 0, sizeof delta);
    delta.whole = true;
    delta.id = slice("same");
    for (int i = 0; i < 2; i++) {
        delta.index = i;
        CHECK(vllm_calls_route(&calls, &delta, &place, &is_new) == VLLM_OK);
        CHECK(is_new && place == (size_t)i);
    }
    delta.index = 0;
    CHECK(vllm_calls_route(&calls, &delta, &place, &is_new) == VLLM_OK);
    CHECK(!is_new && place == 0);
    vllm_calls_free(&calls);
}

int main(void) {
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        test_case(&CASES[i]);
    }
    test_bound();
    test_whole();
    return check_report("calls");
}
