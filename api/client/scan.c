// SPDX-License-Identifier: Apache-2.0
// The scan iterator: a stream of pages, read on the caller's thread, one page at a time. When the
// stream breaks, another one begins behind the last row that was handed out; so each row comes once
// and in order, though from snapshots of different pages.
#include "api/client/client_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <grpc/slice.h>

#include <string.h>
#include <time.h>

enum { LC_SCAN_REQUEST_MAX = 4 * SHARD_KEY_SIZE_MAX, LC_SCAN_RETRIES_MAX = 8 };
static const uint64_t LC_SCAN_RETRY_NS = UINT64_C(20000000);

// The tags of the three kinds of batches.
enum lc_scan_tag { LC_SCAN_SENT, LC_SCAN_READ, LC_SCAN_ENDED, LC_SCAN_TAG_COUNT };

struct lc_scan {
    struct lc_client *client;
    struct lc_scan_options options;  // start and end are views into the buffers
    struct buf start;
    struct buf end;
    uint64_t deadline_ns;
    uint64_t left;
    uint32_t failures;  // streams that broke since the last row
    bool seen;          // a row was handed out
    struct lc_row row;
    struct lc_certificate certificate;

    // The stream; call == NULL: none.
    grpc_completion_queue *cq;
    grpc_call *call;
    struct lc_node *node;
    char tags[LC_SCAN_TAG_COUNT];
    grpc_byte_buffer *out;
    grpc_byte_buffer *in;
    grpc_metadata_array initial_metadata;
    grpc_metadata_array trailing_metadata;
    grpc_status_code code;
    grpc_slice details;

    // The page.
    bool has_page;
    grpc_slice page;
    struct proto_reader reader;
    bool finished;
};

// --- The stream ---

static void lc_scan_encode(const struct lc_scan *self, uint64_t hlc, struct buf *out) {
    struct proto_writer w;
    proto_writer_init(&w, out);
    proto_put_uint(&w, 2, self->options.keyspace);
    proto_put_bytes(&w, 3, buf_slice(&self->start));
    proto_put_bytes(&w, 4, buf_slice(&self->end));
    bool again = self->seen && !self->options.reverse;
    proto_put_uint(&w, 5, self->left == UINT64_MAX ? 0 : self->left + (again ? 1 : 0));
    proto_put_uint(&w, 6, self->options.page_rows);
    proto_put_uint(&w, 7, self->options.reverse ? 1 : 0);
    proto_put_uint(&w, 8, self->options.keys_only ? 1 : 0);
    proto_put_uint(&w, 9, (uint64_t)self->options.consistency);
    proto_put_fixed64(&w, 10, self->options.at_least);
    proto_put_fixed64(&w, 11, hlc);
    proto_put_fixed64(&w, 12, self->options.at);
    proto_put_uint(&w, 13, self->options.max_staleness_us);
    ASSERT(w.status == STATUS_OK);  // the bounds were checked at open
}

static void lc_scan_batch(struct lc_scan *self, const grpc_op *ops, size_t count,
                          enum lc_scan_tag tag) {
    grpc_call_error error = grpc_call_start_batch(self->call, ops, count, &self->tags[tag], NULL);
    ASSERT(error == GRPC_CALL_OK);
}

static void lc_scan_wait(struct lc_scan *self, enum lc_scan_tag tag) {
    grpc_event event = grpc_completion_queue_pluck(self->cq, &self->tags[tag],
                                                   gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    ASSERT(event.type == GRPC_OP_COMPLETE);
}

static void lc_scan_start(struct lc_scan *self) {
    grpc_op ops[4];
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[0].data.recv_status_on_client.trailing_metadata = &self->trailing_metadata;
    ops[0].data.recv_status_on_client.status = &self->code;
    ops[0].data.recv_status_on_client.status_details = &self->details;
    lc_scan_batch(self, ops, 1, LC_SCAN_ENDED);
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = self->out;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &self->initial_metadata;
    lc_scan_batch(self, ops, 4, LC_SCAN_SENT);
}

// Begins a stream at the current bounds, at the node that leads the first key, or at one that
// holds it.
static void lc_scan_connect(struct lc_scan *self) {
    struct lc_client *client = self->client;
    struct buf request;
    uint8_t key[SHARD_KEY_SIZE_MAX];
    shard_keyspace_prefix(self->options.keyspace, key);
    const struct buf *bound = self->options.reverse ? &self->end : &self->start;
    size_t size = bound->size;
    if (size > 0) { memcpy(key + SHARD_KEYSPACE_PREFIX_SIZE, bound->data, size); }
    (void)pthread_mutex_lock(&client->mu);
    struct slice route = slice_make(key, SHARD_KEYSPACE_PREFIX_SIZE + size);
    self->node = lc__is_strong(self->options.consistency)
                     ? lc__map_route(client, route, lc__now_ns())
                     : lc__map_route_any(client, route, self->failures, lc__now_ns());
    const uint64_t hlc = client->hlc;
    (void)pthread_mutex_unlock(&client->mu);
    buf_init(&request, LC_SCAN_REQUEST_MAX);
    lc_scan_encode(self, hlc, &request);
    self->out = lc__byte_buffer(buf_slice(&request));
    buf_deinit(&request);
    self->details = grpc_empty_slice();
    grpc_metadata_array_init(&self->initial_metadata);
    grpc_metadata_array_init(&self->trailing_metadata);
    self->call = grpc_channel_create_call(self->node->channel, NULL, 0, self->cq,
                                          grpc_slice_from_static_string("/lightcone.v1.Data/Scan"),
                                          NULL, lc__timespec(self->deadline_ns), NULL);
    lc_scan_start(self);
}

static void lc_scan_drop_page(struct lc_scan *self) {
    if (self->has_page) { grpc_slice_unref(self->page); }
    self->has_page = false;
}

// Waits until the core is done with the call. The status stays readable until lc_scan_release.
static void lc_scan_settle(struct lc_scan *self) {
    lc_scan_wait(self, LC_SCAN_SENT);
    lc_scan_wait(self, LC_SCAN_ENDED);
}

static void lc_scan_release(struct lc_scan *self) {
    grpc_metadata_array_destroy(&self->initial_metadata);
    grpc_metadata_array_destroy(&self->trailing_metadata);
    grpc_slice_unref(self->details);
    grpc_byte_buffer_destroy(self->out);
    grpc_call_unref(self->call);
    self->call = NULL;
}

// --- Pages ---

// Header and flags of a page; its rows are read one by one later.
static enum status lc_scan_open_page(struct lc_scan *self) {
    struct proto_reader r;
    struct proto_field field;
    struct lc_result header = {.status = STATUS_OK};
    enum status st = STATUS_OK;
    proto_reader_init(&r, lc__slice(&self->page));
    while (st == STATUS_OK && proto_next(&r, &field)) {
        if (field.number != 1) { continue; }
        header = (struct lc_result){.status = STATUS_OK};
        st = lc__decode_header(proto_get_bytes(&r, &field), &header.certificate, &header.hlc,
                               &header.served_by);
    }
    self->certificate = header.certificate;
    (void)pthread_mutex_lock(&self->client->mu);
    lc__note_result(self->client, &header);
    (void)pthread_mutex_unlock(&self->client->mu);
    proto_reader_init(&self->reader, lc__slice(&self->page));
    return st == STATUS_OK ? r.status : st;
}

// The next page of the stream: true, or false at its end (self->code says which).
static bool lc_scan_read(struct lc_scan *self) {
    grpc_op op;
    memset(&op, 0, sizeof(op));
    self->in = NULL;
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &self->in;
    lc_scan_batch(self, &op, 1, LC_SCAN_READ);
    lc_scan_wait(self, LC_SCAN_READ);
    if (self->in == NULL) { return false; }
    self->page = lc__flat(self->in);
    self->has_page = true;
    grpc_byte_buffer_destroy(self->in);
    self->in = NULL;
    return true;
}

// A scan that is taken up again begins at this row, and passes it over when it comes once more (the
// key behind a key of the largest size cannot be named).
static enum status lc_scan_note(struct lc_scan *self) {
    struct buf *bound = self->options.reverse ? &self->end : &self->start;
    buf_reset(bound);
    enum status st = buf_append(bound, self->row.key);
    self->seen = true;
    if (self->left != UINT64_MAX) { self->left--; }
    self->failures = 0;
    return st;
}

// The next row of the page: true, or false at its end or when it is garbage (*out_st).
static bool lc_scan_row(struct lc_scan *self, enum status *out_st) {
    struct proto_field field;
    while (proto_next(&self->reader, &field)) {
        if (field.number != 2) { continue; }
        *out_st = lc__decode_row(proto_get_bytes(&self->reader, &field), true, &self->row);
        if (self->seen && slice_equal(self->row.key, buf_slice(&self->start))) { continue; }
        if (*out_st == STATUS_OK) { *out_st = lc_scan_note(self); }
        return *out_st == STATUS_OK;
    }
    *out_st = self->reader.status;
    return false;
}

static void lc_scan_pause(uint64_t ns) {
    struct timespec time = {.tv_sec = (time_t)(ns / UINT64_C(1000000000)),
                            .tv_nsec = (long)(ns % UINT64_C(1000000000))};
    (void)nanosleep(&time, NULL);
}

// The stream ended. OK: the scan is over, or was taken up again.
static enum status lc_scan_ended(struct lc_scan *self, struct err *err) {
    struct lc_error error;
    lc_scan_settle(self);
    lc__error_of_call(&self->trailing_metadata, self->code, &self->details, &error);
    enum status st = error.status;
    if (st == STATUS_OK) {
        self->finished = true;
    } else {
        struct slice text = error.message;
        if (text.size == 0) { text = slice_from_string(status_text(st)); }
        (void)err_set(err, st, "%.*s", (int)text.size, (const char *)text.data);
    }
    lc_scan_release(self);
    if (st == STATUS_OK) { return STATUS_OK; }
    if (!status_is_retryable(st) || self->failures++ >= LC_SCAN_RETRIES_MAX) { return st; }
    uint64_t pause_ns = LC_SCAN_RETRY_NS << self->failures;
    if (lc__now_ns() + pause_ns >= self->deadline_ns) { return st; }
    (void)pthread_mutex_lock(&self->client->mu);
    self->client->map_wanted = true;
    (void)pthread_mutex_unlock(&self->client->mu);
    lc_scan_pause(pause_ns);
    lc_scan_connect(self);
    return STATUS_OK;
}

// --- The iterator ---

enum status lc_scan_open(struct lc_client *self, const struct lc_scan_options *options,
                         struct lc_scan **out_scan, struct err *err) {
    ASSERT(!lc__is_own_thread(self));
    if (options->start.size > SHARD_USER_KEY_SIZE_MAX ||
        options->end.size > SHARD_USER_KEY_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "a bound has at most %d bytes",
                       SHARD_USER_KEY_SIZE_MAX);
    }
    struct lc_scan *scan = mem_alloc(sizeof(*scan));
    scan->client = self;
    scan->options = *options;
    if (options->consistency == LC_SESSION && options->at_least == 0) {
        scan->options.at_least = lc_session_token(self);
    }
    scan->left = options->limit == 0 ? UINT64_MAX : options->limit;
    scan->deadline_ns = options->timeout_ms == 0
                            ? UINT64_MAX
                            : lc__now_ns() + (uint64_t)options->timeout_ms * UINT64_C(1000000);
    buf_init(&scan->start, SHARD_USER_KEY_SIZE_MAX);
    buf_init(&scan->end, SHARD_USER_KEY_SIZE_MAX);
    enum status st = buf_append(&scan->start, options->start);
    if (st == STATUS_OK) { st = buf_append(&scan->end, options->end); }
    scan->cq = grpc_completion_queue_create_for_pluck(NULL);
    if (st != STATUS_OK) {
        lc_scan_close(scan);
        return err_set(err, st, "out of memory");
    }
    lc_scan_connect(scan);
    *out_scan = scan;
    return STATUS_OK;
}

enum status lc_scan_next(struct lc_scan *self, const struct lc_row **out_row, struct err *err) {
    enum status st = STATUS_OK;
    *out_row = NULL;
    while (st == STATUS_OK) {
        if (self->has_page && lc_scan_row(self, &st)) {
            *out_row = &self->row;
            return STATUS_OK;
        }
        if (st != STATUS_OK) { return err_set(err, st, "a page does not decode"); }
        lc_scan_drop_page(self);
        if (self->finished || self->left == 0) { return STATUS_OK; }
        if (self->call == NULL) {
            return err_set(err, STATUS_FAILED_PRECONDITION, "it has failed");
        }
        if (lc_scan_read(self)) {
            st = lc_scan_open_page(self);
            if (st != STATUS_OK) { return err_set(err, st, "a page does not decode"); }
        } else {
            st = lc_scan_ended(self, err);
        }
    }
    return st;
}

const struct lc_certificate *lc_scan_certificate(const struct lc_scan *self) {
    return &self->certificate;
}

void lc_scan_close(struct lc_scan *self) {
    if (self == NULL) { return; }
    lc_scan_drop_page(self);
    if (self->call != NULL) {
        (void)grpc_call_cancel(self->call, NULL);
        lc_scan_settle(self);
        lc_scan_release(self);
    }
    grpc_completion_queue_shutdown(self->cq);
    grpc_completion_queue_destroy(self->cq);
    buf_deinit(&self->start);
    buf_deinit(&self->end);
    mem_free(self);
}
