/* Every recorded event stream, cut in two at every offset: the events and the state must be those of the stream fed
 * whole. (That those are right is spec/replay_spec.lua's business.) Streams of LIMIT_BYTES or more are cut at LONG_CUTS
 * offsets; where every step is slow (valgrind), REPLAY_CUTS in the environment says how many offsets are enough for any
 * stream. */
#define _POSIX_C_SOURCE 200809L

#include <dirent.h>

#include "../../src/core/decoder.h"
#include "recorded.h"

#define LIMIT_BYTES 8192
#define LONG_CUTS   1000
#define MAX_TRACE   (1024 * 1024)

struct trace {
    char *bytes; /* MAX_TRACE */
    size_t len;
};

static void put(struct trace *trace, const void *bytes, size_t len) {
    bool fits = len <= MAX_TRACE - trace->len;
    if (!fits) {
        CHECK(fits);
    } else if (len > 0) {
        memcpy(trace->bytes + trace->len, bytes, len);
        trace->len += len;
    }
}

static void put_number(struct trace *trace, int64_t number) {
    put(trace, &number, sizeof number);
}

static void put_slice(struct trace *trace, struct vllm_slice slice) {
    put_number(trace, slice.ptr ? (int64_t)slice.len : -1);
    put(trace, slice.ptr, slice.ptr ? slice.len : 0);
}

static void put_event(struct trace *trace, const struct vllm_event *event) {
    const struct vllm_slice slices[] = {event->part, event->id, event->name, event->model, event->text, event->raw, event->token_ids};
    put_number(trace, (int64_t)event->type);
    put_number(trace, event->choice);
    put_number(trace, event->invalid != NULL);
    for (size_t i = 0; i < sizeof slices / sizeof slices[0]; i++) {
        put_slice(trace, slices[i]);
    }
    if (event->type == VLLM_EVENT_USAGE) {
        put_slice(trace, event->usage.raw);
        put_number(trace, event->usage.completion_tokens);
    }
}

static void put_state(struct trace *trace, const struct vllm_decoder *decoder) {
    struct vllm_decoder_state state;
    vllm_decoder_state(decoder, &state);
    put_number(trace, state.complete * 2 + state.done);
    for (size_t i = 0; i < state.choice_count; i++) {
        struct vllm_decoder_choice choice;
        vllm_decoder_choice(decoder, i, &choice);
        const struct vllm_slice slices[] = {choice.text,  choice.reasoning, choice.refusal,  choice.finish_reason, choice.stop_reason,
                                            choice.media, choice.logprobs,  choice.token_ids};
        put_number(trace, choice.choice);
        for (size_t k = 0; k < sizeof slices / sizeof slices[0]; k++) {
            put_slice(trace, slices[k]);
        }
        for (size_t k = 0; k < choice.call_count; k++) {
            struct vllm_decoder_call call;
            vllm_decoder_call(decoder, i, k, &call);
            put_slice(trace, call.id);
            put_slice(trace, call.name);
            put_slice(trace, call.arguments);
            put_number(trace, call.invalid != NULL);
        }
    }
}

static enum vllm_status drain(struct vllm_decoder *decoder, struct trace *trace) {
    struct vllm_event event;
    enum vllm_status status;
    while ((status = vllm_decoder_next(decoder, &event)) == VLLM_OK) {
        put_event(trace, &event);
    }
    return status;
}

static void run(const char *body, size_t len, size_t cut, struct trace *trace) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_decoder_options options;
    vllm_decoder_options_default(&options);
    struct vllm_decoder *decoder = vllm_decoder_new(&alloc, &options);
    trace->len = 0;
    enum vllm_status status = vllm_decoder_feed(decoder, body, cut);
    CHECK(status == VLLM_OK);
    status = drain(decoder, trace);
    if (status == VLLM_MORE || status == VLLM_END) { /* else the error sticks */
        CHECK(vllm_decoder_feed(decoder, body + cut, len - cut) == VLLM_OK);
        status = drain(decoder, trace);
    }
    if (status == VLLM_MORE) {
        CHECK(vllm_decoder_finish(decoder) == VLLM_OK);
        status = drain(decoder, trace);
    }
    put_number(trace, (int64_t)status);
    put_slice(trace, vllm_decoder_evidence(decoder));
    put_state(trace, decoder);
    vllm_decoder_free(decoder);
    CHECK(memory.live == 0);
}

static void check_stream(const char *name, const char *body, size_t len, struct trace *whole, struct trace *cut) {
    const char *few = getenv("REPLAY_CUTS");
    size_t cuts = few ? (size_t)strtoul(few, NULL, 10) : LONG_CUTS;
    size_t step = (len < LIMIT_BYTES && !few) || cuts == 0 ? 1 : len / cuts + 1;
    run(body, len, len, whole);
    for (size_t at = 0; at < len; at += step) {
        run(body, len, at, cut);
        bool same = cut->len == whole->len && memcmp(cut->bytes, whole->bytes, whole->len) == 0;
        if (!same) {
            printf("%s: other events when cut at %lu\n", name, (unsigned long)at);
        }
        CHECK(same);
    }
}

static unsigned check_file(const char *path, char *text, struct trace *whole, struct trace *cut) {
    size_t len;
    bool is_stream = false;
    char *body = recorded_read(path, text, &len) ? recorded_body(text, &len, &is_stream) : NULL;
    if (body && is_stream) {
        check_stream(path, body, len, whole, cut);
    }
    return is_stream;
}

static unsigned check_folder(const char *folder, char *text, struct trace *whole, struct trace *cut) {
    char path[512];
    unsigned streams = 0;
    DIR *dir = opendir(folder);
    CHECK(dir != NULL);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot && strcmp(dot, ".http") == 0) {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            streams += check_file(path, text, whole, cut);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return streams;
}

int main(void) {
    struct trace whole = {malloc(MAX_TRACE), 0}, cut = {malloc(MAX_TRACE), 0};
    char *text = malloc(RECORDED_MAX);
    if (!whole.bytes || !cut.bytes || !text) {
        return 1;
    }
    unsigned streams = check_folder("spec/fixtures/vllm", text, &whole, &cut);
    streams += check_folder("spec/fixtures/llama-server", text, &whole, &cut);
    CHECK(streams > 60);
    printf("replay: %u recorded streams\n", streams);
    free(whole.bytes);
    free(cut.bytes);
    free(text);
    return check_report("replay");
}
