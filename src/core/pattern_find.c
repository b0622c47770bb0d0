/* The search. It is in a set of states at once, and goes through the text one character at a time: the states of `now`
 * that can read the character lead to those of `then`. A set is a list and, for each state, its place in that list; what
 * such a place says counts only if the list says so too, so a set is emptied without being cleared (Briggs and Torczon,
 * 1993). No state is in a set twice: this bounds the time. */
#include "pattern.h"
#include "pattern_program.h"

#include <string.h>

struct state_set {
    uint16_t *list, *place;
    size_t count;
};

struct search {
    const struct vllm_pattern_step *program;
    struct state_set now, then;
    uint32_t before, character; /* VLLM_PATTERN_NONE at the ends of the text */
    size_t steps;
};

static void add(struct state_set *set, size_t state) {
    size_t place = set->place[state];
    if (place >= set->count || set->list[place] != state) {
        set->place[state] = (uint16_t)set->count;
        set->list[set->count++] = (uint16_t)state;
    }
}

static bool item_has(const struct vllm_pattern_step *item, uint32_t character) {
    switch (item->op) {
    case VLLM_PATTERN_RANGE: return character >= item->a && character <= item->b;
    case VLLM_PATTERN_CATEGORY: return (vllm_pattern_category_of(character) & item->a) != 0;
    default: return (vllm_pattern_category_of(character) & item->a) == 0;
    }
}

static bool class_has(struct search *search, const struct vllm_pattern_step *class) {
    uint32_t i = 0;
    while (i < class->a && !item_has(class + i + 1, search->character)) {
        i++;
    }
    search->steps += i;
    return (i < class->a) == (class->b == 0);
}

static bool is_word(uint32_t character) {
    return (character >= '0' && character <= '9') || (character >= 'A' && character <= 'Z') || character == '_' ||
           (character >= 'a' && character <= 'z');
}

static bool holds(const struct search *search, enum vllm_pattern_op op) {
    bool is_edge = is_word(search->before) != is_word(search->character);
    switch (op) {
    case VLLM_PATTERN_START: return search->before == VLLM_PATTERN_NONE;
    case VLLM_PATTERN_END: return search->character == VLLM_PATTERN_NONE;
    case VLLM_PATTERN_EDGE: return is_edge;
    default: return !is_edge;
    }
}

/* To where a state of `now` leads. True: it is the end of the pattern. */
static bool follow(struct search *search, size_t state) {
    const struct vllm_pattern_step *step = search->program + state;
    bool is_inside = search->character != VLLM_PATTERN_NONE;
    switch (step->op) {
    case VLLM_PATTERN_FOUND: return true;
    case VLLM_PATTERN_CHARACTER:
        if (search->character == step->a) add(&search->then, state + 1);
        break;
    case VLLM_PATTERN_CLASS:
        if (is_inside && class_has(search, step)) add(&search->then, state + step->a + 1);
        break;
    case VLLM_PATTERN_JUMP: add(&search->now, (uint32_t)state + step->a); break;
    case VLLM_PATTERN_SPLIT:
        add(&search->now, state + 1);
        add(&search->now, (uint32_t)state + step->a);
        break;
    default:
        if (holds(search, step->op)) add(&search->now, state + 1);
    }
    return false;
}

/* All states of `now`, which grows meanwhile. */
static bool follow_all(struct search *search) {
    bool is_found = false;
    for (size_t i = 0; i < search->now.count && !is_found; i++) {
        is_found = follow(search, search->now.list[i]);
    }
    search->steps += search->now.count;
    return is_found;
}

static void advance(struct search *search) {
    struct state_set done = search->now;
    search->now = search->then;
    search->then = done;
    search->then.count = 0;
    search->before = search->character;
}

static void begin(struct search *search, const struct vllm_pattern *pattern) {
    uint16_t *sets = (uint16_t *)(void *)(pattern->memory.data + pattern->count * sizeof *search->program);
    search->program = (const struct vllm_pattern_step *)(const void *)pattern->memory.data;
    search->now = (struct state_set){sets, sets + pattern->count, 0};
    search->then = (struct state_set){sets + 2 * pattern->count, sets + 3 * pattern->count, 0};
    search->before = VLLM_PATTERN_NONE;
    search->steps = 0;
}

/* Where a match may begin, while none has begun: at the first character of a pattern that begins with an ASCII one. */
static const char *skip(struct search *search, const char *at, const char *end) {
    const struct vllm_pattern_step *first = search->program;
    if (first->op != VLLM_PATTERN_CHARACTER || first->a >= 0x80 || at == end) {
        return at;
    }
    const char *found = memchr(at, (int)first->a, (size_t)(end - at));
    found = found ? found : end;
    if (found > at) {
        search->before = (unsigned char)found[-1]; /* at least it is known whether that is of a word */
    }
    return found;
}

enum vllm_status vllm_pattern_find(struct vllm_pattern *pattern, struct vllm_slice text, bool *found) {
    const char *at = text.ptr ? text.ptr : "", *end = at + text.len;
    size_t most = text.len < SIZE_MAX / 64 ? VLLM_PATTERN_MAX_STEPS + 32 * text.len : SIZE_MAX;
    struct search search;
    begin(&search, pattern);
    for (;;) {
        size_t length = 0;
        at = search.now.count == 0 ? skip(&search, at, end) : at;
        search.character = at < end ? vllm_pattern_read(at, end, &length) : VLLM_PATTERN_NONE;
        if (search.before == VLLM_PATTERN_NONE || search.program->op != VLLM_PATTERN_START) {
            add(&search.now, 0);
        }
        *found = follow_all(&search);
        pattern->steps = search.steps;
        if (*found || at == end || (search.then.count == 0 && search.program->op == VLLM_PATTERN_START)) {
            return VLLM_OK;
        }
        if (search.steps > most) {
            return VLLM_ELIMIT;
        }
        at += length;
        advance(&search);
    }
}
