// SPDX-License-Identifier: Apache-2.0
// Behaviour of one core that neither the paper's sentences nor the scripts cover: what creation
// refuses, back-pressure, trimmed logs, learners, what answers a driver gets.
#include "dataplane/base/mark.h"
#include "dataplane/raft/raft_internal.h"
#include "tests/unit/dataplane/raft/raft_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000000 };

static struct world *make_world(uint32_t voters, uint32_t learners, uint32_t cache) {
    struct world_options options = {.voters = voters,
                                    .learners = learners,
                                    .seed = 9,
                                    .no_election_spread = true,
                                    .cache_count_max = cache};
    return world_create(&options);
}

static enum status send_event(struct world_node *node, enum raft_event_type type) {
    struct raft_event event = {.type = type};
    return world_step(node, &event);
}

static enum status deliver(struct world_node *node, const struct raft_message *m) {
    struct raft_message named = *m;
    named.from_incarnation = 1;
    named.to_incarnation = 1;
    struct raft_event event = {.type = RAFT_EVENT_MESSAGE};
    event.u.message = &named;
    return world_step(node, &event);
}

// --- creation

static struct raft_config_entry first[1];

static struct raft_config good_config(struct world *w) {
    first[0] = (struct raft_config_entry){.membership = {.config_epoch = 1, .count = 1}};
    first[0].membership.members[0] = (struct raft_member){.node = {1}, .incarnation = 1};
    struct world_node *node = world_at(w, 1);
    struct raft_config config = {
        .shard = {7},
        .self = {1},
        .incarnation = 1,
        .configs = first,
        .config_count = 1,
        .support = &node->support,
        .log = &node->store,
        .election_ns_min = 150 * MS,
        .resend_ns = 100 * MS,
        .inflight_messages_max = 8,
        .append_size_max = 1000,
        .cache_count_max = 16,
        .cache_size_max = 1000,
    };
    return config;
}

static enum status create(const struct raft_config *config) {
    struct raft_core *core = NULL;
    enum status st = raft_create(config, 0, 0, &core);
    if (st == STATUS_OK) { raft_destroy(core); }
    return st;
}

static void test_raft_create_refuses_impossible_memberships(void **state) {
    (void)state;
    struct world *w = make_world(1, 0, 0);
    struct raft_config config = good_config(w);
    struct raft_membership *m = &first[0].membership;
    assert_int_equal(create(&config), STATUS_OK);
    m->members[0].role = RAFT_LEARNER;  // no voter
    assert_int_equal(create(&config), STATUS_INVALID_ARGUMENT);
    m->members[0].role = RAFT_VOTER;
    m->count = RAFT_MEMBERS_MAX + 1;
    assert_int_equal(create(&config), STATUS_INVALID_ARGUMENT);
    m->count = 2;
    m->members[1] = m->members[0];  // twice
    assert_int_equal(create(&config), STATUS_INVALID_ARGUMENT);
    m->members[1].node.v = 0;
    assert_int_equal(create(&config), STATUS_INVALID_ARGUMENT);
    m->members[1].node.v = 2;
    m->members[1].incarnation = 0;
    assert_int_equal(create(&config), STATUS_INVALID_ARGUMENT);
    m->members[1].incarnation = 1;
    m->members[1].role = RAFT_LEAVING;  // from nothing
    assert_int_equal(create(&config), STATUS_INVALID_ARGUMENT);
    m->members[1].outgoing = true;
    assert_int_equal(create(&config), STATUS_OK);
    config.config_count = 0;
    assert_int_equal(create(&config), STATUS_INVALID_ARGUMENT);
    config.config_count = 1;
    config.incarnation = 0;
    assert_int_equal(create(&config), STATUS_INVALID_ARGUMENT);
    config.incarnation = 2;  // not the one that wrote the log
    config.bounds.hard_state = (struct log_hard_state){.term = 1, .incarnation = 1};
    assert_int_equal(create(&config), STATUS_INVALID_ARGUMENT);
    world_destroy(w);
}

static void test_raft_create_refuses_contradicting_bounds(void **state) {
    (void)state;
    struct world *w = make_world(1, 0, 0);
    static const struct {
        struct log_bounds bounds;
        uint64_t applied;
    } bad[] = {
        {{.last_index = 1}, 0},              // entries, no term
        {{.hard_state = {.vote = {1}}}, 0},  // a vote in no term
        // commit beyond the log
        {{.hard_state = {.term = 2, .commit = 1}}, 0},
        // applied beyond the log
        {{.hard_state = {.term = 2}}, 1},
        {{.hard_state = {.term = 2}, .trim_index = 5, .trim_term = 1, .last_index = 4}, 5},
        {{.hard_state = {.term = 2}, .trim_index = 5, .trim_term = 3, .last_index = 5}, 5},
        // trimmed at no term
        {{.hard_state = {.term = 2}, .trim_index = 5, .last_index = 5}, 5},
        {{.hard_state = {.term = 2}, .trim_index = 5, .trim_term = 1, .last_index = 5}, 4},
        {{.hard_state = {.term = UINT64_MAX}}, 0},
        // entry 3 cannot be read
        {{.hard_state = {.term = 2}, .last_index = 3}, 0},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct raft_config config = good_config(w);
        config.bounds = bad[i].bounds;
        config.applied = bad[i].applied;
        assert_int_equal(create(&config), STATUS_CORRUPT);
    }
    world_destroy(w);
}

// What the hard state remembers as committed is announced again after a restart, once.
static void test_raft_create_announces_the_remembered_commit(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 0);
    world_elect(w, 1);
    assert_int_equal(world_propose(world_at(w, 1), 2, 16), STATUS_OK);
    assert_true(world_settle(w));
    // Stepping down and voting anew writes a hard state with the commit index of that moment.
    struct raft_message m = {.type = RAFT_VOTE_REQUEST, .from = {2}, .to = {1}, .term = 5};
    m.index = 3;
    m.index_term = 1;
    assert_int_equal(send_event(world_at(w, 1), RAFT_EVENT_STEP_DOWN), STATUS_OK);
    world_advance(w, UINT64_C(200) * MS);
    world_drop(w, w->packets);
    assert_int_equal(deliver(world_at(w, 1), &m), STATUS_OK);
    world_sync(world_at(w, 1), 0);
    world_crash(world_at(w, 1));
    assert_int_equal(world_restart(world_at(w, 1), 1), STATUS_OK);
    assert_int_equal(raft_commit_index(world_at(w, 1)->core), 1);
    world_tick(world_at(w, 1));
    assert_int_equal(raft_commit_index(world_at(w, 1)->core), 3);
    assert_int_equal(world_at(w, 1)->applied, 3);
    world_destroy(w);
}

// --- back-pressure

// What is not applied may not outgrow the ring: a whole batch is refused, and taken after applying.
static void test_raft_propose_is_refused_while_nothing_is_applied(void **state) {
    (void)state;
    struct world *w = make_world(1, 0, 16);
    struct world_node *node = world_at(w, 1);
    world_advance(w, MS);
    assert_true(world_settle(w));
    w->apply_by_hand = true;
    assert_int_equal(world_propose(node, 16, 16), STATUS_OK);
    assert_int_equal(world_propose(node, 1, 16), STATUS_OVERLOADED);
    assert_int_equal(raft_last_index(node->core), 17);
    assert_true(world_settle(w));
    assert_int_equal(world_propose(node, 1, 16), STATUS_OVERLOADED);
    world_apply(node);
    assert_int_equal(world_propose(node, 16, 16), STATUS_OK);
    assert_true(mark_count("raft.propose.ring_full") >= 2);
    world_destroy(w);
}

// A follower whose disk stands still takes what fits and answers for that much.
static void test_raft_append_takes_what_fits_into_the_ring(void **state) {
    (void)state;
    struct world *w = make_world(2, 0, 16);
    struct world_node *leader = world_at(w, 1);
    struct world_node *follower = world_at(w, 2);
    world_elect(w, 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(world_propose(leader, 5, 16), STATUS_OK);
    }
    while (w->packets != NULL) {
        world_deliver(w, w->packets);
    }
    assert_int_equal(raft_last_index(follower->core), 16);
    struct log_entry entries[4];
    for (uint32_t i = 0; i < 4; i++) {
        entries[i] = (struct log_entry){.index = 17 + i, .term = 1};
        log_entry_seal(&entries[i]);
    }
    struct raft_message m = {.type = RAFT_APPEND_REQUEST, .from = {1}, .to = {2}, .term = 1};
    m.sequence = 100;
    m.index = 16;
    m.index_term = 1;
    m.entry_count = 4;
    m.entries = entries;
    // 15 entries wait for the disk, the one that is durable made room: one fits.
    assert_int_equal(deliver(follower, &m), STATUS_OK);
    assert_int_equal(raft_last_index(follower->core), 17);
    assert_true(mark_count("raft.append.ring_full") > 0);
    for (uint32_t i = 0; i < 4; i++) {
        log_entry_unref(&entries[i]);
    }
    world_destroy(w);
}

// --- logs that were trimmed

static void trim(struct world_node *node, uint64_t index) {
    world_trim(node, index);
}

// A follower that needs what is gone gets no entries until a snapshot was sent, and stops nothing.
static void test_raft_peer_below_the_trimmed_log_stops_nothing(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 16);
    struct world_node *leader = world_at(w, 1);
    w->install_by_hand = true;
    world_elect(w, 1);
    for (uint32_t b = 1; b <= 2; b++) {
        w->cut[3][b] = w->cut[b][3] = true;
    }
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(world_propose(leader, 10, 16), STATUS_OK);
        assert_true(world_settle(w));
    }
    assert_int_equal(raft_needed_index(leader->core), 2);
    trim(leader, 30);
    memset(w->cut, 0, sizeof(w->cut));
    for (uint32_t i = 0; i < 5; i++) {
        world_advance(w, UINT64_C(100) * MS);
        assert_true(world_settle(w));
    }
    assert_true(
        mark_count("raft.progress.below_trim") + mark_count("raft.progress.needs_snapshot") > 0);
    assert_int_equal(raft_match_index(leader->core, (struct node_id){3}), 1);
    assert_int_equal(world_propose(leader, 1, 16), STATUS_OK);
    assert_true(world_settle(w));
    assert_int_equal(raft_commit_index(leader->core), 62);
    world_destroy(w);
}

// A new leader whose log begins above the follower's: each refusal ends at the trim, not below.
static void test_raft_refusal_below_the_trimmed_log_is_no_loop(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 16);
    world_elect(w, 1);
    for (uint32_t b = 1; b <= 2; b++) {
        w->cut[3][b] = w->cut[b][3] = true;
    }
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(world_propose(world_at(w, 1), 10, 16), STATUS_OK);
        assert_true(world_settle(w));
    }
    world_send_frontier(world_at(w, 1), 2);
    assert_true(world_settle(w));
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.u.target.v = 2;
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_OK);
    assert_true(world_settle(w));
    struct world_node *leader = world_at(w, 2);
    assert_true(raft_is_leader(leader->core));
    trim(leader, 20);
    memset(w->cut, 0, sizeof(w->cut));
    world_advance(w, UINT64_C(400) * MS);
    assert_true(world_settle(w));
    assert_true(mark_count("raft.progress.below_trim") > 0);
    assert_true(raft_is_leader(leader->core));
    world_destroy(w);
}

static void test_raft_progress_below_the_trim_is_moved_up(void **state) {
    (void)state;
    struct world *w = make_world(2, 0, 16);
    struct world_node *leader = world_at(w, 1);
    world_elect(w, 1);
    assert_int_equal(world_propose(leader, 8, 16), STATUS_OK);
    assert_true(world_settle(w));
    // The driver would not trim what a peer needs; a lost disk can make it so all the same.
    raft__progress_reset(raft__progress(leader->core, (struct node_id){2}), 3);
    trim(leader, 5);
    assert_int_equal(world_propose(leader, 1, 16), STATUS_OK);
    assert_int_equal(mark_count("raft.progress.needs_snapshot"), 1);
    // Nothing holds the log back for one that needs a snapshot anyhow.
    assert_int_equal(raft_needed_index(leader->core), raft_durable_index(leader->core) + 1);
    assert_true(world_settle(w));
    assert_int_equal(raft_match_index(leader->core, (struct node_id){2}), 10);
    assert_int_equal(raft_needed_index(leader->core), 11);
    world_destroy(w);
}

// --- learners, releases, answers to the driver

static void test_raft_vote_of_a_learner_does_not_count(void **state) {
    (void)state;
    struct world *w = make_world(3, 1, 0);
    world_elect(w, 1);
    world_advance(w, UINT64_C(400) * MS);
    while (w->packets != NULL) {
        world_drop(w, w->packets);
    }
    assert_int_equal(raft_role(world_at(w, 3)->core), RAFT_PRECANDIDATE);
    struct raft_message grant = {.type = RAFT_PREVOTE_REPLY, .from = {4}, .to = {3}, .term = 2};
    assert_int_equal(deliver(world_at(w, 3), &grant), STATUS_OK);
    assert_int_equal(raft_role(world_at(w, 3)->core), RAFT_PRECANDIDATE);
    assert_int_equal(mark_count("raft.vote.of_learner_ignored"), 1);
    world_destroy(w);
}

// A release that can only speak of earlier terms says nothing about this one.
static void test_raft_release_of_an_earlier_term_is_ignored(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 0);
    world_support_all(w);
    world_elect(w, 1);
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.u.target.v = 2;
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_OK);
    assert_true(world_settle(w));
    struct world_node *follower = world_at(w, 3);
    assert_int_equal(raft_leader(follower->core).v, 2);
    event = (struct raft_event){.type = RAFT_EVENT_LEADER_LOST};
    event.u.lost.node.v = 2;
    event.u.lost.term = 1;
    event.u.lost.sequence = UINT64_C(1) << 50;
    assert_int_equal(world_step(follower, &event), STATUS_OK);
    assert_int_equal(raft_leader(follower->core).v, 2);
    assert_int_equal(mark_count("raft.release.of_earlier_term"), 1);
    event.u.lost.term = 2;
    assert_int_equal(world_step(follower, &event), STATUS_OK);
    assert_int_equal(raft_leader(follower->core).v, 0);
    assert_true(raft_deadline_ns(follower->core) <= world_node_now(follower) + 76 * MS);
    world_destroy(w);
}

static void test_raft_driver_answers_by_role(void **state) {
    (void)state;
    struct world *w = make_world(3, 1, 0);
    struct world_node *follower = world_at(w, 2);
    world_elect(w, 1);
    assert_int_equal(world_propose(follower, 1, 16), STATUS_NOT_LEADER);
    assert_int_equal(world_read(follower), STATUS_NOT_LEADER);
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.u.target.v = 2;
    assert_int_equal(world_step(follower, &event), STATUS_NOT_LEADER);
    event.u.target.v = 4;  // a learner
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_INVALID_ARGUMENT);
    event.u.target.v = 77;
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_INVALID_ARGUMENT);
    event.u.target.v = 1;
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_OK);
    assert_true(raft_is_leader(world_at(w, 1)->core));
    event.u.target.v = 3;
    w->cut[1][3] = true;
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_OK);
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_UNAVAILABLE);
    assert_int_equal(world_propose(world_at(w, 1), 1, 16), STATUS_UNAVAILABLE);
    world_destroy(w);
}

// A sick node, which withholds its requests for support, does not campaign, nor obey TIMEOUT_NOW.
static void test_raft_sick_node_never_campaigns(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 0);
    world_elect(w, 1);
    world_at(w, 2)->support.withhold = true;
    assert_int_equal(send_event(world_at(w, 2), RAFT_EVENT_CAMPAIGN), STATUS_FAILED_PRECONDITION);
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.u.target.v = 2;
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_OK);
    assert_true(world_settle(w));
    assert_int_equal(raft_role(world_at(w, 2)->core), RAFT_FOLLOWER);
    world_destroy(w);
}

static void pass_100_ms(struct world *w) {
    world_advance(w, UINT64_C(100) * MS);
    assert_true(world_settle(w));
}

// A reluctant node obeys no transfer and leaves elections to the others. When these cannot win, for
// want of an entry that it has, it takes over in the end.
static void test_raft_reluctant_node_campaigns_last(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 0);
    world_elect(w, 1);
    world_at(w, 2)->support.reluctant = true;
    assert_int_equal(send_event(world_at(w, 2), RAFT_EVENT_CAMPAIGN), STATUS_FAILED_PRECONDITION);
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.u.target.v = 2;
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_OK);
    assert_true(world_settle(w));
    assert_int_equal(raft_role(world_at(w, 2)->core), RAFT_FOLLOWER);
    for (int i = 0; i < 10; i++) {
        pass_100_ms(w);
    }
    assert_true(raft_is_leader(world_at(w, 1)->core));
    w->cut[1][3] = w->cut[2][3] = true;
    assert_int_equal(world_propose(world_at(w, 1), 1, 16), STATUS_OK);
    assert_true(world_settle(w));
    world_crash(world_at(w, 1));
    memset(w->cut, 0, sizeof(w->cut));
    mark_reset_all();
    for (int i = 0; i < 15; i++) {
        pass_100_ms(w);
        assert_false(raft_is_leader(world_at(w, 2)->core));
    }
    for (int i = 0; i < 150 && !raft_is_leader(world_at(w, 2)->core); i++) {
        pass_100_ms(w);
    }
    assert_true(raft_is_leader(world_at(w, 2)->core));
    assert_true(mark_count("raft.campaign.reluctantly") > 0);
    world_destroy(w);
}

// The quiet time is for promises that may have been made: a replica that never had a term made
// none.
static void test_raft_new_shard_elects_at_once_after_a_restart(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 0);
    for (uint32_t i = 1; i <= 3; i++) {
        world_crash(world_at(w, i));
        assert_int_equal(world_restart(world_at(w, i), 0), STATUS_OK);
        assert_true(support_boot_quiet(&world_at(w, i)->support, world_node_now(world_at(w, i))));
    }
    world_elect(w, 1);
    world_crash(world_at(w, 2));
    assert_int_equal(world_restart(world_at(w, 2), 0), STATUS_OK);
    assert_int_equal(send_event(world_at(w, 2), RAFT_EVENT_CAMPAIGN), STATUS_FAILED_PRECONDITION);
    world_destroy(w);
}

// A TIMEOUT_NOW that was sent before an append which this replica answered is void: the answer
// fortified the leader again.
static void test_raft_timeout_now_before_the_last_answer_is_void(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 0);
    struct world_node *target = world_at(w, 2);
    world_support_all(w);
    world_elect(w, 1);
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.u.target.v = 2;
    assert_int_equal(world_step(world_at(w, 1), &event), STATUS_OK);
    struct world_packet *late = world_find(w, 1, 2, RAFT_TIMEOUT_NOW);
    assert_non_null(late);
    assert_int_equal(world_read(world_at(w, 1)), STATUS_OK);
    world_deliver(w, world_find(w, 1, 2, RAFT_APPEND_REQUEST));
    world_deliver(w, late);
    assert_int_equal(raft_role(target->core), RAFT_FOLLOWER);
    assert_int_equal(raft_term(target->core), 1);
    assert_int_equal(mark_count("raft.transfer.timeout_now_refused"), 1);
    world_destroy(w);
}

// The side channel speaks of one term: what was shown to equal the leader's log in this term says
// nothing about the same node's log in a later one.
static void test_raft_frontier_of_another_term_is_ignored(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 0);
    struct world_node *follower = world_at(w, 2);
    world_elect(w, 1);
    w->cut[2][1] = true;  // its answers get lost, so nothing more is known to be committed
    assert_int_equal(world_propose(world_at(w, 1), 3, 16), STATUS_OK);
    w->cut[1][3] = true;
    world_deliver(w, world_find(w, 1, 2, RAFT_APPEND_REQUEST));
    world_sync(follower, 0);
    assert_int_equal(raft_durable_index(follower->core), 4);
    struct raft_event event = {.type = RAFT_EVENT_FRONTIER};
    event.u.frontier.from.v = 1;
    event.u.frontier.commit = 4;
    event.u.frontier.term = 3;
    assert_int_equal(world_step(follower, &event), STATUS_OK);
    assert_int_equal(raft_commit_index(follower->core), 1);
    event.u.frontier.term = 1;
    event.u.frontier.from.v = 3;
    assert_int_equal(world_step(follower, &event), STATUS_OK);
    assert_int_equal(raft_commit_index(follower->core), 1);
    assert_int_equal(mark_count("raft.frontier.ignored"), 2);
    world_destroy(w);
}

// Nor does it commit entries of a lost branch, which no append of this term has shown to be equal.
static void test_raft_frontier_does_not_commit_a_lost_branch(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 0);
    struct world_node *node = world_at(w, 2);
    static const uint64_t terms[] = {1, 1, 1};
    world_set_log(node, terms, 3, 2);
    struct raft_message m = {.type = RAFT_APPEND_REQUEST, .from = {1}, .to = {2}, .term = 3};
    m.sequence = 1;
    m.index = 3;
    m.index_term = 2;
    m.commit = 3;
    assert_int_equal(deliver(node, &m), STATUS_OK);
    struct raft_event event = {.type = RAFT_EVENT_FRONTIER};
    event.u.frontier.from.v = 1;
    event.u.frontier.term = 3;
    event.u.frontier.commit = 3;
    assert_int_equal(world_step(node, &event), STATUS_OK);
    assert_int_equal(raft_commit_index(node->core), 0);
    m.index = 1;
    m.index_term = 1;
    m.commit = 0;
    assert_int_equal(deliver(node, &m), STATUS_OK);
    assert_int_equal(world_step(node, &event), STATUS_OK);
    assert_int_equal(raft_commit_index(node->core), 1);
    world_destroy(w);
}

// An idle shard under support wants no tick anywhere, and its actions are none.
static void test_raft_idle_shard_costs_nothing(void **state) {
    (void)state;
    struct world *w = make_world(5, 1, 0);
    world_support_all(w);
    world_elect(w, 1);
    for (uint32_t i = 0; i < 20; i++) {
        world_advance(w, UINT64_C(500) * MS);
        world_support_all(w);
        assert_null(w->packets);
        for (uint32_t n = 1; n <= 6; n++) {
            assert_true(raft_deadline_ns(world_at(w, n)->core) == UINT64_MAX);
        }
    }
    assert_true(raft_lease_until_ns(world_at(w, 1)->core) > world_node_now(world_at(w, 1)));
    world_destroy(w);
}

// Acknowledgements of a peer's earlier life arrive late, then its new life says that it was told of
// a shorter log. All of it is durable there, but it may not commit what it does not know to be
// equal: the leader has to tell it, although it has nothing left to replicate.
static void test_raft_restarted_peer_is_told_what_it_holds(void **state) {
    (void)state;
    struct world *w = make_world(3, 0, 0);
    world_support_all(w);
    world_elect(w, 1);
    struct world_node *leader = world_at(w, 1);
    assert_int_equal(world_propose(leader, 3, 8), STATUS_OK);
    assert_true(world_settle(w));
    uint64_t last = raft_last_index(leader->core);
    assert_int_equal(raft_match_index(leader->core, (struct node_id){2}), last);
    assert_true(raft_deadline_ns(leader->core) == UINT64_MAX);
    struct raft_message m = {.type = RAFT_APPEND_REPLY, .from = {2}, .to = {1}};
    m.term = raft_term(leader->core);
    m.sequence = UINT64_C(2) << 40;  // of the next boot
    m.index = last - 1;
    m.commit = last - 1;
    assert_int_equal(deliver(leader, &m), STATUS_OK);
    assert_true(raft_deadline_ns(leader->core) != UINT64_MAX);
    world_support_all(w);
    world_advance(w, UINT64_C(200) * MS);
    assert_non_null(world_find(w, 1, 2, RAFT_APPEND_REQUEST));
    // The answer of the new life, which now knows all, ends the asking.
    m.sequence++;
    m.index = last;
    m.commit = last;
    assert_int_equal(deliver(leader, &m), STATUS_OK);
    assert_true(raft_deadline_ns(leader->core) == UINT64_MAX);
    world_destroy(w);
}

static int reset_marks(void **state) {
    (void)state;
    mark_reset_all();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_create_refuses_impossible_memberships),
        cmocka_unit_test(test_raft_create_refuses_contradicting_bounds),
        cmocka_unit_test(test_raft_create_announces_the_remembered_commit),
        cmocka_unit_test_setup(test_raft_propose_is_refused_while_nothing_is_applied, reset_marks),
        cmocka_unit_test_setup(test_raft_append_takes_what_fits_into_the_ring, reset_marks),
        cmocka_unit_test_setup(test_raft_peer_below_the_trimmed_log_stops_nothing, reset_marks),
        cmocka_unit_test_setup(test_raft_refusal_below_the_trimmed_log_is_no_loop, reset_marks),
        cmocka_unit_test_setup(test_raft_progress_below_the_trim_is_moved_up, reset_marks),
        cmocka_unit_test_setup(test_raft_vote_of_a_learner_does_not_count, reset_marks),
        cmocka_unit_test_setup(test_raft_release_of_an_earlier_term_is_ignored, reset_marks),
        cmocka_unit_test(test_raft_driver_answers_by_role),
        cmocka_unit_test(test_raft_sick_node_never_campaigns),
        cmocka_unit_test(test_raft_reluctant_node_campaigns_last),
        cmocka_unit_test(test_raft_new_shard_elects_at_once_after_a_restart),
        cmocka_unit_test_setup(test_raft_timeout_now_before_the_last_answer_is_void, reset_marks),
        cmocka_unit_test_setup(test_raft_frontier_of_another_term_is_ignored, reset_marks),
        cmocka_unit_test(test_raft_frontier_does_not_commit_a_lost_branch),
        cmocka_unit_test(test_raft_idle_shard_costs_nothing),
        cmocka_unit_test(test_raft_restarted_peer_is_told_what_it_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
