// SPDX-License-Identifier: Apache-2.0
// The envelope between a gateway and a replica. Fields that one side leaves empty cost a byte each;
// a layout per kind was rejected, since the payload dwarfs them and one layout has one test.
#include "dataplane/base/assert.h"
#include "txn/command/command_internal.h"

void command_certificate_encode(struct codec_writer *w, const struct command_certificate *self) {
    codec_put_u8(w, (uint8_t)self->method);
    codec_put_varint(w, self->shard.v);
    codec_put_varint(w, self->config_epoch);
    codec_put_varint(w, self->term);
    codec_put_varint(w, self->index);
    codec_put_u64(w, self->timestamp.v);
    codec_put_u64(w, self->closed.v);
}

enum status command_certificate_decode(struct codec_reader *r, struct command_certificate *out) {
    struct command_certificate certificate = {0};
    certificate.method =
        (enum command_method)command__get_enum(r, COMMAND_METHOD_NONE, COMMAND_METHOD_COUNT);
    certificate.shard.v = codec_get_varint(r);
    certificate.config_epoch = codec_get_varint(r);
    certificate.term = codec_get_varint(r);
    certificate.index = codec_get_varint(r);
    certificate.timestamp.v = codec_get_u64(r);
    certificate.closed.v = codec_get_u64(r);
    if (certificate.method != COMMAND_METHOD_NONE && certificate.shard.v == 0) { codec_fail(r); }
    if (r->status == STATUS_OK) { *out = certificate; }
    return r->status;
}

void command_request_encode(struct codec_writer *w, const struct command_request *self) {
    ASSERT(self->boot != 0 && self->sequence != 0);
    ASSERT(self->kind >= COMMAND_COMMIT && self->kind < COMMAND_KIND_COUNT);
    ASSERT(self->shard.v != 0);
    codec_put_u64(w, self->id);
    codec_put_u64(w, self->boot);
    codec_put_varint(w, self->sequence);
    codec_put_u8(w, (uint8_t)self->kind);
    codec_put_varint(w, self->shard.v);
    codec_put_varint(w, self->epoch);
    codec_put_u64(w, self->hlc.v);
    codec_put_varint(w, self->budget_us);
    codec_put_slice(w, self->payload);
}

enum status command_request_decode(struct slice encoded, struct command_request *out) {
    struct codec_reader r;
    codec_reader_init(&r, encoded);
    struct command_request request = {0};
    request.id = codec_get_u64(&r);
    request.boot = codec_get_u64(&r);
    request.sequence = codec_get_varint(&r);
    request.kind = (enum command_kind)command__get_enum(&r, COMMAND_COMMIT, COMMAND_KIND_COUNT);
    request.shard.v = codec_get_varint(&r);
    request.epoch = codec_get_varint(&r);
    request.hlc.v = codec_get_u64(&r);
    request.budget_us = codec_get_varint(&r);
    request.payload = codec_get_slice(&r, COMMAND_PAYLOAD_SIZE_MAX);
    const bool catalog_kind = request.kind == COMMAND_CATALOG;
    if (request.boot == 0 || request.sequence == 0 || request.shard.v == 0 ||
        catalog_kind != shard_id_equal(request.shard, SHARD_CATALOG)) {
        codec_fail(&r);
    }
    const enum status st = codec_finish(&r);
    if (st == STATUS_OK) { *out = request; }
    return st;
}

// What only reads over several shards say comes last, and is left out of all other responses.
void command_response_encode(struct codec_writer *w, const struct command_response *self) {
    ASSERT_IF(self->uncertain.v != 0, self->contact.v != 0 && self->payload.size == 0);
    codec_put_u64(w, self->id);
    codec_put_u8(w, (uint8_t)self->status);
    codec_put_u64(w, self->hlc.v);
    command_certificate_encode(w, &self->certificate);
    codec_put_varint(w, self->leader.v);
    codec_put_varint(w, self->leader_term);
    codec_put_slice(w, self->descriptors);
    codec_put_slice(w, self->detail);
    codec_put_slice(w, self->payload);
    if (self->contact.v == 0 && self->uncertain.v == 0) { return; }
    codec_put_u64(w, self->contact.v);
    codec_put_varint(w, self->uncertain.v);
}

enum status command_response_decode(struct slice encoded, struct command_response *out) {
    struct codec_reader r;
    codec_reader_init(&r, encoded);
    struct command_response response = {0};
    response.id = codec_get_u64(&r);
    response.status = (enum status)command__get_enum(&r, STATUS_OK, STATUS_COUNT);
    response.hlc.v = codec_get_u64(&r);
    if (command_certificate_decode(&r, &response.certificate) != STATUS_OK) {
        return STATUS_CORRUPT;
    }
    const uint64_t leader = codec_get_varint(&r);
    if (leader > UINT32_MAX) { codec_fail(&r); }
    response.leader.v = (uint32_t)leader;
    response.leader_term = codec_get_varint(&r);
    response.descriptors = codec_get_slice(&r, COMMAND_DESCRIPTORS_SIZE_MAX);
    response.detail = codec_get_slice(&r, ERR_MESSAGE_SIZE);
    response.payload = codec_get_slice(&r, COMMAND_PAYLOAD_SIZE_MAX);
    if (r.status == STATUS_OK && codec_remaining(&r) > 0) {
        response.contact.v = codec_get_u64(&r);
        response.uncertain.v = codec_get_varint(&r);
        if (response.contact.v == 0) { codec_fail(&r); }
    }
    const enum status st = codec_finish(&r);
    if (st == STATUS_OK) { *out = response; }
    return st;
}
