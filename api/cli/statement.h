// SPDX-License-Identifier: Apache-2.0
// statement.h - one line of the shell's small language: cut into words, checked, and run within a
// transaction.
// Invariants: a statement that was parsed has the operands it wants; running it twice in two
//             transactions writes the same (that is what makes it fit for a retry).
// Ownership:  a statement owns its words.
// Thread:     confined to its owner.
// See:        api/cli/README.md "The shell"; tests/unit/api/cli/statement_test.c
#pragma once

#include "api/client/lightcone_txn.h"
#include "dataplane/base/err.h"

enum { STATEMENT_WORDS_MAX = 64 };

enum statement_kind {
    STATEMENT_EMPTY,  // nothing, or a comment
    STATEMENT_GET,
    STATEMENT_PUT,
    STATEMENT_DELETE,
    STATEMENT_DELETE_RANGE,
    STATEMENT_INCR,
    STATEMENT_SCAN,
    STATEMENT_ASSERT,
    STATEMENT_ASSERT_ABSENT,
    STATEMENT_BEGIN,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_USE,
    STATEMENT_HELP,
    STATEMENT_QUIT,
    STATEMENT_OTHER,  // a command of the program: words[0] is its noun
    STATEMENT_KIND_COUNT
};

struct statement {
    enum statement_kind kind;
    uint32_t word_count;
    struct slice words[STATEMENT_WORDS_MAX];  // [0] names it; NUL behind each; views into text
    struct buf text;                          // private
    int64_t amount;                           // INCR
    uint32_t limit;                           // SCAN; 0 = all rows
};

// Blanks separate words, quotes of either kind hold them together, '#' at the beginning of a word
// begins a comment. Escapes as in keys (\xNN, \n, \t, \r, \\), and \" and \' and \# and a blank
// behind a backslash; within '...' everything is as it stands. INVALID_ARGUMENT says what is wrong;
// the statement is to be freed in any case.
NODISCARD enum status statement_parse(struct statement *out, struct slice line, struct err *err);
void statement_free(struct statement *self);
// Whether it reads or writes, and so wants a transaction.
bool statement_is_data(enum statement_kind kind);
bool statement_writes(enum statement_kind kind);

// What was read: one call a key of get, one a row of scan. Views, for the call.
struct statement_sink {
    void (*row)(void *ctx, const struct statement *statement, struct slice key,
                const struct lc_row *row);
    void *ctx;
};

// One of those, within the transaction. CONDITION_FAILED when an assert does not hold. Other errors
// are the transaction's, which is over then; err has the sentence.
NODISCARD enum status statement_run(const struct statement *self, struct lc_txn *txn,
                                    const struct statement_sink *sink, struct err *err);

// Name, operands and meaning of each, for help and completion; terminated by a NULL name.
struct statement_help {
    const char *name;
    const char *operands;
    const char *summary;
};
extern const struct statement_help statement_helps[];
