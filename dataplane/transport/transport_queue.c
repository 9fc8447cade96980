// SPDX-License-Identifier: Apache-2.0
// Design: messages are copied once, into the open frame, in the form in which they will leave. A
// frame is closed when it is full or when the socket takes it; while a peer is slow or away its
// frames fill up to the target, so that there are never many of them and a walk over them is cheap.
//
// Room is made by rewriting the oldest closed frame without its resendable messages, the whole
// frame at once: each message is looked at once in its life, and the space won is large compared
// with one message. The open frame is left alone: it holds the newest, and rewriting it for each
// push would cost the square. What is taken may be half in the kernel and cannot change.
#include "dataplane/transport/transport_queue.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/transport/transport_frame.h"

#include <string.h>

enum { POOLED_CAPACITY_MAX = 2 * TRANSPORT_FRAME_TARGET };

bool transport_message_is_resendable(enum peer_message_type type) {
    switch (type) {
    case PEER_SUPPORT_REQUEST:
    case PEER_SUPPORT_REPLY:
    case PEER_LEADS:
    case PEER_RAFT:
    case PEER_FRONTIER:
    case PEER_SNAPSHOT:
    case PEER_SNAPSHOT_REPLY:
    case PEER_DIGEST:
        return true;
    case PEER_REQUEST:
    case PEER_RESPONSE:
    case PEER_CATALOG:
    case PEER_JOIN:
    case PEER_STATUS:
    case PEER_MESSAGE_TYPE_COUNT:
        break;
    }
    return false;
}

// ------------------------------------------------------------------------ frames

void transport_pool_init(struct transport_pool *self) {
    *self = (struct transport_pool){0};
}

static void frame_free(struct transport_frame *frame) {
    buf_deinit(&frame->buf);
    mem_free(frame);
}

void transport_pool_deinit(struct transport_pool *self) {
    while (self->first != NULL) {
        struct transport_frame *frame = self->first;
        self->first = frame->next;
        frame_free(frame);
    }
    self->count = 0;
}

struct transport_frame *transport_frame_acquire(struct transport_pool *pool) {
    struct transport_frame *frame = pool->first;
    if (frame != NULL) {
        pool->first = frame->next;
        pool->count--;
    } else {
        frame = mem_alloc(sizeof(*frame));
        buf_init(&frame->buf, TRANSPORT_FRAME_HEADER_SIZE + TRANSPORT_PAYLOAD_SIZE_MAX);
    }
    const uint8_t header[TRANSPORT_FRAME_HEADER_SIZE] = {0};
    buf_reset(&frame->buf);
    if (buf_append(&frame->buf, slice_make(header, sizeof(header))) != STATUS_OK) {
        FATAL("no memory for a frame's header");
    }
    frame->next = NULL;
    frame->queue = NULL;
    frame->messages = 0;
    frame->resendable = 0;
    return frame;
}

void transport_frame_release(struct transport_pool *pool, struct transport_frame *frame) {
    if (frame->queue != NULL) {
        ASSERT(frame->queue->bytes >= frame->buf.size);
        frame->queue->bytes -= frame->buf.size;
    }
    if (pool->count >= TRANSPORT_POOL_COUNT_MAX || frame->buf.capacity > POOLED_CAPACITY_MAX) {
        frame_free(frame);
        return;
    }
    frame->next = pool->first;
    pool->first = frame;
    pool->count++;
}

// ------------------------------------------------------------------------ queue

void transport_queue_init(struct transport_queue *self, struct transport_pool *pool,
                          size_t bytes_max) {
    // Several frames under a small maximum too, so that there is something old to throw out.
    size_t target = bytes_max / 8;
    if (target > TRANSPORT_FRAME_TARGET) { target = TRANSPORT_FRAME_TARGET; }
    *self = (struct transport_queue){.pool = pool, .frame_target = target};
}

void transport_queue_deinit(struct transport_queue *self) {
    (void)transport_queue_clear(self);
    ASSERT(self->bytes == 0);  // every taken frame was released
}

static void close_open(struct transport_queue *self) {
    struct transport_frame *frame = self->open;
    if (frame == NULL) { return; }
    self->open = NULL;
    if (self->last == NULL) {
        self->first = frame;
    } else {
        self->last->next = frame;
    }
    self->last = frame;
}

// Rewrites a frame in place without its resendable messages.
static void strip(struct transport_queue *self, struct transport_frame *frame) {
    size_t before = frame->buf.size;
    size_t kept = TRANSPORT_FRAME_HEADER_SIZE;
    struct codec_reader reader;
    codec_reader_init(&reader, slice_make(frame->buf.data + kept, before - kept));
    while (codec_remaining(&reader) > 0) {
        const uint8_t *item_begin = frame->buf.data + (before - codec_remaining(&reader));
        struct transport_item item = transport_item_get(&reader);
        ASSERT(reader.status == STATUS_OK);
        if (transport_message_is_resendable((enum peer_message_type)item.type)) { continue; }
        size_t item_size = transport_item_size(item.body.size);
        memmove(frame->buf.data + kept, item_begin, item_size);
        kept += item_size;
    }
    frame->buf.size = kept;
    self->bytes -= before - kept;
    self->dropped += frame->resendable;
    frame->messages -= frame->resendable;
    frame->resendable = 0;
}

static bool has_room(const struct transport_queue *self, size_t more, size_t bytes_max) {
    return self->bytes <= bytes_max && more <= bytes_max - self->bytes;
}

static void make_room(struct transport_queue *self, size_t more, size_t bytes_max) {
    struct transport_frame **link = &self->first;
    struct transport_frame *previous = NULL;
    while (*link != NULL && !has_room(self, more, bytes_max)) {
        struct transport_frame *frame = *link;
        if (frame->resendable > 0) { strip(self, frame); }
        if (frame->messages > 0) {
            previous = frame;
            link = &frame->next;
            continue;
        }
        *link = frame->next;
        if (self->last == frame) { self->last = previous; }
        transport_frame_release(self->pool, frame);
    }
}

enum status transport_queue_push(struct transport_queue *self, enum peer_message_type type,
                                 struct slice body, size_t bytes_max) {
    ASSERT(body.size <= TRANSPORT_MESSAGE_SIZE_MAX);
    size_t size = transport_item_size(body.size);
    if (self->open != NULL && self->open->buf.size + size > self->frame_target) {
        close_open(self);
    }
    size_t more = size + (self->open == NULL ? TRANSPORT_FRAME_HEADER_SIZE : 0);
    if (!has_room(self, more, bytes_max)) { make_room(self, more, bytes_max); }
    struct transport_frame *frame = self->open;
    enum status st = has_room(self, more, bytes_max) ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
    if (st != STATUS_OK) { goto out; }
    if (frame == NULL) { frame = transport_frame_acquire(self->pool); }
    st = transport_item_put(&frame->buf, (uint8_t)type, body);
    if (st != STATUS_OK) {
        // Only memory can be lacking here. A frame begun for this message goes again.
        if (self->open == NULL) { transport_frame_release(self->pool, frame); }
        goto out;
    }
    frame->queue = self;
    frame->messages++;
    frame->resendable += transport_message_is_resendable(type);
    self->open = frame;
    self->bytes += more;
out:
    if (st != STATUS_OK) { self->dropped++; }
    return st;
}

struct transport_frame *transport_queue_take(struct transport_queue *self) {
    if (self->first == NULL) { close_open(self); }
    struct transport_frame *frame = self->first;
    if (frame == NULL) { return NULL; }
    self->first = frame->next;
    if (self->first == NULL) { self->last = NULL; }
    frame->next = NULL;
    ASSERT(frame->messages > 0);
    transport_frame_seal(frame->buf.data, frame->buf.size);
    return frame;
}

uint64_t transport_queue_clear(struct transport_queue *self) {
    uint64_t messages = 0;
    close_open(self);
    while (self->first != NULL) {
        struct transport_frame *frame = self->first;
        self->first = frame->next;
        messages += frame->messages;
        transport_frame_release(self->pool, frame);
    }
    self->last = NULL;
    return messages;
}
