// SPDX-License-Identifier: Apache-2.0
// Who must come before whom: by the versions that were written and read, by the order of each
// process, and by real time. Whoever did not commit is no node; where the writer of a version is
// none, its neighbours are joined.
//
// Real time is an interval order. Its edges are reduced by a sweep over the events with a frontier:
// those that ended and are not known to come before another one that ended. So there are as many
// edges as transactions times concurrency. A stale read may be of any time: nothing needs to come
// before it, hence nothing leaves the frontier because of it, but what begins after it comes after.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/sim/list_append_internal.h"

#include <stdlib.h>
#include <string.h>

#define NONE LIST_APPEND_NONE

// --- Versions ---

static bool is_node(const struct list_append_run *self, uint32_t txn) {
    return txn != NONE && self->committed[txn];
}

static void add(struct list_append_run *self, uint32_t from, uint32_t to, uint32_t kind,
                uint32_t write) {
    if (!is_node(self, from) || !is_node(self, to)) { return; }
    list_append_graph_add(&self->graph, (struct list_append_edge){
                                            .from = from, .to = to, .kind = kind, .write = write});
}

// The last write among the first `count` of the longest read whose writer committed.
static uint32_t last_committed(const struct list_append_run *self,
                               const struct list_append_version_order *key, uint32_t count) {
    while (count > 0 && !is_node(self, self->writes[key->writes[count - 1]].txn)) {
        count--;
    }
    return count == 0 ? NONE : key->writes[count - 1];
}

static void add_versions(struct list_append_run *self,
                         const struct list_append_version_order *key) {
    uint32_t before = NONE;
    for (uint32_t i = 0; i < key->count; i++) {
        uint32_t write = key->writes[i];
        if (!is_node(self, self->writes[write].txn)) { continue; }
        if (before != NONE) {
            add(self, self->writes[before].txn, self->writes[write].txn, LIST_APPEND_WW, write);
        }
        before = write;
    }
}

// An append that happened and that nobody saw comes after all that was seen. Of an unknown outcome
// it happened once anything of it was seen: so half of a transaction is told from none of it.
static void add_unobserved(struct list_append_run *self,
                           const struct list_append_version_order *key, uint32_t write) {
    uint32_t txn = self->writes[write].txn;
    uint32_t before = last_committed(self, key, key->count);
    if (before != NONE) { add(self, self->writes[before].txn, txn, LIST_APPEND_WW, write); }
    for (uint32_t e = key->first_ext; e != NONE; e = self->exts[e].next) {
        const struct list_append_ext *ext = &self->exts[e];
        if (ext->fits && ext->count == key->count) {
            add(self, ext->txn, txn, LIST_APPEND_RW, write);
        }
    }
}

static void add_reads(struct list_append_run *self, const struct list_append_version_order *key) {
    for (uint32_t e = key->first_ext; e != NONE; e = self->exts[e].next) {
        const struct list_append_ext *ext = &self->exts[e];
        if (!ext->fits) { continue; }
        uint32_t seen = last_committed(self, key, ext->count);
        if (seen != NONE) { add(self, self->writes[seen].txn, ext->txn, LIST_APPEND_WR, seen); }
        for (uint32_t i = ext->count; i < key->count; i++) {
            uint32_t txn = self->writes[key->writes[i]].txn;
            if (!is_node(self, txn) || txn == ext->txn) { continue; }
            add(self, ext->txn, txn, LIST_APPEND_RW, key->writes[i]);
            break;
        }
    }
}

void list_append__add_data_edges(struct list_append_run *self) {
    for (uint32_t k = 0; k < self->key_count; k++) {
        const struct list_append_version_order *key = &self->keys[k];
        add_versions(self, key);
        add_reads(self, key);
        for (uint32_t w = key->first_write; w != NONE; w = self->writes[w].next) {
            bool unseen = self->writes[w].position == NONE;
            if (unseen && is_node(self, self->writes[w].txn)) { add_unobserved(self, key, w); }
        }
    }
}

// --- Processes and real time ---

struct moment {
    uint64_t at;
    uint64_t process;
    uint32_t txn;
    bool ends;
};

static int by_process(const void *a, const void *b) {
    const struct moment *x = a;
    const struct moment *y = b;
    if (x->process != y->process) { return x->process < y->process ? -1 : 1; }
    if (x->at != y->at) { return x->at < y->at ? -1 : 1; }
    return x->txn < y->txn ? -1 : x->txn > y->txn;
}

// Beginnings before ends of the same instant: those two are concurrent.
static int by_time(const void *a, const void *b) {
    const struct moment *x = a;
    const struct moment *y = b;
    if (x->at != y->at) { return x->at < y->at ? -1 : 1; }
    if (x->ends != y->ends) { return x->ends ? 1 : -1; }
    return x->txn < y->txn ? -1 : x->txn > y->txn;
}

static void add_all(struct list_append_run *self, const uint32_t *from, uint32_t count, uint32_t to,
                    uint32_t kind) {
    for (uint32_t i = 0; i < count; i++) {
        add(self, from[i], to, kind, NONE);
    }
}

// `open` are the last that ended in the process: one, and the stale reads after it.
static void add_processes(struct list_append_run *self, const struct moment *begins, uint32_t count,
                          uint32_t *open) {
    uint32_t open_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct list_append_txn *txn = &self->history->txns[begins[i].txn];
        if (i > 0 && begins[i].process != begins[i - 1].process) { open_count = 0; }
        if (!txn->stale) { add_all(self, open, open_count, begins[i].txn, LIST_APPEND_PROCESS); }
        if (txn->type != LIST_APPEND_OK) { continue; }
        if (!txn->stale) { open_count = 0; }
        open[open_count++] = begins[i].txn;
    }
}

struct sweep {
    uint32_t *frontier;
    uint32_t frontier_count;
    uint32_t *before;  // what came before each, one after the other
    uint32_t before_count;
    uint32_t before_capacity;
    uint32_t *before_first;  // by transaction
    uint32_t *before_size;
    uint32_t *stamp;
};

static void sweep_begin(struct list_append_run *self, struct sweep *sweep, uint32_t txn) {
    sweep->before_first[txn] = sweep->before_count;
    sweep->before_size[txn] = 0;
    if (self->history->txns[txn].stale) { return; }
    uint32_t count = sweep->frontier_count;
    if (sweep->before_count + count > sweep->before_capacity) {
        sweep->before_capacity = 2 * (sweep->before_count + count);
        sweep->before = mem_realloc(sweep->before, sweep->before_capacity * sizeof(*sweep->before));
    }
    for (uint32_t i = 0; i < count; i++) {
        sweep->before[sweep->before_count + i] = sweep->frontier[i];
    }
    sweep->before_count += count;
    sweep->before_size[txn] = count;
    add_all(self, sweep->frontier, count, txn, LIST_APPEND_REALTIME);
}

static void sweep_end(struct sweep *sweep, uint32_t txn) {
    const uint32_t *before = sweep->before + sweep->before_first[txn];
    for (uint32_t i = 0; i < sweep->before_size[txn]; i++) {
        sweep->stamp[before[i]] = txn + 1;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sweep->frontier_count; i++) {
        uint32_t other = sweep->frontier[i];
        if (sweep->stamp[other] != txn + 1) { sweep->frontier[kept++] = other; }
    }
    sweep->frontier[kept++] = txn;
    sweep->frontier_count = kept;
}

static void add_realtime(struct list_append_run *self, const struct moment *moments,
                         uint32_t count) {
    size_t n = (size_t)self->history->txn_count + 1;
    uint32_t *scratch = mem_alloc_array(4 * n, sizeof(*scratch));
    struct sweep sweep = {.frontier = scratch,
                          .before_first = scratch + n,
                          .before_size = scratch + 2 * n,
                          .stamp = scratch + 3 * n};
    sweep.before_capacity = 256;
    sweep.before = mem_alloc_array(sweep.before_capacity, sizeof(*sweep.before));
    for (uint32_t i = 0; i < count; i++) {
        if (moments[i].ends) {
            sweep_end(&sweep, moments[i].txn);
        } else {
            sweep_begin(self, &sweep, moments[i].txn);
        }
    }
    mem_free(sweep.before);
    mem_free(scratch);
}

void list_append__add_time_edges(struct list_append_run *self) {
    const struct list_append_history *history = self->history;
    size_t n = (size_t)history->txn_count + 1;
    struct moment *moments = mem_alloc_array(2 * n, sizeof(*moments));
    uint32_t *open = mem_alloc_array(n, sizeof(*open));
    uint32_t count = 0;
    for (uint32_t t = 0; t < history->txn_count; t++) {
        if (!self->committed[t]) { continue; }
        moments[count++] =
            (struct moment){history->txns[t].invoke, history->txns[t].process, t, false};
    }
    qsort(moments, count, sizeof(*moments), by_process);
    add_processes(self, moments, count, open);
    for (uint32_t t = 0; t < history->txn_count; t++) {
        if (history->txns[t].type != LIST_APPEND_OK) { continue; }
        moments[count++] = (struct moment){history->txns[t].ret, history->txns[t].process, t, true};
    }
    qsort(moments, count, sizeof(*moments), by_time);
    add_realtime(self, moments, count);
    mem_free(open);
    mem_free(moments);
}
