// SPDX-License-Identifier: Apache-2.0
// transport_queue.h - messages that wait to be written to one peer: batched into frames, bounded.
// Invariants: I1 bytes <= the maximum given with each push. I2 frames leave in the order in which
//             they were begun, messages in the order pushed. I3 what makes room is the oldest that
//             its sender repeats by itself; a request or a response is never thrown out for it.
// Ownership:  the queue owns waiting frames; a taken frame is the taker's until released; the pool
//             outlives its queues, and a queue its taken frames.
// Thread:     confined to the loop.
// See:        dataplane/transport/README.md; tests/unit/dataplane/transport/transport_queue_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/status.h"
#include "dataplane/port/env.h"

#include <stddef.h>
#include <stdint.h>

enum { TRANSPORT_FRAME_TARGET = 1 << 20, TRANSPORT_POOL_COUNT_MAX = 8 };

struct transport_queue;

struct transport_frame {
    struct transport_frame *next;
    struct transport_queue *queue;  // whose bytes it counts for; NULL for hello and refusal
    struct buf buf;                 // room for the header, then items
    uint32_t messages;
    uint32_t resendable;  // messages that may be thrown out
};

// Frames at rest, so that the steady state allocates nothing.
struct transport_pool {
    struct transport_frame *first;
    uint32_t count;
};

struct transport_queue {
    struct transport_pool *pool;
    struct transport_frame *first;  // closed frames, oldest first
    struct transport_frame *last;
    struct transport_frame *open;  // still gathering, or NULL
    size_t bytes;                  // waiting and taken, headers included
    size_t frame_target;           // a frame is closed when the next message would pass this
    uint64_t dropped;              // messages thrown out or not let in
};

void transport_pool_init(struct transport_pool *self);
void transport_pool_deinit(struct transport_pool *self);
// An empty frame with room for its header, belonging to no queue.
struct transport_frame *transport_frame_acquire(struct transport_pool *pool);
// Gives a frame back, and its bytes to the queue that it was taken from.
void transport_frame_release(struct transport_pool *pool, struct transport_frame *frame);

void transport_queue_init(struct transport_queue *self, struct transport_pool *pool,
                          size_t bytes_max);
void transport_queue_deinit(struct transport_queue *self);

// Adds a message at the end. STATUS_RESOURCE_EXHAUSTED when even throwing out what is resendable
// leaves no room under bytes_max; the message is counted as dropped then.
NODISCARD enum status transport_queue_push(struct transport_queue *self,
                                           enum peer_message_type type, struct slice body,
                                           size_t bytes_max);

// The next frame to write, sealed; NULL when nothing waits.
struct transport_frame *transport_queue_take(struct transport_queue *self);
static inline bool transport_queue_is_empty(const struct transport_queue *self) {
    return self->first == NULL && self->open == NULL;
}

// Throws out everything that waits; returns the number of messages, which are not counted.
uint64_t transport_queue_clear(struct transport_queue *self);

// Whether the sender of such a message repeats it, or its content, by itself.
bool transport_message_is_resendable(enum peer_message_type type);
