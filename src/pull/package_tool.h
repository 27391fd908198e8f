// SPDX-License-Identifier: Apache-2.0
//
// Private to src/pull: running pip, npm, python and tar.
#ifndef RH_PULL_PACKAGE_TOOL_H
#define RH_PULL_PACKAGE_TOOL_H

#include "pull/internal.h"

#define RH_TOOL_WORDS_MAX 24

// A command line that grows; the words are borrowed. Always NULL-terminated.
typedef struct rh_tool {
  const char *words[RH_TOOL_WORDS_MAX + 1];
  size_t count;
  char own[600];  // memory of a word that was made: ROUNDHOUSE_PIP, or python's path
} rh_tool;

void rh_tool_add(rh_tool *tool, const char *word);

// pip: the option's, ROUNDHOUSE_PIP's, else the first of pip3, pip and python3 -m pip that is there. RH_NOT_FOUND says
// how to get one.
rh_status rh_tool_find_pip(const rh_pull_options *options, rh_tool *out, rh_error *error) RH_MUST_CHECK;
// The python of that pip: beside it, else the one in PATH.
void rh_tool_find_python(const rh_tool *pip, rh_tool *out);
rh_status rh_tool_find_npm(const rh_pull_options *options, rh_tool *out, rh_error *error) RH_MUST_CHECK;

// Runs it with TMPDIR set to `temporary` (so that big files stay on the store's disk) and without questions. `what` is
// for messages ("pip"). When it fails: RH_NOT_FOUND, RH_UNAVAILABLE, RH_NO_SPACE or RH_IO with its own last complaint.
rh_status rh_tool_run(const rh_tool *tool, const char *what, const char *temporary,
                      rh_status (*line)(void *ctx, const char *line), void *ctx, rh_error *error) RH_MUST_CHECK;

// Pure, for tests. What went wrong according to `complaints`, in one line of at most `size` bytes, without user, password
// and query of URLs; and the status that it means.
rh_status rh_tool_judge(const char *complaints, char *out, size_t size);
// "Progress 12 of 34", as pip says it with --progress-bar raw.
bool rh_tool_parse_progress(const char *line, int64_t *done, int64_t *total);
// "pip 24.1.2 from ..." is 2401; 0 for anything else. From 2401 on pip knows --progress-bar raw.
int rh_tool_parse_pip_version(const char *line);

#endif
