// SPDX-License-Identifier: Apache-2.0
// A list that is searched from its beginning: there are as many peers as nodes.
#include "txn/session/session_silence.h"

#include "dataplane/base/assert.h"

static const struct session_silence *find(const struct session_silences *self,
                                          struct node_id node) {
    for (uint32_t i = 0; i < self->count; i++) {
        if (node_id_equal(self->peers[i].node, node)) { return &self->peers[i]; }
    }
    return NULL;
}

static struct session_silence *take(struct session_silences *self) {
    if (self->count < SESSION_SILENCE_PEERS_MAX) { return &self->peers[self->count++]; }
    struct session_silence *oldest = &self->peers[0];
    for (uint32_t i = 1; i < self->count; i++) {
        if (self->peers[i].asked_ns < oldest->asked_ns) { oldest = &self->peers[i]; }
    }
    return oldest;
}

void session_silences_asked(struct session_silences *self, struct node_id node, uint64_t now_ns) {
    ASSERT(node.v != 0 && now_ns > 0);
    struct session_silence *peer = (struct session_silence *)find(self, node);
    if (peer == NULL) {
        peer = take(self);
        *peer = (struct session_silence){.node = node};
    }
    if (peer->since_ns == 0) { peer->since_ns = now_ns; }
    peer->asked_ns = now_ns;
}

void session_silences_heard(struct session_silences *self, struct node_id node) {
    struct session_silence *peer = (struct session_silence *)find(self, node);
    if (peer != NULL) { peer->since_ns = 0; }
}

bool session_silences_is_silent(const struct session_silences *self, struct node_id node,
                                uint64_t now_ns, uint64_t interval_ns) {
    const struct session_silence *peer = find(self, node);
    return peer != NULL && peer->since_ns != 0 && now_ns - peer->since_ns >= interval_ns &&
           now_ns - peer->asked_ns < interval_ns;
}

bool session_silences_answered_none_since(const struct session_silences *self, struct node_id node,
                                          uint64_t sent_ns) {
    const struct session_silence *peer = find(self, node);
    return peer != NULL && peer->since_ns != 0 && peer->since_ns <= sent_ns;
}
