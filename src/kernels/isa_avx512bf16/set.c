// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the set avx512bf16: all that avx512 has, but BF16 weights are multiplied by the bf16 dot product (AVX512_BF16).
// Data owned: constant tables. Threads: pure functions.
//
// vdpbf16ps adds two products to a float for each of 16 rows, so a chunk is its pairs of columns one after another, each with
// its 16 rows side by side: 64 bytes, 4 of a row, multiplied by one broadcast pair of an activation. Activations are rounded
// to bf16, as llama.cpp rounds them for such weights. Both numbers of a pair are needed: a matrix has an even number of columns.
//
// A row's sum is made of sums of 32 columns, each begun at zero and added in order. So eight of them can be computed side by
// side for one token, which hides the instruction's latency of about six cycles, and the order is the same however many
// tokens there are. The instruction takes subnormal numbers for zero, always: nothing of that depends on the batch either.
//
// Weights are used as they are, so nothing is opened; 16 tokens are 16 sums and one register of weights, and the pairs of the
// activations are broadcast from memory by the instruction itself.
//
// RK_NAME gives the names of avx512 here, whose formats, quantizers and attention these are.
#include "kernels/activations.h"
#include "kernels/attention_isa.h"
#include "kernels/formats.h"
#include "kernels/tilef.h"

#ifndef RK_SUFFIX_BF16
#define RK_SUFFIX_BF16 _avx512bf16
#endif

#define TILE 16  // tokens
#define PAIR 2   // columns
#define PAIR_BYTES (PAIR * sizeof(uint16_t))
#define RUN 32  // columns of one sum
#define RUNS (RK_CHUNK / RUN)

// The layout is that of weights of 4 bytes, with a pair for each.
RK_INLINE rk_floats no_floats(const uint8_t *column) {
  (void)column;
  return rk_floats_zero();
}
static const rk_traitsf pairs = {.bytes = PAIR_BYTES, .load = no_floats};

static size_t chunk_bytes(int columns) { return rk_chunk_bytesf(pairs, columns / PAIR); }

static void pack(const void *const rows[RK_ROWS], int columns, uint8_t *out) {
  rk_packf(pairs, rows, columns / PAIR, out);
}

static void unpack_row(const uint8_t *chunk, int columns, int row, float *out) {
  for (int c = 0; c < columns; c++) {
    uint16_t half;
    memcpy(&half, chunk + (size_t)(c / PAIR * RK_ROWS + row) * PAIR_BYTES + (size_t)(c % PAIR) * sizeof half,
           sizeof half);
    uint32_t bits = (uint32_t)half << 16;
    memcpy(out + c, &bits, sizeof bits);
  }
}

// To the nearest, of two the even one; what is no number stays none, though its upper half may be an infinity's.
static uint16_t rounded(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  uint32_t near = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  uint32_t none = bits >> 16 | 0x40;
  return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? none : near);
}

static void quantize(const float *x, int columns, void *out) {
  rk_abf16 *chunk = out;
  for (int c = 0; c < columns; c++) chunk->x[c] = rounded(x[c]);
  memset(chunk->x + columns, 0, (size_t)(RK_CHUNK - columns) * sizeof *chunk->x);
}

// sum + pairs . the activation's pair
RK_INLINE rk_floats dot(rk_floats sum, rk_bytes w, const uint16_t *pair) {
  int32_t both;
  memcpy(&both, pair, sizeof both);
  return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)_mm512_set1_epi32(both));
}

// `runs` sums side by side for each of `count` tokens; the columns of each: `from` and up to `columns` of them in each run.
RK_INLINE void add_runs(const uint8_t *chunk, int from, int columns, const int runs, const rk_abf16 *a, const int count,
                        float (*sums)[RK_ROWS]) {
  rk_floats sum[TILE];
  for (int i = 0; i < runs * count; i++) sum[i] = rk_floats_zero();
  RK_KEEP_LOOP
  for (int c = from; c < from + columns; c += PAIR) {
    for (int r = 0; r < runs; r++) {
      int column = c + r * RUN;
      const uint8_t *at = chunk + (size_t)column * RK_ROWS * sizeof(uint16_t);  // as many pairs stand before it
      rk_ask_ahead(at, sizeof(rk_bytes));
      rk_bytes w = rk_loadu(at);
      for (int t = 0; t < count; t++) sum[r * count + t] = dot(sum[r * count + t], w, a[t].x + column);
    }
  }
  RK_FENCE;
  for (int t = 0; t < count; t++) {
    rk_floats all = rk_floats_load(sums[t]);
    for (int r = 0; r < runs; r++) all = rk_fma1(sum[r * count + t], 1.0F, all);
    rk_floats_store(sums[t], all);
  }
}

RK_INLINE void tile(const uint8_t *chunk, int columns, const rk_abf16 *a, const int count, float (*sums)[RK_ROWS]) {
  const int runs = count == 1 ? RUNS : count <= 3 ? 4 : count == 4 ? 2 : 1;
  int c = 0;
  for (; c + runs * RUN <= columns; c += runs * RUN) add_runs(chunk, c, RUN, runs, a, count, sums);
  for (; c < columns; c += RUN) {
    int left = columns - c;
    add_runs(chunk, c, left < RUN ? left : RUN, 1, a, count, sums);
  }
}

// The counts are constants so that each has code of its own, with sums in registers.
RK_INLINE void tiles(const uint8_t *chunk, int columns, const rk_abf16 *a, int tokens, float (*sums)[RK_ROWS]) {
  int t = 0;
  for (; t + TILE <= tokens; t += TILE) tile(chunk, columns, a + t, TILE, sums + t);
  for (; t + 8 <= tokens; t += 8) tile(chunk, columns, a + t, 8, sums + t);
  for (; t + 4 <= tokens; t += 4) tile(chunk, columns, a + t, 4, sums + t);
  switch (tokens - t) {
    case 3: tile(chunk, columns, a + t, 3, sums + t); break;
    case 2: tile(chunk, columns, a + t, 2, sums + t); break;
    case 1: tile(chunk, columns, a + t, 1, sums + t); break;
    default: break;
  }
}

static void multiply(const uint8_t *panel, int64_t columns, const void *activations, int64_t stride, int tokens,
                     float (*sums)[RK_ROWS]) {
  memset(sums, 0, (size_t)tokens * sizeof *sums);
  for (int64_t c = 0; c * RK_CHUNK < columns; c++) {
    int wide = rk_chunk_columns(columns, c);
    tiles(panel, wide, (const rk_abf16 *)activations + c * stride, tokens, sums);
    panel += chunk_bytes(wide);
  }
}

static const rk_format bf16 = {
    .type = RK_TYPE_BF16,
    .name = "bf16",
    .activation = RK_ABF16,
    .block = PAIR,
    .block_bytes = PAIR_BYTES,
    .chunk_bytes = chunk_bytes,
    .pack = pack,
    .unpack_row = unpack_row,
    .multiply = multiply,
};

static const rk_format *const formats[] = {RK_ALL_FORMATS(bf16)};

const rk_set RK_PASTE(rk_set, RK_SUFFIX_BF16) = {
    .name = "avx512bf16",
    .formats = formats,
    .format_count = sizeof formats / sizeof formats[0],
    .quantize = {RK_NAME(rk_quantize_a32), RK_NAME(rk_quantize_a256), RK_NAME(rk_quantize_af32), quantize},
    .attention = &RK_NAME(rk_attention_kernels),
};
