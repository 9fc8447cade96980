// SPDX-License-Identifier: Apache-2.0
// node_mark.h - the file that remembers how far the node's clock had come, so that a restart with a
// wall clock that was set back does not begin below what was given out.
// Invariants: what a finished write left is read again, whatever a later write that was cut off
//             did; marks only rise.
// Ownership:  node_mark_close ends it; the directory is borrowed for the opening.
// Thread:     any one at a time; node_mark_write blocks on the disk.
// See:        api/node/README.md; docs/protocols/time.md "Restarts";
//             tests/unit/api/node/node_mark_test.c
#pragma once

#include "dataplane/base/err.h"
#include "dataplane/hlc/hlc.h"

#define NODE_MARK_FILE "clock"

struct node_mark {
    int fd;              // -1 = closed
    uint64_t sequence;   // of the latest write
    struct hlc_ts mark;  // read-only: the largest that is durable; HLC_ZERO = none
    bool damaged;        // read-only: the file held something else
};

// Opens the file of a data directory, and creates it when there is none.
NODISCARD enum status node_mark_open(struct node_mark *self, const char *data_dir, struct err *err);
void node_mark_close(struct node_mark *self);
// Durable when it returns OK. A mark that is not larger is no news.
NODISCARD enum status node_mark_write(struct node_mark *self, struct hlc_ts mark);
