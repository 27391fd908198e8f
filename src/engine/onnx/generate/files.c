// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what the files beside a decoder's graph say: its context, the tokens that end an answer, its architecture.
// Data owned: none. Threads: the engine thread.
// Not here: tokenizer and chat template, which read their files themselves. Sources: config.json and
// generation_config.json as transformers writes them, genai_config.json as onnxruntime-genai does.
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "engine/onnx/generate/generate.h"

#define FILE_BYTES_MAX ((size_t)16 << 20)

static rh_status read_file(const char *folder, const char *name, json_t **out, rh_error *error) {
  char path[RH_ORT_PATH_MAX];
  *out = NULL;
  int length = snprintf(path, sizeof path, "%s/%s", folder, name);
  if (length < 0 || (size_t)length >= sizeof path)
    return rh_fail(error, RH_LOAD_FAILED, "the path of %s is too long", name);
  rh_status status = rh_json_read_file(path, FILE_BYTES_MAX, out, error);
  if (status == RH_NOT_FOUND) return RH_OK;
  return status == RH_OK || status == RH_NO_MEMORY ? status
                                                   : rh_fail(error, RH_LOAD_FAILED, "%s", error ? error->message : "");
}

static void add_end(rh_gen_files *files, const json_t *id) {
  json_int_t value = json_integer_value(id);
  if (!json_is_integer(id) || value < 0 || value > INT32_MAX || files->end_count == RH_GEN_ENDS_MAX) return;
  for (size_t i = 0; i < files->end_count; i++) {
    if (files->ends[i] == (int32_t)value) return;
  }
  files->ends[files->end_count++] = (int32_t)value;
}

// One id or several.
static void add_ends(rh_gen_files *files, const json_t *ids) {
  add_end(files, ids);
  for (size_t i = 0; i < json_array_size(ids); i++) add_end(files, json_array_get(ids, i));
}

static void take_context(rh_gen_files *files, const json_t *object, const char *key) {
  json_int_t value = json_integer_value(json_object_get(object, key));
  if (files->context_trained == 0 && value > 0 && value <= RH_GEN_CONTEXT_MAX) files->context_trained = value;
}

static void read_genai(rh_gen_files *files, const json_t *genai) {
  const json_t *model = json_object_get(genai, "model");
  const json_t *search = json_object_get(genai, "search");
  take_context(files, model, "context_length");
  add_ends(files, json_object_get(model, "eos_token_id"));
  files->forbid_shared = json_is_false(json_object_get(search, "past_present_share_buffer"));
}

static void read_config(rh_gen_files *files, const json_t *config) {
  static const char *const contexts[] = {"max_position_embeddings", "n_positions", "n_ctx", "max_seq_len",
                                         "seq_length"};
  // Models of several kinds of input keep what concerns text in an object of its own.
  const json_t *text = json_object_get(config, "text_config");
  for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
    take_context(files, config, contexts[i]);
    take_context(files, text, contexts[i]);
  }
  const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
  if (!name) name = json_string_value(json_object_get(config, "model_type"));
  if (name) (void)rh_text_copy(files->architecture, sizeof files->architecture, name);
}

rh_status rh_gen_files_read(const char *folder, rh_gen_files *files, rh_error *error) {
  json_t *genai = NULL, *config = NULL, *generation = NULL;
  *files = (rh_gen_files){0};
  rh_status status = read_file(folder, "genai_config.json", &genai, error);
  if (status == RH_OK) status = read_file(folder, "config.json", &config, error);
  if (status == RH_OK) status = read_file(folder, "generation_config.json", &generation, error);
  if (status == RH_OK) {
    read_genai(files, genai);
    read_config(files, config);
    add_ends(files, json_object_get(generation, "eos_token_id"));
    // The configuration's own is a fall-back: chats end with other tokens, which only the two others know.
    if (files->end_count == 0) add_ends(files, json_object_get(config, "eos_token_id"));
  }
  json_decref(genai);
  json_decref(config);
  json_decref(generation);
  return status;
}
