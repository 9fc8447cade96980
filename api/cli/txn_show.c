// SPDX-License-Identifier: Apache-2.0
// Nodes speak of full keys, whose first four bytes name the keyspace; people speak of names.
#include "api/cli/txn_show.h"

#include "api/cli/text.h"
#include "dataplane/shard/shard.h"

#include <inttypes.h>
#include <string.h>

void txn_show_names_init(struct txn_show_names *self, struct session *session) {
    Lightcone__V1__KeyspaceListRequest request = LIGHTCONE__V1__KEYSPACE_LIST_REQUEST__INIT;
    struct err err = {0};
    self->list = NULL;
    const enum status st = lc_admin_keyspace_list(session->client, 0, &request, &self->list, &err);
    if (st != STATUS_OK) { self->list = NULL; }
}

void txn_show_names_deinit(struct txn_show_names *self) {
    lightcone__v1__keyspace_list_response__free_unpacked(self->list, NULL);
    self->list = NULL;
}

const char *txn_show_id(ProtobufCBinaryData id, char out[TXN_SHOW_ID_SIZE]) {
    if (id.len != LC_TXN_ID_SIZE) {
        (void)snprintf(out, TXN_SHOW_ID_SIZE, "-");
    } else {
        session_txn_text(id.data, out);
    }
    return out;
}

bool txn_show_same(ProtobufCBinaryData a, ProtobufCBinaryData b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

// --- Keys

static uint32_t keyspace_of(ProtobufCBinaryData key) {
    uint32_t id = 0;
    for (size_t i = 0; i < SHARD_KEYSPACE_PREFIX_SIZE && i < key.len; i++) {
        id = id << 8 | key.data[i];
    }
    return id;
}

static const char *name_of(const struct txn_show_names *names, uint32_t id) {
    for (size_t i = 0; names->list != NULL && i < names->list->n_keyspaces; i++) {
        if (names->list->keyspaces[i]->id == id) { return names->list->keyspaces[i]->name; }
    }
    return NULL;
}

static struct slice user_key(ProtobufCBinaryData key) {
    const size_t prefix = SHARD_KEYSPACE_PREFIX_SIZE;
    return key.len <= prefix ? SLICE_EMPTY : slice_make(key.data + prefix, key.len - prefix);
}

void txn_show_key(const struct txn_show_names *names, ProtobufCBinaryData key, struct buf *out) {
    const uint32_t id = keyspace_of(key);
    const char *name = name_of(names, id);
    if (name != NULL) {
        text_addf(out, "%s/", name);
    } else {
        text_addf(out, "%" PRIu32 "/", id);
    }
    text_add(out, user_key(key));
}

void txn_show_lock(const struct txn_show_names *names, const Lightcone__V1__LockedSpan *lock,
                   struct buf *out) {
    static const char *const modes[] = {"?", "read", "merge", "write"};
    const size_t mode = (size_t)lock->mode;
    text_addf(out, "%s ", mode < sizeof(modes) / sizeof(modes[0]) ? modes[mode] : "?");
    txn_show_key(names, lock->start, out);
    if (lock->end.len == 0) { return; }
    text_add_string(out, " to ");
    txn_show_key(names, lock->end, out);
}

json_t *txn_show_key_json(const struct txn_show_names *names, ProtobufCBinaryData key) {
    json_t *object = json_object();
    cli_json_u64(object, "keyspace_id", keyspace_of(key));
    cli_json_string(object, "keyspace", name_of(names, keyspace_of(key)));
    cli_json_bytes(object, "key", user_key(key));
    return object;
}

// --- Who drives it

const char *txn_show_phase(Lightcone__V1__TxnPhase phase) {
    static const char *const names[] = {"unknown",    "waiting",  "preparing",
                                        "committing", "aborting", "forgetting"};
    return (size_t)phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "?";
}

void txn_show_driver(const Lightcone__V1__TxnDriven *driven, struct buf *out) {
    if (driven == NULL) {
        text_add_string(out, "-");
    } else {
        text_addf(out, "node %" PRIu32 ", %s%s", driven->node,
                  driven->recovering != 0 ? "recovering" : txn_show_phase(driven->phase),
                  driven->told != 0 ? ", told" : "");
    }
}

void txn_show_attempt_json(json_t *object, uint64_t attempt, uint32_t tag) {
    cli_json_timestamp(object, "attempt", attempt);
    cli_json_u64(object, "attempt_tag", tag);
}

json_t *txn_show_driven_json(const Lightcone__V1__TxnDriven *driven) {
    char id[TXN_SHOW_ID_SIZE];
    json_t *object = json_object();
    cli_json_string(object, "txn_id", txn_show_id(driven->txn_id, id));
    txn_show_attempt_json(object, driven->attempt, driven->attempt_tag);
    cli_json_timestamp(object, "begin", driven->begin);
    cli_json_u64(object, "node", driven->node);
    cli_json_string(object, "phase", txn_show_phase(driven->phase));
    cli_json_bool(object, "recovering", driven->recovering != 0);
    cli_json_bool(object, "told", driven->told != 0);
    cli_json_u64(object, "participant_count", driven->participant_count);
    cli_json_u64(object, "attempts", driven->attempts);
    return object;
}

json_t *txn_show_held_json(const struct txn_show_names *names, uint32_t node,
                           const Lightcone__V1__TxnHeldKey *held) {
    char id[TXN_SHOW_ID_SIZE];
    json_t *object = json_object();
    cli_json_string(object, "txn_id", txn_show_id(held->txn_id, id));
    cli_json_u64(object, "node", node);
    cli_json_u64(object, "shard", held->shard);
    (void)json_object_set_new(object, "key", txn_show_key_json(names, held->key));
    cli_json_timestamp(object, "begin", held->begin);
    cli_json_u64(object, "held_us", held->held_us);
    cli_json_u64(object, "remaining_us", held->remaining_us);
    return object;
}

// --- Holders

json_t *txn_show_waiter_json(const Lightcone__V1__TxnWaiter *waiter) {
    char id[TXN_SHOW_ID_SIZE];
    json_t *object = json_object();
    cli_json_string(object, "txn_id",
                    waiter->txn_id.len == 0 ? NULL : txn_show_id(waiter->txn_id, id));
    cli_json_string(object, "holder", txn_show_id(waiter->holder, id));
    cli_json_u64(object, "shard", waiter->shard);
    cli_json_timestamp(object, "begin", waiter->begin);
    cli_json_u64(object, "waited_us", waiter->waited_us);
    return object;
}

static json_t *lock_json(const struct txn_show_names *names,
                         const Lightcone__V1__LockedSpan *lock) {
    static const char *const modes[] = {"unknown", "read", "merge", "write"};
    const size_t mode = (size_t)lock->mode;
    json_t *object = json_object();
    cli_json_string(object, "mode", mode < sizeof(modes) / sizeof(modes[0]) ? modes[mode] : "?");
    (void)json_object_set_new(object, "start", txn_show_key_json(names, lock->start));
    (void)json_object_set_new(
        object, "end", lock->end.len == 0 ? json_null() : txn_show_key_json(names, lock->end));
    return object;
}

json_t *txn_show_holder_json(const struct txn_show_names *names, uint32_t node,
                             const Lightcone__V1__TxnHolder *holder) {
    char id[TXN_SHOW_ID_SIZE];
    json_t *object = json_object();
    json_t *locks = json_array();
    json_t *waiters = json_array();
    cli_json_string(object, "txn_id", txn_show_id(holder->txn_id, id));
    txn_show_attempt_json(object, holder->attempt, holder->attempt_tag);
    cli_json_timestamp(object, "begin", holder->begin);
    cli_json_u64(object, "node", node);
    cli_json_u64(object, "shard", holder->shard);
    cli_json_string(object, "state", "prepared");
    cli_json_timestamp(object, "prepared", holder->prepared);
    cli_json_u64(object, "age_us", holder->age_us);
    cli_json_u64(object, "participant_count", holder->participant_count);
    cli_json_bool(object, "home", holder->home != 0);
    cli_json_u64(object, "lock_count", holder->lock_count);
    for (size_t i = 0; i < holder->n_locks; i++) {
        (void)json_array_append_new(locks, lock_json(names, holder->locks[i]));
    }
    (void)json_object_set_new(object, "locks", locks);
    cli_json_u64(object, "waiter_count", holder->waiter_count);
    for (size_t i = 0; i < holder->n_waiters; i++) {
        (void)json_array_append_new(waiters, txn_show_waiter_json(holder->waiters[i]));
    }
    (void)json_object_set_new(object, "waiters", waiters);
    return object;
}
