// SPDX-License-Identifier: Apache-2.0
// One gRPC call an attempt (LC_UNARY), and the looks at the shard map, which are calls of the same
// kind in both modes. All six operations go in one batch: one completion a call.
#include "api/client/client_internal.h"
#include "dataplane/base/mem.h"

#include <grpc/slice.h>

#include <string.h>

static const uint64_t LC_MAP_TIMEOUT_NS = UINT64_C(2000000000);

static struct lc_unary *lc_unary_make(struct lc_node *node, void *handle, enum lc_event event,
                                      uint64_t deadline_ns) {
    struct lc_client *self = node->client;
    struct lc_unary *unary = mem_alloc(sizeof(*unary));
    unary->client = self;
    unary->tag = (struct lc_tag){.event = event, .owner = unary};
    unary->details = grpc_empty_slice();
    grpc_metadata_array_init(&unary->initial_metadata);
    grpc_metadata_array_init(&unary->trailing_metadata);
    unary->call = grpc_channel_create_registered_call(node->channel, NULL, 0, self->cq, handle,
                                                      lc__timespec(deadline_ns), NULL);
    unary->next = self->unaries;
    if (unary->next != NULL) { unary->next->previous = unary; }
    self->unaries = unary;
    return unary;
}

static void lc_unary_free(struct lc_unary *unary) {
    struct lc_client *self = unary->client;
    (void)pthread_mutex_lock(&self->mu);
    if (unary->previous != NULL) {
        unary->previous->next = unary->next;
    } else {
        self->unaries = unary->next;
    }
    if (unary->next != NULL) { unary->next->previous = unary->previous; }
    (void)pthread_mutex_unlock(&self->mu);
    grpc_byte_buffer_destroy(unary->out);
    if (unary->in != NULL) { grpc_byte_buffer_destroy(unary->in); }
    grpc_metadata_array_destroy(&unary->initial_metadata);
    grpc_metadata_array_destroy(&unary->trailing_metadata);
    grpc_slice_unref(unary->details);
    grpc_call_unref(unary->call);
    mem_free(unary);
}

static void lc_unary_start(struct lc_unary *unary) {
    grpc_op ops[6];
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = unary->out;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &unary->initial_metadata;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &unary->in;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &unary->trailing_metadata;
    ops[5].data.recv_status_on_client.status = &unary->code;
    ops[5].data.recv_status_on_client.status_details = &unary->details;
    lc__start_batch(unary->call, ops, 6, &unary->tag);
}

void lc__unary_send(struct lc_node *node, struct lc_request *request, uint64_t now_ns) {
    struct lc_client *self = node->client;
    if (!lc__may_start(self)) { return; }  // lc_close ends it
    uint64_t left_ns = request->deadline_ns > now_ns ? request->deadline_ns - now_ns : 1;
    struct lc_unary *unary = lc_unary_make(node, node->handles[request->kind], LC_EVENT_UNARY,
                                           now_ns + left_ns - left_ns / 8);
    unary->slot = request->slot;
    unary->generation = request->generation;
    unary->out = lc__byte_buffer(buf_slice(&request->body));
    request->unary = unary;
    request->handed = true;
    (void)pthread_mutex_unlock(&self->mu);
    lc_unary_start(unary);
    lc__started(self);
    (void)pthread_mutex_lock(&self->mu);
}

static void lc_unary_failed(struct lc_unary *unary, struct lc_request *request) {
    struct lc_client *self = unary->client;
    struct lc_error error;
    lc__error_of_call(&unary->trailing_metadata, unary->code, &unary->details, &error);
    // Without a detail the status is not the node's word: a commit may have arrived.
    bool told = lc__was_told(&unary->trailing_metadata);
    if (!told && request->kind == LC_KIND_COMMIT) { request->maybe_applied = true; }
    (void)pthread_mutex_lock(&self->mu);
    if (!told && request->node != NULL) { lc__node_failed(request->node, lc__now_ns()); }
    bool over = lc__attempt_ended(request, &error);
    (void)pthread_mutex_unlock(&self->mu);
    if (!over) { return; }
    struct lc_result result = lc__result_of(&error);
    if (request->maybe_applied) { result.status = STATUS_UNKNOWN_OUTCOME; }
    lc__request_end(request, &result);
}

static void lc_unary_answered(struct lc_unary *unary, struct lc_request *request) {
    struct lc_client *self = unary->client;
    struct lc_result result = {.outcome = LC_COMMITTED, .status = STATUS_OK};
    grpc_slice flat = lc__flat(unary->in);
    enum status st = lc__decode_response(&self->rows, request->kind, lc__slice(&flat), &result);
    (void)pthread_mutex_lock(&self->mu);
    if (request->node != NULL) { request->node->failures = 0; }
    lc__note_result(self, &result);
    lc__request_detach(request);
    (void)pthread_mutex_unlock(&self->mu);
    if (st == STATUS_OK) {
        lc__request_end(request, &result);
    } else {
        request->maybe_applied = true;
        lc__request_end_status(request, st, "the answer does not decode");
    }
    grpc_slice_unref(flat);
}

void lc__on_unary(struct lc_unary *unary) {
    struct lc_client *self = unary->client;
    (void)pthread_mutex_lock(&self->mu);
    struct lc_request *request = lc__request_of(self, unary->slot, unary->generation);
    (void)pthread_mutex_unlock(&self->mu);
    // No request: its deadline passed before.
    if (request != NULL && unary->code == GRPC_STATUS_OK && unary->in != NULL) {
        lc_unary_answered(unary, request);
    } else if (request != NULL) {
        lc_unary_failed(unary, request);
    }
    lc_unary_free(unary);
}

// --- The map ---

void lc__map_ask(struct lc_client *self, uint64_t now_ns) {
    if (self->map_asked || self->node_count == 0 || !lc__may_start(self)) { return; }
    struct lc_node *node = NULL;
    for (uint32_t i = 0; i < self->node_count; i++) {
        node = self->nodes[self->map_rotor++ % self->node_count];
        if (node->usable_at_ns <= now_ns) { break; }
    }
    void *handle =
        grpc_channel_register_call(node->channel, "/lightcone.v1.Admin/MapGet", NULL, NULL);
    struct lc_unary *unary = lc_unary_make(node, handle, LC_EVENT_MAP, now_ns + LC_MAP_TIMEOUT_NS);
    unary->out = lc__byte_buffer(SLICE_EMPTY);
    self->map_asked = true;
    self->map_wanted = false;
    self->map_at_ns = now_ns;
    (void)pthread_mutex_unlock(&self->mu);
    lc_unary_start(unary);
    lc__started(self);
    (void)pthread_mutex_lock(&self->mu);
}

void lc__on_map(struct lc_unary *unary) {
    struct lc_client *self = unary->client;
    (void)pthread_mutex_lock(&self->mu);
    self->map_asked = false;
    bool taken = false;
    if (unary->code == GRPC_STATUS_OK && unary->in != NULL) {
        grpc_slice flat = lc__flat(unary->in);
        taken = lc__map_take(self, lc__slice(&flat)) == STATUS_OK;
        grpc_slice_unref(flat);
    }
    if (!taken) { self->map_wanted = true; }
    (void)pthread_mutex_unlock(&self->mu);
    lc_unary_free(unary);
}
