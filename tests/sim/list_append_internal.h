// SPDX-License-Identifier: Apache-2.0
// list_append_internal.h - what the parts of the list-append checker share: who wrote what, the
//                          order of each key's versions, and the text of the findings.
// Invariants: an element's write is found by (key, value); `longest` of a key is the order of its
//             versions as far as anybody saw it; nothing points into the history but `list`.
// Ownership:  the run owns its tables; the history and the caller's text are borrowed.
// Thread:     pure.
// See:        tests/sim/list_append.h
#pragma once

#include "tests/sim/list_append.h"
#include "tests/sim/list_append_graph.h"

#define LIST_APPEND_NONE UINT32_MAX

// One value of one key: appended by somebody, or, as garbage, only seen.
struct list_append_write {
    uint64_t value;
    uint32_t key;
    uint32_t txn;       // LIST_APPEND_NONE: garbage
    uint32_t next;      // of the same key
    uint32_t position;  // in the longest read of the key, LIST_APPEND_NONE when it is not there
    uint32_t stamp;     // of the read in which it was met last
    bool last;          // the transaction's last append to this key
    bool observed;
};

// What a transaction read of a key before it wrote there itself: `list` without its own appends.
struct list_append_ext {
    uint32_t txn;
    uint32_t key;
    uint32_t op;
    uint32_t count;
    uint32_t next;  // of the same key
    bool appends;   // the transaction appends to the key as well
    bool fits;      // a prefix of the longest read
};

struct list_append_version_order {
    uint64_t key;
    uint32_t longest_op;  // LIST_APPEND_NONE when nobody read the key
    const uint64_t *list;
    uint32_t count;
    uint32_t *writes;  // by position in list
    uint32_t first_write;
    uint32_t first_ext;
};

struct list_append_table {
    uint32_t *slots;  // position + 1
    uint32_t mask;
    uint32_t count;
};

struct list_append_text {
    char *data;
    size_t size;
    size_t used;
};

struct list_append_run {
    const struct list_append_history *history;
    const struct list_append_config *config;
    struct list_append_version_order *keys;
    uint32_t key_count;
    uint32_t key_capacity;
    struct list_append_table key_table;
    struct list_append_write *writes;
    uint32_t write_count;
    uint32_t write_capacity;
    struct list_append_table write_table;
    struct list_append_ext *exts;
    uint32_t ext_count;
    uint32_t *op_keys;    // by operation: its key's position
    uint32_t *op_writes;  // by operation that appends: its write
    bool *committed;      // by transaction: OK, or INFO and somebody saw it
    uint32_t stamp;
    struct list_append_graph graph;
    uint64_t found;
    uint64_t forbidden;  // what the model forbids
    // What is forbidden is told first; the rest waits in `allowed`.
    struct list_append_text text;
    struct list_append_text allowed;
};

// --- list_append_orders.c: writes, version orders, external reads ---

void list_append__orders_init(struct list_append_run *self);
void list_append__orders_deinit(struct list_append_run *self);
// The write of an element; garbage gets one as well.
uint32_t list_append__write_of(struct list_append_run *self, uint32_t key, uint64_t value);
static inline const uint64_t *list_append__list(const struct list_append_run *self, uint32_t op) {
    const struct list_append_op *read = &self->history->ops[op];
    return read->list_count == 0 ? NULL : &self->history->elements[read->list_first];
}

// --- The passes, in their order ---

// Each read by itself: internal, duplicate, garbage, G1a, G1b, dirty update, incompatible order.
void list_append__check_reads(struct list_append_run *self);
// Lost appends and lost updates.
void list_append__check_lost(struct list_append_run *self);
void list_append__add_data_edges(struct list_append_run *self);
void list_append__add_time_edges(struct list_append_run *self);
void list_append__check_cycles(struct list_append_run *self);
void list_append__check_timestamps(struct list_append_run *self);

// --- list_append_report.c ---

// True when the class is found for the first time: then somebody tells how.
bool list_append__found(struct list_append_run *self, enum list_append_class class);
// Text about a class; each finding ends with a newline.
void list_append__tell(struct list_append_run *self, enum list_append_class class,
                       const char *format, ...) __attribute__((format(printf, 3, 4)));
void list_append__tell_key(struct list_append_run *self, enum list_append_class class,
                           uint32_t key);
// A list, by its last elements.
void list_append__tell_list(struct list_append_run *self, enum list_append_class class,
                            const uint64_t *list, uint32_t count);
// "T7 read x=[1 2]".
void list_append__tell_read(struct list_append_run *self, enum list_append_class class,
                            uint32_t txn, uint32_t op);
void list_append__tell_cycle(struct list_append_run *self, enum list_append_class class,
                             const uint32_t *edges, uint32_t count);
