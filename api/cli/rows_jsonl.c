// SPDX-License-Identifier: Apache-2.0
// JSON strings are text, keys and values are bytes: what is not valid UTF-8 travels in base64 under
// another name ("key_base64"), so that text stays readable and nothing is lost. Members that are
// not ours are refused: a misspelt "vaule" must not import empty values.
#include "api/cli/rows_internal.h"
#include "api/cli/text.h"
#include "dataplane/base/mem.h"

#include <jansson.h>

#include <inttypes.h>
#include <string.h>

static const char *const rows_members[] = {"key", "key_base64", "value", "value_base64"};

static bool is_member(const char *name) {
    for (size_t i = 0; i < sizeof(rows_members) / sizeof(rows_members[0]); i++) {
        if (strcmp(name, rows_members[i]) == 0) { return true; }
    }
    return false;
}

// Exactly one of `name` and `name`_base64.
static enum status read_bytes(const json_t *object, const char *name, struct buf *out,
                              struct err *err) {
    char encoded_name[32];
    (void)snprintf(encoded_name, sizeof(encoded_name), "%s_base64", name);
    const json_t *plain = json_object_get(object, name);
    const json_t *encoded = json_object_get(object, encoded_name);
    const json_t *given = plain != NULL ? plain : encoded;
    if ((plain != NULL) == (encoded != NULL)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "wants either \"%s\" or \"%s\"", name,
                       encoded_name);
    }
    if (!json_is_string(given)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "\"%s\" is no string",
                       plain != NULL ? name : encoded_name);
    }
    struct slice text = slice_make(json_string_value(given), json_string_length(given));
    if (plain != NULL) {
        text_add(out, text);
        return STATUS_OK;
    }
    if (text_unbase64(out, text) != STATUS_OK) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "\"%s\" is no base64", encoded_name);
    }
    return STATUS_OK;
}

static enum status read_object(struct rows *self, const json_t *object, struct err *err) {
    if (!json_is_object(object)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "is no JSON object");
    }
    const char *name = NULL;
    const json_t *value = NULL;
    json_object_foreach((json_t *)object, name, value) {
        if (!is_member(name)) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "unknown member \"%.40s\"; known are key, value, key_base64 and "
                           "value_base64",
                           name);
        }
    }
    enum status st = read_bytes(object, "key", &self->key, err);
    return st == STATUS_OK ? read_bytes(object, "value", &self->value, err) : st;
}

static enum status parse(struct rows *self, struct slice line, struct err *err) {
    json_error_t error;
    json_t *object = json_loadb((const char *)line.data, line.size,
                                JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (object == NULL) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "is no JSON: %s (column %d)", error.text,
                       error.column);
    }
    enum status st = read_object(self, object, err);
    json_decref(object);
    return st;
}

enum status rows__next_jsonl(struct rows *self, uint64_t *out_line, bool *out_end,
                             struct err *err) {
    struct slice line = SLICE_EMPTY;
    do {
        enum status st = lines_next(&self->lines, &line, out_end, err);
        if (st != STATUS_OK) { return st; }
        if (*out_end) { return STATUS_OK; }
    } while (rows__is_blank(line));
    *out_line = self->lines.number;
    enum status st = parse(self, line, err);
    if (st != STATUS_OK) { err_wrap(err, "line %" PRIu64, *out_line); }
    return st;
}

static int add_dumped(const char *text, size_t size, void *ctx) {
    text_add(ctx, slice_make(text, size));
    return 0;
}

static void write_member(struct buf *out, const char *name, struct slice bytes) {
    bool is_text = text_is_utf8(bytes);
    struct buf encoded;
    buf_init(&encoded, TEXT_BUF_MAX);
    if (!is_text) { text_base64(&encoded, bytes); }
    struct slice shown = is_text ? bytes : buf_slice(&encoded);
    json_t *value = json_stringn(shown.size > 0 ? (const char *)shown.data : "", shown.size);
    text_addf(out, "\"%s%s\":", name, is_text ? "" : "_base64");
    (void)json_dump_callback(value, add_dumped, out, JSON_ENCODE_ANY);
    json_decref(value);
    buf_deinit(&encoded);
}

void rows_write_jsonl(struct buf *out, struct slice key, struct slice value) {
    text_add_string(out, "{");
    write_member(out, "key", key);
    text_add_string(out, ",");
    write_member(out, "value", value);
    text_add_string(out, "}");
}
