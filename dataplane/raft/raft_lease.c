// SPDX-License-Identifier: Apache-2.0
//
// Design note. The two ends of a lease (time.md, Leases).
//
// Follower end: the promise. Acknowledging an append of term T while this node supports the
// leader's node under epoch E promises that for as long as E is live here this replica neither
// campaigns nor votes nor pre-votes in this shard, whatever terms it sees. "E is live" is asked of
// the support table at the moment of each decision, so a lapse or a new boot ends the promise with
// no event at all. Two more things end it: a release that was sent after the last append answered,
// and the leader's own TIMEOUT_NOW sent after it. An append of a later term replaces the promise:
// its leader was elected by a quorum, each quorum shares a voter with those that fortified the
// earlier leader, and that voter could vote only once its promise was over; so the earlier lease
// is over too and cannot come back, because that voter refuses the earlier term from then on.
//
// Leader end: the lease is the quorum value of "support by this voter under the epoch it fortified
// me with, counted from my send time" - no clock is read here, the instant is compared after the
// read.
#include "dataplane/raft/raft_internal.h"

static bool raft_promise_live(const struct raft_core *core) {
    const struct raft_promise *promise = &core->promise;
    if (promise->leader.v == 0) { return false; }
    ASSERT(promise->epoch != 0);
    return support_granted(core->config.support, promise->leader, core->now_ns) == promise->epoch;
}

bool raft__promise_binds(const struct raft_core *core, struct node_id candidate) {
    if (!raft_promise_live(core)) { return false; }
    // A leader that campaigns again has given up its lease itself.
    return !node_id_equal(core->promise.leader, candidate);
}

bool raft__promise_binds_transfer(const struct raft_core *core,
                                  const struct raft_message *request) {
    ASSERT(request->transfer);
    if (!raft__promise_binds(core, request->from)) { return false; }
    // The TIMEOUT_NOW came from the leader of the term before the candidate's. Only a promise to
    // that leader, made before it was sent, is released by it: later answers fortified the leader
    // anew.
    bool same_leader = core->promise.term == request->term - 1;
    bool sent_after = request->transfer_sequence > core->promise.sequence;
    return !(same_leader && sent_after);
}

void raft__promise_end_by_request(struct raft_core *core, const struct raft_message *request) {
    struct raft_promise *promise = &core->promise;
    if (promise->leader.v == 0 || promise->term >= request->term) { return; }
    // Whoever asks for votes of a later term does not lead the earlier one any more; and a
    // transfer that releases the promise is the leader's own word. A promise that outlived its
    // leadership would bind for as long as the node lives.
    bool by_leader = node_id_equal(promise->leader, request->from);
    if (by_leader || (request->transfer && !raft__promise_binds_transfer(core, request))) {
        *promise = (struct raft_promise){0};
        MARK("raft.promise.ended_by_request");
    }
}

uint64_t raft__promise_renew(struct raft_core *core, struct node_id leader, uint64_t sequence) {
    uint64_t epoch = support_granted(core->config.support, leader, core->now_ns);
    struct raft_promise *promise = &core->promise;
    bool same = node_id_equal(promise->leader, leader) && promise->term == core->term;
    // A promise to an earlier leader ends here in any case (design note). If it stayed because the
    // new leader's node is not supported right now, nobody would be left to release it.
    if (!same) { *promise = (struct raft_promise){0}; }
    // Who has no vote to withhold, or cannot be trusted with one, fortifies nobody.
    if (epoch == 0 || !(core->voter || core->outgoing)) { return 0; }
    if (core->health == RAFT_DAMAGED) { return 0; }
    promise->sequence = raft__max(promise->sequence, sequence);
    promise->leader = leader;
    promise->term = core->term;
    promise->epoch = epoch;
    return epoch;
}

bool raft__is_quiet(const struct raft_core *core) {
    // One that was the only voter from the first promised nothing to anybody. One that became it
    // may have fortified the leader that left, which leads until that is committed.
    if (raft__is_alone(core) && raft__config_index(core) == 0) { return false; }
    // Nor did a replica that had no term when this boot began, because the answer that makes a
    // promise leaves only when its term is durable. So a new shard elects its first leader at once
    // on nodes that have just restarted.
    if (core->config.bounds.hard_state.term == 0) { return false; }
    return support_boot_quiet(core->config.support, core->now_ns);
}

bool raft__has_live_leader(const struct raft_core *core, struct node_id candidate) {
    if (core->leader.v == 0 || node_id_equal(core->leader, candidate)) { return false; }
    if (support_granted(core->config.support, core->leader, core->now_ns) != 0) { return true; }
    return core->now_ns < raft__add(core->heard_ns, core->config.election_ns_min);
}

bool raft__leads_live(const struct raft_core *core) {
    ASSERT(core->role == RAFT_LEADER);
    if (raft__quorum_of(core, RAFT_QUANTITY_FORTIFIED) > core->now_ns) { return true; }
    uint64_t heard_ns = raft__quorum_of(core, RAFT_QUANTITY_HEARD);
    return core->now_ns < raft__add(heard_ns, core->config.election_ns_min);
}

uint64_t raft_lease_until_ns(const struct raft_core *core) {
    // Before an entry of this term is committed the leader does not know what its predecessors
    // committed (Ongaro 6.4), so it may hold no lease however well it is supported.
    bool own = core->announced >= core->term_start || MUTANT(SERVE_BEFORE_OWN_TERM);
    if (core->role != RAFT_LEADER || !own) { return 0; }
    return raft__quorum_of(core, RAFT_QUANTITY_FORTIFIED);
}
