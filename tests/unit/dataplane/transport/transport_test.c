// SPDX-License-Identifier: Apache-2.0
// The mesh on the loopback: messages, batches, reconnecting, identities, joins, blocked directions.
#include "dataplane/transport/transport.h"

#include "dataplane/base/mem.h"
#include "dataplane/codec/codec.h"
#include "dataplane/loop/worker.h"
#include "tests/unit/dataplane/transport/mesh.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct expectation {
    uint32_t place;
    uint64_t count;
};

static bool has_received(struct mesh *mesh, void *arg) {
    const struct expectation *want = arg;
    return mesh->nodes[want->place].received >= want->count;
}

static void await_received(struct mesh *mesh, uint32_t place, uint64_t count) {
    struct expectation want = {place, count};
    mesh_run(mesh, has_received, &want);
}

static bool has_joined(struct mesh *mesh, void *arg) {
    const struct expectation *want = arg;
    return mesh->nodes[want->place].joins >= want->count;
}

static bool has_closed(struct mesh *mesh, void *arg) {
    const struct expectation *want = arg;
    return mesh->nodes[want->place].closed >= want->count;
}

static bool is_up_0_1(struct mesh *mesh, void *arg) {
    (void)arg;
    return mesh_is_up(mesh, 0, 1);
}

static bool is_down_0_1(struct mesh *mesh, void *arg) {
    return !is_up_0_1(mesh, arg);
}

// ------------------------------------------------------------------------ messages

// Goal: three nodes talk to each other in every direction, and the receiver learns who spoke.
static void test_transport_three_nodes_talk_both_ways(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 3);
    for (uint32_t a = 0; a < 3; a++) {
        for (uint32_t b = 0; b < 3; b++) {
            if (a != b) { mesh_send(&mesh, a, b, "hello"); }
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        await_received(&mesh, i, 2);
        assert_string_equal(mesh.nodes[i].last_body, "hello");
        assert_int_equal(mesh.nodes[i].last_type, PEER_REQUEST);
        assert_int_equal(mesh.nodes[i].ups, 2);
    }
    mesh_send(&mesh, 2, 0, "again");
    await_received(&mesh, 0, 3);
    assert_int_equal(mesh.nodes[0].last_from.v, 3);
    mesh_deinit(&mesh);
}

// Goal: all messages of a turn for one peer leave as one frame, in order.
static void test_transport_messages_of_a_turn_are_one_frame(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    struct transport_stats before = mesh_stats(&mesh, 0);
    for (uint64_t i = 0; i < 1000; i++) {
        mesh_send_numbered(&mesh, PEER_RAFT, i, 200);
    }
    await_received(&mesh, 1, 1000);
    struct transport_stats after = mesh_stats(&mesh, 0);
    assert_int_equal(after.frames_sent - before.frames_sent, 1);
    assert_int_equal(after.messages_sent - before.messages_sent, 1000);
    assert_int_equal(mesh.nodes[1].out_of_order, 0);
    mesh_deinit(&mesh);
}

// Goal: bodies of every size up to the maximum arrive whole and in order, also an empty one.
static void test_transport_bodies_of_all_sizes_arrive(void **state) {
    (void)state;
    static const size_t sizes[] = {8, 200, 65536, (1 << 20) - 1, 1 << 20, 5 << 20};
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    uint64_t bytes = 0;
    uint64_t count = 0;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            mesh_send_numbered(&mesh, PEER_RAFT, count++, sizes[i]);
            bytes += sizes[i];
        }
    }
    mesh_send_numbered(&mesh, PEER_RAFT, count++, TRANSPORT_MESSAGE_SIZE_MAX);
    mesh_send(&mesh, 0, 1, "");
    await_received(&mesh, 1, count + 1);
    assert_int_equal(mesh.nodes[1].received_bytes, bytes + TRANSPORT_MESSAGE_SIZE_MAX);
    assert_int_equal(mesh.nodes[1].out_of_order, 0);
    mesh_deinit(&mesh);
}

// Goal: a message over the maximum is dropped and counted; the connection lives.
static void test_transport_message_too_large_is_dropped(void **state) {
    (void)state;
    static const uint8_t large[TRANSPORT_MESSAGE_SIZE_MAX + 1];
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    transport_send(mesh.nodes[0].transport, mesh.nodes[1].id, PEER_REQUEST,
                   slice_make(large, sizeof(large)));
    mesh_send(&mesh, 0, 1, "small");
    await_received(&mesh, 1, 1);
    assert_string_equal(mesh.nodes[1].last_body, "small");
    assert_int_equal(mesh_stats(&mesh, 0).messages_dropped, 1);
    mesh_deinit(&mesh);
}

// Goal: a body kept by reference stays as it was while later traffic passes.
static void test_transport_kept_body_does_not_change(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    mesh.nodes[1].keep = true;
    mesh_send(&mesh, 0, 1, "keep me");
    await_received(&mesh, 1, 1);
    mesh.nodes[1].keep = false;
    for (uint64_t i = 0; i < 2000; i++) {
        mesh_send_numbered(&mesh, PEER_RAFT, i, 300);
        if (i % 100 == 0) { mesh_spin(&mesh); }
    }
    await_received(&mesh, 1, 2001);
    assert_true(slice_equal(mesh.nodes[1].kept_body, SLICE_LITERAL("keep me")));
    mesh_deinit(&mesh);
}

// A body read and released by another thread.
struct away_job {
    struct worker_job job;  // first
    struct bytes *owner;
    struct slice body;
    uint64_t number;
    bool is_intact;
};

static struct worker *away_worker;
static uint64_t away_done;
static uint64_t away_intact;

static void run_away(struct worker_job *job) {
    struct away_job *self = (struct away_job *)(void *)job;
    self->is_intact = true;
    for (size_t i = 8; i < self->body.size; i++) {
        self->is_intact = self->is_intact && self->body.data[i] == (uint8_t)self->number;
    }
    bytes_unref(self->owner);
}

static void done_away(struct worker_job *job) {
    struct away_job *self = (struct away_job *)(void *)job;
    away_done++;
    away_intact += self->is_intact;
    mem_free(self);
}

static void send_away(struct mesh_node *node, struct bytes *owner, struct slice body) {
    struct away_job *job = mem_alloc(sizeof(*job));
    job->job.run = run_away;
    job->job.done = done_away;
    job->owner = bytes_ref(owner);
    job->body = body;
    job->number = codec_load_u64(body.data);
    assert_int_equal(worker_submit(away_worker, &job->job, node->mesh->loop), STATUS_OK);
}

static bool is_away_done(struct mesh *mesh, void *arg) {
    (void)mesh;
    return away_done == *(const uint64_t *)arg;
}

// Goal: bodies may be read and released on another thread while the loop reads on.
static void test_transport_bodies_may_leave_the_thread(void **state) {
    (void)state;
    struct mesh mesh;
    struct worker_config config = {"away", 1 << 20};
    struct err err = {0};
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    assert_int_equal(worker_create(&config, &away_worker, &err), STATUS_OK);
    away_done = 0;
    away_intact = 0;
    mesh.nodes[1].on_body = send_away;
    uint64_t count = 0;
    while (count < 5000) {
        mesh_send_numbered(&mesh, PEER_RAFT, count, count % 500 == 0 ? 300000 : 700);
        count++;
        if (count % 50 == 0) { mesh_spin(&mesh); }
    }
    mesh_run(&mesh, is_away_done, &count);
    assert_int_equal(away_intact, count);
    worker_stop(away_worker);
    worker_destroy(away_worker);
    mesh_deinit(&mesh);
}

// Goal: messages to nobody known are lost and counted.
static void test_transport_send_to_unknown_peer_is_counted(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    transport_send(mesh.nodes[0].transport, (struct node_id){77}, PEER_RAFT, SLICE_EMPTY);
    assert_int_equal(mesh_stats(&mesh, 0).messages_lost, 1);
    mesh_deinit(&mesh);
}

// ------------------------------------------------------------------------ connections

// Goal: a node that knows no address answers one that dialled it: addresses are learnt from hello.
static void test_transport_address_is_learnt_from_hello(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    for (uint32_t i = 0; i < 2; i++) {
        struct transport_config config = mesh_config(&mesh, i);
        mesh_start(&mesh, i, &config);
    }
    mesh_introduce(&mesh, 0, 1);  // 1 knows 0
    mesh_run(&mesh, is_up_0_1, NULL);
    mesh_send(&mesh, 0, 1, "found you");
    await_received(&mesh, 1, 1);
    mesh_deinit(&mesh);
}

// Goal: names are resolved, for listening and for dialling.
static void test_transport_names_are_resolved(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config config = mesh_config(&mesh, 0);
    config.listen_address = "localhost:0";
    mesh_start(&mesh, 0, &config);
    config = mesh_config(&mesh, 1);
    mesh_start(&mesh, 1, &config);
    char address[TRANSPORT_ADDRESS_SIZE_MAX] = "localhost";
    strncat(address, strrchr(transport_address(mesh.nodes[1].transport), ':'), 16);
    assert_int_equal(transport_set_peer(mesh.nodes[0].transport, (struct node_id){2}, address),
                     STATUS_OK);
    mesh_run(&mesh, is_up_0_1, NULL);
    mesh_deinit(&mesh);
}

// Goal: after a peer's death messages wait, within their bound; a new boot on another port is found
// by its own hello, and the waiting messages arrive.
static void test_transport_reconnects_after_restart(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    mesh_stop(&mesh, 1);
    mesh_run(&mesh, is_down_0_1, NULL);
    assert_int_equal(mesh.nodes[0].downs, 1);
    mesh_send(&mesh, 0, 1, "meanwhile");
    struct transport_config config = mesh_config(&mesh, 1);
    config.identity.boot = 2;
    mesh_start(&mesh, 1, &config);
    mesh_introduce(&mesh, 1, 0);
    mesh_introduce(&mesh, 0, 1);
    await_received(&mesh, 1, 1);
    assert_string_equal(mesh.nodes[1].last_body, "meanwhile");
    assert_int_equal(mesh.nodes[0].ups, 2);
    mesh_deinit(&mesh);
}

// Goal: a peer that comes back at the same address is dialled again without being told.
static void test_transport_redials_the_same_address(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    char address[TRANSPORT_ADDRESS_SIZE_MAX];
    memcpy(address, transport_address(mesh.nodes[1].transport), sizeof(address));
    mesh_stop(&mesh, 1);
    mesh_run(&mesh, is_down_0_1, NULL);
    struct transport_config config = mesh_config(&mesh, 1);
    config.identity.boot = 2;
    config.listen_address = address;
    mesh_start(&mesh, 1, &config);
    mesh_run(&mesh, is_up_0_1, NULL);
    mesh_send(&mesh, 0, 1, "welcome back");
    await_received(&mesh, 1, 1);
    mesh_deinit(&mesh);
}

// Goal: a removed peer is refused until it is set again.
static void test_transport_removed_peer_is_refused(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    transport_remove_peer(mesh.nodes[0].transport, mesh.nodes[1].id);
    assert_false(mesh_is_up(&mesh, 0, 1));
    uint64_t lost = mesh_stats(&mesh, 0).messages_lost;
    mesh_send(&mesh, 0, 1, "gone");
    assert_int_equal(mesh_stats(&mesh, 0).messages_lost, lost + 1);
    while (mesh_stats(&mesh, 0).refusals[TRANSPORT_REFUSAL_REMOVED] == 0) {
        mesh_spin(&mesh);
    }
    mesh_introduce(&mesh, 1, 0);
    mesh_run(&mesh, is_up_0_1, NULL);
    mesh_send(&mesh, 0, 1, "back");
    await_received(&mesh, 1, 1);
    assert_string_equal(mesh.nodes[1].last_body, "back");
    mesh_deinit(&mesh);
}

// ------------------------------------------------------------------------ identities

struct refusal_wanted {
    uint32_t place;
    enum transport_refusal refusal;
};

static bool has_refused(struct mesh *mesh, void *arg) {
    const struct refusal_wanted *want = arg;
    return mesh_stats(mesh, want->place).refusals[want->refusal] > 0;
}

// Two nodes of which the second one differs; 1 dials 0, 0 must refuse for the given reason.
static void expect_refusal(const struct transport_config *config, struct mesh *mesh,
                           enum transport_refusal refusal) {
    struct transport_config good = mesh_config(mesh, 0);
    mesh_start(mesh, 0, &good);
    mesh_start(mesh, 1, config);
    assert_int_equal(transport_set_peer(mesh->nodes[1].transport, (struct node_id){1},
                                        transport_address(mesh->nodes[0].transport)),
                     STATUS_OK);
    struct refusal_wanted want = {0, refusal};
    mesh_run(mesh, has_refused, &want);
    mesh_spin(mesh);
    assert_int_equal(mesh->nodes[0].received + mesh->nodes[1].ups, 0);
}

// Goal: a node of another cluster is refused before anything of it counts.
static void test_transport_wrong_cluster_is_refused(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config config = mesh_config(&mesh, 1);
    config.identity.cluster.v[3] ^= 1;
    expect_refusal(&config, &mesh, TRANSPORT_REFUSAL_CLUSTER);
    mesh_deinit(&mesh);
}

// Goal: a cloned node that has our own id is refused. It dials us as node 2 of its own map.
static void test_transport_own_node_id_is_refused(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config good = mesh_config(&mesh, 0);
    mesh_start(&mesh, 0, &good);
    struct transport_config clone = mesh_config(&mesh, 1);
    clone.identity.node.v = 1;
    mesh_start(&mesh, 1, &clone);
    assert_int_equal(transport_set_peer(mesh.nodes[1].transport, (struct node_id){2},
                                        transport_address(mesh.nodes[0].transport)),
                     STATUS_OK);
    struct refusal_wanted want = {0, TRANSPORT_REFUSAL_SELF};
    mesh_run(&mesh, has_refused, &want);
    mesh_deinit(&mesh);
}

// Goal: a node that dials its own address finds out by the instance, whatever the ids say.
static void test_transport_dialling_oneself_is_refused(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config config = mesh_config(&mesh, 0);
    mesh_start(&mesh, 0, &config);
    assert_int_equal(transport_set_peer(mesh.nodes[0].transport, (struct node_id){9},
                                        transport_address(mesh.nodes[0].transport)),
                     STATUS_OK);
    struct refusal_wanted want = {0, TRANSPORT_REFUSAL_SELF};
    mesh_run(&mesh, has_refused, &want);
    mesh_deinit(&mesh);
}

// Goal: a process of an older boot is refused once a later one was seen.
static void test_transport_older_boot_is_refused(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config zero = mesh_config(&mesh, 0);
    mesh_start(&mesh, 0, &zero);
    struct transport_config config = mesh_config(&mesh, 1);
    config.identity.boot = 5;
    mesh_start(&mesh, 1, &config);
    mesh_introduce(&mesh, 0, 1);
    mesh_run(&mesh, is_up_0_1, NULL);
    struct transport_config zombie = mesh_config(&mesh, 2);
    zombie.identity = config.identity;
    zombie.identity.boot = 4;
    mesh_start(&mesh, 2, &zombie);
    mesh_introduce(&mesh, 0, 2);
    struct refusal_wanted want = {0, TRANSPORT_REFUSAL_OLD_BOOT};
    mesh_run(&mesh, has_refused, &want);
    assert_true(mesh_is_up(&mesh, 0, 1));
    mesh_deinit(&mesh);
}

// Goal: a later boot throws out the connections of the earlier one, at once.
static void test_transport_later_boot_replaces_earlier(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    struct transport_config later = mesh_config(&mesh, 2);
    later.identity.node.v = 2;
    later.identity.boot = 2;
    later.identity.incarnation = 101;
    mesh_start(&mesh, 2, &later);
    mesh_introduce(&mesh, 0, 2);
    struct transport_peer_stats stats = {0};
    while (stats.boot != 2) {
        mesh_spin(&mesh);
        assert_int_equal(transport_peer_stats(mesh.nodes[0].transport, (struct node_id){2}, &stats),
                         STATUS_OK);
    }
    assert_true(stats.is_heard);
    assert_int_equal(mesh.nodes[0].downs, 1);  // our own direction ended at the dead boot
    // Node 0 was told another address for node 2, which counts; it dials the dead boot and sees it.
    struct refusal_wanted want = {0, TRANSPORT_REFUSAL_OLD_BOOT};
    mesh_run(&mesh, has_refused, &want);
    mesh_deinit(&mesh);
}

// Goal: a later boot found by dialling it ends what the earlier one may still say.
static void test_transport_later_boot_found_silences_earlier(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    struct transport_config later = mesh_config(&mesh, 2);
    later.identity.node.v = 2;
    later.identity.boot = 2;
    later.identity.incarnation = 101;
    mesh_start(&mesh, 2, &later);
    // The new process cannot dial us: only its answer to our own dial tells of it.
    assert_int_equal(transport_set_peer(mesh.nodes[2].transport, mesh.nodes[0].id, "127.0.0.1:1"),
                     STATUS_OK);
    mesh_introduce(&mesh, 2, 0);
    struct transport_peer_stats stats = {0};
    while (stats.boot != 2) {
        mesh_spin(&mesh);
        assert_int_equal(transport_peer_stats(mesh.nodes[0].transport, (struct node_id){2}, &stats),
                         STATUS_OK);
    }
    assert_true(stats.is_up);
    assert_false(stats.is_heard);
    mesh_deinit(&mesh);
}

// Goal: another data directory under a known id is refused, learnt or told.
static void test_transport_other_incarnation_is_refused(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config zero = mesh_config(&mesh, 0);
    mesh_start(&mesh, 0, &zero);
    assert_int_equal(
        transport_set_peer_incarnation(mesh.nodes[0].transport, (struct node_id){2}, 999),
        STATUS_OK);
    struct transport_config config = mesh_config(&mesh, 1);
    mesh_start(&mesh, 1, &config);
    mesh_introduce(&mesh, 0, 1);
    struct refusal_wanted want = {0, TRANSPORT_REFUSAL_INCARNATION};
    mesh_run(&mesh, has_refused, &want);
    mesh_deinit(&mesh);
}

// Goal: the dialling side notices that another node answers at the address.
static void test_transport_wrong_node_at_address_is_noticed(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    assert_int_equal(transport_set_peer(mesh.nodes[0].transport, (struct node_id){3},
                                        transport_address(mesh.nodes[1].transport)),
                     STATUS_OK);
    struct refusal_wanted want = {0, TRANSPORT_REFUSAL_WRONG_NODE};
    mesh_run(&mesh, has_refused, &want);
    mesh_deinit(&mesh);
}

// ------------------------------------------------------------------------ joins

// Goal: a node without identity asks, is answered on the same connection, gets an identity, and is
// then a peer like any other.
static void test_transport_join_then_peer(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config member = mesh_config(&mesh, 0);
    mesh_start(&mesh, 0, &member);
    mesh.nodes[0].answers_joins = true;
    struct transport_config joiner = mesh_config(&mesh, 1);
    struct transport_identity later = joiner.identity;
    memset(&joiner.identity.cluster, 0, sizeof(joiner.identity.cluster));
    joiner.identity.node.v = 0;
    mesh_start(&mesh, 1, &joiner);
    struct transport *transport = mesh.nodes[1].transport;
    struct transport_connection_id id = {0};
    assert_int_equal(
        transport_dial_address(transport, transport_address(mesh.nodes[0].transport), &id),
        STATUS_OK);
    static const uint8_t large[TRANSPORT_JOIN_MESSAGE_SIZE_MAX + 1];
    assert_int_equal(transport_send_to_connection(transport, id, slice_make(large, sizeof(large))),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(transport_send_to_connection(transport, id, SLICE_LITERAL("let me in")),
                     STATUS_OK);
    struct expectation want = {1, 1};
    mesh_run(&mesh, has_joined, &want);
    assert_string_equal(mesh.nodes[0].last_join, "let me in");
    assert_string_equal(mesh.nodes[1].last_join, "let me in");
    assert_int_equal(mesh.nodes[1].last_join_from.v, id.v);
    transport_set_identity(transport, &later);
    mesh.nodes[1].id = later.node;
    mesh_introduce(&mesh, 0, 1);
    mesh_run(&mesh, is_up_0_1, NULL);
    mesh_send(&mesh, 0, 1, "member");
    await_received(&mesh, 1, 1);
    assert_int_equal(
        transport_send_to_connection(transport, id, slice_make(large, sizeof(large) - 1)),
        STATUS_OK);
    want.count = 2;
    mesh_run(&mesh, has_joined, &want);
    transport_close_connection(transport, id);
    assert_int_equal(transport_send_to_connection(transport, id, SLICE_EMPTY), STATUS_NOT_FOUND);
    struct expectation gone = {0, 1};  // the member hears that the joiner hung up
    mesh_run(&mesh, has_closed, &gone);
    mesh_deinit(&mesh);
}

// Goal: dialling an address where nobody listens ends with on_closed; so does a closed join.
static void test_transport_dial_address_failure_is_told(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    char address[TRANSPORT_ADDRESS_SIZE_MAX];
    memcpy(address, transport_address(mesh.nodes[1].transport), sizeof(address));
    mesh_stop(&mesh, 1);
    struct transport_connection_id id = {0};
    enum status st = transport_dial_address(mesh.nodes[0].transport, address, &id);
    if (st == STATUS_OK) {
        struct expectation want = {0, 1};
        mesh_run(&mesh, has_closed, &want);
        assert_int_equal(mesh.nodes[0].last_closed_why, STATUS_UNAVAILABLE);
    } else {
        assert_int_equal(st, STATUS_UNAVAILABLE);
    }
    assert_int_equal(transport_dial_address(mesh.nodes[0].transport, "nonsense", &id),
                     STATUS_INVALID_ARGUMENT);
    mesh_deinit(&mesh);
}

// Goal: a join between clusters is refused as such.
static void test_transport_join_of_other_cluster_is_refused(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config zero = mesh_config(&mesh, 0);
    mesh_start(&mesh, 0, &zero);
    struct transport_config config = mesh_config(&mesh, 1);
    config.identity.cluster.v[0] ^= 1;
    mesh_start(&mesh, 1, &config);
    struct transport_connection_id id = {0};
    assert_int_equal(transport_dial_address(mesh.nodes[1].transport,
                                            transport_address(mesh.nodes[0].transport), &id),
                     STATUS_OK);
    struct expectation want = {1, 1};
    mesh_run(&mesh, has_closed, &want);
    assert_int_equal(mesh.nodes[1].last_closed_why, STATUS_WRONG_CLUSTER);
    assert_int_equal(mesh_stats(&mesh, 0).refusals[TRANSPORT_REFUSAL_CLUSTER], 1);
    mesh_deinit(&mesh);
}

// ------------------------------------------------------------------------ blocked directions

// Goal: each blocked direction loses exactly its own messages, counted; unblocking heals.
static void test_transport_blocked_directions_lose_their_messages(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    mesh_start_all(&mesh, 2);
    struct transport *zero = mesh.nodes[0].transport;
    assert_int_equal(transport_block(zero, mesh.nodes[1].id, true, false), STATUS_OK);
    mesh_send(&mesh, 1, 0, "in, lost");
    mesh_send(&mesh, 0, 1, "out");
    await_received(&mesh, 1, 1);
    while (mesh_stats(&mesh, 0).messages_blocked < 1) {
        mesh_spin(&mesh);
    }
    assert_int_equal(mesh.nodes[0].received, 0);
    assert_int_equal(transport_block(zero, mesh.nodes[1].id, false, true), STATUS_OK);
    mesh_send(&mesh, 0, 1, "out, lost");
    mesh_send(&mesh, 1, 0, "in");
    await_received(&mesh, 0, 1);
    assert_int_equal(mesh_stats(&mesh, 0).messages_blocked, 2);
    assert_int_equal(transport_block(zero, mesh.nodes[1].id, false, false), STATUS_OK);
    mesh_send(&mesh, 0, 1, "healed");
    await_received(&mesh, 1, 2);
    assert_string_equal(mesh.nodes[1].last_body, "healed");
    mesh_deinit(&mesh);
}

// ------------------------------------------------------------------------ configuration

static void expect_create_fails(const char *listen, const char *advertise, enum status wanted) {
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config config = mesh_config(&mesh, 0);
    config.listen_address = listen;
    config.advertise_address = advertise;
    config.insecure = wanted != STATUS_FAILED_PRECONDITION;
    struct transport *transport = NULL;
    struct err err = {0};
    assert_int_equal(transport_create(&config, &transport, &err), wanted);
    assert_null(transport);
    assert_int_not_equal(err.message[0], '\0');
    mesh_deinit(&mesh);
}

// Goal: plain text beyond the loopback is refused unless asked for, and so are addresses that mean
// nothing; each with a text, and without leaving anything behind.
static void test_transport_create_refuses_bad_addresses(void **state) {
    (void)state;
    expect_create_fails("0.0.0.0:0", NULL, STATUS_FAILED_PRECONDITION);
    expect_create_fails("[::]:0", NULL, STATUS_FAILED_PRECONDITION);
    expect_create_fails("0.0.0.0:0", NULL, STATUS_INVALID_ARGUMENT);
    expect_create_fails("127.0.0.1:0", "nowhere", STATUS_INVALID_ARGUMENT);
    expect_create_fails("127.0.0.1", NULL, STATUS_INVALID_ARGUMENT);
    expect_create_fails("192.0.2.1:0", "192.0.2.1:1", STATUS_IO);  // not an address of this host
}

// Goal: with `insecure` and something to advertise, every interface may be listened on.
static void test_transport_insecure_allows_any_interface(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config config = mesh_config(&mesh, 0);
    config.listen_address = "0.0.0.0:0";
    config.advertise_address = "node-0.example:7000";
    config.insecure = true;
    mesh_start(&mesh, 0, &config);
    assert_string_equal(transport_address(mesh.nodes[0].transport), "node-0.example:7000");
    mesh_deinit(&mesh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transport_three_nodes_talk_both_ways),
        cmocka_unit_test(test_transport_messages_of_a_turn_are_one_frame),
        cmocka_unit_test(test_transport_bodies_of_all_sizes_arrive),
        cmocka_unit_test(test_transport_message_too_large_is_dropped),
        cmocka_unit_test(test_transport_kept_body_does_not_change),
        cmocka_unit_test(test_transport_bodies_may_leave_the_thread),
        cmocka_unit_test(test_transport_send_to_unknown_peer_is_counted),
        cmocka_unit_test(test_transport_address_is_learnt_from_hello),
        cmocka_unit_test(test_transport_names_are_resolved),
        cmocka_unit_test(test_transport_reconnects_after_restart),
        cmocka_unit_test(test_transport_redials_the_same_address),
        cmocka_unit_test(test_transport_removed_peer_is_refused),
        cmocka_unit_test(test_transport_wrong_cluster_is_refused),
        cmocka_unit_test(test_transport_own_node_id_is_refused),
        cmocka_unit_test(test_transport_dialling_oneself_is_refused),
        cmocka_unit_test(test_transport_older_boot_is_refused),
        cmocka_unit_test(test_transport_later_boot_replaces_earlier),
        cmocka_unit_test(test_transport_later_boot_found_silences_earlier),
        cmocka_unit_test(test_transport_other_incarnation_is_refused),
        cmocka_unit_test(test_transport_wrong_node_at_address_is_noticed),
        cmocka_unit_test(test_transport_join_then_peer),
        cmocka_unit_test(test_transport_dial_address_failure_is_told),
        cmocka_unit_test(test_transport_join_of_other_cluster_is_refused),
        cmocka_unit_test(test_transport_blocked_directions_lose_their_messages),
        cmocka_unit_test(test_transport_create_refuses_bad_addresses),
        cmocka_unit_test(test_transport_insecure_allows_any_interface),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
