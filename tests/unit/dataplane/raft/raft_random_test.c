// SPDX-License-Identifier: Apache-2.0
// Thousands of short histories with a network that drops, repeats and reorders, disks that lose
// what was not synced, clocks that differ by up to 10 %, and every event of the core at random.
// The world asserts the safety properties after each step; at the end of a history everything
// heals and the shard must become live again. A failure prints its seed by the assertion's trace:
// run with the seed as argument.
#include "dataplane/base/mark.h"
#include "tests/unit/dataplane/raft/raft_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000000, TURNS = 400, HEAL_MS = 60000 };

static uint64_t first_seed = 1;
static uint64_t last_seed = 500;

// What one history is like. Chances are per cent unless said otherwise.
struct mix {
    uint64_t deliver;  // of a packet in a turn
    uint64_t drop;
    uint64_t duplicate;
    uint64_t sync;      // of a disk in a turn
    uint64_t exchange;  // of a node asking for support in a turn; 0: it lives by time-outs alone
    uint64_t fault;     // per mille and turn
    uint64_t restless;  // campaigns, step-downs and transfers, per turn
    uint64_t drama;     // per mille: a leader is cut off and the others go on
    uint64_t pause_ms;  // longest turn
    // Per mille and turn.
    uint64_t change;  // of members
    uint64_t trim;
    uint64_t loss;  // of a state machine's contents, or of a log's
};

static struct world_packet *random_packet(struct world *w) {
    uint64_t reach = w->packet_count < 12 ? w->packet_count : 12;
    // Mostly near the head, now and then from anywhere: a message delayed for long.
    if (prng_chance(&w->prng, 1, 20)) { reach = w->packet_count; }
    uint64_t at = prng_below(&w->prng, reach);
    struct world_packet *packet = w->packets;
    while (at > 0) {
        packet = packet->next;
        at--;
    }
    return packet;
}

static struct world_node *random_node(struct world *w) {
    return &w->nodes[prng_below(&w->prng, w->count)];
}

static void move_packets(struct world *w, const struct mix *mix) {
    for (uint32_t i = w->packet_count; i > 0 && w->packets != NULL; i--) {
        if (!prng_chance(&w->prng, mix->deliver, 100)) { continue; }
        struct world_packet *packet = random_packet(w);
        if (prng_chance(&w->prng, mix->duplicate, 100)) { (void)world_duplicate(w, packet); }
        if (prng_chance(&w->prng, mix->drop, 100)) {
            world_drop(w, packet);
        } else {
            world_deliver(w, packet);
        }
    }
    while (w->packet_count > 200) {
        world_drop(w, random_packet(w));
    }
}

static void exchange(struct world *w, struct world_node *node) {
    for (uint32_t to = 1; to <= w->count; to++) {
        if (to == node->number) { continue; }
        world_send_support(node, to);
        if (prng_chance(&w->prng, 1, 3)) { world_send_leads(node, to); }
        if (prng_chance(&w->prng, 1, 2)) { world_send_frontier(node, to); }
    }
}

static void partition(struct world *w) {
    for (uint32_t a = 1; a <= w->count; a++) {
        for (uint32_t b = 1; b <= w->count; b++) {
            w->cut[a][b] = a != b && prng_chance(&w->prng, 1, 3);
        }
    }
}

static void heal(struct world *w) {
    for (uint32_t a = 1; a <= w->count; a++) {
        for (uint32_t b = 1; b <= w->count; b++) {
            w->cut[a][b] = false;
        }
    }
}

static void restart(struct world *w, struct world_node *node) {
    uint64_t low = world_flushed_min(node);
    uint64_t flushed = node->applied > low ? prng_between(&w->prng, low, node->applied) : low;
    enum status st = world_restart(node, flushed);
    assert_int_equal(st, STATUS_OK);
}

// --- members, snapshots and losses

// Everybody is up, whole, and of one opinion about the members.
static bool calm(struct world *w) {
    const struct world_node *leader = world_leader(w);
    if (leader == NULL) { return false; }
    uint64_t index = 0;
    uint64_t epoch = raft_members_committed(leader->core, &index)->config_epoch;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct world_node *node = &w->nodes[i];
        if (!node->exists) { continue; }
        if (!node->up || node->hollow || node->damaged) { return false; }
        if (raft_members(node->core)->config_epoch != epoch) { return false; }
    }
    return !raft_membership_is_joint(raft_members(leader->core));
}

static void change_members(struct world *w) {
    struct world_node *leader = world_leader(w);
    if (leader == NULL) { return; }
    struct raft_change changes[3] = {{{0}, RAFT_VOTER}};
    uint32_t count = 1 + (uint32_t)prng_below(&w->prng, 3);
    for (uint32_t i = 0; i < count; i++) {
        changes[i].node.v = random_node(w)->number;
        changes[i].role = (enum raft_member_role)prng_below(&w->prng, RAFT_MEMBER_ROLE_COUNT);
    }
    enum status st = world_change(leader, changes, count);
    assert_true(st != STATUS_CORRUPT);
}

static void trim(struct world *w) {
    struct world_node *node = random_node(w);
    if (!node->up || node->hollow || node->damaged) { return; }
    uint64_t limit = node->applied;
    if (raft_is_leader(node->core)) {
        uint64_t lag_max = prng_below(&w->prng, 40);
        uint64_t policy = raft_trim_limit(node->core, world_node_now(node), lag_max);
        limit = policy < limit ? policy : limit;
    }
    // A snapshot may stand for entries whose writes are still under way.
    if (limit > node->disk.last || node->disk.base != node->view.base) { return; }
    if (limit > node->disk.base && limit > node->trim_index) { world_trim(node, limit); }
}

// A minority only: what a majority lost cannot come back.
static void lose(struct world *w) {
    struct world_node *node = random_node(w);
    if (!node->up || !calm(w)) { return; }
    const struct raft_membership *m = raft_members(world_leader(w)->core);
    uint32_t voters = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        voters += m->members[i].role == RAFT_VOTER ? 1 : 0;
    }
    if (voters < 3 || !world_is_member(m, node)) { return; }
    if (prng_chance(&w->prng, 1, 3)) {
        world_hollow(node);
        return;
    }
    world_crash(node);
    if (prng_chance(&w->prng, 1, 2)) {
        world_hollow(node);
    } else {
        world_damage(node);
    }
}

static void remove_gone(struct world *w) {
    const struct world_node *leader = world_leader(w);
    if (leader == NULL) { return; }
    uint64_t index = 0;
    const struct raft_membership *m = raft_members_committed(leader->core, &index);
    struct world_node *node = random_node(w);
    if (!node->exists || node == leader || raft_members(leader->core) != m) { return; }
    if (!world_is_member(m, node) && m->config_epoch >= node->incarnation) { world_remove(node); }
}

static void drive_members(struct world *w, const struct mix *mix) {
    bool may_change = mix->loss == 0 || calm(w);
    if (may_change && prng_chance(&w->prng, mix->change, 1000)) { change_members(w); }
    if (prng_chance(&w->prng, mix->trim, 1000)) { trim(w); }
    if (prng_chance(&w->prng, mix->loss, 1000)) { lose(w); }
    if (mix->change > 0 && prng_chance(&w->prng, 1, 30)) { remove_gone(w); }
    for (uint32_t i = 0; i < w->count; i++) {
        struct world_node *node = &w->nodes[i];
        if (!node->up) { continue; }
        if (node->receiving.index != 0 && prng_chance(&w->prng, 1, 4)) { world_install(node); }
        if (raft_is_leader(node->core) && prng_chance(&w->prng, 1, 4)) {
            enum status st = world_leave(node);
            assert_true(st != STATUS_CORRUPT && st != STATUS_INVALID_ARGUMENT);
        }
    }
}

static void fault(struct world *w) {
    struct world_node *node = random_node(w);
    switch (prng_below(&w->prng, 10)) {
    case 0:
    case 1:
    case 2:
        if (node->up) { world_crash(node); }
        break;
    case 3:
    case 4:
        partition(w);
        break;
    case 5:
    case 6:
    case 7:
        heal(w);
        break;
    case 8:
        node->support.withhold = prng_chance(&w->prng, 1, 3);
        break;
    default:
        world_advance(w, prng_below(&w->prng, UINT64_C(1500) * MS));
        break;
    }
}

static void rise(struct world *w) {
    for (uint32_t i = 0; i < w->count; i++) {
        struct world_node *node = &w->nodes[i];
        if (!node->exists) { continue; }
        if (!node->up && prng_chance(&w->prng, 1, 12)) { restart(w, node); }
        if (prng_chance(&w->prng, 1, 40)) { node->support.withhold = false; }
    }
    if (prng_chance(&w->prng, 1, 40)) { heal(w); }
}

static void restless_event(struct world *w, struct world_node *node) {
    struct raft_event event = {.type = RAFT_EVENT_TICK};
    switch (prng_below(&w->prng, 4)) {
    case 0:
        event.type = RAFT_EVENT_CAMPAIGN;
        break;
    case 1:
        event.type = RAFT_EVENT_STEP_DOWN;
        break;
    default:
        event.type = RAFT_EVENT_TRANSFER;
        event.u.target = (struct node_id){random_node(w)->number};
        if (world_leader(w) != NULL) { node = world_leader(w); }
        break;
    }
    enum status st = world_step(node, &event);
    assert_true(st != STATUS_CORRUPT);
}

static void client_events(struct world *w) {
    struct world_node *node = prng_chance(&w->prng, 4, 5) ? world_leader(w) : random_node(w);
    if (node == NULL || !node->up) { return; }
    if (prng_chance(&w->prng, 1, 3)) {
        enum status st = world_read(node);
        assert_true(st != STATUS_CORRUPT);
    }
    if (raft_is_leader(node->core) && node->view.last + 200 < WORLD_LOG_MAX) {
        enum status st = world_propose(node, 1 + (uint32_t)prng_below(&w->prng, 4), 16);
        assert_true(st != STATUS_CORRUPT);
    }
}

static void cut_off(struct world *w, uint32_t number) {
    uint64_t way = prng_below(&w->prng, 3);
    for (uint32_t other = 1; other <= w->count; other++) {
        if (other == number) { continue; }
        w->cut[number][other] = way != 0;
        w->cut[other][number] = way != 1;
    }
}

// The leader is cut off, perhaps a follower restarts, and the others go on for up to two durations
// of support: the schedule in which a second leader would appear too early.
static void drama(struct world *w) {
    struct world_node *leader = world_leader(w);
    if (leader == NULL) { return; }
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->nodes[i].up) { exchange(w, &w->nodes[i]); }
    }
    for (uint32_t i = 0; i < 40 && w->packets != NULL; i++) {
        world_deliver(w, w->packets);
    }
    if (prng_chance(&w->prng, 1, 3)) {
        struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
        event.u.target = (struct node_id){random_node(w)->number};
        enum status st = leader->up ? world_step(leader, &event) : STATUS_OK;
        assert_true(st != STATUS_CORRUPT);
    }
    if (prng_chance(&w->prng, 2, 3)) { cut_off(w, leader->number); }
    struct world_node *other = random_node(w);
    if (other->up && other != leader && prng_chance(&w->prng, 1, 2)) {
        world_crash(other);
        restart(w, other);
    }
    uint64_t turns = prng_below(&w->prng, 150);
    for (uint64_t i = 0; i < turns; i++) {
        world_advance(w, prng_below(&w->prng, UINT64_C(25) * MS));
        uint64_t packets = prng_below(&w->prng, 30);
        for (uint64_t k = 0; k < packets && w->packets != NULL; k++) {
            world_deliver(w, random_packet(w));
        }
        for (uint32_t k = 0; k < w->count; k++) {
            world_sync(&w->nodes[k], 0);
        }
        struct world_node *asks = random_node(w);
        if (asks->up && prng_chance(&w->prng, 1, 8)) { exchange(w, asks); }
    }
    heal(w);
}

static void turn(struct world *w, const struct mix *mix) {
    if (prng_chance(&w->prng, mix->drama, 1000)) {
        drama(w);
        return;
    }
    world_advance(w, prng_below(&w->prng, mix->pause_ms * MS));
    for (uint32_t i = 0; i < w->count; i++) {
        struct world_node *node = &w->nodes[i];
        if (node->up && prng_chance(&w->prng, mix->exchange, 100)) { exchange(w, node); }
        if (prng_chance(&w->prng, mix->sync, 100)) {
            world_sync(node, (uint32_t)prng_below(&w->prng, 4));
        }
    }
    move_packets(w, mix);
    if (prng_chance(&w->prng, 1, 2)) { client_events(w); }
    if (prng_chance(&w->prng, mix->restless, 100)) {
        struct world_node *node = random_node(w);
        if (node->up) { restless_event(w, node); }
    }
    if (prng_chance(&w->prng, mix->fault, 1000)) { fault(w); }
    drive_members(w, mix);
    rise(w);
}

static bool all_equal(struct world *w) {
    const struct world_node *leader = world_leader(w);
    uint64_t index = 0;
    const struct raft_membership *m = raft_members_committed(leader->core, &index);
    if (raft_membership_is_joint(m) || raft_members(leader->core) != m) { return false; }
    for (uint32_t i = 0; i < m->count; i++) {
        const struct world_node *node = world_at(w, m->members[i].node.v);
        if (!node->up || !world_is_member(m, node)) { return false; }
        if (raft_health_of(node->core) != RAFT_WHOLE) { return false; }
        if (node->applied != leader->applied || node->view.last != leader->view.last) {
            return false;
        }
        if (node->applied != node->view.last) { return false; }
    }
    return true;
}

// Everything heals: within bounded time there is a leader with a lease and all replicas are equal.
static void heal_and_converge(struct world *w) {
    heal(w);
    for (uint32_t i = 0; i < w->count; i++) {
        struct world_node *node = &w->nodes[i];
        if (node->exists && !node->up) { restart(w, node); }
        node->support.withhold = false;
    }
    bool proposed = false;
    for (uint32_t ms = 0; ms < HEAL_MS; ms += 10) {
        if (ms % 100 == 0) {
            for (uint32_t i = 0; i < w->count; i++) {
                if (w->nodes[i].up) { exchange(w, &w->nodes[i]); }
            }
        }
        assert_true(world_settle(w));
        world_advance(w, UINT64_C(10) * MS);
        struct world_node *leader = world_leader(w);
        if (leader == NULL) { continue; }
        enum status left = world_leave(leader);
        assert_true(left != STATUS_INVALID_ARGUMENT);
        bool leased = raft_lease_until_ns(leader->core) > world_node_now(leader);
        if (!leased) { continue; }
        if (!proposed) {
            proposed = world_propose(leader, 1, 16) == STATUS_OK;
            continue;
        }
        if (all_equal(w)) { return; }
    }
    for (uint32_t i = 0; i < w->count; i++) {
        const struct world_node *node = &w->nodes[i];
        if (!node->up) { continue; }
        world_print_members(stderr, raft_members(node->core));
        fprintf(stderr, " health=%d#%llu of ", raft_health_of(node->core),
                (unsigned long long)node->incarnation);
        print_message(
            "%u %s term=%llu leader=%u last=%llu commit=%llu applied=%llu\n", node->number,
            world_role_name(raft_role(node->core)), (unsigned long long)raft_term(node->core),
            raft_leader(node->core).v, (unsigned long long)node->view.last,
            (unsigned long long)raft_commit_index(node->core), (unsigned long long)node->applied);
    }
    fail_msg("the shard did not converge");
}

static void run(uint64_t seed) {
    struct prng draw;
    prng_init(&draw, seed);
    static const uint32_t voters[] = {1, 2, 3, 3, 3, 3, 4, 5, 5, 5};
    struct world_options options = {
        .voters = voters[prng_below(&draw, 10)],
        .learners = prng_chance(&draw, 1, 4) ? 1 : 0,
        .seed = seed,
        .random_rates = prng_chance(&draw, 1, 2),
        .inflight_messages_max = prng_chance(&draw, 1, 3) ? 3 : 0,
        .append_size_max = prng_chance(&draw, 1, 3) ? 300 : 0,
        .cache_count_max = prng_chance(&draw, 1, 2) ? 16 : 0,
        .cache_size_max = prng_chance(&draw, 1, 2) ? 400 : 0,
    };
    static const uint64_t exchanges[] = {0, 4, 15, 30};
    static const uint64_t pauses_ms[] = {3, 10, 30, 60};
    static const uint64_t faults[] = {0, 10, 30, 80};
    struct mix mix = {
        .deliver = prng_between(&draw, 40, 100),
        .drop = prng_chance(&draw, 1, 2) ? prng_below(&draw, 25) : 0,
        .duplicate = prng_chance(&draw, 1, 2) ? prng_below(&draw, 25) : 0,
        .sync = prng_between(&draw, 20, 100),
        .exchange = exchanges[prng_below(&draw, 4)],
        .fault = faults[prng_below(&draw, 4)],
        .restless = prng_chance(&draw, 1, 2) ? prng_below(&draw, 20) : 0,
        .drama = prng_chance(&draw, 1, 2) ? prng_below(&draw, 30) : 0,
        .pause_ms = pauses_ms[prng_below(&draw, 4)],
    };
    if (prng_chance(&draw, 1, 2)) {
        options.spares = (uint32_t)prng_below(&draw, 7 - options.voters - options.learners + 1);
        mix.change = prng_between(&draw, 5, 100);
    }
    if (prng_chance(&draw, 1, 2)) {
        mix.trim = prng_between(&draw, 5, 100);
        mix.loss = prng_below(&draw, 40);
    }
    struct world *w = world_create(&options);
    w->no_forgeries = true;
    const char *trace = first_seed == last_seed ? getenv("RAFT_TRACE") : NULL;
    if (trace != NULL && strcmp(trace, "all") == 0) { w->trace = stderr; }
    for (uint32_t i = 0; i < TURNS; i++) {
        turn(w, &mix);
    }
    world_check_logs(w);
    if (trace != NULL) { w->trace = stderr; }
    heal_and_converge(w);
    world_check_logs(w);
    world_destroy(w);
}

static void test_raft_random_histories_stay_safe_and_heal(void **state) {
    (void)state;
    for (uint64_t seed = first_seed; seed <= last_seed; seed++) {
        if (last_seed - first_seed < 2 || getenv("RAFT_SEEDS_VERBOSE") != NULL) {
            print_message("seed %llu\n", (unsigned long long)seed);
        }
        run(seed);
    }
}

// Rare branches that the histories above must have reached; a mix that no longer does is too tame.
static const char *const marks[] = {
    "raft.append.damaged",
    "raft.config.rolled_back",
    "raft.leader.left_office",
    "raft.message.of_stranger",
    "raft.progress.below_trim",
    "raft.progress.needs_snapshot",
    "raft.propose.config_too_early",
    "raft.reply.before_damage",
    "raft.reply.damaged",
    "raft.snapshot.failed",
    "raft.snapshot.known",
    "raft.snapshot.log_began_anew",
    "raft.snapshot.log_goes_on",
    "raft.transfer.target_not_ready",
    "raft.vote.damaged",
    "raft.append.conflict_truncated",
    "raft.append.old_term",
    "raft.append.refused_with_hint",
    "raft.append.ring_full",
    "raft.campaign.bound_by_promise",
    "raft.campaign.quiet_after_boot",
    "raft.catchup.read_from_store",
    "raft.commit.old_term_not_counted",
    "raft.election.lost",
    "raft.frontier.ignored",
    "raft.leader.lost_its_quorum",
    "raft.log.evicted_above_pin",
    "raft.progress.silent_peer_probed",
    "raft.promise.ended_by_request",
    "raft.propose.ring_full",
    "raft.read.gathers",
    "raft.read.waits_for_own_term",
    "raft.release.stale",
    "raft.replicate.catchup_taken",
    "raft.replicate.window_full",
    "raft.reply.stale_refusal",
    "raft.transfer.given_up",
    "raft.transfer.timeout_now_refused",
    "raft.vote.bound_by_promise",
    "raft.vote.leader_is_alive",
    "raft.vote.log_is_behind",
    "raft.vote.quiet_after_boot",
    "raft.vote.stale_answer",
    "support.reply_overtaken",
    "support.reply_shortens_nothing",
    "support.reply_to_old_boot",
    "support.request_of_old_boot",
    "support.request_overtaken",
};

static void test_raft_random_histories_reach_the_rare_branches(void **state) {
    (void)state;
    if (last_seed - first_seed < 200) { return; }
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        if (getenv("RAFT_MARKS") != NULL) {
            print_message("%8llu %s\n", (unsigned long long)mark_count(marks[i]), marks[i]);
        } else if (mark_count(marks[i]) == 0) {
            fail_msg("%s was not reached", marks[i]);
        }
    }
}

int main(int argc, char **argv) {
    if (argc >= 2) { first_seed = last_seed = strtoull(argv[1], NULL, 10); }
    if (argc >= 3) { last_seed = strtoull(argv[2], NULL, 10); }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_random_histories_stay_safe_and_heal),
        cmocka_unit_test(test_raft_random_histories_reach_the_rare_branches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
