// SPDX-License-Identifier: Apache-2.0
// admin_keyspace.c - keyspaces: created by a command to the catalogue, listed from this node's
// copy.
//
// A creation is answered when every node that can be heard knows the new keyspace, so that the
// client's next call finds it, through whichever node it goes.

#include "api/admin/admin_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/loop/clock.h"

#define ADMIN_CATALOG_NS UINT64_C(10000000000)

static const struct catalog_keyspace *keyspace_here(struct admin_call *call) {
    return catalog_keyspace_by_id(node_core_catalog(admin__core(call)),
                                  (uint32_t)call->keyspace_id);
}

static bool is_known(struct admin_call *call) {
    const struct catalog_keyspace *keyspace = keyspace_here(call);
    return keyspace != NULL && node_core_all_hold(admin__core(call), keyspace->version);
}

static void reply_created(struct admin_call *call) {
    const struct catalog_keyspace *keyspace = keyspace_here(call);
    if (keyspace == NULL) {
        admin__fail(call, STATUS_UNAVAILABLE, "keyspace",
                    "created, but this node has not heard of it from the catalogue yet");
        return;
    }
    Lightcone__V1__KeyspaceCreateResponse response = LIGHTCONE__V1__KEYSPACE_CREATE_RESPONSE__INIT;
    response.keyspace = admin__keyspace(call, keyspace);
    admin__reply(call, &response.base);
}

static void created(struct session_call *session, const struct session_result *result) {
    struct admin_call *call =
        (struct admin_call *)((char *)session - offsetof(struct admin_call, session));
    struct catalog_result decoded = {0};
    if (result->payload.size > 0 && catalog_result_decode(result->payload, &decoded) != STATUS_OK) {
        decoded.detail = SLICE_EMPTY;
    }
    if (result->status != STATUS_OK) {
        struct rpc_error error = {.status = result->status,
                                  .message =
                                      decoded.detail.size > 0 ? decoded.detail : result->detail};
        if (result->status == STATUS_INVALID_ARGUMENT) { error.field = "keyspace"; }
        rpc_fail(call->call, &error);
        return;
    }
    call->keyspace_id = decoded.id;
    admin__wait(call, is_known, reply_created);
}

// LIMIT: protobuf-c ends a text at its first NUL byte, so a name with one in it is taken up to
// there.
void admin__keyspace_create(struct admin_call *call) {
    const Lightcone__V1__KeyspaceCreateRequest *request = (const void *)call->request;
    struct catalog_create_keyspace command = {.replicas = request->replicas,
                                              .shard_count = request->shard_count};
    struct slice name = slice_from_string(request->name);
    if (name.size >= sizeof(command.name)) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "name", "the name is longer than 63 bytes");
        return;
    }
    if (request->n_splits > 0 && request->shard_count > 0 &&
        request->shard_count != request->n_splits + 1) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "shard_count",
                    "the splits make another number of shards; give one of the two");
        return;
    }
    for (size_t i = 0; i < name.size; i++) {
        command.name[i] = (char)name.data[i];
    }
    if (command.shard_count == 0) { command.shard_count = 1; }
    struct slice *splits = admin__alloc(call, request->n_splits * sizeof(*splits));
    for (size_t i = 0; i < request->n_splits; i++) {
        splits[i] = slice_make(request->splits[i].data, request->splits[i].len);
    }
    command.split_count = (uint32_t)request->n_splits;
    command.splits = splits;
    struct err err;
    enum status st = catalog_create_keyspace_check(&command, &err);
    if (st != STATUS_OK) {
        admin__fail(call, st, "keyspace", err.message);
        return;
    }
    struct codec_writer w;
    codec_writer_init(&w, &call->payload);
    catalog_create_keyspace_encode(&w, &command);
    if (w.status != STATUS_OK) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "splits", "the split keys take more than 1 MiB");
        return;
    }
    uint64_t deadline = rpc_call_deadline_ns(call->call);
    uint64_t latest = loop_monotonic_ns() + ADMIN_CATALOG_NS;
    call->session = (struct session_call){
        .kind = COMMAND_CATALOG,
        .payload = buf_slice(&call->payload),
        .deadline_ns = deadline < latest ? deadline : latest,
        .done = created,
    };
    session_start(node_core_session(admin__core(call)), &call->session);
}

void admin__keyspace_list(struct admin_call *call) {
    const struct catalog *catalog = node_core_catalog(admin__core(call));
    Lightcone__V1__KeyspaceListResponse response = LIGHTCONE__V1__KEYSPACE_LIST_RESPONSE__INIT;
    response.n_keyspaces = catalog_keyspace_count(catalog);
    response.keyspaces = admin__alloc(call, response.n_keyspaces * sizeof(*response.keyspaces));
    for (uint32_t i = 0; i < response.n_keyspaces; i++) {
        response.keyspaces[i] = admin__keyspace(call, catalog_keyspace_at(catalog, i));
    }
    admin__reply(call, &response.base);
}
