// SPDX-License-Identifier: Apache-2.0
// {"index": 3, "process": 1, "type": "ok", "value": [["append", "x", 1], ["r", "y", [2]]],
//  "meta": {"commit_ts": 17}}
// An invocation waits, by process, for the line that ends it. What a transaction did is told by its
// end when that is "ok", else by its invocation: only there are reads known.
#include "tests/sim/list_append_json.h"

#include "dataplane/base/mem.h"

#include <jansson.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct open_txn {
    int64_t process;
    uint64_t index;
    json_t *event;  // NULL: free
};

struct reader {
    struct list_append_history *history;
    struct open_txn *open;
    uint32_t open_count;
    uint64_t line;
    struct err *err;
    uint64_t *list;  // scratch
    size_t list_capacity;
};

static enum status bad(struct reader *self, const char *what) {
    return err_set(self->err, STATUS_INVALID_ARGUMENT, "line %" PRIu64 ": %s", self->line, what);
}

// --- Operations ---

static uint64_t key_of(struct list_append_history *history, const json_t *key) {
    char digits[32];
    if (json_is_string(key)) { return list_append_key(history, json_string_value(key)); }
    (void)snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, json_integer_value(key));
    return list_append_key(history, digits);
}

static enum status add_list(struct reader *self, uint64_t key, const json_t *list) {
    size_t count = json_array_size(list);
    if (count > self->list_capacity) {
        self->list_capacity = 2 * count;
        self->list = mem_realloc(self->list, self->list_capacity * sizeof(*self->list));
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_integer(value)) { return bad(self, "an element is no integer"); }
        self->list[i] = (uint64_t)json_integer_value(value);
    }
    list_append_add_read(self->history, key, self->list, (uint32_t)count);
    return STATUS_OK;
}

static enum status add_op(struct reader *self, const json_t *op, bool ok) {
    const json_t *what = json_array_get(op, 0);
    const json_t *key = json_array_get(op, 1);
    const json_t *value = json_array_get(op, 2);
    if (!json_is_string(what) || !(json_is_string(key) || json_is_integer(key))) {
        return bad(self, "an operation is no [function, key, value]");
    }
    if (strcmp(json_string_value(what), "append") == 0) {
        if (!json_is_integer(value)) { return bad(self, "an appended value is no integer"); }
        list_append_add(self->history, key_of(self->history, key),
                        (uint64_t)json_integer_value(value));
        return STATUS_OK;
    }
    if (strcmp(json_string_value(what), "r") != 0) { return bad(self, "unknown function"); }
    if (!ok) { return STATUS_OK; }
    if (!json_is_array(value)) { return bad(self, "a read of an ok transaction has no list"); }
    return add_list(self, key_of(self->history, key), value);
}

// --- Transactions ---

static uint64_t number_of(const json_t *meta, const char *name) {
    const json_t *value = json_object_get(meta, name);
    if (json_is_string(value)) { return strtoull(json_string_value(value), NULL, 10); }
    return (uint64_t)json_integer_value(value);
}

static enum status add_txn(struct reader *self, const struct open_txn *open, const json_t *end,
                           uint64_t index) {
    const char *type = end == NULL ? "info" : json_string_value(json_object_get(end, "type"));
    bool ok = strcmp(type, "ok") == 0;
    bool fail = strcmp(type, "fail") == 0;
    if (!ok && !fail && strcmp(type, "info") != 0) { return bad(self, "unknown type"); }
    const json_t *meta = json_object_get(end, "meta");
    struct list_append_txn txn = {.id = open->index,
                                  .process = (uint64_t)open->process,
                                  .invoke = open->index,
                                  .ret = ok ? index : LIST_APPEND_NEVER,
                                  .type = ok ? LIST_APPEND_OK
                                             : (fail ? LIST_APPEND_FAIL : LIST_APPEND_INFO),
                                  .commit_ts = number_of(meta, "commit_ts"),
                                  .snapshot_ts = number_of(meta, "snapshot_ts"),
                                  .stale = json_is_true(json_object_get(meta, "stale"))};
    list_append_begin(self->history, &txn);
    const json_t *ops = json_object_get(ok ? end : open->event, "value");
    if (!json_is_array(ops)) { return bad(self, "a transaction without operations"); }
    for (size_t i = 0; i < json_array_size(ops); i++) {
        enum status st = add_op(self, json_array_get(ops, i), ok);
        if (st != STATUS_OK) { return st; }
    }
    return STATUS_OK;
}

static struct open_txn *find_open(struct reader *self, int64_t process) {
    for (uint32_t i = 0; i < self->open_count; i++) {
        if (self->open[i].process == process) { return &self->open[i]; }
    }
    self->open = mem_realloc(self->open, (self->open_count + 1) * sizeof(*self->open));
    self->open[self->open_count] = (struct open_txn){.process = process};
    return &self->open[self->open_count++];
}

static enum status add_event(struct reader *self, json_t *event) {
    const json_t *process = json_object_get(event, "process");
    const json_t *type = json_object_get(event, "type");
    const json_t *number = json_object_get(event, "index");
    if (!json_is_integer(process) || !json_is_string(type)) {
        return bad(self, "no process, or no type");
    }
    uint64_t index = json_is_integer(number) ? (uint64_t)json_integer_value(number) : self->line;
    struct open_txn *open = find_open(self, json_integer_value(process));
    if (strcmp(json_string_value(type), "invoke") == 0) {
        if (open->event != NULL) { return bad(self, "the process has a transaction open"); }
        open->index = index;
        open->event = json_incref(event);
        return STATUS_OK;
    }
    if (open->event == NULL) { return bad(self, "an end without an invocation"); }
    enum status st = add_txn(self, open, event, index);
    json_decref(open->event);
    open->event = NULL;
    return st;
}

// --- The file ---

static enum status read_lines(struct reader *self, FILE *file) {
    char *text = NULL;
    size_t capacity = 0;
    enum status st = STATUS_OK;
    while (st == STATUS_OK && getline(&text, &capacity, file) >= 0) {
        self->line++;
        if (text[strspn(text, " \t\r\n")] == '\0') { continue; }
        json_t *event = json_loads(text, 0, NULL);
        st = event == NULL ? bad(self, "no JSON") : add_event(self, event);
        json_decref(event);
    }
    free(text);  // lint: allow allocation: getline's
    return st;
}

enum status list_append_read_json(struct list_append_history *history, const char *path,
                                  struct err *err) {
    FILE *file = fopen(path, "r");
    if (file == NULL) { return err_set(err, STATUS_NOT_FOUND, "cannot open %s", path); }
    struct reader reader = {.history = history, .err = err};
    enum status st = read_lines(&reader, file);
    (void)fclose(file);
    for (uint32_t i = 0; i < reader.open_count; i++) {
        if (reader.open[i].event == NULL) { continue; }
        if (st == STATUS_OK) { st = add_txn(&reader, &reader.open[i], NULL, 0); }
        json_decref(reader.open[i].event);
    }
    mem_free(reader.open);
    mem_free(reader.list);
    return st;
}
