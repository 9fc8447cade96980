// SPDX-License-Identifier: Apache-2.0
//
// reads.pml - the argument that a strong read over two shards sees every transaction that was
// acknowledged, or seen by a read, before it began, and of each transaction both halves or none;
// though its timestamp may come from a clock that is behind all others.
//
// Two shards, each with a clock of its own that is not synchronised with anything; transactions
// that write on both (on keys of their own, so they do not wait for one another); and one read
// after the other, of both halves of a transaction or of one. README.md beside this file says what
// is left out; docs/protocols/transactions.md, "Reads", has the rule. `tests/model/run` checks the
// model in several scopes, and that each mutant fails.
//
// A mutant is one of these names, given as -DNAME:
//   UNCERTAIN_BY_COMMIT  LOCKS_ABOVE_R_IGNORED  VERSIONS_ABOVE_R_IGNORED  OTHER_SHARD_NOT_REREAD
//   READ_NOT_ADOPTED  LOCKS_IGNORED_AFTER_RAISE

// ---- the scope, given as -DNAME=number
#ifndef TXNS
#define TXNS 2
#endif
#ifndef READS
#define READS 2 // one after the other
#endif
#ifndef STAMPS
#define STAMPS 4 // timestamps 0..STAMPS
#endif

#define NONE      0
#define PREPARED  1
#define COMMITTED 2
#define ABORTED   3

// ---- the shards
byte now[2];          // a leader's clock: above everything it used or was shown
byte state[2 * TXNS]; // of a transaction on a shard
byte stamp[2 * TXNS]; // its local prepare timestamp
byte unread[TXNS];    // the reads leave out what it writes on that shard, + 1; 0: they want both
#define OF(w, x) ((w) * 2 + (x))
#define IS_READ(w, x) (unread[w] != (x) + 1)
#define COMMIT_TS(w) MAX(stamp[OF(w, 0)], stamp[OF(w, 1)])
#define MAX(a, b) ((a) > (b) -> (a) : (b))

// ---- the read
byte reads;      // that have ended
byte r;
byte raised;     // what it is to be raised to: the largest c that was uncertain
bit reached[2];  // the shard has been contacted
byte contact[2]; // and its clock was that
bit got[2];      // it has answered in this round
bit seen[2 * TXNS];
bit must[TXNS];  // acknowledged, or seen by a read, before this one began
bit known[TXNS]; // the history: seen by a read that has ended
byte some;       // a choice on its way into a step; 0 between steps

hidden byte i;

#define BOTH_ARE(w, s) (state[OF(w, 0)] == (s) && state[OF(w, 1)] == (s))
#define BOUND(x)       MAX(contact[x], r)

// ---- transactions: each step is an entry of one shard

inline prepare(w, x) {
    atomic {
        state[OF(w, x)] == NONE && now[x] < STAMPS -> some = now[x] + 1; // whatever the clock shows
        do
        :: some < STAMPS -> some++
        :: break
        od;
        d_step {
            printf("shard %d prepares transaction %d at %d\n", x, w, some);
            state[OF(w, x)] = PREPARED;
            stamp[OF(w, x)] = some;
            now[x] = some;
            some = 0
        }
    }
}

#define MAY_COMMIT(w) \
    (stamp[OF(w, 0)] != 0 && stamp[OF(w, 1)] != 0 && \
     state[OF(w, 0)] != ABORTED && state[OF(w, 1)] != ABORTED)

inline commit(w, x) {
    atomic {
        state[OF(w, x)] == PREPARED && MAY_COMMIT(w) -> d_step {
            printf("shard %d commits transaction %d at %d\n", x, w, COMMIT_TS(w));
            state[OF(w, x)] = COMMITTED;
            now[x] = MAX(now[x], COMMIT_TS(w))
        }
    }
}

// One of them refuses, and then the other one's prepare goes.
inline refuse(w, x) {
    atomic {
        (state[OF(w, x)] == NONE ||
         (state[OF(w, x)] == PREPARED && state[OF(w, 1 - x)] == ABORTED)) -> d_step {
            printf("shard %d aborts transaction %d\n", x, w);
            state[OF(w, x)] = ABORTED;
            stamp[OF(w, x)] = 0
        }
    }
}

proctype txn(byte w) {
end:
    do
    :: prepare(w, 0)
    :: prepare(w, 1)
    :: commit(w, 0)
    :: commit(w, 1)
    :: refuse(w, 0)
    :: refuse(w, 1)
    od
}

// ---- the read

// The client may have been told as soon as both are prepared.
inline note_must(w) {
    must[w] = known[w] || (stamp[OF(w, 0)] != 0 && stamp[OF(w, 1)] != 0)
}

inline begin_read() {
    atomic {
        do
        :: some < STAMPS -> some++
        :: break
        od;
        d_step {
            r = some;
            some = 0;
            printf("a read begins at %d\n", r);
            i = 0;
            do
            :: i < TXNS -> note_must(i); i++
            :: else -> break
            od;
            i = 0
        }
    }
}

// A leader that is shown r gives out nothing at or below it any more.
#ifdef READ_NOT_ADOPTED
#define SHOW(x) skip
#else
#define SHOW(x) now[x] = MAX(now[x], r)
#endif

// Its clock shows anything from what it used on, and need not remember that.
inline reach(x) {
    atomic {
        !reached[x] -> some = now[x];
        do
        :: some < STAMPS -> some++
        :: break
        od;
        d_step {
            printf("shard %d hears of the read, its clock at %d\n", x, some);
            reached[x] = 1;
            contact[x] = some;
            SHOW(x);
            some = 0
        }
    }
}

#if defined(LOCKS_ABOVE_R_IGNORED)
#define WAITS_UP_TO(x) r
#elif defined(LOCKS_IGNORED_AFTER_RAISE)
#define WAITS_UP_TO(x) contact[x]
#else
#define WAITS_UP_TO(x) BOUND(x)
#endif
#define IN_THE_WAY(w, x) \
    (IS_READ(w, x) && state[OF(w, x)] == PREPARED && stamp[OF(w, x)] <= WAITS_UP_TO(x))

#if TXNS == 1
#define WAITS(x) IN_THE_WAY(0, x)
#else
#define WAITS(x) (IN_THE_WAY(0, x) || IN_THE_WAY(1, x))
#endif

// A version above r that may have been acknowledged before the read began.
#if defined(UNCERTAIN_BY_COMMIT)
#define UNCERTAIN(w, x) (COMMIT_TS(w) > r && COMMIT_TS(w) <= BOUND(x))
#elif defined(VERSIONS_ABOVE_R_IGNORED)
#define UNCERTAIN(w, x) false
#else
#define UNCERTAIN(w, x) (COMMIT_TS(w) > r && stamp[OF(w, x)] <= BOUND(x))
#endif

inline serve(x) {
    atomic {
        reached[x] && !got[x] && !WAITS(x) -> d_step {
            SHOW(x);
            i = 0;
            do
            :: i < TXNS && !IS_READ(i, x) -> i++
            :: i < TXNS && IS_READ(i, x) ->
                seen[OF(i, x)] = (state[OF(i, x)] == COMMITTED && COMMIT_TS(i) <= r);
                raised = (state[OF(i, x)] == COMMITTED && UNCERTAIN(i, x) ->
                          MAX(raised, COMMIT_TS(i)) : raised);
                i++
            :: else -> break
            od;
            i = 0;
            printf("shard %d answers the read at %d, to be raised to %d\n", x, r, raised);
            got[x] = 1
        }
    }
}

#define SEEN(w) (seen[OF(w, 0)] || seen[OF(w, 1)])

inline end_round() {
    atomic {
        got[0] && got[1] -> d_step {
            if
            :: raised > r ->
                printf("the read is raised to %d\n", raised);
#ifdef OTHER_SHARD_NOT_REREAD
                if
                :: BOUND(0) < raised -> got[1] = 0 // asks only where it was behind
                :: else -> got[0] = 0
                fi;
#else
                got[0] = 0;
                got[1] = 0;
#endif
                r = raised;
                raised = 0
            :: else ->
                printf("the read ends\n");
                i = 0;
                do
                :: i < TXNS ->
                    // Both halves or none.
                    assert(unread[i] != 0 || seen[OF(i, 0)] == seen[OF(i, 1)]);
                    // What was acknowledged, or seen.
                    assert(!must[i] || SEEN(i));
                    known[i] = known[i] || SEEN(i);
                    seen[OF(i, 0)] = 0;
                    seen[OF(i, 1)] = 0;
                    must[i] = 0;
                    i++
                :: else -> break
                od;
                i = 0;
                raised = 0;
                r = 0;
                contact[0] = 0;
                contact[1] = 0;
                reached[0] = 0;
                reached[1] = 0;
                got[0] = 0;
                got[1] = 0;
                reads++
            fi
        }
    }
}

// It ends: otherwise this process stands still before its end.
proctype reader() {
    byte n = 0;
    do
    :: n < READS ->
        begin_read();
        do
        :: reach(0)
        :: reach(1)
        :: serve(0)
        :: serve(1)
        :: end_round();
           if
           :: reads > n -> break
           :: else
           fi
        od;
        n++
    :: else -> break
    od
}

// Shards may change places, so the half that is left out of transaction 0 may be called shard 1's.
init {
    if
    :: true
    :: unread[0] = 2
    fi;
#if TXNS > 1
    if
    :: true
    :: unread[1] = 1
    :: unread[1] = 2
    fi;
#endif
    atomic {
        if
        :: unread[0] != 0 -> printf("the reads leave out what transaction 0 writes on shard 1\n")
        :: else
        fi;
        run txn(0);
#if TXNS > 1
        run txn(1);
#endif
        run reader()
    }
}
