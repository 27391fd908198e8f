// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the task "tensor": named tensors through the model's graph, as they are.
// Data owned: none. Threads: the engine thread.
// Not here: batching. Only the graph knows which dimension is one, so a run is a batch of its own.
#include "base/clock.h"
#include "task/internal.h"

static void conclude(rh_inference_run *run) {
  rh_event event = {.kind = RH_EVENT_USAGE};
  event.as.usage.prompt_ms = rh_ns_to_ms(rh_clock_now_ns() - run->started_ns);
  event.as.usage.work = run->work;
  rh_inference_run_push(run, &event);
  event = (rh_event){.kind = RH_EVENT_END};
  event.as.end.finish = RH_FINISH_STOP;
  rh_inference_run_push(run, &event);
}

void rh_tensor_run(rh_inference_run *run) {
  const rh_infer *infer = run->infer;
  rh_inference *inference = run->inference;
  const rh_tensor *outputs = NULL;
  size_t count = 0;
  rh_error error = {0};
  rh_status status = RH_OK;
  for (size_t i = 0; i < infer->tensor_count && status == RH_OK; i++) {
    status = rh_tensor_check(&infer->tensors[i], &error);
  }
  if (status == RH_OK) {
    status = inference->infer->run(inference->engine, infer->tensors, infer->tensor_count,
                                   infer->output_count > 0 ? infer->outputs : NULL, infer->output_count, &outputs,
                                   &count, &error);
  }
  if (status == RH_OK && count > RH_TENSORS_MAX) {
    status = rh_fail(&error, RH_TOO_LARGE, "the graph has %zu outputs; name at most %d in \"outputs\"", count,
                     RH_TENSORS_MAX);
  }
  if (status != RH_OK) {
    error.status = status;
    rh_inference_run_fail(run, &error);
    return;
  }
  inference->counts.steps++;
  run->work.batch_items = 1;
  rh_event event = {.kind = RH_EVENT_RESULT};
  event.as.result = (rh_result){.kind = RH_RESULT_TENSORS, .tensors = outputs, .count = count};
  rh_inference_run_push(run, &event);
  conclude(run);
}
