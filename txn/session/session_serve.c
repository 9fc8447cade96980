// SPDX-License-Identifier: Apache-2.0
// The replica's side of PEER_REQUEST: executed here or refused with what is known, never sent on.
// One hop keeps a wrong map visible to the gateway that has it, and makes loops impossible.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "txn/session/session_internal.h"

static void respond(struct session *self, struct node_id to, uint64_t id,
                    const struct command_response *answer) {
    struct command_response response = *answer;
    response.id = id;
    response.hlc = hlc_peek(self->config.hlc, session__wall(self));
    buf_reset(&self->message);
    struct codec_writer w;
    codec_writer_init(&w, &self->message);
    command_response_encode(&w, &response);
    // Without memory nothing is sent: to the gateway the answer is lost.
    if (w.status != STATUS_OK) { return; }
    env_send(self->config.env, to, PEER_RESPONSE, buf_slice(&self->message));
}

static void refuse(struct session *self, struct node_id to, uint64_t id, enum status status,
                   const char *detail) {
    const struct command_response answer = {.status = status, .detail = slice_from_string(detail)};
    respond(self, to, id, &answer);
}

static void served_end(struct session_served *served) {
    struct session *self = served->exec.session;
    session__exec_end(&served->exec);
    served->next_free = self->served_free;
    self->served_free = served;
    ASSERT(self->stats.served > 0);
    self->stats.served--;
}

static void served_done(struct session_exec *exec, const struct command_response *response) {
    struct session_served *served = (struct session_served *)(void *)exec;
    respond(exec->session, served->from, served->id, response);
    served_end(served);
}

static void serve(struct session *self, struct node_id from,
                  const struct command_request *request) {
    struct session_served *served = self->served_free;
    if (served == NULL) {
        self->stats.overloaded++;
        refuse(self, from, request->id, STATUS_OVERLOADED, "the node serves too many requests");
        return;
    }
    self->served_free = served->next_free;
    self->stats.served++;
    served->exec.session = self;
    served->exec.done = served_done;
    served->from = from;
    served->id = request->id;
    struct command_response response;
    if (session__exec(&served->exec, request, &response)) { served_done(&served->exec, &response); }
}

enum status session__on_request(struct session *self, struct node_id from, struct slice body) {
    struct command_request request;
    const enum status st = command_request_decode(body, &request);
    if (st != STATUS_OK) { return st; }
    if (!session_windows_accept(&self->windows, from, request.boot, request.sequence)) {
        MARK("session.duplicate_request");
        self->stats.duplicates++;
        return STATUS_OK;
    }
    // The clock of whoever resolves is above what it decided, so the mutant takes neither.
    const bool deaf = MUTANT(DECIDED_NOT_ADOPTED) && request.kind == COMMAND_RESOLVE;
    if (!deaf &&
        hlc_observe_peer(self->config.hlc, request.hlc, session__wall(self)) != STATUS_OK) {
        self->stats.clock_ahead++;
        refuse(self, from, request.id, STATUS_CLOCK_AHEAD,
               "the gateway's clock is too far ahead of the replica's");
        return STATUS_OK;
    }
    // Nobody waits any more: the answer alone would cost more than it is worth.
    if (request.budget_us == 0) { return STATUS_OK; }
    serve(self, from, &request);
    return STATUS_OK;
}
