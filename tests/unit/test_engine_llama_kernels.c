// SPDX-License-Identifier: Apache-2.0
//
// Our kernels inside llama.cpp's CPU backend: graphs of one operation with packed weights against float64, and the ways in
// which the library may not be wanted or not fit.
#include "kernels_graph_fixture.h"

#include <dlfcn.h>
#include <math.h>

#include "kernels/kernels.h"

static const enum ggml_type formats[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                                         GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K,
                                         GGML_TYPE_F16,  GGML_TYPE_BF16, GGML_TYPE_F32};
#define FORMATS (sizeof formats / sizeof formats[0])

// ---- one weight, packed and as floats ----

typedef struct weight {
  struct ggml_context *context;
  ggml_backend_buffer_t buffer;
  struct ggml_tensor *tensor;
  float *plain;  // what the format says, in the same order
} weight;

static weight weight_new(const char *name, enum ggml_type type, int64_t columns, int64_t rows, int64_t matrices) {
  weight w = {.context =
                  ggml_init((struct ggml_init_params){.mem_size = 4 * ggml_tensor_overhead(), .no_alloc = true})};
  w.tensor = ggml_new_tensor_3d(w.context, type, columns, rows, matrices);
  ggml_set_name(w.tensor, name);
  w.buffer = ggml_backend_alloc_ctx_tensors_from_buft(w.context, ours);
  assert_non_null(w.buffer);
  size_t count = (size_t)(columns * rows * matrices);
  float *values = malloc(count * sizeof *values);
  void *stored = malloc(ggml_nbytes(w.tensor));
  w.plain = malloc(count * sizeof *w.plain);
  for (size_t i = 0; i < count; i++) values[i] = noise();
  if (type == GGML_TYPE_F32) {
    memcpy(stored, values, count * sizeof *values);
    memcpy(w.plain, values, count * sizeof *values);
  } else {
    ggml_quantize_chunk(type, values, stored, 0, rows * matrices, columns, NULL);
    ggml_get_type_traits(type)->to_float(stored, w.plain, (int64_t)count);
  }
  ggml_backend_tensor_set(w.tensor, stored, 0, ggml_nbytes(w.tensor));
  free(stored);
  free(values);
  return w;
}

static void weight_free(weight *w) {
  ggml_backend_buffer_free(w->buffer);
  ggml_free(w->context);
  free(w->plain);
}

// What the product of one row may differ by: activations are rounded to 1/127 of their largest value, which is below 1.
static void expect_products(const float *got, const float *matrix, const float *input, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++) {
    double wanted = 0.0;
    double weights = 0.0;
    for (int64_t c = 0; c < columns; c++) {
      wanted += (double)matrix[r * columns + c] * (double)input[c];
      weights += (double)matrix[r * columns + c] * (double)matrix[r * columns + c];
    }
    // Rounding errors are independent: eight standard deviations of them, and float's own.
    double bound = 8.0 * sqrt(weights / 12.0) / 127.0 + 1e-4;
    if (!(fabs((double)got[r] - wanted) <= bound)) {
      fail_msg("row %lld: %g, not %g (bound %g)", (long long)r, (double)got[r], wanted, bound);
    }
  }
}

static bool skips(enum ggml_type type, int64_t columns) { return columns % ggml_blck_size(type) != 0; }

static void check_products(enum ggml_type type, int64_t columns, int64_t rows, int64_t tokens, int64_t layers) {
  weight w = weight_new("blk.0.ffn_up.weight", type, columns, rows, 1);
  graph g = graph_new();
  struct ggml_tensor *input = ggml_new_tensor_3d(g.context, GGML_TYPE_F32, columns, tokens, layers);
  struct ggml_tensor *op = ggml_mul_mat(g.context, w.tensor, input);
  graph_allocate(&g);
  fill(input);
  graph_run(&g, op, THREADS);
  for (int64_t t = 0; t < tokens * layers; t++) {
    expect_products((const float *)op->data + t * rows, w.plain, (const float *)input->data + t * columns, rows,
                    columns);
  }
  // The sums do not depend on who computes them.
  size_t bytes = ggml_nbytes(op);
  void *first = malloc(bytes);
  memcpy(first, op->data, bytes);
  memset(op->data, 0, bytes);
  graph_run(&g, op, 1);
  assert_memory_equal(first, op->data, bytes);
  free(first);
  graph_free(&g);
  weight_free(&w);
}

static void test_products(void **unused) {
  (void)unused;
  if (!ours) skip();
  const int64_t shapes[][3] = {{256, 40, 1},    {512, 16, 5}, {768, 1, 3},  {2048, 33, 17},
                               {1024, 600, 70}, {576, 50, 9}, {64, 17, 300}};
  for (size_t f = 0; f < FORMATS; f++) {
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
      if (!skips(formats[f], shapes[s][0])) check_products(formats[f], shapes[s][0], shapes[s][1], shapes[s][2], 1);
    }
    check_products(formats[f], 256, 24, 7, 3);
  }
}

// A sum for a row alone equals the same row's among others, bit for bit.
static void test_batch_does_not_matter(void **unused) {
  (void)unused;
  if (!ours) skip();
  for (size_t f = 0; f < FORMATS; f++) {
    weight w = weight_new("blk.0.attn_q.weight", formats[f], 1024, 48, 1);
    graph g = graph_new();
    struct ggml_tensor *many = ggml_new_tensor_2d(g.context, GGML_TYPE_F32, 1024, 37);
    struct ggml_tensor *one = ggml_new_tensor_2d(g.context, GGML_TYPE_F32, 1024, 1);
    struct ggml_tensor *all = ggml_mul_mat(g.context, w.tensor, many);
    struct ggml_tensor *single = ggml_mul_mat(g.context, w.tensor, one);
    graph_allocate(&g);
    fill(many);
    memcpy(one->data, (const float *)many->data + 11 * 1024, 1024 * sizeof(float));
    graph_run(&g, all, THREADS);
    graph_run(&g, single, THREADS);
    assert_memory_equal((const float *)all->data + 11 * 48, single->data, 48 * sizeof(float));
    graph_free(&g);
    weight_free(&w);
  }
}

static void check_experts(enum ggml_type type, int64_t tokens, int64_t used, bool shared_input) {
  enum { COLUMNS = 256, ROWS = 40, EXPERTS = 6 };
  weight w = weight_new("blk.3.ffn_down_exps.weight", type, COLUMNS, ROWS, EXPERTS);
  graph g = graph_new();
  struct ggml_tensor *input = ggml_new_tensor_3d(g.context, GGML_TYPE_F32, COLUMNS, shared_input ? 1 : used, tokens);
  struct ggml_tensor *ids = ggml_new_tensor_2d(g.context, GGML_TYPE_I32, used, tokens);
  struct ggml_tensor *op = ggml_mul_mat_id(g.context, w.tensor, input, ids);
  graph_allocate(&g);
  fill(input);
  int32_t *expert = ids->data;
  // One expert is nobody's, and one is everybody's.
  for (int64_t i = 0; i < used * tokens; i++) expert[i] = i % used == 0 ? 2 : (int32_t)(3 + i % 3);
  graph_run(&g, op, THREADS);
  for (int64_t i = 0; i < used * tokens; i++) {
    int64_t row = shared_input ? i / used : i;
    expect_products((const float *)op->data + i * ROWS, w.plain + (size_t)expert[i] * ROWS * COLUMNS,
                    (const float *)input->data + row * COLUMNS, ROWS, COLUMNS);
  }
  graph_free(&g);
  weight_free(&w);
}

static void test_experts(void **unused) {
  (void)unused;
  if (!ours) skip();
  for (size_t f = 0; f < FORMATS; f++) {
    check_experts(formats[f], 1, 3, true);
    check_experts(formats[f], 9, 2, false);
    check_experts(formats[f], 150, 4, true);
  }
}

static void test_rows(void **unused) {
  (void)unused;
  if (!ours) skip();
  for (size_t f = 0; f < FORMATS; f++) {
    weight w = weight_new("token_embd.weight", formats[f], 512, 100, 1);
    graph g = graph_new();
    struct ggml_tensor *ids = ggml_new_tensor_1d(g.context, GGML_TYPE_I32, 5);
    struct ggml_tensor *op = ggml_get_rows(g.context, w.tensor, ids);
    graph_allocate(&g);
    const int32_t wanted[] = {0, 99, 17, 17, 64};
    memcpy(ids->data, wanted, sizeof wanted);
    graph_run(&g, op, THREADS);
    for (int i = 0; i < 5; i++) {
      for (int c = 0; c < 512; c++) {
        float got = ((const float *)op->data)[i * 512 + c];
        float plain = w.plain[wanted[i] * 512 + c];
        assert_true(fabsf(got - plain) <= 1e-6F * (1.0F + fabsf(plain)));
      }
    }
    graph_free(&g);
    weight_free(&w);
  }
}

// Weights that some architectures slice are left alone, and so are operations that packed weights do not bear.
static void test_refusals(void **unused) {
  (void)unused;
  if (!ours) skip();
  static const struct {
    const char *name;
    enum ggml_type type;
    bool taken;
  } rows[] = {
      {"blk.0.ffn_up.weight", GGML_TYPE_Q4_0, true},     {"output.weight", GGML_TYPE_Q6_K, true},
      {"blk.0.attn_kv_b.weight", GGML_TYPE_Q4_0, false}, {"my_ffn_up.weight", GGML_TYPE_Q4_0, false},
      {"blk.0.ffn_up.bias", GGML_TYPE_F32, false},       {"blk.0.ffn_up.weight", GGML_TYPE_Q2_K, false},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    graph g = graph_new();
    struct ggml_tensor *w = ggml_new_tensor_2d(g.context, rows[i].type, 512, 32);
    ggml_set_name(w, rows[i].name);
    struct ggml_tensor *op = ggml_mul_mat(g.context, w, ggml_new_tensor_2d(g.context, GGML_TYPE_F32, 512, 4));
    w->buffer = ggml_backend_buft_alloc_buffer(ours, 0);
    assert_int_equal(ggml_backend_supports_op(backend, op), rows[i].taken);
    struct ggml_tensor *scaled = ggml_scale(g.context, w, 2.0F);
    assert_false(ggml_backend_supports_op(backend, scaled));
    ggml_backend_buffer_free(w->buffer);
    ggml_free(g.context);
  }
}

// A backend without the hook: any library that is not it.
static void test_no_hook(void **unused) {
  (void)unused;
  if (!ours) skip();
  void *library = dlopen(RH_KERNELS_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
  if (!library) library = dlopen("./" RH_KERNELS_LIBRARY, RTLD_NOW);
  if (!library) skip();
  rh_kernels_install_fn *install;
  void *address = dlsym(library, RH_KERNELS_INSTALL);
  assert_non_null(address);
  memcpy(&install, &address, sizeof install);
  char words[128];
  address = dlsym(RTLD_DEFAULT, "malloc");
  assert_false(install(address, NULL, words, sizeof words));
  assert_non_null(strstr(words, "stock ("));
  assert_non_null(strstr(words, "hook"));
  assert_false(install(address, "avx1024", words, sizeof words));
  assert_non_null(strstr(words, "avx1024"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_products), cmocka_unit_test(test_batch_does_not_matter),
      cmocka_unit_test(test_experts),  cmocka_unit_test(test_rows),
      cmocka_unit_test(test_refusals), cmocka_unit_test(test_no_hook),
  };
  return cmocka_run_group_tests(tests, open_backend, close_backend);
}
