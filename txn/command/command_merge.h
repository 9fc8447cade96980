// SPDX-License-Identifier: Apache-2.0
// command_merge.h - typed writes whose order among one another does not matter, and the values that
// they make.
// Invariants: applying two operations that share a lock gives the same value in either order;
//             a value has one encoding.
// Ownership:  views into the input; the value is appended to the caller's buffer.
// Thread:     pure.
// See:        docs/protocols/transactions.md "Merge writes"; Shapiro et al., "A comprehensive study
//             of Convergent and Commutative Replicated Data Types", INRIA RR-7506, 2011;
//             tests/unit/txn/command/command_merge_test.c
#pragma once

#include "dataplane/base/err.h"
#include "dataplane/codec/codec.h"

// By value on disk (mvcc_kind) and in logs: append only.
enum command_merge_type {
    COMMAND_MERGE_COUNTER = 1,   // a 64-bit number, up and down
    COMMAND_MERGE_GROW_COUNTER,  // up only
    COMMAND_MERGE_GROW_SET,      // elements are only added
    COMMAND_MERGE_SET,           // elements are added and removed (observed-remove)
    COMMAND_MERGE_REGISTER,      // the write with the largest commit timestamp wins
    COMMAND_MERGE_TYPE_COUNT
};

enum {
    COMMAND_MERGE_ELEMENT_SIZE_MAX = 4096,    // of a set; a register takes a value
    COMMAND_MERGE_SIZE_MAX = (1 << 20) + 64,  // encoded
};

// What a client is told when its merge could not be made.
#define COMMAND_TYPE_TEXT "merge: the key holds a value of another type, or one that is full"

struct command_merge {
    enum command_merge_type type;
    bool removes;  // SET: takes the element out
    bool has_min;  // counters: the commit fails when the number would leave its bounds
    bool has_max;
    int64_t amount;  // counters
    int64_t min;
    int64_t max;
    struct slice element;  // sets: the element, 1 byte or more; register: the value
};
// Names the field and its limit. INVALID_ARGUMENT.
NODISCARD enum status command_merge_check(const struct command_merge *self, uint32_t position,
                                          struct err *err);
void command_merge_encode(struct codec_writer *w, const struct command_merge *self);
// Whatever decodes passes the check. STATUS_CORRUPT.
NODISCARD enum status command_merge_decode(struct slice encoded, struct command_merge *out);
// Whether it may be prepared beside others of its type on one key. A removal may not: what it
// removes is what was there before it.
bool command_merge_shares(const struct command_merge *self);

// The value after the operation, appended to out. `before` is empty with `exists` false for a key
// that holds nothing. Counters are decimal text; a set is its elements in order, each behind its
// size (varint); a register is its bytes. STATUS_CORRUPT: `before` is no value of that type;
// STATUS_RESOURCE_EXHAUSTED: the number or the set would become too large.
NODISCARD enum status command_merge_apply(const struct command_merge *self, struct slice before,
                                          bool exists, struct buf *out);
// The number that a counter's value stands for; absent = 0. STATUS_CORRUPT.
NODISCARD enum status command_merge_number(struct slice value, bool exists, int64_t *out);
