// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: a stranger's normalizer, pre_tokenizer and added_tokens, and a text. Before the first NUL stands the JSON, after
// it the text. Whatever is taken cuts the text into pieces that lie within it, in order, with offsets within the original.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "text/internal.h"

#define TEXT_MAX 512  // patterns may be slow by right: their limits are tested elsewhere

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_pieces(const rh_mapped *text, const rh_pieces *pieces, size_t length) {
  for (size_t i = 0; i < pieces->count; i++) {
    const rh_piece *piece = &pieces->items[i];
    if (piece->start >= piece->end || piece->end > text->length) abort();
    if (i > 0 && piece->start < pieces->items[i - 1].start) abort();
    if (!rh_utf8_valid(text->bytes + piece->start, piece->end - piece->start)) abort();
  }
  for (size_t i = 0; i < text->length; i++) {
    if (text->from[i] > text->to[i] || text->to[i] > length) abort();
  }
}

static void cut(const json_t *json, const char *line, size_t length) {
  rh_normalizer *normalizer = NULL;
  rh_pretokenizer *pretokenizer = NULL;
  rh_added *added = NULL;
  rh_error error = {0};
  rh_mapped text = {0}, scratch = {0};
  rh_pieces pieces = {0}, other = {0};
  if (rh_normalizer_from_json(json_object_get(json, "normalizer"), &normalizer, &error) == RH_OK &&
      rh_pretokenizer_from_json(json_object_get(json, "pre_tokenizer"), &pretokenizer, &error) == RH_OK &&
      rh_added_from_json(json_object_get(json, "added_tokens"), normalizer, &added, &error) == RH_OK) {
    rh_status status = rh_mapped_reserve(&text, length, true);
    if (status == RH_OK) status = rh_added_split(added, normalizer, line, length, true, &text, &scratch, &pieces);
    if (status == RH_OK) check_pieces(&text, &pieces, length);
    if (status == RH_OK) status = rh_pretokenizer_apply(pretokenizer, &text, &pieces, &scratch, &other);
    if (status == RH_OK) check_pieces(&text, &pieces, length);
  } else if (error.message[0] == '\0') {
    abort();
  }
  rh_normalizer_free(normalizer);
  rh_pretokenizer_free(pretokenizer);
  rh_added_free(added);
  rh_mapped_free(&text);
  rh_mapped_free(&scratch);
  rh_pieces_free(&pieces);
  rh_pieces_free(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *end = memchr(data, 0, size);
  if (end == NULL) return 0;
  const char *line = (const char *)end + 1;
  size_t length = size - (size_t)(end - data) - 1;
  if (length > TEXT_MAX) length = TEXT_MAX;
  while (length > 0 && !rh_utf8_valid(line, length)) length--;
  rh_error error = {0};
  json_t *json = rh_json_parse((const char *)data, (size_t)(end - data), &error);
  if (json != NULL) cut(json, line, length);
  json_decref(json);
  return 0;
}
