// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: a tokenizer and a text. The input's first byte says what the rest is: a tokenizer.json, a SentencePiece model or
// a vocab.txt, then a line with "====", then a text. What opens must encode and decode without a crash, offsets must lie in the
// text, ids in the vocabulary, and one by one must decode as all at once.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/private.h"

#define MARK "\n====\n"
#define DECODED_MAX ((size_t)1 << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_decoding(const rh_tokenizer *tokenizer, const rh_encoding *encoding) {
  rh_dynbuf whole, stream;
  rh_dynbuf_init(&whole, DECODED_MAX);
  rh_dynbuf_init(&stream, DECODED_MAX);
  rh_decoder *decoder;
  rh_status status = rh_tokenizer_decode(tokenizer, encoding->ids, encoding->count, false, &whole);
  if (rh_decoder_new(tokenizer, false, &decoder, NULL) != RH_OK) abort();
  rh_status one = RH_OK;
  for (size_t i = 0; i < encoding->count && one == RH_OK; i++)
    one = rh_decoder_feed(decoder, encoding->ids[i], &stream);
  if (one == RH_OK) one = rh_decoder_finish(decoder, &stream);
  rh_decoder_free(decoder);
  if (one != status) abort();
  if (status == RH_OK &&
      (whole.length != stream.length || memcmp(rh_dynbuf_data(&whole), rh_dynbuf_data(&stream), whole.length) != 0))
    abort();
  rh_dynbuf_free(&whole);
  rh_dynbuf_free(&stream);
}

static void check_encoding(const rh_tokenizer *tokenizer, const char *text, size_t length, bool special) {
  rh_encoding *encoding;
  rh_error error = {0};
  if (rh_encoding_new(&encoding, &error) != RH_OK) abort();
  rh_encode_options options = {.add_special = special, .parse_special = special, .want_offsets = true};
  // Twice: the second time with words from the cache.
  size_t count = 0;
  for (int i = 0; i < 2; i++) {
    const char *pair = special ? text : NULL;
    rh_status status = rh_tokenizer_encode(tokenizer, text, length, pair, length, &options, encoding, &error);
    if (status != RH_OK) {
      if (error.message[0] == '\0') abort();
      break;
    }
    if (i > 0 && encoding->count != count) abort();
    count = encoding->count;
    for (size_t k = 0; k < count; k++) {
      if (encoding->ids[k] < 0) abort();
      // A text that is no UTF-8 grows by at most two characters a byte.
      if (encoding->starts[k] > 3 * length + 3 || encoding->ends[k] > 3 * length + 3) abort();
    }
    check_decoding(tokenizer, encoding);
  }
  rh_encoding_free(encoding);
}

static rh_status open_it(uint8_t kind, const char *bytes, size_t length, rh_tokenizer **out, rh_error *error) {
  json_t *json = NULL;
  rh_status status;
  if (kind == 's') {
    status = rh_tokenizer_json_of_sentencepiece(bytes, length, NULL, &json, error);
  } else if (kind == 'v') {
    status = rh_tokenizer_json_of_vocabulary(bytes, length, NULL, NULL, &json, error);
  } else {
    return rh_tokenizer_open_json(bytes, length, out, error);
  }
  if (status == RH_OK) status = rh_tokenizer_from_json(json, out, error);
  json_decref(json);
  return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  const char *bytes = (const char *)data + 1;
  size_t length = size - 1;
  const char *mark = memmem(bytes, length, MARK, strlen(MARK));
  size_t first = mark != NULL ? (size_t)(mark - bytes) : length;
  const char *text = mark != NULL ? mark + strlen(MARK) : bytes + length;
  rh_tokenizer *tokenizer = NULL;
  rh_error error = {0};
  rh_status status = open_it(data[0], bytes, first, &tokenizer, &error);
  if ((status == RH_OK) != (tokenizer != NULL)) abort();
  if (status != RH_OK) {
    if (error.message[0] == '\0') abort();
    return 0;
  }
  check_encoding(tokenizer, text, (size_t)(bytes + length - text), false);
  check_encoding(tokenizer, text, (size_t)(bytes + length - text), true);
  rh_tokenizer_close(tokenizer);
  return 0;
}
