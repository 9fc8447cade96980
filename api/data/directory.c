// SPDX-License-Identifier: Apache-2.0
// Sorted arrays: there are few keyspaces, they change rarely, and requests name them all the time.
#include "api/data/directory.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct directory {
    atomic_uint_fast32_t refs;  // the last drop acquires what others released
    uint32_t count;
    struct directory_entry *by_name;
    uint32_t *ids;  // ascending
    uint8_t *text;
};

static int directory_compare_names(const void *a, const void *b) {
    return slice_compare(((const struct directory_entry *)a)->name,
                         ((const struct directory_entry *)b)->name);
}

static int directory_compare_ids(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

struct directory *directory_create(const struct directory_entry *entries, uint32_t count) {
    size_t text_size = 0;
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(entries[i].id != 0 && entries[i].name.size > 0);
        text_size += entries[i].name.size;
    }
    struct directory *self = mem_alloc(sizeof(*self));
    atomic_store_explicit(&self->refs, 1, memory_order_relaxed);
    self->count = count;
    self->by_name = mem_alloc_array(count + 1, sizeof(*self->by_name));
    self->ids = mem_alloc_array(count + 1, sizeof(*self->ids));
    self->text = mem_alloc(text_size + 1);
    uint8_t *at = self->text;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(at, entries[i].name.data, entries[i].name.size);
        self->by_name[i] =
            (struct directory_entry){entries[i].id, slice_make(at, entries[i].name.size)};
        self->ids[i] = entries[i].id;
        at += entries[i].name.size;
    }
    qsort(self->by_name, count, sizeof(*self->by_name), directory_compare_names);
    qsort(self->ids, count, sizeof(*self->ids), directory_compare_ids);
    for (uint32_t i = 1; i < count; i++) {
        ASSERT(!slice_equal(self->by_name[i - 1].name, self->by_name[i].name));
        ASSERT(self->ids[i - 1] != self->ids[i]);
    }
    return self;
}

struct directory *directory_ref(struct directory *self) {
    uint_fast32_t before = atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    return self;
}

void directory_unref(struct directory *self) {
    if (self == NULL) { return; }
    uint_fast32_t before = atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1) { return; }
    mem_free(self->by_name);
    mem_free(self->ids);
    mem_free(self->text);
    mem_free(self);
}

uint32_t directory_find(const struct directory *self, struct slice name) {
    struct directory_entry wanted = {0, name};
    const struct directory_entry *found = bsearch(&wanted, self->by_name, self->count,
                                                  sizeof(*self->by_name), directory_compare_names);
    return found == NULL ? 0 : found->id;
}

bool directory_has(const struct directory *self, uint32_t id) {
    return bsearch(&id, self->ids, self->count, sizeof(*self->ids), directory_compare_ids) != NULL;
}

void directory_holder_init(struct directory_holder *self) {
    int error = pthread_mutex_init(&self->mu, NULL);
    ASSERT(error == 0);
    self->current = NULL;
}

void directory_holder_deinit(struct directory_holder *self) {
    directory_unref(self->current);
    self->current = NULL;
    (void)pthread_mutex_destroy(&self->mu);
}

void directory_holder_take(struct directory_holder *self, struct directory *next) {
    ASSERT(next != NULL);
    (void)pthread_mutex_lock(&self->mu);
    struct directory *before = self->current;
    self->current = next;
    (void)pthread_mutex_unlock(&self->mu);
    directory_unref(before);
}

struct directory *directory_holder_get(struct directory_holder *self) {
    (void)pthread_mutex_lock(&self->mu);
    struct directory *current = self->current == NULL ? NULL : directory_ref(self->current);
    (void)pthread_mutex_unlock(&self->mu);
    return current;
}
