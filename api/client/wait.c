// SPDX-License-Identifier: Apache-2.0
// The waiting forms: start a request, sleep until its callback has copied the result.
#include "api/client/client_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <string.h>

struct lc_waiter {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool done;  // guarded by mu
    struct lc_reply *reply;
};

static struct slice lc_keep(uint8_t **at, struct slice from) {
    struct slice kept = slice_make(*at, from.size);
    if (from.size > 0) { memcpy(*at, from.data, from.size); }
    *at += from.size;
    return kept;
}

// One block: the rows, then every byte they point to.
void lc__reply_fill(struct lc_reply *out, const struct lc_result *result) {
    size_t size = result->row_count * sizeof(struct lc_row) + result->message.size +
                  result->field.size + result->conflict_key.size + result->resume.size +
                  result->home.size + 1;
    for (uint32_t i = 0; i < result->row_count; i++) {
        size += result->rows[i].key.size + result->rows[i].value.size;
    }
    out->result = *result;
    out->memory = mem_alloc(size);
    struct lc_row *rows = out->memory;
    uint8_t *at = (uint8_t *)(rows + result->row_count);
    for (uint32_t i = 0; i < result->row_count; i++) {
        rows[i] = result->rows[i];
        rows[i].key = lc_keep(&at, result->rows[i].key);
        rows[i].value = lc_keep(&at, result->rows[i].value);
    }
    out->result.rows = rows;
    out->result.message = lc_keep(&at, result->message);
    out->result.field = lc_keep(&at, result->field);
    out->result.conflict_key = lc_keep(&at, result->conflict_key);
    out->result.resume = lc_keep(&at, result->resume);
    out->result.home = lc_keep(&at, result->home);
}

void lc_reply_free(struct lc_reply *self) {
    mem_free(self->memory);
    *self = (struct lc_reply){.memory = NULL};
}

static void lc_waiter_done(void *ctx, const struct lc_result *result) {
    struct lc_waiter *waiter = ctx;
    lc__reply_fill(waiter->reply, result);
    (void)pthread_mutex_lock(&waiter->mu);
    waiter->done = true;
    (void)pthread_cond_signal(&waiter->cond);
    (void)pthread_mutex_unlock(&waiter->mu);
}

static struct lc_call lc_waiter_init(struct lc_waiter *waiter, struct lc_client *self,
                                     uint32_t timeout_ms, struct lc_reply *out) {
    ASSERT(!lc__is_own_thread(self));
    int error = pthread_mutex_init(&waiter->mu, NULL);
    error |= pthread_cond_init(&waiter->cond, NULL);
    ASSERT(error == 0);
    waiter->done = false;
    waiter->reply = out;
    *out = (struct lc_reply){.memory = NULL};
    return (struct lc_call){.timeout_ms = timeout_ms, .done = lc_waiter_done, .ctx = waiter};
}

// `started` is what starting the request gave.
static enum status lc_waiter_end(struct lc_waiter *waiter, enum status started) {
    if (started == STATUS_OK) {
        (void)pthread_mutex_lock(&waiter->mu);
        while (!waiter->done) {
            (void)pthread_cond_wait(&waiter->cond, &waiter->mu);
        }
        (void)pthread_mutex_unlock(&waiter->mu);
    } else {
        struct lc_result refused = {.outcome = LC_ABORTED,
                                    .status = started,
                                    .message = slice_from_string(status_text(started))};
        lc__reply_fill(waiter->reply, &refused);
    }
    (void)pthread_cond_destroy(&waiter->cond);
    (void)pthread_mutex_destroy(&waiter->mu);
    return waiter->reply->result.status;
}

enum status lc_read_wait(struct lc_client *self, const struct lc_read *read, uint32_t timeout_ms,
                         struct lc_reply *out) {
    struct lc_waiter waiter;
    struct lc_call call = lc_waiter_init(&waiter, self, timeout_ms, out);
    return lc_waiter_end(&waiter, lc_read(self, read, &call));
}

enum status lc_commit_wait(struct lc_client *self, const struct lc_commit *commit,
                           uint32_t timeout_ms, struct lc_reply *out) {
    struct lc_waiter waiter;
    struct lc_call call = lc_waiter_init(&waiter, self, timeout_ms, out);
    return lc_waiter_end(&waiter, lc_commit(self, commit, &call));
}

enum status lc_txn_status_wait(struct lc_client *self, uint32_t keyspace, const uint8_t *txn,
                               struct slice key, struct lc_reply *out) {
    struct lc_waiter waiter;
    struct lc_call call = lc_waiter_init(&waiter, self, 0, out);
    return lc_waiter_end(&waiter, lc_txn_status(self, keyspace, txn, key, &call));
}

enum status lc_txn_settle_wait(struct lc_client *self, uint32_t keyspace, const uint8_t *txn,
                               struct slice key, struct lc_reply *out) {
    struct lc_waiter waiter;
    struct lc_call call = lc_waiter_init(&waiter, self, 0, out);
    return lc_waiter_end(&waiter, lc_txn_settle(self, keyspace, txn, key, &call));
}

void lc__ask_wait(struct lc_client *self, const struct lc_question *question, uint32_t timeout_ms,
                  struct lc_reply *out) {
    struct lc_waiter waiter;
    struct lc_call call = lc_waiter_init(&waiter, self, timeout_ms, out);
    enum status st =
        question->settle
            ? lc_txn_settle(self, question->keyspace, question->txn, question->key, &call)
            : lc_txn_status(self, question->keyspace, question->txn, question->key, &call);
    (void)lc_waiter_end(&waiter, st);
}

enum status lc_get_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                        struct lc_reply *out) {
    struct lc_read read = {.keyspace = keyspace, .keys = &key, .key_count = 1};
    enum status st = lc_read_wait(self, &read, 0, out);
    if (st == STATUS_OK && (out->result.row_count != 1 || !out->result.rows[0].found)) {
        return STATUS_NOT_FOUND;
    }
    return st;
}

static enum status lc_mutate_wait(struct lc_client *self, uint32_t keyspace,
                                  const struct lc_mutation *mutation, struct lc_reply *out) {
    struct lc_commit commit = {.keyspace = keyspace, .mutations = mutation, .mutation_count = 1};
    return lc_commit_wait(self, &commit, 0, out);
}

enum status lc_put_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                        struct slice value, struct lc_reply *out) {
    struct lc_mutation put = {.kind = LC_PUT, .key = key, .value = value};
    return lc_mutate_wait(self, keyspace, &put, out);
}

enum status lc_delete_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                           struct lc_reply *out) {
    struct lc_mutation remove = {.kind = LC_DELETE, .key = key};
    return lc_mutate_wait(self, keyspace, &remove, out);
}

enum status lc_add_wait(struct lc_client *self, uint32_t keyspace, struct slice key, int64_t amount,
                        struct lc_reply *out) {
    struct lc_mutation add = {
        .kind = LC_MERGE, .key = key, .merge = {.type = LC_COUNTER, .amount = amount}};
    return lc_mutate_wait(self, keyspace, &add, out);
}
