# SPDX-License-Identifier: Apache-2.0
"""What tests/sim/mutants expects: of each mutant its classic bug, within how many seeds from 1 on
the random simulator has to catch it, the seeds known to (tried first), and its directed test.

What a seed means changes with the plan: when the known ones no longer catch,
`tests/sim/mutants --full` finds others."""

from typing import NamedTuple, Tuple


class Mutant(NamedTuple):
    name: str
    number: int
    seeds_max: int
    seeds: Tuple[int, ...]
    test: str = ""
    masked: str = ""  # by what; then no seed is asked for
    # A hole: not caught, or so rarely that its seeds may not last; and what is known of why. Its
    # directed test stands in.
    open: str = ""


RAFT = "tests/unit/dataplane/raft/"
REPLICA = "tests/unit/dataplane/replica/"
APPLY = "tests/unit/txn/apply/"
STORAGE = "tests/unit/storage/"
SESSION = "tests/unit/txn/session/"
TXN = "tests/unit/txn/"
HLC = "tests/unit/dataplane/hlc/"

MUTANTS = (
    Mutant("COUNT_OLD_TERM", 1, 300, (30,), RAFT + "raft_script_test"),
    Mutant("VOTE_BEFORE_DURABLE", 2, 1000, (166,), RAFT + "raft_script_test"),
    Mutant("ACK_BEFORE_DURABLE", 3, 300, (44,), RAFT + "raft_script_test"),
    Mutant("CONFIG_BEFORE_OWN_TERM", 4, 300, (50, 94), RAFT + "raft_script_test"),
    Mutant("CONFIG_NOT_ROLLED_BACK", 5, 300, (5,), RAFT + "raft_script_test"),
    Mutant("LEARNER_COUNTS", 6, 300, (1,), RAFT + "raft_script_test"),
    Mutant("OLD_INCARNATION_COUNTS", 7, 3000, (520, 1640, 2551), RAFT + "raft_message_test"),
    Mutant("PREVOTE_KEEPS_TERM", 8, 300, (150,), RAFT + "raft_script_test"),
    Mutant("NO_CHECK_QUORUM", 9, 300, (2, 22), RAFT + "raft_script_test"),
    Mutant("DISK_STALL_IGNORED", 10, 300, (22, 24), "tests/unit/api/node/node_watchdog_test"),
    Mutant("SNAPSHOT_BEFORE_FLUSH", 11, 300, (92,), REPLICA + "replica_snapshot_test"),
    Mutant("SNAPSHOT_MOVING", 12, 300, (64,), STORAGE + "snapshot/snapshot_test"),
    Mutant("DIGEST_MOVING", 12, 300, (1, 4), APPLY + "apply_snapshot_test"),
    Mutant("APPLIED_APART", 13, 300, (9,), APPLY + "apply_replay_test"),
    Mutant("APPLY_LOCAL", 14, 300, (1,), APPLY + "apply_replay_test"),
    Mutant("LEASE_BEFORE_READ", 15, 300, (87,), REPLICA + "replica_test"),
    Mutant("SERVE_BEFORE_OWN_TERM", 16, 300, (3,), RAFT + "raft_script_test"),
    Mutant("TRANSFER_KEEPS_LEASE", 17, 300, (87,), RAFT + "raft_script_test"),
    Mutant("NO_DEDUPE", 18, 300, (1,), APPLY + "apply_replay_test"),
    Mutant("STALE_RELEASE", 19, 300, (35, 37), RAFT + "raft_script_test"),
    Mutant("TRUNCATE_EQUAL", 20, 300, (31, 48), RAFT + "raft_script_test"),
    Mutant("CEILING_FORGOTTEN", 28, 300, (5,), REPLICA + "replica_test"),
    Mutant("TOMBSTONE_IGNORED", 54, 300, (1,), REPLICA + "replica_snapshot_test"),
    Mutant("SYNC_ERROR_IGNORED", 55, 300, (25,), STORAGE + "raftlog/raftlog_test"),
    Mutant("DAMAGE_TRUNCATED", 56, 300, (11,), STORAGE + "raftlog/raftlog_kill_test"),
    Mutant("DAMAGED_VOTES", 58, 1000, (147,), RAFT + "raft_script_test"),
    Mutant("TRIM_UNFLUSHED", 59, 300, (14,), REPLICA + "replica_test"),
    Mutant("FULL_DISK_SKIPS", 60, 300, (23,), APPLY + "apply_test"),
    Mutant("CHUNK_UNCHECKED", 61, 300, (142,), REPLICA + "replica_snapshot_test"),
    Mutant("OLD_BOOT", 62, 300, (56,), "tests/unit/api/node/identity_test"),
    Mutant("UNKNOWN_ENTRY_IGNORED", 63, 300, (3,), APPLY + "apply_test"),
    Mutant("READ_IGNORES_LOCKS", 42, 300, (6,), SESSION + "session_locks_test"),
    Mutant("UNCERTAIN_BY_COMMIT", 30, 300, (20, 85), SESSION + "session_locks_test"),
    Mutant("FOLLOWER_READS_EARLY", 26, 300, (6,), SESSION + "session_follower_test"),
    Mutant("DECIDED_NOT_ADOPTED", 32, 300, (148, 257), SESSION + "session_locks_test"),
    Mutant("TOMBSTONE_SKIPPED", 37, 300, (31, 38), APPLY + "apply_txn_test"),
    Mutant("LOWER_ATTEMPT_ADMITTED", 38, 1000, (65,), APPLY + "apply_txn_test"),
    Mutant("LOCK_IGNORED", 42, 300, (6,), APPLY + "apply_txn_test"),
    Mutant("READ_NOT_VALIDATED", 31, 300, (6,), APPLY + "apply_txn_test"),
    Mutant("READ_LOCK_SKIPPED", 34, 300, (73,), APPLY + "apply_txn_test"),
    Mutant("CLOSED_ABOVE_PREPARED", 26, 300, (6,), SESSION + "session_locks_test"),
    Mutant("COMMIT_TS_LOCAL", 32, 300, (39,), APPLY + "apply_txn_test"),
    Mutant("PREPARED_TS_LOST", 30, 300, (20, 85), APPLY + "apply_txn_test"),
    Mutant("FORGOTTEN_EARLY", 40, 1000, (38, 74), APPLY + "apply_txn_test"),
    Mutant("CLOSED_ABOVE_IN_FLIGHT", 27, 300, (1,), REPLICA + "replica_test"),
    Mutant("LEAD_UNCHECKED", 29, 300, (20, 36), HLC + "hlc_test"),
    Mutant("DECIDED_EARLY", 36, 300, (6,), TXN + "coordinator/coordinator_test"),
    Mutant("NO_RECOVERY", 39, 300, (26,), TXN + "participant/participant_test"),
    Mutant("UNKNOWN_TOLD_ABORTED", 41, 300, (26,), TXN + "gateway/gateway_test"),
    Mutant("LOCKS_NOT_LOADED", 43, 300, (26,), APPLY + "apply_txn_test"),
    Mutant("WAITS_FOR_OLDER", 44, 1000, (20,), SESSION + "session_locks_test"),
)
