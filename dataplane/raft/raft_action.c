// SPDX-License-Identifier: Apache-2.0
//
// Design note. All actions of a step are made here, so that two rules hold by construction: a step
// has at most one PERSIST (later changes of the same step join it, hence one log_write and one
// sequence), and a PERSIST stands before every SEND that waits for it.
#include "dataplane/raft/raft_internal.h"

struct raft_action *raft__emit(struct raft_core *core, enum raft_action_type type) {
    struct raft_actions *out = core->out;
    ASSERT(out != NULL);
    ASSERT(out->count < out->count_max);
    struct raft_action *action = &out->items[out->count];
    out->count++;
    *action = (struct raft_action){.type = type};
    return action;
}

static struct raft_message raft_message_to(const struct raft_core *core,
                                           enum raft_message_type type, struct node_id to) {
    ASSERT(!node_id_equal(to, core->config.self));
    return (struct raft_message){.type = type,
                                 .from = core->config.self,
                                 .to = to,
                                 .from_incarnation = core->config.incarnation,
                                 .term = core->term};
}

struct raft_message raft__message(const struct raft_core *core, enum raft_message_type type,
                                  const struct raft_progress *to) {
    struct raft_message message = raft_message_to(core, type, to->node);
    message.to_incarnation = to->incarnation;
    return message;
}

struct raft_message raft__answer(const struct raft_core *core, enum raft_message_type type,
                                 const struct raft_message *request) {
    struct raft_message message = raft_message_to(core, type, request->from);
    message.to_incarnation = request->from_incarnation;
    return message;
}

void raft__send(struct raft_core *core, const struct raft_message *message,
                uint64_t after_sequence) {
    ASSERT(after_sequence <= core->persist_sequence);
    ASSERT(message->entries == NULL);
    if (after_sequence <= core->persisted_sequence) {
        after_sequence = 0;
    } else {
        // One that waits never overtakes another that waits, so the driver may keep them in a
        // queue.
        core->waited_sequence = raft__max(core->waited_sequence, after_sequence);
        after_sequence = core->waited_sequence;
    }
    struct raft_action *action = raft__emit(core, RAFT_ACTION_SEND);
    action->u.send.after_sequence = after_sequence;
    action->u.send.message = *message;
    action->u.send.first_index =
        message->type == RAFT_APPEND_REQUEST && message->entry_count > 0 ? message->index + 1 : 0;
}

struct raft_action *raft__persist(struct raft_core *core) {
    if (core->persist_item != UINT32_MAX) { return &core->out->items[core->persist_item]; }
    core->persist_item = core->out->count;
    struct raft_action *action = raft__emit(core, RAFT_ACTION_PERSIST);
    core->persist_sequence++;
    action->u.persist.sequence = core->persist_sequence;
    return action;
}

void raft__persist_hard_state(struct raft_core *core) {
    struct raft_action *action = raft__persist(core);
    action->u.persist.has_hard_state = true;
    action->u.persist.hard_state = (struct log_hard_state){.term = core->term,
                                                           .vote = core->vote,
                                                           .commit = core->commit,
                                                           .incarnation = core->config.incarnation};
    core->hard_sequence = core->persist_sequence;
}

uint64_t raft__hard_state_pending(const struct raft_core *core) {
    return core->hard_sequence > core->persisted_sequence ? core->hard_sequence : 0;
}
