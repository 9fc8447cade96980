// SPDX-License-Identifier: Apache-2.0
// table.h - rows of cells in aligned columns.
// Invariants: cells hold no control characters; lines carry no trailing spaces; with a width, a
//             line is cut to it only in columns that are marked elastic.
// Ownership:  the table owns its cells; columns are borrowed, and outlive it.
// Thread:     confined to its owner.
// See:        api/cli/README.md; tests/unit/api/cli/table_test.c
#pragma once

#include "dataplane/base/bytes.h"

#include <stdio.h>

struct table_column {
    const char *title;
    bool right;    // numbers
    bool elastic;  // may be cut short when the terminal is narrow
};

struct table {
    const struct table_column *columns;  // private
    uint32_t column_count;               // private
    char **cells;                        // private: row after row
    size_t cell_count;                   // private
    size_t cell_capacity;                // private
};

struct table_style {
    uint32_t width;  // columns of the terminal; 0 = as wide as it gets
    bool colour;     // titles in bold
};

void table_init(struct table *self, const struct table_column *columns, uint32_t column_count);
void table_deinit(struct table *self);
// The next cell, left to right, row after row. Control characters are escaped.
void table_cell(struct table *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_cell_bytes(struct table *self, struct slice bytes);
// Titles, then the rows. The last row must be complete.
void table_print(const struct table *self, FILE *out, struct table_style style);
// "name  value" lines without titles; the table has two columns.
void table_print_fields(const struct table *self, FILE *out, struct table_style style);
