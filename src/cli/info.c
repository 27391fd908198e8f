// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse info`: the machine, and which engines work on it. Runs the worker with --probe, because only the worker
// links engines. Owns nothing that outlives a call. One thread.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/version.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/output.h"
#include "model/hardware.h"

#define PROBE_TIMEOUT_NS (20 * RH_NS_PER_S)
#define PROBE_BYTES_MAX ((size_t)1024 * 1024)

extern char **environ;

typedef struct info_options {
  char *worker;
  bool json;
  bool color;
} info_options;

#define FLAG(kind, name, initial, about) RH_CLI_FLAG(kind, info_options, name, initial, 0, 0, about)

static const rh_setting info_flags[] = {
    FLAG(RH_SETTING_STRING, worker, NULL, "path of the program roundhouse-worker; default: as configured"),
    FLAG(RH_SETTING_BOOL, json, "false", "print JSON"),
    FLAG(RH_SETTING_BOOL, color, "true", "colours on a terminal; also NO_COLOR"),
};
#define INFO_FLAG_COUNT (sizeof info_flags / sizeof *info_flags)

// Engines that other builds have; so that nobody searches for a switch that is not there.
static const struct {
  const char *name, *reason;
} absent_engines[] = {
    {"llama", "not in this build (ENGINE_LLAMA=off)"},
    {"onnx", "not in this build (ENGINE_ONNX=off)"},
};

// Reads what the probe prints until it ends or the time is over.
static rh_status read_probe(int fd, rh_dynbuf *out, rh_error *error) {
  uint64_t deadline = rh_clock_now_ns() + PROBE_TIMEOUT_NS;
  for (;;) {
    uint64_t now = rh_clock_now_ns();
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (now >= deadline) return rh_fail(error, RH_DEADLINE, "its probe takes too long");
    if (poll(&wait, 1, (int)((deadline - now) / RH_NS_PER_MS) + 1) <= 0) continue;
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return RH_OK;
    if (rh_dynbuf_append(out, bytes, (size_t)n) != RH_OK)
      return rh_fail(error, RH_TOO_LARGE, "its probe prints too much");
  }
}

static rh_status spawn_probe(const char *worker, int out_fd, pid_t *pid, rh_error *error) {
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions) != 0) return rh_fail(error, RH_NO_MEMORY, "no memory");
  // Engines print what they find to standard error; the person asked for our summary.
  int failed = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  failed |= posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
  failed |= posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  char *arguments[] = {strdup(worker), strdup("--probe"), NULL};
  int code = failed != 0 || arguments[0] == NULL || arguments[1] == NULL
                 ? ENOMEM
                 : posix_spawn(pid, worker, &actions, NULL, arguments, environ);
  free(arguments[0]);
  free(arguments[1]);
  posix_spawn_file_actions_destroy(&actions);
  return code == 0 ? RH_OK : rh_fail(error, RH_NOT_FOUND, "it cannot be started: %s", strerror(code));
}

static rh_status probe_text(const char *worker, rh_dynbuf *text, rh_error *error) {
  int ends[2];
  pid_t pid = 0;
  if (pipe2(ends, O_CLOEXEC) != 0) return rh_fail(error, RH_INTERNAL, "cannot make a pipe: %s", strerror(errno));
  rh_status status = spawn_probe(worker, ends[1], &pid, error);
  close(ends[1]);
  if (status == RH_OK) status = read_probe(ends[0], text, error);
  close(ends[0]);
  if (pid == 0) return status;
  if (status != RH_OK) kill(pid, SIGKILL);
  int how = 0;
  while (waitpid(pid, &how, 0) < 0 && errno == EINTR) continue;
  if (status == RH_OK && WIFSIGNALED(how))
    return rh_fail(error, RH_INTERNAL, "its probe was ended by %s", strsignal(WTERMSIG(how)));
  return status;
}

// The array of engines in what the probe printed: {"version", "engines": [...]}. New reference; NULL when there is none.
static json_t *parse_probe(const rh_dynbuf *text, rh_error *error) {
  json_t *root = rh_json_parse(rh_dynbuf_data(text), text->length, error);
  json_t *engines = json_object_get(root, "engines");
  if (json_is_array(engines))
    json_incref(engines);
  else
    engines = NULL;
  json_decref(root);
  if (engines == NULL) rh_fail(error, RH_PROTOCOL, "its probe does not print a list of engines");
  return engines;
}

// The worker's engines, or an empty array with the reason in `problem`.
static json_t *probe_engines(const char *worker, rh_error *problem) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, PROBE_BYTES_MAX);
  json_t *engines = NULL;
  rh_error inner = {0};
  if (probe_text(worker, &text, &inner) == RH_OK) engines = parse_probe(&text, &inner);
  rh_dynbuf_free(&text);
  if (engines != NULL) return engines;
  rh_fail(problem, inner.status, "the engines are unknown, because of %s: %s; is it installed?", worker, inner.message);
  return json_array();
}

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text != NULL ? text : "";
}

static bool is_listed(const json_t *engines, const char *name) {
  size_t i;
  json_t *engine;
  json_array_foreach(engines, i, engine) {
    if (strcmp(text_of(engine, "engine"), name) == 0) return true;
  }
  return false;
}

// Where nothing could be asked, nothing is known of what the build has.
static void add_absent(json_t *engines) {
  if (json_array_size(engines) == 0) return;
  for (size_t i = 0; i < sizeof absent_engines / sizeof *absent_engines; i++) {
    if (is_listed(engines, absent_engines[i].name)) continue;
    json_array_append_new(engines, json_pack("{sssbss}", "engine", absent_engines[i].name, "available", 0, "reason",
                                             absent_engines[i].reason));
  }
}

static void print_line(const char *name, const char *value) {
  printf("%s%-12s%s", rh_cli_style(stdout, RH_STYLE_BOLD), name, rh_cli_style(stdout, RH_STYLE_OFF));
  rh_cli_write_text(stdout, value, strlen(value));
  fputc('\n', stdout);
}

static void print_hardware(const rh_hardware *hardware) {
  char text[256], total[32], left[32];
  print_line("system", hardware->os);
  snprintf(text, sizeof text, "%.128s, %d cores usable (%d threads)", hardware->cpu_name, hardware->cores_physical,
           hardware->cores_logical);
  print_line("processor", text);
  print_line("features", hardware->cpu_features[0] != '\0' ? hardware->cpu_features : "none that matter here");
  rh_cli_format_bytes(total, sizeof total, hardware->memory_bytes);
  rh_cli_format_bytes(left, sizeof left, hardware->memory_free_bytes);
  snprintf(text, sizeof text, "%s, %s free", total, left);
  print_line("memory", text);
  if (hardware->gpus[0] == '\0') {
    char reason[300];
    snprintf(reason, sizeof reason, "none: %s", hardware->gpu_reason);
    print_line("gpu", reason);
    return;
  }
  for (const char *line = hardware->gpus; *line != '\0';) {
    size_t length = strcspn(line, "\n");
    snprintf(text, sizeof text, "%.*s", (int)length, line);
    print_line("gpu", text);
    line += length + (line[length] == '\n');
  }
}

// A line about an engine, when its probe says something under `key`.
static void print_remark(const json_t *engine, const char *key, const char *about) {
  const char *remark = text_of(engine, key);
  if (remark[0] == '\0') return;
  printf("\n%s: %s", text_of(engine, "engine"), about);
  rh_cli_write_text(stdout, remark, strlen(remark));
  fputc('\n', stdout);
}

static int print_engines(const json_t *engines) {
  static const char *const headings[] = {"ENGINE", "WORKS", "VERSION", "RUNS ON", "DETAILS", NULL};
  rh_table *table = rh_table_new(headings);
  size_t i, d;
  json_t *engine, *device;
  json_array_foreach(engines, i, engine) {
    char devices[512] = "";
    bool works = json_is_true(json_object_get(engine, "available"));
    json_array_foreach(json_object_get(engine, "devices"), d, device) {
      if (json_is_false(json_object_get(device, "available"))) continue;
      size_t used = strlen(devices);
      snprintf(devices + used, sizeof devices - used, "%s%s", used > 0 ? ", " : "", text_of(device, "name"));
    }
    rh_table_add(table,
                 (const char *const[]){text_of(engine, "engine"), works ? "yes" : "no", text_of(engine, "version"),
                                       devices, text_of(engine, works ? "acceleration" : "reason")});
  }
  int code = rh_table_print_free(table, stdout);
  json_array_foreach(engines, i, engine) {
    if (!json_is_true(json_object_get(engine, "available"))) continue;
    print_remark(engine, "kernels", "kernels: ");
    // An engine that works may still say which of its accelerators do not.
    print_remark(engine, "reason", "");
  }
  return code;
}

static json_t *hardware_json(const rh_hardware *hardware) {
  json_t *gpus = json_array();
  for (const char *line = hardware->gpus; *line != '\0';) {
    size_t length = strcspn(line, "\n");
    json_array_append_new(gpus, json_stringn(line, length));
    line += length + (line[length] == '\n');
  }
  return json_pack("{sssssssisisIsIsoss}", "os", hardware->os, "cpu", hardware->cpu_name, "cpu_features",
                   hardware->cpu_features, "cores_physical", (int)hardware->cores_physical, "cores_logical",
                   (int)hardware->cores_logical, "memory_bytes", (json_int_t)hardware->memory_bytes,
                   "memory_free_bytes", (json_int_t)hardware->memory_free_bytes, "gpus", gpus, "gpu_reason",
                   hardware->gpu_reason);
}

static char *worker_path(const info_options *options) {
  if (options->worker != NULL && options->worker[0] != '\0') return strdup(options->worker);
  rh_error ignored = {0};
  rh_configuration *conf = rh_connect_configuration(&ignored);
  char *path = strdup(conf != NULL ? conf->settings.worker : "roundhouse-worker");
  rh_configuration_free(conf);
  return path;
}

static int info(const info_options *options) {
  rh_hardware hardware;
  rh_error problem = {0};
  char *worker = worker_path(options);
  if (worker == NULL) return rh_cli_fail(RH_EXIT_ERROR, "no memory to look at this machine");
  rh_hardware_probe(&hardware);
  json_t *engines = probe_engines(worker, &problem);
  add_absent(engines);
  free(worker);
  if (options->json) {
    return rh_cli_print_json(json_pack("{sssososs}", "version", RH_VERSION, "hardware", hardware_json(&hardware),
                                       "engines", engines, "problem", problem.message));
  }
  print_line("roundhouse", RH_VERSION);
  print_hardware(&hardware);
  fputc('\n', stdout);
  int code = print_engines(engines);
  json_decref(engines);
  return problem.message[0] != '\0' ? rh_cli_fail(RH_EXIT_ERROR, "%s", problem.message) : code;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  info_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  code = info(&options);
  rh_cli_args_free(&args);
  rh_config_release(info_flags, INFO_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_info = {
    .name = "info",
    .arguments = "",
    .help = "Show this machine's hardware and which engines work on it",
    .details = "",
    .flags = info_flags,
    .flag_count = INFO_FLAG_COUNT,
    .run = run,
};
