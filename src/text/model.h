// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: the four models behind rh_text_model, and what one encode works with.
#ifndef RH_TEXT_MODEL_H
#define RH_TEXT_MODEL_H

#include "text/vocabulary.h"

#define RH_MODEL_PIECE_MAX ((size_t)16 * 1024 * 1024)  // bytes of one piece

typedef enum rh_model_kind { RH_MODEL_BPE, RH_MODEL_WORDPIECE, RH_MODEL_UNIGRAM, RH_MODEL_WORDLEVEL } rh_model_kind;

// Two neighbours that become one token: an open hash table by the pair.
typedef struct rh_merge {
  uint64_t pair;  // left << 32 | right; UINT64_MAX = free
  uint32_t rank;
  int32_t id;
} rh_merge;

typedef struct rh_bpe {
  rh_merge *merges;
  uint32_t mask;
  char *prefix, *suffix;  // of a word's later characters, of its last; NULL = none
  bool byte_fallback, ignore_merges, fuse_unk;
  bool has_unk;          // an unknown token is named (unk of the model may still be -1: then meeting one is an error)
  bool parts_at_spaces;  // nothing is ever joined across the beginning of a "▁": a piece may be cut there
  int32_t byte_ids[256];
  int32_t ascii[128];  // ids of single characters without prefix and suffix
} rh_bpe;

struct rh_text_model {
  rh_model_kind kind;
  rh_vocabulary vocabulary;
  int32_t unk;  // -1 = none
  char *unk_token;
  rh_trie trie;  // WordPiece, Unigram
  rh_bpe bpe;
  // WordPiece
  uint32_t continued;  // the trie's node after the prefix of a word's later parts; RH_TRIE_NONE = no token has it
  int64_t chars_max;
  // Unigram
  double *scores;  // by id
  double unk_score;
  bool byte_fallback;
  int32_t byte_ids[256];
};

// --- the cache of words (wordcache.c): bounded, per encode memory ----------------------------------------------------

typedef struct rh_word_token {
  int32_t id;
  uint32_t start, end;  // relative to the piece
} rh_word_token;

typedef struct rh_word_cache {
  struct rh_word_slot *slots;
  char *store;
  size_t used;
} rh_word_cache;

bool rh_word_cache_init(rh_word_cache *self);
void rh_word_cache_free(rh_word_cache *self);
// The tokens of a word that was stored; NULL = not there. Until the next store.
const rh_word_token *rh_word_cache_find(const rh_word_cache *self, uint64_t hash, const char *word, size_t length,
                                        size_t *count, uint32_t *advance);
void rh_word_cache_store(rh_word_cache *self, uint64_t hash, const char *word, size_t length,
                         const rh_model_token *tokens, size_t count, uint32_t base, uint32_t advance);

// --- an encode's memory ----------------------------------------------------------------------------------------------

typedef struct rh_bpe_symbol {
  int32_t id;
  uint32_t length;  // bytes of the piece; 0 = joined to another
  uint32_t previous, next;
} rh_bpe_symbol;

typedef struct rh_bpe_candidate {
  uint64_t order;  // rank << 32 | place
  int32_t id;
} rh_bpe_candidate;

typedef struct rh_unigram_node {
  double score;
  uint32_t start;  // UINT32_MAX = not reached
  int32_t id;
} rh_unigram_node;

struct rh_text_model_work {
  const rh_text_model *model;
  const uint8_t *hidden;  // by id: 1 = a text does not become this token; NULL = it may become any
  rh_word_cache cache;
  rh_bpe_symbol *symbols;
  rh_bpe_candidate *heap;
  rh_unigram_node *nodes;
  size_t symbols_room, heap_room, nodes_room;
};

static inline bool rh_model_hides(const rh_text_model_work *work, int32_t id) {
  return work->hidden != NULL && id >= 0 && work->hidden[id] != 0;
}

// Room for `count` items of `size` bytes; grows by doubling, keeps the content.
bool rh_model_reserve(void **items, size_t *room, size_t count, size_t size);

// The ids of "<0x00>" ... "<0xFF>"; -1 where there is none. And whether all bytes of a text have one.
void rh_model_find_bytes(const rh_vocabulary *vocabulary, int32_t ids[256]);
bool rh_model_has_bytes(const int32_t ids[256], const char *text, size_t length);

rh_status rh_bpe_init(rh_text_model *self, const json_t *json, rh_error *error) RH_MUST_CHECK;
void rh_bpe_free(rh_text_model *self);
// `position` is where the tokens begin; *advance gets the sum of their lengths.
rh_status rh_bpe_tokenize(const rh_text_model *self, rh_text_model_work *work, const char *text, size_t length,
                          uint32_t position, uint32_t word, rh_model_tokens *out, uint32_t *advance) RH_MUST_CHECK;
const rh_merge *rh_bpe_find(const rh_bpe *self, int32_t left, int32_t right);
// Joins neighbours until none is left to join.
rh_status rh_bpe_merge(const rh_bpe *self, rh_text_model_work *work, size_t count) RH_MUST_CHECK;

rh_status rh_wordpiece_init(rh_text_model *self, const json_t *json, rh_error *error) RH_MUST_CHECK;
rh_status rh_wordpiece_tokenize(const rh_text_model *self, const rh_text_model_work *work, const char *text,
                                size_t length, uint32_t position, uint32_t word, rh_model_tokens *out) RH_MUST_CHECK;

rh_status rh_unigram_init(rh_text_model *self, const json_t *json, rh_error *error) RH_MUST_CHECK;
rh_status rh_unigram_tokenize(const rh_text_model *self, rh_text_model_work *work, const char *text, size_t length,
                              uint32_t position, uint32_t word, rh_model_tokens *out) RH_MUST_CHECK;

// A member of a model or step that is a text, a truth value or a number; the default where it is absent or null.
const char *rh_text_json_string(const json_t *object, const char *key);
bool rh_text_json_bool(const json_t *object, const char *key, bool otherwise);

#endif
