// SPDX-License-Identifier: Apache-2.0
// Nodes: a channel each, made when the node is first heard of. Nodes are never forgotten: there are
// few, and a channel without calls costs nothing but its memory.
#include "api/client/client_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <grpc/grpc_security.h>

#include <stdio.h>
#include <string.h>

enum {
    LC_CHANNEL_ARGS_MAX = 20,
    LC_WINDOW_SIZE = 4 << 20,
    LC_KEEPALIVE_MS = 20000,
    LC_KEEPALIVE_TIMEOUT_MS = 10000,
    LC_RECONNECT_MS_MIN = 20,
    LC_CONNECT_MS = 3000,
    LC_RECONNECT_MS_MAX = 1000,
};
static const uint64_t LC_BACKOFF_NS_MIN = UINT64_C(5000000);
static const uint64_t LC_BACKOFF_NS_MAX = UINT64_C(1000000000);
enum { LC_BACKOFF_DOUBLINGS_MAX = 8 };

static size_t lc_arg_int(grpc_arg *args, size_t count, const char *key, int value) {
    ASSERT(count < LC_CHANNEL_ARGS_MAX);
    args[count] = (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key};
    args[count].value.integer = value;
    return count + 1;
}

// What is switched off is switched off for the reasons that api/rpc/core.c gives; retries, because
// this library knows better when a request may be sent again.
// LIMIT: plain text only; there is no way yet to hand in certificates.
grpc_channel *lc__channel_create(const char *address) {
    grpc_arg args[LC_CHANNEL_ARGS_MAX];
    size_t n = 0;
    n = lc_arg_int(args, n, GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    n = lc_arg_int(args, n, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, LC_MESSAGE_SIZE_MAX);
    n = lc_arg_int(args, n, GRPC_ARG_ENABLE_RETRIES, 0);
    n = lc_arg_int(args, n, GRPC_ARG_ENABLE_CHANNELZ, 0);
    n = lc_arg_int(args, n, GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0);
    n = lc_arg_int(args, n, GRPC_ARG_ENABLE_CENSUS, 0);
    n = lc_arg_int(args, n, GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
    n = lc_arg_int(args, n, GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
    n = lc_arg_int(args, n, GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    n = lc_arg_int(args, n, GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
    n = lc_arg_int(args, n, GRPC_ARG_HTTP2_BDP_PROBE, 0);
    n = lc_arg_int(args, n, GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, LC_WINDOW_SIZE);
    n = lc_arg_int(args, n, GRPC_ARG_KEEPALIVE_TIME_MS, LC_KEEPALIVE_MS);
    n = lc_arg_int(args, n, GRPC_ARG_KEEPALIVE_TIMEOUT_MS, LC_KEEPALIVE_TIMEOUT_MS);
    n = lc_arg_int(args, n, GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    n = lc_arg_int(args, n, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, LC_RECONNECT_MS_MIN);
    // Despite its name also the time that one attempt to connect gets.
    n = lc_arg_int(args, n, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, LC_CONNECT_MS);
    n = lc_arg_int(args, n, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, LC_RECONNECT_MS_MAX);
    grpc_channel_args channel_args = {n, args};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(address, credentials, &channel_args);
    grpc_channel_credentials_release(credentials);
    ASSERT(channel != NULL);
    return channel;
}

static struct lc_node *lc_node_make(struct lc_client *self, const char *address) {
    struct lc_node *node = mem_alloc(sizeof(*node));
    node->client = self;
    (void)snprintf(node->address, sizeof(node->address), "%s", address);
    node->channel = lc__channel_create(address);
    node->handles[LC_KIND_READ] =
        grpc_channel_register_call(node->channel, "/lightcone.v1.Data/Read", NULL, NULL);
    node->handles[LC_KIND_COMMIT] =
        grpc_channel_register_call(node->channel, "/lightcone.v1.Data/Commit", NULL, NULL);
    node->handles[LC_KIND_TXN_STATUS] =
        grpc_channel_register_call(node->channel, "/lightcone.v1.Data/TxnStatus", NULL, NULL);
    node->batch_handle =
        grpc_channel_register_call(node->channel, "/lightcone.v1.Data/Batch", NULL, NULL);
    return node;
}

struct lc_node *lc__node(struct lc_client *self, const char *address, uint32_t id) {
    for (uint32_t i = 0; i < self->node_count; i++) {
        struct lc_node *node = self->nodes[i];
        if (strcmp(node->address, address) == 0) {
            if (id != 0) { node->id = id; }
            return node;
        }
    }
    if (self->node_count == LC_NODES_MAX || strlen(address) >= LC_ADDRESS_SIZE) { return NULL; }
    struct lc_node *node = lc_node_make(self, address);
    node->id = id;
    self->nodes[self->node_count++] = node;
    return node;
}

void lc__node_destroy(struct lc_node *self) {
    ASSERT(self->stream == NULL && self->sent == NULL);
    grpc_channel_destroy(self->channel);
    mem_free(self->pending);
    mem_free(self);
}

void lc__node_failed(struct lc_node *self, uint64_t now_ns) {
    uint32_t doublings =
        self->failures < LC_BACKOFF_DOUBLINGS_MAX ? self->failures : LC_BACKOFF_DOUBLINGS_MAX;
    uint64_t backoff_ns = LC_BACKOFF_NS_MIN << doublings;
    if (backoff_ns > LC_BACKOFF_NS_MAX) { backoff_ns = LC_BACKOFF_NS_MAX; }
    self->failures++;
    self->usable_at_ns = now_ns + backoff_ns;
}
