// SPDX-License-Identifier: Apache-2.0
// err.h - the text that goes with a status across a boundary that reaches a human.
// Invariants: the message is always NUL-terminated and at most ERR_MESSAGE_SIZE - 1 bytes.
// Ownership:  the caller owns the struct, zeroed at first; every function accepts NULL and then
//             only returns the status.
// Thread:     confined to its owner.
// See:        dataplane/base/README.md; tests/unit/dataplane/base/err_test.c
#pragma once

#include "dataplane/base/status.h"

enum { ERR_MESSAGE_SIZE = 256 };

struct err {
    enum status status;
    char message[ERR_MESSAGE_SIZE];
};

// Sets status and message (printf style, truncated) and returns st, so that `return err_set(...)`
// reads well. The present message may be an argument.
enum status err_set(struct err *err, enum status st, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Puts "prefix: " before the present message, or before the text of the status when there is no
// message; the status stays.
void err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
