// SPDX-License-Identifier: Apache-2.0
//   u8 kind | 16 bytes transaction id | u64 begin | u8 holds others | u32 lease | slice key
#include "txn/command/command_hold.h"

#include "dataplane/base/assert.h"
#include "txn/command/command_internal.h"

#include <string.h>

void command_hold_encode(struct codec_writer *w, const struct command_hold *self) {
    ASSERT(!txn_id_is_zero(self->txn) && self->lease_ms <= COMMAND_HOLD_LEASE_MS_MAX);
    ASSERT((self->kind == COMMAND_HOLD_RELEASE) == (self->lease_ms == 0));
    codec_put_u8(w, (uint8_t)self->kind);
    codec_put_raw(w, slice_make(self->txn.v, sizeof(self->txn.v)));
    codec_put_u64(w, self->begin.v);
    codec_put_u8(w, self->holds_others ? 1 : 0);
    codec_put_u32(w, self->lease_ms);
    codec_put_slice(w, self->key);
}

enum status command_hold_decode(struct slice encoded, struct command_hold *out) {
    struct codec_reader r;
    struct command_hold hold = {0};
    codec_reader_init(&r, encoded);
    hold.kind =
        (enum command_hold_kind)command__get_enum(&r, COMMAND_HOLD_TAKE, COMMAND_HOLD_KIND_COUNT);
    const struct slice id = codec_get_raw(&r, sizeof(hold.txn.v));
    if (id.size == sizeof(hold.txn.v)) { memcpy(hold.txn.v, id.data, id.size); }
    hold.begin.v = codec_get_u64(&r);
    hold.holds_others = command__get_bool(&r);
    hold.lease_ms = codec_get_u32(&r);
    hold.key = command__get_key(&r);
    const bool lease_ok = hold.lease_ms <= COMMAND_HOLD_LEASE_MS_MAX &&
                          (hold.kind == COMMAND_HOLD_RELEASE) == (hold.lease_ms == 0);
    if (codec_finish(&r) != STATUS_OK || txn_id_is_zero(hold.txn) || !lease_ok) {
        return STATUS_CORRUPT;
    }
    *out = hold;
    return STATUS_OK;
}
