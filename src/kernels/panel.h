// SPDX-License-Identifier: Apache-2.0
//
// Purpose: whole matrices in packed form: sizes, places, and packing by several threads.
// Data owned: none. Threads: any; rk_pack starts threads of its own and joins them.
// Not here: what is inside a chunk (a format's file), where the memory comes from (buffer.h).
#ifndef RH_KERNELS_PANEL_H
#define RH_KERNELS_PANEL_H

#include "kernels/format.h"

// The format of a set for a weight type, or NULL.
const rk_format *rk_format_find(const rk_set *set, int type);

// Bytes of a packed panel, and of a packed matrix.
size_t rk_panel_bytes(const rk_format *format, int64_t columns);
size_t rk_matrix_bytes(const rk_format *format, int64_t rows, int64_t columns);

// Matrices of one shape that follow each other at `data` in the file's form; the memory is the caller's.
typedef struct rk_stored {
  const rk_format *format;
  int64_t rows, columns, matrices;
  const uint8_t *data;
} rk_stored;

// Panels of all matrices together, and where the rows of one begin, in bytes from `data`; of the one after the last: the end.
int64_t rk_stored_panels(const rk_stored *stored);
size_t rk_stored_at(const rk_stored *stored, int64_t index);

// Packs `count` panels from `first` on to their places in `out` (aligned to 64; of all matrices). Up to `threads` threads;
// where they cannot be started the caller does the work.
void rk_pack(const rk_stored *stored, int64_t first, int64_t count, uint8_t *out, int threads);

// Row `row` of a packed matrix as floats.
void rk_unpack_row(const rk_format *format, const uint8_t *matrix, int64_t columns, int64_t row, float *out);

#endif
