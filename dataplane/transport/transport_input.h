// SPDX-License-Identifier: Apache-2.0
// transport_input.h - bytes of one connection on their way in: room to read into, frames out of it.
// Invariants: bytes handed out as part of a frame never change as long as anyone holds a reference;
//             memory claimed is at most the larger of one chunk and twice what has come in.
// Ownership:  the input owns its chunk; a frame is a view into it, `owner` may be referenced.
// Thread:     confined to the loop; an owner may be released on any thread.
// See:        dataplane/transport/README.md; tests/unit/dataplane/transport/transport_input_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TRANSPORT_CHUNK_SIZE_HELLO = 4 << 10,  // before the handshake
    TRANSPORT_CHUNK_SIZE_MIN = 64 << 10,
    TRANSPORT_CHUNK_SIZE_MAX = 1 << 20,
};

struct transport_input {
    struct bytes *chunk;  // private, as all here
    size_t begin;         // of the first byte not yet handed out
    size_t end;           // of what came in
    size_t chunk_size;    // of the next chunk; follows the traffic
    size_t chunk_size_min;
    uint32_t payload_max;
};

void transport_input_init(struct transport_input *self);
void transport_input_deinit(struct transport_input *self);
// The handshake is done: larger chunks, and frames up to this payload.
void transport_input_trust(struct transport_input *self, uint32_t payload_max);

// Where the next bytes go; at least one. Every complete frame has been taken out before.
uint8_t *transport_input_room(struct transport_input *self, size_t *out_size);
// size bytes were put there.
void transport_input_commit(struct transport_input *self, size_t size);

// Takes out the next frame: *out_ready false when it is not complete. The payload stays valid until
// the next call of transport_input_room, or as long as a reference of *out_owner is held.
// STATUS_CORRUPT for a size or checksum that no sender wrote; the input is of no use then.
NODISCARD enum status transport_input_next(struct transport_input *self, bool *out_ready,
                                           struct bytes **out_owner, struct slice *out_payload);
