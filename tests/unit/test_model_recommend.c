// SPDX-License-Identifier: Apache-2.0
//
// What fits a machine, on machines that are made up: the best model, why not the bigger one, and the advice of a refusal.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "model/known.h"

#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

static rh_hardware machine(int64_t ram, int64_t gpu, size_t gpus) {
  rh_hardware hardware = {.memory_bytes = ram, .memory_free_bytes = ram, .gpu_count = gpus};
  for (size_t i = 0; i < gpus; i++) {
    hardware.gpu[i] = (rh_gpu){.name = "GPU", .vendor = "nvidia", .memory_bytes = gpu, .memory_free_bytes = gpu};
  }
  return hardware;
}

// Whatever the machine: what is recommended fits, what is better does not, and the reasons hold numbers.
static rh_recommendation checked(const rh_hardware *hardware, const char *task) {
  rh_recommendation found;
  rh_known_recommend(hardware, task, &found);
  assert_non_null(strstr(found.why, "iB"));
  for (size_t i = 0; i < rh_known_count(); i++) {
    const rh_known *known = rh_known_at(i);
    bool better = strcmp(known->task, task != NULL ? task : "chat") == 0 && rh_format_engine(known->format) != NULL &&
                  known->rank > (found.best != NULL ? found.best->rank : 0);
    if (better) assert_int_equal(rh_known_fits(known, hardware, NULL), RH_HARDWARE);
  }
  if (found.best != NULL) assert_int_equal(rh_known_fits(found.best, hardware, NULL), RH_OK);
  if (found.bigger != NULL) {
    char name[256];
    snprintf(name, sizeof name, "%s:%s", found.bigger->name, found.bigger->version);
    assert_non_null(strstr(found.why_not_bigger, name));
    assert_non_null(strstr(found.why_not_bigger, "iB"));
  } else {
    assert_string_equal(found.why_not_bigger, "");
  }
  return found;
}

static void test_machines_without_gpu(void **state) {
  (void)state;
  static const int64_t sizes[] = {GIB / 2, 2 * GIB, 8 * GIB, 24 * GIB};
  int32_t last = -1;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    rh_hardware hardware = machine(sizes[i], 0, 0);
    rh_recommendation found = checked(&hardware, NULL);
    int32_t rank = found.best != NULL ? found.best->rank : 0;
    assert_true(rank > last);
    last = rank;
    if (found.best != NULL) assert_true(found.best->memory_bytes <= sizes[i] * 8 / 10);
    if (found.best != NULL) assert_false(found.best->gpu_required);
  }
  // Half a GiB holds none with room for its cache; 64 hold the best of all.
  rh_hardware tiny = machine(GIB / 2, 0, 0), large = machine(64 * GIB, 0, 0);
  assert_null(checked(&tiny, NULL).best);
  assert_non_null(checked(&tiny, NULL).bigger);
  assert_null(checked(&large, NULL).bigger);
  assert_string_equal(checked(&large, NULL).best->name, "qwen3");
}

// Memory is not all: two cores would take minutes for a page of text, which sixteen better ones or a GPU read at once.
static void test_what_a_processor_is_fast_enough_for(void **state) {
  (void)state;
  rh_recommendation small, large, gpu;
  rh_hardware hardware = machine(64 * GIB, 0, 0);
  hardware.cores_physical = 2;
  strcpy(hardware.cpu_features, "avx avx2 fma");
  rh_known_recommend(&hardware, NULL, &small);
  assert_true(small.best->parameters < 2100000000);
  assert_non_null(small.bigger);
  assert_int_equal(rh_known_fits(small.bigger, &hardware, NULL), RH_OK);
  assert_non_null(strstr(small.why_not_bigger, small.bigger->name));
  assert_non_null(strstr(small.why_not_bigger, "2 cores"));
  hardware.cores_physical = 16;
  strcpy(hardware.cpu_features, "avx avx2 avx512f avx512_vnni");
  rh_known_recommend(&hardware, NULL, &large);
  assert_true(large.best->rank > small.best->rank);
  hardware = machine(64 * GIB, 48 * GIB, 1);
  hardware.cores_physical = 2;
  rh_known_recommend(&hardware, NULL, &gpu);
  assert_null(gpu.bigger);
  assert_true(gpu.best->parameters > 30000000000);
}

static void test_what_two_gib_hold(void **state) {
  (void)state;
  rh_hardware hardware = machine(2 * GIB, 0, 0);
  rh_recommendation found = checked(&hardware, NULL);
  assert_true(found.best->parameters >= 300000000);
  assert_true(found.best->parameters < 2000000000);
  assert_non_null(strstr(found.why, "1.6 GiB of this machine's 2 GiB"));
  assert_non_null(found.bigger);
}

// A GPU's memory counts where RAM alone would not do, and several GPUs count together for llama.cpp.
static void test_machines_with_gpu(void **state) {
  (void)state;
  rh_hardware bare = machine(4 * GIB, 0, 0), eight = machine(4 * GIB, 8 * GIB, 1),
              large = machine(4 * GIB, 24 * GIB, 1), twice = machine(4 * GIB, 8 * GIB, 2);
  int32_t none = checked(&bare, NULL).best->rank;
  int32_t small = checked(&eight, NULL).best->rank;
  int32_t best = checked(&large, NULL).best->rank;
  assert_true(small > none);
  assert_true(best > small);
  assert_true(checked(&twice, NULL).best->rank > small);
  assert_non_null(strstr(checked(&large, NULL).why, "fits on the GPU"));
  assert_non_null(strstr(checked(&eight, NULL).why, "GPU memory"));
  assert_null(strstr(checked(&bare, NULL).why, "GPU"));
}

static void test_gpu_required(void **state) {
  (void)state;
  const rh_known *known = rh_known_find("phi-3-mini-4k-gpu");
  rh_hardware bare = machine(64 * GIB, 0, 0), small = machine(64 * GIB, 4 * GIB, 1),
              two = machine(64 * GIB, 8 * GIB, 2), large = machine(64 * GIB, 24 * GIB, 1),
              silent = machine(64 * GIB, 0, 1);
  rh_error error = {0};
  assert_int_equal(rh_known_fits(known, &bare, &error), RH_HARDWARE);
  assert_non_null(strstr(error.message, "needs a GPU"));
  assert_int_equal(rh_known_fits(known, &small, &error), RH_HARDWARE);
  assert_non_null(strstr(error.message, "has 4 GiB"));
  // ONNX keeps a model on one GPU: two of 8 GiB are not one of 16.
  assert_int_equal(rh_known_fits(known, &two, &error), RH_HARDWARE);
  assert_int_equal(rh_known_fits(known, &large, &error), RH_OK);
  // A driver that says nothing about memory: the load will tell.
  assert_int_equal(rh_known_fits(known, &silent, &error), RH_OK);
}

static void test_a_refusal_names_a_smaller_one_that_fits(void **state) {
  (void)state;
  rh_hardware hardware = machine(8 * GIB, 0, 0);
  const rh_known *known = rh_known_find("qwen2.5:7b");
  rh_error error = {0};
  assert_int_equal(rh_known_fits(known, &hardware, &error), RH_HARDWARE);
  const rh_known *smaller = rh_known_smaller(known, &hardware);
  assert_non_null(smaller);
  assert_string_equal(smaller->name, "qwen2.5");
  assert_int_equal(rh_known_fits(smaller, &hardware, NULL), RH_OK);
  assert_non_null(strstr(error.message, smaller->version));
  assert_non_null(strstr(error.message, "8 GiB"));
  // Nothing of that name is small enough: the advice says so in general.
  hardware = machine(512 * MIB, 0, 0);
  assert_null(rh_known_smaller(known, &hardware));
  assert_int_equal(rh_known_fits(known, &hardware, &error), RH_HARDWARE);
  assert_non_null(strstr(error.message, "smaller model or quantization"));
  // The smallest of its name has no smaller one on any machine.
  hardware = machine(64 * GIB, 0, 0);
  assert_null(rh_known_smaller(rh_known_find("llama3.2:1b"), &hardware));
}

static void test_other_tasks_and_unknown_machines(void **state) {
  (void)state;
  rh_hardware hardware = machine(8 * GIB, 0, 0);
  rh_recommendation found;
  rh_known_recommend(&hardware, "no-such-task", &found);
  assert_null(found.best);
  assert_null(found.bigger);
  assert_true(found.why[0] != '\0');
  // A machine that does not say how much memory it has is not refused anything but what needs a GPU.
  rh_hardware unknown = {0};
  assert_int_equal(rh_known_fits(rh_known_find("qwen3:8b"), &unknown, NULL), RH_OK);
  assert_int_equal(rh_known_fits(rh_known_find("stable-video-diffusion"), &unknown, NULL), RH_HARDWARE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_machines_without_gpu),
      cmocka_unit_test(test_what_a_processor_is_fast_enough_for),
      cmocka_unit_test(test_what_two_gib_hold),
      cmocka_unit_test(test_machines_with_gpu),
      cmocka_unit_test(test_gpu_required),
      cmocka_unit_test(test_a_refusal_names_a_smaller_one_that_fits),
      cmocka_unit_test(test_other_tasks_and_unknown_machines),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
