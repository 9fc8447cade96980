// SPDX-License-Identifier: Apache-2.0
// An option that makes sense with one consistency only stands for that consistency: --at alone is
// enough to read at a timestamp.
#include "api/cli/read_options.h"

#include "api/cli/text.h"
#include "dataplane/base/assert.h"
#include "dataplane/hlc/hlc.h"

#include <inttypes.h>
#include <string.h>

static const char *const words[] = {[LC_STRONG] = "strong",   [LC_STRONG_READ_INDEX] = "read-index",
                                    [LC_STRICT] = "strict",   [LC_SESSION] = "session",
                                    [LC_BOUNDED] = "bounded", [LC_AT] = "at",
                                    [LC_ANY] = "any"};

// The parser let none of the others pass.
static enum lc_consistency consistency_of(const char *word) {
    size_t i = 0;
    while (strcmp(words[i], word) != 0) {
        i++;
        ASSERT(i < sizeof(words) / sizeof(words[0]));
    }
    return (enum lc_consistency)i;
}

static enum cli_exit take_timestamp(struct cli *cli, const char *name, uint64_t *out) {
    const char *text = args_text(&cli->args, name);
    struct hlc_ts timestamp = HLC_ZERO;
    if (text != NULL && hlc_parse(slice_from_string(text), &timestamp) != STATUS_OK) {
        return cli_usage(cli, "--%s: \"%.60s\" is no timestamp", name, text);
    }
    *out = timestamp.v;
    return CLI_OK;
}

static enum cli_exit take_staleness(struct cli *cli, uint64_t *out) {
    const char *text = args_text(&cli->args, "max-staleness");
    *out = 0;
    if (text != NULL && (text_parse_duration(text, out) != STATUS_OK || *out == 0)) {
        return cli_usage(cli, "--max-staleness: \"%.40s\" is no duration like 500ms, 2s or 5m",
                         text);
    }
    return CLI_OK;
}

// Options that stand for a consistency; the option of the same consistency is what it needs.
static enum cli_exit choose(struct cli *cli, enum lc_consistency *out) {
    static const struct {
        const char *option;
        enum lc_consistency consistency;
        bool needed;
    } stands_for[] = {
        {"at", LC_AT, true}, {"max-staleness", LC_BOUNDED, true}, {"session", LC_SESSION, false}};
    const char *word =
        args_has(&cli->args, "consistency") ? args_text(&cli->args, "consistency") : NULL;
    const char *reason = word == NULL ? NULL : "consistency";
    *out = word == NULL ? LC_STRONG : consistency_of(word);
    for (size_t i = 0; i < sizeof(stands_for) / sizeof(stands_for[0]); i++) {
        bool given = args_has(&cli->args, stands_for[i].option);
        bool meant = reason != NULL && *out == stands_for[i].consistency;
        if (meant && !given && stands_for[i].needed) {
            return cli_usage(cli, "--consistency %s wants --%s", word, stands_for[i].option);
        }
        if (given && reason != NULL && !meant) {
            return cli_usage(cli, "--%s does not go with --%s%s%s", stands_for[i].option, reason,
                             word == NULL ? "" : " ", word == NULL ? "" : word);
        }
        if (given) {
            reason = stands_for[i].option;
            *out = stands_for[i].consistency;
        }
    }
    return CLI_OK;
}

enum cli_exit read_options_take(struct cli *cli, struct read_options *out) {
    uint64_t token = 0;
    *out = (struct read_options){.consistency = LC_STRONG};
    enum cli_exit exit = choose(cli, &out->consistency);
    if (exit == CLI_OK) { exit = take_timestamp(cli, "at", &out->at); }
    if (exit == CLI_OK) { exit = take_timestamp(cli, "at-least", &out->at_least); }
    if (exit == CLI_OK) { exit = take_timestamp(cli, "session", &token); }
    if (exit == CLI_OK) { exit = take_staleness(cli, &out->max_staleness_us); }
    if (token > out->at_least) { out->at_least = token; }
    return exit;
}

void read_options_note(struct cli *cli, const struct session *session,
                       const struct lc_certificate *certificate) {
    char closed[TEXT_SIZE];
    if (args_flag(&cli->args, "verbose")) {
        session_note_certificate(cli, certificate);
        cli_note(cli, "membership %" PRIu64 ", closed up to %s", certificate->config_epoch,
                 text_format_timestamp(certificate->closed, closed));
    }
    if (args_flag(&cli->args, "show-token") && cli->format == CLI_TABLE) {
        (void)fflush(cli->out);
        (void)fprintf(cli->err, "token %" PRIu64 "\n", lc_session_token(session->client));
    }
}
