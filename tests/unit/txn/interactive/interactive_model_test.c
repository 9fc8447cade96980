// SPDX-License-Identifier: Apache-2.0
// Random transactions over a small store, against a plain array of values to which each write is
// applied at once: reads and scans must show the same, and the commit, applied to the store, must
// make the same of it. What a scan showed must lie in the reads.
#include "dataplane/base/prng.h"
#include "txn/command/command_merge.h"
#include "txn/interactive/interactive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 24, ROUNDS = 1000, STEPS = 40, KEY_SIZE = 6, NONE = -1000000, PAGE_MAX = 5 };

// Numbers as values: NONE = the key is not there. Merges are counters, so values stay numbers.
static int store[KEYS];
static int model[KEYS];
static struct interactive txn;
static struct prng random_bits;

static uint32_t below(uint32_t n) {
    return (uint32_t)prng_below(&random_bits, n);
}

// Key 2k + 1 is longer than key 2k, whose bytes it begins with.
static struct slice key_of(uint32_t i, uint8_t out[KEY_SIZE]) {
    memcpy(out, "\0\0\0\1", SHARD_KEYSPACE_PREFIX_SIZE);
    out[4] = (uint8_t)('a' + i / 2);
    out[5] = 0;
    return slice_make(out, i % 2 == 0 ? KEY_SIZE - 1 : KEY_SIZE);
}

static uint32_t index_of(struct slice key) {
    assert_true(key.size == KEY_SIZE - 1 || key.size == KEY_SIZE);
    return (uint32_t)(key.data[4] - 'a') * 2 + (key.size == KEY_SIZE ? 1 : 0);
}

static int number_of(struct slice value) {
    int64_t out = 0;
    assert_int_equal(command_merge_number(value, true, &out), STATUS_OK);
    return (int)out;
}

static void apply_to(int *values, const struct command_mutation *m) {
    struct command_merge merge;
    for (uint32_t i = 0; i < KEYS; i++) {
        uint8_t bytes[KEY_SIZE];
        const struct slice key = key_of(i, bytes);
        const bool same = slice_equal(key, m->key);
        if (m->kind == COMMAND_PUT && same) { values[i] = number_of(m->value); }
        if (m->kind == COMMAND_DELETE && same) { values[i] = NONE; }
        if (m->kind == COMMAND_DELETE_RANGE && slice_compare(key, m->key) >= 0 &&
            slice_compare(key, m->value) < 0) {
            values[i] = NONE;
        }
        if (m->kind == COMMAND_MERGE && same) {
            assert_int_equal(command_merge_decode(m->value, &merge), STATUS_OK);
            values[i] = (values[i] == NONE ? 0 : values[i]) + (int)merge.amount;
        }
    }
}

static void random_write(void) {
    uint8_t first[KEY_SIZE];
    uint8_t last[KEY_SIZE];
    char text[16];
    uint8_t merge_bytes[64];
    struct buf encoded;
    struct codec_writer w;
    struct interactive_refusal why = {0};
    const uint32_t at = below(KEYS - 1);
    struct command_mutation m = {.key = key_of(at, first)};
    buf_init(&encoded, sizeof(merge_bytes));
    m.kind = (enum command_mutation_kind)(COMMAND_PUT + below(4));
    if (m.kind == COMMAND_PUT) {
        (void)snprintf(text, sizeof(text), "%u", below(100));
        m.value = slice_from_string(text);
    }
    if (m.kind == COMMAND_DELETE_RANGE) { m.value = key_of(at + 1 + below(KEYS - at - 1), last); }
    if (m.kind == COMMAND_MERGE) {
        const struct command_merge merge = {.type = COMMAND_MERGE_COUNTER,
                                            .amount = (int)below(20) - 10};
        codec_writer_init(&w, &encoded);
        command_merge_encode(&w, &merge);
        m.value = buf_slice(&encoded);
    }
    const enum status st = interactive_write(&txn, &m, &why);
    if (st == STATUS_OK) {
        apply_to(model, &m);
    } else {
        assert_int_equal(m.kind, COMMAND_MERGE);  // on a put or a delete of the same key
    }
    buf_deinit(&encoded);
    interactive_check(&txn);
}

static void random_read(void) {
    uint8_t bytes[KEY_SIZE];
    const uint32_t at = below(KEYS);
    struct slice value;
    char text[16];
    int shown = store[at];
    switch (interactive_find(&txn, key_of(at, bytes), &value)) {
    case INTERACTIVE_PUT:
        shown = number_of(value);
        break;
    case INTERACTIVE_DELETED:
        shown = NONE;
        break;
    case INTERACTIVE_MERGED: {
        struct buf out;
        buf_init(&out, sizeof(text));
        (void)snprintf(text, sizeof(text), "%d", store[at]);
        assert_int_equal(interactive_fold(value, slice_from_string(text), store[at] != NONE, &out),
                         STATUS_OK);
        shown = number_of(buf_slice(&out));
        buf_deinit(&out);
        break;
    }
    case INTERACTIVE_UNTOUCHED:
        break;
    }
    assert_int_equal(shown, model[at]);
}

// --- Scans ---

struct seen {
    int values[KEYS];
    uint32_t last;
    uint32_t count;
    bool reverse;
};

static void scan_row(void *ctx, const struct command_row *row) {
    struct seen *seen = ctx;
    const uint32_t i = index_of(row->key);
    if (seen->count > 0) { assert_true(seen->reverse ? i < seen->last : i > seen->last); }
    seen->last = i;
    seen->count++;
    seen->values[i] = number_of(row->value);
}

// As a shard answers: at most a few rows, perhaps fewer, and where to go on.
static void make_page(const struct interactive_scan *scan, struct buf *out) {
    struct codec_writer w;
    uint8_t bytes[KEY_SIZE];
    struct slice resume = SLICE_EMPTY;
    uint8_t resume_bytes[KEY_SIZE];
    char text[16];
    uint32_t rows = 0;
    bool more = false;
    const uint32_t most = below(PAGE_MAX);  // zero: the border of a shard without rows
    buf_reset(out);
    codec_writer_init(&w, out);
    for (uint32_t n = 0; n < KEYS && !more; n++) {
        const uint32_t i = scan->reverse ? KEYS - 1 - n : n;
        const struct slice key = key_of(i, bytes);
        if (slice_compare(key, scan->start) < 0 || slice_compare(key, scan->end) >= 0) { continue; }
        if (rows == most) {
            more = true;
            if (!scan->reverse) { resume = key_of(i, resume_bytes); }
            break;
        }
        if (scan->reverse) { resume = key_of(i, resume_bytes); }
        rows++;
        if (store[i] == NONE) { continue; }
        (void)snprintf(text, sizeof(text), "%d", store[i]);
        const struct command_row row = {
            .found = true, .key = key, .value = slice_from_string(text), .version = {7}};
        command_scan_row_encode(&w, &row);
    }
    if (more && resume.size == 0) { resume = scan->reverse ? scan->end : scan->start; }
    command_scan_end_encode(&w, more, more ? resume : SLICE_EMPTY);
    assert_int_equal(w.status, STATUS_OK);
}

static bool covered(const struct command_commit *commit, struct slice key) {
    for (uint32_t i = 0; i < commit->read_count; i++) {
        const struct command_span *span = &commit->reads[i];
        if (slice_compare(key, span->start) >= 0 && slice_compare(key, span->end) < 0) {
            return true;
        }
    }
    return false;
}

static void random_scan(void) {
    uint8_t first[KEY_SIZE];
    uint8_t last[KEY_SIZE];
    struct buf page;
    struct seen seen = {.reverse = below(2) == 0};
    struct interactive_refusal why = {0};
    const uint32_t from = below(KEYS - 1);
    const struct slice start = key_of(from, first);
    const struct slice end = key_of(from + 1 + below(KEYS - from - 1), last);
    struct interactive_scan scan = {.reverse = seen.reverse,
                                    .start = start,
                                    .end = end,
                                    .rows_left = 1 + below(KEYS),
                                    .bytes_left = below(4) == 0 ? 20 : 100000,
                                    .row = scan_row,
                                    .ctx = &seen,
                                    .more = true};
    buf_init(&page, 4096);
    for (int i = 0; i < KEYS; i++) {
        seen.values[i] = NONE;
    }
    while (scan.more && scan.rows_left > 0 && scan.bytes_left > 0) {
        make_page(&scan, &page);
        assert_int_equal(interactive_scan_page(&txn, &scan, buf_slice(&page)), STATUS_OK);
    }
    buf_deinit(&page);
    const struct slice low = seen.reverse ? scan.end : start;
    const struct slice high = seen.reverse ? end : scan.start;
    if (slice_compare(low, high) < 0) {
        assert_int_equal(interactive_note_span(&txn, low, high, &why), STATUS_OK);
    }
    interactive_check(&txn);
    struct command_commit commit;
    assert_int_equal(interactive_commit(&txn, &commit), STATUS_OK);
    for (uint32_t i = 0; i < KEYS; i++) {
        uint8_t bytes[KEY_SIZE];
        const struct slice key = key_of(i, bytes);
        const bool inside = slice_compare(key, low) >= 0 && slice_compare(key, high) < 0;
        assert_int_equal(seen.values[i], inside ? model[i] : NONE);
        if (inside) { assert_true(covered(&commit, key)); }
    }
    if (!scan.more) {
        assert_true(slice_equal(low, start));
        assert_true(slice_equal(high, end));
    }
}

// --- The commit ---

static void commit_makes_the_model(void) {
    struct command_commit commit;
    int after[KEYS];
    memcpy(after, store, sizeof(after));
    assert_int_equal(interactive_commit(&txn, &commit), STATUS_OK);
    for (uint32_t i = 0; i < commit.mutation_count; i++) {
        apply_to(after, &commit.mutations[i]);
    }
    assert_memory_equal(after, model, sizeof(after));
    if (commit.mutation_count == 0) { return; }
    commit.txn = (struct txn_id){{1}};
    commit.snapshot = commit.read_count > 0 ? (struct hlc_ts){7} : HLC_ZERO;
    struct err err = {0};
    if (command_commit_check(&commit, &err) != STATUS_OK) { fail_msg("%s", err.message); }
}

static void test_interactive_is_what_it_shows(void **state) {
    (void)state;
    prng_init(&random_bits, 20261121);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < KEYS; i++) {
            store[i] = below(2) == 0 ? NONE : (int)below(100);
        }
        memcpy(model, store, sizeof(model));
        interactive_init(&txn, 1 << 20);
        const uint32_t steps = 1 + below(STEPS);
        for (uint32_t i = 0; i < steps; i++) {
            const uint32_t what = below(4);
            if (what < 2) { random_write(); }
            if (what == 2) { random_read(); }
            if (what == 3) { random_scan(); }
        }
        commit_makes_the_model();
        interactive_deinit(&txn);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_interactive_is_what_it_shows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
