/* The growing answer: its choices, their texts, calls and ends. It knows nothing of events; the few fields that say how
 * far the events of a choice have come belong to part_events.c. */
#ifndef VLLM_ANSWER_H
#define VLLM_ANSWER_H

#include "calls.h"
#include "event.h"

#define VLLM_TEXT_KINDS  (VLLM_PART_REFUSAL + 1) /* text, reasoning, refusal */
#define VLLM_PART_KINDS  (VLLM_PART_MEDIA + 1)
#define VLLM_PART_ID_MAX 72

struct vllm_choice {
    int64_t number;
    struct vllm_buf texts[VLLM_TEXT_KINDS];
    struct vllm_buf media, logprobs, token_ids; /* JSON arrays with their brackets; empty: none */
    struct vllm_buf finish_reason, stop_reason; /* the first that came */
    struct vllm_calls calls;
    struct vllm_extras extras, message_extras; /* of its entry, and of its message */
    bool finished;                             /* it has a finish reason */
    /* part_events.c's: */
    bool open; /* a part of kind open_kind, a text kind, is open */
    enum vllm_part_kind open_kind;
    size_t open_at;                /* where its text begins in `texts` */
    uint32_t half;                 /* of its text; see halves.h */
    size_t parts[VLLM_PART_KINDS]; /* begun so far; not counted for calls */
    char part[VLLM_PART_ID_MAX];   /* id of the open part */
    size_t part_len;
    char other_part[VLLM_PART_ID_MAX]; /* id of the call or media part in the event at hand */
    size_t calls_ended;                /* calls before this one have ended */
    bool ended;                        /* the choice was ended */
};

/* What a fragment of a call did. */
struct vllm_call_change {
    size_t place, from; /* the call, and where in its arguments the fragment begins */
    bool is_new;        /* it began the call */
    bool news;          /* it brought an id, a name or arguments */
};

/* Those of struct vllm_decoder_options. */
struct vllm_answer_limits {
    size_t max_message_bytes, max_tool_calls, max_choices;
    unsigned max_depth;
    int64_t max_completion_tokens;
};

struct vllm_answer {
    struct vllm_store store;
    struct vllm_answer_limits limits;
    struct vllm_choice **choices; /* ascending by number */
    size_t count, cap;
    struct vllm_buf id, model, usage;
    struct vllm_buf taken_ids; /* of calls in the transcript, a NUL between two */
    struct vllm_extras extras; /* of chunks and completions */
};

/* Copies `taken_ids`. After VLLM_ENOMEM the answer can be freed like any other. */
VLLM_NODISCARD enum vllm_status vllm_answer_init(struct vllm_answer *answer, const struct vllm_alloc *alloc,
                                                 const struct vllm_answer_limits *limits, struct vllm_slice taken_ids);
void vllm_answer_free(struct vllm_answer *answer);

/* Every one of these: VLLM_OK, VLLM_ENOMEM or VLLM_ELIMIT, and then `store.why` is set. */
VLLM_NODISCARD enum vllm_status vllm_answer_envelope(struct vllm_answer *answer,
                                                     const struct vllm_delta *delta); /* the first id and model stay */
VLLM_NODISCARD enum vllm_status vllm_answer_usage(struct vllm_answer *answer,
                                                  struct vllm_slice raw); /* the last one stays */
VLLM_NODISCARD enum vllm_status vllm_answer_extra(
    struct vllm_answer *answer,
    const struct vllm_delta *delta); /* members at the top level, or of a choice or a message, that are not known */
VLLM_NODISCARD enum vllm_status vllm_answer_choice(struct vllm_answer *answer, int64_t number,
                                                   struct vllm_choice **out);
VLLM_NODISCARD enum vllm_status vllm_answer_text(struct vllm_answer *answer, struct vllm_choice *choice,
                                                 enum vllm_part_kind kind, struct vllm_slice text);
VLLM_NODISCARD enum vllm_status vllm_answer_media(struct vllm_answer *answer, struct vllm_choice *choice,
                                                  struct vllm_slice raw);
VLLM_NODISCARD enum vllm_status vllm_answer_tokens(struct vllm_answer *answer, struct vllm_choice *choice,
                                                   const struct vllm_delta *delta);
VLLM_NODISCARD enum vllm_status vllm_answer_finish(struct vllm_answer *answer, struct vllm_choice *choice,
                                                   const struct vllm_delta *delta); /* the first reason stays */
/* VLLM_ESYNTAX as well: arguments for a call that has ended. */
VLLM_NODISCARD enum vllm_status vllm_answer_call(struct vllm_answer *answer, struct vllm_choice *choice,
                                                 const struct vllm_delta *fragment, struct vllm_call_change *change);
/* The id of a call; one that is missing so far is written to `made`. */
struct vllm_slice vllm_answer_call_id(const struct vllm_answer *answer, const struct vllm_choice *choice, size_t place,
                                      char made[VLLM_MADE_ID]);
/* The choice is over for this call: makes a missing id, "{}" of missing arguments, and the verdict. */
VLLM_NODISCARD enum vllm_status vllm_answer_judge(struct vllm_answer *answer, const struct vllm_choice *choice,
                                                  size_t place);

/* What of a whole value is news after `text` from `at` on: a server may send the deltas and then the message, or the
 * message again and again. */
struct vllm_slice vllm_answer_news(const struct vllm_buf *text, size_t at, struct vllm_slice whole);
void vllm_answer_read_usage(const struct vllm_answer *answer, struct vllm_usage *usage);
size_t vllm_answer_finished(
    const struct vllm_answer *answer); /* how many choices, if all have a finish reason; else 0 */
const char *vllm_answer_failure(
    const struct vllm_answer *answer); /* what a finish reason says that does not end an answer, or NULL */

#endif
