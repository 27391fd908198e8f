// SPDX-License-Identifier: Apache-2.0
//
// tokenizer_speed TOKENIZER TEXT ROUNDS OFFSETS: reads the lines of TEXT (each a text of its own) and encodes all
// of them ROUNDS times on one thread. Prints {"seconds": [...], "tokens": n, "open_ms": n}.
// Lines are handed over one at a time, as a server gets them. Reading the file is not timed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/tokenizer.h"

#define ROUNDS_MAX 1000

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "tokenizer_speed: %s\n", what);
  exit(1);
}

static char *read_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail(path);
  fseek(file, 0, SEEK_END);
  *length = (size_t)ftell(file);
  rewind(file);
  char *text = malloc(*length + 1);
  if (text == NULL || fread(text, 1, *length, file) != *length) fail(path);
  fclose(file);
  text[*length] = '\0';
  return text;
}

static size_t encode_lines(const rh_tokenizer *tokenizer, rh_encoding *encoding, const char *text, size_t length,
                           const rh_encode_options *options) {
  rh_error error = {0};
  size_t tokens = 0;
  for (const char *at = text, *end = text + length; at < end;) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    if (stop == NULL) stop = end;
    if (rh_tokenizer_encode(tokenizer, at, (size_t)(stop - at), NULL, 0, options, encoding, &error) != RH_OK)
      fail(error.message);
    tokens += encoding->count;
    at = stop + 1;
  }
  return tokens;
}

int main(int argc, char **argv) {
  rh_tokenizer *tokenizer;
  rh_encoding *encoding;
  rh_error error = {0};
  size_t length;
  if (argc != 5) fail("usage: tokenizer_speed TOKENIZER TEXT ROUNDS OFFSETS");
  double began = now();
  if (rh_tokenizer_open(argv[1], &tokenizer, &error) != RH_OK || rh_encoding_new(&encoding, &error) != RH_OK)
    fail(error.message);
  double opened = now() - began;
  char *text = read_file(argv[2], &length);
  int rounds = atoi(argv[3]);
  rh_encode_options options = {.add_special = true, .parse_special = true, .want_offsets = atoi(argv[4]) != 0};
  if (rounds < 1 || rounds > ROUNDS_MAX) fail("1 to 1000 rounds");
  printf("{\"open_ms\": %.3f, \"seconds\": [", opened * 1e3);
  size_t tokens = 0;
  for (int i = 0; i < rounds; i++) {
    began = now();
    tokens = encode_lines(tokenizer, encoding, text, length, &options);
    printf("%s%.6f", i > 0 ? ", " : "", now() - began);
  }
  printf("], \"tokens\": %zu}\n", tokens);
  free(text);
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
  return 0;
}
