// SPDX-License-Identifier: Apache-2.0
// client_internal.h - the structs behind lightcone.h.
// Invariants: a request is FREE, SENT (in its node's list, its attempt's answer is awaited) or
//             WAITING (for its next attempt); its timer is in the heap unless it is FREE.
// Ownership:  the client owns requests, nodes and streams; nodes live as long as the client.
// Thread:     everything is guarded by client->mu unless the field says otherwise. Batches of the
//             core are started without it: `starting` counts them, so that lc_close can wait.
// See:        api/client/README.md
#pragma once

#include "api/client/lightcone.h"
#include "api/proto/wire.h"
#include "dataplane/base/heap.h"
#include "dataplane/base/prng.h"
#include "dataplane/shard/shard_map.h"

#include <grpc/grpc.h>

#include <pthread.h>
#include <stdatomic.h>

enum {
    LC_NODES_MAX = 80,
    LC_ADDRESS_SIZE = 256,
    LC_MESSAGE_SIZE_MAX = 20 << 20,
    LC_MESSAGE_ITEMS_MAX = 2048,         // of one Batch message
    LC_MESSAGE_SIZE_SOFT_MAX = 4 << 20,  // a message ends with the item that passes it
    LC_TEXT_SIZE_MAX = 1024,
};

// The numbers are the fields of BatchItem and BatchReply.
enum lc_kind { LC_KIND_READ = 3, LC_KIND_COMMIT = 4, LC_KIND_TXN_STATUS = 5, LC_KIND_COUNT = 6 };

enum lc_event {
    LC_EVENT_STREAM_WRITTEN,
    LC_EVENT_STREAM_READ,
    LC_EVENT_STREAM_INITIAL,
    LC_EVENT_STREAM_ENDED,
    LC_EVENT_UNARY,
    LC_EVENT_MAP,
    LC_EVENT_CONNECT,  // the state of a channel changed, or is to be looked at again
    LC_EVENT_WAKE,
};
struct lc_tag {
    enum lc_event event;
    void *owner;  // struct lc_stream, lc_unary or lc_node
    // Released when the batch starts, acquired with its completion. The core orders the two as
    // well, but a race detector does not see into it.
    atomic_uint order;
};

enum lc_state { LC_FREE, LC_SENT, LC_WAITING };

struct lc_request {
    struct heap_node timer;  // deadline, or earlier next attempt
    struct lc_client *client;
    uint32_t slot;
    uint32_t generation;  // of the attempt; answers to others do not match
    enum lc_kind kind;
    enum lc_state state;
    struct lc_node *node;         // SENT: where to
    struct lc_request *next;      // of the node's list, or of the free list
    struct lc_request *previous;  // of the node's list
    struct lc_request *next_done;
    uint64_t deadline_ns;
    uint64_t retry_at_ns;
    struct buf body;   // the encoded ReadRequest, CommitRequest or TxnStatusRequest
    struct buf route;  // full key by which it is routed
    struct buf low;    // smallest and largest full key touched; empty = that one alone
    struct buf high;
    uint8_t txn[LC_TXN_ID_SIZE];
    uint32_t attempts;
    bool maybe_applied;   // an attempt ended without an answer
    bool any_replica;     // a read that need not go to the leader
    bool by_unary;        // also in batch mode
    bool abort_is_final;  // a commit that depends on reads: ABORTED_RETRY ends it
    enum status last_status;
    struct lc_unary *unary;  // LC_UNARY: the attempt's call
    bool handed;             // the attempt was given to the transport
    uint64_t hlc;            // the client's when the request was made
    uint64_t session;        // likewise
    lc_done_fn done;
    void *ctx;
};

// One Batch stream.
struct lc_stream {
    struct lc_client *client;
    struct lc_node *node;
    grpc_call *call;
    uint32_t ops;  // batches that have not completed
    bool writing;
    bool metadata_sent;
    bool ended;
    struct lc_tag written, read, initial, status_tag;
    grpc_byte_buffer *in;
    grpc_byte_buffer *out;
    grpc_metadata_array initial_metadata;
    grpc_metadata_array trailing_metadata;
    grpc_status_code code;
    grpc_slice details;
};

// One unary call: a request's attempt, or a look at the map.
struct lc_unary {
    struct lc_client *client;
    struct lc_tag tag;
    uint32_t slot;
    uint32_t generation;
    grpc_call *call;
    grpc_byte_buffer *out;
    grpc_byte_buffer *in;
    grpc_metadata_array initial_metadata;
    grpc_metadata_array trailing_metadata;
    grpc_status_code code;
    grpc_slice details;
    struct lc_unary *next;
    struct lc_unary *previous;
};

// An attempt that waits for its node's next message; one that ended meanwhile is passed over.
struct lc_pending {
    uint32_t slot;
    uint32_t generation;
};

struct lc_node {
    struct lc_client *client;
    uint32_t id;  // 0 = not known yet
    char address[LC_ADDRESS_SIZE];
    grpc_channel *channel;
    void *handles[LC_KIND_COUNT];
    void *batch_handle;
    struct lc_stream *stream;    // NULL = none
    struct lc_request *sent;     // whose answers are awaited
    struct lc_pending *pending;  // attempts to be sent, oldest first
    uint32_t pending_first;
    uint32_t pending_count;
    uint32_t pending_capacity;
    uint8_t distance;  // LC_NEAR and up, from where the client is
    bool connecting;   // a watch is under way
    struct lc_tag connect_tag;
    uint64_t usable_at_ns;  // after a failure
    uint32_t failures;      // in a row
};

// The rows of one answer.
struct lc_rows {
    struct lc_row *items;
    uint32_t capacity;
};

enum { LC_NEAR, LC_IN_REGION, LC_FAR, LC_PLACE_SIZE = 128 };

struct lc_keyspace_entry {
    uint32_t id;
    char name[128];
};

struct lc_client {
    enum lc_mode mode;
    bool via_gateway;
    uint32_t timeout_ms;
    uint32_t outstanding_max;
    char region[LC_PLACE_SIZE];  // fixed from lc_connect on; empty = anywhere
    char zone[LC_PLACE_SIZE];
    pthread_mutex_t mu;
    pthread_cond_t idle;  // starting == 0
    grpc_completion_queue *cq;
    pthread_t thread;
    bool thread_started;
    bool closing;
    uint32_t starting;
    uint64_t sleep_until_ns;  // when the thread looks at the timers by itself
    grpc_call *wake_call;     // never sent: an empty batch on it wakes the thread
    struct lc_tag wake_tag;
    bool waking;
    bool in_event;  // the client's thread only
    struct lc_node *nodes[LC_NODES_MAX];
    uint32_t node_count;
    struct lc_request **requests;  // by slot
    uint32_t request_count;
    uint32_t request_capacity;
    struct lc_request *free_requests;
    uint32_t in_flight;
    struct heap timers;
    struct lc_unary *unaries;
    struct prng prng;
    struct shard_map *map;
    struct lc_keyspace_entry *keyspaces;
    uint32_t keyspace_count;
    uint64_t map_at_ns;  // of the last look
    bool map_asked;      // one is under way
    bool map_wanted;
    uint32_t map_rotor;
    uint32_t near_rotor;
    uint64_t hlc;        // largest seen
    uint64_t session;    // largest timestamp of a snapshot or commit seen
    struct buf message;  // being encoded
    struct lc_stats stats;
    // The client's thread only.
    struct lc_rows rows;
};

// Whether the client has said where it is.
static inline bool lc__is_placed(const struct lc_client *self) {
    return self->region[0] != 0 || self->zone[0] != 0;
}

// Starts a batch of a call; must succeed, for only our bugs make it fail.
void lc__start_batch(grpc_call *call, const grpc_op *ops, size_t count, struct lc_tag *tag);

// --- client.c ---
uint64_t lc__now_ns(void);
// Between these two a batch may be started; false: the client is closing. The mutex is held.
bool lc__may_start(struct lc_client *self);
void lc__started(struct lc_client *self);          // takes the mutex
void lc__start_cancelled(struct lc_client *self);  // mutex held
bool lc__is_own_thread(const struct lc_client *self);
// Makes the thread look at the timers when it would sleep beyond `at_ns`. Mutex held.
void lc__wake_for(struct lc_client *self, uint64_t at_ns);

// --- node.c ---
grpc_channel *lc__channel_create(const char *address);
// Found by address, or made; id 0 leaves the id as it is. NULL when there are too many.
struct lc_node *lc__node(struct lc_client *self, const char *address, uint32_t id);
void lc__node_destroy(struct lc_node *self);
void lc__node_failed(struct lc_node *self, uint64_t now_ns);

// --- stream.c (mutex held unless said otherwise) ---
// Adds the attempt to the node's next message.
void lc__stream_send(struct lc_node *node, const struct lc_request *request);
// Sends what is pending on each node; takes and releases the mutex.
void lc__streams_flush(struct lc_client *self);
// The node's channel changed its state, on the client's thread.
void lc__on_connect(struct lc_node *node);
// Events, on the client's thread, without the mutex.
void lc__on_stream_event(struct lc_stream *stream, enum lc_event event, bool ok);

// --- unary.c ---
// Starts an attempt; the mutex is held, and given up meanwhile.
void lc__unary_send(struct lc_node *node, struct lc_request *request, uint64_t now_ns);
void lc__on_unary(struct lc_unary *unary);
// Starts a MapGet at some node; the mutex is held, and given up meanwhile.
void lc__map_ask(struct lc_client *self, uint64_t now_ns);
void lc__on_map(struct lc_unary *unary);

// --- request.c ---
struct lc_error;  // decode.c

// A new request with empty body and route, or NULL at outstanding_max. Takes the mutex.
struct lc_request *lc__request_new(struct lc_client *self, enum lc_kind kind,
                                   const struct lc_call *call);
void lc__request_drop(struct lc_request *request);
// Sends it for the first time. Takes the mutex.
void lc__request_start(struct lc_request *request);
// The request of an answer, or NULL when it is over.
struct lc_request *lc__request_of(struct lc_client *self, uint32_t slot, uint32_t generation);
// The attempt ended with this error; decides whether the request goes on. True: it is over, and
// the caller calls lc__request_end without the mutex.
bool lc__attempt_ended(struct lc_request *request, const struct lc_error *error);
// Takes the request out of every list but leaves it to the caller.
void lc__request_detach(struct lc_request *request);
// Tells the caller and frees the request. Without the mutex.
void lc__request_end(struct lc_request *request, struct lc_result *result);
// An end without an answer.
void lc__request_end_status(struct lc_request *request, enum status st, const char *text);
// Attempts that are due, and deadlines; returns when to look again. Without the mutex.
uint64_t lc__timers_run(struct lc_client *self);

// Whether it promises luck to send the same again.
bool lc__may_retry(enum status st);
// How long to wait before the attempt behind this many. Mutex held.
uint64_t lc__retry_delay(struct lc_client *self, uint32_t attempts, uint32_t after_ms);
// What an answer says of clock and session. Mutex held.
void lc__note_result(struct lc_client *self, const struct lc_result *result);

// --- encode.c: INVALID_ARGUMENT with err; RESOURCE_EXHAUSTED ---
NODISCARD enum status lc__encode_read(struct lc_request *request, const struct lc_read *read);
NODISCARD enum status lc__encode_commit(struct lc_request *request, const struct lc_commit *commit);
NODISCARD enum status lc__encode_txn_status(struct lc_request *request, uint32_t keyspace,
                                            const uint8_t *txn, struct slice key);
// Behind lc__encode_txn_status: what has no outcome is aborted.
NODISCARD enum status lc__encode_settle(struct lc_request *request);
// Messages of their own, as field `field`.
void lc__put_mutation(struct proto_writer *w, uint32_t field, const struct lc_mutation *mutation);
void lc__put_condition(struct proto_writer *w, uint32_t field,
                       const struct lc_condition *condition);
bool lc__is_strong(enum lc_consistency consistency);

// --- decode.c: pure; views into the message ---
struct lc_error {
    enum status status;
    struct slice message;
    struct slice field;
    struct slice key;
    struct slice holder;
    uint64_t limit;
    uint32_t retry_after_ms;
    bool settled;  // CANCELLED: the id is aborted for good
};
// The result of an error that ends a request.
struct lc_result lc__result_of(const struct lc_error *error);
// A response message of that kind into a zeroed result. CORRUPT.
NODISCARD enum status lc__decode_response(struct lc_rows *rows, enum lc_kind kind,
                                          struct slice message, struct lc_result *out);
// One more row of a read or a scan.
NODISCARD enum status lc__add_row(struct lc_rows *rows, struct slice message, bool scan,
                                  struct lc_result *out);
NODISCARD enum status lc__decode_error(struct slice detail, struct lc_error *out);
// From a gRPC status without a detail.
enum status lc__status_of_code(grpc_status_code code);
// The detail in trailing metadata, or the code and its text.
void lc__error_of_call(const grpc_metadata_array *trailing, grpc_status_code code,
                       const grpc_slice *details, struct lc_error *out);
// Whether the node itself said why: without a detail the status is the transport's.
bool lc__was_told(const grpc_metadata_array *trailing);
NODISCARD enum status lc__decode_header(struct slice message, struct lc_certificate *out,
                                        uint64_t *out_hlc, uint32_t *out_served_by);
NODISCARD enum status lc__decode_row(struct slice message, bool scan, struct lc_row *out);

// --- map.c ---
// Takes a MapGetResponse. CORRUPT. Mutex held.
NODISCARD enum status lc__map_take(struct lc_client *self, struct slice message);
// Where to send a request now; never NULL.
struct lc_node *lc__map_route(struct lc_client *self, struct slice key, uint64_t now_ns);
// The same for what touches keys from low to high: a near node when there are several leaders and
// the one of `key` is further away.
struct lc_node *lc__map_route_span(struct lc_client *self, struct slice key, struct slice low,
                                   struct slice high, uint64_t now_ns);
// The same for what will touch keys that are not known yet.
struct lc_node *lc__map_route_near(struct lc_client *self, struct slice key, uint64_t now_ns);
// The same for what any replica may answer; `turn` counts the attempts before.
struct lc_node *lc__map_route_any(struct lc_client *self, struct slice key, uint32_t turn,
                                  uint64_t now_ns);

// --- wait.c ---
// Copies a result and all that it points to.
void lc__reply_fill(struct lc_reply *out, const struct lc_result *result);
// What became of a transaction; with `settle`, it has an outcome after that.
struct lc_question {
    uint32_t keyspace;
    const uint8_t *txn;
    struct slice key;
    bool settle;
};
void lc__ask_wait(struct lc_client *self, const struct lc_question *question, uint32_t timeout_ms,
                  struct lc_reply *out);

// --- blocking.c: one call on the caller's thread ---
struct lc_blocking {
    grpc_channel *channel;
    const char *path;
    struct slice request;
    uint64_t deadline_ns;
};
// The response message, which the caller destroys, or the error in err.
NODISCARD enum status lc__blocking_call(const struct lc_blocking *call,
                                        grpc_byte_buffer **out_response, struct err *err);
// Contiguous bytes of a message; unref the slice.
grpc_slice lc__flat(grpc_byte_buffer *buffer);
grpc_byte_buffer *lc__byte_buffer(struct slice message);
struct slice lc__slice(const grpc_slice *slice);
gpr_timespec lc__timespec(uint64_t monotonic_ns);
