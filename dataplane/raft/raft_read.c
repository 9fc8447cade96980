// SPDX-License-Identifier: Apache-2.0
//
// Design note. ReadIndex (Ongaro 6.4) in batches: a round asks a quorum "am I still your leader",
// one round is under way and one gathers. A round's number travels in every append of the term and
// comes back in the replies, refusals included, since a refusal for a gap also acknowledges the
// term. Reads that arrive while a round is under way must not join it: its messages left before
// they came, so its answers prove leadership only at an earlier moment (the race of etcd #21375's
// class).
//
// A round is reported only when an entry of this term is announced, hence everything that was
// committed before the read began is part of raft_commit_index at that moment.
#include "dataplane/raft/raft_internal.h"

static void raft_reads_start(struct raft_core *core, uint64_t token) {
    struct raft_reads *reads = &core->reads;
    ASSERT(!reads->inflight);
    reads->round++;
    reads->inflight = true;
    reads->inflight_round = reads->round;
    reads->inflight_token = token;
    for (uint32_t i = 0; i < core->peer_count; i++) {
        struct raft_progress *peer = &core->peers[i];
        if (raft__counts(peer)) { raft__send_append(core, peer, false); }
    }
}

enum status raft__on_read(struct raft_core *core, uint64_t token) {
    if (core->role != RAFT_LEADER) { return STATUS_NOT_LEADER; }
    struct raft_reads *reads = &core->reads;
    if (!reads->inflight) {
        raft_reads_start(core, token);
    } else {
        MARK("raft.read.gathers");
        reads->gather_token = reads->gathering ? raft__max(reads->gather_token, token) : token;
        reads->gathering = true;
    }
    return STATUS_OK;
}

static void raft_reads_answer(struct raft_core *core, uint64_t token, bool confirmed) {
    struct raft_action *action = raft__emit(core, RAFT_ACTION_READ);
    action->u.read.token = token;
    action->u.read.confirmed = confirmed;
}

void raft__reads_advance(struct raft_core *core) {
    struct raft_reads *reads = &core->reads;
    if (core->role != RAFT_LEADER || !reads->inflight) { return; }
    if (core->announced < core->term_start) {
        MARK("raft.read.waits_for_own_term");
        return;
    }
    // Twice at most: a single voter confirms the gathered round as soon as it starts.
    while (reads->inflight &&
           raft__quorum_of(core, RAFT_QUANTITY_READ_ROUND) >= reads->inflight_round) {
        raft_reads_answer(core, reads->inflight_token, true);
        reads->inflight = false;
        if (!reads->gathering) { return; }
        reads->gathering = false;
        raft_reads_start(core, reads->gather_token);
    }
}

void raft__reads_fail(struct raft_core *core) {
    struct raft_reads *reads = &core->reads;
    if (reads->inflight) {
        uint64_t token = reads->inflight_token;
        if (reads->gathering) { token = raft__max(token, reads->gather_token); }
        raft_reads_answer(core, token, false);
    }
    *reads = (struct raft_reads){0};
}
