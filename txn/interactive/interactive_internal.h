// SPDX-License-Identifier: Apache-2.0
// interactive_internal.h - the two sorted lists of a transaction, and what their users share.
// Invariants: as interactive.h.
// Ownership:  an entry and a read own their bytes, in one block with them.
// Thread:     confined to the owner of the transaction.
// See:        txn/interactive/interactive.h
#pragma once

#include "txn/interactive/interactive.h"

struct interactive_entry {
    struct command_mutation mutation;
    uint64_t order;  // of the first write that it stands for
    uint8_t bytes[];
};

struct interactive_read {
    struct command_span span;
    uint8_t bytes[];
};

// First entry whose key is not below `key`.
uint32_t interactive__at(const struct interactive *self, struct slice key);
// The entry that decides `key`: its own, or the delete_range around it. NULL = none.
const struct interactive_entry *interactive__entry_of(const struct interactive *self,
                                                      struct slice key);
// The smallest key above `key`.
struct slice interactive__successor(struct slice key, uint8_t out[SHARD_KEY_SIZE_MAX]);
// Room for one more pointer. RESOURCE_EXHAUSTED.
NODISCARD enum status interactive__grow(void **list, uint32_t *capacity, uint32_t count);
// Whether one more operation of so many bytes still fits; fills the refusal if not.
NODISCARD enum status interactive__admit(const struct interactive *self, size_t bytes,
                                         struct interactive_refusal *out);
enum status interactive__no_memory(struct interactive_refusal *out);
