// SPDX-License-Identifier: Apache-2.0
//
// Finds and runs the programs that bring packages, and reads what they complain about. Owns nothing that outlives a call.
// Any thread that may block. Knows nothing of models; gives programs no shell and no terminal.
#include "pull/package_tool.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/subprocess.h"
#include "base/text.h"

#define COMPLAINTS_BYTES_MAX ((size_t)16 * 1024)
#define ENVIRONMENT_MAX 4096

extern char **environ;

void rh_tool_add(rh_tool *tool, const char *word) {
  assert(tool->count < RH_TOOL_WORDS_MAX);
  tool->words[tool->count++] = word;
  tool->words[tool->count] = NULL;
}

static void use(rh_tool *tool, const char *const *words) {
  *tool = (rh_tool){.count = 0};
  for (size_t i = 0; words[i] != NULL && i < RH_TOOL_WORDS_MAX / 2; i++) rh_tool_add(tool, words[i]);
}

// Is it a program: a path that may be executed, or a name in one of PATH's folders?
static bool is_program(const char *name) {
  if (strchr(name, '/') != NULL) return access(name, X_OK) == 0;
  const char *path = getenv("PATH");
  for (const char *at = path != NULL ? path : "/usr/local/bin:/usr/bin:/bin"; *at != '\0';) {
    char candidate[1024];
    size_t length = strcspn(at, ":");
    int written = snprintf(candidate, sizeof candidate, "%.*s/%s", (int)length, at, name);
    if (length > 0 && written > 0 && (size_t)written < sizeof candidate && access(candidate, X_OK) == 0) return true;
    at += length;
    if (*at == ':') at++;
  }
  return false;
}

// Words of a variable, divided by blanks ("python3 -m pip"), unless the whole is one program whose path holds blanks.
static void use_text(rh_tool *tool, const char *text) {
  *tool = (rh_tool){.count = 0};
  (void)rh_text_copy(tool->own, sizeof tool->own, text);
  if (is_program(tool->own)) {
    rh_tool_add(tool, tool->own);
    return;
  }
  char *rest = NULL;
  for (char *word = strtok_r(tool->own, " \t", &rest); word != NULL && tool->count < RH_TOOL_WORDS_MAX / 2;
       word = strtok_r(NULL, " \t", &rest)) {
    rh_tool_add(tool, word);
  }
}

rh_status rh_tool_find_pip(const rh_pull_options *options, rh_tool *out, rh_error *error) {
  static const char *const usual[][4] = {{"pip3", NULL}, {"pip", NULL}, {"python3", "-m", "pip", NULL}};
  const char *variable = getenv("ROUNDHOUSE_PIP");
  *out = (rh_tool){.count = 0};
  if (options->pip != NULL && options->pip[0] != NULL)
    use(out, options->pip);
  else if (variable != NULL && variable[0] != '\0')
    use_text(out, variable);
  for (size_t i = 0; out->count == 0 && i < sizeof usual / sizeof *usual; i++) {
    if (is_program(usual[i][0])) use(out, usual[i]);
  }
  if (out->count > 0 && is_program(out->words[0])) return RH_OK;
  return rh_fail(
      error, RH_NOT_FOUND,
      "%s%sis needed for pypi: sources and is not there; install it (on Debian: apt-get install python3-pip), "
      "or set ROUNDHOUSE_PIP to the one of a virtual environment",
      out->count > 0 ? out->words[0] : "pip", " ");
}

void rh_tool_find_python(const rh_tool *pip, rh_tool *out) {
  *out = (rh_tool){.count = 0};
  const char *program = pip->words[0];
  // "PYTHON -m pip" is its own python.
  if (pip->count >= 3 && strcmp(pip->words[1], "-m") == 0) {
    rh_tool_add(out, program);
    return;
  }
  const char *slash = strrchr(program, '/');
  static const char *const names[] = {"python3", "python"};
  for (size_t i = 0; slash != NULL && i < sizeof names / sizeof *names; i++) {
    (void)snprintf(out->own, sizeof out->own, "%.*s/%s", (int)(slash - program), program, names[i]);
    if (!is_program(out->own)) continue;
    rh_tool_add(out, out->own);
    return;
  }
  rh_tool_add(out, is_program("python3") ? "python3" : "python");
}

rh_status rh_tool_find_npm(const rh_pull_options *options, rh_tool *out, rh_error *error) {
  static const char *const usual[] = {"npm", NULL};
  use(out, options->npm != NULL && options->npm[0] != NULL ? options->npm : usual);
  if (is_program(out->words[0])) return RH_OK;
  return rh_fail(error, RH_NOT_FOUND,
                 "%s is needed for npm: sources and is not there; install it (on Debian: apt-get install npm)",
                 out->words[0]);
}

static bool is_replaced(const char *entry, const char *const *ours, size_t count) {
  for (size_t i = 0; i < count; i++) {
    size_t length = (size_t)(strchr(ours[i], '=') - ours[i]) + 1;
    if (strncmp(entry, ours[i], length) == 0) return true;
  }
  return false;
}

// Our environment with a few changes; the array is the caller's, its strings are not.
static const char **new_environment(const char *const *ours, size_t count) {
  const char **out = calloc(ENVIRONMENT_MAX + count + 1, sizeof *out);
  size_t used = 0;
  if (out == NULL) return NULL;
  for (size_t i = 0; environ[i] != NULL && used < ENVIRONMENT_MAX; i++) {
    if (!is_replaced(environ[i], ours, count)) out[used++] = environ[i];
  }
  for (size_t i = 0; i < count; i++) out[used++] = ours[i];
  return out;
}

static rh_status failed(const char *what, int exit_status, const rh_dynbuf *complaints, rh_error *error) {
  char reason[400];
  rh_status status = rh_tool_judge(rh_dynbuf_data(complaints), reason, sizeof reason);
  if (exit_status == 128 + 2 || exit_status == 128 + 15)
    return rh_fail(error, RH_CANCELLED, "%s was interrupted", what);
  if (reason[0] == '\0') return rh_fail(error, status, "%s failed with exit status %d and no word", what, exit_status);
  return rh_fail(error, status, "%s says: %s", what, reason);
}

rh_status rh_tool_run(const rh_tool *tool, const char *what, const char *temporary,
                      rh_status (*line)(void *ctx, const char *line), void *ctx, rh_error *error) {
  char folder[4200];
  (void)snprintf(folder, sizeof folder, "TMPDIR=%.4100s", temporary);
  const char *const ours[] = {folder,
                              "PIP_NO_INPUT=1",
                              "PIP_DISABLE_PIP_VERSION_CHECK=1",
                              "PYTHONUNBUFFERED=1",
                              "NPM_CONFIG_UPDATE_NOTIFIER=false",
                              "NO_COLOR=1"};
  const char **environment = new_environment(ours, sizeof ours / sizeof *ours);
  if (environment == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to run %s", what);
  rh_dynbuf complaints;
  rh_dynbuf_init(&complaints, COMPLAINTS_BYTES_MAX);
  // It stays in our process group: who interrupts us interrupts it.
  rh_subprocess_options options = {
      .argv = tool->words,
      // exec takes its strings as if they could be changed, for reasons of history; it does not change them.
      .environment = (char *const *)(uintptr_t)environment,
      .input = -1,
      .output = -1,
      .error_output = -1,
      .extra = -1,
  };
  int exit_status = 0;
  rh_status status = rh_subprocess_run(&options, line, ctx, &complaints, &exit_status, error);
  if (status == RH_OK && exit_status != 0) status = failed(what, exit_status, &complaints, error);
  rh_dynbuf_free(&complaints);
  free(environment);
  return status;
}

// --- what they say -------------------------------------------------------------------------------------------------

// Copies a line without what a URL must not tell: "https://user:secret@host/x?key=1" -> "https://host/x".
static void copy_harmless(char *out, size_t size, const char *line, size_t length) {
  size_t used = 0;
  for (size_t i = 0; i < length && used + 1 < size; i++) {
    unsigned char c = (unsigned char)line[i];
    out[used++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    out[used] = '\0';
    if (used < 3 || memcmp(out + used - 3, "://", 3) != 0) continue;
    // The authority ends at the path; all of it up to the last '@' is a credential.
    size_t end = i + 1, from = i + 1;
    while (end < length && strchr("/ \t\"'<>", line[end]) == NULL) {
      if (line[end] == '@') from = end + 1;
      end++;
    }
    size_t stop = from;
    while (stop < length && strchr("?# \t\"'<>", line[stop]) == NULL) stop++;
    for (size_t at = from; at < stop && used + 1 < size; at++) out[used++] = line[at];
    if (stop < length && (line[stop] == '?' || line[stop] == '#')) stop += strcspn(line + stop, " \t\"'<>\n");
    i = (stop < length ? stop : length) - 1;
  }
  out[used < size ? used : size - 1] = '\0';
}

static bool holds(const char *line, size_t length, const char *word) {
  return memmem(line, length, word, strlen(word)) != NULL;
}

// The line that tells most: the first that npm marks (its code stands apart), else the last that pip marks, else the
// last one.
static const char *telling_line(const char *text, size_t *length) {
  const char *npm = NULL, *marked = NULL, *last = NULL;
  for (const char *line = text; *line != '\0';) {
    size_t own = strcspn(line, "\n");
    bool blank = strspn(line, " \t\r") >= own;
    bool from_npm = holds(line, own, "npm error") || holds(line, own, "npm ERR!");
    if (from_npm && npm == NULL && !holds(line, own, " code ")) npm = line;
    if (holds(line, own, "ERROR:") || holds(line, own, "rror: ")) marked = line;
    if (!blank && !from_npm) last = line;
    line += own;
    if (*line == '\n') line++;
  }
  const char *best = npm != NULL ? npm : marked != NULL ? marked : last != NULL ? last : text;
  *length = strcspn(best, "\n");
  return best;
}

rh_status rh_tool_judge(const char *complaints, char *out, size_t size) {
  static const struct {
    const char *phrase;
    rh_status status;
  } meanings[] = {
      {"Operation cancelled by user", RH_CANCELLED},
      {"KeyboardInterrupt", RH_CANCELLED},
      {"No space left on device", RH_NO_SPACE},
      {"ENOSPC", RH_NO_SPACE},
      // A network that is down also makes pip say that there is no such version: these come first.
      {"NewConnectionError", RH_UNAVAILABLE},
      {"ConnectTimeout", RH_UNAVAILABLE},
      {"ReadTimeout", RH_UNAVAILABLE},
      {"Connection aborted", RH_UNAVAILABLE},
      {"Temporary failure in name resolution", RH_UNAVAILABLE},
      {"ENOTFOUND", RH_UNAVAILABLE},
      {"EAI_AGAIN", RH_UNAVAILABLE},
      {"ECONNREFUSED", RH_UNAVAILABLE},
      {"ECONNRESET", RH_UNAVAILABLE},
      {"ETIMEDOUT", RH_UNAVAILABLE},
      {"No matching distribution", RH_NOT_FOUND},
      {"Could not find a version", RH_NOT_FOUND},
      {"E404", RH_NOT_FOUND},
      {"ETARGET", RH_NOT_FOUND},
      {"404 Not Found", RH_NOT_FOUND},
  };
  size_t length = 0;
  const char *line = telling_line(complaints, &length);
  copy_harmless(out, size, line, length);
  for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
    if (strstr(complaints, meanings[i].phrase) != NULL) return meanings[i].status;
  }
  return RH_IO;
}

bool rh_tool_parse_progress(const char *line, int64_t *done, int64_t *total) {
  long long a = 0, b = 0;
  int end = 0;
  if (sscanf(line, "Progress %lld of %lld%n", &a, &b, &end) != 2 || line[end] != '\0') return false;
  if (a < 0 || b < a) return false;
  *done = a;
  *total = b;
  return true;
}

int rh_tool_parse_pip_version(const char *line) {
  int major = 0, minor = 0;
  if (sscanf(line, "pip %3d.%3d", &major, &minor) != 2 || major < 0 || minor < 0) return 0;
  return major * 100 + (minor < 100 ? minor : 99);
}
