// SPDX-License-Identifier: Apache-2.0
//
// The daemon's settings: one table, read from the file, the environment and the flags; and the models they name.
#ifndef RH_DAEMON_SETTINGS_H
#define RH_DAEMON_SETTINGS_H

#include "base/config.h"
#include "gateway/config.h"
#include "model/catalogue.h"

typedef struct rh_settings {
  char *listen;              // "127.0.0.1:8080"
  char *models_dir;          // scanned for *.gguf; default $XDG_DATA_HOME/roundhouse/models
  char *store_dir;           // pulled models; default $XDG_DATA_HOME/roundhouse/store
  char *hub_cache;           // "auto", "off" or the folder of a Hugging Face cache whose models are used in place
  char *default_model;       // serves requests that name none; "" = the only or first one
  bool preload;              // load the default model at start
  char *worker;              // path of roundhouse-worker; default: beside this executable
  uint64_t request_timeout;  // ns; a request's whole time unless it asks for less
  uint64_t shutdown_grace;   // ns; after SIGTERM
  uint64_t body_bytes_max;
  int64_t connections_max;
  int64_t queue_max;       // waiting requests per model, unless the model says otherwise
  uint64_t idle_timeout;   // ns; keep-alive, and a reader that takes nothing
  uint64_t stream_buffer;  // bytes buffered for a slow reader
  char *cors_origin;       // "*", "" = none, or one origin
  int log_level;           // rh_log_level
  int log_format;          // rh_log_format
  bool log_prompts;
  // defaults of every model
  int64_t context, slots, threads, batch, prefill_chunk, gpu_layers;
  bool mlock;
  // how models are kept in memory
  char *keep_alive;            // as it was written; rh_settings_keep_alive_ns reads it
  uint64_t memory_budget;      // bytes for all workers together; 0 = a share of the machine's
  uint64_t gpu_memory_budget;  // bytes of each GPU; 0 = a share of its own
  int64_t max_loaded_models;   // 0 = no limit
  double memory_watermark;     // share of the machine's memory in use above which idle models leave; 0 = off
  uint64_t load_wait;          // ns; how long a request waits for memory
  uint64_t load_patience;      // ns; then a busy model is drained for those who wait
  int64_t preload_top;         // keep the K most asked-for models loaded; 0 = off
  uint64_t tidy_interval;      // ns
  uint64_t store_limit;        // bytes the store may hold; 0 = no limit
  bool offline;                // no connection to anywhere: pulls take only what is here
  // how workers are watched
  uint64_t start_timeout, load_timeout, ping_interval, ping_timeout, step_timeout, cancel_grace;
  uint64_t backoff_min, backoff_max;
  char *state_dir;  // of state.db; default $XDG_DATA_HOME/roundhouse/state
  rh_gateway_values gateway;
} rh_settings;

extern const rh_setting rh_settings_table[];
extern const size_t rh_settings_table_count;

// A whole configuration: settings, where each came from, and the catalogue of models.
typedef struct rh_configuration {
  rh_settings settings;
  rh_setting_origin *origins;  // one per row of the table
  rh_catalogue *catalogue;     // of the configuration and of models_dir; the store has more
  rh_catalogue *configured;    // those of the configuration and the flags alone
  json_t *models;              // "models" of the file: what each says itself; NULL = none
  json_t *aliases;             // {"fast": "name:version"} of the file; NULL = none
  json_t *known;               // "catalogue" of the file; NULL = none
  rh_gateway_config *gateway;  // providers, routing, prices, keys, experiments
  char *file;                  // the file that was read, or NULL
} rh_configuration;

// Reads --config FILE (or ROUNDHOUSE_CONFIG, or ./roundhouse.json, or $XDG_CONFIG_HOME/roundhouse/roundhouse.json; none is
// fine), then the environment, then the flags in argv[first..argc). Also takes --model NAME=PATH or --model PATH (repeatable;
// PATH is a .gguf, or "fake:..." for the fake engine). On success *out owns everything.
rh_status rh_configuration_load(int argc, char *const *argv, int first, char *const *environment,
                                rh_configuration **out, rh_error *error) RH_MUST_CHECK;
// The same from a JSON text alone, without file, environment or flags: for tests and fuzzing.
rh_status rh_configuration_parse(const char *json, size_t length, rh_configuration **out,
                                 rh_error *error) RH_MUST_CHECK;
void rh_configuration_free(rh_configuration *configuration);

// Is there a model that default_model names, in the configuration, the folders or the store? Reads the disk. A store may
// be shared and change while nobody looks, so this stops no server; `config check` asks. RH_INVALID: no, but there is one
// of a similar name; RH_NOT_FOUND: no.
rh_status rh_configuration_check_default(const rh_configuration *configuration, rh_error *error) RH_MUST_CHECK;

// Does the listener's address let in programs of this machine alone?
bool rh_settings_listens_here(const rh_settings *settings);

// The keep_alive setting: ns; UINT64_MAX = for ever.
uint64_t rh_settings_keep_alive_ns(const rh_settings *settings);

// The folder for rh_store_scan_hub_cache: NULL = the usual one; "" = none is to be looked at.
const char *rh_settings_hub_cache(const rh_settings *settings);

// The JSON Schema of roundhouse.json. New reference.
json_t *rh_configuration_schema(void);

// Folders: "$XDG_DATA_HOME/roundhouse" (or ~/.local/share/roundhouse) and the configuration's. Caller frees.
char *rh_data_dir(void);
char *rh_config_dir(void);

#endif
