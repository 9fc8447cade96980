// SPDX-License-Identifier: Apache-2.0
// Prepares, resolutions and what participants say of them.
//
//   prepare:  u8 format | 16 bytes id | attempt | u64 begin | u64 request hash | varint self |
//             varint participants | slice anchor each | the part, an encoded commit, to the end
//   resolve:  u8 format | varint count | resolutions
//   resolution: 16 bytes id | attempt | u64 begin | u8 decision | u64 c | u8 outcome |
//             u32 failed condition | u64 request hash
//   answer:   u8 state | u8 reason | u64 timestamp | u32 failed condition | 16 bytes holder |
//             slice key | u8 has outcome [| outcome]
//   attempt:  u64 number | u32 tag
//
// The part comes last and without its size: a prepare is one copy of it behind a head. Formats are
// apart from those of commits, since all three are payloads of entries.
#include "txn/command/command_txn.h"

#include "dataplane/base/assert.h"
#include "txn/command/command_internal.h"

#include <string.h>

enum {
    PREPARE_FORMAT = 0x20,
    RESOLVE_FORMAT = 0x21,
    ANCHOR_SIZE_MIN = 2,  // its length and a byte
};
#define RESOLUTION_SIZE (16 + 12 + 8 + 1 + 8 + 1 + 4 + 8)

bool txn_is_older(struct hlc_ts begin, struct txn_id txn, struct hlc_ts than_begin,
                  struct txn_id than) {
    if (!hlc_equal(begin, than_begin)) { return hlc_before(begin, than_begin); }
    return memcmp(txn.v, than.v, sizeof(txn.v)) < 0;
}

int txn_attempt_compare(struct txn_attempt a, struct txn_attempt b) {
    if (a.number != b.number) { return a.number < b.number ? -1 : 1; }
    return (a.tag > b.tag) - (a.tag < b.tag);
}

bool txn_attempt_equal(struct txn_attempt a, struct txn_attempt b) {
    return a.number == b.number && a.tag == b.tag;
}

static void put_id(struct codec_writer *w, struct txn_id txn) {
    codec_put_raw(w, slice_make(txn.v, sizeof(txn.v)));
}

static struct txn_id get_id(struct codec_reader *r) {
    struct txn_id txn = {{0}};
    const struct slice id = codec_get_raw(r, sizeof(txn.v));
    if (id.size == sizeof(txn.v)) { memcpy(txn.v, id.data, id.size); }
    return txn;
}

static void put_attempt(struct codec_writer *w, struct txn_attempt attempt) {
    codec_put_u64(w, attempt.number);
    codec_put_u32(w, attempt.tag);
}

static struct txn_attempt get_attempt(struct codec_reader *r) {
    struct txn_attempt attempt = {0};
    attempt.number = codec_get_u64(r);
    attempt.tag = codec_get_u32(r);
    return attempt;
}

// --- Prepare ---

bool command_is_prepare(struct slice encoded) {
    return encoded.size > 0 && encoded.data[0] == PREPARE_FORMAT;
}

bool command_is_resolve(struct slice encoded) {
    return encoded.size > 0 && encoded.data[0] == RESOLVE_FORMAT;
}

void command_prepare_encode(struct codec_writer *w, const struct command_prepare *self) {
    ASSERT(!txn_id_is_zero(self->txn) && self->attempt.number != 0);
    ASSERT(self->self < self->participant_count);
    ASSERT(self->participant_count <= COMMAND_PARTICIPANTS_MAX);
    codec_put_u8(w, PREPARE_FORMAT);
    put_id(w, self->txn);
    put_attempt(w, self->attempt);
    codec_put_u64(w, self->begin.v);
    codec_put_u64(w, self->request_hash);
    codec_put_varint(w, self->self);
    codec_put_varint(w, self->participant_count);
    for (uint32_t i = 0; i < self->participant_count; i++) {
        codec_put_slice(w, self->participants[i]);
    }
    codec_put_raw(w, self->part);
}

// The anchors as one view of what the reader reads; it stands behind them then.
static struct slice get_anchors(struct codec_reader *r, struct slice encoded, uint32_t count) {
    const size_t from = encoded.size - codec_remaining(r);
    for (uint32_t i = 0; i < count && r->status == STATUS_OK; i++) {
        (void)command__get_key(r);
    }
    if (r->status != STATUS_OK) { return SLICE_EMPTY; }
    return slice_make(encoded.data + from, encoded.size - codec_remaining(r) - from);
}

static bool part_is_of(struct slice part, struct txn_id txn) {
    struct command_commit_reader reader;
    return command_commit_verify(part) == STATUS_OK &&
           command_commit_open(&reader, part) == STATUS_OK && txn_id_equal(reader.txn, txn);
}

enum status command_prepare_decode(struct slice encoded, struct command_prepare_view *out) {
    struct codec_reader r;
    codec_reader_init(&r, encoded);
    if (codec_get_u8(&r) != PREPARE_FORMAT) { return STATUS_CORRUPT; }
    struct command_prepare_view view = {.txn = get_id(&r)};
    view.attempt = get_attempt(&r);
    view.begin.v = codec_get_u64(&r);
    view.request_hash = codec_get_u64(&r);
    const uint64_t self = codec_get_varint(&r);
    const uint64_t count = codec_get_count(&r, ANCHOR_SIZE_MIN);
    const bool sound = r.status == STATUS_OK && count > 0 && count <= COMMAND_PARTICIPANTS_MAX &&
                       self < count && !txn_id_is_zero(view.txn) && view.attempt.number != 0;
    if (!sound) { return STATUS_CORRUPT; }
    view.self = (uint32_t)self;
    view.participant_count = (uint32_t)count;
    view.participants = get_anchors(&r, encoded, view.participant_count);
    view.part = codec_get_raw(&r, codec_remaining(&r));
    if (r.status != STATUS_OK || !part_is_of(view.part, view.txn)) { return STATUS_CORRUPT; }
    *out = view;
    return STATUS_OK;
}

bool command_anchors_next(struct slice *rest, struct slice *out_anchor) {
    if (rest->size == 0) { return false; }
    struct codec_reader r;
    codec_reader_init(&r, *rest);
    *out_anchor = command__get_key(&r);
    ASSERT(r.status == STATUS_OK);
    const size_t taken = rest->size - codec_remaining(&r);
    *rest = slice_make(rest->data + taken, rest->size - taken);
    return true;
}

// --- Resolve ---

void command_resolve_begin(struct codec_writer *w, uint32_t count) {
    ASSERT(count > 0 && count <= COMMAND_RESOLUTIONS_MAX);
    codec_put_u8(w, RESOLVE_FORMAT);
    codec_put_varint(w, count);
}

void command_resolution_encode(struct codec_writer *w, const struct command_resolution *self) {
    ASSERT(self->decision >= COMMAND_DECIDE_COMMIT && self->decision < COMMAND_DECISION_COUNT);
    ASSERT(!txn_id_is_zero(self->txn));
    ASSERT((self->decision == COMMAND_DECIDE_COMMIT) == (self->commit.v != 0));
    put_id(w, self->txn);
    put_attempt(w, self->attempt);
    codec_put_u64(w, self->begin.v);
    codec_put_u8(w, (uint8_t)self->decision);
    codec_put_u64(w, self->commit.v);
    codec_put_u8(w, (uint8_t)self->outcome);
    codec_put_u32(w, self->failed_condition);
    codec_put_u64(w, self->request_hash);
}

enum status command_resolve_open(struct command_resolve_reader *self, struct slice encoded) {
    *self = (struct command_resolve_reader){0};
    struct codec_reader *r = &self->reader;
    codec_reader_init(r, encoded);
    if (codec_get_u8(r) != RESOLVE_FORMAT) { codec_fail(r); }
    const uint64_t count = codec_get_count(r, RESOLUTION_SIZE);
    if (count == 0 || count > COMMAND_RESOLUTIONS_MAX) { codec_fail(r); }
    if (r->status != STATUS_OK) { return r->status; }
    self->count = (uint32_t)count;
    self->left = self->count;
    return STATUS_OK;
}

enum status command_resolve_next(struct command_resolve_reader *self,
                                 struct command_resolution *out) {
    ASSERT(self->left > 0);
    struct codec_reader *r = &self->reader;
    struct command_resolution item = {.txn = get_id(r)};
    item.attempt = get_attempt(r);
    item.begin.v = codec_get_u64(r);
    item.decision =
        (enum command_decision)command__get_enum(r, COMMAND_DECIDE_COMMIT, COMMAND_DECISION_COUNT);
    item.commit.v = codec_get_u64(r);
    item.outcome = (enum status)command__get_enum(r, 0, STATUS_COUNT);
    item.failed_condition = codec_get_u32(r);
    item.request_hash = codec_get_u64(r);
    self->left--;
    const bool settles = item.decision == COMMAND_DECIDE_SETTLE;
    // A decided timestamp is adopted by clocks: not the last one there is.
    const bool commit_ok = (item.decision == COMMAND_DECIDE_COMMIT) == (item.commit.v != 0) &&
                           !hlc_equal(item.commit, HLC_MAX);
    if (txn_id_is_zero(item.txn) || (item.attempt.number == 0 && !settles) || !commit_ok) {
        codec_fail(r);
    }
    const enum status st = self->left == 0 ? codec_finish(r) : r->status;
    if (st == STATUS_OK) { *out = item; }
    return st;
}

// --- Answers ---

void command_txn_answer_encode(struct codec_writer *w, const struct command_txn_answer *self) {
    codec_put_u8(w, (uint8_t)self->state);
    codec_put_u8(w, (uint8_t)self->reason);
    codec_put_u64(w, self->timestamp.v);
    codec_put_u32(w, self->failed_condition);
    put_id(w, self->holder);
    codec_put_slice(w, self->key);
    codec_put_u8(w, self->has_outcome ? 1 : 0);
    if (self->has_outcome) { command_outcome_encode(w, &self->outcome); }
}

enum status command_txn_answer_decode(struct codec_reader *r, struct command_txn_answer *out) {
    struct command_txn_answer answer = {0};
    answer.state = (enum command_txn_state)command__get_enum(r, 0, COMMAND_TXN_STATE_COUNT);
    answer.reason = (enum command_txn_reason)command__get_enum(r, 0, COMMAND_REASON_COUNT);
    answer.timestamp.v = codec_get_u64(r);
    answer.failed_condition = codec_get_u32(r);
    answer.holder = get_id(r);
    answer.key = codec_get_slice(r, SHARD_KEY_SIZE_MAX);
    answer.has_outcome = command__get_bool(r);
    if (r->status != STATUS_OK) { return r->status; }
    if (answer.has_outcome && command_outcome_decode(r, &answer.outcome) != STATUS_OK) {
        return STATUS_CORRUPT;
    }
    *out = answer;
    return STATUS_OK;
}
