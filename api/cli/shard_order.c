// SPDX-License-Identifier: Apache-2.0
// Waiting is polling: an operation runs in the shard's leader whoever watches it, and its end shows
// in the catalogue. An error on the way (a node that restarts) is no reason to stop looking.
#include "api/cli/shard_order.h"

#include "api/cli/admin_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ORDER_POLL_MS = 200, ORDER_TEXT_SIZE = 256 };

bool shard_order_has(const struct shard_order_nodes *self, uint32_t node) {
    for (size_t i = 0; i < self->count; i++) {
        if (self->nodes[i] == node) { return true; }
    }
    return false;
}

void shard_order_text(const struct shard_order_nodes *self, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < self->count && used < size; i++) {
        int wrote =
            snprintf(out + used, size - used, "%s%" PRIu32, i == 0 ? "" : ", ", self->nodes[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
}

bool shard_order_parse(struct cli *cli, const char *option, const char *text,
                       struct shard_order_nodes *out, enum cli_exit *exit) {
    *out = (struct shard_order_nodes){.count = 0};
    for (const char *at = text; *at != '\0';) {
        size_t length = strcspn(at, ",");
        char item[16];
        uint64_t node = 0;
        bool fits = length < sizeof(item);
        if (fits) { (void)snprintf(item, sizeof(item), "%.*s", (int)length, at); }
        if (!fits || args_parse_number(item, &node) != STATUS_OK || node == 0 ||
            node > UINT32_MAX || shard_order_has(out, (uint32_t)node)) {
            *exit = cli_usage(cli, "--%s: \"%.40s\" is no list of different nodes, like 1,2,4",
                              option, text);
            return false;
        }
        if (out->count == SHARD_REPLICAS_MAX) {
            *exit = cli_usage(cli, "--%s: at most %d nodes", option, SHARD_REPLICAS_MAX);
            return false;
        }
        out->nodes[out->count++] = (uint32_t)node;
        at += length + (at[length] == ',');
    }
    return true;
}

void shard_order_members(const Lightcone__V1__Shard *shard, Lightcone__V1__ReplicaRole role,
                         struct shard_order_nodes *out) {
    *out = (struct shard_order_nodes){.count = 0};
    for (size_t i = 0; i < shard->n_replicas && out->count < SHARD_MEMBERS_MAX; i++) {
        if (shard->replicas[i]->role == role) {
            out->nodes[out->count++] = shard->replicas[i]->node;
        }
    }
}

enum status shard_order_show(struct lc_client *client, uint64_t shard,
                             Lightcone__V1__ShardShowResponse **out, struct err *err) {
    Lightcone__V1__ShardShowRequest request = LIGHTCONE__V1__SHARD_SHOW_REQUEST__INIT;
    request.shard = shard;
    return lc_admin_shard_show(client, 0, &request, out, err);
}

// --- The outcome

static json_t *texts_json(char **texts, size_t count) {
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(array, json_string(texts[i]));
    }
    return array;
}

static json_t *plan_json(const Lightcone__V1__ShardPlan *plan) {
    json_t *object = json_object();
    (void)json_object_set_new(object, "steps", texts_json(plan->steps, plan->n_steps));
    cli_json_u64(object, "voters_before", plan->voters_before);
    cli_json_u64(object, "alive_before", plan->alive_before);
    cli_json_u64(object, "voters_after", plan->voters_after);
    cli_json_u64(object, "alive_after", plan->alive_after);
    (void)json_object_set_new(object, "blockers", texts_json(plan->blockers, plan->n_blockers));
    return object;
}

static int64_t spare(uint32_t alive, uint32_t voters) {
    return (int64_t)alive - (int64_t)(voters / 2 + 1);
}

static enum cli_exit print_plan(struct cli *cli, const Lightcone__V1__ShardPlaceResponse *answer) {
    const Lightcone__V1__ShardPlan *plan = answer->plan;
    if (cli->format == CLI_JSON) {
        json_t *object = json_object();
        (void)json_object_set_new(object, "shard", admin_json_shard(answer->shard, NULL));
        (void)json_object_del(json_object_get(object, "shard"), "keyspace");
        (void)json_object_set_new(object, "plan", plan_json(plan));
        cli_print_json(cli, object);
        return plan->n_blockers == 0 ? CLI_OK : CLI_FAILED;
    }
    (void)fprintf(cli->out, "shard %" PRIu64 ", nothing is done yet:\n", answer->shard->id);
    for (size_t i = 0; i < plan->n_steps; i++) {
        (void)fprintf(cli->out, "  - %s\n", plan->steps[i]);
    }
    (void)fprintf(cli->out,
                  "voters alive now %" PRIu32 " of %" PRIu32 " (%" PRId64
                  " may fail), then %" PRIu32 " of %" PRIu32 " (%" PRId64 " may fail)\n",
                  plan->alive_before, plan->voters_before,
                  spare(plan->alive_before, plan->voters_before), plan->alive_after,
                  plan->voters_after, spare(plan->alive_after, plan->voters_after));
    for (size_t i = 0; i < plan->n_blockers; i++) {
        (void)fprintf(cli->out, "blocked: %s\n", plan->blockers[i]);
    }
    return plan->n_blockers == 0 ? CLI_OK : CLI_FAILED;
}

static void print_members(struct cli *cli, const Lightcone__V1__Shard *shard, bool done) {
    if (cli->format == CLI_JSON) {
        json_t *object = json_object();
        (void)json_object_set_new(object, "shard", admin_json_shard(shard, NULL));
        (void)json_object_del(json_object_get(object, "shard"), "keyspace");
        cli_json_bool(object, "done", done);
        cli_print_json(cli, object);
        return;
    }
    struct shard_order_nodes voters;
    struct shard_order_nodes learners;
    char text[ORDER_TEXT_SIZE];
    shard_order_members(shard, LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_VOTER, &voters);
    shard_order_members(shard, LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_LEARNER, &learners);
    shard_order_text(&voters, text, sizeof(text));
    (void)fprintf(cli->out, "shard %" PRIu64 ": voters %s", shard->id, text);
    shard_order_text(&learners, text, sizeof(text));
    if (learners.count > 0) { (void)fprintf(cli->out, "; learners %s", text); }
    (void)fprintf(cli->out, "%s\n",
                  done ? "" : "; ordered, `lightcone shard show` tells how far it is");
}

// --- Waiting

static bool is_reached(const Lightcone__V1__Shard *shard, const struct shard_order *order) {
    if (order == NULL) { return true; }
    if (shard->n_replicas != order->voters.count + order->learners.count) { return false; }
    for (size_t i = 0; i < shard->n_replicas; i++) {
        bool votes = shard->replicas[i]->role == LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_VOTER;
        if (!shard_order_has(votes ? &order->voters : &order->learners, shard->replicas[i]->node)) {
            return false;
        }
    }
    return true;
}

static void tell_step(struct cli *cli, const Lightcone__V1__ShardMembers *members, char *told,
                      size_t size) {
    if (members == NULL || members->text[0] == '\0' || strcmp(members->text, told) == 0) { return; }
    (void)snprintf(told, size, "%s", members->text);
    cli_note(cli, "%s: %s", members->step, members->text);
}

static enum cli_exit wait_failed(struct cli *cli, const char *message) {
    return cli_fail(cli, &(struct cli_error){.status = STATUS_DEADLINE_EXCEEDED,
                                             .message = message,
                                             .hint = "lightcone shard show tells what it waits "
                                                     "for; it goes on by itself"});
}

enum cli_exit shard_order_wait(struct cli *cli, struct lc_client *client,
                               const Lightcone__V1__Shard *since, const struct shard_order *order) {
    char told[ORDER_TEXT_SIZE] = "";
    uint64_t limit_ms = args_number(&cli->args, "wait-seconds") * 1000;
    for (uint64_t waited = 0; waited <= limit_ms; waited += ORDER_POLL_MS) {
        Lightcone__V1__ShardShowResponse *show = NULL;
        struct err err = {0};
        if (shard_order_show(client, since->id, &show, &err) == STATUS_OK) {
            tell_step(cli, show->members, told, sizeof(told));
            bool ended = show->shard->n_targets == 0 && show->shard->version >= since->version;
            bool reached = is_reached(show->shard, order);
            if (ended && reached) { print_members(cli, show->shard, true); }
            lightcone__v1__shard_show_response__free_unpacked(show, NULL);
            if (ended && reached) { return CLI_OK; }
            if (ended) {
                return cli_fail(
                    cli, &(struct cli_error){.status = STATUS_FAILED_PRECONDITION,
                                             .message = "the operation ended with other members",
                                             .hint = "it was cancelled; lightcone shard show"});
            }
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = ORDER_POLL_MS * 1000000L}, NULL);
    }
    return wait_failed(cli, told[0] == '\0' ? "the operation has not ended yet" : told);
}

// --- Ordering

enum cli_exit shard_order_run(struct cli *cli, struct lc_client *client,
                              const struct shard_order *order) {
    struct shard_order copy = *order;
    Lightcone__V1__ShardPlaceRequest request = LIGHTCONE__V1__SHARD_PLACE_REQUEST__INIT;
    Lightcone__V1__ShardPlaceResponse *answer = NULL;
    request.shard = order->shard;
    request.config_epoch = order->config_epoch;
    request.voters = copy.voters.nodes;
    request.n_voters = copy.voters.count;
    request.learners = copy.learners.nodes;
    request.n_learners = copy.learners.count;
    request.plan = args_flag(&cli->args, "plan");
    struct err err = {0};
    enum status st = lc_admin_shard_place(client, 0, &request, &answer, &err);
    if (st != STATUS_OK) {
        return cli_fail_err(cli, &err, "lightcone shard show; lightcone node list");
    }
    enum cli_exit exit = CLI_OK;
    if (request.plan && answer->plan != NULL) {
        exit = print_plan(cli, answer);
    } else if (args_flag(&cli->args, "wait")) {
        exit = shard_order_wait(cli, client, answer->shard, order);
    } else {
        print_members(cli, answer->shard, false);
    }
    lightcone__v1__shard_place_response__free_unpacked(answer, NULL);
    return exit;
}
