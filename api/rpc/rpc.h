// SPDX-License-Identifier: Apache-2.0
// rpc.h - a gRPC server over the C core: methods are registered, calls are pooled, replies may be
//         given from any thread.
// Invariants: I1 each accepted call is answered exactly once. I2 beyond calls_max or bytes_max a
//             call is refused at once with OVERLOADED and a time to retry. I3 a stream has at most
//             one write in flight; what is sent meanwhile gathers, up to stream_bytes_max, and goes
//             as one message. I4 a message given to a handler stays valid until released().
// Ownership:  the server owns calls and their state; a handler holds one reference of a call from
//             start() until rpc_reply, rpc_finish or rpc_fail.
// Thread:     handlers run on poller threads; replying, sending and reading on: any thread, one at
//             a time per call and direction. create, start, stop, destroy: the owner.
// See:        api/rpc/README.md; tests/unit/api/rpc
#pragma once

#include "api/proto/wire.h"
#include "dataplane/base/err.h"
#include "dataplane/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct rpc_server;
struct rpc_call;
struct ProtobufCAllocator;

enum {
    RPC_POLLERS_MAX = 8,
    RPC_METHODS_MAX = 128,
    RPC_SERVICES_MAX = 16,
    RPC_MESSAGE_SIZE_MAX = 17 << 20,  // a commit at its limit, and its envelope
};

// --- Errors ---

// The typed reason of a failure, sent as lightcone.v1.ErrorDetail. Only status must be set.
struct rpc_error {
    enum status status;
    const char *field;  // INVALID_ARGUMENT: path of the field; NULL = none
    uint64_t limit;     // the bound that was passed; 0 = none
    struct slice txn_id;
    struct slice key;     // ABORTED_RETRY: in conflict, as the client named it
    struct slice holder;  // ABORTED_RETRY: id of the transaction in the way
    uint32_t leader_node;
    const char *leader_address;
    uint32_t retry_after_ms;
    struct slice message;  // empty = the text of the status
};

// The gRPC status code of a status.
int rpc_code(enum status st);
// Appends the fields of an ErrorDetail.
void rpc_error_encode(struct proto_writer *w, const struct rpc_error *error);

// --- Methods ---

enum rpc_kind { RPC_UNARY, RPC_SERVER_STREAM, RPC_BIDI_STREAM, RPC_KIND_COUNT };

// What a method does. start is required, the others may be NULL. ctx is the method's.
struct rpc_handler {
    // A call came in: with its request, or (bidirectional) before its first message.
    void (*start)(void *ctx, struct rpc_call *call, struct slice request);
    // Bidirectional: the next message, asked for by rpc_read. Valid until rpc_read is called again.
    void (*message)(void *ctx, struct rpc_call *call, struct slice message);
    // Bidirectional: an rpc_read found that the client sends no more.
    void (*half_closed)(void *ctx, struct rpc_call *call);
    // Streams: nothing is in flight any more. Not called after the stream broke.
    void (*writable)(void *ctx, struct rpc_call *call);
    // The client is gone, or time is up; at most once. Finish the call soon; what is sent is
    // dropped. It may run while another thread is finishing the call.
    void (*cancelled)(void *ctx, struct rpc_call *call);
    // Streams: the server stops. End the call when convenient; later it is cancelled. At most once,
    // after start; it runs on the thread of rpc_stop, perhaps beside the poller's.
    void (*drain)(void *ctx, struct rpc_call *call);
    // The last reference is gone: free what the state holds.
    void (*released)(void *ctx, struct rpc_call *call);
};

struct rpc_method {
    const char *path;  // "/lightcone.v1.Data/Read"; borrowed until destroy
    enum rpc_kind kind;
    // Unary: whether a client that goes away is noticed before the reply (costs about 1 us a call);
    // otherwise cancelled is never called. Streams notice always.
    bool watch_cancel;
    size_t state_size;  // bytes of state that each call has for the handler
    const struct rpc_handler *handler;
    void *ctx;
};

// --- The server ---

struct rpc_tls {
    const char *certificate_pem;  // chain of this server
    const char *key_pem;
    const char
        *client_ca_pem;  // clients must show a certificate that it signed; NULL = they need none
};

struct rpc_config {
    const char *address;        // "127.0.0.1:7301", "[::1]:0"
    uint32_t poller_count;      // 1 to RPC_POLLERS_MAX; 0 = 1
    uint32_t accept_count;      // accepts kept posted per method; 0 = 16
    uint32_t calls_max;         // in flight; 0 = 16384
    uint64_t bytes_max;         // of requests in flight; 0 = 256 MiB
    size_t stream_bytes_max;    // gathered per stream; 0 = 32 MiB
    uint32_t streams_max;       // concurrent calls per connection; 0 = 4096
    uint32_t retry_after_ms;    // told to whom is refused; 0 = 50
    const struct rpc_tls *tls;  // NULL = plain text; borrowed for the call of rpc_create
    struct slice descriptors;  // serialized FileDescriptorSet for reflection; empty = no reflection
};

// Binds the address: UNAVAILABLE when it cannot be had, INVALID_ARGUMENT for TLS files that do not
// fit.
NODISCARD enum status rpc_create(const struct rpc_config *config, struct rpc_server **out_server,
                                 struct err *err);
// Before rpc_start. Copies the method, borrows its handler.
void rpc_register(struct rpc_server *self, const struct rpc_method *method);
// Before rpc_start. burst_end is told on a poller when the calls that came together have all been
// handed to their handlers, before it sleeps: the time to wake whoever works on them.
void rpc_set_burst_end(struct rpc_server *self, void (*burst_end)(void *ctx), void *ctx);
// Serves.
void rpc_start(struct rpc_server *self);
// The bound port.
uint16_t rpc_port(const struct rpc_server *self);
// Refuses what is new, lets calls end for drain_ms, cancels the rest, waits for their handlers to
// finish them, and ends the pollers. Whoever finishes calls (loops) must still be running.
void rpc_stop(struct rpc_server *self, uint32_t drain_ms);
// After rpc_stop, or before rpc_start. NULL is allowed.
void rpc_destroy(struct rpc_server *self);

// grpc.health.v1: the status of a service ("" = the server), any thread. Services of registered
// methods and "" are known, and NOT_SERVING at first.
void rpc_health_set(struct rpc_server *self, const char *service, bool serving);

struct rpc_stats {
    uint64_t calls;      // accepted
    uint64_t refused;    // by calls_max or bytes_max
    uint64_t unknown;    // methods that do not exist
    uint64_t cancelled;  // noticed before the end
    uint64_t in_flight;
    uint64_t bytes_in_flight;
};
void rpc_stats(const struct rpc_server *self, struct rpc_stats *out);

// --- A call ---

// The handler's state, zeroed before start.
void *rpc_call_state(struct rpc_call *call);
struct rpc_server *rpc_call_server(const struct rpc_call *call);
// The call of a state.
struct rpc_call *rpc_call_of(void *state);
// Monotonic nanoseconds; UINT64_MAX = the client named none.
uint64_t rpc_call_deadline_ns(const struct rpc_call *call);
// Whether the client is known to be gone.
bool rpc_call_is_cancelled(const struct rpc_call *call);
// More references, for tasks that outlive the reply.
void rpc_call_ref(struct rpc_call *call);
void rpc_call_unref(struct rpc_call *call);
// Memory for decoding, at most 64 MiB, freed with the call. Poller thread, before the reply.
struct ProtobufCAllocator *rpc_call_allocator(struct rpc_call *call);

// Unary: the answer. Consumes the handler's reference.
void rpc_reply(struct rpc_call *call, struct slice message);
// The same from a thread that answers many calls at a time: the answer goes with the next
// rpc_replies_flush at the latest.
void rpc_reply_later(struct rpc_call *call, struct slice message);
void rpc_replies_flush(struct rpc_server *self);
// Any kind: an error ends the call after what was gathered. Consumes the handler's reference.
void rpc_fail(struct rpc_call *call, const struct rpc_error *error);
// Streams: the good end, after what was gathered. Consumes the handler's reference.
void rpc_finish(struct rpc_call *call);

// Streams: adds bytes to the message that gathers. Encoded protobuf messages put behind one another
// are one message with their repeated fields joined, hence replies may be added piece by piece.
// RESOURCE_EXHAUSTED beyond stream_bytes_max (nothing was added).
NODISCARD enum status rpc_gather(struct rpc_call *call, struct slice bytes);
// Sends what gathered, unless a write is in flight: then it goes when that ends.
void rpc_flush(struct rpc_call *call);
// Bytes gathered and not yet handed to the transport.
size_t rpc_gathered(struct rpc_call *call);
// Bidirectional: asks for the next message. One at a time.
void rpc_read(struct rpc_call *call);
