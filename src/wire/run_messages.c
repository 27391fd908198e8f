// SPDX-License-Identifier: Apache-2.0
//
// RUN: one unit of work. Token ids of a prompt travel in the binary tail (int32, little endian), all else in JSON. The
// inputs of tasks that do not generate are in infer_messages.c.
#include <string.h>

#include "wire/internal.h"

static void append_text(rh_dynbuf *out, const char *before, const char *text, size_t length) {
  (void)rh_dynbuf_append_text(out, before);
  (void)rh_json_append_string(out, text, length);
}

static void append_messages(rh_dynbuf *out, const rh_prompt *prompt) {
  (void)rh_dynbuf_append_text(out, ",\"messages\":[");
  for (size_t i = 0; i < prompt->count; i++) {
    const rh_message *message = &prompt->messages[i];
    append_text(out, i == 0 ? "{\"role\":" : ",{\"role\":", message->role, strlen(message->role));
    append_text(out, ",\"content\":", message->content, strlen(message->content));
    (void)rh_dynbuf_append_char(out, '}');
  }
  (void)rh_dynbuf_append_char(out, ']');
}

static void append_number(rh_dynbuf *out, const char *key, float value, float usual) {
  // Nine digits bring every float back as it was.
  if (value < usual || value > usual) (void)rh_dynbuf_printf(out, ",\"%s\":%.9g", key, (double)value);
}

static void append_integer(rh_dynbuf *out, const char *key, int64_t value, int64_t usual) {
  if (value != usual) (void)rh_dynbuf_printf(out, ",\"%s\":%lld", key, (long long)value);
}

// Only what differs from the defaults, which both sides know: most requests set one or two of these, and this is on the
// way of every request.
static void append_generate(rh_dynbuf *out, const rh_generate *g) {
  rh_generate usual;
  rh_generate_defaults(&usual);
  (void)rh_dynbuf_printf(out, ",\"generate\":{\"max_tokens\":%lld", (long long)g->max_tokens);
  append_number(out, "temperature", g->temperature, usual.temperature);
  append_number(out, "top_p", g->top_p, usual.top_p);
  append_number(out, "min_p", g->min_p, usual.min_p);
  append_integer(out, "top_k", g->top_k, usual.top_k);
  append_number(out, "repeat_penalty", g->repeat_penalty, usual.repeat_penalty);
  append_number(out, "presence_penalty", g->presence_penalty, usual.presence_penalty);
  append_number(out, "frequency_penalty", g->frequency_penalty, usual.frequency_penalty);
  append_integer(out, "penalty_last_n", g->penalty_last_n, usual.penalty_last_n);
  append_integer(out, "top_logprobs", g->top_logprobs, usual.top_logprobs);
  if (g->ignore_eos) (void)rh_dynbuf_append_text(out, ",\"ignore_eos\":true");
  if (g->has_seed) (void)rh_dynbuf_printf(out, ",\"seed\":%u", g->seed);
  for (size_t i = 0; i < g->stop_count; i++) {
    append_text(out, i == 0 ? ",\"stop\":[" : ",", g->stops[i], strlen(g->stops[i]));
  }
  if (g->stop_count > 0) (void)rh_dynbuf_append_char(out, ']');
  for (size_t i = 0; i < g->logit_bias_count; i++) {
    (void)rh_dynbuf_printf(out, "%s[%d,%.9g]", i == 0 ? ",\"logit_bias\":[" : ",", g->logit_bias[i].token,
                           (double)g->logit_bias[i].bias);
  }
  if (g->logit_bias_count > 0) (void)rh_dynbuf_append_char(out, ']');
  (void)rh_dynbuf_append_char(out, '}');
}

static void append_prompt(rh_dynbuf *json, rh_dynbuf *tail, const rh_run *run) {
  const rh_prompt *prompt = &run->prompt;
  append_generate(json, &run->generate);
  if (run->prefix != NULL) append_text(json, ",\"prefix\":", run->prefix, strlen(run->prefix));
  if (prompt->kind == RH_PROMPT_MESSAGES) append_messages(json, prompt);
  if (prompt->kind == RH_PROMPT_TEXT) append_text(json, ",\"text\":", prompt->text, prompt->count);
  // Both ends run on one machine, and every machine we build for is little endian.
  if (prompt->kind == RH_PROMPT_TOKENS) (void)rh_dynbuf_append(tail, prompt->tokens, prompt->count * sizeof(int32_t));
}

rh_status rh_run_write(rh_dynbuf *out, uint32_t stream, const rh_run *run, uint32_t credit) {
  if (run->prefix != NULL && strlen(run->prefix) > RH_PREFIX_BYTES_MAX) return RH_TOO_LARGE;
  const char *id = run->request_id != NULL ? run->request_id : "";
  rh_dynbuf json, tail;
  rh_dynbuf_init(&json, RH_FRAME_BYTES_MAX);
  rh_dynbuf_init(&tail, RH_FRAME_BYTES_MAX);
  append_text(&json, "{\"request_id\":", id, strlen(id));
  (void)rh_dynbuf_printf(&json, ",\"task\":\"%s\",\"credit\":%u", rh_task_name(run->task), credit);
  if (run->infer != NULL)
    rh_infer_write(&json, &tail, run->infer);
  else
    append_prompt(&json, &tail, run);
  (void)rh_dynbuf_append_char(&json, '}');
  rh_status status = json.failed || tail.failed ? RH_TOO_LARGE
                                                : rh_frame_encode(out, RH_FRAME_RUN, stream, rh_dynbuf_data(&json),
                                                                  json.length, rh_dynbuf_data(&tail), tail.length);
  rh_dynbuf_free(&json);
  rh_dynbuf_free(&tail);
  return status;
}

static void read_messages(rh_reader *reader, const json_t *array, rh_arena *arena, rh_prompt *prompt) {
  size_t count = json_array_size(array);
  if (count == 0 || count > RH_MESSAGES_MAX) {
    rh_frame_reader_fail(reader, "RUN has no messages or too many");
    return;
  }
  rh_message *messages = rh_arena_alloc_array(arena, count, sizeof *messages);
  for (size_t i = 0; messages != NULL && i < count; i++) {
    const json_t *item = json_array_get(array, i);
    messages[i].role = rh_arena_strdup(arena, json_string_value(json_object_get(item, "role")));
    messages[i].content = rh_arena_strdup(arena, json_string_value(json_object_get(item, "content")));
    if (messages[i].role == NULL || messages[i].content == NULL) messages = NULL;
  }
  if (messages == NULL) rh_frame_reader_fail(reader, "a message of RUN lacks role or content, or memory is short");
  *prompt = (rh_prompt){.kind = RH_PROMPT_MESSAGES, .messages = messages, .count = count};
}

static void read_prompt(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_prompt *prompt) {
  const json_t *messages = rh_frame_reader_array(reader, "messages");
  const json_t *text = json_object_get(reader->object, "text");
  if (messages != NULL) {
    read_messages(reader, messages, arena, prompt);
  } else if (json_is_string(text)) {
    size_t length = json_string_length(text);
    char *copy = rh_arena_strndup(arena, json_string_value(text), length);
    if (copy == NULL) rh_frame_reader_fail(reader, "memory is short");
    *prompt = (rh_prompt){.kind = RH_PROMPT_TEXT, .text = copy, .count = length};
  } else if (frame->binary_length > 0 && frame->binary_length % sizeof(int32_t) == 0) {
    size_t count = frame->binary_length / sizeof(int32_t);
    int32_t *tokens = rh_arena_alloc_array(arena, count, sizeof *tokens);
    if (tokens == NULL) {
      rh_frame_reader_fail(reader, "memory is short");
      return;
    }
    memcpy(tokens, frame->binary, frame->binary_length);
    *prompt = (rh_prompt){.kind = RH_PROMPT_TOKENS, .tokens = tokens, .count = count};
  } else {
    rh_frame_reader_fail(reader, "RUN has neither messages nor text nor tokens");
  }
}

static void read_stops(rh_reader *reader, rh_arena *arena, rh_generate *g) {
  const json_t *array = rh_frame_reader_array(reader, "stop");
  size_t count = json_array_size(array);
  if (count == 0) return;
  const char **stops = rh_arena_alloc_array(arena, count, sizeof *stops);
  for (size_t i = 0; stops != NULL && i < count; i++) {
    stops[i] = rh_arena_strdup(arena, json_string_value(json_array_get(array, i)));
    if (stops[i] == NULL) stops = NULL;
  }
  if (stops == NULL || count > RH_STOPS_MAX) {
    rh_frame_reader_fail(reader, "RUN has bad stop strings");
    return;
  }
  g->stops = stops;
  g->stop_count = count;
}

static void read_logit_bias(rh_reader *reader, rh_arena *arena, rh_generate *g) {
  const json_t *array = rh_frame_reader_array(reader, "logit_bias");
  size_t count = json_array_size(array);
  if (count == 0) return;
  rh_logit_bias *biases = count > RH_LOGIT_BIAS_MAX ? NULL : rh_arena_alloc_array(arena, count, sizeof *biases);
  if (biases == NULL) {
    rh_frame_reader_fail(reader, "RUN has too many logit biases");
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
  g->max_tokens = rh_frame_reader_int(reader, "max_tokens", g->max_tokens);
  g->temperature = (float)rh_frame_reader_number(reader, "temperature", (double)g->temperature);
  g->top_p = (float)rh_frame_reader_number(reader, "top_p", (double)g->top_p);
  g->min_p = (float)rh_frame_reader_number(reader, "min_p", (double)g->min_p);
  g->top_k = (int32_t)rh_frame_reader_int(reader, "top_k", g->top_k);
  g->repeat_penalty = (float)rh_frame_reader_number(reader, "repeat_penalty", (double)g->repeat_penalty);
  g->presence_penalty = (float)rh_frame_reader_number(reader, "presence_penalty", (double)g->presence_penalty);
  g->frequency_penalty = (float)rh_frame_reader_number(reader, "frequency_penalty", (double)g->frequency_penalty);
  g->penalty_last_n = (int32_t)rh_frame_reader_int(reader, "penalty_last_n", g->penalty_last_n);
  g->top_logprobs = (int32_t)rh_frame_reader_int(reader, "top_logprobs", g->top_logprobs);
  g->ignore_eos = rh_frame_reader_bool(reader, "ignore_eos", false);
  int64_t seed = rh_frame_reader_int(reader, "seed", -1);
  g->has_seed = seed >= 0;
  g->seed = (uint32_t)(seed < 0 ? 0 : seed);
  if (g->max_tokens < 0 || g->top_logprobs > RH_TOP_LOGPROBS_MAX) {
    rh_frame_reader_fail(reader, "RUN is out of bounds in max_tokens or top_logprobs");
  }
  read_stops(reader, arena, g);
  read_logit_bias(reader, arena, g);
}

static void read_prefix(rh_reader *reader, rh_arena *arena, rh_run *run) {
  const json_t *prefix = json_object_get(reader->object, "prefix");
  if (prefix == NULL) return;
  if (!json_is_string(prefix) || json_string_length(prefix) > RH_PREFIX_BYTES_MAX) {
    rh_frame_reader_fail(reader, "RUN has a prefix that is no text or too long");
    return;
  }
  run->prefix = rh_arena_strdup(arena, json_string_value(prefix));
  if (run->prefix == NULL) rh_frame_reader_fail(reader, "memory is short");
}

static void read_generation(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_run *run) {
  read_prompt(reader, frame, arena, &run->prompt);
  read_prefix(reader, arena, run);
  rh_reader inner = *reader;
  inner.object = json_object_get(reader->object, "generate");
  if (!json_is_object(inner.object)) rh_frame_reader_fail(&inner, "RUN lacks its generate object");
  if (inner.status == RH_OK) read_generate(&inner, arena, &run->generate);
  reader->status = inner.status;
}

static void read_inference(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_run *run) {
  rh_infer *infer = rh_arena_alloc(arena, sizeof *infer);
  rh_reader inner = *reader;
  inner.object = json_object_get(reader->object, "infer");
  if (infer == NULL || !json_is_object(inner.object)) rh_frame_reader_fail(&inner, "RUN lacks its infer object");
  if (inner.status == RH_OK) rh_infer_read(&inner, frame, arena, infer);
  rh_generate_defaults(&run->generate);
  run->infer = infer;
  reader->status = inner.status;
}

rh_status rh_run_read(const rh_frame *frame, rh_arena *arena, rh_run *run, uint32_t *credit, rh_error *error) {
  json_t *root = NULL;
  rh_reader reader;
  rh_status status = rh_frame_reader_open(frame, "RUN", &root, &reader, error);
  if (status != RH_OK) return status;
  *run = (rh_run){0};
  run->request_id = rh_arena_strdup(arena, rh_frame_reader_string(&reader, "request_id"));
  run->task = rh_task_from_name(rh_frame_reader_string(&reader, "task"));
  if (run->task >= RH_TASK_COUNT) rh_frame_reader_fail(&reader, "RUN names no task that is known");
  int64_t window = rh_frame_reader_int(&reader, "credit", 0);
  if (window < 1 || window > 1000000) rh_frame_reader_fail(&reader, "RUN must grant a credit of 1 to 1000000");
  *credit = (uint32_t)window;
  if (reader.status == RH_OK && rh_task_generates(run->task)) {
    read_generation(&reader, frame, arena, run);
  } else if (reader.status == RH_OK) {
    read_inference(&reader, frame, arena, run);
  }
  json_decref(root);
  return reader.status;
}
