// SPDX-License-Identifier: Apache-2.0
// Arguments are the operator's: what is wrong with one is said in a line, and nothing is run.
#include "tests/bench/program.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t program_now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

bool program_number(const char *text, uint32_t low, uint32_t high, uint32_t *out) {
    char *end = NULL;
    const unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != 0 || value < low || value > high) {
        (void)fprintf(stderr, "%s: %s is not between %" PRIu32 " and %" PRIu32 "\n",
                      program_invocation_short_name, text, low, high);
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

bool program_addresses(char *list, uint32_t max, const char **out, uint32_t *out_count) {
    uint32_t count = 0;
    char *rest = NULL;
    for (char *at = strtok_r(list, ",", &rest); at != NULL; at = strtok_r(NULL, ",", &rest)) {
        if (count == max) { return false; }
        out[count++] = at;
    }
    if (count == 0) { return false; }
    *out_count = count;
    return true;
}
