// SPDX-License-Identifier: Apache-2.0
// The wire form of messages, and messages that no correct peer sends (bad input): refused, nothing
// changed, never an assertion.
#include "dataplane/base/mark.h"
#include "tests/unit/dataplane/raft/raft_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { ENTRIES_MAX = 8 };

static struct bytes *encode(const struct raft_message *m) {
    struct buf buf;
    buf_init(&buf, 1 << 20);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    raft_message_encode(&w, m);
    assert_int_equal(w.status, STATUS_OK);
    struct bytes *out = bytes_copy(buf_slice(&buf));
    buf_deinit(&buf);
    return out;
}

static enum status decode(struct bytes *bytes, struct raft_message *out,
                          struct log_entry *entries) {
    struct codec_reader r;
    codec_reader_init(&r, bytes_slice(bytes));
    enum status st = raft_message_decode(&r, bytes, out, entries, ENTRIES_MAX);
    return st == STATUS_OK ? codec_finish(&r) : st;
}

static void make_entries(struct log_entry *entries, uint32_t count, uint64_t first, uint64_t term) {
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct log_entry){.index = first + i,
                                        .term = term,
                                        .kind = LOG_ENTRY_COMMAND,
                                        .payload = SLICE_LITERAL("payload")};
        log_entry_seal(&entries[i]);
    }
}

static void unref_entries(struct log_entry *entries, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        log_entry_unref(&entries[i]);
    }
}

// Every field survives, for every type and the largest numbers.
static void test_raft_message_round_trip_keeps_every_field(void **state) {
    (void)state;
    for (int type = 0; type < RAFT_MESSAGE_TYPE_COUNT; type++) {
        struct log_entry entries[3];
        make_entries(entries, 3, 12, 5);
        struct raft_message m = {
            .type = (enum raft_message_type)type,
            .from_incarnation = UINT64_MAX,
            .to_incarnation = 300,
            .term = 7,
            .sequence = UINT64_MAX,
            .index = 11,
            .index_term = 5,
            .commit = UINT64_MAX - 1,
            .read_round = 3,
            .support_epoch = (UINT64_C(9) << 32) | 4,
            .transfer_sequence = 77,
            .reject = type % 2 == 0,
            .transfer = type % 3 == 0,
            .wants_snapshot = type % 2 == 1,
            .damaged = type == RAFT_APPEND_REPLY,
            .wanted_index = type % 2 == 1 ? UINT64_MAX - 2 : 0,
            .entry_count = type == RAFT_APPEND_REQUEST ? 3 : 0,
            .entries = entries,
        };
        struct bytes *bytes = encode(&m);
        struct raft_message got;
        struct log_entry decoded[ENTRIES_MAX];
        assert_int_equal(decode(bytes, &got, decoded), STATUS_OK);
        assert_int_equal(got.type, m.type);
        assert_int_equal(got.term, m.term);
        assert_true(got.sequence == m.sequence && got.commit == m.commit);
        assert_true(got.index == m.index && got.index_term == m.index_term);
        assert_true(got.read_round == m.read_round && got.support_epoch == m.support_epoch);
        assert_true(got.transfer_sequence == m.transfer_sequence);
        assert_true(got.reject == m.reject && got.transfer == m.transfer);
        assert_int_equal(got.entry_count, m.entry_count);
        for (uint32_t i = 0; i < got.entry_count; i++) {
            assert_int_equal(got.entries[i].index, 12 + i);
            assert_true(slice_equal(got.entries[i].record, entries[i].record));
        }
        unref_entries(decoded, got.entry_count);
        unref_entries(entries, 3);
        bytes_unref(bytes);
    }
}

// Every prefix and every flipped byte is refused or decodes to something, and leaks nothing.
static void test_raft_message_garbage_is_refused(void **state) {
    (void)state;
    struct log_entry entries[2];
    make_entries(entries, 2, 2, 1);
    struct raft_message m = {.type = RAFT_APPEND_REQUEST, .term = 3, .index = 1, .index_term = 1};
    m.entry_count = 2;
    m.entries = entries;
    struct bytes *whole = encode(&m);
    struct raft_message got;
    struct log_entry decoded[ENTRIES_MAX];
    for (size_t size = 0; size < whole->size; size++) {
        struct bytes *cut = bytes_copy(slice_make(whole->data, size));
        assert_int_equal(decode(cut, &got, decoded), STATUS_CORRUPT);
        bytes_unref(cut);
    }
    uint32_t accepted = 0;
    for (size_t at = 0; at < whole->size; at++) {
        struct bytes *bent = bytes_copy(bytes_slice(whole));
        bent->data[at] ^= 0x55;
        struct codec_reader r;
        codec_reader_init(&r, bytes_slice(bent));
        if (raft_message_decode(&r, bent, &got, decoded, ENTRIES_MAX) == STATUS_OK) {
            accepted++;
            unref_entries(decoded, got.entry_count);
        }
        bytes_unref(bent);
    }
    // Only the numbers of the header have no checksum of their own; the transport's frame covers
    // them.
    assert_true(accepted < 16);
    assert_true(mark_count("raft.message.corrupt_entry") > 0);
    bytes_unref(whole);
    unref_entries(entries, 2);
}

static void test_raft_message_too_many_entries_are_refused(void **state) {
    (void)state;
    struct log_entry entries[ENTRIES_MAX + 1];
    make_entries(entries, ENTRIES_MAX + 1, 1, 1);
    struct raft_message m = {
        .type = RAFT_APPEND_REQUEST, .term = 1, .entry_count = ENTRIES_MAX + 1};
    m.entries = entries;
    struct bytes *bytes = encode(&m);
    struct raft_message got;
    struct log_entry decoded[ENTRIES_MAX];
    assert_int_equal(decode(bytes, &got, decoded), STATUS_CORRUPT);
    bytes_unref(bytes);
    unref_entries(entries, ENTRIES_MAX + 1);
}

// --- messages that contradict themselves or what is known

struct position {
    enum raft_role role;
    uint64_t term;
    uint64_t last;
    uint64_t commit;
    uint64_t durable;
};

static struct position position_of(const struct world_node *node) {
    return (struct position){raft_role(node->core), raft_term(node->core),
                             raft_last_index(node->core), raft_commit_index(node->core),
                             raft_durable_index(node->core)};
}

// Sends the message to the node; it must be refused with that status, without any action or change.
static void refused(struct world_node *node, const struct raft_message *m, enum status expected) {
    struct position before = position_of(node);
    struct raft_action items[RAFT_ACTIONS_MAX];
    struct raft_actions actions = {.items = items, .count_max = RAFT_ACTIONS_MAX};
    struct raft_event event = {.type = RAFT_EVENT_MESSAGE, .now_ns = world_node_now(node)};
    event.u.message = m;
    assert_int_equal(raft_core_step(node->core, &event, &actions), expected);
    assert_int_equal(actions.count, 0);
    raft_check(node->core);
    struct position after = position_of(node);
    assert_memory_equal(&before.term, &after.term,
                        sizeof(before) - offsetof(struct position, term));
    assert_int_equal(before.role, after.role);
}

static struct raft_message valid_append(void) {
    return (struct raft_message){.type = RAFT_APPEND_REQUEST,
                                 .from = {1},
                                 .to = {2},
                                 .from_incarnation = 1,
                                 .to_incarnation = 1,
                                 .term = 1,
                                 .sequence = 1000,
                                 .index = 1,
                                 .index_term = 1};
}

static struct world *led_world(void) {
    struct world_options options = {.voters = 3, .seed = 3, .no_election_spread = true};
    struct world *w = world_create(&options);
    world_elect(w, 1);
    assert_int_equal(world_propose(world_at(w, 1), 3, 16), STATUS_OK);
    assert_true(world_settle(w));
    return w;
}

static void test_raft_message_with_absurd_numbers_is_refused(void **state) {
    (void)state;
    struct world *w = led_world();
    struct world_node *node = world_at(w, 2);
    for (int type = 0; type < RAFT_MESSAGE_TYPE_COUNT; type++) {
        struct raft_message m = {.type = (enum raft_message_type)type, .from = {1}, .to = {2}};
        m.from_incarnation = 1;
        m.to_incarnation = 1;
        m.sequence = 5;
        refused(node, &m, STATUS_CORRUPT);  // term 0
        m.term = UINT64_MAX;
        refused(node, &m, STATUS_CORRUPT);
        m.term = 2;
        m.index = UINT64_MAX;
        m.index_term = 1;
        refused(node, &m, STATUS_CORRUPT);
        m.index = 3;
        m.index_term = 3;  // beyond the message's own term
        refused(node, &m, STATUS_CORRUPT);
        m.index_term = 1;
        m.commit = UINT64_MAX;
        refused(node, &m, STATUS_CORRUPT);
    }
    assert_true(mark_count("raft.message.corrupt") > 0);
    struct raft_message m = valid_append();
    m.type = (enum raft_message_type)99;
    refused(node, &m, STATUS_CORRUPT);
    world_destroy(w);
}

static void test_raft_message_of_strangers_is_refused(void **state) {
    (void)state;
    struct world *w = led_world();
    struct world_node *node = world_at(w, 2);
    struct raft_message m = {.type = RAFT_APPEND_REPLY, .from = {9}, .to = {2}, .term = 1};
    m.from_incarnation = 1;
    m.to_incarnation = 1;
    refused(node, &m, STATUS_NOT_FOUND);
    m.from.v = 1;
    m.from_incarnation = 2;  // not the one that is a member
    refused(node, &m, STATUS_NOT_FOUND);
    m = valid_append();
    m.to_incarnation = 2;  // the successor of this replica
    refused(node, &m, STATUS_NOT_FOUND);
    m = valid_append();
    m.to.v = 3;
    refused(node, &m, STATUS_NOT_FOUND);
    m = valid_append();
    m.from.v = 2;
    refused(node, &m, STATUS_CORRUPT);  // from itself
    m.from.v = 0;
    refused(node, &m, STATUS_NOT_FOUND);
    assert_true(mark_count("raft.message.of_stranger") > 0);
    world_destroy(w);
}

static void test_raft_message_with_broken_entries_is_refused(void **state) {
    (void)state;
    struct world *w = led_world();
    struct world_node *node = world_at(w, 2);
    struct log_entry entries[2];
    make_entries(entries, 2, 5, 1);
    struct raft_message m = valid_append();
    m.index = 4;
    m.entry_count = 2;
    m.entries = NULL;
    refused(node, &m, STATUS_CORRUPT);
    m.entries = entries;
    m.entry_count = RAFT_APPEND_ENTRIES_MAX + 1;
    refused(node, &m, STATUS_CORRUPT);
    m.entry_count = 2;
    entries[1].index = 7;  // a hole
    refused(node, &m, STATUS_CORRUPT);
    entries[1].index = 6;
    entries[1].term = 2;  // later than the leader's term
    refused(node, &m, STATUS_CORRUPT);
    m.term = 2;
    entries[0].term = 2;
    entries[1].term = 1;  // falls
    refused(node, &m, STATUS_CORRUPT);
    m.index_term = 0;  // a previous entry without a term
    refused(node, &m, STATUS_CORRUPT);
    struct raft_message vote = {.type = RAFT_VOTE_REQUEST, .from = {1}, .to = {2}, .term = 5};
    vote.from_incarnation = 1;
    vote.to_incarnation = 1;
    vote.entry_count = 1;
    vote.entries = entries;
    refused(node, &vote, STATUS_CORRUPT);
    unref_entries(entries, 2);
    world_destroy(w);
}

// A second leader of one term, and an append that would replace what is committed.
static void test_raft_message_against_what_is_known_is_refused(void **state) {
    (void)state;
    struct world *w = led_world();
    struct world_node *node = world_at(w, 2);
    struct raft_message m = valid_append();
    m.from.v = 3;
    refused(node, &m, STATUS_CORRUPT);
    assert_int_equal(mark_count("raft.append.second_leader_refused"), 1);
    m.to.v = 1;
    refused(world_at(w, 1), &m, STATUS_CORRUPT);  // to the leader itself

    world_send_frontier(world_at(w, 1), 2);
    assert_true(world_settle(w));
    assert_int_equal(raft_commit_index(node->core), 4);
    struct log_entry entries[1];
    make_entries(entries, 1, 3, 2);
    m = valid_append();
    m.term = 2;
    m.from.v = 3;
    m.index = 2;
    m.entry_count = 1;
    m.entries = entries;
    refused(node, &m, STATUS_CORRUPT);
    m.entry_count = 0;
    m.index = 3;
    m.index_term = 2;
    refused(node, &m, STATUS_CORRUPT);
    assert_int_equal(mark_count("raft.append.contradicts_committed"), 2);
    unref_entries(entries, 1);
    world_destroy(w);
}

static void test_raft_message_reply_beyond_the_log_is_refused(void **state) {
    (void)state;
    struct world *w = led_world();
    struct world_node *leader = world_at(w, 1);
    struct raft_message m = {.type = RAFT_APPEND_REPLY, .from = {2}, .to = {1}, .term = 1};
    m.from_incarnation = 1;
    m.to_incarnation = 1;
    m.index = 5;
    refused(leader, &m, STATUS_CORRUPT);
    m.index = 4;
    m.commit = 5;
    refused(leader, &m, STATUS_CORRUPT);
    m.commit = 4;
    m.read_round = 1;  // a round that never was
    refused(leader, &m, STATUS_CORRUPT);
    m.read_round = 0;
    m.reject = true;
    m.index = 4;
    m.commit = 3;  // a hint beyond what was refused
    refused(leader, &m, STATUS_CORRUPT);
    assert_int_equal(mark_count("raft.reply.absurd"), 4);
    world_destroy(w);
}

static int reset_marks(void **state) {
    (void)state;
    mark_reset_all();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_message_round_trip_keeps_every_field),
        cmocka_unit_test_setup(test_raft_message_garbage_is_refused, reset_marks),
        cmocka_unit_test(test_raft_message_too_many_entries_are_refused),
        cmocka_unit_test_setup(test_raft_message_with_absurd_numbers_is_refused, reset_marks),
        cmocka_unit_test_setup(test_raft_message_of_strangers_is_refused, reset_marks),
        cmocka_unit_test(test_raft_message_with_broken_entries_is_refused),
        cmocka_unit_test_setup(test_raft_message_against_what_is_known_is_refused, reset_marks),
        cmocka_unit_test_setup(test_raft_message_reply_beyond_the_log_is_refused, reset_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
