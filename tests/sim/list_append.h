// SPDX-License-Identifier: Apache-2.0
// list_append.h - could a serializable database have shown this history of appends and reads of
//                 whole lists? Names the anomalies, and explains the shortest cycle of each kind.
// Invariants: each appended value is unique in its key, so each read names the writers of all that
//             it saw; what has an unknown outcome binds nobody until somebody saw it; the verdict
//             depends on the history alone.
// Ownership:  the history owns what is added to it; the text of a finding is the caller's memory.
// Thread:     pure.
// See:        tests/sim/README.md "Checkers"; Kingsbury and Alvaro, Elle (2020); Adya (1999);
//             Cerone and Gotsman, Analysing Snapshot Isolation (2018);
//             tests/sim/list_append_test.c
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum list_append_type {
    LIST_APPEND_OK,
    LIST_APPEND_FAIL,  // certainly not committed
    LIST_APPEND_INFO,  // may have committed, may still commit
};

struct list_append_op {
    uint64_t key;
    bool is_read;
    uint64_t value;       // append
    uint32_t list_first;  // read: its place among the history's elements
    uint32_t list_count;
};

#define LIST_APPEND_NEVER UINT64_MAX

struct list_append_txn {
    uint64_t id;  // for the text only
    uint64_t process;
    uint64_t invoke;
    uint64_t ret;  // LIST_APPEND_NEVER unless OK; equal to an invocation: the two are concurrent
    enum list_append_type type;
    uint64_t commit_ts;    // 0 = not known
    uint64_t snapshot_ts;  // reads show exactly what was committed at or below this; 0 = not told
    bool stale;            // its snapshot need not be recent: nothing has to come before it
    bool apart;            // by txn_judge_lists alone: reads several shards and is not strict
    uint32_t op_first;     // set by list_append_begin
    uint32_t op_count;
};

struct list_append_history {
    struct list_append_txn *txns;
    uint32_t txn_count;
    uint32_t txn_capacity;
    struct list_append_op *ops;
    uint32_t op_count;
    uint32_t op_capacity;
    uint64_t *elements;
    uint32_t element_count;
    uint32_t element_capacity;
    char **key_names;  // of keys 0 .. key_name_count - 1, for the text only
    uint32_t key_name_count;
};

void list_append_init(struct list_append_history *self);
void list_append_deinit(struct list_append_history *self);
// A transaction, as it ended; its operations follow before the next one begins. The order in which
// transactions are added does not matter.
void list_append_begin(struct list_append_history *self, const struct list_append_txn *txn);
void list_append_add(struct list_append_history *self, uint64_t key, uint64_t value);
// Reads count in transactions that are OK.
void list_append_add_read(struct list_append_history *self, uint64_t key, const uint64_t *list,
                          uint32_t count);
// The number of a named key; a new name gets the next number. A history has names or numbers.
uint64_t list_append_key(struct list_append_history *self, const char *name);

enum list_append_class {
    LIST_APPEND_GENERATOR,  // a value was appended twice: the history itself is useless
    LIST_APPEND_INTERNAL,
    LIST_APPEND_DUPLICATE,
    LIST_APPEND_GARBAGE,
    LIST_APPEND_G1A,
    LIST_APPEND_G1B,
    LIST_APPEND_DIRTY_UPDATE,
    LIST_APPEND_INCOMPATIBLE_ORDER,
    LIST_APPEND_LOST_APPEND,
    LIST_APPEND_LOST_UPDATE,
    LIST_APPEND_G0,  // the five cycles, from the worst on; then with the order of each process, ...
    LIST_APPEND_G1C,
    LIST_APPEND_G_SINGLE,
    LIST_APPEND_G_NONADJACENT,
    LIST_APPEND_G2_ITEM,
    LIST_APPEND_G0_PROCESS,
    LIST_APPEND_G1C_PROCESS,
    LIST_APPEND_G_SINGLE_PROCESS,
    LIST_APPEND_G_NONADJACENT_PROCESS,
    LIST_APPEND_G2_ITEM_PROCESS,
    LIST_APPEND_G0_REALTIME,  // ... and with real time
    LIST_APPEND_G1C_REALTIME,
    LIST_APPEND_G_SINGLE_REALTIME,
    LIST_APPEND_G_NONADJACENT_REALTIME,
    LIST_APPEND_G2_ITEM_REALTIME,
    LIST_APPEND_COMMIT_ORDER,      // the order of commit timestamps explains no such reads
    LIST_APPEND_EQUAL_TIMESTAMPS,  // two that touch one key committed at one timestamp
    LIST_APPEND_SNAPSHOT_READ,     // not the state at the snapshot
    LIST_APPEND_CLASS_COUNT
};
#define LIST_APPEND_BIT(class) (UINT64_C(1) << (class))

enum list_append_model {
    LIST_APPEND_STRICT_SERIALIZABLE,
    LIST_APPEND_SERIALIZABLE,  // real time and the order of processes do not matter
    LIST_APPEND_SNAPSHOT_ISOLATION,
    LIST_APPEND_MODEL_COUNT
};

struct list_append_config {
    enum list_append_model model;
    bool final_reads;  // after all was quiet, every key was read: each acknowledged append is there
};

struct list_append_result {
    uint64_t found;      // bits of classes
    uint64_t forbidden;  // those of them that the model forbids
    uint32_t ok_count;
    uint32_t info_count;
};

// True when nothing forbidden was found. The text tells one example of each class that was found,
// what is forbidden first, the shortest cycles there are; as much as text_size allows, and a NUL.
bool list_append_check(const struct list_append_history *history,
                       const struct list_append_config *config,
                       struct list_append_result *out_result, char *text, size_t text_size);
const char *list_append_class_name(enum list_append_class class);
const char *list_append_model_name(enum list_append_model model);
// What the model forbids, as bits of classes.
uint64_t list_append_forbidden(enum list_append_model model);
