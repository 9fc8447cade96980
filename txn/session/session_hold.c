// SPDX-License-Identifier: Apache-2.0
// A hash of lists. What has run out is dropped when its bucket is looked at, and each key that is
// taken looks at one more bucket, so that nothing stays for ever.
#include "txn/session/session_hold.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"

#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

static struct slice key_of(const struct session_hold *hold) {
    return slice_make(hold->key, hold->key_size);
}

static void drop(struct session_holds *self, struct session_hold **link) {
    struct session_hold *hold = *link;
    *link = hold->next;
    ASSERT(self->count > 0);
    self->count--;
    mem_free(hold);
}

static void drop_expired(struct session_holds *self, uint32_t bucket, uint64_t now_ns) {
    struct session_hold **link = &self->buckets[bucket];
    while (*link != NULL) {
        if ((*link)->until_ns <= now_ns) {
            drop(self, link);
        } else {
            link = &(*link)->next;
        }
    }
}

void session_holds_deinit(struct session_holds *self) {
    for (uint32_t i = 0; i < SESSION_HOLD_BUCKETS; i++) {
        drop_expired(self, i, UINT64_MAX);
    }
    ASSERT(self->count == 0);
}

static struct session_hold **find(struct session_holds *self, struct slice key, uint64_t now_ns) {
    const uint32_t bucket = (uint32_t)(hash64(key, 0) % SESSION_HOLD_BUCKETS);
    drop_expired(self, bucket, now_ns);
    struct session_hold **link = &self->buckets[bucket];
    while (*link != NULL && !slice_equal(key_of(*link), key)) {
        link = &(*link)->next;
    }
    return link;
}

const struct session_hold *session_holds_find(struct session_holds *self, struct slice key,
                                              uint64_t now_ns) {
    return self->count == 0 ? NULL : *find(self, key, now_ns);
}

const struct session_hold *session_holds_take(struct session_holds *self,
                                              const struct command_hold *request, uint64_t now_ns) {
    ASSERT(request->lease_ms > 0);
    self->sweep = (self->sweep + 1) % SESSION_HOLD_BUCKETS;
    drop_expired(self, self->sweep, now_ns);
    struct session_hold **link = find(self, request->key, now_ns);
    if (*link != NULL && !txn_id_equal((*link)->txn, request->txn)) { return *link; }
    if (*link == NULL) {
        struct session_hold *hold = self->count < SESSION_HOLDS_MAX
                                        ? mem_try_alloc(sizeof(*hold) + request->key.size)
                                        : NULL;
        if (hold == NULL) {
            MARK("session.holds_full");
            return NULL;
        }
        *hold = (struct session_hold){.txn = request->txn,
                                      .begin = request->begin,
                                      .since_ns = now_ns,
                                      .key_size = (uint32_t)request->key.size};
        memcpy(hold->key, request->key.data, request->key.size);
        *link = hold;
        self->count++;
    }
    (*link)->until_ns = now_ns + request->lease_ms * NS_PER_MS;
    return NULL;
}

void session_holds_release(struct session_holds *self, struct slice key, struct txn_id txn) {
    struct session_hold **link = find(self, key, 0);
    if (*link != NULL && txn_id_equal((*link)->txn, txn)) { drop(self, link); }
}

void session_holds_each(const struct session_holds *self, uint64_t now_ns,
                        bool (*visit)(void *ctx, const struct session_hold *hold), void *ctx) {
    for (uint32_t i = 0; i < SESSION_HOLD_BUCKETS && self->count > 0; i++) {
        for (const struct session_hold *hold = self->buckets[i]; hold != NULL; hold = hold->next) {
            if (hold->until_ns > now_ns && !visit(ctx, hold)) { return; }
        }
    }
}
