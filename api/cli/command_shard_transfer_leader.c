// SPDX-License-Identifier: Apache-2.0
// Only the leader can hand over, so the call goes to the node that `shard show` names; whoever
// leads by then corrects us once.
#include "api/cli/commands.h"
#include "api/cli/shard_order.h"

#include <inttypes.h>
#include <time.h>

enum { TRANSFER_TRIES = 5, TRANSFER_PAUSE_MS = 200 };

static enum status leader_of(struct lc_client *client, uint64_t shard, uint32_t *out_leader,
                             struct err *err) {
    Lightcone__V1__ShardShowRequest request = LIGHTCONE__V1__SHARD_SHOW_REQUEST__INIT;
    Lightcone__V1__ShardShowResponse *show = NULL;
    request.shard = shard;
    enum status st = lc_admin_shard_show(client, 0, &request, &show, err);
    if (st != STATUS_OK) { return st; }
    *out_leader = show->shard->leader;
    // The replica that says so itself, in the highest term, knows better than a hint.
    uint64_t term = 0;
    for (size_t i = 0; i < show->n_replicas; i++) {
        const Lightcone__V1__ReplicaStatus *replica = show->replicas[i];
        bool leads =
            replica->reachable != 0 && replica->role == LIGHTCONE__V1__RAFT_ROLE__RAFT_ROLE_LEADER;
        if (leads && replica->term >= term) {
            term = replica->term;
            *out_leader = replica->node;
        }
    }
    lightcone__v1__shard_show_response__free_unpacked(show, NULL);
    return STATUS_OK;
}

static enum status transfer(struct lc_client *client, uint64_t shard, uint32_t target,
                            struct err *err) {
    enum status st = STATUS_OK;
    for (int i = 0; i < TRANSFER_TRIES; i++) {
        Lightcone__V1__ShardTransferLeaderRequest request =
            LIGHTCONE__V1__SHARD_TRANSFER_LEADER_REQUEST__INIT;
        Lightcone__V1__ShardTransferLeaderResponse *response = NULL;
        uint32_t leader = 0;
        st = leader_of(client, shard, &leader, err);
        if (st != STATUS_OK || leader == target) { return st; }
        request.shard = shard;
        request.target_node = target;
        st = leader == 0 ? err_set(err, STATUS_NOT_LEADER, "no leader is known")
                         : lc_admin_shard_transfer_leader(client, leader, &request, &response, err);
        lightcone__v1__shard_transfer_leader_response__free_unpacked(response, NULL);
        if (st == STATUS_OK || !status_is_retryable(st)) { return st; }
        (void)nanosleep(&(struct timespec){.tv_nsec = TRANSFER_PAUSE_MS * 1000000L}, NULL);
    }
    return st;
}

// The order is taken before it is carried out; waits until the target leads.
static bool wait_for(struct cli *cli, struct lc_client *client, uint64_t shard, uint32_t target) {
    for (uint32_t waited = 0; waited <= cli->timeout_ms; waited += TRANSFER_PAUSE_MS) {
        uint32_t leader = 0;
        if (leader_of(client, shard, &leader, NULL) == STATUS_OK && leader == target) {
            return true;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = TRANSFER_PAUSE_MS * 1000000L}, NULL);
    }
    return false;
}

static enum cli_exit report(struct cli *cli, uint64_t shard, uint32_t target) {
    if (cli->format == CLI_JSON) {
        cli_print_json(
            cli, json_pack("{s:I,s:I}", "shard", (json_int_t)shard, "leader", (json_int_t)target));
    } else {
        (void)fprintf(cli->out, "node %" PRIu32 " leads shard %" PRIu64 "\n", target, shard);
    }
    return CLI_OK;
}

enum cli_exit shard_order_transfer(struct cli *cli, uint64_t shard, uint32_t target) {
    struct session session;
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    struct err err = {0};
    if (transfer(session.client, shard, target, &err) != STATUS_OK) {
        exit = cli_fail_err(cli, &err, "lightcone shard list; lightcone node list");
    } else if (!wait_for(cli, session.client, shard, target)) {
        exit = cli_fail(cli, &(struct cli_error){
                                 .status = STATUS_DEADLINE_EXCEEDED,
                                 .message = "the transfer was ordered, but did not happen in time",
                                 .hint = "lightcone shard show tells who leads; try again"});
    } else {
        exit = report(cli, shard, target);
    }
    session_close(&session);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    uint64_t shard = 0;
    uint64_t target = 0;
    enum cli_exit exit = session_number(cli, 0, "SHARD", UINT64_MAX - 1, &shard);
    if (exit == CLI_OK) { exit = session_number(cli, 1, "NODE", UINT32_MAX, &target); }
    return exit == CLI_OK ? shard_order_transfer(cli, shard, (uint32_t)target) : exit;
}

const struct cli_command commands_shard_transfer_leader = {
    .noun = "shard",
    .verb = "transfer-leader",
    .operands = "SHARD NODE",
    .summary = "the same as transfer, with two operands",
    .details = "The target must hold a voter of the shard; writes pause for about a round trip.",
    .examples = "  lightcone shard transfer-leader 16 2\n",
    .operand_min = 2,
    .operand_max = 2,
    .run = run,
};
