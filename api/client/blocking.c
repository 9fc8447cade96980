// SPDX-License-Identifier: Apache-2.0
// Calls on the caller's thread, with a completion queue of their own: the first map and Admin. They
// are rare; a queue each costs less thought than sharing one.
#include "api/client/admin.h"
#include "api/client/client_internal.h"
#include "api/rpc/core_init.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>

#include <stdio.h>
#include <string.h>

enum { LC_PATH_SIZE = 128, LC_CONNECT_SHARE = 4 };
static const uint64_t LC_MS = UINT64_C(1000000);

struct slice lc__slice(const grpc_slice *slice) {
    return slice_make(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
}

grpc_slice lc__flat(grpc_byte_buffer *buffer) {
    const grpc_slice_buffer *pieces = &buffer->data.raw.slice_buffer;
    if (pieces->count == 1) { return grpc_slice_ref(pieces->slices[0]); }
    grpc_byte_buffer_reader reader;
    int ok = grpc_byte_buffer_reader_init(&reader, buffer);
    ASSERT(ok != 0);
    grpc_slice flat = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return flat;
}

grpc_byte_buffer *lc__byte_buffer(struct slice message) {
    grpc_slice copy = grpc_slice_malloc(message.size);
    if (message.size > 0) { memcpy(GRPC_SLICE_START_PTR(copy), message.data, message.size); }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&copy, 1);
    grpc_slice_unref(copy);
    return buffer;
}

// --- One call ---

struct lc_attempt {
    grpc_call *call;
    grpc_byte_buffer *out;
    grpc_byte_buffer *in;
    grpc_metadata_array initial_metadata;
    grpc_metadata_array trailing_metadata;
    grpc_status_code code;
    grpc_slice details;
};

static void lc_attempt_run(struct lc_attempt *self, grpc_completion_queue *cq) {
    grpc_op ops[6];
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = self->out;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &self->initial_metadata;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &self->in;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &self->trailing_metadata;
    ops[5].data.recv_status_on_client.status = &self->code;
    ops[5].data.recv_status_on_client.status_details = &self->details;
    grpc_call_error error = grpc_call_start_batch(self->call, ops, 6, self, NULL);
    ASSERT(error == GRPC_CALL_OK);
    // The call's own deadline ends it: the receiving of its status always completes.
    grpc_event event =
        grpc_completion_queue_pluck(cq, self, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    ASSERT(event.type == GRPC_OP_COMPLETE);
}

static enum status lc_attempt_result(struct lc_attempt *self, grpc_byte_buffer **out_response,
                                     struct err *err) {
    if (self->code == GRPC_STATUS_OK && self->in != NULL) {
        *out_response = self->in;
        self->in = NULL;
        return STATUS_OK;
    }
    struct lc_error error;
    lc__error_of_call(&self->trailing_metadata, self->code, &self->details, &error);
    if (error.status == STATUS_OK) { error.status = STATUS_CORRUPT; }
    struct slice text = error.message;
    if (text.size == 0) { text = slice_from_string(status_text(error.status)); }
    if (error.field.size > 0) {
        return err_set(err, error.status, "%.*s: %.*s", (int)error.field.size,
                       (const char *)error.field.data, (int)text.size, (const char *)text.data);
    }
    return err_set(err, error.status, "%.*s", (int)text.size, (const char *)text.data);
}

static void lc_cq_end(grpc_completion_queue *cq) {
    grpc_completion_queue_shutdown(cq);
    grpc_completion_queue_destroy(cq);
}

enum status lc__blocking_call(const struct lc_blocking *call, grpc_byte_buffer **out_response,
                              struct err *err) {
    grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
    struct lc_attempt attempt = {.out = lc__byte_buffer(call->request),
                                 .details = grpc_empty_slice()};
    grpc_metadata_array_init(&attempt.initial_metadata);
    grpc_metadata_array_init(&attempt.trailing_metadata);
    grpc_slice method = grpc_slice_from_copied_string(call->path);
    attempt.call = grpc_channel_create_call(call->channel, NULL, 0, cq, method, NULL,
                                            lc__timespec(call->deadline_ns), NULL);
    grpc_slice_unref(method);
    lc_attempt_run(&attempt, cq);
    enum status st = lc_attempt_result(&attempt, out_response, err);
    if (attempt.in != NULL) { grpc_byte_buffer_destroy(attempt.in); }
    grpc_byte_buffer_destroy(attempt.out);
    grpc_metadata_array_destroy(&attempt.initial_metadata);
    grpc_metadata_array_destroy(&attempt.trailing_metadata);
    grpc_slice_unref(attempt.details);
    grpc_call_unref(attempt.call);
    lc_cq_end(cq);
    return st;
}

// --- Admin ---

// Waits until the channel is connected: a change that is not sent need not be feared.
static bool lc_wait_ready(grpc_channel *channel, uint64_t until_ns) {
    grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(channel, 1);
    while (state != GRPC_CHANNEL_READY && state != GRPC_CHANNEL_TRANSIENT_FAILURE &&
           state != GRPC_CHANNEL_SHUTDOWN && lc__now_ns() < until_ns) {
        grpc_channel_watch_connectivity_state(channel, state, lc__timespec(until_ns), cq, cq);
        (void)grpc_completion_queue_pluck(cq, cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        state = grpc_channel_check_connectivity_state(channel, 1);
    }
    lc_cq_end(cq);
    return state == GRPC_CHANNEL_READY;
}

static bool lc_ends_with(const char *text, const char *end) {
    size_t size = strlen(text);
    size_t end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static bool lc_only_reads(const char *method) {
    return lc_ends_with(method, "List") || lc_ends_with(method, "Show") ||
           lc_ends_with(method, "Status") || lc_ends_with(method, "Get") ||
           lc_ends_with(method, "History") || lc_ends_with(method, "Why") ||
           lc_ends_with(method, "Trace");
}

// The call's path is filled in here.
static enum status lc_admin_at(struct lc_blocking *blocking, const struct lc_admin_call *call,
                               ProtobufCMessage **out_response, struct err *err) {
    char path[LC_PATH_SIZE];
    (void)snprintf(path, sizeof(path), "/lightcone.v1.Admin/%s", call->method);
    blocking->path = path;
    grpc_byte_buffer *response = NULL;
    enum status st = lc__blocking_call(blocking, &response, err);
    if (st != STATUS_OK) { return st; }
    grpc_slice flat = lc__flat(response);
    *out_response = protobuf_c_message_unpack(call->response, NULL, GRPC_SLICE_LENGTH(flat),
                                              GRPC_SLICE_START_PTR(flat));
    grpc_slice_unref(flat);
    grpc_byte_buffer_destroy(response);
    if (*out_response == NULL) {
        return err_set(err, STATUS_CORRUPT, "the answer of %s does not decode", call->method);
    }
    return STATUS_OK;
}

// The channels to try, in order: those that are connected first, since waiting for one that hangs
// takes a part of the time. Nodes live as long as the client.
static uint32_t lc_admin_nodes(struct lc_client *self, uint32_t wanted,
                               struct lc_node *out[LC_NODES_MAX]) {
    struct lc_node *others[LC_NODES_MAX];
    uint32_t count = 0;
    uint32_t other_count = 0;
    (void)pthread_mutex_lock(&self->mu);
    for (uint32_t i = 0; i < self->node_count; i++) {
        struct lc_node *node = self->nodes[i];
        if (wanted != 0 && node->id != wanted) { continue; }
        if (grpc_channel_check_connectivity_state(node->channel, 0) == GRPC_CHANNEL_READY) {
            out[count++] = node;
        } else {
            others[other_count++] = node;
        }
    }
    (void)pthread_mutex_unlock(&self->mu);
    for (uint32_t i = 0; i < other_count; i++) {
        out[count++] = others[i];
    }
    return count;
}

static struct slice lc_pack(const ProtobufCMessage *message, uint8_t **out_memory) {
    size_t size = protobuf_c_message_get_packed_size(message);
    *out_memory = mem_alloc(size + 1);
    (void)protobuf_c_message_pack(message, *out_memory);
    return slice_make(*out_memory, size);
}

enum status lc_admin(struct lc_client *self, const struct lc_admin_call *call,
                     ProtobufCMessage **out_response, struct err *err) {
    ASSERT(!lc__is_own_thread(self));
    struct lc_node *nodes[LC_NODES_MAX];
    uint32_t count = lc_admin_nodes(self, call->node, nodes);
    uint32_t timeout_ms = call->timeout_ms == 0 ? self->timeout_ms : call->timeout_ms;
    uint64_t until_ns = lc__now_ns() + timeout_ms * LC_MS;
    uint8_t *memory = NULL;
    struct slice request = lc_pack(call->request, &memory);
    enum status st = err_set(err, STATUS_UNAVAILABLE, "no node can be reached");
    if (count == 0) { st = err_set(err, STATUS_NOT_FOUND, "node %u is not known", call->node); }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t connect_ns = timeout_ms * LC_MS / LC_CONNECT_SHARE;
        if (!lc_wait_ready(nodes[i]->channel, lc__now_ns() + connect_ns)) { continue; }
        struct lc_blocking blocking = {
            .channel = nodes[i]->channel, .request = request, .deadline_ns = until_ns};
        st = lc_admin_at(&blocking, call, out_response, err);
        if (st != STATUS_UNAVAILABLE || !lc_only_reads(call->method)) { break; }
    }
    mem_free(memory);
    return st;
}

enum status lc_admin_direct(const char *address, const struct lc_admin_call *call,
                            ProtobufCMessage **out_response, struct err *err) {
    rpc_core_init();
    grpc_init();
    grpc_channel *channel = lc__channel_create(address);
    uint64_t until_ns = lc__now_ns() + (call->timeout_ms == 0 ? 10000 : call->timeout_ms) * LC_MS;
    uint8_t *memory = NULL;
    struct slice request = lc_pack(call->request, &memory);
    enum status st = STATUS_OK;
    if (!lc_wait_ready(channel, until_ns)) {
        st = err_set(err, STATUS_UNAVAILABLE, "%s cannot be reached", address);
    } else {
        struct lc_blocking blocking = {
            .channel = channel, .request = request, .deadline_ns = until_ns};
        st = lc_admin_at(&blocking, call, out_response, err);
    }
    mem_free(memory);
    grpc_channel_destroy(channel);
    grpc_shutdown();
    return st;
}

// --- Keyspaces ---

static uint32_t lc_keyspace_id(struct lc_client *self, const char *name) {
    uint32_t id = 0;
    (void)pthread_mutex_lock(&self->mu);
    for (uint32_t i = 0; i < self->keyspace_count && id == 0; i++) {
        if (strcmp(self->keyspaces[i].name, name) == 0) { id = self->keyspaces[i].id; }
    }
    (void)pthread_mutex_unlock(&self->mu);
    return id;
}

enum status lc_keyspace(struct lc_client *self, const char *name, uint32_t *out_id,
                        struct err *err) {
    *out_id = lc_keyspace_id(self, name);
    if (*out_id != 0) { return STATUS_OK; }
    Lightcone__V1__MapGetRequest request = LIGHTCONE__V1__MAP_GET_REQUEST__INIT;
    Lightcone__V1__MapGetResponse *response = NULL;
    enum status st = lc_admin_map_get(self, 0, &request, &response, err);
    if (st != STATUS_OK) { return st; }
    for (size_t i = 0; i < response->n_keyspaces && *out_id == 0; i++) {
        if (strcmp(response->keyspaces[i]->name, name) == 0) {
            *out_id = response->keyspaces[i]->id;
        }
    }
    lightcone__v1__map_get_response__free_unpacked(response, NULL);
    // The rest of the new map comes by itself.
    (void)pthread_mutex_lock(&self->mu);
    self->map_wanted = true;
    (void)pthread_mutex_unlock(&self->mu);
    return *out_id != 0 ? STATUS_OK : err_set(err, STATUS_NOT_FOUND, "no keyspace '%s'", name);
}
