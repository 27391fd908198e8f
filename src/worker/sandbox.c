// SPDX-License-Identifier: Apache-2.0
//
// The process's own limits; state lives in the kernel. There is no system-call filter, Landlock or namespace here yet:
// the engines' own needs (threads, mmap, devices) come first, and a filter that breaks a driver is worse than none.
#include "worker/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

rh_status rh_sandbox_enter(rh_error *error) {
  // A closed socket ends a worker too, but only this also ends one whose I/O thread cannot run.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return rh_fail(error, RH_IO, "prctl failed: %s", strerror(errno));
  }
  // A core dump would hold prompts, and a crash loop with a large model would fill the disk.
  const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) return rh_fail(error, RH_IO, "setrlimit failed: %s", strerror(errno));
  // Ctrl-C reaches the whole process group; the daemon decides what it means.
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  return RH_OK;
}
