// SPDX-License-Identifier: Apache-2.0
// civil.h - microseconds since the Unix epoch as a UTC calendar time and back, without libc's help.
// Invariants: to and from are inverse over [0, CIVIL_US_MAX]; leap seconds do not exist.
// Ownership:  none; values.
// Thread:     pure functions, any thread (gmtime is banned: it shares a static result).
// See:        dataplane/base/README.md; tests/unit/dataplane/base/civil_test.c
#pragma once

#include <stdbool.h>
#include <stdint.h>

// The last microsecond that 52 bits hold: 2112-09-17T23:53:47.370495Z.
#define CIVIL_US_MAX ((UINT64_C(1) << 52) - 1)

struct civil {
    uint32_t year;    // 1970 to 2112
    uint32_t month;   // 1 to 12
    uint32_t day;     // 1 to 31
    uint32_t hour;    // 0 to 23
    uint32_t minute;  // 0 to 59
    uint32_t second;  // 0 to 59
    uint32_t us;      // 0 to 999 999
};

// us <= CIVIL_US_MAX.
struct civil civil_from_us(uint64_t us);
// False, with *out_us untouched, for a field out of range, a day its month does not have, or a time
// beyond CIVIL_US_MAX: the fields may come from a user.
bool civil_to_us(struct civil civil, uint64_t *out_us);

enum { CIVIL_TEXT_SIZE = 28 };
// "2026-11-20T12:00:00.123456Z" and a NUL; returns out.
char *civil_format(uint64_t us, char out[CIVIL_TEXT_SIZE]);
