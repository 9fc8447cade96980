// SPDX-License-Identifier: Apache-2.0
// A bank on a real cluster by liblightcone: threads move money between accounts on different
// shards and look at the sum meanwhile; each thread counts its transfers in the cluster, too.
//
// usage: bank ADDRESSES KEYSPACE SECONDS
// Prints one line of JSON. Exit code 0: every sum was right, and every thread's count in the
// cluster is its number of committed transfers, or lies between that and those of unknown outcome
// as well. The accounts lie at even distances of the first byte.
#include "api/client/lightcone_txn.h"
#include "dataplane/base/prng.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BANK_THREADS = 8,
    BANK_ACCOUNTS = 32,
    BANK_MONEY = 100,
    BANK_KEY_SIZE = 8,
    BANK_TEXT_SIZE = 24,
    BANK_LOOK_EVERY = 4,
    BANK_TIMEOUT_MS = 15000,
};

struct bank {
    struct lc_client *client;
    uint32_t keyspace;
    time_t until;
    atomic_uint sums;
    atomic_uint wrong_sums;
    atomic_uint tries;
    atomic_uint aborted;
};

struct teller {
    struct bank *bank;
    uint32_t number;
    pthread_t thread;
    struct prng prng;
    // Of the transfer at hand.
    uint8_t from[BANK_KEY_SIZE];
    uint8_t to[BANK_KEY_SIZE];
    // In the end.
    long committed;
    long unknown;
};

static struct slice account(uint32_t i, uint8_t out[BANK_KEY_SIZE]) {
    out[0] = (uint8_t)(i * (256 / BANK_ACCOUNTS));
    (void)snprintf((char *)out + 1, BANK_KEY_SIZE - 1, "acct");
    return slice_make(out, 5);
}

static struct slice counter(uint32_t teller, uint8_t out[BANK_KEY_SIZE]) {
    out[0] = (uint8_t)(teller * (256 / BANK_THREADS) + 1);
    (void)snprintf((char *)out + 1, BANK_KEY_SIZE - 1, "tell");
    return slice_make(out, 5);
}

static long number_of(const struct lc_row *row) {
    char text[BANK_TEXT_SIZE] = "0";
    if (row->found) {
        (void)snprintf(text, sizeof(text), "%.*s", (int)row->value.size,
                       (const char *)row->value.data);
    }
    return strtol(text, NULL, 10);
}

static enum status put_number(struct lc_txn *txn, struct slice key, long v) {
    char text[BANK_TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "%ld", v);
    return lc_txn_put(txn, key, slice_from_string(text));
}

// --- Transactions ---

static enum status transfer(struct lc_txn *txn, void *ctx) {
    struct teller *self = ctx;
    uint8_t count_key[BANK_KEY_SIZE];
    struct lc_reply reply;
    struct slice keys[] = {slice_make(self->from, 5), slice_make(self->to, 5),
                           counter(self->number, count_key)};
    // Every other teller has the accounts held; what is right does not depend on it.
    const struct lc_txn_read read = {
        .keys = keys, .key_count = 3, .for_update = self->number % 2 == 1};
    atomic_fetch_add(&self->bank->tries, 1);
    enum status st = lc_txn_read(txn, &read, &reply);
    if (st == STATUS_OK) {
        const struct lc_row *rows = reply.result.rows;
        const long amount = number_of(&rows[0]) < 10 ? number_of(&rows[0]) : 10;
        st = put_number(txn, keys[0], number_of(&rows[0]) - amount);
        if (st == STATUS_OK) { st = put_number(txn, keys[1], number_of(&rows[1]) + amount); }
        if (st == STATUS_OK) { st = put_number(txn, keys[2], number_of(&rows[2]) + 1); }
    }
    lc_reply_free(&reply);
    return st;
}

// Reads every account, half of them by their keys and half in ranges, in one transaction.
static enum status look(struct lc_txn *txn, void *ctx) {
    long *sum = ctx;
    uint8_t key[BANK_KEY_SIZE];
    *sum = 0;
    for (uint32_t i = 0; i < BANK_ACCOUNTS; i += 2) {
        struct lc_reply reply;
        uint8_t end[] = {(uint8_t)(account(i + 1, key).data[0]), 'b'};
        enum status st = lc_txn_get(txn, account(i, key), &reply);
        if (st == STATUS_OK) { *sum += number_of(&reply.result.rows[0]); }
        lc_reply_free(&reply);
        if (st != STATUS_OK && st != STATUS_NOT_FOUND) { return st; }
        const struct lc_txn_scan scan = {.start = account(i + 1, key),
                                         .end = slice_make(end, sizeof(end))};
        st = lc_txn_scan(txn, &scan, &reply);
        for (uint32_t row = 0; st == STATUS_OK && row < reply.result.row_count; row++) {
            *sum += number_of(&reply.result.rows[row]);
        }
        lc_reply_free(&reply);
        if (st != STATUS_OK) { return st; }
    }
    return STATUS_OK;
}

static struct lc_txn_options options_of(const struct bank *bank) {
    return (struct lc_txn_options){.keyspace = bank->keyspace, .timeout_ms = BANK_TIMEOUT_MS};
}

static void look_once(struct bank *bank) {
    struct lc_txn_options options = options_of(bank);
    struct lc_reply reply;
    long sum = 0;
    if (lc_txn_run(bank->client, &options, look, &sum, &reply) == STATUS_OK) {
        atomic_fetch_add(&bank->sums, 1);
        if (sum != (long)BANK_ACCOUNTS * BANK_MONEY) {
            atomic_fetch_add(&bank->wrong_sums, 1);
            (void)fprintf(stderr, "bank: a sum of %ld\n", sum);
        }
    }
    lc_reply_free(&reply);
}

static void transfer_once(struct teller *self) {
    struct bank *bank = self->bank;
    struct lc_txn_options options = options_of(bank);
    struct lc_reply reply;
    uint32_t from = (uint32_t)prng_between(&self->prng, 0, BANK_ACCOUNTS - 1);
    uint32_t to = (uint32_t)prng_between(&self->prng, 1, BANK_ACCOUNTS - 1);
    (void)account(from, self->from);
    (void)account((from + to) % BANK_ACCOUNTS, self->to);
    enum status st = lc_txn_run(bank->client, &options, transfer, self, &reply);
    if (reply.result.outcome == LC_ABORTED) {
        (void)fprintf(stderr, "bank: aborted: %s\n", status_name(st));
    }
    switch (reply.result.outcome) {
    case LC_COMMITTED:
        self->committed++;
        break;
    case LC_UNKNOWN:
        self->unknown++;
        break;
    case LC_ABORTED:
        atomic_fetch_add(&bank->aborted, 1);
        break;
    }
    lc_reply_free(&reply);
}

static void *teller_run(void *arg) {
    struct teller *self = arg;
    for (uint32_t i = self->number; time(NULL) < self->bank->until; i++) {
        if (i % BANK_LOOK_EVERY == 0) { look_once(self->bank); }
        transfer_once(self);
    }
    return NULL;
}

// --- The whole ---

static enum status fill(struct lc_txn *txn, void *ctx) {
    uint8_t key[BANK_KEY_SIZE];
    enum status st = STATUS_OK;
    (void)ctx;
    for (uint32_t i = 0; i < BANK_ACCOUNTS && st == STATUS_OK; i++) {
        st = put_number(txn, account(i, key), BANK_MONEY);
    }
    return st;
}

// Whether the cluster counted a teller's transfers as the teller did.
static bool counts(struct bank *bank, const struct teller *teller) {
    uint8_t key[BANK_KEY_SIZE];
    struct lc_reply reply;
    enum status st =
        lc_get_wait(bank->client, bank->keyspace, counter(teller->number, key), &reply);
    long counted = st == STATUS_OK ? number_of(&reply.result.rows[0]) : 0;
    lc_reply_free(&reply);
    bool right = (st == STATUS_OK || st == STATUS_NOT_FOUND) && counted >= teller->committed &&
                 counted <= teller->committed + teller->unknown;
    if (!right) {
        (void)fprintf(stderr, "bank: teller %u: %ld committed, %ld unknown, %ld counted (%s)\n",
                      teller->number, teller->committed, teller->unknown, counted, status_text(st));
    }
    return right;
}

static int run(struct bank *bank) {
    struct teller tellers[BANK_THREADS] = {{.bank = NULL}};
    struct lc_txn_options options = options_of(bank);
    struct lc_reply reply;
    long committed = 0;
    long unknown = 0;
    uint32_t wrong_counts = 0;
    enum status st = lc_txn_run(bank->client, &options, fill, NULL, &reply);
    lc_reply_free(&reply);
    if (st != STATUS_OK) {
        (void)fprintf(stderr, "bank: filling: %s\n", status_text(st));
        return 1;
    }
    for (uint32_t i = 0; i < BANK_THREADS; i++) {
        tellers[i].bank = bank;
        tellers[i].number = i;
        prng_init(&tellers[i].prng, (uint64_t)time(NULL) * BANK_THREADS + i);
        if (pthread_create(&tellers[i].thread, NULL, teller_run, &tellers[i]) != 0) { abort(); }
    }
    for (uint32_t i = 0; i < BANK_THREADS; i++) {
        (void)pthread_join(tellers[i].thread, NULL);
        committed += tellers[i].committed;
        unknown += tellers[i].unknown;
    }
    for (uint32_t i = 0; i < BANK_THREADS; i++) {
        wrong_counts += counts(bank, &tellers[i]) ? 0 : 1;
    }
    look_once(bank);
    (void)printf("{\"committed\": %ld, \"unknown\": %ld, \"aborted\": %u, \"tries\": %u, "
                 "\"sums\": %u, \"wrong_sums\": %u, \"wrong_counts\": %u}\n",
                 committed, unknown, atomic_load(&bank->aborted), atomic_load(&bank->tries),
                 atomic_load(&bank->sums), atomic_load(&bank->wrong_sums), wrong_counts);
    return atomic_load(&bank->wrong_sums) + wrong_counts == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    struct bank bank = {.client = NULL};
    struct lc_config config = {.address_count = 0};
    const char *addresses[LC_ADDRESSES_MAX];
    struct err err = {0};
    if (argc != 4) {
        (void)fprintf(stderr, "usage: bank ADDRESSES KEYSPACE SECONDS\n");
        return 2;
    }
    for (char *rest = argv[1]; rest != NULL && config.address_count < LC_ADDRESSES_MAX;) {
        addresses[config.address_count++] = strsep(&rest, ",");
    }
    config.addresses = addresses;
    if (lc_connect(&config, &bank.client, &err) != STATUS_OK ||
        lc_keyspace(bank.client, argv[2], &bank.keyspace, &err) != STATUS_OK) {
        (void)fprintf(stderr, "bank: %s\n", err.message);
        lc_close(bank.client);
        return 1;
    }
    bank.until = time(NULL) + strtol(argv[3], NULL, 10);
    int code = run(&bank);
    lc_close(bank.client);
    return code;
}
