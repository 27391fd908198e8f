// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: the header of a GGUF file, and the memory estimate made of it. It must end, read nothing past its bytes,
// and say the same of a prefix: once a prefix is enough or wrong, more bytes do not change that. The estimate must hold
// for any header: nothing overflows, nothing is negative.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/need_gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_need(const rh_gguf_summary *summary, const rh_gguf_shape *shape) {
  static const rh_load_options options[] = {{.gpu_layers = -1},
                                            {.context = 1 << 24, .slots = 256, .gpu_layers = 7},
                                            {.context = INT64_MAX, .slots = INT64_MAX}};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    rh_need need;
    rh_need_of_shape(summary, shape, &options[i], i == 0 ? INT64_MAX : (int64_t)1 << 34, UINT64_MAX, &need);
    if (need.weights_bytes < 0 || need.kv_bytes < 0 || need.compute_bytes < 0 || need.process_bytes <= 0) abort();
    if (need.ram_bytes < 0 || need.gpu_bytes < 0 || need.gpu_layers < 0) abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static rh_gguf_shape whole_shape, part_shape;
  rh_gguf_summary whole, part;
  rh_error error = {0};
  rh_status status = rh_gguf_parse(data, size, true, &whole, &whole_shape, &error);
  if (status == RH_AGAIN || whole.parameters < 0 || whole.context_trained < 0) abort();
  if (status != RH_OK && error.message[0] == '\0') abort();
  if (!rh_utf8_valid(whole.name, strlen(whole.name))) abort();
  rh_status half = rh_gguf_parse(data, size / 2, false, &part, &part_shape, &error);
  if (half == RH_OK && status != RH_OK) abort();
  if (half == RH_OK && memcmp(&whole, &part, sizeof part) != 0) abort();
  if (half == RH_OK && memcmp(&whole_shape, &part_shape, sizeof part_shape) != 0) abort();
  check_need(&whole, &whole_shape);  // whatever was read, even of a broken header
  return 0;
}
