// SPDX-License-Identifier: Apache-2.0
// admin_history.c - the versions of a key: a call of the gateway like a client's read, so that it
// finds the leader, waits and proves as reads do.

#include "api/admin/admin_internal.h"
#include "dataplane/loop/clock.h"
#include "storage/mvcc/mvcc.h"
#include "txn/command/command_versions.h"

#include <string.h>

enum { HISTORY_DEFAULT = 20, HISTORY_VALUE_DEFAULT = 256, HISTORY_ANSWER_PART = 10 };
#define HISTORY_NS UINT64_C(10000000000)

static Lightcone__V1__VersionKind kind_of(uint8_t kind) {
    switch ((enum mvcc_kind)kind) {
    case MVCC_PUT:
        return LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_PUT;
    case MVCC_DELETE:
        return LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_DELETE;
    case MVCC_COUNTER:
        return LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_COUNTER;
    case MVCC_GROW_COUNTER:
        return LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_GROW_COUNTER;
    case MVCC_GROW_SET:
        return LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_GROW_SET;
    case MVCC_SET:
        return LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_SET;
    case MVCC_REGISTER:
        return LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_REGISTER;
    case MVCC_KIND_COUNT:
        break;
    }
    return LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_UNSPECIFIED;
}

static Lightcone__V1__CertificateMethod method_of(enum command_method method) {
    switch (method) {
    case COMMAND_METHOD_LEASE:
        return LIGHTCONE__V1__CERTIFICATE_METHOD__CERTIFICATE_METHOD_LEASE;
    case COMMAND_METHOD_READ_INDEX:
        return LIGHTCONE__V1__CERTIFICATE_METHOD__CERTIFICATE_METHOD_READ_INDEX;
    case COMMAND_METHOD_LOG:
        return LIGHTCONE__V1__CERTIFICATE_METHOD__CERTIFICATE_METHOD_LOG;
    case COMMAND_METHOD_CLOSED:
        return LIGHTCONE__V1__CERTIFICATE_METHOD__CERTIFICATE_METHOD_CLOSED;
    case COMMAND_METHOD_APPLIED:
        return LIGHTCONE__V1__CERTIFICATE_METHOD__CERTIFICATE_METHOD_APPLIED;
    case COMMAND_METHOD_NONE:
    case COMMAND_METHOD_COUNT:
        break;
    }
    return LIGHTCONE__V1__CERTIFICATE_METHOD__CERTIFICATE_METHOD_UNSPECIFIED;
}

static Lightcone__V1__ResponseHeader *header_of(struct admin_call *call,
                                                const struct command_certificate *certificate) {
    struct node_core *core = admin__core(call);
    const struct hlc_ts now = hlc_peek(node_core_hlc(core), node_core_wall_us(core));
    Lightcone__V1__ResponseHeader *header = admin__alloc(call, sizeof(*header));
    Lightcone__V1__Certificate *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__response_header__init(header);
    lightcone__v1__certificate__init(out);
    out->method = method_of(certificate->method);
    out->shard = certificate->shard.v;
    out->config_epoch = certificate->config_epoch;
    out->term = certificate->term;
    out->index = certificate->index;
    out->timestamp = certificate->timestamp.v;
    out->closed = certificate->closed.v;
    const uint64_t then_us = hlc_wall_us(certificate->timestamp);
    out->age_us = hlc_wall_us(now) > then_us ? hlc_wall_us(now) - then_us : 0;
    header->hlc = now.v;
    header->certificate = out;
    header->served_by = node_self(call->admin->node)->id.v;
    return header;
}

static Lightcone__V1__KeyVersion *version_of(struct admin_call *call,
                                             const struct command_version_row *row) {
    Lightcone__V1__KeyVersion *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__key_version__init(out);
    out->kind = kind_of(row->kind);
    out->timestamp = row->ts.v;
    out->prepared = row->prepared.v;
    out->size = row->size;
    out->value = (ProtobufCBinaryData){row->value.size, admin__alloc(call, row->value.size)};
    if (row->value.size > 0) { memcpy(out->value.data, row->value.data, row->value.size); }
    return out;
}

static void told(struct session_call *session, const struct session_result *result) {
    struct admin_call *call =
        (struct admin_call *)((char *)session - offsetof(struct admin_call, session));
    if (result->status != STATUS_OK) {
        const struct rpc_error error = {.status = result->status, .message = result->detail};
        rpc_fail(call->call, &error);
        return;
    }
    Lightcone__V1__KeyHistoryResponse response = LIGHTCONE__V1__KEY_HISTORY_RESPONSE__INIT;
    struct codec_reader r;
    enum status st = STATUS_OK;
    bool end = false;
    bool more = false;
    codec_reader_init(&r, result->payload);
    response.versions = admin__alloc(call, COMMAND_VERSIONS_MAX * sizeof(*response.versions));
    while (st == STATUS_OK && !end) {
        struct command_version_row row;
        st = command_version_row_decode(&r, &row, &end, &more);
        if (st != STATUS_OK || end) { break; }
        if (response.n_versions == COMMAND_VERSIONS_MAX) { st = STATUS_CORRUPT; }
        if (st == STATUS_OK) { response.versions[response.n_versions++] = version_of(call, &row); }
    }
    if (st != STATUS_OK) {
        admin__fail(call, STATUS_CORRUPT, NULL, "the leader's answer does not decode");
        return;
    }
    response.more = more;
    response.header = header_of(call, &result->certificate);
    admin__reply(call, &response.base);
}

static const struct catalog_keyspace *keyspace_of(struct admin_call *call, const char *name,
                                                  uint32_t id) {
    const struct catalog *catalog = node_core_catalog(admin__core(call));
    return name[0] == '\0' ? catalog_keyspace_by_id(catalog, id)
                           : catalog_keyspace_by_name(catalog, slice_from_string(name));
}

static void start(struct admin_call *call, struct slice key) {
    // A part is kept for the answer: what is waited for may last longer than the client does.
    const uint64_t now = loop_monotonic_ns();
    const uint64_t given = rpc_call_deadline_ns(call->call);
    const uint64_t deadline = given > now ? given - (given - now) / HISTORY_ANSWER_PART : now;
    const uint64_t latest = now + HISTORY_NS;
    call->session = (struct session_call){
        .kind = COMMAND_VERSIONS,
        .key = key,
        .payload = buf_slice(&call->payload),
        .deadline_ns = deadline < latest ? deadline : latest,
        .done = told,
    };
    gateway_start(node_core_gateway(admin__core(call)), &call->session);
}

void admin__key_history(struct admin_call *call) {
    const Lightcone__V1__KeyHistoryRequest *request = (const void *)call->request;
    const struct catalog_keyspace *keyspace =
        keyspace_of(call, request->keyspace, request->keyspace_id);
    if (keyspace == NULL) {
        admin__fail(call, STATUS_NOT_FOUND, "keyspace", "no such keyspace");
        return;
    }
    if (request->key.len > SHARD_USER_KEY_SIZE_MAX) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "key", "a key has at most 4096 bytes");
        return;
    }
    uint8_t *key = admin__alloc(call, SHARD_KEY_SIZE_MAX);
    for (uint32_t i = 0; i < SHARD_KEYSPACE_PREFIX_SIZE; i++) {
        key[i] = (uint8_t)(keyspace->id >> (8 * (SHARD_KEYSPACE_PREFIX_SIZE - 1 - i)));
    }
    if (request->key.len > 0) {
        memcpy(key + SHARD_KEYSPACE_PREFIX_SIZE, request->key.data, request->key.len);
    }
    const struct command_versions versions = {
        .key = slice_make(key, SHARD_KEYSPACE_PREFIX_SIZE + request->key.len),
        .limit = request->limit == 0 ? HISTORY_DEFAULT : request->limit,
        .value_size_max =
            request->value_size_max == 0 ? HISTORY_VALUE_DEFAULT : request->value_size_max};
    struct err err;
    const enum status st = command_versions_check(&versions, &err);
    if (st != STATUS_OK) {
        admin__fail(call, st, NULL, err.message);
        return;
    }
    struct codec_writer w;
    codec_writer_init(&w, &call->payload);
    command_versions_encode(&w, &versions);
    if (w.status != STATUS_OK) {
        admin__fail(call, STATUS_RESOURCE_EXHAUSTED, NULL, "no memory for the request");
        return;
    }
    start(call, versions.key);
}
