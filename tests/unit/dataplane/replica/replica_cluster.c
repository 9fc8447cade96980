// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/dataplane/replica/replica_cluster.h"

#include "dataplane/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define STEP_NS UINT64_C(2000000)

static uint32_t place_of(struct shard_id shard) {
    assert_true(shard.v >= CLUSTER_FIRST_SHARD &&
                shard.v < CLUSTER_FIRST_SHARD + CLUSTER_SHARDS_MAX);
    return (uint32_t)(shard.v - CLUSTER_FIRST_SHARD);
}

// --- ports

static uint64_t env_mono(void *ctx) {
    return ((struct cluster_node *)ctx)->cluster->now_ns;
}
static uint64_t env_wall(void *ctx) {
    return 1700000000000000 + env_mono(ctx) / 1000;
}
static uint64_t env_bits(void *ctx) {
    return prng_next(&((struct cluster_node *)ctx)->cluster->prng);
}
static void env_post(void *ctx, struct node_id peer, enum peer_message_type type,
                     struct slice body) {
    struct cluster_node *node = ctx;
    struct cluster *self = node->cluster;
    node->sent[type]++;
    node->sent_bytes[type] += body.size;
    if (self->cut == peer.v || self->cut == node->id.v) { return; }
    assert_true(self->tail - self->head < CLUSTER_LETTERS_MAX);
    self->letters[self->tail++ % CLUSTER_LETTERS_MAX] =
        (struct cluster_letter){node->id, peer, type, bytes_copy(body)};
}

static void log_submit(void *ctx, const struct log_write *writes, uint32_t count) {
    struct cluster_node *node = ctx;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t place = place_of(writes[i].shard);
        assert_true(writes[i].sequence > node->submitted[place]);
        // One completion a shard and turn: the latest.
        bool waits = false;
        for (uint32_t n = 0; n < node->done_count && !waits; n++) {
            waits = place_of(node->done[n].shard) == place;
            if (waits) { node->done[n].sequence = writes[i].sequence; }
        }
        if (!waits) {
            node->done[node->done_count++] =
                (struct log_completion){writes[i].shard, writes[i].sequence};
        }
        node->submitted[place] = writes[i].sequence;
    }
}
static enum status log_bounds_of(void *ctx, struct shard_id shard, struct log_bounds *out) {
    (void)ctx;
    (void)shard;
    *out = (struct log_bounds){0};
    return STATUS_OK;
}
// lint: allow parameters: the port's.
static enum status log_read(void *ctx, struct shard_id shard, uint64_t low, uint64_t high,
                            uint32_t count_max, uint64_t size_max, struct log_entry *out,
                            uint32_t *out_count) {
    (void)ctx;
    (void)shard;
    (void)low;
    (void)high;
    (void)count_max;
    (void)size_max;
    (void)out;
    *out_count = 0;
    return STATUS_NOT_FOUND;
}
static void log_trim(void *ctx, struct shard_id shard, uint64_t index, uint64_t term) {
    (void)ctx;
    (void)shard;
    (void)index;
    (void)term;
}
static enum status log_memberships(void *ctx, struct shard_id shard, struct log_membership *out,
                                   uint32_t *out_count) {
    (void)ctx;
    (void)shard;
    (void)out;
    *out_count = 0;
    return STATUS_OK;
}
static void log_remove(void *ctx, struct shard_id shard, uint64_t incarnation) {
    (void)ctx;
    (void)shard;
    (void)incarnation;
}

static uint64_t machine_applied(void *ctx, struct shard_id shard) {
    return ((struct cluster_node *)ctx)->applied[place_of(shard)];
}
static void machine_apply(void *ctx, struct shard_id shard, const struct log_entry *entry,
                          struct apply_result *out) {
    struct cluster_node *node = ctx;
    assert_int_equal(entry->index, node->applied[place_of(shard)] + 1);
    node->applied[place_of(shard)] = entry->index;
    out->status = STATUS_OK;
    out->payload = SLICE_EMPTY;
}
static void machine_end(void *ctx) {
    (void)ctx;
}
static void machine_remove(void *ctx, struct shard_id shard) {
    (void)ctx;
    (void)shard;
}
static void machine_base(void *ctx, struct shard_id shard, struct buf *out) {
    (void)ctx;
    (void)shard;
    buf_reset(out);
}
static bool machine_hollow(void *ctx, struct shard_id shard) {
    (void)ctx;
    (void)shard;
    return false;
}
static const struct state_machine *machine_for(void *ctx, struct shard_id shard) {
    (void)shard;
    return &((struct cluster_node *)ctx)->machine;
}

static void node_ports(struct cluster_node *node) {
    node->env = (struct env){node, env_mono, env_wall, env_bits, env_post};
    node->log = (struct log_store){
        .ctx = node,
        .submit = log_submit,
        .bounds = log_bounds_of,
        .read = log_read,
        .trim = log_trim,
        .memberships = log_memberships,
        .remove = log_remove,
    };
    node->machine = (struct state_machine){.ctx = node,
                                           .applied = machine_applied,
                                           .apply = machine_apply,
                                           .end = machine_end,
                                           .remove = machine_remove,
                                           .export_open = NULL,
                                           .export_next = NULL,
                                           .export_close = NULL,
                                           .ingest_begin = NULL,
                                           .ingest = NULL,
                                           .ingest_end = NULL,
                                           .base = machine_base,
                                           .hollow = machine_hollow,
                                           .digest_open = NULL};
}

// --- life

static void node_open(struct cluster_node *node, uint32_t place) {
    struct shard_descriptor descriptor = {
        .id = {CLUSTER_FIRST_SHARD + place}, .epoch = 1, .config_epoch = 1};
    descriptor.start = bytes_copy(SLICE_LITERAL("a"));
    descriptor.end = bytes_copy(SLICE_EMPTY);
    descriptor.replica_count = node->cluster->voters;
    for (uint32_t i = 0; i < descriptor.replica_count; i++) {
        descriptor.replicas[i] =
            (struct shard_replica){.node = {i + 1}, .role = SHARD_VOTER, .incarnation = 1};
    }
    bool first = place % descriptor.replica_count + 1 == node->id.v;
    assert_int_equal(replica_table_open(node->table, &descriptor, first), STATUS_OK);
    shard_descriptor_deinit(&descriptor);
}

static void node_create(struct cluster_node *node) {
    node_ports(node);
    struct support_config support = {node->id, 1, 1000000000, 100000000, node->cluster->now_ns};
    support_init(&node->support, &support);
    hlc_init(&node->hlc, 1000000);
    struct replica_table_config config = {
        .self = node->id,
        .env = &node->env,
        .log = &node->log,
        .support = &node->support,
        .hlc = &node->hlc,
        .machine_for = machine_for,
        .ctx = node,
        .election_ns_min = 150000000,
        .resend_ns = 100000000,
        .ceiling_window_us = 400000,
        .frontier_interval_ns = 20000000,
        .pending_max = 64,
        .pending_size_max = 1 << 20,
    };
    node->table = replica_table_create(&config);
    for (uint32_t i = 0; i < node->cluster->shard_count && node->id.v <= node->cluster->voters;
         i++) {
        node_open(node, i);
    }
}

struct cluster *cluster_create(uint32_t shard_count, uint32_t voters) {
    assert_true(shard_count <= CLUSTER_SHARDS_MAX);
    struct cluster *self = mem_alloc(sizeof(*self));
    self->shard_count = shard_count;
    self->voters = voters;
    self->now_ns = 1000000000;
    prng_init(&self->prng, 42);
    self->letters = mem_alloc_array(CLUSTER_LETTERS_MAX, sizeof(*self->letters));
    for (uint32_t i = 0; i < CLUSTER_NODES; i++) {
        self->nodes[i].cluster = self;
        self->nodes[i].id = (struct node_id){i + 1};
        node_create(&self->nodes[i]);
    }
    return self;
}

void cluster_destroy(struct cluster *self) {
    for (uint32_t i = 0; i < CLUSTER_NODES; i++) {
        replica_table_destroy(self->nodes[i].table);
    }
    while (self->head < self->tail) {
        bytes_unref(self->letters[self->head++ % CLUSTER_LETTERS_MAX].body);
    }
    mem_free(self->letters);
    mem_free(self);
}

// --- time

void cluster_turn(struct cluster_node *node) {
    replica_table_turn(node->table);
    while (node->done_count > 0) {
        struct log_completion done[CLUSTER_SHARDS_MAX];
        uint32_t count = node->done_count;
        for (uint32_t i = 0; i < count; i++) {
            done[i] = node->done[i];
        }
        node->done_count = 0;
        replica_table_on_durable(node->table, done, count);
        replica_table_turn(node->table);
    }
}

enum status cluster_deliver(struct cluster *self, const struct cluster_letter *letter) {
    struct cluster_node *to = &self->nodes[letter->to.v - 1];
    return replica_table_on_message(to->table, letter->from, letter->type, letter->body,
                                    bytes_slice(letter->body));
}

// Each node takes what came until now in one turn, as a loop does.
static void deliver_all(struct cluster *self) {
    bool touched[CLUSTER_NODES] = {false};
    uint64_t end = self->tail;
    while (self->head < end) {
        struct cluster_letter letter = self->letters[self->head++ % CLUSTER_LETTERS_MAX];
        if (self->cut == letter.to.v || self->cut == letter.from.v) {
            bytes_unref(letter.body);
            continue;
        }
        if (self->filter != NULL && !self->filter(self, &letter)) { continue; }
        assert_int_equal(cluster_deliver(self, &letter), STATUS_OK);
        bytes_unref(letter.body);
        touched[letter.to.v - 1] = true;
    }
    for (uint32_t i = 0; i < CLUSTER_NODES; i++) {
        if (touched[i]) { cluster_turn(&self->nodes[i]); }
    }
}

void cluster_run(struct cluster *self, uint64_t ms) {
    uint64_t until_ns = self->now_ns + ms * 1000000;
    while (self->now_ns < until_ns) {
        deliver_all(self);
        self->now_ns += STEP_NS;
        for (uint32_t i = 0; i < CLUSTER_NODES; i++) {
            struct cluster_node *node = &self->nodes[i];
            if (replica_table_deadline_ns(node->table) > self->now_ns) { continue; }
            replica_table_on_time(node->table);
            cluster_turn(node);
        }
    }
}

// --- questions

struct replica *cluster_replica(struct cluster *self, uint32_t node, uint32_t place) {
    struct shard_id shard = {CLUSTER_FIRST_SHARD + place};
    struct replica *replica = replica_table_find(self->nodes[node - 1].table, shard);
    assert_non_null(replica);
    return replica;
}

uint32_t cluster_leader(struct cluster *self, uint32_t place) {
    uint32_t leader = 0;
    uint64_t leader_term = 0;
    for (uint32_t i = 1; i <= self->voters; i++) {
        struct replica *replica = cluster_replica(self, i, place);
        uint64_t term = 0;
        if (i == self->cut || !replica_is_leader(replica)) { continue; }
        (void)replica_leader(replica, &term);
        assert_true(leader == 0 || term != leader_term);
        if (term > leader_term) {
            leader = i;
            leader_term = term;
        }
    }
    return leader;
}

uint32_t cluster_led(struct cluster *self, uint32_t node) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->shard_count; i++) {
        count += cluster_leader(self, i) == node;
    }
    return count;
}

struct put {
    struct replica_proposal proposal;
};

static void put_done(struct replica_proposal *proposal,
                     const struct replica_proposal_result *result) {
    (void)result;
    mem_free(proposal);
}

enum status cluster_put(struct cluster *self, uint32_t place) {
    uint32_t leader = cluster_leader(self, place);
    if (leader == 0) { return STATUS_NOT_LEADER; }
    struct put *put = mem_alloc(sizeof(*put));
    put->proposal = (struct replica_proposal){
        .payload = SLICE_LITERAL("value"), .shard_epoch = 1, .done = put_done};
    enum status st = replica_propose(cluster_replica(self, leader, place), &put->proposal);
    if (st != STATUS_OK) { mem_free(put); }
    cluster_turn(&self->nodes[leader - 1]);
    return st;
}
