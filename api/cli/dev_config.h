// SPDX-License-Identifier: Apache-2.0
// dev_config.h - the node.yaml of a node of the development cluster.
// Invariants: what is written is what api/node/config.h reads; everything listens on loopback.
// Ownership:  nothing is kept.
// Thread:     one.
// See:        api/node/config.h; tests/unit/api/cli/dev_cluster_test.c
#pragma once

#include "api/cli/dev_cluster.h"

#include <stdio.h>

void dev_config_write(const struct dev_cluster *cluster, const struct dev_node *node, FILE *out);
