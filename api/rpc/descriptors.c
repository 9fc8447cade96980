// SPDX-License-Identifier: Apache-2.0
// Questions to a serialized FileDescriptorSet, read in place with the wire reader. A tool asks a
// handful of them per session, so every question walks the set again rather than keeping an index.
// The numbers are those of google/protobuf/descriptor.proto.
#include "api/rpc/rpc_internal.h"

#include <string.h>

enum {
    RPC_SET_FILE = 1,
    RPC_FILE_NAME = 1,
    RPC_FILE_PACKAGE = 2,
    RPC_FILE_DEPENDENCY = 3,
    RPC_FILE_MESSAGE = 4,
    RPC_FILE_ENUM = 5,
    RPC_FILE_SERVICE = 6,
    RPC_DECLARATION_NAME = 1,  // of messages, fields, enums, services and methods alike
    RPC_MESSAGE_FIELD = 2,
    RPC_MESSAGE_NESTED = 3,
    RPC_MESSAGE_ENUM = 4,
    RPC_SERVICE_METHOD = 2,
    RPC_NESTING_MAX = 16,
};

static struct slice rpc_bytes_of(struct slice message, uint32_t number) {
    struct proto_reader r;
    struct proto_field field;
    struct slice found = SLICE_EMPTY;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == number && field.type == PROTO_BYTES) { found = field.bytes; }
    }
    return found;
}

// Takes `name` off the front of symbol: true when nothing is left, or a dot and more (*out_rest).
static bool rpc_take_name(struct slice symbol, struct slice name, struct slice *out_rest) {
    if (name.size == 0 || !slice_has_prefix(symbol, name)) { return false; }
    struct slice rest = slice_make(symbol.data + name.size, symbol.size - name.size);
    if (rest.size > 0 && rest.data[0] != '.') { return false; }
    *out_rest = rest.size == 0 ? rest : slice_make(rest.data + 1, rest.size - 1);
    return true;
}

// Whether a declaration is the symbol, or holds it.
static bool rpc_declares(struct slice declaration, bool is_message, struct slice symbol,
                         int depth) {
    struct slice rest;
    if (depth > RPC_NESTING_MAX) { return false; }
    if (!rpc_take_name(symbol, rpc_bytes_of(declaration, RPC_DECLARATION_NAME), &rest)) {
        return false;
    }
    if (rest.size == 0) { return true; }
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, declaration);
    while (proto_next(&r, &field)) {
        if (field.type != PROTO_BYTES) { continue; }
        bool nested = is_message && field.number == RPC_MESSAGE_NESTED;
        bool leaf = is_message
                        ? field.number == RPC_MESSAGE_FIELD || field.number == RPC_MESSAGE_ENUM
                        : field.number == RPC_SERVICE_METHOD;
        if ((nested || leaf) && rpc_declares(field.bytes, nested, rest, depth + 1)) { return true; }
    }
    return false;
}

static bool rpc_file_declares(struct slice file, struct slice symbol) {
    struct slice package = rpc_bytes_of(file, RPC_FILE_PACKAGE);
    struct slice rest = symbol;
    if (package.size > 0 && !rpc_take_name(symbol, package, &rest)) { return false; }
    if (rest.size == 0) { return false; }
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, file);
    while (proto_next(&r, &field)) {
        bool message = field.number == RPC_FILE_MESSAGE;
        bool other = field.number == RPC_FILE_ENUM || field.number == RPC_FILE_SERVICE;
        if (field.type == PROTO_BYTES && (message || other) &&
            rpc_declares(field.bytes, message, rest, 0)) {
            return true;
        }
    }
    return false;
}

struct slice rpc__file_by_name(const struct rpc_files *self, struct slice name) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, self->set);
    while (proto_next(&r, &field)) {
        if (field.number == RPC_SET_FILE &&
            slice_equal(rpc_bytes_of(field.bytes, RPC_FILE_NAME), name)) {
            return field.bytes;
        }
    }
    return SLICE_EMPTY;
}

struct slice rpc__file_by_symbol(const struct rpc_files *self, struct slice symbol) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, self->set);
    while (proto_next(&r, &field)) {
        if (field.number == RPC_SET_FILE && rpc_file_declares(field.bytes, symbol)) {
            return field.bytes;
        }
    }
    return SLICE_EMPTY;
}

void rpc__file_imports(struct slice file, void (*visit)(void *ctx, struct slice name), void *ctx) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, file);
    while (proto_next(&r, &field)) {
        if (field.number == RPC_FILE_DEPENDENCY && field.type == PROTO_BYTES) {
            visit(ctx, field.bytes);
        }
    }
}

static void rpc_services_of(struct slice file, void (*visit)(void *ctx, struct slice name),
                            void *ctx) {
    struct slice package = rpc_bytes_of(file, RPC_FILE_PACKAGE);
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, file);
    while (proto_next(&r, &field)) {
        if (field.number != RPC_FILE_SERVICE || field.type != PROTO_BYTES) { continue; }
        struct slice name = rpc_bytes_of(field.bytes, RPC_DECLARATION_NAME);
        uint8_t full[2 * RPC_SERVICE_NAME_SIZE];
        if (package.size + 1 + name.size > sizeof(full)) { continue; }
        memcpy(full, package.data, package.size);
        full[package.size] = '.';
        memcpy(full + package.size + 1, name.data, name.size);
        visit(ctx, slice_make(full, package.size + 1 + name.size));
    }
}

void rpc__file_services(const struct rpc_files *self, void (*visit)(void *ctx, struct slice name),
                        void *ctx) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, self->set);
    while (proto_next(&r, &field)) {
        if (field.number == RPC_SET_FILE) { rpc_services_of(field.bytes, visit, ctx); }
    }
}
