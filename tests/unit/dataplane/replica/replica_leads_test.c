// SPDX-License-Identifier: Apache-2.0
// The lists of leaderships: a release arrives at once or, when it was lost, with the next round;
// no release is concluded from a list that is late, repeated, partial or wrong.
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/codec/codec.h"
#include "tests/unit/dataplane/replica/replica_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define id_of(place) ((uint64_t)CLUSTER_FIRST_SHARD + (place))
enum { SHARDS = 200, KEPT_MAX = 4096, DELTA = 0, CHUNK = 1 };
#define LATER UINT64_C(1000000)  // added to a sequence: sent long after whatever was sent

// Letters of one kind that the network keeps.
struct kept {
    struct cluster_letter letters[KEPT_MAX];
    uint32_t count;
    uint32_t from;  // 0 = anybody
    bool copy;      // deliver them as well
    int kind;       // -1 = both
};

static bool keep_leads(struct cluster *self, const struct cluster_letter *letter) {
    struct kept *kept = self->ctx;
    bool leads = letter->type == PEER_LEADS && (kept->from == 0 || kept->from == letter->from.v);
    if (!leads || (kept->kind >= 0 && bytes_slice(letter->body).data[0] != kept->kind)) {
        return true;
    }
    assert_true(kept->count < KEPT_MAX);
    kept->letters[kept->count++] = *letter;
    if (kept->copy) { (void)bytes_ref(letter->body); }
    return kept->copy;
}

static void kept_begin(struct cluster *self, struct kept *kept, uint32_t from, int kind) {
    *kept = (struct kept){.from = from, .kind = kind};
    self->filter = keep_leads;
    self->ctx = kept;
}

static void kept_end(struct cluster *self, struct kept *kept) {
    self->filter = NULL;
    for (uint32_t i = 0; i < kept->count; i++) {
        bytes_unref(kept->letters[i].body);
    }
    kept->count = 0;
}

static int setup(void **state) {
    struct cluster *cluster = cluster_create(SHARDS, CLUSTER_NODES);
    cluster_run(cluster, 3000);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_int_equal(cluster_leader(cluster, i), i % CLUSTER_NODES + 1);
    }
    *state = cluster;
    return 0;
}

static int teardown(void **state) {
    cluster_destroy(*state);
    return 0;
}

// Shards that a node other than `but` believes to be led by it.
static uint32_t believers(struct cluster *cluster, uint32_t leader) {
    uint32_t count = 0;
    for (uint32_t node = 1; node <= CLUSTER_NODES; node++) {
        for (uint32_t i = 0; node != leader && i < SHARDS; i++) {
            uint64_t term = 0;
            count += replica_leader(cluster_replica(cluster, node, i), &term).v == leader;
        }
    }
    return count;
}

static void resign(struct cluster *cluster, uint32_t node) {
    replica_table_resign(cluster->nodes[node - 1].table, false);
    cluster_turn(&cluster->nodes[node - 1]);
}

static void test_replica_leads_release_is_heard_at_once(void **state) {
    struct cluster *cluster = *state;
    resign(cluster, 1);
    cluster_run(cluster, 400);
    assert_int_equal(believers(cluster, 1), 0);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_int_not_equal(cluster_leader(cluster, i), 0);
    }
}

// Goal: the delta is lost and support lives on, so only the next round tells.
static void test_replica_leads_lost_release_is_healed_by_the_next_round(void **state) {
    struct cluster *cluster = *state;
    uint64_t sent = cluster->nodes[0].sent[PEER_LEADS];
    while (cluster->nodes[0].sent[PEER_LEADS] == sent) {
        cluster_run(cluster, 2);
    }
    cluster_run(cluster, 1900);  // the next round begins in a moment
    cluster->cut = 1;            // release and transfer are lost
    resign(cluster, 1);
    cluster->cut = 0;
    assert_int_equal(cluster_led(cluster, 1), 0);
    assert_int_equal(believers(cluster, 1), 2 * ((SHARDS + 2) / 3));
    uint64_t released = mark_count("replica.leads.released");
    cluster_run(cluster, 250);
    assert_true(mark_count("replica.leads.released") > released);
    assert_int_equal(believers(cluster, 1), 0);
    cluster_run(cluster, 250);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_int_not_equal(cluster_leader(cluster, i), 0);
    }
}

// Goal: lists of a node from before it was elected arrive after its leadership was fortified.
static void test_replica_leads_list_from_before_the_election_releases_nobody(void **state) {
    struct cluster *cluster = *state;
    resign(cluster, 1);
    cluster_run(cluster, 1000);
    struct kept kept;
    kept_begin(cluster, &kept, 1, CHUNK);
    kept.copy = true;
    cluster_run(cluster, 2500);  // a whole round in which node 1 leads nothing
    cluster->filter = NULL;
    assert_true(kept.count > 0);
    resign(cluster, 2);
    resign(cluster, 3);
    cluster_run(cluster, 1500);
    uint32_t led = cluster_led(cluster, 1);
    uint32_t believe = believers(cluster, 1);
    assert_true(led > 0);
    uint64_t stale = mark_count("raft.release.stale");
    for (uint32_t repeated = 0; repeated < 3; repeated++) {
        for (uint32_t i = 0; i < kept.count; i++) {
            assert_int_equal(cluster_deliver(cluster, &kept.letters[i]), STATUS_OK);
        }
    }
    assert_true(mark_count("raft.release.stale") > stale);
    assert_int_equal(believers(cluster, 1), believe);
    cluster_run(cluster, 500);
    assert_int_equal(cluster_led(cluster, 1), led);
    kept_end(cluster, &kept);
}

// --- Letters by hand

struct draft {
    struct buf buf;
    struct codec_writer w;
};

static void draft_begin(struct draft *self, struct cluster *cluster, uint8_t kind) {
    buf_init(&self->buf, 1 << 16);
    codec_writer_init(&self->w, &self->buf);
    codec_put_u8(&self->w, kind);
    codec_put_varint(&self->w, cluster->nodes[0].support.sequence + LATER);
}

static void draft_span(struct draft *self, uint64_t low, uint64_t high, uint64_t count) {
    codec_put_varint(&self->w, low);
    codec_put_varint(&self->w, high);
    codec_put_varint(&self->w, count);
}

static void draft_item(struct draft *self, uint64_t shard, uint64_t term) {
    codec_put_varint(&self->w, shard);
    codec_put_varint(&self->w, term);
    codec_put_varint(&self->w, 0);
    codec_put_varint(&self->w, 0);
    codec_put_varint(&self->w, 0);
}

// From node 1 to node 2.
static enum status draft_send(struct draft *self, struct cluster *cluster) {
    assert_int_equal(self->w.status, STATUS_OK);
    struct cluster_letter letter = {{1}, {2}, PEER_LEADS, bytes_copy(buf_slice(&self->buf))};
    enum status st = cluster_deliver(cluster, &letter);
    bytes_unref(letter.body);
    buf_deinit(&self->buf);
    return st;
}

// Whether node 2 believes that node 1 leads the shard of that place.
static bool follows(struct cluster *cluster, uint32_t place) {
    uint64_t term = 0;
    return replica_leader(cluster_replica(cluster, 2, place), &term).v == 1;
}

static uint64_t term_of(struct cluster *cluster, uint32_t place) {
    uint64_t term = 0;
    (void)replica_leader(cluster_replica(cluster, 2, place), &term);
    return term;
}

static void test_replica_leads_chunk_speaks_of_what_it_spans_only(void **state) {
    struct cluster *cluster = *state;
    struct draft draft;
    // Node 1 leads places 0, 3, 6, 9, 12 ...; the chunk spans 3 to 9 and names 6.
    draft_begin(&draft, cluster, CHUNK);
    draft_span(&draft, id_of(3), id_of(9), 1);
    draft_item(&draft, id_of(6), term_of(cluster, 6));
    assert_int_equal(draft_send(&draft, cluster), STATUS_OK);
    assert_true(follows(cluster, 0));
    assert_false(follows(cluster, 3));
    assert_true(follows(cluster, 6));
    assert_false(follows(cluster, 9));
    assert_true(follows(cluster, 12));
    assert_true(follows(cluster, 198));
}

static void test_replica_leads_chunk_of_an_earlier_term_releases(void **state) {
    struct cluster *cluster = *state;
    struct draft draft;
    draft_begin(&draft, cluster, CHUNK);
    draft_span(&draft, 0, UINT64_MAX, 3);
    draft_item(&draft, id_of(0), term_of(cluster, 0) - 1);
    draft_item(&draft, id_of(3), term_of(cluster, 3) + 1);
    draft_item(&draft, id_of(6), term_of(cluster, 6));
    assert_int_equal(draft_send(&draft, cluster), STATUS_OK);
    assert_false(follows(cluster, 0));
    assert_true(follows(cluster, 3));  // it leads more than was heard of
    assert_true(follows(cluster, 6));
    assert_false(follows(cluster, 9));
}

static void test_replica_leads_delta_releases_up_to_its_term(void **state) {
    struct cluster *cluster = *state;
    assert_int_equal(replica_transfer(cluster_replica(cluster, 1, 3), (struct node_id){3}),
                     STATUS_OK);
    cluster_run(cluster, 100);
    assert_int_equal(replica_transfer(cluster_replica(cluster, 3, 3), (struct node_id){1}),
                     STATUS_OK);
    cluster_run(cluster, 100);
    assert_true(follows(cluster, 3) && term_of(cluster, 3) > 1);
    struct draft draft;
    draft_begin(&draft, cluster, DELTA);
    const uint64_t items[][2] = {{id_of(0), term_of(cluster, 0)},
                                 {id_of(3), term_of(cluster, 3) - 1},
                                 {id_of(1), 1000},     // led by node 2 itself
                                 {id_of(2), 1000},     // by node 3
                                 {1000000000, 1000}};  // by nobody here
    for (uint32_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        codec_put_varint(&draft.w, items[i][0]);
        codec_put_varint(&draft.w, items[i][1]);
    }
    assert_int_equal(draft_send(&draft, cluster), STATUS_OK);
    assert_false(follows(cluster, 0));
    assert_true(follows(cluster, 3));
    assert_true(follows(cluster, 6));
    assert_int_equal(cluster_leader(cluster, 1), 2);
    assert_int_equal(cluster_leader(cluster, 2), 3);
    draft_begin(&draft, cluster, DELTA);
    codec_put_varint(&draft.w, id_of(6));
    codec_put_varint(&draft.w, 0);
    assert_int_equal(draft_send(&draft, cluster), STATUS_CORRUPT);
    assert_true(follows(cluster, 6));
}

// Goal: a list that no correct peer sends is refused whole: nothing is concluded from any part.
static void test_replica_leads_wrong_chunks_release_nobody(void **state) {
    struct cluster *cluster = *state;
    static const struct {
        uint64_t low;
        uint64_t high;
        uint64_t shards[3];
        uint32_t count;
    } cases[] = {
        {id_of(0), id_of(20), {id_of(6), id_of(3)}, 2},  // descends
        {id_of(0), id_of(20), {id_of(6), id_of(6)}, 2},  // repeats
        {id_of(4), id_of(20), {id_of(3)}, 1},            // below its span
        {id_of(0), id_of(5), {id_of(3), id_of(6)}, 2},   // above it
        {0, UINT64_MAX, {id_of(3), UINT64_MAX, 0}, 3},   // behind the last
    };
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct draft draft;
        draft_begin(&draft, cluster, CHUNK);
        draft_span(&draft, cases[i].low, cases[i].high, cases[i].count);
        for (uint32_t n = 0; n < cases[i].count; n++) {
            draft_item(&draft, cases[i].shards[n], 1);
        }
        assert_int_equal(draft_send(&draft, cluster), STATUS_CORRUPT);
    }
    struct draft draft;
    draft_begin(&draft, cluster, CHUNK + 1);
    assert_int_equal(draft_send(&draft, cluster), STATUS_CORRUPT);
    for (uint32_t i = 0; i < SHARDS; i += 3) {
        assert_true(follows(cluster, i));
    }
}

// Goal: every prefix of a chunk is refused, so that a torn one is not a list of releases.
static void test_replica_leads_torn_chunks_release_nobody(void **state) {
    struct cluster *cluster = *state;
    struct draft draft;
    draft_begin(&draft, cluster, CHUNK);
    draft_span(&draft, id_of(0), id_of(20), 7);
    for (uint32_t i = 0; i <= 18; i += 3) {
        draft_item(&draft, id_of(i), term_of(cluster, i));
    }
    for (size_t size = 0; size < draft.buf.size; size++) {
        struct slice body = slice_make(draft.buf.data, size);
        struct cluster_letter letter = {{1}, {2}, PEER_LEADS, bytes_copy(body)};
        assert_int_equal(cluster_deliver(cluster, &letter), STATUS_CORRUPT);
        bytes_unref(letter.body);
    }
    codec_put_u8(&draft.w, 0);  // nor one with something behind it
    assert_int_equal(draft_send(&draft, cluster), STATUS_CORRUPT);
    for (uint32_t i = 0; i <= 18; i += 3) {
        assert_true(follows(cluster, i));
    }
}

// --- At random

struct chaos {
    struct cluster_letter late[KEPT_MAX];
    uint32_t count;
    uint64_t repeated;
    uint64_t lost;
};

// A follower that gives its leader up because of a list must be right: that node does not lead this
// shard in that term.
static void deliver_and_check(struct cluster *self, const struct cluster_letter *letter) {
    static uint64_t terms[SHARDS];
    static uint32_t leaders[SHARDS];
    uint32_t to = letter->to.v;
    for (uint32_t i = 0; i < SHARDS; i++) {
        leaders[i] = replica_leader(cluster_replica(self, to, i), &terms[i]).v;
    }
    assert_int_equal(cluster_deliver(self, letter), STATUS_OK);
    for (uint32_t i = 0; i < SHARDS; i++) {
        uint64_t term = 0;
        bool given_up = replica_leader(cluster_replica(self, to, i), &term).v != leaders[i];
        if (!given_up || leaders[i] != letter->from.v) { continue; }
        struct replica *there = cluster_replica(self, letter->from.v, i);
        (void)replica_leader(there, &term);
        assert_false(replica_is_leader(there) && term == terms[i]);
    }
}

// One list in three is lost, one in three comes later, perhaps much later, one in four again.
static bool chaos_filter(struct cluster *self, const struct cluster_letter *letter) {
    struct chaos *chaos = self->ctx;
    if (letter->type != PEER_LEADS) { return true; }
    bool again = prng_chance(&self->prng, 1, 4);
    bool later = again || prng_chance(&self->prng, 1, 3);
    if (later && chaos->count < KEPT_MAX) {
        chaos->late[chaos->count++] = *letter;
        if (!again) { return false; }
        (void)bytes_ref(letter->body);
        chaos->repeated++;
    } else if (prng_chance(&self->prng, 1, 2)) {
        chaos->lost++;
        bytes_unref(letter->body);
        return false;
    }
    deliver_and_check(self, letter);
    bytes_unref(letter->body);
    return false;
}

static void chaos_deliver_late(struct cluster *self, struct chaos *chaos) {
    for (uint32_t n = 0; n < 8 && chaos->count > 0; n++) {
        uint32_t at = (uint32_t)prng_below(&self->prng, chaos->count);
        struct cluster_letter letter = chaos->late[at];
        chaos->late[at] = chaos->late[--chaos->count];
        deliver_and_check(self, &letter);
        bytes_unref(letter.body);
    }
}

static void chaos_move(struct cluster *self) {
    uint32_t place = (uint32_t)prng_below(&self->prng, SHARDS);
    uint32_t leader = cluster_leader(self, place);
    if (prng_chance(&self->prng, 1, 20)) {
        resign(self, 1 + (uint32_t)prng_below(&self->prng, CLUSTER_NODES));
    } else if (leader != 0) {
        struct node_id target = {1 + (uint32_t)prng_below(&self->prng, CLUSTER_NODES)};
        (void)!replica_transfer(cluster_replica(self, leader, place), target);
        cluster_turn(&self->nodes[leader - 1]);
    }
}

static void test_replica_leads_no_order_of_lists_releases_a_leader(void **state) {
    struct cluster *cluster = *state;
    struct chaos *chaos = mem_alloc(sizeof(*chaos));
    cluster->filter = chaos_filter;
    cluster->ctx = chaos;
    for (uint32_t i = 0; i < 1200; i++) {
        if (i % 2 == 0) { chaos_move(cluster); }
        cluster_run(cluster, 10 + prng_below(&cluster->prng, 40));
        chaos_deliver_late(cluster, chaos);
    }
    assert_true(chaos->lost > 50 && chaos->repeated > 50);
    cluster->filter = NULL;
    cluster_run(cluster, 4000);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_int_not_equal(cluster_leader(cluster, i), 0);
    }
    for (uint32_t i = 0; i < chaos->count; i++) {
        bytes_unref(chaos->late[i].body);
    }
    mem_free(chaos);
}

int main(void) {
#define LEADS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        LEADS_TEST(test_replica_leads_release_is_heard_at_once),
        LEADS_TEST(test_replica_leads_lost_release_is_healed_by_the_next_round),
        LEADS_TEST(test_replica_leads_list_from_before_the_election_releases_nobody),
        LEADS_TEST(test_replica_leads_chunk_speaks_of_what_it_spans_only),
        LEADS_TEST(test_replica_leads_chunk_of_an_earlier_term_releases),
        LEADS_TEST(test_replica_leads_delta_releases_up_to_its_term),
        LEADS_TEST(test_replica_leads_wrong_chunks_release_nobody),
        LEADS_TEST(test_replica_leads_torn_chunks_release_nobody),
        LEADS_TEST(test_replica_leads_no_order_of_lists_releases_a_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
