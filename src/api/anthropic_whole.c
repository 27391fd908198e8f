// SPDX-License-Identifier: Apache-2.0
//
// Anthropic's whole answer: the blocks that were held, in order. Writers only; they keep nothing.
#include "api/anthropic.h"

static const char *stop_reason(const rh_encoder_choice *choice) {
  switch (choice->finish) {
    case RH_FINISH_LENGTH: return "max_tokens";
    case RH_FINISH_TOOLS: return "tool_use";
    case RH_FINISH_FILTER: return "refusal";
    case RH_FINISH_STOP: break;
  }
  // A model that called tools waits for them, whatever its server said: clients look here before they run one.
  if (choice->has_calls) return "tool_use";
  return choice->stop != NULL ? "stop_sequence" : "end_turn";
}

void rh_anthropic_put_stop(rh_dynbuf *out, const rh_encoder_choice *choice) {
  const char *reason = stop_reason(choice);
  rh_put(out, "\"stop_reason\":");
  rh_put_string(out, reason);
  rh_put(out, ",\"stop_sequence\":");
  rh_put_string_or_null(out, strcmp(reason, "stop_sequence") == 0 ? choice->stop : NULL);
}

// The arguments are an object here. What a model wrote may be none, above all when it was cut off.
static void put_input(rh_dynbuf *out, const char *text, size_t length) {
  size_t blank = 0;
  while (blank < length && strchr(" \t\r\n", text[blank]) != NULL) blank++;
  if (blank == length) {
    rh_put(out, "{}");
    return;
  }
  json_t *value = rh_json_parse(text, length, NULL);
  if (json_is_object(value)) {
    (void)rh_dynbuf_append(out, text, length);
  } else {
    rh_put(out, "{\"invalid_arguments\":");
    (void)rh_json_append_string(out, text, length);
    rh_put(out, "}");
  }
  json_decref(value);
}

static void put_block(rh_dynbuf *out, const rh_encoder *encoder, const rh_api_block *block) {
  const rh_encoder_choice *choice = &encoder->choices[0];
  const char *names = rh_dynbuf_data(&choice->names);
  const char *bytes = rh_blocks_bytes(choice, block);
  if (block->kind == RH_API_BLOCK_TEXT) {
    rh_put(out, "{\"type\":\"text\",\"text\":");
    (void)rh_json_append_string(out, bytes, block->length);
  } else if (block->kind == RH_API_BLOCK_THOUGHT) {
    const char *signature = block->signature == SIZE_MAX ? "" : names + block->signature;
    const char *hidden = rh_api_redacted(signature);
    if (hidden != NULL) {
      rh_put(out, "{\"type\":\"redacted_thinking\",\"data\":");
      rh_put_string(out, hidden);
      rh_put(out, "}");
      return;
    }
    rh_put(out, "{\"type\":\"thinking\",\"thinking\":");
    (void)rh_json_append_string(out, bytes, block->length);
    rh_put(out, ",\"signature\":");
    rh_put_string(out, signature);
  } else {
    rh_put(out, "{\"type\":\"tool_use\",\"id\":");
    rh_api_put_call_id(out, encoder, names + block->id, 0, block->call);
    rh_put(out, ",\"name\":");
    rh_put_string(out, names + block->name);
    rh_put(out, ",\"input\":");
    put_input(out, bytes, block->length);
  }
  rh_put(out, "}");
}

void rh_anthropic_put_whole(rh_encoder *encoder, rh_dynbuf *out) {
  const rh_encoder_choice *choice = &encoder->choices[0];
  const char *separator = "";
  rh_put(out, "{\"id\":");
  rh_api_put_id(out, "msg_", encoder->request->id);
  rh_put(out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
  rh_put_string(out, encoder->meta->model == NULL ? "" : encoder->meta->model);
  rh_put(out, ",\"content\":[");
  for (size_t i = 0; i < choice->block_count; i++) {
    const rh_api_block *block = &choice->blocks[i];
    // Thoughts that nobody asked for would stand where simple clients look for the text.
    if (block->kind == RH_API_BLOCK_THOUGHT && !encoder->notes->wants_thoughts) continue;
    rh_put(out, separator);
    put_block(out, encoder, block);
    separator = ",";
  }
  rh_put(out, "],");
  rh_anthropic_put_stop(out, choice);
  rh_put(out, ",");
  rh_anthropic_put_usage(out, encoder, 0, choice->usage.completion_tokens);
  rh_api_put_extras(out, encoder);
  rh_put(out, "}");
}
