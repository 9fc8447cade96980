// SPDX-License-Identifier: Apache-2.0
// engine.h - the small ordered-store interface that everything above storage uses; RocksDB and the
//            simulator's disk implement it.
// Invariants: a batch is atomic; reads see all batches written before; after a crash the store
//             equals its state after some prefix of the batches, which includes every synced batch
//             and everything before a finished flush.
// Ownership:  keys and values are borrowed for the call; views handed out live until the next call
//             on the same cursor.
// Thread:     an engine may be used by several threads (RocksDB is thread-safe, the simulator has
//             one thread); a cursor or batch is confined to one.
// See:        storage/engine/README.md; docs/decisions/0001-one-column-family.md;
//             replication.md "Two RocksDB instances a node"; tests/unit/storage/engine
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/err.h"
#include "dataplane/base/status.h"

#include <stdbool.h>
#include <stdint.h>

// One ordered key space per family; one store. RocksDB keeps them in one column family under a
// prefix byte, because its C API cannot flush several column families atomically by hand, and
// `data` runs without a WAL (docs/decisions/0001-one-column-family.md).
enum engine_family {
    ENGINE_LOCAL,    // applied index, transaction outcomes, identity: exact look-ups
    ENGINE_VERSION,  // MVCC versions: key ends with 8 bytes of inverted timestamp
    ENGINE_LOCK,     // prepared writes
    ENGINE_LOG,      // raft entries and hard states (log store only)
    ENGINE_FAMILY_COUNT
};

// Bytes of the timestamp at the end of an ENGINE_VERSION key; what precedes them is its prefix.
// The prefix of a key of any other family, and of a shorter one, is the whole key.
enum { ENGINE_VERSION_SUFFIX_SIZE = 8 };

struct engine;
struct engine_batch;
struct engine_cursor;

// How close the store is to refusing or stalling writes; read before admitting a proposal.
struct engine_pressure {
    uint64_t memtable_size;            // bytes not yet flushed
    uint64_t memtable_size_max;        // at about this much RocksDB stalls writers; 0 = no bound
    uint64_t level0_files;             // each point read may have to look into all of them
    uint64_t compaction_pending_size;  // bytes to rewrite until all levels are in shape
    uint64_t disk_free_size;           // bytes an unprivileged process may still write
    uint64_t background_errors;        // failed flushes and compactions since the store was opened
    bool stalled;                      // writers wait at this moment
};

// Implementations fill this table; callers use the engine_* functions below.
struct engine_ops {
    void (*close)(struct engine *self);
    enum status (*get)(struct engine *self, enum engine_family family, struct slice key,
                       struct buf *out_value);
    struct engine_batch *(*batch_create)(struct engine *self);
    struct engine_cursor *(*cursor_create)(struct engine *self, enum engine_family family);
    struct engine_cursor *(*point_cursor_create)(struct engine *self, enum engine_family family);
    enum status (*write)(struct engine *self, struct engine_batch *batch, bool sync);
    enum status (*flush)(struct engine *self);
    uint64_t (*approximate_size)(struct engine *self, enum engine_family family, struct slice start,
                                 struct slice end);
    void (*pressure)(struct engine *self, struct engine_pressure *out);
};

struct engine_batch_ops {
    void (*put)(struct engine_batch *self, enum engine_family family, struct slice key,
                struct slice head, struct slice tail);
    void (*remove)(struct engine_batch *self, enum engine_family family, struct slice key);
    void (*remove_range)(struct engine_batch *self, enum engine_family family, struct slice start,
                         struct slice end);
    void (*clear)(struct engine_batch *self);
    uint32_t (*count)(const struct engine_batch *self);
    uint64_t (*size)(const struct engine_batch *self);
    void (*destroy)(struct engine_batch *self);
};

struct engine_cursor_ops {
    void (*refresh)(struct engine_cursor *self);
    void (*seek)(struct engine_cursor *self, struct slice key);
    void (*seek_for_prev)(struct engine_cursor *self, struct slice key);
    void (*next)(struct engine_cursor *self);
    void (*prev)(struct engine_cursor *self);
    bool (*valid)(const struct engine_cursor *self);
    struct slice (*key)(const struct engine_cursor *self);
    struct slice (*value)(const struct engine_cursor *self);
    enum status (*status)(const struct engine_cursor *self);
    void (*destroy)(struct engine_cursor *self);
};

struct engine {
    const struct engine_ops *ops;
};
struct engine_batch {
    const struct engine_batch_ops *ops;
};
struct engine_cursor {
    const struct engine_cursor_ops *ops;
};

// --- The store ---

// Closes cleanly. Batches and cursors must be gone.
static inline void engine_close(struct engine *e) {
    e->ops->close(e);
}
// The value replaces the buffer's contents. STATUS_NOT_FOUND when absent; STATUS_CORRUPT;
// STATUS_IO; STATUS_RESOURCE_EXHAUSTED when the value is larger than the buffer may become.
NODISCARD static inline enum status engine_get(struct engine *e, enum engine_family f,
                                               struct slice key, struct buf *out) {
    return e->ops->get(e, f, key, out);
}
// Blocks until the batch is visible and, when sync, durable; the batch keeps its contents.
// STATUS_NO_SPACE, STATUS_IO or STATUS_CORRUPT: nothing of the batch is visible, and the store may
// refuse all further writes. A failed sync is FATAL for the process, not a status: what the kernel
// dropped then cannot be asked for again.
NODISCARD static inline enum status engine_write(struct engine *e, struct engine_batch *b,
                                                 bool sync) {
    return e->ops->write(e, b, sync);
}
// Blocks until everything written before the call is durable without a WAL (a worker thread calls
// it; in simulation an event does). STATUS_NO_SPACE: nothing is lost, nothing more is durable.
NODISCARD static inline enum status engine_flush(struct engine *e) {
    return e->ops->flush(e);
}
// Approximate bytes of [start, end), both non-empty. RocksDB counts files only, not what waits in
// memory.
static inline uint64_t engine_approximate_size(struct engine *e, enum engine_family f,
                                               struct slice start, struct slice end) {
    return e->ops->approximate_size(e, f, start, end);
}
static inline void engine_pressure(struct engine *e, struct engine_pressure *out) {
    e->ops->pressure(e, out);
}

// --- Batches ---

static inline struct engine_batch *engine_batch_create(struct engine *e) {
    return e->ops->batch_create(e);
}
static inline void engine_put(struct engine_batch *b, enum engine_family f, struct slice k,
                              struct slice v) {
    b->ops->put(b, f, k, v, SLICE_EMPTY);
}
// The value is head followed by tail: spares the caller a copy to put a header before it.
static inline void engine_put_parts(struct engine_batch *b, enum engine_family f, struct slice k,
                                    struct slice head, struct slice tail) {
    b->ops->put(b, f, k, head, tail);
}
static inline void engine_remove(struct engine_batch *b, enum engine_family f, struct slice k) {
    b->ops->remove(b, f, k);
}
// [s, e), both non-empty, s < e. Later operations of the same batch may put keys inside it again.
static inline void engine_remove_range(struct engine_batch *b, enum engine_family f, struct slice s,
                                       struct slice e) {
    b->ops->remove_range(b, f, s, e);
}
static inline void engine_batch_clear(struct engine_batch *b) {
    b->ops->clear(b);
}
static inline uint32_t engine_batch_count(const struct engine_batch *b) {
    return b->ops->count(b);
}
static inline uint64_t engine_batch_size(const struct engine_batch *b) {
    return b->ops->size(b);
}
static inline void engine_batch_destroy(struct engine_batch *b) {
    b->ops->destroy(b);
}

// --- Cursors ---

// A cursor over one family in key order. It shows the store as of its creation or last refresh.
static inline struct engine_cursor *engine_cursor_create(struct engine *e, enum engine_family f) {
    return e->ops->cursor_create(e, f);
}
// A cursor that stays among the keys with the prefix of the last key sought (see
// ENGINE_VERSION_SUFFIX_SIZE) and is invalid beyond them. It skips files by their bloom filters,
// which an ordinary cursor cannot. It has no seek_for_prev and no prev.
static inline struct engine_cursor *engine_point_cursor_create(struct engine *e,
                                                               enum engine_family f) {
    return e->ops->point_cursor_create(e, f);
}
// Shows the present state from now on; the cursor is invalid until the next seek. Costs one atomic
// load when nothing was written since.
static inline void engine_cursor_refresh(struct engine_cursor *c) {
    c->ops->refresh(c);
}
// First key >= key.
static inline void engine_cursor_seek(struct engine_cursor *c, struct slice key) {
    c->ops->seek(c, key);
}
// Last key <= key.
static inline void engine_cursor_seek_for_prev(struct engine_cursor *c, struct slice key) {
    c->ops->seek_for_prev(c, key);
}
// The cursor must be valid.
static inline void engine_cursor_next(struct engine_cursor *c) {
    c->ops->next(c);
}
static inline void engine_cursor_prev(struct engine_cursor *c) {
    c->ops->prev(c);
}
static inline bool engine_cursor_valid(const struct engine_cursor *c) {
    return c->ops->valid(c);
}
// Of a valid cursor; views valid until it moves.
static inline struct slice engine_cursor_key(const struct engine_cursor *c) {
    return c->ops->key(c);
}
static inline struct slice engine_cursor_value(const struct engine_cursor *c) {
    return c->ops->value(c);
}
// STATUS_OK, or STATUS_CORRUPT / STATUS_IO when the cursor became invalid because of an error. Ask
// whenever valid says no.
NODISCARD static inline enum status engine_cursor_status(const struct engine_cursor *c) {
    return c->ops->status(c);
}
static inline void engine_cursor_destroy(struct engine_cursor *c) {
    c->ops->destroy(c);
}
