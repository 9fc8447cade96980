// SPDX-License-Identifier: Apache-2.0
// Design: libyaml parses the text into a document whose nodes know their lines; this file walks it
// against the table of settings, so that every complaint can name file, line and setting. libcyaml,
// which loads by schema, was tried and rejected: it takes `1 2` for 1 and `010` for 8, knows no
// ranges, and reports an unknown key with the line at which the mapping begins.
//
// The walk goes as deep as the settings do, two levels, so aliases that contain themselves cannot
// lead it astray; size and nesting of the text are bounded before the document is loaded.
#include "api/node/config.h"

#include "api/node/config_internal.h"
#include "dataplane/base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

enum {
    NAME_SHOWN_SIZE_MAX = 80,
    KEY_SHOWN_SIZE_MAX = 48,
    KEY_SIZE_MAX = 128,
    DEPTH_MAX = 2,
    NESTING_MAX = 8
};

struct config_walk {
    yaml_document_t *document;
    const char *name;  // of the file
    struct node_config *config;
    struct err *err;
};

// --- Errors with a line -------------------------------------------------------------------------

static unsigned long line_of(const yaml_mark_t *mark) {
    return (unsigned long)mark->line + 1;
}

// Puts "file:line: " before what the callee said.
static enum status wrap_line(const struct config_walk *walk, enum status st,
                             const yaml_node_t *node) {
    err_wrap(walk->err, "%.*s:%lu", NAME_SHOWN_SIZE_MAX, walk->name, line_of(&node->start_mark));
    return st;
}

static enum status complain(const struct config_walk *walk, const yaml_node_t *node,
                            const char *name, const char *text) {
    (void)err_set(walk->err, STATUS_INVALID_ARGUMENT, "%.*s: %s", KEY_SHOWN_SIZE_MAX, name, text);
    return wrap_line(walk, STATUS_INVALID_ARGUMENT, node);
}

// --- The walk -----------------------------------------------------------------------------------

static const struct config__setting *find_setting(const char *name) {
    for (uint32_t i = 0; i < CONFIG__SETTING_COUNT; i++) {
        if (strcmp(CONFIG__SETTINGS[i].name, name) == 0) { return &CONFIG__SETTINGS[i]; }
    }
    return NULL;
}

static bool is_section(const char *name) {
    size_t size = strlen(name);
    for (uint32_t i = 0; i < CONFIG__SETTING_COUNT; i++) {
        const char *setting = CONFIG__SETTINGS[i].name;
        if (strncmp(setting, name, size) == 0 && setting[size] == '.') { return true; }
    }
    return false;
}

static enum status take_scalar(const struct config_walk *walk,
                               const struct config__setting *setting, const yaml_node_t *node) {
    if (node->type != YAML_SCALAR_NODE) {
        (void)err_set(walk->err, STATUS_INVALID_ARGUMENT, "%s: %s is wanted here", setting->name,
                      config__type_text(setting->type));
        return wrap_line(walk, STATUS_INVALID_ARGUMENT, node);
    }
    if (strcmp((const char *)node->tag, YAML_STR_TAG) != 0) {
        return complain(walk, node, setting->name, "tags are not allowed");
    }
    struct config__scalar value = {.text = (const char *)node->data.scalar.value,
                                   .size = node->data.scalar.length,
                                   .plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE};
    enum status st = config__set(setting, &value, walk->config, walk->err);
    if (st == STATUS_OK) { return STATUS_OK; }
    err_wrap(walk->err, "%s", setting->name);
    return wrap_line(walk, st, node);
}

static enum status take_setting(const struct config_walk *walk,
                                const struct config__setting *setting, const yaml_node_t *node) {
    if (setting->type != CONFIG__JOIN) { return take_scalar(walk, setting, node); }
    if (node->type != YAML_SEQUENCE_NODE) {
        return complain(walk, node, setting->name, "a list of host:port is wanted");
    }
    const yaml_node_item_t *item = node->data.sequence.items.start;
    for (; item < node->data.sequence.items.top; item++) {
        const yaml_node_t *entry = yaml_document_get_node(walk->document, *item);
        ASSERT(entry != NULL);
        enum status st = take_scalar(walk, setting, entry);
        if (st != STATUS_OK) { return st; }
    }
    return STATUS_OK;
}

static bool same_key(const yaml_node_t *a, const yaml_node_t *b) {
    return a->type == YAML_SCALAR_NODE && b->type == YAML_SCALAR_NODE &&
           a->data.scalar.length == b->data.scalar.length &&
           memcmp(a->data.scalar.value, b->data.scalar.value, a->data.scalar.length) == 0;
}

// Whether an earlier pair of the mapping has the same key.
static const yaml_node_t *find_earlier(const struct config_walk *walk, const yaml_node_t *mapping,
                                       const yaml_node_pair_t *pair) {
    const yaml_node_t *key = yaml_document_get_node(walk->document, pair->key);
    const yaml_node_pair_t *other = mapping->data.mapping.pairs.start;
    for (; other < pair; other++) {
        const yaml_node_t *seen = yaml_document_get_node(walk->document, other->key);
        if (same_key(seen, key)) { return seen; }
    }
    return NULL;
}

// Full name of a key; false when it is no plain text or too long to be one of ours.
static bool full_name(const char *section, const yaml_node_t *key, char out[KEY_SIZE_MAX]) {
    if (key->type != YAML_SCALAR_NODE) { return false; }
    const char *text = (const char *)key->data.scalar.value;
    // A dot inside a key would let `a.b:` stand for a section, and pass the check for repeats.
    if (strlen(text) != key->data.scalar.length || strchr(text, '.') != NULL) { return false; }
    int size = snprintf(out, KEY_SIZE_MAX, "%s%s%s", section, section[0] != '\0' ? "." : "", text);
    return size > 0 && size < KEY_SIZE_MAX;
}

static enum status unknown_key(const struct config_walk *walk, const char *section,
                               const yaml_node_t *key) {
    char shown[KEY_SHOWN_SIZE_MAX + 1] = "not a text";
    if (key->type == YAML_SCALAR_NODE) {
        snprintf(shown, sizeof(shown), "%s", (const char *)key->data.scalar.value);
    }
    for (char *c = shown; *c != '\0'; c++) {
        if (*c < 0x20 || *c > 0x7e) { *c = '?'; }
    }
    (void)err_set(walk->err, STATUS_INVALID_ARGUMENT, "unknown key \"%s\"%s%s", shown,
                  section[0] != '\0' ? " in " : "", section);
    return wrap_line(walk, STATUS_INVALID_ARGUMENT, key);
}

// Collects the pairs of one mapping; `section` is its name, empty at the top. Sections of it are
// walked by recursion, which DEPTH_MAX bounds.
static enum status walk_mapping(const struct config_walk *walk, const char *section,
                                const yaml_node_t *mapping, uint32_t depth) {
    ASSERT(depth < DEPTH_MAX);
    const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
    for (; pair < mapping->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(walk->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(walk->document, pair->value);
        ASSERT(key != NULL);
        ASSERT(value != NULL);
        char name[KEY_SIZE_MAX];
        if (!full_name(section, key, name)) { return unknown_key(walk, section, key); }
        const struct config__setting *setting = find_setting(name);
        if (setting == NULL && !is_section(name)) { return unknown_key(walk, section, key); }
        const yaml_node_t *earlier = find_earlier(walk, mapping, pair);
        if (earlier != NULL) {
            (void)err_set(walk->err, STATUS_INVALID_ARGUMENT, "%s: given before, at line %lu", name,
                          line_of(&earlier->start_mark));
            return wrap_line(walk, STATUS_INVALID_ARGUMENT, key);
        }
        enum status st = STATUS_OK;
        if (setting != NULL) {
            st = take_setting(walk, setting, value);
        } else if (value->type == YAML_MAPPING_NODE) {
            st = walk_mapping(walk, name, value, depth + 1);
        } else {
            st = complain(walk, value, name, "a section with keys of its own is wanted");
        }
        if (st != STATUS_OK) { return st; }
    }
    return STATUS_OK;
}

// --- Documents and files ------------------------------------------------------------------------

// Bytes that are no UTF-8 are found before lines are counted: only their offset is known.
static unsigned long problem_line(const yaml_parser_t *parser, struct slice text) {
    if (parser->error != YAML_READER_ERROR) { return line_of(&parser->problem_mark); }
    unsigned long line = 1;
    for (size_t i = 0; i < parser->problem_offset && i < text.size; i++) {
        line += text.data[i] == '\n' ? 1 : 0;
    }
    return line;
}

static enum status parser_problem(const yaml_parser_t *parser, struct slice text, const char *name,
                                  struct err *err) {
    if (parser->error == YAML_MEMORY_ERROR) {
        return err_set(err, STATUS_RESOURCE_EXHAUSTED, "%.*s: out of memory", NAME_SHOWN_SIZE_MAX,
                       name);
    }
    return err_set(err, STATUS_INVALID_ARGUMENT, "%.*s:%lu: not YAML: %s", NAME_SHOWN_SIZE_MAX,
                   name, problem_line(parser, text),
                   parser->problem != NULL ? parser->problem : "unreadable");
}

static enum status walk_document(const struct config_walk *walk) {
    const yaml_node_t *root = yaml_document_get_root_node(walk->document);
    if (root == NULL) { return STATUS_OK; }
    if (root->type != YAML_MAPPING_NODE) {
        (void)err_set(walk->err, STATUS_INVALID_ARGUMENT,
                      "lines of the form `key: value` are wanted");
        return wrap_line(walk, STATUS_INVALID_ARGUMENT, root);
    }
    return walk_mapping(walk, "", root, 0);
}

// What one event means for the look-ahead below.
static enum status look_at(const yaml_event_t *event, uint32_t *documents, uint32_t *depth,
                           const struct config_walk *walk) {
    bool opens =
        event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
    bool closes = event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
    const char *text = NULL;
    if (event->type == YAML_DOCUMENT_START_EVENT && ++*documents > 1) {
        text = "a second document";
    }
    if (opens && ++*depth > NESTING_MAX) { text = "nested too deeply"; }
    if (closes) { (*depth)--; }
    if (text == NULL) { return STATUS_OK; }
    return err_set(walk->err, STATUS_INVALID_ARGUMENT, "%.*s:%lu: %s", NAME_SHOWN_SIZE_MAX,
                   walk->name, line_of(&event->start_mark), text);
}

// Runs through the events of the text first: libyaml takes time quadratic in the depth of nesting
// to load a document, so what is too deep must be found before it is loaded.
static enum status look_ahead(yaml_parser_t *parser, struct slice text,
                              const struct config_walk *walk) {
    uint32_t documents = 0;
    uint32_t depth = 0;
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            return parser_problem(parser, text, walk->name, walk->err);
        }
        enum status st = look_at(&event, &documents, &depth, walk);
        bool last = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        if (st != STATUS_OK || last) { return st; }
    }
}

static enum status load_document(yaml_parser_t *parser, struct slice text,
                                 const struct config_walk *walk) {
    yaml_document_t document;
    if (!yaml_parser_load(parser, &document)) {
        return parser_problem(parser, text, walk->name, walk->err);
    }
    struct config_walk inside = *walk;
    inside.document = &document;
    enum status st = walk_document(&inside);
    yaml_document_delete(&document);
    return st;
}

// Gives each pass a parser of its own.
static enum status with_parser(struct slice text, const struct config_walk *walk,
                               enum status (*run)(yaml_parser_t *parser, struct slice text,
                                                  const struct config_walk *walk)) {
    static const uint8_t nothing;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return err_set(walk->err, STATUS_RESOURCE_EXHAUSTED, "%.*s: out of memory",
                       NAME_SHOWN_SIZE_MAX, walk->name);
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, text.size > 0 ? text.data : &nothing, text.size);
    enum status st = run(&parser, text, walk);
    yaml_parser_delete(&parser);
    return st;
}

enum status node_config_parse(struct slice text, const char *name, struct node_config *out,
                              struct err *err) {
    if (text.size > NODE_CONFIG_FILE_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%.*s: larger than the %d bytes allowed",
                       NAME_SHOWN_SIZE_MAX, name, NODE_CONFIG_FILE_SIZE_MAX);
    }
    struct node_config config;
    node_config_defaults(&config);
    struct config_walk walk = {NULL, name, &config, err};
    enum status st = with_parser(text, &walk, look_ahead);
    if (st == STATUS_OK) { st = with_parser(text, &walk, load_document); }
    if (st != STATUS_OK) { return st; }
    st = node_config_check(&config, err);
    if (st != STATUS_OK) {
        err_wrap(err, "%.*s", NAME_SHOWN_SIZE_MAX, name);
        return st;
    }
    *out = config;
    return STATUS_OK;
}

static enum status read_all(int fd, const char *path, struct buf *out, struct err *err) {
    uint8_t block[4096];
    for (;;) {
        ssize_t size = read(fd, block, sizeof(block));
        if (size == 0) { return STATUS_OK; }
        if (size < 0 && errno == EINTR) { continue; }
        if (size < 0) {
            return err_set(err, STATUS_IO, "%.*s: cannot be read: %s", NAME_SHOWN_SIZE_MAX, path,
                           strerrordesc_np(errno));
        }
        if (buf_append(out, slice_make(block, (size_t)size)) != STATUS_OK) {
            return err_set(err, STATUS_INVALID_ARGUMENT, "%.*s: larger than the %d bytes allowed",
                           NAME_SHOWN_SIZE_MAX, path, NODE_CONFIG_FILE_SIZE_MAX);
        }
    }
}

enum status node_config_load(const char *path, struct node_config *out, struct err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO,
                       "%.*s: cannot be opened: %s", NAME_SHOWN_SIZE_MAX, path,
                       strerrordesc_np(errno));
    }
    struct buf text;
    buf_init(&text, NODE_CONFIG_FILE_SIZE_MAX);
    enum status st = read_all(fd, path, &text, err);
    if (st == STATUS_OK) { st = node_config_parse(buf_slice(&text), path, out, err); }
    buf_deinit(&text);
    (void)close(fd);
    return st;
}
