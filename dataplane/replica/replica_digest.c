// SPDX-License-Identifier: Apache-2.0
// replica_digest.c - replicas compare their state, and the one that differs is rebuilt.
//
//   leader: entry DIGEST -> log -> every replica takes a view as of that index and walks it
//   each, when its walk is done: REPORT to the leader
//   leader: a majority of the voters agree -> VERDICT to each member that does not
//   it:     gives up its state (hollow), and raft has it rebuilt by a snapshot
//
// The digest stands at one index, so replicas that are ahead or behind say the same, and so do
// those that walk faster or slower. The verdict belongs to a majority of voters, in a joint
// membership of both configurations: a leader whose own state is the odd one resigns and is rebuilt
// like any other. Without a majority nobody knows who is right, and whoever acted would destroy the
// last good copy: that is told and left to people. Reports and verdicts may be lost; a round that
// missed somebody is repeated a few times.
//
// An entry DIGEST that is applied while an earlier one's walk goes on is passed over here, since
// dropping the walk would starve a shard whose walk takes longer than an interval. So that a slower
// replica is not left behind for good, a leader asks again only after its own walk is done, and
// while a member has not reported, DIGEST_PATIENCE times as long as that walk took.
//
// What a leader asks for is paced: each shard costs the size of its state, which the latest walk
// knows and an estimate before the first. What is asked for together may run a look's time ahead; a
// look that is stopped by the pace goes on at the same shard, so every one has its turn.

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/log.h"
#include "dataplane/replica/replica_internal.h"

enum {
    DIGEST_LOOKS = 32,           // in an interval, so that not all shards are digested at once
    DIGEST_COST_MIN = 16 << 10,  // of a shard, however small: an entry, messages, a view
    DIGEST_RETRY_MAX = 3,
    DIGEST_PATIENCE = 4,
    DIGEST_MESSAGE_REPORT = 0,
    DIGEST_MESSAGE_VERDICT = 1,
};

// What one member said, or was told.
struct digest_item {
    struct node_id node;
    uint64_t incarnation;
    uint64_t digest;
    bool told;
};

struct replica_digest_round {
    uint64_t index;
    uint64_t term;
    bool split;  // all voters spoke and no majority agrees; said once
    bool differs;
    uint32_t count;
    struct digest_item items[RAFT_MEMBERS_MAX];
};

struct digest_message {
    uint8_t kind;
    struct shard_id shard;
    uint64_t from_incarnation;
    uint64_t to_incarnation;  // 0 in reports: whoever leads the term
    uint64_t term;
    uint64_t index;
    uint64_t digest;
};

void replica__digest_free(struct replica *self) {
    replica__walk_drop(self);
    mem_free(self->round);
    self->round = NULL;
}

static void post(struct replica *self, struct node_id to, const struct digest_message *message) {
    struct replica_table *table = self->table;
    struct codec_writer w;
    buf_reset(&table->scratch);
    codec_writer_init(&w, &table->scratch);
    codec_put_u8(&w, message->kind);
    codec_put_varint(&w, message->shard.v);
    codec_put_varint(&w, message->from_incarnation);
    codec_put_varint(&w, message->to_incarnation);
    codec_put_varint(&w, message->term);
    codec_put_varint(&w, message->index);
    codec_put_u64(&w, message->digest);
    ASSERT(w.status == STATUS_OK);
    env_send(table->config.env, to, PEER_DIGEST, buf_slice(&table->scratch));
}

// --- the leader asks

// The round that ended last wants another one, though nothing was written since.
static bool is_repeated(struct replica *self) {
    const struct replica_digest_round *round = self->round;
    if (round == NULL || round->term != raft_term(self->raft)) { return false; }
    if (round->differs) { return true; }
    bool missing = round->count < raft_members(self->raft)->count;
    return missing && self->digest_retry++ < DIGEST_RETRY_MAX;
}

static uint64_t look_ns(const struct replica_table *table) {
    return table->config.digest_interval_ns / DIGEST_LOOKS + 1;
}

// Nothing is asked for before what was asked for is nearly paid.
static bool is_paced(const struct replica_table *table, uint64_t now_ns) {
    return table->digest_pace_ns > now_ns + look_ns(table);
}

static void charge(struct replica_table *table, uint64_t size, uint64_t now_ns) {
    uint64_t rate = table->config.digest_bytes_per_s;
    if (rate == 0) { return; }
    if (table->digest_pace_ns < now_ns) { table->digest_pace_ns = now_ns; }
    table->digest_pace_ns += size / rate * 1000000000 + size % rate * 1000000000 / rate;
}

static uint64_t cost_of(const struct replica *self) {
    const struct replica_table_config *config = &self->table->config;
    uint64_t size = self->digest_size;
    if (size == 0 && config->state_size != NULL) {
        size = config->state_size(config->ctx, self->descriptor.id);
    }
    return size < DIGEST_COST_MIN ? DIGEST_COST_MIN : size;
}

static bool is_complete(const struct replica *self) {
    const struct replica_digest_round *round = self->round;
    return round != NULL && round->term == raft_term(self->raft) &&
           round->index == self->digest_index && round->count >= raft_members(self->raft)->count;
}

static void ask(struct replica *self, uint64_t now_ns) {
    struct replica_table *table = self->table;
    if (now_ns < self->digest_due_ns || self->hollow || !replica__ready(self)) { return; }
    if (self->walk != NULL || replica__walks_full(table)) { return; }
    if (now_ns < self->digest_patience_ns && !is_complete(self)) { return; }
    bool written = self->written > self->digest_asked;
    if (!written && !is_repeated(self)) { return; }
    if (raft_members(self->raft)->count < 2) { return; }
    replica__append(self, LOG_ENTRY_DIGEST, SLICE_EMPTY);
    if (self->gathered_count == 0) { return; }  // not taken: asked again next time
    if (written) { self->digest_retry = 0; }
    self->digest_asked = raft_last_index(self->raft) + self->gathered_count;
    self->digest_due_ns = now_ns + table->config.digest_interval_ns;
    self->digest_charged = cost_of(self);
    charge(table, self->digest_charged, now_ns);
}

void replica__digest_on_time(struct replica_table *table, uint64_t now_ns) {
    if (table->config.digest_interval_ns == 0 || now_ns < table->digest_due_ns) { return; }
    table->digest_due_ns = now_ns + look_ns(table);
    uint32_t looks = (table->count + DIGEST_LOOKS - 1) / DIGEST_LOOKS;
    for (uint32_t i = 0; i < looks && !is_paced(table, now_ns); i++) {
        if (table->digest_cursor >= table->count) { table->digest_cursor = 0; }
        ask(table->replicas[table->digest_cursor++], now_ns);
    }
}

// --- the verdict

static const struct digest_item *said_by(const struct replica_digest_round *round,
                                         const struct raft_member *member) {
    for (uint32_t i = 0; i < round->count; i++) {
        const struct digest_item *item = &round->items[i];
        if (node_id_equal(item->node, member->node) && item->incarnation == member->incarnation) {
            return item;
        }
    }
    return NULL;
}

// Whether a majority of the voters of each configuration said this digest.
static bool is_agreed(const struct replica_digest_round *round,
                      const struct raft_membership *members, uint64_t digest) {
    uint32_t voters[2] = {0};
    uint32_t agree[2] = {0};
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->members[i];
        const struct digest_item *item = said_by(round, member);
        bool same = item != NULL && item->digest == digest;
        voters[0] += member->role == RAFT_VOTER;
        agree[0] += member->role == RAFT_VOTER && same;
        voters[1] += member->outgoing;
        agree[1] += member->outgoing && same;
    }
    return agree[0] > voters[0] / 2 && (voters[1] == 0 || agree[1] > voters[1] / 2);
}

static bool all_voters_spoke(const struct replica_digest_round *round,
                             const struct raft_membership *members) {
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->members[i];
        bool votes = member->role == RAFT_VOTER || member->outgoing;
        if (votes && said_by(round, member) == NULL) { return false; }
    }
    return true;
}

static void tell(struct replica *self, struct digest_item *item, uint64_t digest) {
    if (item->digest == digest || item->told) { return; }
    MARK("replica.digest.differs");
    item->told = true;
    self->round->differs = true;
    LOG_ERROR("replica.digest.differs", LOG_U64("shard", self->descriptor.id.v),
              LOG_U64("node", item->node.v), LOG_U64("index", self->round->index),
              LOG_U64("digest", item->digest), LOG_U64("majority", digest));
    if (node_id_equal(item->node, self->table->config.self)) {
        self->fence_wanted = true;
        replica__mark_dirty(self);
        return;
    }
    struct digest_message verdict = {.kind = DIGEST_MESSAGE_VERDICT,
                                     .shard = self->descriptor.id,
                                     .from_incarnation = self->incarnation,
                                     .to_incarnation = item->incarnation,
                                     .term = self->round->term,
                                     .index = self->round->index,
                                     .digest = digest};
    post(self, item->node, &verdict);
}

static void judge(struct replica *self) {
    struct replica_digest_round *round = self->round;
    const struct raft_membership *members = raft_members(self->raft);
    for (uint32_t i = 0; i < round->count; i++) {
        uint64_t digest = round->items[i].digest;
        if (!is_agreed(round, members, digest)) { continue; }
        for (uint32_t k = 0; k < round->count; k++) {
            tell(self, &round->items[k], digest);
        }
        return;
    }
    if (round->split || !all_voters_spoke(round, members)) { return; }
    MARK("replica.digest.split");
    round->split = true;
    LOG_ERROR("replica.digest.no_majority", LOG_U64("shard", self->descriptor.id.v),
              LOG_U64("index", round->index), LOG_U64("own", self->digest));
}

// Leader: a member's digest as of index. Later indexes begin a new round, earlier ones are late.
static void note(struct replica *self, uint64_t index, const struct digest_item *said) {
    if (self->round == NULL) { self->round = mem_alloc(sizeof(*self->round)); }
    struct replica_digest_round *round = self->round;
    uint64_t term = raft_term(self->raft);
    if (round->term != term || index > round->index) {
        *round = (struct replica_digest_round){.index = index, .term = term};
    }
    if (index != round->index || round->count == RAFT_MEMBERS_MAX) { return; }
    struct raft_member member = {.node = said->node, .incarnation = said->incarnation};
    if (said_by(round, &member) != NULL) { return; }
    round->items[round->count++] = *said;
    judge(self);
}

// --- every replica

void replica__digest_applied(struct replica *self, const struct log_entry *entry) {
    const struct state_machine *machine = self->machine;
    if (entry->index <= self->digest_floor) { return; }
    ASSERT(entry->index == self->applied);
    machine->end(machine->ctx);  // effects of this turn count
    (void)replica__walk_open(self);
}

// The leader's own walk tells what the shard costs, and how long the others may take.
static void settle_cost(struct replica *self, const struct replica_digest_walk *walk) {
    uint64_t now = replica__now(self);
    if (walk->size > self->digest_charged) {
        charge(self->table, walk->size - self->digest_charged, now);
        self->digest_charged = walk->size;
    }
    self->digest_patience_ns = now + DIGEST_PATIENCE * (now - walk->opened_ns);
}

void replica__digest_done(struct replica *self, const struct replica_digest_walk *walk,
                          uint64_t digest) {
    self->digest_index = walk->index;
    self->digest = digest;
    self->digest_size = walk->size;
    uint64_t term = raft_term(self->raft);
    if (raft_is_leader(self->raft)) {
        struct digest_item own = {self->table->config.self, self->incarnation, digest, false};
        settle_cost(self, walk);
        note(self, walk->index, &own);
        return;
    }
    struct node_id leader = raft_leader(self->raft);
    if (leader.v == 0 || node_id_equal(leader, self->table->config.self)) { return; }
    struct digest_message report = {.kind = DIGEST_MESSAGE_REPORT,
                                    .shard = self->descriptor.id,
                                    .from_incarnation = self->incarnation,
                                    .term = term,
                                    .index = walk->index,
                                    .digest = digest};
    post(self, leader, &report);
}

void replica__digest_forget(struct replica *self) {
    replica__walk_drop(self);
    self->digest_index = 0;
}

static void on_report(struct replica *self, struct node_id from,
                      const struct digest_message *message) {
    if (!raft_is_leader(self->raft) || message->term != raft_term(self->raft)) { return; }
    if (message->index > raft_last_index(self->raft)) { return; }
    const struct raft_member *member = raft_membership_find(raft_members(self->raft), from);
    if (member == NULL || member->incarnation != message->from_incarnation) { return; }
    struct digest_item said = {from, message->from_incarnation, message->digest, false};
    note(self, message->index, &said);
}

static void on_verdict(struct replica *self, struct node_id from,
                       const struct digest_message *message) {
    bool from_leader =
        message->term == raft_term(self->raft) && node_id_equal(raft_leader(self->raft), from);
    if (!from_leader || message->to_incarnation != self->incarnation || self->hollow) { return; }
    if (message->index != self->digest_index || message->digest == self->digest) { return; }
    LOG_ERROR("replica.digest.fenced", LOG_U64("shard", self->descriptor.id.v),
              LOG_U64("index", message->index), LOG_U64("digest", self->digest),
              LOG_U64("majority", message->digest));
    self->fence_wanted = true;
    replica__mark_dirty(self);
}

enum status replica__on_digest(struct replica_table *table, struct node_id from,
                               struct slice body) {
    struct codec_reader r;
    codec_reader_init(&r, body);
    struct digest_message message = {.kind = codec_get_u8(&r)};
    message.shard.v = codec_get_varint(&r);
    message.from_incarnation = codec_get_varint(&r);
    message.to_incarnation = codec_get_varint(&r);
    message.term = codec_get_varint(&r);
    message.index = codec_get_varint(&r);
    message.digest = codec_get_u64(&r);
    enum status st = codec_finish(&r);
    if (st != STATUS_OK || message.kind > DIGEST_MESSAGE_VERDICT) { return STATUS_CORRUPT; }
    struct replica *self = replica_table_find(table, message.shard);
    if (self == NULL) { return STATUS_OK; }
    if (message.kind == DIGEST_MESSAGE_REPORT) {
        on_report(self, from, &message);
    } else {
        on_verdict(self, from, &message);
    }
    return STATUS_OK;
}

// --- the consequence

void replica__fence(struct replica *self) {
    self->fence_wanted = false;
    if (self->hollow) { return; }
    MARK("replica.digest.fenced");
    if (raft_is_leader(self->raft)) {
        struct raft_event resign = {.type = RAFT_EVENT_STEP_DOWN};
        enum status resigned = replica__step(self, &resign);
        ASSERT(resigned == STATUS_OK);
    }
    ASSERT(!raft_is_leader(self->raft));
    self->hollow = true;
    self->applied = 0;
    replica__digest_forget(self);
    self->machine->ingest_begin(self->machine->ctx, self->descriptor.id);
    replica__touch_machine(self->table, self->machine);
    struct raft_event event = {.type = RAFT_EVENT_HOLLOWED};
    enum status st = replica__step(self, &event);
    ASSERT(st == STATUS_OK);
}
