// SPDX-License-Identifier: Apache-2.0
//
// Reads what a person wants to know about a GGUF file from its header: architecture, quantization, context, size.
// Owns nothing but one read window that is freed before return. Any thread. It deliberately neither maps the weights
// nor checks that the model can be loaded: model files come from strangers, and loading is the worker's business.
#include "model/gguf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "base/utf8.h"

// A header holds the vocabulary, so it may be several MiB; the largest public ones are below 20 MiB.
#define WINDOW_BYTES_MIN ((size_t)256 * 1024)
#define WINDOW_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define KEYS_MAX UINT64_C(65536)
#define TENSORS_MAX UINT64_C(1000000)
#define DIMENSIONS_MAX 8u
#define TENSOR_TYPES_MAX 64u

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
  rh_error *error;
  bool has_file_type;
} parse;

static rh_status skip_array(parse *p) {
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
    take(&p->in, bytes);
    return RH_OK;
  }
  for (uint64_t i = 0; i < count && !p->in.short_of_bytes; i++) take_text(&p->in);
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

static bool is_context_length(const parse *p, text_view key) {
  static const char suffix[] = ".context_length";
  size_t suffix_length = sizeof suffix - 1;
  if (key.length <= suffix_length) return false;
  if (memcmp(key.bytes + key.length - suffix_length, suffix, suffix_length) != 0) return false;
  size_t arch_length = strlen(p->out->architecture);
  // The architecture normally comes first. Where it does not, any context length is better than none.
  if (arch_length == 0) return true;
  return key.length - suffix_length == arch_length && memcmp(key.bytes, p->out->architecture, arch_length) == 0;
}

static void note_unsigned(parse *p, text_view key, uint64_t value) {
  rh_gguf_summary *out = p->out;
  if (text_equals(key, "general.file_type")) {
    const char *name =
        value > UINT32_MAX ? NULL : name_of(file_types, sizeof file_types / sizeof *file_types, (uint32_t)value);
    p->has_file_type = name != NULL && rh_text_copy(out->quantization, sizeof out->quantization, name);
  } else if (is_context_length(p, key)) {
    out->context_trained = value > INT64_MAX ? 0 : (int64_t)value;
  }
}

static rh_status read_pair(parse *p) {
  text_view key = take_text(&p->in);
  uint32_t type = take_u32(&p->in);
  if (p->in.short_of_bytes) return RH_OK;
  if (type >= TYPE_COUNT) {
    return rh_fail(p->error, RH_INVALID, "the GGUF header has a value of unknown type %" PRIu32 "; the file is damaged",
                   type);
  }
  if (type == TYPE_ARRAY) return skip_array(p);
  if (type == TYPE_STRING) {
    text_view value = take_text(&p->in);
    if (!p->in.short_of_bytes) note_text(p, key, value);
    return RH_OK;
  }
  uint64_t value = take_unsigned(&p->in, type_bytes[type]);
  bool is_number = type != TYPE_F32 && type != TYPE_F64 && type != TYPE_BOOL;
  if (!p->in.short_of_bytes && is_number) note_unsigned(p, key, value);
  return RH_OK;
}

// Adds one tensor's elements to the sums. Impossible shapes are errors, since the sum is shown as the model's size.
static rh_status read_tensor(parse *p, uint64_t elements_of_type[TENSOR_TYPES_MAX]) {
  take_text(&p->in);
  uint32_t dimensions = take_u32(&p->in);
  if (dimensions > DIMENSIONS_MAX) {
    return rh_fail(p->error, RH_INVALID, "a tensor in the GGUF header has %" PRIu32 " dimensions; the file is damaged",
                   dimensions);
  }
  uint64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; i++) {
    uint64_t size = take_unsigned(&p->in, 8);
    if (size != 0 && elements > (uint64_t)INT64_MAX / size) {
      return rh_fail(p->error, RH_INVALID, "a tensor in the GGUF header is impossibly large; the file is damaged");
    }
    elements *= size;
  }
  uint32_t type = take_u32(&p->in);
  take_unsigned(&p->in, 8);  // where its data lies
  if (p->in.short_of_bytes) return RH_OK;
  uint64_t sum = (uint64_t)p->out->parameters + elements;
  if (sum > INT64_MAX)
    return rh_fail(p->error, RH_INVALID, "the GGUF header's tensors are impossibly large; the file is damaged");
  p->out->parameters = (int64_t)sum;
  if (type < TENSOR_TYPES_MAX) elements_of_type[type] += elements;
  return RH_OK;
}

static rh_status read_tensors(parse *p) {
  uint64_t elements_of_type[TENSOR_TYPES_MAX] = {0};
  for (uint64_t i = 0; i < p->out->tensor_count && !p->in.short_of_bytes; i++) {
    rh_status status = read_tensor(p, elements_of_type);
    if (status != RH_OK) return status;
  }
  uint32_t most = 0;
  for (uint32_t i = 1; i < TENSOR_TYPES_MAX; i++) {
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

rh_status rh_gguf_parse_summary(const void *bytes, size_t length, bool complete, rh_gguf_summary *out,
                                rh_error *error) {
  assert(out != NULL && (bytes != NULL || length == 0));
  memset(out, 0, sizeof *out);
  parse p = {.in = {.at = bytes, .left = length}, .out = out, .error = error};
  if (length >= RH_GGUF_MAGIC_BYTES && !rh_gguf_has_magic(bytes, length)) {
    return rh_fail(error, RH_INVALID, "it is not a GGUF file");
  }
  uint64_t pairs = 0;
  rh_status status = read_counts(&p, &pairs);
  for (uint64_t i = 0; status == RH_OK && i < pairs && !p.in.short_of_bytes; i++) status = read_pair(&p);
  if (status == RH_OK && !p.in.short_of_bytes) status = read_tensors(&p);
  if (status != RH_OK || !p.in.short_of_bytes) return status;
  if (!complete) return RH_AGAIN;
  return rh_fail(error, RH_INVALID,
                 length < RH_GGUF_MAGIC_BYTES ? "it is not a GGUF file"
                                              : "the GGUF header is cut off; the file was not downloaded completely");
}

// Reads the first `length` bytes of `fd`; fewer when the file ends before.
static rh_status read_front(int fd, const char *path, uint8_t *bytes, size_t from, size_t length, size_t *got,
                            rh_error *error) {
  *got = from;
  while (*got < length) {
    ssize_t n = pread(fd, bytes + *got, length - *got, (off_t)*got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return rh_fail(error, RH_IO, "cannot read %s: %s", path, strerror(errno));
    if (n == 0) break;
    *got += (size_t)n;
  }
  return RH_OK;
}

// Most headers are small, some hold a large vocabulary: begin with a small window and grow it on demand.
static rh_status read_window(int fd, const char *path, rh_gguf_summary *out, rh_error *error) {
  uint8_t *bytes = NULL;
  size_t got = 0;
  rh_status status = RH_AGAIN;
  for (size_t window = WINDOW_BYTES_MIN; status == RH_AGAIN && window <= WINDOW_BYTES_MAX; window *= 4) {
    uint8_t *larger = realloc(bytes, window);
    if (larger == NULL) {
      status = rh_fail(error, RH_NO_MEMORY, "no memory to read the header of %s", path);
      break;
    }
    bytes = larger;
    status = read_front(fd, path, bytes, got, window, &got, error);
    rh_error inner = {0};
    if (status == RH_OK) {
      status = rh_gguf_parse_summary(bytes, got, got < window, out, &inner);
      if (status != RH_OK && status != RH_AGAIN) rh_fail(error, status, "%s: %s", path, inner.message);
    }
  }
  free(bytes);
  if (status == RH_AGAIN) {
    return rh_fail(error, RH_TOO_LARGE, "%s: the GGUF header is larger than %zu MiB", path, WINDOW_BYTES_MAX >> 20);
  }
  return status;
}

rh_status rh_gguf_read_summary(const char *path, rh_gguf_summary *out, rh_error *error) {
  assert(path != NULL && out != NULL);
  memset(out, 0, sizeof *out);
  // Without O_NONBLOCK a named pipe would hold us until somebody writes to it.
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return rh_fail(error, errno == ENOENT ? RH_NOT_FOUND : RH_IO, "cannot open %s: %s", path, strerror(errno));
  struct stat info;
  rh_status status = RH_OK;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    status = rh_fail(error, RH_INVALID, "%s is not a regular file", path);
  } else {
    status = read_window(fd, path, out, error);
  }
  close(fd);
  return status;
}
