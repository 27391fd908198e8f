// SPDX-License-Identifier: Apache-2.0
//
// Which task fits which model, what the task of a model's own is, and the sentence when it does not fit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "flow/fit.h"

static rh_model_info model_for(const char *task) {
  rh_model_info info = {0};
  (void)snprintf(info.task, sizeof info.task, "%s", task);
  return info;
}

static void fits(void **state) {
  (void)state;
  static const struct {
    const char *model;  // rh_model_info.task
    const char *tasks;  // that it serves, each between blanks; tensors are the worker's decision
  } rows[] = {
      {"", " chat complete tensor "},
      {"embed", " embed tensor own "},
      {"feature-extraction", " embed tensor own "},
      {"rerank", " rerank classify zero-shot tensor own "},
      {"classify", " rerank classify zero-shot tensor own "},
      {"zero-shot", " rerank classify zero-shot tensor own "},
      {"token-classify", " token-classify tensor own "},
      {"tensor", " tensor own "},
      {"something-new", " tensor own "},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    rh_model_info info = model_for(rows[i].model);
    for (int task = 0; task < RH_TASK_COUNT; task++) {
      char word[40];
      rh_error error = {0};
      (void)snprintf(word, sizeof word, " %s ", rh_task_name((rh_task)task));
      bool expected = strstr(rows[i].tasks, word) != NULL;
      rh_status status = rh_task_check((rh_task)task, &info, "m", &error);
      if ((status == RH_OK) != expected) fail_msg("%s on a model for \"%s\"", word, rows[i].model);
      if (status == RH_OK) continue;
      assert_int_equal(status, RH_UNSUPPORTED);
      assert_string_equal(error.param, "model");
      assert_non_null(strstr(error.message, "\"m\""));
      assert_non_null(strstr(error.message, "use POST /"));
    }
  }
}

static void own_task(void **state) {
  (void)state;
  rh_model_info embed = model_for("embed"), generates = model_for(""), newer = model_for("paint");
  assert_int_equal(rh_task_resolve(RH_TASK_OWN, &embed), RH_TASK_EMBED);
  assert_int_equal(rh_task_resolve(RH_TASK_OWN, &generates), RH_TASK_CHAT);
  assert_int_equal(rh_task_resolve(RH_TASK_OWN, &newer), RH_TASK_TENSOR);
  assert_int_equal(rh_task_resolve(RH_TASK_OWN, NULL), RH_TASK_OWN);
  assert_int_equal(rh_task_resolve(RH_TASK_RERANK, &embed), RH_TASK_RERANK);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(fits), cmocka_unit_test(own_task)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
