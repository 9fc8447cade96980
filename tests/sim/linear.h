// SPDX-License-Identifier: Apache-2.0
// linear.h - is the history of one register linearizable? Puts, reads and conditional puts, some of
//            them with an unknown outcome, each written value unique.
// Invariants: the verdict depends on the operations alone; an operation of unknown outcome may take
//             effect at any moment after its invocation, or never.
// Ownership:  operations are borrowed.
// Thread:     pure.
// See:        tests/sim/README.md; Wing and Gong (1993); Lowe, Testing for Linearizability (2017);
//             tests/sim/checkers_test.c
#pragma once

#include <stdint.h>

enum linear_kind { LINEAR_READ, LINEAR_PUT, LINEAR_CAS };
enum linear_outcome { LINEAR_OK, LINEAR_FAILED, LINEAR_UNKNOWN };
enum linear_verdict { LINEAR_GOOD, LINEAR_BAD, LINEAR_UNDECIDED };

struct linear_op {
    enum linear_kind kind;
    enum linear_outcome outcome;  // FAILED: of a conditional put, the state was another one
    uint64_t invoke;
    uint64_t ret;    // ignored when unknown
    uint64_t value;  // read: what was seen; else what is written; 0 = absent (a delete writes it)
    uint64_t expected;  // conditional put
};

enum { LINEAR_OPS_MAX = 4096 };

// steps_max bounds the search; UNDECIDED when it is used up (or there are too many operations). The
// register is absent at first.
enum linear_verdict linear_check(const struct linear_op *ops, uint32_t count, uint64_t steps_max);
