// SPDX-License-Identifier: Apache-2.0
// A run has phases: the members bootstrap the catalogue, every node registers, a keyspace is made
// by a real catalogue command; clients run alone, then with faults; everything heals, and what is
// outstanding must end, every key must be readable and every shard writable, all replicas must
// become equal; then the history is audited. Each wait is bounded in virtual time: to be late is to
// have failed.
#include "tests/sim/world.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/log.h"
#include "tests/sim/damage.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SECOND         UINT64_C(1000000000)
#define CHANGES_END_NS (4 * SECOND)
enum { EVENTS_AT_ONCE_MAX = 200000, EVENTS_MAX = 20000000, LINEAR_STEPS_MAX = 300000 };

// --- Failures and notes ---

void sim_fail(struct sim_world *self, const char *format, ...) {
    if (self->failed) { return; }
    self->failed = true;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(self->failure, sizeof(self->failure), format, args);
    va_end(args);
}

void sim_note(struct sim_world *self, struct sim_node *node, enum sim_trace_kind kind,
              const char *what, const uint64_t values[3]) {
    struct sim_trace_line line = {.now_ns = self->now_ns,
                                  .kind = kind,
                                  .what = what,
                                  .a = values[0],
                                  .b = values[1],
                                  .c = values[2]};
    if (node != NULL) {
        line.node = node->id.v;
        line.hlc = node->causal;
        if (node->core != NULL) {
            line.hlc = hlc_larger(line.hlc, node_core_hlc(node->core)->last);
        }
        node->causal = line.hlc;
        self->line_hlc = line.hlc;
    } else {
        line.hlc = self->line_hlc;
    }
    sim_trace_add(&self->trace, &line);
}

static void on_log_line(void *ctx, enum log_level level, const char *line, size_t size) {
    struct sim_world *self = ctx;
    if (self->trace.echo) { (void)printf("%.*s", (int)size, line); }
    if (level != LOG_LEVEL_ERROR) { return; }
    sim_fail(self, "a line at ERROR: %.*s", (int)size - 1, line);
}

static uint64_t log_time(void *ctx) {
    const struct sim_world *self = ctx;
    return self->now_ns / 1000;
}

// A node that cannot trust its disk stops its process (FATAL). If the disk was damaged on purpose
// that is well done: the node is down, and the world goes on.
static void on_stop(void *ctx, const char *reason) {
    struct sim_world *self = ctx;
    bool own = strncmp(reason, "FATAL", 5) == 0 && self->armed;
    if (own && self->acting != NULL && (self->acting->damaged || self->acting->data_full)) {
        if (self->trace.echo) { (void)printf("node %u: %s\n", self->acting->id.v, reason); }
        stop_set_hook(on_stop, self);  // once more
        longjmp(self->stopped, 1);
    }
    sim_trace_print(&self->trace, SIM_TIMELINE_LINES);
    sim_checks_print(&self->checks);
    (void)printf("FAILED seed=%" PRIu64 " at %.6f s: %s\n", self->plan.seed,
                 (double)self->now_ns / 1e9, reason);
    (void)fflush(stdout);
}

// --- Events ---

struct sim_node *sim_world_node(const struct sim_world *self, struct node_id id) {
    for (uint32_t i = 0; i < self->plan.node_count; i++) {
        if (node_id_equal(self->nodes[i].id, id)) { return (struct sim_node *)&self->nodes[i]; }
    }
    return NULL;
}

void sim_world_put(struct sim_world *self, struct sim_event *event, uint64_t at_ns) {
    ASSERT(event->fire != NULL);
    ASSERT(at_ns >= self->now_ns);
    heap_put(&self->heap, &event->heap, at_ns);
}

void sim_world_cancel(struct sim_world *self, struct sim_event *event) {
    heap_remove(&self->heap, &event->heap);
}

static void step(struct sim_world *self) {
    struct sim_event *event = (struct sim_event *)heap_peek(&self->heap);
    uint64_t at = event->heap.key;
    self->events_at_once = at == self->now_ns ? self->events_at_once + 1 : 0;
    self->events++;
    self->now_ns = at;
    if (self->events_at_once > EVENTS_AT_ONCE_MAX || self->events > EVENTS_MAX) {
        sim_fail(self, "livelock: %" PRIu64 " events, %" PRIu64 " of them at one instant",
                 self->events, self->events_at_once);
        return;
    }
    if (event->node != NULL && sim_node_is_paused(event->node)) {
        heap_put(&self->heap, &event->heap, event->node->paused_until_ns);
        return;
    }
    heap_remove(&self->heap, &event->heap);
    self->acting = event->node;
    event->fire(self, event);
    for (uint32_t i = 0; self->touched > 0; i = (i + 1) % self->plan.node_count) {
        sim_node_turn(&self->nodes[i]);  // may touch itself again, by a call that ends in it
    }
}

static bool advance(struct sim_world *self, uint64_t end,
                    bool (*condition)(struct sim_world *self)) {
    uint32_t since = 0;
    while (!self->failed) {
        // Conditions look at the whole world: not after every event.
        if (since++ % 16 == 0 && condition(self)) { return true; }
        struct heap_node *first = heap_peek(&self->heap);
        if (first == NULL || first->key > end) { break; }
        step(self);
    }
    return false;
}

bool sim_world_until(struct sim_world *self, uint64_t for_ns,
                     bool (*condition)(struct sim_world *self)) {
    const uint64_t end = self->now_ns + for_ns;
    if (setjmp(self->stopped) != 0) { sim_node_fell(self->acting); }
    self->armed = true;
    const bool met = advance(self, end, condition);
    self->armed = false;
    if (met) { return true; }
    self->now_ns = end > self->now_ns && !self->failed ? end : self->now_ns;
    return !self->failed && condition(self);
}

static bool never(struct sim_world *self) {
    (void)self;
    return false;
}

// --- Life ---

static void world_init(struct sim_world *self, const struct sim_plan *plan, bool echo) {
    self->plan = *plan;
    self->now_ns = SECOND;
    heap_init(&self->heap);
    sim_trace_init(&self->trace, echo);
    sim_net_init(&self->net, self);
    sim_faults_init(&self->faults, self);
    sim_checks_init(&self->checks, self);
    sim_waits_init(&self->waits, self);
    sim_operator_init(&self->operator, self);
    sim_storm_init(&self->storm, self);
    sim_history_init(&self->history);
    log_set_sink(on_log_line, self);
    log_set_clock(log_time, self);
    log_set_level(echo ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN);
    stop_set_hook(on_stop, self);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        sim_node_init(&self->nodes[i], self, i);
    }
    sim_call_init(&self->setup, self);
    for (uint32_t i = 0; i <= plan->client_count; i++) {
        sim_client_init(&self->clients[i], self, i);
    }
    sim_txn_init(&self->txns, self);
}

// Messages under way are the only events that own memory; delivering to a node that is down frees
// them.
static void world_deinit(struct sim_world *self) {
    sim_faults_stop(&self->faults);
    for (uint32_t i = 0; i < self->plan.node_count; i++) {
        sim_node_deinit(&self->nodes[i]);
    }
    for (uint32_t i = 0; i <= self->plan.client_count; i++) {
        sim_client_deinit(&self->clients[i]);
    }
    sim_storm_deinit(&self->storm);
    sim_txn_deinit(&self->txns);
    sim_call_deinit(&self->setup);
    sim_operator_deinit(&self->operator);
    while (heap_peek(&self->heap) != NULL) {
        struct sim_event *event = (struct sim_event *)heap_peek(&self->heap);
        heap_remove(&self->heap, &event->heap);
        event->fire(self, event);
    }
    heap_deinit(&self->heap);
    sim_checks_deinit(&self->checks);
    sim_history_deinit(&self->history);
    log_set_sink(NULL, NULL);
    log_set_clock(NULL, NULL);
    stop_set_hook(NULL, NULL);
}

// --- Phases ---

static bool all_registered(struct sim_world *self) {
    for (uint32_t i = 0; i < self->plan.node_count; i++) {
        const struct sim_node *node = &self->nodes[i];
        if (!node->up || !node_core_is_registered(node->core)) { return false; }
    }
    return true;
}

static bool shards_led(struct sim_world *self) {
    uint32_t led = 0;
    for (uint32_t s = 0; s < self->checks.shard_count; s++) {
        for (uint32_t i = 0; i < self->plan.node_count; i++) {
            struct replica *replica =
                replica_table_find(node_core_table(self->nodes[i].core), self->checks.shards[s].id);
            if (replica != NULL && replica_is_leader(replica)) {
                led++;
                break;
            }
        }
    }
    return led == self->plan.shard_count + 1;
}

static bool keyspace_made(struct sim_world *self) {
    for (uint32_t i = 0; i < self->plan.node_count; i++) {
        const struct catalog_keyspace *keyspace =
            catalog_keyspace_by_name(node_core_catalog(self->nodes[i].core), SLICE_LITERAL("sim"));
        if (keyspace == NULL) { return false; }
        self->keyspace = keyspace->id;
    }
    return true;
}

static bool calls_ended(struct sim_world *self) {
    return self->calls == NULL;
}

static bool clients_idle(struct sim_world *self) {
    for (uint32_t i = 0; i <= self->plan.client_count; i++) {
        if (!sim_client_is_idle(&self->clients[i])) { return false; }
    }
    return sim_txn_is_idle(&self->txns);
}

static bool converged(struct sim_world *self) {
    return sim_checks_converged(&self->checks);
}

static void join_done(struct sim_call *call, const struct session_result *result) {
    struct catalog_result joined = {0};
    enum status st = result == NULL ? STATUS_CANCELLED : result->status;
    if (st == STATUS_OK) { st = catalog_result_decode(result->payload, &joined); }
    if (st != STATUS_OK) {
        sim_fail(call->world, "a node cannot join: %s", status_name(st));
        return;
    }
    for (uint32_t i = 0; i < call->world->plan.node_count; i++) {
        struct sim_node *node = &call->world->nodes[i];
        if (node->id.v != 0) { continue; }
        node->id = (struct node_id){(uint32_t)joined.id};
        sim_node_start(node);
        return;
    }
}

// A node that is no founding member asks a member for an id first.
static void join(struct sim_world *self, struct sim_node *node, struct sim_call *call) {
    struct catalog_register_node command = {0};
    sim_node_describe(node, &command.node);
    struct codec_writer w;
    buf_reset(&call->payload);
    codec_writer_init(&w, &call->payload);
    catalog_register_node_encode(&w, &command);
    ASSERT(w.status == STATUS_OK);
    call->call.kind = COMMAND_CATALOG;
    call->budget_ns = 10 * SECOND;
    call->done = join_done;
    sim_call_begin(call, &self->nodes[0], 0);
}

static void create_done(struct sim_call *call, const struct session_result *result) {
    // It exists already when the gateway asked twice, and the first answer was lost.
    bool made =
        result != NULL && (result->status == STATUS_OK || result->status == STATUS_ALREADY_EXISTS);
    if (!made) {
        sim_fail(call->world, "the keyspace cannot be created: %s",
                 result == NULL ? "no answer" : status_name(result->status));
    }
}

// Shard i holds the keys that begin with the letter 'a' + i.
static void create_keyspace(struct sim_world *self, struct sim_call *call) {
    static const char letters[] = "bcdefghijk";
    struct slice splits[SIM_SHARDS_MAX];
    struct catalog_create_keyspace command = {.name = "sim",
                                              .replicas = self->plan.replicas,
                                              .shard_count = self->plan.shard_count,
                                              .split_count = self->plan.shard_count - 1,
                                              .splits = splits};
    for (uint32_t i = 0; i + 1 < self->plan.shard_count; i++) {
        splits[i] = slice_make(&letters[i], 1);
    }
    struct codec_writer w;
    buf_reset(&call->payload);
    codec_writer_init(&w, &call->payload);
    catalog_create_keyspace_encode(&w, &command);
    ASSERT(w.status == STATUS_OK);
    call->call.kind = COMMAND_CATALOG;
    call->budget_ns = 10 * SECOND;
    call->done = create_done;
    sim_call_begin(call, &self->nodes[self->plan.node_count - 1], 0);
}

static bool within(struct sim_world *self, uint64_t seconds,
                   bool (*condition)(struct sim_world *self), const char *what) {
    SIM_NOTE(self, NULL, SIM_TRACE_PHASE, what, 0, 0, 0);
    if (sim_world_until(self, seconds * SECOND, condition)) { return true; }
    sim_fail(self, "within %" PRIu64 " s of virtual time: not %s", seconds, what);
    return false;
}

static void bootstrap(struct sim_world *self) {
    struct sim_call *call = &self->setup;
    self->net.calm = true;
    for (uint32_t i = 0; i < self->plan.member_count; i++) {
        sim_node_start(&self->nodes[i]);
    }
    for (uint32_t i = self->plan.member_count; i < self->plan.node_count; i++) {
        join(self, &self->nodes[i], call);
        if (!within(self, 20, calls_ended, "joined")) { break; }
    }
    if (within(self, 20, all_registered, "all registered")) {
        create_keyspace(self, call);
        if (within(self, 10, keyspace_made, "keyspace known everywhere")) {
            (void)within(self, 10, shards_led, "every shard led");
        }
        (void)within(self, 11, calls_ended, "call ended");
    }
    self->net.calm = false;
}

static void load(struct sim_world *self) {
    if (self->failed) { return; }
    SIM_NOTE(self, NULL, SIM_TRACE_PHASE, "load", 0, 0, 0);
    for (uint32_t i = 0; i < self->plan.client_count; i++) {
        sim_client_start(&self->clients[i]);
    }
    sim_txn_start(&self->txns);
    (void)sim_world_until(self, self->plan.warm_ns, never);
    SIM_NOTE(self, NULL, SIM_TRACE_PHASE, "faults", 0, 0, 0);
    sim_faults_start(&self->faults);
    sim_operator_start(&self->operator);
    sim_storm_start(&self->storm);
    (void)sim_world_until(self, self->plan.fault_ns, never);
}

// Whether a set of nodes leaves a group the majority of its voters. One that is hollow counts as
// missed, as a damaged node does: it votes and stores and cannot lead or answer, so a group most of
// whose voters are hollow waits for those that are not (docs/LIMITS.md), which must not be broken
// for good then. (Seed 104886: two of three were receiving snapshots from the third.)
static bool spares(const struct sim_world *self, const struct shard_descriptor *at,
                   uint32_t broken) {
    uint32_t voters = 0;
    uint32_t left = 0;
    for (uint32_t i = 0; i < at->replica_count; i++) {
        if (at->replicas[i].role != SHARD_VOTER) { continue; }
        voters++;
        for (uint32_t n = 0; n < self->plan.node_count; n++) {
            bool here = node_id_equal(self->nodes[n].id, at->replicas[i].node);
            bool holds = here && !sim_checks_is_hollow(&self->checks, &self->nodes[n], at->id);
            left += holds && (broken >> n & 1) == 0;
        }
    }
    return left > voters / 2;
}

static bool spares_all(const struct sim_world *self, const struct catalog *catalog,
                       uint32_t broken) {
    for (uint32_t s = 0; s < catalog_shard_count(catalog); s++) {
        if (!spares(self, catalog_shard_at(catalog, s), broken)) { return false; }
    }
    return true;
}

// As many nodes as can be missed, drawn from the plan: liveness must not need them.
static uint32_t draw_broken(struct sim_world *self) {
    const struct catalog *catalog = sim_newest_catalog(self);
    if (catalog == NULL || self->plan.heal_all) { return 0; }
    uint32_t broken = 0;
    for (uint32_t i = 0; i < self->plan.node_count; i++) {
        // What is being healed needs the others: it counts as missed, and nothing is broken.
        if (self->nodes[i].damaged || self->nodes[i].id.v == 0) { return 0; }
    }
    for (uint32_t s = 0; s < catalog_shard_count(catalog); s++) {
        const struct shard_descriptor *at = catalog_shard_at(catalog, s);
        if (at->target_count > 0 || shard_descriptor_is_joint(at)) { return 0; }
    }
    uint32_t first = (uint32_t)(hash64_u64(self->plan.seed) % self->plan.node_count);
    for (uint32_t i = 0; i < self->plan.node_count; i++) {
        uint32_t more = broken | UINT32_C(1) << (first + i) % self->plan.node_count;
        if (spares_all(self, catalog, more)) { broken = more; }
    }
    return broken;
}

// What was asked of the members last may still be on its way: whoever is broken is drawn when that
// is known, lest a shard be sent to just these nodes.
static void end_changes(struct sim_world *self) {
    self->operator.change = false;
    sim_faults_pause(&self->faults);
    bool members = (self->plan.faults >> SIM_FAULT_MEMBERS & 1) != 0;
    if (members) { (void)sim_world_until(self, CHANGES_END_NS, never); }
}

static bool settle_majority(struct sim_world *self) {
    end_changes(self);
    self->broken = draw_broken(self);
    sim_faults_heal_but(&self->faults, self->broken);
    if (!within(self, 15, clients_idle, "all calls ended")) { return false; }
    sim_client_finish(&self->clients[self->plan.client_count]);
    sim_txn_finish(&self->txns);
    uint64_t longest = self->plan.clock_hours ? 100 : 40;
    return within(self, longest, clients_idle, "a write and a read on every shard");
}

static void settle(struct sim_world *self) {
    if (self->failed) { return; }
    self->clients_stop = true;
    if (!settle_majority(self)) { return; }
    self->broken = 0;
    sim_faults_heal(&self->faults);
    if (!within(self, 20, converged, "all replicas equal")) { return; }
    sim_checks_equality(&self->checks);
}

// --- The audit ---

struct version_list {
    struct sim_version *items;
    uint32_t count;
    uint32_t capacity;
};

// Walks the versions of a key on one node from the newest to the oldest, then turns them round.
static void read_versions(struct sim_world *self, uint32_t key, struct version_list *list) {
    uint8_t space[SIM_KEY_SIZE];
    struct slice full = sim_key(self, key, space);
    const struct shard_descriptor *shard =
        shard_map_find(catalog_shard_map(node_core_catalog(self->nodes[0].core)), full);
    ASSERT(shard != NULL);
    struct sim_node *node = sim_checks_holder(&self->checks, shard->id);
    ASSERT(node != NULL);
    struct mvcc_reader *reader = apply_reader(node_core_apply(node->core));
    struct hlc_ts at = HLC_MAX;
    for (;;) {
        struct mvcc_version version = {0};
        enum status st = mvcc_read(reader, full, at, &version);
        ASSERT(st == STATUS_OK || st == STATUS_NOT_FOUND);
        if (version.ts.v == 0) { break; }
        if (list->count == list->capacity) {
            list->capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
            list->items = mem_realloc(list->items, list->capacity * sizeof(*list->items));
        }
        list->items[list->count++] =
            (struct sim_version){version.ts, st == STATUS_OK ? sim_value_decode(version.value) : 0};
        at = (struct hlc_ts){version.ts.v - 1};
    }
    for (uint32_t i = 0; i < list->count / 2; i++) {
        struct sim_version swap = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = swap;
    }
}

static void audit(struct sim_world *self, struct sim_result *out) {
    if (self->failed) { return; }
    uint32_t keys = self->plan.shard_count * self->plan.keys_per_shard;
    struct version_list *lists = mem_alloc_array(keys, sizeof(*lists));
    struct sim_versions *versions = mem_alloc_array(keys, sizeof(*versions));
    for (uint32_t key = 0; key < keys; key++) {
        read_versions(self, key, &lists[key]);
        versions[key] = (struct sim_versions){lists[key].items, lists[key].count};
    }
    struct sim_audit audit = {.history = &self->history,
                              .key_count = keys,
                              .versions = versions,
                              .steps_max = LINEAR_STEPS_MAX};
    if (!sim_audit(&audit)) { sim_fail(self, "%s", audit.failure); }
    out->undecided = audit.undecided;
    sim_txn_audit(&self->txns);
    for (uint32_t key = 0; key < keys; key++) {
        mem_free(lists[key].items);
    }
    mem_free(lists);
    mem_free(versions);
}

static void fill_result(struct sim_world *self, struct sim_result *out) {
    out->failed = self->failed;
    memcpy(out->failure, self->failure, sizeof(out->failure));
    out->hash = self->trace.hash;
    out->events = self->events;
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        out->faults += self->faults.counts[i];
    }
    out->virtual_ns = self->now_ns;
    out->ops = self->history.count;
    out->stats = self->stats;
    out->txns = self->txns.stats;
    out->restarts = self->restarts;
    out->applied = self->checks.applied;
    out->digests = self->checks.digests;
    for (uint32_t i = 0; i < self->checks.shard_count; i++) {
        out->leader_changes += self->checks.shards[i].leader_changes;
    }
}

void sim_run(const struct sim_plan *plan, bool echo, struct sim_result *out) {
    struct sim_world *self = mem_alloc(sizeof(*self));
    *out = (struct sim_result){0};
    world_init(self, plan, echo);
    bootstrap(self);
    load(self);
    settle(self);
    audit(self, out);
    fill_result(self, out);
    if (self->failed) { on_stop(self, self->failure); }
    world_deinit(self);
    mem_free(self);
}
