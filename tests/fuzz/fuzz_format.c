// SPDX-License-Identifier: Apache-2.0
//
// The parts of the format detection that look at bytes: ONNX's wire format and summary, safetensors headers, GGUF parts, TensorRT,
// and the words for everything else. Checked besides memory: no read outside the input, what is named is a text, what
// was whole stays whole, and nothing is two things at once.
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/format_private.h"
#include "model/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
  const uint8_t *data;
  size_t size;
  size_t externals;
} input;

static bool read_at(void *ctx, int64_t offset, void *out, size_t length) {
  const input *in = ctx;
  if (offset < 0 || (uint64_t)offset > in->size || length > in->size - (size_t)offset) abort();
  if (length > 0) memcpy(out, in->data + offset, length);
  return true;
}

static bool on_external(void *ctx, const char *location, int64_t end) {
  input *in = ctx;
  if (location[0] == '\0' || end < -1 || strlen(location) > in->size) abort();
  in->externals++;
  return true;
}

static bool stop_at_once(void *ctx, const char *location, int64_t end) {
  (void)ctx;
  (void)location;
  (void)end;
  return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input in = {.data = data, .size = size};
  rh_format_source source = {read_at, &in, (int64_t)size};
  rh_error error = {0};
  rh_status onnx = rh_onnx_walk(&source, on_external, &in, &error);
  if (onnx != RH_OK && onnx != RH_UNSUPPORTED && onnx != RH_INVALID) abort();
  if (onnx != RH_OK && error.message[0] == '\0') abort();
  // Whoever gives up is heard at the first file.
  rh_status stopped = rh_onnx_walk(&source, stop_at_once, NULL, NULL);
  if (in.externals > 0 ? stopped != RH_CANCELLED : stopped != onnx) abort();

  // What can be summed up has texts, and what is whole can be summed up unless it is too much.
  rh_onnx_summary graph;
  rh_status summed = rh_onnx_summarize(&source, &graph, NULL);
  for (size_t i = 0; summed == RH_OK && i < graph.input_count; i++) {
    char text[80];
    rh_onnx_port_text(&graph.inputs[i], text, sizeof text);
    if (strlen(text) >= sizeof text) abort();
  }
  if (summed == RH_OK && (graph.parameters < 0 || graph.outside_bytes > graph.weights_bytes)) abort();
  rh_onnx_summary_free(&graph);

  error = (rh_error){.message = ""};
  rh_status safetensors = rh_safetensors_check(&source, &error);
  if (safetensors != RH_OK && error.message[0] == '\0') abort();
  if (safetensors == RH_OK && onnx == RH_OK) abort();
  (void)rh_tensorrt_matches(&source);

  uint16_t value = 0;
  if (rh_gguf_find_u16(data, size, "split.count", &value) && size < 25) abort();

  char seen[64];
  size_t front = size < RH_FORMAT_PEEK_BYTES ? size : RH_FORMAT_PEEK_BYTES;
  (void)rh_format_describe(data, front, (int64_t)size, seen, sizeof seen);
  if (seen[0] == '\0' || strlen(seen) >= sizeof seen || !rh_utf8_valid(seen, strlen(seen))) abort();
  return 0;
}
