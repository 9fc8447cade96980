// SPDX-License-Identifier: Apache-2.0
// Two walks over the encoding: the first counts what lies on each shard, the second puts the
// operations where the counts say, so that each part is one run of the arrays and can be encoded
// without being gathered again.
//
// A span is cut at each border it crosses. Its pieces begin at borders, which may lie anywhere, and
// need not be keys that a client could name.
#include "txn/gateway/gateway_split.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <string.h>

_Static_assert(COMMAND_PARTICIPANTS_MAX <= UINT8_MAX + 1, "condition_parts holds places in a byte");

// One walk. While counting, arrays are not written.
struct walk {
    struct gateway_split *split;
    const struct shard_map *map;
    struct err *err;
    bool placing;
    uint64_t pieces;
};

void gateway_split_init(struct gateway_split *self) {
    *self = (struct gateway_split){0};
}

void gateway_split_deinit(struct gateway_split *self) {
    mem_free(self->reads);
    mem_free(self->conditions);
    mem_free(self->mutations);
    mem_free(self->condition_parts);
    *self = (struct gateway_split){0};
}

// --- Parts ---

static enum status too_many(struct err *err) {
    return err_set(err, STATUS_INVALID_ARGUMENT,
                   "the transaction touches more than %d shards, or the borders of shards cut it "
                   "into more than %d pieces",
                   COMMAND_PARTICIPANTS_MAX, GATEWAY_OPS_MAX);
}

static enum status nowhere(struct err *err) {
    return err_set(err, STATUS_UNAVAILABLE, "no shard is known that holds a key of the request");
}

// The part of a shard, made when it is the first operation there.
static struct gateway_part *part_of(struct walk *walk, struct shard_id shard) {
    struct gateway_split *self = walk->split;
    if (self->last < self->part_count && shard_id_equal(self->parts[self->last].shard, shard)) {
        return &self->parts[self->last];
    }
    for (uint32_t i = 0; i < self->part_count; i++) {
        if (shard_id_equal(self->parts[i].shard, shard)) {
            self->last = i;
            return &self->parts[i];
        }
    }
    ASSERT(!walk->placing);
    if (self->part_count == COMMAND_PARTICIPANTS_MAX) { return NULL; }
    self->last = self->part_count;
    struct gateway_part *part = &self->parts[self->part_count++];
    *part = (struct gateway_part){.shard = shard};
    return part;
}

static enum status take(struct walk *walk, const struct shard_descriptor *descriptor,
                        struct slice key, struct gateway_part **out) {
    struct gateway_part *part = part_of(walk, descriptor->id);
    if (part == NULL || ++walk->pieces > GATEWAY_OPS_MAX) { return too_many(walk->err); }
    if (part->anchor.size == 0 || slice_compare(key, part->anchor) < 0) { part->anchor = key; }
    *out = part;
    return STATUS_OK;
}

// --- Operations ---

static void put_read(struct walk *walk, struct gateway_part *part, struct slice start,
                     struct slice end) {
    if (walk->placing) {
        walk->split->reads[part->read_at + part->read_count] =
            (struct command_span){.start = start, .end = end};
    }
    part->read_count++;
}

static void put_mutation(struct walk *walk, struct gateway_part *part,
                         const struct command_mutation *mutation) {
    if (walk->placing) {
        walk->split->mutations[part->mutation_at + part->mutation_count] = *mutation;
    }
    part->mutation_count++;
}

// A piece of a range: of a read when mutation is NULL, else of that mutation.
static void put_piece(struct walk *walk, struct gateway_part *part, struct slice start,
                      struct slice end, const struct command_mutation *mutation) {
    if (mutation == NULL) {
        put_read(walk, part, start, end);
        return;
    }
    struct command_mutation piece = *mutation;
    piece.key = start;
    piece.value = end;
    put_mutation(walk, part, &piece);
}

static enum status cut(struct walk *walk, struct slice start, struct slice end,
                       const struct command_mutation *mutation) {
    for (;;) {
        const struct shard_descriptor *descriptor = shard_map_find(walk->map, start);
        if (descriptor == NULL) { return nowhere(walk->err); }
        struct gateway_part *part = NULL;
        const enum status st = take(walk, descriptor, start, &part);
        if (st != STATUS_OK) { return st; }
        const struct slice border = bytes_slice(descriptor->end);
        if (border.size == 0 || slice_compare(end, border) <= 0) {
            put_piece(walk, part, start, end, mutation);
            return STATUS_OK;
        }
        put_piece(walk, part, start, border, mutation);
        start = border;
    }
}

static enum status walk_read(struct walk *walk, const struct command_span *span) {
    if (span->end.size > 0) { return cut(walk, span->start, span->end, NULL); }
    const struct shard_descriptor *descriptor = shard_map_find(walk->map, span->start);
    if (descriptor == NULL) { return nowhere(walk->err); }
    struct gateway_part *part = NULL;
    const enum status st = take(walk, descriptor, span->start, &part);
    if (st == STATUS_OK) { put_read(walk, part, span->start, SLICE_EMPTY); }
    return st;
}

static enum status walk_condition(struct walk *walk, uint32_t position,
                                  const struct command_condition *condition) {
    struct gateway_split *self = walk->split;
    const struct shard_descriptor *descriptor = shard_map_find(walk->map, condition->key);
    if (descriptor == NULL) { return nowhere(walk->err); }
    struct gateway_part *part = NULL;
    const enum status st = take(walk, descriptor, condition->key, &part);
    if (st != STATUS_OK) { return st; }
    if (walk->placing) {
        self->conditions[part->condition_at + part->condition_count] = *condition;
        self->condition_parts[position] = (uint8_t)(part - self->parts);
    }
    part->condition_count++;
    return STATUS_OK;
}

static enum status walk_mutation(struct walk *walk, const struct command_mutation *mutation) {
    if (mutation->kind == COMMAND_DELETE_RANGE) {
        return cut(walk, mutation->key, mutation->value, mutation);
    }
    const struct shard_descriptor *descriptor = shard_map_find(walk->map, mutation->key);
    if (descriptor == NULL) { return nowhere(walk->err); }
    struct gateway_part *part = NULL;
    const enum status st = take(walk, descriptor, mutation->key, &part);
    if (st == STATUS_OK) { put_mutation(walk, part, mutation); }
    return st;
}

// The home is the first part that the counting walk makes of mutations, else of conditions, else of
// reads; it is put first afterwards.
struct homes {
    struct shard_id read;
    struct shard_id condition;
    struct shard_id mutation;
};

static struct shard_id last_shard(const struct gateway_split *self) {
    return self->parts[self->last].shard;
}

static enum status walk_all(struct walk *walk, struct slice encoded, struct homes *homes) {
    struct gateway_split *self = walk->split;
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, encoded);
    if (st != STATUS_OK) { return st; }
    self->txn = reader.txn;
    self->snapshot = reader.snapshot;
    self->condition_total = reader.condition_count;
    for (uint32_t i = 0; st == STATUS_OK && i < reader.read_count; i++) {
        struct command_span span = {0};
        st = command_commit_next_read(&reader, &span);
        const struct shard_descriptor *first = shard_map_find(walk->map, span.start);
        if (st == STATUS_OK && i == 0 && first != NULL) { homes->read = first->id; }
        if (st == STATUS_OK) { st = walk_read(walk, &span); }
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        struct command_condition condition = {0};
        st = command_commit_next_condition(&reader, &condition);
        if (st == STATUS_OK) { st = walk_condition(walk, i, &condition); }
        if (st == STATUS_OK && i == 0) { homes->condition = last_shard(self); }
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.mutation_count; i++) {
        struct command_mutation mutation = {0};
        st = command_commit_next_mutation(&reader, &mutation);
        const struct shard_descriptor *first = shard_map_find(walk->map, mutation.key);
        if (st == STATUS_OK && i == 0 && first != NULL) { homes->mutation = first->id; }
        if (st == STATUS_OK) { st = walk_mutation(walk, &mutation); }
    }
    return st;
}

// --- Between the walks ---

static void home_first(struct gateway_split *self, const struct homes *homes) {
    const struct shard_id home = homes->mutation.v != 0    ? homes->mutation
                                 : homes->condition.v != 0 ? homes->condition
                                                           : homes->read;
    for (uint32_t i = 0; i < self->part_count; i++) {
        if (!shard_id_equal(self->parts[i].shard, home)) { continue; }
        const struct gateway_part part = self->parts[i];
        self->parts[i] = self->parts[0];
        self->parts[0] = part;
        return;
    }
    ASSERT(false);
}

static bool grow(void **array, uint32_t *capacity, uint32_t count, size_t size) {
    if (count <= *capacity) { return true; }
    void *grown = mem_try_realloc(*array, (size_t)count * size);
    if (grown == NULL) { return false; }
    *array = grown;
    *capacity = count;
    return true;
}

static bool grow_all(struct gateway_split *self, uint32_t reads, uint32_t conditions,
                     uint32_t mutations) {
    // One capacity for both arrays of conditions: the bytes first.
    if (conditions > self->condition_capacity) {
        uint32_t bytes = self->condition_capacity;
        void *parts = self->condition_parts;
        if (!grow(&parts, &bytes, conditions, 1)) { return false; }
        self->condition_parts = parts;
    }
    void *arrays[] = {self->reads, self->conditions, self->mutations};
    const bool ok =
        grow(&arrays[0], &self->read_capacity, reads, sizeof(self->reads[0])) &&
        grow(&arrays[1], &self->condition_capacity, conditions, sizeof(self->conditions[0])) &&
        grow(&arrays[2], &self->mutation_capacity, mutations, sizeof(self->mutations[0]));
    self->reads = arrays[0];
    self->conditions = arrays[1];
    self->mutations = arrays[2];
    return ok;
}

// Counts become places; counting begins anew.
static bool lay_out(struct gateway_split *self) {
    uint32_t reads = 0;
    uint32_t conditions = 0;
    uint32_t mutations = 0;
    for (uint32_t i = 0; i < self->part_count; i++) {
        struct gateway_part *part = &self->parts[i];
        part->read_at = reads;
        part->condition_at = conditions;
        part->mutation_at = mutations;
        reads += part->read_count;
        conditions += part->condition_count;
        mutations += part->mutation_count;
        part->read_count = 0;
        part->condition_count = 0;
        part->mutation_count = 0;
    }
    return grow_all(self, reads, conditions, mutations);
}

enum status gateway_split_commit(struct gateway_split *self, const struct shard_map *map,
                                 struct slice encoded, struct err *err) {
    self->part_count = 0;
    self->last = 0;
    struct homes homes = {0};
    struct walk walk = {.split = self, .map = map, .err = err};
    enum status st = walk_all(&walk, encoded, &homes);
    if (st != STATUS_OK) { return st; }
    ASSERT(self->part_count > 0);
    home_first(self, &homes);
    if (self->part_count == 1) { return STATUS_OK; }
    if (!lay_out(self)) {
        return err_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory to split the commit");
    }
    walk.placing = true;
    walk.pieces = 0;
    self->last = 0;
    st = walk_all(&walk, encoded, &homes);
    ASSERT(st == STATUS_OK);
    return st;
}

void gateway_split_encode(const struct gateway_split *self, uint32_t i, struct codec_writer *w) {
    ASSERT(self->part_count > 1 && i < self->part_count);
    const struct gateway_part *part = &self->parts[i];
    const struct command_commit commit = {
        .txn = self->txn,
        .snapshot = part->read_count > 0 ? self->snapshot : HLC_ZERO,
        .read_count = part->read_count,
        .condition_count = part->condition_count,
        .mutation_count = part->mutation_count,
        .reads = self->reads + part->read_at,
        .conditions = self->conditions + part->condition_at,
        .mutations = self->mutations + part->mutation_at,
    };
    command_commit_encode(w, &commit);
}
