// SPDX-License-Identifier: Apache-2.0
// line_editor.h - a line from a terminal: edited, completed, remembered.
// Invariants: the terminal is as it was whenever no line is being read; what is remembered is
//             readable by its owner only.
// Ownership:  the editor borrows streams and callbacks; a line is valid until the next call.
// Thread:     one; catches SIGINT while it is open.
// See:        api/cli/README.md "The shell"
#pragma once

#include "dataplane/base/bytes.h"

#include <stdio.h>

struct line_editor;

struct line_editor_config {
    FILE *in;
    FILE *out;
    FILE *err;
    const char *history;  // path of the file; NULL = nothing is kept
    // The prompt as of now; valid until the next call.
    const char *(*prompt)(void *ctx);
    // Adds candidates for the last word of `line`, which `word` begins, by line_editor_candidate.
    void (*complete)(void *ctx, struct line_editor *self, struct slice line, struct slice word);
    void *ctx;
};

// NULL when the terminal cannot be used.
struct line_editor *line_editor_open(const struct line_editor_config *config);
// NULL is allowed.
void line_editor_close(struct line_editor *self);

enum line_editor_end { LINE_EDITOR_LINE, LINE_EDITOR_CANCELLED, LINE_EDITOR_EOF };
// Without its newline. CANCELLED: interrupted (^C), out is empty. Lines that are not blank are
// remembered.
enum line_editor_end line_editor_next(struct line_editor *self, struct slice *out);
// For `complete`: ignored unless it begins with the word.
void line_editor_candidate(struct line_editor *self, const char *text);
