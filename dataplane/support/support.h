// SPDX-License-Identifier: Apache-2.0
// support.h - liveness of node pairs: who supports whom, under which epoch, until when. One
// exchange serves all shards.
// Invariants: a grant lasts until receive time + duration on the granter's monotonic clock; when
//             it lapses its epoch never returns; an epoch carries the granter's boot number, so
//             epochs are unique across restarts; a new boot of a peer voids its grants. The holder
//             counts from the send time of its request, for 0.8 of the duration (time.md, Leases).
// Ownership:  the caller owns the struct; no memory beyond it.
// Thread:     confined to the shard loop.
// See:        dataplane/support/README.md; time.md "Leases";
//             tests/unit/dataplane/support/support_test.c
#pragma once

#include "dataplane/codec/codec.h"
#include "dataplane/shard/shard.h"

#include <stdbool.h>
#include <stdint.h>

enum { SUPPORT_PEERS_MAX = 64 };

// An exchange as its asker sees it, for whoever compares clocks.
struct support_exchange {
    uint64_t sent_wall_us;
    uint64_t received_wall_us;  // peer's
    uint64_t replied_wall_us;   // peer's
    uint64_t arrived_wall_us;
    uint64_t sent_ns;  // monotonic
    uint64_t arrived_ns;
};

struct support_config {
    struct node_id self;
    uint32_t boot;         // counts the boots of this node's data directory, from 1
    uint64_t duration_ns;  // how long one grant lasts (1 s LAN, 3 s WAN)
    uint64_t interval_ns;  // how often to ask (100 ms)
    uint64_t now_ns;       // monotonic time of the boot
};

// Request and reply carry the wall clocks for skew estimation (NTP's four timestamps).
struct support_request {
    uint32_t boot;
    // per (node, boot), shared with every other message that may fortify or release
    uint64_t sequence;
    uint64_t sent_ns;  // sender's monotonic clock, echoed
    uint64_t sent_wall_us;
};
struct support_reply {
    uint32_t boot;          // of the asker, echoed
    uint64_t sent_ns;       // echoed
    uint64_t epoch;         // granted; 0 = refused
    uint64_t duration_ns;   // for which it was granted, so that nodes may be configured differently
    uint64_t sent_wall_us;  // echoed
    uint64_t received_wall_us;
    uint64_t replied_wall_us;
};

struct support_peer {
    struct node_id node;  // 0 = slot free
    uint32_t boot;        // latest boot seen of the peer; 0 = none yet
    // largest request sequence of that boot; overtaken requests renew nothing
    uint64_t request_sequence;
    uint64_t granted_epoch;  // what this node grants the peer; 0 = nothing live
    uint64_t granted_until_ns;
    uint64_t held_epoch;        // what the peer granted this node
    uint64_t held_sent_ns;      // send time of the request that was answered
    uint64_t held_duration_ns;  // for which the peer granted it
    bool held_live;             // private: its end has not been told yet
    uint64_t heard_ns;          // last message of the peer
    uint64_t round_trip_ns;     // of the latest exchange; 0 = unknown
    int64_t wall_offset_us;     // peer's wall clock minus ours, by the latest exchange
};

struct support {
    struct support_config config;
    uint32_t epoch_count;  // epochs given in this boot
    uint64_t sequence;     // last sequence given out
    uint64_t next_request_ns;
    bool withhold;  // set by the owner: a sick node asks for no support and never campaigns
    // Set by the owner: a node that had better not lead obeys no transfer to it and campaigns only
    // for a shard that has had no leader for long. It goes on asking for support.
    bool reluctant;
    // Set by the owner: what the clock it goes by is ahead of the machine's; taken off in
    // exchanges, which are about the machine's clock.
    int64_t wall_shift_us;
    // Set by the owner, may be NULL: told each answer to a request of this boot, granted or not.
    void (*measured)(void *ctx, struct node_id peer, const struct support_exchange *exchange);
    void *measured_ctx;
    bool quiet;  // private: the end of the boot quiet time is still ahead
    uint32_t peer_count;
    struct support_peer peers[SUPPORT_PEERS_MAX];
};

void support_init(struct support *self, const struct support_config *config);
// Makes a peer known; false when the table is full. Idempotent.
bool support_add_peer(struct support *self, struct node_id peer);
const struct support_peer *support_find(const struct support *self, struct node_id peer);

// Next number of the node's sequence; it grows across boots, too.
uint64_t support_next_sequence(struct support *self);
// The request to send to a peer now (one call a peer); the next round is due an interval later.
// Not while withholding.
void support_make_request(struct support *self, uint64_t now_ns, uint64_t wall_us,
                          struct support_request *out);
// A peer asks: grants or renews. out_new_boot tells that the peer came back under a new boot (its
// old grants are void now).
// lint: allow parameters: two clocks and two results of one exchange, kept flat for its callers.
void support_on_request(struct support *self, struct node_id from,
                        const struct support_request *request, uint64_t now_ns, uint64_t wall_us,
                        struct support_reply *out, bool *out_new_boot);
void support_on_reply(struct support *self, struct node_id from, const struct support_reply *reply,
                      uint64_t now_ns, uint64_t wall_us);

// Epoch under which this node supports the peer now; 0 = does not. A node always supports itself
// (epoch 1 of its boot).
uint64_t support_granted(const struct support *self, struct node_id peer, uint64_t now_ns);
// Monotonic instant until which this node may count on support of that epoch by the peer: sent +
// 0.8 * duration; 0 = none held.
uint64_t support_held_until(const struct support *self, struct node_id peer, uint64_t epoch);
// True while promises of an earlier boot may still bind this node: it must grant no vote. Never in
// boot 1.
bool support_boot_quiet(const struct support *self, uint64_t now_ns);
// Ends lapsed grants and the boot quiet time. A grant that lapsed and was given anew (new epoch)
// before this call is not reported: its node is alive, and its leaders notice the new epoch and
// have themselves fortified again. Writes the peers that lapsed (at most SUPPORT_PEERS_MAX) and
// returns their number.
uint32_t support_expire(struct support *self, uint64_t now_ns, struct node_id *out_lapsed);

// True once after what some peer granted this node has ended, by the side that must not trust it
// any longer: leaders that counted on it have to look for their quorum.
bool support_held_lapsed(struct support *self, uint64_t now_ns);
// Earliest of: next request due (unless withholding), next grant to lapse, end of the boot quiet
// time (until expire saw it).
uint64_t support_deadline_ns(const struct support *self);

void support_request_encode(struct codec_writer *w, const struct support_request *self);
NODISCARD enum status support_request_decode(struct codec_reader *r, struct support_request *out);
void support_reply_encode(struct codec_writer *w, const struct support_reply *self);
NODISCARD enum status support_reply_decode(struct codec_reader *r, struct support_reply *out);
