// SPDX-License-Identifier: Apache-2.0
// A client does one thing after the other, at whichever gateway it draws. Some commits are repeated
// under the same id through another gateway, while the first attempt is under way or after it: the
// pair is one operation of the history. Values are numbers that nobody wrote before, so that each
// read names the write it saw.
#include "tests/sim/clients.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <string.h>

enum { VALUE_PAD_MAX = 24, FINAL_TRIES_MAX = 300 };
// Clocks run 10 % apart; a process waits 3 s.
#define CURRENT_WAIT_NS UINT64_C(2700000000)
#define FINAL_BUDGET_NS UINT64_C(10000000000)
#define HOURS_BUDGET_NS UINT64_C(300000000)
#define AGAIN_NS        UINT64_C(50000000)

// --- Keys and values ---

static struct slice key_of(const struct sim_world *world, uint32_t shard, uint32_t digit,
                           uint8_t out[SIM_KEY_SIZE]) {
    for (uint32_t i = 0; i < SHARD_KEYSPACE_PREFIX_SIZE; i++) {
        out[i] = (uint8_t)(world->keyspace >> (8 * (SHARD_KEYSPACE_PREFIX_SIZE - 1 - i)));
    }
    out[SHARD_KEYSPACE_PREFIX_SIZE] = (uint8_t)('a' + shard);
    out[SHARD_KEYSPACE_PREFIX_SIZE + 1] = (uint8_t)('0' + digit);
    return slice_make(out, SHARD_KEYSPACE_PREFIX_SIZE + 2);
}

struct slice sim_key(const struct sim_world *world, uint32_t key, uint8_t out[SIM_KEY_SIZE]) {
    uint32_t each = world->plan.keys_per_shard;
    return key_of(world, key / each, key % each, out);
}

struct slice sim_shard_start(const struct sim_world *world, uint32_t shard,
                             uint8_t out[SIM_KEY_SIZE]) {
    struct slice key = key_of(world, shard, 0, out);
    return slice_make(key.data, key.size - 1);
}

static struct slice value_encode(uint64_t value, uint8_t out[8 + VALUE_PAD_MAX]) {
    memset(out, 'v', 8 + VALUE_PAD_MAX);
    codec_store_u64(out, value);
    return slice_make(out, 8 + value % VALUE_PAD_MAX);
}

uint64_t sim_value_decode(struct slice stored) {
    uint64_t value = stored.size < 8 ? 0 : codec_load_u64(stored.data);
    return stored.size == 8 + value % VALUE_PAD_MAX ? value : 0;
}

static struct sim_op *op_of(struct sim_client *self) {
    return &self->world->history.ops[self->op];
}

static uint32_t first_key(const struct sim_client *self, uint32_t shard) {
    return shard * self->world->plan.keys_per_shard;
}

// --- Encoding an operation ---

static void encode_read(struct sim_client *self, const struct sim_op *op, struct sim_call *call) {
    uint8_t space[SIM_OP_ITEMS_MAX][SIM_KEY_SIZE];
    struct slice keys[SIM_OP_ITEMS_MAX];
    for (uint32_t i = 0; i < op->item_count; i++) {
        keys[i] = sim_key(self->world, op->items[i].key, space[i]);
    }
    struct command_read read = {.snapshot = {.consistency = prng_chance(&self->prng, 1, 4)
                                                                ? COMMAND_STRONG_READ_INDEX
                                                                : COMMAND_STRONG},
                                .key_count = op->item_count,
                                .keys = keys};
    struct codec_writer w;
    codec_writer_init(&w, &call->payload);
    command_read_encode(&w, &read);
    ASSERT(w.status == STATUS_OK);
    call->call.kind = COMMAND_READ;
}

static void encode_scan(struct sim_client *self, const struct sim_op *op, struct sim_call *call) {
    uint8_t start[SIM_KEY_SIZE];
    uint8_t end[SIM_KEY_SIZE];
    struct command_scan scan = {.snapshot = {.consistency = COMMAND_STRONG},
                                .start = sim_shard_start(self->world, op->shard, start),
                                .end = sim_shard_start(self->world, op->shard + 1, end),
                                .row_limit = (uint32_t)prng_between(&self->prng, 1, 8),
                                .reverse = self->reverse};
    struct codec_writer w;
    codec_writer_init(&w, &call->payload);
    command_scan_encode(&w, &scan);
    ASSERT(w.status == STATUS_OK);
    call->call.kind = COMMAND_SCAN;
}

static struct txn_id make_id(struct sim_client *self) {
    struct txn_id id;
    uint64_t parts[2] = {hash64_u64(self->index + 1), ++self->txn_count};
    memcpy(id.v, parts, sizeof(id.v));
    return id;
}

// The same condition said in three ways: a value belongs to one version only.
static struct command_condition draw_condition(struct sim_client *self, const struct sim_op *op,
                                               struct slice key, uint8_t *space) {
    const struct sim_seen *seen = &self->seen[op->items[0].key];
    if (op->expected == 0) {
        return (struct command_condition){.kind = COMMAND_ABSENT, .key = key};
    }
    bool versioned = seen->value == op->expected && seen->version.v != 0;
    uint64_t way = prng_below(&self->prng, 3);
    if (versioned && way > 0) {
        return (struct command_condition){.kind = way == 1 ? COMMAND_VERSION_EQUALS
                                                           : COMMAND_TIMESTAMP_AT_MOST,
                                          .key = key,
                                          .ts = seen->version};
    }
    return (struct command_condition){
        .kind = COMMAND_VALUE_EQUALS, .key = key, .value = value_encode(op->expected, space)};
}

static void encode_commit(struct sim_client *self, const struct sim_op *op, struct txn_id id,
                          struct sim_call *call) {
    uint8_t keys[SIM_OP_ITEMS_MAX][SIM_KEY_SIZE];
    uint8_t values[SIM_OP_ITEMS_MAX + 1][8 + VALUE_PAD_MAX];
    struct command_mutation mutations[SIM_OP_ITEMS_MAX];
    for (uint32_t i = 0; i < op->item_count; i++) {
        mutations[i].key = sim_key(self->world, op->items[i].key, keys[i]);
        mutations[i].kind = op->items[i].value == 0 ? COMMAND_DELETE : COMMAND_PUT;
        mutations[i].value = SLICE_EMPTY;
        if (op->items[i].value != 0) {
            mutations[i].value = value_encode(op->items[i].value, values[i]);
        }
    }
    struct command_condition condition =
        draw_condition(self, op, mutations[0].key, values[SIM_OP_ITEMS_MAX]);
    uint8_t ends[2][SIM_KEY_SIZE];
    if (self->range) {
        mutations[0].kind = COMMAND_DELETE_RANGE;
        mutations[0].key = sim_shard_start(self->world, op->shard, ends[0]);
        mutations[0].value = sim_shard_start(self->world, op->shard + 1, ends[1]);
    }
    struct command_commit commit = {.txn = id,
                                    .condition_count = op->conditional ? 1 : 0,
                                    .mutation_count = self->range ? 1 : op->item_count,
                                    .conditions = &condition,
                                    .mutations = mutations};
    struct codec_writer w;
    codec_writer_init(&w, &call->payload);
    command_commit_encode(&w, &commit);
    ASSERT(w.status == STATUS_OK);
    call->call.kind = COMMAND_COMMIT;
}

// --- Answers ---

static void take_rows_of_read(struct sim_client *self, struct codec_reader *r) {
    struct sim_op *op = op_of(self);
    for (uint32_t i = 0; i < op->item_count; i++) {
        struct command_row row = {0};
        if (command_read_row_decode(r, &row) != STATUS_OK) {
            sim_fail(self->world, "op %" PRIu32 ": its rows do not decode", self->op);
            return;
        }
        op->items[i].value = row.found ? sim_value_decode(row.value) : 0;
        op->items[i].version = row.version;
    }
}

static uint32_t key_position(const struct sim_client *self, struct slice key) {
    const struct sim_op *op = &self->world->history.ops[self->op];
    uint8_t space[SIM_KEY_SIZE];
    for (uint32_t i = 0; i < op->item_count; i++) {
        struct slice mine = sim_key(self->world, op->items[i].key, space);
        if (slice_equal(mine, key)) { return i; }
    }
    return UINT32_MAX;
}

// Only what lies before the resume key was looked at.
static void cut_scan(struct sim_client *self, struct slice resume) {
    struct sim_op *op = op_of(self);
    uint8_t space[SIM_KEY_SIZE];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < op->item_count; i++) {
        struct slice mine = sim_key(self->world, op->items[i].key, space);
        bool before = slice_compare(mine, resume) < 0;
        if (before != self->reverse) { op->items[kept++] = op->items[i]; }
    }
    op->item_count = kept;
}

static void take_rows_of_scan(struct sim_client *self, struct codec_reader *r) {
    struct sim_op *op = op_of(self);
    uint32_t last = UINT32_MAX;
    for (;;) {
        struct command_row row = {0};
        bool more = false;
        struct slice resume = SLICE_EMPTY;
        if (command_scan_row_decode(r, &row, &more, &resume) != STATUS_OK) {
            sim_fail(self->world, "op %" PRIu32 ": its rows do not decode", self->op);
            return;
        }
        if (!row.found) {
            if (more) { cut_scan(self, resume); }
            return;
        }
        uint32_t at = key_position(self, row.key);
        bool ordered = last == UINT32_MAX || (self->reverse ? at < last : at > last);
        if (at == UINT32_MAX || !ordered) {
            sim_fail(self->world, "op %" PRIu32 ": the scan returns a wrong key", self->op);
            return;
        }
        last = at;
        op->items[at].value = sim_value_decode(row.value);
        op->items[at].version = row.version;
    }
}

static void take_read(struct sim_client *self, const struct session_result *result) {
    struct sim_op *op = op_of(self);
    if (result == NULL || result->status != STATUS_OK) { return; }
    struct codec_reader r;
    codec_reader_init(&r, result->payload);
    if (self->scanning) {
        take_rows_of_scan(self, &r);
    } else {
        take_rows_of_read(self, &r);
    }
    self->known = true;
    op->outcome = SIM_OK;
    op->ts = result->certificate.timestamp;
    op->term = result->certificate.term;
    op->index = result->certificate.index;
    op->return_ns = self->world->now_ns;
    bool stale = self->world->plan.mutant == SIM_MUTANT_STALE_READ;
    for (uint32_t i = 0; i < op->item_count; i++) {
        struct sim_seen *seen = &self->seen[op->items[i].key];
        if (stale && prng_chance(&self->prng, 1, 100)) { op->items[i].value = seen->value; }
        *seen = (struct sim_seen){op->items[i].value, op->items[i].version};
    }
}

static enum sim_outcome judge(const struct sim_client *self, const struct session_result *result) {
    bool naive = self->world->plan.mutant == SIM_MUTANT_UNKNOWN_FAILED;
    if (result == NULL || result->status == STATUS_UNKNOWN_OUTCOME) {
        return naive ? SIM_REFUSED : SIM_UNKNOWN;
    }
    if (result->status == STATUS_OK) { return SIM_OK; }
    return result->status == STATUS_CONDITION_FAILED ? SIM_CONDITION_FAILED : SIM_REFUSED;
}

// The first definite word counts.
static void settle(struct sim_client *self, enum sim_outcome outcome, struct hlc_ts ts,
                   const struct session_result *result) {
    struct sim_op *op = op_of(self);
    if (self->known) { return; }
    self->known = true;
    op->outcome = outcome;
    op->ts = ts;
    op->term = result->certificate.term;
    op->index = result->certificate.index;
    op->return_ns = self->world->now_ns;
}

static void take_definite(struct sim_client *self, enum sim_outcome outcome,
                          const struct session_result *result) {
    struct sim_op *op = op_of(self);
    struct codec_reader r;
    codec_reader_init(&r, result->payload);
    struct command_outcome told = {0};
    enum status st = command_outcome_decode(&r, &told);
    if (st != STATUS_OK || told.status != result->status) {
        sim_fail(self->world, "op %" PRIu32 ": no outcome in the answer to a commit", self->op);
        return;
    }
    if (self->known) {
        bool same = op->outcome == outcome && hlc_equal(op->ts, told.timestamp);
        if (!same && self->world->plan.mutant != SIM_MUTANT_NEW_ID) {
            sim_fail(self->world,
                     "op %" PRIu32 ": a repeat ended otherwise, %d at %" PRIu64
                     ", first %d at %" PRIu64,
                     self->op, (int)outcome, told.timestamp.v, (int)op->outcome, op->ts.v);
        }
        return;
    }
    settle(self, outcome, told.timestamp, result);
}

static void take_commit(struct sim_client *self, const struct session_result *result) {
    enum sim_outcome outcome = judge(self, result);
    if (outcome == SIM_UNKNOWN) { self->maybe = true; }
    if (outcome == SIM_OK || outcome == SIM_CONDITION_FAILED) {
        take_definite(self, outcome, result);
    }
}

static void count(struct sim_client *self, const struct sim_op *op) {
    struct sim_client_stats *stats = &self->world->stats;
    stats->ok += op->outcome == SIM_OK;
    stats->conflict += op->outcome == SIM_CONDITION_FAILED;
    stats->refused += op->outcome == SIM_REFUSED;
    stats->unknown += op->outcome == SIM_UNKNOWN;
}

static void op_end(struct sim_client *self) {
    struct sim_op *op = op_of(self);
    if (!self->known) { op->outcome = self->maybe ? SIM_UNKNOWN : SIM_REFUSED; }
    bool wrote = op->kind == SIM_OP_COMMIT && op->outcome == SIM_OK;
    for (uint32_t i = 0; wrote && i < op->item_count; i++) {
        self->seen[op->items[i].key] = (struct sim_seen){op->items[i].value, op->ts};
    }
    count(self, op);
    self->busy = false;
    uint64_t think = prng_between(&self->prng, 0, self->world->plan.think_ns_max);
    // At full speed all tries would be over before a node whose clock was repaired has left its
    // quarantine (2 s), and until then it is no gateway.
    if (self->final) { think = op->outcome == SIM_OK ? 0 : AGAIN_NS; }
    sim_world_put(self->world, &self->step, self->world->now_ns + think);
}

// What a process asks before it serves: whether its catalogue is as new as others say. Then it
// knows what was created long ago, unless it has waited in vain for others to tell it.
static bool serves(struct sim_client *self, struct sim_node *node) {
    struct sim_world *world = self->world;
    bool eager = world->plan.mutant == SIM_MUTANT_EAGER_NODE;
    if (!node->up || (self->final && (world->broken >> node->position & 1) != 0)) { return false; }
    if (!eager && !node_core_is_current(node->core)) { return false; }
    if (self->final && !sim_node_coordinates(node)) { return false; }
    const struct catalog_keyspace *keyspace =
        catalog_keyspace_by_name(node_core_catalog(node->core), SLICE_LITERAL("sim"));
    if (keyspace == NULL && world->now_ns - node->started_ns < CURRENT_WAIT_NS) {
        sim_fail(world, "node %" PRIu32 " serves and knows nothing of the keyspace", node->id.v);
    }
    return keyspace != NULL;
}

static struct sim_node *draw_gateway(struct sim_client *self) {
    struct sim_world *world = self->world;
    if (self->through != NULL) { return self->through; }
    uint32_t first = (uint32_t)prng_below(&self->prng, world->plan.node_count);
    bool stays = world->plan.sticky && !self->final && prng_chance(&self->prng, 9, 10);
    if (stays) { first = self->index % world->plan.node_count; }
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct sim_node *node = &world->nodes[(first + i) % world->plan.node_count];
        if (!sim_node_is_paused(node) && serves(self, node)) { return node; }
    }
    return NULL;
}

static void prepare(struct sim_client *self, struct sim_call *call, const struct sim_op *op) {
    uint8_t space[SIM_KEY_SIZE];
    buf_reset(&call->key);
    enum status st = buf_append(&call->key, sim_key(self->world, op->items[0].key, space));
    ASSERT(st == STATUS_OK);
    buf_reset(&call->payload);
    call->budget_ns = self->world->plan.clock_hours ? HOURS_BUDGET_NS : FINAL_BUDGET_NS;
    if (!self->final) {
        uint64_t most = self->world->plan.deadline_ns_max;
        call->budget_ns = prng_between(&self->prng, most / 8, most);
    }
}

// What became of it, by its id. "Not found" settles nothing: it may still be under way.
static bool begin_asking(struct sim_client *self) {
    struct sim_call *call = &self->calls[SIM_CLIENT_ATTEMPTS];
    struct sim_node *gateway = draw_gateway(self);
    if (gateway == NULL) { return false; }
    prepare(self, call, op_of(self));
    enum status st = buf_append(&call->payload, slice_make(self->txn.v, sizeof(self->txn.v)));
    ASSERT(st == STATUS_OK);
    call->call.kind = COMMAND_TXN_STATUS;
    self->asking = true;
    self->calls_left = 1;
    sim_call_begin(call, gateway, 0);
    return true;
}

static void take_told(struct sim_client *self, const struct session_result *result) {
    bool none = result == NULL || result->certificate.method == COMMAND_METHOD_NONE;
    if (none) { return; }
    const struct sim_op *op = op_of(self);
    if (result->status == STATUS_NOT_FOUND) {
        if (self->known) {
            sim_fail(self->world, "op %" PRIu32 ": its outcome was told and is not found later",
                     self->op);
        }
        return;
    }
    struct codec_reader r;
    codec_reader_init(&r, result->payload);
    struct command_outcome told = {0};
    if (result->status != STATUS_OK || command_outcome_decode(&r, &told) != STATUS_OK) {
        sim_fail(self->world, "op %" PRIu32 ": no outcome in the answer: %s", self->op,
                 status_name(result->status));
        return;
    }
    enum sim_outcome outcome = told.status == STATUS_OK ? SIM_OK : SIM_CONDITION_FAILED;
    if (!self->known && !self->maybe && self->world->plan.mutant == SIM_MUTANT_NONE) {
        sim_fail(self->world, "op %" PRIu32 " was refused, but has an outcome", self->op);
    }
    if (self->known && (op->outcome != outcome || !hlc_equal(op->ts, told.timestamp))) {
        sim_fail(self->world, "op %" PRIu32 ": the outcome told later is another one", self->op);
    }
    settle(self, outcome, told.timestamp, result);
}

static void call_done(struct sim_call *call, const struct session_result *result) {
    struct sim_client *self = NULL;
    for (uint32_t i = 0; self == NULL; i++) {
        ASSERT(i <= call->world->plan.client_count);
        struct sim_client *client = &call->world->clients[i];
        if (call >= client->calls && call < client->calls + SIM_CLIENT_CALLS) { self = client; }
    }
    const struct sim_op *op = op_of(self);
    SIM_NOTE(self->world, call->node, SIM_TRACE_RETURN,
             result == NULL ? "lost" : status_name(result->status), self->index, self->op,
             result == NULL ? 0 : result->certificate.timestamp.v);
    self->turned_away = result != NULL && (result->status == STATUS_OVERLOADED ||
                                           result->status == STATUS_CLOCK_AHEAD);
    if (op->kind == SIM_OP_READ) {
        take_read(self, result);
    } else if (self->asking) {
        take_told(self, result);
    } else {
        take_commit(self, result);
    }
    ASSERT(self->calls_left > 0);
    if (--self->calls_left > 0) { return; }
    bool ask = op->kind == SIM_OP_COMMIT && !self->asking && !self->final &&
               prng_chance(&self->prng, self->known ? 1 : 8, 16);
    if (!ask || !begin_asking(self)) { op_end(self); }
}

// --- Beginning an operation ---

// Distinct keys of one shard, from a random one on.
static void draw_keys(struct sim_client *self, struct sim_op *op, uint32_t most) {
    uint32_t each = self->world->plan.keys_per_shard;
    uint32_t first = (uint32_t)prng_below(&self->prng, each);
    op->item_count = (uint32_t)prng_between(&self->prng, 1, most < each ? most : each);
    for (uint32_t i = 0; i < op->item_count; i++) {
        op->items[i].key = first_key(self, op->shard) + (first + i) % each;
    }
}

static void all_keys(const struct sim_client *self, struct sim_op *op) {
    op->item_count = self->world->plan.keys_per_shard;
    for (uint32_t i = 0; i < op->item_count; i++) {
        op->items[i].key = first_key(self, op->shard) + i;
    }
}

static void draw_read(struct sim_client *self, struct sim_op *op) {
    op->kind = SIM_OP_READ;
    // A scan or a range would meet the keys of transactions.
    bool alone = self->world->plan.txn_client_count == 0;
    self->scanning = prng_chance(&self->prng, 1, 4) && alone;
    self->reverse = prng_chance(&self->prng, 1, 2);
    if (!self->scanning) {
        draw_keys(self, op, 3);
        return;
    }
    all_keys(self, op);
}

static void draw_commit(struct sim_client *self, struct sim_op *op) {
    op->kind = SIM_OP_COMMIT;
    bool alone = self->world->plan.txn_client_count == 0;
    self->range = prng_chance(&self->prng, 1, 40) && alone;
    if (self->range) {
        all_keys(self, op);
        return;
    }
    draw_keys(self, op, prng_chance(&self->prng, 1, 3) ? 3 : 1);
    for (uint32_t i = 0; i < op->item_count; i++) {
        bool delete = prng_chance(&self->prng, 1, 8);
        op->items[i].value = delete ? 0 : sim_history_value(&self->world->history);
    }
    op->conditional = prng_chance(&self->prng, self->world->plan.condition_percent, 100);
    if (op->conditional) {
        bool absent = prng_chance(&self->prng, 1, 8);
        op->expected = absent ? 0 : self->seen[op->items[0].key].value;
    }
}

static void begin_calls(struct sim_client *self) {
    struct sim_op *op = op_of(self);
    struct sim_world *world = self->world;
    bool repeat = op->kind == SIM_OP_COMMIT && !self->final &&
                  prng_chance(&self->prng, world->plan.repeat_percent, 100);
    struct txn_id id = make_id(self);
    self->txn = id;
    self->asking = false;
    uint32_t calls = repeat ? SIM_CLIENT_ATTEMPTS : 1;
    self->calls_left = calls;
    world->stats.repeats += repeat;
    for (uint32_t i = 0; i < calls; i++) {
        struct sim_call *call = &self->calls[i];
        prepare(self, call, op);
        if (op->kind == SIM_OP_COMMIT) {
            if (i > 0 && world->plan.mutant == SIM_MUTANT_NEW_ID) { id = make_id(self); }
            encode_commit(self, op, id, call);
        } else if (self->scanning) {
            encode_scan(self, op, call);
        } else {
            encode_read(self, op, call);
        }
        uint64_t later = i == 0 ? 0 : prng_below(&self->prng, 2 * world->plan.think_ns_max);
        if (i > 0 && prng_chance(&self->prng, 1, 4)) { later += world->plan.deadline_ns_max; }
        struct sim_node *gateway = draw_gateway(self);
        ASSERT(gateway != NULL);
        SIM_NOTE(world, gateway, SIM_TRACE_INVOKE, op->kind == SIM_OP_READ ? "read" : "commit",
                 self->index, self->op, op->items[0].key);
        sim_call_begin(call, gateway, later);
    }
}

static void begin_op(struct sim_client *self, struct sim_op *op) {
    op->client = self->index;
    op->invoke_ns = self->world->now_ns;
    self->op = sim_history_begin(&self->world->history, op);
    self->busy = true;
    self->known = false;
    self->maybe = false;
    begin_calls(self);
}

static void random_step(struct sim_client *self) {
    struct sim_op op = {.shard = (uint32_t)prng_below(&self->prng, self->world->plan.shard_count)};
    if (prng_chance(&self->prng, self->world->plan.read_percent, 100)) {
        draw_read(self, &op);
    } else {
        draw_commit(self, &op);
    }
    begin_op(self, &op);
}

// A node whose clock was hours ahead stays ahead by its HLC, and is refused as a gateway until the
// others have caught up (time.md, HLC): then another one must do. And a node whose disk hung leads
// nothing until it has done well for a while. And a gateway may still be full (these have 64
// places) of calls whose clients are gone, until their leader knows that it is none (seed 104732):
// it says that the call did not happen, and every client comes again then. A clock that strobed
// goes on by its monotonic one until a majority agrees, and may be ahead by then (seed 6675).
static bool final_retry(struct sim_client *self) {
    bool hangs = (self->world->plan.faults >> SIM_FAULT_DISK_STALL & 1) != 0;
    bool again = self->world->plan.clock_hours || hangs || self->turned_away;
    return again && self->final_tries++ < FINAL_TRIES_MAX;
}

// All keys of all shards are read, then one of each shard is written, then all are read once more.
static void final_step(struct sim_client *self) {
    uint32_t shards = self->world->plan.shard_count;
    if (self->final_at > 0 && op_of(self)->outcome != SIM_OK && final_retry(self)) {
        self->final_at--;
    } else if (self->final_at > 0 && op_of(self)->outcome != SIM_OK) {
        sim_fail(self->world, "after healing: op %" PRIu32 " on shard %" PRIu32 " does not succeed",
                 self->op, op_of(self)->shard);
        return;
    }
    if (self->final_at == 3 * shards) { return; }
    struct sim_op op = {.shard = self->final_at % shards};
    bool write = self->final_at / shards == 1;
    self->final_at++;
    self->scanning = false;
    op.kind = write ? SIM_OP_COMMIT : SIM_OP_READ;
    op.item_count = write ? 1 : self->world->plan.keys_per_shard;
    for (uint32_t i = 0; i < op.item_count; i++) {
        op.items[i].key = first_key(self, op.shard) + i;
    }
    self->range = false;
    if (write) { op.items[0].value = sim_history_value(&self->world->history); }
    begin_op(self, &op);
}

static void on_step(struct sim_world *world, struct sim_event *event) {
    struct sim_client *self =
        (struct sim_client *)((char *)event - offsetof(struct sim_client, step));
    if (world->clients_stop && !self->final) { return; }
    if (draw_gateway(self) == NULL) {  // all nodes are down, or know too little
        sim_world_put(world, &self->step, world->now_ns + 50000000);
        return;
    }
    if (self->final) {
        final_step(self);
        return;
    }
    random_step(self);
}

// --- Life ---

void sim_client_init(struct sim_client *self, struct sim_world *world, uint32_t index) {
    *self = (struct sim_client){.world = world, .index = index, .step = {.fire = on_step}};
    prng_init(&self->prng, hash64_u64(world->plan.seed ^ UINT64_C(0x636c69)) + index);
    for (uint32_t i = 0; i < SIM_CLIENT_CALLS; i++) {
        sim_call_init(&self->calls[i], world);
        self->calls[i].done = call_done;
    }
}

void sim_client_deinit(struct sim_client *self) {
    sim_world_cancel(self->world, &self->step);
    for (uint32_t i = 0; i < SIM_CLIENT_CALLS; i++) {
        sim_call_deinit(&self->calls[i]);
    }
}

void sim_client_start(struct sim_client *self) {
    uint64_t think = prng_between(&self->prng, 0, self->world->plan.think_ns_max);
    sim_world_put(self->world, &self->step, self->world->now_ns + think);
}

bool sim_clients_read_through(struct sim_world *world, struct sim_node *node) {
    for (uint32_t i = 0; i < world->plan.client_count; i++) {
        struct sim_client *self = &world->clients[i];
        if (self->busy || self->final || world->clients_stop || !heap_has(&self->step.heap) ||
            !serves(self, node)) {
            continue;
        }
        sim_world_cancel(world, &self->step);
        struct sim_op op = {.shard = (uint32_t)prng_below(&self->prng, world->plan.shard_count)};
        self->through = node;
        draw_read(self, &op);
        begin_op(self, &op);
        self->through = NULL;
        return true;
    }
    return false;
}

void sim_client_finish(struct sim_client *self) {
    self->final = true;
    sim_world_put(self->world, &self->step, self->world->now_ns);
}

bool sim_client_is_idle(const struct sim_client *self) {
    return !self->busy && !heap_has(&self->step.heap);
}
