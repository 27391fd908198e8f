// SPDX-License-Identifier: Apache-2.0
//
// Line input. Owns the editor's state and history for one chat. One thread. History is kept in memory only: what a
// person writes to a model is nobody else's business.
#include "cli/line.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/interrupt.h"

#ifdef RH_HAVE_LIBEDIT

#include <histedit.h>
#include <poll.h>
#include <wchar.h>

#define HISTORY_LINES 500

struct rh_line {
  EditLine *editor;
  History *history;
  const char *prompt;
  bool interrupted;
};

static char *show_prompt(EditLine *editor) {
  rh_line *self = NULL;
  el_get(editor, EL_CLIENTDATA, &self);
  // libedit asks for a char * but does not write to it.
  return (char *)(uintptr_t)self->prompt;
}

static unsigned char on_interrupt(EditLine *editor, int c) {
  (void)c;
  rh_line *self = NULL;
  el_get(editor, EL_CLIENTDATA, &self);
  self->interrupted = true;
  return CC_EOF;
}

// One byte of input; 0 at its end and when Ctrl-C came as a signal. It may: the terminal still makes a signal of it until
// the editor has changed its mode, and the editor's own reading would sleep over that.
static ssize_t read_byte(rh_line *self, char *byte) {
  struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = rh_interrupt_fd(), .events = POLLIN}};
  for (;;) {
    if (rh_interrupt_count() > 0) {
      self->interrupted = true;
      return 0;
    }
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return -1;
    if (fds[0].revents == 0) continue;
    ssize_t got = read(STDIN_FILENO, byte, 1);
    if (got >= 0 || errno != EINTR) return got;
  }
}

static int read_character(EditLine *editor, wchar_t *out) {
  rh_line *self = NULL;
  el_get(editor, EL_CLIENTDATA, &self);
  mbstate_t state;
  memset(&state, 0, sizeof state);
  for (;;) {
    char byte;
    ssize_t got = read_byte(self, &byte);
    if (got <= 0) return (int)got;
    size_t length = mbrtowc(out, &byte, 1, &state);
    if (length == (size_t)-2) continue;  // a character goes on
    if (length == (size_t)-1) *out = (wchar_t)(unsigned char)byte;
    return 1;
  }
}

rh_line *rh_line_new(void) {
  rh_line *self = calloc(1, sizeof *self);
  if (self == NULL) return NULL;
  HistEvent event;
  self->editor = el_init("roundhouse", stdin, stdout, stderr);
  self->history = history_init();
  if (self->editor == NULL || self->history == NULL) {
    rh_line_free(self);
    return NULL;
  }
  history(self->history, &event, H_SETSIZE, HISTORY_LINES);
  history(self->history, &event, H_SETUNIQUE, 1);
  el_set(self->editor, EL_CLIENTDATA, self);
  el_set(self->editor, EL_PROMPT, show_prompt);
  el_set(self->editor, EL_GETCFN, read_character);
  el_set(self->editor, EL_EDITOR, "emacs");
  el_set(self->editor, EL_HIST, history, self->history);
  // While a line is edited Ctrl-C is a key like any other: libedit would swallow the signal's first interruption.
  el_set(self->editor, EL_SETTY, "-d", "-isig", NULL);
  el_set(self->editor, EL_ADDFN, "rh-interrupt", "leave the line", on_interrupt);
  el_set(self->editor, EL_BIND, "^C", "rh-interrupt", NULL);
  return self;
}

void rh_line_free(rh_line *line) {
  if (line == NULL) return;
  if (line->history != NULL) history_end(line->history);
  if (line->editor != NULL) el_end(line->editor);
  free(line);
}

rh_status rh_line_read(rh_line *line, const char *prompt, char **out) {
  *out = NULL;
  line->prompt = prompt;
  line->interrupted = false;
  int count = 0;
  const char *text = el_gets(line->editor, &count);
  if (line->interrupted || rh_interrupt_count() > 0) return RH_CANCELLED;
  if (text == NULL || count <= 0) return RH_NOT_FOUND;
  HistEvent event;
  if (text[0] != '\n') history(line->history, &event, H_ENTER, text);
  *out = strndup(text, strcspn(text, "\n"));
  return *out != NULL ? RH_OK : RH_NO_MEMORY;
}

#else

struct rh_line {
  char *buffer;
  size_t size;
};

rh_line *rh_line_new(void) { return calloc(1, sizeof(rh_line)); }

void rh_line_free(rh_line *line) {
  if (line == NULL) return;
  free(line->buffer);
  free(line);
}

rh_status rh_line_read(rh_line *line, const char *prompt, char **out) {
  *out = NULL;
  fputs(prompt, stdout);
  fflush(stdout);
  errno = 0;
  ssize_t length = getline(&line->buffer, &line->size, stdin);
  if (rh_interrupt_count() > 0) {
    clearerr(stdin);
    return RH_CANCELLED;
  }
  if (length < 0) return RH_NOT_FOUND;
  *out = strndup(line->buffer, strcspn(line->buffer, "\n"));
  return *out != NULL ? RH_OK : RH_NO_MEMORY;
}

#endif
