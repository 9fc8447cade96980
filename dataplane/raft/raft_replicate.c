// SPDX-License-Identifier: Apache-2.0
//
// Design note. Sending entries and deciding what is committed.
//
// Appends leave at once, in parallel with the leader's own sync: the leader's share in the quorum
// is its durable index, so an entry can be committed by others before it is durable here. What the
// driver is told (announced) is held back to what is also durable here. Otherwise the state
// machine, which flushes on its own schedule, could hold the effects of an entry that this node's
// log lost in a crash. A leader cannot lack an entry that a predecessor announced: its vote
// requests left behind the persist of all it had.
//
// Advancing commit sends nothing. Followers learn it with the next append or, in an idle shard,
// from the node-wide side channel (RAFT_EVENT_FRONTIER); an extra empty append for each commit
// would double the messages of a lightly loaded shard.
#include "dataplane/raft/raft_internal.h"

// How many entries from `first` one message takes: at least one, at most append_size_max bytes.
static uint32_t raft_batch_count(const struct raft_core *core, uint64_t first) {
    uint64_t size = 0;
    uint32_t count = 0;
    while (count < RAFT_APPEND_ENTRIES_MAX && first + count <= core->log.last) {
        const struct log_entry *entry = raft__entry(core, first + count);
        if (entry == NULL) { break; }
        size += entry->record.size;
        if (count > 0 && size > core->config.append_size_max) { break; }
        count++;
    }
    return count;
}

void raft__send_append(struct raft_core *core, struct raft_progress *peer, bool with_entries) {
    ASSERT(core->role == RAFT_LEADER);
    ASSERT(peer->next > peer->match);
    ASSERT(peer->next <= core->log.last + 1);
    if (peer->next <= core->log.trim_index) {
        // Should it hold what comes before the rest of the log all the same, its answer says so;
        // else that asks for a snapshot.
        MARK("raft.progress.needs_snapshot");
        raft__progress_snapshot(peer, core->log.trim_index + 1);
    }
    struct raft_message append = raft__message(core, RAFT_APPEND_REQUEST, peer);
    append.index = peer->next - 1;
    append.index_term = raft__term_at(core, append.index);
    append.commit = core->commit;
    append.read_round = core->reads.round;
    if (with_entries && peer->state != RAFT_SNAPSHOT && peer->next <= core->log.last) {
        bool held = raft__entry(core, peer->next) != NULL || raft__catchup_fill(core, peer->next);
        append.entry_count = held ? raft_batch_count(core, peer->next) : 0;
    }
    raft__send(core, &append, 0);
    peer->sent_ns = core->now_ns;
    if (peer->state == RAFT_PROBE) {
        peer->probe_sent = true;
    } else if (append.entry_count > 0) {
        ASSERT(peer->state == RAFT_REPLICATE);
        peer->next += append.entry_count;
        raft__window_add(&peer->window, peer->next - 1, core->config.inflight_messages_max);
    }
}

void raft__replicate(struct raft_core *core, struct raft_progress *peer, uint32_t messages_max) {
    ASSERT(messages_max > 0);
    if (peer->state == RAFT_PROBE) {
        if (!peer->probe_sent) { raft__send_append(core, peer, true); }
        return;
    }
    if (peer->state == RAFT_SNAPSHOT) { return; }
    for (uint32_t i = 0; i < messages_max && peer->next <= core->log.last; i++) {
        if (peer->window.messages >= core->config.inflight_messages_max) {
            MARK("raft.replicate.window_full");
            return;
        }
        uint64_t next = peer->next;
        if (raft__entry(core, next) == NULL && core->catchup.count > 0) {
            // The buffer serves another peer in this step; this one's reply or its resend gets the
            // next.
            MARK("raft.replicate.catchup_taken");
            return;
        }
        raft__send_append(core, peer, true);
        if (peer->next == next) { return; }
    }
}

void raft__advance_commit(struct raft_core *core) {
    ASSERT(core->role == RAFT_LEADER);
    uint64_t index = raft__quorum_of(core, RAFT_QUANTITY_MATCH);
    if (index <= core->commit) { return; }
    ASSERT(index <= core->log.last);
    if (index < core->term_start && !MUTANT(COUNT_OLD_TERM)) {
        // Entries of earlier terms are never committed by counting (Raft 5.4.2, figure 8).
        MARK("raft.commit.old_term_not_counted");
        return;
    }
    core->commit = index;
}

void raft__announce(struct raft_core *core) {
    uint64_t index = raft__min(core->commit, core->log.durable);
    if (index <= core->announced) { return; }
    core->announced = index;
    raft__emit(core, RAFT_ACTION_COMMIT)->u.commit_index = index;
}
