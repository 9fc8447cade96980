// SPDX-License-Identifier: Apache-2.0
// rows.h - keys and values of an import file: JSON lines, or the stanzas of a Debian Packages file;
// and the JSON line of a row, which reads back to the same bytes.
// Invariants: a row handed out has a key of 1 to 4096 bytes and a value of at most 1 MiB.
// Ownership:  borrows the stream; a row is valid until the next call.
// Thread:     confined to its owner.
// See:        api/cli/README.md "Import and export"; tests/unit/api/cli/rows_test.c
#pragma once

#include "api/cli/lines.h"

enum { ROWS_KEY_SIZE_MAX = 4096, ROWS_VALUE_SIZE_MAX = 1 << 20 };

enum rows_format {
    ROWS_AUTO,    // by the first byte that is not white space: '{' begins JSON lines
    ROWS_JSONL,   // {"key": "...", "value": "..."} a line; key_base64, value_base64 for other bytes
    ROWS_DEBIAN,  // paragraphs of "Field: value"; key = Package=Version, value = the paragraph
    ROWS_FORMAT_COUNT
};

struct rows_row {
    struct slice key;
    struct slice value;
    uint64_t line;  // where it begins
};

struct rows {
    enum rows_format format;  // read-only; known after the first row when it was ROWS_AUTO
    struct lines lines;       // read-only: its counts
    struct buf key;           // private
    struct buf value;         // private
};

// "auto", "jsonl" or "debian".
NODISCARD enum status rows_parse_format(const char *text, enum rows_format *out_format);
void rows_init(struct rows *self, FILE *file, enum rows_format format);
void rows_deinit(struct rows *self);
// The next row; *out_end after the last. INVALID_ARGUMENT names the line and what is wrong with it.
NODISCARD enum status rows_next(struct rows *self, struct rows_row *out_row, bool *out_end,
                                struct err *err);
// One line of JSON without its newline, appended.
void rows_write_jsonl(struct buf *out, struct slice key, struct slice value);
