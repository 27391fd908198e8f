// SPDX-License-Identifier: Apache-2.0
//
// What every answer tells besides its text: tokens used, where it came from and how long it took, and what of the
// request had no effect. Writers only; they keep nothing. No program of ours sets a locale, so printf writes points.
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "api/encoder.h"
#include "base/clock.h"

// JSON has no infinity, but a forbidden token has the logprob minus infinity; other servers write this for it.
#define NEVER_LOGPROB (-9999.0)

void rh_put_string_or_null(rh_dynbuf *out, const char *text) {
  if (text == NULL || text[0] == '\0')
    rh_put(out, "null");
  else
    rh_put_string(out, text);
}

void rh_put_int(rh_dynbuf *out, int64_t value) {
  char digits[RH_INT_TEXT_SIZE];
  (void)rh_dynbuf_append(out, digits, rh_text_format_int(digits, value));
}

void rh_put_number(rh_dynbuf *out, double value) {
  char text[40];
  if (!isfinite(value)) value = NEVER_LOGPROB;
  if (fabs(value) < 1e6 && value == trunc(value)) {
    rh_put_int(out, (int64_t)value);
    return;
  }
  // Six digits are what a float holds for sure; more would be noise.
  (void)snprintf(text, sizeof text, "%.6g", value);
  rh_put(out, text);
}

static void put_ms(rh_dynbuf *out, double ms) {
  if (!(ms > 0 && ms < 1e12)) ms = 0;
  int64_t thousandths = llround(ms * 1000);
  rh_put_int(out, thousandths / 1000);
  int rest = (int)(thousandths % 1000);
  const char point[] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10), (char)('0' + rest % 10)};
  (void)rh_dynbuf_append(out, point, sizeof point);
}

const char *rh_api_id_digits(const char *request_id) {
  size_t length = strlen(request_id);
  const char *digits = length > RH_API_ID_DIGITS ? request_id + length - RH_API_ID_DIGITS : request_id;
  return strspn(digits, "0123456789abcdef") == RH_API_ID_DIGITS ? digits : request_id;
}

void rh_api_put_id(rh_dynbuf *out, const char *prefix, const char *request_id) {
  char id[RH_ID_SIZE + 48];
  (void)snprintf(id, sizeof id, "%s%s", prefix, rh_api_id_digits(request_id));
  rh_put_string(out, id);
}

const char *rh_api_finish_word(const rh_encoder_choice *choice) {
  switch (choice->finish) {
    case RH_FINISH_LENGTH: return "length";
    case RH_FINISH_TOOLS: return "tool_calls";
    case RH_FINISH_FILTER: return "content_filter";
    case RH_FINISH_STOP: break;
  }
  return choice->has_calls ? "tool_calls" : "stop";
}

void rh_api_put_usage(rh_dynbuf *out, const rh_encoder *encoder) {
  rh_usage usage = rh_encoder_usage(encoder);
  rh_put(out, "{\"prompt_tokens\":");
  rh_put_int(out, usage.prompt_tokens);
  rh_put(out, ",\"completion_tokens\":");
  rh_put_int(out, usage.completion_tokens);
  rh_put(out, ",\"total_tokens\":");
  rh_put_int(out, usage.prompt_tokens + usage.completion_tokens);
  rh_put(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
  rh_put_int(out, usage.cached_tokens);
  rh_put(out, "},\"completion_tokens_details\":{\"reasoning_tokens\":");
  rh_put_int(out, usage.reasoning_tokens);
  rh_put(out, "}}");
}

static void put_member(rh_dynbuf *out, const char *name, const char *text) {
  rh_put(out, name);
  rh_put_string_or_null(out, text);
}

// One choice has the engine's own time; several ran side by side or one after the other, so the clock on the wall is the only
// fair one.
rh_api_pace rh_api_pace_of(const rh_encoder *encoder) {
  rh_api_pace pace = {.ms = encoder->choice_count == 1 ? encoder->choices[0].usage.decode_ms : 0};
  for (size_t i = 0; i < encoder->choice_count; i++) {
    int64_t made = encoder->choices[i].usage.completion_tokens;
    if (made > 1) pace.tokens += made - 1;
  }
  return pace;
}

// 0 when unknown.
static double tokens_per_second(const rh_api_pace *pace, uint64_t first_ns, uint64_t finished_ns) {
  double ms = pace->ms;
  if (!(ms > 0) && first_ns != 0 && finished_ns > first_ns) ms = rh_ns_to_ms(finished_ns - first_ns);
  return ms > 0 ? (double)pace->tokens * 1000.0 / ms : 0;
}

static void put_clock(rh_dynbuf *out, const rh_answer_meta *meta, const rh_api_pace *pace) {
  uint64_t finished_ns = meta->finished_ns != 0 ? meta->finished_ns : rh_clock_now_ns();
  rh_put(out, ",\"latency_ms\":");
  put_ms(out, finished_ns > meta->received_ns ? rh_ns_to_ms(finished_ns - meta->received_ns) : 0);
  rh_put(out, ",\"first_token_latency_ms\":");
  if (meta->first_token_ns >= meta->received_ns && meta->first_token_ns != 0) {
    put_ms(out, rh_ns_to_ms(meta->first_token_ns - meta->received_ns));
  } else {
    rh_put(out, "null");
  }
  double rate = tokens_per_second(pace, meta->first_token_ns, finished_ns);
  rh_put(out, ",\"tokens_per_second\":");
  if (rate > 0)
    put_ms(out, rate);
  else
    rh_put(out, "null");
}

// Members that are there only where something was said.
static void put_gateway(rh_dynbuf *out, const rh_answer_meta *meta) {
  if (meta->attempts > 0) {
    rh_put(out, ",\"attempts\":");
    rh_put_int(out, meta->attempts);
  }
  if (meta->cache_age_s > 0) {
    rh_put(out, ",\"cache_age_s\":");
    put_ms(out, meta->cache_age_s);  // three decimals, though seconds
  }
  if (meta->experiment != NULL) put_member(out, ",\"experiment\":", meta->experiment);
  if (meta->arm != NULL) put_member(out, ",\"arm\":", meta->arm);
}

void rh_api_put_times(rh_dynbuf *out, const rh_answer_meta *meta, const rh_api_pace *pace) {
  put_gateway(out, meta);
  put_clock(out, meta, pace);
}

void rh_api_put_confidence(rh_dynbuf *out, const rh_answer_meta *meta) {
  if (meta->confidence > 0)
    rh_put_number(out, meta->confidence);
  else
    rh_put(out, "null");
}

void rh_api_put_origin(rh_dynbuf *out, rh_encoder *encoder) {
  const rh_answer_meta *meta = encoder->meta;
  const rh_model_info *info = meta->info;
  put_member(out, "\"version\":", meta->version);
  put_member(out, ",\"provider\":", meta->provider);
  put_member(out, ",\"host\":", meta->host);
  put_member(out, ",\"engine\":", info == NULL ? NULL : info->engine);
  put_member(out, ",\"device\":", info == NULL ? NULL : info->device);
  put_member(out, ",\"quantization\":", info == NULL ? NULL : info->quantization);
  put_member(out, ",\"acceleration\":", info == NULL ? NULL : info->acceleration);
  put_member(out, ",\"route_reason\":", meta->route_reason);
  put_member(out, ",\"cache\":", meta->cache);
  rh_put(out, ",\"cost_usd\":");
  rh_put_number(out, meta->cost_usd);
  rh_api_pace pace = rh_api_pace_of(encoder);
  encoder->marks.times = out->length;
  rh_api_put_times(out, meta, &pace);
  encoder->marks.times_length = out->length - encoder->marks.times;
}

void rh_api_put_warnings(rh_dynbuf *out, const rh_encoder *encoder) {
  const char *at = encoder->warnings;
  if (at[0] == '\0') return;
  rh_put(out, ",\"warnings\":[");
  for (bool more = true; more;) {
    const char *comma = strchr(at, ',');
    size_t length = comma == NULL ? strlen(at) : (size_t)(comma - at);
    (void)rh_json_append_string(out, at, length);
    more = comma != NULL;
    if (!more) break;
    rh_put(out, ",");
    at = comma + 1 + strspn(comma + 1, " ");
  }
  rh_put(out, "]");
}

void rh_api_put_extras(rh_dynbuf *out, rh_encoder *encoder) {
  rh_put(out, ",\"roundhouse\":{");
  rh_api_put_origin(out, encoder);
  if (encoder->meta->confidence > 0) {
    rh_put(out, ",\"confidence\":");
    rh_api_put_confidence(out, encoder->meta);
  }
  rh_put(out, "}");
  rh_api_put_warnings(out, encoder);
}
