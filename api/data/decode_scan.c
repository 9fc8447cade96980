// SPDX-License-Identifier: Apache-2.0
// Scans, from the wire into the command that reads one page.
#include "api/data/data_internal.h"

struct data_scan_fields {
    struct data_common common;
    struct slice start;
    struct slice end;
    uint64_t limit;
    uint32_t page_rows;
    bool reverse;
    bool keys_only;
};

static void data_scan_field(struct proto_reader *r, const struct proto_field *field,
                            struct data_scan_fields *out) {
    switch (field->number) {
    case 1:
        out->common.keyspace = proto_get_bytes(r, field);
        break;
    case 2:
        out->common.keyspace_id = proto_get_uint32(r, field);
        break;
    case 3:
        out->start = proto_get_bytes(r, field);
        break;
    case 4:
        out->end = proto_get_bytes(r, field);
        break;
    case 5:
        out->limit = proto_get_uint(r, field);
        break;
    case 6:
        out->page_rows = proto_get_uint32(r, field);
        break;
    case 7:
        out->reverse = proto_get_bool(r, field);
        break;
    case 8:
        out->keys_only = proto_get_bool(r, field);
        break;
    case 10:
        out->common.snapshot.at_least.v = proto_get_fixed64(r, field);
        break;
    case 11:
        out->common.hlc.v = proto_get_fixed64(r, field);
        break;
    case 12:
        out->common.snapshot.at.v = proto_get_fixed64(r, field);
        break;
    case 13:
        out->common.snapshot.staleness_us = proto_get_uint(r, field);
        break;
    default:
        break;
    }
}

static enum status data_scan_fields(struct slice request, struct data_scan_fields *out,
                                    struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, request);
    enum status st = STATUS_OK;
    while (st == STATUS_OK && proto_next(&r, &field)) {
        if (field.number == 9) {
            st = data__get_consistency(&r, &field, &out->common, refusal);
        } else {
            data_scan_field(&r, &field, out);
        }
    }
    if (st != STATUS_OK) { return st; }
    if (r.status != STATUS_OK) { return data__garbage(refusal); }
    if (out->start.size > SHARD_USER_KEY_SIZE_MAX) {
        return data__check_key(out->start, "start", refusal);
    }
    if (out->end.size > SHARD_USER_KEY_SIZE_MAX) {
        return data__check_key(out->end, "end", refusal);
    }
    if (out->page_rows > COMMAND_SCAN_ROWS_MAX) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "page_rows", COMMAND_SCAN_ROWS_MAX,
                            "page_rows is %u, at most %d", out->page_rows, COMMAND_SCAN_ROWS_MAX);
    }
    return STATUS_OK;
}

enum status data__decode_scan(struct data_scratch *scratch, struct slice request,
                              struct data_scan_request *out, struct data_refusal *refusal) {
    struct data_scan_fields fields = {.common = {.snapshot = {.consistency = COMMAND_STRONG}}};
    uint32_t keyspace = 0;
    enum status st = data_scan_fields(request, &fields, refusal);
    if (st != STATUS_OK) { return st; }
    st = data__keyspace(scratch, fields.common.keyspace, fields.common.keyspace_id, &keyspace,
                        refusal);
    if (st == STATUS_OK) { st = data__check_snapshot(&fields.common.snapshot, refusal); }
    if (st != STATUS_OK) { return st; }
    if (fields.common.snapshot.consistency == COMMAND_STRICT) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "consistency", 0,
                            "a scan cannot be strict: its pages are read one after the other");
    }
    *out = (struct data_scan_request){
        .scan = {.snapshot = fields.common.snapshot,
                 .start = data__full_key(scratch, keyspace, fields.start),
                 .row_limit = fields.page_rows == 0 ? DATA_PAGE_ROWS : fields.page_rows,
                 .reverse = fields.reverse,
                 .keys_only = fields.keys_only},
        .limit = fields.limit == 0 ? UINT64_MAX : fields.limit,
        .hlc = fields.common.hlc,
    };
    if (fields.end.size > 0) { out->scan.end = data__full_key(scratch, keyspace, fields.end); }
    st = command_scan_check(&out->scan, &refusal->err);
    if (st != STATUS_OK) { refusal->status = st; }
    return st;
}
