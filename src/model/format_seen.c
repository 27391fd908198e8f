// SPDX-License-Identifier: Apache-2.0
//
// What something that is no model looks like, so that an error can say what was seen: a web page, an archive, a pointer.
// Pure functions over the first bytes; any thread.
//
// Signatures: the formats' own specifications; git-lfs's pointer from its docs/spec.md; GGML's old magics from
// docs/gguf.md of the ggml project.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/utf8.h"
#include "model/format_private.h"

typedef struct signature {
  size_t offset;
  const char *bytes;
  size_t length;
  const char *seen;
  const char *advice;
} signature;

#define AT(offset, bytes, seen, advice) \
  { offset, bytes, sizeof(bytes) - 1, seen, advice }

static const char pickle_advice[] =
    "pickles can run code when they are read and are not loaded; get the model as "
    "safetensors or GGUF";
static const char old_ggml_advice[] = "it is older than GGUF; get the model as GGUF, or convert the original again";
static const char archive_advice[] = "unpack it and name the model inside";

static const signature signatures[] = {
    AT(0, "version https://git-lfs", "a git-lfs pointer, not the file itself", "run git lfs pull, or roundhouse pull"),
    AT(0, "version https://hawser", "a git-lfs pointer, not the file itself", "run git lfs pull, or roundhouse pull"),
    AT(0, "lmgg", "a GGML file of the old kind (ggml)", old_ggml_advice),
    AT(0, "fmgg", "a GGML file of the old kind (ggmf)", old_ggml_advice),
    AT(0, "tjgg", "a GGML file of the old kind (ggjt)", old_ggml_advice),
    AT(0, "algg", "a GGML LoRA adapter of the old kind (ggla)", old_ggml_advice),
    AT(0, "\x1f\x8b", "a gzip archive", archive_advice),
    AT(0, "BZh", "a bzip2 archive", archive_advice),
    AT(0,
       "\xfd"
       "7zXZ",
       "an xz archive", archive_advice),
    AT(0, "\x28\xb5\x2f\xfd", "a zstd archive", archive_advice),
    AT(0, "7z\xbc\xaf\x27\x1c", "a 7z archive", archive_advice),
    AT(0, "Rar!", "a RAR archive", archive_advice),
    AT(257, "ustar", "a tar archive", archive_advice),
    AT(0,
       "\x7f"
       "ELF",
       "a program or library (ELF)", NULL),
    AT(0, "MZ", "a Windows program", NULL),
    AT(0, "\x89HDF\r\n", "an HDF5 file (Keras)", "get the model as ONNX"),
    AT(4, "TFL3", "a TensorFlow Lite model", "get the model as ONNX or GGUF"),
    AT(0, "\x93NUMPY", "a NumPy array", NULL),
    AT(0, "%PDF-", "a PDF document", NULL),
    AT(0, "\x89PNG\r\n", "a PNG image", NULL),
    AT(0, "\xff\xd8\xff", "a JPEG image", NULL),
    AT(0, "SQLite format 3", "an SQLite database", NULL),
};

static bool contains(const uint8_t *bytes, size_t length, const char *text) {
  return memmem(bytes, length, text, strlen(text)) != NULL;
}

static const char *describe_zip(const uint8_t *bytes, size_t length, char *out, size_t size) {
  // torch.save writes NAME/data.pkl as the first member (torch/serialization.py).
  if (contains(bytes, length, "/data.pkl")) {
    (void)rh_text_copy(out, size, "a PyTorch checkpoint (a ZIP of pickled Python objects)");
    return pickle_advice;
  }
  (void)rh_text_copy(out, size, "a ZIP archive");
  return archive_advice;
}

static bool is_pickle(const uint8_t *bytes, size_t length) {
  // PROTO opcode with a version from 2 to 5, as pickletools lists them; what follows is an opcode again.
  return length > 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5 &&
         strchr("}](cX\x8a\x95", bytes[2]) != NULL && bytes[2] != '\0';
}

static bool starts_ignoring_case(const char *text, size_t length, const char *word) {
  size_t i = 0;
  for (; word[i] != '\0'; i++) {
    if (i >= length || tolower((unsigned char)text[i]) != word[i]) return false;
  }
  return true;
}

static const char *describe_text(const char *text, size_t length, char *out, size_t size) {
  size_t skip = 0;
  while (skip < length && isspace((unsigned char)text[skip])) skip++;
  const char *at = text + skip;
  size_t left = length - skip;
  if (starts_ignoring_case(at, left, "<!doctype html") || starts_ignoring_case(at, left, "<html")) {
    (void)rh_text_copy(out, size, "an HTML page");
    return "a web page was saved in place of the model: check the address, and whether it wants a login";
  }
  const char *seen = "a text file";
  if (starts_ignoring_case(at, left, "<?xml")) seen = "an XML document";
  if (left > 0 && (*at == '{' || *at == '[')) seen = "a JSON document";
  if (starts_ignoring_case(at, left, "#!")) seen = "a script";
  (void)rh_text_copy(out, size, seen);
  return NULL;
}

static bool is_text(const char *bytes, size_t length, bool cut) {
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)bytes[i];
    if (c == 0x7f || (c < 0x20 && !isspace(c))) return false;
  }
  size_t whole = cut ? rh_utf8_complete_prefix(bytes, length) : length;
  return rh_utf8_valid(bytes, whole);
}

const char *rh_format_describe(const void *bytes, size_t length, int64_t size, char *out, size_t out_size) {
  const uint8_t *front = bytes;
  if (size == 0 || length == 0) {
    (void)rh_text_copy(out, out_size, "an empty file");
    return "it was not downloaded";
  }
  for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
    const signature *s = &signatures[i];
    if (s->offset + s->length > length || memcmp(front + s->offset, s->bytes, s->length) != 0) continue;
    (void)rh_text_copy(out, out_size, s->seen);
    return s->advice;
  }
  if (length >= 4 && memcmp(front, "PK\x03\x04", 4) == 0) return describe_zip(front, length, out, out_size);
  if (is_pickle(front, length)) {
    (void)rh_text_copy(out, out_size, "a PyTorch or Python pickle");
    return pickle_advice;
  }
  if (is_text(bytes, length, (int64_t)length < size)) return describe_text(bytes, length, out, out_size);
  size_t zeros = 0;
  while (zeros < length && front[zeros] == 0) zeros++;
  if (zeros == length) {
    (void)rh_text_copy(out, out_size, "nothing but zero bytes");
    return "its download was interrupted; get it again";
  }
  uint8_t first[4] = {0};
  memcpy(first, front, length < 4 ? length : 4);
  (void)snprintf(out, out_size, "unknown binary data (it begins with %02x %02x %02x %02x)", first[0], first[1],
                 first[2], first[3]);
  return NULL;
}
