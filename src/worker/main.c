// SPDX-License-Identifier: Apache-2.0
//
// roundhouse-worker: one loaded model in one process, served over an inherited socket. Started by the daemon, not by
// people. Reads its flags, enters the sandbox and runs one session. It opens no network and reads no configuration
// file.
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dynbuf.h"
#include "base/log.h"
#include "base/version.h"
#include "engine/engine.h"
#include "worker/sandbox.h"
#include "worker/session.h"

#define DEFAULT_FD 3
#define PROBE_BYTES_MAX ((size_t)1 << 20)

static const char usage[] =
    "Usage: roundhouse-worker [--fd N]\n"
    "       roundhouse-worker --probe | --version | --help\n"
    "\n"
    "Holds one model for the roundhouse daemon, which starts this program by itself.\n"
    "\n"
    "  --fd N      the socket to the daemon is file descriptor N (default 3)\n"
    "  --probe     print what the engines of this build find on this machine, as JSON\n"
    "  --version   print the version\n"
    "  --help      print this\n"
    "\n"
    "Environment: ROUNDHOUSE_LOG_LEVEL  debug, info, warn, error or off (default info)\n";

typedef struct options {
  int fd;
  bool probe;
} options;

// What remains to be done with the process: an exit code, or -1 to go on.
static int read_options(int argc, char **argv, options *out) {
  static const struct option known[] = {
      {"fd", required_argument, NULL, 'f'},
      {"probe", no_argument, NULL, 'p'},
      {"version", no_argument, NULL, 'v'},
      {"help", no_argument, NULL, 'h'},
      {NULL, 0, NULL, 0},
  };
  *out = (options){.fd = DEFAULT_FD};
  for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    char *end = NULL;
    long number = 0;
    switch (c) {
      case 'f':
        errno = 0;
        number = strtol(optarg, &end, 10);
        if (errno != 0 || end == optarg || *end != '\0' || number < 0 || number > 1 << 20) {
          fprintf(stderr, "roundhouse-worker: --fd needs a number, not \"%s\"\n", optarg);
          return RH_EXIT_USAGE;
        }
        out->fd = (int)number;
        break;
      case 'p': out->probe = true; break;
      case 'v': printf("roundhouse-worker %s\n", RH_VERSION); return RH_EXIT_OK;
      case 'h': fputs(usage, stdout); return RH_EXIT_OK;
      default: fputs("Try roundhouse-worker --help.\n", stderr); return RH_EXIT_USAGE;
    }
  }
  if (optind == argc) return -1;
  fprintf(stderr, "roundhouse-worker: \"%s\" is not understood. Try roundhouse-worker --help.\n", argv[optind]);
  return RH_EXIT_USAGE;
}

static int probe(void) {
  rh_dynbuf out;
  rh_dynbuf_init(&out, PROBE_BYTES_MAX);
  (void)rh_dynbuf_printf(&out, "{\"version\":\"%s\",\"engines\":[", RH_VERSION);
  rh_status status = RH_OK;
  const rh_engine_ops *const *engines = rh_engine_all();
  for (size_t i = 0; status == RH_OK && engines[i] != NULL; i++) {
    if (i > 0) (void)rh_dynbuf_append_char(&out, ',');
    status = engines[i]->probe(&out);
  }
  (void)rh_dynbuf_append_text(&out, "]}\n");
  if (status == RH_OK && out.failed) status = RH_TOO_LARGE;
  if (status == RH_OK && fwrite(rh_dynbuf_data(&out), 1, out.length, stdout) != out.length) status = RH_IO;
  if (fflush(stdout) != 0) status = RH_IO;
  if (status != RH_OK) fprintf(stderr, "roundhouse-worker: the probe failed: %s\n", rh_status_name(status));
  rh_dynbuf_free(&out);
  return status == RH_OK ? RH_EXIT_OK : RH_EXIT_ENGINE;
}

static bool is_socket(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
}

static int serve(int fd) {
  rh_error error = {0};
  rh_session *session = NULL;
  rh_status status = rh_sandbox_enter(&error);
  if (status == RH_OK) status = rh_session_new(fd, &session, &error);
  if (status != RH_OK) {
    RH_LOG(RH_LOG_ERROR, "the worker cannot start", rh_log_str("error", error.message));
    return RH_EXIT_ENGINE;
  }
  return (int)rh_session_loop(session);
}

int main(int argc, char **argv) {
  options chosen;
  int code = read_options(argc, argv, &chosen);
  if (code >= 0) return code;
  const char *level_name = getenv("ROUNDHOUSE_LOG_LEVEL");
  rh_log_level level = RH_LOG_INFO;
  if (level_name != NULL && rh_log_level_from_name(level_name, &level) != RH_OK) level = RH_LOG_INFO;
  rh_log_setup(STDERR_FILENO, level, RH_LOG_JSON);
  if (chosen.probe) return probe();
  if (!is_socket(chosen.fd)) {
    fprintf(stderr,
            "roundhouse-worker: file descriptor %d is not a socket. This program is started by the roundhouse daemon; "
            "run \"roundhouse serve\" instead.\n",
            chosen.fd);
    return RH_EXIT_USAGE;
  }
  // The engine thread may be in the middle of a step: nothing of it can be cleaned up, and nothing needs to be.
  _exit(serve(chosen.fd));
}
