// SPDX-License-Identifier: Apache-2.0
//
// The numbers of a GGUF header that decide how much memory the model takes: hyper-parameters by key, bytes by tensor.
// Owns nothing; pure functions that gguf.c calls while it reads. Any thread. It deliberately draws no conclusions:
// need_gguf.c does, and it does not trust what stands here.
#include <stddef.h>
#include <string.h>

#include "model/gguf.h"

typedef struct number_row {
  const char *key;  // after the architecture and its '.'
  size_t offset;
} number_row;

#define ROW(key, field) \
  { key, offsetof(rh_gguf_shape, field) }

// Keys as llama.cpp reads them (llama-arch.cpp).
static const number_row numbers[] = {
    ROW("block_count", layers),
    ROW("embedding_length", width),
    ROW("feed_forward_length", feed_forward),
    ROW("attention.head_count", heads),
    ROW("attention.head_count_kv", kv_heads),
    ROW("attention.key_length", key_length),
    ROW("attention.value_length", value_length),
    ROW("attention.key_length_swa", key_length_window),
    ROW("attention.value_length_swa", value_length_window),
    ROW("attention.sliding_window", window),
    ROW("attention.sliding_window_pattern", window_period),
    ROW("attention.shared_kv_layers", shared_kv_layers),
    ROW("full_attention_interval", attention_interval),
    ROW("expert_used_count", experts_used),
    ROW("expert_feed_forward_length", expert_feed_forward),
    ROW("ssm.conv_kernel", ssm_conv),
    ROW("ssm.inner_size", ssm_inner),
    ROW("ssm.state_size", ssm_state),
    ROW("ssm.group_count", ssm_groups),
    ROW("wkv.head_size", wkv_head),
    ROW("shortconv.l_cache", shortconv),
};

static bool key_is(const char *key, size_t length, const char *word) {
  return strlen(word) == length && memcmp(key, word, length) == 0;
}

static int64_t *find_number(rh_gguf_shape *shape, const char *key, size_t length) {
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (key_is(key, length, numbers[i].key)) return (int64_t *)(void *)((char *)shape + numbers[i].offset);
  }
  return NULL;
}

// Signed types reach us as unsigned; a negative one is large and means nothing here. None of these numbers is ever near.
static int64_t sensible(uint64_t value) { return value > INT32_MAX ? 0 : (int64_t)value; }

void rh_gguf_shape_note_number(rh_gguf_shape *shape, const char *key, size_t length, uint64_t value) {
  int64_t *field = find_number(shape, key, length);
  if (field != NULL) *field = sensible(value);
}

static uint64_t element(const uint8_t *values, unsigned width, uint64_t index) {
  uint64_t value = 0;
  for (unsigned i = width; i > 0; i--) value = value << 8 | values[index * width + i - 1];
  return value;
}

void rh_gguf_shape_note_array(rh_gguf_shape *shape, const char *key, size_t length, const uint8_t *values,
                              unsigned width, uint64_t count) {
  int64_t *field = find_number(shape, key, length);
  if (field == NULL) return;
  size_t layers = count < RH_GGUF_LAYERS_MAX ? (size_t)count : RH_GGUF_LAYERS_MAX;
  if (field == &shape->window_period) {
    for (size_t i = 0; i < layers; i++) shape->window_of[i] = element(values, width, i) != 0;
    shape->windows_listed = layers;
    return;
  }
  *field = 0;
  for (size_t i = 0; i < layers; i++) {
    int64_t value = sensible(element(values, width, i));
    if (value > *field) *field = value;
    if (field == &shape->kv_heads) shape->kv_heads_of[i] = (uint32_t)value;
  }
  if (field == &shape->kv_heads) shape->kv_heads_listed = layers;
}

// Elements and bytes of one block of each tensor type (ggml-common.h). 0: a type that is not known here.
static const struct {
  uint8_t elements_log2;
  uint16_t bytes;
} blocks[RH_GGUF_TYPES_MAX] = {
    [0] = {0, 4},    [1] = {0, 2},    [2] = {5, 18},  [3] = {5, 20},   [6] = {5, 22},   [7] = {5, 24},
    [8] = {5, 34},   [9] = {5, 36},   [10] = {8, 84}, [11] = {8, 110}, [12] = {8, 144}, [13] = {8, 176},
    [14] = {8, 210}, [15] = {8, 292}, [16] = {8, 66}, [17] = {8, 74},  [18] = {8, 98},  [19] = {8, 50},
    [20] = {5, 18},  [21] = {8, 110}, [22] = {8, 82}, [23] = {8, 136}, [24] = {0, 1},   [25] = {0, 2},
    [26] = {0, 4},   [27] = {0, 8},   [28] = {0, 8},  [29] = {8, 56},  [30] = {0, 2},   [34] = {8, 54},
    [35] = {8, 66},  [39] = {5, 17},  [40] = {6, 36}, [41] = {7, 18},  [42] = {6, 18},
};

static bool begins(const char *name, size_t length, const char *prefix) {
  size_t prefix_length = strlen(prefix);
  return length >= prefix_length && memcmp(name, prefix, prefix_length) == 0;
}

// False when the sum would be impossibly large.
static bool add(int64_t *sum, uint64_t bytes) {
  if (bytes > (uint64_t)(INT64_MAX - *sum)) return false;
  *sum += (int64_t)bytes;
  return true;
}

bool rh_gguf_shape_note_tensor(rh_gguf_shape *shape, const char *name, size_t length, uint32_t type, uint64_t elements,
                               uint64_t rows) {
  uint64_t block_bytes = type < RH_GGUF_TYPES_MAX ? blocks[type].bytes : 0;
  if (block_bytes == 0) {
    shape->unknown_type = true;
    return true;
  }
  // Rounded up: a row that is no whole number of blocks is not valid, but it is not our business to say so.
  uint64_t count = (elements >> blocks[type].elements_log2) + 1;
  if ((elements & ((UINT64_C(1) << blocks[type].elements_log2) - 1)) == 0) count--;
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(count, block_bytes, &bytes)) return false;
  bool embedding = begins(name, length, "token_embd.") || begins(name, length, "per_layer_token_embd.");
  if (begins(name, length, "output.")) shape->has_output = true;
  int64_t *sum = embedding                      ? &shape->embedding_bytes
                 : begins(name, length, "blk.") ? &shape->layer_bytes
                                                : &shape->other_bytes;
  if (!add(sum, bytes)) return false;
  bool matrix = rows > 0 && rows % 8 == 0;
  if (!matrix) return true;
  return add(embedding ? &shape->embedding_bytes_of[type] : &shape->matrix_bytes_of[type], bytes);
}
