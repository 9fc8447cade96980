// SPDX-License-Identifier: Apache-2.0
// thread.h - how a thread that works in bursts asks to be scheduled.
// Invariants: the share of CPU that a thread gets stays the same.
// Ownership:  none.
// Thread:     about the calling thread.
// See:        dataplane/loop/README.md; docs/PERFORMANCE.md
#pragma once

// The calling thread, when it is woken, waits for the one that runs to sleep or to use up its slice
// rather than interrupt it (SCHED_BATCH). On an idle core it runs at once, as before; where cores
// are short its next burst is longer and cheaper. Another policy that the operator gave stays.
void thread_gather(void);
