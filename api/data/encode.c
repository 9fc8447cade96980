// SPDX-License-Identifier: Apache-2.0
// Answers of Data, from the session's result straight to the wire. On the loop, so nothing here
// allocates beyond the buffer that is kept.
#include "api/data/data_internal.h"
#include "dataplane/base/assert.h"

#include <string.h>

enum {
    DATA_HEADER_HINT = 64,
    DATA_ROW_OVERHEAD = 24,
    DATA_ANSWER_HOLDER_AT = 1 + 1 + 8 + 4,
    DATA_RESULT_COMMITTED = 1,
    DATA_RESULT_CONDITION_FAILED = 2,
    DATA_RESULT_REFUSED = 3,
    DATA_RESULT_ABORTED = 4,
};

// The numbers of command_method and CertificateMethod agree (data_test checks).
static void data_put_certificate(struct data *self, struct proto_writer *w,
                                 const struct command_certificate *certificate) {
    if (certificate->method == COMMAND_METHOD_NONE) { return; }
    uint64_t wall_us = env_wall_us(self->config.env);
    uint64_t at_us = hlc_wall_us(certificate->timestamp);
    size_t mark = proto_open(w, 2, DATA_HEADER_HINT);
    proto_put_uint(w, 1, (uint64_t)certificate->method);
    proto_put_uint(w, 2, certificate->shard.v);
    proto_put_uint(w, 3, certificate->config_epoch);
    proto_put_uint(w, 4, certificate->term);
    proto_put_uint(w, 5, certificate->index);
    proto_put_fixed64(w, 6, certificate->timestamp.v);
    proto_put_fixed64(w, 7, certificate->closed.v);
    proto_put_uint(w, 8, wall_us > at_us ? wall_us - at_us : 0);
    proto_close(w, mark);
}

void data__put_header(struct data *self, struct proto_writer *w,
                      const struct command_certificate *certificate) {
    struct hlc_ts now = hlc_peek(self->config.hlc, env_wall_us(self->config.env));
    size_t mark = proto_open(w, 1, DATA_HEADER_HINT);
    proto_put_fixed64(w, 1, now.v);
    data_put_certificate(self, w, certificate);
    proto_put_uint(w, 3, self->config.self.v);
    proto_close(w, mark);
}

void data__put_read_row(struct proto_writer *w, uint32_t field, const struct command_row *row) {
    size_t mark = proto_open(w, field, row->value.size + DATA_ROW_OVERHEAD);
    proto_put_uint(w, 1, row->found ? 1 : 0);
    proto_put_bytes(w, 2, row->value);
    proto_put_fixed64(w, 3, row->version.v);
    proto_close(w, mark);
}

static enum status data_encode_read(struct data *self, struct proto_writer *w,
                                    const struct session_result *result) {
    struct codec_reader r;
    struct command_row row;
    codec_reader_init(&r, result->payload);
    data__put_header(self, w, &result->certificate);
    while (codec_remaining(&r) > 0) {
        enum status st = command_read_row_decode(&r, &row);
        if (st != STATUS_OK) { return st; }
        data__put_read_row(w, 2, &row);
    }
    return w->status;
}

// Fields result, timestamp and failed_condition, which begin at `field` in both answers.
static enum status data_put_outcome(struct proto_writer *w, struct slice payload, uint32_t field) {
    struct codec_reader r;
    struct command_outcome outcome;
    codec_reader_init(&r, payload);
    enum status st = command_outcome_decode(&r, &outcome);
    if (st != STATUS_OK) { return st; }
    uint64_t kept = DATA_RESULT_REFUSED;
    if (outcome.status == STATUS_OK) { kept = DATA_RESULT_COMMITTED; }
    if (outcome.status == STATUS_CANCELLED) { kept = DATA_RESULT_ABORTED; }
    if (outcome.status == STATUS_CONDITION_FAILED) { kept = DATA_RESULT_CONDITION_FAILED; }
    proto_put_uint(w, field, kept);
    proto_put_fixed64(w, field + 1, outcome.timestamp.v);
    if (kept == DATA_RESULT_CONDITION_FAILED) {
        proto_put_uint(w, field + 2, outcome.failed_condition);
    }
    return w->status;
}

static enum status data_encode_commit(struct data *self, struct proto_writer *w,
                                      const struct data_answer *answer) {
    data__put_header(self, w, &answer->result->certificate);
    proto_put_bytes(w, 2, slice_make(answer->txn.v, sizeof(answer->txn.v)));
    return data_put_outcome(w, answer->result->payload, 3);
}

static enum status data_encode_txn_status(struct data *self, struct proto_writer *w,
                                          const struct data_answer *answer) {
    data__put_header(self, w, &answer->result->certificate);
    if (answer->result->status == STATUS_NOT_FOUND) {
        // One byte says that it is prepared (txn/session).
        if (answer->result->payload.size > 0) { proto_put_uint(w, 6, 1); }
        return w->status;
    }
    proto_put_uint(w, 2, 1);
    return data_put_outcome(w, answer->result->payload, 3);
}

// A commit whose condition failed was answered; so was the question for an outcome that is not kept
// (certified: without a certificate it was the shard that was not found).
bool data__is_success(const struct data_answer *answer) {
    const struct session_result *result = answer->result;
    if (result->status == STATUS_OK) { return true; }
    if (result->certificate.method == COMMAND_METHOD_NONE) { return false; }
    return (answer->kind == COMMAND_COMMIT && result->status == STATUS_CONDITION_FAILED) ||
           (answer->kind == COMMAND_TXN_STATUS && result->status == STATUS_NOT_FOUND);
}

enum status data__encode(struct data *self, struct proto_writer *w,
                         const struct data_answer *answer) {
    ASSERT(data__is_success(answer));
    if (answer->kind == COMMAND_READ) { return data_encode_read(self, w, answer->result); }
    if (answer->kind == COMMAND_COMMIT) { return data_encode_commit(self, w, answer); }
    ASSERT(answer->kind == COMMAND_TXN_STATUS);
    return data_encode_txn_status(self, w, answer);
}

// What was in the way, when the shard said so.
static void data_conflict(const struct data_answer *answer, struct rpc_error *error) {
    static const struct txn_id nobody;
    struct codec_reader r;
    struct command_txn_answer told;
    codec_reader_init(&r, answer->result->payload);
    if (command_txn_answer_decode(&r, &told) != STATUS_OK) { return; }
    if (told.key.size > SHARD_KEYSPACE_PREFIX_SIZE) {
        error->key = slice_make(told.key.data + SHARD_KEYSPACE_PREFIX_SIZE,
                                told.key.size - SHARD_KEYSPACE_PREFIX_SIZE);
    }
    if (txn_id_equal(told.holder, nobody)) { return; }
    // The id lies in the payload: 16 bytes behind state, reason, timestamp and condition.
    error->holder =
        slice_make(answer->result->payload.data + DATA_ANSWER_HOLDER_AT, sizeof(told.holder.v));
}

struct rpc_error data__result_error(const struct data_answer *answer) {
    struct rpc_error error = {.status = answer->result->status, .message = answer->result->detail};
    const bool settled = error.status == STATUS_CANCELLED && answer->kind == COMMAND_COMMIT &&
                         answer->result->certificate.method != COMMAND_METHOD_NONE;
    if (settled || error.status == STATUS_UNKNOWN_OUTCOME) {
        error.txn_id = slice_make(answer->txn.v, sizeof(answer->txn.v));
    }
    if (error.status == STATUS_OVERLOADED) { error.retry_after_ms = DATA_RETRY_AFTER_MS; }
    if (error.status == STATUS_ABORTED_RETRY) { data_conflict(answer, &error); }
    return error;
}

// --- Pages of a scan ---

void data__put_scan_row(struct proto_writer *w, uint32_t field, const struct command_row *row) {
    ASSERT(row->key.size >= SHARD_KEYSPACE_PREFIX_SIZE);
    size_t mark = proto_open(w, field, row->key.size + row->value.size + DATA_ROW_OVERHEAD);
    proto_put_bytes(w, 1,
                    slice_make(row->key.data + SHARD_KEYSPACE_PREFIX_SIZE,
                               row->key.size - SHARD_KEYSPACE_PREFIX_SIZE));
    proto_put_bytes(w, 2, row->value);
    proto_put_fixed64(w, 3, row->version.v);
    proto_close(w, mark);
}

// The limit of the whole scan makes the limit of its last page, so pages never hold rows too many.
enum status data__encode_page(struct data *self, struct proto_writer *w,
                              const struct session_result *result, uint64_t left,
                              struct data_page *out) {
    struct codec_reader r;
    struct command_row row;
    *out = (struct data_page){0};
    codec_reader_init(&r, result->payload);
    data__put_header(self, w, &result->certificate);
    for (;;) {
        enum status st = command_scan_row_decode(&r, &row, &out->more, &out->resume);
        if (st != STATUS_OK) { return st; }
        if (!row.found) { break; }
        if (row.key.size < SHARD_KEYSPACE_PREFIX_SIZE) { return STATUS_CORRUPT; }
        data__put_scan_row(w, 2, &row);
        out->rows++;
    }
    ASSERT(out->rows <= left);
    if (out->more && out->resume.size < SHARD_KEYSPACE_PREFIX_SIZE) { return STATUS_CORRUPT; }
    if (out->more) {
        proto_put_uint(w, 3, 1);
        proto_put_bytes(w, 4,
                        slice_make(out->resume.data + SHARD_KEYSPACE_PREFIX_SIZE,
                                   out->resume.size - SHARD_KEYSPACE_PREFIX_SIZE));
    }
    return w->status;
}
