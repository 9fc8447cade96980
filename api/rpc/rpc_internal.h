// SPDX-License-Identifier: Apache-2.0
// rpc_internal.h - the structs behind rpc.h, shared by the files of this package only.
// Invariants: a call's reference count is one for the handler (until it finished) plus one per
//             batch of operations in flight; the call returns to its method's pool at zero.
// Ownership:  a method owns its calls; a call owns its grpc_call, its payload and what gathered.
// Thread:     see rpc.h; fields that several threads touch say how they are guarded.
// See:        api/rpc/README.md
#pragma once

#include "api/rpc/rpc.h"

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum rpc_op {
    RPC_OP_ACCEPT,  // a posted accept
    RPC_OP_CLOSE,   // the call is over for the client: ended or cancelled
    RPC_OP_READ,
    RPC_OP_WRITE,
    RPC_OP_FINISH,  // the status went out
    RPC_OP_COUNT
};

// What a completion queue hands back.
struct rpc_tag {
    struct rpc_call *call;
    enum rpc_op op;
};

// One message that came in, as contiguous bytes.
struct rpc_payload {
    grpc_byte_buffer *buffer;
    grpc_slice flat;  // a copy, when the message came in several pieces
    bool has_flat;
};

// Bump allocator for protobuf-c: one chunk chain per call.
struct rpc_chunk {
    struct rpc_chunk *next;
    size_t size;
    _Alignas(max_align_t) uint8_t data[];
};
struct rpc_arena {
    ProtobufCAllocator allocator;
    struct rpc_chunk *chunks;  // newest first
    size_t used;               // of the newest
    size_t total;
};

struct rpc_call {
    struct rpc_server *server;
    struct rpc_slot *slot;
    // Of the free list or of the live streams: guarded by their mutex. Of a poller's replies: its.
    struct rpc_call *next;
    struct rpc_call *previous;  // of the live streams
    bool listed;                // in the live streams; guarded by their mutex
    atomic_bool drained;        // relaxed: only its own order matters
    struct rpc_tag tags[RPC_OP_COUNT];
    struct rpc_poller *poller;
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_call_details details;  // of unknown methods only
    struct rpc_payload payload;
    uint64_t bytes;  // counted in server->bytes_in_flight
    // Released with release order, the last drop acquires: who frees sees all that was done.
    atomic_uint_fast32_t refs;
    atomic_bool cancelled;  // relaxed: a hint
    atomic_bool finishing;  // relaxed: a hint that nobody needs to hear of a cancellation
    int close_cancelled;    // written by the core before RPC_OP_CLOSE completes
    struct rpc_arena arena;

    // Streams: what goes out. guarded by mu, except write_buffer: it is of the write in flight.
    pthread_mutex_t mu;
    struct buf gathered;
    bool metadata_sent;
    bool writing;
    bool broken;  // a write failed: nothing goes out any more
    bool finish_wanted;
    bool finish_started;
    uint64_t writing_since_ns;
    grpc_byte_buffer *write_buffer;
    enum status finish_status;
    struct bytes *finish_detail;   // encoded ErrorDetail, NULL = none
    struct bytes *finish_message;  // text, NULL = none

    _Alignas(max_align_t) uint8_t state[];
};

// One registered method with its pool.
struct rpc_slot {
    struct rpc_server *server;
    struct rpc_method method;
    void *handle;  // of the core; NULL = every method that is not registered
    uint32_t accept_count;
    pthread_mutex_t mu;
    struct rpc_call *free_calls;  // guarded by mu
    uint32_t call_count;          // made so far; guarded by mu
    uint32_t call_count_max;
    uint32_t accepts_missing;  // not posted because the pool was empty; guarded by mu
};

struct rpc_poller {
    struct rpc_server *server;
    grpc_completion_queue *cq;
    pthread_t thread;
    uint32_t index;
    uint32_t burst;  // events since the first call of which burst_end was not told; its thread's
    // What wakes it: see poller.c.
    grpc_channel *lame;
    grpc_call *bell;
    struct rpc_tag bell_tag;
    _Atomic(struct rpc_call *) replies;  // newest first
    atomic_bool asleep;
    atomic_uint_fast32_t ringing;  // threads that are waking it
};

enum { RPC_SERVICE_NAME_SIZE = 128, RPC_WATCHERS_MAX = 1024 };

struct rpc_service {
    char name[RPC_SERVICE_NAME_SIZE];
    bool serving;
};

struct rpc_health {
    pthread_mutex_t mu;  // before call->mu
    struct rpc_service services[RPC_SERVICES_MAX];
    uint32_t service_count;
    struct rpc_watch *watches;
    uint32_t watch_count;
};

struct rpc_server {
    struct rpc_config config;  // address and tls are not kept
    char address[256];
    grpc_server *server;
    void (*burst_end)(void *ctx);  // NULL = nobody is told
    void *burst_ctx;
    struct rpc_slot *slots[RPC_METHODS_MAX + 1];
    uint32_t slot_count;
    struct rpc_poller pollers[RPC_POLLERS_MAX];
    uint16_t port;
    bool started;
    bool stopped;
    struct bytes *descriptors;
    struct rpc_health health;
    // Relaxed counters, but for stopping: released by rpc_stop, acquired by accepts.
    atomic_bool stopping;
    atomic_uint_fast64_t in_flight;
    atomic_uint_fast64_t bytes_in_flight;
    atomic_uint_fast64_t calls;
    atomic_uint_fast64_t refused;
    atomic_uint_fast64_t unknown;
    atomic_uint_fast64_t cancelled;
    pthread_mutex_t mu;        // before call->mu
    pthread_cond_t changed;    // shut_down or in_flight == 0
    struct rpc_call *streams;  // live ones; guarded by mu
    bool shut_down;            // guarded by mu
    struct rpc_tag shutdown_tag;
};

// core.c: the settings of the transport.
enum { RPC_ARGS_MAX = 24 };
size_t rpc__server_args(const struct rpc_config *config, grpc_arg args[RPC_ARGS_MAX]);
grpc_server_credentials *rpc__server_credentials(const struct rpc_tls *tls);

// pool.c: calls and their memory.
struct rpc_slot *rpc__slot_create(struct rpc_server *server, const struct rpc_method *method);
void rpc__slot_destroy(struct rpc_slot *self);
// Posts one more accept on cq, or notes that one is missing.
void rpc__post_accept(struct rpc_slot *self, struct rpc_poller *poller);
// Gives a call back that was never accepted.
void rpc__recycle(struct rpc_call *call);
void rpc__arena_init(struct rpc_arena *self);
// Empties it, but keeps one chunk.
void rpc__arena_reset(struct rpc_arena *self);
void rpc__arena_deinit(struct rpc_arena *self);

// payload.c
// NOT_SUPPORTED for compressed messages. An absent message is INVALID_ARGUMENT.
NODISCARD enum status rpc__payload_view(struct rpc_payload *self, struct slice *out);
void rpc__payload_reset(struct rpc_payload *self);
grpc_byte_buffer *rpc__byte_buffer(struct slice message);

// call.c
void rpc__call_opened(struct rpc_call *call);
void rpc__on_close(struct rpc_call *call);
void rpc__on_read(struct rpc_call *call, bool ok);
// Drops the message that was sent.
void rpc__written(struct rpc_call *call);
void rpc__on_write(struct rpc_call *call, bool ok);
void rpc__refuse(struct rpc_call *call, const struct rpc_error *error);
void rpc__start(struct rpc_call *call, const grpc_op *ops, size_t count, enum rpc_op op);

// Starts the end of a call that rpc_reply_later left with its poller.
void rpc__reply_now(struct rpc_call *call);

// poller.c
void rpc__poller_init(struct rpc_poller *self, struct rpc_server *server, uint32_t index);
// After the last call; its thread ends.
void rpc__poller_shutdown(struct rpc_poller *self);
void rpc__poller_deinit(struct rpc_poller *self);
void *rpc__poll(void *poller);
// Leaves a call that has been answered with its poller, which has to be woken.
void rpc__poller_push(struct rpc_poller *self, struct rpc_call *call);

// server.c
void rpc__on_accept(struct rpc_call *call, bool ok);

// streams.c: the list of live streams.
void rpc__stream_add(struct rpc_call *call);
void rpc__stream_remove(struct rpc_call *call);
// Tells the handler that the server stops; once.
void rpc__stream_drain(struct rpc_call *call);
void rpc__streams_drain(struct rpc_server *server);
// Cancels streams whose deadline passed or whose reader stopped reading.
void rpc__streams_sweep(struct rpc_server *server, uint64_t now_ns);

// health.c, reflection.c: the services every server has.
void rpc__health_init(struct rpc_server *server);
void rpc__health_deinit(struct rpc_server *server);
// Knows the service of a method path.
void rpc__health_add(struct rpc_server *server, const char *path);
void rpc__health_register(struct rpc_server *server);
void rpc__reflection_register(struct rpc_server *server);

// descriptors.c: questions to a serialized FileDescriptorSet.
struct rpc_files {
    struct slice set;
};
// The file (a serialized FileDescriptorProto) of that name, or with that symbol; empty = none.
struct slice rpc__file_by_name(const struct rpc_files *self, struct slice name);
struct slice rpc__file_by_symbol(const struct rpc_files *self, struct slice symbol);
// Calls visit for each imported file name.
void rpc__file_imports(struct slice file, void (*visit)(void *ctx, struct slice name), void *ctx);
// Calls visit for each service of each file with its full name.
void rpc__file_services(const struct rpc_files *self, void (*visit)(void *ctx, struct slice name),
                        void *ctx);
