// SPDX-License-Identifier: Apache-2.0
// daemon.c - composes node, gRPC server, Data and Admin.
//
// The server starts before the node's loop does; what comes in until the node has an identity is
// refused with a reason, and the health
// service says NOT_SERVING, so that a load balancer waits.

#include "api/daemon/daemon.h"

#include "api/admin/admin.h"
#include "api/data/data.h"
#include "api/proto/services.descriptor.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/log.h"
#include "dataplane/transport/transport_address.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { DAEMON_DRAIN_MS = 1000 };

struct daemon {
    bool current;  // loop: the catalogue is as new as others say
    struct node *node;
    struct rpc_server *server;
    struct data *data;
    struct admin *admin;
    // Whether the node stands in the catalogue, and who waits for that.
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool usable;
};

// --- the loop's side

static void publish_directory(struct daemon *self) {
    const struct catalog *catalog = node_core_catalog(node_core_get(self->node));
    uint32_t count = catalog_keyspace_count(catalog);
    struct directory_entry *entries = mem_alloc_array(count + 1, sizeof(*entries));
    for (uint32_t i = 0; i < count; i++) {
        const struct catalog_keyspace *keyspace = catalog_keyspace_at(catalog, i);
        entries[i] = (struct directory_entry){keyspace->id, slice_from_string(keyspace->name)};
    }
    data_set_directory(self->data, directory_create(entries, count));
    mem_free(entries);
}

static void tell_usable(struct daemon *self) {
    const struct catalog *catalog = node_core_catalog(node_core_get(self->node));
    if (catalog_node(catalog, node_self(self->node)->id) == NULL) { return; }
    (void)pthread_mutex_lock(&self->mu);
    self->usable = true;
    (void)pthread_cond_broadcast(&self->changed);
    (void)pthread_mutex_unlock(&self->mu);
}

static void on_ready(void *ctx) {
    struct daemon *self = ctx;
    struct node_core *core = node_core_get(self->node);
    data_set_node(self->data, node_core_gateway(core), node_core_hlc(core),
                  node_self(self->node)->id);
    tell_usable(self);
}

static void on_catalog_changed(void *ctx) {
    struct daemon *self = ctx;
    if (self->current) { publish_directory(self); }
    tell_usable(self);
}

// After a start the catalogue may be old: until it is current, requests are told to come back
// instead of being
// told that what they name does not exist.
static void open_when_current(struct daemon *self) {
    struct node_core *core = node_core_get(self->node);
    if (self->current || core == NULL || !node_core_is_current(core)) { return; }
    self->current = true;
    publish_directory(self);
    rpc_health_set(self->server, "", true);
    rpc_health_set(self->server, "lightcone.v1.Data", true);
}

static void on_turn(void *ctx) {
    struct daemon *self = ctx;
    if (self->data != NULL) { open_when_current(self); }
    if (self->data != NULL) { data_turn(self->data); }
    if (self->admin != NULL) { admin_turn(self->admin); }
}

// --- start and stop

// Every address that the name stands for, since the server listens on all of them.
static bool is_loopback_name(const char *host) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    // A name that resolves to nothing is told by the attempt to listen on it.
    if (getaddrinfo(host, NULL, &hints, &found) != 0) { return true; }
    bool is_loopback = true;
    for (const struct addrinfo *item = found; item != NULL; item = item->ai_next) {
        is_loopback = is_loopback && transport_address_is_loopback(item->ai_addr);
    }
    freeaddrinfo(found);
    return is_loopback;
}

static enum status check_listen(const struct daemon_options *options, struct err *err) {
    struct transport_address address;
    enum status st = transport_address_parse(options->rpc_listen, &address);
    if (st != STATUS_OK) {
        return err_set(err, st, "\"%s\" is not host:port", options->rpc_listen);
    }
    if (options->node.insecure || is_loopback_name(address.host)) { return STATUS_OK; }
    return err_set(err, STATUS_FAILED_PRECONDITION,
                   "clients are neither encrypted nor asked who they are: listening on %s, beyond "
                   "the loopback, needs insecure: true",
                   options->rpc_listen);
}

static enum status start_server(struct daemon *self, const struct daemon_options *options,
                                struct err *err) {
    struct rpc_config config = {
        .address = options->rpc_listen,
        .poller_count = options->poller_count,
        .calls_max = options->node.calls_max,
        .descriptors = slice_make(services_descriptor_set, services_descriptor_set_size),
    };
    enum status st = rpc_create(&config, &self->server, err);
    if (st != STATUS_OK) { return st; }
    struct data_config data = {
        .server = self->server,
        .loop = node_loop(self->node),
        .env = node_env(self->node),
        .commit_size_max = options->commit_size_max,
    };
    self->data = data_create(&data);
    self->admin = admin_create(self->node, options->dev);
    admin_register(self->admin, self->server);
    return STATUS_OK;
}

static void tell_rpc_address(struct daemon *self, const struct daemon_options *options) {
    char address[CATALOG_ADDRESS_SIZE_MAX];
    const char *colon = strrchr(options->rpc_listen, ':');
    int host = colon != NULL ? (int)(colon - options->rpc_listen) : 0;
    (void)snprintf(address, sizeof(address), "%.*s:%u", host, options->rpc_listen,
                   rpc_port(self->server));
    node_set_rpc_address(self->node,
                         options->rpc_advertise != NULL ? options->rpc_advertise : address);
}

static struct daemon *daemon_new(void) {
    struct daemon *self = mem_alloc(sizeof(*self));
    pthread_condattr_t attributes;
    int error = pthread_mutex_init(&self->mu, NULL);
    error |= pthread_condattr_init(&attributes);
    error |= pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error |= pthread_cond_init(&self->changed, &attributes);
    ASSERT(error == 0);
    (void)pthread_condattr_destroy(&attributes);
    return self;
}

enum status daemon_start(const struct daemon_options *options, struct daemon **out_daemon,
                         struct err *err) {
    struct daemon *self = daemon_new();
    struct node_options node = options->node;
    node.ready = on_ready;
    node.catalog_changed = on_catalog_changed;
    node.turn = on_turn;
    node.ctx = self;
    enum status st = check_listen(options, err);
    if (st == STATUS_OK) { st = node_create(&node, &self->node, err); }
    if (st == STATUS_OK) { st = start_server(self, options, err); }
    if (st == STATUS_OK) {
        tell_rpc_address(self, options);
        rpc_start(self->server);
        st = node_start(self->node, err);
    }
    if (st != STATUS_OK) {
        daemon_stop(self);
        return st;
    }
    rpc_health_set(self->server, "lightcone.v1.Admin", true);
    *out_daemon = self;
    return STATUS_OK;
}

void daemon_stop(struct daemon *self) {
    if (self->server != NULL) { rpc_stop(self->server, DAEMON_DRAIN_MS); }
    if (self->node != NULL) { node_stop(self->node); }
    if (self->admin != NULL) { admin_destroy(self->admin); }
    if (self->data != NULL) { data_destroy(self->data); }
    rpc_destroy(self->server);
    if (self->node != NULL) { node_destroy(self->node); }
    (void)pthread_cond_destroy(&self->changed);
    (void)pthread_mutex_destroy(&self->mu);
    mem_free(self);
}

bool daemon_wait_usable(struct daemon *self, uint32_t timeout_ms) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&self->mu);
    int error = 0;
    while (!self->usable && error == 0) {
        error = pthread_cond_timedwait(&self->changed, &self->mu, &until);
    }
    bool usable = self->usable;
    (void)pthread_mutex_unlock(&self->mu);
    return usable;
}

const char *daemon_peer_address(const struct daemon *self) {
    return node_self(self->node)->peer_address;
}
uint16_t daemon_rpc_port(const struct daemon *self) {
    return rpc_port(self->server);
}
