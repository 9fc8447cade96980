// SPDX-License-Identifier: Apache-2.0
// world.h - a fake node and a client of it, for the tests of api/client.
// Invariants: world_teardown ends what world_setup_* began.
// Ownership:  the world owns both.
// Thread:     the test's.
// See:        tests/unit/api/data/fake_node.h
#pragma once

#include "api/client/lightcone.h"
#include "tests/unit/api/data/fake_node.h"

struct world {
    struct fake_node *node;
    struct lc_client *client;
    enum lc_mode mode;
};

// For cmocka.
int world_setup_batch(void **state);
int world_setup_unary(void **state);
int world_teardown(void **state);

// A client of these addresses; the test fails when it does not connect.
struct lc_client *world_connect(const char *const *addresses, uint32_t count, enum lc_mode mode);
struct slice world_text(const char *s);
// Acknowledged, or the test fails; returns the timestamp.
uint64_t world_put(struct lc_client *client, const char *key, const char *value);
// The value of a key is this text; NULL = it has none.
bool world_holds(struct lc_client *client, const char *key, const char *value);

#define WORLD_BATCH(test) \
    { #test "_batch", test, world_setup_batch, world_teardown, NULL }
#define WORLD_UNARY(test) \
    { #test "_unary", test, world_setup_unary, world_teardown, NULL }
#define WORLD_BOTH(test) WORLD_BATCH(test), WORLD_UNARY(test)
