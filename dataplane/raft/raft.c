// SPDX-License-Identifier: Apache-2.0
//
// Design note. The core is one struct and one switch: an event goes to its handler, the handler
// writes actions into the caller's array, and a common ending announces what became committed,
// answers reads, reports a changed role and computes when a tick is wanted next. Handlers never
// call each other's entry points. Nothing here waits, sleeps or allocates (the ring grows by
// doubling up to its bound).
//
// Storage is a neighbour that answers later (the form that etcd's asynchronous storage writes
// took): PERSIST carries a sequence, SEND names the sequence that it must wait for, PERSISTED
// reports. So a leader's own write runs in parallel with its followers' and needs no special case:
// it is one more match index. Rejected: a core that calls the store and returns when it is synced;
// it would serialise the disk with the network and could not run in the simulator with a disk that
// is slow.
#include "dataplane/raft/raft.h"

#include "dataplane/base/mem.h"
#include "dataplane/raft/raft_internal.h"

// --- creation

// What recovery found must be a state that this code can have written.
static bool raft_bounds_valid(const struct raft_config *config) {
    const struct log_bounds *bounds = &config->bounds;
    const struct log_hard_state *hard = &bounds->hard_state;
    if (bounds->last_index < bounds->trim_index || bounds->last_index > RAFT_NUMBER_MAX) {
        return false;
    }
    if (hard->term > RAFT_NUMBER_MAX || bounds->trim_term > hard->term) { return false; }
    if ((bounds->trim_index == 0) != (bounds->trim_term == 0)) { return false; }
    if (hard->term == 0 && (hard->vote.v != 0 || bounds->last_index != 0)) { return false; }
    // A damaged log may end before what was committed; a hollow state machine holds nothing.
    if (config->health == RAFT_DAMAGED) { return config->applied <= RAFT_NUMBER_MAX; }
    if (hard->commit > bounds->last_index) { return false; }
    if (config->health == RAFT_HOLLOW) { return true; }
    return config->applied >= bounds->trim_index && config->applied <= bounds->last_index;
}

static enum status raft_read_last_term(const struct raft_config *config, uint64_t *out_term) {
    const struct log_bounds *bounds = &config->bounds;
    bool unread = config->health == RAFT_DAMAGED || bounds->last_index == bounds->trim_index;
    if (unread) {
        *out_term = bounds->trim_term;
        return STATUS_OK;
    }
    struct log_entry entry = {0};
    uint32_t count = 0;
    enum status st = config->log->read(config->log->ctx, config->shard, bounds->last_index,
                                       bounds->last_index + 1, 1, 1, &entry, &count);
    if (st != STATUS_OK || count != 1) { return STATUS_CORRUPT; }
    bool valid = entry.index == bounds->last_index && entry.term >= bounds->trim_term &&
                 entry.term <= bounds->hard_state.term && entry.term > 0;
    *out_term = entry.term;
    log_entry_unref(&entry);
    return valid ? STATUS_OK : STATUS_CORRUPT;
}

// What is trimmed was applied once. A hollow replica counts as having applied that much, for the
// sake of the frontiers' order; its driver applies nothing before a snapshot is installed. One that
// is damaged announces nothing more, since its entries cannot be read.
static void raft_init_frontiers(struct raft_core *core) {
    const struct log_bounds *bounds = &core->config.bounds;
    uint64_t applied = core->health == RAFT_HOLLOW ? 0 : core->config.applied;
    core->applied = raft__max(applied, bounds->trim_index);
    core->announced = core->applied;
    core->commit = core->applied;
    if (core->health != RAFT_DAMAGED) {
        core->commit = raft__max(core->commit, bounds->hard_state.commit);
        return;
    }
    // All that it may have acknowledged.
    core->log.last = raft__max(core->log.last, bounds->hard_state.commit);
    core->log.last = raft__max(core->log.last, core->applied);
    core->log.first = core->log.last + 1;
    core->log.durable = core->log.last;
}

enum status raft_create(const struct raft_config *config, uint64_t now_ns, uint64_t random,
                        struct raft_core **out_core) {
    ASSERT(config->self.v != 0);
    ASSERT(config->support != NULL);
    ASSERT(config->log != NULL);
    ASSERT(config->election_ns_min > 0 && config->resend_ns > 0);
    ASSERT(config->cache_count_max >= RAFT_RING_MIN);
    ASSERT((config->cache_count_max & (config->cache_count_max - 1)) == 0);
    ASSERT(config->inflight_messages_max > 0);
    enum status st = raft__configs_check(config);
    if (st != STATUS_OK) { return st; }
    uint64_t written = config->bounds.hard_state.incarnation;
    if (config->incarnation == 0 || (written != 0 && written != config->incarnation)) {
        return STATUS_INVALID_ARGUMENT;
    }
    if (!raft_bounds_valid(config)) { return STATUS_CORRUPT; }
    uint64_t last_term = 0;
    st = raft_read_last_term(config, &last_term);
    if (st != STATUS_OK) { return st; }

    struct raft_core *core = mem_alloc(sizeof(*core));
    core->config = *config;
    core->config.configs = NULL;
    core->health = config->health;
    core->now_ns = now_ns;
    core->random = random;
    core->term = config->bounds.hard_state.term;
    core->vote = config->bounds.hard_state.vote;
    core->told_term = core->term;
    raft__log_init(&core->log, config, last_term);
    raft_init_frontiers(core);
    raft__configs_init(core, config);
    core->told_config_version = core->config_version;
    core->told_config_committed = core->configs[0].index;
    // One voter waits for nobody; the others first listen for a leader.
    core->election_deadline_ns = raft__is_alone(core) ? now_ns : now_ns + raft__timeout(core);
    raft__update_deadline(core);
    raft_check(core);
    *out_core = core;
    return STATUS_OK;
}

void raft_destroy(struct raft_core *core) {
    if (core == NULL) { return; }
    raft__catchup_free(core);
    raft__configs_free(core);
    raft__log_deinit(&core->log);
    mem_free(core);
}

// --- the step

// What was applied and sent to every responsive follower; entries above stay in memory while there
// is room.
static uint64_t raft_soft_pin(const struct raft_core *core) {
    uint64_t pin = core->applied;
    if (core->role != RAFT_LEADER) { return pin; }
    for (uint32_t i = 0; i < core->peer_count; i++) {
        const struct raft_progress *peer = &core->peers[i];
        if (peer->state == RAFT_REPLICATE && !peer->departed) {
            pin = raft__min(pin, peer->next - 1);
        }
    }
    return pin;
}

static uint32_t raft_event_need(const struct raft_event *event) {
    if (event->type == RAFT_EVENT_PROPOSE) { return event->u.propose.count; }
    if (event->type == RAFT_EVENT_MESSAGE) { return event->u.message->entry_count; }
    return 0;
}

static void raft_step_begin(struct raft_core *core, const struct raft_event *event,
                            struct raft_actions *out) {
    ASSERT(out->count_max >= RAFT_ACTIONS_MAX);
    out->count = 0;
    core->out = out;
    core->persist_item = UINT32_MAX;
    core->now_ns = raft__max(core->now_ns, event->now_ns);
    core->random = event->random;
    // What the last step's actions pointed at may go now, and only now.
    raft__catchup_release(core);
    raft__log_evict(&core->log, raft_soft_pin(core), raft_event_need(event));
}

static void raft_tell_membership(struct raft_core *core) {
    uint64_t committed = core->configs[0].index;
    bool changed = core->config_version != core->told_config_version ||
                   committed != core->told_config_committed;
    if (!changed) { return; }
    raft__emit(core, RAFT_ACTION_MEMBERSHIP);
    core->told_config_version = core->config_version;
    core->told_config_committed = committed;
}

static void raft_tell_role(struct raft_core *core) {
    bool changed = core->role != core->told_role || core->term != core->told_term ||
                   !node_id_equal(core->leader, core->told_leader);
    if (!changed) { return; }
    struct raft_action *action = raft__emit(core, RAFT_ACTION_ROLE);
    action->u.role.role = core->role;
    action->u.role.term = core->term;
    action->u.role.leader = core->leader;
    core->told_role = core->role;
    core->told_term = core->term;
    core->told_leader = core->leader;
}

static void raft_step_end(struct raft_core *core) {
    raft__configs_committed(core);
    raft__announce(core);
    raft__leave_office(core);
    raft__reads_advance(core);
    raft_tell_role(core);
    raft_tell_membership(core);
    raft__update_deadline(core);
    core->out = NULL;
}

static enum status raft_dispatch(struct raft_core *core, const struct raft_event *event) {
    switch (event->type) {
    case RAFT_EVENT_TICK:
        return raft__on_tick(core);
    case RAFT_EVENT_MESSAGE:
        return raft__on_message(core, event->u.message);
    case RAFT_EVENT_PROPOSE:
        return raft__on_propose(core, event);
    case RAFT_EVENT_READ:
        return raft__on_read(core, event->u.read_token);
    case RAFT_EVENT_PERSISTED:
        return raft__on_persisted(core, event->u.persisted_sequence);
    case RAFT_EVENT_APPLIED:
        return raft__on_applied(core, event->u.applied_index);
    case RAFT_EVENT_LEADER_LOST:
        return raft__on_leader_lost(core, event);
    case RAFT_EVENT_FRONTIER:
        return raft__on_frontier(core, event);
    case RAFT_EVENT_CAMPAIGN:
        return raft__on_campaign(core);
    case RAFT_EVENT_TRANSFER:
        return raft__on_transfer(core, event->u.target);
    case RAFT_EVENT_STEP_DOWN:
        return raft__on_step_down(core);
    case RAFT_EVENT_SNAPSHOT_SENT:
        return raft__on_snapshot_sent(core, event);
    case RAFT_EVENT_SNAPSHOT_INSTALLED:
        return raft__on_snapshot_installed(core, event);
    case RAFT_EVENT_HOLLOWED:
        return raft__on_hollowed(core);
    case RAFT_EVENT_TYPE_COUNT:
        break;
    }
    ASSERT(false);
    return STATUS_INVALID_ARGUMENT;
}

enum status raft_core_step(struct raft_core *core, const struct raft_event *event,
                           struct raft_actions *out) {
    ASSERT(core->out == NULL);
    raft_step_begin(core, event, out);
    enum status st = raft_dispatch(core, event);
    raft_step_end(core);
    ASSERT(out->count <= out->count_max);
    return st;
}

// --- what others may know

uint64_t raft_deadline_ns(const struct raft_core *core) {
    return core->deadline_ns;
}
enum raft_role raft_role(const struct raft_core *core) {
    return core->role;
}
bool raft_is_leader(const struct raft_core *core) {
    return core->role == RAFT_LEADER;
}
uint64_t raft_term(const struct raft_core *core) {
    return core->term;
}
struct node_id raft_leader(const struct raft_core *core) {
    return core->leader;
}
uint64_t raft_last_index(const struct raft_core *core) {
    return core->log.last;
}
uint64_t raft_last_term(const struct raft_core *core) {
    return raft__log_last_term(&core->log);
}
uint64_t raft_durable_index(const struct raft_core *core) {
    return core->log.durable;
}
uint64_t raft_commit_index(const struct raft_core *core) {
    return core->announced;
}

uint64_t raft_term_start_index(const struct raft_core *core) {
    return core->role == RAFT_LEADER ? core->term_start : UINT64_MAX;
}

const struct raft_membership *raft_members(const struct raft_core *core) {
    return raft__members(core);
}

const struct raft_membership *raft_members_committed(const struct raft_core *core,
                                                     uint64_t *out_index) {
    ASSERT_IF(core->config_count > 1, core->configs[1].index > core->commit);
    *out_index = core->configs[0].index;
    return &core->configs[0].membership;
}

bool raft_is_caught_up(const struct raft_core *core) {
    if (core->role == RAFT_LEADER) { return core->applied >= core->term_start; }
    uint64_t told = core->heard_commit;
    if (core->leader.v == 0 || told == 0 || core->health != RAFT_WHOLE) { return false; }
    return core->applied >= told && raft__term_at(core, told) == core->term;
}

enum raft_health raft_health_of(const struct raft_core *core) {
    return core->health;
}

const struct log_entry *raft_entry(const struct raft_core *core, uint64_t index) {
    return raft__entry(core, index);
}

static const struct raft_progress *raft_find_peer(const struct raft_core *core,
                                                  struct node_id node) {
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (node_id_equal(core->peers[i].node, node)) { return &core->peers[i]; }
    }
    return NULL;
}

uint64_t raft_match_index(const struct raft_core *core, struct node_id peer) {
    if (core->role != RAFT_LEADER) { return 0; }
    if (node_id_equal(peer, core->config.self)) { return core->log.durable; }
    const struct raft_progress *found = raft_find_peer(core, peer);
    return found == NULL ? 0 : found->match;
}

uint64_t raft_needed_index(const struct raft_core *core) {
    if (core->role != RAFT_LEADER) { return 0; }
    uint64_t needed = core->log.durable + 1;
    for (uint32_t i = 0; i < core->peer_count; i++) {
        const struct raft_progress *peer = &core->peers[i];
        if (peer->departed) { continue; }
        if (peer->sending) { needed = raft__min(needed, peer->sending_floor + 1); }
        if (peer->state == RAFT_SNAPSHOT) { continue; }
        // Until the place where the logs meet is known, the peer may need anything.
        if (peer->state == RAFT_PROBE && peer->match == 0) { return 0; }
        needed = raft__min(needed, peer->match + 1);
    }
    return needed;
}

uint64_t raft_trim_limit(const struct raft_core *core, uint64_t now_ns, uint64_t lag_max) {
    if (core->role != RAFT_LEADER) { return 0; }
    uint64_t limit = core->log.durable;
    for (uint32_t i = 0; i < core->peer_count; i++) {
        const struct raft_progress *peer = &core->peers[i];
        if (peer->departed) { continue; }
        if (peer->sending) { limit = raft__min(limit, peer->sending_floor); }
        if (peer->state == RAFT_SNAPSHOT || !raft__is_present(core, peer, now_ns)) { continue; }
        if (peer->heard_ns == 0) { return 0; }
        if (peer->match + lag_max >= core->log.last) { limit = raft__min(limit, peer->match); }
    }
    return limit;
}

bool raft_is_ready(const struct raft_core *core, struct node_id node, uint64_t lag) {
    if (core->role != RAFT_LEADER) { return false; }
    if (node_id_equal(node, core->config.self)) { return core->voter; }
    const struct raft_progress *peer = raft_find_peer(core, node);
    if (peer == NULL || !peer->voter || peer->wants || peer->state != RAFT_REPLICATE) {
        return false;
    }
    return raft__is_present(core, peer, core->now_ns) && peer->match + lag >= core->log.last;
}

void raft_trimmed(struct raft_core *core, uint64_t index, uint64_t term) {
    ASSERT(index <= core->applied);
    ASSERT(index <= core->log.durable);
    if (index <= core->log.trim_index) { return; }
    core->log.trim_index = index;
    core->log.trim_term = term;
}
