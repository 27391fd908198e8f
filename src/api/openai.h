// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: what the two OpenAI endpoints that generate text share in their answers.
#ifndef RH_API_OPENAI_H
#define RH_API_OPENAI_H

#include "api/encoder.h"

// How an endpoint's answers differ: the fixed pieces around a text, and how logprobs look.
typedef struct rh_openai_shape {
  const char *id_prefix;     // "chatcmpl-"
  const char *object;        // of a whole answer
  const char *chunk_object;  // of a stream's chunk
  const char *begin;         // member of the chunk that opens a choice; NULL = none, unless the prompt is echoed
  const char *text_before;   // in a chunk, between the choice's index and its text
  const char *text_after;
  const char *end;             // member of the chunk that ends a choice
  const char *message_before;  // the same for a whole answer
  const char *message_after;
  bool chat;  // messages: with thoughts and calls of tools
  void (*add_logprobs)(const rh_encoder *encoder, rh_encoder_choice *choice, const rh_event *delta);
  void (*put_logprobs)(rh_dynbuf *out, const rh_encoder *encoder, const rh_encoder_choice *choice);
} rh_openai_shape;

rh_status rh_openai_encode(rh_encoder *encoder, const rh_openai_shape *shape, const rh_event *event, rh_dynbuf *out,
                           bool *finished);

#endif
