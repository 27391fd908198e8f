// SPDX-License-Identifier: Apache-2.0
//
// Starting other programs. The child gets the descriptors named here and nothing else of ours (all others are
// close-on-exec), default signals and an empty signal mask.
#ifndef RH_BASE_SUBPROCESS_H
#define RH_BASE_SUBPROCESS_H

#include <sys/types.h>

#include "base/dynbuf.h"
#include "base/status.h"

typedef struct rh_subprocess_options {
  const char *const *argv;          // NULL-terminated; argv[0] is the program, looked for in PATH when it has no slash
  const char *argv0;                // what the child sees as argv[0]; NULL = argv[0]
  char *const *environment;         // NULL = ours
  int input, output, error_output;  // descriptors for 0, 1 and 2; -1 = /dev/null, RH_SUBPROCESS_INHERIT = ours
  int extra;                        // becomes descriptor 3; -1 = none
  bool own_group;                   // a process group of its own: a Ctrl-C in our terminal does not reach it
  bool ends_with_us;                // gets SIGTERM when the thread that started it ends, however it ends
} rh_subprocess_options;

#define RH_SUBPROCESS_INHERIT (-2)

#define RH_SUBPROCESS_ARGUMENTS_MAX 512

// RH_OK: the program runs (its file was found and executed). RH_NOT_FOUND when there is no such program.
rh_status rh_subprocess_spawn(const rh_subprocess_options *options, pid_t *pid, rh_error *error) RH_MUST_CHECK;

// Start, read and wait (blocking; not on a loop's thread). It waits for the program, not for what that left running. `line` (may be NULL) gets each line of its standard output
// without the newline (lines are cut at 64 KiB); a status that is not RH_OK kills the child and is returned.
// `complaints` (may be NULL) keeps the end of its standard error. `options->output` and `error_output` are ignored.
// *exit_status: the exit code, or 128 + signal. RH_OK says that it ran and was waited for, whatever its exit status.
rh_status rh_subprocess_run(const rh_subprocess_options *options, rh_status (*line)(void *ctx, const char *line),
                            void *ctx, rh_dynbuf *complaints, int *exit_status, rh_error *error) RH_MUST_CHECK;

// "was ended by signal 9 (Killed)" or "ended with exit status 3", from what waitpid gave.
void rh_subprocess_describe(int wait_status, char *out, size_t size);

#endif
