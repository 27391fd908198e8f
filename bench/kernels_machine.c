// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what the machine can do at best: clock, dot products of bytes, reads of memory. What kernels are measured against.
// Data owned: the buffer that is read, until the function returns. Threads: starts some and joins them.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels_bench.h"
#include "kernels_peak.h"

#define THREADS_MAX 256
#define READ_BYTES_MIN ((size_t)256 << 20)
#define READ_BYTES_MAX ((size_t)2 << 30)

double bench_now_s(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

void bench_fail(const char *what) {
  fprintf(stderr, "kernels: %s\n", what);
  exit(1);
}

static int by_value(const void *a, const void *b) {
  double one = *(const double *)a;
  double two = *(const double *)b;
  return (one > two) - (one < two);
}

double bench_median(double *values, size_t count) {
  qsort(values, count, sizeof *values, by_value);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

// --- sets ---

typedef struct peak_set {
  const char *name;
  rk_peak_fn *peak;
  bool here;
} peak_set;

enum { SETS = 5 };

// The best first.
static size_t sets_of(peak_set out[SETS]) {
  size_t count = 0;
#ifdef __x86_64__
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
  uint32_t a = 7;
  uint32_t b = 0;
  uint32_t c = 1;
  uint32_t d = 0;
  // Older compilers do not know AVX-VNNI by name: leaf 7.1, EAX bit 4 (Intel's manual, CPUID).
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  out[count++] = (peak_set){"avx512bf16", rk_peak_avx512, avx512};  // whose bytes are the same's
  out[count++] = (peak_set){"avx512", rk_peak_avx512, avx512};
  out[count++] = (peak_set){"avxvnni", rk_peak_avxvnni, avx2 && (a >> 4 & 1) != 0};
  out[count++] = (peak_set){"avx2", rk_peak_avx2, avx2};
#endif
  out[count++] = (peak_set){"portable", rk_peak_portable, true};
  return count;
}

static rk_peak_fn *find_peak(const char *name) {
  peak_set sets[SETS];
  size_t count = sets_of(sets);
  for (size_t i = 0; i < count; i++) {
    if (sets[i].here && (!name || strcmp(sets[i].name, name) == 0)) return sets[i].peak;
  }
  return NULL;
}

// --- several threads at once ---

typedef struct job {
  pthread_barrier_t *start;
  double (*work)(const struct job *job);  // returns how much it did
  rk_peak_fn *peak;
  int64_t turns;
  const uint8_t *bytes;
  size_t size;
  double done;
} job;

static void *run_job(void *argument) {
  job *own = argument;
  (void)pthread_barrier_wait(own->start);
  own->done = own->work(own);
  return NULL;
}

// Amount a second of all threads together.
static double rate(job *jobs, int threads) {
  pthread_t ids[THREADS_MAX];
  pthread_barrier_t start;
  if (pthread_barrier_init(&start, NULL, (unsigned)threads + 1) != 0) bench_fail("no barrier");
  for (int i = 0; i < threads; i++) {
    jobs[i].start = &start;
    if (pthread_create(&ids[i], NULL, run_job, &jobs[i]) != 0) bench_fail("no thread");
  }
  (void)pthread_barrier_wait(&start);
  double begin = bench_now_s();
  double done = 0.0;
  for (int i = 0; i < threads; i++) {
    (void)pthread_join(ids[i], NULL);
    done += jobs[i].done;
  }
  double took = bench_now_s() - begin;
  (void)pthread_barrier_destroy(&start);
  return done / took;
}

// The most of several tries: nothing makes a machine faster than it is, much makes it slower.
static double best_rate(job *jobs, int threads, int tries) {
  double best = 0.0;
  for (int i = 0; i < tries; i++) {
    double now = rate(jobs, threads);
    if (now > best) best = now;
  }
  return best;
}

static double work_peak(const job *own) { return (double)own->peak(own->turns); }

static double measure_peak(rk_peak_fn *peak, int threads, int tries) {
  double begin = bench_now_s();
  double products = (double)peak(100000);
  int64_t turns = (int64_t)(0.05 / ((bench_now_s() - begin) / 100000.0)) + 1;
  if (products <= 0.0) bench_fail("no products");
  job jobs[THREADS_MAX];
  for (int i = 0; i < threads; i++) jobs[i] = (job){.work = work_peak, .peak = peak, .turns = turns};
  return 2.0 * best_rate(jobs, threads, tries);
}

typedef uint64_t lane __attribute__((vector_size(16)));

static double work_read(const job *own) {
  lane sums[4] = {{0}};
  const uint8_t *end = own->bytes + own->size;
  for (const uint8_t *at = own->bytes; at < end; at += 4 * sizeof(lane)) {
    const lane *from = (const lane *)(const void *)at;
    for (int i = 0; i < 4; i++) sums[i] ^= from[i];
  }
  lane all = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
  __asm__ volatile("" : : "x"(all));
  return (double)own->size;
}

static double measure_bandwidth(size_t cache, int threads, int tries) {
  size_t size = cache * 8;
  if (size < READ_BYTES_MIN) size = READ_BYTES_MIN;
  if (size > READ_BYTES_MAX) size = READ_BYTES_MAX;
  size_t share = size / (size_t)threads / 4096 * 4096;
  size = share * (size_t)threads;
  uint8_t *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes == MAP_FAILED) bench_fail("no memory to read");
  (void)madvise(bytes, size, MADV_HUGEPAGE);
  memset(bytes, 1, size);
  job jobs[THREADS_MAX];
  for (int i = 0; i < threads; i++) {
    jobs[i] = (job){.work = work_read, .bytes = bytes + (size_t)i * share, .size = share};
  }
  double best = best_rate(jobs, threads, tries);
  (void)munmap(bytes, size);
  return best;
}

// Additions that wait for each other take a cycle each.
static double measure_clock(int tries) {
  const int64_t turns = 20000000;
  double best = 0.0;
  for (int i = 0; i < tries; i++) {
    uint64_t sum = 1;
    double begin = bench_now_s();
    for (int64_t turn = 0; turn < turns; turn++) {
      sum += 3;
      __asm__ volatile("" : "+r"(sum));
    }
    double now = (double)turns / (bench_now_s() - begin);
    if (now > best) best = now;
  }
  return best;
}

// The last level's size as the kernel sees it. sysconf asks the processor, which under a hypervisor tells of the whole socket.
static size_t cache_bytes(void) {
  size_t size = 0;
  for (int level = 2; level <= 3; level++) {
    char path[64];
    unsigned long kib = 0;
    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", level);
    FILE *file = fopen(path, "r");
    if (!file) continue;
    if (fscanf(file, "%luK", &kib) == 1 && kib < ((size_t)1 << 24)) size = (size_t)kib << 10;
    (void)fclose(file);
  }
  return size > 0 ? size : (size_t)32 << 20;
}

bool bench_machine_measure(const char *set, int threads, bool quick, bench_machine *out) {
  rk_peak_fn *peak = find_peak(set);
  if (!peak || threads < 1 || threads > THREADS_MAX) return false;
  int tries = quick ? 3 : 9;
  out->threads = threads;
  out->cache_bytes = cache_bytes();
  out->clock_ghz = measure_clock(tries) * 1e-9;
  out->peak_tops = measure_peak(peak, threads, tries) * 1e-12;
  out->bandwidth_gbs = measure_bandwidth(out->cache_bytes, threads, tries) * 1e-9;
  return true;
}
