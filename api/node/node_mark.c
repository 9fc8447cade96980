// SPDX-License-Identifier: Apache-2.0
// Design: two slots, each in a block of its own, written in turn and synced with one fdatasync: a
// write that is cut off harms the older of the two, and the other one stands. A file of fixed size
// is never renamed, so that a mark costs one sync, not four; there are two or three a second while
// a node is in use.
//
// A slot: an envelope (version 1, kind 'C') around u64 sequence, u64 mark.
#include "api/node/node_mark.h"

#include "dataplane/base/assert.h"
#include "dataplane/codec/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FORMAT_VERSION = 1,
    FORMAT_KIND = 'C',
    SLOT_SIZE = CODEC_ENVELOPE_SIZE + 16,
    SLOT_DISTANCE = 4096,
    SLOT_COUNT = 2,
    FILE_MODE = 0600,
    PATH_SIZE = 4200,
};

static enum status failed(const char *what, const char *path, struct err *err) {
    const enum status st = errno == ENOSPC || errno == EDQUOT ? STATUS_NO_SPACE : STATUS_IO;
    return err_set(err, st, "%.150s: %s: %s", path, what, strerrordesc_np(errno));
}

static void take_slot(struct node_mark *self, const uint8_t *bytes, size_t size) {
    static const uint8_t nothing[SLOT_SIZE];
    if (size < SLOT_SIZE || memcmp(bytes, nothing, SLOT_SIZE) == 0) { return; }
    uint8_t version = 0;
    uint8_t kind = 0;
    struct slice payload;
    struct codec_reader r;
    enum status st =
        codec_open(slice_make(bytes, SLOT_SIZE), FORMAT_VERSION, &version, &kind, &payload);
    if (st == STATUS_OK) { codec_reader_init(&r, payload); }
    const uint64_t sequence = st == STATUS_OK ? codec_get_u64(&r) : 0;
    const struct hlc_ts mark = {st == STATUS_OK ? codec_get_u64(&r) : 0};
    if (st == STATUS_OK) { st = codec_finish(&r); }
    if (st != STATUS_OK || kind != FORMAT_KIND || hlc_equal(mark, HLC_MAX)) {
        self->damaged = true;
        return;
    }
    if (sequence > self->sequence) { self->sequence = sequence; }
    self->mark = hlc_larger(self->mark, mark);
}

enum status node_mark_open(struct node_mark *self, const char *data_dir, struct err *err) {
    char path[PATH_SIZE];
    *self = (struct node_mark){.fd = -1};
    (void)snprintf(path, sizeof(path), "%s/" NODE_MARK_FILE, data_dir);
    self->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, FILE_MODE);
    if (self->fd < 0) { return failed("cannot be opened", path, err); }
    struct stat info;
    enum status st = STATUS_OK;
    if (fstat(self->fd, &info) != 0) {
        st = failed("cannot be examined", path, err);
    } else if (!S_ISREG(info.st_mode)) {
        st = err_set(err, STATUS_CORRUPT, "%.150s: is no regular file", path);
    }
    for (int slot = 0; slot < SLOT_COUNT && st == STATUS_OK; slot++) {
        uint8_t bytes[SLOT_SIZE];
        const ssize_t size = pread(self->fd, bytes, sizeof(bytes), (off_t)slot * SLOT_DISTANCE);
        if (size < 0) {
            st = failed("cannot be read", path, err);
        } else {
            take_slot(self, bytes, (size_t)size);
        }
    }
    if (st != STATUS_OK) { node_mark_close(self); }
    return st;
}

void node_mark_close(struct node_mark *self) {
    if (self->fd >= 0) { (void)close(self->fd); }
    self->fd = -1;
}

enum status node_mark_write(struct node_mark *self, struct hlc_ts mark) {
    ASSERT(self->fd >= 0);
    if (!hlc_before(self->mark, mark)) { return STATUS_OK; }
    struct buf payload;
    struct buf slot;
    struct codec_writer w;
    buf_init(&payload, SLOT_SIZE);
    buf_init(&slot, SLOT_SIZE);
    codec_writer_init(&w, &payload);
    codec_put_u64(&w, self->sequence + 1);
    codec_put_u64(&w, mark.v);
    ASSERT(w.status == STATUS_OK);
    enum status st = codec_seal(&slot, FORMAT_VERSION, FORMAT_KIND, buf_slice(&payload));
    ASSERT(st == STATUS_OK && slot.size == SLOT_SIZE);
    const off_t at = (off_t)((self->sequence + 1) % SLOT_COUNT) * SLOT_DISTANCE;
    // The slot is used up whatever comes of it: what it holds after a failed sync is unknown, and
    // the next write must not touch the other one. So it is written again.
    if (pwrite(self->fd, slot.data, slot.size, at) != (ssize_t)slot.size ||
        fdatasync(self->fd) != 0) {
        st = errno == ENOSPC || errno == EDQUOT ? STATUS_NO_SPACE : STATUS_IO;
    } else {
        self->sequence++;
        self->mark = mark;
    }
    buf_deinit(&payload);
    buf_deinit(&slot);
    return st;
}
