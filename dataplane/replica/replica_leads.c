// SPDX-License-Identifier: Apache-2.0
// replica_leads.c - each node tells its peers what it leads, so that a leadership that ended is
// not waited for.
//
// A follower fortifies its leader for as long as that leader's node is supported, so it must hear
// of a leadership that ended on a living node. It hears twice. At once, by a delta: "I do not lead
// this shard in this term any more". And if that was lost, by the full list, which goes round in
// chunks. A chunk speaks of every shard between two ids, as of one instant and one sequence number;
// a shard in between that it does not name is not led by the sender. So each chunk is complete in
// itself: none needs another, none is spoilt by the loss, repetition or overtaking of another, and
// there is no list to put together and no moment at which half a list could be taken for a whole
// one. Nothing that a chunk does not span is concluded from it.
//
// Neither delta nor chunk decides anything: it becomes RAFT_EVENT_LEADER_LOST with its sequence,
// and raft ignores what was sent before the append that it fortified last (time.md, Leases).
//
// Besides a chunk names the frontier of each shard. Shards in use tell theirs every few
// milliseconds (replica_share.c); for idle ones the round of the chunks is the only word, and
// suffices: their closed timestamp stands at their lapsed ceiling.
//
// Cost: a full round takes LEADS_ROUND_NS whatever the number of shards, a fixed part of the list a
// beat, merged against the sorted list of the receiver's own replicas. Rejected: a list whose parts
// are numbered and assembled, which has to be right about lost parts; and one list a second for all
// shards, searched once per replica, which cost 10 000 shards a third of a core.

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/replica/replica_internal.h"

#include <string.h>

#define LEADS_ROUND_NS UINT64_C(2000000000)  // each shard is spoken of once in this time
enum {
    LEADS_CHUNK_MIN = 64,       // replicas a chunk looks at, at least
    LEADS_CHUNK_MAX = 8192,     // bounds the message, 40 bytes a replica
    LEADS_RELEASES_MAX = 8192,  // items of one delta
    LEADS_ITEM_SIZE_MIN = 5
};
enum leads_kind { LEADS_DELTA, LEADS_CHUNK, LEADS_KIND_COUNT };

// --- every replica, by id

static uint32_t lower_bound(const struct replica_table *table, uint64_t shard) {
    uint32_t low = 0;
    uint32_t high = table->count_by_id;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table->by_id[middle]->descriptor.id.v < shard) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void replica__leads_join(struct replica *self) {
    struct replica_table *table = self->table;
    if (table->count_by_id == table->capacity_by_id) {
        table->capacity_by_id = table->capacity_by_id == 0 ? 64 : 2 * table->capacity_by_id;
        table->by_id = mem_realloc(table->by_id, table->capacity_by_id * sizeof(struct replica *));
    }
    // Ids are given in sequence, so the place is nearly always the last one.
    uint32_t place = lower_bound(table, self->descriptor.id.v);
    ASSERT_IF(place < table->count_by_id, table->by_id[place] != self);
    memmove(table->by_id + place + 1, table->by_id + place,
            (table->count_by_id - place) * sizeof(struct replica *));
    table->by_id[place] = self;
    table->count_by_id++;
}

void replica__leads_leave(struct replica *self) {
    struct replica_table *table = self->table;
    uint32_t place = lower_bound(table, self->descriptor.id.v);
    if (place == table->count_by_id || table->by_id[place] != self) { return; }
    table->count_by_id--;
    memmove(table->by_id + place, table->by_id + place + 1,
            (table->count_by_id - place) * sizeof(struct replica *));
    if (self->was_leader) { replica__leads_changed(self, 0); }
}

// --- what ended

// term 0: it does not lead any more.
void replica__leads_changed(struct replica *self, uint64_t term) {
    struct replica_table *table = self->table;
    if (term != 0) {
        self->led_term = term;
        return;
    }
    if (table->released_count == table->released_capacity) {
        table->released_capacity =
            table->released_capacity == 0 ? 16 : 2 * table->released_capacity;
        table->released =
            mem_realloc(table->released, table->released_capacity * sizeof(*table->released));
    }
    table->released[table->released_count++] =
        (struct replica_release){self->descriptor.id, self->led_term};
}

static void begin(struct replica_table *table, struct codec_writer *w, enum leads_kind kind) {
    buf_reset(&table->scratch);
    codec_writer_init(w, &table->scratch);
    codec_put_u8(w, (uint8_t)kind);
    codec_put_varint(w, support_next_sequence(table->config.support));
}

static void finish(struct replica_table *table, struct node_id to, const struct codec_writer *w) {
    ASSERT(w->status == STATUS_OK);
    env_send(table->config.env, to, PEER_LEADS, buf_slice(&table->scratch));
}

static void send_releases(struct replica_table *table, struct node_id to, uint32_t first,
                          uint32_t count) {
    struct codec_writer w;
    begin(table, &w, LEADS_DELTA);
    for (uint32_t i = first; i < first + count; i++) {
        codec_put_varint(&w, table->released[i].shard.v);
        codec_put_varint(&w, table->released[i].term);
    }
    finish(table, to, &w);
}

void replica__share_releases(struct replica_table *table) {
    for (uint32_t first = 0; first < table->released_count; first += LEADS_RELEASES_MAX) {
        uint32_t left = table->released_count - first;
        uint32_t count = left < LEADS_RELEASES_MAX ? left : LEADS_RELEASES_MAX;
        for (uint32_t i = 0; i < table->peer_count; i++) {
            send_releases(table, table->peers[i].node, first, count);
        }
    }
    table->released_count = 0;
}

// --- the round of the chunks

// What a chunk spans: the shards low .. high, and of those here the places first .. end - 1.
struct leads_span {
    uint64_t low;
    uint64_t high;
    uint32_t first;
    uint32_t end;
};

static bool is_named(const struct replica *self, struct node_id to) {
    return raft_is_leader(self->raft) && replica__has_member(self, to);
}

// The count stands before the items, so that a torn chunk is not a chunk of fewer.
static void send_chunk(struct replica_table *table, struct node_id to,
                       const struct leads_span *span) {
    uint32_t count = 0;
    for (uint32_t i = span->first; i < span->end; i++) {
        count += is_named(table->by_id[i], to);
    }
    struct codec_writer w;
    begin(table, &w, LEADS_CHUNK);
    codec_put_varint(&w, span->low);
    codec_put_varint(&w, span->high);
    codec_put_varint(&w, count);
    for (uint32_t i = span->first; i < span->end; i++) {
        if (is_named(table->by_id[i], to)) { replica__put_frontier(&w, table->by_id[i]); }
    }
    finish(table, to, &w);
}

// So many replicas a beat that all have had their turn when the round is over.
static uint32_t chunk_size(const struct replica_table *table) {
    uint64_t beat_ns = table->config.frontier_interval_ns;
    uint64_t size = table->count_by_id * beat_ns / LEADS_ROUND_NS + 1;
    if (size < LEADS_CHUNK_MIN) { return LEADS_CHUNK_MIN; }
    return size < LEADS_CHUNK_MAX ? (uint32_t)size : LEADS_CHUNK_MAX;
}

void replica__share_leads(struct replica_table *table, uint64_t now_ns) {
    replica__share_releases(table);
    bool begins = table->leads_cursor == 0;
    bool changed = table->leads_version != table->leads_version_told;
    if (begins && !changed && now_ns < table->leads_due_ns) { return; }
    if (begins) { table->leads_version_told = table->leads_version; }
    if (begins) { table->leads_due_ns = now_ns + LEADS_ROUND_NS; }
    struct leads_span span = {.low = table->leads_cursor, .high = UINT64_MAX};
    span.first = lower_bound(table, span.low);
    uint32_t left = table->count_by_id - span.first;
    uint32_t size = chunk_size(table);
    span.end = span.first + (left < size ? left : size);
    // Up to the next one's id, so that what lies in between (or was closed) is spoken of, too.
    if (span.end < table->count_by_id) { span.high = table->by_id[span.end]->descriptor.id.v - 1; }
    for (uint32_t i = span.first; i < span.end; i++) {
        replica__advance_closed(table->by_id[i]);
    }
    for (uint32_t i = 0; i < table->peer_count; i++) {
        send_chunk(table, table->peers[i].node, &span);
    }
    table->leads_cursor = span.high == UINT64_MAX ? 0 : span.high + 1;
}

// --- what a peer says

// The sender does not lead this shard in a term up to this one. Followers of it are told; so are
// those without a leader, whom a promise to the sender may still bind.
static void release(struct replica *self, struct node_id from, uint64_t term, uint64_t sequence) {
    struct node_id leader = raft_leader(self->raft);
    if (raft_is_leader(self->raft) || (leader.v != 0 && !node_id_equal(leader, from))) { return; }
    if (leader.v != 0) { MARK("replica.leads.released"); }
    struct raft_event event = {.type = RAFT_EVENT_LEADER_LOST};
    event.u.lost.node = from;
    event.u.lost.term = term;
    event.u.lost.sequence = sequence;
    enum status st = replica__step(self, &event);
    ASSERT(st == STATUS_OK);
}

static enum status on_delta(struct replica_table *table, struct node_id from,
                            struct codec_reader *r) {
    uint64_t sequence = codec_get_varint(r);
    while (codec_remaining(r) > 0) {
        struct shard_id shard = {codec_get_varint(r)};
        uint64_t term = codec_get_varint(r);
        if (term == 0) { codec_fail(r); }  // nobody led in it, and to raft it means any term
        if (r->status != STATUS_OK) { break; }
        struct replica *replica = replica_table_find(table, shard);
        if (replica != NULL) { release(replica, from, term, sequence); }
    }
    return codec_finish(r);
}

// A chunk is believed only as a whole: what is not in it means something.
static enum status check_items(struct codec_reader r, const struct leads_span *span,
                               uint64_t count) {
    uint64_t next = span->low;
    for (uint64_t i = 0; i < count; i++) {
        struct replica_frontier_item item;
        replica__get_frontier(&r, &item);
        if (r.status != STATUS_OK) { return r.status; }
        // Ascending, each once; after the largest id there is no next one.
        bool more = item.shard.v >= next && item.shard.v <= span->high && item.shard.v < UINT64_MAX;
        if (!more) { return STATUS_CORRUPT; }
        next = item.shard.v + 1;
    }
    return codec_finish(&r);
}

// item: the first of the chunk that is not before this shard, NULL = none is left.
static void compare(struct replica *self, struct node_id from, uint64_t sequence,
                    const struct replica_frontier_item *item) {
    bool follows = node_id_equal(raft_leader(self->raft), from);
    bool named = item != NULL && item->shard.v == self->descriptor.id.v;
    if (!named || (follows && item->term < raft_term(self->raft))) {
        release(self, from, raft_term(self->raft), sequence);
    } else {
        replica__take_frontier(self, from, item);
    }
}

static enum status on_chunk(struct replica_table *table, struct node_id from,
                            struct codec_reader *r) {
    uint64_t sequence = codec_get_varint(r);
    struct leads_span span = {0};
    span.low = codec_get_varint(r);
    span.high = codec_get_varint(r);
    uint64_t left = codec_get_count(r, LEADS_ITEM_SIZE_MIN);
    if (r->status != STATUS_OK) { return r->status; }
    enum status st = check_items(*r, &span, left);
    if (st != STATUS_OK) { return st; }
    struct replica_frontier_item item = {.shard = {0}};
    bool any = false;
    for (uint32_t i = lower_bound(table, span.low); i < table->count_by_id; i++) {
        struct replica *replica = table->by_id[i];
        uint64_t shard = replica->descriptor.id.v;
        if (shard > span.high) { break; }
        for (; left > 0 && (!any || item.shard.v < shard); left--) {
            replica__get_frontier(r, &item);
            any = true;
        }
        compare(replica, from, sequence, any ? &item : NULL);
    }
    return STATUS_OK;
}

enum status replica__on_leads(struct replica_table *table, struct node_id from,
                              struct codec_reader *r) {
    uint8_t kind = codec_get_u8(r);
    if (r->status != STATUS_OK) { return r->status; }
    switch (kind) {
    case LEADS_DELTA:
        return on_delta(table, from, r);
    case LEADS_CHUNK:
        return on_chunk(table, from, r);
    default:
        return STATUS_CORRUPT;
    }
}
