// SPDX-License-Identifier: Apache-2.0
//
// One GGUF model: a file, or a file of several parts whose siblings must all be there. Owns nothing between calls; any
// thread. It deliberately reads only the first bytes of each part: whether the weights are whole is for the loader, and
// for the digests of what was pulled.
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "model/format_private.h"
#include "model/gguf.h"

#define GGUF_TYPE_U16 2

bool rh_gguf_find_u16(const void *bytes, size_t length, const char *key, uint16_t *out) {
  // A pair is the key's length (8 bytes), the key, the type (4 bytes), the value.
  size_t key_length = strlen(key);
  const uint8_t *at = bytes, *end = at + length;
  while (at < end && (at = memmem(at, (size_t)(end - at), key, key_length)) != NULL) {
    const uint8_t *behind = at + key_length;
    bool whole = at - (const uint8_t *)bytes >= 8 && end - behind >= 6;
    uint8_t size[8] = {(uint8_t)key_length};
    uint8_t type[4] = {GGUF_TYPE_U16};
    if (whole && memcmp(at - 8, size, 8) == 0 && memcmp(behind, type, 4) == 0) {
      *out = (uint16_t)(behind[4] | behind[5] << 8);
      return true;
    }
    at++;
  }
  return false;
}

static rh_status check_front(const rh_format_file *file, const char *path, rh_error *error) {
  rh_gguf_summary summary;
  rh_error inner = {0};
  bool complete = file->size == (int64_t)file->front_length;
  rh_status status = rh_gguf_parse_summary(file->front, file->front_length, complete, &summary, &inner);
  if (status == RH_OK || status == RH_AGAIN) return RH_OK;
  return rh_fail(error, status, "%s: %s", path, inner.message);
}

static rh_status check_part(const char *path, const rh_gguf_split *s, unsigned number, rh_format_report *out,
                            rh_error *error) {
  rh_format_file file;
  rh_status status = rh_format_file_open(path, &file, error);
  if (status == RH_NOT_FOUND) return rh_format_missing(out, "its other parts are there, but", path, error);
  if (status != RH_OK) return status;
  uint16_t count = 0, index = 0;
  bool told = rh_gguf_find_u16(file.front, file.front_length, "split.count", &count);
  bool placed = rh_gguf_find_u16(file.front, file.front_length, "split.no", &index);
  if (!rh_gguf_has_magic(file.front, file.front_length)) {
    char seen[128];
    (void)rh_format_describe(file.front, file.front_length, file.size, seen, sizeof seen);
    status = rh_fail(error, RH_INVALID, "%s should be a part of a GGUF model, but is %s", path, seen);
  } else if ((told && count != s->count) || (placed && index != number - 1)) {
    status = rh_fail(error, RH_INVALID, "%s is called part %u of %u, but says that it is part %u of %u; it is misnamed",
                     path, number, s->count, placed ? index + 1u : number, told ? count : s->count);
  } else {
    status = check_front(&file, path, error);
  }
  out->bytes += file.size;
  rh_format_file_close(&file);
  return status;
}

static rh_status check_parts(const char *path, const rh_gguf_split *s, rh_format_report *out, rh_error *error) {
  out->bytes = 0;
  rh_status status = RH_OK;
  for (unsigned i = 1; i <= s->count && status == RH_OK; i++) {
    char *part = NULL;
    if (asprintf(&part, "%.*s-%05u-of-%05u.gguf", (int)s->stem, path, i, s->count) < 0) {
      return rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", path);
    }
    const char *base = strrchr(part, '/');
    if (i == 1) (void)rh_text_copy(out->entry, sizeof out->entry, base == NULL ? part : base + 1);
    status = check_part(part, s, i, out, error);
    free(part);
  }
  if (status == RH_OK && s->count > 1) (void)snprintf(out->parts, sizeof out->parts, "%u parts", s->count);
  return status;
}

rh_status rh_format_detect_gguf(const char *path, rh_format_report *out, rh_error *error) {
  rh_format_file file;
  rh_status status = rh_format_file_open(path, &file, error);
  if (status != RH_OK) return status;
  if (!rh_gguf_has_magic(file.front, file.front_length)) {
    rh_format_file_close(&file);
    return rh_fail(error, RH_UNSUPPORTED, "%s is no GGUF file", path);
  }
  out->format = RH_FORMAT_GGUF;
  out->bytes = file.size;
  const char *base = strrchr(path, '/');
  (void)rh_text_copy(out->entry, sizeof out->entry, base == NULL ? path : base + 1);
  status = check_front(&file, path, error);
  rh_format_file_close(&file);
  rh_gguf_split s;
  return status == RH_OK && rh_gguf_split_parse(path, &s) ? check_parts(path, &s, out, error) : status;
}
