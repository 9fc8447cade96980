// SPDX-License-Identifier: Apache-2.0
// An entry of resolutions may name an id more than once: two recoveries meet, a message is sent
// again. A later item must see what an earlier one did, and the batch, which cannot be read, must
// not be written in between: a crash would leave the first items in the store without the entry's
// index, and a replay would meet its own traces. So what an entry puts is kept beside the batch
// until it is over.
//
// Looked at from the latest back, without an index: only for ids that the entry is known to have
// touched, of which an ordinary entry has none twice.
#include "txn/apply/apply_decided.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "txn/apply/apply_internal.h"

enum { CAPACITY_MIN = 16 };

struct apply_decided_item {
    struct txn_id txn;
    bool is_outcome;
    union {
        struct apply_record record;
        struct command_outcome outcome;
    } what;
};

void apply_decided_deinit(struct apply_decided *self) {
    mem_free(self->items);
    *self = (struct apply_decided){0};
}

void apply_decided_open(struct apply_decided *self) {
    ASSERT(!self->open && self->count == 0);
    self->open = true;
}

void apply_decided_close(struct apply_decided *self) {
    ASSERT(self->open);
    self->open = false;
    self->count = 0;
}

static struct apply_decided_item *append(struct apply_decided *self, struct txn_id txn) {
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? CAPACITY_MIN : 2 * self->capacity;
        self->items = mem_realloc(self->items, self->capacity * sizeof(self->items[0]));
    }
    struct apply_decided_item *item = &self->items[self->count++];
    *item = (struct apply_decided_item){.txn = txn};
    return item;
}

void apply_decided_put_record(struct apply_decided *self, struct txn_id txn,
                              const struct apply_record *record) {
    if (!self->open) { return; }
    ASSERT(record->prepare.size == 0);  // resolutions prepare nothing
    append(self, txn)->what.record = *record;
}

void apply_decided_put_outcome(struct apply_decided *self, struct txn_id txn,
                               const struct command_outcome *outcome) {
    if (!self->open) { return; }
    struct apply_decided_item *item = append(self, txn);
    item->is_outcome = true;
    item->what.outcome = *outcome;
}

static const struct apply_decided_item *find(const struct apply_decided *self, struct txn_id txn,
                                             bool is_outcome) {
    for (uint32_t i = self->count; i > 0; i--) {
        const struct apply_decided_item *item = &self->items[i - 1];
        if (item->is_outcome == is_outcome && txn_id_equal(item->txn, txn)) { return item; }
    }
    return NULL;
}

bool apply_decided_record(const struct apply_decided *self, struct txn_id txn,
                          struct apply_record *out) {
    const struct apply_decided_item *item = find(self, txn, false);
    if (item == NULL) { return false; }
    *out = item->what.record;
    return true;
}

bool apply_decided_outcome(const struct apply_decided *self, struct txn_id txn,
                           struct command_outcome *out) {
    const struct apply_decided_item *item = find(self, txn, true);
    if (item == NULL) { return false; }
    *out = item->what.outcome;
    return true;
}
