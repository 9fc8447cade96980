// SPDX-License-Identifier: Apache-2.0
// A thin layer over libedit. What can be completed is the caller's affair; here it is only cut to
// what all candidates have in common, or listed.
#include "api/cli/line_editor.h"

#include "api/cli/text.h"
#include "dataplane/base/mem.h"

#include <histedit.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HISTORY_LINES = 1000, PATH_MAX_SIZE = 1024 };

struct line_editor {
    struct line_editor_config config;
    EditLine *edit;
    History *history;
    struct sigaction before;
    // Of one completion.
    struct slice word;
    struct buf common;  // what the candidates so far begin with
    struct buf list;
    uint32_t count;
};

// --- Interrupts

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal) {
    (void)signal;
    interrupted = 1;
}

// Without SA_RESTART, so that the read of a line ends.
static void catch_interrupts(struct line_editor *self) {
    struct sigaction action = {.sa_handler = on_interrupt};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, &self->before);
}

// --- Completion

void line_editor_candidate(struct line_editor *self, const char *text) {
    const struct slice candidate = slice_from_string(text);
    if (candidate.size < self->word.size ||
        memcmp(candidate.data, self->word.data, self->word.size) != 0) {
        return;
    }
    if (self->count == 0) {
        text_add(&self->common, candidate);
    } else {
        size_t same = 0;
        while (same < self->common.size && same < candidate.size &&
               self->common.data[same] == candidate.data[same]) {
            same++;
        }
        self->common.size = same;
    }
    self->count++;
    text_add(&self->list, candidate);
    text_add_string(&self->list, "  ");
}

static unsigned char insert(struct line_editor *self) {
    struct buf more;
    buf_init(&more, TEXT_BUF_MAX);
    text_add(&more,
             slice_make(self->common.data + self->word.size, self->common.size - self->word.size));
    if (self->count == 1) { text_add_string(&more, " "); }
    text_add(&more, slice_make("", 1));
    const bool any = more.size > 1;
    const int st = any ? el_insertstr(self->edit, (const char *)more.data) : 0;
    buf_deinit(&more);
    return any && st == 0 ? CC_REFRESH : CC_NORM;
}

static unsigned char on_tab(EditLine *edit, int key) {
    (void)key;
    struct line_editor *self = NULL;
    (void)el_get(edit, EL_CLIENTDATA, &self);
    const LineInfo *info = el_line(edit);
    const struct slice line = slice_make(info->buffer, (size_t)(info->cursor - info->buffer));
    size_t start = line.size;
    while (start > 0 && line.data[start - 1] != ' ' && line.data[start - 1] != '\t') {
        start--;
    }
    self->word = slice_make(line.data + start, line.size - start);
    self->count = 0;
    buf_reset(&self->common);
    buf_reset(&self->list);
    self->config.complete(self->config.ctx, self, line, self->word);
    if (self->count == 0) { return CC_REFRESH_BEEP; }
    if (self->common.size > self->word.size || self->count == 1) { return insert(self); }
    (void)fprintf(self->config.out, "\n%.*s\n", (int)self->list.size,
                  (const char *)self->list.data);
    return CC_REDISPLAY;
}

// --- History

// The directories above the file; what fails shows when the file is written.
static void make_room(const char *path) {
    char part[PATH_MAX_SIZE];
    if (strlen(path) >= sizeof(part)) { return; }
    for (size_t i = 1; path[i] != '\0'; i++) {
        if (path[i] != '/') { continue; }
        memcpy(part, path, i);
        part[i] = '\0';
        (void)mkdir(part, 0700);
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) { (void)close(fd); }
}

static void open_history(struct line_editor *self) {
    HistEvent event;
    self->history = history_init();
    if (self->history == NULL) { return; }
    (void)history(self->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(self->history, &event, H_SETUNIQUE, 1);
    if (self->config.history != NULL) {
        (void)history(self->history, &event, H_LOAD, self->config.history);
    }
    (void)el_set(self->edit, EL_HIST, history, self->history);
}

static void keep_history(struct line_editor *self) {
    HistEvent event;
    if (self->history == NULL) { return; }
    if (self->config.history != NULL) {
        make_room(self->config.history);
        (void)history(self->history, &event, H_SAVE, self->config.history);
    }
    history_end(self->history);
}

// --- Lines

static char *on_prompt(EditLine *edit) {
    struct line_editor *self = NULL;
    (void)el_get(edit, EL_CLIENTDATA, &self);
    // libedit does not write to it.
    return (char *)(uintptr_t)self->config.prompt(self->config.ctx);
}

struct line_editor *line_editor_open(const struct line_editor_config *config) {
    EditLine *edit = el_init("lightcone", config->in, config->out, config->err);
    if (edit == NULL) { return NULL; }
    struct line_editor *self = mem_alloc(sizeof(*self));
    *self = (struct line_editor){.config = *config, .edit = edit};
    buf_init(&self->common, TEXT_BUF_MAX);
    buf_init(&self->list, TEXT_BUF_MAX);
    (void)el_set(edit, EL_CLIENTDATA, self);
    (void)el_set(edit, EL_EDITOR, "emacs");
    (void)el_set(edit, EL_PROMPT, on_prompt);
    (void)el_set(edit, EL_ADDFN, "complete", "complete the word", on_tab);
    (void)el_set(edit, EL_BIND, "^I", "complete", NULL);
    (void)el_set(edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    open_history(self);
    catch_interrupts(self);
    return self;
}

void line_editor_close(struct line_editor *self) {
    if (self == NULL) { return; }
    keep_history(self);
    (void)sigaction(SIGINT, &self->before, NULL);
    el_end(self->edit);
    buf_deinit(&self->common);
    buf_deinit(&self->list);
    mem_free(self);
}

enum line_editor_end line_editor_next(struct line_editor *self, struct slice *out) {
    int count = 0;
    *out = SLICE_EMPTY;
    interrupted = 0;
    const char *line = el_gets(self->edit, &count);
    // An interrupt that came before anything was typed ends no read: the next line is meant.
    const bool whole = line != NULL && count > 0 && line[count - 1] == '\n';
    if (interrupted != 0 && !whole) {
        (void)fputs("^C\n", self->config.out);
        el_reset(self->edit);
        return LINE_EDITOR_CANCELLED;
    }
    if (line == NULL || count <= 0) { return LINE_EDITOR_EOF; }
    size_t size = (size_t)count;
    while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r')) {
        size--;
    }
    *out = slice_make(line, size);
    if (size > 0 && self->history != NULL && line[0] != ' ') {
        HistEvent event;
        (void)history(self->history, &event, H_ENTER, line);
    }
    return LINE_EDITOR_LINE;
}
