// SPDX-License-Identifier: Apache-2.0
// Names, and words for people: one example for each class, each edge of a cycle on its own line.
#include "dataplane/base/assert.h"
#include "tests/sim/list_append_internal.h"

#include <stdarg.h>
#include <stdio.h>

#define NONE LIST_APPEND_NONE
enum { LIST_TAIL = 6 };

// --- Names and models ---

static const char *const class_names[LIST_APPEND_CLASS_COUNT] = {
    [LIST_APPEND_GENERATOR] = "generator",
    [LIST_APPEND_INTERNAL] = "internal",
    [LIST_APPEND_DUPLICATE] = "duplicate",
    [LIST_APPEND_GARBAGE] = "garbage",
    [LIST_APPEND_G1A] = "G1a",
    [LIST_APPEND_G1B] = "G1b",
    [LIST_APPEND_DIRTY_UPDATE] = "dirty-update",
    [LIST_APPEND_INCOMPATIBLE_ORDER] = "incompatible-order",
    [LIST_APPEND_LOST_APPEND] = "lost-append",
    [LIST_APPEND_LOST_UPDATE] = "lost-update",
    [LIST_APPEND_G0] = "G0",
    [LIST_APPEND_G1C] = "G1c",
    [LIST_APPEND_G_SINGLE] = "G-single",
    [LIST_APPEND_G_NONADJACENT] = "G-nonadjacent",
    [LIST_APPEND_G2_ITEM] = "G2-item",
    [LIST_APPEND_G0_PROCESS] = "G0-process",
    [LIST_APPEND_G1C_PROCESS] = "G1c-process",
    [LIST_APPEND_G_SINGLE_PROCESS] = "G-single-process",
    [LIST_APPEND_G_NONADJACENT_PROCESS] = "G-nonadjacent-process",
    [LIST_APPEND_G2_ITEM_PROCESS] = "G2-item-process",
    [LIST_APPEND_G0_REALTIME] = "G0-realtime",
    [LIST_APPEND_G1C_REALTIME] = "G1c-realtime",
    [LIST_APPEND_G_SINGLE_REALTIME] = "G-single-realtime",
    [LIST_APPEND_G_NONADJACENT_REALTIME] = "G-nonadjacent-realtime",
    [LIST_APPEND_G2_ITEM_REALTIME] = "G2-item-realtime",
    [LIST_APPEND_COMMIT_ORDER] = "commit-order",
    [LIST_APPEND_EQUAL_TIMESTAMPS] = "equal-timestamps",
    [LIST_APPEND_SNAPSHOT_READ] = "snapshot-read",
};

static const char *const model_names[LIST_APPEND_MODEL_COUNT] = {
    [LIST_APPEND_STRICT_SERIALIZABLE] = "strict-serializable",
    [LIST_APPEND_SERIALIZABLE] = "serializable",
    [LIST_APPEND_SNAPSHOT_ISOLATION] = "snapshot-isolation",
};

const char *list_append_class_name(enum list_append_class class) {
    ASSERT(class < LIST_APPEND_CLASS_COUNT);
    return class_names[class];
}

const char *list_append_model_name(enum list_append_model model) {
    ASSERT(model < LIST_APPEND_MODEL_COUNT);
    return model_names[model];
}

uint64_t list_append_forbidden(enum list_append_model model) {
    uint64_t all = LIST_APPEND_BIT(LIST_APPEND_CLASS_COUNT) - 1;
    uint64_t from_process = all & ~(LIST_APPEND_BIT(LIST_APPEND_G0_PROCESS) - 1);
    uint64_t up_to_realtime = LIST_APPEND_BIT(LIST_APPEND_G2_ITEM_REALTIME + 1) - 1;
    uint64_t timed = from_process & up_to_realtime;
    switch (model) {
    case LIST_APPEND_STRICT_SERIALIZABLE:
        return all;
    case LIST_APPEND_SERIALIZABLE:
        return all & ~timed;
    case LIST_APPEND_SNAPSHOT_ISOLATION:
        return all & ~timed & ~LIST_APPEND_BIT(LIST_APPEND_G2_ITEM) &
               ~LIST_APPEND_BIT(LIST_APPEND_COMMIT_ORDER);
    case LIST_APPEND_MODEL_COUNT:
        break;
    }
    return all;
}

bool list_append__found(struct list_append_run *self, enum list_append_class class) {
    bool first = (self->found & LIST_APPEND_BIT(class)) == 0;
    self->found |= LIST_APPEND_BIT(class);
    return first;
}

// --- Words ---

void list_append__tell(struct list_append_run *self, enum list_append_class class,
                       const char *format, ...) {
    bool forbidden = (self->forbidden & LIST_APPEND_BIT(class)) != 0;
    struct list_append_text *text = forbidden ? &self->text : &self->allowed;
    if (text->size <= text->used + 1) { return; }
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text->data + text->used, text->size - text->used, format, args);
    va_end(args);
    ASSERT(size >= 0);
    size_t room = text->size - text->used - 1;
    text->used += (size_t)size < room ? (size_t)size : room;
}

void list_append__tell_key(struct list_append_run *self, enum list_append_class class,
                           uint32_t key) {
    uint64_t number = self->keys[key].key;
    if (number < self->history->key_name_count) {
        list_append__tell(self, class, "%s", self->history->key_names[number]);
    } else {
        list_append__tell(self, class, "key %llu", (unsigned long long)number);
    }
}

void list_append__tell_list(struct list_append_run *self, enum list_append_class class,
                            const uint64_t *list, uint32_t count) {
    uint32_t from = count > LIST_TAIL ? count - LIST_TAIL : 0;
    list_append__tell(self, class, from > 0 ? "[.." : "[");
    for (uint32_t i = from; i < count; i++) {
        list_append__tell(self, class, "%s%llu", i > 0 ? " " : "", (unsigned long long)list[i]);
    }
    list_append__tell(self, class, "]");
}

void list_append__tell_read(struct list_append_run *self, enum list_append_class class,
                            uint32_t txn, uint32_t op) {
    list_append__tell(self, class, "T%llu read ", (unsigned long long)self->history->txns[txn].id);
    list_append__tell_key(self, class, self->op_keys[op]);
    list_append__tell(self, class, "=");
    list_append__tell_list(self, class, list_append__list(self, op),
                           self->history->ops[op].list_count);
}

// --- Cycles ---

static void tell_ext(struct list_append_run *self, enum list_append_class class, uint32_t txn,
                     uint32_t key) {
    for (uint32_t e = self->keys[key].first_ext; e != NONE; e = self->exts[e].next) {
        if (self->exts[e].txn == txn) {
            list_append__tell_read(self, class, txn, self->exts[e].op);
            return;
        }
    }
}

static void tell_ww(struct list_append_run *self, enum list_append_class class,
                    const struct list_append_edge *edge) {
    const struct list_append_write *later = &self->writes[edge->write];
    const struct list_append_version_order *key = &self->keys[later->key];
    uint32_t at = later->position == NONE ? key->count : later->position;
    while (at > 0 && self->writes[key->writes[at - 1]].txn != edge->from) {
        at--;
    }
    list_append__tell(self, class, "T%llu appended ",
                      (unsigned long long)self->history->txns[edge->from].id);
    if (at > 0) { list_append__tell(self, class, "%llu ", (unsigned long long)key->list[at - 1]); }
    list_append__tell(self, class, "to ");
    list_append__tell_key(self, class, later->key);
    list_append__tell(self, class, ", T%llu appended %llu after it%s",
                      (unsigned long long)self->history->txns[edge->to].id,
                      (unsigned long long)later->value, later->position == NONE ? ", unseen" : "");
}

static void tell_edge(struct list_append_run *self, enum list_append_class class,
                      const struct list_append_edge *edge) {
    unsigned long long from = (unsigned long long)self->history->txns[edge->from].id;
    unsigned long long to = (unsigned long long)self->history->txns[edge->to].id;
    if (edge->kind == LIST_APPEND_PROCESS) {
        list_append__tell(self, class, "T%llu came before T%llu in one process", from, to);
    } else if (edge->kind == LIST_APPEND_REALTIME) {
        list_append__tell(self, class, "T%llu had ended before T%llu began", from, to);
    } else if (edge->kind == LIST_APPEND_WW) {
        tell_ww(self, class, edge);
    } else if (edge->kind == LIST_APPEND_WR) {
        tell_ext(self, class, edge->to, self->writes[edge->write].key);
        list_append__tell(self, class, ", T%llu appended %llu of it", from,
                          (unsigned long long)self->writes[edge->write].value);
    } else {
        tell_ext(self, class, edge->from, self->writes[edge->write].key);
        list_append__tell(self, class, ", T%llu appended %llu after that", to,
                          (unsigned long long)self->writes[edge->write].value);
    }
}

static const char *kind_name(uint32_t kind) {
    switch (kind) {
    case LIST_APPEND_WW:
        return "ww";
    case LIST_APPEND_WR:
        return "wr";
    case LIST_APPEND_RW:
        return "rw";
    case LIST_APPEND_PROCESS:
        return "process";
    default:
        return "realtime";
    }
}

void list_append__tell_cycle(struct list_append_run *self, enum list_append_class class,
                             const uint32_t *edges, uint32_t count) {
    const struct list_append_graph *graph = &self->graph;
    list_append__tell(self, class, "%s: T%llu", list_append_class_name(class),
                      (unsigned long long)self->history->txns[graph->edges[edges[0]].from].id);
    for (uint32_t i = 0; i < count; i++) {
        const struct list_append_edge *edge = &graph->edges[edges[i]];
        list_append__tell(self, class, " -%s-> T%llu", kind_name(edge->kind),
                          (unsigned long long)self->history->txns[edge->to].id);
    }
    list_append__tell(self, class, "\n");
    for (uint32_t i = 0; i < count; i++) {
        list_append__tell(self, class, "    ");
        tell_edge(self, class, &graph->edges[edges[i]]);
        list_append__tell(self, class, "\n");
    }
}
