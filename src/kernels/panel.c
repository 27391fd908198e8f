// SPDX-License-Identifier: Apache-2.0
//
// Purpose: see panel.h.
// Data owned: none.
#include "kernels/panel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define PANELS_AT_ONCE 4               // that a packing thread takes at most: enough work to make the taking cheap
#define LEAST_BYTES ((size_t)1 << 18)  // fewer are not worth a second thread
#define THREADS_MAX 16

typedef struct packing {
  const rk_stored *stored;
  uint8_t *out;
  int64_t end;
  int64_t step;  // panels that a thread takes at a time
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

static size_t row_bytes(const rk_stored *stored) {
  return (size_t)(stored->columns / stored->format->block) * stored->format->block_bytes;
}

int64_t rk_stored_panels(const rk_stored *stored) { return rk_panel_count(stored->rows) * stored->matrices; }

size_t rk_stored_at(const rk_stored *stored, int64_t index) {
  int64_t per_matrix = rk_panel_count(stored->rows);
  return (size_t)(index / per_matrix * stored->rows + index % per_matrix * RK_ROWS) * row_bytes(stored);
}

static void pack_panel(const rk_stored *stored, int64_t panel, uint8_t *out) {
  const rk_format *format = stored->format;
  const uint8_t *data = stored->data + rk_stored_at(stored, panel);
  int64_t left = stored->rows - panel % rk_panel_count(stored->rows) * RK_ROWS;
  out += (size_t)panel * rk_panel_bytes(format, stored->columns);
  for (int64_t c = 0; c * RK_CHUNK < stored->columns; c++) {
    const void *rows[RK_ROWS];
    for (int r = 0; r < RK_ROWS; r++) {
      size_t at = (size_t)(c * RK_CHUNK / format->block) * format->block_bytes;
      rows[r] = r < left ? data + (size_t)r * row_bytes(stored) + at : NULL;
    }
    int columns = rk_chunk_columns(stored->columns, c);
    format->pack(rows, columns, out);
    out += format->chunk_bytes(columns);
  }
}

// Gets the memory of these panels in one call: taking each page when it is first written to costs more than the packing.
static void populate(const packing *work, int64_t begin, int64_t end) {
#ifdef MADV_POPULATE_WRITE  // Linux 5.14
  size_t bytes = rk_panel_bytes(work->stored->format, work->stored->columns);
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t first = (uintptr_t)(work->out + (size_t)begin * bytes) / page * page;
  (void)madvise((void *)first, (uintptr_t)(work->out + (size_t)end * bytes) - first, MADV_POPULATE_WRITE);
#else
  (void)work;
  (void)begin;
  (void)end;
#endif
}

static void *pack_some(void *context) {
  packing *work = context;
  for (;;) {
    int64_t begin = atomic_fetch_add(&work->next, work->step);
    if (begin >= work->end) return NULL;
    int64_t end = begin + work->step < work->end ? begin + work->step : work->end;
    populate(work, begin, end);
    for (int64_t panel = begin; panel < end; panel++) pack_panel(work->stored, panel, work->out);
  }
}

void rk_pack(const rk_stored *stored, int64_t first, int64_t count, uint8_t *out, int threads) {
  packing work = {.stored = stored, .out = out, .end = first + count, .next = first};
  pthread_t others[THREADS_MAX];
  int started = 0;
  size_t bytes = (size_t)count * rk_panel_bytes(stored->format, stored->columns);
  int wanted = bytes < LEAST_BYTES ? 1 : threads;
  work.step = count / (4 * (int64_t)threads);  // a few turns each, so that all are done at the same time
  if (work.step < 1) work.step = 1;
  if (work.step > PANELS_AT_ONCE) work.step = PANELS_AT_ONCE;
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
