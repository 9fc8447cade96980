// SPDX-License-Identifier: Apache-2.0
// interactive.h - what one interactive transaction has written and read so far: a buffer of
// mutations, laid over what shards answer at its snapshot, and the reads that a commit must have
// validated.
// Invariants: mutations are disjoint, as a commit wants them; a read of what the buffer decides
//             alone depends on nothing; reads are disjoint spans; mutations and reads together are
//             at most COMMAND_OPS_MAX, and their bytes at most bytes_max.
// Ownership:  copies what it keeps; views it hands out live until the next write.
// Thread:     confined to its owner; pure.
// See:        txn/interactive/README.md; docs/protocols/transactions.md;
//             tests/unit/txn/interactive/interactive_test.c
#pragma once

#include "txn/command/command.h"

struct interactive_entry;
struct interactive_read;

struct interactive {
    size_t bytes_max;
    size_t bytes;  // read-only: of keys and values kept
    // Private.
    struct interactive_entry **entries;  // by key
    uint32_t entry_count;
    uint32_t entry_capacity;
    struct interactive_read **reads;  // by start
    uint32_t read_count;
    uint32_t read_capacity;
    uint64_t next_order;
    struct command_mutation *mutations;  // of interactive_commit
    struct command_span *spans;
};

void interactive_init(struct interactive *self, size_t bytes_max);
void interactive_deinit(struct interactive *self);
// How many mutations a commit would have.
uint32_t interactive_mutations(const struct interactive *self);
uint32_t interactive_reads(const struct interactive *self);

// Why something was refused.
struct interactive_refusal {
    uint64_t limit;  // 0 = none was passed
    struct err err;
};

// Takes a mutation that command_commit_check would take by itself. A later one of a key replaces
// the earlier; a delete_range takes in what lies in it; a merge joins an earlier merge of its type.
// INVALID_ARGUMENT: a merge that cannot be joined with what is there (README.md), or a limit;
// RESOURCE_EXHAUSTED: no memory. What was refused may be there in part: the transaction is over.
NODISCARD enum status interactive_write(struct interactive *self,
                                        const struct command_mutation *mutation,
                                        struct interactive_refusal *out);

enum interactive_found {
    INTERACTIVE_UNTOUCHED,  // what the shard says
    INTERACTIVE_PUT,
    INTERACTIVE_DELETED,
    INTERACTIVE_MERGED,  // to be folded with what the shard says
};
// What the transaction itself did to a key. *out_value: of a put; the encoded merge.
enum interactive_found interactive_find(const struct interactive *self, struct slice key,
                                        struct slice *out_value);
// The value that a merge makes of what the shard said, appended. FAILED_PRECONDITION: that is of
// another type, or full.
NODISCARD enum status interactive_fold(struct slice merge, struct slice before, bool exists,
                                       struct buf *out);

// The transaction depends on what the shard said about a key, or about [start, end) (end not
// empty). INVALID_ARGUMENT at a limit; RESOURCE_EXHAUSTED.
NODISCARD enum status interactive_note_key(struct interactive *self, struct slice key,
                                           struct interactive_refusal *out);
NODISCARD enum status interactive_note_span(struct interactive *self, struct slice start,
                                            struct slice end, struct interactive_refusal *out);

// A scan, page after page of what the shards say. The caller sets the fields up to ctx.
struct interactive_scan {
    bool reverse;
    struct slice start;  // full bounds, not empty; one of them moves with each page
    struct slice end;
    uint32_t rows_left;
    size_t bytes_left;  // the last row may exceed it
    // Rows in the order of the scan; version zero = written by this transaction.
    void (*row)(void *ctx, const struct command_row *row);
    void *ctx;
    // Whether rows may be left between start and end.
    bool more;
    uint8_t bound[SHARD_KEY_SIZE_MAX];  // private
};
// Lays the buffer over an encoded page that was asked for with start, end and reverse of the scan.
// Ends when `more` is false, or no rows or bytes are left. CORRUPT: the page does not decode;
// FAILED_PRECONDITION, RESOURCE_EXHAUSTED as interactive_fold.
NODISCARD enum status interactive_scan_page(const struct interactive *self,
                                            struct interactive_scan *scan, struct slice page);

// Everything gathered, for the caller to complete with id, snapshot and conditions: mutations in
// the order in which their keys were first written. Views live until the next call here.
NODISCARD enum status interactive_commit(struct interactive *self, struct command_commit *out);

void interactive_check(const struct interactive *self);
