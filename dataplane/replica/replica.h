// SPDX-License-Identifier: Apache-2.0
// replica.h - one Raft group on this node, driven: proposals, reads under a certificate, frontiers.
// Invariants: T <= C, D <= E, A <= C, A <= E; a replica that is not whole applies nothing, serves
//             nothing and leads nothing; closed < every timestamp still to be committed;
//             ceiling >= every timestamp served or
//             assigned; entries carry strictly increasing timestamps; a read at r is answered only
//             when leadership held after it ran.
// Ownership:  the table owns its replicas; proposal payloads are copied into the entry; callbacks
//             are called exactly once.
// Thread:     confined to the shard loop.
// See:        dataplane/replica/README.md; time.md; tests/unit/dataplane/replica; tests/sim
#pragma once

#include "dataplane/port/env.h"
#include "dataplane/port/log_store.h"
#include "dataplane/port/state_machine.h"
#include "dataplane/raft/raft.h"
#include "dataplane/shard/shard.h"
#include "dataplane/support/support.h"

struct replica;
struct replica_table;

// What keeps `closed` from following the clock.
enum replica_hold {
    REPLICA_HELD_BY_NOTHING,    // leader: it follows; follower: it is what its leader told last
    REPLICA_HELD_BY_IN_FLIGHT,  // an entry that is not applied yet
    REPLICA_HELD_BY_PREPARED,   // a transaction that is prepared and not resolved
    REPLICA_HELD_BY_CEILING,    // the committed ceiling: the shard is idle
    REPLICA_HELD_BY_TERM,       // the leader has not applied an entry of its own term
    REPLICA_HELD_BY_APPLYING,   // follower: entries that it has yet to get or to apply
    REPLICA_HELD_BY_SILENCE,    // it knows of no leader
    REPLICA_HOLD_COUNT
};

struct replica_frontiers {
    uint64_t last;     // E
    uint64_t durable;  // D
    uint64_t applied;  // A
    uint64_t commit;   // C
    uint64_t trim;     // T
    struct hlc_ts closed;
    struct hlc_ts ceiling;  // largest committed ceiling
    uint64_t term;
    enum raft_role role;
    struct node_id leader;
    uint64_t lease_remaining_us;  // 0 = none
    uint64_t pending;             // proposals not yet answered
    uint64_t incarnation;
    uint64_t config_epoch;  // of the membership in use
    enum raft_health health;
    // A snapshot that is on its way to this replica, and those that it sends; totals are what the
    // sender believed at the start, 0 = unknown.
    bool snapshot_in;
    uint64_t snapshot_in_bytes;
    uint64_t snapshot_in_total;
    uint32_t snapshots_out;
    uint64_t snapshot_out_bytes;
    uint64_t snapshot_out_total;
    enum replica_hold closed_hold;
    uint64_t digest_index;  // of the latest digest computed here; 0 = none
    uint64_t digest;
};

// How one proposal ended. OK: applied at (term, index), result as the state machine said.
// UNAVAILABLE: this node lost track of it and it may
// or may not commit (a repeat by transaction id is safe). NOT_LEADER: it certainly did not enter
// the history.
struct replica_proposal_result {
    enum status status;
    uint64_t term;
    uint64_t index;
    struct hlc_ts timestamp;
    struct apply_result applied;
};

// What a proposer hands over; embedded in its own request, alive until done is called.
struct replica_proposal {
    struct slice payload;  // borrowed for the call of replica_propose
    uint64_t shard_epoch;  // descriptor epoch the proposer used
    bool in_reserve;       // makes room on the disk: taken also when only the reserve is left
    void (*done)(struct replica_proposal *self, const struct replica_proposal_result *result);
    uint64_t index;                 // private
    size_t size;                    // private
    struct replica_proposal *next;  // private
};

// OK: done will be called. NOT_LEADER, STALE_SHARD_MAP, OVERLOADED, UNAVAILABLE (leader not ready),
// NO_SPACE (replica_room.h): done will not be called.
NODISCARD enum status replica_propose(struct replica *self, struct replica_proposal *proposal);

// A read: admitted at a timestamp, executed by the caller at once, then confirmed.
struct replica_read {
    struct hlc_ts at_least;   // in
    struct hlc_ts at;         // in: exactly this snapshot, which the clock has passed; zero = any
    bool read_index;          // in: confirm by a round even under a lease
    struct hlc_ts timestamp;  // out: read at this snapshot
    uint64_t term;            // out
    uint64_t index;           // out: applied index of the snapshot
    struct hlc_ts closed;     // out
    bool by_lease;            // out of confirm: lease, or a read round
    void (*confirmed)(struct replica_read *self,
                      enum status status);  // for reads that confirm() left pending
    uint64_t token;                         // private
    struct replica_read *next;              // private
};

// Picks the snapshot. NOT_LEADER; UNAVAILABLE when the leader cannot serve yet (no entry of its
// term applied, or at_least or at lies above what may be served now: a write is in flight there, or
// a renewal is on its way; try again soon).
NODISCARD enum status replica_read_begin(struct replica *self, struct replica_read *read);
// After the read was executed: OK = answer now. UNAVAILABLE = not yet: confirmed will be called (OK
// or NOT_LEADER). NOT_LEADER.
NODISCARD enum status replica_read_confirm(struct replica *self, struct replica_read *read);

// A snapshot at or below closed, at any replica: nothing more commits there, so nothing has to be
// confirmed, and no prepared transaction lies at or below it. UNAVAILABLE: this replica is not
// whole, or has not closed `at` or `at_least`; closed moves with the entries that are applied and
// every few milliseconds, unless the shard is idle.
NODISCARD enum status replica_read_closed(struct replica *self, struct replica_read *read);

// A number for whoever looks often: while it stays the same, so do last, durable, applied, commit,
// trim, closed, digest, term, role, incarnation, config_epoch and health (but for a collision of
// hashes).
uint64_t replica_mark(const struct replica *self);
struct shard_id replica_shard(const struct replica *self);
uint64_t replica_incarnation(const struct replica *self);
// The membership in use, committed or not.
const struct raft_membership *replica_members(const struct replica *self);
// Anything but WHOLE: the state is not that of any index, do not read it.
enum raft_health replica_health(const struct replica *self);
bool replica_is_leader(const struct replica *self);
// Holds everything that was committed when its leader last spoke to it in this boot.
bool replica_is_caught_up(const struct replica *self);
// Known leader and its term; node 0 = unknown.
struct node_id replica_leader(const struct replica *self, uint64_t *out_term);
const struct shard_descriptor *replica_descriptor(const struct replica *self);
void replica_frontiers(const struct replica *self, struct replica_frontiers *out);
// Leader only: match index of a peer.
uint64_t replica_match(const struct replica *self, struct node_id peer);
// Hands leadership to target; NOT_LEADER, INVALID_ARGUMENT.
NODISCARD enum status replica_transfer(struct replica *self, struct node_id target);
