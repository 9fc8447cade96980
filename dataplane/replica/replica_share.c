// SPDX-License-Identifier: Apache-2.0
// replica_share.c - the side channel: what followers learn of a shard between its entries.
//
// A leader that is in use tells its followers every few milliseconds how far it has committed and
// closed. It stays on the list of those for as long as there may be something new to tell: a second
// after its last use, and until all is applied and its closed timestamp has reached its ceiling.
// Then it is settled: closed may not pass the ceiling (time.md, "The ceiling"), an idle shard lets
// its ceiling lapse, so nothing it could say would be new, and it costs a beat nothing. Should its
// last words be lost, the round of the chunks (replica_leads.c) repeats them.
//
// So a follower's closed timestamp of an idle shard stands still, and who wants to read there at a
// later one has the leader renew its ceiling: one empty entry, as for the first strong read. The
// alternative, one "closed" for all idle shards of a node, needs a promise about later leaders'
// clocks that only the shard's log can make (docs/decisions/0007).

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/replica/replica_internal.h"

#define SHARE_ACTIVE_NS UINT64_C(1000000000)  // after the last use

bool replica__has_member(const struct replica *self, struct node_id node) {
    return raft_membership_find(raft_members(self->raft), node) != NULL;
}

// --- who is in use

void replica__touch(struct replica *self) {
    struct replica_table *table = self->table;
    self->used_ns = replica__now(self);
    if (self->active_place != 0) { return; }
    if (table->active_count == table->active_capacity) {
        table->active_capacity = table->active_capacity == 0 ? 64 : 2 * table->active_capacity;
        table->active = mem_realloc(table->active, table->active_capacity * sizeof(*table->active));
    }
    table->active[table->active_count++] = self;
    self->active_place = table->active_count;
}

void replica__share_leave(struct replica *self) {
    struct replica_table *table = self->table;
    if (self->active_place == 0) { return; }
    struct replica *last = table->active[--table->active_count];
    ASSERT(table->active[self->active_place - 1] == self);
    table->active[self->active_place - 1] = last;
    last->active_place = self->active_place;
    self->active_place = 0;
}

// Nothing it could tell will change until it is used again.
static bool is_settled(const struct replica *self) {
    return replica__now(self) - self->used_ns >= SHARE_ACTIVE_NS && self->gathered_count == 0 &&
           self->applied == raft_last_index(self->raft) &&
           !hlc_before(self->closed, self->ceiling_committed);
}

// --- telling

// Wire form: shard, term, closed, commit, and the index up to which no replica needs the log.
void replica__put_frontier(struct codec_writer *w, const struct replica *replica) {
    codec_put_varint(w, replica->descriptor.id.v);
    codec_put_varint(w, raft_term(replica->raft));
    codec_put_varint(w, replica->closed.v);
    codec_put_varint(w, raft_commit_index(replica->raft));
    codec_put_varint(w, replica__trim_safe(replica));
}

static void send_frontiers(struct replica_table *table, struct node_id peer) {
    buf_reset(&table->scratch);
    struct codec_writer w;
    codec_writer_init(&w, &table->scratch);
    for (uint32_t i = 0; i < table->active_count; i++) {
        if (replica__has_member(table->active[i], peer)) {
            replica__put_frontier(&w, table->active[i]);
        }
    }
    ASSERT(w.status == STATUS_OK);
    if (table->scratch.size == 0) { return; }
    env_send(table->config.env, peer, PEER_FRONTIER, buf_slice(&table->scratch));
}

void replica__share_frontiers(struct replica_table *table) {
    for (uint32_t i = table->active_count; i > 0; i--) {
        struct replica *replica = table->active[i - 1];
        if (!raft_is_leader(replica->raft)) {
            replica__share_leave(replica);
            continue;
        }
        replica__advance_closed(replica);
    }
    for (uint32_t i = 0; i < table->peer_count && table->active_count > 0; i++) {
        send_frontiers(table, table->peers[i].node);
    }
    // Only after its last words.
    for (uint32_t i = table->active_count; i > 0; i--) {
        if (is_settled(table->active[i - 1])) { replica__share_leave(table->active[i - 1]); }
    }
}

// --- hearing

void replica__get_frontier(struct codec_reader *r, struct replica_frontier_item *out) {
    out->shard.v = codec_get_varint(r);
    out->term = codec_get_varint(r);
    out->closed.v = codec_get_varint(r);
    out->commit = codec_get_varint(r);
    out->safe = codec_get_varint(r);
}

void replica__take_frontier(struct replica *self, struct node_id from,
                            const struct replica_frontier_item *item) {
    if (item->term != raft_term(self->raft)) { return; }
    if (!node_id_equal(raft_leader(self->raft), from)) { return; }
    if (item->commit > raft_commit_index(self->raft)) {
        struct raft_event event = {.type = RAFT_EVENT_FRONTIER};
        event.u.frontier.from = from;
        event.u.frontier.term = item->term;
        event.u.frontier.commit = item->commit;
        enum status st = replica__step(self, &event);
        ASSERT(st == STATUS_OK);
    }
    self->frontier_commit = item->commit;
    self->frontier_closed = item->closed;
    if (item->safe > self->trim_safe) { self->trim_safe = item->safe; }
    replica__adopt_frontier(self);
}

enum status replica__on_frontier(struct replica_table *table, struct node_id from,
                                 struct codec_reader *r) {
    while (codec_remaining(r) > 0) {
        struct replica_frontier_item item;
        replica__get_frontier(r, &item);
        if (r->status != STATUS_OK) { break; }
        struct replica *replica = replica_table_find(table, item.shard);
        if (replica != NULL) { replica__take_frontier(replica, from, &item); }
    }
    return codec_finish(r);
}
