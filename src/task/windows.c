// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a text that is longer than the model takes, as windows that overlap; and walking through a text by code points,
// which is how offsets count.
// Data owned: the row of all of a text's tokens while it is being cut. Threads: the engine thread.
// Not here: when windows are made (schedule.c), and putting together what they gave (token_classify.c).
// Source of the windows: what transformers' token classification makes with its `stride`, compared in the tests.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "task/internal.h"

// What neighbouring windows share where nobody says it: longer than nearly any name or number, and some words around it.
#define USUAL_STRIDE 64

rh_status rh_windows_special(rh_text_encoder *encoder, size_t *count, rh_error *error) {
  *count = 0;
  rh_row *row = NULL;
  rh_error none = {0};
  rh_row_text nothing = {.text = "", .whole = true, .offsets = true};
  rh_status status = rh_text_encode(encoder, &nothing, &row, &none);
  if (status == RH_INVALID) return RH_OK;  // no tokens at all
  if (status != RH_OK) {
    if (error != NULL) *error = none;
    return status;
  }
  for (size_t i = 0; i < row->count; i++) *count += row->special[i] != 0 ? 1 : 0;
  free(row);
  return RH_OK;
}

// How the row is divided; the status says why it cannot be.
static rh_status divide(rh_windows *windows, size_t length_max, int64_t stride, size_t *count, rh_error *error) {
  const rh_row *whole = windows->whole;
  while (windows->head < whole->count && whole->special[windows->head] != 0) windows->head++;
  while (windows->tail < whole->count - windows->head && whole->special[whole->count - 1 - windows->tail] != 0) {
    windows->tail++;
  }
  size_t special = windows->head + windows->tail, tokens = whole->count - special;
  if (special >= length_max) {
    return rh_fail(error, RH_UNSUPPORTED, "the model takes %zu tokens, which leaves no room beside its own %zu",
                   length_max, special);
  }
  windows->room = length_max - special;
  size_t usual = windows->room / 4 < USUAL_STRIDE ? windows->room / 4 : USUAL_STRIDE;
  size_t shared = stride >= 0 ? (size_t)stride : usual;
  if (shared >= windows->room) {
    return rh_fail_param(error, RH_INVALID, "stride",
                         "a stride of %zu is too large: a window of this model holds %zu tokens of a text", shared,
                         windows->room);
  }
  windows->step = windows->room - shared;
  *count = 1 + (tokens - windows->room + windows->step - 1) / windows->step;
  if (*count <= RH_WINDOWS_MAX) return RH_OK;
  return rh_fail_param(error, RH_TOO_LARGE, "input",
                       "the text has %zu tokens, which are %zu windows of %zu; at most %d are read; send it in "
                       "parts%s",
                       tokens, *count, windows->room, RH_WINDOWS_MAX, stride > 0 ? ", or with a smaller stride" : "");
}

rh_status rh_windows_begin(rh_windows *windows, rh_row *whole, size_t length_max, int64_t stride, size_t *count,
                           rh_error *error) {
  assert(whole->count > length_max);
  rh_windows_end(windows);
  windows->whole = whole;
  rh_status status = divide(windows, length_max, stride, count, error);
  if (status != RH_OK) rh_windows_end(windows);
  return status;
}

static void copy(const rh_row *from, size_t begin, size_t end, rh_row *to) {
  size_t count = end - begin, bytes = count * sizeof(int32_t);
  memcpy(to->ids + to->count, from->ids + begin, bytes);
  memcpy(to->types + to->count, from->types + begin, bytes);
  memcpy(to->starts + to->count, from->starts + begin, bytes);
  memcpy(to->ends + to->count, from->ends + begin, bytes);
  memcpy(to->special + to->count, from->special + begin, count);
  memcpy(to->subword + to->count, from->subword + begin, count);
  to->count += count;
}

rh_status rh_windows_cut(const rh_windows *windows, size_t index, rh_row **out, rh_error *error) {
  const rh_row *whole = windows->whole;
  size_t last = whole->count - windows->tail;
  size_t begin = windows->head + index * windows->step, end = begin + windows->room;
  if (end > last) end = last;
  assert(begin < end);
  rh_row *row = rh_row_new(windows->head + (end - begin) + windows->tail, true);
  if (row == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for the tokens of a text.");
  row->count = 0;
  row->skipped = begin - windows->head;
  copy(whole, 0, windows->head, row);
  copy(whole, begin, end, row);
  copy(whole, last, whole->count, row);
  *out = row;
  return RH_OK;
}

void rh_windows_end(rh_windows *windows) {
  free(windows->whole);
  *windows = (rh_windows){0};
}

// --- places in a text ----------------------------------------------------------------------------------------------

void rh_text_walk(rh_text_walker *walker, uint32_t place) {
  if (place < walker->place) *walker = (rh_text_walker){.text = walker->text, .length = walker->length};
  while (walker->place < place && walker->byte < walker->length) {
    walker->byte++;
    while (walker->byte < walker->length && ((unsigned char)walker->text[walker->byte] & 0xC0) == 0x80) walker->byte++;
    walker->place++;
  }
}
