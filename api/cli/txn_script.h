// SPDX-License-Identifier: Apache-2.0
// txn_script.h - a transaction as a text: one step a line.
// Invariants: what was read without an error has only whole steps, each with the line it came from.
// Ownership:  the script owns its steps.
// Thread:     confined to its owner.
// See:        api/cli/command_txn_run.c; tests/unit/api/cli/txn_script_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/err.h"

#include <stdio.h>

// In the order of their words.
enum txn_script_op {
    TXN_SCRIPT_GET,            // get KEY
    TXN_SCRIPT_SCAN,           // scan [START [END]]
    TXN_SCRIPT_PUT,            // put KEY VALUE: the rest of the line
    TXN_SCRIPT_INCR,           // incr KEY [N]
    TXN_SCRIPT_DELETE,         // delete KEY
    TXN_SCRIPT_DELETE_RANGE,   // delete-range START END
    TXN_SCRIPT_ASSERT,         // assert KEY VALUE: the rest of the line
    TXN_SCRIPT_ASSERT_ABSENT,  // assert-absent KEY
    TXN_SCRIPT_OP_COUNT
};

struct txn_script_step {
    enum txn_script_op op;
    uint64_t line;
    struct buf key;    // START
    struct buf value;  // END
    int64_t amount;
};

struct txn_script {
    struct txn_script_step *steps;  // read-only
    size_t count;                   // read-only
    size_t capacity;                // private
};

// Reads everything. Keys and values may hold escapes (text.h) unless `literal`; blanks end a key, a
// value goes to the end of the line, and "" alone is the empty one. Empty lines and what begins
// with '#' are passed over. INVALID_ARGUMENT names line and error; IO. Deinit in any case.
NODISCARD enum status txn_script_read(struct txn_script *self, FILE *file, bool literal,
                                      struct err *err);
void txn_script_deinit(struct txn_script *self);
const char *txn_script_word(enum txn_script_op op);
