// SPDX-License-Identifier: Apache-2.0
//
// A model in Ollama's words: details, digest, times. What a file's header says is read once and remembered in
// daemon->headers, an object by path; a header may be megabytes, so a list of models reads only for so long at a time.
// Loop thread only. It starts no worker.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/ollama.h"
#include "model/gguf.h"

#define HEADERS_MAX 4096  // remembered; then all are forgotten

static json_t *read_header(const rh_model_spec *spec) {
  rh_gguf_summary summary;
  rh_gguf_shape shape;
  rh_error ignored = {0};
  // A file that cannot be read has nothing to say, and is not asked again until it changes.
  if (rh_gguf_read(spec->path, &summary, &shape, &ignored) != RH_OK) {
    summary = (rh_gguf_summary){0};
    shape.parts = 0;
  }
  // Of a model in several files, this one counts only its own tensors.
  int64_t parameters = shape.parts > 1 ? 0 : summary.parameters;
  return json_pack("{sIsIsssssIsI}", "bytes", (json_int_t)spec->file_bytes, "modified", (json_int_t)spec->modified_s,
                   "architecture", summary.architecture, "quantization", summary.quantization, "parameters",
                   (json_int_t)parameters, "context", (json_int_t)summary.context_trained);
}

static const json_t *header_of(rh_daemon *daemon, const rh_model_spec *spec, uint64_t deadline_ns) {
  json_t *known = json_object_get(daemon->headers, spec->path);
  if (known != NULL && json_integer_value(json_object_get(known, "bytes")) == spec->file_bytes &&
      json_integer_value(json_object_get(known, "modified")) == spec->modified_s) {
    return known;
  }
  if (rh_clock_now_ns() >= deadline_ns) return NULL;
  if (daemon->headers == NULL) daemon->headers = json_object();
  if (json_object_size(daemon->headers) >= HEADERS_MAX) json_object_clear(daemon->headers);
  if (json_object_set_new(daemon->headers, spec->path, read_header(spec)) != 0) return NULL;
  return json_object_get(daemon->headers, spec->path);
}

static void add_text(const char **slot, const char *text) {
  if ((*slot)[0] == '\0' && text != NULL) *slot = text;
}

static void add_number(int64_t *slot, int64_t value) {
  if (*slot == 0 && value > 0) *slot = value;
}

rh_ollama_facts rh_ollama_facts_of(rh_daemon *daemon, const rh_served *served, uint64_t deadline_ns) {
  const rh_model_spec *spec = rh_served_spec(served);
  const rh_model_info *info = rh_member_info(rh_served_member(served));
  rh_ollama_facts facts = {.architecture = "", .quantization = ""};
  add_text(&facts.architecture, spec->architecture);
  add_text(&facts.quantization, spec->quantization);
  add_number(&facts.parameters, spec->parameters);
  add_number(&facts.context, spec->context_trained);
  if (info != NULL) {
    add_text(&facts.architecture, info->architecture);
    add_text(&facts.quantization, info->quantization);
    add_number(&facts.parameters, info->parameters);
    add_number(&facts.context, info->context_trained);
  }
  bool whole = facts.architecture[0] != '\0' && facts.quantization[0] != '\0' && facts.parameters > 0;
  const json_t *header = whole || spec->format != RH_FORMAT_GGUF ? NULL : header_of(daemon, spec, deadline_ns);
  add_text(&facts.architecture, json_string_value(json_object_get(header, "architecture")));
  add_text(&facts.quantization, json_string_value(json_object_get(header, "quantization")));
  add_number(&facts.parameters, json_integer_value(json_object_get(header, "parameters")));
  add_number(&facts.context, json_integer_value(json_object_get(header, "context")));
  return facts;
}

// "135M", "1.1B"; "" when it is not known.
static void format_parameters(int64_t parameters, char *out, size_t size) {
  double count = (double)parameters;
  if (parameters <= 0)
    out[0] = '\0';
  else if (parameters >= 999500000)
    (void)snprintf(out, size, "%.1fB", count / 1e9);
  else if (parameters >= 999500)
    (void)snprintf(out, size, "%.0fM", count / 1e6);
  else
    (void)snprintf(out, size, "%.0fK", count / 1e3);
}

json_t *rh_ollama_details(const rh_served *served, const rh_ollama_facts *facts) {
  char size[32];
  format_parameters(facts->parameters, size, sizeof size);
  // What runs in an engine without architectures is a family of its own.
  const char *family = facts->architecture[0] != '\0' ? facts->architecture : rh_served_spec(served)->engine;
  return json_pack("{sssssss[s]ssss}", "parent_model", "", "format", rh_format_name(rh_served_spec(served)->format),
                   "family", family, "families", family, "parameter_size", size, "quantization_level",
                   facts->quantization);
}

bool rh_ollama_embeds(const rh_served *served, const rh_ollama_facts *facts) {
  const char *task = rh_served_spec(served)->task;
  if (task != NULL && task[0] != '\0') return rh_text_starts_with(task, "embedding");
  return strstr(facts->architecture, "bert") != NULL || strstr(facts->architecture, "embedding") != NULL;
}

void rh_ollama_digest(const rh_served *served, char out[65]) {
  const rh_model_spec *spec = rh_served_spec(served);
  const char *prefix = "sha256:";
  if (spec->digest != NULL && rh_text_starts_with(spec->digest, prefix) &&
      strlen(spec->digest + strlen(prefix)) == 64) {
    memcpy(out, spec->digest + strlen(prefix), 65);
    return;
  }
  rh_dynbuf line;
  rh_dynbuf_init(&line, 64 * 1024);
  (void)rh_dynbuf_printf(&line, "%s %s %lld %lld", spec->engine, spec->path, (long long)spec->file_bytes,
                         (long long)spec->modified_s);
  rh_sha256_hex(rh_dynbuf_data(&line), line.length, out);
  rh_dynbuf_free(&line);
}

void rh_ollama_time(int64_t seconds, char *out, size_t size) {
  if (rh_clock_format_utc(out, size, seconds) == 0) (void)rh_text_copy(out, size, "1970-01-01T00:00:00Z");
}
