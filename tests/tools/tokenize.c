// SPDX-License-Identifier: Apache-2.0
//
// tokenize TOKENIZER: one JSON object a line in, one a line out, for tests that compare with another implementation.
//   {"text": ..., "pair": ..., "special": true, "parse": true, "max": 0, "truncate": "longest", "left": false}
//     -> {"ids": [...], "types": [...], "starts": [...], "ends": [...], "words": [...], "special": [...]}
//     ("brief": true leaves out types and special)
//   {"ids": [...], "skip": false} -> {"text": whole, "stream": one by one}
//   {"facts": true} -> what is known about special tokens
// A failure is {"error": ..., "status": ...}. "hex" instead of "text" takes bytes that are no UTF-8.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/tokenizer.h"

#define TEXT_MAX ((size_t)1 << 28)

static rh_tokenizer *tokenizer;
static rh_encoding *encoding;
static rh_dynbuf out;

static void put_number(int64_t number) {
  char digits[24], *at = digits + sizeof digits;
  bool negative = number < 0;
  uint64_t rest = negative ? (uint64_t)-number : (uint64_t)number;
  do *--at = (char)('0' + rest % 10);
  while ((rest /= 10) > 0);
  if (negative) *--at = '-';
  (void)rh_dynbuf_append(&out, at, (size_t)(digits + sizeof digits - at));
}

static void put_numbers(const char *name, const void *numbers, size_t size) {
  (void)rh_dynbuf_printf(&out, "%s\"%s\":[", out.length > 1 ? "," : "", name);
  for (size_t i = 0; i < encoding->count; i++) {
    if (i > 0) (void)rh_dynbuf_append_char(&out, ',');
    // The one number that does not fit into an int, UINT32_MAX for "no word", is -1 here.
    put_number(size == 1 ? ((const uint8_t *)numbers)[i] : ((const int32_t *)numbers)[i]);
  }
  (void)rh_dynbuf_append_char(&out, ']');
}

static void put_error(rh_status status, const rh_error *error) {
  rh_dynbuf_clear(&out);
  (void)rh_dynbuf_printf(&out, "{\"status\":\"%s\",\"error\":", rh_status_name(status));
  (void)rh_json_append_string(&out, error->message, strlen(error->message));
  (void)rh_dynbuf_append_char(&out, '}');
}

static rh_truncate way_of(const char *name) {
  if (name == NULL) return RH_TRUNCATE_NONE;
  if (strcmp(name, "first") == 0) return RH_TRUNCATE_FIRST;
  if (strcmp(name, "second") == 0) return RH_TRUNCATE_SECOND;
  return strcmp(name, "longest") == 0 ? RH_TRUNCATE_LONGEST_FIRST : RH_TRUNCATE_NONE;
}

static char *bytes_of(const json_t *request, const char *key, size_t *length) {
  const json_t *text = json_object_get(request, key), *hex = json_object_get(request, "hex");
  *length = 0;
  if (text == NULL && hex != NULL && strcmp(key, "text") == 0) {
    char *bytes = malloc(json_string_length(hex) / 2 + 1);
    for (const char *at = json_string_value(hex); at[0] != '\0' && at[1] != '\0'; at += 2) {
      char pair[3] = {at[0], at[1], '\0'};
      bytes[(*length)++] = (char)strtoul(pair, NULL, 16);
    }
    return bytes;
  }
  if (!json_is_string(text)) return NULL;
  *length = json_string_length(text);
  char *bytes = malloc(*length + 1);
  memcpy(bytes, json_string_value(text), *length + 1);
  return bytes;
}

static void encode(const json_t *request) {
  rh_error error = {0};
  size_t length, pair_length;
  char *text = bytes_of(request, "text", &length), *pair = bytes_of(request, "pair", &pair_length);
  rh_encode_options options = {
      .add_special = json_is_true(json_object_get(request, "special")),
      .parse_special = !json_is_false(json_object_get(request, "parse")),
      .want_offsets = !json_is_false(json_object_get(request, "offsets")),
      .length_max = json_integer_value(json_object_get(request, "max")),
      .truncate = way_of(json_string_value(json_object_get(request, "truncate"))),
      .truncate_left = json_is_true(json_object_get(request, "left")),
  };
  rh_status status = rh_tokenizer_encode(tokenizer, text, length, pair, pair_length, &options, encoding, &error);
  free(text);
  free(pair);
  if (status != RH_OK) {
    put_error(status, &error);
    return;
  }
  (void)rh_dynbuf_append_char(&out, '{');
  put_numbers("ids", encoding->ids, 4);
  if (!json_is_true(json_object_get(request, "brief"))) {
    put_numbers("types", encoding->types, 4);
    put_numbers("special", encoding->special, 1);
  }
  if (options.want_offsets) {
    put_numbers("starts", encoding->starts, 4);
    put_numbers("ends", encoding->ends, 4);
    put_numbers("words", encoding->words, 4);
  }
  (void)rh_dynbuf_append_char(&out, '}');
}

static void decode(const json_t *request) {
  const json_t *array = json_object_get(request, "ids");
  bool skip = json_is_true(json_object_get(request, "skip"));
  size_t count = json_array_size(array);
  int32_t *ids = malloc((count + 1) * sizeof *ids);
  for (size_t i = 0; i < count; i++) ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
  rh_dynbuf whole, stream;
  rh_dynbuf_init(&whole, TEXT_MAX);
  rh_dynbuf_init(&stream, TEXT_MAX);
  rh_decoder *decoder = NULL;
  rh_error error = {0};
  rh_status status = rh_tokenizer_decode(tokenizer, ids, count, skip, &whole);
  if (status == RH_OK) status = rh_decoder_new(tokenizer, skip, &decoder, &error);
  for (size_t i = 0; i < count && status == RH_OK; i++) status = rh_decoder_feed(decoder, ids[i], &stream);
  if (status == RH_OK) status = rh_decoder_finish(decoder, &stream);
  rh_decoder_free(decoder);
  if (status != RH_OK) {
    put_error(status, &error);
  } else {
    (void)rh_dynbuf_append_text(&out, "{\"text\":");
    (void)rh_json_append_string(&out, rh_dynbuf_data(&whole), whole.length);
    (void)rh_dynbuf_append_text(&out, ",\"stream\":");
    (void)rh_json_append_string(&out, rh_dynbuf_data(&stream), stream.length);
    (void)rh_dynbuf_append_char(&out, '}');
  }
  rh_dynbuf_free(&whole);
  rh_dynbuf_free(&stream);
  free(ids);
}

static void tell_facts(void) {
  const rh_tokenizer_facts *facts = rh_tokenizer_facts_of(tokenizer);
  (void)rh_dynbuf_printf(
      &out,
      "{\"model\":\"%s\",\"size\":%d,\"bos\":%d,\"eos\":%d,\"unk\":%d,\"sep\":%d,\"pad\":%d,\"cls\":%d,"
      "\"mask\":%d,\"length_max\":%" PRId64 ",\"pads_left\":%s}",
      facts->model, rh_tokenizer_size(tokenizer), facts->bos, facts->eos, facts->unk, facts->sep, facts->pad,
      facts->cls, facts->mask, facts->length_max, facts->pads_left ? "true" : "false");
}

int main(int argc, char **argv) {
  rh_error error = {0};
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  if (argc != 2) {
    fprintf(stderr, "usage: tokenize TOKENIZER < requests\n");
    return 2;
  }
  if (rh_tokenizer_open(argv[1], &tokenizer, &error) != RH_OK || rh_encoding_new(&encoding, &error) != RH_OK) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  rh_dynbuf_init(&out, TEXT_MAX);
  while ((length = getline(&line, &room, stdin)) > 0) {
    json_t *request = json_loadb(line, (size_t)length, JSON_ALLOW_NUL, NULL);
    rh_dynbuf_clear(&out);
    if (json_object_get(request, "facts") != NULL) {
      tell_facts();
    } else if (json_object_get(request, "ids") != NULL) {
      decode(request);
    } else {
      encode(request);
    }
    json_decref(request);
    puts(rh_dynbuf_data(&out));
  }
  free(line);
  rh_dynbuf_free(&out);
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
  return 0;
}
