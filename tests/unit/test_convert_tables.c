// SPDX-License-Identifier: Apache-2.0
//
// The tables of the conversion: which pre-tokenizer a tokenizer.json means, and what tensors are called.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "convert/arch.h"
#include "convert/pretokenizer.h"

#define BYTES_REGEX "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true}"
#define SEQUENCE(steps) "{\"type\":\"Sequence\",\"pretokenizers\":[" steps "]}"
#define SPLIT(words) \
  "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" words "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define WORDS(digits)                                                            \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits \
  "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

static rh_status find(const char *pre, const char *rest, const char **out, rh_error *error) {
  char text[4096];
  assert_true(snprintf(text, sizeof text, "{\"pre_tokenizer\":%s%s}", pre, rest) < (int)sizeof text);
  json_t *tokenizer = rh_json_parse(text, strlen(text), error);
  assert_non_null(tokenizer);
  rh_status status = rh_pretokenizer_find(tokenizer, out, error);
  json_decref(tokenizer);
  return status;
}

static void test_known_pretokenizers(void **state) {
  (void)state;
  static const struct {
    const char *pre, *rest, *name;
  } cases[] = {
      {BYTES_REGEX, "", "gpt-2"},
      {SEQUENCE(BYTES_REGEX), "", "gpt-2"},
      {SEQUENCE(DIGITS "," BYTES_REGEX), "", "smollm"},
      {SEQUENCE(SPLIT(WORDS("\\\\p{N}")) "," BYTES), "", "qwen2"},
      {SEQUENCE(SPLIT(WORDS("\\\\p{N}{1,3}")) "," BYTES), ",\"model\":{\"ignore_merges\":true}", "llama-bpe"},
      {SEQUENCE(SPLIT(WORDS("\\\\p{N}{1,3}")) "," BYTES), ",\"model\":{\"ignore_merges\":false}", "dbrx"},
      {BYTES_REGEX, ",\"post_processor\":{\"type\":\"RobertaProcessing\"}", "roberta-bpe"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *name = NULL;
    rh_error error = {0};
    if (find(cases[i].pre, cases[i].rest, &name, &error) != RH_OK) fail_msg("%s: %s", cases[i].name, error.message);
    assert_string_equal(name, cases[i].name);
  }
}

// What differs by a little cuts text otherwise; it must not pass for what it resembles.
static void test_unknown_pretokenizers(void **state) {
  (void)state;
  static const char *const cases[] = {
      "null",
      "{\"type\":\"Whitespace\"}",
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}",
      "{\"type\":\"ByteLevel\"}",
      SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":false}," BYTES_REGEX),
      SEQUENCE(SPLIT(WORDS("\\\\p{N}{1,2}")) "," BYTES),
      SEQUENCE(SPLIT(WORDS("\\\\p{N}")) "," BYTES_REGEX),
      SEQUENCE(BYTES_REGEX "," DIGITS),
      SEQUENCE(
          "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" WORDS("\\\\p{N}") "\"},\"behavior\":\"Removed\"}," BYTES),
      SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" WORDS(
          "\\\\p{N}") "\"},\"behavior\":\"Isolated\",\"invert\":true}," BYTES),
      SEQUENCE(
          "{\"type\":\"Split\",\"pattern\":{\"String\":\"" WORDS("\\\\p{N}") "\"},\"behavior\":\"Isolated\"}," BYTES),
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *name = NULL;
    rh_error error = {0};
    if (find(cases[i], "", &name, &error) != RH_UNSUPPORTED) fail_msg("%s passes for %s", cases[i], name);
    assert_non_null(strstr(error.message, "--pre"));
  }
}

static void test_tensor_names(void **state) {
  (void)state;
  static const struct {
    const char *arch, *from, *to;
    int layer;
  } cases[] = {
      {"LlamaForCausalLM", "model.embed_tokens.weight", "token_embd.weight", -1},
      {"LlamaForCausalLM", "model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight", 0},
      {"LlamaForCausalLM", "model.layers.127.self_attn.k_proj.bias", "blk.127.attn_k.bias", 127},
      {"LlamaForCausalLM", "model.layers.3.post_attention_layernorm.weight", "blk.3.ffn_norm.weight", 3},
      {"Gemma2ForCausalLM", "model.layers.3.post_attention_layernorm.weight", "blk.3.post_attention_norm.weight", 3},
      {"Phi3ForCausalLM", "model.layers.3.mlp.gate_up_proj.weight", "blk.3.ffn_up.weight", 3},
      {"BertModel", "encoder.layer.11.attention.output.LayerNorm.gamma", "blk.11.attn_output_norm.weight", 11},
      {"BertModel", "embeddings.LayerNorm.beta", "token_embd_norm.bias", -1},
      {"LlamaForCausalLM", "model.layers.x.self_attn.q_proj.weight", NULL, 0},
      {"LlamaForCausalLM", "model.layers..self_attn.q_proj.weight", NULL, 0},
      {"LlamaForCausalLM", "model.layers.1234567.self_attn.q_proj.weight", NULL, 0},
      {"LlamaForCausalLM", "model.layers.0.self_attn.q_proj.scale", NULL, 0},
      {"LlamaForCausalLM", "model.layers.0.self_attn.q_proj", NULL, 0},
      {"LlamaForCausalLM", "model.layers.0.self_attn.qkv_proj.weight", NULL, 0},
      {"LlamaForCausalLM", "", NULL, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const rh_arch *arch = NULL;
    rh_error error = {0};
    int64_t layer;
    char to[64];
    assert_int_equal(rh_arch_find(cases[i].arch, &arch, &error), RH_OK);
    const rh_tensor_rule *rule = rh_arch_match(arch, cases[i].from, &layer, to, sizeof to);
    assert_int_equal(rule != NULL, cases[i].to != NULL);
    if (rule == NULL) continue;
    assert_string_equal(to, cases[i].to);
    assert_int_equal(layer, cases[i].layer);
  }
}

static void test_unknown_architectures_name_the_known(void **state) {
  (void)state;
  const rh_arch *arch = NULL;
  rh_error error = {0};
  assert_int_equal(rh_arch_find("WhisperForConditionalGeneration", &arch, &error), RH_UNSUPPORTED);
  for (const rh_arch *known = rh_archs; known->name != NULL; known++) {
    if (strstr(error.message, known->name) == NULL) fail_msg("%s is not named in: %s", known->name, error.message);
  }
  assert_int_equal(rh_arch_find(NULL, &arch, &error), RH_INVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_pretokenizers),
      cmocka_unit_test(test_unknown_pretokenizers),
      cmocka_unit_test(test_tensor_names),
      cmocka_unit_test(test_unknown_architectures_name_the_known),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
