// SPDX-License-Identifier: Apache-2.0
// Sealing and decoding walk the same list of fields in the same order. The record is written once,
// by the leader, and then carried as it is through the wire to every disk; followers check it and
// never build it anew, so the checksum guards the entry from its birth to its last read.
#include "dataplane/port/log_entry.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"

#include <assert.h>
#include <string.h>

enum { BODY_HEADER_SIZE = LOG_ENTRY_HEADER_SIZE - LOG_ENTRY_PREFIX_SIZE };
static_assert(LOG_ENTRY_HEADER_SIZE == 58, "the layout on disk");
static_assert(LOG_ENTRY_KIND_COUNT <= UINT8_MAX, "a kind takes one byte");
static_assert(LOG_ENTRY_HEADER_SIZE + LOG_ENTRY_PAYLOAD_SIZE_MAX <= BYTES_SIZE_MAX, "one block");

// What holds for each entry, before it is sealed and after it is decoded.
static bool fields_are_sound(const struct log_entry *entry) {
    return entry->index > 0 && entry->term > 0 && (unsigned)entry->kind < LOG_ENTRY_KIND_COUNT &&
           entry->payload.size <= LOG_ENTRY_PAYLOAD_SIZE_MAX &&
           hlc_before(entry->timestamp, HLC_MAX) && hlc_before(entry->closed, HLC_MAX) &&
           hlc_before(entry->ceiling, HLC_MAX);
}

void log_entry_seal(struct log_entry *self) {
    ASSERT(fields_are_sound(self));
    const size_t size = LOG_ENTRY_HEADER_SIZE + self->payload.size;
    struct bytes *owner = bytes_create(size);
    uint8_t *body = owner->data + LOG_ENTRY_PREFIX_SIZE;
    body[0] = LOG_ENTRY_VERSION;
    body[1] = (uint8_t)self->kind;
    const uint64_t fields[] = {self->index,       self->term,     self->shard_epoch,
                               self->timestamp.v, self->closed.v, self->ceiling.v};
    static_assert(2 + sizeof(fields) == BODY_HEADER_SIZE, "the fields fill the header");
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        codec_store_u64(body + 2 + i * sizeof(fields[0]), fields[i]);
    }
    if (self->payload.size > 0) {
        memcpy(owner->data + LOG_ENTRY_HEADER_SIZE, self->payload.data, self->payload.size);
    }
    const struct slice sealed = slice_make(body, size - LOG_ENTRY_PREFIX_SIZE);
    codec_store_u32(owner->data, (uint32_t)sealed.size);
    codec_store_u32(owner->data + 4, crc32c_extend(0, sealed));
    bytes_unref(self->owner);
    self->owner = owner;
    self->record = bytes_slice(owner);
    self->payload = slice_make(owner->data + LOG_ENTRY_HEADER_SIZE, self->payload.size);
}

static struct hlc_ts get_timestamp(struct codec_reader *r) {
    return (struct hlc_ts){codec_get_u64(r)};
}

// The body of a record whose checksum holds.
static enum status decode_body(struct slice body, struct log_entry *out) {
    struct codec_reader r;
    codec_reader_init(&r, body);
    const uint8_t version = codec_get_u8(&r);
    out->kind = (enum log_entry_kind)codec_get_u8(&r);
    out->index = codec_get_u64(&r);
    out->term = codec_get_u64(&r);
    out->shard_epoch = codec_get_u64(&r);
    out->timestamp = get_timestamp(&r);
    out->closed = get_timestamp(&r);
    out->ceiling = get_timestamp(&r);
    out->payload = codec_get_raw(&r, codec_remaining(&r));
    if (version != LOG_ENTRY_VERSION || !fields_are_sound(out)) { codec_fail(&r); }
    return codec_finish(&r);
}

static bool lies_within(const struct bytes *owner, struct slice view) {
    return view.data >= owner->data && view.size <= owner->size &&
           (size_t)(view.data - owner->data) <= owner->size - view.size;
}

enum status log_entry_decode(struct codec_reader *r, struct bytes *owner, struct log_entry *out) {
    ASSERT(owner != NULL);
    ASSERT(out != NULL);
    const uint8_t *start = r->at;
    const uint32_t size = codec_get_u32(r);
    const uint32_t checksum = codec_get_u32(r);
    if (size < BODY_HEADER_SIZE || size > BODY_HEADER_SIZE + LOG_ENTRY_PAYLOAD_SIZE_MAX) {
        codec_fail(r);
    }
    const struct slice body = codec_get_raw(r, size);
    if (r->status != STATUS_OK) { return r->status; }
    struct log_entry entry = {0};
    if (crc32c_extend(0, body) != checksum || decode_body(body, &entry) != STATUS_OK) {
        codec_fail(r);
        return STATUS_CORRUPT;
    }
    entry.record = slice_make(start, LOG_ENTRY_PREFIX_SIZE + body.size);
    ASSERT(lies_within(owner, entry.record));
    entry.owner = bytes_ref(owner);
    *out = entry;
    return STATUS_OK;
}

void log_entry_ref(struct log_entry *dst, const struct log_entry *src) {
    ASSERT(dst != src);
    ASSERT(src->owner != NULL);
    *dst = *src;
    (void)bytes_ref(dst->owner);
}

void log_entry_unref(struct log_entry *self) {
    bytes_unref(self->owner);
    *self = (struct log_entry){0};
}
