// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse verify`: is what is stored still whole. Owns nothing that outlives a call. One thread. Repairs nothing.
#include <stdio.h>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/local.h"
#include "cli/output.h"
#include "cli/progress.h"

typedef struct verify_options {
  char *store_dir;
  bool json;
  bool color;
} verify_options;

static const rh_setting verify_flags[] = {
    RH_CLI_STORE_FLAG(verify_options),
    RH_CLI_FLAG(RH_SETTING_BOOL, verify_options, json, "false", 0, 0, "print JSON"),
    RH_CLI_FLAG(RH_SETTING_BOOL, verify_options, color, "true", 0, 0, "colours on a terminal; also NO_COLOR"),
};
#define VERIFY_FLAG_COUNT (sizeof verify_flags / sizeof *verify_flags)

static bool show_hashing(void *ctx, const char *file, int64_t done, int64_t total) {
  rh_progress *progress = ctx;
  // Without a terminal the result is enough.
  if (rh_progress_has_bars(progress)) rh_progress_show_one(progress, file, done, total);
  return rh_interrupt_count() == 0;
}

static rh_status verify_one(rh_local *local, const rh_stored *stored, json_t *results, bool quiet, rh_error *error) {
  char name[2 * RH_MODEL_NAME_MAX + 2], size[32];
  rh_error inner = {0};
  rh_local_name(stored, name, sizeof name);
  rh_progress *progress = quiet ? NULL : rh_progress_new(stderr);
  rh_status status = rh_store_verify(local->store, stored, show_hashing, progress, &inner);
  rh_progress_end(progress, false);
  rh_progress_free(progress);
  json_array_append_new(results, json_pack("{sssbss}", "model", name, "whole", status == RH_OK, "problem",
                                           status == RH_OK ? "" : inner.message));
  rh_cli_format_bytes(size, sizeof size, stored->bytes);
  if (status == RH_OK && !quiet)
    printf("%s%s%s is whole (%s)\n", rh_cli_style(stdout, RH_STYLE_GOOD), name, rh_cli_style(stdout, RH_STYLE_OFF),
           size);
  if (status != RH_OK && status != RH_CANCELLED && !quiet)
    (void)rh_cli_fail(RH_EXIT_ERROR, "%s: %s; get it again with: roundhouse pull --force %s", name, inner.message,
                      name);
  return status == RH_OK ? RH_OK : rh_fail(error, status, "%s: %s", name, inner.message);
}

// The models named, or all of them. A damaged one does not keep the others from being looked at.
static rh_status verify_models(rh_local *local, const rh_cli_args *args, json_t *results, bool quiet, rh_error *error) {
  rh_stored_list list = {.items = NULL};
  rh_status status = RH_OK, worst = RH_OK;
  if (args->count == 0) worst = rh_store_list(local->store, &list, error);
  for (size_t i = 0; i < list.count && status != RH_CANCELLED; i++) {
    status = verify_one(local, &list.items[i], results, quiet, error);
    if (status != RH_OK) worst = status;
  }
  for (size_t i = 0; i < args->count && status != RH_CANCELLED; i++) {
    rh_stored stored;
    status = rh_local_find(local, args->words[i], true, &stored, error);
    if (status == RH_OK)
      status = verify_one(local, &stored, results, quiet, error);
    else if (!quiet)
      (void)rh_cli_fail(RH_EXIT_ERROR, "%s", error->message);
    rh_stored_release(&stored);
    if (status != RH_OK) worst = status;
  }
  if (args->count == 0 && list.count == 0 && worst == RH_OK && !quiet)
    fprintf(stderr, "the store %s is empty\n", rh_store_folder(local->store));
  rh_stored_list_release(&list);
  return worst;
}

static int verify(const verify_options *options, const rh_cli_args *args) {
  rh_local local;
  rh_error error = {0};
  if (!rh_interrupt_install()) return rh_cli_fail(RH_EXIT_ERROR, "cannot catch Ctrl-C");
  if (rh_local_open(options->store_dir, false, &local, &error) != RH_OK) return rh_local_fail(&error);
  json_t *results = json_array();
  rh_status status = verify_models(&local, args, results, options->json, &error);
  rh_local_close(&local);
  if (options->json)
    (void)rh_cli_print_json(results);
  else
    json_decref(results);
  if (status == RH_CANCELLED) return RH_EXIT_INTERRUPTED;
  return status == RH_OK ? RH_EXIT_OK : RH_EXIT_ERROR;
}

static int run_verify(const rh_cli_command *self, int argc, char **argv) {
  verify_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  code = verify(&options, &args);
  rh_cli_args_free(&args);
  rh_config_release(verify_flags, VERIFY_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_verify = {
    .name = "verify",
    .arguments = "[MODEL...]",
    .help = "Hash stored models again and compare",
    .details = "Without a name, all of them. The exit status is 1 when a file is damaged or missing.\n",
    .flags = verify_flags,
    .flag_count = VERIFY_FLAG_COUNT,
    .run = run_verify,
};
