// SPDX-License-Identifier: Apache-2.0
// Keys are taken one at a time and in their order, so that transactions which want the same keys
// queue at the first of them. Renewals and releases are letters that nobody waits for: each owns
// its memory and outlives its sender. None of this touches a replica, so it may be sent at any
// time.
#include "txn/gateway/gateway_hold.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/command/command_hold.h"
#include "txn/gateway/gateway_internal.h"

#include <stddef.h>
#include <stdlib.h>

#define LEASE_NS ((uint64_t)GATEWAY_HOLD_LEASE_MS * 1000000)
enum { RENEWALS = 3, PAYLOAD_SIZE_MAX = SHARD_KEY_SIZE_MAX + 64 };

// --- Letters ---

struct letter {
    struct session_call call;
    struct buf payload;
    struct bytes *key;
};

static void encode(const struct gateway_hold *self, enum command_hold_kind kind,
                   const struct bytes *key, struct buf *out) {
    const struct command_hold request = {
        .kind = kind,
        .txn = self->txn,
        .begin = self->begin,
        .holds_others = self->held > 0,
        .lease_ms = kind == COMMAND_HOLD_RELEASE ? 0 : GATEWAY_HOLD_LEASE_MS,
        .key = bytes_slice(key)};
    struct codec_writer w;
    buf_reset(out);
    codec_writer_init(&w, out);
    command_hold_encode(&w, &request);
    ASSERT(w.status == STATUS_OK);
}

static void letter_done(struct session_call *call, const struct session_result *result) {
    struct letter *letter = (struct letter *)(void *)((char *)call - offsetof(struct letter, call));
    (void)result;
    buf_deinit(&letter->payload);
    bytes_unref(letter->key);
    mem_free(letter);
}

static void send_letter(const struct gateway_hold *self, enum command_hold_kind kind,
                        struct bytes *key) {
    struct gateway *gateway = self->gateway;
    struct letter *letter = mem_alloc(sizeof(*letter));
    buf_init(&letter->payload, PAYLOAD_SIZE_MAX);
    letter->key = bytes_ref(key);
    encode(self, kind, key, &letter->payload);
    letter->call = (struct session_call){.kind = COMMAND_HOLD,
                                         .key = bytes_slice(key),
                                         .payload = buf_slice(&letter->payload),
                                         .deadline_ns = gateway__now(gateway) + LEASE_NS / RENEWALS,
                                         .done = letter_done};
    session_start(gateway->config.session, &letter->call);
}

// --- Taking ---

static void set_timer(struct gateway_hold *self) {
    heap_put(&self->gateway->hold_timers, &self->timer,
             gateway__now(self->gateway) + LEASE_NS / RENEWALS);
}

static void take_next(struct gateway_hold *self);

// Takes the key out of those that are wanted. A request that was lost may have it all the same.
static void give_up_key(struct gateway_hold *self) {
    MARK("gateway.hold_without");
    send_letter(self, COMMAND_HOLD_RELEASE, self->keys[self->held]);
    bytes_unref(self->keys[self->held]);
    for (uint32_t i = self->held + 1; i < self->count; i++) {
        self->keys[i - 1] = self->keys[i];
    }
    self->count--;
}

static void drop_wanted(struct gateway_hold *self) {
    while (self->count > self->held) {
        bytes_unref(self->keys[--self->count]);
    }
}

static void take_done(struct session_call *call, const struct session_result *result) {
    struct gateway_hold *self =
        (struct gateway_hold *)(void *)((char *)call - offsetof(struct gateway_hold, call));
    if (!self->taking) { return; }  // cancelled
    self->taking = false;
    if (result->status == STATUS_ABORTED_RETRY) {
        drop_wanted(self);
        self->done(self, result);
        return;
    }
    if (result->status == STATUS_OK) {
        self->held++;
        if (!heap_has(&self->timer)) { set_timer(self); }
    } else {
        give_up_key(self);
    }
    take_next(self);
}

static void take_next(struct gateway_hold *self) {
    if (self->held == self->count) {
        const struct session_result result = {.status = STATUS_OK};
        self->done(self, &result);
        return;
    }
    const struct bytes *key = self->keys[self->held];
    const uint64_t most = gateway__now(self->gateway) + LEASE_NS;
    encode(self, COMMAND_HOLD_TAKE, key, &self->payload);
    self->call =
        (struct session_call){.kind = COMMAND_HOLD,
                              .key = bytes_slice(key),
                              .payload = buf_slice(&self->payload),
                              .deadline_ns = self->deadline_ns < most ? self->deadline_ns : most,
                              .done = take_done};
    self->taking = true;
    session_start(self->gateway->config.session, &self->call);
}

static int compare_keys(const void *left, const void *right) {
    const struct bytes *const *a = left;
    const struct bytes *const *b = right;
    return slice_compare(bytes_slice(*a), bytes_slice(*b));
}

static bool has_key(const struct gateway_hold *self, struct slice key) {
    for (uint32_t i = 0; i < self->count; i++) {
        if (slice_equal(bytes_slice(self->keys[i]), key)) { return true; }
    }
    return false;
}

void gateway_hold_init(struct gateway_hold *self, struct gateway *gateway) {
    self->gateway = gateway;
    buf_init(&self->payload, PAYLOAD_SIZE_MAX);
}

enum status gateway_hold_take(struct gateway_hold *self, const struct slice *keys, uint32_t count,
                              uint64_t deadline_ns) {
    ASSERT(!self->taking && self->held == self->count && self->gateway != NULL);
    if (self->keys == NULL) {
        self->keys = mem_alloc_array(GATEWAY_HOLD_KEYS_MAX, sizeof(struct bytes *));
    }
    for (uint32_t i = 0; i < count; i++) {
        if (has_key(self, keys[i])) { continue; }
        if (self->count == GATEWAY_HOLD_KEYS_MAX) {
            drop_wanted(self);
            return STATUS_RESOURCE_EXHAUSTED;
        }
        self->keys[self->count++] = bytes_copy(keys[i]);
    }
    qsort((void *)(self->keys + self->held), self->count - self->held, sizeof(self->keys[0]),
          compare_keys);
    self->deadline_ns = deadline_ns;
    take_next(self);
    return STATUS_OK;
}

void gateway_hold_end(struct gateway_hold *self) {
    if (self->gateway == NULL) { return; }
    if (self->taking) {
        self->taking = false;
        session_cancel(self->gateway->config.session, &self->call);
        // It may have been taken all the same.
        send_letter(self, COMMAND_HOLD_RELEASE, self->keys[self->held]);
    }
    for (uint32_t i = 0; i < self->held; i++) {
        send_letter(self, COMMAND_HOLD_RELEASE, self->keys[i]);
    }
    heap_remove(&self->gateway->hold_timers, &self->timer);
    self->held = 0;
    drop_wanted(self);
    mem_free((void *)self->keys);
    self->keys = NULL;
    buf_deinit(&self->payload);
    self->gateway = NULL;
}

// --- Renewals ---

void gateway__holds_on_time(struct gateway *self, uint64_t now_ns) {
    struct heap_node *first = heap_peek(&self->hold_timers);
    while (first != NULL && first->key <= now_ns) {
        struct gateway_hold *hold =
            (struct gateway_hold *)(void *)((char *)first - offsetof(struct gateway_hold, timer));
        MARK("gateway.hold_renewed");
        for (uint32_t i = 0; i < hold->held; i++) {
            send_letter(hold, COMMAND_HOLD_RENEW, hold->keys[i]);
        }
        set_timer(hold);
        first = heap_peek(&self->hold_timers);
    }
}
