// SPDX-License-Identifier: Apache-2.0
//
// ceiling.pml - the argument that no write commits at or below a timestamp that a read was already
// served at, whatever the clocks show; and that a read under a lease misses no committed write.
//
// Three nodes, one shard. Each step of a node is one atomic step here; between two steps of one
// node any number of steps of others may pass, so every pause, delay and loss is some order of
// steps. README.md beside this file says what is left out and why that hides nothing;
// docs/protocols/time.md leads from the rules to the code. `tests/model/run` checks the model in
// several scopes, and that each mutant fails.
//
// A mutant is one of these names, given as -DNAME:
//   CEILING_SKIPPED  EPOCH_NOT_BUMPED  PROMISE_IGNORED  LEASE_BEFORE_READ  CLOSED_ABOVE_CEILING
//   STALE_RELEASE  BOOT_QUIET_SKIPPED  SERVE_BEFORE_OWN_ENTRY  LEASE_AFTER_TIMEOUT_NOW
//   LEASE_TOO_LONG  READ_ABOVE_CEILING  LATE_ANSWER_FORTIFIES  TRANSFER_BREAKS_PROMISES

// ---- the scope, given as -DNAME=number
#ifndef TERMS
#define TERMS 2 // the first leader's and one election after it
#endif
#ifndef STAMPS
#define STAMPS 3 // timestamps 1..STAMPS
#endif
#ifndef WRITES
#define WRITES 1
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef RELEASES
#define RELEASES 0 // 1: one list of leaderships that lacks this shard travels
#endif
#ifndef RESIGNS
#define RESIGNS 0 // 1: leaders may resign of their own accord
#endif
#ifndef TRANSFERS
#define TRANSFERS 0 // 1: one TIMEOUT_NOW
#endif
#ifndef PAUSES
#define PAUSES 0 // 1: a read may pause between reading and looking at its lease
#endif
#define ENTRIES (WRITES + TERMS)

#define FOLLOWER  0
#define CANDIDATE 1
#define LEADER    2

// ---- the log. Entries form a tree: an entry knows its predecessor, so a log is named by its last
// entry, and to cut a log is to name another one. 0 is the empty log. Numbers grow along a path.
byte entries;
byte e_before[ENTRIES + 1];
byte e_term[ENTRIES + 1];
byte e_stamp[ENTRIES + 1];   // 0: carries no write
byte e_ceiling[ENTRIES + 1]; // the largest up to here
bit e_committed[ENTRIES + 1];

// ---- a node. Term, vote and log are durable, all else is lost in a crash.
byte term[3];
bit voted[3];
byte log[3];
byte role[3];
byte commit[3]; // of a leader: the last entry it knows to be committed, applied at once
byte clock[3];  // of a leader: the largest timestamp it used. The wall clock is not kept: it may
                // show anything at any time, so a leader's next timestamp is any larger one
#if CRASHES
bit quiet[3]; // after a boot, until every promise of an earlier boot is over
byte crashes;
#define QUIET(a) (quiet[a])
#else
#define QUIET(a) false
#endif

// ---- pairs of nodes
#define P(a, b) ((a) * 2 + ((b) + 2 - (a)) % 3)
byte grant[6];   // P(granter, holder): the epoch of the support that runs; 0: none
byte held[6];    // P(leader, voter): the epoch that the leader may count on now; 0: none
byte fort[6];    // P(leader, voter): the epoch under which the voter fortified this leadership
byte matched[6]; // P(leader, voter): the voter's log equals the leader's up to here
#ifdef LATE_ANSWER_FORTIFIES
byte late[6]; // P(leader, voter): what an answer still under way says
#endif

// ---- the promise of each voter
byte p_to[3]; // node + 1; 0: none
#if TRANSFERS
bit p_released[3]; // made to an append sent before the TIMEOUT_NOW of its term

byte tn; // the TIMEOUT_NOW: 0 not sent, 1 under way, 2 obeyed
byte tn_to;
byte tn_term;
#endif

#if RELEASES
byte rel; // the list: 0 not sent, 1 under way, 2 under way and older than the promise, 3 gone
byte rel_from;
byte rel_to;
#endif

#if PAUSES
byte r_node; // the read between its begin and its answer: node + 1; 0: none
byte r_stamp;
bit r_bad; // it does not show what it would have to show
#endif
#ifdef LEASE_BEFORE_READ
byte looked; // node + 1 that saw its lease valid at some moment before
#endif

byte writes;
byte served; // the history: the largest timestamp that any read was served at
bit told;    // nodes 1 and 2 differ by now (see APART)

byte some; // a choice on its way into a step; 0 between steps
hidden byte x;
hidden byte y;
hidden byte bad;

#define OTHER1(a) (((a) + 1) % 3)
#define OTHER2(a) (((a) + 2) % 3)
#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define MAX(a, b) ((a) > (b) -> (a) : (b))

// Nodes 1 and 2 begin alike, so whichever of them is first to differ may be called 1.
#define APART(a) (told || (a) != 2)

// An entry of its own term is committed, hence so is everything it inherited.
#ifdef SERVE_BEFORE_OWN_ENTRY
#define READY(a) (role[a] == LEADER)
#else
#define READY(a) (role[a] == LEADER && e_term[commit[a]] == term[a])
#endif

#define COUNTS(a, b) (fort[P(a, b)] != 0 && held[P(a, b)] == fort[P(a, b)])
#define LEASE(a)     (READY(a) && (COUNTS(a, OTHER1(a)) || COUNTS(a, OTHER2(a))))

// The promise of voter b keeps it from helping candidate c.
#ifdef PROMISE_IGNORED
#define BOUND(b, c) false
#else
#define BOUND(b, c) (p_to[b] != 0 && p_to[b] != (c) + 1 && grant[P(b, (p_to[b] + 2) % 3)] != 0)
#endif

// Candidate c stands because it was told to; voter b made its promise before that.
#if TRANSFERS
#define BY_TRANSFER(c) (tn == 2 && tn_to == (c) && term[c] == tn_term + 1)
#else
#define BY_TRANSFER(c) false
#endif
#if !TRANSFERS || defined(TRANSFER_BREAKS_PROMISES)
#define RELEASED(b, c) BY_TRANSFER(c)
#else
#define RELEASED(b, c) (BY_TRANSFER(c) && p_released[b])
#endif

#define LOG_COVERS(c, b)                                                                           \
    (e_term[log[c]] > e_term[log[b]] || (e_term[log[c]] == e_term[log[b]] && log[c] >= log[b]))

// While a lease runs, nobody leads a later term; so there is at most one valid lease.
#ifdef HISTORY_ONLY
#define CHECK_LEASES skip
#else
#define USURPED(a, b) (role[b] == LEADER && term[b] > term[a] && LEASE(a))
#define CHECK_LEASES                                                                               \
    assert(!USURPED(0, 1) && !USURPED(0, 2) && !USURPED(1, 0) && !USURPED(1, 2) &&                 \
           !USURPED(2, 0) && !USURPED(2, 1))
#endif

inline forget_promise(a) {
    if
    :: p_to[a] != 0 ->
        // Support that nobody refers to may as well have lapsed.
        x = P(a, p_to[a] - 1);
        grant[x] = (role[p_to[a] - 1] == LEADER -> grant[x] : 0);
        p_to[a] = 0
    :: else
    fi;
#if TRANSFERS
    p_released[a] = 0;
#endif
    skip
}

inline stop_counting(a, b) {
    fort[P(a, b)] = 0;
    matched[P(a, b)] = 0;
    held[P(a, b)] = 0;
    grant[P(b, a)] = (p_to[b] == a + 1 -> grant[P(b, a)] : 0);
#ifdef LATE_ANSWER_FORTIFIES
    late[P(a, b)] = 0
#endif
}

// What a node forgets when it leads no more. Its clock, too: the wall clock may have been set back.
inline stop_leading(a) {
    role[a] = FOLLOWER;
    clock[a] = 0;
    commit[a] = 0;
    stop_counting(a, OTHER1(a));
    stop_counting(a, OTHER2(a));
#ifdef LEASE_BEFORE_READ
    looked = (looked == a + 1 -> 0 : looked);
#endif
#if PAUSES
    if
    :: r_node == a + 1 -> r_node = 0; r_stamp = 0; r_bad = 0
    :: else
    fi
#endif
}

inline adopt_term(a, newer) {
    if
    :: term[a] < newer -> stop_leading(a); term[a] = newer; voted[a] = 0
    :: else
    fi
}

inline add_entry(a, stamp, ceiling) {
    entries++;
    e_before[entries] = log[a];
    e_term[entries] = term[a];
    e_stamp[entries] = stamp;
    e_ceiling[entries] = ceiling;
    log[a] = entries
}

// y becomes the largest timestamp below every write of leader a that is not applied yet.
inline below_in_flight(a) {
    y = STAMPS;
    x = log[a];
    do
    :: x != commit[a] && x != 0 ->
        y = (e_stamp[x] != 0 -> e_stamp[x] - 1 : y);
        x = e_before[x]
    :: else -> break
    od
}

// bad: leader a, reading at `stamp`, would not see some committed write that it has to see: one at
// or below its timestamp, or (for a strong read) any.
inline look_for_missed(a, stamp, strong) {
    bad = 0;
    x = 1;
    do
    :: x <= entries ->
        if
        :: !e_committed[x] || e_stamp[x] == 0
        :: else ->
            if
            :: e_stamp[x] <= stamp && x > commit[a] -> bad = 1
            :: e_stamp[x] > stamp && strong -> bad = 1
            :: else
            fi
        fi;
        x++
    :: else -> break
    od
}

inline drop_release() {
    rel = 3;
    rel_from = 0;
    rel_to = 0
}

// ---- support (dataplane/support)

// Voter b is asked for support by leader a, which hears the answer. What runs is renewed under its
// epoch; else a new epoch begins. Epochs are told apart only by what still names them, so any
// number that nothing names will do.
inline renew(a, b) {
    if
    :: grant[P(b, a)] != 0
    :: else ->
#ifdef EPOCH_NOT_BUMPED
        grant[P(b, a)] = 1
#else
        grant[P(b, a)] = 1;
        do
        :: grant[P(b, a)] == fort[P(a, b)] || grant[P(b, a)] == held[P(a, b)] -> grant[P(b, a)]++
        :: else -> break
        od
#endif
    fi;
    held[P(a, b)] = grant[P(b, a)]
}

// By itself, after a lapse. Before the first append it would bind nobody and serve nothing.
inline ask_support(a, b) {
    atomic {
        role[a] == LEADER && fort[P(a, b)] != 0 &&
            (grant[P(b, a)] == 0 || held[P(a, b)] != grant[P(b, a)]) -> d_step {
            printf("%d is supported by %d again\n", a, b);
            renew(a, b);
            CHECK_LEASES
        }
    }
}

// The support of a for b runs out. The holder counted from an earlier instant and for a shorter
// time, so it has stopped counting on it: that is all the model knows about monotonic clocks.
inline lapse(a, b) {
    atomic {
        grant[P(a, b)] != 0 -> d_step {
            printf("support of %d for %d runs out\n", a, b);
#ifndef LEASE_TOO_LONG
            held[P(b, a)] = (held[P(b, a)] == grant[P(a, b)] -> 0 : held[P(b, a)]);
#endif
            grant[P(a, b)] = 0;
#ifndef EPOCH_NOT_BUMPED
            // Dead for good; forgetting it saves states.
            if
            :: p_to[a] == b + 1 -> forget_promise(a)
            :: else
            fi
#endif
        }
    }
}

// ---- restart

#if CRASHES
inline crash(a) {
    atomic {
        crashes < CRASHES && APART(a) -> d_step {
            printf("%d restarts\n", a);
            crashes++;
            told = (a == 0 -> told : 1);
            stop_leading(a);
            forget_promise(a);
            grant[P(a, OTHER1(a))] = 0;
            grant[P(a, OTHER2(a))] = 0;
#ifndef BOOT_QUIET_SKIPPED
            quiet[a] = 1
#endif
        }
    }
}

// A duration after the boot nobody counts on support of an earlier boot any more.
inline end_quiet(a) {
    atomic {
        quiet[a] -> d_step {
            printf("%d ends its quiet time\n", a);
            quiet[a] = 0;
            x = P(OTHER1(a), a);
            held[x] = (held[x] == grant[P(a, OTHER1(a))] -> held[x] : 0);
            x = P(OTHER2(a), a);
            held[x] = (held[x] == grant[P(a, OTHER2(a))] -> held[x] : 0)
        }
    }
}
#endif

// ---- elections (raft_role.c, raft_on_vote.c)

inline begin_election(a) {
    stop_leading(a);
    forget_promise(a);
    term[a]++;
    voted[a] = 1;
    role[a] = CANDIDATE
}

inline campaign(a) {
    atomic {
        role[a] != LEADER && term[a] < TERMS && !QUIET(a) && !BOUND(a, a) && APART(a) -> d_step {
            printf("%d campaigns for term %d\n", a, term[a] + 1);
            told = (a == 0 -> told : 1);
            begin_election(a)
        }
    }
}

// The first entry of the term goes into the log at once.
inline win(a, ceiling) {
    role[a] = LEADER;
    forget_promise(a);
#ifdef CEILING_SKIPPED
    clock[a] = 0;
#else
    clock[a] = e_ceiling[log[a]];
#endif
    add_entry(a, 0, ceiling)
}

// Voter b hears candidate a. Two of three are a majority, so one vote decides.
inline ask_vote(a, b) {
    atomic {
        role[a] == CANDIDATE && !QUIET(b) &&
            (term[b] < term[a] || (term[b] == term[a] && !voted[b])) &&
            (!BOUND(b, a) || RELEASED(b, a)) && APART(b) ->
        some = e_ceiling[log[a]]; // the ceiling of its first entry, as the wall clock will have it
        do
        :: some < STAMPS -> some++
        :: break
        od;
        d_step {
            printf("%d asks %d for its vote, ceiling %d\n", a, b, some);
            told = (b == 1 -> 1 : told);
            adopt_term(b, term[a]);
            if
            :: p_to[b] == a + 1 || (p_to[b] != 0 && BY_TRANSFER(a)) -> forget_promise(b)
            :: else
            fi;
            if
            :: LOG_COVERS(a, b) -> voted[b] = 1; win(a, some); CHECK_LEASES
            :: else
            fi;
            some = 0
        }
    }
}

// ---- appends (raft_on_append.c, raft_lease.c)

// Voter b acknowledges the term of leader a under its support: it promises, and fortifies.
// with_log: it also takes the leader's log.
inline append(a, b, with_log) {
    atomic {
        role[a] == LEADER && term[b] <= term[a] && APART(b) -> d_step {
            printf("%d appends to %d, with entries: %d\n", a, b, with_log);
            told = (b == 1 -> 1 : told);
            adopt_term(b, term[a]);
            role[b] = FOLLOWER;
            if
            :: with_log -> log[b] = log[a]; matched[P(a, b)] = log[a]
            :: else
            fi;
            if
            :: p_to[b] != a + 1 -> forget_promise(b)
            :: else
            fi;
            renew(a, b);
            p_to[b] = a + 1;
#if TRANSFERS
            p_released[b] = 0;
#endif
            fort[P(a, b)] = grant[P(b, a)];
#if RELEASES
            if
            :: rel == 1 && rel_from == a && rel_to == b ->
#ifdef STALE_RELEASE
                rel = 2
#else
                drop_release() // it will be refused; forgetting it saves states
#endif
            :: else
            fi;
#endif
            CHECK_LEASES
        }
    }
}

// ---- writes (replica_propose.c, replica_frontier.c)

inline write(a) {
    atomic {
        READY(a) && writes < WRITES && entries < ENTRIES && clock[a] < STAMPS ->
        some = clock[a] + 1; // whatever the wall clock shows
        do
        :: some < STAMPS -> some++
        :: break
        od;
        d_step {
            printf("%d assigns timestamp %d to a write\n", a, some);
            writes++;
            clock[a] = some;
            y = MIN(some + 1, STAMPS);
            y = MAX(e_ceiling[log[a]], y);
            add_entry(a, some, y);
            some = 0
        }
    }
}

// A majority has the log of leader a up to what b has, and that is of the leader's own term.
inline note_commit(a, b) {
    atomic {
        role[a] == LEADER && matched[P(a, b)] > commit[a] -> d_step {
            printf("%d commits up to entry %d\n", a, matched[P(a, b)]);
            x = matched[P(a, b)];
            do
            :: x != commit[a] && x != 0 ->
                if
                :: !e_committed[x] && e_stamp[x] != 0 ->
                    // The sentence this model is about.
                    assert(e_stamp[x] > served);
#if PAUSES
                    r_bad = (r_node != 0 && e_stamp[x] <= r_stamp -> 1 : r_bad)
#endif
                :: else
                fi;
                e_committed[x] = 1;
                x = e_before[x]
            :: else -> break
            od;
            commit[a] = matched[P(a, b)];
            CHECK_LEASES
        }
    }
}

// ---- strong reads (replica_read.c)

#ifdef LEASE_BEFORE_READ
// The lease is looked at before the read begins, and trusted from then on.
#define MAY_BEGIN(a)  (looked == (a) + 1)
#define MAY_ANSWER(a) (role[a] == LEADER)
#elif defined(LEASE_AT_BEGIN)
// A variant that holds: the lease is looked at as the read begins, and not after it.
#define MAY_BEGIN(a)  LEASE(a)
#define MAY_ANSWER(a) (role[a] == LEADER)
#else
#define MAY_BEGIN(a)  (READY(a))
#define MAY_ANSWER(a) LEASE(a)
#endif

// some becomes the read's timestamp: now, but below what is in flight, and not above the ceiling.
inline pick_stamp(a) {
    d_step {
        below_in_flight(a);
#ifdef READ_ABOVE_CEILING
        some = y
#else
        some = MIN(y, e_ceiling[commit[a]])
#endif
    };
    do
    :: some > clock[a] + 1 -> some--
    :: break
    od
}

#if PAUSES
inline begin_read(a) {
    atomic {
        r_node == 0 && MAY_BEGIN(a) -> pick_stamp(a);
        d_step {
            printf("%d begins a read at %d\n", a, some);
            look_for_missed(a, some, 1);
            r_node = a + 1;
            r_stamp = some;
            r_bad = bad;
            clock[a] = MAX(clock[a], some);
            some = 0
        }
    }
}

inline end_read(a) {
    atomic {
        r_node == a + 1 && MAY_ANSWER(a) -> d_step {
            printf("%d answers a read at %d\n", a, r_stamp);
            assert(!r_bad);
            served = MAX(served, r_stamp);
            r_node = 0;
            r_stamp = 0
        }
    }
}

inline drop_read(a) {
    atomic { r_node == a + 1 -> d_step { r_node = 0; r_stamp = 0; r_bad = 0 } }
}
#else
inline read(a) {
    atomic {
        MAY_BEGIN(a) && MAY_ANSWER(a) -> pick_stamp(a);
        d_step {
            printf("%d answers a read at %d\n", a, some);
            look_for_missed(a, some, 1);
            assert(!bad);
            served = MAX(served, some);
            clock[a] = MAX(clock[a], some);
            some = 0
        }
    }
}
#endif

// ---- closed timestamps, by the side channel (replica_frontier.c). Whoever applied what the leader
// applied may serve reads up to it, under no lease: so it counts as a read that is served now.
inline close(a) {
    atomic {
        READY(a) -> d_step {
            below_in_flight(a);
#ifdef CLOSED_ABOVE_CEILING
            some = y
#else
            some = MIN(y, e_ceiling[commit[a]])
#endif
        };
        do
        :: some > served + 1 -> some--
        :: some > served -> break
        :: some <= served -> some = 0; break // that is closed already
        od;
        d_step {
            printf("%d closes %d\n", a, some);
            look_for_missed(a, some, 0);
            assert(!bad);
            served = MAX(served, some);
            clock[a] = MAX(clock[a], some);
            some = 0
        }
    }
}

// ---- releases (replica_peers.c, raft_events.c)

#if RESIGNS
inline step_down(a) {
    atomic {
        role[a] == LEADER -> d_step {
            printf("%d resigns\n", a);
            stop_leading(a)
        }
    }
}
#endif

#if RELEASES
inline send_release(a, b) {
    atomic {
        rel == 0 && role[a] != LEADER && APART(a) && APART(b) -> d_step {
            printf("%d tells %d that it leads nothing\n", a, b);
            told = 1;
            rel = 1;
            rel_from = a;
            rel_to = b
        }
    }
}

inline hear_release(b) {
    atomic {
        (rel == 1 || rel == 2) && rel_to == b -> d_step {
            printf("%d hears that %d leads nothing (2: stale): %d\n", b, rel_from, rel);
            if
#ifdef STALE_RELEASE
            :: p_to[b] == rel_from + 1 -> forget_promise(b)
#else
            :: rel == 1 && p_to[b] == rel_from + 1 -> forget_promise(b)
#endif
            :: else
            fi;
            drop_release()
        }
    }
}
#endif

// ---- leadership transfer (raft_transfer.c)

#if TRANSFERS
inline give_up_lease(a, b) {
    p_released[b] = (p_to[b] == a + 1 && term[b] == term[a]);
#ifdef LATE_ANSWER_FORTIFIES
    late[P(a, b)] = fort[P(a, b)];
#endif
#ifndef LEASE_AFTER_TIMEOUT_NOW
    fort[P(a, b)] = 0
#endif
}

inline send_timeout_now(a, b) {
    atomic {
        tn == 0 && role[a] == LEADER && matched[P(a, b)] == log[a] -> d_step {
            printf("%d tells %d to take over\n", a, b);
            tn = 1;
            tn_to = b;
            tn_term = term[a];
            give_up_lease(a, OTHER1(a));
            give_up_lease(a, OTHER2(a))
        }
    }
}

inline hear_timeout_now(b) {
    atomic {
        tn == 1 && tn_to == b && term[b] == tn_term && term[b] < TERMS && role[b] == FOLLOWER &&
            !QUIET(b) && (!BOUND(b, b) || p_released[b]) -> d_step {
            printf("%d obeys and campaigns for term %d\n", b, term[b] + 1);
            tn = 2;
            begin_election(b)
        }
    }
}
#endif

#ifdef LATE_ANSWER_FORTIFIES
inline hear_late_answer(a, b) {
    atomic {
        late[P(a, b)] != 0 -> d_step {
            printf("%d hears a late answer of %d\n", a, b);
            fort[P(a, b)] = late[P(a, b)];
            late[P(a, b)] = 0;
            CHECK_LEASES
        }
    }
}
#endif

#define WITH_EACH(action) action(me, OTHER1(me)) :: action(me, OTHER2(me))

proctype node(byte me) {
end:
    do
    :: WITH_EACH(ask_support)
    :: WITH_EACH(lapse)
    :: campaign(me)
    :: WITH_EACH(ask_vote)
    :: append(me, OTHER1(me), 1)
    :: append(me, OTHER2(me), 1)
    :: append(me, OTHER1(me), 0)
    :: append(me, OTHER2(me), 0)
    :: write(me)
    :: WITH_EACH(note_commit)
    :: close(me)
#if PAUSES
    :: begin_read(me)
    :: end_read(me)
    :: drop_read(me)
#else
    :: read(me)
#endif
#if CRASHES
    :: crash(me)
    :: end_quiet(me)
#endif
#if RESIGNS
    :: step_down(me)
#endif
#if RELEASES
    :: WITH_EACH(send_release)
    :: hear_release(me)
#endif
#if TRANSFERS
    :: WITH_EACH(send_timeout_now)
    :: hear_timeout_now(me)
#endif
#ifdef LATE_ANSWER_FORTIFIES
    :: WITH_EACH(hear_late_answer)
#endif
#ifdef LEASE_BEFORE_READ
    :: atomic {
           LEASE(me) && looked == 0 -> d_step {
               printf("%d looks at its lease\n", me);
               looked = me + 1
           }
       }
#endif
    od
}

// Node 0 leads term 1. Its first entry is in every log, and it knows that this is committed. Nobody
// has promised anything yet.
init {
    d_step {
        entries = 1;
        e_term[1] = 1;
        e_ceiling[1] = 1;
        e_committed[1] = 1;
        term[0] = 1;
        term[1] = 1;
        term[2] = 1;
        voted[0] = 1;
        voted[1] = 1;
        voted[2] = 1;
        log[0] = 1;
        log[1] = 1;
        log[2] = 1;
        role[0] = LEADER;
        commit[0] = 1
    };
    atomic {
        run node(0);
        run node(1);
        run node(2)
    }
}
