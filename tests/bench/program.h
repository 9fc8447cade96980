// SPDX-License-Identifier: Apache-2.0
// program.h - what every load program needs: the clock, and what its arguments hold.
// Invariants: out is written only when true is returned.
// Ownership:  addresses are views of the argument, which is cut into them.
// Thread:     program_now_ns: any; the others: the main thread, before it starts any.
// See:        tests/bench/README.md
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Monotonic.
uint64_t program_now_ns(void);
// A decimal number from low to high; otherwise false, and standard error says so.
bool program_number(const char *text, uint32_t low, uint32_t high, uint32_t *out);
// HOST:PORT[,HOST:PORT...], 1 to `max` of them; otherwise false.
bool program_addresses(char *list, uint32_t max, const char **out, uint32_t *out_count);
