// SPDX-License-Identifier: Apache-2.0
// Plays the scripts of tests/data/raft: commands in, the decisions of all cores out. A script is a
// header comment that tells its story, then blocks of one command, a line "----" and the expected
// text. With --rewrite the expected text is replaced by what happened; read the difference before
// you commit.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/unit/dataplane/raft/raft_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000000, WORDS_MAX = 12, LINE_MAX_SIZE = 256 };

struct script {
    const char *path;
    char *text;
    size_t size;
    struct world *world;
    FILE *out;
    char *words[WORDS_MAX];
    uint32_t count;
};

static uint32_t number(const struct script *s, uint32_t at, uint32_t otherwise) {
    if (at >= s->count) { return otherwise; }
    return (uint32_t)strtoul(s->words[at], NULL, 10);
}

static const char *word(const struct script *s, uint32_t at) {
    return at < s->count ? s->words[at] : "";
}

// The value of an argument "key=value", or NULL.
static const char *keyed(const struct script *s, const char *key) {
    size_t size = strlen(key);
    for (uint32_t i = 1; i < s->count; i++) {
        if (strncmp(s->words[i], key, size) == 0 && s->words[i][size] == '=') {
            return s->words[i] + size + 1;
        }
    }
    return NULL;
}

static uint32_t keyed_number(const struct script *s, const char *key, uint32_t otherwise) {
    const char *value = keyed(s, key);
    return value == NULL ? otherwise : (uint32_t)strtoul(value, NULL, 10);
}

static struct world_node *node_of(const struct script *s, uint32_t at) {
    return world_at(s->world, number(s, at, 0));
}

static void print_status(const struct script *s, enum status st) {
    if (st != STATUS_OK) { fprintf(s->out, "  %s\n", status_name(st)); }
}

static void event(struct script *s, struct world_node *node, struct raft_event *e) {
    print_status(s, world_step(node, e));
}

// --- commands

static void do_world(struct script *s) {
    if (s->world != NULL) { world_destroy(s->world); }
    struct world_options options = {
        .voters = keyed_number(s, "voters", 3),
        .learners = keyed_number(s, "learners", 0),
        .spares = keyed_number(s, "spares", 0),
        .seed = 1,
        .no_election_spread = true,
        .inflight_messages_max = keyed_number(s, "window", 0),
        .append_size_max = keyed_number(s, "append", 0),
        .cache_count_max = keyed_number(s, "cache", 0),
        .cache_size_max = keyed_number(s, "cache_size", 0),
    };
    s->world = world_create(&options);
    s->world->no_forgeries = true;
    s->world->trace = s->out;
}

static void do_campaign(struct script *s) {
    struct raft_event e = {.type = RAFT_EVENT_CAMPAIGN};
    event(s, node_of(s, 1), &e);
}

static void do_stepdown(struct script *s) {
    struct raft_event e = {.type = RAFT_EVENT_STEP_DOWN};
    event(s, node_of(s, 1), &e);
}

static void do_transfer(struct script *s) {
    struct raft_event e = {.type = RAFT_EVENT_TRANSFER};
    e.u.target.v = number(s, 2, 0);
    event(s, node_of(s, 1), &e);
}

// "change N 4=voter 1=out 5=learner": node N proposes what that leads to.
static void do_change(struct script *s) {
    struct raft_change changes[WORDS_MAX] = {{{0}, RAFT_VOTER}};
    uint32_t count = 0;
    for (uint32_t i = 2; i < s->count; i++) {
        char *role = strchr(s->words[i], '=');
        assert_non_null(role);
        changes[count].node.v = (uint32_t)strtoul(s->words[i], NULL, 10);
        changes[count].role = strcmp(role, "=voter") == 0     ? RAFT_VOTER
                              : strcmp(role, "=learner") == 0 ? RAFT_LEARNER
                                                              : RAFT_LEAVING;
        count++;
    }
    print_status(s, world_change(node_of(s, 1), changes, count));
}

static void do_leave(struct script *s) {
    print_status(s, world_leave(node_of(s, 1)));
}

static void do_remove(struct script *s) {
    world_remove(node_of(s, 1));
}

static void do_trim(struct script *s) {
    world_trim(node_of(s, 1), number(s, 2, 0));
}

static void do_install(struct script *s) {
    if (strcmp(word(s, 1), "by-hand") == 0) {
        s->world->install_by_hand = true;
    } else {
        world_install(node_of(s, 1));
    }
}

static void do_hollow(struct script *s) {
    world_hollow(node_of(s, 1));
}

static void do_damage(struct script *s) {
    world_damage(node_of(s, 1));
}

static void do_pause(struct script *s) {
    node_of(s, 1)->paused = true;
}

static void do_resume(struct script *s) {
    struct world_node *node = node_of(s, 1);
    node->paused = false;
    world_expire(node);
}

static void do_members(struct script *s) {
    static const char *const healths[RAFT_HEALTH_COUNT] = {"", " hollow", " damaged"};
    for (uint32_t i = 1; i <= s->world->count; i++) {
        const struct world_node *node = world_at(s->world, i);
        if (!node->up) { continue; }
        uint64_t index = 0;
        const struct raft_membership *committed = raft_members_committed(node->core, &index);
        fprintf(s->out, "  %u%s uses ", i, healths[raft_health_of(node->core)]);
        world_print_members(s->out, raft_members(node->core));
        bool same = committed->config_epoch == raft_members(node->core)->config_epoch;
        fprintf(s->out, same ? "\n" : " (not committed)\n");
    }
}

// What a leader knows to be durable at each.
static void do_matches(struct script *s) {
    fprintf(s->out, " ");
    for (uint32_t i = 1; i <= s->world->count; i++) {
        uint64_t match = raft_match_index(node_of(s, 1)->core, (struct node_id){i});
        fprintf(s->out, " %u:%llu", i, (unsigned long long)match);
    }
    fputc('\n', s->out);
}

// One way only: what the first sends to the second is lost.
static void do_mute(struct script *s) {
    s->world->cut[number(s, 1, 0)][number(s, 2, 0)] = true;
}

static void do_lost(struct script *s) {
    struct raft_event e = {.type = RAFT_EVENT_LEADER_LOST};
    e.u.lost.node.v = number(s, 2, 0);
    event(s, node_of(s, 1), &e);
}

static void do_propose(struct script *s) {
    print_status(s, world_propose(node_of(s, 1), number(s, 2, 1), number(s, 3, 16)));
}

static void do_read(struct script *s) {
    print_status(s, world_read(node_of(s, 1)));
}

static void do_tick(struct script *s) {
    world_tick(node_of(s, 1));
}

static void do_advance(struct script *s) {
    world_advance(s->world, (uint64_t)number(s, 1, 0) * MS);
}

// Lets the shard live for so many milliseconds: everything is delivered and synced, and all nodes
// that can reach each other exchange support every 100 ms.
static void do_live(struct script *s) {
    uint32_t ms = number(s, 1, 0);
    for (uint32_t at = 0; at < ms; at += 10) {
        if (at % 100 == 0) { world_support_all(s->world); }
        assert_true(world_settle(s->world));
        world_advance(s->world, UINT64_C(10) * MS);
    }
    assert_true(world_settle(s->world));
}

static void do_sync(struct script *s) {
    if (strcmp(word(s, 1), "all") != 0) {
        world_sync(node_of(s, 1), number(s, 2, 0));
        return;
    }
    for (uint32_t i = 1; i <= s->world->count; i++) {
        world_sync(world_at(s->world, i), 0);
    }
}

static void do_settle(struct script *s) {
    // What was decided on the way is printed; that it ends is asserted.
    assert_true(world_settle(s->world));
}

// "FROM TO [TYPE] [last]": the oldest such packet, or the newest with "last".
static struct world_packet *pick(struct script *s) {
    int type = -1;
    bool last = strcmp(word(s, s->count - 1), "last") == 0;
    for (int t = 0; t < RAFT_MESSAGE_TYPE_COUNT; t++) {
        if (strcmp(word(s, 3), world_message_name((enum raft_message_type)t)) == 0) { type = t; }
    }
    struct world_packet *found = world_find(s->world, number(s, 1, 0), number(s, 2, 0), type);
    for (struct world_packet *p = found; last && p != NULL; p = p->next) {
        bool same = p->from == found->from && p->to == found->to;
        if (same && (type < 0 || (p->kind == WORLD_RAFT && (int)p->type == type))) { found = p; }
    }
    if (found == NULL) { fprintf(s->out, "  no such packet\n"); }
    return found;
}

static void do_deliver(struct script *s) {
    if (strcmp(word(s, 1), "all") == 0) {
        // Only what is there now: answers wait for the next command.
        for (uint32_t i = s->world->packet_count; i > 0; i--) {
            world_deliver(s->world, s->world->packets);
        }
        return;
    }
    struct world_packet *packet = pick(s);
    if (packet != NULL) { world_deliver(s->world, packet); }
}

static void do_drop(struct script *s) {
    if (strcmp(word(s, 1), "all") == 0) {
        while (s->world->packets != NULL) {
            world_drop(s->world, s->world->packets);
        }
        return;
    }
    struct world_packet *packet = pick(s);
    if (packet != NULL) { world_drop(s->world, packet); }
}

static void do_duplicate(struct script *s) {
    struct world_packet *packet = pick(s);
    if (packet != NULL) { (void)world_duplicate(s->world, packet); }
}

static void do_support(struct script *s) {
    if (strcmp(word(s, 1), "all") == 0) {
        world_support_all(s->world);
    } else {
        world_support(s->world, number(s, 1, 0), number(s, 2, 0));
    }
}

static void do_leads(struct script *s) {
    world_send_leads(node_of(s, 1), number(s, 2, 0));
}

static void do_frontier(struct script *s) {
    world_send_frontier(node_of(s, 1), number(s, 2, 0));
}

static void do_cut(struct script *s) {
    uint32_t a = number(s, 1, 0);
    for (uint32_t b = 1; b <= s->world->count; b++) {
        if (s->count > 2 && b != number(s, 2, 0)) { continue; }
        s->world->cut[a][b] = a != b;
        s->world->cut[b][a] = a != b;
    }
}

static void do_heal(struct script *s) {
    memset(s->world->cut, 0, sizeof(s->world->cut));
}

static void do_crash(struct script *s) {
    world_crash(node_of(s, 1));
}

static void do_restart(struct script *s) {
    print_status(s, world_restart(node_of(s, 1), number(s, 2, 0)));
}

// "log N terms=1,1,4 term=8": a node starts with this history on its disk.
static void do_log(struct script *s) {
    uint64_t terms[64];
    uint32_t count = 0;
    const char *at = keyed(s, "terms");
    while (at != NULL && *at != '\0' && count < 64) {
        char *end = NULL;
        terms[count] = strtoul(at, &end, 10);
        count++;
        at = *end == ',' ? end + 1 : end;
    }
    uint64_t last = count == 0 ? 0 : terms[count - 1];
    world_set_log(node_of(s, 1), terms, count, keyed_number(s, "term", (uint32_t)last));
}

static void print_terms(const struct script *s, const struct world_node *node) {
    fprintf(s->out, " terms=");
    for (uint64_t i = node->view.base; i < node->view.last; i++) {
        fprintf(s->out, "%s%llu", i == node->view.base ? "" : ",",
                (unsigned long long)node->view.items[i].term);
    }
}

static void do_status(struct script *s) {
    for (uint32_t i = 1; i <= s->world->count; i++) {
        const struct world_node *node = world_at(s->world, i);
        if (!node->exists) { continue; }
        if (!node->up) {
            fprintf(s->out, "  %u down\n", i);
            continue;
        }
        fprintf(s->out, "  %u %s term=%llu leader=%u last=%llu durable=%llu commit=%llu", i,
                world_role_name(raft_role(node->core)), (unsigned long long)raft_term(node->core),
                raft_leader(node->core).v, (unsigned long long)raft_last_index(node->core),
                (unsigned long long)raft_durable_index(node->core),
                (unsigned long long)raft_commit_index(node->core));
        if (strcmp(word(s, 1), "terms") == 0) { print_terms(s, node); }
        fputc('\n', s->out);
    }
}

static void print_ms(const struct script *s, const char *name, uint64_t at_ns, uint64_t now_ns) {
    if (at_ns == UINT64_MAX) {
        fprintf(s->out, " %s=never", name);
    } else if (at_ns <= now_ns) {
        fprintf(s->out, " %s=now", name);
    } else {
        fprintf(s->out, " %s=+%llums", name, (unsigned long long)((at_ns - now_ns) / MS));
    }
}

// When a tick is wanted, and how long the lease lasts.
static void do_timers(struct script *s) {
    for (uint32_t i = 1; i <= s->world->count; i++) {
        const struct world_node *node = world_at(s->world, i);
        if (!node->up) { continue; }
        uint64_t now = world_node_now(node);
        fprintf(s->out, "  %u %s", i, world_role_name(raft_role(node->core)));
        print_ms(s, "deadline", raft_deadline_ns(node->core), now);
        uint64_t lease = raft_lease_until_ns(node->core);
        if (raft_is_leader(node->core) && lease > now) {
            print_ms(s, "lease", lease, now);
        } else if (raft_is_leader(node->core)) {
            fprintf(s->out, " no lease");
        }
        fputc('\n', s->out);
    }
}

static void do_packets(struct script *s) {
    static const char *const kinds[] = {"",         "SUPPORT",  "SUPPORT_REPLY", "LEADS",
                                        "FRONTIER", "SNAPSHOT", "SNAPSHOT_REPLY"};
    for (struct world_packet *p = s->world->packets; p != NULL; p = p->next) {
        fprintf(s->out, "  %u->%u %s\n", p->from, p->to,
                p->kind == WORLD_RAFT ? world_message_name(p->type) : kinds[p->kind]);
    }
}

static void do_quiet(struct script *s) {
    s->world->trace = NULL;
}

static void do_loud(struct script *s) {
    s->world->trace = s->out;
}

static void do_firsthand(struct script *s) {
    s->world->first_entry_by_hand = true;
}

static const struct {
    const char *name;
    void (*run)(struct script *s);
} commands[] = {
    {"world", do_world},       {"campaign", do_campaign},
    {"stepdown", do_stepdown}, {"transfer", do_transfer},
    {"lost", do_lost},         {"propose", do_propose},
    {"read", do_read},         {"tick", do_tick},
    {"advance", do_advance},   {"sync", do_sync},
    {"settle", do_settle},     {"deliver", do_deliver},
    {"drop", do_drop},         {"duplicate", do_duplicate},
    {"support", do_support},   {"leads", do_leads},
    {"frontier", do_frontier}, {"cut", do_cut},
    {"heal", do_heal},         {"crash", do_crash},
    {"restart", do_restart},   {"log", do_log},
    {"status", do_status},     {"timers", do_timers},
    {"packets", do_packets},   {"quiet", do_quiet},
    {"loud", do_loud},         {"first-entry-by-hand", do_firsthand},
    {"live", do_live},         {"change", do_change},
    {"leave", do_leave},       {"remove", do_remove},
    {"trim", do_trim},         {"install", do_install},
    {"hollow", do_hollow},     {"damage", do_damage},
    {"pause", do_pause},       {"resume", do_resume},
    {"matches", do_matches},   {"members", do_members},
    {"mute", do_mute},
};

static void run_command(struct script *s, const char *line, size_t size) {
    char copy[LINE_MAX_SIZE];
    assert_true(size < sizeof(copy));
    memcpy(copy, line, size);
    copy[size] = '\0';
    s->count = 0;
    char *save = NULL;
    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        assert_true(s->count < WORDS_MAX);
        s->words[s->count] = w;
        s->count++;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, word(s, 0)) == 0) {
            commands[i].run(s);
            return;
        }
    }
    fail_msg("%s: unknown command '%s'", s->path, word(s, 0));
}

// --- files

static char *read_file(const char *path, size_t *out_size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) { fail_msg("cannot read %s", path); }
    ASSERT(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    ASSERT(size >= 0 && fseek(file, 0, SEEK_SET) == 0);
    char *text = mem_alloc((size_t)size + 1);
    size_t got = fread(text, 1, (size_t)size, file);
    ASSERT(got == (size_t)size);
    (void)fclose(file);
    *out_size = got;
    return text;
}

// Copies comments and commands, and writes what happened in place of what was expected.
static void play(struct script *s) {
    const char *at = s->text;
    bool expected = false;
    while (*at != '\0') {
        const char *end = strchr(at, '\n');
        size_t size = end == NULL ? strlen(at) : (size_t)(end - at);
        bool blank = size == 0;
        if (blank) { expected = false; }
        bool rule = size == 4 && memcmp(at, "----", 4) == 0;
        if (!expected && !rule) {
            fprintf(s->out, "%.*s\n", (int)size, at);
            if (!blank && *at != '#') {
                fprintf(s->out, "----\n");
                run_command(s, at, size);
            }
        }
        if (rule) { expected = true; }
        if (end == NULL) { break; }
        at = end + 1;
    }
    if (s->world != NULL) { world_check_logs(s->world); }
}

static bool rewrite;

static void play_file(const char *path) {
    struct script s = {.path = path};
    char *happened = NULL;
    size_t happened_size = 0;
    s.text = read_file(path, &s.size);
    s.out = open_memstream(&happened, &happened_size);
    ASSERT(s.out != NULL);
    play(&s);
    (void)fclose(s.out);
    if (s.world != NULL) { world_destroy(s.world); }
    if (rewrite) {
        FILE *file = fopen(path, "wb");
        ASSERT(file != NULL);
        (void)fwrite(happened, 1, happened_size, file);
        (void)fclose(file);
    } else if (happened_size != s.size || memcmp(happened, s.text, s.size) != 0) {
        size_t i = 0;
        size_t line = 1;
        for (; i < s.size && i < happened_size && s.text[i] == happened[i]; i++) {
            line += s.text[i] == '\n' ? 1 : 0;
        }
        size_t from = i > 300 ? i - 300 : 0;
        print_message("what happened instead, around the difference:\n%.600s\n", happened + from);
        fail_msg("%s:%zu differs", path, line);
    }
    mem_free(s.text);
    free(happened);  // lint: allow allocation: open_memstream takes its memory from malloc
}

static int script_count;
static char **script_paths;

static void test_raft_scripts_decide_as_written(void **state) {
    (void)state;
    assert_true(script_count > 0);
    for (int i = 0; i < script_count; i++) {
        play_file(script_paths[i]);
    }
}

int main(int argc, char **argv) {
    script_paths = argv + 1;
    script_count = argc - 1;
    if (script_count > 0 && strcmp(script_paths[0], "--rewrite") == 0) {
        rewrite = true;
        script_paths++;
        script_count--;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_raft_scripts_decide_as_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
