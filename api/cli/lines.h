// SPDX-License-Identifier: Apache-2.0
// lines.h - a stream read line by line, with a bound on the line.
// Invariants: a line handed out holds no newline and at most size_max bytes.
// Ownership:  borrows the stream; a line is valid until the next call.
// Thread:     confined to its owner.
// See:        tests/unit/api/cli/lines_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/err.h"

#include <stdio.h>

struct lines {
    FILE *file;           // private
    uint64_t number;      // read-only: of the line handed out last, from 1
    uint64_t bytes_read;  // read-only
    struct buf line;      // private
    bool unread;          // private: the same line comes again
};

void lines_init(struct lines *self, FILE *file, size_t size_max);
void lines_deinit(struct lines *self);
// The next line; *out_end at the end of the stream. A last line without newline counts.
// RESOURCE_EXHAUSTED for a line that is too long, IO when reading fails.
NODISCARD enum status lines_next(struct lines *self, struct slice *out_line, bool *out_end,
                                 struct err *err);
// The line handed out last comes once more. Not at the end.
void lines_unread(struct lines *self);
