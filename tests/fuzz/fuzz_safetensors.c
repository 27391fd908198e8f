// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: the header of a safetensors file. Whatever it says, every tensor that it finds lies within the file and has
// the bytes that its shape needs.
#include <stdint.h>
#include <stdlib.h>

#include "convert/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rh_safetensors found;
  rh_error error = {0};
  rh_status status = rh_safetensors_parse(data, size, &found, &error);
  if (status != RH_OK && (error.message[0] == '\0' || found.tensors != NULL || found.count != 0)) abort();
  volatile uint8_t read = 0;
  for (size_t i = 0; i < found.count; i++) {
    const rh_safetensor *tensor = &found.tensors[i];
    if (tensor->offset > size || tensor->bytes > size - tensor->offset) abort();
    if (tensor->dtype == RH_DTYPE_F32 && tensor->bytes != (uint64_t)tensor->elements * 4) abort();
    if (tensor->bytes > 0) read = (uint8_t)(read + data[tensor->offset] + data[tensor->offset + tensor->bytes - 1]);
  }
  rh_safetensors_close(&found);
  return 0;
}
