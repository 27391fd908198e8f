// SPDX-License-Identifier: Apache-2.0
//
// Finds the configuration file and puts file, environment, flags and the models folder together.
// Owns nothing that outlives a call but the configuration handed out. Called once, before the daemon has threads.
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/text.h"
#include "daemon/settings_private.h"
#include "flow/limits.h"
#include "model/names.h"

#define FILE_BYTES_MAX ((size_t)4 * 1024 * 1024)
#define MODEL_FLAGS_MAX 256

// Variables of the project that are no setting: the configuration's own place, the build's folders, the client's
// server and key, and what a pull obeys.
static const char *const other_variables[] = {"ROUNDHOUSE_CONFIG",
                                              "ROUNDHOUSE_CACHE",
                                              "ROUNDHOUSE_LLAMA_DIR",
                                              "ROUNDHOUSE_KERNELS",
                                              "ROUNDHOUSE_ORT",
                                              "ROUNDHOUSE_ORT_PLUGINS",
                                              "ROUNDHOUSE_PROVIDERS",
                                              "ROUNDHOUSE_SERVER",
                                              "ROUNDHOUSE_API_KEY",
                                              "ROUNDHOUSE_PIP",
                                              "ROUNDHOUSE_CONVERT",
                                              "ROUNDHOUSE_CPU_FEATURES",
                                              NULL};

// What the command line says besides settings.
typedef struct load_flags {
  const char *config;
  const char *models[MODEL_FLAGS_MAX];
  size_t model_count;
} load_flags;

// "$variable/roundhouse", or "~/fallback/roundhouse".
static char *base_dir(const char *variable, const char *fallback) {
  const char *base = getenv(variable);
  const char *home = getenv("HOME");
  char *out = NULL;
  int written;
  // The specification says that relative values are to be ignored.
  if (base != NULL && base[0] == '/')
    written = asprintf(&out, "%s/roundhouse", base);
  else
    written = asprintf(&out, "%s/%s/roundhouse", home != NULL && home[0] != '\0' ? home : "/tmp", fallback);
  return written < 0 ? NULL : out;
}

char *rh_data_dir(void) { return base_dir("XDG_DATA_HOME", ".local/share"); }

char *rh_config_dir(void) { return base_dir("XDG_CONFIG_HOME", ".config"); }

static const char *environment_value(char *const *environment, const char *name) {
  size_t length = strlen(name);
  for (char *const *at = environment; at != NULL && *at != NULL; at++) {
    if (strncmp(*at, name, length) == 0 && (*at)[length] == '=') return *at + length + 1;
  }
  return NULL;
}

// "--name VALUE" or "--name=VALUE": RH_OK and *index moved past it; RH_NOT_FOUND for another flag.
static rh_status take_flag(const char *name, int argc, char *const *argv, int *index, const char **value,
                           rh_error *error) {
  const char *argument = argv[*index];
  size_t length = strlen(name);
  if (strncmp(argument, name, length) != 0) return RH_NOT_FOUND;
  if (argument[length] == '=') {
    *value = argument + length + 1;
    *index += 1;
    return RH_OK;
  }
  if (argument[length] != '\0') return RH_NOT_FOUND;
  if (*index + 1 >= argc) return rh_fail_param(error, RH_INVALID, name, "%s needs a value", name);
  *value = argv[*index + 1];
  *index += 2;
  return RH_OK;
}

static rh_status unknown_flag(const char *argument, rh_error *error) {
  if (argument[0] != '-') {
    return rh_fail(error, RH_INVALID, "\"%s\" is not expected here; settings are given as --name value", argument);
  }
  char key[64];
  (void)rh_text_copy(key, sizeof key, argument + strspn(argument, "-"));
  key[strcspn(key, "=")] = '\0';
  for (char *c = key; *c != '\0'; c++) *c = *c == '-' ? '_' : *c;
  const char **keys = calloc(rh_settings_table_count + 2, sizeof *keys);
  if (keys == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to read the flags");
  for (size_t i = 0; i < rh_settings_table_count; i++) keys[i] = rh_settings_table[i].key;
  keys[rh_settings_table_count] = "config";
  keys[rh_settings_table_count + 1] = "model";
  const char *near = rh_text_nearest(key, keys, rh_settings_table_count + 2);
  free(keys);
  char flag[80] = "";
  if (near != NULL) snprintf(flag, sizeof flag, "; did you mean --%s?", near);
  for (char *c = flag; *c != '\0'; c++) *c = *c == '_' ? '-' : *c;
  return rh_fail_param(error, RH_INVALID, argument, "there is no flag %.100s%s", argument,
                       flag[0] != '\0' ? flag : "; see roundhouse help serve");
}

// Reads the flags that are no setting, and the settings themselves when `conf` is given.
static rh_status read_flags(int argc, char *const *argv, int first, rh_configuration *conf, load_flags *flags,
                            rh_error *error) {
  rh_configuration *scratch = NULL;
  rh_status status = conf == NULL ? rh_settings_new(&scratch, error) : RH_OK;
  rh_configuration *target = conf == NULL ? scratch : conf;
  *flags = (load_flags){.config = NULL};
  for (int i = first; status == RH_OK && i < argc;) {
    const char *value;
    if ((status = take_flag("--config", argc, argv, &i, &value, error)) == RH_OK) {
      flags->config = value;
    } else if (status == RH_NOT_FOUND && (status = take_flag("--model", argc, argv, &i, &value, error)) == RH_OK) {
      if (flags->model_count == MODEL_FLAGS_MAX)
        status = rh_fail(error, RH_TOO_LARGE, "more than %d times --model", MODEL_FLAGS_MAX);
      else
        flags->models[flags->model_count++] = value;
    } else if (status == RH_NOT_FOUND) {
      status = rh_config_from_flag(rh_settings_table, rh_settings_table_count, argc, argv, &i, &target->settings,
                                   target->origins, error);
      if (status == RH_NOT_FOUND) status = unknown_flag(argv[i], error);
    }
  }
  rh_configuration_free(scratch);
  return status;
}

static rh_status read_text(const char *path, char **text, size_t *length, rh_error *error) {
  FILE *file = fopen(path, "re");
  if (file == NULL) {
    return rh_fail(error, errno == ENOENT ? RH_NOT_FOUND : RH_IO, "cannot read the configuration %s: %s", path,
                   strerror(errno));
  }
  char *bytes = malloc(FILE_BYTES_MAX + 1);
  rh_status status = RH_OK;
  if (bytes == NULL) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory to read %s", path);
  } else {
    *length = fread(bytes, 1, FILE_BYTES_MAX + 1, file);
    if (ferror(file))
      status = rh_fail(error, RH_IO, "cannot read the configuration %s: %s", path, strerror(errno));
    else if (*length > FILE_BYTES_MAX)
      status = rh_fail(error, RH_TOO_LARGE, "%s is larger than 4 MiB", path);
  }
  fclose(file);
  if (status == RH_OK)
    *text = bytes;
  else
    free(bytes);
  return status;
}

// The file that was asked for, or the first of the usual ones that exists; *path stays NULL when there is none.
static rh_status find_file(const char *asked, char *const *environment, char **path, rh_error *error) {
  *path = NULL;
  const char *named = asked != NULL ? asked : environment_value(environment, "ROUNDHOUSE_CONFIG");
  if (named != NULL && named[0] != '\0') {
    *path = strdup(named);
  } else if (access("roundhouse.json", F_OK) == 0) {
    *path = strdup("roundhouse.json");
  } else {
    char *folder = rh_config_dir();
    char *usual = NULL;
    if (folder == NULL || asprintf(&usual, "%s/roundhouse.json", folder) < 0) usual = NULL;
    free(folder);
    if (usual != NULL && access(usual, F_OK) == 0) {
      *path = usual;
      return RH_OK;
    }
    bool short_of_memory = usual == NULL;
    free(usual);
    return short_of_memory ? rh_fail(error, RH_NO_MEMORY, "no memory to find the configuration") : RH_OK;
  }
  return *path != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory to find the configuration");
}

// Errors of a file name the file.
static rh_status in_file(const char *path, rh_status status, const rh_error *inner, rh_error *error) {
  if (status == RH_OK) return RH_OK;
  return rh_fail_param(error, status, inner->param, "%s: %s", path, inner->message);
}

static rh_status read_file(rh_configuration *conf, json_t **root, rh_error *error) {
  *root = NULL;
  if (conf->file == NULL) return RH_OK;
  char *text = NULL;
  size_t length = 0;
  rh_status status = read_text(conf->file, &text, &length, error);
  if (status != RH_OK) return status;
  rh_error inner = {0};
  *root = rh_json_parse(text, length, &inner);
  free(text);
  if (*root == NULL) return in_file(conf->file, RH_INVALID, &inner, error);
  return in_file(conf->file, rh_settings_apply_json(conf, *root, &inner), &inner, error);
}

// The file's folder, to which its relative paths belong; the caller frees it.
static char *folder_of(const char *file) {
  const char *slash = strrchr(file, '/');
  return slash != NULL ? strndup(file, (size_t)(slash - file)) : strdup(".");
}

static rh_status apply_file_models(rh_configuration *conf, const json_t *root, rh_error *error) {
  if (root == NULL) return RH_OK;
  char *folder = folder_of(conf->file);
  if (folder == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to read %s", conf->file);
  rh_error inner = {0};
  rh_status status = rh_settings_apply_models(conf, root, folder, &inner);
  free(folder);
  return in_file(conf->file, status, &inner, error);
}

static rh_status apply_gateway(rh_configuration *conf, const json_t *root, char *const *environment, rh_error *error) {
  char *folder = conf->file != NULL ? folder_of(conf->file) : NULL;
  rh_error inner = {0};
  rh_status status =
      rh_gateway_config_parse(root, &conf->settings.gateway, environment, folder, &conf->gateway, &inner);
  free(folder);
  return in_file(conf->file != NULL ? conf->file : "settings", status, &inner, error);
}

// --model NAME=PATH or --model PATH. A path may hold '=' itself (fake:slots=2), so an existing file is taken whole.
static rh_status add_flag_model(rh_configuration *conf, const char *value, rh_error *error) {
  char name[RH_MODEL_NAME_MAX + 2];
  const char *path = value;
  const char *equals = strchr(value, '=');
  bool whole = equals == NULL || rh_text_starts_with(value, "fake:") || access(value, F_OK) == 0;
  if (whole) {
    rh_model_name_from_path(value, name, sizeof name);
  } else {
    snprintf(name, sizeof name, "%.*s",
             (int)(equals - value > RH_MODEL_NAME_MAX ? RH_MODEL_NAME_MAX + 1 : equals - value), value);
    path = equals + 1;
  }
  rh_load_options defaults = rh_settings_load_options(&conf->settings);
  rh_error inner = {0};
  rh_status status = rh_catalogue_add_file(conf->catalogue, name, path, &defaults, conf->settings.queue_max, &inner);
  return in_file("--model", status, &inner, error);
}

static rh_status set_if_empty(char **field, char *value, rh_error *error) {
  if (*field != NULL && (*field)[0] != '\0') {
    free(value);
    return RH_OK;
  }
  if (value == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the configuration");
  free(*field);
  *field = value;
  return RH_OK;
}

// The worker is beside this program, in the build folder as after installation.
static char *usual_worker(void) {
  char path[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  path[length > 0 ? (size_t)length : 0] = '\0';
  char *slash = strrchr(path, '/');
  if (slash == NULL) return strdup("roundhouse-worker");
  *slash = '\0';
  char *out = NULL;
  return asprintf(&out, "%s/roundhouse-worker", path) < 0 ? NULL : out;
}

// "DATA/name" where the setting says nothing; "~/" of a setting is the home folder.
static rh_status fill_place(char **field, const char *data, const char *name, rh_error *error) {
  char *path = NULL;
  const char *home = getenv("HOME");
  if (*field != NULL && rh_text_starts_with(*field, "~/") && home != NULL) {
    if (asprintf(&path, "%s%s", home, *field + 1) < 0) path = NULL;
    free(*field);
    *field = NULL;
  } else if (data == NULL || asprintf(&path, "%s/%s", data, name) < 0) {
    path = NULL;
  }
  return set_if_empty(field, path, error);
}

static rh_status fill_places(rh_settings *settings, rh_error *error) {
  rh_status status = set_if_empty(&settings->worker, usual_worker(), error);
  if (status != RH_OK) return status;
  char *data = rh_data_dir();
  status = fill_place(&settings->models_dir, data, "models", error);
  if (status == RH_OK) status = fill_place(&settings->store_dir, data, "store", error);
  if (status == RH_OK) status = fill_place(&settings->state_dir, data, "state", error);
  bool home = settings->hub_cache != NULL && rh_text_starts_with(settings->hub_cache, "~/");
  if (status == RH_OK && home) status = fill_place(&settings->hub_cache, data, "hub", error);
  free(data);
  return status;
}

static rh_status add_models(rh_configuration *conf, const load_flags *flags, const json_t *root, rh_error *error) {
  rh_status status = RH_OK;
  for (size_t i = 0; status == RH_OK && i < flags->model_count; i++)
    status = add_flag_model(conf, flags->models[i], error);
  if (status == RH_OK) status = apply_file_models(conf, root, error);
  for (size_t i = 0; status == RH_OK && i < rh_catalogue_count(conf->catalogue); i++)
    status = rh_catalogue_add_spec(conf->configured, rh_catalogue_at(conf->catalogue, i), error);
  if (status != RH_OK) return status;
  rh_load_options defaults = rh_settings_load_options(&conf->settings);
  return rh_catalogue_scan(conf->catalogue, conf->settings.models_dir, &defaults, conf->settings.queue_max, error);
}

rh_status rh_configuration_load(int argc, char *const *argv, int first, char *const *environment,
                                rh_configuration **out, rh_error *error) {
  assert(out != NULL && first >= 0);
  *out = NULL;
  load_flags flags;
  rh_status status = read_flags(argc, argv, first, NULL, &flags, error);
  if (status != RH_OK) return status;
  rh_configuration *conf;
  status = rh_settings_new(&conf, error);
  if (status != RH_OK) return status;
  json_t *root = NULL;
  status = find_file(flags.config, environment, &conf->file, error);
  if (status == RH_OK) status = read_file(conf, &root, error);
  if (status == RH_OK) {
    status = rh_config_from_environment(rh_settings_table, rh_settings_table_count, environment, other_variables,
                                        &conf->settings, conf->origins, error);
  }
  if (status == RH_OK) status = read_flags(argc, argv, first, conf, &flags, error);
  if (status == RH_OK) status = fill_places(&conf->settings, error);
  if (status == RH_OK) status = add_models(conf, &flags, root, error);
  if (status == RH_OK && root != NULL) {
    rh_error inner = {0};
    status = in_file(conf->file, rh_settings_apply_names(conf, root, &inner), &inner, error);
  }
  if (status == RH_OK) status = apply_gateway(conf, root, environment, error);
  if (status == RH_OK) status = rh_settings_check(conf, error);
  json_decref(root);
  if (status == RH_OK)
    *out = conf;
  else
    rh_configuration_free(conf);
  return status;
}
