// SPDX-License-Identifier: Apache-2.0
//
// What names of GGUF files say by convention: the quantization and the part's number. A hint for choosing among files
// that are not here yet; what a file really is, its header tells later. Pure; any thread.
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "pull/source.h"

#define PART_MARK_LENGTH 15  // "-00001-of-00003"

// llama.cpp's type names: Q4_0, Q4_K_M, IQ2_XXS, TQ1_0, F16, BF16, FP16, MXFP4, MXFP4_MOE, Q4_0_4_4.
static size_t type_length(const char *text, size_t length) {
  static const char *const plain[] = {"F16", "F32", "BF16", "FP16", "FP32", "MXFP4_MOE", "MXFP4"};
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
    size_t size = strlen(plain[i]);
    bool ends = length == size || (length > size && !isalnum((unsigned char)text[size]) && text[size] != '_');
    if (ends && strncasecmp(text, plain[i], size) == 0) return size;
  }
  size_t at = 0;
  if (at < length && (toupper((unsigned char)text[at]) == 'I' || toupper((unsigned char)text[at]) == 'T')) at++;
  if (at >= length || toupper((unsigned char)text[at]) != 'Q') return 0;
  at++;
  if (at >= length || !isdigit((unsigned char)text[at])) return 0;
  at++;
  // "_K_M" and the like; without any of it, "Q8" alone says too little.
  size_t first = at;
  while (at < length && (isalnum((unsigned char)text[at]) || text[at] == '_')) at++;
  bool fine = at > first && text[first] == '_' && at < RH_QUANTIZATION_MAX - 4;
  return fine ? at : 0;
}

bool rh_quantization_find(const char *stem, size_t length, size_t *start, char out[RH_QUANTIZATION_MAX]) {
  assert(stem != NULL);
  // The last one counts: "Q4_K_M" may also be part of a model's own name.
  for (size_t i = length; i-- > 0;) {
    if (i > 0 && strchr("-._ ", stem[i - 1]) == NULL) continue;
    size_t size = type_length(stem + i, length - i);
    if (size == 0) continue;
    size_t from = i >= 3 && strncasecmp(stem + i - 3, "UD-", 3) == 0 ? i - 3 : i;
    if (start != NULL) *start = from;
    size_t total = i - from + size;
    for (size_t k = 0; k < total; k++) out[k] = (char)toupper((unsigned char)stem[from + k]);
    out[total] = '\0';
    return true;
  }
  return false;
}

bool rh_part_of(const char *path, size_t *stem_length, long *number, long *count) {
  size_t length = strlen(path);
  if (!rh_text_ends_with(path, ".gguf") || length < 5 + PART_MARK_LENGTH + 1) return false;
  const char *mark = path + length - 5 - PART_MARK_LENGTH;
  int used = 0;
  if (sscanf(mark, "-%5ld-of-%5ld%n", number, count, &used) != 2 || used != PART_MARK_LENGTH) return false;
  if (*number < 1 || *count < 1 || *number > *count) return false;
  *stem_length = (size_t)(mark - path);
  return true;
}

bool rh_quantization_of(const char *path, char out[RH_QUANTIZATION_MAX]) {
  const char *slash = strrchr(path, '/');
  const char *base = slash == NULL ? path : slash + 1;
  size_t length = 0;
  long number, count;
  if (!rh_part_of(base, &length, &number, &count)) {
    length = strlen(base);
    const char *dot = strrchr(base, '.');
    if (dot != NULL && (strcasecmp(dot, ".gguf") == 0 || strcasecmp(dot, ".onnx") == 0)) length = (size_t)(dot - base);
  }
  if (rh_quantization_find(base, length, NULL, out)) return true;
  if (slash == NULL) return false;
  const char *folder = slash;
  while (folder > path && folder[-1] != '/') folder--;
  return rh_quantization_find(folder, (size_t)(slash - folder), NULL, out);
}
