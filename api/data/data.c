// SPDX-License-Identifier: Apache-2.0
// What the handlers of the service share.
#include "api/data/data_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

enum {
    DATA_ITEMS_MAX = 16384,
    DATA_STREAM_ITEMS_MAX = 4096,
    DATA_SCRATCH_KEPT_MAX = 1 << 20,
    DATA_ENCODED_SIZE_MAX = 2 * RPC_MESSAGE_SIZE_MAX,
    DATA_KEYS_SIZE_MAX = 4 * RPC_MESSAGE_SIZE_MAX,
};
static const uint64_t DATA_TRANSACT_BYTES_MAX = UINT64_C(256) << 20;
static const uint64_t DATA_DEADLINE_NS = UINT64_C(10000000000);

static void data_on_burst_end(void *ctx) {
    const struct data *self = ctx;
    loop_ring_due(self->config.loop);
}

struct data *data_create(const struct data_config *config) {
    struct data *self = mem_alloc(sizeof(*self));
    self->config = *config;
    if (self->config.commit_size_max == 0) { self->config.commit_size_max = SHARD_COMMIT_SIZE_MAX; }
    if (self->config.items_max == 0) { self->config.items_max = DATA_ITEMS_MAX; }
    if (self->config.transact_bytes_max == 0) {
        self->config.transact_bytes_max = DATA_TRANSACT_BYTES_MAX;
    }
    if (self->config.stream_items_max == 0) {
        self->config.stream_items_max = DATA_STREAM_ITEMS_MAX;
    }
    ASSERT(self->config.stream_items_max <= DATA_ITEMS_MAX);
    int error = pthread_mutex_init(&self->mu, NULL);
    ASSERT(error == 0);
    directory_holder_init(&self->directory);
    buf_init(&self->out, DATA_RESPONSE_SIZE_MAX);
    data__unary_register(self);
    data__batch_register(self);
    data__scan_register(self);
    data__transact_register(self);
    rpc_set_burst_end(self->config.server, data_on_burst_end, self);
    return self;
}

static void data_scratch_destroy(struct data_scratch *scratch) {
    mem_free(scratch->mutations);
    mem_free(scratch->conditions);
    mem_free(scratch->reads);
    mem_free(scratch->keys);
    buf_deinit(&scratch->full_keys);
    buf_deinit(&scratch->encoded);
    buf_deinit(&scratch->merges);
    mem_free(scratch);
}

void data_destroy(struct data *self) {
    if (self == NULL) { return; }
    ASSERT(self->flushing == NULL);
    while (self->scratches != NULL) {
        struct data_scratch *scratch = self->scratches;
        self->scratches = scratch->next;
        data_scratch_destroy(scratch);
    }
    directory_holder_deinit(&self->directory);
    buf_deinit(&self->out);
    (void)pthread_mutex_destroy(&self->mu);
    mem_free(self);
}

void data_set_node(struct data *self, struct gateway *gateway, struct hlc_clock *hlc,
                   struct node_id node) {
    self->config.gateway = gateway;
    self->config.hlc = hlc;
    self->config.self = node;
}

void data_set_directory(struct data *self, struct directory *directory) {
    directory_holder_take(&self->directory, directory);
}

void data_turn(struct data *self) {
    data__streams_flush(self);
    rpc_replies_flush(self->config.server);
    if (self->out.capacity > DATA_SCRATCH_KEPT_MAX) {
        buf_deinit(&self->out);
        buf_init(&self->out, DATA_RESPONSE_SIZE_MAX);
    }
}

struct data_scratch *data__scratch_take(struct data *self) {
    (void)pthread_mutex_lock(&self->mu);
    struct data_scratch *scratch = self->scratches;
    if (scratch != NULL) { self->scratches = scratch->next; }
    (void)pthread_mutex_unlock(&self->mu);
    if (scratch == NULL) {
        scratch = mem_alloc(sizeof(*scratch));
        scratch->keys = mem_alloc_array(COMMAND_READ_KEYS_MAX, sizeof(*scratch->keys));
        buf_init(&scratch->full_keys, DATA_KEYS_SIZE_MAX);
        buf_init(&scratch->encoded, DATA_ENCODED_SIZE_MAX);
        buf_init(&scratch->merges, DATA_ENCODED_SIZE_MAX);
    }
    buf_reset(&scratch->full_keys);
    buf_reset(&scratch->encoded);
    scratch->directory = directory_holder_get(&self->directory);
    scratch->commit_size_max = self->config.commit_size_max;
    return scratch;
}

static bool data_scratch_is_large(const struct data_scratch *scratch) {
    return scratch->full_keys.capacity > DATA_SCRATCH_KEPT_MAX ||
           scratch->encoded.capacity > DATA_SCRATCH_KEPT_MAX ||
           scratch->merges.capacity > DATA_SCRATCH_KEPT_MAX;
}

void data__scratch_give(struct data *self, struct data_scratch *scratch) {
    directory_unref(scratch->directory);
    scratch->directory = NULL;
    if (data_scratch_is_large(scratch)) {
        data_scratch_destroy(scratch);
        return;
    }
    (void)pthread_mutex_lock(&self->mu);
    scratch->next = self->scratches;
    self->scratches = scratch;
    (void)pthread_mutex_unlock(&self->mu);
}

void data__count(struct data *self, enum command_kind kind) {
    atomic_uint_fast64_t *counter = &self->statuses;
    if (kind == COMMAND_READ) { counter = &self->reads; }
    if (kind == COMMAND_SCAN) { counter = &self->scans; }
    if (kind == COMMAND_COMMIT) { counter = &self->commits; }
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

enum status data__observe(struct data *self, struct hlc_ts hlc) {
    if (hlc.v == 0) { return STATUS_OK; }
    return hlc_observe(self->config.hlc, hlc, env_wall_us(self->config.env));
}

uint64_t data__deadline(uint64_t now_ns, uint64_t wish_ns) {
    return wish_ns == UINT64_MAX ? now_ns + DATA_DEADLINE_NS : wish_ns;
}

void data_stats(const struct data *self, struct data_stats *out) {
    *out = (struct data_stats){
        .reads = atomic_load_explicit(&self->reads, memory_order_relaxed),
        .scans = atomic_load_explicit(&self->scans, memory_order_relaxed),
        .commits = atomic_load_explicit(&self->commits, memory_order_relaxed),
        .statuses = atomic_load_explicit(&self->statuses, memory_order_relaxed),
        .refused = atomic_load_explicit(&self->refused, memory_order_relaxed),
        .messages = atomic_load_explicit(&self->messages, memory_order_relaxed),
        .in_flight = atomic_load_explicit(&self->items, memory_order_relaxed),
    };
}
