// SPDX-License-Identifier: Apache-2.0
//
// Requests into the protocols of providers: one conversation with everything in it in each of them, and what each refuses.
#include "protocol_fixture.h"

static const rh_piece SEEN[] = {
    {.kind = RH_PIECE_TEXT, .text = "What is this?"},
    {.kind = RH_PIECE_IMAGE, .media_type = "image/png", .data = "iVBORw0=", .detail = "low"},
    {.kind = RH_PIECE_IMAGE, .url = "https://example.com/a.png"},
};
static const rh_piece CALLS[] = {
    {.kind = RH_PIECE_REASONING, .text = "look", .signature = "SIG="},
    {.kind = RH_PIECE_REASONING, .text = "", .signature = "redacted_thinking:Zm9v"},
    {.kind = RH_PIECE_TEXT, .text = "I ask."},
    {.kind = RH_PIECE_TOOL_CALL, .id = "call:1", .name = "look", .arguments = "{\"n\": 1}"},
    {.kind = RH_PIECE_TOOL_CALL, .id = "call_2", .name = "now", .arguments = ""},
};
static const rh_piece RESULTS[] = {
    {.kind = RH_PIECE_TOOL_RESULT, .id = "call:1", .text = "a cat"},
    {.kind = RH_PIECE_TOOL_RESULT, .id = "call_2", .text = "no clock", .failed = true},
};
static const rh_message TALK[] = {
    {.role = "system", .content = "Be brief."},
    {.role = "system", .content = "Be kind."},
    {.role = "user", .content = "What is this?", .pieces = SEEN, .piece_count = 3},
    {.role = "assistant", .content = "I ask.", .pieces = CALLS, .piece_count = 5},
    {.role = "tool", .content = "a cat", .pieces = RESULTS, .piece_count = 2},
    {.role = "user", .content = "So?"},
};
static const rh_tool TOOLS[] = {
    {.name = "look", .description = "Looks", .schema = "{\"type\":\"object\"}", .strict = true}, {.name = "now"}};
static const char *const STOPS[] = {"END"};

static rh_status write_body(const rh_provider_spec *spec, const char *model, const rh_run *run, char *out, size_t size,
                            rh_error *error) {
  rh_dynbuf body;
  rh_dynbuf_init(&body, 1u << 20);
  const char *path = "";
  memset(error, 0, sizeof *error);
  rh_status status = rh_protocol_find(spec->protocol)->write(spec, model, run, true, &body, &path, error);
  if (status == RH_OK) {
    json_t *root = rh_json_parse(rh_dynbuf_data(&body), body.length, error);
    if (root == NULL) fail_msg("%s: %s", error->message, rh_dynbuf_data(&body));
    json_decref(root);
  }
  snprintf(out, size, "%s %s", path, rh_dynbuf_data(&body));
  rh_dynbuf_free(&body);
  return status;
}

static void assert_writes(const rh_provider_spec *spec, const char *model, const rh_run *run, const char *wanted) {
  char got[8192];
  rh_error error;
  if (write_body(spec, model, run, got, sizeof got, &error) != RH_OK) fail_msg("%s", error.message);
  assert_string_equal(got, wanted);
}

static void assert_refuses(const rh_provider_spec *spec, const rh_run *run, rh_status status, const char *param) {
  char got[8192];
  rh_error error;
  assert_int_equal(write_body(spec, "m", run, got, sizeof got, &error), status);
  assert_string_equal(error.param, param);
  assert_true(strlen(error.message) > 20);
}

static rh_extras full_extras(void) {
  return (rh_extras){
      .tools = TOOLS, .tool_count = 2, .tool_choice = RH_TOOLS_NAMED, .tool_name = "look", .parallel_tools = 0};
}

static rh_run full_run(const rh_extras *extras) {
  rh_run run = chat_run(TALK, COUNT(TALK));
  run.extras = extras;
  run.generate.max_tokens = 100;
  run.generate.temperature = 0.7f;
  run.generate.given = RH_GIVEN_TEMPERATURE | RH_GIVEN_MAX_TOKENS | RH_GIVEN_PRESENCE_PENALTY | RH_GIVEN_TOP_K;
  run.generate.top_p = 0.1f;  // not given, so not sent
  run.generate.stops = STOPS;
  run.generate.stop_count = 1;
  return run;
}

static void test_chat(void **state) {
  (void)state;
  const rh_extras extras = full_extras();
  const rh_run run = full_run(&extras);
  const rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_CHAT);
  assert_writes(
      &spec, "gpt", &run,
      "/chat/completions {\"model\":\"gpt\",\"messages\":[{\"role\":\"system\",\"content\":\"Be "
      "brief.\"},{\"role\":\"system\",\"content\":\"Be kind.\"},"
      "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What is "
      "this?\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBORw0=\",\"detail\":\"low\"}},"
      "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://example.com/a.png\"}}]},"
      "{\"role\":\"assistant\",\"content\":\"I "
      "ask.\",\"tool_calls\":[{\"type\":\"function\",\"id\":\"call:1\",\"function\":{\"name\":\"look\",\"arguments\":"
      "\"{\\\"n\\\": 1}\"}},"
      "{\"type\":\"function\",\"id\":\"call_2\",\"function\":{\"name\":\"now\",\"arguments\":\"\"}}]},"
      "{\"role\":\"tool\",\"tool_call_id\":\"call:1\",\"content\":\"a "
      "cat\"},{\"role\":\"tool\",\"tool_call_id\":\"call_2\",\"content\":\"Error: no clock\"},"
      "{\"role\":\"user\",\"content\":\"So?\"}],"
      "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"look\",\"description\":\"Looks\",\"parameters\":{"
      "\"type\":\"object\"},\"strict\":true}},"
      "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}],\"tool_choice\":{\"type\":\"function\",\"function\":{"
      "\"name\":\"look\"}},\"parallel_tool_calls\":false,"
      "\"max_completion_tokens\":100,\"temperature\":0.7,\"stop\":[\"END\"],\"stream\":true,\"stream_options\":{"
      "\"include_usage\":true}}");
}

static void test_anthropic(void **state) {
  (void)state;
  const rh_extras extras = full_extras();
  const rh_run run = full_run(&extras);
  const rh_provider_spec spec = spec_of("anthropic", RH_PROTOCOL_ANTHROPIC);
  assert_writes(
      &spec, "claude-sonnet-4-5", &run,
      "/messages {\"model\":\"claude-sonnet-4-5\",\"system\":\"Be brief.\\n\\nBe kind.\",\"messages\":["
      "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What is "
      "this?\"},{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/"
      "png\",\"data\":\"iVBORw0=\"}},"
      "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://example.com/a.png\"}}]},"
      "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"look\",\"signature\":\"SIG=\"},{"
      "\"type\":\"redacted_thinking\",\"data\":\"Zm9v\"},{\"type\":\"text\",\"text\":\"I ask.\"},"
      "{\"type\":\"tool_use\",\"id\":\"call_1\",\"name\":\"look\",\"input\":{\"n\":1}},{\"type\":\"tool_use\",\"id\":"
      "\"call_2\",\"name\":\"now\",\"input\":{}}]},"
      "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"call_1\",\"content\":\"a "
      "cat\"},{\"type\":\"tool_result\",\"tool_use_id\":\"call_2\",\"content\":\"no clock\",\"is_error\":true},"
      "{\"type\":\"text\",\"text\":\"So?\"}]}],"
      "\"max_tokens\":100,\"temperature\":0.7,\"stop_sequences\":[\"END\"],"
      "\"tools\":[{\"name\":\"look\",\"description\":\"Looks\",\"input_schema\":{\"type\":\"object\"},\"strict\":true},"
      "{\"name\":\"now\",\"input_schema\":{\"type\":\"object\",\"properties\":{}}}],"
      "\"tool_choice\":{\"type\":\"tool\",\"name\":\"look\",\"disable_parallel_tool_use\":true},\"stream\":true}");
}

static void test_responses(void **state) {
  (void)state;
  const rh_extras extras = full_extras();
  rh_run run = full_run(&extras);
  run.generate.stop_count = 0;
  const rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_RESPONSES);
  assert_writes(
      &spec, "gpt", &run,
      "/responses {\"model\":\"gpt\",\"store\":false,\"instructions\":\"Be brief.\\n\\nBe kind.\",\"input\":["
      "{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"What is "
      "this?\"},{\"type\":\"input_image\",\"image_url\":\"data:image/png;base64,iVBORw0=\",\"detail\":\"low\"},"
      "{\"type\":\"input_image\",\"image_url\":\"https://example.com/a.png\",\"detail\":\"auto\"}]},"
      "{\"role\":\"assistant\",\"content\":\"I "
      "ask.\"},{\"type\":\"function_call\",\"call_id\":\"call:1\",\"name\":\"look\",\"arguments\":\"{\\\"n\\\": 1}\"},"
      "{\"type\":\"function_call\",\"call_id\":\"call_2\",\"name\":\"now\",\"arguments\":\"\"},"
      "{\"type\":\"function_call_output\",\"call_id\":\"call:1\",\"output\":\"a "
      "cat\"},{\"type\":\"function_call_output\",\"call_id\":\"call_2\",\"output\":\"no "
      "clock\",\"status\":\"incomplete\"},"
      "{\"role\":\"user\",\"content\":\"So?\"}],\"max_output_tokens\":100,\"temperature\":0.7,"
      "\"tools\":[{\"type\":\"function\",\"name\":\"look\",\"description\":\"Looks\",\"parameters\":{\"type\":"
      "\"object\"},\"strict\":true},"
      "{\"type\":\"function\",\"name\":\"now\",\"parameters\":{\"type\":\"object\",\"properties\":{}},\"strict\":false}"
      "],"
      "\"tool_choice\":{\"type\":\"function\",\"name\":\"look\"},\"parallel_tool_calls\":false,\"stream\":true}");
}

// What a client marked as worth keeping is marked again at Anthropic's and is plain text elsewhere.
static void test_cache_marks(void **state) {
  (void)state;
#define MARK ",\"cache_control\":{\"type\":\"ephemeral\"}}"
  const rh_piece rules[] = {{.kind = RH_PIECE_TEXT, .text = "a", .cache_mark = true},
                            {.kind = RH_PIECE_TEXT, .text = "b"}};
  const rh_piece said[] = {{.kind = RH_PIECE_TEXT, .text = "hi", .cache_mark = true}};
  const rh_message messages[] = {{.role = "system", .content = "a\nb", .pieces = rules, .piece_count = 2},
                                 {.role = "user", .content = "hi", .pieces = said, .piece_count = 1}};
  const rh_tool tool = {.name = "f", .schema = "{}", .cache_mark = true};
  const rh_extras extras = {.parallel_tools = -1, .tools = &tool, .tool_count = 1};
  rh_run run = chat_run(messages, 2);
  run.extras = &extras;
  rh_provider_spec spec = spec_of("anthropic", RH_PROTOCOL_ANTHROPIC);
  assert_writes(&spec, "m", &run,
                "/messages {\"model\":\"m\",\"system\":[{\"type\":\"text\",\"text\":\"a\"" MARK
                ",{\"type\":\"text\",\"text\":\"b\"}],\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
                "\"text\",\"text\":\"hi\"" MARK
                "]}],\"max_tokens\":4096,\"tools\":[{\"name\":\"f\",\"input_schema\":"
                "{}" MARK "],\"stream\":true}");
  run.extras = NULL;
  spec = spec_of("openai", RH_PROTOCOL_CHAT);
  assert_writes(&spec, "m", &run,
                "/chat/completions {\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"a\\nb\"},"
                "{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
#undef MARK
}

// One field more on a small conversation, and how it looks in a protocol.
static void test_single_fields(void **state) {
  (void)state;
  const rh_message hi = {.role = "user", .content = "hi"};
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}"
#define A_HI "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}"
#define TAIL ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"
  rh_extras extras = {
      .parallel_tools = -1, .format = RH_ANSWER_SCHEMA, .schema = "{\"type\":\"object\"}", .reasoning_effort = "low"};
  rh_run run = chat_run(&hi, 1);
  run.extras = &extras;
  rh_provider_spec spec = spec_of("openrouter", RH_PROTOCOL_CHAT);
  spec.preferences = json_pack("{s:[s]}", "order", "x");
  assert_writes(&spec, "m", &run,
                "/chat/completions {\"model\":\"m\"," HI
                "],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"schema\":{"
                "\"type\":\"object\"}}},\"reasoning\":{\"effort\":\"low\"},\"stream\":true,\"stream_options\":{"
                "\"include_usage\":true},\"provider\":{\"order\":[\"x\"]}}");
  json_decref(spec.preferences);
  spec = spec_of("anthropic", RH_PROTOCOL_ANTHROPIC);
  assert_writes(&spec, "claude-opus-4-6", &run,
                "/messages {\"model\":\"claude-opus-4-6\"," A_HI
                "],\"max_tokens\":4096,\"thinking\":{\"type\":\"adaptive\"},\"output_config\":{\"effort\":\"low\","
                "\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"}}},\"stream\":true}");
  extras = (rh_extras){.parallel_tools = -1, .reasoning_adaptive = true};
  assert_writes(&spec, "claude-opus-4-6", &run,
                "/messages {\"model\":\"claude-opus-4-6\"," A_HI
                "],\"max_tokens\":4096,\"thinking\":{\"type\":\"adaptive\"},\"stream\":true}");
  assert_writes(&spec, "claude-opus-4-1", &run,
                "/messages {\"model\":\"claude-opus-4-1\"," A_HI "],\"max_tokens\":4096,\"stream\":true}");
  extras = (rh_extras){.parallel_tools = -1, .reasoning_tokens = 2000};
  assert_writes(&spec, "claude-3-7-sonnet-20250219", &run,
                "/messages {\"model\":\"claude-3-7-sonnet-20250219\"," A_HI
                "],\"max_tokens\":6096,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000},\"stream\":true}");
  spec = spec_of("openai", RH_PROTOCOL_CHAT);
  assert_writes(&spec, "m", &run, "/chat/completions {\"model\":\"m\"," HI "],\"reasoning_effort\":\"low\"" TAIL);
  run.extras = NULL;
  run.prefix = "Well ";
  spec = spec_of("anthropic", RH_PROTOCOL_ANTHROPIC);
  assert_writes(&spec, "m", &run,
                "/messages {\"model\":\"m\"," A_HI
                ",{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"Well\"}]}],\"max_tokens\":4096,"
                "\"stream\":true}");
  spec = spec_of("vllm", RH_PROTOCOL_CHAT);
  assert_writes(&spec, "m", &run,
                "/chat/completions {\"model\":\"m\"," HI
                ",{\"role\":\"assistant\",\"content\":\"Well "
                "\"}],\"continue_final_message\":true,\"add_generation_prompt\":false" TAIL);
  spec = spec_of("mistral", RH_PROTOCOL_CHAT);
  run.generate.has_seed = true;
  run.generate.seed = 7;
  assert_writes(&spec, "m", &run,
                "/chat/completions {\"model\":\"m\"," HI
                ",{\"role\":\"assistant\",\"content\":\"Well \",\"prefix\":true}],\"random_seed\":7,\"stream\":true}");
  run.prefix = NULL;
  run.generate = (rh_generate){.given = RH_GIVEN_TOP_K | RH_GIVEN_MIN_P | RH_GIVEN_REPEAT_PENALTY,
                               .top_k = 5,
                               .min_p = 0.05f,
                               .repeat_penalty = 1.1f,
                               .top_logprobs = 2};
  spec = spec_of("llama-server", RH_PROTOCOL_CHAT);
  assert_writes(&spec, "m", &run,
                "/chat/completions {\"model\":\"m\"," HI
                "],\"top_k\":5,\"min_p\":0.05,\"repeat_penalty\":1.1,\"logprobs\":true,\"top_logprobs\":2" TAIL);
}

static void test_other_tasks(void **state) {
  (void)state;
  rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_RESPONSES);
  rh_run run = {.task = RH_TASK_COMPLETE, .prefix = " b", .prompt = {.kind = RH_PROMPT_TEXT, .text = "a", .count = 1}};
  rh_generate_defaults(&run.generate);
  assert_writes(
      &spec, "m", &run,
      "/completions {\"model\":\"m\",\"prompt\":\"a b\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
  const int32_t ids[] = {1, 2};
  rh_item items[2] = {{.text = "a", .length = 1, .pair = "c", .pair_length = 1},
                      {.text = "a", .length = 1, .pair = "d", .pair_length = 1}};
  rh_infer infer = {.items = items, .item_count = 2};
  run = (rh_run){.task = RH_TASK_RERANK, .infer = &infer};
  assert_writes(
      &spec, "m", &run,
      "/rerank {\"model\":\"m\",\"query\":\"a\",\"documents\":[\"c\",\"d\"],\"top_n\":2,\"return_documents\":false}");
  items[1].text = "b";
  assert_refuses(&spec, &run, RH_UNSUPPORTED, "query");
  run.task = RH_TASK_EMBED;
  assert_refuses(&spec, &run, RH_UNSUPPORTED, "input");
  items[0] = (rh_item){.text = "a", .length = 1};
  items[1] = (rh_item){.text = "b", .length = 1};
  infer.dimensions = 8;
  assert_writes(
      &spec, "m", &run,
      "/embeddings {\"model\":\"m\",\"input\":[\"a\",\"b\"],\"dimensions\":8,\"encoding_format\":\"base64\"}");
  items[1] = (rh_item){.tokens = ids, .token_count = 2};
  assert_refuses(&spec, &run, RH_UNSUPPORTED, "input");
  items[0] = items[1];
  infer.dimensions = 0;
  spec = spec_of("groq", RH_PROTOCOL_CHAT);
  assert_writes(&spec, "m", &run, "/embeddings {\"model\":\"m\",\"input\":[[1,2],[1,2]]}");
  run.task = RH_TASK_CLASSIFY;
  assert_refuses(&spec, &run, RH_UNSUPPORTED, "");
  spec = spec_of("anthropic", RH_PROTOCOL_ANTHROPIC);
  run.task = RH_TASK_EMBED;
  assert_refuses(&spec, &run, RH_UNSUPPORTED, "");
}

static void test_refusals(void **state) {
  (void)state;
  const rh_message hi = {.role = "user", .content = "hi"};
  const rh_provider_spec openai = spec_of("openai", RH_PROTOCOL_CHAT),
                         responses = spec_of("openai", RH_PROTOCOL_RESPONSES);
  const rh_provider_spec anthropic = spec_of("anthropic", RH_PROTOCOL_ANTHROPIC);
  const char *five[] = {"a", "b", "c", "d", "e"}, *blank[] = {"\n"};
  rh_run run = chat_run(&hi, 1);
  run.generate.given = RH_GIVEN_TOP_K;
  run.generate.top_k = 4;
  assert_refuses(&openai, &run, RH_UNSUPPORTED, "top_k");
  assert_refuses(&responses, &run, RH_UNSUPPORTED, "top_k");
  run.generate.given = RH_GIVEN_TEMPERATURE;
  run.generate.temperature = 1.5f;
  assert_refuses(&anthropic, &run, RH_UNSUPPORTED, "temperature");
  run.generate.given = RH_GIVEN_FREQUENCY_PENALTY;
  run.generate.frequency_penalty = 1;
  assert_refuses(&anthropic, &run, RH_UNSUPPORTED, "frequency_penalty");
  run = chat_run(&hi, 1);
  run.generate.has_seed = true;
  assert_refuses(&anthropic, &run, RH_UNSUPPORTED, "seed");
  assert_refuses(&responses, &run, RH_UNSUPPORTED, "seed");
  run = chat_run(&hi, 1);
  run.generate.stops = five;
  run.generate.stop_count = 5;
  assert_refuses(&openai, &run, RH_UNSUPPORTED, "stop");
  assert_refuses(&responses, &run, RH_UNSUPPORTED, "stop");
  run.generate.stops = blank;
  run.generate.stop_count = 1;
  assert_refuses(&anthropic, &run, RH_UNSUPPORTED, "stop");
  run = chat_run(&hi, 1);
  run.generate.top_logprobs = 0;
  assert_refuses(&anthropic, &run, RH_UNSUPPORTED, "logprobs");
  run = chat_run(&hi, 1);
  run.prefix = "x";
  assert_refuses(&openai, &run, RH_UNSUPPORTED, "messages");
  assert_refuses(&responses, &run, RH_UNSUPPORTED, "messages");
  run = chat_run(&hi, 1);
  rh_extras extras = {.parallel_tools = -1, .format = RH_ANSWER_JSON};
  run.extras = &extras;
  assert_refuses(&anthropic, &run, RH_UNSUPPORTED, "response_format");
  extras = (rh_extras){.parallel_tools = -1, .reasoning_tokens = 5000};
  run.generate.max_tokens = 5000;
  assert_refuses(&anthropic, &run, RH_UNSUPPORTED, "max_tokens");
  run = chat_run(&TALK[0], 1);
  assert_refuses(&anthropic, &run, RH_UNSUPPORTED, "messages");
  const rh_piece broken = {.kind = RH_PIECE_TOOL_CALL, .id = "a", .name = "f", .arguments = "{\"a\":"};
  const rh_message call = {.role = "assistant", .content = "", .pieces = &broken, .piece_count = 1};
  run = chat_run(&call, 1);
  assert_refuses(&anthropic, &run, RH_INVALID, "messages[0]");
  const rh_piece image = {.kind = RH_PIECE_IMAGE, .media_type = "image/png\"", .data = "AA=="};
  const rh_message look = {.role = "user", .content = "", .pieces = &image, .piece_count = 1};
  run = chat_run(&look, 1);
  assert_refuses(&openai, &run, RH_INVALID, "messages[0]");
  assert_refuses(&anthropic, &run, RH_INVALID, "messages[0]");
}

static void test_headers(void **state) {
  (void)state;
  const rh_message hi = {.role = "user", .content = "hi"};
  const rh_run run = chat_run(&hi, 1);
  rh_dynbuf lines;
  rh_dynbuf_init(&lines, 4096);
  rh_provider_spec spec = spec_of("anthropic", RH_PROTOCOL_ANTHROPIC);
  spec.key = (char *)(uintptr_t) "k1";
  assert_int_equal(rh_protocol_find(RH_PROTOCOL_ANTHROPIC)->headers(&spec, &run, &lines), RH_OK);
  assert_string_equal(rh_dynbuf_data(&lines), "anthropic-version: 2023-06-01\nx-api-key: k1\n");
  rh_dynbuf_clear(&lines);
  char *own[] = {(char *)(uintptr_t) "authorization: Basic x", NULL};
  spec = spec_of("openai", RH_PROTOCOL_CHAT);
  spec.key = (char *)(uintptr_t) "k1";
  assert_int_equal(rh_protocol_find(RH_PROTOCOL_CHAT)->headers(&spec, &run, &lines), RH_OK);
  assert_string_equal(rh_dynbuf_data(&lines), "Authorization: Bearer k1\n");
  rh_dynbuf_clear(&lines);
  spec.headers = own;
  assert_int_equal(rh_protocol_find(RH_PROTOCOL_RESPONSES)->headers(&spec, &run, &lines), RH_OK);
  assert_string_equal(rh_dynbuf_data(&lines), "");
  rh_dynbuf_free(&lines);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chat),          cmocka_unit_test(test_anthropic),   cmocka_unit_test(test_responses),
      cmocka_unit_test(test_single_fields), cmocka_unit_test(test_cache_marks), cmocka_unit_test(test_other_tasks),
      cmocka_unit_test(test_refusals),      cmocka_unit_test(test_headers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
