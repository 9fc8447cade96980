// SPDX-License-Identifier: Apache-2.0
// Peers by plain unary gRPC calls, with the same settings and the same technique as liblightcone's
// unary mode: the echo server, and etcd's KV service. Of etcd's protocol only the few fields that
// are needed are encoded here; their numbers are those of its public schema.
#include "api/proto/wire.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/bench/calls.h"
#include "tests/bench/load.h"

#include <string.h>

enum { LOAD_METHODS = 3, LOAD_REQUEST_MAX = 16 << 20 };
enum load_method { LOAD_METHOD_RANGE, LOAD_METHOD_PUT, LOAD_METHOD_TXN };

struct load_state {
    bool is_etcd;
    struct calls *calls;
};

// --- Requests ---

static void load_put_fields(struct proto_writer *w, struct slice key, struct slice value) {
    proto_put_bytes(w, 1, key);
    proto_put_bytes(w, 2, value);
}

// TxnRequest.success: RequestOp{request_range = 1, request_put = 2}.
static void load_txn_fields(struct proto_writer *w, const struct load_operation *operation) {
    const uint32_t member = operation->kind == LOAD_GET10 ? 1 : 2;
    struct slice value = operation->kind == LOAD_GET10 ? SLICE_EMPTY : operation->value;
    for (uint32_t i = 0; i < operation->key_count; i++) {
        size_t outer = proto_open(w, 2, value.size + LOAD_KEY_SIZE + 10);
        size_t inner = proto_open(w, member, value.size + LOAD_KEY_SIZE + 6);
        load_put_fields(w, operation->keys[i], value);
        proto_close(w, inner);
        proto_close(w, outer);
    }
}

static enum load_method load_encode(const struct load_state *state,
                                    const struct load_operation *operation, struct buf *out) {
    struct proto_writer w;
    enum load_method method = LOAD_METHOD_PUT;
    proto_writer_init(&w, out);
    if (operation->key_count > 1) {
        load_txn_fields(&w, operation);
        method = LOAD_METHOD_TXN;
    } else if (operation->kind == LOAD_GET) {
        proto_put_bytes(&w, 1, operation->keys[0]);
        method = LOAD_METHOD_RANGE;
    } else {
        load_put_fields(&w, operation->keys[0], operation->value);
    }
    ASSERT(w.status == STATUS_OK);
    return state->is_etcd ? method : LOAD_METHOD_RANGE;
}

static void load_grpc_start(struct load *load, uint32_t slot) {
    struct load_state *state = load->state;
    struct load_operation operation;
    if (!load_next(load, &operation)) {
        atomic_fetch_sub(&load->running, 1);
        return;
    }
    struct buf request;
    buf_init(&request, LOAD_REQUEST_MAX);
    enum load_method method = load_encode(state, &operation, &request);
    calls_start(state->calls, slot, slot, method, buf_slice(&request));
    buf_deinit(&request);
}

// --- Responses ---

// RangeResponse.kvs is field 2: whether there is one. Other answers need none.
static bool load_has_value(struct slice response) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, response);
    while (proto_next(&r, &field)) {
        if (field.number == 2) { return true; }
    }
    return false;
}

static void load_grpc_done(void *ctx, uint32_t slot, int code, struct slice response,
                           struct slice message) {
    struct load *load = ctx;
    (void)message;
    bool needs_value = strcmp(load->config.operation, "get") == 0 &&
                       strcmp(load->config.target, "etcd") == 0 && !atomic_load(&load->preloading);
    load_done(load, slot, code == 0, code != 0 || !needs_value || load_has_value(response));
}

// --- Opening ---

static bool load_grpc_open(struct load *load, const struct load_config *config) {
    static const char *const etcd[LOAD_METHODS] = {"/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put",
                                                   "/etcdserverpb.KV/Txn"};
    static const char *const echo[1] = {"/lightcone.bench.Echo/Echo"};
    struct load_state *state = mem_alloc(sizeof(*state));
    state->is_etcd = strcmp(config->target, "etcd") == 0;
    const struct calls_config calls = {
        .addresses = config->addresses,
        .address_count = config->address_count,
        .methods = state->is_etcd ? etcd : echo,
        .method_count = state->is_etcd ? LOAD_METHODS : 1,
        .slots = config->outstanding,
        .done = load_grpc_done,
        .ctx = load,
    };
    load->state = state;
    state->calls = calls_open(&calls);
    return state->calls != NULL;
}

static void load_grpc_close(struct load *load) {
    struct load_state *state = load->state;
    calls_close(state->calls);
    mem_free(state);
}

const struct load_driver load_grpc = {
    .open = load_grpc_open, .start = load_grpc_start, .close = load_grpc_close};
