// SPDX-License-Identifier: Apache-2.0
// Commits are written as short lists in the tests; this turns them into log entries.
#include "tests/unit/txn/apply/apply_fixture.h"

#include "dataplane/base/assert.h"

#include <string.h>

enum { OPS_MAX = 64, KEY_SIZE_MAX = 32 };

void fixture_open(struct fixture *self, struct engine *engine) {
    *self = (struct fixture){.engine = engine, .apply = apply_create(engine), .clock = {1000}};
    self->machine = apply_machine(self->apply);
    buf_init(&self->payload, 1 << 20);
    for (uint64_t shard = 1; shard <= FIXTURE_SHARDS; shard++) {
        apply_set_epoch(self->apply, (struct shard_id){shard}, FIXTURE_EPOCH);
        self->index[shard - 1] =
            self->machine->applied(self->machine->ctx, (struct shard_id){shard});
    }
}

void fixture_close(struct fixture *self) {
    apply_destroy(self->apply);
    buf_deinit(&self->payload);
}

struct txn_id fixture_id(uint64_t v) {
    struct txn_id id = {{0xEE}};
    codec_store_u64(id.v + 1, v);
    return id;
}

static struct slice full_key(const char *text, uint8_t out[KEY_SIZE_MAX]) {
    const size_t size = strlen(text);
    ASSERT(size + 4 <= KEY_SIZE_MAX);
    memcpy(out, "\0\0\0\1", 4);
    memcpy(out + 4, text, size);
    return slice_make(out, size + 4);
}

struct slice fixture_commit(struct fixture *self, struct txn_id id, const struct op *ops) {
    struct command_condition conditions[OPS_MAX];
    struct command_mutation mutations[OPS_MAX];
    uint8_t keys[OPS_MAX][2][KEY_SIZE_MAX];
    struct command_commit commit = {.txn = id, .conditions = conditions, .mutations = mutations};
    for (uint32_t i = 0; ops[i].type != OP_END; i++) {
        ASSERT(i < OPS_MAX);
        const struct slice key = full_key(ops[i].key, keys[i][0]);
        struct slice value = ops[i].value != NULL ? slice_from_string(ops[i].value) : SLICE_EMPTY;
        if (ops[i].type == OP_CONDITION) {
            conditions[commit.condition_count++] = (struct command_condition){
                (enum command_condition_kind)ops[i].kind, key, value, (struct hlc_ts){ops[i].ts}};
        } else {
            if (ops[i].kind == COMMAND_DELETE_RANGE) { value = full_key(ops[i].value, keys[i][1]); }
            mutations[commit.mutation_count++] =
                (struct command_mutation){(enum command_mutation_kind)ops[i].kind, key, value};
        }
    }
    buf_reset(&self->payload);
    struct codec_writer w;
    codec_writer_init(&w, &self->payload);
    command_commit_encode(&w, &commit);
    ASSERT(w.status == STATUS_OK);
    return buf_slice(&self->payload);
}

struct apply_result fixture_apply(struct fixture *self, uint64_t shard, struct slice payload) {
    self->clock.v++;
    const struct log_entry entry = {.index = ++self->index[shard - 1],
                                    .term = 1,
                                    .shard_epoch = FIXTURE_EPOCH,
                                    .timestamp = self->clock,
                                    .kind = LOG_ENTRY_COMMAND,
                                    .payload = payload};
    struct apply_result result;
    self->machine->apply(self->machine->ctx, (struct shard_id){shard}, &entry, &result);
    return result;
}

struct command_outcome fixture_outcome(const struct apply_result *result) {
    struct codec_reader r;
    codec_reader_init(&r, result->payload);
    struct command_outcome outcome = {0};
    ASSERT(command_outcome_decode(&r, &outcome) == STATUS_OK);
    ASSERT(codec_finish(&r) == STATUS_OK);
    ASSERT(outcome.status == result->status);
    return outcome;
}

struct command_outcome fixture_run(struct fixture *self, uint64_t shard, const struct op *ops) {
    const struct slice payload = fixture_commit(self, fixture_id(++self->next_id), ops);
    const struct apply_result result = fixture_apply(self, shard, payload);
    return fixture_outcome(&result);
}

const char *fixture_get(struct fixture *self, const char *key) {
    static char text[64];
    uint8_t full[KEY_SIZE_MAX];
    struct mvcc_version version;
    const enum status st =
        mvcc_read(apply_reader(self->apply), full_key(key, full), HLC_MAX, &version);
    if (st == STATUS_NOT_FOUND) { return "-"; }
    ASSERT(st == STATUS_OK && version.value.size < sizeof(text));
    memcpy(text, version.value.data, version.value.size);
    text[version.value.size] = '\0';
    return text;
}

uint64_t fixture_digest(struct fixture *self) {
    uint64_t digest = 0;
    const enum status st = apply_digest(self->apply, SLICE_EMPTY, SLICE_EMPTY, &digest);
    ASSERT(st == STATUS_OK);
    return digest;
}

enum status fixture_digest_shard(const struct fixture *self, struct shard_id shard,
                                 uint64_t *out_digest) {
    const struct state_machine *m = self->machine;
    struct state_digest_slice slice = {0};
    struct state_digest *view = m->digest_open(m->ctx, shard);
    if (view == NULL) { return STATUS_FAILED_PRECONDITION; }
    enum status st = STATUS_OK;
    while (st == STATUS_OK && !slice.last) {
        st = m->digest_next(m->ctx, view, 1 << 20, &slice);
    }
    m->digest_close(m->ctx, view);
    *out_digest = slice.digest;
    return st;
}
