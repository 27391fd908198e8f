// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the vector operations in which the kernels are written, for the instruction set this file is compiled for. Each
// kernel source is compiled once for every set, with RK_ISA_AVX512, RK_ISA_AVXVNNI or RK_ISA_AVX2 defined, or none of them
// for portable C.
//
// One value stands for the same thing in each of a panel's 16 rows. The operations are named and described in isa_avx2.h; all
// sets have the same.
#ifndef RH_KERNELS_ISA_H
#define RH_KERNELS_ISA_H

#include "kernels/format.h"

#ifndef RK_INLINE  // a build that values its own time above the kernels' may say otherwise
#define RK_INLINE static inline __attribute__((always_inline))
#endif
// Of a struct that is laid over a file's bytes, at whatever address they are.
#define RK_AS_STORED __attribute__((packed, may_alias))
// A loop to be kept as one: unrolled whole, the compiler would put off its additions and run out of registers.
#define RK_KEEP_LOOP _Pragma("GCC unroll 1")
// What stands after it is fetched after it: the compiler would keep sums in registers that the loop before needs.
#define RK_FENCE __asm__ volatile("" ::: "memory")
#define RK_PASTE2(a, b) a##b
#define RK_PASTE(a, b) RK_PASTE2(a, b)

#if defined RK_ISA_AVX512
#define RK_ISA_SUFFIX _avx512
#define RK_ISA_NAME "avx512"
#include "kernels/isa_avx512.h"
#elif defined RK_ISA_AVXVNNI
#define RK_ISA_SUFFIX _avxvnni
#define RK_ISA_NAME "avxvnni"
#include "kernels/isa_avx2.h"
#elif defined RK_ISA_AVX2
#define RK_ISA_SUFFIX _avx2
#define RK_ISA_NAME "avx2"
#include "kernels/isa_avx2.h"
#else
#define RK_ISA_SUFFIX _portable
#define RK_ISA_NAME "portable"
#include "kernels/isa_portable.h"
#endif

// Keeps a sum in its registers where it stands: a compiler that moves the instructions of several sums about needs more
// registers than there are, and stores them in between.
#ifndef rk_settle
#define rk_settle(sum) ((void)(sum))
#endif

// A test may compile the same sources once more, under another name.
#ifndef RK_SUFFIX
#define RK_SUFFIX RK_ISA_SUFFIX
#endif

// RK_NAME(rk_q4_0) is rk_q4_0_avx2, and so on: what a file compiled several times calls the one thing it exports.
#define RK_NAME(name) RK_PASTE(name, RK_SUFFIX)

// The one thing that a format's file exports: its entry in the set's table, with the functions that tile32.h, tile256.h or
// tilef.h (`kind`) make of the file's constant `traits`. Constants, so that each format has code of its own.
#define RK_FORMAT(format_name, format_type, kind, activations, columns_of_block, bytes_of_block)          \
  static size_t chunk_bytes(int columns) { return rk_chunk_bytes##kind(traits, columns); }                \
  static void pack(const void *const rows[RK_ROWS], int columns, uint8_t *out) {                          \
    rk_pack##kind(traits, rows, columns, out);                                                            \
  }                                                                                                       \
  static void unpack_row(const uint8_t *chunk, int columns, int row, float *out) {                        \
    rk_unpack_row##kind(traits, chunk, columns, row, out);                                                \
  }                                                                                                       \
  static void multiply(const uint8_t *panel, int64_t columns, const void *in, int64_t stride, int tokens, \
                       float(*sums)[RK_ROWS]) {                                                           \
    rk_multiply##kind(traits, panel, columns, in, stride, tokens, sums);                                  \
  }                                                                                                       \
  const rk_format RK_NAME(rk_##format_name) = {.type = format_type,                                       \
                                               .name = #format_name,                                      \
                                               .activation = activations,                                 \
                                               .block = columns_of_block,                                 \
                                               .block_bytes = bytes_of_block,                             \
                                               .chunk_bytes = chunk_bytes,                                \
                                               .pack = pack,                                              \
                                               .unpack_row = unpack_row,                                  \
                                               .multiply = multiply}

// How far ahead of a product its weights are asked for. The processor's own look-ahead ends at each page of 4 KiB, and with one
// token a chunk is done before the next one is there.
#ifndef RK_AHEAD
#define RK_AHEAD 4096
#endif

// Asks for what will be used after RK_AHEAD more bytes; beyond the matrix's end this does nothing.
RK_INLINE void rk_ask_ahead(const uint8_t *at, size_t bytes) {
  uintptr_t first = (uintptr_t)at + RK_AHEAD;
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const void *)(first + i), 0, 3);
}

#endif
