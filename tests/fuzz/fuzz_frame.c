// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: the frame codec and every message reader, fed with whatever bytes. Nothing may crash, and what decodes
// must stay inside its input.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t seen;

static void check_tensors(const rh_tensor *tensors, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (rh_tensor_check(&tensors[i], NULL) != RH_OK) abort();
  }
}

// Look at every byte that the reader says is there: AddressSanitizer knows whether it is.
static size_t look(const void *bytes, size_t length) {
  size_t sum = 0;
  for (size_t i = 0; i < length; i++) sum += ((const uint8_t *)bytes)[i];
  return sum;
}

static size_t check_run(const rh_run *run) {
  size_t sum = 0;
  if (rh_task_generates(run->task) != (run->infer == NULL)) abort();
  if (run->infer == NULL) return 0;
  if (run->infer->item_count > RH_ITEMS_MAX || run->infer->item_count + run->infer->tensor_count == 0) abort();
  check_tensors(run->infer->tensors, run->infer->tensor_count);
  for (size_t i = 0; i < run->infer->item_count; i++) {
    const rh_item *item = &run->infer->items[i];
    if ((item->text == NULL) == (item->tokens == NULL)) abort();
    sum += look(item->text, item->length) + look(item->pair, item->pair_length);
    sum += look(item->tokens, item->token_count * sizeof *item->tokens);
  }
  return sum;
}

static size_t check_event(const rh_event *event) {
  if (event->kind != RH_EVENT_RESULT) return 0;
  const rh_result *result = &event->as.result;
  if (result->item >= RH_ITEMS_MAX) abort();
  if (result->kind == RH_RESULT_TENSORS) check_tensors(result->tensors, result->count);
  return result->kind == RH_RESULT_VECTOR ? look(result->vector, result->count * sizeof(float)) : 0;
}

static void read_message(const rh_frame *frame, rh_arena *arena) {
  rh_error error = {0};
  rh_hello hello;
  rh_load load;
  rh_model_info info;
  rh_run run;
  rh_event event;
  rh_worker_stats stats;
  int32_t threads = 0;
  uint32_t credit = 0;
  double fraction = 0;
  rh_status status = RH_OK;
  switch (frame->type) {
    case RH_FRAME_HELLO: status = rh_hello_read(frame, &hello, &error); break;
    case RH_FRAME_LOAD: status = rh_load_read(frame, arena, &load, &error); break;
    case RH_FRAME_LOADED: status = rh_loaded_read(frame, &info, &error); break;
    case RH_FRAME_LOAD_PROGRESS: status = rh_load_progress_read(frame, &fraction, &error); break;
    case RH_FRAME_RUN: status = rh_run_read(frame, arena, &run, &credit, &error); break;
    case RH_FRAME_EVENT: status = rh_event_read(frame, arena, &event, &error); break;
    case RH_FRAME_CREDIT: status = rh_credit_read(frame, &credit, &error); break;
    case RH_FRAME_SHARE: status = rh_share_read(frame, &threads, &error); break;
    case RH_FRAME_STATS:
    case RH_FRAME_PONG: status = rh_stats_read(frame, &stats, &error); break;
    default: break;
  }
  if (status == RH_OK && frame->type == RH_FRAME_RUN) seen = check_run(&run);
  if (status == RH_OK && frame->type == RH_FRAME_EVENT) seen = check_event(&event);
  if (status != RH_OK && error.message[0] == '\0') abort();  // a refusal must say why
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rh_arena *arena = rh_arena_new(1 << 20);
  if (arena == NULL) return 0;
  size_t at = 0;
  for (;;) {
    rh_frame frame;
    size_t consumed = 0;
    rh_error error = {0};
    if (rh_frame_decode(data + at, size - at, &frame, &consumed, &error) != RH_OK) break;
    if (consumed == 0 || consumed > size - at) abort();
    if ((const uint8_t *)frame.json + frame.json_length > data + size) abort();
    if (frame.binary + frame.binary_length > data + size) abort();
    read_message(&frame, arena);
    rh_arena_reset(arena);
    at += consumed;
  }
  rh_arena_free(arena);
  return 0;
}
