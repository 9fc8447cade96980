// SPDX-License-Identifier: Apache-2.0
// command_internal.h - checks and decoders that the files of this package share.
// Invariants: a check with err == NULL decides exactly like one with err.
// Ownership:  inputs are borrowed.
// Thread:     pure.
// See:        txn/command/command.h
#pragma once

#include "txn/command/command.h"

// [start, end) of one keyspace, start < end. `field` and `position` name the culprit.
NODISCARD enum status command__range_check(struct slice start, struct slice end, const char *field,
                                           uint32_t position, struct err *err);
// A full key from the reader, within all limits; otherwise the reader fails.
struct slice command__get_key(struct codec_reader *r);
// u8 below `count` and at least `first`; otherwise the reader fails and `first` comes back.
uint8_t command__get_enum(struct codec_reader *r, uint8_t first, uint8_t count);
// 0 or 1; anything else fails the reader.
bool command__get_bool(struct codec_reader *r);

// The snapshot at the head of every read; a decoded one passes command_snapshot_check.
void command__snapshot_encode(struct codec_writer *w, const struct command_snapshot *self);
void command__snapshot_decode(struct codec_reader *r, struct command_snapshot *out);
