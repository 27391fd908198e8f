// SPDX-License-Identifier: Apache-2.0
//
// One pull with every option of pull.h within reach: for tests of what the command line does not offer (time-outs, tries,
// connections). Events go to standard output as lines of JSON; exit status 0 or 1.
//
//   pull_once STORE SOURCE [key=value ...]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "model/known.h"
#include "pull/pull.h"

static bool print_event(void *ctx, const json_t *event) {
  (void)ctx;
  char *line = json_dumps(event, JSON_COMPACT);
  if (line == NULL) return false;
  bool fine = puts(line) >= 0 && fflush(stdout) == 0;
  free(line);
  return fine;
}

// Entries beside the built-in catalogue, as the configuration would give them.
static bool add_catalogue(const char *path) {
  json_t *entries = json_load_file(path, 0, NULL);
  rh_error error = {0};
  bool fine = entries != NULL && rh_known_add(entries, &error) == RH_OK;
  if (!fine) fprintf(stderr, "%s: %s\n", path, error.message);
  json_decref(entries);
  return fine;
}

static bool set(rh_pull_options *options, const char *key, const char *value) {
  long number = strtol(value, NULL, 10);
  bool yes = number != 0;
  if (strcmp(key, "name") == 0)
    options->name = value;
  else if (strcmp(key, "dry_run") == 0)
    options->dry_run = yes;
  else if (strcmp(key, "force") == 0)
    options->force = yes;
  else if (strcmp(key, "offline") == 0)
    options->offline = yes;
  else if (strcmp(key, "wait") == 0)
    options->wait_for_lock = yes;
  else if (strcmp(key, "convert") == 0)
    options->convert = yes;
  else if (strcmp(key, "keep_original") == 0)
    options->keep_original = yes;
  else if (strcmp(key, "converter") == 0)
    options->converter = value;
  else if (strcmp(key, "files") == 0)
    options->files_at_once = (int)number;
  else if (strcmp(key, "ranges") == 0)
    options->ranges_at_once = (int)number;
  else if (strcmp(key, "tries") == 0)
    options->tries_max = (int)number;
  else if (strcmp(key, "stall_ms") == 0)
    options->stall_timeout_ns = (uint64_t)number * RH_NS_PER_MS;
  else if (strcmp(key, "limit") == 0)
    options->store_limit_bytes = strtoll(value, NULL, 10);
  else if (strcmp(key, "catalogue") == 0)
    return add_catalogue(value);
  else
    return false;
  return true;
}

int main(int argc, char **argv) {
  rh_pull_options options = {.no_hardware_check = true, .wait_for_lock = true};
  rh_pull_listener listener = {.event = print_event};
  rh_store *store = NULL;
  rh_error error = {0};
  if (argc < 3) return 2;
  rh_log_setup(2, RH_LOG_WARN, RH_LOG_PLAIN);
  options.source = argv[2];
  for (int i = 3; i < argc; i++) {
    char *equals = strchr(argv[i], '=');
    if (equals == NULL) return 2;
    *equals = '\0';
    if (!set(&options, argv[i], equals + 1)) return 2;
  }
  rh_status status = rh_store_open(argv[1], true, &store, &error);
  if (status == RH_OK) {
    status = rh_pull(store, &options, &listener, NULL, &error);
    rh_store_close(store);
  } else {
    fprintf(stderr, "%s\n", error.message);
  }
  return status == RH_OK ? 0 : 1;
}
