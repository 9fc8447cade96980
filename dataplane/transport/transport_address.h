// SPDX-License-Identifier: Apache-2.0
// transport_address.h - "host:port" and "[ipv6]:port" as text, and as socket addresses.
// Invariants: an address accepted has a host and a port, and fits TRANSPORT_ADDRESS_SIZE_MAX.
// Ownership:  inputs are borrowed, outputs are the caller's.
// Thread:     pure functions.
// See:        dataplane/transport/README.md; tests/unit/dataplane/transport/transport_frame_test.c
#pragma once

#include "dataplane/base/status.h"
#include "dataplane/transport/transport_frame.h"

#include <stdbool.h>
#include <stdint.h>

struct sockaddr;
struct sockaddr_storage;

struct transport_address {
    char host[TRANSPORT_ADDRESS_SIZE_MAX];  // without brackets
    uint16_t port;
};

// STATUS_INVALID_ARGUMENT for anything but host, colon, port 0 to 65535.
NODISCARD enum status transport_address_parse(const char *text, struct transport_address *out);

// A host that is a number; STATUS_NOT_FOUND when it is a name that has to be resolved.
NODISCARD enum status transport_address_numeric(const struct transport_address *address,
                                                struct sockaddr_storage *out);

bool transport_address_is_loopback(const struct sockaddr *address);
// 0.0.0.0 and ::, which nobody can dial.
bool transport_address_is_any(const struct sockaddr *address);

// "1.2.3.4:5" or "[::1]:5"; "?" when it is of no family known.
void transport_address_format(const struct sockaddr *address, char out[TRANSPORT_ADDRESS_SIZE_MAX]);
