// SPDX-License-Identifier: Apache-2.0
// The requests of an interactive transaction. Its keyspace is named once, in begin.
#include "api/data/data_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/loop/clock.h"

#include <stdio.h>
#include <string.h>

enum { DATA_RESERVED_SIZE = 2 };

// --- Begin ---

static enum status data_transact_begin(struct data_scratch *scratch, struct slice message,
                                       struct data_transact_request *out,
                                       struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    struct slice keyspace = SLICE_EMPTY;
    struct slice txn = SLICE_EMPTY;
    uint32_t keyspace_id = 0;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { keyspace = proto_get_bytes(&r, &field); }
        if (field.number == 2) { keyspace_id = proto_get_uint32(&r, &field); }
        if (field.number == 3) { txn = proto_get_bytes(&r, &field); }
        if (field.number == 4) { out->begin.v = proto_get_fixed64(&r, &field); }
        if (field.number == 5) { out->snapshot.v = proto_get_fixed64(&r, &field); }
        if (field.number == 6) { out->hlc.v = proto_get_fixed64(&r, &field); }
    }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    const enum status st = data__keyspace(scratch, keyspace, keyspace_id, &out->keyspace, refusal);
    if (st != STATUS_OK) { return st; }
    if (txn.size > 0) { return data__check_txn(txn, &out->txn, refusal); }
    if (out->begin.v != 0) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "begin.txn_id", sizeof(out->txn.v),
                            "a transaction that is tried again keeps its id");
    }
    const uint64_t random[2] = {loop_entropy(), loop_entropy()};
    out->txn = txn_id_make(loop_wall_us() / 1000, random);
    return STATUS_OK;
}

// --- Get ---

static enum status data_transact_keys(struct data_scratch *scratch, uint32_t keyspace,
                                      const struct data_transact_request *request,
                                      struct data_refusal *refusal) {
    for (uint32_t i = 0; i < request->key_count; i++) {
        struct slice *key = &scratch->keys[i];
        char field[DATA_FIELD_SIZE];
        if (key->size == 0 || key->size > SHARD_USER_KEY_SIZE_MAX) {
            (void)snprintf(field, sizeof(field), "get.keys[%u]", i);
            return data__check_key(*key, field, refusal);
        }
        *key = data__full_key(scratch, keyspace, *key);
    }
    const struct command_read read = {.snapshot = {.consistency = COMMAND_STRONG},
                                      .key_count = request->key_count,
                                      .keys = scratch->keys};
    const enum status st = command_read_check(&read, &refusal->err);
    if (st != STATUS_OK) { refusal->status = st; }
    return st;
}

static enum status data_transact_get(struct data_scratch *scratch, uint32_t keyspace,
                                     struct slice message, struct data_transact_request *out,
                                     struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1) {
            if (out->key_count == COMMAND_READ_KEYS_MAX) {
                return data__too_many(refusal, "get.keys", COMMAND_READ_KEYS_MAX);
            }
            scratch->keys[out->key_count++] = proto_get_bytes(&r, &field);
        }
        if (field.number == 2) { out->for_update = proto_get_bool(&r, &field); }
    }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    if (out->key_count == 0) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "get.keys", COMMAND_READ_KEYS_MAX,
                            "no key is asked for");
    }
    return data_transact_keys(scratch, keyspace, out, refusal);
}

// --- Scan ---

// The end of the keyspace as a bound: of the last one, where the system's part begins.
static struct slice data_transact_end(struct data_scratch *scratch, uint32_t keyspace,
                                      struct slice end) {
    static const uint8_t reserved[DATA_RESERVED_SIZE] = {0xFF, 0xFF};
    if (end.size > 0) { return data__full_key(scratch, keyspace, end); }
    if (keyspace < UINT32_MAX) { return data__full_key(scratch, keyspace + 1, SLICE_EMPTY); }
    return data__full_key(scratch, keyspace, slice_make(reserved, sizeof(reserved)));
}

static enum status data_transact_bounds(struct data_scratch *scratch, uint32_t keyspace,
                                        struct data_transact_request *out,
                                        struct data_refusal *refusal) {
    static const uint8_t smallest = 0;
    if (out->start.size > SHARD_USER_KEY_SIZE_MAX) {
        return data__check_key(out->start, "scan.start", refusal);
    }
    if (out->end.size > SHARD_USER_KEY_SIZE_MAX) {
        return data__check_key(out->end, "scan.end", refusal);
    }
    if (out->limit > COMMAND_SCAN_ROWS_MAX) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "scan.limit", COMMAND_SCAN_ROWS_MAX,
                            "the limit is %u, at most %d", out->limit, COMMAND_SCAN_ROWS_MAX);
    }
    if (out->limit == 0) { out->limit = DATA_PAGE_ROWS; }
    // What was scanned is validated later, shard by shard, and a shard's part is named by a key:
    // the smallest there is stands for the beginning of the keyspace.
    if (out->start.size == 0) { out->start = slice_make(&smallest, sizeof(smallest)); }
    out->start = data__full_key(scratch, keyspace, out->start);
    out->end = data_transact_end(scratch, keyspace, out->end);
    const struct command_scan scan = {.snapshot = {.consistency = COMMAND_STRONG},
                                      .start = out->start,
                                      .end = out->end,
                                      .row_limit = out->limit};
    const enum status st = command_scan_check(&scan, &refusal->err);
    if (st != STATUS_OK) { refusal->status = st; }
    return st;
}

static enum status data_transact_scan(struct data_scratch *scratch, uint32_t keyspace,
                                      struct slice message, struct data_transact_request *out,
                                      struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { out->start = proto_get_bytes(&r, &field); }
        if (field.number == 2) { out->end = proto_get_bytes(&r, &field); }
        if (field.number == 3) { out->limit = proto_get_uint32(&r, &field); }
        if (field.number == 4) { out->reverse = proto_get_bool(&r, &field); }
    }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    return data_transact_bounds(scratch, keyspace, out, refusal);
}

// --- Write ---

static enum status data_transact_write(struct data_scratch *scratch, uint32_t keyspace,
                                       struct slice message, struct data_refusal *refusal) {
    const enum status st = data__decode_operations(scratch, keyspace, message, true, refusal);
    if (st != STATUS_OK || scratch->operation_count > 0) { return st; }
    return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "write.mutations", COMMAND_OPS_MAX,
                        "the write has no mutations");
}

// --- All of them ---

// TransactRequest{oneof request}: the last member that is set counts.
static enum status data_transact_open(struct slice message, enum data_transact_kind *out_kind,
                                      struct slice *out_body, struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    *out_kind = DATA_TRANSACT_NONE;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number < DATA_TRANSACT_KIND_COUNT) {
            *out_kind = (enum data_transact_kind)field.number;
            *out_body = proto_get_bytes(&r, &field);
        }
    }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    if (*out_kind != DATA_TRANSACT_NONE) { return STATUS_OK; }
    return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "request", 0,
                        "the message asks for nothing");
}

enum status data__decode_transact(struct data_scratch *scratch, uint32_t keyspace,
                                  struct slice message, struct data_transact_request *out,
                                  struct data_refusal *refusal) {
    struct slice body = SLICE_EMPTY;
    *out = (struct data_transact_request){0};
    if (data__room_for_keys(scratch, message.size) != STATUS_OK) {
        return data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
    }
    const enum status st = data_transact_open(message, &out->kind, &body, refusal);
    if (st != STATUS_OK) { return st; }
    if ((out->kind == DATA_TRANSACT_BEGIN) != (keyspace == 0)) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "begin", 0,
                            keyspace == 0 ? "a transaction begins with begin"
                                          : "the transaction has begun already");
    }
    switch (out->kind) {
    case DATA_TRANSACT_BEGIN:
        return data_transact_begin(scratch, body, out, refusal);
    case DATA_TRANSACT_GET:
        return data_transact_get(scratch, keyspace, body, out, refusal);
    case DATA_TRANSACT_SCAN:
        return data_transact_scan(scratch, keyspace, body, out, refusal);
    case DATA_TRANSACT_WRITE:
        return data_transact_write(scratch, keyspace, body, refusal);
    case DATA_TRANSACT_COMMIT:
        return data__decode_operations(scratch, keyspace, body, false, refusal);
    case DATA_TRANSACT_ROLLBACK:
        return STATUS_OK;
    case DATA_TRANSACT_NONE:
    case DATA_TRANSACT_KIND_COUNT:
        break;
    }
    ASSERT(false);
    return STATUS_INVALID_ARGUMENT;
}
