// SPDX-License-Identifier: Apache-2.0
// node.yaml: every setting, every limit from both sides, and errors that name file, line and key.
#include "api/node/config.h"

#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static enum status parse(const char *text, struct node_config *out, struct err *err) {
    *err = (struct err){STATUS_OK, ""};
    return node_config_parse(slice_from_string(text), "node.yaml", out, err);
}

static void accept(const char *text, struct node_config *out) {
    struct err err;
    enum status st = parse(text, out, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(st, STATUS_OK);
}

// The text after `data_dir: /d` on line 1 is refused with exactly this message.
static void refuse(const char *rest, const char *message) {
    struct err err;
    struct node_config config;
    char text[4096];
    snprintf(text, sizeof(text), "data_dir: /d\n%s", rest);
    assert_int_equal(parse(text, &config, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, message);
}

// --- What is taken ------------------------------------------------------------------------------

static void test_config_minimal_file_gives_defaults(void **state) {
    (void)state;
    struct node_config config;
    struct node_config defaults;
    accept("data_dir: /var/lib/lightcone\n", &config);
    node_config_defaults(&defaults);
    assert_string_equal(config.data_dir, "/var/lib/lightcone");
    assert_string_equal(config.listen_peer, "127.0.0.1:7400");
    assert_string_equal(config.listen_rpc, "127.0.0.1:7401");
    assert_string_equal(config.advertise_peer, "");
    assert_int_equal(config.join_count, 0);
    assert_false(config.insecure);
    assert_false(config.dev);
    assert_int_equal(config.max_commit_bytes, 16 << 20);
    assert_int_equal(config.support_duration_ms, defaults.support_duration_ms);
    assert_int_equal(config.log_level, LOG_LEVEL_INFO);
}

static void test_config_every_setting_is_read(void **state) {
    (void)state;
    struct node_config config;
    accept("# a comment\n"
           "data_dir: \"/srv/a b\"\n"
           "listen:\n  peer: 0.0.0.0:0\n  rpc: '[::]:7001'\n"
           "advertise: {peer: node1.example:7000, rpc: node1.example:7001}\n"
           "join:\n  - node2:7000\n  - node3:7000\n"
           "region: eu-west\nzone: a\n"
           "latitude: -33.865143\nlongitude: 151.2\n"
           "insecure: true\ndev: true\n"
           "limits:\n  max_commit_bytes: 1024\n  max_inflight_calls: 7\n"
           "  max_inflight_bytes: 16777216\n  cache_mb: 8\n  write_buffer_mb: 1\n"
           "support_duration_ms: 2000\nelection_timeout_ms: 300\n"
           "clock:\n  max_lead_ms: 250\n"
           "disk: {slow_ms: 400, sick_ms: 2000, stop_ms: 8000, recover_ms: 6000}\n"
           "log: {level: debug}\n",
           &config);
    assert_string_equal(config.data_dir, "/srv/a b");
    assert_string_equal(config.listen_peer, "0.0.0.0:0");
    assert_string_equal(config.listen_rpc, "[::]:7001");
    assert_string_equal(config.advertise_peer, "node1.example:7000");
    assert_string_equal(config.advertise_rpc, "node1.example:7001");
    assert_int_equal(config.join_count, 2);
    assert_string_equal(config.join[0], "node2:7000");
    assert_string_equal(config.join[1], "node3:7000");
    assert_string_equal(config.region, "eu-west");
    assert_string_equal(config.zone, "a");
    assert_int_equal(config.latitude_microdegrees, -33865143);
    assert_int_equal(config.longitude_microdegrees, 151200000);
    assert_true(config.insecure);
    assert_true(config.dev);
    assert_int_equal(config.max_commit_bytes, 1024);
    assert_int_equal(config.max_inflight_calls, 7);
    assert_int_equal(config.max_inflight_bytes, 16777216);
    assert_int_equal(config.cache_mb, 8);
    assert_int_equal(config.write_buffer_mb, 1);
    assert_int_equal(config.support_duration_ms, 2000);
    assert_int_equal(config.election_timeout_ms, 300);
    assert_int_equal(config.clock_max_lead_ms, 250);
    assert_int_equal(config.disk_slow_ms, 400);
    assert_int_equal(config.disk_sick_ms, 2000);
    assert_int_equal(config.disk_stop_ms, 8000);
    assert_int_equal(config.disk_recover_ms, 6000);
    assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
}

// Goal: thresholds of the disk that do not ascend are refused, given or left at their default.
static void test_config_disk_thresholds_ascend(void **state) {
    (void)state;
    struct node_config config;
    accept("data_dir: /d\ndisk: {slow_ms: 2999, sick_ms: 3000, stop_ms: 3001}\n", &config);
    refuse("disk: {slow_ms: 3000}\n",
           "node.yaml: disk: slow_ms 3000, sick_ms 3000 and stop_ms 10000 must ascend");
    refuse("disk: {stop_ms: 3000}\n",
           "node.yaml: disk: slow_ms 500, sick_ms 3000 and stop_ms 3000 must ascend");
}

// Goal: the decimals become exact microdegrees; both ends of the range are inside.
static void test_config_degrees_are_exact(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t micro;
    } cases[] = {{"0", 0},           {"-0.000001", -1},       {"90", 90000000},
                 {"-90", -90000000}, {"89.999999", 89999999}, {"1.5", 1500000},
                 {"00.5", 500000}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        struct node_config config;
        snprintf(text, sizeof(text), "data_dir: /d\nlatitude: %s\n", cases[i].text);
        accept(text, &config);
        assert_int_equal(config.latitude_microdegrees, cases[i].micro);
    }
}

// --- Keys ---------------------------------------------------------------------------------------

static void test_config_unknown_key_names_key_and_line(void **state) {
    (void)state;
    refuse("\n\ncolour: red\n", "node.yaml:4: unknown key \"colour\"");
    refuse("limits:\n  cache_mb: 64\n  cach_mb: 64\n",
           "node.yaml:4: unknown key \"cach_mb\" in limits");
    refuse("limits: {cache_mb: 64, peer: x}\n", "node.yaml:2: unknown key \"peer\" in limits");
    // A key is written in its section, not with a dot, and not one level too deep.
    refuse("limits.cache_mb: 64\n", "node.yaml:2: unknown key \"limits.cache_mb\"");
    refuse("clock:\n  clock:\n    max_lead_ms: 5\n", "node.yaml:3: unknown key \"clock\" in clock");
    refuse("\"\": 1\n", "node.yaml:2: unknown key \"\"");
    refuse("[a]: 1\n", "node.yaml:2: unknown key \"not a text\"");
    refuse("\"a\\x1b[31m\": 1\n", "node.yaml:2: unknown key \"a?[31m\"");
    refuse("\"zone\\0\": 1\n", "node.yaml:2: unknown key \"zone\"");
    refuse("<<: {zone: a}\n", "node.yaml:2: unknown key \"<<\"");
    refuse("Zone: a\n", "node.yaml:2: unknown key \"Zone\"");
}

static void test_config_repeated_key_names_both_lines(void **state) {
    (void)state;
    refuse("zone: a\nregion: r\nzone: a\n", "node.yaml:4: zone: given before, at line 2");
    refuse("data_dir: /e\n", "node.yaml:2: data_dir: given before, at line 1");
    refuse("clock: {max_lead_ms: 5}\nclock: {max_lead_ms: 5}\n",
           "node.yaml:3: clock: given before, at line 2");
    refuse("limits:\n  cache_mb: 64\n  cache_mb: 65\n",
           "node.yaml:4: limits.cache_mb: given before, at line 3");
    refuse("'zone': a\nzone: b\n", "node.yaml:3: zone: given before, at line 2");
}

// --- Types --------------------------------------------------------------------------------------

static void test_config_wrong_types_name_what_is_wanted(void **state) {
    (void)state;
    refuse("limits: 5\n", "node.yaml:2: limits: a section with keys of its own is wanted");
    refuse("limits:\n", "node.yaml:2: limits: a section with keys of its own is wanted");
    refuse("zone:\n  - a\n", "node.yaml:3: zone: a name is wanted here");
    refuse("zone:\n", "node.yaml:2: zone: has no value, a name is wanted");
    refuse("zone: !!int 5\n", "node.yaml:2: zone: tags are not allowed");
    refuse("listen:\n  peer: {host: a}\n", "node.yaml:3: listen.peer: host:port is wanted here");
    refuse("join: node2:7000\n", "node.yaml:2: join: a list of host:port is wanted");
    refuse("join:\n", "node.yaml:2: join: a list of host:port is wanted");
    refuse("join:\n  - a:1\n  - {a: 1}\n", "node.yaml:4: join: a list of host:port is wanted here");
    refuse("insecure: yes\n", "node.yaml:2: insecure: \"yes\" is not true or false");
    refuse("insecure: 'true'\n", "node.yaml:2: insecure: \"true\" is not true or false");
    refuse("log:\n  level: loud\n",
           "node.yaml:3: log.level: \"loud\" is not debug, info, warn or error");
    refuse("clock: {max_lead_ms: \"5\"}\n",
           "node.yaml:2: clock.max_lead_ms: \"5\" is not a whole number");
}

// Goal: nothing but decimal digits is a number: no octal, hexadecimal, sign, unit or second word.
static void test_config_numbers_are_decimal_digits(void **state) {
    (void)state;
    static const char *const bad[] = {"010", "0x10",   "-1",    "+1", "1.0",  "1e3", "1 2",
                                      "8MB", "9e99GB", "1_000", "~",  "null", ".inf"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[64];
        char message[128];
        snprintf(text, sizeof(text), "limits:\n  cache_mb: %s\n", bad[i]);
        snprintf(message, sizeof(message),
                 "node.yaml:3: limits.cache_mb: \"%s\" is not a whole number", bad[i]);
        refuse(text, message);
    }
    refuse("limits: {cache_mb: }\n", "node.yaml:2: limits.cache_mb: \"\" is not a whole number");
}

static void test_config_degrees_wrong(void **state) {
    (void)state;
    static const char *const bad[] = {"1.0000001", "N", "1.", ".5", "--1", "1e1", "1,5", "nan"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[64];
        char message[128];
        snprintf(text, sizeof(text), "latitude: %s\n", bad[i]);
        snprintf(message, sizeof(message),
                 "node.yaml:2: latitude: \"%s\" is not decimal degrees with at most 6 decimals",
                 bad[i]);
        refuse(text, message);
    }
    refuse("latitude: 90.000001\n",
           "node.yaml:2: latitude: 90.000001 is out of range, -90 to 90 allowed");
    refuse("longitude: -180.5\n",
           "node.yaml:2: longitude: -180.500000 is out of range, -180 to 180 allowed");
    refuse("longitude: 999\n",
           "node.yaml:2: longitude: 999.000000 is out of range, -180 to 180 allowed");
}

// --- Ranges -------------------------------------------------------------------------------------

static const struct {
    const char *section;
    const char *key;
    uint64_t min;
    uint64_t max;
} RANGES[] = {
    {"limits", "max_commit_bytes", 1024, 16 << 20},
    {"limits", "max_inflight_calls", 1, 1000000},
    {"limits", "max_inflight_bytes", 16 << 20, UINT64_C(16) << 30},
    {"limits", "cache_mb", 8, 1 << 20},
    {"limits", "write_buffer_mb", 1, 4096},
    {"", "support_duration_ms", 50, 60000},
    {"", "election_timeout_ms", 10, 60000},
    {"clock", "max_lead_ms", 1, 60000},
    {"disk", "recover_ms", 10, 3600000},
    {"disk", "reserve_mb", 0, 1 << 20},
};

static void range_text(size_t i, uint64_t value, char out[128]) {
    if (RANGES[i].section[0] == '\0') {
        snprintf(out, 128, "%s: %llu\n", RANGES[i].key, (unsigned long long)value);
    } else {
        snprintf(out, 128, "%s: {%s: %llu}\n", RANGES[i].section, RANGES[i].key,
                 (unsigned long long)value);
    }
}

static void refuse_range(size_t i, uint64_t value) {
    char text[128];
    char message[256];
    range_text(i, value, text);
    snprintf(message, sizeof(message),
             "node.yaml:2: %s%s%s: %llu is out of range, %llu to %llu allowed", RANGES[i].section,
             RANGES[i].section[0] == '\0' ? "" : ".", RANGES[i].key, (unsigned long long)value,
             (unsigned long long)RANGES[i].min, (unsigned long long)RANGES[i].max);
    refuse(text, message);
}

static void test_config_number_limits_from_both_sides(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(RANGES) / sizeof(RANGES[0]); i++) {
        char text[128];
        char whole[256];
        struct node_config config;
        range_text(i, RANGES[i].min, text);
        snprintf(whole, sizeof(whole), "data_dir: /d\n%s", text);
        accept(whole, &config);
        range_text(i, RANGES[i].max, text);
        snprintf(whole, sizeof(whole), "data_dir: /d\n%s", text);
        accept(whole, &config);
        refuse_range(i, RANGES[i].min - 1);
        refuse_range(i, RANGES[i].max + 1);
        refuse_range(i, UINT64_MAX);
    }
    // Beyond 64 bits: not wrapped round to something small.
    refuse("limits: {cache_mb: 18446744073709551680}\n",
           "node.yaml:2: limits.cache_mb: 18446744073709551680 is out of range, 8 to 1048576 "
           "allowed");
}

static void test_config_addresses(void **state) {
    (void)state;
    refuse("listen:\n  rpc: nowhere\n", "node.yaml:3: listen.rpc: \"nowhere\" is not host:port "
                                        "with a port from 0 to 65535");
    static const char *const bad[] = {"h:65536", "h:", ":1", "h:-1", "h:1x", "h h:1", "h:0"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[128];
        char message[256];
        snprintf(text, sizeof(text), "join:\n  - \"%s\"\n", bad[i]);
        snprintf(message, sizeof(message),
                 "node.yaml:3: join: \"%s\" is not host:port with a port from 1 to 65535", bad[i]);
        refuse(text, message);
        snprintf(text, sizeof(text), "advertise:\n  rpc: \"%s\"\n", bad[i]);
        snprintf(message, sizeof(message),
                 "node.yaml:3: advertise.rpc: \"%s\" is not host:port with a port from 1 to 65535",
                 bad[i]);
        refuse(text, message);
    }
}

static void test_config_wildcard_needs_advertise(void **state) {
    (void)state;
    refuse("listen: {peer: \"0.0.0.0:7400\"}\n",
           "node.yaml: advertise.peer: is needed, because listen.peer is 0.0.0.0:7400, which "
           "nobody can dial");
    refuse("listen: {rpc: \"[::]:7400\"}\n",
           "node.yaml: advertise.rpc: is needed, because listen.rpc is [::]:7400, which nobody "
           "can dial");
}

static void test_config_join_limit(void **state) {
    (void)state;
    char text[1024] = "join:\n";
    for (int i = 0; i < NODE_CONFIG_JOIN_MAX; i++) {
        strncat(text, "  - h:1\n", sizeof(text) - strlen(text) - 1);
    }
    char whole[1100];
    struct node_config config;
    snprintf(whole, sizeof(whole), "data_dir: /d\n%s", text);
    accept(whole, &config);
    assert_int_equal(config.join_count, NODE_CONFIG_JOIN_MAX);
    strncat(text, "  - h:1\n", sizeof(text) - strlen(text) - 1);
    refuse(text, "node.yaml:19: join: more than the 16 addresses allowed");
}

static void test_config_text_sizes(void **state) {
    (void)state;
    char name[NODE_CONFIG_NAME_SIZE_MAX + 1];
    char text[256];
    memset(name, 'z', sizeof(name));
    name[NODE_CONFIG_NAME_SIZE_MAX] = '\0';
    snprintf(text, sizeof(text), "zone: %s\n", name);
    refuse(text, "node.yaml:2: zone: 128 bytes, at most 127 allowed");
    struct node_config config;
    snprintf(text, sizeof(text), "data_dir: /d\nzone: %s\n", name + 1);
    accept(text, &config);
    assert_int_equal(strlen(config.zone), 127);
    refuse("zone: a b\n", "node.yaml:2: zone: a name is printable ASCII without spaces");
    refuse("zone: \"a\\0b\"\n", "node.yaml:2: zone: a NUL byte in a text");
}

static void test_config_data_dir_is_needed(void **state) {
    (void)state;
    struct err err;
    struct node_config config;
    assert_int_equal(parse("zone: a\n", &config, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "node.yaml: data_dir: is needed, and is empty");
    assert_int_equal(parse("", &config, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "node.yaml: data_dir: is needed, and is empty");
    assert_int_equal(parse("data_dir: ''\n", &config, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "node.yaml:1: data_dir: is needed, and is empty");
    assert_int_equal(parse("data_dir: \"/a\\n\"\n", &config, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "node.yaml:1: data_dir: a control character in a path");
}

// Goal: settings that a program fills in are held to the same limits.
static void test_config_check_without_a_file(void **state) {
    (void)state;
    struct node_config config;
    struct err err = {STATUS_OK, ""};
    node_config_defaults(&config);
    snprintf(config.data_dir, sizeof(config.data_dir), "/d");
    assert_int_equal(node_config_check(&config, &err), STATUS_OK);
    config.cache_mb = 7;
    assert_int_equal(node_config_check(&config, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "limits.cache_mb: 7 is out of range, 8 to 1048576 allowed");
    config.cache_mb = 8;
    config.longitude_microdegrees = INT32_MIN;
    assert_int_equal(node_config_check(&config, NULL), STATUS_INVALID_ARGUMENT);
    config.longitude_microdegrees = 0;
    config.listen_rpc[0] = '\0';
    assert_int_equal(node_config_check(&config, NULL), STATUS_INVALID_ARGUMENT);
}

// --- Texts that are no configuration ------------------------------------------------------------

static void refused_somehow(const char *text, size_t size) {
    struct node_config config = {.data_dir = "untouched"};
    struct err err = {STATUS_OK, ""};
    assert_int_equal(node_config_parse(slice_make(text, size), "node.yaml", &config, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(strncmp(err.message, "node.yaml:", 10), 0);
    assert_string_equal(config.data_dir, "untouched");
}

static void test_config_not_yaml(void **state) {
    (void)state;
    struct err err;
    struct node_config config;
    assert_int_equal(parse("data_dir: /d\nzone: [a\n", &config, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "node.yaml:3: not YAML: "));
    assert_int_equal(parse("data_dir: /d\nzone: \xff\n", &config, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "node.yaml:2: not YAML: "));
    assert_int_equal(parse("just text\n", &config, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "node.yaml:1: lines of the form `key: value` are wanted");
    assert_int_equal(parse("data_dir: /d\n---\nzone: b\n", &config, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "node.yaml:2: a second document");
    refused_somehow("\0", 1);
    refused_somehow("data_dir: /d\n\x01", 14);
    refused_somehow("\t", 1);
    refused_somehow("zone: *nowhere\n", 15);
    refused_somehow("&a [*a]\n", 8);
    refused_somehow("&a {zone: *a}\n", 14);
    refused_somehow("limits: &l {limits: *l}\n", 24);
}

// Goal: a text that nests without end is refused at once, not followed down the stack and not
// loaded first, which would take libyaml minutes.
static void test_config_deep_nesting_is_refused(void **state) {
    (void)state;
    static const char *const units[] = {"[", "{", "- ", "? ", "a: [", "&a [", "[[],", "{a: {"};
    char *text = mem_alloc(NODE_CONFIG_FILE_SIZE_MAX);
    for (size_t k = 0; k < sizeof(units) / sizeof(units[0]); k++) {
        for (size_t i = 0; i < NODE_CONFIG_FILE_SIZE_MAX; i++) {
            text[i] = units[k][i % strlen(units[k])];
        }
        refused_somehow(text, NODE_CONFIG_FILE_SIZE_MAX);
    }
    mem_free(text);
    refuse("zone: [[[[[[[[a]]]]]]]]\n", "node.yaml:2: nested too deeply");
}

// Goal: whatever is done to a good file, it is taken or refused with a line, never worse.
static void test_config_mutated_texts_never_crash(void **state) {
    (void)state;
    static const char good[] = "data_dir: /d\nlisten: {peer: \"h:1\", rpc: h:2}\njoin:\n  - a:1\n"
                               "  - &x b:2\nlatitude: -1.5\nlimits:\n  cache_mb: 64\nlog:\n"
                               "  level: warn\ninsecure: true\n";
    struct prng prng;
    prng_init(&prng, 5);
    for (uint32_t round = 0; round < 3000; round++) {
        char text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        size_t size = prng_chance(&prng, 1, 3) ? prng_below(&prng, sizeof(good)) : sizeof(good) - 1;
        for (uint64_t k = prng_between(&prng, 0, 3); k > 0 && size > 0; k--) {
            text[prng_below(&prng, size)] = (char)prng_below(&prng, 256);
        }
        struct node_config config;
        struct err err = {STATUS_OK, ""};
        enum status st = node_config_parse(slice_make(text, size), "node.yaml", &config, &err);
        if (st == STATUS_OK) {
            assert_int_equal(node_config_check(&config, NULL), STATUS_OK);
        } else {
            assert_int_equal(st, STATUS_INVALID_ARGUMENT);
            assert_int_equal(strncmp(err.message, "node.yaml:", 10), 0);
        }
    }
}

// --- Files --------------------------------------------------------------------------------------

static char *make_dir(void) {
    const char *base = getenv("TEST_TMPDIR");
    char path[512];
    snprintf(path, sizeof(path), "%s/config-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return mem_strdup(path);
}

static void test_config_load_files(void **state) {
    (void)state;
    char *dir = make_dir();
    char path[600];
    struct node_config config;
    struct err err = {STATUS_OK, ""};
    snprintf(path, sizeof(path), "%s/n", dir);
    assert_int_equal(node_config_load(path, &config, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "No such file"));
    assert_int_equal(node_config_load(dir, &config, &err), STATUS_IO);
    assert_non_null(strstr(err.message, "directory"));

    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("data_dir: /d\nzone: a\n", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(node_config_load(path, &config, &err), STATUS_OK);
    assert_string_equal(config.zone, "a");

    // One byte over the limit, as spaces that would be fine otherwise.
    assert_int_equal(truncate(path, 0), 0);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("data_dir: /d\n#", file);
    for (int i = 14; i < NODE_CONFIG_FILE_SIZE_MAX; i++) {
        fputc(' ', file);
    }
    assert_int_equal(fflush(file), 0);
    assert_int_equal(node_config_load(path, &config, &err), STATUS_OK);
    fputc(' ', file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(node_config_load(path, &config, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "65536"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    mem_free(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_minimal_file_gives_defaults),
        cmocka_unit_test(test_config_every_setting_is_read),
        cmocka_unit_test(test_config_disk_thresholds_ascend),
        cmocka_unit_test(test_config_degrees_are_exact),
        cmocka_unit_test(test_config_unknown_key_names_key_and_line),
        cmocka_unit_test(test_config_repeated_key_names_both_lines),
        cmocka_unit_test(test_config_wrong_types_name_what_is_wanted),
        cmocka_unit_test(test_config_numbers_are_decimal_digits),
        cmocka_unit_test(test_config_degrees_wrong),
        cmocka_unit_test(test_config_number_limits_from_both_sides),
        cmocka_unit_test(test_config_addresses),
        cmocka_unit_test(test_config_wildcard_needs_advertise),
        cmocka_unit_test(test_config_join_limit),
        cmocka_unit_test(test_config_text_sizes),
        cmocka_unit_test(test_config_data_dir_is_needed),
        cmocka_unit_test(test_config_check_without_a_file),
        cmocka_unit_test(test_config_not_yaml),
        cmocka_unit_test(test_config_deep_nesting_is_refused),
        cmocka_unit_test(test_config_mutated_texts_never_crash),
        cmocka_unit_test(test_config_load_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
