// SPDX-License-Identifier: Apache-2.0
// Requests to the wire. The limits are the server's business: it names field and bound better than
// a client of another version could. Only what would make no sense to send is refused here.
#include "api/client/client_internal.h"
#include "dataplane/base/assert.h"

#include <string.h>

// What the fields around keys and values take at most; the writer needs a hint only.
enum { LC_VARINT_MAX = 10, LC_WRITE_OVERHEAD = 6, LC_MERGE_OVERHEAD = 48, LC_OPEN_OVERHEAD = 4 };

static enum status lc_full_key(struct buf *out, uint32_t keyspace, struct slice key) {
    uint8_t prefix[SHARD_KEYSPACE_PREFIX_SIZE];
    shard_keyspace_prefix(keyspace, prefix);
    buf_reset(out);
    enum status st = buf_append(out, slice_make(prefix, sizeof(prefix)));
    return st == STATUS_OK ? buf_append(out, key) : st;
}

static enum status lc_route(struct lc_request *request, uint32_t keyspace, struct slice key) {
    return lc_full_key(&request->route, keyspace, key);
}

// Keyspaces are the same: whole keys compare as those behind them.
static bool lc_is_beyond(const struct buf *bound, struct slice key, int sign) {
    if (bound->size == 0) { return true; }
    const struct slice now = slice_make(bound->data + SHARD_KEYSPACE_PREFIX_SIZE,
                                        bound->size - SHARD_KEYSPACE_PREFIX_SIZE);
    return sign * slice_compare(key, now) > 0;
}

// One of several keys that the request touches, or the excluded end of a range. Who does not say
// where it is sends everything to the leader of the first.
static enum status lc_touches(struct lc_request *request, uint32_t keyspace, struct slice key) {
    const struct lc_client *self = request->client;
    enum status st = STATUS_OK;
    if (!lc__is_placed(self)) { return STATUS_OK; }
    if (lc_is_beyond(&request->low, key, -1)) { st = lc_full_key(&request->low, keyspace, key); }
    if (st == STATUS_OK && lc_is_beyond(&request->high, key, 1)) {
        st = lc_full_key(&request->high, keyspace, key);
    }
    return st;
}

static enum status lc_commit_touches(struct lc_request *request, const struct lc_commit *commit) {
    const uint32_t keyspace = commit->keyspace;
    enum status st = STATUS_OK;
    for (uint32_t i = 0; st == STATUS_OK && i < commit->condition_count; i++) {
        st = lc_touches(request, keyspace, commit->conditions[i].key);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < commit->mutation_count; i++) {
        const struct lc_mutation *mutation = &commit->mutations[i];
        st = lc_touches(request, keyspace, mutation->key);
        if (st == STATUS_OK && mutation->kind == LC_DELETE_RANGE) {
            st = lc_touches(request, keyspace, mutation->value);
        }
    }
    for (uint32_t i = 0; st == STATUS_OK && i < commit->read_count; i++) {
        st = lc_touches(request, keyspace, commit->reads[i].start);
        if (st == STATUS_OK && commit->reads[i].end.size > 0) {
            st = lc_touches(request, keyspace, commit->reads[i].end);
        }
    }
    return st;
}

bool lc__is_strong(enum lc_consistency consistency) {
    return consistency == LC_STRONG || consistency == LC_STRONG_READ_INDEX ||
           consistency == LC_STRICT;
}

enum status lc__encode_read(struct lc_request *request, const struct lc_read *read) {
    struct proto_writer w;
    if (read->key_count == 0 || read->keys == NULL) { return STATUS_INVALID_ARGUMENT; }
    proto_writer_init(&w, &request->body);
    proto_put_uint(&w, 2, read->keyspace);
    for (uint32_t i = 0; i < read->key_count; i++) {
        proto_put_bytes_always(&w, 3, read->keys[i]);
    }
    uint64_t at_least = read->at_least;
    if (read->consistency == LC_SESSION && at_least == 0) { at_least = request->session; }
    proto_put_uint(&w, 4, (uint64_t)read->consistency);
    proto_put_fixed64(&w, 5, at_least);
    proto_put_fixed64(&w, 6, request->hlc);
    proto_put_fixed64(&w, 7, read->at);
    proto_put_uint(&w, 8, read->max_staleness_us);
    request->any_replica = !lc__is_strong(read->consistency);
    for (uint32_t i = 0; w.status == STATUS_OK && read->key_count > 1 && i < read->key_count; i++) {
        w.status = lc_touches(request, read->keyspace, read->keys[i]);
    }
    return w.status == STATUS_OK ? lc_route(request, read->keyspace, read->keys[0]) : w.status;
}

void lc__put_condition(struct proto_writer *w, uint32_t field,
                       const struct lc_condition *condition) {
    size_t mark = proto_open(w, field, condition->key.size + condition->value.size + 12);
    proto_put_bytes(w, 1, condition->key);
    switch (condition->kind) {
    case LC_EXISTS:
    case LC_ABSENT:
        proto_put_uint(w, (uint32_t)condition->kind, 1);
        break;
    case LC_VALUE_EQUALS:
        proto_put_bytes_always(w, LC_VALUE_EQUALS, condition->value);
        break;
    case LC_VERSION_EQUALS:
    case LC_TIMESTAMP_AT_MOST:
        proto_put_fixed64_always(w, (uint32_t)condition->kind, condition->timestamp);
        break;
    }
    proto_close(w, mark);
}

// sint64 on the wire: small numbers of either sign are short.
static uint64_t lc_zigzag(int64_t v) {
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static void lc_put_bound(struct proto_writer *w, uint32_t field, int64_t bound) {
    size_t mark = proto_open(w, field, LC_VARINT_MAX + 1);
    proto_put_uint(w, 1, lc_zigzag(bound));
    proto_close(w, mark);
}

static void lc_put_merge(struct proto_writer *w, const struct lc_mutation *mutation) {
    const struct lc_merge *merge = &mutation->merge;
    proto_put_uint(w, 2, (uint64_t)merge->type);
    proto_put_uint(w, 3, lc_zigzag(merge->amount));
    if (merge->has_min) { lc_put_bound(w, 4, merge->min); }
    if (merge->has_max) { lc_put_bound(w, 5, merge->max); }
    proto_put_bytes(w, 6, mutation->value);
    proto_put_uint(w, 7, merge->remove ? 1 : 0);
}

void lc__put_mutation(struct proto_writer *w, uint32_t field, const struct lc_mutation *mutation) {
    const size_t more = mutation->kind == LC_MERGE ? LC_MERGE_OVERHEAD : LC_WRITE_OVERHEAD;
    const size_t size = mutation->key.size + mutation->value.size + more;
    size_t outer = proto_open(w, field, size + LC_OPEN_OVERHEAD);
    size_t inner = proto_open(w, (uint32_t)mutation->kind, size);
    proto_put_bytes(w, 1, mutation->key);
    switch (mutation->kind) {
    case LC_PUT:
    case LC_DELETE_RANGE:
        proto_put_bytes(w, 2, mutation->value);
        break;
    case LC_DELETE:
        break;
    case LC_MERGE:
        lc_put_merge(w, mutation);
        break;
    }
    proto_close(w, inner);
    proto_close(w, outer);
}

static void lc_put_span(struct proto_writer *w, const struct lc_span *span) {
    size_t mark = proto_open(w, 7, span->start.size + span->end.size + LC_WRITE_OVERHEAD);
    proto_put_bytes(w, 1, span->start);
    proto_put_bytes(w, 2, span->end);
    proto_close(w, mark);
}

// The home of a transaction is the shard of its first mutation; of its first condition or read when
// it has none. The home's leader coordinates best; any other node does as well.
static struct slice lc_commit_key(const struct lc_commit *commit) {
    if (commit->mutation_count > 0) { return commit->mutations[0].key; }
    return commit->condition_count > 0 ? commit->conditions[0].key : commit->reads[0].start;
}

static void lc_put_commit(struct proto_writer *w, const struct lc_commit *commit) {
    for (uint32_t i = 0; i < commit->condition_count; i++) {
        lc__put_condition(w, 4, &commit->conditions[i]);
    }
    for (uint32_t i = 0; i < commit->mutation_count; i++) {
        lc__put_mutation(w, 5, &commit->mutations[i]);
    }
    for (uint32_t i = 0; i < commit->read_count; i++) {
        lc_put_span(w, &commit->reads[i]);
    }
    proto_put_fixed64(w, 8, commit->snapshot);
}

enum status lc__encode_commit(struct lc_request *request, const struct lc_commit *commit) {
    struct proto_writer w;
    if (commit->condition_count == 0 && commit->mutation_count == 0 && commit->read_count == 0) {
        return STATUS_INVALID_ARGUMENT;
    }
    request->abort_is_final = commit->read_count > 0;
    if (commit->txn == NULL) {
        lc_txn_id_make(request->txn);
    } else {
        memcpy(request->txn, commit->txn, LC_TXN_ID_SIZE);
    }
    proto_writer_init(&w, &request->body);
    proto_put_uint(&w, 2, commit->keyspace);
    proto_put_bytes(&w, 3, slice_make(request->txn, LC_TXN_ID_SIZE));
    proto_put_fixed64(&w, 6, request->hlc);
    lc_put_commit(&w, commit);
    const enum status st = w.status == STATUS_OK ? lc_commit_touches(request, commit) : w.status;
    return st == STATUS_OK ? lc_route(request, commit->keyspace, lc_commit_key(commit)) : st;
}

enum status lc__encode_txn_status(struct lc_request *request, uint32_t keyspace, const uint8_t *txn,
                                  struct slice key) {
    struct proto_writer w;
    ASSERT(txn != NULL);
    memcpy(request->txn, txn, LC_TXN_ID_SIZE);
    proto_writer_init(&w, &request->body);
    proto_put_uint(&w, 2, keyspace);
    proto_put_bytes(&w, 3, slice_make(txn, LC_TXN_ID_SIZE));
    proto_put_bytes(&w, 4, key);
    proto_put_fixed64(&w, 5, request->hlc);
    return w.status == STATUS_OK ? lc_route(request, keyspace, key) : w.status;
}

// The server settles by unary calls only: they are rare, and take two steps there.
enum status lc__encode_settle(struct lc_request *request) {
    struct proto_writer w;
    proto_writer_init(&w, &request->body);
    proto_put_uint(&w, 6, 1);
    request->by_unary = true;
    return w.status;
}
