// SPDX-License-Identifier: Apache-2.0
//
// Purpose: see panel.h.
// Data owned: none.
#include "kernels/panel.h"

#include <pthread.h>
#include <stdatomic.h>

// Panels that a packing thread takes at a time: enough work to make the taking cheap.
#define PANELS_AT_ONCE 4
#define THREADS_MAX 16

typedef struct packing {
  const rk_format *format;
  int64_t rows;
  int64_t columns;
  int64_t panels;  // of all matrices together
  const uint8_t *data;
  uint8_t *out;
  _Atomic int64_t next;
} packing;

const rk_format *rk_format_find(const rk_set *set, int type) {
  for (size_t i = 0; i < set->format_count; i++) {
    if ((int)set->formats[i]->type == type) return set->formats[i];
  }
  return NULL;
}

size_t rk_panel_bytes(const rk_format *format, int64_t columns) {
  int64_t whole = columns / RK_CHUNK;
  int rest = (int)(columns % RK_CHUNK);
  size_t bytes = (size_t)whole * format->chunk_bytes(RK_CHUNK);
  return rest > 0 ? bytes + format->chunk_bytes(rest) : bytes;
}

size_t rk_matrix_bytes(const rk_format *format, int64_t rows, int64_t columns) {
  return (size_t)rk_panel_count(rows) * rk_panel_bytes(format, columns);
}

static void pack_panel(const packing *work, int64_t panel) {
  const rk_format *format = work->format;
  size_t row_bytes = (size_t)(work->columns / format->block) * format->block_bytes;
  int64_t per_matrix = rk_panel_count(work->rows);
  int64_t first = panel % per_matrix * RK_ROWS;
  const uint8_t *data = work->data + (size_t)(panel / per_matrix * work->rows + first) * row_bytes;
  uint8_t *out = work->out + (size_t)panel * rk_panel_bytes(format, work->columns);
  for (int64_t c = 0; c * RK_CHUNK < work->columns; c++) {
    const void *rows[RK_ROWS];
    for (int r = 0; r < RK_ROWS; r++) {
      size_t at = (size_t)(c * RK_CHUNK / format->block) * format->block_bytes;
      rows[r] = first + r < work->rows ? data + (size_t)r * row_bytes + at : NULL;
    }
    int columns = rk_chunk_columns(work->columns, c);
    format->pack(rows, columns, out);
    out += format->chunk_bytes(columns);
  }
}

static void *pack_some(void *context) {
  packing *work = context;
  for (;;) {
    int64_t begin = atomic_fetch_add(&work->next, PANELS_AT_ONCE);
    if (begin >= work->panels) return NULL;
    int64_t end = begin + PANELS_AT_ONCE < work->panels ? begin + PANELS_AT_ONCE : work->panels;
    for (int64_t panel = begin; panel < end; panel++) pack_panel(work, panel);
  }
}

void rk_pack_matrices(const rk_format *format, int64_t rows, int64_t columns, int64_t matrices, const void *data,
                      uint8_t *out, int threads) {
  packing work = {.format = format,
                  .rows = rows,
                  .columns = columns,
                  .panels = rk_panel_count(rows) * matrices,
                  .data = data,
                  .out = out};
  pthread_t others[THREADS_MAX];
  int started = 0;
  int wanted = work.panels < 4 * PANELS_AT_ONCE ? 1 : threads;
  while (started + 1 < wanted && started < THREADS_MAX) {
    if (pthread_create(&others[started], NULL, pack_some, &work) != 0) break;
    started++;
  }
  (void)pack_some(&work);
  for (int i = 0; i < started; i++) (void)pthread_join(others[i], NULL);
}

void rk_unpack_row(const rk_format *format, const uint8_t *matrix, int64_t columns, int64_t row, float *out) {
  const uint8_t *chunk = matrix + (size_t)(row / RK_ROWS) * rk_panel_bytes(format, columns);
  for (int64_t c = 0; c * RK_CHUNK < columns; c++) {
    int wide = rk_chunk_columns(columns, c);
    format->unpack_row(chunk, wide, (int)(row % RK_ROWS), out + c * RK_CHUNK);
    chunk += format->chunk_bytes(wide);
  }
}
