// SPDX-License-Identifier: Apache-2.0
//
// Design note. What a leader knows of one peer.
//
//            an append was accepted
//   PROBE ----------------------------> REPLICATE
//    |  ^                                   |  ^
//    |  +---- a gap was reported, silence --+  | a snapshot was sent, or an append accepted
//    |                                      |  |
//    +------------> SNAPSHOT <--------------+  |
//     trimmed, damaged  |                      |
//                       +----------------------+
//
// In PROBE one message is out at a time, because most would be refused; in REPLICATE `next` runs
// ahead of `match` by whatever the window allows. The window counts messages: a run of several
// shares a slot once slots get scarce, which frees a little late but never early.
#include "dataplane/raft/raft_internal.h"

struct raft_progress *raft__progress(struct raft_core *core, struct node_id node) {
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (node_id_equal(core->peers[i].node, node)) { return &core->peers[i]; }
    }
    return NULL;
}

struct raft_progress *raft__sender(struct raft_core *core, const struct raft_message *message) {
    struct raft_progress *peer = raft__progress(core, message->from);
    if (peer == NULL || MUTANT(OLD_INCARNATION_COUNTS)) { return peer; }
    return peer->incarnation == message->from_incarnation ? peer : NULL;
}

void raft__progress_reset(struct raft_progress *self, uint64_t next) {
    ASSERT(next > 0);
    *self = (struct raft_progress){.node = self->node,
                                   .incarnation = self->incarnation,
                                   .voter = self->voter,
                                   .outgoing = self->outgoing,
                                   .departed = self->departed,
                                   .state = RAFT_PROBE,
                                   .next = next};
}

void raft__progress_probe(struct raft_progress *self, uint64_t next) {
    ASSERT(next > self->match);
    self->state = RAFT_PROBE;
    self->next = next;
    self->probe_sent = false;
    self->window = (struct raft_window){0};
}

void raft__progress_replicate(struct raft_progress *self, uint64_t next) {
    ASSERT(next > self->match);
    self->state = RAFT_REPLICATE;
    self->next = next;
    self->probe_sent = false;
    self->window = (struct raft_window){0};
}

void raft__progress_snapshot(struct raft_progress *self, uint64_t next) {
    ASSERT(next > self->match);
    self->state = RAFT_SNAPSHOT;
    self->next = next;
    self->probe_sent = false;
    self->window = (struct raft_window){0};
}

bool raft__is_present(const struct raft_core *core, const struct raft_progress *peer,
                      uint64_t now_ns) {
    if (support_granted(core->config.support, peer->node, now_ns) != 0) { return true; }
    return peer->heard_ns != 0 && now_ns < raft__add(peer->heard_ns, core->config.election_ns_min);
}

void raft__window_add(struct raft_window *self, uint64_t last_index, uint32_t messages_max) {
    uint32_t share = (messages_max + RAFT_WINDOW_SLOTS - 1) / RAFT_WINDOW_SLOTS;
    self->messages++;
    if (self->used > 0) {
        uint32_t tail = (self->head + self->used - 1) % RAFT_WINDOW_SLOTS;
        ASSERT(self->slots[tail].last_index <= last_index);
        if (self->used == RAFT_WINDOW_SLOTS || self->slots[tail].messages < share) {
            self->slots[tail].last_index = last_index;
            self->slots[tail].messages++;
            return;
        }
    }
    ASSERT(self->used < RAFT_WINDOW_SLOTS);
    uint32_t at = (self->head + self->used) % RAFT_WINDOW_SLOTS;
    self->slots[at].last_index = last_index;
    self->slots[at].messages = 1;
    self->used++;
}

void raft__window_free(struct raft_window *self, uint64_t match) {
    while (self->used > 0 && self->slots[self->head].last_index <= match) {
        ASSERT(self->messages >= self->slots[self->head].messages);
        self->messages -= self->slots[self->head].messages;
        self->head = (self->head + 1) % RAFT_WINDOW_SLOTS;
        self->used--;
    }
    ASSERT_IF(self->used == 0, self->messages == 0);
}
