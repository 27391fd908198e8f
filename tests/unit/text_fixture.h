// SPDX-License-Identifier: Apache-2.0
//
// Small tokenizers written out in JSON, for the tests of src/text.
#ifndef TEXT_FIXTURE_H
#define TEXT_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include "text/tokenizer.h"

#define MARK "\xe2\x96\x81"

static rh_tokenizer *open_json(const char *json) {
  rh_tokenizer *tokenizer = NULL;
  rh_error error = {0};
  if (rh_tokenizer_open_json(json, strlen(json), &tokenizer, &error) != RH_OK) fail_msg("%s", error.message);
  assert_non_null(tokenizer);
  return tokenizer;
}

static rh_encoding *new_encoding(void) {
  rh_encoding *encoding = NULL;
  rh_error error = {0};
  assert_int_equal(rh_encoding_new(&encoding, &error), RH_OK);
  return encoding;
}

// "id[start,end]:word id[start,end]:word"; a word of -1 is none.
static inline const char *shown(const rh_encoding *encoding) {
  static char text[8192];
  size_t used = 0;
  text[0] = '\0';
  for (size_t i = 0; i < encoding->count; i++)
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%d[%u,%u]:%d", i > 0 ? " " : "", encoding->ids[i],
                             encoding->starts[i], encoding->ends[i], (int)encoding->words[i]);
  return text;
}

// The tokens of one text, special ones of the template included, offsets wanted.
static inline void assert_tokens(const rh_tokenizer *tokenizer, const char *text, const char *expected) {
  rh_encoding *encoding = new_encoding();
  rh_encode_options options = {.add_special = true, .parse_special = true, .want_offsets = true};
  rh_error error = {0};
  // Twice: the second time the words come from the cache.
  for (int i = 0; i < 2; i++) {
    if (rh_tokenizer_encode(tokenizer, text, strlen(text), NULL, 0, &options, encoding, &error) != RH_OK)
      fail_msg("%s", error.message);
    assert_string_equal(shown(encoding), expected);
  }
  rh_encoding_free(encoding);
}

static inline void assert_refused(const char *json, rh_status status, const char *part) {
  rh_tokenizer *tokenizer = NULL;
  rh_error error = {0};
  assert_int_equal(rh_tokenizer_open_json(json, strlen(json), &tokenizer, &error), status);
  assert_null(tokenizer);
  if (strstr(error.message, part) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.message, part);
}

#endif
