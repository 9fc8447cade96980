// SPDX-License-Identifier: Apache-2.0
// command_hold.h - the request of an interactive transaction that others leave a key alone for a
// while (TransactGet.for_update): a hint, kept in the memory of the shard's leader.
// Invariants: decoding checks every limit.
// Ownership:  views into the input.
// Thread:     pure.
// See:        txn/session/session_hold.h; tests/unit/txn/command/command_hold_test.c
#pragma once

#include "txn/command/command.h"

enum { COMMAND_HOLD_LEASE_MS_MAX = 10000 };

enum command_hold_kind {
    COMMAND_HOLD_TAKE = 1,  // waits for who has it
    COMMAND_HOLD_RENEW,     // takes it if nobody else has it
    COMMAND_HOLD_RELEASE,
    COMMAND_HOLD_KIND_COUNT
};

struct command_hold {
    enum command_hold_kind kind;
    struct txn_id txn;
    struct hlc_ts begin;  // of the first try of the transaction
    // TAKE: it holds other keys, so it waits for younger ones only; else ABORTED_RETRY.
    bool holds_others;
    uint32_t lease_ms;  // 1 to COMMAND_HOLD_LEASE_MS_MAX; 0 = RELEASE
    struct slice key;   // full
};

void command_hold_encode(struct codec_writer *w, const struct command_hold *self);
NODISCARD enum status command_hold_decode(struct slice encoded, struct command_hold *out);
