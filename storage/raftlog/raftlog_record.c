// SPDX-License-Identifier: Apache-2.0
// Keys sort by shard, then kind, then index, all big-endian: recovery reads the store once, in
// order, and meets a shard's hard state and start before its entries.
//   shard u64 | kind u8             one record of the shard itself, sealed by codec_seal
//   shard u64 | kind u8 | index u64 one entry: its record, as it came over the wire
// An entry's record has its own checksum from its birth. Version 1 of a hard state had no
// incarnation (it was of the first members, 1), version 1 of a start neither times nor membership.
#include "dataplane/base/assert.h"
#include "storage/raftlog/raftlog_internal.h"

#include <string.h>

enum { RECORD_VERSION = 2, RECORD_VERSION_SHORT = 1 };

static void store_big(uint8_t *out, uint64_t v) {
    for (int i = 7; i >= 0; i--) {
        out[i] = (uint8_t)v;
        v >>= 8;
    }
}

static uint64_t load_big(const uint8_t *at) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        v = v << 8 | at[i];
    }
    return v;
}

struct slice raftlog__shard_key(struct shard_id shard, enum raftlog_key_kind kind, uint8_t *out) {
    store_big(out, shard.v);
    out[8] = (uint8_t)kind;
    return slice_make(out, RAFTLOG_SHARD_KEY_SIZE);
}

struct slice raftlog__entry_key(struct shard_id shard, uint64_t index, uint8_t *out) {
    (void)raftlog__shard_key(shard, RAFTLOG_ENTRY, out);
    store_big(out + RAFTLOG_SHARD_KEY_SIZE, index);
    return slice_make(out, RAFTLOG_KEY_SIZE);
}

enum status raftlog__key_decode(struct slice key, struct shard_id *out_shard,
                                enum raftlog_key_kind *out_kind, uint64_t *out_index) {
    if (key.size < RAFTLOG_SHARD_KEY_SIZE) { return STATUS_CORRUPT; }
    const uint8_t kind = key.data[8];
    const bool is_entry = kind == RAFTLOG_ENTRY && key.size == RAFTLOG_KEY_SIZE;
    const bool is_shard = kind >= RAFTLOG_HARD_STATE && kind <= RAFTLOG_DAMAGE &&
                          kind != RAFTLOG_ENTRY && key.size == RAFTLOG_SHARD_KEY_SIZE;
    const struct shard_id shard = {load_big(key.data)};
    if ((!is_entry && !is_shard) || shard.v == 0) { return STATUS_CORRUPT; }
    *out_shard = shard;
    *out_kind = (enum raftlog_key_kind)kind;
    *out_index = is_entry ? load_big(key.data + RAFTLOG_SHARD_KEY_SIZE) : 0;
    return STATUS_OK;
}

// A record under construction: the payload first, then sealed into out.
static struct codec_writer begin(struct buf *payload) {
    struct codec_writer w;
    buf_init(payload, RAFTLOG_RECORD_SIZE_MAX);
    codec_writer_init(&w, payload);
    return w;
}

static void seal(struct buf *out, enum raftlog_key_kind kind, const struct codec_writer *w,
                 struct buf *payload) {
    ASSERT(w->status == STATUS_OK);
    buf_reset(out);
    const enum status st = codec_seal(out, RECORD_VERSION, (uint8_t)kind, buf_slice(payload));
    ASSERT(st == STATUS_OK);  // out's maximum holds every record
    buf_deinit(payload);
}

static enum status unseal(struct slice record, enum raftlog_key_kind kind, uint8_t *out_version,
                          struct codec_reader *out_reader) {
    uint8_t found = 0;
    struct slice payload;
    const enum status st = codec_open(record, RECORD_VERSION, out_version, &found, &payload);
    if (st != STATUS_OK) { return st; }
    if (found != (uint8_t)kind || *out_version < RECORD_VERSION_SHORT) { return STATUS_CORRUPT; }
    codec_reader_init(out_reader, payload);
    return STATUS_OK;
}

void raftlog__hard_state_encode(struct buf *out, const struct log_hard_state *state) {
    struct buf payload;
    struct codec_writer w = begin(&payload);
    codec_put_u64(&w, state->term);
    codec_put_u32(&w, state->vote.v);
    codec_put_u64(&w, state->commit);
    codec_put_u64(&w, state->incarnation);
    seal(out, RAFTLOG_HARD_STATE, &w, &payload);
}

enum status raftlog__hard_state_decode(struct slice record, struct log_hard_state *out) {
    struct codec_reader r;
    uint8_t version = 0;
    enum status st = unseal(record, RAFTLOG_HARD_STATE, &version, &r);
    if (st != STATUS_OK) { return st; }
    struct log_hard_state state = {0};
    state.term = codec_get_u64(&r);
    state.vote.v = codec_get_u32(&r);
    state.commit = codec_get_u64(&r);
    state.incarnation = version > RECORD_VERSION_SHORT ? codec_get_u64(&r) : 1;
    st = codec_finish(&r);
    if (st == STATUS_OK) { *out = state; }
    return st;
}

void raftlog__start_encode(struct buf *out, const struct raftlog_start *start) {
    struct buf payload;
    struct codec_writer w = begin(&payload);
    codec_put_u64(&w, start->index);
    codec_put_u64(&w, start->term);
    codec_put_u64(&w, start->ceiling.v);
    codec_put_u64(&w, start->timestamp.v);
    codec_put_u64(&w, start->membership_index);
    codec_put_slice(&w, start->membership);
    seal(out, RAFTLOG_START, &w, &payload);
}

enum status raftlog__start_decode(struct slice record, struct raftlog_start *out) {
    struct codec_reader r;
    uint8_t version = 0;
    enum status st = unseal(record, RAFTLOG_START, &version, &r);
    if (st != STATUS_OK) { return st; }
    struct raftlog_start start = {0};
    start.index = codec_get_u64(&r);
    start.term = codec_get_u64(&r);
    if (version > RECORD_VERSION_SHORT) {
        start.ceiling.v = codec_get_u64(&r);
        start.timestamp.v = codec_get_u64(&r);
        start.membership_index = codec_get_u64(&r);
        start.membership = codec_get_slice(&r, LOG_ENTRY_PAYLOAD_SIZE_MAX);
    }
    if (start.index == UINT64_MAX || start.membership_index > start.index) { codec_fail(&r); }
    st = codec_finish(&r);
    if (st == STATUS_OK) { *out = start; }
    return st;
}

void raftlog__tombstone_encode(struct buf *out, uint64_t incarnation) {
    struct buf payload;
    struct codec_writer w = begin(&payload);
    codec_put_u64(&w, incarnation);
    seal(out, RAFTLOG_TOMBSTONE, &w, &payload);
}

enum status raftlog__tombstone_decode(struct slice record, uint64_t *out_incarnation) {
    struct codec_reader r;
    uint8_t version = 0;
    enum status st = unseal(record, RAFTLOG_TOMBSTONE, &version, &r);
    if (st != STATUS_OK) { return st; }
    const uint64_t incarnation = codec_get_u64(&r);
    st = codec_finish(&r);
    if (st == STATUS_OK) { *out_incarnation = incarnation; }
    return st;
}

void raftlog__damage_encode(struct buf *out, const struct raftlog_damage *damage) {
    struct buf payload;
    struct codec_writer w = begin(&payload);
    codec_put_u64(&w, damage->from);
    codec_put_u64(&w, damage->last);
    seal(out, RAFTLOG_DAMAGE, &w, &payload);
}

enum status raftlog__damage_decode(struct slice record, struct raftlog_damage *out) {
    struct codec_reader r;
    uint8_t version = 0;
    enum status st = unseal(record, RAFTLOG_DAMAGE, &version, &r);
    if (st != STATUS_OK) { return st; }
    struct raftlog_damage damage = {0};
    damage.from = codec_get_u64(&r);
    damage.last = codec_get_u64(&r);
    if (damage.from == 0) { codec_fail(&r); }
    st = codec_finish(&r);
    if (st == STATUS_OK) { *out = damage; }
    return st;
}

enum status raftlog__entry_decode(struct slice record, uint64_t index, struct log_entry *out) {
    if (record.size > LOG_ENTRY_HEADER_SIZE + LOG_ENTRY_PAYLOAD_SIZE_MAX) { return STATUS_CORRUPT; }
    struct bytes *owner = bytes_copy(record);
    struct codec_reader r;
    struct log_entry entry;
    codec_reader_init(&r, bytes_slice(owner));
    enum status st = log_entry_decode(&r, owner, &entry);
    bytes_unref(owner);  // the entry holds its own reference
    if (st != STATUS_OK) { return st; }
    st = codec_finish(&r);
    if (st == STATUS_OK && entry.index != index) { st = STATUS_CORRUPT; }
    if (st != STATUS_OK) {
        log_entry_unref(&entry);
        return st;
    }
    *out = entry;
    return STATUS_OK;
}
