// SPDX-License-Identifier: Apache-2.0
//
// Design note. Liveness is a property of a pair of nodes, not of a shard: one request and one
// reply every interval serve all shards of both nodes (time.md, Leases). The table is a plain
// array, since a cluster has at most SUPPORT_PEERS_MAX nodes and a scan over a few cache lines
// beats any index.
//
// Why the two sides never disagree in the dangerous direction. The granter extends from the moment
// it *received* the request, the holder counts from the moment it *sent* it, which is earlier, and
// only for 0.8 of the duration. With both monotonic clocks within 10 % of true time the holder's
// 0.8 D is at most 0.8 / 0.9 = 0.889 D of true time, the granter's D at least 1 / 1.1 = 0.909 D.
// So the holder always stops counting first.
//
// Why epochs. A lapsed grant must not come back to life when the next request arrives, because in
// between the granter was free to promise something else. Each new grant has a new number, and the
// number carries the granter's boot, so that a restart cannot give the same number twice. Rejected:
// random epochs (nothing to order them by when replies overtake each other).
//
// Reordering. Requests carry a sequence per (node, boot): one that was overtaken extends nothing,
// else a message delayed for minutes would make a dead node look alive. Replies echo the request's
// send time; within an epoch the latest send time wins, and a larger epoch replaces a smaller one.
#include "dataplane/support/support.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"

// A sequence is the boot number, then this many bits of counter.
enum { SUPPORT_SEQUENCE_BITS = 40 };
// 0.8 of the duration: see the design note. As a ratio, so that no floating point is involved.
enum { SUPPORT_HOLD_NUMERATOR = 4, SUPPORT_HOLD_DENOMINATOR = 5 };
// No wall clock beyond this (year 4255) is believed; it keeps the arithmetic on them from
// overflowing.
#define SUPPORT_WALL_US_MAX     (UINT64_C(1) << 56)
#define SUPPORT_DURATION_NS_MAX (UINT64_C(3600) * 1000000000)

static uint64_t support_epoch_make(uint32_t boot, uint32_t counter) {
    return ((uint64_t)boot << 32) | counter;
}

static uint64_t support_add(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t support_machine_wall(const struct support *self, uint64_t wall_us) {
    return wall_us - (uint64_t)self->wall_shift_us;
}

static struct support_peer *support_find_mutable(struct support *self, struct node_id peer) {
    for (uint32_t i = 0; i < self->peer_count; i++) {
        if (node_id_equal(self->peers[i].node, peer)) { return &self->peers[i]; }
    }
    return NULL;
}

void support_init(struct support *self, const struct support_config *config) {
    ASSERT(config->self.v != 0);
    ASSERT(config->boot >= 1);
    ASSERT(config->duration_ns > 0 && config->duration_ns <= SUPPORT_DURATION_NS_MAX);
    ASSERT(config->interval_ns > 0 && config->interval_ns < config->duration_ns);
    *self = (struct support){.config = *config, .next_request_ns = config->now_ns};
    // Sequences of a later boot are larger than those of an earlier one, so that a message of the
    // earlier boot that was long under way never passes for the newer.
    ASSERT(config->boot < UINT32_C(1) << (64 - SUPPORT_SEQUENCE_BITS));
    self->sequence = (uint64_t)config->boot << SUPPORT_SEQUENCE_BITS;
    // Counter 1 of each boot is the node's support of itself.
    self->epoch_count = 1;
    self->quiet = config->boot > 1;
}

bool support_add_peer(struct support *self, struct node_id peer) {
    ASSERT(peer.v != 0);
    ASSERT(!node_id_equal(peer, self->config.self));
    if (support_find_mutable(self, peer) != NULL) { return true; }
    if (self->peer_count == SUPPORT_PEERS_MAX) { return false; }
    self->peers[self->peer_count] = (struct support_peer){.node = peer};
    self->peer_count++;
    return true;
}

const struct support_peer *support_find(const struct support *self, struct node_id peer) {
    for (uint32_t i = 0; i < self->peer_count; i++) {
        if (node_id_equal(self->peers[i].node, peer)) { return &self->peers[i]; }
    }
    return NULL;
}

uint64_t support_next_sequence(struct support *self) {
    ASSERT(self->sequence < UINT64_MAX);
    self->sequence++;
    return self->sequence;
}

void support_make_request(struct support *self, uint64_t now_ns, uint64_t wall_us,
                          struct support_request *out) {
    *out = (struct support_request){
        .boot = self->config.boot,
        .sequence = support_next_sequence(self),
        .sent_ns = now_ns,
        .sent_wall_us = support_machine_wall(self, wall_us),
    };
    self->next_request_ns = support_add(now_ns, self->config.interval_ns);
}

// A live grant is renewed under its epoch; a lapsed one is gone for good and a new epoch begins.
static void support_grant(struct support *self, struct support_peer *peer, uint64_t now_ns) {
    bool live = peer->granted_epoch != 0 && now_ns < peer->granted_until_ns;
    if (!live) {
        if (self->epoch_count == UINT32_MAX) {
            MARK("support.epochs_used_up");
            peer->granted_epoch = 0;
            return;
        }
        if (peer->granted_epoch != 0) { MARK("support.lapsed_grant_gets_new_epoch"); }
        self->epoch_count++;
        peer->granted_epoch = support_epoch_make(self->config.boot, self->epoch_count);
    }
    uint64_t until_ns = support_add(now_ns, self->config.duration_ns);
    if (!live || until_ns > peer->granted_until_ns) { peer->granted_until_ns = until_ns; }
    ASSERT(peer->granted_until_ns > now_ns);
}

// The peer runs under a new boot: what was agreed with the old one binds nobody any more. Its own
// promises live on as its boot quiet time, so forgetting what it granted us loses nothing.
static void support_note_boot(struct support_peer *peer, uint32_t boot) {
    peer->boot = boot;
    peer->request_sequence = 0;
    peer->granted_epoch = 0;
    peer->granted_until_ns = 0;
    if ((uint32_t)(peer->held_epoch >> 32) < boot) {
        peer->held_epoch = 0;
        peer->held_sent_ns = 0;
        peer->held_duration_ns = 0;
    }
}

// lint: allow parameters: see the header.
void support_on_request(struct support *self, struct node_id from,
                        const struct support_request *request, uint64_t now_ns, uint64_t wall_us,
                        struct support_reply *out, bool *out_new_boot) {
    *out_new_boot = false;
    *out = (struct support_reply){
        .boot = request->boot,
        .sent_ns = request->sent_ns,
        .duration_ns = self->config.duration_ns,
        .sent_wall_us = request->sent_wall_us,
        .received_wall_us = support_machine_wall(self, wall_us),
        .replied_wall_us = support_machine_wall(self, wall_us),
    };
    struct support_peer *peer = support_find_mutable(self, from);
    if (peer == NULL || request->boot == 0) {
        MARK("support.request_of_unknown_peer");
        return;
    }
    if (request->boot < peer->boot) {
        MARK("support.request_of_old_boot");
        return;
    }
    if (request->boot > peer->boot) {
        *out_new_boot = peer->boot != 0;
        support_note_boot(peer, request->boot);
    }
    if (request->sequence > peer->request_sequence) {
        peer->request_sequence = request->sequence;
        peer->heard_ns = now_ns;
        support_grant(self, peer, now_ns);
    } else {
        MARK("support.request_overtaken");
    }
    out->epoch = support_granted(self, from, now_ns);
}

// NTP's four timestamps: the offset is exact when both ways take equally long, and never wrong by
// more than half of the round trip.
static void support_measure(struct support_peer *peer, const struct support_reply *reply,
                            uint64_t now_ns, uint64_t wall_us) {
    if (reply->sent_wall_us > SUPPORT_WALL_US_MAX ||
        reply->received_wall_us > SUPPORT_WALL_US_MAX ||
        reply->replied_wall_us > SUPPORT_WALL_US_MAX || wall_us > SUPPORT_WALL_US_MAX) {
        MARK("support.wall_clock_absurd");
        return;
    }
    int64_t there_us = (int64_t)reply->received_wall_us - (int64_t)reply->sent_wall_us;
    int64_t back_us = (int64_t)reply->replied_wall_us - (int64_t)wall_us;
    peer->wall_offset_us = (there_us + back_us) / 2;
    uint64_t total_ns = now_ns - reply->sent_ns;
    uint64_t held_us = reply->replied_wall_us > reply->received_wall_us
                           ? reply->replied_wall_us - reply->received_wall_us
                           : 0;
    // The peer's wall clock may have jumped between the two readings; then its share is not
    // believed.
    bool believable = held_us <= total_ns / 1000;
    peer->round_trip_ns = believable ? total_ns - held_us * 1000 : total_ns;
}

void support_on_reply(struct support *self, struct node_id from, const struct support_reply *reply,
                      uint64_t now_ns, uint64_t wall_us) {
    struct support_peer *peer = support_find_mutable(self, from);
    if (peer == NULL) { return; }
    if (reply->boot != self->config.boot || reply->sent_ns > now_ns ||
        reply->sent_ns < self->config.now_ns) {
        MARK("support.reply_to_old_boot");
        return;
    }
    wall_us = support_machine_wall(self, wall_us);
    peer->heard_ns = now_ns;
    support_measure(peer, reply, now_ns, wall_us);
    if (self->measured != NULL) {
        const struct support_exchange exchange = {
            .sent_wall_us = reply->sent_wall_us,
            .received_wall_us = reply->received_wall_us,
            .replied_wall_us = reply->replied_wall_us,
            .arrived_wall_us = wall_us,
            .sent_ns = reply->sent_ns,
            .arrived_ns = now_ns,
        };
        self->measured(self->measured_ctx, from, &exchange);
    }
    if (reply->epoch == 0) { return; }
    if (reply->epoch < peer->held_epoch || (uint32_t)(reply->epoch >> 32) < peer->boot) {
        MARK("support.reply_overtaken");
        return;
    }
    if (reply->duration_ns == 0 || reply->duration_ns > SUPPORT_DURATION_NS_MAX) { return; }
    if (reply->epoch == peer->held_epoch && reply->sent_ns <= peer->held_sent_ns) {
        MARK("support.reply_shortens_nothing");
        return;
    }
    peer->held_epoch = reply->epoch;
    peer->held_sent_ns = reply->sent_ns;
    peer->held_duration_ns = reply->duration_ns;
    peer->held_live = true;
}

uint64_t support_granted(const struct support *self, struct node_id peer, uint64_t now_ns) {
    if (node_id_equal(peer, self->config.self)) { return support_epoch_make(self->config.boot, 1); }
    const struct support_peer *found = support_find(self, peer);
    if (found == NULL || found->granted_epoch == 0) { return 0; }
    return now_ns < found->granted_until_ns ? found->granted_epoch : 0;
}

uint64_t support_held_until(const struct support *self, struct node_id peer, uint64_t epoch) {
    if (epoch == 0) { return 0; }
    const struct support_peer *found = support_find(self, peer);
    if (found == NULL || found->held_epoch != epoch) { return 0; }
    uint64_t hold_ns = found->held_duration_ns / SUPPORT_HOLD_DENOMINATOR * SUPPORT_HOLD_NUMERATOR;
    return support_add(found->held_sent_ns, hold_ns);
}

static uint64_t support_quiet_until(const struct support *self) {
    return support_add(self->config.now_ns, self->config.duration_ns);
}

bool support_boot_quiet(const struct support *self, uint64_t now_ns) {
    return self->config.boot > 1 && now_ns < support_quiet_until(self);
}

uint32_t support_expire(struct support *self, uint64_t now_ns, struct node_id *out_lapsed) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->peer_count; i++) {
        struct support_peer *peer = &self->peers[i];
        if (peer->granted_epoch != 0 && now_ns >= peer->granted_until_ns) {
            peer->granted_epoch = 0;
            out_lapsed[count] = peer->node;
            count++;
        }
    }
    if (self->quiet && !support_boot_quiet(self, now_ns)) { self->quiet = false; }
    ASSERT(count <= self->peer_count);
    return count;
}

bool support_held_lapsed(struct support *self, uint64_t now_ns) {
    bool lapsed = false;
    for (uint32_t i = 0; i < self->peer_count; i++) {
        struct support_peer *peer = &self->peers[i];
        if (!peer->held_live) { continue; }
        if (now_ns < support_held_until(self, peer->node, peer->held_epoch)) { continue; }
        peer->held_live = false;
        lapsed = true;
    }
    return lapsed;
}

uint64_t support_deadline_ns(const struct support *self) {
    uint64_t deadline_ns = self->withhold ? UINT64_MAX : self->next_request_ns;
    for (uint32_t i = 0; i < self->peer_count; i++) {
        const struct support_peer *peer = &self->peers[i];
        if (peer->granted_epoch != 0 && peer->granted_until_ns < deadline_ns) {
            deadline_ns = peer->granted_until_ns;
        }
    }
    if (self->quiet && support_quiet_until(self) < deadline_ns) {
        deadline_ns = support_quiet_until(self);
    }
    return deadline_ns;
}

void support_request_encode(struct codec_writer *w, const struct support_request *self) {
    codec_put_u32(w, self->boot);
    codec_put_varint(w, self->sequence);
    codec_put_varint(w, self->sent_ns);
    codec_put_varint(w, self->sent_wall_us);
}

enum status support_request_decode(struct codec_reader *r, struct support_request *out) {
    struct support_request request = {0};
    request.boot = codec_get_u32(r);
    request.sequence = codec_get_varint(r);
    request.sent_ns = codec_get_varint(r);
    request.sent_wall_us = codec_get_varint(r);
    // A correct peer counts boots and sequences from 1.
    if (request.boot == 0 || request.sequence == 0) { codec_fail(r); }
    if (r->status != STATUS_OK) { return STATUS_CORRUPT; }
    *out = request;
    return STATUS_OK;
}

void support_reply_encode(struct codec_writer *w, const struct support_reply *self) {
    codec_put_u32(w, self->boot);
    codec_put_varint(w, self->sent_ns);
    codec_put_varint(w, self->epoch);
    codec_put_varint(w, self->duration_ns);
    codec_put_varint(w, self->sent_wall_us);
    codec_put_varint(w, self->received_wall_us);
    codec_put_varint(w, self->replied_wall_us);
}

enum status support_reply_decode(struct codec_reader *r, struct support_reply *out) {
    struct support_reply reply = {0};
    reply.boot = codec_get_u32(r);
    reply.sent_ns = codec_get_varint(r);
    reply.epoch = codec_get_varint(r);
    reply.duration_ns = codec_get_varint(r);
    reply.sent_wall_us = codec_get_varint(r);
    reply.received_wall_us = codec_get_varint(r);
    reply.replied_wall_us = codec_get_varint(r);
    if (reply.boot == 0) { codec_fail(r); }
    if (r->status != STATUS_OK) { return STATUS_CORRUPT; }
    *out = reply;
    return STATUS_OK;
}
