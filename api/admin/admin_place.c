// SPDX-License-Identifier: Apache-2.0
// admin_place.c - the members of a shard are ordered, or an order is taken back.
//
// Whoever is to hold a replica is asked first, and so is everybody who holds one: what would leave
// no majority alive is refused here, with the reason, instead of waiting for ever in the shard's
// leader, which checks it again at the moment that counts. Then the order goes to the catalogue.

#include "api/admin/admin_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/loop/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define ADMIN_CATALOG_NS UINT64_C(10000000000)
enum { PLAN_STEPS_MAX = 16, PLAN_TEXT_SIZE = 160 };

// --- The plan

__attribute__((format(printf, 4, 5))) static void add_text(struct admin_call *call, char **list,
                                                           size_t *count, const char *format, ...) {
    if (*count == PLAN_STEPS_MAX) { return; }
    char text[PLAN_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    list[(*count)++] = admin__text(call, text);
}

static bool is_alive(const struct node_status_call *status, struct node_id node) {
    for (uint32_t i = 0; i < status->count; i++) {
        if (node_id_equal(status->items[i].node, node)) { return true; }
    }
    return false;
}

static void count_voters(const struct shard_descriptor *shard, const struct admin_call *call,
                         Lightcone__V1__ShardPlan *plan) {
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        const struct shard_replica *replica = &shard->replicas[i];
        if (replica->role != SHARD_VOTER) { continue; }
        plan->voters_before++;
        plan->alive_before += is_alive(&call->status, replica->node);
    }
    for (uint32_t i = 0; i < call->place.target_count; i++) {
        if (call->place.targets[i].role != SHARD_VOTER) { continue; }
        plan->voters_after++;
        plan->alive_after += is_alive(&call->status, call->place.targets[i].node);
    }
}

static int64_t spare(uint32_t alive, uint32_t voters) {
    return (int64_t)alive - (int64_t)(voters / 2 + 1);
}

static void find_blockers(struct admin_call *call, const struct shard_descriptor *shard,
                          Lightcone__V1__ShardPlan *plan) {
    for (uint32_t i = 0; i < call->place.target_count; i++) {
        struct node_id node = call->place.targets[i].node;
        if (shard_descriptor_has_node(shard, node) || is_alive(&call->status, node)) { continue; }
        add_text(call, plan->blockers, &plan->n_blockers,
                 "node %" PRIu32 " does not answer, and cannot be given a replica", node.v);
    }
    int64_t now = spare(plan->alive_before, plan->voters_before);
    int64_t then = spare(plan->alive_after, plan->voters_after);
    int64_t most = spare(plan->voters_after, plan->voters_after);
    if (now < 0) {
        add_text(call, plan->blockers, &plan->n_blockers,
                 "%" PRIu32 " of %" PRIu32 " voters are alive, no majority: nothing can be changed",
                 plan->alive_before, plan->voters_before);
    } else if (then < 0) {
        add_text(call, plan->blockers, &plan->n_blockers,
                 "it would leave no majority alive: %" PRIu32 " of %" PRIu32 " voters",
                 plan->alive_after, plan->voters_after);
    } else if (then < (now < most ? now : most)) {
        add_text(call, plan->blockers, &plan->n_blockers,
                 "%" PRIu32 " of %" PRIu32 " voters would be alive, now %" PRIu32 " of %" PRIu32
                 " are: less could fail afterwards",
                 plan->alive_after, plan->voters_after, plan->alive_before, plan->voters_before);
    }
}

static const char *verb_of(const struct shard_replica *held, const struct shard_target *target) {
    if (held == NULL) { return NULL; }
    if (target == NULL) { return "remove"; }
    if (target->role == held->role) { return NULL; }
    return target->role == SHARD_VOTER ? "let vote" : "make a learner of";
}

static void find_steps(struct admin_call *call, const struct shard_descriptor *shard,
                       Lightcone__V1__ShardPlan *plan) {
    struct shard_descriptor wanted = {.target_count = call->place.target_count};
    bool voters_change = false;
    for (uint32_t i = 0; i < wanted.target_count; i++) {
        const struct shard_target *target = &call->place.targets[i];
        wanted.targets[i] = *target;
        if (shard_descriptor_has_node(shard, target->node)) { continue; }
        bool votes = target->role == SHARD_VOTER;
        add_text(call, plan->steps, &plan->n_steps,
                 "add node %" PRIu32 " as learner and let it catch up%s", target->node.v,
                 votes ? ", then let it vote" : "");
        voters_change = voters_change || votes;
    }
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        const struct shard_replica *held = &shard->replicas[i];
        const struct shard_target *target = shard_descriptor_target(&wanted, held->node);
        const char *verb = verb_of(held, target);
        if (verb == NULL) { continue; }
        voters_change = voters_change || held->role == SHARD_VOTER || target != NULL;
        add_text(call, plan->steps, &plan->n_steps, "%s node %" PRIu32, verb, held->node.v);
    }
    add_text(call, plan->steps, &plan->n_steps,
             voters_change ? "roles change together, in one joint configuration"
                           : "the voters stay as they are");
}

static Lightcone__V1__ShardPlan *plan_of(struct admin_call *call,
                                         const struct shard_descriptor *shard) {
    Lightcone__V1__ShardPlan *plan = admin__alloc(call, sizeof(*plan));
    lightcone__v1__shard_plan__init(plan);
    plan->steps = admin__alloc(call, PLAN_STEPS_MAX * sizeof(*plan->steps));
    plan->blockers = admin__alloc(call, PLAN_STEPS_MAX * sizeof(*plan->blockers));
    count_voters(shard, call, plan);
    find_steps(call, shard, plan);
    find_blockers(call, shard, plan);
    return plan;
}

// --- The order

static const struct shard_descriptor *shard_here(struct admin_call *call) {
    return catalog_shard(node_core_catalog(admin__core(call)), call->place.shard);
}

static bool is_newer(struct admin_call *call) {
    const struct shard_descriptor *shard = shard_here(call);
    return shard != NULL && shard->map_version > call->version;
}

static void reply_placed(struct admin_call *call) {
    Lightcone__V1__ShardPlaceResponse response = LIGHTCONE__V1__SHARD_PLACE_RESPONSE__INIT;
    response.shard = admin__shard(call, shard_here(call));
    admin__reply(call, &response.base);
}

static void reply_cancelled(struct admin_call *call) {
    Lightcone__V1__ShardCancelResponse response = LIGHTCONE__V1__SHARD_CANCEL_RESPONSE__INIT;
    response.shard = admin__shard(call, shard_here(call));
    admin__reply(call, &response.base);
}

// The catalogue's sentences begin with the field they are about: "targets[1].node: node 9 ...".
static void refuse(struct admin_call *call, enum status st, struct slice text) {
    char field[PLAN_TEXT_SIZE];
    size_t size = 0;
    while (size < text.size && size < sizeof(field) - 1 && text.data[size] != ':' &&
           text.data[size] != ' ') {
        field[size] = (char)text.data[size];
        size++;
    }
    field[size] = '\0';
    bool named = size + 2 < text.size && text.data[size] == ':';
    struct rpc_error error = {.status = st, .message = text};
    if (named) {
        error.field = field;
        error.message = slice_make(text.data + size + 2, text.size - size - 2);
    }
    rpc_fail(call->call, &error);
}

// False when the call has been answered with the catalogue's refusal.
static bool was_taken(struct admin_call *call, const struct session_result *result) {
    struct catalog_result decoded = {0};
    if (result->payload.size > 0 && catalog_result_decode(result->payload, &decoded) != STATUS_OK) {
        decoded.detail = SLICE_EMPTY;
    }
    if (result->status == STATUS_OK) { return true; }
    refuse(call, result->status, decoded.detail.size > 0 ? decoded.detail : result->detail);
    return false;
}

static struct admin_call *call_of(struct session_call *session) {
    return (struct admin_call *)((char *)session - offsetof(struct admin_call, session));
}

// A repeat of what stands there already changes nothing, so only a little while is waited for it.
static void placed(struct session_call *session, const struct session_result *result) {
    struct admin_call *call = call_of(session);
    if (was_taken(call, result)) { admin__wait(call, is_newer, reply_placed); }
}

static void cancelled(struct session_call *session, const struct session_result *result) {
    struct admin_call *call = call_of(session);
    if (was_taken(call, result)) { admin__wait(call, is_newer, reply_cancelled); }
}

static void propose(struct admin_call *call,
                    void (*done)(struct session_call *, const struct session_result *)) {
    uint64_t deadline = rpc_call_deadline_ns(call->call);
    uint64_t latest = loop_monotonic_ns() + ADMIN_CATALOG_NS;
    call->session = (struct session_call){
        .kind = COMMAND_CATALOG,
        .payload = buf_slice(&call->payload),
        .deadline_ns = deadline < latest ? deadline : latest,
        .done = done,
    };
    session_start(node_core_session(admin__core(call)), &call->session);
}

static bool has_targets_of(const struct shard_descriptor *shard,
                           const struct catalog_place_shard *place) {
    struct shard_descriptor wanted = *shard;  // keys are borrowed
    if (shard->target_count != place->target_count) { return false; }
    for (uint32_t i = 0; i < place->target_count; i++) {
        const struct shard_target *held = shard_descriptor_target(&wanted, place->targets[i].node);
        if (held == NULL || held->role != place->targets[i].role) { return false; }
    }
    return true;
}

static void asked(struct node_status_call *status, const struct node_replica_status *items,
                  uint32_t count) {
    struct admin_call *call =
        (struct admin_call *)((char *)status - offsetof(struct admin_call, status));
    (void)items, (void)count;
    const Lightcone__V1__ShardPlaceRequest *request = (const void *)call->request;
    const struct shard_descriptor *shard = shard_here(call);
    struct err err;
    enum status st =
        catalog_place_shard_check(node_core_catalog(admin__core(call)), &call->place, &err);
    if (st != STATUS_OK) {
        refuse(call, st, slice_from_string(err.message));
        return;
    }
    Lightcone__V1__ShardPlan *plan = plan_of(call, shard);
    bool repeated = has_targets_of(shard, &call->place);
    if (request->plan || repeated) {
        Lightcone__V1__ShardPlaceResponse response = LIGHTCONE__V1__SHARD_PLACE_RESPONSE__INIT;
        response.shard = admin__shard(call, shard);
        response.plan = plan;
        admin__reply(call, &response.base);
        return;
    }
    if (plan->n_blockers > 0) {
        admin__fail(call, STATUS_FAILED_PRECONDITION, "targets", plan->blockers[0]);
        return;
    }
    call->version = shard->map_version;
    struct codec_writer w;
    codec_writer_init(&w, &call->payload);
    catalog_place_shard_encode(&w, &call->place);
    ASSERT(w.status == STATUS_OK);
    propose(call, placed);
}

static bool take_targets(struct admin_call *call, const uint32_t *nodes, size_t count,
                         enum shard_role role) {
    struct catalog_place_shard *place = &call->place;
    if (count > SHARD_REPLICAS_MAX - place->target_count) {
        char text[PLAN_TEXT_SIZE];
        (void)snprintf(text, sizeof(text), "at most %d voters and learners together",
                       SHARD_REPLICAS_MAX);
        admin__fail(call, STATUS_INVALID_ARGUMENT, "targets", text);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        place->targets[place->target_count++] = (struct shard_target){{nodes[i]}, role};
    }
    return true;
}

void admin__shard_place(struct admin_call *call) {
    const Lightcone__V1__ShardPlaceRequest *request = (const void *)call->request;
    struct catalog *catalog = node_core_catalog(admin__core(call));
    call->place = (struct catalog_place_shard){.shard = {request->shard},
                                               .config_epoch = request->config_epoch};
    if (!take_targets(call, request->voters, request->n_voters, SHARD_VOTER) ||
        !take_targets(call, request->learners, request->n_learners, SHARD_LEARNER)) {
        return;
    }
    const struct shard_descriptor *shard = shard_here(call);
    if (shard != NULL && request->config_epoch == 0) {
        call->place.config_epoch = shard->config_epoch;
    }
    struct err err;
    enum status st = catalog_place_shard_check(catalog, &call->place, &err);
    if (st != STATUS_OK) {
        refuse(call, st, slice_from_string(err.message));
        return;
    }
    call->status = (struct node_status_call){.shard = call->place.shard, .done = asked};
    for (uint32_t i = 0; i < call->place.target_count; i++) {
        call->status.others[call->status.other_count++] = call->place.targets[i].node;
    }
    st = node_core_shard_status(admin__core(call), &call->status);
    ASSERT(st == STATUS_OK);  // the catalogue has it
}

void admin__shard_cancel(struct admin_call *call) {
    const Lightcone__V1__ShardCancelRequest *request = (const void *)call->request;
    struct catalog_cancel_shard cancel = {.shard = {request->shard}};
    call->place.shard = cancel.shard;
    const struct shard_descriptor *shard = shard_here(call);
    if (shard == NULL) {
        admin__fail(call, STATUS_NOT_FOUND, "shard", "no such shard");
        return;
    }
    call->version = shard->map_version;
    struct codec_writer w;
    codec_writer_init(&w, &call->payload);
    catalog_cancel_shard_encode(&w, &cancel);
    ASSERT(w.status == STATUS_OK);
    propose(call, cancelled);
}
