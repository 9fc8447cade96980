// SPDX-License-Identifier: Apache-2.0
// hlc_skew.h - how far the wall clocks of the nodes are apart, and whether this node's is one of
// those that a majority agrees on.
// Invariants: an offset is never wrong by more than its error, as long as neither clock was stepped
//             since and both run within drift_ppm of each other; when every node knows the same
//             peers, the nodes that are outside of a majority are a minority; a node alone, and one
//             that never saw a majority agree, is not quarantined (but for the first startup_ns);
//             silence neither convicts a clock nor acquits it.
// Ownership:  the caller owns the struct; no memory beyond it; both clocks are arguments.
// Thread:     confined to the shard loop.
// See:        dataplane/hlc/README.md; docs/protocols/time.md "Skew"; Marzullo and Owicki,
//             Maintaining the Time in a Distributed System (1983);
//             tests/unit/dataplane/hlc/hlc_skew_test.c
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HLC_SKEW_PEERS_MAX = 64, HLC_SKEW_SAMPLES_MAX = 8, HLC_SKEW_TEXT_SIZE = 200 };

// Ascending: what is larger is worse.
enum hlc_skew_state {
    HLC_SKEW_SYNCED,    // agrees with a majority, within error_us_max of each of them
    HLC_SKEW_DEGRADED,  // may be further off, or no majority agrees: alert, and go on
    // A majority found this clock wrong and none has agreed with it since; or nothing is known yet.
    HLC_SKEW_QUARANTINED,
    HLC_SKEW_STATE_COUNT
};

struct hlc_skew_config {
    uint64_t now_ns;          // of the start; later, of the latest step
    uint64_t tolerance_us;    // clocks that are apart by twice this are taken as equal (50 ms)
    uint64_t error_us_max;    // a peer known worse than this is no witness; a node may be this far
                              // off before it is degraded (100 ms)
    uint64_t outside_us_max;  // further from the majority than this: quarantined (250 ms)
    uint64_t fresh_ns;        // older measurements do not count (5 s)
    uint64_t recover_ns;      // better only after so long without a worse verdict (2 s)
    uint64_t startup_ns;      // unsure at most so long (3 s)
    uint64_t drift_ppm;       // how fast two clocks may part (1000: each is slewed by up to 500)
};
// Thresholds that are 0 get the values named above.

// One exchange: four wall clocks and, for the round trip, the asker's monotonic one.
struct hlc_skew_exchange {
    uint64_t sent_wall_us;
    uint64_t received_wall_us;  // peer's
    uint64_t replied_wall_us;   // peer's
    uint64_t arrived_wall_us;
    uint64_t sent_ns;
    uint64_t arrived_ns;
};

struct hlc_skew_sample {
    int64_t offset_us;  // peer's wall clock minus this node's
    uint64_t error_us;  // when it was taken
    uint64_t round_trip_us;
    uint64_t at_ns;
};

struct hlc_skew_peer {
    uint32_t node;
    bool counts;          // is a node of the cluster
    bool agrees;          // out: one of the majority, by the latest verdict
    uint64_t floor_us;    // light needs this long; 0 = nothing known
    uint64_t violations;  // one-way times below that
    uint64_t steps;       // how often what was known of it became void
    uint32_t sample_count;
    uint32_t sample_next;
    struct hlc_skew_sample samples[HLC_SKEW_SAMPLES_MAX];
};

struct hlc_skew_verdict {
    uint32_t node_count;      // this one included
    uint32_t measured_count;  // likewise, those that count and whose offset is known well enough
    uint32_t agreeing_count;  // clocks of the largest set that agrees
    bool majority;            // they are more than half of all
    bool inside;              // this clock is one of them
    int64_t low_us;           // majority: the span of their clocks from this one, with errors and
    int64_t high_us;          // tolerance
    uint64_t outside_us;      // how far this clock is outside of it
    uint64_t error_us;        // inside: how far it may be from any of them
};

struct hlc_skew {
    struct hlc_skew_config config;
    enum hlc_skew_state state;  // read-only, of the latest judgement
    bool settled;  // read-only: a majority agreed or all were heard, or startup_ns passed
    bool outcast;  // private: the latest majority found this clock wrong
    struct hlc_skew_verdict verdict;         // read-only, likewise
    uint64_t seen_ns[HLC_SKEW_STATE_COUNT];  // private: when it was last as bad, plus 1; 0 = never
    uint32_t peer_count;
    struct hlc_skew_peer peers[HLC_SKEW_PEERS_MAX];
};

// Unsure, until hlc_skew_judge says otherwise.
void hlc_skew_init(struct hlc_skew *self, const struct hlc_skew_config *config);
// Makes a peer known or changes it; false when the table is full. `counts` = a node of the cluster.
bool hlc_skew_set_peer(struct hlc_skew *self, uint32_t node, bool counts, uint64_t floor_us);
const struct hlc_skew_peer *hlc_skew_find(const struct hlc_skew *self, uint32_t node);

// False when it tells nothing: unknown peer, a clock that was stepped while the exchange was on its
// way, absurd values.
bool hlc_skew_on_exchange(struct hlc_skew *self, uint32_t node,
                          const struct hlc_skew_exchange *exchange);
// This node's clock was stepped: what was measured against it is void, and the node is as unsure as
// at its start.
void hlc_skew_forget(struct hlc_skew *self, uint64_t now_ns);
// Judges anew; call it after exchanges, and a few times a second without any.
enum hlc_skew_state hlc_skew_judge(struct hlc_skew *self, uint64_t now_ns);

// The best that is known of a peer: the sample whose error, grown with its age, is smallest. False
// when there is none that is fresh. out->error_us is as of now.
bool hlc_skew_best(const struct hlc_skew *self, const struct hlc_skew_peer *peer, uint64_t now_ns,
                   struct hlc_skew_sample *out);
// "synced", "degraded", "quarantined".
const char *hlc_skew_state_text(enum hlc_skew_state state);
// The latest verdict as a sentence; returns out.
char *hlc_skew_reason(const struct hlc_skew *self, char out[HLC_SKEW_TEXT_SIZE]);
// Microseconds that light takes in fibre (200 000 km/s) between two places in microdegrees, along
// the great circle; 0 for one place.
uint64_t hlc_skew_light_us(int32_t latitude_a, int32_t longitude_a, int32_t latitude_b,
                           int32_t longitude_b);
