// SPDX-License-Identifier: Apache-2.0
// replica_peers.c - what passes between the tables of two nodes: support, the list of leaderships,
// raft messages, the side channel.
//
// One support exchange serves all shards of a node pair. Beside it each node says which (shard,
// term) pairs it leads; a shard missing
// from that list is a release, so that its followers need not wait for the grant to lapse (time.md,
// Leases).

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/replica/replica_internal.h"

enum {
    LEADS_INTERVAL_NS = 1000000000,  // full list at least this often
    FRONTIER_IDLE_NS =
        1000000000,  // a shard unused for longer rides the side channel once a second only
    FRONTIER_ITEM_SIZE_MIN = 5,
    LEADS_ITEM_SIZE_MIN = 2,
};

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
    struct replica *replica = replica_table_find(table, shard);
    if (replica !=
        NULL) {  // otherwise the map that places it here has not arrived yet: raft resends
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

// --- leads

static void send_leads(struct replica_table *table, struct replica_peer *peer, uint64_t now_ns) {
    struct codec_writer w;
    writer_start(table, &w);
    codec_put_varint(&w, support_next_sequence(table->config.support));
    uint64_t count = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        const struct replica *replica = table->replicas[i];
        count += raft_is_leader(replica->raft) &&
                 shard_descriptor_has_node(&replica->descriptor, peer->node);
    }
    codec_put_varint(&w, count);
    for (uint32_t i = 0; i < table->count; i++) {
        const struct replica *replica = table->replicas[i];
        if (!raft_is_leader(replica->raft) ||
            !shard_descriptor_has_node(&replica->descriptor, peer->node)) {
            continue;
        }
        codec_put_varint(&w, replica->descriptor.id.v);
        codec_put_varint(&w, raft_term(replica->raft));
    }
    send_scratch(table, peer->node, PEER_LEADS, &w);
    peer->leads_sent_ns = now_ns;
    peer->leads_version = table->leads_version;
}

void replica__share_releases(struct replica_table *table) {
    uint64_t now = env_now(table->config.env);
    for (uint32_t i = 0; i < table->peer_count; i++) {
        if (table->peers[i].leads_version != table->leads_version) {
            send_leads(table, &table->peers[i], now);
        }
    }
}

// Whether the list of a peer names this replica's leadership of its term.
static bool leads_has(struct codec_reader r, uint64_t count, const struct replica *replica) {
    for (uint64_t i = 0; i < count; i++) {
        uint64_t shard = codec_get_varint(&r);
        uint64_t term = codec_get_varint(&r);
        if (shard == replica->descriptor.id.v) { return term >= raft_term(replica->raft); }
    }
    return false;
}

// LIMIT: the list is searched once per replica that follows the sender; thousands of shards want it
// sorted and merged.
static enum status on_leads(struct replica_table *table, struct node_id from,
                            struct codec_reader *r) {
    uint64_t sequence = codec_get_varint(r);
    uint64_t count = codec_get_count(r, LEADS_ITEM_SIZE_MIN);
    struct codec_reader items = *r;
    for (uint64_t i = 0; i < 2 * count; i++) {
        (void)codec_get_varint(r);
    }
    enum status st = codec_finish(r);
    if (st != STATUS_OK) { return st; }
    for (uint32_t i = 0; i < table->count; i++) {
        struct replica *replica = table->replicas[i];
        if (!node_id_equal(raft_leader(replica->raft), from) || leads_has(items, count, replica)) {
            continue;
        }
        MARK("replica.leads.released");
        struct raft_event event = {.type = RAFT_EVENT_LEADER_LOST};
        event.u.lost.node = from;
        event.u.lost.term = raft_term(replica->raft);
        event.u.lost.sequence = sequence;
        st = replica__step(replica, &event);
        ASSERT(st == STATUS_OK);
    }
    return STATUS_OK;
}

// --- side channel

static bool frontier_wanted(const struct replica *self, struct node_id peer, bool idle_round) {
    if (!raft_is_leader(self->raft) || !shard_descriptor_has_node(&self->descriptor, peer)) {
        return false;
    }
    return idle_round || replica__now(self) - self->used_ns < FRONTIER_IDLE_NS;
}

// Frontiers were advanced by the caller, once for all peers.
static void send_frontiers(struct replica_table *table, struct node_id peer, bool idle_round) {
    struct codec_writer w;
    writer_start(table, &w);
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        const struct replica *replica = table->replicas[i];
        if (!frontier_wanted(replica, peer, idle_round)) { continue; }
        uint64_t needed = raft_needed_index(replica->raft);
        codec_put_varint(&w, replica->descriptor.id.v);
        codec_put_varint(&w, raft_term(replica->raft));
        codec_put_varint(&w, replica->closed.v);
        codec_put_varint(&w, raft_commit_index(replica->raft));
        codec_put_varint(&w, needed == 0 ? 0 : needed - 1);
        count++;
    }
    if (count > 0) { send_scratch(table, peer, PEER_FRONTIER, &w); }
}

static enum status on_frontier(struct replica_table *table, struct node_id from,
                               struct codec_reader *r) {
    while (codec_remaining(r) > 0) {
        struct shard_id shard = {codec_get_varint(r)};
        uint64_t term = codec_get_varint(r);
        struct hlc_ts closed = {codec_get_varint(r)};
        uint64_t commit = codec_get_varint(r);
        uint64_t safe = codec_get_varint(r);
        if (r->status != STATUS_OK) { return r->status; }
        struct replica *replica = replica_table_find(table, shard);
        if (replica == NULL || term != raft_term(replica->raft)) { continue; }
        if (!node_id_equal(raft_leader(replica->raft), from)) { continue; }
        struct raft_event event = {.type = RAFT_EVENT_FRONTIER};
        event.u.frontier.from = from;
        event.u.frontier.term = term;
        event.u.frontier.commit = commit;
        enum status st = replica__step(replica, &event);
        ASSERT(st == STATUS_OK);
        replica->frontier_commit = commit;
        replica->frontier_closed = closed;
        if (safe > replica->trim_safe) { replica->trim_safe = safe; }
        replica__mark_dirty(replica);
    }
    return codec_finish(r);
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
        return on_leads(self, from, &r);
    case PEER_FRONTIER:
        return on_frontier(self, from, &r);
    case PEER_REQUEST:
    case PEER_RESPONSE:
    case PEER_CATALOG:
    case PEER_JOIN:
    case PEER_STATUS:
    case PEER_SNAPSHOT:
    case PEER_SNAPSHOT_REPLY:
    case PEER_DIGEST:
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

static void share_frontiers(struct replica_table *table, uint64_t now_ns) {
    if (now_ns < table->frontier_due_ns) { return; }
    bool idle_round = now_ns / FRONTIER_IDLE_NS != table->frontier_sent_ns / FRONTIER_IDLE_NS;
    table->frontier_sent_ns = now_ns;
    table->frontier_due_ns = now_ns + table->config.frontier_interval_ns;
    for (uint32_t i = 0; i < table->count; i++) {
        replica__advance_closed(table->replicas[i]);
    }
    for (uint32_t i = 0; i < table->peer_count; i++) {
        struct replica_peer *peer = &table->peers[i];
        send_frontiers(table, peer->node, idle_round);
        if (peer->leads_version != table->leads_version ||
            now_ns - peer->leads_sent_ns >= LEADS_INTERVAL_NS) {
            send_leads(table, peer, now_ns);
        }
    }
}

void replica__peers_on_time(struct replica_table *table, uint64_t now_ns) {
    struct node_id lapsed[SUPPORT_PEERS_MAX];
    uint32_t count = support_expire(table->config.support, now_ns, lapsed);
    for (uint32_t i = 0; i < count; i++) {
        replica__leader_lost(table, lapsed[i]);
    }
    ask_support(table, now_ns);
    replica__resign_on_time(table, now_ns);
    share_frontiers(table, now_ns);
}
