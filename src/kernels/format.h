// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the shapes that all kernels share: panels of weights, chunks of activations, and what a weight format offers.
// Data owned: none; types only.
// Threads: every function of a format is pure: it reads its inputs and writes the memory it is given.
// Not here: instructions (isa.h), the division of a product among threads (product.h).
//
// A matrix of R rows and C columns is kept as ceil(R / 16) panels of 16 rows; missing rows of the last panel are zero. A
// panel is a run of chunks of up to 256 columns. Inside a chunk four neighbouring columns of one row are one group, and
// the groups of the 16 rows stand side by side: 64 bytes that one instruction multiplies by one broadcast group of an
// activation. A chunk takes as many bytes as the same weights take in the file. docs/kernels.md says why.
#ifndef RH_KERNELS_FORMAT_H
#define RH_KERNELS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RK_ROWS 16    // rows of a panel
#define RK_CHUNK 256  // columns of a chunk; only a panel's last one may have fewer, whole blocks of the format
#define RK_BLOCK 32   // columns that share a scale of activations in rk_a32
#define RK_GROUP 4    // columns of a group: what one lane of a dot-product instruction adds up
#define RK_GROUPS (RK_CHUNK / RK_GROUP)
#define RK_BLOCKS (RK_CHUNK / RK_BLOCK)

// A chunk of one activation row, a scale for every 32 values. For Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
typedef struct rk_a32 {
  int8_t q[RK_CHUNK];  // value = q * scale
  float scale[RK_BLOCKS];
  uint32_t bias8[RK_BLOCKS];  // where a sum begins so that it ends as the sum of (w - 8) * q; its form is the ISA's
  float sum[RK_BLOCKS];       // scale * sum of q: what a weight's constant part is multiplied by
} rk_a32;

// The same with one scale for all 256 values. For Q4_K, Q5_K, Q6_K. Unused columns are zero.
typedef struct rk_a256 {
  int8_t q[RK_CHUNK];
  uint32_t bias32[RK_CHUNK / 16];  // per 16 values: where a sum begins that ends as the sum of (w - 32) * q
  int16_t sum[RK_BLOCKS];          // per 32 values: sum of q
  float scale;
} rk_a256;

// For F16, BF16 and F32: as they are.
typedef struct rk_af32 {
  float x[RK_CHUNK];
} rk_af32;

// Rounded to bfloat16 (the nearest, of two the even one), for dot products of pairs. Unused columns are zero.
typedef struct rk_abf16 {
  uint16_t x[RK_CHUNK];
} rk_abf16;

// The weight formats, with the numbers that ggml and the file give them (enum ggml_type).
typedef enum rk_type {
  RK_TYPE_F32 = 0,
  RK_TYPE_F16 = 1,
  RK_TYPE_Q4_0 = 2,
  RK_TYPE_Q4_1 = 3,
  RK_TYPE_Q5_0 = 6,
  RK_TYPE_Q5_1 = 7,
  RK_TYPE_Q8_0 = 8,
  RK_TYPE_Q4_K = 12,
  RK_TYPE_Q5_K = 13,
  RK_TYPE_Q6_K = 14,
  RK_TYPE_BF16 = 30,
} rk_type;

// How a format wants its activations; each kind has one struct above.
typedef enum rk_activation { RK_A32, RK_A256, RK_AF32, RK_ABF16, RK_ACTIVATIONS } rk_activation;

static inline size_t rk_activation_bytes(rk_activation kind) {
  static const size_t bytes[RK_ACTIVATIONS] = {sizeof(rk_a32), sizeof(rk_a256), sizeof(rk_af32), sizeof(rk_abf16)};
  return bytes[kind];
}

// Quantizes `columns` floats (at most RK_CHUNK) to one chunk at `out`; the rest of the chunk becomes zero.
typedef void rk_quantize(const float *x, int columns, void *out);

// One weight format on one instruction set.
typedef struct rk_format {
  rk_type type;
  const char *name;  // as in GGUF: "q4_0"
  rk_activation activation;
  int block;  // columns of one block in the file; C and the columns of every chunk are multiples of it
  size_t block_bytes;
  // Bytes of a chunk of `columns`, 16 rows.
  size_t (*chunk_bytes)(int columns);
  // Packs `columns` columns of 16 rows, each row at rows[i] in the file's form (NULL: a row of zeros).
  void (*pack)(const void *const rows[RK_ROWS], int columns, uint8_t *out);
  // One row of a chunk as floats.
  void (*unpack_row)(const uint8_t *chunk, int columns, int row, float *out);
  // sums[t][row] = panel's row . activation t, for `tokens` activations. The chunk c of activation t is the
  // struct at activations[c * stride + t] (counted in structs).
  void (*multiply)(const uint8_t *panel, int64_t columns, const void *activations, int64_t stride, int tokens,
                   float (*sums)[RK_ROWS]);
} rk_format;

// All that one instruction set offers.
typedef struct rk_set {
  const char *name;  // "avx2"
  const rk_format *const *formats;
  size_t format_count;
  rk_quantize *quantize[RK_ACTIVATIONS];  // NULL: none of its formats asks for it
  const struct rk_attention *attention;   // attention_kernel.h
} rk_set;

extern const rk_set rk_set_portable;
#ifdef __x86_64__
extern const rk_set rk_set_avx2;
extern const rk_set rk_set_avxvnni;
extern const rk_set rk_set_avx512;
extern const rk_set rk_set_avx512bf16;
#endif

static inline int64_t rk_panel_count(int64_t rows) { return (rows + RK_ROWS - 1) / RK_ROWS; }

// The chunk at column 256 * index of a panel: its columns.
static inline int rk_chunk_columns(int64_t columns, int64_t index) {
  int64_t left = columns - index * RK_CHUNK;
  return left < RK_CHUNK ? (int)left : RK_CHUNK;
}

#endif
