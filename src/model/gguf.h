// SPDX-License-Identifier: Apache-2.0
//
// The GGUF header parser as a pure function over bytes, apart from the file reader so that it can be fuzzed.
// rh_gguf_summary is declared in model/catalogue.h. Format: docs/gguf.md of the ggml project, versions 2 and 3.
#ifndef RH_MODEL_GGUF_H
#define RH_MODEL_GGUF_H

#include "model/catalogue.h"

#define RH_GGUF_MAGIC_BYTES 4
#define RH_GGUF_LAYERS_MAX 512  // llama.cpp's own limit
#define RH_GGUF_TYPES_MAX 64    // ggml's tensor types are numbered below this

// What decides how much memory a model takes. Numbers are as the file says them: 0 = it does not say. Files come from
// strangers: nothing here is checked for sense, only that it is not negative.
typedef struct rh_gguf_shape {
  int64_t layers, width, feed_forward, heads, kv_heads;  // the largest, where a file lists them by layer
  int64_t key_length, value_length, key_length_window, value_length_window;
  int64_t window;              // of sliding attention, in tokens
  int64_t window_period;       // every so-manieth layer sees everything
  int64_t shared_kv_layers;    // the last ones, which keep no keys of their own
  int64_t attention_interval;  // every so-manieth layer has attention, the others are recurrent
  int64_t experts_used, expert_feed_forward;
  int64_t ssm_conv, ssm_inner, ssm_state, ssm_groups, wkv_head, shortconv;  // recurrent layers
  int64_t vocabulary, merges;                                               // entries of the tokenizer's lists
  int64_t parts;                                                            // files the model is in; 0 or 1 = this one
  // By layer, where a file lists them.
  uint32_t kv_heads_of[RH_GGUF_LAYERS_MAX];
  bool window_of[RH_GGUF_LAYERS_MAX];
  size_t kv_heads_listed, windows_listed;
  // Bytes of the tensors of this file.
  int64_t layer_bytes;                         // of "blk.N."
  int64_t embedding_bytes;                     // the token embedding, of which a run reads single rows
  int64_t other_bytes;                         // the rest: output matrix, norms
  bool has_output;                             // a matrix of its own; otherwise the embedding is used again
  bool unknown_type;                           // a tensor's type is not known here: the bytes above are too low
  int64_t matrix_bytes_of[RH_GGUF_TYPES_MAX];  // by tensor type: weights of products, with a row count that 8 divides
  int64_t embedding_bytes_of[RH_GGUF_TYPES_MAX];
} rh_gguf_shape;

// True when `bytes` begin like a GGUF file.
bool rh_gguf_has_magic(const void *bytes, size_t length);

// Read the header that begins at `bytes`. `complete` says that nothing follows in the file. `shape` may be NULL.
// RH_AGAIN: the header goes on past `length`; call again with more (what was found so far is in *out).
// RH_INVALID: no GGUF, or a broken one. RH_UNSUPPORTED: a version or byte order that is not read here.
rh_status rh_gguf_parse(const void *bytes, size_t length, bool complete, rh_gguf_summary *out, rh_gguf_shape *shape,
                        rh_error *error) RH_MUST_CHECK;
rh_status rh_gguf_parse_summary(const void *bytes, size_t length, bool complete, rh_gguf_summary *out,
                                rh_error *error) RH_MUST_CHECK;

// One text of the header by its key, such as "tokenizer.chat_template"; *text points into `bytes` and is not terminated.
// RH_NOT_FOUND: the header has no text of that name. Otherwise as above.
rh_status rh_gguf_parse_text(const void *bytes, size_t length, bool complete, const char *key, const char **text,
                             size_t *text_length, rh_error *error) RH_MUST_CHECK;

// The same from a file (gguf_file.c). rh_gguf_read_summary in catalogue.h is this without the shape.
rh_status rh_gguf_read(const char *path, rh_gguf_summary *out, rh_gguf_shape *shape, rh_error *error) RH_MUST_CHECK;
// The caller frees *out. RH_INVALID for one that is no UTF-8 or holds a NUL.
rh_status rh_gguf_read_text(const char *path, const char *key, char **out, rh_error *error) RH_MUST_CHECK;

// --- between gguf.c and gguf_shape.c ---------------------------------------------------------------------------------

// `key` without the architecture before its first '.'; not terminated.
void rh_gguf_shape_note_number(rh_gguf_shape *shape, const char *key, size_t length, uint64_t value);
// An array of `count` little-endian integers or booleans of `width` bytes each.
void rh_gguf_shape_note_array(rh_gguf_shape *shape, const char *key, size_t length, const uint8_t *values,
                              unsigned width, uint64_t count);
// `rows`: the second dimension, 0 for a vector. False when the model would be impossibly large.
bool rh_gguf_shape_note_tensor(rh_gguf_shape *shape, const char *name, size_t length, uint32_t type, uint64_t elements,
                               uint64_t rows);

// A model in parts, by the naming that llama.cpp's gguf-split gives and its loader wants (gguf_summary.c).
#define RH_GGUF_PARTS_MAX 99999
typedef struct rh_gguf_split {
  size_t stem;             // length of the path before "-00001-of-00003.gguf"
  unsigned number, count;  // 1 ... count
} rh_gguf_split;
bool rh_gguf_split_parse(const char *path, rh_gguf_split *out);

#endif
