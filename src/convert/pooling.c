// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what a sentence-transformers folder says about making one vector of many: modules.json and the pooling
// module's own configuration. llama.cpp has a key for the pooling alone; whether vectors are normalised and how many tokens
// the model was meant for go into keys of our own.
// Data owned: none. Threads: one. Not here: computing it.
#include <llama.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "convert/model.h"

// "1_Pooling" or "": a name below the folder, never a way out of it.
static bool plain_path(const char *path) {
  return path != NULL && path[0] != '/' && strstr(path, "..") == NULL && strlen(path) < 200;
}

static rh_status write_mode(const rh_conversion *self, const json_t *config, rh_error *error) {
  static const struct {
    const char *flag, *word;  // the old and the new way to say it
    enum llama_pooling_type type;
  } modes[] = {
      {"pooling_mode_mean_tokens", "mean", LLAMA_POOLING_TYPE_MEAN},
      {"pooling_mode_cls_token", "cls", LLAMA_POOLING_TYPE_CLS},
      {"pooling_mode_lasttoken", "lasttoken", LLAMA_POOLING_TYPE_LAST},
  };
  const char *word = rh_source_text(config, "pooling_mode");
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    bool meant = rh_source_bool(config, modes[i].flag, false) || (word != NULL && strcmp(word, modes[i].word) == 0);
    if (!meant) continue;
    rh_metadata_int(self, "pooling_type", (int64_t)modes[i].type);
    return RH_OK;
  }
  return rh_fail(error, RH_UNSUPPORTED,
                 "the pooling module's configuration asks for none of mean, cls and lasttoken, which are "
                 "what llama.cpp computes");
}

static rh_status read_pooling(const rh_conversion *self, const char *path, rh_error *error) {
  if (!plain_path(path))
    return rh_fail(error, RH_INVALID, "modules.json: the pooling module's path is not one within the folder");
  char name[256];
  (void)snprintf(name, sizeof name, "%s%sconfig.json", path, path[0] == '\0' ? "" : "/");
  json_t *config = NULL;
  rh_status status = rh_source_read_json(self->source, name, &config, error);
  if (status == RH_OK && config == NULL)
    status = rh_fail(error, RH_INVALID, "modules.json names %s, which is not there", name);
  if (status == RH_OK) status = write_mode(self, config, error);
  json_decref(config);
  return status;
}

static rh_status read_modules(const rh_conversion *self, const json_t *modules, rh_error *error) {
  bool normalized = false;
  size_t i;
  json_t *module;
  json_array_foreach((json_t *)(uintptr_t)modules, i, module) {
    const char *type = rh_source_text(module, "type");
    const char *dot = type != NULL ? strrchr(type, '.') : NULL;
    const char *kind = dot != NULL ? dot + 1 : type;
    if (kind == NULL || strcmp(kind, "Transformer") == 0) continue;
    if (strcmp(kind, "Normalize") == 0) {
      normalized = true;
    } else if (strcmp(kind, "Pooling") == 0) {
      rh_status status = read_pooling(self, rh_source_text(module, "path"), error);
      if (status != RH_OK) return status;
    } else {
      return rh_fail(error, RH_UNSUPPORTED,
                     "modules.json: the module %.60s after the transformer cannot be converted; only "
                     "pooling and normalising can",
                     kind);
    }
  }
  gguf_set_val_bool(self->gguf, "roundhouse.embedding.normalize", normalized);
  return RH_OK;
}

rh_status rh_pooling_write(const rh_conversion *self, rh_error *error) {
  json_t *modules = NULL, *sentence = NULL;
  rh_status status = rh_source_read_json(self->source, "modules.json", &modules, error);
  if (status == RH_OK && json_is_array(modules)) status = read_modules(self, modules, error);
  if (status == RH_OK) status = rh_source_read_json(self->source, "sentence_bert_config.json", &sentence, error);
  int64_t tokens = rh_source_int(sentence, "max_seq_length", 0);
  if (status == RH_OK && tokens > 0 && tokens <= self->hparams.context)
    gguf_set_val_u32(self->gguf, "roundhouse.embedding.max_tokens", (uint32_t)tokens);
  json_decref(modules);
  json_decref(sentence);
  return status;
}
