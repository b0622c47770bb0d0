/* Rings of requests: circular lists without memory of their own. A link that is in no ring points at itself. */
#ifndef VLLM_RING_H
#define VLLM_RING_H

#include <stdbool.h>

struct vllm_link {
    struct vllm_link *prev, *next;
};

static inline void vllm_link_init(struct vllm_link *link) {
    link->prev = link->next = link;
}

/* Of a ring: it is empty. Of a link: it is in none. */
static inline bool vllm_link_is_alone(const struct vllm_link *link) {
    return link->next == link;
}

/* May run twice. */
static inline void vllm_link_remove(struct vllm_link *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    vllm_link_init(link);
}

/* At the end of `ring`; takes it out of its ring first. */
static inline void vllm_link_append(struct vllm_link *ring, struct vllm_link *link) {
    vllm_link_remove(link);
    link->prev = ring->prev;
    link->next = ring;
    ring->prev->next = link;
    ring->prev = link;
}

#endif
