// SPDX-License-Identifier: Apache-2.0
//
// Answers of providers into events: the shapes of their documentation, cut at every byte; and all that is not an answer.
#include "protocol_fixture.h"

#define CHUNK(delta)                                                                                               \
  "data: "                                                                                                         \
  "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":" delta \
  ",\"finish_reason\":null}]}\n\n"
#define LAST(word) "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" word "\"}]}\n\n"
#define USAGE                                                                                                          \
  "data: "                                                                                                             \
  "{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7,\"total_tokens\":19,\"cost\":0.5,\"prompt_" \
  "tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":3}}}\n\n"
#define DONE "data: [DONE]\n\n"
#define U "usage:12+7 cached 4 written 0 thought 3|"
#define A(json) "event: x\ndata: " json "\n\n"
#define A_START                                                                                                   \
  A("{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"role\":\"assistant\",\"content\":[],\"usage\":{" \
    "\"input_tokens\":25,\"cache_creation_input_tokens\":5,\"cache_read_input_tokens\":10,\"output_tokens\":1}}}")
#define A_OPEN(index, block) A("{\"type\":\"content_block_start\",\"index\":" #index ",\"content_block\":" block "}")
#define A_DELTA(index, delta) A("{\"type\":\"content_block_delta\",\"index\":" #index ",\"delta\":" delta "}")
#define A_CLOSE(index) A("{\"type\":\"content_block_stop\",\"index\":" #index "}")
#define A_END(word, stop)                                                                         \
  A("{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"" word "\",\"stop_sequence\":" stop \
    "},\"usage\":{\"output_tokens\":15}}")                                                        \
  A("{\"type\":\"message_stop\"}")
#define A_U "usage:40+15 cached 10 written 5 thought 0|"
#define A_ERROR(type, words) A("{\"type\":\"error\",\"error\":{\"type\":\"" type "\",\"message\":\"" words "\"}}")
#define R_USAGE                                                                                                       \
  "\"usage\":{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":2},\"output_tokens\":6,\"output_tokens_" \
  "details\":{\"reasoning_tokens\":1}}"
#define R_U "usage:9+6 cached 2 written 0 thought 1|"
#define R_CREATED                                                                                                      \
  A("{\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"error\":null,\"output\":[" \
    "]}}")

typedef struct reading {
  rh_protocol protocol;
  bool stream;
  const char *answer;
  const char *events;
} reading;

static const reading READINGS[] = {
    // chat
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"role\":\"assistant\",\"content\":\"\"}") CHUNK("{\"content\":\"Gr\\u00fc\"}")
         CHUNK("{\"content\":\"\xc3\x9f dich\"}") LAST("stop") USAGE DONE,
     "START|text:Gr\xc3\xbc|text:\xc3\x9f dich|" U "END:stop"},
    {RH_PROTOCOL_CHAT, true,
     ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\r\n\r\n" CHUNK("{\"content\":\"a\"}") LAST("length") DONE,
     "START|text:a|END:length"},
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"reasoning_content\":\"hm\"}")
         CHUNK("{\"reasoning\":\"so\",\"reasoning_details\":[{\"type\":\"reasoning.text\",\"text\":\"so\"}]}")
             CHUNK("{\"reasoning_details\":[{\"type\":\"reasoning.summary\",\"summary\":\"sum\"}]}")
                 CHUNK("{\"content\":\"a\",\"reasoning\":null}") LAST("stop") USAGE DONE,
     "START|think:hm|think:so|think:sum|text:a|" U "END:stop"},
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"t\"}]},{\"type\":\"text\","
           "\"text\":\"a\"}]}") LAST("stop"),
     "START|think:t|text:a|END:stop"},
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"c_a\",\"type\":\"function\",\"function\":{\"name\":"
           "\"sum\",\"arguments\":\"\"}}]}")
         CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\":\"}}]}")
             CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]}") CHUNK(
                 "{\"tool_calls\":[{\"index\":1,\"id\":\"c_b\",\"function\":{\"name\":\"say\",\"arguments\":\"{}\"}}]}")
                 LAST("tool_calls") USAGE DONE,
     "START|call0:c_a:sum|args0:{\"a\":|args0:1}|call1:c_b:say|args1:{}|" U "END:tools"},
    // No index and no id, the whole call at once, and "stop" at its end.
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"tool_calls\":[{\"function\":{\"name\":\"sum\",\"arguments\":{\"a\":1}}}]}") LAST("stop") DONE,
     "START|call0:made:sum|args0:{\"a\":1}|END:tools"},
    // The name comes after the id.
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"x\"}]}") CHUNK(
         "{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}") LAST("tool_calls") DONE,
     "START|call0:x:f|args0:{}|END:tools"},
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"content\":\"a\"}") "data: "
                                  "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\","
                                  "\"stop_reason\":\"END\"}]}\n\n" DONE,
     "START|text:a|END:stop:END"},
    {RH_PROTOCOL_CHAT, true, CHUNK("{\"refusal\":\"no\"}") LAST("content_filter") DONE, "START|text:no|END:filter"},
    // The last word is missing; a second one is no matter; others' choices are not ours.
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"content\":\"a\"}") "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n" LAST(
         "stop"),
     "START|text:a|END:stop"},
    {RH_PROTOCOL_CHAT, true, CHUNK("{\"content\":\"a\"}") LAST("stop") DONE DONE CHUNK("{\"content\":\"late\"}"),
     "START|text:a|END:stop"},
    {RH_PROTOCOL_CHAT, true, CHUNK("{\"content\":\"a\"}") DONE, "START|text:a|END:stop"},
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"content\":\"a\"}") "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}",
     "START|text:a|END:stop"},
    // Cut short, empty, garbage, wrong types.
    {RH_PROTOCOL_CHAT, true, CHUNK("{\"content\":\"a\"}"), "START|text:a|ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, CHUNK("{\"content\":\"a\"}") "data: {\"cho", "START|text:a|ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, "", "ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, DONE, "ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, "<html><body>502</body></html>", "ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, "data: [1]\n\n", "ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, "data: {\"choices\":7}\n\n", "ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, "data: {\"choices\":[7]}\n\n", "ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, "data: {\"choices\":[{\"delta\":[]}]}\n\n", "START|ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, CHUNK("{\"content\":5}"), "START|ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\"}}]}"),
     "START|ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}},{\"index\":1,\"id\":\"b\","
           "\"function\":{\"name\":\"g\"}},{\"index\":0,\"function\":{\"arguments\":\"x\"}}]}"),
     "START|call0:a:f|call1:b:g|ERROR:upstream"},
    // Errors within.
    {RH_PROTOCOL_CHAT, true,
     CHUNK("{\"content\":\"a\"}") "data: {\"error\":{\"code\":429,\"message\":\"slow "
                                  "down\"},\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
     "START|text:a|ERROR:limited"},
    {RH_PROTOCOL_CHAT, true,
     "data: {\"error\":{\"message\":\"This model's maximum context length is 10 "
     "tokens\",\"type\":\"invalid_request_error\",\"code\":\"context_length_exceeded\"}}\n\n",
     "ERROR:context_overflow"},
    {RH_PROTOCOL_CHAT, true, "{\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}", "ERROR:upstream"},
    {RH_PROTOCOL_CHAT, true, CHUNK("{\"content\":\"a\"}") LAST("error"), "START|text:a|ERROR:upstream"},
    // Whole, also where a stream was asked for.
    {RH_PROTOCOL_CHAT, false,
     "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi\",\"reasoning_content\":\"t\","
     "\"tool_calls\":[{\"id\":\"i\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
     "\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7,\"prompt_tokens_"
     "details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":3}}}",
     "START|think:t|text:Hi|call0:i:f|args0:{}|" U "END:tools"},
    {RH_PROTOCOL_CHAT, true, " {\"choices\":[{\"message\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}",
     "START|text:Hi|END:stop"},
    {RH_PROTOCOL_CHAT, false, CHUNK("{\"content\":\"a\"}") LAST("stop") DONE, "START|text:a|END:stop"},
    // Line ends of two bytes, and an event of two lines.
    {RH_PROTOCOL_CHAT, true,
     "data: {\"choices\":[{\"delta\":\r\ndata: {\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\r\n\r\n" DONE,
     "START|text:a|END:stop"},
    {RH_PROTOCOL_CHAT, false, "{\"choices\":[]}", "ERROR:upstream"},
    {RH_PROTOCOL_CHAT, false, "{\"choices\":[{\"mess", "ERROR:upstream"},
    {RH_PROTOCOL_CHAT, false, "null", "ERROR:upstream"},
    // anthropic
    {RH_PROTOCOL_ANTHROPIC, true,
     A_START A("{\"type\":\"ping\"}") A_OPEN(0, "{\"type\":\"text\",\"text\":\"\"}") A_DELTA(
         0, "{\"type\":\"text_delta\",\"text\":\"Hello\"}") A_DELTA(0, "{\"type\":\"text_delta\",\"text\":\" you\"}")
         A_CLOSE(0) A_END("stop_sequence", "\"\\n\\nHuman:\""),
     "START|text:Hello|text: you|" A_U "END:stop:\n\nHuman:"},
    {RH_PROTOCOL_ANTHROPIC, true,
     A_START A_OPEN(0, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}")
         A_DELTA(0, "{\"type\":\"thinking_delta\",\"thinking\":\"Let me\"}")
             A_DELTA(0, "{\"type\":\"signature_delta\",\"signature\":\"EqQB\"}")
                 A_DELTA(0, "{\"type\":\"signature_delta\",\"signature\":\"Cg==\"}") A_CLOSE(0)
                     A_OPEN(1, "{\"type\":\"redacted_thinking\",\"data\":\"Zm9v\"}") A_CLOSE(1) A_OPEN(
                         2, "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"weather\",\"input\":{}}")
                         A_DELTA(2, "{\"type\":\"input_json_delta\",\"partial_json\":\"\"}")
                             A_DELTA(2, "{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"city\\\": \"}") A_DELTA(
                                 2, "{\"type\":\"input_json_delta\",\"partial_json\":\"\\\"Wien\\\"}\"}") A_CLOSE(2)
                                 A_OPEN(3, "{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"now\",\"input\":{}}")
                                     A_CLOSE(3) A_END("tool_use", "null"),
     "START|think:Let me|think:<EqQBCg==>|think:<redacted_thinking:Zm9v>|call0:toolu_1:weather|args0:{\"city\": "
     "|args0:\"Wien\"}|call1:toolu_2:now|args1:{}|" A_U "END:tools"},
    {RH_PROTOCOL_ANTHROPIC, true, A_START A_ERROR("overloaded_error", "Overloaded"), "START|ERROR:upstream"},
    {RH_PROTOCOL_ANTHROPIC, true, A_ERROR("rate_limit_error", "slow"), "ERROR:limited"},
    {RH_PROTOCOL_ANTHROPIC, true, A_ERROR("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
     "ERROR:context_overflow"},
    {RH_PROTOCOL_ANTHROPIC, true, A_ERROR("authentication_error", "invalid x-api-key"), "ERROR:upstream"},
    {RH_PROTOCOL_ANTHROPIC, true, A_START A_OPEN(0, "{\"type\":\"text\",\"text\":\"a\"}"),
     "START|text:a|ERROR:upstream"},
    {RH_PROTOCOL_ANTHROPIC, true,
     A_START A_OPEN(0, "{\"type\":\"text\",\"text\":\"a\"}") A_CLOSE(0)
         A("{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"},\"usage\":{\"output_tokens\":15}}"),
     "START|text:a|" A_U "END:length"},
    {RH_PROTOCOL_ANTHROPIC, true, A_START A_END("refusal", "null") A_END("end_turn", "null"),
     "START|" A_U "END:filter"},
    {RH_PROTOCOL_ANTHROPIC, true,
     A_START A_OPEN(0, "{\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"web\",\"input\":{}}")
         A_DELTA(0, "{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}") A_CLOSE(0) A_END("end_turn", "null"),
     "START|" A_U "END:stop"},
    {RH_PROTOCOL_ANTHROPIC, true, A_START A_OPEN(0, "[]"), "START|ERROR:upstream"},
    {RH_PROTOCOL_ANTHROPIC, true, A("{\"no\":\"type\"}"), "ERROR:upstream"},
    {RH_PROTOCOL_ANTHROPIC, false,
     "{\"type\":\"message\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"s\"},{\"type\":"
     "\"text\",\"text\":\"Hi\"},{\"type\":\"tool_use\",\"id\":\"i\",\"name\":\"f\",\"input\":{\"a\":[1]}}],\"stop_"
     "reason\":\"tool_use\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}",
     "START|think:t|think:<s>|text:Hi|call0:i:f|args0:{\"a\":[1]}|usage:1+2 cached 0 written 0 thought 0|END:tools"},
    {RH_PROTOCOL_ANTHROPIC, false,
     "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"model: x\"}}", "ERROR:not_found"},
    {RH_PROTOCOL_ANTHROPIC, false, "{\"content\":{}}", "ERROR:upstream"},
    // responses
    {RH_PROTOCOL_RESPONSES, true,
     R_CREATED A(
         "{\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"reasoning\",\"id\":"
         "\"rs\",\"summary\":[]}}") A("{\"type\":\"response.reasoning_summary_part.added\",\"summary_index\":0}")
         A("{\"type\":\"response.reasoning_summary_text.delta\",\"delta\":\"one\"}") A(
             "{\"type\":\"response.reasoning_summary_part.added\",\"summary_index\":1}")
             A("{\"type\":\"response.reasoning_summary_text.delta\",\"delta\":\"two\"}") A(
                 "{\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"message\","
                 "\"content\":[]}}") A("{\"type\":\"response.output_text.delta\",\"output_index\":1,\"delta\":\"Hi\","
                                       "\"logprobs\":[]}") A("{\"type\":\"response.output_text.done\",\"text\":\"Hi\"}")
                 A("{\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"error\":null,\"output\":["
                   "{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hi\"}]}]," R_USAGE "}}"),
     "START|think:one|think:\n\n|think:two|text:Hi|" R_U "END:stop"},
    {RH_PROTOCOL_RESPONSES, true,
     R_CREATED A("{\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"function_call\","
                 "\"id\":\"fc\",\"call_id\":\"c9\",\"name\":\"f\",\"arguments\":\"\"}}")
         A("{\"type\":\"response.function_call_arguments.delta\",\"output_index\":0,\"delta\":\"{\\\"a\\\":\"}")
             A("{\"type\":\"response.function_call_arguments.delta\",\"output_index\":0,\"delta\":\"1}\"}") A(
                 "{\"type\":\"response.function_call_arguments.done\",\"output_index\":0,\"arguments\":\"{\\\"a\\\":"
                 "1}\"}")
                 A("{\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"function_call\","
                   "\"call_id\":\"c8\",\"name\":\"g\"}}")
                     A("{\"type\":\"response.function_call_arguments.done\",\"output_index\":1,\"arguments\":\"{}\"}")
                         A("{\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"," R_USAGE "}}"),
     "START|call0:c9:f|args0:{\"a\":|args0:1}|call1:c8:g|args1:{}|" R_U "END:tools"},
    {RH_PROTOCOL_RESPONSES, true,
     R_CREATED A("{\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"incomplete_details\":{"
                 "\"reason\":\"max_output_tokens\"}," R_USAGE "}}"),
     "START|" R_U "END:length"},
    {RH_PROTOCOL_RESPONSES, true,
     R_CREATED A("{\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"incomplete_details\":{"
                 "\"reason\":\"content_filter\"}}}"),
     "START|END:filter"},
    {RH_PROTOCOL_RESPONSES, true,
     R_CREATED A("{\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"rate_limit_"
                 "exceeded\",\"message\":\"slow\"}}}"),
     "START|ERROR:limited"},
    {RH_PROTOCOL_RESPONSES, true,
     R_CREATED A("{\"type\":\"error\",\"code\":\"server_error\",\"message\":\"x\",\"param\":null}"),
     "START|ERROR:upstream"},
    {RH_PROTOCOL_RESPONSES, true, R_CREATED A("{\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}"),
     "START|text:Hi|ERROR:upstream"},
    {RH_PROTOCOL_RESPONSES, true, R_CREATED A("{\"type\":\"response.output_text.delta\",\"delta\":{}}"),
     "START|ERROR:upstream"},
    // Nothing was streamed: all is in the last event.
    {RH_PROTOCOL_RESPONSES, true,
     R_CREATED A("{\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[{\"type\":"
                 "\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hi\"}]}]}}"),
     "START|text:Hi|END:stop"},
    {RH_PROTOCOL_RESPONSES, false,
     "{\"status\":\"completed\",\"error\":null,\"output\":[{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_"
     "text\",\"text\":\"t\"}]},{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hi\"},{\"type\":"
     "\"refusal\",\"refusal\":\"no\"}]},{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}"
     "\"}]," R_USAGE "}",
     "START|think:t|text:Hi|text:no|call0:c:f|args0:{}|" R_U "END:tools"},
    {RH_PROTOCOL_RESPONSES, false,
     "{\"status\":\"failed\",\"error\":{\"code\":\"invalid_prompt\",\"message\":\"x\"},\"output\":[]}",
     "ERROR:invalid"},
    {RH_PROTOCOL_RESPONSES, false, "{\"error\":{\"message\":\"x\",\"type\":\"invalid_request_error\"}}",
     "ERROR:invalid"},
};

static void test_answers_at_every_cut(void **state) {
  (void)state;
  const rh_message hi = {.role = "user", .content = "hi"};
  const rh_run run = chat_run(&hi, 1);
  for (size_t i = 0; i < COUNT(READINGS); i++) {
    const reading *one = &READINGS[i];
    const rh_provider_spec spec =
        spec_of(one->protocol == RH_PROTOCOL_ANTHROPIC ? "anthropic" : "openai", one->protocol);
    assert_reads(&spec, &run, one->stream, one->answer, one->events);
  }
}

static void test_logprobs_only_when_asked(void **state) {
  (void)state;
  static const char answer[] =
      "data: "
      "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xc3\xbc\"},\"logprobs\":{\"content\":[{\"token\":"
      "\"\\\\xc3\",\"logprob\":-0.5,\"bytes\":[195],"
      "\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-1,\"bytes\":[97]},{\"token\":\"b\",\"logprob\":-2,\"bytes\":"
      "null}]},"
      "{\"token\":\"z\",\"logprob\":-1.25,\"bytes\":null,\"top_logprobs\":[]}]}}]}\n\n" LAST("stop") DONE;
  const rh_message hi = {.role = "user", .content = "hi"};
  rh_run run = chat_run(&hi, 1);
  const rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_CHAT);
  assert_reads(&spec, &run, true, answer, "START|text:\xc3\xbc|END:stop");
  run.generate.top_logprobs = 2;
  assert_reads(&spec, &run, true, answer, "START|text:\xc3\xbc{\xc3 -0.50/2}{z -1.25/0}|END:stop");
}

static void test_other_tasks(void **state) {
  (void)state;
  const rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_CHAT);
  rh_run run = {.task = RH_TASK_COMPLETE, .prompt = {.kind = RH_PROMPT_TEXT, .text = "a", .count = 1}};
  rh_generate_defaults(&run.generate);
  assert_reads(&spec, &run, true,
               "data: {\"choices\":[{\"text\":\" b\",\"index\":0,\"finish_reason\":null}]}\n\ndata: "
               "{\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n" DONE,
               "START|text: b|END:stop");
  const rh_item items[2] = {{.text = "q", .length = 1, .pair = "d", .pair_length = 1},
                            {.text = "q", .length = 1, .pair = "e", .pair_length = 1}};
  const rh_infer infer = {.items = items, .item_count = 2};
  run = (rh_run){.task = RH_TASK_EMBED, .infer = &infer};
  assert_reads(&spec, &run, false,
               "{\"data\":[{\"index\":1,\"embedding\":[1,2.5]},{\"index\":0,\"embedding\":\"AACAPwAAAMA=\"}],\"usage\":"
               "{\"prompt_tokens\":5}}",
               "START|result0:1,-2|result1:1,2.5|usage:5+0 cached 0 written 0 thought 0|END:stop");
  static const char *const bad[] = {
      "{\"data\":[]}", "{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":0,\"embedding\":[1]}]}", "{\"data\":{}}",
      "{\"data\":[{\"index\":7,\"embedding\":[1]},{\"index\":0,\"embedding\":[1]}]}",
      "{\"error\":{\"message\":\"x\"}}"};
  for (size_t i = 0; i < COUNT(bad); i++) assert_reads(&spec, &run, false, bad[i], "ERROR:upstream");
  assert_reads(&spec, &run, false, "{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[\"x\"]}]}",
               "START|result0:1|ERROR:upstream");
  assert_reads(&spec, &run, false, "{\"data\":[{\"index\":0,\"embedding\":\"AAA\"},{\"index\":1,\"embedding\":[1]}]}",
               "ERROR:upstream");
  run.task = RH_TASK_RERANK;
  assert_reads(&spec, &run, false,
               "{\"results\":[{\"index\":1,\"relevance_score\":0.75},{\"index\":0,\"relevance_score\":-1}],\"usage\":{"
               "\"total_tokens\":3}}",
               "START|result0:-1|result1:0.75|usage:3+0 cached 0 written 0 thought 0|END:stop");
}

// The blanks that Anthropic would not take at the prefix' end are not repeated by the answer.
static void test_prefix_with_a_blank_at_its_end(void **state) {
  (void)state;
  const rh_message hi = {.role = "user", .content = "hi"};
  rh_run run = chat_run(&hi, 1);
  run.prefix = "Hello ";
  const rh_provider_spec spec = spec_of("anthropic", RH_PROTOCOL_ANTHROPIC);
  assert_reads(&spec, &run, true,
               A_START A_OPEN(0, "{\"type\":\"text\",\"text\":\"\"}")
                   A_DELTA(0, "{\"type\":\"text_delta\",\"text\":\" \"}")
                       A_DELTA(0, "{\"type\":\"text_delta\",\"text\":\" you there\"}") A_END("end_turn", "null"),
               "START|text:you there|" A_U "END:stop");
}

static void test_too_much_at_once(void **state) {
  (void)state;
  const rh_message hi = {.role = "user", .content = "hi"};
  const rh_run run = chat_run(&hi, 1);
  const rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_CHAT);
  size_t length = RH_PROVIDER_EVENT_BYTES_MAX + 100;
  char *answer = malloc(length);
  assert_non_null(answer);
  memset(answer, 'a', length);
  memcpy(answer, "data: ", 6);
  events seen;
  assert_string_equal(read_pieces(&spec, &run, true, answer, length, 0, 65536, &seen), "ERROR:upstream");
  assert_non_null(strstr(seen.error.message, "8 MiB"));
  rh_dynbuf_free(&seen.text);
  free(answer);
}

static rh_verdict wait_always(void *ctx, const rh_event *event) {
  (void)event;
  ++*(unsigned *)ctx;
  return RH_WAIT;
}

static void test_wait_is_handed_on_and_all_bytes_are_taken(void **state) {
  (void)state;
  static const char answer[] = CHUNK("{\"content\":\"a\"}") CHUNK("{\"content\":\"b\"}");
  const rh_message hi = {.role = "user", .content = "hi"};
  const rh_run run = chat_run(&hi, 1);
  const rh_provider_spec spec = spec_of("openai", RH_PROTOCOL_CHAT);
  const rh_protocol_ops *ops = rh_protocol_find(RH_PROTOCOL_CHAT);
  rh_protocol_reader *reader = ops->reader_new(&spec, &run, true);
  unsigned pushed = 0;
  const rh_sink sink = {.push = wait_always, .ctx = &pushed};
  assert_int_equal(ops->read(reader, answer, sizeof answer - 1, &sink), RH_WAIT);
  assert_int_equal(pushed, 3);
  assert_int_equal(ops->read(reader, "", 0, &sink), RH_GO);
  ops->reader_free(reader);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_answers_at_every_cut), cmocka_unit_test(test_logprobs_only_when_asked),
      cmocka_unit_test(test_other_tasks),          cmocka_unit_test(test_prefix_with_a_blank_at_its_end),
      cmocka_unit_test(test_too_much_at_once),     cmocka_unit_test(test_wait_is_handed_on_and_all_bytes_are_taken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
