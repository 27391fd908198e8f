// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the operations of vector.h in C for any machine. Four lanes: what the least vector units have, so that the compiler
// can make single instructions of the loops.
#ifndef RH_KERNELS_VECTOR_PORTABLE_H
#define RH_KERNELS_VECTOR_PORTABLE_H

#define RK_LANES 4
#define RK_V_REGISTERS 16
typedef float rk_vec __attribute__((vector_size(16)));
typedef uint32_t rk_vec_bits __attribute__((vector_size(16)));

RK_INLINE rk_vec rk_v_load(const float *p) {
  rk_vec v;
  memcpy(&v, p, sizeof v);
  return v;
}

RK_INLINE void rk_v_store(float *p, rk_vec v) { memcpy(p, &v, sizeof v); }
RK_INLINE rk_vec rk_v_set(float x) { return (rk_vec){x, x, x, x}; }
RK_INLINE rk_vec rk_v_add(rk_vec a, rk_vec b) { return a + b; }
RK_INLINE rk_vec rk_v_sub(rk_vec a, rk_vec b) { return a - b; }
RK_INLINE rk_vec rk_v_mul(rk_vec a, rk_vec b) { return a * b; }
RK_INLINE rk_vec rk_v_div(rk_vec a, rk_vec b) { return a / b; }
RK_INLINE rk_vec rk_v_fma(rk_vec a, rk_vec b, rk_vec c) { return a * b + c; }

// a where `mask` is set, else b
RK_INLINE rk_vec rk_v_choose(rk_vec_bits mask, rk_vec a, rk_vec b) {
  return (rk_vec)((mask & (rk_vec_bits)a) | (~mask & (rk_vec_bits)b));
}

// Of a NaN in b, all make a NaN.
RK_INLINE rk_vec rk_v_max(rk_vec a, rk_vec b) { return rk_v_choose((rk_vec_bits)(a > b), a, b); }
RK_INLINE rk_vec rk_v_min(rk_vec a, rk_vec b) { return rk_v_choose((rk_vec_bits)(a < b), a, b); }

RK_INLINE float rk_v_half(uint16_t half) {
  uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
  float value;
  memcpy(&value, &bits, sizeof value);
  value *=
      0x1p112F;  // from the exponent's bias of half precision to that of a float; makes subnormal numbers right too
  memcpy(&bits, &value, sizeof bits);
  if ((half & 0x7c00) == 0x7c00) bits |= 0x7f800000;
  bits |= (uint32_t)(half & 0x8000) << 16;
  memcpy(&value, &bits, sizeof value);
  return value;
}

RK_INLINE rk_vec rk_v_halves(const uint16_t *p) {
  rk_vec_bits in = {p[0], p[1], p[2], p[3]};
  rk_vec value = (rk_vec)((in & 0x7fff) << 13) * 0x1p112F;
  rk_vec_bits special = (rk_vec_bits)((in & 0x7c00) == 0x7c00) & 0x7f800000;
  return (rk_vec)((rk_vec_bits)value | special | ((in & 0x8000) << 16));
}

// v * 2^n, where n is what RK_ROUNDER has left in the low bits of `moved`.
RK_INLINE rk_vec rk_v_shift_exponent(rk_vec v, rk_vec moved) {
  return (rk_vec)((rk_vec_bits)v + ((rk_vec_bits)moved << 23));
}

// v, and 0 where x <= limit.
RK_INLINE rk_vec rk_v_unless_below(rk_vec x, float limit, rk_vec v) {
  return (rk_vec)((rk_vec_bits)v & ~(rk_vec_bits)(x <= rk_v_set(limit)));
}

RK_INLINE float rk_v_total(rk_vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }

RK_INLINE float rk_v_most(rk_vec v) {
  float a = v[0] > v[1] ? v[0] : v[1];
  float b = v[2] > v[3] ? v[2] : v[3];
  return a > b ? a : b;
}

RK_INLINE void rk_v_sums(rk_vec a, rk_vec b, rk_vec c, rk_vec d, float out[4]) {
  rk_v_store(out, (rk_vec){rk_v_total(a), rk_v_total(b), rk_v_total(c), rk_v_total(d)});
}

#endif
