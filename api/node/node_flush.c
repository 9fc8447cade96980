// SPDX-License-Identifier: Apache-2.0
// node_flush.c - when `data` is flushed, so that the raft log can be trimmed and a restart stays
// short.
//
// `data` has no WAL: what is not flushed is replayed from the raft log. A flush is due when the log
// has grown by LOG_GROWTH since the last one, when a snapshot that was taken in waits for it, when
// the catalogue changed (few bytes, wanted at once after a restart), or after a minute in which
// anything was applied.

#include "api/node/node_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/obs/log.h"

enum { FLUSH_LOG_GROWTH = 64 << 20 };
#define FLUSH_CHECK_NS       UINT64_C(1000000000)
#define FLUSH_PERIOD_NS      UINT64_C(60000000000)
#define FLUSH_PERIOD_FULL_NS UINT64_C(5000000000)

static void flush_run(struct worker_job *job) {
    struct node_flush_job *flush = (struct node_flush_job *)job;
    flush->flushed = engine_flush(flush->node->data_engine) == STATUS_OK;
}

static void flush_done(struct worker_job *job) {
    struct node_flush_job *flush = (struct node_flush_job *)job;
    struct node *self = flush->node;
    flush->running = false;
    if (!flush->flushed) { LOG_WARN("node.flush.failed"); }
    node_core_flush_done(self->core, flush->flushed);
    self->flush_log_size = raftlog_size(self->log);
}

static bool flush_wanted(struct node *self, uint64_t now_ns) {
    uint64_t version = catalog_version(node_core_catalog(self->core));
    bool grown = raftlog_size(self->log) > self->flush_log_size + FLUSH_LOG_GROWTH;
    bool catalog = version != self->flush_catalog_version;
    // What is flushed lets the raft log be trimmed, which is what makes room.
    bool full = self->room != REPLICA_ROOM_ENOUGH;
    bool period = now_ns >= self->flush_due_ns + (full ? FLUSH_PERIOD_FULL_NS : FLUSH_PERIOD_NS);
    self->flush_catalog_version = version;
    return grown || catalog || period;
}

// --- The clock's mark, by the same thread: it waits for the disk as well.

static void mark_run(struct worker_job *job) {
    struct node_mark_job *mark = (struct node_mark_job *)job;
    mark->kept = node_mark_write(&mark->node->mark, mark->mark) == STATUS_OK;
}

static void mark_done(struct worker_job *job) {
    struct node_mark_job *mark = (struct node_mark_job *)job;
    mark->running = false;
    if (mark->kept) {
        node_core_clock_kept(mark->node->core, mark->mark);
    } else {
        LOG_WARN("node.clock.mark_failed");
    }
}

void node__mark_on_time(struct node *self) {
    struct node_mark_job *mark = &self->mark_job;
    if (self->core == NULL || mark->running) { return; }
    if (!node_core_clock_wanted(self->core, &mark->mark)) { return; }
    mark->node = self;
    mark->job = (struct worker_job){.run = mark_run, .done = mark_done};
    mark->running = true;
    enum status st = worker_submit(self->flusher, &mark->job, self->loop);
    ASSERT(st == STATUS_OK);  // one job at a time, and the worker outlives the loop's work
}

void node__flush_on_time(struct node *self, uint64_t now_ns) {
    if (self->core == NULL || self->flush_job.running) { return; }
    bool soon = node_core_flush_wanted(self->core);
    if (!soon && now_ns < self->flush_due_ns + FLUSH_CHECK_NS) { return; }
    if (!soon && !flush_wanted(self, now_ns)) { return; }
    self->flush_due_ns = now_ns;
    if (!node_core_flush_begin(self->core)) { return; }
    self->flush_job.node = self;
    self->flush_job.job = (struct worker_job){.run = flush_run, .done = flush_done};
    self->flush_job.running = true;
    enum status st = worker_submit(self->flusher, &self->flush_job.job, self->loop);
    ASSERT(st == STATUS_OK);  // one job at a time, and the worker outlives the loop's work
}
