// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the tables of architectures. The GGUF names are those of llama.cpp's src/llama-arch.cpp, the others those of
// the models' own files.
// Data owned: constants only. Threads: any. Not here: shapes, types and numbers.
#include "convert/arch.h"

#include <stdio.h>
#include <string.h>

#include "base/dynbuf.h"

#define NEEDED RH_RULE_NEEDED
#define NORM RH_RULE_NORM

// Llama, Mistral, Qwen2 and Qwen3 name their tensors alike; what a model has not is not asked for.
static const rh_tensor_rule llama_rules[] = {
    {"model.embed_tokens", "token_embd", NEEDED},
    {"model.layers.#.input_layernorm", "blk.#.attn_norm", NEEDED | NORM},
    {"model.layers.#.self_attn.q_proj", "blk.#.attn_q", NEEDED | RH_RULE_ROTATE_Q},
    {"model.layers.#.self_attn.k_proj", "blk.#.attn_k", NEEDED | RH_RULE_ROTATE_K},
    {"model.layers.#.self_attn.v_proj", "blk.#.attn_v", NEEDED},
    {"model.layers.#.self_attn.o_proj", "blk.#.attn_output", NEEDED},
    {"model.layers.#.post_attention_layernorm", "blk.#.ffn_norm", NEEDED | NORM},
    {"model.layers.#.mlp.gate_proj", "blk.#.ffn_gate", NEEDED},
    {"model.layers.#.mlp.up_proj", "blk.#.ffn_up", NEEDED},
    {"model.layers.#.mlp.down_proj", "blk.#.ffn_down", NEEDED},
    {"model.norm", "output_norm", NEEDED | NORM},
    {"lm_head", "output", RH_RULE_OUTPUT},
    {NULL, NULL, 0},
};

static const rh_tensor_rule qwen3_rules[] = {
    {"model.embed_tokens", "token_embd", NEEDED},
    {"model.layers.#.input_layernorm", "blk.#.attn_norm", NEEDED | NORM},
    {"model.layers.#.self_attn.q_proj", "blk.#.attn_q", NEEDED},
    {"model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm", NEEDED | NORM},
    {"model.layers.#.self_attn.k_proj", "blk.#.attn_k", NEEDED},
    {"model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm", NEEDED | NORM},
    {"model.layers.#.self_attn.v_proj", "blk.#.attn_v", NEEDED},
    {"model.layers.#.self_attn.o_proj", "blk.#.attn_output", NEEDED},
    {"model.layers.#.post_attention_layernorm", "blk.#.ffn_norm", NEEDED | NORM},
    {"model.layers.#.mlp.gate_proj", "blk.#.ffn_gate", NEEDED},
    {"model.layers.#.mlp.up_proj", "blk.#.ffn_up", NEEDED},
    {"model.layers.#.mlp.down_proj", "blk.#.ffn_down", NEEDED},
    {"model.norm", "output_norm", NEEDED | NORM},
    {"lm_head", "output", RH_RULE_OUTPUT},
    {NULL, NULL, 0},
};

// Gemma 2 puts a norm before and after each half of a layer.
static const rh_tensor_rule gemma2_rules[] = {
    {"model.embed_tokens", "token_embd", NEEDED},
    {"model.layers.#.input_layernorm", "blk.#.attn_norm", NEEDED | NORM},
    {"model.layers.#.self_attn.q_proj", "blk.#.attn_q", NEEDED},
    {"model.layers.#.self_attn.k_proj", "blk.#.attn_k", NEEDED},
    {"model.layers.#.self_attn.v_proj", "blk.#.attn_v", NEEDED},
    {"model.layers.#.self_attn.o_proj", "blk.#.attn_output", NEEDED},
    {"model.layers.#.post_attention_layernorm", "blk.#.post_attention_norm", NEEDED | NORM},
    {"model.layers.#.pre_feedforward_layernorm", "blk.#.ffn_norm", NEEDED | NORM},
    {"model.layers.#.mlp.gate_proj", "blk.#.ffn_gate", NEEDED},
    {"model.layers.#.mlp.up_proj", "blk.#.ffn_up", NEEDED},
    {"model.layers.#.mlp.down_proj", "blk.#.ffn_down", NEEDED},
    {"model.layers.#.post_feedforward_layernorm", "blk.#.post_ffw_norm", NEEDED | NORM},
    {"model.norm", "output_norm", NEEDED | NORM},
    {"lm_head", "output", RH_RULE_OUTPUT},
    {NULL, NULL, 0},
};

static const rh_tensor_rule gemma3_rules[] = {
    {"model.embed_tokens", "token_embd", NEEDED},
    {"model.layers.#.input_layernorm", "blk.#.attn_norm", NEEDED | NORM},
    {"model.layers.#.self_attn.q_proj", "blk.#.attn_q", NEEDED},
    {"model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm", NEEDED | NORM},
    {"model.layers.#.self_attn.k_proj", "blk.#.attn_k", NEEDED},
    {"model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm", NEEDED | NORM},
    {"model.layers.#.self_attn.v_proj", "blk.#.attn_v", NEEDED},
    {"model.layers.#.self_attn.o_proj", "blk.#.attn_output", NEEDED},
    {"model.layers.#.post_attention_layernorm", "blk.#.post_attention_norm", NEEDED | NORM},
    {"model.layers.#.pre_feedforward_layernorm", "blk.#.ffn_norm", NEEDED | NORM},
    {"model.layers.#.mlp.gate_proj", "blk.#.ffn_gate", NEEDED},
    {"model.layers.#.mlp.up_proj", "blk.#.ffn_up", NEEDED},
    {"model.layers.#.mlp.down_proj", "blk.#.ffn_down", NEEDED},
    {"model.layers.#.post_feedforward_layernorm", "blk.#.post_ffw_norm", NEEDED | NORM},
    {"model.norm", "output_norm", NEEDED | NORM},
    {"lm_head", "output", RH_RULE_OUTPUT},
    {NULL, NULL, 0},
};

// Phi-3 has query, key and value in one tensor, and gate and up in another; llama.cpp takes both as they are.
static const rh_tensor_rule phi3_rules[] = {
    {"model.embed_tokens", "token_embd", NEEDED},
    {"model.layers.#.input_layernorm", "blk.#.attn_norm", NEEDED | NORM},
    {"model.layers.#.self_attn.qkv_proj", "blk.#.attn_qkv", NEEDED},
    {"model.layers.#.self_attn.o_proj", "blk.#.attn_output", NEEDED},
    {"model.layers.#.post_attention_layernorm", "blk.#.ffn_norm", NEEDED | NORM},
    {"model.layers.#.mlp.gate_up_proj", "blk.#.ffn_up", NEEDED},
    {"model.layers.#.mlp.down_proj", "blk.#.ffn_down", NEEDED},
    {"model.norm", "output_norm", NEEDED | NORM},
    {"lm_head", "output", RH_RULE_OUTPUT},
    {NULL, NULL, 0},
};

static const rh_tensor_rule bert_rules[] = {
    {"embeddings.word_embeddings", "token_embd", NEEDED},
    {"embeddings.position_embeddings", "position_embd", NEEDED | RH_RULE_F32 | RH_RULE_POSITIONS},
    {"embeddings.token_type_embeddings", "token_types", RH_RULE_F32},
    {"embeddings.LayerNorm", "token_embd_norm", NEEDED | NORM},
    {"encoder.layer.#.attention.self.query", "blk.#.attn_q", NEEDED},
    {"encoder.layer.#.attention.self.key", "blk.#.attn_k", NEEDED},
    {"encoder.layer.#.attention.self.value", "blk.#.attn_v", NEEDED},
    {"encoder.layer.#.attention.output.dense", "blk.#.attn_output", NEEDED},
    {"encoder.layer.#.attention.output.LayerNorm", "blk.#.attn_output_norm", NEEDED | NORM},
    {"encoder.layer.#.intermediate.dense", "blk.#.ffn_up", NEEDED},
    {"encoder.layer.#.output.dense", "blk.#.ffn_down", NEEDED},
    {"encoder.layer.#.output.LayerNorm", "blk.#.layer_output_norm", NEEDED | NORM},
    {NULL, NULL, 0},
};

static const rh_tensor_rule distilbert_rules[] = {
    {"embeddings.word_embeddings", "token_embd", NEEDED},
    {"embeddings.position_embeddings", "position_embd", NEEDED | RH_RULE_F32},
    {"embeddings.LayerNorm", "token_embd_norm", NEEDED | NORM},
    {"transformer.layer.#.attention.q_lin", "blk.#.attn_q", NEEDED},
    {"transformer.layer.#.attention.k_lin", "blk.#.attn_k", NEEDED},
    {"transformer.layer.#.attention.v_lin", "blk.#.attn_v", NEEDED},
    {"transformer.layer.#.attention.out_lin", "blk.#.attn_output", NEEDED},
    {"transformer.layer.#.sa_layer_norm", "blk.#.attn_output_norm", NEEDED | NORM},
    {"transformer.layer.#.ffn.lin1", "blk.#.ffn_up", NEEDED},
    {"transformer.layer.#.ffn.lin2", "blk.#.ffn_down", NEEDED},
    {"transformer.layer.#.output_layer_norm", "blk.#.layer_output_norm", NEEDED | NORM},
    {NULL, NULL, 0},
};

#define SILU "silu|swish"
#define TANH "gelu_pytorch_tanh|gelu"  // Gemma's early files say "gelu" and mean the other
#define GELU "gelu|gelu_new|gelu_pytorch_tanh"

const rh_arch rh_archs[] = {
    {"LlamaForCausalLM", "llama", RH_FAMILY_LLAMA, llama_rules, SILU, .rotate = true},
    {"LlamaModel", "llama", RH_FAMILY_LLAMA, llama_rules, SILU, .rotate = true, .tied = true},
    {"MistralForCausalLM", "llama", RH_FAMILY_LLAMA, llama_rules, SILU, .rotate = true},
    {"Qwen2ForCausalLM", "qwen2", RH_FAMILY_QWEN, llama_rules, SILU, .rotate = false},
    {"Qwen2Model", "qwen2", RH_FAMILY_QWEN, llama_rules, SILU, .tied = true},
    {"Qwen3ForCausalLM", "qwen3", RH_FAMILY_QWEN, qwen3_rules, SILU, .rotate = false},
    {"Qwen3Model", "qwen3", RH_FAMILY_QWEN, qwen3_rules, SILU, .tied = true},
    {"GemmaForCausalLM", "gemma", RH_FAMILY_GEMMA, llama_rules, TANH, .norm_plus_one = true, .tied = true},
    {"Gemma2ForCausalLM", "gemma2", RH_FAMILY_GEMMA, gemma2_rules, TANH, .norm_plus_one = true, .tied = true},
    {"Gemma3ForCausalLM", "gemma3", RH_FAMILY_GEMMA, gemma3_rules, TANH, .norm_plus_one = true, .tied = true},
    {"Gemma3ForConditionalGeneration", "gemma3", RH_FAMILY_GEMMA, gemma3_rules, TANH, .norm_plus_one = true,
     .tied = true},
    {"Phi3ForCausalLM", "phi3", RH_FAMILY_PHI3, phi3_rules, SILU, .rotate = false},
    {"BertModel", "bert", RH_FAMILY_BERT, bert_rules, GELU, .rotate = false},
    {"BertForMaskedLM", "bert", RH_FAMILY_BERT, bert_rules, GELU, .rotate = false},
    {"DistilBertModel", "bert", RH_FAMILY_BERT, distilbert_rules, GELU, .rotate = false},
    {"DistilBertForMaskedLM", "bert", RH_FAMILY_BERT, distilbert_rules, GELU, .rotate = false},
    {"RobertaModel", "bert", RH_FAMILY_BERT, bert_rules, GELU, .positions_offset = 1},
    {"XLMRobertaModel", "bert", RH_FAMILY_BERT, bert_rules, GELU, .positions_offset = 1},
    {"CamembertModel", "bert", RH_FAMILY_BERT, bert_rules, GELU, .positions_offset = 1},
    {NULL, NULL, RH_FAMILY_LLAMA, NULL, NULL, .rotate = false},
};

rh_status rh_arch_find(const char *name, const rh_arch **out, rh_error *error) {
  rh_dynbuf known;
  rh_dynbuf_init(&known, 600);
  for (const rh_arch *arch = rh_archs; arch->name != NULL; arch++) {
    if (name != NULL && strcmp(arch->name, name) == 0) {
      *out = arch;
      rh_dynbuf_free(&known);
      return RH_OK;
    }
    (void)rh_dynbuf_printf(&known, "%s%s", arch == rh_archs ? "" : ", ", arch->name);
  }
  rh_status status =
      name == NULL ? rh_fail(error, RH_INVALID, "config.json names no architecture (\"architectures\")")
                   : rh_fail(error, RH_UNSUPPORTED, "the architecture %.80s cannot be converted here; these can: %s",
                             name, rh_dynbuf_data(&known));
  rh_dynbuf_free(&known);
  return status;
}

// Compare `name` with a pattern in which '#' stands for a number. Returns what follows the match, or NULL.
static const char *match_pattern(const char *pattern, const char *name, int64_t *layer) {
  *layer = -1;
  for (; *pattern != '\0'; pattern++) {
    if (*pattern != '#') {
      if (*name++ != *pattern) return NULL;
      continue;
    }
    int64_t number = 0;
    unsigned digits = 0;
    for (; *name >= '0' && *name <= '9' && digits < 6; name++, digits++) number = number * 10 + (*name - '0');
    if (digits == 0) return NULL;
    *layer = number;
  }
  return name;
}

// The old names of LayerNorm's two tensors.
static const char *modern_suffix(const char *suffix) {
  if (strcmp(suffix, ".gamma") == 0) return ".weight";
  if (strcmp(suffix, ".beta") == 0) return ".bias";
  return strcmp(suffix, ".weight") == 0 || strcmp(suffix, ".bias") == 0 ? suffix : NULL;
}

const rh_tensor_rule *rh_arch_match(const rh_arch *arch, const char *name, int64_t *layer, char *to, size_t to_size) {
  for (const rh_tensor_rule *rule = arch->rules; rule->from != NULL; rule++) {
    const char *rest = match_pattern(rule->from, name, layer);
    const char *suffix = rest != NULL ? modern_suffix(rest) : NULL;
    if (suffix == NULL) continue;
    const char *hash = strchr(rule->to, '#');
    int length = hash == NULL ? snprintf(to, to_size, "%s%s", rule->to, suffix)
                              : snprintf(to, to_size, "%.*s%lld%s%s", (int)(hash - rule->to), rule->to,
                                         (long long)*layer, hash + 1, suffix);
    if (length < 0 || (size_t)length >= to_size) return NULL;
    return rule;
  }
  return NULL;
}
