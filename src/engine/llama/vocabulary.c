// SPDX-License-Identifier: Apache-2.0
//
// Purpose: facts about the vocabulary that cost a walk over all tokens, and the text of one token.
// Data owned: the engine's end_tokens and pieces.
// Threads: the engine thread.
// Not here: putting characters together; a token's text may be part of one.
#include <assert.h>
#include <stdlib.h>

#include "engine/llama/internal.h"

// A text of `out`'s size or less; a longer one gives its negative length.
static int32_t piece_bytes(const rh_engine *engine, llama_token token, bool special) {
  char text[256];
  int32_t length = llama_token_to_piece(engine->vocab, token, text, sizeof text, 0, special);
  return length < 0 ? -length : length;
}

rh_status rh_llama_vocabulary_scan(rh_engine *engine) {
  size_t ends = 0;
  // Special tokens count with their text: a prompt may spell them.
  for (llama_token token = 0; token < engine->vocabulary; token++) {
    int32_t length = piece_bytes(engine, token, true);
    if (length > engine->piece_bytes_max) engine->piece_bytes_max = length;
    if (llama_vocab_is_eog(engine->vocab, token)) ends++;
    enum llama_token_attr attributes = llama_vocab_get_attr(engine->vocab, token);
    if (attributes & (LLAMA_TOKEN_ATTR_LSTRIP | LLAMA_TOKEN_ATTR_RSTRIP)) engine->tokens_strip_space = true;
  }
  if (engine->piece_bytes_max < 1) engine->piece_bytes_max = 1;
  // The other kinds of tokenizer normalize or fold text, so bytes say little about their token count.
  enum llama_vocab_type type = llama_vocab_type(engine->vocab);
  engine->bytes_bound_tokens = type == LLAMA_VOCAB_TYPE_SPM || type == LLAMA_VOCAB_TYPE_BPE;

  engine->end_tokens = malloc((ends + 1) * sizeof *engine->end_tokens);
  engine->pieces = malloc((size_t)engine->piece_bytes_max * (RH_TOP_LOGPROBS_MAX + 1));
  if (!engine->end_tokens || !engine->pieces) return RH_NO_MEMORY;
  for (llama_token token = 0; token < engine->vocabulary; token++) {
    if (llama_vocab_is_eog(engine->vocab, token)) engine->end_tokens[engine->end_token_count++] = token;
  }
  assert(engine->end_token_count == ends);
  return RH_OK;
}

size_t rh_llama_vocabulary_piece(const rh_engine *engine, llama_token token, char *out) {
  int32_t length = llama_token_to_piece(engine->vocab, token, out, engine->piece_bytes_max, 0, false);
  // The scan saw the text of every token, so none can be too long; were it so, no text is better than a wrong one.
  return length > 0 ? (size_t)length : 0;
}
