// SPDX-License-Identifier: Apache-2.0
// version.h - the version of the command.
// Invariants: major.minor, the same as the node says.
// Ownership:  a constant.
// Thread:     any.
// See:        api/cli/command_help.c
#pragma once

#define VERSION_TEXT "0.1"
