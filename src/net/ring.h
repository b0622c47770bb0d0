/* Rings: circular lists whose links are members of what they hold. A link that is in no ring points at itself. */
#ifndef VLLM_RING_H
#define VLLM_RING_H

#include <stdbool.h>

struct vllm_link {
    struct vllm_link *prev, *next;
};

static inline void vllm_link_init(struct vllm_link *link) {
    link->prev = link->next = link;
}

/* A ring is empty; a link is in no ring. */
static inline bool vllm_link_is_alone(const struct vllm_link *link) {
    return link->next == link;
}

/* May run twice. */
static inline void vllm_link_remove(struct vllm_link *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    vllm_link_init(link);
}

/* Appends to `ring`, after taking the link out of its old ring. */
static inline void vllm_link_append(struct vllm_link *ring, struct vllm_link *link) {
    vllm_link_remove(link);
    link->prev = ring->prev;
    link->next = ring;
    ring->prev->next = link;
    ring->prev = link;
}

#endif
