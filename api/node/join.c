// SPDX-License-Identifier: Apache-2.0
// join.c - JOIN and WELCOME on the wire: u8 kind, then the fields; text is bounded by its array.

#include "api/node/join.h"

#include <string.h>

enum join_kind { JOIN_REQUEST = 1, JOIN_WELCOME = 2 };

static void put_text(struct codec_writer *w, const char *text) {
    codec_put_slice(w, slice_from_string(text));
}

// Copies into an array of `size` bytes; text with a NUL inside or without room is corrupt.
static void get_text(struct codec_reader *r, char *out, size_t size) {
    struct slice text = codec_get_slice(r, size - 1);
    if (text.size > 0 && memchr(text.data, 0, text.size) != NULL) { codec_fail(r); }
    if (r->status != STATUS_OK) { return; }
    if (text.size > 0) { memcpy(out, text.data, text.size); }
    out[text.size] = '\0';
}

void join_request_encode(struct codec_writer *w, const struct catalog_node *self) {
    codec_put_u8(w, JOIN_REQUEST);
    codec_put_u64(w, self->incarnation);
    put_text(w, self->peer_address);
    put_text(w, self->rpc_address);
    put_text(w, self->region);
    put_text(w, self->zone);
    codec_put_u32(w, (uint32_t)self->latitude_microdegrees);
    codec_put_u32(w, (uint32_t)self->longitude_microdegrees);
}

enum status join_request_decode(struct slice body, struct catalog_node *out) {
    struct codec_reader r;
    codec_reader_init(&r, body);
    struct catalog_node node = {0};
    if (codec_get_u8(&r) != JOIN_REQUEST) { codec_fail(&r); }
    node.incarnation = codec_get_u64(&r);
    get_text(&r, node.peer_address, sizeof(node.peer_address));
    get_text(&r, node.rpc_address, sizeof(node.rpc_address));
    get_text(&r, node.region, sizeof(node.region));
    get_text(&r, node.zone, sizeof(node.zone));
    node.latitude_microdegrees = (int32_t)codec_get_u32(&r);
    node.longitude_microdegrees = (int32_t)codec_get_u32(&r);
    if (node.incarnation == 0) { codec_fail(&r); }
    enum status st = codec_finish(&r);
    if (st == STATUS_OK) { *out = node; }
    return st;
}

void join_welcome_encode(struct codec_writer *w, const struct join_cluster *cluster) {
    codec_put_u8(w, JOIN_WELCOME);
    codec_put_raw(w, slice_make(cluster->cluster.v, sizeof(cluster->cluster.v)));
    codec_put_u32(w, cluster->self.v);
    codec_put_varint(w, cluster->member_count);
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        codec_put_u32(w, cluster->members[i].id.v);
        codec_put_u64(w, cluster->members[i].incarnation);
        put_text(w, cluster->members[i].peer_address);
    }
}

enum status join_welcome_decode(struct slice body, struct join_cluster *out) {
    struct codec_reader r;
    codec_reader_init(&r, body);
    struct join_cluster cluster = {0};
    if (codec_get_u8(&r) != JOIN_WELCOME) { codec_fail(&r); }
    struct slice id = codec_get_raw(&r, sizeof(cluster.cluster.v));
    if (r.status == STATUS_OK) { memcpy(cluster.cluster.v, id.data, id.size); }
    cluster.self.v = codec_get_u32(&r);
    uint64_t count = codec_get_count(&r, 13);
    if (count == 0 || count > SHARD_REPLICAS_MAX || cluster.self.v == 0) { codec_fail(&r); }
    for (uint32_t i = 0; r.status == STATUS_OK && i < count; i++) {
        struct join_member *member = &cluster.members[i];
        member->id.v = codec_get_u32(&r);
        member->incarnation = codec_get_u64(&r);
        get_text(&r, member->peer_address, sizeof(member->peer_address));
        if (member->id.v == 0) { codec_fail(&r); }
    }
    cluster.member_count = (uint32_t)count;
    enum status st = codec_finish(&r);
    if (st == STATUS_OK) { *out = cluster; }
    return st;
}

bool join_is_request(struct slice body) {
    return body.size > 0 && body.data[0] == JOIN_REQUEST;
}

const struct join_member *join_find(const struct join_cluster *cluster, uint64_t incarnation) {
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        if (cluster->members[i].incarnation == incarnation) { return &cluster->members[i]; }
    }
    return NULL;
}
