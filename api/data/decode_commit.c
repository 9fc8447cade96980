// SPDX-License-Identifier: Apache-2.0
// Commits, and what transactions have in common with them: mutations and conditions, field by field
// from the wire. Each costs memory only after it was counted.
#include "api/data/data_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/loop/clock.h"
#include "txn/command/command_merge.h"

#include <stdio.h>
#include <string.h>

enum { DATA_OPS_GROWTH_MIN = 16 };

// --- Room ---

static bool data_grow(void **items, uint32_t *capacity, uint32_t count, size_t item_size) {
    if (count < *capacity) { return true; }
    uint32_t wanted = *capacity < DATA_OPS_GROWTH_MIN ? DATA_OPS_GROWTH_MIN : 2 * *capacity;
    void *grown = mem_try_realloc(*items, wanted * item_size);
    if (grown == NULL) { return false; }
    *items = grown;
    *capacity = wanted;
    return true;
}

static bool data_mutation_place(struct data_scratch *scratch, uint32_t count) {
    void *items = scratch->mutations;
    bool ok = data_grow(&items, &scratch->mutation_capacity, count, sizeof(*scratch->mutations));
    scratch->mutations = items;
    return ok;
}

static bool data_read_place(struct data_scratch *scratch, uint32_t count) {
    void *items = scratch->reads;
    bool ok = data_grow(&items, &scratch->read_capacity, count, sizeof(*scratch->reads));
    scratch->reads = items;
    return ok;
}

static bool data_condition_place(struct data_scratch *scratch, uint32_t count) {
    void *items = scratch->conditions;
    bool ok = data_grow(&items, &scratch->condition_capacity, count, sizeof(*scratch->conditions));
    scratch->conditions = items;
    return ok;
}

static const char *const data_mutation_names[COMMAND_MUTATION_KIND_COUNT] = {
    [COMMAND_PUT] = "put",
    [COMMAND_DELETE] = "delete",
    [COMMAND_DELETE_RANGE] = "delete_range",
    [COMMAND_MERGE] = "merge"};

// Put{key, value}, Delete{key}, DeleteRange{start, end}: two byte fields, numbers 1 and 2.
static bool data_mutation_fields(struct slice message, struct command_mutation *out) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, message);
    out->key = SLICE_EMPTY;
    out->value = SLICE_EMPTY;
    while (proto_next(&r, &field)) {
        if (field.number == 1) { out->key = proto_get_bytes(&r, &field); }
        if (field.number == 2 && out->kind != COMMAND_DELETE) {
            out->value = proto_get_bytes(&r, &field);
        }
    }
    return r.status == STATUS_OK;
}

// sint64: the sign is the lowest bit.
static int64_t data_get_sint(struct proto_reader *r, const struct proto_field *field) {
    const uint64_t coded = proto_get_uint(r, field);
    return (int64_t)(coded >> 1 ^ (0 - (coded & 1)));
}

// MergeBound{value}.
static bool data_bound(struct slice message, int64_t *out) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { *out = data_get_sint(&r, &field); }
    }
    return r.status == STATUS_OK;
}

static bool data_merge_fields(struct slice message, struct slice *out_key,
                              struct command_merge *out) {
    struct proto_reader r;
    struct proto_field field;
    bool ok = true;
    proto_reader_init(&r, message);
    *out = (struct command_merge){0};
    *out_key = SLICE_EMPTY;
    while (proto_next(&r, &field)) {
        switch (field.number) {
        case 1:
            *out_key = proto_get_bytes(&r, &field);
            break;
        case 2:
            out->type = (enum command_merge_type)proto_get_uint32(&r, &field);
            break;
        case 3:
            out->amount = data_get_sint(&r, &field);
            break;
        case 4:
            out->has_min = true;
            ok = data_bound(proto_get_bytes(&r, &field), &out->min) && ok;
            break;
        case 5:
            out->has_max = true;
            ok = data_bound(proto_get_bytes(&r, &field), &out->max) && ok;
            break;
        case 6:
            out->element = proto_get_bytes(&r, &field);
            break;
        case 7:
            out->removes = proto_get_bool(&r, &field);
            break;
        default:
            break;
        }
    }
    return ok && r.status == STATUS_OK;
}

// The value is a position in scratch->merges until that is complete (data_commit_prefix).
static enum status data_merge_decode(struct data_scratch *scratch, struct slice message,
                                     uint32_t position, struct command_mutation *out,
                                     struct data_refusal *refusal) {
    struct command_merge merge;
    char field[DATA_FIELD_SIZE];
    if (!data_merge_fields(message, &out->key, &merge)) { return data__garbage(refusal); }
    if (out->key.size == 0 || out->key.size > SHARD_USER_KEY_SIZE_MAX) {
        (void)snprintf(field, sizeof(field), "mutations[%u].merge.key", position);
        return data__check_key(out->key, field, refusal);
    }
    const enum status st = command_merge_check(&merge, position, &refusal->err);
    if (st != STATUS_OK) {
        (void)snprintf(refusal->field, sizeof(refusal->field), "mutations[%u].merge", position);
        refusal->status = st;
        return st;
    }
    struct codec_writer w;
    const size_t at = scratch->merges.size;
    codec_writer_init(&w, &scratch->merges);
    command_merge_encode(&w, &merge);
    if (w.status != STATUS_OK) {
        return data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
    }
    out->value = slice_make((const uint8_t *)at, scratch->merges.size - at);
    return STATUS_OK;
}

static enum status data_mutation_check(const struct command_mutation *mutation, uint32_t position,
                                       struct data_refusal *refusal) {
    const bool range = mutation->kind == COMMAND_DELETE_RANGE;
    const bool key_fits = mutation->key.size > 0 && mutation->key.size <= SHARD_USER_KEY_SIZE_MAX;
    const bool value_fits =
        range ? mutation->value.size > 0 && mutation->value.size <= SHARD_USER_KEY_SIZE_MAX
              : mutation->value.size <= SHARD_VALUE_SIZE_MAX;
    if (key_fits && value_fits) { return STATUS_OK; }
    char field[DATA_FIELD_SIZE];
    const char *part = range ? (key_fits ? "end" : "start") : (key_fits ? "value" : "key");
    (void)snprintf(field, sizeof(field), "mutations[%u].%s.%s", position,
                   data_mutation_names[mutation->kind], part);
    if (!key_fits) { return data__check_key(mutation->key, field, refusal); }
    if (range) { return data__check_key(mutation->value, field, refusal); }
    return data__refuse(refusal, STATUS_INVALID_ARGUMENT, field, SHARD_VALUE_SIZE_MAX,
                        "the value has %zu bytes, at most %d", mutation->value.size,
                        SHARD_VALUE_SIZE_MAX);
}

// Mutation{oneof kind}: the last member that is set counts.
static enum status data_mutation_decode(struct data_scratch *scratch, struct slice message,
                                        uint32_t position, struct command_mutation *out,
                                        struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    struct slice body = SLICE_EMPTY;
    bool found = false;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number >= COMMAND_PUT && field.number < COMMAND_MUTATION_KIND_COUNT) {
            out->kind = (enum command_mutation_kind)field.number;
            body = proto_get_bytes(&r, &field);
            found = true;
        }
    }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    if (!found) {
        char name[DATA_FIELD_SIZE];
        (void)snprintf(name, sizeof(name), "mutations[%u]", position);
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, name, 0,
                            "the mutation is neither put, nor delete, nor delete_range, nor merge");
    }
    if (out->kind == COMMAND_MERGE) {
        return data_merge_decode(scratch, body, position, out, refusal);
    }
    if (!data_mutation_fields(body, out)) { return data__garbage(refusal); }
    return data_mutation_check(out, position, refusal);
}

// One member of the oneof of Condition, numbers 2 to 6.
static void data_condition_test(struct proto_reader *r, const struct proto_field *field,
                                struct command_condition *out, bool *out_flag) {
    out->value = SLICE_EMPTY;
    out->ts = HLC_ZERO;
    *out_flag = true;
    switch (field->number) {
    case 2:
        out->kind = COMMAND_EXISTS;
        *out_flag = proto_get_bool(r, field);
        break;
    case 3:
        out->kind = COMMAND_ABSENT;
        *out_flag = proto_get_bool(r, field);
        break;
    case 4:
        out->kind = COMMAND_VALUE_EQUALS;
        out->value = proto_get_bytes(r, field);
        break;
    case 5:
        out->kind = COMMAND_VERSION_EQUALS;
        out->ts.v = proto_get_fixed64(r, field);
        break;
    default:
        out->kind = COMMAND_TIMESTAMP_AT_MOST;
        out->ts.v = proto_get_fixed64(r, field);
        break;
    }
}

static enum status data_condition_decode(struct slice message, uint32_t position,
                                         struct command_condition *out,
                                         struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    bool flag = false;
    bool found = false;
    char name[DATA_FIELD_SIZE];
    *out = (struct command_condition){.kind = COMMAND_EXISTS};
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { out->key = proto_get_bytes(&r, &field); }
        if (field.number >= 2 && field.number <= 6) {
            found = true;
            data_condition_test(&r, &field, out, &flag);
        }
    }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    if (!found || !flag) {
        (void)snprintf(name, sizeof(name), "conditions[%u]", position);
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, name, 0,
                            found ? "exists and absent must be true when set"
                                  : "the condition tests nothing");
    }
    if (out->key.size == 0 || out->key.size > SHARD_USER_KEY_SIZE_MAX) {
        (void)snprintf(name, sizeof(name), "conditions[%u].key", position);
        return data__check_key(out->key, name, refusal);
    }
    if (out->value.size > SHARD_VALUE_SIZE_MAX) {
        (void)snprintf(name, sizeof(name), "conditions[%u].value_equals", position);
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, name, SHARD_VALUE_SIZE_MAX,
                            "the value has %zu bytes, at most %d", out->value.size,
                            SHARD_VALUE_SIZE_MAX);
    }
    return STATUS_OK;
}

// ReadSpan{start, end}.
static enum status data_read_span(struct data_scratch *scratch, struct slice message,
                                  uint32_t position, struct data_refusal *refusal) {
    struct command_span *out = &scratch->reads[position];
    struct proto_reader r;
    struct proto_field field;
    *out = (struct command_span){SLICE_EMPTY, SLICE_EMPTY};
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { out->start = proto_get_bytes(&r, &field); }
        if (field.number == 2) { out->end = proto_get_bytes(&r, &field); }
    }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    const bool start_fits = out->start.size > 0 && out->start.size <= SHARD_USER_KEY_SIZE_MAX;
    if (start_fits && out->end.size <= SHARD_USER_KEY_SIZE_MAX) { return STATUS_OK; }
    char name[DATA_FIELD_SIZE];
    (void)snprintf(name, sizeof(name), "reads[%u].%s", position, start_fits ? "end" : "start");
    return data__check_key(start_fits ? out->end : out->start, name, refusal);
}

struct data_commit_fields {
    struct data_common common;
    struct slice txn;
    struct hlc_ts snapshot;
    uint32_t read_count;
    uint32_t condition_count;
    uint32_t mutation_count;
};

static enum status data_commit_operation(struct data_scratch *scratch, struct slice message,
                                         bool mutation, struct data_commit_fields *fields,
                                         struct data_refusal *refusal) {
    if (fields->read_count + fields->condition_count + fields->mutation_count == COMMAND_OPS_MAX) {
        return data__too_many(refusal, mutation ? "mutations" : "conditions", COMMAND_OPS_MAX);
    }
    bool room = mutation ? data_mutation_place(scratch, fields->mutation_count)
                         : data_condition_place(scratch, fields->condition_count);
    if (!room) {
        return data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
    }
    enum status st =
        mutation ? data_mutation_decode(scratch, message, fields->mutation_count,
                                        &scratch->mutations[fields->mutation_count], refusal)
                 : data_condition_decode(message, fields->condition_count,
                                         &scratch->conditions[fields->condition_count], refusal);
    if (st == STATUS_OK) { (*(mutation ? &fields->mutation_count : &fields->condition_count))++; }
    return st;
}

static enum status data_commit_read(struct data_scratch *scratch, struct slice message,
                                    struct data_commit_fields *fields,
                                    struct data_refusal *refusal) {
    if (fields->read_count + fields->condition_count + fields->mutation_count == COMMAND_OPS_MAX) {
        return data__too_many(refusal, "reads", COMMAND_OPS_MAX);
    }
    if (!data_read_place(scratch, fields->read_count)) {
        return data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
    }
    const enum status st = data_read_span(scratch, message, fields->read_count, refusal);
    if (st == STATUS_OK) { fields->read_count++; }
    return st;
}

static enum status data_commit_fields(struct data_scratch *scratch, struct slice request,
                                      struct data_commit_fields *out,
                                      struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    enum status st = STATUS_OK;
    proto_reader_init(&r, request);
    while (st == STATUS_OK && proto_next(&r, &field)) {
        switch (field.number) {
        case 1:
            out->common.keyspace = proto_get_bytes(&r, &field);
            break;
        case 2:
            out->common.keyspace_id = proto_get_uint32(&r, &field);
            break;
        case 3:
            out->txn = proto_get_bytes(&r, &field);
            break;
        case 4:
        case 5: {
            struct slice message = proto_get_bytes(&r, &field);
            if (r.status != STATUS_OK) { break; }
            st = data_commit_operation(scratch, message, field.number == 5, out, refusal);
            break;
        }
        case 6:
            out->common.hlc.v = proto_get_fixed64(&r, &field);
            break;
        case 7: {
            struct slice message = proto_get_bytes(&r, &field);
            if (r.status == STATUS_OK) { st = data_commit_read(scratch, message, out, refusal); }
            break;
        }
        case 8:
            out->snapshot.v = proto_get_fixed64(&r, &field);
            break;
        default:
            break;
        }
    }
    if (st != STATUS_OK) { return st; }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    if ((out->read_count > 0) != (out->snapshot.v != 0)) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "snapshot", 0,
                            "reads and the snapshot at which they were made come together");
    }
    return STATUS_OK;
}

static void data_commit_prefix(struct data_scratch *scratch, uint32_t keyspace,
                               const struct data_commit_fields *fields) {
    for (uint32_t i = 0; i < fields->read_count; i++) {
        struct command_span *read = &scratch->reads[i];
        read->start = data__full_key(scratch, keyspace, read->start);
        if (read->end.size > 0) { read->end = data__full_key(scratch, keyspace, read->end); }
    }
    for (uint32_t i = 0; i < fields->condition_count; i++) {
        struct command_condition *condition = &scratch->conditions[i];
        condition->key = data__full_key(scratch, keyspace, condition->key);
    }
    for (uint32_t i = 0; i < fields->mutation_count; i++) {
        struct command_mutation *mutation = &scratch->mutations[i];
        mutation->key = data__full_key(scratch, keyspace, mutation->key);
        if (mutation->kind == COMMAND_MERGE) {
            mutation->value.data = scratch->merges.data + (size_t)mutation->value.data;
        }
        if (mutation->kind == COMMAND_DELETE_RANGE) {
            mutation->value = data__full_key(scratch, keyspace, mutation->value);
        }
    }
}

static enum status data_commit_txn(const struct data_commit_fields *fields, bool needs_id,
                                   struct txn_id *out, struct data_refusal *refusal) {
    if (fields->txn.size > 0 || needs_id) { return data__check_txn(fields->txn, out, refusal); }
    const uint64_t random[2] = {loop_entropy(), loop_entropy()};
    *out = txn_id_make(loop_wall_us() / 1000, random);
    return STATUS_OK;
}

// Encodes the commit and notes the bounds of its keys.
static enum status data_commit_encode(struct data_scratch *scratch,
                                      const struct command_commit *commit,
                                      struct data_prepared *out, struct data_refusal *refusal) {
    struct codec_writer w;
    codec_writer_init(&w, &scratch->encoded);
    size_t at = scratch->encoded.size;
    command_commit_encode(&w, commit);
    enum status st = data__span_since(scratch, at, &w, &out->payload, refusal);
    if (st != STATUS_OK) { return st; }
    const uint8_t *base = scratch->encoded.data;
    struct slice low;
    struct slice high;
    st = command_commit_span(slice_make(base + at, out->payload.size), &low, &high);
    ASSERT(st == STATUS_OK);
    out->key = (struct data_span){(size_t)(low.data - base), low.size};
    out->key_high = (struct data_span){(size_t)(high.data - base), high.size};
    return STATUS_OK;
}

enum status data__decode_commit(struct data_scratch *scratch, struct slice request, bool needs_id,
                                struct data_prepared *out, struct data_refusal *refusal) {
    struct data_commit_fields fields = {.condition_count = 0};
    uint32_t keyspace = 0;
    *out = (struct data_prepared){.kind = COMMAND_COMMIT};
    buf_reset(&scratch->merges);
    enum status st = data_commit_fields(scratch, request, &fields, refusal);
    if (st != STATUS_OK) { return st; }
    st = data__keyspace(scratch, fields.common.keyspace, fields.common.keyspace_id, &keyspace,
                        refusal);
    if (st != STATUS_OK) { return st; }
    st = data_commit_txn(&fields, needs_id, &out->txn, refusal);
    if (st != STATUS_OK) { return st; }
    if (fields.read_count + fields.condition_count + fields.mutation_count == 0) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "mutations", COMMAND_OPS_MAX,
                            "the commit has neither reads, nor conditions, nor mutations");
    }
    data_commit_prefix(scratch, keyspace, &fields);
    struct command_commit commit = {.txn = out->txn,
                                    .snapshot = fields.snapshot,
                                    .read_count = fields.read_count,
                                    .reads = scratch->reads,
                                    .condition_count = fields.condition_count,
                                    .mutation_count = fields.mutation_count,
                                    .conditions = scratch->conditions,
                                    .mutations = scratch->mutations};
    st = command_commit_check(&commit, &refusal->err);
    if (st != STATUS_OK) {
        refusal->status = st;
        return st;
    }
    out->hlc = fields.common.hlc;
    st = data_commit_encode(scratch, &commit, out, refusal);
    if (st == STATUS_OK && out->payload.size > scratch->commit_size_max) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "mutations", scratch->commit_size_max,
                            "the commit is larger than this node takes");
    }
    return st;
}

// --- A transaction's writes and conditions ---

enum status data__decode_operations(struct data_scratch *scratch, uint32_t keyspace,
                                    struct slice message, bool mutations,
                                    struct data_refusal *refusal) {
    struct data_commit_fields fields = {.condition_count = 0};
    struct proto_reader r;
    struct proto_field field;
    enum status st = STATUS_OK;
    buf_reset(&scratch->merges);
    scratch->operation_count = 0;
    proto_reader_init(&r, message);
    while (st == STATUS_OK && proto_next(&r, &field)) {
        if (field.number != 1) { continue; }
        struct slice operation = proto_get_bytes(&r, &field);
        if (r.status != STATUS_OK) { break; }
        st = data_commit_operation(scratch, operation, mutations, &fields, refusal);
    }
    if (st != STATUS_OK) { return st; }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    data_commit_prefix(scratch, keyspace, &fields);
    scratch->operation_count = mutations ? fields.mutation_count : fields.condition_count;
    return STATUS_OK;
}
