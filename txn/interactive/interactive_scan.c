// SPDX-License-Identifier: Apache-2.0
// A scan of what the shards say, with the buffer over it: two sorted sequences become one. A page
// covers a stretch of keys, of which nothing outside is known, so the buffer's rows of that stretch
// are all that may be shown with it.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "txn/interactive/interactive_internal.h"

#include <string.h>

// One page under way. Of the shards' rows and of the buffer's the next is at hand.
struct overlay {
    const struct interactive *self;
    struct interactive_scan *scan;
    struct codec_reader rows;
    struct command_row row;  // found: the next of the page
    bool more;               // of the page
    struct slice low;        // what the page covers, [low, high)
    struct slice high;
    const struct interactive_entry *entry;  // the next put or merge in there
    uint32_t at;                            // its place
    struct buf value;                       // a merge folded
};

// --- The page ---

static enum status next_row(struct overlay *o, struct slice *out_resume) {
    bool more = false;
    struct slice resume = SLICE_EMPTY;
    const enum status st = command_scan_row_decode(&o->rows, &o->row, &more, &resume);
    if (st != STATUS_OK) { return st; }
    if (!o->row.found) {
        o->more = more;
        *out_resume = resume;
    }
    return STATUS_OK;
}

// The stretch ends where the page says, which stands behind its rows.
static enum status open_page(struct overlay *o, struct slice page) {
    struct slice resume = SLICE_EMPTY;
    codec_reader_init(&o->rows, page);
    do {
        const enum status st = next_row(o, &resume);
        if (st != STATUS_OK) { return st; }
    } while (o->row.found);
    o->low = o->scan->start;
    o->high = o->scan->end;
    if (o->more) {
        const bool inside = slice_compare(resume, o->low) >= 0 &&
                            slice_compare(resume, o->high) <= 0 &&
                            resume.size <= SHARD_KEY_SIZE_MAX;
        if (!inside) { return STATUS_CORRUPT; }
        *(o->scan->reverse ? &o->low : &o->high) = resume;
    }
    codec_reader_init(&o->rows, page);
    return next_row(o, &resume);
}

// --- The buffer ---

static bool shows(const struct interactive_entry *entry) {
    return entry->mutation.kind == COMMAND_PUT || entry->mutation.kind == COMMAND_MERGE;
}

// From o->at on, in the direction of the scan. When reverse, `at` is one above the next candidate.
static void find_entry(struct overlay *o) {
    const struct interactive *self = o->self;
    o->entry = NULL;
    while (o->scan->reverse ? o->at > 0 : o->at < self->entry_count) {
        const uint32_t place = o->scan->reverse ? o->at - 1 : o->at;
        const struct interactive_entry *entry = self->entries[place];
        const bool inside = o->scan->reverse ? slice_compare(entry->mutation.key, o->low) >= 0
                                             : slice_compare(entry->mutation.key, o->high) < 0;
        if (!inside) { return; }
        if (shows(entry)) {
            o->entry = entry;
            return;
        }
        o->at = o->scan->reverse ? o->at - 1 : o->at + 1;
    }
}

static void next_entry(struct overlay *o) {
    o->at = o->scan->reverse ? o->at - 1 : o->at + 1;
    find_entry(o);
}

// --- Both ---

// Below zero: the page's row comes first; above: the buffer's; zero: they are of one key.
static int compare_next(const struct overlay *o) {
    if (o->entry == NULL) { return -1; }
    if (!o->row.found) { return 1; }
    const int order = slice_compare(o->row.key, o->entry->mutation.key);
    return o->scan->reverse ? -order : order;
}

// The row that is to be shown next, if any: what was deleted is passed over.
static enum status next_shown(struct overlay *o, struct command_row *out) {
    struct slice ignored;
    while (o->row.found && compare_next(o) < 0 &&
           interactive_find(o->self, o->row.key, &ignored) == INTERACTIVE_DELETED) {
        const enum status st = next_row(o, &ignored);
        if (st != STATUS_OK) { return st; }
    }
    *out = o->row;
    if (o->entry == NULL || compare_next(o) < 0) { return STATUS_OK; }
    const struct command_mutation *own = &o->entry->mutation;
    const bool beneath = compare_next(o) == 0;
    *out = (struct command_row){.found = true, .key = own->key, .value = own->value};
    if (own->kind == COMMAND_PUT) { return STATUS_OK; }
    buf_reset(&o->value);
    const enum status st =
        interactive_fold(own->value, beneath ? o->row.value : SLICE_EMPTY, beneath, &o->value);
    out->value = buf_slice(&o->value);
    return st;
}

static enum status pass(struct overlay *o) {
    const int order = compare_next(o);
    if (order >= 0) { next_entry(o); }
    struct slice ignored;
    return order <= 0 ? next_row(o, &ignored) : STATUS_OK;
}

// Where the scan goes on, kept in its own memory. `bound` may lie there already.
static void move_on(struct interactive_scan *scan, struct slice bound) {
    ASSERT(bound.size <= sizeof(scan->bound));
    memmove(scan->bound, bound.data, bound.size);
    *(scan->reverse ? &scan->end : &scan->start) = slice_make(scan->bound, bound.size);
}

static void stop_behind(struct interactive_scan *scan, struct slice last) {
    uint8_t next[SHARD_KEY_SIZE_MAX];
    scan->more = true;
    move_on(scan, scan->reverse ? last : interactive__successor(last, next));
}

static enum status show_rows(struct overlay *o) {
    struct interactive_scan *scan = o->scan;
    uint8_t last[SHARD_KEY_SIZE_MAX];
    size_t last_size = 0;
    for (;;) {
        struct command_row row;
        enum status st = next_shown(o, &row);
        if (st != STATUS_OK) { return st; }
        if (!row.found) { break; }
        if (scan->rows_left == 0 || scan->bytes_left == 0) {
            stop_behind(scan, slice_make(last, last_size));
            return STATUS_OK;
        }
        if (row.key.size > sizeof(last)) { return STATUS_CORRUPT; }
        memcpy(last, row.key.data, row.key.size);
        last_size = row.key.size;
        const size_t size = row.key.size + row.value.size;
        scan->row(scan->ctx, &row);
        scan->rows_left--;
        scan->bytes_left = scan->bytes_left > size ? scan->bytes_left - size : 0;
        st = pass(o);
        if (st != STATUS_OK) { return st; }
    }
    move_on(scan, scan->reverse ? o->low : o->high);
    scan->more = o->more && slice_compare(scan->start, scan->end) < 0;
    return STATUS_OK;
}

enum status interactive_scan_page(const struct interactive *self, struct interactive_scan *scan,
                                  struct slice page) {
    ASSERT(scan->rows_left > 0 && scan->bytes_left > 0 && scan->row != NULL);
    ASSERT(scan->start.size > 0 && scan->end.size > 0);
    struct overlay o = {.self = self, .scan = scan};
    enum status st = open_page(&o, page);
    if (st != STATUS_OK) { return st; }
    buf_init(&o.value, COMMAND_READ_SIZE_MAX);
    o.at = interactive__at(self, scan->reverse ? o.high : o.low);
    find_entry(&o);
    st = show_rows(&o);
    buf_deinit(&o.value);
    return st;
}
