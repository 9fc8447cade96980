// SPDX-License-Identifier: Apache-2.0
//
// Design note. What can be said of a message without looking at the log: its numbers are ones a
// correct peer can have, its entries are contiguous and their terms do not fall, it names this
// replica, and a reply comes from a peer. Handlers behind this door may compute with the fields
// without fear of overflow. A message to another replica, another incarnation of this one
// included, and a reply of a stranger are STATUS_NOT_FOUND, since their sender may be a correct
// node with another view of the membership; everything else refused here is STATUS_CORRUPT.
#include "dataplane/raft/raft_internal.h"

static bool raft_is_reply(enum raft_message_type type) {
    return type == RAFT_PREVOTE_REPLY || type == RAFT_VOTE_REPLY || type == RAFT_APPEND_REPLY;
}

static bool raft_numbers_sane(const struct raft_message *m) {
    if (m->from_incarnation == 0 || m->to_incarnation == 0) { return false; }
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
        struct raft_membership membership;
        bool config = entry->kind == LOG_ENTRY_CONFIG;
        if (config && raft__config_decode(entry, &membership) != STATUS_OK) { return false; }
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
        return empty && m->wanted_index <= RAFT_NUMBER_MAX && (m->wants_snapshot || !m->damaged);
    case RAFT_TIMEOUT_NOW:
        return empty && m->sequence != 0;
    case RAFT_SNAPSHOT_OFFER:
        return empty && m->index > 0 && m->index_term > 0;
    case RAFT_MESSAGE_TYPE_COUNT:
        break;
    }
    return false;
}

// Requests of others are answered, since they may know of a newer membership (Ongaro 4.1); replies
// count for what was asked of a peer, and only of that incarnation of it.
static bool raft_is_for_me(struct raft_core *core, const struct raft_message *m) {
    if (!node_id_equal(m->to, core->config.self)) { return false; }
    bool other = m->to_incarnation != core->config.incarnation;
    if (other && !MUTANT(OLD_INCARNATION_COUNTS)) { return false; }
    return m->from.v != 0 && (!raft_is_reply(m->type) || raft__sender(core, m) != NULL);
}

enum status raft__message_check(struct raft_core *core, const struct raft_message *m) {
    if ((unsigned)m->type >= RAFT_MESSAGE_TYPE_COUNT) { return STATUS_CORRUPT; }
    if (node_id_equal(m->from, m->to)) { return STATUS_CORRUPT; }
    if (!raft_numbers_sane(m) || !raft_fields_sane(m)) {
        MARK("raft.message.corrupt");
        return STATUS_CORRUPT;
    }
    if (!raft_is_for_me(core, m)) {
        MARK("raft.message.of_stranger");
        return STATUS_NOT_FOUND;
    }
    return STATUS_OK;
}
