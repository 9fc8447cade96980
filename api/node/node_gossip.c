// SPDX-License-Identifier: Apache-2.0
// node_gossip.c - the catalogue spreads: each node says which version it holds, whoever has a newer
// one answers with a delta.
//
// Any node heals any node, so the members of the control plane serve no stream of look-ups, and
// losing their majority stops changes only.
// Members never apply deltas: their catalogue is the state machine's, and comes from the log alone.

#include "api/node/node_core_internal.h"
#include "dataplane/base/assert.h"

#define CURRENT_WAIT_NS UINT64_C(3000000000)
#define HEARD_NS        UINT64_C(1000000000)

// A member that was restarted holds what its store had flushed, which may be far behind what it
// helped to commit: until it has caught up with a leader its version is no witness.
static bool is_settled(const struct node_core *self) {
    if (self->catalog_machine == NULL) { return true; }
    const struct replica *replica = replica_table_find(self->table, SHARD_CATALOG);
    return replica != NULL && replica_is_caught_up(replica);
}

// Message: varint version held, u8 whether it is settled, slice delta (empty = only asking).
static void send_catalog(struct node_core *self, struct node_id to, bool with_delta,
                         uint64_t since) {
    struct buf delta;
    buf_init(&delta, 32 << 20);
    struct codec_writer w;
    if (with_delta) {
        codec_writer_init(&w, &delta);
        catalog_encode_delta(self->catalog, since, &w);
        ASSERT(w.status == STATUS_OK);
    }
    buf_reset(&self->scratch);
    codec_writer_init(&w, &self->scratch);
    codec_put_varint(&w, catalog_version(self->catalog));
    codec_put_u8(&w, is_settled(self));
    codec_put_slice(&w, buf_slice(&delta));
    if (w.status == STATUS_OK) {
        env_send(self->config.env, to, PEER_CATALOG, buf_slice(&self->scratch));
    }
    buf_deinit(&delta);
}

static void send_to_others(struct node_core *self, struct node_id node) {
    if (!node_id_equal(node, self->config.self.id)) { send_catalog(self, node, false, 0); }
}

void node_core__gossip_on_time(struct node_core *self, uint64_t now_ns) {
    // What this node says it holds, it serves by: the turn that takes a change in comes first.
    if (now_ns < self->gossip_due_ns || self->catalog_dirty) { return; }
    self->gossip_due_ns = now_ns + self->config.gossip_interval_ns;
    uint32_t count = catalog_node_count(self->catalog);
    for (uint32_t i = 0; i < count; i++) {
        send_to_others(self, catalog_node_at(self->catalog, i)->id);
    }
    // The founding members are in touch even before they stand in the catalogue: a node that knows
    // only itself would ask nobody.
    for (uint32_t i = 0; i < self->config.member_count; i++) {
        if (catalog_node(self->catalog, self->config.members[i]) == NULL) {
            send_to_others(self, self->config.members[i]);
        }
    }
}

bool node_core_all_hold(const struct node_core *self, uint64_t version) {
    const uint64_t now = env_now(self->config.env);
    if (self->catalog_dirty || catalog_version(self->catalog) < version) { return false; }
    for (uint32_t i = 0; i < self->heard_count; i++) {
        const struct node_heard *heard = &self->heard[i];
        if (now - heard->heard_ns <= HEARD_NS && heard->version < version) { return false; }
    }
    return true;
}

// A leader that may serve has applied everything that was committed before it.
static bool leads_catalog(struct node_core *self) {
    struct replica *replica = replica_table_find(self->table, SHARD_CATALOG);
    struct replica_read read = {0};
    return replica != NULL && replica_read_begin(replica, &read) == STATUS_OK;
}

static bool members_agree(const struct node_core *self) {
    uint32_t told = self->catalog_machine != NULL && is_settled(self);
    for (uint32_t i = 0; i < self->heard_count; i++) {
        const struct node_heard *heard = &self->heard[i];
        if (!node_core__is_member(self, heard->node)) { continue; }
        if (heard->version > catalog_version(self->catalog)) { return false; }
        told += heard->settled;
    }
    return told > self->config.member_count / 2;
}

bool node_core_is_current(struct node_core *self) {
    if (self->current) { return true; }
    bool waited = env_now(self->config.env) - self->started_ns >= CURRENT_WAIT_NS;
    self->current = waited || leads_catalog(self) || members_agree(self);
    return self->current;
}

static void note_version(struct node_core *self, const struct node_heard *news) {
    for (uint32_t i = 0; i < self->heard_count; i++) {
        struct node_heard *heard = &self->heard[i];
        if (!node_id_equal(heard->node, news->node)) { continue; }
        // One that was settled and is restarted had said the larger version before.
        heard->settled = heard->settled || news->settled;
        heard->heard_ns = news->heard_ns;
        if (news->version > heard->version) { heard->version = news->version; }
        return;
    }
    if (self->heard_count == CATALOG_NODES_MAX) { return; }
    self->heard[self->heard_count++] = *news;
}

enum status node_core__on_catalog(struct node_core *self, struct node_id from, struct slice body) {
    struct codec_reader r;
    codec_reader_init(&r, body);
    uint64_t version = codec_get_varint(&r);
    bool settled = codec_get_u8(&r) != 0;
    struct slice delta = codec_get_slice(&r, 32 << 20);
    enum status st = codec_finish(&r);
    if (st != STATUS_OK) { return st; }
    note_version(self, &(struct node_heard){from, version, settled, env_now(self->config.env)});
    if (delta.size > 0 && self->catalog_machine == NULL) {
        uint64_t before = catalog_version(self->catalog);
        st = catalog_apply_delta(self->catalog, delta);
        if (catalog_version(self->catalog) != before) { self->catalog_dirty = true; }
        return st;
    }
    if (delta.size == 0 && version < catalog_version(self->catalog) && !self->catalog_dirty) {
        send_catalog(self, from, true, version);
    }
    return STATUS_OK;
}
