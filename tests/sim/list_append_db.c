// SPDX-License-Identifier: Apache-2.0
// Processes take turns at random, one operation a turn; each turn is an instant of the history.
// Commits are numbered, and their numbers are the timestamps.
#include "tests/sim/list_append_db.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"

#include <string.h>

enum { OPS_MAX = 4, LIST_MAX = 60, OLD_MAX = 8, KEYS_MAX = 16 };

struct version {
    uint64_t value;
    uint64_t commit;
};

struct key {
    uint64_t name;
    uint32_t count;
    struct version versions[LIST_MAX];
};

struct op {
    uint32_t key;
    bool is_read;
    uint64_t value;
    uint64_t list[LIST_MAX];
    uint32_t count;
};

enum step { IDLE, RUNNING, DECIDED };

struct process {
    enum step step;
    struct list_append_txn txn;
    struct op ops[OPS_MAX];
    uint32_t op_count;
    uint32_t at;
    uint64_t snapshot;
    bool reads_only;
    bool committed;
};

struct db {
    const struct list_append_db_config *config;
    struct list_append_history *history;
    struct prng prng;
    struct key *keys;  // all there ever were
    uint32_t key_count;
    uint32_t alive[KEYS_MAX];
    struct process *processes;
    uint64_t commits;
    uint64_t now;
    uint64_t last_value;
    uint64_t last_process;
    uint64_t last_id;
};

// A key whose list gets long is replaced; who already uses it may go on.
static void retire(struct db *self) {
    for (uint32_t i = 0; i < self->config->keys; i++) {
        uint32_t used = self->keys[self->alive[i]].count + self->config->processes * OPS_MAX;
        if (used < LIST_MAX) { continue; }
        self->keys[self->key_count].name = self->key_count;
        self->alive[i] = self->key_count++;
    }
}

static void begin(struct db *self, struct process *p) {
    p->step = RUNNING;
    p->op_count = (uint32_t)prng_between(&self->prng, 1, OPS_MAX);
    p->at = 0;
    p->snapshot = self->commits;
    p->reads_only = true;
    bool only = prng_chance(&self->prng, 1, 4);
    for (uint32_t i = 0; i < p->op_count; i++) {
        p->ops[i].key = self->alive[prng_below(&self->prng, self->config->keys)];
        p->ops[i].is_read = only || prng_chance(&self->prng, 1, 2);
        p->ops[i].value = ++self->last_value;
        p->ops[i].count = 0;
        p->reads_only = p->reads_only && p->ops[i].is_read;
    }
    if (self->config->mode == LIST_APPEND_DB_STALE && p->reads_only) {
        uint64_t age = prng_below(&self->prng, OLD_MAX);
        p->snapshot -= age < p->snapshot ? age : p->snapshot;
    }
    p->txn = (struct list_append_txn){.id = ++self->last_id,
                                      .process = p->txn.process,
                                      .invoke = self->now,
                                      .type = LIST_APPEND_INFO};
}

// What is there at the snapshot, and the transaction's own.
static void read(struct db *self, struct process *p, struct op *op) {
    const struct key *key = &self->keys[op->key];
    bool dirty = self->config->mode == LIST_APPEND_DB_DIRTY;
    for (uint32_t i = 0; i < key->count; i++) {
        if (!dirty && key->versions[i].commit > p->snapshot) { break; }
        op->list[op->count++] = key->versions[i].value;
    }
    for (uint32_t i = 0; !dirty && i < p->at; i++) {
        if (p->ops[i].is_read || p->ops[i].key != op->key) { continue; }
        op->list[op->count++] = p->ops[i].value;
    }
}

static void write(struct db *self, const struct op *op) {
    struct key *key = &self->keys[op->key];
    ASSERT(key->count < LIST_MAX);
    key->versions[key->count++] = (struct version){op->value, self->commits};
}

static bool is_newest(const struct db *self, const struct process *p, const struct op *op) {
    const struct key *key = &self->keys[op->key];
    return key->count == 0 || key->versions[key->count - 1].commit <= p->snapshot;
}

static bool may_commit(const struct db *self, const struct process *p) {
    enum list_append_db_mode mode = self->config->mode;
    if (mode == LIST_APPEND_DB_STALE && p->reads_only) { return true; }
    for (uint32_t i = 0; i < p->op_count; i++) {
        bool checked = p->ops[i].is_read == (mode != LIST_APPEND_DB_SNAPSHOT);
        if (checked && !is_newest(self, p, &p->ops[i])) { return false; }
    }
    return true;
}

static void decide(struct db *self, struct process *p) {
    p->step = DECIDED;
    if (self->config->mode == LIST_APPEND_DB_DIRTY) {
        p->committed = !prng_chance(&self->prng, 1, 8);
        return;
    }
    p->committed = may_commit(self, p);
    if (!p->committed) { return; }
    if (p->reads_only) {
        p->txn.snapshot_ts =
            self->config->mode == LIST_APPEND_DB_SERIALIZABLE ? self->commits : p->snapshot;
        p->txn.stale = self->config->mode == LIST_APPEND_DB_STALE && self->config->tell_stale;
        return;
    }
    p->txn.commit_ts = ++self->commits;
    for (uint32_t i = 0; i < p->op_count; i++) {
        if (!p->ops[i].is_read) { write(self, &p->ops[i]); }
    }
}

static void record(struct db *self, const struct process *p) {
    list_append_begin(self->history, &p->txn);
    for (uint32_t i = 0; i < p->op_count; i++) {
        const struct op *op = &p->ops[i];
        if (op->is_read) {
            list_append_add_read(self->history, self->keys[op->key].name, op->list, op->count);
        } else {
            list_append_add(self->history, self->keys[op->key].name, op->value);
        }
    }
}

static void acknowledge(struct db *self, struct process *p) {
    p->step = IDLE;
    bool unknown = prng_chance(&self->prng, 1, 20);
    p->txn.type = unknown ? LIST_APPEND_INFO : (p->committed ? LIST_APPEND_OK : LIST_APPEND_FAIL);
    p->txn.ret = self->now;
    if (p->txn.type != LIST_APPEND_OK) { p->txn.commit_ts = 0; }
    record(self, p);
    if (unknown) { p->txn.process = ++self->last_process; }
}

static void turn(struct db *self) {
    struct process *p = &self->processes[prng_below(&self->prng, self->config->processes)];
    self->now++;
    retire(self);
    if (p->step == IDLE) {
        begin(self, p);
    } else if (p->step == DECIDED) {
        acknowledge(self, p);
    } else if (p->at == p->op_count) {
        decide(self, p);
    } else {
        struct op *op = &p->ops[p->at];
        if (op->is_read) { read(self, p, op); }
        if (!op->is_read && self->config->mode == LIST_APPEND_DB_DIRTY) { write(self, op); }
        p->at++;
    }
}

static void read_all(struct db *self) {
    struct list_append_txn txn = {.id = ++self->last_id,
                                  .process = ++self->last_process,
                                  .invoke = self->now + 1,
                                  .ret = self->now + 2};
    list_append_begin(self->history, &txn);
    for (uint32_t k = 0; k < self->key_count; k++) {
        uint64_t list[LIST_MAX];
        for (uint32_t i = 0; i < self->keys[k].count; i++) {
            list[i] = self->keys[k].versions[i].value;
        }
        list_append_add_read(self->history, self->keys[k].name, list, self->keys[k].count);
    }
}

void list_append_db_run(const struct list_append_db_config *config,
                        struct list_append_history *history) {
    struct db db = {.config = config, .history = history, .key_count = config->keys};
    ASSERT(config->keys <= KEYS_MAX && config->processes * OPS_MAX < LIST_MAX);
    prng_init(&db.prng, config->seed);
    db.keys = mem_alloc_array((size_t)config->keys + config->txns + 1, sizeof(*db.keys));
    for (uint32_t k = 0; k < config->keys; k++) {
        db.keys[k].name = k;
        db.alive[k] = k;
    }
    db.processes = mem_alloc_array(config->processes, sizeof(*db.processes));
    for (uint32_t i = 0; i < config->processes; i++) {
        db.processes[i].txn.process = ++db.last_process;
    }
    while (history->txn_count < config->txns) {
        turn(&db);
    }
    for (uint32_t i = 0; i < config->processes; i++) {
        struct process *p = &db.processes[i];
        p->txn.type = LIST_APPEND_INFO;
        p->txn.commit_ts = 0;
        if (p->step != IDLE) { record(&db, p); }
    }
    read_all(&db);
    mem_free(db.processes);
    mem_free(db.keys);
}
