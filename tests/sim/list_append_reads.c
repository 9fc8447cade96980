// SPDX-License-Identifier: Apache-2.0
// Each read by itself, and what is lost. A read that is a prefix of the longest one shows nothing
// that the longest does not show as well, except by its last element; only the longest and those
// that disagree with it are looked at element by element.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/sim/list_append_internal.h"

#include <string.h>

#define NONE LIST_APPEND_NONE

struct read {
    uint32_t txn;
    uint32_t op;
    uint32_t key;
    const uint64_t *list;
    uint32_t count;
};

static unsigned long long id_of(const struct list_append_run *self, uint32_t txn) {
    return (unsigned long long)self->history->txns[txn].id;
}

// "<class>: T7 read x=[1 2]"; true when more is to be told.
static bool tell_class(struct list_append_run *self, enum list_append_class class,
                       const struct read *read) {
    if (!list_append__found(self, class)) { return false; }
    list_append__tell(self, class, "%s: ", list_append_class_name(class));
    list_append__tell_read(self, class, read->txn, read->op);
    return true;
}

// --- Inside of one transaction ---

// How many elements at the end of a read have to be the transaction's own; `before` is the read of
// the same key before it, if any.
static uint32_t own_before(const struct list_append_run *self, const struct read *read,
                           uint32_t *out_before) {
    const struct list_append_txn *txn = &self->history->txns[read->txn];
    uint32_t own = 0;
    *out_before = NONE;
    for (uint32_t op = read->op; op > txn->op_first; op--) {
        if (self->op_keys[op - 1] != read->key) { continue; }
        if (self->history->ops[op - 1].is_read) {
            *out_before = op - 1;
            return own;
        }
        own++;
    }
    return own;
}

static bool ends_with_own(const struct list_append_run *self, const struct read *read,
                          uint32_t own) {
    if (read->count < own) { return false; }
    uint32_t at = read->count;
    for (uint32_t op = read->op; own > 0; op--) {
        if (self->op_keys[op - 1] != read->key) { continue; }
        own--;
        at--;
        if (self->history->ops[op - 1].value != read->list[at]) { return false; }
    }
    return true;
}

// A transaction must not see what it appends only later, either.
static bool shows_future(const struct list_append_run *self, const struct read *read) {
    const struct list_append_txn *txn = &self->history->txns[read->txn];
    for (uint32_t op = read->op + 1; op < txn->op_first + txn->op_count; op++) {
        if (self->op_keys[op] != read->key || self->history->ops[op].is_read) { continue; }
        for (uint32_t i = 0; i < read->count; i++) {
            if (read->list[i] == self->history->ops[op].value) { return true; }
        }
    }
    return false;
}

static bool is_internally_right(const struct list_append_run *self, const struct read *read,
                                uint32_t own, uint32_t before) {
    if (!ends_with_own(self, read, own) || shows_future(self, read)) { return false; }
    if (before == NONE) { return true; }
    uint32_t count = self->history->ops[before].list_count;
    if (read->count != count + own) { return false; }
    return count == 0 ||
           memcmp(read->list, list_append__list(self, before), count * sizeof(uint64_t)) == 0;
}

static bool appends_to(const struct list_append_run *self, uint32_t txn, uint32_t key) {
    const struct list_append_txn *it = &self->history->txns[txn];
    for (uint32_t op = it->op_first; op < it->op_first + it->op_count; op++) {
        if (self->op_keys[op] == key && !self->history->ops[op].is_read) { return true; }
    }
    return false;
}

static void keep_ext(struct list_append_run *self, const struct read *read, uint32_t own) {
    struct list_append_version_order *key = &self->keys[read->key];
    uint32_t count = read->count - own;
    bool fits = count == 0 || (count <= key->count &&
                               memcmp(read->list, key->list, count * sizeof(uint64_t)) == 0);
    self->exts[self->ext_count] =
        (struct list_append_ext){.txn = read->txn,
                                 .key = read->key,
                                 .op = read->op,
                                 .count = count,
                                 .next = key->first_ext,
                                 .appends = appends_to(self, read->txn, read->key),
                                 .fits = fits};
    key->first_ext = self->ext_count++;
}

static void check_internal(struct list_append_run *self, const struct read *read) {
    uint32_t before = NONE;
    uint32_t own = own_before(self, read, &before);
    if (is_internally_right(self, read, own, before)) {
        if (before == NONE) { keep_ext(self, read, own); }
        return;
    }
    if (!tell_class(self, LIST_APPEND_INTERNAL, read)) { return; }
    list_append__tell(self, LIST_APPEND_INTERNAL, ", against its own operations\n");
}

// --- Element by element ---

static void check_order(struct list_append_run *self, const struct read *read) {
    if (!tell_class(self, LIST_APPEND_INCOMPATIBLE_ORDER, read)) { return; }
    const struct list_append_version_order *key = &self->keys[read->key];
    list_append__tell(self, LIST_APPEND_INCOMPATIBLE_ORDER, ", another read ");
    list_append__tell_list(self, LIST_APPEND_INCOMPATIBLE_ORDER, key->list, key->count);
    list_append__tell(self, LIST_APPEND_INCOMPATIBLE_ORDER, "\n");
}

static void check_element(struct list_append_run *self, const struct read *read, uint32_t at) {
    struct list_append_write *write =
        &self->writes[list_append__write_of(self, read->key, read->list[at])];
    unsigned long long value = (unsigned long long)write->value;
    if (write->stamp == self->stamp && tell_class(self, LIST_APPEND_DUPLICATE, read)) {
        list_append__tell(self, LIST_APPEND_DUPLICATE, ", with %llu twice\n", value);
    }
    write->stamp = self->stamp;
    if (write->txn == NONE) {
        if (!tell_class(self, LIST_APPEND_GARBAGE, read)) { return; }
        list_append__tell(self, LIST_APPEND_GARBAGE, ", with %llu that nobody appended\n", value);
        return;
    }
    if (self->history->txns[write->txn].type != LIST_APPEND_FAIL) { return; }
    if (!tell_class(self, LIST_APPEND_G1A, read)) { return; }
    list_append__tell(self, LIST_APPEND_G1A, ", with %llu of T%llu that did not commit\n", value,
                      id_of(self, write->txn));
}

// What did not commit lies below what did.
static void check_dirty_update(struct list_append_run *self, const struct read *read) {
    uint32_t failed = NONE;
    for (uint32_t i = 0; i < read->count; i++) {
        uint32_t txn = self->writes[list_append__write_of(self, read->key, read->list[i])].txn;
        if (txn == NONE) { continue; }
        if (self->history->txns[txn].type == LIST_APPEND_FAIL) { failed = txn; }
        if (failed == NONE || !self->committed[txn]) { continue; }
        if (!tell_class(self, LIST_APPEND_DIRTY_UPDATE, read)) { return; }
        list_append__tell(self, LIST_APPEND_DIRTY_UPDATE,
                          ", where T%llu committed on top of T%llu that did not\n",
                          id_of(self, txn), id_of(self, failed));
        return;
    }
}

static void check_elements(struct list_append_run *self, const struct read *read) {
    self->stamp++;
    for (uint32_t i = 0; i < read->count; i++) {
        check_element(self, read, i);
    }
    check_dirty_update(self, read);
}

// The last element of others must be the last that its writer appended.
static void check_intermediate(struct list_append_run *self, const struct read *read) {
    const struct list_append_write *write = NULL;
    for (uint32_t i = read->count; i > 0; i--) {
        write = &self->writes[list_append__write_of(self, read->key, read->list[i - 1])];
        if (write->txn != read->txn) { break; }
    }
    if (write == NULL || write->txn == NONE || write->txn == read->txn || write->last) { return; }
    if (!tell_class(self, LIST_APPEND_G1B, read)) { return; }
    list_append__tell(self, LIST_APPEND_G1B, ", and T%llu appended more after %llu\n",
                      id_of(self, write->txn), (unsigned long long)write->value);
}

static void check_read(struct list_append_run *self, uint32_t txn, uint32_t op) {
    struct read read = {.txn = txn,
                        .op = op,
                        .key = self->op_keys[op],
                        .list = list_append__list(self, op),
                        .count = self->history->ops[op].list_count};
    const struct list_append_version_order *key = &self->keys[read.key];
    ASSERT(read.count <= key->count);
    check_internal(self, &read);
    check_intermediate(self, &read);
    bool prefix =
        read.count == 0 || memcmp(read.list, key->list, read.count * sizeof(uint64_t)) == 0;
    if (!prefix) { check_order(self, &read); }
    if (!prefix || op == key->longest_op) { check_elements(self, &read); }
}

void list_append__check_reads(struct list_append_run *self) {
    const struct list_append_history *history = self->history;
    for (uint32_t t = 0; t < history->txn_count; t++) {
        const struct list_append_txn *txn = &history->txns[t];
        if (txn->type != LIST_APPEND_OK) { continue; }
        for (uint32_t op = txn->op_first; op < txn->op_first + txn->op_count; op++) {
            if (history->ops[op].is_read) { check_read(self, t, op); }
        }
    }
}

// --- What is lost ---

static void check_lost_append(struct list_append_run *self, const struct list_append_write *write) {
    bool acknowledged =
        write->txn != NONE && self->history->txns[write->txn].type == LIST_APPEND_OK;
    if (!acknowledged || write->position != NONE) { return; }
    if (!list_append__found(self, LIST_APPEND_LOST_APPEND)) { return; }
    const struct list_append_version_order *key = &self->keys[write->key];
    list_append__tell(self, LIST_APPEND_LOST_APPEND, "lost-append: T%llu appended %llu to ",
                      id_of(self, write->txn), (unsigned long long)write->value);
    list_append__tell_key(self, LIST_APPEND_LOST_APPEND, write->key);
    list_append__tell(self, LIST_APPEND_LOST_APPEND, ", of which the longest read is ");
    list_append__tell_list(self, LIST_APPEND_LOST_APPEND, key->list, key->count);
    list_append__tell(self, LIST_APPEND_LOST_APPEND, "\n");
}

// Two that read one version and appended to it: one of them did not know of the other.
static void check_lost_update(struct list_append_run *self, uint32_t k, uint32_t *reader) {
    uint32_t first = self->keys[k].first_ext;
    for (uint32_t e = first; e != NONE; e = self->exts[e].next) {
        reader[self->exts[e].count] = NONE;
    }
    for (uint32_t e = first; e != NONE; e = self->exts[e].next) {
        const struct list_append_ext *ext = &self->exts[e];
        if (!ext->appends) { continue; }
        uint32_t other = reader[ext->count];
        reader[ext->count] = e;
        if (other == NONE || !list_append__found(self, LIST_APPEND_LOST_UPDATE)) { continue; }
        list_append__tell(self, LIST_APPEND_LOST_UPDATE, "lost-update: ");
        list_append__tell_read(self, LIST_APPEND_LOST_UPDATE, ext->txn, ext->op);
        list_append__tell(self, LIST_APPEND_LOST_UPDATE, " and ");
        list_append__tell_read(self, LIST_APPEND_LOST_UPDATE, self->exts[other].txn,
                               self->exts[other].op);
        list_append__tell(self, LIST_APPEND_LOST_UPDATE, ", and both appended to it\n");
    }
}

void list_append__check_lost(struct list_append_run *self) {
    uint32_t longest = 0;
    for (uint32_t k = 0; k < self->key_count; k++) {
        longest = self->keys[k].count > longest ? self->keys[k].count : longest;
    }
    uint32_t *reader = mem_alloc_array((size_t)longest + 1, sizeof(*reader));
    for (uint32_t k = 0; k < self->key_count; k++) {
        check_lost_update(self, k, reader);
    }
    mem_free(reader);
    for (uint32_t w = 0; self->config->final_reads && w < self->write_count; w++) {
        check_lost_append(self, &self->writes[w]);
    }
}
