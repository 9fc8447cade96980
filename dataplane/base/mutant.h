// SPDX-License-Identifier: Apache-2.0
// mutant.h - bugs put in on purpose, to see that the tests would find them.
// Invariants: in an ordinary build MUTANT() is the constant false and the bug is not compiled in;
//             in a build with --config=mutants at most one is on, chosen before anything runs.
// Ownership:  static.
// Thread:     mutant_choose before the first thread starts; reading is free.
// See:        tests/sim/README.md "Mutants"; dataplane/base/README.md
#pragma once

#include <stdbool.h>

// X(name, number of the classic bug that it imitates, what the bug does)
#define MUTANT_LIST(X)                                                                         \
    X(COUNT_OLD_TERM, 1, "a leader counts replicas of entries of earlier terms as committed")  \
    X(VOTE_BEFORE_DURABLE, 2, "a vote leaves before it is durable")                            \
    X(ACK_BEFORE_DURABLE, 3, "an append is acknowledged before it is durable")                 \
    X(CONFIG_BEFORE_OWN_TERM, 4, "members change before an entry of the term is committed")    \
    X(CONFIG_NOT_ROLLED_BACK, 5, "a truncated membership stays in force")                      \
    X(LEARNER_COUNTS, 6, "learners count for votes and commits")                               \
    X(OLD_INCARNATION_COUNTS, 7, "votes of a removed replica count for its successor")         \
    X(PREVOTE_KEEPS_TERM, 8, "a candidate behind the others never takes their term")           \
    X(NO_CHECK_QUORUM, 9, "a leader without a quorum leads on")                                \
    X(DISK_STALL_IGNORED, 10, "a node whose syncs hang keeps its leaderships")                 \
    X(SNAPSHOT_BEFORE_FLUSH, 11, "the log begins anew before the snapshot is durable")         \
    X(SNAPSHOT_MOVING, 12, "a snapshot is read from moving state")                             \
    X(DIGEST_MOVING, 12, "a digest is walked over moving state")                               \
    X(APPLIED_APART, 13, "the applied index is written apart from its effects")                \
    X(APPLY_LOCAL, 14, "applying depends on the node")                                         \
    X(LEASE_BEFORE_READ, 15, "the lease is checked before the read, not after")                \
    X(SERVE_BEFORE_OWN_TERM, 16, "a new leader serves before an entry of its term is applied") \
    X(TRANSFER_KEEPS_LEASE, 17, "a leader keeps its lease while its successor campaigns")      \
    X(NO_DEDUPE, 18, "a repeated commit is applied again")                                     \
    X(STALE_RELEASE, 19, "a release from before the election ends the promise")                \
    X(TRUNCATE_EQUAL, 20, "an overlap that agrees is truncated too")                           \
    X(CEILING_FORGOTTEN, 28, "a new leader's clock does not start at the ceiling")             \
    X(TOMBSTONE_IGNORED, 54, "a removed replica is opened again by an old message")            \
    X(SYNC_ERROR_IGNORED, 55, "a failed sync counts as done")                                  \
    X(DAMAGE_TRUNCATED, 56, "a log is cut at a corrupt record in its middle")                  \
    X(DAMAGED_VOTES, 58, "a replica with a damaged log votes and acknowledges")                \
    X(TRIM_UNFLUSHED, 59, "the log is trimmed beyond what the store has flushed")              \
    X(FULL_DISK_SKIPS, 60, "an apply that meets a full disk is skipped")                       \
    X(CHUNK_UNCHECKED, 61, "a snapshot that lacks a chunk is taken as whole")                  \
    X(OLD_BOOT, 62, "a restored node goes on under its old boot number")                       \
    X(UNKNOWN_ENTRY_IGNORED, 63, "a replica skips entries of a version it does not know")      \
    X(READ_IGNORES_LOCKS, 42, "a strong read does not wait for prepared writes")               \
    X(UNCERTAIN_BY_COMMIT, 30, "what is uncertain is judged by commit timestamps alone")       \
    X(FOLLOWER_READS_EARLY, 26, "a replica serves snapshots that it has not closed")           \
    X(DECIDED_NOT_ADOPTED, 32, "a leader resolves without adopting the commit timestamp")      \
    X(TOMBSTONE_SKIPPED, 37, "a probe of what was never prepared leaves no record")            \
    X(LOWER_ATTEMPT_ADMITTED, 38, "a lower attempt prepares after a higher one")               \
    X(LOCK_IGNORED, 42, "locks of others are not looked at when a prepare is applied")         \
    X(READ_NOT_VALIDATED, 31, "a commit does not check that its reads still stand")            \
    X(READ_LOCK_SKIPPED, 34, "reads of a prepared transaction are not locked")                 \
    X(CLOSED_ABOVE_PREPARED, 26, "the closed timestamp passes a prepared transaction")         \
    X(COMMIT_TS_LOCAL, 32, "versions get the local timestamp, not that of the commit")         \
    X(PREPARED_TS_LOST, 30, "a version forgets when it was prepared here")                     \
    X(FORGOTTEN_EARLY, 40, "a record is dropped before every participant has resolved")        \
    X(CLOSED_ABOVE_IN_FLIGHT, 27, "the closed timestamp passes entries that are in flight")    \
    X(LEAD_UNCHECKED, 29, "a clock follows another one however far it is ahead")               \
    X(DECIDED_EARLY, 36, "a commit is decided before the last participant has prepared")       \
    X(NO_RECOVERY, 39, "nobody resolves what a dead coordinator has left prepared")            \
    X(UNKNOWN_TOLD_ABORTED, 41, "an unknown outcome is told as if nothing had happened")       \
    X(LOCKS_NOT_LOADED, 43, "a replica that starts knows nothing of what is prepared")         \
    X(WAITS_FOR_OLDER, 44, "a younger transaction waits for an older one's locks")

enum mutant {
    MUTANT_NONE,
#define MUTANT_NAME(name, number, text) MUTANT_##name,
    MUTANT_LIST(MUTANT_NAME)
#undef MUTANT_NAME
        MUTANT_COUNT
};

// As written above, and as `--mutant` of the simulator takes it.
const char *mutant_name(enum mutant mutant);
const char *mutant_text(enum mutant mutant);
int mutant_number(enum mutant mutant);

#ifdef LIGHTCONE_MUTANTS
extern enum mutant mutant_chosen;
// The node whose code runs is of the release before (the simulator says so).
extern bool mutant_old_release;
#define MUTANT(name) (mutant_chosen == MUTANT_##name)
static inline void mutant_choose(enum mutant mutant) {
    mutant_chosen = mutant;
}
#else
#define MUTANT(name)       false
#define mutant_old_release false
#endif
