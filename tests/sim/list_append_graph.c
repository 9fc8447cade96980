// SPDX-License-Identifier: Apache-2.0
// Edges are sorted by origin once, so that a node's edges lie side by side. The search knows the
// shape of the walk in its states: (node, was the last edge RW, was a required edge taken). A walk
// may pass a node twice in different states; that is as good as a cycle, since whatever walk
// without neighbouring RW edges leads back to its beginning contradicts snapshot isolation, and any
// other shape falls apart into cycles of its own or a worse shape.
#include "tests/sim/list_append_graph.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <stddef.h>
#include <string.h>

enum { STATES = 4, STATE_RW = 2, STATE_REQUIRED = 1 };
#define NONE UINT32_MAX

// --- Edges ---

void list_append_graph_init(struct list_append_graph *self, uint32_t node_count) {
    *self = (struct list_append_graph){.node_count = node_count};
    self->first = mem_alloc_array((size_t)node_count + 2, sizeof(*self->first));
}

void list_append_graph_deinit(struct list_append_graph *self) {
    mem_free(self->edges);
    mem_free(self->first);
}

void list_append_graph_add(struct list_append_graph *self, struct list_append_edge edge) {
    ASSERT(edge.from < self->node_count && edge.to < self->node_count);
    if (edge.from == edge.to) { return; }
    if (self->edge_count == self->edge_capacity) {
        self->edge_capacity = 2 * self->edge_capacity + 256;
        self->edges = mem_realloc(self->edges, self->edge_capacity * sizeof(*self->edges));
    }
    self->edges[self->edge_count++] = edge;
}

void list_append_graph_seal(struct list_append_graph *self) {
    struct list_append_edge *sorted =
        mem_alloc_array((size_t)self->edge_count + 1, sizeof(*sorted));
    // first[n + 1] counts the edges of n, then becomes their place, then, moved up, their end.
    for (uint32_t i = 0; i < self->edge_count; i++) {
        self->first[self->edges[i].from + 2]++;
    }
    for (uint32_t n = 1; n < self->node_count + 2; n++) {
        self->first[n] += self->first[n - 1];
    }
    for (uint32_t i = 0; i < self->edge_count; i++) {
        sorted[self->first[self->edges[i].from + 1]++] = self->edges[i];
    }
    mem_free(self->edges);
    self->edges = sorted;
    self->edge_capacity = self->edge_count + 1;
}

// --- Components ---

struct tarjan {
    const struct list_append_graph *graph;
    struct list_append_components *out;
    uint32_t mask;
    uint32_t *number;  // order of discovery from 1 on, 0 = not seen
    uint32_t *low;
    uint32_t *next_edge;
    uint32_t *path;  // what the depth-first search stands on
    uint32_t path_count;
    uint32_t *open;  // seen, component not yet closed
    uint32_t open_count;
    uint32_t seen;
    uint32_t placed;
};

static void tarjan_enter(struct tarjan *self, uint32_t node) {
    self->seen++;
    self->number[node] = self->seen;
    self->low[node] = self->seen;
    self->next_edge[node] = self->graph->first[node];
    self->path[self->path_count++] = node;
    self->open[self->open_count++] = node;
}

static void tarjan_close(struct tarjan *self, uint32_t root) {
    struct list_append_components *out = self->out;
    out->first[out->count] = self->placed;
    uint32_t node = NONE;
    do {
        node = self->open[--self->open_count];
        out->of[node] = out->count;
        out->nodes[self->placed++] = node;
    } while (node != root);
    uint32_t size = self->placed - out->first[out->count];
    out->largest = size > out->largest ? size : out->largest;
    out->count++;
    out->first[out->count] = self->placed;
}

// The next edge of the node on top of the path.
static void tarjan_step(struct tarjan *self) {
    uint32_t node = self->path[self->path_count - 1];
    if (self->next_edge[node] == self->graph->first[node + 1]) {
        self->path_count--;
        if (self->low[node] == self->number[node]) { tarjan_close(self, node); }
        if (self->path_count > 0) {
            uint32_t below = self->path[self->path_count - 1];
            if (self->low[node] < self->low[below]) { self->low[below] = self->low[node]; }
        }
        return;
    }
    const struct list_append_edge *edge = &self->graph->edges[self->next_edge[node]++];
    if ((edge->kind & self->mask) == 0) { return; }
    if (self->number[edge->to] == 0) {
        tarjan_enter(self, edge->to);
    } else if (self->out->of[edge->to] == NONE && self->number[edge->to] < self->low[node]) {
        self->low[node] = self->number[edge->to];
    }
}

void list_append_components_init(struct list_append_components *self,
                                 const struct list_append_graph *graph, uint32_t mask) {
    size_t n = (size_t)graph->node_count + 1;
    *self = (struct list_append_components){.of = mem_alloc_array(n, sizeof(uint32_t)),
                                            .nodes = mem_alloc_array(n, sizeof(uint32_t)),
                                            .first = mem_alloc_array(n, sizeof(uint32_t))};
    memset(self->of, 0xff, n * sizeof(*self->of));
    uint32_t *scratch = mem_alloc_array(5 * n, sizeof(*scratch));
    struct tarjan tarjan = {.graph = graph,
                            .out = self,
                            .mask = mask,
                            .number = scratch,
                            .low = scratch + n,
                            .next_edge = scratch + 2 * n,
                            .path = scratch + 3 * n,
                            .open = scratch + 4 * n};
    for (uint32_t node = 0; node < graph->node_count; node++) {
        if (tarjan.number[node] == 0) { tarjan_enter(&tarjan, node); }
        while (tarjan.path_count > 0) {
            tarjan_step(&tarjan);
        }
    }
    ASSERT(tarjan.placed == graph->node_count);
    mem_free(scratch);
}

void list_append_components_deinit(struct list_append_components *self) {
    mem_free(self->of);
    mem_free(self->nodes);
    mem_free(self->first);
}

// --- Walks ---

void list_append_search_init(struct list_append_search *self, const struct list_append_graph *graph,
                             const struct list_append_components *components) {
    size_t states = STATES * ((size_t)graph->node_count + 1);
    uint32_t *scratch = mem_alloc_array(6 * states, sizeof(*scratch));
    *self = (struct list_append_search){.graph = graph,
                                        .components = components,
                                        .stamp = scratch,
                                        .depth = scratch + states,
                                        .via = scratch + 2 * states,
                                        .back = scratch + 3 * states,
                                        .queue = scratch + 4 * states,
                                        .cycle = scratch + 5 * states};
}

void list_append_search_deinit(struct list_append_search *self) {
    mem_free(self->stamp);
}

static uint32_t state_after(const struct list_append_edge *edge, uint32_t before,
                            const struct list_append_shape *shape) {
    uint32_t state = STATES * edge->to;
    if (shape->apart && edge->kind == LIST_APPEND_RW) { state += STATE_RW; }
    bool required = (before & STATE_REQUIRED) != 0 || (edge->kind & shape->required) != 0;
    return required ? state + STATE_REQUIRED : state;
}

static void keep_walk(struct list_append_search *self, uint32_t state, uint32_t start) {
    self->cycle_count = self->depth[state];
    for (uint32_t i = self->cycle_count; i > 0; i--) {
        self->cycle[i - 1] = self->via[state];
        state = self->back[state];
    }
    ASSERT(self->cycle[0] == start);
}

static bool is_end(uint32_t state, uint32_t goal, const struct list_append_shape *shape) {
    if (state / STATES != goal) { return false; }
    if (shape->required != 0 && (state & STATE_REQUIRED) == 0) { return false; }
    return !shape->apart || (state & STATE_RW) == 0;
}

// Breadth first from behind one edge back to its origin; only walks shorter than the best count.
static void walk_from(struct list_append_search *self, uint32_t start,
                      const struct list_append_shape *shape) {
    const struct list_append_graph *graph = self->graph;
    const uint32_t *of = self->components->of;
    uint32_t goal = graph->edges[start].from;
    uint32_t limit = self->cycle_count == 0 ? UINT32_MAX : self->cycle_count;
    uint32_t head = 0;
    uint32_t tail = 0;
    uint32_t state = state_after(&graph->edges[start], 0, shape);
    self->now++;
    self->stamp[state] = self->now;
    self->depth[state] = 1;
    self->via[state] = start;
    self->queue[tail++] = state;
    while (head < tail) {
        uint32_t at = self->queue[head++];
        if (self->depth[at] + 1 >= limit) { return; }
        for (uint32_t e = graph->first[at / STATES]; e < graph->first[at / STATES + 1]; e++) {
            const struct list_append_edge *edge = &graph->edges[e];
            if ((edge->kind & shape->others) == 0 || of[edge->to] != of[goal]) { continue; }
            if (edge->kind == LIST_APPEND_RW && (at & STATE_RW) != 0) { continue; }
            state = state_after(edge, at, shape);
            if (self->stamp[state] == self->now) { continue; }
            self->stamp[state] = self->now;
            self->depth[state] = self->depth[at] + 1;
            self->via[state] = e;
            self->back[state] = at;
            if (is_end(state, goal, shape)) {
                keep_walk(self, state, start);
                return;
            }
            self->queue[tail++] = state;
        }
    }
}

bool list_append_search_run(struct list_append_search *self, uint32_t component,
                            const struct list_append_shape *shape) {
    const struct list_append_components *components = self->components;
    ASSERT(component < components->count);
    self->cycle_count = 0;
    for (uint32_t i = components->first[component]; i < components->first[component + 1]; i++) {
        uint32_t node = components->nodes[i];
        for (uint32_t e = self->graph->first[node]; e < self->graph->first[node + 1]; e++) {
            const struct list_append_edge *edge = &self->graph->edges[e];
            if ((edge->kind & shape->start) == 0) { continue; }
            if (components->of[edge->to] != component) { continue; }
            walk_from(self, e, shape);
            if (self->cycle_count == 2) { return true; }
        }
    }
    return self->cycle_count > 0;
}
