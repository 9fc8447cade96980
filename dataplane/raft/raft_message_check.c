// SPDX-License-Identifier: Apache-2.0
//
// Design note. What can be said of a message without looking at the log: it names this replica and
// a member, its numbers are ones a correct peer can have, its entries are contiguous and their
// terms do not fall. Handlers behind this door may compute with the fields without fear of
// overflow. A sender or receiver outside the membership is STATUS_NOT_FOUND, since it may be a
// correct node with another view of the membership; everything else refused here is
// STATUS_CORRUPT.
#include "dataplane/raft/raft_internal.h"

static bool raft_is_member(const struct raft_core *core, struct node_id node) {
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (node_id_equal(core->peers[i].node, node)) { return true; }
    }
    return false;
}

static bool raft_numbers_sane(const struct raft_message *m) {
    // term + 1 of a pre-vote may be one more than any term.
    if (m->term == 0 || m->term > RAFT_NUMBER_MAX) { return false; }
    if (m->index > RAFT_NUMBER_MAX || m->commit > RAFT_NUMBER_MAX) { return false; }
    return m->index_term <= m->term;
}

static bool raft_entries_sane(const struct raft_message *m) {
    if (m->entry_count > RAFT_APPEND_ENTRIES_MAX) { return false; }
    if (m->entry_count > 0 && m->entries == NULL) { return false; }
    if (m->index + m->entry_count > RAFT_NUMBER_MAX) { return false; }
    uint64_t term = m->index_term;
    for (uint32_t i = 0; i < m->entry_count; i++) {
        const struct log_entry *entry = &m->entries[i];
        if (entry->index != m->index + 1 + i) { return false; }
        if (entry->term < term || entry->term == 0 || entry->term > m->term) { return false; }
        term = entry->term;
    }
    return true;
}

static bool raft_fields_sane(const struct raft_message *m) {
    bool empty = m->entry_count == 0;
    bool position = (m->index == 0) == (m->index_term == 0);
    switch (m->type) {
    case RAFT_PREVOTE_REQUEST:
    case RAFT_VOTE_REQUEST:
        // The last entry was written in an earlier term than the one asked for.
        return empty && position && m->index_term < m->term &&
               m->transfer == (m->transfer_sequence != 0) &&
               (m->type == RAFT_VOTE_REQUEST || !m->transfer);
    case RAFT_PREVOTE_REPLY:
    case RAFT_VOTE_REPLY:
        return empty;
    case RAFT_APPEND_REQUEST:
        return position && raft_entries_sane(m);
    case RAFT_APPEND_REPLY:
        return empty;
    case RAFT_TIMEOUT_NOW:
        return empty && m->sequence != 0;
    case RAFT_MESSAGE_TYPE_COUNT:
        break;
    }
    return false;
}

enum status raft__message_check(const struct raft_core *core, const struct raft_message *m) {
    if ((unsigned)m->type >= RAFT_MESSAGE_TYPE_COUNT) { return STATUS_CORRUPT; }
    if (node_id_equal(m->from, m->to)) { return STATUS_CORRUPT; }
    if (!node_id_equal(m->to, core->config.self) || !raft_is_member(core, m->from)) {
        MARK("raft.message.of_stranger");
        return STATUS_NOT_FOUND;
    }
    if (!raft_numbers_sane(m) || !raft_fields_sane(m)) {
        MARK("raft.message.corrupt");
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}
