// SPDX-License-Identifier: Apache-2.0
// Design: the age of the pending sync is a sum of small steps, one a check, and no step counts for
// more than STEPS allow. A process that was stopped, or a machine that was suspended, for a minute
// would otherwise wake up, see a sync that is a minute old, and take a good disk for a dead one.
// The loop is woken at least CHECKS_PER_SLOW times within the first threshold, so a hanging sync is
// seen as it hangs and not when it returns.
//
// Hysteresis: for each degree the watchdog keeps when the disk was last that bad, and the state is
// the worst degree of the last recover_ns. So it worsens at once, improves by degrees, and a disk
// that is slow every few seconds stays slow.
//
//   OK --slow_ns--> SLOW --sick_ns--> SICK --fail_ns--> FAILED (for good)
//    ^               | ^               |
//    +--recover_ns---+ +---recover_ns--+
//
// Rejected: an average. It hides the one sync of three seconds that cost a leader its followers.
#include "api/node/node_watchdog.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"

#define WATCHDOG_SLOW_NS    UINT64_C(500000000)
#define WATCHDOG_SICK_NS    UINT64_C(3000000000)
#define WATCHDOG_FAIL_NS    UINT64_C(10000000000)
#define WATCHDOG_RECOVER_NS UINT64_C(10000000000)

enum {
    CHECKS_PER_SLOW = 5,   // of a pending sync, within slow_ns
    STEP_PER_SLOW_MAX = 2  // slow_ns / this is the most that one step counts for
};

static uint64_t or_default(uint64_t value, uint64_t otherwise) {
    return value != 0 ? value : otherwise;
}

void node_watchdog_init(struct node_watchdog *self, const struct node_watchdog_config *config) {
    *self = (struct node_watchdog){
        .config = {
            .slow_ns = or_default(config->slow_ns, WATCHDOG_SLOW_NS),
            .sick_ns = or_default(config->sick_ns, WATCHDOG_SICK_NS),
            .fail_ns = or_default(config->fail_ns, WATCHDOG_FAIL_NS),
            .recover_ns = or_default(config->recover_ns, WATCHDOG_RECOVER_NS),
        }};
    ASSERT(self->config.slow_ns >= CHECKS_PER_SLOW);
    ASSERT(self->config.slow_ns < self->config.sick_ns);
    ASSERT(self->config.sick_ns < self->config.fail_ns);
}

static enum node_disk_state degree_of(const struct node_watchdog *self, uint64_t age_ns) {
    if (age_ns >= self->config.fail_ns) { return NODE_DISK_FAILED; }
    if (age_ns >= self->config.sick_ns) { return NODE_DISK_SICK; }
    return age_ns >= self->config.slow_ns ? NODE_DISK_SLOW : NODE_DISK_OK;
}

// Brings the age of the pending sync up to date, and notes how bad it is.
static void look(struct node_watchdog *self, uint64_t now_ns) {
    ASSERT(now_ns >= self->looked_ns);
    uint64_t step_ns = now_ns - self->looked_ns;
    self->looked_ns = now_ns;
    if (!self->pending) { return; }
    uint64_t step_ns_max = self->config.slow_ns / STEP_PER_SLOW_MAX;
    if (step_ns > step_ns_max) {
        MARK("watchdog.loop_slept");
        step_ns = step_ns_max;
    }
    self->age_ns += step_ns;
    for (int state = (int)degree_of(self, self->age_ns); state > NODE_DISK_OK; state--) {
        self->seen_ns[state] = now_ns;
    }
}

void node_watchdog_started(struct node_watchdog *self, uint64_t now_ns) {
    ASSERT(!self->pending);
    look(self, now_ns);
    self->pending = true;
    self->age_ns = 0;
}

void node_watchdog_finished(struct node_watchdog *self, uint64_t now_ns) {
    ASSERT(self->pending);
    look(self, now_ns);
    self->pending = false;
    // A sync that began and ended within one reading of the clock has taken some time, too.
    self->last_ns = self->age_ns != 0 ? self->age_ns : 1;
    if (self->last_ns > self->worst_ns) { self->worst_ns = self->last_ns; }
    self->age_ns = 0;
}

static bool is_recent(const struct node_watchdog *self, enum node_disk_state state) {
    uint64_t seen_ns = self->seen_ns[state];
    return seen_ns != 0 && self->looked_ns - seen_ns < self->config.recover_ns;
}

enum node_disk_state node_watchdog_check(struct node_watchdog *self, uint64_t now_ns) {
    look(self, now_ns);
    if (MUTANT(DISK_STALL_IGNORED)) { return NODE_DISK_OK; }
    if (self->seen_ns[NODE_DISK_FAILED] != 0) { return NODE_DISK_FAILED; }
    if (is_recent(self, NODE_DISK_SICK)) { return NODE_DISK_SICK; }
    return is_recent(self, NODE_DISK_SLOW) ? NODE_DISK_SLOW : NODE_DISK_OK;
}

uint64_t node_watchdog_deadline_ns(const struct node_watchdog *self) {
    if (self->pending) { return self->looked_ns + self->config.slow_ns / CHECKS_PER_SLOW; }
    uint64_t at_ns = UINT64_MAX;
    for (int state = NODE_DISK_SLOW; state <= NODE_DISK_SICK; state++) {
        if (!is_recent(self, (enum node_disk_state)state)) { continue; }
        uint64_t over_ns = self->seen_ns[state] + self->config.recover_ns;
        if (over_ns < at_ns) { at_ns = over_ns; }
    }
    return at_ns;
}

uint64_t node_watchdog_pending_ns(const struct node_watchdog *self) {
    return self->pending ? self->age_ns : 0;
}

const char *node_disk_state_text(enum node_disk_state state) {
    switch (state) {
    case NODE_DISK_OK:
        return "ok";
    case NODE_DISK_SLOW:
        return "slow";
    case NODE_DISK_SICK:
        return "sick";
    case NODE_DISK_FAILED:
        return "failed";
    case NODE_DISK_STATE_COUNT:
        break;
    }
    return "?";
}
