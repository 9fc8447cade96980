// SPDX-License-Identifier: Apache-2.0
// node_status.c - what every replica of a shard says about its frontiers, gathered for an operator.

#include "api/node/node_core_internal.h"
#include "dataplane/base/assert.h"

#define STATUS_WAIT_NS UINT64_C(500000000)

static void encode_frontiers(struct codec_writer *w, const struct replica_frontiers *f) {
    const uint64_t fields[] = {
        f->last,     f->durable,   f->applied, f->commit,   f->trim,
        f->closed.v, f->ceiling.v, f->term,    f->leader.v, f->lease_remaining_us,
        f->pending};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        codec_put_varint(w, fields[i]);
    }
    codec_put_u8(w, (uint8_t)f->role);
}

static void decode_frontiers(struct codec_reader *r, struct replica_frontiers *f) {
    f->last = codec_get_varint(r);
    f->durable = codec_get_varint(r);
    f->applied = codec_get_varint(r);
    f->commit = codec_get_varint(r);
    f->trim = codec_get_varint(r);
    f->closed.v = codec_get_varint(r);
    f->ceiling.v = codec_get_varint(r);
    f->term = codec_get_varint(r);
    f->leader.v = (uint32_t)codec_get_varint(r);
    f->lease_remaining_us = codec_get_varint(r);
    f->pending = codec_get_varint(r);
    uint8_t role = codec_get_u8(r);
    if (role >= RAFT_ROLE_COUNT) { codec_fail(r); }
    f->role = (enum raft_role)role;
}

// Message: u8 is_reply, varint call id, varint shard; a reply adds u8 present and the frontiers.
static void send_status(struct node_core *self, struct node_id to, bool reply, uint64_t id,
                        struct shard_id shard) {
    buf_reset(&self->scratch);
    struct codec_writer w;
    codec_writer_init(&w, &self->scratch);
    codec_put_u8(&w, reply);
    codec_put_varint(&w, id);
    codec_put_varint(&w, shard.v);
    struct replica *replica = reply ? replica_table_find(self->table, shard) : NULL;
    if (reply) { codec_put_u8(&w, replica != NULL); }
    if (replica != NULL) {
        struct replica_frontiers f;
        replica_frontiers(replica, &f);
        encode_frontiers(&w, &f);
    }
    ASSERT(w.status == STATUS_OK);
    env_send(self->config.env, to, PEER_STATUS, buf_slice(&self->scratch));
}

static void finish(struct node_core *self, struct node_status_call *call) {
    struct node_status_call **link = &self->status_head;
    while (*link != call) {
        link = &(*link)->next;
    }
    *link = call->next;
    call->done(call, call->items, call->count);
}

enum status node_core_shard_status(struct node_core *self, struct node_status_call *call) {
    const struct shard_descriptor *descriptor =
        shard_map_by_id(catalog_shard_map(self->catalog), call->shard);
    if (descriptor == NULL) { return STATUS_NOT_FOUND; }
    call->id = ++self->status_id;
    call->deadline_ns = env_now(self->config.env) + STATUS_WAIT_NS;
    call->expected = descriptor->replica_count;
    call->count = 0;
    call->next = self->status_head;
    self->status_head = call;
    for (uint32_t i = 0; i < descriptor->replica_count; i++) {
        struct node_id node = descriptor->replicas[i].node;
        if (!node_id_equal(node, self->config.self.id)) {
            send_status(self, node, false, call->id, call->shard);
            continue;
        }
        struct node_replica_status *item = &call->items[call->count++];
        *item = (struct node_replica_status){.node = node};
        struct replica *replica = replica_table_find(self->table, call->shard);
        item->present = replica != NULL;
        if (replica != NULL) { replica_frontiers(replica, &item->frontiers); }
    }
    if (call->count == call->expected) { finish(self, call); }
    return STATUS_OK;
}

static void take_reply(struct node_core *self, struct node_id from, uint64_t id,
                       const struct node_replica_status *status) {
    struct node_status_call *call = self->status_head;
    while (call != NULL && call->id != id) {
        call = call->next;
    }
    if (call == NULL) { return; }  // it ended already
    for (uint32_t i = 0; i < call->count; i++) {
        if (node_id_equal(call->items[i].node, from)) { return; }  // a repeated message
    }
    if (call->count == SHARD_REPLICAS_MAX) { return; }
    call->items[call->count++] = *status;
    if (call->count == call->expected) { finish(self, call); }
}

enum status node_core__on_status(struct node_core *self, struct node_id from, struct slice body) {
    struct codec_reader r;
    codec_reader_init(&r, body);
    bool reply = codec_get_u8(&r) != 0;
    uint64_t id = codec_get_varint(&r);
    struct shard_id shard = {codec_get_varint(&r)};
    struct node_replica_status status = {.node = from};
    if (reply) { status.present = codec_get_u8(&r) != 0; }
    if (status.present) { decode_frontiers(&r, &status.frontiers); }
    enum status st = codec_finish(&r);
    if (st != STATUS_OK) { return st; }
    if (reply) {
        take_reply(self, from, id, &status);
    } else {
        send_status(self, from, true, id, shard);
    }
    return STATUS_OK;
}

void node_core__status_on_time(struct node_core *self, uint64_t now_ns) {
    struct node_status_call *call = self->status_head;
    while (call != NULL) {
        struct node_status_call *next = call->next;
        if (now_ns >= call->deadline_ns) { finish(self, call); }
        call = next;
    }
}

uint64_t node_core__status_deadline(const struct node_core *self) {
    uint64_t at = UINT64_MAX;
    for (const struct node_status_call *call = self->status_head; call != NULL; call = call->next) {
        if (call->deadline_ns < at) { at = call->deadline_ns; }
    }
    return at;
}
