// SPDX-License-Identifier: Apache-2.0
// From our statuses to gRPC's codes. The code tells generic clients how to behave (UNAVAILABLE: try
// elsewhere, ABORTED: start over); what exactly happened is in the ErrorDetail.
#include "api/rpc/rpc.h"
#include "dataplane/base/assert.h"

#include <grpc/status.h>

#include <string.h>

static grpc_status_code rpc_status_code(enum status st) {
    switch (st) {
    case STATUS_OK:
        return GRPC_STATUS_OK;
    case STATUS_INVALID_ARGUMENT:
        return GRPC_STATUS_INVALID_ARGUMENT;
    case STATUS_NOT_FOUND:
        return GRPC_STATUS_NOT_FOUND;
    case STATUS_ALREADY_EXISTS:
        return GRPC_STATUS_ALREADY_EXISTS;
    case STATUS_CONDITION_FAILED:
    case STATUS_FAILED_PRECONDITION:
    case STATUS_CLOCK_AHEAD:
        return GRPC_STATUS_FAILED_PRECONDITION;
    case STATUS_ABORTED_RETRY:
        return GRPC_STATUS_ABORTED;
    case STATUS_NOT_LEADER:
    case STATUS_STALE_SHARD_MAP:
    case STATUS_UNAVAILABLE:
        return GRPC_STATUS_UNAVAILABLE;
    case STATUS_OVERLOADED:
    case STATUS_RESOURCE_EXHAUSTED:
    case STATUS_NO_SPACE:
        return GRPC_STATUS_RESOURCE_EXHAUSTED;
    case STATUS_DEADLINE_EXCEEDED:
        return GRPC_STATUS_DEADLINE_EXCEEDED;
    case STATUS_UNKNOWN_OUTCOME:
        return GRPC_STATUS_UNKNOWN;
    case STATUS_SNAPSHOT_TOO_OLD:
        return GRPC_STATUS_OUT_OF_RANGE;
    case STATUS_NOT_SUPPORTED:
        return GRPC_STATUS_UNIMPLEMENTED;
    case STATUS_CORRUPT:
        return GRPC_STATUS_DATA_LOSS;
    case STATUS_CANCELLED:
        return GRPC_STATUS_CANCELLED;
    case STATUS_WRONG_CLUSTER:
        return GRPC_STATUS_PERMISSION_DENIED;
    case STATUS_IO:
    case STATUS_COUNT:
        return GRPC_STATUS_INTERNAL;
    }
    return GRPC_STATUS_INTERNAL;
}

int rpc_code(enum status st) {
    return (int)rpc_status_code(st);
}

void rpc_error_encode(struct proto_writer *w, const struct rpc_error *error) {
    ASSERT(error->status != STATUS_OK);
    struct slice text = error->message;
    if (text.size == 0) { text = slice_from_string(status_text(error->status)); }
    proto_put_bytes(w, 1, slice_from_string(status_name(error->status)));
    if (error->field != NULL) { proto_put_bytes(w, 2, slice_from_string(error->field)); }
    proto_put_uint(w, 3, error->limit);
    proto_put_bytes(w, 4, error->txn_id);
    proto_put_uint(w, 5, error->leader_node);
    if (error->leader_address != NULL) {
        proto_put_bytes(w, 6, slice_from_string(error->leader_address));
    }
    proto_put_uint(w, 7, error->retry_after_ms);
    proto_put_bytes(w, 8, text);
    proto_put_uint(w, 9, status_is_retryable(error->status) ? 1 : 0);
    proto_put_bytes(w, 10, error->key);
    proto_put_bytes(w, 11, error->holder);
}
