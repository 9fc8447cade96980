// SPDX-License-Identifier: Apache-2.0
// help.h - help texts, made from the table of commands.
// Invariants: every command and option of the table is shown; lines have at most 80 columns.
// Ownership:  nothing is kept.
// Thread:     one.
// See:        api/cli/commands.h; tests/unit/api/cli/help_test.c
#pragma once

#include "api/cli/cli.h"

void help_overview(struct cli *cli, FILE *out);
void help_noun(struct cli *cli, const char *noun, FILE *out);
// On cli->out.
void help_command(struct cli *cli, const struct cli_command *command);
