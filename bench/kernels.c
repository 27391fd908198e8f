// SPDX-License-Identifier: Apache-2.0
//
// kernels [--format A,B] [--shape ROWSxCOLUMNS,...] [--tokens N,...] [--threads N] [--set NAME] [--quick] [--json]
// kernels --side ours|upstream --runs N [--format ...] ...: only computes, for profilers and counters of instructions
//
// The matrix kernels against the machine and against llama.cpp's own. First the machine: its clock, its peak of int8 dot
// products (in registers, with the set's own instructions) and its bandwidth of reads. Then, for each format, shape and number
// of tokens, one MUL_MAT: the time, operations a second (two for each product of a weight and an activation), their share of
// the peak, bytes of weights a second, their share of the bandwidth, and how many times faster than upstream.
//
// Both sides run through ggml's CPU backend, on the same threads and in turns; upstream has the buffer type that llama.cpp
// would choose (CPU_REPACK where it applies). A graph holds as many copies of the matrix as the last-level cache does not,
// because a model's weights come from memory. Medians of at least five; the ratio is the median of the ratios of neighbours.
// What the two compute is compared: a measurement of something else is none.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels_bench.h"

#define LIST_MAX 32
#define RUNS_MIN 5
#define RUNS_MAX 51
#define COPIES_MAX 256
#define MEMORY_MAX ((size_t)1 << 30)  // of all copies, one side
#define DISTINCT_ROWS 16              // quantizing takes long: the matrix repeats these
#define DIFFERENCE_MAX 0.03           // both sides quantize activations to 8 bits, in other steps

typedef struct matrix_shape {
  int64_t rows;
  int64_t columns;
} matrix_shape;

typedef struct run_options {
  enum ggml_type formats[LIST_MAX];
  size_t format_count;
  matrix_shape shapes[LIST_MAX];
  size_t shape_count;
  int tokens[LIST_MAX];
  size_t token_count;
  int threads;
  const char *set;
  const char *side;  // only this one, and nothing is measured
  int runs;
  bool quick;
  bool json;
} run_options;

typedef struct result {
  enum ggml_type format;
  matrix_shape shape;
  int tokens;
  const char *upstream;  // its buffer type
  double upstream_s;
  double ours_s;  // 0: no kernel of ours takes it
  double ratio;
  double difference;
} result;

// What files contain, and what is said without --format; a 3 B model's matrices, then SmolLM2-135M's.
static const enum ggml_type usual_formats[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K,
                                               GGML_TYPE_Q5_K, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                                               GGML_TYPE_F16,  GGML_TYPE_BF16, GGML_TYPE_F32};
static const matrix_shape usual_shapes[] = {{3072, 3072}, {8192, 3072}, {3072, 8192}, {32000, 3072},
                                            {576, 576},   {1536, 576},  {576, 1536},  {49152, 576}};
static const int usual_tokens[] = {1, 4, 16, 128, 512};
static const matrix_shape quick_shapes[] = {{3072, 3072}, {1536, 576}};
static const int quick_tokens[] = {1, 16, 128};

// --- options ---

static enum ggml_type format_of(const char *name) {
  for (int i = 0; i < GGML_TYPE_COUNT; i++) {
    const char *known = ggml_type_name((enum ggml_type)i);
    if (known && known[0] && strcasecmp(known, name) == 0) return (enum ggml_type)i;
  }
  bench_fail("unknown --format; it can be q4_0, q8_0, q4_k, f16 and so on");
}

static int64_t number_of(const char *text, char **end) {
  errno = 0;
  long long value = strtoll(text, end, 10);
  if (errno != 0 || *end == text || value < 1 || value > 1 << 24) bench_fail("a number is not one, or out of range");
  return value;
}

static int whole_number(const char *text) {
  char *end;
  int64_t value = number_of(text, &end);
  if (*end) bench_fail("a number is not one");
  return (int)value;
}

static matrix_shape shape_of(const char *text) {
  char *end;
  matrix_shape wanted;
  wanted.rows = number_of(text, &end);
  if (*end != 'x') bench_fail("--shape is ROWSxCOLUMNS");
  wanted.columns = whole_number(end + 1);
  return wanted;
}

static void take_list(run_options *out, const char *name, char *list) {
  for (char *rest = NULL, *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
    if (out->format_count == LIST_MAX || out->shape_count == LIST_MAX || out->token_count == LIST_MAX) {
      bench_fail("a list is too long");
    }
    if (strcmp(name, "--format") == 0) out->formats[out->format_count++] = format_of(word);
    if (strcmp(name, "--shape") == 0) out->shapes[out->shape_count++] = shape_of(word);
    if (strcmp(name, "--tokens") == 0) out->tokens[out->token_count++] = whole_number(word);
  }
}

static void parse(int argc, char **argv, run_options *out) {
  *out = (run_options){.threads = (int)sysconf(_SC_NPROCESSORS_ONLN)};
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    if (strcmp(name, "--quick") == 0) {
      out->quick = true;
    } else if (strcmp(name, "--json") == 0) {
      out->json = true;
    } else if (i + 1 == argc) {
      bench_fail(
          "usage: kernels [--format A,B] [--shape ROWSxCOLUMNS,...] [--tokens N,...] [--threads N] [--set NAME] "
          "[--quick] [--json] [--side ours|upstream --runs N]");
    } else if (strcmp(name, "--threads") == 0) {
      out->threads = whole_number(argv[++i]);
    } else if (strcmp(name, "--set") == 0) {
      out->set = argv[++i];
    } else if (strcmp(name, "--side") == 0) {
      out->side = argv[++i];
    } else if (strcmp(name, "--runs") == 0) {
      out->runs = whole_number(argv[++i]);
    } else if (strcmp(name, "--format") == 0 || strcmp(name, "--shape") == 0 || strcmp(name, "--tokens") == 0) {
      take_list(out, name, argv[++i]);
    } else {
      bench_fail("unknown option");
    }
  }
}

#define USUAL(list, count, usual)           \
  do {                                      \
    if (count > 0) break;                   \
    memcpy(list, usual, sizeof usual);      \
    count = sizeof usual / sizeof usual[0]; \
  } while (0)

static void complete(run_options *out) {
  USUAL(out->formats, out->format_count, usual_formats);
  if (out->quick) {
    USUAL(out->shapes, out->shape_count, quick_shapes);
    USUAL(out->tokens, out->token_count, quick_tokens);
  }
  USUAL(out->shapes, out->shape_count, usual_shapes);
  USUAL(out->tokens, out->token_count, usual_tokens);
}

// --- one format and shape ---

static uint8_t *make_matrix(enum ggml_type format, matrix_shape shape) {
  size_t row = ggml_row_size(format, shape.columns);
  float *values = malloc((size_t)shape.columns * DISTINCT_ROWS * sizeof *values);
  uint8_t *data = malloc(row * (size_t)(shape.rows + DISTINCT_ROWS));
  if (!values || !data) bench_fail("no memory");
  uint32_t state = 2463534242u;
  for (int64_t i = 0; i < shape.columns * DISTINCT_ROWS; i++) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    values[i] = (float)(state >> 8) * 0x1p-23F - 1.0F;
  }
  (void)ggml_quantize_chunk(format, values, data, 0, DISTINCT_ROWS, shape.columns, NULL);
  for (int64_t i = DISTINCT_ROWS; i < shape.rows; i++) {
    memcpy(data + (size_t)i * row, data + (size_t)(i % DISTINCT_ROWS) * row, row);
  }
  free(values);
  return data;
}

static int copies_for(size_t bytes, size_t cache) {
  size_t copies = 2 * cache / bytes + 1;
  if (copies > MEMORY_MAX / bytes) copies = MEMORY_MAX / bytes;
  if (copies > COPIES_MAX) copies = COPIES_MAX;
  return copies > 0 ? (int)copies : 1;
}

// Many tokens take long and read the weights once: fewer copies will do.
static int products_for(const run_options *options, matrix_shape shape, int tokens, int copies) {
  double wanted = (options->quick ? 2e9 : 1e10) / ((double)shape.rows * (double)shape.columns * (double)tokens);
  if (tokens <= 16 || wanted > copies) return copies;
  return wanted < 1.0 ? 1 : (int)wanted;
}

static void measure(const run_options *options, const bench_matrices *ours, const bench_matrices *theirs, result *out) {
  double one[RUNS_MAX];
  double two[RUNS_MAX];
  double ratios[RUNS_MAX];
  int count = products_for(options, out->shape, out->tokens, theirs->copies);
  bench_graph their_graph;
  bench_graph our_graph;
  bench_graph_open(theirs, count, out->tokens, &their_graph);
  if (ours) bench_graph_open(ours, count, out->tokens, &our_graph);
  (void)bench_graph_run(&their_graph);
  if (ours) {
    (void)bench_graph_run(&our_graph);
    out->difference = bench_graph_difference(&our_graph, &their_graph);
  }
  double end = bench_now_s() + (options->quick ? 0.1 : 0.6);
  size_t runs = 0;
  size_t least = options->quick ? 3 : RUNS_MIN;
  for (; runs < RUNS_MAX && (runs < least || bench_now_s() < end); runs++) {
    two[runs] = bench_graph_run(&their_graph);
    if (!ours) continue;
    one[runs] = bench_graph_run(&our_graph);
    ratios[runs] = two[runs] / one[runs];
  }
  out->upstream_s = bench_median(two, runs);
  bench_graph_close(&their_graph);
  if (!ours) return;
  out->ours_s = bench_median(one, runs);
  out->ratio = bench_median(ratios, runs);
  bench_graph_close(&our_graph);
}

// --- words ---

static void print_machine(const run_options *options, const bench_machine *machine, const char *words) {
  if (options->json) {
    printf(
        "{\"kernels\": \"%s\", \"threads\": %d, \"clock_ghz\": %.3f, \"peak_tops\": %.4f, \"bandwidth_gbs\": %.2f, "
        "\"cache_bytes\": %zu, \"rows\": [",
        words, machine->threads, machine->clock_ghz, machine->peak_tops, machine->bandwidth_gbs, machine->cache_bytes);
    return;
  }
  printf("kernels: %s\n", words);
  printf("machine: %d threads, %.2f GHz, int8 peak %.3f TOPS, reads %.1f GB/s, last-level cache %zu MiB\n\n",
         machine->threads, machine->clock_ghz, machine->peak_tops, machine->bandwidth_gbs, machine->cache_bytes >> 20);
  printf("%-5s %12s %6s %11s %8s %6s %8s %6s %12s %7s  %s\n", "", "rows x cols", "tokens", "ours us", "TOPS", "peak",
         "GB/s", "reads", "upstream us", "ratio", "upstream's way");
}

static void print_result(const run_options *options, const bench_machine *machine, const result *row, bool first) {
  double operations = 2.0 * (double)row->shape.rows * (double)row->shape.columns * row->tokens;
  double bytes = (double)ggml_row_size(row->format, row->shape.columns) * (double)row->shape.rows;
  const char *format = ggml_type_name(row->format);
  double tops = row->ours_s > 0.0 ? operations / row->ours_s * 1e-12 : 0.0;
  double gbs = row->ours_s > 0.0 ? bytes / row->ours_s * 1e-9 : 0.0;
  if (options->json) {
    printf(
        "%s\n{\"format\": \"%s\", \"rows\": %lld, \"columns\": %lld, \"tokens\": %d, \"us\": %.2f, \"tops\": %.4f, "
        "\"peak_share\": %.4f, \"gbs\": %.3f, \"bandwidth_share\": %.4f, \"upstream_us\": %.2f, \"ratio\": %.4f, "
        "\"difference\": %.6f, \"upstream\": \"%s\"}",
        first ? "" : ",", format, (long long)row->shape.rows, (long long)row->shape.columns, row->tokens,
        row->ours_s * 1e6, tops, tops / machine->peak_tops, gbs, gbs / machine->bandwidth_gbs, row->upstream_s * 1e6,
        row->ratio, row->difference, row->upstream);
  } else {
    char size[32];
    (void)snprintf(size, sizeof size, "%lldx%lld", (long long)row->shape.rows, (long long)row->shape.columns);
    printf("%-5s %12s %6d %11.1f %8.3f %5.1f%% %8.2f %5.1f%% %12.1f %7.2f  %s\n", format, size, row->tokens,
           row->ours_s * 1e6, tops, 100.0 * tops / machine->peak_tops, gbs, 100.0 * gbs / machine->bandwidth_gbs,
           row->upstream_s * 1e6, row->ratio, row->upstream);
  }
  (void)fflush(stdout);
}

static bool measure_shape(const run_options *options, const bench_machine *machine, enum ggml_type format,
                          matrix_shape shape, bool first) {
  bench_side sides[] = {bench_ours(format, shape.rows, shape.columns),
                        bench_upstream(format, shape.rows, shape.columns)};
  bench_matrices matrices[2];
  int copies = copies_for(ggml_row_size(format, shape.columns) * (size_t)shape.rows, machine->cache_bytes);
  uint8_t *data = make_matrix(format, shape);
  for (int i = 0; i < 2; i++) {
    if (sides[i].type) bench_matrices_open(sides[i], format, shape.rows, shape.columns, copies, data, &matrices[i]);
  }
  free(data);
  bool right = true;
  for (size_t i = 0; i < options->token_count; i++) {
    result row = {.format = format, .shape = shape, .tokens = options->tokens[i], .upstream = sides[1].name};
    measure(options, sides[0].type ? &matrices[0] : NULL, &matrices[1], &row);
    print_result(options, machine, &row, first && i == 0);
    if (row.difference <= DIFFERENCE_MAX) continue;
    fprintf(stderr, "kernels: %s %lldx%lld, %d tokens: ours differs by %.4f\n", ggml_type_name(format),
            (long long)shape.rows, (long long)shape.columns, row.tokens, row.difference);
    right = false;
  }
  for (int i = 0; i < 2; i++) {
    if (sides[i].type) bench_matrices_close(&matrices[i]);
  }
  return right;
}

static void only_compute(const run_options *options, enum ggml_type format, matrix_shape shape) {
  bool ours = strcmp(options->side, "ours") == 0;
  if (!ours && strcmp(options->side, "upstream") != 0) bench_fail("--side is ours or upstream");
  if (options->runs == 0) bench_fail("--side wants --runs too");
  bench_side side =
      ours ? bench_ours(format, shape.rows, shape.columns) : bench_upstream(format, shape.rows, shape.columns);
  if (!side.type) bench_fail("no kernel of ours takes this format");
  bench_matrices matrix;
  bench_graph graph;
  uint8_t *data = make_matrix(format, shape);
  bench_matrices_open(side, format, shape.rows, shape.columns, 1, data, &matrix);
  free(data);
  for (size_t i = 0; i < options->token_count; i++) {
    bench_graph_open(&matrix, 1, options->tokens[i], &graph);
    for (int run = 0; run < options->runs; run++) (void)bench_graph_run(&graph);
    bench_graph_close(&graph);
  }
  bench_matrices_close(&matrix);
}

int main(int argc, char **argv) {
  run_options options;
  bench_machine machine;
  char words[256];
  char set[32];
  bool right = true;
  parse(argc, argv, &options);
  complete(&options);
  bench_ggml_open(options.set, options.threads, words, sizeof words);
  if (options.side) {
    for (size_t f = 0; f < options.format_count; f++) {
      for (size_t s = 0; s < options.shape_count; s++) only_compute(&options, options.formats[f], options.shapes[s]);
    }
    bench_ggml_close();
    return 0;
  }
  // "avx2 (why)"; the machine's best is what stock kernels are measured against.
  (void)snprintf(set, sizeof set, "%.*s", (int)strcspn(words, " "), words);
  if (!bench_machine_measure(strcmp(set, "stock") == 0 ? NULL : set, options.threads, options.quick, &machine)) {
    bench_fail("no such set on this processor, or too many threads");
  }
  print_machine(&options, &machine, words);
  bool first = true;
  for (size_t f = 0; f < options.format_count; f++) {
    for (size_t s = 0; s < options.shape_count; s++) {
      if (options.shapes[s].columns % ggml_blck_size(options.formats[f]) != 0) continue;
      right &= measure_shape(&options, &machine, options.formats[f], options.shapes[s], first);
      first = false;
    }
  }
  if (options.json) printf("\n]}\n");
  bench_ggml_close();
  return right ? 0 : 1;
}
