// SPDX-License-Identifier: Apache-2.0
//
// The table of the daemon's settings, and how a JSON text becomes a configuration.
// A configuration owns its strings and its catalogue. One owner thread. Files, environment and flags are in
// settings_load.c, models and names in settings_models.c; nothing here reads the disk.
#include "daemon/settings.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "daemon/settings_private.h"

// In the order of rh_log_level and rh_log_format.
static const char *const log_levels[] = {"debug", "info", "warn", "error", "off", NULL};
static const char *const log_formats[] = {"json", "plain", NULL};

// Columns: key, field, default, bounds, help. Durations are bounded in seconds.
#define ROW(kind, name, field, initial, low, high, about)                                                   \
  {                                                                                                         \
    .key = name, .type = kind, .offset = offsetof(rh_settings, field), .default_text = initial, .min = low, \
    .max = high, .help = about                                                                              \
  }
#define TEXT(name, initial, about) ROW(RH_SETTING_STRING, #name, name, initial, 0, 0, about)
#define INT(name, initial, low, high, about) ROW(RH_SETTING_INT, #name, name, initial, low, high, about)
#define NUMBER(name, initial, low, high, about) ROW(RH_SETTING_NUMBER, #name, name, initial, low, high, about)
#define BOOL(name, initial, about) ROW(RH_SETTING_BOOL, #name, name, initial, 0, 0, about)
#define TIME(name, initial, low, high, about) ROW(RH_SETTING_DURATION, #name, name, initial, low, high, about)
#define SIZE(name, initial, low, high, about) ROW(RH_SETTING_BYTES, #name, name, initial, low, high, about)
#define CHOICE(name, initial, words, about)                                                                \
  {                                                                                                        \
    .key = #name, .type = RH_SETTING_ENUM, .offset = offsetof(rh_settings, name), .default_text = initial, \
    .choices = words, .help = about                                                                        \
  }

const rh_setting rh_settings_table[] = {
    TEXT(listen, "127.0.0.1:8080", "address and port to listen on; port 0 takes a free one"),
    TEXT(models_dir, NULL, "folder whose *.gguf files are served; default: $XDG_DATA_HOME/roundhouse/models"),
    TEXT(store_dir, NULL, "folder of pulled models; default: $XDG_DATA_HOME/roundhouse/store"),
    TEXT(hub_cache, "auto",
         "Hugging Face cache whose models are served in place: auto = the usual one, off, or a folder"),
    TEXT(default_model, "", "model or alias of requests that name none; default: the first by name"),
    BOOL(preload, "true", "load the default model at start"),
    TEXT(worker, NULL, "path of the program roundhouse-worker; default: beside this program"),
    TIME(request_timeout, "10m", 0.001, 604800, "a request's whole time, unless it asks for less"),
    TIME(shutdown_grace, "30s", 0, 86400, "time that running requests get after SIGTERM"),
    SIZE(body_bytes_max, "16MiB", 1024, 1073741824, "largest request body"),
    INT(connections_max, "1024", 1, 100000, "client connections served at once; further ones wait"),
    INT(queue_max, "64", 1, 100000, "requests that may wait for one model"),
    TIME(idle_timeout, "75s", 1, 86400, "an idle connection, or a reader that takes nothing, is closed after"),
    SIZE(stream_buffer, "64KiB", 4096, 67108864, "bytes kept for a slow reader before its model pauses"),
    TEXT(cors_origin, "local",
         "web pages that may call: local = from this machine, * = all, empty = none, or one origin"),
    CHOICE(log_level, "info", log_levels, "least important lines that are logged"),
    CHOICE(log_format, "json", log_formats, "how lines are logged"),
    BOOL(log_prompts, "false", "write prompts and answers to the log; for debugging only"),
    INT(context, "0", 0, 16777216, "tokens of one request, prompt and answer; 0 = the model's own, at most 4096"),
    INT(slots, "0", 0, 256, "requests that one model serves at once; 0 = 4"),
    INT(threads, "0", 0, 1024, "threads that compute; 0 = the physical cores"),
    INT(batch, "0", 0, 1048576, "tokens of one engine step at most; 0 = 512"),
    INT(prefill_chunk, "0", 0, 1048576, "prompt tokens of one step while other requests generate; 0 = 512"),
    INT(gpu_layers, "-1", -1, 100000, "layers kept on a GPU; -1 = all that fit, 0 = none"),
    BOOL(mlock, "false", "keep the weights in memory and never swap them out"),
    TEXT(keep_alive, "5m", "an idle model leaves memory after; 0 = at once, forever = never"),
    SIZE(memory_budget, "0", 0, 1125899906842624, "memory of all models together; 0 = 80 % of the machine's"),
    SIZE(gpu_memory_budget, "0", 0, 1125899906842624, "memory that models may take of each GPU; 0 = 90 % of it"),
    INT(max_loaded_models, "0", 0, 10000, "models in memory at once; 0 = as many as fit"),
    NUMBER(memory_watermark, "0.9", 0, 1,
           "share of the machine's memory in use above which idle models leave; 0 = off"),
    TIME(load_wait, "60s", 0, 86400, "a request waits so long for memory that other models use"),
    TIME(load_patience, "2s", 0, 86400, "while requests wait for memory, a busy model is drained after"),
    INT(preload_top, "0", 0, 1000, "keep so many of the most asked-for models loaded while there is room; 0 = off"),
    TIME(tidy_interval, "10s", 0.01, 3600, "how often memory is looked at: watermark, preloading, remembering"),
    SIZE(store_limit, "0", 0, 1152921504606846976, "disk space the store may use; 0 = no limit"),
    BOOL(offline, "false", "make no connection: pulls use only what is on this machine"),
    TIME(start_timeout, "10s", 0.01, 3600, "a worker must say hello within"),
    TIME(load_timeout, "120s", 0.01, 86400, "a load without progress for so long has failed"),
    TIME(ping_interval, "5s", 0.01, 3600, "how often a worker is asked whether it lives"),
    TIME(ping_timeout, "30s", 0.01, 86400, "a worker that does not answer for so long is restarted"),
    TIME(step_timeout, "300s", 0.01, 86400, "a worker whose engine takes longer for one step is restarted"),
    TIME(cancel_grace, "60s", 0.01, 3600, "a worker that does not confirm a cancellation for so long is restarted"),
    TIME(backoff_min, "100ms", 0.001, 3600, "pause before a lost worker is started again, the first time"),
    TIME(backoff_max, "30s", 0.001, 86400, "the longest such pause; it doubles each time"),
};
const size_t rh_settings_table_count = sizeof rh_settings_table / sizeof *rh_settings_table;

static const char *const other_keys[] = {"models", "aliases", "catalogue", "$schema", NULL};

rh_status rh_settings_new(rh_configuration **out, rh_error *error) {
  *out = NULL;
  rh_configuration *conf = calloc(1, sizeof *conf);
  if (conf == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the configuration");
  conf->origins = calloc(rh_settings_table_count, sizeof *conf->origins);
  conf->catalogue = rh_catalogue_new();
  conf->configured = rh_catalogue_new();
  rh_status status = RH_OK;
  if (conf->origins == NULL || conf->catalogue == NULL || conf->configured == NULL) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory for the configuration");
  } else {
    status = rh_config_defaults(rh_settings_table, rh_settings_table_count, &conf->settings, conf->origins, error);
  }
  if (status != RH_OK) {
    rh_configuration_free(conf);
    return status;
  }
  *out = conf;
  return RH_OK;
}

void rh_configuration_free(rh_configuration *conf) {
  if (conf == NULL) return;
  rh_config_release(rh_settings_table, rh_settings_table_count, &conf->settings);
  rh_catalogue_free(conf->catalogue);
  rh_catalogue_free(conf->configured);
  json_decref(conf->aliases);
  json_decref(conf->known);
  free(conf->origins);
  free(conf->file);
  free(conf);
}

rh_load_options rh_settings_load_options(const rh_settings *settings) {
  return (rh_load_options){
      .context = settings->context,
      .slots = settings->slots,
      .threads = settings->threads,
      .batch = settings->batch,
      .prefill_chunk = settings->prefill_chunk,
      .gpu_layers = settings->gpu_layers,
      .mlock = settings->mlock,
  };
}

// keep_alive is text in the table, because it has words; a number of seconds is what many people write.
static json_t *with_text_keep_alive(const json_t *root) {
  json_t *copy = json_copy((json_t *)(uintptr_t)root);  // jansson lacks the const
  const json_t *value = json_object_get(root, "keep_alive");
  if (copy == NULL || !json_is_number(value)) return copy;
  char text[32];
  rh_text_format_number(text, sizeof text, json_number_value(value));
  if (json_object_set_new(copy, "keep_alive", json_string(text)) == 0) return copy;
  json_decref(copy);
  return NULL;
}

rh_status rh_settings_apply_json(rh_configuration *conf, const json_t *root, rh_error *error) {
  if (!json_is_object(root)) {
    return rh_fail(error, RH_INVALID, "the configuration must be a JSON object, not %s", rh_json_type_name(root));
  }
  const char *schema = NULL;
  rh_status status = rh_json_get_string(root, "", "$schema", &schema, error);
  if (status != RH_OK) return status;
  json_t *copy = with_text_keep_alive(root);
  if (copy == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the configuration");
  status = rh_config_from_json(rh_settings_table, rh_settings_table_count, "", copy, other_keys, &conf->settings,
                               conf->origins, error);
  json_decref(copy);
  return status;
}

rh_status rh_configuration_parse(const char *json, size_t length, rh_configuration **out, rh_error *error) {
  assert(out != NULL && (json != NULL || length == 0));
  *out = NULL;
  json_t *root = rh_json_parse(json, length, error);
  if (root == NULL) return error != NULL && error->status != RH_OK ? error->status : RH_INVALID;
  rh_configuration *conf;
  rh_status status = rh_settings_new(&conf, error);
  if (status == RH_OK) status = rh_settings_apply_json(conf, root, error);
  if (status == RH_OK) status = rh_settings_apply_models(conf, root, NULL, error);
  if (status == RH_OK) status = rh_settings_apply_names(conf, root, error);
  if (status == RH_OK) status = rh_settings_check(conf, error);
  json_decref(root);
  if (status == RH_OK)
    *out = conf;
  else
    rh_configuration_free(conf);
  return status;
}
