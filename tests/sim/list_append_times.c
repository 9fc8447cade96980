// SPDX-License-Identifier: Apache-2.0
// Is the order of commit timestamps an order that explains all reads? A replay of all transactions
// in that order comes to the same as two rules per key, which say at once what is wrong, and which
// bear it that the timestamp of an unknown outcome is not known: timestamps rise along the
// versions, and each read lies between the version that it saw last and the one that it missed
// first. A transaction that wrote reads what is below its commit timestamp, a snapshot what is at
// or below it. Transactions that have no key in common may share a timestamp.
#include "dataplane/base/assert.h"
#include "tests/sim/list_append_internal.h"

#define NONE LIST_APPEND_NONE

static unsigned long long id_of(const struct list_append_run *self, uint32_t txn) {
    return (unsigned long long)self->history->txns[txn].id;
}

// 0 = not known.
static uint64_t ts_of(const struct list_append_run *self, uint32_t write) {
    uint32_t txn = self->writes[write].txn;
    if (txn == NONE || !self->committed[txn]) { return 0; }
    return self->history->txns[txn].commit_ts;
}

// --- Versions ---

// `later` is the next version of the key.
static void check_pair(struct list_append_run *self, uint32_t earlier, uint32_t later) {
    uint32_t a = self->writes[earlier].txn;
    uint32_t b = self->writes[later].txn;
    uint64_t before = ts_of(self, earlier);
    uint64_t after = ts_of(self, later);
    if (a == b || before < after) { return; }
    enum list_append_class class =
        before == after ? LIST_APPEND_EQUAL_TIMESTAMPS : LIST_APPEND_COMMIT_ORDER;
    if (!list_append__found(self, class)) { return; }
    list_append__tell(self, class, "%s: to ", list_append_class_name(class));
    list_append__tell_key(self, class, self->writes[earlier].key);
    list_append__tell(self, class, ", T%llu appended %llu at %llu, after it T%llu %llu at %llu\n",
                      id_of(self, a), (unsigned long long)self->writes[earlier].value,
                      (unsigned long long)before, id_of(self, b),
                      (unsigned long long)self->writes[later].value, (unsigned long long)after);
}

static void check_versions(struct list_append_run *self,
                           const struct list_append_version_order *key) {
    uint32_t before = NONE;
    for (uint32_t i = 0; i < key->count; i++) {
        if (ts_of(self, key->writes[i]) == 0) { continue; }
        if (before != NONE) { check_pair(self, before, key->writes[i]); }
        before = key->writes[i];
    }
    if (before == NONE) { return; }
    for (uint32_t w = key->first_write; w != NONE; w = self->writes[w].next) {
        bool unseen = self->writes[w].position == NONE && ts_of(self, w) != 0;
        if (unseen) { check_pair(self, before, w); }
    }
}

// --- Reads ---

struct view {
    const struct list_append_ext *ext;
    uint64_t ts;
    bool inclusive;
    enum list_append_class class;
};

static uint32_t last_seen(const struct list_append_run *self, const struct list_append_ext *ext) {
    const struct list_append_version_order *key = &self->keys[ext->key];
    for (uint32_t i = ext->count; i > 0; i--) {
        if (ts_of(self, key->writes[i - 1]) != 0) { return key->writes[i - 1]; }
    }
    return NONE;
}

// The first version after what was read, of somebody else.
static uint32_t first_missed(const struct list_append_run *self,
                             const struct list_append_ext *ext) {
    const struct list_append_version_order *key = &self->keys[ext->key];
    for (uint32_t i = ext->count; i < key->count; i++) {
        uint32_t write = key->writes[i];
        if (ts_of(self, write) != 0 && self->writes[write].txn != ext->txn) { return write; }
    }
    uint32_t first = NONE;
    for (uint32_t w = key->first_write; w != NONE; w = self->writes[w].next) {
        bool other = self->writes[w].position == NONE && self->writes[w].txn != ext->txn;
        if (!other || ts_of(self, w) == 0) { continue; }
        if (first == NONE || ts_of(self, w) < ts_of(self, first)) { first = w; }
    }
    return first;
}

static void tell_view(struct list_append_run *self, const struct view *view, uint32_t write,
                      const char *how) {
    bool equal = !view->inclusive && ts_of(self, write) == view->ts;
    enum list_append_class class = equal ? LIST_APPEND_EQUAL_TIMESTAMPS : view->class;
    if (!list_append__found(self, class)) { return; }
    list_append__tell(self, class, "%s: ", list_append_class_name(class));
    list_append__tell_read(self, class, view->ext->txn, view->ext->op);
    list_append__tell(self, class, " at %llu, %s %llu of T%llu at %llu\n",
                      (unsigned long long)view->ts, how,
                      (unsigned long long)self->writes[write].value,
                      id_of(self, self->writes[write].txn), (unsigned long long)ts_of(self, write));
}

static void check_view(struct list_append_run *self, const struct view *view) {
    uint32_t seen = last_seen(self, view->ext);
    uint64_t limit = view->inclusive ? view->ts : view->ts - 1;
    if (seen != NONE && ts_of(self, seen) > limit) { tell_view(self, view, seen, "with"); }
    uint32_t missed = first_missed(self, view->ext);
    if (missed != NONE && ts_of(self, missed) <= view->ts) {
        tell_view(self, view, missed, "without");
    }
}

static bool writes_anything(const struct list_append_run *self, uint32_t txn) {
    const struct list_append_txn *it = &self->history->txns[txn];
    for (uint32_t op = it->op_first; op < it->op_first + it->op_count; op++) {
        if (!self->history->ops[op].is_read) { return true; }
    }
    return false;
}

void list_append__check_timestamps(struct list_append_run *self) {
    for (uint32_t k = 0; k < self->key_count; k++) {
        check_versions(self, &self->keys[k]);
    }
    for (uint32_t e = 0; e < self->ext_count; e++) {
        const struct list_append_ext *ext = &self->exts[e];
        const struct list_append_txn *txn = &self->history->txns[ext->txn];
        if (!ext->fits) { continue; }
        if (txn->snapshot_ts != 0) {
            check_view(self,
                       &(struct view){ext, txn->snapshot_ts, true, LIST_APPEND_SNAPSHOT_READ});
        }
        if (txn->commit_ts != 0) {
            bool inclusive = !writes_anything(self, ext->txn);
            check_view(self,
                       &(struct view){ext, txn->commit_ts, inclusive, LIST_APPEND_COMMIT_ORDER});
        }
    }
}
