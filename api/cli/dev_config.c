// SPDX-License-Identifier: Apache-2.0
// The join list names every node, the first one first, in the same order for all: so the first one,
// which is asked to found the cluster, hears of all the others.
#include "api/cli/dev_config.h"

#include <string.h>

// Where regions with well-known names are, in degrees; others get no place.
struct place {
    const char *region;
    const char *latitude;
    const char *longitude;
};

static const struct place places[] = {
    {"eu-central", "50.11", "8.68"},      {"eu-west", "53.35", "-6.26"},
    {"eu-north", "59.33", "18.07"},       {"us-east", "39.04", "-77.49"},
    {"us-west", "45.60", "-121.18"},      {"sa-east", "-23.55", "-46.63"},
    {"ap-southeast", "1.35", "103.82"},   {"ap-northeast", "35.68", "139.69"},
    {"ap-south", "19.08", "72.88"},       {"af-south", "-33.92", "18.42"},
    {"au-southeast", "-33.87", "151.21"},
};

static void write_place(const char *region, FILE *out) {
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (strcmp(places[i].region, region) == 0) {
            (void)fprintf(out, "latitude: %s\nlongitude: %s\n", places[i].latitude,
                          places[i].longitude);
        }
    }
}

void dev_config_write(const struct dev_cluster *cluster, const struct dev_node *node, FILE *out) {
    (void)fprintf(out,
                  "# Written by `lightcone dev up`; for development only: no TLS, loopback only.\n"
                  "data_dir: \"%s/node-%u/data\"\n"
                  "listen:\n"
                  "  peer: \"127.0.0.1:%u\"\n"
                  "  rpc: \"127.0.0.1:%u\"\n"
                  "join:\n",
                  cluster->dir, node->number, node->peer_port, node->rpc_port);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        (void)fprintf(out, "  - \"127.0.0.1:%u\"\n", cluster->nodes[i].peer_port);
    }
    (void)fprintf(out, "region: %s\nzone: %s-a\n", node->region, node->region);
    write_place(node->region, out);
    (void)fprintf(out, "limits:\n"
                       "  cache_mb: 64\n"
                       "  write_buffer_mb: 32\n"
                       "dev: true\n");
}
