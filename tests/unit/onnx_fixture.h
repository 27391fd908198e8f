// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the ONNX engine share: loading the tiny graphs of tests/tools/make_onnx.py, whose folder comes in
// RH_TINY_ONNX, and running them. Not every test program needs all of it.
#ifndef ONNX_FIXTURE_H
#define ONNX_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "engine/engine.h"

extern const rh_engine_ops rh_engine_onnx;
#define OPS (&rh_engine_onnx)

static const char *folder;

static inline const char *path_of(const char *name) {
  static char path[1024];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static inline rh_status try_load(const char *name, const rh_load_options *options, rh_engine **engine,
                                 rh_error *error) {
  rh_load load = {.engine = "onnx", .path = path_of(name), .options = *options};
  *error = (rh_error){.status = RH_OK};
  return OPS->load(&load, NULL, NULL, engine, error);
}

static inline rh_engine *load_with(const char *name, const rh_load_options *options) {
  rh_engine *engine = NULL;
  rh_error error;
  rh_status status = try_load(name, options, &engine, &error);
  if (status != RH_OK) fail_msg("%s: %s", name, error.message);
  return engine;
}

static inline rh_engine *load(const char *name) {
  return load_with(name, &(rh_load_options){.gpu_layers = -1, .threads = 2});
}

static inline const rh_engine_infer_ops *ops_of(const rh_engine *engine) { return OPS->infer(engine); }

static inline rh_tensor floats(const char *name, const float *values, int64_t count) {
  return (rh_tensor){.name = name,
                     .type = RH_DTYPE_F32,
                     .shape = {count},
                     .rank = 1,
                     .data = values,
                     .bytes = (size_t)count * sizeof *values};
}

static inline const rh_tensor *find(const rh_tensor *tensors, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
  }
  fail_msg("there is no output %s", name);
  return NULL;
}

static inline rh_status run(rh_engine *engine, const rh_tensor *in, size_t count, const rh_tensor **out,
                            size_t *out_count, rh_error *error) {
  *error = (rh_error){.status = RH_OK};
  return ops_of(engine)->run(engine, in, count, NULL, 0, out, out_count, error);
}

static inline void run_well(rh_engine *engine, const rh_tensor *in, size_t count, const rh_tensor **out,
                            size_t *out_count) {
  rh_error error;
  if (run(engine, in, count, out, out_count, &error) != RH_OK) fail_msg("%s", error.message);
}

static inline void expect_words(const rh_error *error, const char *words) {
  if (strstr(error->message, words) == NULL) fail_msg("\"%s\" lacks \"%s\"", error->message, words);
}

static inline int onnx_folder(void) {
  folder = getenv("RH_TINY_ONNX");
  if (!folder) fputs("RH_TINY_ONNX names no folder\n", stderr);
  unsetenv("FORCE_DEVICE");
  unsetenv("MAX_GPU_MEM_GB");
  unsetenv("ROUNDHOUSE_PROVIDERS");
  rh_log_setup(STDERR_FILENO, RH_LOG_OFF, RH_LOG_JSON);
  return folder ? 0 : 1;
}

#endif
