// SPDX-License-Identifier: Apache-2.0
// Requests to the wire. The limits are the server's business: it names field and bound better than
// a client of another version could. Only what would make no sense to send is refused here.
#include "api/client/client_internal.h"
#include "dataplane/base/assert.h"

#include <string.h>

static enum status lc_route(struct lc_request *request, uint32_t keyspace, struct slice key) {
    const uint8_t prefix[SHARD_KEYSPACE_PREFIX_SIZE] = {
        (uint8_t)(keyspace >> 24), (uint8_t)(keyspace >> 16), (uint8_t)(keyspace >> 8),
        (uint8_t)keyspace};
    buf_reset(&request->route);
    enum status st = buf_append(&request->route, slice_make(prefix, sizeof(prefix)));
    return st == STATUS_OK ? buf_append(&request->route, key) : st;
}

enum status lc__encode_read(struct lc_request *request, const struct lc_read *read) {
    struct proto_writer w;
    if (read->key_count == 0 || read->keys == NULL) { return STATUS_INVALID_ARGUMENT; }
    proto_writer_init(&w, &request->body);
    proto_put_uint(&w, 2, read->keyspace);
    for (uint32_t i = 0; i < read->key_count; i++) {
        proto_put_bytes_always(&w, 3, read->keys[i]);
    }
    proto_put_uint(&w, 4, read->read_index ? 1 : 0);
    proto_put_fixed64(&w, 5, read->at_least);
    proto_put_fixed64(&w, 6, request->hlc);
    return w.status == STATUS_OK ? lc_route(request, read->keyspace, read->keys[0]) : w.status;
}

static void lc_put_condition(struct proto_writer *w, const struct lc_condition *condition) {
    size_t mark = proto_open(w, 4, condition->key.size + condition->value.size + 12);
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

static void lc_put_mutation(struct proto_writer *w, const struct lc_mutation *mutation) {
    const size_t size = mutation->key.size + mutation->value.size + 6;
    size_t outer = proto_open(w, 5, size + 4);
    size_t inner = proto_open(w, (uint32_t)mutation->kind, size);
    proto_put_bytes(w, 1, mutation->key);
    if (mutation->kind != LC_DELETE) { proto_put_bytes(w, 2, mutation->value); }
    proto_close(w, inner);
    proto_close(w, outer);
}

// The home of a transaction is the shard of its smallest key; with one shard any key will do.
static struct slice lc_commit_key(const struct lc_commit *commit) {
    return commit->mutation_count > 0 ? commit->mutations[0].key : commit->conditions[0].key;
}

enum status lc__encode_commit(struct lc_request *request, const struct lc_commit *commit) {
    struct proto_writer w;
    if (commit->condition_count + commit->mutation_count == 0) { return STATUS_INVALID_ARGUMENT; }
    if (commit->txn == NULL) {
        lc_txn_id_make(request->txn);
    } else {
        memcpy(request->txn, commit->txn, LC_TXN_ID_SIZE);
    }
    proto_writer_init(&w, &request->body);
    proto_put_uint(&w, 2, commit->keyspace);
    proto_put_bytes(&w, 3, slice_make(request->txn, LC_TXN_ID_SIZE));
    for (uint32_t i = 0; i < commit->condition_count; i++) {
        lc_put_condition(&w, &commit->conditions[i]);
    }
    for (uint32_t i = 0; i < commit->mutation_count; i++) {
        lc_put_mutation(&w, &commit->mutations[i]);
    }
    proto_put_fixed64(&w, 6, request->hlc);
    return w.status == STATUS_OK ? lc_route(request, commit->keyspace, lc_commit_key(commit))
                                 : w.status;
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
