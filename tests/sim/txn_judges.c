// SPDX-License-Identifier: Apache-2.0
// Plain loops over what was seen: histories are short, and whoever reads a judge should believe it.
#include "tests/sim/txn_judges.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static bool bad(struct txn_judge_text text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool bad(struct txn_judge_text text, const char *format, ...) {
    if (text.size == 0) { return false; }
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text.data, text.size, format, args);
    va_end(args);
    ASSERT(size >= 0);
    return false;
}

static bool good(struct txn_judge_text text) {
    if (text.size > 0) { text.data[0] = '\0'; }
    return true;
}

// --- Lists ---

static const uint64_t *list_of(const struct list_append_history *history,
                               const struct list_append_op *op) {
    return op->list_count == 0 ? NULL : &history->elements[op->list_first];
}

static bool holds(const struct list_append_history *history, const struct list_append_op *read,
                  uint64_t value) {
    for (uint32_t i = 0; i < read->list_count; i++) {
        if (list_of(history, read)[i] == value) { return true; }
    }
    return false;
}

// Versions are prefixes of each other, or the other checks say so: a length tells one from another.
static bool misses(const struct list_append_history *history, const struct list_append_op *read,
                   const struct list_append_op *known) {
    if (known->key != read->key) { return false; }
    return known->is_read ? known->list_count > read->list_count
                          : !holds(history, read, known->value);
}

// Whether the read shows all that `before`, which had ended, had written or seen.
static bool shows_all(const struct list_append_history *history, const struct list_append_txn *txn,
                      const struct list_append_txn *before, struct txn_judge_text text) {
    for (uint32_t r = txn->op_first; r < txn->op_first + txn->op_count; r++) {
        for (uint32_t k = before->op_first; k < before->op_first + before->op_count; k++) {
            const struct list_append_op *read = &history->ops[r];
            const struct list_append_op *known = &history->ops[k];
            if (!read->is_read || !misses(history, read, known)) { continue; }
            return bad(text,
                       "missed: T%" PRIu64 " read %" PRIu32 " elements of key %" PRIu64
                       " at %" PRIu64 ", without what T%" PRIu64 " had %s before it began",
                       txn->id, read->list_count, read->key, txn->snapshot_ts, before->id,
                       known->is_read ? "read" : "appended");
        }
    }
    return true;
}

static bool misses_nothing(const struct list_append_history *history, struct txn_judge_text text) {
    for (uint32_t t = 0; t < history->txn_count; t++) {
        const struct list_append_txn *txn = &history->txns[t];
        if (!txn->apart || txn->stale || txn->type != LIST_APPEND_OK) { continue; }
        for (uint32_t b = 0; b < history->txn_count; b++) {
            const struct list_append_txn *before = &history->txns[b];
            const bool ended = before->type == LIST_APPEND_OK && before->ret < txn->invoke;
            if (ended && !shows_all(history, txn, before, text)) { return false; }
        }
    }
    return true;
}

static void copy_txn(const struct list_append_history *from, const struct list_append_txn *txn,
                     struct list_append_history *to) {
    list_append_begin(to, txn);
    for (uint32_t i = txn->op_first; i < txn->op_first + txn->op_count; i++) {
        const struct list_append_op *op = &from->ops[i];
        if (op->is_read) {
            list_append_add_read(to, op->key, list_of(from, op), op->list_count);
        } else {
            list_append_add(to, op->key, op->value);
        }
    }
}

bool txn_judge_lists(const struct list_append_history *history, struct txn_judge_text text) {
    struct list_append_config config = {.model = LIST_APPEND_SERIALIZABLE, .final_reads = true};
    struct list_append_result result;
    if (!list_append_check(history, &config, &result, text.data, text.size)) { return false; }
    struct list_append_history others;
    list_append_init(&others);
    for (uint32_t t = 0; t < history->txn_count; t++) {
        if (!history->txns[t].apart) { copy_txn(history, &history->txns[t], &others); }
    }
    config = (struct list_append_config){.model = LIST_APPEND_STRICT_SERIALIZABLE};
    const bool strict = list_append_check(&others, &config, &result, text.data, text.size);
    list_append_deinit(&others);
    return strict && misses_nothing(history, text) && good(text);
}

// --- Bank ---

bool txn_judge_bank(const struct txn_judge_bank *bank, const struct txn_judge_balances *snapshots,
                    uint32_t count, struct txn_judge_text text) {
    for (uint32_t i = 0; i < count; i++) {
        int64_t total = 0;
        for (uint32_t a = 0; a < snapshots[i].count; a++) {
            int64_t balance = snapshots[i].balances[a];
            if (balance < 0 && !bank->overdraft) {
                return bad(text, "at %" PRIu64 ", account %" PRIu32 " holds %" PRId64,
                           snapshots[i].ts, a, balance);
            }
            total += balance;
        }
        if (total != bank->total) {
            return bad(text, "at %" PRIu64 " the total is %" PRId64 " instead of %" PRId64,
                       snapshots[i].ts, total, bank->total);
        }
    }
    return good(text);
}

// --- Counter ---

struct bounds {
    int64_t low;
    int64_t high;
};

// What had to be counted has ended, acknowledged, before the read began; what could be counted
// began before it ended.
static struct bounds bounds_of(const struct txn_judge_count *ops, uint32_t count,
                               const struct txn_judge_count *read) {
    struct bounds bounds = {0, 0};
    for (uint32_t i = 0; i < count; i++) {
        const struct txn_judge_count *op = &ops[i];
        if (op->is_read || op->outcome == LIST_APPEND_FAIL || op->invoke > read->ret) { continue; }
        bool surely = op->outcome == LIST_APPEND_OK && op->ret < read->invoke;
        if (surely || op->value < 0) { bounds.low += op->value; }
        if (surely || op->value > 0) { bounds.high += op->value; }
    }
    return bounds;
}

bool txn_judge_counter(const struct txn_judge_count *ops, uint32_t count,
                       struct txn_judge_text text) {
    for (uint32_t i = 0; i < count; i++) {
        if (!ops[i].is_read || ops[i].outcome != LIST_APPEND_OK) { continue; }
        struct bounds bounds = bounds_of(ops, count, &ops[i]);
        if (ops[i].value < bounds.low || ops[i].value > bounds.high) {
            return bad(text,
                       "the read of %" PRIu64 " to %" PRIu64 " shows %" PRId64
                       ", which is not between %" PRId64 " and %" PRId64,
                       ops[i].invoke, ops[i].ret, ops[i].value, bounds.low, bounds.high);
        }
    }
    return good(text);
}

// --- Long fork ---

static uint32_t lowest_bit(uint64_t bits) {
    return (uint32_t)__builtin_ctzll(bits);
}

bool txn_judge_long_fork(const struct txn_judge_fork *reads, uint32_t count,
                         struct txn_judge_text text) {
    for (uint32_t i = 0; i < count; i++) {
        ASSERT((reads[i].seen & ~reads[i].read) == 0);
        for (uint32_t j = 0; j < i; j++) {
            uint64_t both = reads[i].read & reads[j].read;
            uint64_t first = reads[i].seen & ~reads[j].seen & both;
            uint64_t second = reads[j].seen & ~reads[i].seen & both;
            if (first == 0 || second == 0) { continue; }
            return bad(text,
                       "T%" PRIu64 " sees key %" PRIu32 " without %" PRIu32 ", T%" PRIu64
                       " the other way round",
                       reads[i].id, lowest_bit(first), lowest_bit(second), reads[j].id);
        }
    }
    return good(text);
}

// --- Write skew ---

static bool happened(const struct txn_judge_claim *claim) {
    return claim->observed || claim->outcome == LIST_APPEND_OK;
}

bool txn_judge_write_skew(const struct txn_judge_claim *claims, uint32_t count,
                          struct txn_judge_text text) {
    for (uint32_t i = 0; i < count; i++) {
        if (claims[i].observed && claims[i].outcome == LIST_APPEND_FAIL) {
            return bad(text, "T%" PRIu64 " did not commit, and its mark was seen", claims[i].id);
        }
        if (!happened(&claims[i])) { continue; }
        for (uint32_t j = 0; j < i; j++) {
            if (claims[i].group != claims[j].group || !happened(&claims[j])) { continue; }
            return bad(text, "T%" PRIu64 " and T%" PRIu64 " both claimed group %" PRIu64,
                       claims[j].id, claims[i].id, claims[i].group);
        }
    }
    return good(text);
}

// --- Phantoms ---

void txn_judge_insert(struct list_append_history *history, uint64_t member) {
    list_append_add(history, member, TXN_JUDGE_MEMBER);
}

bool txn_judge_range_read(struct list_append_history *history, struct txn_judge_range range,
                          const uint64_t *seen, uint32_t count, struct txn_judge_text text) {
    ASSERT(range.first <= range.last && range.last < UINT64_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (seen[i] < range.first || seen[i] > range.last) {
            return bad(text, "a read of %" PRIu64 " to %" PRIu64 " shows %" PRIu64, range.first,
                       range.last, seen[i]);
        }
        if (i > 0 && seen[i] <= seen[i - 1]) {
            return bad(text, "a range read shows %" PRIu64 " after %" PRIu64, seen[i], seen[i - 1]);
        }
    }
    uint32_t at = 0;
    for (uint64_t member = range.first; member <= range.last; member++) {
        const uint64_t list[] = {TXN_JUDGE_MEMBER};
        bool there = at < count && seen[at] == member;
        list_append_add_read(history, member, list, there ? 1 : 0);
        at += there;
    }
    ASSERT(at == count);
    return good(text);
}

// --- Sessions ---

// Of a session: by key, what it wrote and saw last; of all keys, the latest of either.
struct past {
    uint64_t wrote;
    uint64_t saw;
};
struct session {
    uint64_t wrote;
    uint64_t wrote_txn;
    uint64_t saw;
};

static bool check_read(const struct txn_judge_step *step, struct session *session,
                       struct past *past, struct txn_judge_text text) {
    if (step->version < past->wrote) {
        return bad(text,
                   "session %" PRIu32 " reads key %" PRIu32 " of %" PRIu64
                   ", and wrote it at %" PRIu64,
                   step->session, step->key, step->version, past->wrote);
    }
    if (step->version < past->saw) {
        return bad(
            text, "session %" PRIu32 " reads key %" PRIu32 " of %" PRIu64 " after that of %" PRIu64,
            step->session, step->key, step->version, past->saw);
    }
    past->saw = step->version;
    if (step->version > session->saw) { session->saw = step->version; }
    return true;
}

static bool check_write(const struct txn_judge_step *step, struct session *session,
                        struct past *past, struct txn_judge_text text) {
    bool same = step->txn == session->wrote_txn && step->version == session->wrote;
    if (!same && step->version <= session->wrote) {
        return bad(text, "session %" PRIu32 " writes at %" PRIu64 " after it wrote at %" PRIu64,
                   step->session, step->version, session->wrote);
    }
    if (!same && step->version <= session->saw) {
        return bad(text, "session %" PRIu32 " writes at %" PRIu64 " after it read of %" PRIu64,
                   step->session, step->version, session->saw);
    }
    session->wrote = step->version;
    session->wrote_txn = step->txn;
    past->wrote = step->version;
    return true;
}

bool txn_judge_sessions(const struct txn_judge_sessions *sessions, struct txn_judge_text text) {
    size_t keys = sessions->key_count;
    struct past *pasts = mem_alloc_array(sessions->session_count * keys + 1, sizeof(*pasts));
    struct session *all = mem_alloc_array((size_t)sessions->session_count + 1, sizeof(*all));
    bool right = good(text);
    for (uint32_t i = 0; right && i < sessions->count; i++) {
        const struct txn_judge_step *step = &sessions->steps[i];
        ASSERT(step->session < sessions->session_count && step->key < sessions->key_count);
        struct past *past = &pasts[step->session * keys + step->key];
        right = step->is_write ? check_write(step, &all[step->session], past, text)
                               : check_read(step, &all[step->session], past, text);
    }
    mem_free(all);
    mem_free(pasts);
    return right;
}
