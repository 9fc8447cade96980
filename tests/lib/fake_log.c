// SPDX-License-Identifier: Apache-2.0
// fake_log.c - see fake_log.h. Entries are kept by index in plain arrays: tests are short.

#include "tests/lib/fake_log.h"

#include "dataplane/base/assert.h"

static struct fake_log_shard *shard_of(struct fake_log *self, struct shard_id id) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        if (shard_id_equal(self->shards[i].id, id)) { return &self->shards[i]; }
    }
    ASSERT(self->shard_count < FAKE_LOG_SHARDS_MAX);
    struct fake_log_shard *shard = &self->shards[self->shard_count++];
    shard->id = id;
    return shard;
}

// Place of an index above the origin.
static struct log_entry *entry_at(struct fake_log_shard *shard, uint64_t index) {
    ASSERT(index > shard->origin);
    ASSERT(index - shard->origin <= FAKE_LOG_ENTRIES_MAX);
    return &shard->entries[index - shard->origin - 1];
}

static void truncate_from(struct fake_log_shard *shard, uint64_t index) {
    while (shard->bounds.last_index >= index && shard->bounds.last_index > shard->origin) {
        log_entry_unref(entry_at(shard, shard->bounds.last_index));
        shard->bounds.last_index--;
    }
}

static void begin_anew(struct fake_log_shard *shard, const struct log_base *base) {
    struct log_bounds *bounds = &shard->bounds;
    truncate_from(shard, 0);
    bytes_unref(shard->origin_membership);
    shard->origin = base->index;
    shard->origin_membership = base->membership.size > 0 ? bytes_copy(base->membership) : NULL;
    shard->base_ceiling = base->ceiling;
    shard->base_timestamp = base->timestamp;
    bounds->trim_index = base->index;
    bounds->trim_term = base->term;
    bounds->last_index = base->index;
    bounds->damaged_from = 0;
}

static void append(struct fake_log_shard *shard, const struct log_entry *entry) {
    ASSERT(entry->index == shard->bounds.last_index + 1);
    log_entry_ref(entry_at(shard, entry->index), entry);
    shard->bounds.last_index++;
}

static void fake_submit(void *ctx, const struct log_write *writes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const struct log_write *write = &writes[i];
        struct fake_log_shard *shard = shard_of(ctx, write->shard);
        ASSERT(write->sequence > shard->sequence_submitted);
        shard->sequence_submitted = write->sequence;
        ASSERT_IF(write->base != NULL, write->truncate_from == 0);
        if (write->base != NULL) { begin_anew(shard, write->base); }
        if (write->truncate_from != 0) { truncate_from(shard, write->truncate_from); }
        if (write->hard_state != NULL) { shard->bounds.hard_state = *write->hard_state; }
        for (uint32_t k = 0; k < write->entry_count; k++) {
            append(shard, &write->entries[k]);
        }
    }
}

static enum status fake_bounds(void *ctx, struct shard_id id, struct log_bounds *out) {
    const struct fake_log_shard *shard = shard_of(ctx, id);
    *out = shard->bounds;
    if (shard->origin > 0 && out->last_index == shard->origin) {
        out->base_ceiling = shard->base_ceiling;
        out->base_timestamp = shard->base_timestamp;
    }
    return STATUS_OK;
}

// lint: allow parameters: the port's shape (log_store.h)
static enum status fake_read(void *ctx, struct shard_id id, uint64_t low, uint64_t high,
                             uint32_t count_max, uint64_t size_max, struct log_entry *out,
                             uint32_t *out_count) {
    struct fake_log_shard *shard = shard_of(ctx, id);
    if (low <= shard->bounds.trim_index || low > shard->bounds.last_index) {
        return STATUS_NOT_FOUND;
    }
    uint32_t count = 0;
    uint64_t size = 0;
    for (uint64_t i = low; i < high && i <= shard->bounds.last_index && count < count_max; i++) {
        const struct log_entry *entry = entry_at(shard, i);
        if (count > 0 && size + entry->record.size > size_max) { break; }
        size += entry->record.size;
        log_entry_ref(&out[count++], entry);
    }
    *out_count = count;
    return STATUS_OK;
}

static void fake_trim(void *ctx, struct shard_id id, uint64_t index, uint64_t term) {
    struct fake_log_shard *shard = shard_of(ctx, id);
    shard->bounds.trim_index = index;
    shard->bounds.trim_term = term;
}

// The last one at or below the trim point is in force there; those before it are hidden.
static enum status fake_memberships(void *ctx, struct shard_id id, struct log_membership *out,
                                    uint32_t *out_count) {
    struct fake_log_shard *shard = shard_of(ctx, id);
    uint32_t count = 0;
    if (shard->origin_membership != NULL) {
        struct bytes *owner = bytes_ref(shard->origin_membership);
        out[count++] = (struct log_membership){shard->origin, bytes_slice(owner), owner};
    }
    for (uint64_t i = shard->origin + 1; i <= shard->bounds.last_index; i++) {
        const struct log_entry *entry = entry_at(shard, i);
        if (entry->kind != LOG_ENTRY_CONFIG) { continue; }
        if (i <= shard->bounds.trim_index && count > 0) { bytes_unref(out[--count].owner); }
        ASSERT(count < LOG_MEMBERSHIPS_MAX);
        struct bytes *owner = bytes_copy(entry->payload);
        out[count++] = (struct log_membership){i, bytes_slice(owner), owner};
    }
    *out_count = count;
    return STATUS_OK;
}

static void forget(struct fake_log_shard *shard) {
    truncate_from(shard, 0);
    bytes_unref(shard->origin_membership);
    shard->origin_membership = NULL;
    shard->origin = 0;
}

static void fake_remove(void *ctx, struct shard_id id, uint64_t incarnation) {
    struct fake_log_shard *shard = shard_of(ctx, id);
    const uint64_t before = shard->bounds.removed_incarnation;
    forget(shard);
    shard->bounds = (struct log_bounds){0};
    shard->bounds.removed_incarnation = incarnation > before ? incarnation : before;
    shard->sequence_submitted = 0;  // the next replica counts from one
    shard->sequence_durable = 0;
}

void fake_log_init(struct fake_log *self) {
    *self = (struct fake_log){0};
    self->port = (struct log_store){.ctx = self,
                                    .submit = fake_submit,
                                    .bounds = fake_bounds,
                                    .read = fake_read,
                                    .trim = fake_trim,
                                    .memberships = fake_memberships,
                                    .remove = fake_remove};
}

void fake_log_deinit(struct fake_log *self) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        forget(&self->shards[i]);
    }
}

uint32_t fake_log_sync(struct fake_log *self, struct log_completion *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->shard_count; i++) {
        struct fake_log_shard *shard = &self->shards[i];
        if (shard->sequence_durable == shard->sequence_submitted) { continue; }
        shard->sequence_durable = shard->sequence_submitted;
        out[count++] = (struct log_completion){shard->id, shard->sequence_submitted};
    }
    return count;
}
