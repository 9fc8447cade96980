// SPDX-License-Identifier: Apache-2.0
// Requests and answers of both targets; field numbers are those of their public schemas. On etcd a
// transaction reads by one Txn of ranges, and commits by a Txn that compares the revisions read.
#include "api/client/lightcone.h"
#include "api/proto/wire.h"
#include "dataplane/base/assert.h"
#include "tests/bench/txn_load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { START_BALANCE = 1000, HINT = 64, MERGE_TYPE_COUNTER = 1 };

struct txn_key {
    char text[TXN_KEY_SIZE + 1];
};

static struct slice txn_key(struct txn_key *out, uint32_t key) {
    (void)snprintf(out->text, sizeof(out->text), "key-%012" PRIu32, key);
    return slice_make(out->text, TXN_KEY_SIZE);
}

static void put_pair(struct proto_writer *w, uint32_t key, int64_t value) {
    struct txn_key text;
    char number[TXN_VALUE_MAX];
    proto_put_bytes(w, 1, txn_key(&text, key));
    (void)snprintf(number, sizeof(number), "%" PRId64, value);
    proto_put_bytes(w, 2, slice_from_string(number));
}

// --- What a transaction writes ---

static uint32_t write_key(const struct txn_load *load, const struct txn_slot *slot, uint32_t i) {
    const struct txn_plan *plan = load->config.plan;
    return slot->keys[plan->key_count - plan->write_count + i];
}

// What was read of the key and one more or less, so that the sum of two stays: or just a number.
static int64_t write_value(const struct txn_load *load, const struct txn_slot *slot, uint32_t i) {
    const struct txn_plan *plan = load->config.plan;
    const uint32_t place = plan->key_count - plan->write_count + i;
    if (place >= plan->read_count) { return START_BALANCE; }
    return slot->read.rows[place].value + (i % 2 == 0 ? 1 : -1);
}

// --- Lightcone ---

static void ours_put(struct proto_writer *w, uint32_t key, int64_t value) {
    size_t mutation = proto_open(w, 5, HINT);
    size_t put = proto_open(w, 1, HINT);
    put_pair(w, key, value);
    proto_close(w, put);
    proto_close(w, mutation);
}

// sint64: the sign is the lowest bit.
static void ours_merge(struct proto_writer *w, uint32_t key, uint64_t amount) {
    struct txn_key text;
    size_t mutation = proto_open(w, 5, HINT);
    size_t merge = proto_open(w, 4, HINT);
    proto_put_bytes(w, 1, txn_key(&text, key));
    proto_put_uint(w, 2, MERGE_TYPE_COUNTER);
    proto_put_uint(w, 3, amount << 1);
    proto_close(w, merge);
    proto_close(w, mutation);
}

static void ours_begin(struct txn_load *load, struct proto_writer *w) {
    uint8_t id[TXN_ID_SIZE];
    lc_txn_id_make(id);
    proto_put_bytes(w, 1, slice_from_string(load->config.keyspace));
    proto_put_bytes(w, 3, slice_make(id, sizeof(id)));
}

static void ours_read(struct txn_load *load, const struct txn_slot *slot, struct proto_writer *w) {
    const struct txn_config *config = &load->config;
    proto_put_bytes(w, 1, slice_from_string(config->keyspace));
    for (uint32_t i = 0; i < config->plan->read_count; i++) {
        struct txn_key text;
        proto_put_bytes(w, 3, txn_key(&text, slot->keys[i]));
    }
    proto_put_uint(w, 4, config->consistency);
    proto_put_fixed64(w, 6, load->hlc);
    proto_put_uint(w, 8, (uint64_t)config->staleness_ms * 1000);
}

static void ours_commit(struct txn_load *load, const struct txn_slot *slot,
                        struct proto_writer *w) {
    const struct txn_plan *plan = load->config.plan;
    ours_begin(load, w);
    for (uint32_t i = 0; i < plan->write_count; i++) {
        if (plan->merge) {
            ours_merge(w, write_key(load, slot, i), 1);
        } else {
            ours_put(w, write_key(load, slot, i), write_value(load, slot, i));
        }
    }
    proto_put_fixed64(w, 6, load->hlc);
    for (uint32_t i = 0; i < plan->read_count; i++) {
        struct txn_key text;
        size_t span = proto_open(w, 7, HINT);
        proto_put_bytes(w, 1, txn_key(&text, slot->keys[i]));
        proto_close(w, span);
    }
    if (plan->read_count > 0) { proto_put_fixed64(w, 8, slot->read.snapshot); }
}

static void ours_take_certificate(struct slice bytes, struct txn_read_result *out) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, bytes);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { out->method = (uint32_t)field.value; }
        if (field.number == 6) { out->snapshot = field.value; }
        if (field.number == 8) { out->age_us = field.value; }
    }
}

static void ours_take_header(struct slice bytes, struct txn_read_result *out) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, bytes);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { out->hlc = field.value; }
        if (field.number == 2) { ours_take_certificate(field.bytes, out); }
    }
}

static int64_t number_of(struct slice text) {
    char copy[TXN_VALUE_MAX] = {0};
    if (text.size == 0 || text.size >= sizeof(copy)) { return 0; }
    memcpy(copy, text.data, text.size);
    return strtoll(copy, NULL, 10);
}

// value_field, version_field: where the row has them.
static void take_row(struct slice bytes, uint32_t value_field, uint32_t version_field,
                     struct txn_read_result *out) {
    struct proto_reader r;
    struct proto_field field;
    if (out->count == TXN_KEYS_MAX) { return; }
    struct txn_row *row = &out->rows[out->count++];
    *row = (struct txn_row){0};
    proto_reader_init(&r, bytes);
    while (proto_next(&r, &field)) {
        if (field.number == value_field) { row->value = number_of(field.bytes); }
        if (field.number == version_field) { row->version = field.value; }
    }
}

static void ours_take_read(struct slice response, struct txn_read_result *out) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, response);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { ours_take_header(field.bytes, out); }
        if (field.number == 2) { take_row(field.bytes, 2, 3, out); }
    }
}

static bool ours_take_commit(struct slice response, struct txn_read_result *out) {
    struct proto_reader r;
    struct proto_field field;
    uint64_t result = 0;
    proto_reader_init(&r, response);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { ours_take_header(field.bytes, out); }
        if (field.number == 3) { result = field.value; }
    }
    return result == 1;
}

// --- etcd ---

// TxnRequest: compare = 1, success = 2; RequestOp: request_range = 1, request_put = 2.
static void etcd_read(struct txn_load *load, const struct txn_slot *slot, struct proto_writer *w) {
    for (uint32_t i = 0; i < load->config.plan->read_count; i++) {
        struct txn_key text;
        size_t op = proto_open(w, 2, HINT);
        size_t range = proto_open(w, 1, HINT);
        proto_put_bytes(w, 1, txn_key(&text, slot->keys[i]));
        proto_close(w, range);
        proto_close(w, op);
    }
}

static void etcd_put(struct proto_writer *w, uint32_t key, int64_t value) {
    size_t op = proto_open(w, 2, HINT);
    size_t put = proto_open(w, 2, HINT);
    put_pair(w, key, value);
    proto_close(w, put);
    proto_close(w, op);
}

// Compare: result EQUAL = 0, target MOD = 2, key = 3, mod_revision = 6.
static void etcd_commit(struct txn_load *load, const struct txn_slot *slot,
                        struct proto_writer *w) {
    const struct txn_plan *plan = load->config.plan;
    for (uint32_t i = 0; i < plan->read_count; i++) {
        struct txn_key text;
        size_t compare = proto_open(w, 1, HINT);
        proto_put_uint(w, 2, 2);
        proto_put_bytes(w, 3, txn_key(&text, slot->keys[i]));
        proto_put_uint(w, 6, slot->read.rows[i].version);
        proto_close(w, compare);
    }
    for (uint32_t i = 0; i < plan->write_count; i++) {
        etcd_put(w, write_key(load, slot, i), write_value(load, slot, i));
    }
}

// The one message inside that has this number.
static struct slice inside(struct slice bytes, uint32_t number) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, bytes);
    while (proto_next(&r, &field)) {
        if (field.number == number && field.type == PROTO_BYTES) { return field.bytes; }
    }
    return SLICE_EMPTY;
}

// TxnResponse.responses = 3: response_range = 1: kvs = 2: mod_revision = 3, value = 5.
static void etcd_take_read(struct slice response, struct txn_read_result *out) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, response);
    while (proto_next(&r, &field)) {
        if (field.number != 3) { continue; }
        take_row(inside(inside(field.bytes, 1), 2), 5, 3, out);
    }
}

static bool etcd_take_commit(struct slice response) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, response);
    while (proto_next(&r, &field)) {
        if (field.number == 2) { return field.value != 0; }
    }
    return false;
}

// --- Both ---

static bool is_etcd(const struct txn_load *load) {
    return load->config.target == TXN_ETCD;
}

static struct proto_writer begin(struct txn_load *load) {
    struct proto_writer w;
    buf_reset(&load->request);
    proto_writer_init(&w, &load->request);
    return w;
}

void txn_encode_read(struct txn_load *load, const struct txn_slot *slot) {
    struct proto_writer w = begin(load);
    is_etcd(load) ? etcd_read(load, slot, &w) : ours_read(load, slot, &w);
    ASSERT(w.status == STATUS_OK);
}

void txn_encode_commit(struct txn_load *load, const struct txn_slot *slot) {
    struct proto_writer w = begin(load);
    is_etcd(load) ? etcd_commit(load, slot, &w) : ours_commit(load, slot, &w);
    ASSERT(w.status == STATUS_OK);
}

// Merges want keys that only they write.
void txn_encode_preload(struct txn_load *load, uint32_t first, uint32_t count) {
    struct proto_writer w = begin(load);
    if (!is_etcd(load)) { ours_begin(load, &w); }
    for (uint32_t i = 0; i < count; i++) {
        if (is_etcd(load)) {
            etcd_put(&w, first + i, START_BALANCE);
        } else if (load->config.plan->merge) {
            ours_merge(&w, first + i, START_BALANCE);
        } else {
            ours_put(&w, first + i, START_BALANCE);
        }
    }
    ASSERT(w.status == STATUS_OK);
}

static void note_hlc(struct txn_load *load, const struct txn_read_result *result) {
    if (result->hlc > load->hlc) { load->hlc = result->hlc; }
}

void txn_decode_read(struct txn_load *load, struct slice response, struct txn_read_result *out) {
    *out = (struct txn_read_result){0};
    is_etcd(load) ? etcd_take_read(response, out) : ours_take_read(response, out);
    note_hlc(load, out);
}

bool txn_decode_commit(struct txn_load *load, struct slice response) {
    if (is_etcd(load)) { return etcd_take_commit(response); }
    struct txn_read_result header = {0};
    const bool committed = ours_take_commit(response, &header);
    note_hlc(load, &header);
    return committed;
}
