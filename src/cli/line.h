// SPDX-License-Identifier: Apache-2.0
//
// Reading lines from a person: with libedit (arrows, history) where the build has it, plainly otherwise.
#ifndef RH_CLI_LINE_H
#define RH_CLI_LINE_H

#include "base/status.h"

typedef struct rh_line rh_line;

rh_line *rh_line_new(void);  // NULL when memory is short
void rh_line_free(rh_line *line);

// Shows `prompt` and reads one line without its newline into *out (the caller frees it).
// RH_NOT_FOUND: end of input (Ctrl-D). RH_CANCELLED: Ctrl-C.
rh_status rh_line_read(rh_line *line, const char *prompt, char **out) RH_MUST_CHECK;

#endif
