// SPDX-License-Identifier: Apache-2.0
//
// The daemon's settings: defaults, precedence, errors, models, and the schema file at the repository's root.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/settings.h"

static char folder[64];
static char start_folder[512];

// Each test begins in an empty folder that is also the home of all usual places.
static int setup(void **state) {
  (void)state;
  rh_log_setup(2, RH_LOG_OFF, RH_LOG_JSON);
  strcpy(folder, "/tmp/rh-settings-XXXXXX");
  if (mkdtemp(folder) == NULL || getcwd(start_folder, sizeof start_folder) == NULL) return -1;
  setenv("XDG_DATA_HOME", folder, 1);
  setenv("XDG_CONFIG_HOME", folder, 1);
  return chdir(folder);
}

static int teardown(void **state) {
  (void)state;
  char command[128];
  if (chdir(start_folder) != 0) return -1;
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

static void write_file(const char *name, const char *text) {
  FILE *file = fopen(name, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

// The shortest GGUF: version 3 without keys and tensors.
static void write_gguf(const char *name) {
  FILE *file = fopen(name, "wb");
  assert_non_null(file);
  fwrite("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 1, 24, file);
  fclose(file);
}

// `flags` and `environment` are NULL-terminated.
static rh_status load(const char *const *flags, const char *const *environment, rh_configuration **out,
                      rh_error *error) {
  int argc = 1;
  char *argv[32] = {(char *)(uintptr_t) "serve"};
  while (flags != NULL && flags[argc - 1] != NULL) {
    argv[argc] = (char *)(uintptr_t)flags[argc - 1];
    argc++;
  }
  return rh_configuration_load(argc, argv, 1, (char *const *)(uintptr_t)environment, out, error);
}

static rh_configuration *load_ok(const char *const *flags, const char *const *environment) {
  rh_configuration *conf = NULL;
  rh_error error = {0};
  if (load(flags, environment, &conf, &error) != RH_OK) fail_msg("%s", error.message);
  assert_non_null(conf);
  return conf;
}

static void load_fails(const char *const *flags, const char *const *environment, const char *words) {
  rh_configuration *conf = NULL;
  rh_error error = {0};
  assert_int_not_equal(load(flags, environment, &conf, &error), RH_OK);
  assert_null(conf);
  if (strstr(error.message, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", error.message, words);
}

static rh_setting_origin origin_of(const rh_configuration *conf, const char *key) {
  for (size_t i = 0; i < rh_settings_table_count; i++) {
    if (strcmp(rh_settings_table[i].key, key) == 0) return conf->origins[i];
  }
  fail_msg("no setting %s", key);
  return RH_FROM_DEFAULT;
}

static void test_defaults(void **state) {
  (void)state;
  rh_configuration *conf = load_ok(NULL, NULL);
  const rh_settings *s = &conf->settings;
  assert_string_equal(s->listen, "127.0.0.1:8080");
  assert_true(s->request_timeout == 600 * RH_NS_PER_S);
  assert_true(s->shutdown_grace == 30 * RH_NS_PER_S);
  assert_true(s->body_bytes_max == 16 * 1024 * 1024);
  assert_int_equal(s->connections_max, 1024);
  assert_int_equal(s->queue_max, 64);
  assert_true(s->idle_timeout == 75 * RH_NS_PER_S);
  assert_true(s->stream_buffer == 65536);
  assert_string_equal(s->cors_origin, "local");
  assert_int_equal(s->log_level, RH_LOG_INFO);
  assert_int_equal(s->log_format, RH_LOG_JSON);
  assert_true(s->preload);
  assert_false(s->log_prompts);
  assert_true(s->start_timeout == 10 * RH_NS_PER_S && s->load_timeout == 120 * RH_NS_PER_S);
  assert_true(s->ping_interval == 5 * RH_NS_PER_S && s->ping_timeout == 30 * RH_NS_PER_S);
  assert_true(s->step_timeout == 300 * RH_NS_PER_S && s->cancel_grace == 60 * RH_NS_PER_S);
  assert_true(s->backoff_min == 100 * RH_NS_PER_MS && s->backoff_max == 30 * RH_NS_PER_S);
  assert_true(s->context == 0 && s->slots == 0 && s->threads == 0 && s->batch == 0 && s->prefill_chunk == 0);
  assert_int_equal(s->gpu_layers, -1);
  assert_non_null(strstr(s->worker, "/roundhouse-worker"));
  assert_non_null(strstr(s->models_dir, "/roundhouse/models"));
  assert_null(conf->file);
  assert_int_equal(rh_catalogue_count(conf->catalogue), 0);
  rh_configuration_free(conf);
}

static void test_flag_over_environment_over_file(void **state) {
  (void)state;
  write_file("roundhouse.json", "{\"queue_max\": 1, \"slots\": 1, \"threads\": 1, \"log_level\": \"warn\"}");
  static const char *const environment[] = {"ROUNDHOUSE_SLOTS=2",
                                            "ROUNDHOUSE_THREADS=2",
                                            "ROUNDHOUSE_CACHE=/x",
                                            "ROUNDHOUSE_SERVER=http://x",
                                            "HOME=/x",
                                            NULL};
  static const char *const flags[] = {"--threads", "3", "--log-level=debug", NULL};
  rh_configuration *conf = load_ok(flags, environment);
  assert_int_equal(conf->settings.queue_max, 1);
  assert_int_equal(conf->settings.slots, 2);
  assert_int_equal(conf->settings.threads, 3);
  assert_int_equal(conf->settings.log_level, RH_LOG_DEBUG);
  assert_int_equal(origin_of(conf, "queue_max"), RH_FROM_FILE);
  assert_int_equal(origin_of(conf, "slots"), RH_FROM_ENVIRONMENT);
  assert_int_equal(origin_of(conf, "threads"), RH_FROM_FLAG);
  assert_int_equal(origin_of(conf, "listen"), RH_FROM_DEFAULT);
  assert_string_equal(conf->file, "roundhouse.json");
  rh_configuration_free(conf);
}

static void test_where_the_file_is_found(void **state) {
  (void)state;
  assert_int_equal(system("mkdir -p roundhouse"), 0);
  write_file("roundhouse/roundhouse.json", "{\"queue_max\": 11}");
  rh_configuration *conf = load_ok(NULL, NULL);
  assert_int_equal(conf->settings.queue_max, 11);
  rh_configuration_free(conf);
  write_file("roundhouse.json", "{\"queue_max\": 12}");
  conf = load_ok(NULL, NULL);
  assert_int_equal(conf->settings.queue_max, 12);
  rh_configuration_free(conf);
  write_file("a.json", "{\"queue_max\": 13}");
  static const char *const environment[] = {"ROUNDHOUSE_CONFIG=a.json", NULL};
  conf = load_ok(NULL, environment);
  assert_int_equal(conf->settings.queue_max, 13);
  rh_configuration_free(conf);
  write_file("b.json", "{\"queue_max\": 14}");
  static const char *const flags[] = {"--config=b.json", NULL};
  conf = load_ok(flags, environment);
  assert_int_equal(conf->settings.queue_max, 14);
  rh_configuration_free(conf);
  static const char *const missing[] = {"--config", "none.json", NULL};
  load_fails(missing, NULL, "cannot read the configuration none.json");
}

static void test_errors_say_where_and_what(void **state) {
  (void)state;
  write_file("roundhouse.json", "{\"queue_maks\": 1}");
  load_fails(NULL, NULL, "queue_max");
  load_fails(NULL, NULL, "roundhouse.json");
  write_file("roundhouse.json", "{\"queue_max\": 0}");
  load_fails(NULL, NULL, "queue_max");
  write_file("roundhouse.json", "{\"queue_max\": ");
  load_fails(NULL, NULL, "roundhouse.json");
  write_file("roundhouse.json", "[]");
  load_fails(NULL, NULL, "must be a JSON object");
  write_file("roundhouse.json", "{\"models\": []}");
  load_fails(NULL, NULL, "models");
  write_file("roundhouse.json", "{\"backoff_min\": \"1m\"}");
  load_fails(NULL, NULL, "backoff_min is longer");
  write_file("roundhouse.json", "{\"keep_alive\": \"soon\"}");
  load_fails(NULL, NULL, "keep_alive: \"soon\" is no time");
  write_file("roundhouse.json", "{\"memory_watermark\": 1.5}");
  load_fails(NULL, NULL, "memory_watermark");
  write_file("roundhouse.json", "{\"aliases\": {\"a b\": \"m\"}}");
  load_fails(NULL, NULL, "aliases.a b");
  write_file("roundhouse.json", "{\"aliases\": {\"fast\": 5}}");
  load_fails(NULL, NULL, "aliases.fast must be a model's name");
  write_file("roundhouse.json", "{\"aliases\": {\"m\": \"n\"}, \"models\": {\"m\": {\"path\": \"fake:\"}}}");
  load_fails(NULL, NULL, "there is a model of this name");
  write_file("roundhouse.json", "{}");
  static const char *const wrong[] = {"--lisen", "x", NULL};
  load_fails(wrong, NULL, "did you mean --listen?");
  static const char *const word[] = {"word", NULL};
  load_fails(word, NULL, "not expected");
  static const char *const half[] = {"--config", NULL};
  load_fails(half, NULL, "needs a value");
  static const char *const environment[] = {"ROUNDHOUSE_QEUE_MAX=3", NULL};
  load_fails(NULL, environment, "ROUNDHOUSE_Q");
}

static void test_how_models_are_kept(void **state) {
  (void)state;
  rh_configuration *conf = load_ok(NULL, NULL);
  const rh_settings *s = &conf->settings;
  assert_non_null(strstr(s->store_dir, "/roundhouse/store"));
  assert_string_equal(s->hub_cache, "auto");
  assert_null(rh_settings_hub_cache(s));
  assert_true(rh_settings_keep_alive_ns(s) == 300 * RH_NS_PER_S);
  assert_true(s->memory_budget == 0 && s->gpu_memory_budget == 0 && s->max_loaded_models == 0);
  assert_float_equal(s->memory_watermark, 0.9, 1e-9);
  assert_true(s->load_wait == 60 * RH_NS_PER_S && s->load_patience == 2 * RH_NS_PER_S);
  assert_true(s->preload_top == 0 && s->tidy_interval == 10 * RH_NS_PER_S && s->store_limit == 0);
  assert_false(s->offline);
  assert_null(conf->aliases);
  rh_configuration_free(conf);
  write_file(
      "roundhouse.json",
      "{\"keep_alive\": 90, \"memory_budget\": \"2GiB\", \"hub_cache\": \"off\", \"aliases\": {\"fast\": \"m:v1\"}}");
  static const char *const environment[] = {"ROUNDHOUSE_OFFLINE=1", "ROUNDHOUSE_PIP=pip3", "ROUNDHOUSE_CONVERT=x",
                                            NULL};
  conf = load_ok(NULL, environment);
  assert_true(rh_settings_keep_alive_ns(&conf->settings) == 90 * RH_NS_PER_S);
  assert_true(conf->settings.memory_budget == (uint64_t)2 << 30);
  assert_string_equal(rh_settings_hub_cache(&conf->settings), "");
  assert_true(conf->settings.offline);
  assert_string_equal(json_string_value(json_object_get(conf->aliases, "fast")), "m:v1");
  rh_configuration_free(conf);
  static const char *const flags[] = {"--keep-alive", "forever", "--hub-cache", "/h", NULL};
  conf = load_ok(flags, NULL);
  assert_true(rh_settings_keep_alive_ns(&conf->settings) == UINT64_MAX);
  assert_string_equal(rh_settings_hub_cache(&conf->settings), "/h");
  rh_configuration_free(conf);
}

// The store may be shared and change: a default model that is not there stops no server, but a check tells of it.
static void test_default_model_that_is_not_there(void **state) {
  (void)state;
  rh_error error = {0};
  write_file("roundhouse.json", "{\"default_model\": \"smal\", \"models\": {\"small\": {\"path\": \"fake:\"}}}");
  rh_configuration *conf = load_ok(NULL, NULL);
  assert_int_equal(rh_configuration_check_default(conf, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "did you mean \"small\"?"));
  rh_configuration_free(conf);
  write_file("roundhouse.json", "{\"default_model\": \"other\", \"models\": {\"small\": {\"path\": \"fake:\"}}}");
  conf = load_ok(NULL, NULL);
  assert_int_equal(rh_configuration_check_default(conf, &error), RH_NOT_FOUND);
  rh_configuration_free(conf);
  write_file("roundhouse.json", "{\"default_model\": \"fast\", \"aliases\": {\"fast\": \"later\"}}");
  conf = load_ok(NULL, NULL);
  assert_int_equal(rh_configuration_check_default(conf, &error), RH_OK);
  rh_configuration_free(conf);
}

static void test_models_of_file_and_flags(void **state) {
  (void)state;
  assert_int_equal(system("mkdir -p conf/files"), 0);
  write_gguf("conf/files/a.gguf");
  write_file("conf/r.json",
             "{\"$schema\": \"x\", \"slots\": 3, \"models\": {\"rel\": {\"path\": \"files/a.gguf\", \"context\": 99}, "
             "\"both\": {\"path\": \"fake:context=1\"}}}");
  static const char *const flags[] = {"--config",
                                      "conf/r.json",
                                      "--model",
                                      "both=fake:slots=2",
                                      "--model=fake:slots=1",
                                      "--model",
                                      "conf/files/a.gguf",
                                      "--default-model",
                                      "rel",
                                      NULL};
  rh_configuration *conf = load_ok(flags, NULL);
  const rh_catalogue *catalogue = conf->catalogue;
  assert_int_equal(rh_catalogue_count(catalogue), 4);
  const rh_model_spec *rel = rh_catalogue_find(catalogue, "rel");
  assert_non_null(rel);
  assert_int_equal(rel->path[0], '/');
  assert_non_null(strstr(rel->path, "/conf/files/a.gguf"));
  assert_int_equal(rel->options.context, 99);
  assert_int_equal(rel->options.slots, 3);
  assert_int_equal(rel->options.gpu_layers, -1);
  assert_string_equal(rh_catalogue_find(catalogue, "both")->path, "fake:slots=2");  // the flag won
  assert_string_equal(rh_catalogue_find(catalogue, "fake")->path, "fake:slots=1");
  assert_string_equal(rh_catalogue_find(catalogue, "a")->engine, "llama");
  rh_configuration_free(conf);
  static const char *const missing[] = {"--model", "x=none.gguf", NULL};
  load_fails(missing, NULL, "there is no file none.gguf");
  static const char *const twice[] = {"--model", "x=fake:", "--model", "x=fake:", NULL};
  load_fails(twice, NULL, "two models are named");
  static const char *const unnamed[] = {"--model", "a b=fake:", NULL};
  load_fails(unnamed, NULL, "cannot be a model's name");
}

static void test_models_folder_is_scanned(void **state) {
  (void)state;
  assert_int_equal(system("mkdir -p m"), 0);
  write_gguf("m/Tiny.gguf");
  static const char *const flags[] = {"--models-dir", "m", "--default-model", "tiny", NULL};
  rh_configuration *conf = load_ok(flags, NULL);
  assert_int_equal(rh_catalogue_count(conf->catalogue), 1);
  assert_string_equal(rh_catalogue_at(conf->catalogue, 0)->name, "tiny");
  rh_configuration_free(conf);
}

static void test_parse_of_a_text_alone(void **state) {
  (void)state;
  rh_configuration *conf = NULL;
  rh_error error = {0};
  static const char text[] = "{\"listen\": \"[::1]:9\", \"models\": {\"m\": {\"path\": \"fake:\"}}}";
  assert_int_equal(rh_configuration_parse(text, sizeof text - 1, &conf, &error), RH_OK);
  assert_string_equal(conf->settings.listen, "[::1]:9");
  assert_int_equal(rh_catalogue_count(conf->catalogue), 1);
  rh_configuration_free(conf);
  assert_int_equal(rh_configuration_parse("{\"a\":1}", 7, &conf, &error), RH_INVALID);
  assert_null(conf);
  assert_int_equal(rh_configuration_parse("", 0, &conf, NULL), RH_INVALID);
}

static void test_schema_knows_every_key(void **state) {
  (void)state;
  json_t *schema = rh_configuration_schema();
  assert_non_null(schema);
  json_t *properties = json_object_get(schema, "properties");
  size_t gateway = 0;
  for (; rh_gateway_config_keys[gateway] != NULL; gateway++) {
    assert_non_null(json_object_get(properties, rh_gateway_config_keys[gateway]));
  }
  assert_int_equal(json_object_size(properties), rh_settings_table_count + gateway + 4);
  for (size_t i = 0; i < rh_settings_table_count; i++) {
    assert_non_null(json_object_get(properties, rh_settings_table[i].key));
  }
  json_t *model = json_object_get(json_object_get(properties, "models"), "additionalProperties");
  assert_int_equal(json_object_size(json_object_get(model, "properties")), rh_model_settings_count);
  assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
  json_decref(schema);
}

// Regenerate with: roundhouse config schema > roundhouse.schema.json
static void test_schema_file_is_up_to_date(void **state) {
  (void)state;
  char path[1024];
  static const char own[] = "tests/unit/test_daemon_settings.c";
  size_t prefix = strlen(__FILE__) - (sizeof own - 1);
  assert_string_equal(&__FILE__[prefix], own);
  snprintf(path, sizeof path, "%.*sroundhouse.schema.json", (int)prefix, __FILE__);
  assert_int_equal(chdir(start_folder), 0);  // the compiler may have been given a relative path
  json_error_t error;
  json_t *stored = json_load_file(path, 0, &error);
  if (stored == NULL) fail_msg("%s: %s", path, error.text);
  json_t *schema = rh_configuration_schema();
  assert_true(json_equal(stored, schema));
  json_decref(schema);
  json_decref(stored);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static void test_who_can_reach_the_listener(void **state) {
  (void)state;
  // From the fifth on it may be anybody.
  char cases[][24] = {"127.9.9.9:0",        "[::1]:80",          "LocalHost:80", "127.0.0.1",
                      "0.0.0.0:80",         "[::]:80",           "unix:80",      "127.evil.example:80",
                      "[::1].evil.here:80", "localhost.evil:80", ":80",          ""};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rh_settings settings = {.listen = cases[i]};
    if (rh_settings_listens_here(&settings) != (i < 4)) fail_msg("%s", cases[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_who_can_reach_the_listener),
      IN_FOLDER(test_defaults),
      IN_FOLDER(test_flag_over_environment_over_file),
      IN_FOLDER(test_where_the_file_is_found),
      IN_FOLDER(test_errors_say_where_and_what),
      IN_FOLDER(test_how_models_are_kept),
      IN_FOLDER(test_default_model_that_is_not_there),
      IN_FOLDER(test_models_of_file_and_flags),
      IN_FOLDER(test_models_folder_is_scanned),
      IN_FOLDER(test_parse_of_a_text_alone),
      IN_FOLDER(test_schema_knows_every_key),
      IN_FOLDER(test_schema_file_is_up_to_date),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
