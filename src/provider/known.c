// SPDX-License-Identifier: Apache-2.0
//
// The table of servers known by name. Addresses and differences are those of each provider's own API reference. Constant
// data, any thread. It does not say which models they have: that is the configuration's.
#include "provider/known.h"

#include <string.h>

#define CHAT RH_PROTOCOL_CHAT

static const rh_known_provider table[] = {
    {"anthropic",
     RH_PROTOCOL_ANTHROPIC,
     RH_QUIRK_NEEDS_KEY | RH_QUIRK_PREFILL,
     "https://api.anthropic.com/v1",
     {"ANTHROPIC_API_KEY"}},
    {"openai",
     CHAT,
     RH_QUIRK_NEEDS_KEY | RH_QUIRK_FOUR_STOPS | RH_QUIRK_BASE64 | RH_QUIRK_NEW_TOKEN_FIELD,
     "https://api.openai.com/v1",
     {"OPENAI_API_KEY"}},
    {"openrouter",
     CHAT,
     RH_QUIRK_NEEDS_KEY | RH_QUIRK_SAMPLERS | RH_QUIRK_REASONING,
     "https://openrouter.ai/api/v1",
     {"OPENROUTER_API_KEY"}},
    // Ollama's compatible endpoint reads over top_k and its like without a word, so it counts as not knowing them.
    {"ollama", CHAT, RH_QUIRK_PREFILL, "http://127.0.0.1:11434/v1", {"OLLAMA_API_KEY"}},
    {"vllm",
     CHAT,
     RH_QUIRK_SAMPLERS | RH_QUIRK_THOUGHTS | RH_QUIRK_CONTINUE | RH_QUIRK_IGNORE_EOS | RH_QUIRK_BASE64 |
         RH_QUIRK_PREFILL,
     "http://127.0.0.1:8000/v1",
     {"VLLM_API_KEY"}},
    {"llama-server",
     CHAT,
     RH_QUIRK_SAMPLERS | RH_QUIRK_REPEAT_PENALTY | RH_QUIRK_THOUGHTS | RH_QUIRK_IGNORE_EOS | RH_QUIRK_BASE64 |
         RH_QUIRK_PREFILL,
     "http://127.0.0.1:8080/v1",
     {"LLAMA_API_KEY"}},
    {"litellm", CHAT, RH_QUIRK_SAMPLERS | RH_QUIRK_THOUGHTS, "http://127.0.0.1:4000/v1", {"LITELLM_API_KEY"}},
    {"groq", CHAT, RH_QUIRK_NEEDS_KEY | RH_QUIRK_FOUR_STOPS, "https://api.groq.com/openai/v1", {"GROQ_API_KEY"}},
    {"mistral",
     CHAT,
     RH_QUIRK_NEEDS_KEY | RH_QUIRK_PREFIX | RH_QUIRK_RANDOM_SEED | RH_QUIRK_NO_STREAM_USAGE | RH_QUIRK_PREFILL,
     "https://api.mistral.ai/v1",
     {"MISTRAL_API_KEY"}},
    // Its prefilled answers need another address ("/beta"): not on by itself.
    {"deepseek",
     CHAT,
     RH_QUIRK_NEEDS_KEY | RH_QUIRK_PREFIX | RH_QUIRK_THOUGHTS,
     "https://api.deepseek.com/v1",
     {"DEEPSEEK_API_KEY"}},
    {"together", CHAT, RH_QUIRK_NEEDS_KEY | RH_QUIRK_SAMPLERS, "https://api.together.xyz/v1", {"TOGETHER_API_KEY"}},
    {"fireworks",
     CHAT,
     RH_QUIRK_NEEDS_KEY | RH_QUIRK_SAMPLERS | RH_QUIRK_THOUGHTS,
     "https://api.fireworks.ai/inference/v1",
     {"FIREWORKS_API_KEY"}},
    {"google",
     CHAT,
     RH_QUIRK_NEEDS_KEY,
     "https://generativelanguage.googleapis.com/v1beta/openai",
     {"GEMINI_API_KEY", "GOOGLE_API_KEY"}},
    {"roundhouse",
     CHAT,
     RH_QUIRK_SAMPLERS | RH_QUIRK_REPEAT_PENALTY | RH_QUIRK_THOUGHTS | RH_QUIRK_BASE64,
     "http://127.0.0.1:8080/v1",
     {"ROUNDHOUSE_API_KEY"}},
    {"openai-compatible", CHAT, RH_QUIRK_SAMPLERS | RH_QUIRK_THOUGHTS, NULL, {NULL}},
    {"onnx", CHAT, RH_QUIRK_IN_PROCESS, NULL, {NULL}},
    {"gguf", CHAT, RH_QUIRK_IN_PROCESS, NULL, {NULL}},
    {"llama", CHAT, RH_QUIRK_IN_PROCESS, NULL, {NULL}},
    {"local", CHAT, RH_QUIRK_IN_PROCESS, NULL, {NULL}},
};

#define COUNT (sizeof table / sizeof *table)

static const char *const names[COUNT + 1] = {
    "anthropic", "openai",   "openrouter", "ollama",    "vllm",   "llama-server", "litellm",           "groq",
    "mistral",   "deepseek", "together",   "fireworks", "google", "roundhouse",   "openai-compatible", "onnx",
    "gguf",      "llama",    "local",      NULL,
};

const rh_known_provider *rh_known_provider_find(const char *name) {
  for (size_t i = 0; name != NULL && i < COUNT; i++) {
    if (strcmp(table[i].name, name) == 0) return &table[i];
  }
  return NULL;
}

const char *const *rh_known_provider_names(void) { return names; }
