// SPDX-License-Identifier: Apache-2.0
// raft_internal.h - the state of one core and the functions its handlers share.
// Invariants: see raft_check.c, which asserts them all; in short: trim <= applied <= announced <=
//             commit <= last, announced <= durable <= last, match < next for every peer, one
//             PERSIST at most in one step.
// Ownership:  the core owns its ring, its catch-up buffer and everything in them.
// Thread:     confined to the shard loop.
// See:        dataplane/raft/README.md; tests/unit/dataplane/raft
#pragma once

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "dataplane/raft/raft.h"

enum {
    RAFT_PEERS_MAX = RAFT_MEMBERS_MAX,
    RAFT_WINDOW_SLOTS = 16,
    RAFT_CATCHUP_MAX = 64,
    RAFT_RING_MIN = 16,
    RAFT_BACKOFF_MAX = 5,        // an absent peer is asked every resend_ns * 32
    RAFT_SENDS_PROPOSE_MAX = 2,  // append messages for one peer in one step of PROPOSE
    RAFT_SENDS_REPLY_MAX = 4,    // append messages in answer to one reply
};

// Terms and indexes beyond this come from no correct peer; it keeps all arithmetic away from
// overflow.
#define RAFT_NUMBER_MAX (UINT64_MAX >> 1)

enum raft_progress_state {
    RAFT_PROBE,      // where the logs meet is not known: one message at a time
    RAFT_REPLICATE,  // it is known: messages follow each other without waiting
    // Entries are of no use: they are trimmed here, or its log is damaged. Only messages without
    // entries are sent.
    RAFT_SNAPSHOT,
};

enum raft_vote { RAFT_VOTE_NONE, RAFT_VOTE_YES, RAFT_VOTE_NO };

// The messages in flight to one peer, oldest first. A slot stands for a run of messages, so that a
// window of hundreds of messages costs a fixed 256 bytes a peer.
struct raft_window {
    struct {
        uint64_t last_index;
        uint32_t messages;
    } slots[RAFT_WINDOW_SLOTS];
    uint32_t head;
    uint32_t used;
    uint32_t messages;  // sum over the slots
};

struct raft_progress {
    struct node_id node;
    uint64_t incarnation;
    bool voter;       // of the newer configuration
    bool outgoing;    // of the older one
    bool departed;    // no member any more: gets entries until that is committed
    bool probe_sent;  // RAFT_PROBE: a probe is on its way
    enum raft_progress_state state;
    enum raft_vote vote;  // candidates
    uint32_t backoff;     // resends since the last answer
    uint64_t match;       // highest index known to be durable and equal there
    // What the peer itself knows to be equal, by its latest acceptance. After a restart it knows
    // less than `match`, and applies no further until it is told.
    uint64_t verified;
    uint64_t verified_sequence;  // of that answer; ordered over the peer's boots
    uint64_t next;               // next index to send
    uint64_t sent_ns;            // latest append; 0 = none in this term
    uint64_t heard_ns;           // latest answer of this term; 0 = none
    uint64_t heard_epoch;        // support that its node granted this one's at that moment
    uint64_t fort_epoch;         // support epoch under which it fortifies this leader; 0 = none
    uint64_t read_round;         // latest round it confirmed
    struct raft_window window;

    // Snapshots. What it says of itself counts in the order of its own messages.
    bool wants;  // it asks for one that reaches wanted_index
    uint64_t wanted_index;
    uint64_t wants_sequence;    // of the latest answer
    uint64_t damaged_sequence;  // up to this one its answers mean nothing
    bool sending;               // the driver has one under way
    uint64_t sending_floor;     // and its index is this or later
    uint64_t send_again_ns;     // after a failure not before
};

struct raft_slot {
    struct log_entry entry;
    uint64_t sequence;  // of the persist that makes it durable
};

struct raft_log {
    struct raft_slot *slots;
    uint32_t capacity;  // power of two
    uint32_t count_max;
    uint64_t size_max;
    uint64_t first;  // oldest index in memory; last + 1 when the window is empty
    uint64_t last;
    uint64_t before_term;  // term at first - 1
    uint64_t durable;
    uint64_t trim_index;
    uint64_t trim_term;
    uint64_t size;  // record bytes in memory
};

// Entries read back from the store for one lagging peer; valid until the next step.
struct raft_catchup {
    struct log_entry *entries;  // RAFT_CATCHUP_MAX, allocated when first needed
    uint64_t first;
    uint32_t count;
};

// "While epoch is live here, I neither campaign nor vote", given to the leader of term.
struct raft_promise {
    struct node_id leader;  // 0 = none
    uint64_t term;
    uint64_t epoch;
    uint64_t sequence;  // largest of the leader's appends that it answered
};

struct raft_reads {
    uint64_t round;  // latest round number given out in this term
    uint64_t inflight_round;
    uint64_t inflight_token;
    uint64_t gather_token;
    bool inflight;
    bool gathering;
};

struct raft_transfer {
    struct node_id target;  // 0 = none
    uint64_t deadline_ns;
    bool told;  // TIMEOUT_NOW is out
};

struct raft_core {
    struct raft_config config;  // its configs are copied below
    enum raft_health health;

    // The latest committed membership and those above it in the log; the last is in use.
    struct raft_config_entry *configs;
    uint32_t config_count;
    uint32_t config_capacity;
    uint64_t config_version;  // counts changes of what is in use
    bool voter;               // self is one of the newer configuration in use
    bool outgoing;            // and one of the older

    enum raft_role role;
    uint64_t term;
    struct node_id vote;
    struct node_id leader;       // whom to send clients to; 0 = unknown or lost
    struct node_id term_leader;  // who leads or led this term; 0 = unknown

    uint64_t persist_sequence;    // last one given out
    uint64_t persisted_sequence;  // last one known durable
    uint64_t hard_sequence;       // of the latest persist with a hard state
    uint64_t waited_sequence;     // largest that a SEND had to wait for
    uint64_t cover_sequence;      // of the write that takes over what a snapshot stands for

    struct raft_log log;
    struct raft_catchup catchup;
    uint64_t commit;     // committed by a quorum
    uint64_t announced;  // min(commit, durable): what the driver was told
    uint64_t applied;
    uint64_t verified;  // follower: the log equals that of the term's leader up to here

    uint64_t heard_ns;        // follower: latest append of the leader
    uint64_t heard_sequence;  // and the largest sequence of those of this term,
    uint64_t heard_commit;    // and the largest commit
    uint64_t election_deadline_ns;
    uint64_t deadline_ns;
    struct raft_promise promise;

    struct raft_progress peers[RAFT_PEERS_MAX];
    uint32_t peer_count;
    enum raft_vote self_vote;
    uint64_t term_start;        // leader
    uint32_t held_back;         // chances to campaign that were left to others (support->reluctant)
    uint64_t worried_since_ns;  // leader: since when no quorum supports it; UINT64_MAX = one does
    // leader: only answers to this round or later fortify (after TIMEOUT_NOW)
    uint64_t fort_round_min;
    struct raft_reads reads;
    struct raft_transfer transfer;

    // Of the step that runs.
    uint64_t now_ns;
    uint64_t random;
    struct raft_actions *out;
    uint32_t persist_item;  // place of this step's PERSIST in out, UINT32_MAX = none yet
    enum raft_role told_role;
    uint64_t told_term;
    struct node_id told_leader;
    uint64_t told_config_version;
    uint64_t told_config_committed;
};

static inline uint64_t raft__add(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}
static inline uint64_t raft__min(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}
static inline uint64_t raft__max(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

// --- actions (raft_action.c)
struct raft_action *raft__emit(struct raft_core *core, enum raft_action_type type);
// A message of this core to a peer with term filled in; the caller sets the rest and calls
// raft__send.
struct raft_message raft__message(const struct raft_core *core, enum raft_message_type type,
                                  const struct raft_progress *to);
struct raft_message raft__answer(const struct raft_core *core, enum raft_message_type type,
                                 const struct raft_message *request);
void raft__send(struct raft_core *core, const struct raft_message *message,
                uint64_t after_sequence);
// This step's PERSIST, made at the first call.
struct raft_action *raft__persist(struct raft_core *core);
// Adds term, vote and commit to this step's PERSIST.
void raft__persist_hard_state(struct raft_core *core);
// Sequence to wait for until the hard state is durable; 0 = it is.
uint64_t raft__hard_state_pending(const struct raft_core *core);

// --- entries (raft_log.c)
void raft__log_init(struct raft_log *log, const struct raft_config *config, uint64_t last_term);
void raft__log_deinit(struct raft_log *log);
const struct log_entry *raft__log_cached(const struct raft_log *log, uint64_t index);
// Makes room for `need` entries by dropping what is durable, above soft_pin only if it must.
void raft__log_evict(struct raft_log *log, uint64_t soft_pin, uint32_t need);
// Entries that fit without dropping anything.
uint32_t raft__log_room(const struct raft_log *log);
void raft__log_append(struct raft_log *log, const struct log_entry *entry, uint64_t sequence);
// Removes [from, last]; before_term is the term at from - 1, used when nothing stays in memory.
void raft__log_truncate(struct raft_log *log, uint64_t from, uint64_t before_term);
// Moves durable up to what `sequence` covers.
void raft__log_persisted(struct raft_log *log, uint64_t sequence);
// Sequence to wait for until index is durable; 0 = it is.
uint64_t raft__log_pending(const struct raft_log *log, uint64_t index);
uint64_t raft__log_last_term(const struct raft_log *log);
// The log begins anew after (index, term), which is durable elsewhere.
void raft__log_reset(struct raft_log *log, uint64_t index, uint64_t term);
// Everything up to index is durable elsewhere; what follows stays.
void raft__log_covered(struct raft_log *log, uint64_t index);

// --- terms and old entries, which may need the store (raft_catchup.c)
// Term at an index of [trim, last]; 0 below. One read of the store when the index is not in memory.
uint64_t raft__term_at(const struct raft_core *core, uint64_t index);
// Largest index in [low, high] whose term is <= term; low when there is none. Terms never fall, so
// a binary search does.
uint64_t raft__last_index_of_term(const struct raft_core *core, uint64_t low, uint64_t high,
                                  uint64_t term);
// The entry from memory or from the catch-up buffer, or NULL.
const struct log_entry *raft__entry(const struct raft_core *core, uint64_t index);
// Tries to hold entries from index on in the catch-up buffer; false when it is taken in this step
// or the entries are trimmed.
bool raft__catchup_fill(struct raft_core *core, uint64_t index);
void raft__catchup_release(struct raft_core *core);
void raft__catchup_free(struct raft_core *core);

// --- quorums (raft_quorum.c)
// Largest v such that a majority of the values is >= v. count > 0; the array is reordered.
uint64_t raft__quorum_value(uint64_t *values, uint32_t count);
enum raft_vote raft__quorum_vote(uint32_t yes, uint32_t no, uint32_t count);
enum raft_quantity {
    RAFT_QUANTITY_MATCH,
    RAFT_QUANTITY_HEARD,
    RAFT_QUANTITY_READ_ROUND,
    RAFT_QUANTITY_FORTIFIED,  // instant until which the voter fortifies this leader
};
// The quorum value over the voters; this node counts with its durable index, or as unbounded.
uint64_t raft__quorum_of(const struct raft_core *core, enum raft_quantity quantity);
enum raft_vote raft__quorum_votes(const struct raft_core *core);
bool raft__is_joint(const struct raft_core *core);
// A voter of one of the configurations in use.
bool raft__counts(const struct raft_progress *peer);
bool raft__is_alone(const struct raft_core *core);  // the only voter is this replica

// --- memberships (raft_membership.c, raft_config.c)
// A leader that uses `self` may propose `next`.
bool raft__membership_follows(const struct raft_membership *self,
                              const struct raft_membership *next);
const struct raft_membership *raft__members(const struct raft_core *core);  // in use
uint64_t raft__config_index(const struct raft_core *core);                  // of the one in use
enum status raft__configs_check(const struct raft_config *config);
void raft__configs_init(struct raft_core *core, const struct raft_config *config);
void raft__configs_free(struct raft_core *core);
// Forgets those below the latest committed one.
void raft__configs_committed(struct raft_core *core);
// Entries from first on were appended: memberships among them, checked before, are in use.
void raft__configs_appended(struct raft_core *core, uint64_t first);
void raft__configs_truncated(struct raft_core *core, uint64_t from);
// A snapshot stands in the place of everything up to index.
void raft__configs_installed(struct raft_core *core, uint64_t index,
                             const struct raft_membership *membership);
// The payload of an entry of kind CONFIG.
NODISCARD enum status raft__config_decode(const struct log_entry *entry,
                                          struct raft_membership *out);
// Leader: forgets the peers that went, after a last word to them.
void raft__peers_part(struct raft_core *core);
void raft__peers_drop_departed(struct raft_core *core);
// Makes peers and the own role those of the membership at the top.
void raft__config_use(struct raft_core *core);
bool raft__member_is_self(const struct raft_core *core, const struct raft_member *member);
// Whole, and a voter of a membership that may still decide.
bool raft__may_lead(const struct raft_core *core);

// --- snapshots (raft_snapshot.c)
// Asks the driver to send the peer a snapshot, unless one is under way or just failed.
void raft__snapshot_begin(struct raft_core *core, struct raft_progress *peer);
// Least index of a snapshot that can help this replica.
uint64_t raft__wanted_index(const struct raft_core *core);
// Sequence to wait for until the log holds what only the state machine holds; 0 = it does.
uint64_t raft__cover_pending(const struct raft_core *core);

// --- promises and leases (raft_lease.c) True while this replica is bound not to help `candidate`
// (0 = anyone): a live promise to another node.
bool raft__promise_binds(const struct raft_core *core, struct node_id candidate);
// The same for a vote request that a TIMEOUT_NOW of the leader of term - 1 caused.
bool raft__promise_binds_transfer(const struct raft_core *core, const struct raft_message *request);
// Ends a promise whose leader asks for votes itself, or has released it by a transfer.
void raft__promise_end_by_request(struct raft_core *core, const struct raft_message *request);
// Promises the leader of this term; returns the epoch to answer with, 0 when this node does not
// support the leader's.
uint64_t raft__promise_renew(struct raft_core *core, struct node_id leader, uint64_t sequence);
bool raft__is_quiet(const struct raft_core *core);
// Follower: there is a leader that deserves loyalty (Ongaro 4.2.3).
bool raft__has_live_leader(const struct raft_core *core, struct node_id candidate);
// Leader: a quorum stands behind it, by support or by recent answers.
bool raft__leads_live(const struct raft_core *core);

// --- roles (raft_role.c)
uint64_t raft__timeout(const struct raft_core *core);
void raft__become_follower(struct raft_core *core, uint64_t term, struct node_id leader);
void raft__become_leader(struct raft_core *core);
bool raft__may_campaign(const struct raft_core *core);
void raft__start_prevote(struct raft_core *core);
// transfer_sequence: of the TIMEOUT_NOW that asks for it, 0 = ordinary election.
void raft__start_election(struct raft_core *core, uint64_t transfer_sequence);
void raft__count_votes(struct raft_core *core);
void raft__update_deadline(struct raft_core *core);

// --- progress (raft_progress.c)
struct raft_progress *raft__progress(struct raft_core *core, struct node_id node);
// The peer that sent the message, by node and incarnation; NULL when it is none.
struct raft_progress *raft__sender(struct raft_core *core, const struct raft_message *message);
void raft__progress_reset(struct raft_progress *self, uint64_t next);
void raft__progress_probe(struct raft_progress *self, uint64_t next);
void raft__progress_replicate(struct raft_progress *self, uint64_t next);
void raft__progress_snapshot(struct raft_progress *self, uint64_t next);
// The node of the peer is there: it is supported, or answered a moment ago.
bool raft__is_present(const struct raft_core *core, const struct raft_progress *peer,
                      uint64_t now_ns);
void raft__window_add(struct raft_window *self, uint64_t last_index, uint32_t messages_max);
void raft__window_free(struct raft_window *self, uint64_t match);

// --- replication (raft_replicate.c)
// One append with what fits, or without entries.
void raft__send_append(struct raft_core *core, struct raft_progress *peer, bool with_entries);
// What the peer's state and window allow, at most messages_max.
void raft__replicate(struct raft_core *core, struct raft_progress *peer, uint32_t messages_max);
// Moves commit to the quorum's match when that entry is of this term (5.4.2).
void raft__advance_commit(struct raft_core *core);
void raft__announce(struct raft_core *core);

// --- reads and transfer (raft_read.c, raft_transfer.c)
void raft__reads_advance(struct raft_core *core);
void raft__reads_fail(struct raft_core *core);
void raft__transfer_advance(struct raft_core *core);
void raft__transfer_expire(struct raft_core *core);
// A leader that is no voter of what it committed hands over and gives up (Ongaro 4.2.2).
void raft__leave_office(struct raft_core *core);

// --- leader housekeeping (raft_tick.c)
void raft__tick_leader(struct raft_core *core);
uint64_t raft__leader_deadline(struct raft_core *core);
// --- events
enum status raft__message_check(struct raft_core *core, const struct raft_message *message);
enum status raft__on_message(struct raft_core *core, const struct raft_message *message);
enum status raft__on_append(struct raft_core *core, const struct raft_message *message);
// Another replica leads the term of the message already.
bool raft__is_second_leader(const struct raft_core *core, const struct raft_message *message);
// The sender leads its term, which is not an earlier one: this replica follows. Returns the epoch
// under which it fortifies it.
uint64_t raft__follow(struct raft_core *core, const struct raft_message *message);
enum status raft__on_snapshot_offer(struct raft_core *core, const struct raft_message *message);
enum status raft__on_snapshot_sent(struct raft_core *core, const struct raft_event *event);
enum status raft__on_snapshot_installed(struct raft_core *core, const struct raft_event *event);
enum status raft__on_hollowed(struct raft_core *core);
enum status raft__on_append_reply(struct raft_core *core, const struct raft_message *message);
enum status raft__on_vote(struct raft_core *core, const struct raft_message *message);
enum status raft__on_vote_reply(struct raft_core *core, const struct raft_message *message);
enum status raft__on_timeout_now(struct raft_core *core, const struct raft_message *message);
enum status raft__on_tick(struct raft_core *core);
enum status raft__on_propose(struct raft_core *core, const struct raft_event *event);
enum status raft__on_read(struct raft_core *core, uint64_t token);
enum status raft__on_persisted(struct raft_core *core, uint64_t sequence);
enum status raft__on_applied(struct raft_core *core, uint64_t index);
enum status raft__on_leader_lost(struct raft_core *core, const struct raft_event *event);
enum status raft__on_frontier(struct raft_core *core, const struct raft_event *event);
enum status raft__on_campaign(struct raft_core *core);
enum status raft__on_transfer(struct raft_core *core, struct node_id target);
enum status raft__on_step_down(struct raft_core *core);
