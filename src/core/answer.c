/* Deltas → the answer, as far as it has come.
 * Bounds: choices, calls of a choice, extras, and max_message_bytes for all texts, arguments, names, token data and
 * extras together. Texts grow by doubling and are never copied out; a choice never moves once it was made. Nothing is
 * judged before its choice is over. */
#include "answer.h"

#include <string.h>

#include "halves.h"

#define TOO_LARGE "the answer exceeds max_message_bytes"

static void init_choice(struct vllm_answer *answer, struct vllm_choice *choice, int64_t number) {
    size_t max = answer->store.max;
    memset(choice, 0, sizeof *choice);
    choice->number = number;
    for (size_t i = 0; i < VLLM_TEXT_KINDS; i++) {
        vllm_buf_init(&choice->texts[i], &answer->store.alloc, max);
    }
    vllm_buf_init(&choice->media, &answer->store.alloc, max);
    vllm_buf_init(&choice->logprobs, &answer->store.alloc, max);
    vllm_buf_init(&choice->token_ids, &answer->store.alloc, max);
    vllm_buf_init(&choice->finish_reason, &answer->store.alloc, max);
    vllm_buf_init(&choice->stop_reason, &answer->store.alloc, max);
    vllm_calls_init(&choice->calls, &answer->store.alloc, answer->limits.max_tool_calls, max, &answer->taken_ids);
}

static void free_choice(struct vllm_answer *answer, struct vllm_choice *choice) {
    for (size_t i = 0; i < VLLM_TEXT_KINDS; i++) {
        vllm_buf_free(&choice->texts[i]);
    }
    vllm_buf_free(&choice->media);
    vllm_buf_free(&choice->logprobs);
    vllm_buf_free(&choice->token_ids);
    vllm_buf_free(&choice->finish_reason);
    vllm_buf_free(&choice->stop_reason);
    vllm_calls_free(&choice->calls);
    vllm_extras_free(&choice->extras, &answer->store.alloc);
    vllm_extras_free(&choice->message_extras, &answer->store.alloc);
    answer->store.alloc.fn(answer->store.alloc.ud, choice, sizeof *choice, 0);
}

enum vllm_status vllm_answer_init(struct vllm_answer *answer, const struct vllm_alloc *alloc,
                                  const struct vllm_answer_limits *limits, struct vllm_slice taken_ids) {
    memset(answer, 0, sizeof *answer);
    answer->store.alloc = *alloc;
    answer->store.max = limits->max_message_bytes;
    answer->limits = *limits;
    vllm_buf_init(&answer->id, &answer->store.alloc, limits->max_message_bytes);
    vllm_buf_init(&answer->model, &answer->store.alloc, limits->max_message_bytes);
    vllm_buf_init(&answer->usage, &answer->store.alloc, VLLM_BUF_MAX);
    vllm_buf_init(&answer->taken_ids, &answer->store.alloc, taken_ids.len);
    return vllm_buf_append(&answer->taken_ids, taken_ids.ptr, taken_ids.len);
}

void vllm_answer_free(struct vllm_answer *answer) {
    for (size_t i = 0; i < answer->count; i++) {
        free_choice(answer, answer->choices[i]);
    }
    vllm_list_free(&answer->store.alloc, answer->choices, answer->cap, sizeof *answer->choices);
    vllm_buf_free(&answer->id);
    vllm_buf_free(&answer->model);
    vllm_buf_free(&answer->usage);
    vllm_buf_free(&answer->taken_ids);
    vllm_extras_free(&answer->extras, &answer->store.alloc);
}

static enum vllm_status fail(struct vllm_answer *answer, enum vllm_status status, const char *limit) {
    return vllm_store_fail(&answer->store, status, limit);
}

static enum vllm_status keep(struct vllm_answer *answer, struct vllm_buf *buf, struct vllm_slice text) {
    return vllm_store_keep(&answer->store, buf, text);
}

static enum vllm_status keep_first(struct vllm_answer *answer, struct vllm_buf *buf, struct vllm_slice text) {
    return buf->len > 0 || text.len == 0 ? VLLM_OK : keep(answer, buf, text);
}

enum vllm_status vllm_answer_envelope(struct vllm_answer *answer, const struct vllm_delta *delta) {
    enum vllm_status status = keep_first(answer, &answer->id, delta->id);
    return status == VLLM_OK ? keep_first(answer, &answer->model, delta->model) : status;
}

enum vllm_status vllm_answer_usage(struct vllm_answer *answer, struct vllm_slice raw) {
    vllm_buf_clear(&answer->usage);
    return fail(answer, vllm_buf_append(&answer->usage, raw.ptr, raw.len), TOO_LARGE);
}

static enum vllm_status read_extras(struct vllm_answer *answer, struct vllm_extras *extras, struct vllm_slice object,
                                    enum vllm_level level, bool joins) {
    return vllm_extras_read(extras, &answer->store, object, level, joins, answer->limits.max_depth);
}

enum vllm_status vllm_answer_extra(struct vllm_answer *answer, const struct vllm_delta *delta) {
    struct vllm_choice *choice;
    if (delta->kind == VLLM_DELTA_EXTRA) {
        return vllm_extras_put(&answer->extras, &answer->store, delta->name, delta->raw);
    }
    enum vllm_status status = vllm_answer_choice(answer, delta->choice, &choice);
    if (status != VLLM_OK) {
        return status;
    }
    if (delta->kind == VLLM_DELTA_CHOICE_MEMBERS) {
        return read_extras(answer, &choice->extras, delta->raw, VLLM_LEVEL_CHOICE, false);
    }
    return read_extras(answer, &choice->message_extras, delta->raw, VLLM_LEVEL_MESSAGE, !delta->whole);
}

/* Choices ---------------------------------------------------------------------------------------------------------- */

/* The first place whose choice is not below `number`. */
static size_t place_of(const struct vllm_answer *answer, int64_t number) {
    size_t low = 0, high = answer->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (answer->choices[middle]->number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

enum vllm_status vllm_answer_choice(struct vllm_answer *answer, int64_t number, struct vllm_choice **out) {
    size_t place = place_of(answer, number);
    if (place < answer->count && answer->choices[place]->number == number) {
        *out = answer->choices[place];
        return VLLM_OK;
    }
    if (answer->count >= answer->limits.max_choices) {
        return fail(answer, VLLM_ELIMIT, "the answer has more choices than max_choices");
    }
    const struct vllm_alloc *alloc = &answer->store.alloc;
    struct vllm_choice **choices = vllm_list_room(alloc, answer->choices, answer->count, &answer->cap, sizeof *choices);
    if (!choices) {
        return fail(answer, VLLM_ENOMEM, NULL);
    }
    answer->choices = choices;
    struct vllm_choice *choice = alloc->fn(alloc->ud, NULL, 0, sizeof *choice);
    if (!choice) {
        return fail(answer, VLLM_ENOMEM, NULL);
    }
    init_choice(answer, choice, number);
    memmove(answer->choices + place + 1, answer->choices + place, (answer->count - place) * sizeof *answer->choices);
    answer->choices[place] = choice;
    answer->count++;
    *out = choice;
    return VLLM_OK;
}

static enum vllm_status add_fragment(struct vllm_answer *answer, struct vllm_buf *buf, uint32_t *half,
                                     struct vllm_slice text) {
    enum vllm_status status = vllm_store_spend(&answer->store, text.len);
    return status == VLLM_OK ? fail(answer, vllm_halves_append(buf, half, text), TOO_LARGE) : status;
}

enum vllm_status vllm_answer_text(struct vllm_answer *answer, struct vllm_choice *choice, enum vllm_part_kind kind,
                                  struct vllm_slice text) {
    return add_fragment(answer, &choice->texts[kind], &choice->half, text);
}

/* Appends `items` (values and the commas between them) to the array in `buf`: all or nothing, so that it stays
 * readable. */
static enum vllm_status add_items(struct vllm_answer *answer, struct vllm_buf *buf, struct vllm_slice items) {
    enum vllm_status status = vllm_store_spend(&answer->store, items.len);
    if (status == VLLM_OK) {
        status = fail(answer, items.len > SIZE_MAX - 2 ? VLLM_ENOMEM : vllm_buf_reserve(buf, items.len + 2), TOO_LARGE);
    }
    if (status == VLLM_OK) {
        char *p = buf->data + (buf->len > 0 ? buf->len - 1 : 0);
        *p++ = buf->len > 0 ? ',' : '[';
        memcpy(p, items.ptr, items.len);
        p[items.len] = ']';
        buf->len = (size_t)(p + items.len + 1 - buf->data);
    }
    return status;
}

/* The inside of an array; nothing for an empty one and for every other value. */
static struct vllm_slice items_of(struct vllm_slice raw) {
    struct vllm_slice none = {NULL, 0};
    struct vllm_json j;
    vllm_json_init(&j, raw.ptr, raw.len, VLLM_JSON_MAX_DEPTH);
    if (vllm_json_peek(&j) != VLLM_JSON_ARRAY || !vllm_json_enter(&j) || !vllm_json_element(&j)) {
        return none;
    }
    struct vllm_slice items = {raw.ptr + 1, raw.len - 2};
    return items;
}

enum vllm_status vllm_answer_media(struct vllm_answer *answer, struct vllm_choice *choice, struct vllm_slice raw) {
    return add_items(answer, &choice->media, raw);
}

enum vllm_status vllm_answer_tokens(struct vllm_answer *answer, struct vllm_choice *choice,
                                    const struct vllm_delta *delta) {
    struct vllm_slice logprobs = items_of(delta->text);
    struct vllm_slice token_ids = items_of(delta->token_ids);
    enum vllm_status status = logprobs.ptr ? add_items(answer, &choice->logprobs, logprobs) : VLLM_OK;
    return status == VLLM_OK && token_ids.ptr ? add_items(answer, &choice->token_ids, token_ids) : status;
}

enum vllm_status vllm_answer_finish(struct vllm_answer *answer, struct vllm_choice *choice,
                                    const struct vllm_delta *delta) {
    enum vllm_status status = keep_first(answer, &choice->finish_reason, delta->text);
    choice->finished = choice->finished || status == VLLM_OK;
    return status == VLLM_OK ? keep_first(answer, &choice->stop_reason, delta->raw) : status;
}

/* Calls ------------------------------------------------------------------------------------------------------------ */

struct vllm_slice vllm_answer_news(const struct vllm_buf *text, size_t at, struct vllm_slice whole) {
    size_t there = at < text->len ? text->len - at : 0;
    size_t shared = there < whole.len ? there : whole.len;
    if (shared > 0 && memcmp(text->data + at, whole.ptr, shared) == 0) {
        whole.ptr += shared;
        whole.len -= shared;
    }
    return whole;
}

static uint64_t hash(uint64_t value, const struct vllm_buf *text) {
    for (size_t i = 0; i < text->len; i++) {
        value = (value ^ (unsigned char)text->data[i]) * UINT64_C(0x100000001B3); /* FNV-1a */
    }
    return value;
}

static void write_id(char out[VLLM_MADE_ID], uint64_t value) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < VLLM_MADE_ID; i++) {
        out[i] = digits[value % 62];
        value /= 62;
    }
}

/* Nine letters and digits, the one form that every server accepts. The same answer after the same transcript gives the
 * same ids: what tells them apart is what the call says, where the id of the answer is absent or always the same, and
 * then the number of the try. Within 2^53 the steps can be undone, so no two tries give the same, and one of them is
 * free. (A call whose id is taken gets its own at once.) */
static void find_id(const struct vllm_answer *answer, const struct vllm_choice *choice, size_t place,
                    char out[VLLM_MADE_ID]) {
    const uint64_t mask = (UINT64_C(1) << 53) - 1;
    const struct vllm_call *call = &choice->calls.items[place];
    uint64_t seed = hash(hash(UINT64_C(0xCBF29CE484222325), &answer->id), &call->id);
    if (!call->id_is_taken) {
        seed = hash(hash(seed, &call->name), &call->arguments);
    }
    struct vllm_slice made = {out, VLLM_MADE_ID};
    uint64_t next = ((uint64_t)choice->number << 26 ^ (uint64_t)place) & mask;
    do {
        uint64_t value = next++ & mask;
        for (int i = 0; i < 3; i++) {
            value = (value * UINT64_C(0x9E3779B97F4A7C15) + (seed >> 11)) & mask;
            value ^= value >> 27;
        }
        write_id(out, value);
    } while (vllm_calls_have_id(&choice->calls, call, made));
}

static void make_id(const struct vllm_answer *answer, const struct vllm_choice *choice, size_t place) {
    char id[VLLM_MADE_ID];
    find_id(answer, choice, place, id);
    memcpy(choice->calls.items[place].made_id, id, sizeof id);
}

struct vllm_slice vllm_answer_call_id(const struct vllm_answer *answer, const struct vllm_choice *choice, size_t place,
                                      char made[VLLM_MADE_ID]) {
    struct vllm_slice id = vllm_call_id(&choice->calls.items[place]);
    if (!id.ptr) {
        find_id(answer, choice, place, made);
        id.ptr = made;
        id.len = VLLM_MADE_ID;
    }
    return id;
}

/* What looked like a repetition of the arguments, but was not. */
static enum vllm_status take_back(struct vllm_answer *answer, struct vllm_call *call) {
    size_t len = call->again;
    call->again = 0;
    enum vllm_status status = vllm_store_spend(&answer->store, len);
    if (status == VLLM_OK) {
        status = fail(answer, vllm_buf_reserve(&call->arguments, len), TOO_LARGE); /* so that appending moves nothing */
    }
    return status == VLLM_OK ? fail(answer, vllm_buf_append(&call->arguments, call->arguments.data, len), TOO_LARGE)
                             : status;
}

enum vllm_status vllm_answer_call(struct vllm_answer *answer, struct vllm_choice *choice,
                                  const struct vllm_delta *fragment, struct vllm_call_change *change) {
    enum vllm_status status = vllm_calls_route(&choice->calls, fragment, &change->place, &change->is_new);
    if (status != VLLM_OK) {
        return fail(answer, status, "a choice has more tool calls than max_tool_calls");
    }
    struct vllm_call *call = &choice->calls.items[change->place];
    struct vllm_slice text = fragment->text;
    size_t had = change->is_new ? 0 : call->id.len + call->name.len + call->arguments.len;
    change->from = change->is_new ? 0 : call->arguments.len;
    change->news = false;
    if (fragment->whole && text.ptr) {
        text = vllm_answer_news(&call->arguments, 0, text);
    } else if (text.len > 0 && vllm_call_repeats(call, text)) {
        text.len = 0;
    }
    if (call->ended) {
        return fail(answer, text.len > 0 ? VLLM_ESYNTAX : VLLM_OK, "arguments came for a tool call that had ended");
    }
    status = fail(answer, vllm_call_name(&choice->calls, call, fragment, &change->news), TOO_LARGE);
    if (status == VLLM_OK && call->id_is_taken && !call->made_id[0]) {
        make_id(answer, choice, change->place);
    }
    if (status == VLLM_OK) {
        status = vllm_store_spend(&answer->store, call->id.len + call->name.len + call->arguments.len - had);
    }
    if (status == VLLM_OK && text.len > 0) {
        status = take_back(answer, call);
        status = status == VLLM_OK ? add_fragment(answer, &call->arguments, &call->half, text) : status;
    }
    if (status == VLLM_OK && fragment->object.ptr) {
        status = read_extras(answer, &call->extras, fragment->object, VLLM_LEVEL_CALL, false);
    }
    change->news = change->news || call->arguments.len > change->from;
    return status;
}

/* Finish reasons are compared in any case: gateways write them as their own upstream does. */
static bool is_reason(const struct vllm_choice *choice, const char *word) {
    const struct vllm_buf *reason = &choice->finish_reason;
    size_t i = 0;
    for (; i < reason->len && word[i]; i++) {
        char c = reason->data[i];
        if ((c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != word[i]) {
            return false;
        }
    }
    return i == reason->len && !word[i];
}

const char *vllm_answer_failure(const struct vllm_answer *answer) {
    static const struct {
        const char *finish, *why;
    } failures[] = {
        {"abort", "the server aborted the answer"},
        {"aborted", "the server aborted the answer"},
        {"error", "the server failed during the answer"},
        {"network_error", "the server failed during the answer"}, /* Zhipu */
    };
    for (size_t i = 0; i < answer->count; i++) {
        for (size_t k = 0; k < sizeof failures / sizeof failures[0]; k++) {
            if (is_reason(answer->choices[i], failures[k].finish)) {
                return failures[k].why;
            }
        }
    }
    return NULL;
}

/* The finish reasons that servers are known to give to whole answers. What is not among them may be a limit, a
 * breakdown or a policy of a server that is not known here (model_length, max_tokens, insufficient_system_resource,
 * sensitive, …): then no call is trusted. */
static bool is_whole(const struct vllm_choice *choice) {
    static const char *const reasons[] = {
        "stop",     "tool_calls",    "function_call", "tool_call", "tool_use", /* the last two: Anthropic's */
        "end_turn", "stop_sequence", "eos_token",     "eos",       "complete", /* and TGI's, Together's, Cohere's */
        "normal"};                                                             /* Qianfan's */
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (is_reason(choice, reasons[i])) {
            return true;
        }
    }
    return false;
}

/* vLLM says "tool_calls" of answers that its limit cut. Usage is of all choices together. */
static bool is_at_limit(const struct vllm_answer *answer) {
    struct vllm_usage usage;
    int64_t max = answer->limits.max_completion_tokens;
    vllm_answer_read_usage(answer, &usage);
    return max > 0 && answer->count == 1 && usage.completion_tokens >= max;
}

/* Why the choice's calls cannot be trusted to be all there, or NULL. */
static const char *cut_reason(const struct vllm_answer *answer, const struct vllm_choice *choice) {
    static const struct {
        const char *finish, *why;
    } cuts[] = {
        {"length", "the answer was cut off at its length limit"},
        {"content_filter", "the answer was stopped by a content filter"},
        {"abort", "the server aborted the answer"},
        {"cancelled", "the server cancelled the answer"},
        {"error", "the server failed during the answer"},
        {"repetition", "the answer was stopped because it repeated itself"},
    };
    if (!choice->finished) {
        return "the answer ended without a finish reason";
    }
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        if (is_reason(choice, cuts[i].finish)) {
            return cuts[i].why;
        }
    }
    if (!is_whole(choice)) {
        return "the answer's finish reason is not that of a whole answer";
    }
    return is_at_limit(answer) ? "the answer has as many tokens as were allowed: it was cut off" : NULL;
}

static const char *call_fault(const struct vllm_answer *answer, const struct vllm_call *call) {
    struct vllm_json j;
    if (call->name.len == 0) {
        return "the call names no tool";
    }
    if (!vllm_json_check(call->arguments.data, call->arguments.len, answer->limits.max_depth, &j)) {
        return j.status == VLLM_ELIMIT ? "the arguments are nested too deeply" : "the arguments are not valid JSON";
    }
    vllm_json_init(&j, call->arguments.data, call->arguments.len, answer->limits.max_depth);
    return vllm_json_peek(&j) == VLLM_JSON_OBJECT ? NULL : "the arguments are not a JSON object";
}

/* Absent arguments are those of a tool that takes none, unless the call may have lost its own. */
static const char *fill_arguments(struct vllm_answer *answer, const struct vllm_choice *choice, struct vllm_call *call,
                                  enum vllm_status *status) {
    if (vllm_calls_may_lack_arguments(&choice->calls, call)) {
        return "the call came without arguments, beside arguments that may be its own";
    }
    call->filled = true;
    vllm_buf_clear(&call->arguments);
    *status = fail(answer, vllm_buf_text(&call->arguments, "{}"), TOO_LARGE);
    return NULL;
}

enum vllm_status vllm_answer_judge(struct vllm_answer *answer, const struct vllm_choice *choice, size_t place) {
    struct vllm_call *call = &choice->calls.items[place];
    const char *why = cut_reason(answer, choice);
    enum vllm_status status = take_back(answer, call);
    if (call->id.len == 0) {
        make_id(answer, choice, place);
    }
    if (status == VLLM_OK && !why && !vllm_call_has_arguments(call)) {
        why = fill_arguments(answer, choice, call, &status);
    }
    call->invalid = why ? why : call_fault(answer, call);
    return status;
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

size_t vllm_answer_finished(const struct vllm_answer *answer) {
    for (size_t i = 0; i < answer->count; i++) {
        if (!answer->choices[i]->finished) {
            return 0;
        }
    }
    return answer->count;
}

/* A whole number, also one that is written as 5.0. */
static void read_counter(struct vllm_slice raw, int64_t *out) {
    struct vllm_number number;
    if (vllm_number_read(raw.ptr, raw.len, &number) != VLLM_OK) {
        return;
    }
    if (number.is_integer) {
        *out = number.integer;
    } else if (number.real >= 0 && number.real < 0x1p53 && number.real == (double)(int64_t)number.real) {
        *out = (int64_t)number.real;
    }
}

/* The counters of an object of usage, one level below included. */
static void read_counters(struct vllm_slice raw, struct vllm_usage *usage, bool details) {
    struct vllm_json j;
    struct vllm_json_string key;
    struct vllm_slice value;
    vllm_json_init(&j, raw.ptr, raw.len, VLLM_JSON_MAX_DEPTH);
    bool more = vllm_json_peek(&j) == VLLM_JSON_OBJECT && vllm_json_enter(&j);
    while (more && vllm_json_member(&j, &key) && vllm_json_skip(&j, &value)) {
        if (details) {
            if (vllm_json_string_is(&key, "cached_tokens")) {
                read_counter(value, &usage->cached_tokens);
            } else if (vllm_json_string_is(&key, "reasoning_tokens")) {
                read_counter(value, &usage->reasoning_tokens);
            }
        } else if (vllm_json_string_is(&key, "prompt_tokens")) {
            read_counter(value, &usage->prompt_tokens);
        } else if (vllm_json_string_is(&key, "completion_tokens")) {
            read_counter(value, &usage->completion_tokens);
        } else if (vllm_json_string_is(&key, "total_tokens")) {
            read_counter(value, &usage->total_tokens);
        } else if (vllm_json_string_is(&key, "prompt_tokens_details") ||
                   vllm_json_string_is(&key, "completion_tokens_details")) {
            read_counters(value, usage, true);
        }
    }
}

void vllm_answer_read_usage(const struct vllm_answer *answer, struct vllm_usage *usage) {
    struct vllm_usage none = {-1, -1, -1, -1, -1, {NULL, 0}};
    *usage = none;
    usage->raw = vllm_store_view(&answer->usage);
    if (usage->raw.ptr) {
        read_counters(usage->raw, usage, false);
    }
}
