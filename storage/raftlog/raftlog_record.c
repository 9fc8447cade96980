// SPDX-License-Identifier: Apache-2.0
// Keys sort by shard, then kind, then index, all big-endian: recovery reads the store once, in
// order, and meets a shard's hard state and trim point before its entries.
//   shard u64 | kind u8             hard state: term, vote, commit; trim point: index, term
//   shard u64 | kind u8 | index u64 one entry: its record, as it came over the wire
// Small records are sealed by codec_seal; an entry's record has its own checksum from its birth.
#include "dataplane/base/assert.h"
#include "storage/raftlog/raftlog_internal.h"

#include <string.h>

enum { RECORD_VERSION = 1 };

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
    const bool is_shard =
        (kind == RAFTLOG_HARD_STATE || kind == RAFTLOG_TRIM) && key.size == RAFTLOG_SHARD_KEY_SIZE;
    const struct shard_id shard = {load_big(key.data)};
    if ((!is_entry && !is_shard) || shard.v == 0) { return STATUS_CORRUPT; }
    *out_shard = shard;
    *out_kind = (enum raftlog_key_kind)kind;
    *out_index = is_entry ? load_big(key.data + RAFTLOG_SHARD_KEY_SIZE) : 0;
    return STATUS_OK;
}

static void seal(struct buf *out, enum raftlog_key_kind kind, const struct buf *payload) {
    buf_reset(out);
    const enum status st = codec_seal(out, RECORD_VERSION, (uint8_t)kind, buf_slice(payload));
    ASSERT(st == STATUS_OK);  // out's maximum holds every record
}

static enum status unseal(struct slice record, enum raftlog_key_kind kind,
                          struct codec_reader *out_reader) {
    uint8_t version = 0;
    uint8_t found = 0;
    struct slice payload;
    const enum status st = codec_open(record, RECORD_VERSION, &version, &found, &payload);
    if (st != STATUS_OK) { return st; }
    if (found != (uint8_t)kind) { return STATUS_CORRUPT; }
    codec_reader_init(out_reader, payload);
    return STATUS_OK;
}

void raftlog__hard_state_encode(struct buf *out, const struct log_hard_state *state) {
    struct buf payload;
    struct codec_writer w;
    buf_init(&payload, RAFTLOG_RECORD_SIZE_MAX);
    codec_writer_init(&w, &payload);
    codec_put_u64(&w, state->term);
    codec_put_u32(&w, state->vote.v);
    codec_put_u64(&w, state->commit);
    ASSERT(w.status == STATUS_OK);
    seal(out, RAFTLOG_HARD_STATE, &payload);
    buf_deinit(&payload);
}

enum status raftlog__hard_state_decode(struct slice record, struct log_hard_state *out) {
    struct codec_reader r;
    enum status st = unseal(record, RAFTLOG_HARD_STATE, &r);
    if (st != STATUS_OK) { return st; }
    struct log_hard_state state = {0};
    state.term = codec_get_u64(&r);
    state.vote.v = codec_get_u32(&r);
    state.commit = codec_get_u64(&r);
    st = codec_finish(&r);
    if (st == STATUS_OK) { *out = state; }
    return st;
}

void raftlog__trim_encode(struct buf *out, uint64_t index, uint64_t term) {
    struct buf payload;
    struct codec_writer w;
    buf_init(&payload, RAFTLOG_RECORD_SIZE_MAX);
    codec_writer_init(&w, &payload);
    codec_put_u64(&w, index);
    codec_put_u64(&w, term);
    ASSERT(w.status == STATUS_OK);
    seal(out, RAFTLOG_TRIM, &payload);
    buf_deinit(&payload);
}

enum status raftlog__trim_decode(struct slice record, uint64_t *out_index, uint64_t *out_term) {
    struct codec_reader r;
    enum status st = unseal(record, RAFTLOG_TRIM, &r);
    if (st != STATUS_OK) { return st; }
    const uint64_t index = codec_get_u64(&r);
    const uint64_t term = codec_get_u64(&r);
    st = codec_finish(&r);
    if (st != STATUS_OK) { return st; }
    *out_index = index;
    *out_term = term;
    return STATUS_OK;
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
