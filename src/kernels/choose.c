// SPDX-License-Identifier: Apache-2.0
//
// Purpose: asks the processor what it can run and chooses the set of kernels.
// Data owned: a constant table. Threads: any.
// Not here: the environment variable is read by whoever calls.
//
// The processor is asked itself: what /proc/cpuinfo lists is the system's opinion, and compilers do not know all names
// yet. That the operating system keeps the wide registers when it switches threads stands in the register XCR0.
#include "kernels/choose.h"

#include <stdio.h>
#include <string.h>

typedef struct candidate {
  const char *name;
  const char *needs;
  unsigned ability;  // 0: always there
  const rk_set *set;
} candidate;

// The best first.
static const candidate candidates[] = {
#ifdef __x86_64__
    {"avx512bf16", "AVX-512 BF16", RK_CAN_AVX512 | RK_CAN_AVX512BF16, &rk_set_avx512bf16},
    {"avx512", "AVX-512 VNNI", RK_CAN_AVX512, &rk_set_avx512},
    {"avxvnni", "AVX-VNNI", RK_CAN_AVXVNNI, &rk_set_avxvnni},
    {"avx2", "AVX2", RK_CAN_AVX2, &rk_set_avx2},
#else
    {"avx512bf16", "AVX-512 BF16", RK_CAN_AVX512 | RK_CAN_AVX512BF16, NULL},
    {"avx512", "AVX-512 VNNI", RK_CAN_AVX512, NULL},
    {"avxvnni", "AVX-VNNI", RK_CAN_AVXVNNI, NULL},
    {"avx2", "AVX2", RK_CAN_AVX2, NULL},
#endif
    {"portable", NULL, 0, &rk_set_portable},
};

enum { CANDIDATES = sizeof candidates / sizeof candidates[0] };

static bool able(const candidate *c, unsigned abilities) {
  return c->set != NULL && (abilities & c->ability) == c->ability;
}

// Adds to a text that may be full already.
static void add(char *text, size_t size, const char *before, const char *word) {
  size_t used = strlen(text);
  (void)snprintf(text + used, size - used, "%s%s", before, word);
}

static void add_what_runs(unsigned abilities, char *reason, size_t size) {
  add(reason, size, "", "; this processor runs: stock");
  for (size_t i = CANDIDATES; i-- > 0;) {
    if (able(&candidates[i], abilities)) add(reason, size, ", ", candidates[i].name);
  }
  add(reason, size, "", ")");
}

static const rk_set *wished(unsigned abilities, const char *wish, char *reason, size_t size) {
  if (strcmp(wish, "stock") == 0) {
    (void)snprintf(reason, size, "stock (forced by ROUNDHOUSE_KERNELS)");
    return NULL;
  }
  for (size_t i = 0; i < CANDIDATES; i++) {
    const candidate *c = &candidates[i];
    if (strcmp(wish, c->name) != 0) continue;
    if (able(c, abilities)) {
      (void)snprintf(reason, size, "%s (forced by ROUNDHOUSE_KERNELS)", c->name);
      return c->set;
    }
    (void)snprintf(reason, size, "stock (ROUNDHOUSE_KERNELS=%s needs %s", c->name, c->needs);
    add_what_runs(abilities, reason, size);
    return NULL;
  }
  (void)snprintf(reason, size, "stock (ROUNDHOUSE_KERNELS=%.32s is unknown", wish);
  add_what_runs(abilities, reason, size);
  return NULL;
}

const rk_set *rk_choose_for(unsigned abilities, const char *wish, char *reason, size_t size) {
  char none[1];
  if (size == 0) {
    reason = none;
    size = sizeof none;
  }
  reason[0] = '\0';
  if (wish && *wish) return wished(abilities, wish, reason, size);
  const candidate *best = candidates;
  while (best->ability != 0 && !able(best, abilities)) best++;
  if (best->ability == 0) {
    // Without vector instructions of ours llama.cpp's kernels, which have some for every processor, are the faster ones.
    (void)snprintf(reason, size, "stock (no AVX2: portable is slower than llama.cpp's own here)");
    return NULL;
  }
  add(reason, size, "", best->name);
  for (const candidate *c = candidates; c < best; c++) add(reason, size, c == candidates ? " (no " : ", no ", c->needs);
  add(reason, size, "", best == candidates ? " (the best there is)" : ")");
  return best->set;
}

const rk_set *rk_choose(const char *wish, char *reason, size_t size) {
  return rk_choose_for(rk_abilities(), wish, reason, size);
}

#ifdef __x86_64__

#include <cpuid.h>

// Bits of cpuid's answers and of XCR0, as Intel's manual names and numbers them.
enum {
  LEAF1_ECX_FMA = 1 << 12,
  LEAF1_ECX_OSXSAVE = 1 << 27,
  LEAF1_ECX_AVX = 1 << 28,
  LEAF1_ECX_F16C = 1 << 29,
  LEAF7_EBX_AVX2 = 1 << 5,
  LEAF7_EBX_AVX512F = 1 << 16,
  LEAF7_EBX_AVX512DQ = 1 << 17,
  LEAF7_EBX_AVX512BW = 1 << 30,
  LEAF7_ECX_AVX512VNNI = 1 << 11,
  LEAF7_1_EAX_AVXVNNI = 1 << 4,
  LEAF7_1_EAX_AVX512BF16 = 1 << 5,
  XCR0_YMM = 0x06,  // and xmm
  XCR0_ZMM = 0xe0,  // zmm, the registers 16-31 and the masks
};
static const unsigned LEAF7_EBX_AVX512VL = 1U << 31;

static bool has(unsigned word, unsigned bits) { return (word & bits) == bits; }

// Only where OSXSAVE is set: elsewhere the instruction does not exist.
static unsigned read_xcr0(void) {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

unsigned rk_abilities(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  if (!has(c, LEAF1_ECX_OSXSAVE | LEAF1_ECX_AVX | LEAF1_ECX_FMA | LEAF1_ECX_F16C)) return 0;
  unsigned xcr0 = read_xcr0();
  if (!has(xcr0, XCR0_YMM) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, LEAF7_EBX_AVX2)) return 0;
  unsigned leaves = a;
  unsigned abilities = RK_CAN_AVX2;
  unsigned wide = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL;
  if (has(xcr0, XCR0_ZMM) && has(b, wide) && has(c, LEAF7_ECX_AVX512VNNI)) abilities |= RK_CAN_AVX512;
  if (leaves < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return abilities;
  if (has(a, LEAF7_1_EAX_AVXVNNI)) abilities |= RK_CAN_AVXVNNI;
  if (has(abilities, RK_CAN_AVX512) && has(a, LEAF7_1_EAX_AVX512BF16)) abilities |= RK_CAN_AVX512BF16;
  return abilities;
}

#else

unsigned rk_abilities(void) { return 0; }

#endif
