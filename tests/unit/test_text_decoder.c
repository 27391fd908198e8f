// SPDX-License-Identifier: Apache-2.0
//
// Decoders: what each step does with tokens, and that one id after the other gives what all at once give.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "text_fixture.h"

#include "base/dynbuf.h"

#define WITH(decoder, vocab) \
  "{\"decoder\":" decoder ",\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"a\",\"vocab\":{" vocab "}}}"

static void assert_decoded(const char *json, const int32_t *ids, size_t count, const char *expected) {
  rh_tokenizer *tokenizer = open_json(json);
  rh_dynbuf whole, stream;
  rh_dynbuf_init(&whole, 10000);
  rh_dynbuf_init(&stream, 10000);
  assert_int_equal(rh_tokenizer_decode(tokenizer, ids, count, false, &whole), RH_OK);
  assert_string_equal(rh_dynbuf_data(&whole), expected);
  rh_decoder *decoder;
  rh_error error;
  assert_int_equal(rh_decoder_new(tokenizer, false, &decoder, &error), RH_OK);
  // Twice with one decoder: after an end it begins anew.
  for (int i = 0; i < 2; i++) {
    rh_dynbuf_clear(&stream);
    for (size_t k = 0; k < count; k++) assert_int_equal(rh_decoder_feed(decoder, ids[k], &stream), RH_OK);
    assert_int_equal(rh_decoder_finish(decoder, &stream), RH_OK);
    assert_string_equal(rh_dynbuf_data(&stream), expected);
  }
  rh_decoder_free(decoder);
  rh_dynbuf_free(&whole);
  rh_dynbuf_free(&stream);
  rh_tokenizer_close(tokenizer);
}

#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void test_no_decoder_joins_by_spaces(void **state) {
  (void)state;
  assert_decoded(WITH("null", "\"a\":0,\"b\":1"), IDS(0, 1, 7, -1, 0), "a b a");
}

static void test_word_piece(void **state) {
  (void)state;
#define WORDS "\"a\":0,\"##b\":1,\".\":2,\"##c\":3,\"do not\":4"
  assert_decoded(WITH("{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}", WORDS), IDS(1, 0, 3, 2, 4),
                 "##b ac. don't");
  assert_decoded(WITH("{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":false}", WORDS), IDS(0, 3, 2), "ac .");
#undef WORDS
}

static void test_metaspace(void **state) {
  (void)state;
#define WORDS "\"" MARK "a\":0,\"b" MARK "\":1"
  assert_decoded(WITH("{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"always\"}", WORDS),
                 IDS(0, 0, 1), "a ab ");
  assert_decoded(WITH("{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"never\"}", WORDS),
                 IDS(0, 0, 1), " a ab ");
#undef WORDS
}

static void test_byte_level_holds_unfinished_characters_back(void **state) {
  (void)state;
  const char *json = WITH("{\"type\":\"ByteLevel\"}",
                          "\"\u00c3\":0,\"\u00a9\":1,\"a\":2,\"\u0120\":3,\"\u4e00\":4,\"\u00f0\u0141\":5");
  assert_decoded(json, IDS(0, 1, 3, 2), "\u00e9 a");
  assert_decoded(json, IDS(0, 2, 0), "\ufffda\ufffd");
  assert_decoded(json, IDS(5, 2), "\ufffda");
  assert_decoded(json, IDS(4, 2), "\u4e00a");
  rh_tokenizer *tokenizer = open_json(json);
  rh_decoder *decoder;
  rh_dynbuf out;
  rh_error error;
  rh_dynbuf_init(&out, 100);
  assert_int_equal(rh_decoder_new(tokenizer, false, &decoder, &error), RH_OK);
  assert_int_equal(rh_decoder_feed(decoder, 0, &out), RH_OK);
  assert_int_equal(out.length, 0);
  assert_int_equal(rh_decoder_feed(decoder, 1, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), "\u00e9");
  rh_decoder_free(decoder);
  rh_dynbuf_free(&out);
  rh_tokenizer_close(tokenizer);
}

#define LLAMA                                                                                                     \
  "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" MARK                    \
  "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \"," \
  "\"start\":1,\"stop\":0}]}"

static void test_bytes_and_strip(void **state) {
  (void)state;
  const char *json = WITH(LLAMA, "\"" MARK "a\":0,\"<0xC3>\":1,\"<0xA9>\":2,\"<0xZ0>\":3,\"" MARK "\":4");
  assert_decoded(json, IDS(0, 0), "a a");
  assert_decoded(json, IDS(4, 0), " a");
  assert_decoded(json, IDS(0, 1, 2, 0), "a\u00e9 a");
  // A run of bytes is a text or it is none.
  assert_decoded(json, IDS(1, 2, 1, 0), "\ufffd\ufffd\ufffd a");
  assert_decoded(json, IDS(0, 1), "a\ufffd");
  assert_decoded(json, IDS(3, 4), "<0xZ0> ");
}

static void test_strip_of_each_token_and_of_all(void **state) {
  (void)state;
#define STRIP "{\"type\":\"Strip\",\"content\":\"x\",\"start\":1,\"stop\":2}"
#define WORDS "\"xxaxxx\":0,\"bx\":1,\"xc\":2"
  assert_decoded(WITH(STRIP, WORDS), IDS(0, 1, 2), "xaxbc");
  assert_decoded(WITH("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"}," STRIP "]}", WORDS), IDS(0, 1, 2, 1),
                 "xaxxxbxxcb");
#undef WORDS
#undef STRIP
}

static void test_the_last_end_of_a_word_vanishes(void **state) {
  (void)state;
  assert_decoded(WITH("{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}", "\"a</w>\":0,\"b\":1"), IDS(0, 1, 0), "a ba");
}

static void test_ctc(void **state) {
  (void)state;
  const char *json = WITH("{\"type\":\"CTC\",\"pad_token\":\"_\",\"word_delimiter_token\":\"|\",\"cleanup\":true}",
                          "\"_\":0,\"a\":1,\"|\":2,\"b\":3");
  assert_decoded(json, IDS(1, 1, 0, 1, 2, 2, 3, 0, 0), "aa b");
}

// A step that needs its token whole, after one that makes one of all, waits for the end.
static void test_replace_by_expression_after_fuse(void **state) {
  (void)state;
  assert_decoded(WITH("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Replace\",\"pattern\":"
                      "{\"Regex\":\"ab+\"},\"content\":\"-\"}]}",
                      "\"a\":0,\"b\":1"),
                 IDS(1, 0, 1, 1, 0, 0, 1), "b-a-");
}

static void test_special_tokens_are_left_out(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(
      "{\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"special\":true},{\"id\":6,\"content\":\"<t>\",\"special\":"
      "false}],"
      "\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"a\",\"vocab\":{\"a\":0}}}");
  rh_dynbuf out;
  rh_dynbuf_init(&out, 100);
  const int32_t ids[] = {5, 0, 6};
  assert_int_equal(rh_tokenizer_decode(tokenizer, ids, 3, true, &out), RH_OK);
  assert_int_equal(rh_tokenizer_decode(tokenizer, ids, 3, false, &out), RH_OK);
  assert_string_equal(rh_dynbuf_data(&out), "a<t><s>a<t>");
  rh_dynbuf_free(&out);
  rh_tokenizer_close(tokenizer);
}

static void test_a_full_buffer_is_an_error(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(WITH("{\"type\":\"Fuse\"}", "\"abcdef\":0"));
  rh_dynbuf out;
  rh_dynbuf_init(&out, 8);
  const int32_t ids[] = {0, 0};
  assert_int_equal(rh_tokenizer_decode(tokenizer, ids, 2, true, &out), RH_TOO_LARGE);
  rh_dynbuf_free(&out);
  rh_tokenizer_close(tokenizer);
}

static void test_damaged_ones_are_refused(void **state) {
  (void)state;
  assert_refused(WITH("{\"type\":\"Other\"}", "\"a\":0"), RH_UNSUPPORTED, "Other");
  assert_refused(WITH("7", "\"a\":0"), RH_INVALID, "no type");
  assert_refused(WITH("{\"type\":\"Strip\",\"content\":\"x\"}", "\"a\":0"), RH_INVALID, "start");
  assert_refused(WITH("{\"type\":\"Replace\",\"content\":\"x\"}", "\"a\":0"), RH_INVALID, "pattern");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_decoder_joins_by_spaces),
      cmocka_unit_test(test_word_piece),
      cmocka_unit_test(test_metaspace),
      cmocka_unit_test(test_byte_level_holds_unfinished_characters_back),
      cmocka_unit_test(test_bytes_and_strip),
      cmocka_unit_test(test_strip_of_each_token_and_of_all),
      cmocka_unit_test(test_the_last_end_of_a_word_vanishes),
      cmocka_unit_test(test_ctc),
      cmocka_unit_test(test_replace_by_expression_after_fuse),
      cmocka_unit_test(test_special_tokens_are_left_out),
      cmocka_unit_test(test_a_full_buffer_is_an_error),
      cmocka_unit_test(test_damaged_ones_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
