// SPDX-License-Identifier: Apache-2.0
// node_register.c - a node tells the catalogue who it is and where it listens, and keeps trying
// until it stands there.

#include "api/node/node_core_internal.h"
#include "dataplane/base/assert.h"

enum { REGISTER_RETRY_NS = 200000000 };
#define REGISTER_DEADLINE_NS UINT64_C(3000000000)

static void register_done(struct session_call *call, const struct session_result *result) {
    struct node_core *self =
        (struct node_core *)((char *)call - offsetof(struct node_core, register_call));
    (void)
        // the catalogue itself tells whether it worked; a refusal is repeated, so that an operator
        // can mend the cause
        result;
    self->registering = false;
    self->register_due_ns = env_now(self->config.env) + REGISTER_RETRY_NS;
}

void node_core__register_on_time(struct node_core *self, uint64_t now_ns) {
    if (self->registered || self->registering || now_ns < self->register_due_ns) { return; }
    struct catalog_register_node command = {.node = self->config.self};
    command.node.state = CATALOG_NODE_LIVE;
    buf_reset(&self->register_payload);
    struct codec_writer w;
    codec_writer_init(&w, &self->register_payload);
    catalog_register_node_encode(&w, &command);
    ASSERT(w.status == STATUS_OK);
    self->register_call = (struct session_call){
        .kind = COMMAND_CATALOG,
        .payload = buf_slice(&self->register_payload),
        .deadline_ns = now_ns + REGISTER_DEADLINE_NS,
        .done = register_done,
    };
    self->registering = true;
    session_start(self->session, &self->register_call);
}
