// SPDX-License-Identifier: Apache-2.0
// Three audits that share no logic. The first trusts nothing but the versions that lie in the store
// at the end: they are the whole truth about writes, so every answer can be held against them one
// by one. The second checks the promise made by timestamps. The third forgets both and looks for
// any order that explains what was seen (linear.h), so that an error common to the store and the
// first audit is met by an independent judge.
#include "tests/sim/history.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/sim/linear.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sim_history_init(struct sim_history *self) {
    *self = (struct sim_history){0};
}

void sim_history_deinit(struct sim_history *self) {
    mem_free(self->ops);
    *self = (struct sim_history){0};
}

uint32_t sim_history_begin(struct sim_history *self, const struct sim_op *op) {
    ASSERT(op->item_count <= SIM_OP_ITEMS_MAX);
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? 1024 : 2 * self->capacity;
        self->ops = mem_realloc(self->ops, self->capacity * sizeof(*self->ops));
    }
    self->ops[self->count] = *op;
    self->ops[self->count].outcome = SIM_PENDING;
    return self->count++;
}

uint64_t sim_history_value(struct sim_history *self) {
    return ++self->last_value;
}

static bool fail(struct sim_audit *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool fail(struct sim_audit *self, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(self->failure, sizeof(self->failure), format, args);
    va_end(args);
    return false;
}

// --- Against the versions ---

// A value of a key, and where it lies in the store (NULL for one that was only written).
struct sim_home {
    uint32_t key;
    uint64_t value;
    const struct sim_version *version;
};

static int by_home(const void *a, const void *b) {
    const struct sim_home *x = a;
    const struct sim_home *y = b;
    if (x->key != y->key) { return x->key < y->key ? -1 : 1; }
    return x->value < y->value ? -1 : x->value > y->value;
}

static const struct sim_home *home_find(const struct sim_home *items, size_t count, uint32_t key,
                                        uint64_t value) {
    const struct sim_home sought = {.key = key, .value = value};
    return count == 0 ? NULL : bsearch(&sought, items, count, sizeof(*items), by_home);
}

// The newest version at or below ts; NULL when the key did not exist yet.
static const struct sim_version *version_at(const struct sim_versions *versions, struct hlc_ts ts) {
    uint32_t low = 0;
    uint32_t high = versions->count;  // the answer lies before it
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (hlc_before(ts, versions->items[middle].ts)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low == 0 ? NULL : &versions->items[low - 1];
}

static uint64_t value_at(const struct sim_versions *versions, struct hlc_ts ts) {
    const struct sim_version *version = version_at(versions, ts);
    return version == NULL ? 0 : version->value;
}

static const struct sim_version *version_of(const struct sim_audit *self,
                                            const struct sim_item *item) {
    const struct sim_home *home = home_find(self->kept, self->kept_count, item->key, item->value);
    return home == NULL ? NULL : home->version;
}

static bool audit_acknowledged(struct sim_audit *self, uint32_t at) {
    const struct sim_op *op = &self->history->ops[at];
    for (uint32_t i = 0; i < op->item_count; i++) {
        const struct sim_item *item = &op->items[i];
        const struct sim_version *found = version_at(&self->versions[item->key], op->ts);
        uint64_t value = found == NULL ? 0 : found->value;
        bool there = value == item->value;
        if (there && value != 0) { there = hlc_equal(found->ts, op->ts); }
        if (!there) {
            return fail(self,
                        "op %" PRIu32 ": acknowledged write of value %" PRIu64 " to key %" PRIu32
                        " at %" PRIu64 " is lost",
                        at, item->value, item->key, op->ts.v);
        }
    }
    struct hlc_ts before = {op->ts.v - 1};
    uint64_t held = value_at(&self->versions[op->items[0].key], before);
    if (op->conditional && held != op->expected) {
        return fail(self,
                    "op %" PRIu32 ": committed on key %" PRIu32 " = %" PRIu64
                    ", which held %" PRIu64 " then",
                    at, op->items[0].key, op->expected, held);
    }
    return true;
}

static bool audit_absent(struct sim_audit *self, uint32_t at) {
    const struct sim_op *op = &self->history->ops[at];
    for (uint32_t i = 0; i < op->item_count; i++) {
        const struct sim_item *item = &op->items[i];
        if (item->value == 0 || version_of(self, item) == NULL) { continue; }
        return fail(self,
                    "op %" PRIu32 ": value %" PRIu64 " of key %" PRIu32
                    " was reported as not written, but it is there",
                    at, item->value, item->key);
    }
    if (op->outcome != SIM_CONDITION_FAILED) { return true; }
    if (value_at(&self->versions[op->items[0].key], op->ts) == op->expected) {
        return fail(self, "op %" PRIu32 ": the condition on key %" PRIu32 " = %" PRIu64 " did hold",
                    at, op->items[0].key, op->expected);
    }
    return true;
}

// Whatever became of it, it happened whole or not at all.
static bool audit_whole(struct sim_audit *self, uint32_t at) {
    const struct sim_op *op = &self->history->ops[at];
    struct hlc_ts ts = HLC_ZERO;
    uint32_t puts = 0;
    uint32_t found = 0;
    for (uint32_t i = 0; i < op->item_count; i++) {
        if (op->items[i].value == 0) { continue; }
        puts++;
        const struct sim_version *version = version_of(self, &op->items[i]);
        if (version == NULL) { continue; }
        if (found > 0 && !hlc_equal(ts, version->ts)) {
            return fail(self, "op %" PRIu32 ": its writes lie at two timestamps", at);
        }
        ts = version->ts;
        found++;
    }
    if (found != 0 && found != puts) {
        return fail(self, "op %" PRIu32 ": half of it was applied", at);
    }
    return true;
}

static bool audit_read(struct sim_audit *self, uint32_t at) {
    const struct sim_op *op = &self->history->ops[at];
    for (uint32_t i = 0; i < op->item_count; i++) {
        const struct sim_item *item = &op->items[i];
        const struct sim_version *version = version_at(&self->versions[item->key], op->ts);
        uint64_t value = version == NULL ? 0 : version->value;
        bool same = value == item->value;
        if (same && value != 0) { same = hlc_equal(version->ts, item->version); }
        if (!same) {
            return fail(self,
                        "op %" PRIu32 ": read of key %" PRIu32 " at %" PRIu64 " saw %" PRIu64
                        ", but the version there is %" PRIu64,
                        at, item->key, op->ts.v, item->value, value);
        }
    }
    return true;
}

// Each version was written by an operation of the history, once.
static bool audit_origin(struct sim_audit *self) {
    for (size_t i = 0; i < self->kept_count; i++) {
        const struct sim_home *home = &self->kept[i];
        if (home_find(self->written, self->written_count, home->key, home->value) == NULL) {
            return fail(self, "key %" PRIu32 " holds %" PRIu64 ", which nobody wrote", home->key,
                        home->value);
        }
        if (i > 0 && by_home(home, &self->kept[i - 1]) == 0) {
            return fail(self, "key %" PRIu32 ": value %" PRIu64 " was written twice", home->key,
                        home->value);
        }
    }
    return true;
}

static bool audit_op(struct sim_audit *self, uint32_t at) {
    const struct sim_op *op = &self->history->ops[at];
    if (op->kind == SIM_OP_READ) { return op->outcome != SIM_OK || audit_read(self, at); }
    switch (op->outcome) {
    case SIM_OK:
        return audit_acknowledged(self, at) && audit_whole(self, at);
    case SIM_CONDITION_FAILED:
    case SIM_REFUSED:
        return audit_absent(self, at);
    case SIM_PENDING:
    case SIM_UNKNOWN:
    case SIM_OUTCOME_COUNT:
        break;
    }
    return audit_whole(self, at);
}

static void index_versions(struct sim_audit *self) {
    size_t most = 0;
    for (uint32_t key = 0; key < self->key_count; key++) {
        most += self->versions[key].count;
    }
    self->kept_count = 0;
    self->kept = mem_alloc_array(most, sizeof(*self->kept));
    for (uint32_t key = 0; key < self->key_count; key++) {
        for (uint32_t i = 0; i < self->versions[key].count; i++) {
            const struct sim_version *version = &self->versions[key].items[i];
            if (version->value == 0) { continue; }
            self->kept[self->kept_count++] = (struct sim_home){key, version->value, version};
        }
    }
    if (self->kept_count > 0) { qsort(self->kept, self->kept_count, sizeof(*self->kept), by_home); }
}

static void index_writes(struct sim_audit *self) {
    size_t most = (size_t)self->history->count * SIM_OP_ITEMS_MAX;
    self->written_count = 0;
    self->written = mem_alloc_array(most, sizeof(*self->written));
    for (uint32_t at = 0; at < self->history->count; at++) {
        const struct sim_op *op = &self->history->ops[at];
        for (uint32_t i = 0; op->kind == SIM_OP_COMMIT && i < op->item_count; i++) {
            self->written[self->written_count++] =
                (struct sim_home){op->items[i].key, op->items[i].value, NULL};
        }
    }
    if (self->written_count > 0) {
        qsort(self->written, self->written_count, sizeof(*self->written), by_home);
    }
}

bool sim_audit_versions(struct sim_audit *self) {
    ASSERT(self->versions != NULL);
    index_versions(self);
    index_writes(self);
    bool good = audit_origin(self);
    for (uint32_t at = 0; good && at < self->history->count; at++) {
        good = audit_op(self, at);
    }
    mem_free(self->kept);
    mem_free(self->written);
    return good;
}

// --- Timestamps against real time ---

struct moment {
    uint64_t at;
    uint32_t op;
    bool is_return;
};

// What was acknowledged on one shard so far.
struct reached {
    struct hlc_ts write;
    struct hlc_ts read;
    uint64_t term;
    uint64_t index;
};

static int by_moment(const void *a, const void *b) {
    const struct moment *x = a;
    const struct moment *y = b;
    if (x->at != y->at) { return x->at < y->at ? -1 : 1; }
    if (x->is_return != y->is_return) { return x->is_return ? 1 : -1; }
    return x->op < y->op ? -1 : x->op > y->op;
}

static bool has_timestamp(const struct sim_op *op) {
    return op->outcome == SIM_OK || op->outcome == SIM_CONDITION_FAILED;
}

static bool is_write(const struct sim_op *op) {
    return op->kind == SIM_OP_COMMIT;
}

static bool order_holds(struct sim_audit *self, uint32_t at, const struct reached *before) {
    const struct sim_op *op = &self->history->ops[at];
    bool above_writes =
        is_write(op) ? hlc_before(before->write, op->ts) : !hlc_before(op->ts, before->write);
    bool above_reads =
        is_write(op) ? hlc_before(before->read, op->ts) : !hlc_before(op->ts, before->read);
    if (!above_writes) {
        return fail(self,
                    "op %" PRIu32 " at %" PRIu64
                    " lies below a write acknowledged before it began (%" PRIu64 ")",
                    at, op->ts.v, before->write.v);
    }
    if (!above_reads) {
        return fail(self,
                    "op %" PRIu32 " at %" PRIu64
                    " lies below a read answered before it began (%" PRIu64 ")",
                    at, op->ts.v, before->read.v);
    }
    bool later =
        op->term > before->term || (op->term == before->term && op->index >= before->index);
    if (!later) {
        return fail(self,
                    "op %" PRIu32 ": its certificate runs backwards, term %" PRIu64
                    " index %" PRIu64 " after term %" PRIu64 " index %" PRIu64,
                    at, op->term, op->index, before->term, before->index);
    }
    return true;
}

static void reach(struct reached *self, const struct sim_op *op) {
    struct hlc_ts *ts = is_write(op) ? &self->write : &self->read;
    *ts = hlc_larger(*ts, op->ts);
    if (op->term > self->term) {
        self->term = op->term;
        self->index = 0;
    }
    if (op->term == self->term && op->index > self->index) { self->index = op->index; }
}

bool sim_audit_order(struct sim_audit *self) {
    const struct sim_history *history = self->history;
    struct moment *moments = mem_alloc_array(2 * (size_t)history->count, sizeof(*moments));
    struct reached *before = mem_alloc_array(history->count, sizeof(*before));
    uint32_t shard_count = 0;
    uint32_t count = 0;
    for (uint32_t at = 0; at < history->count; at++) {
        const struct sim_op *op = &history->ops[at];
        if (op->shard >= shard_count) { shard_count = op->shard + 1; }
        if (!has_timestamp(op)) { continue; }
        moments[count++] = (struct moment){op->invoke_ns, at, false};
        moments[count++] = (struct moment){op->return_ns, at, true};
    }
    qsort(moments, count, sizeof(*moments), by_moment);
    struct reached *now = mem_alloc_array(shard_count, sizeof(*now));
    bool good = true;
    for (uint32_t i = 0; good && i < count; i++) {
        const struct sim_op *op = &history->ops[moments[i].op];
        if (moments[i].is_return) {
            good = order_holds(self, moments[i].op, &before[moments[i].op]);
            reach(&now[op->shard], op);
        } else {
            before[moments[i].op] = now[op->shard];
        }
    }
    mem_free(now);
    mem_free(before);
    mem_free(moments);
    return good;
}

// --- Registers ---

static bool item_to_register(const struct sim_op *op, uint32_t item, struct linear_op *out) {
    *out = (struct linear_op){
        .invoke = op->invoke_ns, .ret = op->return_ns, .value = op->items[item].value};
    if (op->kind == SIM_OP_READ) {
        out->kind = LINEAR_READ;
        return op->outcome == SIM_OK;
    }
    bool decided = op->outcome == SIM_OK || op->outcome == SIM_CONDITION_FAILED;
    out->outcome = op->outcome == SIM_OK ? LINEAR_OK : LINEAR_UNKNOWN;
    out->kind = LINEAR_PUT;
    if (op->conditional && item == 0) {
        out->kind = LINEAR_CAS;
        out->expected = op->expected;
        if (op->outcome == SIM_CONDITION_FAILED) { out->outcome = LINEAR_FAILED; }
        return op->outcome != SIM_REFUSED;
    }
    return op->outcome != SIM_REFUSED && !(decided && op->outcome == SIM_CONDITION_FAILED);
}

static bool audit_register(struct sim_audit *self, uint32_t key, struct linear_op *scratch) {
    uint32_t count = 0;
    for (uint32_t at = 0; at < self->history->count; at++) {
        const struct sim_op *op = &self->history->ops[at];
        for (uint32_t i = 0; i < op->item_count; i++) {
            if (op->items[i].key != key) { continue; }
            if (item_to_register(op, i, &scratch[count])) { count++; }
        }
    }
    switch (linear_check(scratch, count, self->steps_max)) {
    case LINEAR_GOOD:
        return true;
    case LINEAR_UNDECIDED:
        self->undecided++;
        return true;
    case LINEAR_BAD:
        break;
    }
    return fail(self, "key %" PRIu32 ": its %" PRIu32 " operations are not linearizable", key,
                count);
}

bool sim_audit_registers(struct sim_audit *self) {
    struct linear_op *scratch =
        mem_alloc_array((size_t)self->history->count * 2 + 1, sizeof(*scratch));
    bool good = true;
    for (uint32_t key = 0; good && key < self->key_count; key++) {
        good = audit_register(self, key, scratch);
    }
    mem_free(scratch);
    return good;
}

bool sim_audit(struct sim_audit *self) {
    self->undecided = 0;
    self->failure[0] = '\0';
    if (self->versions != NULL && !sim_audit_versions(self)) { return false; }
    return sim_audit_order(self) && sim_audit_registers(self);
}
