// SPDX-License-Identifier: Apache-2.0
// What became of a commit whose answer was lost, and the loop that tries transactions again.
//
//   body -> commit -> committed, refused                              done
//        \         -> ABORTED_RETRY, nobody there        same id, same begin, again
//         \        -> no answer -> TxnStatus, then settle -> known      done
//          \                                              -> settled    another id, again
//           -> error -> as the commit's; a status of the body's own     done
#include "api/client/txn_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <string.h>
#include <time.h>

// So often the outcome is only asked for: the commit may be on its way. Then it is settled.
enum { LC_ASKS_BEFORE_SETTLING = 3, LC_ASK_MS_MAX = 2000 };
static const uint64_t LC_MS = UINT64_C(1000000);

void lc__pause(uint64_t ns) {
    struct timespec time = {.tv_sec = (time_t)(ns / UINT64_C(1000000000)),
                            .tv_nsec = (long)(ns % UINT64_C(1000000000))};
    (void)nanosleep(&time, NULL);
}

// Jittered; false: it would be longer than there is time.
static bool lc_back_off(struct lc_client *client, uint32_t attempts, uint32_t after_ms,
                        uint64_t deadline_ns) {
    (void)pthread_mutex_lock(&client->mu);
    uint64_t pause_ns = lc__retry_delay(client, attempts, after_ms);
    (void)pthread_mutex_unlock(&client->mu);
    if (lc__now_ns() + pause_ns >= deadline_ns) { return false; }
    lc__pause(pause_ns);
    return true;
}

static uint32_t lc_left_ms(uint64_t deadline_ns) {
    uint64_t now_ns = lc__now_ns();
    uint64_t left_ms = deadline_ns > now_ns ? (deadline_ns - now_ns) / LC_MS : 0;
    return left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms;
}

void lc__txn_find_out(struct lc_txn *self, struct lc_result *out, struct lc_reply *memory) {
    struct lc_question question = {
        .keyspace = self->keyspace, .txn = self->id, .key = buf_slice(&self->home)};
    for (uint32_t asks = 0;; asks++) {
        uint32_t left_ms = lc_left_ms(self->deadline_ns);
        if (left_ms == 0) { break; }
        question.settle = asks >= LC_ASKS_BEFORE_SETTLING && !self->home_is_unsure;
        lc_reply_free(memory);
        lc__ask_wait(self->client, &question, left_ms < LC_ASK_MS_MAX ? left_ms : LC_ASK_MS_MAX,
                     memory);
        if (memory->result.known) {
            *out = memory->result;
            return;
        }
        if (!lc_back_off(self->client, asks, 0, self->deadline_ns)) { break; }
    }
    *out = (struct lc_result){
        .outcome = LC_UNKNOWN,
        .status = STATUS_UNKNOWN_OUTCOME,
        .message = SLICE_LITERAL("the deadline passed and the transaction may have been committed"),
        .attempts = 1};
    memcpy(out->txn, self->id, LC_TXN_ID_SIZE);
}

// --- The loop ---

struct lc_loop {
    struct lc_client *client;
    struct lc_txn_options options;  // of the next try
    uint8_t id[LC_TXN_ID_SIZE];
    uint64_t deadline_ns;
    uint32_t tries;
    uint32_t retry_after_ms;  // of the latest try
    bool again;               // the latest try promises luck to another one
    bool holds;               // the body asks for keys to be held: the loop does not meddle
    struct lc_contended contended;
};

// LIMIT: of a key among more that are read together all are held, of more than 8 none.
static void lc_note_contended(struct lc_loop *self, const struct lc_result *result) {
    struct lc_contended *contended = &self->contended;
    const struct slice key = result->conflict_key;
    if (self->holds || key.size == 0 || contended->count == LC_CONTENDED_MAX) { return; }
    for (uint32_t i = 0; i < contended->count; i++) {
        if (slice_equal(bytes_slice(contended->keys[i]), key)) { return; }
    }
    contended->keys[contended->count++] = bytes_copy(key);
}

static void lc_drop_contended(struct lc_contended *self) {
    while (self->count > 0) {
        bytes_unref(self->keys[--self->count]);
    }
}

// A transaction that ran out of its own time on a silent node has some left for another one.
static bool lc_is_worth_a_try(const struct lc_result *result) {
    if (result->outcome != LC_ABORTED) { return false; }
    return lc__may_retry(result->status) || result->status == STATUS_DEADLINE_EXCEEDED;
}

static void lc_loop_try(struct lc_loop *self, lc_txn_fn body, void *ctx, struct lc_reply *out) {
    struct lc_txn *txn = lc_txn_begin(self->client, &self->options);
    self->tries++;
    self->again = false;
    if (!self->holds) { txn->contended = &self->contended; }
    enum status st = body(txn, ctx);
    if (st == STATUS_OK) {
        st = lc_txn_commit(txn, NULL, 0, out);
        ASSERT(st == out->result.status);
        self->again = lc_is_worth_a_try(&out->result);
    } else if (txn->failed) {
        lc__reply_fill(out, &txn->end.result);
        self->again = lc_is_worth_a_try(&out->result);
    } else {
        struct lc_result own = {
            .outcome = LC_ABORTED, .status = st, .message = slice_from_string(status_text(st))};
        memcpy(own.txn, self->id, LC_TXN_ID_SIZE);
        lc_txn_rollback(txn);
        lc__reply_fill(out, &own);
    }
    self->options.begin = lc_txn_started(txn);
    self->retry_after_ms = txn->retry_after_ms;
    if (txn->holds) { self->holds = true; }
    lc_txn_close(txn);
    if (self->again) { lc_note_contended(self, &out->result); }
}

// A try that time cut short has no reason to tell: the one before it, if there was one, has.
static void lc_keep_reason(const struct lc_loop *self, struct lc_reply *before,
                           struct lc_reply *out) {
    bool is_cut = self->again && out->result.status == STATUS_DEADLINE_EXCEEDED;
    if (is_cut && before->result.status != STATUS_OK) {
        struct lc_reply cut = *out;
        *out = *before;
        *before = cut;
    }
    lc_reply_free(before);
}

enum status lc_txn_run(struct lc_client *client, const struct lc_txn_options *options,
                       lc_txn_fn body, void *ctx, struct lc_reply *out) {
    struct lc_loop loop = {.client = client, .options = *options};
    uint32_t timeout_ms = options->timeout_ms == 0 ? client->timeout_ms : options->timeout_ms;
    loop.deadline_ns = lc__now_ns() + timeout_ms * LC_MS;
    if (options->txn == NULL) {
        lc_txn_id_make(loop.id);
    } else {
        memcpy(loop.id, options->txn, LC_TXN_ID_SIZE);
    }
    loop.options.txn = loop.id;
    loop.options.timeout_ms = timeout_ms;
    *out = (struct lc_reply){.memory = NULL};
    for (;;) {
        struct lc_reply before = *out;
        lc_loop_try(&loop, body, ctx, out);
        lc_keep_reason(&loop, &before, out);
        // An id that was settled is spent; one that the caller chose is the caller's to replace.
        bool settled = out->result.known && out->result.status == STATUS_CANCELLED;
        if (settled && options->txn != NULL) { break; }
        if (settled) { lc_txn_id_make(loop.id); }
        if (!loop.again ||
            !lc_back_off(client, loop.tries, loop.retry_after_ms, loop.deadline_ns)) {
            break;
        }
        loop.options.timeout_ms = lc_left_ms(loop.deadline_ns);
        if (loop.options.timeout_ms == 0) { break; }
    }
    lc_drop_contended(&loop.contended);
    out->result.attempts = loop.tries;
    return out->result.status;
}
