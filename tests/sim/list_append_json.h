// SPDX-License-Identifier: Apache-2.0
// list_append_json.h - reads a history of list-append transactions from JSON lines.
// Invariants: one event a line; a process has at most one transaction open; an invocation without
//             an end has an unknown outcome.
// Ownership:  the history owns what was read.
// Thread:     confined to the caller.
// See:        tests/sim/list_append.h; tests/data/histories
#pragma once

#include "dataplane/base/err.h"
#include "dataplane/base/status.h"
#include "tests/sim/list_append.h"

// Adds the transactions of a file to the history. STATUS_NOT_FOUND when it cannot be opened,
// STATUS_INVALID_ARGUMENT with the line when it is no history.
NODISCARD enum status list_append_read_json(struct list_append_history *history, const char *path,
                                            struct err *err);
