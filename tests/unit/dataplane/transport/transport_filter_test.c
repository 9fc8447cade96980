// SPDX-License-Identifier: Apache-2.0
// The seam between socket and frames, with a filter that changes every byte, cuts the stream
// differently and has a handshake of its own: nothing above it may notice.
#include "dataplane/transport/transport_filter.h"

#include "dataplane/base/mem.h"
#include "tests/unit/dataplane/transport/mesh.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { KEY_BYTE = 0x5a, GREETING_SIZE = 3 };

// Says three bytes first, and keeps plain bytes until it has heard three.
struct xor_filter {
    struct transport_filter filter;  // first
    bool has_spoken;
    uint32_t heard;
    struct buf waiting;
    uint64_t *opened;  // counts plain bytes, to prove that the filter was there
};

static enum status put_xored(struct buf *out, struct slice bytes) {
    for (size_t i = 0; i < bytes.size; i++) {
        const uint8_t byte = bytes.data[i] ^ KEY_BYTE;
        enum status st = buf_append(out, slice_make(&byte, 1));
        if (st != STATUS_OK) { return st; }
    }
    return STATUS_OK;
}

static enum status speak(struct xor_filter *self, struct buf *out_wire) {
    if (self->has_spoken) { return STATUS_OK; }
    self->has_spoken = true;
    return buf_append(out_wire, SLICE_LITERAL("XOR"));
}

static enum status xor_open(struct transport_filter *filter, struct slice wire,
                            struct buf *out_plain, struct buf *out_wire) {
    struct xor_filter *self = (struct xor_filter *)(void *)filter;
    enum status st = speak(self, out_wire);
    while (st == STATUS_OK && self->heard < GREETING_SIZE && wire.size > 0) {
        if (wire.data[0] != (uint8_t) "XOR"[self->heard]) { return STATUS_CORRUPT; }
        wire = slice_make(wire.data + 1, wire.size - 1);
        self->heard++;
        if (self->heard == GREETING_SIZE) {
            st = put_xored(out_wire, buf_slice(&self->waiting));
            buf_reset(&self->waiting);
        }
    }
    *self->opened += wire.size;
    return st == STATUS_OK ? put_xored(out_plain, wire) : st;
}

static enum status xor_seal(struct transport_filter *filter, struct slice plain,
                            struct buf *out_wire) {
    struct xor_filter *self = (struct xor_filter *)(void *)filter;
    enum status st = speak(self, out_wire);
    if (st != STATUS_OK) { return st; }
    if (self->heard < GREETING_SIZE) { return buf_append(&self->waiting, plain); }
    return put_xored(out_wire, plain);
}

static void xor_destroy(struct transport_filter *filter) {
    struct xor_filter *self = (struct xor_filter *)(void *)filter;
    buf_deinit(&self->waiting);
    mem_free(self);
}

static const struct transport_filter_ops xor_ops = {xor_open, xor_seal, xor_destroy};

static struct transport_filter *xor_create(void *ctx, bool dialled) {
    struct xor_filter *self = mem_alloc(sizeof(*self));
    (void)dialled;
    self->filter.ops = &xor_ops;
    self->opened = ctx;
    buf_init(&self->waiting, 1 << 20);
    return &self->filter;
}

static bool received_all(struct mesh *mesh, void *arg) {
    const uint64_t *count = arg;
    return mesh->nodes[1].received >= *count;
}

// Goal: small and large messages pass a filter unchanged, in order.
static void test_transport_filter_is_transparent(void **state) {
    (void)state;
    struct mesh mesh;
    uint64_t opened = 0;
    mesh_init(&mesh);
    for (uint32_t i = 0; i < 2; i++) {
        struct transport_config config = mesh_config(&mesh, i);
        config.filter_create = xor_create;
        config.filter_ctx = &opened;
        mesh_start(&mesh, i, &config);
    }
    mesh_introduce(&mesh, 1, 0);
    uint64_t count = 0;
    while (count < 300) {
        mesh_send_numbered(&mesh, PEER_RAFT, count, count % 50 == 49 ? 600000 : 200);
        count++;
    }
    mesh_run(&mesh, received_all, &count);
    assert_int_equal(mesh.nodes[1].out_of_order, 0);
    assert_int_equal(mesh.nodes[1].received_bytes, 6 * 600000 + 294 * 200);
    assert_true(opened > mesh.nodes[1].received_bytes);
    mesh_deinit(&mesh);
}

// Goal: a plain node cannot talk to a filtered one; both survive the attempt.
static void test_transport_filter_refuses_plain_peer(void **state) {
    (void)state;
    struct mesh mesh;
    uint64_t opened = 0;
    mesh_init(&mesh);
    struct transport_config config = mesh_config(&mesh, 0);
    config.filter_create = xor_create;
    config.filter_ctx = &opened;
    mesh_start(&mesh, 0, &config);
    config = mesh_config(&mesh, 1);
    mesh_start(&mesh, 1, &config);
    mesh_introduce(&mesh, 0, 1);
    while (mesh_stats(&mesh, 0).connections_corrupt == 0) {
        mesh_spin(&mesh);
    }
    assert_int_equal(mesh.nodes[1].ups, 0);
    mesh_deinit(&mesh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transport_filter_is_transparent),
        cmocka_unit_test(test_transport_filter_refuses_plain_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
