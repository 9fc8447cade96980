// SPDX-License-Identifier: Apache-2.0
// Works as an operator would: asks a node that serves, by the catalogue's own commands. Members are
// drawn among the nodes there are; a shard on a node that was lost is placed anew as soon as that
// can be said, and a node without an identity asks for one.
#include "tests/sim/operator.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "tests/sim/damage.h"
#include "tests/sim/world.h"

#define STEP_NS   UINT64_C(100000000)
#define BUDGET_NS UINT64_C(2000000000)

static struct sim_node *some_gateway(struct sim_operator *self) {
    struct sim_world *world = self->world;
    uint32_t first = (uint32_t)prng_below(&self->prng, world->plan.node_count);
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct sim_node *node = &world->nodes[(first + i) % world->plan.node_count];
        bool broken = (world->broken >> node->position & 1) != 0;
        if (!node->up || broken || sim_node_is_paused(node)) { continue; }
        if (node_core_is_current(node->core)) { return node; }
    }
    return NULL;
}

static void send(struct sim_operator *self, struct sim_node *gateway) {
    self->call.call.kind = COMMAND_CATALOG;
    self->call.budget_ns = BUDGET_NS;
    sim_call_begin(&self->call, gateway, 0);
}

// --- Members ---

static void place(struct sim_operator *self, struct sim_node *gateway,
                  const struct catalog_place_shard *command) {
    struct codec_writer w;
    buf_reset(&self->call.payload);
    codec_writer_init(&w, &self->call.payload);
    catalog_place_shard_encode(&w, command);
    ASSERT(w.status == STATUS_OK);
    self->placed++;
    SIM_NOTE(self->world, gateway, SIM_TRACE_FAULT, "place", command->shard.v,
             command->target_count, command->config_epoch);
    send(self, gateway);
}

static void cancel(struct sim_operator *self, struct sim_node *gateway, struct shard_id shard) {
    struct catalog_cancel_shard command = {.shard = shard};
    struct codec_writer w;
    buf_reset(&self->call.payload);
    codec_writer_init(&w, &self->call.payload);
    catalog_cancel_shard_encode(&w, &command);
    ASSERT(w.status == STATUS_OK);
    self->cancelled++;
    SIM_NOTE(self->world, gateway, SIM_TRACE_FAULT, "cancel", shard.v, 0, 0);
    send(self, gateway);
}

// Adds nodes that are there and not yet among the targets, from a random one on.
static void fill(struct sim_operator *self, struct catalog_place_shard *command, uint32_t voters,
                 const struct catalog *catalog) {
    const struct sim_world *world = self->world;
    uint32_t first = (uint32_t)prng_below(&self->prng, world->plan.node_count);
    for (uint32_t i = 0; i < world->plan.node_count && command->target_count < voters; i++) {
        struct node_id id = world->nodes[(first + i) % world->plan.node_count].id;
        bool taken = id.v == 0 || catalog_node(catalog, id) == NULL;
        for (uint32_t t = 0; t < command->target_count; t++) {
            taken = taken || node_id_equal(command->targets[t].node, id);
        }
        if (!taken) {
            command->targets[command->target_count++] = (struct shard_target){.node = id};
        }
    }
}

static void change_members(struct sim_operator *self, struct sim_node *gateway) {
    const struct catalog *catalog = node_core_catalog(gateway->core);
    // A node that reached nobody for long serves by what it knows, even if that is nothing.
    if (catalog_shard_count(catalog) == 0) { return; }
    uint32_t at = (uint32_t)prng_below(&self->prng, catalog_shard_count(catalog));
    const struct shard_descriptor *shard = catalog_shard_at(catalog, at);
    if (shard_id_equal(shard->id, SHARD_CATALOG)) { return; }
    if (shard->target_count > 0) {
        if (prng_chance(&self->prng, 1, 2)) { cancel(self, gateway, shard->id); }
        return;
    }
    struct catalog_place_shard command = {.shard = shard->id, .config_epoch = shard->config_epoch};
    uint64_t drawn = prng_below(&self->prng, 8);
    uint32_t voters = drawn == 0 ? 1 : drawn < 3 ? 5 : 3;
    bool storm = self->world->plan.storm == SIM_STORM_MEMBERS;
    if (voters > self->world->plan.node_count || (storm && voters == 5)) { voters = 3; }
    fill(self, &command, voters, catalog);
    if (command.target_count % 2 == 0) { return; }
    bool learner =
        prng_chance(&self->prng, 1, storm ? 2 : 4) && voters < self->world->plan.node_count;
    if (learner) {
        fill(self, &command, voters + 1, catalog);
        if (command.target_count > voters) { command.targets[voters].role = SHARD_LEARNER; }
    }
    place(self, gateway, &command);
}

// --- Repair ---

// Waits for a node that will never answer: nothing but to give it up.
static bool is_stuck(const struct sim_world *world, const struct shard_descriptor *shard) {
    for (uint32_t i = 0; i < shard->target_count; i++) {
        if (sim_world_node(world, shard->targets[i].node) == NULL) { return true; }
    }
    return false;
}

// The same members, with others in the place of those that are gone.
static bool repair(struct sim_operator *self, struct sim_node *gateway,
                   const struct shard_descriptor *shard) {
    if (shard_id_equal(shard->id, SHARD_CATALOG)) { return false; }
    if (is_stuck(self->world, shard)) {  // also where no member is gone: the target was lost alone
        cancel(self, gateway, shard->id);
        return true;
    }
    struct catalog_place_shard command = {.shard = shard->id, .config_epoch = shard->config_epoch};
    uint32_t voters = 0;
    bool gone = false;
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        if (shard->replicas[i].role != SHARD_VOTER) {
            gone = gone || sim_world_node(self->world, shard->replicas[i].node) == NULL;
            continue;
        }
        voters++;
        if (sim_world_node(self->world, shard->replicas[i].node) != NULL) {
            command.targets[command.target_count++] =
                (struct shard_target){.node = shard->replicas[i].node};
        }
    }
    gone = gone || command.target_count < voters;
    if (!gone || shard->target_count > 0) { return false; }
    fill(self, &command, voters, node_core_catalog(gateway->core));
    if (command.target_count != voters) { return false; }
    place(self, gateway, &command);
    return true;
}

static bool repair_some(struct sim_operator *self, struct sim_node *gateway) {
    const struct catalog *catalog = node_core_catalog(gateway->core);
    for (uint32_t i = 0; i < catalog_shard_count(catalog); i++) {
        if (repair(self, gateway, catalog_shard_at(catalog, i))) { return true; }
    }
    return false;
}

// --- New nodes ---

static void join(struct sim_operator *self, struct sim_node *gateway, struct sim_node *node) {
    struct catalog_register_node command = {0};
    sim_node_describe(node, &command.node);
    struct codec_writer w;
    buf_reset(&self->call.payload);
    codec_writer_init(&w, &self->call.payload);
    catalog_register_node_encode(&w, &command);
    ASSERT(w.status == STATUS_OK);
    self->joining = node->position + 1;
    send(self, gateway);
}

static void joined(struct sim_operator *self, struct sim_node *node,
                   const struct session_result *result) {
    struct catalog_result told = {0};
    if (catalog_result_decode(result->payload, &told) != STATUS_OK || told.id == 0) {
        sim_fail(self->world, "a node joined and was told no id");
        return;
    }
    node->id = (struct node_id){(uint32_t)told.id};
    SIM_NOTE(self->world, node, SIM_TRACE_FAULT, "joined", told.id, 0, 0);
    sim_node_start(node);
}

static void call_done(struct sim_call *call, const struct session_result *result) {
    struct sim_operator *self =
        (struct sim_operator *)((char *)call - offsetof(struct sim_operator, call));
    struct sim_world *world = self->world;
    bool known =
        result != NULL && (result->status == STATUS_OK || result->status == STATUS_ALREADY_EXISTS);
    if (self->joining != 0 && known) { joined(self, &world->nodes[self->joining - 1], result); }
    self->joining = 0;
}

// --- Life ---

static struct sim_node *nameless(const struct sim_operator *self) {
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        struct sim_node *node = &self->world->nodes[i];
        if (node->id.v == 0 && !node->up) { return node; }
    }
    return NULL;
}

static void on_step(struct sim_world *world, struct sim_event *event) {
    (void)event;
    struct sim_operator *self = &world->operator;
    bool storm = world->plan.storm == SIM_STORM_MEMBERS;
    sim_world_put(world, &self->step, world->now_ns + (storm ? STEP_NS / 10 : STEP_NS));
    if (self->call.active) { return; }
    struct sim_node *gateway = some_gateway(self);
    if (gateway == NULL) { return; }
    struct sim_node *node = nameless(self);
    if (node != NULL) {
        join(self, gateway, node);
    } else if (!repair_some(self, gateway) && self->change) {
        self->change = false;
        change_members(self, gateway);
    }
}

void sim_operator_init(struct sim_operator *self, struct sim_world *world) {
    *self = (struct sim_operator){.world = world, .step = {.fire = on_step}};
    prng_init(&self->prng, hash64_u64(world->plan.seed ^ UINT64_C(0x6f7065)));
    sim_call_init(&self->call, world);
    self->call.done = call_done;
}

void sim_operator_deinit(struct sim_operator *self) {
    sim_world_cancel(self->world, &self->step);
    sim_call_deinit(&self->call);
}

void sim_operator_start(struct sim_operator *self) {
    sim_world_put(self->world, &self->step, self->world->now_ns + STEP_NS);
}

void sim_operator_change(struct sim_operator *self) {
    self->change = true;
}
