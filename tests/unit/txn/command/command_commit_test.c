// SPDX-License-Identifier: Apache-2.0
// Commits: every limit at one below, at it and one above; the encoding decodes to the same; what
// admission refuses, decoding refuses.
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "txn/command/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define KEY(text) SLICE_LITERAL("\0\0\0\1" text)

static const struct txn_id id_one = {.v = {1}};

static struct command_commit commit_of(const struct command_mutation *mutations, uint32_t count) {
    return (struct command_commit){.txn = id_one, .mutations = mutations, .mutation_count = count};
}

static enum status check_one(struct command_mutation mutation, struct err *err) {
    const struct command_commit commit = commit_of(&mutation, 1);
    return command_commit_check(&commit, err);
}

static void encode(const struct command_commit *commit, struct buf *out) {
    buf_reset(out);
    struct codec_writer w;
    codec_writer_init(&w, out);
    command_commit_encode(&w, commit);
    assert_int_equal(w.status, STATUS_OK);
}

// Admission refuses it with this text, and the bytes of the same commit do not decode.
static void assert_refused(const struct command_commit *commit, const char *text) {
    struct err err = {0};
    assert_int_equal(command_commit_check(commit, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, text));
    struct buf buf;
    buf_init(&buf, (size_t)64 << 20);
    encode(commit, &buf);
    assert_int_equal(command_commit_verify(buf_slice(&buf)), STATUS_CORRUPT);
    buf_deinit(&buf);
}

static void assert_accepted(const struct command_commit *commit) {
    struct err err = {0};
    assert_int_equal(command_commit_check(commit, &err), STATUS_OK);
    struct buf buf;
    buf_init(&buf, (size_t)64 << 20);
    encode(commit, &buf);
    assert_int_equal(command_commit_verify(buf_slice(&buf)), STATUS_OK);
    buf_deinit(&buf);
}

static void test_command_commit_key_sizes_hold_their_limits(void **state) {
    (void)state;
    static uint8_t key[SHARD_KEY_SIZE_MAX + 1] = {0, 0, 0, 1, 'k'};
    struct command_mutation put = {.kind = COMMAND_PUT};
    const struct command_commit commit = commit_of(&put, 1);
    for (size_t size = SHARD_KEYSPACE_PREFIX_SIZE + 1; size <= SHARD_KEYSPACE_PREFIX_SIZE + 2;
         size++) {
        put.key = slice_make(key, size);
        assert_accepted(&commit);
    }
    put.key = slice_make(key, SHARD_KEY_SIZE_MAX - 1);
    assert_accepted(&commit);
    put.key = slice_make(key, SHARD_KEY_SIZE_MAX);
    assert_accepted(&commit);
    put.key = slice_make(key, SHARD_KEY_SIZE_MAX + 1);
    assert_refused(&commit, "mutation 0: key has 4097 bytes, limit 4096");
    put.key = slice_make(key, SHARD_KEYSPACE_PREFIX_SIZE);
    assert_refused(&commit, "mutation 0: key is empty");
    put.key = slice_make(key, SHARD_KEYSPACE_PREFIX_SIZE - 1);
    assert_refused(&commit, "mutation 0: key has no keyspace prefix");
    put.key = SLICE_EMPTY;
    assert_refused(&commit, "mutation 0: key has no keyspace prefix");
}

static void test_command_commit_reserved_keys_are_refused(void **state) {
    (void)state;
    struct command_mutation put = {.kind = COMMAND_PUT, .key = KEY("\xff\xff")};
    const struct command_commit commit = commit_of(&put, 1);
    assert_refused(&commit, "reserved");
    put.key = KEY("\xff\xff"
                  "a");
    assert_refused(&commit, "reserved");
    put.key = KEY("\xff");
    assert_accepted(&commit);
    put.key = KEY("\xff\xfe\xff\xff");
    assert_accepted(&commit);
    put.key = KEY("\0");
    assert_accepted(&commit);
    struct command_condition condition = {.kind = COMMAND_EXISTS, .key = KEY("\xff\xff")};
    const struct command_commit other = {
        .txn = id_one, .conditions = &condition, .condition_count = 1};
    assert_refused(&other, "condition 0: keys that begin with 0xFF 0xFF");
}

static void test_command_commit_value_sizes_hold_their_limits(void **state) {
    (void)state;
    uint8_t *value = mem_alloc(SHARD_VALUE_SIZE_MAX + 1);
    struct command_mutation put = {.kind = COMMAND_PUT, .key = KEY("a")};
    const struct command_commit commit = commit_of(&put, 1);
    put.value = slice_make(value, 0);
    assert_accepted(&commit);
    put.value = slice_make(value, SHARD_VALUE_SIZE_MAX - 1);
    assert_accepted(&commit);
    put.value = slice_make(value, SHARD_VALUE_SIZE_MAX);
    assert_accepted(&commit);
    put.value = slice_make(value, SHARD_VALUE_SIZE_MAX + 1);
    assert_refused(&commit, "mutation 0: value has 1048577 bytes, limit 1048576");
    struct command_condition condition = {.kind = COMMAND_VALUE_EQUALS, .key = KEY("a")};
    const struct command_commit other = {
        .txn = id_one, .conditions = &condition, .condition_count = 1};
    condition.value = slice_make(value, SHARD_VALUE_SIZE_MAX);
    assert_accepted(&other);
    condition.value = slice_make(value, SHARD_VALUE_SIZE_MAX + 1);
    assert_refused(&other, "condition 0: value has 1048577 bytes, limit 1048576");
    mem_free(value);
}

// Distinct keys "\0\0\0\1" + u32; keys has 8 bytes for each.
static struct command_mutation *many_puts(uint32_t count, uint8_t *keys) {
    struct command_mutation *puts = mem_alloc_array(count, sizeof(*puts));
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *key = keys + (size_t)8 * i;
        memcpy(key, "\0\0\0\1", 4);
        codec_store_u32(key + 4, i);
        puts[i] = (struct command_mutation){.kind = COMMAND_PUT, .key = slice_make(key, 8)};
    }
    return puts;
}

static void test_command_commit_counts_hold_their_limits(void **state) {
    (void)state;
    uint8_t *keys = mem_alloc((size_t)8 * (COMMAND_OPS_MAX + 1));
    struct command_mutation *puts = many_puts(COMMAND_OPS_MAX + 1, keys);
    struct command_commit commit = commit_of(puts, 0);
    assert_refused(&commit, "commit has 0 reads, conditions and mutations");
    for (uint32_t count = COMMAND_OPS_MAX - 1; count <= COMMAND_OPS_MAX; count++) {
        commit.mutation_count = count;
        assert_accepted(&commit);
    }
    commit.mutation_count = COMMAND_OPS_MAX + 1;
    assert_refused(&commit, "commit has 10001 reads, conditions and mutations");
    // Conditions and mutations count together.
    const struct command_condition condition = {.kind = COMMAND_ABSENT, .key = KEY("c")};
    commit.conditions = &condition;
    commit.condition_count = 1;
    commit.mutation_count = COMMAND_OPS_MAX - 1;
    assert_accepted(&commit);
    commit.mutation_count = COMMAND_OPS_MAX;
    assert_refused(&commit, "commit has 10001 reads, conditions and mutations");
    mem_free(puts);
    mem_free(keys);
}

static void test_command_commit_total_size_holds_its_limit(void **state) {
    (void)state;
    enum { PUTS = 17 };
    uint8_t *value = mem_alloc(SHARD_VALUE_SIZE_MAX);
    uint8_t keys[8 * PUTS];
    struct command_mutation *puts = many_puts(PUTS, keys);
    for (uint32_t i = 0; i + 1 < PUTS; i++) {
        puts[i].value = slice_make(value, SHARD_VALUE_SIZE_MAX - 1024);
    }
    puts[PUTS - 1].value = slice_make(value, 4096);
    const struct command_commit commit = commit_of(puts, PUTS);
    struct buf buf;
    buf_init(&buf, (size_t)64 << 20);
    encode(&commit, &buf);
    const size_t exact = 4096 + (SHARD_COMMIT_SIZE_MAX - buf.size);
    puts[PUTS - 1].value = slice_make(value, exact);
    encode(&commit, &buf);
    assert_int_equal(buf.size, SHARD_COMMIT_SIZE_MAX);
    buf_deinit(&buf);
    assert_accepted(&commit);
    puts[PUTS - 1].value = slice_make(value, exact - 1);
    assert_accepted(&commit);
    puts[PUTS - 1].value = slice_make(value, exact + 1);
    assert_refused(&commit, "commit has 16777217 bytes, limit 16777216");
    mem_free(puts);
    mem_free(value);
}

static void test_command_commit_ranges_must_run_forward_in_one_keyspace(void **state) {
    (void)state;
    struct command_mutation range = {.kind = COMMAND_DELETE_RANGE};
    const struct command_commit commit = commit_of(&range, 1);
    range.key = KEY("b");
    range.value = KEY("a");
    assert_refused(&commit, "mutation 0: the start of the range must lie before its end");
    range.value = KEY("b");
    assert_refused(&commit, "mutation 0: the start of the range must lie before its end");
    range.value = KEY("b\0");
    assert_accepted(&commit);
    range.key = SLICE_LITERAL("\0\0\0\1");
    assert_accepted(&commit);
    range.value = SLICE_LITERAL("\0\0\0\2");
    assert_accepted(&commit);
    range.value = SLICE_LITERAL("\0\0\0\2\0");
    assert_refused(&commit, "mutation 0: the range leaves its keyspace");
    range.value = SLICE_LITERAL("\0\0\0\3");
    assert_refused(&commit, "mutation 0: the range leaves its keyspace");
    range.value = SLICE_EMPTY;
    assert_refused(&commit, "mutation 0: end key has 0 bytes");
    range.key = KEY("\xff\xff");
    range.value = SLICE_LITERAL("\0\0\0\2");
    assert_refused(&commit, "reserved");
}

static void test_command_commit_zero_id_is_refused(void **state) {
    (void)state;
    const struct command_mutation put = {.kind = COMMAND_PUT, .key = KEY("a")};
    struct command_commit commit = commit_of(&put, 1);
    struct buf buf;
    buf_init(&buf, 1024);
    encode(&commit, &buf);
    memset(buf.data + 1, 0, sizeof(commit.txn.v));
    assert_int_equal(command_commit_verify(buf_slice(&buf)), STATUS_CORRUPT);
    buf_deinit(&buf);
    commit.txn = (struct txn_id){0};
    struct err err = {0};
    assert_int_equal(command_commit_check(&commit, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "transaction id"));
}

static void test_command_commit_unknown_kinds_are_refused(void **state) {
    (void)state;
    struct err err = {0};
    struct command_mutation mutation = {.key = KEY("a")};
    assert_int_equal(check_one(mutation, &err), STATUS_INVALID_ARGUMENT);
    mutation.kind = COMMAND_MUTATION_KIND_COUNT;
    assert_int_equal(check_one(mutation, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "mutation 0: unknown kind 5");
    struct command_condition condition = {.kind = COMMAND_CONDITION_KIND_COUNT, .key = KEY("a")};
    const struct command_commit commit = {
        .txn = id_one, .conditions = &condition, .condition_count = 1};
    assert_refused(&commit, "condition 0: unknown kind 6");
}

static void assert_overlap(const struct command_mutation *mutations, uint32_t count,
                           const char *text) {
    const struct command_commit commit = commit_of(mutations, count);
    struct err err = {0};
    assert_int_equal(command_commit_check(&commit, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, text);
}

static void test_command_commit_a_key_twice_is_refused(void **state) {
    (void)state;
    const struct command_mutation pair[] = {{COMMAND_PUT, KEY("a"), SLICE_EMPTY},
                                            {COMMAND_PUT, KEY("b"), SLICE_EMPTY},
                                            {COMMAND_DELETE, KEY("a"), SLICE_EMPTY}};
    assert_overlap(pair, 3, "mutation 2: same key as mutation 0; a commit may change a key once");
    // Also among so many that they are sorted outside the stack.
    uint8_t *keys = mem_alloc((size_t)8 * COMMAND_OPS_MAX);
    struct command_mutation *puts = many_puts(COMMAND_OPS_MAX, keys);
    puts[9999].key = puts[17].key;
    assert_overlap(puts, COMMAND_OPS_MAX,
                   "mutation 9999: same key as mutation 17; a commit may change a key once");
    mem_free(puts);
    mem_free(keys);
}

static void test_command_commit_a_key_in_a_deleted_range_is_refused(void **state) {
    (void)state;
    struct command_mutation pair[] = {{COMMAND_PUT, KEY("c"), SLICE_EMPTY},
                                      {COMMAND_DELETE_RANGE, KEY("b"), KEY("d")}};
    assert_overlap(pair, 2, "mutation 0: its key lies in the delete_range of mutation 1");
    pair[0].key = KEY("b");
    assert_overlap(pair, 2, "mutation 1: same key as mutation 0; a commit may change a key once");
    pair[0].kind = COMMAND_DELETE;
    pair[0].key = KEY("cc");
    assert_overlap(pair, 2, "mutation 0: its key lies in the delete_range of mutation 1");
    pair[0] = (struct command_mutation){COMMAND_DELETE_RANGE, KEY("a"), KEY("bb")};
    assert_overlap(pair, 2, "mutation 1: its key lies in the delete_range of mutation 0");
    const struct command_commit commit = commit_of(pair, 2);
    pair[0].value = KEY("b");
    assert_accepted(&commit);
    pair[0] = (struct command_mutation){COMMAND_PUT, KEY("d"), SLICE_EMPTY};
    assert_accepted(&commit);
    pair[0].key = KEY("a");
    assert_accepted(&commit);
}

static void test_command_commit_decodes_to_what_was_encoded(void **state) {
    (void)state;
    const struct command_condition conditions[] = {
        {COMMAND_EXISTS, KEY("e"), SLICE_EMPTY, HLC_ZERO},
        {COMMAND_ABSENT, KEY("f"), SLICE_EMPTY, HLC_ZERO},
        {COMMAND_VALUE_EQUALS, KEY("g"), SLICE_LITERAL("v"), HLC_ZERO},
        {COMMAND_VERSION_EQUALS, KEY("h"), SLICE_EMPTY, {77}},
        {COMMAND_TIMESTAMP_AT_MOST, KEY("z"), SLICE_EMPTY, {UINT64_MAX}}};
    const struct command_mutation mutations[] = {
        {COMMAND_PUT, KEY("m"), SLICE_LITERAL("value\0with")},
        {COMMAND_DELETE, KEY("n"), SLICE_EMPTY},
        {COMMAND_DELETE_RANGE, KEY("a"), KEY("c")}};
    const struct command_commit commit = {.txn = id_one,
                                          .condition_count = 5,
                                          .mutation_count = 3,
                                          .conditions = conditions,
                                          .mutations = mutations};
    struct buf buf;
    buf_init(&buf, 4096);
    encode(&commit, &buf);
    struct command_commit_reader reader;
    assert_int_equal(command_commit_open(&reader, buf_slice(&buf)), STATUS_OK);
    assert_true(txn_id_equal(reader.txn, id_one));
    assert_int_equal(reader.condition_count, 5);
    assert_int_equal(reader.mutation_count, 3);
    for (uint32_t i = 0; i < 5; i++) {
        struct command_condition got;
        assert_int_equal(command_commit_next_condition(&reader, &got), STATUS_OK);
        assert_int_equal(got.kind, conditions[i].kind);
        assert_true(slice_equal(got.key, conditions[i].key));
        assert_true(slice_equal(got.value, conditions[i].value));
        assert_true(hlc_equal(got.ts, conditions[i].ts));
    }
    for (uint32_t i = 0; i < 3; i++) {
        struct command_mutation got;
        assert_int_equal(command_commit_next_mutation(&reader, &got), STATUS_OK);
        assert_int_equal(got.kind, mutations[i].kind);
        assert_true(slice_equal(got.key, mutations[i].key));
        assert_true(slice_equal(got.value, mutations[i].value));
    }
    struct slice low;
    struct slice high;
    assert_int_equal(command_commit_span(buf_slice(&buf), &low, &high), STATUS_OK);
    assert_true(slice_equal(low, KEY("a")));
    assert_true(slice_equal(high, KEY("z")));
    buf_deinit(&buf);
}

static void test_command_commit_span_counts_the_end_of_a_range(void **state) {
    (void)state;
    const struct command_mutation range = {COMMAND_DELETE_RANGE, KEY("b"), KEY("x")};
    const struct command_commit commit = commit_of(&range, 1);
    struct buf buf;
    buf_init(&buf, 4096);
    encode(&commit, &buf);
    struct slice low;
    struct slice high;
    assert_int_equal(command_commit_span(buf_slice(&buf), &low, &high), STATUS_OK);
    assert_true(slice_equal(low, KEY("b")));
    assert_true(slice_equal(high, KEY("x")));
    buf_deinit(&buf);
}

// Every cut and every trailing byte is noticed.
static void test_command_commit_truncated_or_longer_is_corrupt(void **state) {
    (void)state;
    const struct command_condition condition = {COMMAND_VALUE_EQUALS, KEY("g"), SLICE_LITERAL("v"),
                                                HLC_ZERO};
    const struct command_mutation put = {COMMAND_PUT, KEY("m"), SLICE_LITERAL("value")};
    const struct command_commit commit = {.txn = id_one,
                                          .condition_count = 1,
                                          .mutation_count = 1,
                                          .conditions = &condition,
                                          .mutations = &put};
    struct buf buf;
    buf_init(&buf, 4096);
    encode(&commit, &buf);
    struct slice low;
    struct slice high;
    for (size_t size = 0; size < buf.size; size++) {
        const struct slice cut = slice_make(buf.data, size);
        assert_int_equal(command_commit_verify(cut), STATUS_CORRUPT);
        assert_int_equal(command_commit_span(cut, &low, &high), STATUS_CORRUPT);
    }
    assert_int_equal(buf_append(&buf, SLICE_LITERAL("x")), STATUS_OK);
    assert_int_equal(command_commit_verify(buf_slice(&buf)), STATUS_CORRUPT);
    buf_deinit(&buf);
}

static void test_command_commit_check_reports_lost_memory(void **state) {
    (void)state;
    uint8_t keys[8 * 64];
    struct command_mutation *puts = many_puts(64, keys);
    const struct command_commit commit = commit_of(puts, 64);
    mem_fault_set(1);
    assert_int_equal(command_commit_check(&commit, NULL), STATUS_RESOURCE_EXHAUSTED);
    mem_fault_set(0);
    assert_int_equal(command_commit_check(&commit, NULL), STATUS_OK);
    mem_free(puts);
}

static void test_command_outcome_decodes_to_what_was_encoded(void **state) {
    (void)state;
    const struct command_outcome outcome = {STATUS_CONDITION_FAILED, {99}, 9999, 0xABCDEF};
    struct buf buf;
    buf_init(&buf, 128);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    command_outcome_encode(&w, &outcome);
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&buf));
    struct command_outcome got;
    assert_int_equal(command_outcome_decode(&r, &got), STATUS_OK);
    assert_int_equal(codec_finish(&r), STATUS_OK);
    assert_int_equal(got.status, outcome.status);
    assert_int_equal(got.timestamp.v, 99);
    assert_int_equal(got.failed_condition, 9999);
    assert_int_equal(got.request_hash, 0xABCDEF);
    buf.data[0] = STATUS_COUNT;
    codec_reader_init(&r, buf_slice(&buf));
    assert_int_equal(command_outcome_decode(&r, &got), STATUS_CORRUPT);
    buf_deinit(&buf);
}

// What decodes is within the limits: it encodes again to the same bytes.
static void assert_round_trip(struct slice bytes) {
    static struct command_span reads[64];
    static struct command_condition conditions[64];
    static struct command_mutation mutations[64];
    struct command_commit_reader reader;
    assert_int_equal(command_commit_open(&reader, bytes), STATUS_OK);
    assert_true(reader.condition_count <= 64 && reader.mutation_count <= 64);
    assert_true(reader.read_count <= 64);
    for (uint32_t i = 0; i < reader.read_count; i++) {
        assert_int_equal(command_commit_next_read(&reader, &reads[i]), STATUS_OK);
    }
    for (uint32_t i = 0; i < reader.condition_count; i++) {
        assert_int_equal(command_commit_next_condition(&reader, &conditions[i]), STATUS_OK);
    }
    for (uint32_t i = 0; i < reader.mutation_count; i++) {
        assert_int_equal(command_commit_next_mutation(&reader, &mutations[i]), STATUS_OK);
    }
    const struct command_commit commit = {.txn = reader.txn,
                                          .snapshot = reader.snapshot,
                                          .read_count = reader.read_count,
                                          .condition_count = reader.condition_count,
                                          .mutation_count = reader.mutation_count,
                                          .reads = reads,
                                          .conditions = conditions,
                                          .mutations = mutations};
    struct buf buf;
    buf_init(&buf, 4096);
    encode(&commit, &buf);
    assert_true(slice_equal(buf_slice(&buf), bytes));
    buf_deinit(&buf);
}

static void test_command_commit_reads_travel_with_their_snapshot(void **state) {
    (void)state;
    const struct command_span reads[] = {{KEY("b"), SLICE_EMPTY}, {KEY("c"), KEY("d")}};
    const struct command_mutation put = {COMMAND_PUT, KEY("m"), SLICE_LITERAL("v")};
    struct command_commit commit = {.txn = id_one,
                                    .snapshot = {77},
                                    .read_count = 2,
                                    .mutation_count = 1,
                                    .reads = reads,
                                    .mutations = &put};
    assert_accepted(&commit);
    struct buf buf;
    buf_init(&buf, 4096);
    encode(&commit, &buf);
    assert_round_trip(buf_slice(&buf));
    struct command_commit_reader reader;
    assert_int_equal(command_commit_open(&reader, buf_slice(&buf)), STATUS_OK);
    assert_int_equal(reader.snapshot.v, 77);
    struct slice low;
    struct slice high;
    assert_int_equal(command_commit_span(buf_slice(&buf), &low, &high), STATUS_OK);
    assert_true(slice_equal(low, KEY("b")) && slice_equal(high, KEY("m")));
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(command_commit_verify(slice_make(buf.data, size)), STATUS_CORRUPT);
    }
    // Reads alone are a commit: it says that they still stand.
    commit.mutation_count = 0;
    assert_accepted(&commit);
    commit.snapshot = HLC_ZERO;
    assert_refused(&commit, "snapshot: it comes with the reads");
    commit.read_count = 0;
    commit.mutation_count = 1;
    commit.snapshot.v = 1;  // it has no place in the encoding
    struct err err = {0};
    assert_int_equal(command_commit_check(&commit, &err), STATUS_INVALID_ARGUMENT);
    buf_deinit(&buf);
}

static void test_command_commit_bad_reads_are_named(void **state) {
    (void)state;
    struct command_span read = {SLICE_LITERAL("\0\0\0\1"), SLICE_EMPTY};
    const struct command_commit commit = {
        .txn = id_one, .snapshot = {77}, .read_count = 1, .reads = &read};
    assert_refused(&commit, "read 0: key is empty");
    read = (struct command_span){KEY("c"), KEY("b")};
    assert_refused(&commit, "read 0: the start of the range must lie before its end");
    read = (struct command_span){KEY("c"), SLICE_LITERAL("\0\0\0\2x")};
    assert_refused(&commit, "read 0: the range leaves its keyspace");
}

static void test_command_commit_mutated_bytes_never_crash(void **state) {
    (void)state;
    const struct command_condition condition = {COMMAND_VERSION_EQUALS, KEY("g"), SLICE_EMPTY, {5}};
    const struct command_mutation mutations[] = {{COMMAND_PUT, KEY("m"), SLICE_LITERAL("value")},
                                                 {COMMAND_DELETE_RANGE, KEY("a"), KEY("c")}};
    const struct command_commit commit = {.txn = id_one,
                                          .condition_count = 1,
                                          .mutation_count = 2,
                                          .conditions = &condition,
                                          .mutations = mutations};
    struct buf buf;
    buf_init(&buf, 4096);
    encode(&commit, &buf);
    struct prng prng;
    prng_init(&prng, 7);
    uint32_t valid = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        uint8_t bytes[256];
        memcpy(bytes, buf.data, buf.size);
        const uint64_t flips = prng_between(&prng, 1, 4);
        for (uint64_t i = 0; i < flips; i++) {
            bytes[prng_below(&prng, buf.size)] = (uint8_t)prng_next(&prng);
        }
        const struct slice input = slice_make(bytes, buf.size);
        if (command_commit_verify(input) == STATUS_OK) {
            assert_round_trip(input);
            valid++;
        }
    }
    assert_true(valid > 0);
    buf_deinit(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_commit_key_sizes_hold_their_limits),
        cmocka_unit_test(test_command_commit_reserved_keys_are_refused),
        cmocka_unit_test(test_command_commit_value_sizes_hold_their_limits),
        cmocka_unit_test(test_command_commit_counts_hold_their_limits),
        cmocka_unit_test(test_command_commit_total_size_holds_its_limit),
        cmocka_unit_test(test_command_commit_ranges_must_run_forward_in_one_keyspace),
        cmocka_unit_test(test_command_commit_zero_id_is_refused),
        cmocka_unit_test(test_command_commit_unknown_kinds_are_refused),
        cmocka_unit_test(test_command_commit_a_key_twice_is_refused),
        cmocka_unit_test(test_command_commit_a_key_in_a_deleted_range_is_refused),
        cmocka_unit_test(test_command_commit_decodes_to_what_was_encoded),
        cmocka_unit_test(test_command_commit_span_counts_the_end_of_a_range),
        cmocka_unit_test(test_command_commit_truncated_or_longer_is_corrupt),
        cmocka_unit_test(test_command_commit_check_reports_lost_memory),
        cmocka_unit_test(test_command_outcome_decodes_to_what_was_encoded),
        cmocka_unit_test(test_command_commit_reads_travel_with_their_snapshot),
        cmocka_unit_test(test_command_commit_bad_reads_are_named),
        cmocka_unit_test(test_command_commit_mutated_bytes_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
