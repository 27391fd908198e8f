// SPDX-License-Identifier: Apache-2.0
//
// One model's spec: its copy, its end and its comparison.
// Owns nothing of its own. Any thread that owns the spec. It deliberately looks at no file.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model/catalogue.h"

// Every string of a spec, so that copying and freeing cannot forget one.
static const size_t texts[] = {
    offsetof(rh_model_spec, name),         offsetof(rh_model_spec, engine),  offsetof(rh_model_spec, path),
    offsetof(rh_model_spec, source),       offsetof(rh_model_spec, licence), offsetof(rh_model_spec, task),
    offsetof(rh_model_spec, quantization), offsetof(rh_model_spec, digest),  offsetof(rh_model_spec, keep_alive_text),
    offsetof(rh_model_spec, architecture),
};
#define TEXTS (sizeof texts / sizeof *texts)

static char *get_text(const rh_model_spec *spec, size_t row) {
  char *text;
  memcpy(&text, (const char *)spec + texts[row], sizeof text);
  return text;
}

static void set_text(rh_model_spec *spec, size_t row, char *text) {
  memcpy((char *)spec + texts[row], &text, sizeof text);
}

void rh_model_spec_free(rh_model_spec *spec) {
  if (spec == NULL) return;
  for (size_t i = 0; i < TEXTS; i++) free(get_text(spec, i));
  free(spec);
}

rh_model_spec *rh_model_spec_copy(const rh_model_spec *spec) {
  rh_model_spec *copy = malloc(sizeof *copy);
  if (copy == NULL) return NULL;
  *copy = *spec;
  for (size_t i = 0; i < TEXTS; i++) set_text(copy, i, NULL);
  for (size_t i = 0; i < TEXTS; i++) {
    const char *text = get_text(spec, i);
    if (text == NULL) continue;
    char *own = strdup(text);
    if (own == NULL) {
      rh_model_spec_free(copy);
      return NULL;
    }
    set_text(copy, i, own);
  }
  return copy;
}

static bool same_text(const char *a, const char *b) {
  if (a == NULL || b == NULL) return a == b;
  return strcmp(a, b) == 0;
}

static bool same_onnx(const rh_onnx_options *a, const rh_onnx_options *b) {
  return a->device == b->device && a->optimization == b->optimization && a->parallel == b->parallel &&
         a->no_arena == b->no_arena && a->no_memory_pattern == b->no_memory_pattern &&
         a->keep_optimized == b->keep_optimized && a->exact_growth == b->exact_growth && a->int8 == b->int8 &&
         a->int8_cosine == b->int8_cosine && a->inter_threads == b->inter_threads && a->device_id == b->device_id &&
         a->gpu_memory == b->gpu_memory;
}

static bool same_options(const rh_load_options *a, const rh_load_options *b) {
  return a->context == b->context && a->slots == b->slots && a->threads == b->threads && a->batch == b->batch &&
         a->prefill_chunk == b->prefill_chunk && a->gpu_layers == b->gpu_layers && a->mlock == b->mlock &&
         same_onnx(&a->onnx, &b->onnx);
}

bool rh_model_spec_same(const rh_model_spec *a, const rh_model_spec *b) {
  assert(a != NULL && b != NULL);
  // A digest is of the bytes themselves; without one a file's size and time stand for them.
  bool hashed = a->digest != NULL && b->digest != NULL;
  bool bytes = hashed ? strcmp(a->digest, b->digest) == 0 : a->modified_s == b->modified_s;
  return bytes && a->file_bytes == b->file_bytes && a->format == b->format && same_text(a->engine, b->engine) &&
         same_text(a->path, b->path) && same_options(&a->options, &b->options);
}
