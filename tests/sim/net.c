// SPDX-License-Identifier: Apache-2.0
// A message is drawn its fate when it is sent; a link that is blocked meanwhile loses it after all.
// Without the fault "reorder" a link keeps the order, as a TCP connection does. Nothing a crashed
// process should have received reaches its next boot: the connection is gone.
#include "tests/sim/net.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdio.h>

struct message {
    struct sim_event event;  // first
    struct sim_node *from;
    struct node_id from_id;  // which it had then
    uint32_t to_boot;
    struct hlc_ts causal;  // of the sender when it was sent
    enum peer_message_type type;
    struct bytes *body;
};

static const char *const type_names[PEER_MESSAGE_TYPE_COUNT] = {
    "support_request", "support_reply",  "leads",   "raft", "frontier",
    "request",         "response",       "catalog", "join", "status",
    "snapshot",        "snapshot_reply", "digest",
};

void sim_net_init(struct sim_net *self, struct sim_world *world) {
    *self = (struct sim_net){.world = world};
    prng_init(&self->prng, hash64_u64(world->plan.seed ^ UINT64_C(0x6e6574)));
    const struct sim_plan *plan = &world->plan;
    for (uint32_t a = 0; a < plan->node_count; a++) {
        for (uint32_t b = 0; b < plan->node_count; b++) {
            self->base_ns[a][b] = prng_between(&self->prng, plan->delay_ns_min,
                                               (plan->delay_ns_min + plan->delay_ns_max) / 2);
        }
    }
}

static struct log_entry decoded[RAFT_APPEND_ENTRIES_MAX];

// Entries of the message are referenced: forget() gives them back.
static bool decode_raft(struct bytes *body, struct shard_id *out_shard, struct raft_message *out) {
    struct codec_reader r;
    codec_reader_init(&r, bytes_slice(body));
    out_shard->v = codec_get_varint(&r);
    *out = (struct raft_message){0};
    return raft_message_decode(&r, body, out, decoded, RAFT_APPEND_ENTRIES_MAX) == STATUS_OK;
}

static void forget(const struct raft_message *m) {
    for (uint32_t i = 0; i < m->entry_count; i++) {
        log_entry_unref(&decoded[i]);
    }
}

// For --trace: what a raft message says.
static void print_raft(const struct message *self) {
    static const char *const names[RAFT_MESSAGE_TYPE_COUNT] = {
        "prevote?", "prevote!", "vote?",       "vote!",
        "append?",  "append!",  "timeout_now", "snapshot_offer"};
    struct shard_id shard;
    struct raft_message m;
    if (!decode_raft(self->body, &shard, &m)) { return; }
    (void)printf("            shard %" PRIu64 " n%u/%" PRIu64 " -> n%u/%" PRIu64 " %s term %" PRIu64
                 " index %" PRIu64 "@%" PRIu64 " commit %" PRIu64 " entries %u%s%s epoch %" PRIx64
                 " round %" PRIu64 " sequence %" PRIu64 "\n",
                 shard.v, self->from_id.v, m.from_incarnation, self->event.node->id.v,
                 m.to_incarnation, names[m.type], m.term, m.index, m.index_term, m.commit,
                 m.entry_count, m.reject ? " REJECT" : "", m.wants_snapshot ? " WANTS" : "",
                 m.support_epoch, m.read_round, m.sequence);
    forget(&m);
}

// A replica that was removed says nothing any more, least of all a vote.
static void check_sender(struct sim_net *self, const struct sim_node *from, struct bytes *body) {
    struct shard_id shard;
    struct raft_message m;
    if (!decode_raft(body, &shard, &m)) {
        sim_fail(self->world, "node %u sends a raft message that does not decode", from->id.v);
        return;
    }
    sim_checks_sent(&self->world->checks, from, shard, m.from_incarnation);
    forget(&m);
}

static void fire(struct sim_world *world, struct sim_event *event) {
    struct message *self = (struct message *)event;
    struct sim_node *to = event->node;
    uint32_t link = self->from->position;
    bool old = to->boot != self->to_boot && world->plan.mutant != SIM_MUTANT_OLD_BOOT;
    bool lost = !to->up || old || world->net.blocked[link][to->position] > 0;
    uint64_t hash = hash64(bytes_slice(self->body), self->type);
    if (!lost) { to->causal = hlc_larger(to->causal, self->causal); }
    SIM_NOTE(world, to, lost ? SIM_TRACE_LOST : SIM_TRACE_DELIVER, type_names[self->type],
             self->from_id.v, self->body->size, hash);
    if (world->trace.echo && self->type == PEER_RAFT) { print_raft(self); }
    if (lost) {
        world->net.lost++;
    } else {
        sim_checks_back(&world->checks, to);
        enum status st = node_core_on_message(to->core, self->from_id, self->type, self->body,
                                              bytes_slice(self->body));
        if (st != STATUS_OK) {
            sim_fail(world, "node %u refuses a %s message of node %u: %s", to->id.v,
                     type_names[self->type], self->from_id.v, status_name(st));
        }
        sim_node_touch(to);
    }
    bytes_unref(self->body);
    mem_free(self);
}

// Evenly below bound, from 32 random bits: a draw for each of many messages has to be cheap.
static uint64_t scale(uint64_t bits, uint64_t bound) {
    return (bits & UINT32_MAX) * (bound >> 10) >> 22;
}

static bool happens(uint64_t bits, uint32_t ppm) {
    return (bits & 0xFFFFF) * 1000000 >> 20 < ppm;
}

static uint64_t draw_delay(struct sim_net *self, uint32_t from, uint32_t to) {
    const struct sim_plan *plan = &self->world->plan;
    uint64_t delay = self->base_ns[from][to];
    uint64_t bits = prng_next(&self->prng);
    delay += scale(bits, (plan->delay_ns_max - plan->delay_ns_min) / 2);
    uint64_t slow = prng_next(&self->prng);
    if (self->calm) { return delay; }
    if (self->world->now_ns < self->slower_until_ns[from][to]) {
        delay += self->slower_ns[from][to];
    }
    return delay + (happens(slow, plan->slow_ppm) ? scale(slow >> 32, plan->slow_ns_max) : 0);
}

static void put(struct sim_net *self, struct sim_node *to, const struct message *what,
                uint64_t at) {
    struct message *message = mem_alloc(sizeof(*message));
    *message = *what;
    message->event = (struct sim_event){.fire = fire, .node = to};
    (void)bytes_ref(message->body);
    sim_world_put(self->world, &message->event, at);
}

static void post(struct sim_net *self, struct sim_node *to, const struct message *what) {
    uint64_t *last = &self->last_ns[what->from->position][to->position];
    uint64_t at = self->world->now_ns + draw_delay(self, what->from->position, to->position);
    if ((!self->world->plan.reorder || self->calm) && at < *last) { at = *last; }
    if (at > *last) { *last = at; }
    put(self, to, what, at);
}

void sim_net_send(struct sim_net *self, struct sim_node *from, struct node_id to_id,
                  enum peer_message_type type, struct slice body) {
    const struct sim_plan *plan = &self->world->plan;
    struct sim_node *to = sim_world_node(self->world, to_id);
    if (to == from) {
        sim_fail(self->world, "node %u sends to itself", from->id.v);
        return;
    }
    self->sent++;
    if (to == NULL) {  // it has its id, but does not know yet
        self->lost++;
        return;
    }
    uint64_t bits = prng_next(&self->prng);
    bool drop = happens(bits, plan->drop_ppm) && !self->calm;
    drop = sim_storm_sent(&self->world->storm, from, to, type, body) || drop;
    bool twice = happens(bits >> 20, plan->duplicate_ppm) && !self->calm;
    bool replay = happens(bits >> 40, plan->replay_ppm) && !self->calm;
    if (drop || self->blocked[from->position][to->position] > 0) {
        self->lost++;
        return;
    }
    struct message message = {
        .from = from, .to_boot = to->boot, .type = type, .body = bytes_copy(body)};
    message.causal = from->causal;
    message.from_id = from->id;
    if (type == PEER_RAFT && self->world->checks.removals > 0) {
        check_sender(self, from, message.body);
    }
    post(self, to, &message);
    if (twice) { post(self, to, &message); }
    if (replay) {  // it keeps nothing waiting, and no order
        uint64_t later = prng_below(&self->prng, plan->replay_ns_max);
        put(self, to, &message, self->world->now_ns + later);
    }
    bytes_unref(message.body);
}

void sim_net_again(struct sim_net *self, const struct sim_net_seen *seen, uint64_t after_ns) {
    ASSERT(seen->from != seen->to);
    struct message message = {.from = seen->from,
                              .from_id = seen->from->id,
                              .to_boot = seen->to->boot,
                              .type = seen->type,
                              .body = seen->body};
    message.causal = seen->from->causal;
    put(self, seen->to, &message, self->world->now_ns + after_ns);
}
