// SPDX-License-Identifier: Apache-2.0
//
// Design note. The leader hears from a follower. Replies are lost, repeated and reordered, so
// nothing here depends on their order: match, read round and fortification only grow; an
// acceptance is a fact about the follower's log that stays true for the term; a refusal counts
// only while it can still be about what was sent last.
#include "dataplane/raft/raft_internal.h"

// What no follower can say about this leader's log.
static bool raft_reply_absurd(const struct raft_core *core, const struct raft_message *m) {
    if (m->read_round > core->reads.round) { return true; }
    if (m->index > core->log.last || m->commit > core->log.last) { return true; }
    return m->reject && m->index > m->commit;
}

static void raft_reply_refused(struct raft_core *core, struct raft_progress *peer,
                               const struct raft_message *m) {
    uint64_t refused = m->commit;
    // What matched is durable there and stays: a refusal of it was sent before it matched.
    bool stale = refused <= peer->match;
    if (peer->state == RAFT_PROBE && refused != peer->next - 1) { stale = true; }
    if (stale) {
        MARK("raft.reply.stale_refusal");
        return;
    }
    uint64_t high = raft__max(peer->match, raft__min(m->index, refused - 1));
    uint64_t agreed = raft__last_index_of_term(core, peer->match, high, m->index_term);
    ASSERT(agreed < refused);
    if (agreed < core->log.trim_index) {
        // LIMIT: snapshots come later; asking again at once would only be refused again.
        MARK("raft.progress.below_trim");
        raft__progress_probe(peer, raft__max(peer->match, core->log.trim_index) + 1);
        peer->probe_sent = true;
        return;
    }
    raft__progress_probe(peer, agreed + 1);
    raft__replicate(core, peer, 1);
}

static void raft_reply_accepted(struct raft_core *core, struct raft_progress *peer,
                                const struct raft_message *m) {
    peer->match = raft__max(peer->match, m->index);
    if (m->sequence >= peer->verified_sequence) {
        peer->verified_sequence = m->sequence;
        peer->verified = m->commit;
    }
    // What was received need not be sent again, even though it does not count before it is durable.
    uint64_t next = raft__max(peer->match, m->commit) + 1;
    if (peer->state == RAFT_PROBE) {
        raft__progress_replicate(peer, next);
    } else {
        peer->next = raft__max(peer->next, next);
        raft__window_free(&peer->window, peer->match);
    }
    ASSERT(peer->next <= core->log.last + 1);
    raft__advance_commit(core);
    raft__replicate(core, peer, RAFT_SENDS_REPLY_MAX);
    raft__transfer_advance(core);
}

enum status raft__on_append_reply(struct raft_core *core, const struct raft_message *m) {
    if (m->term > core->term) {
        // Only one who asked takes the answer's word for a new term; a follower waits for its
        // leader.
        if (core->role != RAFT_FOLLOWER) {
            raft__become_follower(core, m->term, (struct node_id){0});
        }
        return STATUS_OK;
    }
    if (m->term < core->term || core->role != RAFT_LEADER) { return STATUS_OK; }
    if (raft_reply_absurd(core, m)) {
        MARK("raft.reply.absurd");
        return STATUS_CORRUPT;
    }
    struct raft_progress *peer = raft__sender(core, m);
    ASSERT(peer != NULL);
    peer->heard_ns = raft__max(core->now_ns, 1);
    peer->backoff = 0;
    peer->read_round = raft__max(peer->read_round, m->read_round);
    if (m->read_round >= core->fort_round_min) {
        peer->fort_epoch = raft__max(peer->fort_epoch, m->support_epoch);
    }
    if (m->reject) {
        raft_reply_refused(core, peer, m);
    } else {
        raft_reply_accepted(core, peer, m);
    }
    return STATUS_OK;
}
