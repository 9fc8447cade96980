// SPDX-License-Identifier: Apache-2.0
// What a process does to the C core once, before it uses it, as a server or as a client.
#include "api/rpc/core_init.h"

#include <grpc/support/log.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

// The core logs what remote peers do wrong, at a rate that they choose. Errors of ours come back as
// statuses; so the lines are dropped unless the operator asked for them in the core's own way.
static void rpc_log_drop(gpr_log_func_args *args) {
    (void)args;
}

// Debian builds abseil with its lock-order checker on, which costs a global lock in every mutex of
// the core (10 to 15 % of the CPU of a small call). Its switch is a C++ function without a C name;
// where it is absent, or renamed by another version, nothing happens.
static void rpc_abseil_checks_off(void) {
    void *symbol = dlsym(RTLD_DEFAULT,
                         "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE");
    if (symbol == NULL) { return; }
    void (*set_mode)(int mode);
    *(void **)&set_mode = symbol;
    set_mode(0);
}

static void rpc_core_once(void) {
    rpc_abseil_checks_off();
    if (getenv("GRPC_VERBOSITY") == NULL) { gpr_set_log_function(rpc_log_drop); }
}

void rpc_core_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, rpc_core_once);
}
