// SPDX-License-Identifier: Apache-2.0
// config_internal.h - the table of settings, between the reader of YAML and the checks of values.
// Invariants: names are unique; no name is the section of another.
// Ownership:  static data.
// Thread:     as config.h.
// See:        api/node/config_schema.c
#pragma once

#include "api/node/config.h"

enum config__type {
    CONFIG__PATH,
    CONFIG__LISTEN,   // host:port, port 0 allowed
    CONFIG__ADDRESS,  // host:port
    CONFIG__NAME,     // printable ASCII without spaces, may be empty
    CONFIG__NUMBER,   // uint64_t
    CONFIG__DEGREES,  // int32_t microdegrees
    CONFIG__FLAG,     // bool
    CONFIG__LEVEL,    // enum log_level
    CONFIG__JOIN,     // join and join_count
    CONFIG__TYPE_COUNT
};

struct config__setting {
    const char *name;  // section.key, or key
    enum config__type type;
    uint64_t offset;  // in struct node_config
    uint64_t min;     // NUMBER: smallest value; DEGREES: unused
    uint64_t max;     // NUMBER: largest value; DEGREES: of the absolute value; texts: array size
};

extern const struct config__setting CONFIG__SETTINGS[];
extern const uint32_t CONFIG__SETTING_COUNT;

// One scalar of the file.
struct config__scalar {
    const char *text;  // NUL-terminated
    uint64_t size;     // bytes, a NUL inside counts
    bool plain;        // not quoted
};

// Puts the value into the place of the setting; INVALID_ARGUMENT says what is wrong with it,
// without the name of the setting. For JOIN: appends one.
NODISCARD enum status config__set(const struct config__setting *setting,
                                  const struct config__scalar *value, struct node_config *out,
                                  struct err *err);
// What the type wants, for "a number is wanted".
const char *config__type_text(enum config__type type);
