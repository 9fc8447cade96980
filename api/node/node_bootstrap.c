// SPDX-License-Identifier: Apache-2.0
// node_bootstrap.c - a cluster comes into being; a node joins one.
//
// A node without identity asks the addresses of its join list in turn: JOIN, with what it is.
// Nobody answers until somebody has an identity.
// `cluster init` at one node fixes cluster id, members and ids in that node's durable identity
// first; from then on every asker gets its WELCOME:
// founding members the id that was fixed for them, all others one from the catalogue. Whoever is
// welcomed writes it down durably and then
// starts its core. A crash at any point leaves either no identity (it asks again) or a durable one
// (it serves). Two inits at two
// nodes make two clusters that refuse each other; nothing is lost, one of them is to be wiped.

#include "api/node/node_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/loop/clock.h"
#include "dataplane/obs/log.h"

#include <string.h>

#define JOIN_INTERVAL_NS UINT64_C(200000000)
#define JOIN_REGISTER_NS UINT64_C(5000000000)
enum { JOIN_DEFAULT_MEMBERS = 3, JOIN_BODY_SIZE_MAX = 1 << 16 };

static bool is_initialised(const struct node *self) {
    return self->cluster.self.v != 0;
}

static void send_welcome(struct node *self, struct transport_connection_id to, struct node_id id) {
    struct join_cluster welcome = self->cluster;
    welcome.self = id;
    struct buf body;
    buf_init(&body, JOIN_BODY_SIZE_MAX);
    struct codec_writer w;
    codec_writer_init(&w, &body);
    join_welcome_encode(&w, &welcome);
    ASSERT(w.status == STATUS_OK);
    // Lost with its connection: the asker asks again.
    (void)!transport_send_to_connection(self->transport, to, buf_slice(&body));
    buf_deinit(&body);
}

// --- the asking side

static void ask_to_join(struct node *self, uint32_t place) {
    struct transport_connection_id *connection = &self->join_dialled[place];
    const char *address = self->options.join[place];
    if (strcmp(address, self->self.peer_address) == 0) { return; }
    if (connection->v == 0 &&
        transport_dial_address(self->transport, address, connection) != STATUS_OK) {
        return;
    }
    struct buf body;
    buf_init(&body, JOIN_BODY_SIZE_MAX);
    struct codec_writer w;
    codec_writer_init(&w, &body);
    join_request_encode(&w, &self->self);
    ASSERT(w.status == STATUS_OK);
    (void)!transport_send_to_connection(self->transport, *connection, buf_slice(&body));
    buf_deinit(&body);
}

// The connections stay open, so that a WELCOME comes at the moment somebody founds the cluster.
void node__join_on_time(struct node *self, uint64_t now_ns) {
    if (is_initialised(self) || now_ns < self->join_due_ns) { return; }
    self->join_due_ns = now_ns + JOIN_INTERVAL_NS;
    for (uint32_t i = 0; i < self->options.join_count; i++) {
        ask_to_join(self, i);
    }
}

static enum status take_identity(struct node *self, const struct join_cluster *cluster,
                                 struct err *err) {
    enum status st = identity_found(self->identity, cluster, err);
    if (st != STATUS_OK) { return st; }
    self->cluster = *cluster;
    for (uint32_t i = 0; i < self->options.join_count; i++) {
        if (self->join_dialled[i].v != 0) {
            transport_close_connection(self->transport, self->join_dialled[i]);
        }
        self->join_dialled[i].v = 0;
    }
    return node__start_core(self, err);
}

static void on_welcome(struct node *self, struct slice body) {
    struct join_cluster cluster;
    if (join_welcome_decode(body, &cluster) != STATUS_OK) {
        LOG_WARN("node.join.bad_welcome");
        return;
    }
    if (is_initialised(self)) { return; }
    struct err err;
    if (take_identity(self, &cluster, &err) != STATUS_OK) { FATAL("joining: %s", err.message); }
}

// --- the answering side

static struct node_joiner *joiner_of(struct node *self, uint64_t incarnation) {
    for (uint32_t i = 0; i < self->joiner_count; i++) {
        if (self->joiners[i].self.incarnation == incarnation) { return &self->joiners[i]; }
    }
    return NULL;
}

static void registered(struct session_call *call, const struct session_result *result) {
    struct node_joiner *joiner =
        (struct node_joiner *)((char *)call - offsetof(struct node_joiner, call));
    joiner->asking = false;
    struct catalog_result decoded;
    if (result->status != STATUS_OK ||
        catalog_result_decode(result->payload, &decoded) != STATUS_OK) {
        return;
    }
    joiner->given = (struct node_id){(uint32_t)decoded.id};
    send_welcome(joiner->node, joiner->connection, joiner->given);
}

// A node that is no founding member: the catalogue gives it an id, always the same for the same
// incarnation.
static void register_joiner(struct node *self, struct node_joiner *joiner) {
    struct catalog_register_node command = {.node = joiner->self};
    command.node.state = CATALOG_NODE_LIVE;
    buf_reset(&joiner->payload);
    struct codec_writer w;
    codec_writer_init(&w, &joiner->payload);
    catalog_register_node_encode(&w, &command);
    ASSERT(w.status == STATUS_OK);
    joiner->asking = true;
    joiner->node = self;
    joiner->call = (struct session_call){
        .kind = COMMAND_CATALOG,
        .payload = buf_slice(&joiner->payload),
        .deadline_ns = loop_monotonic_ns() + JOIN_REGISTER_NS,
        .done = registered,
    };
    session_start(node_core_session(self->core), &joiner->call);
}

static struct node_joiner *remember_joiner(struct node *self, const struct catalog_node *asker) {
    struct node_joiner *joiner = joiner_of(self, asker->incarnation);
    if (joiner == NULL) {
        if (self->joiner_count == NODE_JOINERS_MAX) { return NULL; }
        joiner = &self->joiners[self->joiner_count++];
        buf_init(&joiner->payload, JOIN_BODY_SIZE_MAX);
    }
    if (!joiner->asking) { joiner->self = *asker; }
    return joiner;
}

void node__on_join(void *ctx, struct transport_connection_id from, struct bytes *owner,
                   struct slice body) {
    struct node *self = ctx;
    (void)owner;
    if (!join_is_request(body)) {
        on_welcome(self, body);
        return;
    }
    struct catalog_node asker;
    if (join_request_decode(body, &asker) != STATUS_OK) {
        LOG_WARN("node.join.bad_request");
        transport_close_connection(self->transport, from);
        return;
    }
    const struct join_member *member = join_find(&self->cluster, asker.incarnation);
    if (member != NULL) {
        send_welcome(self, from, member->id);
        return;
    }
    struct node_joiner *joiner = remember_joiner(self, &asker);
    if (joiner == NULL) { return; }
    joiner->connection = from;
    if (self->core == NULL) { return; }
    if (joiner->given.v != 0) {
        send_welcome(self, from, joiner->given);
    } else if (!joiner->asking) {
        register_joiner(self, joiner);
    }
}

void node__on_join_closed(void *ctx, struct transport_connection_id id, enum status why) {
    struct node *self = ctx;
    (void)why;
    for (uint32_t i = 0; i < self->options.join_count; i++) {
        if (self->join_dialled[i].v == id.v) { self->join_dialled[i].v = 0; }
    }
}

// --- the founding

static void random_cluster_id(struct cluster_id *out) {
    uint64_t bits[2] = {loop_entropy(), loop_entropy()};
    memcpy(out->v, bits, sizeof(out->v));
}

static void add_member(struct join_cluster *cluster, const struct catalog_node *node) {
    struct join_member *member = &cluster->members[cluster->member_count++];
    member->id = (struct node_id){cluster->member_count};
    member->incarnation = node->incarnation;
    memcpy(member->peer_address, node->peer_address, sizeof(member->peer_address));
}

enum status node_init_cluster(struct node *self, uint32_t replicas, struct err *err) {
    if (is_initialised(self)) {
        return err_set(err, STATUS_ALREADY_EXISTS, "this node belongs to a cluster already");
    }
    uint32_t heard = self->joiner_count + 1;
    if (replicas == 0) { replicas = heard >= JOIN_DEFAULT_MEMBERS ? JOIN_DEFAULT_MEMBERS : 1; }
    if (replicas % 2 == 0 || replicas > SHARD_REPLICAS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "replicas: %u is not an odd number from 1 to %d", replicas,
                       SHARD_REPLICAS_MAX);
    }
    if (heard < replicas) {
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "replicas: %u wanted, but only %u nodes (this one included) were heard of",
                       replicas, heard);
    }
    struct join_cluster cluster = {.self = {1}};
    random_cluster_id(&cluster.cluster);
    add_member(&cluster, &self->self);
    for (uint32_t i = 0; cluster.member_count < replicas; i++) {
        add_member(&cluster, &self->joiners[i].self);
    }
    enum status st = take_identity(self, &cluster, err);
    for (uint32_t i = 0; st == STATUS_OK && i < self->joiner_count; i++) {
        const struct join_member *member =
            join_find(&self->cluster, self->joiners[i].self.incarnation);
        if (member != NULL) { send_welcome(self, self->joiners[i].connection, member->id); }
    }
    return st;
}
