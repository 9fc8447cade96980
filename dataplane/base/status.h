// SPDX-License-Identifier: Apache-2.0
// status.h - the one list of operating errors, shared by every layer.
// Invariants: STATUS_OK is 0; each status has a stable name, a text and says whether a retry may
//             help.
// Ownership:  none; values and static strings.
// Thread:     pure functions, any thread.
// See:        dataplane/base/README.md; tests/unit/dataplane/base/status_test.c
#pragma once

#include <stdbool.h>

// X(NAME, text, retryable). Names are part of the peer protocol by value: append only, never
// reorder.
#define STATUS_LIST(X)                                                                  \
    X(OK, "ok", false)                                                                  \
    X(INVALID_ARGUMENT, "invalid argument", false)                                      \
    X(NOT_FOUND, "not found", false)                                                    \
    X(ALREADY_EXISTS, "already exists", false)                                          \
    X(CONDITION_FAILED, "a condition of the commit does not hold", false)               \
    X(ABORTED_RETRY, "aborted by a conflict, try again", true)                          \
    X(NOT_LEADER, "this replica does not lead the shard", true)                         \
    X(STALE_SHARD_MAP, "the shard map used is out of date", true)                       \
    X(UNAVAILABLE, "no replica can serve now", true)                                    \
    X(OVERLOADED, "too much in flight, retry later", true)                              \
    X(RESOURCE_EXHAUSTED, "a bound was reached", true)                                  \
    X(DEADLINE_EXCEEDED, "the deadline passed", false)                                  \
    X(UNKNOWN_OUTCOME, "the outcome is unknown", false)                                 \
    X(CLOCK_AHEAD, "a timestamp is too far ahead of the local clock", true)             \
    X(SNAPSHOT_TOO_OLD, "the timestamp is below the garbage collection horizon", false) \
    X(NOT_SUPPORTED, "not supported", false)                                            \
    X(FAILED_PRECONDITION, "the system is not in the state this needs", false)          \
    X(CORRUPT, "bytes do not decode or fail their checksum", false)                     \
    X(IO, "input or output failed", false)                                              \
    X(CANCELLED, "cancelled", false)                                                    \
    X(WRONG_CLUSTER, "the peer belongs to another cluster", false)                      \
    X(NO_SPACE, "no space is left", true)

enum status {
#define STATUS_ENUM(name, text, retry) STATUS_##name,
    STATUS_LIST(STATUS_ENUM)
#undef STATUS_ENUM
        STATUS_COUNT
};

#define NODISCARD __attribute__((warn_unused_result))

// Stable upper-case name ("NOT_LEADER"); "STATUS_?" for a value outside the list.
const char *status_name(enum status st);

// Human text of a status; never NULL.
const char *status_text(enum status st);

// True when the same request may succeed if it is sent again, perhaps elsewhere.
bool status_is_retryable(enum status st);
