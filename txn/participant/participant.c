// SPDX-License-Identifier: Apache-2.0
// Two tables and one heap. A holder that somebody waits for, or that was found to be old, has an
// entry with its waiters and the time of its next report; a shard that may have locks is on a list
// that the sweep goes over. Neither exists for shards without prepared transactions, so an idle
// node with ten thousand shards pays nothing here.
//
// Nothing is woken from participant_on_resolved: applying is in the middle of a turn, and who is
// woken proposes. Ready waiters stand in a list, and the deadline is at once.
//
// How old a holder is tells the difference of two walls that need not agree: its entry's and ours.
// That only moves the moment of a probe, which is right at any time. But a wall that was set back
// would move it for hours: a holder is also as old as the time since it was first looked at, and
// one from the future of our wall is looked at at once.
#include "txn/participant/participant.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"

#include <stddef.h>
#include <string.h>

enum { BUCKETS = 1024, REPORT_DOUBLINGS_MAX = 3 };

#define PATIENCE_NS UINT64_C(50000000)   // somebody has waited for so long
#define REPORT_NS   UINT64_C(500000000)  // between reports, at first
#define SWEEP_NS    UINT64_C(100000000)
#define LOOK_NS_MIN UINT64_C(1000000)

struct participant_holder {
    struct heap_node timer;  // next look
    struct shard_id shard;
    struct txn_id txn;
    struct participant_waiter *first;  // by (begin, txn)
    struct participant_waiter *last;
    uint32_t count;
    uint32_t reports;
    uint64_t reported_ns;
    uint64_t seen_ns;  // when it was first looked at; 0 = not yet
    bool hurry;
    struct participant_holder *next;  // of its bucket
};

struct participant {
    struct participant_config config;
    struct participant_holder *buckets[BUCKETS];
    uint32_t holder_count;
    struct heap looks;    // of holders
    struct heap waiting;  // every waiter that is not ready
    struct participant_waiter *ready_first;
    struct participant_waiter *ready_last;
    struct shard_id *shards;  // that may have holders, in order
    uint32_t shard_count;
    uint32_t shard_capacity;
    uint64_t sweep_ns;  // UINT64_MAX while there are none
    uint64_t now_ns;    // of the latest call that told
    struct participant_stats stats;
};

// --- Holders ---

static struct participant_holder **bucket(struct participant *self, struct shard_id shard,
                                          struct txn_id txn) {
    uint64_t parts[2];
    memcpy(parts, txn.v, sizeof(parts));
    uint64_t h = (parts[0] ^ shard.v) * UINT64_C(0x9E3779B97F4A7C15);
    h = (h ^ (h >> 29) ^ parts[1]) * UINT64_C(0xBF58476D1CE4E5B9);
    return &self->buckets[(h >> 32) % BUCKETS];
}

static struct participant_holder *find(struct participant *self, struct shard_id shard,
                                       struct txn_id txn) {
    struct participant_holder *holder = *bucket(self, shard, txn);
    while (holder != NULL &&
           !(shard_id_equal(holder->shard, shard) && txn_id_equal(holder->txn, txn))) {
        holder = holder->next;
    }
    return holder;
}

static struct participant_holder *holder_of_look(struct heap_node *look) {
    return (struct participant_holder *)(void *)((char *)look -
                                                 offsetof(struct participant_holder, timer));
}

// NULL when as many are watched as may be.
static struct participant_holder *find_or_add(struct participant *self, struct shard_id shard,
                                              struct txn_id txn, uint64_t look_ns) {
    struct participant_holder *holder = find(self, shard, txn);
    if (holder != NULL) { return holder; }
    if (self->holder_count == self->config.holders_max) { return NULL; }
    holder = mem_alloc(sizeof(*holder));
    holder->shard = shard;
    holder->txn = txn;
    struct participant_holder **head = bucket(self, shard, txn);
    holder->next = *head;
    *head = holder;
    self->holder_count++;
    heap_put(&self->looks, &holder->timer, look_ns);
    return holder;
}

static void drop(struct participant *self, struct participant_holder *holder) {
    ASSERT(holder->count == 0 && self->holder_count > 0);
    struct participant_holder **link = bucket(self, holder->shard, holder->txn);
    while (*link != holder) {
        link = &(*link)->next;
    }
    *link = holder->next;
    heap_remove(&self->looks, &holder->timer);
    self->holder_count--;
    mem_free(holder);
}

static const struct lock_holder *held(struct participant *self,
                                      const struct participant_holder *holder) {
    bool quiet = false;
    const struct lock_table *locks = self->config.locks(self->config.ctx, holder->shard, &quiet);
    return locks == NULL ? NULL : lock_table_find(locks, holder->txn);
}

static bool is_deciding(const struct participant *self, const struct participant_holder *holder) {
    return self->config.is_deciding != NULL &&
           self->config.is_deciding(self->config.ctx, holder->shard, holder->txn);
}

// --- Waiters ---

static bool goes_before(const struct participant_waiter *a, const struct participant_waiter *b) {
    return txn_is_older(a->begin, a->txn, b->begin, b->txn);
}

// Most come in the order of their age: the walk from the end is short.
static void enter(struct participant_holder *holder, struct participant_waiter *waiter) {
    struct participant_waiter *after = holder->last;
    while (after != NULL && goes_before(waiter, after)) {
        after = after->previous;
    }
    waiter->at = holder;
    waiter->previous = after;
    waiter->next = after == NULL ? holder->first : after->next;
    *(after == NULL ? &holder->first : &after->next) = waiter;
    *(waiter->next == NULL ? &holder->last : &waiter->next->previous) = waiter;
    holder->count++;
}

static void unlink_from(struct participant_waiter *waiter, struct participant_waiter **first,
                        struct participant_waiter **last) {
    *(waiter->previous == NULL ? first : &waiter->previous->next) = waiter->next;
    *(waiter->next == NULL ? last : &waiter->next->previous) = waiter->previous;
    waiter->next = NULL;
    waiter->previous = NULL;
}

static void leave_holder(struct participant_waiter *waiter) {
    struct participant_holder *holder = waiter->at;
    if (holder == NULL) { return; }
    unlink_from(waiter, &holder->first, &holder->last);
    waiter->at = NULL;
    ASSERT(holder->count > 0);
    holder->count--;
}

static void make_ready(struct participant *self, struct participant_waiter *waiter) {
    ASSERT(!waiter->ready && waiter->room == self);
    leave_holder(waiter);
    heap_remove(&self->waiting, &waiter->timer);
    waiter->ready = true;
    waiter->previous = self->ready_last;
    *(self->ready_last == NULL ? &self->ready_first : &self->ready_last->next) = waiter;
    self->ready_last = waiter;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

enum status participant_wait(struct participant *self, struct participant_waiter *waiter,
                             uint64_t now_ns) {
    ASSERT(waiter->room == NULL && waiter->wake != NULL);
    if (self->stats.waiting == self->config.waiters_max) {
        MARK("participant.overloaded");
        self->stats.overloaded++;
        return STATUS_OVERLOADED;
    }
    struct participant_holder *holder = NULL;
    if (!txn_id_is_zero(waiter->holder)) {
        holder = find_or_add(self, waiter->shard, waiter->holder, now_ns + PATIENCE_NS);
        if (holder == NULL) {
            self->stats.overloaded++;
            return STATUS_OVERLOADED;
        }
        participant_note(self, waiter->shard);
        if (holder->count == 0 && holder->reports == 0) {
            heap_put(&self->looks, &holder->timer,
                     smaller(holder->timer.key, now_ns + PATIENCE_NS));
        }
    }
    waiter->since_ns = now_ns;
    waiter->room = self;
    waiter->ready = false;
    waiter->at = NULL;
    waiter->next = NULL;
    waiter->previous = NULL;
    self->stats.waiting++;
    self->stats.waits++;
    if (holder != NULL) { enter(holder, waiter); }
    heap_put(&self->waiting, &waiter->timer, smaller(waiter->again_ns, waiter->deadline_ns));
    // What it wants to wait for may have ended between its look and now.
    if (holder != NULL && waiter->line == PARTICIPANT_NOT_IN_LINE && held(self, holder) == NULL &&
        !is_deciding(self, holder)) {
        heap_put(&self->looks, &holder->timer, now_ns + LOOK_NS_MIN);
    }
    return STATUS_OK;
}

static void take_out(struct participant_waiter *waiter) {
    struct participant *self = waiter->room;
    if (waiter->ready) {
        unlink_from(waiter, &self->ready_first, &self->ready_last);
        waiter->ready = false;
    } else {
        leave_holder(waiter);
        heap_remove(&self->waiting, &waiter->timer);
    }
    waiter->room = NULL;
    ASSERT(self->stats.waiting > 0);
    self->stats.waiting--;
}

void participant_leave(struct participant_waiter *waiter) {
    struct participant *self = waiter->room;
    if (self == NULL) { return; }
    const bool goes_on = waiter->ready && waiter->line != PARTICIPANT_NOT_IN_LINE;
    take_out(waiter);
    // It was passed to somebody who is gone.
    if (goes_on) { participant_pass(self, waiter->shard, waiter->holder); }
}

static void wake(struct participant *self, struct participant_waiter *waiter,
                 enum participant_wake why) {
    take_out(waiter);
    self->stats.expired += why == PARTICIPANT_EXPIRED ? 1 : 0;
    waiter->wake(waiter, why);
}

// --- What happens at shards ---

// All that wait for the holder, which goes.
static void release(struct participant *self, struct participant_holder *holder) {
    while (holder->first != NULL) {
        make_ready(self, holder->first);
    }
    drop(self, holder);
}

void participant_on_resolved(struct participant *self, struct shard_id shard, struct txn_id txn) {
    struct participant_holder *holder = find(self, shard, txn);
    if (holder != NULL) { release(self, holder); }
}

void participant_pass(struct participant *self, struct shard_id shard, struct txn_id name) {
    struct participant_holder *holder = find(self, shard, name);
    if (holder == NULL) { return; }
    bool taken = false;
    struct participant_waiter *next = NULL;
    for (struct participant_waiter *w = holder->first; w != NULL; w = next) {
        next = w->next;
        ASSERT(w->line != PARTICIPANT_NOT_IN_LINE);
        const bool wakes = !taken || w->line == PARTICIPANT_TAKES_OR_DIES;
        taken = taken || w->line != PARTICIPANT_PASSES_BY;
        if (wakes) { make_ready(self, w); }
    }
    if (holder->count == 0) { drop(self, holder); }
}

void participant_wake_shard(struct participant *self, struct shard_id shard) {
    for (uint32_t i = 0; i < BUCKETS && self->holder_count > 0; i++) {
        struct participant_holder *next = NULL;
        for (struct participant_holder *holder = self->buckets[i]; holder != NULL; holder = next) {
            next = holder->next;
            if (shard_id_equal(holder->shard, shard)) { release(self, holder); }
        }
    }
    // Those that wait for time alone look again soon anyway.
}

void participant_hurry(struct participant *self, struct shard_id shard, struct txn_id txn) {
    struct participant_holder *holder = find_or_add(self, shard, txn, 0);
    if (holder == NULL || holder->reports > 0) { return; }
    holder->hurry = true;
    heap_put(&self->looks, &holder->timer, 0);
}

// Place of the shard in the list, or where it belongs.
static uint32_t place_of(const struct participant *self, struct shard_id shard) {
    uint32_t low = 0;
    uint32_t high = self->shard_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (self->shards[middle].v < shard.v) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void participant_note(struct participant *self, struct shard_id shard) {
    const uint32_t place = place_of(self, shard);
    if (place < self->shard_count && shard_id_equal(self->shards[place], shard)) { return; }
    if (self->shard_count == self->shard_capacity) {
        self->shard_capacity = self->shard_capacity == 0 ? 16 : 2 * self->shard_capacity;
        self->shards = mem_realloc(self->shards, self->shard_capacity * sizeof(self->shards[0]));
    }
    memmove(self->shards + place + 1, self->shards + place,
            (self->shard_count - place) * sizeof(self->shards[0]));
    self->shards[place] = shard;
    self->shard_count++;
    if (self->sweep_ns == UINT64_MAX) { self->sweep_ns = self->now_ns + SWEEP_NS; }
}

// --- Time ---

static uint64_t age_us(const struct lock_holder *holder, struct hlc_ts wall) {
    const uint64_t now = hlc_wall_us(wall);
    const uint64_t then = hlc_wall_us(holder->prepared);
    return now > then ? now - then : 0;
}

// When the holder is to be reported, in ns from now; 0 = now.
static uint64_t report_in_ns(const struct participant *self,
                             const struct participant_holder *holder,
                             const struct lock_holder *lock, uint64_t now_ns, struct hlc_ts wall) {
    if (holder->hurry) { return 0; }
    if (holder->reports > 0) {
        const uint32_t doublings =
            holder->reports - 1 < REPORT_DOUBLINGS_MAX ? holder->reports - 1 : REPORT_DOUBLINGS_MAX;
        const uint64_t due = holder->reported_ns + (REPORT_NS << doublings);
        return due > now_ns ? due - now_ns : 0;
    }
    const uint64_t seen = holder->seen_ns != 0 ? (now_ns - holder->seen_ns) / 1000 : 0;
    const uint64_t by_wall = age_us(lock, wall);
    const uint64_t age = by_wall > seen ? by_wall : seen;
    const uint64_t old = self->config.recovery_after_us;
    const uint64_t until_old = age < old ? (old - age) * 1000 : 0;
    if (holder->first == NULL) { return until_old; }
    uint64_t since = holder->first->since_ns;
    for (const struct participant_waiter *w = holder->first; w != NULL; w = w->next) {
        since = smaller(since, w->since_ns);
    }
    const uint64_t patient = since + PATIENCE_NS > now_ns ? since + PATIENCE_NS - now_ns : 0;
    const uint64_t until_ripe = age < old / 5 ? (old / 5 - age) * 1000 : 0;
    return smaller(until_old, patient > until_ripe ? patient : until_ripe);
}

static void look(struct participant *self, struct participant_holder *holder, uint64_t now_ns,
                 struct hlc_ts wall) {
    const struct lock_holder *lock = held(self, holder);
    const bool in_line = holder->first != NULL && holder->first->line != PARTICIPANT_NOT_IN_LINE;
    if (in_line || (lock == NULL && holder->count > 0 && is_deciding(self, holder))) {
        heap_put(&self->looks, &holder->timer, now_ns + PATIENCE_NS);
        return;
    }
    if (lock == NULL) {
        release(self, holder);
        return;
    }
    if (holder->seen_ns == 0) { holder->seen_ns = now_ns; }
    uint64_t in_ns = report_in_ns(self, holder, lock, now_ns, wall);
    if (in_ns == 0) {
        holder->hurry = false;
        holder->reports++;
        holder->reported_ns = now_ns;
        self->stats.reported++;
        in_ns = report_in_ns(self, holder, lock, now_ns, wall);
        MARK("participant.reported");
        heap_put(&self->looks, &holder->timer, now_ns + in_ns);
        if (self->config.recover != NULL && !MUTANT(NO_RECOVERY)) {
            self->config.recover(self->config.ctx, holder->shard, lock);
        }
        return;
    }
    heap_put(&self->looks, &holder->timer, now_ns + (in_ns > LOOK_NS_MIN ? in_ns : LOOK_NS_MIN));
}

struct sweep {
    struct participant *room;
    struct shard_id shard;
    uint64_t now_ns;
    struct hlc_ts wall;
};

// Holders come oldest first: the first young one ends the walk.
static bool sweep_holder(void *ctx, const struct lock_holder *lock) {
    struct sweep *sweep = ctx;
    struct participant *self = sweep->room;
    const uint64_t age = age_us(lock, sweep->wall);
    if (age > self->stats.oldest_age_us) { self->stats.oldest_age_us = age; }
    const bool ahead = hlc_wall_us(lock->prepared) > hlc_wall_us(sweep->wall);
    if (age < self->config.recovery_after_us && !ahead) { return false; }
    return find_or_add(self, sweep->shard, lock->txn, sweep->now_ns) != NULL;
}

static void sweep_shards(struct participant *self, uint64_t now_ns, struct hlc_ts wall) {
    uint32_t kept = 0;
    self->stats.holders = 0;
    self->stats.oldest_age_us = 0;
    for (uint32_t i = 0; i < self->shard_count; i++) {
        struct sweep sweep = {self, self->shards[i], now_ns, wall};
        bool quiet = false;
        const struct lock_table *locks =
            self->config.locks(self->config.ctx, self->shards[i], &quiet);
        if (locks == NULL || (lock_table_count(locks) == 0 && quiet)) { continue; }
        self->shards[kept++] = self->shards[i];
        self->stats.holders += lock_table_count(locks);
        lock_table_each(locks, sweep_holder, &sweep);
    }
    self->shard_count = kept;
    self->sweep_ns = kept > 0 ? now_ns + SWEEP_NS : UINT64_MAX;
}

uint64_t participant_deadline_ns(const struct participant *self) {
    if (self->ready_first != NULL) { return 0; }
    uint64_t at = self->sweep_ns;
    const struct heap_node *first = heap_peek(&self->waiting);
    if (first != NULL) { at = smaller(at, first->key); }
    first = heap_peek(&self->looks);
    return first != NULL ? smaller(at, first->key) : at;
}

static void looks_due(struct participant *self, uint64_t now_ns, struct hlc_ts wall) {
    struct heap_node *first = heap_peek(&self->looks);
    while (first != NULL && first->key <= now_ns) {
        look(self, holder_of_look(first), now_ns, wall);
        first = heap_peek(&self->looks);
    }
}

void participant_on_time(struct participant *self, uint64_t now_ns, struct hlc_ts wall) {
    self->now_ns = now_ns;
    if (now_ns >= self->sweep_ns) { sweep_shards(self, now_ns, wall); }
    looks_due(self, now_ns, wall);
    struct heap_node *first = heap_peek(&self->waiting);
    while (first != NULL && first->key <= now_ns) {
        struct participant_waiter *waiter =
            (struct participant_waiter *)(void *)((char *)first -
                                                  offsetof(struct participant_waiter, timer));
        const bool expired = now_ns >= waiter->deadline_ns;
        wake(self, waiter, expired ? PARTICIPANT_EXPIRED : PARTICIPANT_AGAIN);
        first = heap_peek(&self->waiting);
    }
    // Whoever waits again meanwhile is not among them: it waits for a holder or for later.
    while (self->ready_first != NULL) {
        struct participant_waiter *waiter = self->ready_first;
        const bool expired = now_ns >= waiter->deadline_ns;
        wake(self, waiter, expired ? PARTICIPANT_EXPIRED : PARTICIPANT_AGAIN);
    }
}

// --- Life ---

struct participant *participant_create(const struct participant_config *config) {
    ASSERT(config->waiters_max > 0 && config->holders_max > 0 && config->recovery_after_us > 0);
    ASSERT(config->locks != NULL);
    struct participant *self = mem_alloc(sizeof(*self));
    self->config = *config;
    self->now_ns = config->now_ns;
    self->sweep_ns = UINT64_MAX;
    heap_init(&self->looks);
    heap_init(&self->waiting);
    return self;
}

void participant_destroy(struct participant *self) {
    if (self == NULL) { return; }
    ASSERT(self->stats.waiting == 0);
    for (uint32_t i = 0; i < BUCKETS; i++) {
        while (self->buckets[i] != NULL) {
            drop(self, self->buckets[i]);
        }
    }
    heap_deinit(&self->looks);
    heap_deinit(&self->waiting);
    mem_free(self->shards);
    mem_free(self);
}

// --- Who waits for whom ---

struct listing {
    struct participant *room;
    struct shard_id shard;
    bool (*visit)(void *ctx, struct shard_id shard, const struct lock_holder *holder,
                  uint32_t waiters);
    void *ctx;
    bool ended;
};

static bool list_holder(void *ctx, const struct lock_holder *lock) {
    struct listing *self = ctx;
    const struct participant_holder *holder = find(self->room, self->shard, lock->txn);
    const uint32_t waiters = holder == NULL ? 0 : holder->count;
    self->ended = !self->visit(self->ctx, self->shard, lock, waiters);
    return !self->ended;
}

void participant_each_holder(struct participant *self,
                             bool (*visit)(void *ctx, struct shard_id shard,
                                           const struct lock_holder *holder, uint32_t waiters),
                             void *ctx) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        struct listing listing = {self, self->shards[i], visit, ctx, false};
        bool quiet = false;
        const struct lock_table *locks =
            self->config.locks(self->config.ctx, self->shards[i], &quiet);
        if (locks != NULL) { lock_table_each(locks, list_holder, &listing); }
        if (listing.ended) { return; }
    }
}

void participant_each_waiter(struct participant *self, struct shard_id shard, struct txn_id holder,
                             bool (*visit)(void *ctx, const struct participant_waiter *waiter),
                             void *ctx) {
    const struct participant_holder *found = find(self, shard, holder);
    const struct participant_waiter *waiter = found == NULL ? NULL : found->first;
    while (waiter != NULL && visit(ctx, waiter)) {
        waiter = waiter->next;
    }
}

struct participant_stats participant_stats(const struct participant *self) {
    return self->stats;
}

static void check_holder(const struct participant *self, const struct participant_holder *holder) {
    uint32_t count = 0;
    ASSERT(heap_has(&holder->timer));
    for (const struct participant_waiter *w = holder->first; w != NULL; w = w->next) {
        ASSERT(w->at == holder && w->room == self && !w->ready && heap_has(&w->timer));
        ASSERT(shard_id_equal(w->shard, holder->shard) && txn_id_equal(w->holder, holder->txn));
        ASSERT_IF(w->next != NULL, !goes_before(w->next, w) && w->next->previous == w);
        ASSERT_IF(w->next == NULL, holder->last == w);
        count++;
    }
    ASSERT(count == holder->count);
}

void participant_check(const struct participant *self) {
    uint64_t ready = 0;
    // Every holder has its next look: the buckets, most of them empty, need no walk.
    for (uint32_t i = 0; i < self->looks.count; i++) {
        check_holder(self, holder_of_look(self->looks.items[i]));
    }
    for (const struct participant_waiter *w = self->ready_first; w != NULL; w = w->next) {
        ASSERT(w->ready && w->at == NULL && w->room == self && !heap_has(&w->timer));
        ready++;
    }
    ASSERT(self->looks.count == self->holder_count);
    ASSERT(self->holder_count <= self->config.holders_max);
    ASSERT(self->stats.waiting == ready + self->waiting.count);
    ASSERT(self->stats.waiting <= self->config.waiters_max);
}
