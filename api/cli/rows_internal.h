// SPDX-License-Identifier: Apache-2.0
// rows_internal.h - the two readers behind rows_next.
// Invariants: a reader leaves the row in self->key and self->value, unchecked against the limits.
// Ownership:  as of rows.h.
// Thread:     as of rows.h.
// See:        api/cli/rows.h
#pragma once

#include "api/cli/rows.h"

enum status rows__next_jsonl(struct rows *self, uint64_t *out_line, bool *out_end, struct err *err);
enum status rows__next_debian(struct rows *self, uint64_t *out_line, bool *out_end,
                              struct err *err);
// Only spaces, tabs and carriage returns.
bool rows__is_blank(struct slice line);
