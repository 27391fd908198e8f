// SPDX-License-Identifier: Apache-2.0
//
// A strict reader of the one XML shape that S3 lists come in: elements without meaning in their attributes, text with
// the five named entities and numeric ones. No document types, no entities of its own, no nesting that matters but
// Contents: anything else is refused, which is why no XML library is needed here. Pure; any thread.
#include "pull/s3_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

typedef struct cursor {
  const char *at, *end;
} cursor;

// The text between <name> and </name> within [at, end); attributes of the opening tag are allowed. On success the
// cursor stands behind it.
static bool element(cursor *in, const char *name, cursor *out) {
  size_t size = strlen(name);
  for (const char *open = in->at; (open = memchr(open, '<', (size_t)(in->end - open))) != NULL; open++) {
    if ((size_t)(in->end - open) < size + 2 || strncmp(open + 1, name, size) != 0) continue;
    char next = open[1 + size];
    if (next != '>' && next != ' ') continue;
    const char *from = memchr(open, '>', (size_t)(in->end - open));
    if (from == NULL) return false;
    from++;
    char closing[64];
    size_t length = size + 3;
    assert(length < sizeof closing);
    memcpy(closing, "</", 2);
    memcpy(closing + 2, name, size);
    memcpy(closing + 2 + size, ">", 2);
    const char *to = memmem(from, (size_t)(in->end - from), closing, length);
    if (to == NULL) return false;
    *out = (cursor){from, to};
    in->at = to + length;
    return true;
  }
  return false;
}

static bool put_character(char *out, size_t size, size_t *at, unsigned long code) {
  char bytes[4];
  size_t count;
  if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
  if (code < 0x80) {
    bytes[0] = (char)code;
    count = 1;
  } else if (code < 0x800) {
    bytes[0] = (char)(0xc0 | (code >> 6));
    bytes[1] = (char)(0x80 | (code & 0x3f));
    count = 2;
  } else if (code < 0x10000) {
    bytes[0] = (char)(0xe0 | (code >> 12));
    bytes[1] = (char)(0x80 | ((code >> 6) & 0x3f));
    bytes[2] = (char)(0x80 | (code & 0x3f));
    count = 3;
  } else {
    bytes[0] = (char)(0xf0 | (code >> 18));
    bytes[1] = (char)(0x80 | ((code >> 12) & 0x3f));
    bytes[2] = (char)(0x80 | ((code >> 6) & 0x3f));
    bytes[3] = (char)(0x80 | (code & 0x3f));
    count = 4;
  }
  if (*at + count >= size) return false;
  memcpy(out + *at, bytes, count);
  *at += count;
  return true;
}

// "&amp;" and the like; the length of the reference, or 0.
static size_t reference(const char *at, const char *end, unsigned long *code) {
  static const struct {
    const char *text;
    unsigned long code;
  } named[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
  for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
    size_t size = strlen(named[i].text);
    if ((size_t)(end - at) < size || memcmp(at, named[i].text, size) != 0) continue;
    *code = named[i].code;
    return size;
  }
  if (end - at < 4 || at[1] != '#') return 0;
  const char *stop = memchr(at, ';', (size_t)(end - at) < 12 ? (size_t)(end - at) : 12);
  if (stop == NULL) return 0;
  char *read_to = NULL;
  *code = at[2] == 'x' ? strtoul(at + 3, &read_to, 16) : strtoul(at + 2, &read_to, 10);
  return read_to == stop ? (size_t)(stop + 1 - at) : 0;
}

static bool text_of(cursor in, char *out, size_t size) {
  size_t length = 0;
  while (in.at < in.end) {
    unsigned long code = 0;
    size_t used = 1;
    if (*in.at == '<') return false;
    if (*in.at == '&') {
      used = reference(in.at, in.end, &code);
      if (used == 0 || !put_character(out, size, &length, code)) return false;
    } else {
      if (length + 1 >= size) return false;
      out[length++] = *in.at;
    }
    in.at += used;
  }
  out[length] = '\0';
  return true;
}

static bool text_in(cursor in, const char *name, char *out, size_t size) {
  cursor found;
  out[0] = '\0';
  return element(&in, name, &found) && text_of(found, out, size);
}

rh_status rh_s3_list_parse(const char *xml, size_t length,
                           rh_status (*object)(void *ctx, const char *key, int64_t bytes, const char *etag,
                                               rh_error *error),
                           void *ctx, char *token, size_t token_size, rh_error *error) {
  assert(xml != NULL && object != NULL && token_size > 0);
  cursor all = {xml, xml + length}, page, contents;
  char key[1025], size_text[32], etag[128], truncated[8];
  token[0] = '\0';
  if (!element(&all, "ListBucketResult", &page))
    return rh_fail(error, RH_INVALID, "the answer is no list of a bucket: is this an S3 server?");
  // IsTruncated stands outside of Contents, and a key cannot hold a tag.
  cursor rest = page;
  if (text_in(rest, "IsTruncated", truncated, sizeof truncated) && strcmp(truncated, "true") == 0 &&
      (!text_in(rest, "NextContinuationToken", token, token_size) || token[0] == '\0'))
    return rh_fail(error, RH_INVALID, "the list of the bucket is cut, but does not say how it goes on");
  while (element(&rest, "Contents", &contents)) {
    char *end = NULL;
    if (!text_in(contents, "Key", key, sizeof key) || !text_in(contents, "Size", size_text, sizeof size_text))
      return rh_fail(error, RH_INVALID, "the list of the bucket has an entry without a key or size");
    long long bytes = strtoll(size_text, &end, 10);
    if (end == size_text || *end != '\0' || bytes < 0)
      return rh_fail(error, RH_INVALID, "the list of the bucket has an entry whose size is no number");
    (void)text_in(contents, "ETag", etag, sizeof etag);
    rh_status status = object(ctx, key, (int64_t)bytes, etag, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

bool rh_s3_error_code(const char *xml, char *out, size_t size) {
  cursor all = {xml, xml + strlen(xml)}, found;
  out[0] = '\0';
  return element(&all, "Error", &found) && text_in(found, "Code", out, size);
}
