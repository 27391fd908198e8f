// SPDX-License-Identifier: Apache-2.0
//
// RUN: one unit of work. Token ids of a prompt travel in the binary tail (int32, little endian), all else in JSON.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "wire/internal.h"

static const char *const task_names[] = {[RH_TASK_CHAT] = "chat", [RH_TASK_COMPLETE] = "complete"};

static json_t *messages_to_json(const rh_prompt *prompt) {
  json_t *array = json_array();
  for (size_t i = 0; array != NULL && i < prompt->count; i++) {
    json_t *message = json_pack("{s:s,s:s}", "role", prompt->messages[i].role, "content", prompt->messages[i].content);
    if (message == NULL || json_array_append_new(array, message) != 0) {
      json_decref(array);
      return NULL;
    }
  }
  return array;
}

static json_t *generate_to_json(const rh_generate *g) {
  json_t *object = json_pack("{s:I,s:f,s:f,s:f,s:i,s:f,s:f,s:f,s:i,s:i,s:b}", "max_tokens", (json_int_t)g->max_tokens,
                             "temperature", (double)g->temperature, "top_p", (double)g->top_p, "min_p",
                             (double)g->min_p, "top_k", (int)g->top_k, "repeat_penalty", (double)g->repeat_penalty,
                             "presence_penalty", (double)g->presence_penalty, "frequency_penalty",
                             (double)g->frequency_penalty, "penalty_last_n", (int)g->penalty_last_n, "top_logprobs",
                             (int)g->top_logprobs, "ignore_eos", (int)g->ignore_eos);
  if (object == NULL) return NULL;
  if (g->has_seed) json_object_set_new(object, "seed", json_integer((json_int_t)g->seed));
  if (g->stop_count > 0) {
    json_t *stops = json_array();
    for (size_t i = 0; i < g->stop_count; i++) json_array_append_new(stops, json_string(g->stops[i]));
    json_object_set_new(object, "stop", stops);
  }
  if (g->logit_bias_count > 0) {
    json_t *biases = json_array();
    for (size_t i = 0; i < g->logit_bias_count; i++) {
      json_array_append_new(biases, json_pack("[i,f]", (int)g->logit_bias[i].token, (double)g->logit_bias[i].bias));
    }
    json_object_set_new(object, "logit_bias", biases);
  }
  return object;
}

rh_status rh_run_write(rh_dynbuf *out, uint32_t stream, const rh_run *run, uint32_t credit) {
  json_t *generate = generate_to_json(&run->generate);
  json_t *object = json_pack("{s:s?,s:s,s:I,s:o?}", "request_id", run->request_id, "task", task_names[run->task],
                             "credit", (json_int_t)credit, "generate", generate);
  if (object == NULL || generate == NULL) {
    json_decref(object);
    return RH_NO_MEMORY;
  }
  const rh_prompt *prompt = &run->prompt;
  if (prompt->kind == RH_PROMPT_MESSAGES) {
    json_object_set_new(object, "messages", messages_to_json(prompt));
  } else if (prompt->kind == RH_PROMPT_TEXT) {
    json_object_set_new(object, "text", json_stringn(prompt->text, prompt->count));
  }
  char *text = json_dumps(object, JSON_COMPACT);
  json_decref(object);
  if (text == NULL) return RH_NO_MEMORY;
  bool tokens = prompt->kind == RH_PROMPT_TOKENS;
  // Both ends run on one machine, and every machine we build for is little endian.
  rh_status status = rh_frame_encode(out, RH_FRAME_RUN, stream, text, strlen(text), tokens ? prompt->tokens : NULL,
                                     tokens ? prompt->count * sizeof(int32_t) : 0);
  free(text);
  return status;
}

static void read_messages(rh_reader *reader, const json_t *array, rh_arena *arena, rh_prompt *prompt) {
  size_t count = json_array_size(array);
  if (count == 0 || count > RH_MESSAGES_MAX) {
    rh_reader_fail(reader, "RUN has no messages or too many");
    return;
  }
  rh_message *messages = rh_arena_alloc_array(arena, count, sizeof *messages);
  for (size_t i = 0; messages != NULL && i < count; i++) {
    const json_t *item = json_array_get(array, i);
    messages[i].role = rh_arena_strdup(arena, json_string_value(json_object_get(item, "role")));
    messages[i].content = rh_arena_strdup(arena, json_string_value(json_object_get(item, "content")));
    if (messages[i].role == NULL || messages[i].content == NULL) messages = NULL;
  }
  if (messages == NULL) rh_reader_fail(reader, "a message of RUN lacks role or content, or memory is short");
  *prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = count};
}

static void read_prompt(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_prompt *prompt) {
  const json_t *messages = rh_reader_array(reader, "messages");
  const json_t *text = json_object_get(reader->object, "text");
  if (messages != NULL) {
    read_messages(reader, messages, arena, prompt);
  } else if (json_is_string(text)) {
    size_t length = json_string_length(text);
    char *copy = rh_arena_strndup(arena, json_string_value(text), length);
    if (copy == NULL) rh_reader_fail(reader, "memory is short");
    *prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = copy, .count = length};
  } else if (frame->binary_length > 0 && frame->binary_length % sizeof(int32_t) == 0) {
    size_t count = frame->binary_length / sizeof(int32_t);
    int32_t *tokens = rh_arena_alloc_array(arena, count, sizeof *tokens);
    if (tokens == NULL) {
      rh_reader_fail(reader, "memory is short");
      return;
    }
    memcpy(tokens, frame->binary, frame->binary_length);
    *prompt = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = tokens, .count = count};
  } else {
    rh_reader_fail(reader, "RUN has neither messages nor text nor tokens");
  }
}

static void read_stops(rh_reader *reader, rh_arena *arena, rh_generate *g) {
  const json_t *array = rh_reader_array(reader, "stop");
  size_t count = json_array_size(array);
  if (count == 0) return;
  const char **stops = rh_arena_alloc_array(arena, count, sizeof *stops);
  for (size_t i = 0; stops != NULL && i < count; i++) {
    stops[i] = rh_arena_strdup(arena, json_string_value(json_array_get(array, i)));
    if (stops[i] == NULL) stops = NULL;
  }
  if (stops == NULL || count > RH_STOPS_MAX) {
    rh_reader_fail(reader, "RUN has bad stop strings");
    return;
  }
  g->stops = stops;
  g->stop_count = count;
}

static void read_logit_bias(rh_reader *reader, rh_arena *arena, rh_generate *g) {
  const json_t *array = rh_reader_array(reader, "logit_bias");
  size_t count = json_array_size(array);
  if (count == 0) return;
  rh_logit_bias *biases = count > RH_LOGIT_BIAS_MAX ? NULL : rh_arena_alloc_array(arena, count, sizeof *biases);
  if (biases == NULL) {
    rh_reader_fail(reader, "RUN has too many logit biases");
    return;
  }
  for (size_t i = 0; i < count; i++) {
    const json_t *pair = json_array_get(array, i);
    biases[i].token = (int32_t)json_integer_value(json_array_get(pair, 0));
    biases[i].bias = (float)json_number_value(json_array_get(pair, 1));
  }
  g->logit_bias = biases;
  g->logit_bias_count = count;
}

static void read_generate(rh_reader *reader, rh_arena *arena, rh_generate *g) {
  rh_generate_defaults(g);
  g->max_tokens = rh_reader_int(reader, "max_tokens", 0);
  g->temperature = (float)rh_reader_number(reader, "temperature", 1);
  g->top_p = (float)rh_reader_number(reader, "top_p", 1);
  g->min_p = (float)rh_reader_number(reader, "min_p", 0);
  g->top_k = (int32_t)rh_reader_int(reader, "top_k", 0);
  g->repeat_penalty = (float)rh_reader_number(reader, "repeat_penalty", 1);
  g->presence_penalty = (float)rh_reader_number(reader, "presence_penalty", 0);
  g->frequency_penalty = (float)rh_reader_number(reader, "frequency_penalty", 0);
  g->penalty_last_n = (int32_t)rh_reader_int(reader, "penalty_last_n", 64);
  g->top_logprobs = (int32_t)rh_reader_int(reader, "top_logprobs", -1);
  g->ignore_eos = rh_reader_bool(reader, "ignore_eos", false);
  int64_t seed = rh_reader_int(reader, "seed", -1);
  g->has_seed = seed >= 0;
  g->seed = (uint32_t)(seed < 0 ? 0 : seed);
  if (g->max_tokens < 0 || g->top_logprobs > RH_TOP_LOGPROBS_MAX) {
    rh_reader_fail(reader, "RUN is out of bounds in max_tokens or top_logprobs");
  }
  read_stops(reader, arena, g);
  read_logit_bias(reader, arena, g);
}

rh_status rh_run_read(const rh_frame *frame, rh_arena *arena, rh_run *run, uint32_t *credit, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_reader_open(frame, "RUN", &root, &reader, error);
  if (status != RH_OK) return status;
  *run = (rh_run){0};
  run->request_id = rh_arena_strdup(arena, rh_reader_string(&reader, "request_id"));
  const char *task = rh_reader_string(&reader, "task");
  if (task != NULL && strcmp(task, task_names[RH_TASK_CHAT]) == 0) {
    run->task = RH_TASK_CHAT;
  } else if (task != NULL && strcmp(task, task_names[RH_TASK_COMPLETE]) == 0) {
    run->task = RH_TASK_COMPLETE;
  } else {
    rh_reader_fail(&reader, "RUN names no task that is known");
  }
  int64_t window = rh_reader_int(&reader, "credit", 0);
  if (window < 1 || window > 1000000) rh_reader_fail(&reader, "RUN must grant a credit of 1 to 1000000");
  *credit = (uint32_t)window;
  if (reader.status == RH_OK) read_prompt(&reader, frame, arena, &run->prompt);

  rh_reader inner = reader;
  inner.object = json_object_get(root, "generate");
  if (!json_is_object(inner.object)) rh_reader_fail(&inner, "RUN lacks its generate object");
  if (inner.status == RH_OK) read_generate(&inner, arena, &run->generate);
  json_decref(root);
  return inner.status;
}
