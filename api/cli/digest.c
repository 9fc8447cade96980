// SPDX-License-Identifier: Apache-2.0
// Two checksums of different families: one could meet its blind spot, both hardly. Sizes go into
// the CRC before the bytes, so that moving a byte from a key to its value changes it; the hash
// chains key and value separately, which does the same.
#include "api/cli/digest.h"

#include "dataplane/base/checksum.h"

#include <inttypes.h>
#include <stdio.h>

void digest_init(struct digest *self) {
    *self = (struct digest){0};
}

static uint32_t extend(uint32_t crc, struct slice part) {
    uint8_t size[8];
    for (size_t i = 0; i < sizeof(size); i++) {
        size[i] = (uint8_t)((uint64_t)part.size >> (8 * i));
    }
    return crc32c_extend(crc32c_extend(crc, slice_make(size, sizeof(size))), part);
}

void digest_add(struct digest *self, struct slice key, struct slice value) {
    self->rows++;
    self->bytes += key.size + value.size;
    self->crc = extend(extend(self->crc, key), value);
    self->hash = hash64(value, hash64(key, self->hash));
}

char *digest_format(const struct digest *self, char out[DIGEST_TEXT_SIZE]) {
    (void)snprintf(out, DIGEST_TEXT_SIZE, "%08" PRIx32 "-%016" PRIx64, self->crc, self->hash);
    return out;
}
