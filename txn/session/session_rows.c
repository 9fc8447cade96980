// SPDX-License-Identifier: Apache-2.0
// Reads and scans evaluated at a snapshot, rows encoded as they come.
//
// A page of a scan ends at the border of the shard: the answer then says "more" and where to go on,
// and the next page is routed anew. So a scan over many shards needs nobody who knows the map. Each
// page has its own snapshot.
// LIMIT: a page passes over deleted keys without counting them; a range full of deletes is one long
// walk until versions are collected.
#include "dataplane/base/assert.h"
#include "dataplane/base/mutant.h"
#include "txn/session/session_internal.h"

#include <string.h>

// --- What a snapshot may miss ---

// A version above the snapshot that was prepared here by the time of first contact may have been
// acknowledged before the read began.
static bool uncertain_visit(void *ctx, const struct mvcc_version *version) {
    struct session_exec *self = ctx;
    const struct hlc_ts limit = hlc_larger(self->contact, self->read.timestamp);
    const struct hlc_ts known = MUTANT(UNCERTAIN_BY_COMMIT) ? version->ts : version->prepared;
    if (!hlc_before(limit, known)) { self->uncertain = hlc_larger(self->uncertain, version->ts); }
    return true;
}

// Over [start, end), or start alone, of a read over several shards (which has a first contact).
static enum status note_uncertain(struct session_exec *self, struct slice start, struct slice end,
                                  bool alone) {
    if (self->contact.v == 0) { return STATUS_OK; }
    const struct mvcc_above above = {.start = start,
                                     .end = end,
                                     .alone = alone,
                                     .ts = self->read.timestamp,
                                     .visit = uncertain_visit,
                                     .ctx = self};
    return mvcc_above(apply_reader(self->session->config.apply), &above);
}

// --- Keys ---

static bool row_fits(const struct codec_writer *w) {
    return w->status == STATUS_OK && w->buf->size <= COMMAND_READ_SIZE_MAX;
}

// The version at the snapshot, and what above it makes the snapshot uncertain. Most keys have
// nothing above it: then the newest is the answer to both, for one search.
static enum status read_version(struct session_exec *self, struct slice key,
                                struct mvcc_version *out, bool *out_newest) {
    struct mvcc_reader *reader = apply_reader(self->session->config.apply);
    const struct hlc_ts snapshot = self->read.timestamp;
    if (self->contact.v != 0) {
        const enum status st = mvcc_read(reader, key, HLC_MAX, out);
        *out_newest = !hlc_before(snapshot, out->ts);
        if (*out_newest || (st != STATUS_OK && st != STATUS_NOT_FOUND)) { return st; }
    }
    return mvcc_read(reader, key, snapshot, out);
}

static enum status read_one(struct session_exec *self, struct slice key, struct codec_writer *w,
                            const char **out_detail) {
    struct mvcc_version version;
    bool newest = false;
    const enum status st = read_version(self, key, &version, &newest);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) {
        *out_detail = "the store cannot be read";
        return st;
    }
    const struct command_row row = {
        .found = st == STATUS_OK, .value = version.value, .version = version.ts};
    command_read_row_encode(w, &row);
    if (!row_fits(w)) {
        *out_detail = "the values read exceed 16 MiB together; read fewer keys";
        return STATUS_RESOURCE_EXHAUSTED;
    }
    *out_detail = "the store cannot be read";
    return newest ? STATUS_OK : note_uncertain(self, key, SLICE_EMPTY, true);
}

enum status session__read_rows(struct session_exec *self, const struct shard_descriptor *descriptor,
                               const char **out_detail) {
    struct command_read_reader reader;
    struct codec_writer w;
    codec_writer_init(&w, &self->rows);
    *out_detail = "the read does not decode";
    if (command_read_open(&reader, self->payload) != STATUS_OK) { return STATUS_INVALID_ARGUMENT; }
    for (uint32_t i = 0; i < reader.key_count; i++) {
        struct slice key;
        if (command_read_next(&reader, &key) != STATUS_OK) { return STATUS_INVALID_ARGUMENT; }
        if (!shard_descriptor_contains(descriptor, key)) {
            *out_detail = "a key of the read lies outside the shard";
            return STATUS_INVALID_ARGUMENT;
        }
        const enum status st = read_one(self, key, &w, out_detail);
        if (st != STATUS_OK) { return st; }
    }
    return STATUS_OK;
}

// --- Spans ---

struct slice session__scan_key(const struct command_scan *scan, uint8_t out[SHARD_KEY_SIZE_MAX]) {
    if (!scan->reverse) { return scan->start; }
    uint8_t next[SHARD_KEYSPACE_PREFIX_SIZE];
    const struct slice end =
        scan->end.size > 0 ? scan->end : command_keyspace_end(scan->start, next);
    // The largest key below `end`, as keys have at most SHARD_KEY_SIZE_MAX bytes: without a last
    // byte 0; else with its last byte one less and filled up with 0xFF.
    memset(out, 0xFF, SHARD_KEY_SIZE_MAX);
    if (end.size == 0) { return slice_make(out, SHARD_KEY_SIZE_MAX); }
    ASSERT(end.size <= SHARD_KEY_SIZE_MAX);
    memcpy(out, end.data, end.size);
    if (out[end.size - 1] == 0) { return slice_make(out, end.size - 1); }
    out[end.size - 1]--;
    return slice_make(out, SHARD_KEY_SIZE_MAX);
}

// One page under way.
struct page {
    const struct command_scan *scan;
    struct codec_writer w;
    uint32_t rows;
    bool full;  // stopped with a row left over
    struct slice resume;
    uint8_t resume_key[SHARD_KEY_SIZE_MAX];
};

static void set_resume(struct page *self, struct slice key) {
    ASSERT(key.size <= sizeof(self->resume_key));
    memcpy(self->resume_key, key.data, key.size);
    self->resume = slice_make(self->resume_key, key.size);
}

static bool page_visit(void *ctx, struct slice key, const struct mvcc_version *version) {
    struct page *self = ctx;
    if (command_key_is_reserved(key)) { return true; }
    if (self->rows == self->scan->row_limit || self->w.buf->size >= COMMAND_SCAN_BYTES_MAX) {
        // Forward the next page begins with this row; backwards it ends before the last one given.
        self->full = true;
        if (!self->scan->reverse) { set_resume(self, key); }
        return false;
    }
    const struct command_row row = {.found = true,
                                    .key = key,
                                    .value = self->scan->keys_only ? SLICE_EMPTY : version->value,
                                    .version = version->ts};
    command_scan_row_encode(&self->w, &row);
    self->rows++;
    if (self->scan->reverse) { set_resume(self, key); }
    return self->w.status == STATUS_OK;
}

// The part of the scan that lies in the shard. False when there is none.
static bool clamp(const struct command_scan *scan, const struct shard_descriptor *descriptor,
                  struct mvcc_scan *out) {
    uint8_t key[SHARD_KEY_SIZE_MAX];
    if (!shard_descriptor_contains(descriptor, session__scan_key(scan, key))) { return false; }
    const struct slice start = bytes_slice(descriptor->start);
    const struct slice end = bytes_slice(descriptor->end);
    out->start = slice_compare(scan->start, start) < 0 ? start : scan->start;
    out->end = scan->end;
    if (end.size > 0 && (out->end.size == 0 || slice_compare(end, out->end) < 0)) {
        out->end = end;
    }
    return true;
}

static void page_end(struct page *self, const struct mvcc_scan *part) {
    const struct command_scan *scan = self->scan;
    if (!self->full) {
        // The shard's part is done. Is there more of the scan beyond its border?
        const struct slice border = scan->reverse ? part->start : part->end;
        const bool beyond = !slice_equal(border, scan->reverse ? scan->start : scan->end);
        self->resume = beyond ? border : SLICE_EMPTY;
    }
    command_scan_end_encode(&self->w, self->resume.size > 0, self->resume);
}

// What the page covers: up to where the next one begins.
static enum status scan_uncertain(struct session_exec *self, const struct page *page,
                                  const struct mvcc_scan *part) {
    const bool reverse = page->scan->reverse;
    const struct slice start = page->full && reverse ? page->resume : part->start;
    const struct slice end = page->full && !reverse ? page->resume : part->end;
    return note_uncertain(self, start, end, false);
}

// The end of a scan's keyspace, where none is given.
static void scan_bound(struct command_scan *scan, uint8_t next[SHARD_KEYSPACE_PREFIX_SIZE]) {
    if (scan->end.size == 0) { scan->end = command_keyspace_end(scan->start, next); }
}

enum status session__scan_rows(struct session_exec *self, const struct shard_descriptor *descriptor,
                               const char **out_detail) {
    struct command_scan scan;
    *out_detail = "the scan does not decode";
    if (command_scan_decode(self->payload, &scan) != STATUS_OK) { return STATUS_INVALID_ARGUMENT; }
    uint8_t next[SHARD_KEYSPACE_PREFIX_SIZE];
    scan_bound(&scan, next);
    struct page page = {.scan = &scan};
    codec_writer_init(&page.w, &self->rows);
    struct mvcc_scan part = {
        .ts = self->read.timestamp, .reverse = scan.reverse, .visit = page_visit, .ctx = &page};
    if (!clamp(&scan, descriptor, &part)) {
        *out_detail = "the scan begins outside the shard";
        return STATUS_INVALID_ARGUMENT;
    }
    enum status st = mvcc_scan(apply_reader(self->session->config.apply), &part);
    if (st != STATUS_OK) {
        *out_detail = "the store cannot be read";
        return st;
    }
    st = scan_uncertain(self, &page, &part);
    if (st != STATUS_OK) {
        *out_detail = "the store cannot be read";
        return st;
    }
    page_end(&page, &part);
    // A page is bounded far below what the rows may hold.
    ASSERT(page.w.status == STATUS_OK || page.w.status == STATUS_RESOURCE_EXHAUSTED);
    *out_detail = "no memory for the rows";
    return page.w.status;
}

// --- What has to be waited for ---

static bool keys_blocked(const struct session_exec *self, const struct lock_table *locks,
                         struct hlc_ts limit, struct lock_conflict *out) {
    struct command_read_reader reader;
    enum status st = command_read_open(&reader, self->payload);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.key_count; i++) {
        struct slice key;
        st = command_read_next(&reader, &key);
        if (st == STATUS_OK && lock_table_blocks_read(locks, key, limit, out)) { return true; }
    }
    return false;
}

bool session__read_blocked(struct session_exec *self, const struct shard_descriptor *descriptor,
                           struct hlc_ts limit, struct lock_conflict *out) {
    const struct lock_table *locks = session__locks(self);
    if (locks == NULL || hlc_before(limit, lock_table_min_prepared(locks))) { return false; }
    if (self->kind == COMMAND_READ) { return keys_blocked(self, locks, limit, out); }
    if (self->kind == COMMAND_VERSIONS) {
        return session__versions_blocked(self, locks, limit, out);
    }
    struct command_scan scan;
    struct mvcc_scan part;
    uint8_t next[SHARD_KEYSPACE_PREFIX_SIZE];
    if (command_scan_decode(self->payload, &scan) != STATUS_OK) { return false; }
    scan_bound(&scan, next);
    // LIMIT: a lock anywhere in the shard's part of the scan is waited for, also where this page
    // would have ended before it.
    return clamp(&scan, descriptor, &part) &&
           lock_table_blocks_scan(locks, part.start, part.end, limit, out);
}
