// SPDX-License-Identifier: Apache-2.0
// Design: intent and fact are two fields of one descriptor. PLACE writes what is wanted (targets),
// REPORT what the shard's own log says (members), and nothing here derives one from the other: the
// shard is right about its members even when nobody wanted them. An operation is therefore no
// object with a life of its own but "targets are there and are not reached yet", which every leader
// of the shard can take up from any point.
//
// CANCEL is an intent, too: the members that were there before the operation. So it may cross the
// operation's next step in flight, and the worst that follows is a step more. Given again after it
// crossed the change of the voters, it makes the voters there are the targets: whatever is waited
// for, two orders to cancel end it.
//
// LIMIT: the members of SHARD_CATALOG itself are fixed at the founding of the cluster.
#include "controlplane/catalog/catalog_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"

// --- Encoding -----------------------------------------------------------------------------------

static void put_node(struct codec_writer *w, struct node_id node) {
    codec_put_u32(w, node.v);
}

static struct node_id get_node(struct codec_reader *r) {
    return (struct node_id){codec_get_u32(r)};
}

void catalog_place_shard_encode(struct codec_writer *w, const struct catalog_place_shard *self) {
    codec_put_u8(w, CATALOG_PLACE_SHARD);
    codec_put_varint(w, self->shard.v);
    codec_put_varint(w, self->config_epoch);
    codec_put_varint(w, self->target_count);
    for (uint32_t i = 0; i < self->target_count; i++) {
        put_node(w, self->targets[i].node);
        codec_put_u8(w, (uint8_t)self->targets[i].role);
    }
}

void catalog__place_shard_decode(struct codec_reader *r, struct catalog_place_shard *out) {
    enum { TARGET_SIZE = 5 };
    out->shard.v = codec_get_varint(r);
    out->config_epoch = codec_get_varint(r);
    uint64_t count = codec_get_count(r, TARGET_SIZE);
    if (count > SHARD_REPLICAS_MAX) {
        codec_fail(r);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        out->targets[i].node = get_node(r);
        out->targets[i].role = (enum shard_role)codec_get_u8(r);
    }
    out->target_count = (uint32_t)count;
}

void catalog_cancel_shard_encode(struct codec_writer *w, const struct catalog_cancel_shard *self) {
    codec_put_u8(w, CATALOG_CANCEL_SHARD);
    codec_put_varint(w, self->shard.v);
}

void catalog__cancel_shard_decode(struct codec_reader *r, struct catalog_cancel_shard *out) {
    out->shard.v = codec_get_varint(r);
}

void catalog_report_shard_encode(struct codec_writer *w, const struct catalog_report_shard *self) {
    codec_put_u8(w, CATALOG_REPORT_SHARD);
    codec_put_varint(w, self->shard.v);
    codec_put_varint(w, self->config_epoch);
    put_node(w, self->leader);
    codec_put_varint(w, self->replica_count);
    for (uint32_t i = 0; i < self->replica_count; i++) {
        const struct shard_replica *replica = &self->replicas[i];
        put_node(w, replica->node);
        codec_put_u8(w, (uint8_t)replica->role);
        codec_put_u8(w, replica->outgoing);
        codec_put_varint(w, replica->incarnation);
    }
}

void catalog__report_shard_decode(struct codec_reader *r, struct catalog_report_shard *out) {
    enum { REPLICA_SIZE_MIN = 7 };
    out->shard.v = codec_get_varint(r);
    out->config_epoch = codec_get_varint(r);
    out->leader = get_node(r);
    uint64_t count = codec_get_count(r, REPLICA_SIZE_MIN);
    if (count > SHARD_MEMBERS_MAX) {
        codec_fail(r);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct shard_replica *replica = &out->replicas[i];
        replica->node = get_node(r);
        replica->role = (enum shard_role)codec_get_u8(r);
        uint8_t outgoing = codec_get_u8(r);
        if (outgoing > 1) { codec_fail(r); }
        replica->outgoing = outgoing == 1;
        replica->incarnation = codec_get_varint(r);
    }
    out->replica_count = (uint32_t)count;
}

// --- PLACE --------------------------------------------------------------------------------------

// What a target says of itself and of the ones before it.
static enum status check_target(const struct catalog_place_shard *command, uint32_t i,
                                struct err *err) {
    const struct shard_target *target = &command->targets[i];
    if (target->role != SHARD_VOTER && target->role != SHARD_LEARNER) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "targets[%u].role: %u is neither voter nor learner", i,
                       (unsigned)target->role);
    }
    for (uint32_t j = 0; j < i; j++) {
        if (node_id_equal(command->targets[j].node, target->node)) {
            return err_set(err, STATUS_INVALID_ARGUMENT, "targets[%u].node: node %u stands twice",
                           i, target->node.v);
        }
    }
    return STATUS_OK;
}

static enum status check_target_node(const struct catalog *self,
                                     const struct shard_descriptor *shard,
                                     const struct shard_target *target, struct err *err) {
    const struct catalog_node *node = catalog_node(self, target->node);
    if (node == NULL) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "targets: node %u is unknown", target->node.v);
    }
    if (node->state == CATALOG_NODE_DECOMMISSIONED) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "targets: node %u was decommissioned",
                       target->node.v);
    }
    if (node->state == CATALOG_NODE_DRAINED && !shard_descriptor_has_node(shard, node->id)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "targets: node %u is drained", target->node.v);
    }
    return STATUS_OK;
}

static enum status check_targets(const struct catalog *self, const struct shard_descriptor *shard,
                                 const struct catalog_place_shard *command, struct err *err) {
    if (command->target_count > SHARD_REPLICAS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "targets: %u nodes, at most %d",
                       command->target_count, SHARD_REPLICAS_MAX);
    }
    uint32_t voters = 0;
    for (uint32_t i = 0; i < command->target_count; i++) {
        enum status st = check_target(command, i, err);
        if (st == STATUS_OK) { st = check_target_node(self, shard, &command->targets[i], err); }
        if (st != STATUS_OK) { return st; }
        voters += command->targets[i].role == SHARD_VOTER;
    }
    if (voters % 2 == 0) {
        // An even group needs a larger majority than one voter less, and survives no more failures.
        // Nor is it needed on the way: a change goes from odd to odd in one joint step.
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "targets: %u voters; an odd number is needed, since one more than that "
                       "survives no more failures",
                       voters);
    }
    return STATUS_OK;
}

static bool same_targets(const struct shard_descriptor *shard,
                         const struct catalog_place_shard *command) {
    if (shard->target_count != command->target_count) { return false; }
    for (uint32_t i = 0; i < command->target_count; i++) {
        const struct shard_target *held = shard_descriptor_target(shard, command->targets[i].node);
        if (held == NULL || held->role != command->targets[i].role) { return false; }
    }
    return true;
}

static void set_targets(struct shard_descriptor *shard, const struct catalog_place_shard *command,
                        uint64_t targets_epoch) {
    shard->target_count = command->target_count;
    for (uint32_t i = 0; i < command->target_count; i++) {
        shard->targets[i] = command->targets[i];
    }
    shard->targets_epoch = targets_epoch;
}

static enum status find_shard(const struct catalog *self, struct shard_id id,
                              const struct shard_descriptor **out, struct err *err) {
    *out = catalog__shard(self, id);
    if (*out == NULL) {
        return err_set(err, STATUS_NOT_FOUND, "shard: there is no shard %llu",
                       (unsigned long long)id.v);
    }
    if (shard_id_equal(id, SHARD_CATALOG)) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "shard: the members of the catalogue's own group are fixed");
    }
    return STATUS_OK;
}

enum status catalog_place_shard_check(const struct catalog *catalog,
                                      const struct catalog_place_shard *self, struct err *err) {
    const struct shard_descriptor *shard = NULL;
    enum status st = find_shard(catalog, self->shard, &shard, err);
    if (st != STATUS_OK) { return st; }
    st = check_targets(catalog, shard, self, err);
    if (st != STATUS_OK || same_targets(shard, self)) { return st; }
    if (shard->target_count > 0 || shard_descriptor_is_joint(shard)) {
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "shard: an operation is under way since config_epoch %llu; wait for its "
                       "end, or cancel it",
                       (unsigned long long)shard->targets_epoch);
    }
    if (self->config_epoch != shard->config_epoch) {
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "config_epoch: %llu expected, but the shard's members are of %llu",
                       (unsigned long long)self->config_epoch,
                       (unsigned long long)shard->config_epoch);
    }
    struct shard_descriptor wanted = *shard;  // keys are borrowed
    set_targets(&wanted, self, shard->config_epoch);
    if (shard_descriptor_is_reached(&wanted)) {
        return err_set(err, STATUS_ALREADY_EXISTS, "targets: the members are these already");
    }
    return STATUS_OK;
}

// Puts a changed copy of a held shard in its place, under the next version.
static void replace_shard(struct catalog *self, struct shard_descriptor *changed) {
    self->version++;
    changed->map_version = self->version;
    struct shard_descriptor owned = {.id = {0}};
    shard_descriptor_copy(&owned, changed);
    enum status st = catalog__put_shard(self, &owned);
    ASSERT(st == STATUS_OK);  // it was there before
    shard_descriptor_deinit(&owned);
}

enum status catalog__apply_place(struct catalog *self, const struct catalog_place_shard *command,
                                 struct err *err) {
    enum status st = catalog_place_shard_check(self, command, err);
    if (st != STATUS_OK) { return st; }
    const struct shard_descriptor *shard = catalog__shard(self, command->shard);
    if (same_targets(shard, command)) {
        MARK("catalog.place.repeated");
        return STATUS_OK;
    }
    struct shard_descriptor changed = *shard;
    set_targets(&changed, command, shard->config_epoch);
    replace_shard(self, &changed);
    return STATUS_OK;
}

// --- CANCEL -------------------------------------------------------------------------------------

// A cancel crossed the change of the voters: those that the operation brought vote. What is left of
// the former ones is no group to go back to, and those that went may be gone for good, so waiting
// for them could last for ever. The shard stays with the voters that it has.
static bool has_entered(const struct shard_descriptor *shard) {
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        const struct shard_replica *replica = &shard->replicas[i];
        const bool came = replica->incarnation > shard->targets_epoch;
        if (came && replica->role == SHARD_VOTER) { return true; }
    }
    return false;
}

enum status catalog__apply_cancel(struct catalog *self, const struct catalog_cancel_shard *command,
                                  struct err *err) {
    const struct shard_descriptor *shard = NULL;
    enum status st = find_shard(self, command->shard, &shard, err);
    if (st != STATUS_OK) { return st; }
    if (shard->target_count == 0) {
        return err_set(err, STATUS_FAILED_PRECONDITION, "shard: no operation is under way");
    }
    const bool entered = has_entered(shard);
    struct catalog_place_shard back = {.shard = command->shard};
    uint32_t voters = 0;
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        const struct shard_replica *replica = &shard->replicas[i];
        const bool voter = replica->role == SHARD_VOTER;
        if (replica->incarnation > shard->targets_epoch && !voter) { continue; }
        back.targets[back.target_count++] = (struct shard_target){replica->node, replica->role};
        voters += voter;
    }
    if (shard_descriptor_is_joint(shard) || voters % 2 == 0) {
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "shard: too late to cancel, the voters are changing already");
    }
    if (same_targets(shard, &back)) { return STATUS_OK; }
    struct shard_descriptor changed = *shard;
    set_targets(&changed, &back, entered ? shard->config_epoch : shard->targets_epoch);
    replace_shard(self, &changed);
    return STATUS_OK;
}

// --- REPORT -------------------------------------------------------------------------------------

static bool same_members(const struct shard_descriptor *shard,
                         const struct catalog_report_shard *report) {
    if (shard->replica_count != report->replica_count) { return false; }
    for (uint32_t i = 0; i < report->replica_count; i++) {
        const struct shard_replica *a = &report->replicas[i];
        const struct shard_replica *b = shard_descriptor_replica(shard, a->node);
        if (b == NULL || a->role != b->role || a->incarnation != b->incarnation ||
            a->outgoing != b->outgoing) {
            return false;
        }
    }
    return true;
}

// Members that a correct shard may report: sound, known, with a voter.
static enum status check_report(const struct catalog *self, const struct shard_descriptor *changed,
                                struct err *err) {
    bool voter = false;
    for (uint32_t i = 0; i < changed->replica_count; i++) {
        const struct shard_replica *replica = &changed->replicas[i];
        if (replica->incarnation > changed->config_epoch || replica->node.v >= self->next_node) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "replicas[%u]: node %u of incarnation %llu cannot be", i,
                           replica->node.v, (unsigned long long)replica->incarnation);
        }
        voter = voter || replica->role == SHARD_VOTER;
    }
    if (!voter || !shard_descriptor_check(changed)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "replicas: no sound configuration");
    }
    return STATUS_OK;
}

static void end_when_reached(struct shard_descriptor *shard) {
    if (!shard_descriptor_is_reached(shard)) { return; }
    shard->target_count = 0;
    shard->targets_epoch = 0;
}

enum status catalog__apply_report(struct catalog *self, const struct catalog_report_shard *command,
                                  struct err *err) {
    const struct shard_descriptor *shard = NULL;
    enum status st = find_shard(self, command->shard, &shard, err);
    if (st != STATUS_OK) { return st; }
    struct shard_descriptor changed = *shard;
    if (command->config_epoch == shard->config_epoch && same_members(shard, command)) {
        // An operation whose targets are the present members: one that was cancelled in time.
        end_when_reached(&changed);
        if (changed.target_count == shard->target_count) { return STATUS_OK; }
    } else if (command->config_epoch <= shard->config_epoch) {
        MARK("catalog.report.late");
        return STATUS_OK;
    } else {
        changed.config_epoch = command->config_epoch;
        changed.replica_count = command->replica_count;
        for (uint32_t i = 0; i < command->replica_count; i++) {
            changed.replicas[i] = command->replicas[i];
        }
        st = check_report(self, &changed, err);
        if (st != STATUS_OK) { return st; }
        if (shard_descriptor_has_node(&changed, command->leader)) {
            changed.leader = command->leader;
        }
        end_when_reached(&changed);
    }
    replace_shard(self, &changed);
    return STATUS_OK;
}
