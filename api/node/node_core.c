// SPDX-License-Identifier: Apache-2.0
// node_core.c - composes the sans-IO parts of a node and routes events to them.
//
// The order of a turn matters: first whatever the catalogue brought (new replicas open), then the
// groups and the gateway until nothing is
// left to do at this instant, then one group commit for all shards.

#include "api/node/node_core.h"

#include "api/node/node_core_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "storage/mvcc/mvcc.h"

#include <assert.h>
#include <string.h>

enum {
    NODE_SCRATCH_SIZE_MAX = 64 << 20,
    NODE_COLLECT_MAX = 200,  // kept outcomes looked at in one round of gossip
    CATALOG_NEWS_NS = 10000000,
};

void node_core_config_defaults(struct node_core_config *config) {
    *config = (struct node_core_config){
        .boot = 1,
        .support_duration_ns = 700000000,
        .support_interval_ns = 100000000,
        .election_ns_min = 150000000,
        .resend_ns = 100000000,
        .clock_lead_us_max = 1000000,
        .ceiling_window_us = 400000,
        .frontier_interval_ns = 20000000,
        .gossip_interval_ns = 100000000,
        .calls_max = 16384,
        .served_max = 16384,
        .txns_max = 8192,
        .recoveries_max = 4096,
        .trace_events = 1 << 12,
        .shard_pending_max = 4096,
        .shard_pending_size_max = 64 << 20,
        .trim_lag_max = REPLICA_TRIM_LAG_MAX,
        .digest_interval_ns = 10000000000,
        .digest_bytes_per_s = REPLICA_DIGEST_BYTES_PER_S,
    };
}

bool node_core__is_member(const struct node_core *self, struct node_id node) {
    for (uint32_t i = 0; i < self->config.member_count; i++) {
        if (node_id_equal(self->config.members[i], node)) { return true; }
    }
    return false;
}

static const struct state_machine *machine_for(void *ctx, struct shard_id shard) {
    struct node_core *self = ctx;
    if (shard_id_equal(shard, SHARD_CATALOG)) {
        return catalog_machine_port(self->catalog_machine);
    }
    node_core__describe_shard(self, shard);
    return apply_machine(self->apply);
}

static void on_leader_changed(void *ctx, struct shard_id shard, struct node_id leader,
                              uint64_t term) {
    struct node_core *self = ctx;
    shard_map_note_leader(catalog_shard_map(self->catalog), shard, leader, term);
    if (self->session != NULL) { session_on_leader(self->session, shard, leader, term); }
    if (node_id_equal(leader, self->config.self.id)) { node_core__watch(self, shard); }
}

static void on_members_changed(void *ctx, struct shard_id shard) {
    node_core__watch(ctx, shard);
}

static void on_catalog_applied(void *ctx) {
    struct node_core *self = ctx;
    self->catalog_dirty = true;
}

static uint32_t catalog_nodes(void *ctx, struct node_id *out_nodes) {
    const struct node_core *self = ctx;
    memcpy(out_nodes, self->config.members, self->config.member_count * sizeof(*out_nodes));
    return self->config.member_count;
}

// The versions of its keys: what else is kept of a shard is small beside them.
static uint64_t state_size(void *ctx, struct shard_id shard) {
    const struct node_core *self = ctx;
    const struct shard_descriptor *at = catalog_shard(self->catalog, shard);
    if (at == NULL || shard_descriptor_is_empty(at)) { return 0; }
    uint8_t low[MVCC_KEY_SIZE_MAX];
    uint8_t high[MVCC_KEY_SIZE_MAX];
    struct slice from = slice_make(low, mvcc_key_encode(bytes_slice(at->start), HLC_MAX, low));
    struct slice to = slice_make(high, sizeof(high));  // above all keys
    memset(high, 0xff, sizeof(high));
    if (at->end->size > 0) { to.size = mvcc_key_encode(bytes_slice(at->end), HLC_MAX, high); }
    return engine_approximate_size(self->config.data, ENGINE_VERSION, from, to);
}

static void create_table(struct node_core *self) {
    const struct node_core_config *config = &self->config;
    struct replica_table_config table = {
        .self = config->self.id,
        .env = config->env,
        .log = raftlog_store(config->log),
        .support = &self->support,
        .hlc = &self->hlc,
        .machine_for = machine_for,
        .leader_changed = on_leader_changed,
        .members_changed = on_members_changed,
        .wanted = node_core__wanted,
        .ctx = self,
        .election_ns_min = config->election_ns_min,
        .resend_ns = config->resend_ns,
        .ceiling_window_us = config->ceiling_window_us,
        .frontier_interval_ns = config->frontier_interval_ns,
        .pending_max = config->shard_pending_max,
        .pending_size_max = config->shard_pending_size_max,
        .trim_lag_max = config->trim_lag_max,
        .snapshot_bytes_per_s = config->snapshot_bytes_per_s,
        .snapshot_chunk_size = config->snapshot_chunk_size,
        .append_size_max = config->append_size_max,
        .digest_interval_ns = config->digest_interval_ns,
        .digest_bytes_per_s = config->digest_bytes_per_s,
        .digest_slice_size = config->digest_slice_size,
        .state_size = state_size,
    };
    self->table = replica_table_create(&table);
}

static void on_recover(void *ctx, struct shard_id shard, const struct lock_holder *holder) {
    struct node_core *self = ctx;
    if (self->gateway != NULL) { gateway_recover(self->gateway, shard, holder); }
}

static enum gateway_verdict may_coordinate(void *ctx, char out_text[GATEWAY_TEXT_SIZE]) {
    static_assert(NODE_SKEW_TEXT_SIZE <= (int)GATEWAY_TEXT_SIZE, "a refusal fits");
    const struct node_core *self = ctx;
    if (node_core_may_coordinate(self, out_text)) { return GATEWAY_GO; }
    return self->skew.settled ? GATEWAY_TURN_AWAY : GATEWAY_WAIT;
}

static void create_session(struct node_core *self) {
    struct session_config session = {
        .self = self->config.self.id,
        .env = self->config.env,
        .hlc = &self->hlc,
        .table = self->table,
        .apply = self->apply,
        .map = catalog_shard_map(self->catalog),
        .calls_max = self->config.calls_max,
        .served_max = self->config.served_max,
        .attempt_ns = 500000000,
        .catalog_nodes = catalog_nodes,
        .ctx = self,
        .recover = on_recover,
        .trace = self->trace,
    };
    self->session = session_create(&session);
    struct gateway_config gateway = {
        .self = self->config.self.id,
        .env = self->config.env,
        .hlc = &self->hlc,
        .session = self->session,
        .map = catalog_shard_map(self->catalog),
        .txns_max = self->config.txns_max,
        .recoveries_max = self->config.recoveries_max,
        .may_coordinate = may_coordinate,
        .ctx = self,
        .trace = self->trace,
    };
    self->gateway = gateway_create(&gateway);
}

static enum status create_catalog(struct node_core *self, struct err *err) {
    self->catalog = catalog_create();
    if (!node_core__is_member(self, self->config.self.id)) { return STATUS_OK; }
    struct catalog_machine_config machine = {.catalog = self->catalog,
                                             .engine = self->config.data,
                                             .changed = on_catalog_applied,
                                             .ctx = self};
    enum status st = catalog_machine_create(&machine, &self->catalog_machine, err);
    if (st != STATUS_OK) { return st; }
    catalog_bootstrap(self->catalog, self->config.members, self->config.member_count);
    return STATUS_OK;
}

static void init_support(struct node_core *self) {
    struct support_config support = {
        .self = self->config.self.id,
        .boot = self->config.boot,
        .duration_ns = self->config.support_duration_ns,
        .interval_ns = self->config.support_interval_ns,
        .now_ns = env_now(self->config.env),
    };
    support_init(&self->support, &support);
    for (uint32_t i = 0; i < self->config.member_count; i++) {
        if (!node_id_equal(self->config.members[i], self->config.self.id)) {
            (void)support_add_peer(&self->support, self->config.members[i]);
        }
    }
}

enum status node_core_create(const struct node_core_config *config, struct node_core **out_core,
                             struct err *err) {
    ASSERT(config->self.id.v != 0);
    ASSERT(config->member_count >= 1 && config->member_count <= SHARD_REPLICAS_MAX);
    struct node_core *self = mem_alloc(sizeof(*self));
    self->config = *config;
    self->started_ns = env_now(config->env);
    buf_init(&self->scratch, NODE_SCRATCH_SIZE_MAX);
    buf_init(&self->register_payload, 1 << 16);
    buf_init(&self->report_payload, 1 << 16);
    hlc_init(&self->hlc, config->clock_lead_us_max);
    node_core__clock_init(self);
    init_support(self);
    node_core__skew_init(self);
    node_watchdog_init(&self->watchdog, &config->disk);
    node_core__trace_init(self);
    self->apply = apply_create(config->data);
    apply_set_trace(self->apply, self->trace);
    enum status st = create_catalog(self, err);
    if (st != STATUS_OK) { goto fail; }
    create_table(self);
    // Whoever shares no shard with anybody compares its clock with the members' at least.
    for (uint32_t i = 0; i < config->member_count; i++) {
        replica_table_add_peer(self->table, config->members[i]);
    }
    create_session(self);
    if (self->catalog_machine != NULL) {
        const struct shard_descriptor *descriptor =
            shard_map_by_id(catalog_shard_map(self->catalog), SHARD_CATALOG);
        ASSERT(descriptor != NULL);
        st = replica_table_open(self->table, descriptor,
                                node_id_equal(config->members[0], config->self.id));
        if (st != STATUS_OK) {
            (void)err_set(err, st, "the catalogue's log cannot be recovered");
            goto fail;
        }
    }
    self->catalog_dirty = true;
    *out_core = self;
    return STATUS_OK;
fail:
    node_core_destroy(self);
    return st;
}

void node_core_destroy(struct node_core *self) {
    if (self->gateway != NULL) { gateway_destroy(self->gateway); }
    self->gateway = NULL;
    if (self->session != NULL) { session_destroy(self->session); }
    if (self->table != NULL) { replica_table_destroy(self->table); }
    if (self->catalog_machine != NULL) { catalog_machine_destroy(self->catalog_machine); }
    if (self->catalog != NULL) { catalog_destroy(self->catalog); }
    apply_destroy(self->apply);
    trace_destroy(self->trace);
    buf_deinit(&self->scratch);
    buf_deinit(&self->register_payload);
    buf_deinit(&self->report_payload);
    mem_free(self->watches);
    mem_free(self->refused);
    mem_free(self);
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void take_catalog(struct node_core *self) {
    if (!self->catalog_dirty) { return; }
    self->catalog_dirty = false;
    node_core__place_replicas(self);
    node_core__skew_peers(self);
    // Others wait to hear that this node has the news; a burst of changes is told once.
    const uint64_t soon = env_now(self->config.env) + CATALOG_NEWS_NS;
    self->gossip_due_ns = smaller(self->gossip_due_ns, soon);
    const struct catalog_node *me = catalog_node(self->catalog, self->config.self.id);
    self->registered = me != NULL && me->incarnation == self->config.self.incarnation &&
                       strcmp(me->peer_address, self->config.self.peer_address) == 0 &&
                       strcmp(me->rpc_address, self->config.self.rpc_address) == 0;
    if (self->config.catalog_changed != NULL) { self->config.catalog_changed(self->config.ctx); }
}

enum status node_core_on_message(struct node_core *self, struct node_id from,
                                 enum peer_message_type type, struct bytes *owner,
                                 struct slice body) {
    switch (type) {
    case PEER_SUPPORT_REQUEST:
    case PEER_SUPPORT_REPLY:
    case PEER_LEADS:
    case PEER_RAFT:
    case PEER_FRONTIER:
    case PEER_SNAPSHOT:
    case PEER_SNAPSHOT_REPLY:
    case PEER_DIGEST:
        return replica_table_on_message(self->table, from, type, owner, body);
    case PEER_REQUEST:
    case PEER_RESPONSE:
        return session_on_message(self->session, from, type, body);
    case PEER_CATALOG:
        return node_core__on_catalog(self, from, body);
    case PEER_STATUS:
        return node_core__on_status(self, from, body);
    case PEER_JOIN:
    case PEER_MESSAGE_TYPE_COUNT:
        break;
    }
    return STATUS_CORRUPT;
}

void node_core_on_durable(struct node_core *self, const struct log_completion *items,
                          uint32_t count) {
    replica_table_on_durable(self->table, items, count);
}

uint64_t node_core_deadline_ns(const struct node_core *self) {
    uint64_t at =
        smaller(replica_table_deadline_ns(self->table), session_deadline_ns(self->session));
    at = smaller(at, gateway_deadline_ns(self->gateway));
    at = smaller(at, smaller(self->gossip_due_ns, node_core__status_deadline(self)));
    at = smaller(at, node_core__members_deadline(self));
    at = smaller(at, node_watchdog_deadline_ns(&self->watchdog));
    return self->registered || self->registering ? at : smaller(at, self->register_due_ns);
}

void node_core_on_time(struct node_core *self) {
    uint64_t now = env_now(self->config.env);
    replica_table_on_time(self->table);
    session_on_time(self->session);
    gateway_on_time(self->gateway);
    node_core__skew_turn(self, now >= self->gossip_due_ns);
    if (now >= self->gossip_due_ns) { (void)apply_collect(self->apply, NODE_COLLECT_MAX); }
    node_core__gossip_on_time(self, now);
    node_core__register_on_time(self, now);
    node_core__members_on_time(self, now);
    node_core__status_on_time(self, now);
}

// What waits for entries to be applied, or for locks that went with them, has just been served
// them. Once a turn: what waits on is due again within the time of a turn.
static bool wake_sessions(struct node_core *self) {
    if (session_deadline_ns(self->session) > env_now(self->config.env)) { return false; }
    session_on_time(self->session);
    return true;
}

void node_core_turn(struct node_core *self) {
    node_core__disk_turn(self);
    node_core__skew_turn(self, false);
    bool again = true;
    for (uint32_t pass = 0; again; pass++) {
        take_catalog(self);
        replica_table_turn(self->table);
        const bool woke = pass == 0 && wake_sessions(self);
        // What the answers of this turn decide goes into this turn's group commit.
        again = gateway_turn(self->gateway) || woke || self->catalog_dirty;
    }
    raftlog_turn(self->config.log);
}

bool node_core_flush_begin(struct node_core *self) {
    return replica_table_flush_begin(self->table);
}

void node_core_flush_done(struct node_core *self, bool flushed) {
    replica_table_flush_done(self->table, flushed);
}

bool node_core_flush_wanted(const struct node_core *self) {
    return replica_table_flush_wanted(self->table);
}

struct session *node_core_session(struct node_core *self) {
    return self->session;
}
struct gateway *node_core_gateway(struct node_core *self) {
    return self->gateway;
}
struct catalog *node_core_catalog(struct node_core *self) {
    return self->catalog;
}
struct replica_table *node_core_table(struct node_core *self) {
    return self->table;
}
struct trace *node_core_trace(struct node_core *self) {
    return self->trace;
}

struct apply *node_core_apply(struct node_core *self) {
    return self->apply;
}
struct support *node_core_support(struct node_core *self) {
    return &self->support;
}
struct hlc_clock *node_core_hlc(struct node_core *self) {
    return &self->hlc;
}
bool node_core_is_registered(const struct node_core *self) {
    return self->registered;
}
