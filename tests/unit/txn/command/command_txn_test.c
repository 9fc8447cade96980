// SPDX-License-Identifier: Apache-2.0
// Prepares, resolutions and answers: what is encoded comes back, and nothing else decodes.
#include "txn/command/command_txn.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define KEY(text) SLICE_LITERAL("\0\0\0\1" text)

static const struct txn_id id_one = {.v = {1}};
static const struct txn_id id_two = {.v = {2}};

static void encode_part(struct buf *out, struct txn_id txn) {
    const struct command_mutation put = {COMMAND_PUT, KEY("m"), SLICE_LITERAL("v")};
    const struct command_commit commit = {.txn = txn, .mutation_count = 1, .mutations = &put};
    struct codec_writer w;
    codec_writer_init(&w, out);
    command_commit_encode(&w, &commit);
    assert_int_equal(w.status, STATUS_OK);
}

static void encode_prepare(struct buf *out, struct txn_id part_of) {
    struct buf part;
    buf_init(&part, 4096);
    encode_part(&part, part_of);
    const struct slice anchors[] = {KEY("a"), KEY("m"), KEY("z")};
    const struct command_prepare prepare = {.txn = id_one,
                                            .attempt = {77, 5},
                                            .begin = {66},
                                            .request_hash = 9,
                                            .self = 1,
                                            .participant_count = 3,
                                            .participants = anchors,
                                            .part = buf_slice(&part)};
    struct codec_writer w;
    codec_writer_init(&w, out);
    command_prepare_encode(&w, &prepare);
    assert_int_equal(w.status, STATUS_OK);
    buf_deinit(&part);
}

static void test_command_prepare_decodes_to_what_was_encoded(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 4096);
    encode_prepare(&buf, id_one);
    struct command_prepare_view view;
    assert_true(command_is_prepare(buf_slice(&buf)) && !command_is_resolve(buf_slice(&buf)));
    assert_int_equal(command_commit_verify(buf_slice(&buf)), STATUS_CORRUPT);
    assert_int_equal(command_prepare_decode(buf_slice(&buf), &view), STATUS_OK);
    assert_true(txn_id_equal(view.txn, id_one));
    assert_true(txn_attempt_equal(view.attempt, (struct txn_attempt){77, 5}));
    assert_int_equal(view.begin.v, 66);
    assert_int_equal(view.request_hash, 9);
    assert_int_equal(view.self, 1);
    struct slice rest = view.participants;
    struct slice anchor;
    const struct slice expected[] = {KEY("a"), KEY("m"), KEY("z")};
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(command_anchors_next(&rest, &anchor) && slice_equal(anchor, expected[i]));
    }
    assert_false(command_anchors_next(&rest, &anchor));
    assert_int_equal(command_commit_verify(view.part), STATUS_OK);
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(command_prepare_decode(slice_make(buf.data, size), &view), STATUS_CORRUPT);
    }
    buf_deinit(&buf);
}

static void test_command_prepare_of_another_id_is_corrupt(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 4096);
    encode_prepare(&buf, id_two);
    struct command_prepare_view view;
    assert_int_equal(command_prepare_decode(buf_slice(&buf), &view), STATUS_CORRUPT);
    buf_deinit(&buf);
}

static void encode_resolve(struct buf *out) {
    const struct command_resolution items[] = {{.txn = id_one,
                                                .attempt = {77, 5},
                                                .begin = {66},
                                                .decision = COMMAND_DECIDE_COMMIT,
                                                .commit = {88}},
                                               {.txn = id_two,
                                                .attempt = {78, 1},
                                                .begin = {67},
                                                .decision = COMMAND_DECIDE_ABORT,
                                                .outcome = STATUS_CONDITION_FAILED,
                                                .failed_condition = 4,
                                                .request_hash = 12},
                                               {.txn = id_two, .decision = COMMAND_DECIDE_SETTLE}};
    struct codec_writer w;
    codec_writer_init(&w, out);
    command_resolve_begin(&w, 3);
    for (uint32_t i = 0; i < 3; i++) {
        command_resolution_encode(&w, &items[i]);
    }
    assert_int_equal(w.status, STATUS_OK);
}

static enum status walk(struct slice encoded) {
    struct command_resolve_reader reader;
    struct command_resolution item;
    enum status st = command_resolve_open(&reader, encoded);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.count; i++) {
        st = command_resolve_next(&reader, &item);
    }
    return st;
}

static void test_command_resolutions_decode_to_what_was_encoded(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 4096);
    encode_resolve(&buf);
    struct command_resolve_reader reader;
    struct command_resolution item;
    assert_true(command_is_resolve(buf_slice(&buf)));
    assert_int_equal(command_resolve_open(&reader, buf_slice(&buf)), STATUS_OK);
    assert_int_equal(reader.count, 3);
    assert_int_equal(command_resolve_next(&reader, &item), STATUS_OK);
    assert_int_equal(item.commit.v, 88);
    assert_int_equal(command_resolve_next(&reader, &item), STATUS_OK);
    assert_int_equal(item.outcome, STATUS_CONDITION_FAILED);
    assert_int_equal(item.failed_condition, 4);
    assert_int_equal(item.request_hash, 12);
    assert_int_equal(command_resolve_next(&reader, &item), STATUS_OK);
    assert_int_equal(item.decision, COMMAND_DECIDE_SETTLE);
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(walk(slice_make(buf.data, size)), STATUS_CORRUPT);
    }
    buf_deinit(&buf);
}

static void test_command_answers_follow_one_another(void **state) {
    (void)state;
    const struct command_txn_answer answers[] = {
        {.state = COMMAND_TXN_PREPARED, .timestamp = {5}},
        {.state = COMMAND_TXN_ABORTED,
         .reason = COMMAND_REASON_LOCKED,
         .holder = {.v = {2}},
         .key = KEY("k")},
        {.state = COMMAND_TXN_COMMITTED,
         .timestamp = {9},
         .has_outcome = true,
         .outcome = {.status = STATUS_OK, .timestamp = {9}, .request_hash = 3}}};
    struct buf buf;
    buf_init(&buf, 4096);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    for (uint32_t i = 0; i < 3; i++) {
        command_txn_answer_encode(&w, &answers[i]);
    }
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&buf));
    for (uint32_t i = 0; i < 3; i++) {
        struct command_txn_answer got;
        assert_int_equal(command_txn_answer_decode(&r, &got), STATUS_OK);
        assert_int_equal(got.state, answers[i].state);
        assert_int_equal(got.reason, answers[i].reason);
        assert_int_equal(got.timestamp.v, answers[i].timestamp.v);
        assert_true(txn_id_equal(got.holder, answers[i].holder));
        assert_true(slice_equal(got.key, answers[i].key));
        assert_int_equal(got.has_outcome, answers[i].has_outcome);
        assert_int_equal(got.outcome.request_hash, answers[i].outcome.request_hash);
    }
    assert_int_equal(codec_finish(&r), STATUS_OK);
    buf_deinit(&buf);
}

static void test_command_txn_mutated_bytes_never_crash(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 7);
    struct buf prepare;
    struct buf resolve;
    buf_init(&prepare, 4096);
    buf_init(&resolve, 4096);
    encode_prepare(&prepare, id_one);
    encode_resolve(&resolve);
    for (uint32_t i = 0; i < 20000; i++) {
        struct buf *buf = i % 2 == 0 ? &prepare : &resolve;
        const size_t at = prng_below(&prng, buf->size);
        const uint8_t before = buf->data[at];
        buf->data[at] = (uint8_t)prng_next(&prng);
        struct command_prepare_view view;
        (void)!command_prepare_decode(buf_slice(buf), &view);
        (void)!walk(buf_slice(buf));
        buf->data[at] = before;
    }
    buf_deinit(&prepare);
    buf_deinit(&resolve);
}

static void test_command_attempts_are_ordered(void **state) {
    (void)state;
    const struct txn_attempt low = {5, 9};
    const struct txn_attempt high = {6, 1};
    assert_true(txn_attempt_compare(low, high) < 0 && txn_attempt_compare(high, low) > 0);
    assert_true(txn_attempt_compare(low, (struct txn_attempt){5, 10}) < 0);
    assert_int_equal(txn_attempt_compare(low, low), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_prepare_decodes_to_what_was_encoded),
        cmocka_unit_test(test_command_prepare_of_another_id_is_corrupt),
        cmocka_unit_test(test_command_resolutions_decode_to_what_was_encoded),
        cmocka_unit_test(test_command_answers_follow_one_another),
        cmocka_unit_test(test_command_txn_mutated_bytes_never_crash),
        cmocka_unit_test(test_command_attempts_are_ordered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
