// SPDX-License-Identifier: Apache-2.0
// Records of transactions over several shards: one per id and shard, of the latest attempt.
//
//   u8 format | u8 state | u64 number, u32 tag | u64 begin | u64 p | u64 c | u64 ended
//   | u8 forgotten | the encoded prepare, while PREPARED
//
// A prepare is one record, not one lock per key in the store: its keys come out of it, and the lock
// table in memory is made of the records (decisions/0009). So preparing writes once, resolving once
// beside the versions, and a replica that starts reads the few that are prepared.
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "txn/apply/apply_internal.h"

#include <string.h>

enum { SPACE_RECORD = 3, RECORD_HEAD_SIZE_MAX = 64 };

static struct slice record_key(struct shard_id shard, struct txn_id txn,
                               uint8_t out[APPLY_OUTCOME_KEY_SIZE]) {
    (void)apply__shard_key(APPLY_LOCAL_TXN, shard, out);
    memcpy(out + APPLY_SHARD_KEY_SIZE, txn.v, sizeof(txn.v));
    return slice_make(out, APPLY_OUTCOME_KEY_SIZE);
}

enum status apply__record_decode(struct slice value, struct apply_record *out) {
    struct codec_reader r;
    struct apply_record record = {0};
    codec_reader_init(&r, value);
    if (codec_get_u8(&r) != APPLY_LOCAL_FORMAT) { return STATUS_CORRUPT; }
    const uint8_t state = codec_get_u8(&r);
    record.state = (enum command_txn_state)state;
    record.attempt.number = codec_get_u64(&r);
    record.attempt.tag = codec_get_u32(&r);
    record.begin.v = codec_get_u64(&r);
    record.prepared.v = codec_get_u64(&r);
    record.commit.v = codec_get_u64(&r);
    record.ended.v = codec_get_u64(&r);
    record.forgotten = codec_get_u8(&r) != 0;
    record.prepare = codec_get_raw(&r, codec_remaining(&r));
    if (r.status != STATUS_OK) { return STATUS_CORRUPT; }
    struct command_prepare_view view;
    const bool prepared = state == COMMAND_TXN_PREPARED;
    const bool known = prepared || state == COMMAND_TXN_COMMITTED || state == COMMAND_TXN_ABORTED;
    if (!known || prepared != (record.prepare.size > 0)) { return STATUS_CORRUPT; }
    if (prepared) {
        if (command_prepare_decode(record.prepare, &view) != STATUS_OK) { return STATUS_CORRUPT; }
        if (record.prepared.v == 0 || !txn_attempt_equal(view.attempt, record.attempt)) {
            return STATUS_CORRUPT;
        }
    }
    *out = record;
    return STATUS_OK;
}

bool apply__record_is_dead(const struct apply *self, const struct apply_record *record,
                           struct hlc_ts now) {
    if (record->state == COMMAND_TXN_PREPARED) { return false; }
    const bool kept = record->state == COMMAND_TXN_COMMITTED && !record->forgotten;
    if (kept && !MUTANT(FORGOTTEN_EARLY)) { return false; }
    // Below the horizon no prepare of it is admitted any more.
    return apply__is_old(self, hlc_larger(record->ended, record->begin), now);
}

bool apply__record_touched(const struct apply *self, struct shard_id shard, struct txn_id txn) {
    return apply_touched_has(&self->touched, hash64_u64(shard.v) + SPACE_RECORD,
                             slice_make(txn.v, sizeof(txn.v)));
}

static enum status record_get(struct apply *self, struct shard_id shard, struct txn_id txn,
                              struct apply_record *out) {
    uint8_t key[APPLY_OUTCOME_KEY_SIZE];
    struct buf value;
    buf_init(&value, (size_t)COMMAND_PAYLOAD_SIZE_MAX + RECORD_HEAD_SIZE_MAX);
    enum status st = engine_get(self->engine, ENGINE_LOCAL, record_key(shard, txn, key), &value);
    if (st == STATUS_OK) { st = apply__record_decode(buf_slice(&value), out); }
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) {
        FATAL("shard %llu: the record of a transaction cannot be read: %s",
              (unsigned long long)shard.v, status_text(st));
    }
    out->prepare = SLICE_EMPTY;
    buf_deinit(&value);
    return st;
}

enum status apply__record_find(struct apply *self, struct apply_shard *shard, struct txn_id txn,
                               struct hlc_ts now, struct apply_record *out) {
    const bool touched = apply__record_touched(self, shard->id, txn);
    if (touched && !self->decided.open) {
        MARK("apply.record_in_turn");
        apply__write(self);
    }
    struct apply_record record = {0};
    enum status st = STATUS_OK;
    if (!touched || !apply_decided_record(&self->decided, txn, &record)) {
        st = record_get(self, shard->id, txn, &record);
    }
    if (st == STATUS_OK && apply__record_is_dead(self, &record, now)) {
        MARK("apply.record_too_old");
        st = STATUS_NOT_FOUND;
    }
    if (st == STATUS_OK) { *out = record; }
    return st;
}

void apply__record_put(struct apply *self, const struct apply_shard *shard, struct txn_id txn,
                       const struct apply_record *record) {
    ASSERT((record->state == COMMAND_TXN_PREPARED) == (record->prepare.size > 0));
    uint8_t key[APPLY_OUTCOME_KEY_SIZE];
    buf_reset(&self->scratch);
    struct codec_writer w;
    codec_writer_init(&w, &self->scratch);
    codec_put_u8(&w, APPLY_LOCAL_FORMAT);
    codec_put_u8(&w, (uint8_t)record->state);
    codec_put_u64(&w, record->attempt.number);
    codec_put_u32(&w, record->attempt.tag);
    codec_put_u64(&w, record->begin.v);
    codec_put_u64(&w, record->prepared.v);
    codec_put_u64(&w, record->commit.v);
    codec_put_u64(&w, record->ended.v);
    codec_put_u8(&w, record->forgotten ? 1 : 0);
    ASSERT(w.status == STATUS_OK);
    engine_put_parts(self->batch, ENGINE_LOCAL, record_key(shard->id, txn, key),
                     buf_slice(&self->scratch), record->prepare);
    apply_touched_add(&self->touched, hash64_u64(shard->id.v) + SPACE_RECORD,
                      slice_make(txn.v, sizeof(txn.v)));
    apply_decided_put_record(&self->decided, txn, record);
}

void apply__locks_clear(struct apply_shard *shard) {
    lock_table_destroy(shard->locks);
    shard->locks = lock_table_create();
}

static void load_lock(struct apply_shard *shard, struct slice key, struct slice value) {
    struct apply_record record;
    if (key.size != APPLY_OUTCOME_KEY_SIZE || apply__record_decode(value, &record) != STATUS_OK) {
        FATAL("shard %llu: the record of a transaction does not decode",
              (unsigned long long)shard->id.v);
    }
    if (record.state != COMMAND_TXN_PREPARED || MUTANT(LOCKS_NOT_LOADED)) { return; }
    struct lock_holder holder = {.attempt = record.attempt,
                                 .begin = record.begin,
                                 .prepared = record.prepared,
                                 .prepare = record.prepare};
    memcpy(holder.txn.v, key.data + APPLY_SHARD_KEY_SIZE, sizeof(holder.txn.v));
    lock_table_add(shard->locks, &holder);
}

// LIMIT: walks the finished records as well, of which there is one for each transaction of the last
// 24 h; a shard is loaded once a start.
void apply__locks_load(struct apply *self, struct apply_shard *shard) {
    ASSERT(lock_table_count(shard->locks) == 0);
    uint8_t low[APPLY_SHARD_KEY_SIZE];
    const struct slice from = apply__shard_key(APPLY_LOCAL_TXN, shard->id, low);
    struct engine_cursor *cursor = engine_cursor_create(self->engine, ENGINE_LOCAL);
    for (engine_cursor_seek(cursor, from); engine_cursor_valid(cursor);
         engine_cursor_next(cursor)) {
        const struct slice key = engine_cursor_key(cursor);
        if (key.size < from.size || memcmp(key.data, from.data, from.size) != 0) { break; }
        load_lock(shard, key, engine_cursor_value(cursor));
    }
    const enum status st = engine_cursor_valid(cursor) ? STATUS_OK : engine_cursor_status(cursor);
    if (st != STATUS_OK) {
        FATAL("shard %llu: its transactions cannot be read: %s", (unsigned long long)shard->id.v,
              status_text(st));
    }
    engine_cursor_destroy(cursor);
}

void apply_txn_look(struct apply *self, struct shard_id id, struct txn_id txn,
                    struct apply_txn_view *out) {
    struct apply_shard *shard = apply__shard(self, id);
    const struct lock_holder *holder = lock_table_find(shard->locks, txn);
    *out = (struct apply_txn_view){.state = COMMAND_TXN_NONE};
    if (holder != NULL) {
        *out = (struct apply_txn_view){.state = COMMAND_TXN_PREPARED,
                                       .attempt = holder->attempt,
                                       .begin = holder->begin,
                                       .prepared = holder->prepared};
        return;
    }
    struct apply_record record;
    if (apply__record_find(self, shard, txn, shard->timestamp, &record) != STATUS_OK) { return; }
    *out = (struct apply_txn_view){.state = record.state,
                                   .attempt = record.attempt,
                                   .begin = record.begin,
                                   .prepared = record.prepared,
                                   .commit = record.commit,
                                   .forgotten = record.forgotten};
}

enum command_txn_state apply_txn_state(struct apply *self, struct shard_id id, struct txn_id txn) {
    struct apply_txn_view view;
    apply_txn_look(self, id, txn, &view);
    return view.state;
}
