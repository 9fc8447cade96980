// SPDX-License-Identifier: Apache-2.0
// keyset.h - which keys were seen before, told by their 64-bit hashes.
// Invariants: a key that was added is always found; another one is with probability n / 2^64.
// Ownership:  the set owns its table; keys are not kept.
// Thread:     confined to its owner.
// See:        api/cli/command_kv_import.c; tests/unit/api/cli/keyset_test.c
#pragma once

#include "dataplane/base/bytes.h"

struct keyset {
    uint64_t *slots;  // private: 0 = free
    size_t capacity;  // private: a power of two
    size_t count;     // read-only
};

void keyset_init(struct keyset *self);
void keyset_deinit(struct keyset *self);
// False when it was there already.
bool keyset_add(struct keyset *self, struct slice key);
