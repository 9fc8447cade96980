// SPDX-License-Identifier: Apache-2.0
// raft.h - the consensus core of one shard: events in, actions out; no clock, no I/O, no
// randomness of its own.
// Invariants: order is the contract: a RAFT_ACTION_SEND with after_sequence != 0 leaves only when
//             that persist sequence is durable; among sends that wait it never falls; a step's
//             PERSIST stands before its sends; persists are numbered from 1 and complete in order;
//             commit never moves back; at most one leader a term; a leader never overwrites its
//             own log; only entries of the current term are committed by counting (Raft 5.4.2).
// Ownership:  the caller owns the core and the actions array; entries passed in are referenced;
//             entries and messages in actions are borrowed until the next step. Memory: one entry
//             ring that doubles up to config.cache_count_max, and a small catch-up buffer while a
//             peer lags.
// Thread:     confined to the shard loop.
// See:        dataplane/raft/README.md; Ongaro, Consensus (2014), chapters 3, 4, 6, 9.6; time.md
//             "Leases"; tests/unit/dataplane/raft
#pragma once

#include "dataplane/base/err.h"
#include "dataplane/port/log_store.h"
#include "dataplane/support/support.h"

#include <stdbool.h>
#include <stdint.h>

enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER, RAFT_ROLE_COUNT };

enum {
    RAFT_VOTERS_MAX = SHARD_REPLICAS_MAX,  // of one configuration
    RAFT_MEMBERS_MAX = 2 * RAFT_VOTERS_MAX,
    RAFT_APPEND_ENTRIES_MAX = 1024,
};

// What a member is in the newer configuration.
enum raft_member_role {
    RAFT_VOTER,
    RAFT_LEARNER,  // gets entries, counts for nothing
    RAFT_LEAVING,  // no longer a member once the joint configuration is left
    RAFT_MEMBER_ROLE_COUNT
};

// One replica of the shard. Its identity is (node, incarnation): a node that was removed and comes
// back is another replica, whose predecessor's votes and acknowledgements count for nothing.
struct raft_member {
    struct node_id node;
    uint64_t incarnation;  // config_epoch of the change that added it; 1 for the first members
    enum raft_member_role role;
    bool outgoing;  // voter of the older configuration, while it is joint
};

// Joint while any member is outgoing: then every decision needs a majority of the voters and one of
// the outgoing (Ongaro 4.3). Each node appears once.
struct raft_membership {
    uint64_t config_epoch;  // counts configurations: joint and final ones
    uint32_t count;
    struct raft_member members[RAFT_MEMBERS_MAX];
};

// What is asked of a membership: the role each named node shall have; others keep theirs.
struct raft_change {
    struct node_id node;
    enum raft_member_role role;  // RAFT_LEAVING = remove
};

// The membership that an entry of the log put in force when it was appended.
struct raft_config_entry {
    uint64_t index;  // 0 = the first, that no entry holds
    struct raft_membership membership;
};

// How far this replica's own copy can be trusted.
enum raft_health {
    RAFT_WHOLE,
    RAFT_HOLLOW,   // the state machine lost its contents: votes and stores, but never campaigns
    RAFT_DAMAGED,  // the log lost entries that it had acknowledged: neither votes nor acknowledges
    RAFT_HEALTH_COUNT
};

struct raft_config {
    struct shard_id shard;
    struct node_id self;
    uint64_t incarnation;  // of this replica; members with self's node and another one are not it
    enum raft_health health;
    // Memberships by the log, oldest first; the first is in force at bounds.trim_index or is the
    // shard's first. self need not be in any: such a replica follows and stores, no more.
    const struct raft_config_entry *configs;  // copied
    uint32_t config_count;                    // at least 1
    const struct support *support;  // read-only view of node-pair support; outlives the core
    const struct log_store *log;    // for entries older than the cache: catch-up reads only
    struct log_bounds bounds;       // what recovery found
    uint64_t applied;  // what the state machine holds; becomes commit at start (it was committed)
    // Base of the randomized election timeout (150 ms); the maximum is twice it.
    uint64_t election_ns_min;
    uint64_t resend_ns;              // unanswered appends are probed after this (100 ms)
    uint32_t inflight_messages_max;  // per follower (256)
    uint64_t append_size_max;  // bytes of one append message (1 MiB), always at least one entry
    uint32_t cache_count_max;  // entries kept in memory, power of two
    uint64_t cache_size_max;  // bytes kept in memory beyond what is not yet durable or not yet sent
};

enum raft_message_type {
    RAFT_PREVOTE_REQUEST,
    RAFT_PREVOTE_REPLY,
    RAFT_VOTE_REQUEST,
    RAFT_VOTE_REPLY,
    RAFT_APPEND_REQUEST,  // also the heartbeat, the probe and the read round
    RAFT_APPEND_REPLY,
    RAFT_TIMEOUT_NOW,
    RAFT_SNAPSHOT_OFFER,  // the first words of a snapshot: its leader, index and term; no reply
    RAFT_MESSAGE_TYPE_COUNT
};

struct raft_message {
    enum raft_message_type type;
    struct node_id from;
    struct node_id to;
    // Of the replicas meant. A message to another incarnation than one's own is not for this one.
    uint64_t from_incarnation;
    uint64_t to_incarnation;
    uint64_t term;
    // of the sender's (node, boot), stamped by the driver; orders fortification against releases
    uint64_t sequence;
    // votes: last index; append: previous index; append reply: match, or on rejection the conflict
    // hint
    uint64_t index;
    uint64_t index_term;  // term at index
    // append: the leader's commit; append reply: accepted, the last index received that equals the
    // leader's, durable or not; rejected, the previous index that was refused
    uint64_t commit;
    uint64_t read_round;  // append: the round to confirm; reply: echoed
    // append reply: epoch under which the follower fortifies the leader; 0 = none
    uint64_t support_epoch;
    bool reject;  // replies
    // append reply: the sender is hollow or damaged and can only be helped by a snapshot that
    // reaches wanted_index at least
    bool wants_snapshot;
    // and it is damaged: what it acknowledged before may be gone
    bool damaged;
    uint64_t wanted_index;  // 0 without wants_snapshot
    bool transfer;          // vote request by TIMEOUT_NOW: ignores stickiness
    // and the sequence of that TIMEOUT_NOW: later promises to its sender still bind; else 0
    uint64_t transfer_sequence;
    uint32_t entry_count;
    const struct log_entry *entries;  // append
};

enum raft_event_type {
    RAFT_EVENT_TICK,  // the deadline was reached (early ones are harmless)
    RAFT_EVENT_MESSAGE,
    // sealed entries, the first at raft_last_index + 1, all of the current term; leader only
    RAFT_EVENT_PROPOSE,
    RAFT_EVENT_READ,  // confirm leadership by a round (ReadIndex); answered by RAFT_ACTION_READ
    RAFT_EVENT_PERSISTED,  // everything up to sequence is durable
    RAFT_EVENT_APPLIED,    // the state machine holds everything up to index
    // support of the leader's node lapsed, came back under a new boot, or the leader released us
    RAFT_EVENT_LEADER_LOST,
    RAFT_EVENT_FRONTIER,   // side channel: the leader of term has committed up to index
    RAFT_EVENT_CAMPAIGN,   // start an election now (first leader of a new shard)
    RAFT_EVENT_TRANSFER,   // leader: hand leadership to target
    RAFT_EVENT_STEP_DOWN,  // leader: give up now (sick disk, shutdown)
    // Leader: the transfer of a snapshot to a peer ended (the action RAFT_ACTION_SNAPSHOT began
    // it). With index != 0 the peer holds everything up to index, durable; 0 = it failed.
    RAFT_EVENT_SNAPSHOT_SENT,
    // The state machine holds a snapshot, durable, in the place of everything up to its index: the
    // log begins anew after it, or goes on if it holds that very entry.
    RAFT_EVENT_SNAPSHOT_INSTALLED,
    // The state machine lost its contents, or was found to differ from the others' (never in
    // answer to RAFT_SNAPSHOT_OFFER, which says so itself). Not by closing and opening: a core
    // that is made anew within one boot has forgotten its promises.
    RAFT_EVENT_HOLLOWED,
    RAFT_EVENT_TYPE_COUNT
};

struct raft_event {
    enum raft_event_type type;
    uint64_t now_ns;
    uint64_t random;  // fresh random bits, used for the election timeout
    union {
        const struct raft_message *message;
        struct {
            const struct log_entry *entries;
            uint32_t count;
        } propose;
        uint64_t read_token;
        uint64_t persisted_sequence;
        uint64_t applied_index;
        struct {
            struct node_id node;  // whose support ended
            uint64_t term;        // a release names the latest term it may speak of; 0 = any
            // a release counts only if sent after the message that was fortified; 0 = support
            // ended
            uint64_t sequence;
        } lost;
        struct {
            struct node_id from;
            uint64_t term;
            uint64_t commit;
        } frontier;
        struct node_id target;
        struct {
            struct node_id node;
            uint64_t incarnation;
            uint64_t index;
        } sent;
        struct {
            uint64_t index;
            uint64_t term;
            const struct raft_membership *membership;  // in force at index
        } installed;
    } u;
};

enum raft_action_type {
    RAFT_ACTION_PERSIST,  // truncate, append, hard state: one log_write
    RAFT_ACTION_SEND,
    // The frontier that may be applied moved to index; entries by raft_entry. It is committed by a
    // quorum and durable here, so that applied state never runs ahead of this node's own log.
    RAFT_ACTION_COMMIT,
    RAFT_ACTION_READ,  // leadership was confirmed (or lost) for every read up to token
    RAFT_ACTION_ROLE,  // role, term or known leader changed
    // The membership in use is another: raft_members, also when truncation brought an older back;
    // or the latest committed one is: raft_members_committed.
    RAFT_ACTION_MEMBERSHIP,
    // Leader: this peer needs what was trimmed, or asks for a snapshot: begin to send one, whose
    // index is at least min_index, and tell how it ended by RAFT_EVENT_SNAPSHOT_SENT. One under way
    // to another incarnation of that node is void; all are when this replica leads no more.
    RAFT_ACTION_SNAPSHOT,
    RAFT_ACTION_TYPE_COUNT
};

struct raft_action {
    enum raft_action_type type;
    union {
        struct {
            uint64_t sequence;
            uint64_t truncate_from;
            uint64_t first_index;  // entries [first_index, first_index + entry_count) by raft_entry
            uint32_t entry_count;
            bool has_hard_state;
            struct log_hard_state hard_state;
            // The log begins anew after (base_index, base_term); 0 = it does not. The driver adds
            // what log_base wants besides, by what it installed.
            uint64_t base_index;
            uint64_t base_term;
        } persist;
        struct {
            uint64_t after_sequence;  // 0 = at once
            // for APPEND_REQUEST entries is NULL and the range below holds
            struct raft_message message;
            uint64_t first_index;
        } send;
        uint64_t commit_index;
        struct {
            uint64_t token;
            bool confirmed;
        } read;
        struct {
            enum raft_role role;
            uint64_t term;
            struct node_id leader;
        } role;
        struct {
            struct node_id node;
            uint64_t incarnation;
            uint64_t min_index;
        } snapshot;
    } u;
};

struct raft_actions {
    struct raft_action *items;
    uint32_t count;
    uint32_t count_max;  // RAFT_ACTIONS_MAX always suffices for one step
};
enum { RAFT_ACTIONS_MAX = 8 + 4 * RAFT_MEMBERS_MAX };

struct raft_core;

// Heap object because of its size; starts as follower. STATUS_CORRUPT when bounds contradict
// themselves or the last entry cannot be read; STATUS_INVALID_ARGUMENT for a membership without
// voters or with a node twice, for another incarnation than the one that wrote the hard state. A
// membership of index 0 may be empty: nothing is known yet, the replica is passive until an entry
// or a snapshot tells (never guess one: voters that know only each other would elect a leader).
// A hollow replica's `applied` is not looked at; nothing of a damaged one's log is read.
NODISCARD enum status raft_create(const struct raft_config *config, uint64_t now_ns,
                                  uint64_t random, struct raft_core **out_core);
void raft_destroy(struct raft_core *core);

// One event; afterwards out holds what is to be done, in order. Errors leave the protocol state as
// it was: STATUS_NOT_LEADER        PROPOSE, READ, TRANSFER on a replica that does not lead;
// STATUS_OVERLOADED        PROPOSE when the entry ring is full (nothing of the batch was taken);
// STATUS_UNAVAILABLE       PROPOSE, TRANSFER while a transfer is under way;
// STATUS_INVALID_ARGUMENT  TRANSFER to a node that is no voter, PROPOSE of a membership that does
// not follow from the one in use; STATUS_FAILED_PRECONDITION CAMPAIGN while bound by a promise or
// quiet after a boot, or by one that is no voter or not whole; TRANSFER to a voter that is not
// ready; PROPOSE of a membership too early; SNAPSHOT_INSTALLED of one that does not reach far
// enough; STATUS_NOT_FOUND a message to another replica or a reply of one that is no member;
// STATUS_CORRUPT a message that no correct peer sends. TICK, PERSISTED, APPLIED, LEADER_LOST,
// FRONTIER, STEP_DOWN, SNAPSHOT_SENT and HOLLOWED always succeed.
//
// RAFT_SNAPSHOT_OFFER answers by its status: STATUS_OK, the snapshot is wanted, the replica is
// hollow from now on and waits for SNAPSHOT_INSTALLED; STATUS_ALREADY_EXISTS, everything up to its
// index is here, durable; STATUS_FAILED_PRECONDITION, refused (an earlier term's, or one that does
// not reach far enough). All but the last have heard the leader.
NODISCARD enum status raft_core_step(struct raft_core *core, const struct raft_event *event,
                                     struct raft_actions *out);

// When a TICK is wanted next; UINT64_MAX = never (an idle shard costs nothing).
uint64_t raft_deadline_ns(const struct raft_core *core);
enum raft_role raft_role(const struct raft_core *core);
bool raft_is_leader(const struct raft_core *core);
uint64_t raft_term(const struct raft_core *core);
struct node_id raft_leader(const struct raft_core *core);
uint64_t raft_last_index(const struct raft_core *core);
uint64_t raft_last_term(const struct raft_core *core);
uint64_t raft_durable_index(const struct raft_core *core);
uint64_t raft_commit_index(const struct raft_core *core);
// Index of the leader's first entry of its term; UINT64_MAX when not leader.
uint64_t raft_term_start_index(const struct raft_core *core);
// In use: the latest of the log, committed or not (Ongaro 4.1).
const struct raft_membership *raft_members(const struct raft_core *core);
// The latest committed one, and its index.
const struct raft_membership *raft_members_committed(const struct raft_core *core,
                                                     uint64_t *out_index);

// --- Membership (Ongaro, chapter 4) ---
// A leader that wants another membership asks for the next one, seals it as an entry of kind CONFIG
// (its payload: raft_membership_encode) and proposes it like any other. PROPOSE refuses it with
// STATUS_FAILED_PRECONDITION while an earlier one is not committed or no entry of this term is
// (Ongaro's correction of 2015), and with STATUS_INVALID_ARGUMENT when it does not follow from the
// one in use.
//
// Changes of learners alone take one step; changes of voters go through a joint membership, which
// the driver leaves by a second entry as soon as raft_wants_leave says so.
//
// The membership that the changes lead to. STATUS_INVALID_ARGUMENT (err names the node and why: no
// voter left, too many, unknown), STATUS_ALREADY_EXISTS when nothing would change,
// STATUS_FAILED_PRECONDITION while joint.
NODISCARD enum status raft_membership_change(const struct raft_membership *self,
                                             const struct raft_change *changes, uint32_t count,
                                             struct raft_membership *out, struct err *err);
bool raft_membership_is_joint(const struct raft_membership *self);
// The final membership that a joint one leads to.
void raft_membership_leave(const struct raft_membership *self, struct raft_membership *out);
const struct raft_member *raft_membership_find(const struct raft_membership *self,
                                               struct node_id node);
// Sane by itself: sizes, roles, each node once, a voter in each configuration.
bool raft_membership_check(const struct raft_membership *self);
void raft_membership_encode(struct codec_writer *w, const struct raft_membership *self);
NODISCARD enum status raft_membership_decode(struct codec_reader *r, struct raft_membership *out);
// Leader of a committed joint membership: fills the one to propose next and returns true.
bool raft_wants_leave(const struct raft_core *core, struct raft_membership *out);
// Ready to lead: a voter of the newer configuration, present, whole, replicating, at most lag
// entries behind (leader only).
bool raft_is_ready(const struct raft_core *core, struct node_id node, uint64_t lag);
// Has applied, in this boot, everything that was committed when a leader of the present term last
// spoke to it, or when it became leader itself. Only a commit of the leader's own term counts: what
// a new leader believes committed before that may be old.
bool raft_is_caught_up(const struct raft_core *core);
enum raft_health raft_health_of(const struct raft_core *core);
// An entry of the memory window, or NULL when it must be read from the log store. Borrowed until
// the next step.
const struct log_entry *raft_entry(const struct raft_core *core, uint64_t index);
// Leader: monotonic instant until which a majority fortifies this leader; 0 = no lease. Compare
// after the read was executed.
uint64_t raft_lease_until_ns(const struct raft_core *core);
// Follower state for operators: match index of a peer (leader only), 0 when unknown.
uint64_t raft_match_index(const struct raft_core *core, struct node_id peer);
// Smallest index that a peer still needs (leader only), for the trim certificate; 0 when a peer
// was never heard. A peer that is sent a snapshot needs what follows what was applied here when
// RAFT_ACTION_SNAPSHOT asked for it; one that needs one and is not sent it needs nothing.
uint64_t raft_needed_index(const struct raft_core *core);
// Largest index whose trimming costs no snapshot that could be avoided (leader only): like
// raft_needed_index - 1, but peers that are absent or more than lag_max entries behind do not hold
// the log back. 0 = nothing may go, for a present peer has not been heard in this term.
uint64_t raft_trim_limit(const struct raft_core *core, uint64_t now_ns, uint64_t lag_max);
// Tells the core that entries up to index were trimmed.
void raft_trimmed(struct raft_core *core, uint64_t index, uint64_t term);
// Asserts every invariant of the struct; after each step in tests and simulation.
void raft_check(const struct raft_core *core);

// Wire form, without from/to (the transport knows them). entries are written as their records.
void raft_message_encode(struct codec_writer *w, const struct raft_message *self);
// Decodes from bytes that live in owner; entries go to the caller's array and hold references on
// owner, unref them after use.
NODISCARD enum status raft_message_decode(struct codec_reader *r, struct bytes *owner,
                                          struct raft_message *out, struct log_entry *entries,
                                          uint32_t entries_max);
