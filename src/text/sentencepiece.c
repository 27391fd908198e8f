// SPDX-License-Identifier: Apache-2.0
//
// Purpose: walk over a SentencePiece model with bounds.
// Data owned: the list of pieces; their texts stay in the caller's bytes. Threads: any, one owner.
// Not here: cutting text into pieces.
#include "text/sentencepiece.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct cursor {
  const uint8_t *at, *end;
} cursor;

typedef struct field {
  uint64_t number;
  unsigned wire;
  uint64_t value;  // of a varint; the bits of a 32- or 64-bit number
  cursor bytes;
} field;

static bool read_varint(cursor *self, uint64_t *out) {
  *out = 0;
  for (unsigned shift = 0; shift < 64 && self->at < self->end; shift += 7) {
    uint8_t byte = *self->at++;
    *out |= (uint64_t)(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

static bool read_fixed(cursor *self, unsigned bytes, uint64_t *out) {
  if ((size_t)(self->end - self->at) < bytes) return false;
  *out = 0;
  for (unsigned i = 0; i < bytes; i++) *out |= (uint64_t)*self->at++ << (8 * i);
  return true;
}

// The next field of a message; false at a broken one. Call while self->at < self->end.
static bool read_field(cursor *self, field *out) {
  uint64_t key;
  if (!read_varint(self, &key) || key >> 3 == 0) return false;
  *out = (field){.number = key >> 3, .wire = (unsigned)(key & 7)};
  switch (out->wire) {
    case WIRE_VARINT: return read_varint(self, &out->value);
    case WIRE_64: return read_fixed(self, 8, &out->value);
    case WIRE_32: return read_fixed(self, 4, &out->value);
    case WIRE_BYTES:
      if (!read_varint(self, &out->value) || out->value > (uint64_t)(self->end - self->at)) return false;
      out->bytes = (cursor){self->at, self->at + out->value};
      self->at += out->value;
      return true;
    default: return false;
  }
}

static float float_of(uint64_t bits) {
  uint32_t low = (uint32_t)bits;
  float value;
  memcpy(&value, &low, sizeof value);
  return value;
}

// A negative int32 is written as a 64-bit varint.
static int64_t int_of(uint64_t value) { return (int64_t)(int32_t)(uint32_t)value; }

static bool read_piece(cursor message, rh_sentence_piece *out) {
  *out = (rh_sentence_piece){.text = "", .type = 1};
  for (field f; message.at < message.end;) {
    if (!read_field(&message, &f)) return false;
    if (f.number == 1 && f.wire == WIRE_BYTES) {
      out->text = (const char *)f.bytes.at;
      out->length = (size_t)(f.bytes.end - f.bytes.at);
    } else if (f.number == 2 && f.wire == WIRE_32) {
      out->score = float_of(f.value);
    } else if (f.number == 3 && f.wire == WIRE_VARINT) {
      out->type = f.value >= 1 && f.value <= 6 ? (int)f.value : 1;
    }
  }
  // A piece with a NUL could not be a C string later.
  return rh_utf8_valid(out->text, out->length) && memchr(out->text, '\0', out->length) == NULL;
}

static bool read_trainer(cursor message, rh_sentencepiece *out) {
  for (field f; message.at < message.end;) {
    if (!read_field(&message, &f)) return false;
    if (f.wire != WIRE_VARINT) continue;
    switch (f.number) {
      case 3: out->model = f.value <= 4 ? (int)f.value : 0; break;
      case 35: out->byte_fallback = f.value != 0; break;
      case 40: out->unknown_id = int_of(f.value); break;
      case 41: out->bos_id = int_of(f.value); break;
      case 42: out->eos_id = int_of(f.value); break;
      case 43: out->pad_id = int_of(f.value); break;
      default: break;
    }
  }
  return true;
}

static bool read_normalizer(cursor message, rh_sentencepiece *out) {
  for (field f; message.at < message.end;) {
    if (!read_field(&message, &f)) return false;
    if (f.number == 2 && f.wire == WIRE_BYTES) {
      out->charsmap = f.bytes.at;
      out->charsmap_bytes = (size_t)(f.bytes.end - f.bytes.at);
    } else if (f.number == 3 && f.wire == WIRE_VARINT) {
      out->add_dummy_prefix = f.value != 0;
    } else if (f.number == 4 && f.wire == WIRE_VARINT) {
      out->remove_extra_whitespaces = f.value != 0;
    }
  }
  return true;
}

static rh_status add_piece(rh_sentencepiece *self, cursor message, size_t *room, rh_error *error) {
  if (self->count == RH_SENTENCEPIECE_PIECES_MAX)
    return rh_fail(error, RH_TOO_LARGE, "it has more than %u pieces", RH_SENTENCEPIECE_PIECES_MAX);
  if (self->count == *room) {
    size_t larger = *room == 0 ? 1024 : *room * 2;
    rh_sentence_piece *grown = realloc(self->pieces, larger * sizeof *grown);
    if (grown == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for %zu pieces", larger);
    self->pieces = grown;
    *room = larger;
  }
  if (!read_piece(message, &self->pieces[self->count]))
    return rh_fail(error, RH_INVALID, "its piece %zu is broken", self->count);
  self->count++;
  return RH_OK;
}

static rh_status parse_model(cursor model, rh_sentencepiece *out, rh_error *error) {
  size_t room = 0;
  for (field f; model.at < model.end;) {
    if (!read_field(&model, &f)) return rh_fail(error, RH_INVALID, "it is no SentencePiece model, or cut short");
    rh_status status = RH_OK;
    bool whole = true;
    if (f.wire != WIRE_BYTES) continue;
    if (f.number == 1) status = add_piece(out, f.bytes, &room, error);
    if (f.number == 2) whole = read_trainer(f.bytes, out);
    if (f.number == 3) whole = read_normalizer(f.bytes, out);
    if (!whole) return rh_fail(error, RH_INVALID, "its settings are broken");
    if (status != RH_OK) return status;
  }
  return out->count > 0 ? RH_OK : rh_fail(error, RH_INVALID, "it has no pieces; it is no SentencePiece model");
}

rh_status rh_sentencepiece_parse(const void *bytes, size_t length, rh_sentencepiece *out, rh_error *error) {
  *out = (rh_sentencepiece){
      .model = RH_SENTENCEPIECE_UNIGRAM,
      .unknown_id = 0,
      .bos_id = 1,
      .eos_id = 2,
      .pad_id = -1,
      .add_dummy_prefix = true,
      .remove_extra_whitespaces = true,
  };
  const uint8_t *start = bytes;
  rh_status status = parse_model((cursor){start, start + length}, out, error);
  if (status != RH_OK) rh_sentencepiece_free(out);
  return status;
}

void rh_sentencepiece_free(rh_sentencepiece *self) {
  free(self->pieces);
  *self = (rh_sentencepiece){0};
}
