// SPDX-License-Identifier: Apache-2.0
// list_append_db.h - a database in a few lines, sound or flawed as asked for, whose histories try
//                    the list-append checker.
// Invariants: equal configurations give equal histories; each ends with a read of every key.
// Ownership:  the history is the caller's, and empty at first.
// Thread:     pure.
// See:        tests/sim/list_append.h; tests/sim/list_append_test.c
#pragma once

#include "tests/sim/list_append.h"

enum list_append_db_mode {
    LIST_APPEND_DB_SERIALIZABLE,  // a snapshot, and all that was read is still newest at the end
    LIST_APPEND_DB_SNAPSHOT,      // a snapshot, and all that is written is still newest
    LIST_APPEND_DB_DIRTY,         // reads and writes in place; what fails stays
    LIST_APPEND_DB_STALE,         // serializable, but who only reads gets an old snapshot
};

struct list_append_db_config {
    uint64_t seed;
    enum list_append_db_mode mode;
    uint32_t txns;
    uint32_t processes;
    uint32_t keys;
    bool tell_stale;  // stale reads are marked as such
};

void list_append_db_run(const struct list_append_db_config *config,
                        struct list_append_history *history);
