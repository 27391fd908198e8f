// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: the header of a GGUF file. It must end, read nothing past its bytes, and say the same of a prefix: once
// a prefix is enough or wrong, more bytes do not change that.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rh_gguf_summary whole, part;
  rh_error error = {0};
  rh_status status = rh_gguf_parse_summary(data, size, true, &whole, &error);
  if (status == RH_AGAIN || whole.parameters < 0 || whole.context_trained < 0) abort();
  if (status != RH_OK && error.message[0] == '\0') abort();
  if (!rh_utf8_valid(whole.name, strlen(whole.name))) abort();
  rh_status half = rh_gguf_parse_summary(data, size / 2, false, &part, &error);
  if (half == RH_OK && status != RH_OK) abort();
  if (half == RH_OK && memcmp(&whole, &part, sizeof part) != 0) abort();
  return 0;
}
