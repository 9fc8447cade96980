// SPDX-License-Identifier: Apache-2.0
// Frontiers side by side. The ages of closed timestamps are taken against the cluster's clock, as
// the node that answers sees it, not against this machine's.
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/session.h"
#include "api/cli/text.h"
#include "dataplane/hlc/hlc.h"

#include <inttypes.h>

struct showing {
    Lightcone__V1__ShardShowResponse *show;
    uint64_t hlc;
};

static uint64_t age_us(uint64_t hlc, uint64_t timestamp) {
    uint64_t now = hlc_wall_us((struct hlc_ts){hlc});
    uint64_t then = hlc_wall_us((struct hlc_ts){timestamp});
    return now > then ? now - then : 0;
}

static const char *hold_text(Lightcone__V1__ClosedHold hold) {
    static const char *const texts[] = {
        "-",          "an entry in flight", "a prepared transaction", "being idle",
        "a new term", "entries to apply",   "no leader known"};
    return (size_t)hold < sizeof(texts) / sizeof(texts[0]) ? texts[hold] : "?";
}

// --- JSON

static json_t *replica_json(const Lightcone__V1__ReplicaStatus *replica, uint64_t hlc) {
    json_t *object = json_object();
    cli_json_u64(object, "node", replica->node);
    cli_json_bool(object, "reachable", replica->reachable != 0);
    if (replica->reachable == 0) { return object; }
    cli_json_string(object, "role", admin_json_raft_role(replica->role));
    cli_json_u64(object, "term", replica->term);
    cli_json_u64(object, "leader", replica->leader);
    cli_json_u64(object, "last", replica->last);
    cli_json_u64(object, "durable", replica->durable);
    cli_json_u64(object, "commit", replica->commit);
    cli_json_u64(object, "applied", replica->applied);
    cli_json_u64(object, "trim", replica->trim);
    cli_json_timestamp(object, "closed", replica->closed);
    cli_json_u64(object, "closed_age_us", replica->closed == 0 ? 0 : age_us(hlc, replica->closed));
    cli_json_string(object, "closed_held_by", hold_text(replica->closed_hold));
    cli_json_timestamp(object, "ceiling", replica->ceiling);
    cli_json_u64(object, "lease_remaining_us", replica->lease_remaining_us);
    cli_json_u64(object, "pending", replica->pending);
    cli_json_u64(object, "incarnation", replica->incarnation);
    cli_json_u64(object, "config_epoch", replica->config_epoch);
    cli_json_string(object, "health", admin_json_health(replica->health));
    cli_json_bool(object, "snapshot_in", replica->snapshot_in != 0);
    cli_json_u64(object, "snapshot_in_bytes", replica->snapshot_in_bytes);
    cli_json_u64(object, "snapshot_in_total", replica->snapshot_in_total);
    cli_json_u64(object, "snapshots_out", replica->snapshots_out);
    cli_json_u64(object, "digest_index", replica->digest_index);
    cli_json_u64(object, "digest", replica->digest);
    return object;
}

// null when no leader answered.
static json_t *members_json(const Lightcone__V1__ShardMembers *members) {
    if (members == NULL) { return json_null(); }
    json_t *object = json_object();
    json_t *list = json_array();
    cli_json_u64(object, "leader", members->leader);
    cli_json_u64(object, "config_epoch", members->config_epoch);
    cli_json_u64(object, "committed_epoch", members->committed_epoch);
    for (size_t i = 0; i < members->n_members; i++) {
        json_t *member = admin_json_replica(members->members[i]->replica);
        cli_json_u64(member, "match", members->members[i]->match);
        cli_json_u64(member, "lag", members->members[i]->lag);
        (void)json_array_append_new(list, member);
    }
    (void)json_object_set_new(object, "members", list);
    cli_json_string(object, "step", members->step);
    cli_json_string(object, "text", members->text);
    cli_json_u64(object, "waited_ms", members->waited_ms);
    return object;
}

static void print_json(struct cli *cli, const struct showing *self) {
    json_t *replicas = json_array();
    for (size_t i = 0; i < self->show->n_replicas; i++) {
        (void)json_array_append_new(replicas, replica_json(self->show->replicas[i], self->hlc));
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "shard", admin_json_shard(self->show->shard, NULL));
    (void)json_object_set_new(object, "replicas", replicas);
    (void)json_object_set_new(object, "members", members_json(self->show->members));
    cli_json_timestamp(object, "hlc", self->hlc);
    (void)json_object_del(json_object_get(object, "shard"), "keyspace");
    cli_print_json(cli, object);
}

// --- Tables

static void add_key(struct table *table, const char *name, struct slice key, bool edge) {
    table_cell(table, "%s", name);
    if (edge) {
        table_cell(table, "-");
    } else {
        table_cell_bytes(table, key);
    }
}

// How long the lease still lasts, of the replica that holds one; 0 = nobody does.
static uint64_t lease_us(const struct showing *self) {
    uint64_t longest = 0;
    for (size_t i = 0; i < self->show->n_replicas; i++) {
        uint64_t remaining = self->show->replicas[i]->lease_remaining_us;
        longest = remaining > longest ? remaining : longest;
    }
    return longest;
}

static void add_leader(struct table *table, const struct showing *self) {
    const Lightcone__V1__Shard *shard = self->show->shard;
    char text[TEXT_SIZE];
    table_cell(table, "leader");
    if (shard->leader == 0) {
        table_cell(table, "unknown");
    } else {
        uint64_t lease = lease_us(self);
        table_cell(table, "node %" PRIu32 ", term %" PRIu64 ", %s%s", shard->leader, shard->term,
                   lease == 0 ? "no lease" : "lease for ",
                   lease == 0 ? "" : text_format_duration(lease * 1000, text));
    }
}

static void print_shard(struct cli *cli, const struct showing *self) {
    const Lightcone__V1__Shard *shard = self->show->shard;
    static const struct table_column columns[] = {{.title = "FIELD"},
                                                  {.title = "VALUE", .elastic = true}};
    struct admin_json_range range = admin_json_range_of(shard);
    struct table table;
    table_init(&table, columns, 2);
    table_cell(&table, "shard");
    table_cell(&table, "%" PRIu64 " of keyspace %" PRIu32, shard->id, range.keyspace);
    add_key(&table, "start", range.start, range.start.size == 0);
    add_key(&table, "end", range.end, range.unbounded);
    table_cell(&table, "epochs");
    table_cell(&table, "range %" PRIu64 ", members %" PRIu64, shard->epoch, shard->config_epoch);
    add_leader(&table, self);
    table_print_fields(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

// The order that is under way, and how far the leader is with it.
static void print_operation(struct cli *cli, const struct showing *self) {
    const Lightcone__V1__Shard *shard = self->show->shard;
    const Lightcone__V1__ShardMembers *members = self->show->members;
    if (shard->n_targets > 0) {
        (void)fprintf(cli->out, "ordered:");
        for (size_t i = 0; i < shard->n_targets; i++) {
            bool votes = shard->targets[i]->role == LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_VOTER;
            (void)fprintf(cli->out, " %" PRIu32 "%s", shard->targets[i]->node,
                          votes ? "" : " (learner)");
        }
        (void)fputc('\n', cli->out);
    }
    if (members != NULL && members->text[0] != '\0') {
        char text[TEXT_SIZE];
        (void)fprintf(cli->out, "step: %s for %s: %s\n", members->step,
                      text_format_duration(members->waited_ms * UINT64_C(1000000), text),
                      members->text);
    } else if (shard->n_targets > 0) {
        (void)fprintf(cli->out, "step: waiting for the shard's leader\n");
    }
}

// The members as the leader has them; as the catalogue knows them when no leader answered.
static void print_members(struct cli *cli, const struct showing *self) {
    static const struct table_column columns[] = {
        {.title = "MEMBER", .right = true},      {.title = "ROLE"},
        {.title = "INCARNATION", .right = true}, {.title = "MATCH", .right = true},
        {.title = "LAG", .right = true},
    };
    const Lightcone__V1__ShardMembers *members = self->show->members;
    struct table table;
    table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
    size_t count = members != NULL ? members->n_members : self->show->shard->n_replicas;
    for (size_t i = 0; i < count; i++) {
        const Lightcone__V1__ShardReplica *replica =
            members != NULL ? members->members[i]->replica : self->show->shard->replicas[i];
        table_cell(&table, "%" PRIu32, replica->node);
        table_cell(&table, "%s%s", admin_json_replica_role(replica->role),
                   replica->outgoing != 0 ? ", was voter" : "");
        table_cell(&table, "%" PRIu64, replica->incarnation);
        if (members != NULL) {
            table_cell(&table, "%" PRIu64, members->members[i]->match);
            table_cell(&table, "%" PRIu64, members->members[i]->lag);
        } else {
            table_cell(&table, "-");
            table_cell(&table, "-");
        }
    }
    table_print(&table, cli->out, cli_style(cli));
    table_deinit(&table);
    print_operation(cli, self);
}

static void add_health(struct table *table, const Lightcone__V1__ReplicaStatus *replica) {
    const char *health = admin_json_health(replica->health);
    if (replica->snapshot_in != 0 && replica->snapshot_in_total > 0) {
        table_cell(table, "%s, snapshot %" PRIu64 " %%", health,
                   100 * replica->snapshot_in_bytes / replica->snapshot_in_total);
    } else {
        table_cell(table, "%s%s", health, replica->snapshot_in != 0 ? ", snapshot" : "");
    }
}

static void add_replica(struct table *table, const Lightcone__V1__ReplicaStatus *replica) {
    table_cell(table, "%" PRIu32, replica->node);
    if (replica->reachable == 0) {
        table_cell(table, "unreachable");
        for (int i = 0; i < 8; i++) {
            table_cell(table, "-");
        }
        return;
    }
    table_cell(table, "%s", admin_json_raft_role(replica->role));
    table_cell(table, "%" PRIu64, replica->term);
    table_cell(table, "%" PRIu64, replica->last);
    table_cell(table, "%" PRIu64, replica->durable);
    table_cell(table, "%" PRIu64, replica->commit);
    table_cell(table, "%" PRIu64, replica->applied);
    table_cell(table, "%" PRIu64, replica->trim);
    table_cell(table, "%" PRIu64, replica->pending);
    add_health(table, replica);
}

static void print_replicas(struct cli *cli, const struct showing *self) {
    static const struct table_column columns[] = {
        {.title = "NODE", .right = true},    {.title = "ROLE"},
        {.title = "TERM", .right = true},    {.title = "LAST", .right = true},
        {.title = "DURABLE", .right = true}, {.title = "COMMIT", .right = true},
        {.title = "APPLIED", .right = true}, {.title = "TRIM", .right = true},
        {.title = "PENDING", .right = true}, {.title = "HEALTH"},
    };
    struct table table;
    table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < self->show->n_replicas; i++) {
        add_replica(&table, self->show->replicas[i]);
    }
    table_print(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

static void print_times(struct cli *cli, const struct showing *self) {
    static const struct table_column columns[] = {
        {.title = "NODE", .right = true},
        {.title = "CLOSED"},
        {.title = "AGE", .right = true},
        {.title = "HELD BY"},
        {.title = "CEILING"},
    };
    char text[TEXT_SIZE];
    struct table table;
    table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < self->show->n_replicas; i++) {
        const Lightcone__V1__ReplicaStatus *replica = self->show->replicas[i];
        table_cell(&table, "%" PRIu32, replica->node);
        table_cell(&table, "%s", text_format_timestamp(replica->closed, text));
        uint64_t age = age_us(self->hlc, replica->closed);
        table_cell(&table, "%s",
                   replica->closed == 0 ? "-" : text_format_duration(age * 1000, text));
        table_cell(&table, "%s", hold_text(replica->closed_hold));
        table_cell(&table, "%s", text_format_timestamp(replica->ceiling, text));
    }
    table_print(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

static void print_tables(struct cli *cli, const struct showing *self) {
    print_shard(cli, self);
    (void)fputc('\n', cli->out);
    print_members(cli, self);
    (void)fputc('\n', cli->out);
    print_replicas(cli, self);
    (void)fputc('\n', cli->out);
    print_times(cli, self);
}

// --- Asking

static enum status ask(struct lc_client *client, uint64_t shard, struct showing *out,
                       struct err *err) {
    Lightcone__V1__ShardShowRequest request = LIGHTCONE__V1__SHARD_SHOW_REQUEST__INIT;
    request.shard = shard;
    enum status st = lc_admin_shard_show(client, 0, &request, &out->show, err);
    if (st != STATUS_OK) { return st; }
    Lightcone__V1__ClusterStatusRequest status_request =
        LIGHTCONE__V1__CLUSTER_STATUS_REQUEST__INIT;
    Lightcone__V1__ClusterStatusResponse *status = NULL;
    st = lc_admin_cluster_status(client, 0, &status_request, &status, err);
    out->hlc = status == NULL ? 0 : status->hlc;
    lightcone__v1__cluster_status_response__free_unpacked(status, NULL);
    return st;
}

static enum cli_exit run(struct cli *cli) {
    uint64_t shard = 0;
    enum cli_exit exit = session_number(cli, 0, "SHARD", UINT64_MAX - 1, &shard);
    if (exit != CLI_OK) { return exit; }
    struct session session;
    exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    struct showing showing = {0};
    struct err err = {0};
    if (ask(session.client, shard, &showing, &err) != STATUS_OK) {
        exit = cli_fail_err(cli, &err, "lightcone shard list");
    } else if (cli->format == CLI_JSON) {
        print_json(cli, &showing);
    } else {
        print_tables(cli, &showing);
    }
    lightcone__v1__shard_show_response__free_unpacked(showing.show, NULL);
    session_close(&session);
    return exit;
}

const struct cli_command commands_shard_show = {
    .noun = "shard",
    .verb = "show",
    .operands = "SHARD",
    .summary = "one shard: members, how far a change is, frontiers",
    .details =
        "MATCH is how far a member's log is known to equal the leader's, LAG what it lacks. An\n"
        "INCARNATION other than 1 tells that the replica was added later. LAST, DURABLE, COMMIT,\n"
        "APPLIED, TRIM are log indexes. HEALTH: a hollow replica waits for a snapshot, a damaged\n"
        "one lost log entries and does not vote. Nothing will commit at or below CLOSED any more;\n"
        "AGE is how far that is behind the cluster's clock, HELD BY what keeps it there. No\n"
        "timestamp above CEILING is served or assigned.",
    .examples = "  lightcone shard show 16\n"
                "  watch -n1 lightcone shard show 16\n",
    .operand_min = 1,
    .operand_max = 1,
    .run = run,
};
