// SPDX-License-Identifier: Apache-2.0
// replica_snapshot_wire.c - the messages of a snapshot, and what a receiver keeps of its header.
//
// Each message ends with a checksum over all of it. Frames between nodes have one of their own, but
// a snapshot becomes the state of a replica, so its bytes are guarded from where they are read to
// where they are written: a flipped bit in a proxy or in memory must not become data.

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/replica/replica_snapshot_internal.h"

enum {
    SNAPSHOT_VERSION = 1,
    BASE_VERSION = 1,
    CHECKSUM_SIZE = 4,
    MEMBERSHIP_SIZE_MAX = 4096,
};

static void finish(struct codec_writer *w, struct buf *out) {
    ASSERT(w->status == STATUS_OK);
    codec_put_u32(w, crc32c_extend(0, buf_slice(out)));
    ASSERT(w->status == STATUS_OK);
}

// What stands before the checksum, if that is right.
static enum status open_checked(struct slice body, struct codec_reader *r) {
    if (body.size < CHECKSUM_SIZE) { return STATUS_CORRUPT; }
    struct slice sealed = slice_make(body.data, body.size - CHECKSUM_SIZE);
    if (crc32c_extend(0, sealed) != codec_load_u32(body.data + sealed.size)) {
        return STATUS_CORRUPT;
    }
    codec_reader_init(r, sealed);
    if (codec_get_u8(r) != SNAPSHOT_VERSION) { codec_fail(r); }
    return r->status;
}

static struct hlc_ts get_timestamp(struct codec_reader *r) {
    struct hlc_ts ts = {codec_get_varint(r)};
    if (!hlc_before(ts, HLC_MAX)) { codec_fail(r); }
    return ts;
}

static void put_header(struct codec_writer *w, const struct replica_snapshot_header *self) {
    codec_put_varint(w, self->term);
    codec_put_varint(w, self->sequence);
    codec_put_varint(w, self->index);
    codec_put_varint(w, self->index_term);
    codec_put_varint(w, self->ceiling.v);
    codec_put_varint(w, self->committed.v);
    codec_put_varint(w, self->timestamp.v);
    codec_put_varint(w, self->closed.v);
    codec_put_varint(w, self->shard_epoch);
    codec_put_varint(w, self->total);
    codec_put_slice(w, self->membership);
}

static void get_header(struct codec_reader *r, struct replica_snapshot_header *out) {
    out->term = codec_get_varint(r);
    out->sequence = codec_get_varint(r);
    out->index = codec_get_varint(r);
    out->index_term = codec_get_varint(r);
    out->ceiling = get_timestamp(r);
    out->committed = get_timestamp(r);
    out->timestamp = get_timestamp(r);
    out->closed = get_timestamp(r);
    out->shard_epoch = codec_get_varint(r);
    out->total = codec_get_varint(r);
    out->membership = codec_get_slice(r, MEMBERSHIP_SIZE_MAX);
    bool sound = out->index > 0 && out->index <= UINT64_MAX >> 1 && out->index_term > 0 &&
                 out->index_term <= out->term && out->term <= UINT64_MAX >> 1 &&
                 !hlc_before(out->ceiling, out->closed) &&
                 !hlc_before(out->ceiling, out->committed);
    if (!sound) { codec_fail(r); }
}

// A membership that this code could not use must not reach the log.
static void check_membership(struct codec_reader *r, struct slice encoded) {
    if (r->status != STATUS_OK) { return; }
    struct codec_reader inner;
    struct raft_membership membership;
    codec_reader_init(&inner, encoded);
    enum status st = raft_membership_decode(&inner, &membership);
    if (st != STATUS_OK || codec_finish(&inner) != STATUS_OK ||
        !raft_membership_check(&membership)) {
        codec_fail(r);
    }
}

void replica__snapshot_encode(struct buf *out, const struct replica_snapshot_message *self) {
    struct codec_writer w;
    buf_reset(out);
    codec_writer_init(&w, out);
    codec_put_u8(&w, SNAPSHOT_VERSION);
    codec_put_u8(&w, (uint8_t)self->kind);
    codec_put_varint(&w, self->shard.v);
    codec_put_varint(&w, self->from_incarnation);
    codec_put_varint(&w, self->to_incarnation);
    codec_put_u64(&w, self->id);
    if (self->kind == REPLICA_SNAPSHOT_HEADER) { put_header(&w, &self->header); }
    if (self->kind == REPLICA_SNAPSHOT_CHUNK) {
        codec_put_varint(&w, self->number);
        codec_put_u8(&w, self->last);
        codec_put_slice(&w, self->payload);
    }
    finish(&w, out);
}

enum status replica__snapshot_decode(struct slice body, struct replica_snapshot_message *out) {
    struct codec_reader r;
    enum status st = open_checked(body, &r);
    if (st != STATUS_OK) { return st; }
    struct replica_snapshot_message message = {0};
    uint8_t kind = codec_get_u8(&r);
    if (kind >= REPLICA_SNAPSHOT_KIND_COUNT) { return STATUS_CORRUPT; }
    message.kind = (enum replica_snapshot_kind)kind;
    message.shard.v = codec_get_varint(&r);
    message.from_incarnation = codec_get_varint(&r);
    message.to_incarnation = codec_get_varint(&r);
    message.id = codec_get_u64(&r);
    if (message.kind == REPLICA_SNAPSHOT_HEADER) {
        get_header(&r, &message.header);
        check_membership(&r, message.header.membership);
    }
    if (message.kind == REPLICA_SNAPSHOT_CHUNK) {
        message.number = codec_get_varint(&r);
        message.last = codec_get_u8(&r) != 0;
        message.payload = codec_get_slice(&r, REPLICA_CHUNK_SIZE_MAX);
        if (message.number == 0) { codec_fail(&r); }
    }
    if (message.shard.v == 0 || message.id == 0) { codec_fail(&r); }
    st = codec_finish(&r);
    if (st == STATUS_OK) { *out = message; }
    return st;
}

void replica__snapshot_reply_encode(struct buf *out, const struct replica_snapshot_reply *self) {
    struct codec_writer w;
    buf_reset(out);
    codec_writer_init(&w, out);
    codec_put_u8(&w, SNAPSHOT_VERSION);
    codec_put_u8(&w, (uint8_t)self->answer);
    codec_put_varint(&w, self->shard.v);
    codec_put_varint(&w, self->from_incarnation);
    codec_put_varint(&w, self->to_incarnation);
    codec_put_u64(&w, self->id);
    codec_put_varint(&w, self->next);
    codec_put_varint(&w, self->index);
    finish(&w, out);
}

enum status replica__snapshot_reply_decode(struct slice body, struct replica_snapshot_reply *out) {
    struct codec_reader r;
    enum status st = open_checked(body, &r);
    if (st != STATUS_OK) { return st; }
    struct replica_snapshot_reply reply = {0};
    uint8_t answer = codec_get_u8(&r);
    if (answer >= REPLICA_SNAPSHOT_ANSWER_COUNT) { return STATUS_CORRUPT; }
    reply.answer = (enum replica_snapshot_answer)answer;
    reply.shard.v = codec_get_varint(&r);
    reply.from_incarnation = codec_get_varint(&r);
    reply.to_incarnation = codec_get_varint(&r);
    reply.id = codec_get_u64(&r);
    reply.next = codec_get_varint(&r);
    reply.index = codec_get_varint(&r);
    st = codec_finish(&r);
    if (st == STATUS_OK) { *out = reply; }
    return st;
}

void replica__base_encode(struct buf *out, const struct replica_snapshot_header *header) {
    struct codec_writer w;
    buf_reset(out);
    codec_writer_init(&w, out);
    codec_put_u8(&w, BASE_VERSION);
    put_header(&w, header);
    ASSERT(w.status == STATUS_OK);
}

enum status replica__base_decode(struct slice base, struct replica_snapshot_header *out) {
    struct codec_reader r;
    codec_reader_init(&r, base);
    struct replica_snapshot_header header = {0};
    if (codec_get_u8(&r) != BASE_VERSION) { codec_fail(&r); }
    get_header(&r, &header);
    check_membership(&r, header.membership);
    enum status st = codec_finish(&r);
    if (st == STATUS_OK) { *out = header; }
    return st;
}
