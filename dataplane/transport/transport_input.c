// SPDX-License-Identifier: Apache-2.0
// Design: the socket reads into a reference-counted chunk, and frames are handed out as views, so a
// body goes from the kernel to its consumer in one copy. The price: who keeps a small body keeps
// its chunk; a consumer that keeps bodies for long copies them.
//
// A chunk that somebody references is never written again, not even behind the bytes handed out:
// struct bytes promises that. The incomplete rest moves to a new chunk; it is less than one frame.
// A chunk that nobody kept is used again from its start.
//
// A frame larger than its chunk grows by doubling as bytes arrive. Allocating by the announced size
// would save these copies, and would let eight bytes claim 64 MiB.
#include "dataplane/transport/transport_input.h"

#include "dataplane/base/assert.h"
#include "dataplane/transport/transport_frame.h"

#include <stdatomic.h>
#include <string.h>

void transport_input_init(struct transport_input *self) {
    *self = (struct transport_input){
        .chunk_size = TRANSPORT_CHUNK_SIZE_HELLO,
        .chunk_size_min = TRANSPORT_CHUNK_SIZE_HELLO,
        .payload_max = TRANSPORT_HELLO_PAYLOAD_SIZE_MAX,
    };
}

void transport_input_deinit(struct transport_input *self) {
    bytes_unref(self->chunk);
    self->chunk = NULL;
}

void transport_input_trust(struct transport_input *self, uint32_t payload_max) {
    ASSERT(payload_max >= self->payload_max && payload_max <= TRANSPORT_PAYLOAD_SIZE_MAX);
    self->chunk_size = TRANSPORT_CHUNK_SIZE_MIN;
    self->chunk_size_min = TRANSPORT_CHUNK_SIZE_MIN;
    self->payload_max = payload_max;
}

// Acquire pairs with the releasing drop of the last other holder: its reads are over before we
// write.
static bool is_shared(const struct bytes *chunk) {
    return atomic_load_explicit(&chunk->refs, memory_order_acquire) > 1;
}

// Bytes of the frame that begins the rest, as far as is known.
static size_t frame_need(const struct transport_input *self) {
    size_t have = self->end - self->begin;
    uint32_t payload = 0;
    if (have < TRANSPORT_FRAME_HEADER_SIZE) { return TRANSPORT_FRAME_HEADER_SIZE; }
    enum status st =
        transport_frame_size(self->chunk->data + self->begin, self->payload_max, &payload);
    ASSERT(st == STATUS_OK);  // transport_input_next has refused it otherwise
    return TRANSPORT_FRAME_HEADER_SIZE + (size_t)payload;
}

static void move_to_new_chunk(struct transport_input *self, size_t need) {
    size_t have = self->end - self->begin;
    size_t size = 2 * have < need ? 2 * have : need;
    if (size < self->chunk_size) { size = self->chunk_size; }
    struct bytes *chunk = bytes_create(size);
    if (have > 0) { memcpy(chunk->data, self->chunk->data + self->begin, have); }
    bytes_unref(self->chunk);
    self->chunk = chunk;
    self->begin = 0;
    self->end = have;
}

uint8_t *transport_input_room(struct transport_input *self, size_t *out_size) {
    size_t need = self->chunk == NULL ? 0 : frame_need(self);
    ASSERT(self->chunk == NULL || self->end - self->begin < need);
    bool usable = self->chunk != NULL && !is_shared(self->chunk);
    if (usable && self->begin == self->end) {
        self->begin = 0;
        self->end = 0;
        usable = self->chunk->size == self->chunk_size;  // follow the traffic
    }
    // A frame that does not fit behind its own start moves to the front of a new chunk; one that is
    // at the front already fills its chunk first.
    if (usable) {
        usable = self->end < self->chunk->size &&
                 (self->begin == 0 || self->begin + need <= self->chunk->size);
    }
    if (!usable) { move_to_new_chunk(self, need); }
    ASSERT(self->end < self->chunk->size);
    *out_size = self->chunk->size - self->end;
    return self->chunk->data + self->end;
}

void transport_input_commit(struct transport_input *self, size_t size) {
    ASSERT(size <= self->chunk->size - self->end);
    self->end += size;
    if (self->end == self->chunk->size && self->chunk_size_min > TRANSPORT_CHUNK_SIZE_HELLO) {
        if (self->chunk_size < TRANSPORT_CHUNK_SIZE_MAX) { self->chunk_size *= 2; }
    } else if (size < self->chunk_size / 8 && self->chunk_size > self->chunk_size_min) {
        self->chunk_size /= 2;
    }
}

enum status transport_input_next(struct transport_input *self, bool *out_ready,
                                 struct bytes **out_owner, struct slice *out_payload) {
    *out_ready = false;
    size_t have = self->end - self->begin;
    if (have < TRANSPORT_FRAME_HEADER_SIZE) { return STATUS_OK; }
    const uint8_t *frame = self->chunk->data + self->begin;
    uint32_t payload = 0;
    enum status st = transport_frame_size(frame, self->payload_max, &payload);
    size_t frame_size = TRANSPORT_FRAME_HEADER_SIZE + (size_t)payload;
    if (st != STATUS_OK || have < frame_size) { return st; }
    st = transport_frame_check(slice_make(frame, frame_size));
    if (st != STATUS_OK) { return st; }
    self->begin += frame_size;
    *out_owner = self->chunk;
    *out_payload = slice_make(frame + TRANSPORT_FRAME_HEADER_SIZE, payload);
    *out_ready = true;
    return STATUS_OK;
}
