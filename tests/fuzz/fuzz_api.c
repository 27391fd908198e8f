// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a request body: the first byte picks the endpoint, the rest is the body. A body that is accepted must
// keep the limits and must give an answer that is valid JSON, whole or streamed; one that is refused must say why.
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "base/json.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
  if (!holds) abort();
}

static void check_json(const char *text, size_t length) {
  json_t *value = rh_json_parse(text, length, NULL);
  require(value != NULL);
  json_decref(value);
}

// Every "data: {" line of a stream is a JSON object, and nothing else is in it but event names and [DONE].
static void check_stream(const char *text) {
  while (*text != '\0') {
    const char *end = strchr(text, '\n');
    require(end != NULL);
    if (strncmp(text, "data: {", 7) == 0)
      check_json(text + 6, (size_t)(end - text - 6));
    else
      require(end == text || strncmp(text, "event: ", 7) == 0 || strncmp(text, "data: [DONE]", 12) == 0);
    text = end + 1;
  }
}

static void check_infer(const rh_request *request) {
  const rh_infer *infer = request->infer;
  require(!rh_task_generates(request->task) && rh_request_runs(request) == 1);
  require(infer->item_count <= RH_ITEMS_MAX && infer->tensor_count <= RH_TENSORS_MAX);
  require((infer->item_count > 0) != (infer->tensor_count > 0));
  require(infer->label_count <= RH_LABELS_MAX && infer->dimensions >= 0 && infer->top_k >= 0);
  for (size_t i = 0; i < infer->tensor_count; i++) require(rh_tensor_check(&infer->tensors[i], NULL) == RH_OK);
  for (size_t i = 0; i < infer->item_count; i++) {
    const rh_item *item = &infer->items[i];
    require((item->text != NULL) != (item->token_count > 0));
    if (item->text != NULL) require(rh_utf8_valid(item->text, item->length));
    if (item->pair != NULL) require(rh_utf8_valid(item->pair, item->pair_length));
    if (request->task == RH_TASK_RERANK) require(item->pair != NULL);
  }
}

static void check_piece(const rh_piece *piece) {
  switch (piece->kind) {
    case RH_PIECE_TEXT:
    case RH_PIECE_REASONING: require(rh_utf8_valid(piece->text, strlen(piece->text))); break;
    case RH_PIECE_IMAGE:
      require((piece->url != NULL) != (piece->data != NULL));
      require((piece->data != NULL) == (piece->media_type != NULL));
      break;
    case RH_PIECE_TOOL_CALL:
      require(piece->id != NULL && piece->name != NULL && piece->name[0] != '\0');
      check_json(piece->arguments, strlen(piece->arguments));
      break;
    case RH_PIECE_TOOL_RESULT: require(piece->id != NULL && piece->text != NULL); break;
  }
}

static void check_message(const rh_message *message) {
  require(rh_utf8_valid(message->content, strlen(message->content)));
  bool tool = strcmp(message->role, "tool") == 0;
  bool assistant = strcmp(message->role, "assistant") == 0;
  require((message->pieces != NULL) == (message->piece_count > 0) && (!tool || message->piece_count > 0));
  for (size_t i = 0; i < message->piece_count; i++) {
    rh_piece_kind kind = message->pieces[i].kind;
    require(tool == (kind == RH_PIECE_TOOL_RESULT));
    require(assistant || (kind != RH_PIECE_TOOL_CALL && kind != RH_PIECE_REASONING));
    check_piece(&message->pieces[i]);
  }
}

static void check_extras(const rh_extras *extras) {
  require(extras->tool_count <= RH_TOOLS_MAX);
  require(extras->tool_choice != RH_TOOLS_REQUIRED || extras->tool_count > 0);
  require(extras->tool_choice != RH_TOOLS_NAMED || extras->tool_name != NULL);
  require(extras->format != RH_ANSWER_SCHEMA || (extras->schema != NULL && extras->schema_name != NULL));
  for (size_t i = 0; i < extras->tool_count; i++) check_json(extras->tools[i].schema, strlen(extras->tools[i].schema));
}

static void check_request(const rh_request *request) {
  if (request->infer != NULL) {
    check_infer(request);
    return;
  }
  if (request->extras != NULL) check_extras(request->extras);
  require(request->prompt_count >= 1 && request->prompt_count <= RH_PROMPTS_MAX);
  require(request->choices >= 1 && request->choices <= RH_CHOICES_MAX);
  require((int64_t)request->prompt_count * request->choices <= RH_JOBS_MAX);
  require(request->generate.stop_count <= RH_STOPS_MAX);
  require(request->generate.logit_bias_count <= RH_LOGIT_BIAS_MAX);
  require(request->generate.temperature >= 0 && request->generate.temperature <= 2);
  require(request->generate.top_p > 0 && request->generate.top_p <= 1);
  require(request->generate.top_logprobs >= -1 && request->generate.top_logprobs <= RH_TOP_LOGPROBS_MAX);
  require(request->generate.max_tokens >= 0);
  for (size_t i = 0; i < request->prompt_count; i++) {
    const rh_prompt *prompt = &request->prompts[i];
    if (prompt->kind == RH_PROMPT_TEXT) require(rh_utf8_valid(prompt->text, prompt->count));
    if (prompt->kind == RH_PROMPT_TOKENS) require(prompt->count > 0 && prompt->tokens[prompt->count - 1] >= 0);
    if (prompt->kind != RH_PROMPT_MESSAGES) continue;
    require(prompt->count > 0 && prompt->count <= RH_MESSAGES_MAX);
    for (size_t k = 0; k < prompt->count; k++) check_message(&prompt->messages[k]);
  }
}

static void push(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out, bool *finished) {
  require(rh_encoder_push(encoder, event, out, finished) == RH_OK);
}

// One result of the right kind for each item, every third one failed where the dialect has a place for that.
static void push_result(rh_encoder *encoder, const rh_request *request, uint32_t item, bool may_fail, rh_dynbuf *out,
                        bool *finished) {
  static const float vector[] = {0.1f, -2};
  static const rh_score scores[] = {{"\"\n", 0.5f}, {NULL, 0.25f}};
  static const rh_span span = {"B-\"", 0.5f, "\xc3", 0, 1, 2};
  static const rh_tensor tensor = {"\"y", RH_DTYPE_I16, {1, 2}, 2, "\1\2\3\4", 4};
  rh_event event = {.kind = RH_EVENT_RESULT, .as.result = {.item = item, .tokens = 2, .count = 1}};
  rh_result *result = &event.as.result;
  result->truncated = item % 2 == 1;
  result->vector = vector;
  result->kind = RH_RESULT_SCORES;
  result->scores = scores;
  if (request->task == RH_TASK_EMBED || request->task == RH_TASK_OWN) result->kind = RH_RESULT_VECTOR;
  if (request->task == RH_TASK_TOKEN_CLASSIFY) result->kind = RH_RESULT_SPANS;
  if (request->task == RH_TASK_TENSOR) result->kind = RH_RESULT_TENSORS;
  result->spans = &span;
  result->tensors = &tensor;
  if (may_fail && item % 3 == 2) {
    result->kind = RH_RESULT_FAILED;
    (void)rh_fail(&result->error, RH_INVALID, "so \"it\" is");
  }
  push(encoder, &event, out, finished);
}

// A thought with its proof, a call in two pieces and one that is no JSON.
static void push_more(rh_encoder *encoder, uint32_t choice, rh_dynbuf *out, bool *finished) {
  rh_event thought = {.kind = RH_EVENT_DELTA, .choice = choice};
  thought.as.delta.text = "h\"m";
  thought.as.delta.length = 3;
  thought.as.delta.reasoning = true;
  thought.as.delta.signature = "\"";
  push(encoder, &thought, out, finished);
  static const char *const pieces[] = {"{\"a\":", "1}", "\"\n"};
  for (uint32_t i = 0; i < 3; i++) {
    rh_event call = {.kind = RH_EVENT_TOOL, .choice = choice, .as.tool = {.index = i / 2, .arguments = pieces[i]}};
    call.as.tool.length = strlen(pieces[i]);
    if (i == 0) call.as.tool.id = call.as.tool.name = "\"f";
    push(encoder, &call, out, finished);
  }
}

static void answer(const rh_api_endpoint *endpoint, const rh_request *request, const char *warnings) {
  const rh_model_info info = {.task = "embed", .fallback = "no \"GPU\""};
  const rh_answer_meta meta = {.model = "m", .received_ns = 1, .finished_ns = 2, .info = &info};
  const rh_top_logprob top = {.logprob = -1, .bytes = "\xc3", .length = 1};
  const rh_token_logprob token = {.logprob = -1, .bytes = "\"\n", .length = 2, .top = &top, .top_count = 1};
  const bool logprobs = request->generate.top_logprobs >= 0;
  rh_dynbuf out;
  bool finished = false;
  rh_dynbuf_init(&out, 256u * 1024 * 1024);
  rh_encoder *encoder = rh_encoder_new(endpoint, request, &meta, warnings);
  require(encoder != NULL);
  uint32_t count = (uint32_t)rh_request_runs(request);
  for (uint32_t i = 0; i < count; i++) {
    require(!finished);
    push(encoder, &(rh_event){.kind = RH_EVENT_START, .choice = i, .as.start.prompt_tokens = 3}, &out, &finished);
    if (request->infer != NULL) {
      size_t items = request->infer->item_count > 0 ? request->infer->item_count : 1;
      bool may_fail = strncmp(endpoint->path, "/api/inference", 14) == 0;
      for (uint32_t k = 0; k < items; k++) push_result(encoder, request, k, may_fail, &out, &finished);
      push(encoder, &(rh_event){.kind = RH_EVENT_END}, &out, &finished);
      continue;
    }
    rh_event delta = {.kind = RH_EVENT_DELTA, .choice = i};
    delta.as.delta.text = "\"\n\x7f";
    delta.as.delta.length = 3;
    delta.as.delta.token_count = 1;
    delta.as.delta.tokens = logprobs ? &token : NULL;
    delta.as.delta.logprob_count = logprobs ? 1 : 0;
    push(encoder, &delta, &out, &finished);
    push_more(encoder, i, &out, &finished);
    const char *stop = request->generate.stop_count > 0 ? request->generate.stops[0] : NULL;
    push(encoder, &(rh_event){.kind = RH_EVENT_END, .choice = i, .as.end = {.stop = stop}}, &out, &finished);
  }
  require(finished);
  if (request->stream)
    check_stream(rh_dynbuf_data(&out));
  else
    check_json(rh_dynbuf_data(&out), out.length);
  rh_encoder_free(encoder);
  rh_dynbuf_free(&out);
}

static void refuse(const rh_api_endpoint *endpoint, const rh_error *error, bool in_stream) {
  rh_dynbuf out;
  rh_dynbuf_init(&out, 64 * 1024);
  require(error->message[0] != '\0');
  require(rh_api_http_status(error->status) >= 400);
  require(endpoint->encode_error("r", error, in_stream, &out) == RH_OK);
  if (in_stream)
    check_stream(rh_dynbuf_data(&out));
  else
    check_json(rh_dynbuf_data(&out), out.length);
  rh_dynbuf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t endpoints = 0;
  while (rh_api_all()[endpoints] != NULL) endpoints++;
  if (size == 0) return 0;
  const rh_api_endpoint *endpoint = rh_api_all()[data[0] % endpoints];
  rh_request request = {.id = "req_0123456789abcdef0123456789abcdef"};
  rh_error error = {0};
  rh_dynbuf warnings;
  rh_dynbuf_init(&warnings, 512);
  rh_arena *arena = rh_arena_new(1024 * 1024);
  require(arena != NULL);
  rh_status status = endpoint->decode((const char *)data + 1, size - 1, arena, &request, &warnings, &error);
  require(!warnings.failed);
  if (status == RH_OK) {
    check_request(&request);
    answer(endpoint, &request, rh_dynbuf_data(&warnings));
  } else {
    require(status == error.status);
    bool streams = strncmp(endpoint->path, "/api/embed", 10) != 0;  // Ollama's never do
    refuse(endpoint, &error, streams && (data[0] & 0x80) != 0);
  }
  rh_dynbuf_free(&warnings);
  rh_arena_free(arena);
  return 0;
}
