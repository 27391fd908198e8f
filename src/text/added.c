// SPDX-License-Identifier: Apache-2.0
//
// Added tokens: strings that are tokens wherever they stand, before the model sees the text. Those that are not normalized
// are looked for in the original, the others in the normalized text. Owns copies of their strings; read-only once made,
// any thread. What the longest match at a place is, is said by added_match.c.
#include <stdlib.h>
#include <string.h>

#include "text/added_match.h"
#include "text/internal.h"
#include "text/unicode.h"

#define ADDED_MAX (1024 * 1024)
#define CONTENT_BYTES_MAX 4096

typedef struct added_token {
  char *content, *pattern;  // the pattern is what the normalizer makes of the content, or the content itself
  size_t length, pattern_length;
  int32_t id;
  bool single_word, lstrip, rstrip, normalized, special;
} added_token;

struct rh_added {
  added_token *tokens;
  size_t count;
  rh_matcher original, normalized, contents;
};

void rh_added_free(rh_added *added) {
  if (added == NULL) return;
  for (size_t i = 0; i < added->count; i++) {
    if (added->tokens[i].pattern != added->tokens[i].content) free(added->tokens[i].pattern);
    free(added->tokens[i].content);
  }
  rh_matcher_free(&added->original);
  rh_matcher_free(&added->normalized);
  rh_matcher_free(&added->contents);
  free(added->tokens);
  free(added);
}

// --- from JSON -----------------------------------------------------------------------------------------------------

static rh_status normalize_content(added_token *token, const rh_normalizer *normalizer) {
  token->pattern = token->content;
  token->pattern_length = token->length;
  if (!token->normalized || normalizer == NULL) return RH_OK;
  rh_mapped text = {0}, scratch = {0};
  rh_status status = rh_normalizer_apply(normalizer, token->content, token->length, 0, &text, &scratch);
  bool same = text.length == token->length && memcmp(text.bytes, token->content, token->length) == 0;
  if (status == RH_OK && !same) {
    char *pattern = malloc(text.length + 1);
    if (pattern == NULL) {
      status = RH_NO_MEMORY;
    } else {
      if (text.length > 0) memcpy(pattern, text.bytes, text.length);
      token->pattern = pattern;
      token->pattern_length = text.length;
    }
  }
  rh_mapped_free(&text);
  rh_mapped_free(&scratch);
  return status;
}

static rh_status read_token(const json_t *json, size_t index, const rh_normalizer *normalizer, added_token *token,
                            rh_error *error) {
  const json_t *content = json_object_get(json, "content"), *id = json_object_get(json, "id");
  size_t length = json_string_length(content);
  if (!json_is_string(content) || !json_is_integer(id) || json_integer_value(id) < 0 ||
      json_integer_value(id) >= RH_TOKENIZER_VOCABULARY_MAX) {
    return rh_fail(error, RH_INVALID, "added_tokens[%zu] needs a 'content' and an 'id' below %d", index,
                   RH_TOKENIZER_VOCABULARY_MAX);
  }
  if (length > CONTENT_BYTES_MAX) {
    return rh_fail(error, RH_TOO_LARGE, "added_tokens[%zu] is %zu bytes long; at most %d", index, length,
                   CONTENT_BYTES_MAX);
  }
  token->content = malloc(length + 1);
  if (token->content == NULL) return rh_fail(error, RH_NO_MEMORY, "added_tokens: out of memory");
  memcpy(token->content, json_string_value(content), length + 1);
  token->length = length;
  token->id = (int32_t)json_integer_value(id);
  token->special = json_is_true(json_object_get(json, "special"));
  token->single_word = json_is_true(json_object_get(json, "single_word"));
  token->lstrip = json_is_true(json_object_get(json, "lstrip"));
  token->rstrip = json_is_true(json_object_get(json, "rstrip"));
  const json_t *normalized = json_object_get(json, "normalized");
  token->normalized = json_is_boolean(normalized) ? json_is_true(normalized) : !token->special;
  rh_status status = normalize_content(token, normalizer);
  if (status != RH_OK) {
    free(token->content);
    return rh_fail(error, status, "added_tokens[%zu]: its content could not be normalized: %s", index,
                   rh_status_name(status));
  }
  return RH_OK;
}

static rh_status index_tokens(rh_added *added) {
  rh_status status = RH_OK;
  for (size_t i = 0; i < added->count && status == RH_OK; i++) {
    const added_token *token = &added->tokens[i];
    rh_matcher *where = token->normalized ? &added->normalized : &added->original;
    status = rh_matcher_add(where, token->pattern, token->pattern_length, (uint32_t)i);
    if (status == RH_OK) status = rh_matcher_add(&added->contents, token->content, token->length, (uint32_t)i);
  }
  rh_matcher_finish(&added->original);
  rh_matcher_finish(&added->normalized);
  rh_matcher_finish(&added->contents);
  return status;
}

rh_status rh_added_from_json(const json_t *array, const rh_normalizer *normalizer, rh_added **out, rh_error *error) {
  *out = NULL;
  if (array == NULL || json_is_null(array)) return RH_OK;
  size_t count = json_array_size(array);
  if (!json_is_array(array)) return rh_fail(error, RH_INVALID, "added_tokens has to be a list");
  if (count > ADDED_MAX) return rh_fail(error, RH_TOO_LARGE, "%zu added tokens; at most %d", count, ADDED_MAX);
  rh_unicode_prepare();
  rh_added *added = calloc(1, sizeof *added);
  if (added != NULL) added->tokens = calloc(count + 1, sizeof *added->tokens);
  if (added == NULL || added->tokens == NULL) {
    rh_added_free(added);
    return rh_fail(error, RH_NO_MEMORY, "added_tokens: out of memory");
  }
  rh_status status = RH_OK;
  for (size_t i = 0; i < count && status == RH_OK; i++) {
    const json_t *json = json_array_get(array, i);
    if (json_is_string(json_object_get(json, "content")) && json_string_length(json_object_get(json, "content")) == 0)
      continue;
    status = read_token(json, i, normalizer, &added->tokens[added->count], error);
    if (status == RH_OK) added->count++;
  }
  if (status == RH_OK) {
    status = index_tokens(added);
    if (status != RH_OK) (void)rh_fail(error, status, "added_tokens: out of memory");
  }
  if (status == RH_OK)
    *out = added;
  else
    rh_added_free(added);
  return status;
}

size_t rh_added_count(const rh_added *added) { return added != NULL ? added->count : 0; }

const char *rh_added_at(const rh_added *added, size_t index, size_t *length, int32_t *id, bool *special) {
  const added_token *token = &added->tokens[index];
  *length = token->length;
  *id = token->id;
  *special = token->special;
  return token->content;
}

int32_t rh_added_find(const rh_added *added, const char *text, size_t length) {
  size_t matched;
  uint32_t index;
  if (added == NULL || length == 0) return -1;
  bool found = rh_matcher_exact(&added->contents, text, length, &matched, &index) && matched == length;
  return found ? added->tokens[index].id : -1;
}

// --- a text --------------------------------------------------------------------------------------------------------

typedef struct splitting {
  const rh_added *added;
  const rh_normalizer *normalizer;
  const char *original;
  bool special;
  rh_mapped *text, *scratch;
  rh_pieces *pieces;
} splitting;

static bool word_before(const char *bytes, size_t at) {
  size_t start = at;
  uint32_t code;
  do start--;
  while (start > 0 && ((uint8_t)bytes[start] & 0xC0) == 0x80);
  rh_char_read(bytes + start, bytes + at, &code);
  return rh_char_is(code, RH_CHAR_WORD);
}

static bool word_after(const char *bytes, size_t at, size_t length) {
  uint32_t code;
  rh_char_read(bytes + at, bytes + length, &code);
  return rh_char_is(code, RH_CHAR_WORD);
}

static size_t spaces_before(const char *bytes, size_t at) {
  while (at > 0) {
    size_t start = at - 1;
    uint32_t code;
    while (start > 0 && ((uint8_t)bytes[start] & 0xC0) == 0x80) start--;
    rh_char_read(bytes + start, bytes + at, &code);
    if (!rh_char_is(code, RH_CHAR_SPACE)) break;
    at = start;
  }
  return at;
}

static size_t spaces_after(const char *bytes, size_t at, size_t length) {
  while (at < length) {
    uint32_t code;
    size_t step = rh_char_read(bytes + at, bytes + length, &code);
    if (!rh_char_is(code, RH_CHAR_SPACE)) break;
    at += step;
  }
  return at;
}

// Finds the tokens of one matcher in a text and hands over the stretches, in order; index UINT32_MAX: no token.
typedef rh_status (*take_stretch)(splitting *going, size_t start, size_t end, uint32_t index, size_t offset);

static rh_status find_tokens(splitting *going, const rh_matcher *matcher, const char *bytes, size_t length,
                             size_t offset, take_stretch take) {
  size_t done = 0, at = 0, matched;
  uint32_t index;
  rh_status status = RH_OK;
  while (status == RH_OK && rh_matcher_next(matcher, bytes, length, &at, &matched, &index)) {
    const added_token *token = &going->added->tokens[index];
    size_t start = at, stop = at + matched;
    at = stop;
    if (!going->special && token->special) continue;
    if (token->single_word &&
        ((start > 0 && word_before(bytes, start)) || (stop < length && word_after(bytes, stop, length))))
      continue;
    if (token->lstrip) {
      start = spaces_before(bytes, start);
      if (start < done) start = done;
    }
    if (token->rstrip) stop = spaces_after(bytes, stop, length);
    if (done < start) status = take(going, done, start, UINT32_MAX, offset);
    if (status == RH_OK) status = take(going, start, stop, index, offset);
    done = stop;
  }
  if (status == RH_OK && done != length) status = take(going, done, length, UINT32_MAX, offset);
  return status;
}

// Of normalized text, which is at `offset` in `text` already.
static rh_status take_normalized(splitting *going, size_t start, size_t end, uint32_t index, size_t offset) {
  int32_t id = index != UINT32_MAX ? going->added->tokens[index].id : -1;
  return end > start ? rh_pieces_add(going->pieces, (uint32_t)(offset + start), (uint32_t)(offset + end), id) : RH_OK;
}

static rh_status take_original(splitting *going, size_t start, size_t end, uint32_t index, size_t offset) {
  (void)offset;
  size_t at = going->text->length;
  bool token = index != UINT32_MAX;
  if (end <= start) return RH_OK;
  rh_status status = rh_normalizer_apply(token ? NULL : going->normalizer, going->original + start, end - start,
                                         (uint32_t)start, going->text, going->scratch);
  if (status != RH_OK) return status;
  size_t length = going->text->length - at;
  if (token || going->added == NULL) return take_normalized(going, 0, length, index, at);
  return find_tokens(going, &going->added->normalized, going->text->bytes + at, length, at, take_normalized);
}

rh_status rh_added_split(const rh_added *added, const rh_normalizer *normalizer, const char *original, size_t length,
                         bool special, rh_mapped *text, rh_mapped *scratch, rh_pieces *pieces) {
  splitting going = {added, normalizer, original, special, text, scratch, pieces};
  if (length > RH_TOKENIZER_TEXT_MAX) return RH_TOO_LARGE;
  rh_unicode_prepare();
  if (added == NULL) return take_original(&going, 0, length, UINT32_MAX, 0);
  return find_tokens(&going, &added->original, original, length, 0, take_original);
}
