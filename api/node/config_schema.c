// SPDX-License-Identifier: Apache-2.0
// Design: one table of settings; values are read and checked by type, so a new setting is one line
// there, one field in the header and one line of defaults. Numbers are decimal digits and nothing
// else: `010` is ten or an error in every other notation that people use, never eight, and a unit
// that is not in the name of a setting does not exist.
#include "api/node/config_internal.h"
#include "dataplane/base/assert.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum {
    KIB = 1 << 10,
    MIB = 1 << 20,
    PORT_MAX = 65535,
    MICRODEGREES_PER_DEGREE = 1000000,
    DECIMALS_MAX = 6,
    SHOWN_SIZE_MAX = 48,  // of a value, in an error
};

#define FIELD(member) offsetof(struct node_config, member)
#define TEXT(type, name, member) \
    { name, type, FIELD(member), 0, sizeof(((struct node_config *)0)->member) }
#define NUMBER(name, member, min, max) \
    { name, CONFIG__NUMBER, FIELD(member), min, max }

const struct config__setting CONFIG__SETTINGS[] = {
    TEXT(CONFIG__PATH, "data_dir", data_dir),
    TEXT(CONFIG__LISTEN, "listen.peer", listen_peer),
    TEXT(CONFIG__LISTEN, "listen.rpc", listen_rpc),
    TEXT(CONFIG__ADDRESS, "advertise.peer", advertise_peer),
    TEXT(CONFIG__ADDRESS, "advertise.rpc", advertise_rpc),
    {"join", CONFIG__JOIN, FIELD(join), 0, NODE_CONFIG_ADDRESS_SIZE_MAX},
    TEXT(CONFIG__NAME, "region", region),
    TEXT(CONFIG__NAME, "zone", zone),
    {"latitude", CONFIG__DEGREES, FIELD(latitude_microdegrees), 0, 90},
    {"longitude", CONFIG__DEGREES, FIELD(longitude_microdegrees), 0, 180},
    {"insecure", CONFIG__FLAG, FIELD(insecure), 0, 1},
    {"dev", CONFIG__FLAG, FIELD(dev), 0, 1},
    NUMBER("limits.max_commit_bytes", max_commit_bytes, KIB, 16 * MIB),
    NUMBER("limits.max_inflight_calls", max_inflight_calls, 1, 1000000),
    NUMBER("limits.max_inflight_bytes", max_inflight_bytes, 16 * MIB, UINT64_C(16) << 30),
    NUMBER("limits.cache_mb", cache_mb, 8, 1 << 20),
    NUMBER("limits.write_buffer_mb", write_buffer_mb, 1, 4096),
    NUMBER("support_duration_ms", support_duration_ms, 50, 60000),
    NUMBER("election_timeout_ms", election_timeout_ms, 10, 60000),
    NUMBER("clock.max_lead_ms", clock_max_lead_ms, 1, 60000),
    NUMBER("disk.slow_ms", disk_slow_ms, 10, 600000),
    NUMBER("disk.sick_ms", disk_sick_ms, 20, 600000),
    NUMBER("disk.stop_ms", disk_stop_ms, 30, 600000),
    NUMBER("disk.recover_ms", disk_recover_ms, 10, 3600000),
    NUMBER("disk.reserve_mb", disk_reserve_mb, 0, 1 << 20),
    {"log.level", CONFIG__LEVEL, FIELD(log_level), 0, LOG_LEVEL_COUNT - 1},
};
const uint32_t CONFIG__SETTING_COUNT = sizeof(CONFIG__SETTINGS) / sizeof(CONFIG__SETTINGS[0]);

void node_config_defaults(struct node_config *self) {
    *self = (struct node_config){.listen_peer = "127.0.0.1:7400",
                                 .listen_rpc = "127.0.0.1:7401",
                                 .max_commit_bytes = 16 * MIB,
                                 .max_inflight_calls = 16384,
                                 .max_inflight_bytes = 64 * MIB,
                                 .cache_mb = 256,
                                 .write_buffer_mb = 64,
                                 .support_duration_ms = 700,
                                 .election_timeout_ms = 150,
                                 .clock_max_lead_ms = 1000,
                                 .disk_slow_ms = 500,
                                 .disk_sick_ms = 3000,
                                 .disk_stop_ms = 10000,
                                 .disk_recover_ms = 10000,
                                 .disk_reserve_mb = 256,
                                 .log_level = LOG_LEVEL_INFO};
}

const char *config__type_text(enum config__type type) {
    switch (type) {
    case CONFIG__PATH:
        return "a path";
    case CONFIG__LISTEN:
    case CONFIG__ADDRESS:
        return "host:port";
    case CONFIG__NAME:
        return "a name";
    case CONFIG__NUMBER:
        return "a whole number";
    case CONFIG__DEGREES:
        return "decimal degrees";
    case CONFIG__FLAG:
        return "true or false";
    case CONFIG__LEVEL:
        return "debug, info, warn or error";
    case CONFIG__JOIN:
        return "a list of host:port";
    case CONFIG__TYPE_COUNT:
        break;
    }
    return "?";
}

// --- Values by type -----------------------------------------------------------------------------

static enum status config_check_number(const struct config__setting *setting, uint64_t value,
                                       struct err *err) {
    if (value >= setting->min && value <= setting->max) { return STATUS_OK; }
    return err_set(err, STATUS_INVALID_ARGUMENT, "%llu is out of range, %llu to %llu allowed",
                   (unsigned long long)value, (unsigned long long)setting->min,
                   (unsigned long long)setting->max);
}

// Decimal digits only. False for anything else and for what 64 bits do not hold.
static bool config_read_digits(const char *text, size_t size, uint64_t *out) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') { return false; }
        if (__builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return size > 0;
}

static enum status config_wrong_type(const struct config__setting *setting, const char *text,
                                     struct err *err) {
    return err_set(err, STATUS_INVALID_ARGUMENT, "\"%.*s\" is not %s", SHOWN_SIZE_MAX, text,
                   setting->type == CONFIG__JOIN ? "host:port" : config__type_text(setting->type));
}

static enum status config_set_number(const struct config__setting *setting,
                                     const struct config__scalar *value, uint64_t *out,
                                     struct err *err) {
    uint64_t number = 0;
    bool leading_zero = value->size > 1 && value->text[0] == '0';
    bool digits = strspn(value->text, "0123456789") == value->size && value->size > 0;
    if (!value->plain || !digits || leading_zero) {
        return config_wrong_type(setting, value->text, err);
    }
    if (!config_read_digits(value->text, value->size, &number)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%.*s is out of range, %llu to %llu allowed",
                       SHOWN_SIZE_MAX, value->text, (unsigned long long)setting->min,
                       (unsigned long long)setting->max);
    }
    enum status st = config_check_number(setting, number, err);
    if (st == STATUS_OK) { *out = number; }
    return st;
}

// [-]digits[.digits], at most six decimals, so that every value that is taken is exact.
static bool config_read_degrees(const char *text, size_t size, int64_t *out_micro) {
    bool negative = size > 0 && text[0] == '-';
    if (negative) {
        text++;
        size--;
    }
    const char *dot = memchr(text, '.', size);
    size_t whole_size = dot == NULL ? size : (size_t)(dot - text);
    size_t decimals = dot == NULL ? 0 : size - whole_size - 1;
    uint64_t whole = 0;
    uint64_t fraction = 0;
    if (whole_size > 3 || decimals > DECIMALS_MAX || (dot != NULL && decimals == 0)) {
        return false;
    }
    if (!config_read_digits(text, whole_size, &whole)) { return false; }
    if (decimals > 0 && !config_read_digits(dot + 1, decimals, &fraction)) { return false; }
    for (size_t i = decimals; i < DECIMALS_MAX; i++) {
        fraction *= 10;
    }
    int64_t micro = (int64_t)(whole * MICRODEGREES_PER_DEGREE + fraction);
    *out_micro = negative ? -micro : micro;
    return true;
}

static enum status config_check_degrees(const struct config__setting *setting, int64_t micro,
                                        struct err *err) {
    int64_t max = (int64_t)setting->max * MICRODEGREES_PER_DEGREE;
    if (micro >= -max && micro <= max) { return STATUS_OK; }
    return err_set(err, STATUS_INVALID_ARGUMENT, "%.6f is out of range, -%llu to %llu allowed",
                   (double)micro / MICRODEGREES_PER_DEGREE, (unsigned long long)setting->max,
                   (unsigned long long)setting->max);
}

static enum status config_set_degrees(const struct config__setting *setting,
                                      const struct config__scalar *value, int32_t *out,
                                      struct err *err) {
    int64_t micro = 0;
    if (!value->plain || !config_read_degrees(value->text, value->size, &micro)) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "\"%.*s\" is not decimal degrees with at most %d decimals", SHOWN_SIZE_MAX,
                       value->text, DECIMALS_MAX);
    }
    enum status st = config_check_degrees(setting, micro, err);
    if (st == STATUS_OK) { *out = (int32_t)micro; }
    return st;
}

static bool config_is_address(const char *text, bool any_port) {
    for (const char *c = text; *c != '\0'; c++) {
        if (*c <= 0x20 || *c > 0x7e) { return false; }
    }
    // The last colon parts host and port, since an IPv6 host has colons of its own.
    const char *colon = strrchr(text, ':');
    uint64_t port = 0;
    if (colon == NULL || colon == text ||
        !config_read_digits(colon + 1, strlen(colon + 1), &port)) {
        return false;
    }
    return port <= PORT_MAX && (port > 0 || any_port);
}

static enum status config_check_text(const struct config__setting *setting, const char *text,
                                     struct err *err) {
    switch (setting->type) {
    case CONFIG__PATH:
        for (const char *c = text; *c != '\0'; c++) {
            if ((unsigned char)*c < 0x20 || *c == 0x7f) {
                return err_set(err, STATUS_INVALID_ARGUMENT, "a control character in a path");
            }
        }
        return text[0] != '\0' ? STATUS_OK
                               : err_set(err, STATUS_INVALID_ARGUMENT, "is needed, and is empty");
    case CONFIG__LISTEN:
    case CONFIG__ADDRESS:
    case CONFIG__JOIN:
        if (config_is_address(text, setting->type == CONFIG__LISTEN)) { return STATUS_OK; }
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "\"%.*s\" is not host:port with a port from %d to %d", SHOWN_SIZE_MAX, text,
                       setting->type == CONFIG__LISTEN ? 0 : 1, PORT_MAX);
    case CONFIG__NAME:
        for (const char *c = text; *c != '\0'; c++) {
            if (*c <= 0x20 || *c > 0x7e) {
                return err_set(err, STATUS_INVALID_ARGUMENT,
                               "a name is printable ASCII without spaces");
            }
        }
        return STATUS_OK;
    case CONFIG__NUMBER:
    case CONFIG__DEGREES:
    case CONFIG__FLAG:
    case CONFIG__LEVEL:
    case CONFIG__TYPE_COUNT:
        break;
    }
    assert_fail(__FILE__, __LINE__, "only texts come here");
}

static enum status config_set_text(const struct config__setting *setting,
                                   const struct config__scalar *value, char *out, struct err *err) {
    if (value->size >= setting->max) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%llu bytes, at most %llu allowed",
                       (unsigned long long)value->size, (unsigned long long)setting->max - 1);
    }
    if (strlen(value->text) != value->size) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "a NUL byte in a text");
    }
    if (value->size == 0 && value->plain) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "has no value, %s is wanted",
                       config__type_text(setting->type));
    }
    enum status st = config_check_text(setting, value->text, err);
    if (st == STATUS_OK) { memcpy(out, value->text, value->size + 1); }
    return st;
}

static enum status config_set_flag(const struct config__setting *setting,
                                   const struct config__scalar *value, bool *out, struct err *err) {
    bool yes = strcmp(value->text, "true") == 0;
    if (!value->plain || (!yes && strcmp(value->text, "false") != 0)) {
        return config_wrong_type(setting, value->text, err);
    }
    *out = yes;
    return STATUS_OK;
}

static enum status config_set_level(const struct config__setting *setting,
                                    const struct config__scalar *value, enum log_level *out,
                                    struct err *err) {
    static const char *const names[LOG_LEVEL_COUNT] = {"debug", "info", "warn", "error"};
    for (uint32_t i = 0; i < LOG_LEVEL_COUNT; i++) {
        if (strcmp(value->text, names[i]) == 0) {
            *out = (enum log_level)i;
            return STATUS_OK;
        }
    }
    return config_wrong_type(setting, value->text, err);
}

static enum status config_add_join(const struct config__setting *setting,
                                   const struct config__scalar *value, struct node_config *out,
                                   struct err *err) {
    if (out->join_count == NODE_CONFIG_JOIN_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "more than the %d addresses allowed",
                       NODE_CONFIG_JOIN_MAX);
    }
    enum status st = config_set_text(setting, value, out->join[out->join_count], err);
    if (st == STATUS_OK) { out->join_count++; }
    return st;
}

enum status config__set(const struct config__setting *setting, const struct config__scalar *value,
                        struct node_config *out, struct err *err) {
    void *place = (uint8_t *)out + setting->offset;
    switch (setting->type) {
    case CONFIG__PATH:
    case CONFIG__LISTEN:
    case CONFIG__ADDRESS:
    case CONFIG__NAME:
        return config_set_text(setting, value, place, err);
    case CONFIG__NUMBER:
        return config_set_number(setting, value, place, err);
    case CONFIG__DEGREES:
        return config_set_degrees(setting, value, place, err);
    case CONFIG__FLAG:
        return config_set_flag(setting, value, place, err);
    case CONFIG__LEVEL:
        return config_set_level(setting, value, place, err);
    case CONFIG__JOIN:
        return config_add_join(setting, value, out, err);
    case CONFIG__TYPE_COUNT:
        break;
    }
    assert_fail(__FILE__, __LINE__, "every setting has a type");
}

// --- The whole ----------------------------------------------------------------------------------

static enum status config_check_setting(const struct config__setting *setting,
                                        const struct node_config *self, struct err *err) {
    const void *place = (const uint8_t *)self + setting->offset;
    switch (setting->type) {
    case CONFIG__PATH:
    case CONFIG__LISTEN:
    case CONFIG__NAME:
        return config_check_text(setting, place, err);
    case CONFIG__ADDRESS:
        return *(const char *)place == '\0' ? STATUS_OK : config_check_text(setting, place, err);
    case CONFIG__NUMBER:
        return config_check_number(setting, *(const uint64_t *)place, err);
    case CONFIG__DEGREES:
        return config_check_degrees(setting, *(const int32_t *)place, err);
    case CONFIG__LEVEL:
    case CONFIG__FLAG:
        return STATUS_OK;
    case CONFIG__JOIN:
        for (uint32_t i = 0; i < self->join_count; i++) {
            enum status st = config_check_text(setting, self->join[i], err);
            if (st != STATUS_OK) { return st; }
        }
        return STATUS_OK;
    case CONFIG__TYPE_COUNT:
        break;
    }
    return STATUS_INVALID_ARGUMENT;
}

// Nobody can dial "every address of that machine".
static enum status config_check_advertise(const char *name, const char *listen,
                                          const char *advertise, struct err *err) {
    bool wildcard = strncmp(listen, "0.0.0.0:", 8) == 0 || strncmp(listen, "[::]:", 5) == 0 ||
                    strncmp(listen, ":::", 3) == 0 || strncmp(listen, "*:", 2) == 0;
    if (!wildcard || advertise[0] != '\0') { return STATUS_OK; }
    return err_set(err, STATUS_INVALID_ARGUMENT,
                   "advertise.%s: is needed, because listen.%s is %.64s, which nobody can dial",
                   name, name, listen);
}

// Each degree is worse than the one before.
static enum status config_check_disk(const struct node_config *self, struct err *err) {
    if (self->disk_slow_ms < self->disk_sick_ms && self->disk_sick_ms < self->disk_stop_ms) {
        return STATUS_OK;
    }
    return err_set(err, STATUS_INVALID_ARGUMENT,
                   "disk: slow_ms %llu, sick_ms %llu and stop_ms %llu must ascend",
                   (unsigned long long)self->disk_slow_ms, (unsigned long long)self->disk_sick_ms,
                   (unsigned long long)self->disk_stop_ms);
}

enum status node_config_check(const struct node_config *self, struct err *err) {
    for (uint32_t i = 0; i < CONFIG__SETTING_COUNT; i++) {
        enum status st = config_check_setting(&CONFIG__SETTINGS[i], self, err);
        if (st != STATUS_OK) {
            err_wrap(err, "%s", CONFIG__SETTINGS[i].name);
            return st;
        }
    }
    if (self->join_count > NODE_CONFIG_JOIN_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "join: more than the %d addresses allowed",
                       NODE_CONFIG_JOIN_MAX);
    }
    enum status st = config_check_disk(self, err);
    if (st != STATUS_OK) { return st; }
    st = config_check_advertise("peer", self->listen_peer, self->advertise_peer, err);
    if (st != STATUS_OK) { return st; }
    return config_check_advertise("rpc", self->listen_rpc, self->advertise_rpc, err);
}
