// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: a definition of an experiment and a saved state, whichever the bytes are. What is taken can be used, reported, saved
// and read again; what is refused has a reason.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "experiment/experiment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(rh_experiments *all) {
  for (size_t i = 0; i < rh_experiments_count(all); i++) {
    rh_experiment *experiment = rh_experiments_at(all, i);
    rh_assignment got;
    char why[256] = "";
    rh_experiment_assign(all, "m", "key", NULL, 1, &got);
    rh_outcome outcome = {.latency_ms = 5, .tokens = 3};
    for (size_t arm = 0; arm < 2; arm++) {
      outcome.failed = arm == 1;
      (void)rh_experiment_record(all, rh_experiment_name(experiment), rh_experiment_arm_name(experiment, arm), &outcome,
                                 1, why);
    }
    char *text = rh_experiment_report_text(experiment, 2);
    if (text == NULL) abort();
    free(text);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rh_error error = {0};
  json_t *value = rh_json_parse((const char *)data, size, &error);
  if (value == NULL) return 0;
  rh_experiments *all = rh_experiments_new();
  rh_experiment *one = NULL;
  if (all == NULL) abort();
  bool saved = json_object_get(value, "version") != NULL;
  rh_status status =
      saved ? rh_experiments_from_json(all, value, &error) : rh_experiment_add(all, value, 1, &one, &error);
  if (status != RH_OK && (error.message[0] == '\0' || rh_experiments_count(all) > 0)) abort();
  use(all);
  json_t *kept = rh_experiments_to_json(all);
  if (kept == NULL || rh_experiments_from_json(all, kept, &error) != RH_OK) abort();
  json_decref(kept);
  json_decref(value);
  rh_experiments_free(all);
  return 0;
}
