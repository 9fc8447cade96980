// SPDX-License-Identifier: Apache-2.0
// A table of locks for each shard that has prepared anything through this node. It stays when it is
// empty, which is most of the time: a few hundred bytes each.
#include "txn/session/session_latch.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

struct session_latch_shard {
    struct shard_id shard;
    struct lock_table *locks;
    struct session_latch_shard *next;
};

static uint32_t bucket_of(struct shard_id shard) {
    return (uint32_t)(shard.v % SESSION_LATCH_BUCKETS);
}

static struct session_latch_shard *find(const struct session_latches *self, struct shard_id shard) {
    struct session_latch_shard *at = self->buckets[bucket_of(shard)];
    while (at != NULL && !shard_id_equal(at->shard, shard)) {
        at = at->next;
    }
    return at;
}

void session_latches_deinit(struct session_latches *self) {
    for (uint32_t i = 0; i < SESSION_LATCH_BUCKETS; i++) {
        while (self->buckets[i] != NULL) {
            struct session_latch_shard *shard = self->buckets[i];
            self->buckets[i] = shard->next;
            lock_table_destroy(shard->locks);
            mem_free(shard);
        }
    }
}

const struct lock_table *session_latches_of(const struct session_latches *self,
                                            struct shard_id shard) {
    const struct session_latch_shard *found = find(self, shard);
    return found == NULL || lock_table_count(found->locks) == 0 ? NULL : found->locks;
}

void session_latches_add(struct session_latches *self, struct shard_id shard,
                         const struct lock_holder *holder) {
    struct session_latch_shard *at = find(self, shard);
    if (at == NULL) {
        at = mem_alloc(sizeof(*at));
        at->shard = shard;
        at->locks = lock_table_create();
        at->next = self->buckets[bucket_of(shard)];
        self->buckets[bucket_of(shard)] = at;
    }
    lock_table_add(at->locks, holder);
}

void session_latches_remove(struct session_latches *self, struct shard_id shard,
                            struct txn_id txn) {
    const struct session_latch_shard *at = find(self, shard);
    const bool removed = at != NULL && lock_table_remove(at->locks, txn);
    ASSERT(removed);
}
