// SPDX-License-Identifier: Apache-2.0
// text.h - bytes, numbers and times as people read them, and escaped keys as people type them.
// Invariants: escaped text holds no control character but, in TEXT_BLOCK, newline and tab; what
//             text_escape writes in TEXT_LINE, text_unescape reads back to the same bytes.
// Ownership:  results are appended to the caller's buf, or written into the caller's array.
// Thread:     pure, any thread.
// See:        api/cli/README.md; tests/unit/api/cli/text_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/err.h"

enum {
    TEXT_SIZE = 64,  // of the arrays that the text_format_* functions fill
    TEXT_BUF_MAX = 1 << 30,
};

// Appends; memory that runs out ends the process, as everywhere in the command.
void text_add(struct buf *out, struct slice more);
void text_add_string(struct buf *out, const char *text);
// printf into the buffer; at most 1 KiB at a time.
void text_addf(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

enum text_mode {
    TEXT_LINE,   // one line: newline and tab are escaped too
    TEXT_BLOCK,  // newlines and tabs stay
};

// Printable UTF-8 as it is; a backslash doubled; everything else (control characters, bytes that
// are not UTF-8, characters that turn the direction of writing) as \n, \t, \r or \xNN.
void text_escape(struct buf *out, struct slice in, enum text_mode mode);
// Reads that form. INVALID_ARGUMENT for an unknown or cut-off escape.
NODISCARD enum status text_unescape(struct buf *out, const char *text, struct err *err);

bool text_is_utf8(struct slice in);
// Bytes of the first character of valid UTF-8; 0 when `in` does not begin with one.
size_t text_character(struct slice in);
// LIMIT: counts characters; wide and combining ones are not told apart, their columns misalign.
size_t text_columns(struct slice in);

void text_base64(struct buf *out, struct slice in);
// Strict: full groups of four, padding where it belongs, no other characters.
NODISCARD enum status text_unbase64(struct buf *out, struct slice in);
void text_hex(struct buf *out, struct slice in);
NODISCARD enum status text_unhex(struct buf *out, const char *text);

// "12 345 678": groups of three, for tables.
char *text_format_count(uint64_t v, char out[TEXT_SIZE]);
// "950 ns", "12.3 us", "4.56 ms", "1.20 s", "2 min 05 s".
char *text_format_duration(uint64_t ns, char out[TEXT_SIZE]);
// "512 B", "3.4 MiB".
char *text_format_size(uint64_t size, char out[TEXT_SIZE]);
// An HLC timestamp, "-" for 0.
char *text_format_timestamp(uint64_t timestamp, char out[TEXT_SIZE]);

// "500ms", "2s", "5m", "1h", "250us": a whole number and its unit. INVALID_ARGUMENT.
NODISCARD enum status text_parse_duration(const char *text, uint64_t *out_us);
// A whole number with a sign or without. INVALID_ARGUMENT.
NODISCARD enum status text_parse_i64(const char *text, int64_t *out);
