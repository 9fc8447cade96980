// SPDX-License-Identifier: Apache-2.0
// The send queue alone: batching, order, the bound, and what is thrown out for it.
#include "dataplane/transport/transport_queue.h"

#include "dataplane/base/prng.h"
#include "dataplane/transport/transport_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES_MAX = 8000, BODY = 90 };  // frames of about 1000 bytes

struct fixture {
    struct transport_pool pool;
    struct transport_queue queue;
};

static void fixture_init(struct fixture *self) {
    transport_pool_init(&self->pool);
    transport_queue_init(&self->queue, &self->pool, BYTES_MAX);
}

static void fixture_deinit(struct fixture *self) {
    transport_queue_deinit(&self->queue);
    transport_pool_deinit(&self->pool);
}

// A message whose body starts with its number.
static enum status push(struct fixture *self, enum peer_message_type type, uint32_t number) {
    uint8_t body[BODY] = {0};
    codec_store_u32(body, number);
    return transport_queue_push(&self->queue, type, slice_make(body, sizeof(body)), BYTES_MAX);
}

// Takes and releases everything; writes the numbers found and returns how many.
static uint32_t drain(struct fixture *self, uint32_t *out, uint32_t count_max) {
    uint32_t count = 0;
    for (;;) {
        struct transport_frame *frame = transport_queue_take(&self->queue);
        if (frame == NULL) { return count; }
        uint32_t size = 0;
        assert_int_equal(transport_frame_size(frame->buf.data, TRANSPORT_PAYLOAD_SIZE_MAX, &size),
                         STATUS_OK);
        assert_int_equal(size + TRANSPORT_FRAME_HEADER_SIZE, frame->buf.size);
        assert_int_equal(transport_frame_check(buf_slice(&frame->buf)), STATUS_OK);
        struct codec_reader reader;
        codec_reader_init(&reader, slice_make(frame->buf.data + TRANSPORT_FRAME_HEADER_SIZE, size));
        uint32_t messages = 0;
        while (codec_remaining(&reader) > 0) {
            struct transport_item item = transport_item_get(&reader);
            assert_int_equal(item.body.size, BODY);
            assert_true(count < count_max);
            out[count++] = codec_load_u32(item.body.data);
            messages++;
        }
        assert_int_equal(messages, frame->messages);
        transport_frame_release(&self->pool, frame);
    }
}

// Goal: messages share frames up to the target and come out in order; the bytes return to zero.
static void test_transport_queue_batches_in_order(void **state) {
    (void)state;
    struct fixture f;
    uint32_t out[64];
    fixture_init(&f);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(push(&f, PEER_RAFT, i), STATUS_OK);
    }
    assert_int_equal(drain(&f, out, 64), 40);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(out[i], i);
    }
    assert_int_equal(f.queue.bytes, 0);
    assert_true(f.pool.count > 0 && f.pool.count <= TRANSPORT_POOL_COUNT_MAX);
    fixture_deinit(&f);
}

// Goal: at the maximum the oldest resendable messages go, the newest stay, in order.
static void test_transport_queue_full_drops_oldest(void **state) {
    (void)state;
    struct fixture f;
    uint32_t out[128];
    fixture_init(&f);
    for (uint32_t i = 0; i < 500; i++) {
        assert_int_equal(push(&f, PEER_RAFT, i), STATUS_OK);
        assert_true(f.queue.bytes <= BYTES_MAX);
    }
    uint32_t count = drain(&f, out, 128);
    assert_int_equal(count + f.queue.dropped, 500);
    assert_true(count >= 60);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(out[i], 500 - count + i);
    }
    fixture_deinit(&f);
}

// Goal: requests survive among raft messages; once only requests are left, the new one is refused.
static void test_transport_queue_keeps_what_nobody_resends(void **state) {
    (void)state;
    struct fixture f;
    uint32_t out[128];
    fixture_init(&f);
    uint32_t requests = 0;
    for (uint32_t i = 0; i < 200; i++) {
        bool is_request = i % 5 == 0;
        enum status st = push(&f, is_request ? PEER_REQUEST : PEER_RAFT, i);
        assert_int_equal(st, STATUS_OK);
        requests += is_request;
    }
    uint32_t refused = 0;
    for (uint32_t i = 200; i < 300; i++) {
        enum status st = push(&f, PEER_REQUEST, i);
        assert_true(st == STATUS_OK || st == STATUS_RESOURCE_EXHAUSTED);
        refused += st != STATUS_OK;
        requests += st == STATUS_OK;
        assert_true(f.queue.bytes <= BYTES_MAX);
    }
    assert_true(refused > 0);
    uint32_t count = drain(&f, out, 128);
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) { assert_true(out[i] > out[i - 1]); }
        found += out[i] >= 200 || out[i] % 5 == 0;
    }
    assert_int_equal(found, requests);
    assert_int_equal(count + f.queue.dropped, 300);
    fixture_deinit(&f);
}

// Goal: a frame that is being written counts, and is not touched by what comes later.
static void test_transport_queue_taken_frames_count_and_stay(void **state) {
    (void)state;
    struct fixture f;
    uint32_t out[128];
    fixture_init(&f);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(push(&f, PEER_RAFT, i), STATUS_OK);
    }
    struct transport_frame *taken = transport_queue_take(&f.queue);
    size_t size = taken->buf.size;
    for (uint32_t i = 20; i < 500; i++) {
        assert_int_equal(push(&f, PEER_RAFT, i), STATUS_OK);
        assert_true(f.queue.bytes <= BYTES_MAX);
    }
    assert_int_equal(taken->buf.size, size);
    assert_int_equal(transport_frame_check(buf_slice(&taken->buf)), STATUS_OK);
    transport_frame_release(&f.pool, taken);
    (void)drain(&f, out, 128);
    assert_int_equal(f.queue.bytes, 0);
    fixture_deinit(&f);
}

// Goal: clearing tells how many messages went.
static void test_transport_queue_clear_counts(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    for (uint32_t i = 0; i < 33; i++) {
        assert_int_equal(push(&f, PEER_REQUEST, i), STATUS_OK);
    }
    assert_int_equal(transport_queue_clear(&f.queue), 33);
    assert_true(transport_queue_is_empty(&f.queue));
    assert_int_equal(f.queue.bytes, 0);
    fixture_deinit(&f);
}

// Goal: over many random pushes, takes and releases: the bound, the order, and that every message
// was delivered, dropped or refused, exactly once.
static void test_transport_queue_random_walk_loses_nothing(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 7);
    for (int round = 0; round < 50; round++) {
        struct fixture f;
        uint32_t out[128];
        uint32_t pushed = 0;
        uint32_t taken = 0;
        uint32_t newest_taken = 0;
        fixture_init(&f);
        for (int step = 0; step < 1000; step++) {
            if (prng_chance(&prng, 1, 60)) {
                uint32_t count = drain(&f, out, 128);
                for (uint32_t i = 0; i < count; i++) {
                    assert_true(out[i] > newest_taken);
                    newest_taken = out[i];
                }
                taken += count;
            } else {
                bool is_request = prng_chance(&prng, 1, 3);
                pushed++;
                (void)!push(&f, is_request ? PEER_REQUEST : PEER_FRONTIER, pushed);
            }
            assert_true(f.queue.bytes <= BYTES_MAX);
        }
        taken += drain(&f, out, 128);
        assert_int_equal(taken + f.queue.dropped, pushed);
        fixture_deinit(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transport_queue_batches_in_order),
        cmocka_unit_test(test_transport_queue_full_drops_oldest),
        cmocka_unit_test(test_transport_queue_keeps_what_nobody_resends),
        cmocka_unit_test(test_transport_queue_taken_frames_count_and_stay),
        cmocka_unit_test(test_transport_queue_clear_counts),
        cmocka_unit_test(test_transport_queue_random_walk_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
