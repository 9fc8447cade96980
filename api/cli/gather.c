// SPDX-License-Identifier: Apache-2.0
// One node after the other: what is asked for is small, and the order of the answers stays that of
// the nodes. Nodes that hang are what such questions are asked for, so each gets a share of the
// time only.
#include "api/cli/gather.h"

#include "dataplane/base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { GATHER_TIMEOUT_MS = 2000 };

static void ask_node(struct cli *cli, struct session *session,
                     const struct gather_question *question, struct gather_answer *out) {
    struct err err = {0};
    const struct lc_admin_call call = {
        .method = question->method,
        .request = question->request,
        .response = question->response,
        .node = out->node,
        .timeout_ms = cli->timeout_ms < GATHER_TIMEOUT_MS ? cli->timeout_ms : GATHER_TIMEOUT_MS};
    out->status = lc_admin(session->client, &call, &out->response, &err);
    if (out->status == STATUS_OK) { return; }
    out->response = NULL;
    (void)snprintf(out->error, sizeof(out->error), "%.255s", err.message);
}

// The nodes to ask, without their answers.
static enum cli_exit name_nodes(struct cli *cli, struct session *session, uint32_t only,
                                struct gather *out) {
    Lightcone__V1__NodeListRequest request = LIGHTCONE__V1__NODE_LIST_REQUEST__INIT;
    Lightcone__V1__NodeListResponse *list = NULL;
    struct err err = {0};
    if (only == 0 && lc_admin_node_list(session->client, 0, &request, &list, &err) != STATUS_OK) {
        return cli_fail_err(cli, &err, NULL);
    }
    out->count = only != 0 ? 1 : list->n_nodes;
    out->answers = mem_alloc_array(out->count, sizeof(out->answers[0]));
    for (size_t i = 0; i < out->count; i++) {
        out->answers[i].node = only != 0 ? only : list->nodes[i]->id;
    }
    lightcone__v1__node_list_response__free_unpacked(list, NULL);
    return CLI_OK;
}

enum cli_exit gather_ask(struct cli *cli, struct session *session,
                         const struct gather_question *question, struct gather *out) {
    *out = (struct gather){0};
    const enum cli_exit exit = name_nodes(cli, session, question->node, out);
    if (exit != CLI_OK) { return exit; }
    const struct gather_answer *last = NULL;
    for (size_t i = 0; i < out->count; i++) {
        ask_node(cli, session, question, &out->answers[i]);
        out->answered += out->answers[i].response != NULL ? 1 : 0;
        last = &out->answers[i];
    }
    if (out->answered > 0) { return CLI_OK; }
    // The same wrong request fails at all of them: the last one's words will do.
    const struct cli_error error = {.status = last != NULL ? last->status : STATUS_UNAVAILABLE,
                                    .message =
                                        last != NULL ? last->error : "the cluster has no nodes",
                                    .hint = "lightcone node list; lightcone dev status"};
    const enum cli_exit failed = cli_fail(cli, &error);
    gather_deinit(out);
    return failed;
}

void gather_deinit(struct gather *self) {
    for (size_t i = 0; i < self->count; i++) {
        ProtobufCMessage *response = self->answers[i].response;
        if (response != NULL) { protobuf_c_message_free_unpacked(response, NULL); }
    }
    mem_free(self->answers);
    *self = (struct gather){0};
}

void gather_note_silent(struct cli *cli, const struct gather *self) {
    for (size_t i = 0; i < self->count; i++) {
        const struct gather_answer *answer = &self->answers[i];
        if (answer->response != NULL) { continue; }
        cli_note(cli, "node %" PRIu32 " did not answer: %s", answer->node, answer->error);
    }
}

json_t *gather_nodes_json(const struct gather *self) {
    json_t *nodes = json_array();
    for (size_t i = 0; i < self->count; i++) {
        json_t *node = json_object();
        cli_json_u64(node, "node", self->answers[i].node);
        if (self->answers[i].response == NULL) {
            cli_json_string(node, "error", self->answers[i].error);
        }
        (void)json_array_append_new(nodes, node);
    }
    return nodes;
}
