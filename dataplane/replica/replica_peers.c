// SPDX-License-Identifier: Apache-2.0
// replica_peers.c - what passes between the tables of two nodes: raft messages and support; the
// rest is handed on (replica_leads.c, replica_share.c).
//
// One support exchange serves all shards of a node pair. Every loop over all replicas here answers
// something rare: a node was lost, came back, or gave its support anew.

#include "dataplane/base/assert.h"
#include "dataplane/replica/replica_snapshot_internal.h"

static void writer_start(struct replica_table *table, struct codec_writer *w) {
    buf_reset(&table->scratch);
    codec_writer_init(w, &table->scratch);
}

static void send_scratch(struct replica_table *table, struct node_id to,
                         enum peer_message_type type, const struct codec_writer *w) {
    ASSERT(w->status == STATUS_OK);
    env_send(table->config.env, to, type, buf_slice(&table->scratch));
}

void replica__add_peer(struct replica_table *table, struct node_id node) {
    if (node_id_equal(node, table->config.self)) { return; }
    for (uint32_t i = 0; i < table->peer_count; i++) {
        if (node_id_equal(table->peers[i].node, node)) { return; }
    }
    if (!support_add_peer(table->config.support, node)) { return; }
    ASSERT(table->peer_count < REPLICA_PEERS_MAX);
    table->peers[table->peer_count++] = (struct replica_peer){.node = node};
}

void replica_table_add_peer(struct replica_table *self, struct node_id node) {
    replica__add_peer(self, node);
}

// --- raft messages

void replica__send_message(struct replica *self, const struct raft_message *message,
                           uint64_t first_index) {
    struct replica_table *table = self->table;
    struct raft_message out = *message;
    uint32_t got = 0;
    if (out.entry_count > 0) {
        got = replica__collect(self, first_index, out.entry_count);
        if (got == 0) { return; }  // trimmed or unreadable: raft probes again
        out.entries = table->collect;
        out.entry_count = got;
    }
    out.sequence = support_next_sequence(table->config.support);
    struct codec_writer w;
    writer_start(table, &w);
    codec_put_varint(&w, self->descriptor.id.v);
    raft_message_encode(&w, &out);
    send_scratch(table, out.to, PEER_RAFT, &w);
    replica__collect_release(self, got);
}

static enum status on_raft(struct replica_table *table, struct node_id from, struct bytes *owner,
                           struct slice body) {
    struct codec_reader r;
    codec_reader_init(&r, body);
    struct shard_id shard = {codec_get_varint(&r)};
    struct raft_message message = {0};
    enum status st = raft_message_decode(&r, owner, &message, table->decode, REPLICA_COLLECT_MAX);
    if (st != STATUS_OK) { return st; }
    struct replica *replica = replica__wanted(table, shard, message.to_incarnation);
    // NULL: the map that places it here has not arrived yet. Raft resends.
    if (replica != NULL && !replica__drops(table, &message)) {
        message.from = from;
        message.to = table->config.self;
        struct raft_event event = {.type = RAFT_EVENT_MESSAGE};
        event.u.message = &message;
        st = replica__step(replica, &event);
        if (st != STATUS_CORRUPT) { st = STATUS_OK; }
    }
    for (uint32_t i = 0; i < message.entry_count; i++) {
        log_entry_unref(&table->decode[i]);
    }
    return st;
}

// --- support

void replica__leader_lost(struct replica_table *table, struct node_id node) {
    for (uint32_t i = 0; i < table->count; i++) {
        struct replica *replica = table->replicas[i];
        if (!node_id_equal(raft_leader(replica->raft), node)) { continue; }
        struct raft_event event = {.type = RAFT_EVENT_LEADER_LOST};
        event.u.lost.node = node;
        enum status st = replica__step(replica, &event);
        ASSERT(st == STATUS_OK);
    }
}

// Support of a peer changed: leaders may have to be fortified anew.
static void tick_leaders(struct replica_table *table) {
    for (uint32_t i = 0; i < table->count; i++) {
        if (!raft_is_leader(table->replicas[i]->raft)) { continue; }
        struct raft_event event = {.type = RAFT_EVENT_TICK};
        enum status st = replica__step(table->replicas[i], &event);
        ASSERT(st == STATUS_OK);
    }
}

static enum status on_support_request(struct replica_table *table, struct node_id from,
                                      struct codec_reader *r) {
    struct support_request request;
    enum status st = support_request_decode(r, &request);
    if (st != STATUS_OK) { return st; }
    replica__add_peer(table, from);
    struct support_reply reply;
    bool new_boot = false;
    const struct env *env = table->config.env;
    support_on_request(table->config.support, from, &request, env_now(env), env_wall_us(env),
                       &reply, &new_boot);
    if (new_boot) { replica__leader_lost(table, from); }
    struct codec_writer w;
    writer_start(table, &w);
    support_reply_encode(&w, &reply);
    send_scratch(table, from, PEER_SUPPORT_REPLY, &w);
    return STATUS_OK;
}

static enum status on_support_reply(struct replica_table *table, struct node_id from,
                                    struct codec_reader *r) {
    struct support_reply reply;
    enum status st = support_reply_decode(r, &reply);
    if (st != STATUS_OK) { return st; }
    const struct support_peer *peer = support_find(table->config.support, from);
    if (peer == NULL) { return STATUS_OK; }
    uint64_t before = peer->held_epoch;
    const struct env *env = table->config.env;
    support_on_reply(table->config.support, from, &reply, env_now(env), env_wall_us(env));
    if (peer->held_epoch != before) { tick_leaders(table); }
    return STATUS_OK;
}

// --- dispatch and time

enum status replica_table_on_message(struct replica_table *self, struct node_id from,
                                     enum peer_message_type type, struct bytes *owner,
                                     struct slice body) {
    struct codec_reader r;
    codec_reader_init(&r, body);
    switch (type) {
    case PEER_RAFT:
        return on_raft(self, from, owner, body);
    case PEER_SUPPORT_REQUEST:
        return on_support_request(self, from, &r);
    case PEER_SUPPORT_REPLY:
        return on_support_reply(self, from, &r);
    case PEER_LEADS:
        return replica__on_leads(self, from, &r);
    case PEER_FRONTIER:
        return replica__on_frontier(self, from, &r);
    case PEER_SNAPSHOT:
        if (replica__drops_snapshot(self)) { return STATUS_OK; }
        return replica__on_snapshot(self, from, body);
    case PEER_SNAPSHOT_REPLY:
        return replica__on_snapshot_reply(self, from, body);
    case PEER_DIGEST:
        return replica__on_digest(self, from, body);
    case PEER_REQUEST:
    case PEER_RESPONSE:
    case PEER_CATALOG:
    case PEER_JOIN:
    case PEER_STATUS:
    case PEER_MESSAGE_TYPE_COUNT:
        break;
    }
    return STATUS_CORRUPT;
}

static void ask_support(struct replica_table *table, uint64_t now_ns) {
    struct support *support = table->config.support;
    if (now_ns < support->next_request_ns) { return; }
    support->next_request_ns = now_ns + support->config.interval_ns;
    for (uint32_t i = 0; i < table->peer_count && !support->withhold; i++) {
        struct support_request request;
        support_make_request(support, now_ns, env_wall_us(table->config.env), &request);
        struct codec_writer w;
        writer_start(table, &w);
        support_request_encode(&w, &request);
        send_scratch(table, table->peers[i].node, PEER_SUPPORT_REQUEST, &w);
    }
}

// The side channel's beat: who is in use, and the next part of the list of leaderships.
static void share(struct replica_table *table, uint64_t now_ns) {
    if (now_ns < table->frontier_due_ns) { return; }
    table->frontier_due_ns = now_ns + table->config.frontier_interval_ns;
    replica__share_frontiers(table);
    replica__share_leads(table, now_ns);
}

void replica__peers_on_time(struct replica_table *table, uint64_t now_ns) {
    struct node_id lapsed[SUPPORT_PEERS_MAX];
    uint32_t count = support_expire(table->config.support, now_ns, lapsed);
    for (uint32_t i = 0; i < count; i++) {
        replica__leader_lost(table, lapsed[i]);
    }
    // A node that hears nobody, but is heard, keeps its peers' promises alive. An idle leader there
    // would sleep on; woken, it misses its quorum, gives up and so releases its followers.
    if (support_held_lapsed(table->config.support, now_ns)) { tick_leaders(table); }
    ask_support(table, now_ns);
    replica__resign_on_time(table, now_ns);
    share(table, now_ns);
}
