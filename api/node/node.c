// SPDX-License-Identifier: Apache-2.0
// node.c - opens what a node stands on and connects the core to it.
//
// Start order: data directory, stores, raft log, worker threads, transport, then the core as soon
// as there is an identity. Stop order is the
// reverse: leaderships are given away, the loop stops, then the workers, then the stores close.

#include "api/node/node.h"

#include "api/node/node_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/loop/clock.h"
#include "dataplane/obs/log.h"

#include <stdio.h>
#include <string.h>

#define NODE_HOUSEKEEPING_NS UINT64_C(200000000)
#define NODE_ROOM_NS         UINT64_C(500000000)
enum {
    NODE_DEFAULT_CACHE = 256 << 20,
    NODE_DEFAULT_WRITE_BUFFER = 64 << 20,
    NODE_LOG_WRITE_BUFFER = 64 << 20,
    NODE_TRACE_EVENTS = 1 << 16,  // 2.6 MB
};

// --- env

static uint64_t env_monotonic(void *ctx) {
    (void)ctx;
    return loop_monotonic_ns();
}

static uint64_t machine_wall(void *ctx) {
    const struct node *self = ctx;
    return loop_wall_us() + (uint64_t)(self->dev_clock_ms * 1000);
}

static uint64_t env_wall(void *ctx) {
    struct node *self = ctx;
    return self->core != NULL ? node_core_wall_us(self->core) : machine_wall(ctx);
}

static uint64_t env_bits(void *ctx) {
    return loop_random(((struct node *)ctx)->loop);
}

static void env_send_peer(void *ctx, struct node_id peer, enum peer_message_type type,
                          struct slice body) {
    transport_send(((struct node *)ctx)->transport, peer, type, body);
}

// --- log writer

static void log_job_run(struct worker_job *job) {
    raftlog_group_write(((struct node_log_job *)job)->group);
}

static void log_job_done(struct worker_job *job) {
    struct node_log_job *log_job = (struct node_log_job *)job;
    if (log_job->node->core != NULL) { node_core_on_sync_finished(log_job->node->core); }
    raftlog_group_done(log_job->node->log, log_job->group);
}

static void log_start(void *ctx, struct raftlog_group *group) {
    struct node *self = ctx;
    if (self->stopping) { return; }  // what this group holds was promised to nobody
    self->log_job.node = self;
    self->log_job.group = group;
    self->log_job.job = (struct worker_job){.run = log_job_run, .done = log_job_done};
    enum status st = worker_submit(self->log_writer, &self->log_job.job, self->loop);
    ASSERT(st == STATUS_OK);  // one group at a time
    if (self->core != NULL) { node_core_on_sync_started(self->core); }
}

static void log_durable(void *ctx, const struct log_completion *items, uint32_t count) {
    struct node *self = ctx;
    if (self->core != NULL) { node_core_on_durable(self->core, items, count); }
}

// --- disk

// The log writer hangs in the kernel or has long syncs; this runs on the loop and sees both. What
// was acknowledged is in the log, so stopping loses nothing, and the peers go on without this node.
static void watch_disk(struct node *self) {
    struct node_disk_status disk;
    node_core_disk(self->core, &disk);
    if (disk.state == self->disk) { return; }
    LOG_WARN("node.disk.changed", LOG_STR("from", node_disk_state_text(self->disk)),
             LOG_STR("to", node_disk_state_text(disk.state)),
             LOG_U64("pending_ms", disk.pending_ns / 1000000),
             LOG_U64("last_sync_ms", disk.last_ns / 1000000));
    self->disk = disk.state;
    if (disk.state == NODE_DISK_FAILED) {
        FATAL("the disk under %s/log has not finished a sync for %llu ms (disk.stop_ms)",
              self->data_dir, (unsigned long long)(disk.pending_ns / 1000000));
    }
}

static uint64_t disk_free_size(const struct node *self) {
    struct engine_pressure log;
    struct engine_pressure data;
    engine_pressure(self->log_engine, &log);
    engine_pressure(self->data_engine, &data);
    return log.disk_free_size < data.disk_free_size ? log.disk_free_size : data.disk_free_size;
}

// The stores share a disk, or each has its own: the fuller one counts.
static void watch_room(struct node *self, uint64_t now_ns) {
    uint64_t reserve = self->options.disk_reserve_size;
    if (reserve == 0 || now_ns < self->room_due_ns) { return; }
    self->room_due_ns = now_ns + NODE_ROOM_NS;
    uint64_t free_size = disk_free_size(self);
    enum replica_room room = node_room_judge(self->room, free_size, reserve);
    char text[160];
    node_room_text(self->self.id, free_size, reserve, text, sizeof(text));
    if (room > self->room) { LOG_WARN("node.disk.full", LOG_STR("what", text)); }
    if (room < self->room) { LOG_INFO("node.disk.room", LOG_STR("what", text)); }
    self->room = room;
    replica_table_set_room(node_core_table(self->core), room, text);
}

// --- loop hooks

// Housekeeping has a time of its own: counted from the present turn, turns that follow each other
// closely would push it away for ever.
static void schedule(struct node *self) {
    uint64_t at = self->housekeeping_due_ns;
    if (self->core != NULL) {
        uint64_t core = node_core_deadline_ns(self->core);
        if (core < at) { at = core; }
    }
    loop_set_deadline(self->loop, at);
}

static void on_turn(void *ctx) {
    struct node *self = ctx;
    if (self->core != NULL) {
        node_core_turn(self->core);
        watch_disk(self);
    }
    if (self->transport != NULL) { transport_turn(self->transport); }
    if (self->options.turn != NULL) { self->options.turn(self->options.ctx); }
    schedule(self);
}

static void on_time(void *ctx) {
    struct node *self = ctx;
    uint64_t now = loop_monotonic_ns();
    if (self->core != NULL) {
        node_core_on_time(self->core);
        watch_room(self, now);
    }
    node__flush_on_time(self, now);
    node__mark_on_time(self);
    node__join_on_time(self, now);
    if (now >= self->housekeeping_due_ns) {
        self->housekeeping_due_ns = now + NODE_HOUSEKEEPING_NS;
    }
}

// Also of a node that could not be opened as a whole: what is missing then is what failed.
static void on_stop(void *ctx) {
    struct node *self = ctx;
    if (self->core != NULL) {
        replica_table_resign(node_core_table(self->core), false);
        node_core_turn(self->core);
    }
    if (self->transport != NULL) { transport_turn(self->transport); }
    self->stopping = true;
    if (self->log_writer != NULL) { worker_stop(self->log_writer); }
    if (self->flusher != NULL) { worker_stop(self->flusher); }
    if (self->transport != NULL) { transport_close(self->transport); }
}

static void on_message(void *ctx, struct node_id from, enum peer_message_type type,
                       struct bytes *owner, struct slice body) {
    struct node *self = ctx;
    if (self->core == NULL) { return; }
    if (node_core_on_message(self->core, from, type, owner, body) != STATUS_OK) {
        LOG_WARN("node.message.refused", LOG_U64("from", from.v), LOG_U64("type", type));
    }
}

// --- identity and core

static void on_catalog_changed(void *ctx) {
    struct node *self = ctx;
    const struct catalog *catalog = node_core_catalog(self->core);
    for (uint32_t i = 0; i < catalog_node_count(catalog); i++) {
        const struct catalog_node *node = catalog_node_at(catalog, i);
        if (node_id_equal(node->id, self->self.id)) { continue; }
        enum status st = transport_set_peer(self->transport, node->id, node->peer_address);
        if (st == STATUS_OK) {
            st = transport_set_peer_incarnation(self->transport, node->id, node->incarnation);
        }
        if (st != STATUS_OK) {
            LOG_WARN("node.peer.address", LOG_U64("node", node->id.v), LOG_STATUS("status", st));
        }
    }
    if (self->options.catalog_changed != NULL) { self->options.catalog_changed(self->options.ctx); }
}

static void set_members(struct node *self) {
    struct transport_identity identity = {
        .cluster = self->cluster.cluster,
        .node = self->cluster.self,
        .boot = identity_boot(self->identity),
        .incarnation = self->self.incarnation,
    };
    transport_set_identity(self->transport, &identity);
    for (uint32_t i = 0; i < self->cluster.member_count; i++) {
        const struct join_member *member = &self->cluster.members[i];
        if (node_id_equal(member->id, self->cluster.self)) { continue; }
        enum status st = transport_set_peer(self->transport, member->id, member->peer_address);
        if (st != STATUS_OK) {
            LOG_WARN("node.peer.address", LOG_U64("node", member->id.v), LOG_STATUS("status", st));
        }
    }
}

enum status node__start_core(struct node *self, struct err *err) {
    self->self.id = self->cluster.self;
    set_members(self);
    struct node_core_config config;
    node_core_config_defaults(&config);
    config.self = self->self;
    config.boot = identity_boot(self->identity);
    config.member_count = self->cluster.member_count;
    for (uint32_t i = 0; i < config.member_count; i++) {
        config.members[i] = self->cluster.members[i].id;
    }
    config.env = &self->machine;
    config.trace_events = NODE_TRACE_EVENTS;
    config.clock_floor = self->mark.mark;
    if (hlc_before(hlc_from_wall(env_wall_us(&self->machine)), self->mark.mark)) {
        LOG_WARN("node.clock.behind", LOG_U64("mark_us", hlc_wall_us(self->mark.mark)));
    }
    config.data = self->data_engine;
    config.log = self->log;
    if (self->options.support_duration_ms != 0) {
        config.support_duration_ns = self->options.support_duration_ms * 1000000;
        config.support_interval_ns = config.support_duration_ns / 10;
    }
    if (self->options.election_ms_min != 0) {
        config.election_ns_min = self->options.election_ms_min * 1000000;
    }
    if (self->options.clock_lead_ms_max != 0) {
        config.clock_lead_us_max = self->options.clock_lead_ms_max * 1000;
    }
    if (self->options.shard_bytes_max != 0) {
        config.shard_pending_size_max = self->options.shard_bytes_max;
    }
    if (self->options.calls_max != 0) { config.calls_max = self->options.calls_max; }
    config.disk = self->options.disk;
    config.catalog_changed = on_catalog_changed;
    config.ctx = self;
    enum status st = node_core_create(&config, &self->core, err);
    if (st != STATUS_OK) { return st; }
    LOG_INFO("node.core.started", LOG_U64("node", self->self.id.v), LOG_U64("boot", config.boot));
    if (self->options.ready != NULL) { self->options.ready(self->options.ctx); }
    schedule(self);
    return STATUS_OK;
}

// --- opening

static void copy_text(char *out, size_t size, const char *text) {
    (void)snprintf(out, size, "%s", text == NULL ? "" : text);
}

static void describe_self(struct node *self) {
    const struct node_options *options = &self->options;
    self->self.incarnation = identity_incarnation(self->identity);
    copy_text(self->self.peer_address, sizeof(self->self.peer_address),
              transport_address(self->transport));
    copy_text(self->self.region, sizeof(self->self.region), options->region);
    copy_text(self->self.zone, sizeof(self->self.zone), options->zone);
    self->self.latitude_microdegrees = options->latitude_microdegrees;
    self->self.longitude_microdegrees = options->longitude_microdegrees;
    self->self.state = CATALOG_NODE_LIVE;
}

static bool is_founded(const struct node *self) {
    struct join_cluster cluster;
    return identity_cluster(self->identity, &cluster);
}

static enum status open_engine(struct node *self, enum rocksdb_engine_use use, struct engine **out,
                               struct err *err) {
    char path[NODE_PATH_SIZE_MAX + 8];
    (void)snprintf(path, sizeof(path), "%s/%s", self->data_dir,
                   use == ROCKSDB_ENGINE_LOG ? "log" : "data");
    uint64_t cache = self->options.cache_size != 0 ? self->options.cache_size : NODE_DEFAULT_CACHE;
    uint64_t buffer = self->options.write_buffer_size != 0 ? self->options.write_buffer_size
                                                           : NODE_DEFAULT_WRITE_BUFFER;
    struct rocksdb_engine_options options = {
        .use = use,
        .path = path,
        // Who belongs to a cluster had both stores once: a new empty one would forget votes and
        // acknowledged writes.
        .create_if_missing = !is_founded(self),
        .cache_size = use == ROCKSDB_ENGINE_LOG ? 8 << 20 : cache,
        .write_buffer_size = use == ROCKSDB_ENGINE_LOG ? NODE_LOG_WRITE_BUFFER : buffer,
    };
    return rocksdb_engine_open(&options, out, err);
}

static enum status open_stores(struct node *self, struct err *err) {
    enum status st = open_engine(self, ROCKSDB_ENGINE_LOG, &self->log_engine, err);
    if (st != STATUS_OK) { return st; }
    st = open_engine(self, ROCKSDB_ENGINE_DATA, &self->data_engine, err);
    if (st != STATUS_OK) { return st; }
    struct raftlog_config config = {
        .engine = self->log_engine,
        .writer = {self, log_start},
        .durable = log_durable,
        .durable_ctx = self,
    };
    return raftlog_open(&config, &self->log, err);
}

static enum status open_threads(struct node *self, struct err *err) {
    struct loop_config loop = {.name = "shard", .hooks = {self, on_turn, on_time, on_stop}};
    enum status st = loop_create(&loop, &self->loop, err);
    if (st != STATUS_OK) { return st; }
    struct worker_config writer = {.name = "logwriter", .jobs_max = 4};
    st = worker_create(&writer, &self->log_writer, err);
    if (st != STATUS_OK) { return st; }
    struct worker_config flusher = {.name = "flusher", .jobs_max = 4};
    return worker_create(&flusher, &self->flusher, err);
}

static enum status open_transport(struct node *self, struct err *err) {
    struct transport_config config = {
        .loop = self->loop,
        .identity = {.boot = identity_boot(self->identity),
                     .incarnation = identity_incarnation(self->identity)},
        .handlers = {.ctx = self,
                     .on_message = on_message,
                     .on_join = node__on_join,
                     .on_closed = node__on_join_closed},
        .listen_address = self->options.peer_listen,
        .advertise_address = self->options.peer_advertise,
        .insecure = self->options.insecure,
    };
    return transport_create(&config, &self->transport, err);
}

enum status node_create(const struct node_options *options, struct node **out_node,
                        struct err *err) {
    struct node *self = mem_alloc(sizeof(*self));
    self->options = *options;
    copy_text(self->data_dir, sizeof(self->data_dir), options->data_dir);
    self->started_ns = loop_monotonic_ns();
    self->env = (struct env){self, env_monotonic, env_wall, env_bits, env_send_peer};
    self->machine = self->env;
    self->machine.wall_us = machine_wall;
    self->mark.fd = -1;
    enum status st = identity_open(self->data_dir, &self->identity, err);
    if (st == STATUS_OK) { st = node_mark_open(&self->mark, self->data_dir, err); }
    if (self->mark.damaged) { LOG_WARN("node.clock.mark_damaged"); }
    if (st == STATUS_OK) { st = open_threads(self, err); }
    if (st == STATUS_OK) { st = open_stores(self, err); }
    if (st == STATUS_OK) { st = open_transport(self, err); }
    if (st != STATUS_OK) {
        node_stop(self);
        node_destroy(self);
        return st;
    }
    describe_self(self);
    *out_node = self;
    return STATUS_OK;
}

void node_set_rpc_address(struct node *self, const char *address) {
    copy_text(self->self.rpc_address, sizeof(self->self.rpc_address), address);
}

enum status node_start(struct node *self, struct err *err) {
    enum status st = STATUS_OK;
    if (identity_cluster(self->identity, &self->cluster)) {
        st = node__start_core(self, err);
    } else if (self->options.alone) {
        st = node_init_cluster(self, 1, err);
    }
    if (st != STATUS_OK) { return st; }
    schedule(self);
    st = loop_start(self->loop, err);
    self->loop_started = st == STATUS_OK;
    return st;
}

void node_stop(struct node *self) {
    if (self->loop == NULL || self->stopping) { return; }
    loop_stop(self->loop);
    if (self->loop_started) {
        loop_join(self->loop);
        self->loop_started = false;
    } else {
        // It never ran. Sockets and threads are given back in its turns, and tasks that were posted
        // belong to somebody who waits for their answers.
        loop_run(self->loop);
    }
}

void node_destroy(struct node *self) {
    ASSERT(self->loop == NULL || self->stopping);
    if (self->core != NULL) { node_core_destroy(self->core); }
    if (self->log != NULL) { raftlog_destroy(self->log); }
    worker_destroy(self->log_writer);
    worker_destroy(self->flusher);
    transport_destroy(self->transport);
    loop_destroy(self->loop);
    if (self->data_engine != NULL) { engine_close(self->data_engine); }
    if (self->log_engine != NULL) { engine_close(self->log_engine); }
    for (uint32_t i = 0; i < self->joiner_count; i++) {
        buf_deinit(&self->joiners[i].payload);
    }
    node_mark_close(&self->mark);
    if (self->identity != NULL) { identity_close(self->identity); }
    mem_free(self);
}

struct loop *node_loop(struct node *self) {
    return self->loop;
}
const struct env *node_env(const struct node *self) {
    return &self->env;
}
void node_set_dev_clock(struct node *self, int64_t offset_ms) {
    self->dev_clock_ms = offset_ms;
}
int64_t node_dev_clock(const struct node *self) {
    return self->dev_clock_ms;
}
struct node_core *node_core_get(struct node *self) {
    return self->core;
}
struct transport *node_transport(struct node *self) {
    return self->transport;
}
const struct catalog_node *node_self(const struct node *self) {
    return &self->self;
}
const struct join_cluster *node_cluster(const struct node *self) {
    return &self->cluster;
}
uint64_t node_uptime_ms(const struct node *self) {
    return (loop_monotonic_ns() - self->started_ns) / 1000000;
}
