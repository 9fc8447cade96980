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
    ASSERT(!m->damaged);
    uint64_t refused = m->commit;
    // What matched is durable there and stays: a refusal of it was sent before it matched.
    bool stale = refused <= peer->match;
    if (peer->state != RAFT_REPLICATE && refused != peer->next - 1) { stale = true; }
    if (stale) {
        MARK("raft.reply.stale_refusal");
        return;
    }
    uint64_t high = raft__max(peer->match, raft__min(m->index, refused - 1));
    uint64_t agreed = raft__last_index_of_term(core, peer->match, high, m->index_term);
    ASSERT(agreed < refused);
    if (agreed < core->log.trim_index) {
        MARK("raft.progress.below_trim");
        raft__progress_snapshot(peer, raft__max(peer->match, core->log.trim_index) + 1);
        raft__snapshot_begin(core, peer);
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
    if (peer->state != RAFT_REPLICATE) {
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

// It may have lost what it acknowledged: nothing that it said before counts any more.
static void raft_reply_damaged(struct raft_core *core, struct raft_progress *peer,
                               const struct raft_message *m) {
    ASSERT(m->sequence > peer->damaged_sequence);
    MARK("raft.reply.damaged");
    peer->damaged_sequence = m->sequence;
    peer->match = 0;
    peer->verified = 0;
    peer->fort_epoch = 0;
    raft__progress_snapshot(peer, core->log.last + 1);
}

// Of how the peer is, its latest answer tells; the network may bring an earlier one after it.
static void raft_reply_health(struct raft_core *core, struct raft_progress *peer,
                              const struct raft_message *m) {
    if (m->sequence <= peer->wants_sequence) { return; }
    peer->wants_sequence = m->sequence;
    peer->wants = m->wants_snapshot;
    peer->wanted_index = m->wanted_index;
    if (m->damaged) { raft_reply_damaged(core, peer, m); }
    if (peer->wants) { raft__snapshot_begin(core, peer); }
}

static void raft_reply_heard(struct raft_core *core, struct raft_progress *peer,
                             const struct raft_message *m) {
    const struct support_peer *pair = support_find(core->config.support, peer->node);
    peer->heard_ns = raft__max(core->now_ns, 1);
    peer->heard_epoch = pair == NULL ? 0 : pair->held_epoch;
    peer->backoff = 0;
    peer->read_round = raft__max(peer->read_round, m->read_round);
    if (m->read_round >= core->fort_round_min) {
        peer->fort_epoch = raft__max(peer->fort_epoch, m->support_epoch);
    }
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
    if (m->sequence < peer->damaged_sequence) {
        MARK("raft.reply.before_damage");
        return STATUS_OK;
    }
    raft_reply_heard(core, peer, m);
    raft_reply_health(core, peer, m);
    // An earlier damage that was mended since says nothing at all.
    if (m->damaged) { return STATUS_OK; }
    if (m->reject) {
        raft_reply_refused(core, peer, m);
    } else {
        raft_reply_accepted(core, peer, m);
    }
    return STATUS_OK;
}
