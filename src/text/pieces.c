// SPDX-License-Identifier: Apache-2.0
//
// The two growing arrays that a text passes through the stages in: its bytes with where each comes from, and its pieces.
// They belong to an encoding's work memory, one thread each, and are kept from one encode to the next. No text is read here.
#include <stdlib.h>
#include <string.h>

#include "text/internal.h"

#define MAPPED_BYTES_MAX (4 * RH_TOKENIZER_TEXT_MAX)  // normalizing may lengthen a text; not without end
#define PIECES_MAX (2 * RH_TOKENIZER_TEXT_MAX)
#define CAPACITY_MIN 256

rh_status rh_mapped_reserve(rh_mapped *mapped, size_t bytes, bool offsets) {
  if (bytes > MAPPED_BYTES_MAX - mapped->length) return RH_TOO_LARGE;
  if (!offsets && mapped->from != NULL) {
    free(mapped->from);
    free(mapped->to);
    mapped->from = mapped->to = NULL;
  }
  size_t needed = mapped->length + bytes;
  bool enough = needed <= mapped->capacity && mapped->bytes != NULL;
  if (enough && (!offsets || mapped->to != NULL)) return RH_OK;
  size_t capacity = mapped->capacity > CAPACITY_MIN ? mapped->capacity : CAPACITY_MIN;
  while (capacity < needed) capacity *= 2;
  char *moved = realloc(mapped->bytes, capacity);
  if (moved == NULL) return RH_NO_MEMORY;
  mapped->bytes = moved;
  if (offsets) {
    // Should the second fail, both stay valid for the old capacity.
    uint32_t *from = realloc(mapped->from, capacity * sizeof *from);
    if (from != NULL) mapped->from = from;
    uint32_t *to = from != NULL ? realloc(mapped->to, capacity * sizeof *to) : NULL;
    if (to == NULL) return RH_NO_MEMORY;
    mapped->to = to;
  }
  mapped->capacity = capacity;
  return RH_OK;
}

rh_status rh_mapped_append(rh_mapped *mapped, const rh_mapped *source, size_t start, size_t end) {
  size_t length = end - start;
  rh_status status = rh_mapped_reserve(mapped, length, source->from != NULL);
  if (status != RH_OK) return status;
  memcpy(mapped->bytes + mapped->length, source->bytes + start, length);
  if (source->from != NULL) {
    memcpy(mapped->from + mapped->length, source->from + start, length * sizeof *source->from);
    memcpy(mapped->to + mapped->length, source->to + start, length * sizeof *source->to);
  }
  mapped->length += length;
  return RH_OK;
}

void rh_mapped_free(rh_mapped *mapped) {
  free(mapped->bytes);
  free(mapped->from);
  free(mapped->to);
  *mapped = (rh_mapped){0};
}

rh_status rh_pieces_add(rh_pieces *pieces, uint32_t start, uint32_t end, int32_t token) {
  if (pieces->count == pieces->capacity) {
    if (pieces->count >= PIECES_MAX) return RH_TOO_LARGE;
    size_t capacity = pieces->capacity != 0 ? 2 * pieces->capacity : CAPACITY_MIN;
    rh_piece *items = realloc(pieces->items, capacity * sizeof *items);
    if (items == NULL) return RH_NO_MEMORY;
    pieces->items = items;
    pieces->capacity = capacity;
  }
  pieces->items[pieces->count++] = (rh_piece){start, end, token};
  return RH_OK;
}

void rh_pieces_free(rh_pieces *pieces) {
  free(pieces->items);
  *pieces = (rh_pieces){0};
}
