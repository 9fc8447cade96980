// SPDX-License-Identifier: Apache-2.0
// journal.h - what was acknowledged, one put a line: key, a tab, value, both in hexadecimal.
// Invariants: a line is written after the acknowledgement, never before; a line that does not read
//             back whole is an error, never skipped.
// Ownership:  a journal owns its file; entries own their bytes.
// Thread:     confined to its owner.
// See:        api/cli/command_bench.c, api/cli/command_kv_verify.c;
//             tests/unit/api/cli/journal_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/err.h"

#include <stdint.h>
#include <stdio.h>

enum {
    JOURNAL_KEY_SIZE_MAX = 4096,
    JOURNAL_VALUE_SIZE_MAX = 1 << 20,
    JOURNAL_LINE_SIZE_MAX = 2 * (JOURNAL_KEY_SIZE_MAX + JOURNAL_VALUE_SIZE_MAX) + 1,
};

struct journal {
    FILE *file;       // private
    struct buf line;  // private
};

// A new file; one that is there is replaced. IO names the file.
NODISCARD enum status journal_create(struct journal *self, const char *path, struct err *err);
void journal_add(struct journal *self, struct slice key, struct slice value);
// IO when any line could not be written.
NODISCARD enum status journal_close(struct journal *self, struct err *err);

// One line without its end into two empty bufs. INVALID_ARGUMENT when it is none of ours.
NODISCARD enum status journal_parse(struct slice line, struct buf *key, struct buf *value);
