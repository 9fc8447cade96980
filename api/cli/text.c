// SPDX-License-Identifier: Apache-2.0
// Escapes are bytes (\xNN), not code points: keys and values are byte strings, and a form that can
// be typed back must not depend on whether they happen to be UTF-8. Besides the C0 and C1 controls
// the bidirectional controls are escaped, because a stored value could otherwise rearrange the line
// that an operator reads. Base64 is written out here: OpenSSL's decoder takes white space and does
// not say how much padding it dropped.
#include "api/cli/text.h"

#include "dataplane/base/assert.h"
#include "dataplane/hlc/hlc.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert((int)TEXT_SIZE >= (int)HLC_TEXT_SIZE, "a timestamp fits");

void text_add(struct buf *out, struct slice more) {
    if (buf_append(out, more) != STATUS_OK) { FATAL("out of memory: %zu bytes wanted", more.size); }
}

void text_add_string(struct buf *out, const char *text) {
    text_add(out, slice_from_string(text));
}

void text_addf(struct buf *out, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(size >= 0);
    size_t kept = (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1;
    text_add(out, slice_make(text, kept));
}

// --- Characters

static bool continues(struct slice in, size_t from, size_t count) {
    if (in.size < from + count) { return false; }
    for (size_t i = 0; i < count; i++) {
        if ((in.data[from + i] & 0xc0) != 0x80) { return false; }
    }
    return true;
}

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
size_t text_character(struct slice in) {
    if (in.size == 0) { return 0; }
    const uint8_t first = in.data[0];
    const uint8_t second = in.size > 1 ? in.data[1] : 0;
    if (first < 0x80) { return 1; }
    if (first >= 0xc2 && first <= 0xdf) { return continues(in, 1, 1) ? 2 : 0; }
    if (first >= 0xe0 && first <= 0xef) {
        bool overlong = first == 0xe0 && second < 0xa0;
        bool surrogate = first == 0xed && second > 0x9f;
        return !overlong && !surrogate && continues(in, 1, 2) ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        bool overlong = first == 0xf0 && second < 0x90;
        bool beyond = first == 0xf4 && second > 0x8f;
        return !overlong && !beyond && continues(in, 1, 3) ? 4 : 0;
    }
    return 0;
}

static uint32_t code_point(struct slice in, size_t size) {
    static const uint8_t first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t v = in.data[0] & first_bits[size];
    for (size_t i = 1; i < size; i++) {
        v = v << 6 | (in.data[i] & 0x3f);
    }
    return v;
}

static bool is_printable(uint32_t character) {
    bool control = character < 0x20 || (character >= 0x7f && character <= 0x9f);
    bool turns = (character >= 0x200e && character <= 0x200f) || character == 0x61c ||
                 (character >= 0x2028 && character <= 0x202e) ||
                 (character >= 0x2066 && character <= 0x2069) || character == 0xfeff;
    return !control && !turns;
}

bool text_is_utf8(struct slice in) {
    while (in.size > 0) {
        size_t size = text_character(in);
        if (size == 0) { return false; }
        in = slice_make(in.data + size, in.size - size);
    }
    return true;
}

size_t text_columns(struct slice in) {
    size_t columns = 0;
    while (in.size > 0) {
        size_t size = text_character(in);
        size = size == 0 ? 1 : size;
        in = slice_make(in.data + size, in.size - size);
        columns++;
    }
    return columns;
}

// --- Escapes

static void escape_byte(struct buf *out, uint8_t byte) {
    switch (byte) {
    case '\n':
        text_add_string(out, "\\n");
        return;
    case '\t':
        text_add_string(out, "\\t");
        return;
    case '\r':
        text_add_string(out, "\\r");
        return;
    default:
        text_addf(out, "\\x%02x", byte);
        return;
    }
}

static void escape_character(struct buf *out, struct slice character, enum text_mode mode) {
    uint8_t first = character.data[0];
    if (first == '\\') {
        text_add_string(out, mode == TEXT_LINE ? "\\\\" : "\\");
    } else if (mode == TEXT_BLOCK && (first == '\n' || first == '\t')) {
        text_add(out, character);
    } else if (is_printable(code_point(character, character.size))) {
        text_add(out, character);
    } else {
        for (size_t i = 0; i < character.size; i++) {
            escape_byte(out, character.data[i]);
        }
    }
}

void text_escape(struct buf *out, struct slice in, enum text_mode mode) {
    while (in.size > 0) {
        size_t size = text_character(in);
        if (size == 0) {
            escape_byte(out, in.data[0]);
            size = 1;
        } else {
            escape_character(out, slice_make(in.data, size), mode);
        }
        in = slice_make(in.data + size, in.size - size);
    }
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') { return c - '0'; }
    if (c >= 'a' && c <= 'f') { return c - 'a' + 10; }
    if (c >= 'A' && c <= 'F') { return c - 'A' + 10; }
    return -1;
}

// *text stands behind a backslash; moves it behind the escape. -1: not an escape.
static int read_escape(const char **text) {
    char c = *(*text)++;
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case '\\':
        return '\\';
    case 'x': {
        int high = hex_digit((*text)[0]);
        int low = high < 0 ? -1 : hex_digit((*text)[1]);
        if (low < 0) { return -1; }
        *text += 2;
        return high << 4 | low;
    }
    default:
        return -1;
    }
}

enum status text_unescape(struct buf *out, const char *text, struct err *err) {
    while (*text != '\0') {
        size_t plain = strcspn(text, "\\");
        text_add(out, slice_make(text, plain));
        text += plain;
        if (*text == '\0') { break; }
        const char *at = text++;
        int byte = read_escape(&text);
        if (byte < 0) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "\"%.4s\" is no escape; write \\\\ for a backslash, \\xNN for a byte",
                           at);
        }
        const uint8_t single = (uint8_t)byte;
        text_add(out, slice_make(&single, 1));
    }
    return STATUS_OK;
}

// --- Base64 and hexadecimal

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void text_base64(struct buf *out, struct slice in) {
    for (size_t i = 0; i < in.size; i += 3) {
        size_t count = in.size - i < 3 ? in.size - i : 3;
        uint32_t bits = (uint32_t)in.data[i] << 16;
        bits |= count > 1 ? (uint32_t)in.data[i + 1] << 8 : 0;
        bits |= count > 2 ? in.data[i + 2] : 0;
        char group[4] = {base64_digits[bits >> 18], base64_digits[bits >> 12 & 63], '=', '='};
        if (count > 1) { group[2] = base64_digits[bits >> 6 & 63]; }
        if (count > 2) { group[3] = base64_digits[bits & 63]; }
        text_add(out, slice_make(group, sizeof(group)));
    }
}

static int base64_value(uint8_t digit) {
    const char *at = digit == 0 ? NULL : strchr(base64_digits, digit);
    return at == NULL ? -1 : (int)(at - base64_digits);
}

enum status text_unbase64(struct buf *out, struct slice in) {
    if (in.size % 4 != 0) { return STATUS_INVALID_ARGUMENT; }
    for (size_t i = 0; i < in.size; i += 4) {
        const uint8_t *group = in.data + i;
        bool last = i + 4 == in.size;
        size_t padding = last && group[3] == '=' ? (group[2] == '=' ? 2 : 1) : 0;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k < 4 - padding ? base64_value(group[k]) : 0;
            if (value < 0) { return STATUS_INVALID_ARGUMENT; }
            bits = bits << 6 | (uint32_t)value;
        }
        // Bits below the padding must be zero, or two texts would mean the same bytes.
        if ((padding == 1 && (bits & 0xff) != 0) || (padding == 2 && (bits & 0xffff) != 0)) {
            return STATUS_INVALID_ARGUMENT;
        }
        const uint8_t bytes[3] = {(uint8_t)(bits >> 16), (uint8_t)(bits >> 8), (uint8_t)bits};
        text_add(out, slice_make(bytes, 3 - padding));
    }
    return STATUS_OK;
}

void text_hex(struct buf *out, struct slice in) {
    for (size_t i = 0; i < in.size; i++) {
        text_addf(out, "%02x", in.data[i]);
    }
}

enum status text_unhex(struct buf *out, const char *text) {
    for (; text[0] != '\0'; text += 2) {
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0) { return STATUS_INVALID_ARGUMENT; }
        const uint8_t byte = (uint8_t)(high << 4 | low);
        text_add(out, slice_make(&byte, 1));
    }
    return STATUS_OK;
}

// --- Numbers

char *text_format_count(uint64_t v, char out[TEXT_SIZE]) {
    char digits[24];
    int count = snprintf(digits, sizeof(digits), "%" PRIu64, v);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0) { out[at++] = ' '; }
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

char *text_format_duration(uint64_t ns, char out[TEXT_SIZE]) {
    if (ns < 1000) {
        (void)snprintf(out, TEXT_SIZE, "%" PRIu64 " ns", ns);
    } else if (ns < 1000000) {
        (void)snprintf(out, TEXT_SIZE, "%.1f us", (double)ns / 1e3);
    } else if (ns < 1000000000) {
        (void)snprintf(out, TEXT_SIZE, "%.2f ms", (double)ns / 1e6);
    } else if (ns < UINT64_C(60000000000)) {
        (void)snprintf(out, TEXT_SIZE, "%.2f s", (double)ns / 1e9);
    } else {
        uint64_t seconds = ns / 1000000000;
        (void)snprintf(out, TEXT_SIZE, "%" PRIu64 " min %02" PRIu64 " s", seconds / 60,
                       seconds % 60);
    }
    return out;
}

char *text_format_size(uint64_t size, char out[TEXT_SIZE]) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (size < 1024) {
        (void)snprintf(out, TEXT_SIZE, "%" PRIu64 " B", size);
        return out;
    }
    double scaled = (double)size / 1024;
    size_t unit = 0;
    while (scaled >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        scaled /= 1024;
        unit++;
    }
    (void)snprintf(out, TEXT_SIZE, "%.1f %s", scaled, units[unit]);
    return out;
}

char *text_format_timestamp(uint64_t timestamp, char out[TEXT_SIZE]) {
    if (timestamp == 0) {
        (void)snprintf(out, TEXT_SIZE, "-");
        return out;
    }
    char text[HLC_TEXT_SIZE];
    (void)snprintf(out, TEXT_SIZE, "%s", hlc_format((struct hlc_ts){timestamp}, text));
    return out;
}

// --- Numbers that are typed

enum status text_parse_duration(const char *text, uint64_t *out_us) {
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {{"us", 1},
                 {"ms", 1000},
                 {"s", 1000000},
                 {"m", UINT64_C(60000000)},
                 {"h", UINT64_C(3600000000)}};
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') { return STATUS_INVALID_ARGUMENT; }
    unsigned long long number = strtoull(text, &end, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].name) != 0) { continue; }
        return __builtin_mul_overflow(number, units[i].us, out_us) ? STATUS_INVALID_ARGUMENT
                                                                   : STATUS_OK;
    }
    return STATUS_INVALID_ARGUMENT;
}

enum status text_parse_i64(const char *text, int64_t *out) {
    char *end = NULL;
    const char *digits = text[0] == '-' || text[0] == '+' ? text + 1 : text;
    if (digits[0] < '0' || digits[0] > '9') { return STATUS_INVALID_ARGUMENT; }
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (*end != '\0' || errno == ERANGE) { return STATUS_INVALID_ARGUMENT; }
    *out = number;
    return STATUS_OK;
}
