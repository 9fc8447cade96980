// SPDX-License-Identifier: Apache-2.0
// grpc.health.v1.Health. Watchers are told under the mutex, so that the last message a watcher gets
// is the status that holds; gathering joins statuses that a slow reader missed, and the last of two
// equal fields wins in protobuf.
#include "api/rpc/rpc_internal.h"
#include "dataplane/base/assert.h"

#include <stdio.h>
#include <string.h>

enum rpc_serving {
    RPC_SERVING_UNKNOWN,
    RPC_SERVING_YES,
    RPC_SERVING_NO,
    RPC_SERVING_NO_SUCH_SERVICE,
    RPC_SERVING_COUNT
};

// State of a Watch call.
struct rpc_watch {
    struct rpc_watch *next;
    struct rpc_watch *previous;
    char service[RPC_SERVICE_NAME_SIZE];
    bool linked;
    bool finished;  // guarded by the health mutex: who sets it finishes the call
};

void rpc__health_init(struct rpc_server *server) {
    int error = pthread_mutex_init(&server->health.mu, NULL);
    ASSERT(error == 0);
    server->health.services[0] = (struct rpc_service){.name = ""};
    server->health.service_count = 1;
}

void rpc__health_deinit(struct rpc_server *server) {
    ASSERT(server->health.watches == NULL);
    (void)pthread_mutex_destroy(&server->health.mu);
}

static struct rpc_service *rpc_service_find(struct rpc_health *self, const char *name) {
    for (uint32_t i = 0; i < self->service_count; i++) {
        if (strcmp(self->services[i].name, name) == 0) { return &self->services[i]; }
    }
    return NULL;
}

void rpc__health_add(struct rpc_server *server, const char *path) {
    struct rpc_health *self = &server->health;
    const char *end = path[0] == '/' ? strchr(path + 1, '/') : NULL;
    ASSERT(end != NULL && end - path < RPC_SERVICE_NAME_SIZE);
    char name[RPC_SERVICE_NAME_SIZE];
    (void)snprintf(name, sizeof(name), "%.*s", (int)(end - path - 1), path + 1);
    (void)pthread_mutex_lock(&self->mu);
    if (rpc_service_find(self, name) == NULL) {
        ASSERT(self->service_count < RPC_SERVICES_MAX);
        struct rpc_service *service = &self->services[self->service_count++];
        memcpy(service->name, name, sizeof(name));
        service->serving = false;
    }
    (void)pthread_mutex_unlock(&self->mu);
}

static enum rpc_serving rpc_serving_of(struct rpc_health *self, const char *name) {
    const struct rpc_service *service = rpc_service_find(self, name);
    if (service == NULL) { return RPC_SERVING_NO_SUCH_SERVICE; }
    return service->serving ? RPC_SERVING_YES : RPC_SERVING_NO;
}

// HealthCheckResponse{status}: one field, one small number. Always written, so that a later one
// takes the place of an earlier one.
enum { RPC_HEALTH_SIZE = 2 };
static struct slice rpc_health_encode(enum rpc_serving serving, uint8_t out[RPC_HEALTH_SIZE]) {
    out[0] = 1 << 3 | PROTO_VARINT;
    out[1] = (uint8_t)serving;
    return slice_make(out, RPC_HEALTH_SIZE);
}

// HealthCheckRequest{service} as a C string; false for garbage and names that no service can have.
static bool rpc_health_decode(struct slice request, char out[RPC_SERVICE_NAME_SIZE]) {
    struct proto_reader r;
    struct proto_field field;
    struct slice name = SLICE_EMPTY;
    proto_reader_init(&r, request);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { name = proto_get_bytes(&r, &field); }
    }
    if (r.status != STATUS_OK || name.size >= RPC_SERVICE_NAME_SIZE) { return false; }
    (void)snprintf(out, RPC_SERVICE_NAME_SIZE, "%.*s", (int)name.size,
                   name.size == 0 ? "" : (const char *)name.data);
    return true;
}

static void rpc_health_refuse(struct rpc_call *call, enum status st, const char *text) {
    struct rpc_error error = {.status = st, .field = "service", .message = slice_from_string(text)};
    rpc_fail(call, &error);
}

static void rpc_health_check(void *ctx, struct rpc_call *call, struct slice request) {
    struct rpc_health *self = &((struct rpc_server *)ctx)->health;
    char name[RPC_SERVICE_NAME_SIZE];
    if (!rpc_health_decode(request, name)) {
        rpc_health_refuse(call, STATUS_INVALID_ARGUMENT, "the request does not decode");
        return;
    }
    (void)pthread_mutex_lock(&self->mu);
    enum rpc_serving serving = rpc_serving_of(self, name);
    (void)pthread_mutex_unlock(&self->mu);
    if (serving == RPC_SERVING_NO_SUCH_SERVICE) {
        rpc_health_refuse(call, STATUS_NOT_FOUND, "no such service");
        return;
    }
    uint8_t out[RPC_HEALTH_SIZE];
    rpc_reply(call, rpc_health_encode(serving, out));
}

// With the health mutex held.
static void rpc_watch_tell(struct rpc_health *self, struct rpc_watch *watch) {
    struct rpc_call *call = rpc_call_of(watch);
    uint8_t out[RPC_HEALTH_SIZE];
    if (watch->finished || rpc_gathered(call) > RPC_SERVICE_NAME_SIZE * RPC_HEALTH_SIZE) { return; }
    if (rpc_gather(call, rpc_health_encode(rpc_serving_of(self, watch->service), out)) !=
        STATUS_OK) {
        return;
    }
    rpc_flush(call);
}

static void rpc_watch_start(void *ctx, struct rpc_call *call, struct slice request) {
    struct rpc_health *self = &((struct rpc_server *)ctx)->health;
    struct rpc_watch *watch = rpc_call_state(call);
    if (!rpc_health_decode(request, watch->service)) {
        rpc_health_refuse(call, STATUS_INVALID_ARGUMENT, "the request does not decode");
        return;
    }
    (void)pthread_mutex_lock(&self->mu);
    bool room = self->watch_count < RPC_WATCHERS_MAX;
    if (room) {
        self->watch_count++;
        watch->linked = true;
        watch->next = self->watches;
        if (watch->next != NULL) { watch->next->previous = watch; }
        self->watches = watch;
        rpc_watch_tell(self, watch);
    }
    watch->finished = !room;
    (void)pthread_mutex_unlock(&self->mu);
    if (!room) { rpc_health_refuse(call, STATUS_OVERLOADED, "too many watchers"); }
}

// The client went away, or the server stops: whoever comes first ends the call.
static void rpc_watch_end(void *ctx, struct rpc_call *call) {
    struct rpc_health *self = &((struct rpc_server *)ctx)->health;
    struct rpc_watch *watch = rpc_call_state(call);
    (void)pthread_mutex_lock(&self->mu);
    bool mine = !watch->finished && watch->linked;
    watch->finished = true;
    (void)pthread_mutex_unlock(&self->mu);
    if (mine) { rpc_finish(call); }
}

static void rpc_watch_released(void *ctx, struct rpc_call *call) {
    struct rpc_health *self = &((struct rpc_server *)ctx)->health;
    struct rpc_watch *watch = rpc_call_state(call);
    (void)pthread_mutex_lock(&self->mu);
    if (watch->linked) {
        if (watch->next != NULL) { watch->next->previous = watch->previous; }
        if (watch->previous != NULL) {
            watch->previous->next = watch->next;
        } else {
            self->watches = watch->next;
        }
        self->watch_count--;
    }
    (void)pthread_mutex_unlock(&self->mu);
}

// A watcher is in the list until its call is released, so telling it here is safe.
void rpc_health_set(struct rpc_server *server, const char *name, bool serving) {
    struct rpc_health *self = &server->health;
    (void)pthread_mutex_lock(&self->mu);
    struct rpc_service *service = rpc_service_find(self, name);
    ASSERT(service != NULL);
    if (service->serving != serving) {
        service->serving = serving;
        for (struct rpc_watch *watch = self->watches; watch != NULL; watch = watch->next) {
            if (strcmp(watch->service, name) == 0) { rpc_watch_tell(self, watch); }
        }
    }
    (void)pthread_mutex_unlock(&self->mu);
}

static const struct rpc_handler rpc_check_handler = {.start = rpc_health_check};
static const struct rpc_handler rpc_watch_handler = {.start = rpc_watch_start,
                                                     .cancelled = rpc_watch_end,
                                                     .drain = rpc_watch_end,
                                                     .released = rpc_watch_released};

void rpc__health_register(struct rpc_server *server) {
    struct rpc_method check = {.path = "/grpc.health.v1.Health/Check",
                               .kind = RPC_UNARY,
                               .handler = &rpc_check_handler,
                               .ctx = server};
    struct rpc_method watch = {.path = "/grpc.health.v1.Health/Watch",
                               .kind = RPC_SERVER_STREAM,
                               .state_size = sizeof(struct rpc_watch),
                               .handler = &rpc_watch_handler,
                               .ctx = server};
    rpc_register(server, &check);
    rpc_register(server, &watch);
}
