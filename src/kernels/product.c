// SPDX-License-Identifier: Apache-2.0
//
// Purpose: see product.h.
// Data owned: none; all memory is the team's work memory: a counter, the activations, then a part for each thread.
//
// Two ways. Few activations: each thread quantizes all of them for itself and takes an equal share of the matrix, so that
// nobody waits for anybody. Many: they are quantized once, by all together, and pieces of the product (some panels by a
// stretch of tokens whose activations fit the second cache) are handed out one after another, so that a thread that was
// held up does less. The sums of a row are the same whichever way and whoever computes them.
#include "kernels/product.h"

#include <stdatomic.h>
#include <string.h>

#include "kernels/panel.h"

#define LINE 64
#define TOKENS_MAX 128  // of one piece; its sums are kept beside the matrix's scratch in the first cache
#define TOKENS_MIN 16
#define SECOND_CACHE (320 * 1024)  // bytes of activations that a piece may use
#define ALONE_MAX 8192             // activations that each thread quantizes for itself
#define PIECE_PRODUCTS (1 << 20)   // a piece has at least so many products, unless there are too few pieces

typedef float sums_of_row[RK_ROWS];

static size_t padded(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t chunks_of(const rk_product *product) { return (product->columns + RK_CHUNK - 1) / RK_CHUNK; }

static bool is_alone(const rk_product *product) {
  return product->segment_count == 1 && product->row_count <= TOKENS_MIN &&
         product->row_count * product->columns <= ALONE_MAX;
}

static size_t activations_size(const rk_product *product) {
  size_t chunks = (size_t)(chunks_of(product) * product->row_count);
  return padded(chunks * rk_activation_bytes(product->format->activation));
}

static size_t rows_size(const rk_product *product) { return padded((size_t)product->row_count * sizeof(rk_row)); }
static size_t segments_size(const rk_product *product) {
  return padded((size_t)product->segment_count * sizeof(rk_segment));
}

// The common part: counter and activations.
static size_t common_size(const rk_product *product) {
  return LINE + (is_alone(product) ? 0 : activations_size(product));
}

static size_t own_size(const rk_product *product) {
  return rows_size(product) + segments_size(product) + TOKENS_MAX * sizeof(sums_of_row) +
         (is_alone(product) ? activations_size(product) : 0);
}

size_t rk_product_work_size(const rk_product *product, int threads) {
  return LINE + common_size(product) + (size_t)threads * own_size(product);
}

static uint8_t *common(const rk_team *team) {
  uintptr_t at = (uintptr_t)team->work;
  return team->work + (LINE - at % LINE) % LINE;
}

static uint8_t *own(const rk_product *product, const rk_team *team) {
  return common(team) + common_size(product) + (size_t)team->index * own_size(product);
}

rk_row *rk_product_rows(const rk_product *product, const rk_team *team) { return (void *)own(product, team); }

rk_segment *rk_product_segments(const rk_product *product, const rk_team *team) {
  return (void *)(own(product, team) + rows_size(product));
}

static sums_of_row *own_sums(const rk_product *product, const rk_team *team) {
  return (void *)(own(product, team) + rows_size(product) + segments_size(product));
}

static uint8_t *activations_of(const rk_product *product, const rk_team *team) {
  if (!is_alone(product)) return common(team) + LINE;
  return (uint8_t *)(own_sums(product, team) + TOKENS_MAX);
}

// Chunk c of row r stands at [c * row_count + r].
static void quantize(const rk_product *product, const rk_row *rows, uint8_t *activations, int64_t begin, int64_t end) {
  size_t size = rk_activation_bytes(product->format->activation);
  int64_t chunks = chunks_of(product);
  for (int64_t i = begin; i < end; i++) {
    int64_t r = i / chunks;
    int64_t c = i % chunks;
    uint8_t *out = activations + (size_t)(c * product->row_count + r) * size;
    product->quantize(rows[r].in + c * RK_CHUNK, rk_chunk_columns(product->columns, c), out);
  }
}

static void put_sums(const rk_product *product, const rk_row *row, const sums_of_row sums, int64_t panel) {
  int64_t left = product->rows - panel * RK_ROWS;
  float *out = row->out + panel * RK_ROWS;
  // Two copies, as the first one's length is known to the compiler.
  if (left >= RK_ROWS) {
    memcpy(out, sums, sizeof(sums_of_row));
  } else {
    memcpy(out, sums, (size_t)left * sizeof *out);
  }
}

// What one call computes: the rows [first, first + count) of a segment, with panels [begin, end).
typedef struct piece {
  const uint8_t *matrix;
  int64_t first, count;
  int64_t begin, end;
} piece;

static void compute(const rk_product *product, const rk_team *team, const piece *p) {
  const rk_row *rows = rk_product_rows(product, team);
  sums_of_row *sums = own_sums(product, team);
  size_t size = rk_activation_bytes(product->format->activation);
  size_t panel_bytes = rk_panel_bytes(product->format, product->columns);
  const uint8_t *activations = activations_of(product, team) + (size_t)p->first * size;
  for (int64_t panel = p->begin; panel < p->end; panel++) {
    product->format->multiply(p->matrix + (size_t)panel * panel_bytes, product->columns, activations,
                              product->row_count, (int)p->count, sums);
    for (int64_t t = 0; t < p->count; t++) put_sums(product, &rows[p->first + t], sums[t], panel);
  }
}

static void run_alone(const rk_product *product, const rk_team *team) {
  const rk_segment *segment = rk_product_segments(product, team);
  int64_t panels = rk_panel_count(product->rows);
  quantize(product, rk_product_rows(product, team), activations_of(product, team), 0,
           product->row_count * chunks_of(product));
  piece mine = {.matrix = segment->matrix,
                .first = segment->first,
                .count = segment->count,
                .begin = panels * team->index / team->count,
                .end = panels * (team->index + 1) / team->count};
  compute(product, team, &mine);
}

// How a segment is cut.
typedef struct cut {
  int64_t tokens;  // of a piece
  int64_t panels;  // of a piece
  int64_t across;  // pieces side by side, each for other panels
  int64_t pieces;
} cut;

static cut cut_segment(const rk_product *product, const rk_segment *segment, int threads) {
  size_t row = (size_t)chunks_of(product) * rk_activation_bytes(product->format->activation);
  int64_t fits = (int64_t)(SECOND_CACHE / row) / 8 * 8;
  cut c = {.tokens = least(most(fits, TOKENS_MIN), TOKENS_MAX)};
  int64_t panels = rk_panel_count(product->rows);
  int64_t products = RK_ROWS * product->columns * least(c.tokens, segment->count);
  c.panels = most(1, least(PIECE_PRODUCTS / products, panels / (8 * (int64_t)threads)));
  c.across = (panels + c.panels - 1) / c.panels;
  c.pieces = c.across * ((segment->count + c.tokens - 1) / c.tokens);
  return c;
}

// All panels with one stretch of tokens before the next: their activations stay in the cache.
static piece piece_at(const rk_product *product, const rk_segment *segment, const cut *c, int64_t index) {
  int64_t token = index / c->across * c->tokens;
  int64_t panel = index % c->across * c->panels;
  return (piece){.matrix = segment->matrix,
                 .first = segment->first + token,
                 .count = least(c->tokens, segment->count - token),
                 .begin = panel,
                 .end = least(panel + c->panels, rk_panel_count(product->rows))};
}

static void run_together(const rk_product *product, const rk_team *team) {
  _Atomic int64_t *next = (void *)common(team);
  const rk_segment *segments = rk_product_segments(product, team);
  int64_t chunks = product->row_count * chunks_of(product);
  if (team->index == 0) atomic_store_explicit(next, 0, memory_order_relaxed);
  quantize(product, rk_product_rows(product, team), activations_of(product, team), chunks * team->index / team->count,
           chunks * (team->index + 1) / team->count);
  rk_team_wait(team);
  int64_t index = atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
  int64_t before = 0;  // pieces of the segments before this one
  for (int64_t s = 0; s < product->segment_count; s++) {
    if (segments[s].count == 0) continue;
    cut c = cut_segment(product, &segments[s], team->count);
    while (index < before + c.pieces) {
      piece p = piece_at(product, &segments[s], &c, index - before);
      compute(product, team, &p);
      index = atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
    }
    before += c.pieces;
  }
}

void rk_product_run(const rk_product *product, const rk_team *team) {
  if (is_alone(product)) {
    run_alone(product, team);
  } else {
    run_together(product, team);
  }
}
