// SPDX-License-Identifier: Apache-2.0
//
// Answers of OpenAI's text endpoints, whole and streamed. The endpoints give a shape with what differs. The state is
// the encoder's; nothing is kept here. A text chunk is written straight from its pieces, because it is the one thing
// that happens once per token.
#include "api/openai.h"

#include <assert.h>

#include "base/version.h"

static bool wants_logprobs(const rh_encoder *encoder) { return encoder->request->generate.top_logprobs >= 0; }

// The members that stand in front of the choices in every chunk, built once.
static void build_prefix(rh_encoder *encoder, const rh_openai_shape *shape) {
  rh_dynbuf *out = &encoder->prefix;
  bool stream = encoder->request->stream;
  if (stream) rh_put(out, "data: ");
  rh_put(out, "{\"id\":");
  rh_api_put_id(out, shape->id_prefix, encoder->request->id);
  rh_put(out, ",\"object\":");
  rh_put_string(out, stream ? shape->chunk_object : shape->object);
  rh_put(out, ",\"created\":");
  encoder->marks.created = out->length;
  rh_put_int(out, encoder->meta->created);
  encoder->marks.created_length = out->length - encoder->marks.created;
  rh_put(out, ",\"model\":");
  rh_put_string(out, encoder->meta->model == NULL ? "" : encoder->meta->model);
  rh_put(out, ",\"system_fingerprint\":\"rh-" RH_VERSION "\",\"choices\":[");
}

static void begin_chunk(rh_dynbuf *out, const rh_encoder *encoder, uint32_t choice) {
  rh_put_buf(out, &encoder->prefix);
  rh_put(out, "{\"index\":");
  rh_put_int(out, choice);
  rh_put(out, ",");
}

// With include_usage every chunk but the last says that the usage is not known yet.
static void end_chunk(rh_dynbuf *out, const rh_encoder *encoder) {
  rh_put(out, encoder->notes->include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

static void put_text(rh_dynbuf *out, const rh_openai_shape *shape, const char *text, size_t length) {
  rh_put(out, shape->text_before);
  (void)rh_json_append_string(out, text == NULL ? "" : text, length);
  rh_put(out, shape->text_after);
}

// The prompt that stands in front of a choice's answer, or NULL.
static const rh_prompt *echoed_prompt(const rh_encoder *encoder, uint32_t choice) {
  const rh_request *request = encoder->request;
  return encoder->notes->echo ? &request->prompts[choice / (uint32_t)request->choices] : NULL;
}

static void stream_begin(const rh_encoder *encoder, const rh_openai_shape *shape, uint32_t choice, rh_dynbuf *out) {
  const rh_prompt *prompt = echoed_prompt(encoder, choice);
  if (shape->begin == NULL && prompt == NULL) return;
  begin_chunk(out, encoder, choice);
  if (shape->begin != NULL)
    rh_put(out, shape->begin);
  else
    put_text(out, shape, prompt->text, prompt->count);
  rh_put(out, ",\"logprobs\":null,\"finish_reason\":null}");
  end_chunk(out, encoder);
}

static void stream_delta(rh_encoder *encoder, const rh_openai_shape *shape, const rh_event *event, rh_dynbuf *out) {
  rh_encoder_choice *choice = &encoder->choices[event->choice];
  bool logprobs = wants_logprobs(encoder) && event->as.delta.logprob_count > 0;
  if (event->as.delta.length == 0 && !logprobs) return;
  begin_chunk(out, encoder, event->choice);
  put_text(out, shape, event->as.delta.text, event->as.delta.length);
  rh_put(out, ",\"logprobs\":");
  if (logprobs) {
    shape->add_logprobs(encoder, choice, event);
    shape->put_logprobs(out, encoder, choice);
    rh_logprobs_clear(choice);
  } else {
    rh_put(out, "null");
  }
  rh_put(out, ",\"finish_reason\":null}");
  end_chunk(out, encoder);
}

static void end_delta_chunk(rh_dynbuf *out, const rh_encoder *encoder) {
  rh_put(out, "},\"logprobs\":null,\"finish_reason\":null}");
  end_chunk(out, encoder);
}

// Under both names that clients look for.
static void stream_thought(const rh_encoder *encoder, const rh_event *event, rh_dynbuf *out) {
  if (event->as.delta.length == 0) return;
  begin_chunk(out, encoder, event->choice);
  rh_put(out, "\"delta\":{\"reasoning_content\":");
  (void)rh_json_append_string(out, event->as.delta.text, event->as.delta.length);
  rh_put(out, ",\"reasoning\":");
  (void)rh_json_append_string(out, event->as.delta.text, event->as.delta.length);
  end_delta_chunk(out, encoder);
}

static void stream_tool(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out) {
  bool begins = rh_blocks_begins_call(&encoder->choices[event->choice], event);
  if (!begins && event->as.tool.length == 0) return;
  begin_chunk(out, encoder, event->choice);
  rh_put(out, "\"delta\":{\"tool_calls\":[{\"index\":");
  rh_put_int(out, event->as.tool.index);
  if (begins) {
    rh_put(out, ",\"id\":");
    rh_api_put_call_id(out, encoder, event->as.tool.id, event->choice, event->as.tool.index);
    rh_put(out, ",\"type\":\"function\"");
  }
  rh_put(out, ",\"function\":{");
  if (begins) {
    rh_put(out, "\"name\":");
    rh_put_string(out, event->as.tool.name == NULL ? "" : event->as.tool.name);
    rh_put(out, ",");
  }
  rh_put(out, "\"arguments\":");
  (void)rh_json_append_string(out, event->as.tool.length == 0 ? "" : event->as.tool.arguments, event->as.tool.length);
  rh_put(out, "}}]");
  end_delta_chunk(out, encoder);
}

static void stream_end(rh_encoder *encoder, const rh_openai_shape *shape, const rh_event *event, rh_dynbuf *out) {
  bool last = rh_encoder_complete(encoder);
  bool usage = encoder->notes->include_usage;
  begin_chunk(out, encoder, event->choice);
  rh_put(out, shape->end);
  rh_put(out, ",\"logprobs\":null,\"finish_reason\":");
  rh_put_string(out, rh_api_finish_word(&encoder->choices[event->choice]));
  rh_put(out, "}");
  if (!last || usage) {
    end_chunk(out, encoder);
  } else {
    rh_put(out, "]");
    rh_api_put_extras(out, encoder);
    rh_put(out, "}\n\n");
  }
  if (!last) return;
  if (usage) {
    rh_put_buf(out, &encoder->prefix);
    rh_put(out, "],\"usage\":");
    rh_api_put_usage(out, encoder);
    rh_api_put_extras(out, encoder);
    rh_put(out, "}\n\n");
  }
  rh_put(out, "data: [DONE]\n\n");
}

static void put_calls(rh_dynbuf *out, const rh_encoder *encoder, size_t at) {
  const rh_encoder_choice *choice = &encoder->choices[at];
  const char *separator = ",\"tool_calls\":[";
  for (size_t i = 0; i < choice->block_count; i++) {
    const rh_api_block *block = &choice->blocks[i];
    if (block->kind != RH_API_BLOCK_CALL) continue;
    const char *names = rh_dynbuf_data(&choice->names);
    rh_put(out, separator);
    rh_put(out, "{\"id\":");
    rh_api_put_call_id(out, encoder, names + block->id, (uint32_t)at, block->call);
    rh_put(out, ",\"type\":\"function\",\"function\":{\"name\":");
    rh_put_string(out, names + block->name);
    rh_put(out, ",\"arguments\":");
    (void)rh_json_append_string(out, rh_blocks_bytes(choice, block), block->length);
    rh_put(out, "}}");
    separator = ",";
  }
  if (choice->has_calls) rh_put(out, "]");
}

static void put_message(rh_dynbuf *out, const rh_encoder *encoder, const rh_openai_shape *shape, size_t at) {
  const rh_encoder_choice *choice = &encoder->choices[at];
  rh_put(out, shape->message_before);
  if (shape->chat && choice->has_calls && choice->text.length == 0)
    rh_put(out, "null");
  else
    (void)rh_json_append_string(out, rh_dynbuf_data(&choice->text), choice->text.length);
  if (shape->chat) {
    rh_put(out, ",\"refusal\":null");
    if (choice->thoughts.length > 0) {
      rh_put(out, ",\"reasoning_content\":");
      (void)rh_json_append_string(out, rh_dynbuf_data(&choice->thoughts), choice->thoughts.length);
      rh_put(out, ",\"reasoning\":");
      (void)rh_json_append_string(out, rh_dynbuf_data(&choice->thoughts), choice->thoughts.length);
    }
    put_calls(out, encoder, at);
  }
  rh_put(out, shape->message_after);
}

static void write_whole(rh_encoder *encoder, const rh_openai_shape *shape, rh_dynbuf *out) {
  rh_put_buf(out, &encoder->prefix);
  for (size_t i = 0; i < encoder->choice_count; i++) {
    const rh_encoder_choice *choice = &encoder->choices[i];
    if (i > 0) rh_put(out, ",");
    rh_put(out, "{\"index\":");
    rh_put_int(out, (int64_t)i);
    rh_put(out, ",");
    put_message(out, encoder, shape, i);
    rh_put(out, ",\"logprobs\":");
    if (wants_logprobs(encoder))
      shape->put_logprobs(out, encoder, choice);
    else
      rh_put(out, "null");
    rh_put(out, ",\"finish_reason\":");
    rh_put_string(out, rh_api_finish_word(choice));
    rh_put(out, "}");
  }
  rh_put(out, "],\"usage\":");
  rh_api_put_usage(out, encoder);
  rh_api_put_extras(out, encoder);
  rh_put(out, "}");
}

static void encode_stream(rh_encoder *encoder, const rh_openai_shape *shape, const rh_event *event, rh_dynbuf *out) {
  rh_encoder_choice *choice = &encoder->choices[event->choice];
  if (event->kind == RH_EVENT_PROGRESS || event->kind == RH_EVENT_USAGE) return;
  if (!choice->begun) stream_begin(encoder, shape, event->choice, out);
  choice->begun = true;
  bool thought = event->kind == RH_EVENT_DELTA && event->as.delta.reasoning;
  if (thought && shape->chat) stream_thought(encoder, event, out);
  if (event->kind == RH_EVENT_DELTA && !thought) stream_delta(encoder, shape, event, out);
  if (event->kind == RH_EVENT_TOOL && shape->chat) stream_tool(encoder, event, out);
  if (event->kind == RH_EVENT_END) stream_end(encoder, shape, event, out);
}

static void encode_whole(rh_encoder *encoder, const rh_openai_shape *shape, const rh_event *event, rh_dynbuf *out) {
  rh_encoder_choice *choice = &encoder->choices[event->choice];
  const rh_prompt *prompt = choice->begun ? NULL : echoed_prompt(encoder, event->choice);
  choice->begun = true;
  if (prompt != NULL) (void)rh_dynbuf_append(&choice->text, prompt->text, prompt->count);
  rh_blocks_add(choice, event);
  if (event->kind == RH_EVENT_DELTA && !event->as.delta.reasoning && wants_logprobs(encoder)) {
    shape->add_logprobs(encoder, choice, event);
  }
  if (event->kind == RH_EVENT_END && rh_encoder_complete(encoder)) write_whole(encoder, shape, out);
}

rh_status rh_openai_encode(rh_encoder *encoder, const rh_openai_shape *shape, const rh_event *event, rh_dynbuf *out,
                           bool *finished) {
  assert(event->kind != RH_EVENT_ERROR);
  if (encoder->prefix.length == 0) build_prefix(encoder, shape);
  if (encoder->request->stream)
    encode_stream(encoder, shape, event, out);
  else
    encode_whole(encoder, shape, event, out);
  *finished = rh_encoder_complete(encoder);
  return encoder->prefix.failed ? RH_TOO_LARGE : rh_put_status(out);
}
