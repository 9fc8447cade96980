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
    masked: str = ""


RAFT = "tests/unit/dataplane/raft/"
REPLICA = "tests/unit/dataplane/replica/"
APPLY = "tests/unit/txn/apply/"
STORAGE = "tests/unit/storage/"

MUTANTS = (
    Mutant("COUNT_OLD_TERM", 1, 1000, (62,), RAFT + "raft_script_test"),
    Mutant("VOTE_BEFORE_DURABLE", 2, 1000, (), RAFT + "raft_script_test"),
    Mutant("ACK_BEFORE_DURABLE", 3, 300, (), RAFT + "raft_script_test"),
    Mutant("CONFIG_BEFORE_OWN_TERM", 4, 1000, (), RAFT + "raft_script_test"),
    Mutant("CONFIG_NOT_ROLLED_BACK", 5, 300, (50,), RAFT + "raft_script_test"),
    Mutant("LEARNER_COUNTS", 6, 300, (4,), RAFT + "raft_script_test"),
    Mutant("OLD_INCARNATION_COUNTS", 7, 1000, (), RAFT + "raft_message_test"),
    Mutant("PREVOTE_KEEPS_TERM", 8, 1000, (), RAFT + "raft_script_test"),
    Mutant("NO_CHECK_QUORUM", 9, 300, (), RAFT + "raft_script_test"),
    Mutant("DISK_STALL_IGNORED", 10, 1000, ()),
    Mutant("SNAPSHOT_BEFORE_FLUSH", 11, 300, (), REPLICA + "replica_snapshot_test"),
    Mutant("SNAPSHOT_MOVING", 12, 300, (), STORAGE + "snapshot/snapshot_test"),
    Mutant("APPLIED_APART", 13, 300, (), APPLY + "apply_replay_test"),
    Mutant("APPLY_LOCAL", 14, 300, (), APPLY + "apply_replay_test"),
    Mutant("LEASE_BEFORE_READ", 15, 1000, (), REPLICA + "replica_test"),
    Mutant("SERVE_BEFORE_OWN_TERM", 16, 300, (), RAFT + "raft_script_test"),
    Mutant("TRANSFER_KEEPS_LEASE", 17, 300, (), RAFT + "raft_script_test"),
    Mutant("NO_DEDUPE", 18, 300, (), APPLY + "apply_replay_test"),
    Mutant("STALE_RELEASE", 19, 1000, (), RAFT + "raft_script_test"),
    Mutant("TRUNCATE_EQUAL", 20, 300, (), RAFT + "raft_script_test"),
    Mutant("CEILING_FORGOTTEN", 28, 300, (), REPLICA + "replica_test"),
    Mutant("TOMBSTONE_IGNORED", 54, 1000, (), REPLICA + "replica_snapshot_test"),
    Mutant("SYNC_ERROR_IGNORED", 55, 300, ()),
    Mutant("DAMAGE_TRUNCATED", 56, 300, (), STORAGE + "raftlog/raftlog_kill_test"),
    Mutant("DAMAGED_VOTES", 58, 1000, (), RAFT + "raft_script_test"),
    Mutant("TRIM_UNFLUSHED", 59, 300, (), REPLICA + "replica_random_test"),
    Mutant("FULL_DISK_SKIPS", 60, 300, (), APPLY + "apply_snapshot_test"),
    Mutant("CHUNK_UNCHECKED", 61, 1000, (), REPLICA + "replica_snapshot_test"),
    Mutant("OLD_BOOT", 62, 300, ()),
    Mutant("UNKNOWN_ENTRY_IGNORED", 63, 300, (), APPLY + "apply_test"),
)
