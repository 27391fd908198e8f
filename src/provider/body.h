// SPDX-License-Identifier: Apache-2.0
//
// Private to src/provider: writing a request's body as JSON straight into a buffer. The buffer remembers a failed append, so only
// the end is checked. And the protocols' writers and readers, for protocol.c.
#ifndef RH_PROVIDER_BODY_H
#define RH_PROVIDER_BODY_H

#include "provider/known.h"
#include "provider/protocol.h"

// What all writers are given.
typedef struct rh_body {
  rh_dynbuf *out;
  const rh_provider_spec *spec;
  const rh_run *run;
  rh_error *error;
} rh_body;

void rh_body_put(const rh_body *body, const char *json);   // as it is
void rh_body_next(const rh_body *body);                    // a comma, unless an object or array was just opened
void rh_body_key(const rh_body *body, const char *key);    // ,"key":
void rh_body_text(const rh_body *body, const char *text);  // as a string
void rh_body_string(const rh_body *body, const char *key, const char *text);
void rh_body_integer(const rh_body *body, const char *key, int64_t value);
void rh_body_real(const rh_body *body, const char *key, float value);  // the shortest that reads back the same
void rh_body_bool(const rh_body *body, const char *key, bool value);
void rh_body_json(const rh_body *body, const char *key, const char *json);
rh_status rh_body_end(const rh_body *body);  // RH_TOO_LARGE, RH_NO_MEMORY

// RH_UNSUPPORTED: this provider cannot be told `param`; the words say why or what to do.
rh_status rh_body_refuse(const rh_body *body, const char *param, const char *format, ...) RH_PRINTF(3, 4);

// The URL of an image as a string: its own, or a "data:" one.
rh_status rh_body_image_url(const rh_body *body, const rh_piece *piece, const char *param);
// Whether base64 and media type are sound enough to stand in JSON as they are.
rh_status rh_body_check_image(const rh_body *body, const rh_piece *piece, const char *param);
void rh_body_stops(const rh_body *body, const char *key);
// Whether the configuration has a header of this name.
bool rh_body_has_header(const rh_provider_spec *spec, const char *name);
// A member of rh_generate that was given and is not the value that changes nothing.
bool rh_body_wants(const rh_run *run, uint32_t given_bit);
// Refuse what was asked for of these RH_GIVEN_ bits.
rh_status rh_body_refuse_given(const rh_body *body, uint32_t bits, const char *why);
// Effort for a budget of thinking tokens, and the other way round.
const char *rh_body_effort_of(int64_t tokens);
int64_t rh_body_budget_of(const char *effort);  // -1: no such word; 0: none

// infer.c: /embeddings and /rerank, for all protocols of OpenAI's kind.
rh_status rh_body_write_infer(const rh_body *body, const char **path);
void rh_body_read_infer(rh_protocol_reader *reader, const json_t *root);
// chat_messages.c
rh_status rh_chat_write_messages(const rh_body *body);
// chat_read.c
rh_protocol_reader *rh_chat_reader_new(const rh_provider_spec *spec, const rh_run *run, bool stream);
void rh_chat_read_usage(rh_protocol_reader *reader, const json_t *usage);
// responses_read.c, anthropic_read.c
rh_protocol_reader *rh_responses_reader_new(const rh_provider_spec *spec, const rh_run *run, bool stream);
rh_protocol_reader *rh_anthropic_reader_new(const rh_provider_spec *spec, const rh_run *run, bool stream);
// anthropic_messages.c
rh_status rh_anthropic_write_messages(const rh_body *body);
// The value of "cache_control" on what has a cache_mark.
#define RH_ANTHROPIC_MARK "{\"type\":\"ephemeral\"}"

extern const rh_protocol_ops rh_protocol_chat, rh_protocol_responses, rh_protocol_anthropic;

#endif
