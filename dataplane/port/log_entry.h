// SPDX-License-Identifier: Apache-2.0
// log_entry.h - one entry of a shard's history, in the one encoding that the wire and the disk
// share.
// Invariants: record holds header, payload and CRC32C over both; the decoded fields equal the
//             record's; index and term are > 0; timestamps are below HLC_MAX.
// Ownership:  an entry holds one reference on owner; record and payload are views into owner.
// Thread:     an entry is confined; the bytes behind it are immutable and may be shared.
// See:        dataplane/port/README.md; replication.md "Two RocksDB instances a node";
//             tests/unit/dataplane/port/log_entry_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/codec/codec.h"
#include "dataplane/hlc/hlc.h"

enum log_entry_kind {
    LOG_ENTRY_EMPTY,    // a leader's first entry of its term, and ceiling renewals
    LOG_ENTRY_COMMAND,  // payload belongs to the state machine
    LOG_ENTRY_CONFIG,   // payload is a membership (raft_membership_encode)
    LOG_ENTRY_DIGEST,   // no payload: every replica digests its state as of this index
    LOG_ENTRY_KIND_COUNT
};

struct log_entry {
    uint64_t index;
    uint64_t term;
    uint64_t shard_epoch;     // of the proposer's descriptor
    struct hlc_ts timestamp;  // commit or prepare timestamp; zero when the entry writes nothing
    struct hlc_ts closed;
    struct hlc_ts ceiling;
    enum log_entry_kind kind;
    struct slice payload;
    struct slice record;
    struct bytes *owner;
};

// A record, little-endian:
//
//   u32 size of the body | u32 crc32c of the body | body
//   body: u8 version (1) | u8 kind | u64 index | u64 term | u64 shard_epoch
//         | u64 timestamp | u64 closed | u64 ceiling | payload
enum {
    LOG_ENTRY_VERSION = 1,
    LOG_ENTRY_PREFIX_SIZE = 4 + 4,
    LOG_ENTRY_HEADER_SIZE = LOG_ENTRY_PREFIX_SIZE + 2 + 6 * 8,  // the payload begins here
    LOG_ENTRY_PAYLOAD_SIZE_MAX = 17 << 20,
};

// Builds the record of the entry from its other fields (payload may be any view; it is copied) and
// points payload into it. The struct is zeroed but for the fields set; an owner that is present (an
// entry sealed before, say) is released after the copy. One allocation. Never fails: sizes are
// checked before a payload is admitted.
void log_entry_seal(struct log_entry *self);
// Parses one record at the head of a reader whose bytes live in owner; takes one reference on
// owner. The checksum is verified. STATUS_CORRUPT leaves *out untouched and marks the reader. A
// version from the future is corrupt too: entries are upgraded behind a feature gate, never met
// unprepared.
NODISCARD enum status log_entry_decode(struct codec_reader *r, struct bytes *owner,
                                       struct log_entry *out);
// Copies the struct and adds a reference.
void log_entry_ref(struct log_entry *dst, const struct log_entry *src);
void log_entry_unref(struct log_entry *self);
