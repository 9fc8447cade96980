// SPDX-License-Identifier: Apache-2.0
// The kernel lets a woken thread interrupt the running one, for the sake of who types. Threads that
// hand each other bursts are hurt by that: a poller would interrupt the client that is just sending
// it the next fifty requests, take one, and sleep again, with all caches turned over twice.
#include "dataplane/loop/thread.h"

#include <pthread.h>
#include <sched.h>

void thread_gather(void) {
    int policy = 0;
    struct sched_param param;
    if (pthread_getschedparam(pthread_self(), &policy, &param) != 0 || policy != SCHED_OTHER) {
        return;
    }
    // Where it is refused (a sandbox) nothing but speed is lost.
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &param);
}
