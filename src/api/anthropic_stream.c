// SPDX-License-Identifier: Apache-2.0
//
// Anthropic's stream of events: a message begins, its blocks follow one another (each begins, grows and ends), and the message
// ends with its reason and counts. The state is the encoder's; nothing is kept here. Text is written straight from its
// pieces, because that happens once per token.
#include "api/anthropic.h"

static size_t bytes_of(const char *text) { return text == NULL ? 0 : strlen(text); }

// What the prompt may cost, for upstreams that count it only at the end: clients show the number at once and some divide
// by it.
static int64_t estimate_prompt(const rh_request *request) {
  const rh_prompt *prompt = &request->prompts[0];
  size_t bytes = 0, tokens = 1 + prompt->count;  // what stands around each message
  const rh_extras *extras = request->extras;
  for (size_t i = 0; i < prompt->count; i++) {
    bytes += strlen(prompt->messages[i].content);
    for (size_t k = 0; k < prompt->messages[i].piece_count; k++)
      bytes += bytes_of(prompt->messages[i].pieces[k].arguments);
  }
  for (size_t i = 0; extras != NULL && i < extras->tool_count; i++) {
    bytes += strlen(extras->tools[i].schema) + bytes_of(extras->tools[i].description) + strlen(extras->tools[i].name);
  }
  return (int64_t)tokens + rh_tokens_of_bytes(bytes);
}

void rh_anthropic_put_usage(rh_dynbuf *out, const rh_encoder *encoder, int64_t least, int64_t output_tokens) {
  rh_usage usage = rh_encoder_usage(encoder);
  if (usage.prompt_tokens <= 0) usage.prompt_tokens = estimate_prompt(encoder->request);
  // Here the parts of the prompt that came from a cache or went into one are counted beside the rest.
  int64_t rest = usage.prompt_tokens - usage.cached_tokens - usage.written_tokens;
  rh_put(out, "\"usage\":{\"input_tokens\":");
  rh_put_int(out, rest > least ? rest : least);
  rh_put(out, ",\"cache_creation_input_tokens\":");
  rh_put_int(out, usage.written_tokens);
  rh_put(out, ",\"cache_read_input_tokens\":");
  rh_put_int(out, usage.cached_tokens);
  rh_put(out, ",\"output_tokens\":");
  rh_put_int(out, output_tokens);
  rh_put(out, "}");
}

static void begin_message(const rh_encoder *encoder, rh_dynbuf *out) {
  rh_put(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":");
  rh_api_put_id(out, "msg_", encoder->request->id);
  rh_put(out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
  rh_put_string(out, encoder->meta->model == NULL ? "" : encoder->meta->model);
  rh_put(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,");
  rh_anthropic_put_usage(out, encoder, 1, 1);
  rh_put(out, "}}\n\n");
}

static void begin_event(rh_dynbuf *out, const char *name, size_t index) {
  rh_put(out, "event: ");
  rh_put(out, name);
  rh_put(out, "\ndata: {\"type\":\"");
  rh_put(out, name);
  rh_put(out, "\",\"index\":");
  rh_put_int(out, (int64_t)index);
}

static void close_block(rh_encoder_choice *choice, rh_dynbuf *out) {
  if (choice->open == RH_API_BLOCK_NONE) return;
  begin_event(out, "content_block_stop", choice->opened - 1);
  rh_put(out, "}\n\n");
  choice->open = RH_API_BLOCK_NONE;
}

// The event that opens a block is finished by the caller with the block's object and "}\n\n".
static void open_block(rh_encoder_choice *choice, rh_api_block_kind kind, rh_dynbuf *out) {
  close_block(choice, out);
  begin_event(out, "content_block_start", choice->opened++);
  rh_put(out, ",\"content_block\":");
  choice->open = kind;
  choice->open_signed = false;
}

static void put_delta(rh_encoder_choice *choice, rh_dynbuf *out, const char *members, const char *text, size_t length) {
  begin_event(out, "content_block_delta", choice->opened - 1);
  rh_put(out, members);
  (void)rh_json_append_string(out, text, length);
  rh_put(out, "}}\n\n");
}

static void stream_text(rh_encoder_choice *choice, const rh_event *event, rh_dynbuf *out) {
  if (event->as.delta.length == 0) return;
  if (choice->open != RH_API_BLOCK_TEXT) {
    open_block(choice, RH_API_BLOCK_TEXT, out);
    rh_put(out, "{\"type\":\"text\",\"text\":\"\"}}\n\n");
  }
  put_delta(choice, out, ",\"delta\":{\"type\":\"text_delta\",\"text\":", event->as.delta.text, event->as.delta.length);
}

static void stream_thought(rh_encoder_choice *choice, const rh_event *event, rh_dynbuf *out) {
  const char *signature = event->as.delta.signature;
  const char *hidden = rh_api_redacted(signature);
  if (event->as.delta.length == 0 && signature == NULL) return;
  if (hidden != NULL) {
    open_block(choice, RH_API_BLOCK_THOUGHT, out);
    rh_put(out, "{\"type\":\"redacted_thinking\",\"data\":");
    rh_put_string(out, hidden);
    rh_put(out, "}}\n\n");
    choice->open_signed = true;
    return;
  }
  if (choice->open != RH_API_BLOCK_THOUGHT || choice->open_signed) {
    open_block(choice, RH_API_BLOCK_THOUGHT, out);
    rh_put(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n");
  }
  if (event->as.delta.length > 0) {
    put_delta(choice, out, ",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":", event->as.delta.text,
              event->as.delta.length);
  }
  if (signature == NULL) return;
  put_delta(choice, out, ",\"delta\":{\"type\":\"signature_delta\",\"signature\":", signature, strlen(signature));
  choice->open_signed = true;
}

static void stream_tool(const rh_encoder *encoder, rh_encoder_choice *choice, const rh_event *event, rh_dynbuf *out) {
  if (choice->open != RH_API_BLOCK_CALL || choice->open_call != event->as.tool.index) {
    open_block(choice, RH_API_BLOCK_CALL, out);
    choice->open_call = event->as.tool.index;
    rh_put(out, "{\"type\":\"tool_use\",\"id\":");
    rh_api_put_call_id(out, encoder, event->as.tool.id, event->choice, event->as.tool.index);
    rh_put(out, ",\"name\":");
    rh_put_string(out, event->as.tool.name == NULL ? "" : event->as.tool.name);
    rh_put(out, ",\"input\":{}}}\n\n");
  }
  if (event->as.tool.length == 0) return;
  put_delta(choice, out, ",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":", event->as.tool.arguments,
            event->as.tool.length);
}

static void end_message(rh_encoder *encoder, const rh_encoder_choice *choice, rh_dynbuf *out) {
  rh_put(out, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
  rh_anthropic_put_stop(out, choice);
  rh_put(out, "},");
  rh_anthropic_put_usage(out, encoder, 0, choice->usage.completion_tokens);
  rh_api_put_extras(out, encoder);
  rh_put(out, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

void rh_anthropic_stream(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out) {
  rh_encoder_choice *choice = &encoder->choices[0];
  if (event->kind == RH_EVENT_PROGRESS || event->kind == RH_EVENT_USAGE) return;
  if (!choice->begun) begin_message(encoder, out);
  choice->begun = true;
  bool thought = event->kind == RH_EVENT_DELTA && event->as.delta.reasoning;
  if (thought && encoder->notes->wants_thoughts) stream_thought(choice, event, out);
  if (event->kind == RH_EVENT_DELTA && !thought) stream_text(choice, event, out);
  if (event->kind == RH_EVENT_TOOL) stream_tool(encoder, choice, event, out);
  if (event->kind != RH_EVENT_END) return;
  close_block(choice, out);
  end_message(encoder, choice, out);
}
