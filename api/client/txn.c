// SPDX-License-Identifier: Apache-2.0
// Transactions step by step: what the caller asks for, as messages of the stream and back.
#include "api/client/txn_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <grpc/slice.h>

#include <string.h>

enum { LC_TXN_WRITES_MAX = LC_MESSAGE_SIZE_MAX, LC_TXN_WRITES_SOFT_MAX = 1 << 20 };
// With each contended key so many at most: all together stay well below what the server holds.
enum { LC_TXN_HOLD_KEYS_MAX = 8 };

struct lc_txn *lc_txn_begin(struct lc_client *client, const struct lc_txn_options *options) {
    ASSERT(!lc__is_own_thread(client));
    struct lc_txn *self = mem_alloc(sizeof(*self));
    uint64_t timeout_ms = options->timeout_ms == 0 ? client->timeout_ms : options->timeout_ms;
    self->client = client;
    self->keyspace = options->keyspace;
    self->begin = options->begin;
    self->snapshot = options->snapshot;
    self->deadline_ns = lc__now_ns() + timeout_ms * UINT64_C(1000000);
    if (options->txn == NULL) {
        lc_txn_id_make(self->id);
    } else {
        memcpy(self->id, options->txn, LC_TXN_ID_SIZE);
    }
    buf_init(&self->writes, LC_TXN_WRITES_MAX);
    buf_init(&self->home, LC_TXN_WRITES_MAX);
    buf_init(&self->message, 2 * LC_MESSAGE_SIZE_MAX);
    self->cq = grpc_completion_queue_create_for_pluck(NULL);
    return self;
}

void lc_txn_close(struct lc_txn *self) {
    if (self == NULL) { return; }
    lc__txn_hang_up(self);
    grpc_completion_queue_shutdown(self->cq);
    grpc_completion_queue_destroy(self->cq);
    buf_deinit(&self->writes);
    buf_deinit(&self->home);
    buf_deinit(&self->message);
    mem_free(self->rows.items);
    lc_reply_free(&self->end);
    mem_free(self);
}

const uint8_t *lc_txn_id(const struct lc_txn *self) {
    return self->id;
}

uint64_t lc_txn_started(const struct lc_txn *self) {
    return self->begin;
}

// --- Answers ---

static enum status lc_txn_over(const struct lc_txn *self, struct lc_reply *out) {
    ASSERT(self->over);
    if (out != NULL) { lc__reply_fill(out, &self->end.result); }
    return self->end.result.status;
}

// Commit and rollback: later calls are told so.
static void lc_txn_finish(struct lc_txn *self, const char *text) {
    struct lc_result end = {.outcome = LC_ABORTED,
                            .status = STATUS_FAILED_PRECONDITION,
                            .message = slice_from_string(text)};
    memcpy(end.txn, self->id, LC_TXN_ID_SIZE);
    lc__reply_fill(&self->end, &end);
    self->over = true;
}

static void lc_txn_note(struct lc_txn *self, const struct lc_result *result) {
    (void)pthread_mutex_lock(&self->client->mu);
    lc__note_result(self->client, result);
    self->node->failures = 0;
    (void)pthread_mutex_unlock(&self->client->mu);
}

// TransactRows.
static enum status lc_txn_decode_rows(struct lc_txn *self, struct slice body,
                                      struct lc_result *out) {
    struct proto_reader r;
    struct proto_field field;
    enum status st = STATUS_OK;
    proto_reader_init(&r, body);
    while (st == STATUS_OK && proto_next(&r, &field)) {
        switch (field.number) {
        case 1:
            st = lc__decode_header(proto_get_bytes(&r, &field), &out->certificate, &out->hlc,
                                   &out->served_by);
            break;
        case 2:
        case 3:
            st = lc__add_row(&self->rows, proto_get_bytes(&r, &field), field.number == 3, out);
            break;
        case 4:
            out->more = proto_get_bool(&r, &field);
            break;
        case 5:
            out->resume = proto_get_bytes(&r, &field);
            break;
        case 6:
            out->timestamp = proto_get_fixed64(&r, &field);
            break;
        default:
            break;
        }
    }
    return st == STATUS_OK ? r.status : st;
}

static enum status lc_txn_rows(struct lc_txn *self, struct lc_reply *out) {
    struct slice body;
    if (!lc__txn_receive(self, LC_TXN_ROWS, &body)) { return lc_txn_over(self, out); }
    struct lc_result result = {.outcome = LC_COMMITTED, .status = STATUS_OK, .attempts = 1};
    memcpy(result.txn, self->id, LC_TXN_ID_SIZE);
    if (lc_txn_decode_rows(self, body, &result) != STATUS_OK) {
        lc__txn_fail_status(self, STATUS_CORRUPT, "an answer does not decode");
        return lc_txn_over(self, out);
    }
    lc_txn_note(self, &result);
    lc__reply_fill(out, &result);
    return STATUS_OK;
}

// --- Reads ---

// Who was refused for a key, and reads it again, gets in line for it.
static bool lc_txn_is_contended(const struct lc_txn *self, const struct lc_txn_read *read) {
    const struct lc_contended *contended = self->contended;
    if (contended == NULL || read->key_count > LC_TXN_HOLD_KEYS_MAX) { return false; }
    for (uint32_t i = 0; i < contended->count * read->key_count; i++) {
        const struct slice key = bytes_slice(contended->keys[i / read->key_count]);
        if (slice_equal(key, read->keys[i % read->key_count])) { return true; }
    }
    return false;
}

enum status lc_txn_read(struct lc_txn *self, const struct lc_txn_read *read, struct lc_reply *out) {
    struct proto_writer w;
    ASSERT(read->key_count > 0 && read->keys != NULL);
    if (!lc__txn_open(self, read->keys[0]) || !lc__txn_flush(self)) {
        return lc_txn_over(self, out);
    }
    size_t mark = lc__txn_message(self, LC_TXN_GET, &w);
    for (uint32_t i = 0; i < read->key_count; i++) {
        proto_put_bytes_always(&w, 1, read->keys[i]);
    }
    if (read->for_update) { self->holds = true; }
    proto_put_uint(&w, 2, read->for_update || lc_txn_is_contended(self, read) ? 1 : 0);
    return lc__txn_send(self, &w, mark) ? lc_txn_rows(self, out) : lc_txn_over(self, out);
}

enum status lc_txn_get(struct lc_txn *self, struct slice key, struct lc_reply *out) {
    const struct lc_txn_read read = {.keys = &key, .key_count = 1};
    enum status st = lc_txn_read(self, &read, out);
    bool found = st == STATUS_OK && out->result.row_count == 1 && out->result.rows[0].found;
    return st == STATUS_OK && !found ? STATUS_NOT_FOUND : st;
}

enum status lc_txn_scan(struct lc_txn *self, const struct lc_txn_scan *scan, struct lc_reply *out) {
    struct proto_writer w;
    if (!lc__txn_open(self, scan->reverse ? scan->end : scan->start) || !lc__txn_flush(self)) {
        return lc_txn_over(self, out);
    }
    size_t mark = lc__txn_message(self, LC_TXN_SCAN, &w);
    proto_put_bytes(&w, 1, scan->start);
    proto_put_bytes(&w, 2, scan->end);
    proto_put_uint(&w, 3, scan->limit);
    proto_put_uint(&w, 4, scan->reverse ? 1 : 0);
    return lc__txn_send(self, &w, mark) ? lc_txn_rows(self, out) : lc_txn_over(self, out);
}

// --- Writes ---

enum status lc__txn_set_home(struct lc_txn *self, struct slice key, bool is_range) {
    buf_reset(&self->home);
    self->has_home = true;
    self->home_is_range = is_range;
    self->home_is_unsure = false;
    return buf_append(&self->home, key);
}

// The outcome lies with the first key written; with the start of a range that took it in.
static enum status lc_txn_note_home(struct lc_txn *self, const struct lc_mutation *mutation) {
    const bool is_range = mutation->kind == LC_DELETE_RANGE;
    if (!self->has_home) { return lc__txn_set_home(self, mutation->key, is_range); }
    struct slice home = buf_slice(&self->home);
    if (is_range && slice_compare(mutation->key, home) <= 0 &&
        slice_compare(home, mutation->value) < 0) {
        return lc__txn_set_home(self, mutation->key, true);
    }
    if (self->home_is_range && !is_range && slice_equal(mutation->key, home)) {
        self->home_is_unsure = true;
    }
    return STATUS_OK;
}

enum status lc_txn_write(struct lc_txn *self, const struct lc_mutation *mutations, uint32_t count) {
    struct proto_writer w;
    enum status st = STATUS_OK;
    if (self->over) { return lc_txn_over(self, NULL); }
    for (uint32_t i = 0; i < count && st == STATUS_OK; i++) {
        proto_writer_init(&w, &self->writes);
        lc__put_mutation(&w, 1, &mutations[i]);
        st = w.status == STATUS_OK ? lc_txn_note_home(self, &mutations[i]) : w.status;
        bool full = self->writes.size > LC_TXN_WRITES_SOFT_MAX;
        if (st == STATUS_OK && full &&
            (!lc__txn_open(self, mutations[i].key) || !lc__txn_flush(self))) {
            return lc_txn_over(self, NULL);
        }
    }
    if (st != STATUS_OK) { lc__txn_fail_status(self, st, "the writes are too large"); }
    return st;
}

enum status lc_txn_put(struct lc_txn *self, struct slice key, struct slice value) {
    const struct lc_mutation put = {.kind = LC_PUT, .key = key, .value = value};
    return lc_txn_write(self, &put, 1);
}

enum status lc_txn_delete(struct lc_txn *self, struct slice key) {
    const struct lc_mutation remove = {.kind = LC_DELETE, .key = key};
    return lc_txn_write(self, &remove, 1);
}

enum status lc_txn_delete_range(struct lc_txn *self, struct slice start, struct slice end) {
    const struct lc_mutation remove = {.kind = LC_DELETE_RANGE, .key = start, .value = end};
    return lc_txn_write(self, &remove, 1);
}

enum status lc_txn_add(struct lc_txn *self, struct slice key, int64_t amount) {
    const struct lc_mutation add = {
        .kind = LC_MERGE, .key = key, .merge = {.type = LC_COUNTER, .amount = amount}};
    return lc_txn_write(self, &add, 1);
}

// --- Ends ---

// Sends the commit and waits for its answer; false: over.
static bool lc_txn_try_commit(struct lc_txn *self, const struct lc_condition *conditions,
                              uint32_t count, struct lc_result *out) {
    struct proto_writer w;
    struct slice body;
    if (!lc__txn_open(self, buf_slice(&self->home)) || !lc__txn_flush(self)) { return false; }
    size_t mark = lc__txn_message(self, LC_TXN_COMMIT, &w);
    for (uint32_t i = 0; i < count; i++) {
        lc__put_condition(&w, 1, &conditions[i]);
    }
    // A transaction without a home changes nothing, whatever becomes of it.
    self->may_have_committed = self->has_home && w.status == STATUS_OK;
    if (!lc__txn_send(self, &w, mark) || !lc__txn_receive(self, LC_TXN_COMMITTED, &body)) {
        return false;
    }
    *out = (struct lc_result){.outcome = LC_COMMITTED, .status = STATUS_OK, .attempts = 1};
    if (lc__decode_response(&self->rows, LC_KIND_COMMIT, body, out) != STATUS_OK) {
        lc__txn_fail_status(self, STATUS_CORRUPT, "an answer does not decode");
        return false;
    }
    memcpy(out->txn, self->id, LC_TXN_ID_SIZE);
    lc_txn_note(self, out);
    return true;
}

enum status lc_txn_commit(struct lc_txn *self, const struct lc_condition *conditions,
                          uint32_t count, struct lc_reply *out) {
    struct lc_result result;
    struct lc_reply memory = {.memory = NULL};
    if (self->over) { return lc_txn_over(self, out); }
    if (!self->has_home && count > 0 &&
        lc__txn_set_home(self, conditions[0].key, false) != STATUS_OK) {
        lc__txn_fail_status(self, STATUS_RESOURCE_EXHAUSTED, "the conditions are too large");
    }
    if (!lc_txn_try_commit(self, conditions, count, &result)) {
        result = self->end.result;
        if (self->may_have_committed) { lc__txn_find_out(self, &result, &memory); }
    }
    if (result.status != STATUS_OK && result.message.size == 0) {
        result.message = slice_from_string(status_text(result.status));
    }
    result.home = buf_slice(&self->home);
    lc__reply_fill(out, &result);
    lc_reply_free(&memory);
    if (!self->over) { lc_txn_finish(self, "the transaction has been committed or refused"); }
    return out->result.status;
}

void lc_txn_rollback(struct lc_txn *self) {
    struct proto_writer w;
    struct slice body;
    if (self->over) { return; }
    buf_reset(&self->writes);
    if (self->call != NULL) {
        size_t mark = lc__txn_message(self, LC_TXN_ROLLBACK, &w);
        if (lc__txn_send(self, &w, mark)) {
            (void)lc__txn_receive(self, LC_TXN_ROLLED_BACK, &body);
        }
    }
    if (!self->over) { lc_txn_finish(self, "the transaction was rolled back"); }
}
