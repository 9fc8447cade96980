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
    open: str = ""    # a hole: not caught yet, and what is known of why


RAFT = "tests/unit/dataplane/raft/"
REPLICA = "tests/unit/dataplane/replica/"
APPLY = "tests/unit/txn/apply/"
STORAGE = "tests/unit/storage/"

MUTANTS = (
    Mutant("COUNT_OLD_TERM", 1, 300, (179,), RAFT + "raft_script_test"),
    Mutant("VOTE_BEFORE_DURABLE", 2, 300, (116,), RAFT + "raft_script_test"),
    Mutant("ACK_BEFORE_DURABLE", 3, 300, (7,), RAFT + "raft_script_test"),
    Mutant("CONFIG_BEFORE_OWN_TERM", 4, 1000, (), RAFT + "raft_script_test",
           open="two joint memberships of different terms still share a majority"),
    Mutant("CONFIG_NOT_ROLLED_BACK", 5, 300, (5,), RAFT + "raft_script_test"),
    Mutant("LEARNER_COUNTS", 6, 300, (1,), RAFT + "raft_script_test"),
    Mutant("OLD_INCARNATION_COUNTS", 7, 1000, (), RAFT + "raft_message_test",
           open="not met by seeds 1..400"),
    Mutant("PREVOTE_KEEPS_TERM", 8, 300, (82,), RAFT + "raft_script_test"),
    Mutant("NO_CHECK_QUORUM", 9, 300, (2,), RAFT + "raft_script_test"),
    Mutant("DISK_STALL_IGNORED", 10, 300, (22,)),
    Mutant("SNAPSHOT_BEFORE_FLUSH", 11, 300, (9,), REPLICA + "replica_snapshot_test"),
    Mutant("SNAPSHOT_MOVING", 12, 300, (5,), STORAGE + "snapshot/snapshot_test"),
    Mutant("APPLIED_APART", 13, 300, (7,), APPLY + "apply_replay_test"),
    Mutant("APPLY_LOCAL", 14, 300, (1,), APPLY + "apply_replay_test"),
    Mutant("LEASE_BEFORE_READ", 15, 300, (87,)),
    Mutant("SERVE_BEFORE_OWN_TERM", 16, 300, (1,), RAFT + "raft_script_test"),
    Mutant("TRANSFER_KEEPS_LEASE", 17, 300, (87,), RAFT + "raft_script_test"),
    Mutant("NO_DEDUPE", 18, 300, (1,), APPLY + "apply_replay_test"),
    Mutant("STALE_RELEASE", 19, 1000, (245,), RAFT + "raft_script_test"),
    Mutant("TRUNCATE_EQUAL", 20, 300, (1,), RAFT + "raft_script_test"),
    Mutant("CEILING_FORGOTTEN", 28, 300, (4,), REPLICA + "replica_test"),
    Mutant("TOMBSTONE_IGNORED", 54, 300, (1,), REPLICA + "replica_snapshot_test"),
    Mutant("SYNC_ERROR_IGNORED", 55, 300, (25,)),
    Mutant("DAMAGE_TRUNCATED", 56, 300, (11,), STORAGE + "raftlog/raftlog_kill_test"),
    Mutant("DAMAGED_VOTES", 58, 300, (75,), RAFT + "raft_script_test"),
    Mutant("TRIM_UNFLUSHED", 59, 300, (14,)),
    Mutant("FULL_DISK_SKIPS", 60, 300, (23,)),
    Mutant("CHUNK_UNCHECKED", 61, 1000, (), REPLICA + "replica_snapshot_test",
           open="snapshots of these worlds rarely lose a chunk and go on"),
    Mutant("OLD_BOOT", 62, 300, (56,)),
    Mutant("UNKNOWN_ENTRY_IGNORED", 63, 300, (3,)),
    Mutant("READ_IGNORES_LOCKS", 42, 300, (6,)),
    Mutant("UNCERTAIN_BY_COMMIT", 30, 1000, (), open="not met yet by seeds 1..400"),
    Mutant("FOLLOWER_READS_EARLY", 26, 300, (6,)),
    Mutant("DECIDED_NOT_ADOPTED", 32, 1000, (), open="not met yet by seeds 1..400"),
    Mutant("TOMBSTONE_SKIPPED", 37, 300, (31,)),
    Mutant("LOWER_ATTEMPT_ADMITTED", 38, 1000, (), open="not met yet by seeds 1..400"),
    Mutant("LOCK_IGNORED", 42, 300, (6,)),
    Mutant("READ_NOT_VALIDATED", 31, 300, (6,)),
    Mutant("READ_LOCK_SKIPPED", 34, 300, (73,)),
    Mutant("CLOSED_ABOVE_PREPARED", 26, 300, (6,)),
    Mutant("COMMIT_TS_LOCAL", 32, 300, (39,)),
    Mutant("PREPARED_TS_LOST", 30, 1000, (), open="not met yet by seeds 1..400"),
    Mutant("FORGOTTEN_EARLY", 40, 1000, (), open="not met yet by seeds 1..400"),
)
