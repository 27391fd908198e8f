// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the special tokens' ids, which of them are put around a text, and the chat template.
// Data owned: none. Threads: one. Not here: finding the ends of turns by their texts, which llama.cpp does itself.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "convert/vocab.h"

#define TEMPLATE_BYTES_MAX ((size_t)4 << 20)
#define TEMPLATES_MAX 16

// "</s>" or {"content": "</s>"}.
static const char *token_text(const json_t *settings, const char *key) {
  const json_t *value = json_object_get(settings, key);
  return json_is_object(value) ? rh_source_text(value, "content") : json_string_value(value);
}

static int64_t find_id(const rh_tokenizer *self, const char *role) {
  const rh_source *source = self->conversion->source;
  char key[32];
  (void)snprintf(key, sizeof key, "%s_token", role);
  const char *text = token_text(source->tokenizer_config, key);
  if (text == NULL) text = token_text(source->special_tokens, key);
  int64_t id = text != NULL ? rh_vocab_find(&self->vocab, text) : -1;
  (void)snprintf(key, sizeof key, "%s_token_id", role);
  const json_t *files[] = {source->config, source->generation};
  for (size_t i = 0; i < sizeof files / sizeof *files && id < 0; i++) {
    const json_t *value = json_object_get(files[i], key);
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (json_is_integer(value)) id = json_integer_value(value);
  }
  return id < self->vocab.count ? id : -1;
}

// A second token that ends an answer, when the model's settings name exactly one besides the usual.
static int64_t find_turn_end(const rh_tokenizer *self, int64_t eos) {
  const json_t *list = json_object_get(self->conversion->source->generation, "eos_token_id");
  int64_t found = -1;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *value = json_array_get(list, i);
    int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id == eos || id >= self->vocab.count) continue;
    if (found >= 0) return -1;
    found = id;
  }
  return found;
}

static void write_id(const rh_tokenizer *self, const char *word, int64_t id) {
  char key[64];
  if (id < 0) return;
  (void)snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", word);
  gguf_set_val_u32(self->conversion->gguf, key, (uint32_t)id);
}

static void write_ids(const rh_tokenizer *self) {
  bool bert = strcmp(self->model, "bert") == 0;
  int64_t cls = find_id(self, "cls"), sep = find_id(self, "sep");
  int64_t bos = find_id(self, "bos"), eos = find_id(self, "eos");
  // BERT begins a text with what it calls otherwise.
  if (bert && bos < 0) bos = cls;
  write_id(self, "bos", bos);
  write_id(self, "eos", eos);
  write_id(self, "unknown", find_id(self, "unk"));
  write_id(self, "seperator", sep);  // spelt so in the format
  write_id(self, "padding", find_id(self, "pad"));
  write_id(self, "cls", cls);
  write_id(self, "mask", find_id(self, "mask"));
  write_id(self, "eot", find_turn_end(self, eos));
  if (eos < 0 && !bert)
    rh_report_warning(self->conversion->report, "no file of this folder says which token ends an answer (eos_token)");
}

// Whether the first or last step of a template is a special token (and not the text itself).
static int has_special(const json_t *single, bool first) {
  size_t count = json_array_size(single);
  if (count == 0) return 0;
  return json_object_get(json_array_get(single, first ? 0 : count - 1), "SpecialToken") != NULL;
}

static void choose_surroundings(rh_tokenizer *self) {
  const json_t *settings = self->conversion->source->tokenizer_config;
  const json_t *processor = json_object_get(self->json, "post_processor"), *step = NULL;
  if (rh_tokenizer_has(processor, "TemplateProcessing", &step)) {
    self->add_bos = has_special(json_object_get(step, "single"), true);
    self->add_eos = has_special(json_object_get(step, "single"), false);
  } else if (rh_tokenizer_has(processor, "RobertaProcessing", NULL) ||
             rh_tokenizer_has(processor, "BertProcessing", NULL)) {
    self->add_bos = self->add_eos = self->add_sep = 1;
  }
  // What is said in plain words wins.
  const json_t *bos = json_object_get(settings, "add_bos_token"), *eos = json_object_get(settings, "add_eos_token");
  if (json_is_boolean(bos)) self->add_bos = json_is_true(bos);
  if (json_is_boolean(eos)) self->add_eos = json_is_true(eos);
  if (strcmp(self->model, "bert") == 0)
    self->add_bos = self->add_eos = self->add_sep = -1;  // llama.cpp's own rule fits
}

static void write_flag(const rh_tokenizer *self, const char *word, int value) {
  char key[64];
  if (value < 0) return;
  (void)snprintf(key, sizeof key, "tokenizer.ggml.%s", word);
  gguf_set_val_bool(self->conversion->gguf, key, value != 0);
}

// [{"name", "template"}]: the one called "default" is the model's; the others get keys with their names.
static void write_templates(struct gguf_context *gguf, const json_t *list) {
  const char *names[TEMPLATES_MAX];
  size_t count = 0;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const char *name = rh_source_text(json_array_get(list, i), "name"),
               *text = rh_source_text(json_array_get(list, i), "template");
    char key[96];
    if (name == NULL || text == NULL) continue;
    if (strcmp(name, "default") == 0) {
      gguf_set_val_str(gguf, "tokenizer.chat_template", text);
    } else if (count < TEMPLATES_MAX &&
               snprintf(key, sizeof key, "tokenizer.chat_template.%s", name) < (int)sizeof key) {
      gguf_set_val_str(gguf, key, text);
      names[count++] = name;
    }
  }
  if (count > 0) gguf_set_arr_str(gguf, "tokenizer.chat_templates", names, count);
}

static rh_status write_chat_template(const rh_tokenizer *self, rh_error *error) {
  const rh_source *source = self->conversion->source;
  struct gguf_context *gguf = self->conversion->gguf;
  rh_dynbuf text;
  rh_status status = rh_source_read(source, "chat_template.jinja", TEMPLATE_BYTES_MAX, &text, error);
  if (status == RH_OK) gguf_set_val_str(gguf, "tokenizer.chat_template", rh_dynbuf_data(&text));
  rh_dynbuf_free(&text);
  if (status != RH_NOT_FOUND) return status;
  json_t *file = NULL;
  status = rh_source_read_json(source, "chat_template.json", &file, error);
  const json_t *found = json_object_get(source->tokenizer_config, "chat_template");
  if (found == NULL) found = json_object_get(file, "chat_template");
  if (json_is_string(found)) gguf_set_val_str(gguf, "tokenizer.chat_template", json_string_value(found));
  write_templates(gguf, found);
  json_decref(file);
  return status;
}

rh_status rh_special_write(rh_tokenizer *self, rh_error *error) {
  write_ids(self);
  choose_surroundings(self);
  write_flag(self, "add_bos_token", self->add_bos);
  write_flag(self, "add_eos_token", self->add_eos);
  write_flag(self, "add_sep_token", self->add_sep);
  write_flag(self, "add_space_prefix", self->add_space_prefix);
  return write_chat_template(self, error);
}
