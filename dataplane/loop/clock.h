// SPDX-License-Identifier: Apache-2.0
// clock.h - the real clocks and the real randomness, read here and nowhere else in a node.
// Invariants: monotonic time never runs backwards; wall time may do anything.
// Ownership:  none.
// Thread:     any.
// See:        dataplane/loop/README.md; tests/unit/dataplane/loop/loop_test.c
#pragma once

#include <stdint.h>

// CLOCK_MONOTONIC in nanoseconds: for deadlines and leases, meaningless outside this boot.
uint64_t loop_monotonic_ns(void);

// CLOCK_REALTIME in microseconds since the Unix epoch: for timestamps only.
uint64_t loop_wall_us(void);

// 64 bits from the kernel's generator; a system call, for seeds and identities.
uint64_t loop_entropy(void);
