// SPDX-License-Identifier: Apache-2.0
//
// The two things that this program does: a Hugging Face folder to a GGUF file, and a GGUF file to a smaller one.
#ifndef RH_CONVERT_CONVERT_H
#define RH_CONVERT_CONVERT_H

#include <stdio.h>

#include "convert/report.h"

typedef struct rh_convert_options {
  const char *folder, *output;
  const char *type;  // "auto", "f32", "f16", "bf16", "q8_0"
  const char *name;  // general.name; NULL = the folder's
  const char *pre;   // the pre-tokenizer by llama.cpp's name; NULL = found
} rh_convert_options;

// Warnings and progress go to `report`; the result too.
rh_status rh_convert_run(const rh_convert_options *options, rh_report *report, rh_error *error) RH_MUST_CHECK;

typedef struct rh_quantize_options {
  const char *input, *output;
  const char *type;     // one of rh_quantize_list
  const char *imatrix;  // file of an importance matrix, or NULL
  int threads;          // 0 = all cores
  bool requantize;      // also weights that are quantized already
} rh_quantize_options;

rh_status rh_quantize_run(const rh_quantize_options *options, rh_report *report, rh_error *error) RH_MUST_CHECK;
void rh_quantize_list(FILE *stream);

#endif
