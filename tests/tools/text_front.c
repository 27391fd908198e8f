// SPDX-License-Identifier: Apache-2.0
//
// A tokenizer's first stages, for tests that compare with the `tokenizers` package: reads the JSON of a tokenizer (only
// normalizer, pre_tokenizer and added_tokens count), then lines of JSON strings from standard input; for each it prints
// [[piece, from, to, token], ...], with byte offsets of the original. "normalize" gives [normalized text, [from, to, ...]]
// with a pair for each byte instead; "time" runs all lines again and again and gives the pieces and bytes per second.
//
//   text_front FILE pieces|normalize|nospecial|time [no-offsets]
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "text/internal.h"

#define LINE_MAX_BYTES (64u << 20)
#define LINES_MAX 1000000

typedef struct front {
  rh_normalizer *normalizer;
  rh_pretokenizer *pretokenizer;
  rh_added *added;
  rh_mapped text, scratch;
  rh_pieces pieces, scratch_pieces;
  bool special, offsets;
} front;

static void check(rh_status status, const rh_error *error) {
  if (status == RH_OK) return;
  fprintf(stderr, "%s: %s\n", rh_status_name(status), error->message);
  exit(1);
}

static void run(front *of, const char *line, size_t length) {
  rh_error error = {0};
  of->text.length = of->pieces.count = 0;
  check(rh_mapped_reserve(&of->text, length, of->offsets), &error);
  check(rh_added_split(of->added, of->normalizer, line, length, of->special, &of->text, &of->scratch, &of->pieces),
        &error);
  check(rh_pretokenizer_apply(of->pretokenizer, &of->text, &of->pieces, &of->scratch, &of->scratch_pieces), &error);
}

static void print_pieces(const front *of, rh_dynbuf *out) {
  (void)rh_dynbuf_append_char(out, '[');
  for (size_t i = 0; i < of->pieces.count; i++) {
    const rh_piece *piece = &of->pieces.items[i];
    (void)rh_dynbuf_append_text(out, i > 0 ? ",[" : "[");
    (void)rh_json_append_string(out, of->text.bytes + piece->start, piece->end - piece->start);
    uint32_t from = of->offsets ? of->text.from[piece->start] : 0, to = of->offsets ? of->text.to[piece->end - 1] : 0;
    (void)rh_dynbuf_printf(out, ",%u,%u,%d]", from, to, piece->token);
  }
  (void)rh_dynbuf_append_char(out, ']');
}

static void print_normalized(front *of, const char *line, size_t length, rh_dynbuf *out) {
  rh_error error = {0};
  of->text.length = 0;
  check(rh_mapped_reserve(&of->text, length, true), &error);
  check(rh_normalizer_apply(of->normalizer, line, length, 0, &of->text, &of->scratch), &error);
  (void)rh_dynbuf_append_char(out, '[');
  (void)rh_json_append_string(out, of->text.bytes, of->text.length);
  (void)rh_dynbuf_append_text(out, ",[");
  for (size_t i = 0; i < of->text.length; i++) {
    (void)rh_dynbuf_printf(out, "%s%u,%u", i > 0 ? "," : "", of->text.from[i], of->text.to[i]);
  }
  (void)rh_dynbuf_append_text(out, "]]");
}

static void measure(front *of, json_t **lines, size_t count) {
  uint64_t started = rh_clock_now_ns(), now = started;
  size_t pieces = 0, bytes = 0;
  while (now - started < RH_NS_PER_S) {
    for (size_t i = 0; i < count; i++) {
      run(of, json_string_value(lines[i]), json_string_length(lines[i]));
      pieces += of->pieces.count;
      bytes += json_string_length(lines[i]);
    }
    now = rh_clock_now_ns();
  }
  double seconds = (double)(now - started) / (double)RH_NS_PER_S;
  printf("{\"pieces_per_s\":%.0f,\"bytes_per_s\":%.0f}\n", (double)pieces / seconds, (double)bytes / seconds);
}

int main(int argc, char **argv) {
  rh_error error = {0};
  if (argc < 3) return 2;
  json_t *json = json_load_file(argv[1], JSON_ALLOW_NUL, NULL);
  if (json == NULL) return 2;
  front of = {.special = strcmp(argv[2], "nospecial") != 0, .offsets = argc < 4};
  check(rh_normalizer_from_json(json_object_get(json, "normalizer"), &of.normalizer, &error), &error);
  check(rh_pretokenizer_from_json(json_object_get(json, "pre_tokenizer"), &of.pretokenizer, &error), &error);
  check(rh_added_from_json(json_object_get(json, "added_tokens"), of.normalizer, &of.added, &error), &error);

  char *line = malloc(LINE_MAX_BYTES);
  json_t **lines = calloc(LINES_MAX, sizeof *lines);
  size_t count = 0;
  rh_dynbuf out;
  if (line == NULL || lines == NULL) return 2;
  rh_dynbuf_init(&out, (size_t)1 << 30);
  while (count < LINES_MAX && fgets(line, LINE_MAX_BYTES, stdin) != NULL) {
    json_t *text = json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (text == NULL) return 2;
    if (strcmp(argv[2], "time") == 0) {
      lines[count++] = text;
      continue;
    }
    rh_dynbuf_clear(&out);
    if (strcmp(argv[2], "normalize") == 0) {
      print_normalized(&of, json_string_value(text), json_string_length(text), &out);
    } else {
      run(&of, json_string_value(text), json_string_length(text));
      print_pieces(&of, &out);
    }
    puts(rh_dynbuf_data(&out));
    json_decref(text);
  }
  if (count > 0) measure(&of, lines, count);
  for (size_t i = 0; i < count; i++) json_decref(lines[i]);
  free(lines);
  free(line);
  rh_dynbuf_free(&out);
  rh_mapped_free(&of.text);
  rh_mapped_free(&of.scratch);
  rh_pieces_free(&of.pieces);
  rh_pieces_free(&of.scratch_pieces);
  rh_normalizer_free(of.normalizer);
  rh_pretokenizer_free(of.pretokenizer);
  rh_added_free(of.added);
  json_decref(json);
  return 0;
}
