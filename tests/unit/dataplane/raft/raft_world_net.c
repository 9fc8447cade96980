// SPDX-License-Identifier: Apache-2.0
// The network between the cores of a test's world: packets that wait in one queue until the test
// moves them, and what their receivers do with them.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/unit/dataplane/raft/raft_world_internal.h"

enum { WORLD_DECODE_MAX = RAFT_APPEND_ENTRIES_MAX };

static const char *const message_names[RAFT_MESSAGE_TYPE_COUNT] = {
    "PREVOTE", "PREVOTE_REPLY", "VOTE",        "VOTE_REPLY",
    "APPEND",  "APPEND_REPLY",  "TIMEOUT_NOW", "SNAPSHOT_OFFER"};
static const char *const role_names[RAFT_ROLE_COUNT] = {"follower", "precandidate", "candidate",
                                                        "leader"};

const char *world_message_name(enum raft_message_type type) {
    return message_names[type];
}

const char *world_role_name(enum raft_role role) {
    return role_names[role];
}

// --- network

void world__packet_add(struct world *self, struct world_packet *packet) {
    if (self->cut[packet->from][packet->to]) {
        bytes_unref(packet->body);
        mem_free(packet);
        return;
    }
    struct world_packet **tail = &self->packets;
    while (*tail != NULL) {
        tail = &(*tail)->next;
    }
    packet->next = NULL;
    *tail = packet;
    self->packet_count++;
}

static void packet_take(struct world *self, struct world_packet *packet) {
    struct world_packet **at = &self->packets;
    while (*at != packet) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = packet->next;
    self->packet_count--;
}

static void packet_free(struct world_packet *packet) {
    bytes_unref(packet->body);
    mem_free(packet);
}

struct world_packet *world__packet_make(struct world_node *node, enum world_packet_kind kind,
                                        uint32_t to) {
    struct world_packet *packet = mem_alloc(sizeof(*packet));
    packet->kind = kind;
    packet->from = node->number;
    packet->to = to;
    return packet;
}

static void trace_message(struct world_node *node, const struct raft_message *m) {
    FILE *out = node->world->trace;
    if (out == NULL) { return; }
    fprintf(out, "  %u", m->from.v);
    if (m->from_incarnation != 1) {
        fprintf(out, "#%llu", (unsigned long long)m->from_incarnation);
    }
    fprintf(out, "->%u", m->to.v);
    if (m->to_incarnation != 1) { fprintf(out, "#%llu", (unsigned long long)m->to_incarnation); }
    fprintf(out, " %s term=%llu", message_names[m->type], (unsigned long long)m->term);
    if (m->type == RAFT_VOTE_REQUEST || m->type == RAFT_PREVOTE_REQUEST) {
        fprintf(out, " last=%llu/%llu%s", (unsigned long long)m->index,
                (unsigned long long)m->index_term, m->transfer ? " transfer" : "");
    } else if (m->type == RAFT_VOTE_REPLY || m->type == RAFT_PREVOTE_REPLY) {
        fprintf(out, "%s", m->reject ? " refused" : " granted");
    } else if (m->type == RAFT_APPEND_REQUEST) {
        fprintf(out, " prev=%llu/%llu commit=%llu", (unsigned long long)m->index,
                (unsigned long long)m->index_term, (unsigned long long)m->commit);
        if (m->entry_count > 0) {
            fprintf(out, " entries=%llu..%llu", (unsigned long long)m->index + 1,
                    (unsigned long long)m->index + m->entry_count);
        }
        if (m->read_round > 0) { fprintf(out, " round=%llu", (unsigned long long)m->read_round); }
    } else if (m->type == RAFT_APPEND_REPLY) {
        if (m->reject) {
            fprintf(out, " refused=%llu hint=%llu/%llu", (unsigned long long)m->commit,
                    (unsigned long long)m->index, (unsigned long long)m->index_term);
        } else {
            fprintf(out, " match=%llu received=%llu", (unsigned long long)m->index,
                    (unsigned long long)m->commit);
        }
        if (m->read_round > 0) { fprintf(out, " round=%llu", (unsigned long long)m->read_round); }
        if (m->wants_snapshot) {
            fprintf(out, "%s wants=%llu", m->damaged ? " damaged" : "",
                    (unsigned long long)m->wanted_index);
        }
        if (m->support_epoch != 0) {
            fprintf(out, " fortifies=%llu.%llu", (unsigned long long)(m->support_epoch >> 32),
                    (unsigned long long)(m->support_epoch & UINT32_MAX));
        }
    }
    fputc('\n', out);
}

void world__send_message(struct world_node *node, const struct raft_message *message,
                         uint64_t first_index) {
    static struct log_entry entries[WORLD_DECODE_MAX];
    struct raft_message out = *message;
    ASSERT(out.entry_count <= WORLD_DECODE_MAX);
    for (uint32_t i = 0; i < out.entry_count; i++) {
        const struct log_entry *entry = raft_entry(node->core, first_index + i);
        ASSERT(entry != NULL);
        entries[i] = *entry;  // borrowed for the encoding
    }
    out.entries = out.entry_count > 0 ? entries : NULL;
    out.sequence = support_next_sequence(&node->support);
    struct buf buf;
    buf_init(&buf, 64 << 20);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    raft_message_encode(&w, &out);
    ASSERT(w.status == STATUS_OK);
    struct world_packet *packet = world__packet_make(node, WORLD_RAFT, out.to.v);
    packet->type = out.type;
    packet->to_incarnation = out.to_incarnation;
    packet->body = bytes_copy(buf_slice(&buf));
    buf_deinit(&buf);
    trace_message(node, &out);
    world__packet_add(node->world, packet);
}

void world__hold(struct world_node *node, const struct raft_action *action) {
    ASSERT(action->u.send.message.entry_count == 0);
    struct world_held *held = mem_alloc(sizeof(*held));
    held->after_sequence = action->u.send.after_sequence;
    held->message = action->u.send.message;
    struct world_held **tail = &node->held;
    while (*tail != NULL) {
        ASSERT((*tail)->after_sequence <= held->after_sequence);
        tail = &(*tail)->next;
    }
    *tail = held;
    if (node->world->trace != NULL) {
        fprintf(node->world->trace, "  %u holds %s for %u until write %llu\n", node->number,
                message_names[held->message.type], held->message.to.v,
                (unsigned long long)held->after_sequence);
    }
}

void world__release_held(struct world_node *node, uint64_t sequence) {
    while (node->held != NULL && node->held->after_sequence <= sequence) {
        struct world_held *held = node->held;
        node->held = held->next;
        world__send_message(node, &held->message, 0);
        mem_free(held);
    }
}

// --- delivery

static void deliver_raft(struct world_node *node, struct world_packet *packet) {
    static struct log_entry entries[WORLD_DECODE_MAX];
    struct codec_reader r;
    codec_reader_init(&r, bytes_slice(packet->body));
    struct raft_message message = {0};
    enum status st = raft_message_decode(&r, packet->body, &message, entries, WORLD_DECODE_MAX);
    ASSERT(st == STATUS_OK);
    st = codec_finish(&r);
    ASSERT(st == STATUS_OK);
    message.from.v = packet->from;
    message.to.v = packet->to;
    struct raft_event event = {.type = RAFT_EVENT_MESSAGE};
    event.u.message = &message;
    uint32_t count = message.entry_count;
    st = world_step(node, &event);
    // Of another incarnation, or a reply of one that is no member any more.
    if (st == STATUS_NOT_FOUND) { st = STATUS_OK; }
    if (st != STATUS_OK) {
        // Every message here was made by a core: one that is refused shows a fault.
        trace_message(world_at(node->world, packet->from), &message);
        fprintf(stderr, "%s refused by %u: %s term=%llu index=%llu/%llu commit=%llu\n",
                message_names[message.type], node->number, status_name(st),
                (unsigned long long)message.term, (unsigned long long)message.index,
                (unsigned long long)message.index_term, (unsigned long long)message.commit);
    }
    ASSERT(st == STATUS_OK);
    for (uint32_t i = 0; i < count; i++) {
        log_entry_unref(&entries[i]);
    }
}

static void leader_lost(struct world_node *node, uint32_t who, uint64_t term, uint64_t sequence) {
    struct raft_event event = {.type = RAFT_EVENT_LEADER_LOST};
    event.u.lost.node.v = who;
    event.u.lost.term = term;
    event.u.lost.sequence = sequence;
    enum status st = world_step(node, &event);
    ASSERT(st == STATUS_OK);
}

static void deliver_support_request(struct world_node *node, struct world_packet *packet) {
    struct codec_reader r;
    codec_reader_init(&r, bytes_slice(packet->body));
    struct support_request request;
    enum status st = support_request_decode(&r, &request);
    ASSERT(st == STATUS_OK);
    struct support_reply reply;
    bool new_boot = false;
    uint64_t now = world_node_now(node);
    support_on_request(&node->support, (struct node_id){packet->from}, &request, now, now / 1000,
                       &reply, &new_boot);
    if (new_boot) { leader_lost(node, packet->from, 0, 0); }
    struct buf buf;
    buf_init(&buf, 1024);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    support_reply_encode(&w, &reply);
    struct world_packet *back = world__packet_make(node, WORLD_SUPPORT_REPLY, packet->from);
    back->body = bytes_copy(buf_slice(&buf));
    buf_deinit(&buf);
    world__packet_add(node->world, back);
}

static void deliver_support_reply(struct world_node *node, struct world_packet *packet) {
    struct codec_reader r;
    codec_reader_init(&r, bytes_slice(packet->body));
    struct support_reply reply;
    enum status st = support_reply_decode(&r, &reply);
    ASSERT(st == STATUS_OK);
    uint64_t now = world_node_now(node);
    struct node_id from = {packet->from};
    uint64_t before = support_find(&node->support, from)->held_epoch;
    support_on_reply(&node->support, from, &reply, now, now / 1000);
    bool changed = support_find(&node->support, from)->held_epoch != before;
    if (changed && raft_is_leader(node->core)) { world_tick(node); }
}

static void deliver_leads(struct world_node *node, struct world_packet *packet) {
    bool leads = packet->term != 0;
    if (leads || raft_leader(node->core).v != packet->from) { return; }
    leader_lost(node, packet->from, raft_term(node->core), packet->sequence);
}

static void deliver_frontier(struct world_node *node, struct world_packet *packet) {
    struct raft_event event = {.type = RAFT_EVENT_FRONTIER};
    event.u.frontier.from.v = packet->from;
    event.u.frontier.term = packet->term;
    event.u.frontier.commit = packet->commit;
    enum status st = world_step(node, &event);
    ASSERT(st == STATUS_OK);
}

void world_deliver(struct world *self, struct world_packet *packet) {
    packet_take(self, packet);
    struct world_node *node = world_at(self, packet->to);
    if (packet->to_incarnation > node->incarnation) {
        world__open_wanted(self, packet->to, packet->to_incarnation);
    }
    if (node->up && !node->paused) {
        switch (packet->kind) {
        case WORLD_RAFT:
            deliver_raft(node, packet);
            break;
        case WORLD_SUPPORT_REQUEST:
            deliver_support_request(node, packet);
            break;
        case WORLD_SUPPORT_REPLY:
            deliver_support_reply(node, packet);
            break;
        case WORLD_LEADS:
            deliver_leads(node, packet);
            break;
        case WORLD_FRONTIER:
            deliver_frontier(node, packet);
            break;
        case WORLD_SNAPSHOT:
            world__deliver_snapshot(node, packet);
            break;
        case WORLD_SNAPSHOT_REPLY:
            world__deliver_snapshot_reply(node, packet);
            break;
        }
    }
    packet_free(packet);
}

void world_drop(struct world *self, struct world_packet *packet) {
    packet_take(self, packet);
    packet_free(packet);
}

struct world_packet *world_duplicate(struct world *self, const struct world_packet *packet) {
    struct world_packet *copy = mem_alloc(sizeof(*copy));
    *copy = *packet;
    if (copy->body != NULL) { bytes_ref(copy->body); }
    world__packet_add(self, copy);
    return copy;
}

struct world_packet *world_find(struct world *self, uint32_t from, uint32_t to, int type) {
    for (struct world_packet *p = self->packets; p != NULL; p = p->next) {
        if (from != 0 && p->from != from) { continue; }
        if (to != 0 && p->to != to) { continue; }
        if (type >= 0 && (p->kind != WORLD_RAFT || (int)p->type != type)) { continue; }
        return p;
    }
    return NULL;
}

bool world_settle(struct world *self) {
    for (uint32_t i = 0; i < 100000; i++) {
        bool moved = false;
        if (self->packets != NULL) {
            world_deliver(self, self->packets);
            moved = true;
        }
        for (uint32_t k = 0; k < self->count; k++) {
            if (!self->nodes[k].up || self->nodes[k].writes == NULL) { continue; }
            world_sync(&self->nodes[k], 1);
            moved = true;
        }
        for (uint32_t k = 0; k < self->count && !self->install_by_hand; k++) {
            if (!self->nodes[k].up || self->nodes[k].receiving.index == 0) { continue; }
            world_install(&self->nodes[k]);
            moved = true;
        }
        if (!moved) { return true; }
    }
    return false;
}

void world_send_support(struct world_node *node, uint32_t to) {
    if (node->support.withhold) { return; }
    struct support_request request;
    uint64_t now = world_node_now(node);
    support_make_request(&node->support, now, now / 1000, &request);
    struct buf buf;
    buf_init(&buf, 1024);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    support_request_encode(&w, &request);
    struct world_packet *packet = world__packet_make(node, WORLD_SUPPORT_REQUEST, to);
    packet->body = bytes_copy(buf_slice(&buf));
    buf_deinit(&buf);
    world__packet_add(node->world, packet);
}

void world_send_leads(struct world_node *node, uint32_t to) {
    struct world_packet *packet = world__packet_make(node, WORLD_LEADS, to);
    packet->term = raft_is_leader(node->core) ? raft_term(node->core) : 0;
    packet->sequence = support_next_sequence(&node->support);
    world__packet_add(node->world, packet);
}

void world_send_frontier(struct world_node *node, uint32_t to) {
    if (!raft_is_leader(node->core)) { return; }
    struct world_packet *packet = world__packet_make(node, WORLD_FRONTIER, to);
    packet->term = raft_term(node->core);
    packet->commit = raft_commit_index(node->core);
    world__packet_add(node->world, packet);
}

static void support_one_way(struct world *self, uint32_t from, uint32_t to) {
    if (!world_at(self, from)->up || !world_at(self, to)->up) { return; }
    if (world_at(self, from)->paused || world_at(self, to)->paused) { return; }
    if (self->cut[from][to] || self->cut[to][from]) { return; }
    // Past the queue, so that packets under way stay where they are.
    struct world_packet *waiting = self->packets;
    uint32_t waiting_count = self->packet_count;
    self->packets = NULL;
    self->packet_count = 0;
    world_send_support(world_at(self, from), to);
    while (self->packets != NULL && self->packets->kind != WORLD_RAFT) {
        world_deliver(self, self->packets);
    }
    // What the exchange set off comes after what was under way.
    struct world_packet **tail = &waiting;
    while (*tail != NULL) {
        tail = &(*tail)->next;
    }
    *tail = self->packets;
    self->packets = waiting;
    self->packet_count += waiting_count;
}

void world_support(struct world *self, uint32_t a, uint32_t b) {
    support_one_way(self, a, b);
    support_one_way(self, b, a);
}

void world_support_all(struct world *self) {
    for (uint32_t a = 1; a <= self->count; a++) {
        for (uint32_t b = a + 1; b <= self->count; b++) {
            world_support(self, a, b);
        }
    }
}
