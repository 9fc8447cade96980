// SPDX-License-Identifier: Apache-2.0
// The wire format alone: what is written reads back, and nothing else does. Addresses too.
#include "dataplane/transport/transport_frame.h"

#include "dataplane/base/prng.h"
#include "dataplane/port/env.h"
#include "dataplane/transport/transport_address.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static struct transport_hello hello_make(void) {
    struct transport_hello hello = {.purpose = TRANSPORT_PEER,
                                    .cluster = {{1, 2, 3}},
                                    .node = {4},
                                    .boot = 5,
                                    .incarnation = 6,
                                    .instance = 7,
                                    .address = "node-4:7000"};
    return hello;
}

// The body of the item that a put function wrote.
static struct slice body_of(const struct buf *buf, uint8_t type) {
    struct codec_reader reader;
    codec_reader_init(&reader, buf_slice(buf));
    struct transport_item item = transport_item_get(&reader);
    assert_int_equal(codec_finish(&reader), STATUS_OK);
    assert_int_equal(item.type, type);
    return item.body;
}

// Goal: a hello reads back as it was, and no shortened or lengthened one does.
static void test_transport_hello_reads_back_exactly(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 4096);
    struct transport_hello in = hello_make();
    struct transport_hello out;
    assert_int_equal(transport_hello_put(&buf, &in), STATUS_OK);
    struct slice body = body_of(&buf, TRANSPORT_ITEM_HELLO);
    assert_int_equal(transport_hello_get(body, &out), STATUS_OK);
    assert_int_equal(out.purpose, in.purpose);
    assert_memory_equal(out.cluster.v, in.cluster.v, sizeof(in.cluster.v));
    assert_int_equal(out.node.v, 4);
    assert_int_equal(out.boot, 5);
    assert_int_equal(out.incarnation, 6);
    assert_int_equal(out.instance, 7);
    assert_string_equal(out.address, in.address);
    for (size_t size = 0; size < body.size; size++) {
        assert_int_equal(transport_hello_get(slice_make(body.data, size), &out), STATUS_CORRUPT);
    }
    buf_deinit(&buf);
}

// Goal: what would harm a log or a resolver is no address.
static void test_transport_hello_address_must_be_plain(void **state) {
    (void)state;
    static const char *bad[] = {"a b:1", "a\n:1", "\x1b[31m:1", "\x7f:1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf buf;
        buf_init(&buf, 4096);
        struct transport_hello in = hello_make();
        struct transport_hello out;
        (void)strncpy(in.address, bad[i], sizeof(in.address) - 1);
        assert_int_equal(transport_hello_put(&buf, &in), STATUS_OK);
        assert_int_equal(transport_hello_get(body_of(&buf, TRANSPORT_ITEM_HELLO), &out),
                         STATUS_CORRUPT);
        buf_deinit(&buf);
    }
}

// Goal: a refusal reads back with its text; reasons newer than this program are kept apart.
static void test_transport_refusal_reads_back(void **state) {
    (void)state;
    for (int i = 1; i < TRANSPORT_REFUSAL_COUNT; i++) {
        struct buf buf;
        buf_init(&buf, 4096);
        enum transport_refusal out = TRANSPORT_REFUSAL_NONE;
        struct slice text;
        assert_int_equal(transport_refusal_put(&buf, (enum transport_refusal)i), STATUS_OK);
        struct slice body = body_of(&buf, TRANSPORT_ITEM_REFUSAL);
        assert_int_equal(transport_refusal_get(body, &out, &text), STATUS_OK);
        assert_int_equal(out, i);
        assert_true(slice_equal(
            text, slice_from_string(transport_refusal_text((enum transport_refusal)i))));
        assert_int_not_equal(transport_refusal_status((enum transport_refusal)i), STATUS_OK);
        buf.data[buf.size - body.size] = 250;
        assert_int_equal(transport_refusal_get(body, &out, &text), STATUS_OK);
        assert_int_equal(out, TRANSPORT_REFUSAL_COUNT);
        buf.data[buf.size - body.size] = 0;
        assert_int_equal(transport_refusal_get(body, &out, &text), STATUS_CORRUPT);
        buf_deinit(&buf);
    }
}

// Goal: any flipped bit of a frame is found, in its size, checksum or payload.
static void test_transport_frame_every_flipped_bit_is_found(void **state) {
    (void)state;
    uint8_t frame[64];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = (uint8_t)i;
    }
    transport_frame_seal(frame, sizeof(frame));
    assert_int_equal(transport_frame_check(slice_make(frame, sizeof(frame))), STATUS_OK);
    for (size_t bit = 0; bit < 8 * sizeof(frame); bit++) {
        frame[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        uint32_t size = 0;
        bool found = transport_frame_size(frame, TRANSPORT_PAYLOAD_SIZE_MAX, &size) != STATUS_OK ||
                     transport_frame_check(slice_make(frame, sizeof(frame))) != STATUS_OK;
        assert_true(found);
        frame[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
}

// Goal: sizes at the limits of their varints are what was announced.
static void test_transport_item_size_is_exact(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 127, 128, 16383, 16384, 2097151, 2097152};
    static const uint8_t body[2097152];
    struct buf buf;
    buf_init(&buf, 4 << 20);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        buf_reset(&buf);
        assert_int_equal(transport_item_put(&buf, PEER_RAFT, slice_make(body, sizes[i])),
                         STATUS_OK);
        assert_int_equal(buf.size, transport_item_size(sizes[i]));
        assert_int_equal(transport_payload_check(buf_slice(&buf)), STATUS_OK);
        buf.size--;
        assert_int_equal(transport_payload_check(buf_slice(&buf)), STATUS_CORRUPT);
    }
    buf_deinit(&buf);
    assert_int_equal(transport_payload_check(SLICE_EMPTY), STATUS_CORRUPT);
}

// Goal: random bytes never crash a decoder, and rarely please one.
static void test_transport_decoders_survive_noise(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 20261120);
    uint8_t noise[96];
    for (int round = 0; round < 50000; round++) {
        for (size_t i = 0; i < sizeof(noise); i++) {
            noise[i] = (uint8_t)prng_next(&prng);
        }
        struct slice input = slice_make(noise, prng_below(&prng, sizeof(noise) + 1));
        struct transport_hello hello;
        enum transport_refusal refusal;
        struct slice text;
        assert_int_not_equal(transport_hello_get(input, &hello), STATUS_OK);
        (void)!transport_refusal_get(input, &refusal, &text);
        (void)!transport_payload_check(input);
    }
}

struct judge_case {
    enum transport_refusal wanted;
    void (*change)(struct transport_hello *own, struct transport_hello *theirs,
                   struct transport_known *known);
};

#define CHANGE(name, ...)                                                         \
    static void name(struct transport_hello *own, struct transport_hello *theirs, \
                     struct transport_known *known) {                             \
        (void)own;                                                                \
        (void)theirs;                                                             \
        (void)known;                                                              \
        __VA_ARGS__;                                                              \
    }
CHANGE(change_nothing, (void)0)
CHANGE(change_cluster, theirs->cluster.v[15] = 1)
CHANGE(change_instance, theirs->instance = own->instance)
CHANGE(change_node, theirs->node = own->node)
CHANGE(change_no_node, theirs->node.v = 0)
CHANGE(change_no_cluster, theirs->cluster = (struct cluster_id){{0}})
CHANGE(change_not_ready, own->cluster = (struct cluster_id){{0}})
CHANGE(change_removed, known->removed = true)
CHANGE(change_later_boot, known->boot = 6)
CHANGE(change_same_boot, known->boot = 5)
CHANGE(change_incarnation, known->incarnation = 99)
CHANGE(change_same_incarnation, known->incarnation = 6)
CHANGE(change_join, theirs->purpose = TRANSPORT_JOIN; theirs->node.v = 0;
       theirs->cluster = (struct cluster_id){{0}})
CHANGE(change_join_other_cluster, theirs->purpose = TRANSPORT_JOIN; theirs->cluster.v[0] = 9)
CHANGE(change_join_removed, theirs->purpose = TRANSPORT_JOIN; known->removed = true)

// Goal: each rule of the handshake, alone.
static void test_transport_hello_judge_each_rule(void **state) {
    (void)state;
    static const struct judge_case cases[] = {
        {TRANSPORT_REFUSAL_NONE, change_nothing},
        {TRANSPORT_REFUSAL_CLUSTER, change_cluster},
        {TRANSPORT_REFUSAL_SELF, change_instance},
        {TRANSPORT_REFUSAL_SELF, change_node},
        {TRANSPORT_REFUSAL_NO_IDENTITY, change_no_node},
        {TRANSPORT_REFUSAL_NO_IDENTITY, change_no_cluster},
        {TRANSPORT_REFUSAL_NOT_READY, change_not_ready},
        {TRANSPORT_REFUSAL_REMOVED, change_removed},
        {TRANSPORT_REFUSAL_OLD_BOOT, change_later_boot},
        {TRANSPORT_REFUSAL_NONE, change_same_boot},
        {TRANSPORT_REFUSAL_INCARNATION, change_incarnation},
        {TRANSPORT_REFUSAL_NONE, change_same_incarnation},
        {TRANSPORT_REFUSAL_NONE, change_join},
        {TRANSPORT_REFUSAL_CLUSTER, change_join_other_cluster},
        {TRANSPORT_REFUSAL_REMOVED, change_join_removed},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct transport_hello own = hello_make();
        own.node.v = 1;
        own.instance = 1;
        struct transport_hello theirs = hello_make();
        struct transport_known known = {0};
        cases[i].change(&own, &theirs, &known);
        assert_int_equal(transport_hello_judge(&own, &theirs, &known), cases[i].wanted);
    }
}

// Goal: addresses are host and port, with brackets where the host has colons.
static void test_transport_address_parse_accepts_and_refuses(void **state) {
    (void)state;
    static const char *bad[] = {
        "",      ":1",   "a",     "a:",   "a:b",  "a:65536", "::1:1",
        "[::1]", "[]:1", "a b:1", "a:1 ", "a:-1", "a:+1",    "a:99999999999999999999",
        "[::1:5"};
    struct transport_address address;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(transport_address_parse(bad[i], &address), STATUS_INVALID_ARGUMENT);
    }
    char long_name[TRANSPORT_ADDRESS_SIZE_MAX + 8];
    memset(long_name, 'a', sizeof(long_name));
    memcpy(long_name + sizeof(long_name) - 3, ":1", 3);
    assert_int_equal(transport_address_parse(long_name, &address), STATUS_INVALID_ARGUMENT);
    assert_int_equal(transport_address_parse("host.example:65535", &address), STATUS_OK);
    assert_string_equal(address.host, "host.example");
    assert_int_equal(address.port, 65535);
    assert_int_equal(transport_address_parse("[::1]:0", &address), STATUS_OK);
    assert_string_equal(address.host, "::1");
    assert_int_equal(address.port, 0);
}

static void expect_numeric(const char *text, bool is_loopback, bool is_any) {
    struct transport_address address;
    struct sockaddr_storage storage;
    char back[TRANSPORT_ADDRESS_SIZE_MAX];
    assert_int_equal(transport_address_parse(text, &address), STATUS_OK);
    assert_int_equal(transport_address_numeric(&address, &storage), STATUS_OK);
    const struct sockaddr *socket_address = (const struct sockaddr *)&storage;
    assert_int_equal(transport_address_is_loopback(socket_address), is_loopback);
    assert_int_equal(transport_address_is_any(socket_address), is_any);
    transport_address_format(socket_address, back);
    assert_string_equal(back, text);
}

// Goal: the loopback is known when seen, which is what plain text depends on.
static void test_transport_address_knows_the_loopback(void **state) {
    (void)state;
    expect_numeric("127.0.0.1:1", true, false);
    expect_numeric("127.255.0.9:65535", true, false);
    expect_numeric("[::1]:80", true, false);
    expect_numeric("128.0.0.1:1", false, false);
    expect_numeric("0.0.0.0:1", false, true);
    expect_numeric("[::]:1", false, true);
    expect_numeric("[2001:db8::1]:1", false, false);
    struct transport_address address;
    struct sockaddr_storage storage;
    assert_int_equal(transport_address_parse("localhost:1", &address), STATUS_OK);
    assert_int_equal(transport_address_numeric(&address, &storage), STATUS_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transport_hello_reads_back_exactly),
        cmocka_unit_test(test_transport_hello_address_must_be_plain),
        cmocka_unit_test(test_transport_refusal_reads_back),
        cmocka_unit_test(test_transport_frame_every_flipped_bit_is_found),
        cmocka_unit_test(test_transport_item_size_is_exact),
        cmocka_unit_test(test_transport_decoders_survive_noise),
        cmocka_unit_test(test_transport_hello_judge_each_rule),
        cmocka_unit_test(test_transport_address_parse_accepts_and_refuses),
        cmocka_unit_test(test_transport_address_knows_the_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
