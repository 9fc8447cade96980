// SPDX-License-Identifier: Apache-2.0
// Requests of Data, field by field from the wire into a command. Bounds are checked while reading,
// so that a small message cannot cost more memory than its own size times a constant: ten million
// empty mutations end at the ten-thousand-and-first. Unknown fields are passed over; a repeated
// singular field counts by its last occurrence, as protobuf has it.
#include "api/data/data_internal.h"
#include "dataplane/base/assert.h"

#include <stdio.h>
#include <string.h>

enum status data__too_many(struct data_refusal *refusal, const char *field, uint64_t limit) {
    return data__refuse(refusal, STATUS_INVALID_ARGUMENT, field, limit,
                        "%s has too many elements, at most %llu", field, (unsigned long long)limit);
}

// Appends an encoded command; the span of what the writer appended since `at`.
enum status data__span_since(const struct data_scratch *scratch, size_t at,
                             const struct codec_writer *w, struct data_span *out,
                             struct data_refusal *refusal) {
    if (w->status != STATUS_OK) {
        return data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, SHARD_COMMIT_SIZE_MAX,
                            "the request is too large");
    }
    *out = (struct data_span){at, scratch->encoded.size - at};
    return STATUS_OK;
}

static enum status data_place_key(struct data_scratch *scratch, struct slice key,
                                  struct data_span *out, struct data_refusal *refusal) {
    struct codec_writer w;
    codec_writer_init(&w, &scratch->encoded);
    size_t at = scratch->encoded.size;
    codec_put_raw(&w, key);
    return data__span_since(scratch, at, &w, out, refusal);
}

// Routing wants the smallest and the largest key; a single key is its own bounds.
static enum status data_place_bounds(struct data_scratch *scratch, struct slice low,
                                     struct slice high, struct data_prepared *out,
                                     struct data_refusal *refusal) {
    enum status st = data_place_key(scratch, low, &out->key, refusal);
    if (st != STATUS_OK || slice_equal(low, high)) { return st; }
    return data_place_key(scratch, high, &out->key_high, refusal);
}

// --- Read ---

static enum status data_read_fields(struct data_scratch *scratch, struct slice request,
                                    struct data_common *common, uint32_t *out_count,
                                    struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    uint32_t count = 0;
    enum status st = STATUS_OK;
    proto_reader_init(&r, request);
    while (st == STATUS_OK && proto_next(&r, &field)) {
        switch (field.number) {
        case 1:
            common->keyspace = proto_get_bytes(&r, &field);
            break;
        case 2:
            common->keyspace_id = proto_get_uint32(&r, &field);
            break;
        case 3:
            if (count == COMMAND_READ_KEYS_MAX) {
                return data__too_many(refusal, "keys", COMMAND_READ_KEYS_MAX);
            }
            scratch->keys[count++] = proto_get_bytes(&r, &field);
            break;
        case 4:
            st = data__get_consistency(&r, &field, common, refusal);
            break;
        case 5:
            common->snapshot.at_least.v = proto_get_fixed64(&r, &field);
            break;
        case 6:
            common->hlc.v = proto_get_fixed64(&r, &field);
            break;
        case 7:
            common->snapshot.at.v = proto_get_fixed64(&r, &field);
            break;
        case 8:
            common->snapshot.staleness_us = proto_get_uint(&r, &field);
            break;
        default:
            break;
        }
    }
    *out_count = count;
    if (st != STATUS_OK) { return st; }
    return r.status == STATUS_OK ? STATUS_OK : data__garbage(refusal);
}

static enum status data_read_keys(struct data_scratch *scratch, uint32_t keyspace, uint32_t count,
                                  struct data_refusal *refusal) {
    if (count == 0) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "keys", COMMAND_READ_KEYS_MAX,
                            "no key is asked for");
    }
    for (uint32_t i = 0; i < count; i++) {
        char field[DATA_FIELD_SIZE];
        bool fits = scratch->keys[i].size > 0 && scratch->keys[i].size <= SHARD_USER_KEY_SIZE_MAX;
        if (!fits) {
            (void)snprintf(field, sizeof(field), "keys[%u]", i);
            return data__check_key(scratch->keys[i], field, refusal);
        }
        scratch->keys[i] = data__full_key(scratch, keyspace, scratch->keys[i]);
    }
    return STATUS_OK;
}

enum status data__decode_read(struct data_scratch *scratch, struct slice request,
                              struct data_prepared *out, struct data_refusal *refusal) {
    struct data_common common = {.snapshot = {.consistency = COMMAND_STRONG}};
    uint32_t keyspace = 0;
    uint32_t count = 0;
    *out = (struct data_prepared){.kind = COMMAND_READ};
    enum status st = data_read_fields(scratch, request, &common, &count, refusal);
    if (st != STATUS_OK) { return st; }
    st = data__keyspace(scratch, common.keyspace, common.keyspace_id, &keyspace, refusal);
    if (st != STATUS_OK) { return st; }
    st = data_read_keys(scratch, keyspace, count, refusal);
    if (st == STATUS_OK) { st = data__check_snapshot(&common.snapshot, refusal); }
    if (st != STATUS_OK) { return st; }
    struct command_read read = {
        .snapshot = common.snapshot, .key_count = count, .keys = scratch->keys};
    st = command_read_check(&read, &refusal->err);
    if (st != STATUS_OK) {
        refusal->status = st;
        return st;
    }
    struct codec_writer w;
    codec_writer_init(&w, &scratch->encoded);
    size_t at = scratch->encoded.size;
    command_read_encode(&w, &read);
    out->hlc = common.hlc;
    st = data__span_since(scratch, at, &w, &out->payload, refusal);
    if (st != STATUS_OK) { return st; }
    struct slice low = scratch->keys[0];
    struct slice high = low;
    for (uint32_t i = 1; i < count; i++) {
        if (slice_compare(scratch->keys[i], low) < 0) { low = scratch->keys[i]; }
        if (slice_compare(scratch->keys[i], high) > 0) { high = scratch->keys[i]; }
    }
    return data_place_bounds(scratch, low, high, out, refusal);
}

// --- TxnStatus ---

enum status data__decode_txn_status(struct data_scratch *scratch, struct slice request,
                                    struct data_prepared *out, struct data_refusal *refusal) {
    struct data_common common = {.snapshot = {.consistency = COMMAND_STRONG}};
    struct slice txn = SLICE_EMPTY;
    struct slice key = SLICE_EMPTY;
    uint32_t keyspace = 0;
    struct proto_reader r;
    struct proto_field field;
    *out = (struct data_prepared){.kind = COMMAND_TXN_STATUS};
    proto_reader_init(&r, request);
    while (proto_next(&r, &field)) {
        switch (field.number) {
        case 1:
            common.keyspace = proto_get_bytes(&r, &field);
            break;
        case 2:
            common.keyspace_id = proto_get_uint32(&r, &field);
            break;
        case 3:
            txn = proto_get_bytes(&r, &field);
            break;
        case 4:
            key = proto_get_bytes(&r, &field);
            break;
        case 5:
            out->hlc.v = proto_get_fixed64(&r, &field);
            break;
        case 6:
            out->settle = proto_get_bool(&r, &field);
            break;
        default:
            break;
        }
    }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    enum status st =
        data__keyspace(scratch, common.keyspace, common.keyspace_id, &keyspace, refusal);
    if (st == STATUS_OK) { st = data__check_txn(txn, &out->txn, refusal); }
    if (st == STATUS_OK) { st = data__check_key(key, "key", refusal); }
    if (st != STATUS_OK) { return st; }
    st =
        data_place_key(scratch, slice_make(out->txn.v, sizeof(out->txn.v)), &out->payload, refusal);
    if (st != STATUS_OK) { return st; }
    return data_place_key(scratch, data__full_key(scratch, keyspace, key), &out->key, refusal);
}
