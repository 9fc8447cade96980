// SPDX-License-Identifier: Apache-2.0
// replica_internal.h - the structs behind replica.h and replica_table.h, shared by the files of
// this package only.
// Invariants: pending proposals are in index order; gathered entries follow raft_last_index without
//             a gap; a replica is in the
//             dirty list at most once; held messages are in the order of the persist they wait for.
// Ownership:  the table owns replicas, held messages and every scratch buffer; proposals and reads
//             belong to their callers.
// Thread:     confined to the shard loop.
// See:        dataplane/replica/README.md
#pragma once

#include "dataplane/base/heap.h"
#include "dataplane/replica/replica_room.h"
#include "dataplane/replica/replica_table.h"

#include <stddef.h>

enum {
    REPLICA_GATHER_MAX = 256,    // entries handed to raft as one batch
    REPLICA_COLLECT_MAX = 1024,  // entries of one persist or message, = RAFT_APPEND_ENTRIES_MAX
    REPLICA_PEERS_MAX = SUPPORT_PEERS_MAX,
};

// A message that must not leave before its persist is durable.
struct replica_held {
    struct replica_held *next;
    uint64_t after_sequence;
    struct raft_message message;
};

// Room for the entries of one turn; idle shards have none.
struct replica_gather {
    struct replica_gather *next;
    struct log_entry entries[REPLICA_GATHER_MAX];
};

struct replica_incoming;
struct replica_outgoing;
struct replica_digest_round;
struct replica_digest_walk;

struct replica {
    struct replica_table *table;
    struct shard_descriptor descriptor;
    uint64_t incarnation;
    struct raft_core *raft;
    const struct state_machine *machine;
    struct heap_node deadline;
    struct replica *next_dirty;
    struct replica *next;  // of its hash chain
    uint32_t position;     // in table->replicas
    bool dirty;
    bool was_leader;
    bool renew_wanted;
    uint64_t resign_term;  // in which its leadership was offered to another; 0 = was not
    uint64_t campaign_ns;  // when the first leader of a new shard campaigns; 0 = not, or done

    // Proposals: sealed entries of this turn, then those in the log awaiting their apply, in index
    // order.
    struct log_entry *gathered;  // REPLICA_GATHER_MAX, NULL while nothing is gathered
    uint32_t gathered_count;
    struct replica_proposal *pending_head;
    struct replica_proposal *pending_tail;
    uint32_t pending_count;
    uint64_t pending_size;  // bytes sealed in this term and not applied yet

    // Reads whose leadership is being confirmed by a round.
    struct replica_read *reads_head;
    struct replica_read *reads_tail;
    uint64_t read_token;  // last one given
    uint64_t read_asked;  // last one a round was asked for
    uint64_t stepped_ns;  // of the latest step of the core; what a mutant takes for now

    struct replica_held *held_head;
    struct replica_held *held_tail;
    uint64_t durable_sequence;  // as raft numbers them
    // What raft calls persist n is write sequence_base + n of the log: the numbers go on across the
    // incarnations of a shard, so that a late completion is never taken for a later one's.
    uint64_t sequence_base;
    uint64_t sequence_submitted;

    // Not whole: nothing is applied, served or trimmed until a snapshot was installed; applied is
    // 0 then.
    bool hollow;
    bool fence_wanted;     // a majority says that this state is wrong: give it up
    uint64_t snapshot_id;  // of the snapshot installed last, to answer its sender again
    uint64_t snapshot_index;
    uint64_t snapshot_due_ns;  // leader: none is begun before, since one failed just now
    const struct replica_incoming *installing;  // during the step that installs it

    // Digests.
    uint64_t written;             // index of the latest command applied
    uint64_t digest_asked;        // index of the latest digest entry proposed here
    uint64_t digest_due_ns;       // none is proposed before
    uint64_t digest_patience_ns;  // nor before, while a member has not reported
    uint32_t digest_retry;        // rounds that were repeated because somebody was missing
    uint64_t digest_floor;  // entries up to it are replayed after a restart: not digested again
    uint64_t digest_index;  // latest digest of this replica; 0 = none of the state it has
    uint64_t digest;
    uint64_t digest_size;                // what the latest walk came to
    uint64_t digest_charged;             // leader: what was counted when it asked last
    struct replica_digest_walk *walk;    // of a digest under way; NULL = none
    struct replica_digest_round *round;  // leader; NULL before the first

    // Frontiers.
    uint64_t applied;
    uint64_t flush_applied;  // applied when the flush under way began
    uint64_t trim;
    uint64_t trim_term;
    uint64_t trim_safe;         // no replica needs anything at or below (leader's word)
    struct hlc_ts closed;       // what this replica may rely on
    struct hlc_ts ceiling_log;  // largest ceiling in the log, committed or not
    struct hlc_ts ceiling_committed;
    struct hlc_ts timestamp_applied;  // largest timestamp applied since the replica was opened
    struct hlc_ts timestamp_log;      // largest timestamp in the log
    uint64_t used_ns;                 // last proposal or read, for the side channel
    uint32_t active_place;            // in table->active, from 1; 0 = it is not there
    uint64_t led_term;                // latest term in which this replica led
    uint64_t campaign_window_ns;      // end of the window in which its election counts; 0 = none
    struct hlc_ts frontier_closed;    // side channel: closed once applied >= frontier_commit
    uint64_t frontier_commit;
};

// The outcome of one applied proposal, told after end().
struct replica_outcome {
    struct replica_proposal *proposal;
    struct replica_proposal_result result;
    size_t payload_offset;
};

struct replica_peer {
    struct node_id node;
};

// A leadership that ended and that the peers were not told of.
struct replica_release {
    struct shard_id shard;
    uint64_t term;  // the latest in which this node led it
};

// What a leader tells of a shard between its entries.
struct replica_frontier_item {
    struct shard_id shard;
    uint64_t term;
    struct hlc_ts closed;
    uint64_t commit;
    uint64_t safe;  // no replica needs the log up to here
};

// A snapshot that raft asked for and that has not begun.
struct replica_want {
    struct replica *replica;
    struct node_id node;
    uint64_t incarnation;
    uint64_t min_index;
    uint64_t term;
    uint64_t due_ns;  // not tried before
};

struct replica_table {
    struct replica_table_config config;
    struct replica **replicas;
    uint32_t count;
    uint32_t capacity;
    struct replica **buckets;  // by shard id, chained by replica->next
    uint32_t bucket_count;     // power of two
    struct heap deadlines;
    struct replica *dirty_head;
    struct replica *dirty_tail;
    struct replica_held *held_free;
    struct buf scratch;  // one message being encoded
    struct log_entry collect[REPLICA_COLLECT_MAX];
    struct log_entry decode[REPLICA_COLLECT_MAX];
    struct replica_outcome *outcomes;
    uint32_t outcome_count;
    uint32_t outcome_capacity;
    struct buf outcome_bytes;
    const struct state_machine *machines_touched[4];
    uint32_t machine_touched_count;
    struct replica_peer peers[REPLICA_PEERS_MAX];
    uint32_t peer_count;
    uint64_t frontier_due_ns;
    struct replica **active;  // leaders in use and not settled (replica_share.c), in no order
    uint32_t active_count;
    uint32_t active_capacity;
    struct replica **by_id;  // every replica, by shard id (replica_leads.c)
    uint32_t count_by_id;
    uint32_t capacity_by_id;
    uint64_t leads_version;  // raised when members changed: who is new shall hear soon
    uint64_t leads_version_told;
    uint64_t leads_cursor;  // first shard of the next chunk; 0 = a round is to begin
    uint64_t leads_due_ns;  // of the next round
    struct replica_release *released;
    uint32_t released_count;
    uint32_t released_capacity;
    uint32_t campaigns;           // elections begun here in the present window
    uint64_t campaigns_until_ns;  // its end
    struct replica_gather *gather_free;
    uint32_t gather_free_count;
    enum replica_room room;
    char room_text[160];
    bool sick;
    uint64_t resign_due_ns;  // who was offered and still leads then steps down; 0 = nobody was

    uint64_t sequence_high;  // largest log sequence of any replica that was removed

    // Snapshots.
    struct replica_outgoing *outgoing;  // REPLICA_SNAPSHOTS_MAX places
    struct replica_incoming *incoming;  // REPLICA_SNAPSHOTS_MAX places
    struct replica_want *wants;         // in the order asked
    uint32_t want_count;
    uint32_t want_capacity;
    uint64_t pace_ns;    // the bound on bytes a second forbids to send before
    uint64_t flush_sum;  // of what was applied when the latest flush began
    struct buf chunk;    // one chunk being read out, or one base being encoded

    // Digests.
    uint64_t digest_due_ns;
    uint64_t digest_pace_ns;                // what was asked for so far is paid for then
    uint32_t digest_cursor;                 // place in replicas where the next look begins
    struct replica_digest_walk *walk_head;  // each gets a slice in its turn
    struct replica_digest_walk *walk_tail;
    uint32_t walk_count;
    uint64_t walk_due_ns;  // of the next slice
};

static inline uint64_t replica__now(const struct replica *self) {
    return env_now(self->table->config.env);
}
static inline uint64_t replica__wall(const struct replica *self) {
    return env_wall_us(self->table->config.env);
}

// replica_drive.c: feeds one event to raft and carries out its actions.
enum status replica__step(struct replica *self, struct raft_event *event);
// Fetches entries [first, first + count) into table->collect: from raft's window, or from the log
// store. Returns how many; those
// read from the store carry references that replica__collect_release drops.
uint32_t replica__collect(struct replica *self, uint64_t first, uint32_t count);
void replica__collect_release(struct replica *self, uint32_t count);
void replica__release_held(struct replica *self);
void replica__mark_dirty(struct replica *self);
void replica__reschedule(struct replica *self);

// replica_propose.c
void replica__flush_gathered(struct replica *self);
// An entry for which nobody waits; dropped when this replica cannot take it now.
void replica__append(struct replica *self, enum log_entry_kind kind, struct slice payload);
void replica__append_empty(struct replica *self);
void replica__fail_pending(struct replica *self, uint64_t first_index, enum status status);
void replica__fail_all(struct replica *self);

// replica_read.c
void replica__reads_confirmed(struct replica *self, uint64_t token, bool confirmed);

// replica_open.c: what the stores hold becomes a replica.
NODISCARD enum status replica__recover(struct replica *self, const struct log_bounds *bounds);
// The replica that a message to that incarnation is for, opened when the owner of the table wants
// it; NULL = none here.
struct replica *replica__wanted(struct replica_table *table, struct shard_id shard,
                                uint64_t incarnation);

// replica_trim.c
// Leader: entries up to here may go, as far as the other replicas are concerned.
uint64_t replica__trim_safe(const struct replica *self);
// Term of an entry at or above the trim point; 0 = it cannot be read.
uint64_t replica__term_at(const struct replica *self, uint64_t index);

// replica_apply.c
void replica__touch_machine(struct replica_table *table, const struct state_machine *machine);
void replica__apply(struct replica *self);
void replica__tell_outcomes(struct replica_table *table);

// replica_frontier.c
struct hlc_ts replica__min_in_flight(
    const struct replica *self);  // HLC_MAX when nothing is in flight
struct hlc_ts replica__ceiling_at(const struct replica *self, struct hlc_ts now,
                                  uint64_t window_us);
void replica__stamp(struct replica *self, struct log_entry *entry, bool writes);
void replica__note_appended(struct replica *self, const struct log_entry *entry);
void replica__advance_closed(struct replica *self);
enum replica_hold replica__closed_hold(const struct replica *self);
void replica__adopt_frontier(struct replica *self);
bool replica__ready(const struct replica *self);

// replica_digest.c
void replica__digest_on_time(struct replica_table *table, uint64_t now_ns);
// The entry at self->applied asks for a digest.
void replica__digest_applied(struct replica *self, const struct log_entry *entry);
// The state as of the walk's index was digested.
void replica__digest_done(struct replica *self, const struct replica_digest_walk *walk,
                          uint64_t digest);
// The state is about to go: so do its digests.
void replica__digest_forget(struct replica *self);
enum status replica__on_digest(struct replica_table *table, struct node_id from, struct slice body);
// Gives up a state that a majority contradicts, and the leadership with it.
void replica__fence(struct replica *self);
void replica__digest_free(struct replica *self);

// replica_digest_walk.c: views of states that are being digested, a slice at a time.
struct replica_digest_walk {
    struct replica_digest_walk *next;
    struct replica *replica;
    struct state_digest *state;
    uint64_t index;
    uint64_t opened_ns;
    uint64_t size;  // walked so far
};
// Takes the view, as of self->applied. False when there is none to take, or no place for it.
bool replica__walk_open(struct replica *self);
void replica__walk_drop(struct replica *self);
bool replica__walks_full(const struct replica_table *table);
void replica__walks_on_time(struct replica_table *table, uint64_t now_ns);
uint64_t replica__walks_deadline(const struct replica_table *table);

// replica_peers.c: support, leads, frontier messages of the table.
void replica__add_peer(struct replica_table *table, struct node_id node);
void replica__peers_on_time(struct replica_table *table, uint64_t now_ns);
void replica__leader_lost(struct replica_table *table, struct node_id node);
void replica__send_message(struct replica *self, const struct raft_message *message,
                           uint64_t first_index);

// replica_share.c: the side channel of the shards in use.
bool replica__has_member(const struct replica *self, struct node_id node);
void replica__touch(struct replica *self);  // it is in use now
void replica__share_leave(struct replica *self);
void replica__share_frontiers(struct replica_table *table);
void replica__put_frontier(struct codec_writer *w, const struct replica *replica);
void replica__get_frontier(struct codec_reader *r, struct replica_frontier_item *out);
void replica__take_frontier(struct replica *self, struct node_id from,
                            const struct replica_frontier_item *item);
enum status replica__on_frontier(struct replica_table *table, struct node_id from,
                                 struct codec_reader *r);

// replica_leads.c: which shards this node leads, and what peers say of theirs.
void replica__leads_join(struct replica *self);                    // opened
void replica__leads_leave(struct replica *self);                   // is being closed
void replica__leads_changed(struct replica *self, uint64_t term);  // leads in term; 0 = no more
// Tells every peer at once what is not led any more.
void replica__share_releases(struct replica_table *table);
void replica__share_leads(struct replica_table *table, uint64_t now_ns);
enum status replica__on_leads(struct replica_table *table, struct node_id from,
                              struct codec_reader *r);

// replica_pace.c: how many elections begin at a time.
bool replica__may_begin_election(struct replica *self, uint64_t now_ns);
void replica__note_role(struct replica *self);

// replica_room.c: what is refused or dropped for want of room on the disk.
bool replica__has_room(const struct replica *self, const struct replica_proposal *proposal);
bool replica__drops(const struct replica_table *table, const struct raft_message *message);
bool replica__drops_snapshot(const struct replica_table *table);

// replica_resign.c
void replica__resign_on_time(struct replica_table *table, uint64_t now_ns);

// replica_members.c: the membership in use is another; replica_descriptor follows it.
void replica__members_changed(struct replica *self);
