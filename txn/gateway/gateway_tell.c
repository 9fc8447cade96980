// SPDX-License-Identifier: Apache-2.0
// What a client is told of a transaction over several shards, in the form in which it would be told
// of one: an outcome as payload, and the home's answer as certificate.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "txn/command/command_merge.h"
#include "txn/gateway/gateway_internal.h"

#include <stdio.h>
#include <string.h>

static const char text_reused[] = "transaction id: it was used before with another commit";
static const char text_settled[] = "transaction id: it was asked for while it was unknown, and was "
                                   "settled as aborted; try again with another id";
static const char text_horizon[] = "the transaction began too long ago";

void gateway__key_text(struct slice key, char out[GATEWAY_KEY_TEXT_SIZE]) {
    static const char digits[] = "0123456789abcdef";
    enum { ESCAPED_SIZE = 4, TAIL_SIZE = 4 };
    size_t at = 0;
    size_t i = key.size < SHARD_KEYSPACE_PREFIX_SIZE ? 0 : SHARD_KEYSPACE_PREFIX_SIZE;
    for (; i < key.size && at + ESCAPED_SIZE + TAIL_SIZE <= GATEWAY_KEY_TEXT_SIZE; i++) {
        const uint8_t c = key.data[i];
        if (c >= ' ' && c < 0x7f && c != '\\') {
            out[at++] = (char)c;
        } else {
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = digits[c >> 4];
            out[at++] = digits[c & 0xf];
        }
    }
    const char *tail = i < key.size ? "..." : "";
    memcpy(out + at, tail, strlen(tail) + 1);
}

// --- One way out ---

static void end(struct gateway_txn *txn, const struct session_result *result) {
    struct gateway *self = txn->gateway;
    struct session_call *call = txn->call;
    ASSERT(call != NULL);
    txn->call = NULL;
    call->id = 0;
    const bool committed = result->status == STATUS_OK;
    const bool unknown = result->status == STATUS_UNKNOWN_OUTCOME;
    self->stats.committed += committed ? 1 : 0;
    self->stats.unknown += unknown ? 1 : 0;
    self->stats.aborted += committed || unknown ? 0 : 1;
    gateway__trace(txn,
                   (struct trace_event){.kind = TRACE_TOLD,
                                        .state = (uint8_t)result->status,
                                        .value = committed ? result->certificate.timestamp.v : 0});
    call->done(call, result);
}

static void end_text(struct gateway_txn *txn, enum status st, bool certified, const char *text) {
    struct session_result result = {.status = st, .detail = slice_from_string(text)};
    if (certified) { result.certificate = txn->home; }
    end(txn, &result);
}

static void end_outcome(struct gateway_txn *txn, const struct command_outcome *outcome) {
    struct gateway *self = txn->gateway;
    struct session_result result = {.status = outcome->status, .certificate = txn->home};
    struct codec_writer w;
    buf_reset(&self->told);
    codec_writer_init(&w, &self->told);
    command_outcome_encode(&w, outcome);
    ASSERT(w.status == STATUS_OK);  // a few bytes, and the buffer keeps its memory
    result.certificate.timestamp = outcome->timestamp;
    result.payload = buf_slice(&self->told);
    if (outcome->status == STATUS_RESOURCE_EXHAUSTED) {
        result.detail = SLICE_LITERAL("delete_range: more than 10000 keys lie in it");
    }
    if (outcome->status == STATUS_FAILED_PRECONDITION) {
        result.detail = SLICE_LITERAL(COMMAND_TYPE_TEXT);
    }
    if (outcome->status == STATUS_CANCELLED) { result.detail = slice_from_string(text_settled); }
    end(txn, &result);
}

// As a shard tells a commit of its own that read what has changed since: with an answer.
static void end_conflict(struct gateway_txn *txn, const char *text) {
    struct gateway *self = txn->gateway;
    struct command_txn_answer answer = txn->coordinator.why;
    answer.key = buf_slice(&txn->why_key);
    answer.has_outcome = false;
    struct codec_writer w;
    buf_reset(&self->told);
    codec_writer_init(&w, &self->told);
    command_txn_answer_encode(&w, &answer);
    const struct session_result result = {.status = STATUS_ABORTED_RETRY,
                                          .certificate = txn->home,
                                          .payload = w.status == STATUS_OK ? buf_slice(&self->told)
                                                                           : SLICE_EMPTY,
                                          .detail = slice_from_string(text)};
    end(txn, &result);
}

// --- Results ---

static void tell_committed(struct gateway_txn *txn) {
    const struct command_outcome outcome = {.status = STATUS_OK,
                                            .timestamp = txn->coordinator.commit,
                                            .request_hash = txn->request_hash};
    end_outcome(txn, &outcome);
}

static void tell_kept(struct gateway_txn *txn) {
    const struct coordinator *coordinator = &txn->coordinator;
    const struct command_outcome *outcome = &coordinator->outcome;
    const bool settled = outcome->status == STATUS_CANCELLED;
    if (coordinator->why.reason == COMMAND_REASON_OTHER_REQUEST ||
        (!settled && outcome->request_hash != txn->request_hash)) {
        end_text(txn, STATUS_INVALID_ARGUMENT, true, text_reused);
    } else {
        MARK("gateway.kept_outcome");
        end_outcome(txn, outcome);
    }
}

static const char *conflict_text(const struct gateway_txn *txn, char out[GATEWAY_TEXT_SIZE]) {
    char key[GATEWAY_KEY_TEXT_SIZE];
    gateway__key_text(buf_slice(&txn->why_key), key);
    const enum command_txn_reason reason = txn->coordinator.why.reason;
    if (reason == COMMAND_REASON_READ) {
        (void)snprintf(out, GATEWAY_TEXT_SIZE, "key \"%s\" was changed after it was read", key);
    } else if (reason == COMMAND_REASON_LOCKED) {
        (void)snprintf(out, GATEWAY_TEXT_SIZE,
                       "key \"%s\" is locked by another transaction; attempts: %u", key,
                       txn->attempts);
    } else {
        (void)snprintf(out, GATEWAY_TEXT_SIZE,
                       "another attempt or a recovery of the transaction came between; attempts: "
                       "%u",
                       txn->attempts);
    }
    return out;
}

bool gateway__tell_result(struct gateway_txn *txn) {
    const struct coordinator *coordinator = &txn->coordinator;
    ASSERT(txn->call != NULL && coordinator_may_tell(coordinator));
    char text[GATEWAY_TEXT_SIZE];
    if (coordinator->result == COORDINATOR_COMMITTED) {
        tell_committed(txn);
    } else if (coordinator->has_outcome) {
        tell_kept(txn);
    } else if (coordinator->why.reason == COMMAND_REASON_OTHER_REQUEST) {
        end_text(txn, STATUS_INVALID_ARGUMENT, true, text_reused);
    } else if (coordinator->why.reason == COMMAND_REASON_SETTLED) {
        end_text(txn, STATUS_CANCELLED, true, text_settled);
    } else if (txn->refusal != STATUS_OK) {
        // Nothing of it stands: a prepare was refused before it came to a log.
        end_text(txn, txn->refusal, false, txn->text);
    } else if (coordinator->why.reason == COMMAND_REASON_READ) {
        end_conflict(txn, conflict_text(txn, text));
    } else if (coordinator->why.reason == COMMAND_REASON_HORIZON) {
        end_conflict(txn, text_horizon);
    } else {
        return false;
    }
    return true;
}

void gateway__tell_conflict(struct gateway_txn *txn) {
    char text[GATEWAY_TEXT_SIZE];
    end_conflict(txn, conflict_text(txn, text));
}

void gateway__tell_refused(struct gateway_txn *txn, enum status st, const char *text) {
    end_text(txn, st, false, text);
}

void gateway__tell_open(struct gateway_txn *txn, enum status otherwise) {
    char text[GATEWAY_TEXT_SIZE];
    const bool running = txn->state == GATEWAY_TXN_RUNNING;
    if (running && !coordinator_may_tell(&txn->coordinator) &&
        !coordinator_may_abandon(&txn->coordinator)) {
        uint32_t known = 0;
        for (uint32_t i = 0; i < txn->coordinator.count; i++) {
            known += txn->participants[i].state != COMMAND_TXN_NONE ? 1 : 0;
        }
        (void)snprintf(text, sizeof(text), "%u of %u shards have answered; attempts: %u", known,
                       txn->coordinator.count, txn->attempts);
        const bool lies = MUTANT(UNKNOWN_TOLD_ABORTED);
        end_text(txn, lies ? STATUS_ABORTED_RETRY : STATUS_UNKNOWN_OUTCOME, false, text);
        return;
    }
    if (otherwise == STATUS_DEADLINE_EXCEEDED && txn->attempts > 0) {
        gateway__tell_conflict(txn);
        return;
    }
    end_text(txn, otherwise, false,
             txn->attempts > 0 ? "every attempt was aborted"
                               : "no shard is known that holds a key");
}
