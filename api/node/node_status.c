// SPDX-License-Identifier: Apache-2.0
// node_status.c - what every replica of a shard says about its frontiers, gathered for an operator.

#include "api/node/node_core_internal.h"
#include "dataplane/base/assert.h"

#include <string.h>

#define STATUS_WAIT_NS UINT64_C(500000000)

static void encode_frontiers(struct codec_writer *w, const struct replica_frontiers *f) {
    const uint64_t fields[] = {f->last,
                               f->durable,
                               f->applied,
                               f->commit,
                               f->trim,
                               f->closed.v,
                               f->ceiling.v,
                               f->term,
                               f->leader.v,
                               f->lease_remaining_us,
                               f->pending,
                               f->incarnation,
                               f->config_epoch,
                               f->snapshot_in_bytes,
                               f->snapshot_in_total,
                               f->snapshots_out,
                               f->snapshot_out_bytes,
                               f->snapshot_out_total,
                               f->digest_index,
                               f->digest};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        codec_put_varint(w, fields[i]);
    }
    codec_put_u8(w, (uint8_t)f->role);
    codec_put_u8(w, (uint8_t)f->health);
    codec_put_u8(w, f->snapshot_in);
    codec_put_u8(w, (uint8_t)f->closed_hold);
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
    f->incarnation = codec_get_varint(r);
    f->config_epoch = codec_get_varint(r);
    f->snapshot_in_bytes = codec_get_varint(r);
    f->snapshot_in_total = codec_get_varint(r);
    f->snapshots_out = (uint32_t)codec_get_varint(r);
    f->snapshot_out_bytes = codec_get_varint(r);
    f->snapshot_out_total = codec_get_varint(r);
    f->digest_index = codec_get_varint(r);
    f->digest = codec_get_varint(r);
    uint8_t role = codec_get_u8(r);
    uint8_t health = codec_get_u8(r);
    if (role >= RAFT_ROLE_COUNT || health >= RAFT_HEALTH_COUNT) { codec_fail(r); }
    f->role = (enum raft_role)role;
    f->health = (enum raft_health)health;
    f->snapshot_in = codec_get_u8(r) != 0;
    uint8_t hold = codec_get_u8(r);
    if (hold >= REPLICA_HOLD_COUNT) { codec_fail(r); }
    f->closed_hold = (enum replica_hold)hold;
}

// --- What a leader says about the members

static void describe_members(struct node_core *self, const struct replica *replica,
                             struct node_members_status *out) {
    const struct raft_membership *members = replica_members_committed(replica);
    struct replica_frontiers f;
    replica_frontiers(replica, &f);
    *out = (struct node_members_status){.leader = self->config.self.id,
                                        .term = f.term,
                                        .committed_epoch = members->config_epoch,
                                        .last = f.last};
    const struct shard_descriptor *used = replica_descriptor(replica);
    out->config_epoch = used->config_epoch;
    out->count = used->replica_count;
    for (uint32_t i = 0; i < used->replica_count; i++) {
        out->members[i] = used->replicas[i];
        out->matches[i] = replica_match(replica, used->replicas[i].node);
    }
    const struct node_watch *watch = node_core__watch_find(self, replica_shard(replica));
    if (watch == NULL) { return; }
    out->progress = watch->progress;
    uint64_t since = watch->progress.since_ns;
    if (since != 0) { out->waited_ms = (env_now(self->config.env) - since) / 1000000; }
}

static void encode_members(struct codec_writer *w, const struct node_members_status *m) {
    codec_put_varint(w, m->term);
    codec_put_varint(w, m->config_epoch);
    codec_put_varint(w, m->committed_epoch);
    codec_put_varint(w, m->last);
    codec_put_varint(w, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        codec_put_varint(w, m->members[i].node.v);
        codec_put_u8(w, (uint8_t)m->members[i].role);
        codec_put_u8(w, m->members[i].outgoing);
        codec_put_varint(w, m->members[i].incarnation);
        codec_put_varint(w, m->matches[i]);
    }
    codec_put_u8(w, (uint8_t)m->progress.step);
    codec_put_slice(w, slice_from_string(m->progress.text));
    codec_put_varint(w, m->waited_ms);
}

static void decode_members(struct codec_reader *r, struct node_id from,
                           struct node_members_status *m) {
    enum { MEMBER_SIZE_MIN = 5 };
    *m = (struct node_members_status){.leader = from, .term = codec_get_varint(r)};
    m->config_epoch = codec_get_varint(r);
    m->committed_epoch = codec_get_varint(r);
    m->last = codec_get_varint(r);
    uint64_t count = codec_get_count(r, MEMBER_SIZE_MIN);
    if (count > SHARD_MEMBERS_MAX) { codec_fail(r); }
    for (uint64_t i = 0; i < count && r->status == STATUS_OK; i++) {
        m->members[i].node.v = (uint32_t)codec_get_varint(r);
        uint8_t role = codec_get_u8(r);
        if (role >= SHARD_ROLE_COUNT) { codec_fail(r); }
        m->members[i].role = (enum shard_role)role;
        m->members[i].outgoing = codec_get_u8(r) != 0;
        m->members[i].incarnation = codec_get_varint(r);
        m->matches[i] = codec_get_varint(r);
        m->count++;
    }
    uint8_t step = codec_get_u8(r);
    if (step >= REPLICA_MEMBERS_STEP_COUNT) { codec_fail(r); }
    m->progress.step = (enum replica_members_step)step;
    struct slice text = codec_get_slice(r, sizeof(m->progress.text) - 1);
    if (text.size > 0) { memcpy(m->progress.text, text.data, text.size); }
    m->waited_ms = codec_get_varint(r);
}

// --- Asking and answering

// Message: u8 is_reply, varint call id, varint shard; a reply adds u8 present and the frontiers,
// and of a leader, whose role is among these, the members.
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
        if (f.role == RAFT_LEADER) {
            struct node_members_status members;
            describe_members(self, replica, &members);
            encode_members(&w, &members);
        }
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

// Members, nodes that are to become members, and whom the caller asked for besides; each once.
static uint32_t nodes_of(const struct shard_descriptor *at, const struct node_status_call *call,
                         struct node_id out[NODE_STATUS_NODES_MAX]) {
    struct node_id all[SHARD_MEMBERS_MAX + 2 * SHARD_REPLICAS_MAX];
    uint32_t all_count = 0;
    for (uint32_t i = 0; i < at->replica_count; i++) {
        all[all_count++] = at->replicas[i].node;
    }
    for (uint32_t i = 0; i < at->target_count; i++) {
        all[all_count++] = at->targets[i].node;
    }
    for (uint32_t i = 0; i < call->other_count; i++) {
        all[all_count++] = call->others[i];
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < all_count && count < NODE_STATUS_NODES_MAX; i++) {
        bool twice = false;
        for (uint32_t k = 0; k < count; k++) {
            twice = twice || node_id_equal(out[k], all[i]);
        }
        if (!twice) { out[count++] = all[i]; }
    }
    return count;
}

static void note_members(struct node_status_call *call, const struct node_members_status *members) {
    bool newer = call->members.leader.v == 0 || members->term > call->members.term;
    if (newer) { call->members = *members; }
}

static void answer_here(struct node_core *self, struct node_status_call *call) {
    struct node_replica_status *item = &call->items[call->count++];
    *item = (struct node_replica_status){.node = self->config.self.id};
    struct replica *replica = replica_table_find(self->table, call->shard);
    item->present = replica != NULL;
    if (replica == NULL) { return; }
    replica_frontiers(replica, &item->frontiers);
    if (item->frontiers.role != RAFT_LEADER) { return; }
    struct node_members_status members;
    describe_members(self, replica, &members);
    note_members(call, &members);
}

enum status node_core_shard_status(struct node_core *self, struct node_status_call *call) {
    const struct shard_descriptor *descriptor = catalog_shard(self->catalog, call->shard);
    if (descriptor == NULL) { return STATUS_NOT_FOUND; }
    ASSERT(call->other_count <= SHARD_REPLICAS_MAX);
    struct node_id nodes[NODE_STATUS_NODES_MAX];
    call->id = ++self->status_id;
    call->deadline_ns = env_now(self->config.env) + STATUS_WAIT_NS;
    call->expected = nodes_of(descriptor, call, nodes);
    call->count = 0;
    call->members = (struct node_members_status){.count = 0};
    call->next = self->status_head;
    self->status_head = call;
    for (uint32_t i = 0; i < call->expected; i++) {
        if (node_id_equal(nodes[i], self->config.self.id)) {
            answer_here(self, call);
        } else {
            send_status(self, nodes[i], false, call->id, call->shard);
        }
    }
    if (call->count == call->expected) { finish(self, call); }
    return STATUS_OK;
}

static void take_reply(struct node_core *self, uint64_t id,
                       const struct node_replica_status *status,
                       const struct node_members_status *members) {
    struct node_status_call *call = self->status_head;
    while (call != NULL && call->id != id) {
        call = call->next;
    }
    if (call == NULL) { return; }  // it ended already
    for (uint32_t i = 0; i < call->count; i++) {
        if (node_id_equal(call->items[i].node, status->node)) { return; }  // a repeated message
    }
    if (call->count == NODE_STATUS_NODES_MAX) { return; }
    call->items[call->count++] = *status;
    if (members->leader.v != 0) { note_members(call, members); }
    if (call->count == call->expected) { finish(self, call); }
}

enum status node_core__on_status(struct node_core *self, struct node_id from, struct slice body) {
    struct codec_reader r;
    codec_reader_init(&r, body);
    bool reply = codec_get_u8(&r) != 0;
    uint64_t id = codec_get_varint(&r);
    struct shard_id shard = {codec_get_varint(&r)};
    struct node_replica_status status = {.node = from};
    struct node_members_status members = {.count = 0};
    if (reply) { status.present = codec_get_u8(&r) != 0; }
    if (status.present) { decode_frontiers(&r, &status.frontiers); }
    if (status.present && status.frontiers.role == RAFT_LEADER) {
        decode_members(&r, from, &members);
    }
    enum status st = codec_finish(&r);
    if (st != STATUS_OK) { return st; }
    if (reply) {
        take_reply(self, id, &status, &members);
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
