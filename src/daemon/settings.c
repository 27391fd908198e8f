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
// The gateway's own, in rh_settings.gateway.
#define GATEWAY(kind, name, initial, low, high, about) ROW(kind, #name, gateway.name, initial, low, high, about)
#define GATEWAY_CHOICE(name, initial, words, about)                                                                \
  {                                                                                                                \
    .key = #name, .type = RH_SETTING_ENUM, .offset = offsetof(rh_settings, gateway.name), .default_text = initial, \
    .choices = words, .help = about                                                                                \
  }

// In the order of rh_cache_mode, rh_cache_scope and rh_require_key.
static const char *const cache_modes[] = {"off", "on", NULL};
static const char *const cache_scopes[] = {"key", "all", NULL};
static const char *const require_keys[] = {"auto", "always", "never", NULL};

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
    TEXT(state_dir, NULL, "folder of state.db (keys, usage, experiments); default: $XDG_DATA_HOME/roundhouse/state"),
    GATEWAY_CHOICE(cache, "on", cache_modes, "keep answers that would come out the same again"),
    GATEWAY(RH_SETTING_BYTES, cache_bytes, "64MiB", 0, 1099511627776, "memory of the answer cache"),
    GATEWAY(RH_SETTING_BYTES, cache_entry_bytes, "1MiB", 1024, 67108864, "larger answers are not kept"),
    GATEWAY(RH_SETTING_DURATION, cache_ttl, "1h", 0.001, 31536000, "an answer is kept for"),
    GATEWAY_CHOICE(cache_scope, "key", cache_scopes, "who shares cached answers: the requests of one key, or all"),
    GATEWAY(RH_SETTING_STRING, semantic_cache, "", 0, 0,
            "embedding model by which like questions share an answer; empty = off"),
    GATEWAY(RH_SETTING_NUMBER, semantic_threshold, "0.95", 0, 1, "cosine from which two questions count as alike"),
    GATEWAY(RH_SETTING_INT, semantic_entries, "10000", 1, 1000000, "questions that the semantic cache remembers"),
    GATEWAY(RH_SETTING_STRING, redis, "", 0, 0,
            "Redis that shares cache and limits with other servers: redis://host:port/db; empty = none"),
    GATEWAY(RH_SETTING_DURATION, redis_timeout, "5ms", 0.0005, 1,
            "Redis has so long to answer, then it is not waited for"),
    GATEWAY(RH_SETTING_STRING, redis_prefix, "roundhouse:", 0, 0, "begins every name in Redis"),
    GATEWAY(RH_SETTING_INT, limit_requests, "0", 0, 1000000000, "requests a minute of each key; 0 = no limit"),
    GATEWAY(RH_SETTING_INT, limit_tokens, "0", 0, 1000000000000, "tokens a minute of each key; 0 = no limit"),
    GATEWAY(RH_SETTING_INT, limit_ip_requests, "0", 0, 1000000000,
            "requests a minute of each client address; 0 = no limit"),
    GATEWAY(RH_SETTING_INT, limit_ip_tokens, "0", 0, 1000000000000,
            "tokens a minute of each client address; 0 = no limit"),
    GATEWAY_CHOICE(require_key, "auto", require_keys, "whether requests need a key; auto = once there is one"),
    GATEWAY(RH_SETTING_BOOL, allow_anonymous, "false", 0, 0, "listen beyond this machine although no key is needed"),
    GATEWAY(RH_SETTING_BOOL, trust_proxy, "false", 0, 0, "take the client's address from X-Forwarded-For"),
    GATEWAY(RH_SETTING_INT, attempts_max, "4", 1, 16, "models tried for one request"),
    GATEWAY(RH_SETTING_NUMBER, retry_budget, "0.2", 0, 10,
            "further attempts as a share of all requests; a few are always free"),
    GATEWAY(RH_SETTING_DURATION, hold_timeout, "0", 0, 3600,
            "a model that says nothing for so long is left for the next one; 0 = the provider's own timeout"),
    GATEWAY(RH_SETTING_INT, cascade_tokens, "16", 1, 256, "tokens by which an answer's confidence is judged"),
    GATEWAY(RH_SETTING_INT, breaker_failures, "5", 0, 1000,
            "failures in a row after which a model is left alone; 0 = never"),
    GATEWAY(RH_SETTING_DURATION, breaker_open, "10s", 0.01, 3600, "for so long, then one request tries it"),
    GATEWAY(RH_SETTING_DURATION, breaker_open_max, "5m", 0.01, 86400, "the longest such pause; it doubles each time"),
    GATEWAY(RH_SETTING_NUMBER, outlier_factor, "0", 0, 1000,
            "leave out a model so many times slower than the others; 0 = off"),
    GATEWAY(RH_SETTING_STRING, reference_model, "", 0, 0, "provider/model that savings are told against"),
    GATEWAY(RH_SETTING_DURATION, ledger_keep, "2160h", 0, 315360000,
            "single requests stay in the ledger for; then days are kept"),
    GATEWAY(RH_SETTING_STRING, decision_log, "", 0, 0, "file that gets a line for each routed request; empty = none"),
    GATEWAY(RH_SETTING_BYTES, decision_log_bytes, "64MiB", 4096, 1099511627776, "the decision log is rotated at"),
    GATEWAY(RH_SETTING_INT, decision_log_files, "5", 0, 1000, "old decision logs that are kept"),
};
const size_t rh_settings_table_count = sizeof rh_settings_table / sizeof *rh_settings_table;

static const char *const own_keys[] = {"models", "aliases", "catalogue", "$schema", NULL};
#define KEYS_MAX 32

// Those of the file that are no rows: ours and the gateway's.
static const char *const *other_keys(void) {
  static const char *keys[KEYS_MAX];
  size_t count = 0;
  for (const char *const *key = own_keys; *key != NULL; key++) keys[count++] = *key;
  for (const char *const *key = rh_gateway_config_keys; *key != NULL; key++) {
    assert(count + 1 < KEYS_MAX);
    keys[count++] = *key;
  }
  keys[count] = NULL;
  return keys;
}

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
  json_decref(conf->models);
  json_decref(conf->aliases);
  json_decref(conf->known);
  rh_gateway_config_free(conf->gateway);
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
  status = rh_config_from_json(rh_settings_table, rh_settings_table_count, "", copy, other_keys(), &conf->settings,
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
  static char *const nothing[] = {NULL};
  if (status == RH_OK) {
    status = rh_gateway_config_parse(root, &conf->settings.gateway, nothing, NULL, &conf->gateway, error);
  }
  if (status == RH_OK) status = rh_settings_check(conf, error);
  json_decref(root);
  if (status == RH_OK)
    *out = conf;
  else
    rh_configuration_free(conf);
  return status;
}
