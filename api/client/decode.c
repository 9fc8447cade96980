// SPDX-License-Identifier: Apache-2.0
// Answers from the wire, as views into the message that brought them.
#include "api/client/client_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <grpc/slice.h>

#include <string.h>

#define LC_DETAIL_KEY "lightcone-error-bin"

enum { LC_ROWS_MIN = 16 };

// CommitResult.
enum { LC_RESULT_COMMITTED = 1, LC_RESULT_CONDITION_FAILED, LC_RESULT_REFUSED, LC_RESULT_ABORTED };

static enum status lc_decode_certificate(struct slice message, struct lc_certificate *out) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        switch (field.number) {
        case 1:
            out->method = proto_get_uint32(&r, &field);
            break;
        case 2:
            out->shard = proto_get_uint(&r, &field);
            break;
        case 3:
            out->config_epoch = proto_get_uint(&r, &field);
            break;
        case 4:
            out->term = proto_get_uint(&r, &field);
            break;
        case 5:
            out->index = proto_get_uint(&r, &field);
            break;
        case 6:
            out->timestamp = proto_get_fixed64(&r, &field);
            break;
        case 7:
            out->closed = proto_get_fixed64(&r, &field);
            break;
        case 8:
            out->age_us = proto_get_uint(&r, &field);
            break;
        default:
            break;
        }
    }
    return r.status;
}

enum status lc__decode_header(struct slice message, struct lc_certificate *out, uint64_t *out_hlc,
                              uint32_t *out_served_by) {
    struct proto_reader r;
    struct proto_field field;
    enum status st = STATUS_OK;
    proto_reader_init(&r, message);
    while (st == STATUS_OK && proto_next(&r, &field)) {
        if (field.number == 1) { *out_hlc = proto_get_fixed64(&r, &field); }
        if (field.number == 2) { st = lc_decode_certificate(proto_get_bytes(&r, &field), out); }
        if (field.number == 3) { *out_served_by = proto_get_uint32(&r, &field); }
    }
    return st == STATUS_OK ? r.status : st;
}

// ReadRow{found, value, version} or ScanRow{key, value, version}.
enum status lc__decode_row(struct slice message, bool scan, struct lc_row *out) {
    struct proto_reader r;
    struct proto_field field;
    *out = (struct lc_row){.found = scan};
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1 && scan) { out->key = proto_get_bytes(&r, &field); }
        if (field.number == 1 && !scan) { out->found = proto_get_bool(&r, &field); }
        if (field.number == 2) { out->value = proto_get_bytes(&r, &field); }
        if (field.number == 3) { out->version = proto_get_fixed64(&r, &field); }
    }
    return r.status;
}

enum status lc__add_row(struct lc_rows *rows, struct slice message, bool scan,
                        struct lc_result *out) {
    if (out->row_count == rows->capacity) {
        uint32_t wanted = rows->capacity == 0 ? LC_ROWS_MIN : 2 * rows->capacity;
        struct lc_row *items = mem_try_realloc(rows->items, wanted * sizeof(*items));
        if (items == NULL) { return STATUS_RESOURCE_EXHAUSTED; }
        rows->items = items;
        rows->capacity = wanted;
    }
    out->rows = rows->items;
    return lc__decode_row(message, scan, &rows->items[out->row_count++]);
}

static void lc_take_result(uint64_t kept, struct lc_result *out) {
    out->outcome = kept == LC_RESULT_COMMITTED ? LC_COMMITTED : LC_ABORTED;
    switch (kept) {
    case LC_RESULT_COMMITTED:
        break;
    case LC_RESULT_CONDITION_FAILED:
        out->status = STATUS_CONDITION_FAILED;
        break;
    case LC_RESULT_ABORTED:
        out->status = STATUS_CANCELLED;
        break;
    case LC_RESULT_REFUSED:
    default:
        out->status = STATUS_RESOURCE_EXHAUSTED;
        break;
    }
}

// Field numbers 2 and up of the three responses.
static enum status lc_decode_field(struct lc_rows *rows, enum lc_kind kind, struct proto_reader *r,
                                   const struct proto_field *field, struct lc_result *out) {
    if (kind == LC_KIND_READ) {
        if (field->number != 2) { return STATUS_OK; }
        return lc__add_row(rows, proto_get_bytes(r, field), false, out);
    }
    if (field->number == 2 && kind == LC_KIND_TXN_STATUS) { out->known = proto_get_bool(r, field); }
    if (field->number == 2 && kind == LC_KIND_COMMIT) {
        struct slice txn = proto_get_bytes(r, field);
        if (txn.size != LC_TXN_ID_SIZE) { return STATUS_CORRUPT; }
        memcpy(out->txn, txn.data, LC_TXN_ID_SIZE);
    }
    if (field->number == 3) { lc_take_result(proto_get_uint(r, field), out); }
    if (field->number == 4) { out->timestamp = proto_get_fixed64(r, field); }
    if (field->number == 5) { out->failed_condition = proto_get_uint32(r, field); }
    if (field->number == 6 && kind == LC_KIND_TXN_STATUS) {
        out->pending = proto_get_bool(r, field);
    }
    return STATUS_OK;
}

enum status lc__decode_response(struct lc_rows *rows, enum lc_kind kind, struct slice message,
                                struct lc_result *out) {
    struct proto_reader r;
    struct proto_field field;
    enum status st = STATUS_OK;
    proto_reader_init(&r, message);
    while (st == STATUS_OK && proto_next(&r, &field)) {
        if (field.number == 1) {
            st = lc__decode_header(proto_get_bytes(&r, &field), &out->certificate, &out->hlc,
                                   &out->served_by);
        } else {
            st = lc_decode_field(rows, kind, &r, &field, out);
        }
    }
    if (kind == LC_KIND_TXN_STATUS && !out->known) { out->outcome = LC_UNKNOWN; }
    return st == STATUS_OK ? r.status : st;
}

// --- Errors ---

static enum status lc_status_of_name(struct slice name) {
    for (uint32_t i = 0; i < STATUS_COUNT; i++) {
        if (slice_equal(name, slice_from_string(status_name((enum status)i)))) {
            return (enum status)i;
        }
    }
    return STATUS_COUNT;
}

enum status lc__decode_error(struct slice detail, struct lc_error *out) {
    struct proto_reader r;
    struct proto_field field;
    struct slice name = SLICE_EMPTY;
    struct slice txn = SLICE_EMPTY;
    *out = (struct lc_error){.status = STATUS_UNAVAILABLE};
    proto_reader_init(&r, detail);
    while (proto_next(&r, &field)) {
        switch (field.number) {
        case 1:
            name = proto_get_bytes(&r, &field);
            break;
        case 2:
            out->field = proto_get_bytes(&r, &field);
            break;
        case 3:
            out->limit = proto_get_uint(&r, &field);
            break;
        case 4:
            txn = proto_get_bytes(&r, &field);
            break;
        case 7:
            out->retry_after_ms = proto_get_uint32(&r, &field);
            break;
        case 8:
            out->message = proto_get_bytes(&r, &field);
            break;
        case 10:
            out->key = proto_get_bytes(&r, &field);
            break;
        case 11:
            out->holder = proto_get_bytes(&r, &field);
            break;
        default:
            break;
        }
    }
    enum status st = lc_status_of_name(name);
    if (r.status != STATUS_OK || st == STATUS_OK || st == STATUS_COUNT) { return STATUS_CORRUPT; }
    out->status = st;
    out->settled = st == STATUS_CANCELLED && txn.size > 0;
    return STATUS_OK;
}

struct lc_result lc__result_of(const struct lc_error *error) {
    struct lc_result result = {.outcome = LC_ABORTED,
                               .status = error->status,
                               .message = error->message,
                               .field = error->field,
                               .limit = error->limit,
                               .known = error->settled};
    if (error->status == STATUS_ABORTED_RETRY) { result.conflict_key = error->key; }
    if (error->holder.size == LC_TXN_ID_SIZE) {
        memcpy(result.holder, error->holder.data, LC_TXN_ID_SIZE);
    }
    return result;
}

enum status lc__status_of_code(grpc_status_code code) {
    static const enum status statuses[] = {
        [GRPC_STATUS_OK] = STATUS_OK,
        [GRPC_STATUS_CANCELLED] = STATUS_CANCELLED,
        [GRPC_STATUS_UNKNOWN] = STATUS_UNAVAILABLE,
        [GRPC_STATUS_INVALID_ARGUMENT] = STATUS_INVALID_ARGUMENT,
        [GRPC_STATUS_DEADLINE_EXCEEDED] = STATUS_DEADLINE_EXCEEDED,
        [GRPC_STATUS_NOT_FOUND] = STATUS_NOT_FOUND,
        [GRPC_STATUS_ALREADY_EXISTS] = STATUS_ALREADY_EXISTS,
        [GRPC_STATUS_PERMISSION_DENIED] = STATUS_WRONG_CLUSTER,
        [GRPC_STATUS_RESOURCE_EXHAUSTED] = STATUS_RESOURCE_EXHAUSTED,
        [GRPC_STATUS_FAILED_PRECONDITION] = STATUS_FAILED_PRECONDITION,
        [GRPC_STATUS_ABORTED] = STATUS_ABORTED_RETRY,
        [GRPC_STATUS_OUT_OF_RANGE] = STATUS_SNAPSHOT_TOO_OLD,
        [GRPC_STATUS_UNIMPLEMENTED] = STATUS_NOT_SUPPORTED,
        [GRPC_STATUS_INTERNAL] = STATUS_UNAVAILABLE,
        [GRPC_STATUS_UNAVAILABLE] = STATUS_UNAVAILABLE,
        [GRPC_STATUS_DATA_LOSS] = STATUS_CORRUPT,
        [GRPC_STATUS_UNAUTHENTICATED] = STATUS_WRONG_CLUSTER,
    };
    size_t at = (size_t)code;
    return at < sizeof(statuses) / sizeof(statuses[0]) ? statuses[at] : STATUS_UNAVAILABLE;
}

void lc__error_of_call(const grpc_metadata_array *trailing, grpc_status_code code,
                       const grpc_slice *details, struct lc_error *out) {
    for (size_t i = 0; i < trailing->count; i++) {
        const grpc_metadata *metadata = &trailing->metadata[i];
        if (slice_equal(lc__slice(&metadata->key), SLICE_LITERAL(LC_DETAIL_KEY)) &&
            lc__decode_error(lc__slice(&metadata->value), out) == STATUS_OK) {
            return;
        }
    }
    *out = (struct lc_error){.status = lc__status_of_code(code), .message = lc__slice(details)};
}

bool lc__was_told(const grpc_metadata_array *trailing) {
    bool told = false;
    for (size_t i = 0; i < trailing->count; i++) {
        told = told ||
               slice_equal(lc__slice(&trailing->metadata[i].key), SLICE_LITERAL(LC_DETAIL_KEY));
    }
    return told;
}
