// SPDX-License-Identifier: Apache-2.0
//
// What must not be shown: servers like to repeat the key they refuse. A provider's words are cleaned of all that looks like a key;
// an error that leaves is looked through once more for our own. Pure; any thread.
#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "provider/explain.h"

// Shorter ones are placeholders that may stand in any word.
#define KEY_BYTES_MIN 4
#define HEADER_BYTES_MIN 6
#define TOKEN_BYTES_MIN 8  // of what only looks like a key
#define OURS_BYTES_MIN 8   // in our own words: "ollama" is a usual key, and a usual name
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

static size_t longer(size_t found, const char *text, size_t length, const char *secret, size_t least) {
  size_t size = secret != NULL ? strlen(secret) : 0;
  return size >= least && size > found && begins(text, length, secret, size) ? size : found;
}

// Of our own secret that begins here: the key, a header's value, or what follows its first word ("Bearer ..."). 0 = none.
static size_t own_length(const rh_provider_spec *spec, const char *text, size_t length, size_t least) {
  size_t found = longer(0, text, length, spec->key, least);
  if (least < HEADER_BYTES_MIN) least = HEADER_BYTES_MIN;
  for (size_t i = 0; spec->headers != NULL && spec->headers[i] != NULL; i++) {
    const char *value = strchr(spec->headers[i], ':');
    if (value == NULL) continue;
    value += 1 + strspn(value + 1, " \t");
    found = longer(found, text, length, value, least);
    const char *word = strchr(value, ' ');
    found = longer(found, text, length, word != NULL ? word + 1 : NULL, least);
  }
  return found;
}

// Of anything like a key that begins here; 0 = nothing.
static size_t secret_length(const rh_provider_spec *spec, const char *text, size_t length, bool word_start) {
  size_t own = own_length(spec, text, length, KEY_BYTES_MIN);
  if (own > 0 || !word_start) return own;
  for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
    if (!begins(text, length, marks[i], strlen(marks[i]))) continue;
    size_t token = token_length(text, length);
    if (token >= TOKEN_BYTES_MIN) return token;
  }
  return 0;
}

// "Bearer abc": how far to the secret's begin; 0 = no such word here.
static size_t bearer_length(const char *text, size_t length) {
  if (length < 8 || strncasecmp(text, "bearer", 6) != 0) return 0;
  size_t i = 6;
  while (i < length && (text[i] == ' ' || text[i] == ':' || text[i] == '\t')) i++;
  return i > 6 && token_length(text + i, length - i) >= KEY_BYTES_MIN ? i : 0;
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

// Nothing grows: what is hidden is at least as long as what stands for it.
static_assert(OURS_BYTES_MIN >= sizeof HIDDEN - 1, "a message that is full must have room for what hides a secret");

void rh_provider_hide_secrets(const rh_provider_spec *spec, rh_error *error) {
  char *text = error->message;
  size_t length = strlen(text), used = 0;
  for (size_t i = 0; i < length;) {
    size_t secret = own_length(spec, text + i, length - i, OURS_BYTES_MIN);
    if (secret == 0) {
      text[used++] = text[i++];
      continue;
    }
    memcpy(text + used, HIDDEN, sizeof HIDDEN - 1);
    used += sizeof HIDDEN - 1;
    i += secret;
  }
  text[used] = '\0';
}
