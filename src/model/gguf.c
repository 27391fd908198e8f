// SPDX-License-Identifier: Apache-2.0
//
// Reads what a person wants to know about a GGUF file from its header: architecture, quantization, context, size; and
// hands to gguf_shape.c what decides how much memory it takes.
// Owns nothing; a pure function. Any thread. It deliberately does not check that the model can be loaded: model files
// come from strangers, and loading is the worker's business.
#include "model/gguf.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "base/utf8.h"

#define KEYS_MAX UINT64_C(65536)
#define TENSORS_MAX UINT64_C(1000000)
#define DIMENSIONS_MAX 8u

// Value types of the format.
enum {
  TYPE_U8,
  TYPE_I8,
  TYPE_U16,
  TYPE_I16,
  TYPE_U32,
  TYPE_I32,
  TYPE_F32,
  TYPE_BOOL,
  TYPE_STRING,
  TYPE_ARRAY,
  TYPE_U64,
  TYPE_I64,
  TYPE_F64,
  TYPE_COUNT
};

static const uint8_t type_bytes[TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

typedef struct named_number {
  uint32_t number;
  const char *name;
} named_number;

// general.file_type, numbered as in llama.h (enum llama_ftype).
static const named_number file_types[] = {
    {0, "F32"},     {1, "F16"},     {2, "Q4_0"},     {3, "Q4_1"},    {7, "Q8_0"},     {8, "Q5_0"},
    {9, "Q5_1"},    {10, "Q2_K"},   {11, "Q3_K_S"},  {12, "Q3_K_M"}, {13, "Q3_K_L"},  {14, "Q4_K_S"},
    {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"},  {18, "Q6_K"},   {19, "IQ2_XXS"}, {20, "IQ2_XS"},
    {21, "Q2_K_S"}, {22, "IQ3_XS"}, {23, "IQ3_XXS"}, {24, "IQ1_S"},  {25, "IQ4_NL"},  {26, "IQ3_S"},
    {27, "IQ3_M"},  {28, "IQ2_S"},  {29, "IQ2_M"},   {30, "IQ4_XS"}, {31, "IQ1_M"},   {32, "BF16"},
    {36, "TQ1_0"},  {37, "TQ2_0"},  {38, "MXFP4"},   {39, "NVFP4"},  {40, "Q1_0"},    {41, "Q2_0"},
};

// The types of tensors, numbered as in ggml.h (enum ggml_type); used where a file does not state its file_type.
static const named_number tensor_types[] = {
    {0, "F32"},    {1, "F16"},      {2, "Q4_0"},    {3, "Q4_1"},     {6, "Q5_0"},   {7, "Q5_1"},
    {8, "Q8_0"},   {10, "Q2_K"},    {11, "Q3_K"},   {12, "Q4_K"},    {13, "Q5_K"},  {14, "Q6_K"},
    {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"},
    {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {28, "F64"},     {29, "IQ1_M"}, {30, "BF16"},
    {34, "TQ1_0"}, {35, "TQ2_0"},   {39, "MXFP4"},  {40, "NVFP4"},   {41, "Q1_0"},  {42, "Q2_0"},
};

static const char *name_of(const named_number *table, size_t count, uint32_t number) {
  for (size_t i = 0; i < count; i++) {
    if (table[i].number == number) return table[i].name;
  }
  return NULL;
}

// What is left to read. `short_of_bytes` is sticky: every later read gives zero.
typedef struct reader {
  const uint8_t *at;
  size_t left;
  bool short_of_bytes;
} reader;

static const uint8_t *take(reader *r, uint64_t bytes) {
  if (r->short_of_bytes || bytes > r->left) {
    r->short_of_bytes = true;
    return NULL;
  }
  const uint8_t *at = r->at;
  r->at += (size_t)bytes;
  r->left -= (size_t)bytes;
  return at;
}

static uint64_t take_unsigned(reader *r, unsigned bytes) {
  const uint8_t *at = take(r, bytes);
  uint64_t value = 0;
  for (unsigned i = bytes; at != NULL && i > 0; i--) value = value << 8 | at[i - 1];
  return value;
}

static uint32_t take_u32(reader *r) { return (uint32_t)take_unsigned(r, 4); }

typedef struct text_view {
  const char *bytes;  // not terminated; NULL when it was cut off
  size_t length;
} text_view;

static text_view take_text(reader *r) {
  uint64_t length = take_unsigned(r, 8);
  const uint8_t *bytes = take(r, length);
  return (text_view){(const char *)bytes, bytes == NULL ? 0 : (size_t)length};
}

static bool text_equals(text_view text, const char *other) {
  return text.length == strlen(other) && memcmp(text.bytes, other, text.length) == 0;
}

// Names are shown on terminals and in JSON, so control characters and broken UTF-8 must not get through.
static void copy_printable(char *out, size_t size, text_view text) {
  size_t length = text.length < size ? text.length : size - 1;
  length = rh_utf8_complete_prefix(text.bytes, length);
  bool valid = rh_utf8_valid(text.bytes, length);
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)text.bytes[i];
    out[i] = c < 0x20 || c == 0x7f || (c >= 0x80 && !valid) ? '?' : (char)c;
  }
  out[length] = '\0';
}

typedef struct parse {
  reader in;
  rh_gguf_summary *out;
  rh_gguf_shape *shape;  // NULL when nobody wants it
  rh_error *error;
  bool has_file_type;
  const char *wanted;  // NULL, or the key of the one text that is looked for
  text_view found;
} parse;

// A key's name without the architecture that it begins with; length 0 when it belongs to something else.
static text_view own_key(const parse *p, text_view key) {
  size_t arch_length = strlen(p->out->architecture);
  const char *dot = key.length == 0 ? NULL : memchr(key.bytes, '.', key.length);
  // The architecture normally comes first. Where it does not, any is better than none.
  if (arch_length > 0) {
    bool own = key.length > arch_length + 1 && key.bytes[arch_length] == '.' &&
               memcmp(key.bytes, p->out->architecture, arch_length) == 0;
    dot = own ? key.bytes + arch_length : NULL;
  }
  if (dot == NULL) return (text_view){key.bytes, 0};
  size_t skipped = (size_t)(dot + 1 - key.bytes);
  return (text_view){dot + 1, key.length - skipped};
}

static void note_array(parse *p, text_view key, uint32_t type, const uint8_t *values, uint64_t count) {
  if (p->shape == NULL) return;
  if (text_equals(key, "tokenizer.ggml.tokens")) p->shape->vocabulary = (int64_t)count;
  if (text_equals(key, "tokenizer.ggml.merges")) p->shape->merges = (int64_t)count;
  bool is_number = values != NULL && type != TYPE_F32 && type != TYPE_F64;
  text_view own = own_key(p, key);
  if (is_number && own.length > 0) {
    rh_gguf_shape_note_array(p->shape, own.bytes, own.length, values, type_bytes[type], count);
  }
}

static rh_status read_array(parse *p, text_view key) {
  uint32_t type = take_u32(&p->in);
  uint64_t count = take_unsigned(&p->in, 8);
  if (p->in.short_of_bytes) return RH_OK;
  if (type >= TYPE_COUNT || type == TYPE_ARRAY) {
    return rh_fail(p->error, RH_INVALID,
                   "the GGUF header has an array of unknown type %" PRIu32 "; the file is damaged", type);
  }
  if (type != TYPE_STRING) {
    // A count that overflows is larger than any file.
    uint64_t bytes = count > UINT64_MAX / type_bytes[type] ? UINT64_MAX : count * type_bytes[type];
    const uint8_t *values = take(&p->in, bytes);
    if (!p->in.short_of_bytes) note_array(p, key, type, values, count);
    return RH_OK;
  }
  for (uint64_t i = 0; i < count && !p->in.short_of_bytes; i++) take_text(&p->in);
  // Each text took 8 bytes at least, so the count is no larger than the file.
  if (!p->in.short_of_bytes) note_array(p, key, type, NULL, count);
  return RH_OK;
}

static void note_text(parse *p, text_view key, text_view value) {
  rh_gguf_summary *out = p->out;
  if (text_equals(key, "general.architecture")) {
    copy_printable(out->architecture, sizeof out->architecture, value);
  } else if (text_equals(key, "general.name")) {
    copy_printable(out->name, sizeof out->name, value);
  } else if (text_equals(key, "tokenizer.chat_template")) {
    out->has_chat_template = value.length > 0;
  }
}

static void note_unsigned(parse *p, text_view key, uint64_t value) {
  rh_gguf_summary *out = p->out;
  if (text_equals(key, "general.file_type")) {
    const char *name =
        value > UINT32_MAX ? NULL : name_of(file_types, sizeof file_types / sizeof *file_types, (uint32_t)value);
    p->has_file_type = name != NULL && rh_text_copy(out->quantization, sizeof out->quantization, name);
    return;
  }
  if (text_equals(key, "split.count") && p->shape != NULL) p->shape->parts = value > INT64_MAX ? 0 : (int64_t)value;
  text_view own = own_key(p, key);
  if (own.length == 0) return;
  if (text_equals(own, "context_length")) out->context_trained = value > INT64_MAX ? 0 : (int64_t)value;
  if (p->shape != NULL) rh_gguf_shape_note_number(p->shape, own.bytes, own.length, value);
}

static rh_status read_pair(parse *p) {
  text_view key = take_text(&p->in);
  uint32_t type = take_u32(&p->in);
  if (p->in.short_of_bytes) return RH_OK;
  if (type >= TYPE_COUNT) {
    return rh_fail(p->error, RH_INVALID, "the GGUF header has a value of unknown type %" PRIu32 "; the file is damaged",
                   type);
  }
  if (type == TYPE_ARRAY) return read_array(p, key);
  if (type == TYPE_STRING) {
    text_view value = take_text(&p->in);
    if (p->in.short_of_bytes) return RH_OK;
    if (p->wanted != NULL && text_equals(key, p->wanted)) p->found = value;
    note_text(p, key, value);
    return RH_OK;
  }
  uint64_t value = take_unsigned(&p->in, type_bytes[type]);
  bool is_number = type != TYPE_F32 && type != TYPE_F64 && type != TYPE_BOOL;
  if (!p->in.short_of_bytes && is_number) note_unsigned(p, key, value);
  return RH_OK;
}

// Adds one tensor's elements to the sums. Impossible shapes are errors, since the sum is shown as the model's size.
static rh_status read_tensor(parse *p, uint64_t elements_of_type[RH_GGUF_TYPES_MAX]) {
  text_view name = take_text(&p->in);
  uint32_t dimensions = take_u32(&p->in);
  if (dimensions > DIMENSIONS_MAX) {
    return rh_fail(p->error, RH_INVALID, "a tensor in the GGUF header has %" PRIu32 " dimensions; the file is damaged",
                   dimensions);
  }
  uint64_t elements = 1, rows = 0;
  for (uint32_t i = 0; i < dimensions; i++) {
    uint64_t size = take_unsigned(&p->in, 8);
    if (size != 0 && elements > (uint64_t)INT64_MAX / size) {
      return rh_fail(p->error, RH_INVALID, "a tensor in the GGUF header is impossibly large; the file is damaged");
    }
    elements *= size;
    if (i == 1) rows = size;
  }
  uint32_t type = take_u32(&p->in);
  take_unsigned(&p->in, 8);  // where its data lies
  if (p->in.short_of_bytes) return RH_OK;
  uint64_t sum = (uint64_t)p->out->parameters + elements;
  bool fits = p->shape == NULL || rh_gguf_shape_note_tensor(p->shape, name.bytes, name.length, type, elements, rows);
  if (sum > INT64_MAX || !fits)
    return rh_fail(p->error, RH_INVALID, "the GGUF header's tensors are impossibly large; the file is damaged");
  p->out->parameters = (int64_t)sum;
  if (type < RH_GGUF_TYPES_MAX) elements_of_type[type] += elements;
  return RH_OK;
}

static rh_status read_tensors(parse *p) {
  uint64_t elements_of_type[RH_GGUF_TYPES_MAX] = {0};
  for (uint64_t i = 0; i < p->out->tensor_count && !p->in.short_of_bytes; i++) {
    rh_status status = read_tensor(p, elements_of_type);
    if (status != RH_OK) return status;
  }
  uint32_t most = 0;
  for (uint32_t i = 1; i < RH_GGUF_TYPES_MAX; i++) {
    if (elements_of_type[i] > elements_of_type[most]) most = i;
  }
  const char *name = name_of(tensor_types, sizeof tensor_types / sizeof *tensor_types, most);
  if (!p->has_file_type && name != NULL && elements_of_type[most] > 0) {
    (void)rh_text_copy(p->out->quantization, sizeof p->out->quantization, name);
  }
  return RH_OK;
}

static rh_status read_counts(parse *p, uint64_t *pairs) {
  take(&p->in, RH_GGUF_MAGIC_BYTES);
  p->out->version = take_u32(&p->in);
  p->out->tensor_count = take_unsigned(&p->in, 8);
  *pairs = take_unsigned(&p->in, 8);
  if (p->in.short_of_bytes) return RH_OK;
  if ((p->out->version & 0xffff) == 0) {
    return rh_fail(p->error, RH_UNSUPPORTED, "the GGUF file is big-endian; convert it to little-endian first");
  }
  if (p->out->version < 2 || p->out->version > 3) {
    return rh_fail(p->error, RH_UNSUPPORTED, "the file is GGUF version %" PRIu32 "; versions 2 and 3 are supported",
                   p->out->version);
  }
  if (*pairs > KEYS_MAX || p->out->tensor_count > TENSORS_MAX) {
    return rh_fail(p->error, RH_INVALID,
                   "the GGUF header claims %" PRIu64 " keys and %" PRIu64 " tensors; the file is damaged", *pairs,
                   p->out->tensor_count);
  }
  return RH_OK;
}

bool rh_gguf_has_magic(const void *bytes, size_t length) {
  return length >= RH_GGUF_MAGIC_BYTES && memcmp(bytes, "GGUF", RH_GGUF_MAGIC_BYTES) == 0;
}

static rh_status cut_off(size_t length, bool complete, rh_error *error) {
  if (!complete) return RH_AGAIN;
  return rh_fail(error, RH_INVALID,
                 length < RH_GGUF_MAGIC_BYTES ? "it is not a GGUF file"
                                              : "the GGUF header is cut off; the file was not downloaded completely");
}

rh_status rh_gguf_parse_summary(const void *bytes, size_t length, bool complete, rh_gguf_summary *out,
                                rh_error *error) {
  return rh_gguf_parse(bytes, length, complete, out, NULL, error);
}

rh_status rh_gguf_parse(const void *bytes, size_t length, bool complete, rh_gguf_summary *out, rh_gguf_shape *shape,
                        rh_error *error) {
  assert(out != NULL && (bytes != NULL || length == 0));
  memset(out, 0, sizeof *out);
  if (shape != NULL) memset(shape, 0, sizeof *shape);
  parse p = {.in = {.at = bytes, .left = length}, .out = out, .shape = shape, .error = error};
  if (length >= RH_GGUF_MAGIC_BYTES && !rh_gguf_has_magic(bytes, length)) {
    return rh_fail(error, RH_INVALID, "it is not a GGUF file");
  }
  uint64_t pairs = 0;
  rh_status status = read_counts(&p, &pairs);
  for (uint64_t i = 0; status == RH_OK && i < pairs && !p.in.short_of_bytes; i++) status = read_pair(&p);
  if (status == RH_OK && !p.in.short_of_bytes) status = read_tensors(&p);
  return status != RH_OK || !p.in.short_of_bytes ? status : cut_off(length, complete, error);
}

rh_status rh_gguf_parse_text(const void *bytes, size_t length, bool complete, const char *key, const char **text,
                             size_t *text_length, rh_error *error) {
  assert(key != NULL && text != NULL && text_length != NULL && (bytes != NULL || length == 0));
  rh_gguf_summary summary = {0};
  parse p = {.in = {.at = bytes, .left = length}, .out = &summary, .error = error, .wanted = key};
  if (length >= RH_GGUF_MAGIC_BYTES && !rh_gguf_has_magic(bytes, length)) {
    return rh_fail(error, RH_INVALID, "it is not a GGUF file");
  }
  uint64_t pairs = 0;
  rh_status status = read_counts(&p, &pairs);
  for (uint64_t i = 0; status == RH_OK && i < pairs && !p.in.short_of_bytes && p.found.bytes == NULL; i++) {
    status = read_pair(&p);
  }
  *text = p.found.bytes;
  *text_length = p.found.length;
  if (status != RH_OK || p.found.bytes != NULL) return status;
  if (p.in.short_of_bytes) return cut_off(length, complete, error);
  return rh_fail(error, RH_NOT_FOUND, "the GGUF header has no text \"%.64s\"", key);
}
