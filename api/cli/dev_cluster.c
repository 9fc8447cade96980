// SPDX-License-Identifier: Apache-2.0
// Ports are looked for upwards from fixed numbers, below the range from which the kernel takes
// ports for outgoing connections: a node that is down for a while finds its port still free. They
// are written down, because other nodes know the peer address for good.
#include "api/cli/dev_cluster.h"

#include "api/cli/dev_config.h"
#include "dataplane/base/assert.h"

#include <jansson.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEV_STATE_VERSION = 1, DEV_RPC_PORT = 7401, DEV_PEER_PORT = 7501, DEV_PORTS_TRIED = 100 };

static const char DEV_DEFAULT_REGIONS[] = "eu-central,us-east,ap-southeast";

// --- The directory

static enum status absolute(const char *path, char out[DEV_PATH_SIZE], struct err *err) {
    char here[DEV_PATH_SIZE] = "";
    if (path[0] != '/' && getcwd(here, sizeof(here)) == NULL) {
        return err_set(err, STATUS_IO, "the current directory: %s", strerror(errno));
    }
    int size = snprintf(out, DEV_PATH_SIZE, "%s%s%s", here, path[0] == '/' ? "" : "/", path);
    // The path stands in node.yaml between double quotes.
    if (size < 0 || size >= DEV_PATH_SIZE || strpbrk(out, "\"\\\n\t") != NULL) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "--dir: at most %d bytes, without quotes, backslashes and control "
                       "characters",
                       DEV_PATH_SIZE - 1);
    }
    return STATUS_OK;
}

enum status dev_cluster_directory(const char *given, char out[DEV_PATH_SIZE], struct err *err) {
    const char *named = given != NULL ? given : getenv("LIGHTCONE_DEV_DIR");
    if (named != NULL && named[0] != '\0') { return absolute(named, out, err); }
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    bool has_state = state != NULL && state[0] == '/';
    if (!has_state && (home == NULL || home[0] != '/')) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "neither XDG_STATE_HOME nor HOME is set; name a directory with --dir");
    }
    char path[DEV_PATH_SIZE];
    int size = snprintf(path, sizeof(path), "%s%s/lightcone/dev", has_state ? state : home,
                        has_state ? "" : "/.local/state");
    if (size < 0 || size >= DEV_PATH_SIZE) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "the state directory's path is too long");
    }
    return absolute(path, out, err);
}

static void state_path(const char *dir, char out[DEV_FILE_SIZE]) {
    (void)snprintf(out, DEV_FILE_SIZE, "%s/dev.json", dir);
}

// mkdir -p
static enum status make_directories(const char *dir, struct err *err) {
    char path[DEV_FILE_SIZE];
    (void)snprintf(path, sizeof(path), "%s/", dir);
    for (char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return err_set(err, STATUS_IO, "%s: %s", path, strerror(errno));
        }
        *at = '/';
    }
    return STATUS_OK;
}

// --- The state file

static bool read_node(const json_t *object, struct dev_node *out) {
    json_int_t number = 0;
    json_int_t id = 0;
    json_int_t peer_port = 0;
    json_int_t rpc_port = 0;
    const char *region = NULL;
    json_t *mutable = (json_t *)object;
    if (json_unpack(mutable, "{s:I,s:I,s:I,s:I,s:s}", "number", &number, "id", &id, "peer_port",
                    &peer_port, "rpc_port", &rpc_port, "region", &region) != 0) {
        return false;
    }
    bool ports = peer_port > 0 && peer_port <= UINT16_MAX && rpc_port > 0 && rpc_port <= UINT16_MAX;
    if (!ports || number < 1 || number > DEV_NODES_MAX || id < 0 || id > UINT32_MAX ||
        strlen(region) >= DEV_REGION_SIZE) {
        return false;
    }
    *out = (struct dev_node){.number = (uint32_t)number,
                             .id = (uint32_t)id,
                             .peer_port = (uint16_t)peer_port,
                             .rpc_port = (uint16_t)rpc_port};
    (void)snprintf(out->region, sizeof(out->region), "%s", region);
    return true;
}

static bool read_state(struct dev_cluster *self, json_t *root) {
    int version = 0;
    int initialized = 0;
    json_t *nodes = NULL;
    if (json_unpack(root, "{s:i,s:b,s:o}", "version", &version, "initialized", &initialized,
                    "nodes", &nodes) != 0 ||
        version != DEV_STATE_VERSION || !json_is_array(nodes) || json_array_size(nodes) == 0 ||
        json_array_size(nodes) > DEV_NODES_MAX) {
        return false;
    }
    self->initialized = initialized != 0;
    self->node_count = (uint32_t)json_array_size(nodes);
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (!read_node(json_array_get(nodes, i), &self->nodes[i])) { return false; }
    }
    return true;
}

enum status dev_cluster_load(struct dev_cluster *self, const char *dir, struct err *err) {
    char path[DEV_FILE_SIZE];
    *self = (struct dev_cluster){.lock_fd = -1};
    (void)snprintf(self->dir, sizeof(self->dir), "%s", dir);
    state_path(dir, path);
    if (access(path, F_OK) != 0) { return STATUS_OK; }
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    bool ok = root != NULL && read_state(self, root);
    json_decref(root);
    if (!ok) {
        return err_set(err, STATUS_CORRUPT, "%.150s is not the state of a development cluster",
                       path);
    }
    self->exists = true;
    return STATUS_OK;
}

enum status dev_cluster_open(struct dev_cluster *self, const char *dir, struct err *err) {
    char path[DEV_FILE_SIZE];
    enum status st = make_directories(dir, err);
    if (st != STATUS_OK) { return st; }
    (void)snprintf(path, sizeof(path), "%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        st = err_set(err, STATUS_IO, "%.150s: %s", path, strerror(errno));
    }
    if (st == STATUS_OK) { st = dev_cluster_load(self, dir, err); }
    if (st == STATUS_OK) {
        self->lock_fd = fd;
    } else if (fd >= 0) {
        (void)close(fd);
    }
    return st;
}

void dev_cluster_close(struct dev_cluster *self) {
    if (self->lock_fd >= 0) { (void)close(self->lock_fd); }
    self->lock_fd = -1;
}

static json_t *state_json(const struct dev_cluster *self) {
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < self->node_count; i++) {
        const struct dev_node *node = &self->nodes[i];
        (void)json_array_append_new(nodes, json_pack("{s:i,s:I,s:i,s:i,s:s}", "number",
                                                     (int)node->number, "id", (json_int_t)node->id,
                                                     "peer_port", (int)node->peer_port, "rpc_port",
                                                     (int)node->rpc_port, "region", node->region));
    }
    return json_pack("{s:i,s:b,s:o}", "version", DEV_STATE_VERSION, "initialized",
                     (int)self->initialized, "nodes", nodes);
}

// Written beside it, synced and renamed, so that a crash leaves the old state or the new one.
enum status dev_cluster_save(const struct dev_cluster *self, struct err *err) {
    char path[DEV_FILE_SIZE];
    char next[DEV_FILE_SIZE];
    state_path(self->dir, path);
    (void)snprintf(next, sizeof(next), "%s/dev.json.new", self->dir);
    int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) { return err_set(err, STATUS_IO, "%.150s: %s", next, strerror(errno)); }
    json_t *root = state_json(self);
    bool ok = json_dumpfd(root, fd, JSON_INDENT(2)) == 0 && fsync(fd) == 0;
    json_decref(root);
    ok = close(fd) == 0 && ok && rename(next, path) == 0;
    return ok ? STATUS_OK : err_set(err, STATUS_IO, "%.150s: %s", path, strerror(errno));
}

// --- Planning

static bool is_free(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) { return false; }
    const int on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    // As the node binds it: ports whose last connections are just closing count as free.
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bool ok =
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0;
    (void)close(fd);
    return ok;
}

// The first free port at or after *next; 0 when the range is used up.
static uint16_t take_port(uint16_t *next, uint16_t end) {
    while (*next < end) {
        uint16_t port = (*next)++;
        if (is_free(port)) { return port; }
    }
    return 0;
}

// The i-th of the comma-separated names, going round.
static enum status region_of(const char *regions, uint32_t i, char out[DEV_REGION_SIZE],
                             struct err *err) {
    uint32_t count = 1;
    for (const char *c = regions; *c != '\0'; c++) {
        count += *c == ',' ? 1 : 0;
    }
    const char *at = regions;
    for (uint32_t k = i % count; k > 0; k--) {
        at = strchr(at, ',') + 1;
    }
    size_t size = strcspn(at, ",");
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    if (size == 0 || size >= DEV_REGION_SIZE || strspn(at, allowed) < size) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "--regions: \"%.*s\" is no name of 1 to %d letters, digits, '_', '-', '.'",
                       (int)(size < 80 ? size : 80), at, DEV_REGION_SIZE - 1);
    }
    (void)snprintf(out, DEV_REGION_SIZE, "%.*s", (int)size, at);
    return STATUS_OK;
}

// Ports of nodes that are down are free and taken all the same: new ones lie beyond.
static uint16_t first_port(const struct dev_cluster *self, uint16_t base, bool peer) {
    uint16_t first = base;
    for (uint32_t i = 0; i < self->node_count; i++) {
        uint16_t port = peer ? self->nodes[i].peer_port : self->nodes[i].rpc_port;
        if (port >= first) { first = (uint16_t)(port + 1); }
    }
    return first;
}

enum status dev_cluster_plan(struct dev_cluster *self, uint32_t node_count, const char *regions,
                             struct err *err) {
    ASSERT(node_count > self->node_count && node_count <= DEV_NODES_MAX);
    uint16_t rpc = first_port(self, DEV_RPC_PORT, false);
    uint16_t peer = first_port(self, DEV_PEER_PORT, true);
    for (uint32_t i = self->node_count; i < node_count; i++) {
        struct dev_node *node = &self->nodes[i];
        *node = (struct dev_node){.number = i + 1};
        enum status st =
            region_of(regions != NULL ? regions : DEV_DEFAULT_REGIONS, i, node->region, err);
        if (st != STATUS_OK) { return st; }
        node->rpc_port = take_port(&rpc, DEV_RPC_PORT + DEV_PORTS_TRIED);
        node->peer_port = take_port(&peer, DEV_PEER_PORT + DEV_PORTS_TRIED);
        if (node->rpc_port == 0 || node->peer_port == 0) {
            return err_set(err, STATUS_UNAVAILABLE, "no free ports from %d to %d on 127.0.0.1",
                           DEV_RPC_PORT, DEV_PEER_PORT + DEV_PORTS_TRIED - 1);
        }
    }
    self->node_count = node_count;
    return STATUS_OK;
}

enum status dev_cluster_write_config(const struct dev_cluster *self, const struct dev_node *node,
                                     struct err *err) {
    char path[DEV_FILE_SIZE];
    dev_cluster_path(self, node, "", path);
    enum status st = make_directories(path, err);
    if (st != STATUS_OK) { return st; }
    dev_cluster_path(self, node, "node.yaml", path);
    FILE *file = fopen(path, "we");
    if (file == NULL) { return err_set(err, STATUS_IO, "%.150s: %s", path, strerror(errno)); }
    dev_config_write(self, node, file);
    if (fclose(file) != 0) { return err_set(err, STATUS_IO, "%.150s: %s", path, strerror(errno)); }
    return STATUS_OK;
}

// --- Names

struct dev_node *dev_cluster_find(struct dev_cluster *self, uint32_t node) {
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (dev_cluster_name(&self->nodes[i]) == node) { return &self->nodes[i]; }
    }
    return NULL;
}

uint32_t dev_cluster_name(const struct dev_node *node) {
    return node->id != 0 ? node->id : node->number;
}

void dev_cluster_rpc_address(const struct dev_node *node, char out[DEV_ADDRESS_SIZE]) {
    (void)snprintf(out, DEV_ADDRESS_SIZE, "127.0.0.1:%u", node->rpc_port);
}

void dev_cluster_path(const struct dev_cluster *self, const struct dev_node *node, const char *name,
                      char out[DEV_FILE_SIZE]) {
    (void)snprintf(out, DEV_FILE_SIZE, "%s/node-%u%s%s", self->dir, node->number,
                   name[0] == '\0' ? "" : "/", name);
}
