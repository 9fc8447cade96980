// SPDX-License-Identifier: Apache-2.0
// Three looks at the graph: the data alone, with the order of processes, with real time. In each
// strongly connected component the worst shape counts; the later looks take only cycles that need
// an edge of their own, so "-realtime" says: serializable perhaps, but stale.
#include "dataplane/base/mem.h"
#include "tests/sim/list_append_internal.h"

#include <string.h>

enum { SHAPES = 5 };

struct look {
    uint32_t kinds;     // besides those of the data
    uint32_t required;  // one of these is in each cycle
    enum list_append_class first;
};

static const struct look looks[] = {
    {0, 0, LIST_APPEND_G0},
    {LIST_APPEND_PROCESS, LIST_APPEND_PROCESS, LIST_APPEND_G0_PROCESS},
    {LIST_APPEND_PROCESS | LIST_APPEND_REALTIME, LIST_APPEND_REALTIME, LIST_APPEND_G0_REALTIME},
};

struct best {
    uint32_t *edges;
    uint32_t count;
};

// From the worst on; when one is looked for, the component has none of those before it.
static struct list_append_shape shape_of(uint32_t which, const struct look *look) {
    static const struct list_append_shape shapes[SHAPES] = {
        {.start = LIST_APPEND_WW, .others = LIST_APPEND_WW},
        {.start = LIST_APPEND_WR, .others = LIST_APPEND_WW | LIST_APPEND_WR},
        {.start = LIST_APPEND_RW, .others = LIST_APPEND_WW | LIST_APPEND_WR},
        {.start = LIST_APPEND_RW, .others = LIST_APPEND_DATA, .apart = true},
        {.start = LIST_APPEND_RW, .others = LIST_APPEND_DATA},
    };
    struct list_append_shape shape = shapes[which];
    shape.others |= look->kinds;
    shape.required = look->required;
    return shape;
}

static void keep_best(struct best *best, const struct list_append_search *search) {
    if (best->count != 0 && best->count <= search->cycle_count) { return; }
    size_t size = search->cycle_count * sizeof(*best->edges);
    best->edges = mem_realloc(best->edges, size);
    memcpy(best->edges, search->cycle, size);
    best->count = search->cycle_count;
}

static void look_into(struct list_append_search *search, uint32_t component,
                      const struct look *look, struct best *bests) {
    for (uint32_t which = 0; which < SHAPES; which++) {
        struct list_append_shape shape = shape_of(which, look);
        if (!list_append_search_run(search, component, &shape)) { continue; }
        keep_best(&bests[which], search);
        return;
    }
}

static void look_at(struct list_append_run *self, const struct look *look) {
    struct best bests[SHAPES] = {{0}};
    struct list_append_components components;
    list_append_components_init(&components, &self->graph, LIST_APPEND_DATA | look->kinds);
    struct list_append_search search;
    list_append_search_init(&search, &self->graph, &components);
    for (uint32_t c = 0; c < components.count; c++) {
        if (components.first[c + 1] - components.first[c] > 1) {
            look_into(&search, c, look, bests);
        }
    }
    for (uint32_t which = 0; which < SHAPES; which++) {
        enum list_append_class class = (enum list_append_class)(look->first + which);
        if (bests[which].count > 0 && list_append__found(self, class)) {
            list_append__tell_cycle(self, class, bests[which].edges, bests[which].count);
        }
        mem_free(bests[which].edges);
    }
    list_append_search_deinit(&search);
    list_append_components_deinit(&components);
}

void list_append__check_cycles(struct list_append_run *self) {
    list_append_graph_seal(&self->graph);
    struct list_append_components all;
    list_append_components_init(&all, &self->graph, UINT32_MAX);
    bool sound = all.largest <= 1;
    list_append_components_deinit(&all);
    for (size_t i = 0; !sound && i < sizeof(looks) / sizeof(looks[0]); i++) {
        look_at(self, &looks[i]);
    }
}
