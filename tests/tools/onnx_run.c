// SPDX-License-Identifier: Apache-2.0
//
// Runs graphs through the ONNX engine, for tests/e2e/test_onnx_conformance.py. Each line of standard input names a graph, a
// file of inputs and a file for the outputs, with tabs between; the answer is a line "ok", or "STATUS message".
//
// A file of tensors: u32 count, then for each u32 length and name, u32 length and type ("float32"), u32 rank, i64 sizes,
// u64 bytes and the bytes; all little endian.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/engine.h"

#define FILE_BYTES_MAX ((size_t)256 << 20)

extern const rh_engine_ops rh_engine_onnx;

typedef struct reader {
  const char *at, *end;
} reader;

static const void *take(reader *in, size_t length) {
  if (length > (size_t)(in->end - in->at)) {
    fputs("onnx_run: the file of inputs is too short\n", stderr);
    exit(2);
  }
  const char *at = in->at;
  in->at += length;
  return at;
}

static uint32_t take_u32(reader *in) {
  uint32_t value;
  memcpy(&value, take(in, sizeof value), sizeof value);
  return value;
}

static const char *take_text(reader *in, rh_arena *arena) {
  uint32_t length = take_u32(in);
  return rh_arena_strndup(arena, take(in, length), length);
}

static size_t read_tensors(rh_dynbuf *file, rh_arena *arena, rh_tensor out[RH_TENSORS_MAX]) {
  reader in = {rh_dynbuf_data(file), rh_dynbuf_data(file) + file->length};
  uint32_t count = take_u32(&in);
  for (uint32_t i = 0; i < count && i < RH_TENSORS_MAX; i++) {
    uint64_t bytes;
    out[i] = (rh_tensor){.name = take_text(&in, arena)};
    out[i].type = rh_dtype_from_name(take_text(&in, arena));
    out[i].rank = take_u32(&in);
    memcpy(out[i].shape, take(&in, out[i].rank * sizeof(int64_t)), out[i].rank * sizeof(int64_t));
    memcpy(&bytes, take(&in, sizeof bytes), sizeof bytes);
    out[i].bytes = bytes;
    out[i].data = take(&in, bytes);
  }
  return count;
}

static void put_u32(FILE *file, size_t value) {
  uint32_t small = (uint32_t)value;
  (void)fwrite(&small, sizeof small, 1, file);
}

static void put_text(FILE *file, const char *text) {
  put_u32(file, strlen(text));
  (void)fwrite(text, 1, strlen(text), file);
}

static void write_tensors(const char *path, const rh_tensor *tensors, size_t count) {
  FILE *file = fopen(path, "wbe");
  if (!file) exit(2);
  put_u32(file, count);
  for (size_t i = 0; i < count; i++) {
    uint64_t bytes = tensors[i].bytes;
    put_text(file, tensors[i].name);
    put_text(file, rh_dtype_name(tensors[i].type));
    put_u32(file, tensors[i].rank);
    (void)fwrite(tensors[i].shape, sizeof(int64_t), tensors[i].rank, file);
    (void)fwrite(&bytes, sizeof bytes, 1, file);
    (void)fwrite(tensors[i].data, 1, tensors[i].bytes, file);
  }
  if (fclose(file) != 0) exit(2);
}

static rh_status run(const char *graph, const char *in_path, const char *out_path, rh_error *error) {
  const rh_engine_ops *ops = &rh_engine_onnx;
  rh_load load = {.engine = "onnx", .path = graph, .options = {.gpu_layers = -1, .threads = 1}};
  rh_tensor inputs[RH_TENSORS_MAX];
  const rh_tensor *outputs = NULL;
  size_t out_count = 0;
  rh_engine *engine = NULL;
  rh_dynbuf file;
  rh_dynbuf_init(&file, FILE_BYTES_MAX);
  rh_arena *arena = rh_arena_new(FILE_BYTES_MAX);
  rh_status status = rh_file_read(in_path, &file, error);
  if (status == RH_OK) status = ops->load(&load, NULL, NULL, &engine, error);
  if (status == RH_OK) {
    size_t count = read_tensors(&file, arena, inputs);
    status = ops->infer(engine)->run(engine, inputs, count, NULL, 0, &outputs, &out_count, error);
  }
  if (status == RH_OK) write_tensors(out_path, outputs, out_count);
  if (engine) ops->unload(engine);
  rh_arena_free(arena);
  rh_dynbuf_free(&file);
  return status;
}

int main(void) {
  char line[8192];
  rh_log_setup(STDERR_FILENO, RH_LOG_OFF, RH_LOG_JSON);
  while (fgets(line, sizeof line, stdin)) {
    char *rest = line;
    const char *graph = strsep(&rest, "\t");
    const char *in_path = strsep(&rest, "\t");
    const char *out_path = strsep(&rest, "\n");
    rh_error error = {0};
    if (!out_path) return 2;
    rh_status status = run(graph, in_path, out_path, &error);
    for (char *c = error.message; *c; c++) {
      if (*c == '\n') *c = ' ';
    }
    if (status == RH_OK) {
      puts("ok");
    } else {
      printf("%s %s\n", rh_status_name(status), error.message);
    }
    if (fflush(stdout) != 0) return 2;
  }
  return 0;
}
