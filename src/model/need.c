// SPDX-License-Identifier: Apache-2.0
//
// What a model takes before it is loaded: by engine and format. GGUF's arithmetic is in need_gguf.c.
// Owns nothing. Any thread; blocking (headers are read). It deliberately promises no more than an upper estimate: the
// broker corrects it by what a worker really uses.
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/text.h"
#include "flow/decoder_sizes.h"
#include "model/need_gguf.h"
#include "model/onnx.h"
#include "model/variant.h"

// How the formulas of need_gguf.c were found. llama.cpp v0.5.0, x86-64 with AVX-512, two threads, batch 512; the worker's
// peak resident set (VmHWM of /proc) after every slot had read a prompt as long as its context, in MiB. The first two
// models are the real files; the others have the real shape and vocabulary, and weights of zero.
//
//   model                         context slots   peak  estimate  ratio   weights (of them copies)     KV  compute
//   SmolLM2-135M Q4_1                 512     1    146       155   1.06      92 (  0)                  11       14
//   SmolLM2-135M Q4_1                2048     1    183       191   1.05      92                        45       16
//   SmolLM2-135M Q4_1                4096     1    230       238   1.04      92                        90       18
//   SmolLM2-135M Q4_1                4096     4    503       513   1.02      92                       360       18
//   SmolLM2-135M Q4_1                 512    16    321       337   1.05      92                       180       14
//   Gemma-3-270M Q4_K_M               512     1    333       346   1.04     248 ( 13)                   9       19
//   Gemma-3-270M Q4_K_M              2048     1    348       361   1.04     248                        21       21
//   Gemma-3-270M Q4_K_M              2048     4    419       437   1.04     248                        84       21
//   Qwen2.5-0.5B Q4_0                1024     4    662       690   1.04     515 (192)                  48       37
//   Qwen3-0.6B Q8_0                   512     1    746       760   1.02     604 (  0)                  56       27
//   Qwen3-0.6B Q4_K                   512     1    732       751   1.03     589 (236)                  56       27
//   Qwen3-0.6B Q4_K                  1024     4   1127      1151   1.02     589                       448       27
//   Llama-3.2-1B Q4_K                 512     1   1369      1423   1.04    1223 (522)                  16       65
//   Phi-3.5-mini Q4_K                 512     1   4277      4343   1.02    4002 (1944)                192       67
//   Llama-3.1-8B Q4_K                 512     1   8463      8592   1.02    8216 (3744)                 64      117
//
// The columns to the right are llama.cpp's own words at load; the formulas give weights and KV to the byte. For compute
// buffers: 4 bytes x tokens of a step x (3 x inner width + 4 x width) fits all of them but Gemma, which takes 5 % more,
// hence 1/16 on top; the mask adds 2 bytes x tokens x context. What is left of the resident set is the process: 14 MiB,
// 170 bytes a token of the vocabulary and 142 a merge. Not measured: more than one step's experts, recurrent layers, GPUs.
// A fake worker with nothing to hold takes 7 MiB.

// ONNX graphs, ONNX Runtime 1.31 on the same machine: sixteen 2048 x 2048 products, the worker's peak resident set (VmHWM)
// after runs of 1 and of 256 rows, in MiB. "x" = weights in a file beside the graph, which is mapped.
//
//   weights          bytes   peak   at rest   estimate   ratio
//   float32            256    484       292        576    1.19
//   float32 x          256    302       292        320    1.06
//   float16            128    510       294        550    1.08
//   float16 x          128    358       350        422    1.18
//   int8 (dynamic)      64    168       104        182    1.08
//   int8 x              64    106       106        118    1.11
//   int4 (MatMulNBits)                                          not measured: counted as they are packed
//
// While a graph is read its weights lie in memory twice, in protobuf's form and as tensors; what lies outside is mapped and
// then arranged for the kernels. Half-precision weights become single precision on a processor, with a copy on the way.
// What a run needs besides depends on its inputs, and the broker learns it by measuring.
#define ONNX_PROCESS_BYTES ((int64_t)40 << 20)
#define ONNX_COMPUTE_BYTES ((int64_t)24 << 20)

#define FAKE_PROCESS_BYTES ((int64_t)16 << 20)
#define OTHER_PROCESS_BYTES ((int64_t)64 << 20)

// "200MiB", "64KiB", "1GiB" or bytes, up to a ',' or the end; -1 for anything else.
static int64_t parse_bytes(const char *text) {
  static const struct {
    const char *name;
    int64_t factor;
  } units[] = {{"GiB", INT64_C(1) << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}};
  char *end = NULL;
  errno = 0;
  long long number = strtoll(text, &end, 10);
  if (end == text || errno != 0 || number < 0) return -1;
  size_t length = strcspn(end, ",");
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    if (strlen(units[i].name) != length || memcmp(end, units[i].name, length) != 0) continue;
    return number > INT64_MAX / 4 / units[i].factor ? -1 : (int64_t)number * units[i].factor;
  }
  return -1;
}

// The fake engine's path is its script: "fake:slots=2,memory=200MiB".
static rh_status fake_need(const char *path, rh_need *out, rh_error *error) {
  const char *at = strchr(path, ':');
  for (at = at != NULL ? at + 1 : ""; *at != '\0'; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',' ? 1 : 0)) {
    if (!rh_text_starts_with(at, "memory=")) continue;
    out->weights_bytes = parse_bytes(at + strlen("memory="));
    if (out->weights_bytes < 0) {
      return rh_fail(error, RH_INVALID, "memory= in %s must be bytes, such as memory=200MiB", path);
    }
  }
  out->process_bytes = FAKE_PROCESS_BYTES;
  out->ram_bytes = out->weights_bytes + out->process_bytes;
  return RH_OK;
}

// Keys and values of one token, where the graph is a decoder's: its inputs past_...[rows, heads, positions, width]. Half a model, which
// wants an encoder's states besides, is not run as one.
static int64_t decoder_token_bytes(const rh_onnx_summary *graph) {
  int64_t bytes = 0;
  for (size_t i = 0; i < graph->input_count; i++) {
    const rh_onnx_port *port = &graph->inputs[i];
    const int64_t limit = INT64_C(1) << 20;
    if (rh_text_starts_with(port->name, "encoder_")) return 0;
    if (!rh_text_starts_with(port->name, "past") || port->rank != 4) continue;
    if (port->shape[1] <= 0 || port->shape[1] > limit || port->shape[3] <= 0 || port->shape[3] > limit) continue;
    bytes += port->shape[1] * port->shape[3] * (strcmp(port->type, "float32") == 0 ? 4 : 2);
  }
  return bytes;
}

// What it can become: its pages come into memory as they are written. Attention that writes in place is an operator of
// Microsoft's; other graphs give new tensors while the old ones are still there.
static int64_t decoder_cache_bytes(const rh_onnx_summary *graph, const rh_load_options *options) {
  const int64_t bytes_max = INT64_C(1) << 50;
  int64_t copies = strstr(graph->operators, "com.microsoft") != NULL ? 1 : 2;
  int64_t token = decoder_token_bytes(graph);
  int64_t context = options->context > 0 ? options->context : RH_DECODER_CONTEXT_DEFAULT;
  int64_t slots = options->slots > 0 ? options->slots : rh_decoder_slots(token, context);
  if (token == 0) return 0;
  return token > bytes_max / context / slots / copies ? bytes_max : token * context * slots * copies;
}

static int64_t logits_bytes(const rh_onnx_summary *graph) {
  const int64_t most = RH_DECODER_LOGITS_BYTES, step = RH_DECODER_STEP_DEFAULT * (int64_t)sizeof(float);
  for (size_t i = 0; i < graph->output_count; i++) {
    const rh_onnx_port *port = &graph->outputs[i];
    if (strcmp(port->name, "logits") != 0 || port->rank != 3 || port->shape[2] <= 0) continue;
    return port->shape[2] > most / step ? most : port->shape[2] * step;
  }
  return 0;
}

// A variant with int8 weights that may be taken: at the first load both are there, to be compared.
static int64_t variant_bytes(const char *path, const rh_load_options *options) {
  rh_hardware processor;
  rh_onnx_findings found;
  rh_onnx_summary variant;
  rh_error ignored = {0};
  rh_hardware_probe_cpu(&processor);
  rh_onnx_find(path, options->onnx.int8, rh_hardware_has_vnni(&processor), &found);
  if (found.variant[0] == '\0' || rh_onnx_read_summary(found.variant, &variant, &ignored) != RH_OK) return 0;
  int64_t bytes = variant.weights_bytes;
  rh_onnx_summary_free(&variant);
  return bytes;
}

static rh_status graph_need(const char *path, const rh_load_options *options, rh_need *out, rh_error *error) {
  rh_onnx_summary graph;
  rh_status status = rh_onnx_read_summary(path, &graph, error);
  if (status != RH_OK) return status;
  int64_t inside = graph.weights_bytes - graph.outside_bytes;
  out->weights_bytes = graph.weights_bytes + graph.half_bytes;  // as they lie in memory
  out->compute_bytes = ONNX_COMPUTE_BYTES + inside + graph.half_bytes * 3 / 4 + variant_bytes(path, options);
  out->kv_bytes = decoder_cache_bytes(&graph, options);
  if (out->kv_bytes > 0) out->compute_bytes += logits_bytes(&graph);
  rh_onnx_summary_free(&graph);
  return RH_OK;
}

// A folder for onnxruntime-genai: its decoder's graph is what is loaded.
static rh_status genai_need(const char *path, const rh_load_options *options, rh_need *out, rh_error *error) {
  json_t *config = NULL;
  char *graph = NULL;
  rh_status status = rh_json_read_file(path, (size_t)4 << 20, &config, error);
  if (status != RH_OK) return status;
  const json_t *decoder = json_object_get(json_object_get(config, "model"), "decoder");
  const char *name = json_string_value(json_object_get(decoder, "filename"));
  int folder = (int)(strlen(path) - strlen("genai_config.json"));
  if (name == NULL || strstr(name, "..") != NULL) {
    status = rh_fail(error, RH_INVALID, "%s names no model.decoder.filename", path);
  } else if (asprintf(&graph, "%.*s%s", folder, path, name) < 0) {
    graph = NULL;
    status = rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", path);
  } else {
    status = graph_need(graph, options, out, error);
  }
  free(graph);
  json_decref(config);
  return status;
}

static rh_status onnx_need(const char *path, const rh_load_options *options, rh_need *out, rh_error *error) {
  rh_status status = rh_text_ends_with(path, "/genai_config.json") ? genai_need(path, options, out, error)
                                                                   : graph_need(path, options, out, error);
  out->process_bytes = ONNX_PROCESS_BYTES;
  out->ram_bytes = out->weights_bytes + out->compute_bytes + out->kv_bytes + out->process_bytes;
  return status;
}

static rh_status other_need(const char *path, rh_need *out, rh_error *error) {
  struct stat info;
  if (stat(path, &info) != 0) {
    return rh_fail(error, errno == ENOENT ? RH_NOT_FOUND : RH_IO, "cannot look at %s: %s", path, strerror(errno));
  }
  out->weights_bytes = info.st_size;
  out->process_bytes = OTHER_PROCESS_BYTES;
  out->ram_bytes = out->weights_bytes + out->process_bytes;
  return rh_fail(error, RH_UNSUPPORTED, "how much memory %s takes is not known, only its size", path);
}

rh_status rh_need_estimate(const char *engine, const char *path, const rh_load_options *options, int64_t gpu_free_bytes,
                           rh_need *out, rh_error *error) {
  assert(path != NULL && options != NULL && out != NULL);
  memset(out, 0, sizeof *out);
  bool fake = engine != NULL ? strcmp(engine, "fake") == 0 : rh_text_starts_with(path, "fake:");
  if (fake) return fake_need(path, out, error);
  if (engine != NULL && strcmp(engine, "onnx") == 0) return onnx_need(path, options, out, error);
  rh_error inner = {0};
  rh_status status = rh_need_gguf(path, options, gpu_free_bytes, out, &inner);
  if (status == RH_OK) return RH_OK;
  // No GGUF at all, or of a kind that is not read here. What is GGUF and broken is an error of its own.
  if (status == RH_UNSUPPORTED || strstr(inner.message, "not a GGUF file") != NULL) {
    memset(out, 0, sizeof *out);
    return other_need(path, out, error);
  }
  if (error != NULL) *error = inner;
  return status;
}

static int64_t square_root(int64_t value) {
  int64_t root = 0;
  for (int64_t bit = INT64_C(1) << 31; bit > 0; bit >>= 1) {
    if ((root | bit) <= value / (root | bit)) root |= bit;
  }
  return root;
}

// Without the header nothing is known of the layers. Keys and values of one token grow with the square root of the
// parameters: 23 KiB at 135 M, 32 at 1.2 B, 56 at 7.6 B, 128 at 8 B; models without grouped heads take up to 4 times as
// much. 2 bytes x sqrt(parameters) is on the upper side of the usual ones (SmolLM2, Llama 3, Qwen 2.5, Gemma 2).
int64_t rh_need_rough(int64_t file_bytes, int64_t parameters, int64_t context, int64_t slots) {
  const int64_t context_max = INT64_C(1) << 24, slots_max = 4096, bytes_max = INT64_C(1) << 50;
  int64_t tokens = (context < 0             ? 0
                    : context > context_max ? context_max
                                            : context) *
                   (slots < 0           ? 0
                    : slots > slots_max ? slots_max
                                        : slots);
  int64_t known = parameters > 0 ? parameters : file_bytes;
  int64_t row = 2 * square_root(known > 0 ? known : 0);
  int64_t kv = row > bytes_max / (tokens + 1) ? bytes_max : row * tokens;
  int64_t weights = file_bytes < 0 ? 0 : file_bytes > bytes_max ? bytes_max : file_bytes;
  return weights + kv + weights / 32 + OTHER_PROCESS_BYTES;
}
