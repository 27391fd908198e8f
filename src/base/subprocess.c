// SPDX-License-Identifier: Apache-2.0
//
// Starting other programs. Owns nothing; any thread. It keeps no list of children: whoever starts one waits for it.
//
// fork and exec and not posix_spawn, because a child that must not outlive us asks the kernel for that between the two.
// Between them only calls are made that are safe in the child of a process with threads; all memory is prepared before.
#include "base/subprocess.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STANDARD_FDS 4  // 0, 1, 2 and the extra one
#define PATH_BYTES_MAX 4096
#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

extern char **environ;

// Everything the child needs, made ready before the fork.
typedef struct child_plan {
  char path[PATH_BYTES_MAX];
  char *argv[RH_SUBPROCESS_ARGUMENTS_MAX + 1];
  char *const *environment;
  int fds[STANDARD_FDS];  // what becomes 0..3; RH_SUBPROCESS_INHERIT = leave alone (3: close-on-exec closes it)
  int null_fd;
  int report_fd;  // the child writes errno here when it cannot become the program; exec closes it
  bool own_group, ends_with_us;
  pid_t parent;
} child_plan;

static bool is_program(const char *path) {
  struct stat about;
  return stat(path, &about) == 0 && S_ISREG(about.st_mode) && access(path, X_OK) == 0;
}

// Where a shell would find `name`. False: nowhere.
static bool find_program(const char *name, char out[PATH_BYTES_MAX]) {
  if (strchr(name, '/') != NULL) {
    int length = snprintf(out, PATH_BYTES_MAX, "%s", name);
    return length > 0 && length < PATH_BYTES_MAX;
  }
  const char *at = getenv("PATH");
  if (at == NULL || at[0] == '\0') at = PATH_DEFAULT;
  while (name[0] != '\0') {
    size_t length = strcspn(at, ":");
    int written = length == 0 ? snprintf(out, PATH_BYTES_MAX, "./%s", name)
                              : snprintf(out, PATH_BYTES_MAX, "%.*s/%s", (int)length, at, name);
    if (written > 0 && written < PATH_BYTES_MAX && is_program(out)) return true;
    if (at[length] == '\0') return false;
    at += length + 1;
  }
  return false;
}

// --- in the child --------------------------------------------------------------------------------------------------

static _Noreturn void give_up(const child_plan *plan, int code) {
  ssize_t ignored = write(plan->report_fd, &code, sizeof code);
  (void)ignored;
  _exit(127);
}

static void reset_signals(void) {
  struct sigaction normal;
  memset(&normal, 0, sizeof normal);
  normal.sa_handler = SIG_DFL;
  // Those that cannot be set (SIGKILL, the C library's own) say so, and are as they should be.
  for (int number = 1; number < NSIG; number++) (void)sigaction(number, &normal, NULL);
  sigset_t none;
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become_program(const child_plan *plan) {
  if (plan->own_group && setpgid(0, 0) != 0) give_up(plan, errno);
  if (plan->ends_with_us) {
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != plan->parent) _exit(127);  // we died before the line above
  }
  reset_signals();
  for (int target = 0; target < STANDARD_FDS; target++) {
    if (plan->fds[target] >= 0 && dup2(plan->fds[target], target) < 0) give_up(plan, errno);
  }
  // Ours are close-on-exec, but not what whoever started us left open. An old kernel cannot: then it is as it was.
  unsigned first = plan->fds[STANDARD_FDS - 1] >= 0 ? STANDARD_FDS : STANDARD_FDS - 1;
  (void)close_range(first, ~0u, CLOSE_RANGE_CLOEXEC);
  execve(plan->path, plan->argv, plan->environment);
  give_up(plan, errno);
}

// --- in the parent -------------------------------------------------------------------------------------------------

static rh_status cannot(rh_error *error, const char *program, int code) {
  rh_status status = code == ENOENT || code == ENOTDIR ? RH_NOT_FOUND : code == ENOMEM ? RH_NO_MEMORY : RH_IO;
  return rh_fail(error, status, "cannot start %s: %s", program, strerror(code));
}

// The descriptors of the plan are copies above 3, so that making one of 0..3 never overwrites another's source.
static int lift(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, STANDARD_FDS); }

static void close_plan(child_plan *plan) {
  for (int i = 0; i < STANDARD_FDS; i++) {
    if (plan->fds[i] >= 0 && plan->fds[i] != plan->null_fd) close(plan->fds[i]);
  }
  if (plan->null_fd >= 0) close(plan->null_fd);
}

// 0, or an errno.
static int lift_all(const rh_subprocess_options *options, child_plan *plan) {
  const int wanted[STANDARD_FDS] = {options->input, options->output, options->error_output,
                                    options->extra >= 0 ? options->extra : RH_SUBPROCESS_INHERIT};
  for (int i = 0; i < STANDARD_FDS; i++) plan->fds[i] = RH_SUBPROCESS_INHERIT;
  int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  plan->null_fd = null_fd < 0 ? -1 : lift(null_fd);
  if (null_fd >= 0) close(null_fd);
  if (plan->null_fd < 0) return errno;
  for (int i = 0; i < STANDARD_FDS; i++) {
    if (wanted[i] == RH_SUBPROCESS_INHERIT) continue;
    plan->fds[i] = wanted[i] < 0 ? plan->null_fd : lift(wanted[i]);
    if (plan->fds[i] < 0) return errno;
  }
  return 0;
}

static rh_status make_plan(const rh_subprocess_options *options, child_plan *plan, rh_error *error) {
  size_t count = 0;
  for (; options->argv[count] != NULL; count++) {
    if (count == RH_SUBPROCESS_ARGUMENTS_MAX) {
      return rh_fail(error, RH_TOO_LARGE, "cannot start %s: more than %d arguments", options->argv[0],
                     RH_SUBPROCESS_ARGUMENTS_MAX);
    }
    // execve takes its strings as if they could be changed, for reasons of history; it does not change them.
    plan->argv[count] = (char *)(uintptr_t)options->argv[count];
  }
  assert(count > 0);
  plan->argv[count] = NULL;
  if (options->argv0 != NULL) plan->argv[0] = (char *)(uintptr_t)options->argv0;
  if (!find_program(options->argv[0], plan->path)) {
    return rh_fail(error, RH_NOT_FOUND, "there is no program \"%s\" in PATH; install it, or give its whole path",
                   options->argv[0]);
  }
  plan->environment = options->environment != NULL ? options->environment : environ;
  plan->own_group = options->own_group;
  plan->ends_with_us = options->ends_with_us;
  plan->parent = getpid();
  int failed = lift_all(options, plan);
  if (failed == 0) return RH_OK;
  close_plan(plan);
  return cannot(error, options->argv[0], failed);
}

// What the child could not do, or 0 when it became the program, which closes its end.
static int read_report(int fd) {
  int code = 0;
  ssize_t got;
  do got = read(fd, &code, sizeof code);
  while (got < 0 && errno == EINTR);
  return got == (ssize_t)sizeof code ? code : 0;
}

// 0 with the child's pid, or an errno and no child.
static int launch(child_plan *plan, pid_t *pid) {
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return errno;
  plan->report_fd = lift(report[1]);
  int failed = plan->report_fd < 0 ? errno : 0;
  close(report[1]);
  if (failed == 0) {
    // No signal may be handled in the child before it has put its handlers away: they are ours and would act for us.
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    *pid = fork();
    if (*pid == 0) become_program(plan);
    failed = *pid < 0 ? errno : 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(plan->report_fd);
  }
  if (failed == 0) {
    failed = read_report(report[0]);
    while (failed != 0 && waitpid(*pid, NULL, 0) < 0 && errno == EINTR) {
    }
  }
  close(report[0]);
  return failed;
}

rh_status rh_subprocess_spawn(const rh_subprocess_options *options, pid_t *pid, rh_error *error) {
  child_plan plan;
  memset(&plan, 0, sizeof plan);
  *pid = 0;
  rh_status status = make_plan(options, &plan, error);
  if (status != RH_OK) return status;
  int failed = launch(&plan, pid);
  close_plan(&plan);
  if (failed == 0) return RH_OK;
  *pid = 0;
  return cannot(error, options->argv[0], failed);
}

void rh_subprocess_describe(int wait_status, char *out, size_t size) {
  if (WIFSIGNALED(wait_status)) {
    const char *name = sigdescr_np(WTERMSIG(wait_status));
    snprintf(out, size, "was ended by signal %d (%s)", WTERMSIG(wait_status), name != NULL ? name : "unknown");
  } else {
    snprintf(out, size, "ended with exit status %d", WEXITSTATUS(wait_status));
  }
}
