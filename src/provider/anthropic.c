// SPDX-License-Identifier: Apache-2.0
//
// Anthropic's Messages API, version 2023-06-01, as requests: what its API reference says. Owns nothing; pure; any thread. Messages are
// anthropic_messages.c's, answers anthropic_read.c's.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "provider/body.h"
#include "provider/explain.h"
#include "provider/reader.h"

#define MAX_TOKENS 4096  // the field is required; this is how long an answer may be when nobody says
#define BUDGET_MIN 1024  // of thinking, by the API's reference

// Claude's generation from its name, as major * 100 + minor ("claude-3-7-sonnet-...": 307, "claude-opus-4-6": 406); 0 = not told. Some
// fields are known only to some generations, and a request with a wrong one is refused as a whole.
static int generation_of(const char *model) {
  const char *at = strstr(model, "claude-");
  if (at == NULL) return 0;
  at += 7;
  while (*at != '\0') {
    size_t digits = strspn(at, "0123456789");
    if (digits == 1 || digits == 2) {
      int major = atoi(at), minor = 0;
      at += digits;
      size_t more = *at == '-' || *at == '.' ? strspn(at + 1, "0123456789") : 0;
      if (more == 1 || more == 2) minor = atoi(at + 1);
      return major * 100 + minor;
    }
    at += strcspn(at, "-");
    if (*at == '-') at++;
  }
  return 0;
}

// From 4.6 on the model decides itself how long to think, is told an effort, and does not continue a message of its own.
static bool is_adaptive(const char *model) { return generation_of(model) >= 406; }

static void write_tool_choice(const rh_body *body, const rh_extras *extras) {
  static const char *const words[] = {
      [RH_TOOLS_AUTO] = "auto", [RH_TOOLS_NONE] = "none", [RH_TOOLS_REQUIRED] = "any", [RH_TOOLS_NAMED] = "tool"};
  if (extras->tool_choice == RH_TOOLS_AUTO && extras->parallel_tools != 0) return;
  rh_body_key(body, "tool_choice");
  rh_body_put(body, "{");
  rh_body_string(body, "type", words[extras->tool_choice]);
  if (extras->tool_choice == RH_TOOLS_NAMED) rh_body_string(body, "name", extras->tool_name);
  if (extras->parallel_tools == 0 && extras->tool_choice != RH_TOOLS_NONE)
    rh_body_bool(body, "disable_parallel_tool_use", true);
  rh_body_put(body, "}");
}

static void write_tools(const rh_body *body, const rh_extras *extras) {
  if (extras->tool_count == 0) return;
  rh_body_key(body, "tools");
  rh_body_put(body, "[");
  for (size_t i = 0; i < extras->tool_count; i++) {
    const rh_tool *tool = &extras->tools[i];
    rh_body_next(body);
    rh_body_put(body, "{");
    rh_body_string(body, "name", tool->name);
    if (tool->description != NULL) rh_body_string(body, "description", tool->description);
    rh_body_json(body, "input_schema", tool->schema != NULL ? tool->schema : "{\"type\":\"object\",\"properties\":{}}");
    if (tool->strict) rh_body_bool(body, "strict", true);
    if (tool->cache_mark) rh_body_json(body, "cache_control", RH_ANTHROPIC_MARK);
    rh_body_put(body, "}");
  }
  rh_body_put(body, "]");
  write_tool_choice(body, extras);
}

typedef struct thinking {
  bool on, adaptive, off;
  const char *effort;  // NULL = not said
  int64_t budget;
} thinking;

static rh_status plan_thinking(const rh_body *body, const char *model, thinking *plan) {
  const rh_extras *extras = body->run->extras;
  *plan = (thinking){.adaptive = is_adaptive(model)};
  if (extras == NULL) return RH_OK;
  if (extras->reasoning_effort == NULL && extras->reasoning_tokens <= 0) {
    // Left to the model, with the effort that is its default. An older one cannot decide, so it goes without thinking.
    plan->on = extras->reasoning_adaptive && plan->adaptive;
    return RH_OK;
  }
  plan->budget = extras->reasoning_tokens;
  if (plan->budget <= 0) {
    plan->budget = rh_body_budget_of(extras->reasoning_effort);
    if (plan->budget < 0)
      return rh_body_refuse(body, "reasoning_effort", "it knows none, minimal, low, medium, high, xhigh and max");
    plan->off = plan->budget == 0;
    if (plan->off) return RH_OK;
    // An effort bends to the length that was asked for; a number of the client's own does not.
    int64_t most = body->run->generate.max_tokens;
    if (!plan->adaptive && most > 0 && plan->budget >= most) plan->budget = most / 2;
    if (plan->budget < BUDGET_MIN) plan->budget = BUDGET_MIN;
    const char *word = extras->reasoning_effort;
    plan->effort = strcmp(word, "minimal") == 0 ? "low" : strcmp(word, "xhigh") == 0 ? "max" : word;
  } else {
    plan->effort = rh_body_effort_of(plan->budget);
  }
  plan->on = true;
  return RH_OK;
}

// What the API refuses beside thinking, said before it is sent.
static rh_status check_thinking(const rh_body *body, const thinking *plan) {
  const rh_run *run = body->run;
  if (!plan->on) return RH_OK;
  if (!plan->adaptive && plan->budget < BUDGET_MIN)
    return rh_body_refuse(body, "thinking.budget_tokens", "it thinks with at least %d tokens", BUDGET_MIN);
  if (!plan->adaptive && run->generate.max_tokens > 0 && plan->budget >= run->generate.max_tokens)
    return rh_body_refuse(body, "max_tokens",
                          "it counts the thinking too, so it must be more than the %lld tokens of that",
                          (long long)plan->budget);
  if (rh_body_wants(run, RH_GIVEN_TEMPERATURE) && run->generate.temperature != 1)
    return rh_body_refuse(body, "temperature", "while it thinks, only 1 is allowed");
  if (rh_body_wants(run, RH_GIVEN_TOP_K)) return rh_body_refuse(body, "top_k", "not while it thinks");
  if (run->extras->tool_count > 0 &&
      (run->extras->tool_choice == RH_TOOLS_REQUIRED || run->extras->tool_choice == RH_TOOLS_NAMED))
    return rh_body_refuse(body, "tool_choice", "while it thinks, no tool can be forced");
  if (run->prefix != NULL)
    return rh_body_refuse(body, "messages", "an answer that has begun is not continued with thinking");
  return RH_OK;
}

static rh_status write_generate(const rh_body *body, const thinking *plan) {
  const rh_generate *generate = &body->run->generate;
  int64_t usual = MAX_TOKENS + (plan->on && !plan->adaptive ? plan->budget : 0);
  rh_body_integer(body, "max_tokens", generate->max_tokens > 0 ? generate->max_tokens : usual);
  rh_status status = rh_body_refuse_given(
      body, RH_GIVEN_MIN_P | RH_GIVEN_REPEAT_PENALTY | RH_GIVEN_PRESENCE_PENALTY | RH_GIVEN_FREQUENCY_PENALTY,
      "its API has no such field; leave it out");
  if (status != RH_OK) return status;
  if (generate->has_seed) return rh_body_refuse(body, "seed", "its API has no such field; leave it out");
  if (generate->logit_bias_count > 0) return rh_body_refuse(body, "logit_bias", "its API has no such field");
  if (generate->top_logprobs >= 0) return rh_body_refuse(body, "logprobs", "it tells no probabilities");
  if (generate->ignore_eos) return rh_body_refuse(body, "ignore_eos", "its API has no such field");
  if (rh_body_wants(body->run, RH_GIVEN_TEMPERATURE)) {
    if (generate->temperature > 1)
      return rh_body_refuse(body, "temperature", "it takes 0 to 1, and %g is beyond", (double)generate->temperature);
    rh_body_real(body, "temperature", generate->temperature);
  }
  if (rh_body_wants(body->run, RH_GIVEN_TOP_P)) rh_body_real(body, "top_p", generate->top_p);
  if (rh_body_wants(body->run, RH_GIVEN_TOP_K)) rh_body_integer(body, "top_k", generate->top_k);
  for (size_t i = 0; i < generate->stop_count; i++) {
    if (strspn(generate->stops[i], " \t\r\n") == strlen(generate->stops[i]))
      return rh_body_refuse(body, "stop", "a stop string must hold more than blanks");
  }
  rh_body_stops(body, "stop_sequences");
  return RH_OK;
}

static void write_thinking(const rh_body *body, const thinking *plan) {
  if (plan->off && plan->adaptive) rh_body_json(body, "thinking", "{\"type\":\"disabled\"}");
  if (!plan->on) return;
  rh_body_key(body, "thinking");
  rh_body_put(body, plan->adaptive ? "{\"type\":\"adaptive\"" : "{\"type\":\"enabled\"");
  if (!plan->adaptive) rh_body_integer(body, "budget_tokens", plan->budget);
  rh_body_put(body, "}");
}

// Effort and the answer's format share one object.
static rh_status write_output(const rh_body *body, const thinking *plan) {
  const rh_extras *extras = body->run->extras;
  bool schema = extras != NULL && extras->format == RH_ANSWER_SCHEMA;
  bool effort = plan->on && plan->adaptive && plan->effort != NULL;
  if (extras != NULL && extras->format == RH_ANSWER_JSON)
    return rh_body_refuse(body, "response_format",
                          "it binds answers to a schema, not to any JSON; use \"json_schema\" or a tool");
  if (!schema && !effort) return RH_OK;
  rh_body_key(body, "output_config");
  rh_body_put(body, "{");
  if (effort) rh_body_string(body, "effort", plan->effort);
  if (schema) {
    rh_body_key(body, "format");
    rh_body_put(body, "{\"type\":\"json_schema\"");
    rh_body_json(body, "schema", extras->schema != NULL ? extras->schema : "{\"type\":\"object\"}");
    rh_body_put(body, "}");
  }
  rh_body_put(body, "}");
  return RH_OK;
}

static rh_status write(const rh_provider_spec *spec, const char *model, const rh_run *run, bool stream, rh_dynbuf *out,
                       const char **path, rh_error *error) {
  assert(spec != NULL && model != NULL && run != NULL && out != NULL && path != NULL);
  const rh_body body = {.out = out, .spec = spec, .run = run, .error = error};
  if (run->task != RH_TASK_CHAT || run->prompt.kind != RH_PROMPT_MESSAGES) {
    return rh_fail(error, RH_UNSUPPORTED, "%s takes conversations only; it cannot do the task \"%s\"", spec->name,
                   rh_task_name(run->task));
  }
  if (run->prefix != NULL && (!spec->prefill || is_adaptive(model)))
    return rh_body_refuse(&body, "messages", "\"%.80s\" does not continue an answer that has begun", model);
  *path = "/messages";
  thinking plan;
  rh_status status = plan_thinking(&body, model, &plan);
  if (status == RH_OK) status = check_thinking(&body, &plan);
  if (status != RH_OK) return status;
  rh_body_put(&body, "{");
  rh_body_string(&body, "model", model);
  status = rh_anthropic_write_messages(&body);
  if (status == RH_OK) status = write_generate(&body, &plan);
  if (status == RH_OK && run->extras != NULL) write_tools(&body, run->extras);
  if (status == RH_OK) write_thinking(&body, &plan);
  if (status == RH_OK) status = write_output(&body, &plan);
  if (stream) rh_body_bool(&body, "stream", true);
  rh_body_put(&body, "}");
  return status == RH_OK ? rh_body_end(&body) : status;
}

static rh_status headers(const rh_provider_spec *spec, const rh_run *run, rh_dynbuf *lines) {
  (void)run;
  if (!rh_body_has_header(spec, "anthropic-version"))
    (void)rh_dynbuf_append_text(lines, "anthropic-version: 2023-06-01\n");
  if (spec->key != NULL && !rh_body_has_header(spec, "x-api-key") && !rh_body_has_header(spec, "Authorization")) {
    (void)rh_dynbuf_append_text(lines, "x-api-key: ");
    (void)rh_dynbuf_append_text(lines, spec->key);
    (void)rh_dynbuf_append_char(lines, '\n');
  }
  return lines->failed ? RH_NO_MEMORY : RH_OK;
}

const rh_protocol_ops rh_protocol_anthropic = {
    .write = write,
    .headers = headers,
    .reader_new = rh_anthropic_reader_new,
    .reader_free = rh_reader_free,
    .read = rh_reader_read,
    .finish = rh_reader_finish,
    .explain = rh_provider_explain,
};
