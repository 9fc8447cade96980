// SPDX-License-Identifier: Apache-2.0
// The receiving buffer alone: frames cut anywhere, bodies kept, memory in step with what came in.
#include "dataplane/transport/transport_input.h"

#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "dataplane/codec/codec.h"
#include "dataplane/transport/transport_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { STREAM_FRAMES = 400, KEPT_MAX = 16 };

// A sealed frame with `payload_size` bytes, all of the frame's number.
static void append_frame(struct buf *stream, uint32_t number, size_t payload_size) {
    size_t begin = stream->size;
    size_t size = TRANSPORT_FRAME_HEADER_SIZE + payload_size;
    assert_int_equal(buf_reserve(stream, size), STATUS_OK);
    memset(stream->data + begin, (int)(number & 0xff), size);
    stream->size += size;
    transport_frame_seal(stream->data + begin, size);
}

struct kept {
    struct bytes *owner;
    struct slice payload;
    uint8_t value;
};

static void check_kept(struct kept *kept) {
    if (kept->owner == NULL) { return; }
    for (size_t i = 0; i < kept->payload.size; i++) {
        assert_int_equal(kept->payload.data[i], kept->value);
    }
    bytes_unref(kept->owner);
    *kept = (struct kept){0};
}

// Goal: whatever the cuts, frames come out as they went in, and kept ones stay as they were.
static void test_transport_input_frames_survive_any_cut(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct buf stream;
        buf_init(&stream, 256 << 20);
        size_t sizes[STREAM_FRAMES];
        for (uint32_t i = 0; i < STREAM_FRAMES; i++) {
            sizes[i] = prng_chance(&prng, 1, 50) ? prng_between(&prng, 1, 3 << 19)
                                                 : prng_between(&prng, 1, 3000);
            append_frame(&stream, i, sizes[i]);
        }
        struct transport_input input;
        struct kept kept[KEPT_MAX] = {0};
        transport_input_init(&input);
        transport_input_trust(&input, TRANSPORT_PAYLOAD_SIZE_MAX);
        uint32_t seen = 0;
        for (size_t at = 0; at < stream.size;) {
            size_t room = 0;
            uint8_t *to = transport_input_room(&input, &room);
            size_t size = prng_chance(&prng, 1, 2) ? room : prng_between(&prng, 1, 5000);
            if (size > room) { size = room; }
            if (size > stream.size - at) { size = stream.size - at; }
            memcpy(to, stream.data + at, size);
            transport_input_commit(&input, size);
            at += size;
            for (;;) {
                bool ready = false;
                struct bytes *owner = NULL;
                struct slice payload;
                assert_int_equal(transport_input_next(&input, &ready, &owner, &payload), STATUS_OK);
                if (!ready) { break; }
                assert_int_equal(payload.size, sizes[seen]);
                assert_int_equal(payload.data[0], seen & 0xff);
                if (prng_chance(&prng, 1, 4)) {
                    struct kept *place = &kept[prng_below(&prng, KEPT_MAX)];
                    check_kept(place);
                    *place = (struct kept){bytes_ref(owner), payload, (uint8_t)(seen & 0xff)};
                }
                seen++;
            }
        }
        assert_int_equal(seen, STREAM_FRAMES);
        transport_input_deinit(&input);
        for (size_t i = 0; i < KEPT_MAX; i++) {
            check_kept(&kept[i]);
        }
        buf_deinit(&stream);
    }
}

// Goal: an announced 64 MiB costs no more than a chunk until the bytes come, and then at most twice
// what came.
static void test_transport_input_memory_follows_bytes(void **state) {
    (void)state;
    struct transport_input input;
    transport_input_init(&input);
    transport_input_trust(&input, TRANSPORT_PAYLOAD_SIZE_MAX);
    uint8_t header[TRANSPORT_FRAME_HEADER_SIZE] = {0};
    codec_store_u32(header, TRANSPORT_PAYLOAD_SIZE_MAX);
    size_t room = 0;
    uint8_t *to = transport_input_room(&input, &room);
    memcpy(to, header, sizeof(header));
    transport_input_commit(&input, sizeof(header));
    size_t came = sizeof(header);
    bool ready = true;
    struct bytes *owner = NULL;
    struct slice payload;
    while (came < 8 << 20) {
        assert_int_equal(transport_input_next(&input, &ready, &owner, &payload), STATUS_OK);
        assert_false(ready);
        to = transport_input_room(&input, &room);
        size_t size = room < 4096 ? room : 4096;
        memset(to, 0, size);
        transport_input_commit(&input, size);
        came += size;
        size_t limit = 2 * came > TRANSPORT_CHUNK_SIZE_MAX ? 2 * came : TRANSPORT_CHUNK_SIZE_MAX;
        assert_true(input.chunk->size <= limit);
    }
    transport_input_deinit(&input);
}

// Goal: before the handshake a frame and its memory are at most 4 KiB.
static void test_transport_input_before_handshake_is_small(void **state) {
    (void)state;
    struct transport_input input;
    transport_input_init(&input);
    size_t room = 0;
    uint8_t *to = transport_input_room(&input, &room);
    assert_int_equal(room, 4096);
    memset(to, 0, TRANSPORT_FRAME_HEADER_SIZE);
    codec_store_u32(to, TRANSPORT_HELLO_PAYLOAD_SIZE_MAX + 1);
    transport_input_commit(&input, TRANSPORT_FRAME_HEADER_SIZE);
    bool ready = true;
    struct bytes *owner = NULL;
    struct slice payload;
    assert_int_equal(transport_input_next(&input, &ready, &owner, &payload), STATUS_CORRUPT);
    assert_false(ready);
    transport_input_deinit(&input);
}

// Goal: a chunk that nobody kept is used again; one that somebody kept is not.
static void test_transport_input_reuses_only_unshared_chunks(void **state) {
    (void)state;
    struct buf stream;
    buf_init(&stream, 4096);
    append_frame(&stream, 1, 100);
    struct transport_input input;
    transport_input_init(&input);
    const struct bytes *first = NULL;
    struct bytes *kept = NULL;
    for (int i = 0; i < 3; i++) {
        size_t room = 0;
        uint8_t *to = transport_input_room(&input, &room);
        if (i == 0) { first = input.chunk; }
        if (i == 1) { assert_ptr_equal(input.chunk, first); }
        if (i == 2) { assert_ptr_not_equal(input.chunk, first); }
        memcpy(to, stream.data, stream.size);
        transport_input_commit(&input, stream.size);
        bool ready = false;
        struct bytes *owner = NULL;
        struct slice payload;
        assert_int_equal(transport_input_next(&input, &ready, &owner, &payload), STATUS_OK);
        assert_true(ready);
        if (i == 1) { kept = bytes_ref(owner); }
    }
    bytes_unref(kept);
    transport_input_deinit(&input);
    buf_deinit(&stream);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transport_input_frames_survive_any_cut),
        cmocka_unit_test(test_transport_input_memory_follows_bytes),
        cmocka_unit_test(test_transport_input_before_handshake_is_small),
        cmocka_unit_test(test_transport_input_reuses_only_unshared_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
