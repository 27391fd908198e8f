// SPDX-License-Identifier: Apache-2.0
//
// `roundhouse config`: what the configuration is, where each value came from, and the schema of its file.
// Owns the configuration it loads. One thread. It reads exactly what `serve` would read, with the same flags.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/config_gateway.h"
#include "cli/output.h"
#include "daemon/settings.h"

extern char **environ;

static const char *const origin_names[] = {
    [RH_FROM_DEFAULT] = "default",
    [RH_FROM_FILE] = "file",
    [RH_FROM_ENVIRONMENT] = "environment",
    [RH_FROM_FLAG] = "flag",
};

static int load(int argc, char **argv, rh_configuration **out) {
  rh_error error = {0};
  if (rh_configuration_load(argc, argv, 2, environ, out, &error) == RH_OK) return RH_EXIT_OK;
  return rh_cli_fail(error.param[0] == '-' ? RH_EXIT_USAGE : RH_EXIT_ERROR, "%s", error.message);
}

static void print_settings(const rh_configuration *conf) {
  static const char *const headings[] = {"SETTING", "VALUE", "FROM", "MEANING", NULL};
  rh_table *table = rh_table_new(headings);
  for (size_t i = 0; i < rh_settings_table_count; i++) {
    const rh_setting *row = &rh_settings_table[i];
    rh_dynbuf value;
    rh_dynbuf_init(&value, 65536);
    rh_status status = rh_config_format(row, &conf->settings, &value);
    const char *text = status == RH_OK ? rh_dynbuf_data(&value) : "?";
    rh_table_add(table, (const char *const[]){row->key, text, origin_names[conf->origins[i]], row->help});
    rh_dynbuf_free(&value);
  }
  (void)rh_table_print_free(table, stdout);
}

static void print_models(const rh_configuration *conf) {
  static const char *const headings[] = {"MODEL", "ENGINE", ">SIZE", "PATH", NULL};
  size_t count = rh_catalogue_count(conf->catalogue);
  if (count == 0) {
    printf("no models; put .gguf files into %s or name them under \"models\"\n", conf->settings.models_dir);
    return;
  }
  rh_table *table = rh_table_new(headings);
  for (size_t i = 0; i < count; i++) {
    const rh_model_spec *spec = rh_catalogue_at(conf->catalogue, i);
    char size[32];
    rh_cli_format_bytes(size, sizeof size, spec->file_bytes);
    rh_table_add(table, (const char *const[]){spec->name, spec->engine, size, spec->path});
  }
  (void)rh_table_print_free(table, stdout);
}

static int check(int argc, char **argv) {
  rh_log_setup(STDERR_FILENO, RH_LOG_WARN, RH_LOG_PLAIN);
  rh_configuration *conf;
  int code = load(argc, argv, &conf);
  if (code != RH_EXIT_OK) return code;
  printf("configuration file: %s\n\n", conf->file != NULL ? conf->file : "none");
  print_settings(conf);
  fputc('\n', stdout);
  print_models(conf);
  fputc('\n', stdout);
  rh_config_print_providers(conf);
  code = rh_config_print_access(conf);
  if (access(conf->settings.worker, X_OK) != 0) {
    code = rh_cli_fail(RH_EXIT_ERROR, "there is no program %s; set worker to the path of roundhouse-worker",
                       conf->settings.worker);
  }
  // What is not here may be pulled later; what is here under a similar name was meant.
  rh_error error = {0};
  rh_status status = rh_configuration_check_default(conf, &error);
  if (status == RH_NOT_FOUND)
    printf("note: %s\n", error.message);
  else if (status != RH_OK)
    code = rh_cli_fail(RH_EXIT_ERROR, "%s", error.message);
  if (code == RH_EXIT_OK) puts("The configuration is correct.");
  rh_configuration_free(conf);
  return code;
}

static json_t *value_of(const rh_setting *row, const void *settings) {
  const char *field = (const char *)settings + row->offset;
  if (row->type == RH_SETTING_BOOL) return json_boolean(*(const bool *)(const void *)field);
  if (row->type == RH_SETTING_INT) return json_integer(*(const int64_t *)(const void *)field);
  if (row->type == RH_SETTING_NUMBER) return json_real(*(const double *)(const void *)field);
  rh_dynbuf text;
  rh_dynbuf_init(&text, 65536);
  json_t *value = rh_config_format(row, settings, &text) == RH_OK ? json_string(rh_dynbuf_data(&text)) : NULL;
  rh_dynbuf_free(&text);
  return value;
}

static json_t *values_of(const rh_setting *table, size_t count, const void *settings) {
  json_t *object = json_object();
  int failed = 0;
  for (size_t i = 0; i < count; i++) failed |= json_object_set_new(object, table[i].key, value_of(&table[i], settings));
  if (failed == 0) return object;
  json_decref(object);
  return NULL;
}

// The whole configuration as a file would say it.
static int show(int argc, char **argv) {
  rh_configuration *conf;
  int code = load(argc, argv, &conf);
  if (code != RH_EXIT_OK) return code;
  json_t *root = values_of(rh_settings_table, rh_settings_table_count, &conf->settings);
  json_t *models = json_object();
  int failed = 0;
  for (size_t i = 0; i < rh_catalogue_count(conf->catalogue); i++) {
    const rh_model_spec *spec = rh_catalogue_at(conf->catalogue, i);
    failed |= json_object_set_new(models, spec->name, values_of(rh_model_settings, rh_model_settings_count, spec));
  }
  failed |= json_object_set_new(root, "models", models);
  if (conf->aliases != NULL) failed |= json_object_set(root, "aliases", conf->aliases);
  if (conf->known != NULL) failed |= json_object_set(root, "catalogue", conf->known);
  rh_configuration_free(conf);
  if (failed == 0) return rh_cli_print_json(root);
  json_decref(root);
  return rh_cli_print_json(NULL);
}

static int schema(int argc, char **argv) {
  if (argc > 2)
    return rh_cli_fail(RH_EXIT_USAGE, "config schema takes no arguments, but \"%.100s\" was given", argv[2]);
  return rh_cli_print_json(rh_configuration_schema());
}

static int run(const rh_cli_command *self, int argc, char **argv) {
  static const struct {
    const char *name;
    int (*fn)(int argc, char **argv);
  } parts[] = {{"check", check}, {"show", show}, {"schema", schema}};
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) return rh_cli_print_help(self);
  }
  for (size_t i = 0; argc > 1 && i < sizeof parts / sizeof *parts; i++) {
    if (strcmp(argv[1], parts[i].name) == 0) return parts[i].fn(argc, argv);
  }
  return rh_cli_fail(RH_EXIT_USAGE, "config needs check, show or schema; see roundhouse help config");
}

const rh_cli_command rh_cli_config = {
    .name = "config",
    .arguments = "check|show|schema [--config FILE] [FLAGS OF serve]",
    .help = "Check, show or describe the configuration",
    .details =
        "check   explains each setting: its value, where it came from and what it means; fails on an error\n"
        "show    prints the whole configuration as JSON\n"
        "schema  prints the JSON Schema of roundhouse.json\n",
    .run = run,
};
