// SPDX-License-Identifier: Apache-2.0
// Requests: from the caller to attempts and back.
//
//            start                    answer, final error, deadline
//   FREE ----------------> SENT -------------------------------------> done, FREE
//                          |  ^
//    retryable error,      |  | the back-off is over
//    broken connection     v  |        deadline
//                        WAITING -------------------------------------> done, FREE
//
// An attempt that ends without an answer leaves a commit `maybe_applied`. It is tried again under
// the same transaction id, and if no attempt learns its fate the result is UNKNOWN.
#include "api/client/client_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <string.h>

enum { LC_RETRY_DOUBLINGS_MAX = 8, LC_BODY_KEPT_MAX = 64 << 10, LC_REQUESTS_MIN = 64 };
static const uint64_t LC_RETRY_NS_MIN = UINT64_C(2000000);
static const uint64_t LC_MS = UINT64_C(1000000);

// --- Memory ---

static struct lc_request *lc_request_make(struct lc_client *self) {
    if (self->request_count == self->request_capacity) {
        uint32_t wanted =
            self->request_capacity == 0 ? LC_REQUESTS_MIN : 2 * self->request_capacity;
        self->requests = mem_realloc(self->requests, wanted * sizeof(struct lc_request *));
        self->request_capacity = wanted;
    }
    struct lc_request *request = mem_alloc(sizeof(*request));
    request->client = self;
    request->slot = self->request_count;
    buf_init(&request->body, LC_MESSAGE_SIZE_MAX);
    buf_init(&request->route, SHARD_KEY_SIZE_MAX + LC_MESSAGE_SIZE_MAX);
    buf_init(&request->low, SHARD_KEY_SIZE_MAX + LC_MESSAGE_SIZE_MAX);
    buf_init(&request->high, SHARD_KEY_SIZE_MAX + LC_MESSAGE_SIZE_MAX);
    self->requests[self->request_count++] = request;
    return request;
}

struct lc_request *lc__request_new(struct lc_client *self, enum lc_kind kind,
                                   const struct lc_call *call) {
    ASSERT(call->done != NULL);
    (void)pthread_mutex_lock(&self->mu);
    struct lc_request *request = NULL;
    if (self->in_flight < self->outstanding_max && !self->closing) {
        request = self->free_requests;
        if (request != NULL) {
            self->free_requests = request->next;
        } else {
            request = lc_request_make(self);
        }
        request->hlc = self->hlc;
        request->session = self->session;
        self->in_flight++;
        self->stats.requests++;
    }
    (void)pthread_mutex_unlock(&self->mu);
    if (request == NULL) { return NULL; }
    uint64_t timeout_ms = call->timeout_ms == 0 ? self->timeout_ms : call->timeout_ms;
    request->kind = kind;
    request->deadline_ns = lc__now_ns() + timeout_ms * LC_MS;
    request->next = NULL;
    request->attempts = 0;
    request->maybe_applied = false;
    request->any_replica = false;
    request->by_unary = false;
    request->abort_is_final = false;
    request->last_status = STATUS_OK;
    request->done = call->done;
    request->ctx = call->ctx;
    buf_reset(&request->body);
    buf_reset(&request->low);
    buf_reset(&request->high);
    return request;
}

static void lc_buf_trim(struct buf *buf, size_t size_max) {
    if (buf->capacity <= LC_BODY_KEPT_MAX) { return; }
    buf_deinit(buf);
    buf_init(buf, size_max);
}

void lc__request_drop(struct lc_request *request) {
    struct lc_client *self = request->client;
    lc_buf_trim(&request->body, LC_MESSAGE_SIZE_MAX);
    lc_buf_trim(&request->route, SHARD_KEY_SIZE_MAX + LC_MESSAGE_SIZE_MAX);
    lc_buf_trim(&request->low, SHARD_KEY_SIZE_MAX + LC_MESSAGE_SIZE_MAX);
    lc_buf_trim(&request->high, SHARD_KEY_SIZE_MAX + LC_MESSAGE_SIZE_MAX);
    (void)pthread_mutex_lock(&self->mu);
    ASSERT(!heap_has(&request->timer) && self->in_flight > 0);
    request->state = LC_FREE;
    request->generation++;
    request->next = self->free_requests;
    self->free_requests = request;
    self->in_flight--;
    (void)pthread_mutex_unlock(&self->mu);
}

struct lc_request *lc__request_of(struct lc_client *self, uint32_t slot, uint32_t generation) {
    if (slot >= self->request_count) { return NULL; }
    struct lc_request *request = self->requests[slot];
    return request->state == LC_SENT && request->generation == generation ? request : NULL;
}

// --- Attempts ---

static void lc_unlink(struct lc_request *request) {
    struct lc_node *node = request->node;
    if (node == NULL) { return; }
    if (request->previous != NULL) {
        request->previous->next = request->next;
    } else {
        ASSERT(node->sent == request);
        node->sent = request->next;
    }
    if (request->next != NULL) { request->next->previous = request->previous; }
    request->next = NULL;
    request->previous = NULL;
    request->node = NULL;
}

void lc__request_detach(struct lc_request *request) {
    lc_unlink(request);
    heap_remove(&request->client->timers, &request->timer);
    request->unary = NULL;
}

static struct lc_node *lc_choose(const struct lc_request *request, uint64_t now_ns) {
    struct lc_client *self = request->client;
    const struct slice route = buf_slice(&request->route);
    if (request->any_replica) { return lc__map_route_any(self, route, request->attempts, now_ns); }
    if (request->high.size == 0) { return lc__map_route(self, route, now_ns); }
    return lc__map_route_span(self, route, buf_slice(&request->low), buf_slice(&request->high),
                              now_ns);
}

// The next attempt. In unary mode the mutex is given up while the call starts, and the request may
// be over when it is back.
static void lc_attempt(struct lc_request *request, uint64_t now_ns) {
    struct lc_client *self = request->client;
    struct lc_node *node = lc_choose(request, now_ns);
    request->attempts++;
    request->generation++;
    request->state = LC_SENT;
    request->handed = false;
    request->node = node;
    request->previous = NULL;
    request->next = node->sent;
    if (request->next != NULL) { request->next->previous = request; }
    node->sent = request;
    heap_put(&self->timers, &request->timer, request->deadline_ns);
    self->stats.sent++;
    if (request->attempts > 1) { self->stats.retries++; }
    if (self->mode == LC_BATCH && !request->by_unary) {
        lc__stream_send(node, request);
    } else {
        lc__unary_send(node, request, now_ns);
    }
}

void lc__request_start(struct lc_request *request) {
    struct lc_client *self = request->client;
    (void)pthread_mutex_lock(&self->mu);
    lc__wake_for(self, request->deadline_ns);
    lc_attempt(request, lc__now_ns());
    (void)pthread_mutex_unlock(&self->mu);
    // What callbacks send leaves as one message after the last of them.
    if (!(lc__is_own_thread(self) && self->in_event)) { lc__streams_flush(self); }
}

bool lc__may_retry(enum status st) {
    if (st == STATUS_UNKNOWN_OUTCOME || st == STATUS_CANCELLED) { return true; }
    return status_is_retryable(st) && st != STATUS_RESOURCE_EXHAUSTED && st != STATUS_CLOCK_AHEAD;
}

// Exponential with full jitter over the upper half; longer when the server asks for it.
uint64_t lc__retry_delay(struct lc_client *self, uint32_t attempts, uint32_t after_ms) {
    uint32_t doublings = attempts < LC_RETRY_DOUBLINGS_MAX ? attempts : LC_RETRY_DOUBLINGS_MAX;
    uint64_t delay_ns = LC_RETRY_NS_MIN << doublings;
    if (after_ms * LC_MS > delay_ns) { delay_ns = after_ms * LC_MS; }
    return prng_between(&self->prng, delay_ns / 2, delay_ns);
}

bool lc__attempt_ended(struct lc_request *request, const struct lc_error *error) {
    struct lc_client *self = request->client;
    const enum status st = error->status;
    uint64_t now_ns = lc__now_ns();
    uint64_t at_ns = now_ns + lc__retry_delay(self, request->attempts, error->retry_after_ms);
    ASSERT(request->state == LC_SENT && st != STATUS_OK);
    lc_unlink(request);
    request->unary = NULL;
    request->last_status = st;
    if (st == STATUS_UNKNOWN_OUTCOME) { request->maybe_applied = true; }
    // Whatever else was sent under a settled id has not happened, and never will.
    if (error->settled) { request->maybe_applied = false; }
    // After an attempt without an answer only the transaction's fate ends the request early.
    bool open = request->kind == LC_KIND_COMMIT && request->maybe_applied;
    bool final = error->settled || !lc__may_retry(st) ||
                 (st == STATUS_ABORTED_RETRY && request->abort_is_final);
    if ((!open && final) || at_ns >= request->deadline_ns || self->closing) {
        heap_remove(&self->timers, &request->timer);
        return true;
    }
    if (st == STATUS_NOT_LEADER || st == STATUS_UNAVAILABLE || st == STATUS_STALE_SHARD_MAP) {
        self->map_wanted = true;
    }
    request->state = LC_WAITING;
    request->retry_at_ns = at_ns;
    heap_put(&self->timers, &request->timer, at_ns);
    return false;
}

// --- The end ---

void lc__note_result(struct lc_client *self, const struct lc_result *result) {
    const uint64_t snapshot = result->certificate.timestamp;
    if (result->hlc > self->hlc) { self->hlc = result->hlc; }
    if (snapshot > self->session) { self->session = snapshot; }
    if (result->timestamp > self->session) { self->session = result->timestamp; }
}

void lc__request_end(struct lc_request *request, struct lc_result *result) {
    bool commit = request->kind == LC_KIND_COMMIT;
    result->attempts = request->attempts;
    if (request->kind != LC_KIND_READ) { memcpy(result->txn, request->txn, LC_TXN_ID_SIZE); }
    if (result->status != STATUS_OK && result->message.size == 0) {
        result->message = slice_from_string(status_text(result->status));
    }
    if (commit && result->status != STATUS_OK && result->status != STATUS_CONDITION_FAILED) {
        result->outcome = request->maybe_applied ? LC_UNKNOWN : LC_ABORTED;
    }
    // The place is free before the callback, which may want it for the next request.
    lc_done_fn done = request->done;
    void *ctx = request->ctx;
    lc__request_drop(request);
    done(ctx, result);
}

void lc__request_end_status(struct lc_request *request, enum status st, const char *text) {
    struct lc_result result = {
        .outcome = LC_ABORTED, .status = st, .message = slice_from_string(text)};
    lc__request_end(request, &result);
}

static void lc_expired(struct lc_request *request) {
    if (request->maybe_applied) {
        lc__request_end_status(request, STATUS_UNKNOWN_OUTCOME,
                               "the deadline passed and the commit may have been applied");
    } else {
        lc__request_end_status(request, STATUS_DEADLINE_EXCEEDED, "the deadline passed");
    }
}

// With the mutex: takes a request off whose deadline passed. Whether it was handed to the transport
// decides what is known of it.
static void lc_expire(struct lc_request *request) {
    if (request->state == LC_SENT && request->kind == LC_KIND_COMMIT) {
        request->maybe_applied = request->maybe_applied || request->handed;
    }
    if (request->unary != NULL) { (void)grpc_call_cancel(request->unary->call, NULL); }
    lc__request_detach(request);
    request->state = LC_WAITING;
}

static struct lc_request *lc_of_timer(struct heap_node *node) {
    return (struct lc_request *)(void *)((uint8_t *)node - offsetof(struct lc_request, timer));
}

uint64_t lc__timers_run(struct lc_client *self) {
    uint64_t now_ns = lc__now_ns();
    (void)pthread_mutex_lock(&self->mu);
    struct heap_node *first = heap_peek(&self->timers);
    while (first != NULL && first->key <= now_ns && !self->closing) {
        struct lc_request *request = lc_of_timer(first);
        if (request->deadline_ns <= now_ns) {
            lc_expire(request);
            (void)pthread_mutex_unlock(&self->mu);
            lc_expired(request);
            (void)pthread_mutex_lock(&self->mu);
        } else {
            lc_attempt(request, now_ns);
        }
        first = heap_peek(&self->timers);
    }
    uint64_t next_ns = first == NULL ? UINT64_MAX : first->key;
    (void)pthread_mutex_unlock(&self->mu);
    return next_ns;
}
