// SPDX-License-Identifier: Apache-2.0
//
// The walk over a SentencePiece model: pieces, settings, and damage at every byte.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "text/sentencepiece.h"

static void put(rh_dynbuf *out, const void *bytes, size_t length) {
  assert_int_equal(rh_dynbuf_append(out, bytes, length), RH_OK);
}

static void put_message(rh_dynbuf *out, char tag, const rh_dynbuf *message) {
  char head[] = {tag, (char)message->length};
  assert_true(message->length < 128);
  put(out, head, 2);
  put(out, rh_dynbuf_data(message), message->length);
}

static void put_piece(rh_dynbuf *out, const char *text, float score, int type) {
  rh_dynbuf piece;
  rh_dynbuf_init(&piece, 1000);
  char head[] = {'\x0a', (char)strlen(text)};
  put(&piece, head, 2);
  put(&piece, text, strlen(text));
  put(&piece, "\x15", 1);
  put(&piece, &score, sizeof score);
  char kind[] = {'\x18', (char)type};
  if (type != 1) put(&piece, kind, 2);
  put_message(out, '\x0a', &piece);
  rh_dynbuf_free(&piece);
}

static void make_model(rh_dynbuf *out) {
  rh_dynbuf settings;
  rh_dynbuf_init(out, 10000);
  rh_dynbuf_init(&settings, 1000);
  put_piece(out, "<unk>", 0.0F, 2);
  put_piece(out, "<s>", 0.0F, 3);
  put_piece(out, "<0x0A>", 0.0F, 6);
  put_piece(out, "\xe2\x96\x81the", -1.5F, 1);
  // model_type 2, an unknown field of each wire type, unk 0, bos 1, eos 2, pad -1 (ten bytes).
  put(&settings,
      "\x18\x02"
      "\x98\x06\x05"
      "\xa1\x06"
      "12345678"
      "\xaa\x06\x02xy"
      "\xb5\x06"
      "1234",
      26);
  put(&settings,
      "\xc0\x02\x00"
      "\xc8\x02\x01"
      "\xd0\x02\x02"
      "\xd8\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
      21);
  put_message(out, '\x12', &settings);
  rh_dynbuf_clear(&settings);
  put(&settings,
      "\x12\x03"
      "abc"
      "\x18\x00"
      "\x20\x00",
      9);
  put_message(out, '\x1a', &settings);
  rh_dynbuf_free(&settings);
}

static void test_reads_a_model(void **state) {
  (void)state;
  rh_dynbuf bytes;
  make_model(&bytes);
  rh_sentencepiece model;
  rh_error error = {0};
  assert_int_equal(rh_sentencepiece_parse(rh_dynbuf_data(&bytes), bytes.length, &model, &error), RH_OK);
  assert_int_equal(model.count, 4);
  assert_int_equal(model.model, RH_SENTENCEPIECE_BPE);
  assert_int_equal(model.pieces[0].type, 2);
  assert_int_equal(model.pieces[2].type, 6);
  assert_int_equal(model.pieces[3].type, 1);
  assert_int_equal(model.pieces[3].length, 6);
  assert_memory_equal(model.pieces[3].text, "\xe2\x96\x81the", 6);
  assert_true(model.pieces[3].score == -1.5F);
  assert_int_equal(model.unknown_id, 0);
  assert_int_equal(model.eos_id, 2);
  assert_int_equal(model.pad_id, -1);
  assert_false(model.add_dummy_prefix);
  assert_false(model.remove_extra_whitespaces);
  assert_int_equal(model.charsmap_bytes, 3);
  assert_memory_equal(model.charsmap, "abc", 3);
  rh_sentencepiece_free(&model);
  rh_dynbuf_free(&bytes);
}

static void test_defaults_are_sentencepieces(void **state) {
  (void)state;
  rh_dynbuf bytes;
  rh_dynbuf_init(&bytes, 100);
  put_piece(&bytes, "a", 0.0F, 1);
  rh_sentencepiece model;
  rh_error error = {0};
  assert_int_equal(rh_sentencepiece_parse(rh_dynbuf_data(&bytes), bytes.length, &model, &error), RH_OK);
  assert_int_equal(model.model, RH_SENTENCEPIECE_UNIGRAM);
  assert_true(model.add_dummy_prefix);
  assert_int_equal(model.bos_id, 1);
  rh_sentencepiece_free(&model);
  rh_dynbuf_free(&bytes);
}

// Every prefix and every changed byte ends, reads nothing beyond (the sanitizer sees), and gives pieces within the bytes.
static void test_survives_damage(void **state) {
  (void)state;
  rh_dynbuf bytes;
  make_model(&bytes);
  for (size_t cut = 0; cut <= bytes.length; cut++) {
    for (int change = 0; change < 256; change += cut == bytes.length ? 256 : 5) {
      char *exact = malloc(bytes.length + 1);
      size_t length = change == 0 ? cut : bytes.length;
      memcpy(exact, rh_dynbuf_data(&bytes), length);
      if (change != 0) exact[cut] = (char)change;
      rh_sentencepiece model;
      rh_error error = {0};
      if (rh_sentencepiece_parse(exact, length, &model, &error) != RH_OK) {
        assert_string_not_equal(error.message, "");
        assert_null(model.pieces);
      }
      for (size_t i = 0; i < model.count; i++) {
        assert_true(model.pieces[i].length == 0 ||
                    (model.pieces[i].text >= exact && model.pieces[i].text + model.pieces[i].length <= exact + length));
      }
      rh_sentencepiece_free(&model);
      free(exact);
    }
  }
  rh_dynbuf_free(&bytes);
}

static void test_refuses_what_is_no_model(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t length;
  } cases[] = {
      {"", 0},
      {"version https://git-lfs", 23},
      {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},      // a length of 2^64 - 1
      {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},  // a number that does not end
      {"\x0a\x04\x0a\x02"
       "a\0",
       6},                           // a piece with a NUL
      {"\x0a\x04\x0a\x02\xc3(", 6},  // a piece that is not UTF-8
      {"\x0b", 1},                   // a group
      {"\x02\x00", 2},               // field 0
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rh_sentencepiece model;
    rh_error error = {0};
    assert_int_equal(rh_sentencepiece_parse(cases[i].bytes, cases[i].length, &model, &error), RH_INVALID);
    assert_string_not_equal(error.message, "");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reads_a_model),
      cmocka_unit_test(test_defaults_are_sentencepieces),
      cmocka_unit_test(test_survives_damage),
      cmocka_unit_test(test_refuses_what_is_no_model),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
