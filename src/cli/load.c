// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse load`, `stop` and `pin`: what a running server holds in memory. Owns nothing that outlives a call. One
// thread. Decides nothing: the server knows what fits and what must go.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"

#define TIMEOUT_MS 60000L

typedef struct load_options {
  RH_CLI_COMMON_FIELDS;
  bool plan;
} load_options;

static const rh_setting load_flags[] = {
    RH_CLI_COMMON_FLAGS(load_options),
    RH_CLI_FLAG(RH_SETTING_BOOL, load_options, plan, "false", 0, 0, "only show what loading it would evict"),
};
#define LOAD_FLAG_COUNT (sizeof load_flags / sizeof *load_flags)

typedef struct load_view {
  rh_progress *progress;  // NULL with --json
  const char *model;
  json_t *last;  // the last line, which says how it ended
} load_view;

// {"event"|"status": "loading", "fraction": 0.4}, and at the end the model's description.
static rh_status on_line(void *ctx, const json_t *value, rh_error *error) {
  load_view *view = ctx;
  (void)error;
  json_decref(view->last);
  view->last = json_deep_copy(value);
  const json_t *fraction = json_object_get(value, "fraction");
  if (!json_is_number(fraction) || !rh_progress_has_bars(view->progress)) return RH_OK;
  char text[320];
  snprintf(text, sizeof text, "loading %.200s: %3.0f%%", view->model, json_number_value(fraction) * 100);
  rh_progress_status(view->progress, text);
  return RH_OK;
}

static int load_model(rh_client *client, const load_options *options, const char *model) {
  rh_error error = {0};
  load_view view = {.progress = options->json ? NULL : rh_progress_new(stderr), .model = model};
  json_t *body = json_pack("{sssb}", "model", model, "stream", 1);
  rh_status status = body == NULL ? rh_fail(&error, RH_NO_MEMORY, "no memory for a request")
                                  : rh_client_post_lines(client, "/api/models/load", body, on_line, &view, &error);
  rh_progress_end(view.progress, false);
  rh_progress_free(view.progress);
  int code = RH_EXIT_OK;
  if (status != RH_OK) {
    code = rh_cli_fail_status(&error);
  } else if (options->json) {
    code = rh_cli_print_json(view.last != NULL ? json_incref(view.last) : json_object());
  } else {
    printf("%s is in memory\n", model);
  }
  json_decref(view.last);
  json_decref(body);
  return code;
}

static const char *text_of(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static void format_at(char *out, size_t size, const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (json_is_null(value))
    snprintf(out, size, "no limit");
  else
    rh_cli_format_bytes(out, size, (long long)json_integer_value(value));
}

// The broker's answer in words: does it fit, what would go, and the numbers behind that.
static void print_plan(const char *model, const json_t *plan) {
  const json_t *evicts = json_object_get(plan, "evicts");
  const char *refused = text_of(plan, "refused");
  char need[32], used[32], budget[32], bytes[32];
  format_at(need, sizeof need, json_object_get(plan, "need"), "ram_bytes");
  format_at(used, sizeof used, json_object_get(plan, "used"), "ram_bytes");
  format_at(budget, sizeof budget, json_object_get(plan, "budget"), "ram_bytes");
  const char *fits = json_is_true(json_object_get(plan, "fits")) ? "fits"
                     : refused != NULL                           ? "is refused"
                     : json_array_size(evicts) > 0               ? "fits after an eviction"
                                                                 : "would wait";
  printf("%s %s: it needs %s of memory; %s of %s are taken\n", model, fits, need, used, budget);
  size_t i;
  json_t *victim;
  json_array_foreach(evicts, i, victim) {
    format_at(bytes, sizeof bytes, victim, "ram_bytes");
    printf("would evict %s (%s)\n", text_of(victim, "model"), bytes);
  }
  if (json_array_size(evicts) == 0) puts("would evict nothing");
  if (json_is_true(json_object_get(plan, "wait"))) puts("would wait for requests that are running");
  if (refused != NULL) printf("%s\n", refused);
}

static int plan_model(rh_client *client, const load_options *options, const char *model) {
  rh_error error = {0};
  json_t *plan = NULL;
  json_t *body = json_pack("{sssb}", "model", model, "plan", 1);
  rh_status status = rh_client_call(client, "POST", "/api/models/load", body, TIMEOUT_MS, &plan, &error);
  json_decref(body);
  if (status != RH_OK) return rh_cli_fail_status(&error);
  if (options->json) return rh_cli_print_json(plan);
  print_plan(model, plan);
  json_decref(plan);
  return RH_EXIT_OK;
}

static int load_all(rh_client *client, const void *flags, const rh_cli_args *args) {
  const load_options *options = flags;
  int code = RH_EXIT_OK;
  for (size_t i = 0; i < args->count && code != RH_EXIT_INTERRUPTED; i++) {
    int own = options->plan ? plan_model(client, options, args->words[i]) : load_model(client, options, args->words[i]);
    if (own != RH_EXIT_OK) code = own;
  }
  return code;
}

static int run_load(const rh_cli_command *self, int argc, char **argv) {
  load_options options = {0};
  return rh_admin_run(self, argc, argv, &options, "load needs a model: roundhouse load MODEL; see roundhouse list",
                      load_all);
}

const rh_cli_command rh_cli_load = {
    .name = "load",
    .arguments = "MODEL...",
    .help = "Bring models into the memory of the running server",
    .details = "A model is loaded at its first request anyway; this is for doing it before.\n",
    .flags = load_flags,
    .flag_count = LOAD_FLAG_COUNT,
    .run = run_load,
};

// --- stop ----------------------------------------------------------------------------------------------------------

typedef struct stop_options {
  RH_CLI_COMMON_FIELDS;
  bool force;
} stop_options;

static const rh_setting stop_flags[] = {
    RH_CLI_COMMON_FLAGS(stop_options),
    RH_CLI_FLAG(RH_SETTING_BOOL, stop_options, force, "false", 0, 0,
                "at once, even if requests run on it or it is pinned"),
};
#define STOP_FLAG_COUNT (sizeof stop_flags / sizeof *stop_flags)

static int stop_all(rh_client *client, const void *flags, const rh_cli_args *args) {
  const stop_options *options = flags;
  int code = RH_EXIT_OK;
  for (size_t i = 0; i < args->count && code != RH_EXIT_INTERRUPTED; i++) {
    json_t *body = json_pack("{sssb}", "model", args->words[i], "force", (int)options->force);
    char sentence[256];
    snprintf(sentence, sizeof sentence, "%s is out of memory", args->words[i]);
    // Requests that run on it may finish first, and those take as long as they take: no limit here, Ctrl-C ends it.
    int own = rh_admin_post(client, "/api/models/unload", body, 0, options->json, sentence);
    if (own != RH_EXIT_OK) code = own;
  }
  return code;
}

static int run_stop(const rh_cli_command *self, int argc, char **argv) {
  stop_options options = {0};
  return rh_admin_run(self, argc, argv, &options, "stop needs a model: roundhouse stop MODEL; see roundhouse ps",
                      stop_all);
}

const rh_cli_command rh_cli_stop = {
    .name = "stop",
    .arguments = "MODEL...",
    .help = "Take models out of the memory of the running server",
    .details = "Waits for requests that run on it. The next request for it loads it again.\n",
    .flags = stop_flags,
    .flag_count = STOP_FLAG_COUNT,
    .run = run_stop,
};

// --- pin -----------------------------------------------------------------------------------------------------------

typedef struct pin_options {
  RH_CLI_COMMON_FIELDS;
  bool off;
} pin_options;

static const rh_setting pin_flags[] = {
    RH_CLI_COMMON_FLAGS(pin_options),
    RH_CLI_FLAG(RH_SETTING_BOOL, pin_options, off, "false", 0, 0, "let it be evicted again"),
};
#define PIN_FLAG_COUNT (sizeof pin_flags / sizeof *pin_flags)

static int pin_all(rh_client *client, const void *flags, const rh_cli_args *args) {
  const pin_options *options = flags;
  int code = RH_EXIT_OK;
  for (size_t i = 0; i < args->count && code != RH_EXIT_INTERRUPTED; i++) {
    json_t *body = json_pack("{sssb}", "model", args->words[i], "pinned", (int)!options->off);
    char sentence[256];
    snprintf(sentence, sizeof sentence, "%s %s", args->words[i],
             options->off ? "may be evicted" : "stays in memory once it is loaded");
    int own = rh_admin_post(client, "/api/models/pin", body, TIMEOUT_MS, options->json, sentence);
    if (own != RH_EXIT_OK) code = own;
  }
  return code;
}

static int run_pin(const rh_cli_command *self, int argc, char **argv) {
  pin_options options = {0};
  return rh_admin_run(self, argc, argv, &options, "pin needs a model: roundhouse pin MODEL; see roundhouse list",
                      pin_all);
}

const rh_cli_command rh_cli_pin = {
    .name = "pin",
    .arguments = "MODEL...",
    .help = "Keep models in memory whatever happens; --off ends it",
    .details = "A pinned model is never evicted and never leaves for being idle.\n",
    .flags = pin_flags,
    .flag_count = PIN_FLAG_COUNT,
    .run = run_pin,
};
