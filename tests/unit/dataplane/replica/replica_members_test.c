// SPDX-License-Identifier: Apache-2.0
// The plan from the members there are to the members that are wanted: each step and each reason to
// wait, then random operations against a log that commits, loses leaders and loses nodes.
#include "dataplane/replica/replica_members.h"

#include "dataplane/base/prng.h"

#include <string.h>

// cmocka wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { NODES = 8 };

// What the leader sees, by node id.
struct sight {
    bool dead[NODES + 1];
    uint64_t lag[NODES + 1];
    bool unfit[NODES + 1];  // to lead
};

static void look(void *ctx, struct node_id node, struct replica_members_node *out) {
    const struct sight *sight = ctx;
    assert_true(node.v >= 1 && node.v <= NODES);
    out->alive = !sight->dead[node.v];
    out->lag = sight->lag[node.v];
    out->ready = out->alive && out->lag < 1000 && !sight->unfit[node.v];
}

// Voters 1 to count, first members.
static struct raft_membership voters(uint32_t count) {
    struct raft_membership m = {.config_epoch = 1, .count = count};
    for (uint32_t i = 0; i < count; i++) {
        m.members[i] = (struct raft_member){{i + 1}, 1, RAFT_VOTER, false};
    }
    return m;
}

// Targets: one digit a voter, after a slash learners: "124/5".
static uint32_t parse(const char *text, struct shard_target *out) {
    uint32_t count = 0;
    enum shard_role role = SHARD_VOTER;
    for (; *text != '\0'; text++) {
        if (*text == '/') {
            role = SHARD_LEARNER;
        } else {
            out[count++] = (struct shard_target){{(uint32_t)(*text - '0')}, role};
        }
    }
    return count;
}

struct plan {
    struct sight sight;
    struct raft_membership members;
    struct shard_target targets[SHARD_REPLICAS_MAX];
    struct replica_members_view view;
    struct replica_members_decision decision;
};

static void start(struct plan *plan, uint32_t voter_count, const char *targets) {
    memset(plan, 0, sizeof(*plan));
    plan->members = voters(voter_count);
    plan->view = (struct replica_members_view){.self = {1},
                                               .members = &plan->members,
                                               .committed = true,
                                               .targets = plan->targets,
                                               .look = look,
                                               .ctx = &plan->sight};
    plan->view.target_count = parse(targets, plan->targets);
}

static enum replica_members_step step(struct plan *plan) {
    replica_members_plan(&plan->view, &plan->decision);
    return plan->decision.step;
}

// Carries out what was decided, as a log that commits at once would.
static void take(struct plan *plan) {
    assert_true(plan->decision.propose);
    plan->members = plan->decision.next;
}

static const struct raft_member *member(const struct plan *plan, uint32_t node) {
    return raft_membership_find(&plan->members, (struct node_id){node});
}

// Goal: a move is a learner, a joint and a final configuration, and then it is over.
static void test_members_move_takes_three_configurations(void **state) {
    (void)state;
    struct plan plan;
    start(&plan, 3, "124");
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ADD);
    take(&plan);
    assert_int_equal(member(&plan, 4)->role, RAFT_LEARNER);
    assert_int_equal(member(&plan, 4)->incarnation, 2);
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ENTER);
    take(&plan);
    assert_true(raft_membership_is_joint(&plan.members));
    assert_int_equal(member(&plan, 3)->role, RAFT_LEAVING);
    assert_int_equal(step(&plan), REPLICA_MEMBERS_LEAVE);
    take(&plan);
    assert_int_equal(plan.members.config_epoch, 4);
    assert_int_equal(plan.members.count, 3);
    assert_null(member(&plan, 3));
    assert_int_equal(step(&plan), REPLICA_MEMBERS_DONE);
    assert_false(plan.decision.propose);
}

// Goal: nothing follows a configuration that is not committed.
static void test_members_wait_for_the_commit(void **state) {
    (void)state;
    struct plan plan;
    start(&plan, 3, "124");
    plan.view.committed = false;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_COMMIT);
    assert_false(plan.decision.propose);
    assert_string_equal(plan.decision.text, "waiting for configuration 1 to be committed");
}

// Goal: whoever is waited for is named, with the reason.
static void test_members_wait_names_the_node(void **state) {
    (void)state;
    struct plan plan;
    start(&plan, 3, "124");
    plan.sight.dead[4] = true;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ADD);
    assert_false(plan.decision.propose);
    assert_string_equal(plan.decision.text, "waiting for node 4: it does not answer");
    plan.sight.dead[4] = false;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ADD);
    take(&plan);
    plan.sight.lag[4] = 12034;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_CATCH_UP);
    assert_false(plan.decision.propose);
    assert_string_equal(plan.decision.text, "waiting for node 4: 12034 entries behind");
    plan.sight.lag[4] = UINT64_MAX;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_CATCH_UP);
    assert_string_equal(plan.decision.text, "waiting for node 4: it has not begun to copy");
    plan.sight.dead[4] = true;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_CATCH_UP);
    assert_string_equal(plan.decision.text, "waiting for node 4: it does not answer");
}

// Goal: a dead node is replaced; a live one is not given away while another is dead and the
// newcomer does not make up for it.
static void test_members_keep_a_majority_alive(void **state) {
    (void)state;
    struct plan plan;
    start(&plan, 3, "124");
    plan.sight.dead[3] = true;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ADD);
    take(&plan);
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ENTER);
    assert_true(plan.decision.propose);
    // 1 (alive) and 2, 3 (dead) cannot be left of 1, 2, 3, 4, 5 with 2 and 3 dead.
    start(&plan, 5, "123");
    plan.sight.dead[2] = plan.sight.dead[3] = true;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ENTER);
    assert_false(plan.decision.propose);
    assert_string_equal(plan.decision.text,
                        "waiting: 1 of 3 voters would be alive, now 3 of 5 are");
    // Four of five alive: one may fail. Of 1, 2, 3 with 3 dead none may.
    plan.sight.dead[2] = false;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ENTER);
    assert_false(plan.decision.propose);
    plan.sight.dead[3] = false;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ENTER);
    assert_true(plan.decision.propose);
    // Fewer to spare is right when fewer voters are wanted.
    start(&plan, 3, "1");
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ENTER);
    assert_true(plan.decision.propose);
}

// Goal: a leader that is to go hands over to one that stays, and leaves by itself in the end.
static void test_members_leaving_leader_transfers_first(void **state) {
    (void)state;
    struct plan plan;
    start(&plan, 3, "234");
    (void)step(&plan);
    take(&plan);
    (void)step(&plan);
    take(&plan);
    plan.sight.unfit[2] = true;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_TRANSFER);
    assert_false(plan.decision.propose);
    assert_int_equal(plan.decision.transfer.v, 3);
    plan.sight.unfit[3] = plan.sight.unfit[4] = true;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_TRANSFER);
    assert_int_equal(plan.decision.transfer.v, 0);
    plan.view.waited_ns = UINT64_C(10000000000);
    assert_int_equal(step(&plan), REPLICA_MEMBERS_LEAVE);
    assert_true(plan.decision.propose);
    assert_null(raft_membership_find(&plan.decision.next, (struct node_id){1}));
    // The one that took over finds the joint configuration in its log and leaves it at once.
    plan.view.waited_ns = 0;
    plan.view.self.v = 3;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_LEAVE);
    assert_true(plan.decision.propose);
}

// Goal: a joint configuration is left though nobody wants anything any more; nothing else happens.
static void test_members_without_targets_only_leave(void **state) {
    (void)state;
    struct plan plan;
    start(&plan, 3, "");
    assert_int_equal(step(&plan), REPLICA_MEMBERS_IDLE);
    assert_false(plan.decision.propose);
    const struct raft_change change = {{3}, RAFT_LEAVING};
    struct err err;
    struct raft_membership joint;
    assert_int_equal(raft_membership_change(&plan.members, &change, 1, &joint, &err), STATUS_OK);
    plan.members = joint;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_LEAVE);
    assert_true(plan.decision.propose);
}

// Goal: learners come and go in one step, without voters; one that is dead holds nobody up.
static void test_members_learners_need_no_joint(void **state) {
    (void)state;
    struct plan plan;
    start(&plan, 3, "123/45");
    plan.sight.dead[5] = true;
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ADD);
    take(&plan);
    assert_int_equal(plan.members.count, 4);
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ADD);
    assert_false(plan.decision.propose);
    assert_string_equal(plan.decision.text, "waiting for a learner that does not answer");
    plan.view.target_count = parse("123", plan.targets);
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ENTER);
    take(&plan);
    assert_int_equal(plan.members.count, 3);
    assert_false(raft_membership_is_joint(&plan.members));
    plan.view.target_count = parse("124/35", plan.targets);
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ADD);
    take(&plan);
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ENTER);
    take(&plan);
    assert_int_equal(member(&plan, 3)->role, RAFT_LEARNER);
    assert_true(member(&plan, 3)->outgoing);
}

// Goal: back to the members of before, from a learner that was added already.
static void test_members_cancelled_targets_drop_the_learner(void **state) {
    (void)state;
    struct plan plan;
    start(&plan, 3, "124");
    (void)step(&plan);
    take(&plan);
    plan.sight.lag[4] = UINT64_MAX;
    plan.view.target_count = parse("123", plan.targets);
    assert_int_equal(step(&plan), REPLICA_MEMBERS_ENTER);
    take(&plan);
    assert_null(member(&plan, 4));
    assert_int_equal(step(&plan), REPLICA_MEMBERS_DONE);
}

// --- Random operations --------------------------------------------------------------------------

static bool has_majority(const struct plan *plan, bool outgoing) {
    uint32_t all = 0;
    uint32_t alive = 0;
    for (uint32_t i = 0; i < plan->members.count; i++) {
        const struct raft_member *m = &plan->members.members[i];
        if (outgoing ? !m->outgoing : m->role != RAFT_VOTER) { continue; }
        all++;
        alive += !plan->sight.dead[m->node.v];
    }
    return all == 0 || alive > all / 2;
}

// Any live voter of either configuration.
static bool elect(struct plan *plan, struct prng *prng) {
    uint32_t from = (uint32_t)prng_below(prng, plan->members.count);
    for (uint32_t k = 0; k < plan->members.count; k++) {
        const struct raft_member *m = &plan->members.members[(from + k) % plan->members.count];
        if ((m->role == RAFT_VOTER || m->outgoing) && !plan->sight.dead[m->node.v]) {
            plan->view.self = m->node;
            return true;
        }
    }
    return false;
}

static void draw_targets(struct plan *plan, struct prng *prng) {
    uint32_t nodes[NODES];
    for (uint32_t i = 0; i < NODES; i++) {
        nodes[i] = i + 1;
    }
    uint32_t voter_count = 1 + 2 * (uint32_t)prng_below(prng, 3);
    plan->view.target_count = voter_count + (uint32_t)prng_below(prng, 3);
    for (uint32_t i = 0; i < plan->view.target_count; i++) {
        uint32_t at = i + (uint32_t)prng_below(prng, NODES - i);
        uint32_t node = nodes[at];
        nodes[at] = nodes[i];
        nodes[i] = node;
        plan->targets[i] =
            (struct shard_target){{node}, i < voter_count ? SHARD_VOTER : SHARD_LEARNER};
    }
}

static void act(struct plan *plan, struct prng *prng) {
    enum replica_members_step at = step(plan);
    if (plan->decision.transfer.v != 0) {
        assert_false(plan->decision.propose);
        plan->view.self = plan->decision.transfer;
    }
    if (!plan->decision.propose) { return; }
    struct raft_membership next = plan->decision.next;
    assert_int_equal(next.config_epoch, plan->members.config_epoch + 1);
    bool entered = raft_membership_is_joint(&next);
    plan->members = next;
    // Whoever decided to change voters leaves a group that can go on with those alive.
    if (entered) {
        assert_int_equal(at, REPLICA_MEMBERS_ENTER);
        assert_true(has_majority(plan, false) && has_majority(plan, true));
    }
    plan->view.committed = prng_chance(prng, 1, 2);
}

// Goal: whatever fails on the way, the group keeps the majorities it had when a change began, and
// when everybody is well again every operation ends at its targets.
static void test_members_random_operations_arrive(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct prng prng;
        struct plan plan;
        prng_init(&prng, seed);
        start(&plan, 1 + 2 * (uint32_t)prng_below(&prng, 2), "");
        draw_targets(&plan, &prng);
        for (uint32_t round = 0; round < 60; round++) {
            uint32_t node = 1 + (uint32_t)prng_below(&prng, NODES);
            plan.sight.dead[node] = prng_chance(&prng, 1, 3);
            plan.sight.lag[node] = prng_chance(&prng, 1, 2) ? 0 : prng_below(&prng, 5000);
            if (prng_chance(&prng, 1, 20)) { draw_targets(&plan, &prng); }
            if (prng_chance(&prng, 1, 2)) { plan.view.committed = true; }
            bool leads = plan.sight.dead[plan.view.self.v] || prng_chance(&prng, 1, 6)
                             ? elect(&plan, &prng)
                             : true;
            bool works = leads && has_majority(&plan, false) && has_majority(&plan, true);
            if (works) { act(&plan, &prng); }
        }
        memset(&plan.sight, 0, sizeof(plan.sight));
        assert_true(elect(&plan, &prng));
        for (uint32_t round = 0; round < 12; round++) {
            plan.view.committed = true;
            act(&plan, &prng);
            bool member_leads = member(&plan, plan.view.self.v) != NULL;
            if (!member_leads) { assert_true(elect(&plan, &prng)); }
        }
        plan.view.committed = true;
        assert_int_equal(step(&plan), REPLICA_MEMBERS_DONE);
        assert_int_equal(plan.members.count, plan.view.target_count);
    }
}

// Goal: a membership and its description are the same thing.
static void test_members_describe_and_back(void **state) {
    (void)state;
    struct plan plan;
    start(&plan, 3, "24/1");
    plan.view.target_count = parse("245/1", plan.targets);
    (void)step(&plan);
    take(&plan);
    (void)step(&plan);
    take(&plan);
    assert_true(raft_membership_is_joint(&plan.members));
    struct shard_descriptor descriptor = {.config_epoch = plan.members.config_epoch};
    descriptor.replica_count = replica_members_describe(&plan.members, descriptor.replicas);
    assert_int_equal(descriptor.replica_count, 5);
    assert_true(shard_descriptor_is_joint(&descriptor));
    assert_int_equal(shard_descriptor_replica(&descriptor, (struct node_id){3})->role,
                     SHARD_LEAVING);
    struct raft_membership back;
    replica_members_of(&descriptor, &back);
    assert_int_equal(back.config_epoch, plan.members.config_epoch);
    assert_int_equal(back.count, plan.members.count);
    for (uint32_t i = 0; i < back.count; i++) {
        assert_int_equal(back.members[i].node.v, plan.members.members[i].node.v);
        assert_int_equal(back.members[i].role, plan.members.members[i].role);
        assert_int_equal(back.members[i].incarnation, plan.members.members[i].incarnation);
        assert_int_equal(back.members[i].outgoing, plan.members.members[i].outgoing);
    }
    for (unsigned i = 0; i < REPLICA_MEMBERS_STEP_COUNT; i++) {
        assert_true(strlen(replica_members_step_name((enum replica_members_step)i)) > 3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_move_takes_three_configurations),
        cmocka_unit_test(test_members_wait_for_the_commit),
        cmocka_unit_test(test_members_wait_names_the_node),
        cmocka_unit_test(test_members_keep_a_majority_alive),
        cmocka_unit_test(test_members_leaving_leader_transfers_first),
        cmocka_unit_test(test_members_without_targets_only_leave),
        cmocka_unit_test(test_members_learners_need_no_joint),
        cmocka_unit_test(test_members_cancelled_targets_drop_the_learner),
        cmocka_unit_test(test_members_random_operations_arrive),
        cmocka_unit_test(test_members_describe_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
