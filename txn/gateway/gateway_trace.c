// SPDX-License-Identifier: Apache-2.0
// What the trace of a transaction tells of its gateway. Kept apart, so that the code that decides
// reads as before.
#include "dataplane/base/assert.h"
#include "txn/gateway/gateway_internal.h"

static enum trace_what what_of(enum coordinator_send send) {
    switch (send) {
    case COORDINATOR_SEND_PREPARE:
        return TRACE_PREPARE;
    case COORDINATOR_SEND_PROBE:
        return TRACE_PROBE;
    case COORDINATOR_SEND_COMMIT:
        return TRACE_COMMIT;
    case COORDINATOR_SEND_ABORT:
        return TRACE_ABORT;
    case COORDINATOR_SEND_FORGET:
        return TRACE_FORGET;
    case COORDINATOR_SEND_NOTHING:
        break;
    }
    return TRACE_NOTHING;
}

void gateway__trace(const struct gateway_txn *txn, struct trace_event event) {
    event.attempt = txn->attempt.tag;
    trace_note(txn->gateway->config.trace, &txn->txn, event);
}

void gateway__trace_sent(const struct gateway_txn *txn, uint32_t member,
                         enum coordinator_send send) {
    if (txn->gateway->config.trace == NULL) { return; }
    const struct shard_descriptor *shard =
        shard_map_find(txn->gateway->config.map, txn->members[member].anchor);
    gateway__trace(txn, (struct trace_event){.kind = TRACE_SENT,
                                             .what = (uint8_t)what_of(send),
                                             .shard = shard != NULL ? shard->id.v : 0});
}

void gateway__trace_answer(const struct gateway_txn *txn, enum coordinator_send sent,
                           const struct command_txn_answer *answer, struct shard_id shard) {
    gateway__trace(txn, (struct trace_event){.kind = TRACE_ANSWERED,
                                             .what = (uint8_t)what_of(sent),
                                             .state = (uint8_t)answer->state,
                                             .reason = (uint8_t)answer->reason,
                                             .value = answer->timestamp.v,
                                             .shard = shard.v});
}

void gateway__trace_decided(const struct gateway_txn *txn, enum coordinator_phase before) {
    const struct coordinator *coordinator = &txn->coordinator;
    if (before != COORDINATOR_PREPARING || coordinator->phase == before) { return; }
    const bool aborts = coordinator->phase == COORDINATOR_ABORTING;
    gateway__trace(txn,
                   (struct trace_event){
                       .kind = TRACE_DECIDED,
                       .state = (uint8_t)(aborts ? COMMAND_TXN_ABORTED : COMMAND_TXN_COMMITTED),
                       .reason = (uint8_t)(aborts ? coordinator->why.reason : COMMAND_REASON_NONE),
                       .value = aborts ? 0 : coordinator->commit.v});
}
