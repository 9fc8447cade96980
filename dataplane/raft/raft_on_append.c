// SPDX-License-Identifier: Apache-2.0
//
// Design note. A follower receives an append (Raft figure 2, AppendEntries; also heartbeat, probe
// and read round). First everything is judged without touching state, because the message may
// contradict what is committed here, which no correct peer sends: then nothing may change. Only
// then the role, the log, commit and the promise move, in this order.
//
// What the answer says. To an append with entries: "durable here up to its last entry", so it
// waits for that entry's persist. To one without: "durable here up to min(verified, durable)",
// which needs no wait for entries, so a read round never queues behind the disk. Both also name
// the last index received (verified, durable or not), so that a leader whose probe came back does
// not send it all again.
#include "dataplane/raft/raft_internal.h"

struct raft_append_plan {
    bool refused;           // the previous entry is missing or differs
    bool conflict;          // own entries from write_from on must go
    uint64_t write_from;    // first index to write
    uint64_t write_before;  // term at write_from - 1
};

// Term for comparison; committed entries that are not in memory are taken as equal (0).
static uint64_t raft_known_term(const struct raft_core *core, uint64_t index) {
    bool near = index + 1 >= core->log.first || index == core->log.trim_index;
    return near || index > core->commit ? raft__term_at(core, index) : 0;
}

// True when the log is known to equal that of the leader of message->term up to the index.
static bool raft_is_settled(const struct raft_core *core, const struct raft_message *m,
                            uint64_t index) {
    if (index <= core->commit) { return true; }
    return m->term == core->term && index <= core->verified;
}

// Decides what the append does to the log; false when it contradicts what is settled.
static bool raft_append_plan(const struct raft_core *core, const struct raft_message *m,
                             struct raft_append_plan *plan) {
    *plan = (struct raft_append_plan){.write_from = m->index + 1, .write_before = m->index_term};
    if (m->index > core->log.last) {
        plan->refused = true;
        return true;
    }
    uint64_t term = m->index >= core->log.trim_index ? raft_known_term(core, m->index) : 0;
    if (term != 0 && term != m->index_term) {
        plan->refused = true;
        return !raft_is_settled(core, m, m->index);
    }
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct log_entry *entry = &m->entries[i];
        if (entry->index > core->log.last) { break; }
        term = entry->index >= core->log.trim_index ? raft_known_term(core, entry->index) : 0;
        if (term != 0 && term != entry->term) {
            plan->conflict = true;
            return !raft_is_settled(core, m, entry->index);
        }
        if (MUTANT(TRUNCATE_EQUAL) && entry->index > core->commit) {
            plan->conflict = true;
            return true;
        }
        plan->write_from = entry->index + 1;
        plan->write_before = entry->term;
    }
    return true;
}

static struct raft_message raft_append_answer(const struct raft_core *core,
                                              const struct raft_message *m) {
    struct raft_message reply = raft__answer(core, RAFT_APPEND_REPLY, m);
    reply.read_round = m->read_round;
    reply.wants_snapshot = core->health != RAFT_WHOLE;
    reply.damaged = core->health == RAFT_DAMAGED;
    reply.wanted_index = raft__wanted_index(core);
    return reply;
}

// What a damaged log held is not known, and what this append brings cannot be put after it. The
// answer acknowledges nothing, neither entries nor rounds.
static void raft_append_refuse_damaged(struct raft_core *core, const struct raft_message *m) {
    MARK("raft.append.damaged");
    struct raft_message reply = raft_append_answer(core, m);
    reply.read_round = 0;
    reply.reject = true;
    raft__send(core, &reply, raft__hard_state_pending(core));
}

// The sender is behind: it learns the term and steps down (Raft 5.1). The answer says nothing
// about the log, for it may reach the same node as the leader of the very term it names: then it
// is about an append of that leader's earlier life, and refusing index 0 is what every leader
// knows to be stale.
static void raft_append_refuse_term(struct raft_core *core, const struct raft_message *m) {
    MARK("raft.append.old_term");
    struct raft_message reply = raft_append_answer(core, m);
    reply.read_round = 0;
    reply.reject = true;
    raft__send(core, &reply, raft__hard_state_pending(core));
}

// The logs differ at the previous index. The hint is the largest index here whose term could still
// agree, so that each refusal skips a whole term and not one entry (Raft 5.3, last paragraphs).
static void raft_append_refuse_gap(struct raft_core *core, const struct raft_message *m,
                                   uint64_t epoch) {
    MARK("raft.append.refused_with_hint");
    struct raft_message reply = raft_append_answer(core, m);
    uint64_t high = raft__min(m->index, core->log.last);
    ASSERT(high >= core->commit);
    reply.reject = true;
    reply.index = raft__last_index_of_term(core, core->commit, high, m->index_term);
    reply.index_term = raft__term_at(core, reply.index);
    reply.commit = m->index;
    reply.support_epoch = epoch;
    raft__send(core, &reply, raft__hard_state_pending(core));
}

static void raft_append_truncate(struct raft_core *core, const struct raft_append_plan *plan) {
    MARK("raft.append.conflict_truncated");
    ASSERT(plan->write_from > core->commit);
    ASSERT(plan->write_from > core->verified || MUTANT(TRUNCATE_EQUAL));
    raft__persist(core)->u.persist.truncate_from = plan->write_from;
    raft__log_truncate(&core->log, plan->write_from, plan->write_before);
    raft__configs_truncated(core, plan->write_from);
}

// Writes what is new and fits; returns the last index that now equals the leader's.
static uint64_t raft_append_write(struct raft_core *core, const struct raft_message *m,
                                  const struct raft_append_plan *plan) {
    uint64_t end = m->index + m->entry_count + 1;
    if (plan->write_from == end) { return end - 1; }
    if (plan->conflict) { raft_append_truncate(core, plan); }
    ASSERT(core->log.last + 1 == plan->write_from);
    uint64_t count = end - plan->write_from;
    uint32_t room = raft__log_room(&core->log);
    if (count > room) {
        // Back-pressure: the rest is sent again when something was applied.
        MARK("raft.append.ring_full");
        count = room;
    }
    if (count == 0) { return core->log.last; }
    struct raft_action *action = raft__persist(core);
    action->u.persist.first_index = plan->write_from;
    action->u.persist.entry_count = (uint32_t)count;
    uint64_t skipped = plan->write_from - (m->index + 1);
    for (uint64_t i = 0; i < count; i++) {
        raft__log_append(&core->log, &m->entries[skipped + i], core->persist_sequence);
    }
    raft__configs_appended(core, plan->write_from);
    return core->log.last;
}

static void raft_append_accept(struct raft_core *core, const struct raft_message *m,
                               const struct raft_append_plan *plan, uint64_t epoch) {
    uint64_t matched = raft_append_write(core, m, plan);
    core->verified = raft__max(core->verified, raft__max(matched, core->commit));
    core->commit = raft__max(core->commit, raft__min(m->commit, matched));
    ASSERT(core->commit <= core->log.last);
    struct raft_message reply = raft_append_answer(core, m);
    reply.support_epoch = epoch;
    reply.commit = core->verified;
    uint64_t after = raft__max(raft__hard_state_pending(core), raft__cover_pending(core));
    if (MUTANT(ACK_BEFORE_DURABLE)) {
        reply.index = matched;
    } else if (m->entry_count > 0) {
        reply.index = matched;
        after = raft__max(after, raft__log_pending(&core->log, matched));
    } else {
        reply.index = raft__min(core->verified, core->log.durable);
    }
    raft__send(core, &reply, after);
}

bool raft__is_second_leader(const struct raft_core *core, const struct raft_message *m) {
    return m->term == core->term && core->term_leader.v != 0 &&
           !node_id_equal(core->term_leader, m->from);
}

uint64_t raft__follow(struct raft_core *core, const struct raft_message *m) {
    ASSERT(m->term >= core->term);
    if (m->term > core->term || core->role != RAFT_FOLLOWER ||
        !node_id_equal(core->leader, m->from)) {
        raft__become_follower(core, m->term, m->from);
    }
    ASSERT(core->role == RAFT_FOLLOWER);
    core->heard_ns = core->now_ns;
    core->heard_sequence = raft__max(core->heard_sequence, m->sequence);
    core->heard_commit = raft__max(core->heard_commit, m->commit);
    core->election_deadline_ns = raft__add(core->now_ns, raft__timeout(core));
    return raft__promise_renew(core, m->from, m->sequence);
}

enum status raft__on_append(struct raft_core *core, const struct raft_message *m) {
    if (m->term < core->term) {
        raft_append_refuse_term(core, m);
        return STATUS_OK;
    }
    if (raft__is_second_leader(core, m)) {
        MARK("raft.append.second_leader_refused");
        return STATUS_CORRUPT;
    }
    if (core->health == RAFT_DAMAGED) {
        raft__follow(core, m);
        raft_append_refuse_damaged(core, m);
        return STATUS_OK;
    }
    struct raft_append_plan plan;
    if (!raft_append_plan(core, m, &plan)) {
        MARK("raft.append.contradicts_committed");
        return STATUS_CORRUPT;
    }
    uint64_t epoch = raft__follow(core, m);
    if (plan.refused) {
        raft_append_refuse_gap(core, m, epoch);
    } else {
        raft_append_accept(core, m, &plan, epoch);
    }
    return STATUS_OK;
}
