// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: a SentencePiece model. Every piece lies within the bytes and is UTF-8 without a NUL.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/sentencepiece.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rh_sentencepiece model;
  rh_error error = {0};
  rh_status status = rh_sentencepiece_parse(data, size, &model, &error);
  if (status == RH_OK ? model.count == 0 : error.message[0] == '\0' || model.pieces != NULL) abort();
  for (size_t i = 0; i < model.count; i++) {
    const rh_sentence_piece *piece = &model.pieces[i];
    if (piece->length > size || piece->type < 1 || piece->type > 6) abort();
    if (!rh_utf8_valid(piece->text, piece->length) || memchr(piece->text, '\0', piece->length) != NULL) abort();
  }
  if (model.charsmap != NULL && (model.charsmap < data || model.charsmap + model.charsmap_bytes > data + size)) abort();
  rh_sentencepiece_free(&model);
  return 0;
}
