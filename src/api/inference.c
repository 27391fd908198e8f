// SPDX-License-Identifier: Apache-2.0
//
// The project's own POST /api/inference: any task that does not generate, for any model, in one shape (docs/inference.md);
// POST /api/inference/stream is the same with events. Names of tasks and options that Hugging Face's clients use are taken
// too. Unknown fields are errors. Here is the way in; inference_out.c is the way out. Keeps nothing; pure.
#include "api/inference.h"

#include <stdio.h>

#include "api/endpoints.h"

// --- options -------------------------------------------------------------------------------------------------------

static rh_status read_aggregation(rh_decoding *decoding, const rh_field *field) {
  static const char *const WORDS[] = {
      [RH_AGGREGATION_SIMPLE] = "simple",   [RH_AGGREGATION_NONE] = "none", [RH_AGGREGATION_FIRST] = "first",
      [RH_AGGREGATION_AVERAGE] = "average", [RH_AGGREGATION_MAX] = "max",
  };
  const char *word = "";
  rh_status status = rh_json_get_string(decoding->body, decoding->path, field->name, &word, decoding->error);
  if (status != RH_OK) return status;
  for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
    if (strcmp(word, WORDS[i]) != 0) continue;
    decoding->infer->aggregation = (rh_aggregation)i;
    return RH_OK;
  }
  return rh_fail_param(decoding->error, RH_INVALID, field->name,
                       "\"%s\" must be \"simple\", \"none\", \"first\", \"average\" or \"max\", not \"%.32s\"",
                       field->name, word);
}

// transformers' word for what is done with a classifier's logits.
static rh_status read_function(rh_decoding *decoding, const rh_field *field) {
  const char *word = "";
  rh_status status = rh_json_get_string(decoding->body, decoding->path, field->name, &word, decoding->error);
  if (status != RH_OK) return status;
  rh_infer *infer = decoding->infer;
  if (strcmp(word, "sigmoid") == 0)
    infer->multi_label = RH_CHOICE_YES;
  else if (strcmp(word, "softmax") == 0)
    infer->multi_label = RH_CHOICE_NO;
  else if (strcmp(word, "none") == 0)
    infer->raw_scores = true;
  else
    return rh_fail_param(decoding->error, RH_INVALID, field->name,
                         "\"%s\" must be \"sigmoid\", \"softmax\" or \"none\", not \"%.32s\"", field->name, word);
  return RH_OK;
}

static rh_status read_labels(rh_decoding *decoding, const rh_field *field) {
  rh_infer *infer = decoding->infer;
  return rh_field_strings(decoding, field->name, RH_LABELS_MAX, &infer->labels, &infer->label_count);
}

static rh_status read_outputs(rh_decoding *decoding, const rh_field *field) {
  rh_infer *infer = decoding->infer;
  return rh_field_strings(decoding, field->name, RH_TENSORS_MAX, &infer->outputs, &infer->output_count);
}

#define TEXT_MAX RH_API_PROMPT_BYTES_MAX
static rh_status read_stride(rh_decoding *decoding, const rh_field *field) {
  rh_infer *infer = decoding->infer;
  infer->has_stride = true;
  return rh_json_get_int(decoding->body, decoding->path, field->name, 0, INT32_MAX, &infer->stride, decoding->error);
}

static const rh_field OPTIONS[] = {
    {.name = "dimensions", .read = rh_field_int64, RH_FIELD_INFER(dimensions), .min = 1, .max = RH_API_DIMENSIONS_MAX},
    {.name = "prompt_name", .read = rh_field_string, RH_FIELD_INFER(prompt_name), .max = RH_API_WORD_BYTES_MAX},
    {.name = "prompt", .read = rh_field_string, RH_FIELD_INFER(prompt), .max = TEXT_MAX},
    {.name = "normalize", .read = rh_field_choice, RH_FIELD_INFER(normalize)},
    {.name = "truncate", .read = rh_field_truncate},
    {.name = "top_k", .read = rh_field_int64, RH_FIELD_INFER(top_k), .min = 1, .max = INT32_MAX},
    {.name = "multi_label", .read = rh_field_choice, RH_FIELD_INFER(multi_label)},
    {.name = "function_to_apply", .read = read_function},
    {.name = "raw_scores", .read = rh_field_bool, RH_FIELD_INFER(raw_scores)},
    {.name = "aggregation_strategy", .read = read_aggregation},
    {.name = "aggregation", .read = read_aggregation},
    {.name = "stride", .read = read_stride},
    {.name = "candidate_labels", .read = read_labels},
    {.name = "labels", .read = read_labels},
    {.name = "hypothesis_template", .read = rh_field_string, RH_FIELD_INFER(hypothesis), .max = TEXT_MAX},
    {.name = "hypothesis", .read = rh_field_string, RH_FIELD_INFER(hypothesis), .max = TEXT_MAX},
    {.name = "outputs", .read = read_outputs},
    {.name = "encoding_format", .read = rh_field_encoding},
    {.name = "top_n", .read = rh_field_int64, RH_FIELD_NOTES(top_n), .min = 1, .max = INT32_MAX},
    {.name = "return_documents", .read = rh_field_bool, RH_FIELD_NOTES(return_documents)},
    {.name = NULL},
};

static rh_status read_options(rh_decoding *decoding, const rh_field *field) {
  static const rh_field *const tables[] = {OPTIONS, NULL};
  json_t *options = NULL;
  rh_status status = rh_json_get_object(decoding->body, "", field->name, &options, decoding->error);
  if (status != RH_OK || options == NULL) return status;
  rh_decoding inner = *decoding;
  inner.body = options;
  inner.path = field->name;
  return rh_api_decode_fields(&inner, tables, true);
}

// --- the body ------------------------------------------------------------------------------------------------------

static const rh_field FIELDS[] = {
    {.name = "model_id", .read = rh_field_string, RH_FIELD_REQUEST(model), .max = RH_MODEL_NAME_MAX},
    {.name = "task", .read = rh_field_string, RH_FIELD_NOTES(task_name), .max = RH_API_WORD_BYTES_MAX},
    {.name = "inputs", .read = rh_field_ignore},  // read on its own, when the task is known
    {.name = "parameters", .read = read_options},
    {.name = "options", .read = read_options},
    {.name = "user", .read = rh_field_string, RH_FIELD_REQUEST(user), .max = RH_API_WORD_BYTES_MAX},
    {.name = NULL},
};

static const rh_field *const TABLES[] = {rh_fields_request, rh_fields_hints, FIELDS, NULL};

static rh_status read_task(rh_decoding *decoding) {
  const char *name = decoding->notes->task_name;
  decoding->request->task = RH_TASK_OWN;
  if (name == NULL || name[0] == '\0') return RH_OK;
  rh_task task = rh_task_from_name(name);
  if (task == RH_TASK_COUNT) {
    return rh_fail_param(
        decoding->error, RH_INVALID, "task",
        "the task \"%.48s\" is not known; use \"embed\", \"rerank\", \"classify\", \"token-classify\", "
        "\"zero-shot\" or \"tensor\", or leave it out for what the model is for",
        name);
  }
  if (rh_task_generates(task)) {
    return rh_fail_param(decoding->error, RH_UNSUPPORTED, "task",
                         "text is not generated here; use POST /v1/chat/completions or /v1/completions");
  }
  decoding->request->task = task;
  return RH_OK;
}

static rh_status read_query(rh_decoding *decoding, const json_t *inputs) {
  const char *query = json_string_value(json_object_get(inputs, "query"));
  if (query == NULL) {
    return rh_fail_param(decoding->error, RH_INVALID, "inputs.query", "\"inputs.query\" must be a string");
  }
  rh_status status = rh_api_copy_string(decoding, query, &query);
  if (status != RH_OK) return status;
  return rh_infer_read_documents(decoding, query, json_object_get(inputs, "documents"), "inputs.documents");
}

static rh_status read_inputs(rh_decoding *decoding) {
  const json_t *inputs = json_object_get(decoding->body, "inputs");
  rh_request *request = decoding->request;
  if (request->task == RH_TASK_OWN && rh_infer_looks_like_tensors(inputs)) request->task = RH_TASK_TENSOR;
  if (request->task == RH_TASK_TENSOR && inputs != NULL) return rh_infer_read_tensors(decoding, inputs, "inputs");
  if (json_object_get(inputs, "query") != NULL || json_object_get(inputs, "documents") != NULL) {
    if (request->task == RH_TASK_OWN) request->task = RH_TASK_RERANK;
    return read_query(decoding, inputs);
  }
  return rh_infer_read_inputs(decoding, inputs, "inputs", true);
}

static rh_status check_pairs(rh_decoding *decoding) {
  const rh_infer *infer = decoding->infer;
  bool wanted = decoding->request->task == RH_TASK_RERANK;
  bool unwanted = decoding->request->task == RH_TASK_EMBED || decoding->request->task == RH_TASK_ZERO_SHOT ||
                  decoding->request->task == RH_TASK_TOKEN_CLASSIFY;
  for (size_t i = 0; i < infer->item_count; i++) {
    char where[64];
    bool pair = infer->items[i].pair != NULL;
    (void)snprintf(where, sizeof where, "inputs[%zu]", i);
    if (wanted && !pair) {
      return rh_fail_param(decoding->error, RH_INVALID, where,
                           "\"%s\" must be a pair {\"text\": query, \"text_pair\": document}, or \"inputs\" one "
                           "{\"query\", \"documents\"}",
                           where);
    }
    if (unwanted && pair) {
      return rh_fail_param(decoding->error, RH_INVALID, where, "\"%s\" is a pair; the task \"%s\" takes single texts",
                           where, rh_task_name(decoding->request->task));
    }
  }
  return RH_OK;
}

static rh_status check_combinations(rh_decoding *decoding) {
  const rh_request *request = decoding->request;
  if (request->task == RH_TASK_ZERO_SHOT && decoding->infer->label_count == 0) {
    return rh_fail_param(decoding->error, RH_INVALID, "options.labels",
                         "zero-shot classification needs \"options.labels\", an array of texts to choose from");
  }
  const char *hypothesis = decoding->infer->hypothesis;
  if (hypothesis != NULL && strstr(hypothesis, "{}") == NULL) {
    return rh_fail_param(decoding->error, RH_INVALID, "options.hypothesis",
                         "\"options.hypothesis\" must have {} where the label goes: \"This example is {}.\"");
  }
  return check_pairs(decoding);
}

static rh_status decode(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                        rh_error *error) {
  rh_decoding decoding;
  rh_status status = rh_api_decode_begin(&decoding, body, length, arena, out, warnings, error);
  if (status != RH_OK) return status;
  status = rh_infer_begin(&decoding, RH_TASK_OWN);
  if (status == RH_OK) status = rh_api_decode_fields(&decoding, TABLES, true);
  if (status == RH_OK) status = read_task(&decoding);
  if (status == RH_OK) status = read_inputs(&decoding);
  if (status == RH_OK) status = check_combinations(&decoding);
  rh_api_decode_end(&decoding);
  return status;
}

static rh_status decode_stream(const char *body, size_t length, rh_arena *arena, rh_request *out, rh_dynbuf *warnings,
                               rh_error *error) {
  rh_status status = decode(body, length, arena, out, warnings, error);
  out->stream = true;
  return status;
}

const rh_api_endpoint rh_endpoint_inference = {
    .name = "inference",
    .operation = "inference",
    .path = "/api/inference",
    .stream_type = "text/event-stream",
    .streams_by_default = false,
    .decode = decode,
    .encode = rh_inference_encode,
    .encode_error = rh_inference_encode_error,
    .ping = ": ping\n\n",
};

const rh_api_endpoint rh_endpoint_inference_stream = {
    .name = "inference.stream",
    .operation = "inference",
    .path = "/api/inference/stream",
    .stream_type = "text/event-stream",
    .streams_by_default = true,
    .decode = decode_stream,
    .encode = rh_inference_encode,
    .encode_error = rh_inference_encode_error,
    .ping = ": ping\n\n",
};
