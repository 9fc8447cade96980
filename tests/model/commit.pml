// SPDX-License-Identifier: Apache-2.0
//
// commit.pml - the argument that a transaction over several shards commits on all of them or on
// none, once, and as whoever asked was told, whatever messages are lost, late or repeated.
//
// One transaction id, several attempts of it, and shards that are replicated state machines: the
// record of the id on a shard is one durable value, and an entry that is applied is one step. What
// was sent arrives at any later time, any number of times, or never; so nothing is ever taken out
// of the network. What was answered may be heard at any later time, by any coordinator, recoverer
// or client, or by none. README.md beside this file says why that hides nothing;
// docs/protocols/transactions.md has the rules, by the numbers that are named here.
// `tests/model/run` checks the model in several scopes, and that each mutant fails.
//
// A mutant is one of these names, given as -DNAME:
//   NO_TOMBSTONE  FORGET_EARLY  DROPPED_ABOVE_HORIZON  LOWER_ATTEMPT_ADMITTED  TIMEOUT_IS_REFUSAL
//   ABORT_TOLD_EARLY  BUSY_IGNORED  COMMITTED_ADMITS  PREPARED_ANEW  OWN_TIMESTAMP
//   PROBE_UNANSWERED  HOME_RECOVERS_ALONE
// What the protocol rests on is one of these; taken away it has to fail as well:
//   REPEAT_AFTER_DROP  TOLD_TOO_LATE  TOMBSTONE_OF_DROPPED  OUTCOME_BEFORE_RECORD
//   CLOCK_NOT_CARRIED

// ---- the scope, given as -DNAME=number
#ifndef SHARDS
#define SHARDS 2 // participants, 2 or 3; 0 is the home
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2 // 1..ATTEMPTS, in their order
#endif
#ifndef TICKS
#define TICKS 3 // timestamps 0..TICKS: of entries, and of begins
#endif
#ifndef KEPT
#define KEPT 1 // APPLY_OUTCOME_KEPT_US, in ticks
#endif
#ifndef SETTLES
#define SETTLES 0 // 1: somebody asks the home to settle the id
#endif
// KEPT_TWICE: records are kept twice as long as begins are admitted

#define NONE      0
#define PREPARED  1
#define COMMITTED 2
#define ABORTED   3

// ---- a shard; all of it is durable
byte now[SHARDS];     // the timestamp of its last entry
byte state[SHARDS];   // of the record of the id
byte attempt[SHARDS]; // whose record it is
byte ended[SHARDS];   // the timestamp of the entry that ended it
bit forgotten[SHARDS];
#if SETTLES
byte settled; // the timestamp, + 1, at which the home said aborted for good
#endif

// ---- an attempt
byte begin[ATTEMPTS + 1];

// ---- what was ever answered
#define OF(a, x) (((a) - 1) * SHARDS + (x))
byte said_prepared[ATTEMPTS * SHARDS]; // its timestamp, + 1
bit said_aborted[ATTEMPTS * SHARDS];
bit aborted_young[ATTEMPTS + 1]; // somebody said aborted while begin was above its horizon
bit may_tell[ATTEMPTS + 1];      // a client may have been told that this attempt is aborted

// ---- the history
byte applied[SHARDS]; // whose versions were written; 0: nobody's
byte commit_ts;       // their timestamp, + 1
bit calm;             // no more faults and nobody new; recovery alone goes on

hidden byte i;
hidden byte k;

#define LAST         (SHARDS - 1)
#define MAX(a, b)    ((a) > (b) -> (a) : (b))
#define HAS(x, a, s) (state[x] == (s) && attempt[x] == (a))
#define ANY_HELD(a, s) (HAS(0, a, s) || HAS(1, a, s) || HAS(LAST, a, s))
#define HOLDS_BUSY(x, a) (state[x] == PREPARED && attempt[x] < (a))

#define ANY(p, a) (p(a, 0) || p(a, 1) || p(a, LAST))
#define ALL(p, a) (p(a, 0) && p(a, 1) && p(a, LAST))
#define P_SAID(a, x)    (said_prepared[OF(a, x)] != 0)
#define A_SAID(a, x)    (said_aborted[OF(a, x)])
#define P_HELD(a, x)    HAS(x, a, PREPARED)
#define C_APPLIED(a, x) (applied[x] == (a))

// Whoever has heard this knows that the attempt is committed, and at which timestamp.
#define DECIDED(a) ALL(P_SAID, a)
#define MAX_P(a) \
    (MAX(MAX(said_prepared[OF(a, 0)], said_prepared[OF(a, 1)]), said_prepared[OF(a, LAST)]))

// Below the horizon of a shard: prepares that begun there are refused, what ended there may go.
#define OLD(t, x) ((t) + KEPT < now[x])
#ifdef KEPT_TWICE
#define DROPS(t, x) ((t) + 2 * KEPT < now[x])
#elif defined(DROPPED_ABOVE_HORIZON)
#define DROPS(t, x) true
#else
#define DROPS(t, x) OLD(t, x)
#endif

// What shall hold after every step.
inline check() {
    i = 1;
    do
    :: i <= ATTEMPTS ->
        // One outcome of an attempt.
        assert(!(ANY_HELD(i, COMMITTED) && ANY_HELD(i, ABORTED)));
        if
        :: DECIDED(i) ->
            // Committed is not lost: a prepare stands until its versions are written.
            assert(P_HELD(i, 0) || C_APPLIED(i, 0));
            assert(P_HELD(i, 1) || C_APPLIED(i, 1));
            assert(P_HELD(i, LAST) || C_APPLIED(i, LAST));
            k = 1;
            do
            :: k <= ATTEMPTS ->
                assert(k == i || !DECIDED(k)); // one attempt of an id
                assert(k < i || !may_tell[k]); // aborted is final
                k++
            :: else -> break
            od
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0;
    k = 0
}

// ---- time and the dropping of records

inline drop_record(x) {
    if
    :: (state[x] == ABORTED || (state[x] == COMMITTED && forgotten[x])) && DROPS(ended[x], x) &&
        DROPS(begin[attempt[x]], x) ->
        printf("shard %d drops the record of attempt %d\n", x, attempt[x]);
        state[x] = NONE;
        attempt[x] = 0;
        ended[x] = 0;
        forgotten[x] = 0
    :: else
    fi
}

// The clock of a leader adopts what a message carries before it proposes the entry: the largest
// that the gateway of attempt a, or of a lower one, can have shown.
inline adopt(a, x) {
    i = 1;
    do
    :: i <= a -> now[x] = MAX(now[x], begin[i]); i++
    :: else -> break
    od;
    i = 0;
    drop_record(x)
}

inline tick(x) {
    atomic {
        !calm && now[x] < TICKS -> d_step {
            now[x]++;
            printf("shard %d: it is %d\n", x, now[x]);
            drop_record(x);
            check()
        }
    }
}

// ---- answers

inline says_prepared(a, x) {
#ifdef PREPARED_ANEW
    said_prepared[OF(a, x)] = now[x] + 1
#else
    said_prepared[OF(a, x)] = (P_SAID(a, x) -> said_prepared[OF(a, x)] : now[x] + 1)
#endif
}

// A repeat whose messages come to the home when the outcome is dropped there, though it begun above
// the horizon: it is a new transaction to the home. Clients are not to repeat that late.
#if SETTLES
#define SETTLED (settled != 0 && !DROPS(settled - 1, 0))
#define OUTCOME_DROPPED \
    ((applied[0] != 0 && state[0] != COMMITTED) || (settled != 0 && !SETTLED))
#define OUTCOME_TS (applied[0] != 0 -> commit_ts - 1 : settled - 1)
#else
#define OUTCOME_DROPPED (applied[0] != 0 && state[0] != COMMITTED)
#define OUTCOME_TS (commit_ts - 1)
#endif
#ifdef REPEAT_AFTER_DROP
#define TOO_LATE(a) false
#elif defined(KEPT_TWICE)
#define TOO_LATE(a) (OUTCOME_DROPPED && begin[a] > OUTCOME_TS + KEPT)
#else
#define TOO_LATE(a) (OUTCOME_DROPPED && !OLD(begin[a], 0))
#endif

// A client is told aborted while that can be known, not when its begin is below the horizon.
#ifdef TOLD_TOO_LATE
#define KNOWABLE(a) true
#else
#define KNOWABLE(a) (!OLD(begin[a], 0))
#endif

// recorded: the shard holds a record of this attempt or of a higher one.
inline says_aborted(a, x, recorded) {
    said_aborted[OF(a, x)] = 1;
    aborted_young[a] = (OLD(begin[a], x) -> aborted_young[a] : 1);
#ifdef ABORT_TOLD_EARLY
    may_tell[a] = 1
#else
    may_tell[a] = (x == 0 && (recorded) && KNOWABLE(a) && !TOO_LATE(a) -> 1 : may_tell[a])
#endif
}

inline write_aborted(a, x) {
    state[x] = ABORTED;
    attempt[x] = a;
    ended[x] = now[x];
    forgotten[x] = 0
}

// ---- PREPARE, applied: by the numbers of the document. refused: something stands in the way.

#ifdef LOWER_ATTEMPT_ADMITTED
#define HIGHER(a, x) (attempt[x] > (a) && state[x] != ABORTED)
#else
#define HIGHER(a, x) (attempt[x] > (a))
#endif
#ifdef COMMITTED_ADMITS
#define OUTCOME_KNOWN(a, x) false
#elif SETTLES
#define OUTCOME_KNOWN(a, x) (state[x] == COMMITTED || (x == 0 && SETTLED))
#else
#define OUTCOME_KNOWN(a, x) (state[x] == COMMITTED)
#endif
#ifdef BUSY_IGNORED
#define BUSY(a, x) false
#else
#define BUSY(a, x) HOLDS_BUSY(x, a)
#endif

inline prepare(a, x, refused) {
    atomic {
        !calm -> d_step {
            adopt(a, x);
            if
            :: x == 0 && TOO_LATE(a)
            :: else ->
                if
                :: HAS(x, a, PREPARED) -> says_prepared(a, x)                          // 1
                :: HAS(x, a, ABORTED) -> says_aborted(a, x, 1)                         // 1
                :: HAS(x, a, COMMITTED)                                                // 1
#ifdef OUTCOME_BEFORE_RECORD
                :: attempt[x] != a && state[x] == COMMITTED && OLD(ended[x], x) ->
                    says_aborted(a, x, 1)
#endif
                :: attempt[x] != a && OUTCOME_KNOWN(a, x) -> says_aborted(a, x, 0)     // 2
                :: HIGHER(a, x) && !OUTCOME_KNOWN(a, x) -> says_aborted(a, x, 1)       // 3
                :: BUSY(a, x)                                                          // 4
                :: else ->
                    if
                    :: OLD(begin[a], x) -> says_aborted(a, x, 0)                          // 5
                    :: else ->
                        if
                        :: refused ->                                                  // 6
                            printf("shard %d refuses attempt %d\n", x, a);
                            write_aborted(a, x);
                            says_aborted(a, x, 1)
                        :: else ->                                                     // 7
                            printf("shard %d prepares attempt %d at %d\n", x, a, now[x]);
                            assert(applied[x] != a);
                            state[x] = PREPARED;
                            attempt[x] = a;
                            ended[x] = 0;
                            forgotten[x] = 0;
                            says_prepared(a, x)
                        fi
                    fi
                fi
            fi;
            check()
        }
    }
}

// ---- RESOLVE, applied: the columns of the table

inline commit(a, x) {
    printf("shard %d is told to commit attempt %d\n", x, a);
    now[x] = MAX(now[x], MAX_P(a) - 1);
    adopt(a, x);
    if
    :: HAS(x, a, PREPARED) ->
        assert(applied[x] == 0);
        applied[x] = a;
#ifdef OWN_TIMESTAMP
        i = said_prepared[OF(a, x)];
#else
        i = MAX_P(a);
#endif
        assert(commit_ts == 0 || commit_ts == i);
        commit_ts = i;
        i = 0;
        state[x] = COMMITTED;
        ended[x] = now[x]
    :: else -> assert(!HAS(x, a, ABORTED))
    fi;
    check()
}

// probe: leaves a prepared record alone, and stands in no contradiction to a committed one.
inline refuse(a, x, probe) {
    if
    :: probe -> printf("shard %d is probed for attempt %d\n", x, a)
    :: else -> printf("shard %d is told to abort attempt %d\n", x, a)
    fi;
#ifndef CLOCK_NOT_CARRIED
    // An ABORT carries on the clock of the answer that it comes of.
    if
    :: !probe && !aborted_young[a] -> now[x] = MAX(now[x], begin[a] + KEPT + 1)
    :: else
    fi;
#endif
    adopt(a, x);
    if
    :: state[x] == NONE ->
        if
#ifndef TOMBSTONE_OF_DROPPED
        :: OLD(begin[a], x) ->
            says_aborted(a, x, 0)
#endif
#ifdef NO_TOMBSTONE
        :: probe && !OLD(begin[a], x) -> says_aborted(a, x, 1)
#endif
#ifdef PROBE_UNANSWERED
        :: probe && !OLD(begin[a], x)
#endif
        :: else -> write_aborted(a, x); says_aborted(a, x, 1)
        fi
    :: HAS(x, a, PREPARED) ->
        if
        :: probe -> says_prepared(a, x)
        :: else -> write_aborted(a, x); says_aborted(a, x, 1)
        fi
    :: HAS(x, a, COMMITTED) -> assert(probe || OLD(begin[a], x))
    :: HAS(x, a, ABORTED) -> says_aborted(a, x, 1)
    :: attempt[x] > a -> says_aborted(a, x, state[x] != COMMITTED)
    :: HOLDS_BUSY(x, a) // BUSY
    :: attempt[x] < a && state[x] == COMMITTED -> says_aborted(a, x, 0)
    :: attempt[x] < a && state[x] == ABORTED -> write_aborted(a, x); says_aborted(a, x, 1)
    fi;
    check()
}

inline forget(a, x) {
    atomic {
#ifdef FORGET_EARLY
        !calm && HAS(x, a, COMMITTED) && !forgotten[x] -> d_step {
#else
        !calm && HAS(x, a, COMMITTED) && !forgotten[x] && ALL(C_APPLIED, a) -> d_step {
#endif
            printf("shard %d forgets attempt %d\n", x, a);
            adopt(a, x);
            forgotten[x] = 1;
            drop_record(x);
            check()
        }
    }
}

#if SETTLES
inline settle() {
    atomic {
        !calm && settled == 0 && state[0] != COMMITTED && state[0] != PREPARED &&
            applied[0] == 0 -> d_step {
            printf("the home settles\n");
            settled = now[0] + 1;
            i = 1;
            do
            :: i <= ATTEMPTS -> may_tell[i] = 1; i++
            :: else -> break
            od;
            check()
        }
    }
}
#endif

// ---- who sends. A probe may come from whoever sent, or holds, a prepare; a commit from whoever
// heard everybody say prepared; an abort from whoever heard one say aborted.
#ifdef TIMEOUT_IS_REFUSAL
#define MAY_ABORT(a) true
#else
#define MAY_ABORT(a) ANY(A_SAID, a)
#endif
#ifdef HOME_RECOVERS_ALONE
#define RECOVERS(a, x) ((x) == 0 && P_HELD(a, x))
#else
#define RECOVERS(a, x) P_HELD(a, x)
#endif

// Calm: when all else has ended, whoever holds a prepare asks until it knows. Each of these steps
// gets something done, so they come to an end, in whatever order they are taken.
proctype shard(byte a, x) {
end:
    do
    :: prepare(a, x, 0)
    :: prepare(a, x, 1)
    :: atomic { !calm -> d_step { refuse(a, x, 1) } }
    :: atomic { !calm && MAY_ABORT(a) -> d_step { refuse(a, x, 0) } }
    :: atomic { !calm && DECIDED(a) -> d_step { commit(a, x) } }
    :: forget(a, x)
    :: atomic {
           calm && ANY(RECOVERS, a) && !P_SAID(a, x) && !A_SAID(a, x) &&
               !HOLDS_BUSY(x, a) -> d_step {
               refuse(a, x, 1);
               assert(P_SAID(a, x) || A_SAID(a, x))
           }
       }
    :: atomic {
           calm && P_HELD(a, x) && DECIDED(a) -> d_step {
               commit(a, x);
               assert(state[x] != PREPARED)
           }
       }
    :: atomic {
           calm && P_HELD(a, x) && ANY(A_SAID, a) -> d_step {
               refuse(a, x, 0);
               assert(state[x] != PREPARED)
           }
       }
    od
}

proctype clocks() {
end:
    do
    :: tick(0)
    :: tick(1)
#if SHARDS > 2
    :: tick(2)
#endif
#if SETTLES
    :: settle()
#endif
    od
}

// Nothing stays prepared.
proctype judge() {
    !calm -> calm = 1;
    timeout;
    assert(state[0] != PREPARED && state[1] != PREPARED && state[LAST] != PREPARED)
}

init {
    byte a = 1;
    byte x;
    do
    :: a <= ATTEMPTS ->
        if
        :: begin[a] < TICKS -> begin[a]++
        :: printf("attempt %d begins at %d\n", a, begin[a]); a++
        fi
    :: else -> break
    od;
    atomic {
        a = 1;
        do
        :: a <= ATTEMPTS ->
            x = 0;
            do
            :: x < SHARDS -> run shard(a, x); x++
            :: else -> break
            od;
            a++
        :: else -> break
        od;
        run clocks();
        run judge()
    }
}
