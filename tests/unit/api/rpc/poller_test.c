// SPDX-License-Identifier: Apache-2.0
// Bursts both ways between pollers and a thread that answers: no call may be forgotten, whoever
// sleeps when. A wake-up that is lost shows as a call that runs into its deadline.
#include "api/rpc/rpc.h"
#include "dataplane/base/mem.h"
#include "tests/unit/api/rpc/test_client.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CLIENTS = 3, CALLS = 300, ROUNDS = 20, QUEUE_MAX = 64 };

// The thread that answers stands for a shard loop: it sleeps until a burst is there, and tells the
// pollers once for all that it answered.
struct world {
    struct rpc_server *server;
    char address[64];
    pthread_mutex_t mu;
    pthread_cond_t changed;
    struct rpc_call *queue[QUEUE_MAX];  // guarded by mu
    struct slice requests[QUEUE_MAX];   // guarded by mu
    uint32_t count;                     // guarded by mu
    bool due;                           // a burst ended; guarded by mu
    bool over;                          // guarded by mu
    pthread_t answerer;
    atomic_uint_fast32_t bursts;
    atomic_uint_fast32_t failures;
};

static void later_start(void *ctx, struct rpc_call *call, struct slice request) {
    struct world *world = ctx;
    (void)pthread_mutex_lock(&world->mu);
    if (world->count < QUEUE_MAX) {
        world->queue[world->count] = call;
        world->requests[world->count] = request;
        world->count++;
    } else {
        atomic_fetch_add(&world->failures, 1);
    }
    (void)pthread_mutex_unlock(&world->mu);
}

static void here_start(void *ctx, struct rpc_call *call, struct slice request) {
    (void)ctx;
    rpc_reply_later(call, request);
}

static void on_burst_end(void *ctx) {
    struct world *world = ctx;
    atomic_fetch_add(&world->bursts, 1);
    (void)pthread_mutex_lock(&world->mu);
    world->due = true;
    (void)pthread_cond_signal(&world->changed);
    (void)pthread_mutex_unlock(&world->mu);
}

static void *answer(void *arg) {
    struct world *world = arg;
    (void)pthread_mutex_lock(&world->mu);
    for (;;) {
        while (!world->due && !world->over) {
            (void)pthread_cond_wait(&world->changed, &world->mu);
        }
        if (world->over) { break; }
        struct rpc_call *calls[QUEUE_MAX];
        struct slice requests[QUEUE_MAX];
        const uint32_t count = world->count;
        memcpy(calls, world->queue, sizeof(calls));
        memcpy(requests, world->requests, sizeof(requests));
        world->count = 0;
        world->due = false;
        (void)pthread_mutex_unlock(&world->mu);
        for (uint32_t i = 0; i < count; i++) {
            rpc_reply_later(calls[i], requests[i]);
        }
        rpc_replies_flush(world->server);
        (void)pthread_mutex_lock(&world->mu);
    }
    (void)pthread_mutex_unlock(&world->mu);
    return NULL;
}

static const struct rpc_handler later_handler = {.start = later_start};
static const struct rpc_handler here_handler = {.start = here_start};

static void world_start(struct world *world, uint32_t pollers) {
    struct err err = {0};
    struct rpc_config config = {.address = "127.0.0.1:0", .poller_count = pollers};
    struct rpc_method later = {.path = "/test.T/Later", .handler = &later_handler, .ctx = world};
    struct rpc_method here = {.path = "/test.T/Here", .handler = &here_handler, .ctx = world};
    memset(world, 0, sizeof(*world));
    assert_int_equal(pthread_mutex_init(&world->mu, NULL), 0);
    assert_int_equal(pthread_cond_init(&world->changed, NULL), 0);
    assert_int_equal(rpc_create(&config, &world->server, &err), STATUS_OK);
    rpc_register(world->server, &later);
    rpc_register(world->server, &here);
    rpc_set_burst_end(world->server, on_burst_end, world);
    rpc_start(world->server);
    (void)snprintf(world->address, sizeof(world->address), "127.0.0.1:%u", rpc_port(world->server));
    assert_int_equal(pthread_create(&world->answerer, NULL, answer, world), 0);
}

// The server first, as a node does: its calls end because the loop still runs.
static void world_stop(struct world *world) {
    struct rpc_stats stats;
    rpc_stop(world->server, 5000);
    rpc_stats(world->server, &stats);
    assert_int_equal(stats.in_flight, 0);
    rpc_replies_flush(world->server);  // a loop that outlives the server's calls goes on turning
    (void)pthread_mutex_lock(&world->mu);
    world->over = true;
    (void)pthread_cond_signal(&world->changed);
    (void)pthread_mutex_unlock(&world->mu);
    assert_int_equal(pthread_join(world->answerer, NULL), 0);
    rpc_destroy(world->server);
    (void)pthread_cond_destroy(&world->changed);
    (void)pthread_mutex_destroy(&world->mu);
}

static bool ask(struct test_client *client, const char *path, uint32_t number) {
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", number);
    struct test_reply reply = test_client_call(client, path, slice_from_string(text), 0);
    bool ok = reply.code == 0 && slice_equal(bytes_slice(reply.message), slice_from_string(text));
    test_reply_free(&reply);
    return ok;
}

static void *ask_many(void *arg) {
    struct world *world = arg;
    struct test_client *client = test_client_create(world->address);
    for (uint32_t i = 0; i < CALLS; i++) {
        if (!ask(client, "/test.T/Later", i)) { atomic_fetch_add(&world->failures, 1); }
    }
    test_client_destroy(client);
    return NULL;
}

static void run_clients(uint32_t pollers) {
    struct world world;
    pthread_t threads[CLIENTS];
    world_start(&world, pollers);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, &world), 0);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(world.failures, 0);
    assert_in_range(world.bursts, 1, CLIENTS * CALLS);
    world_stop(&world);
}

// Goal: every call is answered with its own answer while poller and answerer sleep and wake in
// every order.
static void test_poller_forgets_no_call(void **state) {
    (void)state;
    run_clients(1);
}

static void test_poller_two_share_one_answerer(void **state) {
    (void)state;
    run_clients(2);
}

// Goal: what the poller itself leaves for later needs no flush.
static void test_poller_answers_its_own_later_replies(void **state) {
    (void)state;
    struct world world;
    world_start(&world, 1);
    struct test_client *client = test_client_create(world.address);
    for (uint32_t i = 0; i < 100; i++) {
        assert_true(ask(client, "/test.T/Here", i));
    }
    test_client_destroy(client);
    world_stop(&world);
}

// Goal: a stop right behind the last answers meets no bell on a queue that is shut down.
static void test_poller_stops_behind_the_last_answer(void **state) {
    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct world world;
        world_start(&world, 1 + round % 2);
        struct test_client *client = test_client_create(world.address);
        for (uint32_t i = 0; i < 3; i++) {
            assert_true(ask(client, "/test.T/Later", i));
        }
        world_stop(&world);
        test_client_destroy(client);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_poller_forgets_no_call),
        cmocka_unit_test(test_poller_two_share_one_answerer),
        cmocka_unit_test(test_poller_answers_its_own_later_replies),
        cmocka_unit_test(test_poller_stops_behind_the_last_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
