// SPDX-License-Identifier: Apache-2.0
//
// Design note. The wire form of a message: type, flags, the numbers as varints (most are small or
// close to zero, a heartbeat is some 15 bytes), then the entries as their records, byte for byte
// what the disk keeps, each with its own checksum. Decoding checks form only; sense is checked
// against the core's state by raft__message_check.
#include "dataplane/raft/raft_internal.h"

enum {
    RAFT_WIRE_REJECT = 1,
    RAFT_WIRE_TRANSFER = 2,
    RAFT_WIRE_WANTS_SNAPSHOT = 4,
    RAFT_WIRE_DAMAGED = 8,
    RAFT_WIRE_FLAGS = 15,
};

static int raft_wire_flags(const struct raft_message *m) {
    return (m->reject ? RAFT_WIRE_REJECT : 0) | (m->transfer ? RAFT_WIRE_TRANSFER : 0) |
           (m->wants_snapshot ? RAFT_WIRE_WANTS_SNAPSHOT : 0) |
           (m->damaged ? RAFT_WIRE_DAMAGED : 0);
}

void raft_message_encode(struct codec_writer *w, const struct raft_message *self) {
    ASSERT((unsigned)self->type < RAFT_MESSAGE_TYPE_COUNT);
    ASSERT(self->entry_count <= RAFT_APPEND_ENTRIES_MAX);
    ASSERT_IF(self->entry_count > 0, self->entries != NULL);
    ASSERT_IF(self->damaged, self->wants_snapshot);
    codec_put_u8(w, (uint8_t)self->type);
    codec_put_u8(w, (uint8_t)raft_wire_flags(self));
    codec_put_varint(w, self->from_incarnation);
    codec_put_varint(w, self->to_incarnation);
    codec_put_varint(w, self->term);
    codec_put_varint(w, self->sequence);
    codec_put_varint(w, self->index);
    codec_put_varint(w, self->index_term);
    codec_put_varint(w, self->commit);
    codec_put_varint(w, self->read_round);
    codec_put_varint(w, self->support_epoch);
    codec_put_varint(w, self->transfer_sequence);
    if (self->wants_snapshot) { codec_put_varint(w, self->wanted_index); }
    codec_put_varint(w, self->entry_count);
    for (uint32_t i = 0; i < self->entry_count; i++) {
        ASSERT(self->entries[i].record.size > 0);
        codec_put_raw(w, self->entries[i].record);
    }
}

static void raft_message_decode_fields(struct codec_reader *r, struct raft_message *m) {
    uint8_t type = codec_get_u8(r);
    uint8_t flags = codec_get_u8(r);
    if (type >= RAFT_MESSAGE_TYPE_COUNT || (flags & ~RAFT_WIRE_FLAGS) != 0) {
        codec_fail(r);
        return;
    }
    m->type = (enum raft_message_type)type;
    m->reject = (flags & RAFT_WIRE_REJECT) != 0;
    m->transfer = (flags & RAFT_WIRE_TRANSFER) != 0;
    m->wants_snapshot = (flags & RAFT_WIRE_WANTS_SNAPSHOT) != 0;
    m->damaged = (flags & RAFT_WIRE_DAMAGED) != 0;
    m->from_incarnation = codec_get_varint(r);
    m->to_incarnation = codec_get_varint(r);
    m->term = codec_get_varint(r);
    m->sequence = codec_get_varint(r);
    m->index = codec_get_varint(r);
    m->index_term = codec_get_varint(r);
    m->commit = codec_get_varint(r);
    m->read_round = codec_get_varint(r);
    m->support_epoch = codec_get_varint(r);
    m->transfer_sequence = codec_get_varint(r);
    m->wanted_index = m->wants_snapshot ? codec_get_varint(r) : 0;
}

enum status raft_message_decode(struct codec_reader *r, struct bytes *owner,
                                struct raft_message *out, struct log_entry *entries,
                                uint32_t entries_max) {
    struct raft_message m = {.type = RAFT_PREVOTE_REQUEST};
    raft_message_decode_fields(r, &m);
    uint64_t count = codec_get_count(r, 1);
    if (count > entries_max || count > RAFT_APPEND_ENTRIES_MAX) { codec_fail(r); }
    if (r->status != STATUS_OK) { return STATUS_CORRUPT; }
    for (uint32_t i = 0; i < count; i++) {
        if (log_entry_decode(r, owner, &entries[i]) != STATUS_OK) {
            MARK("raft.message.corrupt_entry");
            for (uint32_t k = 0; k < i; k++) {
                log_entry_unref(&entries[k]);
            }
            codec_fail(r);
            return STATUS_CORRUPT;
        }
    }
    m.entry_count = (uint32_t)count;
    m.entries = count > 0 ? entries : NULL;
    *out = m;
    return STATUS_OK;
}
