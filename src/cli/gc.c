// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse gc`: the store shrinks to its limit. Owns nothing that outlives a call. One thread. Asks a running daemon
// which models it uses and leaves those alone; what goes, and in which order, the store decides.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/local.h"
#include "cli/output.h"

#define TIMEOUT_MS 10000L

typedef struct gc_options {
  RH_CLI_COMMON_FIELDS;
  char *store_dir;
  uint64_t limit;
  uint64_t partial_age;
  bool dry_run;
} gc_options;

static const rh_setting gc_flags[] = {
    RH_CLI_COMMON_FLAGS(gc_options),
    RH_CLI_STORE_FLAG(gc_options),
    RH_CLI_FLAG(RH_SETTING_BYTES, gc_options, limit, NULL, 0, 0,
                "bring the store below this size; default: as configured, else only unfinished pulls go"),
    RH_CLI_FLAG(RH_SETTING_DURATION, gc_options, partial_age, "168h", 0, 0,
                "unfinished pulls that nobody works on go when they are older"),
    RH_CLI_FLAG(RH_SETTING_BOOL, gc_options, dry_run, "false", 0, 0, "only say what would go"),
};
#define GC_FLAG_COUNT (sizeof gc_flags / sizeof *gc_flags)

typedef struct gc_run {
  const gc_options *options;
  json_t *kept;     // names that stay: {"name:version": reason}
  json_t *removed;  // what went
} gc_run;

static bool must_keep(void *ctx, const rh_model_ref *ref) {
  const gc_run *run = ctx;
  char name[2 * RH_MODEL_NAME_MAX + 2];
  if (rh_model_ref_format(ref, name, sizeof name) != RH_OK) return true;
  return json_object_get(run->kept, name) != NULL || json_object_get(run->kept, ref->name) != NULL;
}

static void on_removed(void *ctx, const char *what, int64_t bytes, const char *why) {
  gc_run *run = ctx;
  char size[32];
  rh_cli_format_bytes(size, sizeof size, bytes);
  json_array_append_new(run->removed, json_pack("{sssIss}", "what", what, "bytes", (json_int_t)bytes, "why", why));
  if (!run->options->json)
    printf("%s %s (%s): %s\n", run->options->dry_run ? "would remove" : "removed", what, size, why);
}

// Aliases of the store, and pins, which stand among them as "pin:NAME".
static void keep_aliased(rh_local *local, json_t *kept) {
  json_t *aliases = NULL, *target;
  const char *alias;
  rh_error ignored = {0};
  if (rh_store_aliases(local->store, &aliases, &ignored) != RH_OK) return;
  json_object_foreach(aliases, alias, target) {
    const char *name = strncmp(alias, "pin:", 4) == 0 ? alias + 4 : json_string_value(target);
    if (name != NULL) json_object_set_new(kept, name, json_true());
  }
  json_decref(aliases);
}

// What a running daemon holds in memory or was told to keep.
static void keep_served(const gc_options *options, json_t *kept) {
  bool chosen;
  rh_error ignored = {0};
  rh_client *client = NULL;
  json_t *answer = NULL, *model;
  size_t i;
  char *server = rh_connect_address(options->server, &chosen);
  if (server != NULL && rh_connect_answers(server) && rh_client_new(server, &client, &ignored) == RH_OK &&
      rh_client_get_json(client, "/api/models", TIMEOUT_MS, &answer, &ignored) == RH_OK) {
    json_array_foreach(json_object_get(answer, "models"), i, model) {
      const char *name = json_string_value(json_object_get(model, "name"));
      const char *state = json_string_value(json_object_get(model, "state"));
      bool used = state != NULL && strcmp(state, "cold") != 0 && strcmp(state, "failed") != 0;
      if (name != NULL && (used || json_is_true(json_object_get(model, "pinned"))))
        json_object_set_new(kept, name, json_true());
    }
  }
  json_decref(answer);
  rh_client_free(client);
  free(server);
}

static int print_freed(const gc_run *run, int64_t freed) {
  if (run->options->json) {
    return rh_cli_print_json(json_pack("{sIsOsb}", "freed_bytes", (json_int_t)freed, "removed", run->removed, "dry_run",
                                       (int)run->options->dry_run));
  }
  char size[32];
  rh_cli_format_bytes(size, sizeof size, freed);
  if (freed == 0)
    puts("nothing to remove");
  else
    printf("%s %s\n", run->options->dry_run ? "would free" : "freed", size);
  return RH_EXIT_OK;
}

static int gc(const gc_options *options) {
  rh_local local;
  rh_error error = {0};
  if (rh_local_open(options->store_dir, false, &local, &error) != RH_OK) return rh_local_fail(&error);
  gc_run run = {.options = options, .kept = json_object(), .removed = json_array()};
  keep_aliased(&local, run.kept);
  keep_served(options, run.kept);
  rh_gc_options gc = {
      .limit_bytes = options->limit > 0 ? (int64_t)options->limit : local.store_limit_bytes,
      .partial_age_s = (int64_t)(options->partial_age / UINT64_C(1000000000)),
      .dry_run = options->dry_run,
      .keep = must_keep,
      .removed = on_removed,
      .ctx = &run,
  };
  int64_t freed = 0;
  rh_status status = rh_store_gc(local.store, &gc, &freed, &error);
  rh_local_close(&local);
  int code = RH_EXIT_OK;
  if (status == RH_OK || options->json) code = print_freed(&run, freed);
  if (status != RH_OK) code = rh_local_fail(&error);
  json_decref(run.kept);
  json_decref(run.removed);
  return code;
}

static int run_gc(const rh_cli_command *self, int argc, char **argv) {
  gc_options options = {0};
  rh_cli_args args;
  int code = rh_cli_parse(self, argc, argv, &options, NULL, &args);
  if (code >= 0) return code;
  rh_cli_use_color(options.color);
  if (args.count > 0)
    code = rh_cli_fail(RH_EXIT_USAGE, "gc takes no arguments, but \"%.100s\" was given", args.words[0]);
  else
    code = gc(&options);
  rh_cli_args_free(&args);
  rh_config_release(gc_flags, GC_FLAG_COUNT, &options);
  return code;
}

const rh_cli_command rh_cli_gc = {
    .name = "gc",
    .arguments = "",
    .help = "Free disk: old unfinished pulls, then models used longest ago",
    .details = "Models with an alias, pinned ones and those that a running server has in memory stay.\n",
    .flags = gc_flags,
    .flag_count = GC_FLAG_COUNT,
    .run = run_gc,
};
