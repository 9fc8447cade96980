// SPDX-License-Identifier: Apache-2.0
// The sliding bit window of anti-replay protocols, one per boot of a gateway.
//
// Why it matters: a gateway takes NOT_LEADER for "certainly not applied". If the network repeated
// the refused request later, to a replica that leads by then, that would become a lie. Remembering
// ids for a time was rejected: it rests on clocks.
//
// LIMIT: a restart of this node forgets the windows; a copy that was under way meanwhile would be
// processed. Connections end with the process, so the transport cannot deliver such a copy.
#include "txn/session/session_window.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <string.h>

enum { WORD_BITS = 64 };

void session_windows_init(struct session_windows *self) {
    *self = (struct session_windows){
        .windows = mem_alloc_array(SESSION_WINDOW_COUNT, sizeof(struct session_window))};
}

void session_windows_deinit(struct session_windows *self) {
    mem_free(self->windows);
    *self = (struct session_windows){0};
}

// The gateway's window, or the least recently used one, emptied for it.
static struct session_window *find_or_take(struct session_windows *self, struct node_id node,
                                           uint64_t boot) {
    struct session_window *oldest = &self->windows[0];
    for (uint32_t i = 0; i < SESSION_WINDOW_COUNT; i++) {
        struct session_window *window = &self->windows[i];
        if (node_id_equal(window->node, node) && window->boot == boot) { return window; }
        if (window->used < oldest->used) { oldest = window; }
    }
    *oldest = (struct session_window){.node = node, .boot = boot};
    return oldest;
}

static bool is_seen(const struct session_window *self, uint64_t sequence) {
    const uint64_t bit = sequence % SESSION_WINDOW_SIZE;
    return (self->seen[bit / WORD_BITS] >> (bit % WORD_BITS) & 1) != 0;
}

static void set_seen(struct session_window *self, uint64_t sequence, bool seen) {
    const uint64_t bit = sequence % SESSION_WINDOW_SIZE;
    const uint64_t mask = UINT64_C(1) << (bit % WORD_BITS);
    if (seen) {
        self->seen[bit / WORD_BITS] |= mask;
    } else {
        self->seen[bit / WORD_BITS] &= ~mask;
    }
}

// The window moves up to `sequence`: the places of what lies between held older ones.
static void advance(struct session_window *self, uint64_t sequence) {
    ASSERT(sequence > self->newest);
    if (sequence - self->newest >= SESSION_WINDOW_SIZE) {
        memset(self->seen, 0, sizeof(self->seen));
    } else {
        for (uint64_t s = self->newest + 1; s <= sequence; s++) {
            set_seen(self, s, false);
        }
    }
    self->newest = sequence;
}

bool session_windows_accept(struct session_windows *self, struct node_id node, uint64_t boot,
                            uint64_t sequence) {
    ASSERT(node.v != 0 && sequence > 0);
    struct session_window *window = find_or_take(self, node, boot);
    window->used = ++self->clock;
    if (sequence > window->newest) {
        advance(window, sequence);
    } else if (window->newest - sequence >= SESSION_WINDOW_SIZE || is_seen(window, sequence)) {
        return false;
    }
    set_seen(window, sequence, true);
    return true;
}
