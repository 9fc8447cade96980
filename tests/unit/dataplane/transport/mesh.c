// SPDX-License-Identifier: Apache-2.0
// Design: all transports share one loop, so that a test is one thread and its order is repeatable;
// what the kernel delays by itself is waited for by conditions, with a generous limit on time.
#include "tests/unit/dataplane/transport/mesh.h"

#include "dataplane/codec/codec.h"
#include "dataplane/transport/transport_address.h"

#include <uv.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void on_turn(void *ctx) {
    struct mesh *self = ctx;
    self->turns++;
    if (self->on_turn != NULL) { self->on_turn(self); }
    for (uint32_t i = 0; i < MESH_NODES_MAX; i++) {
        if (self->nodes[i].transport != NULL) { transport_turn(self->nodes[i].transport); }
    }
}

static void on_time(void *ctx) {
    ((struct mesh *)ctx)->timed_out = true;
}

static void on_stop(void *ctx) {
    struct mesh *self = ctx;
    for (uint32_t i = 0; i < MESH_NODES_MAX; i++) {
        if (self->nodes[i].transport != NULL) { transport_close(self->nodes[i].transport); }
    }
}

static void keep_text(char out[MESH_BODY_KEPT], struct slice body) {
    size_t size = body.size < MESH_BODY_KEPT - 1 ? body.size : MESH_BODY_KEPT - 1;
    if (size > 0) { memcpy(out, body.data, size); }
    out[size] = '\0';
}

static void on_message(void *ctx, struct node_id from, enum peer_message_type type,
                       struct bytes *owner, struct slice body) {
    struct mesh_node *node = ctx;
    node->received++;
    node->received_bytes += body.size;
    node->last_from = from;
    node->last_type = type;
    keep_text(node->last_body, body);
    if (body.size >= 8 && from.v <= MESH_NODES_MAX) {
        uint64_t number = codec_load_u64(body.data);
        node->out_of_order += number != node->next_number[from.v];
        node->next_number[from.v] = number + 1;
    }
    if (node->on_body != NULL) { node->on_body(node, owner, body); }
    if (node->keep) {
        bytes_unref(node->kept);
        node->kept = bytes_ref(owner);
        node->kept_body = body;
    }
}

static void on_join(void *ctx, struct transport_connection_id from, struct bytes *owner,
                    struct slice body) {
    struct mesh_node *node = ctx;
    (void)owner;
    node->joins++;
    node->last_join_from = from;
    keep_text(node->last_join, body);
    if (node->answers_joins) {
        assert_int_equal(transport_send_to_connection(node->transport, from, body), STATUS_OK);
    }
}

static void on_closed(void *ctx, struct transport_connection_id id, enum status why) {
    struct mesh_node *node = ctx;
    (void)id;
    node->closed++;
    node->last_closed_why = why;
}

static void on_peer(void *ctx, struct node_id peer, bool is_up) {
    struct mesh_node *node = ctx;
    (void)peer;
    node->ups += is_up;
    node->downs += !is_up;
}

void mesh_init(struct mesh *self) {
    *self = (struct mesh){0};
    self->spin_limit_ns = loop_monotonic_ns() + (uint64_t)MESH_TIMEOUT_MS * 1000000U;
    struct loop_config config = {"mesh", 0, {self, on_turn, on_time, on_stop}};
    struct err err = {0};
    assert_int_equal(loop_create(&config, &self->loop, &err), STATUS_OK);
}

void mesh_deinit(struct mesh *self) {
    loop_stop(self->loop);
    loop_run(self->loop);
    for (uint32_t i = 0; i < MESH_NODES_MAX; i++) {
        transport_destroy(self->nodes[i].transport);
        bytes_unref(self->nodes[i].kept);
    }
    loop_destroy(self->loop);
}

struct transport_config mesh_config(struct mesh *self, uint32_t place) {
    struct transport_config config = {0};
    struct mesh_node *node = &self->nodes[place];
    config.loop = self->loop;
    memset(config.identity.cluster.v, 7, sizeof(config.identity.cluster.v));
    config.identity.node.v = place + 1;
    config.identity.boot = 1;
    config.identity.incarnation = 100 + place;
    config.handlers = (struct transport_handlers){node, on_message, on_join, on_closed, on_peer};
    config.listen_address = "127.0.0.1:0";
    return config;
}

void mesh_start(struct mesh *self, uint32_t place, const struct transport_config *config) {
    struct mesh_node *node = &self->nodes[place];
    struct err err = {0};
    assert_null(node->transport);
    node->mesh = self;
    node->id = config->identity.node;
    enum status st = transport_create(config, &node->transport, &err);
    if (st != STATUS_OK) { fail_msg("transport_create: %s", err.message); }
    if (place >= self->count) { self->count = place + 1; }
}

void mesh_introduce(struct mesh *self, uint32_t place, uint32_t to) {
    const struct mesh_node *node = &self->nodes[place];
    assert_int_equal(
        transport_set_peer(self->nodes[to].transport, node->id, transport_address(node->transport)),
        STATUS_OK);
}

static bool all_up(struct mesh *self, void *arg) {
    (void)arg;
    for (uint32_t a = 0; a < self->count; a++) {
        for (uint32_t b = 0; b < self->count; b++) {
            if (a != b && !mesh_is_up(self, a, b)) { return false; }
        }
    }
    return true;
}

void mesh_start_all(struct mesh *self, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct transport_config config = mesh_config(self, i);
        mesh_start(self, i, &config);
    }
    for (uint32_t a = 0; a < count; a++) {
        for (uint32_t b = 0; b < count; b++) {
            if (a != b) { mesh_introduce(self, a, b); }
        }
    }
    mesh_run(self, all_up, NULL);
}

void mesh_stop(struct mesh *self, uint32_t place) {
    struct transport *transport = self->nodes[place].transport;
    self->nodes[place].transport = NULL;
    transport_close(transport);
    mesh_spin(self);
    transport_destroy(transport);
}

void mesh_run(struct mesh *self, mesh_condition_fn condition, void *arg) {
    uint64_t limit_ns = (uint64_t)MESH_TIMEOUT_MS * 1000000U;
    loop_set_deadline(self->loop, loop_monotonic_ns() + limit_ns);
    while (!condition(self, arg)) {
        (void)uv_run((uv_loop_t *)loop_uv(self->loop), UV_RUN_ONCE);
        if (self->timed_out) { fail_msg("the condition did not come true in time"); }
    }
}

void mesh_spin(struct mesh *self) {
    if (loop_monotonic_ns() > self->spin_limit_ns) { fail_msg("nothing more happens"); }
    for (int i = 0; i < 8; i++) {
        (void)uv_run((uv_loop_t *)loop_uv(self->loop), UV_RUN_NOWAIT);
    }
}

void mesh_send(struct mesh *self, uint32_t from, uint32_t to, const char *text) {
    transport_send(self->nodes[from].transport, self->nodes[to].id, PEER_REQUEST,
                   slice_from_string(text));
}

void mesh_send_numbered(struct mesh *self, enum peer_message_type type, uint64_t number,
                        size_t size) {
    static uint8_t body[TRANSPORT_MESSAGE_SIZE_MAX];
    assert_true(size >= 8 && size <= sizeof(body));
    codec_store_u64(body, number);
    memset(body + 8, (int)(number & 0xff), size - 8);
    transport_send(self->nodes[0].transport, self->nodes[1].id, type, slice_make(body, size));
}

struct transport_stats mesh_stats(const struct mesh *self, uint32_t place) {
    struct transport_stats stats;
    transport_stats(self->nodes[place].transport, &stats);
    return stats;
}

bool mesh_is_up(const struct mesh *self, uint32_t from, uint32_t to) {
    struct transport_peer_stats stats = {0};
    enum status st = transport_peer_stats(self->nodes[from].transport, self->nodes[to].id, &stats);
    return st == STATUS_OK && stats.is_up;
}

int mesh_raw_connect(const struct mesh *self, uint32_t place) {
    struct transport_address address;
    struct sockaddr_storage storage;
    assert_int_equal(
        transport_address_parse(transport_address(self->nodes[place].transport), &address),
        STATUS_OK);
    assert_int_equal(transport_address_numeric(&address, &storage), STATUS_OK);
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&storage, sizeof(struct sockaddr_in)), 0);
    return fd;
}
