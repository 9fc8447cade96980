// SPDX-License-Identifier: Apache-2.0
// What arrives from programs that are no peers, and from peers that are sick: garbage, lies about
// lengths, silence, slow readers. Each: no crash, no leak, the reason counted, peers unharmed.
#include "dataplane/transport/transport.h"
#include "dataplane/transport/transport_frame.h"
#include "tests/unit/dataplane/transport/mesh.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct mesh mesh;
    int fd;
};

static void fixture_init(struct fixture *self) {
    mesh_init(&self->mesh);
    mesh_start_all(&self->mesh, 2);
    self->fd = mesh_raw_connect(&self->mesh, 0);
    while (mesh_stats(&self->mesh, 0).connections_accepted < 2) {
        mesh_spin(&self->mesh);
    }
}

static void fixture_deinit(struct fixture *self) {
    // Whatever happened, the peers still talk.
    uint64_t received = self->mesh.nodes[1].received;
    mesh_send(&self->mesh, 0, 1, "unharmed");
    while (self->mesh.nodes[1].received == received) {
        mesh_spin(&self->mesh);
    }
    assert_int_equal(close(self->fd), 0);
    mesh_deinit(&self->mesh);
}

static void send_raw(int fd, struct slice bytes) {
    assert_int_equal(send(fd, bytes.data, bytes.size, MSG_NOSIGNAL), bytes.size);
}

// Runs the mesh until the other side has closed our socket; returns what it said before.
static size_t read_to_end(struct fixture *self, uint8_t *out, size_t out_size) {
    size_t size = 0;
    uint64_t limit_ns = loop_monotonic_ns() + (uint64_t)MESH_TIMEOUT_MS * 1000000U;
    for (;;) {
        assert_true(loop_monotonic_ns() < limit_ns);
        mesh_spin(&self->mesh);
        ssize_t rc = recv(self->fd, out + size, out_size - size, MSG_DONTWAIT);
        if (rc == 0 || (rc < 0 && errno == ECONNRESET)) { return size; }
        if (rc > 0) { size += (size_t)rc; }
        assert_true(rc > 0 || errno == EAGAIN);
    }
}

static void expect_corrupt(struct slice bytes) {
    struct fixture f;
    uint8_t answer[256];
    fixture_init(&f);
    send_raw(f.fd, bytes);
    assert_int_equal(read_to_end(&f, answer, sizeof(answer)), 0);
    assert_int_equal(mesh_stats(&f.mesh, 0).connections_corrupt, 1);
    assert_int_equal(f.mesh.nodes[0].received, 0);
    fixture_deinit(&f);
}

// Goal: programs that speak something else are shown the door.
static void test_transport_other_protocols_are_closed(void **state) {
    (void)state;
    expect_corrupt(SLICE_LITERAL("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    expect_corrupt(SLICE_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    expect_corrupt(SLICE_LITERAL("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"));  // TLS hello
    expect_corrupt(SLICE_LITERAL("\x00\x00\x00\x00\x00\x00\x00\x00"));  // a frame of nothing
}

// Goal: a huge length costs nothing: refused before the handshake above 4 KiB.
static void test_transport_huge_length_is_closed_at_once(void **state) {
    (void)state;
    expect_corrupt(SLICE_LITERAL("\xff\xff\xff\xff\x00\x00\x00\x00"));
    expect_corrupt(SLICE_LITERAL("\xf9\x0f\x00\x00\x00\x00\x00\x00"));  // 4096 - 8 + 1
}

// One sealed frame with one item.
static size_t make_frame(uint8_t *out, size_t out_size, uint8_t type, struct slice body) {
    struct buf buf;
    buf_init(&buf, out_size);
    const uint8_t header[TRANSPORT_FRAME_HEADER_SIZE] = {0};
    assert_int_equal(buf_append(&buf, slice_make(header, sizeof(header))), STATUS_OK);
    assert_int_equal(transport_item_put(&buf, type, body), STATUS_OK);
    transport_frame_seal(buf.data, buf.size);
    size_t size = buf.size;
    memcpy(out, buf.data, size);
    buf_deinit(&buf);
    return size;
}

static size_t make_hello(uint8_t *out, size_t out_size, const struct transport_hello *hello) {
    struct buf buf;
    buf_init(&buf, out_size);
    const uint8_t header[TRANSPORT_FRAME_HEADER_SIZE] = {0};
    assert_int_equal(buf_append(&buf, slice_make(header, sizeof(header))), STATUS_OK);
    assert_int_equal(transport_hello_put(&buf, hello), STATUS_OK);
    transport_frame_seal(buf.data, buf.size);
    size_t size = buf.size;
    memcpy(out, buf.data, size);
    buf_deinit(&buf);
    return size;
}

static struct transport_hello good_hello(void) {
    struct transport_hello hello = {
        .purpose = TRANSPORT_PEER, .node = {3}, .boot = 1, .incarnation = 5, .instance = 77};
    memset(hello.cluster.v, 7, sizeof(hello.cluster.v));
    return hello;
}

// Goal: a message before the hello, and a hello whose checksum is wrong, close the connection.
static void test_transport_first_frame_must_be_a_hello(void **state) {
    (void)state;
    uint8_t frame[512];
    size_t size = make_frame(frame, sizeof(frame), PEER_RAFT, SLICE_LITERAL("early"));
    expect_corrupt(slice_make(frame, size));
    size = make_frame(frame, sizeof(frame), TRANSPORT_ITEM_HELLO, SLICE_LITERAL("not a hello"));
    expect_corrupt(slice_make(frame, size));
    size = make_frame(frame, sizeof(frame), TRANSPORT_ITEM_REFUSAL, SLICE_LITERAL("\x01\x00"));
    expect_corrupt(slice_make(frame, size));
    struct transport_hello hello = good_hello();
    size = make_hello(frame, sizeof(frame), &hello);
    frame[size - 1] ^= 1;
    expect_corrupt(slice_make(frame, size));
}

// Says a good hello and waits for the answer; the connection is then one of node 3.
static void greet(struct fixture *f) {
    uint8_t frame[512];
    struct transport_hello hello = good_hello();
    send_raw(f->fd, slice_make(frame, make_hello(frame, sizeof(frame), &hello)));
    ssize_t rc = -1;
    while (rc <= 0) {
        mesh_spin(&f->mesh);
        rc = recv(f->fd, frame, sizeof(frame), MSG_DONTWAIT);
    }
    struct transport_hello theirs;
    struct codec_reader reader;
    assert_int_equal(transport_frame_check(slice_make(frame, (size_t)rc)), STATUS_OK);
    codec_reader_init(&reader, slice_make(frame + TRANSPORT_FRAME_HEADER_SIZE,
                                          (size_t)rc - TRANSPORT_FRAME_HEADER_SIZE));
    struct transport_item item = transport_item_get(&reader);
    assert_int_equal(item.type, TRANSPORT_ITEM_HELLO);
    assert_int_equal(transport_hello_get(item.body, &theirs), STATUS_OK);
    assert_int_equal(theirs.node.v, 1);
}

// Goal: a peer that dials again under the same boot replaces its connection: the first one is half
// open, and nothing that was said there may be delivered after what comes now.
static void test_transport_peer_dialling_again_replaces(void **state) {
    (void)state;
    struct fixture f;
    uint8_t answer[256];
    fixture_init(&f);
    greet(&f);
    int first = f.fd;
    f.fd = mesh_raw_connect(&f.mesh, 0);
    greet(&f);
    int second = f.fd;
    f.fd = first;
    assert_int_equal(read_to_end(&f, answer, sizeof(answer)), 0);
    assert_int_equal(close(first), 0);
    f.fd = second;
    send_raw(f.fd, slice_make(answer, make_frame(answer, sizeof(answer), PEER_STATUS,
                                                 SLICE_LITERAL("second"))));
    while (f.mesh.nodes[0].received == 0) {
        mesh_spin(&f.mesh);
    }
    assert_string_equal(f.mesh.nodes[0].last_body, "second");
    fixture_deinit(&f);
}

// Goal: another version is refused with a frame that says so.
static void test_transport_unknown_version_is_told(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    uint8_t frame[512];
    struct transport_hello hello = good_hello();
    size_t size = make_hello(frame, sizeof(frame), &hello);
    // header, type, one or two bytes of size, magic; then the version
    size_t at = TRANSPORT_FRAME_HEADER_SIZE + (transport_item_size(size) - size) + 8;
    assert_int_equal(frame[at], TRANSPORT_VERSION);
    frame[at] = 99;
    transport_frame_seal(frame, size);
    send_raw(f.fd, slice_make(frame, size));
    size = read_to_end(&f, frame, sizeof(frame));
    assert_int_equal(transport_frame_check(slice_make(frame, size)), STATUS_OK);
    struct codec_reader reader;
    codec_reader_init(&reader, slice_make(frame + TRANSPORT_FRAME_HEADER_SIZE,
                                          size - TRANSPORT_FRAME_HEADER_SIZE));
    struct transport_item item = transport_item_get(&reader);
    enum transport_refusal refusal = TRANSPORT_REFUSAL_NONE;
    struct slice text;
    assert_int_equal(item.type, TRANSPORT_ITEM_REFUSAL);
    assert_int_equal(transport_refusal_get(item.body, &refusal, &text), STATUS_OK);
    assert_int_equal(refusal, TRANSPORT_REFUSAL_VERSION);
    assert_int_equal(mesh_stats(&f.mesh, 0).refusals[TRANSPORT_REFUSAL_VERSION], 1);
    fixture_deinit(&f);
}

static void expect_corrupt_after_hello(struct slice bytes) {
    struct fixture f;
    uint8_t answer[256];
    fixture_init(&f);
    greet(&f);
    send_raw(f.fd, bytes);
    assert_int_equal(read_to_end(&f, answer, sizeof(answer)), 0);
    assert_int_equal(mesh_stats(&f.mesh, 0).connections_corrupt, 1);
    assert_int_equal(f.mesh.nodes[0].received, 0);
    fixture_deinit(&f);
}

// Goal: after the handshake too, a frame is believed as a whole or not at all.
static void test_transport_corrupt_frames_of_a_peer_close(void **state) {
    (void)state;
    uint8_t frame[512];
    expect_corrupt_after_hello(SLICE_LITERAL("\xff\xff\xff\xff\x00\x00\x00\x00"));
    expect_corrupt_after_hello(SLICE_LITERAL("\x01\x00\x00\x04\x00\x00\x00\x00"));  // 64 MiB + 1
    size_t size = make_frame(frame, sizeof(frame), PEER_RAFT, SLICE_LITERAL("flipped"));
    frame[size - 2] ^= 4;
    expect_corrupt_after_hello(slice_make(frame, size));
    struct transport_hello hello = good_hello();
    size = make_hello(frame, sizeof(frame), &hello);
    expect_corrupt_after_hello(slice_make(frame, size));  // a second hello
    // A whole message and then one whose size runs out of the frame: nothing is delivered.
    size = make_frame(frame, sizeof(frame), PEER_RAFT, SLICE_LITERAL("whole"));
    const uint8_t lie[] = {PEER_RAFT, 200, 1, 'x'};
    memcpy(frame + size, lie, sizeof(lie));
    size += sizeof(lie);
    transport_frame_seal(frame, size);
    expect_corrupt_after_hello(slice_make(frame, size));
}

// Goal: a message type of a newer program is skipped and counted, what stands beside it counts.
static void test_transport_unknown_message_type_is_skipped(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    greet(&f);
    uint8_t frame[512];
    size_t size = make_frame(frame, sizeof(frame), 200, SLICE_LITERAL("from the future"));
    send_raw(f.fd, slice_make(frame, size));
    size = make_frame(frame, sizeof(frame), PEER_STATUS, SLICE_LITERAL("known"));
    send_raw(f.fd, slice_make(frame, size));
    while (f.mesh.nodes[0].received == 0) {
        mesh_spin(&f.mesh);
    }
    assert_int_equal(mesh_stats(&f.mesh, 0).messages_unknown, 1);
    assert_string_equal(f.mesh.nodes[0].last_body, "known");
    assert_int_equal(f.mesh.nodes[0].last_from.v, 3);
    fixture_deinit(&f);
}

// Goal: a stranger may say PEER_JOIN and nothing else.
static void test_transport_stranger_may_only_join(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    uint8_t frame[512];
    struct transport_hello hello = good_hello();
    hello.purpose = TRANSPORT_JOIN;
    hello.node.v = 0;
    send_raw(f.fd, slice_make(frame, make_hello(frame, sizeof(frame), &hello)));
    send_raw(f.fd, slice_make(frame, make_frame(frame, sizeof(frame), PEER_RAFT, SLICE_EMPTY)));
    (void)read_to_end(&f, frame, sizeof(frame));
    assert_int_equal(mesh_stats(&f.mesh, 0).connections_corrupt, 1);
    assert_int_equal(f.mesh.nodes[0].received + f.mesh.nodes[0].joins, 0);
    fixture_deinit(&f);
}

// Goal: the hello of a join does not buy the frames of a peer: 1 MiB is accepted, more is not.
static void test_transport_stranger_frames_are_small(void **state) {
    (void)state;
    for (uint32_t over = 0; over < 2; over++) {
        struct fixture f;
        fixture_init(&f);
        uint8_t frame[512];
        struct transport_hello hello = good_hello();
        hello.purpose = TRANSPORT_JOIN;
        hello.node.v = 0;
        send_raw(f.fd, slice_make(frame, make_hello(frame, sizeof(frame), &hello)));
        while (recv(f.fd, frame, sizeof(frame), MSG_DONTWAIT) <= 0) {
            mesh_spin(&f.mesh);
        }
        uint8_t header[TRANSPORT_FRAME_HEADER_SIZE] = {0};
        codec_store_u32(header, TRANSPORT_JOIN_PAYLOAD_SIZE_MAX + over);
        uint64_t bytes = mesh_stats(&f.mesh, 0).bytes_received;
        send_raw(f.fd, slice_make(header, sizeof(header)));
        while (mesh_stats(&f.mesh, 0).bytes_received == bytes) {
            mesh_spin(&f.mesh);
        }
        assert_int_equal(mesh_stats(&f.mesh, 0).connections_corrupt, over);
        fixture_deinit(&f);
    }
}

// Goal: half a frame and then the end, at every length, leaves nothing behind.
static void test_transport_half_frames_then_close(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    uint8_t frame[512];
    struct transport_hello hello = good_hello();
    size_t size = make_hello(frame, sizeof(frame), &hello);
    uint32_t connections = mesh_stats(&f.mesh, 0).connections;
    for (size_t part = 0; part < size; part++) {
        int fd = mesh_raw_connect(&f.mesh, 0);
        if (part > 0) { send_raw(fd, slice_make(frame, part)); }
        mesh_spin(&f.mesh);
        assert_int_equal(close(fd), 0);
    }
    while (mesh_stats(&f.mesh, 0).connections > connections) {
        mesh_spin(&f.mesh);
    }
    assert_int_equal(f.mesh.nodes[0].received, 0);
    fixture_deinit(&f);
}

// Goal: a frame that arrives byte by byte is a frame.
static void test_transport_hello_byte_by_byte_is_accepted(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    uint8_t frame[512];
    struct transport_hello hello = good_hello();
    size_t size = make_hello(frame, sizeof(frame), &hello);
    for (size_t i = 0; i < size; i++) {
        send_raw(f.fd, slice_make(frame + i, 1));
        mesh_spin(&f.mesh);
    }
    struct transport_peer_stats stats = {0};
    while (!stats.is_heard) {
        mesh_spin(&f.mesh);
        (void)!transport_peer_stats(f.mesh.nodes[0].transport, (struct node_id){3}, &stats);
    }
    fixture_deinit(&f);
}

// ------------------------------------------------------------------------ silence and crowds

// Goal: who says nothing, or a byte now and then, is closed when the time for the handshake is up.
static void test_transport_silent_connections_are_closed(void **state) {
    (void)state;
    struct fixture f;
    mesh_init(&f.mesh);
    struct transport_config config = mesh_config(&f.mesh, 0);
    config.handshake_ms_max = 30;
    mesh_start(&f.mesh, 0, &config);
    int silent = mesh_raw_connect(&f.mesh, 0);
    f.fd = mesh_raw_connect(&f.mesh, 0);
    uint8_t frame[512];
    struct transport_hello hello = good_hello();
    size_t size = make_hello(frame, sizeof(frame), &hello);
    for (size_t sent = 0; mesh_stats(&f.mesh, 0).connections_timed_out < 2;) {
        mesh_spin(&f.mesh);
        // All but the last byte, one at a time: progress of this kind does not buy time.
        if (sent < size - 1) { (void)!send(f.fd, frame + sent++, 1, MSG_NOSIGNAL); }
    }
    assert_int_equal(mesh_stats(&f.mesh, 0).connections, 0);
    assert_int_equal(mesh_stats(&f.mesh, 0).connections_corrupt, 0);
    assert_int_equal(close(silent), 0);
    assert_int_equal(close(f.fd), 0);
    mesh_deinit(&f.mesh);
}

enum { CROWD = 40, CROWD_ROOM = 8 };

// Goal: a crowd of silent connections is bounded, and a peer still gets in.
static void test_transport_crowd_does_not_keep_peers_out(void **state) {
    (void)state;
    struct mesh mesh;
    int crowd[CROWD];
    mesh_init(&mesh);
    for (uint32_t i = 0; i < 2; i++) {
        struct transport_config config = mesh_config(&mesh, i);
        config.strangers_max = CROWD_ROOM;
        mesh_start(&mesh, i, &config);
    }
    for (uint32_t i = 0; i < CROWD; i++) {
        crowd[i] = mesh_raw_connect(&mesh, 0);
        mesh_spin(&mesh);
        assert_true(mesh_stats(&mesh, 0).connections <= CROWD_ROOM);
    }
    while (mesh_stats(&mesh, 0).connections_accepted < CROWD) {
        mesh_spin(&mesh);
    }
    assert_int_equal(mesh_stats(&mesh, 0).connections_turned_away, CROWD - CROWD_ROOM);
    mesh_introduce(&mesh, 0, 1);
    while (!mesh_is_up(&mesh, 1, 0)) {
        mesh_spin(&mesh);
    }
    assert_int_equal(mesh_stats(&mesh, 0).connections_timed_out, 0);
    for (uint32_t i = 0; i < CROWD; i++) {
        assert_int_equal(close(crowd[i]), 0);
    }
    mesh_deinit(&mesh);
}

// ------------------------------------------------------------------------ slow readers

// A listener that accepts and shakes hands as node 3, and then never reads again.
struct deaf_peer {
    int listener;
    int fd;
    char address[TRANSPORT_ADDRESS_SIZE_MAX];
};

static void deaf_init(struct deaf_peer *self) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    self->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(self->listener >= 0);
    assert_int_equal(bind(self->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(self->listener, 1), 0);
    assert_int_equal(getsockname(self->listener, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(self->address, sizeof(self->address), "127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(fcntl(self->listener, F_SETFL, O_NONBLOCK), 0);
    self->fd = -1;
}

static void deaf_accept(struct deaf_peer *self, struct mesh *mesh) {
    while (self->fd < 0) {
        mesh_spin(mesh);
        self->fd = accept(self->listener, NULL, NULL);
    }
    uint8_t frame[512];
    ssize_t rc = -1;
    while (rc <= 0) {
        mesh_spin(mesh);
        rc = recv(self->fd, frame, sizeof(frame), MSG_DONTWAIT);
    }
    struct transport_hello hello = good_hello();
    send_raw(self->fd, slice_make(frame, make_hello(frame, sizeof(frame), &hello)));
}

static void deaf_deinit(struct deaf_peer *self) {
    assert_int_equal(close(self->fd), 0);
    assert_int_equal(close(self->listener), 0);
}

enum { SLOW_MAX = 1 << 20, SLOW_BODY = 10000 };

// Goal: a peer that does not read costs its maximum and no more; what its sender repeats is thrown
// out, oldest first, and counted; requests stay.
static void test_transport_slow_reader_is_bounded(void **state) {
    (void)state;
    struct mesh mesh;
    struct deaf_peer deaf;
    mesh_init(&mesh);
    deaf_init(&deaf);
    struct transport_config config = mesh_config(&mesh, 0);
    config.queue_bytes_max = SLOW_MAX;
    mesh_start(&mesh, 0, &config);
    const struct node_id deaf_id = {3};
    struct transport *transport = mesh.nodes[0].transport;
    assert_int_equal(transport_set_peer(transport, deaf_id, deaf.address), STATUS_OK);
    deaf_accept(&deaf, &mesh);
    while (mesh.nodes[0].ups == 0) {
        mesh_spin(&mesh);
    }
    static const uint8_t body[SLOW_BODY];
    struct transport_peer_stats stats = {0};
    uint64_t raft = 0;
    while (stats.messages_dropped < 500) {
        for (int i = 0; i < 10; i++, raft++) {
            transport_send(transport, deaf_id, PEER_RAFT, slice_make(body, sizeof(body)));
        }
        mesh_spin(&mesh);
        assert_int_equal(transport_peer_stats(transport, deaf_id, &stats), STATUS_OK);
        assert_true(stats.queue_bytes <= SLOW_MAX);
    }
    // Requests push the rest of the raft messages out; then there is no room for more of anything.
    uint64_t before = stats.messages_dropped;
    uint64_t requests = 0;
    for (; requests < 2 * SLOW_MAX / SLOW_BODY; requests++) {
        transport_send(transport, deaf_id, PEER_REQUEST, slice_make(body, sizeof(body)));
    }
    assert_int_equal(transport_peer_stats(transport, deaf_id, &stats), STATUS_OK);
    assert_true(stats.queue_bytes <= SLOW_MAX);
    assert_true(stats.messages_dropped - before > requests / 4);
    assert_int_equal(mesh_stats(&mesh, 0).messages_dropped, stats.messages_dropped);
    // Bounded memory also when the peer goes away for good.
    deaf_deinit(&deaf);
    while (mesh.nodes[0].downs == 0) {
        mesh_spin(&mesh);
    }
    mesh_deinit(&mesh);
}

// Goal: a peer that is away may be owed offline_bytes_max, not more.
static void test_transport_absent_peer_is_bounded(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_init(&mesh);
    struct transport_config config = mesh_config(&mesh, 0);
    config.offline_bytes_max = 100000;
    mesh_start(&mesh, 0, &config);
    const struct node_id nowhere = {3};
    struct transport *transport = mesh.nodes[0].transport;
    assert_int_equal(transport_set_peer(transport, nowhere, "127.0.0.1:1"), STATUS_OK);
    static const uint8_t body[1000];
    for (int i = 0; i < 1000; i++) {
        transport_send(transport, nowhere, PEER_REQUEST, slice_make(body, sizeof(body)));
    }
    struct transport_peer_stats stats = {0};
    assert_int_equal(transport_peer_stats(transport, nowhere, &stats), STATUS_OK);
    assert_true(stats.queue_bytes <= 100000);
    assert_true(stats.messages_dropped >= 900);
    mesh_deinit(&mesh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transport_other_protocols_are_closed),
        cmocka_unit_test(test_transport_huge_length_is_closed_at_once),
        cmocka_unit_test(test_transport_first_frame_must_be_a_hello),
        cmocka_unit_test(test_transport_peer_dialling_again_replaces),
        cmocka_unit_test(test_transport_unknown_version_is_told),
        cmocka_unit_test(test_transport_corrupt_frames_of_a_peer_close),
        cmocka_unit_test(test_transport_unknown_message_type_is_skipped),
        cmocka_unit_test(test_transport_stranger_may_only_join),
        cmocka_unit_test(test_transport_stranger_frames_are_small),
        cmocka_unit_test(test_transport_half_frames_then_close),
        cmocka_unit_test(test_transport_hello_byte_by_byte_is_accepted),
        cmocka_unit_test(test_transport_silent_connections_are_closed),
        cmocka_unit_test(test_transport_crowd_does_not_keep_peers_out),
        cmocka_unit_test(test_transport_slow_reader_is_bounded),
        cmocka_unit_test(test_transport_absent_peer_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
