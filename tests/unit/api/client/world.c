// SPDX-License-Identifier: Apache-2.0
// Small on purpose: what every test of the client needs, nothing of what one of them tests.
#include "tests/unit/api/client/world.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

struct lc_client *world_connect(const char *const *addresses, uint32_t count, enum lc_mode mode) {
    struct lc_client *client = NULL;
    struct err err = {0};
    struct lc_config config = {.addresses = addresses, .address_count = count, .mode = mode};
    if (lc_connect(&config, &client, &err) != STATUS_OK) { FATAL("%s", err.message); }
    return client;
}

static int world_setup(void **state, enum lc_mode mode) {
    struct world *world = mem_alloc(sizeof(*world));
    world->node = fake_node_create(0, 0);
    world->mode = mode;
    const char *address = fake_node_address(world->node);
    world->client = world_connect(&address, 1, mode);
    *state = world;
    return 0;
}

int world_setup_batch(void **state) {
    return world_setup(state, LC_BATCH);
}

int world_setup_unary(void **state) {
    return world_setup(state, LC_UNARY);
}

int world_teardown(void **state) {
    struct world *world = *state;
    lc_close(world->client);
    fake_node_destroy(world->node);
    mem_free(world);
    return 0;
}

struct slice world_text(const char *s) {
    return slice_from_string(s);
}

uint64_t world_put(struct lc_client *client, const char *key, const char *value) {
    struct lc_reply reply;
    enum status st = lc_put_wait(client, FAKE_KEYSPACE, world_text(key), world_text(value), &reply);
    if (st != STATUS_OK) { FATAL("put: %s", status_text(st)); }
    uint64_t timestamp = reply.result.timestamp;
    lc_reply_free(&reply);
    return timestamp;
}

bool world_holds(struct lc_client *client, const char *key, const char *value) {
    struct lc_reply reply;
    enum status st = lc_get_wait(client, FAKE_KEYSPACE, world_text(key), &reply);
    bool holds = value == NULL ? st == STATUS_NOT_FOUND
                               : st == STATUS_OK &&
                                     slice_equal(reply.result.rows[0].value, world_text(value));
    lc_reply_free(&reply);
    return holds;
}
