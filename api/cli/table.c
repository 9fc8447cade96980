// SPDX-License-Identifier: Apache-2.0
// Cells are kept until the end, because widths are known only then; what is long (scans, exports)
// is streamed in other forms and never comes here.
#include "api/cli/table.h"

#include "api/cli/text.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <stdarg.h>
#include <string.h>

enum { TABLE_GAP = 2, TABLE_ELASTIC_MIN = 8, TABLE_COLUMNS_MAX = 24 };

void table_init(struct table *self, const struct table_column *columns, uint32_t column_count) {
    ASSERT(column_count > 0 && column_count <= TABLE_COLUMNS_MAX);
    *self = (struct table){.columns = columns, .column_count = column_count};
}

void table_deinit(struct table *self) {
    for (size_t i = 0; i < self->cell_count; i++) {
        mem_free(self->cells[i]);
    }
    mem_free(self->cells);
    *self = (struct table){0};
}

void table_cell_bytes(struct table *self, struct slice bytes) {
    if (self->cell_count == self->cell_capacity) {
        self->cell_capacity = self->cell_capacity == 0 ? 64 : 2 * self->cell_capacity;
        self->cells = mem_realloc(self->cells, self->cell_capacity * sizeof(*self->cells));
    }
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    text_escape(&text, bytes, TEXT_LINE);
    char *cell = mem_alloc(text.size + 1);
    if (text.size > 0) { memcpy(cell, text.data, text.size); }
    self->cells[self->cell_count++] = cell;
    buf_deinit(&text);
}

void table_cell(struct table *self, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(size >= 0);
    table_cell_bytes(self, slice_from_string(text));
}

// --- Widths

static size_t columns_of(const char *cell) {
    return text_columns(slice_from_string(cell));
}

static void measure(const struct table *self, bool titles, size_t widths[TABLE_COLUMNS_MAX]) {
    for (uint32_t c = 0; c < self->column_count; c++) {
        widths[c] = titles ? columns_of(self->columns[c].title) : 0;
    }
    for (size_t i = 0; i < self->cell_count; i++) {
        size_t width = columns_of(self->cells[i]);
        size_t *widest = &widths[i % self->column_count];
        *widest = width > *widest ? width : *widest;
    }
}

static size_t total_width(const struct table *self, const size_t widths[TABLE_COLUMNS_MAX]) {
    size_t total = (size_t)TABLE_GAP * (self->column_count - 1);
    for (uint32_t c = 0; c < self->column_count; c++) {
        total += widths[c];
    }
    return total;
}

// Takes columns from the widest elastic one until the line fits or none can give any more.
static void shrink(const struct table *self, size_t widths[TABLE_COLUMNS_MAX], uint32_t width) {
    while (total_width(self, widths) > width) {
        uint32_t widest = self->column_count;
        for (uint32_t c = 0; c < self->column_count; c++) {
            bool gives = self->columns[c].elastic && widths[c] > TABLE_ELASTIC_MIN;
            if (gives && (widest == self->column_count || widths[c] > widths[widest])) {
                widest = c;
            }
        }
        if (widest == self->column_count) { return; }
        widths[widest]--;
    }
}

// --- Printing

static void add_spaces(struct buf *line, size_t count) {
    for (size_t i = 0; i < count; i++) {
        text_add_string(line, " ");
    }
}

// The cell, cut to `width` columns with an ellipsis.
static void add_cut(struct buf *line, const char *cell, size_t width) {
    struct slice rest = slice_from_string(cell);
    if (columns_of(cell) <= width) {
        text_add(line, rest);
        return;
    }
    for (size_t i = 0; i + 1 < width; i++) {
        size_t size = text_character(rest);
        ASSERT(size > 0);
        text_add(line, slice_make(rest.data, size));
        rest = slice_make(rest.data + size, rest.size - size);
    }
    text_add_string(line, "…");
}

static void print_row(const struct table *self, FILE *out, const size_t widths[TABLE_COLUMNS_MAX],
                      const char *const *cells) {
    struct buf line;
    buf_init(&line, TEXT_BUF_MAX);
    for (uint32_t c = 0; c < self->column_count; c++) {
        size_t have = columns_of(cells[c]);
        size_t padding = have < widths[c] ? widths[c] - have : 0;
        add_spaces(&line, c > 0 ? TABLE_GAP : 0);
        add_spaces(&line, self->columns[c].right ? padding : 0);
        add_cut(&line, cells[c], widths[c]);
        add_spaces(&line, self->columns[c].right ? 0 : padding);
    }
    size_t size = line.size;
    while (size > 0 && line.data[size - 1] == ' ') {
        size--;
    }
    (void)fwrite(line.data, 1, size, out);
    (void)fputc('\n', out);
    buf_deinit(&line);
}

static void print_rows(const struct table *self, FILE *out,
                       const size_t widths[TABLE_COLUMNS_MAX]) {
    ASSERT(self->cell_count % self->column_count == 0);
    for (size_t i = 0; i < self->cell_count; i += self->column_count) {
        print_row(self, out, widths, (const char *const *)self->cells + i);
    }
}

void table_print(const struct table *self, FILE *out, struct table_style style) {
    size_t widths[TABLE_COLUMNS_MAX];
    measure(self, true, widths);
    if (style.width > 0) { shrink(self, widths, style.width); }
    const char *titles[TABLE_COLUMNS_MAX];
    for (uint32_t c = 0; c < self->column_count; c++) {
        titles[c] = self->columns[c].title;
    }
    (void)fputs(style.colour ? "\033[1m" : "", out);
    print_row(self, out, widths, titles);
    (void)fputs(style.colour ? "\033[0m" : "", out);
    print_rows(self, out, widths);
}

void table_print_fields(const struct table *self, FILE *out, struct table_style style) {
    ASSERT(self->column_count == 2);
    size_t widths[TABLE_COLUMNS_MAX];
    measure(self, false, widths);
    if (style.width > 0) { shrink(self, widths, style.width); }
    print_rows(self, out, widths);
}
