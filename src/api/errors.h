// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: what a status means to a client, and OpenAI's error shape.
#ifndef RH_API_ERRORS_H
#define RH_API_ERRORS_H

#include "api/api.h"

typedef struct rh_api_error_row {
  unsigned http;
  const char *type;  // OpenAI's error.type
  const char *code;  // OpenAI's error.code
  bool retry;
  const char *anthropic;  // Anthropic's error.type
} rh_api_error_row;

const rh_api_error_row *rh_api_error_find(rh_status status);

// {"message","type","param","code"}
void rh_api_put_error(rh_dynbuf *out, const rh_error *error);
// {"error":"text"}
rh_status rh_ollama_put_error(rh_dynbuf *out, const rh_error *error);

// The encode_error of OpenAI's endpoints: a body, or in a stream a `data:` line and the end of the stream.
rh_status rh_openai_encode_error(const char *request_id, const rh_error *error, bool in_stream, rh_dynbuf *out);

// The same for Anthropic's.
rh_status rh_anthropic_encode_error(const char *request_id, const rh_error *error, bool in_stream, rh_dynbuf *out);

#endif
