// SPDX-License-Identifier: Apache-2.0
// grpc.reflection.v1 and v1alpha (the same messages under two names): one answer a question, the
// next question is read when the answer is on its way. Answers must not be gathered into one
// message, unlike those of Data.Batch.
#include "api/rpc/rpc_internal.h"
#include "dataplane/base/assert.h"

#include <grpc/status.h>

enum {
    RPC_ASK_FILE = 3,
    RPC_ASK_SYMBOL = 4,
    RPC_ASK_EXTENSION = 5,
    RPC_ASK_EXTENSION_NUMBERS = 6,
    RPC_ASK_SERVICES = 7,
    RPC_ANSWER_HOST = 1,
    RPC_ANSWER_REQUEST = 2,
    RPC_ANSWER_FILES = 4,
    RPC_ANSWER_SERVICES = 6,
    RPC_ANSWER_ERROR = 7,
    RPC_ANSWER_SIZE_MAX = 4 << 20,
    RPC_IMPORTS_MAX = 64,
};

// State of a reflection stream. The callbacks of a call follow one another, but for drain, which
// only marks.
struct rpc_question {
    atomic_bool draining;  // relaxed: seen with the next question, or by the cancellation
    atomic_bool finished;  // whoever sets it first ends the call
};

static void rpc_answer_error(struct proto_writer *w, grpc_status_code code, const char *text) {
    size_t mark = proto_open(w, RPC_ANSWER_ERROR, 64);
    proto_put_uint(w, 1, (uint64_t)code);
    proto_put_bytes(w, 2, slice_from_string(text));
    proto_close(w, mark);
}

// The file and, transitively, what it imports; each once.
struct rpc_file_walk {
    const struct rpc_files *files;
    struct slice found[RPC_IMPORTS_MAX];
    uint32_t count;
};

static void rpc_walk_file(struct rpc_file_walk *walk, struct slice file) {
    if (file.size == 0 || walk->count == RPC_IMPORTS_MAX) { return; }
    for (uint32_t i = 0; i < walk->count; i++) {
        if (walk->found[i].data == file.data) { return; }
    }
    walk->found[walk->count++] = file;
}

static void rpc_walk_import(void *ctx, struct slice name) {
    struct rpc_file_walk *walk = ctx;
    rpc_walk_file(walk, rpc__file_by_name(walk->files, name));
}

static void rpc_answer_file(struct proto_writer *w, const struct rpc_files *files,
                            struct slice file) {
    if (file.size == 0) {
        rpc_answer_error(w, GRPC_STATUS_NOT_FOUND, "no such file or symbol");
        return;
    }
    struct rpc_file_walk walk = {.files = files};
    rpc_walk_file(&walk, file);
    for (uint32_t i = 0; i < walk.count; i++) {
        rpc__file_imports(walk.found[i], rpc_walk_import, &walk);
    }
    size_t mark = proto_open(w, RPC_ANSWER_FILES, file.size);
    for (uint32_t i = 0; i < walk.count; i++) {
        proto_put_bytes_always(w, 1, walk.found[i]);
    }
    proto_close(w, mark);
}

static void rpc_answer_service(void *ctx, struct slice name) {
    struct proto_writer *w = ctx;
    size_t mark = proto_open(w, 1, name.size + 2);
    proto_put_bytes(w, 1, name);
    proto_close(w, mark);
}

static void rpc_answer(struct rpc_server *server, struct proto_writer *w, struct slice question) {
    struct rpc_files files = {bytes_slice(server->descriptors)};
    struct proto_reader r;
    struct proto_field field;
    struct proto_field asked = {0};
    struct slice host = SLICE_EMPTY;
    proto_reader_init(&r, question);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { host = proto_get_bytes(&r, &field); }
        if (field.number >= RPC_ASK_FILE && field.number <= RPC_ASK_SERVICES) { asked = field; }
    }
    struct slice name = asked.number == 0 ? SLICE_EMPTY : proto_get_bytes(&r, &asked);
    proto_put_bytes(w, RPC_ANSWER_HOST, host);
    if (r.status == STATUS_OK) { proto_put_bytes(w, RPC_ANSWER_REQUEST, question); }
    if (r.status != STATUS_OK || asked.number == 0) {
        rpc_answer_error(w, GRPC_STATUS_INVALID_ARGUMENT, "the question does not decode");
    } else if (asked.number == RPC_ASK_FILE) {
        rpc_answer_file(w, &files, rpc__file_by_name(&files, name));
    } else if (asked.number == RPC_ASK_SYMBOL) {
        rpc_answer_file(w, &files, rpc__file_by_symbol(&files, name));
    } else if (asked.number == RPC_ASK_SERVICES) {
        size_t mark = proto_open(w, RPC_ANSWER_SERVICES, 256);
        rpc__file_services(&files, rpc_answer_service, w);
        proto_close(w, mark);
    } else {
        rpc_answer_error(w, GRPC_STATUS_NOT_FOUND, "there are no extensions");
    }
}

static void rpc_question_end(struct rpc_call *call) {
    struct rpc_question *question = rpc_call_state(call);
    if (!atomic_exchange(&question->finished, true)) { rpc_finish(call); }
}

static void rpc_reflection_start(void *ctx, struct rpc_call *call, struct slice request) {
    (void)ctx;
    (void)request;
    rpc_read(call);
}

static void rpc_reflection_message(void *ctx, struct rpc_call *call, struct slice message) {
    struct rpc_question *question = rpc_call_state(call);
    struct buf answer;
    buf_init(&answer, RPC_ANSWER_SIZE_MAX);
    struct proto_writer w;
    proto_writer_init(&w, &answer);
    rpc_answer(ctx, &w, message);
    // A question too long to be repeated in the answer, or a client that is gone.
    bool bad = w.status != STATUS_OK || atomic_load(&question->draining) ||
               atomic_load(&question->finished) ||
               rpc_gather(call, buf_slice(&answer)) != STATUS_OK;
    buf_deinit(&answer);
    if (bad) {
        rpc_question_end(call);
        return;
    }
    rpc_flush(call);
}

static void rpc_reflection_writable(void *ctx, struct rpc_call *call) {
    (void)ctx;
    rpc_read(call);
}

static void rpc_reflection_end(void *ctx, struct rpc_call *call) {
    (void)ctx;
    rpc_question_end(call);
}

static void rpc_reflection_drain(void *ctx, struct rpc_call *call) {
    struct rpc_question *question = rpc_call_state(call);
    (void)ctx;
    atomic_store(&question->draining, true);
}

static const struct rpc_handler rpc_reflection_handler = {
    .start = rpc_reflection_start,
    .message = rpc_reflection_message,
    .half_closed = rpc_reflection_end,
    .writable = rpc_reflection_writable,
    .cancelled = rpc_reflection_end,
    .drain = rpc_reflection_drain,
};

void rpc__reflection_register(struct rpc_server *server) {
    static const char *const paths[] = {
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct rpc_method method = {.path = paths[i],
                                    .kind = RPC_BIDI_STREAM,
                                    .state_size = sizeof(struct rpc_question),
                                    .handler = &rpc_reflection_handler,
                                    .ctx = server};
        rpc_register(server, &method);
    }
}
