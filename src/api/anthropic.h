// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: Anthropic's dialect, its parts by file.
#ifndef RH_API_ANTHROPIC_H
#define RH_API_ANTHROPIC_H

#include "api/encoder.h"

// The body's `system` and `messages` into the request's only prompt (anthropic_messages.c).
rh_status rh_anthropic_read_messages(rh_decoding *decoding) RH_MUST_CHECK;
// A block or a tool with "cache_control". Its time to live is Anthropic's affair and the default.
bool rh_anthropic_has_mark(const json_t *object);
// Rows of the body (anthropic_tools.c).
rh_status rh_anthropic_read_tools(rh_decoding *decoding, const rh_field *field);
rh_status rh_anthropic_read_choice(rh_decoding *decoding, const rh_field *field);
rh_status rh_anthropic_read_thinking(rh_decoding *decoding, const rh_field *field);
rh_status rh_anthropic_read_output(rh_decoding *decoding, const rh_field *field);  // output_config: effort, format
rh_status rh_anthropic_read_format(rh_decoding *decoding, const rh_field *field);  // output_format, its older place

// The way out (anthropic_stream.c, anthropic_whole.c).
void rh_anthropic_stream(rh_encoder *encoder, const rh_event *event, rh_dynbuf *out);
void rh_anthropic_put_whole(rh_encoder *encoder, rh_dynbuf *out);
// Members that both have: "stop_reason":...,"stop_sequence":... and the usage object.
void rh_anthropic_put_stop(rh_dynbuf *out, const rh_encoder_choice *choice);
// `least`: the input tokens that are told even where all came from a cache.
void rh_anthropic_put_usage(rh_dynbuf *out, const rh_encoder *encoder, int64_t least, int64_t output_tokens);

#endif
