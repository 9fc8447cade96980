// SPDX-License-Identifier: Apache-2.0
// replica_world.c - see replica_world.h. The log's two images are copied at each sync: tests are
// short, and a crash is then one assignment.

#include "tests/unit/dataplane/replica/replica_world.h"

#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

#include <string.h>

// cmocka wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

// --- the log ---

static uint64_t place_of(const struct world_log_image *self, uint64_t index) {
    assert_true(index > self->bounds.trim_index);
    return index - self->bounds.trim_index - 1;
}

static uint64_t held(const struct world_log_image *self) {
    return self->bounds.last_index - self->bounds.trim_index;
}

static void image_clear(struct world_log_image *self) {
    for (uint64_t i = 0; i < held(self); i++) {
        log_entry_unref(&self->entries[i]);
    }
    for (uint32_t i = 0; i < self->config_count; i++) {
        bytes_unref(self->configs[i].encoded);
    }
    mem_free(self->entries);
    *self = (struct world_log_image){0};
}

static void image_copy(struct world_log_image *dst, const struct world_log_image *src) {
    image_clear(dst);
    *dst = *src;
    dst->capacity = (uint32_t)held(src);
    dst->entries =
        dst->capacity == 0 ? NULL : mem_alloc_array(dst->capacity, sizeof(*dst->entries));
    for (uint64_t i = 0; i < held(src); i++) {
        log_entry_ref(&dst->entries[i], &src->entries[i]);
    }
    for (uint32_t i = 0; i < src->config_count; i++) {
        (void)bytes_ref(src->configs[i].encoded);
    }
}

static void image_push(struct world_log_image *self, const struct log_entry *entry) {
    assert_int_equal(entry->index, self->bounds.last_index + 1);
    if (held(self) == self->capacity) {
        self->capacity = self->capacity == 0 ? 64 : 2 * self->capacity;
        self->entries = mem_realloc(self->entries, self->capacity * sizeof(*self->entries));
    }
    self->entries[held(self)] = (struct log_entry){0};
    log_entry_ref(&self->entries[held(self)], entry);
    self->bounds.last_index++;
    if (entry->kind != LOG_ENTRY_CONFIG) { return; }
    assert_true(self->config_count < WORLD_CONFIGS_MAX);
    self->configs[self->config_count].index = entry->index;
    self->configs[self->config_count++].encoded = bytes_copy(entry->payload);
}

static void image_truncate(struct world_log_image *self, uint64_t from) {
    while (self->bounds.last_index >= from && held(self) > 0) {
        log_entry_unref(&self->entries[held(self) - 1]);
        self->bounds.last_index--;
    }
    while (self->config_count > 0 && self->configs[self->config_count - 1].index >= from) {
        bytes_unref(self->configs[--self->config_count].encoded);
    }
}

static void image_reset(struct world_log_image *self, const struct log_base *base) {
    struct log_bounds bounds = {.hard_state = self->bounds.hard_state,
                                .trim_index = base->index,
                                .trim_term = base->term,
                                .last_index = base->index,
                                .base_ceiling = base->ceiling,
                                .base_timestamp = base->timestamp,
                                .removed_incarnation = self->bounds.removed_incarnation};
    image_clear(self);
    self->bounds = bounds;
    if (base->membership.size == 0) { return; }
    self->configs[0].index = base->index;
    self->configs[0].encoded = bytes_copy(base->membership);
    self->config_count = 1;
}

static void log_submit(void *ctx, const struct log_write *writes, uint32_t count) {
    struct world_log *self = ctx;
    assert_int_equal(count, 1);
    assert_true(writes->sequence > self->sequence_submitted);
    self->sequence_submitted = writes->sequence;
    if (writes->base != NULL) {
        image_reset(&self->now, writes->base);
        self->resets++;
    }
    if (writes->truncate_from != 0) { image_truncate(&self->now, writes->truncate_from); }
    if (writes->hard_state != NULL) {
        assert_true(writes->hard_state->term >= self->now.bounds.hard_state.term);
        assert_true(writes->hard_state->incarnation != 0);
        self->now.bounds.hard_state = *writes->hard_state;
    }
    for (uint32_t i = 0; i < writes->entry_count; i++) {
        image_push(&self->now, &writes->entries[i]);
        self->now.bounds.base_ceiling = HLC_ZERO;
        self->now.bounds.base_timestamp = HLC_ZERO;
    }
}

static enum status log_bounds(void *ctx, struct shard_id shard, struct log_bounds *out) {
    const struct world_log *self = ctx;
    assert_int_equal(shard.v, WORLD_SHARD.v);
    *out = self->now.bounds;
    return STATUS_OK;
}

// lint: allow parameters: the port's shape (log_store.h)
static enum status log_read(void *ctx, struct shard_id shard, uint64_t low, uint64_t high,
                            uint32_t count_max, uint64_t size_max, struct log_entry *out,
                            uint32_t *out_count) {
    const struct world_log_image *image = &((struct world_log *)ctx)->now;
    (void)shard;
    if (low <= image->bounds.trim_index || low > image->bounds.last_index) {
        return STATUS_NOT_FOUND;
    }
    uint32_t count = 0;
    uint64_t size = 0;
    for (uint64_t i = low; i < high && i <= image->bounds.last_index && count < count_max; i++) {
        if (image->bounds.damaged_from != 0 && i == image->bounds.damaged_from) {
            if (count == 0) { return STATUS_CORRUPT; }
            break;
        }
        const struct log_entry *entry = &image->entries[place_of(image, i)];
        if (count > 0 && size + entry->record.size > size_max) { break; }
        size += entry->record.size;
        log_entry_ref(&out[count++], entry);
    }
    *out_count = count;
    return STATUS_OK;
}

static void log_trim(void *ctx, struct shard_id shard, uint64_t index, uint64_t term) {
    struct world_log_image *image = &((struct world_log *)ctx)->now;
    (void)shard;
    assert_true(index < image->bounds.last_index);
    uint64_t gone = index - image->bounds.trim_index;
    assert_int_equal(image->entries[gone - 1].term, term);
    for (uint64_t i = 0; i < gone; i++) {
        log_entry_unref(&image->entries[i]);
    }
    memmove(image->entries, image->entries + gone, (held(image) - gone) * sizeof(*image->entries));
    image->bounds.trim_index = index;
    image->bounds.trim_term = term;
    while (image->config_count > 1 && image->configs[1].index <= index) {
        bytes_unref(image->configs[0].encoded);
        image->config_count--;
        memmove(&image->configs[0], &image->configs[1],
                image->config_count * sizeof(image->configs[0]));
    }
}

static enum status log_memberships(void *ctx, struct shard_id shard, struct log_membership *out,
                                   uint32_t *out_count) {
    const struct world_log_image *image = &((struct world_log *)ctx)->now;
    (void)shard;
    if (image->config_count > LOG_MEMBERSHIPS_MAX) { return STATUS_RESOURCE_EXHAUSTED; }
    for (uint32_t i = 0; i < image->config_count; i++) {
        struct bytes *owner = bytes_ref(image->configs[i].encoded);
        out[i] = (struct log_membership){image->configs[i].index, bytes_slice(owner), owner};
    }
    *out_count = image->config_count;
    return STATUS_OK;
}

static void log_remove(void *ctx, struct shard_id shard, uint64_t incarnation) {
    struct world_log *self = ctx;
    (void)shard;
    image_clear(&self->now);
    self->now.bounds.removed_incarnation = incarnation;
}

static void log_init(struct world_log *self) {
    *self = (struct world_log){0};
    self->port = (struct log_store){.ctx = self,
                                    .submit = log_submit,
                                    .bounds = log_bounds,
                                    .read = log_read,
                                    .trim = log_trim,
                                    .memberships = log_memberships,
                                    .remove = log_remove};
}

// --- the state machine ---

static uint64_t digest_of(const struct world_state *state) {
    return hash64(slice_make(state->values, sizeof(state->values)), 7) | 1;
}

static void check_history(struct world_node *node) {
    struct world *world = node->world;
    assert_true(node->state.applied < WORLD_HISTORY_MAX);
    uint64_t digest = digest_of(&node->state);
    uint64_t *known = &world->history[node->state.applied];
    if (*known == 0 && !world->diverged) { *known = digest; }
    if (!world->diverged) { assert_int_equal(*known, digest); }
}

static uint64_t machine_applied(void *ctx, struct shard_id shard) {
    (void)shard;
    const struct world_node *node = ctx;
    return node->state.hollow ? 0 : node->state.applied;
}

static void machine_apply(void *ctx, struct shard_id shard, const struct log_entry *entry,
                          struct apply_result *out) {
    (void)shard;
    struct world_node *node = ctx;
    assert_false(node->state.hollow);
    assert_int_equal(entry->index, node->state.applied + 1);
    node->state.applied = entry->index;
    node->ended = false;
    if (entry->kind == LOG_ENTRY_COMMAND) {
        uint64_t word = codec_load_u64(entry->payload.data);
        uint64_t *value = &node->state.values[word % WORLD_KEYS];
        *value = hash64_u64(*value ^ word ^ entry->index);
    }
    check_history(node);
    out->status = STATUS_OK;
    out->payload = entry->payload;
}

static void machine_end(void *ctx) {
    ((struct world_node *)ctx)->ended = true;
}

static void machine_remove(void *ctx, struct shard_id shard) {
    (void)shard;
    struct world_node *node = ctx;
    assert_int_equal(node->digests_open, 0);
    node->state = (struct world_state){0};
    node->removed++;
}

struct state_export {
    uint64_t values[WORLD_KEYS];
    uint32_t next;
};

static struct state_export *machine_export_open(void *ctx, struct shard_id shard) {
    (void)shard;
    struct world_node *node = ctx;
    assert_true(node->ended);
    assert_false(node->state.hollow);
    struct state_export *state = mem_alloc(sizeof(*state));
    memcpy(state->values, node->state.values, sizeof(state->values));
    node->exports_open++;
    return state;
}

static enum status machine_export_next(void *ctx, struct state_export *state, uint32_t size_max,
                                       struct buf *out, bool *out_last) {
    const struct world_node *node = ctx;
    (void)size_max;
    for (uint32_t i = 0; i < WORLD_RECORDS_PER_CHUNK && state->next < WORLD_KEYS; i++) {
        uint8_t record[16];
        codec_store_u64(record, state->next);
        codec_store_u64(record + 8, state->values[state->next++]);
        assert_int_equal(buf_append(out, slice_make(record, sizeof(record))), STATUS_OK);
    }
    for (uint32_t i = 0; i < node->world->chunk_pad / 16; i++) {
        uint8_t pad[16] = {0xff};
        assert_int_equal(buf_append(out, slice_make(pad, sizeof(pad))), STATUS_OK);
    }
    *out_last = state->next == WORLD_KEYS;
    return STATUS_OK;
}

static void machine_export_close(void *ctx, struct state_export *state) {
    struct world_node *node = ctx;
    assert_true(node->exports_open > 0);
    node->exports_open--;
    mem_free(state);
}

static void machine_ingest_begin(void *ctx, struct shard_id shard) {
    (void)shard;
    struct world_node *node = ctx;
    assert_int_equal(node->digests_open, 0);
    node->state = (struct world_state){.hollow = true};
    node->ingests_begun++;
}

static enum status machine_ingest(void *ctx, struct shard_id shard, struct slice chunk) {
    (void)shard;
    struct world_node *node = ctx;
    assert_true(node->state.hollow);
    if (node->world->refuse_chunks > 0) {
        node->world->refuse_chunks--;
        return STATUS_CORRUPT;
    }
    if (chunk.size % 16 != 0) { return STATUS_CORRUPT; }
    for (size_t i = 0; i < chunk.size; i += 16) {
        uint64_t key = codec_load_u64(chunk.data + i);
        if (chunk.data[i] == 0xff) { continue; }
        if (key >= WORLD_KEYS) { return STATUS_CORRUPT; }
        node->state.values[key] = codec_load_u64(chunk.data + i + 8);
    }
    node->ended = false;
    return STATUS_OK;
}

static void machine_ingest_end(void *ctx, struct shard_id shard, uint64_t index,
                               struct slice base) {
    (void)shard;
    struct world_node *node = ctx;
    assert_true(node->state.hollow);
    assert_true(base.size <= sizeof(node->state.base));
    node->state.hollow = false;
    node->state.applied = index;
    memcpy(node->state.base, base.data, base.size);
    node->state.base_size = base.size;
    node->ingests_ended++;
    check_history(node);
}

static void machine_base(void *ctx, struct shard_id shard, struct buf *out) {
    (void)shard;
    const struct world_node *node = ctx;
    assert_int_equal(buf_append(out, slice_make(node->state.base, node->state.base_size)),
                     STATUS_OK);
}

static bool machine_hollow(void *ctx, struct shard_id shard) {
    (void)shard;
    return ((struct world_node *)ctx)->state.hollow;
}

struct state_digest {
    struct world_state state;
    uint32_t next;
};

static struct state_digest *machine_digest_open(void *ctx, struct shard_id shard) {
    (void)shard;
    struct world_node *node = ctx;
    assert_true(node->ended);
    assert_int_equal(node->digests_open, 0);  // one shard, one view
    if (node->state.hollow) { return NULL; }
    struct state_digest *state = mem_alloc(sizeof(*state));
    state->state = node->state;
    node->digests_open++;
    return state;
}

static enum status machine_digest_next(void *ctx, struct state_digest *state, uint32_t size_max,
                                       struct state_digest_slice *out) {
    struct world_node *node = ctx;
    *out = (struct state_digest_slice){0};
    if (node->world->spoil_views) { return STATUS_CORRUPT; }
    for (bool first = true; state->next < WORLD_KEYS && (first || out->size < size_max);) {
        first = false;
        state->next++;
        out->size += WORLD_RECORD_SIZE;
        node->digest_records++;
    }
    out->last = state->next == WORLD_KEYS;
    out->digest = digest_of(&state->state);
    return STATUS_OK;
}

static void machine_digest_close(void *ctx, struct state_digest *state) {
    struct world_node *node = ctx;
    assert_int_equal(node->digests_open, 1);
    node->digests_open--;
    mem_free(state);
}

static const struct state_machine *machine_for(void *ctx, struct shard_id shard) {
    (void)shard;
    return &((struct world_node *)ctx)->machine;
}

static void machine_init(struct world_node *node) {
    node->machine = (struct state_machine){.ctx = node,
                                           .applied = machine_applied,
                                           .apply = machine_apply,
                                           .end = machine_end,
                                           .remove = machine_remove,
                                           .export_open = machine_export_open,
                                           .export_next = machine_export_next,
                                           .export_close = machine_export_close,
                                           .ingest_begin = machine_ingest_begin,
                                           .ingest = machine_ingest,
                                           .ingest_end = machine_ingest_end,
                                           .base = machine_base,
                                           .hollow = machine_hollow,
                                           .digest_open = machine_digest_open,
                                           .digest_next = machine_digest_next,
                                           .digest_close = machine_digest_close};
}

void world_flush_begin(struct world_node *node) {
    if (node->flushing) { return; }
    (void)replica_table_flush_begin(node->table);
    node->flushing = true;
    node->flushing_state = node->state;
}

void world_flush_end(struct world_node *node, bool flushed) {
    if (!node->flushing) { return; }
    node->flushing = false;
    if (flushed) { node->flushed = node->flushing_state; }
    replica_table_flush_done(node->table, flushed);
}

// --- clocks and messages ---

static uint64_t env_mono(void *ctx) {
    return ((struct world_node *)ctx)->world->now_ns;
}
static uint64_t env_wall(void *ctx) {
    const struct world_node *node = ctx;
    return (uint64_t)((int64_t)(1700000000000000 + node->world->now_ns / 1000) +
                      node->wall_offset_us);
}
static uint64_t env_bits(void *ctx) {
    return prng_next(&((struct world_node *)ctx)->world->prng);
}

static void letter_add(struct world *world, const struct world_letter *letter) {
    assert_true(world->letter_count < WORLD_LETTERS_MAX);
    world->letters[world->letter_count] = *letter;
    struct world_letter *added = &world->letters[world->letter_count++];
    added->body = bytes_copy(bytes_slice(letter->body));
    added->due_ns = world->now_ns;
    if (world->delay_ns_max > 0) { added->due_ns += prng_below(&world->prng, world->delay_ns_max); }
    bool spoil = letter->type == PEER_SNAPSHOT && world->corrupt_percent > 0 &&
                 prng_below(&world->prng, 100) < world->corrupt_percent;
    if (spoil) {
        added->body->data[prng_below(&world->prng, added->body->size)] ^= 0x10;
        world->dropped_chunks++;
    }
}

static void env_post(void *ctx, struct node_id peer, enum peer_message_type type,
                     struct slice body) {
    struct world_node *node = ctx;
    struct world *world = node->world;
    assert_true(peer.v >= 1 && peer.v <= world->node_count);
    if (world->cut[peer.v - 1] || world->cut[node->id.v - 1]) { return; }
    struct world_letter letter = {0, node->id, peer, type, bytes_copy(body)};
    bool lost = prng_below(&world->prng, 100) < world->lose_percent ||
                (world->filter != NULL && !world->filter(world, &letter));
    if (!lost) { letter_add(world, &letter); }
    if (!lost && prng_below(&world->prng, 100) < world->repeat_percent) {
        letter_add(world, &letter);
    }
    bytes_unref(letter.body);
}

static void deliver(struct world *world, const struct world_letter *letter) {
    struct world_node *to = &world->nodes[letter->to.v - 1];
    bool gone = !to->up || world->cut[letter->to.v - 1] || world->cut[letter->from.v - 1];
    if (gone) { return; }
    enum status st = replica_table_on_message(to->table, letter->from, letter->type, letter->body,
                                              bytes_slice(letter->body));
    if (world->corrupt_percent == 0) { assert_int_equal(st, STATUS_OK); }
    world_turn(to);
}

static void deliver_due(struct world *world) {
    for (uint32_t rounds = 0; rounds < 100000; rounds++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < world->letter_count; i++) {
            if (world->letters[i].due_ns > world->now_ns) { continue; }
            if (best == UINT32_MAX || world->letters[i].due_ns < world->letters[best].due_ns) {
                best = i;
            }
        }
        if (best == UINT32_MAX) { return; }
        struct world_letter letter = world->letters[best];
        world->letter_count--;
        memmove(&world->letters[best], &world->letters[best + 1],
                (world->letter_count - best) * sizeof(letter));
        deliver(world, &letter);
        bytes_unref(letter.body);
    }
}

// --- nodes ---

static const struct shard_descriptor *wanted(void *ctx, struct shard_id shard,
                                             uint64_t incarnation) {
    const struct world_node *node = ctx;
    assert_int_equal(shard.v, WORLD_SHARD.v);
    assert_true(incarnation > 0);
    return node->placed ? &node->world->descriptor : NULL;
}

struct world_node *world_node(struct world *self, uint32_t number) {
    assert_true(number >= 1 && number <= self->node_count);
    return &self->nodes[number - 1];
}

void world_start(struct world *self, uint32_t number, bool first_leader) {
    struct world_node *node = world_node(self, number);
    assert_false(node->up);
    node->boot++;
    struct support_config support = {node->id, node->boot, 1000000000, 100000000, self->now_ns};
    support_init(&node->support, &support);
    hlc_init(&node->hlc, 1000000);
    struct replica_table_config config = {
        .self = node->id,
        .env = &node->env,
        .log = &node->log.port,
        .support = &node->support,
        .hlc = &node->hlc,
        .machine_for = machine_for,
        .ctx = node,
        .election_ns_min = 150000000,
        .resend_ns = 100000000,
        .ceiling_window_us = 400000,
        .frontier_interval_ns = 20000000,
        .pending_max = 64,
        .pending_size_max = 64 << 20,
        .trim_lag_max = self->trim_lag_max,
        .snapshot_bytes_per_s = self->bytes_per_s,
        .digest_interval_ns = self->digest_interval_ns,
        .digest_bytes_per_s = self->digest_bytes_per_s,
        .digest_slice_size = self->digest_slice_size,
        .wanted = wanted,
    };
    node->table = replica_table_create(&config);
    node->up = true;
    node->ended = true;
    uint64_t lives = node->log.now.bounds.hard_state.incarnation;
    if (lives == 0 && number <= self->voters && node->log.now.bounds.removed_incarnation == 0) {
        lives = 1;
    }
    if (lives != 0) {
        enum status st = replica_table_open_as(node->table, &self->descriptor, lives, first_leader);
        assert_int_equal(st, STATUS_OK);
    }
    world_turn(node);
}

void world_crash(struct world *self, uint32_t number, bool keep) {
    struct world_node *node = world_node(self, number);
    assert_true(node->up);
    node->up = false;
    replica_table_destroy(node->table);
    assert_int_equal(node->exports_open, 0);
    assert_int_equal(node->digests_open, 0);
    node->table = NULL;
    node->flushing = false;
    node->state = node->flushed;
    struct world_log *log = &node->log;
    if (!keep) { image_copy(&log->now, &log->durable); }
    if (keep) { image_copy(&log->durable, &log->now); }
    log->sequence_submitted = 0;
    log->sequence_durable = 0;
}

void world_turn(struct world_node *node) {
    replica_table_turn(node->table);
    struct world_log *log = &node->log;
    if (log->sequence_durable != log->sequence_submitted) {
        log->sequence_durable = log->sequence_submitted;
        image_copy(&log->durable, &log->now);
        struct log_completion done = {WORLD_SHARD, log->sequence_durable};
        replica_table_on_durable(node->table, &done, 1);
        replica_table_turn(node->table);
    }
    replica_table_check(node->table);
}

static void flush_on_time(struct world_node *node) {
    if (node->world->now_ns < node->flush_due_ns) { return; }
    if (node->flushing) {
        world_flush_end(node, true);
        node->flush_due_ns = node->world->now_ns + node->flush_every_ns;
    } else {
        world_flush_begin(node);
        node->flush_due_ns = node->world->now_ns + 20000000;
    }
    world_turn(node);
}

// What the owners of the tables do for an operation.
static void members_on_time(struct world *world) {
    if (world->target_count == 0 || world->now_ns < world->members_due_ns) { return; }
    world->members_due_ns = world->now_ns + 50000000;
    uint32_t leader = world_leader(world);
    if (leader == 0) { return; }
    struct replica *replica = world_replica(world, leader);
    replica_members_drive(replica, world->targets, world->target_count, &world->progress);
    const struct raft_membership *members = replica_members_committed(replica);
    if (members->config_epoch <= world->committed.config_epoch) { return; }
    world->committed = *members;
}

// Whoever is in no committed membership any more goes, when its owner hears of it.
static void remove_on_time(struct world_node *node) {
    struct world *world = node->world;
    struct replica *replica = world_replica(world, (uint32_t)node->id.v);
    if (replica == NULL || world->deaf || world->cut[node->id.v - 1]) { return; }
    const struct raft_member *member = raft_membership_find(&world->committed, node->id);
    uint64_t incarnation = replica_incarnation(replica);
    bool gone = world->committed.config_epoch > incarnation &&
                (member == NULL || member->incarnation > incarnation);
    if (!gone) { return; }
    assert_int_equal(replica_table_remove(node->table, WORLD_SHARD), STATUS_OK);
    assert_null(world_replica(world, (uint32_t)node->id.v));
}

static void step(struct world *world) {
    deliver_due(world);
    members_on_time(world);
    world->now_ns += 5000000;
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct world_node *node = &world->nodes[i];
        if (!node->up) { continue; }
        node->digest_records = 0;
        replica_table_on_time(node->table);
        if (node->digest_records > node->digest_records_max) {
            node->digest_records_max = node->digest_records;
        }
        world_turn(node);
        flush_on_time(node);
        remove_on_time(node);
    }
}

void world_run(struct world *self, uint64_t ms) {
    uint64_t until = self->now_ns + ms * 1000000;
    while (self->now_ns < until) {
        step(self);
    }
}

bool world_run_until(struct world *self, uint64_t max_ms, bool (*holds)(struct world *self)) {
    uint64_t until = self->now_ns + max_ms * 1000000;
    while (!holds(self)) {
        if (self->now_ns >= until) { return false; }
        step(self);
    }
    return true;
}

struct world *world_create(uint32_t node_count, uint32_t voters, uint64_t seed) {
    struct world *self = mem_alloc(sizeof(*self));
    self->node_count = node_count;
    self->voters = voters;
    self->now_ns = 1000000000;
    self->trim_lag_max = 20;
    prng_init(&self->prng, seed);
    self->descriptor = (struct shard_descriptor){
        .id = WORLD_SHARD, .epoch = 1, .config_epoch = 1, .replica_count = voters};
    self->descriptor.start = bytes_copy(SLICE_LITERAL("a"));
    self->descriptor.end = bytes_copy(SLICE_EMPTY);
    for (uint32_t i = 0; i < voters; i++) {
        self->descriptor.replicas[i] =
            (struct shard_replica){.node = {i + 1}, .role = SHARD_VOTER, .incarnation = 1};
    }
    for (uint32_t i = 0; i < node_count; i++) {
        struct world_node *node = &self->nodes[i];
        node->world = self;
        node->id = (struct node_id){i + 1};
        node->env = (struct env){node, env_mono, env_wall, env_bits, env_post};
        node->flush_every_ns = 100000000;
        machine_init(node);
        log_init(&node->log);
    }
    return self;
}

void world_destroy(struct world *self) {
    for (uint32_t i = 1; i <= self->node_count; i++) {
        struct world_node *node = world_node(self, i);
        if (node->up) { world_crash(self, i, true); }
        image_clear(&node->log.now);
        image_clear(&node->log.durable);
    }
    for (uint32_t i = 0; i < self->letter_count; i++) {
        bytes_unref(self->letters[i].body);
    }
    shard_descriptor_deinit(&self->descriptor);
    mem_free(self);
}

struct replica *world_replica(struct world *self, uint32_t number) {
    struct world_node *node = world_node(self, number);
    return node->up ? replica_table_find(node->table, WORLD_SHARD) : NULL;
}

uint32_t world_leader(struct world *self) {
    for (uint32_t i = 1; i <= self->node_count; i++) {
        struct replica *replica = self->cut[i - 1] ? NULL : world_replica(self, i);
        if (replica != NULL && replica_is_leader(replica)) { return i; }
    }
    return 0;
}

struct put {
    struct replica_proposal proposal;
    struct world *world;
    uint8_t payload[8];
};

static void put_done(struct replica_proposal *proposal,
                     const struct replica_proposal_result *result) {
    struct put *put = (struct put *)proposal;
    if (result->status == STATUS_OK && result->index > put->world->acknowledged) {
        put->world->acknowledged = result->index;
    }
    mem_free(put);
}

bool world_put(struct world *self) {
    uint32_t leader = world_leader(self);
    if (leader == 0) { return false; }
    struct put *put = mem_alloc(sizeof(*put));
    put->world = self;
    codec_store_u64(put->payload, prng_next(&self->prng));
    put->proposal = (struct replica_proposal){
        .payload = slice_make(put->payload, 8), .shard_epoch = 1, .done = put_done};
    if (replica_propose(world_replica(self, leader), &put->proposal) != STATUS_OK) {
        mem_free(put);
        return false;
    }
    self->puts++;
    world_turn(world_node(self, leader));
    return true;
}

void world_puts(struct world *self, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        assert_true(world_put(self));
        world_run(self, 10);
    }
}

void world_want(struct world *self, const uint32_t *numbers, uint32_t count) {
    self->target_count = count;
    for (uint32_t i = 0; i < self->node_count; i++) {
        self->nodes[i].placed = false;
    }
    for (uint32_t i = 0; i < count; i++) {
        self->targets[i] = (struct shard_target){.node = {numbers[i]}, .role = SHARD_VOTER};
        world_node(self, numbers[i])->placed = true;
    }
}

// The members are those that are wanted, and nobody else has a replica.
static bool targets_reached(struct world *self) {
    if (self->target_count == 0) { return true; }
    uint32_t present = 0;
    for (uint32_t i = 0; i < self->target_count; i++) {
        const struct raft_member *member =
            raft_membership_find(&self->committed, self->targets[i].node);
        if (member == NULL || member->role != RAFT_VOTER) { return false; }
    }
    for (uint32_t i = 1; i <= self->node_count; i++) {
        present += world_replica(self, i) != NULL;
    }
    return present == self->target_count && self->committed.count == self->target_count &&
           !raft_membership_is_joint(&self->committed);
}

bool world_is_equal(struct world *self) {
    const struct world_node *first = NULL;
    if (!targets_reached(self)) { return false; }
    for (uint32_t i = 1; i <= self->node_count; i++) {
        struct replica *replica = world_replica(self, i);
        if (replica == NULL) { continue; }
        const struct world_node *node = world_node(self, i);
        if (replica_health(replica) != RAFT_WHOLE || node->state.hollow) { return false; }
        if (first == NULL) { first = node; }
        bool same = node->state.applied == first->state.applied &&
                    digest_of(&node->state) == digest_of(&first->state);
        if (!same) { return false; }
    }
    return first != NULL && first->state.applied >= self->acknowledged;
}

struct replica_frontiers world_frontiers(struct world *self, uint32_t number) {
    struct replica_frontiers out;
    replica_frontiers(world_replica(self, number), &out);
    return out;
}
