// SPDX-License-Identifier: Apache-2.0
// The clock is read at each call, which a vDSO makes cheap against a row's own cost.
#include "api/cli/progress.h"

#include "api/cli/text.h"

#include <time.h>

enum { PROGRESS_BAR = 24, PROGRESS_INTERVAL_MS = 100 };

uint64_t progress_now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void progress_init(struct progress *self, struct cli *cli, const char *unit) {
    *self = (struct progress){.cli = cli, .unit = unit, .begin_ns = progress_now_ns()};
}

static void bar(FILE *out, uint32_t permille) {
    uint32_t filled = permille * PROGRESS_BAR / 1000;
    (void)fputc('[', out);
    for (uint32_t i = 0; i < PROGRESS_BAR; i++) {
        (void)fputc(i < filled ? '#' : '.', out);
    }
    (void)fprintf(out, "] %3u %%  ", permille / 10);
}

void progress_show(struct progress *self, uint64_t count, uint32_t permille) {
    struct cli *cli = self->cli;
    if (cli->quiet || !cli->err_terminal) { return; }
    uint64_t now = progress_now_ns();
    if (now - (self->shown_ns != 0 ? self->shown_ns : self->begin_ns) <
        PROGRESS_INTERVAL_MS * UINT64_C(1000000)) {
        return;
    }
    self->shown_ns = now;
    char text[TEXT_SIZE];
    char rate[TEXT_SIZE];
    uint64_t elapsed_ms = (now - self->begin_ns) / 1000000;
    (void)fputs("\r\033[K", cli->err);
    if (permille > 0) { bar(cli->err, permille > 1000 ? 1000 : permille); }
    (void)fprintf(cli->err, "%s %s, %s a second", text_format_count(count, text), self->unit,
                  text_format_count(elapsed_ms == 0 ? 0 : count * 1000 / elapsed_ms, rate));
    (void)fflush(cli->err);
}

void progress_end(struct progress *self) {
    if (self->shown_ns == 0) { return; }
    (void)fputs("\r\033[K", self->cli->err);
    (void)fflush(self->cli->err);
    self->shown_ns = 0;
}
