// SPDX-License-Identifier: Apache-2.0
// Descriptors as values: ranges at their edges, order, encoding, and input that is not a
// descriptor.
#include "dataplane/shard/shard.h"

#include "dataplane/base/prng.h"
#include "tests/unit/dataplane/base/death.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct shard_descriptor make(struct slice start, struct slice end) {
    return (struct shard_descriptor){
        .id = {7},
        .start = bytes_copy(start),
        .end = bytes_copy(end),
        .epoch = 3,
        .config_epoch = 2,
        .term = 9,
        .leader = {2},
        .map_version = 40,
        .replica_count = 3,
        .replicas = {{{1}, SHARD_VOTER, 1, false},
                     {{2}, SHARD_VOTER, 1, true},
                     {{300}, SHARD_LEARNER, 2, false}},
        .target_count = 2,
        .targets = {{{300}, SHARD_VOTER}, {{1}, SHARD_LEARNER}},
        .targets_epoch = 1,
    };
}

// Goal: start belongs to the range, end does not, and an empty end has no limit.
static void test_shard_contains_is_half_open(void **state) {
    (void)state;
    struct shard_descriptor d = make(SLICE_LITERAL("b"), SLICE_LITERAL("d"));
    assert_false(shard_descriptor_contains(&d, SLICE_EMPTY));
    assert_false(shard_descriptor_contains(&d, SLICE_LITERAL("a\xff")));
    assert_true(shard_descriptor_contains(&d, SLICE_LITERAL("b")));
    assert_true(shard_descriptor_contains(&d, SLICE_LITERAL("c\xff\xff")));
    assert_false(shard_descriptor_contains(&d, SLICE_LITERAL("d")));
    shard_descriptor_deinit(&d);
    d = make(SLICE_LITERAL("b"), SLICE_EMPTY);
    assert_true(shard_descriptor_contains(&d, SLICE_LITERAL("\xff\xff\xff")));
    shard_descriptor_deinit(&d);
    d = make(SLICE_EMPTY, SLICE_EMPTY);
    assert_true(shard_descriptor_contains(&d, SLICE_EMPTY));
    assert_false(shard_descriptor_is_empty(&d));
    shard_descriptor_deinit(&d);
}

// Goal: the catalogue's range holds nothing and overlaps nothing, itself included.
static void test_shard_empty_range_holds_nothing(void **state) {
    (void)state;
    struct shard_descriptor none = make(SLICE_LITERAL("c"), SLICE_LITERAL("c"));
    struct shard_descriptor all = make(SLICE_EMPTY, SLICE_EMPTY);
    assert_true(shard_descriptor_check(&none));
    assert_true(shard_descriptor_is_empty(&none));
    assert_false(shard_descriptor_contains(&none, SLICE_LITERAL("c")));
    assert_false(shard_descriptor_covers(&none, SLICE_LITERAL("c"), SLICE_LITERAL("c")));
    assert_false(shard_descriptor_overlaps(&none, &all));
    assert_false(shard_descriptor_overlaps(&all, &none));
    assert_true(shard_descriptor_overlaps(&all, &all));
    shard_descriptor_deinit(&none);
    shard_descriptor_deinit(&all);
}

struct range_case {
    const char *start;
    const char *end;
    bool covered;
};

// Goal: a scan belongs to one shard only when all of it does; a reversed one belongs nowhere.
static void test_shard_covers_whole_ranges_only(void **state) {
    (void)state;
    const struct range_case cases[] = {{"b", "d", true},     {"b", "c", true},  {"c", "c", true},
                                       {"a", "c", false},    {"c", "e", false}, {"c", "", false},
                                       {"d", "d", false},    {"d", "e", false}, {"c", "b", false},
                                       {"b", "d\x01", false}};
    struct shard_descriptor d = make(SLICE_LITERAL("b"), SLICE_LITERAL("d"));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(shard_descriptor_covers(&d, slice_from_string(cases[i].start),
                                                 slice_from_string(cases[i].end)),
                         cases[i].covered);
    }
    shard_descriptor_deinit(&d);
    d = make(SLICE_LITERAL("b"), SLICE_EMPTY);
    assert_true(shard_descriptor_covers(&d, SLICE_LITERAL("x"), SLICE_EMPTY));
    assert_true(shard_descriptor_covers(&d, SLICE_LITERAL("x"), SLICE_LITERAL("y")));
    assert_false(shard_descriptor_covers(&d, SLICE_LITERAL("x"), SLICE_LITERAL("c")));
    shard_descriptor_deinit(&d);
}

// Goal: neighbours touch without overlapping.
static void test_shard_overlaps_needs_a_common_key(void **state) {
    (void)state;
    struct shard_descriptor left = make(SLICE_EMPTY, SLICE_LITERAL("m"));
    struct shard_descriptor right = make(SLICE_LITERAL("m"), SLICE_EMPTY);
    struct shard_descriptor middle = make(SLICE_LITERAL("l"), SLICE_LITERAL("n"));
    assert_false(shard_descriptor_overlaps(&left, &right));
    assert_false(shard_descriptor_overlaps(&right, &left));
    assert_true(shard_descriptor_overlaps(&left, &middle));
    assert_true(shard_descriptor_overlaps(&middle, &right));
    shard_descriptor_deinit(&left);
    shard_descriptor_deinit(&right);
    shard_descriptor_deinit(&middle);
}

// Goal: epoch before config_epoch before term; equals replace nothing.
static void test_shard_newer_is_lexicographic(void **state) {
    (void)state;
    const struct shard_descriptor ascending[] = {{.epoch = 1, .config_epoch = 1, .term = 9},
                                                 {.epoch = 1, .config_epoch = 2, .term = 1},
                                                 {.epoch = 1, .config_epoch = 2, .term = 2},
                                                 {.epoch = 2, .config_epoch = 0, .term = 0}};
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            assert_int_equal(shard_descriptor_newer(&ascending[i], &ascending[j]), i > j);
        }
    }
}

// Goal: ids compare by all of their bytes, and only all zeros are zero.
static void test_shard_ids_compare_whole(void **state) {
    (void)state;
    struct txn_id id = {{0}};
    struct cluster_id cluster = {{0}};
    assert_true(txn_id_is_zero(id));
    id.v[15] = 1;
    cluster.v[15] = 1;
    assert_false(txn_id_is_zero(id));
    assert_false(txn_id_equal(id, (struct txn_id){{0}}));
    assert_true(txn_id_equal(id, id));
    assert_false(cluster_id_equal(cluster, (struct cluster_id){{0}}));
}

static void encode(const struct shard_descriptor *d, struct buf *out) {
    struct codec_writer w;
    buf_reset(out);
    codec_writer_init(&w, out);
    shard_descriptor_encode(&w, d);
    assert_int_equal(w.status, STATUS_OK);
}

static enum status decode(struct slice input, struct shard_descriptor *out) {
    struct codec_reader r;
    codec_reader_init(&r, input);
    const enum status st = shard_descriptor_decode(&r, out);
    assert_int_equal(r.status, st);  // sticky in the reader
    return st;
}

// Goal: every field survives the wire.
static void test_shard_encoding_keeps_every_field(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1 << 14);
    struct shard_descriptor d = make(SLICE_LITERAL("\0\0\0\1a"), SLICE_LITERAL("\0\0\0\1z"));
    encode(&d, &buf);
    struct shard_descriptor got = {0};
    assert_int_equal(decode(buf_slice(&buf), &got), STATUS_OK);
    assert_true(got.id.v == 7 && got.epoch == 3 && got.config_epoch == 2 && got.term == 9);
    assert_true(got.leader.v == 2 && got.map_version == 40 && got.replica_count == 3);
    assert_true(slice_equal(bytes_slice(got.start), bytes_slice(d.start)));
    assert_true(slice_equal(bytes_slice(got.end), bytes_slice(d.end)));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(got.replicas[i].node.v, d.replicas[i].node.v);
        assert_int_equal(got.replicas[i].role, d.replicas[i].role);
        assert_true(got.replicas[i].incarnation == d.replicas[i].incarnation);
        assert_true(got.replicas[i].outgoing == d.replicas[i].outgoing);
    }
    assert_true(got.target_count == 2 && got.targets_epoch == 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(got.targets[i].node.v, d.targets[i].node.v);
        assert_int_equal(got.targets[i].role, d.targets[i].role);
    }
    assert_true(shard_descriptor_has_node(&got, (struct node_id){300}));
    assert_false(shard_descriptor_has_node(&got, (struct node_id){3}));
    shard_descriptor_deinit(&got);
    shard_descriptor_deinit(&d);
    buf_deinit(&buf);
}

// Writes a descriptor with the given fault straight through the codec, past the encoder's
// assertion; in the format that knew roles and nodes only, or in the present one.
enum fault {
    FAULT_NONE,
    FAULT_ID_ZERO,
    FAULT_REVERSED,
    FAULT_NODE_ZERO,
    FAULT_NODE_TWICE,
    FAULT_NODE_WIDE,
    FAULT_ROLE,
    FAULT_LEADER_WIDE,
    FAULT_REPLICAS_TOO_MANY,
    FAULT_KEY_TOO_LONG,
    FAULT_FIRST_COUNT,  // faults of both formats end here
    FAULT_FORMAT = FAULT_FIRST_COUNT,
    FAULT_INCARNATION_ZERO,
    FAULT_TARGET_ROLE,
    FAULT_TARGET_TWICE,
    FAULT_TARGET_ZERO,
    FAULT_TARGETS_TOO_MANY,
    FAULT_TARGETS_EPOCH_ZERO,
    FAULT_COUNT
};

static void write_faulty_replicas(struct codec_writer *w, enum fault fault, bool first) {
    const uint64_t limit = first ? SHARD_REPLICAS_MAX : SHARD_MEMBERS_MAX;
    const uint64_t count = fault == FAULT_REPLICAS_TOO_MANY ? limit + 1 : 2;
    codec_put_varint(w, count);
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t node = fault == FAULT_NODE_TWICE ? 1 : i;
        node = fault == FAULT_NODE_ZERO ? 0 : node;
        node = fault == FAULT_NODE_WIDE ? (i << 32) | i : node;
        codec_put_varint(w, node);
        codec_put_u8(w, fault == FAULT_ROLE ? SHARD_ROLE_COUNT : SHARD_LEARNER);
        if (!first) { codec_put_varint(w, fault == FAULT_INCARNATION_ZERO ? 0 : 1); }
    }
}

static void write_faulty_targets(struct codec_writer *w, enum fault fault) {
    const uint64_t count = fault == FAULT_TARGETS_TOO_MANY ? SHARD_REPLICAS_MAX + 1 : 2;
    codec_put_varint(w, count);
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t node = fault == FAULT_TARGET_TWICE ? 1 : i;
        codec_put_varint(w, fault == FAULT_TARGET_ZERO ? 0 : node);
        codec_put_u8(w, fault == FAULT_TARGET_ROLE ? SHARD_LEAVING : SHARD_VOTER);
    }
    codec_put_varint(w, fault == FAULT_TARGETS_EPOCH_ZERO ? 0 : 1);
}

static void write_faulty(struct buf *buf, enum fault fault, bool first) {
    static const uint8_t long_key[SHARD_KEY_SIZE_MAX + 1] = {'a'};
    struct codec_writer w;
    buf_reset(buf);
    codec_writer_init(&w, buf);
    if (!first) {
        codec_put_varint(&w, 0);
        codec_put_u8(&w, fault == FAULT_FORMAT ? 3 : 2);
    }
    codec_put_varint(&w, fault == FAULT_ID_ZERO ? 0 : 7);
    codec_put_slice(&w, fault == FAULT_KEY_TOO_LONG ? slice_make(long_key, sizeof(long_key))
                                                    : SLICE_LITERAL("b"));
    codec_put_slice(&w, fault == FAULT_REVERSED ? SLICE_LITERAL("a") : SLICE_LITERAL("c"));
    codec_put_varint(&w, 1);
    codec_put_varint(&w, 1);
    codec_put_varint(&w, 1);
    codec_put_varint(&w, fault == FAULT_LEADER_WIDE ? UINT64_C(1) << 32 : 1);
    codec_put_varint(&w, 1);
    write_faulty_replicas(&w, fault, first);
    if (!first) { write_faulty_targets(&w, fault); }
    assert_int_equal(w.status, STATUS_OK);
}

// Goal: each rule of a descriptor is enforced on input, and *out stays untouched.
static void test_shard_decode_refuses_each_fault(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1 << 14);
    for (unsigned i = 0; i < FAULT_COUNT + FAULT_FIRST_COUNT; i++) {
        const bool first = i >= FAULT_COUNT;
        const unsigned fault = first ? i - FAULT_COUNT : i;
        struct shard_descriptor got = {0};
        write_faulty(&buf, (enum fault)fault, first);
        const enum status st = decode(buf_slice(&buf), &got);
        assert_int_equal(st, fault == FAULT_NONE ? STATUS_OK : STATUS_CORRUPT);
        assert_true((got.id.v == 0) == (st != STATUS_OK));
        shard_descriptor_deinit(&got);
    }
    buf_deinit(&buf);
}

// Goal: a record of the first format is a shard as it is, of first members.
static void test_shard_decode_takes_the_first_format(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1 << 14);
    struct shard_descriptor got = {0};
    write_faulty(&buf, FAULT_NONE, true);
    assert_int_equal(decode(buf_slice(&buf), &got), STATUS_OK);
    assert_true(got.id.v == 7 && got.replica_count == 2 && got.target_count == 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(got.replicas[i].node.v, i + 1);
        assert_int_equal(got.replicas[i].role, SHARD_LEARNER);
        assert_true(got.replicas[i].incarnation == 1 && !got.replicas[i].outgoing);
    }
    assert_false(shard_descriptor_is_joint(&got));
    shard_descriptor_deinit(&got);
    buf_deinit(&buf);
}

// Goal: an operation has reached its targets when the members are just these and nothing overlaps.
static void test_shard_is_reached_by_exactly_the_targets(void **state) {
    (void)state;
    struct shard_descriptor d = make(SLICE_LITERAL("b"), SLICE_LITERAL("d"));
    assert_true(shard_descriptor_is_joint(&d));
    assert_false(shard_descriptor_is_reached(&d));
    assert_int_equal(shard_descriptor_replica(&d, (struct node_id){300})->incarnation, 2);
    assert_null(shard_descriptor_replica(&d, (struct node_id){3}));
    assert_null(shard_descriptor_target(&d, (struct node_id){2}));
    d.replica_count = 2;
    d.replicas[0].role = SHARD_LEARNER;
    d.replicas[1] = (struct shard_replica){{300}, SHARD_VOTER, 2, false};
    assert_true(shard_descriptor_is_reached(&d));
    d.replicas[0].outgoing = true;
    assert_false(shard_descriptor_is_reached(&d));
    d.replicas[0] = (struct shard_replica){{1}, SHARD_VOTER, 1, false};
    assert_false(shard_descriptor_is_reached(&d));
    d.target_count = 0;
    d.targets_epoch = 0;
    assert_true(shard_descriptor_check(&d));
    assert_false(shard_descriptor_is_reached(&d));
    shard_descriptor_deinit(&d);
}

// Goal: keys of the largest size pass.
static void test_shard_longest_keys_round_trip(void **state) {
    (void)state;
    static uint8_t key[SHARD_KEY_SIZE_MAX];
    struct buf buf;
    buf_init(&buf, 1 << 14);
    memset(key, 'k', sizeof(key));
    struct shard_descriptor d = make(slice_make(key, sizeof(key)), SLICE_LITERAL("z"));
    encode(&d, &buf);
    struct shard_descriptor got = {0};
    assert_int_equal(decode(buf_slice(&buf), &got), STATUS_OK);
    assert_int_equal(got.start->size, SHARD_KEY_SIZE_MAX);
    shard_descriptor_deinit(&got);
    shard_descriptor_deinit(&d);
    buf_deinit(&buf);
}

// Goal: truncation at any byte is corrupt; mutations are corrupt or decode to something that
// encodes to
// the very bytes it came from (one encoding a value); nothing crashes or leaks.
static void test_shard_decode_survives_noise(void **state) {
    (void)state;
    struct prng prng;
    struct buf buf;
    struct buf again;
    prng_init(&prng, 37);
    buf_init(&buf, 1 << 14);
    buf_init(&again, 1 << 14);
    struct shard_descriptor d = make(SLICE_LITERAL("\0\0\0\1a"), SLICE_LITERAL("\0\0\0\1z"));
    encode(&d, &buf);
    for (size_t size = 0; size < buf.size; size++) {
        struct shard_descriptor got = {0};
        struct bytes *cut = bytes_copy(slice_make(buf.data, size));
        assert_int_equal(decode(bytes_slice(cut), &got), STATUS_CORRUPT);
        bytes_unref(cut);
    }
    unsigned decoded = 0;
    for (unsigned round = 0; round < 20000; round++) {
        struct bytes *noisy = bytes_copy(buf_slice(&buf));
        for (uint64_t i = 1 + prng_below(&prng, 3); i > 0; i--) {
            noisy->data[prng_below(&prng, noisy->size)] = (uint8_t)prng_next(&prng);
        }
        struct codec_reader r;
        codec_reader_init(&r, bytes_slice(noisy));
        struct shard_descriptor got = {0};
        if (shard_descriptor_decode(&r, &got) == STATUS_OK) {
            if (noisy->data[0] != 0) {  // of the first format, which is not written any more
                shard_descriptor_deinit(&got);
                bytes_unref(noisy);
                continue;
            }
            decoded++;
            encode(&got, &again);
            const size_t used = noisy->size - codec_remaining(&r);
            assert_true(slice_equal(buf_slice(&again), slice_make(noisy->data, used)));
            shard_descriptor_deinit(&got);
        }
        bytes_unref(noisy);
    }
    assert_true(decoded > 100);  // the test would prove little if nothing got through
    shard_descriptor_deinit(&d);
    buf_deinit(&buf);
    buf_deinit(&again);
}

// Goal: a copy outlives its source.
static void test_shard_copy_shares_the_keys(void **state) {
    (void)state;
    struct shard_descriptor d = make(SLICE_LITERAL("b"), SLICE_LITERAL("d"));
    struct shard_descriptor copy = {0};
    shard_descriptor_copy(&copy, &d);
    assert_ptr_equal(copy.start, d.start);
    shard_descriptor_deinit(&d);
    assert_true(shard_descriptor_contains(&copy, SLICE_LITERAL("c")));
    shard_descriptor_deinit(&copy);
    assert_null(copy.start);
}

static void encode_unsound(void *ctx) {
    struct shard_descriptor *d = (struct shard_descriptor *)ctx;
    struct buf buf;
    struct codec_writer w;
    buf_init(&buf, 1 << 14);
    codec_writer_init(&w, &buf);
    d->replicas[1].node = d->replicas[0].node;
    shard_descriptor_encode(&w, d);
}

// Goal: what a decoder would refuse is never sent.
static void test_shard_encode_asserts_soundness(void **state) {
    (void)state;
    struct shard_descriptor d = make(SLICE_LITERAL("b"), SLICE_LITERAL("d"));
    assert_true(death_by_assert(encode_unsound, &d));
    shard_descriptor_deinit(&d);
}

static void test_txn_id_begins_with_the_time_and_is_never_zero(void **state) {
    (void)state;
    const uint64_t none[2] = {0, 0};
    const uint64_t some[2] = {UINT64_MAX, UINT64_C(0x1122334455667788)};
    assert_false(txn_id_is_zero(txn_id_make(0, none)));
    struct txn_id early = txn_id_make(UINT64_C(0x0102030405fe), some);
    struct txn_id late = txn_id_make(UINT64_C(0x0102030405ff), none);
    const uint8_t time[] = {1, 2, 3, 4, 5, 0xfe};
    assert_memory_equal(early.v, time, sizeof(time));
    assert_true(memcmp(early.v, late.v, sizeof(early.v)) < 0);
    assert_false(txn_id_equal(early, txn_id_make(UINT64_C(0x0102030405fe), none)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shard_contains_is_half_open),
        cmocka_unit_test(test_shard_empty_range_holds_nothing),
        cmocka_unit_test(test_shard_covers_whole_ranges_only),
        cmocka_unit_test(test_shard_overlaps_needs_a_common_key),
        cmocka_unit_test(test_shard_newer_is_lexicographic),
        cmocka_unit_test(test_shard_ids_compare_whole),
        cmocka_unit_test(test_shard_encoding_keeps_every_field),
        cmocka_unit_test(test_shard_decode_refuses_each_fault),
        cmocka_unit_test(test_shard_decode_takes_the_first_format),
        cmocka_unit_test(test_shard_is_reached_by_exactly_the_targets),
        cmocka_unit_test(test_shard_longest_keys_round_trip),
        cmocka_unit_test(test_shard_decode_survives_noise),
        cmocka_unit_test(test_shard_copy_shares_the_keys),
        cmocka_unit_test(test_shard_encode_asserts_soundness),
        cmocka_unit_test(test_txn_id_begins_with_the_time_and_is_never_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
