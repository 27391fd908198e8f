// SPDX-License-Identifier: Apache-2.0
//
// A provider's words made fit to be shown: servers like to repeat the key they refuse. Pure; any thread.
#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "provider/explain.h"

#define SECRET_BYTES_MIN 4  // a shorter "key" is a placeholder that may stand in any word
#define HIDDEN "[hidden]"

// How the keys of well-known services begin.
static const char *const marks[] = {"sk-", "sk_", "gsk_", "xai-", "AIza", "hf_", "r8_",
                                    "pk-", "rk-", "key-", "fw_",  "tgp_", "rh-", "eyJ"};

static bool begins(const char *text, size_t length, const char *word, size_t word_length) {
  return length >= word_length && memcmp(text, word, word_length) == 0;
}

static size_t token_length(const char *text, size_t length) {
  size_t i = 0;
  while (i < length && (isalnum((unsigned char)text[i]) || strchr("-_.*+/=~", text[i]) != NULL) && text[i] != '\0') i++;
  return i;
}

// Of the secret that begins here; 0 = none.
static size_t secret_length(const rh_provider_spec *spec, const char *text, size_t length, bool word_start) {
  size_t known = spec->key != NULL ? strlen(spec->key) : 0;
  if (known >= SECRET_BYTES_MIN && begins(text, length, spec->key, known)) return known;
  for (size_t i = 0; spec->headers != NULL && spec->headers[i] != NULL; i++) {
    const char *value = strstr(spec->headers[i], ": ");
    known = value != NULL ? strlen(value + 2) : 0;
    if (known >= 8 && begins(text, length, value + 2, known)) return known;
  }
  if (!word_start) return 0;
  for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
    if (!begins(text, length, marks[i], strlen(marks[i]))) continue;
    size_t token = token_length(text, length);
    if (token >= 8) return token;
  }
  return 0;
}

// "Bearer abc": how far to the secret's begin; 0 = no such word here.
static size_t bearer_length(const char *text, size_t length) {
  if (length < 8 || strncasecmp(text, "bearer", 6) != 0) return 0;
  size_t i = 6;
  while (i < length && (text[i] == ' ' || text[i] == ':' || text[i] == '\t')) i++;
  return i > 6 && token_length(text + i, length - i) >= SECRET_BYTES_MIN ? i : 0;
}

typedef struct output {
  char *out;
  size_t size, used;
  bool full;
} output;

static void put(output *to, const char *text, size_t length) {
  if (to->full) return;
  if (to->used + length + 4 > to->size) {
    memcpy(to->out + to->used, "...", 3);
    to->used += 3;
    to->full = true;
    return;
  }
  memcpy(to->out + to->used, text, length);
  to->used += length;
}

void rh_provider_clean_text(const rh_provider_spec *spec, const char *text, size_t length, char *out, size_t size) {
  assert(spec != NULL && out != NULL && size > 8 && (text != NULL || length == 0));
  output to = {.out = out, .size = size};
  bool word_start = true, blank = true;
  for (size_t i = 0; i < length && !to.full;) {
    const char *at = text + i;
    size_t left = length - i, skip = word_start ? bearer_length(at, left) : 0;
    size_t secret = skip > 0 ? token_length(at + skip, left - skip) : secret_length(spec, at, left, word_start);
    if (secret > 0) {
      put(&to, skip > 0 ? "Bearer " : "", skip > 0 ? 7 : 0);
      put(&to, HIDDEN, sizeof HIDDEN - 1);
      i += skip + secret;
      word_start = blank = false;
      continue;
    }
    size_t bytes = rh_utf8_char_length(at, left);
    unsigned char byte = (unsigned char)*at;
    if (bytes == 0)
      put(&to, "?", 1);
    else if (byte > ' ' && byte != 0x7f)
      put(&to, at, bytes);
    else if (!blank)
      put(&to, " ", 1);
    blank = bytes != 0 && (byte <= ' ' || byte == 0x7f);
    word_start = !isalnum(byte) && byte < 0x80;
    i += bytes == 0 ? 1 : bytes;
  }
  while (to.used > 0 && out[to.used - 1] == ' ') to.used--;
  out[to.used] = '\0';
}
