// SPDX-License-Identifier: Apache-2.0
// The history is a flat store that only grows. The check goes in passes over it; everything is
// interned once into positions, so that the passes index arrays. Most reads are prefixes of the
// longest read of their key, and are judged by comparing memory with it: that is what makes the
// check of a sound history cost little more than looking at it.
#include "tests/sim/list_append.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/sim/list_append_internal.h"

#include <string.h>

// --- The history ---

void list_append_init(struct list_append_history *self) {
    *self = (struct list_append_history){0};
}

void list_append_deinit(struct list_append_history *self) {
    for (uint32_t i = 0; i < self->key_name_count; i++) {
        mem_free(self->key_names[i]);
    }
    mem_free(self->key_names);
    mem_free(self->txns);
    mem_free(self->ops);
    mem_free(self->elements);
}

// Room for `more` items of an array that doubles.
static void *grown(void *items, uint32_t count, uint32_t more, uint32_t *capacity, size_t size) {
    ASSERT(more < UINT32_MAX / 4 - count);
    if (count + more <= *capacity) { return items; }
    *capacity = 2 * (count + more) + 64;
    return mem_realloc(items, *capacity * size);
}

void list_append_begin(struct list_append_history *self, const struct list_append_txn *txn) {
    ASSERT_IF(txn->type == LIST_APPEND_OK, txn->invoke <= txn->ret);
    self->txns = grown(self->txns, self->txn_count, 1, &self->txn_capacity, sizeof(*self->txns));
    struct list_append_txn *kept = &self->txns[self->txn_count++];
    *kept = *txn;
    kept->op_first = self->op_count;
    kept->op_count = 0;
    if (txn->type != LIST_APPEND_OK) { kept->ret = LIST_APPEND_NEVER; }
}

static void add_op(struct list_append_history *self, const struct list_append_op *op) {
    ASSERT(self->txn_count > 0);
    self->ops = grown(self->ops, self->op_count, 1, &self->op_capacity, sizeof(*self->ops));
    self->ops[self->op_count++] = *op;
    self->txns[self->txn_count - 1].op_count++;
}

void list_append_add(struct list_append_history *self, uint64_t key, uint64_t value) {
    add_op(self, &(struct list_append_op){.key = key, .value = value});
}

void list_append_add_read(struct list_append_history *self, uint64_t key, const uint64_t *list,
                          uint32_t count) {
    add_op(self, &(struct list_append_op){.key = key,
                                          .is_read = true,
                                          .list_first = self->element_count,
                                          .list_count = count});
    if (count == 0) { return; }
    self->elements = grown(self->elements, self->element_count, count, &self->element_capacity,
                           sizeof(*self->elements));
    memcpy(self->elements + self->element_count, list, count * sizeof(*list));
    self->element_count += count;
}

uint64_t list_append_key(struct list_append_history *self, const char *name) {
    for (uint32_t i = 0; i < self->key_name_count; i++) {
        if (strcmp(self->key_names[i], name) == 0) { return i; }
    }
    self->key_names =
        mem_realloc(self->key_names, (self->key_name_count + 1) * sizeof(*self->key_names));
    self->key_names[self->key_name_count] = mem_strdup(name);
    return self->key_name_count++;
}

// --- The check ---

static void count_outcomes(const struct list_append_history *history,
                           struct list_append_result *out) {
    for (uint32_t t = 0; t < history->txn_count; t++) {
        out->ok_count += history->txns[t].type == LIST_APPEND_OK;
        out->info_count += history->txns[t].type == LIST_APPEND_INFO;
    }
}

// What the model allows is told behind what it forbids.
static void join_texts(struct list_append_run *self) {
    struct list_append_text *text = &self->text;
    size_t room = text->size == 0 ? 0 : text->size - 1 - text->used;
    size_t more = self->allowed.used < room ? self->allowed.used : room;
    if (more > 0) {
        memcpy(text->data + text->used, self->allowed.data, more);
        text->used += more;
    }
    if (text->size > 0) { text->data[text->used] = '\0'; }
}

bool list_append_check(const struct list_append_history *history,
                       const struct list_append_config *config,
                       struct list_append_result *out_result, char *text, size_t text_size) {
    ASSERT(config->model < LIST_APPEND_MODEL_COUNT);
    ASSERT_IF(text_size > 0, text != NULL);
    struct list_append_run run = {.history = history,
                                  .config = config,
                                  .forbidden = list_append_forbidden(config->model),
                                  .text = {text, text_size, 0},
                                  .allowed = {mem_alloc(text_size + 1), text_size, 0}};
    list_append__orders_init(&run);
    list_append_graph_init(&run.graph, history->txn_count);
    list_append__check_reads(&run);
    list_append__check_lost(&run);
    list_append__add_data_edges(&run);
    list_append__add_time_edges(&run);
    list_append__check_cycles(&run);
    list_append__check_timestamps(&run);
    join_texts(&run);
    *out_result =
        (struct list_append_result){.found = run.found, .forbidden = run.found & run.forbidden};
    count_outcomes(history, out_result);
    list_append_graph_deinit(&run.graph);
    list_append__orders_deinit(&run);
    mem_free(run.allowed.data);
    return out_result->forbidden == 0;
}
