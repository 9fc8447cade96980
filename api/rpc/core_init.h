// SPDX-License-Identifier: Apache-2.0
// core_init.h - process-wide settings of the gRPC core.
// Invariants: done once, however often it is called.
// Ownership:  none.
// Thread:     any.
// See:        api/rpc/README.md
#pragma once

// Before grpc_init: silences the core's log (unless GRPC_VERBOSITY is set) and switches off the
// lock-order checker of Debian's abseil.
void rpc_core_init(void);
