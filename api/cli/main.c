// SPDX-License-Identifier: Apache-2.0
// The streams and the terminal; everything else is cli_run.
#include "api/cli/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

// Columns of the terminal behind out; $COLUMNS wins, as everywhere.
static uint32_t terminal_width(void) {
    const char *columns = getenv("COLUMNS");
    uint64_t number = 0;
    if (columns != NULL && args_parse_number(columns, &number) == STATUS_OK && number <= 10000) {
        return (uint32_t)number;
    }
    struct winsize size = {0};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

int main(int argc, char **argv) {
    const char *no_colour = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    struct cli cli = {
        .in = stdin,
        .out = stdout,
        .err = stderr,
        .in_terminal = isatty(STDIN_FILENO) == 1,
        .out_terminal = isatty(STDOUT_FILENO) == 1,
        .err_terminal = isatty(STDERR_FILENO) == 1,
        .colour = (no_colour == NULL || no_colour[0] == '\0') &&
                  (terminal == NULL || strcmp(terminal, "dumb") != 0),
        .width = terminal_width(),
    };
    // A reader that went away is an error of the write, not a death.
    (void)signal(SIGPIPE, SIG_IGN);
    return (int)cli_run(&cli, argc, argv);
}
