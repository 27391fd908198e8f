// SPDX-License-Identifier: Apache-2.0
//
// Starting and reaping a worker process. The worker gets one end of a socket pair as descriptor 3, nothing else of ours
// (every other descriptor is close-on-exec), no terminal input, and only those environment variables it has use for, so
// that the keys of remote providers never reach the process that reads strangers' model files.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/subprocess.h"
#include "fleet/internal.h"

#define ENVIRONMENT_MAX 256

extern char **environ;

static const char *const passed_prefixes[] = {
    "PATH=",
    "HOME=",
    "LANG=",
    "LC_",
    "TZ=",
    "TMPDIR=",
    "LD_",
    "GGML_",
    "LLAMA_",
    "CUDA_",
    "NVIDIA_",
    "VK_",
    "HIP_",
    "ROCR_",
    "OMP_",
    "ASAN_OPTIONS=",
    "UBSAN_OPTIONS=",
    "TSAN_OPTIONS=",
    "LSAN_OPTIONS=",
    "MALLOC_",
    "GLIBC_TUNABLES=",
    "ROUNDHOUSE_LOG_",
    "ROUNDHOUSE_LLAMA_DIR=",
    "ROUNDHOUSE_KERNELS=",
    // The ONNX engine: its library, its providers' order and plugins, where it keeps graphs and looks for wheels.
    "ROUNDHOUSE_ORT",
    "ROUNDHOUSE_PROVIDERS=",
    "ROUNDHOUSE_CACHE=",
    "XDG_CACHE_HOME=",
    "VIRTUAL_ENV=",
    "CONDA_PREFIX=",
    "FORCE_DEVICE=",
    "MAX_GPU_MEM_GB=",
    "ORT_",
};

static bool is_passed(const char *variable) {
  for (size_t i = 0; i < sizeof passed_prefixes / sizeof passed_prefixes[0]; i++) {
    if (rh_text_starts_with(variable, passed_prefixes[i])) return true;
  }
  return false;
}

// A model's keys and values are hundreds of megabytes that are zeroed at every load; in huge pages that is far cheaper, and a
// swap between models takes about half the time (docs/benchmarks.md). Where the system leaves huge pages to those who ask,
// malloc asks. A person's own word counts more.
static char huge_pages[] = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1";

static void pick_environment(char *out[ENVIRONMENT_MAX]) {
  size_t count = 0;
  if (getenv("GLIBC_TUNABLES") == NULL) out[count++] = huge_pages;
  for (char **at = environ; *at != NULL && count + 1 < ENVIRONMENT_MAX; at++) {
    if (is_passed(*at)) out[count++] = *at;
  }
  out[count] = NULL;
}

static rh_status spawn(const char *path, int socket_fd, pid_t *pid, rh_error *error) {
  char *environment[ENVIRONMENT_MAX];
  pick_environment(environment);
  const char *const argv[] = {path, NULL};
  // A group of its own keeps a Ctrl-C in the daemon's terminal from reaching it: the daemon decides when a worker ends.
  rh_subprocess_options options = {.argv = argv,
                                   .argv0 = "roundhouse-worker",
                                   .environment = environment,
                                   .input = -1,
                                   .output = STDERR_FILENO,
                                   .error_output = RH_SUBPROCESS_INHERIT,
                                   .extra = socket_fd,
                                   .own_group = true};
  return rh_subprocess_spawn(&options, pid, error);
}

rh_status rh_process_spawn(rh_member *member, rh_error *error) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return rh_fail(error, RH_UNAVAILABLE, "cannot make a socket pair for a worker: %s", strerror(errno));
  }
  rh_error cause = {0};
  rh_status status = spawn(member->options.worker_path, pair[1], &member->pid, &cause);
  close(pair[1]);
  if (status != RH_OK) {
    close(pair[0]);
    return rh_fail(error, RH_UNAVAILABLE,
                   "%s; it is the worker: check the setting \"worker\" or build it with make build", cause.message);
  }
  int pidfd = pidfd_open(member->pid, 0);
  member->process = (rh_watch){.fd = pidfd, .fn = rh_member_on_exit, .ctx = member};
  status = pidfd < 0 ? RH_IO : rh_loop_watch(member->loop, &member->process, EPOLLIN);
  if (status == RH_OK)
    status = rh_channel_open(member, pair[0]);
  else
    close(pair[0]);
  if (status != RH_OK) {
    char reason[128];
    rh_process_kill(member);
    rh_process_reap(member, reason, sizeof reason);
    return rh_fail(error, RH_UNAVAILABLE, "cannot watch a worker process: %s", strerror(errno));
  }
  return RH_OK;
}

void rh_process_kill(rh_member *member) {
  if (member->pid > 0) kill(member->pid, SIGKILL);
}

void rh_process_reap(rh_member *member, char *reason, size_t size) {
  int status = 0;
  pid_t got;
  do got = waitpid(member->pid, &status, 0);
  while (got < 0 && errno == EINTR);
  if (got < 0) {
    snprintf(reason, size, "was lost (%s)", strerror(errno));
  } else {
    rh_subprocess_describe(status, reason, size);
  }
  member->pid = 0;
  rh_loop_unwatch(member->loop, &member->process);
  if (member->process.fd >= 0) close(member->process.fd);
  member->process.fd = -1;
}
