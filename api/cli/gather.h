// SPDX-License-Identifier: Apache-2.0
// gather.h - one question of the Admin service to every node, and what each of them said.
// Invariants: every node of the catalogue has an answer or says why it has none; a node that is
//             silent costs a bounded time; whatever returns an exit code other than CLI_OK has
//             reported why.
// Ownership:  answers are the gather's until gather_deinit.
// Thread:     one.
// See:        api/cli/README.md
#pragma once

#include "api/cli/session.h"

struct gather_answer {
    uint32_t node;
    ProtobufCMessage *response;  // NULL = none, `error` says why
    enum status status;
    char error[256];
};

struct gather {
    struct gather_answer *answers;  // in order of node
    size_t count;
    size_t answered;
};

struct gather_question {
    const char *method;
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *response;
    uint32_t node;  // this one alone; 0 = all
};

// CLI_FAILED, reported, when the nodes are not known, when none answers, or when a node that was
// asked alone does not.
NODISCARD enum cli_exit gather_ask(struct cli *cli, struct session *session,
                                   const struct gather_question *question, struct gather *out);
void gather_deinit(struct gather *self);
// A remark for each node that did not answer.
void gather_note_silent(struct cli *cli, const struct gather *self);
// [{"node", "error"}], a member of those that answered without "error".
json_t *gather_nodes_json(const struct gather *self);
