// SPDX-License-Identifier: Apache-2.0
// A walk has no deadline of its own: it is as long as the keyspace. The time of a request bounds
// each page, in the client library.
#include "api/cli/range.h"

#include "api/cli/text.h"

#include <string.h>

void range_prefix_end(struct slice prefix, struct buf *out) {
    size_t size = prefix.size;
    while (size > 0 && prefix.data[size - 1] == UINT8_MAX) {
        size--;
    }
    if (size == 0) { return; }
    text_add(out, slice_make(prefix.data, size));
    out->data[out->size - 1]++;
}

static enum cli_exit add_option(struct cli *cli, const char *name, struct buf *out) {
    const char *text = args_text(&cli->args, name);
    return text == NULL ? CLI_OK : session_key(cli, text, args_flag(&cli->args, "literal"), out);
}

static enum cli_exit read_options(struct cli *cli, struct range *out) {
    bool has_prefix = args_has(&cli->args, "prefix");
    if (has_prefix && (args_has(&cli->args, "start") || args_has(&cli->args, "end"))) {
        return cli_usage(cli, "--prefix excludes --start and --end");
    }
    enum cli_exit exit = add_option(cli, has_prefix ? "prefix" : "start", &out->start);
    if (exit == CLI_OK && has_prefix) { range_prefix_end(buf_slice(&out->start), &out->end); }
    if (exit == CLI_OK) { exit = add_option(cli, "end", &out->end); }
    if (exit == CLI_OK && out->end.size > 0 &&
        slice_compare(buf_slice(&out->start), buf_slice(&out->end)) >= 0) {
        return cli_usage(cli, "--end must be above --start");
    }
    return exit;
}

enum cli_exit range_init(struct cli *cli, struct range *out) {
    buf_init(&out->start, TEXT_BUF_MAX);
    buf_init(&out->end, TEXT_BUF_MAX);
    enum cli_exit exit = read_options(cli, out);
    if (exit != CLI_OK) { range_deinit(out); }
    return exit;
}

void range_deinit(struct range *self) {
    buf_deinit(&self->start);
    buf_deinit(&self->end);
}

enum cli_exit range_walk(struct cli *cli, const struct session *session, const struct range *range,
                         struct range_walk *walk) {
    struct lc_scan_options options = {
        .keyspace = session->keyspace,
        .start = buf_slice(&range->start),
        .end = buf_slice(&range->end),
        .limit = walk->limit,
        .reverse = walk->reverse,
        .keys_only = walk->keys_only,
        .consistency = walk->read.consistency,
        .at_least = walk->read.at_least,
        .at = walk->read.at,
        .max_staleness_us = walk->read.max_staleness_us,
    };
    struct lc_scan *scan = NULL;
    struct err err = {0};
    enum cli_exit exit = CLI_OK;
    enum status st = lc_scan_open(session->client, &options, &scan, &err);
    while (st == STATUS_OK && exit == CLI_OK) {
        const struct lc_row *row = NULL;
        st = lc_scan_next(scan, &row, &err);
        if (st != STATUS_OK || row == NULL) { break; }
        walk->certificate = *lc_scan_certificate(scan);
        exit = walk->row(walk->ctx, row);
    }
    lc_scan_close(scan);
    if (st == STATUS_OK) { return exit; }
    return cli_fail_err(cli, &err, status_is_retryable(st) ? "try again" : NULL);
}
