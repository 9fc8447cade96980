// SPDX-License-Identifier: Apache-2.0
// transport_filter.h - what may stand between a socket and its frames: the place for encryption.
// Invariants: plain bytes come out of `open` in the order and number in which the other side's
//             `seal` took them; how they are cut into calls means nothing.
// Ownership:  the connection owns its filter and destroys it; buffers are the connection's.
// Thread:     the loop's thread; neither function blocks.
// See:        dataplane/transport/README.md; tests/unit/dataplane/transport/transport_filter_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/status.h"

struct transport_filter;

struct transport_filter_ops {
    // Bytes from the socket: appends what they hold of plain bytes, and to out_wire what the filter
    // itself has to say (its own handshake). Any failure closes the connection.
    enum status (*open)(struct transport_filter *self, struct slice wire, struct buf *out_plain,
                        struct buf *out_wire);
    // Plain bytes to send; may keep them until its own handshake is done.
    enum status (*seal)(struct transport_filter *self, struct slice plain, struct buf *out_wire);
    void (*destroy)(struct transport_filter *self);
};

// Embedded first in each filter.
struct transport_filter {
    const struct transport_filter_ops *ops;
};
