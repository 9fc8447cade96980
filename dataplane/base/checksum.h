// SPDX-License-Identifier: Apache-2.0
// checksum.h - CRC32C for frames and records, a 64-bit hash for tables and digests.
// Invariants: crc32c is the Castagnoli polynomial, reflected, as in RFC 3720; equal input gives
//             equal output on all machines, with the hardware instruction and without.
// Ownership:  inputs are borrowed.
// Thread:     pure, any thread.
// See:        dataplane/base/README.md; tests/unit/dataplane/base/checksum_test.c
#pragma once

#include "dataplane/base/bytes.h"

#include <stdint.h>

// Continues a checksum; start with 0. Hardware instruction where the CPU has it.
uint32_t crc32c_extend(uint32_t crc, struct slice data);
// The same without the instruction; public so that a test can compare the two.
uint32_t crc32c_extend_portable(uint32_t crc, struct slice data);
// xxHash 64 with a seed.
uint64_t hash64(struct slice data, uint64_t seed);
// Mixes one integer (splitmix64 finalizer).
uint64_t hash64_u64(uint64_t v);
