// SPDX-License-Identifier: Apache-2.0
//
// Design note. Which membership is in use. A membership is used from the moment its entry is in the
// log, on leader and follower alike, whether committed or not (Ongaro 4.1), and is given back when
// the entry is cut off. So a stack is kept: at its bottom the latest committed one, above it those
// of the uncommitted end of the log, the top is in use. Mostly it has one item. Rejected: using a
// membership from its commit on, which needs further rules to be safe when the one who commits is
// not the one who counts.
//
// The table of peers follows the membership in use. Who stays keeps what is known of him; who comes
// begins as unknown; who goes is sent the log on, without counting for anything, until the leader
// knows that the membership without him is committed, so that he can learn of it (best effort: he
// may be gone).
#include "dataplane/base/mem.h"
#include "dataplane/raft/raft_internal.h"

// --- the stack

static const struct raft_config_entry *raft_config_top(const struct raft_core *core) {
    ASSERT(core->config_count > 0);
    return &core->configs[core->config_count - 1];
}

const struct raft_membership *raft__members(const struct raft_core *core) {
    return &raft_config_top(core)->membership;
}

uint64_t raft__config_index(const struct raft_core *core) {
    return raft_config_top(core)->index;
}

static void raft_config_push(struct raft_core *core, uint64_t index,
                             const struct raft_membership *membership) {
    ASSERT_IF(core->config_count > 0, raft__config_index(core) < index);
    if (core->config_count == core->config_capacity) {
        core->config_capacity = core->config_capacity == 0 ? 1 : 2 * core->config_capacity;
        core->configs = mem_realloc(core->configs, core->config_capacity * sizeof(*core->configs));
    }
    core->configs[core->config_count] =
        (struct raft_config_entry){.index = index, .membership = *membership};
    core->config_count++;
}

enum status raft__configs_check(const struct raft_config *config) {
    if (config->config_count == 0) { return STATUS_INVALID_ARGUMENT; }
    for (uint32_t i = 0; i < config->config_count; i++) {
        const struct raft_config_entry *entry = &config->configs[i];
        // One that knows of no membership yet is passive until an entry or a snapshot brings one.
        bool unknown = entry->index == 0 && entry->membership.count == 0;
        if (!unknown && !raft_membership_check(&entry->membership)) {
            return STATUS_INVALID_ARGUMENT;
        }
        if (i > 0 && entry->index <= config->configs[i - 1].index) { return STATUS_CORRUPT; }
        if (entry->index > config->bounds.last_index) { return STATUS_CORRUPT; }
    }
    return STATUS_OK;
}

void raft__configs_init(struct raft_core *core, const struct raft_config *config) {
    if (config->configs[0].index > core->commit) {
        // What was in force before the first entry of this kind is not known; should that entry be
        // cut off, this replica is passive.
        const struct raft_membership unknown = {0};
        raft_config_push(core, 0, &unknown);
    }
    for (uint32_t i = 0; i < config->config_count; i++) {
        raft_config_push(core, config->configs[i].index, &config->configs[i].membership);
    }
    raft__configs_committed(core);
    raft__config_use(core);
}

void raft__configs_free(struct raft_core *core) {
    mem_free(core->configs);
    core->configs = NULL;
    core->config_count = 0;
    core->config_capacity = 0;
}

void raft__configs_committed(struct raft_core *core) {
    uint32_t drop = 0;
    while (drop + 1 < core->config_count && core->configs[drop + 1].index <= core->commit) {
        drop++;
    }
    if (drop == 0) { return; }
    core->config_count -= drop;
    for (uint32_t i = 0; i < core->config_count; i++) {
        core->configs[i] = core->configs[i + drop];
    }
    raft__peers_part(core);
}

enum status raft__config_decode(const struct log_entry *entry, struct raft_membership *out) {
    ASSERT(entry->kind == LOG_ENTRY_CONFIG);
    struct codec_reader r;
    codec_reader_init(&r, entry->payload);
    enum status st = raft_membership_decode(&r, out);
    return st == STATUS_OK ? codec_finish(&r) : st;
}

void raft__configs_appended(struct raft_core *core, uint64_t first) {
    bool changed = false;
    for (uint64_t i = first; i <= core->log.last; i++) {
        const struct log_entry *entry = raft__log_cached(&core->log, i);
        ASSERT(entry != NULL);
        if (entry->kind != LOG_ENTRY_CONFIG) { continue; }
        struct raft_membership membership = {0};
        enum status st = raft__config_decode(entry, &membership);
        ASSERT(st == STATUS_OK);
        raft_config_push(core, i, &membership);
        changed = true;
    }
    if (changed) { raft__config_use(core); }
}

void raft__configs_truncated(struct raft_core *core, uint64_t from) {
    ASSERT(core->configs[0].index < from);
    if (raft__config_index(core) < from || MUTANT(CONFIG_NOT_ROLLED_BACK)) { return; }
    MARK("raft.config.rolled_back");
    while (raft__config_index(core) >= from) {
        core->config_count--;
    }
    raft__config_use(core);
}

void raft__configs_installed(struct raft_core *core, uint64_t index,
                             const struct raft_membership *membership) {
    // The log went on past the snapshot, and a later membership of it is committed.
    if (core->configs[0].index > index) { return; }
    uint32_t keep = 0;
    while (keep < core->config_count && core->configs[keep].index <= index) {
        keep++;
    }
    ASSERT(keep > 0);
    core->configs[keep - 1] = (struct raft_config_entry){.index = index, .membership = *membership};
    core->config_count -= keep - 1;
    for (uint32_t i = 0; i < core->config_count; i++) {
        core->configs[i] = core->configs[i + keep - 1];
    }
    // Those beyond the end of a log that began anew went with it.
    while (raft__config_index(core) > core->log.last) {
        core->config_count--;
    }
    raft__config_use(core);
}

// --- what follows from it

bool raft__member_is_self(const struct raft_core *core, const struct raft_member *member) {
    return node_id_equal(member->node, core->config.self) &&
           member->incarnation == core->config.incarnation;
}

static bool raft_is_voter_of(const struct raft_core *core, const struct raft_membership *m) {
    for (uint32_t i = 0; i < m->count; i++) {
        const struct raft_member *member = &m->members[i];
        if (!raft__member_is_self(core, member)) { continue; }
        return member->role == RAFT_VOTER || member->outgoing;
    }
    return false;
}

bool raft__may_lead(const struct raft_core *core) {
    if (core->health != RAFT_WHOLE) { return false; }
    // A successor on this node: so the removal of this one was committed long ago.
    const struct raft_member *here = raft_membership_find(raft__members(core), core->config.self);
    if (here != NULL && !raft__member_is_self(core, here)) { return false; }
    // One that is to go may still be needed until that is committed: its log may be the only one
    // that is complete (Ongaro 4.2.2).
    for (uint32_t i = 0; i < core->config_count; i++) {
        if (raft_is_voter_of(core, &core->configs[i].membership)) { return true; }
    }
    return false;
}

static struct raft_progress *raft_peer_add(struct raft_core *core,
                                           const struct raft_progress *before, uint32_t count,
                                           const struct raft_member *member) {
    ASSERT(core->peer_count < RAFT_PEERS_MAX);
    struct raft_progress *peer = &core->peers[core->peer_count];
    core->peer_count++;
    for (uint32_t i = 0; i < count; i++) {
        bool same = node_id_equal(before[i].node, member->node) &&
                    before[i].incarnation == member->incarnation;
        if (!same) { continue; }
        *peer = before[i];
        return peer;
    }
    *peer = (struct raft_progress){.node = member->node, .incarnation = member->incarnation};
    raft__progress_reset(peer, core->log.last + 1);
    return peer;
}

// A leader goes on sending to those that just went.
static void raft_keep_departed(struct raft_core *core, const struct raft_progress *before,
                               uint32_t count) {
    if (core->role != RAFT_LEADER) { return; }
    for (uint32_t i = 0; i < count && core->peer_count < RAFT_PEERS_MAX; i++) {
        if (raft_membership_find(raft__members(core), before[i].node) != NULL) { continue; }
        core->peers[core->peer_count] = before[i];
        core->peers[core->peer_count].voter = false;
        core->peers[core->peer_count].outgoing = false;
        core->peers[core->peer_count].departed = true;
        core->peer_count++;
    }
}

void raft__config_use(struct raft_core *core) {
    struct raft_progress before[RAFT_PEERS_MAX];
    uint32_t count = core->peer_count;
    for (uint32_t i = 0; i < count; i++) {
        before[i] = core->peers[i];
    }
    core->config_version++;
    core->peer_count = 0;
    core->voter = false;
    core->outgoing = false;
    const struct raft_membership *m = raft__members(core);
    for (uint32_t i = 0; i < m->count; i++) {
        const struct raft_member *member = &m->members[i];
        bool voter = member->role == RAFT_VOTER;
        if (raft__member_is_self(core, member)) {
            core->voter = voter;
            core->outgoing = member->outgoing;
        }
        // Another incarnation on this very node is not one to send messages to.
        if (node_id_equal(member->node, core->config.self)) { continue; }
        struct raft_progress *peer = raft_peer_add(core, before, count, member);
        peer->voter = voter;
        peer->outgoing = member->outgoing;
        peer->departed = false;
    }
    raft_keep_departed(core, before, count);
}

void raft__peers_drop_departed(struct raft_core *core) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (core->peers[i].departed) { continue; }
        if (kept != i) { core->peers[kept] = core->peers[i]; }
        kept++;
    }
    core->peer_count = kept;
}

void raft__peers_part(struct raft_core *core) {
    if (core->role != RAFT_LEADER || core->config_count > 1) { return; }
    for (uint32_t i = 0; i < core->peer_count; i++) {
        struct raft_progress *peer = &core->peers[i];
        // Its commit index tells that it went.
        if (peer->departed) { raft__send_append(core, peer, peer->state == RAFT_REPLICATE); }
    }
    raft__peers_drop_departed(core);
}

bool raft_wants_leave(const struct raft_core *core, struct raft_membership *out) {
    if (core->role != RAFT_LEADER || core->transfer.target.v != 0) { return false; }
    const bool early = core->config_count > 1 || core->commit < core->term_start;
    if (early && !MUTANT(CONFIG_BEFORE_OWN_TERM)) { return false; }
    if (!raft_membership_is_joint(raft__members(core))) { return false; }
    raft_membership_leave(raft__members(core), out);
    return true;
}
