// SPDX-License-Identifier: Apache-2.0
// The budget counts by the newest catalogue that any node holds. While an operation on a shard's
// members is under way, or two configurations overlap, nothing may be lost at all: who counts is
// then more than one can read off the catalogue.
#include "tests/sim/damage.h"

#include "dataplane/base/assert.h"
#include "tests/sim/disk/sim_engine.h"
#include "tests/sim/world.h"

#include <string.h>

// Of an entry in the log store: the shard, a kind, the index.
enum { ROT_MAX = 3, SHARD_SIZE = 8, ENTRY_KEY_SIZE = 17 };

const struct catalog *sim_newest_catalog(const struct sim_world *world) {
    const struct catalog *newest = NULL;
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        const struct sim_node *node = &world->nodes[i];
        if (!node->up) { continue; }
        const struct catalog *catalog = node_core_catalog(node->core);
        bool newer = newest == NULL || catalog_version(catalog) > catalog_version(newest);
        if (newer) { newest = catalog; }
    }
    bool old = newest != NULL && catalog_version(newest) < world->checks.catalog_version;
    return old ? NULL : newest;
}

static bool is_whole(const struct sim_world *world, const struct sim_node *node,
                     const struct catalog *catalog) {
    for (uint32_t s = 0; s < world->checks.shard_count; s++) {
        struct shard_id id = world->checks.shards[s].id;
        const struct shard_descriptor *at = catalog_shard(catalog, id);
        if (at == NULL || !shard_descriptor_has_node(at, node->id)) { continue; }
        struct replica *replica = replica_table_find(node_core_table(node->core), id);
        if (replica == NULL) { return false; }
        struct replica_frontiers f;
        replica_frontiers(replica, &f);
        if (f.health != RAFT_WHOLE || f.applied < node->heal_goal[s]) { return false; }
    }
    return true;
}

static void look_who_healed(struct sim_world *world, const struct catalog *catalog) {
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        if (!node->damaged || !node->up || !node_core_is_registered(node->core)) { continue; }
        if (!is_whole(world, node, catalog)) { continue; }
        node->damaged = false;
        SIM_NOTE(world, node, SIM_TRACE_FAULT, "whole again", 0, 0, 0);
    }
}

// Counting this node as lost, does a majority of the voters stay?
static bool shard_spares(const struct sim_world *world, const struct shard_descriptor *at,
                         const struct sim_node *node) {
    uint32_t voters = 0;
    uint32_t lost = 0;
    for (uint32_t i = 0; i < at->replica_count; i++) {
        if (at->replicas[i].role != SHARD_VOTER) { continue; }
        const struct sim_node *there = sim_world_node(world, at->replicas[i].node);
        voters++;
        lost += there == NULL || there->damaged || there == node;
    }
    return lost <= (voters - 1) / 2;
}

bool sim_damage_allowed(struct sim_world *world, struct sim_node *node) {
    const struct catalog *catalog = sim_newest_catalog(world);
    if (catalog == NULL || node->id.v == 0) { return false; }
    look_who_healed(world, catalog);
    for (uint32_t i = 0; i < catalog_shard_count(catalog); i++) {
        const struct shard_descriptor *at = catalog_shard_at(catalog, i);
        if (at->target_count > 0 || shard_descriptor_is_joint(at)) { return false; }
        if (shard_descriptor_has_node(at, node->id) && !shard_spares(world, at, node)) {
            return false;
        }
    }
    return true;
}

void sim_damage_note(struct sim_world *world, struct sim_node *node) {
    node->damaged = true;
    for (uint32_t s = 0; s < world->checks.shard_count; s++) {
        node->heal_goal[s] = world->checks.shards[s].count;
    }
}

// Format 1 of a hard state has no incarnation, which is then 1; a start of the log has neither a
// ceiling, nor a timestamp, nor members.
static size_t old_size(struct slice payload) {
    enum { HARD_STATE = 28, HARD_STATE_OLD = 20, START_OLD = 16, START_EMPTY = 41 };
    struct codec_reader r;
    codec_reader_init(&r, payload);
    if (payload.size == HARD_STATE) {
        (void)codec_get_raw(&r, HARD_STATE_OLD);
        return codec_get_u64(&r) == 1 ? HARD_STATE_OLD : 0;
    }
    if (payload.size != START_EMPTY) { return 0; }
    (void)codec_get_raw(&r, START_OLD);
    bool bare = codec_get_u64(&r) == 0 && codec_get_u64(&r) == 0 && codec_get_u64(&r) == 0;
    return bare ? START_OLD : 0;
}

static bool downgraded(struct slice record, struct buf *out) {
    uint8_t version = 0;
    uint8_t kind = 0;
    struct slice payload;
    enum { TODAY = 2 };
    if (codec_open(record, TODAY, &version, &kind, &payload) != STATUS_OK) { return false; }
    size_t size = version == TODAY ? old_size(payload) : 0;
    buf_reset(out);
    return size > 0 &&
           codec_seal(out, TODAY - 1, kind, slice_make(payload.data, size)) == STATUS_OK;
}

void sim_disk_downgrade(struct sim_node *node) {
    ASSERT(!node->up);
    struct buf record;
    struct buf key;
    buf_init(&record, 1024);
    buf_init(&key, 64);
    uint64_t count = 0;
    struct engine_cursor *cursor = engine_cursor_create(node->log_engine, ENGINE_LOG);
    engine_cursor_seek(cursor, SLICE_EMPTY);
    for (; engine_cursor_valid(cursor); engine_cursor_next(cursor)) {
        struct slice found = engine_cursor_key(cursor);
        if (found.size == ENTRY_KEY_SIZE) { continue; }
        if (!downgraded(engine_cursor_value(cursor), &record)) { continue; }
        buf_reset(&key);
        enum status st = buf_append(&key, found);
        if (st == STATUS_OK) {
            st = sim_engine_overwrite(node->log_engine, ENGINE_LOG, buf_slice(&key),
                                      buf_slice(&record));
        }
        ASSERT(st == STATUS_OK);
        count++;
    }
    SIM_NOTE(node->world, node, SIM_TRACE_FAULT, "old format", count, 0, 0);
    engine_cursor_destroy(cursor);
    buf_deinit(&record);
    buf_deinit(&key);
}

static struct slice key_at(struct engine_cursor *cursor, uint64_t position) {
    engine_cursor_seek(cursor, SLICE_EMPTY);
    while (position-- > 0 && engine_cursor_valid(cursor)) {
        engine_cursor_next(cursor);
    }
    return engine_cursor_valid(cursor) ? engine_cursor_key(cursor) : SLICE_EMPTY;
}

// Whether the records before and after are entries of the same shard: what cannot be read between
// them hides nothing else. (Where a whole shard may be hidden a node refuses to start, and that is
// right.)
static bool is_inside(struct engine_cursor *cursor, uint64_t position) {
    uint8_t middle[ENTRY_KEY_SIZE];
    struct slice key = key_at(cursor, position);
    if (position == 0 || key.size != sizeof(middle)) { return false; }
    memcpy(middle, key.data, sizeof(middle));
    for (uint64_t i = position - 1; i <= position + 1; i++) {
        struct slice other = key_at(cursor, i);
        bool same = other.size == sizeof(middle) && memcmp(other.data, middle, SHARD_SIZE) == 0;
        if (!same) { return false; }
    }
    return true;
}

// One record: a bit of it flips, which its own checksum catches, or it cannot be read at all.
static void rot(struct sim_node *node, struct prng *prng) {
    struct engine_cursor *cursor = engine_cursor_create(node->log_engine, ENGINE_LOG);
    uint64_t count = 0;
    engine_cursor_seek(cursor, SLICE_EMPTY);
    for (; engine_cursor_valid(cursor); engine_cursor_next(cursor)) {
        count++;
    }
    uint64_t position = prng_below(prng, count + 1);
    bool unreadable = prng_chance(prng, 1, 3) && is_inside(cursor, position);
    struct slice key = key_at(cursor, position);
    enum status st = STATUS_OK;
    // LIMIT: a replica whose hard state or start of the log rots does not open, and stops its node
    // for good: what it voted is gone. Only entries rot here.
    if (key.size != ENTRY_KEY_SIZE) {
        engine_cursor_destroy(cursor);
        return;
    }
    if (unreadable) {
        st = sim_engine_corrupt(node->log_engine, ENGINE_LOG, key);
    } else {
        struct bytes *value = bytes_copy(engine_cursor_value(cursor));
        value->data[prng_below(prng, value->size)] ^= (uint8_t)(1U << prng_below(prng, 8));
        st = sim_engine_overwrite(node->log_engine, ENGINE_LOG, key, bytes_slice(value));
        bytes_unref(value);
    }
    ASSERT(st == STATUS_OK);
    engine_cursor_destroy(cursor);
}

void sim_damage_rot(struct sim_world *world, struct sim_node *node, struct prng *prng) {
    ASSERT(!node->up);
    sim_damage_note(world, node);
    uint64_t count = prng_between(prng, 1, ROT_MAX);
    SIM_NOTE(world, node, SIM_TRACE_FAULT, "log_rot", count, 0, 0);
    for (; count > 0; count--) {
        rot(node, prng);
    }
}

void sim_damage_wipe(struct sim_world *world, struct sim_node *node) {
    ASSERT(!node->up);
    SIM_NOTE(world, node, SIM_TRACE_FAULT, "wipe", 0, 0, 0);
    sim_node_replace(node);
    sim_checks_replaced(&world->checks, node);
}
