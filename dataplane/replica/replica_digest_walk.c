// SPDX-License-Identifier: Apache-2.0
// replica_digest_walk.c - views of states that are being digested, a slice at a time.
//
//   entry DIGEST applied -> view opened -> slice, slice, ... -> digest of that index
//                               |
//                               +-> dropped: the state goes (fence, snapshot, removal, closing), it
//                                   takes too long, the disk fills up, the store fails
//
// The view has to be taken when the entry is applied, so every walk under way has one. All of a
// node share one slice every WALK_STEP_NS and take turns: small shards are done in one, and a large
// one does not hold them up. A view pins memtables and files that the store would drop. Hence the
// bounds on how many there are and how long one lives, and none while the disk fills up. Who drops
// or passes over a digest says nothing, and the leader repeats the round.

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/log.h"
#include "dataplane/replica/replica_internal.h"

enum { WALKS_MAX = 256 };

// Slices of 64 KiB at this distance make 32 MiB/s, well above what a leader asks for.
#define WALK_STEP_NS UINT64_C(2000000)
// LIMIT: a state whose walk takes longer is not compared; 32 MiB/s reach some 9 GiB.
#define WALK_NS_MAX UINT64_C(300000000000)

bool replica__walks_full(const struct replica_table *table) {
    return table->walk_count >= WALKS_MAX;
}

static void push(struct replica_table *table, struct replica_digest_walk *walk) {
    walk->next = NULL;
    if (table->walk_tail == NULL) { table->walk_head = walk; }
    if (table->walk_tail != NULL) { table->walk_tail->next = walk; }
    table->walk_tail = walk;
}

static void unlink_walk(struct replica_table *table, const struct replica_digest_walk *walk) {
    struct replica_digest_walk *before = NULL;
    struct replica_digest_walk *at = table->walk_head;
    while (at != walk) {
        before = at;
        at = at->next;
    }
    if (before == NULL) { table->walk_head = walk->next; }
    if (before != NULL) { before->next = walk->next; }
    if (table->walk_tail == walk) { table->walk_tail = before; }
}

bool replica__walk_open(struct replica *self) {
    struct replica_table *table = self->table;
    const struct state_machine *machine = self->machine;
    if (self->walk != NULL) {
        MARK("replica.digest.passed_over");
        return false;
    }
    if (replica__walks_full(table) || table->room != REPLICA_ROOM_ENOUGH) { return false; }
    struct state_digest *state = machine->digest_open(machine->ctx, self->descriptor.id);
    if (state == NULL) { return false; }
    struct replica_digest_walk *walk = mem_alloc(sizeof(*walk));
    *walk = (struct replica_digest_walk){
        .replica = self, .state = state, .index = self->applied, .opened_ns = replica__now(self)};
    self->walk = walk;
    push(table, walk);
    table->walk_count++;
    return true;
}

void replica__walk_drop(struct replica *self) {
    struct replica_digest_walk *walk = self->walk;
    if (walk == NULL) { return; }
    self->walk = NULL;
    unlink_walk(self->table, walk);
    self->table->walk_count--;
    self->machine->digest_close(self->machine->ctx, walk->state);
    mem_free(walk);
}

static void give_up(struct replica *self, enum status why) {
    MARK("replica.digest.given_up");
    LOG_WARN("replica.digest.failed", LOG_U64("shard", self->descriptor.id.v),
             LOG_U64("index", self->walk->index), LOG_U64("size", self->walk->size),
             LOG_STATUS("status", why));
    if (self->walk->size > self->digest_size) { self->digest_size = self->walk->size; }
    replica__walk_drop(self);
}

// One slice of the walk whose turn it is; returns what it came to.
static uint64_t go_on(struct replica_table *table, uint32_t size_max, uint64_t now_ns) {
    struct replica_digest_walk *walk = table->walk_head;
    struct replica *self = walk->replica;
    struct state_digest_slice slice = {0};
    if (now_ns - walk->opened_ns > WALK_NS_MAX) {
        give_up(self, STATUS_DEADLINE_EXCEEDED);
        return 0;
    }
    enum status st = self->machine->digest_next(self->machine->ctx, walk->state, size_max, &slice);
    if (st != STATUS_OK) {
        give_up(self, st);
        return size_max;
    }
    ASSERT(slice.size > 0);
    walk->size += slice.size;
    if (slice.last) {
        replica__digest_done(self, walk, slice.digest);
        replica__walk_drop(self);
        return slice.size;
    }
    unlink_walk(table, walk);
    push(table, walk);
    return slice.size;
}

void replica__walks_on_time(struct replica_table *table, uint64_t now_ns) {
    if (table->walk_head == NULL || now_ns < table->walk_due_ns) { return; }
    table->walk_due_ns = now_ns + WALK_STEP_NS;
    uint32_t left = table->config.digest_slice_size;
    if (left == 0) { left = REPLICA_DIGEST_SLICE_SIZE; }
    while (table->walk_head != NULL && left > 0) {
        if (table->room != REPLICA_ROOM_ENOUGH) {
            give_up(table->walk_head->replica, STATUS_NO_SPACE);
            continue;
        }
        uint64_t size = go_on(table, left, now_ns);
        left -= size < left ? (uint32_t)size : left;
    }
}

uint64_t replica__walks_deadline(const struct replica_table *table) {
    return table->walk_head == NULL ? UINT64_MAX : table->walk_due_ns;
}
