// SPDX-License-Identifier: Apache-2.0
// Reads over several shards, at one snapshot r (docs/protocols/transactions.md, "Reads").
//
//   strong   ROWS at r = this gateway's clock; a shard that cannot exclude that something above r
//            was acknowledged before names it, and all is read again at the largest such timestamp,
//            with each shard's clock of first contact
//   strict   the same, then VALIDATE: every key read again as it is now; something changed: anew
//   at       ROWS at the timestamp given
//   session  ROWS at the token
//   bounded, any   CLOSED: each shard at what it has; then those that are ahead again, at the
//            smallest
//
// Rounds begin in gateway_turn, for answers may come where the session must not be called.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/gateway/gateway_internal.h"

#include <stddef.h>
#include <string.h>

enum { REQUEST_SIZE_MAX = COMMAND_READ_KEYS_MAX * (SHARD_KEY_SIZE_MAX + 4) + 64 };

// --- Pool ---

static struct gateway_read *take_read(struct gateway *self) {
    if (self->reads_used == self->config.txns_max) { return NULL; }
    struct gateway_read *read = self->reads_free;
    if (read != NULL) {
        self->reads_free = read->next;
    } else {
        read = mem_alloc(sizeof(*read));
        read->gateway = self;
        read->place = self->read_count;
        self->reads[self->read_count++] = read;
    }
    self->reads_used++;
    read->round = GATEWAY_READ_SPLIT;
    read->part_count = 0;
    read->calling = 0;
    read->rounds = 0;
    read->waits = 0;
    read->due_ns = UINT64_MAX;
    read->starting = false;
    return read;
}

static void cancel_parts(struct gateway_read *read) {
    for (uint32_t i = 0; i < read->part_count; i++) {
        struct gateway_read_part *part = &read->parts[i];
        if (part->calling) { session_cancel(read->gateway->config.session, &part->call); }
        ASSERT(!part->calling);
    }
}

// The object is free before the client hears of it: its end may be the beginning of the next.
static void end(struct gateway_read *read, const struct session_result *result) {
    struct gateway *self = read->gateway;
    struct session_call *call = read->call;
    ASSERT(call != NULL);
    read->call = NULL;
    read->generation++;
    cancel_parts(read);
    heap_remove(&self->read_timers, &read->timer);
    for (uint32_t i = 0; i < read->part_count; i++) {
        gateway__buf_trim(&read->parts[i].request);
        gateway__buf_trim(&read->parts[i].rows);
    }
    ASSERT(self->reads_used > 0);
    self->reads_used--;
    read->next = self->reads_free;
    self->reads_free = read;
    call->id = 0;
    call->done(call, result);
}

static void end_text(struct gateway_read *read, enum status st, const char *text) {
    const struct session_result result = {.status = st, .detail = slice_from_string(text)};
    end(read, &result);
}

void gateway__read_close(struct gateway_read *read) {
    if (read->call != NULL) { end_text(read, STATUS_CANCELLED, "the node is stopping"); }
}

void gateway__read_free(struct gateway_read *read) {
    ASSERT(read->call == NULL);
    for (uint32_t i = 0; i < read->part_capacity; i++) {
        buf_deinit(&read->parts[i].request);
        buf_deinit(&read->parts[i].rows);
    }
    mem_free(read->parts);
    mem_free(read);
}

void gateway__read_check(const struct gateway_read *read) {
    uint32_t calling = 0;
    ASSERT((read->call != NULL) == heap_has(&read->timer));
    for (uint32_t i = 0; i < read->part_count; i++) {
        calling += read->parts[i].calling ? 1 : 0;
    }
    ASSERT_IF(read->call == NULL, calling == 0);
    ASSERT_IF(read->call != NULL, calling == read->calling);
    ASSERT_IF(read->call != NULL, (read->due_ns == UINT64_MAX) == (calling > 0));
}

struct gateway_read *gateway__read_of_call(const struct gateway *self,
                                           const struct session_call *call) {
    if ((call->id & GATEWAY_ID_READ) == 0) { return NULL; }
    const uint64_t place = call->id & ~GATEWAY_ID_READ;
    if (place >= self->read_count || self->reads[place]->call != call) { return NULL; }
    return self->reads[place];
}

static void set_timer(struct gateway_read *read) {
    const uint64_t deadline = read->call->deadline_ns;
    heap_put(&read->gateway->read_timers, &read->timer,
             read->due_ns < deadline ? read->due_ns : deadline);
}

static void begin_round(struct gateway_read *read, enum gateway_read_round round) {
    read->round = round;
    read->due_ns = gateway__now(read->gateway);
    set_timer(read);
}

// --- Parts ---

static void make_part(struct gateway_read *read, struct shard_id shard) {
    if (read->part_count == read->part_capacity) {
        const uint32_t capacity = read->part_capacity == 0 ? 4 : 2 * read->part_capacity;
        struct gateway_read_part *parts = mem_alloc_array(capacity, sizeof(parts[0]));
        if (read->part_capacity > 0) {
            memcpy(parts, read->parts, read->part_capacity * sizeof(parts[0]));
        }
        for (uint32_t i = read->part_capacity; i < capacity; i++) {
            buf_init(&parts[i].request, REQUEST_SIZE_MAX);
            buf_init(&parts[i].rows, COMMAND_PAYLOAD_SIZE_MAX);
        }
        mem_free(read->parts);
        read->parts = parts;
        read->part_capacity = capacity;
    }
    struct gateway_read_part *part = &read->parts[read->part_count++];
    const struct buf request = part->request;
    const struct buf rows = part->rows;
    *part =
        (struct gateway_read_part){.read = read, .shard = shard, .request = request, .rows = rows};
}

static uint32_t part_of(struct gateway_read *read, struct shard_id shard) {
    for (uint32_t i = 0; i < read->part_count; i++) {
        if (shard_id_equal(read->parts[i].shard, shard)) { return i; }
    }
    make_part(read, shard);
    return read->part_count - 1;
}

// Which key lies where. UNAVAILABLE: in no shard that the map knows; CORRUPT.
static enum status split(struct gateway_read *read) {
    struct command_read_reader reader;
    enum status st = command_read_open(&reader, read->call->payload);
    if (st != STATUS_OK) { return st; }
    read->snapshot = reader.snapshot;
    read->key_count = reader.key_count;
    read->part_count = 0;
    for (uint32_t i = 0; i < reader.key_count; i++) {
        struct slice key;
        st = command_read_next(&reader, &key);
        if (st != STATUS_OK) { return st; }
        const struct shard_descriptor *descriptor = shard_map_find(read->gateway->config.map, key);
        if (descriptor == NULL) { return STATUS_UNAVAILABLE; }
        const uint32_t part = part_of(read, descriptor->id);
        read->parts[part].key_count++;
        read->key_parts[i] = (uint16_t)part;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < read->part_count; i++) {
        read->parts[i].key_at = at;
        at += read->parts[i].key_count;
    }
    return STATUS_OK;
}

// The keys of the request, grouped by part.
static void group_keys(const struct gateway_read *read, struct slice keys[COMMAND_READ_KEYS_MAX]) {
    uint32_t next[COMMAND_READ_KEYS_MAX];
    struct command_read_reader reader;
    for (uint32_t i = 0; i < read->part_count; i++) {
        next[i] = read->parts[i].key_at;
    }
    enum status st = command_read_open(&reader, read->call->payload);
    for (uint32_t i = 0; st == STATUS_OK && i < read->key_count; i++) {
        st = command_read_next(&reader, &keys[next[read->key_parts[i]]++]);
    }
    ASSERT(st == STATUS_OK);
}

// --- The end, with rows ---

static bool next_row(struct gateway_read_part *part, struct command_row *out) {
    return codec_remaining(&part->rows_left) > 0 &&
           command_read_row_decode(&part->rows_left, out) == STATUS_OK;
}

static void open_rows(struct gateway_read *read) {
    for (uint32_t i = 0; i < read->part_count; i++) {
        codec_reader_init(&read->parts[i].rows_left, buf_slice(&read->parts[i].rows));
    }
}

// Rows in the order of the request, into gateway->told.
static enum status join_rows(struct gateway_read *read) {
    struct gateway *self = read->gateway;
    struct codec_writer w;
    gateway__buf_trim(&self->told);
    codec_writer_init(&w, &self->told);
    open_rows(read);
    for (uint32_t i = 0; i < read->key_count; i++) {
        struct command_row row;
        if (!next_row(&read->parts[read->key_parts[i]], &row)) { return STATUS_CORRUPT; }
        command_read_row_encode(&w, &row);
        if (w.status != STATUS_OK || self->told.size > COMMAND_READ_SIZE_MAX) {
            return STATUS_RESOURCE_EXHAUSTED;
        }
    }
    return STATUS_OK;
}

static void finish(struct gateway_read *read) {
    const enum status st = join_rows(read);
    if (st == STATUS_RESOURCE_EXHAUSTED) {
        end_text(read, st, "the values read exceed 16 MiB together; read fewer keys");
        return;
    }
    if (st != STATUS_OK) {
        end_text(read, STATUS_UNAVAILABLE, "a shard's rows do not decode");
        return;
    }
    struct session_result result = {.status = STATUS_OK,
                                    .certificate = read->parts[read->key_parts[0]].certificate,
                                    .payload = buf_slice(&read->gateway->told)};
    result.certificate.timestamp = read->r;
    for (uint32_t i = 0; i < read->part_count; i++) {
        result.certificate.closed =
            hlc_smaller(result.certificate.closed, read->parts[i].certificate.closed);
    }
    end(read, &result);
}

// --- Rounds ---

static bool is_strong(const struct gateway_read *read) {
    return command_consistency_is_strong(read->snapshot.consistency);
}

// Whoever chose the snapshot raises it.
static bool is_given(const struct gateway_read *read) {
    return is_strong(read) && read->snapshot.at.v != 0;
}

static bool another_round(struct gateway_read *read) {
    read->gateway->stats.read_rounds++;
    if (++read->rounds < GATEWAY_READ_ROUNDS_MAX) { return true; }
    MARK("gateway.read_rounds");
    end_text(read, STATUS_ABORTED_RETRY, "what is read changes too fast for one snapshot");
    return false;
}

static void forget_rows(struct gateway_read *read) {
    for (uint32_t i = 0; i < read->part_count; i++) {
        read->parts[i].has_rows = false;
    }
}

static void raise_snapshot(struct gateway_read *read) {
    if (is_given(read)) {
        const struct session_result result = {.status = STATUS_OK,
                                              .certificate =
                                                  read->parts[read->key_parts[0]].certificate,
                                              .uncertain = read->raise};
        end(read, &result);
        return;
    }
    if (!another_round(read)) { return; }
    MARK("gateway.read_raised");
    ASSERT(hlc_before(read->r, read->raise));
    read->r = read->raise;
    forget_rows(read);
    begin_round(read, GATEWAY_READ_ROWS);
}

// Something is newer than what was read: anew, as if nothing had been asked.
static void read_anew(struct gateway_read *read) {
    if (!another_round(read)) { return; }
    MARK("gateway.read_invalid");
    read->r = gateway__clock(read->gateway);
    forget_rows(read);
    for (uint32_t i = 0; i < read->part_count; i++) {
        read->parts[i].contact = HLC_ZERO;
    }
    begin_round(read, GATEWAY_READ_ROWS);
}

// The smallest snapshot at which somebody answered; who answered at a later one is asked again.
static void choose_closed(struct gateway_read *read) {
    struct hlc_ts r = HLC_MAX;
    for (uint32_t i = 0; i < read->part_count; i++) {
        r = hlc_smaller(r, read->parts[i].certificate.timestamp);
    }
    read->r = r;
    bool all = true;
    for (uint32_t i = 0; i < read->part_count; i++) {
        struct gateway_read_part *part = &read->parts[i];
        part->has_rows = hlc_equal(part->certificate.timestamp, r);
        all = all && part->has_rows;
    }
    if (all) {
        finish(read);
    } else if (another_round(read)) {
        begin_round(read, GATEWAY_READ_ROWS);
    }
}

static void end_round(struct gateway_read *read) {
    switch (read->round) {
    case GATEWAY_READ_ROWS:
        if (read->raise.v != 0) {
            raise_snapshot(read);
        } else if (read->snapshot.consistency == COMMAND_STRICT) {
            begin_round(read, GATEWAY_READ_VALIDATE);
        } else {
            finish(read);
        }
        return;
    case GATEWAY_READ_VALIDATE:
        if (read->changed) {
            read_anew(read);
        } else {
            finish(read);
        }
        return;
    case GATEWAY_READ_CLOSED:
        choose_closed(read);
        return;
    case GATEWAY_READ_SPLIT:
        break;
    }
    ASSERT(false);
}

// --- Answers of shards ---

static bool same_versions(struct gateway_read_part *part, struct slice now) {
    struct codec_reader r;
    codec_reader_init(&r, now);
    codec_reader_init(&part->rows_left, buf_slice(&part->rows));
    for (uint32_t i = 0; i < part->key_count; i++) {
        struct command_row was;
        struct command_row is;
        if (!next_row(part, &was) || command_read_row_decode(&r, &is) != STATUS_OK) {
            return false;
        }
        if (!hlc_equal(was.version, is.version)) { return false; }
    }
    return true;
}

// OK, or why the rows cannot be kept.
static enum status take_rows(struct gateway_read_part *part, const struct session_result *result) {
    struct gateway_read *read = part->read;
    if (read->round == GATEWAY_READ_VALIDATE) {
        read->changed = read->changed || !same_versions(part, result->payload);
        return STATUS_OK;
    }
    if (part->contact.v == 0) { part->contact = result->contact; }
    read->raise = hlc_larger(read->raise, result->uncertain);
    part->certificate = result->certificate;
    part->has_rows = true;
    buf_reset(&part->rows);
    return buf_append(&part->rows, result->payload);
}

static void part_done(struct session_call *call, const struct session_result *result) {
    struct gateway_read_part *part =
        (struct gateway_read_part *)(void *)((char *)call -
                                             offsetof(struct gateway_read_part, call));
    struct gateway_read *read = part->read;
    ASSERT(part->calling && read->calling > 0);
    part->calling = false;
    read->calling--;
    if (read->call == NULL) { return; }  // cancelled
    if (result->status != STATUS_OK) {
        end(read, result);
        return;
    }
    if (take_rows(part, result) != STATUS_OK) {
        end_text(read, STATUS_RESOURCE_EXHAUSTED, "no memory for the rows");
        return;
    }
    if (read->calling == 0 && !read->starting) { end_round(read); }
}

// --- Asking ---

static struct command_snapshot part_snapshot(const struct gateway_read *read,
                                             const struct gateway_read_part *part) {
    struct command_snapshot out = read->snapshot;
    if (read->round == GATEWAY_READ_CLOSED) { return out; }
    out = (struct command_snapshot){.consistency = COMMAND_AT, .at = read->r};
    if (is_strong(read)) {
        out.consistency = read->snapshot.consistency == COMMAND_STRONG_READ_INDEX
                              ? COMMAND_STRONG_READ_INDEX
                              : COMMAND_STRONG;
        out.contact = part->contact;
    }
    if (read->round == GATEWAY_READ_VALIDATE) {
        out.at = HLC_ZERO;
        out.contact = HLC_ZERO;
    }
    return out;
}

static bool encode_part(struct gateway_read_part *part, const struct slice *keys) {
    const struct command_read request = {
        .snapshot = part_snapshot(part->read, part), .key_count = part->key_count, .keys = keys};
    struct codec_writer w;
    buf_reset(&part->request);
    codec_writer_init(&w, &part->request);
    command_read_encode(&w, &request);
    return w.status == STATUS_OK;
}

static void ask_part(struct gateway_read_part *part, struct slice key) {
    struct gateway_read *read = part->read;
    part->calling = true;
    read->calling++;
    part->call = (struct session_call){
        .kind = COMMAND_READ,
        .key = key,
        .payload = buf_slice(&part->request),
        .deadline_ns = read->call->deadline_ns,
        .done = part_done,
    };
    session_start(read->gateway->config.session, &part->call);
}

// Asks every shard that has no rows for this round. The call may end on the way.
static void ask_all(struct gateway_read *read) {
    struct slice keys[COMMAND_READ_KEYS_MAX];
    group_keys(read, keys);
    const uint64_t generation = read->generation;
    read->raise = HLC_ZERO;
    read->changed = false;
    read->due_ns = UINT64_MAX;
    set_timer(read);
    read->starting = true;
    for (uint32_t i = 0; i < read->part_count; i++) {
        struct gateway_read_part *part = &read->parts[i];
        if (part->has_rows && read->round == GATEWAY_READ_ROWS) { continue; }
        const struct slice *first = &keys[part->key_at];
        if (!encode_part(part, first)) {
            end_text(read, STATUS_RESOURCE_EXHAUSTED, "no memory to read");
        } else {
            ask_part(part, *first);
        }
        // It may have ended, and the object may serve another call by now.
        if (read->generation != generation) { return; }
    }
    read->starting = false;
    if (read->calling == 0) { end_round(read); }
}

// --- The beginning ---

static void begin(struct gateway_read *read) {
    struct gateway *self = read->gateway;
    self->stats.reads_many++;
    read->r = gateway__clock(self);
    switch (read->snapshot.consistency) {
    case COMMAND_STRONG:
    case COMMAND_STRONG_READ_INDEX:
    case COMMAND_STRICT:
        read->r = hlc_larger(read->r, read->snapshot.at_least);
        if (read->snapshot.at.v != 0) { read->r = read->snapshot.at; }
        read->round = GATEWAY_READ_ROWS;
        break;
    case COMMAND_AT:
        read->r = read->snapshot.at;
        read->round = GATEWAY_READ_ROWS;
        break;
    case COMMAND_SESSION:
        read->r = read->snapshot.at_least;
        read->round = read->r.v != 0 ? GATEWAY_READ_ROWS : GATEWAY_READ_CLOSED;
        break;
    case COMMAND_BOUNDED:
    case COMMAND_ANY:
    case COMMAND_CONSISTENCY_COUNT:
        read->round = GATEWAY_READ_CLOSED;
        break;
    }
    ask_all(read);
}

static void split_and_begin(struct gateway_read *read) {
    struct gateway *self = read->gateway;
    const enum status st = split(read);
    if (st == STATUS_UNAVAILABLE) {
        read->due_ns = gateway__now(self) + gateway__backoff_ns(self, read->waits++);
        set_timer(read);
    } else if (st != STATUS_OK) {
        end_text(read, STATUS_INVALID_ARGUMENT, "the read does not decode");
    } else {
        begin(read);
    }
}

void gateway__read_start(struct gateway *self, struct session_call *call) {
    struct gateway_read *read = take_read(self);
    if (read == NULL) {
        self->stats.overloaded++;
        gateway__end_call(call, STATUS_OVERLOADED, "too many reads over several shards");
        return;
    }
    read->call = call;
    call->id = GATEWAY_ID_READ | read->place;
    set_timer(read);
    split_and_begin(read);
}

void gateway__read_cancel(struct gateway_read *read, enum status st) {
    end_text(read, st, "");
}

void gateway__read_on_timer(struct gateway_read *read) {
    const uint64_t now = gateway__now(read->gateway);
    ASSERT(read->call != NULL);
    if (now >= read->call->deadline_ns) {
        end_text(read, STATUS_DEADLINE_EXCEEDED,
                 read->round == GATEWAY_READ_SPLIT ? "no shard is known that holds a key"
                                                   : "not all shards have answered");
    } else if (read->round == GATEWAY_READ_SPLIT) {
        split_and_begin(read);
    } else {
        ASSERT(now >= read->due_ns);
        ask_all(read);
    }
}
