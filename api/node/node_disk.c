// SPDX-License-Identifier: Apache-2.0
// node_disk.c - what a node does about a disk that does not keep up: it leads less, then not at
// all.
//
// A slow disk gives leaderships away once, when it becomes slow. It may win an election later:
// where all disks are slow somebody has to lead. A sick one asks for no support, so that its peers
// stop counting on it, and never campaigns; it still follows and votes. The decision is in
// node_watchdog.c, stopping the process is for who runs it.

#include "api/node/node_core_internal.h"
#include "dataplane/replica/replica_resign.h"

void node_core_on_sync_started(struct node_core *self) {
    node_watchdog_started(&self->watchdog, env_now(self->config.env));
}

void node_core_on_sync_finished(struct node_core *self) {
    node_watchdog_finished(&self->watchdog, env_now(self->config.env));
}

void node_core__disk_turn(struct node_core *self) {
    enum node_disk_state before = self->disk;
    self->disk = node_watchdog_check(&self->watchdog, env_now(self->config.env));
    bool was_sick = before >= NODE_DISK_SICK;
    bool is_sick = self->disk >= NODE_DISK_SICK;
    if (is_sick && !was_sick) {
        replica_table_resign(self->table, true);
    } else if (self->disk == NODE_DISK_SLOW && before == NODE_DISK_OK) {
        replica_table_give_away(self->table);
    } else if (was_sick && !is_sick) {
        replica_table_set_sick(self->table, false);
    }
}

void node_core_disk(const struct node_core *self, struct node_disk_status *out) {
    const struct node_watchdog *watchdog = &self->watchdog;
    *out = (struct node_disk_status){
        .state = self->disk,
        .pending_ns = node_watchdog_pending_ns(watchdog),
        .last_ns = watchdog->last_ns,
        .worst_ns = watchdog->worst_ns,
    };
}
