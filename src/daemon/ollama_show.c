// SPDX-License-Identifier: Apache-2.0
//
// POST /api/show: all that a model's manifest and header say, in the places where Ollama's clients look. Owns nothing.
// Loop thread only. It reads the front of the model's file, no weights, and loads nothing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/ollama.h"
#include "model/gguf.h"

static void put_count(json_t *info, const char *architecture, const char *key, int64_t value) {
  char name[128];
  if (value <= 0) return;
  (void)snprintf(name, sizeof name, "%s.%s", architecture, key);
  json_object_set_new(info, name, json_integer(value));
}

static void put_shape(json_t *info, const char *architecture, const rh_gguf_shape *shape) {
  put_count(info, architecture, "block_count", shape->layers);
  put_count(info, architecture, "embedding_length", shape->width);
  put_count(info, architecture, "feed_forward_length", shape->feed_forward);
  put_count(info, architecture, "attention.head_count", shape->heads);
  put_count(info, architecture, "attention.head_count_kv", shape->kv_heads);
  put_count(info, architecture, "attention.key_length", shape->key_length);
  put_count(info, architecture, "attention.value_length", shape->value_length);
  put_count(info, architecture, "attention.sliding_window", shape->window);
  put_count(info, architecture, "expert_used_count", shape->experts_used);
  put_count(info, architecture, "vocab_size", shape->vocabulary);
}

// The keys are those of the file's header, as Ollama has them.
static json_t *model_info(const rh_served *served, const rh_ollama_facts *facts) {
  const rh_model_spec *spec = rh_served_spec(served);
  const char *architecture = facts->architecture[0] != '\0' ? facts->architecture : spec->engine;
  json_t *info = json_object();
  rh_gguf_summary summary;
  rh_gguf_shape shape;
  rh_error ignored = {0};
  json_object_set_new(info, "general.architecture", json_string(architecture));
  if (facts->parameters > 0) json_object_set_new(info, "general.parameter_count", json_integer(facts->parameters));
  put_count(info, architecture, "context_length", facts->context);
  if (spec->format != RH_FORMAT_GGUF || rh_gguf_read(spec->path, &summary, &shape, &ignored) != RH_OK) return info;
  if (summary.name[0] != '\0') json_object_set_new(info, "general.name", json_string(summary.name));
  put_count(info, architecture, "context_length", summary.context_trained);
  put_shape(info, architecture, &shape);
  return info;
}

// A text of the header, or "". The caller frees; NULL = no memory.
static char *header_text(const rh_model_spec *spec, const char *key) {
  char *text = NULL;
  rh_error ignored = {0};
  if (spec->format == RH_FORMAT_GGUF && rh_gguf_read_text(spec->path, key, &text, &ignored) == RH_OK) return text;
  return strdup("");
}

// Lines as Ollama's clients read them: a name, spaces, a value.
static void format_parameters(const rh_served *served, char *out, size_t size) {
  const rh_model_info *info = rh_member_info(rh_served_member(served));
  int64_t context = info != NULL ? info->context : rh_served_spec(served)->options.context;
  out[0] = '\0';
  if (context > 0) (void)snprintf(out, size, "%-30s %lld", "num_ctx", (long long)context);
}

static json_t *modelfile(const rh_served *served, const char *parameters, const char *licence) {
  rh_dynbuf text;
  char name[RH_OLLAMA_NAME_SIZE];
  rh_ollama_name(rh_served_spec(served)->name, name, sizeof name);
  rh_dynbuf_init(&text, 1024 * 1024);
  (void)rh_dynbuf_printf(&text, "# Written for this answer: Roundhouse keeps no Modelfiles.\nFROM %s\n", name);
  if (parameters[0] != '\0') (void)rh_dynbuf_printf(&text, "PARAMETER %s\n", parameters);
  if (licence[0] != '\0') (void)rh_dynbuf_printf(&text, "LICENSE \"\"\"%s\"\"\"\n", licence);
  json_t *value = text.failed ? NULL : json_stringn(rh_dynbuf_data(&text), text.length);
  rh_dynbuf_free(&text);
  return value;
}

static void show(rh_operation *operation, const rh_served *served) {
  const rh_model_spec *spec = rh_served_spec(served);
  rh_ollama_facts facts = rh_ollama_facts_of(operation->daemon, served, UINT64_MAX);
  char modified[32], parameters[64];
  char *template = header_text(spec, "tokenizer.chat_template");
  bool known = spec->licence != NULL && spec->licence[0] != '\0';
  char *licence = known ? strdup(spec->licence) : header_text(spec, "general.license");
  rh_ollama_time(spec->modified_s, modified, sizeof modified);
  format_parameters(served, parameters, sizeof parameters);
  json_t *value = NULL;
  if (template != NULL && licence != NULL) {
    value = json_pack("{sssossssso*so*s[s]ss}", "license", licence, "modelfile", modelfile(served, parameters, licence),
                      "parameters", parameters, "template", template, "details", rh_ollama_details(served, &facts),
                      "model_info", model_info(served, &facts), "capabilities",
                      rh_ollama_embeds(served, &facts) ? "embedding" : "completion", "modified_at", modified);
  }
  free(template);
  free(licence);
  rh_operation_answer(operation, 200, value);
}

void rh_ollama_begin_show(rh_operation *operation) {
  // What its own clients send, also where it says nothing.
  static const char *const fields[] = {"model", "name", "verbose", "system", "template", "options", NULL};
  const char *name = NULL;
  rh_resolution found;
  rh_error error = {0};
  rh_status status = rh_operation_check_fields(operation, fields, &error);
  if (status == RH_OK) status = rh_ollama_model_field(operation, &name, &error);
  if (status == RH_OK) status = rh_ollama_resolve(operation->daemon, name, &found, &error);
  if (status != RH_OK)
    rh_operation_fail(operation, &error);
  else
    show(operation, found.served);
}
