// SPDX-License-Identifier: Apache-2.0
// Design: everything that reads or writes peer bytes without a socket is here, so that it can be
// tested and fuzzed alone. The checksum covers the size as well: a flipped bit there shows as a
// wrong checksum, at the latest when the bytes that it announces have come. The hello's magic and
// version come first and never move; all after them may change with the version.
#include "dataplane/transport/transport_frame.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"

#include <assert.h>
#include <string.h>

#define HELLO_MAGIC 0x726565704e4f434cU  // "LCONpeer" as bytes

static_assert(TRANSPORT_MESSAGE_SIZE_MAX < TRANSPORT_PAYLOAD_SIZE_MAX / 2, "a message must fit");

const char *transport_refusal_name(enum transport_refusal refusal) {
    switch (refusal) {
#define TRANSPORT_REFUSAL_CASE(name, text) \
    case TRANSPORT_REFUSAL_##name:         \
        return #name;
        TRANSPORT_REFUSAL_LIST(TRANSPORT_REFUSAL_CASE)
#undef TRANSPORT_REFUSAL_CASE
    case TRANSPORT_REFUSAL_COUNT:
        break;
    }
    return "UNKNOWN";
}

const char *transport_refusal_text(enum transport_refusal refusal) {
    switch (refusal) {
#define TRANSPORT_REFUSAL_CASE(name, text) \
    case TRANSPORT_REFUSAL_##name:         \
        return text;
        TRANSPORT_REFUSAL_LIST(TRANSPORT_REFUSAL_CASE)
#undef TRANSPORT_REFUSAL_CASE
    case TRANSPORT_REFUSAL_COUNT:
        break;
    }
    return "a reason newer than this program";
}

enum status transport_refusal_status(enum transport_refusal refusal) {
    switch (refusal) {
    case TRANSPORT_REFUSAL_NONE:
        return STATUS_OK;
    case TRANSPORT_REFUSAL_VERSION:
        return STATUS_NOT_SUPPORTED;
    case TRANSPORT_REFUSAL_NOT_READY:
        return STATUS_UNAVAILABLE;
    case TRANSPORT_REFUSAL_TOO_MANY:
        return STATUS_RESOURCE_EXHAUSTED;
    case TRANSPORT_REFUSAL_CLUSTER:
    case TRANSPORT_REFUSAL_SELF:
    case TRANSPORT_REFUSAL_OLD_BOOT:
    case TRANSPORT_REFUSAL_INCARNATION:
    case TRANSPORT_REFUSAL_REMOVED:
    case TRANSPORT_REFUSAL_NO_IDENTITY:
    case TRANSPORT_REFUSAL_WRONG_NODE:
    case TRANSPORT_REFUSAL_COUNT:
        break;
    }
    return STATUS_WRONG_CLUSTER;
}

// ------------------------------------------------------------------------ frames

static uint32_t frame_checksum(const uint8_t *frame, size_t frame_size) {
    uint32_t crc = crc32c_extend(0, slice_make(frame, 4));
    return crc32c_extend(crc, slice_make(frame + TRANSPORT_FRAME_HEADER_SIZE,
                                         frame_size - TRANSPORT_FRAME_HEADER_SIZE));
}

void transport_frame_seal(uint8_t *frame, size_t frame_size) {
    ASSERT(frame_size > TRANSPORT_FRAME_HEADER_SIZE);
    ASSERT(frame_size - TRANSPORT_FRAME_HEADER_SIZE <= TRANSPORT_PAYLOAD_SIZE_MAX);
    codec_store_u32(frame, (uint32_t)(frame_size - TRANSPORT_FRAME_HEADER_SIZE));
    codec_store_u32(frame + 4, frame_checksum(frame, frame_size));
}

enum status transport_frame_size(const uint8_t *header, uint32_t payload_max,
                                 uint32_t *out_payload_size) {
    uint32_t size = codec_load_u32(header);
    if (size == 0 || size > payload_max) { return STATUS_CORRUPT; }
    *out_payload_size = size;
    return STATUS_OK;
}

enum status transport_frame_check(struct slice frame) {
    ASSERT(frame.size > TRANSPORT_FRAME_HEADER_SIZE);
    bool good = codec_load_u32(frame.data + 4) == frame_checksum(frame.data, frame.size);
    return good ? STATUS_OK : STATUS_CORRUPT;
}

// ------------------------------------------------------------------------ items

struct transport_item transport_item_get(struct codec_reader *reader) {
    struct transport_item item;
    item.type = codec_get_u8(reader);
    item.body = codec_get_slice(reader, TRANSPORT_MESSAGE_SIZE_MAX);
    return item;
}

size_t transport_item_size(size_t body_size) {
    size_t size = 2 + body_size;
    for (size_t rest = body_size >> 7; rest > 0; rest >>= 7) {
        size++;
    }
    return size;
}

enum status transport_item_put(struct buf *out, uint8_t type, struct slice body) {
    ASSERT(body.size <= TRANSPORT_MESSAGE_SIZE_MAX);
    enum status st = buf_reserve(out, transport_item_size(body.size));
    if (st != STATUS_OK) { return st; }
    struct codec_writer writer;
    codec_writer_init(&writer, out);
    codec_put_u8(&writer, type);
    codec_put_slice(&writer, body);
    ASSERT(writer.status == STATUS_OK);
    return STATUS_OK;
}

enum status transport_payload_check(struct slice payload) {
    if (payload.size == 0) { return STATUS_CORRUPT; }
    struct codec_reader reader;
    codec_reader_init(&reader, payload);
    while (reader.status == STATUS_OK && codec_remaining(&reader) > 0) {
        (void)transport_item_get(&reader);
    }
    return codec_finish(&reader);
}

// ------------------------------------------------------------------------ hello and refusal

static enum status control_put(struct buf *out, uint8_t type, const struct buf *body) {
    return transport_item_put(out, type, buf_slice(body));
}

enum status transport_hello_put(struct buf *out, const struct transport_hello *hello) {
    struct buf body;
    buf_init(&body, TRANSPORT_HELLO_PAYLOAD_SIZE_MAX);
    struct codec_writer writer;
    codec_writer_init(&writer, &body);
    codec_put_u64(&writer, HELLO_MAGIC);
    codec_put_u32(&writer, TRANSPORT_VERSION);
    codec_put_u8(&writer, (uint8_t)hello->purpose);
    codec_put_raw(&writer, slice_make(hello->cluster.v, sizeof(hello->cluster.v)));
    codec_put_u32(&writer, hello->node.v);
    codec_put_u32(&writer, hello->boot);
    codec_put_u64(&writer, hello->incarnation);
    codec_put_u64(&writer, hello->instance);
    codec_put_slice(&writer, slice_from_string(hello->address));
    enum status st = writer.status;
    if (st == STATUS_OK) { st = control_put(out, TRANSPORT_ITEM_HELLO, &body); }
    buf_deinit(&body);
    return st;
}

// Printable ASCII without spaces: it will be shown in logs and given to the resolver.
static bool address_is_plain(struct slice address) {
    for (size_t i = 0; i < address.size; i++) {
        if (address.data[i] <= ' ' || address.data[i] >= 0x7f) { return false; }
    }
    return true;
}

enum status transport_hello_get(struct slice body, struct transport_hello *out) {
    struct codec_reader reader;
    codec_reader_init(&reader, body);
    if (codec_get_u64(&reader) != HELLO_MAGIC) { return STATUS_CORRUPT; }
    uint32_t version = codec_get_u32(&reader);
    if (reader.status != STATUS_OK) { return STATUS_CORRUPT; }
    if (version != TRANSPORT_VERSION) { return STATUS_NOT_SUPPORTED; }
    struct transport_hello hello = {0};
    uint8_t purpose = codec_get_u8(&reader);
    struct slice cluster = codec_get_raw(&reader, sizeof(hello.cluster.v));
    hello.node.v = codec_get_u32(&reader);
    hello.boot = codec_get_u32(&reader);
    hello.incarnation = codec_get_u64(&reader);
    hello.instance = codec_get_u64(&reader);
    struct slice address = codec_get_slice(&reader, TRANSPORT_ADDRESS_SIZE_MAX - 1);
    if (purpose >= TRANSPORT_PURPOSE_COUNT || !address_is_plain(address)) { codec_fail(&reader); }
    if (codec_finish(&reader) != STATUS_OK) { return STATUS_CORRUPT; }
    hello.purpose = (enum transport_purpose)purpose;
    memcpy(hello.cluster.v, cluster.data, sizeof(hello.cluster.v));
    if (address.size > 0) { memcpy(hello.address, address.data, address.size); }
    *out = hello;
    return STATUS_OK;
}

enum status transport_refusal_put(struct buf *out, enum transport_refusal refusal) {
    ASSERT(refusal > TRANSPORT_REFUSAL_NONE && refusal < TRANSPORT_REFUSAL_COUNT);
    struct buf body;
    buf_init(&body, TRANSPORT_HELLO_PAYLOAD_SIZE_MAX);
    struct codec_writer writer;
    codec_writer_init(&writer, &body);
    codec_put_u8(&writer, (uint8_t)refusal);
    codec_put_slice(&writer, slice_from_string(transport_refusal_text(refusal)));
    enum status st = writer.status;
    if (st == STATUS_OK) { st = control_put(out, TRANSPORT_ITEM_REFUSAL, &body); }
    buf_deinit(&body);
    return st;
}

enum status transport_refusal_get(struct slice body, enum transport_refusal *out,
                                  struct slice *out_text) {
    struct codec_reader reader;
    codec_reader_init(&reader, body);
    uint8_t refusal = codec_get_u8(&reader);
    struct slice text = codec_get_slice(&reader, TRANSPORT_REFUSAL_TEXT_SIZE_MAX);
    enum status st = codec_finish(&reader);
    if (st != STATUS_OK || refusal == TRANSPORT_REFUSAL_NONE) { return STATUS_CORRUPT; }
    *out = refusal < TRANSPORT_REFUSAL_COUNT ? (enum transport_refusal)refusal
                                             : TRANSPORT_REFUSAL_COUNT;
    *out_text = text;
    return STATUS_OK;
}

static bool cluster_is_zero(struct cluster_id id) {
    return cluster_id_equal(id, (struct cluster_id){{0}});
}

enum transport_refusal transport_hello_judge(const struct transport_hello *own,
                                             const struct transport_hello *theirs,
                                             const struct transport_known *known) {
    bool own_zero = cluster_is_zero(own->cluster);
    bool their_zero = cluster_is_zero(theirs->cluster);
    if (theirs->instance == own->instance) { return TRANSPORT_REFUSAL_SELF; }
    if (!own_zero && !their_zero && !cluster_id_equal(own->cluster, theirs->cluster)) {
        return TRANSPORT_REFUSAL_CLUSTER;
    }
    if (theirs->purpose == TRANSPORT_PEER) {
        if (their_zero || theirs->node.v == 0) { return TRANSPORT_REFUSAL_NO_IDENTITY; }
        if (own_zero || own->node.v == 0) { return TRANSPORT_REFUSAL_NOT_READY; }
    }
    // Without an identity in this cluster there is nothing else to compare.
    if (own_zero || their_zero || theirs->node.v == 0) { return TRANSPORT_REFUSAL_NONE; }
    if (node_id_equal(own->node, theirs->node)) { return TRANSPORT_REFUSAL_SELF; }
    if (known->removed) { return TRANSPORT_REFUSAL_REMOVED; }
    if (known->incarnation != 0 && known->incarnation != theirs->incarnation) {
        return TRANSPORT_REFUSAL_INCARNATION;
    }
    if (theirs->boot < known->boot) { return TRANSPORT_REFUSAL_OLD_BOOT; }
    return TRANSPORT_REFUSAL_NONE;
}
