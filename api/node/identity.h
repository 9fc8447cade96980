// SPDX-License-Identifier: Apache-2.0
// identity.h - the data directory of a node: its lock, and the file that says who the node is.
// Invariants: at most one process has a directory open; the incarnation never changes and the boot
//             number grows by one with each open, durably before the open returns; once founded, a
//             cluster is never replaced; a file that cannot be trusted is never overwritten.
// Ownership:  identity_close gives the lock back and frees the identity.
// Thread:     any one; identity_found blocks on the disk.
// See:        api/node/README.md; tests/unit/api/node/identity_test.c
#pragma once

#include "api/node/join.h"

struct identity;

// Names inside the directory that belong to the identity; everything else is the stores'.
#define IDENTITY_FILE      "identity"
#define IDENTITY_FILE_TEMP "identity.tmp"
#define IDENTITY_LOCK      "LOCK"

// Opens a data directory, creating it (not its parents) and its identity when there is none, and
// raises the boot number. err names the directory or file and what is wrong with it:
// FAILED_PRECONDITION  locked by another process; not a directory; files of somebody else in it
// CORRUPT              the identity does not decode; NOT_SUPPORTED: a newer version wrote it
// IO                   not readable or not writable; NO_SPACE: the disk is full
NODISCARD enum status identity_open(const char *data_dir, struct identity **out_identity,
                                    struct err *err);
void identity_close(struct identity *self);

// Random, of the directory; never 0.
uint64_t identity_incarnation(const struct identity *self);
// How often the directory was opened, this time included; from 1.
uint32_t identity_boot(const struct identity *self);
// False while the node belongs to no cluster.
bool identity_cluster(const struct identity *self, struct join_cluster *out_cluster);
// Writes down the cluster, durably before it returns. ALREADY_EXISTS when there is one, IO or
// NO_SPACE when the disk refuses; the identity is as before then.
NODISCARD enum status identity_found(struct identity *self, const struct join_cluster *cluster,
                                     struct err *err);
