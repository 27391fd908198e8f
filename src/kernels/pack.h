// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what the formats' pack functions share: from bytes in row order to groups in panel order, and to planes of bits.
// Packing happens once per weight, when a model is loaded; the compiler makes these loops into vector code.
#ifndef RH_KERNELS_PACK_H
#define RH_KERNELS_PACK_H

#include <string.h>

#include "kernels/isa.h"
#include "kernels/transpose.h"

// A chunk with one byte for each weight, in the order of the groups.
typedef struct rk_spread {
  _Alignas(64) uint8_t w[RK_GROUPS][RK_ROWS * RK_GROUP];
} rk_spread;

// The same in the order of the rows.
typedef struct rk_rows {
  _Alignas(64) uint8_t w[RK_ROWS][RK_CHUNK];
} rk_rows;

// To the order of the groups; any multiple of 16 columns.
RK_INLINE void rk_spread_rows(const rk_rows *rows, int columns, rk_spread *spread) {
  for (int g = 0; g < columns / RK_GROUP; g += 4) {
    for (int r = 0; r < RK_ROWS; r += 4) {
      rk_transpose_words(&rows->w[r][g * RK_GROUP], sizeof rows->w[0], &spread->w[g][r * RK_GROUP],
                         sizeof spread->w[0]);
    }
  }
}

RK_INLINE void rk_gather_row(const rk_spread *spread, int columns, int row, uint8_t *bytes) {
  for (int g = 0; g < columns / RK_GROUP; g++) memcpy(bytes + g * RK_GROUP, &spread->w[g][row * RK_GROUP], RK_GROUP);
}

// The low four bits of groups 2i and 2i + 1 in one vector of 64 bytes. Returns the place after the last.
RK_INLINE uint8_t *rk_fold_nibbles(const rk_spread *spread, int columns, uint8_t *out) {
  for (int i = 0; i < columns / (2 * RK_GROUP); i++, out += 64) {
    for (int k = 0; k < 64; k++) {
      out[k] = (uint8_t)((spread->w[2 * i][k] & 15) | (spread->w[2 * i + 1][k] & 15) << 4);
    }
  }
  return out;
}

// Bits 4 and 5 of four groups in one vector: group 4i + j at bits 2j.
RK_INLINE uint8_t *rk_fold_high2(const rk_spread *spread, int columns, uint8_t *out) {
  for (int i = 0; i < columns / (4 * RK_GROUP); i++, out += 64) {
    for (int k = 0; k < 64; k++) {
      unsigned bits = 0;
      for (int j = 0; j < 4; j++) bits |= (unsigned)(spread->w[4 * i + j][k] >> 4 & 3) << (2 * j);
      out[k] = (uint8_t)bits;
    }
  }
  return out;
}

// Bit 4 of eight groups in one vector: group 8i + j at bit j.
RK_INLINE uint8_t *rk_fold_high1(const rk_spread *spread, int columns, uint8_t *out) {
  for (int i = 0; i < columns / (8 * RK_GROUP); i++, out += 64) {
    for (int k = 0; k < 64; k++) {
      unsigned bits = 0;
      for (int j = 0; j < 8; j++) bits |= (unsigned)(spread->w[8 * i + j][k] >> 4 & 1) << j;
      out[k] = (uint8_t)bits;
    }
  }
  return out;
}

// The other way, in the kernels themselves.
RK_INLINE const uint8_t *rk_open_nibbles(const uint8_t *in, int columns, rk_spread *spread) {
  for (int i = 0; i < columns / (2 * RK_GROUP); i++, in += 64) {
    rk_bytes both = rk_loadu(in);
    rk_store(spread->w[2 * i], rk_and(both, 15));
    rk_store(spread->w[2 * i + 1], rk_and(rk_right(both, 4), 15));
  }
  return in;
}

// Adds bits 4 and 5 to what is in `spread`.
RK_INLINE const uint8_t *rk_open_high2(const uint8_t *in, int columns, rk_spread *spread) {
  for (int i = 0; i < columns / (4 * RK_GROUP); i++, in += 64) {
    rk_bytes bits = rk_loadu(in);
    uint8_t(*w)[64] = &spread->w[4 * i];
    rk_store(w[0], rk_or(rk_load(w[0]), rk_and(rk_left(bits, 4), 0x30)));
    rk_store(w[1], rk_or(rk_load(w[1]), rk_and(rk_left(bits, 2), 0x30)));
    rk_store(w[2], rk_or(rk_load(w[2]), rk_and(bits, 0x30)));
    rk_store(w[3], rk_or(rk_load(w[3]), rk_and(rk_right(bits, 2), 0x30)));
  }
  return in;
}

// Adds bit 4 to what is in `spread`.
RK_INLINE const uint8_t *rk_open_high1(const uint8_t *in, int columns, rk_spread *spread) {
  for (int i = 0; i < columns / (8 * RK_GROUP); i++, in += 64) {
    rk_bytes bits = rk_loadu(in);
    uint8_t(*w)[64] = &spread->w[8 * i];
    rk_store(w[0], rk_or(rk_load(w[0]), rk_and(rk_left(bits, 4), 0x10)));
    rk_store(w[1], rk_or(rk_load(w[1]), rk_and(rk_left(bits, 3), 0x10)));
    rk_store(w[2], rk_or(rk_load(w[2]), rk_and(rk_left(bits, 2), 0x10)));
    rk_store(w[3], rk_or(rk_load(w[3]), rk_and(rk_left(bits, 1), 0x10)));
    rk_store(w[4], rk_or(rk_load(w[4]), rk_and(bits, 0x10)));
    rk_store(w[5], rk_or(rk_load(w[5]), rk_and(rk_right(bits, 1), 0x10)));
    rk_store(w[6], rk_or(rk_load(w[6]), rk_and(rk_right(bits, 2), 0x10)));
    rk_store(w[7], rk_or(rk_load(w[7]), rk_and(rk_right(bits, 3), 0x10)));
  }
  return in;
}

#endif
