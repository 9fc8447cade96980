// SPDX-License-Identifier: Apache-2.0
// Reads and scans, and the rows that answer them. Flags are one byte of which unknown bits are
// corrupt: a node that does not know an option must refuse it, not ignore it.
#include "dataplane/base/assert.h"
#include "txn/command/command_internal.h"

enum { SCAN_REVERSE = 1, SCAN_KEYS_ONLY = 2, SCAN_FLAGS = SCAN_REVERSE | SCAN_KEYS_ONLY };

// First byte of every read and scan. Earlier formats began with 0 or 1 and had no snapshot.
enum { READ_FORMAT = 2 };

// Which fields of a snapshot follow; one that is zero is left out.
enum {
    SNAPSHOT_AT_LEAST = 1,
    SNAPSHOT_AT = 2,
    SNAPSHOT_CONTACT = 4,
    SNAPSHOT_STALENESS = 8,
    SNAPSHOT_FIELDS = 15
};

// --- The snapshot ---

bool command_consistency_is_strong(enum command_consistency consistency) {
    return consistency == COMMAND_STRONG || consistency == COMMAND_STRONG_READ_INDEX ||
           consistency == COMMAND_STRICT;
}

static enum status staleness_check(const struct command_snapshot *self, struct err *err) {
    if (self->consistency != COMMAND_BOUNDED && self->staleness_us != 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "staleness: it is set, and only a bounded read has one");
    }
    if (self->consistency == COMMAND_BOUNDED &&
        (self->staleness_us == 0 || self->staleness_us > COMMAND_STALENESS_US_MAX)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "staleness: is %llu us, it is 1 to %llu us",
                       (unsigned long long)self->staleness_us,
                       (unsigned long long)COMMAND_STALENESS_US_MAX);
    }
    return STATUS_OK;
}

enum status command_snapshot_check(const struct command_snapshot *self, struct err *err) {
    if ((unsigned)self->consistency >= COMMAND_CONSISTENCY_COUNT) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "consistency: unknown value %u",
                       (unsigned)self->consistency);
    }
    if (self->consistency == COMMAND_AT && self->at.v == 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "at: is zero, a read at a timestamp names one from 1");
    }
    if (self->at.v != 0 && hlc_before(self->at, self->at_least)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "at: lies below at_least");
    }
    if (self->contact.v != 0 &&
        (self->at.v == 0 || !command_consistency_is_strong(self->consistency))) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "contact: it is set, and only a strong read at a timestamp has one");
    }
    return staleness_check(self, err);
}

void command__snapshot_encode(struct codec_writer *w, const struct command_snapshot *self) {
    codec_put_u8(w, READ_FORMAT);
    codec_put_u8(w, (uint8_t)self->consistency);
    codec_put_u8(w, (uint8_t)((self->at_least.v != 0 ? SNAPSHOT_AT_LEAST : 0) |
                              (self->at.v != 0 ? SNAPSHOT_AT : 0) |
                              (self->contact.v != 0 ? SNAPSHOT_CONTACT : 0) |
                              (self->staleness_us != 0 ? SNAPSHOT_STALENESS : 0)));
    const uint64_t values[] = {self->at_least.v, self->at.v, self->contact.v, self->staleness_us};
    for (uint32_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (values[i] != 0) { codec_put_u64(w, values[i]); }
    }
}

// A field that is there is not zero: each snapshot has one encoding.
static uint64_t snapshot_field(struct codec_reader *r, uint8_t fields, uint8_t field) {
    if ((fields & field) == 0) { return 0; }
    const uint64_t value = codec_get_u64(r);
    if (value == 0) { codec_fail(r); }
    return value;
}

void command__snapshot_decode(struct codec_reader *r, struct command_snapshot *out) {
    (void)command__get_enum(r, READ_FORMAT, READ_FORMAT + 1);
    struct command_snapshot snapshot = {0};
    snapshot.consistency =
        (enum command_consistency)command__get_enum(r, COMMAND_STRONG, COMMAND_CONSISTENCY_COUNT);
    const uint8_t fields = command__get_enum(r, 0, SNAPSHOT_FIELDS + 1);
    snapshot.at_least.v = snapshot_field(r, fields, SNAPSHOT_AT_LEAST);
    snapshot.at.v = snapshot_field(r, fields, SNAPSHOT_AT);
    snapshot.contact.v = snapshot_field(r, fields, SNAPSHOT_CONTACT);
    snapshot.staleness_us = snapshot_field(r, fields, SNAPSHOT_STALENESS);
    if (r->status == STATUS_OK && command_snapshot_check(&snapshot, NULL) != STATUS_OK) {
        codec_fail(r);
    }
    if (r->status == STATUS_OK) { *out = snapshot; }
}

enum status command_snapshot_peek(struct slice encoded, struct command_snapshot *out) {
    struct codec_reader r;
    codec_reader_init(&r, encoded);
    command__snapshot_decode(&r, out);
    return r.status;
}

// --- Reads ---

enum status command_read_check(const struct command_read *self, struct err *err) {
    ASSERT_IF(self->key_count > 0, self->keys != NULL);
    enum status st = command_snapshot_check(&self->snapshot, err);
    if (st != STATUS_OK) { return st; }
    if (self->key_count == 0 || self->key_count > COMMAND_READ_KEYS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "read has %u keys, it has 1 to %d",
                       self->key_count, COMMAND_READ_KEYS_MAX);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < self->key_count; i++) {
        st = command_key_check(self->keys[i], "key", i, err);
    }
    return st;
}

void command_read_encode(struct codec_writer *w, const struct command_read *self) {
    command__snapshot_encode(w, &self->snapshot);
    codec_put_varint(w, self->key_count);
    for (uint32_t i = 0; i < self->key_count; i++) {
        codec_put_slice(w, self->keys[i]);
    }
}

enum status command_read_open(struct command_read_reader *self, struct slice encoded) {
    *self = (struct command_read_reader){0};
    struct codec_reader *r = &self->reader;
    codec_reader_init(r, encoded);
    command__snapshot_decode(r, &self->snapshot);
    const uint64_t count = codec_get_count(r, 1);
    if (count == 0 || count > COMMAND_READ_KEYS_MAX) { codec_fail(r); }
    if (r->status != STATUS_OK) { return r->status; }
    self->key_count = (uint32_t)count;
    self->keys_left = self->key_count;
    return STATUS_OK;
}

enum status command_read_next(struct command_read_reader *self, struct slice *out_key) {
    ASSERT(self->keys_left > 0);
    const struct slice key = command__get_key(&self->reader);
    self->keys_left--;
    const enum status st = self->keys_left == 0 ? codec_finish(&self->reader) : self->reader.status;
    if (st == STATUS_OK) { *out_key = key; }
    return st;
}

// --- Scans ---

enum status command_scan_check(const struct command_scan *self, struct err *err) {
    enum status st = command_snapshot_check(&self->snapshot, err);
    if (st != STATUS_OK) { return st; }
    if (self->row_limit == 0 || self->row_limit > COMMAND_SCAN_ROWS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "row limit is %u, it is 1 to %d",
                       self->row_limit, COMMAND_SCAN_ROWS_MAX);
    }
    if (self->end.size > 0) { return command__range_check(self->start, self->end, "scan", 0, err); }
    // The end of the last keyspace has no name: an empty end is checked as the start alone.
    uint8_t next[SHARD_KEYSPACE_PREFIX_SIZE] = {0};
    struct slice end = SLICE_EMPTY;
    if (self->start.size >= SHARD_KEYSPACE_PREFIX_SIZE) {
        end = command_keyspace_end(self->start, next);
    }
    return end.size > 0 ? command__range_check(self->start, end, "scan", 0, err)
                        : command_key_check(self->start, "scan", 0, err);
}

void command_scan_encode(struct codec_writer *w, const struct command_scan *self) {
    command__snapshot_encode(w, &self->snapshot);
    codec_put_u8(
        w, (uint8_t)((self->reverse ? SCAN_REVERSE : 0) | (self->keys_only ? SCAN_KEYS_ONLY : 0)));
    codec_put_varint(w, self->row_limit);
    codec_put_slice(w, self->start);
    codec_put_slice(w, self->end);
}

enum status command_scan_decode(struct slice encoded, struct command_scan *out) {
    struct codec_reader r;
    codec_reader_init(&r, encoded);
    struct command_scan scan = {0};
    command__snapshot_decode(&r, &scan.snapshot);
    const uint8_t flags = command__get_enum(&r, 0, SCAN_FLAGS + 1);
    scan.reverse = (flags & SCAN_REVERSE) != 0;
    scan.keys_only = (flags & SCAN_KEYS_ONLY) != 0;
    const uint64_t row_limit = codec_get_varint(&r);
    if (row_limit > COMMAND_SCAN_ROWS_MAX) { codec_fail(&r); }
    scan.row_limit = (uint32_t)row_limit;
    scan.start = codec_get_slice(&r, SHARD_KEY_SIZE_MAX);
    scan.end = codec_get_slice(&r, SHARD_KEY_SIZE_MAX);
    const enum status st = codec_finish(&r);
    if (st != STATUS_OK) { return st; }
    if (command_scan_check(&scan, NULL) != STATUS_OK) { return STATUS_CORRUPT; }
    *out = scan;
    return STATUS_OK;
}

// --- Rows ---

void command_read_row_encode(struct codec_writer *w, const struct command_row *row) {
    codec_put_u8(w, row->found ? 1 : 0);
    codec_put_u64(w, row->version.v);
    codec_put_slice(w, row->found ? row->value : SLICE_EMPTY);
}

enum status command_read_row_decode(struct codec_reader *r, struct command_row *out) {
    struct command_row row = {0};
    row.found = command__get_bool(r);
    row.version.v = codec_get_u64(r);
    row.value = codec_get_slice(r, SHARD_VALUE_SIZE_MAX);
    if (!row.found && row.value.size > 0) { codec_fail(r); }
    if (r->status == STATUS_OK) { *out = row; }
    return r->status;
}

void command_scan_row_encode(struct codec_writer *w, const struct command_row *row) {
    ASSERT(row->found);
    codec_put_u8(w, 1);
    codec_put_slice(w, row->key);
    codec_put_u64(w, row->version.v);
    codec_put_slice(w, row->value);
}

void command_scan_end_encode(struct codec_writer *w, bool more, struct slice resume) {
    ASSERT(more == (resume.size > 0));
    codec_put_u8(w, 0);
    codec_put_u8(w, more ? 1 : 0);
    if (more) { codec_put_slice(w, resume); }
}

static enum status scan_end_decode(struct codec_reader *r, bool *out_more,
                                   struct slice *out_resume) {
    const bool more = command__get_bool(r);
    const struct slice resume = more ? codec_get_slice(r, SHARD_KEY_SIZE_MAX) : SLICE_EMPTY;
    if (more && resume.size == 0) { codec_fail(r); }
    const enum status st = codec_finish(r);
    if (st == STATUS_OK) {
        *out_more = more;
        *out_resume = resume;
    }
    return st;
}

enum status command_scan_row_decode(struct codec_reader *r, struct command_row *out_row,
                                    bool *out_more, struct slice *out_resume) {
    struct command_row row = {0};
    row.found = command__get_bool(r);
    if (r->status == STATUS_OK && !row.found) {
        const enum status st = scan_end_decode(r, out_more, out_resume);
        if (st == STATUS_OK) { *out_row = row; }
        return st;
    }
    row.key = command__get_key(r);
    row.version.v = codec_get_u64(r);
    row.value = codec_get_slice(r, SHARD_VALUE_SIZE_MAX);
    if (r->status == STATUS_OK) { *out_row = row; }
    return r->status;
}
