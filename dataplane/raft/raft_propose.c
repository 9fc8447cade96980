// SPDX-License-Identifier: Apache-2.0
//
// Design note. The hot path: n sealed entries become one PERSIST and one SEND a follower, at the
// same moment, because the leader's sync and the network run in parallel. Nothing is copied: the
// ring holds references. A batch is taken whole or not at all, so the driver knows what it may
// promise its clients.
#include "dataplane/raft/raft_internal.h"

// Back-pressure: what is not applied yet may not outgrow the ring. The first entry of a term is
// exempt, for it may be what all the others wait for.
static bool raft_propose_crowded(const struct raft_core *core, uint32_t count) {
    if (count > raft__log_room(&core->log)) { return true; }
    if (core->log.last + count > RAFT_NUMBER_MAX) { return true; }
    if (core->log.last < core->term_start) { return false; }
    return core->log.last - core->applied + count > core->log.count_max;
}

// A membership goes into the log only when the one before it is committed and so is an entry of
// this term: otherwise one that an earlier leader left in a few logs might come back, and its
// majorities need not meet those of this one (Ongaro's correction of 2015).
static enum status raft_propose_config(const struct raft_core *core, const struct log_entry *entry,
                                       bool *seen) {
    if (entry->kind != LOG_ENTRY_CONFIG) { return STATUS_OK; }
    bool early = core->config_count > 1 || core->commit < core->term_start;
    if (*seen || (early && !MUTANT(CONFIG_BEFORE_OWN_TERM))) {
        MARK("raft.propose.config_too_early");
        return STATUS_FAILED_PRECONDITION;
    }
    if (!core->voter && !core->outgoing) {
        // It leads only until its own disk holds what sent it away. Were it to bring its node back,
        // as another replica, it could not even count that one.
        MARK("raft.propose.config_of_one_that_left");
        return STATUS_FAILED_PRECONDITION;
    }
    *seen = true;
    struct raft_membership next = {0};
    if (raft__config_decode(entry, &next) != STATUS_OK) { return STATUS_INVALID_ARGUMENT; }
    return raft__membership_follows(raft__members(core), &next) ? STATUS_OK
                                                                : STATUS_INVALID_ARGUMENT;
}

enum status raft__on_propose(struct raft_core *core, const struct raft_event *event) {
    const struct log_entry *entries = event->u.propose.entries;
    uint32_t count = event->u.propose.count;
    if (core->role != RAFT_LEADER) { return STATUS_NOT_LEADER; }
    if (core->transfer.target.v != 0) { return STATUS_UNAVAILABLE; }
    ASSERT(count > 0);
    bool config = false;
    for (uint32_t i = 0; i < count; i++) {
        enum status st = raft_propose_config(core, &entries[i], &config);
        if (st != STATUS_OK) { return st; }
    }
    if (raft_propose_crowded(core, count)) {
        MARK("raft.propose.ring_full");
        return STATUS_OVERLOADED;
    }
    struct raft_action *action = raft__persist(core);
    action->u.persist.first_index = core->log.last + 1;
    action->u.persist.entry_count = count;
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(entries[i].index == core->log.last + 1);
        ASSERT(entries[i].term == core->term);
        raft__log_append(&core->log, &entries[i], core->persist_sequence);
    }
    if (config) { raft__configs_appended(core, core->log.last + 1 - count); }
    for (uint32_t i = 0; i < core->peer_count; i++) {
        raft__replicate(core, &core->peers[i], RAFT_SENDS_PROPOSE_MAX);
    }
    return STATUS_OK;
}
