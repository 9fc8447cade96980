// SPDX-License-Identifier: Apache-2.0
// A fixed array of slots, one a put in flight:
//
//     FREE -> FLYING -> FREE          done, or given up
//               |  ^
//               v  |
//             WAITING                 to be sent again, after a pause
//
// The client's thread only moves FLYING on; sending is the caller's thread's part, so that no
// callback ever waits. Looking for a key among the slots is linear: comparing a few thousand hashes
// costs less than the commit it precedes.
#include "api/cli/pipeline.h"

#include "api/cli/progress.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define PIPELINE_PAUSE_NS UINT64_C(100000000)

enum slot_state { SLOT_FREE, SLOT_FLYING, SLOT_WAITING };

struct slot {
    struct pipeline *pipeline;
    enum slot_state state;  // guarded by mu
    uint64_t key_hash;
    uint64_t tag;
    uint64_t begin_ns;
    uint64_t due_ns;  // WAITING: when to send again; guarded by mu
    struct bytes *key;
    struct bytes *value;
    uint8_t txn[LC_TXN_ID_SIZE];
};

struct pipeline {
    struct pipeline_options options;
    struct slot *slots;
    pthread_mutex_t mu;
    pthread_cond_t changed;           // with mu: a slot changed its state
    uint32_t used;                    // guarded by mu: slots that are not FREE
    uint32_t waiting;                 // guarded by mu
    struct pipeline_stats stats;      // guarded by mu
    bool failed;                      // guarded by mu
    struct pipeline_failure failure;  // guarded by mu: the first one
};

struct pipeline *pipeline_create(const struct pipeline_options *options) {
    ASSERT(options->outstanding_max > 0);
    ASSERT(options->outstanding_max <= PIPELINE_OUTSTANDING_MAX);
    struct pipeline *self = mem_alloc(sizeof(*self));
    self->options = *options;
    if (self->options.commit == NULL) { self->options.commit = lc_commit; }
    self->slots = mem_alloc_array(options->outstanding_max, sizeof(*self->slots));
    for (uint32_t i = 0; i < options->outstanding_max; i++) {
        self->slots[i].pipeline = self;
    }
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&self->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&self->mu, NULL);
    return self;
}

void pipeline_destroy(struct pipeline *self) {
    ASSERT(self->used == 0);
    (void)pthread_cond_destroy(&self->changed);
    (void)pthread_mutex_destroy(&self->mu);
    mem_free(self->slots);
    mem_free(self);
}

// --- Outcomes

// Holds mu.
static void release(struct pipeline *self, struct slot *slot) {
    ASSERT(slot->state != SLOT_FREE);
    bytes_unref(slot->key);
    bytes_unref(slot->value);
    slot->key = NULL;
    slot->value = NULL;
    slot->state = SLOT_FREE;
    self->used--;
}

// Holds mu.
static void fail(struct pipeline *self, struct slot *slot, const struct lc_result *result) {
    if (!self->failed) {
        self->failed = true;
        self->failure = (struct pipeline_failure){.outcome = result->outcome, .tag = slot->tag};
        (void)err_set(&self->failure.err, result->status, "%.*s", (int)result->message.size,
                      (const char *)result->message.data);
        if (result->message.size == 0) {
            (void)err_set(&self->failure.err, result->status, "%s", status_text(result->status));
        }
    }
    release(self, slot);
}

static bool is_worth_retrying(const struct lc_result *result) {
    return result->outcome == LC_UNKNOWN || status_is_retryable(result->status) ||
           result->status == STATUS_DEADLINE_EXCEEDED;
}

// Holds mu. A put whose outcome is unknown is not given up for another one's failure: it is sent
// again as long as its own time lasts.
static void settle(struct pipeline *self, struct slot *slot, const struct lc_result *result) {
    ASSERT(slot->state == SLOT_FLYING);
    uint64_t now = progress_now_ns();
    uint64_t end = slot->begin_ns + (uint64_t)self->options.retry_ms * 1000000;
    if (result->outcome == LC_COMMITTED) {
        self->stats.puts++;
        self->stats.bytes += slot->key->size + slot->value->size;
        release(self, slot);
    } else if (is_worth_retrying(result) && now + PIPELINE_PAUSE_NS < end) {
        slot->state = SLOT_WAITING;
        slot->due_ns = now + PIPELINE_PAUSE_NS;
        self->waiting++;
        self->stats.retries++;
    } else {
        fail(self, slot, result);
    }
    (void)pthread_cond_signal(&self->changed);
}

static void done(void *ctx, const struct lc_result *result) {
    struct slot *slot = ctx;
    struct pipeline *self = slot->pipeline;
    (void)pthread_mutex_lock(&self->mu);
    settle(self, slot, result);
    (void)pthread_mutex_unlock(&self->mu);
}

// --- Sending. The slot is FLYING, hence ours until done is called.

static void send(struct pipeline *self, struct slot *slot) {
    struct lc_mutation mutation = {
        .kind = LC_PUT, .key = bytes_slice(slot->key), .value = bytes_slice(slot->value)};
    struct lc_commit commit = {.keyspace = self->options.keyspace,
                               .txn = slot->txn,
                               .mutations = &mutation,
                               .mutation_count = 1};
    struct lc_call call = {.timeout_ms = self->options.timeout_ms, .done = done, .ctx = slot};
    enum status st = self->options.commit(self->options.client, &commit, &call);
    if (st == STATUS_OK) { return; }
    struct lc_result refused = {.outcome = LC_ABORTED, .status = st};
    done(slot, &refused);
}

// Holds mu, which it gives up while it sends. Sends what waited long enough.
static void resend(struct pipeline *self) {
    for (uint32_t i = 0; i < self->options.outstanding_max && self->waiting > 0; i++) {
        struct slot *slot = &self->slots[i];
        if (slot->state != SLOT_WAITING || slot->due_ns > progress_now_ns()) { continue; }
        slot->state = SLOT_FLYING;
        self->waiting--;
        (void)pthread_mutex_unlock(&self->mu);
        send(self, slot);
        (void)pthread_mutex_lock(&self->mu);
    }
}

// Holds mu. Until a slot changes, or a pause is over.
static void wait_for_change(struct pipeline *self) {
    uint64_t until = progress_now_ns() + PIPELINE_PAUSE_NS;
    struct timespec at = {.tv_sec = (time_t)(until / 1000000000),
                          .tv_nsec = (long)(until % 1000000000)};
    (void)pthread_cond_timedwait(&self->changed, &self->mu, &at);
    if (self->waiting > 0) { resend(self); }
}

// Holds mu. A free slot, or NULL when there is none or the key is in flight.
static struct slot *find_slot(struct pipeline *self, uint64_t key_hash) {
    struct slot *found = NULL;
    for (uint32_t i = 0; i < self->options.outstanding_max; i++) {
        struct slot *slot = &self->slots[i];
        if (slot->state == SLOT_FREE) {
            found = found == NULL ? slot : found;
        } else if (slot->key_hash == key_hash) {
            return NULL;
        }
    }
    return found;
}

bool pipeline_put(struct pipeline *self, struct slice key, struct slice value, uint64_t tag) {
    uint64_t key_hash = hash64(key, 0);
    (void)pthread_mutex_lock(&self->mu);
    struct slot *slot = find_slot(self, key_hash);
    while (slot == NULL && !self->failed) {
        wait_for_change(self);
        slot = find_slot(self, key_hash);
    }
    bool taken = slot != NULL && !self->failed;
    if (taken) {
        slot->state = SLOT_FLYING;
        self->used++;
    }
    (void)pthread_mutex_unlock(&self->mu);
    if (!taken) { return false; }
    slot->key_hash = key_hash;
    slot->tag = tag;
    slot->begin_ns = progress_now_ns();
    slot->key = bytes_copy(key);
    slot->value = bytes_copy(value);
    lc_txn_id_make(slot->txn);
    send(self, slot);
    return true;
}

bool pipeline_finish(struct pipeline *self, struct pipeline_failure *out_failure) {
    (void)pthread_mutex_lock(&self->mu);
    while (self->used > 0) {
        wait_for_change(self);
    }
    bool ok = !self->failed;
    if (!ok) { *out_failure = self->failure; }
    (void)pthread_mutex_unlock(&self->mu);
    return ok;
}

struct pipeline_stats pipeline_stats(struct pipeline *self) {
    (void)pthread_mutex_lock(&self->mu);
    struct pipeline_stats stats = self->stats;
    (void)pthread_mutex_unlock(&self->mu);
    return stats;
}
