// SPDX-License-Identifier: Apache-2.0
// The part of a test's world that a driver has to do with members and snapshots: proposing
// memberships, opening and removing replicas, carrying snapshots. A snapshot is one packet; what
// takes time and can be interrupted is its flush at the receiver.
#include "dataplane/base/assert.h"
#include "dataplane/raft/raft_internal.h"
#include "tests/unit/dataplane/raft/raft_world.h"
#include "tests/unit/dataplane/raft/raft_world_internal.h"

#include <string.h>

enum { MS = 1000000, SENDING_MS_MAX = 400 };

// --- memberships

static bool decode_members(const struct log_entry *entry, struct raft_membership *out) {
    struct codec_reader r;
    codec_reader_init(&r, entry->payload);
    return raft_membership_decode(&r, out) == STATUS_OK;
}

// The one in force where the log begins, then those of its entries; what lies below the trim is
// forgotten but for the last.
uint32_t world__memberships(const struct world_node *node, struct raft_config_entry *out,
                            uint32_t max) {
    uint32_t count = 1;
    out[0] = (struct raft_config_entry){.index = node->disk.base, .membership = node->base};
    // Nothing of a damaged log can be read.
    if (node->damaged) {
        out[0].index = 0;
        return 1;
    }
    for (uint64_t i = node->disk.base + 1; i <= node->disk.last; i++) {
        const struct log_entry *entry = &node->disk.items[i - 1];
        if (entry->kind != LOG_ENTRY_CONFIG) { continue; }
        if (i <= node->trim_index) { count = 0; }
        ASSERT(count < max);
        out[count].index = i;
        bool decoded = decode_members(entry, &out[count].membership);
        ASSERT(decoded);
        count++;
    }
    return count;
}

bool world_is_member(const struct raft_membership *membership, const struct world_node *node) {
    const struct raft_member *member =
        raft_membership_find(membership, (struct node_id){node->number});
    return member != NULL && member->incarnation == node->incarnation;
}

static bool is_quorum(const struct raft_membership *m, uint32_t nodes) {
    uint32_t count[2] = {0};
    uint32_t have[2] = {0};
    for (uint32_t i = 0; i < m->count; i++) {
        const struct raft_member *member = &m->members[i];
        bool in[2] = {member->role == RAFT_VOTER, member->outgoing};
        for (uint32_t half = 0; half < 2; half++) {
            count[half] += in[half] ? 1 : 0;
            have[half] += in[half] && (nodes >> member->node.v & 1) != 0 ? 1 : 0;
        }
    }
    bool older = count[1] == 0 || have[1] > count[1] / 2;
    return older && have[0] > count[0] / 2;
}

bool world_quorums_meet(const struct raft_membership *a, const struct raft_membership *b) {
    // No set of nodes is a majority of one while all the others are one of the other.
    uint32_t all = (UINT32_C(2) << WORLD_NODES_MAX) - 1;
    for (uint32_t nodes = 0; nodes <= all; nodes += 2) {
        if (is_quorum(a, nodes) && is_quorum(b, all & ~nodes)) { return false; }
    }
    return true;
}

// The node may have written down that it holds the entry at index: it does, or it held it and lost
// it since, or it is not that replica any more.
static bool may_hold(const struct world_node *node, uint64_t incarnation, uint64_t index,
                     uint64_t term) {
    if (node->incarnation != incarnation || node->damaged) {
        return node->incarnation > incarnation || node->damaged;
    }
    if (index <= node->disk.base || index <= node->installed.index) { return true; }
    return index <= node->disk.last && node->disk.items[index - 1].term == term;
}

static bool may_have_voted(const struct world_node *node, uint64_t incarnation,
                           const struct world_node *candidate) {
    if (node->incarnation != incarnation) { return node->incarnation > incarnation; }
    uint64_t term = raft_term(candidate->core);
    return node->hard_state.term > term ||
           (node->hard_state.term == term && node->hard_state.vote.v == candidate->number);
}

// Against the disks, not against what the leader believes.
void world__check_majority(struct world_node *leader, bool election) {
    if (!leader->world->no_forgeries) { return; }
    const struct raft_membership *m = raft_members(leader->core);
    uint64_t index = leader->core->commit;
    uint64_t term = election ? 0 : leader->view.items[index - 1].term;
    uint32_t nodes = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct raft_member *member = &m->members[i];
        const struct world_node *node = world_at(leader->world, member->node.v);
        bool stands = election ? may_have_voted(node, member->incarnation, leader)
                               : may_hold(node, member->incarnation, index, term);
        nodes |= stands ? UINT32_C(1) << member->node.v : 0;
    }
    ASSERT(is_quorum(m, nodes));
}

void world__note_decision(struct world_node *node) {
    struct raft_membership *before = &node->world->decided_by;
    // A leader may announce what was decided before another's election.
    if (raft_term(node->core) < node->world->decided_term) { return; }
    node->world->decided_term = raft_term(node->core);
    const struct raft_membership *now = raft_members(node->core);
    if (before->count > 0 && before->config_epoch != now->config_epoch) {
        ASSERT(world_quorums_meet(before, now));
    }
    *before = *now;
}

static void print_half(FILE *out, const struct raft_membership *m, bool older) {
    for (uint32_t i = 0; i < m->count; i++) {
        const struct raft_member *member = &m->members[i];
        if (!(older ? member->outgoing : member->role == RAFT_VOTER)) { continue; }
        fprintf(out, " %u", member->node.v);
        if (member->incarnation != 1) {
            fprintf(out, "#%llu", (unsigned long long)member->incarnation);
        }
    }
}

void world_print_members(FILE *out, const struct raft_membership *m) {
    fprintf(out, "epoch=%llu voters:", (unsigned long long)m->config_epoch);
    print_half(out, m, false);
    if (raft_membership_is_joint(m)) {
        fprintf(out, " and:");
        print_half(out, m, true);
    }
    bool first = true;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct raft_member *member = &m->members[i];
        if (member->role != RAFT_LEARNER) { continue; }
        fprintf(out, "%s %u", first ? " learners:" : "", member->node.v);
        if (member->incarnation != 1) {
            fprintf(out, "#%llu", (unsigned long long)member->incarnation);
        }
        first = false;
    }
}

void world__act_members(struct world_node *node) {
    FILE *out = node->world->trace;
    if (out == NULL) { return; }
    uint64_t committed = 0;
    const struct raft_membership *last = raft_members_committed(node->core, &committed);
    const struct raft_membership *now = raft_members(node->core);
    fprintf(out, "  %u uses ", node->number);
    world_print_members(out, now);
    fprintf(out, "%s\n", last->config_epoch == now->config_epoch ? " (committed)" : "");
}

enum status world_propose_members(struct world_node *node, const struct raft_membership *next) {
    struct buf buf;
    buf_init(&buf, 4096);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    raft_membership_encode(&w, next);
    ASSERT(w.status == STATUS_OK);
    struct log_entry entry = {
        .index = raft_last_index(node->core) + 1,
        .term = raft_term(node->core) == 0 ? 1 : raft_term(node->core),
        .kind = LOG_ENTRY_CONFIG,
        .payload = buf_slice(&buf),
    };
    log_entry_seal(&entry);
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE};
    event.u.propose.entries = &entry;
    event.u.propose.count = 1;
    enum status st = world_step(node, &event);
    log_entry_unref(&entry);
    buf_deinit(&buf);
    return st;
}

enum status world_change(struct world_node *node, const struct raft_change *changes,
                         uint32_t count) {
    struct raft_membership next = {0};
    struct err err = {0};
    enum status st = raft_membership_change(raft_members(node->core), changes, count, &next, &err);
    if (st != STATUS_OK) {
        FILE *out = node->world->trace;
        if (out != NULL) { fprintf(out, "  %s\n", err.message); }
        return st;
    }
    return world_propose_members(node, &next);
}

enum status world_leave(struct world_node *node) {
    struct raft_membership next = {0};
    if (!raft_wants_leave(node->core, &next)) { return STATUS_FAILED_PRECONDITION; }
    return world_propose_members(node, &next);
}

// --- replicas that come and go

void world_remove(struct world_node *node) {
    if (node->up) { world_crash(node); }
    if (node->incarnation > node->tombstone) { node->tombstone = node->incarnation; }
    node->exists = false;
    node->hollow = false;
    node->damaged = false;
    node->installed = (struct world_snapshot){0};
    node->base = (struct raft_membership){0};
    node->hard_state = (struct log_hard_state){0};
    node->trim_index = node->disk_trim_index = 0;
    node->trim_term = node->disk_trim_term = 0;
    node->applied = 0;
    world__log_reset(&node->view, 0);
    world__log_reset(&node->disk, 0);
}

uint64_t world_flushed_min(const struct world_node *node) {
    if (node->hollow) { return 0; }
    return node->installed.index > node->trim_index ? node->installed.index : node->trim_index;
}

void world__open_wanted(struct world *self, uint32_t number, uint64_t incarnation) {
    struct world_node *node = world_at(self, number);
    if (incarnation <= node->tombstone || incarnation <= node->incarnation) { return; }
    bool stopped = node->exists && !node->up;
    if (stopped || node->paused) { return; }
    if (node->exists) { world_remove(node); }
    node->exists = true;
    node->incarnation = incarnation;
    enum status st = world__open(node, 0);
    ASSERT(st == STATUS_OK);
    if (self->trace != NULL) {
        fprintf(self->trace, "  %u#%llu opened\n", number, (unsigned long long)incarnation);
    }
}

void world_trim(struct world_node *node, uint64_t index) {
    ASSERT(index > node->view.base && index <= node->applied && index <= node->disk.last);
    if (index <= node->trim_index) { return; }
    node->trim_index = node->disk_trim_index = index;
    node->trim_term = node->disk_trim_term = node->view.items[index - 1].term;
    raft_trimmed(node->core, index, node->trim_term);
    raft_check(node->core);
}

void world_hollow(struct world_node *node) {
    node->hollow = true;
    node->applied = 0;
    node->installed = (struct world_snapshot){0};
    if (!node->up) { return; }
    struct raft_event event = {.type = RAFT_EVENT_HOLLOWED};
    enum status st = world_step(node, &event);
    ASSERT(st == STATUS_OK);
}

void world_damage(struct world_node *node) {
    ASSERT(!node->up && node->exists);
    node->damaged = true;
    uint64_t last = node->disk.last;
    world__log_reset(&node->disk, last);
    world__log_reset(&node->view, last);
    // The memberships were among what is lost.
    node->base = (struct raft_membership){0};
}

// --- snapshots: the leader's side

void world__act_snapshot(struct world_node *node, const struct raft_action *action) {
    uint32_t to = action->u.snapshot.node.v;
    // One to a predecessor of the peer is given up silently.
    ASSERT(!node->sending[to].active ||
           node->sending[to].incarnation < action->u.snapshot.incarnation);
    node->sending[to].active = true;
    node->sending[to].sent = false;
    node->sending[to].incarnation = action->u.snapshot.incarnation;
    node->sending[to].min_index = action->u.snapshot.min_index;
    node->sending[to].since_ns = world_node_now(node);
    if (node->world->trace != NULL) {
        fprintf(node->world->trace, "  %u sends a snapshot to %u of at least %llu\n", node->number,
                to, (unsigned long long)action->u.snapshot.min_index);
    }
}

static void send_snapshot(struct world_node *node, uint32_t to) {
    struct world_packet *packet = world__packet_make(node, WORLD_SNAPSHOT, to);
    uint64_t members_index = 0;
    packet->to_incarnation = node->sending[to].incarnation;
    packet->snapshot = (struct world_snapshot){
        .index = node->applied,
        .term = node->world->committed_terms[node->applied - 1],
        .membership = *raft_members_committed(node->core, &members_index),
        .leader_term = raft_term(node->core),
        .from = node->number,
        .from_incarnation = node->incarnation,
    };
    ASSERT(members_index <= node->applied);
    node->sending[to].sent = true;
    if (node->world->trace != NULL) {
        fprintf(node->world->trace, "  %u->%u SNAPSHOT index=%llu/%llu\n", node->number, to,
                (unsigned long long)packet->snapshot.index,
                (unsigned long long)packet->snapshot.term);
    }
    world__packet_add(node->world, packet);
}

void world__snapshots_send(struct world_node *node) {
    if (!raft_is_leader(node->core)) {
        memset(node->sending, 0, sizeof(node->sending));
        return;
    }
    uint64_t members_index = 0;
    (void)raft_members_committed(node->core, &members_index);
    for (uint32_t to = 1; to <= node->world->count; to++) {
        if (!node->sending[to].active || node->sending[to].sent || node->applied == 0) { continue; }
        if (node->applied < node->sending[to].min_index) { continue; }
        if (node->applied < members_index) { continue; }
        send_snapshot(node, to);
    }
}

static void tell_sent(struct world_node *node, uint32_t to, uint64_t index) {
    node->sending[to].active = false;
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_SENT};
    event.u.sent.node.v = to;
    event.u.sent.incarnation = node->sending[to].incarnation;
    event.u.sent.index = index;
    enum status st = world_step(node, &event);
    ASSERT(st == STATUS_OK);
}

void world__snapshots_expire(struct world_node *node) {
    for (uint32_t to = 1; to <= node->world->count; to++) {
        if (!node->sending[to].active) { continue; }
        uint64_t took_ns = world_node_now(node) - node->sending[to].since_ns;
        if (took_ns >= UINT64_C(1) * SENDING_MS_MAX * MS) {
            tell_sent(node, to, 0);
        } else if (!node->sending[to].sent &&
                   raft_last_index(node->core) < node->sending[to].min_index) {
            // What it acknowledged lies beyond the end of this log.
            enum status st = world_propose(node, 1, 0);
            ASSERT(st != STATUS_CORRUPT);
        }
    }
}

void world__deliver_snapshot_reply(struct world_node *node, const struct world_packet *packet) {
    if (packet->to_incarnation != node->incarnation) { return; }
    bool mine = node->sending[packet->from].active && node->sending[packet->from].sent &&
                packet->term == raft_term(node->core) &&
                packet->from_incarnation == node->sending[packet->from].incarnation;
    if (mine) { tell_sent(node, packet->from, packet->commit); }
}

// --- snapshots: the receiver's side

static void reply_snapshot(struct world_node *node, const struct world_snapshot *s,
                           uint64_t index) {
    struct world_packet *packet = world__packet_make(node, WORLD_SNAPSHOT_REPLY, s->from);
    packet->to_incarnation = s->from_incarnation;
    packet->from_incarnation = node->incarnation;
    packet->term = s->leader_term;
    packet->commit = index;
    if (node->world->trace != NULL) {
        fprintf(node->world->trace, "  %u->%u SNAPSHOT_REPLY index=%llu\n", node->number, s->from,
                (unsigned long long)index);
    }
    world__packet_add(node->world, packet);
}

void world__deliver_snapshot(struct world_node *node, const struct world_packet *packet) {
    const struct world_snapshot *s = &packet->snapshot;
    struct raft_message offer = {
        .type = RAFT_SNAPSHOT_OFFER,
        .from = {s->from},
        .to = {node->number},
        .from_incarnation = s->from_incarnation,
        .to_incarnation = packet->to_incarnation,
        .term = s->leader_term,
        .index = s->index,
        .index_term = s->term,
    };
    struct raft_event event = {.type = RAFT_EVENT_MESSAGE};
    event.u.message = &offer;
    enum status st = world_step(node, &event);
    ASSERT(st != STATUS_CORRUPT);
    if (node->world->trace != NULL && st != STATUS_OK) {
        fprintf(node->world->trace, "  %u refuses it: %s\n", node->number, status_name(st));
    }
    if (st == STATUS_OK) {
        node->hollow = true;
        node->applied = 0;
        node->installed = (struct world_snapshot){0};
        node->receiving = *s;
    } else if (st != STATUS_NOT_FOUND) {
        reply_snapshot(node, s, st == STATUS_ALREADY_EXISTS ? s->index : 0);
    }
}

void world__tell_installed(struct world_node *node, uint64_t sequence) {
    if (node->telling.index == 0 || sequence < node->telling_after) { return; }
    struct world_snapshot s = node->telling;
    node->telling = (struct world_snapshot){0};
    reply_snapshot(node, &s, s.index);
}

void world_install(struct world_node *node) {
    struct world_snapshot s = node->receiving;
    ASSERT(node->up && s.index > 0);
    ASSERT(s.index <= node->world->committed);
    ASSERT(s.term == node->world->committed_terms[s.index - 1]);
    node->receiving = (struct world_snapshot){0};
    node->installed = s;
    node->hollow = false;
    node->applied = s.index;
    bool damaged = node->unreadable;
    node->unreadable = false;
    if (node->world->trace != NULL) {
        fprintf(node->world->trace, "  %u installs %llu\n", node->number,
                (unsigned long long)s.index);
    }
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_INSTALLED};
    event.u.installed.index = s.index;
    event.u.installed.term = s.term;
    event.u.installed.membership = &s.membership;
    enum status st = world_step(node, &event);
    ASSERT(st == STATUS_OK);
    ASSERT_IF(damaged, node->view.base == s.index);
    // Not before the log's part is durable, for the next snapshot may wipe the state again.
    node->telling = s;
    node->telling_after = 0;
    for (const struct world_write *write = node->writes; write != NULL; write = write->next) {
        node->telling_after = write->sequence;
    }
    world__tell_installed(node, 0);
}

void world__recover_log(struct world_node *node) {
    const struct world_snapshot *s = &node->installed;
    if (s->index == 0) { return; }
    if (node->damaged) {
        // One from before the damage does not stand for what was acknowledged since.
        if (s->index < node->disk.last || s->index < node->hard_state.commit) { return; }
    } else {
        if (s->index <= node->disk.base) { return; }
        bool held = s->index <= node->disk.last && node->disk.items[s->index - 1].term == s->term;
        if (held) { return; }
    }
    world__log_reset(&node->disk, s->index);
    node->base = s->membership;
    node->trim_index = node->disk_trim_index = s->index;
    node->trim_term = node->disk_trim_term = s->term;
    node->damaged = false;
    // The term that came with the offer may not have reached the disk.
    if (node->hard_state.term < s->term) {
        node->hard_state.term = s->term;
        node->hard_state.vote.v = 0;
    }
    node->hard_state.incarnation = node->incarnation;
}
