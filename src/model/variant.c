// SPDX-License-Identifier: Apache-2.0
//
// Finds a graph's variant with int8 weights. Owns nothing between calls; any thread, and blocks for as long as headers take
// to read. Whether the variant answers well enough is measured by the engine that loads both (src/engine/onnx/variant.c):
// here is only what the files say, because the worker reads no graphs.
#include "model/variant.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "model/format.h"
#include "model/hardware.h"
#include "model/onnx.h"

#define GENAI "genai_config.json"
#define CONFIG_BYTES_MAX ((size_t)4 << 20)
#define ENDING ".onnx"

// What the usual exporters add to a graph's name. Signed weights first: the instructions multiply unsigned by signed bytes.
static const char *const additions[] = {
    "_qint8_avx512_vnni", "_int8", "_quantized", "_qint8_avx512", "_qint8", "_uint8", "_quint8_avx2", "_quint8"};

static void folder_of(const char *path, char *out, size_t size) {
  const char *slash = strrchr(path, '/');
  (void)snprintf(out, size, "%.*s", slash == NULL ? 1 : (int)(slash - path), slash == NULL ? "." : path);
}

// The decoder's graph that a genai_config.json names.
static bool genai_graph(const char *path, char *out, size_t size) {
  rh_dynbuf text;
  rh_error ignored = {0};
  char folder[RH_VARIANT_PATH_MAX];
  rh_dynbuf_init(&text, CONFIG_BYTES_MAX);
  rh_status status = rh_file_read(path, &text, &ignored);
  json_t *config = status == RH_OK ? rh_json_parse(rh_dynbuf_data(&text), text.length, &ignored) : NULL;
  rh_dynbuf_free(&text);
  const json_t *decoder = json_object_get(json_object_get(config, "model"), "decoder");
  const char *name = json_string_value(json_object_get(decoder, "filename"));
  folder_of(path, folder, sizeof folder);
  bool fine = name != NULL && name[0] != '/' && strstr(name, "..") == NULL;
  int length = fine ? snprintf(out, size, "%s/%s", folder, name) : -1;
  json_decref(config);
  return length > 0 && (size_t)length < size;
}

static bool has_input(const rh_onnx_summary *graph, const char *beginning) {
  for (size_t i = 0; i < graph->input_count; i++) {
    if (rh_text_starts_with(graph->inputs[i].name, beginning)) return true;
  }
  return false;
}

// Every input of the variant is one of the graph, of the same type and rank.
static bool same_inputs(const rh_onnx_summary *graph, const rh_onnx_summary *variant) {
  if (graph->input_count != variant->input_count) return false;
  for (size_t i = 0; i < variant->input_count; i++) {
    const rh_onnx_port *port = &variant->inputs[i];
    bool found = false;
    for (size_t j = 0; j < graph->input_count && !found; j++) {
      const rh_onnx_port *other = &graph->inputs[j];
      found = strcmp(port->name, other->name) == 0 && strcmp(port->type, other->type) == 0 && port->rank == other->rank;
    }
    if (!found) return false;
  }
  return true;
}

// Whole, in its own folder, and quantized in the way that is meant.
static bool is_variant(const char *path, const rh_onnx_summary *of, char *quantization, size_t size) {
  rh_format_report report;
  rh_onnx_summary summary;
  rh_error error = {0};
  if (access(path, F_OK) != 0) return false;
  rh_status status = rh_format_detect(path, &report, &error);
  if (status == RH_OK && report.format != RH_FORMAT_ONNX) status = RH_UNSUPPORTED;
  if (status == RH_OK) status = rh_onnx_read_summary(path, &summary, &error);
  if (status != RH_OK) {
    RH_LOG(RH_LOG_WARN, "an int8 variant is not considered", rh_log_str("path", path),
           rh_log_str("reason", error.message));
    return false;
  }
  bool fits = summary.dynamic && same_inputs(of, &summary);
  if (fits) rh_onnx_quantization_text(&summary, quantization, size);
  rh_onnx_summary_free(&summary);
  return fits;
}

// Beside the graph, or in the folder "onnx" of the graph's.
static void look_for_variant(const char *path, const rh_onnx_summary *graph, rh_onnx_findings *out) {
  static const char *const places[] = {"", "onnx/"};
  char folder[RH_VARIANT_PATH_MAX];
  const char *slash = strrchr(path, '/');
  const char *name = slash != NULL ? slash + 1 : path;
  if (!rh_text_ends_with(name, ENDING)) return;
  int stem = (int)(strlen(name) - strlen(ENDING));
  folder_of(path, folder, sizeof folder);
  for (size_t place = 0; place < sizeof places / sizeof *places; place++) {
    for (size_t i = 0; i < sizeof additions / sizeof *additions; i++) {
      int length = snprintf(out->variant, sizeof out->variant, "%s/%s%.*s%s" ENDING, folder, places[place], stem, name,
                            additions[i]);
      bool whole = length > 0 && (size_t)length < sizeof out->variant;
      if (whole && is_variant(out->variant, graph, out->variant_quantization, sizeof out->variant_quantization)) return;
    }
  }
  out->variant[0] = '\0';
}

static bool is_encoder(const rh_onnx_summary *graph) {
  return has_input(graph, "input_ids") && !has_input(graph, "past");
}

void rh_onnx_find(const char *path, int int8, bool vnni, rh_onnx_findings *out) {
  char named[RH_VARIANT_PATH_MAX];
  rh_onnx_summary graph;
  rh_error ignored = {0};
  *out = (rh_onnx_findings){.quantization = ""};
  bool genai = rh_text_ends_with(path, "/" GENAI);
  if (genai && !genai_graph(path, named, sizeof named)) return;
  if (rh_onnx_read_summary(genai ? named : path, &graph, &ignored) != RH_OK) return;
  rh_onnx_quantization_text(&graph, out->quantization, sizeof out->quantization);
  bool wanted = int8 == RH_ONNX_INT8_ALWAYS || (int8 == RH_ONNX_INT8_AUTO && is_encoder(&graph));
  if (wanted && !genai && !graph.quantized) look_for_variant(path, &graph, out);
  rh_onnx_summary_free(&graph);
  if (out->variant[0] == '\0' || int8 == RH_ONNX_INT8_ALWAYS || vnni) return;
  out->lacks_vnni = true;
  out->variant[0] = out->variant_quantization[0] = '\0';
}

void rh_onnx_complete_load(rh_load *load, rh_onnx_findings *out) {
  assert(load->path != NULL);
  rh_hardware processor;
  rh_hardware_probe_cpu(&processor);
  rh_onnx_find(load->path, load->options.onnx.int8, rh_hardware_has_vnni(&processor), out);
  if (out->lacks_vnni) {
    RH_LOG(RH_LOG_INFO, "an int8 variant is there, but this processor has no VNNI; onnx_int8 = always would take it",
           rh_log_str("graph", load->path));
  }
  if (out->quantization[0] != '\0') load->quantization = out->quantization;
  if (out->variant[0] == '\0') return;
  load->variant = out->variant;
  load->variant_quantization = out->variant_quantization;
}
