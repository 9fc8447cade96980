// SPDX-License-Identifier: Apache-2.0
// The driver half of a replica in its smallest form, and the network and disk around it. Messages
// pass through their wire form, so that every test also tests the codec.
#include "tests/unit/dataplane/raft/raft_world.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/raft/raft_internal.h"
#include "tests/unit/dataplane/raft/raft_world_internal.h"

#include <string.h>

enum { MS = 1000000 };

struct world_node *world_at(struct world *self, uint32_t number) {
    ASSERT(number >= 1 && number <= self->count);
    return &self->nodes[number - 1];
}

uint64_t world_node_now(const struct world_node *node) {
    return node->world->now_ns / 1000 * node->rate;
}

// Without luck: 150 ms for node 1, 180 ms for node 2, and so on.
static uint64_t world_random(struct world *self, uint32_t number) {
    if (self->options.no_election_spread) { return (number - 1) * UINT64_C(30) * MS; }
    return prng_next(&self->prng);
}

// --- disk

void world__log_put(struct world_log *log, const struct log_entry *entry) {
    ASSERT(entry->index == log->last + 1);
    ASSERT(log->last < WORLD_LOG_MAX);
    log_entry_ref(&log->items[log->last], entry);
    log->last++;
}

void world__log_cut(struct world_log *log, uint64_t from) {
    while (log->last >= from && log->last > log->base) {
        log->last--;
        log_entry_unref(&log->items[log->last]);
    }
}

void world__log_reset(struct world_log *log, uint64_t index) {
    world__log_cut(log, 1);
    log->base = index;
    log->last = index;
}

// lint: allow parameters: the signature of the port log_store.
static enum status store_read(void *ctx, struct shard_id shard, uint64_t low, uint64_t high,
                              uint32_t count_max, uint64_t size_max, struct log_entry *out,
                              uint32_t *out_count) {
    struct world_node *node = ctx;
    (void)shard;
    ASSERT(low < high);
    node->store_reads++;
    ASSERT(!node->unreadable);
    if (low <= node->trim_index || low <= node->view.base || low > node->view.last) {
        return STATUS_NOT_FOUND;
    }
    uint32_t count = 0;
    uint64_t size = 0;
    for (uint64_t i = low; i < high && i <= node->view.last && count < count_max; i++) {
        const struct log_entry *entry = &node->view.items[i - 1];
        size += entry->record.size;
        if (count > 0 && size > size_max) { break; }
        log_entry_ref(&out[count], entry);
        count++;
    }
    *out_count = count;
    return STATUS_OK;
}

static void submit(struct world_node *node, const struct raft_action *action) {
    struct world_write *write = mem_alloc(sizeof(*write));
    write->sequence = action->u.persist.sequence;
    write->truncate_from = action->u.persist.truncate_from;
    write->has_hard_state = action->u.persist.has_hard_state;
    write->hard_state = action->u.persist.hard_state;
    write->entry_count = action->u.persist.entry_count;
    write->base_index = action->u.persist.base_index;
    write->base_term = action->u.persist.base_term;
    if (write->base_index != 0) {
        write->base_membership = node->installed.membership;
        world__log_reset(&node->view, write->base_index);
        node->trim_index = write->base_index;
        node->trim_term = write->base_term;
    }
    if (write->truncate_from != 0) { world__log_cut(&node->view, write->truncate_from); }
    if (write->entry_count > 0) {
        write->entries = mem_alloc_array(write->entry_count, sizeof(*write->entries));
    }
    for (uint32_t i = 0; i < write->entry_count; i++) {
        const struct log_entry *entry = raft_entry(node->core, action->u.persist.first_index + i);
        ASSERT(entry != NULL);
        log_entry_ref(&write->entries[i], entry);
        world__log_put(&node->view, entry);
    }
    struct world_write **tail = &node->writes;
    while (*tail != NULL) {
        ASSERT((*tail)->sequence < write->sequence);
        tail = &(*tail)->next;
    }
    *tail = write;
}

static void write_free(struct world_write *write) {
    for (uint32_t i = 0; i < write->entry_count; i++) {
        log_entry_unref(&write->entries[i]);
    }
    mem_free(write->entries);
    mem_free(write);
}

static uint64_t write_to_disk(struct world_node *node) {
    struct world_write *write = node->writes;
    node->writes = write->next;
    if (write->base_index != 0) {
        world__log_reset(&node->disk, write->base_index);
        node->disk_trim_index = write->base_index;
        node->disk_trim_term = write->base_term;
        node->base = write->base_membership;
        node->damaged = false;
    }
    if (write->truncate_from != 0) { world__log_cut(&node->disk, write->truncate_from); }
    for (uint32_t i = 0; i < write->entry_count; i++) {
        world__log_put(&node->disk, &write->entries[i]);
    }
    if (write->has_hard_state) { node->hard_state = write->hard_state; }
    uint64_t sequence = write->sequence;
    write_free(write);
    return sequence;
}

// --- what must hold

static uint64_t payload_number(const struct log_entry *entry) {
    uint64_t number = 0;
    if (entry->payload.size >= sizeof(number)) {
        memcpy(&number, entry->payload.data, sizeof(number));
    }
    return number;
}

// State machine safety: whoever applies an index applies the same entry.
static void note_applied(struct world *self, const struct log_entry *entry) {
    uint64_t at = entry->index - 1;
    if (entry->index > self->committed) {
        ASSERT(entry->index == self->committed + 1);
        self->committed_terms[at] = entry->term;
        self->committed_payloads[at] = payload_number(entry);
        self->committed = entry->index;
    }
    ASSERT(self->committed_terms[at] == entry->term);
    ASSERT(self->committed_payloads[at] == payload_number(entry));
}

// Election safety and leader completeness, at the moment of the election.
static void note_leader(struct world_node *node) {
    struct world *self = node->world;
    uint64_t term = raft_term(node->core);
    ASSERT(term < WORLD_TERMS_MAX);
    ASSERT(self->leader_of[term] == 0);
    self->leader_of[term] = node->number;
    self->elections++;
    world__note_decision(node);
    world__check_majority(node, true);
    for (uint64_t i = 1; i <= self->committed; i++) {
        // The votes may have been so long under way that a later term has a leader already, which
        // committed more; this one will commit nothing.
        if (i <= node->trim_index || self->decided_in[i - 1] > term) { continue; }
        ASSERT(i <= node->disk.last);
        ASSERT(node->view.items[i - 1].term == self->committed_terms[i - 1]);
    }
}

static bool holds_lease(const struct world_node *node) {
    return node->up && world_node_now(node) < raft_lease_until_ns(node->core);
}

// While a leader holds a lease nobody leads a later term, and it knows all that clients were told.
static void check_leases(struct world *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        const struct world_node *a = &self->nodes[i];
        if (!holds_lease(a)) { continue; }
        ASSERT(raft_commit_index(a->core) >= self->leader_announced);
        for (uint32_t k = 0; k < self->count; k++) {
            const struct world_node *b = &self->nodes[k];
            if (b == a || !b->up || !raft_is_leader(b->core)) { continue; }
            ASSERT(raft_term(b->core) < raft_term(a->core));
        }
    }
}

void world_check_logs(const struct world *self) {
    for (uint32_t a = 0; a < self->count; a++) {
        for (uint32_t b = a + 1; b < self->count; b++) {
            const struct world_log *x = &self->nodes[a].view;
            const struct world_log *y = &self->nodes[b].view;
            bool same = false;
            uint64_t base = x->base > y->base ? x->base : y->base;
            for (uint64_t i = x->last < y->last ? x->last : y->last; i > base; i--) {
                const struct log_entry *p = &x->items[i - 1];
                const struct log_entry *q = &y->items[i - 1];
                same = same || p->term == q->term;
                if (!same) { continue; }
                ASSERT(p->term == q->term);
                ASSERT(payload_number(p) == payload_number(q));
            }
        }
    }
}

// --- the driver

static void propose_first(struct world_node *node) {
    enum status st = world_propose(node, 1, 0);
    ASSERT(st == STATUS_OK || st == STATUS_OVERLOADED || st == STATUS_UNAVAILABLE);
}

static void act_read(struct world_node *node, const struct raft_action *action) {
    uint64_t token = action->u.read.token;
    if (node->world->trace != NULL) {
        fprintf(node->world->trace, "  %u read %llu %s\n", node->number, (unsigned long long)token,
                action->u.read.confirmed ? "confirmed" : "lost");
    }
    if (!action->u.read.confirmed) {
        node->read_token_lost = token;
        return;
    }
    for (uint64_t t = node->read_token_ok + 1; t <= token; t++) {
        ASSERT(raft_commit_index(node->core) >= node->read_floor[t % 64]);
    }
    node->read_token_ok = token;
}

static void act_role(struct world_node *node, const struct raft_action *action) {
    if (node->world->trace != NULL) {
        fprintf(node->world->trace, "  %u is %s term=%llu leader=%u\n", node->number,
                world_role_name(action->u.role.role), (unsigned long long)action->u.role.term,
                action->u.role.leader.v);
    }
}

static void trace_persist(struct world_node *node, const struct raft_action *action) {
    FILE *out = node->world->trace;
    if (out == NULL) { return; }
    fprintf(out, "  %u write %llu:", node->number, (unsigned long long)action->u.persist.sequence);
    if (action->u.persist.has_hard_state) {
        fprintf(out, " term=%llu vote=%u", (unsigned long long)action->u.persist.hard_state.term,
                action->u.persist.hard_state.vote.v);
    }
    if (action->u.persist.base_index != 0) {
        fprintf(out, " base=%llu/%llu", (unsigned long long)action->u.persist.base_index,
                (unsigned long long)action->u.persist.base_term);
    }
    if (action->u.persist.truncate_from != 0) {
        fprintf(out, " cut=%llu", (unsigned long long)action->u.persist.truncate_from);
    }
    if (action->u.persist.entry_count > 0) {
        uint64_t first = action->u.persist.first_index;
        fprintf(out, " entries=%llu..%llu", (unsigned long long)first,
                (unsigned long long)first + action->u.persist.entry_count - 1);
    }
    fputc('\n', out);
}

static void act(struct world_node *node, const struct raft_action *action) {
    switch (action->type) {
    case RAFT_ACTION_PERSIST:
        trace_persist(node, action);
        submit(node, action);
        break;
    case RAFT_ACTION_SEND:
        if (action->u.send.after_sequence != 0) {
            world__hold(node, action);
        } else {
            world__send_message(node, &action->u.send.message, action->u.send.first_index);
        }
        break;
    case RAFT_ACTION_COMMIT:
        if (node->world->trace != NULL) {
            fprintf(node->world->trace, "  %u commit %llu\n", node->number,
                    (unsigned long long)action->u.commit_index);
        }
        if (raft_is_leader(node->core) && action->u.commit_index > node->world->leader_announced) {
            node->world->leader_announced = action->u.commit_index;
        }
        break;
    case RAFT_ACTION_READ:
        act_read(node, action);
        break;
    case RAFT_ACTION_ROLE:
        act_role(node, action);
        break;
    case RAFT_ACTION_MEMBERSHIP:
        world__act_members(node);
        break;
    case RAFT_ACTION_SNAPSHOT:
        world__act_snapshot(node, action);
        break;
    case RAFT_ACTION_TYPE_COUNT:
        ASSERT(false);
    }
}

static void note_decided(struct world_node *node) {
    struct world *self = node->world;
    while (self->decided < node->core->commit) {
        self->decided_in[self->decided] = raft_term(node->core);
        self->decided++;
    }
}

enum status world_step(struct world_node *node, struct raft_event *event) {
    ASSERT(node->up);
    struct raft_action items[RAFT_ACTIONS_MAX];
    struct raft_actions actions = {.items = items, .count = 0, .count_max = RAFT_ACTIONS_MAX};
    event->now_ns = world_node_now(node);
    event->random = world_random(node->world, node->number);
    bool led = raft_is_leader(node->core);
    uint64_t commit = node->core->commit;
    enum status st = raft_core_step(node->core, event, &actions);
    raft_check(node->core);
    if (led || raft_is_leader(node->core)) { note_decided(node); }
    if (raft_is_leader(node->core) && node->core->commit > commit) {
        world__note_decision(node);
        world__check_majority(node, false);
    }
    for (uint32_t i = 0; i < actions.count; i++) {
        act(node, &items[i]);
    }
    ASSERT(node->view.last == raft_last_index(node->core));
    if (!led && raft_is_leader(node->core)) {
        note_leader(node);
        if (!node->world->first_entry_by_hand) { propose_first(node); }
    }
    if (!node->world->apply_by_hand) { world_apply(node); }
    world__snapshots_send(node);
    check_leases(node->world);
    return st;
}

void world_apply(struct world_node *node) {
    bool holds = !node->hollow && !node->unreadable;
    if (!holds || node->applied == raft_commit_index(node->core)) { return; }
    while (node->applied < raft_commit_index(node->core)) {
        const struct log_entry *entry = raft_entry(node->core, node->applied + 1);
        if (entry == NULL) { entry = &node->view.items[node->applied]; }
        note_applied(node->world, entry);
        node->applied++;
    }
    struct raft_event event = {.type = RAFT_EVENT_APPLIED};
    event.u.applied_index = node->applied;
    enum status st = world_step(node, &event);
    ASSERT(st == STATUS_OK);
}

void world_tick(struct world_node *node) {
    struct raft_event event = {.type = RAFT_EVENT_TICK};
    enum status st = world_step(node, &event);
    ASSERT(st == STATUS_OK);
}

enum status world_propose(struct world_node *node, uint32_t count, uint32_t payload_size) {
    struct log_entry entries[64] = {{0}};
    uint8_t payload[4096] = {0};
    ASSERT(count <= 64 && payload_size <= sizeof(payload));
    for (uint32_t i = 0; i < count; i++) {
        node->world->payloads++;
        memcpy(payload, &node->world->payloads, sizeof(node->world->payloads));
        entries[i].index = raft_last_index(node->core) + 1 + i;
        entries[i].term = raft_term(node->core) == 0 ? 1 : raft_term(node->core);
        entries[i].kind = payload_size == 0 ? LOG_ENTRY_EMPTY : LOG_ENTRY_COMMAND;
        entries[i].payload = slice_make(payload, payload_size);
        log_entry_seal(&entries[i]);
    }
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE};
    event.u.propose.entries = entries;
    event.u.propose.count = count;
    enum status st = world_step(node, &event);
    for (uint32_t i = 0; i < count; i++) {
        log_entry_unref(&entries[i]);
    }
    return st;
}

enum status world_read(struct world_node *node) {
    struct raft_event event = {.type = RAFT_EVENT_READ};
    event.u.read_token = node->read_tokens + 1;
    if (node->read_tokens + 1 - node->read_token_ok >= 64) { return STATUS_OVERLOADED; }
    node->read_floor[(node->read_tokens + 1) % 64] = node->world->leader_announced;
    if (raft_is_leader(node->core)) { node->read_tokens++; }
    return world_step(node, &event);
}

void world_sync(struct world_node *node, uint32_t count) {
    if (!node->up) { return; }
    for (uint32_t i = 0; node->writes != NULL && (count == 0 || i < count); i++) {
        uint64_t sequence = write_to_disk(node);
        struct raft_event event = {.type = RAFT_EVENT_PERSISTED};
        event.u.persisted_sequence = sequence;
        world__release_held(node, sequence);
        world__tell_installed(node, sequence);
        enum status st = world_step(node, &event);
        ASSERT(st == STATUS_OK);
    }
}

void world_expire(struct world_node *node) {
    struct node_id lapsed[SUPPORT_PEERS_MAX];
    uint32_t count = support_expire(&node->support, world_node_now(node), lapsed);
    for (uint32_t i = 0; i < count; i++) {
        struct raft_event event = {.type = RAFT_EVENT_LEADER_LOST};
        event.u.lost.node = lapsed[i];
        enum status st = world_step(node, &event);
        ASSERT(st == STATUS_OK);
    }
    if (count > 0 && raft_is_leader(node->core)) { world_tick(node); }
}

void world_advance(struct world *self, uint64_t ns) {
    uint64_t end = self->now_ns + ns;
    while (self->now_ns < end) {
        uint64_t step = end - self->now_ns < MS ? end - self->now_ns : MS;
        self->now_ns += step;
        for (uint32_t i = 0; i < self->count; i++) {
            struct world_node *node = &self->nodes[i];
            if (!node->up) { continue; }
            if (node->paused) { continue; }
            world_expire(node);
            world__snapshots_expire(node);
            if (world_node_now(node) >= raft_deadline_ns(node->core)) { world_tick(node); }
        }
        check_leases(self);
    }
}

// --- life and death

enum status world__open(struct world_node *node, uint64_t flushed) {
    struct world *self = node->world;
    const struct world_options *o = &self->options;
    ASSERT(node->exists);
    node->up = true;
    node->boot++;
    struct support_config support = {
        .self = {node->number},
        .boot = node->boot,
        .duration_ns = UINT64_C(1000) * MS,
        .interval_ns = UINT64_C(100) * MS,
        .now_ns = world_node_now(node),
    };
    support_init(&node->support, &support);
    for (uint32_t i = 1; i <= self->count; i++) {
        if (i != node->number) { ASSERT(support_add_peer(&node->support, (struct node_id){i})); }
    }
    static struct raft_config_entry configs[WORLD_LOG_MAX];
    struct raft_config config = {
        .shard = {7},
        .self = {node->number},
        .incarnation = node->incarnation,
        .health = node->damaged  ? RAFT_DAMAGED
                  : node->hollow ? RAFT_HOLLOW
                                 : RAFT_WHOLE,
        .configs = configs,
        .config_count = world__memberships(node, configs, WORLD_LOG_MAX),
        .support = &node->support,
        .log = &node->store,
        .applied = flushed,
        .election_ns_min = UINT64_C(150) * MS,
        .resend_ns = UINT64_C(100) * MS,
        .inflight_messages_max = o->inflight_messages_max == 0 ? 256 : o->inflight_messages_max,
        .append_size_max = o->append_size_max == 0 ? 1 << 20 : o->append_size_max,
        .cache_count_max = o->cache_count_max == 0 ? 256 : o->cache_count_max,
        .cache_size_max = o->cache_size_max == 0 ? 1 << 20 : o->cache_size_max,
    };
    config.bounds = (struct log_bounds){
        .hard_state = node->hard_state,
        .trim_index = node->trim_index,
        .trim_term = node->trim_term,
        .last_index = node->disk.last,
    };
    node->unreadable = node->damaged;
    node->applied = flushed;
    node->read_token_ok = 0;
    node->read_tokens = 0;
    return raft_create(&config, world_node_now(node), world_random(self, node->number),
                       &node->core);
}

struct world *world_create(const struct world_options *options) {
    struct world *self = mem_alloc(sizeof(*self));
    self->options = *options;
    self->count = options->voters + options->learners + options->spares;
    ASSERT(self->count <= WORLD_NODES_MAX);
    self->now_ns = UINT64_C(10000) * MS;
    prng_init(&self->prng, options->seed);
    for (uint32_t i = 0; i < self->count; i++) {
        struct world_node *node = &self->nodes[i];
        node->world = self;
        node->number = i + 1;
        node->rate = 1000;
        if (options->random_rates) {
            // Often the extremes: there the margin of a lease is smallest.
            uint64_t pick = prng_below(&self->prng, 4);
            node->rate = pick == 0 ? 900 : pick == 1 ? 1100 : prng_between(&self->prng, 900, 1100);
        }
        node->store = (struct log_store){.ctx = node, .read = store_read};
        uint32_t members = options->voters + options->learners;
        if (i >= members) { continue; }
        node->exists = true;
        node->incarnation = 1;
        node->base = (struct raft_membership){.config_epoch = 1, .count = members};
        for (uint32_t k = 0; k < members; k++) {
            node->base.members[k] =
                (struct raft_member){.node = {k + 1},
                                     .incarnation = 1,
                                     .role = k < options->voters ? RAFT_VOTER : RAFT_LEARNER};
        }
        enum status st = world__open(node, 0);
        ASSERT(st == STATUS_OK);
    }
    return self;
}

void world_crash(struct world_node *node) {
    ASSERT(node->up);
    raft_destroy(node->core);
    node->core = NULL;
    node->up = false;
    while (node->writes != NULL) {
        struct world_write *write = node->writes;
        node->writes = write->next;
        write_free(write);
    }
    while (node->held != NULL) {
        struct world_held *held = node->held;
        node->held = held->next;
        mem_free(held);
    }
    node->receiving = (struct world_snapshot){0};
    memset(node->sending, 0, sizeof(node->sending));
    node->telling = (struct world_snapshot){0};
    node->trim_index = node->disk_trim_index;
    node->trim_term = node->disk_trim_term;
    world__recover_log(node);
    world__log_reset(&node->view, node->disk.base);
    for (uint64_t i = node->disk.base; i < node->disk.last; i++) {
        world__log_put(&node->view, &node->disk.items[i]);
    }
}

enum status world_restart(struct world_node *node, uint64_t flushed) {
    ASSERT(!node->up);
    ASSERT_IF(!node->damaged, flushed <= node->disk.last);
    enum status st = world__open(node, flushed);
    if (st != STATUS_OK) { node->up = false; }
    return st;
}

void world_set_log(struct world_node *node, const uint64_t *terms, uint32_t count, uint64_t term) {
    if (node->up) { world_crash(node); }
    world__log_cut(&node->view, 1);
    world__log_cut(&node->disk, 1);
    for (uint32_t i = 0; i < count; i++) {
        // Equal index and term must mean the same entry.
        uint64_t payload[1] = {terms[i] * 1000 + i};
        struct log_entry entry = {.index = i + 1,
                                  .term = terms[i],
                                  .kind = LOG_ENTRY_COMMAND,
                                  .payload = slice_make(payload, sizeof(payload))};
        log_entry_seal(&entry);
        world__log_put(&node->view, &entry);
        world__log_put(&node->disk, &entry);
        log_entry_unref(&entry);
    }
    node->hard_state = (struct log_hard_state){.term = term};
    node->boot = 0;  // such a log stands for a history without promises
    enum status st = world_restart(node, 0);
    ASSERT(st == STATUS_OK);
}

void world_destroy(struct world *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        struct world_node *node = &self->nodes[i];
        if (node->up) { world_crash(node); }
        world__log_cut(&node->view, 1);
        world__log_cut(&node->disk, 1);
    }
    while (self->packets != NULL) {
        world_drop(self, self->packets);
    }
    mem_free(self);
}

struct world_node *world_leader(struct world *self) {
    struct world_node *leader = NULL;
    for (uint32_t i = 0; i < self->count; i++) {
        struct world_node *node = &self->nodes[i];
        if (!node->up || !raft_is_leader(node->core)) { continue; }
        if (leader == NULL || raft_term(node->core) > raft_term(leader->core)) { leader = node; }
    }
    return leader;
}

void world_elect(struct world *self, uint32_t number) {
    struct raft_event event = {.type = RAFT_EVENT_CAMPAIGN};
    enum status st = world_step(world_at(self, number), &event);
    ASSERT(st == STATUS_OK);
    bool settled = world_settle(self);
    ASSERT(settled);
    ASSERT(raft_is_leader(world_at(self, number)->core));
}
