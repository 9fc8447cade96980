// SPDX-License-Identifier: Apache-2.0
// digest.h - count and checksums over rows in order: equal digests, equal contents.
// Invariants: the digest depends on every byte, on where a key ends and its value begins, and on
//             the order of the rows.
// Ownership:  a value.
// Thread:     confined to its owner.
// See:        tests/unit/api/cli/digest_test.c
#pragma once

#include "dataplane/base/bytes.h"

struct digest {
    uint64_t rows;
    uint64_t bytes;  // of keys and values
    uint64_t hash;   // xxHash 64, chained over the rows
    uint32_t crc;    // CRC32C
};

enum { DIGEST_TEXT_SIZE = 40 };

void digest_init(struct digest *self);
void digest_add(struct digest *self, struct slice key, struct slice value);
// "5d1c0e6f-0123456789abcdef": the CRC, then the hash.
char *digest_format(const struct digest *self, char out[DIGEST_TEXT_SIZE]);
