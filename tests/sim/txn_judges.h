// SPDX-License-Identifier: Apache-2.0
// txn_judges.h - what histories of transactions must not show, one workload at a time: a bank, a
//                counter, long forks, write skew, phantoms, broken sessions.
// Invariants: each function judges by its arguments alone; an unknown outcome binds nobody; true
//             means that nothing is wrong, else the text says in one line what is.
// Ownership:  everything is borrowed; text has text_size bytes and ends with a NUL.
// Thread:     pure.
// See:        tests/sim/list_append.h, for all that has lists; tests/sim/README.md "Checkers";
//             Terry et al., Session Guarantees (1994); tests/sim/txn_judges_test.c
#pragma once

#include "tests/sim/list_append.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct txn_judge_text {
    char *data;
    size_t size;
};

// --- Lists: what is promised of reads over several shards ---

// A history with final reads. All of it is serializable in the order of commit timestamps; without
// the reads that stand `apart` it is strictly so; and those, unless they are stale, miss nothing
// that was acknowledged, or read by anybody, before they began. Not more: of two transactions that
// follow each other while such a read is under way, or after the snapshot of one that is stale, it
// may show the second alone (docs/GUARANTEES.md, "Causal reverse"): timestamps of different shards
// do not follow real time, and only a read of several shards can show it.
bool txn_judge_lists(const struct list_append_history *history, struct txn_judge_text text);

// --- Bank: transfers keep the total ---

struct txn_judge_balances {
    uint64_t ts;  // of the snapshot, for the text
    const int64_t *balances;
    uint32_t count;
};
struct txn_judge_bank {
    int64_t total;
    bool overdraft;  // balances may be negative
};
// Every snapshot, strong or of a follower, holds the total.
bool txn_judge_bank(const struct txn_judge_bank *bank, const struct txn_judge_balances *snapshots,
                    uint32_t count, struct txn_judge_text text);

// --- Counter: each increment counts once ---

struct txn_judge_count {
    bool is_read;  // else an increment
    enum list_append_type outcome;
    uint64_t invoke;
    uint64_t ret;
    int64_t value;  // what was read, or added
};
// Each read lies between what had to be counted by then and what could have been. A read that is
// invoked after everything ended is the exact sum, but for unknown outcomes.
bool txn_judge_counter(const struct txn_judge_count *ops, uint32_t count,
                       struct txn_judge_text text);

// --- Long fork: two readers see two independent writes in opposite order ---

enum { TXN_JUDGE_FORK_KEYS_MAX = 64 };
struct txn_judge_fork {
    uint64_t id;
    uint64_t read;  // bits: keys that were read; each key is written once
    uint64_t seen;  // bits: the write was there
};
bool txn_judge_long_fork(const struct txn_judge_fork *reads, uint32_t count,
                         struct txn_judge_text text);

// --- Write skew: who claims reads that nobody of the group has claimed, then marks its own key ---

struct txn_judge_claim {
    uint64_t id;
    uint64_t group;
    enum list_append_type outcome;
    bool observed;  // its mark was seen: then it happened, whatever the outcome says
};
// At most one claim of a group happened.
bool txn_judge_write_skew(const struct txn_judge_claim *claims, uint32_t count,
                          struct txn_judge_text text);

// --- Phantoms: range reads over fixed sets of members ---

// Members are numbers; whoever inserts one is the only one that ever does. In a list-append history
// a member is a key whose list is empty or holds TXN_JUDGE_MEMBER, and a read of a range is a read
// of all its members, present or not: what the checker of lists finds then are the anomalies of
// predicates. Other keys of that history must not be among the members.
enum { TXN_JUDGE_MEMBER = 1 };
struct txn_judge_range {
    uint64_t first;
    uint64_t last;
};
// Both belong to the transaction that was begun last.
void txn_judge_insert(struct list_append_history *history, uint64_t member);
// seen ascends; false, and nothing is added, when it does not or holds a member outside the range.
bool txn_judge_range_read(struct list_append_history *history, struct txn_judge_range range,
                          const uint64_t *seen, uint32_t count, struct txn_judge_text text);

// --- Sessions: what one client sees of its own past ---

struct txn_judge_step {
    uint32_t session;
    uint32_t key;
    bool is_write;
    uint64_t version;  // timestamp of the version read (0 = there was none) or written
    uint64_t txn;      // steps of one transaction bind each other only if it reads what it wrote
};
struct txn_judge_sessions {
    uint32_t session_count;
    uint32_t key_count;
    const struct txn_judge_step *steps;  // acknowledged ones, in the order of each session
    uint32_t count;
};
// Reads show own writes and never go back, key by key; writes come after all that the session wrote
// or read before. Keys are never deleted.
bool txn_judge_sessions(const struct txn_judge_sessions *sessions, struct txn_judge_text text);
