// SPDX-License-Identifier: Apache-2.0
// Design: thin translations of three system calls. A failure of any of them leaves a node without
// time or identity, which no caller could handle; so it stops the process.
#include "dataplane/loop/clock.h"

#include "dataplane/base/assert.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

uint64_t loop_monotonic_ns(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) { FATAL("no monotonic clock: errno %d", errno); }
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t loop_wall_us(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) { FATAL("no wall clock: errno %d", errno); }
    // A wall clock set before 1970 reads as 1970; it is quarantined by comparison with the peers.
    if (now.tv_sec < 0) { return 0; }
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

uint64_t loop_entropy(void) {
    uint64_t bits = 0;
    ssize_t size = 0;
    do {
        size = getrandom(&bits, sizeof(bits), 0);
    } while (size < 0 && errno == EINTR);
    if (size != (ssize_t)sizeof(bits)) { FATAL("no randomness: errno %d", errno); }
    return bits;
}
