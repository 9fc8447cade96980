// SPDX-License-Identifier: Apache-2.0
// Reads of an interactive transaction: what it wrote itself lies over what the shards say, and what
// they were asked is noted, for the commit depends on it.
#include "api/data/transact_internal.h"
#include "dataplane/base/assert.h"

#include <stddef.h>

// --- Rows ---

static void data_transact_open_rows(struct data_transact *state) {
    data__transact_writer(state);
    state->rows_mark = proto_open(&state->reply, DATA_TRANSACT_ROWS, DATA_TRANSACT_HINT);
}

// Fields may come in any order: the header stands behind the rows.
static void data_transact_send_rows(struct data_transact *state,
                                    const struct command_certificate *certificate) {
    struct proto_writer *w = &state->reply;
    data__put_header(state->data, w, certificate);
    proto_put_fixed64(w, 6, state->snapshot.v);
    proto_close(w, state->rows_mark);
    if (w->status != STATUS_OK) {
        data__transact_fail_status(state, STATUS_RESOURCE_EXHAUSTED,
                                   "the values read exceed 16 MiB together; read fewer keys");
    } else if (!data__transact_charge(state)) {
        (void)data__transact_overloaded(&state->refusal, state->data);
        data__transact_refuse(state);
    } else {
        data__transact_send(state, false);
    }
}

// --- Get ---

// Whether the shard of the key has to be asked.
static bool data_transact_asks(const struct data_transact *state, struct slice key) {
    struct slice value;
    const enum interactive_found found = interactive_find(&state->buffer, key, &value);
    return found == INTERACTIVE_UNTOUCHED || found == INTERACTIVE_MERGED;
}

// One row: what the transaction did, or what the shard says, or both.
static enum status data_transact_put_row(struct data_transact *state, struct slice key,
                                         struct codec_reader *rows) {
    struct command_row row = {0};
    struct slice value;
    const enum interactive_found found = interactive_find(&state->buffer, key, &value);
    enum status st = STATUS_OK;
    if (found == INTERACTIVE_PUT) { row = (struct command_row){.found = true, .value = value}; }
    if (found == INTERACTIVE_UNTOUCHED || found == INTERACTIVE_MERGED) {
        st = command_read_row_decode(rows, &row);
    }
    if (st == STATUS_OK && found == INTERACTIVE_MERGED) {
        buf_reset(&state->fold);
        st = interactive_fold(value, row.value, row.found, &state->fold);
        row = (struct command_row){.found = true, .value = buf_slice(&state->fold)};
    }
    if (st == STATUS_OK) { data__put_read_row(&state->reply, 2, &row); }
    return st;
}

static void data_transact_fail_rows(struct data_transact *state, enum status st) {
    data__transact_fail_status(state, st,
                               st == STATUS_FAILED_PRECONDITION
                                   ? "merge: the key holds a value of another type, or one that is "
                                     "full"
                                   : "the rows do not decode");
}

void data__transact_put_rows(struct data_transact *state, struct slice payload,
                             const struct command_certificate *certificate) {
    struct codec_reader rows;
    struct interactive_refusal why = {0};
    codec_reader_init(&rows, payload);
    data_transact_open_rows(state);
    for (uint32_t i = 0; i < state->request.key_count; i++) {
        const struct slice key = state->scratch->keys[i];
        enum status st = data_transact_put_row(state, key, &rows);
        if (st != STATUS_OK) {
            data_transact_fail_rows(state, st);
            return;
        }
        if (!data_transact_asks(state, key)) { continue; }
        st = interactive_note_key(&state->buffer, key, &why);
        if (st != STATUS_OK) {
            data__transact_refused(&state->refusal, st, "get.keys", &why);
            data__transact_refuse(state);
            return;
        }
    }
    data_transact_send_rows(state, certificate);
}

// Asks the shards for what the transaction has not written itself.
void data__transact_get(struct data_transact *state) {
    struct data_scratch *scratch = state->scratch;
    struct slice asked[COMMAND_READ_KEYS_MAX];
    struct slice low = SLICE_EMPTY;
    struct slice high = SLICE_EMPTY;
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->request.key_count; i++) {
        const struct slice key = scratch->keys[i];
        if (!data_transact_asks(state, key)) { continue; }
        if (count == 0 || slice_compare(key, low) < 0) { low = key; }
        if (count == 0 || slice_compare(key, high) > 0) { high = key; }
        asked[count++] = key;
    }
    if (count == 0) {
        const struct command_certificate none = {0};
        data__transact_put_rows(state, SLICE_EMPTY, &none);
        return;
    }
    const struct command_read read = {
        .snapshot = data__transact_snapshot(state), .key_count = count, .keys = asked};
    struct codec_writer w;
    buf_reset(&scratch->encoded);
    codec_writer_init(&w, &scratch->encoded);
    command_read_encode(&w, &read);
    if (w.status != STATUS_OK) {
        data__transact_fail_status(state, w.status, "no memory to read");
        return;
    }
    data__transact_start(state, COMMAND_READ, low, high);
}

// --- Get for update ---

// The keys are held, or nobody knows: the read tells the newest, if it is the first.
void data__transact_held(struct gateway_hold *hold, const struct session_result *result) {
    struct data_transact *state = data__transact_of(hold, offsetof(struct data_transact, hold));
    state->holding = false;
    if (result->status != STATUS_OK) {
        const struct data_answer answer = {COMMAND_COMMIT, state->txn, result};
        const struct rpc_error error = data__result_error(&answer);
        data__transact_fail(state, &error);
    } else {
        data__transact_get(state);
    }
}

void data__transact_get_for_update(struct data_transact *state) {
    state->holding = true;
    const enum status st =
        gateway_hold_take(&state->hold, state->scratch->keys, state->request.key_count,
                          data__transact_deadline(state));
    if (st == STATUS_OK) { return; }
    state->holding = false;
    (void)data__refuse(&state->refusal, STATUS_INVALID_ARGUMENT, "get.for_update",
                       GATEWAY_HOLD_KEYS_MAX, "a transaction locks at most %d keys",
                       GATEWAY_HOLD_KEYS_MAX);
    data__transact_refuse(state);
}

// --- Scan ---

static void data_transact_scan_row(void *ctx, const struct command_row *row) {
    struct data_transact *state = ctx;
    data__put_scan_row(&state->reply, 3, row);
}

static void data_transact_scan_page(struct data_transact *state) {
    const struct command_scan scan = {.snapshot = data__transact_snapshot(state),
                                      .start = state->scan.start,
                                      .end = state->scan.end,
                                      .row_limit = state->scan.rows_left,
                                      .reverse = state->scan.reverse};
    struct codec_writer w;
    buf_reset(&state->scratch->encoded);
    codec_writer_init(&w, &state->scratch->encoded);
    command_scan_encode(&w, &scan);
    if (w.status != STATUS_OK) {
        data__transact_fail_status(state, w.status, "no memory to scan");
        return;
    }
    data__transact_start(state, COMMAND_SCAN, scan.start, SLICE_EMPTY);
}

void data__transact_scan(struct data_transact *state) {
    state->scan = (struct interactive_scan){.reverse = state->request.reverse,
                                            .start = state->request.start,
                                            .end = state->request.end,
                                            .rows_left = state->request.limit,
                                            .bytes_left = COMMAND_SCAN_BYTES_MAX,
                                            .row = data_transact_scan_row,
                                            .ctx = state};
    data_transact_open_rows(state);
    data_transact_scan_page(state);
}

static struct slice data_transact_user_key(struct slice key) {
    ASSERT(key.size >= SHARD_KEYSPACE_PREFIX_SIZE);
    return slice_make(key.data + SHARD_KEYSPACE_PREFIX_SIZE, key.size - SHARD_KEYSPACE_PREFIX_SIZE);
}

// The transaction depends on all that it has seen, empty stretches included.
static void data_transact_scan_end(struct data_transact *state,
                                   const struct command_certificate *certificate) {
    const struct interactive_scan *scan = &state->scan;
    struct interactive_refusal why = {0};
    const struct slice low = scan->reverse ? scan->end : state->request.start;
    const struct slice high = scan->reverse ? state->request.end : scan->start;
    const enum status st = interactive_note_span(&state->buffer, low, high, &why);
    if (st != STATUS_OK) {
        data__transact_refused(&state->refusal, st, "scan", &why);
        data__transact_refuse(state);
        return;
    }
    if (scan->more) {
        proto_put_uint(&state->reply, 4, 1);
        proto_put_bytes(&state->reply, 5,
                        data_transact_user_key(scan->reverse ? scan->end : scan->start));
    }
    data_transact_send_rows(state, certificate);
}

void data__transact_scanned(struct data_transact *state, const struct session_result *result) {
    struct interactive_scan *scan = &state->scan;
    const enum status st = interactive_scan_page(&state->buffer, scan, result->payload);
    if (st != STATUS_OK) {
        data_transact_fail_rows(state, st);
    } else if (scan->more && scan->rows_left > 0 && scan->bytes_left > 0) {
        data_transact_scan_page(state);
    } else {
        data_transact_scan_end(state, &result->certificate);
    }
}
