// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the files of the sentence-transformers package: modules.json and the folders it names, the longest text, the
// prompts.
// Data owned: none; what is kept stands in the files' arena. Threads: any; reading blocks.
// Not here: computing (embed.c). A module that is not known does not fail the model: embedding says why it cannot be done.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "task/model_files.h"

static const struct {
  const char *flag, *word;  // the old and the new way to say it
} poolings[RH_POOLING_COUNT] = {
    {"pooling_mode_cls_token", "cls"},
    {"pooling_mode_max_tokens", "max"},
    {"pooling_mode_mean_tokens", "mean"},
    {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
    {"pooling_mode_weightedmean_tokens", "weightedmean"},
    {"pooling_mode_lasttoken", "lasttoken"},
};

unsigned rh_pooling_from_word(const char *word) {
  for (unsigned i = 0; word != NULL && i < RH_POOLING_COUNT; i++) {
    if (strcmp(word, poolings[i].word) == 0) return 1u << i;
  }
  return 0;
}

static void read_pooling(const json_t *config, rh_model_files *files) {
  unsigned pooling = 0;
  const json_t *mode = json_object_get(config, "pooling_mode");
  pooling |= rh_pooling_from_word(json_string_value(mode));
  for (size_t i = 0; i < json_array_size(mode); i++) {
    pooling |= rh_pooling_from_word(json_string_value(json_array_get(mode, i)));
  }
  for (unsigned i = 0; i < RH_POOLING_COUNT; i++) {
    if (json_is_true(json_object_get(config, poolings[i].flag))) pooling |= 1u << i;
  }
  // The package takes the mean when a configuration asks for nothing.
  files->pooling = pooling != 0 ? pooling : RH_POOLING_MEAN;
  files->include_prompt = !json_is_false(json_object_get(config, "include_prompt"));
}

static rh_status read_pooling_module(const char *folder, const char *path, rh_model_files *files, rh_error *error) {
  char name[256];
  (void)snprintf(name, sizeof name, "%.200s%sconfig.json", path, path[0] == '\0' ? "" : "/");
  json_t *config = NULL;
  rh_status status = rh_model_files_json(folder, name, &config, error);
  if (status == RH_OK && config == NULL)
    status = rh_fail(error, RH_INVALID, "modules.json names %s, which is not there", name);
  if (status == RH_OK) read_pooling(config, files);
  json_decref(config);
  return status;
}

// The longest text, from beside the transformer. The file's name once told the kind of model.
static rh_status read_length(const char *folder, const char *path, rh_model_files *files, rh_error *error) {
  static const char *const kinds[] = {"bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    char name[256];
    (void)snprintf(name, sizeof name, "%.200s%ssentence_%s_config.json", path, path[0] == '\0' ? "" : "/", kinds[i]);
    json_t *config = NULL;
    rh_status status = rh_model_files_json(folder, name, &config, error);
    if (status != RH_OK) return status;
    int64_t length = json_integer_value(json_object_get(config, "max_seq_length"));
    if (length > 0) files->length_max = length;
    bool found = config != NULL;
    json_decref(config);
    if (found) return RH_OK;
  }
  return RH_OK;
}

static rh_status read_module(const char *folder, const json_t *module, rh_model_files *files, rh_error *error) {
  const char *type = json_string_value(json_object_get(module, "type"));
  const char *path = json_string_value(json_object_get(module, "path"));
  const char *dot = type != NULL ? strrchr(type, '.') : NULL;
  const char *kind = dot != NULL ? dot + 1 : type;
  if (kind == NULL || path == NULL) return rh_fail(error, RH_INVALID, "modules.json: a module has no type or no path");
  if (strcmp(kind, "Transformer") == 0) return read_length(folder, path, files, error);
  if (strcmp(kind, "Pooling") == 0) return read_pooling_module(folder, path, files, error);
  if (strcmp(kind, "Dense") == 0) return rh_dense_read(folder, path, files, error);
  if (strcmp(kind, "Normalize") == 0) {
    files->normalize = true;
    return RH_OK;
  }
  if (files->unsupported[0] == '\0') {
    (void)snprintf(files->unsupported, sizeof files->unsupported,
                   "the model's modules.json has the module \"%.60s\", which cannot be computed here; only "
                   "Transformer, Pooling, Dense and Normalize can",
                   kind);
  }
  return RH_OK;
}

rh_status rh_sentence_prompts_read(const json_t *object, rh_model_files *files, rh_error *error) {
  const char *key;
  json_t *value;
  json_object_foreach(json_object_get(object, "prompts"), key, value) {
    if (!json_is_string(value)) continue;
    if (files->prompt_count == RH_MODEL_PROMPTS_MAX)
      return rh_fail(error, RH_TOO_LARGE, "the model names more than %d prompts", RH_MODEL_PROMPTS_MAX);
    rh_prompt_entry *entry = &files->prompts[files->prompt_count++];
    entry->name = rh_arena_strdup(files->arena, key);
    entry->text = rh_arena_strdup(files->arena, json_string_value(value));
    if (entry->name == NULL || entry->text == NULL)
      return rh_fail(error, RH_NO_MEMORY, "There is no memory for the model's prompts.");
  }
  const char *name = json_string_value(json_object_get(object, "default_prompt_name"));
  if (name != NULL) files->default_prompt = rh_model_files_prompt(files, name);
  return RH_OK;
}

rh_status rh_sentence_files_read(const char *folder, rh_model_files *files, rh_error *error) {
  json_t *modules = NULL, *config = NULL;
  rh_status status = rh_model_files_json(folder, "modules.json", &modules, error);
  for (size_t i = 0; status == RH_OK && i < json_array_size(modules); i++) {
    status = read_module(folder, json_array_get(modules, i), files, error);
  }
  if (json_array_size(modules) > 0) {
    files->sentence = true;
    files->task = RH_TASK_EMBED;
  }
  json_decref(modules);
  if (status == RH_OK) status = rh_model_files_json(folder, "config_sentence_transformers.json", &config, error);
  if (status == RH_OK) status = rh_sentence_prompts_read(config, files, error);
  json_decref(config);
  return status;
}
