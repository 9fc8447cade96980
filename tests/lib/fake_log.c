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

static void truncate_from(struct fake_log_shard *shard, uint64_t index) {
    while (shard->bounds.last_index >= index) {
        log_entry_unref(&shard->entries[shard->bounds.last_index - 1]);
        shard->bounds.last_index--;
    }
}

static void fake_submit(void *ctx, const struct log_write *writes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const struct log_write *write = &writes[i];
        struct fake_log_shard *shard = shard_of(ctx, write->shard);
        ASSERT(write->sequence > shard->sequence_submitted);
        shard->sequence_submitted = write->sequence;
        if (write->truncate_from != 0) { truncate_from(shard, write->truncate_from); }
        if (write->hard_state != NULL) { shard->bounds.hard_state = *write->hard_state; }
        for (uint32_t k = 0; k < write->entry_count; k++) {
            ASSERT(write->entries[k].index == shard->bounds.last_index + 1);
            ASSERT(shard->bounds.last_index < FAKE_LOG_ENTRIES_MAX);
            log_entry_ref(&shard->entries[shard->bounds.last_index], &write->entries[k]);
            shard->bounds.last_index++;
        }
    }
}

static enum status fake_bounds(void *ctx, struct shard_id id, struct log_bounds *out) {
    *out = shard_of(ctx, id)->bounds;
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
        if (count > 0 && size + shard->entries[i - 1].record.size > size_max) { break; }
        size += shard->entries[i - 1].record.size;
        log_entry_ref(&out[count++], &shard->entries[i - 1]);
    }
    *out_count = count;
    return STATUS_OK;
}

static void fake_trim(void *ctx, struct shard_id id, uint64_t index, uint64_t term) {
    struct fake_log_shard *shard = shard_of(ctx, id);
    shard->bounds.trim_index = index;
    shard->bounds.trim_term = term;
}

static void fake_remove(void *ctx, struct shard_id id) {
    struct fake_log_shard *shard = shard_of(ctx, id);
    truncate_from(shard, 1);
    shard->bounds = (struct log_bounds){0};
}

void fake_log_init(struct fake_log *self) {
    *self = (struct fake_log){0};
    self->port = (struct log_store){.ctx = self,
                                    .submit = fake_submit,
                                    .bounds = fake_bounds,
                                    .read = fake_read,
                                    .trim = fake_trim,
                                    .remove = fake_remove};
}

void fake_log_deinit(struct fake_log *self) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        truncate_from(&self->shards[i], 1);
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
