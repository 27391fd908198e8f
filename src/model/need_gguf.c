// SPDX-License-Identifier: Apache-2.0
//
// What a GGUF model takes in a worker, from its header: keys and values exactly as llama.cpp allocates them, compute
// buffers and the process by the formulas whose source and measurements stand in need.c.
// Owns nothing; pure but for reading headers. Any thread; blocking. It deliberately knows no engine: the defaults of the
// llama engine's options are repeated here (src/engine/llama/internal.h), because the two sides share no code.
#include "model/need_gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define CONTEXT_DEFAULT 4096
#define SLOTS_DEFAULT 4
#define BATCH_DEFAULT 512
#define UBATCH 512
#define CELL_STEP 256
#define PARTS_MAX 512

#define MIB ((int64_t)1 << 20)
// Sums of anything stop here, so that a lying header cannot overflow.
#define ENOUGH (INT64_C(1) << 60)

static int64_t times(int64_t a, int64_t b) {
  int64_t product = 0;
  if (a <= 0 || b <= 0) return 0;
  return __builtin_mul_overflow(a, b, &product) || product > ENOUGH ? ENOUGH : product;
}

static int64_t plus(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) || sum > ENOUGH ? ENOUGH : sum;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t round_up(int64_t value, int64_t step) { return plus(value, step - 1) / step * step; }

// The options as the engine will choose them.
typedef struct sizes {
  int64_t cells;  // of one slot's cache
  int64_t slots;
  int64_t tokens;  // of one compute step
} sizes;

static sizes choose_sizes(const rh_gguf_summary *summary, const rh_load_options *options) {
  int64_t trained = summary->context_trained > 0 ? summary->context_trained : CONTEXT_DEFAULT;
  int64_t context = options->context > 0 ? options->context : least(trained, CONTEXT_DEFAULT);
  int64_t slots = options->slots > 0 ? options->slots : SLOTS_DEFAULT;
  int64_t batch = most(options->batch > 0 ? options->batch : BATCH_DEFAULT, slots);
  int64_t cells = round_up(context, CELL_STEP);
  return (sizes){.cells = cells, .slots = slots, .tokens = least(least(batch, UBATCH), times(cells, slots))};
}

// --- keys and values -------------------------------------------------------------------------------------------------

// Architectures whose layers with a sliding window are not all named in the header: how llama.cpp fills that in
// (load_arch_hparams in src/models of llama.cpp). In every other architecture without a list, a window is not used to
// make the cache smaller, and counting it as if it were not there is right or too much, never too little.
static const struct {
  const char *architecture;
  int64_t period, window;  // every period-th layer sees everything; 0 = only with a window in the header
  int64_t own_layers;      // layers beyond these keep no keys of their own; 0 = all do
} windowed[] = {
    {"gemma2", 2, 4096, 0}, {"gemma3", 6, 0, 0},    {"gemma3n", 5, 0, 20}, {"gemma4", 0, 0, 0},  {"cohere2", 4, 0, 0},
    {"gpt-oss", 2, 0, 0},   {"llama4", 4, 8192, 0}, {"olmo2", 4, 0, 0},    {"exaone4", 4, 0, 0},
};

// Models that keep no keys at all: encoders.
static const char *const encoders[] = {"bert",        "nomic-bert", "nomic-bert-moe", "jina-bert-v2",   "jina-bert-v3",
                                       "modern-bert", "neo-bert",   "eurobert",       "gemma-embedding"};

typedef struct layout {
  int64_t window, period, own_layers;
  bool listed;  // the header says it layer by layer
} layout;

static layout find_layout(const rh_gguf_summary *summary, const rh_gguf_shape *shape) {
  layout found = {.own_layers = shape->layers - shape->shared_kv_layers};
  for (size_t i = 0; i < sizeof windowed / sizeof *windowed; i++) {
    if (strcmp(summary->architecture, windowed[i].architecture) != 0) continue;
    found.window = shape->window > 0 ? shape->window : windowed[i].window;
    found.period = shape->window_period > 0 ? shape->window_period : windowed[i].period;
    found.listed = shape->windows_listed > 0;
    if (windowed[i].own_layers > 0) found.own_layers = least(found.own_layers, windowed[i].own_layers);
  }
  return found;
}

static bool has_window(const layout *where, const rh_gguf_shape *shape, size_t layer) {
  if (where->window == 0) return false;
  if (where->listed) return layer < shape->windows_listed && shape->window_of[layer];
  return where->period > 1 && (int64_t)layer % where->period < where->period - 1;
}

static int64_t kv_heads_of(const rh_gguf_shape *shape, size_t layer) {
  if (shape->kv_heads_listed > 0) return layer < shape->kv_heads_listed ? shape->kv_heads_of[layer] : 0;
  return shape->kv_heads > 0 ? shape->kv_heads : shape->heads;
}

static bool is_recurrent(const rh_gguf_shape *shape) {
  return shape->ssm_inner > 0 || shape->wkv_head > 0 || shape->shortconv > 0;
}

// The keys' and values' width of one head in a layer, both together.
static int64_t head_width(const rh_gguf_shape *shape, bool window) {
  int64_t normal = shape->heads > 0 ? shape->width / shape->heads : 0;
  int64_t key = shape->key_length > 0 ? shape->key_length : normal;
  int64_t value = shape->value_length > 0 ? shape->value_length : normal;
  if (window && shape->key_length_window > 0) key = shape->key_length_window;
  if (window && shape->value_length_window > 0) value = shape->value_length_window;
  return plus(key, value);
}

// Convolution and state rows of one layer and slot, f32 (n_embd_r and n_embd_s in llama-hparams.cpp).
static int64_t recurrent_bytes(const rh_gguf_shape *shape) {
  int64_t rows = 0;
  if (shape->wkv_head > 0) {
    rows = plus(times(2, shape->width), times(shape->width, shape->wkv_head));
  } else if (shape->shortconv > 0) {
    rows = times(shape->width, shape->shortconv - 1);
  } else {
    int64_t columns = plus(shape->ssm_inner, times(times(2, shape->ssm_groups), shape->ssm_state));
    rows = plus(times(shape->ssm_conv - 1, columns), times(shape->ssm_state, shape->ssm_inner));
  }
  return times(rows, 4);
}

static int64_t kv_bytes(const rh_gguf_summary *summary, const rh_gguf_shape *shape, const sizes *size) {
  for (size_t i = 0; i < sizeof encoders / sizeof *encoders; i++) {
    if (strcmp(summary->architecture, encoders[i]) == 0) return 0;
  }
  layout where = find_layout(summary, shape);
  int64_t window_cells = round_up(least(size->cells, plus(where.window, UBATCH)), CELL_STEP);
  int64_t sum = 0;
  bool recurrent = is_recurrent(shape);
  int64_t layers = least(shape->layers, RH_GGUF_LAYERS_MAX);
  for (size_t layer = 0; (int64_t)layer < layers; layer++) {
    bool window = has_window(&where, shape, layer);
    bool between = shape->attention_interval > 0 && ((int64_t)layer + 1) % shape->attention_interval != 0;
    bool own = (int64_t)layer < where.own_layers;
    int64_t heads = own && !between ? kv_heads_of(shape, layer) : 0;
    // A pure state-space model has no heads at all; then kv_heads_of is 0 for every layer.
    int64_t row = times(times(heads, head_width(shape, window)), 2);  // f16
    sum = plus(sum, times(row, window ? window_cells : size->cells));
    if (recurrent) sum = plus(sum, recurrent_bytes(shape));
  }
  return times(sum, size->slots);
}

// --- compute buffers and the process ---------------------------------------------------------------------------------

static int64_t compute_bytes(const rh_gguf_summary *summary, const rh_gguf_shape *shape, const sizes *size) {
  int64_t experts = times(shape->experts_used, shape->expert_feed_forward);
  int64_t inner = most(most(shape->feed_forward, experts), times(2, shape->ssm_inner));
  int64_t query = times(shape->heads, shape->key_length > 0 ? shape->key_length : 0);
  int64_t keys = times(shape->kv_heads, head_width(shape, false));
  int64_t feed = plus(times(3, inner), times(4 + shape->experts_used, shape->width));
  int64_t attention = plus(plus(times(3, query), keys), times(2, shape->width));
  int64_t steps = times(times(size->tokens, 4), most(feed, attention));
  int64_t logits = times(times(size->slots, shape->vocabulary), 4);
  int64_t sum = most(steps, logits);
  sum = plus(sum, sum / 16);
  layout where = find_layout(summary, shape);
  // The mask of what sees what, f16; a second one for the windows.
  int64_t seen = plus(size->cells, where.window > 0 ? least(size->cells, plus(where.window, UBATCH)) : 0);
  sum = plus(sum, times(times(size->tokens, seen), 2));
  // The product's other side, quantized to 8 bits and a scale for the kernels.
  sum = plus(sum, times(times(size->tokens, most(inner, most(query, shape->width))), 5) / 4);
  return plus(sum, logits);
}

static int64_t process_bytes(const rh_gguf_shape *shape, const sizes *size) {
  int64_t sum = 20 * MIB;  // program, libraries, threads
  sum = plus(sum, times(shape->vocabulary, 180));
  sum = plus(sum, times(shape->merges, 150));
  // A sampler's candidates, and what a slot and a cache remember of each token.
  int64_t slot = plus(times(shape->vocabulary, 12), times(size->cells, 192));
  return plus(sum, times(size->slots, slot));
}

// --- weights ---------------------------------------------------------------------------------------------------------

// Our kernels keep packed weights instead of the file's pages and not beside them. The worker chooses them (src/kernels/choose.c)
// and this is the same rule; where it errs, a load reserves more than it takes.
static uint64_t types_without_copies(void) {
#if defined __x86_64__
  enum { Q4_0 = 2, Q4_K = 12 };
  const char *wish = getenv("ROUNDHOUSE_KERNELS");
  bool stock = wish && strcmp(wish, "stock") == 0;
  bool can = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (can && !stock) return UINT64_C(1) << Q4_0 | UINT64_C(1) << Q4_K;
#endif
  return 0;
}

uint64_t rh_need_rearranged_types(void) {
  // ggml_repack_get_optimal_repack_type in ggml-cpu/repack.cpp: Q4_0, Q4_K, IQ4_NL, MXFP4; Q2_K; and on Arm more.
  enum { Q4_0 = 2, Q8_0 = 8, Q2_K = 10, Q4_K = 12, Q5_K = 13, Q6_K = 14, IQ4_NL = 20, MXFP4 = 39 };
  uint64_t types = 0;
  uint64_t common = UINT64_C(1) << Q4_0 | UINT64_C(1) << Q4_K | UINT64_C(1) << IQ4_NL | UINT64_C(1) << MXFP4;
#if defined __x86_64__
  if (__builtin_cpu_supports("avx2")) types |= common;
  if (__builtin_cpu_supports("avx512f")) types |= UINT64_C(1) << Q2_K;
#elif defined __aarch64__
  // Every Arm server has dot products; where one does not, this is too much and not too little.
  types = common | UINT64_C(1) << Q8_0 | UINT64_C(1) << Q5_K | UINT64_C(1) << Q6_K;
#else
  (void)common;
#endif
  return types & ~types_without_copies();
}

// llama.cpp maps the file and copies such weights besides; both are resident.
static int64_t rearranged_bytes(const rh_gguf_shape *shape, uint64_t types) {
  int64_t sum = 0;
  for (unsigned type = 0; type < RH_GGUF_TYPES_MAX; type++) {
    if ((types >> type & 1) == 0) continue;
    sum = plus(sum, shape->matrix_bytes_of[type]);
    // Without an output matrix of its own the embedding is one, too.
    if (!shape->has_output) sum = plus(sum, shape->embedding_bytes_of[type]);
  }
  return sum;
}

// --- RAM and GPUs ----------------------------------------------------------------------------------------------------

// What a process pays once for using a GPU at all: CUDA's context and libraries. From CUDA's documentation and common
// experience, not measured here.
#define GPU_CONTEXT_BYTES (512 * MIB)
#define GPU_HOST_BYTES (384 * MIB)

static int64_t share(int64_t bytes, int64_t part, int64_t whole) {
  if (whole <= 0 || part <= 0) return 0;
  return part >= whole ? bytes : (int64_t)((double)bytes * (double)part / (double)whole);
}

// Bytes on GPUs with so many layers there. The output counts as one more layer, as llama.cpp counts.
static int64_t gpu_bytes(const rh_need *need, const rh_gguf_shape *shape, int64_t layers) {
  if (layers <= 0) return 0;
  int64_t sum = plus(share(shape->layer_bytes, layers, shape->layers), share(need->kv_bytes, layers, shape->layers));
  if (layers > shape->layers) sum = plus(sum, shape->has_output ? shape->other_bytes : shape->embedding_bytes);
  return plus(plus(sum, need->compute_bytes), GPU_CONTEXT_BYTES);
}

static int64_t choose_layers(const rh_need *need, const rh_gguf_shape *shape, int64_t wanted, int64_t free_bytes) {
  int64_t all = least(shape->layers, RH_GGUF_LAYERS_MAX) + 1;
  if (free_bytes <= 0) return 0;
  if (wanted >= 0) return least(wanted, all);
  int64_t layers = all;
  while (layers > 0 && gpu_bytes(need, shape, layers) > free_bytes) layers--;
  return layers;
}

void rh_need_of_shape(const rh_gguf_summary *summary, const rh_gguf_shape *shape, const rh_load_options *options,
                      int64_t gpu_free_bytes, uint64_t rearranged_types, rh_need *out) {
  sizes size = choose_sizes(summary, options);
  *out = (rh_need){0};
  int64_t stored = plus(plus(shape->layer_bytes, shape->embedding_bytes), shape->other_bytes);
  out->kv_bytes = kv_bytes(summary, shape, &size);
  out->compute_bytes = compute_bytes(summary, shape, &size);
  out->process_bytes = process_bytes(shape, &size);
  int64_t layers = choose_layers(out, shape, options->gpu_layers, gpu_free_bytes);
  out->gpu_layers = layers;
  out->gpu_bytes = gpu_bytes(out, shape, layers);
  int64_t there =
      plus(share(shape->layer_bytes, layers, shape->layers), layers > shape->layers ? shape->other_bytes : 0);
  int64_t copied = rearranged_bytes(shape, rearranged_types);
  copied = plus(copied, -share(copied, layers, shape->layers));
  out->weights_bytes = plus(stored, copied);
  out->ram_bytes = plus(stored - there, copied);
  out->ram_bytes = plus(out->ram_bytes, out->kv_bytes - share(out->kv_bytes, layers, shape->layers));
  out->ram_bytes = plus(out->ram_bytes, plus(out->process_bytes, layers > 0 ? GPU_HOST_BYTES : 0));
  // With GPUs, the steps that stay in RAM (rows of the embedding, the logits) take little of it.
  out->ram_bytes = plus(out->ram_bytes, layers > 0 ? out->compute_bytes / 4 : out->compute_bytes);
}

// --- files -----------------------------------------------------------------------------------------------------------

// The bytes of another part; its numbers are those of the first.
static rh_status add_part(const char *path, rh_gguf_shape *sum, rh_error *error) {
  rh_gguf_summary summary;
  rh_gguf_shape *part = malloc(sizeof *part);
  if (part == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to read the header of %s", path);
  rh_status status = rh_gguf_read(path, &summary, part, error);
  if (status == RH_OK) {
    sum->layer_bytes = plus(sum->layer_bytes, part->layer_bytes);
    sum->embedding_bytes = plus(sum->embedding_bytes, part->embedding_bytes);
    sum->other_bytes = plus(sum->other_bytes, part->other_bytes);
    sum->has_output = sum->has_output || part->has_output;
    for (size_t i = 0; i < RH_GGUF_TYPES_MAX; i++) {
      sum->matrix_bytes_of[i] = plus(sum->matrix_bytes_of[i], part->matrix_bytes_of[i]);
      sum->embedding_bytes_of[i] = plus(sum->embedding_bytes_of[i], part->embedding_bytes_of[i]);
    }
  }
  free(part);
  return status;
}

// "x-00001-of-00003.gguf": the others have the same name with another number.
static rh_status add_parts(const char *path, rh_gguf_shape *shape, rh_error *error) {
  char marker[32], other[4096];
  if (shape->parts < 2) return RH_OK;
  if (shape->parts > PARTS_MAX) {
    return rh_fail(error, RH_INVALID, "%s says it is in %" PRId64 " files; at most %d are read", path, shape->parts,
                   PARTS_MAX);
  }
  snprintf(marker, sizeof marker, "-00001-of-%05" PRId64 ".gguf", shape->parts);
  if (!rh_text_ends_with(path, marker) || strlen(path) >= sizeof other) {
    return rh_fail(error, RH_INVALID, "%s is the first of %" PRId64 " files, so its name must end with %s", path,
                   shape->parts, marker);
  }
  rh_status status = RH_OK;
  int stem = (int)(strlen(path) - strlen(marker));
  for (int64_t i = 2; status == RH_OK && i <= shape->parts; i++) {
    snprintf(other, sizeof other, "%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf", stem, path, i, shape->parts);
    status = add_part(other, shape, error);
  }
  return status;
}

rh_status rh_need_gguf(const char *path, const rh_load_options *options, int64_t gpu_free_bytes, rh_need *out,
                       rh_error *error) {
  rh_gguf_summary summary;
  rh_gguf_shape *shape = malloc(sizeof *shape);
  if (shape == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to read the header of %s", path);
  rh_status status = rh_gguf_read(path, &summary, shape, error);
  if (status == RH_OK) status = add_parts(path, shape, error);
  if (status == RH_OK) rh_need_of_shape(&summary, shape, options, gpu_free_bytes, rh_need_rearranged_types(), out);
  free(shape);
  return status;
}
