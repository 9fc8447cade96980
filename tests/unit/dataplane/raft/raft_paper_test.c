// SPDX-License-Identifier: Apache-2.0
// Figure 2 of the Raft paper (Ongaro and Ousterhout, 2014), one test per rule, in our own words;
// the comment of each names the box of the figure or the section. Where Lightcone goes beyond the
// figure (pre-vote, promises) the rule is tested at the step that corresponds to it.
#include "tests/unit/dataplane/raft/raft_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MS = 1000000 };

static struct world *make_world(uint32_t voters) {
    struct world_options options = {.voters = voters, .seed = 2, .no_election_spread = true};
    return world_create(&options);
}

static void with_log(struct world *w, uint32_t number, const char *terms, uint64_t term) {
    uint64_t list[32];
    uint32_t count = 0;
    for (const char *at = terms; *at != '\0'; at++) {
        list[count] = (uint64_t)(*at - '0');
        count++;
    }
    world_set_log(world_at(w, number), list, count, term);
}

static void assert_log(const struct world_node *node, const char *terms) {
    uint64_t count = 0;
    for (; terms[count] != '\0'; count++) {
        assert_true(count < node->view.last);
        assert_int_equal(node->view.items[count].term, terms[count] - '0');
    }
    assert_int_equal(node->view.last, count);
}

static void deliver(struct world_node *node, struct raft_message m) {
    m.to.v = node->number;
    m.to_incarnation = 1;
    m.from_incarnation = 1;
    m.sequence = 1;
    struct raft_event event = {.type = RAFT_EVENT_MESSAGE};
    event.u.message = &m;
    assert_int_equal(world_step(node, &event), STATUS_OK);
}

// An append of node `from` with entries of the given terms after (index, index_term).
static void append(struct world_node *node, uint32_t from, uint64_t term, struct raft_message m,
                   const char *terms) {
    struct log_entry entries[32];
    uint32_t count = 0;
    for (; terms[count] != '\0'; count++) {
        entries[count] = (struct log_entry){.index = m.index + 1 + count,
                                            .term = (uint64_t)(terms[count] - '0')};
        log_entry_seal(&entries[count]);
    }
    m.type = RAFT_APPEND_REQUEST;
    m.from.v = from;
    m.term = term;
    m.entries = count > 0 ? entries : NULL;
    m.entry_count = count;
    deliver(node, m);
    for (uint32_t i = 0; i < count; i++) {
        log_entry_unref(&entries[i]);
    }
}

static struct raft_message prev(uint64_t index, uint64_t term) {
    return (struct raft_message){.index = index, .index_term = term};
}

static struct raft_message vote(uint32_t from, uint64_t term, uint64_t index, uint64_t index_term) {
    return (struct raft_message){.type = RAFT_VOTE_REQUEST,
                                 .from = {from},
                                 .term = term,
                                 .index = index,
                                 .index_term = index_term};
}

// Takes the oldest message of a type that the node sent, decoded; fails when there is none.
static struct raft_message sent(struct world_node *node, enum raft_message_type type) {
    struct world_packet *packet = world_find(node->world, node->number, 0, (int)type);
    assert_non_null(packet);
    struct log_entry entries[64];
    struct raft_message m = {.type = type};
    struct codec_reader r;
    codec_reader_init(&r, bytes_slice(packet->body));
    assert_int_equal(raft_message_decode(&r, packet->body, &m, entries, 64), STATUS_OK);
    for (uint32_t i = 0; i < m.entry_count; i++) {
        log_entry_unref(&entries[i]);
    }
    m.to.v = packet->to;
    world_drop(node->world, packet);
    return m;
}

static bool silent(struct world_node *node) {
    return world_find(node->world, node->number, 0, -1) == NULL;
}

// --- Persistent state: on stable storage before any answer

static void test_paper_state_is_durable_before_the_answer(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    deliver(node, vote(2, 1, 0, 0));
    assert_true(silent(node));
    world_sync(node, 0);
    assert_int_equal(node->hard_state.term, 1);
    assert_int_equal(node->hard_state.vote.v, 2);
    assert_false(sent(node, RAFT_VOTE_REPLY).reject);
    append(node, 2, 1, prev(0, 0), "11");
    assert_true(silent(node));
    world_sync(node, 0);
    assert_int_equal(node->disk.last, 2);
    assert_int_equal(sent(node, RAFT_APPEND_REPLY).index, 2);
    world_destroy(w);
}

// --- AppendEntries, receiver: 1. an append of an earlier term is refused

static void test_paper_append_of_an_earlier_term_is_refused(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    with_log(w, 1, "12", 3);
    append(node, 2, 2, prev(2, 2), "2");
    struct raft_message reply = sent(node, RAFT_APPEND_REPLY);
    assert_true(reply.reject);
    assert_int_equal(reply.term, 3);
    assert_log(node, "12");
    world_destroy(w);
}

// 2. without an entry of that term at the previous index the append is refused

static void test_paper_append_without_the_previous_entry_is_refused(void **state) {
    (void)state;
    static const struct {
        uint64_t index;
        uint64_t term;
        bool refused;
    } cases[] = {{0, 0, false}, {1, 1, false}, {2, 2, false},
                 {2, 1, true},  {3, 2, true},  {9, 3, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *w = make_world(3);
        struct world_node *node = world_at(w, 1);
        with_log(w, 1, "12", 3);
        append(node, 2, 3, prev(cases[i].index, cases[i].term), "");
        assert_int_equal(sent(node, RAFT_APPEND_REPLY).reject, cases[i].refused);
        assert_log(node, "12");
        world_destroy(w);
    }
}

// 3. and 4. a conflicting entry goes with all that follow it; what is new is appended; what is
// already there stays, also when the append ends earlier than the log

static void test_paper_append_replaces_conflicts_and_keeps_the_rest(void **state) {
    (void)state;
    static const struct {
        uint64_t index;
        uint64_t term;
        const char *entries;
        const char *result;
    } cases[] = {
        {3, 3, "4", "1234"},    {2, 2, "44", "1244"}, {1, 1, "444", "1444"},  {0, 0, "4", "4"},
        {2, 2, "3", "123"},     {0, 0, "1", "123"},   {0, 0, "12", "123"},    {1, 1, "23", "123"},
        {0, 0, "1234", "1234"}, {3, 3, "", "123"},    {0, 0, "1244", "1244"}, {1, 1, "2", "123"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *w = make_world(3);
        struct world_node *node = world_at(w, 1);
        with_log(w, 1, "123", 3);
        append(node, 2, 4, prev(cases[i].index, cases[i].term), cases[i].entries);
        assert_log(node, cases[i].result);
        world_sync(node, 0);
        assert_int_equal(node->disk.last, node->view.last);
        assert_false(sent(node, RAFT_APPEND_REPLY).reject);
        world_destroy(w);
    }
}

// 5. commit follows the leader's, but not beyond the last entry that this append showed to be equal

static void test_paper_append_commits_what_it_showed_to_be_equal(void **state) {
    (void)state;
    static const struct {
        uint64_t index;
        uint64_t term;
        const char *entries;
        uint64_t leader_commit;
        uint64_t commit;
    } cases[] = {{1, 1, "", 1, 1},
                 {1, 1, "", 2, 1},
                 {1, 1, "3", 2, 2},
                 {1, 1, "33", 9, 3},
                 {1, 1, "2", 9, 2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *w = make_world(3);
        struct world_node *node = world_at(w, 1);
        with_log(w, 1, "122", 2);
        struct raft_message m = prev(cases[i].index, cases[i].term);
        m.commit = cases[i].leader_commit;
        append(node, 2, 3, m, cases[i].entries);
        world_sync(node, 0);
        assert_int_equal(raft_commit_index(node->core), cases[i].commit);
        world_destroy(w);
    }
}

// --- RequestVote, receiver: 1. a request of an earlier term is refused

static void test_paper_vote_of_an_earlier_term_is_refused(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    with_log(w, 1, "1", 5);
    deliver(node, vote(2, 4, 9, 3));
    struct raft_message reply = sent(node, RAFT_VOTE_REPLY);
    assert_true(reply.reject);
    assert_int_equal(reply.term, 5);
    world_destroy(w);
}

// 2. one vote a term, for whoever asks first and has a log at least as complete; the same one
// again gets the same answer

static void test_paper_vote_once_a_term(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    deliver(node, vote(2, 1, 0, 0));
    world_sync(node, 0);
    assert_false(sent(node, RAFT_VOTE_REPLY).reject);
    deliver(node, vote(3, 1, 0, 0));
    assert_true(sent(node, RAFT_VOTE_REPLY).reject);
    deliver(node, vote(2, 1, 0, 0));
    assert_false(sent(node, RAFT_VOTE_REPLY).reject);
    // The vote survives a crash. Boot 2 is quiet for a while, and refuses even the one it voted
    // for.
    world_crash(node);
    assert_int_equal(world_restart(node, 0), STATUS_OK);
    world_advance(w, UINT64_C(1100) * MS);
    while (w->packets != NULL) {
        world_drop(w, w->packets);
    }
    deliver(node, vote(3, 1, 0, 0));
    assert_true(sent(node, RAFT_VOTE_REPLY).reject);
    deliver(node, vote(2, 1, 0, 0));
    assert_false(sent(node, RAFT_VOTE_REPLY).reject);
    world_destroy(w);
}

static void test_paper_vote_only_for_a_log_at_least_as_complete(void **state) {
    (void)state;
    static const struct {
        uint64_t index;
        uint64_t term;
        bool refused;
    } cases[] = {{3, 2, false}, {4, 2, false}, {1, 3, false},
                 {2, 2, true},  {9, 1, true},  {0, 0, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *w = make_world(3);
        struct world_node *node = world_at(w, 1);
        with_log(w, 1, "122", 4);
        deliver(node, vote(2, 5, cases[i].index, cases[i].term));
        world_sync(node, 0);
        assert_int_equal(sent(node, RAFT_VOTE_REPLY).reject, cases[i].refused);
        assert_int_equal(raft_term(node->core), 5);
        world_destroy(w);
    }
}

// --- All servers: what is committed is applied, in order

static void test_paper_committed_entries_are_applied_in_order(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    struct raft_message m = prev(0, 0);
    m.commit = 2;
    append(node, 2, 1, m, "111");
    assert_int_equal(node->applied, 0);
    world_sync(node, 0);
    assert_int_equal(node->applied, 2);
    m = prev(3, 1);
    m.commit = 3;
    append(node, 2, 1, m, "");
    assert_int_equal(node->applied, 3);
    world_destroy(w);
}

// All servers: a later term in a message makes a follower of whoever gets it

static void test_paper_later_term_makes_a_follower(void **state) {
    (void)state;
    for (uint32_t kind = 0; kind < 3; kind++) {
        struct world *w = make_world(3);
        struct world_node *node = world_at(w, 1);
        world_elect(w, 1);
        world_advance(w, UINT64_C(160) * MS);  // long enough not to be content with its quorum
        while (w->packets != NULL) {
            world_drop(w, w->packets);
        }
        if (kind == 0) {
            deliver(node, vote(2, 7, 9, 1));
        } else if (kind == 1) {
            append(node, 2, 7, prev(1, 1), "");
        } else {
            struct raft_message m = {
                .type = RAFT_APPEND_REPLY, .from = {2}, .term = 7, .reject = true};
            deliver(node, m);
        }
        assert_int_equal(raft_role(node->core), RAFT_FOLLOWER);
        assert_int_equal(raft_term(node->core), 7);
        world_destroy(w);
    }
}

// --- Followers: silence for an election timeout starts an election; an append or a vote given
// postpones it

static void test_paper_follower_campaigns_after_silence(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    world_advance(w, UINT64_C(100) * MS);
    append(node, 2, 1, prev(0, 0), "");
    world_advance(w, UINT64_C(149) * MS);
    assert_int_equal(raft_role(node->core), RAFT_FOLLOWER);
    world_advance(w, UINT64_C(1) * MS);
    assert_int_equal(raft_role(node->core), RAFT_PRECANDIDATE);
    append(node, 2, 1, prev(0, 0), "");
    world_advance(w, UINT64_C(140) * MS);
    deliver(node, vote(3, 2, 0, 0));  // refused: it has a leader
    assert_int_equal(raft_term(node->core), 1);
    world_advance(w, UINT64_C(10) * MS);
    deliver(node, vote(3, 2, 0, 0));
    assert_int_equal(raft_term(node->core), 2);
    world_advance(w, UINT64_C(149) * MS);
    assert_int_equal(raft_role(node->core), RAFT_FOLLOWER);
    world_destroy(w);
}

// --- Candidates: a new term, a vote for itself, a new timeout, a request to every other server

static void become_candidate(struct world_node *node) {
    struct raft_event event = {.type = RAFT_EVENT_CAMPAIGN};
    assert_int_equal(world_step(node, &event), STATUS_OK);
    uint64_t term = raft_term(node->core) + 1;
    for (uint32_t from = 2; from <= node->world->count; from++) {
        struct raft_message m = {.type = RAFT_PREVOTE_REPLY, .from = {from}, .term = term};
        if (raft_role(node->core) == RAFT_PRECANDIDATE) { deliver(node, m); }
    }
    while (node->world->packets != NULL) {
        world_drop(node->world, node->world->packets);
    }
    assert_int_equal(raft_role(node->core), RAFT_CANDIDATE);
}

static void test_paper_candidate_starts_an_election(void **state) {
    (void)state;
    struct world *w = make_world(5);
    struct world_node *node = world_at(w, 1);
    with_log(w, 1, "122", 4);
    become_candidate(node);
    assert_int_equal(raft_term(node->core), 5);
    assert_int_equal(raft_deadline_ns(node->core), world_node_now(node) + UINT64_C(150) * MS);
    world_sync(node, 0);
    assert_int_equal(node->hard_state.vote.v, 1);
    for (uint32_t i = 0; i < 4; i++) {
        struct raft_message m = sent(node, RAFT_VOTE_REQUEST);
        assert_int_equal(m.to.v, i + 2);
        assert_int_equal(m.term, 5);
        assert_true(m.index == 3 && m.index_term == 2);
    }
    assert_true(silent(node));
    world_destroy(w);
}

// Candidates: votes of a majority make a leader, fewer do not, and one voter counts once

static void test_paper_majority_of_votes_makes_a_leader(void **state) {
    (void)state;
    struct world *w = make_world(5);
    struct world_node *node = world_at(w, 1);
    become_candidate(node);
    world_sync(node, 0);
    struct raft_message m = {.type = RAFT_VOTE_REPLY, .from = {2}, .term = 1};
    deliver(node, m);
    deliver(node, m);
    assert_int_equal(raft_role(node->core), RAFT_CANDIDATE);
    m.from.v = 3;
    m.reject = true;
    deliver(node, m);
    assert_int_equal(raft_role(node->core), RAFT_CANDIDATE);
    m.from.v = 4;
    m.reject = false;
    deliver(node, m);
    assert_int_equal(raft_role(node->core), RAFT_LEADER);
    world_destroy(w);
}

// The own vote is one of the majority, and counts when it is durable

static void test_paper_own_vote_counts_when_durable(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    become_candidate(node);
    struct raft_message m = {.type = RAFT_VOTE_REPLY, .from = {2}, .term = 1};
    deliver(node, m);
    assert_int_equal(raft_role(node->core), RAFT_CANDIDATE);
    world_sync(node, 0);
    assert_int_equal(raft_role(node->core), RAFT_LEADER);
    world_destroy(w);
}

// Candidates: an append of the leader of the term ends the candidacy

static void test_paper_candidate_yields_to_the_leader_of_its_term(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    become_candidate(node);
    append(node, 2, 1, prev(0, 0), "");
    assert_int_equal(raft_role(node->core), RAFT_FOLLOWER);
    assert_int_equal(raft_leader(node->core).v, 2);
    world_destroy(w);
}

// Candidates: an election without a winner is followed by another

static void test_paper_candidate_starts_over_after_a_timeout(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    become_candidate(node);
    world_sync(node, 0);
    while (w->packets != NULL) {
        world_drop(w, w->packets);
    }
    world_advance(w, UINT64_C(150) * MS);
    assert_int_equal(raft_role(node->core), RAFT_PRECANDIDATE);
    struct raft_message m = {.type = RAFT_PREVOTE_REPLY, .from = {2}, .term = 2};
    deliver(node, m);
    assert_int_equal(raft_role(node->core), RAFT_CANDIDATE);
    assert_int_equal(raft_term(node->core), 2);
    world_destroy(w);
}

// 5.2: timeouts are drawn at random from [min, 2 min)

static void test_paper_election_timeouts_are_spread(void **state) {
    (void)state;
    struct world_options options = {.voters = 3, .seed = 4};
    struct world *w = world_create(&options);
    struct world_node *node = world_at(w, 1);
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    for (uint64_t i = 0; i < 500; i++) {
        append(node, 2, 1, prev(0, 0), "");
        uint64_t timeout = raft_deadline_ns(node->core) - world_node_now(node);
        least = timeout < least ? timeout : least;
        most = timeout > most ? timeout : most;
    }
    assert_true(least >= UINT64_C(150) * MS && least < UINT64_C(155) * MS);
    assert_true(most < UINT64_C(300) * MS && most > UINT64_C(295) * MS);
    world_destroy(w);
}

// --- Leaders: on election every server hears of it, at once

static void test_paper_new_leader_tells_everybody(void **state) {
    (void)state;
    for (uint32_t by_hand = 0; by_hand < 2; by_hand++) {
        struct world *w = make_world(3);
        struct world_node *node = world_at(w, 1);
        w->first_entry_by_hand = by_hand == 1;
        become_candidate(node);
        world_sync(node, 0);
        while (w->packets != NULL) {
            world_drop(w, w->packets);
        }
        struct raft_message m = {.type = RAFT_VOTE_REPLY, .from = {2}, .term = 1};
        deliver(node, m);
        // Without a first entry the deadline of this very moment makes the leader speak.
        assert_true(by_hand == 0 || raft_deadline_ns(node->core) <= world_node_now(node));
        if (by_hand == 1) { world_tick(node); }
        for (uint32_t to = 2; to <= 3; to++) {
            assert_int_equal(sent(node, RAFT_APPEND_REQUEST).to.v, to);
        }
        world_destroy(w);
    }
}

// Leaders: a command is appended to the own log and sent; its result is known when it is committed

static void test_paper_command_is_applied_when_committed(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    world_elect(w, 1);
    assert_int_equal(world_propose(node, 1, 16), STATUS_OK);
    assert_int_equal(raft_last_index(node->core), 2);
    assert_int_equal(sent(node, RAFT_APPEND_REQUEST).entry_count, 1);
    world_sync(node, 0);
    assert_int_equal(node->applied, 1);
    struct raft_message m = {
        .type = RAFT_APPEND_REPLY, .from = {3}, .term = 1, .index = 2, .commit = 2};
    deliver(node, m);
    assert_int_equal(node->applied, 2);
    world_destroy(w);
}

// Leaders: what a follower lacks is sent from next on; success moves match and next

static void test_paper_success_moves_match_and_next(void **state) {
    (void)state;
    struct world *w = make_world(2);
    struct world_node *node = world_at(w, 1);
    world_elect(w, 1);
    assert_int_equal(raft_match_index(node->core, (struct node_id){2}), 1);
    assert_int_equal(world_propose(node, 3, 16), STATUS_OK);
    struct raft_message m = sent(node, RAFT_APPEND_REQUEST);
    assert_true(m.index == 1 && m.entry_count == 3);
    assert_int_equal(raft_match_index(node->core, (struct node_id){2}), 1);
    struct raft_message reply = {
        .type = RAFT_APPEND_REPLY, .from = {2}, .term = 1, .index = 4, .commit = 4};
    deliver(node, reply);
    assert_int_equal(raft_match_index(node->core, (struct node_id){2}), 4);
    assert_int_equal(world_propose(node, 1, 16), STATUS_OK);
    assert_int_equal(sent(node, RAFT_APPEND_REQUEST).index, 4);
    reply.index = 2;  // an old answer moves nothing back
    reply.commit = 2;
    deliver(node, reply);
    assert_int_equal(raft_match_index(node->core, (struct node_id){2}), 4);
    world_destroy(w);
}

// Leaders: a refusal for inconsistency lowers next and tries again, until the logs meet

static void test_paper_refusal_lowers_next_until_logs_meet(void **state) {
    (void)state;
    struct world *w = make_world(3);
    with_log(w, 1, "1222", 2);
    with_log(w, 2, "1", 1);
    with_log(w, 3, "1222", 2);
    world_elect(w, 1);
    assert_log(world_at(w, 2), "12223");
    world_destroy(w);
}

// Leaders: a majority of matches commits an entry of the own term, and with it all before it; an
// entry of an earlier term is not committed by counting (5.4.2)

static void test_paper_commit_by_majority_of_the_own_term_only(void **state) {
    (void)state;
    struct world *w = make_world(5);
    w->first_entry_by_hand = true;
    for (uint32_t i = 1; i <= 5; i++) {
        with_log(w, i, "12", 2);
    }
    struct world_node *node = world_at(w, 1);
    world_elect(w, 1);
    world_tick(node);
    while (w->packets != NULL) {
        world_drop(w, w->packets);
    }
    struct raft_message m = {.type = RAFT_APPEND_REPLY, .term = 3, .index = 2, .commit = 2};
    for (uint32_t from = 2; from <= 5; from++) {
        m.from.v = from;
        deliver(node, m);
    }
    assert_int_equal(raft_commit_index(node->core), 0);
    assert_int_equal(world_propose(node, 1, 0), STATUS_OK);
    world_sync(node, 0);
    m.index = m.commit = 3;
    m.from.v = 2;
    deliver(node, m);
    assert_int_equal(raft_commit_index(node->core), 0);
    m.from.v = 3;
    deliver(node, m);
    assert_int_equal(raft_commit_index(node->core), 3);
    world_destroy(w);
}

// Figure 3, leader append-only: nothing that a leader hears shortens or changes its log

static void test_paper_leader_only_appends(void **state) {
    (void)state;
    struct world *w = make_world(3);
    struct world_node *node = world_at(w, 1);
    with_log(w, 1, "112", 2);
    world_elect(w, 1);
    struct raft_message m = {.type = RAFT_APPEND_REPLY, .from = {2}, .term = 3, .reject = true};
    m.commit = 4;
    deliver(node, m);
    append(node, 2, 2, prev(0, 0), "222");
    assert_log(node, "1123");
    world_destroy(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paper_state_is_durable_before_the_answer),
        cmocka_unit_test(test_paper_append_of_an_earlier_term_is_refused),
        cmocka_unit_test(test_paper_append_without_the_previous_entry_is_refused),
        cmocka_unit_test(test_paper_append_replaces_conflicts_and_keeps_the_rest),
        cmocka_unit_test(test_paper_append_commits_what_it_showed_to_be_equal),
        cmocka_unit_test(test_paper_vote_of_an_earlier_term_is_refused),
        cmocka_unit_test(test_paper_vote_once_a_term),
        cmocka_unit_test(test_paper_vote_only_for_a_log_at_least_as_complete),
        cmocka_unit_test(test_paper_committed_entries_are_applied_in_order),
        cmocka_unit_test(test_paper_later_term_makes_a_follower),
        cmocka_unit_test(test_paper_follower_campaigns_after_silence),
        cmocka_unit_test(test_paper_candidate_starts_an_election),
        cmocka_unit_test(test_paper_majority_of_votes_makes_a_leader),
        cmocka_unit_test(test_paper_own_vote_counts_when_durable),
        cmocka_unit_test(test_paper_candidate_yields_to_the_leader_of_its_term),
        cmocka_unit_test(test_paper_candidate_starts_over_after_a_timeout),
        cmocka_unit_test(test_paper_election_timeouts_are_spread),
        cmocka_unit_test(test_paper_new_leader_tells_everybody),
        cmocka_unit_test(test_paper_command_is_applied_when_committed),
        cmocka_unit_test(test_paper_success_moves_match_and_next),
        cmocka_unit_test(test_paper_refusal_lowers_next_until_logs_meet),
        cmocka_unit_test(test_paper_commit_by_majority_of_the_own_term_only),
        cmocka_unit_test(test_paper_leader_only_appends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
