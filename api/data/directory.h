// SPDX-License-Identifier: Apache-2.0
// directory.h - an immutable snapshot of the keyspaces: name to id, for threads beside the loop.
// Invariants: a directory never changes after directory_create; names are unique, ids too.
// Ownership:  counted; a holder swaps whole directories, readers hold the one they got.
// Thread:     a directory: any. directory_holder_*: any, under a mutex held for a few instructions.
// See:        api/data/README.md; tests/unit/api/data/directory_test.c
#pragma once

#include "dataplane/base/bytes.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct directory;

struct directory_entry {
    uint32_t id;        // 1 and up
    struct slice name;  // copied by directory_create
};

// One reference is the caller's. Names and ids must be unique.
struct directory *directory_create(const struct directory_entry *entries, uint32_t count);
struct directory *directory_ref(struct directory *self);
// NULL is allowed.
void directory_unref(struct directory *self);
// 0 = no such keyspace.
uint32_t directory_find(const struct directory *self, struct slice name);
bool directory_has(const struct directory *self, uint32_t id);

// The current directory of a process.
struct directory_holder {
    pthread_mutex_t mu;
    struct directory *current;  // guarded by mu; NULL = none yet
};

void directory_holder_init(struct directory_holder *self);
void directory_holder_deinit(struct directory_holder *self);
// Takes the caller's reference of `next`.
void directory_holder_take(struct directory_holder *self, struct directory *next);
// A new reference, or NULL when there is none yet.
struct directory *directory_holder_get(struct directory_holder *self);
