// SPDX-License-Identifier: Apache-2.0
// transport_frame.h - the bytes on the wire: frames, the items in them, hello and refusal.
// Invariants: a frame that passes transport_frame_check is what some sender sealed; a decoder never
//             reads outside its input and accepts only what an encoder can have written.
// Ownership:  encoders append to the caller's buf; decoded views point into the input.
// Thread:     pure functions.
// See:        dataplane/transport/README.md; tests/unit/dataplane/transport/transport_frame_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/status.h"
#include "dataplane/codec/codec.h"
#include "dataplane/shard/shard.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// frame   = u32 payload size | u32 crc32c of (size, payload) | payload
// payload = one or more items: u8 type | varint body size | body
// The types of port/env.h are messages; those from 240 on belong to this package. A connection
// starts with one frame holding one HELLO in each direction, the dialling side first.
enum {
    TRANSPORT_FRAME_HEADER_SIZE = 8,
    TRANSPORT_PAYLOAD_SIZE_MAX = 64 << 20,
    TRANSPORT_HELLO_PAYLOAD_SIZE_MAX = 4096 - TRANSPORT_FRAME_HEADER_SIZE,
    TRANSPORT_MESSAGE_SIZE_MAX = 20 << 20,
    // Without an identity: what a stranger may make us hold.
    TRANSPORT_JOIN_PAYLOAD_SIZE_MAX = 1 << 20,
    TRANSPORT_JOIN_MESSAGE_SIZE_MAX = TRANSPORT_JOIN_PAYLOAD_SIZE_MAX - 16,
    TRANSPORT_ADDRESS_SIZE_MAX = 256,  // with the NUL
    TRANSPORT_REFUSAL_TEXT_SIZE_MAX = 160,
    TRANSPORT_VERSION = 1,
    TRANSPORT_ITEM_HELLO = 240,
    TRANSPORT_ITEM_REFUSAL = 241,
};

// Why a connection is refused after its hello: X(NAME, text). Part of the protocol by value.
#define TRANSPORT_REFUSAL_LIST(X)                                        \
    X(NONE, "accepted")                                                  \
    X(VERSION, "the protocol version is not known here")                 \
    X(CLUSTER, "the cluster ids differ")                                 \
    X(SELF, "the node id is this node's own")                            \
    X(OLD_BOOT, "a later boot of that node is known")                    \
    X(INCARNATION, "that node id belongs to another data directory")     \
    X(REMOVED, "that node was removed from the cluster")                 \
    X(NOT_READY, "this node has no identity yet")                        \
    X(NO_IDENTITY, "a peer connection needs a cluster id and a node id") \
    X(WRONG_NODE, "another node answered at that address")               \
    X(TOO_MANY, "no room for another peer")

enum transport_refusal {
#define TRANSPORT_REFUSAL_ENUM(name, text) TRANSPORT_REFUSAL_##name,
    TRANSPORT_REFUSAL_LIST(TRANSPORT_REFUSAL_ENUM)
#undef TRANSPORT_REFUSAL_ENUM
        TRANSPORT_REFUSAL_COUNT
};

const char *transport_refusal_name(enum transport_refusal refusal);
const char *transport_refusal_text(enum transport_refusal refusal);
// The status that a refusal amounts to.
enum status transport_refusal_status(enum transport_refusal refusal);

enum transport_purpose { TRANSPORT_PEER, TRANSPORT_JOIN, TRANSPORT_PURPOSE_COUNT };

struct transport_hello {
    enum transport_purpose purpose;  // the accepting side repeats the dialling side's
    struct cluster_id cluster;
    struct node_id node;
    uint32_t boot;
    uint64_t incarnation;
    uint64_t instance;  // random per process: tells a node that it has dialled itself
    char address[TRANSPORT_ADDRESS_SIZE_MAX];  // to dial the sender, printable, may be empty
};

// Writes the header in front of a frame whose payload is in place; frame.size >= the header's.
void transport_frame_seal(uint8_t *frame, size_t frame_size);

// Reads the payload size of a header. STATUS_CORRUPT when it is 0 or over payload_max.
NODISCARD enum status transport_frame_size(const uint8_t *header, uint32_t payload_max,
                                           uint32_t *out_payload_size);

// Checks a whole frame's checksum; STATUS_CORRUPT when it is wrong.
NODISCARD enum status transport_frame_check(struct slice frame);

struct transport_item {
    uint8_t type;
    struct slice body;
};

// The next item; the reader's status turns STATUS_CORRUPT on a malformed one.
struct transport_item transport_item_get(struct codec_reader *reader);
// Bytes that an item takes.
size_t transport_item_size(size_t body_size);
NODISCARD enum status transport_item_put(struct buf *out, uint8_t type, struct slice body);
// Walks a payload without using it: STATUS_CORRUPT unless it is one or more whole items.
NODISCARD enum status transport_payload_check(struct slice payload);

// Appends the item of a hello or refusal.
NODISCARD enum status transport_hello_put(struct buf *out, const struct transport_hello *hello);
// STATUS_NOT_SUPPORTED for another version, STATUS_CORRUPT for what is no hello.
NODISCARD enum status transport_hello_get(struct slice body, struct transport_hello *out);

NODISCARD enum status transport_refusal_put(struct buf *out, enum transport_refusal refusal);
// out_text is a view; a reason newer than this program reads as TRANSPORT_REFUSAL_COUNT.
NODISCARD enum status transport_refusal_get(struct slice body, enum transport_refusal *out,
                                            struct slice *out_text);

// What is known of the node that a hello names; zero when nothing.
struct transport_known {
    uint32_t boot;
    uint64_t incarnation;
    bool removed;
};

// Decides about the other side's hello: `own` is ours, known is what we know of their node.
enum transport_refusal transport_hello_judge(const struct transport_hello *own,
                                             const struct transport_hello *theirs,
                                             const struct transport_known *known);
