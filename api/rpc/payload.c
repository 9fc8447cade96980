// SPDX-License-Identifier: Apache-2.0
// Messages in and out. A message that arrived in one piece (nearly all) is looked at where it lies;
// only one in several pieces is copied. Out, the bytes are copied once into a block of the core:
// handing over our own memory instead would cost the same allocation for the reference count.
#include "api/rpc/rpc_internal.h"
#include "dataplane/base/assert.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>

#include <string.h>

enum status rpc__payload_view(struct rpc_payload *self, struct slice *out) {
    if (self->buffer == NULL) { return STATUS_INVALID_ARGUMENT; }
    if (self->buffer->data.raw.compression != GRPC_COMPRESS_NONE) { return STATUS_NOT_SUPPORTED; }
    grpc_slice_buffer *pieces = &self->buffer->data.raw.slice_buffer;
    if (pieces->count == 0) {
        *out = SLICE_EMPTY;
        return STATUS_OK;
    }
    grpc_slice *whole = &pieces->slices[0];
    if (pieces->count > 1) {
        grpc_byte_buffer_reader reader;
        int ok = grpc_byte_buffer_reader_init(&reader, self->buffer);
        ASSERT(ok != 0);
        self->flat = grpc_byte_buffer_reader_readall(&reader);
        self->has_flat = true;
        grpc_byte_buffer_reader_destroy(&reader);
        whole = &self->flat;
    }
    *out = slice_make(GRPC_SLICE_START_PTR(*whole), GRPC_SLICE_LENGTH(*whole));
    return STATUS_OK;
}

void rpc__payload_reset(struct rpc_payload *self) {
    if (self->has_flat) { grpc_slice_unref(self->flat); }
    if (self->buffer != NULL) { grpc_byte_buffer_destroy(self->buffer); }
    self->has_flat = false;
    self->buffer = NULL;
}

grpc_byte_buffer *rpc__byte_buffer(struct slice message) {
    grpc_slice copy = grpc_slice_malloc(message.size);
    if (message.size > 0) { memcpy(GRPC_SLICE_START_PTR(copy), message.data, message.size); }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&copy, 1);
    grpc_slice_unref(copy);
    return buffer;
}
