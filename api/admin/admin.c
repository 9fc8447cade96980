// SPDX-License-Identifier: Apache-2.0
// admin.c - the table of methods, and the way of a call: decode on a poller, run on the loop, reply
// from there.

#include "api/admin/admin.h"

#include "api/admin/admin_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/loop/clock.h"

#include <string.h>

enum { ADMIN_RETRY_MS = 50 };
#define ADMIN_WAIT_NS UINT64_C(5000000000)

static const struct admin_method ADMIN_METHODS[] = {
    {"/lightcone.v1.Admin/ClusterInit", &lightcone__v1__cluster_init_request__descriptor,
     admin__cluster_init, true},
    {"/lightcone.v1.Admin/ClusterStatus", &lightcone__v1__cluster_status_request__descriptor,
     admin__cluster_status, true},
    {"/lightcone.v1.Admin/NodeList", &lightcone__v1__node_list_request__descriptor,
     admin__node_list, false},
    {"/lightcone.v1.Admin/NodeShow", &lightcone__v1__node_show_request__descriptor,
     admin__node_show, false},
    {"/lightcone.v1.Admin/NodeSkew", &lightcone__v1__node_skew_request__descriptor,
     admin__node_skew, false},
    {"/lightcone.v1.Admin/KeyspaceCreate", &lightcone__v1__keyspace_create_request__descriptor,
     admin__keyspace_create, false},
    {"/lightcone.v1.Admin/KeyspaceList", &lightcone__v1__keyspace_list_request__descriptor,
     admin__keyspace_list, false},
    {"/lightcone.v1.Admin/ShardList", &lightcone__v1__shard_list_request__descriptor,
     admin__shard_list, false},
    {"/lightcone.v1.Admin/ShardShow", &lightcone__v1__shard_show_request__descriptor,
     admin__shard_show, false},
    {"/lightcone.v1.Admin/ShardPlace", &lightcone__v1__shard_place_request__descriptor,
     admin__shard_place, false},
    {"/lightcone.v1.Admin/ShardCancel", &lightcone__v1__shard_cancel_request__descriptor,
     admin__shard_cancel, false},
    {"/lightcone.v1.Admin/ShardTransferLeader",
     &lightcone__v1__shard_transfer_leader_request__descriptor, admin__shard_transfer_leader,
     false},
    {"/lightcone.v1.Admin/TxnList", &lightcone__v1__txn_list_request__descriptor, admin__txn_list,
     false},
    {"/lightcone.v1.Admin/TxnWhy", &lightcone__v1__txn_why_request__descriptor, admin__txn_why,
     false},
    {"/lightcone.v1.Admin/TxnTrace", &lightcone__v1__txn_trace_request__descriptor,
     admin__txn_trace, false},
    {"/lightcone.v1.Admin/KeyHistory", &lightcone__v1__key_history_request__descriptor,
     admin__key_history, false},
    {"/lightcone.v1.Admin/MapGet", &lightcone__v1__map_get_request__descriptor, admin__map_get,
     false},
    {"/lightcone.v1.Admin/DevBlock", &lightcone__v1__dev_block_request__descriptor,
     admin__dev_block, false},
    {"/lightcone.v1.Admin/DevClock", &lightcone__v1__dev_clock_request__descriptor,
     admin__dev_clock, false},
};
enum { ADMIN_METHOD_COUNT = sizeof(ADMIN_METHODS) / sizeof(ADMIN_METHODS[0]) };

// What rpc hands back with a call: the service and the method.
struct admin_binding {
    struct admin *admin;
    const struct admin_method *method;
};

struct admin_owner {
    struct admin admin;
    struct admin_binding bindings[ADMIN_METHOD_COUNT];
};

void admin__fail(struct admin_call *call, enum status st, const char *field, const char *message) {
    struct rpc_error error = {.status = st, .field = field, .message = slice_from_string(message)};
    if (st == STATUS_OVERLOADED) { error.retry_after_ms = ADMIN_RETRY_MS; }
    rpc_fail(call->call, &error);
}

void admin__reply(struct admin_call *call, const ProtobufCMessage *response) {
    size_t size = protobuf_c_message_get_packed_size(response);
    uint8_t *bytes = mem_alloc(size + 1);
    size_t packed = protobuf_c_message_pack(response, bytes);
    ASSERT(packed == size);
    rpc_reply(call->call, slice_make(bytes, size));
    mem_free(bytes);
}

void admin__wait(struct admin_call *call, bool (*is_ready)(struct admin_call *call),
                 void (*finish)(struct admin_call *call)) {
    call->is_ready = is_ready;
    call->finish = finish;
    call->deadline_ns = loop_monotonic_ns() + ADMIN_WAIT_NS;
    call->next = call->admin->waiting;
    call->admin->waiting = call;
}

void admin_turn(struct admin *self) {
    struct admin_call **link = &self->waiting;
    while (*link != NULL) {
        struct admin_call *call = *link;
        if (!call->is_ready(call) && loop_monotonic_ns() < call->deadline_ns) {
            link = &call->next;
            continue;
        }
        *link = call->next;
        call->finish(call);
    }
}

struct node_core *admin__core(const struct admin_call *call) {
    return node_core_get(call->admin->node);
}

static bool is_current(struct admin_call *call) {
    return node_core_is_current(admin__core(call));
}

static void on_loop(struct loop_task *task) {
    struct admin_call *call =
        (struct admin_call *)((char *)task - offsetof(struct admin_call, task));
    if (admin__core(call) == NULL && !call->method->without_core) {
        admin__fail(call, STATUS_FAILED_PRECONDITION, NULL,
                    "this node has not joined a cluster yet: run `lightcone cluster init` once");
        return;
    }
    // A catalogue that may be old would deny what exists.
    if (!call->method->without_core && !is_current(call)) {
        admin__wait(call, is_current, call->method->run);
        return;
    }
    call->method->run(call);
}

static void on_start(void *ctx, struct rpc_call *rpc, struct slice request) {
    const struct admin_binding *binding = ctx;
    struct admin_call *call = rpc_call_state(rpc);
    call->admin = binding->admin;
    call->method = binding->method;
    call->call = rpc;
    buf_init(&call->payload, 1 << 20);
    call->request = protobuf_c_message_unpack(call->method->request, rpc_call_allocator(rpc),
                                              request.size, request.data);
    if (call->request == NULL) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "request",
                    "the request is no valid protobuf message of its type");
        return;
    }
    call->task.run = on_loop;
    enum status st = loop_post(node_loop(call->admin->node), &call->task);
    if (st != STATUS_OK) {
        admin__fail(call, STATUS_OVERLOADED, NULL, "the node's mailbox is full");
    }
}

static void on_released(void *ctx, struct rpc_call *rpc) {
    (void)ctx;
    buf_deinit(&((struct admin_call *)rpc_call_state(rpc))->payload);
}

static const struct rpc_handler ADMIN_HANDLER = {.start = on_start, .released = on_released};

struct admin *admin_create(struct node *node, bool dev) {
    struct admin_owner *owner = mem_alloc(sizeof(*owner));
    owner->admin.node = node;
    owner->admin.dev = dev;
    for (size_t i = 0; i < ADMIN_METHOD_COUNT; i++) {
        owner->bindings[i] = (struct admin_binding){&owner->admin, &ADMIN_METHODS[i]};
    }
    return &owner->admin;
}

void admin_destroy(struct admin *self) {
    ASSERT(self->waiting == NULL);
    mem_free(self);  // the first member of its owner
}

void admin_register(struct admin *self, struct rpc_server *server) {
    struct admin_owner *owner = (struct admin_owner *)self;
    for (size_t i = 0; i < ADMIN_METHOD_COUNT; i++) {
        struct rpc_method method = {
            .path = ADMIN_METHODS[i].path,
            .kind = RPC_UNARY,
            .state_size = sizeof(struct admin_call),
            .handler = &ADMIN_HANDLER,
            .ctx = &owner->bindings[i],
        };
        rpc_register(server, &method);
    }
}
