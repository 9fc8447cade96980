// SPDX-License-Identifier: Apache-2.0
// list_append_graph.h - a graph whose edges have kinds: strongly connected components, and shortest
//                       cycles of a given shape inside them.
// Invariants: edges lie sorted by their origin once the graph is sealed; no edge joins a node with
//             itself.
// Ownership:  the graph owns its edges; a search owns its scratch memory and borrows the graph.
// Thread:     pure.
// See:        tests/sim/list_append.h; Tarjan (1972)
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum list_append_kind {
    LIST_APPEND_WW = 1,  // wrote the version before
    LIST_APPEND_WR = 2,  // wrote what the other read
    LIST_APPEND_RW = 4,  // read the version before the other's
    LIST_APPEND_PROCESS = 8,
    LIST_APPEND_REALTIME = 16,
};
#define LIST_APPEND_DATA ((uint32_t)(LIST_APPEND_WW | LIST_APPEND_WR | LIST_APPEND_RW))

struct list_append_edge {
    uint32_t from;
    uint32_t to;
    uint32_t kind;
    uint32_t write;  // what explains it: the later write, the write read, the write missed
};

struct list_append_graph {
    uint32_t node_count;
    struct list_append_edge *edges;
    uint32_t edge_count;
    uint32_t edge_capacity;
    uint32_t *first;  // by node, node_count + 1 of them
};

void list_append_graph_init(struct list_append_graph *self, uint32_t node_count);
void list_append_graph_deinit(struct list_append_graph *self);
// Ignored when both ends are one node.
void list_append_graph_add(struct list_append_graph *self, struct list_append_edge edge);
// No edge is added after this.
void list_append_graph_seal(struct list_append_graph *self);

// The components of the graph with the kinds of the mask. Nodes are grouped by component.
struct list_append_components {
    uint32_t *of;     // component by node
    uint32_t *nodes;  // of component c: nodes[first[c]] to nodes[first[c + 1] - 1]
    uint32_t *first;
    uint32_t count;
    uint32_t largest;  // nodes in the largest one
};
void list_append_components_init(struct list_append_components *self,
                                 const struct list_append_graph *graph, uint32_t mask);
void list_append_components_deinit(struct list_append_components *self);

// A closed walk: one edge of `start`, all others of `others`.
struct list_append_shape {
    uint32_t start;
    uint32_t others;
    uint32_t required;  // at least one edge is of these kinds, unless 0
    bool apart;         // no two RW edges follow each other
};

struct list_append_search {
    const struct list_append_graph *graph;
    const struct list_append_components *components;
    uint32_t *stamp;  // by state
    uint32_t *depth;
    uint32_t *via;  // the edge that led to the state
    uint32_t *back;
    uint32_t *queue;
    uint32_t now;
    uint32_t *cycle;  // out: edges of the shortest one found
    uint32_t cycle_count;
};
void list_append_search_init(struct list_append_search *self, const struct list_append_graph *graph,
                             const struct list_append_components *components);
void list_append_search_deinit(struct list_append_search *self);
// The shortest such walk inside one component; cycle_count = 0 and false when there is none.
bool list_append_search_run(struct list_append_search *self, uint32_t component,
                            const struct list_append_shape *shape);
